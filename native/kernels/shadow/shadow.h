// Shadow linear: the exact repair of what an 8-bit linear clipped (docs/architecture.md, "Shadow").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/ops/ops.h"

namespace lutra::kernels {

struct ShadowWeight {
  const int8_t* w = nullptr;      // [in, out]: row k = all outputs of input channel k
  const float* scale = nullptr;   // [out]
  uint32_t in = 0;
  uint32_t out = 0;
};

/// Counts, for reports.
struct ShadowStats {
  uint64_t repaired_inputs = 0;   // elements with q ≠ clamp(q)
  uint64_t repaired_outputs = 0;  // saturated outputs recomputed whole
};

struct ShadowKernel {
  const char* name;
  Isa isa;
  /// One row. x: `in` F32 values that the NPU quantised with `x_encoding`. base: `out` F32 values or nullptr (zeros). yq: `out` quantised outputs of the NPU (bytes; signed when
  /// y_encoding.lo < 0) or nullptr. y[o] = base + (yq == nullptr ? add : yq saturated ? whole : dequant(yq) + add), add = Σ (x − dequant(clamp(q))) · W over clipped elements.
  /// scratch: `in` + `out` floats.
  void (*run_row)(const ShadowWeight& w, const float* x, const Encoding& x_encoding, const float* base, const uint8_t* yq, const Encoding& y_encoding, float* scratch,
                  float* y, ShadowStats& stats);
};

std::span<const ShadowKernel> shadow_kernels() noexcept;  // portable reference first
const ShadowKernel& shadow_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
