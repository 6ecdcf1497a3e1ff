// Images: pools, transposed convolutions, blocks of pixels, resizing.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

using reference::Index;
using Words = std::vector<uint32_t>;
using Params = std::vector<qnn::ParamDesc>;

const std::vector<DT> kNoS16 = {kF16, kF32, kU8, kS8, kU16};

size_t image(GraphSpec& g, DT dtype, const Dims& dims) { return g.input("x", {dtype, Fit::kMinMax, 0.001}, dims, normal(g.random(), element_count(dims), 0.3)); }

std::string pair_name(uint32_t y, uint32_t x) { return std::to_string(y) + "x" + std::to_string(x); }

// ------------------------------------------------------------------------------------------------------------------ pools

struct PoolShape {
  Dims dims;
  reference::Pool sizes;
  bool partial = false;  // windows may stand out at the end (rounding_mode 1)
  bool counts_padding = false;
  std::vector<DT> types = {kF16, kU8};
  const char* exception = "";
};

constexpr const char* kPartial = "takes neighbours beyond the row into windows that stand out of the image (runtime 2.51)";
constexpr const char* kCounted = "gives zeros when the padding counts and there is one channel (runtime 2.51)";

const std::vector<PoolShape>& pool_shapes() {
  static const std::vector<PoolShape> shapes = {
      {{1, 8, 12, 32}, {2, 2, 2, 2, 0, 0, 0, 0}, false, false, {kF16, kF32, kU8, kS8, kU16, kS16}},
      {{1, 9, 7, 16}, {3, 3, 1, 1, 1, 1, 1, 1}, false, false, {kF16, kU8, kU16}},
      {{2, 7, 11, 5}, {3, 2, 2, 3, 1, 0, 0, 1}},
      {{1, 8, 8, 33}, {8, 8, 1, 1, 0, 0, 0, 0}},
      {{1, 9, 9, 16}, {3, 3, 2, 2, 0, 0, 0, 0}, true},
      {{1, 5, 5, 16}, {2, 2, 2, 2, 0, 0, 0, 0}, true, false, {kF16}, kPartial},
      {{1, 8, 8, 16}, {3, 3, 1, 1, 1, 1, 1, 1}, false, true},
      {{1, 4, 4, 1}, {3, 3, 1, 1, 1, 1, 1, 1}, false, true, {kF16}, kCounted},
  };
  return shapes;
}

uint32_t places(uint32_t length, uint32_t padding, uint32_t filter, uint32_t stride, bool partial) {
  const uint32_t room = length + padding - filter;
  return (partial ? (room + stride - 1) / stride : room / stride) + 1;
}

GraphSpec pool_graph(bool average, const PoolShape& shape, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const reference::Pool& s = shape.sizes;
  const size_t x = image(g, dtype, shape.dims);
  const Dims dims{shape.dims[0], places(shape.dims[1], s.top + s.bottom, s.height, s.stride_y, shape.partial), places(shape.dims[2], s.left + s.right, s.width, s.stride_x, shape.partial), shape.dims[3]};
  std::vector<double> y = reference::pool(g.tensor(x), s, dims, [&](std::span<const double> inside, size_t places_inside) {
    if (!average) return *std::max_element(inside.begin(), inside.end());
    return std::accumulate(inside.begin(), inside.end(), 0.0) / static_cast<double>(shape.counts_padding ? places_inside : inside.size());
  });
  Params params = {qnn::ParamDesc::tensor("filter_size", {2}, {s.height, s.width}), qnn::ParamDesc::tensor("stride", {2}, {s.stride_y, s.stride_x}),
                   qnn::ParamDesc::tensor("pad_amount", {2, 2}, {s.top, s.bottom, s.left, s.right}), qnn::ParamDesc::u32("rounding_mode", shape.partial ? 1 : 0)};
  if (shape.counts_padding) params.push_back(qnn::ParamDesc::boolean("count_pad_for_edges", true));
  g.output(g.apply(average ? "PoolAvg2d" : "PoolMax2d", {x}, params, {"y", {dtype, Fit::kMinMax}, dims, std::move(y)}));
  return g;
}

