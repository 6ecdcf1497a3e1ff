// Packed weights of the kernel API: memory of their own, and a form as bytes that can be kept in a file.
#pragma once

#include <cstdint>
#include <span>

#include "base/aligned.h"
#include "kernels/linear/linear.h"

namespace lutra::addon {

struct OwnedWeight {
  kernels::WeightType type{};
  uint32_t rows = 0, cols = 0;
  AlignedBuffer data;

  kernels::PackedWeight view() const noexcept { return {type, rows, cols, data.data()}; }
};

/// Room for a weight of that shape. Throws Error(kInvalidArgument) for shapes that the type cannot hold.
OwnedWeight allocate_weight(kernels::WeightType type, uint32_t rows, uint32_t cols);

/// "w2g64", "q4_0".
std::string weight_name(kernels::WeightType type);

/// Throws Error(`code`) when a scale, minimum or zero point of the packed weight is not finite; `remedy` says what to do about it.
void check_numbers(const OwnedWeight& weight, ErrorCode code, const char* remedy);

/// Bytes of the form that a file can hold.
size_t weight_file_size(const OwnedWeight& weight) noexcept;
/// Header and packed data, little endian, with version and checksum (docs/kernels.md). out.size() == weight_file_size(…).
void write_weight_file(const OwnedWeight& weight, std::span<std::byte> out) noexcept;
/// Throws Error(kBadFile) unless `bytes` is exactly what write_weight_file of this version wrote.
OwnedWeight read_weight_file(std::span<const std::byte> bytes);

}  // namespace lutra::addon
