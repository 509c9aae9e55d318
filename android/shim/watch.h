/* What the session is doing right now, in words and numbers that survive its death.
 *
 * The struct lies in memory that worker and supervisor share (supervisor.c); a session without a supervisor has its own. The worker
 * writes, the supervisor reads after the worker is dead or late, so plain stores in program order are enough apart from `phase`.
 */
#ifndef NTK_WATCH_H
#define NTK_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "protocol.h"

enum {
  NTK_PHASE_IDLE = 0,     /* waits for a request: the stream is in step */
  NTK_PHASE_READING = 1,  /* has a header, not yet the whole payload */
  NTK_PHASE_WORKING = 2,  /* has the whole request */
  NTK_PHASE_REPLYING = 3, /* part of the reply may be out, or all of it */
  NTK_PHASE_ENDING = 4,   /* the session is over, only its objects are still freed */
};

typedef struct {
  _Atomic uint32_t phase;
  _Atomic uint32_t started; /* low 32 bits of the milliseconds at which the request began */
  _Atomic uint32_t limit;   /* milliseconds that it may take, 0 = no limit */
  uint16_t kind;
  uint32_t id;
  uint64_t left;        /* bytes of the payload that are still in the stream */
  const char *call;     /* static text: the NNAPI call that is under way, or NULL */
  char object[128];     /* what it is about: "program 3" */
  uint32_t load_limit, execute_limit; /* milliseconds, from HELLO */
  NtkHeader next;     /* of the next request, where the supervisor had to look at it */
  bool has_next;
  char obituary[512]; /* of a former worker that died between two requests: the answer to the next one */
  int32_t obituary_code;
} NtkWatch;

#endif
