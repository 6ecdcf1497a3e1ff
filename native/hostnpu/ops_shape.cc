// Data movement by shape: Reshape, ExpandDims, Squeeze, Transpose, Concat, Split, Pack, UnPack, StridedSlice, Tile.
#include <algorithm>
#include <bit>

#include "hostnpu/box.h"
#include "hostnpu/move.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using Dims = std::vector<uint32_t>;

constexpr const char* kAnyType = "any type of whole bytes, the same type and encoding on both sides";
constexpr const char* kAnyTypeConverted = "any type of whole bytes on both sides; quantised elements are converted when the encodings differ";

Move dense_move(const TensorInfo& x) { return {x.dims, dense_strides(x.dims), dense_strides(x.dims), 0, 0}; }

/// One type on both sides, whose values can be moved.
void check_type(const TensorInfo& x, const TensorInfo& y) {
  if (x.dtype != y.dtype) refuse("'" + x.name + "' and '" + y.name + "' have different types");
  if (x.quantization == y.quantization) return;
  const auto type = element_of(x.dtype);
  if (!type || !kernels::is_quantized(*type)) refuse("'" + x.name + "' and '" + y.name + "' have different encodings");
  computed_element(x);
  computed_element(y);
}

// --------------------------------------------------------------------------------------------- the same elements, another shape

void check_same_elements(const Node& node) {
  expect_arity(node, 1, 1);
  expect_same_values(node.in(0), node.out());
  if (node.in(0).elements() != node.out().elements()) refuse("input and output have different numbers of elements");
}

void check_reshape(const Node& node) {
  expect_params(node, {});
  check_same_elements(node);
}

void check_expand(const Node& node) {
  expect_params(node, {"axis", "axes"});
  check_same_elements(node);
  const size_t rank = node.out().dims.size();
  std::vector<size_t> axes;
  if (node.param("axes") != nullptr) {
    for (const uint32_t axis : words_param(node, "axes", 1)) axes.push_back(axis);
  } else {
    required_param(node, "axis");
    axes.push_back(axis_param(node, "axis", rank, 0));
  }
  std::sort(axes.begin(), axes.end());
  Dims wanted = node.in(0).dims;
  for (const size_t axis : axes) {
    if (axis > wanted.size()) refuse("an axis is out of range");
    wanted.insert(wanted.begin() + static_cast<ptrdiff_t>(axis), 1);
  }
  expect_dims(node.out(), wanted);
}

void check_squeeze(const Node& node) {
  expect_params(node, {"axes"});
  check_same_elements(node);
  Dims wanted;
  const Dims& dims = node.in(0).dims;
  std::span<const uint32_t> axes;
  if (node.param("axes") != nullptr) axes = words_param(node, "axes", 1);
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool named = axes.empty() ? dims[i] == 1 : std::find(axes.begin(), axes.end(), i) != axes.end();
    if (named && dims[i] != 1) refuse("dimension " + std::to_string(i) + " is not 1");
    if (!named) wanted.push_back(dims[i]);
  }
  if (wanted.empty()) wanted.push_back(1);
  expect_dims(node.out(), wanted);
}

void plan_same_elements(const Node& node, Planner& planner) {
  if (!planner.alias(node.in(0), node.out())) plan_move(planner, node.in(0), node.out(), dense_move(node.in(0)));
}

// -------------------------------------------------------------------------------------------------------------- transpose

void check_transpose(const Node& node) {
  expect_params(node, {"perm"});
  expect_arity(node, 1, 1);
  expect_same_values(node.in(0), node.out());
  const auto order = words_param(node, "perm", 1);
  const Dims& dims = node.in(0).dims;
  std::vector<bool> seen(dims.size(), false);
  if (order.size() != dims.size()) refuse("perm does not have the length of the input's rank");
  Dims wanted;
  for (const uint32_t from : order) {
    if (from >= dims.size() || seen[from]) refuse("perm is not a permutation");
    seen[from] = true;
    wanted.push_back(dims[from]);
  }
  expect_dims(node.out(), wanted);
}

void plan_transpose(const Node& node, Planner& planner) { plan_move(planner, node.in(0), node.out(), transposition(node.in(0).dims, words_param(node, "perm", 1))); }

// ------------------------------------------------------------------------------------------------- along one axis of a tensor

/// Rows [begin, begin + part.dims[axis]) of `axis` of the dense tensor `whole`, in the order of `part`.
Move part_of(const TensorInfo& whole, const Dims& part, size_t axis, uint32_t begin, bool is_source) {
  const std::vector<int64_t> outside = dense_strides(whole.dims), inside = dense_strides(part);
  const int64_t offset = outside[axis] * static_cast<int64_t>(begin);
  return is_source ? Move{part, outside, inside, offset, 0} : Move{part, inside, outside, 0, offset};
}

