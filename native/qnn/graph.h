// Graphs: described node by node, validated by the backend, finalized once, executed often.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>
#include <variant>
#include <vector>

#include "qnn/context.h"
#include "qnn/profile.h"
#include "qnn/tensor.h"

namespace lutra::qnn {

/// A tensor of a GraphBuilder.
struct TensorRef {
  uint32_t index = UINT32_MAX;
  /// Stands for an optional input that is left out although others follow it.
  static constexpr TensorRef omitted() { return {UINT32_MAX - 1}; }
};

/// An op parameter that is a tensor of 32-bit elements, as Conv2d's strides.
struct TensorParam {
  std::vector<uint32_t> dims;
  std::vector<uint32_t> values;  // row major; the bits of the elements
  abi::DataType dtype = abi::DataType::kUint32;  // or kInt32, kFloat32
};

struct ParamDesc {
  std::string name;
  std::variant<float, uint32_t, int32_t, bool, TensorParam> value;

  static ParamDesc f32(std::string name, float value) { return {std::move(name), value}; }
  static ParamDesc u32(std::string name, uint32_t value) { return {std::move(name), value}; }
  static ParamDesc i32(std::string name, int32_t value) { return {std::move(name), value}; }
  static ParamDesc boolean(std::string name, bool value) { return {std::move(name), value}; }
  static ParamDesc tensor(std::string name, std::vector<uint32_t> dims, std::vector<uint32_t> values) {
    return {std::move(name), TensorParam{std::move(dims), std::move(values), abi::DataType::kUint32}};
  }
};

/// A node of package qti.aisw. docs/qnn.md lists the forms that Qualcomm's HTP accepts.
struct NodeDesc {
  std::string name;  // unique in its graph
  std::string type;  // "FullyConnected"
  std::vector<TensorRef> inputs;
  std::vector<TensorRef> outputs;
  std::vector<ParamDesc> params;
};

/// Settings of the HTP graph compiler; what is not set keeps the library's default. Other backends ignore them.
struct GraphOptions {
  std::optional<float> optimization;  // 1, 2 or 3: how hard the compiler tries
  std::optional<uint32_t> vtcm_mb;    // on-chip memory that the graph may use
  std::optional<uint64_t> hvx_threads;
};

/// Ids that the library gave to the inputs and outputs of a graph. A graph that comes out of a context binary knows its tensors by these.
struct GraphIds {
  std::string name;
  std::vector<uint32_t> inputs;
  std::vector<uint32_t> outputs;
};

/// An executable graph. Move-only. One thread at a time per Graph, which need not be the one that built it; different graphs may run at the
/// same time.
class Graph {
 public:
  /// The finalized graph `ids.name` of a context made from a binary. `inputs` and `outputs` describe its tensors in the order in which execute takes them,
  /// `ids` holds what Graph::ids returned when the graph was built. Throws Error: kUnsupported, kInvalidArgument (as many
  /// ids as descriptions), kQnnCall (no graph of this name).
  static Graph retrieve(std::shared_ptr<const Context> context, const GraphIds& ids, std::span<const TensorDesc> inputs,
                        std::span<const TensorDesc> outputs);

  Graph(Graph&&) noexcept = default;
  Graph& operator=(Graph&&) noexcept = default;

  const std::string& name() const noexcept { return name_; }
  size_t input_count() const noexcept { return inputs_.size(); }
  size_t output_count() const noexcept { return outputs_.size(); }
  /// Bytes of input or output `i` (below the count).
  size_t input_bytes(size_t i) const noexcept { return inputs_[i]->bytes(); }
  size_t output_bytes(size_t i) const noexcept { return outputs_[i]->bytes(); }
  GraphIds ids() const;

  /// Runs the graph. Buffers in the order of the tensors' creation, each exactly as long as its tensor; they are read and written only during the call.
  /// Allocates nothing unless it fails. Throws Error: kInvalidArgument (count or size), kQnnCall.
  void execute(std::span<const std::span<const std::byte>> inputs, std::span<const std::span<std::byte>> outputs, const Profile* profile = nullptr);

