/* RNN, UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN, SVDF. (LSTMs are in lstm.c and quantized_lstm.c.) */
#include "recurrent.h"

#include <string.h>

static const SnnTypeLevel old_levels[] = {SNN_FLOATS(1), SNN_NO_TYPE};
static const SnnTypeLevel new_levels[] = {SNN_FLOATS(3), SNN_NO_TYPE};

/* --- the cell --- */

typedef struct {
  const float *weights, *recurrent, *bias, *aux_weights;
  uint32_t units;
  int32_t activation;
} Cell;

/* out = activation(weights x + aux_weights aux + recurrent hidden + bias), for a whole sequence. The hidden state of a step is the
 * output of the step before it. */
static void run_cell(const Cell *cell, bool backward, const float *x, const SnnSequence *xs, const float *aux,
                     const SnnSequence *auxs, const float *hidden, float *out, const SnnSequence *outs, float *hidden_out) {
  uint32_t units = cell->units;
  for (uint32_t step = 0; step < xs->time; step++) {
    size_t t = backward ? xs->time - 1 - step : step;
    size_t before = backward ? t + 1 : t - 1;
    for (uint32_t b = 0; b < xs->batch; b++) {
      const float *in = x + t * xs->by_time + b * xs->by_batch;
      const float *state = step == 0 ? hidden + (size_t)b * units : out + before * outs->by_time + b * outs->by_batch;
      float *to = out + t * outs->by_time + b * outs->by_batch;
      for (uint32_t u = 0; u < units; u++) {
        float sum = cell->bias[u] + snn_dot(cell->weights + (size_t)u * xs->size, in, xs->size);
        if (aux)
          sum += snn_dot(cell->aux_weights + (size_t)u * auxs->size, aux + t * auxs->by_time + b * auxs->by_batch, auxs->size);
        sum += snn_dot(cell->recurrent + (size_t)u * units, state, units);
        to[u] = snn_activate(cell->activation, sum);
      }
    }
  }
  if (!hidden_out) return;
  for (uint32_t b = 0; b < xs->batch; b++) {
    const float *last = xs->time == 0 ? hidden + (size_t)b * units
                                      : out + (backward ? 0 : (size_t)xs->time - 1) * outs->by_time + b * outs->by_batch;
    memcpy(hidden_out + (size_t)b * units, last, units * sizeof(float));
  }
}

/* The weights, recurrent weights, bias and hidden state that start at input `first`. */
static int check_cell(SnnNode *node, uint32_t first, uint32_t batch, uint32_t input, uint32_t *units) {
  uint32_t columns;
  SNN_TRY(snn_matrix_size(node, first, units, &columns));
  SNN_CHECK(node, columns == input, "the weights take %u inputs, not %u", columns, input);
  SNN_TRY(snn_check_matrix(node, first + 1, *units, *units));
  SNN_TRY(snn_check_vector(node, first + 2, *units));
  return snn_check_matrix(node, first + 3, batch, *units);
}

static Cell bind_cell(const SnnNode *node, uint32_t first, uint32_t units, int32_t activation) {
  return (Cell){snn_floats(node, first), snn_floats(node, first + 1), snn_floats(node, first + 2), NULL, units, activation};
}

/* --- RNN --- */

typedef struct {
  SnnSequence in, aux, fw, bw; /* fw, bw: the outputs; both point into output 0 when merged */
  int32_t activation;
  bool merge, parallel, cross;
} Rnn;

static int rnn_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, old_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TTTTTi", "TT")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "the input", 2, 2) ? level : SNN_INVALID;
}

static int rnn_prepare(SnnNode *node) {
  Rnn r = {0};
  uint32_t batch, input, units;
  SNN_TRY(snn_matrix_size(node, 0, &batch, &input));
  SNN_TRY(check_cell(node, 1, batch, input, &units));
  SNN_TRY(snn_get_activation(node, 5, &r.activation));
  uint32_t dims[2] = {batch, units};
  SNN_TRY(snn_set_shape(node, 0, 2, dims));
  SNN_TRY(snn_set_shape(node, 1, 2, dims));
  Rnn *params = snn_params(node, sizeof(r));
  if (!params) return SNN_NO_MEMORY;
  r.in = snn_sequence(1, batch, input, input, true);
  r.fw = snn_sequence(1, batch, units, units, true);
  *params = r;
  return SNN_OK;
}

