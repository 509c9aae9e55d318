/* Constants in the form that kernels like best: packed once for all compilations of a model, shared by all their instances, kept in the
 * cache file.
 *
 * They lie close together in mappings of our own, not in the heap: there are hundreds of them, of all sizes, and they go all at once.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAPPING_BYTES = 1 << 20, PAGE_BYTES = 1 << 14 };

typedef struct SnnMapping {
  void *data;
  size_t bytes; /* 0: from the heap */
  struct SnnMapping *next;
} SnnMapping;

static bool add_mapping(SnnPackedSet *set, void *data, size_t bytes) {
  SnnMapping *mapping = snn_allocate(1, sizeof(*mapping));
  if (mapping == NULL) return false;
  *mapping = (SnnMapping){data, bytes, set->mappings};
  set->mappings = mapping;
  return true;
}

#ifdef SNN_BLOCKS_APART
static void *take(SnnPackedSet *set, size_t bytes, const ANeuralNetworksModel *model) {
  (void)model;
  void *block = snn_allocate_aligned(bytes);
  if (block == NULL || !add_mapping(set, block, 0)) return free(block), NULL;
  return memset(block, 0, bytes);
}
#else
/* What a model's constants take at least once they are packed: most are, and panels make them no smaller. */
static size_t expected(const ANeuralNetworksModel *model) {
  size_t bytes = 0;
  for (uint32_t i = 0; i < model->n_operands; i++) {
    if (model->operands[i].t.lifetime == SNN_CONSTANT) bytes += model->operands[i].t.length;
  }
  return bytes / 4 * 3;
}

/* All pages of a large block at once: one by one, as they are written to, takes longer than packing. Where the system does not know the advice
 * (before Linux 5.14), pages come as they always do. */
static void *touch(void *block, size_t bytes) {
  enum { MANY = 32 << 10, PAGE = 4096, POPULATE_WRITE = 23 };
  if (bytes >= MANY) {
    snn_advise(block, bytes, SNN_HUGE_PAGE, SNN_ADVISE_HUGE);
    snn_advise(block, bytes, PAGE, POPULATE_WRITE);
  }
  return block;
}

/* Whole pages; NULL where there is no room for them. */
static void *map_pages(size_t *bytes) {
  if (*bytes > PTRDIFF_MAX - PAGE_BYTES) return NULL;
  *bytes = (*bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  void *map = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return map == MAP_FAILED ? NULL : map;
}

/* Zeroed. The first mapping is large enough for all, in huge pages as far as they will surely be filled. */
static void *take(SnnPackedSet *set, size_t bytes, const ANeuralNetworksModel *model) {
  if (bytes > set->left) {
    size_t all = set->first == NULL ? expected(model) : 0, least = bytes < MAPPING_BYTES ? MAPPING_BYTES : bytes;
    size_t wanted = least < all ? all : least;
    void *map = map_pages(&wanted);
    if (map == NULL && all > 0) all = 0, wanted = least, map = map_pages(&wanted);
    if (map == NULL) return NULL;
    if (!add_mapping(set, map, wanted)) return munmap(map, wanted), NULL;
    snn_advise(map, all, SNN_HUGE_PAGE, SNN_ADVISE_HUGE);
    if (wanted - bytes <= set->left) return touch(map, bytes); /* the older one has more room for the next */
    set->next = map;
    set->left = wanted;
  }
  void *block = set->next;
  set->next += bytes;
  set->left -= bytes;
  return touch(block, bytes);
}
#endif

static SnnPacked *find(const SnnPackedSet *set, uint32_t step, uint32_t tag, size_t bytes) {
  for (SnnPacked *packed = set->first; packed != NULL; packed = packed->next) {
    /* What another instance is still filling cannot be used: then this one makes its own. */
    bool fits = packed->step == step && packed->tag == tag && packed->bytes == bytes;
    if (fits && atomic_load_explicit(&packed->ready, memory_order_acquire)) return packed;
  }
  return NULL;
}

static SnnPacked *add(SnnPackedSet *set, uint32_t step, uint32_t tag, size_t bytes, void *mapped, const ANeuralNetworksModel *model) {
  SnnPacked *packed = snn_allocate(1, sizeof(*packed));
  if (packed == NULL) return NULL;
  *packed = (SnnPacked){.step = step, .tag = tag, .bytes = bytes, .data = mapped};
  if (mapped == NULL) packed->data = take(set, snn_align(bytes), model);
  if (packed->data == NULL) return free(packed), NULL;
  atomic_init(&packed->ready, mapped != NULL);
  packed->next = set->first;
  set->first = packed;
  return packed;
}

void *snn_packed(SnnNode *node, uint32_t tag, size_t bytes, bool *fresh) {
  SnnPackedSet *set = node->context->instance->shared->packed;
  uint32_t id = snn_step(node)->id;
  snn_lock(&set->lock);
  SnnPacked *found = find(set, id, tag, bytes);
  *fresh = found == NULL;
  if (found == NULL) found = add(set, id, tag, bytes, NULL, node->context->model);
  if (found != NULL && *fresh) found->owner = node->context->instance;
  snn_unlock(&set->lock);
  return found != NULL ? found->data : NULL;
}

bool snn_packed_finish(SnnPackedSet *set, const SnnInstance *owner, uint32_t step) {
  bool any = false;
  snn_lock(&set->lock);
  for (SnnPacked *packed = set->first; packed != NULL; packed = packed->next) {
    if (packed->step != step || packed->owner != owner) continue;
    any |= !atomic_exchange_explicit(&packed->ready, true, memory_order_release);
  }
  snn_unlock(&set->lock);
  return any;
}

bool snn_packed_begin(SnnPackedSet *set, void *map, size_t bytes) {
  snn_lock(&set->lock);
  if (add_mapping(set, map, bytes)) return true;
  snn_unlock(&set->lock);
  return false;
}

void snn_packed_add_mapped(SnnPackedSet *set, uint32_t step, uint32_t tag, size_t bytes, void *data) {
  SnnPacked *packed = find(set, step, tag, bytes);
  if (packed == NULL) packed = add(set, step, tag, bytes, data, NULL);
  if (packed != NULL) packed->stored = true; /* else there is no memory for it, and it is packed again */
}

void snn_packed_end(SnnPackedSet *set) { snn_unlock(&set->lock); }

bool snn_packed_all_ready(const SnnPackedSet *set) {
  for (const SnnPacked *packed = set->first; packed != NULL; packed = packed->next) {
    if (!atomic_load_explicit(&packed->ready, memory_order_acquire)) return false;
  }
  return true;
}

void snn_packed_retain(SnnPackedSet *set) {
  snn_lock(&set->lock);
  set->users++;
  snn_unlock(&set->lock);
}

static void clear(SnnPackedSet *set) {
  for (SnnPacked *next, *packed = set->first; packed != NULL; packed = next) {
    next = packed->next;
    free(packed);
  }
  for (SnnMapping *next, *mapping = set->mappings; mapping != NULL; mapping = next) {
    next = mapping->next;
    if (mapping->bytes > 0) munmap(mapping->data, mapping->bytes);
    else free(mapping->data);
    free(mapping);
  }
  set->first = NULL;
  set->mappings = NULL;
  set->next = NULL;
  set->left = 0;
}

void snn_packed_release(SnnPackedSet *set) {
  snn_lock(&set->lock);
  if (--set->users == 0) clear(set);
  snn_unlock(&set->lock);
}
