#include "base/cores.h"

#include <sched.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <thread>

namespace lutra {
namespace {

/// The positive whole number in a file, or 0.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value > 0 ? value : 0;
}

std::vector<uint32_t> usable_cores() {
  std::vector<uint32_t> out;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (uint32_t i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &set)) out.push_back(i);
    }
    return out;
  }
  for (uint32_t i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) out.push_back(i);
  return out;
}

}  // namespace

Cores cores_of(std::span<const uint32_t> usable, const std::string& root) {
  const auto read = [&](const char* file) {
    std::vector<int64_t> out;
    for (const uint32_t i : usable) out.push_back(number_in(root + "/sys/devices/system/cpu/cpu" + std::to_string(i) + "/" + file));
    return out;
  };
  const auto unknown = [](const std::vector<int64_t>& values) { return std::find(values.begin(), values.end(), 0) != values.end(); };
  std::vector<int64_t> sizes = read("cpu_capacity");
  if (unknown(sizes)) sizes = read("cpufreq/cpuinfo_max_freq");
  Cores cores{{usable.begin(), usable.end()}, {}};
  const int64_t largest = sizes.empty() || unknown(sizes) ? 0 : *std::max_element(sizes.begin(), sizes.end());
  for (size_t i = 0; i < usable.size(); ++i) {
    if (largest == 0 || sizes[i] >= largest - largest / 2) cores.big.push_back(usable[i]);
  }
  return cores;
}

Cores find_cores() { return cores_of(usable_cores()); }

void prefer_big_cores(uint32_t threads) noexcept {
  try {
    const Cores cores = find_cores();
    if (cores.big.size() == cores.usable.size() || threads > cores.big.size()) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const uint32_t i : cores.big) CPU_SET(i, &set);
    static_cast<void>(sched_setaffinity(0, sizeof set, &set));
  } catch (const std::exception&) {  // no memory for the lists: as good as nothing known
  }
}

}  // namespace lutra
