// Encodes small plans for tests, record by record (docs/architecture.md, "Plan"). Written apart from lib/graph/encode.ts on purpose.
#pragma once

#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace lutra::test {

/// Writes the checksum that the bytes have.
inline void seal(std::span<std::byte> bytes) {
  const uint32_t value = plan::checksum(bytes);
  std::memcpy(bytes.data() + 4 * plan::kChecksumWord, &value, sizeof value);
}

class PlanWriter {
 public:
  explicit PlanWriter(std::vector<double> config) : config_(std::move(config)) { string(""); }

  uint32_t string(const std::string& text) {
    const auto at = static_cast<uint32_t>(strings_.size());
    strings_.insert(strings_.end(), text.begin(), text.end());
    strings_.push_back(0);
    return at;
  }

  uint32_t tensor(const std::string& name, plan::DType dtype, plan::TensorKind kind, plan::RowsKind rows, std::vector<uint32_t> dims, const std::string& weight = {}) {
    std::vector<uint32_t> w(plan::kTensorWords, 0);
    w[0] = string(name);
    w[1] = static_cast<uint32_t>(dtype);
    w[2] = static_cast<uint32_t>(kind);
    w[3] = static_cast<uint32_t>(rows);
    w[4] = static_cast<uint32_t>(dims.size());
    for (size_t d = 0; d < dims.size(); ++d) w[5 + d] = dims[d];
    w[13] = plan::kNoIndex;
    w[14] = weight.empty() ? plan::kNoIndex : string(weight);
    tensors_.insert(tensors_.end(), w.begin(), w.end());
    return static_cast<uint32_t>(tensors_.size() / plan::kTensorWords) - 1;
  }

  void quantize(uint32_t tensor, float scale, int32_t offset) {
    uint32_t* w = &tensors_[tensor * plan::kTensorWords];
    w[9] = 1;
    w[10] = std::bit_cast<uint32_t>(scale);
    w[11] = static_cast<uint32_t>(offset);
  }

  void axis(uint32_t tensor, uint32_t axis, uint32_t scales) {
    uint32_t* w = &tensors_[tensor * plan::kTensorWords];
    w[9] = 2;
    w[12] = axis;
    w[13] = scales;
  }

  void step(plan::StepOp op, const std::vector<uint32_t>& in, const std::vector<uint32_t>& out, const std::vector<double>& attrs = {}) {
    const auto ins = operands(in), outs = operands(out);
    const std::vector<uint32_t> w{static_cast<uint32_t>(op), ins, static_cast<uint32_t>(in.size()), outs, static_cast<uint32_t>(out.size()), static_cast<uint32_t>(attrs_.size())};
    steps_.insert(steps_.end(), w.begin(), w.end());
    attrs_.insert(attrs_.end(), attrs.begin(), attrs.end());
  }

  /// A segment of one node without parameters; returns its index.
  uint32_t segment(const std::string& name, const std::string& op, const std::vector<uint32_t>& in, const std::vector<uint32_t>& out) {
    const auto ins = operands(in), outs = operands(out);
    const auto node = static_cast<uint32_t>(nodes_.size() / plan::kNodeWords);
    const std::vector<uint32_t> n{string(op), string(name + "." + op), ins, static_cast<uint32_t>(in.size()), outs, static_cast<uint32_t>(out.size()), 0, 0};
    nodes_.insert(nodes_.end(), n.begin(), n.end());
    const auto segment_ins = operands(in), segment_outs = operands(out);  // of its own: records share none
    const std::vector<uint32_t> s{string(name), node, 1, segment_ins, static_cast<uint32_t>(in.size()), segment_outs, static_cast<uint32_t>(out.size()), 0};
    segments_.insert(segments_.end(), s.begin(), s.end());
    return static_cast<uint32_t>(segments_.size() / plan::kSegmentWords) - 1;
  }

  /// All steps since the last program.
  void program(const std::string& name, uint32_t logits) {
    const auto end = static_cast<uint32_t>(steps_.size() / plan::kStepWords);
    const std::vector<uint32_t> w{string(name), first_step_, end - first_step_, logits};
    programs_.insert(programs_.end(), w.begin(), w.end());
    first_step_ = end;
  }

  std::vector<std::byte> encode() const {
    std::vector<std::byte> out(4 * (plan::kHeaderWords + 2 * plan::kSections));
    std::vector<uint32_t> header{plan::kMagic, plan::kVersion, 0, plan::kSections, 0};
    const auto section = [&](const void* data, size_t bytes, size_t count) {
      while (out.size() % 8 != 0) out.push_back(std::byte{0});
      header.push_back(static_cast<uint32_t>(out.size()));
      header.push_back(static_cast<uint32_t>(count));
      const auto* begin = static_cast<const std::byte*>(data);
      if (bytes > 0) out.insert(out.end(), begin, begin + bytes);
    };
    section(config_.data(), config_.size() * 8, config_.size());
    section(strings_.data(), strings_.size(), strings_.size());
    section(tensors_.data(), tensors_.size() * 4, tensors_.size() / plan::kTensorWords);
    section(segments_.data(), segments_.size() * 4, segments_.size() / plan::kSegmentWords);
    section(nodes_.data(), nodes_.size() * 4, nodes_.size() / plan::kNodeWords);
    section(steps_.data(), steps_.size() * 4, steps_.size() / plan::kStepWords);
    section(programs_.data(), programs_.size() * 4, programs_.size() / plan::kProgramWords);
    section(operands_.data(), operands_.size() * 4, operands_.size());
    section(attrs_.data(), attrs_.size() * 8, attrs_.size());
    header[2] = static_cast<uint32_t>(out.size());
    std::memcpy(out.data(), header.data(), header.size() * 4);
    seal(out);
    return out;
  }

 private:
  uint32_t operands(const std::vector<uint32_t>& list) {
    const auto at = static_cast<uint32_t>(operands_.size());
    operands_.insert(operands_.end(), list.begin(), list.end());
    return at;
  }

  std::vector<double> config_, attrs_;
  std::vector<char> strings_;
  std::vector<uint32_t> tensors_, segments_, nodes_, steps_, programs_, operands_;
  uint32_t first_step_ = 0;
};

}  // namespace lutra::test
