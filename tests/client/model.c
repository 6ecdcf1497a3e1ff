#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "library.h"

static uint32_t next_random(uint32_t* state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static void* allocate(size_t bytes) {
  void* memory = calloc(1, bytes);
  if (memory == NULL) fail("no memory for %zu bytes", bytes);
  return memory;
}

model model_make(const char* name, uint32_t rows, uint32_t depth, uint32_t outputs, uint32_t seed) {
  model m = {.name = name, .rows = rows, .depth = depth, .outputs = outputs, .in = {0.025f, -120}, .out = {0.04f, -130}};
  m.weights = allocate((size_t)outputs * depth);
  m.scales = allocate(outputs * sizeof *m.scales);
  m.factors = allocate(outputs * sizeof *m.factors);
  for (size_t i = 0; i < (size_t)outputs * depth; ++i) m.weights[i] = (int8_t)((int)(next_random(&seed) % 255) - 127);
  /* Outputs of a standard deviation of about one, so that most lie inside the range of the codes and some saturate. */
  const float scale = 2.0f / (73.0f * 1.85f * sqrtf((float)depth));
  for (uint32_t o = 0; o < outputs; ++o) {
    m.scales[o].scale = scale * (0.5f + (float)(next_random(&seed) % 1000) / 1000.0f);
    m.factors[o] = float_to_half(((float)(next_random(&seed) % 2000) - 1000.0f) / 500.0f);
  }
  return m;
}

void model_free(model* m) {
  free(m->weights);
  free(m->scales);
  free(m->factors);
}

size_t model_x_bytes(const model* m) { return (size_t)m->rows * m->depth; }
size_t model_y_bytes(const model* m) { return (size_t)m->rows * m->outputs * 2; }

void model_fill(const model* m, uint32_t seed, uint8_t* x) {
  for (size_t i = 0; i < model_x_bytes(m); ++i) x[i] = (uint8_t)next_random(&seed);
}

static qnn_tensor make_tensor(const char* name, uint32_t type, uint32_t dtype, uint32_t* dims) {
  qnn_tensor t = {.version = 1};
  t.u.v1.name = name;
  t.u.v1.type = type;
  t.u.v1.dtype = dtype;
  t.u.v1.rank = 2;
  t.u.v1.dims = dims;
  t.u.v1.quantization.definition = QNN_UNDEFINED;
  t.u.v1.quantization.encoding = QNN_UNDEFINED;
  return t;
}

static void set_scale(qnn_tensor* t, qnn_scale_offset value) {
  t->u.v1.quantization.definition = QNN_DEFINED;
  t->u.v1.quantization.encoding = QNN_SCALE_OFFSET;
  t->u.v1.quantization.u.scale_offset = value;
}

static void add_node(qnn_handle backend, qnn_handle graph, const char* name, const char* type, uint32_t input_count, qnn_tensor* inputs, qnn_tensor* output) {
  const qnn_op op = {.version = 1, .name = name, .package = "qti.aisw", .type = type, .input_count = input_count, .inputs = inputs, .output_count = 1, .outputs = output};
  CHECK(CALL(qnn_validate_fn, QNN_VALIDATE)(backend, op));
  CHECK(CALL(qnn_add_node_fn, QNN_ADD_NODE)(graph, op));
}

qnn_handle model_build(model* m, qnn_handle backend, qnn_handle context) {
  qnn_handle graph = NULL;
  CHECK(CALL(qnn_graph_create_fn, QNN_GRAPH_CREATE)(context, m->name, NULL, &graph));
  uint32_t x_dims[] = {m->rows, m->depth}, w_dims[] = {m->outputs, m->depth}, y_dims[] = {m->rows, m->outputs}, row_dims[] = {1, m->outputs};
  qnn_tensor x = make_tensor("x", QNN_APP_WRITE, QNN_U8, x_dims);
  qnn_tensor weights = make_tensor("weights", QNN_STATIC, QNN_S8, w_dims);
  qnn_tensor codes = make_tensor("codes", QNN_NATIVE, QNN_U8, y_dims);
  qnn_tensor values = make_tensor("values", QNN_NATIVE, QNN_F16, y_dims);
  qnn_tensor factors = make_tensor("factors", QNN_STATIC, QNN_F16, row_dims);
  qnn_tensor y = make_tensor("y", QNN_APP_READ, QNN_F16, y_dims);
  set_scale(&x, m->in);
  set_scale(&codes, m->out);
  qnn_quantization* per_output = &weights.u.v1.quantization;
  per_output->definition = QNN_DEFINED;
  per_output->encoding = QNN_AXIS_SCALE_OFFSET;
  per_output->u.axis.axis = 0;
  per_output->u.axis.count = m->outputs;
  per_output->u.axis.values = m->scales;
  weights.u.v1.buffer.data = m->weights;
  weights.u.v1.buffer.size = m->outputs * m->depth;
  factors.u.v1.buffer.data = m->factors;
  factors.u.v1.buffer.size = m->outputs * 2;
  qnn_tensor* all[] = {&x, &weights, &codes, &values, &factors, &y};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) CHECK(CALL(qnn_graph_tensor_fn, QNN_GRAPH_TENSOR)(graph, all[i]));
  qnn_tensor linear_in[] = {x, weights}, product_in[] = {values, factors};
  add_node(backend, graph, "linear", "FullyConnected", 2, linear_in, &codes);
  add_node(backend, graph, "dequantize", "Dequantize", 1, &codes, &values);
  add_node(backend, graph, "scale", "ElementWiseMultiply", 2, product_in, &y);
  CHECK(CALL(qnn_finalize_fn, QNN_FINALIZE)(graph, NULL, NULL));
  m->x_id = x.u.v1.id;
  m->y_id = y.u.v1.id;
  return graph;
}

