// A libcdsprpc of this machine: shared memory is that of memfd_create. RPC_FAULT chooses how it fails: 1 no memory, 2 a crash, 3 no answer; without
// RPC_DESCRIPTOR it lacks rpcmem_to_fd.
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef RPC_FAULT
#define RPC_FAULT 0
#endif

static int descriptor = -1;
static size_t mapped;

__attribute__((visibility("default"))) void* rpcmem_alloc(int heap, unsigned flags, int bytes) {
  if (RPC_FAULT == 2) abort();
  while (RPC_FAULT == 3) pause();
  if (RPC_FAULT == 1 || heap != 25 || flags != 1) return NULL;
  descriptor = memfd_create("rpcmem", MFD_CLOEXEC);
  mapped = (size_t)bytes;
  if (descriptor < 0 || ftruncate(descriptor, bytes) != 0) return NULL;
  return mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
}

__attribute__((visibility("default"))) void rpcmem_free(void* data) {
  munmap(data, mapped);
  close(descriptor);
}

#ifdef RPC_DESCRIPTOR
__attribute__((visibility("default"))) int rpcmem_to_fd(void* data) { return data == NULL ? -1 : descriptor; }
#endif
