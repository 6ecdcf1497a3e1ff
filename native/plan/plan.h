// A decoded, validated plan: what TypeScript described, ready for the executor. It owns one copy of the encoded bytes; names, operands and attributes are views
// of that copy, so that a hostile file cannot cost a multiple of itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "kv/cache.h"
#include "plan/format.h"

namespace lutra::plan {

/// CRC-32 of an encoded plan, its checksum word taken as zero. `bytes` holds a header at least.
uint32_t checksum(std::span<const std::byte> bytes) noexcept;

struct Config {
  uint32_t vocab, hidden, layers, heads, kv_heads, head_dim, max_context, chunk;
  kv::Type kv_type;
};

struct Tensor {
  std::string_view name;
  DType dtype;
  TensorKind kind;
  RowsKind rows_kind;
  uint32_t rank;
  std::array<uint32_t, 4> dims;
  QuantKind quant;
  float scale;
  int32_t offset;
  int32_t axis;
  uint32_t axis_scales;  // tensor index or kNoIndex
  std::string_view weight;  // name in the model files; empty unless kind == kWeight
  uint32_t rows, cols;   // dims as a matrix: cols = last dimension, rows = the product of the others

  /// Elements of the full shape (at most 2^31, checked by parse).
  size_t elements() const noexcept { return static_cast<size_t>(rows) * cols; }
};

struct Param {
  std::string_view name;
  ParamType type;
  std::span<const double> values;  // one, or the elements of a tensor parameter
  std::span<const double> dims;    // whole numbers; empty for scalars
};

struct Node {
  std::string_view op, name;
  std::span<const uint32_t> inputs, outputs;  // tensor indices
  std::span<const Param> params;
};

struct Segment {
  std::string_view name;
  std::span<const Node> nodes;
  std::span<const uint32_t> inputs, outputs;  // activation tensors, in graph order
};

struct Step {
  StepOp op;
  std::span<const uint32_t> inputs, outputs;
  std::span<const double> attrs;
};

struct Program {
  std::string_view name;
  std::span<const Step> steps;
  uint32_t logits;  // tensor index or kNoIndex (calibration plans have none)
};

/// Move-only. Views stay valid when it is moved.
struct Plan {
  Config config;
  std::vector<Tensor> tensors;
  std::vector<Segment> segments;
  std::vector<Program> programs;
  // What the views point into.
  std::vector<Param> params;
  std::vector<Node> nodes;
  std::vector<Step> steps;
  AlignedBuffer bytes;

  /// nullptr when there is none of that name.
  const Program* find_program(std::string_view name) const noexcept;

  /// Decodes and validates. Every index, count, shape, dtype and attribute is checked, so that the executor need not.
  /// Throws Error(kBadPlan) that names the record and the values.
  static Plan parse(std::span<const std::byte> bytes);
};

/// Checks shapes, dtypes and attributes of every CPU step (validate.cc). Called by parse.
void validate_steps(const Plan& plan);

}  // namespace lutra::plan
