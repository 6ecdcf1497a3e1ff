// Conv2d and DepthWiseConv2d on NHWC images.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "hostnpu/box.h"
#include "hostnpu/coefficients.h"
#include "hostnpu/elements.h"
#include "hostnpu/op.h"
#include "hostnpu/product.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;
using Dims = std::vector<uint32_t>;

/// Sizes of a convolution of x [n, h, w, c] by a filter [fh, fw, c / groups, outputs].
struct Window {
  uint32_t images, height, width, channels;
  uint32_t out_height, out_width, outputs;
  uint32_t filter_height, filter_width;
  uint32_t stride_y, stride_x, dilation_y, dilation_x, top, left, groups;

  uint32_t positions() const noexcept { return images * out_height * out_width; }
};

struct Pair {
  uint32_t y, x;
};
Pair pair_param(const Node& node, std::string_view name, bool required) {
  if (!required && node.param(name) == nullptr) return {1, 1};
  const auto words = words_param(node, name, 1);
  if (words.size() != 2 || words[0] == 0 || words[1] == 0) refuse("parameter '" + std::string(name) + "' is not two positive numbers");
  return {words[0], words[1]};
}

/// Positions of a filter along one dimension.
uint32_t positions(uint32_t length, uint32_t before, uint32_t after, uint32_t filter, uint32_t stride, uint32_t dilation) {
  const uint64_t padded = uint64_t{length} + before + after, reach = uint64_t{filter - 1} * dilation + 1;
  if (padded < reach) refuse("the filter is larger than the padded input");
  return static_cast<uint32_t>((padded - reach) / stride + 1);
}

Window describe_window(const Node& node, bool depthwise) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  if (x.dims.size() != 4 || w.dims.size() != 4) refuse("input and filter do not have rank 4");
  const Pair stride = pair_param(node, "stride", true), dilation = pair_param(node, "dilation", false);
  const auto pad = words_param(node, "pad_amount", 2);
  if (pad.size() != 4) refuse("pad_amount is not [2, 2]");
  Window out{};
  out.images = x.dims[0];
  out.height = x.dims[1];
  out.width = x.dims[2];
  out.channels = x.dims[3];
  out.filter_height = w.dims[0];
  out.filter_width = w.dims[1];
  out.outputs = w.dims[3];
  out.stride_y = stride.y;
  out.stride_x = stride.x;
  out.dilation_y = dilation.y;
  out.dilation_x = dilation.x;
  out.top = pad[0];
  out.left = pad[2];
  const int64_t groups = depthwise ? out.channels : integer_param(node, "group", 1);
  if (groups < 1 || groups > out.channels || out.channels % groups != 0 || out.outputs % groups != 0) refuse("the channels do not divide into " + std::to_string(groups) + " groups");
  out.groups = static_cast<uint32_t>(groups);
  if (w.dims[2] != out.channels / out.groups) refuse("the filter takes " + std::to_string(w.dims[2]) + " channels but a group has " + std::to_string(out.channels / out.groups));
  out.out_height = positions(out.height, pad[0], pad[1], out.filter_height, stride.y, dilation.y);
  out.out_width = positions(out.width, pad[2], pad[3], out.filter_width, stride.x, dilation.x);
  return out;
}

const TensorInfo* bias_of(const Node& node) { return node.has_input(2) ? &node.in(2) : nullptr; }

/// The code of zero.
uint32_t zero_code(const TensorInfo& x) { return is_quantized(*element_of(x.dtype)) ? static_cast<uint32_t>(-x.affine().offset) : 0; }

// ----------------------------------------------------------------------------------------------------------------- Conv2d

Product describe_product(const Node& node, const Window& window) {
  Product product;
  product.type = computed_element(node.in(0));
  product.rows = window.positions();
  product.depth = window.filter_height * window.filter_width * (window.channels / window.groups);
  product.outputs = window.outputs / window.groups;
  product.output_stride = 1;
  product.depth_stride = window.outputs;
  product.y_stride = window.outputs;
  product.outputs_differ = window.groups > 1;
  product.weight_axis = 3;
  product.weights.clear();
  product.batches.clear();
  for (uint32_t g = 0; g < window.groups; ++g) {
    product.weights.push_back(size_t{g} * product.outputs);
    product.batches.push_back({g * product.rows, g, size_t{g} * product.outputs});
  }
  return product;
}

void check_conv2d(const Node& node) {
  expect_params(node, {"stride", "pad_amount", "group", "dilation", "reuse_sparse_indices"});
  expect_arity(node, 2, 3);
  if (bool_param(node, "reuse_sparse_indices", false)) refuse("sparse tensors are not supported");
  const Window window = describe_window(node, false);
  expect_dims(node.out(), Dims{window.images, window.out_height, window.out_width, window.outputs});
  check_product(describe_product(node, window), node.in(0), node.in(1), bias_of(node), node.out());
}

