// GMAC/s of the host NPU's matrix kernels on one thread, prepare included, for prefill shapes. Arguments: [rows] [milliseconds per case].
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "base/f16.h"
#include "kernels/gemm_i8/gemm.h"

namespace {

using namespace lutra;
using namespace lutra::kernels;

struct Case {
  const char* name;
  Element type;
  GemmLayout layout;
};
constexpr Case kCases[] = {{"u8 x s8", Element::kU8, GemmLayout::kDotS8},       {"s8 x s8", Element::kS8, GemmLayout::kDotS8},
                           {"u16 x s8", Element::kU16, GemmLayout::kDotS8},     {"f16 x s8", Element::kF16, GemmLayout::kFloatS8},
                           {"f16 x f16", Element::kF16, GemmLayout::kFloatF16}, {"f32 x f32", Element::kF32, GemmLayout::kFloatF32}};
constexpr uint32_t kShapes[][2] = {{576, 1536}, {1536, 576}, {576, 192}};  // depth, outputs

AlignedBuffer random_buffer(size_t bytes, bool halves) {
  AlignedBuffer buffer(bytes);
  std::mt19937 random(1);
  if (halves) {
    for (uint16_t& h : buffer.as<uint16_t>()) h = f32_to_f16(static_cast<float>(random() % 2001) / 1000.0f - 1.0f);
  } else {
    for (std::byte& b : buffer.bytes()) b = static_cast<std::byte>(random() & 0x3f);  // finite as F32 too
  }
  return buffer;
}

double gmacs(const GemmKernel& kernel, const Case& c, uint32_t rows, uint32_t depth, uint32_t outputs, double seconds) {
  const size_t element = element_size(c.type);
  const AlignedBuffer x = random_buffer(size_t{rows} * depth * element, c.type == Element::kF16);
  const AlignedBuffer w = random_buffer(size_t{outputs} * depth * gemm_weight_size(c.layout), c.layout == GemmLayout::kFloatF16);
  AlignedBuffer packed(gemm_packed_size(c.layout, outputs, depth));
  gemm_pack(c.layout, w.data(), depth, 1, outputs, depth, 0, gemm_panels(outputs), packed.data());
  AlignedBuffer prepared(gemm_prepared_row(c.type, depth) * rows), y(size_t{rows} * outputs * element);
  const uint32_t padded = gemm_panels(outputs) * kGemmPanel;
  AlignedBuffer multiplier(size_t{padded} * 8), correction(size_t{padded} * 8);
  const bool prepare = gemm_needs_prepare(c.type, depth);
  const GemmArgs args{c.layout, c.type, outputs, depth, packed.data(), prepare ? prepared.data() : x.data(), prepare ? gemm_prepared_row(c.type, depth) : depth * element,
                      y.data(), outputs * element, multiplier.data(), is_quantized(c.type) ? correction.data() : nullptr, 0};
  using Clock = std::chrono::steady_clock;
  double best = 1e9, total = 0;
  while (total < seconds) {
    const auto start = Clock::now();
    if (prepare) kernel.prepare(c.type, x.data(), depth * element, depth, 0, rows, prepared.data());
    kernel.run(args, 0, rows, 0, gemm_panels(outputs));
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    best = elapsed < best ? elapsed : best;
    total += elapsed;
  }
  return 1e-9 * rows * depth * outputs / best;
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t rows = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 128;
  const double seconds = argc > 2 ? std::atof(argv[2]) * 1e-3 : 0.1;
  if (rows == 0) {
    std::fprintf(stderr, "usage: gemm_bench [rows] [milliseconds]\n");
    return 1;
  }
  std::printf("%s, GMAC/s, best of %.0f ms\n", cpu_description().c_str(), seconds * 1e3);
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (!isa_available(kernel.isa) || (kernel.isa == Isa::kPortable && argc <= 3)) continue;  // a fourth argument shows the reference too
    for (const Case& c : kCases) {
      std::printf("%-9s %-10s", kernel.name, c.name);
      for (const auto& shape : kShapes) std::printf("  %ux%ux%u %7.1f", rows, shape[0], shape[1], gmacs(kernel, c, rows, shape[0], shape[1], seconds));
      std::printf("\n");
    }
  }
  return 0;
}
