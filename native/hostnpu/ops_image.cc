// Rearranging and resizing NHWC images: DepthToSpace, SpaceToDepth, ResizeBilinear, ResizeNearestNeighbor.
#include <algorithm>
#include <cstring>

#include "hostnpu/elements.h"
#include "hostnpu/move.h"
#include "hostnpu/op.h"
#include "hostnpu/window.h"

namespace lutra::hostnpu {
namespace {

using Dims = std::vector<uint32_t>;

void expect_images(const Node& node) {
  if (node.in(0).dims.size() != 4 || node.out().dims.size() != 4) refuse("input and output do not have rank 4");
}

// --------------------------------------------------------------------------------------------- DepthToSpace, SpaceToDepth

/// From the tensor of deep pixels to that of blocks of pixels.
Move unfold(const Dims& deep, const Pair& block, bool depth_first) {
  const int64_t channels = deep[3] / (block.y * block.x), width = int64_t{deep[2]} * block.x, depth = deep[3];
  const int64_t image = deep[1] * block.y * width * channels;
  Move move;
  move.dims = {deep[0], deep[1], block.y, deep[2], block.x, static_cast<uint32_t>(channels)};
  move.from_strides = {int64_t{deep[1]} * deep[2] * depth, int64_t{deep[2]} * depth, depth_first ? block.x : block.x * channels, depth, depth_first ? 1 : channels,
                       depth_first ? int64_t{block.y} * block.x : 1};
  move.to_strides = {image, block.y * width * channels, width * channels, block.x * channels, channels, 1};
  return move;
}

Move describe_blocks(const Node& node) {
  const Pair block = pair_param(node, "block_size", true);
  const int64_t mode = integer_param(node, "mode", 0);
  if (mode < 0 || mode > 1) refuse("there is no mode " + std::to_string(mode));
  const bool unfolds = node.type == "DepthToSpace";
  const Dims &deep = unfolds ? node.in(0).dims : node.out().dims, &wide = unfolds ? node.out().dims : node.in(0).dims;
  const uint64_t area = uint64_t{block.y} * block.x;
  const bool fits = uint64_t{deep[1]} * block.y == wide[1] && uint64_t{deep[2]} * block.x == wide[2] && uint64_t{wide[3]} * area == deep[3] && deep[0] == wide[0];
  if (!fits) refuse("the shapes are not [n, h, w, c · block] and [n, h · block, w · block, c]");
  Move move = unfold(deep, block, mode == 1);
  if (!unfolds) std::swap(move.from_strides, move.to_strides);
  return move;
}

void check_blocks(const Node& node) {
  expect_params(node, {"block_size", "mode"});
  expect_arity(node, 1, 1);
  expect_same_values(node.in(0), node.out());
  expect_images(node);
  describe_blocks(node);
}

void plan_blocks(const Node& node, Planner& planner) { plan_move(planner, node.in(0), node.out(), describe_blocks(node)); }

// ----------------------------------------------------------------------------------------------------------------- resize

enum class Centers { kCorner, kAligned, kHalf };

Centers centers_of(const Node& node) {
  const bool aligned = bool_param(node, "align_corners", false), half = bool_param(node, "half_pixel_centers", false);
  if (aligned && half) refuse("align_corners and half_pixel_centers exclude each other");
  return aligned ? Centers::kAligned : half ? Centers::kHalf : Centers::kCorner;
}

/// Where a place of the output lies on one dimension of the input: between `low` and `high`, `share` of the way.
struct Between {
  uint32_t low, high;
  float share;
};

/// One dimension of an image that is resized.
struct Resized {
  int64_t from, to;
  Centers centers;

  Between between(int64_t i) const noexcept {
    const int64_t above = centers == Centers::kHalf ? std::max<int64_t>(0, (2 * i + 1) * from - to) : i * (centers == Centers::kAligned ? from - 1 : from);
    const int64_t below = centers == Centers::kHalf ? 2 * to : centers == Centers::kAligned ? gaps() : to;
    const int64_t low = std::min(above / below, from - 1);
    return {static_cast<uint32_t>(low), static_cast<uint32_t>(std::min(low + 1, from - 1)), static_cast<float>(static_cast<double>(above % below) / static_cast<double>(below))};
  }
  uint32_t nearest(int64_t i) const noexcept {
    const int64_t at = centers == Centers::kHalf ? (2 * i + 1) * from / (2 * to) : centers == Centers::kAligned ? (2 * i * (from - 1) + gaps()) / (2 * gaps()) : i * from / to;
    return static_cast<uint32_t>(std::min(at, from - 1));
  }

