#include "numeric.h"

#include <float.h>

SnnMultiplier snn_quantize_multiplier(double m) {
  SnnMultiplier none = {0, 0};
  if (!(m > 0)) return none;
  int exponent = 0;
  double fraction = frexp(m, &exponent);
  int64_t q = (int64_t)round(fraction * 2147483648.0);
  if (q == (int64_t)1 << 31) {
    q /= 2;
    exponent++;
  }
  if (exponent < -31) return none;
  if (exponent > 30) return (SnnMultiplier){INT32_MAX, 30};
  return (SnnMultiplier){(int32_t)q, exponent};
}

int32_t snn_round(double x) {
  double r = round(x);
  if (r != r) return 0;
  if (r <= (double)INT32_MIN) return INT32_MIN;
  if (r >= (double)INT32_MAX) return INT32_MAX;
  return (int32_t)r;
}

void snn_quantized_limits(int32_t type, int32_t *lo, int32_t *hi) {
  switch (type) {
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM: *lo = 0, *hi = 255; break;
    case ANEURALNETWORKS_TENSOR_QUANT16_ASYMM: *lo = 0, *hi = 65535; break;
    case ANEURALNETWORKS_TENSOR_QUANT16_SYMM: *lo = -32768, *hi = 32767; break;
    default: *lo = -128, *hi = 127; break;
  }
}

bool snn_check_fixed_output(SnnNode *node, float scale, int32_t zero_point_unsigned, int32_t zero_point_signed) {
  const SnnTensor *out = node->out[0];
  int32_t zero_point = out->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM ? zero_point_unsigned : zero_point_signed;
  if (!snn_is_quant8(out->type) || (out->scale == scale && out->zero_point == zero_point)) return true;
  snn_fail(node, "output has scale %.9g and zero point %d, not %.9g and %d", (double)out->scale, (int)out->zero_point, (double)scale,
           (int)zero_point);
  return false;
}

float snn_dequantize_byte(const SnnTensor *t, uint32_t byte) {
  uint8_t stored = (uint8_t)byte;
  return t->scale * (float)(snn_load8(t->type, &stored, 0) - t->zero_point);
}

uint8_t snn_quantize_by_reciprocal(const SnnTensor *t, float x) {
  int32_t lo, hi;
  snn_quantized_limits(t->type, &lo, &hi);
  float inverse = 1.0f / t->scale;
  double value = (double)roundf(x * inverse) + t->zero_point;
  return (uint8_t)snn_clamp(snn_round(value), lo, hi);
}

/* The stored form of a real bound: zero point + round(value / scale), the quotient in float. */
static int32_t stored(float value, const SnnTensor *t) {
  int64_t q = (int64_t)snn_round(value / t->scale) + t->zero_point;
  return q < INT32_MIN ? INT32_MIN : q > INT32_MAX ? INT32_MAX : (int32_t)q;
}

int snn_fused_range(SnnNode *node, int32_t fuse, const SnnTensor *output, int32_t *lo, int32_t *hi) {
  float low, high;
  SNN_TRY(snn_fused_range_float(node, fuse, &low, &high));
  snn_quantized_limits(output->type, lo, hi);
  if (fuse == ANEURALNETWORKS_FUSED_NONE) return SNN_OK;
  int32_t min = *lo, max = *hi;
  *lo = snn_clamp(stored(low, output), min, max);
  if (fuse != ANEURALNETWORKS_FUSED_RELU) *hi = snn_clamp(stored(high, output), min, max);
  return SNN_OK;
}

int snn_fused_range_float(SnnNode *node, int32_t fuse, float *lo, float *hi) {
  *lo = -FLT_MAX, *hi = FLT_MAX;
  switch (fuse) {
    case ANEURALNETWORKS_FUSED_NONE: break;
    case ANEURALNETWORKS_FUSED_RELU: *lo = 0; break;
    case ANEURALNETWORKS_FUSED_RELU1: *lo = -1, *hi = 1; break;
    case ANEURALNETWORKS_FUSED_RELU6: *lo = 0, *hi = 6; break;
    default: SNN_CHECK(node, false, "fused activation %d is none of NONE 0, RELU 1, RELU1 2, RELU6 3", (int)fuse);
  }
  return SNN_OK;
}

int32_t snn_requantize(int32_t value, const SnnTensor *from, const SnnTensor *to) {
  int32_t lo, hi;
  snn_quantized_limits(to->type, &lo, &hi);
  float real = (float)(value - from->zero_point) * from->scale;
  return snn_clamp(snn_round((double)real / to->scale + to->zero_point), lo, hi);
}

int32_t snn_saturating_left(int32_t x, int n) {
  int64_t wide = (int64_t)x * ((int64_t)1 << n);
  return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

SnnMultiplier snn_inverse_sqrt(int32_t x) {
  if (x <= 1) return (SnnMultiplier){INT32_MAX, 0};
  int right = 11;
  for (; x >= 1 << 29; x /= 4) right++;
  /* Shifted by pairs of bits until it nearly fills a Q3.28 number. */
  int pairs = (__builtin_clz((uint32_t)x) - 1) / 2 - 1;
  right -= pairs;
  int32_t input = (int32_t)((uint32_t)x << (2 * pairs)) >> 1, half = snn_rdbpot(input, 1);
  const int32_t three_halves = (1 << 28) + (1 << 27), half_sqrt_2 = 1518500250;
  int32_t y = 1 << 28;
  for (int step = 0; step < 5; step++) {
    int32_t cube = snn_saturating_left(snn_srdhm(snn_srdhm(y, y), y), 6);
    y = snn_saturating_left(snn_srdhm(three_halves, y) - snn_srdhm(half, cube), 3);
  }
  y = snn_srdhm(y, half_sqrt_2);
  if (right < 0) {
    y = snn_shift_left(y, -right);
    right = 0;
  }
  return (SnnMultiplier){y, -right};
}
