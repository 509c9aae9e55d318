/* Memory that both we and NNAPI's drivers see: chunks of shared memory, and regions handed out of them.
 *
 * Inputs, outputs and kept tensors all lie in regions of one arena, so that an execution touches few chunks, and a tensor that one
 * program writes is the next one's input without a copy. A region that is large enough is used again; nothing is allocated then.
 */
#ifndef NTK_MEMORY_H
#define NTK_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nnapi_api.h"
#include "protocol.h"

typedef struct NtkChunk NtkChunk;

typedef struct {
  NtkChunk *chunk; /* NULL = no memory */
  size_t offset, capacity;
} NtkRegion;

typedef struct {
  const NtkNnapi *libraries; /* each new chunk is made known to those that are open */
  uint32_t library_count;    /* at most NTK_MAX_LIBRARIES */
  NtkChunk *first;
  uint64_t next_serial;
  uint64_t bytes; /* of all chunks */
  void (*dropping)(void *context); /* called before a chunk is given back: nothing may refer to its memory any more */
  void *context;
} NtkArena;

/* Makes `region` at least `bytes` long; its old content is lost where it grows. False: out of memory (errno is set). */
bool ntk_region_reserve(NtkArena *arena, NtkRegion *region, size_t bytes);
void ntk_region_release(NtkArena *arena, NtkRegion *region);
uint8_t *ntk_region_data(const NtkRegion *region);
/* The library's memory object that the region lies in; NULL where there is none (it refused the chunk, or was not open yet): use
 * ntk_region_data then. */
ANeuralNetworksMemory *ntk_region_memory(const NtkRegion *region, const NtkNnapi *nnapi);
/* Different for every chunk that ever was. */
uint64_t ntk_region_serial(const NtkRegion *region);

void ntk_arena_free(NtkArena *arena);

/* A file descriptor of `bytes` of shared memory (ashmem on Android, memfd elsewhere), or -1 with errno. */
int ntk_shared_memory(size_t bytes);

#endif
