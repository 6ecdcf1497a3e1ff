// All weights of a model, over one or several mapped files.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/safetensors.h"

namespace lutra::store {

/// Move-only. Tensors are found by name, whichever file they are in.
class WeightStore {
 public:
  /// Throws what SafetensorsFile throws, and Error(kBadFile) when two files hold a tensor of the same name (names that begin with "__" are private to
  /// their file and cannot be found here).
  static WeightStore open(std::span<const std::string> paths);

  /// Throws Error(kNotFound) with the files and the nearest names. The reference lives as long as the store, also when that is moved.
  const Tensor& find(std::string_view name) const;
  bool contains(std::string_view name) const noexcept;
  /// Bytes of tensor data in all files.
  uint64_t total_bytes() const noexcept;
  const std::vector<SafetensorsFile>& files() const noexcept { return files_; }

  /// Throws Error(kIo) when a file shrank, or failed to be read, since it was mapped: results since then are worth nothing.
  void check_intact() const;

  /// The tensor was copied elsewhere: its pages stop being resident. Reading it again is allowed and slow.
  void release(const Tensor& tensor) const noexcept;

 private:
  std::vector<SafetensorsFile> files_;
  /// The first tensor of the index whose name is not below `name`.
  std::vector<const Tensor*>::const_iterator place_of(std::string_view name) const noexcept;

  std::vector<const Tensor*> index_;  // by name
};

}  // namespace lutra::store
