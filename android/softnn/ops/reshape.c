/* RESHAPE, SQUEEZE, EXPAND_DIMS: the same bytes under another shape. RANK, FILL: shapes as data. */
#include "../shape.h"

#include <string.h>

/* --- the same bytes --- */

static int copy_execute(SnnNode *node) {
  const SnnTensor *in = node->in[0], *out = node->out[0];
  size_t bytes = snn_product(in->dims, 0, in->rank) * snn_element_size(in->type);
  if (out->data != in->data && bytes > 0) memcpy(out->data, in->data, bytes);
  return SNN_OK;
}

static int reshape_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(1), {ANEURALNETWORKS_TENSOR_INT32, 6}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TI", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4) || !snn_check_rank(node, node->in[1], "the shape", 1, 1))
    return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return level;
}

static int reshape_prepare(SnnNode *node) {
  const int32_t *shape;
  size_t count, elements;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4) || !snn_check_rank(node, node->in[1], "the shape", 1, 1))
    return SNN_BAD;
  SNN_CHECK(node, snn_count(node->in[0], &elements), "the input is too large");
  SNN_TRY(snn_get_i32s(node, 1, &shape, &count));
  SNN_CHECK(node, count >= 1 && count <= SNN_MAX_RANK, "the new rank %zu is not 1 to %d", count, SNN_MAX_RANK);
  uint32_t dims[SNN_MAX_RANK];
  uint64_t product = 1;
  int stretched = -1;
  for (size_t i = 0; i < count; i++) {
    SNN_CHECK(node, shape[i] >= -1, "dimension %zu is %d", i, shape[i]);
    if (shape[i] == -1) {
      SNN_CHECK(node, stretched < 0, "dimensions %d and %zu are both -1", stretched, i);
      stretched = (int)i;
      continue;
    }
    dims[i] = (uint32_t)shape[i];
    product *= dims[i];
    SNN_CHECK(node, product <= UINT32_MAX, "the new shape is too large");
  }
  if (stretched >= 0) {
    SNN_CHECK(node, product > 0 && elements % product == 0, "%zu elements do not divide into %llu", elements,
              (unsigned long long)product);
    dims[stretched] = (uint32_t)(elements / product);
    product *= dims[stretched];
  }
  SNN_CHECK(node, product == elements, "%zu elements do not fit a shape of %llu", elements, (unsigned long long)product);
  return snn_set_shape(node, 0, (uint32_t)count, dims);
}

static int squeeze_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(2), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TI~", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4)) return SNN_INVALID;
  if (snn_present(node->in[1]) && !snn_check_rank(node, node->in[1], "the list of dimensions", 1, 1)) return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return level;
}

static int squeeze_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  bool squeezed[SNN_MAX_RANK] = {false};
  if (!snn_check_rank(node, in, "the input", 1, 4)) return SNN_BAD;
  if (snn_present(node->in[1])) {
    const int32_t *list;
    size_t count;
    SNN_TRY(snn_get_i32s(node, 1, &list, &count));
    for (size_t i = 0; i < count; i++) {
      uint32_t axis;
      if (!snn_axis(node, list[i], in->rank, &axis)) return SNN_BAD;
      SNN_CHECK(node, in->dims[axis] == 1, "dimension %u is %u, not 1", axis, in->dims[axis]);
      squeezed[axis] = true;
    }
  } else {
    for (uint32_t i = 0; i < in->rank; i++) squeezed[i] = in->dims[i] == 1;
  }
  uint32_t dims[SNN_MAX_RANK] = {1}, rank = 0;
  for (uint32_t i = 0; i < in->rank; i++) {
    if (!squeezed[i]) dims[rank++] = in->dims[i];
  }
  /* NNAPI has no tensor of rank 0: when everything goes, [1] stays. */
  return snn_set_shape(node, 0, rank > 0 ? rank : 1, dims);
}

static int expand_dims_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Ti", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK - 1)) return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return level;
}

