/* Pools over the taps of one pixel; included by kernels_body.h. */

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
    SNN_STORE((uint8_t *)t->out + c + j * SNN_LANES, __builtin_convertvector((VecU32)mean, LanesU8));
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
