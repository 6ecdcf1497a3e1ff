#include "base/aligned.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace lutra {
namespace {

constexpr size_t kMapFrom = size_t{256} << 10;  // below this a mapping's page rounding and system calls cost more than they save

[[noreturn]] void out_of_memory(const std::string& amount) {
  throw Error(ErrorCode::kOutOfMemory, "cannot allocate " + amount + " of memory",
              "use a smaller context or model, or free memory on this machine");
}

}  // namespace

size_t AlignedBuffer::checked_bytes(size_t count, size_t element) {
  if (element != 0 && count > std::numeric_limits<size_t>::max() / element) {
    out_of_memory(std::to_string(count) + " × " + std::to_string(element) + " bytes");
  }
  return count * element;
}

AlignedBuffer::AlignedBuffer(size_t bytes, Pages pages) {
  if (bytes == 0) return;
  if (bytes > static_cast<size_t>(std::numeric_limits<ptrdiff_t>::max()) - kAlignment) out_of_memory(std::to_string(bytes) + " bytes");
  if (bytes >= kMapFrom) {
    void* map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) out_of_memory(std::to_string(bytes) + " bytes");
#ifdef MADV_NOHUGEPAGE
    // Advice only: a kernel without huge pages refuses it, and nothing is lost.
    if (pages == Pages::kSmall) (void)madvise(map, bytes, MADV_NOHUGEPAGE);
#endif
    data_ = static_cast<std::byte*>(map);
    mapped_ = bytes;
  } else {
    void* heap = nullptr;
    if (posix_memalign(&heap, kAlignment, bytes) != 0) out_of_memory(std::to_string(bytes) + " bytes");
    std::memset(heap, 0, bytes);
    data_ = static_cast<std::byte*>(heap);
  }
  size_ = bytes;
}

void AlignedBuffer::free() noexcept {
  if (mapped_ != 0) {
    munmap(data_, mapped_);
  } else {
    std::free(data_);
  }
  data_ = nullptr;
  size_ = mapped_ = 0;
}

}  // namespace lutra
