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
