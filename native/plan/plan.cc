#include "plan/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>

#include "base/crc32.h"
#include "base/error.h"
#include "kernels/lowbit/lowbit.h"
#include "store/json_scanner.h"

namespace lutra::plan {
namespace {

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::kBadPlan, "plan: " + what, "convert the model again with this version of lutra");
}

std::string at(const char* record, uint32_t index) { return std::string(record) + " " + std::to_string(index); }

constexpr uint32_t kMinParamValues = 3;  // name, type, a value
constexpr size_t kMaxName = 255;       // bytes; finding the end of a name must not take the length of the file
constexpr uint32_t kMaxPrograms = 16;  // each is checked against all tensors

/// Bounds-checked view of the encoded bytes: sections of fixed-size records, one behind the other.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {
    constexpr size_t header = 4 * (kHeaderWords + 2 * kSections);
    if (bytes.size() < header) bad("only " + std::to_string(bytes.size()) + " bytes");
    if (raw_word(0) != kMagic) bad("wrong magic");
    if (raw_word(1) != kVersion) bad("version " + std::to_string(raw_word(1)) + ", this build reads " + std::to_string(kVersion));
    if (raw_word(2) != bytes.size()) bad("says " + std::to_string(raw_word(2)) + " bytes but has " + std::to_string(bytes.size()));
    if (const uint32_t found = checksum(bytes); raw_word(kChecksumWord) != found) {
      bad("its checksum is " + std::to_string(raw_word(kChecksumWord)) + ", its bytes give " + std::to_string(found));
    }
    if (raw_word(3) != kSections) bad(std::to_string(raw_word(3)) + " sections instead of " + std::to_string(kSections));
    uint64_t end = header;
    for (uint32_t s = 0; s < kSections; ++s) {
      const uint64_t offset = raw_word(kHeaderWords + 2 * s), count = raw_word(kHeaderWords + 2 * s + 1);
      if (offset % 8 != 0 || offset < end || offset > bytes.size() || count * record_bytes(s) > bytes.size() - offset) {
        bad(at("section", s) + " at " + std::to_string(offset) + " with " + std::to_string(count) + " records does not fit");
      }
      end = offset + count * record_bytes(s);
      sections_[s] = {static_cast<size_t>(offset), static_cast<uint32_t>(count), std::vector<bool>(is_pool(s) ? count : 0)};
    }
  }

  uint32_t count(Section s) const { return sections_[static_cast<uint32_t>(s)].count; }

  uint32_t word(Section s, uint32_t record, uint32_t field) const {
    const size_t offset = sections_[static_cast<uint32_t>(s)].offset + record * record_bytes(static_cast<uint32_t>(s)) + 4 * field;
    uint32_t value;
    std::memcpy(&value, bytes_.data() + offset, 4);
    return value;
  }

  double value(Section s, uint32_t index) const {
    double v;
    std::memcpy(&v, bytes_.data() + sections_[static_cast<uint32_t>(s)].offset + 8 * static_cast<size_t>(index), 8);
    return v;
  }

  std::string_view string(uint32_t offset) const {
    const auto& section = sections_[static_cast<uint32_t>(Section::kStrings)];
    if (offset >= section.count) bad("string at " + std::to_string(offset) + " of " + std::to_string(section.count));
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + section.offset + offset;
    const void* end = std::memchr(begin, 0, std::min<size_t>(section.count - offset, kMaxName + 1));
    if (end == nullptr) bad("string at " + std::to_string(offset) + " has no end within " + std::to_string(kMaxName) + " bytes");
    return {begin, static_cast<const char*>(end)};
  }

  /// Records [begin, begin + count) of a pool, for the one that refers to them: two may not share any, or a small file could mean endless work.
  void claim(Section s, uint32_t begin, uint32_t count, const std::string& where) {
    View& pool = sections_[static_cast<uint32_t>(s)];
    const auto range = [&] { return std::string(kPoolNames[static_cast<uint32_t>(s)]) + " " + std::to_string(begin) + "+" + std::to_string(count); };
    if (begin > pool.count || count > pool.count - begin) bad(where + ": " + range() + " of " + std::to_string(pool.count));
    for (uint32_t i = begin; i < begin + count; ++i) {
      if (pool.claimed[i]) bad(where + ": " + range() + " are another record's");
      pool.claimed[i] = true;
    }
  }

  /// `count` tensor indices of the operand pool from `begin`.
  std::span<const uint32_t> operands(uint32_t begin, uint32_t count, uint32_t tensors, const std::string& where) {
    claim(Section::kOperands, begin, count, where);
    const auto out = view<uint32_t>(Section::kOperands, begin, count);
    for (const uint32_t t : out) {
      if (t >= tensors) bad(where + ": tensor " + std::to_string(t) + " of " + std::to_string(tensors));
    }
    return out;
  }

  /// Values of the attribute pool that were claimed.
  std::span<const double> attrs(uint32_t begin, uint32_t count) const { return view<double>(Section::kAttrs, begin, count); }

 private:
  struct View {
    size_t offset = 0;
    uint32_t count = 0;
    std::vector<bool> claimed;  // of pools
  };

  static constexpr const char* kPoolNames[kSections] = {"", "", "", "", "nodes", "steps", "", "operands", "attributes"};
  static bool is_pool(uint32_t s) { return kPoolNames[s][0] != '\0'; }

  static size_t record_bytes(uint32_t s) {
    switch (static_cast<Section>(s)) {
      case Section::kConfig: case Section::kAttrs: return 8;
      case Section::kStrings: return 1;
      case Section::kTensors: return 4 * kTensorWords;
      case Section::kSegments: return 4 * kSegmentWords;
      case Section::kNodes: return 4 * kNodeWords;
      case Section::kSteps: return 4 * kStepWords;
      case Section::kPrograms: return 4 * kProgramWords;
      case Section::kOperands: return 4;
    }
    return 1;
  }

  /// Sections begin at multiples of 8 of an aligned copy.
  template <class T>
  std::span<const T> view(Section s, uint32_t begin, uint32_t count) const {
    return {reinterpret_cast<const T*>(bytes_.data() + sections_[static_cast<uint32_t>(s)].offset) + begin, count};
  }

  uint32_t raw_word(size_t index) const {
    uint32_t v;
    std::memcpy(&v, bytes_.data() + 4 * index, 4);
    return v;
  }

  std::span<const std::byte> bytes_;
  std::array<View, kSections> sections_;
};

