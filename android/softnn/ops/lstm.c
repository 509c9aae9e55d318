/* LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM in float.
 *
 * One cell serves all three: per step and batch
 *   gate_g = norm_g(W_g x + A_g aux + R_g h + peephole_g * c) + bias_g       for g in input, forget, cell, output
 *   c'     = sigmoid(gate_f) * c + sigmoid(gate_i) * act(gate_c)    clipped to +-cell_clip; CIFG: 1 - forget instead of input
 *   h'     = projection(sigmoid(gate_o) * act(c'))                  clipped to +-projection_clip
 */
#include "recurrent.h"

#include <string.h>

enum { I, F, C, O, GATES };

/* The input numbers of one cell; 0 = the operation has no such operand. */
typedef struct {
  uint32_t weights; /* the first of 17: 4 input, 4 recurrent, 3 peephole, 4 bias, projection weights and bias */
  uint32_t state;   /* output state, then cell state */
  uint32_t norm;    /* the first of 4 layer-normalisation weights */
  uint32_t aux;     /* the first of 4 weights of the auxiliary input */
} Operands;

static uint32_t input_weight(const Operands *o, int gate) { return o->weights + (uint32_t)gate; }
static uint32_t recurrent_weight(const Operands *o, int gate) { return o->weights + 4 + (uint32_t)gate; }
static uint32_t peephole(const Operands *o, int gate) {
  return o->weights + 8 + (gate == O ? 2 : (uint32_t)gate);
} /* not for C */
static uint32_t bias(const Operands *o, int gate) { return o->weights + 11 + (uint32_t)gate; }
static uint32_t projection(const Operands *o) { return o->weights + 15; }

typedef struct {
  Operands operands;
  uint32_t batch, input, aux, cells, output; /* sizes */
  bool cifg, peepholes, norm, projected;
} CellShape;

typedef struct {
  int32_t activation;
  float cell_clip, projection_clip;
} Options;

/* --- prepare --- */

static bool has(const SnnNode *node, uint32_t input) { return input > 0 && input < node->n_in && snn_present(node->in[input]); }

/* Optional groups come whole or not at all; without an input gate its member does not matter. */
static int check_group(SnnNode *node, const char *what, bool input, bool forget, bool cell, bool output, bool *present) {
  *present = forget;
  SNN_CHECK(node, input == forget && cell == forget && output == forget, "%s is there for some gates only", what);
  return SNN_OK;
}

static int check_gate(SnnNode *node, const CellShape *s, int gate) {
  const Operands *o = &s->operands;
  SNN_TRY(snn_check_matrix(node, input_weight(o, gate), s->cells, s->input));
  SNN_TRY(snn_check_matrix(node, recurrent_weight(o, gate), s->cells, s->output));
  SNN_TRY(snn_check_vector(node, bias(o, gate), s->cells));
  if (gate != C) SNN_TRY(snn_check_vector(node, peephole(o, gate), s->cells));
  if (s->norm) SNN_TRY(snn_check_vector(node, o->norm + (uint32_t)gate, s->cells));
  if (s->aux > 0) SNN_TRY(snn_check_matrix(node, o->aux + (uint32_t)gate, s->cells, s->aux));
  return SNN_OK;
}

static int check_elements(SnnNode *node, uint32_t input, uint32_t rows, uint32_t columns) {
  const SnnTensor *t = node->in[input];
  SNN_CHECK(node, snn_product(t->dims, 0, t->rank) == (size_t)rows * columns, "input %u does not hold [%u, %u]", input, rows,
            columns);
  return SNN_OK;
}

