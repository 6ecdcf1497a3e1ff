// F16 scales and minima as integers, 64 at a time: v67 has no vector floats, and those of later versions do not round as IEEE 754 does.
#pragma once

#include "kernels/hvx/hvx_vectors.h"

namespace lutra::hvx {

inline constexpr float kFixedStep = 5.9604644775390625e-8f;  // 2^-24, the smallest positive F16

/// What F16 consist of, lane by lane: significand with its hidden bit, exponent (at least 1), so that |value| = significand · 2^(exponent - 25); all ones where negative.
struct Parts {
  Vector significand, exponent, negative;
};

inline Parts parts_of(Vector halves) {
  const Vector magnitude = Q6_V_vand_VV(halves, splat(0x7fff7fff)), field = Q6_Vuh_vlsr_VuhR(magnitude, 10);
  const Vector hidden = Q6_Vuh_vmin_VuhVuh(field, splat(0x00010001));
  const Vector exponent = Q6_Vuh_vmax_VuhVuh(field, splat(0x00010001));
  return {Q6_V_vor_VV(Q6_V_vand_VV(magnitude, splat(0x03ff03ff)), Q6_Vh_vasl_VhR(hidden, 10)), exponent, Q6_Vh_vasr_VhR(halves, 15)};
}

/// `magnitude` negated where `negative` is all ones.
inline Vector with_sign(Vector magnitude, Vector negative) { return Q6_Vw_vsub_VwVw(Q6_V_vxor_VV(magnitude, negative), negative); }

/// Words of 64 rows: of the even rows, then of the odd ones.
struct Words {
  Vector even, odd;
};

/// Parts in words: of the even ones of 64 numbers, then of the odd ones.
struct PartsPair {
  Parts even, odd;
};

inline PartsPair wide_parts(const Parts& parts) {
  const Pair significand = Q6_Wuw_vzxt_Vuh(parts.significand), exponent = Q6_Wuw_vzxt_Vuh(parts.exponent), negative = Q6_Ww_vsxt_Vh(parts.negative);
  return {{low(significand), low(exponent), low(negative)}, {high(significand), high(exponent), high(negative)}};
}

/// 64 F16 as integers of 2^-24, exact where |value| < 128.
inline Words fixed_of(Vector halves) {
  const PartsPair parts = wide_parts(parts_of(halves));
  const auto fixed = [](const Parts& of) { return with_sign(Q6_Vw_vasl_VwVw(of.significand, Q6_Vw_vsub_VwVw(of.exponent, splat(1))), of.negative); };
  return {fixed(parts.even), fixed(parts.odd)};
}

}  // namespace lutra::hvx
