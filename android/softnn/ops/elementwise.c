/* ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW. */
#include <math.h>

#include "../broadcast.h"
#include "../kernels.h"
#include "../numeric.h"
#include "../shape.h"

typedef struct {
  SnnPairs pairs;
  SnnPairRow row;
  float lo, hi;                 /* float: fused activation */
  int32_t zero_point, low, high; /* quantised output */
  int32_t zero_a, zero_b;       /* MUL */
  SnnMultiplier output;
  const SnnKernels *kernels;    /* NULL: the scales are too unusual for them */
  SnnQPair pair;
  /* The operands by their stored byte, where kernels do not do it: scaled to a common step (ADD, SUB), requantised (MAXIMUM, MINIMUM). */
  int32_t table[][256];
} Elementwise;

/* --- validate --- */

static const SnnTypeLevel add_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                         {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                         {ANEURALNETWORKS_TENSOR_INT32, 4}, SNN_NO_TYPE};
static const SnnTypeLevel sub_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 2}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                         {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                         {ANEURALNETWORKS_TENSOR_INT32, 4}, SNN_NO_TYPE};
static const SnnTypeLevel div_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 2}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                         {ANEURALNETWORKS_TENSOR_INT32, 4}, SNN_NO_TYPE};
static const SnnTypeLevel extreme_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                             {ANEURALNETWORKS_TENSOR_INT32, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                             {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4}, SNN_NO_TYPE};
static const SnnTypeLevel pow_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};

static int validate_pair(SnnNode *node, const SnnTypeLevel *types, const char *inputs, uint32_t most) {
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, inputs, "T")) return SNN_INVALID;
  for (uint32_t i = 0; i < 2; i++) {
    if (!snn_check_rank(node, node->in[i], "an input", 1, most)) return SNN_INVALID;
  }
  return level;
}

static int validate_add(SnnNode *node) { return validate_pair(node, add_types, "TTi", 4); }
static int validate_sub(SnnNode *node) { return validate_pair(node, sub_types, "TTi", 4); }
static int validate_div(SnnNode *node) { return validate_pair(node, div_types, "TTi", 4); }
static int validate_extreme(SnnNode *node) { return validate_pair(node, extreme_types, "TT", SNN_MAX_RANK); }
static int validate_pow(SnnNode *node) { return validate_pair(node, pow_types, "TT", SNN_MAX_RANK); }

static int validate_mul(SnnNode *node) {
  int level = validate_pair(node, add_types, "TTi", 4);
  if (level < 0 || !snn_is_quant8(node->in[0]->type)) return level;
  float product = node->in[0]->scale * node->in[1]->scale;
  SNN_REQUIRE(node, node->out[0]->scale > product, "output scale %.9g must be greater than the product of the input scales, %.9g",
              (double)node->out[0]->scale, (double)product);
  return level;
}

/* --- rows --- */

#define PLAIN_ROW(name, Type, EXPRESSION)                                \
  static void name(SNN_PAIR_ARGUMENTS) {                                      \
    const Elementwise *e = context;                                      \
    const Type *restrict a = a_data, *restrict b = b_data;               \
    Type *restrict out = out_data;                                       \
    (void)e;                                                             \
    SNN_PAIR_LOOP(EXPRESSION)                                                 \
  }

#define AT(first, second) const float x = (first), y = (second)
PLAIN_ROW(add_float, float, snn_clampf(x + y, e->lo, e->hi))
PLAIN_ROW(sub_float, float, snn_clampf(x - y, e->lo, e->hi))
PLAIN_ROW(mul_float, float, snn_clampf(x * y, e->lo, e->hi))
PLAIN_ROW(div_float, float, snn_clampf(x / y, e->lo, e->hi))
PLAIN_ROW(max_float, float, x < y ? y : x)
PLAIN_ROW(min_float, float, y < x ? y : x)
PLAIN_ROW(pow_float, float, powf(x, y))
#undef AT

/* Rounds down; a division by zero, which NNAPI leaves undefined, gives 0. */
static int32_t divide_i32(int32_t x, int32_t y) {
  if (y == 0) return 0;
  int64_t quotient = (int64_t)x / y;
  if ((int64_t)x % y != 0 && (x < 0) != (y < 0)) quotient--;
  return (int32_t)(uint32_t)quotient;
}

#define AT(first, second) const int32_t x = (first), y = (second)
PLAIN_ROW(add_i32, int32_t, (int32_t)((uint32_t)x + (uint32_t)y))
PLAIN_ROW(sub_i32, int32_t, (int32_t)((uint32_t)x - (uint32_t)y))
PLAIN_ROW(mul_i32, int32_t, (int32_t)((uint32_t)x * (uint32_t)y))
PLAIN_ROW(div_i32, int32_t, divide_i32(x, y))
PLAIN_ROW(max_i32, int32_t, x < y ? y : x)
PLAIN_ROW(min_i32, int32_t, y < x ? y : x)
#undef AT