/* Sizes and consistency of a cell whose batch, input and auxiliary sizes are known. */
static int check_cell(SnnNode *node, CellShape *s) {
  const Operands *o = &s->operands;
  uint32_t columns;
  SNN_TRY(snn_matrix_size(node, input_weight(o, O), &s->cells, &columns));
  SNN_TRY(snn_matrix_size(node, recurrent_weight(o, O), &columns, &s->output));
  s->cifg = !has(node, input_weight(o, I));
  SNN_CHECK(node, has(node, recurrent_weight(o, I)) == !s->cifg && has(node, bias(o, I)) == !s->cifg,
            "weights, recurrent weights and bias of the input gate are not all there or all omitted");
  bool forget = has(node, peephole(o, F)), input = s->cifg ? forget : has(node, peephole(o, I));
  SNN_TRY(check_group(node, "the peephole", input, forget, forget, has(node, peephole(o, O)), &s->peepholes));
  if (o->norm > 0) {
    forget = has(node, o->norm + F);
    input = s->cifg ? forget : has(node, o->norm + I);
    SNN_TRY(
        check_group(node, "the layer normalisation", input, forget, has(node, o->norm + C), has(node, o->norm + O), &s->norm));
  }
  s->projected = has(node, projection(o));
  SNN_CHECK(node, s->projected || !has(node, projection(o) + 1), "a projection bias needs projection weights");
  SNN_CHECK(node, s->projected || s->output == s->cells, "without projection %u cells cannot give %u outputs", s->cells,
            s->output);
  SNN_TRY(snn_check_matrix(node, projection(o), s->output, s->cells));
  SNN_TRY(snn_check_vector(node, projection(o) + 1, s->output));
  for (int gate = s->cifg ? F : I; gate < GATES; gate++) SNN_TRY(check_gate(node, s, gate));
  SNN_TRY(check_elements(node, o->state, s->batch, s->output));
  return check_elements(node, o->state + 1, s->batch, s->cells);
}

static int read_options(SnnNode *node, uint32_t first, Options *options) {
  SNN_TRY(snn_get_activation(node, first, &options->activation));
  SNN_TRY(snn_get_f32(node, first + 1, &options->cell_clip));
  SNN_TRY(snn_get_f32(node, first + 2, &options->projection_clip));
  SNN_CHECK(node, options->cell_clip >= 0 && options->projection_clip >= 0, "clips %g and %g are not both 0 or more",
            (double)options->cell_clip, (double)options->projection_clip);
  return SNN_OK;
}

/* --- execute --- */

typedef struct {
  const CellShape *shape;
  const Options *options;
  const float *w[GATES], *r[GATES], *a[GATES], *peephole[GATES], *bias[GATES], *norm[GATES], *projection, *projection_bias;
  const float *state, *cell_state; /* [batch, output], [batch, cells] */
  float *state_out, *cell_out;     /* state_out may be NULL */
  float *gates;                    /* GATES * cells */
} Cell;

static Cell bind_cell(const SnnNode *node, const CellShape *shape, const Options *options) {
  const Operands *o = &shape->operands;
  Cell c = {.shape = shape, .options = options};
  for (int gate = shape->cifg ? F : I; gate < GATES; gate++) {
    c.w[gate] = snn_floats(node, input_weight(o, gate));
    c.r[gate] = snn_floats(node, recurrent_weight(o, gate));
    c.bias[gate] = snn_floats(node, bias(o, gate));
    if (shape->peepholes && gate != C) c.peephole[gate] = snn_floats(node, peephole(o, gate));
    if (shape->norm) c.norm[gate] = snn_floats(node, o->norm + (uint32_t)gate);
    if (shape->aux > 0) c.a[gate] = snn_floats(node, o->aux + (uint32_t)gate);
  }
  c.projection = snn_floats(node, projection(o));
  c.projection_bias = snn_floats(node, projection(o) + 1);
  c.state = node->in[o->state]->data;
  c.cell_state = node->in[o->state + 1]->data;
  return c;
}

/* Layer normalisation to mean 0 and variance 1, as TFLite does it. */
static void normalise(float *x, uint32_t count) {
  float sum = 0, squares = 0;
  for (uint32_t i = 0; i < count; i++) sum += x[i];
  float mean = sum / (float)count;
  for (uint32_t i = 0; i < count; i++) squares += (x[i] - mean) * (x[i] - mean);
  float inverse = 1.f / sqrtf(squares / (float)count + 1e-8f);
  for (uint32_t i = 0; i < count; i++) x[i] = (x[i] - mean) * inverse;
}

