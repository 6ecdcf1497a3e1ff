#include "session/segment_graph.h"

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "plan/binder.h"

namespace lutra::session {
namespace {

qnn::abi::DataType qnn_dtype(plan::DType type, bool quantized) {
  using D = qnn::abi::DataType;
  switch (type) {
    case plan::DType::kF32: return D::kFloat32;
    case plan::DType::kF16: return D::kFloat16;
    case plan::DType::kU8: return quantized ? D::kUfixed8 : D::kUint8;
    case plan::DType::kS8: return quantized ? D::kSfixed8 : D::kInt8;
    case plan::DType::kU16: return quantized ? D::kUfixed16 : D::kUint16;
    case plan::DType::kS32: return quantized ? D::kSfixed32 : D::kInt32;
    case plan::DType::kU32: return D::kUint32;
    case plan::DType::kQ4_0: case plan::DType::kQ4_1: case plan::DType::kQ8_0: break;
  }
  throw Error(ErrorCode::kBadPlan, std::string("plan: an NPU segment uses a tensor of type ") + plan::dtype_name(type));
}

qnn::ParamDesc qnn_param(const plan::Param& p) {
  const std::string name(p.name);
  switch (p.type) {
    case plan::ParamType::kF32: return qnn::ParamDesc::f32(name, static_cast<float>(p.values[0]));
    case plan::ParamType::kU32: return qnn::ParamDesc::u32(name, static_cast<uint32_t>(p.values[0]));
    case plan::ParamType::kI32: return qnn::ParamDesc::i32(name, static_cast<int32_t>(p.values[0]));
    case plan::ParamType::kBool: return qnn::ParamDesc::boolean(name, p.values[0] != 0);
    case plan::ParamType::kU32Tensor1: case plan::ParamType::kU32Tensor: break;
  }
  return qnn::ParamDesc::tensor(name, {p.dims.begin(), p.dims.end()}, {p.values.begin(), p.values.end()});
}

/// One segment on its way into a graph: plan tensors are created when a node first names them.
class SegmentBuilder {
 public:
  SegmentBuilder(const plan::Plan& plan, const plan::Segment& segment, const store::WeightStore& weights, std::shared_ptr<const qnn::Context> context)
      : plan_(plan), segment_(segment), weights_(weights), builder_(std::move(context), std::string(segment.name)) {}

  qnn::Graph build() {
    for (uint32_t t : segment_.inputs) refs_[t] = builder_.input(desc(t));
    for (uint32_t t : segment_.outputs) refs_[t] = builder_.output(desc(t));
    for (const plan::Node& node : segment_.nodes) {
      qnn::NodeDesc d{std::string(node.name), std::string(node.op), refs(node.inputs), refs(node.outputs), {}};
      for (const plan::Param& p : node.params) d.params.push_back(qnn_param(p));
      builder_.node(d);
    }
    return builder_.finalize();
  }

 private:
  qnn::TensorDesc desc(uint32_t t) const {
    const plan::Tensor& tensor = plan_.tensors[t];
    qnn::TensorDesc d = io_desc(tensor);
    if (tensor.quant == plan::QuantKind::kAxis) {
      d.encoding = qnn::Encoding::per_axis(tensor.axis, plan::stored_weight(weights_, plan_.tensors[tensor.axis_scales]).as<float>(store::TensorType::kF32));
    }
    if (tensor.kind == plan::TensorKind::kWeight) d.data = plan::stored_weight(weights_, tensor).data;
    return d;
  }

  std::vector<qnn::TensorRef> refs(std::span<const uint32_t> tensors) {
    std::vector<qnn::TensorRef> out;
    for (uint32_t t : tensors) {
      auto [at, fresh] = refs_.try_emplace(t);
      if (fresh) at->second = plan_.tensors[t].kind == plan::TensorKind::kWeight ? builder_.constant(desc(t)) : builder_.internal(desc(t));
      out.push_back(at->second);
    }
    return out;
  }

  const plan::Plan& plan_;
  const plan::Segment& segment_;
  const store::WeightStore& weights_;
  qnn::GraphBuilder builder_;
  std::map<uint32_t, qnn::TensorRef> refs_;
};

}  // namespace

qnn::TensorDesc io_desc(const plan::Tensor& t) {
  qnn::TensorDesc d{std::string(t.name), qnn_dtype(t.dtype, t.quant != plan::QuantKind::kNone), {t.dims.begin(), t.dims.begin() + t.rank}, {}, {}};
  if (t.quant == plan::QuantKind::kScaleOffset) d.encoding = qnn::Encoding::scale_offset(t.scale, t.offset);
  return d;
}

qnn::Graph build_segment(const plan::Plan& plan, const plan::Segment& segment, const store::WeightStore& weights, std::shared_ptr<const qnn::Context> context) {
  return SegmentBuilder(plan, segment, weights, std::move(context)).build();
}

}  // namespace lutra::session
