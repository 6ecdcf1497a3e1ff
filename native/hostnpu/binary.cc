#include "hostnpu/binary.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

namespace lutra::hostnpu {
namespace {

constexpr char kMagic[8] = {'L', 'U', 'T', 'R', 'A', 'C', 'T', 'X'};
constexpr size_t kDataAlignment = 64;
constexpr uint32_t kMaxId = 0x7fffffff;

struct Header {
  char magic[8];
  uint32_t version, zero;
  uint64_t size, checksum;
  uint64_t reserved[4];
};
static_assert(sizeof(Header) == 64);

/// Finds truncation and bit errors, at memory speed; not a signature.
uint64_t checksum_of(std::span<const std::byte> bytes) noexcept {
  uint64_t lanes[4] = {0x243F6A8885A308D3u, 0x13198A2E03707344u, 0xA4093822299F31D0u, bytes.size()};
  const auto mix = [](uint64_t& lane, uint64_t word) {
    lane = (lane ^ word) * 0x9FB21C651E98DF25u;
    lane ^= lane >> 29;
  };
  size_t i = 0;
  for (; i + 32 <= bytes.size(); i += 32) {
    uint64_t words[4];
    std::memcpy(words, bytes.data() + i, 32);
    for (int lane = 0; lane < 4; ++lane) mix(lanes[lane], words[lane]);
  }
  for (; i < bytes.size(); ++i) mix(lanes[0], static_cast<uint64_t>(bytes[i]) + 1);
  for (int lane = 1; lane < 4; ++lane) mix(lanes[0], lanes[lane]);
  return lanes[0];
}

/// Writes forward, or only counts when there is nothing to write to.
class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}

  void bytes(const void* data, size_t size) {
    if (!out_.empty()) {
      if (size > out_.size() - at_) throw Failure(abi::kContextInvalidArgument, "the buffer is too small for the context binary");
      if (size != 0) std::memcpy(out_.data() + at_, data, size);
    }
    at_ += size;
  }
  template <class T>
  void value(T v) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    bytes(&v, sizeof v);
  }
  void text(const std::string& s) {
    value(static_cast<uint32_t>(s.size()));
    bytes(s.data(), s.size());
  }
  template <class T>
  void list(const std::vector<T>& v) {
    value(static_cast<uint32_t>(v.size()));
    bytes(v.data(), v.size() * sizeof(T));
  }
  void blob(std::span<const std::byte> data) {
    value(static_cast<uint64_t>(data.size()));
    align();
    bytes(data.data(), data.size());
  }
  size_t at() const noexcept { return at_; }

 private:
  void align() {
    constexpr std::byte kZeros[kDataAlignment] = {};
    bytes(kZeros, (kDataAlignment - at_ % kDataAlignment) % kDataAlignment);
  }
  std::span<std::byte> out_;
  size_t at_ = 0;
};

[[noreturn]] void damaged(const std::string& what) { throw Failure(abi::kContextCreateFromBinary, "the context binary is not usable: " + what); }

/// Reads forward and refuses to leave the bytes.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, size_t at) : bytes_(bytes), at_(at) {}

  std::span<const std::byte> take(uint64_t size) {
    if (size > bytes_.size() - at_) damaged("it ends early");
    const auto out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }
  template <class T>
  T value() {
    T v;
    std::memcpy(&v, take(sizeof v).data(), sizeof v);
    return v;
  }
  bool flag() { return value<uint8_t>() != 0; }
  std::string text() {
    const auto from = take(value<uint32_t>());
    if (std::find(from.begin(), from.end(), std::byte{0}) != from.end()) damaged("a NUL inside a name");  // the interface's names end there
    return {reinterpret_cast<const char*>(from.data()), from.size()};
  }
  /// The number of things that follow, each of at least `least` bytes.
  uint32_t count(size_t least) {
    const auto n = value<uint32_t>();
    if (n > (bytes_.size() - at_) / least) damaged("it ends early");
    return n;
  }
  template <class T>
  std::vector<T> list() {
    const uint32_t n = count(sizeof(T));
    std::vector<T> v(n);
    const auto from = take(uint64_t{n} * sizeof(T));
    if (n != 0) std::memcpy(v.data(), from.data(), from.size());
    return v;
  }
  std::span<const std::byte> blob() {
    const auto size = value<uint64_t>();
    take((kDataAlignment - at_ % kDataAlignment) % kDataAlignment);
    return take(size);
  }
  bool at_end() const noexcept { return at_ == bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  size_t at_;
};

void write_tensor(Writer& out, const TensorInfo& tensor) {
  out.value(tensor.id);
  out.text(tensor.name);
  out.value(tensor.type);
  out.value(tensor.dtype);
  out.list(tensor.dims);
  out.value(tensor.quantization.kind);
  out.value(tensor.quantization.axis);
  out.list(tensor.quantization.values);
  if (!tensor.is_static()) return;
  out.value(static_cast<uint8_t>(tensor.data->has_raw()));
  if (tensor.data->has_raw()) out.blob(tensor.data->raw());
  out.value(static_cast<uint32_t>(tensor.data->all_packed().size()));
  for (const StaticData::Packed& packed : tensor.data->all_packed()) {
    out.value(packed.layout);
    out.value(static_cast<uint8_t>(packed.transposed));
    out.value(packed.outputs);
    out.value(packed.depth);
    out.blob(packed.data.bytes());
  }
}

