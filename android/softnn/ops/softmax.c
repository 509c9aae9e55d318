/* SOFTMAX and LOG_SOFTMAX along one axis.
 *
 * The quantised form is TFLite's fixed-point one (formats Qm.n after gemmlowp): differences to the maximum of a row are scaled to Q5.26, their
 * exponentials are Q0.31, the sum is Q12.19. There are only 256 differences, so prepare tabulates the exponentials. */
#include <float.h>
#include <string.h>

#include "../numeric.h"
#include "../shape.h"

enum { DIFFERENCES = 256, DIFFERENCE_BITS = 5, SUM_BITS = 12 };

typedef struct {
  size_t outer, axis, inner;
  float beta;
  int32_t type;
  int32_t least;                      /* the difference below which the output is 0 */
  int32_t exponentials[DIFFERENCES];  /* of -i, Q0.31 */
} Softmax;

/* --- fixed-point functions --- */

static int32_t half_up(int32_t x, int n) { return snn_rdbpot(x, n); }

/* Product of two fixed-point numbers of any sign; the integer bits add up. */
static int32_t times(int32_t a, int32_t b) { return snn_srdhm(a, b); }

/* exp(a) for a in [-1/4, 0), Q0.31: a Taylor series around -1/8. */
static int32_t exp_of_quarter(int32_t a) {
  const int32_t exp_minus_eighth = 1895147668, third = 715827883;
  int32_t x = a + (1 << 28), x2 = times(x, x), x3 = times(x2, x), x4 = times(x2, x2);
  int32_t tail = half_up(times(half_up(x4, 2) + x3, third) + x2, 1);
  return exp_minus_eighth + times(exp_minus_eighth, x + tail);
}

/* exp(a) for a <= 0 in Q5.26, as Q0.31: the last quarter by the series, each further bit by a factor. */
static int32_t exp_of_negative(int32_t a) {
  static const int32_t factors[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242}; /* exp of -1/4 ... -16 */
  const int32_t quarter = 1 << 24;
  if (a == 0) return INT32_MAX;
  int32_t last = (a & (quarter - 1)) - quarter;
  int32_t result = exp_of_quarter(snn_saturating_left(last, DIFFERENCE_BITS));
  uint32_t rest = (uint32_t)last - (uint32_t)a;
  for (int bit = 0; bit < 7; bit++) {
    if (rest >> (24 + bit) & 1) result = times(result, factors[bit]);
  }
  return result;
}

/* 1 / (1 + a) for a in [0, 1), Q0.31: three Newton steps on half the denominator, in Q2.29. */
static int32_t reciprocal_of_one_plus(int32_t a) {
  const int32_t seed = 1515870810, slope = -1010580540, one = 1 << 29;
  int32_t half_denominator = (int32_t)(((int64_t)a + INT32_MAX + 1) / 2);
  int32_t x = seed + times(half_denominator, slope);
  for (int step = 0; step < 3; step++) {
    int32_t missing = one - times(half_denominator, x);
    x += snn_saturating_left(times(x, missing), 2);
  }
  return snn_saturating_left(x, 1);
}

/* --- validate --- */

static const SnnTypeLevel softmax_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                             {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                             SNN_NO_TYPE};
static const SnnTypeLevel log_softmax_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};

