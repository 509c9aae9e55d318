/* TRANSPOSE, REVERSE. */
#include "../shape.h"

static int transpose_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(2), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TI~", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4)) return SNN_INVALID;
  if (snn_present(node->in[1]) && !snn_check_rank(node, node->in[1], "the permutation", 1, 1)) return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int transpose_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  uint32_t from[SNN_MAX_RANK], dims[SNN_MAX_RANK]; /* from[d]: the input dimension that becomes d */
  if (!snn_check_rank(node, in, "the input", 1, 4)) return SNN_BAD;
  if (snn_present(node->in[1])) {
    const int32_t *permutation;
    size_t count;
    bool taken[SNN_MAX_RANK] = {false};
    SNN_TRY(snn_get_i32s(node, 1, &permutation, &count));
    SNN_CHECK(node, count == in->rank, "a permutation of %zu does not fit rank %u", count, in->rank);
    for (uint32_t d = 0; d < in->rank; d++) {
      SNN_CHECK(node, permutation[d] >= 0 && (uint32_t)permutation[d] < in->rank && !taken[permutation[d]],
                "%d at %u makes the permutation wrong for rank %u", permutation[d], d, in->rank);
      from[d] = (uint32_t)permutation[d];
      taken[from[d]] = true;
    }
  } else {
    for (uint32_t d = 0; d < in->rank; d++) from[d] = in->rank - 1 - d;
  }
  for (uint32_t d = 0; d < in->rank; d++) dims[d] = in->dims[from[d]];
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t source[SNN_MAX_RANK], target[SNN_MAX_RANK];
  snn_strides(in->rank, in->dims, source);
  snn_strides(in->rank, dims, target);
  for (uint32_t d = 0; d < in->rank; d++) snn_move_dim(move, dims[d], source[from[d]], target[d]);
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

static int reverse_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(7), {ANEURALNETWORKS_TENSOR_INT32, 7}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TI", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 8) || !snn_check_rank(node, node->in[1], "the axis", 1, 1))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int reverse_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  const int32_t *axis;
  size_t count;
  SNN_TRY(snn_get_i32s(node, 1, &axis, &count));
  SNN_CHECK(node, count == 1, "%zu axes are not one", count);
  SNN_CHECK(node, *axis >= 0 && (uint32_t)*axis < in->rank, "axis %d lies outside 0 to %u", *axis, in->rank - 1);
  SNN_TRY(snn_set_shape_like(node, 0, in));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t strides[SNN_MAX_RANK];
  snn_strides(in->rank, in->dims, strides);
  for (uint32_t d = 0; d < in->rank; d++) {
    bool turned = d == (uint32_t)*axis;
    if (turned && in->dims[d] > 0) move->from_start = (ptrdiff_t)(in->dims[d] - 1) * strides[d];
    snn_move_dim(move, in->dims[d], turned ? -strides[d] : strides[d], strides[d]);
  }
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

static int move_execute(SnnNode *node) {
  snn_move(node, node->params, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

const SnnOperation snn_transpose_operations[] = {
    SNN_RECORD(TRANSPOSE, 2, transpose_validate, transpose_prepare, move_execute, SNN_ALLOW_OMITTED)
    SNN_RECORD(REVERSE, 7, reverse_validate, reverse_prepare, move_execute, 0)
    {0},
};