static int rnn_execute(SnnNode *node) {
  const Rnn *r = node->params;
  Cell cell = bind_cell(node, 1, r->fw.size, r->activation);
  run_cell(&cell, false, node->in[0]->data, &r->in, NULL, NULL, node->in[4]->data, node->out[1]->data, &r->fw,
           node->out[0]->data);
  return SNN_OK;
}

/* --- UNIDIRECTIONAL_SEQUENCE_RNN --- */

static int unidirectional_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, new_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TTTTTii", node->n_out == 2 ? "TT" : "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 3, 3)) return SNN_INVALID;
  return node->n_out == 2 ? 4 : level;
}

static int unidirectional_prepare(SnnNode *node) {
  Rnn r = {0};
  int32_t time_major;
  uint32_t units;
  SNN_TRY(snn_get_i32(node, 6, &time_major));
  SNN_CHECK(node, time_major == 0 || time_major == 1, "time_major is %d, not 0 or 1", time_major);
  SNN_TRY(snn_read_sequence(node, 0, time_major, &r.in));
  SNN_TRY(check_cell(node, 1, r.in.batch, r.in.size, &units));
  SNN_TRY(snn_get_activation(node, 5, &r.activation));
  SNN_TRY(snn_set_sequence(node, 0, &r.in, units, time_major));
  uint32_t dims[2] = {r.in.batch, units};
  if (node->n_out == 2) SNN_TRY(snn_set_shape(node, 1, 2, dims));
  Rnn *params = snn_params(node, sizeof(r));
  if (!params) return SNN_NO_MEMORY;
  r.fw = snn_sequence(r.in.time, r.in.batch, units, units, time_major);
  *params = r;
  return SNN_OK;
}

static int unidirectional_execute(SnnNode *node) {
  const Rnn *r = node->params;
  Cell cell = bind_cell(node, 1, r->fw.size, r->activation);
  run_cell(&cell, false, node->in[0]->data, &r->in, NULL, NULL, node->in[4]->data, node->out[0]->data, &r->fw,
           node->n_out == 2 ? node->out[1]->data : NULL);
  return SNN_OK;
}

/* --- BIDIRECTIONAL_SEQUENCE_RNN --- */

enum { FW = 1, BW = 5, AUX = 9, FW_AUX = 10, BW_AUX = 11, ACTIVATION = 12, TIME_MAJOR = 13, MERGE = 14 };

static int bidirectional_validate(SnnNode *node) {
  static const char *const outputs[] = {"T", "TT", "TTT", "TTTT"};
  int level = snn_type_level(node, 0, new_levels);
  if (level < 0) return level;
  SNN_REQUIRE(node, node->n_out >= 1 && node->n_out <= 4, "%u outputs are not 1 to 4", node->n_out);
  if (!snn_signature(node, node->in[0]->type, "TTTTTTTTTT~T~T~ibb", outputs[node->n_out - 1])) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 3, 3)) return SNN_INVALID;
  return node->n_out >= 3 ? 4 : level;
}

static int read_aux(SnnNode *node, bool time_major, Rnn *r, uint32_t fw_units, uint32_t bw_units) {
  const SnnTensor *aux = node->in[AUX], *in = node->in[0];
  bool fw = snn_present(node->in[FW_AUX]), bw = snn_present(node->in[BW_AUX]);
  SNN_CHECK(node, fw == bw && (snn_present(aux) || !fw), "auxiliary input and weights do not go together");
  if (!snn_present(aux)) return SNN_OK;
  SNN_CHECK(node, aux->rank == 3 && aux->dims[0] == in->dims[0] && aux->dims[1] == in->dims[1],
            "the auxiliary input is not a sequence of [%u, %u, ...]", in->dims[0], in->dims[1]);
  r->aux = snn_sequence(r->in.time, r->in.batch, aux->dims[2], aux->dims[2], time_major);
  /* With weights of its own it goes into both cells; without, it is the backward cell's only input. */
  r->cross = fw;
  r->parallel = !fw;
  SNN_TRY(snn_check_matrix(node, FW_AUX, fw_units, aux->dims[2]));
  return snn_check_matrix(node, BW_AUX, bw_units, aux->dims[2]);
}

