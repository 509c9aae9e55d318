/* Float products and depthwise convolution; included once for each way of rounding. FLOAT_NAME(name) names the functions,
 * MULTIPLY_ADD(a, b, c) is a * b + c with one rounding (fused) or two.
 *
 * With two, every output is the sum that TFLite's reference kernels form: products added one by one in order of depth, the bias last. */

SNN_INLINE void FLOAT_NAME(f_block)(const int rows, const int vectors, const SnnFMatrix *m, const SnnTile *tile, uint32_t row0, uint32_t n0,
                                    const float *panel) {
  VecF32 acc[SNN_F_ROWS][SNN_F_VECTORS];
  const char *a = (const char *)tile->a + row0 * tile->a_stride;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    SNN_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = splat_f32(0);
  }
  for (uint32_t k = 0; k < m->k; k++) {
    VecF32 w[SNN_F_VECTORS];
    prefetch_ahead(panel, vectors * SNN_VECTOR_BYTES);
    SNN_UNROLL for (int j = 0; j < vectors; j++) w[j] = load_f32(panel + j * SNN_LANES);
    SNN_UNROLL for (int i = 0; i < rows; i++) {
      VecF32 x = splat_f32(SNN_LOAD(float, a + i * tile->a_stride));
      SNN_UNROLL for (int j = 0; j < vectors; j++) acc[i][j] = MULTIPLY_ADD(x, w[j], acc[i][j]);
    }
    panel += vectors * SNN_LANES;
    a += sizeof(float);
  }
  VecF32 lo = splat_f32(m->lo), hi = splat_f32(m->hi);
  char edge[SNN_F_ROWS * SNN_F_VECTORS * SNN_VECTOR_BYTES];
  char *out = (char *)tile->out + row0 * tile->out_stride + n0 * sizeof(float);
  const bool whole = m->n - n0 >= (uint32_t)(vectors * SNN_LANES);
  char *to = whole ? out : edge;
  const size_t width = (size_t)(vectors * SNN_VECTOR_BYTES), stride = whole ? tile->out_stride : width;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    SNN_UNROLL for (int j = 0; j < vectors; j++) {
      VecF32 y = clamp_f32(acc[i][j] + load_f32(m->bias + n0 + j * SNN_LANES), lo, hi);
      SNN_STORE(to + i * stride + j * SNN_VECTOR_BYTES, y);
    }
  }
  if (!whole) copy_edge(out, tile->out_stride, edge, width, (uint32_t)rows, (m->n - n0) * sizeof(float));
}

/* All rows of one panel in blocks of `height`; the last one overlaps the one before it, whose outputs it writes again. */
SNN_INLINE void FLOAT_NAME(f_blocks)(const int height, const int vectors, const SnnFMatrix *m, const SnnTile *tile, uint32_t n0,
                                     const float *panel) {
  uint32_t last = tile->rows - (uint32_t)height;
  for (uint32_t row = 0;; row = row + (uint32_t)height < last ? row + (uint32_t)height : last) {
    FLOAT_NAME(f_block)(height, vectors, m, tile, row, n0, panel);
    if (row == last) return;
  }
}

#undef F_CASE
#define F_CASE(height) case height: FLOAT_NAME(f_blocks)(height, vectors, m, tile, n0, panel); break
SNN_INLINE void FLOAT_NAME(f_panel)(const int vectors, const int heights, uint32_t height, const SnnFMatrix *m, const SnnTile *tile, uint32_t n0,
                                    const float *panel) {
  switch (height) {
    F_CASE(1);
    F_CASE(4);
#if SNN_F_ROWS >= 8
    F_CASE(8);
#endif
#if SNN_F_ROWS >= 12
    F_CASE(12);
#endif
    default: break;
  }
  if (heights != F_ALL) return;
  switch (height) {
    F_CASE(2);
    F_CASE(3);
#if SNN_F_ROWS >= 6
    F_CASE(6);
#endif
#if SNN_F_ROWS >= 10
    F_CASE(10);
#endif
    default: break;
  }
}

static void FLOAT_NAME(f_panel_wide)(const SnnFMatrix *m, const SnnTile *tile, uint32_t height, uint32_t n0, const float *panel) {
  FLOAT_NAME(f_panel)(SNN_F_VECTORS, F_ALL, height, m, tile, n0, panel);
}
#ifdef SNN_WIDE
static void FLOAT_NAME(f_panel_narrow)(const SnnFMatrix *m, const SnnTile *tile, uint32_t height, uint32_t n0, const float *panel) {
  FLOAT_NAME(f_panel)(1, F_FEW, height, m, tile, n0, panel);
}
#endif

