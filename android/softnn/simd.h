/* A thin layer over the compiler's vectors. The including file has defined SNN_VECTOR_BYTES and what its instruction set adds:
 *
 *   SNN_FMA                 fused multiply-add exists
 *   SNN_AVX2, SNN_AVX512, SNN_VNNI, SNN_NEON
 *
 * Every function is inlined into kernels that are compiled for that instruction set. Integers wrap: sums are unsigned inside.
 */
#ifndef SNN_SIMD_H
#define SNN_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "numeric.h"

#define SNN_INLINE static inline __attribute__((always_inline))
#define SNN_LANES (SNN_VECTOR_BYTES / 4)

typedef int32_t VecI32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef uint32_t VecU32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef int8_t VecI8 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef int16_t VecI16 __attribute__((vector_size(SNN_VECTOR_BYTES)));
typedef float VecF32 __attribute__((vector_size(SNN_VECTOR_BYTES)));
/* As many narrow elements as a vector has 32-bit lanes. */
typedef uint8_t HalfU8 __attribute__((vector_size(SNN_VECTOR_BYTES / 2)));
typedef uint8_t LanesU8 __attribute__((vector_size(SNN_LANES)));
typedef int8_t LanesI8 __attribute__((vector_size(SNN_LANES)));
typedef int16_t LanesI16 __attribute__((vector_size(SNN_LANES * 2)));

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

/* Multipliers in the two forms that srdhm_i32 takes: every lane, and every second one moved down by a lane. */
typedef struct {
  VecI32 all, odd;
} Multipliers;

SNN_INLINE VecI32 odd_down(VecI32 x) {
#if defined(SNN_AVX512)
  return (VecI32)_mm512_srli_epi64((__m512i)x, 32);
#elif defined(SNN_AVX2)
  return (VecI32)_mm256_srli_epi64((__m256i)x, 32);
#else
  return x;
#endif
}

SNN_INLINE Multipliers load_multipliers(const int32_t *from) {
  VecI32 all = load_i32(from);
  return (Multipliers){all, odd_down(all)};
}

/* snn_srdhm for b >= 0, lane by lane. */
SNN_INLINE VecI32 srdhm_i32(VecI32 a, Multipliers b) {
#if defined(SNN_AVX512)
  const __m512i nudge = _mm512_set1_epi64(1 << 30);
  __m512i even = _mm512_mul_epi32((__m512i)a, (__m512i)b.all), odd = _mm512_mul_epi32((__m512i)odd_down(a), (__m512i)b.odd);
  even = _mm512_srli_epi64(_mm512_add_epi64(even, nudge), 31);
  odd = _mm512_slli_epi64(_mm512_add_epi64(odd, nudge), 1);
  return (VecI32)_mm512_mask_blend_epi32(0xaaaa, even, odd);
#elif defined(SNN_AVX2)
  const __m256i nudge = _mm256_set1_epi64x(1 << 30);
  __m256i even = _mm256_mul_epi32((__m256i)a, (__m256i)b.all), odd = _mm256_mul_epi32((__m256i)odd_down(a), (__m256i)b.odd);
  even = _mm256_srli_epi64(_mm256_add_epi64(even, nudge), 31);
  odd = _mm256_slli_epi64(_mm256_add_epi64(odd, nudge), 1);
  return (VecI32)_mm256_blend_epi32(even, odd, 0xaa);
#elif defined(SNN_NEON)
  return (VecI32)vqrdmulhq_s32((int32x4_t)a, (int32x4_t)b.all);
#else
  VecI32 result;
  for (int i = 0; i < SNN_LANES; i++) result[i] = (int32_t)(((int64_t)a[i] * b.all[i] + (1 << 30)) >> 31);
  return result;
#endif
}

/* Weights are read once in a row, faster than the hardware looks ahead over pages. */
SNN_INLINE void prefetch_ahead(const void *from, const int bytes) {
  enum { DISTANCE = 4096, LINE = 64 };
  for (int i = 0; i < bytes; i += LINE) __builtin_prefetch((const char *)from + DISTANCE + i);
}

