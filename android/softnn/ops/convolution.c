/* CONV_2D, GROUPED_CONV_2D, TRANSPOSE_CONV_2D: matrix products over gathered tiles of the input.
 *
 * Every output position has a row of depth taps x channels; a tile of such rows is gathered (padding becomes the zero point), converted and
 * multiplied with the packed filter. A transposed convolution is cut into stride x stride phases: output positions with the same remainder
 * meet the same taps, so each phase is an ordinary convolution with stride 1 whose taps are every stride-th of the filter, in reverse. Where
 * the stride is longer than the filter, the phases that meet no tap are all alike and count as one.
 */
#include "convolution.h"

#include <string.h>

#include "../numeric.h"
#include "../shape.h"

static const SnnWindowKind conv_kind = {.tensors = 3, .dilation = true};
static const SnnWindowKind grouped_kind = {.tensors = 3, .extras = 1, .nchw_required = true};
static const SnnWindowKind transposed_kind = {.tensors = 3, .output_shape = true, .nchw_required = true};

typedef struct {
  SnnWindow window;
  SnnImage out;
  const SnnKernels *kernels;
  bool quantized, transposed;
  int float_kernel;
  SnnStored in_form, weight_form;
  SnnRequant requant;
  float lo, hi;
  uint32_t groups, group_in, group_out, element;
  uint32_t phase_rows, phase_columns; /* transposed: how many phases; else 1 and 1 */
  size_t packed_step;                 /* bytes of one packed matrix: phase i, group g is number i * groups + g */
  const void *packed;                 /* NULL while the weights are not constant */
  uint32_t tile_rows, threads;
  size_t tile_bytes, converted_bytes; /* for each thread: raw rows; converted rows and their sums */
  size_t nhwc_in, nhwc_out, packed_at, tiles_at; /* in the scratch memory */
} Conv;

/* Output positions that meet the same taps: position j lies at output start + j * out_step. */
typedef struct {
  SnnSteps steps;
  int32_t start, out_step;
  uint32_t filter; /* the filter's place of tap 0 */
} Direction;

typedef struct {
  Direction y, x;
  size_t depth; /* of a row */
} Phase;

static Direction direction(const SnnAxis *axis, bool transposed, int32_t start) {
  if (!transposed) {
    return (Direction){{-axis->before, axis->stride, axis->dilation, (uint32_t)axis->out, (uint32_t)axis->filter}, 0, 1, 0};
  }
  /* Output start + j * stride meets the filter's r, r + stride, ...; taken from the last to the first they read the input forwards. */
  int64_t shifted = (int64_t)start + axis->before, stride = axis->stride, r = shifted % stride;
  int64_t count = axis->out > start ? (axis->out - start + stride - 1) / stride : 0;
  int64_t taps = axis->filter > r ? (axis->filter - r + stride - 1) / stride : 0, last = taps ? taps - 1 : 0;
  return (Direction){{(int32_t)((shifted - r) / stride - last), 1, 1, (uint32_t)count, (uint32_t)taps}, start, axis->stride,
                     taps ? (uint32_t)(r + last * stride) : 0};
}

static uint32_t axis_phases(const Conv *conv, const SnnAxis *axis) {
  return !conv->transposed ? 1 : axis->stride <= axis->filter ? (uint32_t)axis->stride : (uint32_t)axis->filter + 1;
}

/* The first output position of a phase, which may lie behind the last: then the phase is empty. Phase r has remainder r, and the one without
 * taps all from the filter's length on. */
static int32_t axis_start(const Conv *conv, const SnnAxis *axis, uint32_t phase) {
  if (!conv->transposed) return 0;
  int64_t first = axis->before % axis->stride;
  if (phase == (uint32_t)axis->filter && first > axis->filter) return 0;
  return (int32_t)((phase - first + axis->stride) % axis->stride);
}

static Phase phase_of(const Conv *conv, uint32_t index) {
  const SnnAxis *y = &conv->window.y, *x = &conv->window.x;
  Phase phase;
  phase.y = direction(y, conv->transposed, axis_start(conv, y, index / conv->phase_columns));
  phase.x = direction(x, conv->transposed, axis_start(conv, x, index % conv->phase_columns));
  phase.depth = (size_t)phase.y.steps.taps * phase.x.steps.taps * conv->group_in;
  return phase;
}

