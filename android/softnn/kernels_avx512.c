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

/* Tables of 256 bytes lie in four vectors; the index's upper two bits choose among them. */
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
void snn_table_lookup_vbmi(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count) {
  __m512i a = _mm512_loadu_si512(table), b = _mm512_loadu_si512(table + 64);
  __m512i c = _mm512_loadu_si512(table + 128), d = _mm512_loadu_si512(table + 192);
  for (size_t i = 0; i < count; i += 64) {
    __mmask64 live = count - i < 64 ? ((__mmask64)1 << (count - i)) - 1 : ~(__mmask64)0;
    __m512i x = _mm512_maskz_loadu_epi8(live, from + i);
    __m512i low = _mm512_permutex2var_epi8(a, x, b), high = _mm512_permutex2var_epi8(c, x, d);
    _mm512_mask_storeu_epi8(to + i, live, _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high));
  }
}
#else
typedef int snn_no_avx512;
#endif
