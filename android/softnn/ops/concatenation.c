/* CONCATENATION, PACK, SPLIT: rows of several tensors beside each other. */
#include "../numeric.h"
#include "../shape.h"

#include <string.h>

/* One operand's part of every row. CONCATENATION of 8-bit tensors with other parameters than the output's goes through a table
 * (TFLite's reference rule for uint8; int8 is the same rule shifted by 128). */
typedef struct {
  size_t offset, bytes; /* in a row of the whole */
  const uint8_t *table; /* NULL: bytes stay as they are */
} Part;

typedef struct {
  size_t rows, row_bytes;
  uint32_t count;
  Part parts[];
} Rows;

enum { TABLE_BYTES = 256 };

/* With room for so many tables behind the parts. */
static Rows *new_rows(SnnNode *node, uint32_t count, uint32_t tables) {
  Rows *rows = snn_params(node, sizeof(Rows) + count * sizeof(Part) + (size_t)tables * TABLE_BYTES);
  if (rows) rows->count = count;
  return rows;
}

static bool changes_bytes(const SnnTensor *in, const SnnTensor *out) {
  return snn_is_quant8(in->type) && (in->scale != out->scale || in->zero_point != out->zero_point);
}

static void fill_table(uint8_t table[TABLE_BYTES], const SnnTensor *in, const SnnTensor *out) {
  int32_t shift = in->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED ? 128 : 0;
  float scale = in->scale * (1.f / out->scale), bias = (float)-(in->zero_point + shift) * scale;
  for (int32_t stored = 0; stored < 256; stored++) {
    /* `stored` is the byte; as int8 with the shift it is byte XOR 0x80. */
    int32_t value = stored ^ shift;
    int32_t rescaled = snn_clamp(snn_round((float)value * scale + bias), -1024, 1024);
    int32_t result = snn_clamp(rescaled + out->zero_point + shift, 0, 255);
    table[stored] = (uint8_t)(result ^ shift);
  }
}

static int concatenation_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(1), SNN_NO_TYPE};
  SNN_REQUIRE(node, node->n_in >= 2 && node->n_out == 1,
              "%u inputs and %u outputs are not some tensors, an axis and one output", node->n_in, node->n_out);
  int level = snn_type_level(node, 0, levels);
  if (level < 0) return level;
  const SnnTensor *first = node->in[0], *out = node->out[0];
  for (uint32_t i = 0; i + 1 < node->n_in; i++) {
    const SnnTensor *t = node->in[i];
    SNN_REQUIRE(node, snn_present(t), "input %u may not be omitted", i);
    SNN_REQUIRE(node, t->type == first->type, "input %u is %s, not %s", i, snn_type_name(t->type), snn_type_name(first->type));
    if (!snn_check_rank(node, t, "an input", 1, 4)) return SNN_INVALID;
    bool same = t->scale == out->scale && t->zero_point == out->zero_point;
    if (first->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM && !same) level = 3;
  }
  int32_t axis_type = node->in[node->n_in - 1]->type;
  SNN_REQUIRE(node, axis_type == ANEURALNETWORKS_INT32, "the axis is %s, not INT32", snn_type_name(axis_type));
  SNN_REQUIRE(node, out->type == first->type, "the output is %s, not %s", snn_type_name(out->type), snn_type_name(first->type));
  return level;
}

