#include "system.h"

namespace lutra::hvx {
namespace {

constexpr size_t kPage = 65536;  // qemu-hexagon's
constexpr size_t kSlot = 40 * kPage;
constexpr uint32_t kSlots = 8;
constexpr size_t kMargin = 4096;  // checked before a buffer
constexpr uint8_t kPattern = 0xa5;
alignas(kPage) uint8_t memory[kSlots][kSlot];

enum Call : int { kRead = 63, kWrite = 64, kExitGroup = 94, kProtect = 226 };

int system_call(Call number, uintptr_t a, uintptr_t b, uintptr_t c) {
  register uintptr_t r6 asm("r6") = number;
  register uintptr_t r0 asm("r0") = a;
  register uintptr_t r1 asm("r1") = b;
  register uintptr_t r2 asm("r2") = c;
  asm volatile("trap0(#1)" : "+r"(r0) : "r"(r6), "r"(r1), "r"(r2) : "memory");
  return static_cast<int>(r0);
}

}  // namespace

void leave(int status) {
  for (;;) system_call(kExitGroup, static_cast<uintptr_t>(status), 0, 0);
}

bool read_all(void* to, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const int count = system_call(kRead, 0, reinterpret_cast<uintptr_t>(to) + done, bytes - done);
    if (count <= 0) return false;
    done += static_cast<size_t>(count);
  }
  return true;
}

void write_all(const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const int count = system_call(kWrite, 1, reinterpret_cast<uintptr_t>(from) + done, bytes - done);
    if (count <= 0) leave(3);
    done += static_cast<size_t>(count);
  }
}

Guarded::Guarded(uint32_t number, size_t bytes) : bytes_(bytes) {
  const size_t rounded = (bytes + 127) / 128 * 128;
  if (number >= kSlots || rounded + kMargin + kPage > kSlot) leave(4);
  uint8_t* guard = memory[number] + kSlot - kPage;
  if (system_call(kProtect, reinterpret_cast<uintptr_t>(guard), kPage, 0) != 0) leave(5);
  data_ = guard - rounded;
  for (uint8_t* p = data_ - kMargin; p < guard; ++p) *p = kPattern;
}

uint32_t Guarded::damage() const {
  uint32_t damage = 0;
  for (size_t i = 1; i <= kMargin; ++i) damage += data_[-static_cast<ptrdiff_t>(i)] != kPattern;
  for (size_t i = bytes_; i % 128 != 0; ++i) damage += data_[i] != kPattern;
  return damage;
}

}  // namespace lutra::hvx

extern "C" {

// The compiler may call these; loops that it cannot turn into calls of themselves.
void* memcpy(void* to, const void* from, size_t bytes) {
  auto* a = static_cast<volatile uint8_t*>(to);
  auto* b = static_cast<const uint8_t*>(from);
  for (size_t i = 0; i < bytes; ++i) a[i] = b[i];
  return to;
}

void* memset(void* to, int value, size_t bytes) {
  auto* a = static_cast<volatile uint8_t*>(to);
  for (size_t i = 0; i < bytes; ++i) a[i] = static_cast<uint8_t>(value);
  return to;
}
}
