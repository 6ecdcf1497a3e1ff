// The functions of conversion over kernels/fold: widening with a check, and 8-bit weights of the NPU from floats, beside JavaScript's thread.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/fold/fold.h"
#include "napi/arguments.h"
#include "napi/deferred.h"
#include "napi/weights.h"

namespace lutra::addon {
namespace {

using kernels::FoldKernels;
using kernels::FoldRotation;

constexpr uint32_t kMostThreads = 256;
constexpr uint32_t kTileRows = 64;  // rows that a task quantises; of a transposed matrix, a cache line of it

void check_length(const char* name, size_t found, size_t expected) {
  if (found != expected) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " has " + std::to_string(found) + " elements, expected " + std::to_string(expected));
}

template <class T>
std::span<T> member(const Napi::Object& o, const char* name, napi_typedarray_type type) {
  return typed_array<T>(o.Get(name), name, type);
}

/// H ⊗ M with the diagonal that comes before it.
struct OwnedRotation {
  std::vector<double> matrix;
  FoldRotation view{};

  /// Of { diagonal, matrix }; `hidden`: how long the vectors are.
  OwnedRotation(const Napi::Object& o, uint32_t hidden) {
    const auto diagonal = member<const float>(o, "diagonal", napi_float32_array);
    const auto small = member<const float>(o, "matrix", napi_float32_array);
    const auto size = static_cast<uint32_t>(std::lround(std::sqrt(static_cast<double>(small.size()))));
    check_length("diagonal", diagonal.size(), hidden);
    if (size == 0 || size > kernels::kMostFoldMatrix || small.size() != size_t{size} * size || hidden % size != 0 || (hidden / size & (hidden / size - 1)) != 0) {
      throw Error(ErrorCode::kInvalidArgument, "a rotation of " + std::to_string(hidden) + " columns has a matrix of " + std::to_string(small.size()) + " elements");
    }
    const uint32_t stride = kernels::fold_stride(size);
    const double norm = 1 / std::sqrt(static_cast<double>(hidden / size));
    matrix.assign(size_t{size} * stride, 0.0);
    for (uint32_t i = 0; i < size; ++i) {
      for (uint32_t k = 0; k < size; ++k) matrix[i * stride + k] = small[i * size + k] * norm;
    }
    view = {hidden, size, matrix.data(), diagonal.data()};
  }
};

/// One call of foldS8. Its arrays are JavaScript's, held by the worker.
struct FoldJob {
  const FoldKernels& fold = kernels::fold_kernel(best_isa());
  std::span<float> values;
  std::span<int8_t> codes;
  std::span<float> scales;
  uint32_t rows, cols, first, total, threads;
  bool transpose, outputs;
  std::unique_ptr<OwnedRotation> rotation;

  explicit FoldJob(const Napi::Object& o)
      : values(member<float>(o, "values", napi_float32_array)), codes(member<int8_t>(o, "codes", napi_int8_array)), scales(member<float>(o, "scales", napi_float32_array)), rows(u32(o, "rows")), cols(u32(o, "cols")),
        first(u32(o, "first")), total(u32(o, "total")), threads(std::clamp(u32(o, "threads"), 1u, kMostThreads)), transpose(boolean_or(o, "transpose", false)), outputs(boolean_or(o, "outputs", false)) {
    if (rows == 0 || cols == 0 || first > total || rows > total - first) {
      throw Error(ErrorCode::kInvalidArgument, std::to_string(rows) + " rows of " + std::to_string(cols) + " columns from row " + std::to_string(first) + " on do not lie in " + std::to_string(total));
    }
    const size_t here = transpose ? total : rows;
    check_length("values", values.size(), size_t{rows} * cols);
    check_length("codes", codes.size(), here * cols);
    check_length("scales", scales.size(), total);
    if (o.Get("rotation").IsObject()) {
      if (outputs && rows != total) throw Error(ErrorCode::kInvalidArgument, "a rotation of the outputs wants all of them at once");
      rotation = std::make_unique<OwnedRotation>(o.Get("rotation").As<Napi::Object>(), outputs ? rows : cols);
    }
  }

  /// False when a weight is infinite or no number, before or after it was rotated.
  bool run() {
    ThreadPool pool(threads);
    if (rotation && outputs) rotate_outputs(pool);
    std::atomic<bool> good = true;
    pool.run((rows + kTileRows - 1) / kTileRows, [&](uint32_t task) {
      const uint32_t begin = task * kTileRows, count = std::min(kTileRows, rows - begin);
      if (rotation && !outputs) fold.rotate_rows(rotation->view, values.data() + size_t{begin} * cols, count);
      if (!quantize(begin, count)) good = false;
    });
    return good;
  }

