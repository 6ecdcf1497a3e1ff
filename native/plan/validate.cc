// Shape, dtype and attribute rules of the CPU steps, one function per family. The executor relies on them and checks nothing again.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "base/error.h"
#include "plan/plan.h"
#include "store/json_scanner.h"

namespace lutra::plan {
namespace {

/// One step under test, with the words to complain about it.
class Checker {
 public:
  Checker(const Plan& plan, const Program& program, size_t index)
      : plan_(plan), step_(program.steps[index]),
        where_("plan: program " + store::quote(program.name) + " step " + std::to_string(index) + " (" + kStepNames[static_cast<uint32_t>(step_.op)] + ")") {}

  const Step& step() const { return step_; }
  const Config& config() const { return plan_.config; }
  const Plan& plan() const { return plan_; }
  const Tensor& in(size_t i) const { return plan_.tensors[step_.inputs[i]]; }
  const Tensor& out(size_t i) const { return plan_.tensors[step_.outputs[i]]; }

  [[noreturn]] void fail(const std::string& what) const { throw Error(ErrorCode::kBadPlan, where_ + ": " + what, "convert the model again with this version of lutra"); }
  void require(bool ok, const std::string& what) const { if (!ok) fail(what); }
  void counts(size_t inputs, size_t outputs) const {
    require(step_.inputs.size() == inputs && step_.outputs.size() == outputs,
            std::to_string(step_.inputs.size()) + " inputs and " + std::to_string(step_.outputs.size()) + " outputs, expected " + std::to_string(inputs) + " and " + std::to_string(outputs));
  }
  void activation(const Tensor& t, std::initializer_list<DType> dtypes) const {
    bool ok = t.kind == TensorKind::kActivation;
    bool match = false;
    for (DType d : dtypes) match |= t.dtype == d;
    require(ok && match, describe(t) + " is no activation of a dtype that this step takes");
  }
  void weight(const Tensor& t) const { require(t.kind == TensorKind::kWeight, describe(t) + " is no weight"); }
  void vector_f32(const Tensor& t, uint32_t size) const {
    require(t.kind == TensorKind::kWeight && t.dtype == DType::kF32 && t.elements() == size, describe(t) + " is not a F32 weight of " + std::to_string(size));
  }
  void same_rows(const Tensor& a, const Tensor& b) const {
    require(a.rows_kind == b.rows_kind && a.rows == b.rows, describe(a) + " and " + describe(b) + " differ in rows");
  }
  void same_shape(const Tensor& a, const Tensor& b) const {
    same_rows(a, b);
    require(a.cols == b.cols, describe(a) + " and " + describe(b) + " differ in columns");
  }
  uint32_t integer(size_t attr, double limit) const {
    const double v = step_.attrs[attr];
    require(v >= 0 && v <= limit && v == std::floor(v), "attribute " + std::to_string(attr) + " is " + std::to_string(v));
    return static_cast<uint32_t>(v);
  }
  double positive(size_t attr) const {
    const double v = step_.attrs[attr];
    require(v > 0 && std::isfinite(v), "attribute " + std::to_string(attr) + " is " + std::to_string(v));
    return v;
  }
  static std::string describe(const Tensor& t) {
    std::string s = store::quote(t.name) + " " + dtype_name(t.dtype) + " [";
    for (uint32_t d = 0; d < t.rank; ++d) s += (d ? ", " : "") + std::to_string(t.dims[d]);
    return s + "]";
  }

