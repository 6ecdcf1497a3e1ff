/* Kernels of low-bit weights for Hexagon's vector processor (HVX, 128 bytes, v67 or later): a plain C contract that a QNN op package can link. docs/hvx.md has algorithm and layouts.
 *
 * Nothing here allocates, keeps state, takes a lock or calls anything but memcpy and memset. The caller owns all memory and keeps it alive and unchanged during a call; inputs are only read. The
 * calling thread must own an HVX context of 128 bytes, and round floats to nearest. Calls on disjoint tiles or outputs may run at the same time. Sizes are in bytes, counts in elements; numbers are little endian.
 *
 * Every function returns a lutra_hvx_status. Arguments are checked before the first vector instruction; after a status other than LUTRA_HVX_OK no output is to be used. Only lutra_hvx_pack looks
 * at the values of weights: what it has accepted is taken as it is.
 */
#ifndef LUTRA_HVX_H
#define LUTRA_HVX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  LUTRA_HVX_ALIGNMENT = 128, /* of every pointer to data but activations and outputs of products, which are aligned to 4, and canonical weights */
  LUTRA_HVX_TILE_ROWS = 64,
  LUTRA_HVX_MAX_COLUMNS = 32768 /* so that sums of products fit 64 bits, see docs/hvx.md */
};

typedef enum lutra_hvx_status {
  LUTRA_HVX_OK = 0,
  LUTRA_HVX_BAD_FORMAT = 1,    /* bits, group or offset is none that the kernels take */
  LUTRA_HVX_BAD_SHAPE = 2,     /* no rows or columns, more than LUTRA_HVX_MAX_COLUMNS, more than 2 GiB of anything, or a range of tiles that is not there */
  LUTRA_HVX_BAD_POINTER = 3,   /* NULL or not aligned */
  LUTRA_HVX_BAD_SIZE = 4,      /* a buffer is shorter than what it has to hold, or a stride than a row */
  LUTRA_HVX_BAD_VALUE = 5,     /* a scale, minimum or zero point that is not finite or too large, see lutra_hvx_pack */
  LUTRA_HVX_BAD_ACTIVATIONS = 6 /* prepared activations of another number of columns, or no prepared activations at all */
} lutra_hvx_status;

enum { LUTRA_HVX_SYMMETRIC = 0, LUTRA_HVX_MINIMUM = 1, LUTRA_HVX_ZERO_POINT = 2 };

/* A matrix of weights, rows = outputs. Values: (code - 2^(bits-1)) * d, code * d + m, or (code - z) * d. */
typedef struct lutra_hvx_weight {
  uint32_t bits;   /* 2 or 4 */
  uint32_t group;  /* columns that share a scale: 32, 64, 128, or 0 for one F32 scale (and offset) per row; the last group of a row may be shorter */
  uint32_t offset; /* LUTRA_HVX_SYMMETRIC, LUTRA_HVX_MINIMUM or LUTRA_HVX_ZERO_POINT */
  uint32_t rows;
  uint32_t columns;
} lutra_hvx_weight;

/* What the buffers of a weight have to hold. */
typedef struct lutra_hvx_sizes {
  size_t canonical; /* lutra's packed weights as they are in files */
  size_t packed;    /* the same for HVX: lutra_hvx_pack */
  size_t prepared;  /* a vector of activations: lutra_hvx_prepare */
  size_t scratch;   /* of one thread in lutra_hvx_dequantize */
  uint32_t tiles;   /* of 64 rows */
} lutra_hvx_sizes;

lutra_hvx_status lutra_hvx_sizes_of(const lutra_hvx_weight* weight, lutra_hvx_sizes* sizes);

/* Canonical layout -> HVX layout, no bit of a code, scale or minimum changed. `canonical` needs no alignment. Without vector instructions, so that hosts can call it too.
 * LUTRA_HVX_BAD_VALUE: with a group, a scale or minimum of magnitude 128 or more; one that is NaN or infinite; a zero point that is not an integer from 0 to 16. */
lutra_hvx_status lutra_hvx_pack(const lutra_hvx_weight* weight, const void* canonical, size_t canonical_size, void* packed, size_t packed_size);

/* Activations x [columns] F32 -> tables of 16 sums for every four of them, once for all weights that are multiplied with x. NaN, infinity and sums of four beyond F32 make every output NaN. */
lutra_hvx_status lutra_hvx_prepare(const float* x, uint32_t columns, void* prepared, size_t prepared_size);

/* y[row - 64 * tile_begin] = sum over columns of weight * x, F32, for the rows of the tiles [tile_begin, tile_end); `y_count` is at least their number. */
lutra_hvx_status lutra_hvx_gemv(const lutra_hvx_weight* weight, const void* packed, size_t packed_size, const void* prepared, size_t prepared_size, uint32_t tile_begin, uint32_t tile_end, float* y,
                                size_t y_count);

/* out[(row - 64 * tile_begin) * stride + column] = the weight in F16, for the rows of the tiles [tile_begin, tile_end): the nearest one, ties to even, with a scale per row that of the F32 value.
 * Zero is +0. `stride`, in elements, is a multiple of 64 and at least `columns`; up to the next multiple of 64, columns behind the last one become zero, and nothing else is written. `out` is aligned
 * to 128 and has `out_count` elements, at least stride * (rows - 1) + columns rounded up to 64. */
lutra_hvx_status lutra_hvx_dequantize(const lutra_hvx_weight* weight, const void* packed, size_t packed_size, uint32_t tile_begin, uint32_t tile_end, void* scratch, size_t scratch_size,
                                      uint16_t* out, size_t stride, size_t out_count);

#ifdef __cplusplus
}
#endif

#endif
