/* RANDOM_MULTINOMIAL: samples of classes by their unnormalised log probabilities.
 *
 * Which sequence the seeds give is not defined; ours is Philox4x32-10, a counter-based generator, so that each sample depends
 * on the seeds and its own number alone. */
#include "../numeric.h"
#include "../shape.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

typedef struct {
  uint32_t batches, classes, samples;
} Multinomial;

static int multinomial_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS(3), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TiI", "I")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the logits", 2, 2) || !snn_check_rank(node, node->in[2], "the seeds", 1, 1))
    return SNN_INVALID;
  return level;
}

static int multinomial_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0], *seeds = node->in[2];
  int32_t samples;
  SNN_CHECK(node, in->rank == 2 && in->dims[1] > 0, "the logits are not [batches, classes]");
  SNN_CHECK(node, seeds->rank == 1 && seeds->dims[0] == 2, "the seeds are not [2]");
  SNN_TRY(snn_get_i32(node, 1, &samples));
  SNN_CHECK(node, samples > 0, "%d samples are not a positive number", samples);
  uint32_t dims[2] = {in->dims[0], (uint32_t)samples};
  SNN_TRY(snn_set_shape(node, 0, 2, dims));
  Multinomial *params = snn_params(node, sizeof(*params));
  if (!params) return SNN_NO_MEMORY;
  *params = (Multinomial){in->dims[0], in->dims[1], (uint32_t)samples};
  return snn_get_scratch(node, (uint64_t)in->dims[1] * sizeof(double));
}

static void multiply(uint32_t a, uint32_t b, uint32_t *high, uint32_t *low) {
  uint64_t product = (uint64_t)a * b;
  *high = (uint32_t)(product >> 32);
  *low = (uint32_t)product;
}

/* A number in [0, 1) with 53 random bits. */
static double uniform(const uint32_t seeds[2], uint32_t batch, uint32_t sample) {
  uint32_t c[4] = {sample, batch, 0, 0}, key[2] = {seeds[0], seeds[1]};
  for (int round = 0; round < 10; round++) {
    uint32_t high0, low0, high1, low1;
    multiply(0xD2511F53u, c[0], &high0, &low0);
    multiply(0xCD9E8D57u, c[2], &high1, &low1);
    c[0] = high1 ^ c[1] ^ key[0];
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ key[1];
    c[3] = low0;
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  uint64_t bits = (uint64_t)c[0] << 32 | c[1];
  return (double)(bits >> 11) * 0x1p-53;
}

/* Seeds that are both 0 ask for another sequence each time. */
static void choose_seeds(const int32_t *given, uint32_t seeds[2]) {
  static atomic_uint calls;
  seeds[0] = (uint32_t)given[0];
  seeds[1] = (uint32_t)given[1];
  if (seeds[0] != 0 || seeds[1] != 0) return;
  struct timespec now = {0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  seeds[0] = (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec << 16;
  seeds[1] = (uint32_t)now.tv_sec + 0x9E3779B9u * (atomic_fetch_add(&calls, 1) + 1);
}

/* Running sums of exp(logit - largest logit); answers the last. */
static double accumulate(const float *logits, uint32_t classes, double *sums) {
  float largest = -INFINITY;
  for (uint32_t c = 0; c < classes; c++) largest = logits[c] > largest ? logits[c] : largest;
  double sum = 0;
  for (uint32_t c = 0; c < classes; c++) {
    sum += isfinite(logits[c]) && isfinite(largest) ? exp((double)logits[c] - (double)largest) : 0;
    sums[c] = sum;
  }
  return sum;
}

/* The first class whose sum lies above. */
static uint32_t pick(const double *sums, uint32_t classes, double value) {
  uint32_t low = 0, high = classes - 1;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (sums[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

static int multinomial_execute(SnnNode *node) {
  const Multinomial *p = node->params;
  const float *logits = node->in[0]->data;
  int32_t *out = node->out[0]->data;
  double *sums = node->scratch;
  uint32_t seeds[2];
  choose_seeds(node->in[2]->data, seeds);
  for (uint32_t b = 0; b < p->batches; b++, logits += p->classes) {
    double total = accumulate(logits, p->classes, sums);
    for (uint32_t s = 0; s < p->samples; s++) *out++ = (int32_t)pick(sums, p->classes, uniform(seeds, b, s) * total);
  }
  return SNN_OK;
}

const SnnOperation snn_random_operations[] = {
    SNN_RECORD(RANDOM_MULTINOMIAL, 3, multinomial_validate, multinomial_prepare, multinomial_execute, SNN_F16_BY_F32)
    {0},
};
