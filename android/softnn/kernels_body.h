/* The kernels, written once. A kernels_<isa>.c includes this after simd.h's settings with
 *
 *   SNN_TABLE                    the name of its SnnKernels
 *   SNN_TABLE_NAME               the name as text
 *   SNN_Q_ROWS, SNN_Q_VECTORS    quantised tile: rows x vectors of accumulators held in registers
 *   SNN_F_ROWS, SNN_F_VECTORS    the same for float
 *   SNN_DOT8                     defined: dot8(acc, bytes, weights) adds four unsigned x signed byte products to each lane
 */
#include <float.h>

#include "kernels.h"
#include "numeric.h"
#include "simd.h"

#define SNN_Q_COLUMNS (SNN_Q_VECTORS * SNN_LANES)
#define SNN_F_COLUMNS (SNN_F_VECTORS * SNN_LANES)
#define SNN_UNROLL _Pragma("clang loop unroll(full)")

/* --- quantised products --- */

#ifdef SNN_DOT8
enum { Q_UNIT = 4, Q_ELEMENT = 1 };
#else
enum { Q_UNIT = 2, Q_ELEMENT = 2 };
#endif

/* 4 bytes of a converted row in every lane. */
SNN_INLINE VecI32 splat_unit(const char *a) { return splat_i32(SNN_LOAD(int32_t, a)); }

SNN_INLINE VecI32 multiply_unit(VecI32 acc, VecI32 a, VecI32 w) {
#ifdef SNN_DOT8
  return dot8(acc, a, w);
#else
  return add_i32(acc, madd_i16((VecI16)a, (VecI16)w));
#endif
}

SNN_INLINE VecI32 requantize_i32(VecI32 acc, const SnnRequant *r, size_t channel) {
  if (r->any_left) acc = (VecI32)((VecU32)acc << (VecU32)load_i32(r->left + channel));
  acc = rdbpot_i32(srdhm_i32(acc, load_i32(r->multiplier + channel)), load_i32(r->right + channel));
  return clamp_i32(add_i32(acc, splat_i32(r->zero_point)), splat_i32(r->lo), splat_i32(r->hi));
}

/* One panel for `rows` (a constant after inlining) rows. */
SNN_INLINE void q_block(const int rows, const SnnQMatrix *m, const SnnRequant *r, const SnnTile *tile, uint32_t row0, uint32_t n0,
                        const char *panel) {
  VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS];
  const char *a = (const char *)tile->a + row0 * tile->a_stride;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    VecI32 start = splat_i32(m->row_factor ? (int32_t)((uint32_t)m->row_factor * (uint32_t)tile->row_sums[row0 + (uint32_t)i]) : 0);
    SNN_UNROLL for (int j = 0; j < SNN_Q_VECTORS; j++) acc[i][j] = add_i32(start, load_i32(m->bias + n0 + j * SNN_LANES));
  }
  for (uint32_t k = 0; k < m->k; k += Q_UNIT) {
    VecI32 w[SNN_Q_VECTORS];
    SNN_UNROLL for (int j = 0; j < SNN_Q_VECTORS; j++) w[j] = SNN_LOAD(VecI32, panel + j * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int i = 0; i < rows; i++) {
      VecI32 x = splat_unit(a + i * tile->a_stride);
      SNN_UNROLL for (int j = 0; j < SNN_Q_VECTORS; j++) acc[i][j] = multiply_unit(acc[i][j], x, w[j]);
    }
    panel += SNN_Q_VECTORS * SNN_VECTOR_BYTES;
    a += 4;
  }
  uint8_t *out = (uint8_t *)tile->out + row0 * tile->out_stride + n0;
  bool whole = n0 + SNN_Q_COLUMNS <= m->n;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    uint8_t edge[SNN_Q_COLUMNS];
    uint8_t *to = whole ? out + i * tile->out_stride : edge;
    SNN_UNROLL for (int j = 0; j < SNN_Q_VECTORS; j++) {
      SNN_STORE(to + j * SNN_LANES, narrow_u8(requantize_i32(acc[i][j], r, n0 + j * SNN_LANES)));
    }
    if (!whole) memcpy(out + i * tile->out_stride, edge, m->n - n0);
  }
}

