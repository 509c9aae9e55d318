/* Products of converted rows with packed weights; included by kernels_body.h. */

#if defined(SNN_MATRIX8)
enum { Q_UNIT = 8, Q_ELEMENT = 1 };
#elif defined(SNN_DOT8)
enum { Q_UNIT = 4, Q_ELEMENT = 1 };
#else
enum { Q_UNIT = 2, Q_ELEMENT = 2 };
#endif
#ifdef SNN_DOT8_SIGNED
enum { Q_SIGNED = 1 };
#else
enum { Q_SIGNED = 0 };
#endif

/* As snn_flip. */
SNN_INLINE uint8_t q_flip(SnnStored form) { return form.is_signed == Q_SIGNED ? 0 : 0x80; }

/* What the output stage needs of one vector of channels. */
typedef struct {
  Multipliers multiplier;
  VecI32 left, right, half; /* half: 2^(right - 1), or 0 */
} Scale;

SNN_INLINE Scale load_scale(const SnnRequant *r, size_t channel) {
  VecI32 shifts = load_i32(r->shifts + channel), right = shifts & 255;
  VecI32 half = (VecI32)(((VecU32)splat_i32(1) << (VecU32)right) >> 1);
  return (Scale){load_multipliers(r->multiplier + channel), shifts >> 8, right, half};
}

/* snn_multiply; `simple`: no left shifts, all right shifts at least 1, and |acc| < 2^30. */
SNN_INLINE VecI32 scale_i32(VecI32 acc, const Scale *s, bool simple) {
  if (simple) return rdbpot_small_i32(srdhm_i32(acc, s->multiplier), s->right, s->half);
  acc = (VecI32)((VecU32)acc << (VecU32)s->left);
  return rdbpot_i32(srdhm_i32(acc, s->multiplier), s->right);
}

#ifdef SNN_MATRIX8

/* acc += a x panel. Two rows and two columns meet in one vector; at the end they are put back into rows. */
SNN_INLINE void q_accumulate(const int rows, const int vectors, VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS], const char *a, size_t stride,
                             const char *panel, uint32_t depth) {
  VecI32 square[SNN_Q_ROWS / 2 + 1][2 * SNN_Q_VECTORS];
  const int pairs = (rows + 1) / 2;
  SNN_UNROLL for (int i = 0; i < pairs; i++) {
    SNN_UNROLL for (int j = 0; j < 2 * vectors; j++) square[i][j] = splat_i32(0);
  }
  for (uint32_t k = 0; k < depth; k += Q_UNIT, a += Q_UNIT) {
    VecI32 w[2 * SNN_Q_VECTORS];
    prefetch_ahead(panel, 2 * vectors * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int j = 0; j < 2 * vectors; j++) w[j] = SNN_LOAD(VecI32, panel + j * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int i = 0; i < pairs; i++) {
      int second = 2 * i + 1 < rows ? 2 * i + 1 : 2 * i;
      VecI32 x = two_units(a + 2 * i * stride, a + second * stride);
      SNN_UNROLL for (int j = 0; j < 2 * vectors; j++) square[i][j] = matrix8(square[i][j], x, w[j]);
    }
    panel += 2 * vectors * SNN_VECTOR_BYTES;
  }
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    SNN_UNROLL for (int j = 0; j < vectors; j++) {
      VecI32 left = square[i / 2][2 * j], right = square[i / 2][2 * j + 1];
      VecI32 row = i % 2 ? __builtin_shufflevector(left, right, 2, 3, 6, 7) : __builtin_shufflevector(left, right, 0, 1, 4, 5);
      acc[i][j] = add_i32(acc[i][j], row);
    }
  }
}

#else

/* 4 bytes of a converted row in every lane. */
SNN_INLINE VecI32 splat_unit(const char *a) { return splat_i32(SNN_LOAD(int32_t, a)); }

