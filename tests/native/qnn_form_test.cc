// What nodes are told apart by, and what a device refuses by that.
#include <gtest/gtest.h>

#include <deque>

#include "base/error.h"
#include "hostnpu/hostnpu.h"
#include "qnn/form.h"

namespace lutra::qnn {
namespace {

using abi::DataType;

constexpr const char* kUnsaid = "MatMul [constant right side with a scale per channel, without the parameter transpose_in1]";

/// A node with tensors of its own.
class FormOf {
 public:
  explicit FormOf(const char* type, std::vector<ParamDesc> params = {}) : node_{"n", type, {}, {}, std::move(params)} {}

  FormOf& in(DataType dtype, std::vector<uint32_t> dims, Encoding encoding = {}) { return add(inputs_, dtype, std::move(dims), std::move(encoding), abi::TensorType::kNative); }
  FormOf& constant(DataType dtype, std::vector<uint32_t> dims, Encoding encoding = {}) { return add(inputs_, dtype, std::move(dims), std::move(encoding), abi::TensorType::kStatic); }
  FormOf& out(DataType dtype, std::vector<uint32_t> dims, Encoding encoding = {}) { return add(outputs_, dtype, std::move(dims), std::move(encoding), abi::TensorType::kAppRead); }
  std::string text() const { return form_of(node_, inputs_, outputs_); }

 private:
  FormOf& add(std::vector<const TensorRecord*>& list, DataType dtype, std::vector<uint32_t> dims, Encoding encoding, abi::TensorType type) {
    size_t bytes = element_size(dtype);
    for (const uint32_t dim : dims) bytes *= dim;
    if (type == abi::TensorType::kStatic) data_.emplace_back(bytes);
    const std::span<const std::byte> data = type == abi::TensorType::kStatic ? std::span<const std::byte>(data_.back()) : std::span<const std::byte>();
    records_.push_back(std::make_unique<TensorRecord>(TensorDesc{"t" + std::to_string(records_.size()), dtype, std::move(dims), std::move(encoding), data}, type));
    list.push_back(records_.back().get());
    return *this;
  }