/* Does it meet no tap? */
static bool is_gap(const Conv *conv, uint32_t index) {
  const SnnAxis *y = &conv->window.y, *x = &conv->window.x;
  return conv->transposed && (index / conv->phase_columns >= (uint32_t)y->filter || index % conv->phase_columns >= (uint32_t)x->filter);
}

/* --- validate --- */

static int validate_conv(SnnNode *node) { return snn_convolution_validate(node, &conv_kind, 0, 1, true); }
static int validate_grouped(SnnNode *node) { return snn_convolution_validate(node, &grouped_kind, 0, 3, false); }
static int validate_transposed(SnnNode *node) { return snn_convolution_validate(node, &transposed_kind, 0, 3, false); }

/* --- packing --- */

static void pack_matrix(const Conv *conv, const SnnNode *node, uint32_t index, uint32_t group, char *packed) {
  const SnnTensor *filter = node->in[CONV_FILTER];
  Phase phase = phase_of(conv, index);
  ptrdiff_t column = filter->dims[3], row = column * (ptrdiff_t)filter->dims[2], channel = row * (ptrdiff_t)filter->dims[1];
  ptrdiff_t first = (ptrdiff_t)group * conv->group_out;
  ptrdiff_t start = first * channel + (ptrdiff_t)phase.y.filter * row + (ptrdiff_t)phase.x.filter * column;
  SnnWeights weights = {.base = (const char *)filter->data + start * (ptrdiff_t)conv->element,
                        .stride_n = channel,
                        .stride_y = conv->transposed ? -row * phase.y.out_step : row,
                        .stride_x = conv->transposed ? -column * phase.x.out_step : column,
                        .stride_c = 1,
                        .n = conv->group_out,
                        .ny = phase.y.steps.taps,
                        .nx = phase.x.steps.taps,
                        .nc = conv->group_in};
  if (!conv->transposed && conv->groups == 1) {
    weights.packed = snn_constant_packed;
    weights.node = node;
  }
  void *to = packed + ((size_t)index * conv->groups + group) * conv->packed_step;
  if (conv->quantized) {
    const int32_t *bias = node->in[CONV_BIAS]->data;
    snn_qmatrix_pack(conv->kernels, to, &weights, conv->weight_form, conv->in_form, bias + first);
  } else {
    const float *bias = node->in[CONV_BIAS]->data;
    snn_fmatrix_pack(conv->kernels, to, &weights, bias + first, conv->lo, conv->hi);
  }
}

static void pack_all(const Conv *conv, const SnnNode *node, void *packed) {
  for (uint32_t i = 0; i < conv->phase_rows * conv->phase_columns; i++) {
    for (uint32_t g = 0; g < conv->groups; g++) pack_matrix(conv, node, i, g, packed);
  }
}

/* --- prepare --- */

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Sizes of a packed matrix and of a tile, both for the phase with the most taps. */
static int plan_products(SnnNode *node, Conv *conv) {
  const SnnKernels *kernels = conv->kernels;
  const SnnAxis *y = &conv->window.y, *x = &conv->window.x;
  size_t taps_y = conv->transposed ? ceil_div((size_t)y->filter, (size_t)y->stride) : (size_t)y->filter;
  size_t taps_x = conv->transposed ? ceil_div((size_t)x->filter, (size_t)x->stride) : (size_t)x->filter;
  size_t depth;
  SNN_CHECK(node, snn_size_mul(taps_y, taps_x, &depth) && snn_size_mul(depth, conv->group_in, &depth) && depth <= UINT32_MAX / 8,
            "the filter is too large");
  bool fits = conv->quantized ? snn_qmatrix_bytes(kernels, conv->group_out, depth, &conv->packed_step)
                              : snn_fmatrix_bytes(kernels, conv->group_out, depth, &conv->packed_step);
  SNN_CHECK(node, fits, "the filter is too large");
  /* A tile stays in the first cache, beside a panel of weights. All weights are read anew for each tile: where they do not stay in the second
   * one, the tile may. */
  size_t row = conv->quantized ? snn_converted_bytes(kernels, depth) : depth * sizeof(float);
  size_t height = conv->quantized ? kernels->q_rows : kernels->f_rows;
  size_t cache = conv->packed_step > (1 << 20) ? 64 << 10 : 16 << 10;
  size_t rows = cache / row / height * height;
  rows = rows < height ? height : rows > 16 * height ? 16 * height : rows;
  conv->tile_rows = (uint32_t)rows;
  SNN_CHECK(node, row < SIZE_MAX / 8 / rows, "the filter is too large");
  bool in_place = conv->quantized && kernels->q_element == 1;
  conv->tile_bytes = in_place ? 0 : snn_align(rows * depth * conv->element, 64);
  conv->converted_bytes = conv->quantized ? snn_align(rows * row, 64) + snn_align(rows * sizeof(int32_t), 64) : 0;
  return SNN_OK;
}

