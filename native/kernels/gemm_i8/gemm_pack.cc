#include <cstring>

#include "kernels/gemm_i8/gemm.h"
#include "kernels/gemm_i8/gemm_kernels.h"
#include "kernels/tiers.h"

namespace lutra::kernels {
namespace {

constexpr size_t round_up(size_t value, size_t to) noexcept { return (value + to - 1) / to * to; }

/// One panel of the dot layout: words of four consecutive k of one output.
void pack_dot_panel(const int8_t* w, size_t output_stride, size_t depth_stride, uint32_t columns, uint32_t depth, int8_t* out, int32_t* sums) {
  const uint32_t groups = (depth + 3) / 4;
  const uint32_t whole = depth / 4;
  for (uint32_t o = 0; o < kGemmPanel; ++o) sums[o] = 0;
  if (columns < kGemmPanel || groups != whole) std::memset(out, 0, size_t{groups} * kGemmPanel * 4);
  if (depth_stride == 1) {
    constexpr uint32_t kRun = 16;  // groups at once: 64 bytes of a row, so that every cache line read is used whole
    for (uint32_t first = 0; first < whole; first += kRun) {
      const uint32_t last = first + kRun < whole ? first + kRun : whole;
      for (uint32_t o = 0; o < columns; ++o) {
        const int8_t* from = w + o * output_stride + size_t{first} * 4;
        int32_t sum = 0;
        for (uint32_t g = first; g < last; ++g, from += 4) {
          std::memcpy(out + (size_t{g} * kGemmPanel + o) * 4, from, 4);
          sum += from[0] + from[1] + from[2] + from[3];
        }
        sums[o] += sum;
      }
    }
  } else {
    for (uint32_t g = 0; g < whole; ++g) {
      const int8_t* k0 = w + size_t{g} * 4 * depth_stride;
      const int8_t* k1 = k0 + depth_stride;
      const int8_t* k2 = k1 + depth_stride;
      const int8_t* k3 = k2 + depth_stride;
      int8_t* to = out + size_t{g} * kGemmPanel * 4;
      for (uint32_t o = 0; o < columns; ++o) {
        const size_t i = o * output_stride;
        const int8_t word[4] = {k0[i], k1[i], k2[i], k3[i]};
        std::memcpy(to + size_t{o} * 4, word, 4);
        sums[o] += word[0] + word[1] + word[2] + word[3];
      }
    }
  }
  for (uint32_t k = whole * 4; k < depth; ++k) {
    for (uint32_t o = 0; o < columns; ++o) {
      const int8_t value = w[o * output_stride + k * depth_stride];
      out[(size_t{k / 4} * kGemmPanel + o) * 4 + k % 4] = value;
      sums[o] += value;
    }
  }
}

template <class T>
void pack_float_panel(const T* w, size_t output_stride, size_t depth_stride, uint32_t columns, uint32_t depth, T* out) {
  constexpr uint32_t kRun = 64 / sizeof(T);
  for (uint32_t first = 0; first < depth; first += kRun) {
    const uint32_t last = first + kRun < depth ? first + kRun : depth;
    for (uint32_t o = 0; o < columns; ++o) {
      for (uint32_t k = first; k < last; ++k) out[size_t{k} * kGemmPanel + o] = w[o * output_stride + k * depth_stride];
    }
    for (uint32_t k = first; columns < kGemmPanel && k < last; ++k) {
      for (uint32_t o = columns; o < kGemmPanel; ++o) out[size_t{k} * kGemmPanel + o] = T{};
    }
  }
}

template <class T>
void pack_float(const std::byte* w, size_t output_stride, size_t depth_stride, uint32_t outputs, uint32_t depth, uint32_t panel, std::byte* packed) {
  const uint32_t first = panel * kGemmPanel;
  const uint32_t columns = outputs - first < kGemmPanel ? outputs - first : kGemmPanel;
  pack_float_panel(reinterpret_cast<const T*>(w) + first * output_stride, output_stride, depth_stride, columns, depth,
                   reinterpret_cast<T*>(packed) + size_t{panel} * depth * kGemmPanel);
}

size_t dot_codes_size(uint32_t outputs, uint32_t depth) noexcept { return size_t{gemm_panels(outputs)} * kGemmPanel * round_up(depth, 4); }

}  // namespace

size_t gemm_packed_size(GemmLayout layout, uint32_t outputs, uint32_t depth) noexcept {
  const size_t columns = size_t{gemm_panels(outputs)} * kGemmPanel;
  if (layout == GemmLayout::kDotS8) return dot_codes_size(outputs, depth) + columns * sizeof(int32_t);
  return columns * depth * gemm_weight_size(layout);
}

const int32_t* gemm_weight_sums(const std::byte* packed, uint32_t outputs, uint32_t depth) noexcept {
  return reinterpret_cast<const int32_t*>(packed + dot_codes_size(outputs, depth));
}

void gemm_pack(GemmLayout layout, const std::byte* w, size_t output_stride, size_t depth_stride, uint32_t outputs, uint32_t depth, uint32_t panel_begin,
               uint32_t panel_end, std::byte* packed) noexcept {
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    switch (layout) {
      case GemmLayout::kDotS8: {
        const uint32_t first = panel * kGemmPanel;
        const uint32_t columns = outputs - first < kGemmPanel ? outputs - first : kGemmPanel;
        auto* sums = reinterpret_cast<int32_t*>(packed + dot_codes_size(outputs, depth)) + first;
        pack_dot_panel(reinterpret_cast<const int8_t*>(w) + first * output_stride, output_stride, depth_stride, columns, depth,
                       reinterpret_cast<int8_t*>(packed) + size_t{panel} * kGemmPanel * round_up(depth, 4), sums);
        break;
      }
      case GemmLayout::kFloatS8: pack_float<int8_t>(w, output_stride, depth_stride, outputs, depth, panel, packed); break;
      case GemmLayout::kFloatF16: pack_float<uint16_t>(w, output_stride, depth_stride, outputs, depth, panel, packed); break;
      case GemmLayout::kFloatF32: pack_float<float>(w, output_stride, depth_stride, outputs, depth, panel, packed); break;
    }
  }
}

