// Backend and device: what contexts hang on.
#pragma once

#include <memory>
#include <string>

#include "hostnpu/log.h"
#include "hostnpu/node.h"
#include "hostnpu/object.h"
#include "hostnpu/runner.h"

namespace lutra::hostnpu {

inline constexpr const char* kBuildId = "v1.0.0-lutra-host";
inline constexpr abi::ApiVersion kApiVersion = {{2, 40, 0}, {1, 0, 0}};
inline constexpr abi::Version kSystemApiVersion = {1, 15, 0};

class Backend : public Object {
 public:
  static constexpr Kind kKind = Kind::kBackend;
  /// Throws lutra::Error when LUTRA_FORCE_KERNEL asks for what the processor lacks.
  Backend(std::shared_ptr<Log> log, const BackendCustomConfig* config);

  Runner& runner() noexcept { return runner_; }
  const kernels::GemmKernel& gemm() const noexcept { return gemm_; }
  const kernels::NpuOpKernels& ops() const noexcept { return ops_; }
  void log(abi::LogLevel level, const std::string& line) const noexcept {
    if (log_ != nullptr) log_->write(level, line);
  }
  /// Throws Failure when no form of the op takes this node; the log then has what it takes.
  void check(const Node& node) const;

 private:
  std::shared_ptr<Log> log_;
  Runner runner_;
  const kernels::GemmKernel& gemm_;
  const kernels::NpuOpKernels& ops_;
};

class Device : public Object {
 public:
  static constexpr Kind kKind = Kind::kDevice;
  Device() noexcept : Object(kKind) {}
};

/// The node of an OpConfig. `resolve` turns a tensor structure into what the node refers to.
template <class Resolve>
Node parse_node(const abi::OpConfig& config, const Resolve& resolve);

/// Checks counts and pointers of an OpConfig and its names; throws Failure.
void check_config(const abi::OpConfig& config);
Param parse_param(const abi::Param& param, const StaticData* data);

template <class Resolve>
Node parse_node(const abi::OpConfig& config, const Resolve& resolve) {
  check_config(config);
  Node node;
  node.name = config.name;
  node.type = config.type;
  for (uint32_t i = 0; i < config.input_count; ++i) node.inputs.push_back(resolve(config.inputs[i]));
  for (uint32_t i = 0; i < config.output_count; ++i) {
    node.outputs.push_back(resolve(config.outputs[i]));
    if (node.outputs.back() == nullptr) throw Failure(abi::kGraphInvalidOpConfig, "node '" + node.name + "' has an output of type NULL");
  }
  for (uint32_t i = 0; i < config.param_count; ++i) {
    const abi::Param& param = config.params[i];
    std::shared_ptr<const TensorInfo> tensor;
    if (param.type == abi::ParamType::kTensor) tensor = resolve(param.tensor);
    node.params.push_back(parse_param(param, tensor == nullptr ? nullptr : tensor->data.get()));
  }
  return node;
}

}  // namespace lutra::hostnpu
