// Reader of weight files: a hostile header, then every tensor through the calls that the engine makes.
#include "base/error.h"
#include "memory_file.h"
#include "store/weight_store.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

uint64_t sum(std::span<const std::byte> bytes) {
  uint64_t total = 0;
  for (const std::byte one : bytes) total += static_cast<uint64_t>(one);
  return total;
}

void use(const store::WeightStore& store) {
  volatile uint64_t sink = store.total_bytes();
  for (const store::SafetensorsFile& file : store.files()) {
    for (const auto& [name, tensor] : file.tensors()) {
      sink = sum(tensor.data) + tensor.elements() + tensor.description().size() + store.contains(name);
      try {
        for (const float value : tensor.as<float>(store::TensorType::kF32)) sink = sink + static_cast<uint64_t>(value == 0.0f);
      } catch (const Error&) {
      }
      store.release(tensor);
    }
    for (const char* name : {"embed", "", "zzz"}) {
      try {
        sink = store.find(name).data.size();
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace lutra::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  const fuzz::MemoryFile file(fuzz::as_bytes(data, size));
  const std::string paths[] = {file.path()};
  const fuzz::Budget budget(fuzz::Budget::of_input(size));
  try {
    fuzz::use(store::WeightStore::open(paths));
  } catch (const Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using namespace lutra::fuzz;
  // The header ends at the last brace before the data; most inputs keep a length that says so.
  return mutate_and_repair(data, size, max_size, seed, [](std::span<std::byte> bytes) {
    size_t end = bytes.size();
    while (end > 8 && bytes[end - 1] != std::byte{'}'}) --end;
    if (end > 8) put(bytes, 0, static_cast<uint64_t>(end - 8));
  });
}
