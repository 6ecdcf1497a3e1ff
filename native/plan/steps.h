// Factories of the CPU steps. Adding a step: an opcode in format.h, a rule in validate.cc, a factory here and its row in steps.cc.
#pragma once

#include <memory>

#include "plan/binder.h"

namespace lutra::plan {

std::unique_ptr<StepRunner> bind_segment(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_embed(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_rms_norm(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_linear(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_rope(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_kv_append(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_attention(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_silu_mul(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_add(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_convert(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_quantize(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_dequantize(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_shadow(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_select_rows(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_bias_add(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_observe(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_permute(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_relu_mul(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_rotate(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_stored_rows(Binder&, const Step&);
std::unique_ptr<StepRunner> bind_clipped(Binder&, const Step&);

/// A linear step and the silu_mul of its two outputs as one; nothing when these steps are not such a pair.
std::unique_ptr<StepRunner> bind_gated(Binder&, const Step& step, const Step& next);

/// Binds one step (steps.cc: the registry, in opcode order).
std::unique_ptr<StepRunner> bind_step(Binder& binder, const Step& step);

/// The encoding of a quantised tensor with the limits of its dtype.
kernels::Encoding encoding_of(const Tensor& t);

}  // namespace lutra::plan
