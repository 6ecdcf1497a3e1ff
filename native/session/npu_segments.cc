#include "session/npu_segments.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "hostnpu/hostnpu.h"
#include "qnn/context_image.h"
#include "qnn/stdout_guard.h"
#include "session/segment_graph.h"
#include "store/mapped_file.h"

namespace lutra::session {
namespace {

/// Names of weights that a CPU step reads and that stay in memory for it.
std::set<std::string_view> cpu_weights(const plan::Plan& plan, plan::ShadowResidency residency) {
  std::set<std::string_view> names;
  for (const plan::Program& program : plan.programs) {
    for (const plan::Step& step : program.steps) {
      if (step.op == plan::StepOp::kShadow && residency != plan::ShadowResidency::kAll) continue;
      for (uint32_t t : step.inputs) names.insert(plan.tensors[t].weight);
    }
  }
  return names;
}

void write_file(const std::string& file, std::span<const std::byte> bytes) {
  // A name of its own for every writer: two of them must not write into one file that a third maps.
  static std::atomic<uint32_t> writers{0};
  const std::string temporary = file + "." + std::to_string(::getpid()) + "-" + std::to_string(writers.fetch_add(1)) + ".part";
  std::error_code ignored;
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!out.flush()) {
      std::filesystem::remove(temporary, ignored);
      return;
    }
  }
  std::error_code failed;
  std::filesystem::rename(temporary, file, failed);
  if (failed) std::filesystem::remove(temporary, ignored);
}

}  // namespace

std::shared_ptr<qnn::Device> open_npu(const NpuOptions& options, ThreadPool& pool, qnn::LogOptions log, CallWatch* watch) {
  if (options.kind == NpuOptions::Kind::kHost) {
    hostnpu::BackendCustomConfig config{{}, pool.threads(), &pool, [](void* context, uint32_t tasks, void (*task)(void*, uint32_t), void* argument) {
                                          static_cast<ThreadPool*>(context)->run_erased(tasks, task, argument);
                                        }};
    std::memcpy(config.magic, hostnpu::kCustomConfigMagic, sizeof config.magic);
    auto library = qnn::Library::embedded(&hostnpu::get_providers, "host");
    return qnn::Device::create(qnn::Backend::create(std::move(library), std::move(log), &config));
  }
  // Qualcomm's runtime prints a line while it is loaded and started; standard output belongs to the caller.
  const qnn::StdoutGuard guard;
  const CallWatch::Call call(watch, CallWatch::Pace::kSlow, "opening the NPU library");
  return qnn::Device::create(qnn::Backend::create(qnn::Library::open(options.path), std::move(log)), {options.soc, std::nullopt}, options.measurements);
}

NpuSegments::NpuSegments(const plan::Plan& plan, const store::WeightStore& weights, std::shared_ptr<qnn::Device> device, const ContextCache& cache, CallWatch* watch,
                         plan::ShadowResidency residency)
    : watch_(watch), device_(std::move(device)) {
  const qnn::LibraryInfo& info = device_->backend()->library().info();
  const std::string key = cache.key + " " + info.provider + " " + info.build_id + " soc " + (device_->soc() ? std::to_string(*device_->soc()) : "default");
  from_cache_ = !cache.file.empty() && load(plan, cache, key);
  if (!from_cache_) build(plan, weights, cache, key, residency);
}

void NpuSegments::vote(qnn::PowerMode mode) {
  const CallWatch::Call call(watch_, CallWatch::Pace::kExecute, "deviceGetInfrastructure");
  power_ = device_->vote(mode);
}

void NpuSegments::wake() {
  if (!power_) return;
  const CallWatch::Call call(watch_, CallWatch::Pace::kExecute, "setPowerConfig");
  power_->wake();
}

void NpuSegments::rest() {
  if (!power_) return;
  const CallWatch::Call call(watch_, CallWatch::Pace::kExecute, "setPowerConfig");
  power_->rest();
}

