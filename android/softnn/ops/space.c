/* SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND, CHANNEL_SHUFFLE: an image's pixels in another order. */
#include "../shape.h"

#include <string.h>

static int move_execute(SnnNode *node) {
  snn_move(node, node->params, node->in[0]->data, node->out[0]->data);
  return SNN_OK;
}

static int validate_image(SnnNode *node, int first_level, const char *inputs, uint32_t nchw) {
  const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(first_level), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, inputs, "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 4, 4)) return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return node->n_in > nchw && level < 3 ? 3 : level;
}

/* The input as an image; the layout flag may be left off. */
static int read_image(SnnNode *node, uint32_t flag, bool *nchw, SnnView *in) {
  *nchw = false;
  if (!snn_check_rank(node, node->in[0], "the input", 4, 4)) return SNN_BAD;
  if (flag < node->n_in) SNN_TRY(snn_get_bool(node, flag, nchw));
  *in = snn_view(node->in[0]->dims, *nchw);
  return SNN_OK;
}

/* --- space and depth --- */

static int space_depth_validate(SnnNode *node) { return validate_image(node, 1, "Ti|b", 2); }

static int read_block(SnnNode *node, uint32_t *block) {
  int32_t value;
  SNN_TRY(snn_get_i32(node, 1, &value));
  SNN_CHECK(node, value > 0, "block size %d is not positive", value);
  *block = (uint32_t)value;
  return SNN_OK;
}

/* Pixel (y * block + i, x * block + j) becomes channel (i * block + j) * channels + c of pixel (y, x). `small` has the small
 * pixels. */
static void block_move(SnnMove *move, uint32_t block, const SnnView *small, const SnnView *deep, bool to_depth) {
  const struct {
    size_t extent;
    ptrdiff_t small, deep;
  } loops[] = {
      {deep->n, small->by_n, deep->by_n},
      {deep->h, small->by_h * (ptrdiff_t)block, deep->by_h},
      {block, small->by_h, deep->by_c * (ptrdiff_t)block * (ptrdiff_t)small->c},
      {deep->w, small->by_w * (ptrdiff_t)block, deep->by_w},
      {block, small->by_w, deep->by_c * (ptrdiff_t)small->c},
      {small->c, small->by_c, deep->by_c},
  };
  for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
    if (to_depth) snn_move_dim(move, loops[i].extent, loops[i].small, loops[i].deep);
    else snn_move_dim(move, loops[i].extent, loops[i].deep, loops[i].small);
  }
}

static int space_to_depth_prepare(SnnNode *node) {
  bool nchw;
  SnnView in, out;
  uint32_t block;
  SNN_TRY(read_image(node, 2, &nchw, &in));
  SNN_TRY(read_block(node, &block));
  SNN_CHECK(node, in.h % block == 0 && in.w % block == 0, "block size %u does not divide %u x %u", block, in.h, in.w);
  uint64_t area = (uint64_t)block * block;
  SNN_CHECK(node, area <= UINT32_MAX, "block size %u is too large", block);
  SNN_TRY(snn_set_view(node, 0, nchw, in.n, in.h / block, in.w / block, in.c * area, &out));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  block_move(move, block, &in, &out, true);
  snn_move_finish(move, snn_element_size(node->in[0]->type));
  return SNN_OK;
}

static int depth_to_space_prepare(SnnNode *node) {
  bool nchw;
  SnnView in, out;
  uint32_t block;
  SNN_TRY(read_image(node, 2, &nchw, &in));
  SNN_TRY(read_block(node, &block));
  uint64_t area = (uint64_t)block * block;
  SNN_CHECK(node, in.c % area == 0, "block size %u squared does not divide %u channels", block, in.c);
  SNN_TRY(snn_set_view(node, 0, nchw, in.n, (uint64_t)in.h * block, (uint64_t)in.w * block, in.c / area, &out));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  block_move(move, block, &out, &in, false);
  snn_move_finish(move, snn_element_size(node->in[0]->type));
  return SNN_OK;
}

/* --- space and batch --- */

static int read_blocks(SnnNode *node, uint32_t block[2]) {
  const int32_t *values;
  size_t count;
  SNN_TRY(snn_get_i32s(node, 1, &values, &count));
  SNN_CHECK(node, count == 2, "%zu block sizes are not 2", count);
  for (int i = 0; i < 2; i++) {
    SNN_CHECK(node, values[i] > 0, "block size %d is not positive", values[i]);
    block[i] = (uint32_t)values[i];
  }
  return SNN_OK;
}

