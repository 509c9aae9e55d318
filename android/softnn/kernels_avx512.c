/* Kernels for AVX-512 (F, BW, DQ, VL) with VNNI. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "operation.h"

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#define SNN_VECTOR_BYTES 64
#define SNN_AVX512
#define SNN_FMA
#define SNN_DOT8
#define SNN_Q_ROWS 12
#define SNN_Q_VECTORS 2
#define SNN_F_ROWS 12
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_avx512
#define SNN_TABLE_NAME "avx512vnni"
#include "simd.h"

SNN_INLINE VecI32 dot8(VecI32 acc, VecI32 bytes, VecI32 weights) {
  return (VecI32)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)bytes, (__m512i)weights);
}

#include "kernels_body.h"
#pragma clang attribute pop
#else
typedef int snn_no_avx512;
#endif
