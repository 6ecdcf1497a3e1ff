// Written as assembly, because a compiler would merge operations on equal registers. Sums lie in registers of their own, enough of them to hide the latency.
#include "peak.h"

namespace lutra::bench {
namespace {

#ifdef LUTRA_X86

#define LUTRA_VECTORS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

// Six products into registers 10 to 15, then their sums into 0 to 5, twice: of the orders tried, the one in which additions take the fewest turns of the multipliers.
#define LUTRA_TWELVE_PRODUCTS(multiply, add)                                                      \
  "vzeroall\n.p2align 5\n1:\n.rept 2\n"                                                           \
  ".irp i,0,1,2,3,4,5\n" multiply " %%ymm8, %%ymm9, %%ymm1\\i\n.endr\n"                           \
  ".irp i,0,1,2,3,4,5\n" add " %%ymm1\\i, %%ymm\\i, %%ymm\\i\n.endr\n.endr\ndec %0\njnz 1b\n"
// One instruction that multiplies and adds, on 14 sums.
#define LUTRA_FOURTEEN_SUMS(instruction, registers) \
  "vzeroall\n.p2align 5\n1:\n.irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13\n" instruction " %%" registers "14, %%" registers "15, %%" registers "\\i\n.endr\ndec %0\njnz 1b\n"

LUTRA_TARGET_AVX2 void madd_words(uint64_t rounds) { asm volatile(LUTRA_TWELVE_PRODUCTS("vpmaddwd", "vpaddd") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_AVX2 void madd_bytes(uint64_t rounds) { asm volatile(LUTRA_TWELVE_PRODUCTS("vpmaddubsw", "vpaddw") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_AVX2 void fma_256(uint64_t rounds) { asm volatile(LUTRA_FOURTEEN_SUMS("vfmadd231ps", "ymm") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_AVXVNNI void dot_256(uint64_t rounds) { asm volatile(LUTRA_FOURTEEN_SUMS("%{vex%} vpdpbusd", "ymm") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_AVX512 void dot_512(uint64_t rounds) { asm volatile(LUTRA_FOURTEEN_SUMS("vpdpbusd", "zmm") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_AVX512 void fma_512(uint64_t rounds) { asm volatile(LUTRA_FOURTEEN_SUMS("vfmadd231ps", "zmm") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }

constexpr Peak kPeaks[] = {
    {Isa::kAvx2, PeakKind::kInteger, "VPMADDWD + VPADDD, 256 bits: bytes as words, exact", 12 * 16, madd_words},
    {Isa::kAvx2, PeakKind::kRaw, "VPMADDUBSW + VPADDW, 256 bits: bytes, saturates, so not exact", 12 * 32, madd_bytes},
    {Isa::kAvx2, PeakKind::kFloat, "VFMADD231PS, 256 bits", 14 * 8, fma_256},
    {Isa::kAvxVnni, PeakKind::kInteger, "VPDPBUSD, 256 bits (AVX-VNNI)", 14 * 32, dot_256},
    {Isa::kAvxVnni, PeakKind::kFloat, "VFMADD231PS, 256 bits", 14 * 8, fma_256},
    {Isa::kAvx512, PeakKind::kInteger, "VPDPBUSD, 512 bits (VNNI)", 14 * 64, dot_512},
    {Isa::kAvx512, PeakKind::kFloat, "VFMADD231PS, 512 bits", 14 * 16, fma_512},
};

#elif defined(LUTRA_ARM64)

#define LUTRA_VECTORS                                                                                                                                            \
  "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", \
      "v24", "v25", "v26", "v27", "v30", "v31"
#define LUTRA_ZEROS ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,30,31\nmovi v\\i\\().4s, #0\n.endr\n"
#define LUTRA_LOOP(body) LUTRA_ZEROS ".p2align 5\n1:\n" body "subs %0, %0, #1\nb.ne 1b\n"
// One instruction that multiplies and adds, on 16 sums.
#define LUTRA_SIXTEEN_SUMS(instruction, lanes) \
  LUTRA_LOOP(".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" instruction " v\\i\\().4s, v30." lanes ", v31." lanes "\n.endr\n")

void multiply_long(uint64_t rounds) {
  asm volatile(LUTRA_LOOP(".irp i,0,1,2,3,4,5,6,7\nsmull v1\\i\\().8h, v30.8b, v31.8b\n.endr\n"
                          ".irp i,0,1,2,3,4,5,6,7\nsadalp v\\i\\().4s, v1\\i\\().8h\n.endr\n")
               : "+r"(rounds) : : LUTRA_VECTORS, "cc");
}
LUTRA_TARGET_DOTPROD void dot(uint64_t rounds) { asm volatile(LUTRA_SIXTEEN_SUMS("sdot", "16b") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
LUTRA_TARGET_I8MM void matrix(uint64_t rounds) { asm volatile(LUTRA_SIXTEEN_SUMS("usmmla", "16b") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }
void fma_128(uint64_t rounds) { asm volatile(LUTRA_SIXTEEN_SUMS("fmla", "4s") : "+r"(rounds) : : LUTRA_VECTORS, "cc"); }

constexpr Peak kPeaks[] = {
    {Isa::kNeon, PeakKind::kInteger, "SMULL + SADALP", 8 * 8, multiply_long}, {Isa::kNeon, PeakKind::kFloat, "FMLA", 16 * 4, fma_128},
    {Isa::kDotprod, PeakKind::kInteger, "SDOT", 16 * 16, dot},                {Isa::kDotprod, PeakKind::kFloat, "FMLA", 16 * 4, fma_128},
    {Isa::kI8mm, PeakKind::kInteger, "USMMLA", 16 * 32, matrix},              {Isa::kI8mm, PeakKind::kFloat, "FMLA", 16 * 4, fma_128},
};

#endif

}  // namespace

std::span<const Peak> peaks() noexcept {
#if defined(LUTRA_X86) || defined(LUTRA_ARM64)
  return kPeaks;
#else
  return {};
#endif
}

}  // namespace lutra::bench
