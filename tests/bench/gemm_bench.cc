// Speed of the host NPU's linears on one thread, as a share of what the tier's multiply-accumulate instructions reach in registers (peak.h). Every round measures the peak, the
// kernel (prepare and run) and graphExecute of a FullyConnected node on libQnnHost one after the other, in processor time, so that other work on the machine meets all three.
// Exits with 1 when a graph with a bar is below it: a share of the peak, by the fast tenth of the samples. Argument: milliseconds per case. LUTRA_FORCE_KERNEL chooses one tier.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "base/f16.h"
#include "host_linear.h"
#include "peak.h"

namespace {

using namespace lutra;
using namespace lutra::kernels;
using bench::Linear;
using bench::PeakKind;

struct Form {
  const char* name;
  Element type;
  GemmLayout layout;
  PeakKind peak;
  double bar;  // least share of the peak, in percent; 0: none
};
constexpr Form kForms[] = {{"u8 x s8", Element::kU8, GemmLayout::kDotS8, PeakKind::kInteger, 60},     {"s8 x s8", Element::kS8, GemmLayout::kDotS8, PeakKind::kInteger, 60},
                           {"u16 x s8", Element::kU16, GemmLayout::kDotS8, PeakKind::kInteger, 25},   {"f16 x s8", Element::kF16, GemmLayout::kFloatS8, PeakKind::kFloat, 0},
                           {"f16 x f16", Element::kF16, GemmLayout::kFloatF16, PeakKind::kFloat, 0}, {"f32 x f32", Element::kF32, GemmLayout::kFloatF32, PeakKind::kFloat, 0}};

struct Shape {
  uint32_t rows, outputs, depth;
};
/// Linears of a decoder of 135 million parameters, and a large square.
constexpr Shape kShapes[] = {{128, 1536, 576}, {128, 576, 1536}, {128, 576, 576}, {128, 192, 576}, {256, 4096, 4096}};
constexpr size_t kLeastSamples = 25;
constexpr double kPeakSeconds = 2e-4;  // of one sample

double thread_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class Samples {
 public:
  template <class Work>
  void time(const Work& work) {
    const double start = thread_seconds();
    work();
    seconds_.push_back(thread_seconds() - start);
  }
  /// The time that this share of the samples does not exceed.
  double at(double share) {
    const auto nth = seconds_.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(seconds_.size() - 1));
    std::nth_element(seconds_.begin(), nth, seconds_.end());
    return *nth;
  }
  double sum() const {
    double total = 0;
    for (const double one : seconds_) total += one;
    return total;
  }
  size_t size() const { return seconds_.size(); }

 private:
  std::vector<double> seconds_;
};

/// Random codes, or halves and floats around zero.
AlignedBuffer random_data(size_t elements, size_t size, bool is_float) {
  AlignedBuffer buffer(elements * size);
  std::mt19937 random(1);
  const auto real = [&] { return static_cast<float>(random() % 2001) / 1000.0f - 1.0f; };
  if (!is_float) {
    for (std::byte& b : buffer.bytes()) b = static_cast<std::byte>(random());
  } else if (size == 2) {
    for (uint16_t& h : buffer.as<uint16_t>()) h = f32_to_f16(real());
  } else {
    for (float& f : buffer.as<float>()) f = real();
  }
  return buffer;
}

/// The kernel on its own, with scales and corrections of zero.
class KernelLinear {
 public:
  KernelLinear(const GemmKernel& kernel, const Linear& linear, const AlignedBuffer& x, const AlignedBuffer& w)
      : kernel_(kernel), linear_(linear), x_(x), packed_(gemm_packed_size(linear.layout, linear.outputs, linear.depth)), prepared_(gemm_prepared_row(linear.type, linear.depth) * linear.rows),
        y_(size_t{linear.rows} * linear.outputs * element_size(linear.type)), multiplier_(padded() * 8), correction_(padded() * 8) {
    gemm_pack(linear.layout, w.data(), linear.depth, 1, linear.outputs, linear.depth, 0, gemm_panels(linear.outputs), packed_.data());
    for (AlignedBuffer* zeros : {&multiplier_, &correction_}) std::memset(zeros->data(), 0, zeros->size());
  }
  void execute() {
    GemmArgs args{linear_.layout, linear_.type, linear_.outputs, linear_.depth, packed_.data(), x_.data(), linear_.depth * element_size(linear_.type), y_.data(),
                  linear_.outputs * element_size(linear_.type), multiplier_.data(), is_quantized(linear_.type) ? correction_.data() : nullptr, 0};
    if (gemm_needs_prepare(linear_.type, linear_.depth)) {
      kernel_.prepare(linear_.type, args.x, args.x_stride, linear_.depth, 0, linear_.rows, prepared_.data());
      args.x = prepared_.data();
      args.x_stride = gemm_prepared_row(linear_.type, linear_.depth);
    }
    kernel_.run(args, 0, linear_.rows, 0, gemm_panels(linear_.outputs));
  }

 private:
  size_t padded() const { return size_t{gemm_panels(linear_.outputs)} * kGemmPanel; }

  const GemmKernel& kernel_;
  Linear linear_;
  const AlignedBuffer& x_;
  AlignedBuffer packed_, prepared_, y_, multiplier_, correction_;
};

const bench::Peak& peak_of(Isa isa, PeakKind kind) {
  for (const bench::Peak& peak : bench::peaks()) {
    if (peak.isa == isa && peak.kind == kind) return peak;
  }
  throw Error(ErrorCode::kInternal, std::string("no peak is known for ") + isa_name(isa), "add one to tests/bench/peak.cc");
}

