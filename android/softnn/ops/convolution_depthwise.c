/* DEPTHWISE_CONV_2D: every output channel reads one input channel. Kernels run over channels; a depth multiplier is met by repeating the
 * input's channels first. Taps outside the image add nothing (the zero point is real 0), so they are left out. */
#include <string.h>

#include "../numeric.h"
#include "../shape.h"
#include "convolution.h"

static const SnnWindowKind kind = {.tensors = 3, .extras = 1, .dilation = true};

typedef struct {
  SnnWindow window;
  SnnImage out;
  const SnnKernels *kernels;
  bool quantized, constant;
  int float_kernel;
  SnnStored in_form, weight_form;
  SnnRequant requant;
  float lo, hi;
  uint32_t element;
  size_t taps;              /* filter height * width */
  const int16_t *weights;   /* quantised, constant: with the zero point taken off */
  size_t nhwc_in, nhwc_out, repeated, weights_at; /* in the scratch memory */
} Depthwise;

int snn_depthwise_validate(SnnNode *node) { return snn_convolution_validate(node, &kind, 3, 1, true); }

static void widen_weights(const Depthwise *dw, const SnnTensor *filter, int16_t *to) {
  const uint8_t *from = filter->data;
  size_t count = dw->taps * dw->out.channels;
  for (size_t i = 0; i < count; i++) {
    int32_t value = dw->weight_form.is_signed ? (int8_t)from[i] : from[i];
    to[i] = (int16_t)(value - dw->weight_form.zero_point);
  }
}

static int plan_scratch(SnnNode *node, Depthwise *dw) {
  size_t in, out, repeated, at = 0;
  SnnImage wide = {1, dw->window.in.height, dw->window.in.width, dw->out.channels};
  SNN_CHECK(node, snn_image_count(&dw->window.in, &in) && snn_image_count(&dw->out, &out) && snn_image_count(&wide, &repeated),
            "the image is too large");
  if (dw->window.nchw) {
    dw->nhwc_in = at;
    at += snn_align(in * dw->element, 64);
    dw->nhwc_out = at;
    at += snn_align(out * dw->element, 64);
  }
  dw->repeated = at;
  if (dw->out.channels != dw->window.in.channels) at += snn_align(repeated * dw->element, 64);
  dw->weights_at = at;
  if (dw->quantized && !dw->constant) at += dw->taps * dw->out.channels * sizeof(int16_t);
  snn_scratch(node, at);
  return SNN_OK;
}

static int build(SnnNode *node, Depthwise *draft) {
  size_t channels = draft->out.channels;
  char *block = snn_params(node, sizeof(Depthwise) + (draft->quantized ? snn_requant_bytes(channels) : 0));
  if (block == NULL) return SNN_NO_MEMORY;
  Depthwise *dw = (Depthwise *)(void *)block;
  *dw = *draft;
  if (!dw->quantized) return snn_fused_range_float(node, dw->window.fuse, &dw->lo, &dw->hi);
  bool wide = node->in[CONV_FILTER]->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
  SNN_TRY(snn_requant_fill(node, block + sizeof(Depthwise), channels, channels, dw->window.fuse, wide, &dw->requant));
  if (!dw->constant) return SNN_OK;
  bool fresh;
  int16_t *widened = snn_packed(node, snn_packing_tag(dw->kernels), dw->taps * channels * sizeof(int16_t), &fresh);
  if (widened == NULL) return SNN_NO_MEMORY;
  if (fresh) widen_weights(dw, node->in[CONV_FILTER], widened);
  dw->weights = widened;
  return SNN_OK;
}

int snn_depthwise_prepare(SnnNode *node) {
  Depthwise dw = {0};
  SNN_TRY(snn_window_read(node, &kind, &dw.window));
  SNN_TRY(snn_convolution_check(node, 3));
  const SnnTensor *in = node->in[CONV_INPUT], *filter = node->in[CONV_FILTER];
  SNN_CHECK(node, filter->dims[0] == 1, "filter dimension 0 is %u; 1 expected", filter->dims[0]);
  int32_t multiplier = dw.window.extra[0];
  SNN_CHECK(node, multiplier > 0 && (uint64_t)multiplier * dw.window.in.channels == filter->dims[3],
            "%u output channels are not %u input channels * depth multiplier %d", filter->dims[3], dw.window.in.channels, (int)multiplier);
  dw.window.y.filter = (int32_t)filter->dims[1];
  dw.window.x.filter = (int32_t)filter->dims[2];
  SNN_TRY(snn_window_solve(node, &dw.window));
  dw.out = (SnnImage){dw.window.in.batch, (uint32_t)dw.window.y.out, (uint32_t)dw.window.x.out, filter->dims[3]};
  SNN_TRY(snn_set_image(node, &dw.window, dw.out.channels));
  dw.kernels = snn_kernels();
  dw.float_kernel = snn_float_kernel(node);
  dw.quantized = snn_is_quant8(in->type);
  dw.constant = filter->lifetime == SNN_CONSTANT;
  dw.element = dw.quantized ? 1 : sizeof(float);
  dw.in_form = snn_stored(in);
  dw.weight_form = snn_stored(filter);
  if (filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) dw.weight_form.zero_point = 0;
  dw.taps = (size_t)filter->dims[1] * filter->dims[2];
  SNN_CHECK(node, dw.taps <= UINT32_MAX / 8 / filter->dims[3], "the filter is too large");
  SNN_TRY(plan_scratch(node, &dw));
  return build(node, &dw);
}

