// Copies of libQnnFaulty, each with faults of its own (tests/faulty_qnn).
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "qnn/abi.h"

namespace lutra::test {

class FaultyLibrary {
 public:
  explicit FaultyLibrary(const std::string& faults = "") {
    static int copies = 0;
    directory_ = std::filesystem::temp_directory_path() / ("lutra-faulty-" + std::to_string(::getpid()) + "-" + std::to_string(copies++));
    std::filesystem::create_directory(directory_);
    path_ = directory_ / "libQnnFaulty.so";
    std::filesystem::copy_file(LUTRA_QNN_FAULTY, path_);
    set(faults);
  }
  ~FaultyLibrary() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  FaultyLibrary(const FaultyLibrary&) = delete;
  FaultyLibrary& operator=(const FaultyLibrary&) = delete;

  std::string path() const { return path_; }

  /// From now on. Calls that hang go on.
  void set(const std::string& faults) {
    const char* host = std::getenv("LUTRA_QNN_HOST");
    const std::string next = path_.string() + ".next";
    std::ofstream(next) << "inner " << (host == nullptr ? "" : host) << "\n" << faults << "\n";
    std::filesystem::rename(next, path_.string() + ".fault");
  }

  uint64_t calls(qnn::abi::Slot slot) const { return counters()[static_cast<size_t>(slot)]; }
  uint64_t successes(qnn::abi::Slot slot) const { return counters()[kSlots + static_cast<size_t>(slot)]; }

 private:
  static constexpr size_t kSlots = qnn::abi::kSlotsOfNewestClients;
  std::array<uint64_t, 2 * kSlots> counters() const {
    std::array<uint64_t, 2 * kSlots> out{};
    std::ifstream(path_.string() + ".state", std::ios::binary).read(reinterpret_cast<char*>(out.data()), sizeof out);
    return out;
  }

  std::filesystem::path directory_, path_;
};

}  // namespace lutra::test
