/* MEAN, REDUCE_*: over any set of axes. ARGMAX, ARGMIN, TOPK_V2: along one. */
#include "../numeric.h"
#include "../shape.h"

#include <string.h>

/* --- the shape of a reduction --- */

/* The input as alternating runs of kept and reduced dimensions, neighbours of one kind merged; `step` is the stride in the output
 * (0 where reduced). */
typedef struct {
  uint32_t rank;
  size_t extent[SNN_MAX_RANK], step[SNN_MAX_RANK];
  size_t in_count, out_count, reduced; /* elements; reduced = elements that meet in one */
  SnnMultiplier mean;                  /* MEAN of 8-bit tensors */
} Reduction;

static int prepare_shape(SnnNode *node, bool keep) {
  const SnnTensor *in = node->in[0];
  const int32_t *axes;
  size_t count;
  bool reduce[SNN_MAX_RANK] = {false};
  if (!snn_check_rank(node, in, "the input", 1, 4) || !snn_check_rank(node, node->in[1], "the axes", 1, 1)) return SNN_BAD;
  SNN_TRY(snn_get_i32s(node, 1, &axes, &count));
  for (size_t i = 0; i < count; i++) {
    uint32_t axis;
    if (!snn_axis(node, axes[i], in->rank, &axis)) return SNN_BAD;
    reduce[axis] = true;
  }
  uint32_t dims[SNN_MAX_RANK] = {1}, rank = 0;
  for (uint32_t d = 0; d < in->rank; d++) {
    if (!reduce[d]) dims[rank++] = in->dims[d];
    else if (keep) dims[rank++] = 1;
  }
  SNN_TRY(snn_set_shape(node, 0, rank > 0 ? rank : 1, dims)); /* nothing left: [1] */
  Reduction *r = snn_params(node, sizeof(*r));
  if (!r) return SNN_NO_MEMORY;
  r->in_count = r->out_count = r->reduced = 1;
  bool last = false;
  for (uint32_t d = 0; d < in->rank; d++) {
    r->in_count *= in->dims[d];
    *(reduce[d] ? &r->reduced : &r->out_count) *= in->dims[d];
    if (r->rank > 0 && reduce[d] == last) r->extent[r->rank - 1] *= in->dims[d];
    else r->extent[r->rank++] = in->dims[d];
    r->step[r->rank - 1] = reduce[d] ? 0 : 1;
    last = reduce[d];
  }
  size_t step = 1;
  for (uint32_t d = r->rank; d-- > 0;) {
    if (r->step[d] == 0) continue;
    r->step[d] = step;
    step *= r->extent[d];
  }
  return SNN_OK;
}

static int prepare_reduce(SnnNode *node) {
  bool keep;
  SNN_TRY(snn_get_bool(node, 2, &keep));
  return prepare_shape(node, keep);
}

/* Steps over all runs but the innermost; answers the place of the next run in the output. */
typedef struct {
  size_t index[SNN_MAX_RANK], offset;
} Walk;

static bool next_run(const Reduction *r, Walk *walk) {
  for (uint32_t d = r->rank - 1; d-- > 0;) {
    walk->offset += r->step[d];
    if (++walk->index[d] < r->extent[d]) return true;
    walk->offset -= r->step[d] * r->extent[d];
    walk->index[d] = 0;
  }
  return false;
}

/* Folds every input into its output in input order, as TFLite does (the order decides a float sum's last bit). */
#define DEFINE_FOLD(name, In, Acc, combine)                                          \
  static void name(const Reduction *r, const In *in, Acc *acc) {                     \
    size_t run = r->extent[r->rank - 1];                                             \
    bool along = r->step[r->rank - 1] == 0; /* the innermost dimension is reduced */ \
    Walk walk = {{0}, 0};                                                            \
    if (r->in_count == 0) return;                                                    \
    do {                                                                             \
      Acc *to = acc + walk.offset;                                                   \
      if (along) {                                                                   \
        Acc a = *to;                                                                 \
        for (size_t i = 0; i < run; i++) a = combine(a, in[i]);                      \
        *to = a;                                                                     \
      } else {                                                                       \
        for (size_t i = 0; i < run; i++) to[i] = combine(to[i], in[i]);              \
      }                                                                              \
      in += run;                                                                     \
    } while (next_run(r, &walk));                                                    \
  }
#define PLUS(a, b) ((a) + (b))
#define TIMES(a, b) ((a) * (b))
#define LARGER(a, b) ((b) > (a) ? (b) : (a))
#define SMALLER(a, b) ((b) < (a) ? (b) : (a))
#define BOTH(a, b) ((a) && (b))
#define EITHER(a, b) ((a) || (b))

