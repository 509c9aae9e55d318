/* FULLY_CONNECTED: the input flattened to [batch, input size] times the transposed weights.
 *
 * Quantised sums are scaled in double and rounded half away from zero, as TFLite's reference kernel does here and nowhere else. */
#include "../numeric.h"
#include "../shape.h"
#include "convolution.h"

enum { INPUT, WEIGHTS, BIAS, FUSE };

/* How quantised sums become results. */
typedef struct {
  double scale;
  int32_t zero_point, low, high;
} Scaling;

typedef struct {
  const SnnKernels *kernels;
  bool quantized;
  int float_kernel;
  uint32_t batch, units, depth, tile_rows;
  SnnStored in_form, weight_form;
  Scaling scaling;
  float lo, hi;
  const void *packed; /* NULL while the weights are not constant */
  size_t converted_at, sums_at, products_at; /* in the scratch memory, after the packed weights */
} FullyConnected;

/* Quantised, one unit: a panel would be mostly padding, so the weights are used where they lie. There may be thousands of these, one for
 * each unit of a layer. */
typedef struct {
  const SnnKernels *kernels;
  Scaling scaling;
  SnnStored in_form, weight_form;
  uint32_t batch, depth;
} Dot;

static bool is_dot(const SnnNode *node) { return snn_is_quant8(node->in[INPUT]->type) && node->in[WEIGHTS]->dims[0] == 1; }

static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                     {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4}, SNN_NO_TYPE};

static int validate(SnnNode *node) {
  int level = snn_type_level(node, INPUT, types);
  if (level < 0) return SNN_INVALID;
  int32_t type = node->in[INPUT]->type;
  if (!snn_signature(node, type, snn_is_quant8(type) ? "TTIi" : "TTTi", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[INPUT], "input 0", 2, 4) || !snn_check_rank(node, node->in[WEIGHTS], "weights", 2, 2) ||
      !snn_check_rank(node, node->in[BIAS], "bias", 1, 1)) {
    return SNN_INVALID;
  }
  const SnnTensor *weights = node->in[WEIGHTS], *bias = node->in[BIAS];
  if (weights->rank_known && bias->rank_known && weights->dims[0] != 0 && bias->dims[0] != 0) {
    SNN_REQUIRE(node, weights->dims[0] == bias->dims[0], "bias has %u elements for %u units", bias->dims[0], weights->dims[0]);
  }
  bool fine = type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM && node->out[0]->scale <= node->in[INPUT]->scale * weights->scale;
  return fine ? 3 : level;
}

static void pack(const SnnNode *node, const FullyConnected *fc, void *packed) {
  SnnWeights weights = {.base = node->in[WEIGHTS]->data, .stride_n = fc->depth, .stride_c = 1, .n = fc->units, .ny = 1, .nx = 1, .nc = fc->depth,
                        .packed = snn_constant_packed, .node = node};
  const void *bias = node->in[BIAS]->data;
  if (fc->quantized) snn_qmatrix_pack(fc->kernels, packed, &weights, fc->weight_form, fc->in_form, bias);
  else snn_fmatrix_pack(fc->kernels, packed, &weights, bias, fc->lo, fc->hi);
}

static int read_scaling(SnnNode *node, int32_t fuse, Scaling *scaling) {
  const SnnTensor *out = node->out[0];
  scaling->scale = (double)node->in[INPUT]->scale * (double)node->in[WEIGHTS]->scale / (double)out->scale;
  scaling->zero_point = out->zero_point;
  return snn_fused_range(node, fuse, out, &scaling->low, &scaling->high);
}

static int build_dot(SnnNode *node, const FullyConnected *fc) {
  Dot *dot = snn_params(node, sizeof *dot);
  if (dot == NULL) return SNN_NO_MEMORY;
  *dot = (Dot){fc->kernels, fc->scaling, fc->in_form, fc->weight_form, fc->batch, fc->depth};
  return SNN_OK;
}

