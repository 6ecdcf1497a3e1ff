// AVX2 kernels of low-bit weights: two registers of 8 rows, one 32-bit lane a row. A lane's bytes are multiplied and added in pairs by VPMADDUBSW, whose 16-bit sums cannot
// overflow within a chunk: at most 16 · 508 of tables, 16 · 15 · 127 of codes.
#include "kernels/lowbit/lowbit_parts.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#include <algorithm>
#include <utility>

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr size_t kPrefetchAhead = 8192;

LUTRA_INLINE256 __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
LUTRA_INLINE256 __m256i load_table(const std::byte* p) { return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }

template <size_t Bytes>
LUTRA_INLINE256 void prefetch(const std::byte* p) {
  for (size_t i = 0; i < Bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + kPrefetchAhead + i), _MM_HINT_T0);
}

/// 8 of the 16 numbers behind a group.
LUTRA_INLINE256 __m256 load_numbers(const LowBitFormat& format, const std::byte* numbers, uint32_t half) {
  if (format.group == 0) return _mm256_loadu_ps(reinterpret_cast<const float*>(numbers + 32 * half));
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers + 16 * half)));
}

/// y += what a part adds, for one row of x.
LUTRA_INLINE256 void finish(const LowBitFormat& format, const GroupTerms& terms, const std::byte* numbers, const __m256 (&total)[2], float x, float* y) {
  const __m256 sum = _mm256_set1_ps(x);
#pragma GCC unroll 2
  for (uint32_t h = 0; h < 2; ++h) {
    const __m256 d = load_numbers(format, numbers, h);
    __m256 c = _mm256_set1_ps(terms.c), result = _mm256_load_ps(y + 8 * h);
    if (format.offset != Offset::kNone) {
      const __m256 offset = load_numbers(format, numbers + kTileRows * number_bytes(format), h);
      if (format.offset == Offset::kZero) c = _mm256_sub_ps(c, offset);
      else result = _mm256_fmadd_ps(offset, sum, result);
    }
    const __m256 inner = _mm256_fmadd_ps(c, sum, _mm256_mul_ps(_mm256_set1_ps(terms.f), total[h]));
    _mm256_store_ps(y + 8 * h, _mm256_fmadd_ps(d, inner, result));
  }
}

// --- tables ----------------------------------------------------------------------------------------------------------------------------

/// `b` in the bytes From … 3 of every word, `a` in those before.
template <uint32_t From>
LUTRA_INLINE256 __m256i join(__m256i a, __m256i b) {
  if constexpr (From == 2) return _mm256_blend_epi16(a, b, 0xaa);
  return _mm256_blendv_epi8(a, b, _mm256_set1_epi32(From == 1 ? static_cast<int>(0xffffff00u) : static_cast<int>(0xff000000u)));
}

/// Looked-up entries of one pass: bytes of a word may be of several quads, whose tables one shuffle each reads.
template <uint8_t Bits, uint32_t Pass>
LUTRA_INLINE256 __m256i look_up(const std::byte* tables, __m256i index) {
  __m256i found = _mm256_shuffle_epi8(load_table(tables + kTableBytes * pass_quad(Bits, Pass, 0)), index);
  if constexpr (pass_quad(Bits, Pass, 1) != pass_quad(Bits, Pass, 0)) found = join<1>(found, _mm256_shuffle_epi8(load_table(tables + kTableBytes * pass_quad(Bits, Pass, 1)), index));
  if constexpr (pass_quad(Bits, Pass, 2) != pass_quad(Bits, Pass, 1)) found = join<2>(found, _mm256_shuffle_epi8(load_table(tables + kTableBytes * pass_quad(Bits, Pass, 2)), index));
  if constexpr (pass_quad(Bits, Pass, 3) != pass_quad(Bits, Pass, 2)) found = join<3>(found, _mm256_shuffle_epi8(load_table(tables + kTableBytes * pass_quad(Bits, Pass, 3)), index));
  return found;
}

