/* Gathering the rows of a convolution; included by kernels_body.h. */

/* The taps of one filter row that reaches over an edge, from a line of the input (NULL: outside). */
static void gather_edge(char *to, const SnnSource *s, const char *line, int64_t ix) {
  for (uint32_t t = 0; t < s->x.taps; t++, to += s->tap, ix += s->x.tap) {
    if (line != NULL && ix >= 0 && ix < s->width) copy_flipped(to, line + (size_t)ix * s->pixel, s->tap, s->flip);
    else memset(to, s->fill ^ s->flip, s->tap);
  }
}

/* How many positions from `column` on have all taps of a filter row inside, side by side in memory. */
SNN_INLINE uint32_t gather_run(const SnnSource *s, size_t column, uint32_t most) {
  const SnnSteps *x = &s->x;
  int64_t ix = x->first + (int64_t)column * x->step, last = (int64_t)s->width - x->taps;
  if (x->tap != 1 || s->tap != s->pixel || ix < 0 || ix > last) return 0;
  int64_t run = (last - ix) / x->step + 1;
  return run < most ? (uint32_t)run : most;
}

static void gather(const SnnSource *s, char *rows, size_t stride, size_t p, uint32_t count) {
  const SnnSteps *y = &s->y, *x = &s->x;
  size_t column = p % x->count, line = p / x->count % y->count, batch = p / x->count / y->count;
  const size_t bytes = x->taps * s->tap, step = (size_t)x->step * s->pixel, image_bytes = (size_t)s->height * s->line;
  const char *image = s->in + batch * image_bytes;
  while (count > 0) {
    size_t left = x->count - column;
    uint32_t run = gather_run(s, column, left < count ? (uint32_t)left : count), done = run > 0 ? run : 1;
    int64_t ix = x->first + (int64_t)column * x->step, iy = y->first + (int64_t)line * y->step;
    char *to = rows;
    for (uint32_t t = 0; t < y->taps && x->taps > 0; t++, iy += y->tap, to += bytes) {
      const char *from = iy >= 0 && iy < s->height ? image + (size_t)iy * s->line : NULL;
      if (run == 0) gather_edge(to, s, from, ix);
      else if (from == NULL) for (uint32_t i = 0; i < run; i++) memset(to + i * stride, s->fill ^ s->flip, bytes);
      else for (uint32_t i = 0; i < run; i++) copy_flipped(to + i * stride, from + (size_t)ix * s->pixel + i * step, bytes, s->flip);
    }
    rows += done * stride;
    column += done;
    count -= done;
    if (column < x->count) continue;
    column = 0;
    if (++line < y->count) continue;
    line = 0;
    image += image_bytes;
  }
}
