/* A client of the QNN C interface that knows nothing of lutra: it loads the library that it is given, builds two graphs, checks what they compute, runs them from several
 * threads, saves the context binary, frees everything, loads the binary into a new backend and runs it again. The same program passes on libQnnHost.so and on Qualcomm's
 * libQnnHtp.so.
 *
 *   client LIBRARY [SOC]      without LIBRARY: the one that LUTRA_QNN_LIBRARY names; LUTRA_QNN_OPTIONAL=1 skips (exit 77) when that is not set */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "model.h"

enum { GRAPHS = 2, THREADS = 4, ROUNDS = 5, SKIPPED = 77, SM8650 = 57 };

typedef struct {
  qnn_handle log, backend, device;
  uint32_t soc;
} session;

/* One graph of one thread's work: inputs of its own, and what they gave when nothing ran beside. */
typedef struct {
  const model* m;
  qnn_handle graph;
  uint8_t* x;
  uint16_t *wanted, *y;
} job;

static void on_log(const char* format, uint32_t level, uint64_t time, va_list arguments) {
  (void)level, (void)time;
  if (getenv("CLIENT_LOG") == NULL) return;
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
}

static void session_open(session* s) {
  CHECK(CALL(qnn_log_create_fn, QNN_LOG_CREATE)(on_log, 1, &s->log));
  CHECK(CALL(qnn_backend_create_fn, QNN_BACKEND_CREATE)(s->log, NULL, &s->backend));
  const qnn_device_soc custom = {.option = 0, .reserved = s->soc, .soc = s->soc};
  const qnn_config config = {.option = 0, .value = &custom};
  const qnn_config* list[] = {&config, NULL};
  CHECK(CALL(qnn_device_create_fn, QNN_DEVICE_CREATE)(s->log, list, &s->device));
}

static void session_close(session* s) {
  CHECK(CALL(qnn_free_fn, QNN_DEVICE_FREE)(s->device));
  CHECK(CALL(qnn_free_fn, QNN_BACKEND_FREE)(s->backend));
  CHECK(CALL(qnn_free_fn, QNN_LOG_FREE)(s->log));
}

static void check_library(const session* s) {
  const char* build = NULL;
  CHECK(CALL(qnn_text_fn, QNN_BUILD_ID)(&build));
  const qnn_interface* library = library_interface();
  printf("%s, core %u.%u, build %s\n", library->name, library->core.major, library->core.minor, build);
  if ((CALL(qnn_property_fn, QNN_PROPERTY)(1501) & 0xffff) != 0) fail("the library has no devices");
  if ((CALL(qnn_property_fn, QNN_PROPERTY)(202) & 0xffff) != 0) fail("the library has no context binaries");
  const qnn_op unknown = {.version = 1, .name = "node", .package = "qti.aisw", .type = "NoSuchOp"};
  if (CALL(qnn_validate_fn, QNN_VALIDATE)(s->backend, unknown) == 0) fail("an op that does not exist passes validation");
}

static void check_profile(const session* s, const job* j) {
  qnn_handle profile = NULL;
  CHECK(CALL(qnn_profile_create_fn, QNN_PROFILE_CREATE)(s->backend, 1, &profile));
  model_execute(j->m, j->graph, j->x, j->y, profile);
  const uint64_t* ids = NULL;
  uint32_t count = 0;
  uint64_t microseconds = 0;
  CHECK(CALL(qnn_profile_events_fn, QNN_PROFILE_EVENTS)(profile, &ids, &count));
  for (uint32_t i = 0; i < count; ++i) {
    qnn_event event;
    CHECK(CALL(qnn_profile_data_fn, QNN_PROFILE_DATA)(ids[i], &event));
    if (event.type == QNN_EVENT_EXECUTE && event.unit == 1) microseconds = event.value;
  }
  if (microseconds == 0) fail("the profile has no time of the execution among its %u events", count);
  CHECK(CALL(qnn_free_fn, QNN_PROFILE_FREE)(profile));
}

static void* run_job(void* argument) {
  job* j = argument;
  for (int round = 0; round < ROUNDS; ++round) {
    memset(j->y, 0, model_y_bytes(j->m));
    model_execute(j->m, j->graph, j->x, j->y, NULL);
    if (memcmp(j->y, j->wanted, model_y_bytes(j->m)) != 0) fail("%s: another result among several threads", j->m->name);
  }
  return NULL;
}

/* All jobs at once, each against what it gave alone. */
static void run_together(job* jobs) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; ++i) {
    if (pthread_create(&threads[i], NULL, run_job, &jobs[i]) != 0) fail("cannot start a thread");
  }
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
}

static void jobs_make(job* jobs, const model* models) {
  for (uint32_t i = 0; i < THREADS; ++i) {
    const model* m = &models[i % GRAPHS];
    jobs[i] = (job){.m = m, .x = malloc(model_x_bytes(m)), .wanted = malloc(model_y_bytes(m)), .y = malloc(model_y_bytes(m))};
    if (jobs[i].x == NULL || jobs[i].wanted == NULL || jobs[i].y == NULL) fail("no memory");
    model_fill(m, 100 + i, jobs[i].x);
  }
}

static void jobs_free(job* jobs) {
  for (int i = 0; i < THREADS; ++i) {
    free(jobs[i].x);
    free(jobs[i].wanted);
    free(jobs[i].y);
  }
}

typedef struct {
  void* bytes;
  uint64_t size;
} binary;

