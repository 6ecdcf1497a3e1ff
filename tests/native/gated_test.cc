// A linear step and the silu_mul of its outputs, run as one: bit for bit what the two give apart.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "kernels/lowbit/lowbit.h"
#include "plan_writer.h"
#include "session/engine.h"

namespace lutra {
namespace {

using plan::DType;
using plan::RowsKind;
using plan::StepOp;
using plan::TensorKind;

constexpr uint32_t kVocab = 40, kHidden = 96, kInner = 200, kChunk = 8, kContext = 32;  // the last tile of kInner has 8 rows

/// A safetensors file in the temporary folder, gone with the object.
class WeightFile {
 public:
  void add(const std::string& name, const std::string& dtype, const std::string& shape, const void* data, size_t bytes) {
    header_ += (header_.empty() ? "{\"" : ",\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(data_.size()) + "," + std::to_string(data_.size() + bytes) + "]}";
    data_.append(static_cast<const char*>(data), bytes);
  }
  void add(const std::string& name, const std::vector<float>& values, uint32_t cols) {
    add(name, "F32", std::to_string(values.size() / cols) + "," + std::to_string(cols), values.data(), 4 * values.size());
  }
  std::string write() {
    header_ += "}";
    header_.resize((header_.size() + 7) / 8 * 8, ' ');
    const uint64_t size = header_.size();
    std::ofstream out(path_, std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << header_ << data_;
    return path_;
  }
  ~WeightFile() { std::filesystem::remove(path_); }

 private:
  std::string header_, data_, path_ = (std::filesystem::temp_directory_path() / ("lutra-gated-" + std::to_string(::getpid()) + ".safetensors")).string();
};

std::vector<std::byte> packed(kernels::WeightType type, uint32_t rows, uint32_t cols, std::mt19937& random) {
  std::normal_distribution<float> normal(0, 0.2f);
  std::vector<std::byte> out(kernels::packed_size(type, rows, cols));
  if (const auto format = kernels::low_bit_format(type)) {
    std::vector<uint8_t> codes(size_t{rows} * cols);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % (1u << format->bits));
    std::vector<float> scales(codes.size(), 0.05f), offsets(codes.size(), -0.1f);  // of any group
    kernels::pack_low_bit({*format, rows, cols, codes.data(), scales.data(), format->offset == kernels::Offset::kNone ? nullptr : offsets.data()}, out);
    return out;
  }
  std::vector<std::byte> blocks(size_t{rows} * cols / 32 * 34);  // Q8_0: an F16 scale and 32 codes
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(random());
  for (size_t i = 0; i < blocks.size(); i += 34) blocks[i] = std::byte{0}, blocks[i + 1] = std::byte{0x18};
  kernels::pack_ggml(type, blocks.data(), rows, cols, out);
  return out;
}

/// embed → gate, up → silu(gate) · up → logits as program "together"; as "apart" with a step in between.
std::vector<std::byte> gated_plan(kernels::WeightType type) {
  test::PlanWriter w({kVocab, kHidden, 1, 1, 1, 16, kContext, kChunk, static_cast<double>(kv::Type::kF32)});
  const auto weight = [&](const char* name, DType dtype, uint32_t rows, uint32_t cols) { return w.tensor(name, dtype, TensorKind::kWeight, RowsKind::kFixed, {rows, cols}, name); };
  const uint32_t embed = weight("embed", DType::kF32, kVocab, kHidden), head = weight("head", DType::kF32, kVocab, kInner);
  const uint32_t gate = weight("gate", static_cast<DType>(type), kInner, kHidden), up = weight("up", static_cast<DType>(type), kInner, kHidden);
  for (const std::string name : {"together", "apart"}) {
    const auto rows = [&](const char* tensor, RowsKind kind, uint32_t cols) { return w.tensor(name + "." + tensor, DType::kF32, TensorKind::kActivation, kind, {kChunk, cols}); };
    const uint32_t x = rows("x", RowsKind::kChunk, kHidden), g = rows("g", RowsKind::kChunk, kInner), u = rows("u", RowsKind::kChunk, kInner), m = rows("m", RowsKind::kChunk, kInner),
                   s = rows("s", RowsKind::kLogits, kInner), l = rows("l", RowsKind::kLogits, kVocab);
    w.step(StepOp::kEmbed, {embed}, {x});
    w.step(StepOp::kLinear, {x, gate, up}, {g, u}, {0});
    if (name == "apart") w.step(StepOp::kObserve, {u}, {}, {0});
    w.step(StepOp::kSiluMul, {g, u}, {m});
    w.step(StepOp::kSelectRows, {m}, {s});
    w.step(StepOp::kLinear, {s, head}, {l}, {1});
    w.program(name, l);
  }
  return w.encode();
}

TEST(Gated, TogetherEqualsApart) {
  using kernels::Offset;
  for (const auto type : {kernels::WeightType::kQ8_0, kernels::weight_type({2, 32, Offset::kNone}), kernels::weight_type({4, 64, Offset::kMinimum})}) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    WeightFile file;
    std::vector<float> embed(kVocab * kHidden), head(kVocab * kInner);
    for (float& v : embed) v = normal(random);
    for (float& v : head) v = normal(random);
    file.add("embed", embed, kHidden);
    file.add("head", head, kInner);
    for (const char* name : {"gate", "up"}) {
      const auto bytes = packed(type, kInner, kHidden, random);
      file.add(name, "U8", std::to_string(bytes.size()), bytes.data(), bytes.size());
    }
    const std::string path = file.write();
    for (const uint32_t threads : {1u, 2u, 3u}) {
      session::EngineOptions options;
      options.plan = gated_plan(type);
      options.files = {path};
      options.threads = threads;
      session::Engine engine(std::move(options));
      for (const uint32_t n : {1u, 3u, 8u, 20u}) {
        std::vector<uint32_t> tokens(n);
        for (uint32_t i = 0; i < n; ++i) tokens[i] = (i * 7 + n) % kVocab;
        const auto together = engine.prefill(tokens, session::LogitsWanted::kAll, "together");
        engine.truncate(0);
        const auto apart = engine.prefill(tokens, session::LogitsWanted::kAll, "apart");
        engine.truncate(0);
        ASSERT_EQ(together.size(), size_t{n} * kVocab);
        EXPECT_EQ(together, apart) << threads << " threads, " << n << " rows, type " << static_cast<uint32_t>(type);
        EXPECT_GT(std::abs(*std::max_element(together.begin(), together.end())), 0.1f);
      }
    }
  }
}

}  // namespace
}  // namespace lutra
