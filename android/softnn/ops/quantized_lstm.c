/* QUANTIZED_16BIT_LSTM (TFLite's basic uint8 LSTM) and QUANTIZED_LSTM (its integer LSTM: 8-bit activations, 16-bit cell state).
 *
 * Both follow TFLite's integer arithmetic bit for bit. Numbers called Qm are 16-bit fixed point with m integer bits, so that 2^m
 * is the end of their range; Q0 ends at 32767 for 1. */
#include "recurrent.h"

#include <string.h>

enum { I, F, C, O, GATES };

/* --- 16-bit fixed point --- */

static int16_t saturate16(int64_t x) { return (int16_t)(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x); }

/* The product's upper half, rounded: Qm * Qn = Q(m + n). */
static int16_t times16(int16_t a, int16_t b) {
  if (a == INT16_MIN && b == INT16_MIN) return INT16_MAX;
  return (int16_t)(((int32_t)a * b + (1 << 14)) >> 15);
}

/* To the same number with `bits` integer bits fewer (or, when negative, more). */
static int16_t rescale16(int16_t x, int bits) {
  return bits >= 0 ? saturate16((int64_t)x * ((int64_t)1 << bits)) : (int16_t)snn_rdbpot(x, -bits);
}

/* exp(a) for a in [-1/4, 0), Q0: a Taylor series around -1/8. */
static int16_t exp_of_quarter(int16_t a) {
  const int16_t exp_minus_eighth = 28918, third = 10923; /* 1895147668 and 715827883 in 16 bits */
  int16_t x = (int16_t)(a + (1 << 12));
  int16_t x2 = times16(x, x), x3 = times16(x2, x), x4 = times16(x2, x2);
  int16_t tail = (int16_t)snn_rdbpot(times16((int16_t)(snn_rdbpot(x4, 2) + x3), third) + x2, 1);
  return saturate16(exp_minus_eighth + times16(exp_minus_eighth, (int16_t)(x + tail)));
}

/* exp(a) for a <= 0 with `bits` integer bits, as Q0: the last quarter by the series, each further bit by a factor. */
static int16_t exp_of_negative(int16_t a, int bits) {
  static const int16_t factors[] = {25520, 19875, 12055, 4435, 600, 11, 0}; /* exp of -1/4, -1/2, -1 ... -16 */
  const int fraction = 15 - bits;
  if (a == 0) return INT16_MAX;
  if (bits > 5 && a < -(1 << (20 - bits))) return 0; /* below -32 */
  const int16_t quarter = (int16_t)(1 << (fraction - 2));
  int16_t last = (int16_t)((a & (quarter - 1)) - quarter);
  int16_t result = exp_of_quarter(rescale16(last, bits));
  uint32_t rest = (uint32_t)(last - a);
  for (int exponent = -2; exponent <= 4 && exponent < bits; exponent++) {
    if (rest >> (fraction + exponent) & 1) result = times16(result, factors[exponent + 2]);
  }
  return result;
}

/* 1 / ((1 + a) / 2) for a in [0, 1], Q0 to Q2, by Newton's method. */
static int16_t reciprocal_of_half_sum(int16_t a) {
  const int16_t seed = 23130, slope = -15420, one = 1 << 13; /* 48/17 and -32/17, Q2 */
  int16_t half = (int16_t)(((int32_t)a + INT16_MAX + 1) / 2);
  int16_t x = (int16_t)(seed + times16(half, slope));
  for (int step = 0; step < 3; step++) {
    int16_t missing = (int16_t)(one - times16(half, x));
    x = (int16_t)(x + rescale16(times16(x, missing), 2));
  }
  return x;
}

