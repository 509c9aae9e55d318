/* Bytes in and out: the payload of a request, read once from front to back, and the parts of a reply. */
#ifndef NTK_BYTES_H
#define NTK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  const void *data;
  size_t length;
} NtkSpan;

/* Where a request's payload comes from. `read` delivers exactly `length` bytes, or false when the other end is gone. */
typedef struct {
  bool (*read)(void *context, void *to, size_t length);
  void *context;
  uint64_t total, left; /* bytes of the payload, and those not taken yet */
  bool broken;          /* the other end is gone */
} NtkSource;

/* Each takes from the front; false when the payload is too short for it or the other end is gone. */
bool ntk_take(NtkSource *source, void *to, uint64_t length);
bool ntk_skip(NtkSource *source, uint64_t length);
bool ntk_take_u32(NtkSource *source, uint32_t *value);
bool ntk_take_i32(NtkSource *source, int32_t *value);
bool ntk_take_u64(NtkSource *source, uint64_t *value);
/* Skips what is missing to a multiple of 8 of what was taken so far. */
bool ntk_take_padding(NtkSource *source);

/* A buffer that grows and is reused: a warm one is not allocated again. */
typedef struct {
  uint8_t *data;
  size_t length, capacity;
  bool failed; /* out of memory since the last ntk_buffer_clear */
} NtkBuffer;

void ntk_buffer_clear(NtkBuffer *buffer);
void ntk_buffer_free(NtkBuffer *buffer);
bool ntk_buffer_reserve(NtkBuffer *buffer, size_t more);
void ntk_put(NtkBuffer *buffer, const void *data, size_t length);
void ntk_put_u32(NtkBuffer *buffer, uint32_t value);
void ntk_put_u64(NtkBuffer *buffer, uint64_t value);
void ntk_put_str(NtkBuffer *buffer, const char *text);
void ntk_put_padding(NtkBuffer *buffer); /* zeros to a multiple of 8 */

/* Overflow-checked arithmetic: false, and *result unset, where the result does not fit. */
static inline bool ntk_add(size_t a, size_t b, size_t *result) { return !__builtin_add_overflow(a, b, result); }
static inline bool ntk_multiply(size_t a, size_t b, size_t *result) { return !__builtin_mul_overflow(a, b, result); }

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t ntk_now(void);

#endif