/* Scratch: input and output as NHWC where the operands are NCHW, weights that only execution knows, tiles. */
static int plan_scratch(SnnNode *node, Conv *conv, size_t packed_bytes) {
  size_t in, out, at = 0;
  SNN_CHECK(node, snn_image_count(&conv->window.in, &in) && snn_image_count(&conv->out, &out), "the image is too large");
  if (conv->window.nchw) {
    conv->nhwc_in = at;
    at += snn_align(in * conv->element, 64);
    conv->nhwc_out = at;
    at += snn_align(out * conv->element, 64);
  }
  conv->packed_at = at;
  SNN_CHECK(node, packed_bytes < SIZE_MAX / 2 - at, "the working memory is too large");
  if (!snn_weights_constant(node)) at += packed_bytes;
  conv->tiles_at = at;
  snn_scratch(node, at + conv->threads * (conv->tile_bytes + conv->converted_bytes));
  return SNN_OK;
}

/* What the packed form depends on beside the filter: the kernels, and which taps each phase of a transposed convolution has. */
static uint32_t packing_tag(const Conv *conv) {
  uint32_t tag = snn_packing_tag(conv->kernels);
  if (!conv->transposed) return tag;
  const SnnAxis *y = &conv->window.y, *x = &conv->window.x;
  const int32_t parts[] = {y->stride, y->before % y->stride, x->stride, x->before % x->stride};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) tag = (tag ^ (uint32_t)parts[i]) * 16777619u;
  return tag;
}

/* Turns the draft into the node's parameters, with the output scaling behind them, and packs the weights. */
static int build(SnnNode *node, Conv *draft) {
  size_t channels = draft->out.channels, padded = channels + draft->kernels->q_columns;
  size_t matrices, packed_bytes;
  SNN_CHECK(node, snn_size_mul(draft->phase_rows, draft->phase_columns, &matrices) && snn_size_mul(matrices, draft->groups, &matrices) &&
                      snn_size_mul(matrices, draft->packed_step, &packed_bytes),
            "the filter is too large");
  SNN_TRY(plan_scratch(node, draft, packed_bytes));
  size_t requant_at = snn_align(sizeof(Conv), 64);
  char *block = snn_params(node, requant_at + (draft->quantized ? snn_requant_bytes(padded) : 0));
  if (block == NULL) return SNN_NO_MEMORY;
  Conv *conv = (Conv *)(void *)block;
  *conv = *draft;
  if (conv->quantized) {
    bool wide = node->in[CONV_FILTER]->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
    SNN_TRY(snn_requant_fill(node, block + requant_at, channels, padded, conv->window.fuse, wide, &conv->requant));
  } else {
    SNN_TRY(snn_fused_range_float(node, conv->window.fuse, &conv->lo, &conv->hi));
  }
  if (!snn_weights_constant(node)) return SNN_OK;
  bool fresh;
  void *packed = snn_packed(node, packing_tag(conv), packed_bytes, &fresh);
  if (packed == NULL) return SNN_NO_MEMORY;
  if (fresh) pack_all(conv, node, packed);
  conv->packed = packed;
  return SNN_OK;
}

