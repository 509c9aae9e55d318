#include "shape.h"

#include <string.h>

/* --- validate --- */

int snn_type_level(SnnNode *node, uint32_t input, const SnnTypeLevel *levels) {
  if (input >= node->n_in) return snn_fail(node, "%u inputs are too few", node->n_in);
  int32_t type = node->in[input]->type;
  for (; levels->type >= 0; levels++) {
    if (levels->type == type) return levels->level;
  }
  return snn_fail(node, "input %u may not be %s", input, snn_type_name(type));
}

static int32_t letter_type(char letter, int32_t type) {
  switch (letter) {
    case 'T': return type;
    case 'I': return ANEURALNETWORKS_TENSOR_INT32;
    case 'B': return ANEURALNETWORKS_TENSOR_BOOL8;
    case 'U': return ANEURALNETWORKS_TENSOR_QUANT8_ASYMM;
    case 'A': return ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
    case 'W': return ANEURALNETWORKS_TENSOR_QUANT8_SYMM;
    case 'S': return ANEURALNETWORKS_TENSOR_QUANT16_SYMM;
    case 'Q': return ANEURALNETWORKS_TENSOR_QUANT16_ASYMM;
    case 'i': return ANEURALNETWORKS_INT32;
    case 'b': return ANEURALNETWORKS_BOOL;
    case 'F': return ANEURALNETWORKS_FLOAT32;
    case 'f': return type == ANEURALNETWORKS_TENSOR_FLOAT16 ? ANEURALNETWORKS_FLOAT16 : ANEURALNETWORKS_FLOAT32;
    default: return -1;
  }
}

static bool is_letter(char c) { return c != '|' && c != '~'; }

static bool right_type(SnnNode *node, const char *side, uint32_t index, const SnnTensor *t, char letter, int32_t type) {
  int32_t expected = letter_type(letter, type);
  if (letter == '*' || t->type == expected) return true;
  snn_fail(node, "%s %u is %s, not %s", side, index, snn_type_name(t->type), snn_type_name(expected));
  return false;
}

static uint32_t letters(const char *signature, uint32_t *mandatory) {
  uint32_t count = 0;
  bool optional = false;
  *mandatory = 0;
  for (; *signature; signature++) {
    if (*signature == '|') optional = true;
    if (!is_letter(*signature)) continue;
    count++;
    if (!optional) *mandatory = count;
  }
  return count;
}

bool snn_signature(SnnNode *node, int32_t type, const char *inputs, const char *outputs) {
  uint32_t least, most = letters(inputs, &least), n_out, index = 0;
  n_out = letters(outputs, &n_out);
  if (node->n_in < least || node->n_in > most) {
    snn_fail(node, "%u inputs are not %u to %u", node->n_in, least, most);
    return false;
  }
  if (node->n_out != n_out) {
    snn_fail(node, "%u outputs are not %u", node->n_out, n_out);
    return false;
  }
  for (const char *letter = inputs; *letter && index < node->n_in; letter++) {
    if (is_letter(*letter) && !right_type(node, "input", index, node->in[index], *letter, type)) return false;
    index += is_letter(*letter);
  }
  for (index = 0; index < n_out; index++) {
    if (!right_type(node, "output", index, node->out[index], outputs[index], type)) return false;
  }
  return snn_all_present(node, inputs);
}

bool snn_all_present(SnnNode *node, const char *inputs) {
  uint32_t index = 0;
  for (const char *letter = inputs; *letter && index < node->n_in; letter++) {
    if (!is_letter(*letter)) continue;
    if (letter[1] != '~' && !snn_present(node->in[index])) {
      snn_fail(node, "input %u may not be omitted", index);
      return false;
    }
    index++;
  }
  return true;
}

bool snn_check_rank(SnnNode *node, const SnnTensor *t, const char *what, uint32_t least, uint32_t most) {
  if (!t->rank_known || (t->rank >= least && t->rank <= most)) return true;
  if (least == most) snn_fail(node, "%s has rank %u, not %u", what, t->rank, least);
  else snn_fail(node, "%s has rank %u, not %u to %u", what, t->rank, least, most);
  return false;
}