Config read_config(const Reader& r) {
  if (r.count(Section::kConfig) != kConfigValues) bad(std::to_string(r.count(Section::kConfig)) + " config values");
  std::array<uint32_t, kConfigValues> v{};
  for (uint32_t i = 0; i < kConfigValues; ++i) {
    const double d = r.value(Section::kConfig, i);
    const bool flag = i == kConfigValues - 1;
    if (!(d >= (flag ? 0.0 : 1.0)) || d > 1e9 || d != std::floor(d)) bad("config value " + std::to_string(i) + " is " + std::to_string(d));
    v[i] = static_cast<uint32_t>(d);
  }
  Config c{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], static_cast<kv::Type>(v[8])};
  if (c.kv_type > kv::Type::kI8) bad("kv type " + std::to_string(v[8]));
  if (c.heads % c.kv_heads != 0) bad(std::to_string(c.heads) + " heads do not divide into " + std::to_string(c.kv_heads) + " KV heads");
  if (c.chunk > 4096 || c.layers > 4096 || c.head_dim > 1024 || c.heads > 1024 || c.head_dim % 2 != 0) bad("config out of range");
  return c;
}

bool is_low_bit(DType type) { return kernels::low_bit_format(static_cast<kernels::WeightType>(type)).has_value(); }

bool known_dtype(uint32_t v) {
  return (v >= 1 && v <= 7) || (v >= 16 && v <= 18) || is_low_bit(static_cast<DType>(v));
}

Tensor read_tensor(const Reader& r, uint32_t i, const Config& config) {
  const auto w = [&](uint32_t field) { return r.word(Section::kTensors, i, field); };
  const std::string where = at("tensor", i);
  if (!known_dtype(w(1))) bad(where + ": dtype " + std::to_string(w(1)));
  if (w(2) > 2 || w(3) > 2 || w(4) < 1 || w(4) > 4 || w(9) > 2) bad(where + ": kind, rows kind, rank or encoding out of range");
  Tensor t{r.string(w(0)), static_cast<DType>(w(1)), static_cast<TensorKind>(w(2)), static_cast<RowsKind>(w(3)), w(4), {w(5), w(6), w(7), w(8)},
           static_cast<QuantKind>(w(9)), std::bit_cast<float>(w(10)), static_cast<int32_t>(w(11)), static_cast<int32_t>(w(12)), w(13), {}, 1, 1};
  uint64_t elements = 1;
  for (uint32_t d = 0; d < t.rank; ++d) {
    elements *= t.dims[d];
    if (t.dims[d] == 0 || elements > (1ull << 31)) bad(where + " " + store::quote(t.name) + ": shape out of range");
    (d + 1 < t.rank ? t.rows : t.cols) *= t.dims[d];
  }
  if (t.kind == TensorKind::kWeight) {
    t.weight = r.string(w(14));
    if (t.weight.empty()) bad(where + ": a weight without a name");
  }
  const bool packed = element_size(t.dtype) == 0;
  if (packed && (t.kind != TensorKind::kWeight || t.rank != 2 || (t.cols % 32 != 0 && !is_low_bit(t.dtype)))) bad(where + " " + store::quote(t.name) + ": a packed tensor must be a matrix of weights");
  if (t.rows_kind != RowsKind::kFixed && (t.kind != TensorKind::kActivation || t.rows != config.chunk)) bad(where + " " + store::quote(t.name) + ": rows are not the chunk");
  if (t.quant == QuantKind::kScaleOffset && !(t.scale > 0 && std::isfinite(t.scale))) bad(where + " " + store::quote(t.name) + ": scale " + std::to_string(t.scale));
  if (t.quant == QuantKind::kAxis && (t.axis < 0 || static_cast<uint32_t>(t.axis) >= t.rank)) bad(where + " " + store::quote(t.name) + ": axis " + std::to_string(t.axis));
  return t;
}

