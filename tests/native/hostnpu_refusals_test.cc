// What the host NPU's reductions, norms, image ops and casts refuse, and in which words: a table of nodes that are nearly right.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "base/error.h"
#include "hostnpu/hostnpu.h"
#include "qnn/graph.h"

namespace lutra::qnn {
namespace {

using DT = abi::DataType;
using Dims = std::vector<uint32_t>;
constexpr DT U8 = DT::kUfixed8, S8 = DT::kSfixed8, U16 = DT::kUfixed16, S16 = DT::kSfixed16, F16 = DT::kFloat16, I32 = DT::kInt32;

struct Operand {
  DT dtype;
  Dims dims;
  int32_t offset = 0;
  bool constant = false;
};

struct Refusal {
  const char* op;
  std::vector<Operand> inputs, outputs;
  std::vector<ParamDesc> params;
  const char* words;
};

ParamDesc words(const char* name, Dims dims, std::vector<uint32_t> values) { return ParamDesc::tensor(name, std::move(dims), std::move(values)); }
ParamDesc axes(std::vector<uint32_t> values) { return words("axes", {static_cast<uint32_t>(values.size())}, values); }

const Dims kX = {1, 4, 8, 16};

std::vector<Refusal> refusals() {
  const std::vector<ParamDesc> keep = {axes({3}), ParamDesc::boolean("keep_dims", true)}, step = {words("stride", {2}, {1, 1}), words("pad_amount", {2, 2}, {0, 0, 0, 0})};
  const auto pool = [](uint32_t size, uint32_t pad) {
    return std::vector{words("filter_size", {2}, {size, size}), words("stride", {2}, {2, 2}), words("pad_amount", {2, 2}, {pad, pad, pad, pad})};
  };
  const auto pad = [](uint32_t scheme, std::vector<uint32_t> amounts) { return std::vector{ParamDesc::u32("scheme", scheme), words("pad_amount", {2, 2}, std::move(amounts))}; };
  const auto block = [](uint32_t mode) { return std::vector{words("block_size", {2}, {2, 2}), ParamDesc::u32("mode", mode)}; };
  return {
      {"Softmax", {{F16, kX}}, {{F16, kX}}, {ParamDesc::u32("axis", 2)}, "only the last axis"},
      {"Softmax", {{F16, kX}}, {{F16, {1, 4, 8, 15}}}, {}, "different shapes"},
      {"Softmax", {{F16, kX}}, {{U8, kX}}, {}, "'out0' is U8"},
      {"Softmax", {{F16, kX}}, {{F16, kX}}, {ParamDesc::f32("beta", NAN)}, "beta is not finite"},
      {"LogSoftmax", {{S8, kX}}, {{S8, kX}}, {}, "'in0' is S8"},
      {"LayerNorm", {{F16, kX}, {F16, {8}}}, {{F16, kX}}, {axes({2})}, "only the last axis, or all but the first"},
      {"LayerNorm", {{F16, kX}, {F16, {15}}}, {{F16, kX}}, {axes({3})}, "gamma 'in1' does not have the length"},
      {"LayerNorm", {{S16, kX}, {S16, {16}}}, {{S16, kX}}, {axes({3})}, "S16 is not a form"},
      {"LayerNorm", {{F16, kX}}, {{F16, kX}}, {axes({3}), ParamDesc::f32("epsilon", -1)}, "epsilon is negative"},
      {"RmsNorm", {{F16, kX}, {U8, {16}}}, {{F16, kX}}, {axes({3})}, "gamma 'in1' is U8"},
      {"RmsNorm", {{F16, kX}, {F16, {4, 8, 16}}}, {{F16, kX}}, {axes({1, 2, 3})}, "only the last axis"},
      {"L2Norm", {{F16, kX}}, {{F16, kX}}, {}, "'axis' is missing"},
      {"ReduceSum", {{F16, kX}}, {{F16, {1, 4, 8}}}, keep, "is not [1, 4, 8, 1]"},
      {"ReduceSum", {{F16, kX}}, {{F16, {1, 4, 8, 1}}}, {axes({4})}, "axis 4 is out of range"},
      {"ReduceMax", {{F16, kX}}, {{F16, {1, 4, 8}}}, {axes({3, 3})}, "axis 3 is named twice"},
      {"ReduceMean", {{I32, kX}}, {{I32, {1, 4, 8, 1}}}, keep, "'in0' is INT32"},
      {"ReduceMin", {{F16, kX}}, {{U8, {1, 4, 8, 1}}}, keep, "'out0' is U8"},
      {"Argmax", {{F16, kX}}, {{F16, {1, 4, 8}}}, {ParamDesc::u32("axis", 3)}, "'out0' is F16"},
      {"Argmin", {{I32, kX}}, {{I32, {1, 4, 8}}}, {ParamDesc::u32("axis", 3)}, "'in0' is INT32"},
      {"Argmax", {{F16, kX}}, {{I32, {1, 4, 8}}}, {ParamDesc::u32("axis", 9)}, "the axis is out of range"},
      {"TopK", {{F16, kX}}, {{F16, {1, 4, 8, 17}}, {I32, {1, 4, 8, 17}}}, {ParamDesc::u32("k", 17)}, "k is 17 of 16"},
      {"TopK", {{U8, kX}}, {{U8, {1, 4, 8, 2}, -3}, {I32, {1, 4, 8, 2}}}, {ParamDesc::u32("k", 2)}, "different encodings"},
      {"TopK", {{F16, kX}}, {{F16, {1, 4, 8, 2}}}, {ParamDesc::u32("k", 2)}, "1 outputs"},
      {"CumulativeSum", {{S8, kX}}, {{S8, kX}}, {ParamDesc::u32("axis", 3)}, "'in0' is S8"},
      {"HadamardTransform", {{U16, {4, 12}}}, {{U16, {4, 12}}}, {}, "12, not a power of two"},
      {"HadamardTransform", {{F16, {4, 8}}}, {{F16, {4, 8}}}, {}, "'in0' is F16"},
      {"Cast", {{F16, kX}}, {{DT::kSfixed32, kX}}, {}, "'out0' is S32"},
      {"Prelu", {{F16, kX}, {F16, {3}}}, {{F16, kX}}, {}, "does not repeat to the shape"},
      {"Pad", {{F16, {4, 8}}}, {{F16, {4, 17}}}, pad(1, {0, 0, 9, 0}), "longer than what can be mirrored"},
      {"Pad", {{F16, {4, 8}}}, {{F16, {4, 16}}}, pad(2, {0, 0, 8, 0}), "longer than what can be mirrored"},
      {"Pad", {{F16, {4, 8}}}, {{F16, {4, 9}}}, pad(4, {0, 0, 1, 0}), "there is no scheme 4"},
      {"Pad", {{F16, {4, 8}}}, {{F16, {4, 9}}}, pad(0, {0, 0, 1, 1}), "is not [4, 10]"},
      {"PoolMax2d", {{F16, kX}}, {{F16, {1, 4, 6, 16}}}, pool(2, 2), "a window lies in the padding"},
      {"PoolMax2d", {{F16, kX}}, {{F16, {1, 1, 1, 16}}}, pool(9, 0), "larger than the padded input"},
      {"PoolAvg2d", {{S16, kX}}, {{S16, {1, 2, 4, 16}}}, pool(2, 0), "'in0' is S16"},
      {"TransposeConv2d", {{U8, kX}, {S8, {2, 2, 16, 4}}}, {{U8, {1, 5, 9, 4}}}, step, "the filter is not constant"},
      {"TransposeConv2d", {{U8, kX}, {S8, {2, 2, 15, 4}, 0, true}}, {{U8, {1, 5, 9, 4}}}, step, "the filter takes 15 channels"},
      {"TransposeConv2d", {{F16, kX}, {S8, {2, 2, 16, 4}, 0, true}}, {{F16, {1, 5, 9, 4}}}, step, "F16 takes an F16 filter"},
      {"DepthToSpace", {{F16, {1, 4, 8, 15}}}, {{F16, {1, 8, 16, 4}}}, block(0), "the shapes are not"},
      {"SpaceToDepth", {{F16, kX}}, {{F16, {1, 2, 4, 64}}}, block(2), "there is no mode 2"},
      {"ResizeBilinear", {{F16, kX}}, {{F16, {1, 8, 8, 15}}}, {}, "differ in images or channels"},
      {"ResizeNearestNeighbor", {{U8, kX}}, {{U8, {1, 8, 8, 16}, -3}}, {}, "different encodings"},
      {"ResizeBilinear", {{F16, kX}}, {{F16, {1, 8, 8, 16}}}, {ParamDesc::boolean("align_corners", true), ParamDesc::boolean("half_pixel_centers", true)}, "exclude each other"},
      {"ScatterElements", {{F16, {4, 8}}, {I32, {2, 8}}, {F16, {2, 7}}}, {{F16, {4, 8}}}, {}, "'in1' is not [2, 7]"},
      {"ScatterElements", {{F16, {4, 8}}, {I32, {2, 9}}, {F16, {2, 9}}}, {{F16, {4, 8}}}, {}, "longer than that of the data"},
      {"ScatterElements", {{F16, {4, 8}}, {I32, {2, 8}}, {F16, {2, 8}}}, {{F16, {4, 8}}}, {ParamDesc::u32("reduction", 3)}, "there is no reduction 3"},
      {"ReluMinMax", {{I32, kX}}, {{I32, kX}}, {ParamDesc::f32("min_value", NAN), ParamDesc::f32("max_value", 1)}, "is not a number"},
  };
}

bool is_coded(DT dtype) { return dtype == U8 || dtype == S8 || dtype == U16 || dtype == S16; }

TEST(HostNpuRefusals, SayWhatIsWrong) {
  const auto library = Library::embedded(&hostnpu::get_providers, "host");
  const auto context = Context::create(Device::create(Backend::create(library)));
  int count = 0;
  for (const Refusal& refusal : refusals()) {
    SCOPED_TRACE(std::string(refusal.op) + ": " + refusal.words);
    GraphBuilder builder(context, "g" + std::to_string(count++));
    std::deque<std::vector<std::byte>> kept;
    const auto desc = [&](const Operand& operand, const std::string& name) {
      TensorDesc out{.name = name, .dtype = operand.dtype, .dims = operand.dims, .encoding = is_coded(operand.dtype) ? Encoding::scale_offset(0.1f, operand.offset) : Encoding::none(), .data = {}};
      if (!operand.constant) return out;
      size_t size = element_size(operand.dtype);
      for (const uint32_t dim : operand.dims) size *= dim;
      out.data = kept.emplace_back(size);
      return out;
    };
    NodeDesc node{.name = "n", .type = refusal.op, .inputs = {}, .outputs = {}, .params = refusal.params};
    for (size_t i = 0; i < refusal.inputs.size(); ++i) {
      const TensorDesc tensor = desc(refusal.inputs[i], "in" + std::to_string(i));
      node.inputs.push_back(refusal.inputs[i].constant ? builder.constant(tensor) : builder.input(tensor));
    }
    for (size_t i = 0; i < refusal.outputs.size(); ++i) node.outputs.push_back(builder.output(desc(refusal.outputs[i], "out" + std::to_string(i))));
    try {
      builder.node(node);
      ADD_FAILURE() << "it was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kQnnNode);
      EXPECT_NE(std::string(error.what()).find(refusal.words), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace lutra::qnn
