/* Arithmetic along rows; included by kernels_body.h. All intermediate numbers of the quantised forms stay below 2^30. */

enum { ROW_STEP = 4 * SNN_LANES };

typedef struct {
  LanesU8 flip;
  VecI32 zero;
  Multipliers multiplier;
  VecI32 right, half;
  bool halves; /* the factor is one half */
} RowOperand;

SNN_INLINE Multipliers splat_multiplier(int32_t x) {
  VecI32 all = splat_i32(x);
  return (Multipliers){all, odd_down(all)};
}

SNN_INLINE RowOperand row_operand(const SnnAddend *addend) {
  RowOperand o;
  o.flip = (uint8_t)(addend->form.is_signed ? 0x80 : 0) - (LanesU8){0};
  o.zero = splat_i32(addend->form.zero_point + (addend->form.is_signed ? 128 : 0));
  o.multiplier = splat_multiplier(addend->multiplier);
  o.right = splat_i32(addend->right);
  o.half = splat_i32(addend->right > 0 ? 1 << (addend->right - 1) : 0);
  o.halves = addend->right == 0;
  return o;
}

SNN_INLINE VecI32 row_value(const uint8_t *from, const RowOperand *o) {
  return __builtin_convertvector(SNN_LOAD(LanesU8, from) ^ o->flip, VecI32) - o->zero;
}

SNN_INLINE VecI32 row_scaled(const uint8_t *from, const RowOperand *o, const bool halves) {
  VecI32 x = row_value(from, o);
  if (halves) return (VecI32)((VecU32)x << 19);
  return rdbpot_small_i32(srdhm_i32((VecI32)((VecU32)x << 20), o->multiplier), o->right, o->half);
}

/* A byte in all places, for an operand that stands. */
SNN_INLINE const uint8_t *row_standing(uint8_t *copies, uint8_t byte) {
  memset(copies, byte, SNN_LANES);
  return copies;
}

/* ROW_STEP outputs. */
typedef struct {
  RowOperand a, b;
  Narrow narrow;
  Multipliers output;
  VecI32 right, half, sign;
} RowPair;

SNN_INLINE RowPair row_pair(const SnnQPair *pair) {
  return (RowPair){row_operand(&pair->a), row_operand(&pair->b), make_narrow(pair->is_signed, pair->zero_point, pair->lo, pair->hi),
                   splat_multiplier(pair->output.multiplier), splat_i32(pair->output.right), splat_i32(1 << (pair->output.right - 1)),
                   splat_i32(pair->subtract ? -1 : 0)};
}

SNN_INLINE void add_step(const bool halves_a, const bool halves_b, const RowPair *r, const uint8_t *a, size_t step_a, const uint8_t *b,
                         size_t step_b, uint8_t *out) {
  VecI32 y[4];
  SNN_UNROLL for (int j = 0; j < 4; j++) {
    size_t at = (size_t)j * SNN_LANES;
    VecI32 first = row_scaled(a + at * step_a, &r->a, halves_a), second = row_scaled(b + at * step_b, &r->b, halves_b);
    second = (second ^ r->sign) - r->sign;
    y[j] = rdbpot_small_i32(srdhm_i32(first + second, r->output), r->right, r->half);
  }
  SNN_STORE(out, narrow_ordered(y[0], y[1], y[2], y[3], &r->narrow));
}

SNN_INLINE void mul_step(const bool halves_a, const bool halves_b, const RowPair *r, const uint8_t *a, size_t step_a, const uint8_t *b,
                         size_t step_b, uint8_t *out) {
  (void)halves_a, (void)halves_b;
  VecI32 y[4];
  SNN_UNROLL for (int j = 0; j < 4; j++) {
    size_t at = (size_t)j * SNN_LANES;
    VecI32 first = row_value(a + at * step_a, &r->a), second = row_value(b + at * step_b, &r->b);
    /* Both are 9-bit numbers: the upper half of one is cleared, so that the pair of products is one. */
    y[j] = rdbpot_small_i32(srdhm_i32(madd_i16((VecI16)first, (VecI16)(second & 0xffff)), r->output), r->right, r->half);
  }
  SNN_STORE(out, narrow_ordered(y[0], y[1], y[2], y[3], &r->narrow));
}

/* The last elements of a row go through copies that fill a step. */
#define ROW_LOOP(STEP, halves_a, halves_b)                                                                        \
  do {                                                                                                            \
    const RowPair r = row_pair(pair);                                                                             \
    uint8_t copy_a[ROW_STEP], copy_b[ROW_STEP], copy_out[ROW_STEP];                                               \
    if (step_a == 0) a = row_standing(copy_a, *a);                                                                \
    if (step_b == 0) b = row_standing(copy_b, *b);                                                                \
    size_t sa = (size_t)step_a, sb = (size_t)step_b, i = 0;                                                       \
    for (; i + ROW_STEP <= count; i += ROW_STEP) STEP(halves_a, halves_b, &r, a + i * sa, sa, b + i * sb, sb, out + i); \
    if (i == count) break;                                                                                        \
    if (sa) copy_part(copy_a, a + i, count - i), a = copy_a;                                                      \
    if (sb) copy_part(copy_b, b + i, count - i), b = copy_b;                                                      \
    STEP(halves_a, halves_b, &r, a, sa, b, sb, copy_out);                                                         \
    copy_part(out + i, copy_out, count - i);                                                                      \
  } while (0)

