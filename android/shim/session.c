/* One session: checks each request's frame, hands it to the handler of its kind, makes the reply. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "state.h"

static void forget_executions(void *context) {
  NtkSession *session = context;
  for (uint32_t i = 0; i < NTK_MAX_PROGRAMS; i++)
    if (session->programs[i] != NULL) ntk_forget_execution(session->programs[i]);
}

NtkSession *ntk_session_new(const char *library, NtkWatch *watch) {
  /* Its tables are seldom full: pages that nobody writes to need no memory. */
  NtkSession *session = mmap(NULL, sizeof *session, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (session == MAP_FAILED) return NULL;
  session->watch = watch != NULL ? watch : &session->own_watch;
  session->span_capacity = 16;
  session->spans = calloc(session->span_capacity, sizeof *session->spans);
  session->nnapi = &session->libraries[0];
  session->arena = (NtkArena){
      .libraries = session->libraries, .library_count = NTK_MAX_LIBRARIES, .dropping = forget_executions, .context = session};
  if (library != NULL && library[0] != '\0') session->paths[0] = strdup(library);
  if (session->spans != NULL && (session->paths[0] != NULL || library == NULL || library[0] == '\0')) return session;
  ntk_session_free(session);
  return NULL;
}

void ntk_session_free(NtkSession *session) {
  if (session == NULL) return;
  for (uint32_t i = 0; i < NTK_MAX_PROGRAMS; i++)
    if (session->programs[i] != NULL) ntk_loaded_free(session, session->programs[i]);
  ntk_files_release(session, session->files);
  ntk_slots_free(session);
  ntk_arena_free(&session->arena);
  for (uint32_t i = NTK_MAX_LIBRARIES; i-- > 0;) {
    ntk_nnapi_close(&session->libraries[i]);
    free(session->paths[i]);
  }
  ntk_buffer_free(&session->meta);
  free(session->spans);
  munmap(session, sizeof *session);
}

/* --- replies --- */

static bool fail_with(NtkSession *session, int status, int code, const char *format, va_list arguments) {
  if (session->status != NTK_STATUS_OK) return false;
  session->status = (uint16_t)status;
  session->code = code;
  vsnprintf(session->message, sizeof session->message, format, arguments);
  return false;
}

bool ntk_fail(NtkSession *session, int status, int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail_with(session, status, code, format, arguments);
  va_end(arguments);
  return false;
}

bool ntk_fail_short(NtkSession *session, const char *what) {
  return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "the payload of %llu bytes ends before or in: %s",
                  (unsigned long long)session->source->total, what);
}

bool ntk_expect_end(NtkSession *session) {
  if (session->source->left == 0) return true;
  return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%llu bytes too many in a payload of %llu",
                  (unsigned long long)session->source->left, (unsigned long long)session->source->total);
}

bool ntk_take_text(NtkSession *session, char *text, size_t capacity, const char *what) {
  uint32_t length;
  if (!ntk_take_u32(session->source, &length)) return ntk_fail_short(session, what);
  if (length >= capacity) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%s of %u bytes (at most %zu)", what, length, capacity - 1);
  if (!ntk_take(session->source, text, length)) return ntk_fail_short(session, what);
  text[length] = '\0';
  return memchr(text, 0, length) == NULL || ntk_fail(session, NTK_STATUS_MALFORMED, 0, "a NUL in the %s", what);
}

void ntk_use(NtkSession *session, const NtkNnapi *nnapi) {
  session->nnapi = nnapi;
  ntk_nnapi_enter(nnapi);
}

int ntk_called(NtkSession *session, int result) {
  session->watch->call = NULL;
  return result;
}