template <uint8_t Bits, uint32_t Pass>
LUTRA_INLINE256 void add_pass(const std::byte* chunk, const std::byte* tables, __m256i (&acc)[2]) {
  const __m256i weights = _mm256_set1_epi32(static_cast<int>(pass_weights(Bits, Pass)));
#pragma GCC unroll 2
  for (uint32_t h = 0; h < 2; ++h) {
    __m256i index = load256(chunk + 64 * (Pass / 2) + 32 * h);
    if constexpr (Pass % 2 == 1) index = _mm256_srli_epi16(index, 4);
    index = _mm256_and_si256(index, _mm256_set1_epi8(15));
    acc[h] = _mm256_add_epi16(acc[h], _mm256_maddubs_epi16(weights, look_up<Bits, Pass>(tables, index)));
  }
}

template <uint8_t Bits, uint32_t... Pass>
LUTRA_INLINE256 void lut_chunk(const std::byte* chunk, const std::byte* tables, __m256i (&sums)[2], std::integer_sequence<uint32_t, Pass...>) {
  __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  (add_pass<Bits, Pass>(chunk, tables, acc), ...);
#pragma GCC unroll 2
  for (uint32_t h = 0; h < 2; ++h) sums[h] = _mm256_madd_epi16(acc[h], _mm256_set1_epi16(1));
}

template <uint8_t Bits>
constexpr auto kPasses = std::make_integer_sequence<uint32_t, 2 * Bits>{};

template <uint8_t Bits>
LUTRA_TARGET_AVX2 void lut_part(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* prepared, uint32_t n, uint32_t cols, float (*y)[kTileRows]) {
  const TableLayout layout = TableLayout::of(cols);
  const size_t stride = PreparedLayout::of(Family::kLut, cols).stride;
  for (uint32_t r = 0; r < n; ++r) {
    const std::byte* row = prepared + r * stride;
    __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float x = 0.0f;
    for (uint32_t i = 0; i < part.count; ++i) {
      const std::byte* chunk = part.chunks + i * chunk_bytes(Bits);
      const uint32_t index = part.first + i;
      prefetch<chunk_bytes(Bits)>(chunk);
      __m256i sums[2];
      lut_chunk<Bits>(chunk, row + size_t{index} * kQuads * kTableBytes, sums, kPasses<Bits>);
      const __m256 step = _mm256_broadcast_ss(reinterpret_cast<const float*>(row + layout.half_step + 4 * index));
#pragma GCC unroll 2
      for (uint32_t h = 0; h < 2; ++h) total[h] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(sums[h]), total[h]);
      x += load_as<float>(row + layout.sum + 4 * index);
    }
    finish(format, terms, part.numbers, total, x, y[r]);
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
  alignas(32) float most[8], sums[8];
  _mm256_store_ps(most, largest);
  _mm256_store_ps(sums, sum);
  const float maximum = *std::max_element(most, most + 8);
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
  store_as(row + layout.sum + 4 * chunk, ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])));
}

// --- dot products ----------------------------------------------------------------------------------------------------------------------

/// Bit `Plane` of the codes of the quad that byte I of the words of a pass stands for.
template <uint8_t Bits, uint32_t Pass, uint32_t I>
LUTRA_INLINE256 void spread(__m256i index, uint32_t half, std::byte* codes) {
  constexpr uint32_t kPlane = (4 * Pass + I) % Bits, kQuad = pass_quad(Bits, Pass, I);
  const __m256i places = _mm256_setr_epi8(I, I, I, I, 4 + I, 4 + I, 4 + I, 4 + I, 8 + I, 8 + I, 8 + I, 8 + I, 12 + I, 12 + I, 12 + I, 12 + I, I, I, I, I, 4 + I, 4 + I, 4 + I, 4 + I, 8 + I,
                                          8 + I, 8 + I, 8 + I, 12 + I, 12 + I, 12 + I, 12 + I);
  const __m256i bits = _mm256_set1_epi32(0x08040201);
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(index, places), bits), bits);
  auto* to = reinterpret_cast<__m256i*>(codes + 64 * kQuad + 32 * half);
  const __m256i plane = _mm256_and_si256(set, _mm256_set1_epi8(1 << kPlane));
  _mm256_store_si256(to, kPlane == 0 ? plane : _mm256_or_si256(_mm256_load_si256(to), plane));
}

