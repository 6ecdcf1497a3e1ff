// The object that the kernel API's functions are put into, and what they share.
#pragma once

#include <napi.h>

#include <memory>

#include "base/thread_pool.h"

namespace lutra::addon {

/// Threads of an environment's products, made when a product first wants more than the calling one.
class Pools {
 public:
  /// NULL for the calling thread alone. Valid until another number of threads above 1 is asked for.
  ThreadPool* of(uint32_t threads) {
    if (threads == 1) return nullptr;
    if (pool_ == nullptr || pool_->threads() != threads) pool_ = std::make_unique<ThreadPool>(threads);
    return pool_.get();
  }
  void clear() { pool_.reset(); }

 private:
  std::unique_ptr<ThreadPool> pool_;
};

/// A function of the table. Every Error becomes a JavaScript one.
using KernelCall = Napi::Value (*)(const Napi::CallbackInfo& info, Pools& pools);

class KernelTable {
 public:
  explicit KernelTable(Napi::Env env);
  void add(const char* name, KernelCall call);
  Napi::Object object() const { return object_; }

 private:
  Napi::Env env_;
  std::shared_ptr<Pools> pools_;
  Napi::Object object_;
};

/// Argument `index`, 1 to 256. Throws Error(kInvalidArgument).
uint32_t thread_count(const Napi::CallbackInfo& info, size_t index);

/// The shadow linear (shadow_api.cc).
void add_shadow_calls(KernelTable& table);

/// Measurements of kernels (kernel_bench.cc).
void add_bench_calls(KernelTable& table);

}  // namespace lutra::addon
