#include "libraries.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "hostnpu/hostnpu.h"

namespace lutra::conformance {
namespace {

/// The SoC that Qualcomm's runtime compiles for: SM8650, HTP v75.
constexpr uint32_t kSoc = 57;

std::unique_ptr<Npu> open(std::shared_ptr<const qnn::Library> library) { return std::make_unique<Npu>(qnn::Device::create(qnn::Backend::create(std::move(library)), kSoc)); }

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

bool Libraries::has_qualcomm() {
  const char* path = std::getenv("LUTRA_QNN_LIBRARY");
  return path != nullptr && *path != '\0';
}

void Libraries::SetUp() {
  if (has_qualcomm()) {
    qualcomm_ = open(qnn::Library::open(std::getenv("LUTRA_QNN_LIBRARY"), {.quiet_stdout = true}));
  } else if (!is_set("LUTRA_QNN_OPTIONAL")) {
    FAIL() << "set LUTRA_QNN_LIBRARY to the path of libQnnHtp.so (scripts/fetch-qnn brings it), or LUTRA_QNN_OPTIONAL=1 to do without";
  }
  host_ = open(qnn::Library::embedded(&hostnpu::get_providers, "host"));
}

void Libraries::TearDown() {
  host_.reset();
  qualcomm_.reset();
}

Libraries::Results Libraries::run(const GraphSpec& spec, bool only_host) {
  Results results{host_->run(spec), std::nullopt};
  if (qualcomm_ != nullptr && !only_host) results.qualcomm = qualcomm_->run(spec);
  return results;
}

void print_row(const std::string& name, const std::string& bound, Bound kind, const std::vector<Comparison>& comparisons, const std::string& remark) {
  if (!is_set("LUTRA_CONFORMANCE_TABLE")) return;
  std::string row = "| " + name + " | " + bound + " | ";
  for (const Comparison& one : comparisons) row += describe(kind, one.figures) + " | ";
  std::printf("%s%s |\n", row.c_str(), remark.c_str());
}

}  // namespace lutra::conformance
