// Groups of elements: reductions, norms, softmax; and windows and places of images.
#include <algorithm>
#include <cmath>

#include "conformance/reference.h"

namespace lutra::conformance::reference {
namespace {

/// The positions of the elements of each group.
std::vector<std::vector<size_t>> members(const Dims& dims, std::span<const uint32_t> axes) {
  const Dims kept = folded_dims(dims, axes, true);
  std::vector<std::vector<size_t>> groups(element_count(kept));
  size_t position = 0;
  for_each_index(dims, [&](const Index& index) {
    size_t group = 0;
    for (size_t d = 0; d < dims.size(); ++d) group = group * kept[d] + (kept[d] == 1 ? 0 : index[d]);
    groups[group].push_back(position++);
  });
  return groups;
}

}  // namespace

Dims folded_dims(const Dims& dims, std::span<const uint32_t> axes, bool keep_dims) {
  Dims out;
  for (uint32_t d = 0; d < dims.size(); ++d) {
    const bool folded = std::find(axes.begin(), axes.end(), d) != axes.end();
    if (!folded || keep_dims) out.push_back(folded ? 1 : dims[d]);
  }
  if (out.empty()) out.push_back(1);
  return out;
}

std::vector<double> fold(const Tensor& x, std::span<const uint32_t> axes, const std::function<double(std::span<const double>)>& one) {
  const std::vector<double> values = reals(x);
  std::vector<double> y;
  for (const std::vector<size_t>& group : members(x.dims, axes)) {
    std::vector<double> own;
    for (const size_t position : group) own.push_back(values[position]);
    y.push_back(one(own));
  }
  return y;
}

std::vector<double> map_groups(const Tensor& x, std::span<const uint32_t> axes, const std::function<std::vector<double>(std::vector<double>)>& all) {
  std::vector<double> values = reals(x);
  for (const std::vector<size_t>& group : members(x.dims, axes)) {
    std::vector<double> own;
    for (const size_t position : group) own.push_back(values[position]);
    own = all(std::move(own));
    for (size_t i = 0; i < group.size(); ++i) values[group[i]] = own[i];
  }
  return values;
}

std::vector<double> pool(const Tensor& x, const Pool& sizes, const Dims& dims, const std::function<double(std::span<const double>, size_t)>& one) {
  const std::vector<double> values = reals(x);
  std::vector<double> y;
  for_each_index(dims, [&](const Index& index) {
    std::vector<double> inside;
    size_t places = 0;
    for (uint32_t fy = 0; fy < sizes.height; ++fy) {
      for (uint32_t fx = 0; fx < sizes.width; ++fx) {
        const int64_t line = static_cast<int64_t>(index[1] * sizes.stride_y + fy) - sizes.top, column = static_cast<int64_t>(index[2] * sizes.stride_x + fx) - sizes.left;
        if (line >= x.dims[1] + sizes.bottom || column >= x.dims[2] + sizes.right) continue;
        ++places;
        if (line < 0 || line >= x.dims[1] || column < 0 || column >= x.dims[2]) continue;
        inside.push_back(at(values, x.dims, {index[0], static_cast<size_t>(line), static_cast<size_t>(column), index[3]}));
      }
    }
    y.push_back(one(inside, places));
  });
  return y;
}

double resized_place(Centers centers, uint32_t from, uint32_t to, uint32_t i) {
  if (centers == Centers::kAligned) return to == 1 ? 0 : i * (from - 1.0) / (to - 1.0);
  if (centers == Centers::kCorner) return static_cast<double>(i) * from / to;
  return (i + 0.5) * from / to - 0.5;
}

std::vector<double> bilinear(const Tensor& x, const Dims& dims, Centers centers) {
  const std::vector<double> values = reals(x);
  std::vector<double> y;
  for_each_index(dims, [&](const Index& index) {
    double sum = 0;
    const double line = std::max(0.0, resized_place(centers, x.dims[1], dims[1], static_cast<uint32_t>(index[1])));
    const double column = std::max(0.0, resized_place(centers, x.dims[2], dims[2], static_cast<uint32_t>(index[2])));
    for (const double low_y : {std::floor(line), std::floor(line) + 1}) {
      for (const double low_x : {std::floor(column), std::floor(column) + 1}) {
        const double share = (1 - std::abs(line - low_y)) * (1 - std::abs(column - low_x));
        const auto at_y = static_cast<size_t>(std::min(low_y, x.dims[1] - 1.0)), at_x = static_cast<size_t>(std::min(low_x, x.dims[2] - 1.0));
        sum += share * at(values, x.dims, {index[0], at_y, at_x, index[3]});
      }
    }
    y.push_back(sum);
  });
  return y;
}

}  // namespace lutra::conformance::reference
