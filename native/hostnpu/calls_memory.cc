// Registered memory.
#include <algorithm>

#include "hostnpu/calls.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxDescriptors = 1u << 16;  // of one call

/// All of them or none.
abi::Status mem_register(abi::ContextHandle handle, const abi::MemDescriptor* descriptors, uint32_t count, abi::MemHandle* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (descriptors == nullptr || out == nullptr || count == 0 || count > kMaxDescriptors) return abi::kMemInvalidArgument;
  return guarded(&context->backend(), [&] {
    std::vector<std::shared_ptr<SharedMemory>> made;
    for (uint32_t i = 0; i < count; ++i) made.push_back(std::make_shared<SharedMemory>(context.get(), descriptors[i]));
    const auto lock = context->building();
    for (uint32_t i = 0; i < count; ++i) out[i] = publish<abi::MemHandle>(made[i]);
  });
}

/// All of them or none.
abi::Status mem_deregister(const abi::MemHandle* handles, uint32_t count) {
  if (handles == nullptr || count == 0 || count > kMaxDescriptors) return abi::kMemInvalidArgument;
  if (!std::all_of(handles, handles + count, [](abi::MemHandle handle) { return lookup<SharedMemory>(handle) != nullptr; })) return abi::kMemInvalidHandle;
  for (uint32_t i = 0; i < count; ++i) release<SharedMemory>(handles[i]);
  return abi::kSuccess;
}

}  // namespace

void add_memory_calls(abi::AnyFunction* table) noexcept {
  put<abi::MemRegisterFn>(table, abi::Slot::kMemRegister, mem_register);
  put<abi::MemDeRegisterFn>(table, abi::Slot::kMemDeRegister, mem_deregister);
}

}  // namespace lutra::hostnpu