static int concatenation_prepare(SnnNode *node) {
  uint32_t count = node->n_in - 1, dims[SNN_MAX_RANK];
  const SnnTensor *first = node->in[0], *out = node->out[0];
  int32_t axis;
  SNN_TRY(snn_get_i32(node, count, &axis));
  if (!snn_check_rank(node, first, "input 0", 1, 4)) return SNN_BAD;
  SNN_CHECK(node, axis >= 0 && (uint32_t)axis < first->rank, "axis %d lies outside 0 to %u", axis, first->rank - 1);
  memcpy(dims, first->dims, sizeof(dims));
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    const SnnTensor *t = node->in[i];
    SNN_CHECK(node, t->rank == first->rank, "input %u has rank %u, input 0 has %u", i, t->rank, first->rank);
    for (uint32_t d = 0; d < t->rank; d++) {
      SNN_CHECK(node, d == (uint32_t)axis || t->dims[d] == dims[d], "dimension %u of input %u is %u, of input 0 %u", d, i,
                t->dims[d], dims[d]);
    }
    total += t->dims[axis];
  }
  SNN_CHECK(node, total <= UINT32_MAX, "%llu along the axis are too many", (unsigned long long)total);
  dims[axis] = (uint32_t)total;
  SNN_TRY(snn_set_shape(node, 0, first->rank, dims));
  uint32_t tables = 0;
  for (uint32_t i = 0; i < count; i++) tables += changes_bytes(node->in[i], out);
  Rows *rows = new_rows(node, count, tables);
  if (!rows) return SNN_NO_MEMORY;
  uint8_t *table = (uint8_t *)&rows->parts[count];
  size_t element = snn_element_size(first->type) * snn_product(dims, (uint32_t)axis + 1, first->rank);
  rows->rows = snn_product(dims, 0, (uint32_t)axis);
  for (uint32_t i = 0; i < count; i++) {
    const SnnTensor *t = node->in[i];
    Part *part = &rows->parts[i];
    part->offset = rows->row_bytes;
    part->bytes = t->dims[axis] * element;
    rows->row_bytes += part->bytes;
    if (!changes_bytes(t, out)) continue;
    fill_table(table, t, out);
    part->table = table;
    table += TABLE_BYTES;
  }
  return SNN_OK;
}

/* Writes the parts from inputs[0 ...] side by side. */
static void join(SnnNode *node, const Rows *rows, SnnTensor **inputs) {
  uint8_t *out = node->out[0]->data;
  for (uint32_t i = 0; i < rows->count; i++) {
    const Part *part = &rows->parts[i];
    const uint8_t *from = inputs[i]->data;
    if (part->bytes == 0) continue;
    for (size_t r = 0; r < rows->rows; r++, from += part->bytes) {
      uint8_t *to = out + r * rows->row_bytes + part->offset;
      if (part->table == NULL) memcpy(to, from, part->bytes);
      else
        for (size_t b = 0; b < part->bytes; b++) to[b] = part->table[from[b]];
    }
  }
}

static int concatenation_execute(SnnNode *node) {
  join(node, node->params, node->in);
  return SNN_OK;
}

static int pack_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(6), {ANEURALNETWORKS_TENSOR_INT32, 6}, SNN_NO_TYPE};
  SNN_REQUIRE(node, node->n_in >= 2 && node->n_out == 1,
              "%u inputs and %u outputs are not an axis, some tensors and one output", node->n_in, node->n_out);
  int level = snn_type_level(node, 1, levels);
  if (level < 0) return level;
  SNN_REQUIRE(node, node->in[0]->type == ANEURALNETWORKS_INT32, "the axis is %s, not INT32", snn_type_name(node->in[0]->type));
  const SnnTensor *first = node->in[1], *out = node->out[0];
  for (uint32_t i = 1; i < node->n_in; i++) {
    const SnnTensor *t = node->in[i];
    SNN_REQUIRE(node, snn_present(t), "input %u may not be omitted", i);
    SNN_REQUIRE(node, t->type == first->type, "input %u is %s, not %s", i, snn_type_name(t->type), snn_type_name(first->type));
    if (!snn_check_rank(node, t, "an input", 1, SNN_MAX_RANK - 1) || !snn_check_same_quantization(node, t, out))
      return SNN_INVALID;
  }
  SNN_REQUIRE(node, out->type == first->type, "the output is %s, not %s", snn_type_name(out->type), snn_type_name(first->type));
  return level;
}

static int pack_prepare(SnnNode *node) {
  uint32_t count = node->n_in - 1, dims[SNN_MAX_RANK];
  const SnnTensor *first = node->in[1];
  int32_t axis;
  SNN_TRY(snn_get_i32(node, 0, &axis));
  if (!snn_check_rank(node, first, "input 1", 1, SNN_MAX_RANK - 1)) return SNN_BAD;
  SNN_CHECK(node, axis >= 0 && (uint32_t)axis <= first->rank, "axis %d lies outside 0 to %u", axis, first->rank);
  for (uint32_t i = 2; i <= count; i++) {
    const SnnTensor *t = node->in[i];
    SNN_CHECK(node, t->rank == first->rank && memcmp(t->dims, first->dims, t->rank * sizeof(dims[0])) == 0,
              "the shapes of inputs 1 and %u differ", i);
  }
  for (uint32_t d = 0, from = 0; d <= first->rank; d++) dims[d] = d == (uint32_t)axis ? count : first->dims[from++];
  SNN_TRY(snn_set_shape(node, 0, first->rank + 1, dims));
  Rows *rows = new_rows(node, count, 0);
  if (!rows) return SNN_NO_MEMORY;
  rows->rows = snn_product(dims, 0, (uint32_t)axis);
  size_t bytes = snn_element_size(first->type) * snn_product(first->dims, (uint32_t)axis, first->rank);
  for (uint32_t i = 0; i < count; i++) rows->parts[i] = (Part){.offset = i * bytes, .bytes = bytes};
  rows->row_bytes = count * bytes;
  return SNN_OK;
}