#define Q_CASE(rows) case rows: q_block(rows, m, r, tile, row, n0, panel); break
/* The rows that do not fill a block; SNN_Q_ROWS is at most 16. */
static void q_rest(const SnnQMatrix *m, const SnnRequant *r, const SnnTile *tile, uint32_t row, uint32_t n0, const char *panel) {
  switch (tile->rows - row) {
    Q_CASE(1);
#if SNN_Q_ROWS > 2
    Q_CASE(2);
#endif
#if SNN_Q_ROWS > 3
    Q_CASE(3);
#endif
#if SNN_Q_ROWS > 4
    Q_CASE(4);
    Q_CASE(5);
#endif
#if SNN_Q_ROWS > 6
    Q_CASE(6);
    Q_CASE(7);
#endif
#if SNN_Q_ROWS > 8
    Q_CASE(8);
    Q_CASE(9);
    Q_CASE(10);
    Q_CASE(11);
#endif
    default: break;
  }
}

static void q_multiply(const SnnQMatrix *m, const SnnRequant *r, const SnnTile *tile) {
  const char *panel = m->weights;
  size_t panel_bytes = (size_t)SNN_Q_COLUMNS * snn_align(m->k, Q_UNIT) * Q_ELEMENT;
  for (uint32_t n0 = 0; n0 < m->n; n0 += SNN_Q_COLUMNS, panel += panel_bytes) {
    uint32_t row = 0;
    for (; row + SNN_Q_ROWS <= tile->rows; row += SNN_Q_ROWS) q_block(SNN_Q_ROWS, m, r, tile, row, n0, panel);
    if (row < tile->rows) q_rest(m, r, tile, row, n0, panel);
  }
}

static int32_t q_convert(void *converted, const uint8_t *stored, size_t count, SnnStored form) {
  size_t padded = snn_align(count, Q_UNIT);
#ifdef SNN_DOT8
  uint8_t *to = converted, flip = form.is_signed ? 0x80 : 0;
  uint32_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    uint8_t x = stored[i] ^ flip;
    to[i] = x;
    sum += x;
  }
  for (size_t i = count; i < padded; i++) to[i] = 0;
  return (int32_t)sum;
#else
  int16_t *to = converted, zero = (int16_t)form.zero_point;
  if (form.is_signed) {
    for (size_t i = 0; i < count; i++) to[i] = (int16_t)((int8_t)stored[i] - zero);
  } else {
    for (size_t i = 0; i < count; i++) to[i] = (int16_t)(stored[i] - zero);
  }
  for (size_t i = count; i < padded; i++) to[i] = 0;
  return 0;
#endif
}

/* --- float products and depthwise: in TFLite's order and rounding, and fused --- */

#define FLOAT_NAME(name) name##_exact
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#include "kernels_float.h"
#undef FLOAT_NAME
#undef MULTIPLY_ADD

#ifdef SNN_FMA
#define FLOAT_NAME(name) name##_fused
#define MULTIPLY_ADD(a, b, c) fma_f32(a, b, c)
#include "kernels_float.h"
#undef FLOAT_NAME
#undef MULTIPLY_ADD
#else
#define f_multiply_fused f_multiply_exact
#define f_depthwise_fused f_depthwise_exact
#endif

/* --- depthwise --- */

/* `vectors` x SNN_LANES channels of one pixel. */
SNN_INLINE void q_depthwise_block(const int vectors, const SnnTaps *t, SnnStored form, const int32_t *bias, const SnnRequant *r, size_t c) {
  VecI32 acc[4], zero = splat_i32(form.zero_point);
  SNN_UNROLL for (int j = 0; j < vectors; j++) acc[j] = load_i32(bias + c + j * SNN_LANES);
  for (uint32_t y = 0; y < t->rows; y++) {
    const uint8_t *in = (const uint8_t *)t->in + y * t->in_row + c;
    const int16_t *w = (const int16_t *)t->weights + y * t->weight_row + c;
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column, w += t->weight_column) {
      SNN_UNROLL for (int j = 0; j < vectors; j++) {
        VecI32 value = form.is_signed ? widen_i8(in + j * SNN_LANES) : widen_u8(in + j * SNN_LANES);
        acc[j] = add_i32(acc[j], mul_i32(value - zero, widen_i16(w + j * SNN_LANES)));
      }
    }
  }
  uint8_t *out = (uint8_t *)t->out + c;
  SNN_UNROLL for (int j = 0; j < vectors; j++) SNN_STORE(out + j * SNN_LANES, narrow_u8(requantize_i32(acc[j], r, c + j * SNN_LANES)));
}