void add_pools(std::vector<Case>& cases) {
  for (const bool average : {true, false}) {
    for (const PoolShape& shape : pool_shapes()) {
      if (shape.counts_padding && !average) continue;
      for (const DT dtype : shape.types) {
        if (average && dtype == kS16) continue;
        const reference::Pool& s = shape.sizes;
        std::string name = std::string(average ? "PoolAvg2d_" : "PoolMax2d_") + short_name(dtype) + "_" + shape_name(shape.dims) + "_of" + pair_name(s.height, s.width) + "_stride" +
                           pair_name(s.stride_y, s.stride_x) + (s.top + s.bottom + s.left + s.right == 0 ? "" : "_padded") + (shape.partial ? "_ceil" : "") + (shape.counts_padding ? "_counted" : "");
        Case c{std::move(name), usual_bound(dtype), [average, &shape, dtype](uint32_t seed) { return pool_graph(average, shape, dtype, seed); }, false, average ? shape.exception : ""};
        if (average && dtype == kU16) c.qualcomm = Bound::kLinear16;
        cases.push_back(std::move(c));
      }
    }
  }
}

// --------------------------------------------------------------------------------------------------- transposed convolution

struct TransposeRow {
  DT x, w;
  Dims dims, filter;
  uint32_t stride_y, stride_x, top, bottom, left, right;
  uint32_t extra_y = 0, extra_x = 0, groups = 1;
  bool bias = false, per_output = false;
};

const std::vector<TransposeRow>& transpose_rows() {
  static const std::vector<TransposeRow> rows = {
      {kF16, kF16, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kF32, kF32, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kU8, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kU8, kU8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kS8, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kU16, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kS16, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0},
      {kU8, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0, 0, 0, 1, true, true},
      {kU16, kS8, {1, 6, 5, 16}, {2, 2, 16, 24}, 2, 2, 0, 0, 0, 0, 0, 0, 1, true, true},
      {kF16, kF16, {1, 6, 5, 16}, {3, 3, 16, 8}, 1, 1, 1, 1, 1, 1, 0, 0, 1, true},
      {kU8, kS8, {1, 6, 5, 16}, {3, 3, 16, 8}, 1, 1, 1, 1, 1, 1, 0, 0, 1, true},
      {kF16, kF16, {2, 4, 7, 5}, {3, 4, 5, 9}, 2, 3, 1, 0, 0, 2},
      {kU8, kS8, {2, 4, 7, 5}, {3, 4, 5, 9}, 2, 3, 1, 0, 0, 2},
      {kF16, kF16, {1, 4, 4, 8}, {3, 3, 8, 8}, 2, 2, 1, 1, 1, 1, 1, 1},
      {kU8, kS8, {1, 4, 4, 8}, {3, 3, 8, 8}, 2, 2, 1, 1, 1, 1, 1, 1},
      {kF16, kF16, {1, 4, 4, 8}, {2, 2, 8, 3}, 2, 2, 0, 0, 0, 0, 0, 0, 4},
      {kU8, kS8, {1, 4, 4, 8}, {2, 2, 8, 3}, 2, 2, 0, 0, 0, 0, 0, 0, 4},
  };
  return rows;
}

GraphSpec transpose_graph(const TransposeRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const uint32_t outputs = row.filter[3] * row.groups;
  const Dims dims{row.dims[0], (row.dims[1] - 1) * row.stride_y + row.filter[0] - row.top - row.bottom + row.extra_y, (row.dims[2] - 1) * row.stride_x + row.filter[1] - row.left - row.right + row.extra_x,
                  outputs};
  const size_t x = g.input("x", {row.x, row.x == kS8 || row.x == kS16 ? Fit::kSymmetric : Fit::kMinMax, 0.0005}, row.dims, normal(g.random(), element_count(row.dims), 0.3));
  const std::vector<double> values = normal(g.random(), element_count(row.filter), 0, 1 / std::sqrt(static_cast<double>(row.filter[2] / row.groups)));
  const size_t w = row.per_output ? g.axis_constant("w", row.filter, 3, values, 8) : g.constant("w", Target{row.w, Fit::kSymmetric}, row.filter, values);
  std::vector<size_t> inputs = {x, w};
  if (row.bias) inputs.push_back(g.sum_bias("b", x, w, outputs));
  const reference::Convolution sizes{row.stride_y, row.stride_x, 1, 1, row.top, row.left, row.groups};
  std::vector<double> y = reference::transposed_convolution(g.tensor(x), g.tensor(w), row.bias ? &g.tensor(inputs[2]) : nullptr, sizes, dims);
  Params params = {qnn::ParamDesc::tensor("stride", {2}, {row.stride_y, row.stride_x}), qnn::ParamDesc::tensor("pad_amount", {2, 2}, {row.top, row.bottom, row.left, row.right})};
  if (row.groups > 1) params.push_back(qnn::ParamDesc::u32("group", row.groups));
  if (row.extra_y + row.extra_x > 0) params.push_back(qnn::ParamDesc::tensor("output_padding", {2}, {row.extra_y, row.extra_x}));
  g.output(g.apply("TransposeConv2d", inputs, params, {"y", {row.x, row.x == kS8 || row.x == kS16 ? Fit::kSymmetric : Fit::kMinMax, 0.0005}, dims, std::move(y)}));
  return g;
}

