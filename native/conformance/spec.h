// A graph of a conformance case. It is described once and computed three times: by the reference here, by the host NPU, by Qualcomm's runtime.
#pragma once

#include <deque>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "conformance/tensor.h"
#include "qnn/graph.h"

namespace lutra::conformance {

/// What the result of a node is stored as. Ranges of quantised types are calibrated on the reference's own result.
struct Target {
  DT dtype = DT::kFloat16;
  Fit fit = Fit::kNone;
  double clipped = 0;  // share of the values out of range at each end
};

/// How the reference treats tensors of quantised types.
enum class Rounding {
  kStored,  // as stored: clipped to the range and rounded to a step
  kNone,    // clipped only, and described as F32: what infinitely fine steps would give. Not for any backend.
};

struct Node {
  std::string op;
  std::vector<size_t> inputs;
  std::vector<size_t> outputs;
  std::vector<qnn::ParamDesc> params;
};

/// A result of a node and what it should be.
struct Output {
  std::string name;
  Target target;
  Dims dims;
  std::vector<double> exact;
  std::optional<size_t> encoding_of = {};       // the tensor whose encoding it has; otherwise the target is calibrated
  std::optional<qnn::Encoding> encoding = {};  // a fixed one
};

/// Builds the description and, node by node, its float64 and integer reference.
class GraphSpec {
 public:
  explicit GraphSpec(uint32_t seed, Rounding rounding = Rounding::kStored) : random_(seed), rounding_(rounding) {}

  std::mt19937& random() { return random_; }

  /// Data that the application writes; `values` are rounded to the type first.
  size_t input(const std::string& name, Target target, Dims dims, std::span<const double> values);
  /// The same with the type and encoding of `model`.
  size_t input_like(size_t model, const std::string& name, Dims dims, std::span<const double> values);
  /// The same of codes that are given as they are stored.
  size_t coded_input(const std::string& name, DT dtype, Dims dims, qnn::Encoding encoding, std::span<const double> codes);
  /// The same as a constant of the graph.
  size_t constant(const std::string& name, DT dtype, Dims dims, std::span<const double> values);
  /// The same of a quantised type.
  size_t constant(const std::string& name, Target target, Dims dims, std::span<const double> values);
  /// The same with a given encoding, also S32.
  size_t scaled_constant(const std::string& name, DT dtype, Dims dims, qnn::Encoding encoding, std::span<const double> values);
  /// S8 weight of `bits` significant bits with one scale per index of `axis`.
  size_t axis_constant(const std::string& name, Dims dims, size_t axis, std::span<const double> values, uint32_t bits);
  /// 4-bit weight with one scale per index of `axis` and one of 4 bits per block of the inputs, of which there are `blocks`.
  size_t block_constant(const std::string& name, Dims dims, size_t axis, std::span<const double> values, uint32_t blocks);
  /// Bias of a product of `x` and `w`: S32 in steps of the accumulator, or of the type of x.
  size_t sum_bias(const std::string& name, size_t x, size_t w, uint32_t outputs);
  /// S8 weight with random values and one scale per output: [out, in] of FullyConnected, or [1, 1, in, out] of Conv2d.
  size_t weight(const std::string& name, uint32_t out, uint32_t in, bool conv);
  /// Bias of a linear of `x` and `w`, sized to matter: S32 in steps of the accumulator, or F16.
  size_t bias(const std::string& name, size_t x, size_t w);

  size_t linear(size_t x, size_t w, const std::string& name, Target target, std::optional<size_t> bias = std::nullopt);
  size_t quantize(size_t x, const std::string& name, Target target) { return same_shape("Quantize", x, name, target); }
  size_t dequantize(size_t x, const std::string& name, DT dtype = DT::kFloat16) { return same_shape("Dequantize", x, name, {dtype}); }
  size_t convert(size_t x, const std::string& name, Target target) { return same_shape("Convert", x, name, target); }
  /// Element-wise op `op` of one input.
  size_t unary(const std::string& op, size_t x, const std::string& name) { return same_shape(op, x, name, {tensor(x).dtype}); }
  /// Element-wise op `op` of two inputs of one rank; dimensions of length 1 are repeated.
  size_t binary(const std::string& op, size_t a, size_t b, const std::string& name);
  size_t rms_norm(size_t x, size_t gamma, size_t beta, const std::string& name);
  size_t reshape(size_t x, Dims dims, const std::string& name);
  size_t gather(size_t x, size_t indices, int32_t axis, const std::string& name);

  /// Any op. `exact` comes from the reference (reference.h).
  std::vector<size_t> apply(const std::string& op, std::vector<size_t> inputs, std::vector<qnn::ParamDesc> params, std::vector<Output> outputs);
  size_t apply(const std::string& op, std::vector<size_t> inputs, std::vector<qnn::ParamDesc> params, Output output);

  /// Makes `t` something that the application reads.
  void output(size_t t) { tensors_[t].role = Role::kOutput; }

  const Tensor& tensor(size_t t) const { return tensors_[t]; }
  const std::deque<Tensor>& tensors() const { return tensors_; }
  std::span<const Node> nodes() const { return nodes_; }
  std::vector<const Tensor*> with_role(Role role) const;

 private:
  /// Stores what `exact` holds and adds the tensor.
  size_t add(Tensor tensor);
  /// The same of a constant whose `exact` holds the integers that are stored.
  size_t add_codes(Tensor tensor);
  /// Adds the node and its result `exact`.
  size_t result(Node node, const std::string& name, Target target, Dims dims, std::vector<double> exact, std::optional<size_t> encoding_of = {});
  size_t same_shape(const std::string& op, size_t x, const std::string& name, Target target);

  std::mt19937 random_;
  Rounding rounding_;
  std::deque<Tensor> tensors_;  // references into it live as long as the graph
  std::vector<Node> nodes_;
};

/// "Conv2d(u8:4, s8:4) -> u8:4": op, types and ranks, which is what a plan's node is matched by. The input length of a linear counts as far as it
/// matters to a backend: " unaligned" when it is no multiple of 4.
std::string form_of(const GraphSpec& spec, const Node& node);

}  // namespace lutra::conformance
