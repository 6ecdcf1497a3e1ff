// Table look-ups of low-bit weights with VPERMB, which reads four tables of 16 entries at once: bits 4 and 5 of an index select the table. VPDPBUSD adds the four entries of a
// lane, times the weights of their planes.
#include "kernels/lowbit/lowbit_avx512.h"

#ifdef LUTRA_X86
#include <utility>

#define LUTRA_INLINE_VBMI LUTRA_TARGET_AVX512_VBMI __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kTablesAtOnce = 4;

/// Bits 4 and 5 of the four indices of a lane in a pass.
constexpr uint32_t pass_selects(uint8_t bits, uint32_t pass) noexcept {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; ++i) word |= pass_quad(bits, pass, i) % kTablesAtOnce << (8 * i + 4);
  return word;
}

/// The first half of the passes of a chunk wants quads 0 … 3, the second one quads 4 … 7.
template <uint8_t Bits, uint32_t Pass>
LUTRA_INLINE_VBMI __m512i add_pass(__m512i sums, const std::byte* chunk, const __m512i (&tables)[2]) {
  static_assert(pass_quad(Bits, Pass, 0) / kTablesAtOnce == Pass / Bits && pass_quad(Bits, Pass, 3) / kTablesAtOnce == Pass / Bits);
  constexpr int kMaskedOr = 0xea;  // (a & b) | c
  __m512i index = load512(chunk + 64 * (Pass / 2));
  if constexpr (Pass % 2 == 1) index = _mm512_srli_epi16(index, 4);
  index = _mm512_ternarylogic_epi32(index, _mm512_set1_epi8(15), repeat_word(pass_selects(Bits, Pass)), kMaskedOr);
  return _mm512_dpbusd_epi32(sums, repeat_word(pass_weights(Bits, Pass)), _mm512_permutexvar_epi8(index, tables[Pass / Bits]));
}

/// Two chains of sums: VPDPBUSD takes four cycles or more.
template <uint8_t Bits, uint32_t... Pass>
LUTRA_INLINE_VBMI __m512i lut_chunk(const std::byte* chunk, const std::byte* entries, std::integer_sequence<uint32_t, Pass...>) {
  const __m512i tables[2] = {load512(entries), load512(entries + kTablesAtOnce * kTableBytes)};
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  ((sums[Pass % 2] = add_pass<Bits, Pass>(sums[Pass % 2], chunk, tables)), ...);
  return _mm512_add_epi32(sums[0], sums[1]);
}

template <uint8_t Bits>
constexpr auto kPasses = std::make_integer_sequence<uint32_t, 2 * Bits>{};

template <uint8_t Bits>
LUTRA_TARGET_AVX512_VBMI void lut_part(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* prepared, uint32_t n, uint32_t cols, float (*y)[kTileRows]) {
  const TableLayout layout = TableLayout::of(cols);
  const size_t stride = PreparedLayout::of(Family::kLut, cols).stride, group_stride = part.stride(format);
  for (uint32_t r = 0; r < n; ++r) {
    const std::byte* row = prepared + r * stride;
    const std::byte *group = part.chunks, *numbers = part.numbers;
    uint32_t index = part.first;
    __m512 out = _mm512_loadu_ps(y[r]);
    for (uint32_t g = 0; g < part.groups; ++g, group += group_stride, numbers += group_stride) {
      __m512 total = _mm512_setzero_ps();
      float x = 0.0f;
      for (uint32_t i = 0; i < part.group_chunks; ++i, ++index) {
        const std::byte* chunk = group + i * chunk_bytes(Bits);
        prefetch512<chunk_bytes(Bits)>(chunk);
        const __m512i sums = lut_chunk<Bits>(chunk, row + size_t{index} * kQuads * kTableBytes, kPasses<Bits>);
        total = _mm512_fmadd_ps(_mm512_set1_ps(load_as<float>(row + layout.half_step + 4 * index)), _mm512_cvtepi32_ps(sums), total);
        x += load_as<float>(row + layout.sum + 4 * index);
      }
      finish512(format, terms, numbers, total, x, out);
    }
    _mm512_storeu_ps(y[r], out);
  }
}

template <uint8_t Bits>
LUTRA_TARGET_AVX512_VBMI void chunk_sums(const std::byte* chunk, const std::byte* row, uint32_t index, int32_t* out) {
  _mm512_storeu_si512(out, lut_chunk<Bits>(chunk, row + size_t{index} * kQuads * kTableBytes, kPasses<Bits>));
}

constexpr PartKernels kLutParts = {lut_part<1>, lut_part<2>, lut_part<3>};
constexpr ChunkSums kLutSums = {chunk_sums<1>, chunk_sums<2>, chunk_sums<3>};

}  // namespace

const LowBitKernel kAvx512VbmiLut = {"lut-avx512vbmi", Family::kLut, Isa::kAvx512Vbmi, takes_planes, prepared_size<Family::kLut>, prepare<Family::kLut, build_tables_avx2>,
                                     run<Family::kLut, kLutParts>, accumulators<Family::kLut, kLutSums>};

}  // namespace lutra::kernels
#endif
