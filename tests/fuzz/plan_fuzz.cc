// Reader and validator of plans, and the memory plan of those that pass.
#include "base/error.h"
#include "plan/memory.h"
#include "plan/plan.h"
#include "plan_mutator.h"
#include "target.h"

namespace lutra::fuzz {
namespace {

/// Activations that live at the same time must not share bytes, and lie in the arena.
void check_memory(const plan::Plan& plan) {
  for (const bool keep : {false, true}) {
    const plan::MemoryPlan memory = plan::plan_memory(plan, keep);
    for (size_t t = 0; t < plan.tensors.size(); ++t) {
      const size_t offset = memory.offsets[t];
      if (offset == plan::MemoryPlan::kAbsent) continue;
      if (offset % 64 != 0 || offset + plan::activation_bytes(plan, plan.tensors[t]) > memory.bytes) fail("an activation lies outside of the arena");
    }
  }
}

}  // namespace
}  // namespace lutra::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lutra;
  const fuzz::Budget budget(fuzz::Budget::of_input(size));
  try {
    fuzz::check_memory(plan::Plan::parse(fuzz::as_bytes(data, size)));
  } catch (const Error&) {
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return lutra::fuzz::mutate_plan(data, size, max_size, seed);
}
