// A library with the entry point of a QNN backend and no more behaviour than loading it needs. Compile definitions make the variants:
// FAKE_MAJOR, FAKE_MINOR: the version it reports; FAKE_NULL_SLOT: an entry left empty; FAKE_PROVIDERS: 0 none, 1 one, 2 an old one before the
// good one, 3 a null pointer before the good one; FAKE_STATUS: what the entry point returns; FAKE_PRINTS: print on standard output when loaded.
#include <cstdio>

#include "qnn/abi.h"

#ifndef FAKE_MAJOR
#define FAKE_MAJOR 2
#endif
#ifndef FAKE_MINOR
#define FAKE_MINOR 27
#endif
#ifndef FAKE_PROVIDERS
#define FAKE_PROVIDERS 1
#endif
#ifndef FAKE_STATUS
#define FAKE_STATUS 0
#endif

namespace {
namespace abi = lutra::qnn::abi;

// The table of releases before 2.27 was shorter; the loader may not look at it at all.
constexpr size_t kSlots = FAKE_MINOR < 27 ? 44 : abi::kSlotsAt27;

void no_function() {}

abi::InterfaceOf<kSlots> make(uint32_t major, uint32_t minor, const char* name) {
  abi::InterfaceOf<kSlots> provider{};
  provider.backend_id = abi::BackendId::kHtp;
  provider.provider_name = name;
  provider.core = {major, minor, 1};
  provider.backend = {5, 36, 0};
  for (abi::AnyFunction& slot : provider.table) slot = &no_function;
  // Called while loading, so it may not be nonsense.
  provider.table[static_cast<size_t>(abi::Slot::kBackendGetBuildId)] = nullptr;
#ifdef FAKE_NULL_SLOT
  provider.table[FAKE_NULL_SLOT] = nullptr;
#endif
  return provider;
}

const abi::InterfaceOf<kSlots> good = make(FAKE_MAJOR, FAKE_MINOR, "FAKE");
const abi::InterfaceOf<kSlots> old = make(2, 7, "OLD");

#ifdef FAKE_PRINTS
__attribute__((constructor)) void print_at_load() { std::printf("printed by the library"); }
#endif

}  // namespace

extern "C" __attribute__((visibility("default"))) abi::Status QnnInterface_getProviders(const abi::QnnInterface*** list, uint32_t* count) {
  static const void* pointers[2] = {};
  *count = FAKE_PROVIDERS == 3 ? 2 : FAKE_PROVIDERS;
  pointers[0] = FAKE_PROVIDERS == 2 ? &old : FAKE_PROVIDERS == 3 ? nullptr : &good;
  pointers[1] = &good;
  *list = reinterpret_cast<const abi::QnnInterface**>(pointers);
  return FAKE_STATUS;
}
