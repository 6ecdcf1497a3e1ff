// Tensors and nodes as fuzz programs describe them to a QNN library: right ones to begin with, then changed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "byte_source.h"
#include "qnn/abi.h"
#include "qnn/graph.h"

namespace lutra::fuzz {

namespace abi = qnn::abi;

/// A tensor with everything that its structure of the interface points at. Unlike qnn::TensorRecord it may contradict itself.
struct RawTensor {
  std::string name;
  abi::TensorType type = abi::TensorType::kNative;
  abi::DataType dtype = abi::DataType::kFloat32;
  std::vector<uint32_t> dims;
  qnn::Encoding encoding;
  std::vector<std::byte> data;  // of constants; of inputs and outputs while a graph is executed
  uint32_t id = 0;              // from the library

  bool is_constant() const noexcept { return type == abi::TensorType::kStatic; }
  /// Bytes by shape and type, capped far above what is ever executed.
  uint64_t bytes() const noexcept;
  /// Fills the data up to the shape by repeating what is there, zeros if nothing is, and as many scales as the axis is long.
  void fit_data();
  /// The structure, which points into this tensor.
  abi::Tensor structure();

 private:
  abi::QuantizeParams quantize_params();

  std::vector<abi::ScaleOffset> scales_;
  abi::BlockwiseExpansion blockwise_{};
};

/// A node of the conformance table: what the op takes, with data that means something.
struct Form {
  std::string op;
  std::vector<RawTensor> inputs, outputs;  // inputs: constants or not, outputs native
  std::vector<qnn::ParamDesc> params;
};

/// Small nodes of all cases; made at the first call. Every op that the library `ops` knows has one, if only a guess.
const std::vector<Form>& forms(const std::vector<std::string>& ops);

/// Gives a form other lengths where that keeps it right, and, one time in four, something that makes it wrong.
void vary(Form& form, ByteSource& source);

}  // namespace lutra::fuzz
