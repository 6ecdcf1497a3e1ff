#include "hostnpu/product.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "hostnpu/coefficients.h"
#include "hostnpu/convert.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;
using kernels::GemmLayout;
using kernels::kGemmPanel;

constexpr uint32_t kMaxWideDepth = 1u << 18;  // keeps Σ of 17 bit × 17 bit products exact in a double

void check_weight(const TensorInfo& w, const Product& product, const ProductMethod& method) {
  if (w.dtype == abi::DataType::kFloat16 || w.dtype == abi::DataType::kFloat32) return;
  const Quantization& q = w.quantization;
  const bool per_axis = q.kind == Quantization::Kind::kAxis;
  if (q.kind != Quantization::Kind::kPerTensor && !per_axis) refuse("weight '" + w.name + "' has neither one scale nor a scale per output");
  if (per_axis && q.axis != product.weight_axis) refuse("weight '" + w.name + "' has its scales on axis " + std::to_string(q.axis));
  const bool has_zero = std::any_of(q.values.begin(), q.values.end(), [](const kernels::Affine& one) { return one.offset != 0; });
  if (per_axis && (has_zero || w.dtype != abi::DataType::kSfixed8)) refuse("weight '" + w.name + "' has a scale per output but is not S8 and symmetric");
  if (method.layout == GemmLayout::kFloatS8 && has_zero) refuse("weight '" + w.name + "' is not symmetric");
}

void check_bias(const TensorInfo& bias, const Product& product) {
  if (!bias.is_static()) refuse("bias '" + bias.name + "' is not constant");
  const uint32_t outputs = product.all_outputs();
  if (bias.elements() != outputs || bias.last_dim() != outputs) refuse("bias '" + bias.name + "' does not have one value per output");
  if (is_quantized(product.type)) {
    if (bias.dtype != abi::DataType::kSfixed32 && bias.dtype != abi::DataType::kUfixed8) refuse("bias '" + bias.name + "' is " + data_type_name(bias.dtype) + ", not S32 or U8");
    if (bias.dtype == abi::DataType::kUfixed8) computed_element(bias);
    if (bias.quantization.kind == Quantization::Kind::kOther) refuse("bias '" + bias.name + "' has an encoding that is not supported");
    return;
  }
  const abi::DataType wanted = product.type == Element::kF16 ? abi::DataType::kFloat16 : abi::DataType::kFloat32;
  if (bias.dtype != wanted) refuse("bias '" + bias.name + "' is " + data_type_name(bias.dtype) + ", not " + data_type_name(wanted));
}

uint32_t rows_of_x(const Product& product) {
  uint32_t rows = 0;
  for (const Product::Batch& batch : product.batches) rows = std::max(rows, batch.x + product.rows);
  return rows;
}

class PrepareStage final : public Stage {
 public:
  PrepareStage(const kernels::GemmKernel& kernel, const Product& product, Slot from, Slot to)
      : kernel_(kernel), type_(product.type), depth_(product.depth), from_(from), to_(to) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    kernel_.prepare(type_, memory[from_], depth_ * element_size(type_), depth_, begin, end, memory[to_]);
  }

 private:
  const kernels::GemmKernel& kernel_;
  Element type_;
  uint32_t depth_;
  Slot from_, to_;
};

/// Per row of x: the zero point of w times Σ of the row's levels.
class RowTermStage final : public Stage {
 public:
  RowTermStage(const TensorInfo& x, const Product& product, int32_t zero, Slot from, Slot to)
      : offset_(x.affine().offset), zero_(zero), depth_(product.depth), type_(product.type), from_(from), to_(to) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t row = begin; row < end; ++row) {
      const int64_t term = zero_ * (sum(memory[from_] + size_t{row} * depth_ * element_size(type_)) + int64_t{depth_} * offset_);
      if (is_16_bit(type_)) {
        const auto value = static_cast<double>(term);
        std::memcpy(memory[to_] + size_t{row} * 8, &value, 8);
      } else {
        const auto value = static_cast<int32_t>(term);  // wraps where the total does not
        std::memcpy(memory[to_] + size_t{row} * 4, &value, 4);
      }
    }
  }

 private:
  template <class T>
  int64_t sum_of(const std::byte* row) const {
    int64_t total = 0;
    for (uint32_t k = 0; k < depth_; ++k) {
      T code;
      std::memcpy(&code, row + k * sizeof(T), sizeof(T));
      total += code;
    }
    return total;
  }
  int64_t sum(const std::byte* row) const {
    switch (type_) {
      case Element::kU8: return sum_of<uint8_t>(row);
      case Element::kS8: return sum_of<int8_t>(row);
      case Element::kU16: return sum_of<uint16_t>(row);
      default: return sum_of<int16_t>(row);
    }
  }

  int64_t offset_, zero_;
  uint32_t depth_;
  Element type_;
  Slot from_, to_;
};

