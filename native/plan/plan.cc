#include "plan/plan.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string_view>

#include "base/crc32.h"
#include "base/error.h"

namespace lutra::plan {
namespace {

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::kBadPlan, "plan: " + what, "convert the model again with this version of lutra");
}

std::string at(const char* record, uint32_t index) { return std::string(record) + " " + std::to_string(index); }

/// Bounds-checked view of the encoded bytes: sections of fixed-size records.
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
    for (uint32_t s = 0; s < kSections; ++s) {
      const uint64_t offset = raw_word(kHeaderWords + 2 * s), count = raw_word(kHeaderWords + 2 * s + 1);
      if (offset % 8 != 0 || offset > bytes.size() || count * record_bytes(s) > bytes.size() - offset) {
        bad(at("section", s) + " at " + std::to_string(offset) + " with " + std::to_string(count) + " records does not fit");
      }
      sections_[s] = {static_cast<size_t>(offset), static_cast<uint32_t>(count)};
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

  std::string string(uint32_t offset) const {
    const auto& section = sections_[static_cast<uint32_t>(Section::kStrings)];
    if (offset >= section.count) bad("string at " + std::to_string(offset) + " of " + std::to_string(section.count));
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + section.offset + offset;
    const void* end = std::memchr(begin, 0, section.count - offset);
    if (end == nullptr) bad("string at " + std::to_string(offset) + " has no end");
    return std::string(begin, static_cast<const char*>(end));
  }

  /// `count` tensor indices of the operand pool from `begin`.
  std::vector<uint32_t> operands(uint32_t begin, uint32_t count, uint32_t tensors, const std::string& where) const {
    const uint32_t size = this->count(Section::kOperands);
    if (begin > size || count > size - begin) bad(where + ": operands " + std::to_string(begin) + "+" + std::to_string(count) + " of " + std::to_string(size));
    std::vector<uint32_t> out(count);
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = word(Section::kOperands, begin + i, 0);
      if (out[i] >= tensors) bad(where + ": tensor " + std::to_string(out[i]) + " of " + std::to_string(tensors));
    }
    return out;
  }

 private:
  struct View { size_t offset = 0; uint32_t count = 0; };

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
  Config c{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8] == 1};
  if (v[8] > 1) bad("kv type " + std::to_string(v[8]));
  if (c.heads % c.kv_heads != 0) bad(std::to_string(c.heads) + " heads do not divide into " + std::to_string(c.kv_heads) + " KV heads");
  if (c.chunk > 4096 || c.layers > 4096 || c.head_dim > 1024 || c.heads > 1024 || c.head_dim % 2 != 0) bad("config out of range");
  return c;
}

bool known_dtype(uint32_t v) {
  return (v >= 1 && v <= 7) || (v >= 16 && v <= 18);
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
    if (t.dims[d] == 0 || elements > (1ull << 31)) bad(where + " '" + t.name + "': shape out of range");
    (d + 1 < t.rank ? t.rows : t.cols) *= t.dims[d];
  }
  if (t.kind == TensorKind::kWeight) {
    t.weight = r.string(w(14));
    if (t.weight.empty()) bad(where + ": a weight without a name");
  }
  const bool packed = element_size(t.dtype) == 0;
  if (packed && (t.kind != TensorKind::kWeight || t.rank != 2 || t.cols % 32 != 0)) bad(where + " '" + t.name + "': a packed tensor must be a matrix of weights");
  if (t.rows_kind != RowsKind::kFixed && (t.kind != TensorKind::kActivation || t.rows != config.chunk)) bad(where + " '" + t.name + "': rows are not the chunk");
  if (t.quant == QuantKind::kScaleOffset && !(t.scale > 0 && std::isfinite(t.scale))) bad(where + " '" + t.name + "': scale " + std::to_string(t.scale));
  if (t.quant == QuantKind::kAxis && (t.axis < 0 || static_cast<uint32_t>(t.axis) >= t.rank)) bad(where + " '" + t.name + "': axis " + std::to_string(t.axis));
  return t;
}

void check_axis_scales(const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) {
    if (t.quant != QuantKind::kAxis) continue;
    if (t.axis_scales >= tensors.size()) bad("'" + t.name + "': axis scales " + std::to_string(t.axis_scales));
    const Tensor& s = tensors[t.axis_scales];
    if (s.dtype != DType::kF32 || s.kind != TensorKind::kWeight || s.elements() != t.dims[static_cast<uint32_t>(t.axis)]) {
      bad("'" + t.name + "': axis scales '" + s.name + "' do not fit");
    }
  }
}