/* --- parts of vectors --- */

/* count bytes, fewer than a vector, without a call. */
SNN_INLINE void copy_part(void *to_bytes, const void *from_bytes, size_t count) {
  char *to = to_bytes;
  const char *from = from_bytes;
  for (; count >= 16; count -= 16, to += 16, from += 16) memcpy(to, from, 16);
  if (count & 8) memcpy(to, from, 8), to += 8, from += 8;
  if (count & 4) memcpy(to, from, 4), to += 4, from += 4;
  if (count & 2) memcpy(to, from, 2), to += 2, from += 2;
  if (count & 1) *to = *from;
}

/* Blocks of results are stored whole: where fewer columns are left than a block has, into a buffer (rows of `width` bytes), from which this
 * copies `count` bytes of each row. Apart, as every form of every kernel ends so and it is rare. */
static __attribute__((noinline, unused)) void copy_edge(char *out, size_t stride, const char *buffer, size_t width, uint32_t rows, size_t count) {
  for (uint32_t i = 0; i < rows; i++) copy_part(out + i * stride, buffer + i * width, count);
}

/* Any number of bytes, every one XORed with `flip`. */
SNN_INLINE void copy_flipped(char *to, const char *from, size_t count, uint8_t flip) {
#if defined(SNN_AVX512)
  const __m512i mask = _mm512_set1_epi8((char)flip);
  for (; count >= 64; count -= 64, to += 64, from += 64) _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_loadu_si512(from), mask));
  if (count == 0) return;
  __mmask64 live = ((__mmask64)1 << count) - 1;
  _mm512_mask_storeu_epi8(to, live, _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, from), mask));
#else
  const VecI8 mask = (int8_t)flip - (VecI8){0};
  const uint64_t mask8 = flip * (uint64_t)0x0101010101010101;
  if (count >= SNN_VECTOR_BYTES) { /* the last vector overlaps the one before */
    for (size_t i = 0; i + SNN_VECTOR_BYTES <= count; i += SNN_VECTOR_BYTES) SNN_STORE(to + i, SNN_LOAD(VecI8, from + i) ^ mask);
    size_t last = count - SNN_VECTOR_BYTES;
    SNN_STORE(to + last, SNN_LOAD(VecI8, from + last) ^ mask);
    return;
  }
  if (SNN_VECTOR_BYTES > 16 && count >= 16) {
    for (int half = 0; half < 2; half++) {
      size_t at = half ? count - 16 : 0;
      SNN_STORE(to + at, SNN_LOAD(uint64_t, from + at) ^ mask8);
      SNN_STORE(to + at + 8, SNN_LOAD(uint64_t, from + at + 8) ^ mask8);
    }
  } else if (count >= 8) {
    SNN_STORE(to, SNN_LOAD(uint64_t, from) ^ mask8);
    SNN_STORE(to + count - 8, SNN_LOAD(uint64_t, from + count - 8) ^ mask8);
  } else if (count >= 4) {
    SNN_STORE(to, SNN_LOAD(uint32_t, from) ^ (uint32_t)mask8);
    SNN_STORE(to + count - 4, SNN_LOAD(uint32_t, from + count - 4) ^ (uint32_t)mask8);
  } else {
    for (size_t i = 0; i < count; i++) to[i] = (char)((uint8_t)from[i] ^ flip);
  }
#endif
}

/* The first `count` lanes, the others 0. */
SNN_INLINE VecF32 load_part_f32(const float *from, size_t count) {
#if defined(SNN_AVX512)
  return (VecF32)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
  VecF32 x = {0};
  copy_part(&x, from, count * sizeof(float));
  return x;
#endif
}

SNN_INLINE void store_part_f32(float *to, VecF32 x, size_t count) {
#if defined(SNN_AVX512)
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)x);
#else
  copy_part(to, &x, count * sizeof(float));
#endif
}

/* --- interleaving: on x86 within 128-bit parts, elsewhere a vector is one part --- */

