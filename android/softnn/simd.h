/* A thin layer over the compiler's vectors. The including file has defined SNN_VECTOR_BYTES and what its instruction set adds:
 *
 *   SNN_FMA                 fused multiply-add exists
 *   SNN_AVX2, SNN_AVX512, SNN_VNNI, SNN_NEON
 *
 * Every function is inlined into kernels that are compiled for that instruction set. Integers wrap: sums are unsigned inside.
 */
#ifndef SNN_SIMD_H
#define SNN_SIMD_H

#include <stdint.h>
#include <string.h>

#define SNN_INLINE static inline __attribute__((always_inline))
#define SNN_LANES (SNN_VECTOR_BYTES / 4)

typedef int32_t VecI32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef uint32_t VecU32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef int16_t VecI16 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef float VecF32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
/* As many narrow elements as a vector has 32-bit lanes. */
typedef uint8_t LanesU8 __attribute__((vector_size(SNN_LANES)));
typedef int8_t LanesI8 __attribute__((vector_size(SNN_LANES)));
typedef int16_t LanesI16 __attribute__((vector_size(SNN_LANES * 2)));
typedef int64_t LanesI64 __attribute__((vector_size(SNN_LANES * 8)));

#define SNN_LOAD(Type, from) ({ Type loaded_; memcpy(&loaded_, (from), sizeof loaded_); loaded_; })
#define SNN_STORE(to, value) do { __typeof__(value) stored_ = (value); memcpy((to), &stored_, sizeof stored_); } while (0)

SNN_INLINE VecI32 splat_i32(int32_t x) { return x - (VecI32){0}; }
SNN_INLINE VecF32 splat_f32(float x) { return x - (VecF32){0}; }
SNN_INLINE VecI32 load_i32(const int32_t *from) { return SNN_LOAD(VecI32, from); }
SNN_INLINE VecF32 load_f32(const float *from) { return SNN_LOAD(VecF32, from); }
SNN_INLINE VecI32 add_i32(VecI32 a, VecI32 b) { return (VecI32)((VecU32)a + (VecU32)b); }
SNN_INLINE VecI32 mul_i32(VecI32 a, VecI32 b) { return (VecI32)((VecU32)a * (VecU32)b); }

SNN_INLINE VecI32 clamp_i32(VecI32 x, VecI32 lo, VecI32 hi) {
  return __builtin_elementwise_min(__builtin_elementwise_max(x, lo), hi);
}

SNN_INLINE VecF32 select_f32(VecI32 mask, VecF32 yes, VecF32 no) { return (VecF32)((mask & (VecI32)yes) | (~mask & (VecI32)no)); }

/* NaN passes. */
SNN_INLINE VecF32 clamp_f32(VecF32 x, VecF32 lo, VecF32 hi) {
  x = select_f32(x < lo, lo, x);
  return select_f32(x > hi, hi, x);
}

#ifdef SNN_FMA
/* a * b + c, rounded once. */
SNN_INLINE VecF32 fma_f32(VecF32 a, VecF32 b, VecF32 c) {
#if __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, c);
#else /* clang before 17 */
  for (int i = 0; i < SNN_LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#endif
}
#endif

/* Pairs of 16-bit products added up: lane i = a[2i] * b[2i] + a[2i + 1] * b[2i + 1]. */
SNN_INLINE VecI32 madd_i16(VecI16 a, VecI16 b) {
#if defined(SNN_AVX512)
  return (VecI32)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(SNN_AVX2)
  return (VecI32)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(SNN_SSE2)
  return (VecI32)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  VecI32 even_a = (VecI32)((VecU32)a << 16) >> 16, odd_a = (VecI32)a >> 16;
  VecI32 even_b = (VecI32)((VecU32)b << 16) >> 16, odd_b = (VecI32)b >> 16;
  return add_i32(mul_i32(even_a, even_b), mul_i32(odd_a, odd_b));
#endif
}

/* snn_srdhm for b >= 0, lane by lane. */
SNN_INLINE VecI32 srdhm_i32(VecI32 a, VecI32 b) {
#if defined(SNN_AVX512)
  const __m512i nudge = _mm512_set1_epi64(1 << 30);
  __m512i even = _mm512_mul_epi32((__m512i)a, (__m512i)b);
  __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64((__m512i)a, 32), _mm512_srli_epi64((__m512i)b, 32));
  even = _mm512_srli_epi64(_mm512_add_epi64(even, nudge), 31);
  odd = _mm512_slli_epi64(_mm512_add_epi64(odd, nudge), 1);
  return (VecI32)_mm512_mask_blend_epi32(0xaaaa, even, odd);
#elif defined(SNN_AVX2)
  const __m256i nudge = _mm256_set1_epi64x(1 << 30);
  __m256i even = _mm256_mul_epi32((__m256i)a, (__m256i)b);
  __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64((__m256i)a, 32), _mm256_srli_epi64((__m256i)b, 32));
  even = _mm256_srli_epi64(_mm256_add_epi64(even, nudge), 31);
  odd = _mm256_slli_epi64(_mm256_add_epi64(odd, nudge), 1);
  return (VecI32)_mm256_blend_epi32(even, odd, 0xaa);
#elif defined(SNN_NEON)
  return (VecI32)vqrdmulhq_s32((int32x4_t)a, (int32x4_t)b);
#else
  VecI32 result;
  for (int i = 0; i < SNN_LANES; i++) result[i] = (int32_t)(((int64_t)a[i] * b[i] + (1 << 30)) >> 31);
  return result;
#endif
}

/* snn_rdbpot, lane by lane: the part shifted out decides; a negative number needs more than half to round up. */
SNN_INLINE VecI32 rdbpot_i32(VecI32 x, VecI32 n) {
  VecI32 mask = (VecI32)(((VecU32)splat_i32(1) << (VecU32)n) - 1u);
  VecI32 threshold = (VecI32)((VecU32)mask >> 1) - (x >> 31);
  return (x >> n) - ((x & mask) > threshold);
}

/* Low bytes of the lanes. */
SNN_INLINE LanesU8 narrow_u8(VecI32 x) { return __builtin_convertvector((VecU32)x, LanesU8); }
SNN_INLINE VecI32 widen_u8(const uint8_t *from) { return __builtin_convertvector(SNN_LOAD(LanesU8, from), VecI32); }
SNN_INLINE VecI32 widen_i8(const uint8_t *from) { return __builtin_convertvector(SNN_LOAD(LanesI8, from), VecI32); }
SNN_INLINE VecI32 widen_i16(const int16_t *from) { return __builtin_convertvector(SNN_LOAD(LanesI16, from), VecI32); }

#endif