/* tanh of a number with `bits` integer bits, as Q0. */
static int16_t tanh16(int16_t a, int bits) {
  if (a == 0) return 0;
  int16_t negative = a < 0 ? a : (int16_t)-a;
  /* (1 - e) / (1 + e) with e = exp(2 * negative): the doubling only moves the binary point. */
  int16_t t = rescale16((int16_t)(reciprocal_of_half_sum(exp_of_negative(negative, bits + 1)) - (1 << 13)), 2);
  return a < 0 ? (int16_t)-t : t;
}

/* 1 / (1 + exp(-a)) of a Q3, as Q0. */
static int16_t sigmoid16(int16_t a) {
  if (a == 0) return 1 << 14;
  int16_t negative = a < 0 ? a : (int16_t)-a;
  /* Half of the reciprocal of half the sum: one integer bit fewer, then from Q1 to Q0. */
  int16_t positive = rescale16(reciprocal_of_half_sum(exp_of_negative(negative, 3)), 1);
  return a > 0 ? positive : (int16_t)(INT16_MAX - positive);
}

/* --- QUANTIZED_16BIT_LSTM --- */

enum { B16_WEIGHTS = 1, B16_RECURRENT = 5, B16_BIAS = 9, B16_CELL = 13, B16_STATE = 14, STATE_BITS = 4 };

typedef struct {
  uint32_t batch, input, output;
  SnnMultiplier scale; /* of the accumulators, to Q3 */
} Basic;

static int basic_validate(SnnNode *node) {
  if (!snn_signature(node, -1, "UUUUUUUUUIIIISU", "SU")) return SNN_INVALID;
  for (uint32_t i = 0; i < node->n_in; i++) {
    uint32_t rank = i >= B16_BIAS && i < B16_CELL ? 1 : 2;
    if (!snn_check_rank(node, node->in[i], "an input", rank, rank)) return SNN_INVALID;
  }
  return 3;
}

/* All four gates share one multiplier, so their weights must share scale and zero point, and their biases the product scale. */
static int check_basic_scales(SnnNode *node) {
  const SnnTensor *const fixed[] = {node->in[0], node->in[B16_STATE], node->out[1]}, *weights = node->in[B16_WEIGHTS];
  for (size_t i = 0; i < 3; i++) {
    SNN_CHECK(node, fixed[i]->scale == 1.f / 128 && fixed[i]->zero_point == 128,
              "input, previous output and output must have scale 1/128 and zero point 128, not %.9g and %d",
              (double)fixed[i]->scale, fixed[i]->zero_point);
  }
  SNN_CHECK(node, node->in[B16_CELL]->scale == 1.f / 2048 && node->out[0]->scale == 1.f / 2048,
            "the cell state must have scale 1/2048");
  for (uint32_t i = 0; i < 2 * GATES; i++) {
    const SnnTensor *t = node->in[B16_WEIGHTS + i];
    SNN_CHECK(node, t->scale == weights->scale && t->zero_point == weights->zero_point,
              "the weights of input %u have other parameters than input %d", B16_WEIGHTS + i, B16_WEIGHTS);
  }
  for (uint32_t g = 0; g < GATES; g++) {
    float scale = node->in[B16_BIAS + g]->scale;
    SNN_CHECK(node, scale == weights->scale / 128, "the bias scale %.9g is not the weights' %.9g / 128", (double)scale,
              (double)weights->scale);
  }
  return SNN_OK;
}

static int basic_prepare(SnnNode *node) {
  Basic p = {0};
  SNN_TRY(check_basic_scales(node));
  SNN_TRY(snn_matrix_size(node, 0, &p.batch, &p.input));
  SNN_TRY(snn_matrix_size(node, B16_STATE, &(uint32_t){0}, &p.output));
  SNN_TRY(snn_check_matrix(node, B16_STATE, p.batch, p.output));
  SNN_TRY(snn_check_matrix(node, B16_CELL, p.batch, p.output));
  for (uint32_t g = 0; g < GATES; g++) {
    SNN_TRY(snn_check_matrix(node, B16_WEIGHTS + g, p.output, p.input));
    SNN_TRY(snn_check_matrix(node, B16_RECURRENT + g, p.output, p.output));
    SNN_TRY(snn_check_vector(node, B16_BIAS + g, p.output));
  }
  SNN_TRY(snn_set_shape_like(node, 0, node->in[B16_CELL]));
  SNN_TRY(snn_set_shape_like(node, 1, node->in[B16_STATE]));
  Basic *params = snn_params(node, sizeof(p));
  if (!params) return SNN_NO_MEMORY;
  p.scale = snn_quantize_multiplier(4096 * node->in[B16_BIAS]->scale);
  *params = p;
  return SNN_OK;
}

