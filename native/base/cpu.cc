#include "base/cpu.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>

#include "base/error.h"

#if defined(LUTRA_X86)
#include <cpuid.h>
#elif defined(LUTRA_ARM64)
#include <sys/auxv.h>
#endif

namespace lutra {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vbmi, Isa::kNeon, Isa::kDotprod, Isa::kI8mm};
#if defined(LUTRA_X86)
constexpr Isa kBuilt[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vbmi};

constexpr bool has(uint64_t word, std::initializer_list<int> bits) {
  return std::all_of(bits.begin(), bits.end(), [word](int bit) { return (word >> bit & 1) != 0; });
}

struct Features {
  bool avx2 = false, avx_vnni = false, avx512 = false, avx512_vbmi = false;
};

/// By CPUID itself, because __builtin_cpu_supports answers no to everything where compiler-rt is zig's. Registers that the system does not save do not count.
Features read_features() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr int kFma = 12, kOsxsave = 27, kAvx = 28, kF16c = 29;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !has(c, {kFma, kOsxsave, kAvx, kF16c})) return {};
  uint32_t saved = 0, high = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr int kXmm = 1, kYmm = 2, kMasks = 5, kZmmLow = 6, kZmmHigh = 7;
  constexpr int kAvx2Bit = 5, kF = 16, kDq = 17, kBw = 30, kVl = 31, kVbmi = 1, kVnni = 11, kAvxVnniBit = 4;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || !has(b, {kAvx2Bit}) || !has(saved, {kXmm, kYmm})) return {};
  Features out;
  out.avx2 = true;
  out.avx512 = has(b, {kF, kDq, kBw, kVl}) && has(c, {kVnni}) && has(saved, {kMasks, kZmmLow, kZmmHigh});
  out.avx512_vbmi = out.avx512 && has(c, {kVbmi});
  out.avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && has(a, {kAvxVnniBit});
  return out;
}
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
  static const Features features = read_features();
  if (isa == Isa::kAvx2) return features.avx2;
  if (isa == Isa::kAvxVnni) return features.avx_vnni;
  if (isa == Isa::kAvx512) return features.avx512;
  if (isa == Isa::kAvx512Vbmi) return features.avx512_vbmi;
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
