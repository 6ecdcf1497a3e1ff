// A shared library opened at run time.
#pragma once

#include <string>
#include <type_traits>

namespace lutra {

class DynamicLibrary {
 public:
  /// NPU libraries keep threads and exit handlers of their own and crash when they are unmapped, so the default is to keep them for good.
  enum class Unload { kNever, kOnDestroy };

  /// Opens `path` with its symbols kept to itself and resolved at once (RTLD_NOW | RTLD_LOCAL). A relative path is taken against the current directory: the system's library
  /// search never takes part. Throws Error(kLibraryNotFound) with the loader's own sentence when it cannot be opened.
  explicit DynamicLibrary(const std::string& path, Unload unload = Unload::kNever);
  /// Opens what the system's library search finds by `name` ("libcdsprpc.so"): for libraries that belong to the system. Throws as the constructor does.
  static DynamicLibrary by_name(const std::string& name, Unload unload = Unload::kNever);
  ~DynamicLibrary();
  DynamicLibrary(DynamicLibrary&& other) noexcept;
  DynamicLibrary& operator=(DynamicLibrary&& other) noexcept;
  DynamicLibrary(const DynamicLibrary&) = delete;
  DynamicLibrary& operator=(const DynamicLibrary&) = delete;

  /// Address of an exported symbol, nullptr when there is none.
  void* find(const char* name) const noexcept;
  /// The exported function `name` of type Function, nullptr when there is none: `library.function<int(float)>("f")`.
  template <class Function>
  Function* function(const char* name) const noexcept {
    static_assert(std::is_function_v<Function>);
    return reinterpret_cast<Function*>(find(name));
  }

  /// The absolute path or the name that was opened.
  const std::string& path() const noexcept { return path_; }

 private:
  struct Found {};
  DynamicLibrary(Found, std::string place, Unload unload);
  void close() noexcept;

  std::string path_;
  void* handle_ = nullptr;
  Unload unload_ = Unload::kNever;
};

}  // namespace lutra