static int expand_dims_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t value;
  uint32_t axis, dims[SNN_MAX_RANK];
  if (!snn_check_rank(node, in, "the input", 1, SNN_MAX_RANK - 1)) return SNN_BAD;
  SNN_TRY(snn_get_i32(node, 1, &value));
  if (!snn_axis(node, value, in->rank + 1, &axis)) return SNN_BAD;
  for (uint32_t d = 0, from = 0; d <= in->rank; d++) dims[d] = d == axis ? 1 : in->dims[from++];
  return snn_set_shape(node, 0, in->rank + 1, dims);
}

/* --- shapes as data --- */

static int rank_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 4},
                                        {ANEURALNETWORKS_TENSOR_FLOAT16, 4},
                                        {ANEURALNETWORKS_TENSOR_INT32, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT16_SYMM, 4},
                                        {ANEURALNETWORKS_TENSOR_BOOL8, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT16_ASYMM, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_SYMM, 4},
                                        SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  return level < 0 || !snn_signature(node, node->in[0]->type, "T", "i") ? SNN_INVALID : level;
}

static int rank_prepare(SnnNode *node) { return snn_set_shape(node, 0, 0, NULL); }

static int rank_execute(SnnNode *node) {
  int32_t rank = (int32_t)node->in[0]->rank;
  memcpy(node->out[0]->data, &rank, sizeof(rank));
  return SNN_OK;
}

static int fill_validate(SnnNode *node) {
  if (!snn_signature(node, -1, "I*", "*")) return SNN_INVALID;
  int32_t scalar = node->in[1]->type, tensor = node->out[0]->type;
  bool fits = (scalar == ANEURALNETWORKS_FLOAT32 && tensor == ANEURALNETWORKS_TENSOR_FLOAT32) ||
              (scalar == ANEURALNETWORKS_FLOAT16 && tensor == ANEURALNETWORKS_TENSOR_FLOAT16) ||
              (scalar == ANEURALNETWORKS_INT32 && tensor == ANEURALNETWORKS_TENSOR_INT32);
  SNN_REQUIRE(node, fits, "a value of %s does not fill a %s", snn_type_name(scalar), snn_type_name(tensor));
  return snn_check_rank(node, node->in[0], "the list of dimensions", 1, 1) ? 4 : SNN_INVALID;
}

static int fill_prepare(SnnNode *node) {
  const int32_t *list;
  size_t count;
  uint32_t dims[SNN_MAX_RANK];
  if (!snn_check_rank(node, node->in[0], "the list of dimensions", 1, 1)) return SNN_BAD;
  SNN_TRY(snn_get_i32s(node, 0, &list, &count));
  SNN_CHECK(node, count >= 1 && count <= SNN_MAX_RANK, "rank %zu is not 1 to %d", count, SNN_MAX_RANK);
  for (size_t i = 0; i < count; i++) {
    SNN_CHECK(node, list[i] >= 0, "dimension %zu is %d", i, list[i]);
    dims[i] = (uint32_t)list[i];
  }
  return snn_set_shape(node, 0, (uint32_t)count, dims);
}

static int fill_execute(SnnNode *node) {
  const SnnTensor *out = node->out[0];
  snn_fill(out->data, snn_product(out->dims, 0, out->rank), node->in[1]->data, snn_element_size(out->type));
  return SNN_OK;
}

const SnnOperation snn_reshape_operations[] = {
    SNN_RECORD(RESHAPE, 1, reshape_validate, reshape_prepare, copy_execute, SNN_IN_PLACE)
    SNN_RECORD(SQUEEZE, 2, squeeze_validate, squeeze_prepare, copy_execute, SNN_IN_PLACE | SNN_ALLOW_OMITTED)
    SNN_RECORD(EXPAND_DIMS, 3, expand_dims_validate, expand_dims_prepare, copy_execute, SNN_IN_PLACE)
    SNN_RECORD(RANK, 4, rank_validate, rank_prepare, rank_execute, SNN_ALLOW_ZERO_SIZED)
    SNN_RECORD(FILL, 4, fill_validate, fill_prepare, fill_execute, 0)
    {0},
};
