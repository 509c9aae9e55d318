/* The contract between the engine and the operations of software NNAPI.
 *
 * An operation is one SnnOperation record in its family's file (ops/<family>.c), listed once in ops/registry.c.
 * Its three steps see the same SnnNode:
 *
 *   validate  at ANeuralNetworksModel_addOperation: counts, types, ranks and quantisation as far as they are known. Ranks and
 *             dimensions may be unknown here, values may be absent. Answers the feature level that the node needs (1..8), or
 *             SNN_INVALID after snn_fail(): the C API turns that into ANEURALNETWORKS_BAD_DATA.
 *   prepare   once all input shapes are known: checks every value that execute will use, sets the outputs' shapes, computes
 *             parameters (snn_params), asks for scratch (snn_scratch). Where it needs the value of an operand that is not constant and
 *             the data is not there yet, it answers SNN_NEEDS_DATA: the engine then prepares the node again at execution.
 *   execute   reads inputs, writes outputs, trusts what prepare checked, allocates nothing.
 *
 * float16: an operation with SNN_F16_BY_F32 never sees float16. The engine widens its float16 operands (tensors and scalars) to float32
 * around prepare and execute; validate still sees the declared types.
 */
#ifndef SNN_OPERATION_H
#define SNN_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/nnapi.h"

#define SNN_MAX_RANK 8

enum { SNN_INVALID = -1 };                       /* answer of validate */
enum { SNN_OK = 0, SNN_BAD = 1, SNN_NEEDS_DATA = 2, SNN_NO_MEMORY = 3, SNN_TIMEOUT = 4 }; /* of prepare and execute */

typedef enum { SNN_TEMPORARY, SNN_MODEL_INPUT, SNN_MODEL_OUTPUT, SNN_CONSTANT, SNN_OMITTED, SNN_SUBGRAPH } SnnLifetime;

/* There may be thousands: the order of the fields leaves no gaps. */
typedef struct {
  int32_t type;     /* ANEURALNETWORKS_TENSOR_FLOAT32 ... */
  uint16_t rank;
  bool rank_known; /* scalars: true, rank 0 */
  SnnLifetime lifetime : 8;
  uint32_t dims[SNN_MAX_RANK]; /* during validate 0 = unknown; afterwards 0 = zero-sized */
  float scale;
  int32_t zero_point;
  void *data;      /* NULL while there is no value */
  size_t length;   /* bytes of the value */
  const float *channel_scales; /* TENSOR_QUANT8_SYMM_PER_CHANNEL: channel_count of them */
  uint32_t channel_count;
  union {
    uint32_t channel_dim; /* with channel_scales */
    uint32_t model;       /* SNN_SUBGRAPH: index of the referenced model, for ops/control_flow.c */
  };
} SnnTensor;

typedef struct SnnNode SnnNode;

typedef struct {
  int32_t code;     /* ANEURALNETWORKS_ADD ... */
  const char *name; /* "ADD" */
  int32_t feature_level;  /* the lowest level that knows the operation at all */
  int (*validate)(SnnNode *node);
  int (*prepare)(SnnNode *node);
  int (*execute)(SnnNode *node);
  uint32_t flags;
} SnnOperation;

/* SNN_RECORD(ADD, 1, validate, prepare, execute, flags): one operation in the table of its family. With SNN_SELECTED the table holds only
 * the operations for which SNN_SELECT_<name> is defined (as "0,"), and the compiler drops what the others alone would use. */
