// Quantize, Dequantize, Convert: one stage, what differs is which pairs of types they take. Cast: stored numbers as they are.
#include <algorithm>

#include "hostnpu/elements.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;

class ConvertStage final : public Stage {
 public:
  ConvertStage(const Node& node, Planner& planner)
      : kernel_(planner.ops()),
        x_{computed_element(node.in(0)), node.in(0).affine(), nullptr},
        y_{computed_element(node.out()), node.out().affine(), nullptr},
        columns_(node.out().last_dim()),
        from_(planner.slot(node.in(0))),
        to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t first = size_t{begin} * columns_;
    auto x = x_;
    auto y = y_;
    x.data = memory[from_] + first * element_size(x.type);
    y.data = memory[to_] + first * element_size(y.type);
    kernel_.convert(x, y, size_t{end - begin} * columns_);
  }
  Slot from() const noexcept { return from_; }
  Slot to() const noexcept { return to_; }
  size_t row_bytes() const noexcept { return columns_ * (element_size(x_.type) + element_size(y_.type)); }

 private:
  const kernels::NpuOpKernels& kernel_;
  kernels::ConstElements x_;
  kernels::Elements y_;
  size_t columns_;
  Slot from_, to_;
};

void check_pair(const Node& node, bool (*accepts)(Element from, Element to)) {
  expect_arity(node, 1, 1);
  const Element from = computed_element(node.in(0)), to = computed_element(node.out());
  if (!accepts(from, to)) refuse(std::string(data_type_name(node.in(0).dtype)) + " to " + data_type_name(node.out().dtype) + " is not a form of it");
  expect_same_shape(node.in(0), node.out());
}

void check_quantize(const Node& node) {
  expect_params(node, {});
  check_pair(node, [](Element from, Element to) { return !is_quantized(from) && is_quantized(to); });
}

void check_dequantize(const Node& node) {
  expect_params(node, {});
  check_pair(node, [](Element from, Element to) { return is_quantized(from) && !is_quantized(to); });
}

void check_convert(const Node& node) {
  expect_params(node, {"dynamic_input_data", "dynamic_output_data"});
  if (bool_param(node, "dynamic_input_data", false) || bool_param(node, "dynamic_output_data", false)) refuse("dynamic encodings are not supported");
  check_pair(node, [](Element, Element) { return true; });
}

void plan(const Node& node, Planner& planner) {
  auto stage = std::make_unique<ConvertStage>(node, planner);
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = stage->row_bytes();
  work.reads = {stage->from()};
  work.writes = {stage->to()};
  work.stage = std::move(stage);
  planner.add(std::move(work));
}

// ------------------------------------------------------------------------------------------------------------------- Cast

/// The tensor with the numbers that it stores as its values.
TensorInfo without_encoding(const TensorInfo& tensor) {
  TensorInfo plain = tensor;
  plain.quantization = {};
  switch (tensor.dtype) {
    case abi::DataType::kUfixed8: plain.dtype = abi::DataType::kUint8; break;
    case abi::DataType::kSfixed8: plain.dtype = abi::DataType::kInt8; break;
    case abi::DataType::kUfixed16: plain.dtype = abi::DataType::kUint16; break;
    case abi::DataType::kSfixed16: plain.dtype = abi::DataType::kInt16; break;
    default: break;
  }
  return plain;
}

/// A narrower integer keeps its bits in INT32 and UINT32, as HTP has it: −1 becomes 2³² − 1, and the other way round.
TensorInfo target_of(const TensorInfo& from, TensorInfo to) {
  const bool is_narrow = is_integer_type(from.dtype) && from.dtype != abi::DataType::kInt64;
  if (!is_narrow || (type_of(to) & kTypesIndex) == 0) return to;
  const bool is_signed = from.dtype == abi::DataType::kInt8 || from.dtype == abi::DataType::kInt16 || from.dtype == abi::DataType::kInt32;
  to.dtype = is_signed ? abi::DataType::kInt32 : abi::DataType::kUint32;
  return to;
}

class CastStage final : public Stage {
 public:
  CastStage(const TensorInfo& x, const TensorInfo& y, Planner& planner, Slot from, Slot to)
      : x_(x, planner.ops()), y_(target_of(x, y), planner.ops()), columns_(y.last_dim()), from_(from), to_(to) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const bool is_whole = x_.is_integer();
    alignas(64) float reals[kBlock];
    alignas(64) int64_t integers[kBlock];
    const size_t last = size_t{end} * columns_;
    for (size_t first = size_t{begin} * columns_; first < last; first += kBlock) {
      const size_t n = std::min(kBlock, last - first);
      const auto at = static_cast<int64_t>(first);
      if (is_whole && y_.is_integer()) {
        x_.load(memory[from_], at, 1, n, integers);
        y_.store(memory[to_], at, n, integers);
      } else {
        x_.load(memory[from_], at, 1, n, reals);
        y_.store(memory[to_], at, n, reals);
      }
    }
  }

 private:
  Elements x_, y_;
  uint32_t columns_;
  Slot from_, to_;
};

constexpr TypeSet kCastable = kTypesReal | kTypesIndex | kTypeBool | kTypeI64 | kTypePlainU8 | kTypePlainI8;

void check_cast(const Node& node) {
  expect_params(node, {});
  expect_arity(node, 1, 1);
  for (const TensorInfo* tensor : {&node.in(0), &node.out()}) {
    if ((type_of(*tensor) & kCastable) == 0) refuse("'" + tensor->name + "' is " + data_type_name(tensor->dtype));
  }
  expect_same_shape(node.in(0), node.out());
}

void plan_cast(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = size_t{node.out().last_dim()} * (data_type_size(node.in(0).dtype) + data_type_size(node.out().dtype));
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<CastStage>(without_encoding(node.in(0)), without_encoding(node.out()), planner, work.reads[0], work.writes[0]);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Quantize", "F32, F16 to U8, S8, U16, S16 with scale and offset", check_quantize, plan},
    {"Dequantize", "U8, S8, U16, S16 with scale and offset to F32, F16", check_dequantize, plan},
    {"Convert", "between F32, F16, U8, S8, U16, S16 with static encodings", check_convert, plan},
    {"Cast", "between F32, F16, U8, S8, U16, S16, INT8, UINT8, INT32, UINT32, INT64, BOOL8: the stored numbers, whatever the encodings say", check_cast, plan_cast},
};

}  // namespace

std::span<const OpDefinition> convert_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
