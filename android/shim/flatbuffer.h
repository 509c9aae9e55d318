/* A reader of FlatBuffers that believes nothing: every offset, size and alignment is checked at the access that uses it.
 *
 * Accessors return false once something is wrong; `problem` and `where` (byte position) then tell what. An absent field is not an
 * error: scalars answer their default, vectors have count 0. Work is counted in bytes visited and limited to a multiple of the
 * buffer's size, so that offsets which meet again and again in the same bytes cannot buy unlimited time or memory.
 */
#ifndef NTK_FLATBUFFER_H
#define NTK_FLATBUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const uint8_t *bytes;
  uint32_t size;
  uint64_t work; /* bytes that may still be visited */
  const char *problem;
  uint32_t where;
} FbBuffer;

typedef struct {
  FbBuffer *buffer;
  uint32_t at, vtable;
  uint16_t vtable_size, table_size;
} FbTable;

typedef struct {
  FbBuffer *buffer;
  uint32_t at; /* of the first element */
  uint32_t count;
  bool present;
} FbVector;

/* Starts reading; `identifier` is the file identifier of 4 characters. Buffers from 2 GiB on are refused. */
bool fb_root(FbBuffer *buffer, const void *bytes, size_t size, const char *identifier, FbTable *root);

bool fb_u8(const FbTable *table, uint16_t field, uint8_t missing, uint8_t *value);
bool fb_u32(const FbTable *table, uint16_t field, uint32_t missing, uint32_t *value);
bool fb_i32(const FbTable *table, uint16_t field, int32_t missing, int32_t *value);
bool fb_f32(const FbTable *table, uint16_t field, float missing, float *value);
bool fb_u64(const FbTable *table, uint16_t field, uint64_t missing, uint64_t *value);

/* A vector of scalars of `width` bytes (1, 2, 4, 8). */
bool fb_vector(const FbTable *table, uint16_t field, uint32_t width, FbVector *vector);
/* A string: a vector of bytes with a NUL behind it. */
bool fb_string(const FbTable *table, uint16_t field, FbVector *string);
/* A vector of tables, and the table at an index below its count. */
bool fb_tables(const FbTable *table, uint16_t field, FbVector *vector);
bool fb_table(const FbVector *vector, uint32_t index, FbTable *table);

/* The first element of a vector, NULL for an empty one. Aligned to the vector's width where the buffer is aligned to 8. */
static inline const void *fb_data(const FbVector *vector) {
  return vector->count == 0 ? NULL : vector->buffer->bytes + vector->at;
}

#endif
