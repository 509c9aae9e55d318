/* What a session holds, for the files that make up the session: session.c, compile.c, execute.c, slots.c. */
#ifndef NTK_STATE_H
#define NTK_STATE_H

#include "memory.h"
#include "nnapi_api.h"
#include "program.h"
#include "session.h"

/* A file that constants lie in. */
typedef struct {
  int fd; /* -1 = no file */
  uint8_t *map;
  uint64_t size;
  ANeuralNetworksMemory *memory[NTK_MAX_LIBRARIES]; /* NULL: not made yet, or refused */
  bool refused[NTK_MAX_LIBRARIES];
} NtkFile;

/* The files of one OPEN; each loaded program keeps the pair that it was loaded with. */
typedef struct {
  uint32_t references;
  NtkFile file[2];
} NtkFiles;

/* A tensor that stays on the device. */
typedef struct {
  bool valid;
  NtkRegion region, spare; /* an output whose slot is an input of the same execution goes to `spare`, and they change places */
  uint64_t length;
  uint32_t rank, dims[NTK_MAX_RANK];
  uint64_t read_by, kept_by, written_by; /* serial number of the last execution that did so */
} NtkSlot;

enum { NTK_SLOTS_PER_PAGE = 256, NTK_SLOT_PAGES = NTK_MAX_SLOTS / NTK_SLOTS_PER_PAGE };

/* One input or output of a loaded program, and what the present request says about it. */
typedef struct {
  const NtkOperand *operand;
  NtkRegion region; /* for values that are in no slot */
  NtkRegion *at;    /* where the value is in this execution */
  uint32_t slot, source, rank, dims[NTK_MAX_RANK];
  bool send;
  uint64_t length;
} NtkArgument;

/* What the arguments of an execution were, to know whether it can run again as it is. */
typedef struct {
  uint64_t serial, offset, length;
  uint32_t rank, dims[NTK_MAX_RANK];
} NtkPlace;

/* A constant that had to be copied. */
typedef struct NtkCopy {
  struct NtkCopy *next;
  uint64_t bytes[]; /* aligned to 8 */
} NtkCopy;

/* A loaded program. */
typedef struct {
  uint32_t number;
  const NtkNnapi *nnapi; /* the library that it is compiled by */
  NtkProgram program;
  NtkFiles *files;
  ANeuralNetworksModel **models;
  ANeuralNetworksCompilation *compilation;
  ANeuralNetworksBurst *burst;
  ANeuralNetworksExecution *execution; /* reusable, with arguments at `places`; NULL = none */
  NtkPlace *places;
  bool reusable;   /* may `execution` run again? */
  uint32_t run_flags; /* how it is configured */
  uint64_t run_timeout;
  bool one_device; /* compiled for exactly one device: timeouts and durations work */
  NtkCopy *copies;
  uint64_t mapped_bytes, copied_bytes;
  bool values_in_program; /* NNAPI reads constants in the program's bytes */
  uint32_t input_count, output_count;
  NtkArgument *arguments; /* inputs, then outputs */
  NtkOperand *declared;   /* their operands */
} NtkLoaded;

struct NtkSession {
  char *paths[NTK_MAX_LIBRARIES]; /* of the libraries; paths[0] NULL = the system's */
  NtkNnapi libraries[NTK_MAX_LIBRARIES];
  const NtkNnapi *nnapi; /* the one that the present request is about */
  bool greeted;
  NtkWatch *watch, own_watch;
  NtkFiles *files;
  NtkLoaded *programs[NTK_MAX_PROGRAMS];
  uint32_t program_count;
  NtkArena arena;
  NtkSlot *slots[NTK_SLOT_PAGES];
  uint32_t slot_count; /* valid ones */
  uint64_t slot_bytes;
  uint64_t executions; /* serial number of the present one */
  uint64_t request_began;
  NtkSource *source;
  /* The reply in the making. */
  uint16_t status;
  int32_t code;
  char message[NTK_MAX_MESSAGE];
  NtkBuffer meta;
  NtkSpan *spans;
  uint32_t span_count, span_capacity;
  NtkReply reply; /* of ntk_session_request */
  bool over;
};

/* Turns the reply into an error; always false. The first error of a request stays. */
__attribute__((format(printf, 4, 5))) bool ntk_fail(NtkSession *session, int status, int code, const char *format, ...);
/* "EXECUTE: the payload ends in its outputs": a field that cannot be taken. */
bool ntk_fail_short(NtkSession *session, const char *what);
/* Takes a str into `text`; false after an error. */
bool ntk_take_text(NtkSession *session, char *text, size_t capacity, const char *what);
/* Everything that belongs to the request must have been taken. */
bool ntk_expect_end(NtkSession *session);
/* Appends a part to the reply behind `meta`; false when out of memory. */
bool ntk_reply_part(NtkSession *session, const void *data, size_t length);

/* From here on the request is about this library. */
void ntk_use(NtkSession *session, const NtkNnapi *nnapi);
/* An NNAPI call, with its name where a supervisor finds it; the result code is the value. */
#define NTK_CALL(session, name, ...)                                                  \
  ((session)->watch->call = "ANeuralNetworks" #name,                                  \
   ntk_called((session), (session)->nnapi->name(__VA_ARGS__)))
int ntk_called(NtkSession *session, int result);
/* Reports the failed call: ntk_fail_call(session, result, "Model_finish", "of model %u", 0). */
__attribute__((format(printf, 4, 5))) bool ntk_fail_call(NtkSession *session, int result, const char *call, const char *format, ...);
/* Is the entry point there? Otherwise the reply says which one is missing. */
#define NTK_NEED(session, name, level)                                                                              \
  ((session)->nnapi->name != NULL ||                                                                                \
   ntk_fail((session), NTK_STATUS_LIBRARY, 0, "ANeuralNetworks" #name " is missing: it came with feature level %d, this run time has %d", \
            (level), (session)->nnapi->feature_level))

/* compile.c */
bool ntk_handle_open(NtkSession *session);
bool ntk_handle_load(NtkSession *session);
bool ntk_handle_supported(NtkSession *session);
bool ntk_handle_unload(NtkSession *session);
void ntk_loaded_free(NtkSession *session, NtkLoaded *loaded);
void ntk_files_release(NtkSession *session, NtkFiles *files);
/* The loaded program with that number, or NULL after an error. */
NtkLoaded *ntk_find_program(NtkSession *session, uint32_t number);

/* execute.c */
bool ntk_handle_execute(NtkSession *session);
void ntk_forget_execution(NtkLoaded *loaded);

/* slots.c */
bool ntk_handle_read(NtkSession *session);
bool ntk_handle_write(NtkSession *session);
bool ntk_handle_drop(NtkSession *session);
/* The slot with that number; NULL after an error. `create`: make it where it does not exist, empty. */
NtkSlot *ntk_find_slot(NtkSession *session, uint32_t number, bool create);
/* Says that the slot holds a value of that length and shape, or none any more. */
void ntk_slot_set(NtkSession *session, NtkSlot *slot, uint64_t length, uint32_t rank, const uint32_t *dims);
void ntk_slot_clear(NtkSession *session, NtkSlot *slot);
void ntk_slots_free(NtkSession *session);

#endif
