/* Quantised depthwise convolution; included by kernels_body.h.
 *
 * Taps are taken in groups and interleaved, so that one lane holds a channel's bytes (or 16-bit numbers) of all taps of a group and one
 * multiply-add adds them up. Interleaving works within 128-bit parts: lane l of accumulator j is channel (l / 4 * DW_VECTORS + j) * 4 + l % 4 of
 * the block; weights and output scaling are packed in that order, and narrowing puts the channels back in theirs. */

#ifdef SNN_DOT8
enum { DW_GROUP = 4, DW_VECTORS = 4, DW_ELEMENT = 1 };
#else
enum { DW_GROUP = 2, DW_VECTORS = 2, DW_ELEMENT = 2 };
#endif
enum { DW_BLOCK = DW_VECTORS * SNN_LANES };

#ifdef SNN_BORROW_DEPTHWISE
extern __typeof__(*((const SnnKernels *)0)->q_depthwise) snn_dot8_q_depthwise;
#define DW_KERNEL snn_dot8_q_depthwise
#else
#define DW_KERNEL q_depthwise

/* A block: `count` channels (of `width` places) of `together` neighbouring pixels, of which `live` exist. `dense`: a whole vector's bytes, which
 * follow each other. */
typedef struct {
  size_t count, width;
  uint32_t together, live;
  bool dense;
} DwShape;

#ifdef SNN_AVX512

SNN_INLINE __mmask64 dw_mask(size_t count) { return count == 64 ? ~(__mmask64)0 : ((__mmask64)1 << count) - 1; }