std::vector<Param> read_params(const Reader& r, uint32_t begin, uint32_t count, const std::string& where) {
  const uint32_t size = r.count(Section::kAttrs);
  std::vector<Param> params;
  uint64_t pos = begin;
  const auto next = [&]() -> double {
    if (pos >= size) bad(where + ": parameters run past the pool");
    return r.value(Section::kAttrs, static_cast<uint32_t>(pos++));
  };
  const auto integer = [&](double limit) -> uint32_t {
    const double v = next();
    if (!(v >= 0) || v > limit || v != std::floor(v)) bad(where + ": parameter value " + std::to_string(v));
    return static_cast<uint32_t>(v);
  };
  for (uint32_t p = 0; p < count; ++p) {
    Param param;
    param.name = r.string(integer(4294967295.0));
    param.type = static_cast<ParamType>(integer(kMaxParamType));
    if (param.type == ParamType::kU32Tensor) {
      uint64_t elements = 1;
      const uint32_t rank = integer(4);
      for (uint32_t d = 0; d < rank; ++d) {
        param.dims.push_back(integer(64));
        elements *= param.dims.back();
      }
      if (rank == 0 || elements == 0 || elements > 64) bad(where + ": tensor parameter '" + param.name + "' of " + std::to_string(elements) + " elements");
      for (uint64_t e = 0; e < elements; ++e) param.values.push_back(integer(4294967295.0));
    } else {
      const double v = next();
      const double lowest = param.type == ParamType::kI32 ? -2147483648.0 : 0.0;
      const double highest = param.type == ParamType::kI32 ? 2147483647.0 : 4294967295.0;
      if (param.type != ParamType::kF32 && !(v >= lowest && v <= highest && v == std::floor(v))) bad(where + ": parameter '" + param.name + "' is " + std::to_string(v));
      param.values.push_back(v);
      if (param.type == ParamType::kU32Tensor1) param.dims.push_back(1);
    }
    params.push_back(std::move(param));
  }
  return params;
}

Segment read_segment(const Reader& r, uint32_t i, const std::vector<Tensor>& tensors) {
  const auto w = [&](uint32_t field) { return r.word(Section::kSegments, i, field); };
  const std::string where = at("segment", i);
  const uint32_t nodes = r.count(Section::kNodes), count = static_cast<uint32_t>(tensors.size());
  if (w(1) > nodes || w(2) > nodes - w(1) || w(2) == 0) bad(where + ": nodes " + std::to_string(w(1)) + "+" + std::to_string(w(2)) + " of " + std::to_string(nodes));
  Segment s{r.string(w(0)), {}, r.operands(w(3), w(4), count, where), r.operands(w(5), w(6), count, where)};
  if (s.inputs.empty() || s.outputs.empty()) bad(where + ": no inputs or no outputs");
  for (const auto& list : {s.inputs, s.outputs}) {
    for (uint32_t t : list) {
      if (tensors[t].kind != TensorKind::kActivation) bad(where + ": '" + tensors[t].name + "' is no activation");
    }
  }
  for (uint32_t n = w(1); n < w(1) + w(2); ++n) {
    const auto v = [&](uint32_t field) { return r.word(Section::kNodes, n, field); };
    const std::string node = at("node", n);
    s.nodes.push_back({r.string(v(0)), r.string(v(1)), r.operands(v(2), v(3), count, node), r.operands(v(4), v(5), count, node), read_params(r, v(6), v(7), node)});
    if (s.nodes.back().outputs.empty()) bad(node + ": no outputs");
  }
  return s;
}

/// Attributes of a step: how many each op has.
constexpr uint32_t kStepAttrs[kStepOps] = {1, 0, 1, 1, 4, 1, 5, 0, 0, 0, 0, 0, 6, 0, 0, 1};

Step read_step(const Reader& r, uint32_t i, uint32_t tensors) {
  const auto w = [&](uint32_t field) { return r.word(Section::kSteps, i, field); };
  const std::string where = at("step", i);
  if (w(0) >= kStepOps) bad(where + ": op " + std::to_string(w(0)));
  Step s{static_cast<StepOp>(w(0)), r.operands(w(1), w(2), tensors, where), r.operands(w(3), w(4), tensors, where), {}};
  const uint32_t attrs = kStepAttrs[w(0)], size = r.count(Section::kAttrs);
  if (attrs > 0 && (w(5) > size || attrs > size - w(5))) bad(where + ": attributes run past the pool");
  for (uint32_t a = 0; a < attrs; ++a) s.attrs.push_back(r.value(Section::kAttrs, w(5) + a));
  return s;
}

}  // namespace

uint32_t checksum(std::span<const std::byte> bytes) noexcept {
  constexpr size_t at = 4 * kChecksumWord;
  constexpr std::array<std::byte, 4> zero{};
  return crc32(bytes.subspan(at + zero.size()), crc32(zero, crc32(bytes.first(at))));
}

const char* dtype_name(DType type) noexcept {
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

Plan Plan::parse(std::span<const std::byte> bytes) {
  const Reader r(bytes);
  Plan plan;
  plan.config = read_config(r);
  for (uint32_t i = 0; i < r.count(Section::kTensors); ++i) plan.tensors.push_back(read_tensor(r, i, plan.config));
  check_axis_scales(plan.tensors);
  const auto tensors = static_cast<uint32_t>(plan.tensors.size());
  for (uint32_t i = 0; i < r.count(Section::kSegments); ++i) plan.segments.push_back(read_segment(r, i, plan.tensors));
  const uint32_t steps = r.count(Section::kSteps);
  for (uint32_t i = 0; i < r.count(Section::kPrograms); ++i) {
    const auto w = [&](uint32_t field) { return r.word(Section::kPrograms, i, field); };
    const std::string where = at("program", i);
    if (w(1) > steps || w(2) > steps - w(1)) bad(where + ": steps " + std::to_string(w(1)) + "+" + std::to_string(w(2)) + " of " + std::to_string(steps));
    Program p{r.string(w(0)), {}, w(3)};
    for (uint32_t s = w(1); s < w(1) + w(2); ++s) p.steps.push_back(read_step(r, s, tensors));
    if (p.logits != kNoIndex && p.logits >= tensors) bad(where + ": logits tensor " + std::to_string(p.logits));
    plan.programs.push_back(std::move(p));
  }
  if (plan.programs.empty()) bad("no program");
  validate_steps(plan);
  return plan;
}

}  // namespace lutra::plan