  NodeDesc node_;
  std::deque<std::vector<std::byte>> data_;
  TensorList records_;
  std::vector<const TensorRecord*> inputs_, outputs_;
};

Encoding scale(int32_t offset) { return Encoding::scale_offset(0.1f, offset); }
Encoding per_output(int32_t axis, size_t count) { return Encoding::per_axis(axis, std::vector<float>(count, 0.1f)); }

TEST(Form, NamesTypesRolesAndEncodings) {
  EXPECT_EQ(FormOf("ElementWiseAdd").in(DataType::kFloat16, {2, 3}).constant(DataType::kFloat16, {3}).out(DataType::kFloat16, {2, 3}).text(), "ElementWiseAdd(f16, f16 constant) -> f16");
  EXPECT_EQ(FormOf("FullyConnected").in(DataType::kUfixed8, {2, 8}, scale(-128)).constant(DataType::kSfixed8, {4, 8}, per_output(0, 4)).out(DataType::kUfixed8, {2, 4}, scale(-128)).text(),
            "FullyConnected(u8, s8 constant axis) -> u8");
  EXPECT_EQ(FormOf("ElementWiseNeuron", {ParamDesc::u32("operation", 7)}).in(DataType::kFloat32, {4}).out(DataType::kFloat32, {4}).text(), "ElementWiseNeuron 7(f32) -> f32");
  EXPECT_EQ(FormOf("Concat").in(DataType::kInt32, {4}).in(DataType::kInt32, {2}).in(DataType::kInt32, {1}).out(DataType::kInt32, {7}).text(), "Concat(int32) -> int32");
}

TEST(Form, DoesNotDependOnShapesThatMakeNoDifference) {
  const auto add = [](std::vector<uint32_t> dims) { return FormOf("Relu").in(DataType::kFloat16, dims).out(DataType::kFloat16, dims).text(); };
  EXPECT_EQ(add({4}), add({1, 3, 16, 32}));
}

TEST(Form, TellsApartWhatLibrariesGetWrong) {
  const auto linear = [](uint32_t in, uint32_t out) {
    return FormOf("FullyConnected").in(DataType::kFloat16, {4, in}).constant(DataType::kSfixed8, {out, in}, per_output(0, out)).out(DataType::kFloat16, {4, out}).text();
  };
  EXPECT_EQ(linear(128, 64), "FullyConnected(f16, s8 constant axis) -> f16");
  EXPECT_EQ(linear(130, 32), "FullyConnected(f16, s8 constant axis) -> f16");
  EXPECT_EQ(linear(130, 33), "FullyConnected [F16 input length no multiple of 4, more than 32 outputs]");
  const auto product = [](int32_t offset) {
    return FormOf("MatMul").in(DataType::kUfixed16, {4, 8}, scale(-9)).in(DataType::kUfixed8, {8, 4}, scale(offset)).out(DataType::kUfixed16, {4, 4}, scale(-9)).text();
  };
  EXPECT_EQ(product(-128), "MatMul(u16, u8) -> u16");
  EXPECT_EQ(product(-100), "MatMul [16-bit activations by a zero point off the centre]");
}

TEST(Form, TellsApartCastsThatApplyAScale) {
  const auto cast = [](DataType from, Encoding from_scale, DataType to, Encoding to_scale) {
    return FormOf("Cast").in(from, {4}, std::move(from_scale)).out(to, {4}, std::move(to_scale)).text();
  };
  const std::string wrong = "Cast [a scale other than 1 on one side]";
  const Encoding one = Encoding::scale_offset(1.0f, 0);
  EXPECT_EQ(cast(DataType::kFloat32, {}, DataType::kSfixed8, scale(0)), wrong);
  EXPECT_EQ(cast(DataType::kFloat32, {}, DataType::kSfixed8, one), "Cast(f32) -> s8");
  EXPECT_EQ(cast(DataType::kSfixed8, scale(0), DataType::kInt32, {}), wrong);
  EXPECT_EQ(cast(DataType::kSfixed8, one, DataType::kInt32, {}), "Cast(s8) -> int32");
  EXPECT_EQ(cast(DataType::kSfixed8, scale(0), DataType::kSfixed8, scale(0)), "Cast(s8) -> s8");
  EXPECT_EQ(cast(DataType::kUfixed8, scale(0), DataType::kInt32, {}), "Cast(u8) -> int32");
}

TEST(Form, TellsApartBordersByWhereTheyAre) {
  const auto pad = [](DataType type, uint32_t scheme, std::vector<uint32_t> amounts, std::vector<uint32_t> dims) {
    const auto rank = static_cast<uint32_t>(dims.size());
    const Encoding encoding = type == DataType::kFloat32 || type == DataType::kFloat16 ? Encoding::none() : scale(0);
    return FormOf("Pad", {ParamDesc::u32("scheme", scheme), ParamDesc::tensor("pad_amount", {rank, 2}, std::move(amounts))}).in(type, dims, encoding).out(type, dims, encoding).text();
  };
  EXPECT_EQ(pad(DataType::kFloat32, 0, {0, 0, 1, 1, 0, 0, 0, 1}, {1, 2, 3, 4}), "Pad [constant border of the last of 4 dimensions of F32]");
  EXPECT_EQ(pad(DataType::kSfixed8, 0, {0, 0, 1, 1, 0, 0, 1, 0}, {1, 2, 3, 4}), "Pad [constant border of the last of 4 dimensions of S8]");
  EXPECT_EQ(pad(DataType::kFloat32, 0, {0, 0, 1, 1, 0, 0, 0, 0}, {1, 2, 3, 4}), "Pad(f32) -> f32");
  EXPECT_EQ(pad(DataType::kFloat32, 0, {1, 1, 0, 1}, {2, 3}), "Pad(f32) -> f32");
  EXPECT_EQ(pad(DataType::kUfixed8, 0, {0, 0, 1, 1, 0, 0, 0, 1}, {1, 2, 3, 4}), "Pad(u8) -> u8");
  EXPECT_EQ(pad(DataType::kFloat16, 3, {1, 1, 0, 1}, {2, 3}), "Pad [edge of floats]");
  EXPECT_EQ(pad(DataType::kFloat16, 0, {1, 1, 0, 1}, {2, 3}), "Pad(f16) -> f16");
}

TEST(Form, TellsApartWindowsSumsAndBetas) {
  const auto pool = [](DataType type, std::vector<uint32_t> dims, uint32_t rounding, bool counts) {
    const Encoding encoding = type == DataType::kFloat16 ? Encoding::none() : scale(0);
    return FormOf("PoolAvg2d", {ParamDesc::tensor("filter_size", {2}, {2, 2}), ParamDesc::tensor("stride", {2}, {2, 2}), ParamDesc::tensor("pad_amount", {2, 2}, {0, 0, 0, 0}),
                                ParamDesc::u32("rounding_mode", rounding), ParamDesc::boolean("count_pad_for_edges", counts)})
        .in(type, dims, encoding)
        .out(type, {1, 3, 3, dims[3]}, encoding)
        .text();
  };
  EXPECT_EQ(pool(DataType::kFloat16, {1, 5, 6, 16}, 1, false), "PoolAvg2d [windows of floats that stand out of the image]");
  EXPECT_EQ(pool(DataType::kFloat16, {1, 6, 6, 16}, 1, false), "PoolAvg2d(f16) -> f16");
  EXPECT_EQ(pool(DataType::kFloat16, {1, 5, 6, 16}, 0, true), "PoolAvg2d(f16) -> f16");
  EXPECT_EQ(pool(DataType::kFloat16, {1, 6, 6, 1}, 0, true), "PoolAvg2d [floats, padding counts, one channel]");
  EXPECT_EQ(pool(DataType::kUfixed8, {1, 5, 6, 1}, 1, true), "PoolAvg2d(u8) -> u8");
  const auto sum = [](uint32_t axis) {
    return FormOf("CumulativeSum", {ParamDesc::u32("axis", axis)}).in(DataType::kUfixed8, {2, 3}, scale(0)).out(DataType::kUfixed8, {2, 3}, scale(0)).text();
  };
  EXPECT_EQ(sum(0), "CumulativeSum [U8 along another axis than the last]");
  EXPECT_EQ(sum(1), "CumulativeSum(u8) -> u8");
  const auto x = [] { return std::move(FormOf("RmsNorm").in(DataType::kFloat16, {2, 4}).constant(DataType::kFloat16, {4})); };
  EXPECT_EQ(x().constant(DataType::kFloat16, {4}).out(DataType::kFloat16, {2, 4}).text(), "RmsNorm(f16, f16 constant, f16 constant) -> f16");  // zeros
  EXPECT_EQ(x().in(DataType::kFloat16, {4}).out(DataType::kFloat16, {2, 4}).text(), "RmsNorm [floats with a beta that is not 0]");
}

TEST(Form, NamesTheConditionWhateverTheTypes) {
  const auto product = [](std::vector<ParamDesc> params, DataType x) {
    FormOf form("MatMul", std::move(params));
    const Encoding encoding = x == DataType::kFloat16 ? Encoding::none() : scale(0);
    return form.in(x, {4, 8}, encoding).constant(DataType::kSfixed8, {8, 4}, per_output(1, 4)).out(x, {4, 4}, encoding).text();
  };
  EXPECT_EQ(product({}, DataType::kSfixed8), kUnsaid);
  EXPECT_EQ(product({ParamDesc::boolean("transpose_in0", false)}, DataType::kUfixed16), kUnsaid);
  EXPECT_EQ(product({ParamDesc::boolean("transpose_in1", false)}, DataType::kSfixed8), "MatMul(s8, s8 constant axis) -> s8");
  EXPECT_EQ(product({}, DataType::kFloat16), "MatMul(f16, s8 constant axis) -> f16");
}

LibraryInfo library(const std::string& provider, const std::string& build, abi::Version backend) {
  LibraryInfo info;
  info.provider = provider;
  info.build_id = build;
  info.backend = backend;
  return info;
}

TEST(Refusals, AreThoseOfTheBuildOrOfTheNearestRelease) {
  const std::vector<Measurement> known = {
      {"HTP", "v2.40", {5, 40, 0}, {{"old", {}}}}, {"HTP", "v2.51", {5, 51, 0}, {{"new", {}}}}, {"OTHER", "v2.51", {5, 51, 0}, {{"other", {}}}}};
  const auto has = [&](const char* build, abi::Version version, const char* form) { return refusals_for(library("HTP", build, version), known).contains(form); };
  EXPECT_TRUE(has("v2.51", {5, 51, 0}, "new"));
  EXPECT_TRUE(has("v2.40", {5, 51, 0}, "old"));
  EXPECT_TRUE(has("v2.60", {5, 60, 0}, "new"));
  EXPECT_TRUE(has("v2.41", {5, 41, 0}, "old"));
  EXPECT_TRUE(refusals_for(library("LUTRA_HOST", "v2.51", {5, 51, 0}), known).empty());
}

TEST(Refusals, ReachTheBuilderBeforeTheLibrary) {
  const auto host = Library::embedded(&hostnpu::get_providers, "host");
  const LibraryInfo& info = host->info();
  const std::vector<Measurement> measured = {{info.provider, info.build_id, info.backend, {{"Relu(f16) -> f16", {"it was measured", "Take Sigmoid."}}}}};
  GraphBuilder builder(Context::create(Device::create(Backend::create(host), DeviceTarget{}, measured)), "graph");
  const TensorRef x = builder.input({"x", DataType::kFloat16, {2, 3}, {}, {}}), y = builder.output({"y", DataType::kFloat16, {2, 3}, {}, {}});
  try {
    builder.node({"n", "Relu", {x}, {y}, {}});
    FAIL() << "the node was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kQnnNode);
    EXPECT_STREQ(error.what(), "node 'n' of graph 'graph', Relu(x: F16 [2, 3]) -> (y: F16 [2, 3]) is refused: it was measured");
    EXPECT_EQ(error.remedy(), "Take Sigmoid.");
  }
  // The graph is as it was before.
  builder.node({"n", "Sigmoid", {x}, {y}, {}});
  EXPECT_NO_THROW(builder.finalize());
}

}  // namespace
}  // namespace lutra::qnn
