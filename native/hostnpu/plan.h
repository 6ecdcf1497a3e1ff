// What finalize makes of a graph: stages of work over memory slots.
//
// A node becomes one or more stages. A stage computes any range of its items; items of a row-wise stage are rows: it reads rows [b, e) of its inputs to
// write rows [b, e) of its outputs. The schedule (schedule.h) joins consecutive row-wise stages of as many rows, so that one task takes a few rows through
// all of them while they are in the cache, and lays the slots out in one arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hostnpu/node.h"
#include "hostnpu/runner.h"

namespace lutra::hostnpu {

using Slot = uint32_t;
/// Addresses by slot during one execution.
using Memory = std::span<std::byte* const>;

class Stage {
 public:
  virtual ~Stage() = default;
  /// Items [begin, end). Does not allocate, throw or start threads; ranges run at the same time on several threads.
  virtual void run(Memory memory, uint32_t begin, uint32_t end) const = 0;
};

struct StagePlan {
  std::unique_ptr<Stage> stage;
  uint32_t items = 0;
  bool rowwise = false;
  /// Items of one task. 0 for a row-wise stage, whose tasks the schedule cuts.
  uint32_t grain = 0;
  size_t row_bytes = 0;      // of a row-wise stage: bytes that one row touches, for cutting tasks
  std::vector<Slot> reads;   // a row-wise stage: by rows
  std::vector<Slot> shared;  // read as a whole by every item
  std::vector<Slot> writes;
  uint32_t node = 0;         // index, set by the planner
};

struct SlotInfo {
  enum class Where : uint8_t { kArena, kClient, kStatic };
  Where where = Where::kArena;
  size_t bytes = 0;
  size_t offset = 0;                  // in the arena
  const std::byte* constant = nullptr;  // of a static slot
};

/// The tools that an op's plan function has.
class Planner {
 public:
  Planner(Runner& runner, const kernels::GemmKernel& gemm, const kernels::NpuOpKernels& ops) : runner_(runner), gemm_(gemm), ops_(ops) {}

  Runner& runner() noexcept { return runner_; }
  const kernels::GemmKernel& gemm() const noexcept { return gemm_; }
  const kernels::NpuOpKernels& ops() const noexcept { return ops_; }

  /// The slot of a tensor; a STATIC tensor's raw data has to stay.
  Slot slot(const TensorInfo& tensor);
  /// Memory that lives from the first stage that writes it to the last that reads it.
  Slot scratch(size_t bytes);
  /// Lets `alias` live where `tensor` lives, when neither has to be a buffer of the client's at another place. False: a copy is needed.
  bool alias(const TensorInfo& tensor, const TensorInfo& alias);
  void add(StagePlan stage);
  /// The prepared form of `from` in rows of `depth`, if a node before made one (q, k and v read the same x), or none.
  const Slot* prepared(Slot from, uint32_t depth) const noexcept;
  void remember_prepared(Slot from, uint32_t depth, Slot prepared) { prepared_.push_back({from, depth, prepared}); }

  // For the graph:
  void begin_node(uint32_t index) noexcept { node_ = index; }
  std::vector<StagePlan>& stages() noexcept { return stages_; }
  std::vector<SlotInfo>& slots() noexcept { return slots_; }
  /// True when some stage reads the tensor's raw data.
  bool uses_raw(const TensorInfo& tensor) const noexcept;

 private:
  Slot* find(uint32_t tensor_id) noexcept;

  Runner& runner_;
  const kernels::GemmKernel& gemm_;
  const kernels::NpuOpKernels& ops_;
  uint32_t node_ = 0;
  std::vector<StagePlan> stages_;
  std::vector<SlotInfo> slots_;
  struct Binding {
    uint32_t tensor_id;
    Slot slot;
  };
  std::vector<Binding> bindings_;
  struct Prepared {
    Slot from;
    uint32_t depth;
    Slot prepared;
  };
  std::vector<Prepared> prepared_;
};

}  // namespace lutra::hostnpu
