/* EQUAL ... GREATER_EQUAL, LOGICAL_AND, LOGICAL_OR, SELECT. */
#include "../numeric.h"
#include "../shape.h"

#include <string.h>

/* --- broadcasting --- */

/* How 8-bit values become comparable: TFLite shifts them left by 8 and multiplies by their scale. Scales of 1 and more, which
 * TFLite refuses, are compared as real numbers. */
typedef struct {
  int32_t table[2][256];
  double real[2][256];
  bool by_real;
} Quantised;

typedef struct {
  uint32_t rank, dims[SNN_MAX_RANK];
  ptrdiff_t a[SNN_MAX_RANK], b[SNN_MAX_RANK]; /* strides in elements, 0 where repeated */
} Pairs;

typedef struct {
  Pairs pairs;
  Quantised quantised; /* allocated for 8-bit types only */
} Comparison;

static int prepare_pairs(SnnNode *node, Pairs *pairs) {
  const SnnTensor *a = node->in[0], *b = node->in[1];
  if (!snn_broadcast(node, a, b, &pairs->rank, pairs->dims)) return SNN_BAD;
  snn_broadcast_strides(a, pairs->rank, pairs->a);
  snn_broadcast_strides(b, pairs->rank, pairs->b);
  return snn_set_shape(node, 0, pairs->rank, pairs->dims);
}

/* Runs `each` over rows of the innermost dimension. */
typedef void (*RowFunction)(const SnnNode *node, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b,
                            uint8_t *out, size_t count);

static void for_each_row(const SnnNode *node, const Pairs *pairs, RowFunction row) {
  ptrdiff_t bytes = (ptrdiff_t)snn_element_size(node->in[0]->type);
  uint32_t inner = pairs->rank - 1, index[SNN_MAX_RANK] = {0};
  uint8_t *out = node->out[0]->data;
  do {
    const uint8_t *a = node->in[0]->data, *b = node->in[1]->data;
    for (uint32_t d = 0; d < inner; d++) {
      a += pairs->a[d] * (ptrdiff_t)index[d] * bytes;
      b += pairs->b[d] * (ptrdiff_t)index[d] * bytes;
    }
    row(node, a, pairs->a[inner], b, pairs->b[inner], out, pairs->dims[inner]);
    out += pairs->dims[inner];
  } while (snn_next_index(inner, pairs->dims, index));
}

/* --- comparisons --- */

