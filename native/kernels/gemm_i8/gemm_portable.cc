// The reference tier: the formulas of gemm.h as loops.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/f16.h"
#include "kernels/gemm_i8/gemm_kernels.h"

namespace lutra::kernels {
namespace {

/// Σ over the bytes of one row (or byte plane) for the 64 outputs of a panel.
void dot_row(const std::byte* x, const std::byte* panel, uint32_t depth, int32_t* sums) {
  std::fill_n(sums, kGemmPanel, 0);
  const auto* w = reinterpret_cast<const int8_t*>(panel);
  const auto* bytes = reinterpret_cast<const uint8_t*>(x);
  const uint32_t groups = (depth + 3) / 4;
  for (uint32_t g = 0; g < groups; ++g) {
    const int32_t x0 = bytes[4 * g], x1 = bytes[4 * g + 1], x2 = bytes[4 * g + 2], x3 = bytes[4 * g + 3];
    const int8_t* word = w + size_t{g} * kGemmPanel * 4;
    for (uint32_t o = 0; o < kGemmPanel; ++o, word += 4) sums[o] += x0 * word[0] + x1 * word[1] + x2 * word[2] + x3 * word[3];
  }
}

void store_8(const GemmArgs& args, uint32_t row, uint32_t first, uint32_t columns, const int32_t* sums) {
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* correction = static_cast<const int32_t*>(args.correction) + first;
  const auto lo = static_cast<float>(lowest_code(args.type) + args.offset);
  const auto hi = static_cast<float>(highest_code(args.type) + args.offset);
  const uint32_t more = args.row_correction == nullptr ? 0 : static_cast<const uint32_t*>(args.row_correction)[row];
  auto* y = reinterpret_cast<uint8_t*>(args.y + row * args.y_stride) + first;
  for (uint32_t o = 0; o < columns; ++o) {
    // Unsigned, because the parts may wrap where the total does not.
    const auto total = static_cast<int32_t>(static_cast<uint32_t>(sums[o]) + static_cast<uint32_t>(correction[o]) + more);
    const float value = std::clamp(static_cast<float>(total) * multiplier[o], lo, hi);
    y[o] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(value)) - args.offset);
  }
}

void store_16(const GemmArgs& args, uint32_t row, uint32_t first, uint32_t columns, const int32_t* low, const int32_t* high) {
  const auto* multiplier = static_cast<const double*>(args.multiplier) + first;
  const auto* correction = static_cast<const double*>(args.correction) + first;
  const double lo = lowest_code(args.type) + args.offset, hi = highest_code(args.type) + args.offset;
  const double more = args.row_correction == nullptr ? 0.0 : static_cast<const double*>(args.row_correction)[row];
  auto* y = reinterpret_cast<uint16_t*>(args.y + row * args.y_stride) + first;
  for (uint32_t o = 0; o < columns; ++o) {
    const double total = (static_cast<double>(high[o]) * 256.0 + static_cast<double>(low[o])) + correction[o] + more;
    const double value = std::clamp(total * multiplier[o], lo, hi);
    y[o] = static_cast<uint16_t>(static_cast<int32_t>(std::nearbyint(value)) - args.offset);
  }
}

float weight_at(GemmLayout layout, const std::byte* panel, size_t index) {
  if (layout == GemmLayout::kFloatS8) return static_cast<float>(reinterpret_cast<const int8_t*>(panel)[index]);
  if (layout == GemmLayout::kFloatF16) return f16_to_f32(reinterpret_cast<const uint16_t*>(panel)[index]);
  return reinterpret_cast<const float*>(panel)[index];
}

void float_row(const GemmArgs& args, uint32_t row, uint32_t panel) {
  const uint32_t first = panel * kGemmPanel;
  const uint32_t columns = std::min(args.outputs - first, kGemmPanel);
  const std::byte* w = args.packed + size_t{panel} * args.depth * kGemmPanel * gemm_weight_size(args.layout);
  const auto* x = reinterpret_cast<const float*>(args.x + row * args.x_stride);
  float sums[kGemmPanel] = {};
  for (uint32_t k = 0; k < args.depth; ++k) {
    for (uint32_t o = 0; o < kGemmPanel; ++o) sums[o] += x[k] * weight_at(args.layout, w, size_t{k} * kGemmPanel + o);
  }
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* bias = args.correction == nullptr ? nullptr : static_cast<const float*>(args.correction) + first;
  std::byte* y = args.y + row * args.y_stride;
  for (uint32_t o = 0; o < columns; ++o) {
    const float value = bias == nullptr ? sums[o] * multiplier[o] : sums[o] * multiplier[o] + bias[o];
    if (args.type == Element::kF16) {
      reinterpret_cast<uint16_t*>(y)[first + o] = f32_to_f16(value);
    } else {
      reinterpret_cast<float*>(y)[first + o] = value;
    }
  }
}

}  // namespace

void gemm_prepare_portable(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out) {
  const size_t row_size = gemm_prepared_row(type, depth);
  const size_t plane = (size_t{depth} + 3) / 4 * 4;
  for (uint32_t row = row_begin; row < row_end; ++row) {
    const std::byte* from = x + row * x_stride;
    auto* to = reinterpret_cast<uint8_t*>(out + row * row_size);
    switch (type) {
      case Element::kU8:
      case Element::kS8: {
        const uint8_t flip = type == Element::kS8 ? 0x80 : 0;
        for (uint32_t k = 0; k < depth; ++k) to[k] = static_cast<uint8_t>(from[k]) ^ flip;
        std::memset(to + depth, 0, plane - depth);
        break;
      }
      case Element::kU16:
      case Element::kS16: {
        const auto* codes = reinterpret_cast<const uint16_t*>(from);
        const uint8_t flip = type == Element::kS16 ? 0x80 : 0;
        for (uint32_t k = 0; k < depth; ++k) {
          to[k] = static_cast<uint8_t>(codes[k]);
          to[plane + k] = static_cast<uint8_t>(codes[k] >> 8) ^ flip;
        }
        std::memset(to + depth, 0, plane - depth);
        std::memset(to + plane + depth, 0, plane - depth);
        break;
      }
      case Element::kF16: {
        const auto* halves = reinterpret_cast<const uint16_t*>(from);
        for (uint32_t k = 0; k < depth; ++k) reinterpret_cast<float*>(to)[k] = f16_to_f32(halves[k]);
        break;
      }
      case Element::kF32: std::memcpy(to, from, row_size); break;
    }
  }
}

void gemm_run_portable(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  const size_t plane = (size_t{args.depth} + 3) / 4 * 4;
  int32_t low[kGemmPanel], high[kGemmPanel];
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint32_t first = panel * kGemmPanel;
    const uint32_t columns = std::min(args.outputs - first, kGemmPanel);
    for (uint32_t row = row_begin; row < row_end; ++row) {
      if (args.layout != GemmLayout::kDotS8) {
        float_row(args, row, panel);
        continue;
      }
      const std::byte* w = args.packed + size_t{panel} * kGemmPanel * plane;
      const std::byte* x = args.x + row * args.x_stride;
      dot_row(x, w, args.depth, low);
      if (is_16_bit(args.type)) {
        dot_row(x + plane, w, args.depth, high);
        store_16(args, row, first, columns, low, high);
      } else {
        store_8(args, row, first, columns, low);
      }
    }
  }
}

}  // namespace lutra::kernels
