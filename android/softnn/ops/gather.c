/* GATHER, EMBEDDING_LOOKUP, HASHTABLE_LOOKUP: rows by number or by key. SLICE, STRIDED_SLICE, TILE: regular parts and repeats.
 * (LSH_PROJECTION, of the same family, is in lsh.c.) */
#include "../shape.h"

#include <string.h>

static const SnnTypeLevel common_levels[] = {SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};

static int move_execute(SnnNode *node) {
  snn_move(node, node->params, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

/* --- GATHER --- */

typedef struct {
  size_t outer, axis, picks, bytes; /* bytes that one index picks */
} Gather;

static int gather_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, common_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TiI", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK) ||
      !snn_check_rank(node, node->in[2], "the indices", 1, SNN_MAX_RANK))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int gather_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0], *indices = node->in[2];
  int32_t value;
  uint32_t axis, dims[SNN_MAX_RANK], rank = 0;
  SNN_TRY(snn_get_i32(node, 1, &value));
  if (!snn_axis(node, value, in->rank, &axis)) return SNN_BAD;
  SNN_CHECK(node, in->rank + indices->rank - 1 <= SNN_MAX_RANK, "ranks %u and %u give more than %d dimensions", in->rank,
            indices->rank, SNN_MAX_RANK);
  for (uint32_t d = 0; d < axis; d++) dims[rank++] = in->dims[d];
  for (uint32_t d = 0; d < indices->rank; d++) dims[rank++] = indices->dims[d];
  for (uint32_t d = axis + 1; d < in->rank; d++) dims[rank++] = in->dims[d];
  SNN_TRY(snn_set_shape(node, 0, rank, dims));
  Gather *gather = snn_params(node, sizeof(*gather));
  if (!gather) return SNN_NO_MEMORY;
  gather->outer = snn_product(in->dims, 0, axis);
  gather->axis = in->dims[axis];
  gather->picks = snn_product(indices->dims, 0, indices->rank);
  gather->bytes = snn_element_size(in->type) * snn_product(in->dims, axis + 1, in->rank);
  return SNN_OK;
}

static int gather_execute(SnnNode *node) {
  const Gather *gather = node->params;
  const int32_t *indices = node->in[2]->data;
  const uint8_t *in = node->in[0]->data;
  uint8_t *out = node->out[0]->data;
  for (size_t i = 0; i < gather->picks; i++) {
    SNN_CHECK(node, indices[i] >= 0 && (size_t)indices[i] < gather->axis, "index %d at %zu is not one of %zu", indices[i],
              i, gather->axis);
  }
  for (size_t o = 0; o < gather->outer; o++, in += gather->axis * gather->bytes) {
    for (size_t i = 0; i < gather->picks; i++, out += gather->bytes)
      memcpy(out, in + (size_t)indices[i] * gather->bytes, gather->bytes);
  }
  return SNN_OK;
}

/* --- EMBEDDING_LOOKUP, HASHTABLE_LOOKUP --- */

static int embedding_lookup_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1},
                                        {ANEURALNETWORKS_TENSOR_INT32, 3},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3},
                                        {ANEURALNETWORKS_TENSOR_FLOAT16, 4},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                        SNN_NO_TYPE};
  int level = snn_type_level(node, 1, levels);
  if (level < 0 || !snn_signature(node, node->in[1]->type, "IT", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the lookups", 1, 1) ||
      !snn_check_rank(node, node->in[1], "the values", 2, SNN_MAX_RANK))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[1], node->out[0]) ? level : SNN_INVALID;
}

/* Output 0 has one row of the values for each lookup. */
static int set_rows(SnnNode *node, const SnnTensor *lookups, const SnnTensor *values) {
  uint32_t dims[SNN_MAX_RANK];
  if (!snn_check_rank(node, lookups, "the lookups", 1, 1) || !snn_check_rank(node, values, "the values", 2, SNN_MAX_RANK))
    return SNN_BAD;
  memcpy(dims, values->dims, sizeof(dims));
  dims[0] = lookups->dims[0];
  return snn_set_shape(node, 0, values->rank, dims);
}

static size_t row_bytes(const SnnTensor *values) {
  return snn_element_size(values->type) * snn_product(values->dims, 1, values->rank);
}

static int embedding_lookup_prepare(SnnNode *node) { return set_rows(node, node->in[0], node->in[1]); }

static int embedding_lookup_execute(SnnNode *node) {
  const SnnTensor *lookups = node->in[0], *values = node->in[1];
  const int32_t *index = lookups->data;
  size_t bytes = row_bytes(values);
  for (uint32_t i = 0; i < lookups->dims[0]; i++) {
    SNN_CHECK(node, index[i] >= 0 && (uint32_t)index[i] < values->dims[0], "lookup %d at %u lies outside 0 to %d", index[i], i,
              (int)values->dims[0] - 1);
    memcpy((uint8_t *)node->out[0]->data + i * bytes, (const uint8_t *)values->data + (size_t)index[i] * bytes, bytes);
  }
  return SNN_OK;
}

