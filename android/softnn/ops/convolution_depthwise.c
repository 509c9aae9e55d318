/* DEPTHWISE_CONV_2D: every output channel reads one input channel. Kernels run over channels, along runs of pixels that read the same taps;
 * a depth multiplier is met by repeating the input's channels first. Taps outside the image read a line of zeros (of zero points). */
#include <stdlib.h>
#include <string.h>

#include "../numeric.h"
#include "../shape.h"
#include "convolution.h"

static const SnnWindowKind kind = {.tensors = 3, .extras = 1, .dilation = true};

typedef struct {
  SnnWindow window;
  SnnImage out;
  const SnnKernels *kernels;
  bool quantized;
  int float_kernel;
  SnnStored in_form, weight_form;
  SnnRequant requant;
  float lo, hi;
  uint32_t element;
  size_t taps, listed;  /* filter height * width; the same padded for the kernels */
  const void *packed;   /* quantised; NULL while the weights are not constant */
  size_t nhwc_in, nhwc_out, repeated, packed_at, zeros, pointers; /* in the scratch memory */
  size_t list;          /* bytes of each thread's list of taps, in cache lines of its own */
  size_t line;          /* bytes of one line of the input, with as many channels as the output */
} Depthwise;

int snn_depthwise_validate(SnnNode *node) { return snn_convolution_validate(node, &kind, 3, 1, true); }

static void pack(const Depthwise *dw, const SnnNode *node, void *packed) {
  snn_qdepthwise_pack(dw->kernels, packed, node->in[CONV_FILTER]->data, dw->taps, dw->out.channels, dw->weight_form, dw->in_form,
                      node->in[CONV_BIAS]->data, &dw->requant);
}

static int plan_scratch(SnnNode *node, Depthwise *dw, size_t packed_bytes) {
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
  dw->packed_at = at;
  if (dw->quantized && !snn_weights_constant(node)) at += snn_align(packed_bytes, 64);
  dw->line = (size_t)dw->window.in.width * dw->out.channels * dw->element;
  dw->zeros = at;
  at += snn_align(dw->line, 64);
  dw->pointers = at;
  dw->list = snn_align(dw->listed * sizeof(char *), 64);
  snn_scratch(node, at + snn_workers(node) * dw->list);
  return SNN_OK;
}

static int fill(SnnNode *node, Depthwise *dw, void *memory) {
  size_t channels = dw->out.channels;
  bool wide = node->in[CONV_FILTER]->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
  return snn_requant_fill(node, memory, channels, channels, dw->window.fuse, wide, &dw->requant);
}

/* The output scaling's arrays are packed along with constant weights: afterwards nobody needs them. */
static int build_packed(SnnNode *node, Depthwise *dw, size_t packed_bytes) {
  bool fresh;
  void *arrays = malloc(snn_requant_bytes(dw->out.channels));
  if (arrays == NULL) return SNN_NO_MEMORY;
  int code = fill(node, dw, arrays);
  void *packed = code == SNN_OK ? snn_packed(node, snn_packing_tag(dw->kernels), packed_bytes, &fresh) : NULL;
  if (code == SNN_OK && packed == NULL) code = SNN_NO_MEMORY;
  if (packed != NULL && fresh) pack(dw, node, packed);
  free(arrays);
  dw->requant.multiplier = dw->requant.shifts = NULL;
  dw->packed = packed;
  return code;
}

static int build(SnnNode *node, Depthwise *draft) {
  size_t channels = draft->out.channels, packed_bytes = 0;
  SNN_CHECK(node, snn_qdepthwise_bytes(draft->kernels, draft->taps, channels, &packed_bytes) && packed_bytes < SIZE_MAX / 4,
            "the filter is too large");
  SNN_TRY(plan_scratch(node, draft, packed_bytes));
  bool constant = snn_weights_constant(node), kept = draft->quantized && !constant;
  char *block = snn_params(node, sizeof(Depthwise) + (kept ? snn_requant_bytes(channels) : 0));
  if (block == NULL) return SNN_NO_MEMORY;
  Depthwise *dw = (Depthwise *)(void *)block;
  *dw = *draft;
  if (!dw->quantized) return snn_fused_range_float(node, dw->window.fuse, &dw->lo, &dw->hi);
  if (constant) return build_packed(node, dw, packed_bytes);
  return fill(node, dw, block + sizeof(Depthwise));
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
  dw.element = dw.quantized ? 1 : sizeof(float);
  dw.in_form = snn_stored(in);
  dw.weight_form = snn_stored(filter);
  if (filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) dw.weight_form.zero_point = 0;
  dw.taps = (size_t)filter->dims[1] * filter->dims[2];
  SNN_CHECK(node, dw.taps <= UINT32_MAX / 16 / filter->dims[3], "the filter is too large");
  dw.listed = snn_align(dw.taps, dw.kernels->dw_group);
  return build(node, &dw);
}