SNN_INLINE VecI32 multiply_unit(VecI32 acc, VecI32 a, VecI32 w) {
#ifdef SNN_DOT8
  return dot8(acc, a, w);
#else
  return add_i32(acc, madd_i16((VecI16)a, (VecI16)w));
#endif
}

/* acc += a x panel. */
SNN_INLINE void q_accumulate(const int rows, const int vectors, VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS], const char *a, size_t stride,
                             const char *panel, uint32_t depth) {
  for (uint32_t k = 0; k < depth; k += Q_UNIT, a += 4) {
    VecI32 w[SNN_Q_VECTORS];
    prefetch_ahead(panel, vectors * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int j = 0; j < vectors; j++) w[j] = SNN_LOAD(VecI32, panel + j * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int i = 0; i < rows; i++) {
      VecI32 x = splat_unit(a + i * stride);
      SNN_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = multiply_unit(acc[i][j], x, w[j]);
    }
    panel += vectors * SNN_VECTOR_BYTES;
  }
}

#endif

/* How accumulators leave: scaled by the short sequence, by the general one, or as they are (int32). */
typedef enum { Q_SIMPLE, Q_ANY, Q_RAW } QMode;

/* Accumulators as they are. */
SNN_INLINE void q_store_raw(const int rows, const int vectors, VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS], char *out, size_t stride, size_t columns) {
  char edge[SNN_Q_ROWS * SNN_Q_VECTORS * SNN_VECTOR_BYTES];
  const bool whole = columns >= (size_t)(vectors * SNN_LANES);
  const size_t width = (size_t)(vectors * SNN_VECTOR_BYTES), step = whole ? stride : width;
  char *to = whole ? out : edge;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    SNN_UNROLL for (int j = 0; j < vectors; j++) SNN_STORE(to + i * step + j * SNN_VECTOR_BYTES, acc[i][j]);
  }
  if (!whole) copy_edge(out, stride, edge, width, (uint32_t)rows, columns * sizeof(int32_t));
}

/* Scales `rows` x `vectors` accumulators and stores them as bytes, four vectors at a time. */
SNN_INLINE void q_store(const int rows, const int vectors, VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS], const SnnRequant *r, const Narrow *narrow,
                        bool simple, uint8_t *out, size_t stride, uint32_t n0, size_t columns) {
  Scale scale[SNN_Q_VECTORS];
  SNN_UNROLL for (int j = 0; j < vectors; j++) scale[j] = load_scale(r, n0 + j * SNN_LANES);
  char edge[SNN_Q_ROWS * SNN_Q_VECTORS * SNN_LANES];
  const size_t width = (size_t)(vectors * SNN_LANES);
  const bool whole = columns >= width;
  const size_t step = whole ? stride : width;
  char *to = whole ? (char *)out : edge;
  const int per_group = 4 / vectors; /* rows */
  SNN_UNROLL for (int i = 0; i < rows; i += per_group) {
    VecI32 four[4];
    SNN_UNROLL for (int q = 0; q < 4; q++) {
      int row = i + q / vectors < rows ? i + q / vectors : rows - 1;
      four[q] = scale_i32(acc[row][q % vectors], &scale[q % vectors], simple);
    }
    uint8_t bytes[SNN_VECTOR_BYTES];
    SNN_STORE(bytes, narrow_ordered(four[0], four[1], four[2], four[3], narrow));
    SNN_UNROLL for (int q = 0; q < per_group; q++) {
      if (i + q < rows) memcpy(to + (i + q) * step, bytes + q * width, width);
    }
  }
  if (!whole) copy_edge((char *)out, stride, edge, width, (uint32_t)rows, columns);
}