bool snn_check_same_quantization(SnnNode *node, const SnnTensor *a, const SnnTensor *b) {
  switch (a->type) {
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:
    case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED:
    case ANEURALNETWORKS_TENSOR_QUANT8_SYMM:
    case ANEURALNETWORKS_TENSOR_QUANT16_SYMM:
    case ANEURALNETWORKS_TENSOR_QUANT16_ASYMM: break;
    default: return true;
  }
  if (a->scale == b->scale && a->zero_point == b->zero_point) return true;
  snn_fail(node, "scale %.9g and zero point %d differ from scale %.9g and zero point %d, but must be equal", (double)a->scale,
           a->zero_point, (double)b->scale, b->zero_point);
  return false;
}

/* --- prepare --- */

bool snn_axis(SnnNode *node, int32_t axis, uint32_t rank, uint32_t *result) {
  int64_t resolved = axis < 0 ? (int64_t)axis + rank : axis;
  if (resolved < 0 || resolved >= rank) {
    snn_fail(node, "axis %d lies outside rank %u", axis, rank);
    return false;
  }
  *result = (uint32_t)resolved;
  return true;
}

int snn_get_i32s(SnnNode *node, uint32_t input, const int32_t **values, size_t *count) {
  static const int32_t none = 0;
  const SnnTensor *t = node->in[input];
  SNN_CHECK(node, t->type == ANEURALNETWORKS_TENSOR_INT32, "input %u is %s, not TENSOR_INT32", input, snn_type_name(t->type));
  SNN_CHECK(node, snn_count(t, count), "input %u is too large", input);
  *values = *count ? t->data : &none;
  return *values ? SNN_OK : SNN_NEEDS_DATA;
}

int snn_get_scratch(SnnNode *node, uint64_t bytes) {
  SNN_CHECK(node, bytes <= PTRDIFF_MAX, "%llu bytes of working memory are too many", (unsigned long long)bytes);
  snn_scratch(node, (size_t)bytes);
  return SNN_OK;
}

size_t snn_product(const uint32_t *dims, uint32_t begin, uint32_t end) {
  size_t product = 1;
  for (uint32_t i = begin; i < end; i++) product *= dims[i];
  return product;
}

/* --- movement by bytes --- */

void snn_move_dim(SnnMove *move, size_t extent, ptrdiff_t from, ptrdiff_t to) {
  if (extent == 1) return;
  move->extent[move->rank] = extent;
  move->from[move->rank] = from;
  move->to[move->rank] = to;
  move->rank++;
}

void snn_move_finish(SnnMove *move, size_t element_bytes) {
  ptrdiff_t bytes = (ptrdiff_t)element_bytes;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < move->rank; i++) {
    size_t extent = move->extent[i];
    ptrdiff_t from = move->from[i] * bytes, to = move->to[i] * bytes;
    bool joins = kept > 0 && move->from[kept - 1] == from * (ptrdiff_t)extent && move->to[kept - 1] == to * (ptrdiff_t)extent;
    if (joins) extent *= move->extent[--kept];
    move->extent[kept] = extent;
    move->from[kept] = from;
    move->to[kept] = to;
    kept++;
  }
  move->from_start *= bytes;
  move->to_start *= bytes;
  move->element = element_bytes;
  /* An innermost dimension without gaps on both sides is one longer element. */
  if (kept > 0 && move->from[kept - 1] == bytes && move->to[kept - 1] == bytes) {
    move->element *= move->extent[kept - 1];
    kept--;
  }
  move->rank = kept;
}

/* One strided run; the constant sizes let the compiler use plain loads and stores. */
static void move_run(size_t count, size_t element, const uint8_t *source, ptrdiff_t from, uint8_t *target, ptrdiff_t to) {
#define RUN(bytes) \
  for (ptrdiff_t i = 0; i < (ptrdiff_t)count; i++) memcpy(target + i * to, source + i * from, (bytes))
  switch (element) {
    case 1: RUN(1); break;
    case 2: RUN(2); break;
    case 4: RUN(4); break;
    case 8: RUN(8); break;
    default: RUN(element);
  }
#undef RUN
}

static void move_level(const SnnMove *move, uint32_t level, const uint8_t *source, uint8_t *target) {
  if (level == move->rank) {
    memcpy(target, source, move->element);
    return;
  }
  if (level + 1 == move->rank) {
    move_run(move->extent[level], move->element, source, move->from[level], target, move->to[level]);
    return;
  }
  for (ptrdiff_t i = 0; i < (ptrdiff_t)move->extent[level]; i++) {
    move_level(move, level + 1, source + i * move->from[level], target + i * move->to[level]);
  }
}

