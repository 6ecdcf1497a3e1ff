// Portable shadow linear: the reference.
#include <cmath>

#include "kernels/shadow/shadow_internal.h"

namespace lutra::kernels {
namespace {

struct Portable {
  static uint32_t collect(const float* x, uint32_t in, const ClipRange& range, float* list) noexcept {
    uint32_t count = 0;
    for (uint32_t k = 0; k < in; ++k) {
      if (range.clipped(x[k])) put_index(list, count++, k);
    }
    return count;
  }

  static void add_rows(const ShadowWeight& w, const float* x, const ClipRange& range, const float* list, uint32_t count, float* sums) noexcept {
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t k = get_index(list, i);
      const float residual = range.residual(x[k]);
      const int8_t* row = w.row(k);
      for (uint32_t o = 0; o < w.out; ++o) sums[o] += residual * static_cast<float>(row[o]);
    }
  }

  static void effective(const float* x, uint32_t in, const ClipRange& range, float* out) noexcept {
    for (uint32_t k = 0; k < in; ++k) {
      if (std::isnan(x[k])) out[k] = 0.0f;
      else out[k] = range.clipped(x[k]) ? x[k] : std::nearbyint(x[k] / range.scale) * range.scale;
    }
  }

  static void whole(const ShadowWeight& w, const float* values, uint32_t first, float* lanes) noexcept {
    const uint32_t count = w.out - first < kShadowLanes ? w.out - first : kShadowLanes;
    for (uint32_t i = 0; i < kShadowLanes; ++i) lanes[i] = 0.0f;
    for (uint32_t k = 0; k < w.in; ++k) {
      const int8_t* row = w.w + static_cast<size_t>(k) * w.out + first;
      for (uint32_t i = 0; i < count; ++i) lanes[i] += values[k] * static_cast<float>(row[i]);
    }
  }

  static void combine(const ShadowWeight& w, const float* sums, const float* base, const uint8_t* yq, const Encoding& y_encoding, float* y) noexcept {
    for (uint32_t o = 0; o < w.out; ++o) y[o] = combine_one(w, sums, base, yq, y_encoding, o);
  }
};

}  // namespace

const ShadowKernel kPortableShadow = {"portable", Isa::kPortable, shadow_row<Portable>};

}  // namespace lutra::kernels
