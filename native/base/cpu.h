// CPU features of this machine, probed once at run time, and the target attributes of kernel variants.
#pragma once

#include <string>

#if defined(__x86_64__)
#define LUTRA_X86 1
#define LUTRA_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LUTRA_TARGET_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#endif
#if defined(__aarch64__)
#define LUTRA_ARM64 1
#endif

namespace lutra {

/// Instruction set tiers that kernels exist for, lowest first. kPortable runs everywhere.
enum class Isa { kPortable, kAvx2, kAvx512 };

/// "portable", "avx2", "avx512".
const char* isa_name(Isa isa) noexcept;

/// The best tier of this machine, lowered by the environment variable LUTRA_FORCE_KERNEL (portable | avx2 | avx512).
/// Throws Error(kInvalidArgument) when the variable names an unknown tier or one that this machine lacks.
Isa best_isa();

/// True when this machine can run `isa`, whatever LUTRA_FORCE_KERNEL says.
bool isa_available(Isa isa) noexcept;

/// Model name and features in one line, for reports.
std::string cpu_description();

}  // namespace lutra
