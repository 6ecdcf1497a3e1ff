// Data movement: the elements come out as they went in, at other places.
#include <algorithm>
#include <cmath>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

constexpr const char* kWrongDepth = "pads the last of 4 dimensions of F32 and S8 with anything (runtime 2.51)";
constexpr const char* kZeroEdge = "pads floats with next to nothing instead of their edge (runtime 2.51)";
using reference::Index;
using Words = std::vector<uint32_t>;
using Params = std::vector<qnn::ParamDesc>;

/// Values that every type holds.
std::vector<double> values_for(std::mt19937& random, DT dtype, size_t count) {
  std::vector<double> values = normal(random, count, 0.3);
  if (is_float(dtype) || is_quantized(dtype)) return values;
  for (double& v : values) v = dtype == kBool ? v > 0 : std::abs(std::nearbyint(100 * v));
  return values;
}

size_t data(GraphSpec& g, const std::string& name, DT dtype, const Dims& dims) {
  return g.input(name, {dtype, Fit::kMinMax, 0.001}, dims, values_for(g.random(), dtype, element_count(dims)));
}

Output like(const GraphSpec& g, size_t x, const std::string& name, Dims dims, std::vector<double> exact) {
  return {name, {g.tensor(x).dtype}, std::move(dims), std::move(exact), x};
}

class Table {
 public:
  explicit Table(std::vector<Case>& cases) : cases_(cases) {}

  /// One case for each type: `build` gets a graph and the input x.
  void add(const std::string& name, const std::vector<DT>& types, const Dims& dims, const std::function<void(GraphSpec&, size_t x)>& build) {
    for (const DT dtype : types) {
      cases_.push_back({name + "_" + short_name(dtype) + "_" + shape_name(dims), Bound::kExact, [=](uint32_t seed) {
                          GraphSpec g(seed);
                          build(g, data(g, "x", dtype, dims));
                          return g;
                        }});
      cases_.back().span = 0.5;  // what is taken need not have the extremes
      // F32 tensors pass through F16 there.
      if (dtype == kF32) cases_.back().qualcomm = Bound::kFloat;
    }
  }

  /// What `add` adds need not hold on Qualcomm's runtime.
  void add_excepted(const std::string& why, const std::function<void()>& add) {
    const size_t before = cases_.size();
    add();
    for (size_t i = before; i < cases_.size(); ++i) cases_[i].exception = why;
  }

 private:
  std::vector<Case>& cases_;
};

// -------------------------------------------------------------------------------------------------- transpose, split, slices

void add_transpose(Table& table, const std::vector<DT>& types, const Dims& dims, const Words& perm) {
  table.add("Transpose_" + shape_name(perm), types, dims, [=](GraphSpec& g, size_t x) {
    Dims to;
    for (const uint32_t p : perm) to.push_back(dims[p]);
    std::vector<double> y = reference::rearrange(g.tensor(x), to, [&](const Index& index) {
      Index from(index.size());
      for (size_t i = 0; i < perm.size(); ++i) from[perm[i]] = index[i];
      return from;
    });
    g.output(g.apply("Transpose", {x}, {qnn::ParamDesc::tensor("perm", {static_cast<uint32_t>(perm.size())}, perm)}, like(g, x, "y", to, y)));
  });
}

/// Part of `x`: `length` positions of `axis` from `begin` on.
std::vector<double> part(const Tensor& x, size_t axis, uint32_t begin, uint32_t length) {
  Dims dims = x.dims;
  dims[axis] = length;
  return reference::rearrange(x, dims, [&](Index index) {
    index[axis] += begin;
    return index;
  });
}

void add_split(Table& table, const std::vector<DT>& types, const Dims& dims, uint32_t axis, const Words& cuts) {
  table.add("Split_axis" + std::to_string(axis), types, dims, [=](GraphSpec& g, size_t x) {
    std::vector<Output> outputs;
    uint32_t begin = 0;
    for (size_t i = 0; i <= cuts.size(); ++i) {
      const uint32_t end = i < cuts.size() ? cuts[i] : dims[axis];
      Dims to = dims;
      to[axis] = end - begin;
      outputs.push_back(like(g, x, "y" + std::to_string(i), to, part(g.tensor(x), axis, begin, end - begin)));
      begin = end;
    }
    const Params params = {qnn::ParamDesc::u32("axis", axis), qnn::ParamDesc::tensor("split_index", {static_cast<uint32_t>(cuts.size())}, cuts)};
    for (const size_t y : g.apply("Split", {x}, params, outputs)) g.output(y);
  });
}