/* --- execute --- */

typedef struct {
  const Depthwise *dw;
  const char *in; /* one image, with as many channels as the output */
  char *out;      /* one image */
  const void *weights, *bias;
} Job;

/* The taps of a direction that lie inside for input position `at` of tap 0: [begin, end). */
static void inside(const SnnAxis *axis, int64_t at, uint32_t *begin, uint32_t *end) {
  int64_t first = at < 0 ? (-at + axis->dilation - 1) / axis->dilation : 0;
  int64_t last = at < axis->in ? (axis->in - at + axis->dilation - 1) / axis->dilation : 0;
  if (last > axis->filter) last = axis->filter;
  *begin = (uint32_t)first;
  *end = (uint32_t)(last < first ? first : last);
}

static void run_lines(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Depthwise *dw = job->dw;
  const SnnAxis *y = &dw->window.y, *x = &dw->window.x;
  size_t channels = dw->out.channels, width = dw->window.in.width, weight = dw->quantized ? sizeof(int16_t) : sizeof(float);
  SnnTaps taps = {.in_row = width * channels * (size_t)y->dilation, .in_column = channels * (size_t)x->dilation,
                  .weight_row = (size_t)x->filter * channels, .weight_column = channels, .channels = (uint32_t)channels};
  for (size_t line = begin; line < end; line++) {
    int64_t iy = (int64_t)line * y->stride - y->before;
    uint32_t y0, y1;
    inside(y, iy, &y0, &y1);
    for (size_t column = 0; column < dw->out.width; column++) {
      int64_t ix = (int64_t)column * x->stride - x->before;
      uint32_t x0, x1;
      inside(x, ix, &x0, &x1);
      taps.rows = y1 - y0;
      taps.columns = x1 - x0;
      if (taps.columns == 0) taps.rows = 0;
      size_t at = 0, tap = 0;
      if (taps.rows > 0) {
        at = ((size_t)(iy + (int64_t)y0 * y->dilation) * width + (size_t)(ix + (int64_t)x0 * x->dilation)) * channels;
        tap = y0 * taps.weight_row + x0 * channels;
      }
      taps.in = job->in + at * dw->element;
      taps.weights = (const char *)job->weights + tap * weight;
      taps.out = job->out + (line * dw->out.width + column) * channels * dw->element;
      if (dw->quantized) dw->kernels->q_depthwise(&taps, dw->in_form, job->bias, &dw->requant);
      else dw->kernels->f_depthwise[dw->float_kernel](&taps, job->bias, dw->lo, dw->hi);
    }
  }
}

/* to[p][c * times + i] = from[p][c] */
static void repeat_channels(void *to, const void *from, size_t count, size_t times, size_t element) {
  if (element == 1) {
    uint8_t *byte = to;
    for (size_t i = 0; i < count; i++, byte += times) memset(byte, ((const uint8_t *)from)[i], times);
    return;
  }
  float *number = to;
  for (size_t i = 0; i < count; i++) {
    for (size_t t = 0; t < times; t++) *number++ = ((const float *)from)[i];
  }
}

int snn_depthwise_execute(SnnNode *node) {
  const Depthwise *dw = node->params;
  char *scratch = node->scratch, *out = node->out[0]->data;
  const char *in = node->in[CONV_INPUT]->data;
  if (dw->window.nchw) {
    snn_nchw_to_nhwc(scratch + dw->nhwc_in, in, &dw->window.in, dw->element);
    in = scratch + dw->nhwc_in;
    out = scratch + dw->nhwc_out;
  }
  Job job = {.dw = dw, .weights = node->in[CONV_FILTER]->data, .bias = node->in[CONV_BIAS]->data};
  if (dw->quantized) {
    if (!dw->constant) widen_weights(dw, node->in[CONV_FILTER], (int16_t *)(void *)(scratch + dw->weights_at));
    job.weights = dw->constant ? (const void *)dw->weights : scratch + dw->weights_at;
  }
  size_t in_image = (size_t)dw->window.in.height * dw->window.in.width * dw->window.in.channels;
  size_t out_image = (size_t)dw->out.height * dw->out.width * dw->out.channels, times = dw->out.channels / dw->window.in.channels;
  for (uint32_t b = 0; b < dw->out.batch; b++) {
    job.in = in + b * in_image * dw->element;
    job.out = out + b * out_image * dw->element;
    if (times > 1) {
      repeat_channels(scratch + dw->repeated, job.in, in_image, times, dw->element);
      job.in = scratch + dw->repeated;
    }
    snn_parallel(node, dw->out.height, 1, run_lines, &job);
  }
  if (dw->window.nchw) snn_nhwc_to_nchw(node->out[0]->data, out, &dw->out, dw->element);
  return SNN_OK;
}
