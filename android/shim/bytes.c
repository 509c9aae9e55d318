#include "bytes.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

bool ntk_take(NtkSource *source, void *to, uint64_t length) {
  if (source->broken || length > source->left) return false;
  if (length == 0) return true;
  if (!source->read(source->context, to, (size_t)length)) {
    source->broken = true;
    return false;
  }
  source->left -= length;
  return true;
}

bool ntk_skip(NtkSource *source, uint64_t length) {
  uint8_t sink[512];
  while (length > 0) {
    uint64_t piece = length < sizeof sink ? length : sizeof sink;
    if (!ntk_take(source, sink, piece)) return false;
    length -= piece;
  }
  return true;
}

bool ntk_take_u32(NtkSource *source, uint32_t *value) { return ntk_take(source, value, sizeof *value); }
bool ntk_take_i32(NtkSource *source, int32_t *value) { return ntk_take(source, value, sizeof *value); }
bool ntk_take_u64(NtkSource *source, uint64_t *value) { return ntk_take(source, value, sizeof *value); }

bool ntk_take_padding(NtkSource *source) {
  uint64_t taken = source->total - source->left;
  return ntk_skip(source, (8 - taken % 8) % 8);
}

void ntk_buffer_clear(NtkBuffer *buffer) {
  buffer->length = 0;
  buffer->failed = false;
}

void ntk_buffer_free(NtkBuffer *buffer) {
  free(buffer->data);
  *buffer = (NtkBuffer){0};
}

bool ntk_buffer_reserve(NtkBuffer *buffer, size_t more) {
  if (buffer->failed) return false;
  size_t wanted, doubled = buffer->capacity;
  if (!ntk_add(buffer->length, more, &wanted)) {
    buffer->failed = true;
    return false;
  }
  if (wanted <= buffer->capacity) return true;
  if (!ntk_add(doubled, doubled, &doubled) || doubled < wanted) doubled = wanted;
  if (doubled < 4096) doubled = 4096;
  void *grown = realloc(buffer->data, doubled);
  if (grown == NULL) {
    buffer->failed = true;
    return false;
  }
  buffer->data = grown;
  buffer->capacity = doubled;
  return true;
}

void ntk_put(NtkBuffer *buffer, const void *data, size_t length) {
  if (length == 0 || !ntk_buffer_reserve(buffer, length)) return;
  memcpy(buffer->data + buffer->length, data, length);
  buffer->length += length;
}

void ntk_put_u32(NtkBuffer *buffer, uint32_t value) { ntk_put(buffer, &value, sizeof value); }
void ntk_put_u64(NtkBuffer *buffer, uint64_t value) { ntk_put(buffer, &value, sizeof value); }

void ntk_put_str(NtkBuffer *buffer, const char *text) {
  size_t length = strlen(text);
  if (length > UINT32_MAX) length = UINT32_MAX;
  ntk_put_u32(buffer, (uint32_t)length);
  ntk_put(buffer, text, length);
}

void ntk_put_padding(NtkBuffer *buffer) {
  static const uint8_t zeros[8];
  ntk_put(buffer, zeros, (8 - buffer->length % 8) % 8);
}

uint64_t ntk_now(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
