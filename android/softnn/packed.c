/* Constants in the form that kernels like best: packed once per compilation, shared by all of its instances, kept in its cache file. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

SnnPacked *snn_packed_add(SnnShared *shared, uint32_t step, uint32_t tag, size_t bytes, void *mapped) {
  SnnPacked *packed = snn_allocate(1, sizeof(*packed));
  if (packed == NULL) return NULL;
  packed->step = step;
  packed->tag = tag;
  packed->bytes = bytes;
  packed->mapped = mapped != NULL;
  packed->data = mapped != NULL ? mapped : snn_allocate_aligned(bytes);
  if (packed->data == NULL) {
    free(packed);
    return NULL;
  }
  if (mapped == NULL) memset(packed->data, 0, bytes);
  atomic_init(&packed->ready, mapped != NULL);
  packed->next = shared->first;
  shared->first = packed;
  return packed;
}

void *snn_packed(SnnNode *node, uint32_t tag, size_t bytes, bool *fresh) {
  SnnShared *shared = node->context->instance->shared;
  uint32_t id = node->context->step->id;
  SnnPacked *found = NULL;
  snn_lock(&shared->lock);
  for (SnnPacked *packed = shared->first; packed != NULL && found == NULL; packed = packed->next) {
    /* What another instance is still filling cannot be used: then this one makes its own. */
    bool fits = packed->step == id && packed->tag == tag && packed->bytes == bytes;
    if (fits && atomic_load_explicit(&packed->ready, memory_order_acquire)) found = packed;
  }
  *fresh = found == NULL;
  if (found == NULL) found = snn_packed_add(shared, id, tag, bytes, NULL);
  if (found != NULL && *fresh) found->owner = node->context->instance;
  snn_unlock(&shared->lock);
  return found != NULL ? found->data : NULL;
}

void snn_packed_finish(SnnShared *shared, const SnnInstance *owner, uint32_t step) {
  snn_lock(&shared->lock);
  for (SnnPacked *packed = shared->first; packed != NULL; packed = packed->next) {
    if (packed->step == step && packed->owner == owner) atomic_store_explicit(&packed->ready, true, memory_order_release);
  }
  snn_unlock(&shared->lock);
}

void snn_packed_clear(SnnShared *shared) {
  while (shared->first != NULL) {
    SnnPacked *next = shared->first->next;
    if (!shared->first->mapped) free(shared->first->data);
    free(shared->first);
    shared->first = next;
  }
}
