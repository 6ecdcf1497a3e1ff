// Where the windows of convolutions and pools stand on an NHWC image.
#pragma once

#include <string_view>

#include "hostnpu/node.h"

namespace lutra::hostnpu {

/// Along height and width.
struct Pair {
  uint32_t y, x;
};
struct Padding {
  uint32_t top, bottom, left, right;
};

/// Sizes of a convolution of x [n, h, w, c] by a filter [fh, fw, c / groups, outputs], or of a pool, whose outputs are the channels.
struct Window {
  uint32_t images, height, width, channels;
  uint32_t out_height, out_width, outputs;
  uint32_t filter_height, filter_width;
  uint32_t stride_y, stride_x, dilation_y, dilation_x, top, left, groups;

  uint32_t positions() const noexcept { return images * out_height * out_width; }
};

/// A parameter of two positive numbers; {1, 1} when it is absent and not required.
Pair pair_param(const Node& node, std::string_view name, bool required);
/// `pad_amount`, which is required.
Padding padding_param(const Node& node);
/// How many places a filter has along one dimension. Refuses a filter that is larger than the padded input. With `partial`, one that stands out of it at the end counts.
uint32_t window_places(uint32_t length, uint32_t before, uint32_t after, uint32_t filter, uint32_t stride, uint32_t dilation, bool partial = false);

}  // namespace lutra::hostnpu