static void q_depthwise_channel(const SnnTaps *t, SnnStored form, const int32_t *bias, const SnnRequant *r, size_t c) {
  int32_t acc = bias[c];
  for (uint32_t y = 0; y < t->rows; y++) {
    const uint8_t *in = (const uint8_t *)t->in + y * t->in_row + c;
    const int16_t *w = (const int16_t *)t->weights + y * t->weight_row + c;
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column, w += t->weight_column) {
      int32_t value = form.is_signed ? (int8_t)*in : *in;
      acc = (int32_t)((uint32_t)acc + (uint32_t)((value - form.zero_point) * *w));
    }
  }
  acc = snn_rdbpot(snn_srdhm(snn_shift_left(acc, r->left[c]), r->multiplier[c]), r->right[c]);
  ((uint8_t *)t->out)[c] = (uint8_t)snn_clamp((int32_t)((uint32_t)acc + (uint32_t)r->zero_point), r->lo, r->hi);
}

static void q_depthwise(const SnnTaps *t, SnnStored form, const int32_t *bias, const SnnRequant *r) {
  size_t c = 0;
  for (; c + 4 * SNN_LANES <= t->channels; c += 4 * SNN_LANES) q_depthwise_block(4, t, form, bias, r, c);
  for (; c + SNN_LANES <= t->channels; c += SNN_LANES) q_depthwise_block(1, t, form, bias, r, c);
  for (; c < t->channels; c++) q_depthwise_channel(t, form, bias, r, c);
}

/* --- pools --- */

/* sum / count rounded to nearest, ties away from zero. Quotients below 256 of counts up to 2^16 are exact enough in float: the next integer is
 * farther away than the rounding error. */
SNN_INLINE VecI32 average_i32(VecI32 sum, int32_t count) {
  VecI32 half = splat_i32(count / 2), negative = sum >> 31;
  VecI32 nudged = add_i32(sum, (half ^ negative) - negative);
  VecF32 quotient = __builtin_convertvector(nudged, VecF32) / splat_f32((float)count);
  return __builtin_convertvector(quotient, VecI32);
}

static int32_t average_scalar(int32_t sum, int32_t count) { return (sum > 0 ? sum + count / 2 : sum - count / 2) / count; }

#define POOL_LOOP(Element, vectors)                                                      \
  for (uint32_t y = 0; y < t->rows; y++) {                                               \
    const Element *in = (const Element *)t->in + y * t->in_row + c;                      \
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column)                        \
      SNN_UNROLL for (int j = 0; j < (vectors); j++)

SNN_INLINE VecI32 widen_8(bool is_signed, const uint8_t *from) { return is_signed ? widen_i8(from) : widen_u8(from); }

SNN_INLINE void q_average_block(const int vectors, const SnnTaps *t, const bool is_signed, int32_t lo, int32_t hi, size_t c) {
  VecI32 sum[4] = {{0}};
  POOL_LOOP(uint8_t, vectors) sum[j] = add_i32(sum[j], widen_8(is_signed, in + j * SNN_LANES));
  }
  int32_t count = (int32_t)(t->rows * t->columns);
  SNN_UNROLL for (int j = 0; j < vectors; j++) {
    VecI32 mean = clamp_i32(average_i32(sum[j], count), splat_i32(lo), splat_i32(hi));
    SNN_STORE((uint8_t *)t->out + c + j * SNN_LANES, narrow_u8(mean));
  }
}

static void q_average(const SnnTaps *t, bool is_signed, int32_t lo, int32_t hi) {
  size_t c = 0;
  if (t->rows * (uint64_t)t->columns <= 1 << 16) {
    for (; c + 4 * SNN_LANES <= t->channels; c += 4 * SNN_LANES) {
      if (is_signed) q_average_block(4, t, true, lo, hi, c);
      else q_average_block(4, t, false, lo, hi, c);
    }
    for (; c + SNN_LANES <= t->channels; c += SNN_LANES) q_average_block(1, t, is_signed, lo, hi, c);
  }
  for (; c < t->channels; c++) {
    int32_t sum = 0;
    for (uint32_t y = 0; y < t->rows; y++) {
      const uint8_t *in = (const uint8_t *)t->in + y * t->in_row + c;
      for (uint32_t x = 0; x < t->columns; x++, in += t->in_column) sum += is_signed ? (int8_t)*in : *in;
    }
    ((uint8_t *)t->out)[c] = (uint8_t)snn_clamp(average_scalar(sum, (int32_t)(t->rows * t->columns)), lo, hi);
  }
}