static int32_t wrap32(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }

static int64_t dot_u8(const uint8_t *x, int32_t x_zero, const uint8_t *w, int32_t w_zero, size_t count) {
  int64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += (int32_t)(x[i] - x_zero) * (w[i] - w_zero);
  return sum;
}

static int16_t basic_gate(const SnnNode *node, const Basic *p, uint32_t gate, uint32_t unit, const uint8_t *x,
                          const uint8_t *h) {
  const uint8_t *w = node->in[B16_WEIGHTS + gate]->data, *r = node->in[B16_RECURRENT + gate]->data;
  int32_t zero = node->in[B16_WEIGHTS]->zero_point;
  int64_t sum = ((const int32_t *)node->in[B16_BIAS + gate]->data)[unit];
  sum += dot_u8(x, 128, w + (size_t)unit * p->input, zero, p->input) +
         dot_u8(h, 128, r + (size_t)unit * p->output, zero, p->output);
  return saturate16(snn_multiply(wrap32(sum), p->scale));
}

static int basic_execute(SnnNode *node) {
  const Basic *p = node->params;
  const uint8_t *x = node->in[0]->data, *h = node->in[B16_STATE]->data;
  const int16_t *cell = node->in[B16_CELL]->data;
  int16_t *cell_out = node->out[0]->data;
  uint8_t *out = node->out[1]->data;
  for (uint32_t b = 0; b < p->batch; b++, x += p->input, h += p->output) {
    for (uint32_t u = 0; u < p->output; u++, cell++, cell_out++, out++) {
      int16_t input = sigmoid16(basic_gate(node, p, I, u, x, h)), modulation = tanh16(basic_gate(node, p, C, u, x, h), 3);
      int16_t forget = sigmoid16(basic_gate(node, p, F, u, x, h)), output = sigmoid16(basic_gate(node, p, O, u, x, h));
      int16_t next = saturate16(rescale16(times16(input, modulation), -STATE_BITS) + times16(forget, *cell));
      int16_t activation = times16(output, tanh16(rescale16(next, STATE_BITS - 3), 3));
      *cell_out = next;
      *out = (uint8_t)(128 + snn_clamp(snn_rdbpot(activation, 8), -128, 127));
    }
  }
  return SNN_OK;
}

/* --- QUANTIZED_LSTM --- */

enum {
  WEIGHTS = 1,
  RECURRENT = 5,
  PEEPHOLE = 9,
  BIAS = 12,
  PROJECTION = 16,
  PROJECTION_BIAS = 17,
  STATE = 18,
  CELL = 19,
  NORM = 20,
  CELL_CLIP = 24,
  PROJECTION_CLIP = 25,
  GATE_SCALES = 26,
  HIDDEN_ZERO = 30,
  HIDDEN_SCALE = 31
};
static const char full_inputs[] = "AW~WWWW~WWWS~S~S~I~IIIW~I~ASS~S~S~S~F~F~FFFFiF";

static uint32_t peephole_input(int gate) { return PEEPHOLE + (gate == O ? 2 : (uint32_t)gate); } /* not for C */

typedef struct {
  SnnMultiplier input, recurrent, peephole, norm;
  int32_t variance_limit;
} Gate;