/// Lays out what the filter sees at each position as a row, group by group; an item is a position.
class WindowStage final : public Stage {
 public:
  WindowStage(const Window& window, const TensorInfo& x, Slot from, Slot to) : window_(window), size_(data_type_size(x.dtype)), zero_(zero_code(x)), from_(from), to_(to) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint32_t per_group = window_.channels / window_.groups;
    const size_t run = per_group * size_, row = window_.filter_height * window_.filter_width * run;
    for (uint32_t position = begin; position < end; ++position) {
      const uint32_t column = position % window_.out_width, line = position / window_.out_width % window_.out_height, image = position / window_.out_width / window_.out_height;
      for (uint32_t group = 0; group < window_.groups; ++group) {
        std::byte* to = memory[to_] + (size_t{group} * window_.positions() + position) * row;
        for (uint32_t fy = 0; fy < window_.filter_height; ++fy) {
          for (uint32_t fx = 0; fx < window_.filter_width; ++fx, to += run) {
            const int64_t y = int64_t{line} * window_.stride_y + int64_t{fy} * window_.dilation_y - window_.top, x = int64_t{column} * window_.stride_x + int64_t{fx} * window_.dilation_x - window_.left;
            if (y < 0 || y >= window_.height || x < 0 || x >= window_.width) {
              fill(to, per_group);
            } else {
              const size_t pixel = (size_t{image} * window_.height + static_cast<size_t>(y)) * window_.width + static_cast<size_t>(x);
              std::memcpy(to, memory[from_] + (pixel * window_.channels + group * per_group) * size_, run);
            }
          }
        }
      }
    }
  }

 private:
  void fill(std::byte* to, uint32_t count) const {
    // Little endian: the low bytes of the code are its narrower form.
    for (uint32_t i = 0; i < count; ++i) std::memcpy(to + i * size_, &zero_, size_);
  }

  Window window_;
  size_t size_;
  uint32_t zero_;
  Slot from_, to_;
};

/// True when a row of the product is a row of x.
bool is_plain(const Window& w) {
  return w.filter_height == 1 && w.filter_width == 1 && w.stride_y == 1 && w.stride_x == 1 && w.groups == 1 && w.height == w.out_height && w.width == w.out_width && w.top == 0 && w.left == 0;
}

void plan_conv2d(const Node& node, Planner& planner) {
  const Window window = describe_window(node, false);
  const Product product = describe_product(node, window);
  Slot rows = planner.slot(node.in(0));
  if (!is_plain(window)) {
    const size_t bytes = size_t{product.depth} * data_type_size(node.in(0).dtype);
    const Slot windows = planner.scratch(bytes * product.rows * window.groups);
    StagePlan work;
    work.stage = std::make_unique<WindowStage>(window, node.in(0), rows, windows);
    work.items = product.rows;
    work.grain = static_cast<uint32_t>(std::max<size_t>(1, 16384 / (bytes * window.groups)));
    work.shared = {rows};
    work.writes = {windows};
    planner.add(std::move(work));
    rows = windows;
  }
  plan_product(node, product, rows, planner);
}

// --------------------------------------------------------------------------------------------------------- DepthWiseConv2d

