// The load loops of the read line load every byte.
#include "kernels/read/read.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/aligned.h"

namespace lutra::kernels {
namespace {

TEST(Read, EveryLoopAddsEveryWord) {
  constexpr size_t kBytes = 256 * 37, kBehind = 16384;
  AlignedBuffer memory(kBytes + kBehind);
  std::mt19937_64 random(1);
  for (uint64_t& word : memory.as<uint64_t>()) word = random();
  size_t ran = 0;
  for (const ReadKernel& kernel : read_kernels()) {
    if (!isa_available(kernel.isa)) continue;
    SCOPED_TRACE(kernel.name);
    for (const size_t bytes : {size_t{256}, size_t{2560}, kBytes}) {
      uint64_t sum = 0;
      for (size_t i = 0; i < bytes / 8; ++i) sum += memory.as<uint64_t>()[i];
      EXPECT_EQ(kernel.run(memory.data(), bytes), sum) << bytes;
    }
    ++ran;
  }
  EXPECT_GE(ran, 1u);
}

}  // namespace
}  // namespace lutra::kernels