void check_concat(const Node& node) {
  expect_params(node, {"axis"});
  if (node.inputs.empty()) refuse("it has no inputs");
  expect_arity(node, node.inputs.size(), node.inputs.size());
  const TensorInfo& y = node.out();
  const size_t axis = axis_param(node, "axis", y.dims.size(), 0);
  Dims wanted = node.in(0).dims;
  if (wanted.size() != y.dims.size()) refuse("input and output have different ranks");
  uint64_t length = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    check_type(node.in(i), y);
    Dims part = node.in(i).dims;
    if (part.size() != wanted.size()) refuse("the inputs have different ranks");
    length += part[axis];
    part[axis] = wanted[axis];
    if (part != wanted) refuse("'" + node.in(i).name + "' does not fit the other inputs");
  }
  wanted[axis] = static_cast<uint32_t>(std::min<uint64_t>(length, UINT32_MAX));
  expect_dims(y, wanted);
}

void plan_concat(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.out().dims.size(), 0);
  uint32_t begin = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    plan_move(planner, node.in(i), node.out(), part_of(node.out(), node.in(i).dims, axis, begin, false));
    begin += node.in(i).dims[axis];
  }
}

void check_split(const Node& node) {
  expect_params(node, {"axis", "split_index"});
  expect_arity(node, 1, 1, node.outputs.size());
  const TensorInfo& x = node.in(0);
  const size_t axis = axis_param(node, "axis", x.dims.size(), 0);
  const auto cuts = words_param(node, "split_index", 1);
  if (node.outputs.size() != cuts.size() + 1) refuse("it has " + std::to_string(node.outputs.size()) + " outputs for " + std::to_string(cuts.size()) + " cuts");
  uint32_t begin = 0;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const uint32_t end = i < cuts.size() ? cuts[i] : x.dims[axis];
    if (end <= begin || end > x.dims[axis]) refuse("the cuts are not in order");
    Dims wanted = x.dims;
    wanted[axis] = end - begin;
    check_type(x, *node.outputs[i]);
    expect_dims(*node.outputs[i], wanted);
    begin = end;
  }
}

void plan_split(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.in(0).dims.size(), 0);
  uint32_t begin = 0;
  for (const auto& part : node.outputs) {
    plan_move(planner, node.in(0), *part, part_of(node.in(0), part->dims, axis, begin, true));
    begin += part->dims[axis];
  }
}

/// The shape of one of the tensors that are stacked to `whole`.
Dims layer_of(const Dims& whole, size_t axis) {
  Dims layer = whole;
  layer.erase(layer.begin() + static_cast<ptrdiff_t>(axis));
  return layer;
}

void check_pack(const Node& node) {
  expect_params(node, {"axis"});
  if (node.inputs.empty()) refuse("it has no inputs");
  expect_arity(node, node.inputs.size(), node.inputs.size());
  const TensorInfo& y = node.out();
  const size_t axis = axis_param(node, "axis", y.dims.size(), 0);
  if (y.dims[axis] != node.inputs.size()) refuse("dimension " + std::to_string(axis) + " of the output is not the number of inputs");
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    check_type(node.in(i), y);
    expect_dims(node.in(i), layer_of(y.dims, axis));
  }
}

void plan_pack(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.out().dims.size(), 0);
  Dims layer = node.out().dims;
  layer[axis] = 1;
  for (size_t i = 0; i < node.inputs.size(); ++i) plan_move(planner, node.in(i), node.out(), part_of(node.out(), layer, axis, static_cast<uint32_t>(i), false));
}

void check_unpack(const Node& node) {
  expect_params(node, {"axis"});
  expect_arity(node, 1, 1, node.outputs.size());
  const TensorInfo& x = node.in(0);
  const size_t axis = axis_param(node, "axis", x.dims.size(), 0);
  if (x.dims[axis] != node.outputs.size()) refuse("dimension " + std::to_string(axis) + " of the input is not the number of outputs");
  for (const auto& layer : node.outputs) {
    check_type(x, *layer);
    expect_dims(*layer, layer_of(x.dims, axis));
  }
}

void plan_unpack(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.in(0).dims.size(), 0);
  Dims layer = node.in(0).dims;
  layer[axis] = 1;
  for (size_t i = 0; i < node.outputs.size(); ++i) plan_move(planner, node.in(0), *node.outputs[i], part_of(node.in(0), layer, axis, static_cast<uint32_t>(i), true));
}

// ---------------------------------------------------------------------------------------------------------- slices, tiles

/// The elements that a StridedSlice takes, and the shape that they get.
struct Slice {
  Move move;
  Dims dims;
};