/// U8 codes as S8 ones: code − 128.
class FlipStage final : public Stage {
 public:
  static constexpr size_t kItem = 16384;
  FlipStage(Slot from, Slot to, size_t bytes) : from_(from), to_(to), bytes_(bytes) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t first = begin * kItem, last = std::min(end * kItem, bytes_);
    for (size_t i = first; i < last; ++i) memory[to_][i] = memory[from_][i] ^ std::byte{0x80};
  }

 private:
  Slot from_, to_;
  size_t bytes_;
};

/// Packs weights that are not constant; an item is a panel of one of them.
class PackStage final : public Stage {
 public:
  PackStage(const Product& product, GemmLayout layout, std::shared_ptr<const Coefficients> coefficients, Slot from, Slot to, Slot correction)
      : product_(product), layout_(layout), coefficients_(std::move(coefficients)), from_(from), to_(to), correction_(correction) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint32_t panels = kernels::gemm_panels(product_.outputs);
    const size_t size = kernels::gemm_packed_size(layout_, product_.outputs, product_.depth);
    for (uint32_t item = begin; item < end; ++item) {
      const uint32_t weight = item / panels, panel = item % panels;
      std::byte* packed = memory[to_] + weight * size;
      kernels::gemm_pack(layout_, memory[from_] + product_.weights[weight] * kernels::gemm_weight_size(layout_), product_.output_stride, product_.depth_stride, product_.outputs,
                         product_.depth, panel, panel + 1, packed);
      if (coefficients_ == nullptr || !coefficients_->needs_correction()) continue;
      const int32_t* sums = layout_ == GemmLayout::kDotS8 ? kernels::gemm_weight_sums(packed, product_.outputs, product_.depth) : nullptr;
      coefficients_->correct(weight, sums, panel * kGemmPanel, std::min((panel + 1) * kGemmPanel, product_.outputs), memory[correction_] + weight * coefficients_->correction_bytes());
    }
  }

 private:
  Product product_;
  GemmLayout layout_;
  std::shared_ptr<const Coefficients> coefficients_;
  Slot from_, to_, correction_;
};

/// An item is a cell of a grid of row chunks × panel chunks, panels outermost, so that neighbouring tasks share weights.
struct Grid {
  uint32_t row_chunk, row_chunks, panel_chunk, panel_chunks;
};

Grid cut(const Product& product, uint32_t threads) {
  constexpr uint32_t kRowStep = 6;       // rows of the largest register tile
  constexpr uint32_t kMaxRows = 192;     // rows whose activations stay in the second-level cache
  constexpr uint32_t kCellsPerThread = 8;  // so that an uneven end costs little
  const uint32_t panels = kernels::gemm_panels(product.outputs);
  const auto batches = static_cast<uint32_t>(product.batches.size());
  Grid grid{};
  const uint32_t all = threads == 1 ? 1 : threads * kCellsPerThread, wanted = std::max(1u, all / batches);
  uint32_t row_chunks = (product.rows + kMaxRows - 1) / kMaxRows;
  if (panels * row_chunks < wanted) row_chunks = std::max(row_chunks, std::min((wanted + panels - 1) / panels, product.rows / (2 * kRowStep)));
  grid.row_chunk = ((product.rows + row_chunks - 1) / row_chunks + kRowStep - 1) / kRowStep * kRowStep;
  if (row_chunks == 1) grid.row_chunk = product.rows;
  grid.row_chunks = (product.rows + grid.row_chunk - 1) / grid.row_chunk;
  grid.panel_chunk = std::max(1u, panels * grid.row_chunks / wanted);
  grid.panel_chunks = (panels + grid.panel_chunk - 1) / grid.panel_chunk;
  return grid;
}

