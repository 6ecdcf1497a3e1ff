/* The part of the QNN C interface that this program uses, declared from the published layouts (core API 2.27 and later, LP64). Nothing of lutra's is included: the
 * program is another client of the interface, so these declarations are a second reading of it. */
#ifndef CLIENT_QNN_H
#define CLIENT_QNN_H

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t qnn_status; /* the code is in the low 16 bits */
typedef void* qnn_handle;

enum {
  QNN_U8 = 0x0408, QNN_S8 = 0x0308, QNN_F16 = 0x0216, QNN_UNDEFINED = 0x7FFFFFFF,
  QNN_APP_WRITE = 0, QNN_APP_READ = 1, QNN_NATIVE = 3, QNN_STATIC = 4,
  QNN_DEFINED = 1, QNN_SCALE_OFFSET = 0, QNN_AXIS_SCALE_OFFSET = 1,
  QNN_EVENT_EXECUTE = 400,
};

typedef struct {
  uint32_t major, minor, patch;
} qnn_version;

typedef struct {
  float scale;
  int32_t offset; /* real = (code + offset) * scale */
} qnn_scale_offset;

typedef struct {
  int32_t definition, encoding;
  union {
    qnn_scale_offset scale_offset;
    struct {
      int32_t axis;
      uint32_t count;
      qnn_scale_offset* values;
    } axis;
    uint64_t words[4]; /* the largest encoding */
  } u;
} qnn_quantization;

typedef struct {
  uint32_t id;
  const char* name;
  uint32_t type, format, dtype;
  qnn_quantization quantization;
  uint32_t rank;
  uint32_t* dims;
  uint32_t memory;
  struct {
    void* data;
    uint32_t size;
  } buffer;
} qnn_tensor_v1;

typedef struct {
  int32_t version; /* 1, or 2, which begins with the same fields */
  union {
    qnn_tensor_v1 v1;
    uint64_t words[17];
  } u;
} qnn_tensor;

typedef struct {
  int32_t version; /* 1 */
  const char *name, *package, *type;
  uint32_t param_count;
  void* params;
  uint32_t input_count;
  qnn_tensor* inputs;
  uint32_t output_count;
  qnn_tensor* outputs;
} qnn_op;

typedef struct {
  int32_t option;
  const void* value;
} qnn_config;

/* Custom configuration of an HTP device: option 0 chooses the SoC. */
typedef struct {
  uint32_t option, reserved, soc;
  uint32_t rest[3];
} qnn_device_soc;

typedef struct {
  uint32_t type, unit;
  uint64_t value;
  const char* identifier;
} qnn_event;

typedef void (*qnn_log_callback)(const char* format, uint32_t level, uint64_t time, va_list arguments);

/* A provider, with the function table as an array: entries are converted to their signature where they are called. */
typedef void (*qnn_function)(void);
typedef struct {
  uint32_t backend_id;
  const char* name;
  qnn_version core, backend;
  qnn_function table[68];
} qnn_interface;
typedef qnn_status (*qnn_get_providers)(const qnn_interface*** list, uint32_t* count);

enum {
  QNN_PROPERTY = 0, QNN_BACKEND_CREATE = 1, QNN_BUILD_ID = 4, QNN_OPERATIONS = 6, QNN_VALIDATE = 7, QNN_BACKEND_FREE = 8, QNN_CONTEXT_CREATE = 9, QNN_BINARY_SIZE = 11, QNN_BINARY = 12,
  QNN_FROM_BINARY = 13, QNN_CONTEXT_FREE = 14, QNN_GRAPH_CREATE = 15, QNN_ADD_NODE = 18, QNN_FINALIZE = 19, QNN_RETRIEVE = 20, QNN_EXECUTE = 21, QNN_GRAPH_TENSOR = 24,
  QNN_LOG_CREATE = 25, QNN_LOG_FREE = 27, QNN_PROFILE_CREATE = 28, QNN_PROFILE_EVENTS = 30, QNN_PROFILE_DATA = 32, QNN_PROFILE_FREE = 34, QNN_DEVICE_CREATE = 40, QNN_DEVICE_FREE = 43,
  QNN_ERROR_MESSAGE = 48,
};

