#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/aligned.h"
#include "base/cores.h"
#include "base/cpu.h"
#include "base/crc32.h"
#include "base/dynamic_library.h"
#include "base/error.h"
#include "base/f16.h"
#include "base/thread_pool.h"

#ifdef LUTRA_X86
#include <immintrin.h>
#endif

namespace lutra {
namespace {

template <class Call>
void expect_error(ErrorCode code, const std::string& part, const Call& call) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code));
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    EXPECT_FALSE(e.remedy().empty());
    return;
  }
  ADD_FAILURE() << "no error; expected one with '" << part << "'";
}

// --- half precision ---------------------------------------------------------------------------------------------------------------

/// The value of half precision bits from the definition.
double half_value(uint16_t h) {
  const int exponent = (h >> 10) & 31;
  const int mantissa = h & 1023;
  const double sign = (h & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) return mantissa != 0 ? std::nan("") : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(Crc32, KnownValuesAndPieces) {
  const std::string text = "123456789";
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_EQ(crc32(bytes), 0xCBF43926u);  // the check value of the algorithm
  EXPECT_EQ(crc32({}), 0u);
  EXPECT_EQ(crc32(bytes.subspan(4), crc32(bytes.first(4))), crc32(bytes));
}

TEST(F16, EveryHalfToFloatAndBack) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float f = f16_to_f32(static_cast<uint16_t>(h));
    const double expected = half_value(static_cast<uint16_t>(h));
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(f)) << h;
      const uint16_t back = f32_to_f16(f);
      ASSERT_TRUE((back & 0x7c00) == 0x7c00 && (back & 0x3ff) != 0) << h;
      continue;
    }
    ASSERT_EQ(static_cast<double>(f), expected) << h;
    ASSERT_EQ(std::signbit(f), (h & 0x8000) != 0) << h;
    ASSERT_EQ(f32_to_f16(f), h);
  }
}

TEST(F16, RoundsToNearestEvenBetweenAllNeighbours) {
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const double low = half_value(static_cast<uint16_t>(h));
    const double high = h + 1 == 0x7c00 ? 65536.0 : half_value(static_cast<uint16_t>(h + 1));  // beyond 65504 the next step would be 65536
    const float middle = static_cast<float>((low + high) / 2);  // exact: 11 + 1 bits
    const uint16_t even = static_cast<uint16_t>((h & 1) == 0 ? h : h + 1);
    ASSERT_EQ(f32_to_f16(middle), even) << h;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << h;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, -1.0f)), h);
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 1e30f)), h + 1);
  }
  EXPECT_EQ(f32_to_f16(INFINITY), 0x7c00);
  EXPECT_EQ(f32_to_f16(-INFINITY), 0xfc00);
  EXPECT_EQ(f32_to_f16(3e38f), 0x7c00);
}

#ifdef LUTRA_X86
__attribute__((target("f16c"))) uint16_t hardware_half(float f) { return static_cast<uint16_t>(_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT)); }

TEST(F16, EqualsTheProcessorOnAllExponents) {
  if (!isa_available(Isa::kAvx2)) GTEST_SKIP() << "no F16C";
  // Every 251st float: hits all exponents, signs and, over the mantissas, all residues.
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 251) {
    const float f = std::bit_cast<float>(static_cast<uint32_t>(bits));
    const uint16_t expected = hardware_half(f);
    const uint16_t got = f32_to_f16(f);
    if (std::isnan(f)) {
      ASSERT_TRUE((got & 0x7fff) > 0x7c00) << std::hex << bits;
    } else {
      ASSERT_EQ(got, expected) << std::hex << bits;
    }
  }
}
#endif

// --- processor --------------------------------------------------------------------------------------------------------------------

class ForcedKernel : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const char* value = std::getenv("LUTRA_FORCE_KERNEL")) saved_ = value;
  }
  void TearDown() override {
    if (saved_.empty()) {
      unsetenv("LUTRA_FORCE_KERNEL");
    } else {
      setenv("LUTRA_FORCE_KERNEL", saved_.c_str(), 1);
    }
  }
  std::string saved_;
};

