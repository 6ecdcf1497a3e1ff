#include "base/dynamic_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace lutra {

namespace {

std::string file_at(const std::string& path) {
  std::error_code code;
  const std::filesystem::path absolute = path.empty() ? std::filesystem::path() : std::filesystem::absolute(path, code);
  if (absolute.empty() || code) {
    throw Error(ErrorCode::kLibraryNotFound, "'" + path + "' is not the path of a library", "give the path of a shared library");
  }
  if (!std::filesystem::is_regular_file(absolute, code)) {
    throw Error(ErrorCode::kLibraryNotFound, "there is no library '" + absolute.string() + "'", "check the path; it must name the library file itself");
  }
  return absolute.string();
}

}  // namespace

DynamicLibrary::DynamicLibrary(const std::string& path, Unload unload) : DynamicLibrary(Found{}, file_at(path), unload) {}

DynamicLibrary DynamicLibrary::by_name(const std::string& name, Unload unload) { return {Found{}, name, unload}; }

DynamicLibrary::DynamicLibrary(Found, std::string place, Unload unload) : path_(std::move(place)), unload_(unload) {
  handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    const char* reason = dlerror();
    throw Error(ErrorCode::kLibraryNotFound, "cannot open the library '" + path_ + "': " + (reason != nullptr ? reason : "no reason given"),
                "the library must be built for this system and processor, and the libraries that it needs must lie beside it or on LD_LIBRARY_PATH");
  }
}

DynamicLibrary::~DynamicLibrary() { close(); }

DynamicLibrary::DynamicLibrary(DynamicLibrary&& other) noexcept
    : path_(std::move(other.path_)), handle_(std::exchange(other.handle_, nullptr)), unload_(other.unload_) {}

DynamicLibrary& DynamicLibrary::operator=(DynamicLibrary&& other) noexcept {
  if (this != &other) {
    close();
    path_ = std::move(other.path_);
    handle_ = std::exchange(other.handle_, nullptr);
    unload_ = other.unload_;
  }
  return *this;
}

void* DynamicLibrary::find(const char* name) const noexcept { return handle_ == nullptr ? nullptr : dlsym(handle_, name); }

void DynamicLibrary::close() noexcept {
  if (handle_ != nullptr && unload_ == Unload::kOnDestroy) dlclose(handle_);
  handle_ = nullptr;
}

}  // namespace lutra
