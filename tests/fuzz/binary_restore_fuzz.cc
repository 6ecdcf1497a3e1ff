// Contexts out of damaged binaries with a right checksum: whatever passes is executed, and saved again.
#include "hostnpu/binary.h"
#include "qnn_machine.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

using abi::Slot;

constexpr uint64_t kMostBytes = uint64_t{1} << 20;  // of the tensors of a graph that is executed
/// A graph that is ready to run is more than its description: nodes with their stages, tables, scales as doubles.
constexpr size_t kFactorOfGraphs = 32;

template <class Fn>
Fn slot(Slot which) {
  return host_library().slot<Fn>(which);
}

/// Executes with buffers of the sizes that the description says.
void execute(abi::ContextHandle context, const hostnpu::StoredGraph& stored) {
  std::vector<std::vector<std::byte>> buffers;
  std::vector<abi::Tensor> inputs, outputs;
  buffers.reserve(stored.tensors.size());
  for (const hostnpu::StoredTensor& tensor : stored.tensors) {
    if (!tensor.info.is_input() && !tensor.info.is_output()) continue;
    buffers.emplace_back(tensor.info.bytes(), std::byte{0x3c});
    abi::Tensor structure{};
    structure.version = 1;
    structure.v1.id = tensor.info.id;
    structure.v1.client = {buffers.back().data(), static_cast<uint32_t>(buffers.back().size())};
    (tensor.info.is_input() ? inputs : outputs).push_back(structure);
  }
  abi::GraphHandle graph{};
  if (slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(context, stored.name.c_str(), &graph) != 0) fail("a graph of the binary is not in the context");
  const auto status =
      slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(graph, inputs.data(), static_cast<uint32_t>(inputs.size()), outputs.data(), static_cast<uint32_t>(outputs.size()), nullptr, nullptr);
  if (status != 0 && status != abi::kMemAlloc) fail("a restored graph does not run");
}

void use(abi::ContextHandle context, std::span<const std::byte> binary) {
  for (const hostnpu::StoredGraph& graph : hostnpu::read_binary(binary).graphs) {
    uint64_t bytes = 0;
    for (const hostnpu::StoredTensor& tensor : graph.tensors) bytes += tensor.info.bytes();
    if (bytes <= kMostBytes) execute(context, graph);
  }
  uint64_t size = 0, written = 0;
  if (slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(context, &size) != 0) fail("a restored context has no binary");
  std::vector<std::byte> again(size);
  if (slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(context, again.data(), again.size(), &written) != 0 || written != size) fail("a restored context is not saved");
  abi::BackendHandle backend{};
  slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, nullptr, &backend);
  if (slot<abi::ContextValidateBinaryFn>(Slot::kContextValidateBinary)(backend, nullptr, nullptr, again.data(), again.size()) != 0) fail("what a restored context saves is not valid");
  slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend);
}

}  // namespace
}  // namespace lutra::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  using namespace lutra::fuzz;
  abi::BackendHandle backend{};
  abi::ContextHandle context{};
  if (slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, nullptr, &backend) != 0) fail("no backend");
  bool restored = false;
  {
    const Budget budget(kBase + kFactorOfGraphs * size, Budget::Memory::kHeap);
    restored = slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(backend, nullptr, nullptr, data, size, &context, nullptr) == 0;
  }
  if (restored) {
    const Budget budget(64 * kMostBytes, Budget::Memory::kHeap);
    use(context, as_bytes(data, size));
    slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr);
  }
  slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return lutra::fuzz::mutate_and_repair(data, size, max_size, seed, lutra::hostnpu::seal_binary);
}