struct Range {
  int32_t begin, end, stride;
};

void add_slice(Table& table, const std::vector<DT>& types, const Dims& dims, const std::vector<Range>& ranges, uint32_t shrink = 0) {
  std::string name = "StridedSlice";
  for (const Range& r : ranges) name += "_" + std::to_string(r.begin) + "to" + (r.end < 0 ? "m" : "") + std::to_string(std::abs(r.end)) + "by" + (r.stride < 0 ? "m" : "") + std::to_string(std::abs(r.stride));
  if (shrink != 0) name += "_shrink" + std::to_string(shrink);
  table.add(name, types, dims, [=](GraphSpec& g, size_t x) {
    Dims whole, to;
    for (size_t i = 0; i < ranges.size(); ++i) {
      const auto& [begin, end, stride] = ranges[i];
      whole.push_back(static_cast<uint32_t>(stride > 0 ? (end - begin + stride - 1) / stride : (begin - end - stride - 1) / -stride));
      if ((shrink >> i & 1) == 0) to.push_back(whole.back());
    }
    std::vector<double> y = reference::rearrange(g.tensor(x), whole, [&](Index index) {
      for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<size_t>(ranges[i].begin + static_cast<int32_t>(index[i]) * ranges[i].stride);
      return index;
    });
    Words words;
    for (const Range& r : ranges) words.insert(words.end(), {static_cast<uint32_t>(r.begin), static_cast<uint32_t>(r.end), static_cast<uint32_t>(r.stride)});
    const qnn::ParamDesc param{"ranges", qnn::TensorParam{{static_cast<uint32_t>(ranges.size()), 3}, words, DT::kInt32}};
    Params params = {param};
    if (shrink != 0) params.push_back(qnn::ParamDesc::u32("shrink_axes", shrink));
    g.output(g.apply("StridedSlice", {x}, params, like(g, x, "y", to, y)));
  });
}

void add_tile(Table& table, const std::vector<DT>& types, const Dims& dims, const Words& multiples) {
  table.add("Tile_" + shape_name(multiples), types, dims, [=](GraphSpec& g, size_t x) {
    Dims to = dims;
    for (size_t i = 0; i < to.size(); ++i) to[i] *= multiples[i];
    std::vector<double> y = reference::rearrange(g.tensor(x), to, [&](Index index) {
      for (size_t i = 0; i < index.size(); ++i) index[i] %= dims[i];
      return index;
    });
    g.output(g.apply("Tile", {x}, {qnn::ParamDesc::tensor("multiples", {static_cast<uint32_t>(multiples.size())}, multiples)}, like(g, x, "y", to, y)));
  });
}

// --------------------------------------------------------------------------------------------------------- several inputs

/// x with `others` behind it on one axis (Concat), or on a new one (Pack).
void add_joined(Table& table, const std::string& op, const std::vector<DT>& types, const Dims& dims, uint32_t axis, const Words& lengths) {
  table.add(op + "_axis" + std::to_string(axis) + "_of" + std::to_string(lengths.size() + 1), types, dims, [=](GraphSpec& g, size_t x) {
    const bool stacks = op == "Pack";
    std::vector<size_t> inputs = {x};
    Dims to = dims;
    if (stacks) to.insert(to.begin() + axis, 1);
    for (const uint32_t length : lengths) {
      Dims shape = dims;
      if (!stacks) shape[axis] = length;
      // With the encoding of x: another one is another case.
      std::vector<double> values = values_for(g.random(), g.tensor(x).dtype, element_count(shape));
      values[0] = *std::max_element(g.tensor(x).exact.begin(), g.tensor(x).exact.end());
      inputs.push_back(g.input_like(x, "x" + std::to_string(inputs.size()), shape, values));
      to[axis] += stacks ? 1 : length;
    }
    std::vector<double> y;
    reference::for_each_index(to, [&](Index index) {
      size_t from = 0;
      if (stacks) {
        from = index[axis];
        index.erase(index.begin() + axis);
      } else {
        while (index[axis] >= g.tensor(inputs[from]).dims[axis]) index[axis] -= g.tensor(inputs[from++]).dims[axis];
      }
      const Tensor& source = g.tensor(inputs[from]);
      y.push_back(reference::at(reference::reals(source), source.dims, index));
    });
    g.output(g.apply(op, inputs, {qnn::ParamDesc::u32("axis", axis)}, like(g, x, "y", to, y)));
  });
}