static int prepare(SnnNode *node, const SnnWindowKind *kind, Conv *conv) {
  SNN_TRY(snn_window_read(node, kind, &conv->window));
  SNN_TRY(snn_convolution_check(node, 0));
  const SnnTensor *in = node->in[CONV_INPUT], *filter = node->in[CONV_FILTER];
  conv->window.y.filter = (int32_t)filter->dims[1];
  conv->window.x.filter = (int32_t)filter->dims[2];
  conv->kernels = snn_kernels();
  conv->float_kernel = snn_float_kernel(node);
  conv->quantized = snn_is_quant8(in->type);
  conv->element = conv->quantized ? 1 : sizeof(float);
  conv->in_form = snn_stored(in);
  conv->weight_form = snn_stored(filter);
  if (filter->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) conv->weight_form.zero_point = 0;
  conv->group_in = filter->dims[3];
  conv->group_out = filter->dims[0] / conv->groups;
  uint64_t expected = (uint64_t)conv->group_in * conv->groups;
  SNN_CHECK(node, conv->window.in.channels == expected, "filter depth %u in %u group(s) does not fit %u input channels",
            conv->group_in, conv->groups, conv->window.in.channels);
  SNN_CHECK(node, filter->dims[0] % conv->groups == 0, "%u output channels do not divide into %u groups", filter->dims[0], conv->groups);
  return SNN_OK;
}

static int finish(SnnNode *node, Conv *conv) {
  const SnnAxis *y = &conv->window.y, *x = &conv->window.x;
  uint32_t channels = node->in[CONV_FILTER]->dims[0];
  conv->out = (SnnImage){conv->window.in.batch, (uint32_t)y->out, (uint32_t)x->out, channels};
  SNN_TRY(snn_set_image(node, &conv->window, channels));
  conv->phase_rows = axis_phases(conv, y);
  conv->phase_columns = axis_phases(conv, x);
  SNN_CHECK(node, (uint64_t)conv->phase_rows * conv->phase_columns <= INT32_MAX, "the filter is too large");
  conv->threads = snn_workers(node);
  SNN_TRY(plan_products(node, conv));
  return build(node, conv);
}

static int prepare_conv(SnnNode *node) {
  Conv conv = {.groups = 1};
  SNN_TRY(prepare(node, &conv_kind, &conv));
  SNN_TRY(snn_window_solve(node, &conv.window));
  return finish(node, &conv);
}

static int prepare_grouped(SnnNode *node) {
  SnnWindow window;
  SNN_TRY(snn_window_read(node, &grouped_kind, &window));
  SNN_CHECK(node, window.extra[0] > 0, "the number of groups is %d; it must be positive", (int)window.extra[0]);
  Conv conv = {.groups = (uint32_t)window.extra[0]};
  SNN_TRY(prepare(node, &grouped_kind, &conv));
  SNN_TRY(snn_window_solve(node, &conv.window));
  return finish(node, &conv);
}

static int prepare_transposed(SnnNode *node) {
  Conv conv = {.groups = 1, .transposed = true};
  SNN_TRY(prepare(node, &transposed_kind, &conv));
  if (conv.window.padding != 0) {
    const int32_t *shape;
    size_t count;
    SNN_TRY(snn_get_i32s(node, 3, &shape, &count));
    SNN_CHECK(node, count == 4, "the output shape (input 3) has %u elements; 4 expected", (unsigned)count);
    bool nchw = conv.window.nchw;
    conv.window.y.out = shape[nchw ? 2 : 1];
    conv.window.x.out = shape[nchw ? 3 : 2];
    uint32_t channels = node->in[CONV_FILTER]->dims[0];
    SNN_CHECK(node, shape[0] == (int32_t)conv.window.in.batch && shape[nchw ? 1 : 3] == (int32_t)channels,
              "the output shape (input 3) asks for batch %d and %d channels; input and filter give %u and %u", (int)shape[0],
              (int)shape[nchw ? 1 : 3], conv.window.in.batch, channels);
  }
  SNN_TRY(snn_window_solve_transposed(node, &conv.window));
  return finish(node, &conv);
}

/* --- execute --- */

/* One phase, cut into parts of positions, or of output channels where there are few positions. */
typedef struct {
  const Conv *conv;
  Phase phase;
  const char *in;
  char *out, *tiles;
  const char *packed;
  size_t count;
  size_t unit, units, parts; /* positions or output channels that stay together; how many of these; parts */
  bool by_columns;
} Job;

