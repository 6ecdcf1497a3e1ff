// What the tests of the host NPU as a library share: a small graph with every kind of work, and context binaries.
#pragma once

#include <random>

#include "hostnpu_client.h"

namespace lutra::test {

using TensorType::kAppRead;
using TensorType::kAppWrite;
using TensorType::kNative;
using TensorType::kStatic;
inline constexpr DataType kF16 = DataType::kFloat16, kU8 = DataType::kUfixed8, kS8 = DataType::kSfixed8;

inline TestTensor make(const std::string& name, TensorType type, DataType dtype, std::vector<uint32_t> dims, float scale = 0.03f) {
  TestTensor t;
  t.name = name;
  t.type = type;
  t.dtype = dtype;
  t.dims = std::move(dims);
  t.quantized = is_code(dtype);
  t.scales = {{scale, dtype == kU8 ? -128 : 0}};
  if (type == kStatic) {
    t.data.resize(t.bytes());
    std::mt19937 random(static_cast<uint32_t>(name.size()));
    for (std::byte& b : t.data) b = static_cast<std::byte>(dtype == kF16 ? random() % 60 : random());
  }
  return t;
}

/// x F16 → Quantize → FullyConnected → Dequantize → + row → y. Fills x.
inline void build_chain(TestGraph& graph, uint32_t rows = 9, uint32_t depth = 40, uint32_t outputs = 70) {
  TestTensor& x = graph.add(make("x", kAppWrite, kF16, {rows, depth}));
  TestTensor& q = graph.add(make("q", kNative, kU8, {rows, depth}));
  TestTensor& w = graph.add(make("w", kStatic, kS8, {outputs, depth}, 0.005f));
  TestTensor& z = graph.add(make("z", kNative, kU8, {rows, outputs}, 0.08f));
  TestTensor& d = graph.add(make("d", kNative, kF16, {rows, outputs}));
  TestTensor& c = graph.add(make("c", kStatic, kF16, {1, outputs}));
  TestTensor& y = graph.add(make("y", kAppRead, kF16, {rows, outputs}));
  graph.node("Quantize", {&x}, q);
  graph.node("FullyConnected", {&q, &w}, z);
  graph.node("Dequantize", {&z}, d);
  graph.node("ElementWiseAdd", {&d, &c}, y);
  for (size_t i = 0; i < x.elements(); ++i) {
    const uint16_t half = f32_to_f16(std::sin(static_cast<float>(i) * 0.37f) * 3.0f);
    std::memcpy(x.data.data() + i * 2, &half, 2);
  }
}

inline std::vector<std::byte> binary_of(const Session& session) {
  uint64_t size = 0, written = 0;
  EXPECT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(session.context, &size), 0u);
  std::vector<std::byte> bytes(size);
  EXPECT_EQ(slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(session.context, bytes.data(), size, &written), 0u);
  EXPECT_EQ(size, written);
  return bytes;
}

inline Status load(const Session& session, const std::vector<std::byte>& bytes, abi::ContextHandle* out) {
  return slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(session.backend, session.device, nullptr, bytes.data(), bytes.size(), out, nullptr);
}

}  // namespace lutra::test
