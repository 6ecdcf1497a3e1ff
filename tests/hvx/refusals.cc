#include "refusals.h"

#include "kernels/hvx/lutra_hvx.h"
#include "system.h"

namespace lutra::hvx {
namespace {

constexpr lutra_hvx_weight kWeight = {4, 64, LUTRA_HVX_MINIMUM, 70, 100};
constexpr size_t kRows = 70, kStride = 128, kValues = kStride * kRows;

/// There is no std::initializer_list.
template <class T, size_t N, class Body>
void each(const T (&values)[N], const Body& body) {
  for (const T value : values) body(value);
}

/// Right arguments of every function, of which a case spoils one.
struct Arguments {
  lutra_hvx_weight weight = kWeight;
  const lutra_hvx_weight* weight_at = &weight;
  lutra_hvx_sizes sizes = {};
  const uint8_t* canonical;
  uint8_t* packed;
  const uint8_t* x;
  uint8_t* prepared;
  uint8_t* y;
  uint8_t* scratch;
  uint8_t* values;
  size_t y_count = kRows, stride = kStride, values_count = kValues;
  uint32_t x_columns = kWeight.columns, tile_begin = 0, tile_end = 2;
};

class Calls {
 public:
  Calls() {
    Arguments a = right();
    expect(LUTRA_HVX_OK, pack(a), prepare(a), gemv(a), dequantize(a));
  }

  Arguments right() const {
    Arguments a;
    lutra_hvx_sizes_of(&kWeight, &a.sizes);
    a.canonical = canonical_.data();
    a.packed = packed_.data();
    a.x = x_.data();
    a.prepared = prepared_.data();
    a.y = y_.data();
    a.scratch = scratch_.data();
    a.values = values_.data();
    return a;
  }

  template <class... Statuses>
  void expect(lutra_hvx_status status, Statuses... answers) {
    ((++counts_.calls, counts_.wrong += answers != status), ...);
  }

  static lutra_hvx_status pack(const Arguments& a) { return lutra_hvx_pack(a.weight_at, a.canonical, a.sizes.canonical, a.packed, a.sizes.packed); }
  static lutra_hvx_status prepare(const Arguments& a) { return lutra_hvx_prepare(reinterpret_cast<const float*>(a.x), a.x_columns, a.prepared, a.sizes.prepared); }
  static lutra_hvx_status gemv(const Arguments& a) {
    return lutra_hvx_gemv(a.weight_at, a.packed, a.sizes.packed, a.prepared, a.sizes.prepared, a.tile_begin, a.tile_end, reinterpret_cast<float*>(a.y), a.y_count);
  }
  static lutra_hvx_status dequantize(const Arguments& a) {
    return lutra_hvx_dequantize(a.weight_at, a.packed, a.sizes.packed, a.tile_begin, a.tile_end, a.scratch, a.sizes.scratch, reinterpret_cast<uint16_t*>(a.values), a.stride, a.values_count);
  }

  const Refusals& counts() const { return counts_; }
  uint32_t damage() const { return packed_.damage() + prepared_.damage() + y_.damage() + scratch_.damage() + values_.damage(); }
  Guarded& canonical() { return canonical_; }

 private:
  static lutra_hvx_sizes sizes() {
    lutra_hvx_sizes sizes;
    lutra_hvx_sizes_of(&kWeight, &sizes);
    return sizes;
  }
  static Guarded zeros(uint32_t number, size_t bytes) {
    const Guarded buffer(number, bytes);
    for (size_t i = 0; i < bytes; ++i) buffer.data()[i] = 0;
    return buffer;
  }

