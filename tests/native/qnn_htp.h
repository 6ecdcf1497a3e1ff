// What the tests on a real HTP runtime share: the library, opened once, and short ways to describe tensors and run graphs.
// LUTRA_QNN_LIBRARY names the library. Without the variable the tests fail, so that nobody takes silence for success; LUTRA_QNN_OPTIONAL=1 skips them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qnn/graph.h"

namespace lutra::qnn::testing {

using DT = abi::DataType;
using Bytes = std::vector<std::byte>;

inline constexpr uint32_t kSoc = 57;  // SM8650

class Htp : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("LUTRA_QNN_LIBRARY");
    if (path == nullptr) return;
    open_watching_stdout(path);
    backend_ = Backend::create(library_);
    device_ = Device::create(backend_, kSoc);
  }
  static void TearDownTestSuite() {
    device_.reset();
    backend_.reset();
  }
  void SetUp() override {
    if (library_ != nullptr) return;
    if (std::getenv("LUTRA_QNN_OPTIONAL") != nullptr) GTEST_SKIP() << "LUTRA_QNN_LIBRARY is not set";
    FAIL() << "set LUTRA_QNN_LIBRARY to the path of libQnnHtp.so (scripts/fetch-qnn brings it), or LUTRA_QNN_OPTIONAL=1 to skip";
  }
  static std::shared_ptr<Context> context() { return Context::create(device_); }

  /// Only the first load of a process prints, so what it printed is kept for a test.
  static void open_watching_stdout(const char* path) {
    const auto file = std::filesystem::temp_directory_path() / ("lutra-qnn-htp-" + std::to_string(getpid()));
    std::fflush(stdout);
    const int saved = dup(STDOUT_FILENO);
    FILE* capture = std::fopen(file.c_str(), "w");
    dup2(fileno(capture), STDOUT_FILENO);
    library_ = Library::open(path, {.quiet_stdout = true});
    std::fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    std::fclose(capture);
    std::getline(std::ifstream(file), printed_, '\0');
    std::filesystem::remove(file);
  }

  static inline std::shared_ptr<const Library> library_;
  static inline std::shared_ptr<Backend> backend_;
  static inline std::shared_ptr<Device> device_;
  static inline std::string printed_;
};

// ------------------------------------------------------------------------------------------------------------ small helpers

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

inline TensorDesc desc(const std::string& name, DT dtype, std::vector<uint32_t> dims, Encoding encoding = {}, std::span<const std::byte> data = {}) {
  return {.name = name, .dtype = dtype, .dims = std::move(dims), .encoding = std::move(encoding), .data = data};
}

inline void run(Graph& graph, std::vector<std::span<const std::byte>> inputs, std::vector<std::span<std::byte>> outputs, const Profile* profile = nullptr) {
  graph.execute(inputs, outputs, profile);
}

inline std::vector<ParamDesc> conv_params() {
  return {ParamDesc::tensor("stride", {2}, {1, 1}), ParamDesc::tensor("pad_amount", {2, 2}, {0, 0, 0, 0})};
}
inline std::vector<ParamDesc> norm_params(uint32_t axis) { return {ParamDesc::f32("epsilon", 1e-5f), ParamDesc::tensor("axes", {1}, {axis})}; }

}  // namespace lutra::qnn::testing
