#include "library.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const qnn_interface* provider;
static char folder[4096];

_Noreturn void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("client: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

void library_open(const char* path) {
  void* file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (file == NULL) fail("cannot load the library: %s", dlerror());
  const qnn_get_providers get = (qnn_get_providers)dlsym(file, "QnnInterface_getProviders");
  if (get == NULL) fail("'%s' has no QnnInterface_getProviders", path);
  const qnn_interface** list = NULL;
  uint32_t count = 0;
  if (get(&list, &count) != 0 || list == NULL) fail("'%s' lists no providers", path);
  for (uint32_t i = 0; i < count && provider == NULL; ++i) {
    /* Earlier versions order the table differently: nothing of it may be read before this. */
    if (list[i]->core.major == 2 && list[i]->core.minor >= 27) provider = list[i];
  }
  if (provider == NULL) fail("'%s' has no provider of version 2.27 or later", path);
  const char* slash = strrchr(path, '/');
  snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
}

const qnn_interface* library_interface(void) { return provider; }

qnn_function library_entry(uint32_t index, const char* name) {
  if (provider->table[index] == NULL) fail("entry %s of the function table is empty", name);
  return provider->table[index];
}

void library_check(qnn_status status, const char* call) {
  if (status == 0) return;
  const char* text = NULL;
  if (provider->table[QNN_ERROR_MESSAGE] == NULL || ((qnn_error_message_fn)provider->table[QNN_ERROR_MESSAGE])(status, &text) != 0) text = NULL;
  fail("%s: error %u (%s)", call, (unsigned)(status & 0xffff), text == NULL ? "the library has no words for it" : text);
}

const qnn_system_interface* library_system(void) {
  char path[sizeof folder + 32];
  snprintf(path, sizeof path, "%s/libQnnSystem.so", folder);
  void* file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (file == NULL) return NULL;
  const qnn_get_system_providers get = (qnn_get_system_providers)dlsym(file, "QnnSystemInterface_getProviders");
  if (get == NULL) fail("'%s' has no QnnSystemInterface_getProviders", path);
  const qnn_system_interface** list = NULL;
  uint32_t count = 0;
  if (get(&list, &count) != 0 || list == NULL || count == 0 || list[0]->version.major != 1) fail("'%s' has no system provider of major version 1", path);
  return list[0];
}
