// Names for HVX vectors of 128 bytes, and what several kernels do with them.
#pragma once

#include <hexagon_types.h>
#include <hvx_hexagon_protos.h>
#include <stdint.h>

#if !defined(__HVX__) || __HVX_LENGTH__ != 128 || __HVX_ARCH__ < 66
#error "these kernels want -mhvx -mhvx-length=128b and v66 or later"
#endif

namespace lutra::hvx {

using Vector = HVX_Vector;
using Pair = HVX_VectorPair;

inline Vector low(Pair pair) { return Q6_V_lo_W(pair); }
inline Vector high(Pair pair) { return Q6_V_hi_W(pair); }
inline Vector splat(int32_t word) { return Q6_V_vsplat_R(word); }

/// Entries of table `table` (0 … 3, of 16 halfwords) of a vector for the low nibbles of 128 bytes: those of the even bytes, then those of the odd ones.
inline Pair look_up(Vector nibbles, Vector tables, int32_t table) { return Q6_Wh_vlut16_VbVhR_nomatch(nibbles, tables, table); }

/// Where entry `e` of table `table` is among the halfwords of a vector.
constexpr uint32_t table_half(uint32_t table, uint32_t e) { return 2 * (16 * (table % 2) + e) + table / 2; }

}  // namespace lutra::hvx