/* The bytes of a block: whole, masked, or the same channels of two or four pixels side by side. */
SNN_INLINE VecI8 dw_load(const int together, const char *from, size_t step, const DwShape *shape) {
  if (together != 1 && shape->dense) return (VecI8)_mm512_loadu_si512(from);
  __mmask64 mask = dw_mask(shape->count);
  if (together == 1) return (VecI8)_mm512_maskz_loadu_epi8(mask, from);
  if (together == 2) {
    const char *second = shape->live > 1 ? from + step : from;
    __m256i a = _mm256_maskz_loadu_epi8((__mmask32)mask, from), b = _mm256_maskz_loadu_epi8((__mmask32)mask, second);
    return (VecI8)_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
  }
  __m128i part[4];
  SNN_UNROLL for (uint32_t p = 0; p < 4; p++) {
    part[p] = _mm_maskz_loadu_epi8((__mmask16)mask, from + (p < shape->live ? p : 0) * step);
  }
  __m256i lo = _mm256_inserti128_si256(_mm256_castsi128_si256(part[0]), part[1], 1);
  __m256i hi = _mm256_inserti128_si256(_mm256_castsi128_si256(part[2]), part[3], 1);
  return (VecI8)_mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

SNN_INLINE void dw_store(const int together, char *to, size_t step, VecI8 bytes, const DwShape *shape) {
  __mmask64 mask = dw_mask(shape->count);
  __m512i x = (__m512i)bytes;
  if (together == 1) {
    _mm512_mask_storeu_epi8(to, mask, x);
  } else if (shape->dense && step == shape->count) {
    _mm512_storeu_si512(to, x);
  } else if (together == 2) {
    _mm256_mask_storeu_epi8(to, (__mmask32)mask, _mm512_castsi512_si256(x));
    if (shape->live > 1) _mm256_mask_storeu_epi8(to + step, (__mmask32)mask, _mm512_extracti64x4_epi64(x, 1));
  } else {
    _mm_mask_storeu_epi8(to, (__mmask16)mask, _mm512_castsi512_si128(x));
    if (shape->live > 1) _mm_mask_storeu_epi8(to + step, (__mmask16)mask, _mm512_extracti32x4_epi32(x, 1));
    if (shape->live > 2) _mm_mask_storeu_epi8(to + 2 * step, (__mmask16)mask, _mm512_extracti32x4_epi32(x, 2));
    if (shape->live > 3) _mm_mask_storeu_epi8(to + 3 * step, (__mmask16)mask, _mm512_extracti32x4_epi32(x, 3));
  }
}

#else

SNN_INLINE void dw_store(const int together, char *to, size_t step, VecI8 bytes, const DwShape *shape) {
  (void)together, (void)step;
  copy_part(to, &bytes, shape->count);
}

#endif

#ifdef SNN_DOT8

#ifndef SNN_AVX512
SNN_INLINE VecI8 dw_load(const int together, const char *from, size_t step, const DwShape *shape) {
  VecI8 bytes = {0};
  (void)together, (void)step;
  if (shape->count == DW_BLOCK) bytes = SNN_LOAD(VecI8, from);
  else copy_part(&bytes, from, shape->count);
  return bytes;
}
#endif

SNN_INLINE void dw_group(const int together, VecI32 acc[DW_VECTORS], VecI32 sum[DW_VECTORS], bool summed, const SnnPixels *run, uint32_t tap,
                         size_t offset, VecI8 flip, const char *weights, const DwShape *shape) {
  VecI8 x[4];
  SNN_UNROLL for (uint32_t q = 0; q < 4; q++) x[q] = dw_load(together, run->taps[tap + q] + offset, run->step, shape) ^ flip;
  VecI16 lo01 = (VecI16)interleave_i8_lo(x[0], x[1]), hi01 = (VecI16)interleave_i8_hi(x[0], x[1]);
  VecI16 lo23 = (VecI16)interleave_i8_lo(x[2], x[3]), hi23 = (VecI16)interleave_i8_hi(x[2], x[3]);
  VecI32 lanes[4] = {(VecI32)interleave_i16_lo(lo01, lo23), (VecI32)interleave_i16_hi(lo01, lo23), (VecI32)interleave_i16_lo(hi01, hi23),
                     (VecI32)interleave_i16_hi(hi01, hi23)};
  uint32_t left = run->count - tap;
  VecI32 ones = splat_i32(left >= 4 ? 0x01010101 : left == 3 ? 0x00010101 : left == 2 ? 0x00000101 : 1);
  SNN_UNROLL for (int j = 0; j < 4; j++) {
    acc[j] = dot8(acc[j], lanes[j], SNN_LOAD(VecI32, weights + j * SNN_VECTOR_BYTES));
    if (summed) sum[j] = dot8(sum[j], lanes[j], ones);
  }
}

#ifdef SNN_AVX512
/* A group of one tap, as 3x3 and 5x5 filters have at their end: its bytes in all places, of which the others' weights are 0. */
SNN_INLINE void dw_single(const int together, VecI32 acc[DW_VECTORS], VecI32 sum[DW_VECTORS], bool summed, const SnnPixels *run, uint32_t tap,
                          size_t offset, VecI8 flip, const char *weights, const DwShape *shape) {
  VecI8 x = dw_load(together, run->taps[tap] + offset, run->step, shape) ^ flip;
  VecI16 lo = (VecI16)interleave_i8_lo(x, x), hi = (VecI16)interleave_i8_hi(x, x);
  VecI32 lanes[4] = {(VecI32)interleave_i16_lo(lo, lo), (VecI32)interleave_i16_hi(lo, lo), (VecI32)interleave_i16_lo(hi, hi),
                     (VecI32)interleave_i16_hi(hi, hi)};
  SNN_UNROLL for (int j = 0; j < 4; j++) {
    acc[j] = dot8(acc[j], lanes[j], SNN_LOAD(VecI32, weights + j * SNN_VECTOR_BYTES));
    if (summed) sum[j] = dot8(sum[j], lanes[j], splat_i32(1));
  }
}
#endif

#else

SNN_INLINE VecI16 dw_widen(const char *from, HalfU8 flip, VecI16 zero, const DwShape *shape) {
  HalfU8 bytes = {0};
  if (shape->count == DW_BLOCK) bytes = SNN_LOAD(HalfU8, from);
  else copy_part(&bytes, from, shape->count);
  return __builtin_convertvector(bytes ^ flip, VecI16) - zero;
}

#endif

/* All pixels of one block of channels. */
SNN_INLINE void dw_run(const int together, const bool summed, const SnnQDepthwise *d, const SnnPixels *run, const Narrow *narrow, bool simple,
                       size_t block, size_t c, DwShape shape) {
  size_t groups = (run->count + DW_GROUP - 1) / DW_GROUP, group_bytes = (size_t)DW_VECTORS * SNN_VECTOR_BYTES;
  const char *weights = (const char *)d->weights + block * groups * group_bytes;
  size_t place = block * DW_BLOCK;
  Scale scale[DW_VECTORS];
  SNN_UNROLL for (int j = 0; j < DW_VECTORS; j++) scale[j] = load_scale(&d->requant, place + (size_t)j * SNN_LANES);
#ifdef SNN_DOT8
  VecI8 flip = (int8_t)q_flip(d->form) - (VecI8){0};
#else
  HalfU8 flip = (uint8_t)(d->form.is_signed ? 0x80 : 0) - (HalfU8){0};
  VecI16 zero = splat_i16((int16_t)(d->form.zero_point + (d->form.is_signed ? 128 : 0)));
#endif
  for (uint32_t p = 0; p < run->pixels; p += (uint32_t)together) {
    VecI32 acc[DW_VECTORS], sum[DW_VECTORS];
    SNN_UNROLL for (int j = 0; j < DW_VECTORS; j++) {
      acc[j] = load_i32(d->bias + place + j * SNN_LANES);
      sum[j] = splat_i32(0);
    }
    shape.live = run->pixels - p;
    shape.dense = shape.live >= (uint32_t)together && run->step == shape.count && shape.count * (size_t)together == SNN_VECTOR_BYTES;
    size_t offset = p * run->step + c;
    for (uint32_t g = 0; g < groups; g++) {
#ifdef SNN_AVX512
      if (run->count - g * DW_GROUP == 1) {
        dw_single(together, acc, sum, summed, run, g * DW_GROUP, offset, flip, weights + g * group_bytes, &shape);
        break;
      }
#endif
#ifdef SNN_DOT8
      dw_group(together, acc, sum, summed, run, g * DW_GROUP, offset, flip, weights + g * group_bytes, &shape);
#else
      VecI16 first = dw_widen(run->taps[2 * g] + offset, flip, zero, &shape), second = dw_widen(run->taps[2 * g + 1] + offset, flip, zero, &shape);
      const char *w = weights + g * group_bytes;
      acc[0] = add_i32(acc[0], madd_i16(interleave_i16_lo(first, second), SNN_LOAD(VecI16, w)));
      acc[1] = add_i32(acc[1], madd_i16(interleave_i16_hi(first, second), SNN_LOAD(VecI16, w + SNN_VECTOR_BYTES)));
#endif
    }
    SNN_UNROLL for (int j = 0; j < DW_VECTORS; j++) {
      if (summed) acc[j] = add_i32(acc[j], mul_i32(sum[j], splat_i32(d->sum_factor)));
      acc[j] = scale_i32(acc[j], &scale[j], simple);
    }
    VecI8 bytes = narrow_interleaved(acc[0], acc[1], acc[DW_VECTORS - 2], acc[DW_VECTORS - 1], narrow);
#if !defined(SNN_DOT8) && defined(SNN_AVX2)
    bytes = (VecI8)_mm256_permute4x64_epi64((__m256i)bytes, 0x08); /* the lower halves of both parts */
#endif
    dw_store(together, run->out + p * run->out_step + c, run->out_step, bytes, &shape);
  }
}

#define DW_RUN(together, shape) \
  do { \
    if (summed) dw_run(together, true, d, run, &narrow, false, block, c, shape); \
    else if (simple) dw_run(together, false, d, run, &narrow, true, block, c, shape); \
    else dw_run(together, false, d, run, &narrow, false, block, c, shape); \
  } while (0)

static void q_depthwise(const SnnQDepthwise *d, const SnnPixels *run) {
  Narrow narrow = make_narrow(d->requant.is_signed, d->requant.zero_point, d->requant.lo, d->requant.hi);
  bool simple = d->bounded && d->requant.plain, summed = d->sum_factor != 0;
  size_t c = 0, block = 0;
  for (; c + DW_BLOCK <= run->channels; c += DW_BLOCK, block++) DW_RUN(1, ((DwShape){DW_BLOCK, DW_BLOCK, 1, 1, false}));
  size_t rest = run->channels - c;
  if (rest == 0) return;
#ifdef SNN_AVX512
  if (rest <= 16) {
    DW_RUN(4, ((DwShape){rest, 16, 4, 1, false}));
    return;
  }
  if (rest <= 32) {
    DW_RUN(2, ((DwShape){rest, 32, 2, 1, false}));
    return;
  }
#endif
  DW_RUN(1, ((DwShape){rest, DW_BLOCK, 1, 1, false}));
}

#endif
