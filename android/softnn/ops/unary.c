/* ABS, EXP, LOG, SQRT, RSQRT, SIN, NEG, FLOOR, LOGICAL_NOT. */
#include <math.h>

#include "../numeric.h"
#include "../shape.h"
#include "../unary.h"

/* --- validate --- */

static const SnnTypeLevel float_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};
static const SnnTypeLevel abs_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                         {ANEURALNETWORKS_TENSOR_INT32, 4}, SNN_NO_TYPE};
static const SnnTypeLevel neg_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                         {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};
static const SnnTypeLevel floor_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};
static const SnnTypeLevel rsqrt_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                           {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 7}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 7},
                                           SNN_NO_TYPE};
static const SnnTypeLevel bool_types[] = {{ANEURALNETWORKS_TENSOR_BOOL8, 3}, SNN_NO_TYPE};

static int validate(SnnNode *node, const SnnTypeLevel *types, uint32_t most_rank) {
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "T", "T")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "input 0", 1, most_rank) ? level : SNN_INVALID;
}

static int validate_float(SnnNode *node) { return validate(node, float_types, SNN_MAX_RANK); }
static int validate_abs(SnnNode *node) { return validate(node, abs_types, SNN_MAX_RANK); }
static int validate_neg(SnnNode *node) { return validate(node, neg_types, SNN_MAX_RANK); }
static int validate_floor(SnnNode *node) { return validate(node, floor_types, 4); }
static int validate_rsqrt(SnnNode *node) { return validate(node, rsqrt_types, SNN_MAX_RANK); }
static int validate_not(SnnNode *node) { return validate(node, bool_types, SNN_MAX_RANK); }

/* --- functions --- */

#define UNARY_RUN(name, Type, EXPRESSION)                                             \
  static void name(const void *context, const void *in, void *out, size_t count) {    \
    (void)context;                                                                    \
    SNN_EACH(Type, in, out, count, EXPRESSION);                                       \
  }

UNARY_RUN(abs_float, float, fabsf(x))
UNARY_RUN(exp_float, float, expf(x))
UNARY_RUN(log_float, float, logf(x))
UNARY_RUN(sqrt_float, float, sqrtf(x))
UNARY_RUN(rsqrt_float, float, 1.0f / sqrtf(x))
UNARY_RUN(sin_float, float, sinf(x))
UNARY_RUN(neg_float, float, -x)
UNARY_RUN(floor_float, float, floorf(x))
UNARY_RUN(abs_i32, int32_t, x < 0 ? (int32_t)(0u - (uint32_t)x) : x)
UNARY_RUN(neg_i32, int32_t, (int32_t)(0u - (uint32_t)x))
UNARY_RUN(not_bool, uint8_t, x == 0)

static SnnRun run_of(int32_t code, int32_t type) {
  bool whole = type == ANEURALNETWORKS_TENSOR_INT32;
  switch (code) {
    case ANEURALNETWORKS_ABS: return whole ? abs_i32 : abs_float;
    case ANEURALNETWORKS_NEG: return whole ? neg_i32 : neg_float;
    case ANEURALNETWORKS_EXP: return exp_float;
    case ANEURALNETWORKS_LOG: return log_float;
    case ANEURALNETWORKS_SQRT: return sqrt_float;
    case ANEURALNETWORKS_SIN: return sin_float;
    case ANEURALNETWORKS_FLOOR: return floor_float;
    case ANEURALNETWORKS_LOGICAL_NOT: return not_bool;
    default: return rsqrt_float;
  }
}

/* --- quantised RSQRT: TFLite's fixed-point form by table --- */

static int32_t rsqrt_value(int32_t x, SnnMultiplier output) {
  enum { EXTRA = 20 };
  if (x <= 0) return INT16_MAX; /* 0 is infinite; below 0 there is no answer */
  SnnMultiplier inverse = snn_inverse_sqrt(x);
  inverse.shift += EXTRA;
  output.shift -= EXTRA;
  return snn_multiply(snn_multiply(1, inverse), output);
}

static int prepare_rsqrt_table(SnnNode *node) {
  const SnnTensor *in = node->in[0], *out = node->out[0];
  uint8_t *table = snn_params(node, 256);
  if (table == NULL) return SNN_NO_MEMORY;
  int32_t lo, hi;
  snn_quantized_limits(out->type, &lo, &hi);
  SnnMultiplier output = snn_quantize_multiplier(1.0 / (double)(sqrtf(in->scale) * out->scale));
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint8_t stored = (uint8_t)byte;
    int32_t value = rsqrt_value(snn_load8(in->type, &stored, 0) - in->zero_point, output);
    table[byte] = (uint8_t)snn_clamp_from(value, out->zero_point, lo, hi);
  }
  return SNN_OK;
}

static int prepare(SnnNode *node) {
  SNN_TRY(snn_set_shape_like(node, 0, node->in[0]));
  return snn_is_quant8(node->in[0]->type) ? prepare_rsqrt_table(node) : SNN_OK;
}

static int execute(SnnNode *node) {
  int32_t type = node->in[0]->type;
  size_t element = snn_element_size(type);
  snn_run_all(node, element, element, snn_is_quant8(type) ? snn_run_table : run_of(node->op->code, type), node->params);
  return SNN_OK;
}

const SnnOperation snn_unary_operations[] = {
    SNN_RECORD(ABS, 3, validate_abs, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(EXP, 3, validate_float, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(LOG, 3, validate_float, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(SQRT, 3, validate_float, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(RSQRT, 3, validate_rsqrt, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(SIN, 3, validate_float, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(NEG, 3, validate_neg, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(FLOOR, 1, validate_floor, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(LOGICAL_NOT, 3, validate_not, prepare, execute, SNN_IN_PLACE)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