 private:
  int64_t gaps() const noexcept { return std::max<int64_t>(1, to - 1); }
};

Resized resized(const Node& node, size_t dim, Centers centers) { return {node.in(0).dims[dim], node.out().dims[dim], centers}; }

/// An item is a row of output pixels.
class BilinearStage final : public Stage {
 public:
  BilinearStage(const Node& node, Planner& planner, Centers centers)
      : x_(node.in(0), planner.ops()), y_(node.out(), planner.ops()), rows_(resized(node, 1, centers)), columns_(resized(node, 2, centers)), channels_(node.in(0).dims[3]),
        from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    alignas(64) float upper[kBlock], lower[kBlock];
    for (uint32_t item = begin; item < end; ++item) {
      const Between row = rows_.between(item % rows_.to);
      const int64_t image = item / rows_.to * rows_.from;
      for (int64_t i = 0; i < columns_.to; ++i) {
        const Between column = columns_.between(i);
        const int64_t to = (item * columns_.to + i) * channels_;
        for (int64_t first = 0; first < channels_; first += kBlock) {
          const auto n = static_cast<size_t>(std::min<int64_t>(kBlock, channels_ - first));
          mix(memory[from_], (image + row.low) * columns_.from, column, first, n, upper);
          mix(memory[from_], (image + row.high) * columns_.from, column, first, n, lower);
          for (size_t k = 0; k < n; ++k) upper[k] += (lower[k] - upper[k]) * row.share;
          y_.store(memory[to_], to + first, n, upper);
        }
      }
    }
  }

 private:
  /// Between two pixels of the row that begins with pixel `row`.
  void mix(const std::byte* data, int64_t row, const Between& column, int64_t first, size_t n, float* out) const {
    alignas(64) float right[kBlock];
    x_.load(data, (row + column.low) * channels_ + first, 1, n, out);
    x_.load(data, (row + column.high) * channels_ + first, 1, n, right);
    for (size_t i = 0; i < n; ++i) out[i] += (right[i] - out[i]) * column.share;
  }

  Elements x_, y_;
  Resized rows_, columns_;
  int64_t channels_;
  Slot from_, to_;
};

/// An item is a row of output pixels.
class NearestStage final : public Stage {
 public:
  NearestStage(const Node& node, Planner& planner, Centers centers)
      : pixel_(node.in(0).dims[3] * data_type_size(node.in(0).dtype)), rows_(resized(node, 1, centers)), columns_(resized(node, 2, centers)), from_(planner.slot(node.in(0))),
        to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      const std::byte* row = memory[from_] + static_cast<size_t>((item / rows_.to * rows_.from + rows_.nearest(item % rows_.to)) * columns_.from) * pixel_;
      std::byte* to = memory[to_] + static_cast<size_t>(item * columns_.to) * pixel_;
      for (int64_t i = 0; i < columns_.to; ++i) std::memcpy(to + static_cast<size_t>(i) * pixel_, row + columns_.nearest(i) * pixel_, pixel_);
    }
  }

 private:
  size_t pixel_;  // bytes
  Resized rows_, columns_;
  Slot from_, to_;
};

void check_resize(const Node& node) {
  expect_params(node, {"align_corners", "half_pixel_centers"});
  expect_arity(node, 1, 1);
  expect_images(node);
  centers_of(node);
  const bool bilinear = node.type == "ResizeBilinear";
  expect_type(node.in(0), bilinear ? kTypesReal : kTypesReal & ~kTypeS16);
  expect_type(node.out(), type_of(node.in(0)));
  if (!bilinear) expect_same_values(node.in(0), node.out());
  if (node.in(0).dims[0] != node.out().dims[0] || node.in(0).dims[3] != node.out().dims[3]) refuse("input and output differ in images or channels");
}

template <class ResizeStage>
void plan_resize(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = node.out().dims[0] * node.out().dims[1];
  work.grain = 1;
  work.shared = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<ResizeStage>(node, planner, centers_of(node));
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"DepthToSpace", "any type of whole bytes, the same type and encoding on both sides; [n, h, w, channels]; block_size, mode 0 (DCR) or 1 (CRD)", check_blocks, plan_blocks},
    {"SpaceToDepth", "any type of whole bytes, the same type and encoding on both sides; [n, h, w, channels]; block_size, mode 0 (DCR) or 1 (CRD)", check_blocks, plan_blocks},
    {"ResizeBilinear", "input and output of one type of F32, F16, U8, S8, U16, S16; [n, h, w, channels]; align_corners or half_pixel_centers", check_resize, plan_resize<BilinearStage>},
    {"ResizeNearestNeighbor", "one type of F32, F16, U8, S8, U16 and one encoding on both sides; [n, h, w, channels]; align_corners or half_pixel_centers", check_resize, plan_resize<NearestStage>},
};

}  // namespace

std::span<const OpDefinition> image_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
