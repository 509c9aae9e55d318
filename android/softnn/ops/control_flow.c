/* IF, WHILE. Where the shapes of the results depend on values, the models are run in prepare (the engine prepares such a step
 * in each execution) and execute only copies. */
#include "../shape.h"

#include <string.h>

typedef const SnnTensor *const *Inputs; /* what the engine takes as a model's inputs */

/* Does a node's operand fit one of a referenced model: type, quantisation, and shape as far as both are known? */
static bool fits(SnnNode *node, const SnnTensor *t, const SnnTensor *declared, const char *what, uint32_t index) {
  if (t->type != declared->type) {
    snn_fail(node, "%s %u of the referenced model is %s, not %s", what, index, snn_type_name(declared->type),
             snn_type_name(t->type));
    return false;
  }
  if (t->scale != declared->scale || t->zero_point != declared->zero_point) {
    snn_fail(node, "%s %u of the referenced model has another scale or zero point", what, index);
    return false;
  }
  bool shaped = t->rank_known && declared->rank_known && snn_present(t), same = !shaped || t->rank == declared->rank;
  for (uint32_t d = 0; shaped && same && d < t->rank; d++) {
    same = t->dims[d] == 0 || declared->dims[d] == 0 || t->dims[d] == declared->dims[d];
  }
  if (!same) snn_fail(node, "%s %u of the referenced model has another shape", what, index);
  return same;
}

static bool fits_inputs(SnnNode *node, uint32_t model, uint32_t first) {
  uint32_t count = node->n_in - first;
  if (snn_model_inputs(node, model) != count) {
    snn_fail(node, "the model of input %u takes %u inputs; it gets %u", model, snn_model_inputs(node, model), count);
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    if (!fits(node, node->in[first + i], snn_model_input(node, model, i), "input", i)) return false;
  }
  return true;
}

/* A condition is one truth value, and says so. */
static bool is_condition(SnnNode *node, const SnnTensor *t, const char *what) {
  if (snn_present(t) && t->type == ANEURALNETWORKS_TENSOR_BOOL8 && t->rank_known && t->rank == 1 && t->dims[0] == 1) return true;
  snn_fail(node, "%s is not a TENSOR_BOOL8 of [1], or omitted", what);
  return false;
}

static bool same_shape(const SnnTensor *a, const SnnTensor *b) {
  return a->rank == b->rank && (a->rank == 0 || memcmp(a->dims, b->dims, a->rank * sizeof(a->dims[0])) == 0);
}

static void copy(const SnnTensor *to, const SnnTensor *from) {
  size_t bytes = snn_product(to->dims, 0, to->rank) * snn_element_size(to->type);
  if (bytes > 0) memcpy(to->data, from->data, bytes);
}

/* --- IF --- */

enum { CONDITION = 0, THEN = 1, ELSE = 2, ARGUMENTS = 3 };

typedef struct {
  bool done;           /* run in prepare */
  SnnTensor results[]; /* of the branch */
} Branch;

static int if_validate(SnnNode *node) {
  SNN_REQUIRE(node, node->n_in >= ARGUMENTS, "%u inputs are not a condition and two models", node->n_in);
  if (!is_condition(node, node->in[CONDITION], "the condition")) return SNN_INVALID;
  for (uint32_t model = THEN; model <= ELSE; model++) {
    SNN_REQUIRE(node, node->in[model]->lifetime == SNN_SUBGRAPH, "input %u is not a model", model);
    if (!fits_inputs(node, model, ARGUMENTS)) return SNN_INVALID;
    SNN_REQUIRE(node, snn_model_outputs(node, model) == node->n_out, "the model of input %u has %u outputs, not %u", model,
                snn_model_outputs(node, model), node->n_out);
    for (uint32_t i = 0; i < node->n_out; i++) {
      if (!fits(node, node->out[i], snn_model_output(node, model, i), "output", i)) return SNN_INVALID;
    }
  }
  return 4;
}

static uint32_t chosen(const SnnNode *node) { return *(const uint8_t *)node->in[CONDITION]->data ? THEN : ELSE; }