void add_unpack(Table& table, const std::vector<DT>& types, const Dims& dims, uint32_t axis) {
  table.add("UnPack_axis" + std::to_string(axis), types, dims, [=](GraphSpec& g, size_t x) {
    Dims to = dims;
    to.erase(to.begin() + axis);
    std::vector<Output> outputs;
    for (uint32_t i = 0; i < dims[axis]; ++i) outputs.push_back(like(g, x, "y" + std::to_string(i), to, part(g.tensor(x), axis, i, 1)));
    for (const size_t y : g.apply("UnPack", {x}, {qnn::ParamDesc::u32("axis", axis)}, outputs)) g.output(y);
  });
}

/// Inputs of several ranges come out in one.
void add_converting_concat(std::vector<Case>& cases, DT dtype, Bound bound) {
  cases.push_back({"Concat_" + short_name(dtype) + "_of_other_encodings", bound, [=](uint32_t seed) {
                     GraphSpec g(seed);
                     const Dims dims{1, 4, 8, 16};
                     const Target target{dtype, Fit::kMinMax, 0.001};
                     const size_t a = g.input("a", target, dims, normal(g.random(), element_count(dims), 0.3)), b = g.input("b", target, dims, normal(g.random(), element_count(dims), -1, 2));
                     std::vector<double> y;
                     const std::vector<double> left = reference::reals(g.tensor(a)), right = reference::reals(g.tensor(b));
                     for (size_t row = 0; row < left.size(); row += 16) {
                       y.insert(y.end(), left.begin() + static_cast<std::ptrdiff_t>(row), left.begin() + static_cast<std::ptrdiff_t>(row) + 16);
                       y.insert(y.end(), right.begin() + static_cast<std::ptrdiff_t>(row), right.begin() + static_cast<std::ptrdiff_t>(row) + 16);
                     }
                     g.output(g.apply("Concat", {a, b}, {qnn::ParamDesc::u32("axis", 3)}, Output{"y", target, {1, 4, 8, 32}, y}));
                     return g;
                   }});
}

// -------------------------------------------------------------------------------------------------------------- by index

std::vector<double> random_indices(std::mt19937& random, size_t count, uint32_t length) {
  std::uniform_int_distribution<uint32_t> index(0, length - 1);
  std::vector<double> out(count);
  for (double& i : out) i = index(random);
  return out;
}

void add_gather_elements(Table& table, const std::vector<DT>& types, DT index_type, const Dims& dims, uint32_t axis, uint32_t count) {
  table.add("GatherElements_by_" + short_name(index_type) + "_axis" + std::to_string(axis), types, dims, [=](GraphSpec& g, size_t x) {
    Dims to = dims;
    to[axis] = count;
    const std::vector<double> indices = random_indices(g.random(), element_count(to), dims[axis]);
    const size_t i = g.constant("indices", index_type, to, indices);
    std::vector<double> y = reference::rearrange(g.tensor(x), to, [&](Index index) {
      const auto position = static_cast<size_t>(reference::at(indices, to, index));
      index[axis] = position;
      return index;
    });
    g.output(g.apply("GatherElements", {x, i}, {qnn::ParamDesc::u32("axis", axis)}, like(g, x, "y", to, y)));
  });
}

