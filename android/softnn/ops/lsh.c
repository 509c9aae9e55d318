/* LSH_PROJECTION: locality-sensitive hashes. Each bit is the sign of a weighted sum of 64-bit fingerprints of the input's rows.
 *
 * The fingerprint is FarmHash's Fingerprint64 (the "na" variant), which NNAPI's and TFLite's results depend on. */
#include "../shape.h"

#include <string.h>

/* --- Fingerprint64 --- */

static const uint64_t k0 = 0xc3a5c85c97cb3127u, k1 = 0xb492b66fbe98f273u, k2 = 0x9ae16a3b2f90404fu;

/* The bytes to hash: a seed, then a row; never put together in memory. */
typedef struct {
  const uint8_t *head, *tail;
  size_t head_bytes;
} Bytes;

static uint64_t byte_at(const Bytes *s, size_t i) { return i < s->head_bytes ? s->head[i] : s->tail[i - s->head_bytes]; }

static uint64_t fetch(const Bytes *s, size_t at, int bytes) {
  uint64_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | byte_at(s, at + (size_t)i);
  return value;
}

static uint64_t word(const Bytes *s, size_t at) { return fetch(s, at, 8); }
static uint64_t rotate(uint64_t x, int n) { return x >> n | x << (64 - n); }
static uint64_t mix(uint64_t x) { return x ^ x >> 47; }
static uint64_t combine(uint64_t u, uint64_t v, uint64_t factor) { return mix((v ^ mix((u ^ v) * factor)) * factor) * factor; }

static uint64_t hash_to_16(const Bytes *s, size_t length) {
  uint64_t factor = k2 + 2 * length;
  if (length >= 8) {
    uint64_t a = word(s, 0) + k2, b = word(s, length - 8);
    return combine(rotate(b, 37) * factor + a, (rotate(a, 25) + b) * factor, factor);
  }
  if (length >= 4) return combine(length + (fetch(s, 0, 4) << 3), fetch(s, length - 4, 4), factor);
  if (length == 0) return k2;
  uint64_t y = byte_at(s, 0) + (byte_at(s, length / 2) << 8), z = length + (byte_at(s, length - 1) << 2);
  return mix(y * k2 ^ z * k0) * k2;
}

static uint64_t hash_to_32(const Bytes *s, size_t length) {
  uint64_t factor = k2 + 2 * length;
  uint64_t a = word(s, 0) * k1, b = word(s, 8), c = word(s, length - 8) * factor, d = word(s, length - 16) * k2;
  return combine(rotate(a + b, 43) + rotate(c, 30) + d, a + rotate(b + k2, 18) + c, factor);
}

static uint64_t hash_to_64(const Bytes *s, size_t length) {
  uint64_t factor = k2 + 2 * length;
  uint64_t a = word(s, 0) * k2, b = word(s, 8), c = word(s, length - 8) * factor, d = word(s, length - 16) * k2;
  uint64_t y = rotate(a + b, 43) + rotate(c, 30) + d, z = combine(y, a + rotate(b + k2, 18) + c, factor);
  uint64_t e = word(s, 16) * factor, f = word(s, 24), g = (y + word(s, length - 32)) * factor,
           h = (z + word(s, length - 24)) * factor;
  return combine(rotate(e + f, 43) + rotate(g, 30) + h, e + rotate(f + a, 18) + g, factor);
}

/* 32 bytes into two words. */
static void absorb(const Bytes *s, size_t at, uint64_t a, uint64_t b, uint64_t out[2]) {
  uint64_t last = word(s, at + 24);
  a += word(s, at);
  b = rotate(b + a + last, 21);
  uint64_t c = a;
  a += word(s, at + 8) + word(s, at + 16);
  out[0] = a + last;
  out[1] = b + rotate(a, 44) + c;
}

typedef struct {
  uint64_t x, y, z, v[2], w[2];
} State;

static void absorb_64(State *t, const Bytes *s, size_t at, uint64_t factor, uint64_t weight) {
  t->x = rotate(t->x + t->y + t->v[0] + word(s, at + 8), 37) * factor;
  t->y = rotate(t->y + t->v[1] + word(s, at + 48), 42) * factor;
  t->x ^= t->w[1] * weight;
  t->y += t->v[0] * weight + word(s, at + 40);
  t->z = rotate(t->z + t->w[0], 33) * factor;
  absorb(s, at, t->v[1] * factor, t->x + t->w[0], t->v);
  absorb(s, at + 32, t->z + t->w[1], t->y + word(s, at + 16), t->w);
  uint64_t swap = t->z;
  t->z = t->x;
  t->x = swap;
}

static uint64_t fingerprint(const Bytes *s, size_t length) {
  if (length <= 16) return hash_to_16(s, length);
  if (length <= 32) return hash_to_32(s, length);
  if (length <= 64) return hash_to_64(s, length);
  const uint64_t seed = 81;
  State t = {.x = seed * k2 + word(s, 0), .y = seed * k1 + 113, .z = mix((seed * k1 + 113) * k2 + 113) * k2};
  size_t end = (length - 1) / 64 * 64, rest = (length - 1) & 63;
  for (size_t at = 0; at < end; at += 64) absorb_64(&t, s, at, k1, 1);
  uint64_t factor = k1 + ((t.z & 0xff) << 1);
  t.w[0] += rest;
  t.v[0] += t.w[0];
  t.w[0] += t.v[0];
  absorb_64(&t, s, length - 64, factor, 9);
  return combine(combine(t.v[0], t.w[0], factor) + mix(t.y) * k0 + t.z, combine(t.v[1], t.w[1], factor) + t.x, factor);
}