static binary save(qnn_handle context) {
  binary b = {NULL, 0};
  uint64_t capacity = 0;
  CHECK(CALL(qnn_binary_size_fn, QNN_BINARY_SIZE)(context, &capacity));
  b.bytes = malloc(capacity);
  if (b.bytes == NULL) fail("no memory for a binary of %llu bytes", (unsigned long long)capacity);
  CHECK(CALL(qnn_binary_fn, QNN_BINARY)(context, b.bytes, capacity, &b.size));
  if (b.size == 0 || b.size > capacity) fail("the binary has %llu bytes but needs %llu at most", (unsigned long long)b.size, (unsigned long long)capacity);
  return b;
}

static uint32_t find_id(const qnn_tensor* tensors, uint32_t count, const char* name) {
  for (uint32_t i = 0; i < count; ++i) {
    if (strcmp(tensors[i].u.v1.name, name) == 0) return tensors[i].u.v1.id;
  }
  fail("the binary does not describe tensor '%s'", name);
}

/* Takes the ids of the graphs' tensors out of the binary, when there is a system interface; else those from building them stay. */
static void read_ids(const binary* b, model* models) {
  const qnn_system_interface* system = library_system();
  if (system == NULL) {
    printf("no libQnnSystem.so beside the library: ids as they were given\n");
    return;
  }
  qnn_handle handle = NULL;
  const qnn_binary_info* info = NULL;
  uint64_t info_size = 0;
  CHECK(((qnn_system_create_fn)system->table[QNN_SYSTEM_CREATE])(&handle));
  CHECK(((qnn_system_info_fn)system->table[QNN_SYSTEM_INFO])(handle, b->bytes, b->size, &info, &info_size));
  if (info == NULL || info->version < 1 || info->version > 3) fail("the description of the binary has an unknown version");
  const uint32_t count = info->version == 3 ? info->u.v3.graph_count : info->u.v1.graph_count;
  const qnn_graph_info* graphs = info->version == 3 ? info->u.v3.graphs : info->u.v1.graphs;
  if (count != GRAPHS) fail("the binary describes %u graphs, not %d", count, GRAPHS);
  for (uint32_t i = 0; i < GRAPHS; ++i) {
    const qnn_graph_info_v1* found = NULL;
    for (uint32_t g = 0; g < count; ++g) {
      if (strcmp(graphs[g].u.v1.name, models[i].name) == 0) found = &graphs[g].u.v1;
    }
    if (found == NULL || found->input_count != 1 || found->output_count != 1) fail("the binary does not describe graph '%s' with one input and one output", models[i].name);
    const uint32_t x = find_id(found->inputs, 1, "x"), y = find_id(found->outputs, 1, "y");
    if (x != models[i].x_id || y != models[i].y_id) fail("the binary calls the tensors of '%s' otherwise than the library did", models[i].name);
    models[i].x_id = x;
    models[i].y_id = y;
  }
  CHECK(((qnn_free_fn)system->table[QNN_SYSTEM_FREE])(handle));
  printf("ids of %u graphs from %s %u.%u\n", count, system->name, system->version.major, system->version.minor);
}

static binary build_and_run(const session* s, model* models, job* jobs) {
  qnn_handle context = NULL, graphs[GRAPHS];
  CHECK(CALL(qnn_context_create_fn, QNN_CONTEXT_CREATE)(s->backend, s->device, NULL, &context));
  for (int i = 0; i < GRAPHS; ++i) graphs[i] = model_build(&models[i], s->backend, context);
  for (int i = 0; i < THREADS; ++i) {
    jobs[i].graph = graphs[i % GRAPHS];
    model_execute(jobs[i].m, jobs[i].graph, jobs[i].x, jobs[i].wanted, NULL);
    model_check(jobs[i].m, jobs[i].x, jobs[i].wanted);
  }
  printf("%d graphs computed what they have to\n", GRAPHS);
  check_profile(s, &jobs[0]);
  run_together(jobs);
  const binary b = save(context);
  CHECK(CALL(qnn_context_free_fn, QNN_CONTEXT_FREE)(context, NULL));
  return b;
}

static void load_and_run(const session* s, const binary* b, job* jobs) {
  qnn_handle context = NULL;
  CHECK(CALL(qnn_from_binary_fn, QNN_FROM_BINARY)(s->backend, s->device, NULL, b->bytes, b->size, &context, NULL));
  for (int i = 0; i < THREADS; ++i) {
    jobs[i].graph = NULL;
    CHECK(CALL(qnn_retrieve_fn, QNN_RETRIEVE)(context, jobs[i].m->name, &jobs[i].graph));
    run_job(&jobs[i]);
  }
  run_together(jobs);
  CHECK(CALL(qnn_context_free_fn, QNN_CONTEXT_FREE)(context, NULL));
  printf("the same bytes from a binary of %llu bytes, %d threads\n", (unsigned long long)b->size, THREADS);
}

int main(int count, char** arguments) {
  const char* path = count > 1 ? arguments[1] : getenv("LUTRA_QNN_LIBRARY");
  if (path == NULL && getenv("LUTRA_QNN_OPTIONAL") != NULL) return SKIPPED;
  if (path == NULL) fail("give the path of a QNN library, or set LUTRA_QNN_LIBRARY (scripts/fetch-qnn brings one); LUTRA_QNN_OPTIONAL=1 skips");
  library_open(path);
  model models[GRAPHS] = {model_make("first", 16, 64, 48, 1), model_make("second", 5, 96, 33, 2)};
  job jobs[THREADS];
  jobs_make(jobs, models);
  session s = {.soc = count > 2 ? (uint32_t)strtoul(arguments[2], NULL, 10) : SM8650};
  session_open(&s);
  check_library(&s);
  binary b = build_and_run(&s, models, jobs);
  session_close(&s);
  read_ids(&b, models);
  session_open(&s);
  load_and_run(&s, &b, jobs);
  session_close(&s);
  free(b.bytes);
  jobs_free(jobs);
  for (int i = 0; i < GRAPHS; ++i) model_free(&models[i]);
  return 0;
}
