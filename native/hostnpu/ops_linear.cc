// FullyConnected and MatMul.
#include <algorithm>

#include "hostnpu/box.h"
#include "hostnpu/move.h"
#include "hostnpu/op.h"
#include "hostnpu/product.h"

namespace lutra::hostnpu {
namespace {

using Dims = std::vector<uint32_t>;

const TensorInfo* bias_of(const Node& node) { return node.has_input(2) ? &node.in(2) : nullptr; }

// --------------------------------------------------------------------------------------------------------- FullyConnected

Product describe_fully_connected(const Node& node) {
  const TensorInfo &x = node.in(0), &w = node.in(1);
  if (w.dims.size() != 2) refuse("the weight has rank " + std::to_string(w.dims.size()) + ", not 2");
  Product product;
  product.type = computed_element(x);
  product.outputs = w.dims[0];
  product.depth = w.dims[1];
  if (x.elements() % product.depth != 0) refuse("the input does not consist of rows of " + std::to_string(product.depth));
  product.rows = static_cast<uint32_t>(x.elements() / product.depth);
  product.output_stride = product.depth;
  product.y_stride = product.outputs;
  return product;
}

void check_fully_connected(const Node& node) {
  expect_params(node, {"keep_dims"});
  expect_arity(node, 2, 3);
  if (bool_param(node, "keep_dims", false)) refuse("keep_dims is not supported");
  const Product product = describe_fully_connected(node);
  if (node.out().dims != Dims{product.rows, product.outputs}) refuse("the output is not [" + std::to_string(product.rows) + ", " + std::to_string(product.outputs) + "]");
  check_product(product, node.in(0), node.in(1), bias_of(node), node.out());
}

void plan_fully_connected(const Node& node, Planner& planner) { plan_product(node, describe_fully_connected(node), planner.slot(node.in(0)), planner); }

// ----------------------------------------------------------------------------------------------------------------- MatMul

struct Transposes {
  bool x, w;
};
Transposes transposes_of(const Node& node) { return {bool_param(node, "transpose_in0", false), bool_param(node, "transpose_in1", false)}; }

/// A vector is a matrix of one row on the left and of one column on the right.
struct Matrix {
  Dims batch;
  uint32_t rows, columns;
};
Matrix matrix_of(const TensorInfo& tensor, bool transposed) {
  if (tensor.dims.size() < 2) refuse("'" + tensor.name + "' has rank 1");
  const uint32_t rows = tensor.dims[tensor.dims.size() - 2], columns = tensor.last_dim();
  return {{tensor.dims.begin(), tensor.dims.end() - 2}, transposed ? columns : rows, transposed ? rows : columns};
}

/// Where each batch of the output finds its matrix: the index into the batches of an operand.
std::vector<uint32_t> matrices_of(const Dims& own, const Dims& whole) {
  const std::vector<int64_t> strides = broadcast_strides(own, whole);
  if (strides.empty() && !whole.empty()) refuse("the leading dimensions of the inputs do not repeat to those of the output");
  std::vector<uint32_t> index = {0};
  for (size_t d = 0; d < whole.size(); ++d) {
    std::vector<uint32_t> next;
    for (const uint32_t at : index) {
      for (uint32_t i = 0; i < whole[d]; ++i) next.push_back(at + static_cast<uint32_t>(strides[d] * i));
    }
    index = std::move(next);
  }
  return index;
}

uint32_t count_of(const Dims& dims) {
  uint32_t count = 1;
  for (const uint32_t dim : dims) count *= dim;
  return count;
}

Product describe_matmul(const Node& node) {
  const auto [turn_x, turn_w] = transposes_of(node);
  const TensorInfo& weight = node.in(1);
  const Matrix x = matrix_of(node.in(0), turn_x), w = matrix_of(weight, turn_w);
  if (x.columns != w.rows) refuse("the inputs have " + std::to_string(x.columns) + " columns and " + std::to_string(w.rows) + " rows");
  const Dims batch = broadcast_dims(x.batch, w.batch);
  if (batch.empty() && !(x.batch.empty() && w.batch.empty())) refuse("the leading dimensions of the inputs do not repeat to each other");
  Product product;
  product.type = computed_element(node.in(0));
  product.rows = x.rows;
  product.depth = x.columns;
  product.outputs = w.columns;
  product.output_stride = turn_w ? w.rows : 1;
  product.depth_stride = turn_w ? 1 : w.columns;
  product.y_stride = w.columns;
  product.weight_axis = static_cast<int32_t>(weight.dims.size()) - (turn_w ? 2 : 1);
  const size_t size = size_t{w.rows} * w.columns;
  product.weights.clear();
  for (uint32_t i = 0; i < count_of(w.batch); ++i) product.weights.push_back(i * size);
  const std::vector<uint32_t> x_index = matrices_of(x.batch, batch), w_index = matrices_of(w.batch, batch);
  product.batches.clear();
  for (uint32_t i = 0; i < x_index.size(); ++i) product.batches.push_back({x_index[i] * x.rows, w_index[i], size_t{i} * x.rows * w.columns});
  // With one weight for all, the batches of x are rows of one product.
  if (product.weights.size() == 1 && count_of(batch) == count_of(x.batch)) {
    product.rows *= static_cast<uint32_t>(product.batches.size());
    product.batches = {{}};
  }
  return product;
}

void check_matmul(const Node& node) {
  expect_params(node, {"transpose_in0", "transpose_in1"});
  expect_arity(node, 2, 3);
  const auto [turn_x, turn_w] = transposes_of(node);
  const Matrix x = matrix_of(node.in(0), turn_x), w = matrix_of(node.in(1), turn_w);
  Dims wanted = broadcast_dims(x.batch, w.batch);
  wanted.insert(wanted.end(), {x.rows, w.columns});
  const Product product = describe_matmul(node);
  expect_dims(node.out(), wanted);
  check_product(product, node.in(0), node.in(1), bias_of(node), node.out());
}

void plan_matmul(const Node& node, Planner& planner) {
  const TensorInfo& x = node.in(0);
  Slot rows = planner.slot(x);
  if (transposes_of(node).x) {
    std::vector<uint32_t> order(x.dims.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::swap(order[order.size() - 2], order[order.size() - 1]);
    const Slot turned = planner.scratch(x.bytes());
    plan_move(planner, rows, turned, data_type_size(x.dtype), transposition(x.dims, order));
    rows = turned;
  }
  plan_product(node, describe_matmul(node), rows, planner);
}

constexpr OpDefinition kOps[] = {
    {"FullyConnected",
     "U8, S8, U16, S16 x S8 (a scale per tensor or per output), U8, S8, U16, S16 x U8, U16, S16 x U16, S16, F16 x S8 (symmetric), F16 x F16, F32 x F32; output of the input's type, "
     "[rows, outputs]; weight [outputs, inputs]; optional constant bias S32 or U8 (quantised), F16 or F32",
     check_fully_connected, plan_fully_connected},
    {"MatMul",
     "the types of FullyConnected; [.., rows, depth] x [.., depth, outputs], each transposed if wished, leading dimensions that repeat to each other; scales per output on the axis of the "
     "outputs",
     check_matmul, plan_matmul},
};

}  // namespace

std::span<const OpDefinition> linear_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
