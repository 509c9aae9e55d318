#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PARTS_AT_ONCE = 64, HELLO_LIMIT_MS = 60000, ENDING_LIMIT_MS = 10000 };

int ntk_read_exactly(int fd, void *to, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t count = read(fd, (uint8_t *)to + done, length - done);
    if (count > 0) done += (size_t)count;
    else if (count == 0) return done == 0 ? 0 : -1;
    else if (errno != EINTR) return -1;
  }
  return 1;
}

/* Milliseconds, low 32 bits. */
static uint32_t milliseconds(void) { return (uint32_t)(ntk_now() / 1000000u); }

static uint32_t limit_of(const NtkWatch *watch) {
  if (watch->kind == NTK_HELLO) return HELLO_LIMIT_MS;
  return watch->kind == NTK_EXECUTE ? watch->execute_limit : watch->load_limit;
}

/* From here on the request's time counts: all of it has arrived. */
static void begin_work(NtkWatch *watch) {
  watch->started = milliseconds();
  watch->limit = limit_of(watch);
  watch->phase = NTK_PHASE_WORKING;
}

static void took(NtkWatch *watch, size_t count) {
  watch->left -= count;
  if (watch->left == 0) begin_work(watch);
}

bool ntk_stream_read(void *context, void *to, size_t length) {
  NtkStream *stream = context;
  uint8_t *out = to;
  while (length > 0) {
    if (stream->begin < stream->end) {
      size_t piece = stream->end - stream->begin;
      if (piece > length) piece = length;
      memcpy(out, stream->buffer + stream->begin, piece);
      stream->begin += piece;
      out += piece;
      length -= piece;
      continue;
    }
    /* Long pieces go straight to their place; short ones come through the buffer. */
    bool direct = length >= sizeof stream->buffer;
    size_t wanted = direct ? length : sizeof stream->buffer;
    if (wanted > stream->watch->left) wanted = (size_t)stream->watch->left;
    ssize_t count = read(stream->fd, direct ? out : stream->buffer, wanted);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    took(stream->watch, (size_t)count);
    if (direct) {
      out += count;
      length -= (size_t)count;
    } else {
      stream->begin = 0;
      stream->end = (size_t)count;
    }
  }
  return true;
}

static bool write_all(int fd, struct iovec *parts, int count) {
  while (count > 0) {
    ssize_t written = writev(fd, parts, count);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    while (count > 0 && (size_t)written >= parts->iov_len) {
      written -= (ssize_t)parts->iov_len;
      parts++;
      count--;
    }
    if (count > 0) {
      parts->iov_base = (uint8_t *)parts->iov_base + written;
      parts->iov_len -= (size_t)written;
    }
  }
  return true;
}

bool ntk_write_parts(int fd, const NtkHeader *header, const NtkSpan *parts, uint32_t count) {
  struct iovec vectors[PARTS_AT_ONCE] = {{.iov_base = (void *)(uintptr_t)header, .iov_len = sizeof *header}};
  int filled = 1;
  for (uint32_t i = 0; i < count; i++) {
    if (filled == PARTS_AT_ONCE) {
      if (!write_all(fd, vectors, filled)) return false;
      filled = 0;
    }
    vectors[filled++] = (struct iovec){.iov_base = (void *)(uintptr_t)parts[i].data, .iov_len = parts[i].length};
  }
  return write_all(fd, vectors, filled);
}

bool ntk_write_error(int fd, uint16_t kind, uint32_t id, uint16_t status, int32_t code, const char *text) {
  uint32_t length = (uint32_t)strlen(text);
  NtkHeader header = {.magic = NTK_MAGIC, .kind = kind, .status = status, .id = id, .code = code, .length = sizeof length + length};
  NtkSpan parts[2] = {{&length, sizeof length}, {text, length}};
  return ntk_write_parts(fd, &header, parts, 2);
}

/* The next request's header; as ntk_read_exactly. A worker that is killed while it waits must not have taken anything: it waits in
 * poll, as a read that is woken by both a signal and bytes takes the bytes along. */
static int next_header(int in, NtkWatch *watch, NtkHeader *header) {
  if (!watch->has_next) {
    struct pollfd state = {.fd = in, .events = POLLIN};
    while (poll(&state, 1, -1) < 0 && errno == EINTR) continue;
    return ntk_read_exactly(in, header, sizeof *header);
  }
  *header = watch->next;
  watch->has_next = false;
  return 1;
}

int ntk_serve(int in, int out, const char *library, NtkWatch *watch) {
  NtkSession *session = ntk_session_new(library, watch);
  static NtkStream stream; /* one per process; too large for a stack */
  int outcome = NTK_EXIT_BROKEN;
  if (session == NULL) return NTK_EXIT_MEMORY;
  stream = (NtkStream){.fd = in, .watch = watch};
  for (;;) {
    NtkHeader header;
    NtkReply reply;
    watch->phase = NTK_PHASE_IDLE;
    int got = next_header(in, watch, &header);
    if (got == 0) outcome = NTK_EXIT_DONE;
    if (got != 1) break;
    bool sane = ntk_header_problem(&header) == NULL;
    watch->kind = header.kind;
    watch->id = header.id;
    watch->left = sane ? header.length : 0;
    watch->phase = NTK_PHASE_READING;
    if (watch->left == 0) begin_work(watch);
    NtkSource source = {ntk_stream_read, &stream, header.length, header.length, false};
    if (!ntk_session_handle(session, &header, &source, &reply)) break;
    stream.begin = stream.end = 0;
    watch->phase = NTK_PHASE_REPLYING;
    if (!ntk_write_parts(out, &reply.header, reply.parts, reply.part_count)) break;
    if (!reply.last) continue;
    outcome = sane ? NTK_EXIT_DONE : NTK_EXIT_BROKEN;
    break;
  }
  watch->started = milliseconds();
  watch->limit = ENDING_LIMIT_MS;
  watch->phase = NTK_PHASE_ENDING;
  ntk_session_free(session);
  return outcome;
}