static int bidirectional_prepare(SnnNode *node) {
  Rnn r = {0};
  bool time_major;
  uint32_t fw_units, bw_units;
  SNN_TRY(snn_get_activation(node, ACTIVATION, &r.activation));
  SNN_TRY(snn_get_bool(node, TIME_MAJOR, &time_major));
  SNN_TRY(snn_get_bool(node, MERGE, &r.merge));
  SNN_CHECK(node, r.merge == (node->n_out % 2 == 1), "%u outputs do not fit merge_outputs = %d", node->n_out, r.merge);
  SNN_TRY(snn_read_sequence(node, 0, time_major, &r.in));
  SNN_TRY(snn_matrix_size(node, FW, &fw_units, &(uint32_t){0}));
  SNN_TRY(snn_matrix_size(node, BW, &bw_units, &(uint32_t){0}));
  SNN_TRY(read_aux(node, time_major, &r, fw_units, bw_units));
  SNN_TRY(check_cell(node, FW, r.in.batch, r.in.size, &fw_units));
  SNN_TRY(check_cell(node, BW, r.in.batch, r.parallel ? r.aux.size : r.in.size, &bw_units));
  uint32_t fw_row = r.merge ? fw_units + bw_units : fw_units, bw_row = r.merge ? fw_row : bw_units;
  SNN_TRY(snn_set_sequence(node, 0, &r.in, fw_row, time_major));
  if (!r.merge) SNN_TRY(snn_set_sequence(node, 1, &r.in, bw_units, time_major));
  if (node->n_out >= 3) {
    uint32_t fw_dims[2] = {r.in.batch, fw_units}, bw_dims[2] = {r.in.batch, bw_units};
    SNN_TRY(snn_set_shape(node, node->n_out - 2, 2, fw_dims));
    SNN_TRY(snn_set_shape(node, node->n_out - 1, 2, bw_dims));
  }
  Rnn *params = snn_params(node, sizeof(r));
  if (!params) return SNN_NO_MEMORY;
  r.fw = snn_sequence(r.in.time, r.in.batch, fw_units, fw_row, time_major);
  r.bw = snn_sequence(r.in.time, r.in.batch, bw_units, bw_row, time_major);
  *params = r;
  return SNN_OK;
}

static int bidirectional_execute(SnnNode *node) {
  const Rnn *r = node->params;
  Cell fw = bind_cell(node, FW, r->fw.size, r->activation), bw = bind_cell(node, BW, r->bw.size, r->activation);
  const float *x = node->in[0]->data, *aux = r->cross ? node->in[AUX]->data : NULL;
  float *fw_out = node->out[0]->data, *bw_out = r->merge ? fw_out + r->fw.size : node->out[1]->data;
  bool states = node->n_out >= 3;
  fw.aux_weights = snn_floats(node, FW_AUX);
  bw.aux_weights = snn_floats(node, BW_AUX);
  run_cell(&fw, false, x, &r->in, aux, &r->aux, node->in[FW + 3]->data, fw_out, &r->fw,
           states ? node->out[node->n_out - 2]->data : NULL);
  run_cell(&bw, true, r->parallel ? node->in[AUX]->data : x, r->parallel ? &r->aux : &r->in, aux, &r->aux,
           node->in[BW + 3]->data, bw_out, &r->bw, states ? node->out[node->n_out - 1]->data : NULL);
  return SNN_OK;
}

/* --- SVDF --- */

typedef struct {
  uint32_t batch, input, filters, memory, units;
  int32_t rank, activation;
} Svdf;

