/* The request handler, as the frame loop (main.c) and the in-process binding (android/binding.py) use it. */
#ifndef NTK_SESSION_H
#define NTK_SESSION_H

#include "bytes.h"
#include "protocol.h"
#include "watch.h"

#define NTK_API __attribute__((visibility("default")))

typedef struct NtkSession NtkSession;

/* A reply: a header and payload parts, which stay valid until the session's next request. */
typedef struct {
  NtkHeader header;
  const NtkSpan *parts;
  uint32_t part_count;
  bool last; /* the session is over: BYE, or a stream that is out of step */
} NtkReply;

/* `library`: path of the libneuralnetworks.so to load, NULL = the system's. `watch`: NULL = the session's own. NULL: no memory. */
NTK_API NtkSession *ntk_session_new(const char *library, NtkWatch *watch);
NTK_API void ntk_session_free(NtkSession *session);

/* Handles one request whose payload comes from `source` and takes all of it. False: the source broke off, there is no reply. */
bool ntk_session_handle(NtkSession *session, const NtkHeader *header, NtkSource *source, NtkReply *reply);

/* The same for a request that lies in memory: a header and the payload in parts. Returns the reply's payload length; ntk_session_reply
 * copies that payload. `header` is replaced by the reply's. The lengths need not agree: the session says what is wrong. */
NTK_API uint64_t ntk_session_request(NtkSession *session, NtkHeader *header, const NtkSpan *parts, uint32_t part_count);
NTK_API void ntk_session_reply(const NtkSession *session, void *payload);

/* Checks a header: NULL where the stream is in step behind it, else what is wrong with it. */
const char *ntk_header_problem(const NtkHeader *header);

/* Compiles and runs a small model with every step that a session takes; prints what it finds with `print`. True: all is well. */
bool ntk_self_test(const char *library, void (*print)(const char *line));

/* The hash that android/build.py made over the sources, hexadecimal. */
NTK_API const char *ntk_build_hash(void);

#endif