/* As many bytes as there are 16-bit lanes. */
typedef uint8_t HalfU8 __attribute__((vector_size(SNN_VECTOR_BYTES / 2)));

SNN_INLINE VecI16 dot_operand(const uint8_t *from, HalfU8 flip, VecI16 zero) {
  return __builtin_convertvector(SNN_LOAD(HalfU8, from) ^ flip, VecI16) - zero;
}

/* Wraps where the sum leaves 32 bits. */
static int32_t q_dot(const uint8_t *a, SnnStored a_form, const uint8_t *b, SnnStored b_form, size_t count) {
  enum { STEP = SNN_VECTOR_BYTES / 2 };
  uint8_t a_flip = a_form.is_signed ? 0x80 : 0, b_flip = b_form.is_signed ? 0x80 : 0;
  int16_t a_zero = (int16_t)(a_form.zero_point + a_flip), b_zero = (int16_t)(b_form.zero_point + b_flip);
  HalfU8 flip_a = a_flip - (HalfU8){0}, flip_b = b_flip - (HalfU8){0};
  VecI16 zero_a = splat_i16(a_zero), zero_b = splat_i16(b_zero);
  VecI32 even = {0}, odd = {0};
  size_t i = 0;
  for (; i + 2 * STEP <= count; i += 2 * STEP) {
    even = add_i32(even, madd_i16(dot_operand(a + i, flip_a, zero_a), dot_operand(b + i, flip_b, zero_b)));
    odd = add_i32(odd, madd_i16(dot_operand(a + i + STEP, flip_a, zero_a), dot_operand(b + i + STEP, flip_b, zero_b)));
  }
  even = add_i32(even, odd);
  uint32_t sum = 0;
  for (int lane = 0; lane < SNN_LANES; lane++) sum += (uint32_t)even[lane];
  for (; i < count; i++) sum += (uint32_t)(((a[i] ^ a_flip) - a_zero) * ((b[i] ^ b_flip) - b_zero));
  return (int32_t)sum;
}

static void q_add(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count) {
  /* The operand with the larger scale is halved exactly. */
  if (count == 0) return;
  if (pair->a.right == 0 && pair->b.right == 0) ROW_LOOP(add_step, true, true);
  else if (pair->a.right == 0) ROW_LOOP(add_step, true, false);
  else ROW_LOOP(add_step, false, true);
}

static void q_mul(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count) {
  if (count > 0) ROW_LOOP(mul_step, false, false);
}

/* x / scale to the nearest integer, ties away from zero; the quotient is first bounded to what any zero point leaves of 8 bits. NaN becomes 0. */
static void f_quantize(const float *in, uint8_t *out, size_t count, float scale, const SnnQRange *range) {
  Narrow narrow = make_narrow(range->is_signed, range->zero_point, range->lo, range->hi);
  VecF32 divisor = splat_f32(scale), bound = splat_f32(1024);
  for (size_t i = 0; i < count; i += ROW_STEP) {
    VecI32 y[4];
    SNN_UNROLL for (int j = 0; j < 4; j++) {
      size_t at = i + (size_t)j * SNN_LANES;
      VecF32 x = splat_f32(0);
      if (at + SNN_LANES <= count) x = load_f32(in + at);
      else if (at < count) x = load_part_f32(in + at, count - at);
      x = clamp_f32(x / divisor, -bound, bound);
      x = select_f32(x == x, x, splat_f32(0));
      VecI32 whole = __builtin_convertvector(x, VecI32);
      VecF32 rest = x - __builtin_convertvector(whole, VecF32);
      y[j] = whole - (rest >= splat_f32(0.5f)) + (rest <= splat_f32(-0.5f));
    }
    VecI8 bytes = narrow_ordered(y[0], y[1], y[2], y[3], &narrow);
    if (i + ROW_STEP <= count) SNN_STORE(out + i, bytes);
    else copy_part(out + i, &bytes, count - i);
  }
}

SNN_INLINE VecF32 hard_swish_f32(VecF32 x) { return x * clamp_f32(x + splat_f32(3), splat_f32(0), splat_f32(6)) / splat_f32(6); }

static void f_hard_swish(const float *in, float *out, size_t count) {
  size_t i = 0;
  for (; i + SNN_LANES <= count; i += SNN_LANES) SNN_STORE(out + i, hard_swish_f32(load_f32(in + i)));
  if (i < count) store_part_f32(out + i, hard_swish_f32(load_part_f32(in + i, count - i)), count - i);
}