bool ntk_fail_call(NtkSession *session, int result, const char *call, const char *format, ...) {
  char object[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(object, sizeof object, format, arguments);
  va_end(arguments);
  return ntk_fail(session, NTK_STATUS_NNAPI, result, "ANeuralNetworks%s %s returned %d", call, object, result);
}

bool ntk_reply_part(NtkSession *session, const void *data, size_t length) {
  if (session->span_count == session->span_capacity) {
    uint32_t capacity = session->span_capacity * 2;
    NtkSpan *grown = realloc(session->spans, capacity * sizeof *grown);
    if (grown == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for a reply of %u parts", capacity);
    session->spans = grown;
    session->span_capacity = capacity;
  }
  session->spans[session->span_count++] = (NtkSpan){data, length};
  return true;
}

/* --- handlers of the small kinds --- */

static int hex_digit(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

static void build_hash(uint8_t hash[NTK_HASH_BYTES]) {
  const char *text = ntk_build_hash();
  for (int i = 0; i < NTK_HASH_BYTES; i++) hash[i] = (uint8_t)(hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
}

static bool put_device(NtkSession *session, uint32_t index) {
  NtkBuffer *meta = &session->meta;
  ANeuralNetworksDevice *device;
  int32_t type = 0;
  int64_t level = 0;
  const char *name = "", *version = "";
  int result = NTK_CALL(session, _getDevice, index, &device);
  if (result != 0) return ntk_fail_call(session, result, "_getDevice", "of device %u", index);
  if ((result = NTK_CALL(session, Device_getType, device, &type)) != 0 ||
      (result = NTK_CALL(session, Device_getFeatureLevel, device, &level)) != 0 ||
      (result = NTK_CALL(session, Device_getName, device, &name)) != 0 ||
      (result = NTK_CALL(session, Device_getVersion, device, &version)) != 0)
    return ntk_fail_call(session, result, "Device_get...", "of device %u", index);
  ntk_put_u32(meta, (uint32_t)type);
  ntk_put_u32(meta, (uint32_t)ntk_feature_level(level));
  ntk_put_str(meta, name != NULL ? name : "");
  ntk_put_str(meta, version != NULL ? version : "");
  return true;
}

/* How many NNAPI devices the library has that a session can name. */
static bool count_devices(NtkSession *session, uint32_t *count) {
  *count = 0;
  int result = session->nnapi->_getDeviceCount != NULL ? NTK_CALL(session, _getDeviceCount, count) : 0;
  if (*count > NTK_MAX_DEVICES) *count = NTK_MAX_DEVICES;
  return result == 0 || ntk_fail_call(session, result, "_getDeviceCount", "of the run time");
}

static bool put_library(NtkSession *session, uint32_t count) {
  const char *path = session->paths[session->nnapi->number];
  ntk_put_str(&session->meta, path != NULL ? path : "libneuralnetworks.so");
  ntk_put_u32(&session->meta, count);
  for (uint32_t i = 0; i < count; i++)
    if (!put_device(session, i)) return false;
  return true;
}

static bool handle_hello(NtkSession *session) {
  NtkSource *source = session->source;
  NtkBuffer *meta = &session->meta;
  uint32_t version, count;
  uint8_t theirs[NTK_HASH_BYTES], ours[NTK_HASH_BYTES];
  static const uint8_t any[NTK_HASH_BYTES];
  if (!ntk_take_u32(source, &version)) return ntk_fail_short(session, "version");
  if (version != NTK_PROTOCOL_VERSION)
    return ntk_fail(session, NTK_STATUS_VERSION, 0, "the host speaks protocol %u, this shim %d", version, NTK_PROTOCOL_VERSION);
  if (!ntk_take(source, theirs, sizeof theirs) || !ntk_take_u32(source, &session->watch->load_limit) ||
      !ntk_take_u32(source, &session->watch->execute_limit))
    return ntk_fail_short(session, "build hash and limits");
  if (!ntk_expect_end(session)) return false;
  build_hash(ours);
  if (memcmp(theirs, any, sizeof any) != 0 && memcmp(theirs, ours, sizeof ours) != 0)
    return ntk_fail(session, NTK_STATUS_VERSION, 0, "the host is of another build; this shim is build %.12s", ntk_build_hash());
  char message[512];
  if (session->nnapi->library == NULL && !ntk_nnapi_open(&session->libraries[0], session->paths[0], message, sizeof message))
    return ntk_fail(session, NTK_STATUS_LIBRARY, 0, "%s", message);
  if (!count_devices(session, &count)) return false;
  ntk_put_u32(meta, NTK_PROTOCOL_VERSION);
  ntk_put(meta, ours, sizeof ours);
  ntk_put_u32(meta, (uint32_t)getpid());
  ntk_put_u32(meta, (uint32_t)session->nnapi->feature_level);
  ntk_put_u32(meta, (uint32_t)(8 * sizeof(void *)));
  if (!put_library(session, count)) return false;
  session->greeted = true;
  return true;
}

static bool open_library(NtkSession *session, uint32_t number, const char *path, uint32_t threads) {
  NtkNnapi *nnapi = &session->libraries[number];
  char message[512];
  if (nnapi->library != NULL)
    return strcmp(path, session->paths[number]) == 0 ||
           ntk_fail(session, NTK_STATUS_STATE, 0, "library %u is open already, as %.200s", number, session->paths[number]);
  char *copy = strdup(path);
  if (copy == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory");
  if (!ntk_nnapi_open_further(nnapi, number, path, threads, message, sizeof message)) {
    free(copy);
    return ntk_fail(session, NTK_STATUS_LIBRARY, 0, "%s", message);
  }
  session->paths[number] = copy;
  return true;
}

static bool handle_library(NtkSession *session) {
  NtkSource *source = session->source;
  uint32_t number, threads, count;
  char path[NTK_MAX_PATH];
  if (!ntk_take_u32(source, &number)) return ntk_fail_short(session, "library number");
  if (!ntk_take_text(session, path, sizeof path, "path of the library")) return false;
  if (!ntk_take_u32(source, &threads)) return ntk_fail_short(session, "threads");
  if (!ntk_expect_end(session)) return false;
  if (number < 1 || number >= NTK_MAX_LIBRARIES)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "library %u: numbers go from 1 to %d", number, NTK_MAX_LIBRARIES - 1);
  if (threads > NTK_MAX_THREADS)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%u threads (at most %d)", threads, NTK_MAX_THREADS);
  snprintf(session->watch->object, sizeof session->watch->object, "library %u", number);
  if (!open_library(session, number, path, threads)) return false;
  ntk_use(session, &session->libraries[number]);
  if (!count_devices(session, &count)) return false;
  ntk_put_u32(&session->meta, (uint32_t)session->nnapi->feature_level);
  return put_library(session, count);
}

/* Open file descriptors of the process. Asked one by one: a folder listing would need a descriptor itself. */
static uint32_t open_descriptors(void) {
  enum { LIMIT = 4096 };
  uint32_t count = 0;
  for (int fd = 0; fd < LIMIT; fd++) count += fcntl(fd, F_GETFD) != -1;
  return count;
}

static bool handle_stats(NtkSession *session) {
  struct rusage usage = {0};
  if (!ntk_expect_end(session)) return false;
  getrusage(RUSAGE_SELF, &usage);
  ntk_put_u64(&session->meta, (uint64_t)usage.ru_maxrss);
  ntk_put_u32(&session->meta, session->program_count);
  ntk_put_u32(&session->meta, session->slot_count);
  ntk_put_u64(&session->meta, session->slot_bytes);
  ntk_put_u64(&session->meta, session->arena.bytes);
  ntk_put_u32(&session->meta, open_descriptors());
  return true;
}

static bool handle_echo(NtkSession *session) {
  uint64_t length = session->source->left;
  if (length > NTK_MAX_ECHO)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%llu bytes: at most %d are echoed", (unsigned long long)length, NTK_MAX_ECHO);
  if (!ntk_buffer_reserve(&session->meta, (size_t)length)) return true; /* reported with the reply */
  if (!ntk_take(session->source, session->meta.data, length)) return ntk_fail_short(session, "bytes");
  session->meta.length = (size_t)length;
  return true;
}

static bool handle_bye(NtkSession *session) {
  if (!ntk_expect_end(session)) return false;
  session->over = true;
  return true;
}

/* --- dispatch --- */

typedef struct {
  uint16_t kind;
  bool before_hello;
  bool (*handle)(NtkSession *session);
} Handler;

static const Handler HANDLERS[] = {
    {NTK_HELLO, true, handle_hello},
    {NTK_OPEN, false, ntk_handle_open},
    {NTK_LOAD, false, ntk_handle_load},
    {NTK_SUPPORTED, false, ntk_handle_supported},
    {NTK_EXECUTE, false, ntk_handle_execute},
    {NTK_READ, false, ntk_handle_read},
    {NTK_WRITE, false, ntk_handle_write},
    {NTK_DROP, false, ntk_handle_drop},
    {NTK_UNLOAD, false, ntk_handle_unload},
    {NTK_STATS, false, handle_stats},
    {NTK_ECHO, true, handle_echo},
    {NTK_BYE, true, handle_bye},
    {NTK_LIBRARY, false, handle_library},
};

/* A worker died between two requests, and the session with it: the host learns it from the first answer, unless it begins anew. */
static bool mourn(NtkSession *session, uint16_t kind) {
  NtkWatch *watch = session->watch;
  if (kind == NTK_HELLO) watch->obituary[0] = '\0';
  if (watch->obituary[0] == '\0') return true;
  ntk_fail(session, NTK_STATUS_RESTARTED, watch->obituary_code, "%s", watch->obituary);
  watch->obituary[0] = '\0';
  return false;
}

static void dispatch(NtkSession *session, const NtkHeader *header) {
  if (!mourn(session, header->kind)) return;
  if (header->status != 0 || header->code < 0) {
    ntk_fail(session, NTK_STATUS_MALFORMED, 0, "a request with status %u (0 in requests) and code %d (an id)", header->status,
             (int)header->code);
    return;
  }
  for (size_t i = 0; i < sizeof HANDLERS / sizeof *HANDLERS; i++) {
    if (HANDLERS[i].kind != header->kind) continue;
    if (!HANDLERS[i].before_hello && !session->greeted)
      ntk_fail(session, NTK_STATUS_STATE, 0, "kind %u before a HELLO that succeeded", header->kind);
    else
      HANDLERS[i].handle(session);
    return;
  }
  ntk_fail(session, NTK_STATUS_MALFORMED, 0, "kind %u is not known", header->kind);
}

static void begin(NtkSession *session, NtkSource *source) {
  session->request_began = ntk_now();
  session->source = source;
  ntk_use(session, &session->libraries[0]);
  session->status = NTK_STATUS_OK;
  session->code = 0;
  session->message[0] = '\0';
  session->span_count = 1; /* the first part is `meta` */
  session->watch->object[0] = '\0';
  ntk_buffer_clear(&session->meta);
}

static void finish_reply(NtkSession *session, const NtkHeader *header, NtkReply *reply) {
  if (session->status == NTK_STATUS_OK && session->meta.failed)
    ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for the reply");
  if (session->status != NTK_STATUS_OK) {
    session->span_count = 1;
    ntk_buffer_clear(&session->meta);
    ntk_put_str(&session->meta, session->message);
  }
  session->spans[0] = (NtkSpan){session->meta.data, session->meta.length};
  uint64_t length = 0;
  for (uint32_t i = 0; i < session->span_count; i++) length += session->spans[i].length;
  *reply = (NtkReply){
      .header = {.magic = NTK_MAGIC, .kind = header->kind, .status = session->status, .id = header->id, .code = session->code,
                 .length = length},
      .parts = session->spans,
      .part_count = session->span_count,
      .last = session->over,
  };
}

const char *ntk_header_problem(const NtkHeader *header) {
  if (header->magic != NTK_MAGIC) return "the frame's magic number is wrong";
  if (header->length > NTK_MAX_PAYLOAD) return "the payload is longer than the protocol allows";
  return NULL;
}

bool ntk_session_handle(NtkSession *session, const NtkHeader *header, NtkSource *source, NtkReply *reply) {
  begin(session, source);
  const char *problem = ntk_header_problem(header);
  if (problem != NULL) {
    ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%s (magic %08x, %llu bytes); the session ends", problem, header->magic,
             (unsigned long long)header->length);
    session->over = true;
    source->left = 0; /* the stream is out of step: nothing behind this header can be told apart */
  } else {
    dispatch(session, header);
  }
  if (session->status == NTK_STATUS_OK) ntk_expect_end(session);
  /* An error may have come early: the rest of its payload must leave the stream. */
  if (!source->broken) ntk_skip(source, source->left);
  if (source->broken) return false;
  finish_reply(session, header, reply);
  return true;
}

/* --- requests that lie in memory --- */

typedef struct {
  const NtkSpan *parts;
  uint32_t count, part;
  size_t offset;
} MemoryReader;

static bool read_memory(void *context, void *to, size_t length) {
  MemoryReader *reader = context;
  uint8_t *out = to;
  while (length > 0) {
    if (reader->part == reader->count) return false;
    const NtkSpan *part = &reader->parts[reader->part];
    size_t piece = part->length - reader->offset;
    if (piece > length) piece = length;
    if (piece > 0) memcpy(out, (const uint8_t *)part->data + reader->offset, piece);
    out += piece;
    length -= piece;
    reader->offset += piece;
    if (reader->offset == part->length) {
      reader->part++;
      reader->offset = 0;
    }
  }
  return true;
}

uint64_t ntk_session_request(NtkSession *session, NtkHeader *header, const NtkSpan *parts, uint32_t part_count) {
  MemoryReader reader = {parts, part_count, 0, 0};
  NtkSource source = {read_memory, &reader, header->length, header->length, false};
  if (!ntk_session_handle(session, header, &source, &session->reply)) {
    /* The parts are shorter than the header says. */
    ntk_fail(session, NTK_STATUS_MALFORMED, 0, "the payload is shorter than its header says");
    session->status = NTK_STATUS_MALFORMED;
    finish_reply(session, header, &session->reply);
  }
  *header = session->reply.header;
  return header->length;
}

void ntk_session_reply(const NtkSession *session, void *payload) {
  uint8_t *out = payload;
  for (uint32_t i = 0; i < session->reply.part_count; i++) {
    const NtkSpan *part = &session->reply.parts[i];
    if (part->length > 0) memcpy(out, part->data, part->length);
    out += part->length;
  }
}
