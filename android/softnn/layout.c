#include "layout.h"

#include <string.h>

#include "numeric.h"

static bool have_type(SnnNode *node, uint32_t from, uint32_t count, int32_t type) {
  for (uint32_t i = from; i < from + count; i++) {
    if (node->in[i]->type == type && snn_present(node->in[i])) continue;
    snn_fail(node, "input %u is %s, not %s", i, snn_type_name(node->in[i]->type), snn_type_name(type));
    return false;
  }
  return true;
}

/* Positions only; false when no form has this many operands. */
static bool find_form(const SnnNode *node, const SnnWindowKind *kind, SnnWindowForm *form) {
  *form = (SnnWindowForm){0};
  uint32_t shape = kind->output_shape ? 1 : 0;
  uint32_t implicit = kind->tensors + shape + 1 + 2 + kind->extras + 1, explicit_form = implicit - shape + 3;
  /* The counts of both forms overlap (CONV_2D has 10 either way): the operand where the implicit form has its flag decides. */
  bool is_implicit = node->n_in == implicit || (node->n_in > implicit && node->in[implicit]->type == ANEURALNETWORKS_BOOL);
  uint32_t base = is_implicit ? implicit : explicit_form;
  if (node->n_in < base) return false;
  uint32_t trailing = node->n_in - base;
  if (trailing != 0 && trailing != 1 && !(trailing == 3 && kind->dilation)) return false;
  if (trailing == 0 && kind->nchw_required) return false;
  form->explicit_padding = !is_implicit;
  form->padding = kind->tensors + (is_implicit ? shape : 0);
  form->stride_w = form->padding + (is_implicit ? 1 : 4);
  form->stride_h = form->stride_w + 1;
  form->extra = kind->extras ? form->stride_h + 1 : 0;
  form->fuse = form->stride_h + 1 + kind->extras;
  form->nchw = trailing >= 1 ? base : 0;
  form->dilation_w = trailing == 3 ? base + 1 : 0;
  form->dilation_h = trailing == 3 ? base + 2 : 0;
  return true;
}

int snn_window_form(SnnNode *node, const SnnWindowKind *kind, SnnWindowForm *form) {
  SNN_REQUIRE(node, find_form(node, kind, form), "no form takes %u inputs of these types", node->n_in);
  bool shaped = kind->output_shape && !form->explicit_padding;
  if (shaped && !have_type(node, kind->tensors, 1, ANEURALNETWORKS_TENSOR_INT32)) return SNN_INVALID;
  if (!have_type(node, form->padding, form->fuse - form->padding + 1, ANEURALNETWORKS_INT32)) return SNN_INVALID;
  if (form->nchw && !have_type(node, form->nchw, 1, ANEURALNETWORKS_BOOL)) return SNN_INVALID;
  if (form->dilation_w && !have_type(node, form->dilation_w, 2, ANEURALNETWORKS_INT32)) return SNN_INVALID;
  return form->nchw ? 3 : 1;
}

static int read_image(SnnNode *node, bool nchw, SnnImage *image) {
  const SnnTensor *t = node->in[0];
  SNN_CHECK(node, t->rank == 4, "input 0 has rank %u; 4 expected", t->rank);
  *image = (SnnImage){t->dims[0], t->dims[nchw ? 2 : 1], t->dims[nchw ? 3 : 2], t->dims[nchw ? 1 : 3]};
  SNN_CHECK(node, image->height > 0 && image->width > 0 && image->channels > 0,
            "input 0 is %ux%ux%u (height, width, channels): only the batch may be empty", image->height, image->width,
            image->channels);
  SNN_CHECK(node, image->height <= INT32_MAX && image->width <= INT32_MAX, "input 0 is too large");
  return SNN_OK;
}

static int read_positive(SnnNode *node, uint32_t input, const char *what, int32_t *value) {
  SNN_TRY(snn_get_i32(node, input, value));
  SNN_CHECK(node, *value > 0, "%s (input %u) is %d; it must be positive", what, input, (int)*value);
  return SNN_OK;
}

