// Which processors of this machine are fast: phones have cores of several kinds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lutra {

/// Numbers of processors, ascending.
struct Cores {
  std::vector<uint32_t> usable;  // those that this process may run on
  std::vector<uint32_t> big;     // of these, those with at least half the capacity of the largest one; all, when they are alike or nothing is known
};

/// By `root`/sys/devices/system/cpu/cpuN/cpu_capacity, or cpufreq/cpuinfo_max_freq where a processor has no capacity. `root` is a folder in tests.
Cores cores_of(std::span<const uint32_t> usable, const std::string& root = {});

/// Of this machine and process.
Cores find_cores();

/// Keeps the calling thread, and the threads that it will start, on the big cores when there are small ones and `threads` threads find room: a pool is as slow as its slowest thread.
/// Does nothing where the system does not let it.
void prefer_big_cores(uint32_t threads) noexcept;

}  // namespace lutra
