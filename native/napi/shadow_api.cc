// One linear on the NPU's terms: 8-bit codes in and out under static ranges, exact sums, and the CPU's repair of what the ranges cut off (kernels/shadow).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/cpu.h"
#include "kernels/gemm_i8/gemm.h"
#include "kernels/ops/ops.h"
#include "kernels/shadow/shadow.h"
#include "napi/arguments.h"
#include "napi/kernel_arrays.h"
#include "napi/kernels_table.h"

namespace lutra::addon {
namespace {

using kernels::Element;
using kernels::Encoding;

/// Rows in F32: the array's own, or F16 ones (a Uint16Array of their bits) converted.
class Rows {
 public:
  Rows(const Napi::Value& value, const char* name, const kernels::OpKernels& ops) {
    if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint16_array) {
      const auto halves = own_array<const uint16_t>(value, name, napi_uint16_array, "Uint16Array");
      converted_ = AlignedBuffer::of<float>(halves.size());
      ops.f16_to_f32(halves.data(), halves.size(), converted_.as<float>().data());
      values_ = converted_.as<float>();
    } else {
      values_ = own_array<const float>(value, name, napi_float32_array, "Float32Array, or a Uint16Array of F16 values");
    }
    check_finite(name, values_);
  }
  size_t size() const noexcept { return values_.size(); }
  const float* row(size_t index, size_t columns) const noexcept { return values_.data() + index * columns; }

 private:
  AlignedBuffer converted_;
  std::span<const float> values_;
};

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

/// From { scale, zeroPoint, signed }.
Encoding encoding_of(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw Error(ErrorCode::kInvalidArgument, std::string("the range of the ") + name + " is not an object");
  const Napi::Object range = value.As<Napi::Object>();
  const bool is_signed = boolean_or(range, "signed", true);
  const auto scale = static_cast<float>(number(range, "scale"));
  const double zero = number(range, "zeroPoint");
  const int32_t lo = is_signed ? -128 : 0, hi = is_signed ? 127 : 255;
  if (!std::isnormal(scale) || scale < 0 || scale > std::numeric_limits<float>::max() / 512) {
    throw Error(ErrorCode::kInvalidArgument, std::string("the scale of the ") + name + ", " + shown(number(range, "scale")) + ", is not a positive step of 8 bits", "give the largest value that 8 bits shall hold, divided by 127");
  }
  if (!(zero >= lo && zero <= hi && zero == std::rint(zero))) {
    throw Error(ErrorCode::kInvalidArgument, std::string("the zero point of the ") + name + ", " + shown(zero) + ", is not a code from " + std::to_string(lo) + " to " + std::to_string(hi));
  }
  return {scale, -static_cast<int32_t>(zero), lo, hi};
}

/// Everything that a call works with. Arguments: codes, scales, inputs, outputs, x, { input, output }, base or null, quantized or null, y or null, repair, threads.
struct Problem {
  explicit Problem(const Napi::CallbackInfo& info)
      : x_encoding(range_of(info, "input")), y_encoding(range_of(info, "output")), ops(kernels::op_kernel(best_isa())), weight(weight_of(info)), x(info[4], "x", ops) {
    rows = std::max(size_t{1}, x.size() / weight.in);
    check_length("x", x.size(), rows * weight.in, std::to_string(rows) + " rows of " + std::to_string(weight.in) + " inputs");
    const std::string shape = std::to_string(rows) + " rows of " + std::to_string(weight.out) + " outputs";
    if (given(info[6])) {
      base.emplace_back(info[6], "base", ops);
      check_length("base", base[0].size(), elements(), shape);
    }
    if (given(info[7])) {
      const bool is_signed = y_encoding.lo < 0;
      quantized = own_array<const uint8_t>(info[7], "quantized", is_signed ? napi_int8_array : napi_uint8_array, is_signed ? "Int8Array, as its range is signed" : "Uint8Array, as its range is not signed");
      check_length("quantized", quantized.size(), elements(), shape);
    }
    out = given(info[8]) ? info[8].As<Napi::Float32Array>() : new_array<Napi::Float32Array>(info.Env(), elements());
    y = floats(out, "y");
    check_length("y", y.size(), elements(), shape);
    repair = info[9].ToBoolean();
    threads = thread_count(info, 10);
  }