TEST_F(ForcedKernel, ChoosesTheTier) {
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vbmi, Isa::kNeon, Isa::kDotprod, Isa::kI8mm}) {
    setenv("LUTRA_FORCE_KERNEL", isa_name(isa), 1);
    if (isa_available(isa)) {
      EXPECT_EQ(best_isa(), isa);
    } else {
      expect_error(ErrorCode::kInvalidArgument, isa_name(isa), [] { best_isa(); });
    }
  }
  EXPECT_TRUE(isa_available(Isa::kPortable));
}

TEST_F(ForcedKernel, UnknownNameIsAnErrorAndEmptyIsNot) {
  setenv("LUTRA_FORCE_KERNEL", "sse9", 1);
  expect_error(ErrorCode::kInvalidArgument, "sse9", [] { best_isa(); });
  setenv("LUTRA_FORCE_KERNEL", "", 1);
  EXPECT_TRUE(isa_available(best_isa()));
  unsetenv("LUTRA_FORCE_KERNEL");
  EXPECT_TRUE(isa_available(best_isa()));
  EXPECT_FALSE(cpu_description().empty());
}

#ifdef LUTRA_X86
TEST(Cpu, HasWhatTheSystemSaysItHas) {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line) && line.rfind("flags", 0) != 0) {
  }
  line += ' ';
  auto all = [&line](std::initializer_list<const char*> flags) {
    return std::all_of(flags.begin(), flags.end(), [&line](const char* flag) { return line.find(std::string(" ") + flag + " ") != std::string::npos; });
  };
  ASSERT_TRUE(all({"sse2"})) << "no flags in /proc/cpuinfo";
  EXPECT_EQ(isa_available(Isa::kAvx2), all({"avx2", "fma", "f16c"}));
  EXPECT_EQ(isa_available(Isa::kAvxVnni), all({"avx2", "fma", "f16c", "avx_vnni"}));
  EXPECT_EQ(isa_available(Isa::kAvx512), all({"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}));
  EXPECT_EQ(isa_available(Isa::kAvx512Vbmi), isa_available(Isa::kAvx512) && all({"avx512vbmi"}));
}
#endif

// --- memory -----------------------------------------------------------------------------------------------------------------------

TEST(AlignedBuffer, ZeroedAlignedWritable) {
  for (size_t bytes : {size_t{1}, size_t{63}, size_t{64}, size_t{1000}, (size_t{256} << 10) - 1, size_t{256} << 10, (size_t{5} << 20) + 3}) {
    AlignedBuffer buffer(bytes);
    ASSERT_EQ(buffer.size(), bytes);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % AlignedBuffer::kAlignment, 0u);
    for (std::byte b : buffer.bytes()) ASSERT_EQ(b, std::byte{0});
    for (std::byte& b : buffer.bytes()) b = std::byte{0xa5};
    ASSERT_EQ(buffer.data()[bytes - 1], std::byte{0xa5});
  }
  AlignedBuffer none(0);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.as<float>().size(), 0u);
}

TEST(AlignedBuffer, MovesOwnership) {
  for (size_t count : {size_t{100}, size_t{1} << 20}) {
    AlignedBuffer a = AlignedBuffer::of<float>(count);
    a.as<float>()[count - 1] = 3.0f;
    const std::byte* where = a.data();
    AlignedBuffer b = std::move(a);
    EXPECT_EQ(b.data(), where);
    EXPECT_TRUE(a.empty());  // NOLINT: a moved-from buffer is empty by contract
    AlignedBuffer c(10);
    c = std::move(b);
    EXPECT_EQ(c.as<float>().size(), count);
    EXPECT_EQ(c.as<const float>()[count - 1], 3.0f);
    c = AlignedBuffer();
    EXPECT_EQ(c.data(), nullptr);
  }
}

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

TEST(AlignedBuffer, UntouchedPagesCostNothing) {
  const size_t before = resident_bytes();
  AlignedBuffer buffer(size_t{1} << 30, Pages::kSmall);
  for (size_t i = 0; i < 64; ++i) buffer.data()[i << 24] = std::byte{1};  // one page in every 16 MiB
  EXPECT_LT(resident_bytes(), before + (size_t{8} << 20));
}

TEST(AlignedBuffer, TooMuchIsATypedError) {
  expect_error(ErrorCode::kOutOfMemory, "memory", [] { AlignedBuffer buffer(std::numeric_limits<size_t>::max()); });
  expect_error(ErrorCode::kOutOfMemory, "memory", [] { AlignedBuffer buffer(size_t{1} << 62); });
  expect_error(ErrorCode::kOutOfMemory, "memory", [] { AlignedBuffer::of<double>(std::numeric_limits<size_t>::max() / 4); });
}

