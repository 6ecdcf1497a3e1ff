// The Hexagon program: answers the requests of hvx_test, in which every kernel has buffers of exactly the sizes that it asks for.
#include "protocol.h"
#include "refusals.h"
#include "system.h"

namespace lutra::hvx {
namespace {

void answer(lutra_hvx_status status, uint32_t damage, const Guarded* first, const Guarded* second) {
  const Answer head = {static_cast<uint32_t>(status), damage, static_cast<uint32_t>((first ? first->bytes() : 0) + (second ? second->bytes() : 0))};
  write_all(&head, sizeof head);
  if (first) write_all(first->data(), first->bytes());
  if (second) write_all(second->data(), second->bytes());
}

uint32_t rows_of_tiles(const Request& request) {
  const uint32_t last = request.tile_end * LUTRA_HVX_TILE_ROWS, rows = request.weight.rows;
  return (last < rows ? last : rows) - request.tile_begin * LUTRA_HVX_TILE_ROWS;
}

void gemv(const Request& request, const lutra_hvx_sizes& sizes, const Guarded& canonical, const Guarded& packed) {
  const Guarded x(2, 4 * request.activations), prepared(3, sizes.prepared), y(4, 4 * rows_of_tiles(request));
  if (!read_all(x.data(), x.bytes())) leave(2);
  lutra_hvx_status status = lutra_hvx_pack(&request.weight, canonical.data(), canonical.bytes(), packed.data(), packed.bytes());
  if (status == LUTRA_HVX_OK) status = lutra_hvx_prepare(reinterpret_cast<const float*>(x.data()), request.weight.columns, prepared.data(), prepared.bytes());
  if (status == LUTRA_HVX_OK) {
    status = lutra_hvx_gemv(&request.weight, packed.data(), packed.bytes(), prepared.data(), prepared.bytes(), request.tile_begin, request.tile_end, reinterpret_cast<float*>(y.data()), y.bytes() / 4);
  }
  answer(status, canonical.damage() + packed.damage() + x.damage() + prepared.damage() + y.damage(), &packed, &y);
}

void dequantize(const Request& request, const lutra_hvx_sizes& sizes, const Guarded& canonical, const Guarded& packed) {
  const size_t count = size_t{rows_of_tiles(request) - 1} * request.stride + (request.weight.columns + 63) / 64 * 64;
  const Guarded scratch(2, sizes.scratch), out(3, 2 * count);
  lutra_hvx_status status = lutra_hvx_pack(&request.weight, canonical.data(), canonical.bytes(), packed.data(), packed.bytes());
  if (status == LUTRA_HVX_OK) {
    status = lutra_hvx_dequantize(&request.weight, packed.data(), packed.bytes(), request.tile_begin, request.tile_end, scratch.data(), scratch.bytes(), reinterpret_cast<uint16_t*>(out.data()),
                                  request.stride, count);
  }
  answer(status, canonical.damage() + packed.damage() + scratch.damage() + out.damage(), &packed, &out);
}

void refuse() {
  const Guarded counts(0, sizeof(Refusals));
  *reinterpret_cast<Refusals*>(counts.data()) = refusals();
  answer(LUTRA_HVX_OK, 0, &counts, nullptr);
}

void run(const Request& request) {
  if (request.operation == kRefusals) return refuse();
  lutra_hvx_sizes sizes;
  const lutra_hvx_status status = lutra_hvx_sizes_of(&request.weight, &sizes);
  if (status != LUTRA_HVX_OK || sizes.canonical != request.canonical) leave(6);
  const Guarded canonical(0, request.canonical), packed(1, sizes.packed);
  if (!read_all(canonical.data(), canonical.bytes())) leave(2);
  if (request.operation == kGemv) gemv(request, sizes, canonical, packed);
  else dequantize(request, sizes, canonical, packed);
}

}  // namespace
}  // namespace lutra::hvx

extern "C" [[noreturn]] void _start() {
  lutra::hvx::Request request;
  while (lutra::hvx::read_all(&request, sizeof request)) lutra::hvx::run(request);
  lutra::hvx::leave(0);
}
