/* QUANTIZE, DEQUANTIZE, CAST. */
#include <math.h>
#include <string.h>

#include "../kernels.h"
#include "../numeric.h"
#include "../shape.h"
#include "../unary.h"

/* --- QUANTIZE --- */

typedef struct {
  float scale;
  SnnQRange range;
} Quantize;

static int validate_quantize(SnnNode *node) {
  static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "T", "*")) return SNN_INVALID;
  SNN_REQUIRE(node, snn_is_quant8(node->out[0]->type), "output is %s, not TENSOR_QUANT8_ASYMM or TENSOR_QUANT8_ASYMM_SIGNED",
              snn_type_name(node->out[0]->type));
  return node->out[0]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED ? 4 : level;
}

static int prepare_quantize(SnnNode *node) {
  const SnnTensor *out = node->out[0];
  SNN_TRY(snn_set_shape_like(node, 0, node->in[0]));
  Quantize *q = snn_params(node, sizeof *q);
  if (q == NULL) return SNN_NO_MEMORY;
  q->scale = out->scale;
  q->range.is_signed = out->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
  q->range.zero_point = out->zero_point;
  snn_quantized_limits(out->type, &q->range.lo, &q->range.hi);
  return SNN_OK;
}

static void quantize_run(const void *context, const void *in, void *out, size_t count) {
  const Quantize *q = context;
  snn_kernels()->f_quantize(in, out, count, q->scale, &q->range);
}

static int execute_quantize(SnnNode *node) {
  snn_run_all(node, sizeof(float), 1, quantize_run, node->params);
  return SNN_OK;
}

/* --- DEQUANTIZE --- */

typedef struct {
  size_t inner, channels; /* per channel: elements of one channel in a row; channels */
  float values[256];      /* of the stored bytes, per tensor */
} Dequantize;

static int validate_dequantize(SnnNode *node) {
  static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_SYMM, 3},
                                       {ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL, 3},
                                       {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "T", "*")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "input 0", 1, 4)) return SNN_INVALID;
  bool half = node->out[0]->type == ANEURALNETWORKS_TENSOR_FLOAT16;
  SNN_REQUIRE(node, half || node->out[0]->type == ANEURALNETWORKS_TENSOR_FLOAT32, "output is %s, not TENSOR_FLOAT32 or TENSOR_FLOAT16",
              snn_type_name(node->out[0]->type));
  return half && level < 3 ? 3 : level;
}

static bool per_channel(const SnnTensor *t) { return t->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL; }

static int prepare_dequantize(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  SNN_CHECK(node, in->rank <= 4, "input 0 has rank %u; at most 4 expected", in->rank);
  SNN_TRY(snn_set_shape_like(node, 0, in));
  Dequantize *d = snn_params(node, sizeof *d);
  if (d == NULL) return SNN_NO_MEMORY;
  if (per_channel(in)) {
    SNN_CHECK(node, in->channel_dim < in->rank && in->channel_count == in->dims[in->channel_dim] && in->channel_scales,
              "input 0 has %u scales along dimension %u", in->channel_count, in->channel_dim);
    d->channels = in->channel_count;
    d->inner = snn_product(in->dims, in->channel_dim + 1, in->rank);
    return SNN_OK;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint8_t stored = (uint8_t)byte;
    d->values[byte] = (float)((double)in->scale * (snn_load8(in->type, &stored, 0) - in->zero_point));
  }
  return SNN_OK;
}

static void dequantize_run(const void *context, const void *in, void *out, size_t count) {
  const float *restrict values = ((const Dequantize *)context)->values;
  const uint8_t *restrict from = in;
  float *restrict to = out;
  for (size_t i = 0; i < count; i++) to[i] = values[from[i]];
}

static int execute_dequantize(SnnNode *node) {
  const Dequantize *d = node->params;
  const SnnTensor *in = node->in[0];
  if (!per_channel(in)) {
    snn_run_all(node, 1, sizeof(float), dequantize_run, d);
    return SNN_OK;
  }
  size_t count;
  if (!snn_count(in, &count)) return SNN_BAD;
  const int8_t *from = in->data;
  float *to = node->out[0]->data;
  for (size_t i = 0, channel = 0; i < count; channel = channel + 1 < d->channels ? channel + 1 : 0) {
    float scale = in->channel_scales[channel];
    for (size_t end = i + d->inner; i < end; i++) to[i] = scale * (float)from[i];
  }
  return SNN_OK;
}

