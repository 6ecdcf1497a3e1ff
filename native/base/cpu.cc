#include "base/cpu.h"

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/error.h"

namespace lutra {

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "portable";
}

bool isa_available(Isa isa) noexcept {
#ifdef LUTRA_X86
  switch (isa) {
    case Isa::kPortable: return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return isa_available(Isa::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  }
#endif
  return isa == Isa::kPortable;
}

Isa best_isa() {
  const char* forced = std::getenv("LUTRA_FORCE_KERNEL");
  if (forced != nullptr && *forced != '\0') {
    for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
      if (std::strcmp(forced, isa_name(isa)) != 0) continue;
      if (isa_available(isa)) return isa;
      throw Error(ErrorCode::kInvalidArgument, std::string("LUTRA_FORCE_KERNEL=") + forced + ", but this processor lacks it",
                  "unset LUTRA_FORCE_KERNEL or set it to portable");
    }
    throw Error(ErrorCode::kInvalidArgument, std::string("LUTRA_FORCE_KERNEL=") + forced + " names no kernel tier",
                "use portable, avx2 or avx512");
  }
  if (isa_available(Isa::kAvx512)) return Isa::kAvx512;
  return isa_available(Isa::kAvx2) ? Isa::kAvx2 : Isa::kPortable;
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
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (isa_available(isa)) model += std::string(" ") + isa_name(isa);
  }
  return model;
}

}  // namespace lutra