static int set_shapes(SnnNode *node, const SnnTensor *results) {
  for (uint32_t i = 0; i < node->n_out; i++) SNN_TRY(snn_set_shape_like(node, i, &results[i]));
  return SNN_OK;
}

/* While the condition is not known: only where both branches give the same shapes. */
static int prepare_both(SnnNode *node, SnnTensor *then_results, SnnTensor *else_results) {
  SNN_TRY(snn_shape_model(node, THEN, (Inputs)node->in + ARGUMENTS, then_results));
  SNN_TRY(snn_shape_model(node, ELSE, (Inputs)node->in + ARGUMENTS, else_results));
  for (uint32_t i = 0; i < node->n_out; i++) {
    if (!same_shape(&then_results[i], &else_results[i])) return SNN_NEEDS_DATA;
  }
  SNN_TRY(snn_reserve_results(node, THEN, 1));
  SNN_TRY(snn_reserve_results(node, ELSE, 1));
  return set_shapes(node, then_results);
}

static int if_prepare(SnnNode *node) {
  Branch *branch = snn_params(node, sizeof(*branch) + 2 * node->n_out * sizeof(SnnTensor));
  if (!branch) return SNN_NO_MEMORY;
  if (!node->in[CONDITION]->data) return prepare_both(node, branch->results, branch->results + node->n_out);
  uint32_t model = chosen(node);
  int answer = snn_shape_model(node, model, (Inputs)node->in + ARGUMENTS, branch->results);
  if (answer == SNN_NEEDS_DATA && snn_executing(node)) {
    answer = snn_run_model(node, model, 0, (Inputs)node->in + ARGUMENTS, branch->results);
    branch->done = true;
  }
  if (answer == SNN_OK && !branch->done) answer = snn_reserve_results(node, model, 1);
  return answer == SNN_OK ? set_shapes(node, branch->results) : answer;
}

static int if_execute(SnnNode *node) {
  Branch *branch = node->params;
  if (!branch->done) SNN_TRY(snn_run_model(node, chosen(node), 0, (Inputs)node->in + ARGUMENTS, branch->results));
  for (uint32_t i = 0; i < node->n_out; i++) {
    SNN_CHECK(node, same_shape(node->out[i], &branch->results[i]),
              "output %u of the chosen model has another shape than expected", i);
    copy(node->out[i], &branch->results[i]);
  }
  return SNN_OK;
}

/* --- WHILE --- */

enum { TEST = 0, BODY = 1, STATE = 2 }; /* models; then the loop's inputs: m in and out, k state, n in only */

typedef struct {
  uint32_t inputs, carried; /* of the models; those that the body's outputs replace: m + k */
  bool done;                /* run in prepare */
  SnnTensor test;
  SnnTensor *values[2];  /* the body's outputs, of two rounds in turn */
  const SnnTensor **now; /* the models' inputs in the present round */
} Loop;

static int while_validate(SnnNode *node) {
  SNN_REQUIRE(node, node->n_in >= STATE && node->n_out >= 1, "%u inputs and %u outputs are not two models and a loop's state",
              node->n_in, node->n_out);
  for (uint32_t model = TEST; model <= BODY; model++) {
    SNN_REQUIRE(node, node->in[model]->lifetime == SNN_SUBGRAPH, "input %u is not a model", model);
    if (!fits_inputs(node, model, STATE)) return SNN_INVALID;
  }
  SNN_REQUIRE(node, snn_model_outputs(node, TEST) == 1, "the condition model has %u outputs, not one",
              snn_model_outputs(node, TEST));
  if (!is_condition(node, snn_model_output(node, TEST, 0), "the condition model's output")) return SNN_INVALID;
  uint32_t carried = snn_model_outputs(node, BODY);
  SNN_REQUIRE(node, carried >= node->n_out && carried <= node->n_in - STATE, "%u outputs of the body model are not %u to %u",
              carried, node->n_out, node->n_in - STATE);
  for (uint32_t i = 0; i < carried; i++) {
    if (!fits(node, node->in[STATE + i], snn_model_output(node, BODY, i), "output", i)) return SNN_INVALID;
    if (i < node->n_out && !fits(node, node->out[i], snn_model_output(node, BODY, i), "output", i)) return SNN_INVALID;
  }
  return 4;
}

