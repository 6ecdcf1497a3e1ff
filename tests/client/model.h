/* The graph of this program, its data, and what it has to compute:
 *
 *   x U8 [rows, depth] -> FullyConnected with S8 weights, one scale per output -> U8 -> Dequantize -> F16 -> times a row of F16 -> y F16 [rows, outputs] */
#ifndef CLIENT_MODEL_H
#define CLIENT_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "qnn.h"

typedef struct {
  const char* name; /* of the graph */
  uint32_t rows, depth, outputs;
  int8_t* weights;            /* [outputs, depth] */
  qnn_scale_offset* scales;   /* [outputs] */
  uint16_t* factors;          /* [outputs], F16 */
  qnn_scale_offset in, out;   /* encodings of x and of the linear's output */
  uint32_t x_id, y_id;        /* what the library calls them */
} model;

/* Random weights; `seed` decides them. */
model model_make(const char* name, uint32_t rows, uint32_t depth, uint32_t outputs, uint32_t seed);
void model_free(model* m);
size_t model_x_bytes(const model* m);
size_t model_y_bytes(const model* m);
void model_fill(const model* m, uint32_t seed, uint8_t* x);

/* Creates graph, tensors and nodes in `context`, each node validated by `backend` before, and finalizes. Sets the ids. */
qnn_handle model_build(model* m, qnn_handle backend, qnn_handle context);
/* Runs the graph on buffers of this program; `profile` may be NULL. */
void model_execute(const model* m, qnn_handle graph, const uint8_t* x, uint16_t* y, qnn_handle profile);
/* Fails unless y is what the graph has to make of x: the linear within one step of its exact value, in at most a tenth of the places not the nearest one. */
void model_check(const model* m, const uint8_t* x, const uint16_t* y);

#endif