template <uint8_t Bits, uint32_t Pass>
LUTRA_INLINE256 void unpack_pass(const std::byte* chunk, std::byte* codes) {
  for (uint32_t h = 0; h < 2; ++h) {
    __m256i index = load256(chunk + 64 * (Pass / 2) + 32 * h);
    if constexpr (Pass % 2 == 1) index = _mm256_srli_epi16(index, 4);
    spread<Bits, Pass, 0>(index, h, codes);
    spread<Bits, Pass, 1>(index, h, codes);
    spread<Bits, Pass, 2>(index, h, codes);
    spread<Bits, Pass, 3>(index, h, codes);
  }
}

template <uint8_t Bits, uint32_t... Pass>
LUTRA_INLINE256 void unpack_planes(const std::byte* chunk, std::byte* codes, std::integer_sequence<uint32_t, Pass...>) {
  (unpack_pass<Bits, Pass>(chunk, codes), ...);
}

/// [quad][row][4 columns] of one chunk of less than 4 bits; those of 4 bits are multiplied as they are.
template <uint8_t Bits>
LUTRA_TARGET_AVX2 void unpack(const std::byte* chunk, std::byte* codes) {
  unpack_planes<Bits>(chunk, codes, kPasses<Bits>);
}

constexpr size_t code_stride(uint8_t bits) { return bits == 4 ? chunk_bytes(4) : kCodeBytes; }

LUTRA_INLINE256 __m256i add_products(__m256i sum, __m256i codes, const std::byte* x) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, _mm256_set1_epi32(load_as<int32_t>(x))));
}

/// acc = Σ codes · x_r of one chunk.
template <uint8_t Bits, uint32_t N>
LUTRA_INLINE256 void multiply(const std::byte* codes, const std::byte* x, size_t stride, __m256i (&acc)[2][N]) {
  constexpr uint32_t kVectors = code_stride(Bits) / 64;
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) acc[0][r] = acc[1][r] = _mm256_setzero_si256();
#pragma GCC unroll 8
  for (uint32_t vector = 0; vector < kVectors; ++vector) {
#pragma GCC unroll 2
    for (uint32_t h = 0; h < 2; ++h) {
      const __m256i both = load256(codes + 64 * vector + 32 * h), nibble = _mm256_set1_epi8(15);
      const __m256i low = Bits == 4 ? _mm256_and_si256(both, nibble) : both;
#pragma GCC unroll 4
      for (uint32_t r = 0; r < N; ++r) acc[h][r] = add_products(acc[h][r], low, x + r * stride + 4 * vector);
      if constexpr (Bits == 4) {
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
#pragma GCC unroll 4
        for (uint32_t r = 0; r < N; ++r) acc[h][r] = add_products(acc[h][r], high, x + r * stride + 16 + 4 * vector);
      }
    }
  }
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) {
    acc[0][r] = _mm256_madd_epi16(acc[0][r], _mm256_set1_epi16(1));
    acc[1][r] = _mm256_madd_epi16(acc[1][r], _mm256_set1_epi16(1));
  }
}

/// N rows of x times a part; `codes` are its chunks, unpacked when they have less than 4 bits.
template <uint8_t Bits, uint32_t N>
LUTRA_TARGET_AVX2 void dot_rows(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* codes, const std::byte* xq, uint32_t cols, float (*y)[kTileRows]) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  const size_t stride = PreparedLayout::of(Family::kDot, cols).stride;
  __m256 total[N][2];
  float x[N] = {};
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) total[r][0] = total[r][1] = _mm256_setzero_ps();
  for (uint32_t i = 0; i < part.count; ++i) {
    const uint32_t index = part.first + i;
    __m256i acc[2][N];
    if constexpr (Bits == 4) prefetch<chunk_bytes(4)>(codes + i * chunk_bytes(4));
    multiply<Bits, N>(codes + i * code_stride(Bits), xq + size_t{index} * kChunkCols, stride, acc);
#pragma GCC unroll 4
    for (uint32_t r = 0; r < N; ++r) {
      const __m256 step = _mm256_broadcast_ss(reinterpret_cast<const float*>(xq + r * stride + layout.scale + 4 * index));
      total[r][0] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(acc[0][r]), total[r][0]);
      total[r][1] = _mm256_fmadd_ps(step, _mm256_cvtepi32_ps(acc[1][r]), total[r][1]);
      x[r] += load_as<float>(xq + r * stride + layout.scaled_sum + 4 * index);
    }
  }
  for (uint32_t r = 0; r < N; ++r) finish(format, terms, part.numbers, total[r], x[r], y[r]);
}

