/* Float products and depthwise convolution; included once for each way of rounding. FLOAT_NAME(name) names the functions,
 * MULTIPLY_ADD(a, b, c) is a * b + c with one rounding (fused) or two.
 *
 * With two, every output is the sum that TFLite's reference kernels form: products added one by one in order of depth, the bias last. */

SNN_INLINE void FLOAT_NAME(f_block)(const int rows, const SnnFMatrix *m, const SnnTile *tile, uint32_t row0, uint32_t n0, const float *panel) {
  VecF32 acc[SNN_F_ROWS][SNN_F_VECTORS];
  const char *a = (const char *)tile->a + row0 * tile->a_stride;
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    SNN_UNROLL for (int j = 0; j < SNN_F_VECTORS; j++) acc[i][j] = splat_f32(0);
  }
  for (uint32_t k = 0; k < m->k; k++) {
    VecF32 w[SNN_F_VECTORS];
    SNN_UNROLL for (int j = 0; j < SNN_F_VECTORS; j++) w[j] = load_f32(panel + j * SNN_LANES);
    SNN_UNROLL for (int i = 0; i < rows; i++) {
      VecF32 x = splat_f32(SNN_LOAD(float, a + i * tile->a_stride));
      SNN_UNROLL for (int j = 0; j < SNN_F_VECTORS; j++) acc[i][j] = MULTIPLY_ADD(x, w[j], acc[i][j]);
    }
    panel += SNN_F_COLUMNS;
    a += sizeof(float);
  }
  char *out = (char *)tile->out + row0 * tile->out_stride + n0 * sizeof(float);
  bool whole = n0 + SNN_F_COLUMNS <= m->n;
  VecF32 lo = splat_f32(m->lo), hi = splat_f32(m->hi);
  SNN_UNROLL for (int i = 0; i < rows; i++) {
    float edge[SNN_F_COLUMNS];
    char *to = whole ? out + i * tile->out_stride : (char *)edge;
    SNN_UNROLL for (int j = 0; j < SNN_F_VECTORS; j++) {
      SNN_STORE(to + j * SNN_VECTOR_BYTES, clamp_f32(acc[i][j] + load_f32(m->bias + n0 + j * SNN_LANES), lo, hi));
    }
    if (!whole) memcpy(out + i * tile->out_stride, edge, (m->n - n0) * sizeof(float));
  }
}

#undef F_CASE
#define F_CASE(rows) case rows: FLOAT_NAME(f_block)(rows, m, tile, row, n0, panel); break
static void FLOAT_NAME(f_rest)(const SnnFMatrix *m, const SnnTile *tile, uint32_t row, uint32_t n0, const float *panel) {
  switch (tile->rows - row) {
    F_CASE(1);
#if SNN_F_ROWS > 2
    F_CASE(2);
#endif
#if SNN_F_ROWS > 3
    F_CASE(3);
#endif
#if SNN_F_ROWS > 4
    F_CASE(4);
    F_CASE(5);
#endif
#if SNN_F_ROWS > 6
    F_CASE(6);
    F_CASE(7);
#endif
#if SNN_F_ROWS > 8
    F_CASE(8);
    F_CASE(9);
    F_CASE(10);
    F_CASE(11);
#endif
    default: break;
  }
}

static void FLOAT_NAME(f_multiply)(const SnnFMatrix *m, const SnnTile *tile) {
  const float *panel = m->weights;
  for (uint32_t n0 = 0; n0 < m->n; n0 += SNN_F_COLUMNS, panel += (size_t)SNN_F_COLUMNS * m->k) {
    uint32_t row = 0;
    for (; row + SNN_F_ROWS <= tile->rows; row += SNN_F_ROWS) FLOAT_NAME(f_block)(SNN_F_ROWS, m, tile, row, n0, panel);
    if (row < tile->rows) FLOAT_NAME(f_rest)(m, tile, row, n0, panel);
  }
}

SNN_INLINE void FLOAT_NAME(f_depthwise_block)(const int vectors, const SnnTaps *t, const float *bias, float lo, float hi, size_t c) {
  VecF32 acc[4];
  SNN_UNROLL for (int j = 0; j < vectors; j++) acc[j] = splat_f32(0);
  for (uint32_t y = 0; y < t->rows; y++) {
    const float *in = (const float *)t->in + y * t->in_row + c;
    const float *w = (const float *)t->weights + y * t->weight_row + c;
    for (uint32_t x = 0; x < t->columns; x++, in += t->in_column, w += t->weight_column) {
      SNN_UNROLL for (int j = 0; j < vectors; j++) {
        acc[j] = MULTIPLY_ADD(load_f32(in + j * SNN_LANES), load_f32(w + j * SNN_LANES), acc[j]);
      }
    }
  }
  float *out = (float *)t->out + c;
  SNN_UNROLL for (int j = 0; j < vectors; j++) {
    SNN_STORE(out + j * SNN_LANES, clamp_f32(acc[j] + load_f32(bias + c + j * SNN_LANES), splat_f32(lo), splat_f32(hi)));
  }
}

static void FLOAT_NAME(f_depthwise)(const SnnTaps *t, const float *bias, float lo, float hi) {
  size_t c = 0;
  for (; c + 4 * SNN_LANES <= t->channels; c += 4 * SNN_LANES) FLOAT_NAME(f_depthwise_block)(4, t, bias, lo, hi, c);
  for (; c + SNN_LANES <= t->channels; c += SNN_LANES) FLOAT_NAME(f_depthwise_block)(1, t, bias, lo, hi, c);
  for (; c < t->channels; c++) {
    float acc = 0;
    for (uint32_t y = 0; y < t->rows; y++) {
      for (uint32_t x = 0; x < t->columns; x++) {
        acc += ((const float *)t->in)[y * t->in_row + x * t->in_column + c] *
               ((const float *)t->weights)[y * t->weight_row + x * t->weight_column + c];
      }
    }
    ((float *)t->out)[c] = snn_clampf(acc + bias[c], lo, hi);
  }
}