static int batch_to_space_validate(SnnNode *node) {
  int level = validate_image(node, 2, "TI|b", 2);
  return level < 0 || snn_check_rank(node, node->in[1], "the block sizes", 1, 1) ? level : SNN_INVALID;
}

static int batch_to_space_prepare(SnnNode *node) {
  bool nchw;
  SnnView in, out;
  uint32_t block[2];
  SNN_TRY(read_image(node, 2, &nchw, &in));
  SNN_TRY(read_blocks(node, block));
  uint64_t area = (uint64_t)block[0] * block[1];
  SNN_CHECK(node, in.n % area == 0, "blocks of %u x %u do not divide a batch of %u", block[0], block[1], in.n);
  SNN_TRY(snn_set_view(node, 0, nchw, in.n / area, (uint64_t)in.h * block[0], (uint64_t)in.w * block[1], in.c, &out));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t rows = (ptrdiff_t)block[0], columns = (ptrdiff_t)block[1];
  snn_move_dim(move, out.n, in.by_n, out.by_n);
  snn_move_dim(move, in.h, in.by_h, out.by_h * rows);
  snn_move_dim(move, block[0], in.by_n * (ptrdiff_t)out.n * columns, out.by_h);
  snn_move_dim(move, in.w, in.by_w, out.by_w * columns);
  snn_move_dim(move, block[1], in.by_n * (ptrdiff_t)out.n, out.by_w);
  snn_move_dim(move, in.c, in.by_c, out.by_c);
  snn_move_finish(move, snn_element_size(node->in[0]->type));
  return SNN_OK;
}

typedef struct {
  SnnView in, out;
  uint32_t block[2], top, left;
  bool padded;
  size_t element;
  uint8_t zero[8];
} ToBatch;

static int space_to_batch_validate(SnnNode *node) {
  int level = validate_image(node, 2, "TII|b", 3);
  if (level < 0 || !snn_check_rank(node, node->in[1], "the block sizes", 1, 1)) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[2], "the paddings", 2, 2)) return SNN_INVALID;
  /* Level 2 left the padding value of a tensor with a zero point undefined. */
  const SnnTensor *in = node->in[0];
  return level == 2 && in->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM && in->zero_point != 0 ? 3 : level;
}

static int space_to_batch_prepare(SnnNode *node) {
  const SnnTensor *paddings = node->in[2];
  const int32_t *pad;
  size_t count;
  bool nchw;
  ToBatch b = {0};
  SNN_TRY(read_image(node, 3, &nchw, &b.in));
  SNN_TRY(read_blocks(node, b.block));
  SNN_CHECK(node, paddings->rank == 2 && paddings->dims[0] == 2 && paddings->dims[1] == 2, "the paddings are not [2, 2]");
  SNN_TRY(snn_get_i32s(node, 2, &pad, &count));
  for (int i = 0; i < 4; i++) SNN_CHECK(node, pad[i] >= 0, "padding %d is negative", pad[i]);
  uint64_t h = (uint64_t)b.in.h + (uint32_t)pad[0] + (uint32_t)pad[1],
           w = (uint64_t)b.in.w + (uint32_t)pad[2] + (uint32_t)pad[3];
  SNN_CHECK(node, h % b.block[0] == 0 && w % b.block[1] == 0, "blocks of %u x %u do not divide the padded %llu x %llu",
            b.block[0], b.block[1], (unsigned long long)h, (unsigned long long)w);
  uint64_t area = (uint64_t)b.block[0] * b.block[1];
  SNN_CHECK(node, area <= UINT32_MAX, "blocks of %u x %u are too large", b.block[0], b.block[1]);
  SNN_TRY(snn_set_view(node, 0, nchw, b.in.n * area, h / b.block[0], w / b.block[1], b.in.c, &b.out));
  b.top = (uint32_t)pad[0];
  b.left = (uint32_t)pad[2];
  b.padded = pad[0] > 0 || pad[1] > 0 || pad[2] > 0 || pad[3] > 0;
  b.element = snn_zero_element(node->in[0], b.zero);
  ToBatch *params = snn_params(node, sizeof(*params));
  if (!params) return SNN_NO_MEMORY;
  *params = b;
  return SNN_OK;
}

/* Output positions o with 0 <= o * block + offset - pad < size: the first, and how many of `out`. */
static size_t inside(uint32_t block, uint32_t offset, uint32_t pad, uint32_t size, uint32_t out, size_t *first) {
  uint64_t start = pad > offset ? ((uint64_t)pad - offset + block - 1) / block : 0;
  uint64_t room = (uint64_t)size + pad;
  uint64_t end = room > offset ? (room - offset + block - 1) / block : 0;
  if (end > out) end = out;
  *first = (size_t)start;
  return end > start ? (size_t)(end - start) : 0;
}