class GemmStage final : public Stage {
 public:
  GemmStage(const kernels::GemmKernel& kernel, const Product& product, GemmLayout layout, const Grid& grid, int32_t offset, std::shared_ptr<const Coefficients> coefficients)
      : kernel_(kernel), product_(product), grid_(grid), coefficients_(std::move(coefficients)), packed_size_(kernels::gemm_packed_size(layout, product.outputs, product.depth)) {
    args_.layout = layout;
    args_.type = product.type;
    args_.outputs = product.outputs;
    args_.depth = product.depth;
    args_.y_stride = product.y_stride * element_size(product.type);
    args_.offset = offset;
  }
  void set_input(Slot slot, size_t stride) noexcept {
    x_ = slot;
    args_.x_stride = stride;
  }
  void set_output(Slot slot) noexcept { y_ = slot; }
  void set_row_terms(Slot slot) noexcept { row_terms_ = slot; }
  /// Weights that lie one behind the other and stay.
  void set_constant_weights(const std::byte* packed) {
    constant_ = packed;
    if (!coefficients_->needs_correction()) return;
    correction_ = AlignedBuffer(product_.weights.size() * coefficients_->correction_bytes());
    for (uint32_t w = 0; w < product_.weights.size(); ++w) {
      const int32_t* sums = args_.layout == GemmLayout::kDotS8 ? kernels::gemm_weight_sums(packed + w * packed_size_, product_.outputs, product_.depth) : nullptr;
      coefficients_->correct(w, sums, 0, product_.outputs, correction_.data() + w * coefficients_->correction_bytes());
    }
  }
  void own(AlignedBuffer packed) {
    owned_ = std::move(packed);
    set_constant_weights(owned_.data());
  }
  void set_packed_weights(Slot packed, Slot correction) noexcept {
    packed_slot_ = packed;
    correction_slot_ = correction;
  }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    kernels::GemmArgs args = args_;
    const std::byte* packed = constant_ != nullptr ? constant_ : memory[packed_slot_];
    const std::byte* correction = !coefficients_->needs_correction() ? nullptr : constant_ != nullptr ? correction_.data() : memory[correction_slot_];
    const uint32_t panels = kernels::gemm_panels(product_.outputs), cells = grid_.row_chunks * grid_.panel_chunks;
    for (uint32_t item = begin; item < end; ++item) {
      const Product::Batch& batch = product_.batches[item / cells];
      const uint32_t cell = item % cells;
      args.x = memory[x_] + batch.x * args.x_stride;
      args.y = memory[y_] + batch.y * element_size(args.type);
      args.packed = packed + batch.weight * packed_size_;
      args.multiplier = coefficients_->multiplier(batch.weight);
      if (correction != nullptr) args.correction = correction + batch.weight * coefficients_->correction_bytes();
      if (row_terms_) args.row_correction = memory[*row_terms_] + batch.x * coefficients_->width();
      const uint32_t row = cell % grid_.row_chunks * grid_.row_chunk, panel = cell / grid_.row_chunks * grid_.panel_chunk;
      kernel_.run(args, row, std::min(row + grid_.row_chunk, product_.rows), panel, std::min(panel + grid_.panel_chunk, panels));
    }
  }

 private:
  const kernels::GemmKernel& kernel_;
  Product product_;
  Grid grid_;
  std::shared_ptr<const Coefficients> coefficients_;
  size_t packed_size_;
  kernels::GemmArgs args_;
  AlignedBuffer owned_, correction_;
  const std::byte* constant_ = nullptr;
  Slot x_ = 0, y_ = 0, packed_slot_ = 0, correction_slot_ = 0;
  std::optional<Slot> row_terms_;
};

void add_rows(Planner& planner, std::unique_ptr<Stage> stage, uint32_t rows, size_t row_bytes, Slot from, Slot to) {
  StagePlan work;
  work.stage = std::move(stage);
  work.items = rows;
  work.rowwise = true;
  work.row_bytes = row_bytes;
  work.reads = {from};
  work.writes = {to};
  planner.add(std::move(work));
}

