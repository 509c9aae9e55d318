/* What the float recurrent operations share: activations, products, sequences in time-major or batch-major order. */
#ifndef SNN_RECURRENT_H
#define SNN_RECURRENT_H

#include "../numeric.h"
#include "../shape.h"

/* Activation codes of recurrent operations: the fuse codes and, beyond them, TANH and SIGMOID as TFLite numbers them. */
enum { SNN_ACT_NONE = 0, SNN_ACT_RELU = 1, SNN_ACT_RELU1 = 2, SNN_ACT_RELU6 = 3, SNN_ACT_TANH = 4, SNN_ACT_SIGMOID = 6 };

static inline bool snn_known_activation(int32_t code) {
  return (code >= SNN_ACT_NONE && code <= SNN_ACT_TANH) || code == SNN_ACT_SIGMOID;
}

static inline float snn_sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

static inline float snn_activate(int32_t code, float x) {
  switch (code) {
    case SNN_ACT_RELU: return x > 0 ? x : 0;
    case SNN_ACT_RELU1: return snn_clampf(x, -1, 1);
    case SNN_ACT_RELU6: return snn_clampf(x, 0, 6);
    case SNN_ACT_TANH: return tanhf(x);
    case SNN_ACT_SIGMOID: return snn_sigmoid(x);
    default: return x;
  }
}

/* Eight partial sums, so that it vectorises. */
static inline float snn_dot(const float *a, const float *b, size_t count) {
  float part[8] = {0}, sum = 0;
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (size_t j = 0; j < 8; j++) part[j] += a[i + j] * b[i + j];
  }
  for (; i < count; i++) sum += a[i] * b[i];
  return sum + (((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7])));
}

/* A sequence [time, batch, size] or [batch, time, size]: the distance, in elements, of neighbours in time and in the batch. */
typedef struct {
  uint32_t time, batch, size;
  size_t by_time, by_batch;
} SnnSequence;

static inline SnnSequence snn_sequence(uint32_t time, uint32_t batch, uint32_t size, uint32_t row, bool time_major) {
  SnnSequence s = {time, batch, size, time_major ? (size_t)batch * row : row, time_major ? row : (size_t)time * row};
  return s;
}

/* An input [time, batch, size] or [batch, time, size]. */
static inline int snn_read_sequence(SnnNode *node, uint32_t input, bool time_major, SnnSequence *sequence) {
  const SnnTensor *t = node->in[input];
  SNN_CHECK(node, t->rank == 3, "input %u has rank %u, not 3", input, t->rank);
  *sequence = snn_sequence(t->dims[time_major ? 0 : 1], t->dims[time_major ? 1 : 0], t->dims[2], t->dims[2], time_major);
  return SNN_OK;
}

/* An output with the time and batch of a sequence. */
static inline int snn_set_sequence(SnnNode *node, uint32_t output, const SnnSequence *like, uint32_t size, bool time_major) {
  uint32_t dims[3] = {time_major ? like->time : like->batch, time_major ? like->batch : like->time, size};
  return snn_set_shape(node, output, 3, dims);
}

static inline int snn_get_activation(SnnNode *node, uint32_t input, int32_t *code) {
  SNN_TRY(snn_get_i32(node, input, code));
  SNN_CHECK(node, snn_known_activation(*code), "activation %d is none of 0 to 4 and 6", *code);
  return SNN_OK;
}

/* Checks of optional and mandatory weights; an omitted one passes. */
static inline int snn_check_matrix(SnnNode *node, uint32_t input, uint32_t rows, uint32_t columns) {
  const SnnTensor *t = node->in[input];
  if (!snn_present(t)) return SNN_OK;
  SNN_CHECK(node, t->rank == 2 && t->dims[0] == rows && t->dims[1] == columns, "input %u is not a matrix of [%u, %u]", input,
            rows, columns);
  return SNN_OK;
}

static inline int snn_check_vector(SnnNode *node, uint32_t input, uint32_t size) {
  const SnnTensor *t = node->in[input];
  if (!snn_present(t)) return SNN_OK;
  SNN_CHECK(node, t->rank == 1 && t->dims[0] == size, "input %u is not a vector of [%u]", input, size);
  return SNN_OK;
}

/* The first two dimensions of a matrix that others are compared with. */
static inline int snn_matrix_size(SnnNode *node, uint32_t input, uint32_t *rows, uint32_t *columns) {
  const SnnTensor *t = node->in[input];
  SNN_CHECK(node, snn_present(t) && t->rank == 2, "input %u is not a matrix", input);
  *rows = t->dims[0];
  *columns = t->dims[1];
  return SNN_OK;
}

static inline const float *snn_floats(const SnnNode *node, uint32_t input) {
  return snn_present(node->in[input]) ? node->in[input]->data : NULL;
}

#endif
