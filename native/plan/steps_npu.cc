// The step that runs a segment on the NPU.
#include <chrono>
#include <cstring>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

class SegmentStep final : public StepRunner {
 public:
  SegmentStep(Binder& b, const Step& s) : segments_(b.segments()), index_(static_cast<uint32_t>(s.attrs[0])) {
    std::vector<std::byte*> inputs, outputs;
    for (uint32_t t : s.inputs) {
      const Tensor& tensor = b.tensor(t);
      inputs.push_back(b.memory(t));
      if (tensor.rows_kind == RowsKind::kChunk) padded_.push_back({b.memory(t), tensor.cols * element_size(tensor.dtype), tensor.rows});
    }
    for (uint32_t t : s.outputs) outputs.push_back(b.memory(t));
    segments_.bind(index_, inputs, outputs);
  }

  void run(const Run& run) override {
    // The graph is one chunk long: rows past the prompt's end are computed and thrown away. They are zeroed so that a run never depends on an earlier one.
    for (const Padded& p : padded_) std::memset(p.data + run.rows() * p.row_bytes, 0, (p.rows - run.rows()) * p.row_bytes);
    if (run.stats == nullptr) return segments_.execute(index_);
    // Only the call of the library counts as the NPU's: what surrounds it is overhead and must show as such.
    const auto begin = std::chrono::steady_clock::now();
    segments_.execute(index_);
    run.stats->npu_ns += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count());
    ++run.stats->graph_calls;
  }

  Where where() const override { return Where::kNpu; }

 private:
  struct Padded { std::byte* data; size_t row_bytes, rows; };
  SegmentRunner& segments_;
  uint32_t index_;
  std::vector<Padded> padded_;
};

}  // namespace

std::unique_ptr<StepRunner> bind_segment(Binder& b, const Step& s) { return std::make_unique<SegmentStep>(b, s); }

}  // namespace lutra::plan
