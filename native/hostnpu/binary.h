// Context binaries of the host NPU: the description of a context's graphs and its constants, weights in their packed form.
//
// Little endian. Header of 64 bytes: magic "LUTRACTX", u32 format version, u32 0, u64 size of the file, u64 checksum of all after the header, rest 0. Then context
// tensors and graphs, written by the functions below in the order of the structures. Nothing in it depends on the processor's instruction set. A reader trusts nothing:
// every length is checked against the bytes there are, and every description passes the checks that a client's would.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "hostnpu/context.h"

namespace lutra::hostnpu {

inline constexpr uint32_t kBinaryVersion = 1;

/// Writes a context with all graphs finalized into `out` and returns the size; with an empty span it only counts. Throws Failure.
uint64_t write_binary(const Context& context, std::span<std::byte> out);

/// Writes the header of a binary whose contents follow it: size and checksum of what is there. Does nothing to bytes that have no room for a header.
void seal_binary(std::span<std::byte> binary) noexcept;

/// What is in a binary; spans point into it.
struct StoredPacked {
  kernels::GemmLayout layout;
  bool transposed;
  uint32_t outputs, depth;
  std::span<const std::byte> data;
};
struct StoredTensor {
  TensorInfo info;
  bool has_raw = false;
  std::span<const std::byte> raw;
  std::vector<StoredPacked> packed;
};
struct StoredNode {
  std::string name, type;
  std::vector<uint32_t> inputs, outputs;  // tensor ids; 0 for an input that is left out
  std::vector<Param> params;
};
struct StoredGraph {
  std::string name;
  std::vector<StoredTensor> tensors;
  std::vector<StoredNode> nodes;
};
struct StoredContext {
  std::vector<StoredTensor> tensors;
  std::vector<StoredGraph> graphs;
};

/// Throws Failure(kContextBinaryVersion or kContextCreateFromBinary).
StoredContext read_binary(std::span<const std::byte> bytes);

/// A context with finalized graphs out of a binary: all, or those that the settings name. `watch` may be NULL. Throws Failure.
std::shared_ptr<Context> restore_context(std::span<const std::byte> bytes, std::shared_ptr<Backend> backend, const ContextSettings& settings, const Watch* watch);

}  // namespace lutra::hostnpu
