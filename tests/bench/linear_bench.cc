// Speed of the linear kernels at SmolLM2-135M's shapes, one thread.
//  - decode (n = 1): GB/s of weights that come from memory (copies of the matrix fill more than any cache), next to a plain read of the same
//    bytes in the same rounds, because the memory of a shared machine drifts by tens of percent within minutes;
//  - prefill: billions of multiply-adds a second for several rows, in both arithmetics.
// LUTRA_FORCE_KERNEL chooses the tier.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/f16.h"
#include "kernels/linear/linear.h"
#include "kernels/read/read.h"

namespace {

using namespace lutra;
using namespace lutra::kernels;

constexpr size_t kArenaBytes = 256u << 20;
constexpr size_t kHugePage = 2u << 20;

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Memory = std::unique_ptr<std::byte[], Free>;

/// Memory on huge pages where the system gives them, with room for prefetches behind the end.
Memory allocate(size_t bytes) {
  const size_t size = (bytes + 65536 + kHugePage - 1) / kHugePage * kHugePage;
  auto* p = static_cast<std::byte*>(std::aligned_alloc(kHugePage, size));
  if (p == nullptr) std::exit(1);
#ifdef __linux__
  madvise(p, size, MADV_HUGEPAGE);
#endif
  std::fill_n(p, size, std::byte{0});
  return Memory(p);
}

/// Processor time, so that time slices given to others do not count (what they do to the caches and to memory still does).
double seconds(const std::function<void()>& work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// The widest loads of this machine, with or without prefetches 8 KB ahead, as the kernels have them.
const ReadKernel& widest_read(bool prefetches) {
  const ReadKernel* widest = &read_kernels().front();
  for (const ReadKernel& one : read_kernels()) {
    if (isa_available(one.isa) && one.prefetches == prefetches) widest = &one;
  }
  return *widest;
}

struct Case {
  const char* type_name;
  WeightType type;
  uint32_t rows, cols;
};

/// A packed weight with random codes and small scales.
void fill_weight(const Case& c, std::byte* out, size_t bytes) {
  std::mt19937 random(1);
  const size_t codes = c.type == WeightType::kQ8_0 ? 512 : 256;
  const size_t block = codes + (c.type == WeightType::kQ4_1 ? 64 : 32);
  for (size_t i = 0; i < bytes; i += block) {
    for (size_t j = 0; j < codes; ++j) out[i + j] = static_cast<std::byte>(random());
    for (size_t j = codes; j < block; j += 2) {
      const uint16_t half = f32_to_f16(0.001f * static_cast<float>(random() % 100) - 0.05f);
      __builtin_memcpy(out + i + j, &half, 2);
    }
  }
}

uint64_t sink = 0;

void bench_decode(const LinearKernel& kernel, const Case& c) {
  const size_t bytes = packed_size(c.type, c.rows, c.cols);
  const size_t copies = kArenaBytes / bytes + 1;
  const Memory arena = allocate(bytes * copies);
  fill_weight(c, arena.get(), bytes);
  for (size_t i = 1; i < copies; ++i) std::copy_n(arena.get(), bytes, arena.get() + i * bytes);
  std::vector<float> x(c.cols), y(c.rows);
  std::mt19937 random(2);
  for (float& v : x) v = std::normal_distribution<float>()(random);
  const Memory xq = allocate(quantized_rows_size(1, c.cols));
  kernel.quantize_rows(x.data(), c.cols, 1, c.cols, xq.get());
  const auto run = [&](size_t copy) {
    kernel.run_quantized({c.type, c.rows, c.cols, arena.get() + copy * bytes}, xq.get(), 1, 0, tile_count(c.rows), y.data(), c.rows);
  };
  constexpr int kWarmRuns = 100;
  std::vector<double> read, ahead, cold, warm, share;
  for (int round = 0; round < 15; ++round) {
    read.push_back(seconds([&] { sink += widest_read(false).run(arena.get(), bytes * copies); }));
    ahead.push_back(seconds([&] { sink += widest_read(true).run(arena.get(), bytes * copies); }));
    cold.push_back(seconds([&] {
      for (size_t copy = 0; copy < copies; ++copy) run(copy);
    }));
    share.push_back(read.back() / cold.back());
    warm.push_back(seconds([&] {
                     for (int i = 0; i < kWarmRuns; ++i) run(0);
                   }) / kWarmRuns);
  }
  const double total = static_cast<double>(bytes * copies) / 1e9;
  std::printf("decode  %-5s %5u x %-5u read %6.1f GB/s, with prefetch %6.1f | kernel %6.1f GB/s = %5.1f %% of the read | in cache %6.1f GB/s, %7.2f us\n", c.type_name,
              c.rows, c.cols, total / median(read), total / median(ahead), total / median(cold), 100 * median(share), static_cast<double>(bytes) / 1e9 / median(warm),
              1e6 * median(warm));
}

void bench_prefill(const LinearKernel& kernel, const Case& c, uint32_t n) {
  const size_t bytes = packed_size(c.type, c.rows, c.cols);
  const Memory weight = allocate(bytes);
  if (c.type != WeightType::kF32 && c.type != WeightType::kF16) fill_weight(c, weight.get(), bytes);  // plain weights stay zero: float speed does not depend on values
  std::vector<float> x(static_cast<size_t>(n) * c.cols), y(static_cast<size_t>(n) * c.rows);
  std::mt19937 random(3);
  for (float& v : x) v = std::normal_distribution<float>()(random);
  const Memory xq = allocate(quantized_rows_size(n, c.cols));
  const PackedWeight view{c.type, c.rows, c.cols, weight.get()};
  std::vector<double> prepare, quantised, plain;
  const double macs = static_cast<double>(n) * c.rows * c.cols;
  const bool has_quantised = c.type != WeightType::kF32 && c.type != WeightType::kF16;
  const int repeats = 1 + static_cast<int>(2e8 / macs);
  const auto repeated = [&](const std::function<void()>& work) {
    return seconds([&] {
             for (int i = 0; i < repeats; ++i) work();
           }) / repeats;
  };
  for (int round = 0; round < 7; ++round) {
    plain.push_back(repeated([&] { kernel.run_float(view, x.data(), c.cols, n, 0, tile_count(c.rows), y.data(), c.rows); }));
    if (!has_quantised) continue;
    prepare.push_back(repeated([&] { kernel.quantize_rows(x.data(), c.cols, n, c.cols, xq.get()); }));
    quantised.push_back(repeated([&] { kernel.run_quantized(view, xq.get(), n, 0, tile_count(c.rows), y.data(), c.rows); }));
  }
  std::printf("n %-4u %-5s %5u x %-5u float %6.1f GMAC/s", n, c.type_name, c.rows, c.cols, macs / median(plain) / 1e9);
  if (has_quantised) std::printf(" | quantised %6.1f GMAC/s, quantising %5.2f us a row", macs / median(quantised) / 1e9, 1e6 * median(prepare) / n);
  std::printf("\n");
}

}  // namespace

int main() {
  const LinearKernel& kernel = linear_kernel(best_isa());
  std::printf("%s, kernel %s, one thread\n", cpu_description().c_str(), kernel.name);
  const Case cases[] = {{"q4_1", WeightType::kQ4_1, 576, 576},  {"q4_1", WeightType::kQ4_1, 1536, 576}, {"q4_1", WeightType::kQ4_1, 576, 1536},
                        {"q4_0", WeightType::kQ4_0, 1536, 576}, {"q8_0", WeightType::kQ8_0, 1536, 576}, {"q8_0", WeightType::kQ8_0, 49152, 576}};
  for (const Case& c : cases) bench_decode(kernel, c);
  for (uint32_t n : {2u, 8u, 128u}) {
    for (const Case& c : cases) bench_prefill(kernel, c, n);
  }
  bench_prefill(kernel, {"q4_1", WeightType::kQ4_1, 4096, 4096}, 128);  // rows a multiple of 4 KB apart: the worst case for the L1 cache
  bench_prefill(kernel, {"f16", WeightType::kF16, 1536, 576}, 128);
  bench_prefill(kernel, {"f32", WeightType::kF32, 1536, 576}, 128);
  std::printf("(%llu)\n", static_cast<unsigned long long>(sink));  // keeps the reads alive
  return 0;
}