static void FLOAT_NAME(f_multiply)(const SnnFMatrix *m, const SnnTile *tile) {
  const float *panel = m->weights;
  uint32_t all = snn_block_height(tile->rows, F_ALL);
  for (uint32_t n0 = 0; n0 < m->n; n0 += SNN_F_COLUMNS, panel += (size_t)SNN_F_COLUMNS * m->k) {
#ifdef SNN_WIDE
    if (m->n - n0 <= SNN_LANES) {
      FLOAT_NAME(f_panel_narrow)(m, tile, snn_block_height(tile->rows, F_FEW), n0, panel);
      continue;
    }
#endif
    FLOAT_NAME(f_panel_wide)(m, tile, all, n0, panel);
  }
}

/* `pixels` x `vectors` outputs from channel c on; `lanes` is less than a vector's for the last channels. */
SNN_INLINE void FLOAT_NAME(f_depthwise_block)(const int pixels, const int vectors, const SnnPixels *run, const float *weights,
                                              const float *bias, float lo, float hi, uint32_t pixel, size_t c, size_t lanes) {
  VecF32 acc[4][2];
  const bool part = lanes < SNN_LANES;
  SNN_UNROLL for (int p = 0; p < pixels; p++) {
    SNN_UNROLL for (int j = 0; j < vectors; j++) acc[p][j] = splat_f32(0);
  }
  weights += c;
  for (uint32_t t = 0; t < run->count; t++, weights += run->channels) {
    const char *in = run->taps[t] + pixel * run->step + c * sizeof(float);
    VecF32 w[2];
    SNN_UNROLL for (int j = 0; j < vectors; j++) w[j] = part ? load_part_f32(weights, lanes) : load_f32(weights + j * SNN_LANES);
    SNN_UNROLL for (int p = 0; p < pixels; p++) {
      const float *x = (const float *)(const void *)(in + p * run->step);
      SNN_UNROLL for (int j = 0; j < vectors; j++) {
        acc[p][j] = MULTIPLY_ADD(part ? load_part_f32(x, lanes) : load_f32(x + j * SNN_LANES), w[j], acc[p][j]);
      }
    }
  }
  SNN_UNROLL for (int p = 0; p < pixels; p++) {
    float *out = (float *)(void *)(run->out + (pixel + (uint32_t)p) * run->out_step) + c;
    SNN_UNROLL for (int j = 0; j < vectors; j++) {
      VecF32 b = part ? load_part_f32(bias + c, lanes) : load_f32(bias + c + j * SNN_LANES);
      VecF32 y = clamp_f32(acc[p][j] + b, splat_f32(lo), splat_f32(hi));
      if (part) store_part_f32(out, y, lanes);
      else SNN_STORE(out + j * SNN_LANES, y);
    }
  }
}

static void FLOAT_NAME(f_depthwise)(const float *weights, const float *bias, float lo, float hi, const SnnPixels *run) {
  size_t c = 0;
  for (; c + 2 * SNN_LANES <= run->channels; c += 2 * SNN_LANES) {
    uint32_t p = 0;
    for (; p + 2 <= run->pixels; p += 2) FLOAT_NAME(f_depthwise_block)(2, 2, run, weights, bias, lo, hi, p, c, SNN_LANES);
    if (p < run->pixels) FLOAT_NAME(f_depthwise_block)(1, 2, run, weights, bias, lo, hi, p, c, SNN_LANES);
  }
  for (; c + SNN_LANES <= run->channels; c += SNN_LANES) {
    uint32_t p = 0;
    for (; p + 4 <= run->pixels; p += 4) FLOAT_NAME(f_depthwise_block)(4, 1, run, weights, bias, lo, hi, p, c, SNN_LANES);
    for (; p < run->pixels; p++) FLOAT_NAME(f_depthwise_block)(1, 1, run, weights, bias, lo, hi, p, c, SNN_LANES);
  }
  size_t lanes = run->channels - c;
  if (lanes == 0) return;
  uint32_t p = 0;
  for (; p + 4 <= run->pixels; p += 4) FLOAT_NAME(f_depthwise_block)(4, 1, run, weights, bias, lo, hi, p, c, lanes);
  for (; p < run->pixels; p++) FLOAT_NAME(f_depthwise_block)(1, 1, run, weights, bias, lo, hi, p, c, lanes);
}