static int space_to_batch_execute(SnnNode *node) {
  const ToBatch *b = node->params;
  const SnnTensor *out = node->out[0];
  if (b->padded) snn_fill(out->data, snn_product(out->dims, 0, 4), b->zero, b->element);
  for (uint32_t i = 0; i < b->block[0]; i++) {
    for (uint32_t j = 0; j < b->block[1]; j++) {
      size_t y, x;
      size_t rows = inside(b->block[0], i, b->top, b->in.h, b->out.h, &y),
             columns = inside(b->block[1], j, b->left, b->in.w, b->out.w, &x);
      if (rows == 0 || columns == 0) continue;
      SnnMove move = {0};
      ptrdiff_t in_y = (ptrdiff_t)(y * b->block[0] + i) - (ptrdiff_t)b->top,
                in_x = (ptrdiff_t)(x * b->block[1] + j) - (ptrdiff_t)b->left;
      move.from_start = in_y * b->in.by_h + in_x * b->in.by_w;
      move.to_start = ((ptrdiff_t)i * (ptrdiff_t)b->block[1] + (ptrdiff_t)j) * (ptrdiff_t)b->in.n * b->out.by_n +
                      (ptrdiff_t)y * b->out.by_h + (ptrdiff_t)x * b->out.by_w;
      snn_move_dim(&move, b->in.n, b->in.by_n, b->out.by_n);
      snn_move_dim(&move, rows, b->in.by_h * (ptrdiff_t)b->block[0], b->out.by_h);
      snn_move_dim(&move, columns, b->in.by_w * (ptrdiff_t)b->block[1], b->out.by_w);
      snn_move_dim(&move, b->in.c, b->in.by_c, b->out.by_c);
      snn_move_finish(&move, b->element);
      snn_move(node, &move, node->in[0]->data, out->data);
    }
  }
  return SNN_OK;
}

/* --- CHANNEL_SHUFFLE --- */

static int channel_shuffle_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Tii", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 1, 4)) return SNN_INVALID;
  return snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int channel_shuffle_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  int32_t groups, value;
  uint32_t axis;
  if (!snn_check_rank(node, in, "the input", 1, 4)) return SNN_BAD;
  SNN_TRY(snn_get_i32(node, 1, &groups));
  SNN_TRY(snn_get_i32(node, 2, &value));
  if (!snn_axis(node, value, in->rank, &axis)) return SNN_BAD;
  SNN_CHECK(node, groups > 0 && in->dims[axis] % (uint32_t)groups == 0, "%d groups do not divide %u channels", groups,
            in->dims[axis]);
  SNN_TRY(snn_set_shape_like(node, 0, in));
  SnnMove *move = snn_params(node, sizeof(*move));
  if (!move) return SNN_NO_MEMORY;
  ptrdiff_t strides[SNN_MAX_RANK], size = (ptrdiff_t)(in->dims[axis] / (uint32_t)groups);
  snn_strides(in->rank, in->dims, strides);
  for (uint32_t d = 0; d < in->rank; d++) {
    if (d != axis) {
      snn_move_dim(move, in->dims[d], strides[d], strides[d]);
      continue;
    }
    /* Channel i of group g becomes channel i * groups + g. */
    snn_move_dim(move, (size_t)size, strides[d], strides[d] * groups);
    snn_move_dim(move, (size_t)groups, strides[d] * size, strides[d]);
  }
  snn_move_finish(move, snn_element_size(in->type));
  return SNN_OK;
}

const SnnOperation snn_space_operations[] = {
    SNN_RECORD(SPACE_TO_DEPTH, 1, space_depth_validate, space_to_depth_prepare, move_execute, 0)
    SNN_RECORD(DEPTH_TO_SPACE, 1, space_depth_validate, depth_to_space_prepare, move_execute, 0)
    SNN_RECORD(SPACE_TO_BATCH_ND, 2, space_to_batch_validate, space_to_batch_prepare, space_to_batch_execute, 0)
    SNN_RECORD(BATCH_TO_SPACE_ND, 2, batch_to_space_validate, batch_to_space_prepare, move_execute, 0)
    SNN_RECORD(CHANNEL_SHUFFLE, 3, channel_shuffle_validate, channel_shuffle_prepare, move_execute, 0)
    {0},
};
