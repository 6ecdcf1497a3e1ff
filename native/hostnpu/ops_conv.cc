// Conv2d and DepthWiseConv2d on NHWC images.
#include <algorithm>
#include <cstring>

#include "hostnpu/direct_sums.h"
#include "hostnpu/op.h"
#include "hostnpu/window.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;
using Dims = std::vector<uint32_t>;

Window describe_window(const Node& node, bool depthwise) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  if (x.dims.size() != 4 || w.dims.size() != 4) refuse("input and filter do not have rank 4");
  const Pair stride = pair_param(node, "stride", true), dilation = pair_param(node, "dilation", false);
  const Padding pad = padding_param(node);
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
  out.top = pad.top;
  out.left = pad.left;
  const int64_t groups = depthwise ? out.channels : integer_param(node, "group", 1);
  if (groups < 1 || groups > out.channels || out.channels % groups != 0 || out.outputs % groups != 0) refuse("the channels do not divide into " + std::to_string(groups) + " groups");
  out.groups = static_cast<uint32_t>(groups);
  if (w.dims[2] != out.channels / out.groups) refuse("the filter takes " + std::to_string(w.dims[2]) + " channels but a group has " + std::to_string(out.channels / out.groups));
  out.out_height = window_places(out.height, pad.top, pad.bottom, out.filter_height, stride.y, dilation.y);
  out.out_width = window_places(out.width, pad.left, pad.right, out.filter_width, stride.x, dilation.x);
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

/// Each channel with filters of its own. An item is a row of output pixels.
class DepthWiseStage final : public Stage {
 public:
  DepthWiseStage(const Window& window, DirectSums sums, Slot from, Slot to) : window_(window), sums_(std::move(sums)), from_(from), to_(to) {}

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
    sums_.store(memory[to_], (size_t{item} * window_.out_width + column) * window_.outputs + first, first, count, sums);
  }

  void add(const std::byte* x, size_t at, size_t filter, uint32_t first, uint32_t count, double* sums) const {
    const uint32_t each = window_.outputs / window_.channels;  // outputs of a channel
    const uint32_t channel = first / each, channels = (first + count - 1) / each - channel + 1;
    alignas(64) float levels[kBlock + 1];
    sums_.load(x, at + channel, channels, levels);
    for (uint32_t o = 0; o < count; ++o) sums[o] += static_cast<double>(levels[(first + o) / each - channel]) * sums_.weights()[filter + first + o];
  }

  Window window_;
  DirectSums sums_;
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
  const TensorInfo& x = node.in(0);
  DirectSums sums(describe_channel(node, window), x, node.in(1), bias_of(node), node.out(), planner);
  StagePlan work;
  work.items = window.images * window.out_height;
  work.grain = 1;
  work.shared = {planner.slot(x)};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<DepthWiseStage>(window, std::move(sums), work.shared[0], work.writes[0]);
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