void model_execute(const model* m, qnn_handle graph, const uint8_t* x, uint16_t* y, qnn_handle profile) {
  uint32_t x_dims[] = {m->rows, m->depth}, y_dims[] = {m->rows, m->outputs};
  qnn_tensor in = make_tensor("x", QNN_APP_WRITE, QNN_U8, x_dims), out = make_tensor("y", QNN_APP_READ, QNN_F16, y_dims);
  set_scale(&in, m->in);
  in.u.v1.id = m->x_id;
  in.u.v1.buffer.data = (void*)x; /* only read */
  in.u.v1.buffer.size = (uint32_t)model_x_bytes(m);
  out.u.v1.id = m->y_id;
  out.u.v1.buffer.data = y;
  out.u.v1.buffer.size = (uint32_t)model_y_bytes(m);
  CHECK(CALL(qnn_execute_fn, QNN_EXECUTE)(graph, &in, 1, &out, 1, profile, NULL));
}

void model_check(const model* m, const uint8_t* x, const uint16_t* y) {
  size_t off = 0;
  for (uint32_t r = 0; r < m->rows; ++r) {
    for (uint32_t o = 0; o < m->outputs; ++o) {
      int64_t sum = 0;
      for (uint32_t k = 0; k < m->depth; ++k) sum += (int64_t)(x[(size_t)r * m->depth + k] + m->in.offset) * m->weights[(size_t)o * m->depth + k];
      const double exact = (double)sum * (double)m->in.scale * (double)m->scales[o].scale;
      double code = nearbyint(exact / (double)m->out.scale) - m->out.offset;
      code = code < 0.0 ? 0.0 : code > 255.0 ? 255.0 : code;
      const double factor = (double)half_to_float(m->factors[o]), wanted = (code + m->out.offset) * (double)m->out.scale * factor;
      const double step = fabs((double)m->out.scale * factor), rounding = fabs(wanted) * 0.002 + 1e-6; /* F16 twice */
      const double distance = fabs((double)half_to_float(y[(size_t)r * m->outputs + o]) - wanted);
      if (!(distance <= 1.002 * step + rounding)) fail("%s: y[%u, %u] is %g, not %g", m->name, r, o, (double)half_to_float(y[(size_t)r * m->outputs + o]), wanted);
      if (distance > 0.5 * step + rounding) ++off;
    }
  }
  const size_t count = (size_t)m->rows * m->outputs;
  if (off * 10 > count) fail("%s: %zu of %zu outputs are a step off", m->name, off, count);
}
