// A safetensors file, mapped, with a header that is not trusted.
//
// Format: 8 bytes little-endian length n; n bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, …, "__metadata__": {string: string}};
// then the data, offsets counted from its start, without holes or overlaps (https://github.com/huggingface/safetensors).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/mapped_file.h"

namespace lutra::store {

enum class TensorType { kBool, kU8, kI8, kF8E5M2, kF8E4M3, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };

/// The name in the file, "F32", and the bytes of one element.
const char* tensor_type_name(TensorType type) noexcept;
size_t tensor_type_size(TensorType type) noexcept;

/// A tensor in a mapped file; everything is borrowed from the file's object.
struct Tensor {
  std::string_view name;
  TensorType type = TensorType::kU8;
  std::vector<uint64_t> shape;  // empty: a scalar
  std::span<const std::byte> data;  // row major, little endian
  const MappedFile* file = nullptr;

  uint64_t elements() const noexcept { return data.size() / tensor_type_size(type); }
  /// "F32 [49152, 576]", for messages.
  std::string description() const;
  /// The data as elements of T. Throws Error(kBadFile) when the file's dtype is not `expected` or the data is not aligned for T.
  template <class T>
  std::span<const T> as(TensorType expected) const {
    check(expected, sizeof(T), alignof(T));
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }

 private:
  void check(TensorType expected, size_t size, size_t alignment) const;
};

/// One file. Tensors keep their address when the object is moved.
class SafetensorsFile {
 public:
  static constexpr uint64_t kMaxHeader = 100'000'000;  // bytes; the limit of the format's own reader
  static constexpr size_t kMaxRank = 16;  // dimensions; the format has no limit, models have at most 5

  /// Maps the file and checks the whole header. Throws Error(kNotFound), Error(kIo), or Error(kBadFile) with the path and what is wrong.
  explicit SafetensorsFile(const std::string& path);

  const std::map<std::string, Tensor, std::less<>>& tensors() const noexcept { return tensors_; }
  const MappedFile& file() const noexcept { return *file_; }
  /// Bytes of tensor data.
  uint64_t data_bytes() const noexcept { return data_bytes_; }

 private:
  std::unique_ptr<MappedFile> file_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  uint64_t data_bytes_ = 0;
};

}  // namespace lutra::store
