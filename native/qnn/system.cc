#include "qnn/system.h"

#include <filesystem>
#include <utility>

#include "base/error.h"
#include "qnn/status.h"
#include "qnn/stdout_guard.h"

namespace lutra::qnn {
namespace {

constexpr const char* kFileName = "libQnnSystem.so";
constexpr const char* kRemedy = "lay libQnnSystem.so of the same release beside the backend library";

// SDK 2.44 changed the layouts of its system interface by accident; 2.45 took that back. Its core API is 2.33. System versions count releases as well: 2.45 has 1.9.
constexpr abi::Version kBrokenCore{2, 33, 0};
constexpr abi::Version kBrokenSystem{1, 8, 0};
constexpr uint32_t kMajor = 1;
constexpr uint32_t kMinimumMinor = 4;

// Bounds of what a sane binary contains: a description beyond them was misread.
constexpr uint32_t kMaxGraphs = 1u << 16, kMaxTensors = 1u << 16, kMaxRank = 32, kMaxScales = 1u << 24;

bool same_release(const abi::Version& a, const abi::Version& b) noexcept { return a.major == b.major && a.minor == b.minor; }

std::string text(const char* string) { return string == nullptr ? std::string() : std::string(string); }

[[noreturn]] void nonsense(const std::string& what) {
  throw Error(ErrorCode::kBadFile, "the description of the context binary makes no sense: " + what, "check that the binary is whole and was made by this release or an older one");
}

void bounded(uint32_t count, uint32_t most, const void* list, const char* what) {
  if (count > most) nonsense(std::to_string(count) + " " + what);
  if (count > 0 && list == nullptr) nonsense(std::string("no list of ") + what);
}

Encoding encoding_of(const abi::QuantizeParams& q) {
  Encoding out;
  if (q.definition != abi::QuantizeDefinition::kDefined) return out;
  switch (q.encoding) {
    case abi::QuantizeEncoding::kScaleOffset:
      return Encoding::scale_offset(q.scale_offset.scale, q.scale_offset.offset);
    case abi::QuantizeEncoding::kAxisScaleOffset:
      bounded(q.axis.count, kMaxScales, q.axis.scale_offset, "scales");
      out.kind = Encoding::Kind::kAxis;
      out.axis = q.axis.axis;
      for (uint32_t i = 0; i < q.axis.count; ++i) {
        out.scales.push_back(q.axis.scale_offset[i].scale);
        out.offsets.push_back(q.axis.scale_offset[i].offset);
      }
      return out;
    case abi::QuantizeEncoding::kBwScaleOffset:
      out.kind = Encoding::Kind::kBwScaleOffset;
      out.bits = q.bw_scale_offset.bitwidth;
      out.scale = q.bw_scale_offset.scale;
      out.offset = q.bw_scale_offset.offset;
      return out;
    case abi::QuantizeEncoding::kBwAxisScaleOffset:
      bounded(q.bw_axis.count, kMaxScales, q.bw_axis.scales, "scales");
      out.kind = Encoding::Kind::kBwAxis;
      out.bits = q.bw_axis.bitwidth;
      out.axis = q.bw_axis.axis;
      out.scales.assign(q.bw_axis.scales, q.bw_axis.scales + q.bw_axis.count);
      if (q.bw_axis.offsets != nullptr) out.offsets.assign(q.bw_axis.offsets, q.bw_axis.offsets + q.bw_axis.count);
      return out;
    default: return out;
  }
}

std::vector<BinaryTensor> tensors_of(const abi::Tensor* list, uint32_t count) {
  bounded(count, kMaxTensors, list, "tensors");
  std::vector<BinaryTensor> out;
  for (uint32_t i = 0; i < count; ++i) {
    if (list[i].version != 1 && list[i].version != 2) nonsense("a tensor of version " + std::to_string(list[i].version));
    const abi::TensorV1& t = list[i].v1;  // version 2 begins with the same fields
    bounded(t.rank, kMaxRank, t.dims, "dimensions");
    BinaryTensor tensor{t.id, text(t.name), t.type, t.dtype, {}, encoding_of(t.quantize)};
    if (t.rank > 0) tensor.dims.assign(t.dims, t.dims + t.rank);
    out.push_back(std::move(tensor));
  }
  return out;
}

std::vector<BinaryGraph> graphs_of(const abi::GraphInfo* list, uint32_t count) {
  bounded(count, kMaxGraphs, list, "graphs");
  std::vector<BinaryGraph> out;
  for (uint32_t i = 0; i < count; ++i) {
    if (list[i].version < 1 || list[i].version > 3) nonsense("a graph of version " + std::to_string(list[i].version));
    const abi::GraphInfoV1& g = list[i].v1;  // later versions begin with the same fields
    out.push_back({text(g.name), tensors_of(g.inputs, g.input_count), tensors_of(g.outputs, g.output_count)});
  }
  return out;
}

BinaryDescription description_of(const abi::BinaryInfo& info) {
  if (info.version < 1 || info.version > 3) nonsense("version " + std::to_string(info.version));
  const abi::BinaryInfoCommon& common = info.v1.common;  // all versions begin with it
  BinaryDescription out;
  out.backend_id = static_cast<abi::BackendId>(common.backend_id);
  out.build_id = text(common.build_id);
  out.core = common.core;
  out.backend = common.backend;
  out.soc_version = text(common.soc_version);
  if (info.version == 3) {
    out.blob = info.v3.context_blob_version;
    out.blob_bytes = info.v3.context_blob_size;
    out.soc_model = info.v3.soc_model;
    out.graphs = graphs_of(info.v3.graphs, info.v3.graph_count);
  } else {
    out.blob = info.v1.context_blob_version;
    out.blob_bytes = info.v1.context_blob_size;
    out.graphs = graphs_of(info.v1.graphs, info.v1.graph_count);
  }
  return out;
}

template <class Function>
Function slot(const abi::SystemInterface& provider, abi::SystemSlot index) noexcept {
  return reinterpret_cast<Function>(provider.table[static_cast<size_t>(index)]);
}

}  // namespace

System::System(abi::GetSystemProvidersFn get_providers, std::string source) : source_(std::move(source)) {
  const abi::SystemInterface** providers = nullptr;
  uint32_t count = 0;
  const abi::Status status = get_providers(&providers, &count);
  if (status != 0) throw Error(ErrorCode::kNotQnn, "'" + source_ + "' does not list its QNN system providers: error " + describe_status(status), kRemedy);
  const abi::SystemInterface* chosen = nullptr;
  std::string seen;
  for (uint32_t i = 0; providers != nullptr && i < count && chosen == nullptr; ++i) {
    if (providers[i] == nullptr) continue;
    const abi::Version& version = providers[i]->system;
    if (version.major == kMajor && version.minor >= kMinimumMinor) chosen = providers[i];
    seen.append(seen.empty() ? "" : ", ").append(to_string(version));
  }
  if (seen.empty()) throw Error(ErrorCode::kNotQnn, "'" + source_ + "' offers no QNN system provider", kRemedy);
  if (chosen == nullptr) {
    throw Error(ErrorCode::kQnnVersion, "'" + source_ + "' speaks version " + seen + " of the QNN system interface; lutra needs major version 1 and a minor version of 4 or more", kRemedy);
  }
  version_ = chosen->system;
  if (same_release(version_, kBrokenSystem)) {
    throw Error(ErrorCode::kUnsupported, "'" + source_ + "' is of SDK 2.44, whose system interface has another layout than its version says", "use another release");
  }
  create_ = slot<abi::SystemContextCreateFn>(*chosen, abi::SystemSlot::kContextCreate);
  get_binary_info_ = slot<abi::SystemContextGetBinaryInfoFn>(*chosen, abi::SystemSlot::kContextGetBinaryInfo);
  free_ = slot<abi::SystemContextFreeFn>(*chosen, abi::SystemSlot::kContextFree);
  if (create_ == nullptr || get_binary_info_ == nullptr || free_ == nullptr) {
    throw Error(ErrorCode::kNotQnn, "'" + source_ + "' leaves entries of the QNN system table empty that lutra needs", kRemedy);
  }
}

std::shared_ptr<const System> System::beside(const Library& library) {
  const LibraryInfo& info = library.info();
  if (same_release(info.core, kBrokenCore)) {
    throw Error(ErrorCode::kUnsupported, "'" + info.source + "' is of SDK 2.44, whose system interface has another layout than its version says", "use another release");
  }
  const StdoutGuard guard;  // some releases print when they are loaded
  const auto open = [](const std::string& path) -> std::shared_ptr<const System> {
    DynamicLibrary file(path);
    auto* get_providers = file.function<std::remove_pointer_t<abi::GetSystemProvidersFn>>(abi::kGetSystemProvidersSymbol);
    if (get_providers == nullptr) return nullptr;
    auto system = std::shared_ptr<System>(new System(get_providers, path));
    system->file_ = std::move(file);
    return system;
  };
  if (auto own = open(info.source)) return own;
  const std::string beside = (std::filesystem::path(info.source).parent_path() / kFileName).string();
  if (auto neighbour = open(beside)) return neighbour;
  throw Error(ErrorCode::kNotQnn, "'" + beside + "' does not export " + abi::kGetSystemProvidersSymbol, kRemedy);
}

std::shared_ptr<const System> System::embedded(abi::GetSystemProvidersFn get_providers, const std::string& name) {
  return std::shared_ptr<const System>(new System(get_providers, name));
}

BinaryDescription System::describe(std::span<const std::byte> binary) const {
  abi::SystemContextHandle handle = nullptr;
  abi::Status status = create_(&handle);
  if (status != 0) throw_status(ErrorCode::kQnnCall, "systemContextCreate", "'" + source_ + "'", status);
  const std::unique_ptr<abi::SystemContextTag, abi::SystemContextFreeFn> owner(handle, free_);
  const abi::BinaryInfo* info = nullptr;
  uint64_t info_bytes = 0;
  // The parameter is not const in the interface, but the bytes are only read.
  status = get_binary_info_(handle, const_cast<std::byte*>(binary.data()), binary.size(), &info, &info_bytes);
  if (status != 0) throw_status(ErrorCode::kBadFile, "systemContextGetBinaryInfo", "a binary of " + std::to_string(binary.size()) + " bytes", status);
  if (info == nullptr) nonsense("there is none");
  return description_of(*info);  // copied: what it points at goes with the handle
}

}  // namespace lutra::qnn
