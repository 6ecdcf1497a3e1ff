#include "hostnpu/window.h"

namespace lutra::hostnpu {

Pair pair_param(const Node& node, std::string_view name, bool required) {
  if (!required && node.param(name) == nullptr) return {1, 1};
  const auto words = words_param(node, name, 1);
  if (words.size() != 2 || words[0] == 0 || words[1] == 0) refuse("parameter '" + std::string(name) + "' is not two positive numbers");
  return {words[0], words[1]};
}

Padding padding_param(const Node& node) {
  const auto words = words_param(node, "pad_amount", 2);
  if (words.size() != 4) refuse("pad_amount is not [2, 2]");
  return {words[0], words[1], words[2], words[3]};
}

uint32_t window_places(uint32_t length, uint32_t before, uint32_t after, uint32_t filter, uint32_t stride, uint32_t dilation, bool partial) {
  const uint64_t padded = uint64_t{length} + before + after, reach = uint64_t{filter - 1} * dilation + 1;
  if (padded < reach) refuse("the filter is larger than the padded input");
  return static_cast<uint32_t>((padded - reach + (partial ? stride - 1 : 0)) / stride + 1);
}

}  // namespace lutra::hostnpu