StoredTensor read_tensor(Reader& in) {
  StoredTensor out;
  TensorInfo& info = out.info;
  info.id = in.value<uint32_t>();
  info.name = in.text();
  info.type = in.value<abi::TensorType>();
  info.dtype = in.value<abi::DataType>();
  info.dims = in.list<uint32_t>();
  info.quantization.kind = in.value<Quantization::Kind>();
  info.quantization.axis = in.value<int32_t>();
  info.quantization.values = in.list<kernels::Affine>();
  const bool known_type = info.is_input() || info.is_output() || info.is_static() || info.type == abi::TensorType::kNative;
  if (info.id == 0 || info.id > kMaxId || !known_type || info.quantization.kind > Quantization::Kind::kOther) damaged("a tensor is described wrongly");
  check_tensor(info);
  if (!info.is_static()) return out;
  out.has_raw = in.flag();
  if (out.has_raw) out.raw = in.blob();
  if (out.has_raw && out.raw.size() != info.bytes()) damaged("constant '" + info.name + "' has the wrong size");
  const uint32_t count = in.count(9);
  for (uint32_t i = 0; i < count; ++i) {
    StoredPacked packed{};
    packed.layout = in.value<kernels::GemmLayout>();
    packed.transposed = in.flag();
    packed.outputs = in.value<uint32_t>();
    packed.depth = in.value<uint32_t>();
    packed.data = in.blob();
    const bool known = packed.layout >= kernels::GemmLayout::kDotS8 && packed.layout <= kernels::GemmLayout::kFloatF32;
    if (!known || packed.outputs == 0 || packed.depth == 0 || uint64_t{packed.outputs} * packed.depth != info.elements() ||
        packed.data.size() != kernels::gemm_packed_size(packed.layout, packed.outputs, packed.depth)) {
      damaged("weight '" + info.name + "' has the wrong size");
    }
    out.packed.push_back(packed);
  }
  return out;
}

void write_ids(Writer& out, const std::vector<std::shared_ptr<const TensorInfo>>& tensors) {
  out.value(static_cast<uint32_t>(tensors.size()));
  for (const auto& tensor : tensors) out.value(tensor == nullptr ? uint32_t{0} : tensor->id);
}

void write_node(Writer& out, const Node& node) {
  out.text(node.name);
  out.text(node.type);
  write_ids(out, node.inputs);
  write_ids(out, node.outputs);
  out.value(static_cast<uint32_t>(node.params.size()));
  for (const Param& param : node.params) {
    out.text(param.name);
    out.value(static_cast<uint8_t>(param.is_tensor));
    out.value(param.dtype);
    out.value(param.bits);
    out.list(param.dims);
    out.list(param.words);
  }
}

StoredNode read_node(Reader& in) {
  StoredNode out;
  out.name = in.text();
  out.type = in.text();
  out.inputs = in.list<uint32_t>();
  out.outputs = in.list<uint32_t>();
  const uint32_t count = in.count(25);
  for (uint32_t i = 0; i < count; ++i) {
    Param param;
    param.name = in.text();
    param.is_tensor = in.flag();
    param.dtype = in.value<abi::DataType>();
    param.bits = in.value<uint64_t>();
    param.dims = in.list<uint32_t>();
    param.words = in.list<uint32_t>();
    out.params.push_back(std::move(param));
  }
  return out;
}

std::shared_ptr<TensorInfo> restore_tensor(const StoredTensor& stored) {
  auto tensor = std::make_shared<TensorInfo>(stored.info);
  if (!tensor->is_static()) return tensor;
  tensor->data = stored.has_raw ? std::make_shared<StaticData>(stored.raw) : std::make_shared<StaticData>();
  for (const StoredPacked& packed : stored.packed) {
    StaticData::Packed copy{packed.layout, packed.transposed, packed.outputs, packed.depth, AlignedBuffer(packed.data.size())};
    std::memcpy(copy.data.data(), packed.data.data(), packed.data.size());
    tensor->data->adopt(std::move(copy));
  }
  return tensor;
}

void restore_graph(const StoredGraph& stored, Context& context, const Watch* watch) {
  const auto graph = context.create_graph(stored.name);
  for (const StoredTensor& tensor : stored.tensors) {
    graph->add_tensor(restore_tensor(tensor));
    context.reserve_ids(tensor.info.id);
  }
  const auto find = [&](uint32_t id) -> std::shared_ptr<const TensorInfo> {
    auto tensor = graph->tensor(id);
    if (tensor == nullptr) tensor = context.tensor(id);
    if (tensor == nullptr) damaged("a node uses a tensor that does not exist");
    return tensor;
  };
  for (const StoredNode& from : stored.nodes) {
    Node node;
    node.name = from.name;
    node.type = from.type;
    node.params = from.params;
    for (const uint32_t id : from.inputs) node.inputs.push_back(id == 0 ? nullptr : find(id));
    for (const uint32_t id : from.outputs) node.outputs.push_back(find(id));
    graph->add_node(std::move(node), context.backend());
  }
  graph->finalize(context, nullptr, watch);
}

