#include "napi/qnn_values.h"

#include <cmath>
#include <cstring>

#include "napi/arguments.h"

namespace lutra::addon {
namespace {

// More than any op takes; libraries copy shapes into arrays of a fixed length.
constexpr size_t kMaxRank = 8;
constexpr size_t kMaxName = 1024;
constexpr uint32_t kMaxOperands = 1u << 12;

[[noreturn]] void bad(const std::string& what) { throw Error(ErrorCode::kInvalidArgument, what); }

Napi::Object object_of(const Napi::Value& value, const std::string& what) {
  if (!value.IsObject()) bad(what + " is not an object");
  return value.As<Napi::Object>();
}

template <class T>
std::vector<T> typed(const Napi::Object& object, const char* name, napi_typedarray_type type) {
  const Napi::Value value = object.Get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) bad(std::string(name) + " is not a typed array of the expected type");
  const std::span<std::byte> bytes = array_bytes(value, name);
  std::vector<T> out(bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<int32_t> optional_offsets(const Napi::Object& object) {
  if (object.Get("offsets").IsUndefined()) return {};
  return typed<int32_t>(object, "offsets", napi_int32_array);
}

float finite_f32(const Napi::Object& object, const char* name) {
  const auto value = static_cast<float>(number(object, name));
  if (!std::isfinite(value)) bad(std::string(name) + " is not a number that F32 can hold");
  return value;
}

int32_t i32(const Napi::Object& object, const char* name) {
  const double value = number(object, name);
  if (!(value >= -2147483648.0 && value <= 2147483647.0) || value != std::floor(value)) bad(std::string(name) + " = " + std::to_string(value) + " is not a 32-bit integer");
  return static_cast<int32_t>(value);
}

/// Libraries compute with 1 / scale, and Qualcomm's corrupts its memory when that is not a number. Only a bias may have scale 0: it then takes that of its product.
void check_scale(float scale, qnn::abi::DataType dtype) {
  const bool usable = dtype == qnn::abi::DataType::kSfixed32 ? scale >= 0 : scale > 0;
  if (!usable || !std::isfinite(scale)) bad("an encoding of " + qnn::dtype_name(dtype) + " has a scale of " + std::to_string(scale));
}

/// 0 has to be among the values that a type can hold: where it is not, Qualcomm's compiler corrupts its memory.
void check_offset(int32_t offset, qnn::abi::DataType dtype) {
  using D = qnn::abi::DataType;
  const bool is_signed = dtype == D::kSfixed8 || dtype == D::kSfixed16;
  const int64_t bits = dtype == D::kSfixed8 || dtype == D::kUfixed8 ? 8 : dtype == D::kSfixed16 || dtype == D::kUfixed16 ? 16 : 0;
  if (bits == 0) return;
  const int64_t lo = is_signed ? -(int64_t{1} << (bits - 1)) : 0, hi = lo + (int64_t{1} << bits) - 1, zero = -int64_t{offset};
  if (zero < lo || zero > hi) bad("an encoding of " + qnn::dtype_name(dtype) + " has the offset " + std::to_string(offset) + ", so that 0 would be stored as " + std::to_string(zero));
}

qnn::Encoding encoding_of(const Napi::Object& object, qnn::abi::DataType dtype) {
  using Kind = qnn::Encoding::Kind;
  const std::string kind = string(object, "kind");
  qnn::Encoding out;
  if (kind == "scaleOffset" || kind == "bw") {
    out.kind = kind == "bw" ? Kind::kBwScaleOffset : Kind::kScaleOffset;
    out.scale = finite_f32(object, "scale");
    out.offset = i32(object, "offset");
    if (kind == "bw") out.bits = u32(object, "bits");
  } else if (kind == "axis" || kind == "bwAxis" || kind == "blockwise") {
    out.kind = kind == "axis" ? Kind::kAxis : kind == "bwAxis" ? Kind::kBwAxis : Kind::kBlockwise;
    out.axis = i32(object, "axis");
    out.scales = typed<float>(object, "scales", napi_float32_array);
    out.offsets = optional_offsets(object);
    if (kind != "axis") out.bits = u32(object, "bits");
    if (kind == "blockwise") {
      out.blocks = u32(object, "blocks");
      out.block_scales = typed<uint8_t>(object, "blockScales", napi_uint8_array);
    }
  } else {
    bad("encoding kind '" + kind + "' is unknown");
  }
  for (const float scale : out.scales) check_scale(scale, dtype);
  for (const int32_t offset : out.offsets) check_offset(offset, dtype);
  check_offset(out.offset, dtype);
  if (kind == "scaleOffset" || kind == "bw") check_scale(out.scale, dtype);
  if (kind == "bw" || kind == "bwAxis" || kind == "blockwise") {
    if (out.bits < 1 || out.bits > 16) bad("an encoding has " + std::to_string(out.bits) + " bits");
  }
  for (const uint8_t scale : out.block_scales) {
    if (scale == 0) bad("a block scale is 0");
  }
  return out;
}

std::vector<uint32_t> checked_dims(const Napi::Object& object, const std::string& what) {
  std::vector<uint32_t> dims = u32s(object, "dims");
  if (dims.empty() || dims.size() > kMaxRank) bad(what + " has " + std::to_string(dims.size()) + " dimensions; 1 to " + std::to_string(kMaxRank) + " are possible");
  return dims;
}

qnn::ParamDesc tensor_param(std::string name, const Napi::Object& object) {
  qnn::TensorParam tensor;
  tensor.dims = checked_dims(object, "parameter '" + name + "'");
  const Napi::Value values = object.Get("values");
  const auto type = values.IsTypedArray() ? values.As<Napi::TypedArray>().TypedArrayType() : napi_int8_array;
  if (type == napi_uint32_array) tensor.dtype = qnn::abi::DataType::kUint32;
  else if (type == napi_int32_array) tensor.dtype = qnn::abi::DataType::kInt32;
  else if (type == napi_float32_array) tensor.dtype = qnn::abi::DataType::kFloat32;
  else bad("the values of parameter '" + name + "' are no Uint32Array, Int32Array or Float32Array");
  tensor.values = typed<uint32_t>(object, "values", type);
  return {std::move(name), std::move(tensor)};
}

qnn::ParamDesc param_desc(const Napi::Value& value) {
  const Napi::Object object = object_of(value, "a parameter");
  std::string name = checked_name(object.Get("name"), "a parameter's name");
  const std::string type = string(object, "type");
  if (type == "tensor") return tensor_param(std::move(name), object);
  if (type == "f32") {
    // Infinities are meant: ReluMinMax without an upper bound.
    return qnn::ParamDesc::f32(std::move(name), static_cast<float>(number(object, "value")));
  }
  if (type == "u32") return qnn::ParamDesc::u32(std::move(name), u32(object, "value"));
  if (type == "i32") return qnn::ParamDesc::i32(std::move(name), i32(object, "value"));
  if (type == "bool") return qnn::ParamDesc::boolean(std::move(name), boolean_or(object, "value", false));
  bad("parameter '" + name + "' has type '" + type + "'");
}

template <class Read>
auto list_of(const Napi::Object& object, const char* name, const Read& read) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) bad(std::string(name) + " is not an array");
  const auto array = value.As<Napi::Array>();
  if (array.Length() > kMaxOperands) bad(std::string(name) + " has " + std::to_string(array.Length()) + " elements");
  std::vector<decltype(read(value))> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(read(array.Get(i)));
  return out;
}

qnn::TensorRef tensor_ref(const Napi::Value& value) {
  if (value.IsNull()) return qnn::TensorRef::omitted();
  const double index = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(index >= 0 && index < qnn::TensorRef::omitted().index) || index != std::floor(index)) bad("an operand is not a tensor of the graph");
  return {static_cast<uint32_t>(index)};
}

