// A one-layer decoder without MLP, all float, with random weights: the smallest model that an engine runs.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "plan_writer.h"

namespace lutra::test {

using plan::DType;
using plan::RowsKind;
using plan::StepOp;
using plan::TensorKind;

inline constexpr uint32_t kVocab = 50, kHidden = 32, kHeads = 2, kKvHeads = 1, kHeadDim = 16, kContext = 40, kChunk = 8;

/// embed → norm → q k v → rope → attention → o → add → norm → logits, as program "cpu"; with `npu` also as program "npu", where two segments do the addition.
class TinyPlan {
 public:
  explicit TinyPlan(kv::Type kv) : w_({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, static_cast<double>(kv)}) {
    embed_ = weight("embed", {kVocab, kHidden});
    gain_ = weight("gain", {kHidden});
    q_ = weight("q", {32, kHidden});
    k_ = weight("k", {16, kHidden});
    v_ = weight("v", {16, kHidden});
    o_ = weight("o", {kHidden, 32});
  }

  void program(const std::string& name, bool npu) {
    const std::string prefix = npu ? "npu." : "";
    const auto chunk = [&](const char* tensor, uint32_t cols) { return w_.tensor(prefix + tensor, DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, cols}); };
    const auto logit = [&](const char* tensor, uint32_t cols) { return w_.tensor(prefix + tensor, DType::kF32, TensorKind::kActivation, RowsKind::kLogits, {kChunk, cols}); };
    const uint32_t x = chunk("x", kHidden), n = chunk("n", kHidden), q = chunk("aq", 32), k = chunk("ak", 16), v = chunk("av", 16), qr = chunk("qr", 32), kr = chunk("kr", 16), a = chunk("a", 32),
                   o = chunk("ao", kHidden), y = chunk("y", kHidden), s = logit("s", kHidden), sn = logit("sn", kHidden), l = logit("logits", kVocab);
    w_.step(StepOp::kEmbed, {embed_}, {x});
    w_.step(StepOp::kRmsNorm, {x, gain_}, {n}, {1e-5});
    w_.step(StepOp::kLinear, {n, q_, k_, v_}, {q, k, v}, {1});
    w_.step(StepOp::kRope, {q}, {qr}, {kHeads, kHeadDim, 10000, 0, 0});
    w_.step(StepOp::kRope, {k}, {kr}, {kKvHeads, kHeadDim, 10000, 0, 0});
    w_.step(StepOp::kKvAppend, {kr, v}, {}, {0});
    w_.step(StepOp::kAttention, {qr}, {a}, {0, kHeads, kKvHeads, kHeadDim, 0.25});
    w_.step(StepOp::kLinear, {a, o_}, {o}, {1});
    if (npu) {
      const uint32_t sum = chunk("sum", kHidden);
      segment("add", "ElementWiseAdd", {x, o}, sum);
      segment("copy", "Reshape", {sum}, y);
    } else {
      w_.step(StepOp::kAdd, {x, o}, {y});
      w_.step(StepOp::kObserve, {y}, {}, {3});
    }
    w_.step(StepOp::kSelectRows, {y}, {s});
    w_.step(StepOp::kRmsNorm, {s, gain_}, {sn}, {1e-5});
    w_.step(StepOp::kLinear, {sn, embed_}, {l}, {1});
    w_.program(name, l);
  }

  std::vector<std::byte> encode() const { return w_.encode(); }

 private:
  uint32_t weight(const char* name, std::vector<uint32_t> dims) { return w_.tensor(name, DType::kF32, TensorKind::kWeight, RowsKind::kFixed, std::move(dims), name); }
  void segment(const char* name, const char* op, const std::vector<uint32_t>& in, uint32_t out) {
    const uint32_t index = w_.segment(name, op, in, {out});
    w_.step(StepOp::kSegment, in, {out}, {static_cast<double>(index)});
  }

  PlanWriter w_;
  uint32_t embed_, gain_, q_, k_, v_, o_;
};

inline std::vector<std::byte> tiny_plan(kv::Type kv = kv::Type::kF32, bool npu = false) {
  TinyPlan plan(kv);
  if (npu) plan.program("npu", true);
  plan.program("cpu", false);
  return plan.encode();
}

struct TinyWeights {
  std::map<std::string, std::vector<float>> values;
  std::string file;

  TinyWeights() {
    std::mt19937 random(5);
    std::normal_distribution<float> normal(0, 0.3f);
    const std::pair<const char*, std::vector<uint32_t>> shapes[] = {{"embed", {kVocab, kHidden}}, {"gain", {kHidden}}, {"k", {16, kHidden}}, {"o", {kHidden, 32}}, {"q", {32, kHidden}}, {"v", {16, kHidden}}};
    std::string header = "{";
    size_t offset = 0;
    for (const auto& [name, dims] : shapes) {
      size_t count = 1;
      std::string shape;
      for (uint32_t d : dims) {
        count *= d;
        shape += (shape.empty() ? "" : ",") + std::to_string(d);
      }
      auto& v = values[name];
      for (size_t i = 0; i < count; ++i) v.push_back(dims.size() == 1 ? 1.0f + normal(random) : normal(random));
      header += (offset ? ",\"" : "\"") + std::string(name) + "\":{\"dtype\":\"F32\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + 4 * count) + "]}";
      offset += 4 * count;
    }
    header += "}";
    while (header.size() % 8 != 0) header += ' ';
    file = (std::filesystem::temp_directory_path() / ("lutra-plan-" + std::to_string(::getpid()) + ".safetensors")).string();
    std::ofstream out(file, std::ios::binary);
    const uint64_t size = header.size();
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << header;
    for (const auto& [name, dims] : shapes) out.write(reinterpret_cast<const char*>(values[name].data()), static_cast<std::streamsize>(values[name].size() * 4));
  }
  TinyWeights(const TinyWeights&) = delete;
  ~TinyWeights() { std::filesystem::remove(file); }
};

inline std::vector<uint32_t> some_tokens(uint32_t n) {
  std::vector<uint32_t> t;
  for (uint32_t i = 0; i < n; ++i) t.push_back((i * 37 + 11) % kVocab);
  return t;
}

}  // namespace lutra::test
