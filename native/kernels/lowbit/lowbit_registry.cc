#include <limits>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

// Which family runs a number of bits up to how many rows, by tier: below `lut_rows[bits - 1]` rows the tables, from there on dot products, whose unpacking the rows
// share. AVX2: measured by `lutra bench kernels --tune` on Zen 3, which went up to 16 rows; AVX-VNNI: from llvm-mca's cycles for Alder Lake; ARM: from the cycles of
// scripts/arm64 loops; AVX-512: counted, a chunk of b bits costs 8 b + 4 vector instructions a row by tables, and 24 b once and 13 a row by dot products.
struct Tuning {
  Isa isa;
  uint32_t lut_rows[4];
};
constexpr uint32_t kAlways = std::numeric_limits<uint32_t>::max();
constexpr Tuning kTuning[] = {
    {Isa::kPortable, {2, 2, 2, 0}},
    {Isa::kAvx2, {16, 12, 6, 0}},
    {Isa::kAvxVnni, {6, 10, 5, 0}},
    {Isa::kAvx512, {0, 0, 0, 0}},
    {Isa::kAvx512Vbmi, {kAlways, 7, 5, 0}},
    {Isa::kNeon, {kAlways, 12, 5, 0}},
    {Isa::kDotprod, {12, 16, 8, 0}},
};

/// The family's variant of the highest tier that `isa` includes.
const LowBitKernel& find(Isa isa, Family family) noexcept {
  const LowBitKernel* best = nullptr;
  for (const LowBitKernel& kernel : low_bit_kernels()) {
    if (kernel.family == family && isa_includes(isa, kernel.isa)) best = &kernel;
  }
  return *best;  // there is a portable one
}

}  // namespace

std::span<const LowBitKernel> low_bit_kernels() noexcept {
#ifdef LUTRA_X86
  static const LowBitKernel all[] = {kPortableLut, kPortableDot, kAvx2Lut, kAvx2Dot, kAvxVnniDot, kAvx512Dot, kAvx512VbmiLut};
#elif defined(LUTRA_ARM64)
  static const LowBitKernel all[] = {kPortableLut, kPortableDot, kNeonLut, kNeonDot, kDotprodLut, kDotprodDot};
#else
  static const LowBitKernel all[] = {kPortableLut, kPortableDot};
#endif
  return all;
}

const LowBitKernel& low_bit_kernel(const LowBitFormat& format, Isa isa, uint32_t n) noexcept {
  const Tuning* best = kTuning;
  for (const Tuning& tuning : kTuning) {
    if (isa_includes(isa, tuning.isa)) best = &tuning;
  }
  return find(best->isa, n < best->lut_rows[format.bits - 1] ? Family::kLut : Family::kDot);
}

}  // namespace lutra::kernels
