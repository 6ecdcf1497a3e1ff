#include "qnn/rpc_memory.h"

#include <climits>
#include <optional>
#include <utility>

#include "base/error.h"

namespace lutra::qnn {
namespace {

constexpr int kSystemHeap = 25;
constexpr unsigned kCached = 1;
constexpr const char* kRemedy = "lutra works without shared memory, with one copy more of every tensor; an app names libcdsprpc.so in <uses-native-library>";

template <class Function>
Function* need(const DynamicLibrary& library, const std::string& source, const char* name) {
  if (Function* found = library.function<Function>(name)) return found;
  throw Error(ErrorCode::kUnsupported, "'" + source + "' has no function " + name, kRemedy);
}

}  // namespace

RpcMemory::RpcMemory(DynamicLibrary library, std::string source) : library_(std::move(library)), source_(std::move(source)) {
  alloc_ = need<AllocFn>(library_, source_, "rpcmem_alloc");
  free_ = need<FreeFn>(library_, source_, "rpcmem_free");
  descriptor_ = need<DescriptorFn>(library_, source_, "rpcmem_to_fd");
}

std::shared_ptr<const RpcMemory> RpcMemory::open(std::span<const std::string> candidates) {
  std::string said;
  for (const std::string& candidate : candidates) {
    std::optional<DynamicLibrary> library;
    try {
      library = candidate.find('/') == std::string::npos ? DynamicLibrary::by_name(candidate) : DynamicLibrary(candidate);
    } catch (const Error& error) {
      said.append(said.empty() ? "" : "; ").append(error.what());
      continue;
    }
    return std::shared_ptr<const RpcMemory>(new RpcMemory(std::move(*library), candidate));
  }
  throw Error(ErrorCode::kLibraryNotFound, "FastRPC's library cannot be opened: " + (said.empty() ? "no path was given" : said), kRemedy);
}

RpcMemory::Buffer RpcMemory::allocate(size_t bytes) const {
  void* data = bytes > 0 && bytes <= INT_MAX ? alloc_(kSystemHeap, kCached, static_cast<int>(bytes)) : nullptr;
  if (data == nullptr) throw Error(ErrorCode::kOutOfMemory, "'" + source_ + "' gave no " + std::to_string(bytes) + " bytes of shared memory", kRemedy);
  const int descriptor = descriptor_(data);
  if (descriptor < 0) {
    free_(data);
    throw Error(ErrorCode::kOutOfMemory, "'" + source_ + "' has no file descriptor for its memory", kRemedy);
  }
  return Buffer(shared_from_this(), data, bytes, descriptor);
}

RpcMemory::Buffer::Buffer(std::shared_ptr<const RpcMemory> from, void* data, size_t bytes, int descriptor) noexcept
    : from_(std::move(from)), data_(data), size_(bytes), descriptor_(descriptor) {}

RpcMemory::Buffer::Buffer(Buffer&& other) noexcept
    : from_(std::move(other.from_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), descriptor_(std::exchange(other.descriptor_, -1)) {}

RpcMemory::Buffer::~Buffer() {
  if (data_ != nullptr) from_->free_(data_);
}

}  // namespace lutra::qnn
