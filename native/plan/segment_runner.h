// What the executor needs of an NPU: run segment i on buffers that were bound once. native/session implements it with native/qnn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lutra::plan {

class SegmentRunner {
 public:
  virtual ~SegmentRunner() = default;
  /// Addresses of the segment's inputs and outputs, in graph order, of full chunk size. Called once per segment before the first execute.
  virtual void bind(uint32_t segment, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) = 0;
  /// Runs the segment. Throws Error(kQnnCall).
  virtual void execute(uint32_t segment) = 0;
};

}  // namespace lutra::plan
