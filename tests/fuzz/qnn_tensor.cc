#include "qnn_tensor.h"

#include <algorithm>
#include <limits>
#include <set>

#include "conformance/cases.h"

namespace lutra::fuzz {
namespace {

using abi::DataType;
using EncodingKind = qnn::Encoding::Kind;

constexpr uint64_t kMostBytes = uint64_t{1} << 40;
constexpr size_t kMostFormBytes = 8192;  // of a form's tensors together
constexpr DataType kTypes[] = {DataType::kFloat32, DataType::kFloat16, DataType::kUfixed8,  DataType::kSfixed8, DataType::kUfixed16, DataType::kSfixed16, DataType::kSfixed32,
                               DataType::kInt32,   DataType::kUint32,  DataType::kBool8,    DataType::kInt8,    DataType::kUint8,    DataType::kInt64,    DataType::kUint64,
                               DataType::kInt16,   DataType::kUint16,  DataType::kUfixed32, DataType::kSfixed4, DataType::kUfixed4,  DataType::kFloat64,  DataType::kString,
                               DataType::kUndefined};
constexpr uint32_t kLengths[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 128, 257};
constexpr uint32_t kWildLengths[] = {0, 1, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 1u << 20, 1u << 30};
constexpr float kWildScales[] = {0.0f, -1.0f, 1e-45f, 1e-38f, 3e38f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1.0f, 0.05f};
constexpr int32_t kWildOffsets[] = {0, 1, -1, -128, 127, -255, -32768, -65535, 65536, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};

size_t size_of(DataType type) noexcept {
  switch (static_cast<uint32_t>(type) & 0xff) {
    case 0x08: return 1;
    case 0x16: return 2;
    case 0x32: return 4;
    case 0x64: return 8;
    default: return 0;
  }
}

/// Capped, because dimensions may be anything.
size_t elements_of(const std::vector<uint32_t>& dims) noexcept {
  uint64_t count = 1;
  for (const uint32_t dim : dims) count = std::min(count * dim, kMostBytes);
  return count;
}

RawTensor raw(const conformance::Tensor& tensor, bool is_output) {
  RawTensor out;
  out.name = tensor.name;
  out.type = is_output ? abi::TensorType::kNative : tensor.role == conformance::Role::kConstant ? abi::TensorType::kStatic : abi::TensorType::kAppWrite;
  out.dtype = tensor.dtype;
  out.dims = tensor.dims;
  out.encoding = tensor.encoding;
  out.data = tensor.bytes;
  return out;
}

size_t bytes_of(const Form& form) {
  size_t total = 0;
  for (const auto* list : {&form.inputs, &form.outputs}) {
    for (const RawTensor& tensor : *list) total += tensor.bytes();
  }
  return total;
}

void add_forms(const conformance::GraphSpec& spec, std::vector<Form>& out) {
  for (const conformance::Node& node : spec.nodes()) {
    Form form{node.op, {}, {}, node.params};
    for (const size_t t : node.inputs) form.inputs.push_back(raw(spec.tensor(t), false));
    for (const size_t t : node.outputs) form.outputs.push_back(raw(spec.tensor(t), true));
    if (bytes_of(form) <= kMostFormBytes) out.push_back(std::move(form));
  }
}

/// Cases are named after their shapes. The references of large ones take seconds, and none of their nodes is small.
bool is_large(const std::string& name) {
  for (size_t i = 0, digits = 0; i < name.size(); ++i) {
    digits = name[i] >= '0' && name[i] <= '9' ? digits + 1 : 0;
    if (digits == 3) return true;
  }
  return false;
}

/// For an op that the table does not have small: two vectors in, one out.
Form guess(const std::string& op) {
  RawTensor vector;
  vector.name = "x";
  vector.type = abi::TensorType::kAppWrite;
  vector.dims = {1, 2, 8};
  Form form{op, {vector, vector}, {vector}, {}};
  form.outputs[0].type = abi::TensorType::kNative;
  return form;
}

// --------------------------------------------------------------------------------------------------------------- variations

std::vector<RawTensor*> tensors_of(Form& form) {
  std::vector<RawTensor*> out;
  for (auto* list : {&form.inputs, &form.outputs}) {
    for (RawTensor& tensor : *list) out.push_back(&tensor);
  }
  return out;
}

/// All dimensions of one length get another one.
void change_length(Form& form, ByteSource& source) {
  std::set<uint32_t> lengths;
  for (const RawTensor* tensor : tensors_of(form)) lengths.insert(tensor->dims.begin(), tensor->dims.end());
  if (lengths.empty()) return;
  const uint32_t from = *std::next(lengths.begin(), static_cast<ptrdiff_t>(source.below(lengths.size()))), to = source.of(kLengths);
  for (RawTensor* tensor : tensors_of(form)) std::replace(tensor->dims.begin(), tensor->dims.end(), from, to);
}

void break_encoding(RawTensor& tensor, ByteSource& source) {
  qnn::Encoding& e = tensor.encoding;
  switch (source.below(6)) {
    case 0: e.kind = static_cast<EncodingKind>(source.below(6)); break;
    case 1: e.scale = source.of(kWildScales); break;
    case 2: e.offset = source.of(kWildOffsets); break;
    case 3: e.axis = static_cast<int32_t>(source.below(6)) - 1; break;
    case 4: e.bits = static_cast<uint32_t>(source.below(12)); break;
    default:
      if (!e.scales.empty()) e.scales[source.below(e.scales.size())] = source.of(kWildScales);
      e.blocks = static_cast<uint32_t>(source.below(9));
      break;
  }
}

void break_tensor(RawTensor& tensor, ByteSource& source) {
  switch (source.below(8)) {
    case 0: tensor.dtype = source.of(kTypes); break;
    case 1: break_encoding(tensor, source); break;
    case 2: tensor.type = static_cast<abi::TensorType>(source.below(7)); break;
    case 3: tensor.dims.insert(tensor.dims.begin() + static_cast<ptrdiff_t>(source.below(tensor.dims.size() + 1)), source.of(kLengths)); break;
    case 4:
      if (!tensor.dims.empty()) tensor.dims.erase(tensor.dims.begin() + static_cast<ptrdiff_t>(source.below(tensor.dims.size())));
      break;
    case 5:
      if (!tensor.dims.empty()) tensor.dims[source.below(tensor.dims.size())] = source.of(kWildLengths);
      break;
    default:
      if (!tensor.dims.empty()) tensor.dims[source.below(tensor.dims.size())] = source.of(kLengths);
      break;
  }
}

uint32_t wild_word(uint32_t old, ByteSource& source) {
  switch (source.below(4)) {
    case 0: return old + 1;
    case 1: return old - 1;
    case 2: return source.of(kWildLengths);
    default: return static_cast<uint32_t>(source.below(9));
  }
}

void break_param(qnn::ParamDesc& param, ByteSource& source) {
  if (auto* tensor = std::get_if<qnn::TensorParam>(&param.value)) {
    if (!tensor->values.empty() && !source.one_in(4)) {
      uint32_t& value = tensor->values[source.below(tensor->values.size())];
      value = wild_word(value, source);
    } else if (source.one_in(2)) {
      tensor->dtype = source.of(kTypes);
    } else if (!tensor->dims.empty()) {
      tensor->dims[source.below(tensor->dims.size())] = source.of(kLengths);
      tensor->values.resize(std::min<size_t>(4096, elements_of(tensor->dims)), 1);
    }
    return;
  }
  switch (source.below(4)) {
    case 0: param.value = source.of(kWildScales); break;
    case 1: param.value = wild_word(std::holds_alternative<uint32_t>(param.value) ? std::get<uint32_t>(param.value) : 0, source); break;
    case 2: param.value = static_cast<int32_t>(wild_word(0, source)); break;
    default: param.value = source.one_in(2); break;
  }
}

void break_lists(Form& form, ByteSource& source) {
  auto& list = source.one_in(3) ? form.outputs : form.inputs;
  switch (source.below(5)) {
    case 0:
      if (!list.empty()) list.erase(list.begin() + static_cast<ptrdiff_t>(source.below(list.size())));
      break;
    case 1:
      if (!list.empty()) list.push_back(list[source.below(list.size())]);
      break;
    case 2:
      if (list.size() > 1) std::swap(list[0], list[source.below(list.size())]);
      break;
    case 3:
      if (!form.params.empty()) form.params.erase(form.params.begin() + static_cast<ptrdiff_t>(source.below(form.params.size())));
      break;
    default: form.params.push_back(qnn::ParamDesc::u32(source.one_in(2) ? "axis" : "operation", static_cast<uint32_t>(source.below(30)))); break;
  }
}

}  // namespace

uint64_t RawTensor::bytes() const noexcept {
  return std::min(kMostBytes, std::max<size_t>(1, size_of(dtype)) * elements_of(dims));
}

void RawTensor::fit_data() {
  const uint64_t wanted = bytes();
  const size_t had = data.size();
  data.resize(wanted, std::byte{0});
  for (size_t i = had; had != 0 && i < data.size(); ++i) data[i] = data[i - had];
  const bool has_axis = encoding.axis >= 0 && static_cast<size_t>(encoding.axis) < dims.size();
  if (encoding.scales.empty() || !has_axis) return;
  const size_t length = dims[static_cast<size_t>(encoding.axis)], scales = encoding.scales.size();
  if (length > wanted) return;
  encoding.scales.resize(length);
  for (size_t i = scales; i < length; ++i) encoding.scales[i] = encoding.scales[i - scales];
  if (!encoding.offsets.empty()) encoding.offsets.resize(length);
  const size_t block_scales = encoding.block_scales.size();
  if (block_scales == 0 || length * encoding.blocks > wanted) return;
  encoding.block_scales.resize(length * encoding.blocks);
  for (size_t i = block_scales; i < encoding.block_scales.size(); ++i) encoding.block_scales[i] = encoding.block_scales[i - block_scales];
}

abi::QuantizeParams RawTensor::quantize_params() {
  abi::QuantizeParams q{};
  q.definition = abi::QuantizeDefinition::kDefined;
  scales_.clear();
  encoding.offsets.resize(encoding.scales.size());
  for (size_t i = 0; i < encoding.scales.size(); ++i) scales_.push_back({encoding.scales[i], encoding.offsets[i]});
  const auto count = static_cast<uint32_t>(scales_.size());
  switch (encoding.kind) {
    case EncodingKind::kNone:
      q.definition = abi::QuantizeDefinition::kUndefined;
      q.encoding = abi::QuantizeEncoding::kUndefined;
      break;
    case EncodingKind::kScaleOffset:
      q.encoding = abi::QuantizeEncoding::kScaleOffset;
      q.scale_offset = {encoding.scale, encoding.offset};
      break;
    case EncodingKind::kAxis:
      q.encoding = abi::QuantizeEncoding::kAxisScaleOffset;
      q.axis = {encoding.axis, count, count == 0 ? nullptr : scales_.data()};
      break;
    case EncodingKind::kBwScaleOffset:
      q.encoding = abi::QuantizeEncoding::kBwScaleOffset;
      q.bw_scale_offset = {encoding.bits, encoding.scale, encoding.offset};
      break;
    case EncodingKind::kBwAxis:
      q.encoding = abi::QuantizeEncoding::kBwAxisScaleOffset;
      q.bw_axis = {encoding.bits, encoding.axis, count, count == 0 ? nullptr : encoding.scales.data(), encoding.offsets.data()};
      break;
    case EncodingKind::kBlockwise: {
      // The interface gives no lengths here: a description whose lists are too short for its shape cannot be told from a right one, so none is made.
      const bool has_axis = encoding.axis >= 0 && static_cast<size_t>(encoding.axis) < dims.size();
      const size_t length = has_axis ? dims[static_cast<size_t>(encoding.axis)] : 0;
      const bool whole = length == scales_.size() && encoding.block_scales.size() >= length * encoding.blocks;
      blockwise_ = {encoding.axis, scales_.data(), encoding.blocks, encoding.bits, 0, encoding.block_scales.data()};
      q.encoding = abi::QuantizeEncoding::kBlockwiseExpansion;
      q.blockwise_expansion = whole ? &blockwise_ : nullptr;
      break;
    }
  }
  return q;
}

abi::Tensor RawTensor::structure() {
  abi::Tensor tensor{};
  tensor.version = 1;
  abi::TensorV1& t = tensor.v1;
  t.id = id;
  t.name = name.c_str();
  t.type = type;
  t.dtype = dtype;
  t.quantize = quantize_params();
  t.rank = static_cast<uint32_t>(dims.size());
  t.dims = dims.empty() ? nullptr : dims.data();
  if (is_constant()) t.client = {data.data(), static_cast<uint32_t>(data.size())};
  return tensor;
}

const std::vector<Form>& forms(const std::vector<std::string>& ops) {
  static const std::vector<Form> all = [&ops] {
    std::vector<Form> list;
    for (const conformance::Case& one : conformance::all_cases()) {
      if (!is_large(one.name)) add_forms(one.graph(), list);
    }
    for (const std::string& op : ops) {
      if (std::none_of(list.begin(), list.end(), [&](const Form& form) { return form.op == op; })) list.push_back(guess(op));
    }
    return list;
  }();
  return all;
}

void vary(Form& form, ByteSource& source) {
  for (size_t n = source.below(3); n > 0; --n) change_length(form, source);
  if (!source.one_in(4)) return;
  for (size_t n = 1 + source.below(2); n > 0; --n) {
    const auto tensors = tensors_of(form);
    switch (source.below(4)) {
      case 0:
        if (!form.params.empty()) break_param(form.params[source.below(form.params.size())], source);
        break;
      case 1: break_lists(form, source); break;
      default:
        if (!tensors.empty()) break_tensor(*tensors[source.below(tensors.size())], source);
        break;
    }
  }
}

}  // namespace lutra::fuzz
