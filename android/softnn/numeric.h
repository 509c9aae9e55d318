/* Fixed-point and quantisation arithmetic that the operations share.
 *
 * Rounding follows TFLite's default build (double rounding): a product is first rounded to its upper 31 bits, then shifted with
 * rounding. Both steps are written so that they vectorise; the equalities with the textbook forms are noted beside them.
 */
#ifndef SNN_NUMERIC_H
#define SNN_NUMERIC_H

#include <math.h>

#include "operation.h"

/* Products must round once where TFLite rounds once: no contraction to fused multiply-add behind our back. */
#pragma STDC FP_CONTRACT OFF

/* A positive real number as multiplier / 2^31 * 2^shift, multiplier in [2^30, 2^31) or 0. */
typedef struct {
  int32_t multiplier;
  int32_t shift;
} SnnMultiplier;

/* round-half-away(fraction(m) * 2^31); numbers below 2^-32 become 0. m must be finite and not negative. Factors of 2^31 and more, which
 * no sane scale gives and whose shift would be undefined, saturate. */
SnnMultiplier snn_quantize_multiplier(double m);

/* Rounding doubling high multiply of a and a non-negative b: (a * b + 2^30) >> 31. The textbook form truncates
 * (ab + (ab >= 0 ? 2^30 : 1 - 2^30)) / 2^31 towards zero, which is the same number. */
static inline int32_t snn_srdhm(int32_t a, int32_t b) {
  if (a == b && a == INT32_MIN) return INT32_MAX;
  return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31);
}

/* x / 2^n rounded to nearest, ties away from zero; 0 <= n <= 31. */
static inline int32_t snn_rdbpot(int32_t x, int n) {
  int64_t half = n > 0 ? (int64_t)1 << (n - 1) : 0;
  return (int32_t)((x + half - (n > 0 && x < 0)) >> n);
}

/* x * 2^n with the wrap-around of a 32-bit shift. */
static inline int32_t snn_shift_left(int32_t x, int n) { return (int32_t)((uint32_t)x << (n & 31)); }

/* x * m. */
static inline int32_t snn_multiply(int32_t x, SnnMultiplier m) {
  int left = m.shift > 0 ? m.shift : 0, right = m.shift > 0 ? 0 : -m.shift;
  return snn_rdbpot(snn_srdhm(snn_shift_left(x, left), m.multiplier), right);
}

static inline int32_t snn_clamp(int32_t x, int32_t lo, int32_t hi) { return x < lo ? lo : x > hi ? hi : x; }
/* x + zero point, clamped; x may be any number. */
static inline int32_t snn_clamp_from(int32_t x, int32_t zero_point, int32_t lo, int32_t hi) {
  int64_t sum = (int64_t)x + zero_point;
  return sum < lo ? lo : sum > hi ? hi : (int32_t)sum;
}
/* NaN passes. */
static inline float snn_clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

/* x to the nearest integer, ties away from zero, saturated to int32; NaN becomes 0. */
int32_t snn_round(double x);

/* The values that a quantised type can hold (8 and 16 bit, also the symmetric ones). */
void snn_quantized_limits(int32_t type, int32_t *lo, int32_t *hi);
/* One stored 8-bit value as a number. */
static inline int32_t snn_load8(int32_t type, const void *data, size_t i) {
  return type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM ? ((const uint8_t *)data)[i] : ((const int8_t *)data)[i];
}

/* In validate: a quantised output 0 must have just these parameters; others pass. False after recording why. */
bool snn_check_fixed_output(SnnNode *node, float scale, int32_t zero_point_unsigned, int32_t zero_point_signed);

/* The value that a stored byte means, as float arithmetic has it: scale * (value - zero point). */
float snn_dequantize_byte(const SnnTensor *t, uint32_t byte);
/* zero point + round(x / scale) through the reciprocal of the scale, clamped to the type: the byte of an 8-bit tensor. */
uint8_t snn_quantize_by_reciprocal(const SnnTensor *t, float x);

/* Fused activations: the range of a stored 8-bit output, or of a float one. SNN_BAD (recorded) for an unknown code. */
int snn_fused_range(SnnNode *node, int32_t fuse, const SnnTensor *output, int32_t *lo, int32_t *hi);
int snn_fused_range_float(SnnNode *node, int32_t fuse, float *lo, float *hi);

/* x * 2^n, saturated. */
int32_t snn_saturating_left(int32_t x, int n);
/* 1 / sqrt(x) for a whole x > 0 as a multiplier, by five Newton steps in fixed point; 1 (just below) for x <= 1. */
SnnMultiplier snn_inverse_sqrt(int32_t x);

/* (value - zero point) * scale requantised to another tensor's parameters the way NNAPI's MAXIMUM, MINIMUM do it. */
int32_t snn_requantize(int32_t value, const SnnTensor *from, const SnnTensor *to);

/* a * b + c, a * b in size_t; false on overflow. */
static inline bool snn_size_mul(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
static inline size_t snn_align(size_t n, size_t to) { return (n + to - 1) / to * to; }

#endif