static int comparison_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {
      SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_BOOL8, 3}, {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TT", "B")) return SNN_INVALID;
  for (uint32_t i = 0; i < 2; i++) {
    if (!snn_check_rank(node, node->in[i], "an input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  }
  return level;
}

static void fill_tables(Quantised *q, SnnTensor **in) {
  q->by_real = in[0]->scale >= 1 || in[1]->scale >= 1;
  for (int side = 0; side < 2; side++) {
    const SnnTensor *t = in[side];
    SnnMultiplier scale = snn_quantize_multiplier(t->scale);
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint8_t stored = (uint8_t)byte;
      int32_t value = snn_load8(t->type, &stored, 0) - t->zero_point;
      q->real[side][byte] = (double)value * t->scale;
      if (!q->by_real) q->table[side][byte] = snn_multiply(value * 256, scale);
    }
  }
}

static int comparison_prepare(SnnNode *node) {
  bool quantised = snn_is_quant8(node->in[0]->type);
  Pairs pairs;
  SNN_TRY(prepare_pairs(node, &pairs));
  Comparison *c = snn_params(node, quantised ? sizeof(Comparison) : sizeof(Pairs));
  if (!c) return SNN_NO_MEMORY;
  c->pairs = pairs;
  if (quantised) fill_tables(&c->quantised, node->in);
  return SNN_OK;
}

#define ROW_ARGUMENTS \
  const SnnNode *node, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count
#define PLAIN_ROW(name, T, op)                                                       \
  static void name(ROW_ARGUMENTS) {                                                  \
    const T *x = (const T *)(const void *)a, *y = (const T *)(const void *)b;        \
    (void)node;                                                                      \
    for (size_t i = 0; i < count; i++, x += step_a, y += step_b) out[i] = *x op * y; \
  }
#define BOOL_ROW(name, op)                                                              \
  static void name(ROW_ARGUMENTS) {                                                     \
    (void)node;                                                                         \
    for (size_t i = 0; i < count; i++, a += step_a, b += step_b) out[i] = !!*a op !!*b; \
  }
#define QUANTISED_ROW(name, op)                                                                                 \
  static void name(ROW_ARGUMENTS) {                                                                             \
    const Quantised *q = &((const Comparison *)node->params)->quantised;                                        \
    if (q->by_real) {                                                                                           \
      for (size_t i = 0; i < count; i++, a += step_a, b += step_b) out[i] = q->real[0][*a] op q->real[1][*b];   \
    } else {                                                                                                    \
      for (size_t i = 0; i < count; i++, a += step_a, b += step_b) out[i] = q->table[0][*a] op q->table[1][*b]; \
    }                                                                                                           \
  }
#define COMPARISON(name, op)                                                          \
  PLAIN_ROW(name##_float, float, op)                                                  \
  PLAIN_ROW(name##_i32, int32_t, op)                                                  \
  BOOL_ROW(name##_bool, op)                                                           \
  QUANTISED_ROW(name##_quantised, op)                                                 \
  static int name##_execute(SnnNode *node) {                                          \
    const Comparison *c = node->params;                                               \
    RowFunction row = name##_float;                                                   \
    switch (node->in[0]->type) {                                                      \
      case ANEURALNETWORKS_TENSOR_BOOL8: row = name##_bool; break;                    \
      case ANEURALNETWORKS_TENSOR_INT32: row = name##_i32; break;                     \
      case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:                                       \
      case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED: row = name##_quantised; break; \
      default: break;                                                                 \
    }                                                                                 \
    for_each_row(node, &c->pairs, row);                                               \
    return SNN_OK;                                                                    \
  }
COMPARISON(equal, ==)
COMPARISON(not_equal, !=)
COMPARISON(less, <)
COMPARISON(less_equal, <=)
COMPARISON(greater, >)
COMPARISON(greater_equal, >=)

/* --- logical --- */

static int logical_validate(SnnNode *node) {
  if (!snn_signature(node, ANEURALNETWORKS_TENSOR_BOOL8, "TT", "T")) return SNN_INVALID;
  for (uint32_t i = 0; i < 2; i++) {
    if (!snn_check_rank(node, node->in[i], "an input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  }
  return 3;
}

BOOL_ROW(and_row, &&)
BOOL_ROW(or_row, ||)

static int logical_and_execute(SnnNode *node) {
  for_each_row(node, &((const Comparison *)node->params)->pairs, and_row);
  return SNN_OK;
}

static int logical_or_execute(SnnNode *node) {
  for_each_row(node, &((const Comparison *)node->params)->pairs, or_row);
  return SNN_OK;
}

/* --- SELECT --- */

static int select_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};
  int level = snn_type_level(node, 1, levels);
  if (level < 0 || !snn_signature(node, node->in[1]->type, "BTT", "T")) return SNN_INVALID;
  for (uint32_t i = 0; i < 3; i++) {
    if (!snn_check_rank(node, node->in[i], "an input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  }
  return level;
}

/* Both 8-bit choices as the output would store them. */
typedef struct {
  uint8_t table[2][256];
} Choices;

static int select_prepare(SnnNode *node) {
  const SnnTensor *condition = node->in[0], *out = node->out[0];
  for (uint32_t i = 1; i <= 2; i++) {
    const SnnTensor *t = node->in[i];
    SNN_CHECK(node, t->rank == condition->rank && memcmp(t->dims, condition->dims, t->rank * sizeof(t->dims[0])) == 0,
              "the shapes of the condition and of input %u differ", i);
  }
  SNN_TRY(snn_set_shape_like(node, 0, condition));
  if (!snn_is_quant8(out->type)) return SNN_OK;
  Choices *choices = snn_params(node, sizeof(*choices));
  if (!choices) return SNN_NO_MEMORY;
  for (int i = 0; i < 2; i++) {
    const SnnTensor *t = node->in[1 + i];
    bool same = t->scale == out->scale && t->zero_point == out->zero_point;
    for (uint32_t byte = 0; byte < 256; byte++) {
      uint8_t stored = (uint8_t)byte;
      choices->table[i][byte] = same ? stored : (uint8_t)snn_requantize(snn_load8(t->type, &stored, 0), t, out);
    }
  }
  return SNN_OK;
}

static int select_execute(SnnNode *node) {
  const Choices *choices = node->params;
  const SnnTensor *out = node->out[0];
  const uint8_t *condition = node->in[0]->data, *a = node->in[1]->data, *b = node->in[2]->data;
  uint8_t *to = out->data;
  size_t count = snn_product(out->dims, 0, out->rank), bytes = snn_element_size(out->type);
  if (bytes == 1) {
    for (size_t i = 0; i < count; i++) to[i] = condition[i] ? choices->table[0][a[i]] : choices->table[1][b[i]];
  } else {
    for (size_t i = 0; i < count; i++) memcpy(to + i * bytes, (condition[i] ? a : b) + i * bytes, bytes);
  }
  return SNN_OK;
}

const SnnOperation snn_comparison_operations[] = {
    SNN_RECORD(EQUAL, 3, comparison_validate, comparison_prepare, equal_execute, SNN_F16_BY_F32)
    SNN_RECORD(NOT_EQUAL, 3, comparison_validate, comparison_prepare, not_equal_execute, SNN_F16_BY_F32)
    SNN_RECORD(LESS, 3, comparison_validate, comparison_prepare, less_execute, SNN_F16_BY_F32)
    SNN_RECORD(LESS_EQUAL, 3, comparison_validate, comparison_prepare, less_equal_execute, SNN_F16_BY_F32)
    SNN_RECORD(GREATER, 3, comparison_validate, comparison_prepare, greater_execute, SNN_F16_BY_F32)
    SNN_RECORD(GREATER_EQUAL, 3, comparison_validate, comparison_prepare, greater_equal_execute, SNN_F16_BY_F32)
    SNN_RECORD(LOGICAL_AND, 3, logical_validate, comparison_prepare, logical_and_execute, 0)
    SNN_RECORD(LOGICAL_OR, 3, logical_validate, comparison_prepare, logical_or_execute, 0)
    SNN_RECORD(SELECT, 3, select_validate, select_prepare, select_execute, 0)
    {0},
};