 private:
  friend class GraphBuilder;
  Graph(std::shared_ptr<const Context> context, std::string name, abi::GraphHandle handle, TensorList inputs, TensorList outputs);

  std::shared_ptr<const Context> context_;
  std::string name_;
  abi::GraphHandle handle_;
  TensorList inputs_, outputs_;
  std::vector<abi::Tensor> input_args_, output_args_;  // what the call takes, made once
  bool executed_ = false;
};

/// Builds one graph. Tensors first, then nodes in an order in which every node comes after those that it reads from. After an Error(kQnnCall) the builder cannot go
/// on, and the graph stays unfinished in its context; what was refused with another code left the graph as it was.
class GraphBuilder {
 public:
  /// `name` is unique in the context. Throws Error(kQnnCall).
  GraphBuilder(std::shared_ptr<const Context> context, std::string name, const GraphOptions& options = {});
  GraphBuilder(const GraphBuilder&) = delete;
  GraphBuilder& operator=(const GraphBuilder&) = delete;

  /// Throw Error: kInvalidArgument (see TensorRecord; a name that is taken), kQnnCall with the tensor's description.
  TensorRef input(const TensorDesc& desc) { return add(desc, abi::TensorType::kAppWrite); }
  TensorRef output(const TensorDesc& desc) { return add(desc, abi::TensorType::kAppRead); }
  TensorRef internal(const TensorDesc& desc) { return add(desc, abi::TensorType::kNative); }
  TensorRef constant(const TensorDesc& desc) { return add(desc, abi::TensorType::kStatic); }

  /// Asks the backend whether it takes the node, and adds nothing; nodes that the device refuses (Device::refusals) do not get that far. Throws Error: kInvalidArgument, kQnnNode
  /// with the node, its op, the type, shape and encoding of each tensor, the parameters, and the reason or the code, its meaning and what the library logged about it.
  void validate(const NodeDesc& desc) const;

  /// Validates the node, then adds it. Throws as validate does; kInvalidArgument also for a name that is taken, for an input that no node has written so far and for an output
  /// that is a graph input or a constant, or written already. kQnnCall when a valid node cannot be added.
  void node(const NodeDesc& desc);

  /// Compiles the graph. `profile` may be nullptr. The builder is spent afterwards. Throws Error: kInvalidArgument (no node, or an output that no node writes), kQnnCall.
  Graph finalize(const Profile* profile = nullptr);

 private:
  /// A node in the form that the library reads, with the tensors of its parameters, not yet created in the graph.
  struct Assembled {
    std::vector<abi::Tensor> inputs, outputs;
    std::vector<abi::Param> params;
    TensorList param_tensors;  // of the tensor parameters, in their order
  };

  TensorRef add(const TensorDesc& desc, abi::TensorType type);
  TensorRef keep(std::unique_ptr<TensorRecord> record);
  Assembled assemble(const NodeDesc& desc) const;
  std::vector<abi::Tensor> collect(const NodeDesc& node, const std::vector<TensorRef>& refs, bool may_omit) const;
  void ask(const NodeDesc& desc, Assembled& node) const;
  void check_order(const NodeDesc& desc) const;
  void create_params(const NodeDesc& desc, Assembled& node);
  void require_open() const;

  std::shared_ptr<const Context> context_;
  std::string name_;
  abi::GraphHandle handle_ = nullptr;
  bool open_ = true;
  TensorList tensors_;
  std::vector<uint32_t> inputs_, outputs_;  // indices of tensors_
  std::vector<bool> written_;               // by a node; as long as tensors_
  std::unordered_set<std::string> names_, node_names_;
  /// Values of tensor parameters; like all constants they have to live until the graph is finalized.
  std::vector<std::unique_ptr<std::vector<uint32_t>>> param_values_;
};

}  // namespace lutra::qnn
