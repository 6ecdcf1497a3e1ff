// FullyConnected and Conv2d 1×1: a matrix product over packed weights (kernels/gemm_i8).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/f16.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;
using kernels::GemmLayout;
using kernels::kGemmPanel;

/// What is common to both ops: y [rows, outputs] = x [rows, depth] · w.
struct Linear {
  uint32_t rows, depth, outputs;
  Element type;  // of x and y
  GemmLayout layout;
  bool transposed;    // w is [in, out]
  int32_t weight_axis;  // of an AXIS encoding
};

GemmLayout layout_of(const TensorInfo& x, const TensorInfo& w, Element type) {
  if (w.dtype == abi::DataType::kSfixed8 && type != Element::kF32) return type == Element::kF16 ? GemmLayout::kFloatS8 : GemmLayout::kDotS8;
  if (w.dtype == abi::DataType::kFloat16 && type == Element::kF16) return GemmLayout::kFloatF16;
  if (w.dtype == abi::DataType::kFloat32 && type == Element::kF32) return GemmLayout::kFloatF32;
  refuse(std::string(data_type_name(x.dtype)) + " x " + data_type_name(w.dtype) + " is not a form of it");
}

void check_weight(const TensorInfo& w, const Linear& linear) {
  if (w.dtype != abi::DataType::kSfixed8) return;
  const Quantization& q = w.quantization;
  if (q.kind != Quantization::Kind::kPerTensor && q.kind != Quantization::Kind::kAxis) refuse("weight '" + w.name + "' has neither one scale nor a scale per output");
  if (q.kind == Quantization::Kind::kAxis && q.axis != linear.weight_axis) refuse("weight '" + w.name + "' has its scales on axis " + std::to_string(q.axis));
  for (const kernels::Affine& one : q.values) {
    if (one.offset != 0) refuse("weight '" + w.name + "' is not symmetric");
  }
}

void check_bias(const TensorInfo& bias, const Linear& linear) {
  if (!bias.is_static()) refuse("bias '" + bias.name + "' is not constant");
  if (bias.elements() != linear.outputs || bias.last_dim() != linear.outputs) refuse("bias '" + bias.name + "' does not have one value per output");
  const abi::DataType wanted = is_quantized(linear.type) ? abi::DataType::kSfixed32 : linear.type == Element::kF16 ? abi::DataType::kFloat16 : abi::DataType::kFloat32;
  if (bias.dtype != wanted) refuse("bias '" + bias.name + "' is " + data_type_name(bias.dtype) + ", not " + data_type_name(wanted));
  if (is_quantized(linear.type) && bias.quantization.kind == Quantization::Kind::kOther) refuse("bias '" + bias.name + "' has an encoding that is not supported");
}

/// The largest |code + offset| of a quantised type.
int64_t largest_level(Element type, int64_t offset) { return std::max(std::abs(lowest_code(type) + offset), std::abs(highest_code(type) + offset)); }

void check_common(const Node& node, const Linear& linear) {
  const TensorInfo& x = node.in(0);
  if (computed_element(node.out()) != linear.type) {
    refuse(std::string("the output is ") + data_type_name(node.out().dtype) + " but the input " + data_type_name(x.dtype) + "; both have one type");
  }
  check_weight(node.in(1), linear);
  if (node.has_input(2)) check_bias(node.in(2), linear);
  if (linear.layout == GemmLayout::kDotS8) {
    const int64_t largest = largest_level(linear.type, x.affine().offset);
    // 16 bits are joined in double, which is exact far beyond these sums.
    if (linear.depth > kernels::kGemmMaxDepth || (!is_16_bit(linear.type) && largest * 128 * linear.depth > std::numeric_limits<int32_t>::max())) {
      refuse("the sums over " + std::to_string(linear.depth) + " inputs do not fit 32 bits");
    }
  }
}

Linear describe_fully_connected(const Node& node) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  const Element type = computed_element(x);
  if (w.dims.size() != 2) refuse("the weight has rank " + std::to_string(w.dims.size()) + ", not 2");
  const uint32_t outputs = w.dims[0], depth = w.dims[1];
  if (x.elements() % depth != 0) refuse("the input does not consist of rows of " + std::to_string(depth));
  const auto rows = static_cast<uint32_t>(x.elements() / depth);
  return {rows, depth, outputs, type, layout_of(x, w, type), false, 0};
}