typedef struct {
  uint32_t batch, input, cells, output;
  bool cifg, peepholes, norm, projected;
  Gate gates[GATES];
  SnnMultiplier hidden, projection;
  int32_t hidden_offset, cell_shift; /* the cell state's scale is 2^cell_shift */
  int16_t cell_clip;
  int8_t projection_clip;
} Full;

static int full_validate(SnnNode *node) {
  if (!snn_signature(node, -1, full_inputs, "ASA")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "the input", 2, 2) ? 4 : SNN_INVALID;
}

static bool has(const SnnNode *node, uint32_t input) { return snn_present(node->in[input]); }

static int check_full_shapes(SnnNode *node, Full *p) {
  uint32_t columns;
  SNN_TRY(snn_matrix_size(node, 0, &p->batch, &p->input));
  SNN_TRY(snn_matrix_size(node, WEIGHTS + O, &p->cells, &columns));
  SNN_TRY(snn_matrix_size(node, RECURRENT + O, &columns, &p->output));
  SNN_CHECK(node, p->cells > 0, "there are no cells");
  p->cifg = !has(node, WEIGHTS + I);
  SNN_CHECK(node, has(node, RECURRENT + I) == !p->cifg && has(node, BIAS + I) == !p->cifg,
            "weights, recurrent weights and bias of the input gate are not all there or all omitted");
  p->peepholes = has(node, peephole_input(F));
  SNN_CHECK(node, has(node, peephole_input(O)) == p->peepholes && (p->cifg || has(node, peephole_input(I)) == p->peepholes),
            "the peephole is there for some gates only");
  p->norm = has(node, NORM + F);
  SNN_CHECK(node,
            has(node, NORM + C) == p->norm && has(node, NORM + O) == p->norm && has(node, NORM + I) == (p->norm && !p->cifg),
            "the layer normalisation is there for some gates only");
  p->projected = has(node, PROJECTION);
  SNN_CHECK(node, p->projected || !has(node, PROJECTION_BIAS), "a projection bias needs projection weights");
  SNN_CHECK(node, p->projected || p->cells == p->output, "without projection %u cells cannot give %u outputs", p->cells,
            p->output);
  for (int g = p->cifg ? F : I; g < GATES; g++) {
    SNN_TRY(snn_check_matrix(node, WEIGHTS + (uint32_t)g, p->cells, p->input));
    SNN_TRY(snn_check_matrix(node, RECURRENT + (uint32_t)g, p->cells, p->output));
    SNN_TRY(snn_check_vector(node, BIAS + (uint32_t)g, p->cells));
    SNN_TRY(snn_check_vector(node, NORM + (uint32_t)g, p->cells));
    if (g != C) SNN_TRY(snn_check_vector(node, peephole_input(g), p->cells));
  }
  SNN_TRY(snn_check_matrix(node, PROJECTION, p->output, p->cells));
  SNN_TRY(snn_check_vector(node, PROJECTION_BIAS, p->output));
  SNN_TRY(snn_check_matrix(node, STATE, p->batch, p->output));
  SNN_TRY(snn_check_matrix(node, CELL, p->batch, p->cells));
  SNN_TRY(snn_set_shape_like(node, 0, node->in[STATE]));
  SNN_TRY(snn_set_shape_like(node, 1, node->in[CELL]));
  return snn_set_shape_like(node, 2, node->in[STATE]);
}

/* The effective scales, in float as TFLite forms them. */
static int read_gate_scales(SnnNode *node, Full *p) {
  for (int g = p->cifg ? F : I; g < GATES; g++) {
    Gate *gate = &p->gates[g];
    uint32_t n = (uint32_t)g;
    float scale;
    SNN_TRY(snn_get_f32(node, GATE_SCALES + n, &scale));
    SNN_CHECK(node, scale > 0, "the intermediate scale %g of input %u is not positive", (double)scale, GATE_SCALES + n);
    gate->input = snn_quantize_multiplier(node->in[WEIGHTS + n]->scale * node->in[0]->scale / scale);
    gate->recurrent = snn_quantize_multiplier(node->in[RECURRENT + n]->scale * node->in[STATE]->scale / scale);
    if (p->peepholes && g != C) {
      double factor = ldexp(node->in[peephole_input(g)]->scale, p->cell_shift) / scale;
      gate->peephole = snn_quantize_multiplier((float)factor);
    }
    if (!p->norm) continue;
    float norm_scale = node->in[NORM + n]->scale;
    gate->norm = snn_quantize_multiplier(norm_scale);
    gate->norm.shift += 12;
    gate->variance_limit = 10000 * norm_scale >= 1 ? 1 : 0;
  }
  return SNN_OK;
}

