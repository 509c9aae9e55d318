/* The compilation cache: packed constants in one file per token, so that the next compilation maps them instead of packing.
 *
 * A file is believed when its magic, the fingerprint of the model (structure and constants), the build and the checksum fit; else it is
 * made anew. It appears by rename, so a reader never sees half a file.
 */
#include "engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef NTK_BUILD_HASH
#define NTK_BUILD_HASH "unversioned"
#endif

static const char magic[8] = {'S', 'N', 'N', 'C', 'A', 'C', 'H', '2'};

typedef struct {
  char magic[8];
  uint64_t fingerprint, checksum, bytes; /* checksum: of what follows the header; bytes: of the whole file */
  uint64_t count;
} Header;

typedef struct {
  uint32_t step, tag;
  uint64_t bytes, offset;
} Entry;

static const uint8_t filling[SNN_ALIGNMENT]; /* between blocks */

static uint64_t blocks_begin(uint64_t count) { return snn_align(sizeof(Header) + (size_t)count * sizeof(Entry)); }

/* --- hashing ------------------------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

/* Four words at a time, each into a lane of its own: multiplications that do not wait for each other keep up with memory, so that
 * looking at a cache is quicker than packing. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t length) {
  const uint8_t *bytes = data;
  uint64_t word, lanes[4] = {hash, hash + 1, hash + 2, hash + 3};
  hash = mix(hash, length);
  for (; length >= sizeof(lanes); length -= sizeof(lanes), bytes += sizeof(lanes)) {
    uint64_t words[4];
    memcpy(words, bytes, sizeof(words));
    for (int i = 0; i < 4; i++) lanes[i] = mix(lanes[i], words[i]);
  }
  for (int i = 0; i < 4; i++) hash = mix(hash, lanes[i]);
  for (; length >= sizeof(word); length -= sizeof(word), bytes += sizeof(word)) {
    memcpy(&word, bytes, sizeof(word));
    hash = mix(hash, word);
  }
  word = 0;
  if (length > 0) memcpy(&word, bytes, length);
  return mix(hash, word);
}

static uint64_t hash_model(uint64_t hash, const ANeuralNetworksModel *model) {
  for (uint32_t i = 0; i < model->n_operands; i++) {
    const SnnTensor *t = &model->operands[i].t;
    uint32_t scale;
    memcpy(&scale, &t->scale, sizeof(scale));
    hash = mix(hash, (uint64_t)(uint32_t)t->type << 32 | scale);
    hash = mix(hash, (uint64_t)(uint32_t)t->zero_point << 32 | (uint32_t)t->lifetime << 8 | t->rank);
    hash = hash_bytes(hash, t->dims, t->rank * sizeof(t->dims[0]));
    if (t->channel_count > 0) hash = hash_bytes(mix(hash, t->channel_dim), t->channel_scales, t->channel_count * sizeof(float));
    if (t->lifetime == SNN_CONSTANT) hash = hash_bytes(hash, t->data, t->length);
    if (t->lifetime == SNN_SUBGRAPH) hash = hash_model(hash, model->models[t->model]);
  }
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = &model->nodes[i];
    hash = mix(hash, (uint64_t)(uint32_t)node->op->code << 32 | node->n_in);
    hash = hash_bytes(hash, node->operands, ((size_t)node->n_in + node->n_out) * sizeof(node->operands[0]));
  }
  hash = hash_bytes(hash, model->inputs, model->n_inputs * sizeof(model->inputs[0]));
  return hash_bytes(hash, model->outputs, model->n_outputs * sizeof(model->outputs[0]));
}

static uint64_t fingerprint(const ANeuralNetworksCompilation *compilation) {
  uint64_t hash = hash_bytes(sizeof(void *), NTK_BUILD_HASH, sizeof(NTK_BUILD_HASH));
  hash = mix(hash, (uint64_t)compilation->model->relaxed << 8 | (uint64_t)compilation->model->level);
  hash = hash_model(hash, compilation->model);
  snn_model_rest(compilation->model);
  return hash;
}

/* --- file names --------------------------------------------------------------------------------------------------------------- */