// --- dynamic library --------------------------------------------------------------------------------------------------------------

/// Path of a library that this process has loaded anyway: the one that holds `address`.
std::string library_of(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return info.dli_fname;
}

TEST(DynamicLibrary, OpensAndFindsSymbols) {
  const std::string path = library_of(reinterpret_cast<const void*>(static_cast<double (*)(double)>(&std::cos)));
  ASSERT_EQ(path.substr(0, 1), "/");
  for (auto unload : {DynamicLibrary::Unload::kNever, DynamicLibrary::Unload::kOnDestroy}) {
    DynamicLibrary library(path, unload);
    EXPECT_EQ(library.path(), path);
    auto* cosine = library.function<double(double)>("cos");
    ASSERT_NE(cosine, nullptr);
    EXPECT_EQ(cosine(0.0), 1.0);
    EXPECT_EQ(library.find("lutra_has_no_such_symbol"), nullptr);
    DynamicLibrary moved = std::move(library);
    EXPECT_NE(moved.find("cos"), nullptr);
    EXPECT_EQ(library.find("cos"), nullptr);  // NOLINT: a moved-from library finds nothing by contract
  }
}

TEST(DynamicLibrary, SaysWhyItCannotOpen) {
  expect_error(ErrorCode::kLibraryNotFound, "/no/such/dir/libQnnHtp.so", [] { DynamicLibrary library("/no/such/dir/libQnnHtp.so"); });
  expect_error(ErrorCode::kLibraryNotFound, "not the path", [] { DynamicLibrary library(""); });
  expect_error(ErrorCode::kLibraryNotFound, "there is no library", [] { DynamicLibrary library("/"); });
  // A bare name must not be looked up in the system's folders.
  expect_error(ErrorCode::kLibraryNotFound, "there is no library", [] { DynamicLibrary library("libm.so.6"); });
  const auto file = std::filesystem::temp_directory_path() / ("lutra-base-test-" + std::to_string(getpid()) + ".so");
  std::ofstream(file) << "this is not an ELF file, and long enough to be read as one: " << std::string(200, '.');
  expect_error(ErrorCode::kLibraryNotFound, "cannot open", [&] { DynamicLibrary library(file.string()); });
  std::filesystem::remove(file);
}

// --- thread pool ------------------------------------------------------------------------------------------------------------------

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (uint32_t threads : {0u, 1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), std::max(threads, 1u));
    for (uint32_t tasks : {0u, 1u, 2u, 3u, 7u, 64u, 1000u}) {
      for (int repeat = 0; repeat < 20; ++repeat) {
        std::vector<uint32_t> counts(tasks);  // plain: the join must publish what workers wrote
        pool.run(tasks, [&](uint32_t task) { ++counts[task]; });
        for (uint32_t count : counts) ASSERT_EQ(count, 1u);
      }
    }
  }
}

TEST(ThreadPool, ManyShortRegions) {
  ThreadPool pool(4);
  uint64_t sum = 0;
  uint32_t partial[4] = {};
  for (uint32_t region = 0; region < 50000; ++region) {
    pool.run(4, [&](uint32_t task) { partial[task] = region * 4 + task; });
    for (uint32_t task = 0; task < 4; ++task) {
      ASSERT_EQ(partial[task], region * 4 + task);
      sum += partial[task];
    }
  }
  EXPECT_EQ(sum, uint64_t{200000} * 199999 / 2);
}

TEST(ThreadPool, RegionsAfterSleep) {
  ThreadPool pool(3);
  for (int i = 0; i < 30; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(i * 50));  // around and beyond the spin time
    std::atomic<uint32_t> count{0};
    pool.run(5, [&](uint32_t) { count.fetch_add(1); });
    ASSERT_EQ(count.load(), 5u);
  }
}

TEST(ThreadPool, UsesItsWorkers) {
  ThreadPool pool(3);
  std::atomic<uint32_t> arrived{0};
  // Every task waits for all three: only three threads at once can end this.
  pool.run(3, [&](uint32_t) {
    arrived.fetch_add(1);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived.load() < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  });
  EXPECT_EQ(arrived.load(), 3u);
}