int snn_window_read(SnnNode *node, const SnnWindowKind *kind, SnnWindow *window) {
  SnnWindowForm form;
  SNN_CHECK(node, find_form(node, kind, &form), "no form takes %u inputs of these types", node->n_in);
  *window = (SnnWindow){0};
  window->y.dilation = window->x.dilation = 1;
  if (form.nchw) SNN_TRY(snn_get_bool(node, form.nchw, &window->nchw));
  SNN_TRY(read_image(node, window->nchw, &window->in));
  window->y.in = (int32_t)window->in.height;
  window->x.in = (int32_t)window->in.width;
  SNN_TRY(read_positive(node, form.stride_w, "stride width", &window->x.stride));
  SNN_TRY(read_positive(node, form.stride_h, "stride height", &window->y.stride));
  if (form.dilation_w) {
    SNN_TRY(read_positive(node, form.dilation_w, "dilation width", &window->x.dilation));
    SNN_TRY(read_positive(node, form.dilation_h, "dilation height", &window->y.dilation));
  }
  for (uint32_t i = 0; i < kind->extras; i++) SNN_TRY(snn_get_i32(node, form.extra + i, &window->extra[i]));
  SNN_TRY(snn_get_i32(node, form.fuse, &window->fuse));
  if (form.explicit_padding) {
    SNN_TRY(snn_get_i32(node, form.padding, &window->x.before));
    SNN_TRY(snn_get_i32(node, form.padding + 1, &window->x.after));
    SNN_TRY(snn_get_i32(node, form.padding + 2, &window->y.before));
    SNN_TRY(snn_get_i32(node, form.padding + 3, &window->y.after));
    return SNN_OK;
  }
  SNN_TRY(snn_get_i32(node, form.padding, &window->padding));
  SNN_CHECK(node, window->padding == ANEURALNETWORKS_PADDING_SAME || window->padding == ANEURALNETWORKS_PADDING_VALID,
            "padding scheme (input %u) is %d; SAME 1 and VALID 2 exist", form.padding, (int)window->padding);
  return SNN_OK;
}

/* Padding cells that SAME needs so that `outer` positions give ceil(outer / stride). */
static int64_t same_padding(const SnnAxis *axis, int64_t outer, int64_t reach) {
  int64_t positions = (outer + axis->stride - 1) / axis->stride;
  int64_t total = (positions - 1) * axis->stride + reach - outer;
  return total > 0 ? total : 0;
}

static int64_t filter_reach(const SnnAxis *axis) { return (int64_t)(axis->filter - 1) * axis->dilation + 1; }

static int solve_axis(SnnNode *node, SnnAxis *axis, int32_t padding, const char *name) {
  SNN_CHECK(node, axis->filter > 0, "filter %s is %d; it must be positive", name, (int)axis->filter);
  int64_t reach = filter_reach(axis);
  SNN_CHECK(node, reach <= INT32_MAX, "filter %s with its dilation is too large", name);
  if (padding != 0) {
    int64_t total = padding == ANEURALNETWORKS_PADDING_SAME ? same_padding(axis, axis->in, reach) : 0;
    axis->before = (int32_t)(total / 2);
    axis->after = (int32_t)(total - total / 2);
  }
  SNN_CHECK(node, axis->before >= 0 && axis->after >= 0, "padding of the %s is %d before and %d after; it may not be negative",
            name, (int)axis->before, (int)axis->after);
  SNN_CHECK(node, axis->before < reach && axis->after < reach, "padding of the %s (%d before, %d after) is not below the filter's reach of %d",
            name, (int)axis->before, (int)axis->after, (int)reach);
  int64_t out = (axis->in - reach + axis->stride + axis->before + axis->after) / axis->stride;
  SNN_CHECK(node, axis->in + (int64_t)axis->before + axis->after >= reach && out <= INT32_MAX,
            "the filter's reach of %d exceeds the padded input %s of %d", (int)reach, name,
            (int)(axis->in + axis->before + axis->after));
  axis->out = (int32_t)out;
  return SNN_OK;
}

int snn_window_solve(SnnNode *node, SnnWindow *window) {
  SNN_TRY(solve_axis(node, &window->y, window->padding, "height"));
  return solve_axis(node, &window->x, window->padding, "width");
}

