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

static const char magic[8] = {'S', 'N', 'N', 'C', 'A', 'C', 'H', '1'};

typedef struct {
  char magic[8];
  uint64_t fingerprint, checksum, bytes; /* checksum: of all that follows the header; bytes: of the whole file */
  uint64_t count;
} Header;

typedef struct {
  uint32_t step, tag;
  uint64_t bytes, offset;
} Entry;

/* --- hashing ------------------------------------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t length) {
  const uint8_t *bytes = data;
  uint64_t word;
  hash = mix(hash, length);
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
  return hash_model(hash, compilation->model);
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

static bool verify(const ANeuralNetworksCompilation *compilation, const uint8_t *map, size_t size) {
  Header header;
  if (size < sizeof(header)) return false;
  memcpy(&header, map, sizeof(header));
  if (memcmp(header.magic, magic, sizeof(magic)) != 0 || header.bytes != size) return false;
  if (header.fingerprint != fingerprint(compilation)) return false;
  if (header.count > (size - sizeof(header)) / sizeof(Entry)) return false;
  if (header.checksum != hash_bytes(0, map + sizeof(header), size - sizeof(header))) return false;
  for (uint64_t i = 0; i < header.count; i++) {
    Entry entry;
    memcpy(&entry, map + sizeof(header) + i * sizeof(entry), sizeof(entry));
    if (entry.bytes > size || entry.offset > size - entry.bytes || entry.offset % SNN_ALIGNMENT != 0) return false;
  }
  return true;
}

static bool adopt(ANeuralNetworksCompilation *compilation, uint8_t *map) {
  Header header;
  memcpy(&header, map, sizeof(header));
  for (uint64_t i = 0; i < header.count; i++) {
    Entry entry;
    memcpy(&entry, map + sizeof(header) + i * sizeof(entry), sizeof(entry));
    if (snn_packed_add(&compilation->shared, entry.step, entry.tag, (size_t)entry.bytes, map + entry.offset) == NULL) return false;
  }
  return true;
}

void snn_cache_load(ANeuralNetworksCompilation *compilation) {
  char *name = file_name(compilation, false);
  int fd = name != NULL ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  struct stat status;
  if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size > 0 && (uint64_t)status.st_size <= SIZE_MAX) {
    size_t size = (size_t)status.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map != MAP_FAILED && verify(compilation, map, size) && adopt(compilation, map)) {
      compilation->cache_map = map;
      compilation->cache_map_bytes = size;
      snn_log("compilation cache: %s is used", name);
    } else {
      snn_packed_clear(&compilation->shared);
      if (map != MAP_FAILED) munmap(map, size);
      snn_log("compilation cache: %s does not fit and is made anew", name);
    }
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

/* The whole file in memory: it is the size of the packed constants, and written once. */
static uint8_t *compose(const ANeuralNetworksCompilation *compilation, size_t *size) {
  Header header = {.fingerprint = fingerprint(compilation)};
  memcpy(header.magic, magic, sizeof(magic));
  for (const SnnPacked *packed = compilation->shared.first; packed != NULL; packed = packed->next) header.count++;
  size_t at = snn_align(sizeof(header) + (size_t)header.count * sizeof(Entry));
  for (const SnnPacked *packed = compilation->shared.first; packed != NULL; packed = packed->next) {
    if (__builtin_add_overflow(at, snn_align(packed->bytes), &at)) return NULL;
  }
  uint8_t *file = snn_allocate(1, at);
  if (file == NULL) return NULL;
  *size = at;
  header.bytes = at;
  uint8_t *entries = file + sizeof(header);
  at = snn_align(sizeof(header) + (size_t)header.count * sizeof(Entry));
  for (const SnnPacked *packed = compilation->shared.first; packed != NULL; packed = packed->next) {
    Entry entry = {packed->step, packed->tag, packed->bytes, at};
    memcpy(entries, &entry, sizeof(entry));
    entries += sizeof(entry);
    memcpy(file + at, packed->data, packed->bytes);
    at += snn_align(packed->bytes);
  }
  header.checksum = hash_bytes(0, file + sizeof(header), *size - sizeof(header));
  memcpy(file, &header, sizeof(header));
  return file;
}

void snn_cache_store(ANeuralNetworksCompilation *compilation) {
  if (compilation->cache_map != NULL) return; /* it is what we would write */
  size_t size = 0;
  char *name = file_name(compilation, false), *partial = file_name(compilation, true);
  uint8_t *file = name != NULL && partial != NULL ? compose(compilation, &size) : NULL;
  int fd = file != NULL ? open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
  bool ok = fd >= 0 && write_all(fd, file, size);
  if (fd >= 0) {
    ok &= close(fd) == 0;
    ok = ok && rename(partial, name) == 0;
    if (!ok) unlink(partial);
  }
  snn_log("compilation cache: %s %s", name != NULL ? name : "?", ok ? "is written" : "cannot be written");
  free(file);
  free(partial);
  free(name);
}
