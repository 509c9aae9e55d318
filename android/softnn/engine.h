/* The engine of software NNAPI, behind api.c: objects of the C interface, settings, plans. Operations see operation.h only. */
#ifndef SNN_ENGINE_H
#define SNN_ENGINE_H

#include <stdatomic.h>

#include "../include/softnn.h"
#include "entry_points.h"
#include "operation.h"

#define SNN_LEVELS 8
#define SNN_OPERATION_CODES 106
#define SNN_ALIGNMENT 64
#define SNN_NEVER UINT64_MAX /* a deadline that never comes */
#define SNN_DEFAULT_LOOP_TIMEOUT 2000000000ull
#define SNN_MAXIMUM_LOOP_TIMEOUT 15000000000ull
#define SNN_BANKS 4
/* Bytes of a tensor. A fuzzer looks for wrong answers, not for big ones. */
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#define SNN_MAX_BYTES 16384u
#else
#define SNN_MAX_BYTES UINT32_MAX
#endif

/* --- settings.c: an immutable snapshot; a change makes a new one and old ones stay, so readers need no lock --------------------- */

typedef struct {
  SnnCall call;
  uint32_t nth; /* from 1; 0 = each call */
  enum { SNN_FAULT_CODE, SNN_FAULT_SLEEP, SNN_FAULT_KILL } action;
  int32_t value; /* result code, or milliseconds */
} SnnFault;

typedef struct SnnSettings {
  int32_t level, device_level, device_type;
  char *device_name, *device_version;
  bool accelerator;
  bool refused[SNN_OPERATION_CODES];
  uint32_t refuse_every, threads, cores;
  bool verbose;
  SnnFault *faults;
  uint32_t fault_count;
  struct SnnSettings *older;
} SnnSettings;

const SnnSettings *snn_settings(void);
/* Looks at the environment again, unless the program has configured the library itself. */
void snn_settings_refresh(void);
/* At the start of each entry point: is it known at this level (else BAD_STATE), and is a fault to be injected? 0 goes on. */
int snn_enter(SnnCall call);
int64_t snn_level_constant(int32_t level);

/* --- log.c ------------------------------------------------------------------------------------------------------------------- */

