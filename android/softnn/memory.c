/* Memory objects: mapped files, and memory from descriptors. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ANeuralNetworksMemory *snn_memory_retain(const ANeuralNetworksMemory *memory) {
  ANeuralNetworksMemory *shared = (ANeuralNetworksMemory *)(uintptr_t)memory;
  atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
  return shared;
}

static void release_roles(SnnRoles *roles) {
  for (uint32_t i = 0; i < roles->count; i++) snn_compilation_release(roles->list[i].compilation);
  free(roles->list);
  memset(roles, 0, sizeof(*roles));
}

void snn_memory_release(ANeuralNetworksMemory *memory) {
  if (memory == NULL || atomic_fetch_sub_explicit(&memory->references, 1, memory_order_acq_rel) != 1) return;
  if (memory->map != NULL) {
    munmap(memory->map, memory->map_bytes);
  } else {
    free(memory->data);
  }
  release_roles(&memory->roles);
  free(memory);
}

/* --- from a file descriptor -------------------------------------------------------------------------------------------------- */

int snn_memory_from_fd(size_t size, int protect, int fd, size_t offset, ANeuralNetworksMemory **result) {
  if (size == 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_createFromFd: size 0");
  if (fd < 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_createFromFd: file descriptor %d", fd);
  if (protect & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_createFromFd: protection %#x", (unsigned)protect);
  }
  /* mmap wants whole pages; the object begins wherever it is said to. */
  size_t page = (size_t)sysconf(_SC_PAGESIZE), lead = offset % page, bytes, end;
  if (__builtin_add_overflow(size, lead, &bytes) || __builtin_add_overflow(size, offset, &end) || (uint64_t)end > INT64_MAX) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_createFromFd: offset and size do not fit");
  }
  struct stat status;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size < end) {
    return snn_refuse(ANEURALNETWORKS_UNMAPPABLE, "Memory_createFromFd: %zu bytes from %zu, but the file has %lld", size, offset,
                      (long long)status.st_size);
  }
  ANeuralNetworksMemory *memory = snn_allocate(1, sizeof(*memory));
  if (memory == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  void *map = mmap(NULL, bytes, protect, MAP_SHARED, fd, (off_t)(offset - lead));
  if (map == MAP_FAILED) {
    free(memory);
    return snn_refuse(ANEURALNETWORKS_UNMAPPABLE, "Memory_createFromFd: file descriptor %d cannot be mapped", fd);
  }
  atomic_init(&memory->references, 1);
  memory->map = map;
  memory->map_bytes = bytes;
  memory->data = (uint8_t *)map + lead;
  memory->size = size;
  memory->readable = (protect & PROT_READ) != 0;
  memory->writable = (protect & PROT_WRITE) != 0;
  *result = memory;
  return 0;
}

/* A shared mapping loses nothing by this: what is dropped is this process's view of the pages, and what was written to them stays in the
 * file, or in the shared memory. */
void snn_memory_rest(ANeuralNetworksMemory *memory) {
  if (memory->map == NULL) return;
  atomic_store_explicit(&memory->read, 0, memory_order_relaxed);
  madvise(memory->map, memory->map_bytes, MADV_DONTNEED); /* where this cannot be, nothing is lost but memory */
}

/* Not for each of many small constants: the kernel maps pages by the dozen, and maps them again for the next. */
void snn_memory_was_read(ANeuralNetworksMemory *memory, size_t bytes) {
  enum { MANY = 256 << 10 };
  if (atomic_fetch_add_explicit(&memory->read, bytes, memory_order_relaxed) >= MANY - (bytes < MANY ? bytes : MANY)) snn_memory_rest(memory);
}

/* --- use ---------------------------------------------------------------------------------------------------------------------- */

static int check_range(const ANeuralNetworksMemory *memory, size_t offset, size_t length) {
  if (length > memory->size || offset > memory->size - length) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%zu bytes from offset %zu do not lie in a memory of %zu bytes", length, offset,
                      memory->size);
  }
  return 0;
}

int snn_memory_check_constant(const ANeuralNetworksMemory *memory, size_t offset, size_t length) {
  if (memory->described) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "a memory made from a descriptor cannot hold constants");
  }
  if (!memory->readable) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "the memory cannot be read");
  return check_range(memory, offset, length);
}