static inline uint8_t finish(const Elementwise *e, int32_t raw) {
  return (uint8_t)snn_clamp_from(snn_multiply(raw, e->output), e->zero_point, e->low, e->high);
}

/* SUB has its second table negated. */
#define AT(first, second) const int32_t x = e->table[0][(first)], y = e->table[1][(second)]
PLAIN_ROW(add_tables, uint8_t, finish(e, x + y))
PLAIN_ROW(max_quantized, uint8_t, (uint8_t)(x < y ? y : x))
PLAIN_ROW(min_quantized, uint8_t, (uint8_t)(y < x ? y : x))
#undef AT
#define AT(first, second) const int32_t x = (first) - e->zero_a, y = (second) - e->zero_b
PLAIN_ROW(mul_u8, uint8_t, finish(e, x * y))
#undef AT
#define AT(first, second) const int32_t x = (int8_t)(first) - e->zero_a, y = (int8_t)(second) - e->zero_b
PLAIN_ROW(mul_s8, uint8_t, finish(e, x * y))
#undef AT

/* By kernels, which expect usual scales; else one by one. */
static void add_quantized(SNN_PAIR_ARGUMENTS) {
  const Elementwise *e = context;
  if (e->kernels == NULL) add_tables(context, a_data, step_a, b_data, step_b, out_data, count);
  else e->kernels->q_add(&e->pair, a_data, step_a, b_data, step_b, out_data, count);
}

static void mul_quantized(SNN_PAIR_ARGUMENTS) {
  const Elementwise *e = context;
  if (e->kernels != NULL) e->kernels->q_mul(&e->pair, a_data, step_a, b_data, step_b, out_data, count);
  else if (e->pair.is_signed) mul_s8(context, a_data, step_a, b_data, step_b, out_data, count);
  else mul_u8(context, a_data, step_a, b_data, step_b, out_data, count);
}

static SnnPairRow float_row(int32_t code) {
  switch (code) {
    case ANEURALNETWORKS_ADD: return add_float;
    case ANEURALNETWORKS_SUB: return sub_float;
    case ANEURALNETWORKS_MUL: return mul_float;
    case ANEURALNETWORKS_DIV: return div_float;
    case ANEURALNETWORKS_MAXIMUM: return max_float;
    case ANEURALNETWORKS_MINIMUM: return min_float;
    default: return pow_float;
  }
}

static SnnPairRow i32_row(int32_t code) {
  switch (code) {
    case ANEURALNETWORKS_ADD: return add_i32;
    case ANEURALNETWORKS_SUB: return sub_i32;
    case ANEURALNETWORKS_MUL: return mul_i32;
    case ANEURALNETWORKS_DIV: return div_i32;
    case ANEURALNETWORKS_MAXIMUM: return max_i32;
    default: return min_i32;
  }
}

static SnnPairRow quantized_row(int32_t code) {
  switch (code) {
    case ANEURALNETWORKS_MUL: return mul_quantized;
    case ANEURALNETWORKS_MAXIMUM: return max_quantized;
    case ANEURALNETWORKS_MINIMUM: return min_quantized;
    default: return add_quantized;
  }
}

/* --- prepare --- */

static int32_t stored_byte(const SnnTensor *t, uint32_t byte) {
  uint8_t stored = (uint8_t)byte;
  return snn_load8(t->type, &stored, 0);
}

static SnnStored stored_form(const SnnTensor *t) { return (SnnStored){t->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, t->zero_point}; }

/* Kernels expect factors below one half. */
static bool fits_kernels(SnnMultiplier output) { return output.shift < 0; }

/* The same arithmetic, told to the kernels. */
static void describe_pair(const SnnNode *node, Elementwise *e, SnnMultiplier scale_a, SnnMultiplier scale_b) {
  e->pair = (SnnQPair){.a = {stored_form(node->in[0]), scale_a.multiplier, -scale_a.shift},
                       .b = {stored_form(node->in[1]), scale_b.multiplier, -scale_b.shift},
                       .subtract = node->op->code == ANEURALNETWORKS_SUB,
                       .is_signed = node->in[0]->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM,
                       .output = {e->output.multiplier, -e->output.shift},
                       .zero_point = e->zero_point,
                       .lo = e->low,
                       .hi = e->high};
  if (fits_kernels(e->output)) e->kernels = snn_kernels();
}

enum { LEFT = 20 };

