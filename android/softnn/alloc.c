/* Memory of our own: checked sizes, alignment, blocks that are kept between uses. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void *snn_allocate(size_t count, size_t size) {
  /* calloc checks the product; a size of 0 must not look like a failure. */
  return calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

bool snn_grow(void **array, uint32_t *capacity, uint32_t needed, size_t size) {
  if (needed <= *capacity) return true;
  uint64_t wanted = *capacity < 8 ? 8 : (uint64_t)*capacity * 2;
  if (wanted < needed) wanted = needed;
  if (wanted > UINT32_MAX || wanted > SIZE_MAX / size) return false;
  void *grown = realloc(*array, (size_t)wanted * size);
  if (grown == NULL) return false;
  *array = grown;
  *capacity = (uint32_t)wanted;
  return true;
}

void *snn_allocate_aligned(size_t bytes) {
  void *block = NULL;
  if (posix_memalign(&block, SNN_ALIGNMENT, bytes == 0 ? 1 : bytes) != 0) return NULL;
  return block;
}

void snn_advise(void *block, size_t bytes, size_t grain, int advice) {
  uintptr_t first = ((uintptr_t)block + grain - 1) / grain * grain, past = ((uintptr_t)block + bytes) / grain * grain;
  if (first < past) madvise((void *)first, past - first, advice);
}

bool snn_reserve(SnnBuffer *buffer, size_t bytes) {
  if (buffer->data != NULL && bytes <= buffer->capacity) return true;
  void *block = snn_allocate_aligned(bytes);
  if (block == NULL) return false;
  free(buffer->data);
  buffer->data = block;
  buffer->capacity = bytes;
  return true;
}

void snn_release(SnnBuffer *buffer) {
  free(buffer->data);
  buffer->data = NULL;
  buffer->capacity = 0;
}

struct SnnChunk {
  _Alignas(16) struct SnnChunk *older;
  size_t bytes;
};

static bool add_chunk(SnnSlab *slab, size_t bytes) {
  enum { LEAST = 1 << 12, MOST = 1 << 16 };
  size_t wanted = bytes + sizeof(struct SnnChunk);
#ifndef SNN_BLOCKS_APART
  size_t usual = slab->newest == NULL ? LEAST : 2 * slab->newest->bytes;
  if (usual > MOST) usual = MOST;
  if (wanted < usual) wanted = usual;
#endif
  struct SnnChunk *chunk = malloc(wanted);
  if (chunk == NULL) return false;
  *chunk = (struct SnnChunk){slab->newest, wanted};
  slab->newest = chunk;
  slab->next = (uint8_t *)(chunk + 1);
  slab->left = wanted - sizeof(*chunk);
  return true;
}

void *snn_slab_take(SnnSlab *slab, size_t bytes, size_t alignment) {
  if (bytes > PTRDIFF_MAX - SNN_ALIGNMENT - sizeof(struct SnnChunk)) return NULL;
  size_t gap = (0 - (uintptr_t)slab->next) & (alignment - 1);
#ifdef SNN_BLOCKS_APART
  slab->left = 0;
#endif
  if (slab->next == NULL || slab->left < gap || slab->left - gap < bytes) {
    if (!add_chunk(slab, bytes + (alignment > _Alignof(struct SnnChunk) ? alignment - 1 : 0))) return NULL;
    gap = (0 - (uintptr_t)slab->next) & (alignment - 1);
  }
  uint8_t *block = slab->next + gap;
  slab->next = block + bytes;
  slab->left -= gap + bytes;
  return block;
}

void snn_slab_free(SnnSlab *slab) {
  for (struct SnnChunk *older, *chunk = slab->newest; chunk != NULL; chunk = older) {
    older = chunk->older;
    free(chunk);
  }
  *slab = (SnnSlab){0};
}

size_t snn_align(size_t bytes) {
  size_t mask = SNN_ALIGNMENT - 1;
  return bytes > SIZE_MAX - mask ? SIZE_MAX & ~mask : (bytes + mask) & ~mask; /* what is too large stays too large */
}
