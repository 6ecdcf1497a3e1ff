// TransposeConv2d on NHWC images: every element of x adds its multiples of the filter to the output.
#include <algorithm>

#include "hostnpu/direct_sums.h"
#include "hostnpu/op.h"
#include "hostnpu/window.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;

/// x [n, h, w, c] by a filter [fh, fw, c, outputs / groups]; position i meets output i · stride + f − before.
struct Spread {
  uint32_t images, height, width, channels;
  uint32_t out_height, out_width, outputs, groups;
  uint32_t filter_height, filter_width;
  Pair stride;
  uint32_t top, left;
};

uint32_t spread_length(uint32_t length, uint32_t stride, uint32_t filter, uint32_t before, uint32_t after, uint32_t extra) {
  const uint64_t whole = uint64_t{length - 1} * stride + filter + extra, cut = uint64_t{before} + after;
  if (whole <= cut || whole - cut > UINT32_MAX) refuse("pad_amount leaves no output, or too large a one");
  return static_cast<uint32_t>(whole - cut);
}

Spread describe(const Node& node) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  if (x.dims.size() != 4 || w.dims.size() != 4) refuse("input and filter do not have rank 4");
  const Padding pad = padding_param(node);
  Spread out{};
  out.stride = pair_param(node, "stride", true);
  Pair extra{0, 0};
  if (node.param("output_padding") != nullptr) {
    const auto words = words_param(node, "output_padding", 1);
    if (words.size() != 2 || words[0] >= out.stride.y || words[1] >= out.stride.x) refuse("output_padding is not two numbers below the strides");
    extra = {words[0], words[1]};
  }
  out.images = x.dims[0];
  out.height = x.dims[1];
  out.width = x.dims[2];
  out.channels = x.dims[3];
  out.filter_height = w.dims[0];
  out.filter_width = w.dims[1];
  if (w.dims[2] != out.channels) refuse("the filter takes " + std::to_string(w.dims[2]) + " channels but the input has " + std::to_string(out.channels));
  const int64_t groups = integer_param(node, "group", 1);
  if (groups < 1 || groups > out.channels || out.channels % groups != 0) refuse("the channels do not divide into " + std::to_string(groups) + " groups");
  out.groups = static_cast<uint32_t>(groups);
  if (out.groups > 1 && w.quantization.kind == Quantization::Kind::kAxis) refuse("a filter of several groups has one scale");
  out.outputs = w.dims[3] * out.groups;
  out.top = pad.top;
  out.left = pad.left;
  out.out_height = spread_length(out.height, out.stride.y, out.filter_height, pad.top, pad.bottom, extra.y);
  out.out_width = spread_length(out.width, out.stride.x, out.filter_width, pad.left, pad.right, extra.x);
  return out;
}

Product describe_product(const Node& node, const Spread& spread) {
  Product product;
  product.type = computed_element(node.in(0));
  product.rows = 1;
  product.depth = spread.filter_height * spread.filter_width * (spread.channels / spread.groups);
  product.outputs = spread.outputs;
  product.weight_axis = 3;
  return product;
}

const TensorInfo* bias_of(const Node& node) { return node.has_input(2) ? &node.in(2) : nullptr; }

/// An item is a row of output pixels.
class SpreadStage final : public Stage {
 public:
  SpreadStage(const Spread& spread, DirectSums sums, Slot from, Slot to) : s_(spread), sums_(std::move(sums)), from_(from), to_(to) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint32_t each = s_.outputs / s_.groups;
    for (uint32_t item = begin; item < end; ++item) {
      for (uint32_t column = 0; column < s_.out_width; ++column) {
        for (uint32_t group = 0; group < s_.groups; ++group) {
          for (uint32_t first = 0; first < each; first += kBlock) pixel(memory, item, column, group, first, std::min<uint32_t>(kBlock, each - first));
        }
      }
    }
  }

 private:
  /// The place of x that meets an output through position `f` of the filter, or −1.
  static int64_t source(uint32_t place, uint32_t f, uint32_t before, uint32_t stride, uint32_t length) {
    const int64_t at = int64_t{place} + before - f;
    return at < 0 || at % stride != 0 || at / stride >= length ? -1 : at / stride;
  }

  void pixel(Memory memory, uint32_t item, uint32_t column, uint32_t group, uint32_t first, uint32_t count) const {
    alignas(64) double sums[kBlock];
    std::fill_n(sums, count, 0.0);
    const uint32_t line = item % s_.out_height, image = item / s_.out_height;
    for (uint32_t fy = 0; fy < s_.filter_height; ++fy) {
      const int64_t y = source(line, fy, s_.top, s_.stride.y, s_.height);
      for (uint32_t fx = 0; y >= 0 && fx < s_.filter_width; ++fx) {
        const int64_t x = source(column, fx, s_.left, s_.stride.x, s_.width);
        if (x < 0) continue;
        const size_t pixel_at = (size_t{image} * s_.height + static_cast<size_t>(y)) * s_.width + static_cast<size_t>(x);
        add(memory[from_], pixel_at * s_.channels, (size_t{fy} * s_.filter_width + fx) * s_.channels, group, first, count, sums);
      }
    }
    const uint32_t output = group * (s_.outputs / s_.groups) + first;
    sums_.store(memory[to_], (size_t{item} * s_.out_width + column) * s_.outputs + output, output, count, sums);
  }

  /// Adds the channels of the pixel at `at` times their rows of the filter, which begin with row `row` for the first channel.
  void add(const std::byte* x, size_t at, size_t row, uint32_t group, uint32_t first, uint32_t count, double* sums) const {
    const uint32_t channels = s_.channels / s_.groups, each = s_.outputs / s_.groups;
    alignas(64) float levels[kBlock];
    for (uint32_t done = 0; done < channels; done += kBlock) {
      const uint32_t n = std::min<uint32_t>(kBlock, channels - done), channel = group * channels + done;
      sums_.load(x, at + channel, n, levels);
      for (uint32_t c = 0; c < n; ++c) {
        const double level = levels[c];
        const double* weights = sums_.weights() + (row + channel + c) * each + first;
        for (uint32_t o = 0; o < count; ++o) sums[o] += level * weights[o];
      }
    }
  }

  Spread s_;
  DirectSums sums_;
  Slot from_, to_;
};

void check(const Node& node) {
  expect_params(node, {"stride", "pad_amount", "group", "output_padding"});
  expect_arity(node, 2, 3);
  if (!node.in(1).is_static()) refuse("the filter is not constant");
  const Spread spread = describe(node);
  expect_dims(node.out(), std::vector<uint32_t>{spread.images, spread.out_height, spread.out_width, spread.outputs});
  const Product product = describe_product(node, spread);
  if (product.type == Element::kF16 && node.in(1).dtype != abi::DataType::kFloat16) refuse("F16 takes an F16 filter");
  check_product(product, node.in(0), node.in(1), bias_of(node), node.out());
}

void plan(const Node& node, Planner& planner) {
  const Spread spread = describe(node);
  DirectSums sums(describe_product(node, spread), node.in(0), node.in(1), bias_of(node), node.out(), planner);
  StagePlan work;
  work.items = spread.images * spread.out_height;
  work.grain = 1;
  work.shared = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<SpreadStage>(spread, std::move(sums), work.shared[0], work.writes[0]);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"TransposeConv2d",
     "the types of FullyConnected but F16 x S8; x [n, h, w, channels], constant filter [h, w, channels, outputs / group], a scale per output on axis 3 when there is one group; stride, pad_amount, "
     "output_padding, group; optional constant bias",
     check, plan},
};

}  // namespace

std::span<const OpDefinition> conv_transpose_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
