#include "plan/steps.h"

namespace lutra::plan {

std::unique_ptr<StepRunner> bind_step(Binder& binder, const Step& step) {
  using Factory = std::unique_ptr<StepRunner> (*)(Binder&, const Step&);
  static constexpr Factory kFactories[kStepOps] = {bind_segment, bind_embed, bind_rms_norm, bind_linear, bind_rope, bind_kv_append, bind_attention, bind_silu_mul,
                                                   bind_add, bind_convert, bind_quantize, bind_dequantize, bind_shadow, bind_select_rows, bind_bias_add, bind_observe, bind_permute, bind_relu_mul,
                                                   bind_rotate, bind_stored_rows, bind_clipped};
  return kFactories[static_cast<uint32_t>(step.op)](binder, step);
}

kernels::Encoding encoding_of(const Tensor& t) {
  switch (t.dtype) {
    case DType::kS8: return {t.scale, t.offset, -128, 127};
    case DType::kU16: return {t.scale, t.offset, 0, 65535};
    default: return {t.scale, t.offset, 0, 255};
  }
}

}  // namespace lutra::plan