  Guarded canonical_ = zeros(1, sizes().canonical), packed_ = zeros(2, sizes().packed), x_ = zeros(3, 4 * kWeight.columns), prepared_ = zeros(4, sizes().prepared), y_ = zeros(5, 4 * kRows), scratch_ = zeros(6, sizes().scratch), values_ = zeros(7, 2 * kValues);
  Refusals counts_ = {};
};

/// Weights that no function takes.
void weights(Calls& calls) {
  const auto refused = [&](lutra_hvx_status status, const lutra_hvx_weight& weight) {
    Arguments a = calls.right();
    a.weight = weight;
    lutra_hvx_sizes sizes;
    calls.expect(status, lutra_hvx_sizes_of(&a.weight, &sizes), Calls::pack(a), Calls::gemv(a), Calls::dequantize(a));
  };
  each({0u, 1u, 3u, 5u, 8u, 0xffffffffu}, [&](uint32_t bits) { refused(LUTRA_HVX_BAD_FORMAT, {bits, 64, 0, 70, 100}); });
  each({1u, 16u, 48u, 96u, 256u, 0xffffffffu}, [&](uint32_t group) { refused(LUTRA_HVX_BAD_FORMAT, {4, group, 0, 70, 100}); });
  each({3u, 0xffffffffu}, [&](uint32_t offset) { refused(LUTRA_HVX_BAD_FORMAT, {4, 64, offset, 70, 100}); });
  refused(LUTRA_HVX_BAD_SHAPE, {4, 64, 0, 0, 100});
  refused(LUTRA_HVX_BAD_SHAPE, {4, 64, 0, 70, 0});
  refused(LUTRA_HVX_BAD_SHAPE, {4, 64, 0, 70, LUTRA_HVX_MAX_COLUMNS + 1});
  refused(LUTRA_HVX_BAD_SHAPE, {4, 64, 0, 70, 0xffffffffu});
  refused(LUTRA_HVX_BAD_SHAPE, {4, 64, 0, 0xffffffffu, 100});
  refused(LUTRA_HVX_BAD_SHAPE, {2, 0, 0, 0xffffffffu, LUTRA_HVX_MAX_COLUMNS});
}

/// NULL, and addresses that are not aligned.
void pointers(Calls& calls) {
  const auto refused = [&](auto call, auto spoil) {
    Arguments a = calls.right();
    spoil(a);
    calls.expect(LUTRA_HVX_BAD_POINTER, call(a));
  };
  lutra_hvx_sizes sizes;
  calls.expect(LUTRA_HVX_BAD_POINTER, lutra_hvx_sizes_of(nullptr, &sizes), lutra_hvx_sizes_of(&kWeight, nullptr));
  refused(Calls::pack, [](Arguments& a) { a.weight_at = nullptr; });
  refused(Calls::pack, [](Arguments& a) { a.canonical = nullptr; });
  refused(Calls::pack, [](Arguments& a) { a.packed = nullptr; });
  refused(Calls::gemv, [](Arguments& a) { a.weight_at = nullptr; });
  refused(Calls::gemv, [](Arguments& a) { a.packed = nullptr; });
  refused(Calls::gemv, [](Arguments& a) { a.prepared = nullptr; });
  refused(Calls::gemv, [](Arguments& a) { a.y = nullptr; });
  refused(Calls::dequantize, [](Arguments& a) { a.weight_at = nullptr; });
  refused(Calls::dequantize, [](Arguments& a) { a.packed = nullptr; });
  refused(Calls::dequantize, [](Arguments& a) { a.scratch = nullptr; });
  refused(Calls::dequantize, [](Arguments& a) { a.values = nullptr; });
  refused(Calls::prepare, [](Arguments& a) { a.x = nullptr; });
  refused(Calls::prepare, [](Arguments& a) { a.prepared = nullptr; });
  each({size_t{1}, size_t{4}, size_t{64}, size_t{127}}, [&](size_t off) {
    refused(Calls::pack, [&](Arguments& a) { a.packed += off; });
    refused(Calls::gemv, [&](Arguments& a) { a.packed += off; });
    refused(Calls::gemv, [&](Arguments& a) { a.prepared += off; });
    refused(Calls::prepare, [&](Arguments& a) { a.prepared += off; });
    refused(Calls::dequantize, [&](Arguments& a) { a.packed += off; });
    refused(Calls::dequantize, [&](Arguments& a) { a.scratch += off; });
    refused(Calls::dequantize, [&](Arguments& a) { a.values += off; });
  });
  each({size_t{1}, size_t{2}, size_t{3}}, [&](size_t off) {
    refused(Calls::gemv, [&](Arguments& a) { a.y += off; });
    refused(Calls::prepare, [&](Arguments& a) { a.x += off; });
  });
}

/// Buffers that are too short, tiles that are not there, activations of something else.
void lengths(Calls& calls) {
  const auto refused = [&](lutra_hvx_status status, auto call, auto spoil) {
    Arguments a = calls.right();
    spoil(a);
    calls.expect(status, call(a));
  };
  refused(LUTRA_HVX_BAD_SIZE, Calls::pack, [](Arguments& a) { --a.sizes.canonical; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::pack, [](Arguments& a) { --a.sizes.packed; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::gemv, [](Arguments& a) { --a.sizes.packed; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::gemv, [](Arguments& a) { --a.sizes.prepared; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::gemv, [](Arguments& a) { --a.y_count; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::prepare, [](Arguments& a) { --a.sizes.prepared; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::dequantize, [](Arguments& a) { --a.sizes.packed; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::dequantize, [](Arguments& a) { --a.sizes.scratch; });
  refused(LUTRA_HVX_BAD_SIZE, Calls::dequantize, [](Arguments& a) { --a.values_count; });
  each({size_t{0}, size_t{64}, size_t{100}, size_t{129}, size_t{160}, ~size_t{63}}, [&](size_t stride) { refused(LUTRA_HVX_BAD_SIZE, Calls::dequantize, [&](Arguments& a) { a.stride = stride; }); });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::dequantize, [](Arguments& a) { a.tile_end = 3; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::dequantize, [](Arguments& a) { a.tile_begin = a.tile_end; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::gemv, [](Arguments& a) { a.tile_end = 3; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::gemv, [](Arguments& a) { a.tile_begin = a.tile_end; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::gemv, [](Arguments& a) { a.tile_begin = 2, a.tile_end = 1; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::prepare, [](Arguments& a) { a.x_columns = 0; });
  refused(LUTRA_HVX_BAD_SHAPE, Calls::prepare, [](Arguments& a) { a.x_columns = LUTRA_HVX_MAX_COLUMNS + 1; });
  refused(LUTRA_HVX_BAD_ACTIVATIONS, Calls::gemv, [](Arguments& a) { a.prepared = a.packed; });
  Arguments other = calls.right();
  other.x_columns = 97;  // as many chunks as 100
  calls.expect(LUTRA_HVX_OK, Calls::prepare(other));
  calls.expect(LUTRA_HVX_BAD_ACTIVATIONS, Calls::gemv(other));
}

/// Numbers that lutra_hvx_pack does not take, and the largest that it does: of the first row's scale, minimum or zero point.
void values(Calls& calls) {
  const auto expect = [&](lutra_hvx_status status, uint32_t group, uint32_t offset, bool second, uint32_t value) {
    Arguments a = calls.right();
    a.weight = {4, group, offset, 16, 32};
    const size_t bytes = group == 0 ? 4 : 2;
    uint8_t* at = calls.canonical().data() + 256 + (second ? 16 * bytes : 0);
    for (size_t i = 0; i < bytes; ++i) at[i] = static_cast<uint8_t>(value >> (8 * i));
    calls.expect(status, Calls::pack(a));
    for (size_t i = 0; i < bytes; ++i) at[i] = 0;
  };
  each({false, true}, [&](bool second) {
    each({0x57ffu, 0xd7ffu, 0x0001u}, [&](uint32_t value) { expect(LUTRA_HVX_OK, 32, LUTRA_HVX_MINIMUM, second, value); });
    each({0x5800u, 0xd800u, 0x7bffu, 0x7c00u, 0xfc00u, 0x7e00u}, [&](uint32_t value) { expect(LUTRA_HVX_BAD_VALUE, 32, LUTRA_HVX_MINIMUM, second, value); });
    each({0x7f7fffffu, 0xff7fffffu, 0x00000001u}, [&](uint32_t value) { expect(LUTRA_HVX_OK, 0, LUTRA_HVX_MINIMUM, second, value); });
    each({0x7f800000u, 0xff800000u, 0x7fc00000u}, [&](uint32_t value) { expect(LUTRA_HVX_BAD_VALUE, 0, LUTRA_HVX_MINIMUM, second, value); });
  });
  each({0x0000u, 0x8000u, 0x3c00u, 0x4c00u}, [&](uint32_t zero) { expect(LUTRA_HVX_OK, 32, LUTRA_HVX_ZERO_POINT, true, zero); });
  each({0x3800u, 0x4c40u, 0xbc00u, 0x7c00u, 0x7e00u, 0x0001u}, [&](uint32_t zero) { expect(LUTRA_HVX_BAD_VALUE, 32, LUTRA_HVX_ZERO_POINT, true, zero); });
  expect(LUTRA_HVX_OK, 0, LUTRA_HVX_ZERO_POINT, true, 0x41800000u);
  each({0x3f000000u, 0xbf800000u, 0x41880000u, 0x7f800000u, 0x7fc00000u}, [&](uint32_t zero) { expect(LUTRA_HVX_BAD_VALUE, 0, LUTRA_HVX_ZERO_POINT, true, zero); });
}

}  // namespace

Refusals refusals() {
  Calls calls;
  weights(calls);
  pointers(calls);
  lengths(calls);
  values(calls);
  calls.expect(LUTRA_HVX_OK, calls.damage() == 0 ? LUTRA_HVX_OK : LUTRA_HVX_BAD_SIZE);
  return calls.counts();
}

}  // namespace lutra::hvx
