/* RELU, RELU1, RELU6, LOGISTIC, TANH, HARD_SWISH, ELU, PRELU. All 8-bit forms with one operand are tables of 256 bytes. */
#include <math.h>

#include "../broadcast.h"
#include "../kernels.h"
#include "../numeric.h"
#include "../shape.h"
#include "../unary.h"

typedef struct {
  SnnRun run;
  float lo, hi, alpha;
  uint8_t table[256];
} Activation;

/* --- validate --- */

static const SnnTypeLevel relu_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                          {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                          SNN_NO_TYPE};
static const SnnTypeLevel tanh_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                          {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                          SNN_NO_TYPE};
static const SnnTypeLevel hard_swish_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 4}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 4},
                                                {ANEURALNETWORKS_TENSOR_FLOAT16, 4}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                                SNN_NO_TYPE};
static const SnnTypeLevel elu_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 4}, {ANEURALNETWORKS_TENSOR_FLOAT16, 4}, SNN_NO_TYPE};
static const SnnTypeLevel prelu_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                           {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                           SNN_NO_TYPE};

static int validate(SnnNode *node, const SnnTypeLevel *types, const char *inputs, uint32_t most_rank) {
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, inputs, "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "input 0", 1, most_rank)) return SNN_INVALID;
  return level;
}

static int validate_relu(SnnNode *node) {
  int level = validate(node, relu_types, "T", 4);
  return level > 0 && !snn_check_same_quantization(node, node->in[0], node->out[0]) ? SNN_INVALID : level;
}

static int validate_logistic(SnnNode *node) {
  int level = validate(node, relu_types, "T", 4);
  return level > 0 && !snn_check_fixed_output(node, 1.0f / 256, 0, -128) ? SNN_INVALID : level;
}

static int validate_tanh(SnnNode *node) {
  int level = validate(node, tanh_types, "T", 4);
  return level > 0 && !snn_check_fixed_output(node, 1.0f / 128, 128, 0) ? SNN_INVALID : level;
}

static int validate_hard_swish(SnnNode *node) { return validate(node, hard_swish_types, "T", SNN_MAX_RANK); }
static int validate_elu(SnnNode *node) { return validate(node, elu_types, "Tf", SNN_MAX_RANK); }
static int validate_prelu(SnnNode *node) { return validate(node, prelu_types, "TT", SNN_MAX_RANK); }

/* --- functions --- */

static float plain_logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

/* TFLite's reference kernel cuts both ends short: above, the result is 1 in float; below, it is taken as exp(x). */
static float logistic(float x) { return x > 16.619047164916992188f ? 1.0f : x < -9.0f ? expf(x) : plain_logistic(x); }

#define FLOAT_RUN(name, EXPRESSION)                                                    \
  static void name(const void *context, const void *in, void *out, size_t count) {     \
    const Activation activation = *(const Activation *)context;                        \
    (void)activation;                                                                  \
    SNN_EACH(float, in, out, count, EXPRESSION);                                       \
  }

FLOAT_RUN(clamp_float, snn_clampf(x, activation.lo, activation.hi))
FLOAT_RUN(logistic_float, logistic(x))
FLOAT_RUN(tanh_float, tanhf(x))
FLOAT_RUN(elu_float, fmaxf(0.0f, x) + fminf(0.0f, activation.alpha * expm1f(x)))

static void hard_swish_float(const void *context, const void *in, void *out, size_t count) {
  (void)context;
  snn_kernels()->f_hard_swish(in, out, count);
}

static void table_run(const void *context, const void *in, void *out, size_t count) {
  snn_run_table(((const Activation *)context)->table, in, out, count);
}

/* --- HARD_SWISH in 16 bits --- */

typedef struct {
  int16_t multiplier;
  int shift;
} Multiplier16;

/* The upper half of a 32-bit multiplier, rounded, saturated. */
static Multiplier16 multiplier16(float real) {
  SnnMultiplier m = snn_quantize_multiplier(real);
  int32_t high = m.multiplier >= INT32_MAX - (1 << 15) ? INT16_MAX : (m.multiplier + (1 << 15)) >> 16;
  return (Multiplier16){(int16_t)high, m.shift};
}

