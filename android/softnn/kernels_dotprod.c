/* Kernels for arm64 with the dot product instructions (FEAT_DotProd). */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "operation.h"

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#define SNN_VECTOR_BYTES 16
#define SNN_NEON
#define SNN_FMA
#define SNN_BORROW /* from baseline */
#define SNN_LEND_DEPTHWISE
#define SNN_DOT8
#define SNN_DOT8_SIGNED
#define SNN_Q_ROWS 6
#define SNN_Q_VECTORS 4
#define SNN_F_ROWS 8
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_dotprod
#define SNN_TABLE_NAME "dotprod"
#include "simd.h"

SNN_INLINE VecI32 dot8(VecI32 acc, VecI32 bytes, VecI32 weights) {
  return (VecI32)vdotq_s32((int32x4_t)acc, (int8x16_t)bytes, (int8x16_t)weights);
}

#include "kernels_body.h"
#pragma clang attribute pop
#else
typedef int snn_no_dotprod;
#endif
