/* libFuzzer harness over the shim's sessions: any frames, in any order, must leave the process alive.
 *
 * The input is a list of requests: a kind (1 byte), the low 24 bits of the payload's length, the payload. Magic number, ids and what is
 * missing of a payload are supplied, so that mutations reach the handlers. HELLO and OPEN come first. Software NNAPI is linked in, its
 * code is fuzzed too. tests/fuzz/fuzz_shim.py builds this and makes the first corpus.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../android/shim/session.h"
#include "../../android/shim/stream.h"

enum { MAX_REQUESTS = 64, FILE_BYTES = 8192 };

static char model_path[] = "/tmp/fuzz_shim_model_XXXXXX";

__attribute__((constructor)) static void make_model(void) {
  static uint8_t content[FILE_BYTES];
  int fd = mkstemp(model_path);
  if (fd < 0 || write(fd, content, sizeof content) != (ssize_t)sizeof content) abort();
  close(fd);
}

__attribute__((destructor)) static void drop_model(void) { unlink(model_path); }

/* Handles one request and reads every byte of the reply. */
static bool request(NtkSession *session, uint16_t kind, const void *payload, size_t length) {
  NtkHeader header = {.magic = NTK_MAGIC, .kind = kind, .id = 1, .length = length};
  NtkSpan part = {payload, length};
  uint64_t bytes = ntk_session_request(session, &header, &part, 1);
  uint8_t *reply = malloc(bytes + 1);
  if (reply == NULL) abort();
  ntk_session_reply(session, reply);
  uint8_t sum = 0;
  for (uint64_t i = 0; i < bytes; i++) sum = (uint8_t)(sum + reply[i]);
  volatile uint8_t used = sum;
  (void)used;
  free(reply);
  if (header.magic != NTK_MAGIC || header.id != 1 || header.kind != kind || header.length != bytes) abort();
  return kind != NTK_BYE;
}

static void begin(NtkSession *session) {
  NtkBuffer fields = {0};
  uint8_t hash[NTK_HASH_BYTES] = {0};
  ntk_put_u32(&fields, NTK_PROTOCOL_VERSION);
  ntk_put(&fields, hash, sizeof hash);
  ntk_put_u64(&fields, 0);
  request(session, NTK_HELLO, fields.data, fields.length);
  ntk_buffer_clear(&fields);
  for (int i = 0; i < 2; i++) {
    ntk_put_str(&fields, model_path);
    ntk_put_u64(&fields, FILE_BYTES);
  }
  request(session, NTK_OPEN, fields.data, fields.length);
  ntk_buffer_free(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  NtkSession *session = ntk_session_new(NULL, NULL);
  if (session == NULL) abort();
  begin(session);
  for (int i = 0; i < MAX_REQUESTS && size >= 4; i++) {
    uint16_t kind = data[0];
    size_t length = (size_t)data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
    data += 4;
    size -= 4;
    if (length > size) length = size;
    /* A copy of its own: reads beyond the payload are seen. */
    uint8_t *payload = malloc(length + 1);
    if (payload == NULL) abort();
    memcpy(payload, data, length);
    bool more = request(session, kind, payload, length);
    free(payload);
    data += length;
    size -= length;
    if (!more) break;
  }
  ntk_session_free(session);
  return 0;
}