/* One gate before its activation. */
static void compute_gate(const Cell *c, int gate, const float *x, const float *aux, const float *h, const float *peeped,
                         float *out) {
  const CellShape *s = c->shape;
  for (uint32_t u = 0; u < s->cells; u++) {
    float sum = s->norm ? 0 : c->bias[gate][u];
    sum += snn_dot(c->w[gate] + (size_t)u * s->input, x, s->input);
    if (aux) sum += snn_dot(c->a[gate] + (size_t)u * s->aux, aux, s->aux);
    sum += snn_dot(c->r[gate] + (size_t)u * s->output, h, s->output);
    if (c->peephole[gate]) sum += c->peephole[gate][u] * peeped[u];
    out[u] = sum;
  }
  if (!s->norm) return;
  normalise(out, s->cells);
  for (uint32_t u = 0; u < s->cells; u++) out[u] = out[u] * c->norm[gate][u] + c->bias[gate][u];
}

/* One step of one batch. `cell` may be `cell_out`. */
static void step(const Cell *c, const float *x, const float *aux, const float *h, const float *cell, float *cell_out,
                 float *out) {
  const CellShape *s = c->shape;
  const Options *options = c->options;
  float *gate[GATES];
  for (int g = 0; g < GATES; g++) gate[g] = c->gates + (size_t)g * s->cells;
  for (int g = s->cifg ? F : I; g < O; g++) compute_gate(c, g, x, aux, h, cell, gate[g]);
  for (uint32_t u = 0; u < s->cells; u++) {
    float forget = snn_sigmoid(gate[F][u]), input = s->cifg ? 1.f - forget : snn_sigmoid(gate[I][u]);
    float next = forget * cell[u] + input * snn_activate(options->activation, gate[C][u]);
    cell_out[u] = options->cell_clip > 0 ? snn_clampf(next, -options->cell_clip, options->cell_clip) : next;
  }
  compute_gate(c, O, x, aux, h, cell_out, gate[O]);
  for (uint32_t u = 0; u < s->cells; u++) gate[O][u] = snn_sigmoid(gate[O][u]) * snn_activate(options->activation, cell_out[u]);
  if (!s->projected) {
    memcpy(out, gate[O], s->cells * sizeof(float));
    return;
  }
  for (uint32_t u = 0; u < s->output; u++) {
    float sum = c->projection_bias ? c->projection_bias[u] : 0;
    sum += snn_dot(c->projection + (size_t)u * s->cells, gate[O], s->cells);
    out[u] = options->projection_clip > 0 ? snn_clampf(sum, -options->projection_clip, options->projection_clip) : sum;
  }
}

/* A whole sequence; the state of a step is the output of the step before it. */
static void run_cell(const Cell *c, bool backward, const float *x, const SnnSequence *xs, const float *aux,
                     const SnnSequence *auxs, float *out, const SnnSequence *outs) {
  const CellShape *s = c->shape;
  for (uint32_t n = 0; n < xs->time; n++) {
    size_t t = backward ? xs->time - 1 - n : n, before = backward ? t + 1 : t - 1;
    for (uint32_t b = 0; b < s->batch; b++) {
      const float *h = n == 0 ? c->state + (size_t)b * s->output : out + before * outs->by_time + b * outs->by_batch;
      float *cell_out = c->cell_out + (size_t)b * s->cells;
      step(c, x + t * xs->by_time + b * xs->by_batch, aux ? aux + t * auxs->by_time + b * auxs->by_batch : NULL, h,
           n == 0 ? c->cell_state + (size_t)b * s->cells : cell_out, cell_out, out + t * outs->by_time + b * outs->by_batch);
    }
  }
  if (xs->time == 0) memcpy(c->cell_out, c->cell_state, (size_t)s->batch * s->cells * sizeof(float));
  if (!c->state_out) return;
  for (uint32_t b = 0; b < s->batch; b++) {
    const float *last = xs->time == 0 ? c->state + (size_t)b * s->output
                                      : out + (backward ? 0 : (size_t)xs->time - 1) * outs->by_time + b * outs->by_batch;
    memcpy(c->state_out + (size_t)b * s->output, last, s->output * sizeof(float));
  }
}

/* --- LSTM --- */

typedef struct {
  CellShape fw, bw;
  Options options;
  SnnSequence in, aux, fw_out, bw_out;
  bool merge, parallel;
} Lstm;