/// Each channel with filters of its own; sums in double, which are exact for codes. An item is a row of output pixels.
class DepthWiseStage final : public Stage {
 public:
  DepthWiseStage(const Node& node, Planner& planner, const Window& window, std::vector<double> weights, std::vector<double> multiplier, std::vector<double> bias)
      : window_(window), weights_(std::move(weights)), multiplier_(std::move(multiplier)), bias_(std::move(bias)), type_(computed_element(node.in(0))), ops_(planner.ops()),
        offset_(node.in(0).affine().offset), y_(node.out().affine()), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      for (uint32_t column = 0; column < window_.out_width; ++column) {
        for (uint32_t first = 0; first < window_.outputs; first += kBlock) pixel(memory, item, column, first, std::min<uint32_t>(kBlock, window_.outputs - first));
      }
    }
  }

 private:
  void pixel(Memory memory, uint32_t item, uint32_t column, uint32_t first, uint32_t count) const {
    alignas(64) double sums[kBlock];
    std::fill_n(sums, count, 0.0);
    const uint32_t line = item % window_.out_height, image = item / window_.out_height;
    for (uint32_t fy = 0; fy < window_.filter_height; ++fy) {
      const int64_t y = int64_t{line} * window_.stride_y + int64_t{fy} * window_.dilation_y - window_.top;
      if (y < 0 || y >= window_.height) continue;
      for (uint32_t fx = 0; fx < window_.filter_width; ++fx) {
        const int64_t x = int64_t{column} * window_.stride_x + int64_t{fx} * window_.dilation_x - window_.left;
        if (x < 0 || x >= window_.width) continue;
        const size_t at = ((size_t{image} * window_.height + static_cast<size_t>(y)) * window_.width + static_cast<size_t>(x)) * window_.channels;
        add(memory[from_], at, (size_t{fy} * window_.filter_width + fx) * window_.outputs, first, count, sums);
      }
    }
    store(memory[to_], (size_t{item} * window_.out_width + column) * window_.outputs + first, first, count, sums);
  }

  void add(const std::byte* x, size_t at, size_t filter, uint32_t first, uint32_t count, double* sums) const {
    const uint32_t each = window_.outputs / window_.channels;  // outputs of a channel
    const uint32_t channel = first / each, channels = (first + count - 1) / each - channel + 1;
    alignas(64) float levels[kBlock + 1];
    ops_.convert({type_, {1.0f, offset_}, x + (at + channel) * element_size(type_)}, {Element::kF32, {}, reinterpret_cast<std::byte*>(levels)}, channels);
    for (uint32_t o = 0; o < count; ++o) sums[o] += static_cast<double>(levels[(first + o) / each - channel]) * weights_[filter + first + o];
  }

  void store(std::byte* y, size_t at, uint32_t first, uint32_t count, const double* sums) const {
    if (!is_quantized(type_)) {
      alignas(64) float values[kBlock];
      for (uint32_t o = 0; o < count; ++o) values[o] = static_cast<float>(sums[o] * multiplier_[first + o] + bias_[first + o]);
      return ops_.convert({Element::kF32, {}, reinterpret_cast<const std::byte*>(values)}, {type_, {}, y + at * element_size(type_)}, count);
    }
    const double lo = lowest_code(type_) + y_.offset, hi = highest_code(type_) + y_.offset;
    for (uint32_t o = 0; o < count; ++o) {
      const double value = std::clamp((sums[o] + bias_[first + o]) * multiplier_[first + o], lo, hi);
      const auto code = static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(value)) - y_.offset);
      std::memcpy(y + (at + o) * element_size(type_), &code, element_size(type_));
    }
  }

  Window window_;
  std::vector<double> weights_, multiplier_, bias_;
  Element type_;
  const kernels::NpuOpKernels& ops_;
  int32_t offset_;
  kernels::Affine y_;
  Slot from_, to_;
};

/// The product of one channel, for the checks and the coefficients.
Product describe_channel(const Node& node, const Window& window) {
  Product product;
  product.type = computed_element(node.in(0));
  product.rows = 1;
  product.depth = window.filter_height * window.filter_width;
  product.outputs = window.outputs;
  product.weight_axis = 3;
  return product;
}

void check_depthwise(const Node& node) {
  expect_params(node, {"stride", "pad_amount", "dilation"});
  expect_arity(node, 2, 3);
  if (!node.in(1).is_static()) refuse("the filter is not constant");
  const Window window = describe_window(node, true);
  expect_dims(node.out(), Dims{window.images, window.out_height, window.out_width, window.outputs});
  const Product product = describe_channel(node, window);
  if (product.type == Element::kF16 && node.in(1).dtype != abi::DataType::kFloat16) refuse("F16 takes an F16 filter");
  check_product(product, node.in(0), node.in(1), bias_of(node), node.out());
}

void plan_depthwise(const Node& node, Planner& planner) {
  const Window window = describe_window(node, true);
  const Product product = describe_channel(node, window);
  const TensorInfo &x = node.in(0), &w = node.in(1);
  const Coefficients coefficients(product, x, w, bias_of(node), node.out());
  const Slot filter = planner.slot(w);  // keeps its raw data
  (void)filter;
  std::vector<float> levels(w.elements());
  const Element type = *element_of(w.dtype);
  planner.ops().convert({type, {1.0f, w.affine().offset}, w.data->raw().data()}, {Element::kF32, {}, reinterpret_cast<std::byte*>(levels.data())}, levels.size());
  std::vector<double> multiplier(window.outputs), bias(window.outputs);
  for (uint32_t o = 0; o < window.outputs; ++o) {
    multiplier[o] = coefficients.multiplier_of(0, o);
    bias[o] = coefficients.bias(0, o);
  }
  StagePlan work;
  work.items = window.images * window.out_height;
  work.grain = 1;
  work.shared = {planner.slot(x)};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<DepthWiseStage>(node, planner, window, std::vector<double>(levels.begin(), levels.end()), std::move(multiplier), std::move(bias));
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Conv2d",
     "the types of FullyConnected; x [n, h, w, channels], filter [h, w, channels / group, outputs], a scale per output on axis 3; stride, pad_amount, dilation, group; optional constant bias",
     check_conv2d, plan_conv2d},
    {"DepthWiseConv2d",
     "the types of FullyConnected but F16 x S8; x [n, h, w, channels], constant filter [h, w, 1, channels · multiplier], a scale per output on axis 3; stride, pad_amount, dilation; optional "
     "constant bias",
     check_depthwise, plan_depthwise},
};

}  // namespace

std::span<const OpDefinition> conv_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