static int hashtable_lookup_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1},
                                        {ANEURALNETWORKS_TENSOR_INT32, 1},
                                        {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                        SNN_NO_TYPE};
  int level = snn_type_level(node, 2, levels);
  if (level < 0 || !snn_signature(node, node->in[2]->type, "IIT", "TU")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the lookups", 1, 1) || !snn_check_rank(node, node->in[1], "the keys", 1, 1) ||
      !snn_check_rank(node, node->in[2], "the values", 2, SNN_MAX_RANK))
    return SNN_INVALID;
  const SnnTensor *hits = node->out[1];
  SNN_REQUIRE(node, hits->scale == 1 && hits->zero_point == 0, "the hits have scale %.9g and zero point %d, not 1 and 0",
              (double)hits->scale, hits->zero_point);
  return snn_check_same_quantization(node, node->in[2], node->out[0]) ? level : SNN_INVALID;
}

static int hashtable_lookup_prepare(SnnNode *node) {
  const SnnTensor *keys = node->in[1], *values = node->in[2];
  SNN_TRY(set_rows(node, node->in[0], values));
  SNN_CHECK(node, keys->rank == 1 && keys->dims[0] == values->dims[0], "the number of keys is not the number of values, %u",
            values->dims[0]);
  return snn_set_shape(node, 1, 1, node->in[0]->dims);
}

/* Where `key` is among ascending keys; `count` when nowhere. */
static uint32_t find_key(const int32_t *keys, uint32_t count, int32_t key) {
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low < count && keys[low] == key ? low : count;
}

static int hashtable_lookup_execute(SnnNode *node) {
  const SnnTensor *lookups = node->in[0], *keys = node->in[1], *values = node->in[2];
  uint8_t *out = node->out[0]->data, *hits = node->out[1]->data;
  size_t bytes = row_bytes(values);
  for (uint32_t i = 0; i < lookups->dims[0]; i++) {
    uint32_t row = find_key(keys->data, keys->dims[0], ((const int32_t *)lookups->data)[i]);
    hits[i] = row < keys->dims[0];
    if (bytes == 0) continue;
    if (hits[i]) memcpy(out + i * bytes, (const uint8_t *)values->data + row * bytes, bytes);
    else memset(out + i * bytes, 0, bytes);
  }
  return SNN_OK;
}

/* --- SLICE --- */

static int slice_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, common_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TII", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  for (uint32_t i = 1; i <= 2; i++) {
    if (!snn_check_rank(node, node->in[i], i == 1 ? "begin" : "size", 1, 1)) return SNN_INVALID;
  }
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

/* A list with one entry for each dimension of input 0. */
static int read_per_dimension(SnnNode *node, uint32_t input, const char *what, const int32_t **values) {
  size_t count;
  if (!snn_check_rank(node, node->in[input], what, 1, 1)) return SNN_BAD;
  SNN_TRY(snn_get_i32s(node, input, values, &count));
  SNN_CHECK(node, count == node->in[0]->rank, "%s has %zu entries, the input has rank %u", what, count, node->in[0]->rank);
  return SNN_OK;
}

static int slice_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  const int32_t *begin, *size;
  uint32_t dims[SNN_MAX_RANK];
  ptrdiff_t from[SNN_MAX_RANK], to[SNN_MAX_RANK];
  SNN_TRY(read_per_dimension(node, 1, "begin", &begin));
  SNN_TRY(read_per_dimension(node, 2, "size", &size));
  for (uint32_t d = 0; d < in->rank; d++) {
    SNN_CHECK(node, begin[d] >= 0 && (uint32_t)begin[d] <= in->dims[d], "begin %d lies outside dimension %u of size %u",
              begin[d], d, in->dims[d]);
    uint32_t rest = in->dims[d] - (uint32_t)begin[d];
    SNN_CHECK(node, size[d] >= -1 && (size[d] == -1 || (uint32_t)size[d] <= rest),
              "size %d from %d leaves dimension %u of size %u", size[d], begin[d], d, in->dims[d]);
    dims[d] = size[d] == -1 ? rest : (uint32_t)size[d];
  }
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  snn_strides(in->rank, in->dims, from);
  snn_strides(in->rank, dims, to);
  for (uint32_t d = 0; d < in->rank; d++) {
    move->from_start += begin[d] * from[d];
    snn_move_dim(move, dims[d], from[d], to[d]);
  }
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

/* --- STRIDED_SLICE --- */

static int strided_slice_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(2), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TIIIiii", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4)) return SNN_INVALID;
  for (uint32_t i = 1; i <= 3; i++) {
    if (!snn_check_rank(node, node->in[i], "a list of the slice", 1, 1)) return SNN_INVALID;
  }
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