#define SNN_KEEP(operation, level, validate, prepare, execute, flags) \
  {ANEURALNETWORKS_##operation, #operation, level, validate, prepare, execute, flags},
#ifdef SNN_SELECTED
#define SNN_DROP(operation, level, validate, prepare, execute, flags)
#define SNN_THIRD(first, second, third, ...) third
#define SNN_CHOOSE(...) SNN_THIRD(__VA_ARGS__)
#define SNN_RECORD(operation, ...) SNN_CHOOSE(SNN_SELECT_##operation, SNN_KEEP, SNN_DROP, 0)(operation, __VA_ARGS__)
#else
#define SNN_RECORD SNN_KEEP
#endif

#define SNN_F16_BY_F32 1u      /* see above */
#define SNN_ALLOW_OMITTED 2u   /* some operand may be omitted; else the engine refuses omitted ones */
#define SNN_ALLOW_ZERO_SIZED 4u /* execute copes with zero-sized tensors; else the engine skips it when all outputs are empty */
#define SNN_IN_PLACE 8u        /* output 0 may lie over input 0 (same bytes per element, read before written) */

struct SnnNode {
  const SnnOperation *op;
  uint32_t n_in, n_out;
  SnnTensor **in, **out;
  void *params;     /* owned by the node; set by snn_params, freed by the engine */
  void *scratch;    /* set before execute; snn_scratch bytes, 64-byte aligned */
  size_t scratch_bytes;
  struct SnnContext *context; /* the engine's */
};

/* --- for all three steps --- */
/* Records why ("CONV_2D: filter depth 3 is not input depth 4"); the operation's name is put in front. Returns SNN_INVALID. */
int snn_fail(SnnNode *node, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In prepare / execute: records why and returns SNN_BAD from the function. */
#define SNN_CHECK(node, condition, ...)  do { if (!(condition)) { snn_fail((node), __VA_ARGS__); return SNN_BAD; } } while (0)
/* In validate: records why and returns SNN_INVALID from the function. */
#define SNN_REQUIRE(node, condition, ...) do { if (!(condition)) return snn_fail((node), __VA_ARGS__); } while (0)

static inline bool snn_present(const SnnTensor *t) { return t->lifetime != SNN_OMITTED; }
bool snn_is_scalar(int32_t type);
size_t snn_element_size(int32_t type); /* 0 for MODEL and OEM types */
bool snn_is_quant8(int32_t type);      /* TENSOR_QUANT8_ASYMM or TENSOR_QUANT8_ASYMM_SIGNED */
const char *snn_type_name(int32_t type);
/* Number of elements; false on overflow of 32-bit byte sizes. */
bool snn_count(const SnnTensor *t, size_t *count);
/* For an operation without SNN_F16_BY_F32 that reads or writes a few float16 values itself. */
float snn_half_to_float(uint16_t half);
uint16_t snn_float_to_half(float value);

/* --- prepare --- */
/* The value of a scalar operand: SNN_OK, SNN_NEEDS_DATA (no value yet) or SNN_BAD (wrong type; recorded). */
int snn_get_i32(SnnNode *node, uint32_t input, int32_t *value);
int snn_get_f32(SnnNode *node, uint32_t input, float *value); /* FLOAT32, or FLOAT16 widened */
int snn_get_bool(SnnNode *node, uint32_t input, bool *value);
#define SNN_TRY(call) do { int snn_try_ = (call); if (snn_try_ != SNN_OK) return snn_try_; } while (0)
/* Sets an output's shape; checks it against declared dimensions that were known. */
int snn_set_shape(SnnNode *node, uint32_t output, uint32_t rank, const uint32_t *dims);
int snn_set_shape_like(SnnNode *node, uint32_t output, const SnnTensor *like);
/* Zeroed memory for node->params (once per prepare; a former block is freed). NULL when out of memory. */
void *snn_params(SnnNode *node, size_t bytes);
void snn_scratch(SnnNode *node, size_t bytes);
/* Memory for constants in a form that suits the kernel: 64-byte aligned, shared by all compilations of the model and kept in their
 * cache file. Where *fresh, it is zeroed and prepare fills it; else it holds what was filled in before. `tag` tells the forms that one
 * operation packs (several blocks, another layout for another input shape) apart. NULL when out of memory. Params point to it. */
void *snn_packed(SnnNode *node, uint32_t tag, size_t bytes, bool *fresh);
/* These bytes of a constant input are packed and not read again: if they lie in a file, their pages need not stay. The engine says so of
 * all constants of a node that packed something; this is for large ones, on the way. */
void snn_constant_packed(const SnnNode *node, const void *from, size_t bytes);

/* --- execute --- */
/* Runs fn(arg, begin, end) over [0, count) in slices of `grain` at least, on several threads where the settings allow it. Slices must not
 * write to the same place; which thread takes which slice must not change the result. Each thread begins with a share of the slices in order:
 * operations that go through an image in the same order find its parts in their caches. */
void snn_parallel(SnnNode *node, size_t count, size_t grain, void (*fn)(void *arg, size_t begin, size_t end), void *arg);
/* The same for slices that need room of their own: `worker` is below snn_workers (1 without threads), which prepare asks for when it
 * sizes the scratch. Two slices at the same time have different workers. */
typedef void (*SnnSliceFunction)(void *arg, uint32_t worker, size_t begin, size_t end);
uint32_t snn_workers(const SnnNode *node);
void snn_parallel_by_worker(SnnNode *node, size_t count, size_t grain, SnnSliceFunction fn, void *arg);

/* --- control flow: `input` is the position of an operand of type MODEL (lifetime SNN_SUBGRAPH) --- */
/* The referenced model's inputs and outputs as it declares them (0 = unknown); in all three steps. */
uint32_t snn_model_inputs(const SnnNode *node, uint32_t input);
uint32_t snn_model_outputs(const SnnNode *node, uint32_t input);
const SnnTensor *snn_model_input(const SnnNode *node, uint32_t input, uint32_t index);
const SnnTensor *snn_model_output(const SnnNode *node, uint32_t input, uint32_t index);
/* Prepare: the shapes of its outputs for inputs of these shapes, into outputs[snn_model_outputs]. SNN_NEEDS_DATA when they depend on
 * values. */
int snn_shape_model(SnnNode *node, uint32_t input, const SnnTensor *const *inputs, SnnTensor *outputs);
/* Prepare, after it: room for the results of runs into banks 0 to banks - 1, so that those runs allocate nothing. */
int snn_reserve_results(SnnNode *node, uint32_t input, uint32_t banks);
/* Is an execution under way? Only then can a model be run; in prepare, that is the case when it has answered SNN_NEEDS_DATA before. */
bool snn_executing(const SnnNode *node);
/* Runs it. The outputs lie in memory of bank 0..3 and stay until the next run of this model (of this node) into the same bank: a loop
 * takes two in turn, so that the results of one round can be the inputs of the next. */
int snn_run_model(SnnNode *node, uint32_t input, uint32_t bank, const SnnTensor *const *inputs, SnnTensor *outputs);
/* For a loop that begins now: the moment at which it must end, and whether that has come (then the step answers SNN_TIMEOUT). */
uint64_t snn_loop_deadline(const SnnNode *node);
bool snn_loop_expired(uint64_t deadline);

/* --- families --- each ops/<family>.c defines `const SnnOperation snn_<family>_operations[]`: an
 * SNN_RECORD for each operation, ended by a record with name NULL. */
const SnnOperation *snn_find_operation(int32_t code);

#endif
