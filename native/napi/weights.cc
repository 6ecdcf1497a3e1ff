#include "napi/weights.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/lowbit/lowbit.h"
#include "napi/arguments.h"
#include "napi/kernels_table.h"

namespace lutra::addon {

using kernels::WeightType;

constexpr float kLargestHalf = 65504.0f;

WeightType weight_type(uint32_t code) {
  if (kernels::low_bit_format(static_cast<WeightType>(code))) return static_cast<WeightType>(code);
  switch (static_cast<WeightType>(code)) {
    case WeightType::kF32: case WeightType::kF16: case WeightType::kQ4_0: case WeightType::kQ4_1: case WeightType::kQ8_0: return static_cast<WeightType>(code);
  }
  throw Error(ErrorCode::kInvalidArgument, "weight type " + std::to_string(code) + " is unknown");
}

size_t ggml_bytes(WeightType type, size_t rows, size_t cols) {
  switch (type) {
    case WeightType::kF32: return rows * cols * 4;
    case WeightType::kF16: return rows * cols * 2;
    case WeightType::kQ4_0: return rows * cols / 32 * 18;
    case WeightType::kQ4_1: return rows * cols / 32 * 20;
    case WeightType::kQ8_0: return rows * cols / 32 * 34;
  }
  return 0;
}

size_t checked_packed_size(WeightType type, uint32_t rows, uint32_t cols) {
  const size_t size = rows == 0 || cols == 0 ? 0 : kernels::packed_size(type, rows, cols);
  if (size == 0) throw Error(ErrorCode::kInvalidArgument, "a weight of " + std::to_string(rows) + " x " + std::to_string(cols) + " cannot be packed", "quantised types need a multiple of 32 columns");
  return size;
}

void quantize_and_pack(const kernels::LowBitFormat& format, const float* w, const float* importance, uint32_t rows, uint32_t cols, uint32_t threads, std::span<std::byte> out) {
  constexpr uint32_t kRows = 16;  // of a task
  const uint32_t group = format.group == 0 ? cols : format.group;
  const size_t groups = (cols + group - 1) / group, numbers = rows * groups;
  std::vector<uint8_t> codes(size_t{rows} * cols);
  std::vector<float> scales(numbers), offsets(numbers);
  ThreadPool(threads).run((rows + kRows - 1) / kRows, [&](uint32_t task) {
    const size_t first = size_t{task} * kRows;
    const uint32_t count = std::min(kRows, rows - task * kRows);
    kernels::quantize_low_bit(format, w + first * cols, importance, count, cols, {codes.data() + first * cols, scales.data() + first * groups, offsets.data() + first * groups});
  });
  kernels::pack_low_bit({format, rows, cols, codes.data(), scales.data(), offsets.data()}, out);
}

Napi::Value pack_ggml(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Arguments a(info);
    const WeightType type = weight_type(a.u32(0, "type"));
    const auto blocks = a.array<const std::byte>(1, "blocks", napi_uint8_array);
    const uint32_t rows = a.u32(2, "rows"), cols = a.u32(3, "cols");
    const size_t size = checked_packed_size(type, rows, cols);
    if (blocks.size() != ggml_bytes(type, rows, cols)) {
      throw Error(ErrorCode::kInvalidArgument, "blocks has " + std::to_string(blocks.size()) + " bytes, expected " + std::to_string(ggml_bytes(type, rows, cols)));
    }
    auto out = Napi::Uint8Array::New(info.Env(), size);
    kernels::pack_ggml(type, blocks.data(), rows, cols, {reinterpret_cast<std::byte*>(out.Data()), size});
    return out;
  });
}

Napi::Value quantize_low_bit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Arguments a(info);
    const WeightType type = weight_type(a.u32(0, "type"));
    const auto format = kernels::low_bit_format(type);
    if (!format) throw Error(ErrorCode::kInvalidArgument, "weight type " + std::to_string(a.u32(0, "type")) + " is no low-bit type", "give one of the codes 32 to 79");
    const auto w = a.array<const float>(1, "weights", napi_float32_array);
    const uint32_t rows = a.u32(2, "rows"), cols = a.u32(3, "cols");
    const bool weighted = !info[4].IsNull() && !info[4].IsUndefined();
    const auto importance = weighted ? a.array<const float>(4, "importance", napi_float32_array) : std::span<const float>{};
    const size_t size = checked_packed_size(type, rows, cols);
    if (w.size() != size_t{rows} * cols) throw Error(ErrorCode::kInvalidArgument, "weights has " + std::to_string(w.size()) + " elements, expected " + std::to_string(size_t{rows} * cols));
    if (weighted && importance.size() != cols) throw Error(ErrorCode::kInvalidArgument, "importance has " + std::to_string(importance.size()) + " elements, expected " + std::to_string(cols));
    if (!std::all_of(w.begin(), w.end(), [](float v) { return std::isfinite(v); })) throw Error(ErrorCode::kBadFile, "a weight is not finite", "export the model again");
    // Beyond it the best scale may be one that F16 does not hold.
    const auto beyond = std::find_if(w.begin(), w.end(), [&](float v) { return format->group != 0 && std::abs(v) > kLargestHalf; });
    if (beyond != w.end()) throw Error(ErrorCode::kUnsupported, "a weight is " + std::to_string(*beyond) + ", which scales in F16 do not reach", "keep this matrix as it is");
    if (!std::all_of(importance.begin(), importance.end(), [](float v) { return v > 0 && std::isfinite(v); })) {
      throw Error(ErrorCode::kInvalidArgument, "an importance is not a positive number", "give mean squares of the inputs");
    }
    const uint32_t threads = info[5].IsUndefined() ? 1 : thread_count(info, 5);
    auto out = Napi::Uint8Array::New(info.Env(), size);
    quantize_and_pack(*format, w.data(), weighted ? importance.data() : nullptr, rows, cols, threads, {reinterpret_cast<std::byte*>(out.Data()), size});
    return out;
  });
}

Napi::Value dequantize_packed(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Arguments a(info);
    const WeightType type = weight_type(a.u32(0, "type"));
    const auto packed = a.array<const std::byte>(1, "packed", napi_uint8_array);
    const kernels::PackedWeight weight{type, a.u32(2, "rows"), a.u32(3, "cols"), packed.data()};
    const size_t size = checked_packed_size(type, weight.rows, weight.cols);
    if (packed.size() != size) throw Error(ErrorCode::kInvalidArgument, "packed has " + std::to_string(packed.size()) + " bytes, expected " + std::to_string(size));
    const size_t elements = size_t{weight.rows} * weight.cols;
    const Napi::Value out = info[4].IsUndefined() ? Napi::Float32Array::New(info.Env(), elements) : info[4];
    const auto values = typed_array<float>(out, "out", napi_float32_array);
    if (values.size() != elements) throw Error(ErrorCode::kInvalidArgument, "out has " + std::to_string(values.size()) + " elements, expected " + std::to_string(elements));
    for (uint32_t r = 0; r < weight.rows; ++r) kernels::dequantize_row(weight, r, values.data() + size_t{r} * weight.cols);
    return out;
  });
}

}  // namespace lutra::addon