void check_fully_connected(const Node& node) {
  expect_params(node, {"keep_dims"});
  expect_arity(node, 2, 3);
  if (bool_param(node, "keep_dims", false)) refuse("keep_dims is not supported");
  const Linear linear = describe_fully_connected(node);
  if (node.out().dims != std::vector<uint32_t>{linear.rows, linear.outputs}) {
    refuse("the output is not [" + std::to_string(linear.rows) + ", " + std::to_string(linear.outputs) + "]");
  }
  check_common(node, linear);
}

Linear describe_conv2d(const Node& node) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  const Element type = computed_element(x);
  if (x.dims.size() != 4 || w.dims.size() != 4) refuse("input and filter do not have rank 4");
  if (w.dims[0] != 1 || w.dims[1] != 1) refuse("the filter is not 1x1");
  if (x.last_dim() != w.dims[2]) refuse("the filter takes " + std::to_string(w.dims[2]) + " channels but the input has " + std::to_string(x.last_dim()));
  return {rows_of(x), w.dims[2], w.dims[3], type, layout_of(x, w, type), true, 3};
}

void check_conv2d(const Node& node) {
  expect_params(node, {"stride", "pad_amount", "group", "dilation", "reuse_sparse_indices"});
  expect_arity(node, 2, 3);
  expect_filled_param(node, "stride", 2, 1);
  expect_filled_param(node, "pad_amount", 4, 0);
  expect_filled_param(node, "dilation", 2, 1);
  if (integer_param(node, "group", 1) != 1) refuse("only group 1 is supported");
  if (bool_param(node, "reuse_sparse_indices", false)) refuse("sparse tensors are not supported");
  const Linear linear = describe_conv2d(node);
  std::vector<uint32_t> wanted = node.in(0).dims;
  wanted.back() = linear.outputs;
  if (node.out().dims != wanted) refuse("the output does not have the input's shape with " + std::to_string(linear.outputs) + " channels");
  check_common(node, linear);
}

/// Scales, biases and the zero point's share of one linear, in the form that the kernel takes.
class Coefficients {
 public:
  Coefficients(const Node& node, const Linear& linear) : linear_(linear), padded_(kernels::gemm_panels(linear.outputs) * kGemmPanel) {
    const TensorInfo& x = node.in(0);
    const bool quantized = is_quantized(linear.type);
    // Signed codes are prepared as unsigned ones.
    zero_ = quantized ? static_cast<int64_t>(x.affine().offset) + lowest_code(linear.type) : 0;
    largest_ = quantized ? largest_level(linear.type, x.affine().offset) : 0;
    multiplier_ = AlignedBuffer(size_t{padded_} * width());
    if (node.has_input(2)) bias_ = AlignedBuffer::of<double>(padded_);
    for (uint32_t o = 0; o < linear.outputs; ++o) {
      const double weight = weight_scale(node.in(1), o);
      const double step = quantized ? static_cast<double>(x.affine().scale) * weight : 1.0;
      if (node.has_input(2)) bias_.as<double>()[o] = bias(node.in(2), o, step);
      store(multiplier_.data(), o, quantized ? step / node.out().affine().scale : weight);
    }
  }

  /// Bytes of one multiplier or correction.
  size_t width() const noexcept { return is_16_bit(linear_.type) ? 8 : 4; }
  size_t correction_bytes() const noexcept { return size_t{padded_} * width(); }
  const std::byte* multiplier() const noexcept { return multiplier_.data(); }
  bool needs_correction() const noexcept { return is_quantized(linear_.type) || !bias_.empty(); }

  /// Corrections of outputs [begin, end) into `out` (correction_bytes()). `sums` are the weight's; NULL for float forms.
  void correct(const int32_t* sums, uint32_t begin, uint32_t end, std::byte* out) const noexcept {
    for (uint32_t o = begin; o < end; ++o) {
      const double add = bias_.empty() ? 0.0 : bias_.as<double>()[o];
      if (is_16_bit(linear_.type)) {
        const double value = static_cast<double>(zero_ * sums[o]) + add;
        std::memcpy(out + size_t{o} * 8, &value, 8);
      } else if (is_quantized(linear_.type)) {
        const auto value = static_cast<int32_t>(zero_ * sums[o] + static_cast<int64_t>(add));
        std::memcpy(out + size_t{o} * 4, &value, 4);
      } else {
        const auto value = static_cast<float>(add);
        std::memcpy(out + size_t{o} * 4, &value, 4);
      }
    }
  }