/* One part with its working memory. */
typedef struct {
  const Job *job;
  char *tile, *converted;
  int32_t *sums;
  uint32_t first, columns; /* of each group's output channels */
} Part;

/* Rows as they are multiplied or converted. */
typedef struct {
  const char *first;
  size_t stride;
} Rows;

static SnnSource source_of(const Job *job) {
  const Conv *conv = job->conv;
  const SnnImage *in = &conv->window.in;
  size_t pixel = (size_t)in->channels * conv->element;
  bool converts = conv->quantized && conv->kernels->q_element == 1;
  return (SnnSource){.in = job->in, .tap = (size_t)conv->group_in * conv->element, .pixel = pixel, .line = pixel * in->width,
                     .height = (int32_t)in->height, .width = (int32_t)in->width, .y = job->phase.y.steps, .x = job->phase.x.steps,
                     .fill = conv->quantized ? (uint8_t)conv->in_form.zero_point : 0, .flip = converts ? snn_flip(conv->kernels, conv->in_form) : 0};
}

/* Quantised rows are gathered right as they are converted, if bytes stay bytes. */
static Rows gather_rows(const Part *part, SnnSource source, uint32_t group, size_t p, uint32_t count) {
  const Conv *conv = part->job->conv;
  size_t depth = part->job->phase.depth;
  bool converts = conv->quantized && conv->kernels->q_element == 1;
  char *to = converts ? part->converted : part->tile;
  size_t stride = converts ? snn_converted_bytes(conv->kernels, depth) : depth * conv->element;
  source.in += group * source.tap;
  conv->kernels->gather(&source, to, stride, p, count);
  return (Rows){to, stride};
}

static void multiply_quantized(const Part *part, uint32_t group, Rows rows, SnnTile *tile) {
  const Conv *conv = part->job->conv;
  size_t depth = part->job->phase.depth, stride = snn_converted_bytes(conv->kernels, depth);
  const char *packed = part->job->packed + group * conv->packed_step;
  SnnQMatrix whole = snn_qmatrix_at(conv->kernels, packed, conv->group_out, depth, conv->weight_form);
  SnnQMatrix matrix = snn_qmatrix_part(conv->kernels, &whole, part->first, part->columns);
  int32_t *sums = matrix.row_factor ? part->sums : NULL;
  bool ready = conv->kernels->q_element == 1 && snn_flip(conv->kernels, conv->in_form) == 0 && rows.stride == stride && sums == NULL;
  if (!ready) conv->kernels->q_convert(part->converted, (const uint8_t *)rows.first, rows.stride, tile->rows, depth, conv->in_form, sums);
  SnnRequant requant = conv->requant;
  size_t first = (size_t)group * conv->group_out + part->first;
  requant.multiplier += first;
  requant.shifts += first;
  tile->a = ready ? rows.first : part->converted;
  tile->a_stride = stride;
  tile->row_sums = part->sums;
  conv->kernels->q_multiply(&matrix, &requant, tile);
}

static void multiply_float(const Part *part, uint32_t group, Rows rows, SnnTile *tile) {
  const Conv *conv = part->job->conv;
  const char *packed = part->job->packed + group * conv->packed_step;
  SnnFMatrix whole = snn_fmatrix_at(conv->kernels, packed, conv->group_out, part->job->phase.depth, conv->lo, conv->hi);
  SnnFMatrix matrix = snn_fmatrix_part(&whole, part->first, part->columns);
  tile->a = rows.first;
  tile->a_stride = rows.stride;
  conv->kernels->f_multiply[conv->float_kernel](&matrix, tile);
}

/* A 1x1 convolution reads its rows where they lie. */
static bool rows_lie_ready(const Conv *conv, const Phase *phase) {
  const SnnSteps *y = &phase->y.steps, *x = &phase->x.steps;
  return conv->groups == 1 && !conv->transposed && y->taps == 1 && x->taps == 1 && y->step == 1 && x->step == 1 && y->first == 0 &&
         x->first == 0 && y->count == conv->window.in.height && x->count == conv->window.in.width;
}