void add_gather_nd(Table& table, const std::vector<DT>& types, const Dims& dims, uint32_t count, uint32_t depth) {
  table.add("GatherNd_depth" + std::to_string(depth), types, dims, [=](GraphSpec& g, size_t x) {
    const Dims index_dims{count, depth};
    std::vector<double> indices;
    for (uint32_t i = 0; i < count; ++i) {
      for (uint32_t d = 0; d < depth; ++d) indices.push_back(random_indices(g.random(), 1, dims[d])[0]);
    }
    const size_t i = g.constant("indices", kI32, index_dims, indices);
    Dims to{count};
    to.insert(to.end(), dims.begin() + depth, dims.end());
    std::vector<double> y = reference::rearrange(g.tensor(x), to, [&](const Index& index) {
      Index from;
      for (size_t d = 0; d < depth; ++d) from.push_back(static_cast<size_t>(indices[index[0] * depth + d]));
      from.insert(from.end(), index.begin() + 1, index.end());
      return from;
    });
    g.output(g.apply("GatherNd", {x, i}, {qnn::ParamDesc::u32("batch_dims", 0)}, like(g, x, "y", to, y)));
  });
}

/// Distinct places, so that the order of the updates does not matter.
void add_scatter_nd(Table& table, const std::vector<DT>& types, const Dims& dims, const Words& rows, bool dynamic) {
  table.add(std::string("ScatterNd_") + (dynamic ? "dynamic_" : "") + std::to_string(rows.size()) + "rows", types, dims, [=](GraphSpec& g, size_t x) {
    std::vector<double> indices(rows.begin(), rows.end());
    const Dims index_dims{static_cast<uint32_t>(rows.size()), 1};
    const size_t i = dynamic ? g.input("indices", {kI32}, index_dims, indices) : g.constant("indices", kI32, index_dims, indices);
    Dims update_dims = dims;
    update_dims[0] = static_cast<uint32_t>(rows.size());
    const size_t u = g.input_like(x, "updates", update_dims, values_for(g.random(), g.tensor(x).dtype, element_count(update_dims)));
    std::vector<double> y = reference::reals(g.tensor(x));
    const std::vector<double> updates = reference::reals(g.tensor(u));
    const size_t run = y.size() / dims[0];
    for (size_t r = 0; r < rows.size(); ++r) std::copy_n(updates.begin() + static_cast<std::ptrdiff_t>(r * run), run, y.begin() + static_cast<std::ptrdiff_t>(rows[r] * run));
    g.output(g.apply("ScatterNd", {x, i, u}, {qnn::ParamDesc::u32("reduction", 0)}, like(g, x, "y", dims, y)));
  });
}

/// Distinct places on each line. Reductions only where Qualcomm's runtime has them.
void add_scatter_elements(Table& table, const std::vector<DT>& types, DT index_type, const Dims& dims, uint32_t axis, uint32_t count, uint32_t reduction) {
  static constexpr const char* kReductions[] = {"", "_add", "_multiply"};
  table.add("ScatterElements" + std::string(kReductions[reduction]) + "_by_" + short_name(index_type) + "_axis" + std::to_string(axis), types, dims, [=](GraphSpec& g, size_t x) {
    Dims update_dims = dims;
    update_dims[axis] = count;
    const uint32_t stride = dims[axis] / count;
    std::vector<double> indices;
    reference::for_each_index(update_dims, [&](const Index& index) { indices.push_back(static_cast<double>(index[axis] * stride + random_indices(g.random(), 1, stride)[0])); });
    const size_t i = g.constant("indices", index_type, update_dims, indices);
    const size_t u = g.input_like(x, "updates", update_dims, values_for(g.random(), g.tensor(x).dtype, element_count(update_dims)));
    std::vector<double> y = reference::reals(g.tensor(x));
    const std::vector<double> updates = reference::reals(g.tensor(u));
    size_t update = 0;
    reference::for_each_index(update_dims, [&](const Index& index) {
      size_t at = 0;
      for (size_t d = 0; d < dims.size(); ++d) at = at * dims[d] + (d == axis ? static_cast<size_t>(indices[update]) : index[d]);
      const double added = updates[update++];
      y[at] = reduction == 0 ? added : reduction == 1 ? y[at] + added : y[at] * added;
    });
    g.output(g.apply("ScatterElements", {x, i, u}, {qnn::ParamDesc::u32("axis", axis), qnn::ParamDesc::u32("reduction", reduction)}, like(g, x, "y", dims, y)));
  });
}

enum class Border : uint32_t { kConstant, kMirrorSymmetric, kMirrorReflect, kEdge };

