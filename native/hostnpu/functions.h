// The element-wise functions of the interface, on blocks of numbers. Quantised and F16 tensors are computed in F32, integer ones in 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/npu_ops/npu_ops.h"

namespace lutra::hostnpu {

/// Scalar parameters of ElementWiseNeuron and of the ops that are one of its operations.
struct Settings {
  float alpha = 1.0f, beta = 1.0f, low = 0.0f, high = 0.0f, threshold = 20.0f;
};

template <class T>
using BlockFunction = void (*)(const T* const* in, T* y, size_t count, const Settings& settings);

struct Function {
  const char* name;
  uint8_t inputs;
  bool is_truth;  // gives 0 or 1, whatever it takes
  BlockFunction<float> reals;       // NULL: not of reals
  BlockFunction<int64_t> integers;  // NULL: not of integers
  std::optional<kernels::UnaryOp> unary = {};  // kernels that do it on whole tensors of one type
  std::optional<kernels::BinaryOp> binary = {};
};

/// By the value of `operation`, in the order of the interface.
std::span<const Function> binary_functions() noexcept;  // ElementWiseBinary
std::span<const Function> unary_functions() noexcept;   // ElementWiseUnary
std::span<const Function> neuron_functions() noexcept;  // ElementWiseNeuron

/// Those without an `operation`: Select (in[0] is not 0 ? in[1] : in[2]), Prelu (in[0] < 0 ? in[0] · in[1] : in[0]).
std::span<const Function> other_functions() noexcept;

/// By name among the four lists; NULL when there is none.
const Function* find_function(std::string_view name) noexcept;

}  // namespace lutra::hostnpu