void check_axis_scales(const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) {
    if (t.quant != QuantKind::kAxis) continue;
    if (t.axis_scales >= tensors.size()) bad(store::quote(t.name) + ": axis scales " + std::to_string(t.axis_scales));
    const Tensor& s = tensors[t.axis_scales];
    if (s.dtype != DType::kF32 || s.kind != TensorKind::kWeight || s.elements() != t.dims[static_cast<uint32_t>(t.axis)]) {
      bad(store::quote(t.name) + ": axis scales " + store::quote(s.name) + " do not fit");
    }
  }
}

/// A number of the attribute pool that must be whole.
double whole(double v, double lowest, double highest, const std::string& where) {
  if (!(v >= lowest && v <= highest && v == std::floor(v))) bad(where + ": parameter value " + std::to_string(v));
  return v;
}

/// The parameter that begins at `pos`, which moves behind it.
Param read_param(Reader& r, uint32_t& pos, const std::string& where) {
  constexpr double kMaxWord = 4294967295.0;
  constexpr uint64_t kMaxElements = 64;
  const auto take = [&](uint32_t count) {
    r.claim(Section::kAttrs, pos, count, where);
    pos += count;
    return r.attrs(pos - count, count);
  };
  const auto head = take(3);
  Param param{r.string(static_cast<uint32_t>(whole(head[0], 0, kMaxWord, where))), static_cast<ParamType>(whole(head[1], 0, kMaxParamType, where)), head.subspan(2), {}};
  if (param.type == ParamType::kU32Tensor) {
    const auto rank = static_cast<uint32_t>(whole(head[2], 1, 4, where));
    param.dims = take(rank);
    uint64_t elements = 1;
    for (const double dim : param.dims) elements *= static_cast<uint64_t>(whole(dim, 0, kMaxElements, where));
    if (elements == 0 || elements > kMaxElements) bad(where + ": tensor parameter " + store::quote(param.name) + " of " + std::to_string(elements) + " elements");
    param.values = take(static_cast<uint32_t>(elements));
  }
  static constexpr double kOne[] = {1.0};
  if (param.type == ParamType::kU32Tensor1) param.dims = kOne;
  if (param.type == ParamType::kI32) whole(param.values[0], -2147483648.0, 2147483647.0, where);
  if (param.type != ParamType::kI32 && param.type != ParamType::kF32) {
    for (const double value : param.values) whole(value, 0, kMaxWord, where);
  }
  return param;
}

/// Appends to a vector that has room reserved, so that views of it stay valid.
template <class T>
void append(std::vector<T>& list, T value) {
  if (list.size() == list.capacity()) bad("more records than were counted");
  list.push_back(std::move(value));
}

/// The elements of `list` from `begin` to its end.
template <class T>
std::span<const T> tail(const std::vector<T>& list, size_t begin) { return std::span<const T>(list).subspan(begin); }

void read_node(Reader& r, uint32_t i, Plan& plan) {
  const auto w = [&](uint32_t field) { return r.word(Section::kNodes, i, field); };
  const std::string where = at("node", i);
  const auto tensors = static_cast<uint32_t>(plan.tensors.size());
  Node node{r.string(w(0)), r.string(w(1)), r.operands(w(2), w(3), tensors, where), r.operands(w(4), w(5), tensors, where), {}};
  if (node.outputs.empty()) bad(where + ": no outputs");
  const size_t first = plan.params.size();
  uint32_t pos = w(6);
  for (uint32_t p = 0; p < w(7); ++p) append(plan.params, read_param(r, pos, where));
  node.params = tail(plan.params, first);
  append(plan.nodes, node);
}

