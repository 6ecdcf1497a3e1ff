// What the targets share: libFuzzer's entry points and small helpers of mutators.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>

#include "budget.h"

/// libFuzzer's own mutations, for custom mutators that repair lengths and checksums afterwards.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace lutra::fuzz {

inline std::span<const std::byte> as_bytes(const uint8_t* data, size_t size) { return std::as_bytes(std::span(data, size)); }

/// Mutates and then lets `repair` make lengths and checksums right, but for one input in eight, which stays as it is.
template <class Repair>
size_t mutate_and_repair(uint8_t* data, size_t size, size_t max_size, unsigned seed, const Repair& repair) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 8 != 0) repair(std::as_writable_bytes(std::span(data, size)));
  return size;
}

template <class T>
void put(std::span<std::byte> bytes, size_t at, T value) {
  if (at + sizeof value <= bytes.size()) std::memcpy(bytes.data() + at, &value, sizeof value);
}

}  // namespace lutra::fuzz