/// Rounds of a peak that take about kPeakSeconds.
uint64_t rounds_of(const bench::Peak& peak) {
  for (uint64_t rounds = 1000;; rounds *= 2) {
    Samples once;
    once.time([&] { peak.run(rounds); });
    if (once.at(0) > kPeakSeconds / 2) return rounds;
  }
}

/// Prints the peaks of a tier.
void report_peaks(Isa isa) {
  for (const bench::Peak& peak : bench::peaks()) {
    if (peak.isa != isa) continue;
    const uint64_t rounds = rounds_of(peak);
    Samples samples;
    while (samples.size() < 200) samples.time([&] { peak.run(rounds); });
    const double work = 1e-9 * static_cast<double>(rounds) * peak.macs;
    std::printf("%-8s %s %7.1f / %7.1f GMAC/s: %s\n", isa_name(isa), peak.kind == PeakKind::kRaw ? "rate" : "peak", work / samples.at(0.1), work / samples.at(0.5), peak.name);
  }
}

/// Measures and prints one case; false when it is below its bar.
bool report(const GemmKernel& kernel, const std::shared_ptr<const qnn::Library>& library, const Form& form, const Shape& shape, double seconds) {
  const Linear linear{form.type, form.layout, shape.rows, shape.outputs, shape.depth};
  const bool is_float = !is_quantized(form.type);
  const AlignedBuffer x = random_data(size_t{shape.rows} * shape.depth, element_size(form.type), is_float);
  const AlignedBuffer w = random_data(size_t{shape.outputs} * shape.depth, gemm_weight_size(form.layout), form.layout != GemmLayout::kDotS8 && form.layout != GemmLayout::kFloatS8);
  KernelLinear alone(kernel, linear, x, w);
  bench::HostLinear graph(library, linear, {x.data(), x.size()}, {w.data(), w.size()});
  const bench::Peak& peak = peak_of(kernel.isa, form.peak);
  const uint64_t rounds = rounds_of(peak);
  alone.execute();
  graph.execute();
  Samples of_peak, of_kernel, of_graph;
  while (of_graph.size() < kLeastSamples || of_peak.sum() + of_kernel.sum() + of_graph.sum() < seconds) {
    of_peak.time([&] { peak.run(rounds); });
    of_kernel.time([&] { alone.execute(); });
    of_graph.time([&] { graph.execute(); });
  }
  const double work = 1e-9 * shape.rows * shape.outputs * shape.depth, peak_work = 1e-9 * static_cast<double>(rounds) * peak.macs;
  const auto share = [&](Samples& samples, double at) { return 100 * (work / samples.at(at)) / (peak_work / of_peak.at(at)); };
  const bool below = form.bar > 0 && share(of_graph, 0.1) < form.bar;
  char name[32], verdict[32] = "";
  std::snprintf(name, sizeof name, "%ux%ux%u", shape.rows, shape.outputs, shape.depth);
  if (form.bar > 0) std::snprintf(verdict, sizeof verdict, "%s (%.0f)", below ? "BELOW" : "ok", form.bar);
  std::printf("%-8s %-10s %-14s %7.1f /%7.1f %7.1f /%7.1f   %5.1f /%5.1f %5.1f /%5.1f  %5zu  %s\n", kernel.name, form.name, name, work / of_kernel.at(0.1), work / of_kernel.at(0.5),
              work / of_graph.at(0.1), work / of_graph.at(0.5), share(of_kernel, 0.1), share(of_kernel, 0.5), share(of_graph, 0.1), share(of_graph, 0.5), of_graph.size(), verdict);
  std::fflush(stdout);
  return !below;
}

/// Tiers to measure: what LUTRA_FORCE_KERNEL names, or all fast ones that this processor has.
std::vector<const GemmKernel*> tiers() {
  const char* forced = std::getenv("LUTRA_FORCE_KERNEL");
  if (forced != nullptr && *forced != '\0') return {&gemm_kernel(best_isa())};
  std::vector<const GemmKernel*> found;
  for (const GemmKernel& kernel : gemm_kernels()) {
    if (kernel.isa != Isa::kPortable && isa_available(kernel.isa)) found.push_back(&kernel);
  }
  return found;
}

int run(double seconds) {
  const auto library = qnn::Library::open(LUTRA_QNN_HOST);
  std::printf("%s, one thread; fast tenth / median of interleaved samples\n", cpu_description().c_str());
  int below = 0;
  for (const GemmKernel* kernel : tiers()) {
    setenv("LUTRA_FORCE_KERNEL", isa_name(kernel->isa), 1);
    report_peaks(kernel->isa);
    std::printf("%-8s %-10s %-14s %16s %16s   %12s %12s  %5s  %s\n", "tier", "form", "rows x out x k", "kernel GMAC/s", "graph GMAC/s", "kernel %", "graph %", "n", "bar");
    for (const Form& form : kForms) {
      for (const Shape& shape : kShapes) below += report(*kernel, library, form, shape, seconds) ? 0 : 1;
    }
  }
  if (below > 0) std::printf("%d graphs are below their bar\n", below);
  return below == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const double milliseconds = argc > 1 ? std::atof(argv[1]) : 500;
  if (argc > 2 || milliseconds <= 0) {
    std::fprintf(stderr, "usage: gemm_bench [milliseconds per case]\n");
    return 2;
  }
  try {
    return run(milliseconds * 1e-3);
  } catch (const Error& error) {
    std::fprintf(stderr, "gemm_bench: %s\n", error.what());
    return 2;
  }
}