/* Positions begin..end, numbered through all batches, lines and columns of the phase. */
static void run_positions(const Part *part, size_t begin, size_t end) {
  const Job *job = part->job;
  const Conv *conv = job->conv;
  const Direction *y = &job->phase.y, *x = &job->phase.x;
  SnnSource source = source_of(job);
  size_t lines = y->steps.count, columns = x->steps.count, out_pixel = (size_t)conv->out.channels * conv->element;
  bool ready = rows_lie_ready(conv, &job->phase), even = x->out_step == 1 && y->out_step == 1;
  for (size_t p = begin; p < end;) {
    uint32_t count = (uint32_t)(end - p < conv->tile_rows ? end - p : conv->tile_rows);
    size_t column = p % columns, line = p / columns % lines, batch = p / columns / lines;
    /* Only without steps do rows of the output follow each other evenly. */
    if (!even && count > columns - column) count = (uint32_t)(columns - column);
    size_t oy = (size_t)y->start + line * (size_t)y->out_step, ox = (size_t)x->start + column * (size_t)x->out_step;
    char *out = job->out + ((batch * conv->out.height + oy) * conv->out.width + ox) * out_pixel + part->first * conv->element;
    for (uint32_t g = 0; g < conv->groups; g++) {
      Rows rows = ready ? (Rows){job->in + p * source.pixel, source.pixel} : gather_rows(part, source, g, p, count);
      SnnTile tile = {.rows = count, .out = out + (size_t)g * conv->group_out * conv->element, .out_stride = out_pixel * (size_t)x->out_step};
      if (conv->quantized) multiply_quantized(part, g, rows, &tile);
      else multiply_float(part, g, rows, &tile);
    }
    p += count;
  }
}

/* All output channels, with the memory of one worker. */
static Part part_of(const Job *job, uint32_t worker) {
  const Conv *conv = job->conv;
  char *tile = job->tiles + worker * (conv->tile_bytes + conv->converted_bytes), *converted = tile + conv->tile_bytes;
  size_t sums = snn_align(conv->tile_rows * sizeof(int32_t), 64);
  return (Part){job, tile, converted, (int32_t *)(void *)(converted + conv->converted_bytes - sums), 0, conv->group_out};
}