/* A bound counted from the end when negative, moved into the dimension. Walking backwards, the place before the first is -1. */
static int64_t bound(int64_t index, int64_t size, bool forward) {
  int64_t first = forward ? 0 : -1, last = forward ? size : size - 1;
  if (index < 0) index += size;
  return index < first ? first : index > last ? last : index;
}

static int strided_slice_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  const int32_t *begin, *end, *stride;
  int32_t begin_mask, end_mask, shrink_mask;
  if (!snn_check_rank(node, in, "the input", 1, 4)) return SNN_BAD;
  SNN_TRY(read_per_dimension(node, 1, "begin", &begin));
  SNN_TRY(read_per_dimension(node, 2, "end", &end));
  SNN_TRY(read_per_dimension(node, 3, "strides", &stride));
  SNN_TRY(snn_get_i32(node, 4, &begin_mask));
  SNN_TRY(snn_get_i32(node, 5, &end_mask));
  SNN_TRY(snn_get_i32(node, 6, &shrink_mask));
  uint32_t dims[SNN_MAX_RANK] = {1}, all[SNN_MAX_RANK], rank = 0;
  int64_t first[SNN_MAX_RANK];
  for (uint32_t d = 0; d < in->rank; d++) {
    int64_t size = in->dims[d], step = stride[d];
    SNN_CHECK(node, step != 0, "the stride of dimension %u is 0", d);
    bool forward = step > 0;
    int64_t from = begin_mask >> d & 1 ? (forward ? 0 : size - 1) : bound(begin[d], size, forward);
    int64_t to = end_mask >> d & 1 ? (forward ? size : -1) : bound(end[d], size, forward);
    int64_t distance = forward ? to - from : from - to, pace = forward ? step : -step;
    int64_t count = distance <= 0 ? 0 : (distance + pace - 1) / pace;
    first[d] = from;
    all[d] = (uint32_t)count;
    if (!(shrink_mask >> d & 1)) {
      dims[rank++] = all[d];
      continue;
    }
    SNN_CHECK(node, forward && count == 1, "dimension %u shrinks, but its slice from %d to %d by %d has %lld elements", d,
              begin[d], end[d], stride[d], (long long)count);
  }
  SNN_TRY(snn_set_shape(node, 0, rank > 0 ? rank : 1, dims)); /* everything shrunk: [1] */
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t source[SNN_MAX_RANK], target[SNN_MAX_RANK];
  snn_strides(in->rank, in->dims, source);
  snn_strides(in->rank, all, target);
  for (uint32_t d = 0; d < in->rank; d++) {
    move->from_start += (ptrdiff_t)first[d] * source[d];
    snn_move_dim(move, all[d], all[d] > 1 ? (ptrdiff_t)stride[d] * source[d] : 0, target[d]);
  }
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

/* --- TILE --- */

static int tile_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, common_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TI", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, SNN_MAX_RANK) ||
      !snn_check_rank(node, node->in[1], "the multiples", 1, 1))
    return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int tile_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  const int32_t *multiples;
  uint32_t dims[SNN_MAX_RANK];
  SNN_TRY(read_per_dimension(node, 1, "multiples", &multiples));
  for (uint32_t d = 0; d < in->rank; d++) {
    SNN_CHECK(node, multiples[d] >= 0, "multiple %d of dimension %u is negative", multiples[d], d);
    uint64_t size = (uint64_t)in->dims[d] * (uint32_t)multiples[d];
    SNN_CHECK(node, size <= UINT32_MAX, "dimension %u becomes too large", d);
    dims[d] = (uint32_t)size;
  }
  SNN_TRY(snn_set_shape(node, 0, in->rank, dims));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t from[SNN_MAX_RANK], to[SNN_MAX_RANK];
  snn_strides(in->rank, in->dims, from);
  snn_strides(in->rank, dims, to);
  for (uint32_t d = 0; d < in->rank; d++) {
    snn_move_dim(move, (size_t)multiples[d], 0, to[d] * (ptrdiff_t)in->dims[d]);
    snn_move_dim(move, in->dims[d], from[d], to[d]);
  }
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

const SnnOperation snn_gather_operations[] = {
    SNN_RECORD(GATHER, 3, gather_validate, gather_prepare, gather_execute, 0)
    SNN_RECORD(EMBEDDING_LOOKUP, 1, embedding_lookup_validate, embedding_lookup_prepare, embedding_lookup_execute, 0)
    SNN_RECORD(HASHTABLE_LOOKUP, 1, hashtable_lookup_validate, hashtable_lookup_prepare, hashtable_lookup_execute, SNN_ALLOW_ZERO_SIZED)
    SNN_RECORD(SLICE, 3, slice_validate, slice_prepare, move_execute, 0)
    SNN_RECORD(STRIDED_SLICE, 2, strided_slice_validate, strided_slice_prepare, move_execute, 0)
    SNN_RECORD(TILE, 3, tile_validate, tile_prepare, move_execute, 0)
    {0},
};