template <uint8_t Bits>
LUTRA_TARGET_AVX2 void dot_part(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* xq, uint32_t n, uint32_t cols, float (*y)[kTileRows]) {
  alignas(64) std::byte unpacked[Bits == 4 ? 1 : kPartChunks * kCodeBytes];
  const std::byte* codes = part.chunks;
  if constexpr (Bits != 4) {
    for (uint32_t i = 0; i < part.count; ++i) {
      prefetch<chunk_bytes(Bits)>(part.chunks + i * chunk_bytes(Bits));
      unpack<Bits>(part.chunks + i * chunk_bytes(Bits), unpacked + i * kCodeBytes);
    }
    codes = unpacked;
  }
  const size_t stride = PreparedLayout::of(Family::kDot, cols).stride;
  uint32_t r = 0;
  for (; r + 4 <= n; r += 4) dot_rows<Bits, 4>(format, terms, part, codes, xq + r * stride, cols, y + r);
  for (; r < n; ++r) dot_rows<Bits, 1>(format, terms, part, codes, xq + r * stride, cols, y + r);
}

// --- what both families share ------------------------------------------------------------------------------------------------------------

template <Family F, uint8_t Bits>
LUTRA_TARGET_AVX2 void chunk_sums(const std::byte* chunk, const std::byte* row, uint32_t index, int32_t* out) {
  __m256i sums[2][1];
  if constexpr (F == Family::kLut) {
    __m256i found[2];
    lut_chunk<Bits>(chunk, row + size_t{index} * kQuads * kTableBytes, found, kPasses<Bits>);
    sums[0][0] = found[0];
    sums[1][0] = found[1];
  } else {
    alignas(64) std::byte unpacked[kCodeBytes];
    if constexpr (Bits != 4) unpack<Bits>(chunk, unpacked);
    multiply<Bits, 1>(Bits == 4 ? chunk : unpacked, row + size_t{index} * kChunkCols, 0, sums);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), sums[0][0]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), sums[1][0]);
}

constexpr PartKernels kLutParts = {lut_part<1>, lut_part<2>, lut_part<3>};
constexpr PartKernels kDotParts = {dot_part<1>, dot_part<2>, dot_part<3>, dot_part<4>};
constexpr ChunkSums kLutSums = {chunk_sums<Family::kLut, 1>, chunk_sums<Family::kLut, 2>, chunk_sums<Family::kLut, 3>};
constexpr ChunkSums kDotSums = {chunk_sums<Family::kDot, 1>, chunk_sums<Family::kDot, 2>, chunk_sums<Family::kDot, 3>, chunk_sums<Family::kDot, 4>};

void quantize(const float* x, uint32_t cols, std::byte* out) { kAvx2Linear.quantize_rows(x, cols, 1, cols, out); }

}  // namespace

void build_tables_avx2(const float* x, uint32_t cols, std::byte* out) {
  const TableLayout layout = TableLayout::of(cols);
  for (uint32_t chunk = 0; chunk < cols / kChunkCols; ++chunk) build_chunk(x + chunk * kChunkCols, out, layout, chunk);
  if (const uint32_t left = cols % kChunkCols; left != 0) build_chunk(PaddedBlock(x + (cols - left), left).x, out, layout, cols / kChunkCols);
}

const LowBitKernel kAvx2Lut = {"lut-avx2", Family::kLut, Isa::kAvx2, takes_planes, prepared_size<Family::kLut>, prepare<Family::kLut, build_tables_avx2>, run<Family::kLut, kLutParts>,
                               accumulators<Family::kLut, kLutSums>};
const LowBitKernel kAvx2Dot = {"dot-avx2", Family::kDot, Isa::kAvx2, takes_all, prepared_size<Family::kDot>, prepare<Family::kDot, quantize>, run<Family::kDot, kDotParts>,
                               accumulators<Family::kDot, kDotSums>};

}  // namespace lutra::kernels
#endif