/* Parts [begin, end). */
static void run_parts(void *arg, uint32_t worker, size_t begin, size_t end) {
  Job *job = arg;
  const Conv *conv = job->conv;
  for (size_t i = begin; i < end; i++) {
    Part part = part_of(job, worker);
    size_t all = job->by_columns ? conv->group_out : job->count;
    size_t first = job->units * i / job->parts * job->unit, past = job->units * (i + 1) / job->parts * job->unit;
    if (past > all) past = all;
    if (job->by_columns) {
      part.first = (uint32_t)first;
      part.columns = (uint32_t)(past - first);
      first = 0, past = job->count;
    }
    run_positions(&part, first, past);
  }
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Cuts a phase into parts, as many for each thread, several so that a slow one holds nobody up, but none too small to be worth it, nor less than
 * a tile (each reads all weights): by blocks of positions, or by positions where blocks do not come out even, or by panels of output channels
 * where there are few positions. */
static void cut(const Conv *conv, Job *job) {
  enum { FOR_EACH = 4, WORTH = 1 << 19, FLOAT_WORTH = 1 << 18 }; /* parts; multiplications */
  const SnnKernels *kernels = conv->kernels;
  uint32_t height = conv->quantized ? kernels->q_rows : kernels->f_rows, heights = conv->quantized ? kernels->q_heights : kernels->f_heights;
  size_t width = conv->quantized ? kernels->q_columns : kernels->f_columns;
  uint64_t work = (uint64_t)job->count * job->phase.depth * conv->out.channels, worth = work / (conv->quantized ? WORTH : FLOAT_WORTH) + 1;
  size_t threads = worth < conv->threads ? (size_t)worth : conv->threads, each = FOR_EACH;
  size_t blocks = ceil_div(job->count, height), panels = ceil_div(conv->group_out, width);
  job->by_columns = false;
  job->unit = height;
  job->units = blocks;
  job->parts = 1;
  if (threads < 2) return;
  if (worth / threads < each) each = (size_t)worth / threads;
  if (blocks < 16 * threads) {
    /* The slowest thread's blocks of each way. */
    uint64_t by_blocks = ceil_div(blocks, threads) * snn_block_cost(height, heights) * panels;
    uint64_t evenly = snn_block_cost((uint32_t)ceil_div(job->count, threads), heights) * panels;
    uint64_t by_panels = snn_block_cost((uint32_t)job->count, heights) * ceil_div(panels, threads);
    if (evenly < by_blocks) {
      by_blocks = evenly;
      job->unit = 1;
      job->units = job->count;
      each = 1;
    }
    if (by_panels + by_panels / 16 < by_blocks) { /* all of the input is read by all: only for a gain */
      job->by_columns = true;
      job->unit = width;
      job->units = panels;
    }
  }
  size_t most = job->by_columns ? panels : job->unit == 1 ? job->count : job->count / conv->tile_rows;
  each = least(each, most / threads);
  job->parts = least(threads * (each > 0 ? each : 1), job->units);
}

/* False when the phase has no positions. */
static bool begin_phase(Job *job, const char *packed, uint32_t index) {
  const Conv *conv = job->conv;
  job->phase = phase_of(conv, index);
  job->packed = packed + (size_t)index * conv->groups * conv->packed_step;
  job->count = (size_t)conv->out.batch * job->phase.y.steps.count * job->phase.x.steps.count;
  return job->count > 0;
}

/* What positions without taps get (the bias) in all positions; those with taps are overwritten then. */
static void fill_gaps(Job *job, const char *packed) {
  const Conv *conv = job->conv;
  size_t pixel = (size_t)conv->out.channels * conv->element, all = pixel * conv->out.batch * conv->out.height * conv->out.width, done = pixel;
  for (uint32_t i = 0; i < conv->phase_rows * conv->phase_columns; i++) {
    if (!is_gap(conv, i) || !begin_phase(job, packed, i)) continue;
    Part part = part_of(job, 0);
    run_positions(&part, 0, 1);
    size_t first = ((size_t)job->phase.y.start * conv->out.width + (size_t)job->phase.x.start) * pixel;
    memmove(job->out, job->out + first, pixel);
    for (; done < all; done *= 2) memcpy(job->out + done, job->out, done < all - done ? done : all - done);
    return;
  }
}

static int execute(SnnNode *node) {
  const Conv *conv = node->params;
  char *scratch = node->scratch;
  Job job = {.conv = conv, .in = node->in[CONV_INPUT]->data, .out = node->out[0]->data, .tiles = scratch + conv->tiles_at};
  const char *packed = conv->packed;
  if (conv->window.nchw) {
    snn_nchw_to_nhwc(scratch + conv->nhwc_in, job.in, &conv->window.in, conv->element);
    job.in = scratch + conv->nhwc_in;
    job.out = scratch + conv->nhwc_out;
  }
  if (packed == NULL) {
    pack_all(conv, node, scratch + conv->packed_at);
    packed = scratch + conv->packed_at;
  }
  fill_gaps(&job, packed);
  for (uint32_t i = 0; i < conv->phase_rows * conv->phase_columns; i++) {
    if (is_gap(conv, i) || !begin_phase(&job, packed, i)) continue;
    cut(conv, &job);
    snn_parallel_by_worker(node, job.parts, 1, run_parts, &job);
  }
  if (conv->window.nchw) snn_nhwc_to_nchw(node->out[0]->data, job.out, &conv->out, conv->element);
  return SNN_OK;
}

const SnnOperation snn_convolution_operations[] = {
    SNN_RECORD(CONV_2D, 1, validate_conv, prepare_conv, execute, SNN_F16_BY_F32)
    SNN_RECORD(DEPTHWISE_CONV_2D, 1, snn_depthwise_validate, snn_depthwise_prepare, snn_depthwise_execute, SNN_F16_BY_F32)
    SNN_RECORD(GROUPED_CONV_2D, 3, validate_grouped, prepare_grouped, execute, SNN_F16_BY_F32)
    SNN_RECORD(TRANSPOSE_CONV_2D, 3, validate_transposed, prepare_transposed, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