/// `value` of a constant border; NaN: none is given.
void add_pad(Table& table, const std::vector<DT>& types, const Dims& dims, const Words& amounts, Border border, double value = NAN) {
  static constexpr const char* kBorders[] = {"constant", "symmetric", "reflect", "edge"};
  table.add(std::string("Pad_") + kBorders[static_cast<size_t>(border)] + (std::isnan(value) ? "" : "_value") + "_" + shape_name(amounts), types, dims, [=](GraphSpec& g, size_t x) {
    Dims to = dims;
    for (size_t d = 0; d < to.size(); ++d) to[d] += amounts[2 * d] + amounts[2 * d + 1];
    const std::vector<double> values = reference::reals(g.tensor(x));
    std::vector<double> y;
    reference::for_each_index(to, [&](const Index& index) {
      Index from;
      bool outside = false;
      for (size_t d = 0; d < dims.size(); ++d) {
        const auto length = static_cast<int64_t>(dims[d]);
        int64_t at = static_cast<int64_t>(index[d]) - amounts[2 * d];
        outside = outside || at < 0 || at >= length;
        const int64_t past = border == Border::kMirrorReflect ? 2 * length - 2 - at : 2 * length - 1 - at, before = border == Border::kMirrorReflect ? -at : -1 - at;
        at = border == Border::kEdge ? std::clamp<int64_t>(at, 0, length - 1) : at < 0 ? before : at >= length ? past : at;
        from.push_back(static_cast<size_t>(std::clamp<int64_t>(at, 0, length - 1)));
      }
      y.push_back(outside && border == Border::kConstant ? (std::isnan(value) ? 0.0 : value) : reference::at(values, dims, from));
    });
    Params params = {qnn::ParamDesc::u32("scheme", static_cast<uint32_t>(border)), qnn::ParamDesc::tensor("pad_amount", {static_cast<uint32_t>(dims.size()), 2}, amounts)};
    if (!std::isnan(value)) params.push_back(qnn::ParamDesc::f32("pad_constant_value", static_cast<float>(value)));
    g.output(g.apply("Pad", {x}, params, like(g, x, "y", to, y)));
  });
}

void add_same_elements(Table& table, const std::string& op, const std::vector<DT>& types, const Dims& dims, const Dims& to, const Params& params) {
  table.add(op, types, dims, [=](GraphSpec& g, size_t x) { g.output(g.apply(op, {x}, params, like(g, x, "y", to, reference::reals(g.tensor(x))))); });
}

}  // namespace