static int optional_f32(SnnNode *node, uint32_t input, float *value) {
  *value = 0;
  return has(node, input) ? snn_get_f32(node, input, value) : SNN_OK;
}

static int full_prepare(SnnNode *node) {
  Full p = {0};
  float hidden_scale, cell_clip, projection_clip;
  int32_t hidden_zero;
  if (!snn_all_present(node, full_inputs)) return SNN_BAD;
  SNN_TRY(check_full_shapes(node, &p));
  double exponent = log2(node->in[CELL]->scale);
  p.cell_shift = snn_round(exponent);
  SNN_CHECK(node, fabs(exponent - p.cell_shift) < 1e-3 && p.cell_shift >= -15 && p.cell_shift <= -9,
            "the cell state's scale %.9g is not a power of 2 from 2^-15 to 2^-9", (double)node->in[CELL]->scale);
  SNN_TRY(read_gate_scales(node, &p));
  SNN_TRY(snn_get_i32(node, HIDDEN_ZERO, &hidden_zero));
  SNN_CHECK(node, hidden_zero >= -128 && hidden_zero <= 127, "the hidden zero point %d does not fit 8 bits", hidden_zero);
  /* Before a projection TFLite stores the hidden values with the zero point taken off (which shows where they saturate). */
  p.hidden_offset = p.projected ? -hidden_zero : hidden_zero;
  SNN_TRY(snn_get_f32(node, HIDDEN_SCALE, &hidden_scale));
  SNN_CHECK(node, hidden_scale > 0, "the hidden scale %g is not positive", (double)hidden_scale);
  SNN_TRY(optional_f32(node, CELL_CLIP, &cell_clip));
  SNN_TRY(optional_f32(node, PROJECTION_CLIP, &projection_clip));
  p.hidden = snn_quantize_multiplier((float)(ldexp(1, -15) / hidden_scale * ldexp(1, -15)));
  if (cell_clip > 0) p.cell_clip = (int16_t)fminf(cell_clip / node->in[CELL]->scale, 32767);
  if (p.projected) {
    float scale = node->in[PROJECTION]->scale;
    p.projection = snn_quantize_multiplier(scale * hidden_scale / node->in[STATE]->scale);
    if (projection_clip > 0) p.projection_clip = (int8_t)fminf(projection_clip / node->in[STATE]->scale, 127);
  }
  Full *params = snn_params(node, sizeof(p));
  if (!params) return SNN_NO_MEMORY;
  *params = p;
  return snn_get_scratch(node, (uint64_t)p.cells * (GATES * sizeof(int16_t) + sizeof(int8_t)));
}

static int64_t dot_s8(const int8_t *x, int32_t x_zero, const int8_t *w, size_t count) {
  int64_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += (int32_t)(x[i] - x_zero) * w[i];
  return sum;
}