/* DIRECTORY/softnn-TOKEN.cache and, for writing, the same with a suffix of this writer's own. NULL when out of memory. */
static char *file_name(const ANeuralNetworksCompilation *compilation, bool partial) {
  size_t size = strlen(compilation->cache_directory) + 2 * sizeof(compilation->token) + 64;
  char *name = malloc(size);
  if (name == NULL) return NULL;
  int at = snprintf(name, size, "%s/softnn-", compilation->cache_directory);
  for (size_t i = 0; i < sizeof(compilation->token); i++) at += snprintf(name + at, size - (size_t)at, "%02x", compilation->token[i]);
  at += snprintf(name + at, size - (size_t)at, ".cache");
  if (partial) snprintf(name + at, size - (size_t)at, ".%d.%llx", (int)getpid(), (unsigned long long)snn_now());
  return name;
}

/* --- loading ------------------------------------------------------------------------------------------------------------------ */

/* Of all that stands in front of the blocks, but for the header, and of each block with the bytes that fill it up. */
static uint64_t checksum_of(const uint8_t *front, uint64_t count, const uint8_t *map, const SnnPacked *packed) {
  uint64_t hash = hash_bytes(0, front + sizeof(Header), (size_t)blocks_begin(count) - sizeof(Header));
  const Entry *entries = (const Entry *)(const void *)(front + sizeof(Header));
  for (uint64_t i = 0; i < count; i++) {
    size_t bytes = (size_t)entries[i].bytes, more = snn_align(bytes) - bytes;
    hash = hash_bytes(hash, map != NULL ? map + entries[i].offset : packed->data, bytes);
    hash = hash_bytes(hash, map != NULL ? map + entries[i].offset + bytes : filling, more);
    if (packed != NULL) packed = packed->next;
  }
  return hash;
}

/* The entries lie one after the other behind the header, then the blocks, each at a multiple of SNN_ALIGNMENT, up to the end. */
static bool verify(const ANeuralNetworksCompilation *compilation, const uint8_t *map, size_t size) {
  Header header;
  if (size < sizeof(header)) return false;
  memcpy(&header, map, sizeof(header));
  if (memcmp(header.magic, magic, sizeof(magic)) != 0 || header.bytes != size) return false;
  if (header.fingerprint != fingerprint(compilation)) return false;
  if (header.count > (size - sizeof(header)) / sizeof(Entry)) return false;
  const Entry *entries = (const Entry *)(const void *)(map + sizeof(header));
  uint64_t at = blocks_begin(header.count);
  for (uint64_t i = 0; i < header.count; i++) {
    if (at > size || entries[i].offset != at || entries[i].bytes > size - at) return false;
    at += snn_align((size_t)entries[i].bytes);
  }
  return at == size && header.checksum == checksum_of(map, header.count, map, NULL);
}

/* The map becomes the packed set's. */
static bool adopt(ANeuralNetworksCompilation *compilation, uint8_t *map, size_t size) {
  Header header;
  memcpy(&header, map, sizeof(header));
  SnnPackedSet *set = compilation->shared.packed;
  if (!snn_packed_begin(set, map, size)) return false;
  for (uint64_t i = 0; i < header.count; i++) {
    Entry entry;
    memcpy(&entry, map + sizeof(header) + i * sizeof(entry), sizeof(entry));
    snn_packed_add_mapped(set, entry.step, entry.tag, (size_t)entry.bytes, map + entry.offset);
  }
  snn_packed_end(set);
  return true;
}