Slice describe_slice(const Node& node) {
  const Dims& from = node.in(0).dims;
  const auto ranges = words_param(node, "ranges", 2);
  const auto mask = [&](const char* name) { return static_cast<uint32_t>(integer_param(node, name, 0)); };
  const uint32_t begin_mask = mask("begin_mask"), end_mask = mask("end_mask"), shrink = mask("shrink_axes"), inserted = mask("new_axes_mask");
  const std::vector<int64_t> strides = dense_strides(from);
  const size_t rows = ranges.size() / 3;
  if (ranges.size() % 3 != 0 || rows != from.size() + static_cast<size_t>(std::popcount(inserted))) refuse("ranges does not have a row of 3 for each dimension");
  Slice out;
  size_t axis = 0;
  for (size_t i = 0; i < rows; ++i) {
    const uint32_t bit = 1u << i;
    if ((inserted & bit) != 0) {
      out.dims.push_back(1);
      continue;
    }
    if (axis == from.size()) refuse("ranges has more rows than the input has dimensions");
    const auto word = [&](size_t column) { return static_cast<int64_t>(static_cast<int32_t>(ranges[3 * i + column])); };
    const int64_t length = from[axis], step = word(2);
    if (step == 0) refuse("a stride is 0");
    // Positions from the end are negative; one before the first is where a slice that goes down ends.
    const auto place = [&](int64_t position, int64_t low, int64_t high) { return std::clamp(position < 0 ? position + length : position, low, high); };
    int64_t begin = (begin_mask & bit) != 0 ? (step > 0 ? 0 : length - 1) : place(word(0), step > 0 ? 0 : -1, step > 0 ? length : length - 1);
    int64_t end = (end_mask & bit) != 0 ? (step > 0 ? length : -1) : place(word(1), step > 0 ? 0 : -1, step > 0 ? length : length - 1);
    if ((shrink & bit) != 0) end = begin + (step > 0 ? 1 : -1);
    const int64_t count = step > 0 ? (end - begin + step - 1) / step : (begin - end - step - 1) / -step;
    if (count <= 0 || begin < 0 || begin >= length) refuse("dimension " + std::to_string(axis) + " of the slice is empty");
    out.move.dims.push_back(static_cast<uint32_t>(count));
    out.move.from_strides.push_back(strides[axis] * step);
    out.move.from_offset += strides[axis] * begin;
    if ((shrink & bit) == 0) out.dims.push_back(static_cast<uint32_t>(count));
    ++axis;
  }
  if (out.dims.empty()) out.dims.push_back(1);
  out.move.to_strides = dense_strides(out.move.dims);
  return out;
}

void check_slice(const Node& node) {
  expect_params(node, {"ranges", "begin_mask", "end_mask", "shrink_axes", "new_axes_mask"});
  expect_arity(node, 1, 1);
  expect_same_values(node.in(0), node.out());
  expect_dims(node.out(), describe_slice(node).dims);
}

void plan_slice(const Node& node, Planner& planner) { plan_move(planner, node.in(0), node.out(), describe_slice(node).move); }

void check_tile(const Node& node) {
  expect_params(node, {"multiples"});
  expect_arity(node, 1, 1);
  expect_same_values(node.in(0), node.out());
  Dims wanted = node.in(0).dims;
  const auto multiples = words_param(node, "multiples", 1);
  if (multiples.size() != wanted.size()) refuse("multiples does not have the length of the input's rank");
  for (size_t i = 0; i < wanted.size(); ++i) {
    const uint64_t length = uint64_t{wanted[i]} * multiples[i];
    if (length > UINT32_MAX) refuse("dimension " + std::to_string(i) + " of the output is too long");
    wanted[i] = static_cast<uint32_t>(length);
  }
  expect_dims(node.out(), wanted);
}

void plan_tile(const Node& node, Planner& planner) {
  const Dims& dims = node.in(0).dims;
  const auto multiples = words_param(node, "multiples", 1);
  const std::vector<int64_t> strides = dense_strides(dims);
  Move move;
  for (size_t i = 0; i < dims.size(); ++i) {
    move.dims.insert(move.dims.end(), {multiples[i], dims[i]});
    move.from_strides.insert(move.from_strides.end(), {0, strides[i]});
  }
  move.to_strides = dense_strides(move.dims);
  plan_move(planner, node.in(0), node.out(), move);
}

constexpr OpDefinition kOps[] = {
    {"Reshape", kAnyType, check_reshape, plan_same_elements},
    {"ExpandDims", kAnyType, check_expand, plan_same_elements},
    {"Squeeze", kAnyType, check_squeeze, plan_same_elements},
    {"Transpose", kAnyType, check_transpose, plan_transpose},
    {"Concat", kAnyTypeConverted, check_concat, plan_concat},
    {"Split", kAnyTypeConverted, check_split, plan_split},
    {"Pack", kAnyTypeConverted, check_pack, plan_pack},
    {"UnPack", kAnyTypeConverted, check_unpack, plan_unpack},
    {"StridedSlice", kAnyType, check_slice, plan_slice},
    {"Tile", kAnyType, check_tile, plan_tile},
};

}  // namespace

std::span<const OpDefinition> shape_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
