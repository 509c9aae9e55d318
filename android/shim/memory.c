#include "memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* PAGE_BYTES: the largest page size that Android uses. */
enum { CHUNK_BYTES = 1 << 20, PAGE_BYTES = 1 << 14, REGION_ALIGN = 64, FIRST_PIECES = 8, MFD_CLOEXEC_FLAG = 1 };

#ifndef SYS_memfd_create
#if defined(__x86_64__)
#define SYS_memfd_create 319
#elif defined(__i386__)
#define SYS_memfd_create 356
#elif defined(__aarch64__)
#define SYS_memfd_create 279
#elif defined(__arm__)
#define SYS_memfd_create 385
#else
#error "the number of memfd_create on this machine is not known"
#endif
#endif

/* A piece of a chunk. Pieces of one chunk are kept in the order of their offsets and cover it without gaps. */
typedef struct {
  size_t offset, length;
  bool used;
} Piece;

struct NtkChunk {
  NtkChunk *next;
  uint8_t *map;
  size_t size;
  uint64_t serial;
  ANeuralNetworksMemory *memory[NTK_MAX_LIBRARIES];
  Piece *pieces;
  size_t piece_count, piece_capacity;
};

/* Drivers live in other processes: SELinux lets them map ashmem, which an application gets through libandroid.so. */
static int android_shared_memory(size_t bytes) {
#ifdef NTK_STATIC_LIBRARY
  (void)bytes;
  return -1;
#else
  static int (*create)(const char *, size_t);
  static bool looked;
  if (!looked) {
    looked = true;
    if (dlsym(RTLD_DEFAULT, "__system_property_get") == NULL) return -1;
    void *library = dlopen("libandroid.so", RTLD_NOW | RTLD_LOCAL);
    void *symbol = library != NULL ? dlsym(library, "ASharedMemory_create") : NULL;
    memcpy(&create, &symbol, sizeof symbol);
  }
  return create != NULL ? create("nnapi-toolkit", bytes) : -1;
#endif
}