void read_segment(Reader& r, uint32_t i, Plan& plan) {
  const auto w = [&](uint32_t field) { return r.word(Section::kSegments, i, field); };
  const std::string where = at("segment", i);
  const auto tensors = static_cast<uint32_t>(plan.tensors.size());
  r.claim(Section::kNodes, w(1), w(2), where);
  Segment s{r.string(w(0)), {}, r.operands(w(3), w(4), tensors, where), r.operands(w(5), w(6), tensors, where)};
  if (w(2) == 0 || s.inputs.empty() || s.outputs.empty()) bad(where + ": no nodes, no inputs or no outputs");
  for (const auto& list : {s.inputs, s.outputs}) {
    for (const uint32_t t : list) {
      if (plan.tensors[t].kind != TensorKind::kActivation) bad(where + ": " + store::quote(plan.tensors[t].name) + " is no activation");
    }
  }
  const size_t first = plan.nodes.size();
  for (uint32_t n = w(1); n < w(1) + w(2); ++n) read_node(r, n, plan);
  s.nodes = tail(plan.nodes, first);
  plan.segments.push_back(s);
}

/// Attributes of a step: how many each op has.
constexpr uint32_t kStepAttrs[kStepOps] = {1, 0, 1, 1, 5, 1, 5, 0, 0, 0, 0, 0, 7, 0, 0, 1, 0, 0, 1, 0, 3};

Step read_step(Reader& r, uint32_t i, uint32_t tensors) {
  const auto w = [&](uint32_t field) { return r.word(Section::kSteps, i, field); };
  const std::string where = at("step", i);
  if (w(0) >= kStepOps) bad(where + ": op " + std::to_string(w(0)));
  const uint32_t attrs = kStepAttrs[w(0)];
  if (attrs > 0) r.claim(Section::kAttrs, w(5), attrs, where);
  return {static_cast<StepOp>(w(0)), r.operands(w(1), w(2), tensors, where), r.operands(w(3), w(4), tensors, where), attrs > 0 ? r.attrs(w(5), attrs) : std::span<const double>()};
}

void read_program(Reader& r, uint32_t i, Plan& plan) {
  const auto w = [&](uint32_t field) { return r.word(Section::kPrograms, i, field); };
  const std::string where = at("program", i);
  const auto tensors = static_cast<uint32_t>(plan.tensors.size());
  r.claim(Section::kSteps, w(1), w(2), where);
  const size_t first = plan.steps.size();
  for (uint32_t s = w(1); s < w(1) + w(2); ++s) append(plan.steps, read_step(r, s, tensors));
  if (w(3) != kNoIndex && w(3) >= tensors) bad(where + ": logits tensor " + std::to_string(w(3)));
  plan.programs.push_back({r.string(w(0)), tail(plan.steps, first), w(3)});
}

}  // namespace

uint32_t checksum(std::span<const std::byte> bytes) noexcept {
  constexpr size_t at = 4 * kChecksumWord;
  constexpr std::array<std::byte, 4> zero{};
  return crc32(bytes.subspan(at + zero.size()), crc32(zero, crc32(bytes.first(at))));
}

std::string dtype_name(DType type) {
  if (const auto format = kernels::low_bit_format(static_cast<kernels::WeightType>(type))) return kernels::low_bit_name(*format);
  switch (type) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kU8: return "u8";
    case DType::kS8: return "s8";
    case DType::kU16: return "u16";
    case DType::kS32: return "s32";
    case DType::kU32: return "u32";
    case DType::kQ4_0: return "q4_0";
    case DType::kQ4_1: return "q4_1";
    case DType::kQ8_0: return "q8_0";
  }
  return "?";
}

const Program* Plan::find_program(std::string_view name) const noexcept {
  for (const Program& p : programs) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

Plan Plan::parse(std::span<const std::byte> encoded) {
  Plan plan;
  plan.bytes = AlignedBuffer(encoded.size());
  if (!encoded.empty()) std::memcpy(plan.bytes.data(), encoded.data(), encoded.size());
  Reader r(plan.bytes.bytes());
  plan.config = read_config(r);
  plan.tensors.reserve(r.count(Section::kTensors));
  plan.params.reserve(r.count(Section::kAttrs) / kMinParamValues);
  plan.nodes.reserve(r.count(Section::kNodes));
  plan.segments.reserve(r.count(Section::kSegments));
  plan.steps.reserve(r.count(Section::kSteps));
  if (r.count(Section::kPrograms) == 0 || r.count(Section::kPrograms) > kMaxPrograms) bad(std::to_string(r.count(Section::kPrograms)) + " programs");
  for (uint32_t i = 0; i < r.count(Section::kTensors); ++i) plan.tensors.push_back(read_tensor(r, i, plan.config));
  check_axis_scales(plan.tensors);
  for (uint32_t i = 0; i < r.count(Section::kSegments); ++i) read_segment(r, i, plan);
  for (uint32_t i = 0; i < r.count(Section::kPrograms); ++i) read_program(r, i, plan);
  validate_steps(plan);
  return plan;
}

}  // namespace lutra::plan