/* --- execute --- */

typedef struct {
  const Depthwise *dw;
  const char *in; /* one image, with as many channels as the output */
  char *out;      /* one image */
  const char *zeros;
  char *taps;             /* a list for each thread */
  const float *weights, *bias;
  SnnQDepthwise packed;
} Job;

/* Lists the taps of output position (line, column) and computes `pixels` positions from there on; they must read the same taps. */
static void run_pixels(const Job *job, const char **taps, size_t line, size_t column, uint32_t pixels) {
  const Depthwise *dw = job->dw;
  const SnnAxis *y = &dw->window.y, *x = &dw->window.x;
  size_t pixel = (size_t)dw->out.channels * dw->element;
  int64_t iy = (int64_t)line * y->stride - y->before, ix0 = (int64_t)column * x->stride - x->before;
  size_t t = 0;
  for (int32_t ky = 0; ky < y->filter; ky++, iy += y->dilation) {
    const char *from = iy >= 0 && iy < y->in ? job->in + (size_t)iy * dw->line : job->zeros;
    int64_t ix = ix0;
    for (int32_t kx = 0; kx < x->filter; kx++, ix += x->dilation) {
      taps[t++] = ix >= 0 && ix < x->in ? from + (size_t)ix * pixel : job->zeros;
    }
  }
  for (; t < dw->listed; t++) taps[t] = taps[0];
  SnnPixels run = {taps, (uint32_t)dw->taps, (size_t)x->stride * pixel, pixels, dw->out.channels,
                   job->out + (line * dw->out.width + column) * pixel, pixel};
  if (dw->quantized) dw->kernels->q_depthwise(&job->packed, &run);
  else dw->kernels->f_depthwise[dw->float_kernel](job->weights, job->bias, dw->lo, dw->hi, &run);
}

static void run_lines(void *arg, uint32_t worker, size_t begin, size_t end) {
  const Job *job = arg;
  const Depthwise *dw = job->dw;
  const char **taps = (const char **)(void *)(job->taps + worker * dw->list);
  const SnnAxis *x = &dw->window.x;
  /* Columns whose taps all lie inside are one run; those at the edges go one by one. */
  int64_t reach = (int64_t)(x->filter - 1) * x->dilation, last = x->in - 1 - reach + x->before;
  int64_t first = (x->before + x->stride - 1) / x->stride, past = last < 0 ? 0 : last / x->stride + 1;
  size_t width = dw->out.width, inner = (size_t)first < width ? (size_t)first : width;
  size_t outer = past < first ? inner : (size_t)past < width ? (size_t)past : width;
  for (size_t line = begin; line < end; line++) {
    for (size_t column = 0; column < inner; column++) run_pixels(job, taps, line, column, 1);
    if (outer > inner) run_pixels(job, taps, line, inner, (uint32_t)(outer - inner));
    for (size_t column = outer; column < width; column++) run_pixels(job, taps, line, column, 1);
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
  memset(scratch + dw->zeros, dw->quantized ? (uint8_t)dw->in_form.zero_point : 0, dw->line);
  Job job = {.dw = dw, .zeros = scratch + dw->zeros, .taps = scratch + dw->pointers,
             .weights = node->in[CONV_FILTER]->data, .bias = node->in[CONV_BIAS]->data};
  if (dw->quantized) {
    if (dw->packed == NULL) pack(dw, node, scratch + dw->packed_at);
    const void *packed = dw->packed ? dw->packed : scratch + dw->packed_at;
    job.packed = snn_qdepthwise_at(dw->kernels, packed, dw->taps, dw->out.channels, dw->weight_form, dw->in_form, &dw->requant);
  }
  size_t in_image = (size_t)dw->window.in.height * dw->window.in.width * dw->window.in.channels;
  size_t out_image = (size_t)dw->out.height * dw->out.width * dw->out.channels, times = dw->out.channels / dw->window.in.channels;
  enum { WORTH = 1 << 15 }; /* multiplications that are worth a slice */
  size_t grain = (size_t)(WORTH / ((uint64_t)dw->out.width * dw->out.channels * dw->taps + 1)) + 1;
  for (uint32_t b = 0; b < dw->out.batch; b++) {
    job.in = in + b * in_image * dw->element;
    job.out = out + b * out_image * dw->element;
    if (times > 1) {
      repeat_channels(scratch + dw->repeated, job.in, in_image, times, dw->element);
      job.in = scratch + dw->repeated;
    }
    snn_parallel_by_worker(node, dw->out.height, grain, run_lines, &job);
  }
  if (dw->window.nchw) snn_nhwc_to_nchw(node->out[0]->data, out, &dw->out, dw->element);
  return SNN_OK;
}