void add_shape_cases(std::vector<Case>& cases) {
  Table table(cases);
  const std::vector<DT> reals = {kF16, kF32, kU8, kS8, kU16, kS16}, few = {kF16, kU8, kU16};
  add_transpose(table, {kF16, kF32, kU8, kS8, kU16, kS16, kI32, kU32, kBool}, {1, 4, 16, 32}, {0, 2, 1, 3});
  add_transpose(table, few, {1, 4, 16, 32}, {0, 1, 3, 2});
  add_transpose(table, few, {7, 33}, {1, 0});
  add_transpose(table, {kF16, kU8}, {2, 3, 5, 7}, {3, 1, 0, 2});
  add_split(table, {kF16, kF32, kU8, kS8, kU16, kS16, kI32, kBool}, {1, 4, 16, 32}, 3, {16});
  add_split(table, few, {1, 6, 16, 32}, 1, {1, 3});
  add_split(table, {kF16, kU8}, {5, 48}, 1, {8, 24, 40});
  add_slice(table, {kF16, kF32, kU8, kS8, kU16, kS16, kI32}, {1, 4, 16, 32}, {{0, 1, 1}, {1, 3, 1}, {0, 16, 1}, {8, 32, 1}});
  add_slice(table, few, {1, 4, 16, 32}, {{0, 1, 1}, {0, 4, 2}, {3, 16, 3}, {0, 32, 2}});
  add_slice(table, {kF16, kU8}, {7, 33}, {{2, 3, 1}, {5, 30, 1}}, 1);
  add_tile(table, {kF16, kF32, kU8, kS8, kU16, kI32, kBool}, {1, 4, 8, 16}, {1, 2, 1, 3});
  add_joined(table, "Concat", {kF16, kF32, kU8, kS8, kU16, kS16, kI32, kU32, kBool}, {1, 4, 8, 16}, 3, {16, 8});
  add_joined(table, "Concat", few, {1, 4, 8, 16}, 1, {2});
  add_joined(table, "Concat", {kF16, kU8}, {5, 7}, 0, {3, 1});
  add_joined(table, "Pack", {kF16, kF32, kU8, kS8, kU16}, {4, 8, 16}, 0, {1, 1});
  add_joined(table, "Pack", {kF16, kU8}, {4, 8, 16}, 2, {1});
  add_unpack(table, {kF16, kF32, kU8, kS8, kU16, kS16}, {3, 8, 16}, 0);
  add_unpack(table, {kF16, kU8}, {1, 8, 4, 16}, 2);
  add_converting_concat(cases, kU8, Bound::kOther8);
  add_converting_concat(cases, kU16, Bound::kOther16);
  add_gather_elements(table, {kF16, kF32, kU8, kU16, kI32}, kI32, {1, 4, 8, 16}, 3, 5);
  add_gather_elements(table, {kF16, kU8}, kU32, {4, 8, 16}, 1, 3);
  add_gather_nd(table, {kF16, kF32, kU8, kS8, kU16, kI32}, {4, 8, 16}, 5, 2);
  add_gather_nd(table, {kF16, kU8}, {6, 8, 16}, 3, 1);
  add_scatter_nd(table, {kF16, kF32, kU8, kS8, kU16, kS16, kI32}, {8, 4, 16}, {5, 0, 2}, false);
  add_scatter_nd(table, few, {8, 4, 16}, {1, 6}, true);
  add_scatter_elements(table, {kF16, kF32, kU8, kU16, kI32}, kI32, {1, 4, 8, 16}, 3, 5, 0);
  add_scatter_elements(table, {kF16, kU8}, kU32, {6, 8, 15}, 1, 4, 0);
  add_scatter_elements(table, {kU16, kI32}, kI32, {1, 4, 8, 16}, 3, 5, 1);
  add_scatter_elements(table, {kI32}, kI32, {7, 12}, 1, 4, 2);
  add_pad(table, {kF16, kU8, kU16}, {1, 4, 8, 16}, {0, 0, 1, 2, 2, 0, 0, 3}, Border::kConstant);
  add_pad(table, {kF16, kU8, kU16}, {1, 4, 8, 16}, {0, 0, 1, 2, 2, 0, 0, 3}, Border::kConstant, 0.5);
  add_pad(table, {kF32, kS8}, {1, 4, 8, 16}, {0, 0, 1, 2, 2, 0, 0, 0}, Border::kConstant, 0.5);
  table.add_excepted(kWrongDepth, [&] { add_pad(table, {kF32, kS8}, {1, 4, 8, 16}, {0, 0, 1, 2, 2, 0, 0, 3}, Border::kConstant, 0.5); });
  add_pad(table, {kF16, kF32, kU8, kS8, kU16, kS16}, {1, 4, 8, 16}, {0, 0, 1, 2, 2, 0, 4, 3}, Border::kMirrorSymmetric);
  add_pad(table, {kF16, kU8}, {7, 33}, {6, 0, 1, 32}, Border::kMirrorReflect);
  add_pad(table, {kU8, kS8, kU16}, {3, 5, 9}, {0, 2, 7, 1, 0, 4}, Border::kEdge);
  table.add_excepted(kZeroEdge, [&] { add_pad(table, {kF16}, {3, 5, 9}, {0, 2, 7, 1, 0, 4}, Border::kEdge); });
  add_same_elements(table, "ExpandDims", {kF16, kF32, kU8, kS8, kU16}, {4, 8, 16}, {4, 1, 8, 16}, {qnn::ParamDesc::u32("axis", 1)});
  add_same_elements(table, "ExpandDims", {kU8}, {8, 16}, {1, 8, 16, 1}, {qnn::ParamDesc::tensor("axes", {2}, {0, 3})});
  add_same_elements(table, "Squeeze", {kF16, kF32, kU8, kS8, kU16}, {4, 1, 8, 16}, {4, 8, 16}, {qnn::ParamDesc::tensor("axes", {1}, {1})});
  add_same_elements(table, "Squeeze", {kF16}, {1, 4, 1, 16}, {4, 16}, {});
}

}  // namespace lutra::conformance
