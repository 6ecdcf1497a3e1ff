#include "hostnpu/plan.h"

#include <utility>

namespace lutra::hostnpu {

Slot* Planner::find(uint32_t tensor_id) noexcept {
  for (Binding& binding : bindings_) {
    if (binding.tensor_id == tensor_id) return &binding.slot;
  }
  return nullptr;
}

Slot Planner::slot(const TensorInfo& tensor) {
  if (const Slot* known = find(tensor.id)) return *known;
  SlotInfo info;
  info.bytes = tensor.bytes();
  if (tensor.is_static()) {
    if (tensor.data == nullptr || !tensor.data->has_raw()) {
      throw Failure(abi::kGraphFinalizeFailed, "constant '" + tensor.name + "' is used as a weight and in another way, which the host NPU does not keep both data for");
    }
    info.where = SlotInfo::Where::kStatic;
    info.constant = tensor.data->raw().data();
  } else if (tensor.is_input() || tensor.is_output()) {
    info.where = SlotInfo::Where::kClient;
  }
  slots_.push_back(info);
  const auto made = static_cast<Slot>(slots_.size() - 1);
  bindings_.push_back({tensor.id, made});
  return made;
}

Slot Planner::scratch(size_t bytes) {
  SlotInfo info;
  info.bytes = bytes;
  slots_.push_back(info);
  return static_cast<Slot>(slots_.size() - 1);
}

bool Planner::alias(const TensorInfo& tensor, const TensorInfo& alias) {
  const Slot from = slot(tensor);
  if (!alias.is_output()) {
    bindings_.push_back({alias.id, from});
    return true;
  }
  if (slots_[from].where != SlotInfo::Where::kArena || find(alias.id) != nullptr) return false;
  // The tensor is computed right into the client's buffer: its slot becomes the client's.
  slots_[from].where = SlotInfo::Where::kClient;
  bindings_.push_back({alias.id, from});
  return true;
}

void Planner::add(StagePlan stage) {
  stage.node = node_;
  stages_.push_back(std::move(stage));
}

const Slot* Planner::prepared(Slot from, uint32_t depth) const noexcept {
  for (const Prepared& one : prepared_) {
    if (one.from == from && one.depth == depth) return &one.prepared;
  }
  return nullptr;
}

bool Planner::uses_raw(const TensorInfo& tensor) const noexcept {
  for (const Binding& binding : bindings_) {
    if (binding.tensor_id == tensor.id) return true;
  }
  return false;
}

}  // namespace lutra::hostnpu