/* Sizes of scratch, the parameters, packed weights. */
static int build(SnnNode *node, FullyConnected *fc) {
  bool constant = snn_weights_constant(node);
  size_t packed_bytes;
  int32_t fuse;
  SNN_TRY(snn_get_i32(node, FUSE, &fuse));
  SNN_TRY(fc->quantized ? read_scaling(node, fuse, &fc->scaling) : snn_fused_range_float(node, fuse, &fc->lo, &fc->hi));
  if (is_dot(node)) return build_dot(node, fc);
  bool fits = fc->quantized ? snn_qmatrix_bytes(fc->kernels, fc->units, fc->depth, &packed_bytes)
                            : snn_fmatrix_bytes(fc->kernels, fc->units, fc->depth, &packed_bytes);
  SNN_CHECK(node, fits && packed_bytes < SIZE_MAX / 4, "the weights are too large");
  fc->converted_at = constant ? 0 : packed_bytes;
  fc->sums_at = fc->converted_at + (fc->quantized ? snn_align(fc->tile_rows * snn_converted_bytes(fc->kernels, fc->depth), 64) : 0);
  fc->products_at = fc->sums_at + snn_align(fc->tile_rows * sizeof(int32_t), 64);
  snn_scratch(node, fc->products_at + (fc->quantized ? (size_t)fc->tile_rows * fc->units * sizeof(int32_t) : 0));
  if (constant) {
    bool fresh;
    void *packed = snn_packed(node, snn_packing_tag(fc->kernels), packed_bytes, &fresh);
    if (packed == NULL) return SNN_NO_MEMORY;
    if (fresh) pack(node, fc, packed);
    fc->packed = packed;
  }
  FullyConnected *params = snn_params(node, sizeof *params);
  if (params == NULL) return SNN_NO_MEMORY;
  *params = *fc;
  return SNN_OK;
}

static int prepare(SnnNode *node) {
  const SnnTensor *in = node->in[INPUT], *weights = node->in[WEIGHTS], *bias = node->in[BIAS];
  SNN_CHECK(node, in->rank >= 2 && in->rank <= 4, "input 0 has rank %u; 2 to 4 expected", in->rank);
  SNN_CHECK(node, weights->rank == 2 && bias->rank == 1, "weights have rank %u, bias rank %u; 2 and 1 expected", weights->rank, bias->rank);
  uint32_t units = weights->dims[0], depth = weights->dims[1];
  SNN_CHECK(node, units > 0 && depth > 0, "weights are [%u, %u]; neither may be empty", units, depth);
  SNN_CHECK(node, bias->dims[0] == units, "bias has %u elements for %u units", bias->dims[0], units);
  size_t count;
  SNN_CHECK(node, snn_count(in, &count), "input 0 is too large");
  SNN_CHECK(node, count % depth == 0, "input 0 has %u elements, which is no multiple of the weights' %u", (unsigned)count, depth);
  FullyConnected fc = {.kernels = snn_kernels(), .float_kernel = snn_float_kernel(node), .quantized = snn_is_quant8(in->type), .batch = (uint32_t)(count / depth), .units = units,
                       .depth = depth, .in_form = snn_stored(in), .weight_form = snn_stored(weights)};
  if (fc.quantized) {
    double product = in->scale * weights->scale, difference = fabs(product - (double)bias->scale);
    SNN_CHECK(node, difference <= 1e-6 * fmin(product, (double)bias->scale), "bias scale %.9g is not input scale * weight scale = %.9g",
              (double)bias->scale, product);
  }
  fc.tile_rows = fc.batch < 4 * fc.kernels->q_rows ? fc.batch : 4 * fc.kernels->q_rows;
  if (fc.tile_rows == 0) fc.tile_rows = 1;
  SNN_CHECK(node, depth <= UINT32_MAX / 16 / fc.tile_rows && units <= UINT32_MAX / 16 / fc.tile_rows, "the weights are too large");
  uint32_t shape[2] = {fc.batch, units};
  SNN_TRY(snn_set_shape(node, 0, 2, shape));
  return build(node, &fc);
}

/* --- execute: threads share the units --- */

typedef struct {
  const FullyConnected *fc;
  SnnQMatrix whole;
  SnnFMatrix float_whole;
  SnnTile tile; /* of all units; quantised: int32 products */
  uint8_t *out;
} Job;

/* round-half-away(sum * scale) + zero point, clamped. */
static uint8_t finish(const Scaling *scaling, int32_t sum) {
  double real = sum * scaling->scale, whole = trunc(real), rest = real - whole;
  whole += (rest >= 0.5) - (rest <= -0.5) + scaling->zero_point;
  return (uint8_t)(int32_t)(whole < scaling->low ? scaling->low : whole > scaling->high ? scaling->high : whole);
}

