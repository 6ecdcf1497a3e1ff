// Linear layers of the host NPU: y[m, o] = store(Σ_k x[m, k] · w[o, k]), blocked, over weights packed once.
//
// Forms (x and y have the same type):
//   x U8, S8  × w S8 : exact int32 accumulation; y = clamp(rint(f32(Σ x·w + correction[o]) · multiplier[o]) − offset)
//                      (S8 is prepared as x + 128, so its correction has −128 · Σ w in it)
//   x U16, S16 × w S8: prepared as two byte planes, x = 256·hi + lo; exact sums in double; the same formula in double
//                      (S16 is prepared as x + 32768)
//   both quantised forms add a term per row, if there is one: Σ x·w + correction[o] + row_correction[r]
//   x F16     × w S8 : float accumulation; y = f16(Σ x·w · multiplier[o] + bias[o])
//   x F16 × w F16, x F32 × w F32 : float accumulation; the same formula
// rint is round half to even. Every tier gives identical bits in the quantised forms; float sums differ by rounding (FMA) only.
// k ≤ kGemmMaxDepth keeps every int32 sum exact: 255 · 128 · 65536 < 2^31.
//
// Packed weight: panels of 64 outputs, the last padded with zeros.
//   kDotS8    per panel [ceil(k/4)][64][4] S8 (k padded with zeros); after all panels the int32 sums Σ_k w[o, k], [panels · 64]
//   kFloat*   per panel [k][64] elements of the weight's type
// The layout is the same for all tiers, so a packed weight may be stored and read on another processor.
// Nothing here allocates, threads or throws: the caller cuts rows and panels into tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/npu_ops/element.h"

namespace lutra::kernels {

inline constexpr uint32_t kGemmPanel = 64;
inline constexpr uint32_t kGemmMaxDepth = 65536;

enum class GemmLayout : uint32_t { kDotS8 = 1, kFloatS8 = 2, kFloatF16 = 3, kFloatF32 = 4 };

/// Bytes of one weight element.
constexpr size_t gemm_weight_size(GemmLayout layout) noexcept {
  return layout == GemmLayout::kFloatF32 ? 4 : layout == GemmLayout::kFloatF16 ? 2 : 1;
}
constexpr uint32_t gemm_panels(uint32_t outputs) noexcept { return (outputs + kGemmPanel - 1) / kGemmPanel; }

/// Bytes of a packed weight [outputs, depth]; a multiple of 64.
size_t gemm_packed_size(GemmLayout layout, uint32_t outputs, uint32_t depth) noexcept;
/// The Σ_k w[o, k] of a kDotS8 weight, panels · 64 values.
const int32_t* gemm_weight_sums(const std::byte* packed, uint32_t outputs, uint32_t depth) noexcept;

/// Packs panels [panel_begin, panel_end) of w; element (o, k) is at (o · output_stride + k · depth_stride) elements, so [out, in] has strides (in, 1)
/// and a 1×1 filter [in, out] has (1, out). `packed` is the whole packed weight, 64-byte aligned. One of the strides must be 1.
void gemm_pack(GemmLayout layout, const std::byte* w, size_t output_stride, size_t depth_stride, uint32_t outputs, uint32_t depth, uint32_t panel_begin,
               uint32_t panel_end, std::byte* packed) noexcept;

/// True when rows of x have to pass through GemmKernel::prepare; otherwise `run` takes them as they are.
bool gemm_needs_prepare(Element x, uint32_t depth) noexcept;
/// Bytes of one prepared row: U8, S8 padded to 4; U16, S16 as two byte planes (lo, hi); F16 as F32.
size_t gemm_prepared_row(Element x, uint32_t depth) noexcept;

struct GemmArgs {
  GemmLayout layout = GemmLayout::kDotS8;
  Element type = Element::kU8;  // of x and y
  uint32_t outputs = 0;
  uint32_t depth = 0;
  const std::byte* packed = nullptr;
  const std::byte* x = nullptr;  // prepared rows, or the rows themselves
  size_t x_stride = 0;           // bytes between rows
  std::byte* y = nullptr;
  size_t y_stride = 0;  // bytes between rows
  /// Per output, padded to panels · 64: float for 8-bit and float forms, double for U16 and S16.
  const void* multiplier = nullptr;
  /// Per output, padded alike: int32 correction for 8 bits, double for U16 and S16 (an integer), float bias for the float forms (NULL: none).
  const void* correction = nullptr;
  int32_t offset = 0;  // encoding offset of y (quantised forms)
  /// Quantised forms, NULL: none. Per row of x: int32 for 8 bits, double for U16 and S16 (an integer): the zero point of w times the sum of the row.
  const void* row_correction = nullptr;
};

struct GemmKernel {
  const char* name;  // isa_name(isa)
  Isa isa;
  /// Rows [row_begin, row_end) of x (rows `x_stride` bytes apart) → prepared rows, gemm_prepared_row bytes apart in `out`.
  void (*prepare)(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out);
  /// Rows [row_begin, row_end) × outputs of panels [panel_begin, panel_end).
  void (*run)(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
};

/// All kernels of this build, portable reference first. Tests iterate this.
std::span<const GemmKernel> gemm_kernels() noexcept;
/// The kernel of the highest tier that `isa` includes.
const GemmKernel& gemm_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
