// PoolAvg2d and PoolMax2d on NHWC images.
#include <algorithm>
#include <limits>

#include "hostnpu/elements.h"
#include "hostnpu/op.h"
#include "hostnpu/window.h"

namespace lutra::hostnpu {
namespace {

bool is_average(const Node& node) { return node.type == "PoolAvg2d"; }

/// Places of the pool along one dimension. Refuses windows that hold nothing of the image.
uint32_t pool_places(uint32_t length, uint32_t before, uint32_t after, uint32_t filter, uint32_t stride, bool partial) {
  const uint32_t places = window_places(length, before, after, filter, stride, 1, partial);
  if (before >= filter || uint64_t{places - 1} * stride >= uint64_t{length} + before) refuse("a window lies in the padding");
  return places;
}

struct Pool {
  Window window;
  Padding pad;
};

Pool describe(const Node& node) {
  const TensorInfo& x = node.in(0);
  if (x.dims.size() != 4) refuse("the input does not have rank 4");
  const Pair filter = pair_param(node, "filter_size", true), stride = pair_param(node, "stride", false);
  const Padding pad = node.param("pad_amount") == nullptr ? Padding{} : padding_param(node);
  const int64_t rounding = integer_param(node, "rounding_mode", 0);
  if (rounding < 0 || rounding > 1) refuse("there is no rounding_mode " + std::to_string(rounding));
  Window w{};
  w.images = x.dims[0];
  w.height = x.dims[1];
  w.width = x.dims[2];
  w.channels = w.outputs = x.dims[3];
  w.filter_height = filter.y;
  w.filter_width = filter.x;
  w.stride_y = stride.y;
  w.stride_x = stride.x;
  w.top = pad.top;
  w.left = pad.left;
  w.out_height = pool_places(w.height, pad.top, pad.bottom, filter.y, stride.y, rounding == 1);
  w.out_width = pool_places(w.width, pad.left, pad.right, filter.x, stride.x, rounding == 1);
  return {w, pad};
}

/// A range of places along one dimension.
struct Range {
  uint32_t begin, end;   // of the image
  uint32_t padded;       // how many with the padding
};
Range range_of(uint32_t place, uint32_t stride, uint32_t filter, uint32_t before, uint32_t after, uint32_t length) {
  const int64_t first = int64_t{place} * stride - before, last = first + filter;
  return {static_cast<uint32_t>(std::max<int64_t>(first, 0)), static_cast<uint32_t>(std::min<int64_t>(last, length)), static_cast<uint32_t>(std::min<int64_t>(last, int64_t{length} + after) - first)};
}

/// An item is a row of output pixels.
class PoolStage final : public Stage {
 public:
  PoolStage(const Node& node, Planner& planner, const Pool& pool)
      : w_(pool.window), pad_(pool.pad), x_(node.in(0), planner.ops()), y_(node.out(), planner.ops()), is_average_(is_average(node)),
        counts_padding_(bool_param(node, "count_pad_for_edges", false)), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      const Range rows = range_of(item % w_.out_height, w_.stride_y, w_.filter_height, pad_.top, pad_.bottom, w_.height);
      const size_t image = size_t{item / w_.out_height} * w_.height;
      for (uint32_t column = 0; column < w_.out_width; ++column) {
        const Range columns = range_of(column, w_.stride_x, w_.filter_width, pad_.left, pad_.right, w_.width);
        for (uint32_t first = 0; first < w_.channels; first += kBlock) {
          pixel(memory, image, rows, columns, (size_t{item} * w_.out_width + column) * w_.channels + first, first, std::min<uint32_t>(kBlock, w_.channels - first));
        }
      }
    }
  }

 private:
  void pixel(Memory memory, size_t image, const Range& rows, const Range& columns, size_t to, uint32_t first, uint32_t n) const {
    alignas(64) float block[kBlock], totals[kBlock];
    std::fill_n(totals, n, is_average_ ? 0.0f : -std::numeric_limits<float>::infinity());
    for (uint32_t y = rows.begin; y < rows.end; ++y) {
      for (uint32_t x = columns.begin; x < columns.end; ++x) {
        x_.load(memory[from_], static_cast<int64_t>(((image + y) * w_.width + x) * w_.channels + first), 1, n, block);
        if (is_average_) {
          for (uint32_t i = 0; i < n; ++i) totals[i] += block[i];
        } else {
          for (uint32_t i = 0; i < n; ++i) totals[i] = totals[i] < block[i] ? block[i] : totals[i];
        }
      }
    }
    if (is_average_) {
      const uint32_t count = counts_padding_ ? rows.padded * columns.padded : (rows.end - rows.begin) * (columns.end - columns.begin);
      for (uint32_t i = 0; i < n; ++i) totals[i] /= static_cast<float>(count);
    }
    y_.store(memory[to_], static_cast<int64_t>(to), n, totals);
  }

  Window w_;
  Padding pad_;
  Elements x_, y_;
  bool is_average_, counts_padding_;
  Slot from_, to_;
};

void check(const Node& node) {
  if (is_average(node)) {
    expect_params(node, {"filter_size", "stride", "pad_amount", "rounding_mode", "count_pad_for_edges"});
  } else {
    expect_params(node, {"filter_size", "stride", "pad_amount", "rounding_mode"});
  }
  expect_arity(node, 1, 1);
  expect_type(node.in(0), is_average(node) ? kTypesReal & ~kTypeS16 : kTypesReal);
  expect_type(node.out(), type_of(node.in(0)));
  bool_param(node, "count_pad_for_edges", false);
  const Window w = describe(node).window;
  expect_dims(node.out(), std::vector<uint32_t>{w.images, w.out_height, w.out_width, w.channels});
}

void plan(const Node& node, Planner& planner) {
  const Pool pool = describe(node);
  StagePlan work;
  work.items = pool.window.images * pool.window.out_height;
  work.grain = 1;
  work.shared = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<PoolStage>(node, planner, pool);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"PoolAvg2d", "input and output of one type of F32, F16, U8, S8, U16; [n, h, w, channels]; filter_size, stride, pad_amount, rounding_mode, count_pad_for_edges", check, plan},
    {"PoolMax2d", "input and output of one type of F32, F16, U8, S8, U16, S16; [n, h, w, channels]; filter_size, stride, pad_amount, rounding_mode", check, plan},
};

}  // namespace

std::span<const OpDefinition> pool_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