Napi::Object encoding_object(Napi::Env env, const qnn::Encoding& encoding) {
  using Kind = qnn::Encoding::Kind;
  Napi::Object o = Napi::Object::New(env);
  const auto axis = [&] {
    o.Set("axis", encoding.axis);
    auto scales = Napi::Float32Array::New(env, encoding.scales.size());
    std::copy(encoding.scales.begin(), encoding.scales.end(), scales.Data());
    o.Set("scales", scales);
    auto offsets = Napi::Int32Array::New(env, encoding.offsets.size());
    std::copy(encoding.offsets.begin(), encoding.offsets.end(), offsets.Data());
    o.Set("offsets", offsets);
  };
  switch (encoding.kind) {
    case Kind::kScaleOffset: case Kind::kBwScaleOffset:
      o.Set("kind", encoding.kind == Kind::kScaleOffset ? "scaleOffset" : "bw");
      o.Set("scale", encoding.scale);
      o.Set("offset", encoding.offset);
      if (encoding.kind == Kind::kBwScaleOffset) o.Set("bits", encoding.bits);
      break;
    case Kind::kAxis:
      o.Set("kind", "axis");
      axis();
      break;
    case Kind::kBwAxis:
      o.Set("kind", "bwAxis");
      o.Set("bits", encoding.bits);
      axis();
      break;
    case Kind::kNone: case Kind::kBlockwise: break;
  }
  return o;
}