static bool has_role(const SnnRoles *roles, const ANeuralNetworksCompilation *compilation, bool output, uint32_t index) {
  for (uint32_t i = 0; i < roles->count; i++) {
    const SnnRole *role = &roles->list[i];
    if (role->compilation == compilation && role->output == output && role->index == index) return true;
  }
  return false;
}

int snn_memory_check_role(const ANeuralNetworksMemory *memory, const ANeuralNetworksCompilation *compilation, bool output,
                          uint32_t index, size_t offset, size_t length, bool *whole) {
  *whole = memory->described;
  if (!memory->described) {
    bool allowed = output ? memory->writable : memory->readable;
    if (!allowed) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "the memory cannot be %s", output ? "written" : "read");
    return check_range(memory, offset, length);
  }
  if (offset != 0 || length != 0) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "a memory made from a descriptor is used as a whole: offset and length must be 0");
  }
  if (!has_role(&memory->roles, compilation, output, index)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "the memory's descriptor has no role as %s %u of this compilation",
                      output ? "output" : "input", index);
  }
  return 0;
}

/* --- descriptors ------------------------------------------------------------------------------------------------------------- */

static const SnnTensor *role_type(const ANeuralNetworksCompilation *compilation, bool output, uint32_t index) {
  const ANeuralNetworksModel *model = compilation->model;
  return &model->operands[output ? model->outputs[index] : model->inputs[index]].t;
}

static bool same_type(const SnnTensor *a, const SnnTensor *b) {
  if (a->type != b->type || a->scale != b->scale || a->zero_point != b->zero_point) return false;
  if (a->channel_count != b->channel_count || a->channel_dim != b->channel_dim) return false;
  for (uint32_t i = 0; i < a->channel_count; i++) {
    if (a->channel_scales[i] != b->channel_scales[i]) return false;
  }
  return true;
}

int snn_desc_add_role(ANeuralNetworksMemoryDesc *desc, const ANeuralNetworksCompilation *compilation, bool output, uint32_t index,
                      float frequency) {
  if (desc->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "MemoryDesc: a role after finish");
  if (!compilation->finished || !compilation->valid) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: the role's compilation is not finished");
  }
  uint32_t count = output ? compilation->model->n_outputs : compilation->model->n_inputs;
  if (index >= count) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: %s %u, but there are %u", output ? "output" : "input", index, count);
  }
  if (!(frequency > 0.0f && frequency <= 1.0f)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: frequency %g is not in (0, 1]", (double)frequency);
  }
  if (has_role(&desc->roles, compilation, output, index)) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: a role twice");
  const SnnTensor *type = role_type(compilation, output, index);
  SnnTensor merged = desc->type;
  if (desc->roles.count == 0) { /* dimensions may have been set already */
    merged = *type;
    if (snn_is_scalar(type->type) && desc->type.rank != 0) {
      return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: a scalar role, but dimensions are set");
    }
    if (desc->type.rank_known && !snn_merge_dims(&merged, desc->type.rank, desc->type.dims)) {
      return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: the role's dimensions contradict those that were set");
    }
  } else if (!same_type(&merged, type) || !snn_merge_dims(&merged, type->rank, type->dims)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc: the role differs from earlier ones in type, quantisation or dimensions");
  }
  if (!snn_grow((void **)&desc->roles.list, &desc->roles.capacity, desc->roles.count + 1, sizeof(SnnRole))) {
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  desc->roles.list[desc->roles.count++] = (SnnRole){snn_compilation_retain(compilation), output, index};
  desc->type = merged;
  return 0;
}

int snn_desc_set_dimensions(ANeuralNetworksMemoryDesc *desc, uint32_t rank, const uint32_t *dims) {
  if (desc->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "MemoryDesc_setDimensions after finish");
  if (rank > SNN_MAX_RANK) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc_setDimensions: rank %u", rank);
  SnnTensor merged = desc->type;
  if (desc->roles.count == 0 && !merged.rank_known) merged.type = ANEURALNETWORKS_TENSOR_FLOAT32; /* any tensor: no role yet */
  if (!snn_merge_dims(&merged, rank, dims)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc_setDimensions: the dimensions contradict what is known");
  }
  desc->type = merged;
  return 0;
}

