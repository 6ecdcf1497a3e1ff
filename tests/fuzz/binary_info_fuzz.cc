// Metadata of context binaries: the host NPU's system interface, read by lutra's own client of it.
#include "base/error.h"
#include "hostnpu/binary.h"
#include "hostnpu/hostnpu.h"
#include "qnn/system.h"
#include "target.h"

namespace {

/// The interface's structure of a tensor has 144 bytes, a tensor in a binary may have 40.
constexpr size_t kFactorOfStructures = 16;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  static const auto system = qnn::System::embedded([](const qnn::abi::SystemInterface*** providers, uint32_t* count) { return hostnpu::get_system_providers(providers, count); }, "host");
  const fuzz::Budget budget(fuzz::kBase + kFactorOfStructures * size);
  try {
    (void)system->describe(fuzz::as_bytes(data, size));
  } catch (const Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return lutra::fuzz::mutate_and_repair(data, size, max_size, seed, lutra::hostnpu::seal_binary);
}