 private:
  void rotate_outputs(ThreadPool& pool) {
    const uint32_t blocks = (cols + kernels::kFoldColumns - 1) / kernels::kFoldColumns, tasks = std::min(blocks, threads * ThreadPool::kTasksPerThread);
    pool.run(tasks, [&](uint32_t task) {
      std::vector<float> scratch(size_t{rows} * kernels::kFoldColumns);
      for (uint32_t block = task * uint64_t{blocks} / tasks; block < (task + 1) * uint64_t{blocks} / tasks; ++block) {
        const uint32_t from = block * kernels::kFoldColumns;
        fold.rotate_columns(rotation->view, values.data() + from, cols, std::min(kernels::kFoldColumns, cols - from), scratch.data());
      }
    });
  }

  bool quantize(uint32_t begin, uint32_t count) {
    std::vector<int8_t> tile(transpose ? size_t{count} * cols : 0);
    for (uint32_t r = 0; r < count; ++r) {
      const size_t row = begin + r;
      int8_t* out = transpose ? tile.data() + size_t{r} * cols : codes.data() + row * cols;
      if (!fold.quantize_row(values.data() + row * cols, cols, out, &scales[first + row])) return false;
    }
    if (!transpose) return true;
    for (size_t c = 0; c < cols; ++c) {
      int8_t* out = codes.data() + c * total + first + begin;
      for (uint32_t r = 0; r < count; ++r) out[r] = tile[size_t{r} * cols + c];
    }
    return true;
  }
};

/// Runs a job on libuv's pool and settles its promise. Deletes itself.
class FoldWorker final : public Napi::AsyncWorker {
 public:
  static Napi::Value start(const Napi::Object& options) {
    auto job = std::make_unique<FoldJob>(options);
    auto [deferred, promise] = Deferred::create(options.Env());
    (new FoldWorker(options, std::move(job), std::move(deferred)))->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    try {
      good_ = job_->run();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  void OnOK() override {
    const SettledOrDropped settled(*deferred_);
    if (failure_) deferred_->reject(to_js(Env(), failure_).Value());
    else deferred_->resolve(Napi::Boolean::New(Env(), good_));
  }

 private:
  FoldWorker(const Napi::Object& options, std::unique_ptr<FoldJob> job, std::shared_ptr<Deferred> deferred)
      : Napi::AsyncWorker(options.Env(), "lutra fold"), options_(Napi::Persistent(options)), job_(std::move(job)), deferred_(std::move(deferred)) {}

  Napi::ObjectReference options_;  // and with it the arrays
  std::unique_ptr<FoldJob> job_;
  std::shared_ptr<Deferred> deferred_;
  bool good_ = false;
  std::exception_ptr failure_;
};

}  // namespace

Napi::Value fold_s8(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return FoldWorker::start(Arguments(info).object(0)); });
}

Napi::Value widen(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Arguments a(info);
    const std::string type = a.string(0, "type");
    const auto bytes = a.array<const std::byte>(1, "bytes", napi_uint8_array);
    const auto out = a.array<float>(2, "out", napi_float32_array);
    const FoldKernels& fold = kernels::fold_kernel(best_isa());
    const size_t width = type == "F32" ? 4 : 2;
    check_length("out", out.size(), bytes.size() / width);
    if (bytes.size() % width != 0 || reinterpret_cast<uintptr_t>(bytes.data()) % width != 0) throw Error(ErrorCode::kInvalidArgument, std::to_string(bytes.size()) + " bytes are no whole numbers of type " + type + ", or not aligned to them");
    const auto* words = reinterpret_cast<const uint16_t*>(bytes.data());
    if (type == "BF16") return Napi::Boolean::New(info.Env(), fold.widen_bf16(words, out.size(), out.data()));
    if (type == "F16") return Napi::Boolean::New(info.Env(), fold.widen_f16(words, out.size(), out.data()));
    if (type != "F32") throw Error(ErrorCode::kInvalidArgument, "float type " + type + " is unknown", "give F32, F16 or BF16");
    std::copy_n(reinterpret_cast<const float*>(bytes.data()), out.size(), out.data());
    return Napi::Boolean::New(info.Env(), fold.finite(out.data(), out.size()));
  });
}

}  // namespace lutra::addon
