// AVX2 kernels of low-bit weights: two registers of 8 rows, one 32-bit lane a row. A lane's bytes are multiplied and added in pairs by VPMADDUBSW, whose 16-bit sums cannot
// overflow within a chunk: at most 16 · 508 of tables, 16 · 15 · 127 of codes.
#include "kernels/lowbit/lowbit_avx2.h"

#ifdef LUTRA_X86
#include <algorithm>

#include "kernels/linear/dots_avx2.h"

namespace lutra::kernels {
namespace avx2 {
namespace {

#include "kernels/linear/dots_256.inc"

#include "kernels/lowbit/lowbit_256.inc"

}  // namespace
}  // namespace avx2

namespace {

LUTRA_INLINE256 __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
LUTRA_INLINE256 __m256i load_table(const std::byte* p) { return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }

/// sum + x in 16 bits, added here and now: the compiler would make a tree of the sums of a chunk, whose branches do not find registers.
LUTRA_INLINE256 __m256i add_now(__m256i sum, __m256i x) {
  sum = _mm256_add_epi16(sum, x);
  asm("" : "+x"(sum));
  return sum;
}

// --- tables ----------------------------------------------------------------------------------------------------------------------------

/// Half a word (bytes 2 Half and 2 Half + 1) of all 16 rows: rows 0 … 7 in the even 16-bit lanes, rows 8 … 15 in the odd ones. A register then has indices of one or two quads instead of
/// up to four, and every quad costs a shuffle.
template <uint32_t Half>
LUTRA_INLINE256 __m256i half_words(__m256i rows0, __m256i rows8) {
  if constexpr (Half == 0) return _mm256_blend_epi16(rows0, _mm256_slli_epi32(rows8, 16), 0xaa);
  return _mm256_blend_epi16(_mm256_srli_epi32(rows0, 16), rows8, 0xaa);
}

/// The entries at the indices of half a word in a pass · the weights of their planes.
template <uint8_t Bits, uint32_t Pass, uint32_t Half>
LUTRA_INLINE256 __m256i look_up(const std::byte* tables, __m256i index) {
  constexpr uint32_t kFirst = pass_quad(Bits, Pass, 2 * Half), kSecond = pass_quad(Bits, Pass, 2 * Half + 1);
  const __m256i weights = _mm256_set1_epi16(static_cast<int16_t>(pass_weights(Bits, Pass) >> 16 * Half));
  index = _mm256_and_si256(Pass % 2 == 1 ? _mm256_srli_epi16(index, 4) : index, _mm256_set1_epi8(15));
  __m256i found = _mm256_shuffle_epi8(load_table(tables + kTableBytes * kFirst), index);
  if constexpr (kSecond != kFirst) found = _mm256_blendv_epi8(found, _mm256_shuffle_epi8(load_table(tables + kTableBytes * kSecond), index), _mm256_set1_epi16(static_cast<int16_t>(0xff00)));
  return _mm256_maddubs_epi16(weights, found);
}

/// sums += the entries of the two passes over 64 bytes.
template <uint8_t Bits, uint32_t Vector>
LUTRA_INLINE256 void add_vector(__m256i& sums, const std::byte* chunk, const std::byte* tables) {
  constexpr uint32_t kLow = 2 * Vector, kHigh = kLow + 1;
  const __m256i rows0 = load256(chunk + 64 * Vector), rows8 = load256(chunk + 64 * Vector + 32);
  const __m256i first = half_words<0>(rows0, rows8), second = half_words<1>(rows0, rows8);
  const __m256i low = look_up<Bits, kLow, 0>(tables, first);
  sums = Vector == 0 ? low : add_now(sums, low);
  sums = add_now(sums, look_up<Bits, kLow, 1>(tables, second));
  sums = add_now(sums, look_up<Bits, kHigh, 0>(tables, first));
  sums = add_now(sums, look_up<Bits, kHigh, 1>(tables, second));
}

template <uint8_t Bits>
LUTRA_INLINE256 void lut_chunk(const std::byte* chunk, const std::byte* tables, __m256i (&sums)[2]) {
  __m256i both;
  add_vector<Bits, 0>(both, chunk, tables);
  if constexpr (Bits > 1) add_vector<Bits, 1>(both, chunk, tables);
  if constexpr (Bits > 2) add_vector<Bits, 2>(both, chunk, tables);
  sums[0] = _mm256_madd_epi16(both, _mm256_set1_epi32(1));
  sums[1] = _mm256_madd_epi16(both, _mm256_set1_epi32(1 << 16));
}

/// y += what a group adds, for one row of x.
LUTRA_INLINE256 void finish(const LowBitFormat& format, const GroupTerms& terms, const std::byte* numbers, const __m256 (&total)[2], float x, __m256 (&y)[2]) {
#pragma GCC unroll 2
  for (uint32_t h = 0; h < 2; ++h) {
    __m256 sum = _mm256_add_ps(total[h], _mm256_set1_ps(terms.c * x));
    if (format.offset != Offset::kNone) {
      const __m256 offset = load_numbers(format, numbers + kTileRows * number_bytes(format), h);
      if (format.offset == Offset::kZero) sum = _mm256_fnmadd_ps(offset, _mm256_set1_ps(x), sum);
      else y[h] = _mm256_fmadd_ps(offset, _mm256_set1_ps(x), y[h]);
    }
    y[h] = _mm256_fmadd_ps(load_numbers(format, numbers, h), sum, y[h]);
  }
}

template <uint8_t Bits>
LUTRA_TARGET_AVX2 void lut_part(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* prepared, uint32_t n, uint32_t cols, float (*y)[kTileRows]) {
  const TableLayout layout = TableLayout::of(cols);
  const size_t stride = PreparedLayout::of(Family::kLut, cols).stride, group_bytes = part.group_chunks * chunk_bytes(Bits), gap = numbers_bytes(format), stride_of_groups = part.stride(format);
  for (uint32_t r = 0; r < n; ++r) {
    const std::byte* row = prepared + r * stride;
    const std::byte *chunk = part.chunks, *tables = row + size_t{part.first} * kQuads * kTableBytes;
    const std::byte *steps = row + layout.half_step + 4 * part.first, *sums_of_x = row + layout.sum + 4 * part.first;
    const std::byte* numbers = part.numbers;
    __m256 out[2] = {_mm256_load_ps(y[r]), _mm256_load_ps(y[r] + 8)};
    for (uint32_t g = 0; g < part.groups; ++g, chunk += gap, numbers += stride_of_groups) {
      __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
      float x = 0.0f;
      for (const std::byte* end = chunk + group_bytes; chunk != end; chunk += chunk_bytes(Bits), tables += kQuads * kTableBytes, steps += 4, sums_of_x += 4) {
        prefetch<chunk_bytes(Bits)>(chunk);
        __m256i sums[2];
        lut_chunk<Bits>(chunk, tables, sums);
        const __m256 step = _mm256_broadcast_ss(reinterpret_cast<const float*>(steps));
#pragma GCC unroll 2
        for (uint32_t h = 0; h < 2; ++h) total[h] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(sums[h]), total[h]);
        x += load_as<float>(sums_of_x);
      }
      prefetch<64>(chunk);  // the numbers of a group
      finish(format, terms, numbers, total, x, out);
    }
    _mm256_store_ps(y[r], out[0]);
    _mm256_store_ps(y[r] + 8, out[1]);
  }
}

/// Entries 0 … 7 of four quads as 32-bit integers; bytes 0 … 31 are theirs in order.
LUTRA_INLINE256 __m256i pack_entries(const __m256i (&entries)[4]) {
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(entries[0], entries[1]), _mm256_packs_epi32(entries[2], entries[3]));
  return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

LUTRA_TARGET_AVX2 void build_chunk(const float* x, std::byte* row, const TableLayout& layout, uint32_t chunk) {
  std::byte* tables = row + size_t{chunk} * kQuads * kTableBytes;
  const __m256 sign = _mm256_set1_ps(-0.0f);
  __m256 largest = _mm256_setzero_ps(), sum = _mm256_setzero_ps();
  bool finite = true;
  for (uint32_t i = 0; i < 2; ++i) {  // 4 quads at once; hadd adds neighbours, as entries do
    const __m256 a = _mm256_loadu_ps(x + 16 * i), b = _mm256_loadu_ps(x + 16 * i + 8);
    const __m256 pairs = _mm256_hadd_ps(_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b));
    const __m256 magnitude = _mm256_hadd_ps(pairs, pairs);
    finite = finite && _mm256_movemask_ps(_mm256_cmp_ps(magnitude, _mm256_set1_ps(std::numeric_limits<float>::max()), _CMP_LE_OQ)) == 0xff;
    largest = _mm256_max_ps(largest, magnitude);
    sum = _mm256_add_ps(sum, _mm256_hadd_ps(a, b));
  }
  largest = _mm256_max_ps(largest, _mm256_permute2f128_ps(largest, largest, 1));  // a quad's magnitude is in two lanes of its half
  const float maximum = _mm256_cvtss_f32(_mm256_max_ps(largest, _mm256_movehdup_ps(largest)));
  sum = _mm256_hadd_ps(sum, sum);
  sum = _mm256_hadd_ps(sum, sum);
  float half_step = 0.0f;
  if (!finite || maximum < kSmallestMaximum) {
    if (!finite) half_step = std::numeric_limits<float>::quiet_NaN();
    std::memset(tables, 0, kQuads * kTableBytes);
  } else {
    half_step = maximum / 254.0f;
    const __m256 inverse = _mm256_set1_ps(127.0f / maximum);
    // Signs of x_0 … x_2 in entries 0 … 7; x_3 is negative in all of them.
    const __m256 s0 = _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0), s1 = _mm256_setr_ps(-0.0f, -0.0f, 0, 0, -0.0f, -0.0f, 0, 0),
                 s2 = _mm256_setr_ps(-0.0f, -0.0f, -0.0f, -0.0f, 0, 0, 0, 0);
    const __m256i mirror = _mm256_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    for (uint32_t i = 0; i < 2; ++i) {
      __m256i entries[4];
#pragma GCC unroll 4
      for (uint32_t q = 0; q < 4; ++q) {
        const float* v = x + 16 * i + 4 * q;
        const __m256 low = _mm256_add_ps(_mm256_xor_ps(_mm256_broadcast_ss(v), s0), _mm256_xor_ps(_mm256_broadcast_ss(v + 1), s1));
        const __m256 high = _mm256_add_ps(_mm256_xor_ps(_mm256_broadcast_ss(v + 2), s2), _mm256_xor_ps(_mm256_broadcast_ss(v + 3), sign));
        entries[q] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_add_ps(low, high), inverse));
      }
      const __m256i lower = pack_entries(entries);
      const __m256i upper = _mm256_sub_epi8(_mm256_setzero_si256(), _mm256_shuffle_epi8(lower, mirror));
      const __m256i even = _mm256_unpacklo_epi64(lower, upper), odd = _mm256_unpackhi_epi64(lower, upper);  // quads 0 | 2 and 1 | 3
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(tables + 64 * i), _mm256_permute2x128_si256(even, odd, 0x20));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(tables + 64 * i + 32), _mm256_permute2x128_si256(even, odd, 0x31));
    }
  }
  store_as(row + layout.half_step + 4 * chunk, half_step);
  store_as(row + layout.sum + 4 * chunk, _mm256_cvtss_f32(sum) + _mm_cvtss_f32(_mm256_extractf128_ps(sum, 1)));
}

