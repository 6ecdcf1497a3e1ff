#include "libraries.h"

#include <cstdlib>
#include <string_view>

namespace lutra::conformance {
namespace {

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

void Libraries::SetUp() {
  const char* path = std::getenv("LUTRA_QNN_LIBRARY");
  if (path != nullptr && *path != '\0') {
    qualcomm_ = std::make_unique<Npu>(Npu::qualcomm(path));
  } else if (!is_set("LUTRA_QNN_OPTIONAL")) {
    FAIL() << "set LUTRA_QNN_LIBRARY to the path of libQnnHtp.so (scripts/fetch-qnn brings it), or LUTRA_QNN_OPTIONAL=1 to do without";
  }
  host_ = std::make_unique<Npu>(Npu::host());
}

void Libraries::TearDown() {
  host_.reset();
  qualcomm_.reset();
}

bool Libraries::table() { return is_set("LUTRA_CONFORMANCE_TABLE"); }

}  // namespace lutra::conformance
