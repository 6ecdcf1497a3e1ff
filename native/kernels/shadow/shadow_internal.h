// The steps of the shadow linear, each written once per tier, and the order in which every tier takes them.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/shadow/shadow.h"

namespace lutra::kernels {

/// The range that 8 or 16 bits can hold, as whole steps and as values. Clipped: rint(x / scale) outside [low, high], which is x outside [least, most]; NaN is not clipped.
struct ClipRange {
  float scale, low, high, low_value, high_value, least, most;
  static ClipRange of(const Encoding& e) noexcept {
    const auto low = static_cast<float>(e.lo + e.offset);
    const auto high = static_cast<float>(e.hi + e.offset);
    return {e.scale, low, high, low * e.scale, high * e.scale, outermost(low, e.scale, -1.0f), outermost(high, e.scale, 1.0f)};
  }
  bool clipped(float x) const noexcept { return x > most || x < least; }
  /// What clipping took from a clipped x.
  float residual(float x) const noexcept { return x > high_value ? x - high_value : x - low_value; }

 private:
  /// The value farthest out, by `sign`, that is still rounded to `limit` steps or less: a comparison with it is a division saved.
  static float outermost(float limit, float scale, float sign) noexcept {
    const auto inside = [&](float x) { return sign * std::nearbyint(x / scale) <= sign * limit; };
    const float out = sign * std::numeric_limits<float>::infinity();
    float x = (limit + sign * 0.5f) * scale;
    while (!inside(x)) x = std::nextafter(x, -out);
    while (inside(std::nextafter(x, out))) x = std::nextafter(x, out);
    return x;
  }
};

/// Outputs whose whole sums are computed together: one walk down W costs the same cache lines for one of them as for all.
inline constexpr uint32_t kShadowLanes = 16;

/// Indices of clipped elements live in the float scratch as bits, so that a row needs no memory of its own.
inline void put_index(float* list, uint32_t i, uint32_t index) noexcept { std::memcpy(list + i, &index, sizeof index); }
inline uint32_t get_index(const float* list, uint32_t i) noexcept {
  uint32_t index;
  std::memcpy(&index, list + i, sizeof index);
  return index;
}

inline int32_t quantised_at(const uint8_t* yq, uint32_t o, const Encoding& e) noexcept { return e.lo < 0 ? static_cast<int8_t>(yq[o]) : yq[o]; }
inline bool saturated(int32_t q, const Encoding& e) noexcept { return q == e.lo || q == e.hi; }

/// Whether one of kShadowLanes codes is at an end of its range: whether a byte of them, less the end's, is 0.
inline bool any_saturated(const uint8_t* yq, const Encoding& e) noexcept {
  constexpr uint64_t kOnes = 0x0101010101010101u, kHighs = 0x8080808080808080u;
  const uint64_t low = kOnes * static_cast<uint8_t>(e.lo), high = kOnes * static_cast<uint8_t>(e.hi);
  uint64_t found = 0;
  for (uint32_t i = 0; i < kShadowLanes; i += 8) {
    uint64_t codes;
    std::memcpy(&codes, yq + i, sizeof codes);
    for (const uint64_t left : {codes ^ low, codes ^ high}) found |= (left - kOnes) & ~left & kHighs;
  }
  return found != 0;
}

// What tiers have in common of the steps add_rows, whole and combine below.

/// add_rows by add_four(w, rows, residuals, sums), which adds four rows of W in one pass over the sums.
template <typename AddFour>
void add_rows_by_four(const ShadowWeight& w, const float* x, const ClipRange& range, const float* list, uint32_t count, float* sums, AddFour add_four) noexcept {
  for (uint32_t i = 0; i < count; i += 4) {
    const int8_t* rows[4];
    float residuals[4];
    for (uint32_t j = 0; j < 4; ++j) {  // the last group is filled up with rows that add nothing
      const uint32_t k = get_index(list, i + j < count ? i + j : i);
      rows[j] = w.row(k);
      residuals[j] = i + j < count ? range.residual(x[k]) : 0.0f;
    }
    add_four(w, rows, residuals, sums);
  }
}

/// Of the last outputs, fewer than kShadowLanes.
inline void whole_of_last(const ShadowWeight& w, const float* values, uint32_t first, float* lanes) noexcept {
  for (uint32_t i = 0; first + i < w.out; ++i) {
    lanes[i] = 0.0f;
    for (uint32_t k = 0; k < w.in; ++k) lanes[i] += values[k] * static_cast<float>(w.w[static_cast<size_t>(k) * w.out + first + i]);
  }
}

/// Of one output.
inline float combine_one(const ShadowWeight& w, const float* sums, const float* base, const uint8_t* yq, const Encoding& e, uint32_t o) noexcept {
  float value = sums[o] * w.scale[o];
  if (yq != nullptr) {
    const int32_t q = quantised_at(yq, o, e);
    if (!saturated(q, e)) value += static_cast<float>(q + e.offset) * e.scale;
  }
  return base != nullptr ? base[o] + value : value;
}

/// One row, from the steps of `Tier`:
///  collect(x, in, range, list): indices of clipped elements, ascending; returns their number.
///  add_rows(w, x, range, list, count, sums): sums[o] += Σ residual(x[k]) · W[k, o] over the listed k.
///  effective(x, in, range, out): x itself where clipped, otherwise its dequantised 8-bit value (NaN: 0).
///  whole(w, values, first, lanes): lanes[i] = Σ_k values[k] · W[k, first + i], for i < kShadowLanes and first + i < out.
///  combine(w, sums, base, yq, y_encoding, y): y = base + sums · scale [+ dequant(yq)].
template <typename Tier>
void shadow_row(const ShadowWeight& w, const float* x, const Encoding& x_encoding, const float* base, const uint8_t* yq, const Encoding& y_encoding, float* scratch,
                float* y, ShadowStats& stats) {
  const ClipRange range = ClipRange::of(x_encoding);
  float* list = scratch;
  float* sums = scratch + w.in;
  const uint32_t count = Tier::collect(x, w.in, range, list);
  stats.repaired_inputs += count;
  if (w.hot_place != nullptr) {
    for (uint32_t i = 0; i < count; ++i) stats.hot_inputs += w.hot_place[get_index(list, i)] != ShadowWeight::kNotHot;
  }
  std::memset(sums, 0, w.out * sizeof(float));
  if (count > 0) Tier::add_rows(w, x, range, list, count, sums);

  bool have_values = false;
  float* values = scratch;  // takes the list's place, which has done its work
  alignas(64) float whole[kShadowLanes];
  for (uint32_t first = 0; yq != nullptr && first < w.out; first += kShadowLanes) {
    const uint32_t lanes = w.out - first < kShadowLanes ? w.out - first : kShadowLanes;
    if (lanes == kShadowLanes && !any_saturated(yq + first, y_encoding)) continue;
    uint32_t hit = 0;
    for (uint32_t i = 0; i < lanes; ++i) hit |= static_cast<uint32_t>(saturated(quantised_at(yq, first + i, y_encoding), y_encoding)) << i;
    if (hit == 0) continue;
    if (!have_values) Tier::effective(x, w.in, range, values);
    have_values = true;
    Tier::whole(w, values, first, whole);
    stats.repaired_outputs += static_cast<uint64_t>(std::popcount(hit));
    for (; hit != 0; hit &= hit - 1) {  // combine leaves out dequant(yq) of these
      const auto i = static_cast<uint32_t>(std::countr_zero(hit));
      sums[first + i] = whole[i];
    }
  }
  Tier::combine(w, sums, base, yq, y_encoding, y);
}

extern const ShadowKernel kPortableShadow;
#ifdef LUTRA_X86
extern const ShadowKernel kAvx2Shadow;
extern const ShadowKernel kAvx512Shadow;
#endif
#ifdef LUTRA_ARM64
extern const ShadowKernel kNeonShadow;
#endif

}  // namespace lutra::kernels
