// The order of work of a finalized graph and where its memory lies.
#pragma once

#include <functional>

#include "hostnpu/plan.h"
#include "hostnpu/signal.h"

namespace lutra::hostnpu {

class Schedule {
 public:
  Schedule() = default;
  /// Takes the stages of a planner and lays out its slots: slots in the arena whose lives (in steps) do not overlap share memory.
  Schedule(std::vector<StagePlan> stages, std::vector<SlotInfo> slots, uint32_t threads);

  size_t arena_bytes() const noexcept { return arena_bytes_; }
  const std::vector<SlotInfo>& slots() const noexcept { return slots_; }

  /// Runs all steps. `memory` has an address for every slot; `watch`, which may be NULL, can end it between two steps by a Failure.
  void run(Memory memory, Runner& runner, const Watch* watch) const;
  /// The same stage by stage; `timed` gets the node of each stage and its time in seconds.
  void run_timed(Memory memory, Runner& runner, const Watch* watch, const std::function<void(uint32_t node, double seconds)>& timed) const;

 private:
  /// Stages [begin, end) that one parallel region computes.
  struct Step {
    uint32_t begin, end;
    uint32_t items, grain;
  };
  void form_steps(uint32_t threads);
  void place_slots();

  std::vector<StagePlan> stages_;
  std::vector<SlotInfo> slots_;
  std::vector<Step> steps_;
  size_t arena_bytes_ = 0;
};

}  // namespace lutra::hostnpu