static int16_t saturate16(int32_t x) { return (int16_t)snn_clamp(x, INT16_MIN, INT16_MAX); }
static int16_t srdhm16(int16_t a, int16_t b) { return saturate16((a * b + (1 << 14)) >> 15); }
static int16_t left16(int16_t x, int n) { return saturate16(n > 15 ? x * 65536 / 2 : x * (1 << n)); }

/* x * relu6(x + 3) / 6 of a value in 1/128 steps of the input scale. */
static int32_t hard_swish_value(int32_t value, Multiplier16 output, Multiplier16 relu) {
  int16_t x = saturate16(value * 128), scaled = srdhm16(x, output.multiplier), gate = x;
  if (relu.shift > 0) gate = left16(gate, relu.shift - 1);
  gate = srdhm16(gate, relu.multiplier);
  if (relu.shift > 0) gate = left16(gate, 1);
  if (relu.shift < 0) gate = saturate16(snn_rdbpot(gate, -relu.shift));
  gate = (int16_t)((gate + (1 << 15)) >> 1); /* [-1, 1] becomes [0, 1] */
  int16_t product = saturate16(gate * scaled / (1 << 15));
  return snn_rdbpot(product, -output.shift);
}

static int hard_swish_table(SnnNode *node, Activation *activation) {
  const SnnTensor *in = node->in[0], *out = node->out[0];
  int32_t lo, hi;
  snn_quantized_limits(out->type, &lo, &hi);
  float hires = (1.0f / 128.0f) * in->scale;
  Multiplier16 output = multiplier16(hires / out->scale), relu = multiplier16(hires / (3.0f / 32768.0f));
  SNN_CHECK(node, output.shift <= 0, "input scale %.9g is too large for output scale %.9g", (double)in->scale, (double)out->scale);
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint8_t stored = (uint8_t)byte;
    int32_t value = snn_load8(in->type, &stored, 0) - in->zero_point;
    activation->table[byte] = (uint8_t)snn_clamp(hard_swish_value(value, output, relu) + out->zero_point, lo, hi);
  }
  return SNN_OK;
}

/* --- prepare --- */

static int relu_table(SnnNode *node, Activation *activation, int32_t fuse) {
  int32_t lo, hi;
  SNN_TRY(snn_fused_range(node, fuse, node->out[0], &lo, &hi));
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint8_t stored = (uint8_t)byte;
    activation->table[byte] = (uint8_t)snn_clamp(snn_load8(node->in[0]->type, &stored, 0), lo, hi);
  }
  return SNN_OK;
}

static void function_table(SnnNode *node, Activation *activation, float (*function)(float)) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    activation->table[byte] = snn_quantize_by_reciprocal(node->out[0], function(snn_dequantize_byte(node->in[0], byte)));
  }
}

static int prepare_quantized(SnnNode *node, Activation *activation, int32_t fuse) {
  activation->run = table_run;
  switch (node->op->code) {
    case ANEURALNETWORKS_LOGISTIC: function_table(node, activation, plain_logistic); return SNN_OK;
    case ANEURALNETWORKS_TANH: function_table(node, activation, tanhf); return SNN_OK;
    case ANEURALNETWORKS_HARD_SWISH: return hard_swish_table(node, activation);
    default: return relu_table(node, activation, fuse);
  }
}

static int prepare(SnnNode *node) {
  int32_t code = node->op->code;
  int32_t fuse = code == ANEURALNETWORKS_RELU    ? ANEURALNETWORKS_FUSED_RELU
                 : code == ANEURALNETWORKS_RELU1 ? ANEURALNETWORKS_FUSED_RELU1
                 : code == ANEURALNETWORKS_RELU6 ? ANEURALNETWORKS_FUSED_RELU6
                                                 : ANEURALNETWORKS_FUSED_NONE;
  SNN_TRY(snn_set_shape_like(node, 0, node->in[0]));
  Activation *activation = snn_params(node, sizeof *activation);
  if (activation == NULL) return SNN_NO_MEMORY;
  if (snn_is_quant8(node->in[0]->type)) return prepare_quantized(node, activation, fuse);
  if (code == ANEURALNETWORKS_ELU) SNN_TRY(snn_get_f32(node, 1, &activation->alpha));
  activation->run = code == ANEURALNETWORKS_LOGISTIC     ? logistic_float
                    : code == ANEURALNETWORKS_TANH       ? tanh_float
                    : code == ANEURALNETWORKS_HARD_SWISH ? hard_swish_float
                    : code == ANEURALNETWORKS_ELU        ? elu_float
                                                         : clamp_float;
  return snn_fused_range_float(node, fuse, &activation->lo, &activation->hi);
}

