#include "hostnpu/schedule.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace lutra::hostnpu {
namespace {

constexpr size_t kTileBytes = 32 * 1024;  // what a task of a row-wise step touches per stage: stays in the first-level cache
constexpr size_t kAlignment = 64;

bool contains(const std::vector<Slot>& list, Slot slot) { return std::find(list.begin(), list.end(), slot) != list.end(); }

uint32_t tasks_of(uint32_t items, uint32_t grain) { return (items + grain - 1) / grain; }

}  // namespace

Schedule::Schedule(std::vector<StagePlan> stages, std::vector<SlotInfo> slots, uint32_t threads) : stages_(std::move(stages)), slots_(std::move(slots)) {
  form_steps(threads);
  place_slots();
}

void Schedule::form_steps(uint32_t threads) {
  std::vector<Slot> written;  // by the stages of the step under way
  for (uint32_t i = 0; i < stages_.size(); ++i) {
    const StagePlan& stage = stages_[i];
    const bool joins = stage.rowwise && !steps_.empty() && stages_[i - 1].rowwise && stages_[i - 1].items == stage.items &&
                       std::none_of(stage.shared.begin(), stage.shared.end(), [&](Slot slot) { return contains(written, slot); });
    if (joins) {
      ++steps_.back().end;
    } else {
      steps_.push_back({i, i + 1, stage.items, stage.grain});
      written.clear();
    }
    written.insert(written.end(), stage.writes.begin(), stage.writes.end());
  }
  for (Step& step : steps_) {
    if (!stages_[step.begin].rowwise) continue;
    size_t row = 1;
    for (uint32_t i = step.begin; i < step.end; ++i) row = std::max(row, stages_[i].row_bytes);
    const auto rows = static_cast<uint32_t>(std::clamp<size_t>(kTileBytes / row, 1, step.items));
    // Two tasks a thread even when the rows are short.
    step.grain = std::max(1u, std::min(rows, tasks_of(step.items, 2 * threads)));
  }
}

void Schedule::place_slots() {
  struct Life {
    Slot slot;
    uint32_t first, last;  // steps
  };
  std::vector<Life> lives;
  for (Slot slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].where != SlotInfo::Where::kArena) continue;
    Life life{slot, UINT32_MAX, 0};
    for (uint32_t s = 0; s < steps_.size(); ++s) {
      for (uint32_t i = steps_[s].begin; i < steps_[s].end; ++i) {
        const StagePlan& stage = stages_[i];
        if (!contains(stage.reads, slot) && !contains(stage.shared, slot) && !contains(stage.writes, slot)) continue;
        life.first = std::min(life.first, s);
        life.last = s;
      }
    }
    if (life.first != UINT32_MAX) lives.push_back(life);
  }
  // Large ones first, each at the lowest place that no slot alive at the same time has taken.
  std::stable_sort(lives.begin(), lives.end(), [this](const Life& a, const Life& b) { return slots_[a.slot].bytes > slots_[b.slot].bytes; });
  std::vector<Life> placed;  // by offset
  for (const Life& life : lives) {
    const size_t bytes = (slots_[life.slot].bytes + kAlignment - 1) / kAlignment * kAlignment;
    size_t offset = 0;
    for (const Life& other : placed) {
      if (other.last < life.first || life.last < other.first) continue;
      const size_t begin = slots_[other.slot].offset, end = begin + (slots_[other.slot].bytes + kAlignment - 1) / kAlignment * kAlignment;
      if (offset + bytes <= begin) break;
      offset = std::max(offset, end);
    }
    slots_[life.slot].offset = offset;
    arena_bytes_ = std::max(arena_bytes_, offset + bytes);
    const auto at = std::find_if(placed.begin(), placed.end(), [&](const Life& other) { return slots_[other.slot].offset > offset; });
    placed.insert(at, life);
  }
}

void Schedule::run(Memory memory, Runner& runner, const Watch* watch) const {
  for (const Step& step : steps_) {
    if (watch != nullptr) watch->check();
    runner.run(tasks_of(step.items, step.grain), [&](uint32_t task) {
      const uint32_t begin = task * step.grain, end = std::min(begin + step.grain, step.items);
      for (uint32_t i = step.begin; i < step.end; ++i) stages_[i].stage->run(memory, begin, end);
    });
  }
}

void Schedule::run_timed(Memory memory, Runner& runner, const Watch* watch, const std::function<void(uint32_t, double)>& timed) const {
  using Clock = std::chrono::steady_clock;
  for (const Step& step : steps_) {
    if (watch != nullptr) watch->check();
    for (uint32_t i = step.begin; i < step.end; ++i) {
      const auto start = Clock::now();
      runner.run(tasks_of(step.items, step.grain), [&](uint32_t task) {
        const uint32_t begin = task * step.grain, end = std::min(begin + step.grain, step.items);
        stages_[i].stage->run(memory, begin, end);
      });
      timed(stages_[i].node, std::chrono::duration<double>(Clock::now() - start).count());
    }
  }
}

}  // namespace lutra::hostnpu