 private:
  static double weight_scale(const TensorInfo& w, uint32_t output) {
    if (w.dtype != abi::DataType::kSfixed8) return 1.0;
    const auto& values = w.quantization.values;
    return values[values.size() == 1 ? 0 : output].scale;
  }

  /// The bias of one output in units of the accumulator (quantised forms) or as it is.
  double bias(const TensorInfo& tensor, uint32_t output, double step) const {
    const std::byte* raw = raw_data(tensor);
    if (!is_quantized(linear_.type)) {
      if (linear_.type == Element::kF16) {
        uint16_t half;
        std::memcpy(&half, raw + size_t{output} * 2, 2);
        return f16_to_f32(half);
      }
      float value;
      std::memcpy(&value, raw + size_t{output} * 4, 4);
      return value;
    }
    int32_t code;
    std::memcpy(&code, raw + size_t{output} * 4, 4);
    const auto& values = tensor.quantization.values;
    const kernels::Affine encoding = values.empty() ? kernels::Affine{0.0f, 0} : values[values.size() == 1 ? 0 : output];
    const double units = static_cast<double>(code) + encoding.offset;
    if (units == 0.0) return 0.0;
    double exact = units;
    if (encoding.scale > 0.0f) {  // scale 0 or none: in units of the accumulator by convention
      if (!(step > 0.0)) throw Failure(abi::kGraphFinalizeFailed, "output " + std::to_string(output) + " has a bias but a weight scale of 0");
      const double ratio = encoding.scale / step;
      // F32 scales that mean the same product differ in their last bits.
      if (std::abs(ratio - 1.0) > 1e-4) exact = std::nearbyint(units * ratio);
    }
    if (is_16_bit(linear_.type)) return exact;
    // Keeps bias + sum in 32 bits; a bias at that bound exceeds every sum by far.
    const double room = 2147483647.0 - 128.0 * static_cast<double>(largest_) * linear_.depth;
    return std::clamp(exact, -room, room);
  }

  static const std::byte* raw_data(const TensorInfo& tensor) {
    if (tensor.data == nullptr || !tensor.data->has_raw()) throw Failure(abi::kGraphFinalizeFailed, "constant '" + tensor.name + "' has no data");
    return tensor.data->raw().data();
  }

  void store(std::byte* to, uint32_t output, double value) const noexcept {
    if (width() == 8) {
      std::memcpy(to + size_t{output} * 8, &value, 8);
    } else {
      // An output scale next to nothing would make it infinite, and 0 · ∞ is no number.
      const auto narrow = static_cast<float>(std::min(value, static_cast<double>(std::numeric_limits<float>::max())));
      std::memcpy(to + size_t{output} * 4, &narrow, 4);
    }
  }

  Linear linear_;
  uint32_t padded_;
  int64_t zero_ = 0, largest_ = 0;
  AlignedBuffer multiplier_, bias_;
};

class PrepareStage final : public Stage {
 public:
  PrepareStage(const kernels::GemmKernel& kernel, const Linear& linear, Slot from, Slot to)
      : kernel_(kernel), type_(linear.type), depth_(linear.depth), from_(from), to_(to) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    kernel_.prepare(type_, memory[from_], depth_ * element_size(type_), depth_, begin, end, memory[to_]);
  }

 private:
  const kernels::GemmKernel& kernel_;
  Element type_;
  uint32_t depth_;
  Slot from_, to_;
};