/* `rows` x `vectors` of one panel; both are constants after inlining. */
SNN_INLINE void q_block(const int rows, const int vectors, const SnnQMatrix *m, const SnnRequant *r, const Narrow *narrow, const QMode mode,
                        const SnnTile *tile, uint32_t row0, uint32_t n0, const char *panel) {
  VecI32 acc[SNN_Q_ROWS][SNN_Q_VECTORS];
  const char *a = (const char *)tile->a + row0 * tile->a_stride;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    VecI32 start = splat_i32(m->row_factor ? (int32_t)((uint32_t)m->row_factor * (uint32_t)tile->row_sums[row0 + (uint32_t)i]) : 0);
    SNN_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = add_i32(start, load_i32(m->bias + n0 + j * SNN_LANES));
  }
  q_accumulate(rows, vectors, acc, a, tile->a_stride, panel, m->k);
  char *out = (char *)tile->out + row0 * tile->out_stride;
  if (mode == Q_RAW) q_store_raw(rows, vectors, acc, out + n0 * sizeof(int32_t), tile->out_stride, m->n - n0);
  else q_store(rows, vectors, acc, r, narrow, mode == Q_SIMPLE, (uint8_t *)out + n0, tile->out_stride, n0, m->n - n0);
}

/* All rows of one panel in blocks of `height`; the last one overlaps the one before it, whose outputs it writes again. */
SNN_INLINE void q_blocks(const int height, const int vectors, const SnnQMatrix *m, const SnnRequant *r, const Narrow *narrow, const QMode mode,
                         const SnnTile *tile, uint32_t n0, const char *panel) {
  uint32_t last = tile->rows - (uint32_t)height;
  for (uint32_t row = 0;; row = row + (uint32_t)height < last ? row + (uint32_t)height : last) {
    q_block(height, vectors, m, r, narrow, mode, tile, row, n0, panel);
    if (row == last) return;
  }
}

#define Q_CASE(height) case height: q_blocks(height, vectors, m, r, narrow, mode, tile, n0, panel); break
/* The heights that a form of the kernel exists for: all of them for the form that matters (not so where a table shall be small), few for the
 * others. */
enum { Q_FEW = BLOCK_HEIGHTS(SNN_Q_ROWS) & (1 << 1 | 1 << 4 | 1 << 8 | 1 << 12) };
#ifdef SNN_SMALL
enum { Q_ALL = Q_FEW };
#else
enum { Q_ALL = BLOCK_HEIGHTS(SNN_Q_ROWS) };
#endif

SNN_INLINE void q_panel(const int vectors, const int heights, uint32_t height, const SnnQMatrix *m, const SnnRequant *r, const Narrow *narrow,
                        const QMode mode, const SnnTile *tile, uint32_t n0, const char *panel) {
  switch (height) {
    Q_CASE(1);
    Q_CASE(4);
#if SNN_Q_ROWS >= 8
    Q_CASE(8);
#endif
#if SNN_Q_ROWS >= 12
    Q_CASE(12);
#endif
    default: break;
  }
  if (heights == Q_FEW) return;
  switch (height) {
    Q_CASE(2);
    Q_CASE(3);
#if SNN_Q_ROWS >= 6
    Q_CASE(6);
#endif
#if SNN_Q_ROWS >= 10
    Q_CASE(10);
#endif
    default: break;
  }
}

/* One form for each mode, so that the branches stay outside. */
static void q_panel_simple(const SnnQMatrix *m, const SnnRequant *r, const Narrow *n, const SnnTile *tile, uint32_t height, uint32_t n0,
                           const char *panel) {
  q_panel(SNN_Q_VECTORS, Q_ALL, height, m, r, n, Q_SIMPLE, tile, n0, panel);
}
static void q_panel_any(const SnnQMatrix *m, const SnnRequant *r, const Narrow *n, const SnnTile *tile, uint32_t height, uint32_t n0,
                        const char *panel) {
  q_panel(SNN_Q_VECTORS, Q_FEW, height, m, r, n, Q_ANY, tile, n0, panel);
}
static void q_panel_raw(const SnnQMatrix *m, const SnnTile *tile, uint32_t height, uint32_t n0, const char *panel) {
  q_panel(SNN_Q_VECTORS, Q_FEW, height, m, NULL, NULL, Q_RAW, tile, n0, panel);
}
#ifdef SNN_WIDE
static void q_panel_narrow(const SnnQMatrix *m, const SnnRequant *r, const Narrow *n, bool simple, const SnnTile *tile, uint32_t height,
                           uint32_t n0, const char *panel) {
  if (r == NULL) q_panel(1, Q_FEW, height, m, NULL, NULL, Q_RAW, tile, n0, panel);
  else if (simple) q_panel(1, Q_FEW, height, m, r, n, Q_SIMPLE, tile, n0, panel);
  else q_panel(1, Q_FEW, height, m, r, n, Q_ANY, tile, n0, panel);
}
#endif

