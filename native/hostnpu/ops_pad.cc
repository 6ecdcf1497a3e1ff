// Pad: a border of a constant, of the mirrored tensor, or of its edge.
#include <algorithm>
#include <array>
#include <cstring>

#include "hostnpu/box.h"
#include "hostnpu/elements.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

enum class Scheme : int64_t { kConstant = 0, kMirrorSymmetric = 1, kMirrorReflect = 2, kEdge = 3 };
constexpr int64_t kOutside = -1;
constexpr uint32_t kTaskElements = 16384;

/// Where the element at place `i` of a dimension comes from, of which the tensor has [0, length).
int64_t source(Scheme scheme, int64_t i, int64_t length) noexcept {
  if (i >= 0 && i < length) return i;
  switch (scheme) {
    case Scheme::kConstant: return kOutside;
    case Scheme::kMirrorSymmetric: return i < 0 ? -1 - i : 2 * length - 1 - i;
    case Scheme::kMirrorReflect: return i < 0 ? -i : 2 * length - 2 - i;
    case Scheme::kEdge: return i < 0 ? 0 : length - 1;
  }
  return kOutside;
}

struct Padded {
  Scheme scheme;
  std::vector<uint32_t> before;
  std::vector<uint32_t> dims;  // of the output
};

Padded describe(const Node& node) {
  const auto& from = node.in(0).dims;
  const int64_t scheme = integer_param(node, "scheme", 0);
  if (scheme < 0 || scheme > 3) refuse("there is no scheme " + std::to_string(scheme));
  const auto amounts = words_param(node, "pad_amount", 2);
  if (amounts.size() != 2 * from.size()) refuse("pad_amount does not have a row of 2 for each dimension");
  Padded out{static_cast<Scheme>(scheme), {}, {}};
  for (size_t i = 0; i < from.size(); ++i) {
    const uint32_t before = amounts[2 * i], after = amounts[2 * i + 1];
    const uint32_t most = out.scheme == Scheme::kMirrorSymmetric ? from[i] : out.scheme == Scheme::kMirrorReflect ? from[i] - 1 : UINT32_MAX;
    if (before > most || after > most) refuse("the padding of dimension " + std::to_string(i) + " is longer than what can be mirrored");
    const uint64_t length = uint64_t{from[i]} + before + after;
    if (length > UINT32_MAX) refuse("dimension " + std::to_string(i) + " of the output is too long");
    out.before.push_back(before);
    out.dims.push_back(static_cast<uint32_t>(length));
  }
  return out;
}

/// An item is a row of the output.
class PadStage final : public Stage {
 public:
  PadStage(const Node& node, Planner& planner, const Padded& padded)
      : size_(data_type_size(node.out().dtype)), padded_(padded), lengths_(node.in(0).dims), strides_(dense_strides(lengths_)), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {
    const float value = float_param(node, "pad_constant_value", 0.0f);
    Elements(node.out(), planner.ops()).store(constant_.data(), 0, 1, &value);
  }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint32_t columns = padded_.dims.back(), before = padded_.before.back(), length = lengths_.back();
    for (uint32_t row = begin; row < end; ++row) {
      std::byte* to = memory[to_] + size_t{row} * columns * size_;
      const int64_t first = first_of(row);
      if (first == kOutside) {
        for (uint32_t c = 0; c < columns; ++c) std::memcpy(to + c * size_, constant_.data(), size_);
        continue;
      }
      const std::byte* from = memory[from_] + first * static_cast<int64_t>(size_);
      border(from, to, 0, before);
      std::memcpy(to + before * size_, from, length * size_);
      border(from, to, before + length, columns);
    }
  }

 private:
  /// The first element of the row of x that a row of the output is made of.
  int64_t first_of(uint32_t row) const noexcept {
    int64_t first = 0;
    for (size_t i = lengths_.size() - 1; i-- > 0;) {
      const int64_t at = source(padded_.scheme, int64_t{row % padded_.dims[i]} - padded_.before[i], lengths_[i]);
      row /= padded_.dims[i];
      if (at == kOutside) return kOutside;
      first += at * strides_[i];
    }
    return first;
  }
  void border(const std::byte* from, std::byte* to, uint32_t begin, uint32_t end) const noexcept {
    for (uint32_t c = begin; c < end; ++c) {
      const int64_t at = source(padded_.scheme, int64_t{c} - padded_.before.back(), lengths_.back());
      std::memcpy(to + c * size_, at == kOutside ? constant_.data() : from + at * static_cast<int64_t>(size_), size_);
    }
  }

  size_t size_;
  Padded padded_;
  std::vector<uint32_t> lengths_;  // of x
  std::vector<int64_t> strides_;
  std::array<std::byte, 8> constant_{};
  Slot from_, to_;
};

void check(const Node& node) {
  expect_params(node, {"scheme", "pad_amount", "pad_constant_value"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), kTypesReal | kTypesIndex | kTypeBool);
  expect_same_values(node.in(0), node.out());
  float_param(node, "pad_constant_value", 0.0f);
  expect_dims(node.out(), describe(node).dims);
}

void plan(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.grain = std::max(1u, kTaskElements / node.out().last_dim());
  work.shared = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<PadStage>(node, planner, describe(node));
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Pad", "F32, F16, U8, S8, U16, S16, INT32, UINT32, BOOL8, the same encoding on both sides; scheme 0 (constant), 1 (mirror symmetric), 2 (mirror reflect), 3 (edge)", check, plan},
};

}  // namespace

std::span<const OpDefinition> pad_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
