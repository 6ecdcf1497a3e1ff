#include "conformance/npu.h"

namespace lutra::conformance {
namespace {

qnn::TensorRef create(qnn::GraphBuilder& builder, const Tensor& tensor) {
  switch (tensor.role) {
    case Role::kInput: return builder.input(tensor.desc());
    case Role::kConstant: return builder.constant(tensor.desc());
    case Role::kInternal: return builder.internal(tensor.desc());
    case Role::kOutput: break;
  }
  return builder.output(tensor.desc());
}

}  // namespace

std::vector<Bytes> Npu::run(const GraphSpec& spec) const {
  qnn::GraphBuilder builder(qnn::Context::create(device_), "graph");
  std::vector<qnn::TensorRef> refs;
  for (const Tensor& tensor : spec.tensors()) refs.push_back(create(builder, tensor));
  for (const Node& node : spec.nodes()) {
    qnn::NodeDesc desc{"node." + spec.tensor(node.outputs[0]).name, node.op, {}, {}, node.params};
    for (const size_t t : node.inputs) desc.inputs.push_back(refs[t]);
    for (const size_t t : node.outputs) desc.outputs.push_back(refs[t]);
    builder.node(desc);
  }
  qnn::Graph graph = builder.finalize();

  std::vector<Bytes> results;
  for (const Tensor* output : spec.with_role(Role::kOutput)) results.emplace_back(output->bytes.size());
  std::vector<std::span<const std::byte>> inputs;
  for (const Tensor* input : spec.with_role(Role::kInput)) inputs.emplace_back(input->bytes);
  const std::vector<std::span<std::byte>> outputs(results.begin(), results.end());
  graph.execute(inputs, outputs);
  return results;
}

}  // namespace lutra::conformance