Napi::Array tensors_array(Napi::Env env, const std::vector<qnn::BinaryTensor>& tensors) {
  Napi::Array out = Napi::Array::New(env);
  for (const qnn::BinaryTensor& t : tensors) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("id", t.id);
    o.Set("name", t.name);
    o.Set("dtype", static_cast<uint32_t>(t.dtype));
    o.Set("dims", numbers(env, t.dims));
    if (t.encoding.kind != qnn::Encoding::Kind::kNone) o.Set("encoding", encoding_object(env, t.encoding));
    out.Set(out.Length(), o);
  }
  return out;
}

}  // namespace

std::string checked_name(const Napi::Value& value, const std::string& what) {
  if (!value.IsString()) bad(what + " is not a string");
  std::string name = value.As<Napi::String>().Utf8Value();
  if (name.empty()) bad(what + " is empty");
  if (name.size() > kMaxName) bad(what + " is longer than " + std::to_string(kMaxName) + " bytes");
  if (name.find('\0') != std::string::npos) bad(what + " contains a NUL character");
  return name;
}

std::vector<std::span<std::byte>> arrays_bytes(const Napi::Value& value, const std::string& what) {
  if (!value.IsArray()) bad(what + " is not an array");
  const auto array = value.As<Napi::Array>();
  if (array.Length() > kMaxOperands) bad(what + " has " + std::to_string(array.Length()) + " elements");
  std::vector<std::span<std::byte>> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(array_bytes(array.Get(i), what + "[" + std::to_string(i) + "]"));
  return out;
}

std::optional<uint32_t> optional_u32(const Napi::Object& object, const char* name) {
  if (object.Get(name).IsUndefined()) return std::nullopt;
  return u32(object, name);
}

qnn::TensorDesc tensor_desc(const Napi::Object& object) {
  qnn::TensorDesc desc;
  desc.name = checked_name(object.Get("name"), "a tensor's name");
  desc.dtype = static_cast<qnn::abi::DataType>(u32(object, "dtype"));
  desc.dims = checked_dims(object, "tensor '" + desc.name + "'");
  const Napi::Value encoding = object.Get("encoding");
  if (!encoding.IsUndefined()) desc.encoding = encoding_of(object_of(encoding, "the encoding of tensor '" + desc.name + "'"), desc.dtype);
  return desc;
}

