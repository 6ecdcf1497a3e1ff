#include "host_linear.h"

#include <cstring>

#include "hostnpu/hostnpu.h"

namespace lutra::bench {
namespace {

using kernels::Element;
using kernels::GemmLayout;
using qnn::abi::DataType;

DataType type_of(Element element) {
  switch (element) {
    case Element::kU8: return DataType::kUfixed8;
    case Element::kS8: return DataType::kSfixed8;
    case Element::kU16: return DataType::kUfixed16;
    case Element::kS16: return DataType::kSfixed16;
    case Element::kF16: return DataType::kFloat16;
    case Element::kF32: return DataType::kFloat32;
  }
  return DataType::kUndefined;
}
DataType weight_type(GemmLayout layout) {
  return layout == GemmLayout::kFloatF32 ? DataType::kFloat32 : layout == GemmLayout::kFloatF16 ? DataType::kFloat16 : DataType::kSfixed8;
}
qnn::Encoding encoding_of(Element element, float scale) {
  if (!kernels::is_quantized(element)) return qnn::Encoding::none();
  const bool is_signed = element == Element::kS8 || element == Element::kS16;
  return qnn::Encoding::scale_offset(scale, is_signed ? 0 : kernels::is_16_bit(element) ? -32768 : -128);
}

}  // namespace

HostLinear::HostLinear(std::shared_ptr<const qnn::Library> library, const Linear& linear, std::span<const std::byte> x, std::span<const std::byte> w)
    : y_(size_t{linear.rows} * linear.outputs * element_size(linear.type)) {
  hostnpu::BackendCustomConfig config{{}, 1, nullptr, nullptr};
  std::memcpy(config.magic, hostnpu::kCustomConfigMagic, sizeof config.magic);
  const auto context = qnn::Context::create(qnn::Device::create(qnn::Backend::create(std::move(library), {}, &config)));
  qnn::GraphBuilder builder(context, "linear");
  const std::vector<float> scales(linear.outputs, 0.01f);
  const auto input = builder.input({"x", type_of(linear.type), {linear.rows, linear.depth}, encoding_of(linear.type, 0.02f), {}});
  const bool per_output = weight_type(linear.layout) == DataType::kSfixed8;
  const auto weight = builder.constant({"w", weight_type(linear.layout), {linear.outputs, linear.depth}, per_output ? qnn::Encoding::per_axis(0, scales) : qnn::Encoding::none(), w});
  const auto output = builder.output({"y", type_of(linear.type), {linear.rows, linear.outputs}, encoding_of(linear.type, 0.5f), {}});
  builder.node({"linear", "FullyConnected", {input, weight}, {output}, {}});
  graph_.emplace(builder.finalize());
  inputs_ = {x};
  outputs_ = {{y_.data(), y_.size()}};
}

void HostLinear::execute() { graph_->execute(inputs_, outputs_); }

}  // namespace lutra::bench