bool gemm_needs_prepare(Element x, uint32_t depth) noexcept {
  switch (x) {
    case Element::kU8: return depth % 4 != 0;
    case Element::kS8:
    case Element::kU16:
    case Element::kS16:
    case Element::kF16: return true;
    case Element::kF32: return false;
  }
  return true;
}

size_t gemm_prepared_row(Element x, uint32_t depth) noexcept {
  const size_t plane = round_up(depth, 4);
  switch (x) {
    case Element::kU8:
    case Element::kS8: return plane;
    case Element::kU16:
    case Element::kS16: return 2 * plane;
    case Element::kF16:
    case Element::kF32: return size_t{depth} * 4;
  }
  return plane;
}

namespace {

constexpr GemmKernel kKernels[] = {
    {"portable", Isa::kPortable, gemm_prepare_portable, gemm_run_portable},
#ifdef LUTRA_X86
    {"avx2", Isa::kAvx2, gemm_prepare_avx2, gemm_run_avx2},
    {"avxvnni", Isa::kAvxVnni, gemm_prepare_avx2, gemm_run_avxvnni},
    {"avx512", Isa::kAvx512, gemm_prepare_avx512, gemm_run_avx512},
#endif
#ifdef LUTRA_ARM64
    {"neon", Isa::kNeon, gemm_prepare_neon, gemm_run_neon},
    {"dotprod", Isa::kDotprod, gemm_prepare_neon, gemm_run_dotprod},
    {"i8mm", Isa::kI8mm, gemm_prepare_neon, gemm_run_i8mm},
#endif
};

}  // namespace

std::span<const GemmKernel> gemm_kernels() noexcept { return kKernels; }

const GemmKernel& gemm_kernel(Isa isa) noexcept { return variant_of(gemm_kernels(), isa); }

}  // namespace lutra::kernels
