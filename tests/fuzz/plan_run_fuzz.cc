// "Validated is safe to run": plans that pass are given weights and run through the engine, segments on the host NPU.
#include <algorithm>
#include <map>
#include <string>

#include "base/error.h"
#include "kernels/linear/linear.h"
#include "memory_file.h"
#include "plan/memory.h"
#include "plan_mutator.h"
#include "session/engine.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

constexpr uint64_t kMostBytes = uint64_t{4} << 20;     // of weights, activations, caches and tensors of segments each
constexpr size_t kMostAlive = size_t{256} << 20;       // what plans within that bound can need
constexpr uint32_t kMostSteps = 256, kMostTensors = 512;

uint64_t weight_bytes(const plan::Tensor& t) {
  const size_t element = plan::element_size(t.dtype);
  return element != 0 ? t.elements() * element : kernels::packed_size(static_cast<kernels::WeightType>(t.dtype), t.rows, t.cols);
}

/// Whether it is small: how much memory and time a plan takes is the business of whoever made it.
bool is_small(const plan::Plan& plan) {
  const plan::Config& c = plan.config;
  uint64_t weights = 0, others = 0, steps = 0;
  for (const plan::Tensor& t : plan.tensors) (t.kind == plan::TensorKind::kWeight ? weights : others) += t.kind == plan::TensorKind::kWeight ? weight_bytes(t) : 4 * t.elements();
  for (const plan::Program& program : plan.programs) steps += program.steps.size();
  const uint64_t cache = uint64_t{8} * c.layers * c.max_context * c.kv_heads * c.head_dim;
  const uint64_t scratch = uint64_t{4} * c.max_context * (c.heads + 1) + uint64_t{4} * c.max_context * c.head_dim;
  return plan.tensors.size() <= kMostTensors && steps <= kMostSteps && weights <= kMostBytes && others <= kMostBytes && cache <= kMostBytes && scratch <= kMostBytes && c.vocab <= 1u << 16;
}

const char* file_dtype(plan::DType type) {
  switch (type) {
    case plan::DType::kF32: return "F32";
    case plan::DType::kF16: return "F16";
    case plan::DType::kS8: return "I8";
    case plan::DType::kU16: return "U16";
    case plan::DType::kS32: return "I32";
    case plan::DType::kU32: return "U32";
    default: return "U8";
  }
}

std::string escaped(std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      out += std::string("\\u00") + digits[byte >> 4] + digits[byte & 15];
    }
  }
  return out;
}

/// A file with every weight of the plan, aligned as converted ones are; two descriptions of one name share it. Values are a pattern of finite numbers.
std::vector<std::byte> weights_of(const plan::Plan& plan) {
  std::map<std::string, const plan::Tensor*, std::less<>> weights;
  for (const plan::Tensor& t : plan.tensors) {
    if (t.kind == plan::TensorKind::kWeight) weights.emplace(t.weight, &t);
  }
  std::string header = "{";
  uint64_t offset = 0, padding = 0;
  const auto add = [&](const std::string& name, const char* dtype, const std::string& shape, uint64_t bytes) {
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + bytes) + "]}";
    offset += bytes;
  };
  for (const auto& [name, tensor] : weights) {
    const uint64_t bytes = weight_bytes(*tensor);
    std::string shape;
    for (uint32_t d = 0; d < tensor->rank; ++d) shape += (d == 0 ? "" : ",") + std::to_string(tensor->dims[d]);
    const bool packed = plan::element_size(tensor->dtype) == 0;
    add(escaped(name), file_dtype(tensor->dtype), packed ? std::to_string(bytes) : shape, bytes);
    if (const uint64_t gap = (64 - offset % 64) % 64; gap != 0) add("__pad" + std::to_string(padding++), "U8", std::to_string(gap), gap);
  }
  header += '}';
  header.append((64 - (8 + header.size()) % 64) % 64, ' ');
  std::vector<std::byte> file(8 + header.size() + offset);
  put(std::span(file), 0, uint64_t{header.size()});
  std::memcpy(file.data() + 8, header.data(), header.size());
  // 0x3c as the high byte is about 1 in F16 and 0.01 in F32.
  for (size_t i = 8 + header.size(); i < file.size(); ++i) file[i] = static_cast<std::byte>(i % 2 == 0 ? i * 7 : 0x3c);
  return file;
}

void run(session::Engine& engine, const plan::Plan& plan) {
  const plan::Config& c = plan.config;
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < std::min(c.max_context, c.chunk + 2); ++i) tokens.push_back(i * 7 % c.vocab);
  for (const plan::Program& program : plan.programs) {
    for (const auto wanted : {session::LogitsWanted::kAll, session::LogitsWanted::kLast}) {
      try {
        engine.truncate(0);
        (void)engine.prefill(tokens, wanted, program.name);
      } catch (const Error&) {
      }
    }
    for (const plan::Tensor& t : plan.tensors) {
      try {
        (void)engine.peek(t.name);
      } catch (const Error&) {
      }
    }
  }
  session::GenerateOptions options;
  options.max_tokens = 3;
  try {
    engine.generate(options, [](uint32_t, auto) {});
  } catch (const Error&) {
  }
}

}  // namespace
}  // namespace lutra::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  const auto bytes = fuzz::as_bytes(data, size);
  try {
    const plan::Plan plan = plan::Plan::parse(bytes);
    if (!fuzz::is_small(plan)) return 0;
    const fuzz::MemoryFile file(fuzz::weights_of(plan));
    const fuzz::Budget budget(fuzz::kMostAlive);
    session::EngineOptions options;
    options.plan.assign(bytes.begin(), bytes.end());
    options.files = {file.path()};
    options.npu.kind = session::NpuOptions::Kind::kHost;
    options.keep_activations = size % 2 == 0;
    session::Engine engine(std::move(options));
    fuzz::run(engine, plan);
  } catch (const Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) { return lutra::fuzz::mutate_plan(data, size, max_size, seed); }
