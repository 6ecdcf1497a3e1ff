#include "hostnpu/box.h"

#include <algorithm>

namespace lutra::hostnpu {

std::vector<int64_t> dense_strides(std::span<const uint32_t> dims) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

std::vector<int64_t> broadcast_strides(std::span<const uint32_t> dims, std::span<const uint32_t> whole) {
  // Leading ones beyond the rank of `whole` say nothing.
  while (dims.size() > whole.size() && dims[0] == 1) dims = dims.subspan(1);
  if (dims.size() > whole.size()) return {};
  std::vector<int64_t> strides(whole.size(), 0);
  const std::vector<int64_t> own = dense_strides(dims);
  const size_t missing = whole.size() - dims.size();
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == whole[missing + i]) {
      strides[missing + i] = own[i];
    } else if (dims[i] != 1) {
      return {};
    }
  }
  return strides;
}

std::vector<uint32_t> broadcast_dims(std::span<const uint32_t> a, std::span<const uint32_t> b) {
  if (a.size() < b.size()) std::swap(a, b);
  std::vector<uint32_t> dims(a.begin(), a.end());
  for (size_t i = 0; i < b.size(); ++i) {
    uint32_t& dim = dims[a.size() - b.size() + i];
    if (dim == 1) {
      dim = b[i];
    } else if (b[i] != 1 && b[i] != dim) {
      return {};
    }
  }
  return dims;
}

Box::Box(std::vector<uint32_t> dims, std::vector<std::vector<int64_t>> strides, bool join_last) : operands_(strides.size()) {
  // Two dimensions are one when each operand goes from the end of the inner one to the next of the outer one by the same step.
  const auto joins = [&](size_t outer) {
    return std::all_of(strides.begin(), strides.end(), [&](const auto& s) { return s[outer] == s[outer + 1] * static_cast<int64_t>(dims[outer + 1]); });
  };
  const auto erase = [&](size_t at) {
    dims.erase(dims.begin() + static_cast<ptrdiff_t>(at));
    for (auto& s : strides) s.erase(s.begin() + static_cast<ptrdiff_t>(at));
  };
  for (size_t i = 0; i + 1 < dims.size();) {
    const bool last = i + 2 == dims.size();
    if (last && !join_last) break;
    if (dims[i] == 1) {
      erase(i);
    } else if (dims[i + 1] == 1 && (!last || join_last)) {
      erase(i + 1);
    } else if (joins(i)) {
      dims[i + 1] *= dims[i];
      erase(i);
      i = i == 0 ? 0 : i - 1;
    } else {
      ++i;
    }
  }
  outer_ = dims.size() - 1;
  columns_ = dims.back();
  for (size_t o = 0; o < operands_; ++o) steps_[o] = strides[o].back();
  for (size_t i = 0; i < outer_; ++i) {
    dims_[i] = dims[i];
    rows_ *= dims[i];
    for (size_t o = 0; o < operands_; ++o) strides_[i][o] = strides[o][i];
  }
}

bool Box::dense(size_t operand) const noexcept {
  if (steps_[operand] != 1 && columns_ != 1) return false;
  int64_t stride = columns_;
  for (size_t i = outer_; i-- > 0;) {
    if (dims_[i] != 1 && strides_[i][operand] != stride) return false;
    stride *= dims_[i];
  }
  return true;
}

std::array<int64_t, Box::kMaxOperands> Box::row(uint32_t index) const noexcept {
  std::array<int64_t, kMaxOperands> at{};
  for (size_t i = outer_; i-- > 0;) {
    const uint32_t position = index % dims_[i];
    index /= dims_[i];
    for (size_t o = 0; o < operands_; ++o) at[o] += strides_[i][o] * position;
  }
  return at;
}

}  // namespace lutra::hostnpu
