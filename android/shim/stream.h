/* Frames on file descriptors: exact reads and writes, with the watch kept up to date. */
#ifndef NTK_STREAM_H
#define NTK_STREAM_H

#include "session.h"

enum { NTK_STREAM_BUFFER = 1 << 12 };

/* The reading end. Never reads beyond the frame at hand: a supervisor that takes over finds the stream where `watch` says. */
typedef struct {
  int fd;
  NtkWatch *watch;
  size_t begin, end; /* what `buffer` holds */
  uint8_t buffer[NTK_STREAM_BUFFER];
} NtkStream;

/* Exactly `length` bytes: 1; the stream ended before the first: 0; in between, or an error: -1. */
int ntk_read_exactly(int fd, void *to, size_t length);
bool ntk_write_parts(int fd, const NtkHeader *header, const NtkSpan *parts, uint32_t count);
/* NtkSource.read over an NtkStream. */
bool ntk_stream_read(void *context, void *to, size_t length);
/* An error reply of one str. */
bool ntk_write_error(int fd, uint16_t kind, uint32_t id, uint16_t status, int32_t code, const char *text);

/* Answers requests from `in` on `out` until BYE, the end of the stream or a frame that is out of step. Exit code of the worker. */
int ntk_serve(int in, int out, const char *library, NtkWatch *watch);
/* The same in a worker process, which is replaced when it crashes or takes too long. */
int ntk_supervise(int in, int out, const char *library);

enum { NTK_EXIT_DONE = 0, NTK_EXIT_BROKEN = 3, NTK_EXIT_MEMORY = 4 };

#endif
