// CPU features of this machine, probed at run time, and the target attributes of kernel variants.
#pragma once

#include <span>
#include <string>

#if defined(__x86_64__)
#define LUTRA_X86 1
#define LUTRA_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LUTRA_TARGET_AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
#define LUTRA_TARGET_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define LUTRA_TARGET_AVX512_VBMI __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi")))
#endif
#if defined(__aarch64__)
#define LUTRA_ARM64 1
#define LUTRA_TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#define LUTRA_TARGET_I8MM __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif

namespace lutra {

/// Instruction set tiers that kernels exist for, each architecture's lowest first. A tier includes those of its architecture below it, but those of AVX-512 do not include kAvxVnni; kPortable runs everywhere.
///   kAvx2    AVX2, FMA, F16C                     kAvxVnni VPDPBUSD of 256 bits without AVX-512, as well
///   kAvx512  AVX-512 F, BW, DQ, VL, VNNI         kAvx512Vbmi  VBMI as well
///   kNeon    what every 64-bit ARM has           kDotprod SDOT and UDOT (ARMv8.2)        kI8mm        SMMLA and USMMLA (ARMv8.6)
enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512, kAvx512Vbmi, kNeon, kDotprod, kI8mm };

/// "portable", "avx2", "avxvnni", "avx512", "avx512vbmi", "neon", "dotprod", "i8mm".
const char* isa_name(Isa isa) noexcept;

/// The tiers of the architecture that this is built for, lowest first, whether or not this machine has them.
std::span<const Isa> isas() noexcept;

/// True when what runs on a machine of tier `lower` runs on one of tier `isa`.
constexpr bool isa_includes(Isa isa, Isa lower) noexcept {
  if (lower == Isa::kAvxVnni) return isa == lower;  // the first processors with AVX-512 lack it
  return lower == Isa::kPortable || (lower <= isa && (lower >= Isa::kNeon) == (isa >= Isa::kNeon));
}

/// The best tier of this machine, lowered by the environment variable LUTRA_FORCE_KERNEL (a name of isa_name).
/// Throws Error(kInvalidArgument) when the variable names an unknown tier or one that this machine lacks.
Isa best_isa();

/// True when this machine can run `isa`, whatever LUTRA_FORCE_KERNEL says.
bool isa_available(Isa isa) noexcept;

/// Model name and features in one line, for reports.
std::string cpu_description();

}  // namespace lutra
