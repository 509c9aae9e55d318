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

SNN_INLINE size_t add_rows(const bool halves_a, const bool halves_b, const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b,
                           ptrdiff_t step_b, uint8_t *out, size_t count) {
  RowOperand oa = row_operand(&pair->a), ob = row_operand(&pair->b);
  Narrow narrow = make_narrow(pair->is_signed, pair->zero_point, pair->lo, pair->hi);
  Multipliers output = splat_multiplier(pair->output.multiplier);
  VecI32 right = splat_i32(pair->output.right), half = splat_i32(1 << (pair->output.right - 1));
  VecI32 sign = splat_i32(pair->subtract ? -1 : 0);
  uint8_t copies_a[SNN_LANES], copies_b[SNN_LANES];
  if (step_a == 0 && count > 0) a = row_standing(copies_a, *a);
  if (step_b == 0 && count > 0) b = row_standing(copies_b, *b);
  size_t i = 0;
  for (; i + ROW_STEP <= count; i += ROW_STEP) {
    VecI32 y[4];
    SNN_UNROLL for (int j = 0; j < 4; j++) {
      size_t at = i + (size_t)j * SNN_LANES;
      VecI32 first = row_scaled(a + at * (size_t)step_a, &oa, halves_a), second = row_scaled(b + at * (size_t)step_b, &ob, halves_b);
      second = (second ^ sign) - sign;
      y[j] = rdbpot_small_i32(srdhm_i32(first + second, output), right, half);
    }
    SNN_STORE(out + i, narrow_ordered(y[0], y[1], y[2], y[3], &narrow));
  }
  return i;
}

static size_t q_add(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count) {
  /* The operand with the larger scale is halved exactly. */
  if (pair->a.right == 0 && pair->b.right == 0) return add_rows(true, true, pair, a, step_a, b, step_b, out, count);
  if (pair->a.right == 0) return add_rows(true, false, pair, a, step_a, b, step_b, out, count);
  return add_rows(false, true, pair, a, step_a, b, step_b, out, count);
}

static size_t q_mul(const SnnQPair *pair, const uint8_t *a, ptrdiff_t step_a, const uint8_t *b, ptrdiff_t step_b, uint8_t *out, size_t count) {
  RowOperand oa = row_operand(&pair->a), ob = row_operand(&pair->b);
  Narrow narrow = make_narrow(pair->is_signed, pair->zero_point, pair->lo, pair->hi);
  Multipliers output = splat_multiplier(pair->output.multiplier);
  VecI32 right = splat_i32(pair->output.right), half = splat_i32(1 << (pair->output.right - 1));
  uint8_t copies_a[SNN_LANES], copies_b[SNN_LANES];
  if (step_a == 0 && count > 0) a = row_standing(copies_a, *a);
  if (step_b == 0 && count > 0) b = row_standing(copies_b, *b);
  size_t i = 0;
  for (; i + ROW_STEP <= count; i += ROW_STEP) {
    VecI32 y[4];
    SNN_UNROLL for (int j = 0; j < 4; j++) {
      size_t at = i + (size_t)j * SNN_LANES;
      VecI32 first = row_value(a + at * (size_t)step_a, &oa), second = row_value(b + at * (size_t)step_b, &ob);
      /* Both are 9-bit numbers: the upper half of one is cleared, so that the pair of products is one. */
      y[j] = rdbpot_small_i32(srdhm_i32(madd_i16((VecI16)first, (VecI16)(second & 0xffff)), output), right, half);
    }
    SNN_STORE(out + i, narrow_ordered(y[0], y[1], y[2], y[3], &narrow));
  }
  return i;
}

SNN_INLINE VecF32 hard_swish_f32(VecF32 x) { return x * clamp_f32(x + splat_f32(3), splat_f32(0), splat_f32(6)) / splat_f32(6); }

static void f_hard_swish(const float *in, float *out, size_t count) {
  size_t i = 0;
  for (; i + SNN_LANES <= count; i += SNN_LANES) SNN_STORE(out + i, hard_swish_f32(load_f32(in + i)));
  if (i < count) store_part_f32(out + i, hard_swish_f32(load_part_f32(in + i, count - i)), count - i);
}
