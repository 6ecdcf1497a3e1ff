/* The loaded library and how this program fails. */
#ifndef CLIENT_LIBRARY_H
#define CLIENT_LIBRARY_H

#include <stdint.h>

#include "qnn.h"

/* Calls entry `index` of the table as a function of type `type`. */
#define CALL(type, index) ((type)library_entry(index, #index))
/* Fails with the call and the library's words unless the call returns 0. */
#define CHECK(call) library_check((call), #call)

/* Prints and exits with 1. */
_Noreturn void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

/* Loads a backend library and takes its first provider of major version 2 and minor 27 or later. */
void library_open(const char* path);
const qnn_interface* library_interface(void);
qnn_function library_entry(uint32_t index, const char* name);
void library_check(qnn_status status, const char* call);

/* The system interface of libQnnSystem.so beside the backend library; NULL when there is none. */
const qnn_system_interface* library_system(void);

#endif
