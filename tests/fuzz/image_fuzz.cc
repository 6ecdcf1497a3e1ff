// lutra's files of compiled graphs: the key, the graphs' tensor ids, the library's binary.
#include "base/error.h"
#include "qnn/context_image.h"
#include "target.h"

namespace {

/// A graph in the view has 80 bytes, in the file it may have 12.
constexpr size_t kFactorOfGraphs = 8;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  const fuzz::Budget budget(fuzz::kBase + kFactorOfGraphs * size);
  try {
    const qnn::ImageView image = qnn::decode_image(fuzz::as_bytes(data, size));
    volatile size_t sink = image.key.size() + image.binary.size();
    for (const auto& graph : image.graphs) sink = sink + (image.find(graph.name) != nullptr);
    for (const std::byte one : image.binary) sink = sink + static_cast<size_t>(one);
  } catch (const Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return lutra::fuzz::mutate_and_repair(data, size, max_size, seed, lutra::qnn::seal_image);
}