/// The slot that the kernel reads x from: x itself, or its prepared form.
Slot plan_input(const Product& product, Slot from, Planner& planner) {
  if (!kernels::gemm_needs_prepare(product.type, product.depth)) return from;
  if (const Slot* known = planner.prepared(from, product.depth)) return *known;
  const uint32_t rows = rows_of_x(product);
  const size_t row = kernels::gemm_prepared_row(product.type, product.depth);
  const Slot to = planner.scratch(size_t{rows} * row);
  add_rows(planner, std::make_unique<PrepareStage>(planner.gemm(), product, from, to), rows, row + product.depth * element_size(product.type), from, to);
  planner.remember_prepared(from, product.depth, to);
  return to;
}

/// Weights as the kernel has them, before packing: U8 codes are shifted.
Slot plan_weight_codes(const TensorInfo& weight, Planner& planner) {
  const Slot from = planner.slot(weight);
  if (weight.dtype != abi::DataType::kUfixed8) return from;
  const size_t bytes = weight.bytes();
  const Slot to = planner.scratch(bytes);
  StagePlan work;
  work.stage = std::make_unique<FlipStage>(from, to, bytes);
  work.items = static_cast<uint32_t>((bytes + FlipStage::kItem - 1) / FlipStage::kItem);
  work.grain = 1;
  work.shared = {from};
  work.writes = {to};
  planner.add(std::move(work));
  return to;
}

struct PackedSlots {
  Slot packed, correction;
};
PackedSlots plan_pack(const Product& product, GemmLayout layout, const std::shared_ptr<const Coefficients>& coefficients, Slot from, Planner& planner) {
  const size_t count = product.weights.size();
  const PackedSlots to{planner.scratch(count * kernels::gemm_packed_size(layout, product.outputs, product.depth)),
                       planner.scratch(coefficients == nullptr ? 64 : count * coefficients->correction_bytes())};
  StagePlan pack;
  pack.stage = std::make_unique<PackStage>(product, layout, coefficients, from, to.packed, to.correction);
  pack.items = kernels::gemm_panels(product.outputs) * static_cast<uint32_t>(count);
  pack.grain = 1;
  pack.shared = {from};
  pack.writes = {to.packed, to.correction};
  planner.add(std::move(pack));
  return to;
}

/// One matrix that fills the whole tensor: its packed form is kept with the tensor, for other nodes and for the context binary.
bool is_plain(const Product& product) {
  const bool rows = product.depth_stride == 1 && product.output_stride == product.depth, columns = product.output_stride == 1 && product.depth_stride == product.outputs;
  return product.weights.size() == 1 && product.weights[0] == 0 && (rows || columns);
}

void set_constant(const Product& product, GemmLayout layout, const TensorInfo& weight, GemmStage& gemm, Planner& planner) {
  if (weight.data == nullptr) throw Failure(abi::kGraphFinalizeFailed, "constant '" + weight.name + "' has no data");
  if (is_plain(product)) {
    gemm.set_constant_weights(weight.data->packed(layout, product.output_stride == 1 && product.depth_stride != 1, product.outputs, product.depth, weight.dtype == abi::DataType::kUfixed8,
                                                  planner.runner()));
    return;
  }
  planner.slot(weight);  // says that the raw data is needed: a context binary has no other form of it
  AlignedBuffer codes(weight.bytes());
  std::memcpy(codes.data(), weight.data->raw().data(), weight.bytes());
  if (weight.dtype == abi::DataType::kUfixed8) {
    for (size_t i = 0; i < weight.bytes(); ++i) codes.data()[i] ^= std::byte{0x80};
  }
  const size_t size = kernels::gemm_packed_size(layout, product.outputs, product.depth);
  const uint32_t panels = kernels::gemm_panels(product.outputs);
  AlignedBuffer packed(size * product.weights.size());
  planner.runner().run(panels * static_cast<uint32_t>(product.weights.size()), [&](uint32_t item) {
    const uint32_t w = item / panels, panel = item % panels;
    kernels::gemm_pack(layout, codes.data() + product.weights[w] * kernels::gemm_weight_size(layout), product.output_stride, product.depth_stride, product.outputs, product.depth, panel,
                       panel + 1, packed.data() + w * size);
  });
  gemm.own(std::move(packed));
}

