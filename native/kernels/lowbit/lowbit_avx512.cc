// Dot products of low-bit codes with VPDPBUSD: four unsigned codes times four signed activations are added to the lane of their row.
#include "kernels/lowbit/lowbit_avx512.h"

#ifdef LUTRA_X86
#include <utility>

namespace lutra::kernels {
namespace {

/// Codes of a chunk: vector q holds columns 4 q … 4 q + 3 of 16 rows.
struct Codes {
  __m512i quads[kQuads];
};

/// Adds bit `Plane` of the codes of one quad.
template <uint8_t Bits, uint32_t Quad, uint32_t Plane>
LUTRA_INLINE512 void add_plane(const __m512i (&vectors)[Bits], Codes& codes) {
  constexpr Nibble kAt = plane_nibble(Bits, 0, Quad, Plane);
  constexpr uint32_t kByte = kAt.byte % 64 * 0x01010101u;
  // Byte kAt.byte of every lane four times: VPSHUFB counts from the beginning of 16 bytes, which are four lanes.
  const __m512i places = _mm512_set4_epi32(static_cast<int>(kByte + 0x0c0c0c0cu), static_cast<int>(kByte + 0x08080808u), static_cast<int>(kByte + 0x04040404u), static_cast<int>(kByte));
  const __m512i bytes = _mm512_shuffle_epi8(vectors[kAt.byte / 64], places);
  const __mmask64 set = _mm512_test_epi8_mask(bytes, repeat_word(kAt.high ? 0x80402010u : 0x08040201u));
  const __m512i value = _mm512_set1_epi8(1 << Plane);
  codes.quads[Quad] = Plane == 0 ? _mm512_maskz_mov_epi8(set, value) : _mm512_mask_add_epi8(codes.quads[Quad], set, codes.quads[Quad], value);
}

template <uint8_t Bits, uint32_t Quad>
LUTRA_INLINE512 void unpack_quad(const __m512i (&vectors)[Bits], Codes& codes) {
  add_plane<Bits, Quad, 0>(vectors, codes);
  if constexpr (Bits > 1) add_plane<Bits, Quad, 1>(vectors, codes);
  if constexpr (Bits > 2) add_plane<Bits, Quad, 2>(vectors, codes);
}

template <uint8_t Bits, uint32_t... Quad>
LUTRA_INLINE512 Codes unpack(const std::byte* chunk, std::integer_sequence<uint32_t, Quad...>) {
  Codes codes;
  __m512i vectors[Bits];
#pragma GCC unroll 4
  for (uint32_t v = 0; v < Bits; ++v) vectors[v] = load512(chunk + 64 * v);
  if constexpr (Bits == 4) {
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (uint32_t v = 0; v < 4; ++v) {
      codes.quads[v] = _mm512_and_si512(vectors[v], nibble);
      codes.quads[v + 4] = _mm512_and_si512(_mm512_srli_epi16(vectors[v], 4), nibble);
    }
  } else {
    (unpack_quad<Bits, Quad>(vectors, codes), ...);
  }
  return codes;
}

constexpr auto kEveryQuad = std::make_integer_sequence<uint32_t, kQuads>{};

/// Σ codes · x of one chunk, in two chains: VPDPBUSD takes four cycles or more.
LUTRA_INLINE512 __m512i multiply(const Codes& codes, const std::byte* x) {
  __m512i even = _mm512_setzero_si512(), odd = _mm512_setzero_si512();
#pragma GCC unroll 4
  for (uint32_t q = 0; q < kQuads; q += 2) {
    even = _mm512_dpbusd_epi32(even, codes.quads[q], _mm512_set1_epi32(load_as<int32_t>(x + 4 * q)));
    odd = _mm512_dpbusd_epi32(odd, codes.quads[q + 1], _mm512_set1_epi32(load_as<int32_t>(x + 4 * q + 4)));
  }
  return _mm512_add_epi32(even, odd);
}

/// N rows of x times a part.
template <uint8_t Bits, uint32_t N>
LUTRA_TARGET_AVX512 void dot_rows(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* xq, uint32_t cols, float (*y)[kTileRows]) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  const size_t stride = PreparedLayout::of(Family::kDot, cols).stride, group_stride = part.stride(format);
  const std::byte *group = part.chunks, *numbers = part.numbers;
  uint32_t index = part.first;
  __m512 out[N];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < N; ++r) out[r] = _mm512_loadu_ps(y[r]);
  for (uint32_t g = 0; g < part.groups; ++g, group += group_stride, numbers += group_stride) {
    __m512 totals[N];
    float sums[N] = {};
#pragma GCC unroll 8
    for (uint32_t r = 0; r < N; ++r) totals[r] = _mm512_setzero_ps();
    for (uint32_t i = 0; i < part.group_chunks; ++i, ++index) {
      const std::byte* chunk = group + i * chunk_bytes(Bits);
      prefetch512<chunk_bytes(Bits)>(chunk);
      const Codes codes = unpack<Bits>(chunk, kEveryQuad);
#pragma GCC unroll 8
      for (uint32_t r = 0; r < N; ++r) {
        const std::byte* row = xq + r * stride;
        const __m512i sum = multiply(codes, row + size_t{index} * kChunkCols);
        totals[r] = _mm512_fmadd_ps(_mm512_set1_ps(load_as<float>(row + layout.scale + 4 * index)), _mm512_cvtepi32_ps(sum), totals[r]);
        sums[r] += load_as<float>(row + layout.scaled_sum + 4 * index);
      }
    }
#pragma GCC unroll 8
    for (uint32_t r = 0; r < N; ++r) finish512(format, terms, numbers, totals[r], sums[r], out[r]);
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < N; ++r) _mm512_storeu_ps(y[r], out[r]);
}

template <uint8_t Bits>
LUTRA_TARGET_AVX512 void dot_part(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* xq, uint32_t n, uint32_t cols, float (*y)[kTileRows]) {
  const size_t stride = PreparedLayout::of(Family::kDot, cols).stride;
  uint32_t r = 0;
  for (; r + 8 <= n; r += 8) dot_rows<Bits, 8>(format, terms, part, xq + r * stride, cols, y + r);
  if (r + 4 <= n) {
    dot_rows<Bits, 4>(format, terms, part, xq + r * stride, cols, y + r);
    r += 4;
  }
  for (; r < n; ++r) dot_rows<Bits, 1>(format, terms, part, xq + r * stride, cols, y + r);
}

template <uint8_t Bits>
LUTRA_TARGET_AVX512 void chunk_sums(const std::byte* chunk, const std::byte* row, uint32_t index, int32_t* out) {
  _mm512_storeu_si512(out, multiply(unpack<Bits>(chunk, kEveryQuad), row + size_t{index} * kChunkCols));
}

constexpr PartKernels kDotParts = {dot_part<1>, dot_part<2>, dot_part<3>, dot_part<4>};
constexpr ChunkSums kDotSums = {chunk_sums<1>, chunk_sums<2>, chunk_sums<3>, chunk_sums<4>};

void quantize(const float* x, uint32_t cols, std::byte* out) { kAvx512Linear.quantize_rows(x, cols, 1, cols, out); }

}  // namespace

const LowBitKernel kAvx512Dot = {"dot-avx512", Family::kDot, Isa::kAvx512, takes_all, prepared_size<Family::kDot>, prepare<Family::kDot, quantize>, run<Family::kDot, kDotParts>,
                                 accumulators<Family::kDot, kDotSums>};

}  // namespace lutra::kernels
#endif