DEFINE_FOLD(sum_float, float, float, PLUS)
DEFINE_FOLD(sum_u8, uint8_t, int32_t, PLUS)
DEFINE_FOLD(sum_s8, int8_t, int32_t, PLUS)
DEFINE_FOLD(product_float, float, float, TIMES)
DEFINE_FOLD(largest_float, float, float, LARGER)
DEFINE_FOLD(largest_u8, uint8_t, uint8_t, LARGER)
DEFINE_FOLD(largest_s8, int8_t, int8_t, LARGER)
DEFINE_FOLD(smallest_float, float, float, SMALLER)
DEFINE_FOLD(smallest_u8, uint8_t, uint8_t, SMALLER)
DEFINE_FOLD(smallest_s8, int8_t, int8_t, SMALLER)
DEFINE_FOLD(all_bool, uint8_t, uint8_t, BOTH)
DEFINE_FOLD(any_bool, uint8_t, uint8_t, EITHER)

static void fill_floats(float *out, size_t count, float value) {
  for (size_t i = 0; i < count; i++) out[i] = value;
}

/* --- MEAN --- */

static int mean_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(2), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TIi", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4) || !snn_check_rank(node, node->in[1], "the axes", 1, 1))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

/* The multiplier of a sum of `count` values: 1 / count folded into 1 (the scales are equal) with as many bits as fit. */
static SnnMultiplier mean_multiplier(size_t count) {
  SnnMultiplier m = snn_quantize_multiplier(1.0);
  if (count == 0) return m;
  int shift = 63 - __builtin_clzll((unsigned long long)count);
  if (shift > 32) shift = 32;
  if (shift > 31 + m.shift) shift = 31 + m.shift;
  m.multiplier = (int32_t)(((int64_t)m.multiplier << shift) / (int64_t)count);
  m.shift -= shift;
  return m;
}

static int mean_prepare(SnnNode *node) {
  int32_t keep;
  SNN_TRY(snn_get_i32(node, 2, &keep));
  SNN_TRY(prepare_shape(node, keep > 0));
  Reduction *r = node->params;
  if (!snn_is_quant8(node->in[0]->type)) return SNN_OK;
  SNN_CHECK(node, r->reduced <= INT32_MAX / 256, "the mean of %zu values may overflow", r->reduced);
  r->mean = mean_multiplier(r->reduced);
  return snn_get_scratch(node, (uint64_t)r->out_count * sizeof(int32_t));
}

static int mean_execute(SnnNode *node) {
  const Reduction *r = node->params;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  if (!snn_is_quant8(in->type)) {
    float *values = out->data;
    fill_floats(values, r->out_count, 0);
    sum_float(r, in->data, values);
    for (size_t i = 0; i < r->out_count; i++) values[i] /= (float)r->reduced;
    return SNN_OK;
  }
  int32_t *sums = node->scratch, lo, hi;
  memset(sums, 0, r->out_count * sizeof(*sums));
  if (in->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM) sum_u8(r, in->data, sums);
  else sum_s8(r, in->data, sums);
  snn_quantized_limits(in->type, &lo, &hi);
  int32_t zero = (int32_t)r->reduced * in->zero_point;
  for (size_t i = 0; i < r->out_count; i++) {
    int32_t mean = snn_multiply(sums[i] - zero, r->mean);
    ((uint8_t *)out->data)[i] = (uint8_t)snn_clamp_from(mean, out->zero_point, lo, hi);
  }
  return SNN_OK;
}

/* --- REDUCE_* --- */

static int validate_reduce(SnnNode *node, const SnnTypeLevel *levels) {
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TIb", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4) || !snn_check_rank(node, node->in[1], "the axes", 1, 1))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int reduce_float_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS(3), SNN_NO_TYPE};
  return validate_reduce(node, levels);
}

static int reduce_order_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  return validate_reduce(node, levels);
}

static int reduce_bool_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {{ANEURALNETWORKS_TENSOR_BOOL8, 3}, SNN_NO_TYPE};
  return validate_reduce(node, levels);
}