/* Writes one line to stderr when verbose. Returns `code`, so that a refusal is `return snn_refuse(ANEURALNETWORKS_BAD_DATA, ...)`. */
int snn_refuse(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
void snn_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, verbose or not: for settings that make no sense. */
void snn_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- sync.c: locks by futex, time ------------------------------------------------------------------------------------------- */

typedef struct {
  atomic_uint state; /* 0 free, 1 held, 2 held and waited for */
} SnnLock;
void snn_lock(SnnLock *lock);
void snn_unlock(SnnLock *lock);
/* Waits while *word == value, at most until the deadline; may return early. */
void snn_wait_word(atomic_uint *word, unsigned value, uint64_t deadline);
void snn_wake_word(atomic_uint *word);
uint64_t snn_now(void);       /* CLOCK_MONOTONIC in ns */
void snn_sleep_ns(uint64_t ns);
/* start + duration without overflow; a duration of 0 never ends. Of a call, the start is the moment at which it was entered: an
 * injected delay counts. */
uint64_t snn_deadline(uint64_t start, uint64_t duration);

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SNN_BLOCKS_APART /* in many blocks that would lie in one: the sanitizer sees who reads beyond one */
#endif
#endif

/* --- memory of our own ------------------------------------------------------------------------------------------------------- */

/* Zeroed; NULL on overflow or when out of memory. */
void *snn_allocate(size_t count, size_t size);
/* Grows an array of `size`-byte elements to hold `needed`; contents stay, new elements are not zeroed. */
bool snn_grow(void **array, uint32_t *capacity, uint32_t needed, size_t size);
/* Not zeroed, aligned to SNN_ALIGNMENT; a size of 0 gives 1 byte. Freed by free(). */
void *snn_allocate_aligned(size_t bytes);
/* madvise() for the pages of `grain` bytes that lie within the block. */
void snn_advise(void *block, size_t bytes, size_t grain, int advice);
enum { SNN_HUGE_PAGE = 2 << 20, SNN_ADVISE_HUGE = 14 }; /* whole ones only: none is there in vain */
/* A block that is kept between uses and only grows; contents are lost when it grows. False when out of memory. */
typedef struct {
  void *data;
  size_t capacity;
} SnnBuffer;
bool snn_reserve(SnnBuffer *buffer, size_t bytes);
void snn_release(SnnBuffer *buffer);
/* Many small blocks that are freed together: heaps round each up, some to the next power of two. */
typedef struct {
  struct SnnChunk *newest;
  uint8_t *next; /* free memory in it */
  size_t left;
} SnnSlab;
/* Not zeroed; aligned to `alignment`, a power of two up to SNN_ALIGNMENT. NULL when out of memory. */
void *snn_slab_take(SnnSlab *slab, size_t bytes, size_t alignment);
void snn_slab_free(SnnSlab *slab);

/* --- devices ----------------------------------------------------------------------------------------------------------------- */

struct ANeuralNetworksDevice {
  bool cpu; /* nnapi-reference; else the accelerator */
};
#define SNN_MAX_DEVICES 2
uint32_t snn_device_count(const SnnSettings *settings);
const ANeuralNetworksDevice *snn_device(const SnnSettings *settings, uint32_t index);
int32_t snn_device_level(const SnnSettings *settings, const ANeuralNetworksDevice *device);
/* Does the device run operation `index` of the model? Logs the reason when not. */
bool snn_device_supports(const SnnSettings *settings, const ANeuralNetworksDevice *device, const ANeuralNetworksModel *model,
                         uint32_t index);
/* BAD_DATA for an empty list or a device twice, UNEXPECTED_NULL for a NULL in it. */
int snn_check_devices(const ANeuralNetworksDevice *const *devices, uint32_t count);

/* --- memory objects ---------------------------------------------------------------------------------------------------------- */

/* A role of a memory: input or output `index` of a compilation. */
typedef struct {
  ANeuralNetworksCompilation *compilation;
  bool output;
  uint32_t index;
} SnnRole;

typedef struct {
  SnnRole *list;
  uint32_t count, capacity;
} SnnRoles;

struct ANeuralNetworksMemory {
  atomic_uint references; /* the client's, and those of models and executions that use it */
  uint8_t *data;
  size_t size;
  void *map;        /* from a file descriptor: what to unmap */
  size_t map_bytes;
  atomic_size_t read; /* bytes since it rested */
  bool readable, writable;
  /* from a descriptor */
  bool described;
  SnnRoles roles;
  SnnTensor type;          /* dims: as the descriptor gave them, 0 = unknown */
  SnnLock lock;            /* guards the rest */
  bool initialized;
  uint32_t rank, dims[SNN_MAX_RANK]; /* of the present content */
};

struct ANeuralNetworksMemoryDesc {
  SnnRoles roles;
  SnnTensor type;
  bool finished;
};

ANeuralNetworksMemory *snn_memory_retain(const ANeuralNetworksMemory *memory);
void snn_memory_release(ANeuralNetworksMemory *memory);
int snn_memory_from_fd(size_t size, int protect, int fd, size_t offset, ANeuralNetworksMemory **result);
int snn_memory_from_desc(const ANeuralNetworksMemoryDesc *desc, ANeuralNetworksMemory **result);
int snn_memory_copy(const ANeuralNetworksMemory *source, const ANeuralNetworksMemory *target);
/* The pages of a mapping need not stay with this process. They come back by themselves when they are read. */
void snn_memory_rest(ANeuralNetworksMemory *memory);
/* So many bytes were read and will hardly be read again; once they are many, the mapping rests. */
void snn_memory_was_read(ANeuralNetworksMemory *memory, size_t bytes);
/* May bytes [offset, offset + length) serve as a constant? */
int snn_memory_check_constant(const ANeuralNetworksMemory *memory, size_t offset, size_t length);
/* May it serve in this role? For described memory: offset and length 0, the role known; then *whole is set. */
int snn_memory_check_role(const ANeuralNetworksMemory *memory, const ANeuralNetworksCompilation *compilation, bool output,
                          uint32_t index, size_t offset, size_t length, bool *whole);
int snn_desc_add_role(ANeuralNetworksMemoryDesc *desc, const ANeuralNetworksCompilation *compilation, bool output, uint32_t index,
                      float frequency);
int snn_desc_set_dimensions(ANeuralNetworksMemoryDesc *desc, uint32_t rank, const uint32_t *dims);
int snn_desc_finish(ANeuralNetworksMemoryDesc *desc);
void snn_desc_free(ANeuralNetworksMemoryDesc *desc);

/* --- models ------------------------------------------------------------------------------------------------------------------ */

typedef struct {
  SnnTensor t; /* dims: 0 = unknown */
  ANeuralNetworksMemory *memory;
  uint32_t writers;
  uint32_t slot; /* in instances of the finished model; SNN_NO_SLOT for constants, which all instances read where they lie */
} SnnOperand;

#define SNN_NO_SLOT UINT32_MAX

typedef struct {
  const SnnOperation *op;
  uint32_t n_in, n_out;
  uint32_t *operands; /* inputs, then outputs */
  int32_t level;      /* that the node needs */
} SnnModelNode;

/* Packed constants: made once for all compilations of a model and all their instances, gone with the last compilation. */
typedef struct SnnPacked SnnPacked;
typedef struct {
  SnnLock lock; /* guards the rest */
  SnnPacked *first;
  struct SnnMapping *mappings; /* memory that they lie in, and cache files */
  uint8_t *next;               /* free memory in the newest */
  size_t left;
  uint32_t users;              /* compilations */
} SnnPackedSet;

struct ANeuralNetworksModel {
  atomic_uint references;
  int32_t level; /* of the run time when it was created */
  SnnOperand *operands;
  uint32_t n_operands, operand_capacity, n_slots;
  SnnModelNode *nodes;
  uint32_t n_nodes, node_capacity;
  ANeuralNetworksModel **models; /* that MODEL operands refer to */
  uint32_t n_models, model_capacity;
  uint32_t *inputs, *outputs, n_inputs, n_outputs;
  uint32_t *order;  /* nodes in run order */
  SnnSlab slab;     /* the nodes' lists, the scales, and values: what is copied at once, what could not be read where it was */
  uint32_t weight;  /* nodes, with those of the referenced models, each as often as it is referred to */
  uint32_t depth;   /* levels of referenced models */
  bool identified, finished, invalid, relaxed;
  SnnPackedSet packed; /* of the compilations of this model, not of those that refer to it */
};

/* Referenced models count as often as they are referred to; more than this is refused. */
#define SNN_MAX_WEIGHT 65536u
#define SNN_MAX_DEPTH 32u

ANeuralNetworksModel *snn_model_retain(const ANeuralNetworksModel *model);
void snn_model_release(ANeuralNetworksModel *model);
int snn_model_create(ANeuralNetworksModel **result);
int snn_model_finish(ANeuralNetworksModel *model); /* model_finish.c */
int snn_model_add_operand(ANeuralNetworksModel *model, const ANeuralNetworksOperandType *type);
int snn_model_set_value(ANeuralNetworksModel *model, int32_t index, const void *buffer, size_t length);
int snn_model_set_memory(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksMemory *memory, size_t offset, size_t length);
int snn_model_set_model(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksModel *value);
int snn_model_set_channels(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksSymmPerChannelQuantParams *channels);
int snn_model_add_operation(ANeuralNetworksModel *model, int32_t code, uint32_t n_in, const uint32_t *in, uint32_t n_out,
                            const uint32_t *out);
int snn_model_identify(ANeuralNetworksModel *model, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out);
int snn_model_relax(ANeuralNetworksModel *model, bool allow);
/* What was read of the constants need not stay in this process; see snn_memory_rest. */
void snn_model_rest(const ANeuralNetworksModel *model);
int snn_model_check_extension_data(ANeuralNetworksModel *model, int32_t index);
/* Runs the operation's validate; the level that the node needs, or SNN_INVALID (logged). */
int snn_validate_node(const ANeuralNetworksModel *model, const SnnModelNode *node);

/* --- tensors ----------------------------------------------------------------------------------------------------------------- */

/* Level that brought an operand type; 0 for an unknown one. */
int32_t snn_type_feature_level(int32_t type);
/* All dimensions known (0 = unknown)? */
bool snn_fully_specified(const SnnTensor *t);
/* The bytes of a tensor of known shape; false when they do not fit 32 bits. */
bool snn_byte_size(const SnnTensor *t, size_t *bytes);
/* Merges the dimensions of `type` (NULL = nothing to add) into `t` (0 = unknown); false when they contradict. */
bool snn_merge_dims(SnnTensor *t, uint32_t rank, const uint32_t *dims);
/* Checks an operand type by all rules that need no model; 0 or a result code. Fills `t`. */
int snn_read_type(const ANeuralNetworksOperandType *type, int32_t level, SnnTensor *t);

/* --- plans: plan.c prepares, arena.c lays out, run.c executes ------------------------------------------------------------------- */

typedef struct SnnInstance SnnInstance;
typedef struct SnnStep SnnStep;

struct SnnContext {
  SnnInstance *instance; /* NULL in validate */
  const ANeuralNetworksModel *model;
};

#define SNN_NO_PLACE SIZE_MAX

/* An operand in an instance, if its value is not the model's. `tensor` comes first: operations hold SnnTensor pointers, snn_slot goes back. */
typedef struct {
  SnnTensor tensor;
  const SnnTensor *declared;
  bool shape_known;
  bool late;         /* shape known only while executing: lives in `own` */
  bool external;     /* model input or output whose bytes are the caller's this time */
  uint32_t first, last; /* steps between which the value lives */
  uint32_t shares;   /* index of the slot whose place it takes over, or its own */
  size_t bytes;
  size_t place;      /* in the arena, or SNN_NO_PLACE */
  SnnBuffer own;
} SnnSlot;

static inline SnnSlot *snn_slot(SnnTensor *tensor) { return (SnnSlot *)tensor; }

struct SnnStep {
  SnnNode node;             /* first: snn_step goes back. node.out follows node.in */
  const SnnModelNode *source;
  uint32_t id;              /* unique among all instances of a compilation's tree */
  bool late;                /* prepared anew in each execution */
  bool skip;                /* nothing to compute: all outputs are empty */
  bool params_apart;        /* from the heap, not the instance's slab */
  SnnSlot *shadows;         /* float32 in place of float16: n_in + n_out of them, or NULL */
  SnnInstance **children;   /* per input; an instance of each referenced model */
  SnnBuffer params;
  SnnBuffer own;            /* workspace of a late step */
  size_t workspace;         /* bytes of shadows, then scratch */
  size_t place;             /* of the workspace in the arena */
};

/* One packed constant, or several of one step. */
struct SnnPacked {
  uint32_t step, tag;
  size_t bytes;
  void *data;        /* with zeros up to a multiple of SNN_ALIGNMENT */
  const SnnInstance *owner; /* that fills it */
  atomic_bool ready;
  bool stored;       /* a cache file that was loaded has it */
  SnnPacked *next;
};

/* What all instances of a compilation share. */
typedef struct {
  SnnPackedSet *packed; /* the model's */
  uint32_t threads;     /* that may compute one execution */
  bool fast_floats;     /* sums of float32 may round otherwise than TFLite's */
} SnnShared;

/* What is known of an input or wanted of an output, and where its bytes are. */
typedef struct {
  SnnTensor t;         /* dims; data, length: the caller's bytes */
  bool insufficient;   /* outputs: the result did not fit */
} SnnArgument;

typedef struct {
  SnnArgument *inputs, *outputs;
  uint64_t deadline;     /* SNN_NEVER */
  uint64_t loop_timeout; /* ns */
} SnnRun;

struct SnnInstance {
  const ANeuralNetworksModel *model;
  SnnShared *shared;
  uint32_t first_id;
  SnnSlot *slots;
  SnnStep *steps;
  SnnTensor **pointers; /* the steps' node.in and node.out */
  SnnSlab slab;         /* their parameters */
  struct SnnContext context;
  uint8_t *arena;
  size_t arena_bytes, arena_capacity;
  bool prepared;
  const SnnRun *run;  /* while executing */
  /* of a model that control flow refers to */
  SnnArgument *arguments; /* inputs, then outputs */
  SnnBuffer *banks;       /* per output SNN_BANKS: results that outlive the next run */
  SnnInstance *next;  /* in the compilation's pool */
};

/* The step of a node in prepare or execute. */
static inline SnnStep *snn_step(const SnnNode *node) { return (SnnStep *)(uintptr_t)node; }

static inline SnnSlot *snn_operand_slot(const SnnInstance *instance, uint32_t operand) {
  uint32_t slot = instance->model->operands[operand].slot;
  return slot == SNN_NO_SLOT ? NULL : &instance->slots[slot];
}

static inline SnnTensor *snn_operand_tensor(const SnnInstance *instance, uint32_t operand) {
  SnnSlot *slot = snn_operand_slot(instance, operand);
  return slot == NULL ? &instance->model->operands[operand].t : &slot->tensor;
}

/* The instance of a finished model; *next_id counts steps. NULL when out of memory. */
SnnInstance *snn_instance_create(const ANeuralNetworksModel *model, SnnShared *shared, uint32_t *next_id);
void snn_instance_free(SnnInstance *instance);
/* Prepares for inputs of these shapes. Exact: a dimension 0 means empty; else (at compilation) unknown. An SNN_* code. */
int snn_instance_prepare(SnnInstance *instance, const SnnArgument *inputs, bool exact);
/* Is it prepared for just these shapes? */
bool snn_instance_fits(const SnnInstance *instance, const SnnArgument *inputs);
/* Executes; prepares first when the inputs' shapes are others than those it is prepared for. A result code of the C interface. */
int snn_instance_run(SnnInstance *instance, const SnnRun *run);
/* One step, with bound inputs when `live`. An SNN_* code. */
int snn_step_prepare(SnnInstance *instance, SnnStep *step, bool live);
/* Lays out the arena. False when out of memory. */
bool snn_plan_arena(SnnInstance *instance);
/* Sets the pointers into the arena, after each change of it. */
void snn_bind_arena(SnnInstance *instance);
/* Puts the shadows' data into the workspace. */
void snn_bind_workspace(SnnStep *step, uint8_t *workspace);
size_t snn_align(size_t bytes);

/* f16.c */
void snn_widen(float *to, const uint16_t *from, size_t count);
void snn_narrow(uint16_t *to, const float *from, size_t count);
float snn_half_to_float(uint16_t half);
uint16_t snn_float_to_half(float value);
bool snn_is_half(int32_t type);
/* Before and after the operation sees its shadows. */
int snn_shadows_describe(SnnStep *step); /* shapes and constants, before prepare */
void snn_shadows_accept(SnnStep *step);  /* output shapes, after prepare */
void snn_shadows_widen(SnnStep *step);
void snn_shadows_narrow(SnnStep *step);
size_t snn_shadows_bytes(const SnnStep *step);
/* A late step's shadows are blocks of their own: its outputs' sizes come after its inputs were read. */
bool snn_shadows_reserve(SnnStep *step, bool outputs);

/* --- compilations ------------------------------------------------------------------------------------------------------------ */

struct ANeuralNetworksCompilation {
  atomic_uint references;
  ANeuralNetworksModel *model;
  const SnnSettings *settings;
  const ANeuralNetworksDevice *devices[SNN_MAX_DEVICES];
  uint32_t n_devices;
  bool explicit_devices;
  int32_t preference, priority;
  uint64_t timeout;
  char *cache_directory;
  uint8_t token[ANEURALNETWORKS_BYTE_SIZE_OF_CACHE_TOKEN];
  bool finished, valid;
  SnnShared shared;
  bool cached;       /* the cache file was believed */
  SnnLock lock;      /* guards the pool */
  SnnInstance *pool; /* prepared instances that nobody executes now */
};

ANeuralNetworksCompilation *snn_compilation_retain(const ANeuralNetworksCompilation *compilation);
void snn_compilation_release(ANeuralNetworksCompilation *compilation);
/* devices NULL: the run time chooses. */
int snn_compilation_create(ANeuralNetworksModel *model, const ANeuralNetworksDevice *const *devices, uint32_t count,
                           ANeuralNetworksCompilation **result);
/* `start`: when the call was entered; timeouts count from there. */
int snn_compilation_finish(ANeuralNetworksCompilation *compilation, uint64_t start);
/* setMeasureTiming, timeouts: only where the client chose exactly one device. */
bool snn_one_device(const ANeuralNetworksCompilation *compilation);
SnnInstance *snn_compilation_take(ANeuralNetworksCompilation *compilation);
void snn_compilation_give(ANeuralNetworksCompilation *compilation, SnnInstance *instance);

/* cache.c */
void snn_cache_load(ANeuralNetworksCompilation *compilation);
void snn_cache_store(ANeuralNetworksCompilation *compilation);
/* threads.c: workers live as long as somebody holds the pool. */
void snn_threads_retain(uint32_t threads, uint32_t cores);
void snn_threads_release(uint32_t threads);
/* Where the calling thread ran before it was put on a core. */
typedef struct {
  long bytes; /* 0: it was not */
  unsigned long before[128 / sizeof(long)];
} SnnPlace;

/* Around an execution: between them workers are quick, and the caller is on one of the cores (a bit each; 0: any). */
void snn_threads_begin(uint32_t threads, uint32_t cores, SnnPlace *place);
void snn_threads_end(uint32_t threads, const SnnPlace *place);

/* packed.c */
void snn_packed_retain(SnnPackedSet *set);
void snn_packed_release(SnnPackedSet *set);
/* Blocks that lie in a mapped file, which the set takes over: begin, add each, end. */
bool snn_packed_begin(SnnPackedSet *set, void *map, size_t bytes); /* false when out of memory */
void snn_packed_add_mapped(SnnPackedSet *set, uint32_t step, uint32_t tag, size_t bytes, void *data);
void snn_packed_end(SnnPackedSet *set);
bool snn_packed_all_ready(const SnnPackedSet *set); /* with its lock held */
/* What the instance's step has packed is complete: others may use it. True when there is some. */
bool snn_packed_finish(SnnPackedSet *set, const SnnInstance *owner, uint32_t step);

/* --- executions -------------------------------------------------------------------------------------------------------------- */

typedef struct {
  enum { SNN_UNSET, SNN_POINTER, SNN_MEMORY, SNN_NOTHING } kind;
  SnnArgument a;
  ANeuralNetworksMemory *memory;
  bool whole; /* all of a described memory */
} SnnBinding;

struct ANeuralNetworksExecution {
  ANeuralNetworksCompilation *compilation;
  SnnBinding *inputs, *outputs;
  SnnArgument *arguments; /* inputs, then outputs: what a run works on */
  bool padding, bound, measure, reusable;
  uint64_t timeout, loop_timeout;
  atomic_uint state; /* SnnExecutionState */
  int result;
  bool fenced;
  uint64_t duration; /* ns */
};

typedef enum { SNN_PREPARING, SNN_RUNNING, SNN_DONE } SnnExecutionState;

struct ANeuralNetworksBurst {
  ANeuralNetworksCompilation *compilation;
  atomic_flag busy;
};

int snn_execution_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksExecution **result);
void snn_execution_free(ANeuralNetworksExecution *execution);
int snn_execution_bind(ANeuralNetworksExecution *execution, bool output, int32_t index, const ANeuralNetworksOperandType *type,
                       void *buffer, size_t length);
