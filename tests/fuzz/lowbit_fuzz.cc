// Kernels of low-bit weights on any packed bytes and any activations, NaN and infinities among them: every variant gives the int32 sums of its family's reference, a row alone gives
// the bits that it gives among others, and nothing outside what a kernel was given is touched.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "base/cpu.h"
#include "byte_source.h"
#include "kernels/lowbit/lowbit.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

using namespace kernels;

constexpr uint32_t kMostRows = 40, kMostCols = 320, kMostN = 5;
constexpr float kUntouched = -12345.0f;

struct Case {
  LowBitFormat format;
  uint32_t rows, cols, n;
  AlignedBuffer weight;
  std::vector<float> x;

  PackedWeight view() const { return {weight_type(format), rows, cols, weight.data()}; }
};

/// Bytes in turn, over and over, with a different start each time so that groups differ.
void fill(std::span<std::byte> out, std::span<const uint8_t> bytes) {
  for (size_t i = 0; i < out.size(); ++i) out[i] = bytes.empty() ? std::byte{0} : static_cast<std::byte>(bytes[(i + i / bytes.size()) % bytes.size()]);
}

Case make_case(std::span<const uint8_t> input) {
  ByteSource choices(input.first(std::min<size_t>(input.size(), 8)));
  const LowBitFormat format{static_cast<uint8_t>(1 + choices.below(4)), choices.of(kGroups), static_cast<Offset>(choices.below(3))};
  const auto rows = static_cast<uint32_t>(1 + choices.below(kMostRows)), cols = static_cast<uint32_t>(1 + choices.below(kMostCols)), n = static_cast<uint32_t>(1 + choices.below(kMostN));
  Case c{format, rows, cols, n, AlignedBuffer(low_bit_packed_size(format, rows, cols)), std::vector<float>(size_t{n} * cols)};
  const auto rest = input.subspan(std::min<size_t>(input.size(), 8));
  fill(std::as_writable_bytes(std::span(c.x)), rest.first(rest.size() / 2));
  fill(c.weight.bytes(), rest.subspan(rest.size() / 2));
  return c;
}

AlignedBuffer prepare(const LowBitKernel& kernel, const Case& c, uint32_t row, uint32_t n) {
  AlignedBuffer out(kernel.prepared_size(n, c.cols));
  kernel.prepare(c.x.data() + size_t{row} * c.cols, c.cols, n, c.cols, out.data());
  return out;
}

void check(const LowBitKernel& kernel, const LowBitKernel& reference, const Case& c) {
  const AlignedBuffer own = prepare(kernel, c, 0, c.n), theirs = prepare(reference, c, 0, c.n);
  const uint32_t tiles = tile_count(c.rows);
  std::vector<int32_t> sums(size_t{chunks_of(c.cols)} * kTileRows), expected(sums.size());
  for (uint32_t row = 0; row < c.n; ++row) {
    for (uint32_t tile = 0; tile < tiles; ++tile) {
      kernel.accumulators(c.view(), own.data(), row, tile, sums.data());
      reference.accumulators(c.view(), theirs.data(), row, tile, expected.data());
      if (sums != expected) fail(kernel.name);
    }
  }
  std::vector<float> y(size_t{c.n} * (c.rows + 1), kUntouched), alone(c.rows);
  kernel.run(c.view(), own.data(), c.n, 0, tiles / 2, y.data(), c.rows + 1);
  kernel.run(c.view(), own.data(), c.n, tiles / 2, tiles, y.data(), c.rows + 1);
  for (uint32_t row = 0; row < c.n; ++row) {
    const float* among = y.data() + size_t{row} * (c.rows + 1);
    const AlignedBuffer one = prepare(kernel, c, row, 1);
    kernel.run(c.view(), one.data(), 1, 0, tiles, alone.data(), c.rows);
    if (among[c.rows] != kUntouched) fail("a row of padding was written");
    for (uint32_t o = 0; o < c.rows; ++o) {
      // The sign and the payload of a NaN are nobody's business.
      if (std::memcmp(among + o, &alone[o], sizeof(float)) != 0 && !(among[o] != among[o] && alone[o] != alone[o])) fail("a row alone differs");
    }
  }
}

}  // namespace
}  // namespace lutra::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  const fuzz::Case c = fuzz::make_case({data, size});
  const fuzz::Budget budget(size_t{4} << 20);
  for (const kernels::LowBitKernel& kernel : kernels::low_bit_kernels()) {
    if (!isa_available(kernel.isa) || !kernel.takes(c.format.bits)) continue;
    const auto all = kernels::low_bit_kernels();
    const auto reference = std::find_if(all.begin(), all.end(), [&](const kernels::LowBitKernel& k) { return k.family == kernel.family && k.isa == Isa::kPortable; });
    fuzz::check(kernel, *reference, c);
  }
  return 0;
}