 private:
  const Plan& plan_;
  const Step& step_;
  std::string where_;
};

constexpr DType kF = DType::kF32, kH = DType::kF16;

bool float_or_packed(DType t) { return t == DType::kF32 || t == DType::kF16 || element_size(t) == 0; }

void check_segment(const Checker& c) {
  const uint32_t index = c.integer(0, 1e9);
  c.require(index < c.plan().segments.size(), "segment " + std::to_string(index) + " of " + std::to_string(c.plan().segments.size()));
  const Segment& s = c.plan().segments[index];
  c.require(std::ranges::equal(c.step().inputs, s.inputs) && std::ranges::equal(c.step().outputs, s.outputs), "inputs or outputs differ from segment " + store::quote(s.name));
}

void check_embed(const Checker& c) {
  c.counts(1, 1);
  c.weight(c.in(0));
  c.activation(c.out(0), {kF, kH});
  c.require(float_or_packed(c.in(0).dtype) && c.in(0).rows == c.config().vocab && c.in(0).cols == c.out(0).cols && c.out(0).rows_kind == RowsKind::kChunk,
            Checker::describe(c.in(0)) + " does not fit " + Checker::describe(c.out(0)));
}

void check_rms_norm(const Checker& c) {
  c.counts(2, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  const Tensor& gain = c.in(1);
  c.vector_f32(gain, static_cast<uint32_t>(gain.elements()));
  c.require(gain.elements() > 0 && c.in(0).cols % gain.elements() == 0, Checker::describe(gain) + " does not divide the columns of " + Checker::describe(c.in(0)));
  c.positive(0);
}

void check_linear(const Checker& c) {
  const size_t k = c.step().outputs.size();
  c.require(k >= 1 && k <= 8, std::to_string(k) + " outputs");
  c.counts(k + 1, k);
  const bool exact = c.integer(0, 1) == 1;
  c.activation(c.in(0), {kF});
  for (size_t i = 0; i < k; ++i) {
    const Tensor &w = c.in(i + 1), &y = c.out(i);
    c.weight(w);
    c.activation(y, {kF});
    c.same_rows(c.in(0), y);
    c.require(float_or_packed(w.dtype) && w.rank == 2 && w.cols == c.in(0).cols && w.rows == y.cols, Checker::describe(w) + " does not fit " + Checker::describe(c.in(0)) + " and " + Checker::describe(y));
    const bool packed = element_size(w.dtype) == 0;
    c.require(exact || i == 0 || packed == (element_size(c.in(1).dtype) == 0), "packed and plain weights mixed in one step");
  }
}

void check_heads(const Checker& c, const Tensor& t, uint32_t heads, uint32_t head_dim) {
  c.require(heads > 0 && heads <= 1024 && head_dim > 0 && head_dim <= 1024 && head_dim % 2 == 0 && t.cols == heads * head_dim,
            Checker::describe(t) + " is not " + std::to_string(heads) + " heads of " + std::to_string(head_dim));
}

void check_rope(const Checker& c) {
  const bool factors = c.step().inputs.size() == 2;
  c.counts(factors ? 2 : 1, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  c.require(c.in(0).rows_kind == RowsKind::kChunk, "positions belong to chunk rows");
  const uint32_t head_dim = c.integer(1, 1024);
  check_heads(c, c.in(0), c.integer(0, 1024), head_dim);
  if (factors) c.vector_f32(c.in(1), head_dim / 2);
  c.positive(2);
  c.integer(3, 1);
  c.integer(4, 32767);
}

void check_kv_append(const Checker& c) {
  c.counts(2, 0);
  for (size_t i = 0; i < 2; ++i) {
    c.activation(c.in(i), {kF});
    c.require(c.in(i).cols == c.config().kv_heads * c.config().head_dim && c.in(i).rows_kind == RowsKind::kChunk, Checker::describe(c.in(i)) + " does not fit the KV cache");
  }
  c.require(c.integer(0, 4096) < c.config().layers, "layer out of range");
}

void check_attention(const Checker& c) {
  c.counts(1, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  c.require(c.in(0).rows_kind == RowsKind::kChunk, "queries are not chunk rows");
  c.require(c.integer(0, 4096) < c.config().layers, "layer out of range");
  c.require(c.integer(1, 1024) == c.config().heads && c.integer(2, 1024) == c.config().kv_heads && c.integer(3, 1024) == c.config().head_dim, "heads differ from the config");
  check_heads(c, c.in(0), c.config().heads, c.config().head_dim);
  c.positive(4);
}

void check_pair(const Checker& c) {
  c.counts(2, 1);
  for (size_t i = 0; i < 2; ++i) {
    c.activation(c.in(i), {kF});
    c.same_shape(c.in(i), c.out(0));
  }
  c.activation(c.out(0), {kF});
}

void check_convert(const Checker& c) {
  c.counts(1, 1);
  c.activation(c.in(0), {kF, kH});
  c.activation(c.out(0), {kF, kH});
  c.same_shape(c.in(0), c.out(0));
}

void check_quantized(const Checker& c, const Tensor& t) {
  c.activation(t, {DType::kU8, DType::kS8, DType::kU16});
  c.require(t.quant == QuantKind::kScaleOffset, Checker::describe(t) + " has no scale");
}

void check_quantize(const Checker& c) {
  c.counts(1, 1);
  c.activation(c.in(0), {kF, kH});
  check_quantized(c, c.out(0));
  c.same_shape(c.in(0), c.out(0));
}

void check_dequantize(const Checker& c) {
  c.counts(1, 1);
  check_quantized(c, c.in(0));
  c.activation(c.out(0), {kF, kH});
  c.same_shape(c.in(0), c.out(0));
}

/// The scale and the offset, attributes `first` and the next, of what was clipped.
void check_input_range(const Checker& c, size_t first) {
  c.positive(first);
  const double offset = c.step().attrs[first + 1];
  c.require(std::abs(offset) <= 65536 && offset == std::floor(offset), "offset out of range");
}

void check_shadow(const Checker& c) {
  const bool base = c.integer(0, 1) == 1, quantized = c.integer(1, 1) == 1, hot = c.integer(6, 1) == 1;
  c.counts(2u + base + quantized + hot, 1);
  c.require(base || quantized, "neither base nor quantised output");
  const Tensor &x = c.in(0), &w = c.in(1), &y = c.out(0);
  c.activation(x, {kF, kH});
  c.activation(y, {kF, kH});
  c.same_rows(x, y);
  c.weight(w);
  c.require(w.dtype == DType::kS8 && w.rank == 4 && w.dims[0] == 1 && w.dims[1] == 1 && w.dims[2] == x.cols && w.dims[3] == y.cols && w.quant == QuantKind::kAxis && w.axis == 3,
            Checker::describe(w) + " is not S8 [1, 1, in, out] with scales per output");
  if (base) {
    c.activation(c.in(2), {kF, kH});
    c.same_shape(c.in(2), y);
  }
  if (quantized) {
    check_quantized(c, c.in(2u + base));
    c.require(c.in(2u + base).dtype != DType::kU16, "a 16-bit output has no repair");
    c.same_shape(c.in(2u + base), y);
  }
  if (hot) {
    const Tensor& channels = c.in(2u + base + quantized);
    c.require(channels.kind == TensorKind::kWeight && channels.dtype == DType::kU32 && channels.rank == 1 && channels.elements() <= x.cols,
              Checker::describe(channels) + " is not a U32 weight of at most " + std::to_string(x.cols) + " channels");
  }
  check_input_range(c, 2);
  c.require(c.integer(4, 8) == 8, "inputs that are not 8 bits wide");
  c.integer(5, 1);
}

void check_select_rows(const Checker& c) {
  c.counts(1, 1);
  c.activation(c.in(0), {kF, kH});
  c.activation(c.out(0), {kF});
  c.require(c.in(0).cols == c.out(0).cols && c.in(0).rows_kind == RowsKind::kChunk && c.out(0).rows_kind == RowsKind::kLogits, "shapes do not fit");
}

void check_bias_add(const Checker& c) {
  c.counts(2, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  c.vector_f32(c.in(1), c.in(0).cols);
}

void check_observe(const Checker& c) {
  c.counts(1, 0);
  c.activation(c.in(0), {kF});
  c.integer(0, 65535);
}

void check_clipped(const Checker& c) {
  c.counts(1, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  check_input_range(c, 0);
  c.integer(2, 1);
}

void check_permute(const Checker& c) {
  c.counts(2, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  const Tensor& order = c.in(1);
  c.require(order.kind == TensorKind::kWeight && order.dtype == DType::kU32 && order.rank == 1 && order.elements() == c.in(0).cols, Checker::describe(order) + " is not a U32 weight of " + std::to_string(c.in(0).cols));
}

void check_rotate(const Checker& c) {
  c.counts(3, 1);
  c.activation(c.in(0), {kF});
  c.activation(c.out(0), {kF});
  c.same_shape(c.in(0), c.out(0));
  const uint32_t cols = c.in(0).cols;
  c.vector_f32(c.in(1), cols);
  const Tensor& matrix = c.in(2);
  c.weight(matrix);
  c.require(matrix.dtype == DType::kF32 && matrix.rank == 2 && matrix.rows == matrix.cols && matrix.rows >= 1 && matrix.rows <= kMaxRotationMatrix && cols % matrix.rows == 0 && std::has_single_bit(cols / matrix.rows),
            Checker::describe(matrix) + " does not rotate " + std::to_string(cols) + " columns");
  c.integer(0, 1);
}

/// A row of its table for every position that the cache can hold.
void check_stored_rows(const Checker& c) {
  c.counts(1, 1);
  c.weight(c.in(0));
  c.activation(c.out(0), {kF});
  c.require(c.in(0).dtype == kF && c.in(0).rank == 2 && c.in(0).rows >= c.config().max_context && c.in(0).cols == c.out(0).cols && c.out(0).rows_kind == RowsKind::kChunk,
            Checker::describe(c.in(0)) + " has no row for each of " + std::to_string(c.config().max_context) + " positions of " + Checker::describe(c.out(0)));
}

void check(const Checker& c) {
  switch (c.step().op) {
    case StepOp::kSegment: return check_segment(c);
    case StepOp::kEmbed: return check_embed(c);
    case StepOp::kRmsNorm: return check_rms_norm(c);
    case StepOp::kLinear: return check_linear(c);
    case StepOp::kRope: return check_rope(c);
    case StepOp::kKvAppend: return check_kv_append(c);
    case StepOp::kAttention: return check_attention(c);
    case StepOp::kSiluMul: case StepOp::kReluMul: case StepOp::kAdd: return check_pair(c);
    case StepOp::kConvert: return check_convert(c);
    case StepOp::kQuantize: return check_quantize(c);
    case StepOp::kDequantize: return check_dequantize(c);
    case StepOp::kShadow: return check_shadow(c);
    case StepOp::kSelectRows: return check_select_rows(c);
    case StepOp::kBiasAdd: return check_bias_add(c);
    case StepOp::kObserve: return check_observe(c);
    case StepOp::kPermute: return check_permute(c);
    case StepOp::kRotate: return check_rotate(c);
    case StepOp::kStoredRows: return check_stored_rows(c);
    case StepOp::kClipped: return check_clipped(c);
  }
}

/// Every activation must be written before it is read.
/// An activation belongs to one program (`owner`), because each program places its own.
void check_order(const Plan& plan, const Program& program, std::vector<const Program*>& owner) {
  std::vector<bool> written(plan.tensors.size(), false);
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const Checker c(plan, program, i);
    for (uint32_t t : program.steps[i].inputs) {
      if (plan.tensors[t].kind == TensorKind::kActivation) c.require(written[t], store::quote(plan.tensors[t].name) + " is read before it is written");
    }
    for (uint32_t t : program.steps[i].outputs) {
      c.require(owner[t] == nullptr || owner[t] == &program, store::quote(plan.tensors[t].name) + " is written by two programs");
      owner[t] = &program;
      written[t] = true;
    }
  }
  if (program.logits == kNoIndex) return;
  const Tensor& logits = plan.tensors[program.logits];
  if (!written[program.logits] || logits.dtype != DType::kF32 || logits.rows_kind != RowsKind::kLogits || logits.cols != plan.config.vocab) {
    throw Error(ErrorCode::kBadPlan, "plan: program " + store::quote(program.name) + " has no logits of " + std::to_string(plan.config.vocab) + " columns",
                "convert the model again with this version of lutra");
  }
}

}  // namespace

void validate_steps(const Plan& plan) {
  std::vector<const Program*> owner(plan.tensors.size(), nullptr);
  for (const Program& program : plan.programs) {
    for (size_t i = 0; i < program.steps.size(); ++i) check(Checker(plan, program, i));
    check_order(plan, program, owner);
  }
}

}  // namespace lutra::plan