NpuSegments::~NpuSegments() {
  const CallWatch::Call call(watch_, CallWatch::Pace::kSlow, "freeing the graphs");
  graphs_.clear();
  power_.reset();
  context_.reset();
  device_.reset();
}

bool NpuSegments::load(const plan::Plan& plan, const ContextCache& cache, const std::string& key) {
  try {
    const store::MappedFile file(cache.file);
    const qnn::ImageView image = qnn::decode_image(file.bytes());
    if (image.key != key) return false;
    const CallWatch::Call call(watch_, CallWatch::Pace::kSlow, "contextCreateFromBinary");
    auto context = qnn::Context::from_binary(device_, image.binary);
    std::vector<Bound> graphs;
    for (const plan::Segment& segment : plan.segments) {
      const qnn::GraphIds* ids = image.find(segment.name);
      if (ids == nullptr) return false;
      std::vector<qnn::TensorDesc> inputs, outputs;
      for (uint32_t t : segment.inputs) inputs.push_back(io_desc(plan.tensors[t]));
      for (uint32_t t : segment.outputs) outputs.push_back(io_desc(plan.tensors[t]));
      graphs.push_back({qnn::Graph::retrieve(context, *ids, inputs, outputs), {}, {}});
    }
    if (file.torn()) return false;
    context_ = std::move(context);
    graphs_ = std::move(graphs);
    return true;
  } catch (const Error&) {
    return false;  // missing, damaged, of another version: built again, and the file replaced
  }
}

void NpuSegments::build(const plan::Plan& plan, const store::WeightStore& weights, const ContextCache& cache, const std::string& key, plan::ShadowResidency residency) {
  {
    const CallWatch::Call call(watch_, CallWatch::Pace::kExecute, "contextCreate");
    context_ = qnn::Context::create(device_);
  }
  const std::set<std::string_view> keep = cpu_weights(plan, residency);
  std::vector<qnn::GraphIds> ids;
  for (const plan::Segment& segment : plan.segments) {
    const CallWatch::Call call(watch_, CallWatch::Pace::kSlow, "compiling the graph", static_cast<uint32_t>(graphs_.size()));
    graphs_.push_back({build_segment(plan, segment, weights, context_), {}, {}});
    ids.push_back(graphs_.back().graph.ids());
    for (const plan::Node& node : segment.nodes) {
      for (uint32_t t : node.inputs) {
        if (plan.tensors[t].kind == plan::TensorKind::kWeight && !keep.contains(plan.tensors[t].weight)) weights.release(weights.find(plan.tensors[t].weight));
      }
    }
  }
  weights.check_intact();  // nothing made of zeros is kept
  if (cache.file.empty() || cache.read_only) return;
  try {
    const CallWatch::Call call(watch_, CallWatch::Pace::kSlow, "contextGetBinary");
    write_file(cache.file, qnn::encode_image(key, *context_, ids));
  } catch (const Error&) {
    // The graphs are there all the same; the next start compiles again.
  }
}

void NpuSegments::bind(uint32_t segment, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) {
  Bound& b = graphs_[segment];
  b.inputs.clear();
  b.outputs.clear();
  for (size_t i = 0; i < inputs.size(); ++i) b.inputs.emplace_back(inputs[i], b.graph.input_bytes(i));
  for (size_t i = 0; i < outputs.size(); ++i) b.outputs.emplace_back(outputs[i], b.graph.output_bytes(i));
}

void NpuSegments::execute(uint32_t segment) {
  Bound& b = graphs_[segment];
  const auto library = [&] {
    const CallWatch::Call call(watch_, CallWatch::Pace::kExecute, "graphExecute", segment);
    b.graph.execute(b.inputs, b.outputs);
  };
  if (check_ == nullptr) {
    library();
  } else {
    check_->run(segment, b.inputs, b.outputs, library);
  }
}

}  // namespace lutra::session