/// Packs a weight that is not constant; an item is a panel.
class PackStage final : public Stage {
 public:
  PackStage(const Linear& linear, std::shared_ptr<const Coefficients> coefficients, Slot from, Slot to, Slot correction)
      : linear_(linear), coefficients_(std::move(coefficients)), from_(from), to_(to), correction_(correction) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t output_stride = linear_.transposed ? 1 : linear_.depth, depth_stride = linear_.transposed ? linear_.outputs : 1;
    kernels::gemm_pack(linear_.layout, memory[from_], output_stride, depth_stride, linear_.outputs, linear_.depth, begin, end, memory[to_]);
    if (!coefficients_->needs_correction()) return;
    const int32_t* sums = linear_.layout == GemmLayout::kDotS8 ? kernels::gemm_weight_sums(memory[to_], linear_.outputs, linear_.depth) : nullptr;
    coefficients_->correct(sums, begin * kGemmPanel, std::min(end * kGemmPanel, linear_.outputs), memory[correction_]);
  }

 private:
  Linear linear_;
  std::shared_ptr<const Coefficients> coefficients_;
  Slot from_, to_, correction_;
};

/// An item is a cell of a grid of row chunks × panel chunks, panels outermost, so that neighbouring tasks share weights.
struct Grid {
  uint32_t row_chunk, row_chunks, panel_chunk, panel_chunks;
};

Grid cut(const Linear& linear, uint32_t threads) {
  constexpr uint32_t kRowStep = 6;       // rows of the largest register tile
  constexpr uint32_t kMaxRows = 192;     // rows whose activations stay in the second-level cache
  constexpr uint32_t kCellsPerThread = 8;  // so that an uneven end costs little
  const uint32_t panels = kernels::gemm_panels(linear.outputs);
  Grid grid{};
  const uint32_t wanted = threads == 1 ? 1 : threads * kCellsPerThread;
  uint32_t row_chunks = (linear.rows + kMaxRows - 1) / kMaxRows;
  if (panels * row_chunks < wanted) row_chunks = std::max(row_chunks, std::min((wanted + panels - 1) / panels, linear.rows / (2 * kRowStep)));
  grid.row_chunk = ((linear.rows + row_chunks - 1) / row_chunks + kRowStep - 1) / kRowStep * kRowStep;
  if (row_chunks == 1) grid.row_chunk = linear.rows;
  grid.row_chunks = (linear.rows + grid.row_chunk - 1) / grid.row_chunk;
  grid.panel_chunk = std::max(1u, panels * grid.row_chunks / wanted);
  grid.panel_chunks = (panels + grid.panel_chunk - 1) / grid.panel_chunk;
  return grid;
}

class GemmStage final : public Stage {
 public:
  GemmStage(const kernels::GemmKernel& kernel, const Linear& linear, const Grid& grid, int32_t offset, std::shared_ptr<const Coefficients> coefficients)
      : kernel_(kernel), linear_(linear), grid_(grid), coefficients_(std::move(coefficients)) {
    args_.layout = linear.layout;
    args_.type = linear.type;
    args_.outputs = linear.outputs;
    args_.depth = linear.depth;
    args_.y_stride = linear.outputs * element_size(linear.type);
    args_.multiplier = coefficients_->multiplier();
    args_.offset = offset;
  }
  void set_input(Slot slot, size_t stride) noexcept {
    x_ = slot;
    args_.x_stride = stride;
  }
  void set_output(Slot slot) noexcept { y_ = slot; }
  void set_constant_weight(const std::byte* packed) {
    args_.packed = packed;
    if (!coefficients_->needs_correction()) return;
    correction_ = AlignedBuffer(coefficients_->correction_bytes());
    const int32_t* sums = linear_.layout == GemmLayout::kDotS8 ? kernels::gemm_weight_sums(packed, linear_.outputs, linear_.depth) : nullptr;
    coefficients_->correct(sums, 0, linear_.outputs, correction_.data());
    args_.correction = correction_.data();
  }
  void set_packed_weight(Slot packed, Slot correction) noexcept {
    dynamic_ = true;
    packed_slot_ = packed;
    correction_slot_ = correction;
  }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    kernels::GemmArgs args = args_;
    args.x = memory[x_];
    args.y = memory[y_];
    if (dynamic_) {
      args.packed = memory[packed_slot_];
      args.correction = coefficients_->needs_correction() ? memory[correction_slot_] : nullptr;
    }
    const uint32_t panels = kernels::gemm_panels(linear_.outputs);
    for (uint32_t cell = begin; cell < end; ++cell) {
      const uint32_t row = cell % grid_.row_chunks * grid_.row_chunk, panel = cell / grid_.row_chunks * grid_.panel_chunk;
      kernel_.run(args, row, std::min(row + grid_.row_chunk, linear_.rows), panel, std::min(panel + grid_.panel_chunk, panels));
    }
  }

 private:
  const kernels::GemmKernel& kernel_;
  Linear linear_;
  Grid grid_;
  std::shared_ptr<const Coefficients> coefficients_;
  kernels::GemmArgs args_;
  AlignedBuffer correction_;
  Slot x_ = 0, y_ = 0, packed_slot_ = 0, correction_slot_ = 0;
  bool dynamic_ = false;
};