#if defined(SNN_AVX512)
#define INTERLEAVE(name, Type, lo, hi)                                                                              \
  SNN_INLINE Type name##_lo(Type a, Type b) { return (Type)lo((__m512i)a, (__m512i)b); }                             \
  SNN_INLINE Type name##_hi(Type a, Type b) { return (Type)hi((__m512i)a, (__m512i)b); }
INTERLEAVE(interleave_i8, VecI8, _mm512_unpacklo_epi8, _mm512_unpackhi_epi8)
INTERLEAVE(interleave_i16, VecI16, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16)
#elif defined(SNN_AVX2)
SNN_INLINE VecI8 interleave_i8_lo(VecI8 a, VecI8 b) { return (VecI8)_mm256_unpacklo_epi8((__m256i)a, (__m256i)b); }
SNN_INLINE VecI8 interleave_i8_hi(VecI8 a, VecI8 b) { return (VecI8)_mm256_unpackhi_epi8((__m256i)a, (__m256i)b); }
SNN_INLINE VecI16 interleave_i16_lo(VecI16 a, VecI16 b) { return (VecI16)_mm256_unpacklo_epi16((__m256i)a, (__m256i)b); }
SNN_INLINE VecI16 interleave_i16_hi(VecI16 a, VecI16 b) { return (VecI16)_mm256_unpackhi_epi16((__m256i)a, (__m256i)b); }
#else
SNN_INLINE VecI8 interleave_i8_lo(VecI8 a, VecI8 b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
SNN_INLINE VecI8 interleave_i8_hi(VecI8 a, VecI8 b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
SNN_INLINE VecI16 interleave_i16_lo(VecI16 a, VecI16 b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
SNN_INLINE VecI16 interleave_i16_hi(VecI16 a, VecI16 b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
#endif

/* snn_rdbpot, lane by lane: the part shifted out decides; a negative number needs more than half to round up. */
SNN_INLINE VecI32 rdbpot_i32(VecI32 x, VecI32 n) {
  VecI32 mask = (VecI32)(((VecU32)splat_i32(1) << (VecU32)n) - 1u);
  VecI32 threshold = (VecI32)((VecU32)mask >> 1) - (x >> 31);
  return (x >> n) - ((x & mask) > threshold);
}

/* The same for n >= 1 and |x| < 2^30, with half = 2^(n - 1). */
SNN_INLINE VecI32 rdbpot_small_i32(VecI32 x, VecI32 n, VecI32 half) { return add_i32(x, add_i32(x >> 31, half)) >> n; }

SNN_INLINE VecI32 widen_u8(const uint8_t *from) { return __builtin_convertvector(SNN_LOAD(LanesU8, from), VecI32); }
SNN_INLINE VecI32 widen_i8(const uint8_t *from) { return __builtin_convertvector(SNN_LOAD(LanesI8, from), VecI32); }
SNN_INLINE VecI32 widen_i16(const int16_t *from) { return __builtin_convertvector(SNN_LOAD(LanesI16, from), VecI32); }

/* --- narrowing --- */

/* How numbers become bytes: + zero_point, clamped to [lo, hi], flipped. The three are those of signed bytes; unsigned ones are flipped. */
typedef struct {
  VecI16 zero_point;
  VecI16 lo, hi;
  VecI8 flip;
} Narrow;

SNN_INLINE VecI16 splat_i16(int16_t x) { return x - (VecI16){0}; }

SNN_INLINE Narrow make_narrow(bool is_signed, int32_t zero_point, int32_t lo, int32_t hi) {
  int32_t down = is_signed ? 0 : 128;
  return (Narrow){splat_i16((int16_t)(zero_point - down)), splat_i16((int16_t)(lo - down)), splat_i16((int16_t)(hi - down)),
                  (int8_t)(is_signed ? 0 : -128) - (VecI8){0}};
}

/* Two vectors to 16 bits, saturated. On x86 this works within 128-bit parts: their order is mended by whoever narrows further. */
SNN_INLINE VecI16 narrow_pair(VecI32 a, VecI32 b) {
#if defined(SNN_AVX512)
  return (VecI16)_mm512_packs_epi32((__m512i)a, (__m512i)b);
#elif defined(SNN_AVX2)
  return (VecI16)_mm256_packs_epi32((__m256i)a, (__m256i)b);
#elif defined(SNN_SSE2)
  return (VecI16)_mm_packs_epi32((__m128i)a, (__m128i)b);
#elif defined(SNN_NEON)
  return (VecI16)vcombine_s16(vqmovn_s32((int32x4_t)a), vqmovn_s32((int32x4_t)b));
#else
  VecI16 result;
  for (int i = 0; i < SNN_LANES; i++) {
    result[i] = (int16_t)snn_clamp(a[i], INT16_MIN, INT16_MAX);
    result[SNN_LANES + i] = (int16_t)snn_clamp(b[i], INT16_MIN, INT16_MAX);
  }
  return result;
#endif
}

SNN_INLINE VecI16 add_saturated_i16(VecI16 a, VecI16 b) {
#if defined(SNN_AVX512)
  return (VecI16)_mm512_adds_epi16((__m512i)a, (__m512i)b);
#elif defined(SNN_AVX2)
  return (VecI16)_mm256_adds_epi16((__m256i)a, (__m256i)b);
#elif defined(SNN_SSE2)
  return (VecI16)_mm_adds_epi16((__m128i)a, (__m128i)b);
#elif defined(SNN_NEON)
  return (VecI16)vqaddq_s16((int16x8_t)a, (int16x8_t)b);
#else
  for (int i = 0; i < 2 * SNN_LANES; i++) a[i] = (int16_t)snn_clamp(a[i] + b[i], INT16_MIN, INT16_MAX);
  return a;
#endif
}

/* Two vectors within the range of int8 to bytes, in x86's order within 128-bit parts. */
SNN_INLINE VecI8 narrow_bytes(VecI16 a, VecI16 b) {
#if defined(SNN_AVX512)
  return (VecI8)_mm512_packs_epi16((__m512i)a, (__m512i)b);
#elif defined(SNN_AVX2)
  return (VecI8)_mm256_packs_epi16((__m256i)a, (__m256i)b);
#elif defined(SNN_SSE2)
  return (VecI8)_mm_packs_epi16((__m128i)a, (__m128i)b);
#elif defined(SNN_NEON)
  return (VecI8)vcombine_s8(vmovn_s16((int16x8_t)a), vmovn_s16((int16x8_t)b));
#else
  VecI8 result;
  for (int i = 0; i < 2 * SNN_LANES; i++) result[i] = (int8_t)a[i], result[2 * SNN_LANES + i] = (int8_t)b[i];
  return result;
#endif
}

SNN_INLINE VecI16 bound_i16(VecI16 x, const Narrow *n) {
  x = add_saturated_i16(x, n->zero_point);
  return __builtin_elementwise_min(__builtin_elementwise_max(x, n->lo), n->hi);
}

/* Four vectors to bytes; on x86 the 128-bit parts of the four are interleaved: part 0 of a, b, c, d, then part 1, ... */
SNN_INLINE VecI8 narrow_interleaved(VecI32 a, VecI32 b, VecI32 c, VecI32 d, const Narrow *n) {
  return narrow_bytes(bound_i16(narrow_pair(a, b), n), bound_i16(narrow_pair(c, d), n)) ^ n->flip;
}

/* Four vectors to bytes in their own order. */
SNN_INLINE VecI8 narrow_ordered(VecI32 a, VecI32 b, VecI32 c, VecI32 d, const Narrow *n) {
  VecI8 x = narrow_interleaved(a, b, c, d, n);
#if defined(SNN_AVX512)
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return (VecI8)_mm512_permutexvar_epi32(order, (__m512i)x);
#elif defined(SNN_AVX2)
  return (VecI8)_mm256_permutevar8x32_epi32((__m256i)x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
#else
  return x;
#endif
}

#endif