void snn_cache_load(ANeuralNetworksCompilation *compilation) {
  char *name = file_name(compilation, false);
  int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  struct stat status;
  if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0 && (uint64_t)status.st_size <= SIZE_MAX) {
    size_t size = (size_t)status.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    compilation->cached = map != MAP_FAILED && verify(compilation, map, size) && adopt(compilation, map, size);
    if (map != MAP_FAILED && !compilation->cached) munmap(map, size);
    snn_log("compilation cache: %s %s", name, compilation->cached ? "is used" : "does not fit and is made anew");
  }
  if (fd >= 0) close(fd);
  free(name);
}

/* --- storing ------------------------------------------------------------------------------------------------------------------ */

static bool write_all(int fd, const void *data, size_t length) {
  const uint8_t *bytes = data;
  while (length > 0) {
    ssize_t written = write(fd, bytes, length);
    if (written <= 0) return false;
    bytes += written;
    length -= (size_t)written;
  }
  return true;
}

/* What stands in front of the blocks, header and entries; the blocks are written from where they lie. */
static uint8_t *compose(const SnnPacked *first, uint64_t fingerprint, size_t *size) {
  Header header = {.fingerprint = fingerprint};
  memcpy(header.magic, magic, sizeof(magic));
  for (const SnnPacked *packed = first; packed != NULL; packed = packed->next) header.count++;
  *size = (size_t)blocks_begin(header.count);
  uint8_t *front = snn_allocate(1, *size);
  if (front == NULL) return NULL;
  Entry *entry = (Entry *)(void *)(front + sizeof(header));
  header.bytes = *size;
  for (const SnnPacked *packed = first; packed != NULL; packed = packed->next) {
    *entry++ = (Entry){packed->step, packed->tag, packed->bytes, header.bytes};
    header.bytes += snn_align(packed->bytes);
  }
  header.checksum = checksum_of(front, header.count, NULL, first);
  memcpy(front, &header, sizeof(header));
  return front;
}

static bool write_blocks(int fd, const SnnPacked *first) {
  for (const SnnPacked *packed = first; packed != NULL; packed = packed->next) {
    if (!write_all(fd, packed->data, packed->bytes)) return false;
    if (!write_all(fd, filling, snn_align(packed->bytes) - packed->bytes)) return false;
  }
  return true;
}

/* Does a file that was loaded hold everything that is packed? Not when it comes from a machine with other kernels. */
static bool is_complete(const SnnPacked *first) {
  bool complete = true;
  for (const SnnPacked *packed = first; packed != NULL; packed = packed->next) complete &= packed->stored;
  return complete;
}

static bool write_file(const SnnPacked *first, uint64_t fingerprint, const char *name, const char *partial) {
  size_t size = 0;
  uint8_t *front = compose(first, fingerprint, &size);
  int fd = front != NULL ? open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
  bool ok = fd >= 0 && write_all(fd, front, size) && write_blocks(fd, first);
  if (fd >= 0) {
    ok &= close(fd) == 0;
    ok = ok && rename(partial, name) == 0;
    if (!ok) unlink(partial);
  }
  free(front);
  return ok;
}

/* Blocks that another compilation of the model is still packing would be written half done: then this is left to it. */
static bool is_wanted(const ANeuralNetworksCompilation *compilation, SnnPackedSet *set) {
  return !(compilation->cached && is_complete(set->first)) && snn_packed_all_ready(set);
}

void snn_cache_store(ANeuralNetworksCompilation *compilation) {
  SnnPackedSet *set = compilation->shared.packed;
  snn_lock(&set->lock);
  bool wanted = is_wanted(compilation, set);
  snn_unlock(&set->lock);
  if (!wanted) return; /* before the model is looked at once more */
  char *name = file_name(compilation, false), *partial = file_name(compilation, true);
  uint64_t print = fingerprint(compilation);
  snn_lock(&set->lock);
  wanted = is_wanted(compilation, set);
  bool ok = wanted && name != NULL && partial != NULL && write_file(set->first, print, name, partial);
  snn_unlock(&set->lock);
  if (wanted) snn_log("compilation cache: %s %s", name != NULL ? name : "?", ok ? "is written" : "cannot be written");
  free(partial);
  free(name);
}