/* 1 / sqrt(x) as a multiplier: five Newton steps from 1 in Q3.28 (TFLite's GetInvSqrtQuantizedMultiplierExp). */
static SnnMultiplier inverse_sqrt(int32_t x) {
  if (x <= 1) return (SnnMultiplier){INT32_MAX, 0};
  int right = 11;
  while (x >= 1 << 29) x /= 4, right++;
  int pairs = (__builtin_clz((uint32_t)x) - 1) / 2 - 1;
  right -= pairs;
  x = snn_shift_left(x, 2 * pairs);
  const int32_t half_three = (1 << 28) + (1 << 27), half_sqrt2 = 1518500250;
  int32_t in = x >> 1, half_in = snn_rdbpot(in, 1), root = 1 << 28;
  for (int step = 0; step < 5; step++) {
    int64_t cube = (int64_t)snn_srdhm(snn_srdhm(root, root), root) * 64; /* Q9 to Q3 */
    int32_t cubed = cube > INT32_MAX ? INT32_MAX : cube < INT32_MIN ? INT32_MIN : (int32_t)cube;
    int64_t next = ((int64_t)snn_srdhm(half_three, root) - snn_srdhm(half_in, cubed)) * 8; /* Q6 to Q3 */
    root = next > INT32_MAX ? INT32_MAX : next < INT32_MIN ? INT32_MIN : (int32_t)next;
  }
  root = snn_srdhm(root, half_sqrt2);
  if (right < 0) root = snn_shift_left(root, -right), right = 0;
  return (SnnMultiplier){root, -right};
}

/* Mean 0, variance 1 in 1/1024, then weights and bias; the result is Q3. */
static void normalise(const Full *p, const Gate *gate, const int16_t *weights, const int32_t *biases, int16_t *x) {
  int64_t sum = 0, squares = 0, count = p->cells;
  for (uint32_t u = 0; u < p->cells; u++) {
    sum += x[u];
    squares += (int32_t)x[u] * x[u];
  }
  int64_t mean = sum * 1024 / count;
  int32_t variance = (int32_t)((squares * ((1 << 20) / count) - mean * mean) / (1 << 20));
  SnnMultiplier inverse = inverse_sqrt(variance < 1 ? gate->variance_limit : variance);
  for (uint32_t u = 0; u < p->cells; u++) {
    int64_t product = (int64_t)snn_multiply((int32_t)(1024 * x[u] - mean), inverse) * weights[u] + biases[u];
    int32_t rounded = (int32_t)((product > 0 ? product + 512 : product - 512) / 1024);
    x[u] = saturate16(snn_multiply(rounded, gate->norm));
  }
}

/* The peephole weight of a cell, or 0. With a projection to fewer outputs than cells TFLite (and AOSP's executor) walk the cells
 * of all batches in steps of the number of outputs: weights repeat, and the last cells have none. We do as they do. */
static int32_t peephole_weight(const Full *p, const int16_t *peephole, uint32_t batch, uint32_t cell) {
  if (p->output >= p->cells) return peephole[cell];
  size_t at = (size_t)batch * p->cells + cell;
  return at < (size_t)p->batch * p->output ? peephole[at % p->output] : 0;
}

/* One gate before its activation, Q3; each product is rounded and added with saturation. */
static void full_gate(const SnnNode *node, const Full *p, int g, uint32_t batch, const int8_t *x, const int8_t *h,
                      const int16_t *cell, int16_t *out) {
  const Gate *gate = &p->gates[g];
  const SnnTensor *const *in = (const SnnTensor *const *)node->in;
  const int8_t *w = in[WEIGHTS + g]->data, *r = in[RECURRENT + g]->data;
  const int32_t *biases = in[BIAS + g]->data;
  const int16_t *peep = p->peepholes && g != C ? in[peephole_input(g)]->data : NULL;
  for (uint32_t u = 0; u < p->cells; u++) {
    int64_t from_input = dot_s8(x, in[0]->zero_point, w + (size_t)u * p->input, p->input) + (p->norm ? 0 : biases[u]);
    int64_t from_state = dot_s8(h, in[STATE]->zero_point, r + (size_t)u * p->output, p->output);
    int16_t sum = saturate16(snn_multiply(wrap32(from_input), gate->input));
    sum = saturate16((int64_t)snn_multiply(wrap32(from_state), gate->recurrent) + sum);
    if (peep) sum = saturate16((int64_t)snn_multiply(peephole_weight(p, peep, batch, u) * cell[u], gate->peephole) + sum);
    out[u] = sum;
  }
  if (p->norm) normalise(p, gate, in[NORM + g]->data, biases, out);
}