typedef struct {
  const SnnMove *move;
  const uint8_t *source;
  uint8_t *target;
} MoveSlice;

static void move_slice(void *arg, size_t begin, size_t end) {
  const MoveSlice *slice = arg;
  SnnMove part = *slice->move;
  part.extent[0] = end - begin;
  move_level(&part, 0, slice->source + (ptrdiff_t)begin * part.from[0], slice->target + (ptrdiff_t)begin * part.to[0]);
}

void snn_move(SnnNode *node, const SnnMove *move, const void *source, void *target) {
  if (move->element == 0) return;
  size_t inner = move->element;
  for (uint32_t i = 0; i < move->rank; i++) {
    if (move->extent[i] == 0) return;
    if (i > 0) inner *= move->extent[i];
  }
  MoveSlice slice = {move, (const uint8_t *)source + move->from_start, (uint8_t *)target + move->to_start};
  if (move->rank == 0) {
    memcpy(slice.target, slice.source, move->element);
    return;
  }
  const size_t slice_bytes = 1 << 16;
  snn_parallel(node, move->extent[0], inner >= slice_bytes ? 1 : slice_bytes / inner, move_slice, &slice);
}

void snn_strides(uint32_t rank, const uint32_t *dims, ptrdiff_t *strides) {
  ptrdiff_t stride = 1;
  for (uint32_t i = rank; i-- > 0;) {
    strides[i] = stride;
    stride *= (ptrdiff_t)dims[i];
  }
}

void snn_fill(void *target, size_t count, const void *element, size_t bytes) {
  if (count == 0) return;
  if (bytes == 1) {
    memset(target, *(const uint8_t *)element, count);
    return;
  }
  move_run(count, bytes, element, 0, target, (ptrdiff_t)bytes);
}

size_t snn_zero_element(const SnnTensor *t, uint8_t bytes[8]) {
  memset(bytes, 0, 8);
  size_t size = snn_element_size(t->type);
  if (snn_is_quant8(t->type)) bytes[0] = (uint8_t)t->zero_point;
  return size;
}

SnnView snn_view(const uint32_t dims[4], bool nchw) {
  ptrdiff_t s[4];
  snn_strides(4, dims, s);
  if (nchw) return (SnnView){dims[0], dims[2], dims[3], dims[1], s[0], s[2], s[3], s[1]};
  return (SnnView){dims[0], dims[1], dims[2], dims[3], s[0], s[1], s[2], s[3]};
}

int snn_set_view(SnnNode *node, uint32_t output, bool nchw, uint64_t n, uint64_t h, uint64_t w, uint64_t c, SnnView *view) {
  SNN_CHECK(node, n <= UINT32_MAX && h <= UINT32_MAX && w <= UINT32_MAX && c <= UINT32_MAX, "the output is too large");
  uint32_t dims[4] = {(uint32_t)n, (uint32_t)(nchw ? c : h), (uint32_t)(nchw ? h : w), (uint32_t)(nchw ? w : c)};
  SNN_TRY(snn_set_shape(node, output, 4, dims));
  *view = snn_view(dims, nchw);
  return SNN_OK;
}

bool snn_next_index(uint32_t rank, const uint32_t *dims, uint32_t *index) {
  for (uint32_t i = rank; i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

bool snn_broadcast(SnnNode *node, const SnnTensor *a, const SnnTensor *b, uint32_t *rank, uint32_t dims[SNN_MAX_RANK]) {
  *rank = a->rank > b->rank ? a->rank : b->rank;
  for (uint32_t i = 0; i < *rank; i++) {
    uint32_t x = i < a->rank ? a->dims[a->rank - 1 - i] : 1, y = i < b->rank ? b->dims[b->rank - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      snn_fail(node, "dimensions %u and %u (counted %u from the end) do not broadcast", x, y, i + 1);
      return false;
    }
    dims[*rank - 1 - i] = x == 1 ? y : x;
  }
  return true;
}

void snn_broadcast_strides(const SnnTensor *t, uint32_t rank, ptrdiff_t strides[SNN_MAX_RANK]) {
  ptrdiff_t own[SNN_MAX_RANK];
  snn_strides(t->rank, t->dims, own);
  uint32_t missing = rank - t->rank;
  for (uint32_t i = 0; i < rank; i++) strides[i] = i < missing || t->dims[i - missing] == 1 ? 0 : own[i - missing];
}