/* --- the operation --- */

enum { SPARSE_DEPRECATED = 1, DENSE = 2, SPARSE = 3 };

typedef struct {
  uint32_t hashes, bits, rows;
  size_t row_bytes;
  int32_t type;
} Projection;

static int lsh_validate(SnnNode *node) {
  static const SnnTypeLevel hash_levels[] = {SNN_FLOATS(1), SNN_NO_TYPE};
  static const SnnTypeLevel input_levels[] = {
      SNN_FLOATS(1), {ANEURALNETWORKS_TENSOR_INT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, hash_levels), other = snn_type_level(node, 1, input_levels);
  if (level < 0 || other < 0 || !snn_signature(node, node->in[0]->type, "T*T~i", "I")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the hash", 2, 2) || !snn_check_rank(node, node->in[1], "the input", 1, SNN_MAX_RANK))
    return SNN_INVALID;
  if (snn_present(node->in[2]) && !snn_check_rank(node, node->in[2], "the weight", 1, 1)) return SNN_INVALID;
  int32_t type = 0;
  if (node->in[3]->data) memcpy(&type, node->in[3]->data, sizeof(type));
  if (other > level) level = other;
  return type == SPARSE && level < 3 ? 3 : level;
}

static int lsh_prepare(SnnNode *node) {
  const SnnTensor *hash = node->in[0], *in = node->in[1], *weight = node->in[2];
  Projection p = {0};
  SNN_TRY(snn_get_i32(node, 3, &p.type));
  SNN_CHECK(node, p.type >= SPARSE_DEPRECATED && p.type <= SPARSE,
            "type %d is none of 1 (sparse, deprecated), 2 (dense), 3 (sparse)", p.type);
  SNN_CHECK(node, hash->rank == 2 && hash->dims[1] <= 32, "the hash is not [hashes, 32 bits or fewer]");
  SNN_CHECK(node, in->rank >= 1 && in->dims[0] > 0, "the input has no rows");
  SNN_CHECK(node, !snn_present(weight) || (weight->rank == 1 && weight->dims[0] == in->dims[0]), "the weight is not [%u]",
            in->dims[0]);
  p.hashes = hash->dims[0];
  p.bits = hash->dims[1];
  p.rows = in->dims[0];
  p.row_bytes = snn_element_size(in->type) * snn_product(in->dims, 1, in->rank);
  uint64_t size = (uint64_t)p.hashes * (p.type == DENSE ? p.bits : 1);
  SNN_CHECK(node, size <= UINT32_MAX, "there are too many bits");
  uint32_t dims[1] = {(uint32_t)size};
  SNN_TRY(snn_set_shape(node, 0, 1, dims));
  Projection *params = snn_params(node, sizeof(p));
  if (!params) return SNN_NO_MEMORY;
  *params = p;
  return SNN_OK;
}

static float float_at(const SnnTensor *t, size_t i) {
  return t->type == ANEURALNETWORKS_TENSOR_FLOAT16 ? snn_half_to_float(((const uint16_t *)t->data)[i])
                                                   : ((const float *)t->data)[i];
}

static int32_t sign_bit(const SnnNode *node, const Projection *p, float seed) {
  uint8_t head[sizeof(seed)];
  double score = 0;
  memcpy(head, &seed, sizeof(seed));
  for (uint32_t i = 0; i < p->rows; i++) {
    Bytes key = {head, (const uint8_t *)node->in[1]->data + i * p->row_bytes, sizeof(head)};
    double value = (double)(int64_t)fingerprint(&key, sizeof(head) + p->row_bytes);
    score += snn_present(node->in[2]) ? (double)float_at(node->in[2], i) * value : value;
  }
  return score > 0;
}

static int lsh_execute(SnnNode *node) {
  const Projection *p = node->params;
  int32_t *out = node->out[0]->data;
  for (uint32_t h = 0; h < p->hashes; h++) {
    uint32_t signature = 0;
    for (uint32_t b = 0; b < p->bits; b++) {
      int32_t bit = sign_bit(node, p, float_at(node->in[0], (size_t)h * p->bits + b));
      if (p->type == DENSE) *out++ = bit;
      signature = signature << 1 | (uint32_t)bit;
    }
    /* SPARSE keeps the hashes apart: each has its own range of 2^bits. */
    uint32_t offset = p->type == SPARSE && p->bits < 32 ? h << p->bits : 0;
    if (p->type != DENSE) *out++ = (int32_t)(signature + offset);
  }
  return SNN_OK;
}

const SnnOperation snn_lsh_operations[] = {
    SNN_RECORD(LSH_PROJECTION, 1, lsh_validate, lsh_prepare, lsh_execute, SNN_ALLOW_OMITTED)
    {0},
};
