#include "napi/qnn_handles.h"

#include <utility>

namespace lutra::addon {

std::unique_lock<std::shared_mutex> ContextCore::exclusive() {
  if (finalizing > 0) throw Error(ErrorCode::kBusy, "a graph of this context is being finalized", "await finalizeAsync first, or use another context");
  return std::unique_lock(mutex);
}

std::shared_ptr<std::mutex> ContextCore::turn_of(const std::string& graph) {
  std::shared_ptr<std::mutex>& turn = turns_[graph];
  if (turn == nullptr) turn = std::make_shared<std::mutex>();
  return turn;
}

}  // namespace lutra::addon