static int svdf_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, old_levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TTTT~Tii", "TT")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "the input", 2, 2) ? level : SNN_INVALID;
}

static int svdf_prepare(SnnNode *node) {
  Svdf s = {0};
  uint32_t rows, columns;
  SNN_TRY(snn_matrix_size(node, 0, &s.batch, &s.input));
  SNN_TRY(snn_matrix_size(node, 1, &s.filters, &columns));
  SNN_CHECK(node, columns == s.input, "weights_feature takes %u inputs, not %u", columns, s.input);
  SNN_TRY(snn_matrix_size(node, 2, &rows, &s.memory));
  SNN_CHECK(node, rows == s.filters && s.memory > 0, "weights_time is not [%u, memory size]", s.filters);
  SNN_TRY(snn_get_i32(node, 5, &s.rank));
  SNN_CHECK(node, s.rank > 0 && s.filters % (uint32_t)s.rank == 0, "rank %d does not divide %u filters", s.rank, s.filters);
  s.units = s.filters / (uint32_t)s.rank;
  SNN_TRY(snn_check_vector(node, 3, s.units));
  SNN_TRY(snn_get_activation(node, 6, &s.activation));
  uint64_t state = (uint64_t)s.memory * s.filters;
  SNN_CHECK(node, state <= UINT32_MAX, "the state is too large");
  SNN_TRY(snn_check_matrix(node, 4, s.batch, (uint32_t)state));
  uint32_t state_dims[2] = {s.batch, (uint32_t)state}, dims[2] = {s.batch, s.units};
  SNN_TRY(snn_set_shape(node, 0, 2, state_dims));
  SNN_TRY(snn_set_shape(node, 1, 2, dims));
  Svdf *params = snn_params(node, sizeof(s));
  if (!params) return SNN_NO_MEMORY;
  *params = s;
  return SNN_OK;
}

/* Each filter remembers memory - 1 past values; the newest takes the last place, and after the sum over time all move one place
 * to the front: NNAPI's state leaves the last place empty. */
static int svdf_execute(SnnNode *node) {
  const Svdf *s = node->params;
  const float *x = node->in[0]->data, *feature = node->in[1]->data, *time = node->in[2]->data, *bias = snn_floats(node, 3);
  const float *state = node->in[4]->data;
  float *state_out = node->out[0]->data, *out = node->out[1]->data;
  size_t past = s->memory - 1;
  for (uint32_t b = 0; b < s->batch; b++, x += s->input, out += s->units) {
    for (uint32_t u = 0; u < s->units; u++) {
      float sum = bias ? bias[u] : 0;
      for (int32_t r = 0; r < s->rank; r++, state += s->memory, state_out += s->memory) {
        size_t filter = (size_t)u * (uint32_t)s->rank + (uint32_t)r;
        float newest = snn_dot(feature + filter * s->input, x, s->input);
        sum += snn_dot(time + filter * s->memory, state, past) + time[filter * s->memory + past] * newest;
        if (past > 0) {
          memmove(state_out, state + 1, (past - 1) * sizeof(float));
          state_out[past - 1] = newest;
        }
        state_out[past] = 0;
      }
      out[u] = snn_activate(s->activation, sum);
    }
  }
  return SNN_OK;
}

const SnnOperation snn_recurrent_operations[] = {
    SNN_RECORD(RNN, 1, rnn_validate, rnn_prepare, rnn_execute, SNN_F16_BY_F32)
    SNN_RECORD(UNIDIRECTIONAL_SEQUENCE_RNN, 3, unidirectional_validate, unidirectional_prepare, unidirectional_execute, SNN_F16_BY_F32)
    SNN_RECORD(BIDIRECTIONAL_SEQUENCE_RNN, 3, bidirectional_validate, bidirectional_prepare,
     bidirectional_execute, SNN_F16_BY_F32 | SNN_ALLOW_OMITTED)
    SNN_RECORD(SVDF, 1, svdf_validate, svdf_prepare, svdf_execute, SNN_F16_BY_F32 | SNN_ALLOW_OMITTED)
    {0},
};