static int reduce_sum_execute(SnnNode *node) {
  const Reduction *r = node->params;
  fill_floats(node->out[0]->data, r->out_count, 0);
  sum_float(r, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

static int reduce_prod_execute(SnnNode *node) {
  const Reduction *r = node->params;
  fill_floats(node->out[0]->data, r->out_count, 1);
  product_float(r, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

/* The neutral element of max is the smallest value (-infinity), of min the largest. */
static int reduce_max_execute(SnnNode *node) {
  const Reduction *r = node->params;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  switch (in->type) {
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:
      memset(out->data, 0, r->out_count);
      largest_u8(r, in->data, out->data);
      break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED:
      memset(out->data, -128, r->out_count);
      largest_s8(r, in->data, out->data);
      break;
    default: fill_floats(out->data, r->out_count, -INFINITY); largest_float(r, in->data, out->data);
  }
  return SNN_OK;
}

static int reduce_min_execute(SnnNode *node) {
  const Reduction *r = node->params;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  switch (in->type) {
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:
      memset(out->data, 255, r->out_count);
      smallest_u8(r, in->data, out->data);
      break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED:
      memset(out->data, 127, r->out_count);
      smallest_s8(r, in->data, out->data);
      break;
    default: fill_floats(out->data, r->out_count, INFINITY); smallest_float(r, in->data, out->data);
  }
  return SNN_OK;
}

static int reduce_all_execute(SnnNode *node) {
  const Reduction *r = node->params;
  memset(node->out[0]->data, 1, r->out_count);
  all_bool(r, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

static int reduce_any_execute(SnnNode *node) {
  const Reduction *r = node->params;
  memset(node->out[0]->data, 0, r->out_count);
  any_bool(r, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

/* --- ARGMAX, ARGMIN --- */

typedef struct {
  size_t outer, axis, inner;
} Slices;

static const SnnTypeLevel ordered_levels[] = {SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};

static int arg_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, ordered_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Ti", "I")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK) ? level : SNN_INVALID;
}

static int arg_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t value;
  uint32_t axis, dims[SNN_MAX_RANK] = {1}, rank = 0;
  SNN_TRY(snn_get_i32(node, 1, &value));
  if (!snn_axis(node, value, in->rank, &axis)) return SNN_BAD;
  for (uint32_t d = 0; d < in->rank; d++) {
    if (d != axis) dims[rank++] = in->dims[d];
  }
  SNN_TRY(snn_set_shape(node, 0, rank > 0 ? rank : 1, dims));
  Slices *slices = snn_params(node, sizeof(*slices));
  if (!slices) return SNN_NO_MEMORY;
  *slices = (Slices){snn_product(in->dims, 0, axis), in->dims[axis], snn_product(in->dims, axis + 1, in->rank)};
  SNN_CHECK(node, slices->axis > 0 || slices->outer * slices->inner == 0, "dimension %u is empty", axis);
  return SNN_OK;
}

/* The first of equal values wins. */
#define DEFINE_ARG(name, T, better)                                             \
  static void name(const Slices *s, const T *in, int32_t *out) {                \
    for (size_t o = 0; o < s->outer; o++) {                                     \
      for (size_t i = 0; i < s->inner; i++) {                                   \
        const T *at = in + o * s->axis * s->inner + i;                          \
        T best = *at;                                                           \
        size_t where = 0;                                                       \
        for (size_t a = 1; a < s->axis; a++) {                                  \
          if (at[a * s->inner] better best) best = at[a * s->inner], where = a; \
        }                                                                       \
        *out++ = (int32_t)where;                                                \
      }                                                                         \
    }                                                                           \
  }
#define DEFINE_ARGS(suffix, T)      \
  DEFINE_ARG(argmax_##suffix, T, >) \
  DEFINE_ARG(argmin_##suffix, T, <)
DEFINE_ARGS(float, float)
DEFINE_ARGS(i32, int32_t)
DEFINE_ARGS(u8, uint8_t)
DEFINE_ARGS(s8, int8_t)

static int argmax_execute(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t *out = node->out[0]->data;
  switch (in->type) {
    case ANEURALNETWORKS_TENSOR_INT32: argmax_i32(node->params, in->data, out); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM: argmax_u8(node->params, in->data, out); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED: argmax_s8(node->params, in->data, out); break;
    default: argmax_float(node->params, in->data, out);
  }
  return SNN_OK;
}

static int argmin_execute(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t *out = node->out[0]->data;
  switch (in->type) {
    case ANEURALNETWORKS_TENSOR_INT32: argmin_i32(node->params, in->data, out); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM: argmin_u8(node->params, in->data, out); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED: argmin_s8(node->params, in->data, out); break;
    default: argmin_float(node->params, in->data, out);
  }
  return SNN_OK;
}

/* --- TOPK_V2 --- */

static int topk_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, ordered_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Ti", "TI")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int topk_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t k;
  uint32_t dims[SNN_MAX_RANK], last = in->rank - 1;
  SNN_TRY(snn_get_i32(node, 1, &k));
  SNN_CHECK(node, k > 0 && (uint32_t)k <= in->dims[last], "k = %d lies outside 1 to %u", k, in->dims[last]);
  memcpy(dims, in->dims, sizeof(dims));
  dims[last] = (uint32_t)k;
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  SNN_TRY(snn_set_shape(node, 1, in->rank, dims));
  Slices *slices = snn_params(node, sizeof(*slices));
  if (!slices) return SNN_NO_MEMORY;
  *slices = (Slices){snn_product(in->dims, 0, last), in->dims[last], (size_t)k};
  return SNN_OK;
}

/* Keeps the k best so far as a heap whose root is the worst of them, then empties it from the back. Of equal values NNAPI puts
 * the one with the larger index first (TFLite the other way round). */
#define DEFINE_TOPK(name, T)                                                                                                \
  static bool name##_worse(const T *row, int32_t a, int32_t b) { return row[a] < row[b] || (!(row[b] < row[a]) && a < b); } \
  static void name##_sink(const T *row, int32_t *heap, size_t size, size_t at) {                                            \
    for (;;) {                                                                                                              \
      size_t least = at, child = 2 * at + 1;                                                                                \
      if (child < size && name##_worse(row, heap[child], heap[least])) least = child;                                       \
      if (child + 1 < size && name##_worse(row, heap[child + 1], heap[least])) least = child + 1;                           \
      if (least == at) return;                                                                                              \
      int32_t moved = heap[at];                                                                                             \
      heap[at] = heap[least], heap[least] = moved, at = least;                                                              \
    }                                                                                                                       \
  }                                                                                                                         \
  static void name(const Slices *s, const T *in, T *values, int32_t *indices) {                                             \
    size_t k = s->inner;                                                                                                    \
    for (size_t o = 0; o < s->outer; o++, in += s->axis, values += k, indices += k) {                                       \
      for (size_t i = 0; i < k; i++) indices[i] = (int32_t)i;                                                               \
      for (size_t i = k / 2; i-- > 0;) name##_sink(in, indices, k, i);                                                      \
      for (size_t i = k; i < s->axis; i++) {                                                                                \
        if (!name##_worse(in, indices[0], (int32_t)i)) continue;                                                            \
        indices[0] = (int32_t)i;                                                                                            \
        name##_sink(in, indices, k, 0);                                                                                     \
      }                                                                                                                     \
      for (size_t left = k; left-- > 1;) {                                                                                  \
        int32_t worst = indices[0];                                                                                         \
        indices[0] = indices[left], indices[left] = worst;                                                                  \
        name##_sink(in, indices, left, 0);                                                                                  \
      }                                                                                                                     \
      for (size_t i = 0; i < k; i++) values[i] = in[indices[i]];                                                            \
    }                                                                                                                       \
  }
DEFINE_TOPK(topk_float, float)
DEFINE_TOPK(topk_i32, int32_t)
DEFINE_TOPK(topk_u8, uint8_t)
DEFINE_TOPK(topk_s8, int8_t)

static int topk_execute(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  void *values = node->out[0]->data;
  int32_t *indices = node->out[1]->data;
  switch (in->type) {
    case ANEURALNETWORKS_TENSOR_INT32: topk_i32(node->params, in->data, values, indices); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM: topk_u8(node->params, in->data, values, indices); break;
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED: topk_s8(node->params, in->data, values, indices); break;
    default: topk_float(node->params, in->data, values, indices);
  }
  return SNN_OK;
}

const SnnOperation snn_reduction_operations[] = {
    SNN_RECORD(MEAN, 2, mean_validate, mean_prepare, mean_execute, SNN_F16_BY_F32)
    SNN_RECORD(REDUCE_SUM, 3, reduce_float_validate, prepare_reduce, reduce_sum_execute, SNN_F16_BY_F32)
    SNN_RECORD(REDUCE_PROD, 3, reduce_float_validate, prepare_reduce, reduce_prod_execute, SNN_F16_BY_F32)
    SNN_RECORD(REDUCE_MAX, 3, reduce_order_validate, prepare_reduce, reduce_max_execute, SNN_F16_BY_F32)
    SNN_RECORD(REDUCE_MIN, 3, reduce_order_validate, prepare_reduce, reduce_min_execute, SNN_F16_BY_F32)
    SNN_RECORD(REDUCE_ALL, 3, reduce_bool_validate, prepare_reduce, reduce_all_execute, 0)
    SNN_RECORD(REDUCE_ANY, 3, reduce_bool_validate, prepare_reduce, reduce_any_execute, 0)
    SNN_RECORD(ARGMAX, 3, arg_validate, arg_prepare, argmax_execute, SNN_F16_BY_F32)
    SNN_RECORD(ARGMIN, 3, arg_validate, arg_prepare, argmin_execute, SNN_F16_BY_F32)
    SNN_RECORD(TOPK_V2, 3, topk_validate, topk_prepare, topk_execute, SNN_F16_BY_F32)
    {0},
};
