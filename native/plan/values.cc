#include "plan/values.h"

#include <cstring>

#include "base/f16.h"

namespace lutra::plan {

std::vector<float> real_values(const Tensor& tensor, const std::byte* data, size_t count) {
  std::vector<float> out(count);
  for (size_t i = 0; i < count; ++i) {
    const auto load = [&]<class T>(T value) { std::memcpy(&value, data + i * sizeof(T), sizeof(T)); return value; };
    const auto real = [&](int32_t q) { return static_cast<float>(q + tensor.offset) * tensor.scale; };
    switch (tensor.dtype) {
      case DType::kF16: out[i] = f16_to_f32(load(uint16_t{})); break;
      case DType::kU8: out[i] = real(load(uint8_t{})); break;
      case DType::kS8: out[i] = real(load(int8_t{})); break;
      case DType::kU16: out[i] = real(load(uint16_t{})); break;
      default: out[i] = load(float{}); break;
    }
  }
  return out;
}

}  // namespace lutra::plan