int snn_execution_bind_memory(ANeuralNetworksExecution *execution, bool output, int32_t index, const ANeuralNetworksOperandType *type,
                              const ANeuralNetworksMemory *memory, size_t offset, size_t length);
/* BAD_STATE unless it may still be changed. */
int snn_execution_check_open(const ANeuralNetworksExecution *execution, const char *call);
/* From PREPARING to RUNNING: BAD_STATE, or BAD_DATA while an input or output is not given. */
int snn_execution_begin(ANeuralNetworksExecution *execution);
/* Runs to the end; the deadline is absolute. */
int snn_execution_run(ANeuralNetworksExecution *execution, uint64_t deadline);
/* Ends a run that never got to the device. */
int snn_execution_abandon(ANeuralNetworksExecution *execution, int code);
int snn_execution_output(const ANeuralNetworksExecution *execution, int32_t index, const SnnArgument **output);
int snn_execution_duration(const ANeuralNetworksExecution *execution, int32_t code, uint64_t *duration);

/* event.c; `start`: when the call was entered */
int snn_event_start(ANeuralNetworksExecution *execution, const ANeuralNetworksEvent *const *dependencies, uint32_t count,
                    uint64_t start, uint64_t duration, ANeuralNetworksEvent **result);
int snn_event_from_fence(int fd, ANeuralNetworksEvent **result);
int snn_event_fence(const ANeuralNetworksEvent *event, int *fd);
int snn_event_wait(ANeuralNetworksEvent *event);
void snn_event_free(ANeuralNetworksEvent *event);

#endif