// The worker stays inside its first task until everything else is done: the caller must have taken over the rest of its share.
TEST(ThreadPool, AHeldTaskHoldsNoOtherUp) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<uint32_t> others{0}, held{0};
  for (int repeat = 0; repeat < 50; ++repeat) {
    constexpr uint32_t kTasks = 40;
    others = 0;
    std::atomic<bool> worker_came{false};
    pool.run(kTasks, [&](uint32_t task) {
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      if (std::this_thread::get_id() == caller) {
        // Not before the worker holds one, so that it has a share to be taken over.
        while (task == 0 && !worker_came.load() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        others.fetch_add(1);
      } else if (!worker_came.exchange(true)) {
        while (others.load() < kTasks - 1 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
        held.fetch_add(others.load() == kTasks - 1 ? 1 : 0);
      } else {
        others.fetch_add(1);
      }
    });
  }
  EXPECT_EQ(held.load(), 50u);
}

TEST(ThreadPool, AThreadTakesNeighbours) {
  ThreadPool pool(2);
  constexpr uint32_t kTasks = 64;
  std::vector<uint32_t> order[2];
  const auto caller = std::this_thread::get_id();
  std::atomic<uint32_t> arrived{0};
  pool.run(kTasks, [&](uint32_t task) {
    auto& mine = order[std::this_thread::get_id() == caller ? 0 : 1];
    if (mine.empty()) {  // both have taken one before either takes a second
      arrived.fetch_add(1);
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (arrived.load() < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    }
    mine.push_back(task);
  });
  ASSERT_EQ(order[0].size() + order[1].size(), kTasks);
  for (uint32_t thread = 0; thread < 2; ++thread) {
    const auto& taken = order[thread];
    ASSERT_FALSE(taken.empty());
    EXPECT_EQ(taken[0], thread * kTasks / 2);
    // Its own share upwards, then the end of the other's downwards.
    for (size_t i = 1; i < taken.size(); ++i) {
      const bool own = taken[i] / (kTasks / 2) == thread;
      const bool was_own = taken[i - 1] / (kTasks / 2) == thread;
      EXPECT_TRUE(was_own || !own) << taken[i - 1] << " before " << taken[i];
      if (own) {
        EXPECT_EQ(taken[i], taken[i - 1] + 1);
      } else if (!was_own) {
        EXPECT_EQ(taken[i], taken[i - 1] - 1);
      }
    }
  }
}

TEST(ThreadPool, NestedCallsRunInline) {
  ThreadPool pool(4);
  std::vector<std::atomic<uint32_t>> counts(8 * 16);
  std::atomic<uint32_t> moved{0};
  pool.run(8, [&](uint32_t outer) {
    const auto self = std::this_thread::get_id();
    pool.run(16, [&](uint32_t inner) {
      counts[outer * 16 + inner].fetch_add(1);
      if (std::this_thread::get_id() != self) moved.fetch_add(1);
    });
  });
  for (auto& count : counts) ASSERT_EQ(count.load(), 1u);
  EXPECT_EQ(moved.load(), 0u);
}

TEST(ThreadPool, CallersAreSerialised) {
  ThreadPool pool(3);
  std::atomic<uint32_t> inside{0};  // one byte per caller: its tasks that are running
  std::atomic<int> overlaps{0};
  std::vector<std::thread> callers;
  std::vector<uint64_t> sums(4);
  for (uint32_t c = 0; c < 4; ++c) {
    callers.emplace_back([&, c] {
      for (uint32_t i = 0; i < 2000; ++i) {
        std::atomic<uint64_t> sum{0};
        pool.run(5, [&](uint32_t task) {
          const uint32_t mine = 1u << (8 * c);
          const uint32_t seen = inside.fetch_add(mine);
          if ((seen & ~(0xffu << (8 * c))) != 0) overlaps.fetch_add(1);
          sum.fetch_add(task + i);
          inside.fetch_sub(mine);
        });
        sums[c] += sum.load();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (uint64_t sum : sums) EXPECT_EQ(sum, uint64_t{2000} * 10 + uint64_t{5} * 2000 * 1999 / 2);
  EXPECT_EQ(overlaps.load(), 0);
}

TEST(ThreadPool, SurvivesOversubscription) {
  const uint32_t cores = std::max(1u, std::thread::hardware_concurrency());
  ThreadPool one(1), many(cores * 8);
  const auto work = [](ThreadPool& pool) {
    std::vector<double> results(64);
    const auto start = std::chrono::steady_clock::now();
    for (int region = 0; region < 300; ++region) {
      pool.run(64, [&](uint32_t task) {
        double x = task;
        for (int i = 0; i < 300; ++i) x = x * 0.999 + 1.0;
        results[task] = x;
      });
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  work(one);
  const double alone = work(one);
  const double crowded = work(many);
  // A pool that spins while its tasks' owners are descheduled is slower by hundreds of times.
  EXPECT_LT(crowded, alone * 10 + 1.0) << "alone " << alone << " s";
}

TEST(ThreadPool, TooManyThreadsIsATypedError) {
  expect_error(ErrorCode::kInvalidArgument, "5000 threads", [] { ThreadPool pool(5000); });
}

TEST(ThreadPool, StartsAndStopsManyTimes) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(3);
    if (i % 2 == 0) {
      std::atomic<int> count{0};
      pool.run(3, [&](uint32_t) { count.fetch_add(1); });
      ASSERT_EQ(count.load(), 3);
    }
  }
}

/// A machine as the system describes it: number → text of a file of each processor.
class Machine {
 public:
  Machine() : root_(std::filesystem::temp_directory_path() / ("lutra-cores-" + std::to_string(::getpid()))) {}
  ~Machine() { std::filesystem::remove_all(root_); }
  Machine& with(const std::string& file, const std::vector<std::string>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const auto path = root_ / "sys/devices/system/cpu" / ("cpu" + std::to_string(i)) / file;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path) << values[i] << "\n";
    }
    return *this;
  }
  std::vector<uint32_t> big(std::vector<uint32_t> usable) const {
    const Cores cores = cores_of(usable, root_.string());
    EXPECT_EQ(cores.usable, usable);
    return cores.big;
  }

 private:
  std::filesystem::path root_;
};

using Numbers = std::vector<uint32_t>;

TEST(Cores, BigOnesHaveHalfTheCapacityOfTheLargest) {
  // Two small, five large, one prime core.
  Machine phone;
  phone.with("cpu_capacity", {"326", "326", "870", "870", "870", "870", "870", "1024"});
  EXPECT_EQ(phone.big({0, 1, 2, 3, 4, 5, 6, 7}), (Numbers{2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(phone.big({0, 1, 7}), (Numbers{7}));
  EXPECT_EQ(phone.big({0, 1}), (Numbers{0, 1}));  // a process in the background has the small ones only
}

TEST(Cores, ClockRatesStandInForCapacities) {
  Machine phone;
  phone.with("cpufreq/cpuinfo_max_freq", {"1400000", "1400000", "2960000", "3360000"});
  EXPECT_EQ(phone.big({0, 1, 2, 3}), (Numbers{2, 3}));
  phone.with("cpu_capacity", {"512", "511", "1024"});  // of one processor it is missing
  EXPECT_EQ(phone.big({0, 1, 2, 3}), (Numbers{2, 3}));
  EXPECT_EQ(phone.big({0, 1, 2}), (Numbers{0, 2}));
}

TEST(Cores, WithoutKnowledgeAllAreBig) {
  Machine nothing;
  EXPECT_EQ(nothing.big({3, 5}), (Numbers{3, 5}));
  EXPECT_EQ(nothing.big({}), (Numbers{}));
  nothing.with("cpu_capacity", {"many", "-1", ""});
  EXPECT_EQ(nothing.big({0, 1, 2}), (Numbers{0, 1, 2}));
  nothing.with("cpu_capacity", {"1024", "-1", "300"});
  EXPECT_EQ(nothing.big({0, 1, 2}), (Numbers{0, 1, 2}));
}

TEST(Cores, ThisMachineHasSome) {
  const Cores cores = find_cores();
  EXPECT_FALSE(cores.big.empty());
  EXPECT_LE(cores.big.size(), cores.usable.size());
  prefer_big_cores(static_cast<uint32_t>(cores.big.size()) + 1);  // more threads than big cores: nobody is moved
  EXPECT_EQ(find_cores().usable, cores.usable);
  std::thread([&] {
    prefer_big_cores(1);
    EXPECT_EQ(find_cores().usable, cores.big);
  }).join();
  EXPECT_EQ(find_cores().usable, cores.usable);
}

}  // namespace
}  // namespace lutra