qnn::NodeDesc node_desc(const Napi::Object& object) {
  qnn::NodeDesc desc;
  desc.name = checked_name(object.Get("name"), "a node's name");
  desc.type = checked_name(object.Get("type"), "the type of node '" + desc.name + "'");
  desc.inputs = list_of(object, "inputs", tensor_ref);
  desc.outputs = list_of(object, "outputs", tensor_ref);
  desc.params = list_of(object, "params", param_desc);
  // No op is without; Qualcomm's validator crashes on some that have none.
  if (desc.inputs.empty() || desc.outputs.empty()) bad("node '" + desc.name + "' has no " + (desc.inputs.empty() ? "inputs" : "outputs"));
  return desc;
}

namespace {

/// The objects of the array `name`, which may be missing.
std::vector<Napi::Object> objects(const Napi::Object& options, const char* name) {
  const Napi::Value list = options.Get(name);
  if (list.IsUndefined()) return {};
  if (!list.IsArray()) bad(std::string(name) + " is not an array");
  const auto array = list.As<Napi::Array>();
  std::vector<Napi::Object> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value one = array.Get(i);
    if (!one.IsObject()) bad(std::string(name) + " holds something that is not an object");
    out.push_back(one.As<Napi::Object>());
  }
  return out;
}

}  // namespace

std::vector<qnn::Measurement> measurements(const Napi::Object& options) {
  std::vector<qnn::Measurement> out;
  for (const Napi::Object& o : objects(options, "measurements")) {
    const std::vector<uint32_t> version = u32s(o, "backendApiVersion");
    if (version.size() != 2) bad("backendApiVersion is not [major, minor]");
    qnn::Measurement measurement{string(o, "provider"), string(o, "buildId"), {version[0], version[1], 0}, {}};
    for (const Napi::Object& refusal : objects(o, "refusals")) measurement.refusals[string(refusal, "form")] = {string(refusal, "message"), string(refusal, "remedy")};
    out.push_back(std::move(measurement));
  }
  return out;
}

qnn::GraphOptions graph_options(const Napi::Object& object) {
  qnn::GraphOptions options;
  if (const auto level = optional_u32(object, "optimization")) {
    if (*level < 1 || *level > 3) bad("optimization = " + std::to_string(*level) + " is not 1, 2 or 3");
    options.optimization = static_cast<float>(*level);
  }
  options.vtcm_mb = optional_u32(object, "vtcmMb");
  if (const auto threads = optional_u32(object, "hvxThreads")) options.hvx_threads = *threads;
  return options;
}

Napi::Object description_object(Napi::Env env, const qnn::BinaryDescription& d) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("backendId", static_cast<uint32_t>(d.backend_id));
  o.Set("buildId", d.build_id);
  o.Set("apiVersion", qnn::to_string(d.core));
  o.Set("backendApiVersion", qnn::to_string(d.backend));
  o.Set("blobVersion", qnn::to_string(d.blob));
  o.Set("blobBytes", static_cast<double>(d.blob_bytes));
  o.Set("socVersion", d.soc_version);
  if (d.soc_model) o.Set("socModel", *d.soc_model);
  Napi::Array graphs = Napi::Array::New(env);
  for (const qnn::BinaryGraph& graph : d.graphs) {
    Napi::Object g = Napi::Object::New(env);
    g.Set("name", graph.name);
    g.Set("inputs", tensors_array(env, graph.inputs));
    g.Set("outputs", tensors_array(env, graph.outputs));
    graphs.Set(graphs.Length(), g);
  }
  o.Set("graphs", graphs);
  return o;
}

Napi::Array events_array(Napi::Env env, const std::vector<qnn::ProfileEvent>& events) {
  Napi::Array out = Napi::Array::New(env);
  for (const qnn::ProfileEvent& event : events) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("type", event.type);
    o.Set("identifier", event.identifier);
    o.Set("value", static_cast<double>(event.value));
    o.Set("unit", qnn::unit_name(event.unit));
    o.Set("depth", event.depth);
    out.Set(out.Length(), o);
  }
  return out;
}

Napi::Array numbers(Napi::Env env, const std::vector<uint32_t>& values) {
  Napi::Array out = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) out.Set(static_cast<uint32_t>(i), values[i]);
  return out;
}

}  // namespace lutra::addon