/// The slot that the kernel reads x from: x itself, or its prepared form.
Slot plan_input(const TensorInfo& x, const Linear& linear, Planner& planner) {
  const Slot from = planner.slot(x);
  if (!kernels::gemm_needs_prepare(linear.type, linear.depth)) return from;
  if (const Slot* known = planner.prepared(from, linear.depth)) return *known;
  const size_t row = kernels::gemm_prepared_row(linear.type, linear.depth);
  const Slot to = planner.scratch(size_t{linear.rows} * row);
  StagePlan work;
  work.stage = std::make_unique<PrepareStage>(planner.gemm(), linear, from, to);
  work.items = linear.rows;
  work.rowwise = true;
  work.row_bytes = row + linear.depth * element_size(linear.type);
  work.reads = {from};
  work.writes = {to};
  planner.add(std::move(work));
  planner.remember_prepared(from, linear.depth, to);
  return to;
}

void plan_linear(const Node& node, const Linear& linear, Planner& planner) {
  const auto coefficients = std::make_shared<const Coefficients>(node, linear);
  const Grid grid = cut(linear, planner.runner().threads());
  auto gemm = std::make_unique<GemmStage>(planner.gemm(), linear, grid, node.out().affine().offset, coefficients);
  StagePlan work;
  const bool prepared = kernels::gemm_needs_prepare(linear.type, linear.depth);
  const Slot input = plan_input(node.in(0), linear, planner);
  const size_t stride = prepared ? kernels::gemm_prepared_row(linear.type, linear.depth) : linear.depth * element_size(linear.type);
  gemm->set_input(input, stride);
  work.shared.push_back(input);
  const TensorInfo& weight = node.in(1);
  if (weight.is_static()) {
    if (weight.data == nullptr) throw Failure(abi::kGraphFinalizeFailed, "constant '" + weight.name + "' has no data");
    gemm->set_constant_weight(weight.data->packed(linear.layout, linear.transposed, linear.outputs, linear.depth, planner.runner()));
  } else {
    StagePlan pack;
    const Slot from = planner.slot(weight), packed = planner.scratch(kernels::gemm_packed_size(linear.layout, linear.outputs, linear.depth));
    const Slot correction = planner.scratch(coefficients->correction_bytes());
    pack.stage = std::make_unique<PackStage>(linear, coefficients, from, packed, correction);
    pack.items = kernels::gemm_panels(linear.outputs);
    pack.grain = 1;
    pack.shared = {from};
    pack.writes = {packed, correction};
    planner.add(std::move(pack));
    gemm->set_packed_weight(packed, correction);
    work.shared.insert(work.shared.end(), {packed, correction});
  }
  const Slot output = planner.slot(node.out());
  gemm->set_output(output);
  work.writes = {output};
  work.items = grid.row_chunks * grid.panel_chunks;
  work.grain = 1;
  work.stage = std::move(gemm);
  planner.add(std::move(work));
}

void plan_fully_connected(const Node& node, Planner& planner) { plan_linear(node, describe_fully_connected(node), planner); }
void plan_conv2d(const Node& node, Planner& planner) { plan_linear(node, describe_conv2d(node), planner); }

constexpr OpDefinition kOps[] = {
    {"FullyConnected", "U8, S8, U16, S16 x S8 (scale per tensor or per output, symmetric), F16 x S8, F16 x F16, F32 x F32; output of the input's type, [rows, outputs]; weight [outputs, inputs]; "
     "optional constant bias S32 (quantised), F16 or F32", check_fully_connected, plan_fully_connected},
    {"Conv2d", "the forms of FullyConnected with a 1x1 filter [1, 1, inputs, outputs], scales on axis 3, stride 1, no padding, group 1", check_conv2d, plan_conv2d},
};

}  // namespace

std::span<const OpDefinition> linear_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
