#include "hostnpu/backend.h"

#include <cstring>

#include "base/cpu.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxCount = 1024;  // tensors or params of one node

std::string describe(const Node& node) {
  std::string text = "node '" + node.name + "', " + node.type + "(";
  for (size_t i = 0; i < node.inputs.size(); ++i) text += (i == 0 ? "" : "; ") + (node.inputs[i] == nullptr ? std::string("-") : node.inputs[i]->describe());
  text += ") -> (";
  for (size_t i = 0; i < node.outputs.size(); ++i) text += (i == 0 ? "" : "; ") + node.outputs[i]->describe();
  return text + ")";
}

}  // namespace

Backend::Backend(std::shared_ptr<Log> log, const BackendCustomConfig* config)
    : Object(kKind), log_(std::move(log)), runner_(config), gemm_(kernels::gemm_kernel(best_isa())), ops_(kernels::npu_op_kernel(best_isa())) {}

void Backend::check(const Node& node) const {
  const OpDefinition* op = find_op(node.type);
  if (op == nullptr) {
    std::string known;
    for (const OpDefinition* one : op_definitions()) known += std::string(known.empty() ? "" : ", ") + one->type;
    throw Failure(abi::kOpPackageValidationFailure, describe(node) + ": there is no op " + node.type + ". Ops of the host NPU: " + known);
  }
  try {
    op->check(node);
  } catch (const Failure& failure) {
    throw Failure(failure.code(), describe(node) + ": " + failure.what() + ". " + op->type + " takes: " + op->supports);
  }
}

void check_config(const abi::OpConfig& config) {
  if (config.version != 1) throw Failure(abi::kGraphInvalidOpConfig, "an OpConfig has version " + std::to_string(config.version));
  if (config.name == nullptr || config.type == nullptr || config.package == nullptr) throw Failure(abi::kGraphInvalidOpConfig, "an OpConfig lacks a name, type or package");
  const std::string name = config.name;
  if (std::strcmp(config.package, kOpPackage) != 0) {
    throw Failure(abi::kOpPackageValidationFailure, "node '" + name + "' is of package '" + config.package + "', only " + kOpPackage + " is known");
  }
  if (config.input_count > kMaxCount || config.output_count > kMaxCount || config.param_count > kMaxCount || (config.input_count != 0 && config.inputs == nullptr) ||
      (config.output_count != 0 && config.outputs == nullptr) || (config.param_count != 0 && config.params == nullptr)) {
    throw Failure(abi::kGraphInvalidOpConfig, "node '" + name + "' has lists whose lengths cannot be");
  }
}

Param parse_param(const abi::Param& param, const StaticData* data) {
  if (param.name == nullptr) throw Failure(abi::kGraphInvalidOpConfig, "a parameter has no name");
  Param out;
  out.name = param.name;
  if (param.type == abi::ParamType::kScalar) {
    out.dtype = param.scalar.dtype;
    out.bits = out.dtype == abi::DataType::kBool8 ? param.scalar.bool8 : data_type_size(out.dtype) == 8 ? param.scalar.bits : param.scalar.u32;
    return out;
  }
  if (param.type != abi::ParamType::kTensor) throw Failure(abi::kGraphInvalidOpConfig, "parameter '" + out.name + "' is neither scalar nor tensor");
  const TensorInfo info = parse_tensor(param.tensor);
  out.is_tensor = true;
  out.dtype = info.dtype;
  out.dims = info.dims;
  if (data_type_size(info.dtype) != 4) return out;
  const abi::ClientBuffer& given = param.tensor.v1.client;
  const void* from = nullptr;
  if (data != nullptr && data->raw().size() == info.bytes()) {
    from = data->raw().data();
  } else if (param.tensor.v1.mem_type == abi::TensorMemType::kRaw && given.size == info.bytes()) {
    from = given.data;
  }
  if (from == nullptr) return out;
  out.words.resize(info.elements());
  std::memcpy(out.words.data(), from, info.bytes());
  return out;
}

}  // namespace lutra::hostnpu