void add_transposed(std::vector<Case>& cases) {
  for (const TransposeRow& row : transpose_rows()) {
    std::string name = "TransposeConv2d_" + short_name(row.x) + "_by_" + short_name(row.w) + "_" + shape_name(row.dims) + "_by_" + shape_name(row.filter) + "_stride" + pair_name(row.stride_y, row.stride_x);
    if (row.groups > 1) name += "_groups" + std::to_string(row.groups);
    if (row.extra_y + row.extra_x > 0) name += "_extra";
    if (row.bias) name += "_bias";
    if (row.per_output) name += "_per_output";
    const Bound bound = is_float(row.x) ? Bound::kFloat : row.x == kU16 || row.x == kS16 ? Bound::kLinear16 : Bound::kLinear8;
    Case c{std::move(name), bound, [&row](uint32_t seed) { return transpose_graph(row, seed); }};
    if (row.x == kU16 && row.per_output) c.exception = "is off by up to 4 of 65536 steps (runtime 2.51)";
    cases.push_back(std::move(c));
  }
}

// -------------------------------------------------------------------------------------------------------- blocks of pixels

struct BlockRow {
  Dims wide;  // [n, h · block, w · block, c]
  uint32_t block_y, block_x, mode;
  std::vector<DT> types;
};

const std::vector<BlockRow>& block_rows() {
  static const std::vector<BlockRow> rows = {
      {{1, 8, 6, 8}, 2, 2, 0, kNoS16},
      {{1, 8, 6, 8}, 2, 2, 1, {kF16, kU8}},
      {{2, 6, 10, 3}, 3, 2, 0, {kF16, kU8}},
      {{1, 4, 12, 5}, 1, 4, 1, {kU8}},
  };
  return rows;
}

GraphSpec block_graph(bool to_space, const BlockRow& row, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const uint32_t channels = row.wide[3], area = row.block_y * row.block_x;
  const Dims deep{row.wide[0], row.wide[1] / row.block_y, row.wide[2] / row.block_x, channels * area};
  const auto depth_of = [&](size_t y, size_t x, size_t c) { return row.mode == 0 ? (y * row.block_x + x) * channels + c : c * area + y * row.block_x + x; };
  const size_t x = image(g, dtype, to_space ? deep : row.wide);
  std::vector<double> y = reference::rearrange(g.tensor(x), to_space ? row.wide : deep, [&](const Index& i) {
    if (to_space) return Index{i[0], i[1] / row.block_y, i[2] / row.block_x, depth_of(i[1] % row.block_y, i[2] % row.block_x, i[3])};
    for (size_t by = 0; by < row.block_y; ++by) {
      for (size_t bx = 0; bx < row.block_x; ++bx) {
        for (size_t c = 0; c < channels; ++c) {
          if (depth_of(by, bx, c) == i[3]) return Index{i[0], i[1] * row.block_y + by, i[2] * row.block_x + bx, c};
        }
      }
    }
    return Index{};
  });
  const Params params = {qnn::ParamDesc::tensor("block_size", {2}, {row.block_y, row.block_x}), qnn::ParamDesc::u32("mode", row.mode)};
  g.output(g.apply(to_space ? "DepthToSpace" : "SpaceToDepth", {x}, params, {"y", {dtype}, to_space ? row.wide : deep, std::move(y), x}));
  return g;
}

void add_blocks(std::vector<Case>& cases) {
  for (const bool to_space : {true, false}) {
    for (const BlockRow& row : block_rows()) {
      for (const DT dtype : row.types) {
        const std::string name = std::string(to_space ? "DepthToSpace_" : "SpaceToDepth_") + short_name(dtype) + "_" + shape_name(row.wide) + "_by" + pair_name(row.block_y, row.block_x) + "_mode" + std::to_string(row.mode);
        Case c{name, Bound::kExact, [to_space, &row, dtype](uint32_t seed) { return block_graph(to_space, row, dtype, seed); }};
        if (dtype == kF32) c.qualcomm = Bound::kFloat;
        cases.push_back(std::move(c));
      }
    }
  }
}

