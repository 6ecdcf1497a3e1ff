#include "plan/observation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <string>

#include "base/error.h"

namespace lutra::plan {
namespace {

constexpr int32_t kFirstBin = 97 << 7;  // exponent of 2^-30
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kGrain = 65536;  // values: below this a slice of columns is not worth a thread and a histogram of its own

size_t bin_of(float v) {
  const int32_t bin = static_cast<int32_t>((std::bit_cast<uint32_t>(v) & 0x7fffffffu) >> 16) - kFirstBin;
  return static_cast<size_t>(std::clamp(bin, 0, static_cast<int32_t>(Observation::kBins) - 1));
}

bool is_count(double v) { return v >= 0 && v < 0x1p53 && v == std::floor(v); }

}  // namespace

Observation::Observation(size_t columns)
    : bins_(kBins), squares_(columns), minima_(columns, kInfinity), maxima_(columns, -kInfinity), peaks_(columns), peak_rows_(columns) {}

void Observation::add(const float* x, size_t rows, ThreadPool& pool) {
  // Slices of columns, so that every sum is taken in the order of the rows.
  const size_t wanted = std::min<size_t>(pool.threads(), (rows * columns() + kGrain - 1) / kGrain);
  const size_t slices = std::max<size_t>(1, std::min(wanted, columns()));
  std::mutex merging;
  pool.run(static_cast<uint32_t>(slices), [&](uint32_t slice) {
    const size_t begin = columns() * slice / slices, end = columns() * (slice + 1) / slices;
    add_columns(x, rows, begin, end);
    std::array<uint32_t, kBins> counted{};
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = begin; c < end; ++c) ++counted[bin_of(x[r * columns() + c])];
    }
    const std::lock_guard lock(merging);
    for (size_t b = 0; b < kBins; ++b) bins_[b] += counted[b];
  });
  rows_ += rows;
}

void Observation::add_columns(const float* x, size_t rows, size_t begin, size_t end) {
  double* squares = squares_.data();
  float *minima = minima_.data(), *maxima = maxima_.data(), *peaks = peaks_.data();
  for (size_t r = 0; r < rows; ++r) {
    const float* row = x + r * columns();
    for (size_t c = begin; c < end; ++c) {
      const float v = row[c];
      squares[c] += static_cast<double>(v) * static_cast<double>(v);
      minima[c] = v < minima[c] ? v : minima[c];
      maxima[c] = v > maxima[c] ? v : maxima[c];
    }
    for (size_t c = begin; c < end; ++c) {
      const float magnitude = std::fabs(row[c]);
      if (magnitude <= peaks[c]) continue;
      peaks[c] = magnitude;
      peak_rows_[c] = rows_ + r;
    }
  }
}

void Observation::values(std::span<double> out) const {
  if (out.size() != value_count()) throw Error(ErrorCode::kInvalidArgument, "statistics of " + std::to_string(value_count()) + " values do not fit " + std::to_string(out.size()));
  const size_t n = columns();
  out[0] = static_cast<double>(rows_) * static_cast<double>(n);
  out[1] = std::accumulate(minima_.begin(), minima_.end(), kInfinity, [](float a, float b) { return std::min(a, b); });
  out[2] = std::accumulate(maxima_.begin(), maxima_.end(), -kInfinity, [](float a, float b) { return std::max(a, b); });
  out[3] = std::accumulate(squares_.begin(), squares_.end(), 0.0);
  auto at = out.begin() + 4;
  for (const uint64_t bin : bins_) *at++ = static_cast<double>(bin);
  at = std::copy(squares_.begin(), squares_.end(), at);
  at = std::copy(minima_.begin(), minima_.end(), at);
  at = std::copy(maxima_.begin(), maxima_.end(), at);
  for (const uint64_t row : peak_rows_) *at++ = static_cast<double>(row);
}

void Observation::restore(std::span<const double> values) {
  const size_t n = columns();
  const auto refuse = [](const std::string& what) { throw Error(ErrorCode::kInvalidArgument, "statistics cannot be continued: " + what); };
  if (values.size() != value_count()) refuse(std::to_string(values.size()) + " values for " + std::to_string(value_count()));
  const auto bins = values.subspan(4, kBins), squares = values.subspan(4 + kBins, n), minima = values.subspan(4 + kBins + n, n), maxima = values.subspan(4 + kBins + 2 * n, n),
             rows = values.subspan(4 + kBins + 3 * n, n);
  const double count = n == 0 ? 0 : values[0] / static_cast<double>(n);
  if (!is_count(count) || !std::all_of(bins.begin(), bins.end(), is_count) || !std::all_of(rows.begin(), rows.end(), is_count)) refuse("a count is no whole number");
  rows_ = static_cast<uint64_t>(count);
  std::transform(bins.begin(), bins.end(), bins_.begin(), [](double v) { return static_cast<uint64_t>(v); });
  std::copy(squares.begin(), squares.end(), squares_.begin());
  std::transform(minima.begin(), minima.end(), minima_.begin(), [](double v) { return static_cast<float>(v); });
  std::transform(maxima.begin(), maxima.end(), maxima_.begin(), [](double v) { return static_cast<float>(v); });
  for (size_t c = 0; c < n; ++c) peaks_[c] = rows_ == 0 ? 0 : std::max(std::fabs(minima_[c]), std::fabs(maxima_[c]));
  std::transform(rows.begin(), rows.end(), peak_rows_.begin(), [](double v) { return static_cast<uint64_t>(v); });
}

}  // namespace lutra::plan