static int pack_execute(SnnNode *node) {
  join(node, node->params, node->in + 1);
  return SNN_OK;
}

static int split_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), {ANEURALNETWORKS_TENSOR_INT32, 3}, SNN_NO_TYPE};
  SNN_REQUIRE(node, node->n_in == 3 && node->n_out >= 1, "%u inputs and %u outputs are not 3 and some", node->n_in,
              node->n_out);
  int level = snn_type_level(node, 0, levels);
  if (level < 0) return level;
  const SnnTensor *in = node->in[0];
  SNN_REQUIRE(node, snn_present(in), "the input may not be omitted");
  SNN_REQUIRE(node, node->in[1]->type == ANEURALNETWORKS_INT32 && node->in[2]->type == ANEURALNETWORKS_INT32,
              "axis and number of splits are not both INT32");
  if (!snn_check_rank(node, in, "the input", 1, SNN_MAX_RANK)) return SNN_INVALID;
  for (uint32_t i = 0; i < node->n_out; i++) {
    const SnnTensor *out = node->out[i];
    SNN_REQUIRE(node, out->type == in->type, "output %u is %s, not %s", i, snn_type_name(out->type), snn_type_name(in->type));
    if (!snn_check_same_quantization(node, in, out)) return SNN_INVALID;
  }
  return level;
}

static int split_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t axis_value, count;
  uint32_t axis, dims[SNN_MAX_RANK];
  SNN_TRY(snn_get_i32(node, 1, &axis_value));
  SNN_TRY(snn_get_i32(node, 2, &count));
  if (!snn_axis(node, axis_value, in->rank, &axis)) return SNN_BAD;
  SNN_CHECK(node, count > 0 && (uint32_t)count == node->n_out, "%d splits do not fill %u outputs", count, node->n_out);
  SNN_CHECK(node, in->dims[axis] % (uint32_t)count == 0, "dimension %u of size %u does not split into %d", axis, in->dims[axis],
            count);
  memcpy(dims, in->dims, sizeof(dims));
  dims[axis] /= (uint32_t)count;
  for (uint32_t i = 0; i < node->n_out; i++) SNN_TRY(snn_set_shape(node, i, in->rank, dims));
  Rows *rows = new_rows(node, node->n_out, 0);
  if (!rows) return SNN_NO_MEMORY;
  rows->rows = snn_product(dims, 0, axis);
  size_t bytes = snn_element_size(in->type) * snn_product(dims, axis, in->rank);
  for (uint32_t i = 0; i < node->n_out; i++) rows->parts[i] = (Part){.offset = i * bytes, .bytes = bytes};
  rows->row_bytes = bytes * node->n_out;
  return SNN_OK;
}

static int split_execute(SnnNode *node) {
  const Rows *rows = node->params;
  const uint8_t *in = node->in[0]->data;
  for (uint32_t i = 0; i < rows->count; i++) {
    const Part *part = &rows->parts[i];
    uint8_t *to = node->out[i]->data;
    if (part->bytes == 0) continue;
    for (size_t r = 0; r < rows->rows; r++) memcpy(to + r * part->bytes, in + r * rows->row_bytes + part->offset, part->bytes);
  }
  return SNN_OK;
}

const SnnOperation snn_concatenation_operations[] = {
    SNN_RECORD(CONCATENATION, 1, concatenation_validate, concatenation_prepare, concatenation_execute, SNN_ALLOW_ZERO_SIZED)
    SNN_RECORD(PACK, 6, pack_validate, pack_prepare, pack_execute, SNN_ALLOW_ZERO_SIZED)
    SNN_RECORD(SPLIT, 3, split_validate, split_prepare, split_execute, SNN_ALLOW_ZERO_SIZED)
    {0},
};