static void run_quantized(const Job *job, uint32_t first, uint32_t count) {
  const FullyConnected *fc = job->fc;
  SnnQMatrix matrix = snn_qmatrix_part(fc->kernels, &job->whole, first, count);
  SnnTile tile = job->tile;
  int32_t *products = (int32_t *)tile.out + first;
  tile.out = products;
  fc->kernels->q_multiply(&matrix, NULL, &tile);
  for (uint32_t row = 0; row < tile.rows; row++) {
    size_t start = (size_t)row * fc->units;
    for (uint32_t i = 0; i < count; i++) job->out[start + first + i] = finish(&fc->scaling, products[start + i]);
  }
}

static void run_float(const Job *job, uint32_t first, uint32_t count) {
  SnnFMatrix matrix = snn_fmatrix_part(&job->float_whole, first, count);
  SnnTile tile = job->tile;
  tile.out = (float *)tile.out + first;
  job->fc->kernels->f_multiply[job->fc->float_kernel](&matrix, &tile);
}

static uint32_t panel_width(const FullyConnected *fc) { return fc->quantized ? fc->kernels->q_columns : fc->kernels->f_columns; }

static void run_panels(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  size_t width = panel_width(job->fc), first = begin * width, past = end * width, units = job->fc->units;
  uint32_t count = (uint32_t)((past < units ? past : units) - first);
  if (job->fc->quantized) run_quantized(job, (uint32_t)first, count);
  else run_float(job, (uint32_t)first, count);
}

static void share_units(SnnNode *node, Job *job) {
  enum { WORTH = 1 << 18 }; /* multiplications that are worth a slice */
  const FullyConnected *fc = job->fc;
  uint32_t width = panel_width(fc);
  uint64_t panel = (uint64_t)job->tile.rows * width * fc->depth;
  snn_parallel(node, ((size_t)fc->units + width - 1) / width, (size_t)(WORTH / (panel + 1)) + 1, run_panels, job);
}

static void execute_quantized(SnnNode *node, const FullyConnected *fc, const void *packed) {
  char *scratch = node->scratch, *converted = scratch + fc->converted_at;
  int32_t *sums = (int32_t *)(void *)(scratch + fc->sums_at);
  Job job = {.fc = fc, .whole = snn_qmatrix_at(fc->kernels, packed, fc->units, fc->depth, fc->weight_form), .out = node->out[0]->data};
  const uint8_t *in = node->in[INPUT]->data;
  for (uint32_t row = 0; row < fc->batch; row += fc->tile_rows) {
    uint32_t rows = fc->batch - row < fc->tile_rows ? fc->batch - row : fc->tile_rows;
    fc->kernels->q_convert(converted, in + (size_t)row * fc->depth, fc->depth, rows, fc->depth, fc->in_form, job.whole.row_factor ? sums : NULL);
    job.tile = (SnnTile){converted, snn_converted_bytes(fc->kernels, fc->depth), rows, sums, scratch + fc->products_at,
                         fc->units * sizeof(int32_t)};
    share_units(node, &job);
    job.out += (size_t)rows * fc->units;
  }
}

static void execute_dot(SnnNode *node, const Dot *dot) {
  const uint8_t *in = node->in[INPUT]->data, *weights = node->in[WEIGHTS]->data;
  uint8_t *out = node->out[0]->data;
  int32_t bias = *(const int32_t *)node->in[BIAS]->data;
  for (uint32_t row = 0; row < dot->batch; row++) {
    int32_t sum = dot->kernels->q_dot(in + (size_t)row * dot->depth, dot->in_form, weights, dot->weight_form, dot->depth);
    out[row] = finish(&dot->scaling, (int32_t)((uint32_t)sum + (uint32_t)bias));
  }
}

static int execute(SnnNode *node) {
  if (is_dot(node)) {
    execute_dot(node, node->params);
    return SNN_OK;
  }
  const FullyConnected *fc = node->params;
  const void *packed = fc->packed;
  if (packed == NULL) {
    pack(node, fc, node->scratch);
    packed = node->scratch;
  }
  if (fc->quantized) {
    execute_quantized(node, fc, packed);
    return SNN_OK;
  }
  Job job = {.fc = fc, .float_whole = snn_fmatrix_at(fc->kernels, packed, fc->units, fc->depth, fc->lo, fc->hi)};
  job.tile = (SnnTile){node->in[INPUT]->data, fc->depth * sizeof(float), fc->batch, NULL, node->out[0]->data, fc->units * sizeof(float)};
  share_units(node, &job);
  return SNN_OK;
}

const SnnOperation snn_fully_connected_operations[] = {
    SNN_RECORD(FULLY_CONNECTED, 1, validate, prepare, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