static int solve_transposed_axis(SnnNode *node, SnnAxis *axis, int32_t padding, const char *name) {
  SNN_CHECK(node, axis->filter > 0, "filter %s is %d; it must be positive", name, (int)axis->filter);
  if (padding != 0) {
    SNN_CHECK(node, axis->out > 0, "output %s is %d; it must be positive", name, (int)axis->out);
    axis->before = padding == ANEURALNETWORKS_PADDING_SAME ? (int32_t)(same_padding(axis, axis->out, axis->filter) / 2) : 0;
    return SNN_OK;
  }
  /* The end's padding may be negative: it says which of the sizes that a stride leaves open is meant. */
  SNN_CHECK(node, axis->before >= 0, "padding before the %s is %d; it may not be negative", name, (int)axis->before);
  int64_t out = (int64_t)axis->in * axis->stride + axis->filter - axis->stride - axis->before - axis->after;
  SNN_CHECK(node, out > 0 && out <= INT32_MAX, "input %s %d, stride %d, filter %d, padding %d and %d leave no output", name,
            (int)axis->in, (int)axis->stride, (int)axis->filter, (int)axis->before, (int)axis->after);
  axis->out = (int32_t)out;
  return SNN_OK;
}

int snn_window_solve_transposed(SnnNode *node, SnnWindow *window) {
  SNN_TRY(solve_transposed_axis(node, &window->y, window->padding, "height"));
  return solve_transposed_axis(node, &window->x, window->padding, "width");
}

int snn_set_image(SnnNode *node, const SnnWindow *window, uint32_t channels) {
  uint32_t n = window->in.batch, h = (uint32_t)window->y.out, w = (uint32_t)window->x.out;
  SnnImage image = {n, h, w, channels};
  size_t count;
  SNN_CHECK(node, snn_image_count(&image, &count), "the output of %ux%ux%ux%u is too large", n, h, w, channels);
  uint32_t nhwc[4] = {n, h, w, channels}, nchw[4] = {n, channels, h, w};
  return snn_set_shape(node, 0, 4, window->nchw ? nchw : nhwc);
}

bool snn_image_count(const SnnImage *image, size_t *count) {
  uint64_t n = (uint64_t)image->batch * image->height;
  if (n > UINT32_MAX) return false;
  n *= image->width;
  if (n > UINT32_MAX) return false;
  if (image->channels != 0 && n > UINT32_MAX / 4 / image->channels) return false;
  *count = (size_t)(n * image->channels);
  return true;
}

/* dst[c][r] = src[r][c], in blocks that fit the first cache. */
#define TRANSPOSE(type)                                                                                    \
  static void transpose_##type(type *restrict dst, const type *restrict src, size_t rows, size_t cols) {   \
    enum { BLOCK = 32 };                                                                                   \
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {                                                          \
      size_t r1 = r0 + BLOCK < rows ? r0 + BLOCK : rows;                                                   \
      for (size_t c0 = 0; c0 < cols; c0 += BLOCK) {                                                        \
        size_t c1 = c0 + BLOCK < cols ? c0 + BLOCK : cols;                                                 \
        for (size_t r = r0; r < r1; r++)                                                                   \
          for (size_t c = c0; c < c1; c++) dst[c * rows + r] = src[r * cols + c];                          \
      }                                                                                                    \
    }                                                                                                      \
  }
TRANSPOSE(uint8_t)
TRANSPOSE(uint16_t)
TRANSPOSE(uint32_t)

static void transpose_images(void *dst, const void *src, uint32_t batch, size_t rows, size_t cols, size_t element) {
  size_t bytes = rows * cols * element;
  for (uint32_t b = 0; b < batch; b++) {
    void *to = (char *)dst + b * bytes;
    const void *from = (const char *)src + b * bytes;
    if (element == 1) transpose_uint8_t(to, from, rows, cols);
    else if (element == 2) transpose_uint16_t(to, from, rows, cols);
    else transpose_uint32_t(to, from, rows, cols);
  }
}

void snn_nchw_to_nhwc(void *nhwc, const void *nchw, const SnnImage *image, size_t element) {
  transpose_images(nhwc, nchw, image->batch, image->channels, (size_t)image->height * image->width, element);
}

void snn_nhwc_to_nchw(void *nchw, const void *nhwc, const SnnImage *image, size_t element) {
  transpose_images(nchw, nhwc, image->batch, (size_t)image->height * image->width, image->channels, element);
}