static Loop *new_loop(SnnNode *node) {
  uint32_t inputs = node->n_in - STATE, carried = snn_model_outputs(node, BODY);
  Loop *loop = snn_params(node, sizeof(*loop) + 2 * carried * sizeof(SnnTensor) + inputs * sizeof(const SnnTensor *));
  if (!loop) return NULL;
  loop->inputs = inputs;
  loop->carried = carried;
  loop->values[0] = (SnnTensor *)(loop + 1);
  loop->values[1] = loop->values[0] + carried;
  loop->now = (const SnnTensor **)(loop->values[1] + carried);
  return loop;
}

/* The loop from its first round to the end; the results are loop->now. */
static int run_loop(SnnNode *node, Loop *loop) {
  uint64_t deadline = snn_loop_deadline(node);
  for (uint32_t i = 0; i < loop->inputs; i++) loop->now[i] = node->in[STATE + i];
  for (uint32_t bank = 0;; bank ^= 1) {
    SNN_TRY(snn_run_model(node, TEST, 0, loop->now, &loop->test));
    SNN_CHECK(node, loop->test.data, "the condition model gave no value");
    if (!*(const uint8_t *)loop->test.data) return SNN_OK;
    if (snn_loop_expired(deadline)) return SNN_TIMEOUT;
    SNN_TRY(snn_run_model(node, BODY, bank, loop->now, loop->values[bank]));
    for (uint32_t i = 0; i < loop->carried; i++) loop->now[i] = &loop->values[bank][i];
  }
}

/* Does a round leave all shapes as they are? Then so does the loop. */
static int keeps_shapes(SnnNode *node, Loop *loop) {
  SNN_TRY(snn_shape_model(node, BODY, (Inputs)node->in + STATE, loop->values[0]));
  for (uint32_t i = 0; i < loop->carried; i++) {
    if (!same_shape(node->in[STATE + i], &loop->values[0][i])) return SNN_NEEDS_DATA;
  }
  SNN_TRY(snn_reserve_results(node, BODY, 2));
  int answer = snn_shape_model(node, TEST, (Inputs)node->in + STATE, &loop->test);
  if (answer == SNN_OK) answer = snn_reserve_results(node, TEST, 1);
  return answer == SNN_NEEDS_DATA ? SNN_OK : answer;
}

static int while_prepare(SnnNode *node) {
  Loop *loop = new_loop(node);
  if (!loop) return SNN_NO_MEMORY;
  int answer = keeps_shapes(node, loop);
  for (uint32_t i = 0; i < loop->inputs; i++) loop->now[i] = node->in[STATE + i];
  if (answer == SNN_NEEDS_DATA && snn_executing(node)) {
    answer = run_loop(node, loop);
    loop->done = true;
  }
  if (answer != SNN_OK) return answer;
  for (uint32_t i = 0; i < node->n_out; i++) SNN_TRY(snn_set_shape_like(node, i, loop->now[i]));
  return SNN_OK;
}

static int while_execute(SnnNode *node) {
  Loop *loop = node->params;
  if (!loop->done) SNN_TRY(run_loop(node, loop));
  for (uint32_t i = 0; i < node->n_out; i++) {
    SNN_CHECK(node, same_shape(node->out[i], loop->now[i]), "output %u of the loop has another shape than expected", i);
    copy(node->out[i], loop->now[i]);
  }
  return SNN_OK;
}

const SnnOperation snn_control_flow_operations[] = {
    SNN_RECORD(IF, 4, if_validate, if_prepare, if_execute, SNN_ALLOW_OMITTED | SNN_ALLOW_ZERO_SIZED)
    SNN_RECORD(WHILE, 4, while_validate, while_prepare, while_execute, SNN_ALLOW_OMITTED | SNN_ALLOW_ZERO_SIZED)
    {0},
};