static int execute(SnnNode *node) {
  const Activation *activation = node->params;
  size_t element = snn_element_size(node->in[0]->type);
  snn_run_all(node, element, element, activation->run, activation);
  return SNN_OK;
}

/* --- PRELU --- */

typedef struct {
  SnnPairs pairs;
  bool is_signed;
  int32_t zero_in, zero_alpha, zero_out, lo, hi;
  SnnMultiplier negative;
  int32_t positive[256]; /* by stored byte, before the output's zero point */
} Prelu;

static void prelu_float(SNN_PAIR_ARGUMENTS) {
  const float *restrict a = a_data, *restrict b = b_data;
  float *restrict out = out_data;
  (void)context;
#define AT(first, second) const float x = (first), alpha = (second)
  SNN_PAIR_LOOP(x >= 0 ? x : x * alpha)
#undef AT
}

static uint8_t prelu_byte(const Prelu *p, uint8_t first, uint8_t second) {
  int32_t x = (p->is_signed ? (int8_t)first : first) - p->zero_in, alpha = (p->is_signed ? (int8_t)second : second) - p->zero_alpha;
  int32_t value = x >= 0 ? p->positive[first] : snn_multiply(x * alpha, p->negative);
  return (uint8_t)snn_clamp((int32_t)((uint32_t)value + (uint32_t)p->zero_out), p->lo, p->hi);
}

static void prelu_quantized(SNN_PAIR_ARGUMENTS) {
  const Prelu *p = context;
  const uint8_t *restrict a = a_data, *restrict b = b_data;
  uint8_t *restrict out = out_data;
#define AT(first, second) const uint8_t x = (first), alpha = (second)
  SNN_PAIR_LOOP(prelu_byte(p, x, alpha))
#undef AT
}

static int prepare_prelu(SnnNode *node) {
  SnnPairs pairs;
  SNN_TRY(snn_pairs_plan(node, &pairs));
  Prelu *p = snn_params(node, sizeof *p);
  if (p == NULL) return SNN_NO_MEMORY;
  p->pairs = pairs;
  const SnnTensor *in = node->in[0], *alpha = node->in[1], *out = node->out[0];
  if (!snn_is_quant8(in->type)) return SNN_OK;
  p->is_signed = in->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
  p->zero_in = in->zero_point;
  p->zero_alpha = alpha->zero_point;
  p->zero_out = out->zero_point;
  snn_quantized_limits(out->type, &p->lo, &p->hi);
  float positive = in->scale / out->scale, negative = in->scale * alpha->scale / out->scale;
  p->negative = snn_quantize_multiplier(negative);
  SnnMultiplier multiplier = snn_quantize_multiplier(positive);
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint8_t stored = (uint8_t)byte;
    p->positive[byte] = snn_multiply(snn_load8(in->type, &stored, 0) - in->zero_point, multiplier);
  }
  return SNN_OK;
}

static int execute_prelu(SnnNode *node) {
  const Prelu *p = node->params;
  int32_t type = node->in[0]->type;
  snn_pairs_run(node, &p->pairs, snn_element_size(type), snn_is_quant8(type) ? prelu_quantized : prelu_float, p);
  return SNN_OK;
}

const SnnOperation snn_activation_operations[] = {
    SNN_RECORD(RELU, 1, validate_relu, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(RELU1, 1, validate_relu, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(RELU6, 1, validate_relu, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(LOGISTIC, 1, validate_logistic, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(TANH, 1, validate_tanh, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(HARD_SWISH, 4, validate_hard_swish, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(ELU, 4, validate_elu, prepare, execute, SNN_F16_BY_F32 | SNN_IN_PLACE)
    SNN_RECORD(PRELU, 3, validate_prelu, prepare_prelu, execute_prelu, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