static int validate_softmax(SnnNode *node) {
  int level = snn_type_level(node, 0, softmax_types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Tf|i", "T")) return SNN_INVALID;
  const SnnTensor *in = node->in[0];
  if (!snn_check_rank(node, in, "input 0", 1, 4) || !snn_check_fixed_output(node, 1.0f / 256, 0, -128)) return SNN_INVALID;
  bool old_rank = !in->rank_known || in->rank == 2 || in->rank == 4;
  return (node->n_in == 3 || !old_rank) && level < 3 ? 3 : level;
}

static int validate_log_softmax(SnnNode *node) {
  int level = snn_type_level(node, 0, log_softmax_types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Tfi", "T")) return SNN_INVALID;
  return level;
}

/* --- prepare --- */

static void tabulate(Softmax *softmax, float scale) {
  double real = fmin((double)softmax->beta * (double)scale * (1 << (31 - DIFFERENCE_BITS)), 2147483647.0);
  SnnMultiplier multiplier = snn_quantize_multiplier(real);
  double radius = ((1 << DIFFERENCE_BITS) - 1) * (double)(1 << (31 - DIFFERENCE_BITS)) / ldexp(1, multiplier.shift);
  softmax->least = -snn_round(floor(radius));
  for (int32_t i = 0; i < DIFFERENCES && -i >= softmax->least; i++) {
    softmax->exponentials[i] = exp_of_negative(snn_multiply(-i, multiplier));
  }
}

static int prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  float beta;
  int32_t axis = -1;
  uint32_t at;
  SNN_TRY(snn_get_f32(node, 1, &beta));
  if (node->n_in > 2) SNN_TRY(snn_get_i32(node, 2, &axis));
  bool is_softmax = node->op->code == ANEURALNETWORKS_SOFTMAX;
  SNN_CHECK(node, !is_softmax || in->rank <= 4, "input 0 has rank %u; at most 4 expected", in->rank);
  SNN_CHECK(node, !is_softmax || beta > 0, "beta is %g; it must be positive", (double)beta);
  if (!snn_axis(node, axis, in->rank, &at)) return SNN_BAD;
  SNN_TRY(snn_set_shape_like(node, 0, in));
  Softmax *softmax = snn_params(node, sizeof *softmax);
  if (softmax == NULL) return SNN_NO_MEMORY;
  softmax->outer = snn_product(in->dims, 0, at);
  softmax->axis = in->dims[at];
  softmax->inner = snn_product(in->dims, at + 1, in->rank);
  softmax->beta = beta;
  softmax->type = in->type;
  if (snn_is_quant8(in->type)) tabulate(softmax, in->scale);
  return SNN_OK;
}

/* --- execute --- */

static void float_row(const Softmax *softmax, const float *in, float *out) {
  size_t step = softmax->inner;
  float max = in[0], sum = 0;
  for (size_t i = 1; i < softmax->axis; i++) max = in[i * step] > max ? in[i * step] : max;
  for (size_t i = 0; i < softmax->axis; i++) {
    float e = expf((in[i * step] - max) * softmax->beta);
    out[i * step] = e;
    sum += e;
  }
  for (size_t i = 0; i < softmax->axis; i++) out[i * step] /= sum;
}

static void log_row(const Softmax *softmax, const float *in, float *out) {
  size_t step = softmax->inner;
  float max = in[0], sum = 0;
  for (size_t i = 1; i < softmax->axis; i++) max = in[i * step] > max ? in[i * step] : max;
  for (size_t i = 0; i < softmax->axis; i++) sum += expf((in[i * step] - max) * softmax->beta);
  float log_sum = logf(sum);
  for (size_t i = 0; i < softmax->axis; i++) out[i * step] = (in[i * step] - max) * softmax->beta - log_sum;
}

/* Both signednesses as unsigned: only differences matter, and the output's zero point is its least value. */
static void quantized_row(const Softmax *softmax, const uint8_t *in, uint8_t *out) {
  const uint8_t flip = softmax->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM ? 0 : 0x80;
  size_t step = softmax->inner;
  int32_t max = 0;
  for (size_t i = 0; i < softmax->axis; i++) {
    int32_t x = in[i * step] ^ flip;
    max = x > max ? x : max;
  }
  uint32_t sum = 0;
  for (size_t i = 0; i < softmax->axis; i++) {
    int32_t difference = (in[i * step] ^ flip) - max;
    if (difference >= softmax->least) sum += (uint32_t)half_up(softmax->exponentials[-difference], SUM_BITS);
  }
  int headroom = sum ? __builtin_clz(sum) : 31;
  int32_t scale = reciprocal_of_one_plus((int32_t)((sum << headroom) - ((uint32_t)1 << 31)));
  int shift = SUM_BITS - headroom + 31 - 8;
  uint8_t outputs[DIFFERENCES];
  for (int32_t d = 0; d < DIFFERENCES; d++) {
    int32_t value = -d >= softmax->least ? half_up(times(scale, softmax->exponentials[d]), shift) : 0;
    outputs[d] = (uint8_t)snn_clamp(value, 0, 255);
  }
  for (size_t i = 0; i < softmax->axis; i++) out[i * step] = outputs[max - (in[i * step] ^ flip)] ^ flip;
}

typedef struct {
  const Softmax *softmax;
  const void *in;
  void *out;
  bool is_log;
} Job;

static void run(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Softmax *softmax = job->softmax;
  for (size_t i = begin; i < end; i++) {
    size_t at = i / softmax->inner * softmax->axis * softmax->inner + i % softmax->inner;
    if (snn_is_quant8(softmax->type)) quantized_row(softmax, (const uint8_t *)job->in + at, (uint8_t *)job->out + at);
    else if (job->is_log) log_row(softmax, (const float *)job->in + at, (float *)job->out + at);
    else float_row(softmax, (const float *)job->in + at, (float *)job->out + at);
  }
}

static int execute(SnnNode *node) {
  const Softmax *softmax = node->params;
  Job job = {softmax, node->in[0]->data, node->out[0]->data, node->op->code == ANEURALNETWORKS_LOG_SOFTMAX};
  if (softmax->axis > 0) snn_parallel(node, softmax->outer * softmax->inner, 1 + 4096 / softmax->axis, run, &job);
  return SNN_OK;
}

const SnnOperation snn_softmax_operations[] = {
    SNN_RECORD(SOFTMAX, 1, validate_softmax, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(LOG_SOFTMAX, 3, validate_log_softmax, prepare, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
