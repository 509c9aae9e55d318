/* Kernels for arm64 with the 8-bit matrix product (FEAT_I8MM), and the dot product. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "operation.h"

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#define SNN_VECTOR_BYTES 16
#define SNN_NEON
#define SNN_FMA
#define SNN_BORROW           /* from baseline */
#define SNN_BORROW_DEPTHWISE /* from dotprod */
#define SNN_SMALL
#define SNN_DOT8
#define SNN_DOT8_SIGNED
#define SNN_MATRIX8
#define SNN_Q_ROWS 8
#define SNN_Q_VECTORS 2
#define SNN_F_ROWS 8
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_i8mm
#define SNN_TABLE_NAME "i8mm"
#include "simd.h"

SNN_INLINE VecI32 matrix8(VecI32 acc, VecI32 a, VecI32 w) { return (VecI32)vmmlaq_s32((int32x4_t)acc, (int8x16_t)a, (int8x16_t)w); }

SNN_INLINE VecI32 two_units(const char *first, const char *second) {
  return (VecI32)vcombine_s64(SNN_LOAD(int64x1_t, first), SNN_LOAD(int64x1_t, second));
}

#include "kernels_body.h"
#pragma clang attribute pop
#else
typedef int snn_no_i8mm;
#endif