static double twice_max_scale(const SnnNode *node) { return 2 * (double)fmaxf(node->in[0]->scale, node->in[1]->scale); }

/* Of ADD and SUB. */
static SnnMultiplier sum_scale(const SnnNode *node) {
  return snn_quantize_multiplier(twice_max_scale(node) / ((1 << LEFT) * (double)node->out[0]->scale));
}

/* ADD and SUB: both operands times 2^20 and their share of twice the larger scale. */
static void scale_operands(const SnnNode *node, Elementwise *e) {
  const SnnTensor *a = node->in[0], *b = node->in[1];
  double twice_max = twice_max_scale(node);
  SnnMultiplier scale_a = snn_quantize_multiplier(a->scale / twice_max), scale_b = snn_quantize_multiplier(b->scale / twice_max);
  e->output = sum_scale(node);
  describe_pair(node, e, scale_a, scale_b);
  int32_t sign = node->op->code == ANEURALNETWORKS_SUB ? -1 : 1;
  for (uint32_t i = 0; i < 256 && e->kernels == NULL; i++) {
    e->table[0][i] = snn_multiply((stored_byte(a, i) - a->zero_point) * (1 << LEFT), scale_a);
    e->table[1][i] = sign * snn_multiply((stored_byte(b, i) - b->zero_point) * (1 << LEFT), scale_b);
  }
}

static size_t table_bytes(const SnnNode *node) {
  bool extreme = node->op->code == ANEURALNETWORKS_MAXIMUM || node->op->code == ANEURALNETWORKS_MINIMUM;
  bool sum = node->op->code == ANEURALNETWORKS_ADD || node->op->code == ANEURALNETWORKS_SUB;
  if (!snn_is_quant8(node->in[0]->type) || !(extreme || (sum && !fits_kernels(sum_scale(node))))) return 0;
  return 2 * 256 * sizeof(int32_t);
}

static int prepare_quantized(SnnNode *node, Elementwise *e, int32_t fuse) {
  const SnnTensor *a = node->in[0], *b = node->in[1], *out = node->out[0];
  SNN_TRY(snn_fused_range(node, fuse, out, &e->low, &e->high));
  e->zero_point = out->zero_point;
  e->zero_a = a->zero_point;
  e->zero_b = b->zero_point;
  switch (node->op->code) {
    case ANEURALNETWORKS_ADD:
    case ANEURALNETWORKS_SUB: scale_operands(node, e); break;
    case ANEURALNETWORKS_MUL: {
      float multiplier = a->scale * b->scale / out->scale;
      e->output = snn_quantize_multiplier(multiplier);
      describe_pair(node, e, (SnnMultiplier){0, 0}, (SnnMultiplier){0, 0});
      break;
    }
    default:
      for (uint32_t i = 0; i < 256; i++) {
        e->table[0][i] = snn_requantize(stored_byte(a, i), a, out);
        e->table[1][i] = snn_requantize(stored_byte(b, i), b, out);
      }
  }
  return SNN_OK;
}

static int prepare(SnnNode *node) {
  SnnPairs pairs;
  int32_t code = node->op->code, type = node->in[0]->type, fuse = ANEURALNETWORKS_FUSED_NONE;
  SNN_TRY(snn_pairs_plan(node, &pairs));
  if (node->n_in > 2) SNN_TRY(snn_get_i32(node, 2, &fuse));
  Elementwise *e = snn_params(node, sizeof *e + table_bytes(node));
  if (e == NULL) return SNN_NO_MEMORY;
  e->pairs = pairs;
  if (snn_is_quant8(type)) {
    e->row = quantized_row(code);
    return prepare_quantized(node, e, fuse);
  }
  SNN_TRY(snn_fused_range_float(node, fuse, &e->lo, &e->hi));
  SNN_CHECK(node, type != ANEURALNETWORKS_TENSOR_INT32 || fuse == ANEURALNETWORKS_FUSED_NONE,
            "fused activation %d: TENSOR_INT32 takes none (0)", (int)fuse);
  e->row = type == ANEURALNETWORKS_TENSOR_INT32 ? i32_row(code) : float_row(code);
  return SNN_OK;
}

static int execute(SnnNode *node) {
  const Elementwise *e = node->params;
  snn_pairs_run(node, &e->pairs, snn_element_size(node->in[0]->type), e->row, e);
  return SNN_OK;
}

const SnnOperation snn_elementwise_operations[] = {
    SNN_RECORD(ADD, 1, validate_add, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(SUB, 2, validate_sub, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(MUL, 1, validate_mul, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(DIV, 2, validate_div, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(MAXIMUM, 3, validate_extreme, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(MINIMUM, 3, validate_extreme, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(POW, 3, validate_pow, prepare, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
