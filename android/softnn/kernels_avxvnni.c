/* Kernels for AVX2 with FMA and the 256-bit dot product (AVX-VNNI). */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "operation.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#define SNN_VECTOR_BYTES 32
#define SNN_AVX2
#define SNN_FMA
#define SNN_DOT8
#define SNN_Q_ROWS 6
#define SNN_Q_VECTORS 2
#define SNN_F_ROWS 6
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_avxvnni
#define SNN_TABLE_NAME "avxvnni"
#include "simd.h"

SNN_INLINE VecI32 dot8(VecI32 acc, VecI32 bytes, VecI32 weights) {
  return (VecI32)_mm256_dpbusd_avx_epi32((__m256i)acc, (__m256i)bytes, (__m256i)weights);
}

#include "kernels_body.h"
#pragma clang attribute pop
#else
typedef int snn_no_avxvnni;
#endif