int ntk_shared_memory(size_t bytes) {
  int fd = android_shared_memory(bytes);
  if (fd >= 0) return fd;
  fd = (int)syscall(SYS_memfd_create, "nnapi-toolkit", MFD_CLOEXEC_FLAG);
  if (fd < 0) return -1;
  if (ftruncate(fd, (off_t)bytes) != 0) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

static void free_chunk(NtkArena *arena, NtkChunk *chunk) {
  for (uint32_t i = 0; i < arena->library_count; i++)
    if (chunk->memory[i] != NULL) arena->libraries[i].Memory_free(chunk->memory[i]);
  if (chunk->map != NULL) munmap(chunk->map, chunk->size);
  arena->bytes -= chunk->size;
  free(chunk->pieces);
  free(chunk);
}

/* Maps shared memory and gives it to each NNAPI. Where the system has none for us, plain memory still does: NNAPI then gets pointers. */
static bool map_chunk(NtkArena *arena, NtkChunk *chunk, size_t size) {
  int fd = -1;
#ifndef NTK_STATIC_LIBRARY /* else the run time is in this process, and would only map the same memory once more */
  fd = ntk_shared_memory(size);
#endif
  void *map = fd >= 0 ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (map == MAP_FAILED) {
    map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  } else {
    for (uint32_t i = 0; i < arena->library_count; i++) {
      const NtkNnapi *nnapi = &arena->libraries[i];
      bool given = nnapi->library != NULL && nnapi->Memory_createFromFd(size, PROT_READ | PROT_WRITE, fd, 0, &chunk->memory[i]) == 0;
      if (!given) chunk->memory[i] = NULL;
    }
  }
  if (fd >= 0) close(fd);
  if (map == MAP_FAILED) return false;
  chunk->map = map;
  chunk->size = size;
  return true;
}

static NtkChunk *new_chunk(NtkArena *arena, size_t bytes) {
  size_t size = bytes < CHUNK_BYTES ? CHUNK_BYTES : bytes;
  if (size > SIZE_MAX / 2) {
    errno = ENOMEM;
    return NULL;
  }
  size = (size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
  NtkChunk *chunk = calloc(1, sizeof *chunk);
  Piece *pieces = calloc(FIRST_PIECES, sizeof *pieces);
  if (chunk == NULL || pieces == NULL || !map_chunk(arena, chunk, size)) {
    free(pieces);
    free(chunk);
    errno = ENOMEM;
    return NULL;
  }
  pieces[0] = (Piece){0, size, false};
  chunk->serial = ++arena->next_serial;
  chunk->pieces = pieces;
  chunk->piece_capacity = FIRST_PIECES;
  chunk->piece_count = 1;
  chunk->next = arena->first;
  arena->first = chunk;
  arena->bytes += size;
  return chunk;
}

/* Takes `bytes` of the first free piece that is long enough. */
static bool take_piece(NtkChunk *chunk, size_t bytes, NtkRegion *region) {
  for (size_t i = 0; i < chunk->piece_count; i++) {
    Piece *piece = &chunk->pieces[i];
    if (piece->used || piece->length < bytes) continue;
    if (piece->length > bytes) {
      if (chunk->piece_count == chunk->piece_capacity) {
        size_t capacity = chunk->piece_capacity * 2;
        Piece *grown = realloc(chunk->pieces, capacity * sizeof *grown);
        if (grown == NULL) return false;
        chunk->pieces = grown;
        chunk->piece_capacity = capacity;
        piece = &grown[i];
      }
      memmove(piece + 2, piece + 1, (chunk->piece_count - i - 1) * sizeof *piece);
      piece[1] = (Piece){piece->offset + bytes, piece->length - bytes, false};
      piece->length = bytes;
      chunk->piece_count++;
    }
    piece->used = true;
    *region = (NtkRegion){chunk, piece->offset, piece->length};
    return true;
  }
  return false;
}

bool ntk_region_reserve(NtkArena *arena, NtkRegion *region, size_t bytes) {
  if (bytes == 0) bytes = 1;
  if (region->chunk != NULL && region->capacity >= bytes) return true;
  if (bytes > SIZE_MAX - REGION_ALIGN) {
    errno = ENOMEM;
    return false;
  }
  bytes = (bytes + REGION_ALIGN - 1) / REGION_ALIGN * REGION_ALIGN;
  ntk_region_release(arena, region);
  for (NtkChunk *chunk = arena->first; chunk != NULL; chunk = chunk->next)
    if (take_piece(chunk, bytes, region)) return true;
  NtkChunk *chunk = new_chunk(arena, bytes);
  return chunk != NULL && take_piece(chunk, bytes, region);
}

static void drop_chunk(NtkArena *arena, NtkChunk *chunk) {
  for (NtkChunk **link = &arena->first; *link != NULL; link = &(*link)->next) {
    if (*link != chunk) continue;
    if (arena->dropping != NULL) arena->dropping(arena->context);
    *link = chunk->next;
    free_chunk(arena, chunk);
    return;
  }
}

void ntk_region_release(NtkArena *arena, NtkRegion *region) {
  NtkChunk *chunk = region->chunk;
  size_t offset = region->offset;
  *region = (NtkRegion){0};
  if (chunk == NULL) return;
  size_t i = 0;
  while (i < chunk->piece_count && chunk->pieces[i].offset != offset) i++;
  if (i == chunk->piece_count) return;
  chunk->pieces[i].used = false;
  if (i > 0 && !chunk->pieces[i - 1].used) i--;
  while (i + 1 < chunk->piece_count && !chunk->pieces[i].used && !chunk->pieces[i + 1].used) {
    chunk->pieces[i].length += chunk->pieces[i + 1].length;
    memmove(&chunk->pieces[i + 1], &chunk->pieces[i + 2], (chunk->piece_count - i - 2) * sizeof(Piece));
    chunk->piece_count--;
  }
  if (chunk->piece_count == 1 && !chunk->pieces[0].used) drop_chunk(arena, chunk);
}

uint8_t *ntk_region_data(const NtkRegion *region) { return region->chunk->map + region->offset; }
ANeuralNetworksMemory *ntk_region_memory(const NtkRegion *region, const NtkNnapi *nnapi) { return region->chunk->memory[nnapi->number]; }
uint64_t ntk_region_serial(const NtkRegion *region) { return region->chunk->serial; }

void ntk_arena_free(NtkArena *arena) {
  while (arena->first != NULL) {
    NtkChunk *next = arena->first->next;
    free_chunk(arena, arena->first);
    arena->first = next;
  }
}
