/* PAD, PAD_V2: a constant around a tensor. MIRROR_PAD: its own edge, mirrored. */
#include "../numeric.h"
#include "../shape.h"

#include <string.h>

/* The [rank, 2] paddings, checked, with the padded shape. */
static int read_paddings(SnnNode *node, uint32_t before[SNN_MAX_RANK], uint32_t after[SNN_MAX_RANK],
                         uint32_t dims[SNN_MAX_RANK]) {
  const SnnTensor *in = node->in[0], *paddings = node->in[1];
  const int32_t *values;
  size_t count;
  SNN_CHECK(node, paddings->rank == 2 && paddings->dims[0] == in->rank && paddings->dims[1] == 2,
            "the paddings of a tensor of rank %u are not [%u, 2]", in->rank, in->rank);
  SNN_TRY(snn_get_i32s(node, 1, &values, &count));
  for (uint32_t d = 0; d < in->rank; d++) {
    SNN_CHECK(node, values[2 * d] >= 0 && values[2 * d + 1] >= 0, "paddings %d and %d of dimension %u are not both positive",
              values[2 * d], values[2 * d + 1], d);
    before[d] = (uint32_t)values[2 * d];
    after[d] = (uint32_t)values[2 * d + 1];
    uint64_t padded = (uint64_t)before[d] + in->dims[d] + after[d];
    SNN_CHECK(node, padded <= UINT32_MAX, "dimension %u becomes too large", d);
    dims[d] = (uint32_t)padded;
  }
  return SNN_OK;
}

static int validate_operands(SnnNode *node, const SnnTypeLevel *levels, const char *inputs, uint32_t most_rank) {
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, inputs, "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, most_rank) || !snn_check_rank(node, node->in[1], "the paddings", 2, 2))
    return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return level;
}

/* --- PAD, PAD_V2 --- */

typedef struct {
  SnnMove move;
  bool bare; /* no padding at all: nothing to fill */
  size_t element;
  uint8_t value[8];
} Pad;

static int pad_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(2), SNN_NO_TYPE};
  int level = validate_operands(node, levels, "TI", 4);
  /* Level 2 left the padding value of a tensor with a zero point undefined. */
  if (level == 2 && node->in[0]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM && node->in[0]->zero_point != 0) return 3;
  return level;
}

static int pad_v2_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  bool quantised = node->n_in > 0 && snn_is_quant8(node->in[0]->type);
  return validate_operands(node, levels, quantised ? "TIi" : "TIf", 4);
}

static int prepare_move(SnnNode *node, const uint8_t value[8]) {
  const SnnTensor *in = node->in[0];
  uint32_t before[SNN_MAX_RANK], after[SNN_MAX_RANK], dims[SNN_MAX_RANK];
  ptrdiff_t from[SNN_MAX_RANK], to[SNN_MAX_RANK];
  if (!snn_check_rank(node, in, "the input", 1, 4)) return SNN_BAD;
  SNN_TRY(read_paddings(node, before, after, dims));
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  Pad *pad = snn_params(node, sizeof(*pad));
  if (!pad) return SNN_NO_MEMORY;
  pad->element = snn_element_size(in->type);
  memcpy(pad->value, value, sizeof(pad->value));
  pad->bare = true;
  snn_strides(in->rank, in->dims, from);
  snn_strides(in->rank, dims, to);
  for (uint32_t d = 0; d < in->rank; d++) {
    pad->bare &= before[d] == 0 && after[d] == 0;
    pad->move.to_start += (ptrdiff_t)before[d] * to[d];
    snn_move_dim(&pad->move, in->dims[d], from[d], to[d]);
  }
  snn_move_finish(&pad->move, pad->element);
  return SNN_OK;
}

static int pad_prepare(SnnNode *node) {
  uint8_t value[8];
  snn_zero_element(node->in[0], value);
  return prepare_move(node, value);
}