  size_t elements() const noexcept { return rows * weight.out; }

  Encoding x_encoding, y_encoding;
  const kernels::OpKernels& ops;
  kernels::ShadowWeight weight;
  Rows x;
  std::vector<Rows> base;  // one, or none
  std::span<const uint8_t> quantized;
  Napi::Float32Array out;
  std::span<float> y;
  size_t rows = 0;
  bool repair = true;
  uint32_t threads = 1;

 private:
  static Encoding range_of(const Napi::CallbackInfo& info, const char* name) { return encoding_of(Arguments(info).object(5).Get(name), name); }

  static kernels::ShadowWeight weight_of(const Napi::CallbackInfo& info) {
    const Arguments a(info);
    const uint32_t in = a.u32(2, "inputs"), out = a.u32(3, "outputs");
    if (in == 0 || out == 0 || in > kernels::kGemmMaxDepth) {
      throw Error(ErrorCode::kInvalidArgument, std::to_string(in) + " inputs and " + std::to_string(out) + " outputs are no linear", "give 1 to " + std::to_string(kernels::kGemmMaxDepth) + " inputs and at least one output");
    }
    const auto codes = own_array<const int8_t>(info[0], "codes", napi_int8_array, "Int8Array");
    const auto scales = floats(info[1], "scales");
    check_length("codes", codes.size(), size_t{in} * out, std::to_string(in) + " inputs x " + std::to_string(out) + " outputs");
    check_length("scales", scales.size(), out, "one for each output");
    check_each("scales", scales, "a positive number or zero", [](float v) { return std::isfinite(v) && v >= 0; });
    return {codes.data(), scales.data(), in, out};
  }
};

/// What the NPU gives: codes of the outputs, [rows x outputs].
AlignedBuffer npu_outputs(const Problem& p, ThreadPool* pool) {
  const kernels::GemmKernel& gemm = kernels::gemm_kernel(best_isa());
  constexpr auto kLayout = kernels::GemmLayout::kDotS8;
  const int8_t* w = p.weight.w;
  const float* scale = p.weight.scale;
  const uint32_t in = p.weight.in, out = p.weight.out;
  const uint32_t panels = kernels::gemm_panels(out), rows = static_cast<uint32_t>(p.rows);
  const Element type = p.x_encoding.lo < 0 ? Element::kS8 : Element::kU8;

  AlignedBuffer packed(kernels::gemm_packed_size(kLayout, out, in)), multiplier = AlignedBuffer::of<float>(size_t{panels} * kernels::kGemmPanel);
  AlignedBuffer correction = AlignedBuffer::of<int32_t>(size_t{panels} * kernels::kGemmPanel);
  kernels::gemm_pack(kLayout, reinterpret_cast<const std::byte*>(w), 1, out, out, in, 0, panels, packed.data());
  const int32_t* sums = kernels::gemm_weight_sums(packed.data(), out, in);
  const int32_t zero = p.x_encoding.offset + p.x_encoding.lo;  // signed codes are prepared as unsigned ones
  for (uint32_t o = 0; o < out; ++o) {
    const double step = static_cast<double>(p.x_encoding.scale) * static_cast<double>(scale[o]) / static_cast<double>(p.y_encoding.scale);
    if (step > static_cast<double>(std::numeric_limits<float>::max())) throw Error(ErrorCode::kInvalidArgument, "the step of input times scales[" + std::to_string(o) + "] is " + shown(step) + " steps of the output, which F32 does not hold", "give ranges that belong together");
    multiplier.as<float>()[o] = static_cast<float>(step);
    correction.as<int32_t>()[o] = static_cast<int32_t>(int64_t{zero} * sums[o]);
  }

  AlignedBuffer codes(p.rows * in), result(p.elements());
  p.ops.quantize_u8(p.x.row(0, in), p.rows * in, p.x_encoding, codes.as<uint8_t>().data());
  const size_t stride = kernels::gemm_prepared_row(type, in);
  AlignedBuffer prepared;
  const bool needed = kernels::gemm_needs_prepare(type, in);
  if (needed) {
    prepared = AlignedBuffer(p.rows * stride);
    gemm.prepare(type, codes.data(), in, in, 0, rows, prepared.data());
  }
  // The stored codes have the outputs' type, whatever the inputs' is.
  const Element stored = p.y_encoding.lo < 0 ? Element::kS8 : Element::kU8;
  const kernels::GemmArgs args{kLayout, stored, out, in, packed.data(), needed ? prepared.data() : codes.data(), needed ? stride : in, result.data(), out, multiplier.data(), correction.data(), p.y_encoding.offset, nullptr};
  if (pool == nullptr) gemm.run(args, 0, rows, 0, panels);
  else pool->run(panels, [&](uint32_t panel) { gemm.run(args, 0, rows, panel, panel + 1); });
  return result;
}

/// y = base + the dequantised codes, for rows that nothing repairs.
void dequantize(const Problem& p, const uint8_t* codes) {
  p.ops.dequantize_8(codes, p.elements(), p.y_encoding, p.y.data());
  if (!p.base.empty()) p.ops.add(p.y.data(), p.base[0].row(0, p.weight.out), p.elements(), p.y.data());
}

kernels::ShadowStats repair(const Problem& p, const uint8_t* codes, ThreadPool* pool) {
  const kernels::ShadowKernel& kernel = kernels::shadow_kernel(best_isa());
  const auto rows = static_cast<uint32_t>(p.rows), tasks = std::min(rows, pool == nullptr ? 1 : pool->threads() * 2);
  const size_t floats = size_t{p.weight.in} + p.weight.out;
  AlignedBuffer scratch(tasks * floats * sizeof(float));
  std::vector<kernels::ShadowStats> stats(tasks);
  const auto task = [&](uint32_t i) {
    for (size_t r = size_t{rows} * i / tasks; r < size_t{rows} * (i + 1) / tasks; ++r) {
      const size_t at = r * p.weight.out;
      kernel.run_row(p.weight, p.x.row(r, p.weight.in), p.x_encoding, p.base.empty() ? nullptr : p.base[0].row(r, p.weight.out), codes + at, p.y_encoding, scratch.as<float>().data() + i * floats,
                     p.y.data() + at, stats[i]);
    }
  };
  if (pool == nullptr) task(0);
  else pool->run(tasks, task);
  kernels::ShadowStats total;
  for (const kernels::ShadowStats& one : stats) total += one;
  return total;
}

Napi::Value shadow_linear(const Napi::CallbackInfo& info, Pools& pools) {
  const Problem p(info);
  ThreadPool* pool = pools.of(p.threads);
  const AlignedBuffer computed = p.quantized.empty() ? npu_outputs(p, pool) : AlignedBuffer();
  const uint8_t* codes = p.quantized.empty() ? computed.as<uint8_t>().data() : p.quantized.data();
  kernels::ShadowStats stats;
  if (p.repair) stats = repair(p, codes, pool);
  else dequantize(p, codes);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("y", p.out);
  result.Set("repairedInputs", static_cast<double>(stats.repaired_inputs));
  result.Set("repairedOutputs", static_cast<double>(stats.repaired_outputs));
  return result;
}

}  // namespace

void add_shadow_calls(KernelTable& table) { table.add("shadowLinear", shadow_linear); }

}  // namespace lutra::addon