#define CELL_LETTERS "T~TTTT~TTTT~T~T~T~TTTT~T~" /* the 17 weights of a cell */
static const SnnTypeLevel lstm_levels[] = {SNN_FLOATS(1), SNN_NO_TYPE};
static const SnnTypeLevel sequence_levels[] = {SNN_FLOATS(3), SNN_NO_TYPE};
static const char lstm_inputs[] = "T" CELL_LETTERS "TTiff|T~T~T~T~";

static int lstm_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, lstm_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, lstm_inputs, "TTTT")) return SNN_INVALID;
  SNN_REQUIRE(node, node->n_in == 23 || node->n_in == 27, "%u inputs are not 23 or 27", node->n_in);
  if (!snn_check_rank(node, node->in[0], "the input", 2, 2)) return SNN_INVALID;
  return node->n_in == 27 ? 3 : level;
}

static int lstm_prepare(SnnNode *node) {
  Lstm l = {.fw.operands = {.weights = 1, .state = 18, .norm = node->n_in == 27 ? 23 : 0}};
  CellShape *s = &l.fw;
  if (!snn_all_present(node, lstm_inputs)) return SNN_BAD;
  SNN_TRY(snn_matrix_size(node, 0, &s->batch, &s->input));
  SNN_TRY(check_cell(node, s));
  SNN_TRY(read_options(node, 20, &l.options));
  uint64_t gates = (uint64_t)s->cells * (s->cifg ? 3 : 4);
  SNN_CHECK(node, gates <= UINT32_MAX, "%u cells are too many", s->cells);
  uint32_t scratch[2] = {s->batch, (uint32_t)gates}, state[2] = {s->batch, s->output}, cell[2] = {s->batch, s->cells};
  SNN_TRY(snn_set_shape(node, 0, 2, scratch));
  SNN_TRY(snn_set_shape(node, 1, 2, state));
  SNN_TRY(snn_set_shape(node, 2, 2, cell));
  SNN_TRY(snn_set_shape(node, 3, 2, state));
  Lstm *params = snn_params(node, sizeof(l));
  if (!params) return SNN_NO_MEMORY;
  l.in = snn_sequence(1, s->batch, s->input, s->input, true);
  l.fw_out = snn_sequence(1, s->batch, s->output, s->output, true);
  *params = l;
  return snn_get_scratch(node, (uint64_t)GATES * s->cells * sizeof(float));
}

static int lstm_execute(SnnNode *node) {
  const Lstm *l = node->params;
  const CellShape *s = &l->fw;
  Cell cell = bind_cell(node, s, &l->options);
  cell.gates = node->scratch;
  cell.state_out = node->out[1]->data;
  cell.cell_out = node->out[2]->data;
  run_cell(&cell, false, node->in[0]->data, &l->in, NULL, NULL, node->out[3]->data, &l->fw_out);
  /* NNAPI's scratch output has no defined content; zeros are at least the same each time. */
  memset(node->out[0]->data, 0, (size_t)s->batch * s->cells * (s->cifg ? 3 : 4) * sizeof(float));
  return SNN_OK;
}

/* --- UNIDIRECTIONAL_SEQUENCE_LSTM --- */

static const char unidirectional_inputs[] = "T" CELL_LETTERS "TTiffbT~T~T~T~";