static int pad_v2_prepare(SnnNode *node) {
  uint8_t value[8] = {0};
  const SnnTensor *in = node->in[0];
  if (snn_is_quant8(in->type)) {
    int32_t stored, lo, hi;
    SNN_TRY(snn_get_i32(node, 2, &stored));
    snn_quantized_limits(in->type, &lo, &hi);
    SNN_CHECK(node, stored >= lo && stored <= hi, "the value %d does not fit %s", stored, snn_type_name(in->type));
    value[0] = (uint8_t)stored;
  } else {
    if (!node->in[2]->data) return SNN_NEEDS_DATA;
    memcpy(value, node->in[2]->data, snn_element_size(in->type));
  }
  return prepare_move(node, value);
}

static int pad_execute(SnnNode *node) {
  const Pad *pad = node->params;
  const SnnTensor *out = node->out[0];
  if (!pad->bare) snn_fill(out->data, snn_product(out->dims, 0, out->rank), pad->value, pad->element);
  snn_move(node, &pad->move, node->in[0]->data, out->data);
  return SNN_OK;
}

/* --- MIRROR_PAD --- */

enum { REFLECT = 0, SYMMETRIC = 1 }; /* without and with the edge itself */

typedef struct {
  uint32_t before[SNN_MAX_RANK];
  int32_t mode;
} Mirror;

static int mirror_pad_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(7), {ANEURALNETWORKS_TENSOR_INT32, 7}, SNN_NO_TYPE};
  return validate_operands(node, levels, "TIi", SNN_MAX_RANK);
}

static int mirror_pad_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  uint32_t after[SNN_MAX_RANK], dims[SNN_MAX_RANK];
  Mirror mirror;
  SNN_TRY(snn_get_i32(node, 2, &mirror.mode));
  SNN_CHECK(node, mirror.mode == REFLECT || mirror.mode == SYMMETRIC, "mode %d is neither REFLECT (0) nor SYMMETRIC (1)",
            mirror.mode);
  SNN_TRY(read_paddings(node, mirror.before, after, dims));
  for (uint32_t d = 0; d < in->rank; d++) {
    int64_t most = (int64_t)in->dims[d] - (mirror.mode == REFLECT);
    SNN_CHECK(node, mirror.before[d] <= most && after[d] <= most, "paddings %u and %u of dimension %u exceed %lld",
              mirror.before[d], after[d], d, (long long)most);
  }
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  Mirror *params = snn_params(node, sizeof(*params));
  if (!params) return SNN_NO_MEMORY;
  *params = mirror;
  return SNN_OK;
}

/* The input index behind an output index of one dimension. */
static uint32_t mirrored(uint32_t index, uint32_t before, uint32_t size, int32_t mode) {
  uint32_t skip = mode == REFLECT;
  if (index < before) return before - 1 - index + skip;
  index -= before;
  if (index < size) return index;
  return 2 * size - 1 - index - skip;
}

static int mirror_pad_execute(SnnNode *node) {
  const Mirror *mirror = node->params;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  size_t element = snn_element_size(in->type), inner = in->rank - 1;
  uint32_t index[SNN_MAX_RANK] = {0}, size = in->dims[inner], before = mirror->before[inner];
  ptrdiff_t strides[SNN_MAX_RANK];
  snn_strides(in->rank, in->dims, strides);
  uint8_t *to = out->data;
  do {
    const uint8_t *row = in->data;
    for (uint32_t d = 0; d < inner; d++) {
      row += (ptrdiff_t)(mirrored(index[d], mirror->before[d], in->dims[d], mirror->mode)) * strides[d] * (ptrdiff_t)element;
    }
    for (uint32_t i = 0; i < out->dims[inner]; i++, to += element) {
      bool middle = i >= before && i - before < size;
      memcpy(to, row + (middle ? i - before : mirrored(i, before, size, mirror->mode)) * element, element);
    }
  } while (snn_next_index((uint32_t)inner, out->dims, index));
  return SNN_OK;
}

const SnnOperation snn_pad_operations[] = {
    SNN_RECORD(PAD, 2, pad_validate, pad_prepare, pad_execute, 0)
    SNN_RECORD(PAD_V2, 3, pad_v2_validate, pad_v2_prepare, pad_execute, 0)
    SNN_RECORD(MIRROR_PAD, 7, mirror_pad_validate, mirror_pad_prepare, mirror_pad_execute, 0)
    {0},
};