/// Codes with the zero point taken off, as F32.
Slot plan_levels(const TensorInfo& tensor, uint64_t elements, Slot from, Planner& planner) {
  const Slot to = planner.scratch(elements * 4);
  plan_convert(planner, from, {*element_of(tensor.dtype), {1.0f, tensor.affine().offset}}, to, {Element::kF32, {}}, elements);
  return to;
}

void plan_wide(const Node& node, const Product& product, const std::shared_ptr<const Coefficients>& coefficients, Slot x, Planner& planner) {
  const TensorInfo& weight = node.in(1);
  const Slot rows = plan_levels(node.in(0), uint64_t{rows_of_x(product)} * product.depth, x, planner);
  const Slot codes = plan_levels(weight, weight.elements(), planner.slot(weight), planner);
  const PackedSlots packed = plan_pack(product, GemmLayout::kFloatF32, nullptr, codes, planner);
  plan_wide_product(product, coefficients, rows, packed.packed, kernels::gemm_packed_size(GemmLayout::kFloatF32, product.outputs, product.depth), node.out(), planner);
}

}  // namespace

void check_product(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y) {
  const ProductMethod method = product_method(product.type, w.dtype);
  if (!method.exists) refuse(std::string(data_type_name(x.dtype)) + " x " + data_type_name(w.dtype) + " is not a form of it");
  if (computed_element(y) != product.type) refuse(std::string("the output is ") + data_type_name(y.dtype) + " but the input " + data_type_name(x.dtype) + "; both have one type");
  check_weight(w, product, method);
  if (bias != nullptr) check_bias(*bias, product);
  if (method.wide && product.depth > kMaxWideDepth) refuse("the sums over " + std::to_string(product.depth) + " inputs are not exact");
  if (method.layout != GemmLayout::kDotS8) return;
  const int64_t x_level = largest_level(product.type, x.affine().offset), w_level = largest_level(*element_of(w.dtype), w.affine().offset);
  // 16 bits are joined in double, which is exact far beyond these sums.
  if (product.depth > kernels::kGemmMaxDepth || (!is_16_bit(product.type) && x_level * w_level * product.depth > std::numeric_limits<int32_t>::max())) {
    refuse("the sums over " + std::to_string(product.depth) + " inputs do not fit 32 bits");
  }
}

void plan_product(const Node& node, const Product& product, Slot x, Planner& planner) {
  const TensorInfo &input = node.in(0), &weight = node.in(1);
  const ProductMethod method = product_method(product.type, weight.dtype);
  const auto coefficients = std::make_shared<const Coefficients>(product, input, weight, node.has_input(2) ? &node.in(2) : nullptr, node.out());
  if (method.wide) return plan_wide(node, product, coefficients, x, planner);
  const Grid grid = cut(product, planner.runner().threads());
  auto gemm = std::make_unique<GemmStage>(planner.gemm(), product, method.layout, grid, node.out().affine().offset, coefficients);
  StagePlan work;
  const bool prepared = kernels::gemm_needs_prepare(product.type, product.depth);
  const Slot rows = plan_input(product, x, planner);
  gemm->set_input(rows, prepared ? kernels::gemm_prepared_row(product.type, product.depth) : product.depth * element_size(product.type));
  work.shared.push_back(rows);
  if (const int32_t zero = weight_zero(weight); method.layout == GemmLayout::kDotS8 && zero != 0) {
    const Slot terms = planner.scratch(size_t{rows_of_x(product)} * coefficients->width());
    add_rows(planner, std::make_unique<RowTermStage>(input, product, zero, x, terms), rows_of_x(product), product.depth * element_size(product.type), x, terms);
    gemm->set_row_terms(terms);
    work.shared.push_back(terms);
  }
  if (weight.is_static()) {
    set_constant(product, method.layout, weight, *gemm, planner);
  } else {
    const PackedSlots packed = plan_pack(product, method.layout, coefficients, plan_weight_codes(weight, planner), planner);
    gemm->set_packed_weights(packed.packed, packed.correction);
    work.shared.insert(work.shared.end(), {packed.packed, packed.correction});
  }
  const Slot output = planner.slot(node.out());
  gemm->set_output(output);
  work.writes = {output};
  work.items = grid.row_chunks * grid.panel_chunks * static_cast<uint32_t>(product.batches.size());
  work.grain = 1;
  work.stage = std::move(gemm);
  planner.add(std::move(work));
}

}  // namespace lutra::hostnpu
