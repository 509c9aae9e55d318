/* Running the models that IF and WHILE refer to. */
#include "engine.h"

#include <string.h>

static const ANeuralNetworksModel *referenced(const SnnNode *node, uint32_t input) {
  return node->context->model->models[node->in[input]->model];
}

uint32_t snn_model_inputs(const SnnNode *node, uint32_t input) { return referenced(node, input)->n_inputs; }

uint32_t snn_model_outputs(const SnnNode *node, uint32_t input) { return referenced(node, input)->n_outputs; }

const SnnTensor *snn_model_input(const SnnNode *node, uint32_t input, uint32_t index) {
  const ANeuralNetworksModel *model = referenced(node, input);
  return &model->operands[model->inputs[index]].t;
}

const SnnTensor *snn_model_output(const SnnNode *node, uint32_t input, uint32_t index) {
  const ANeuralNetworksModel *model = referenced(node, input);
  return &model->operands[model->outputs[index]].t;
}

/* Fills the child's input arguments; what the child's own declaration knows must fit. */
static int describe(SnnNode *node, SnnInstance *child, const SnnTensor *const *inputs) {
  for (uint32_t i = 0; i < child->model->n_inputs; i++) {
    SnnArgument *argument = &child->arguments[i];
    const SnnTensor *declared = &child->model->operands[child->model->inputs[i]].t;
    argument->t = *inputs[i];
    argument->t.lifetime = inputs[i]->lifetime == SNN_OMITTED ? SNN_OMITTED : SNN_MODEL_INPUT;
    if (argument->t.lifetime == SNN_OMITTED || !declared->rank_known) continue;
    SNN_CHECK(node, declared->rank == inputs[i]->rank, "input %u of the referenced model has rank %u; it gets rank %u", i,
              declared->rank, inputs[i]->rank);
    for (uint32_t d = 0; d < declared->rank; d++) {
      SNN_CHECK(node, declared->dims[d] == 0 || declared->dims[d] == inputs[i]->dims[d],
                "input %u of the referenced model has dimension %u = %u; it gets %u", i, d, declared->dims[d], inputs[i]->dims[d]);
    }
  }
  return SNN_OK;
}

int snn_shape_model(SnnNode *node, uint32_t input, const SnnTensor *const *inputs, SnnTensor *outputs) {
  SnnInstance *child = snn_step(node)->children[input];
  SNN_TRY(describe(node, child, inputs));
  if (!snn_instance_fits(child, child->arguments)) SNN_TRY(snn_instance_prepare(child, child->arguments, true));
  for (uint32_t i = 0; i < child->model->n_outputs; i++) {
    const SnnSlot *slot = snn_operand_slot(child, child->model->outputs[i]);
    if (slot->late) return SNN_NEEDS_DATA;
    outputs[i] = slot->tensor;
    outputs[i].data = NULL;
  }
  return SNN_OK;
}

int snn_reserve_results(SnnNode *node, uint32_t input, uint32_t banks) {
  SnnInstance *child = snn_step(node)->children[input];
  for (uint32_t i = 0; i < child->model->n_outputs; i++) {
    SnnSlot *slot = snn_operand_slot(child, child->model->outputs[i]);
    if (!snn_reserve(&slot->own, slot->bytes)) return SNN_NO_MEMORY;
    for (uint32_t bank = 0; bank < banks; bank++) {
      if (!snn_reserve(&child->banks[i * SNN_BANKS + bank], slot->bytes)) return SNN_NO_MEMORY;
    }
  }
  return SNN_OK;
}

bool snn_executing(const SnnNode *node) { return node->context->instance->run != NULL; }

int snn_run_model(SnnNode *node, uint32_t input, uint32_t bank, const SnnTensor *const *inputs, SnnTensor *outputs) {
  SnnInstance *child = snn_step(node)->children[input];
  const ANeuralNetworksModel *model = child->model;
  SNN_TRY(describe(node, child, inputs));
  SnnRun run = *node->context->instance->run;
  run.inputs = child->arguments;
  run.outputs = child->arguments + model->n_inputs;
  for (uint32_t i = 0; i < model->n_outputs; i++) run.outputs[i] = (SnnArgument){.t = {.rank_known = false}}; /* into the child's blocks */
  int code = snn_instance_run(child, &run);
  if (code == ANEURALNETWORKS_OUT_OF_MEMORY) return SNN_NO_MEMORY;
  if (code == ANEURALNETWORKS_MISSED_DEADLINE_TRANSIENT) return SNN_TIMEOUT;
  SNN_CHECK(node, code == ANEURALNETWORKS_NO_ERROR, "the referenced model of input %u failed", input);
  for (uint32_t i = 0; i < model->n_outputs; i++) {
    SnnSlot *slot = snn_operand_slot(child, model->outputs[i]);
    SnnBuffer *kept = &child->banks[i * SNN_BANKS + bank % SNN_BANKS], swap = *kept;
    *kept = slot->own;
    slot->own = swap;
    outputs[i] = slot->tensor;
    outputs[i].data = kept->data;
  }
  return SNN_OK;
}

uint64_t snn_loop_deadline(const SnnNode *node) {
  const SnnRun *run = node->context->instance->run;
  uint64_t now = snn_now(), end = snn_deadline(now, run->loop_timeout);
  return run->loop_timeout == 0 ? now : end < run->deadline ? end : run->deadline;
}

bool snn_loop_expired(uint64_t deadline) { return deadline != SNN_NEVER && snn_now() >= deadline; }
