#include "qnn/adsp_path.h"

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string_view>
#include <system_error>

namespace lutra::qnn {
namespace {

bool is_skel(const std::string& name) { return name.starts_with("libQnnHtpV") && name.ends_with("Skel.so"); }

bool has_skel(const std::filesystem::path& folder) {
  std::error_code code;
  for (auto entry = std::filesystem::directory_iterator(folder, code); !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
    if (is_skel(entry->path().filename().string())) return true;
  }
  return false;
}

bool lists(std::string_view path, std::string_view folder) {
  while (!path.empty()) {
    const size_t end = path.find(';');
    if (path.substr(0, end) == folder) return true;
    if (end == std::string_view::npos) return false;
    path.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace

std::string adsp_path(const std::string& library, const std::string& current) {
  std::error_code code;
  const std::filesystem::path folder = std::filesystem::absolute(library, code).parent_path();
  if (code || !has_skel(folder) || lists(current, folder.string())) return current;
  return current.empty() ? folder.string() : folder.string() + ";" + current;
}

void set_adsp_path(const std::string& library) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const char* value = std::getenv(kAdspVariable);
  const std::string current = value == nullptr ? "" : value;
  const std::string wanted = adsp_path(library, current);
  if (wanted != current) setenv(kAdspVariable, wanted.c_str(), 1);
}

}  // namespace lutra::qnn
