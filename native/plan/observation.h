// What an `observe` step counts of a tensor over a whole calibration text: constant memory, and the same bits whatever the number of threads and the length of the chunks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace lutra::plan {

/// Statistics of one site. As numbers (`values`): count, minimum, maximum, sum of squares, then a histogram of magnitudes: bin = clamp((bits(|x|) >> 16) − (97 << 7), 0, 7679),
/// i.e. 128 bins an octave from 2^-30 up; zeros are in bin 0; then of every column the sum of squares, the minimum, the maximum, and the row of its (first) largest magnitude, rows counted
/// from the first that was ever added.
class Observation {
 public:
  static constexpr uint32_t kBins = 7680;

  explicit Observation(size_t columns = 0);

  /// Adds `rows` rows of x [rows, columns].
  void add(const float* x, size_t rows, ThreadPool& pool);

  size_t columns() const noexcept { return squares_.size(); }
  size_t value_count() const noexcept { return 4 + kBins + 4 * columns(); }
  /// Writes value_count() numbers.
  void values(std::span<double> out) const;
  /// Becomes what `values` wrote. Throws Error(kInvalidArgument) for another number of values and for counts that are none; it is then what it was.
  void restore(std::span<const double> values);

 private:
  void add_columns(const float* x, size_t rows, size_t begin, size_t end);

  uint64_t rows_ = 0;
  std::vector<uint64_t> bins_;
  std::vector<double> squares_;
  std::vector<float> minima_, maxima_, peaks_;
  std::vector<uint64_t> peak_rows_;
};

}  // namespace lutra::plan
