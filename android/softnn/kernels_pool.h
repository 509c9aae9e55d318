/* Pools over the taps of one pixel; included by kernels_body.h. */

/* 2 x VecU16 channels. Bytes are summed as unsigned numbers in 16 bits; so many taps fit. */
enum { AVERAGE_TAPS = 256, AVERAGE_BLOCK = 4 * SNN_LANES };

/* sum / count rounded to nearest, ties away from zero, by the multiplication with 2^24 / count rounded up: its error, below count / 2^24 of the
 * dividend of at most 255.5 * count, stays below the 1 / count that is missing to the next integer, and the product fits 32 bits. */
SNN_INLINE VecI32 average_i32(VecI32 sum, VecI32 half, VecU32 inverse) {
  VecI32 negative = sum >> 31, size = (sum ^ negative) - negative;
  VecI32 mean = (VecI32)(((VecU32)(size + half) * inverse) >> 24);
  return (mean ^ negative) - negative;
}

static int32_t average_scalar(int32_t sum, int32_t count) { return (sum > 0 ? sum + count / 2 : sum - count / 2) / count; }

#define POOL_LOOP(Element, vectors)                                                      \
  for (uint32_t y = 0; y < t->rows; y++) {                                               \
    const Element *in = (const Element *)t->in + y * t->in_row + c;                      \
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column)                        \
      SNN_UNROLL for (int j = 0; j < (vectors); j++)

SNN_INLINE void q_average_block(const SnnTaps *t, bool is_signed, const Narrow *narrow, size_t c) {
  typedef uint16_t VecU16 __attribute__((vector_size(SNN_VECTOR_BYTES)));
  typedef uint16_t LanesU16 __attribute__((vector_size(SNN_VECTOR_BYTES / 2)));
  HalfU8 flip = (uint8_t)(is_signed ? 0x80 : 0) - (HalfU8){0};
  VecU16 sum[2] = {{0}};
  POOL_LOOP(uint8_t, 2) sum[j] += __builtin_convertvector(SNN_LOAD(HalfU8, in + j * 2 * SNN_LANES) ^ flip, VecU16);
  }
  int32_t count = (int32_t)(t->rows * t->columns);
  VecI32 bias = splat_i32(is_signed ? 128 * count : 0), half = splat_i32(count / 2), mean[4];
  VecU32 inverse = (VecU32)splat_i32(((1 << 24) + count - 1) / count);
  SNN_UNROLL for (int j = 0; j < 4; j++) {
    LanesU16 part = SNN_LOAD(LanesU16, (const char *)&sum[j / 2] + j % 2 * (SNN_VECTOR_BYTES / 2));
    mean[j] = average_i32(__builtin_convertvector(part, VecI32) - bias, half, inverse);
  }
  SNN_STORE((uint8_t *)t->out + c, narrow_ordered(mean[0], mean[1], mean[2], mean[3], narrow));
}

static void q_average_channel(const SnnTaps *t, bool is_signed, int32_t lo, int32_t hi, size_t c) {
  int32_t sum = 0;
  for (uint32_t y = 0; y < t->rows; y++) {
    const uint8_t *in = (const uint8_t *)t->in + y * t->in_row + c;
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column) sum += is_signed ? (int8_t)*in : *in;
  }
  ((uint8_t *)t->out)[c] = (uint8_t)snn_clamp(average_scalar(sum, (int32_t)(t->rows * t->columns)), lo, hi);
}

static void q_average(const SnnTaps *t, bool is_signed, int32_t lo, int32_t hi) {
  size_t c = 0;
  if (t->rows * (uint64_t)t->columns <= AVERAGE_TAPS && t->channels >= AVERAGE_BLOCK) {
    Narrow narrow = make_narrow(is_signed, 0, lo, hi);
    for (; c + AVERAGE_BLOCK <= t->channels; c += AVERAGE_BLOCK) q_average_block(t, is_signed, &narrow, c);
    if (c < t->channels) q_average_block(t, is_signed, &narrow, t->channels - AVERAGE_BLOCK); /* overlaps the last one */
    return;
  }
  for (; c < t->channels; c++) q_average_channel(t, is_signed, lo, hi, c);
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
  if (c < t->channels && c > 0) { /* one more vector, over the last one */
    SnnTaps last = *t;
    last.in = (const uint8_t *)t->in + t->channels - SNN_VECTOR_BYTES;
    last.out = (uint8_t *)t->out + t->channels - SNN_VECTOR_BYTES;
    last.channels = SNN_VECTOR_BYTES;
    q_max(&last, is_signed, lo, hi);
    return;
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
