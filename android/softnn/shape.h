/* What the operations that move and index data share: checks of operands, axes, lists of int32, strided movement.
 *
 * Every check records its reason with snn_fail, so a caller only passes the answer on.
 */
#ifndef SNN_SHAPE_H
#define SNN_SHAPE_H

#include "operation.h"

/* --- validate --- */

/* The feature level from which an operation takes a data type; a table ends with SNN_NO_TYPE. */
typedef struct {
  int32_t type;
  int level;
} SnnTypeLevel;
#define SNN_NO_TYPE {-1, 0}
/* What most operations take: float32 and unsigned bytes from their first level on, float16 from 3, signed bytes from 4. */
#define SNN_FLOATS_AND_BYTES(first)                                                                       \
  {ANEURALNETWORKS_TENSOR_FLOAT32, (first)}, {ANEURALNETWORKS_TENSOR_FLOAT16, (first) > 3 ? (first) : 3}, \
      {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, (first)}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, (first) > 4 ? (first) : 4}
#define SNN_FLOATS(first) {ANEURALNETWORKS_TENSOR_FLOAT32, (first)}, {ANEURALNETWORKS_TENSOR_FLOAT16, (first) > 3 ? (first) : 3}

/* The level that `levels` gives the type of an input, or SNN_INVALID (recorded). */
int snn_type_level(SnnNode *node, uint32_t input, const SnnTypeLevel *levels);

/* Checks counts and types of all operands against one letter each; `type` is the data type of the node:
 *
 *   T tensor of the data type    I TENSOR_INT32           B TENSOR_BOOL8           U TENSOR_QUANT8_ASYMM
 *   A TENSOR_QUANT8_ASYMM_SIGNED W TENSOR_QUANT8_SYMM     S TENSOR_QUANT16_SYMM    Q TENSOR_QUANT16_ASYMM
 *   i INT32                      b BOOL                   F FLOAT32                f FLOAT16 when T is float16, else FLOAT32
 *   * anything (the caller looks at it)
 *
 * A `|` means that the inputs behind it may be left off, a `~` that the input in front of it may be omitted. */
bool snn_signature(SnnNode *node, int32_t type, const char *inputs, const char *outputs);
/* The same for prepare: an input that is a model input can turn out to be omitted only at execution. */
bool snn_all_present(SnnNode *node, const char *inputs);

/* As far as the rank is known; `what` names the operand in the message. */
bool snn_check_rank(SnnNode *node, const SnnTensor *t, const char *what, uint32_t least, uint32_t most);
/* Quantised tensors only: the same scale and zero point. */
bool snn_check_same_quantization(SnnNode *node, const SnnTensor *a, const SnnTensor *b);

/* --- prepare --- */

/* An axis counted from the end when negative. */
bool snn_axis(SnnNode *node, int32_t axis, uint32_t rank, uint32_t *result);
/* The values of an int32 tensor of rank 1 (or, as a matrix, of any rank): SNN_OK, SNN_NEEDS_DATA or SNN_BAD. */
int snn_get_i32s(SnnNode *node, uint32_t input, const int32_t **values, size_t *count);
/* snn_scratch, refused where the address space cannot hold it. */
int snn_get_scratch(SnnNode *node, uint64_t bytes);
/* Product of a run of dimensions. */
size_t snn_product(const uint32_t *dims, uint32_t begin, uint32_t end);

/* --- movement by bytes --- */

#define SNN_MOVE_RANK (2 * SNN_MAX_RANK)

/* Nested loops that copy `element` bytes from one strided place to another; the outermost dimension comes first. */
typedef struct {
  uint32_t rank;
  size_t element;
  size_t extent[SNN_MOVE_RANK];
  ptrdiff_t from[SNN_MOVE_RANK], to[SNN_MOVE_RANK]; /* bytes from one index to the next */
  ptrdiff_t from_start, to_start;                   /* bytes */
} SnnMove;

/* Appends an inner dimension. Strides are in elements and must be added before snn_move_finish. */
void snn_move_dim(SnnMove *move, size_t extent, ptrdiff_t from, ptrdiff_t to);
/* Turns elements into bytes and merges dimensions that lie end to end. */
void snn_move_finish(SnnMove *move, size_t element_bytes);
void snn_move(SnnNode *node, const SnnMove *move, const void *source, void *target);

/* Row-major strides in elements; strides[rank - 1] = 1. */
void snn_strides(uint32_t rank, const uint32_t *dims, ptrdiff_t *strides);
/* Writes `count` copies of one element. */
void snn_fill(void *target, size_t count, const void *element, size_t bytes);
/* The bytes of one element that means zero: the zero point of a quantised tensor. Returns its size. */
size_t snn_zero_element(const SnnTensor *t, uint8_t bytes[8]);

/* An image of rank 4 by meaning, NHWC or NCHW, with strides in elements. */
typedef struct {
  uint32_t n, h, w, c;
  ptrdiff_t by_n, by_h, by_w, by_c;
} SnnView;
SnnView snn_view(const uint32_t dims[4], bool nchw);
/* Sets an output to an image of the given size; *view tells how it lies. */
int snn_set_view(SnnNode *node, uint32_t output, bool nchw, uint64_t n, uint64_t h, uint64_t w, uint64_t c, SnnView *view);

/* Steps an index over `dims`, the last one fastest; false after the last. */
bool snn_next_index(uint32_t rank, const uint32_t *dims, uint32_t *index);

/* numpy broadcasting of two shapes, to the right; false (recorded) when they do not fit. */
bool snn_broadcast(SnnNode *node, const SnnTensor *a, const SnnTensor *b, uint32_t *rank, uint32_t dims[SNN_MAX_RANK]);
/* Strides in elements of `t` inside the broadcast shape: 0 where it is repeated. */
void snn_broadcast_strides(const SnnTensor *t, uint32_t rank, ptrdiff_t strides[SNN_MAX_RANK]);

#endif
