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
  // Where rows of some channels are kept apart from `w`: nullptr where none are.
  const int8_t* hot = nullptr;         // [hot channels, out], the same bytes
  const uint32_t* hot_place = nullptr;  // [in]: row of `hot` that holds channel k; kNotHot: only `w` does

  static constexpr uint32_t kNotHot = 0xffffffffu;
  const int8_t* row(uint32_t k) const noexcept {
    const uint32_t place = hot_place == nullptr ? kNotHot : hot_place[k];
    return place == kNotHot ? w + static_cast<size_t>(k) * out : hot + static_cast<size_t>(place) * out;
  }
};

/// Counts, for reports.
struct ShadowStats {
  uint64_t repaired_inputs = 0;   // elements with q ≠ clamp(q)
  uint64_t repaired_outputs = 0;  // saturated outputs recomputed whole
  uint64_t hot_inputs = 0;        // of repaired_inputs: their row was kept apart

  ShadowStats& operator+=(const ShadowStats& other) noexcept {
    repaired_inputs += other.repaired_inputs;
    repaired_outputs += other.repaired_outputs;
    hot_inputs += other.hot_inputs;
    return *this;
  }
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
