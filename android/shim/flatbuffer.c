#include "flatbuffer.h"

#include <string.h>

enum { WORK_FACTOR = 8, WORK_FLOOR = 4096 };

static bool problem(FbBuffer *buffer, uint32_t where, const char *what) {
  if (buffer->problem == NULL) {
    buffer->problem = what;
    buffer->where = where;
  }
  return false;
}

static bool spend(FbBuffer *buffer, uint32_t where, uint64_t bytes) {
  if (bytes > buffer->work) return problem(buffer, where, "too much work: the same bytes are referred to too often");
  buffer->work -= bytes;
  return true;
}

/* Are `length` bytes at `at` inside the buffer, and `at` a multiple of `align`? */
static bool inside(const FbBuffer *buffer, uint64_t at, uint64_t length, uint32_t align) {
  return at % align == 0 && at <= buffer->size && length <= buffer->size - at;
}

static uint16_t get_u16(const FbBuffer *buffer, uint32_t at) {
  uint16_t value;
  memcpy(&value, buffer->bytes + at, sizeof value);
  return value;
}

static uint32_t get_u32(const FbBuffer *buffer, uint32_t at) {
  uint32_t value;
  memcpy(&value, buffer->bytes + at, sizeof value);
  return value;
}

/* The position that the unsigned offset at `at` points to. */
static bool follow(FbBuffer *buffer, uint32_t at, uint32_t *to) {
  uint64_t target = (uint64_t)at + get_u32(buffer, at);
  if (target == at || !inside(buffer, target, 4, 4)) return problem(buffer, at, "an offset leaves the buffer or is not aligned");
  *to = (uint32_t)target;
  return true;
}

static bool open_table(FbBuffer *buffer, uint32_t at, FbTable *table) {
  int64_t back = (int32_t)get_u32(buffer, at);
  int64_t vtable = (int64_t)at - back;
  if (vtable < 0 || !inside(buffer, (uint64_t)vtable, 4, 2)) return problem(buffer, at, "a vtable lies outside the buffer");
  uint16_t vtable_size = get_u16(buffer, (uint32_t)vtable), table_size = get_u16(buffer, (uint32_t)vtable + 2);
  if (vtable_size < 4 || vtable_size % 2 != 0 || !inside(buffer, (uint64_t)vtable, vtable_size, 2))
    return problem(buffer, (uint32_t)vtable, "a vtable's size is wrong");
  if (table_size < 4 || !inside(buffer, at, table_size, 4)) return problem(buffer, at, "a table's size is wrong");
  if (!spend(buffer, at, (uint64_t)vtable_size + table_size)) return false;
  *table = (FbTable){buffer, at, (uint32_t)vtable, vtable_size, table_size};
  return true;
}

/* Finds a field: *at is its position, or 0 where the table does not have it. */
static bool find(const FbTable *table, uint16_t field, uint32_t width, uint32_t *at) {
  uint32_t entry = 4 + 2 * (uint32_t)field;
  *at = 0;
  if (entry + 2 > table->vtable_size) return true;
  uint16_t offset = get_u16(table->buffer, table->vtable + entry);
  if (offset == 0) return true;
  uint32_t position = table->at + offset; /* no overflow: sizes are below 2 GiB */
  if (offset < 4 || (uint32_t)offset + width > table->table_size || position % width != 0)
    return problem(table->buffer, table->at, "a field lies outside its table or is not aligned");
  *at = position;
  return true;
}

bool fb_root(FbBuffer *buffer, const void *bytes, size_t size, const char *identifier, FbTable *root) {
  *buffer = (FbBuffer){.bytes = bytes};
  if (size >= 0x80000000u) return problem(buffer, 0, "the buffer is 2 GiB or longer");
  buffer->size = (uint32_t)size;
  buffer->work = (uint64_t)size * WORK_FACTOR + WORK_FLOOR;
  if (size < 8) return problem(buffer, 0, "the buffer is shorter than a header");
  if (memcmp(buffer->bytes + 4, identifier, 4) != 0) return problem(buffer, 4, "the file identifier is wrong");
  uint32_t at;
  return follow(buffer, 0, &at) && open_table(buffer, at, root);
}

#define NTK_SCALAR(name, type)                                                              \
  bool name(const FbTable *table, uint16_t field, type missing, type *value) {              \
    uint32_t at;                                                                            \
    if (!find(table, field, sizeof(type), &at)) return false;                               \
    *value = missing;                                                                       \
    if (at != 0) memcpy(value, table->buffer->bytes + at, sizeof(type));                    \
    return true;                                                                            \
  }

NTK_SCALAR(fb_u8, uint8_t)
NTK_SCALAR(fb_u32, uint32_t)
NTK_SCALAR(fb_i32, int32_t)
NTK_SCALAR(fb_f32, float)
NTK_SCALAR(fb_u64, uint64_t)

bool fb_vector(const FbTable *table, uint16_t field, uint32_t width, FbVector *vector) {
  FbBuffer *buffer = table->buffer;
  uint32_t at, target;
  *vector = (FbVector){.buffer = buffer};
  if (!find(table, field, 4, &at)) return false;
  if (at == 0) return true;
  if (!follow(buffer, at, &target)) return false;
  uint32_t count = get_u32(buffer, target);
  uint64_t data = (uint64_t)target + 4, length = (uint64_t)count * width;
  if (!inside(buffer, data, length, count == 0 ? 1 : width))
    return problem(buffer, target, "a vector leaves the buffer or is not aligned");
  if (!spend(buffer, target, 4 + length)) return false;
  vector->at = (uint32_t)data;
  vector->count = count;
  vector->present = true;
  return true;
}

bool fb_string(const FbTable *table, uint16_t field, FbVector *string) {
  if (!fb_vector(table, field, 1, string)) return false;
  if (!string->present) return true;
  uint64_t end = (uint64_t)string->at + string->count;
  if (!inside(string->buffer, end, 1, 1) || string->buffer->bytes[end] != 0)
    return problem(string->buffer, string->at, "a string has no NUL at its end");
  return true;
}

bool fb_tables(const FbTable *table, uint16_t field, FbVector *vector) { return fb_vector(table, field, 4, vector); }

bool fb_table(const FbVector *vector, uint32_t index, FbTable *table) {
  uint32_t target;
  return follow(vector->buffer, vector->at + 4 * index, &target) && open_table(vector->buffer, target, table);
}
