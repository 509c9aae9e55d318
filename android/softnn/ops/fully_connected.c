/* FULLY_CONNECTED: the input flattened to [batch, input size] times the transposed weights. */
#include "../numeric.h"
#include "../shape.h"
#include "convolution.h"

enum { INPUT, WEIGHTS, BIAS, FUSE };

typedef struct {
  const SnnKernels *kernels;
  bool quantized;
  int float_kernel;
  uint32_t batch, units, depth, tile_rows;
  SnnStored in_form, weight_form;
  SnnRequant requant;
  float lo, hi;
  const void *packed; /* NULL while the weights are not constant */
  size_t converted_at, sums_at; /* in the scratch memory, after the packed weights */
} FullyConnected;

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
  SnnWeights weights = {.base = node->in[WEIGHTS]->data, .stride_n = fc->depth, .stride_c = 1, .n = fc->units, .ny = 1, .nx = 1, .nc = fc->depth};
  const void *bias = node->in[BIAS]->data;
  if (fc->quantized) snn_qmatrix_pack(fc->kernels, packed, &weights, fc->weight_form, fc->in_form, bias);
  else snn_fmatrix_pack(fc->kernels, packed, &weights, bias, fc->lo, fc->hi);
}

/* The parameters with the output scaling behind them; packs the weights. */
static int build(SnnNode *node, const FullyConnected *draft) {
  bool constant = snn_weights_constant(node);
  size_t padded = draft->units + (size_t)draft->kernels->q_columns, packed_bytes;
  bool fits = draft->quantized ? snn_qmatrix_bytes(draft->kernels, draft->units, draft->depth, &packed_bytes)
                               : snn_fmatrix_bytes(draft->kernels, draft->units, draft->depth, &packed_bytes);
  SNN_CHECK(node, fits && packed_bytes < SIZE_MAX / 4, "the weights are too large");
  size_t requant_at = snn_align(sizeof(FullyConnected), 64);
  char *block = snn_params(node, requant_at + (draft->quantized ? snn_requant_bytes(padded) : 0));
  if (block == NULL) return SNN_NO_MEMORY;
  FullyConnected *fc = (FullyConnected *)(void *)block;
  *fc = *draft;
  int32_t fuse;
  SNN_TRY(snn_get_i32(node, FUSE, &fuse));
  if (fc->quantized) SNN_TRY(snn_requant_fill(node, block + requant_at, fc->units, padded, fuse, false, &fc->requant));
  else SNN_TRY(snn_fused_range_float(node, fuse, &fc->lo, &fc->hi));
  fc->converted_at = constant ? 0 : packed_bytes;
  size_t row = snn_converted_bytes(fc->kernels, fc->depth);
  fc->sums_at = fc->converted_at + (fc->quantized ? snn_align(fc->tile_rows * row, 64) : 0);
  snn_scratch(node, fc->sums_at + fc->tile_rows * sizeof(int32_t));
  if (!constant) return SNN_OK;
  bool fresh;
  void *packed = snn_packed(node, snn_packing_tag(fc->kernels), packed_bytes, &fresh);
  if (packed == NULL) return SNN_NO_MEMORY;
  if (fresh) pack(node, fc, packed);
  fc->packed = packed;
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
  SNN_CHECK(node, depth <= UINT32_MAX / 16 / fc.tile_rows, "the weights are too large");
  uint32_t shape[2] = {fc.batch, units};
  SNN_TRY(snn_set_shape(node, 0, 2, shape));
  return build(node, &fc);
}

static void multiply_quantized(const SnnNode *node, const FullyConnected *fc, const void *packed) {
  char *converted = (char *)node->scratch + fc->converted_at;
  int32_t *sums = (int32_t *)(void *)((char *)node->scratch + fc->sums_at);
  size_t stride = snn_converted_bytes(fc->kernels, fc->depth);
  SnnQMatrix matrix = snn_qmatrix_at(fc->kernels, packed, fc->units, fc->depth, fc->weight_form);
  const uint8_t *in = node->in[INPUT]->data;
  uint8_t *out = node->out[0]->data;
  for (uint32_t row = 0; row < fc->batch; row += fc->tile_rows) {
    uint32_t rows = fc->batch - row < fc->tile_rows ? fc->batch - row : fc->tile_rows;
    fc->kernels->q_convert(converted, in + (size_t)row * fc->depth, rows, fc->depth, fc->in_form, matrix.row_factor ? sums : NULL);
    SnnTile tile = {converted, stride, rows, sums, out + (size_t)row * fc->units, fc->units};
    fc->kernels->q_multiply(&matrix, &fc->requant, &tile);
  }
}

static int execute(SnnNode *node) {
  const FullyConnected *fc = node->params;
  const void *packed = fc->packed;
  if (packed == NULL) {
    pack(node, fc, node->scratch);
    packed = node->scratch;
  }
  if (fc->quantized) {
    multiply_quantized(node, fc, packed);
    return SNN_OK;
  }
  SnnFMatrix matrix = snn_fmatrix_at(fc->kernels, packed, fc->units, fc->depth, fc->lo, fc->hi);
  SnnTile tile = {node->in[INPUT]->data, fc->depth * sizeof(float), fc->batch, NULL, node->out[0]->data, fc->units * sizeof(float)};
  fc->kernels->f_multiply[fc->float_kernel](&matrix, &tile);
  return SNN_OK;
}

const SnnOperation snn_fully_connected_operations[] = {
    {ANEURALNETWORKS_FULLY_CONNECTED, "FULLY_CONNECTED", 1, validate, prepare, execute, SNN_F16_BY_F32},
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