int snn_desc_finish(ANeuralNetworksMemoryDesc *desc) {
  if (desc->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "MemoryDesc_finish: it is finished");
  if (desc->roles.count == 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "MemoryDesc_finish: it has no role");
  desc->finished = true;
  return 0;
}

void snn_desc_free(ANeuralNetworksMemoryDesc *desc) {
  if (desc == NULL) return;
  release_roles(&desc->roles);
  free(desc);
}

int snn_memory_from_desc(const ANeuralNetworksMemoryDesc *desc, ANeuralNetworksMemory **result) {
  if (!desc->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Memory_createFromDesc: the descriptor is not finished");
  size_t bytes;
  if (!snn_fully_specified(&desc->type)) {
    return snn_refuse(ANEURALNETWORKS_OP_FAILED, "Memory_createFromDesc: dimensions are unknown; give them with setDimensions");
  }
  if (!snn_byte_size(&desc->type, &bytes)) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_createFromDesc: more than 4 GiB");
  ANeuralNetworksMemory *memory = snn_allocate(1, sizeof(*memory));
  if (memory == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  atomic_init(&memory->references, 1);
  memory->described = memory->readable = memory->writable = true;
  memory->size = bytes;
  memory->data = snn_allocate_aligned(bytes);
  memory->roles.list = snn_allocate(desc->roles.count, sizeof(SnnRole));
  if (memory->data == NULL || memory->roles.list == NULL) {
    free(memory->roles.list);
    memory->roles.list = NULL;
    snn_memory_release(memory);
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  memset(memory->data, 0, bytes);
  for (uint32_t i = 0; i < desc->roles.count; i++) {
    memory->roles.list[i] = desc->roles.list[i];
    snn_compilation_retain(desc->roles.list[i].compilation);
  }
  memory->roles.count = memory->roles.capacity = desc->roles.count;
  memory->type = desc->type;
  memory->rank = desc->type.rank;
  memcpy(memory->dims, desc->type.dims, sizeof(memory->dims));
  *result = memory;
  return 0;
}

/* --- copies ------------------------------------------------------------------------------------------------------------------ */

/* The content's state, read under the lock. */
typedef struct {
  bool initialized;
  uint32_t rank, dims[SNN_MAX_RANK];
} Content;

static Content content_of(ANeuralNetworksMemory *memory) {
  Content content = {true, 0, {0}};
  if (!memory->described) return content;
  snn_lock(&memory->lock);
  content.initialized = memory->initialized;
  content.rank = memory->rank;
  memcpy(content.dims, memory->dims, sizeof(content.dims));
  snn_unlock(&memory->lock);
  return content;
}

static int check_copy(ANeuralNetworksMemory *source, const ANeuralNetworksMemory *target) {
  if (source->size != target->size) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_copy: %zu bytes into %zu", source->size, target->size);
  }
  if (!source->readable || !target->writable) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_copy: a side is not accessible");
  Content content = content_of(source);
  if (!content.initialized) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_copy: the source has no content yet");
  if (source->described && target->described) {
    bool same = source->type.type == target->type.type && content.rank == target->type.rank &&
                memcmp(content.dims, target->type.dims, content.rank * sizeof(content.dims[0])) == 0;
    if (!same) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Memory_copy: the operands of the two sides differ");
  }
  return 0;
}

int snn_memory_copy(const ANeuralNetworksMemory *from, const ANeuralNetworksMemory *to) {
  ANeuralNetworksMemory *source = (ANeuralNetworksMemory *)(uintptr_t)from, *target = (ANeuralNetworksMemory *)(uintptr_t)to;
  if (source == target) return 0;
  int code = check_copy(source, target);
  if (code == 0) memmove(target->data, source->data, source->size);
  if (target->described) { /* a copy that fails leaves it without content */
    snn_lock(&target->lock);
    target->initialized = code == 0;
    target->rank = target->type.rank;
    memcpy(target->dims, target->type.dims, sizeof(target->dims));
    snn_unlock(&target->lock);
  }
  return code;
}
