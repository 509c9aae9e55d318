/* Gathering the rows of a convolution; included by kernels_body.h. */

/* The taps of one filter row that reaches over an edge, from a line of the input (NULL: outside). */
static void gather_edge(char *to, const SnnSource *s, const char *line, int64_t ix) {
  for (uint32_t t = 0; t < s->x.taps; t++, to += s->tap, ix += s->x.tap) {
    if (line != NULL && ix >= 0 && ix < s->width) copy_flipped(to, line + (size_t)ix * s->pixel, s->tap, s->flip);
    else memset(to, s->fill ^ s->flip, s->tap);
  }
}

static void gather(const SnnSource *s, char *rows, size_t stride, size_t p, uint32_t count) {
  const SnnSteps *y = &s->y, *x = &s->x;
  size_t column = p % x->count, line = p / x->count % y->count, batch = p / x->count / y->count;
  size_t bytes = x->taps * s->tap, image_bytes = (size_t)s->height * s->line;
  bool joined = x->tap == 1 && s->tap == s->pixel; /* neighbouring taps lie side by side */
  const char *image = s->in + batch * image_bytes;
  for (uint32_t i = 0; i < count; i++, rows += stride) {
    int64_t ix = x->first + (int64_t)column * x->step, iy = y->first + (int64_t)line * y->step;
    bool inside = joined && ix >= 0 && ix + x->taps <= s->width;
    char *to = rows;
    for (uint32_t t = 0; t < y->taps && x->taps > 0; t++, iy += y->tap, to += bytes) {
      const char *from = iy >= 0 && iy < s->height ? image + (size_t)iy * s->line : NULL;
      if (inside && from != NULL) copy_flipped(to, from + (size_t)ix * s->pixel, bytes, s->flip);
      else gather_edge(to, s, from, ix);
    }
    if (++column < x->count) continue;
    column = 0;
    if (++line < y->count) continue;
    line = 0;
    image += image_bytes;
  }
}
