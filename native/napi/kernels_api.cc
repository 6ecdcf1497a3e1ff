#include "napi/kernels_api.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "napi/arguments.h"
#include "napi/handle.h"
#include "napi/kernel_arrays.h"
#include "napi/kernel_variants.h"
#include "napi/kernels_table.h"
#include "napi/packed_weight.h"
#include "napi/weights.h"

namespace lutra::addon {
namespace {

using kernels::WeightType;

constexpr uint32_t kProbedRows = 64;  // the choice of a kernel is asked for up to so many rows

/// A weight whose memory the garbage collector knows of.
class WeightHandle : public Owner<OwnedWeight> {
 public:
  WeightHandle(Napi::Env env, OwnedWeight weight) : Owner(std::make_shared<OwnedWeight>(std::move(weight)), "packed weight"), env_(env), bytes_(static_cast<int64_t>(get()->data.size())) { tell(bytes_); }
  ~WeightHandle() override { WeightHandle::dispose(); }
  void dispose() override {
    Owner::dispose();
    tell(-std::exchange(bytes_, 0));
  }

 private:
  void tell(int64_t change) {
    int64_t total = 0;
    napi_adjust_external_memory(env_, change, &total);
  }

  napi_env env_;
  int64_t bytes_;
};

Napi::Value wrapped(Napi::Env env, OwnedWeight weight) { return wrap(env, std::make_shared<WeightHandle>(env, std::move(weight))); }

std::shared_ptr<OwnedWeight> weight_of(const Napi::CallbackInfo& info) { return unwrap_as<WeightHandle>(info[0], "the packed weight")->get(); }

// --- packing ---------------------------------------------------------------------------------------------------------------------------

struct Shape {
  WeightType type;
  uint32_t rows, cols;
  std::string text() const { return std::to_string(rows) + " x " + std::to_string(cols); }
  size_t elements() const noexcept { return size_t{rows} * cols; }
};

/// Arguments 0 to 2: type, rows, columns.
Shape shape_of(const Napi::CallbackInfo& info) {
  const Arguments a(info);
  const Shape shape{weight_type(a.u32(0, "type")), a.u32(1, "rows"), a.u32(2, "columns")};
  if (shape.type == WeightType::kF32 || shape.type == WeightType::kF16) throw Error(ErrorCode::kInvalidArgument, weight_name(shape.type) + " has no packed layout");
  static_cast<void>(checked_packed_size(shape.type, shape.rows, shape.cols));
  return shape;
}

kernels::LowBitFormat format_of(const Shape& shape) {
  if (const auto format = kernels::low_bit_format(shape.type)) return *format;
  throw Error(ErrorCode::kInvalidArgument, weight_name(shape.type) + " is packed from blocks", "give blocks, or a format such as w4g32");
}

constexpr float kLargestHalf = 65504.0f;
constexpr const char* kRange = "scale the weights down, or choose a format with a scale per row, which is F32";

Napi::Value pack_values(const Napi::CallbackInfo& info, Pools&) {
  const Shape shape = shape_of(info);
  const kernels::LowBitFormat format = format_of(shape);
  const auto values = floats(info[3], "values");
  const auto importance = given(info[4]) ? floats(info[4], "importance") : std::span<float>{};
  check_length("values", values.size(), shape.elements(), shape.text());
  check_finite("values", values);
  // Beyond it the best scale may be one that F16 does not hold, and what is nearest to it would be zero.
  const float most = format.group == 0 ? std::numeric_limits<float>::max() / 4 : kLargestHalf;
  check_each("values", values, "within what scales of the format hold", [&](float v) { return std::abs(v) <= most; }, kRange);
  if (given(info[4])) {
    check_length("importance", importance.size(), shape.cols, "one for each column");
    check_each("importance", importance, "positive", [](float v) { return v > 0 && std::isfinite(v); });
  }
  OwnedWeight weight = allocate_weight(shape.type, shape.rows, shape.cols);
  quantize_and_pack(format, values.data(), given(info[4]) ? importance.data() : nullptr, shape.rows, shape.cols, 1, weight.data.bytes());
  check_numbers(weight, ErrorCode::kInvalidArgument, kRange);
  return wrapped(info.Env(), std::move(weight));
}

/// From type, rows, columns, codes, scales and offsets.
OwnedWeight packed_codes(const Napi::CallbackInfo& info) {
  const Shape shape = shape_of(info);
  const kernels::LowBitFormat format = format_of(shape);
  const auto codes = octets(info[3], "codes");
  const auto scales = floats(info[4], "scales");
  const bool offset = format.offset != kernels::Offset::kNone;
  const size_t groups = (kernels::chunks_of(shape.cols) + kernels::group_chunks(format, shape.cols) - 1) / kernels::group_chunks(format, shape.cols);
  const std::string each = shape.text() + ": " + std::to_string(groups) + " groups a row";
  check_length("codes", codes.size(), shape.elements(), shape.text());
  check_length("scales", scales.size(), shape.rows * groups, each);
  if (offset != given(info[5])) throw Error(ErrorCode::kInvalidArgument, weight_name(shape.type) + (offset ? " needs offsets" : " has no offsets"), offset ? "give one for each scale" : "leave them out, or choose a format with m or z");
  const auto offsets = offset ? floats(info[5], "offsets") : std::span<float>{};
  if (offset) check_length("offsets", offsets.size(), scales.size(), each);
  check_each("codes", codes, ("below " + std::to_string(1u << format.bits)).c_str(), [&](uint8_t code) { return code < 1u << format.bits; });
  check_finite("scales", scales);
  check_finite("offsets", offsets);
  if (format.offset == kernels::Offset::kZero) check_each("offsets", offsets, "a whole number from -256 to 256", [](float z) { return z == std::rint(z) && std::abs(z) <= 256; });
  OwnedWeight weight = allocate_weight(shape.type, shape.rows, shape.cols);
  kernels::pack_low_bit({format, shape.rows, shape.cols, codes.data(), scales.data(), offset ? offsets.data() : nullptr}, weight.data.bytes());
  check_numbers(weight, ErrorCode::kInvalidArgument, kRange);
  return weight;
}

Napi::Value pack_codes(const Napi::CallbackInfo& info, Pools&) { return wrapped(info.Env(), packed_codes(info)); }

Napi::Value pack_blocks(const Napi::CallbackInfo& info, Pools&) {
  const Shape shape = shape_of(info);
  const auto blocks = octets(info[3], "blocks");
  const size_t bytes = ggml_bytes(shape.type, shape.rows, shape.cols);
  if (bytes == 0) throw Error(ErrorCode::kInvalidArgument, weight_name(shape.type) + " has no blocks", "give values, or codes and scales");
  check_length("blocks", blocks.size(), bytes, shape.text() + " in blocks of 32");
  OwnedWeight weight = allocate_weight(shape.type, shape.rows, shape.cols);
  kernels::pack_ggml(shape.type, reinterpret_cast<const std::byte*>(blocks.data()), shape.rows, shape.cols, weight.data.bytes());
  check_numbers(weight, ErrorCode::kInvalidArgument, "export the weight again");
  return wrapped(info.Env(), std::move(weight));
}

// --- weights ---------------------------------------------------------------------------------------------------------------------------

Napi::Value describe(const Napi::CallbackInfo& info, Pools&) {
  const auto weight = weight_of(info);
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("type", static_cast<uint32_t>(weight->type));
  o.Set("rows", weight->rows);
  o.Set("columns", weight->cols);
  o.Set("byteLength", static_cast<double>(weight->data.size()));
  return o;
}

Napi::Value to_bytes(const Napi::CallbackInfo& info, Pools&) {
  const auto weight = weight_of(info);
  auto out = new_array<Napi::Uint8Array>(info.Env(), weight_file_size(*weight));
  write_weight_file(*weight, {reinterpret_cast<std::byte*>(out.Data()), out.ByteLength()});
  return out;
}

Napi::Value from_bytes(const Napi::CallbackInfo& info, Pools&) { return wrapped(info.Env(), read_weight_file(std::as_bytes(octets(info[0], "the bytes of a packed weight")))); }

Napi::Value dequantize(const Napi::CallbackInfo& info, Pools&) {
  const auto weight = weight_of(info);
  auto out = new_array<Napi::Float32Array>(info.Env(), size_t{weight->rows} * weight->cols);
  for (uint32_t row = 0; row < weight->rows; ++row) kernels::dequantize_row(weight->view(), row, out.Data() + size_t{row} * weight->cols);
  return out;
}

Napi::Value dispose(const Napi::CallbackInfo& info, Pools&) {
  unwrap_as<WeightHandle>(info[0], "the packed weight")->dispose();
  return info.Env().Undefined();
}

// --- products --------------------------------------------------------------------------------------------------------------------------

/// Arguments: weight, x, n or null, y or null, name of a kernel or null, threads.
Napi::Value gemv(const Napi::CallbackInfo& info, Pools& pools) {
  const Arguments a(info);
  const auto weight = weight_of(info);
  const auto x = floats(info[1], "x");
  const size_t cols = weight->cols, n = given(info[2]) ? a.u32(2, "n") : std::max(size_t{1}, x.size() / cols);
  if (n == 0 || n > std::numeric_limits<uint32_t>::max()) throw Error(ErrorCode::kInvalidArgument, "n = " + std::to_string(n) + " is no number of rows", "give at least one row of x");
  check_length("x", x.size(), n * cols, std::to_string(n) + " rows of " + std::to_string(cols) + " columns");
  const auto out = given(info[3]) ? info[3].As<Napi::Float32Array>() : new_array<Napi::Float32Array>(info.Env(), n * weight->rows);
  const auto y = floats(out, "y");
  check_length("y", y.size(), n * weight->rows, std::to_string(n) + " rows of " + std::to_string(weight->rows) + " outputs");
  const uint32_t threads = thread_count(info, 5), rows = static_cast<uint32_t>(n);
  const KernelVariant kernel = given(info[4]) ? named_variant(a.string(4, "kernel"), weight->type) : chosen_variant(weight->type, best_isa(), rows);
  check_finite("x", x);
  AlignedBuffer prepared(kernel.prepared_size(rows, weight->cols));
  kernel.prepare(x.data(), rows, weight->cols, prepared.data());
  run_tiles(kernel, weight->view(), prepared.data(), rows, y.data(), pools.of(threads));
  return out;
}

/// For each type the rows for which the registry picks this kernel: {type, from, to}, `to` null when it has no end.
Napi::Array choices(Napi::Env env, const KernelVariant& kernel, Isa isa) {
  Napi::Array out = Napi::Array::New(env);
  for (const WeightType type : kernel_weight_types()) {
    for (uint32_t n = 1; n <= kProbedRows; ++n) {
      if (chosen_variant(type, isa, n).name != kernel.name) continue;
      const uint32_t from = n;
      while (n < kProbedRows && chosen_variant(type, isa, n + 1).name == kernel.name) ++n;
      Napi::Object range = Napi::Object::New(env);
      range.Set("type", static_cast<uint32_t>(type));
      range.Set("from", from);
      range.Set("to", n == kProbedRows ? env.Null() : Napi::Number::New(env, n));
      out.Set(out.Length(), range);
    }
  }
  return out;
}

Napi::Value list(const Napi::CallbackInfo& info, Pools&) {
  const Napi::Env env = info.Env();
  const Isa isa = best_isa();
  Napi::Array out = Napi::Array::New(env);
  for (const KernelVariant& kernel : kernel_variants()) {
    Napi::Object o = Napi::Object::New(env);
    Napi::Array types = Napi::Array::New(env);
    for (const WeightType type : kernel_weight_types()) {
      if (kernel.takes(type)) types.Set(types.Length(), static_cast<uint32_t>(type));
    }
    o.Set("name", kernel.name);
    o.Set("family", kernel.family);
    o.Set("isa", isa_name(kernel.isa));
    o.Set("types", types);
    o.Set("available", isa_available(kernel.isa));
    o.Set("chosen", choices(env, kernel, isa));
    out.Set(out.Length(), o);
  }
  return out;
}

}  // namespace

KernelTable::KernelTable(Napi::Env env) : env_(env), pools_(std::make_shared<Pools>()), object_(Napi::Object::New(env)) {
  env.AddCleanupHook([pools = pools_] { pools->clear(); });
}

void KernelTable::add(const char* name, KernelCall call) {
  const auto body = [pools = pools_, call](const Napi::CallbackInfo& info) -> Napi::Value { return guarded(info.Env(), [&] { return call(info, *pools); }); };
  object_.Set(name, Napi::Function::New(env_, body, name));
}

uint32_t thread_count(const Napi::CallbackInfo& info, size_t index) {
  constexpr uint32_t kMost = 256;
  const uint32_t threads = Arguments(info).u32(index, "threads");
  if (threads < 1 || threads > kMost) throw Error(ErrorCode::kInvalidArgument, "threads = " + std::to_string(threads), "use 1 to 256");
  return threads;
}

void add_kernels(Napi::Env env, Napi::Object exports) {
  KernelTable table(env);
  table.add("list", list);
  table.add("packValues", pack_values);
  table.add("packCodes", pack_codes);
  table.add("packBlocks", pack_blocks);
  table.add("describe", describe);
  table.add("toBytes", to_bytes);
  table.add("fromBytes", from_bytes);
  table.add("dequantize", dequantize);
  table.add("gemv", gemv);
  table.add("dispose", dispose);
  add_shadow_calls(table);
  add_bench_calls(table);
  exports.Set("kernels", table.object());
}

Napi::Value pack_low_bit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const OwnedWeight weight = packed_codes(info);
    auto out = new_array<Napi::Uint8Array>(info.Env(), weight.data.size());
    std::memcpy(out.Data(), weight.data.data(), weight.data.size());
    return out;
  });
}

}  // namespace lutra::addon