typedef qnn_status (*qnn_property_fn)(uint32_t key);
typedef qnn_status (*qnn_backend_create_fn)(qnn_handle log, const qnn_config** list, qnn_handle* out);
typedef qnn_status (*qnn_text_fn)(const char** out);
typedef qnn_status (*qnn_validate_fn)(qnn_handle backend, qnn_op op);
typedef qnn_status (*qnn_free_fn)(qnn_handle handle);
typedef qnn_status (*qnn_context_create_fn)(qnn_handle backend, qnn_handle device, const qnn_config** list, qnn_handle* out);
typedef qnn_status (*qnn_binary_size_fn)(qnn_handle context, uint64_t* size);
typedef qnn_status (*qnn_binary_fn)(qnn_handle context, void* buffer, uint64_t size, uint64_t* written);
typedef qnn_status (*qnn_from_binary_fn)(qnn_handle backend, qnn_handle device, const qnn_config** list, const void* binary, uint64_t size, qnn_handle* out, qnn_handle profile);
typedef qnn_status (*qnn_context_free_fn)(qnn_handle context, qnn_handle profile);
typedef qnn_status (*qnn_graph_create_fn)(qnn_handle context, const char* name, const qnn_config** list, qnn_handle* out);
typedef qnn_status (*qnn_add_node_fn)(qnn_handle graph, qnn_op op);
typedef qnn_status (*qnn_finalize_fn)(qnn_handle graph, qnn_handle profile, qnn_handle signal);
typedef qnn_status (*qnn_retrieve_fn)(qnn_handle context, const char* name, qnn_handle* out);
typedef qnn_status (*qnn_execute_fn)(qnn_handle graph, const qnn_tensor* in, uint32_t in_count, qnn_tensor* out, uint32_t out_count, qnn_handle profile, qnn_handle signal);
typedef qnn_status (*qnn_graph_tensor_fn)(qnn_handle graph, qnn_tensor* tensor);
typedef qnn_status (*qnn_log_create_fn)(qnn_log_callback callback, uint32_t level, qnn_handle* out);
typedef qnn_status (*qnn_profile_create_fn)(qnn_handle backend, uint32_t level, qnn_handle* out);
typedef qnn_status (*qnn_profile_events_fn)(qnn_handle profile, const uint64_t** ids, uint32_t* count);
typedef qnn_status (*qnn_profile_data_fn)(uint64_t id, qnn_event* out);
typedef qnn_status (*qnn_device_create_fn)(qnn_handle log, const qnn_config** list, qnn_handle* out);
typedef qnn_status (*qnn_error_message_fn)(qnn_status status, const char** out);

/* System interface: what a context binary contains. */
typedef struct {
  const char* name;
  uint32_t input_count;
  qnn_tensor* inputs;
  uint32_t output_count;
  qnn_tensor* outputs;
} qnn_graph_info_v1;
typedef struct {
  int32_t version; /* every version begins with the fields of the first */
  union {
    qnn_graph_info_v1 v1;
    uint64_t words[10];
  } u;
} qnn_graph_info;
typedef struct {
  uint32_t backend_id;
  const char* build_id;
  qnn_version core, backend;
  const char* soc;
} qnn_binary_common;
typedef struct {
  int32_t version; /* 1, 2 or 3: the graphs are at another place in the last */
  union {
    qnn_binary_common common;
    struct {
      uint64_t before[14];
      uint32_t graph_count;
      qnn_graph_info* graphs;
    } v1;
    struct {
      uint64_t before[11];
      uint32_t graph_count;
      qnn_graph_info* graphs;
    } v3;
    uint64_t words[17];
  } u;
} qnn_binary_info;
typedef struct {
  uint32_t backend_id;
  const char* name;
  qnn_version version;
  qnn_function table[13];
} qnn_system_interface;
typedef qnn_status (*qnn_get_system_providers)(const qnn_system_interface*** list, uint32_t* count);
enum { QNN_SYSTEM_CREATE = 0, QNN_SYSTEM_INFO = 1, QNN_SYSTEM_FREE = 3 };
typedef qnn_status (*qnn_system_create_fn)(qnn_handle* out);
typedef qnn_status (*qnn_system_info_fn)(qnn_handle system, void* binary, uint64_t size, const qnn_binary_info** out, uint64_t* out_size);

static_assert(sizeof(qnn_quantization) == 40 && sizeof(qnn_tensor_v1) == 112 && offsetof(qnn_tensor_v1, buffer) == 96 && sizeof(qnn_tensor) == 144, "tensor");
static_assert(sizeof(qnn_op) == 80 && sizeof(qnn_config) == 16 && sizeof(qnn_device_soc) == 24 && sizeof(qnn_event) == 24, "op and configurations");
static_assert(offsetof(qnn_interface, table) == 40 && offsetof(qnn_system_interface, table) == 32, "tables");
static_assert(sizeof(qnn_graph_info) == 88 && sizeof(qnn_binary_info) == 144 && offsetof(qnn_binary_info, u.v1.graphs) == 128 && offsetof(qnn_binary_info, u.v3.graphs) == 104, "binaries");

#endif