static int unidirectional_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, sequence_levels);
  if (level < 0) return level;
  if (!snn_signature(node, node->in[0]->type, unidirectional_inputs, node->n_out == 3 ? "TTT" : "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 3, 3)) return SNN_INVALID;
  return node->n_out == 3 ? 4 : level;
}

/* Output state and cell state of a cell as outputs `first`, `first` + 1. */
static int set_states(SnnNode *node, uint32_t first, const CellShape *s) {
  uint32_t state[2] = {s->batch, s->output}, cell[2] = {s->batch, s->cells};
  SNN_TRY(snn_set_shape(node, first, 2, state));
  return snn_set_shape(node, first + 1, 2, cell);
}

static int unidirectional_prepare(SnnNode *node) {
  Lstm l = {.fw.operands = {.weights = 1, .state = 18, .norm = 24}};
  CellShape *s = &l.fw;
  bool time_major;
  if (!snn_all_present(node, unidirectional_inputs)) return SNN_BAD;
  SNN_TRY(read_options(node, 20, &l.options));
  SNN_TRY(snn_get_bool(node, 23, &time_major));
  SNN_TRY(snn_read_sequence(node, 0, time_major, &l.in));
  s->batch = l.in.batch;
  s->input = l.in.size;
  SNN_TRY(check_cell(node, s));
  SNN_TRY(snn_set_sequence(node, 0, &l.in, s->output, time_major));
  if (node->n_out == 3) SNN_TRY(set_states(node, 1, s));
  Lstm *params = snn_params(node, sizeof(l));
  if (!params) return SNN_NO_MEMORY;
  l.fw_out = snn_sequence(l.in.time, l.in.batch, s->output, s->output, time_major);
  *params = l;
  return snn_get_scratch(node, ((uint64_t)GATES + s->batch) * s->cells * sizeof(float));
}

static int unidirectional_execute(SnnNode *node) {
  const Lstm *l = node->params;
  Cell cell = bind_cell(node, &l->fw, &l->options);
  bool states = node->n_out == 3;
  cell.gates = node->scratch;
  cell.state_out = states ? node->out[1]->data : NULL;
  cell.cell_out = states ? node->out[2]->data : cell.gates + (size_t)GATES * l->fw.cells;
  run_cell(&cell, false, node->in[0]->data, &l->in, NULL, NULL, node->out[0]->data, &l->fw_out);
  return SNN_OK;
}

/* --- BIDIRECTIONAL_SEQUENCE_LSTM --- */

enum {
  FW = 1,
  BW = 18,
  FW_STATE = 35,
  BW_STATE = 37,
  AUX = 39,
  FW_AUX = 40,
  BW_AUX = 44,
  OPTIONS = 48,
  MERGE = 51,
  TIME_MAJOR = 52,
  FW_NORM = 53,
  BW_NORM = 57
};
static const char bidirectional_inputs[] = "T" CELL_LETTERS CELL_LETTERS "TTTTT~T~T~T~T~T~T~T~T~iffbbT~T~T~T~T~T~T~T~";

static int bidirectional_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, sequence_levels);
  if (level < 0) return level;
  const char *outputs = node->n_out == 1   ? "T"
                        : node->n_out == 2 ? "TT"
                        : node->n_out == 5 ? "TTTTT"
                        : node->n_out == 6 ? "TTTTTT"
                                           : NULL;
  SNN_REQUIRE(node, outputs, "%u outputs are not 1, 2, 5 or 6", node->n_out);
  if (!snn_signature(node, node->in[0]->type, bidirectional_inputs, outputs)) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 3, 3)) return SNN_INVALID;
  return node->n_out >= 5 ? 4 : level;
}

/* An auxiliary input with weights goes into both cells; without, it is the backward cell's only input. */
static int read_aux(SnnNode *node, bool time_major, Lstm *l) {
  bool weights = has(node, FW_AUX + F);
  for (uint32_t g = I; g < GATES; g++) {
    bool fw_wanted = weights && (g != I || has(node, FW + I)), bw_wanted = weights && (g != I || has(node, BW + I));
    SNN_CHECK(node, has(node, FW_AUX + g) == fw_wanted && has(node, BW_AUX + g) == bw_wanted,
              "auxiliary weights are there for some gates only");
  }
  SNN_CHECK(node, has(node, AUX) || !weights, "auxiliary weights need an auxiliary input");
  if (!has(node, AUX)) return SNN_OK;
  SNN_TRY(snn_read_sequence(node, AUX, time_major, &l->aux));
  SNN_CHECK(node, l->aux.time == l->in.time && l->aux.batch == l->in.batch,
            "the auxiliary input has another time or batch than the input");
  l->parallel = !weights;
  if (weights) l->fw.aux = l->bw.aux = l->aux.size;
  return SNN_OK;
}

