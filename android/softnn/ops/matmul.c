/* BATCH_MATMUL: out[...] = a[...] x b[...] over the last two dimensions, either of them transposed. Batch dimensions broadcast. */
#include <string.h>

#include "../kernels.h"
#include "../numeric.h"
#include "../shape.h"

enum { A, B, TRANSPOSE_A, TRANSPOSE_B };

typedef struct {
  const SnnKernels *kernels;
  int32_t type;
  int float_kernel;
  uint32_t batches, rows, columns, depth, tile_rows;
  bool transpose_a, transpose_b, constant;
  uint32_t rank;                          /* of the batch dimensions */
  uint32_t dims[SNN_MAX_RANK];
  ptrdiff_t step_a[SNN_MAX_RANK], step_b[SNN_MAX_RANK]; /* matrices */
  SnnStored form_a, form_b;
  SnnRequant requant;
  size_t packed_step;
  const void *packed;                     /* constant right side: one matrix for each of its batches */
  size_t rows_at, converted_at, sums_at;  /* in the scratch memory */
} Matmul;

static int validate(SnnNode *node) {
  static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 6}, {ANEURALNETWORKS_TENSOR_FLOAT16, 6},
                                       {ANEURALNETWORKS_TENSOR_INT32, 6}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 6}, SNN_NO_TYPE};
  int level = snn_type_level(node, A, types);
  if (level < 0 || !snn_signature(node, node->in[A]->type, "TTbb", "T")) return SNN_INVALID;
  const SnnTensor *a = node->in[A], *b = node->in[B];
  if (!snn_check_rank(node, a, "input 0", 2, 4) || !snn_check_rank(node, b, "input 1", 2, 4)) return SNN_INVALID;
  SNN_REQUIRE(node, !a->rank_known || !b->rank_known || a->rank == b->rank, "ranks %u and %u differ", a->rank, b->rank);
  return level;
}

/* The operands without their last two dimensions, broadcast. */
static int plan_batches(SnnNode *node, Matmul *m) {
  SnnTensor a = *node->in[A], b = *node->in[B];
  a.rank -= 2;
  b.rank -= 2;
  m->batches = 1;
  if (!snn_broadcast(node, &a, &b, &m->rank, m->dims)) return SNN_BAD;
  if (m->rank > 0) {
    snn_broadcast_strides(&a, m->rank, m->step_a);
    snn_broadcast_strides(&b, m->rank, m->step_b);
  }
  uint32_t shape[SNN_MAX_RANK];
  for (uint32_t i = 0; i < m->rank; i++) {
    shape[i] = m->dims[i];
    SNN_CHECK(node, !__builtin_mul_overflow(m->batches, m->dims[i], &m->batches), "the output is too large");
  }
  shape[m->rank] = m->rows;
  shape[m->rank + 1] = m->columns;
  return snn_set_shape(node, 0, m->rank + 2, shape);
}

static size_t batches_of(const SnnTensor *t) { return snn_product(t->dims, 0, t->rank - 2); }

static SnnWeights right_side(const Matmul *m, const void *matrix) {
  return (SnnWeights){.base = matrix, .stride_n = m->transpose_b ? (ptrdiff_t)m->depth : 1, .stride_c = m->transpose_b ? 1 : (ptrdiff_t)m->columns,
                      .n = m->columns, .ny = 1, .nx = 1, .nc = m->depth};
}

static void pack(const Matmul *m, const void *matrix, void *packed) {
  SnnWeights weights = right_side(m, matrix);
  if (m->type == ANEURALNETWORKS_TENSOR_FLOAT32) snn_fmatrix_pack(m->kernels, packed, &weights, NULL, -INFINITY, INFINITY);
  else snn_qmatrix_pack(m->kernels, packed, &weights, m->form_b, m->form_a, NULL);
}

/* One multiplier for all columns, in the arrays that the kernels read. */
static void fill_requant(const SnnNode *node, Matmul *m, int32_t *memory, size_t padded) {
  const SnnTensor *a = node->in[A], *b = node->in[B], *out = node->out[0];
  SnnMultiplier scale = snn_quantize_multiplier((double)(a->scale * b->scale) / (double)out->scale);
  int32_t *multiplier = memory, *shifts = memory + padded;
  for (size_t i = 0; i < padded; i++) {
    multiplier[i] = scale.multiplier;
    shifts[i] = snn_shifts(scale.shift);
  }
  m->requant = (SnnRequant){multiplier, shifts, scale.shift < 0, true, out->zero_point, -128, 127};
}

