// How far logits are from those of a reference.
#pragma once

#include <napi.h>

namespace lutra::addon {

/// (logits, reference, next, threads): F32 [rows, vocab] twice and the token that followed each row, U32 [rows] → F64 [rows, 4]: Kullback–Leibler divergence from the reference's
/// distribution to the other, −ln of the probability of the token that followed, the same of the reference (all in nats), and 1 or 0 for whether both have the same most likely token.
Napi::Value compare_logits(const Napi::CallbackInfo& info);

}  // namespace lutra::addon