static int bidirectional_prepare(SnnNode *node) {
  Lstm l = {.fw.operands = {FW, FW_STATE, FW_NORM, FW_AUX}, .bw.operands = {BW, BW_STATE, BW_NORM, BW_AUX}};
  bool time_major;
  if (!snn_all_present(node, bidirectional_inputs)) return SNN_BAD;
  SNN_TRY(read_options(node, OPTIONS, &l.options));
  SNN_TRY(snn_get_bool(node, MERGE, &l.merge));
  SNN_TRY(snn_get_bool(node, TIME_MAJOR, &time_major));
  SNN_CHECK(node, l.merge == (node->n_out % 2 == 1), "%u outputs do not fit merge_outputs = %d", node->n_out, l.merge);
  SNN_TRY(snn_read_sequence(node, 0, time_major, &l.in));
  SNN_TRY(read_aux(node, time_major, &l));
  l.fw.batch = l.bw.batch = l.in.batch;
  l.fw.input = l.in.size;
  l.bw.input = l.parallel ? l.aux.size : l.in.size;
  SNN_TRY(check_cell(node, &l.fw));
  SNN_TRY(check_cell(node, &l.bw));
  uint32_t both = l.fw.output + l.bw.output, fw_row = l.merge ? both : l.fw.output, bw_row = l.merge ? both : l.bw.output;
  SNN_TRY(snn_set_sequence(node, 0, &l.in, fw_row, time_major));
  if (!l.merge) SNN_TRY(snn_set_sequence(node, 1, &l.in, bw_row, time_major));
  if (node->n_out >= 5) {
    SNN_TRY(set_states(node, node->n_out - 4, &l.fw));
    SNN_TRY(set_states(node, node->n_out - 2, &l.bw));
  }
  Lstm *params = snn_params(node, sizeof(l));
  if (!params) return SNN_NO_MEMORY;
  l.fw_out = snn_sequence(l.in.time, l.in.batch, l.fw.output, fw_row, time_major);
  l.bw_out = snn_sequence(l.in.time, l.in.batch, l.bw.output, bw_row, time_major);
  *params = l;
  uint64_t cells = l.fw.cells > l.bw.cells ? l.fw.cells : l.bw.cells;
  return snn_get_scratch(node, ((uint64_t)GATES + l.in.batch) * cells * sizeof(float));
}

static int bidirectional_execute(SnnNode *node) {
  const Lstm *l = node->params;
  const float *x = node->in[0]->data, *aux = l->fw.aux > 0 ? node->in[AUX]->data : NULL;
  float *fw_out = node->out[0]->data, *bw_out = l->merge ? fw_out + l->fw.output : node->out[1]->data;
  for (int direction = 0; direction < 2; direction++) {
    const CellShape *shape = direction ? &l->bw : &l->fw;
    Cell cell = bind_cell(node, shape, &l->options);
    bool states = node->n_out >= 5;
    uint32_t state = node->n_out - (direction ? 2 : 4);
    cell.gates = node->scratch;
    cell.state_out = states ? node->out[state]->data : NULL;
    cell.cell_out = states ? node->out[state + 1]->data : cell.gates + (size_t)GATES * shape->cells;
    if (direction == 0) run_cell(&cell, false, x, &l->in, aux, &l->aux, fw_out, &l->fw_out);
    else
      run_cell(&cell, true, l->parallel ? node->in[AUX]->data : x, l->parallel ? &l->aux : &l->in, aux, &l->aux, bw_out,
               &l->bw_out);
  }
  return SNN_OK;
}

const SnnOperation snn_lstm_operations[] = {
    SNN_RECORD(LSTM, 1, lstm_validate, lstm_prepare, lstm_execute, SNN_F16_BY_F32 | SNN_ALLOW_OMITTED)
    SNN_RECORD(UNIDIRECTIONAL_SEQUENCE_LSTM, 3, unidirectional_validate,
     unidirectional_prepare, unidirectional_execute, SNN_F16_BY_F32 | SNN_ALLOW_OMITTED)
    SNN_RECORD(BIDIRECTIONAL_SEQUENCE_LSTM, 3, bidirectional_validate,
     bidirectional_prepare, bidirectional_execute, SNN_F16_BY_F32 | SNN_ALLOW_OMITTED)
    {0},
};