static int build(SnnNode *node, const Matmul *draft) {
  const SnnKernels *kernels = draft->kernels;
  bool quantized = snn_is_quant8(draft->type), whole = draft->type == ANEURALNETWORKS_TENSOR_INT32;
  size_t padded = draft->columns + (size_t)kernels->q_columns, step = 0, matrices = batches_of(node->in[B]), packed_bytes = 0;
  bool fits = whole || (quantized ? snn_qmatrix_bytes(kernels, draft->columns, draft->depth, &step)
                                  : snn_fmatrix_bytes(kernels, draft->columns, draft->depth, &step));
  SNN_CHECK(node, fits && snn_size_mul(step, matrices, &packed_bytes) && packed_bytes < SIZE_MAX / 4, "the matrices are too large");
  size_t requant_at = snn_align(sizeof(Matmul), 64);
  char *block = snn_params(node, requant_at + (quantized ? 2 * padded * sizeof(int32_t) : 0));
  if (block == NULL) return SNN_NO_MEMORY;
  Matmul *m = (Matmul *)(void *)block;
  *m = *draft;
  m->packed_step = step;
  if (quantized) fill_requant(node, m, (int32_t *)(void *)(block + requant_at), padded);
  m->rows_at = m->constant ? 0 : step;
  size_t row = snn_converted_bytes(kernels, m->depth), element = snn_element_size(m->type);
  m->converted_at = m->rows_at + (m->transpose_a ? snn_align(m->tile_rows * m->depth * element, 64) : 0);
  m->sums_at = m->converted_at + (quantized ? snn_align(m->tile_rows * row, 64) : 0);
  snn_scratch(node, m->sums_at + m->tile_rows * sizeof(int32_t));
  if (!m->constant) return SNN_OK;
  bool fresh;
  char *packed = snn_packed(node, snn_packing_tag(kernels), packed_bytes, &fresh);
  if (packed == NULL) return SNN_NO_MEMORY;
  size_t bytes = (size_t)m->depth * m->columns * element;
  for (size_t i = 0; fresh && i < matrices; i++) pack(m, (const char *)node->in[B]->data + i * bytes, packed + i * step);
  m->packed = packed;
  return SNN_OK;
}

static int prepare(SnnNode *node) {
  const SnnTensor *a = node->in[A], *b = node->in[B];
  SNN_CHECK(node, a->rank == b->rank && a->rank >= 2 && a->rank <= 4, "ranks %u and %u: equal ones of 2 to 4 expected", a->rank, b->rank);
  Matmul m = {.kernels = snn_kernels(), .float_kernel = snn_float_kernel(node), .type = a->type, .form_a = {true, a->zero_point}, .form_b = {true, b->zero_point}};
  SNN_TRY(snn_get_bool(node, TRANSPOSE_A, &m.transpose_a));
  SNN_TRY(snn_get_bool(node, TRANSPOSE_B, &m.transpose_b));
  const uint32_t *last_a = a->dims + a->rank - 2, *last_b = b->dims + b->rank - 2;
  m.rows = last_a[m.transpose_a ? 1 : 0];
  m.depth = last_a[m.transpose_a ? 0 : 1];
  m.columns = last_b[m.transpose_b ? 0 : 1];
  uint32_t depth_b = last_b[m.transpose_b ? 1 : 0];
  SNN_CHECK(node, m.depth == depth_b, "%u columns of the left matrix meet %u rows of the right one", m.depth, depth_b);
  SNN_CHECK(node, m.rows > 0 && m.columns > 0 && m.depth > 0, "%u x %u times %u x %u: no matrix may be empty", m.rows, m.depth, depth_b,
            m.columns);
  m.constant = b->lifetime == SNN_CONSTANT && m.type != ANEURALNETWORKS_TENSOR_INT32;
  uint32_t most = 4 * m.kernels->q_rows;
  m.tile_rows = m.rows < most ? m.rows : most;
  SNN_CHECK(node, m.depth <= UINT32_MAX / 16 / m.tile_rows, "the matrices are too large");
  SNN_TRY(plan_batches(node, &m));
  return build(node, &m);
}

/* --- execute --- */

/* Rows [first, first + count) of the left matrix as they are multiplied: taken from its columns when it is transposed. */
static const char *left_rows(const Matmul *m, const char *matrix, uint32_t first, uint32_t count, char *memory) {
  size_t element = snn_element_size(m->type);
  if (!m->transpose_a) return matrix + (size_t)first * m->depth * element;
  for (uint32_t i = 0; i < count; i++) {
    for (uint32_t k = 0; k < m->depth; k++) {
      memcpy(memory + ((size_t)i * m->depth + k) * element, matrix + ((size_t)k * m->rows + first + i) * element, element);
    }
  }
  return memory;
}

