#include "conformance/trial.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "conformance/npu.h"
#include "qnn/form.h"

namespace lutra::conformance {
namespace {

qnn::abi::TensorType tensor_type(Role role) {
  switch (role) {
    case Role::kInput: return qnn::abi::TensorType::kAppWrite;
    case Role::kOutput: return qnn::abi::TensorType::kAppRead;
    case Role::kConstant: return qnn::abi::TensorType::kStatic;
    case Role::kInternal: break;
  }
  return qnn::abi::TensorType::kNative;
}

void take_worse(Figures& worst, const Figures& figures) {
  worst.steps = std::max(worst.steps, figures.steps);
  worst.equal = std::min(worst.equal, figures.equal);
  if (!(figures.nmse <= worst.nmse)) worst.nmse = figures.nmse;  // NaN is worst
}

/// Beyond the bound of an excepted case, but recognisably the op: a coarse approximation, not another result.
bool is_coarse(DT dtype, const Figures& figures) {
  if (!is_quantized(dtype)) return is_float(dtype) && figures.nmse <= 1e-4;
  return figures.steps <= (limits(dtype).high > 255 ? 64 : 4);
}

}  // namespace

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk: return "ok";
    case Verdict::kRefused: return "refused";
    case Verdict::kWrong: return "wrong";
  }
  return "";
}

std::vector<std::string> Trial::forms() const {
  qnn::TensorList records;
  for (const Tensor& tensor : spec_.tensors()) records.push_back(std::make_unique<qnn::TensorRecord>(tensor.desc(), tensor_type(tensor.role)));
  const auto of = [&records](const std::vector<size_t>& tensors) {
    std::vector<const qnn::TensorRecord*> out;
    for (const size_t t : tensors) out.push_back(records[t].get());
    return out;
  };
  std::vector<std::string> forms;
  for (const Node& node : spec_.nodes()) {
    std::string form = qnn::form_of(qnn::NodeDesc{{}, node.op, {}, {}, node.params}, of(node.inputs), of(node.outputs));
    if (std::find(forms.begin(), forms.end(), form) == forms.end()) forms.push_back(std::move(form));
  }
  return forms;
}

Result Trial::run(std::shared_ptr<qnn::Device> device, const Subject& subject) const {
  Result result;
  const auto begin = std::chrono::steady_clock::now();
  const auto elapsed = [begin] { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count(); };
  std::vector<Bytes> outputs;
  try {
    outputs = Npu(std::move(device)).run(spec_);
    result.ms = elapsed();
  } catch (const Error& error) {
    result.ms = elapsed();
    result.verdict = Verdict::kRefused;
    result.message = error.what();
    return result;
  }
  result.figures.equal = 1;
  const std::vector<const Tensor*> references = spec_.with_role(Role::kOutput);
  for (size_t i = 0; i < references.size(); ++i) {
    const Figures figures = against_reference(*references[i], outputs[i], case_.outliers);
    take_worse(result.figures, figures);
    const std::optional<std::string> broken = violation(case_.bound_of(subject), figures);
    if (!broken) continue;
    if (subject.host || case_.exception.empty() || !is_coarse(references[i]->dtype, figures)) result.verdict = Verdict::kWrong;
    if (result.message.empty()) result.message = references[i]->name + ": " + *broken;
  }
  return result;
}

}  // namespace lutra::conformance
