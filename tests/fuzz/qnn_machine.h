// Runs a fuzz input as a program of calls of the QNN interface: handles of every kind made and freed, graphs built out of the conformance table's nodes, finalized, executed,
// saved, damaged and restored, with wrong handles, wrong lists and wrong times mixed in. It knows the interface and nothing of what is behind it.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "budget.h"
#include "byte_source.h"
#include "qnn/abi_system.h"
#include "qnn_tensor.h"

namespace lutra::fuzz {

/// The calls of one library.
struct QnnLibrary {
  const abi::QnnInterface& interface;
  abi::SystemInterfaceOf<abi::kSystemSlotsOfNewestClients> system;

  template <class Fn>
  Fn slot(abi::Slot which) const {
    return required<Fn>(interface.table[static_cast<size_t>(which)]);
  }
  template <class Fn>
  Fn system_slot(abi::SystemSlot which) const {
    return required<Fn>(system.table[static_cast<size_t>(which)]);
  }

 private:
  template <class Fn>
  static Fn required(abi::AnyFunction function) {
    if (function == nullptr) fail("an entry of the table that programs need is NULL");
    return reinterpret_cast<Fn>(function);
  }
};
/// The host NPU that is linked in.
const QnnLibrary& host_library();
/// The names of its ops.
std::vector<std::string> supported_ops(const QnnLibrary& library);

class QnnMachine {
 public:
  /// `forms`: what nodes are made of. Both must outlive the machine.
  QnnMachine(const QnnLibrary& library, const std::vector<Form>& forms) : library_(library), forms_(forms) {}
  /// Frees whatever is left.
  ~QnnMachine();
  QnnMachine(const QnnMachine&) = delete;
  QnnMachine& operator=(const QnnMachine&) = delete;

  /// Ends in fail() when a result is impossible: an execution that gives other bits the second time, through a profile or after a detour through a binary, or a damaged
  /// binary that is taken.
  void run(ByteSource& source);

  /// Gets every context binary that was written.
  std::function<void(std::span<const std::byte>)> on_binary = [](auto) {};

 private:
  struct GraphState {
    abi::GraphHandle handle{};
    std::string name;
    std::deque<RawTensor> tensors;  // that the library has taken
    uint64_t bytes = 0;             // of all of them
    bool finalized = false;
  };
  struct ContextState {
    abi::ContextHandle handle{};
    std::deque<GraphState> graphs;
  };
  using Buffers = std::vector<std::vector<std::byte>>;

  template <class Fn>
  Fn slot(abi::Slot which) const {
    return library_.slot<Fn>(which);
  }
  /// Now and then another handle than the right one: NULL, made up, freed or of another kind.
  template <class Handle>
  Handle maybe_wrong(Handle right, ByteSource& source) {
    if (!source.one_in(24)) return right;
    switch (source.below(3)) {
      case 0: return nullptr;
      case 1: return reinterpret_cast<Handle>(static_cast<uintptr_t>(source.word()));
      default: return known_.empty() ? nullptr : reinterpret_cast<Handle>(known_[source.below(known_.size())]);
    }
  }
  /// Takes note of a handle, which stays known when it is freed.
  template <class Handle>
  Handle remember(Handle handle) {
    if (known_.size() < 256) known_.push_back(reinterpret_cast<uintptr_t>(handle));
    return handle;
  }
  template <class Handle>
  Handle one_of(const std::vector<Handle>& list, ByteSource& source) {
    return maybe_wrong(list.empty() ? Handle{} : list[source.below(list.size())], source);
  }
  /// Frees a handle of the list, or tries to free something else.
  template <class Handle, class Free>
  void free_one(std::vector<Handle>& list, ByteSource& source, const Free& free) {
    const Handle handle = one_of(list, source);
    if (free(handle) == 0) std::erase(list, handle);
  }
  abi::ProfileHandle maybe_profile(ByteSource& source) { return source.one_in(4) ? one_of(profiles_, source) : nullptr; }
  std::string new_name(const char* kind) { return kind + std::to_string(++names_); }

  // Handles (qnn_machine.cc).
  void create_backend(ByteSource& source);
  void create_context(ByteSource& source);
  void create_graph(ByteSource& source);
  void free_context(ByteSource& source);
  void log_calls(ByteSource& source);
  void device_calls(ByteSource& source);
  void profile_calls(ByteSource& source);
  void query_calls(ByteSource& source);
  void set_configs(ByteSource& source);
  void system_calls(std::span<const std::byte> binary);
  void at_once(ByteSource& source);
  ContextState* pick_context(ByteSource& source) { return contexts_.empty() ? nullptr : &contexts_[source.below(contexts_.size())]; }
  GraphState* pick_graph(ByteSource& source);

  // Graphs (qnn_graphs.cc).
  bool create(GraphState& graph, RawTensor tensor, ByteSource& source);
  void add_tensor(ByteSource& source);
  void add_node(ByteSource& source);
  bool place(GraphState& graph, RawTensor& wanted, bool is_output, ByteSource& source, abi::Tensor& out);
  abi::Param param_of(const qnn::ParamDesc& desc, GraphState& graph, ByteSource& source);
  void finalize(ByteSource& source);
  void execute(ByteSource& source);
  void execute_wrongly(ByteSource& source);
  abi::Status call_execute(abi::GraphHandle handle, GraphState& graph, abi::ProfileHandle profile, Buffers& results);
  void check_again(abi::GraphHandle handle, GraphState& graph, abi::ProfileHandle profile, const Buffers& expected, const char* when);
  void save(ByteSource& source);
  void check_round_trip(ContextState& context, std::span<const std::byte> binary);
  void restore_damaged(ByteSource& source);

  const QnnLibrary& library_;
  const std::vector<Form>& forms_;
  std::vector<uintptr_t> known_;
  std::vector<abi::LogHandle> logs_;
  std::vector<abi::BackendHandle> backends_;
  std::vector<abi::DeviceHandle> devices_;
  std::vector<abi::ProfileHandle> profiles_;
  std::deque<ContextState> contexts_;
  std::vector<std::byte> binary_;  // the last one that was written
  size_t names_ = 0;
};

}  // namespace lutra::fuzz