/// Refuses names of graphs that the binary does not have.
void check_wanted(const StoredContext& stored, const std::vector<std::string>& wanted) {
  for (const std::string& name : wanted) {
    const bool known = std::any_of(stored.graphs.begin(), stored.graphs.end(), [&](const StoredGraph& graph) { return graph.name == name; });
    if (!known) throw Failure(abi::kContextInvalidConfig, "the context binary has no graph '" + name + "', which the configuration enables");
  }
}

}  // namespace

uint64_t write_binary(const Context& context, std::span<std::byte> out) {
  for (const auto& graph : context.graphs()) {
    if (!graph->finalized()) throw Failure(abi::kContextNotFinalized, "graph '" + graph->name() + "' is not finalized");
  }
  Writer writer(out);
  const Header unsealed{};
  writer.bytes(&unsealed, sizeof unsealed);
  writer.value(static_cast<uint32_t>(context.tensors().size()));
  for (const auto& tensor : context.tensors()) write_tensor(writer, *tensor);
  writer.value(static_cast<uint32_t>(context.graphs().size()));
  for (const auto& graph : context.graphs()) {
    writer.text(graph->name());
    writer.value(static_cast<uint32_t>(graph->tensors().size()));
    for (const auto& tensor : graph->tensors()) write_tensor(writer, *tensor);
    writer.value(static_cast<uint32_t>(graph->nodes().size()));
    for (const Node& node : graph->nodes()) write_node(writer, node);
  }
  if (!out.empty()) seal_binary(out.first(writer.at()));
  return writer.at();
}

void seal_binary(std::span<std::byte> binary) noexcept {
  Header header{};
  if (binary.size() < sizeof header) return;
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kBinaryVersion;
  header.size = binary.size();
  header.checksum = checksum_of(binary.subspan(sizeof header));
  std::memcpy(binary.data(), &header, sizeof header);
}

StoredContext read_binary(std::span<const std::byte> bytes) {
  Header header{};
  if (bytes.size() < sizeof header) damaged("it is shorter than its header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) damaged("it was not written by the host NPU");
  if (header.version != kBinaryVersion) {
    throw Failure(abi::kContextBinaryVersion, "the context binary has version " + std::to_string(header.version) + ", this library reads " + std::to_string(kBinaryVersion));
  }
  if (header.size != bytes.size()) damaged("it has " + std::to_string(bytes.size()) + " bytes instead of " + std::to_string(header.size));
  Header expected = header;
  expected.zero = 0;
  std::memset(expected.reserved, 0, sizeof expected.reserved);
  expected.checksum = checksum_of(bytes.subspan(sizeof header));
  if (std::memcmp(&header, &expected, sizeof header) != 0) damaged("its checksum is wrong");
  Reader in(bytes, sizeof header);
  StoredContext out;
  for (uint32_t n = in.count(1); n != 0; --n) out.tensors.push_back(read_tensor(in));
  for (uint32_t graphs = in.count(1); graphs != 0; --graphs) {
    StoredGraph graph;
    graph.name = in.text();
    for (uint32_t n = in.count(1); n != 0; --n) graph.tensors.push_back(read_tensor(in));
    for (uint32_t n = in.count(1); n != 0; --n) graph.nodes.push_back(read_node(in));
    out.graphs.push_back(std::move(graph));
  }
  if (!in.at_end()) damaged("it is longer than its contents");
  return out;
}

std::shared_ptr<Context> restore_context(std::span<const std::byte> bytes, std::shared_ptr<Backend> backend, const ContextSettings& settings, const Watch* watch) {
  auto context = std::make_shared<Context>(std::move(backend));
  context->apply(settings);
  try {
    const StoredContext stored = read_binary(bytes);
    if (settings.graphs) check_wanted(stored, *settings.graphs);
    for (const StoredTensor& tensor : stored.tensors) {
      context->add_tensor(restore_tensor(tensor));
      context->reserve_ids(tensor.info.id);
    }
    for (const StoredGraph& graph : stored.graphs) {
      if (watch != nullptr) watch->check();
      if (settings.graphs && std::find(settings.graphs->begin(), settings.graphs->end(), graph.name) == settings.graphs->end()) {
        context->add_disabled(graph.name);
      } else {
        restore_graph(graph, *context, watch);
      }
    }
  } catch (const Failure& failure) {
    // Whatever else is wrong with the contents, to the client it is the binary that is wrong.
    for (const abi::ErrorCode code : {abi::kContextBinaryVersion, abi::kContextInvalidConfig, abi::kContextAborted, abi::kContextTimedOut}) {
      if (failure.code() == code) throw;
    }
    throw Failure(abi::kContextCreateFromBinary, failure.what());
  }
  return context;
}

}  // namespace lutra::hostnpu