template <uint8_t Bits>
LUTRA_TARGET_AVX2 void lut_chunk_sums(const std::byte* chunk, const std::byte* row, uint32_t index, int32_t* out) {
  __m256i sums[2];
  lut_chunk<Bits>(chunk, row + size_t{index} * kQuads * kTableBytes, sums);
  store_sums(out, sums);
}

constexpr PartKernels kLutParts = {lut_part<1>, lut_part<2>, lut_part<3>};
constexpr ChunkSums kLutSums = {lut_chunk_sums<1>, lut_chunk_sums<2>, lut_chunk_sums<3>};

}  // namespace

void build_tables_avx2(const float* x, uint32_t cols, std::byte* out) {
  const TableLayout layout = TableLayout::of(cols);
  for (uint32_t chunk = 0; chunk < cols / kChunkCols; ++chunk) build_chunk(x + chunk * kChunkCols, out, layout, chunk);
  if (const uint32_t left = cols % kChunkCols; left != 0) build_chunk(PaddedBlock(x + (cols - left), left).x, out, layout, cols / kChunkCols);
}

const LowBitKernel kAvx2Lut = {"lut-avx2", Family::kLut, Isa::kAvx2, takes_planes, prepared_size<Family::kLut>, prepare<Family::kLut, build_tables_avx2>, run<Family::kLut, kLutParts>,
                               accumulators<Family::kLut, kLutSums>};
const LowBitKernel kAvx2Dot = avx2::dot_kernel("dot-avx2", Isa::kAvx2);

}  // namespace lutra::kernels
#endif
