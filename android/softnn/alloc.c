/* Memory of our own: checked sizes, alignment, blocks that are kept between uses. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

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
  memset((char *)grown + *capacity * size, 0, ((size_t)wanted - *capacity) * size);
  *array = grown;
  *capacity = (uint32_t)wanted;
  return true;
}

void *snn_allocate_aligned(size_t bytes) {
  void *block = NULL;
  if (posix_memalign(&block, SNN_ALIGNMENT, bytes == 0 ? 1 : bytes) != 0) return NULL;
  return block;
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

size_t snn_align(size_t bytes) {
  size_t mask = SNN_ALIGNMENT - 1;
  return bytes > SIZE_MAX - mask ? SIZE_MAX & ~mask : (bytes + mask) & ~mask; /* what is too large stays too large */
}