static void q_multiply(const SnnQMatrix *m, const SnnRequant *r, const SnnTile *tile) {
  const char *panel = m->weights;
  size_t panel_bytes = (size_t)SNN_Q_COLUMNS * snn_align(m->k, Q_UNIT) * Q_ELEMENT;
  uint32_t few = snn_block_height(tile->rows, Q_FEW), all = snn_block_height(tile->rows, Q_ALL);
  Narrow narrow = {0};
  if (r != NULL) narrow = make_narrow(r->is_signed, r->zero_point, r->lo, r->hi);
  bool simple = r != NULL && m->bounded && r->plain;
  for (uint32_t n0 = 0; n0 < m->n; n0 += SNN_Q_COLUMNS, panel += panel_bytes) {
#ifdef SNN_WIDE
    if (m->n - n0 <= SNN_LANES) {
      q_panel_narrow(m, r, &narrow, simple, tile, few, n0, panel);
      return;
    }
#endif
    if (r == NULL) q_panel_raw(m, tile, few, n0, panel);
    else if (simple) q_panel_simple(m, r, &narrow, tile, all, n0, panel);
    else q_panel_any(m, r, &narrow, tile, few, n0, panel);
  }
}

/* --- conversion --- */

#ifdef SNN_DOT8

/* What lies behind a row's depth meets weights of 0. */
static void q_convert(void *converted, const uint8_t *stored, size_t stride, uint32_t rows, size_t depth, SnnStored form, int32_t *sums) {
  size_t padded = snn_align(depth, Q_UNIT);
  uint8_t *to = converted;
  if (stored != to) {
    bool together = stride == padded;
    for (uint32_t i = 0; i < (together ? 1 : rows); i++) {
      copy_flipped((char *)to + i * padded, (const char *)stored + i * stride, together ? (rows - 1) * padded + depth : depth, q_flip(form));
    }
  }
  for (uint32_t i = 0; sums != NULL && i < rows; i++) {
    int32_t sum = 0;
    for (size_t k = 0; k < depth; k++) sum += Q_SIGNED ? (int8_t)to[i * padded + k] : to[i * padded + k];
    sums[i] = sum;
  }
}

#else

static void q_widen(int16_t *to, const uint8_t *from, size_t count, SnnStored form) {
  int16_t zero = (int16_t)form.zero_point;
  if (form.is_signed) {
    for (size_t i = 0; i < count; i++) to[i] = (int16_t)((int8_t)from[i] - zero);
  } else {
    for (size_t i = 0; i < count; i++) to[i] = (int16_t)(from[i] - zero);
  }
}

static void q_convert(void *converted, const uint8_t *stored, size_t stride, uint32_t rows, size_t depth, SnnStored form, int32_t *sums) {
  size_t padded = snn_align(depth, Q_UNIT);
  int16_t *to = converted;
  (void)sums;
  if (stride == depth && padded == depth) {
    q_widen(to, stored, rows * depth, form);
    return;
  }
  for (uint32_t i = 0; i < rows; i++) {
    q_widen(to + i * padded, stored + i * stride, depth, form);
    if (padded != depth) to[i * padded + depth] = 0;
  }
}

#endif