/* Maxima of bytes are taken as unsigned numbers; the sign bit is flipped before and after. */
static void q_max(const SnnTaps *t, bool is_signed, int32_t lo, int32_t hi) {
  typedef uint8_t Bytes __attribute__((vector_size(SNN_VECTOR_BYTES)));
  const uint8_t flip = is_signed ? 0x80 : 0;
  uint8_t low = (uint8_t)lo ^ flip, high = (uint8_t)hi ^ flip;
  size_t c = 0;
  for (; c + SNN_VECTOR_BYTES <= t->channels; c += SNN_VECTOR_BYTES) {
    Bytes max = low - (Bytes){0};
    POOL_LOOP(uint8_t, 1) max = __builtin_elementwise_max(max, SNN_LOAD(Bytes, in + j) ^ flip);
    }
    max = __builtin_elementwise_min(max, high - (Bytes){0});
    SNN_STORE((uint8_t *)t->out + c, max ^ flip);
  }
  for (; c < t->channels; c++) {
    uint8_t max = low;
    for (uint32_t y = 0; y < t->rows; y++) {
      const uint8_t *in = (const uint8_t *)t->in + y * t->in_row + c;
      for (uint32_t x = 0; x < t->columns; x++, in += t->in_column) max = (*in ^ flip) > max ? *in ^ flip : max;
    }
    ((uint8_t *)t->out)[c] = (max > high ? high : max) ^ flip;
  }
}

/* A float pool folds every tap into `acc`, then finishes it; the edge of the channels goes through a padded copy of each tap. */
#define FLOAT_POOL(name, start, FOLD, FINISH)                                                                    \
  static void name(const SnnTaps *t, float lo, float hi) {                                                       \
    const float count = (float)(t->rows * (uint64_t)t->columns);                                                 \
    (void)count;                                                                                                 \
    for (size_t c = 0; c < t->channels; c += SNN_LANES) {                                                        \
      size_t lanes = t->channels - c < SNN_LANES ? t->channels - c : SNN_LANES;                                  \
      VecF32 acc = splat_f32(start);                                                                             \
      POOL_LOOP(float, 1) {                                                                                      \
        VecF32 value = splat_f32(0);                                                                             \
        if (lanes == SNN_LANES) value = load_f32(in + j);                                                        \
        else memcpy(&value, in, lanes * sizeof(float));                                                          \
        acc = FOLD;                                                                                              \
      }                                                                                                          \
      }                                                                                                          \
      acc = clamp_f32(FINISH, splat_f32(lo), splat_f32(hi));                                                     \
      memcpy((float *)t->out + c, &acc, lanes * sizeof(float));                                                  \
    }                                                                                                            \
  }

SNN_INLINE VecF32 sqrt_f32(VecF32 x) {
  SNN_UNROLL for (int i = 0; i < SNN_LANES; i++) x[i] = sqrtf(x[i]);
  return x;
}

FLOAT_POOL(f_average, 0, acc + value, acc / splat_f32(count))
FLOAT_POOL(f_max, -FLT_MAX, select_f32(value > acc, value, acc), acc)
FLOAT_POOL(f_l2, 0, acc + value * value, sqrt_f32(acc / splat_f32(count)))

const SnnKernels SNN_TABLE = {
    .name = SNN_TABLE_NAME,
    .q_rows = SNN_Q_ROWS,
    .q_columns = SNN_Q_COLUMNS,
    .q_unit = Q_UNIT,
    .q_element = Q_ELEMENT,
    .f_rows = SNN_F_ROWS,
    .f_columns = SNN_F_COLUMNS,
    .q_convert = q_convert,
    .q_multiply = q_multiply,
    .f_multiply = {f_multiply_exact, f_multiply_fused},
    .q_depthwise = q_depthwise,
    .f_depthwise = {f_depthwise_exact, f_depthwise_fused},
    .q_average = q_average,
    .q_max = q_max,
    .f_average = f_average,
    .f_max = f_max,
    .f_l2 = f_l2,
};
