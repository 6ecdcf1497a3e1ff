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
        const uint32_t head = static_cast<uint32_t>(i % 10 / 5);
        const size_t position = i / 10, element = i % 5;
        if (type == Type::kF16) {
          const auto rows = cache.head<uint16_t>(layer, head);
          ASSERT_EQ(rows.k[position * rows.stride + element], f32_to_f16(k[layer][i])) << layer << " " << i;
          ASSERT_EQ(rows.v[position * rows.stride + element], f32_to_f16(v[layer][i])) << layer << " " << i;
        } else {
          const auto rows = cache.head<float>(layer, head);
          ASSERT_EQ(rows.k[position * rows.stride + element], k[layer][i]);
          ASSERT_EQ(rows.v[position * rows.stride + element], v[layer][i]);
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
  EXPECT_EQ(cache.head<uint16_t>(0, 0).k[3], 0x3c00);
  EXPECT_EQ(cache.head<uint16_t>(0, 0).k[4], 0x3c02);
  EXPECT_EQ(cache.head<uint16_t>(0, 0).k[5], 0x7c00);
  EXPECT_EQ(cache.head<uint16_t>(0, 0).v[3], 0xbc00);
  EXPECT_EQ(cache.head<uint16_t>(0, 0).v[4], 0xbc02);
  EXPECT_EQ(cache.head<uint16_t>(0, 0).v[5], 0x0000);
  for (size_t i : {0u, 1u, 2u, 6u, 7u, 8u}) {
    EXPECT_EQ(cache.head<uint16_t>(0, 0).k[i], 0);
    EXPECT_EQ(cache.head<uint16_t>(0, 0).v[i], 0);
  }
}

TEST(KvCache, KeepsEightBitsAndAScalePerHeadAndPosition) {
  KvCache cache(kShape, Type::kI8);
  EXPECT_EQ(cache.bytes_per_position(), 3u * 2 * (10 + 2 * 4));
  std::vector<float> k = normal(40 * 10, 1), v = normal(40 * 10, 2);
  std::fill_n(k.begin() + 35, 5, 0.0f);  // a head of zeros: position 3, head 1
  v[100] = 1000.0f;                      // an outlier costs its own head of its own position, no other
  for (uint32_t at = 0, n = 1; at < 40; at += n, n = std::min(n + 2, 40 - at)) {
    cache.append(1, at, std::span(k).subspan(at * 10, n * 10), std::span(v).subspan(at * 10, n * 10));
  }
  for (uint32_t h = 0; h < 2; ++h) {
    const auto head = cache.head<int8_t>(1, h);
    for (uint32_t p = 0; p < 40; ++p) {
      const auto check = [&](const std::vector<float>& x, const int8_t* codes, float scale) {
        float largest = 0;
        for (uint32_t i = 0; i < 5; ++i) largest = std::max(largest, std::fabs(x[p * 10 + h * 5 + i]));
        ASSERT_EQ(scale, largest / 127.0f) << p << " " << h;
        for (uint32_t i = 0; i < 5; ++i) ASSERT_NEAR(static_cast<float>(codes[p * head.stride + i]) * scale, x[p * 10 + h * 5 + i], scale * 0.5001f) << p << " " << h << " " << i;
      };
      check(k, head.k, head.k_scales[p]);
      check(v, head.v, head.v_scales[p]);
    }
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
  EXPECT_EQ(cache.head<float>(0, 0).k[12 * 5], row[0]);
  EXPECT_EQ(cache.head<float>(0, 1).k[12 * 5], row[5]);
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
  EXPECT_EQ(cache.head<uint16_t>(29, 2).v[9 * 64 + 63], f32_to_f16(rows[1919]));
  EXPECT_LT(resident(), before + (size_t{4} << 20));
}

}  // namespace
}  // namespace lutra::kv
