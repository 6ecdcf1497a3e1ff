// What the HVX kernels must give, from codes, scales and offsets one by one: no tables, no layout.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/lowbit/lowbit.h"

namespace lutra::hvx {

/// A weight before it is packed; scales and offsets are what the canonical layout keeps of them (F16 unless one per row).
struct Codes {
  kernels::LowBitFormat format;
  uint32_t rows = 0, columns = 0;
  std::vector<uint8_t> codes;
  std::vector<float> scales, offsets;

  uint32_t groups() const { return format.group == 0 ? 1 : (columns + format.group - 1) / format.group; }
  /// Index of the scale of an element.
  size_t number(uint32_t row, uint32_t column) const { return size_t{row} * groups() + (format.group == 0 ? 0 : column / format.group); }
  uint8_t code(uint32_t row, uint32_t column) const { return codes[size_t{row} * columns + column]; }
  /// The integer that is taken off a code.
  int32_t zero(uint32_t row, uint32_t column) const;
};

/// W · x as lutra_hvx_gemv defines it.
std::vector<float> gemv_reference(const Codes& weight, const std::vector<float>& x);

/// W · x in double, of values and activations that nothing has rounded.
std::vector<double> gemv_exact(const Codes& weight, const std::vector<float>& x);

/// An element as lutra_hvx_dequantize defines it, F16.
uint16_t value_reference(const Codes& weight, uint32_t row, uint32_t column);

/// The HVX layout, as docs/hvx.md describes it.
std::vector<uint8_t> pack_reference(const Codes& weight);

}  // namespace lutra::hvx
