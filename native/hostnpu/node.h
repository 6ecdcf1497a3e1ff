// A node as the host NPU keeps it, and what the checks of the ops share.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hostnpu/tensor.h"

namespace lutra::hostnpu {

struct Param {
  std::string name;
  bool is_tensor = false;
  abi::DataType dtype = abi::DataType::kUndefined;
  uint64_t bits = 0;            // value of a scalar
  std::vector<uint32_t> dims;   // of a tensor
  std::vector<uint32_t> words;  // data of a tensor of 4-byte elements; empty when only a description was given
};

struct Node {
  std::string name;
  std::string type;
  std::vector<Param> params;
  std::vector<std::shared_ptr<const TensorInfo>> inputs;  // empty pointers for omitted optional ones
  std::vector<std::shared_ptr<const TensorInfo>> outputs;

  const TensorInfo& in(size_t i) const { return *inputs[i]; }
  const TensorInfo& out() const { return *outputs[0]; }
  bool has_input(size_t i) const noexcept { return i < inputs.size() && inputs[i] != nullptr; }
  const Param* param(std::string_view wanted) const noexcept;
};

/// Sets of element types, for what an op takes.
using TypeSet = uint32_t;
inline constexpr TypeSet kTypeF32 = 1, kTypeF16 = 2, kTypeU8 = 4, kTypeS8 = 8, kTypeU16 = 16, kTypeS16 = 32, kTypeI32 = 64, kTypeU32 = 128, kTypeBool = 256, kTypeI64 = 512,
                         kTypePlainU8 = 1024, kTypePlainI8 = 2048;
inline constexpr TypeSet kTypesFloat = kTypeF32 | kTypeF16, kTypesQuantized = kTypeU8 | kTypeS8 | kTypeU16 | kTypeS16, kTypesReal = kTypesFloat | kTypesQuantized,
                         kTypesIndex = kTypeI32 | kTypeU32;
/// 0 for a type that no op computes on.
TypeSet type_of(const TensorInfo& tensor) noexcept;

/// Throws the Failure that makes validateOpConfig and addNode refuse.
[[noreturn]] void refuse(const std::string& why);

/// `outputs` outputs, and between `least` and `most` inputs, of which the first `least` are given.
void expect_arity(const Node& node, size_t least, size_t most, size_t outputs = 1);
/// Refuses params that are not in `known`.
void expect_params(const Node& node, std::initializer_list<std::string_view> known);
/// The type of a tensor that the kernels compute on; quantised types need a per-tensor encoding with a positive scale.
kernels::Element computed_element(const TensorInfo& tensor);
/// Refuses a type that is not in `types`; quantised ones need a per-tensor encoding with a positive scale.
void expect_type(const TensorInfo& tensor, TypeSet types);
/// The same type and, of quantised tensors, the same encoding.
void expect_same_values(const TensorInfo& a, const TensorInfo& b);
/// The tensor has these dimensions.
void expect_dims(const TensorInfo& tensor, std::span<const uint32_t> dims);
/// The same number of elements in the same shape.
void expect_same_shape(const TensorInfo& a, const TensorInfo& b);
/// A scalar parameter, or `fallback`. Refuses a value of another type.
bool bool_param(const Node& node, std::string_view name, bool fallback);
float float_param(const Node& node, std::string_view name, float fallback);
int64_t integer_param(const Node& node, std::string_view name, int64_t fallback);
/// Refuses a node without that parameter.
const Param& required_param(const Node& node, std::string_view name);
/// A dimension of a tensor of that rank; negative ones count from the end.
size_t axis_param(const Node& node, std::string_view name, size_t rank, int64_t fallback);
/// The elements of a tensor parameter of 4-byte integers, which must have been given. Refuses another rank.
std::span<const uint32_t> words_param(const Node& node, std::string_view name, size_t rank);
/// Refuses a tensor parameter whose given values are not all `value`; absent or without data is taken as right.
void expect_filled_param(const Node& node, std::string_view name, size_t count, uint32_t value);

/// Rows of a tensor seen as [rows, last dim].
uint32_t rows_of(const TensorInfo& tensor) noexcept;

}  // namespace lutra::hostnpu