static void full_step(const SnnNode *node, const Full *p, uint32_t batch, const int8_t *x, const int8_t *h, const int16_t *cell,
                      int16_t *cell_out, int8_t *out) {
  int16_t *gate[GATES];
  for (int g = 0; g < GATES; g++) gate[g] = (int16_t *)node->scratch + (size_t)g * p->cells;
  int8_t *hidden = p->projected ? (int8_t *)((int16_t *)node->scratch + (size_t)GATES * p->cells) : out;
  for (int g = p->cifg ? F : I; g < O; g++) full_gate(node, p, g, batch, x, h, cell, gate[g]);
  for (uint32_t u = 0; u < p->cells; u++) {
    int16_t forget = sigmoid16(gate[F][u]), input = p->cifg ? (int16_t)(INT16_MAX - forget) : sigmoid16(gate[I][u]);
    int16_t kept = (int16_t)snn_rdbpot((int32_t)forget * cell[u], 15);
    int16_t added = (int16_t)snn_rdbpot((int32_t)input * tanh16(gate[C][u], 3), 30 + p->cell_shift);
    int16_t next = saturate16(kept + added);
    cell_out[u] = p->cell_clip > 0 ? (int16_t)snn_clamp(next, -p->cell_clip, p->cell_clip) : next;
  }
  full_gate(node, p, O, batch, x, h, cell_out, gate[O]);
  for (uint32_t u = 0; u < p->cells; u++) {
    int32_t product = (int32_t)sigmoid16(gate[O][u]) * tanh16(cell_out[u], 15 + p->cell_shift);
    hidden[u] = (int8_t)snn_clamp_from(snn_multiply(product, p->hidden), p->hidden_offset, -128, 127);
  }
  if (!p->projected) return;
  const int8_t *w = node->in[PROJECTION]->data;
  const int32_t *biases = has(node, PROJECTION_BIAS) ? node->in[PROJECTION_BIAS]->data : NULL;
  for (uint32_t u = 0; u < p->output; u++) {
    int64_t sum = dot_s8(hidden, p->hidden_offset, w + (size_t)u * p->cells, p->cells) + (biases ? biases[u] : 0);
    int64_t shifted = (int64_t)snn_multiply(wrap32(sum), p->projection) + node->in[STATE]->zero_point;
    int32_t projected = shifted < -128 ? -128 : shifted > 127 ? 127 : (int32_t)shifted;
    out[u] = (int8_t)(p->projection_clip > 0 ? snn_clamp(projected, -p->projection_clip, p->projection_clip) : projected);
  }
}

static int full_execute(SnnNode *node) {
  const Full *p = node->params;
  const int8_t *x = node->in[0]->data, *h = node->in[STATE]->data;
  const int16_t *cell = node->in[CELL]->data;
  int16_t *cell_out = node->out[1]->data;
  int8_t *out = node->out[2]->data;
  for (uint32_t b = 0; b < p->batch; b++) {
    full_step(node, p, b, x + (size_t)b * p->input, h + (size_t)b * p->output, cell + (size_t)b * p->cells,
              cell_out + (size_t)b * p->cells, out + (size_t)b * p->output);
  }
  memcpy(node->out[0]->data, out, (size_t)p->batch * p->output);
  return SNN_OK;
}

const SnnOperation snn_quantized_lstm_operations[] = {
    SNN_RECORD(QUANTIZED_16BIT_LSTM, 3, basic_validate, basic_prepare, basic_execute, 0)
    SNN_RECORD(QUANTIZED_LSTM, 4, full_validate, full_prepare, full_execute, SNN_ALLOW_OMITTED)
    {0},
};