static void multiply_i32(const Matmul *m, const int32_t *rows, uint32_t count, const int32_t *right, int32_t *out) {
  size_t step_n = m->transpose_b ? m->depth : 1, step_k = m->transpose_b ? 1 : m->columns;
  for (uint32_t i = 0; i < count; i++, rows += m->depth, out += m->columns) {
    for (uint32_t n = 0; n < m->columns; n++) {
      uint32_t sum = 0;
      for (uint32_t k = 0; k < m->depth; k++) sum += (uint32_t)rows[k] * (uint32_t)right[n * step_n + k * step_k];
      out[n] = (int32_t)sum;
    }
  }
}

static void multiply_s8(const SnnNode *node, const Matmul *m, const char *rows, uint32_t count, const void *packed, void *out) {
  char *converted = (char *)node->scratch + m->converted_at;
  int32_t *sums = (int32_t *)(void *)((char *)node->scratch + m->sums_at);
  size_t stride = snn_converted_bytes(m->kernels, m->depth);
  SnnQMatrix matrix = snn_qmatrix_at(m->kernels, packed, m->columns, m->depth, m->form_b);
  m->kernels->q_convert(converted, (const uint8_t *)rows, m->depth, count, m->depth, m->form_a, matrix.row_factor ? sums : NULL);
  SnnTile tile = {converted, stride, count, sums, out, m->columns};
  m->kernels->q_multiply(&matrix, &m->requant, &tile);
}

static void multiply_float(const Matmul *m, const char *rows, uint32_t count, const void *packed, void *out) {
  SnnFMatrix matrix = snn_fmatrix_at(m->kernels, packed, m->columns, m->depth, -INFINITY, INFINITY);
  SnnTile tile = {rows, m->depth * sizeof(float), count, NULL, out, m->columns * sizeof(float)};
  m->kernels->f_multiply[m->float_kernel](&matrix, &tile);
}

static void run_batch(const SnnNode *node, const Matmul *m, const char *a, const char *b, const void *packed, char *out) {
  size_t element = snn_element_size(m->type);
  for (uint32_t row = 0; row < m->rows; row += m->tile_rows) {
    uint32_t count = m->rows - row < m->tile_rows ? m->rows - row : m->tile_rows;
    const char *rows = left_rows(m, a, row, count, (char *)node->scratch + m->rows_at);
    void *to = out + (size_t)row * m->columns * element;
    if (m->type == ANEURALNETWORKS_TENSOR_INT32) multiply_i32(m, (const void *)rows, count, (const void *)b, to);
    else if (m->type == ANEURALNETWORKS_TENSOR_FLOAT32) multiply_float(m, rows, count, packed, to);
    else multiply_s8(node, m, rows, count, packed, to);
  }
}

static int execute(SnnNode *node) {
  const Matmul *m = node->params;
  size_t element = snn_element_size(m->type);
  size_t bytes_a = (size_t)m->rows * m->depth * element, bytes_b = (size_t)m->depth * m->columns * element;
  char *out = node->out[0]->data;
  uint32_t index[SNN_MAX_RANK] = {0};
  const char *packed_from = NULL;
  for (uint32_t batch = 0; batch < m->batches; batch++, out += (size_t)m->rows * m->columns * element) {
    size_t at_a = 0, at_b = 0;
    for (uint32_t i = 0; i < m->rank; i++) {
      at_a += (size_t)m->step_a[i] * index[i];
      at_b += (size_t)m->step_b[i] * index[i];
    }
    const char *a = (const char *)node->in[A]->data + at_a * bytes_a, *b = (const char *)node->in[B]->data + at_b * bytes_b;
    const char *packed = m->packed ? (const char *)m->packed + at_b * m->packed_step : node->scratch;
    if (!m->packed && m->type != ANEURALNETWORKS_TENSOR_INT32 && packed_from != b) {
      pack(m, b, node->scratch);
      packed_from = b;
    }
    run_batch(node, m, a, b, packed, out);
    snn_next_index(m->rank, m->dims, index);
  }
  return SNN_OK;
}

const SnnOperation snn_matmul_operations[] = {
    SNN_RECORD(BATCH_MATMUL, 6, validate, prepare, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
