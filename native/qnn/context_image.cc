#include "qnn/context_image.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace lutra::qnn {
namespace {

constexpr uint32_t kMagic = 0x514C554C;  // "LULQ"
constexpr uint32_t kVersion = 1;
constexpr size_t kBinaryAlignment = 64;

struct Header {
  uint32_t magic, version, key_bytes, graph_count;
  uint64_t binary_bytes, checksum;
};
static_assert(sizeof(Header) == 32);

/// Not for security: finds truncation and bit rot, at memory speed.
uint64_t checksum(const Header& header, std::span<const std::byte> bytes) noexcept {
  uint64_t state = 0x9E3779B97F4A7C15u ^ bytes.size();
  const auto mix = [&state](uint64_t word) {
    state = (state ^ word) * 0xD6E8FEB86659FD93u;
    state ^= state >> 32;
  };
  mix(header.key_bytes | uint64_t{header.graph_count} << 32);
  mix(header.binary_bytes);
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, 8);
    mix(word);
  }
  uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  mix(tail);
  return state;
}

void append(std::vector<std::byte>& out, const void* data, size_t size) {
  const auto* bytes = static_cast<const std::byte*>(data);
  out.insert(out.end(), bytes, bytes + size);
}

void append_u32(std::vector<std::byte>& out, size_t value) {
  const auto word = static_cast<uint32_t>(value);
  append(out, &word, sizeof word);
}

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::kBadFile, "this is not a usable context image: " + what, "delete the file; it is built again at the next start");
}

/// Reads forward and refuses to leave the bytes.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> take(size_t size) {
    if (size > bytes_.size() - at_) bad("it ends early");
    const auto out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }
  uint32_t u32() {
    uint32_t value = 0;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text(size_t size) {
    const auto out = take(size);
    return {reinterpret_cast<const char*>(out.data()), out.size()};
  }
  std::vector<uint32_t> words(size_t count) {
    const auto from = take(count * sizeof(uint32_t));
    std::vector<uint32_t> out(count);
    if (count != 0) std::memcpy(out.data(), from.data(), from.size());
    return out;
  }
  size_t at() const noexcept { return at_; }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

}  // namespace

std::vector<std::byte> encode_image(std::string_view key, const Context& context, std::span<const GraphIds> graphs) {
  const std::vector<std::byte> binary = context.binary();
  std::vector<std::byte> out(sizeof(Header));
  append(out, key.data(), key.size());
  for (const GraphIds& graph : graphs) {
    append_u32(out, graph.name.size());
    append_u32(out, graph.inputs.size());
    append_u32(out, graph.outputs.size());
    append(out, graph.name.data(), graph.name.size());
    append(out, graph.inputs.data(), graph.inputs.size() * sizeof(uint32_t));
    append(out, graph.outputs.data(), graph.outputs.size() * sizeof(uint32_t));
  }
  out.resize((out.size() + kBinaryAlignment - 1) / kBinaryAlignment * kBinaryAlignment);
  out.insert(out.end(), binary.begin(), binary.end());
  const Header header{kMagic, kVersion, static_cast<uint32_t>(key.size()), static_cast<uint32_t>(graphs.size()), binary.size(), 0};
  std::memcpy(out.data(), &header, sizeof header);
  seal_image(out);
  return out;
}

void seal_image(std::span<std::byte> image) noexcept {
  Header header{};
  if (image.size() < sizeof header) return;
  std::memcpy(&header, image.data(), sizeof header);
  header.checksum = checksum(header, image.subspan(sizeof header));
  std::memcpy(image.data(), &header, sizeof header);
}

const GraphIds* ImageView::find(std::string_view name) const noexcept {
  const auto found = std::find_if(graphs.begin(), graphs.end(), [name](const GraphIds& graph) { return graph.name == name; });
  return found == graphs.end() ? nullptr : &*found;
}

ImageView decode_image(std::span<const std::byte> bytes) {
  Reader reader(bytes);
  Header header{};
  std::memcpy(&header, reader.take(sizeof header).data(), sizeof header);
  if (header.magic != kMagic) bad("it does not begin with LULQ");
  if (header.version != kVersion) bad("its version is " + std::to_string(header.version) + ", not " + std::to_string(kVersion));
  if (header.checksum != checksum(header, bytes.subspan(sizeof header))) bad("its checksum is wrong");
  ImageView view;
  view.key = reader.text(header.key_bytes);
  if (header.graph_count > (bytes.size() - reader.at()) / (3 * sizeof(uint32_t))) bad("it ends early");
  view.graphs.reserve(header.graph_count);
  for (uint32_t i = 0; i < header.graph_count; ++i) {
    const size_t name = reader.u32(), inputs = reader.u32(), outputs = reader.u32();
    GraphIds ids;
    ids.name = reader.text(name);
    ids.inputs = reader.words(inputs);
    ids.outputs = reader.words(outputs);
    view.graphs.push_back(std::move(ids));
  }
  reader.take((kBinaryAlignment - reader.at() % kBinaryAlignment) % kBinaryAlignment);
  view.binary = reader.take(header.binary_bytes);
  if (reader.at() != bytes.size()) bad("it is longer than it says");
  return view;
}

}  // namespace lutra::qnn
