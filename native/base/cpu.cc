#include "base/cpu.h"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/error.h"

#ifdef LUTRA_ARM64
#include <sys/auxv.h>
#endif

namespace lutra {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vbmi, Isa::kNeon, Isa::kDotprod, Isa::kI8mm};
#if defined(LUTRA_X86)
constexpr Isa kBuilt[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vbmi};
#elif defined(LUTRA_ARM64)
constexpr Isa kBuilt[] = {Isa::kPortable, Isa::kNeon, Isa::kDotprod, Isa::kI8mm};
// Bits of the kernel's auxiliary vector, by number because old headers lack the names.
constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
constexpr unsigned long kHwcap2I8mm = 1ul << 13;
#else
constexpr Isa kBuilt[] = {Isa::kPortable};
#endif

}  // namespace

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvxVnni: return "avxvnni";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vbmi: return "avx512vbmi";
    case Isa::kNeon: return "neon";
    case Isa::kDotprod: return "dotprod";
    case Isa::kI8mm: return "i8mm";
  }
  return "portable";
}

std::span<const Isa> isas() noexcept { return kBuilt; }

bool isa_available(Isa isa) noexcept {
#if defined(LUTRA_X86)
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (isa == Isa::kAvxVnni) return isa_available(Isa::kAvx2) && __builtin_cpu_supports("avxvnni");
  if (isa == Isa::kAvx512) {
    return isa_available(Isa::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  }
  if (isa == Isa::kAvx512Vbmi) return isa_available(Isa::kAvx512) && __builtin_cpu_supports("avx512vbmi");
#elif defined(LUTRA_ARM64)
  if (isa == Isa::kNeon) return true;
  if (isa == Isa::kDotprod) return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0;
  if (isa == Isa::kI8mm) return isa_available(Isa::kDotprod) && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0;
#endif
  return isa == Isa::kPortable;
}

Isa best_isa() {
  const char* forced = std::getenv("LUTRA_FORCE_KERNEL");
  if (forced != nullptr && *forced != '\0') {
    for (Isa isa : kAll) {
      if (std::strcmp(forced, isa_name(isa)) != 0) continue;
      if (isa_available(isa)) return isa;
      throw Error(ErrorCode::kInvalidArgument, std::string("LUTRA_FORCE_KERNEL=") + forced + ", but this processor lacks it",
                  "unset LUTRA_FORCE_KERNEL or set it to portable");
    }
    throw Error(ErrorCode::kInvalidArgument, std::string("LUTRA_FORCE_KERNEL=") + forced + " names no kernel tier",
                "use portable, avx2, avxvnni, avx512, avx512vbmi, neon, dotprod or i8mm");
  }
  Isa best = Isa::kPortable;
  for (Isa isa : kBuilt) {
    if (isa_available(isa)) best = isa;
  }
  return best;
}

std::string cpu_description() {
  std::string model = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0 || line.rfind("Hardware", 0) == 0) {
      if (auto colon = line.find(": "); colon != std::string::npos) model = line.substr(colon + 2);
      break;
    }
  }
  for (Isa isa : kBuilt) {
    if (isa != Isa::kPortable && isa_available(isa)) model += std::string(" ") + isa_name(isa);
  }
  return model;
}

}  // namespace lutra
