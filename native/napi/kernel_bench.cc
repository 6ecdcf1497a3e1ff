// Measurements behind `lutra bench kernels`: products and plain reads of one large piece of memory, timed here so that no JavaScript lies in the timed region.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/read/read.h"
#include "napi/arguments.h"
#include "napi/handle.h"
#include "napi/kernel_variants.h"
#include "napi/kernels_table.h"
#include "napi/packed_weight.h"
#include "napi/weights.h"

namespace lutra::addon {
namespace {

constexpr size_t kBehind = 16384;  // kernels and reads prefetch so far, at most
constexpr uint32_t kMostSamples = 10000;

/// Memory that samples take in turns, so that what one of them reads has left every cache when its turn comes again. Its bytes are a weight of any format at any place: codes are arbitrary,
/// and with bit 6 of every byte clear each F16 and F32 is an ordinary number below 2.
class Arena {
 public:
  explicit Arena(size_t bytes) : memory_(bytes + kBehind), size_(bytes) {
    uint64_t state = 1;
    for (uint64_t& word : memory_.as<uint64_t>()) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      word = (state ^ state >> 29) & 0xbfbfbfbfbfbfbfbfu;
    }
  }

  /// The next `bytes`, aligned to a cache line.
  const std::byte* take(size_t bytes) {
    if (bytes > size_) throw Error(ErrorCode::kInvalidArgument, std::to_string(bytes) + " bytes are more than the " + std::to_string(size_) + " of the arena", "use smaller matrices");
    if (at_ + bytes > size_) at_ = 0;
    return memory_.data() + std::exchange(at_, at_ + (bytes + 63) / 64 * 64);
  }

  uint64_t sum = 0;  // keeps reads alive

 private:
  AlignedBuffer memory_;
  size_t size_, at_ = 0;
};
using ArenaHandle = Owner<Arena>;

std::shared_ptr<Arena> arena_of(const Napi::CallbackInfo& info) { return unwrap_as<ArenaHandle>(info[0], "the arena")->get(); }

uint32_t sample_count(const Napi::CallbackInfo& info, size_t index) {
  const uint32_t count = Arguments(info).u32(index, "count");
  if (count < 1 || count > kMostSamples) throw Error(ErrorCode::kInvalidArgument, "count = " + std::to_string(count), "use 1 to 10000");
  return count;
}

template <class Work>
double microseconds(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

/// bytes → arena.
Napi::Value arena(const Napi::CallbackInfo& info, Pools&) {
  const uint32_t megabytes = Arguments(info).u32(0, "megabytes");
  if (megabytes < 1) throw Error(ErrorCode::kInvalidArgument, "an arena of no megabytes");
  return wrap(info.Env(), std::make_shared<ArenaHandle>(std::make_shared<Arena>(size_t{megabytes} << 20), "arena"));
}

/// Microseconds of `count` products, preparation of the activations included: arena, kernel, type, rows, columns, n, threads, warm, count. Cold: each on weights of its own.
Napi::Value time_products(const Napi::CallbackInfo& info, Pools& pools) {
  const Arguments a(info);
  const auto memory = arena_of(info);
  kernels::PackedWeight weight{weight_type(a.u32(2, "type")), a.u32(3, "rows"), a.u32(4, "columns"), nullptr};
  const KernelVariant kernel = named_variant(a.string(1, "kernel"), weight.type);
  const size_t bytes = checked_packed_size(weight.type, weight.rows, weight.cols);
  const uint32_t n = std::max(1u, a.u32(5, "n")), count = sample_count(info, 8);
  ThreadPool* pool = pools.of(thread_count(info, 6));
  const bool warm = info[7].ToBoolean();
  std::vector<float> x(size_t{n} * weight.cols), y(size_t{n} * weight.rows);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i) * 1.7f);
  AlignedBuffer prepared(kernel.prepared_size(n, weight.cols));
  const auto product = [&] {
    kernel.prepare(x.data(), n, weight.cols, prepared.data());
    run_tiles(kernel, weight, prepared.data(), n, y.data(), pool);
  };
  auto out = Napi::Float64Array::New(info.Env(), count);
  weight.data = memory->take(bytes);
  if (warm) product();
  for (uint32_t i = 0; i < count; ++i) {
    out[i] = microseconds(product);
    if (!warm) weight.data = memory->take(bytes);
  }
  return out;
}

/// Microseconds of `count` reads of `bytes` each, by every kind of load that this processor has: arena, bytes, threads, count → [{name, us}].
Napi::Value time_reads(const Napi::CallbackInfo& info, Pools& pools) {
  const Arguments a(info);
  const auto memory = arena_of(info);
  const uint32_t threads = thread_count(info, 2), count = sample_count(info, 3);
  const size_t part = a.u32(1, "bytes") / threads / 256 * 256;
  ThreadPool* pool = pools.of(threads);
  std::vector<uint64_t> sums(threads);
  Napi::Array out = Napi::Array::New(info.Env());
  for (const kernels::ReadKernel& kernel : kernels::read_kernels()) {
    if (!isa_available(kernel.isa)) continue;
    auto us = Napi::Float64Array::New(info.Env(), count);
    for (uint32_t i = 0; i < count; ++i) {
      const std::byte* from = memory->take(part * threads);
      const auto read = [&](uint32_t task) { sums[task] += kernel.run(from + task * part, part); };
      us[i] = microseconds([&] {
        if (pool == nullptr) read(0);
        else pool->run(threads, read);
      });
    }
    Napi::Object one = Napi::Object::New(info.Env());
    one.Set("name", kernel.name);
    one.Set("us", us);
    out.Set(out.Length(), one);
  }
  for (const uint64_t sum : sums) memory->sum += sum;
  return out;
}

Napi::Value drop_arena(const Napi::CallbackInfo& info, Pools&) {
  unwrap_as<ArenaHandle>(info[0], "the arena")->dispose();
  return info.Env().Undefined();
}

}  // namespace

void add_bench_calls(KernelTable& table) {
  table.add("arena", arena);
  table.add("timeProducts", time_products);
  table.add("timeReads", time_reads);
  table.add("dropArena", drop_arena);
}

}  // namespace lutra::addon
