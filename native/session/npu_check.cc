#include "session/npu_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "plan/values.h"
#include "session/npu_segments.h"
#include "session/segment_graph.h"

namespace lutra::session {
namespace {

constexpr double kFloorSteps = 4;

double relative_error(std::span<const float> found, std::span<const float> expected, double step) {
  double error = 0, power = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    // Both may have overflowed in F16, which is the model's matter.
    if (!std::isfinite(expected[i]) && !std::isfinite(found[i])) continue;
    const double difference = static_cast<double>(found[i]) - expected[i];
    error += difference * difference;
    power += static_cast<double>(expected[i]) * expected[i] + kFloorSteps * kFloorSteps * step * step;
  }
  if (error == 0) return 0;
  return std::isfinite(error) && power > 0 ? error / power : std::numeric_limits<double>::infinity();
}

/// The same for segments that differ in weights and scales only.
std::string kind_of(const plan::Plan& plan, const plan::Segment& segment) {
  std::string kind;
  const auto add = [&](std::span<const uint32_t> tensors) {
    for (uint32_t t : tensors) {
      const plan::Tensor& tensor = plan.tensors[t];
      kind.append(" ").append(plan::dtype_name(tensor.dtype));
      for (uint32_t d = 0; d < tensor.rank; ++d) kind.append(d == 0 ? "[" : ",").append(std::to_string(tensor.dims[d]));
    }
  };
  for (const plan::Node& node : segment.nodes) {
    kind += node.op;
    add(node.inputs);
    kind += " ->";
    add(node.outputs);
    kind += ";";
  }
  return kind;
}

}  // namespace

NpuCheck::NpuCheck(const plan::Plan& plan, const store::WeightStore& weights, ThreadPool& pool)
    : plan_(plan), weights_(weights), host_(open_npu({NpuOptions::Kind::kHost, {}, {}}, pool, {})) {}

void NpuCheck::run(size_t index, std::span<const std::span<const std::byte>> inputs, std::span<const std::span<std::byte>> outputs, const Execute& library) {
  const plan::Segment& segment = plan_.segments[index];
  const bool compared = kinds_.insert(kind_of(plan_, segment)).second;
  if (compared) library();
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::span<std::byte>> expected;
  for (const auto& buffer : outputs) memory.emplace_back(buffer.size());
  for (auto& buffer : memory) expected.emplace_back(buffer);
  build_segment(plan_, segment, weights_, qnn::Context::create(host_)).execute(inputs, expected);
  if (compared) compare(index, outputs, memory);
  for (size_t i = 0; i < outputs.size(); ++i) std::copy(expected[i].begin(), expected[i].end(), outputs[i].begin());
}

void NpuCheck::compare(size_t index, std::span<const std::span<std::byte>> found, std::span<const std::vector<std::byte>> expected) {
  const plan::Segment& segment = plan_.segments[index];
  ++verdict_.segments;
  for (size_t i = 0; i < found.size(); ++i) {
    const plan::Tensor& tensor = plan_.tensors[segment.outputs[i]];
    const double step = tensor.quant == plan::QuantKind::kScaleOffset ? tensor.scale : 0;
    const double error = relative_error(plan::real_values(tensor, found[i].data(), tensor.elements()), plan::real_values(tensor, expected[i].data(), tensor.elements()), step);
    if (error > verdict_.error || verdict_.what.empty()) {
      verdict_.error = error;
      verdict_.what = "'" + std::string(tensor.name) + "' of segment '" + std::string(segment.name) + "'";
    }
  }
  verdict_.right = verdict_.error <= kBound;
}

}  // namespace lutra::session
