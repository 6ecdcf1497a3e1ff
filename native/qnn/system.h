// What a context binary contains, read through the system interface that lies beside a backend library.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dynamic_library.h"
#include "qnn/abi_system.h"
#include "qnn/library.h"
#include "qnn/tensor.h"

namespace lutra::qnn {

/// A tensor as a context binary describes it.
struct BinaryTensor {
  uint32_t id = 0;  // by which an execution knows it
  std::string name;
  abi::TensorType type = abi::TensorType::kNative;
  abi::DataType dtype = abi::DataType::kUndefined;
  std::vector<uint32_t> dims;
  Encoding encoding;  // none for an encoding that lutra does not know
};

struct BinaryGraph {
  std::string name;
  std::vector<BinaryTensor> inputs, outputs;
};

/// Metadata of a context binary. Strings are empty and numbers 0 where the binary does not tell.
struct BinaryDescription {
  abi::BackendId backend_id = abi::BackendId::kNull;
  std::string build_id;     // of the library that made it
  abi::Version core{};      // interface version of that library
  abi::Version backend{};
  abi::Version blob{};      // format version of the context's data
  uint64_t blob_bytes = 0;
  std::string soc_version;
  std::optional<uint32_t> soc_model;
  std::vector<BinaryGraph> graphs;
};

/// The system interface. Immutable, so usable from every thread.
class System {
 public:
  /// The system interface that belongs to `library`: exported by its own file, else by libQnnSystem.so in the same folder.
  /// Throws Error: kLibraryNotFound (neither is there), kNotQnn, kQnnVersion, kUnsupported (SDK 2.44, whose system interface has another layout than its version says).
  static std::shared_ptr<const System> beside(const Library& library);

  /// The one of a library that is linked into this process; `name` stands for the path in messages.
  static std::shared_ptr<const System> embedded(abi::GetSystemProvidersFn get_providers, const std::string& name);

  const std::string& source() const noexcept { return source_; }
  const abi::Version& version() const noexcept { return version_; }

  /// `binary` is only read. Qualcomm's reader trusts what it reads: give it whole, undamaged binaries. Throws Error(kBadFile) when the library refuses the bytes or what it
  /// returns makes no sense.
  BinaryDescription describe(std::span<const std::byte> binary) const;

 private:
  System(abi::GetSystemProvidersFn get_providers, std::string source);

  std::optional<DynamicLibrary> file_;
  std::string source_;
  abi::Version version_{};
  abi::SystemContextCreateFn create_ = nullptr;
  abi::SystemContextGetBinaryInfoFn get_binary_info_ = nullptr;
  abi::SystemContextFreeFn free_ = nullptr;
};

}  // namespace lutra::qnn
