#include "kv/cache.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/f16.h"

namespace lutra::kv {
namespace {

void expect_error(ErrorCode code, const std::vector<std::string>& parts, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_STREQ(error_code_name(e.code()), error_code_name(code)) << e.what();
    for (const std::string& part : parts) EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    EXPECT_FALSE(e.remedy().empty());
    return;
  }
  ADD_FAILURE() << "no error with " << (parts.empty() ? "" : parts[0]);
}

std::vector<float> normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> out(count);
  for (float& x : out) x = distribution(random);
  return out;
}

constexpr Shape kShape{3, 2, 5, 40};  // rows of 10 elements: no multiple of any vector

TEST(KvCache, KeepsWhatWasAppended) {
  for (Type type : {Type::kF16, Type::kF32}) {
    KvCache cache(kShape, type);
    EXPECT_EQ(cache.stride(), 10u);
    EXPECT_EQ(cache.capacity(), 40u);
    EXPECT_EQ(cache.bytes_per_position(), 3u * 2 * 10 * (type == Type::kF16 ? 2 : 4));
    // In pieces of uneven length, layers in the order of a step.
    std::vector<std::vector<float>> k, v;
    for (uint32_t layer = 0; layer < 3; ++layer) {
      k.push_back(normal(400, layer));
      v.push_back(normal(400, layer + 10));
    }
    uint32_t at = 0;
    for (uint32_t n : {1u, 7u, 32u}) {
      for (uint32_t layer = 0; layer < 3; ++layer) {
        cache.append(layer, at, std::span(k[layer]).subspan(at * 10, n * 10), std::span(v[layer]).subspan(at * 10, n * 10));
      }
      cache.advance(n);
      at += n;
      EXPECT_EQ(cache.length(), at);
    }
    for (uint32_t layer = 0; layer < 3; ++layer) {
      for (size_t i = 0; i < 400; ++i) {
        if (type == Type::kF16) {
          ASSERT_EQ(cache.k_f16(layer)[i], f32_to_f16(k[layer][i])) << layer << " " << i;
          ASSERT_EQ(cache.v_f16(layer)[i], f32_to_f16(v[layer][i])) << layer << " " << i;
        } else {
          ASSERT_EQ(cache.k_f32(layer)[i], k[layer][i]);
          ASSERT_EQ(cache.v_f32(layer)[i], v[layer][i]);
        }
      }
    }
  }
}

TEST(KvCache, RoundsToEvenAndKeepsNeighbours) {
  KvCache cache({1, 1, 3, 4}, Type::kF16);
  const float tie_down = 1.0f + 0x1p-11f, tie_up = 1.0f + 3 * 0x1p-11f;
  const std::vector<float> k{tie_down, tie_up, 70000.0f}, v{-tie_down, -tie_up, 1e-9f};
  cache.append(0, 1, k, v);
  EXPECT_EQ(cache.k_f16(0)[3], 0x3c00);
  EXPECT_EQ(cache.k_f16(0)[4], 0x3c02);
  EXPECT_EQ(cache.k_f16(0)[5], 0x7c00);
  EXPECT_EQ(cache.v_f16(0)[3], 0xbc00);
  EXPECT_EQ(cache.v_f16(0)[4], 0xbc02);
  EXPECT_EQ(cache.v_f16(0)[5], 0x0000);
  for (size_t i : {0u, 1u, 2u, 6u, 7u, 8u}) {
    EXPECT_EQ(cache.k_f16(0)[i], 0);
    EXPECT_EQ(cache.v_f16(0)[i], 0);
  }
}

TEST(KvCache, TruncatesAndContinues) {
  KvCache cache(kShape, Type::kF32);
  cache.advance(30);
  cache.truncate(12);
  EXPECT_EQ(cache.length(), 12u);
  const std::vector<float> row = normal(10, 1);
  cache.append(0, cache.length(), row, row);
  cache.advance(1);
  EXPECT_EQ(cache.k_f32(0)[120], row[0]);
  cache.truncate(13);
  cache.truncate(0);
  EXPECT_EQ(cache.length(), 0u);
  expect_error(ErrorCode::kInvalidArgument, {"0 positions", "5"}, [&] { cache.truncate(5); });
}

TEST(KvCache, RefusesMoreThanItHolds) {
  KvCache cache(kShape, Type::kF16);
  const std::vector<float> rows = normal(410, 1);
  const auto some = [&](size_t n) { return std::span<const float>(rows).first(n * 10); };
  cache.append(2, 0, some(40), some(40));
  cache.append(2, 40, some(0), some(0));
  expect_error(ErrorCode::kContextFull, {"holds 40 tokens", "41 more"}, [&] { cache.append(0, 0, some(41), some(41)); });
  expect_error(ErrorCode::kContextFull, {"holds 40 tokens", "2 more", "first 39"}, [&] { cache.append(0, 39, some(2), some(2)); });
  expect_error(ErrorCode::kContextFull, {}, [&] { cache.append(0, 41, some(0), some(0)); });
  expect_error(ErrorCode::kContextFull, {}, [&] { cache.append(0, 0xffffffff, some(2), some(2)); });
  expect_error(ErrorCode::kContextFull, {}, [&] { cache.check_room(1, 0xffffffff); });
  cache.advance(40);
  expect_error(ErrorCode::kContextFull, {"1 more after the first 40"}, [&] { cache.advance(1); });
  EXPECT_EQ(cache.length(), 40u);
}

TEST(KvCache, RefusesWhatDoesNotFitItsShape) {
  KvCache cache(kShape, Type::kF16);
  const std::vector<float> rows = normal(40, 1);
  const std::span<const float> all(rows);
  expect_error(ErrorCode::kInvalidArgument, {"layer 3"}, [&] { cache.append(3, 0, all, all); });
  expect_error(ErrorCode::kInvalidArgument, {"15 key"}, [&] { cache.append(0, 0, all.first(15), all.first(15)); });
  expect_error(ErrorCode::kInvalidArgument, {"10 key and 20 value"}, [&] { cache.append(0, 0, all.first(10), all.first(20)); });
  for (const Shape& shape : {Shape{0, 1, 1, 1}, Shape{1, 0, 1, 1}, Shape{1, 1, 0, 1}, Shape{1, 1, 1, 0}}) {
    expect_error(ErrorCode::kInvalidArgument, {"empty"}, [&] { KvCache empty(shape, Type::kF16); });
  }
  const uint32_t most = 0xffffffff;
  expect_error(ErrorCode::kOutOfMemory, {"address space"}, [&] { KvCache huge({1, most, most, most}, Type::kF32); });
  expect_error(ErrorCode::kOutOfMemory, {}, [&] { KvCache huge({1, 1u << 20, 1u << 20, 1u << 20}, Type::kF16); });
}

TEST(KvCache, UnusedContextCostsNothing) {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    size_t total = 0, pages = 0;
    statm >> total >> pages;
    return pages * 4096;
  };
  const size_t before = resident();
  KvCache cache({30, 3, 64, 131072}, Type::kF16);  // 3 GB of addresses
  const std::vector<float> rows = normal(10 * 192, 1);
  for (uint32_t layer = 0; layer < 30; ++layer) cache.append(layer, 0, rows, rows);
  EXPECT_EQ(cache.v_f16(29)[1919], f32_to_f16(rows[1919]));
  EXPECT_LT(resident(), before + (size_t{4} << 20));
}

}  // namespace
}  // namespace lutra::kv