// ----------------------------------------------------------------------------------------------------------------- resize

struct ResizeRow {
  bool bilinear;
  Dims from;
  uint32_t height, width;
  reference::Centers centers;
  std::vector<DT> types;
};

const std::vector<ResizeRow>& resize_rows() {
  using enum reference::Centers;
  static const std::vector<ResizeRow> rows = {
      {true, {1, 6, 8, 16}, 12, 16, kHalf, {kF16, kF32, kU8, kS8, kU16, kS16}},
      {true, {1, 6, 8, 16}, 12, 16, kCorner, {kF16, kU8}},
      {true, {1, 6, 8, 16}, 12, 16, kAligned, {kF16, kU8}},
      {true, {1, 7, 9, 5}, 10, 4, kHalf, {kF16, kU8}},
      {true, {2, 5, 9, 8}, 3, 13, kCorner, {kF16, kU8}},
      {false, {1, 6, 8, 16}, 12, 16, kHalf, kNoS16},
      {false, {1, 6, 8, 16}, 12, 16, kCorner, {kF16, kU8}},
      {false, {1, 6, 8, 16}, 12, 16, kAligned, {kF16, kU8}},
      {false, {1, 7, 9, 5}, 10, 4, kHalf, {kF16, kU8}},
      {false, {2, 5, 9, 8}, 3, 13, kCorner, {kF16, kU8}},
  };
  return rows;
}

size_t nearest_place(reference::Centers centers, uint32_t from, uint32_t to, size_t i) {
  const double at = reference::resized_place(centers, from, to, static_cast<uint32_t>(i));
  // In the middle between two the later one; areas and corners: the pixel that the place is in.
  const double place = centers == reference::Centers::kCorner ? std::floor(at + 1e-9) : std::floor(at + 0.5 + 1e-9);
  return static_cast<size_t>(std::clamp(place, 0.0, from - 1.0));
}

GraphSpec resize_graph(const ResizeRow& row, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = image(g, dtype, row.from);
  const Dims dims{row.from[0], row.height, row.width, row.from[3]};
  Output output{"y", {dtype, Fit::kMinMax}, dims, {}};
  if (row.bilinear) {
    output.exact = reference::bilinear(g.tensor(x), dims, row.centers);
  } else {
    output.exact = reference::rearrange(g.tensor(x), dims, [&](Index index) {
      index[1] = nearest_place(row.centers, row.from[1], row.height, index[1]);
      index[2] = nearest_place(row.centers, row.from[2], row.width, index[2]);
      return index;
    });
    output.encoding_of = x;
  }
  const Params params = {qnn::ParamDesc::boolean("align_corners", row.centers == reference::Centers::kAligned), qnn::ParamDesc::boolean("half_pixel_centers", row.centers == reference::Centers::kHalf)};
  g.output(g.apply(row.bilinear ? "ResizeBilinear" : "ResizeNearestNeighbor", {x}, params, std::move(output)));
  return g;
}

void add_resizes(std::vector<Case>& cases) {
  static constexpr const char* kCenters[] = {"aligned", "corner", "half"};
  for (const ResizeRow& row : resize_rows()) {
    for (const DT dtype : row.types) {
      const std::string name = std::string(row.bilinear ? "ResizeBilinear_" : "ResizeNearestNeighbor_") + short_name(dtype) + "_" + shape_name(row.from) + "_to_" + pair_name(row.height, row.width) + "_" +
                               kCenters[static_cast<size_t>(row.centers)];
      Case c{name, row.bilinear ? usual_bound(dtype) : Bound::kExact, [&row, dtype](uint32_t seed) { return resize_graph(row, dtype, seed); }};
      if (dtype == kF32) c.qualcomm = Bound::kFloat;
      if (row.bilinear && (dtype == kU16 || dtype == kS16)) c.qualcomm = Bound::kLinear16;
      if (!row.bilinear) c.span = 0.5;
      cases.push_back(std::move(c));
    }
  }
}

}  // namespace

void add_spatial_cases(std::vector<Case>& cases) {
  add_pools(cases);
  add_transposed(cases);
  add_blocks(cases);
  add_resizes(cases);
}

}  // namespace lutra::conformance