/* --- CAST --- */

static int validate_cast(SnnNode *node) {
  static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_FLOAT32, 3},
                                       {ANEURALNETWORKS_TENSOR_INT32, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                       {ANEURALNETWORKS_TENSOR_BOOL8, 4}, {ANEURALNETWORKS_TENSOR_QUANT16_ASYMM, 4},
                                       {ANEURALNETWORKS_TENSOR_QUANT16_SYMM, 4}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                       {ANEURALNETWORKS_TENSOR_QUANT8_SYMM, 4}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "T", "*")) return SNN_INVALID;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  if (level == 4) {
    SNN_REQUIRE(node, in->type == out->type, "%s casts only to itself, not to %s", snn_type_name(in->type), snn_type_name(out->type));
    return level;
  }
  bool known = out->type == ANEURALNETWORKS_TENSOR_FLOAT16 || out->type == ANEURALNETWORKS_TENSOR_FLOAT32 ||
               out->type == ANEURALNETWORKS_TENSOR_INT32 || out->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
  SNN_REQUIRE(node, known, "%s does not cast to %s", snn_type_name(in->type), snn_type_name(out->type));
  return level;
}

static int prepare_cast(SnnNode *node) { return snn_set_shape_like(node, 0, node->in[0]); }

static inline int32_t float_to_i32(float x) {
  if (x != x) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  if (x <= -2147483648.0f) return INT32_MIN;
  return (int32_t)x;
}

/* Towards zero, saturated. */
#define CAST_RUN(name, From, To, EXPRESSION)                                          \
  static void name(const void *context, const void *in, void *out, size_t count) {    \
    const From *restrict from = in;                                                   \
    To *restrict to = out;                                                            \
    (void)context;                                                                    \
    for (size_t i = 0; i < count; i++) {                                              \
      const From x = from[i];                                                         \
      to[i] = (EXPRESSION);                                                           \
    }                                                                                 \
  }
CAST_RUN(float_to_int, float, int32_t, float_to_i32(x))
CAST_RUN(float_to_byte, float, uint8_t, (uint8_t)snn_clamp(float_to_i32(x), 0, 255))
CAST_RUN(int_to_float, int32_t, float, (float)x)
CAST_RUN(int_to_byte, int32_t, uint8_t, (uint8_t)snn_clamp(x, 0, 255))
CAST_RUN(byte_to_float, uint8_t, float, (float)x)
CAST_RUN(byte_to_int, uint8_t, int32_t, x)

static SnnRun cast_run(int32_t from, int32_t to) {
  switch (from) {
    case ANEURALNETWORKS_TENSOR_FLOAT32: return to == ANEURALNETWORKS_TENSOR_INT32 ? float_to_int : float_to_byte;
    case ANEURALNETWORKS_TENSOR_INT32: return to == ANEURALNETWORKS_TENSOR_FLOAT32 ? int_to_float : int_to_byte;
    default: return to == ANEURALNETWORKS_TENSOR_FLOAT32 ? byte_to_float : byte_to_int;
  }
}

static int execute_cast(SnnNode *node) {
  int32_t from = node->in[0]->type, to = node->out[0]->type;
  size_t in_element = snn_element_size(from), out_element = snn_element_size(to), count;
  if (from != to) {
    snn_run_all(node, in_element, out_element, cast_run(from, to), NULL);
  } else if (snn_count(node->in[0], &count) && count > 0) {
    memmove(node->out[0]->data, node->in[0]->data, count * in_element);
  }
  return SNN_OK;
}

const SnnOperation snn_quantization_operations[] = {
    SNN_RECORD(QUANTIZE, 3, validate_quantize, prepare_quantize, execute_quantize, SNN_F16_BY_F32)
    SNN_RECORD(DEQUANTIZE, 1, validate_dequantize, prepare_dequantize, execute_dequantize, SNN_F16_BY_F32)
    SNN_RECORD(CAST, 3, validate_cast, prepare_cast, execute_cast, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
