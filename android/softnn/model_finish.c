/* Finishing a model: each operand has one source, operations are valid with their final values, run order without cycles. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define BAD_DATA(...) snn_refuse(ANEURALNETWORKS_BAD_DATA, __VA_ARGS__)

static int check_sources(ANeuralNetworksModel *model) {
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = &model->nodes[i];
    for (uint32_t k = 0; k < node->n_out; k++) model->operands[node->operands[node->n_in + k]].writers++;
  }
  for (uint32_t i = 0; i < model->n_operands; i++) {
    const SnnOperand *operand = &model->operands[i];
    const SnnTensor *t = &operand->t;
    bool written = t->lifetime == SNN_TEMPORARY || t->lifetime == SNN_MODEL_OUTPUT;
    if (operand->writers > (written ? 1u : 0u)) {
      return BAD_DATA("Model_finish: operand %u is written %u times and has %s", i, operand->writers,
                      written ? "no other source" : "a source already");
    }
    if (written && operand->writers == 0) return BAD_DATA("Model_finish: operand %u is never written", i);
    if (t->type == ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL && t->channel_scales == NULL) {
      return BAD_DATA("Model_finish: operand %u has no scales per channel", i);
    }
  }
  return 0;
}

/* Values can have been set after addOperation: now they count. */
static int check_nodes(ANeuralNetworksModel *model) {
  uint64_t weight = 0;
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    SnnModelNode *node = &model->nodes[i];
    node->level = snn_validate_node(model, node);
    if (node->level == SNN_INVALID || node->level > model->level) return BAD_DATA("Model_finish: operation %u is not valid", i);
    weight++;
    for (uint32_t k = 0; k < node->n_in; k++) {
      const SnnTensor *t = &model->operands[node->operands[k]].t;
      if (t->lifetime != SNN_SUBGRAPH) continue;
      const ANeuralNetworksModel *inner = model->models[t->model];
      weight += inner->weight;
      if (inner->depth + 1 > model->depth) model->depth = inner->depth + 1;
      if (weight > SNN_MAX_WEIGHT) return BAD_DATA("Model_finish: referenced models add up to more than %u operations", SNN_MAX_WEIGHT);
    }
  }
  model->weight = (uint32_t)(weight < SNN_MAX_WEIGHT ? weight : SNN_MAX_WEIGHT);
  return 0;
}

/* For each operand the nodes that read it, as slices of one list. */
typedef struct {
  size_t *begin; /* n_operands + 1 */
  uint32_t *nodes;
  uint32_t *missing; /* per node: inputs that are not there yet */
} Readers;

static bool find_readers(const ANeuralNetworksModel *model, Readers *readers) {
  size_t total = 0;
  readers->begin = snn_allocate((size_t)model->n_operands + 2, sizeof(readers->begin[0]));
  readers->missing = snn_allocate(model->n_nodes, sizeof(readers->missing[0]));
  if (readers->begin == NULL || readers->missing == NULL) return false;
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = &model->nodes[i];
    for (uint32_t k = 0; k < node->n_in; k++) {
      if (model->operands[node->operands[k]].writers == 0) continue;
      readers->begin[node->operands[k] + 2]++;
      readers->missing[i]++;
      total++;
    }
  }
  for (uint32_t i = 0; i < model->n_operands; i++) readers->begin[i + 2] += readers->begin[i + 1];
  readers->nodes = snn_allocate(total, sizeof(readers->nodes[0]));
  if (readers->nodes == NULL) return false;
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    const SnnModelNode *node = &model->nodes[i];
    for (uint32_t k = 0; k < node->n_in; k++) {
      if (model->operands[node->operands[k]].writers != 0) readers->nodes[readers->begin[node->operands[k] + 1]++] = i;
    }
  }
  return true;
}

static void free_readers(Readers *readers) {
  free(readers->begin);
  free(readers->nodes);
  free(readers->missing);
}

/* The order of addOperation, when it is a run order already: it is the one that the client's own planning had in mind. */
static bool keep_order(ANeuralNetworksModel *model) {
  bool *there = snn_allocate(model->n_operands, sizeof(there[0]));
  if (there == NULL) return false;
  bool ok = true;
  for (uint32_t i = 0; i < model->n_nodes && ok; i++) {
    const SnnModelNode *node = &model->nodes[i];
    for (uint32_t k = 0; k < node->n_in; k++) ok &= there[node->operands[k]] || model->operands[node->operands[k]].writers == 0;
    for (uint32_t k = node->n_in; k < node->n_in + node->n_out; k++) there[node->operands[k]] = true;
    model->order[i] = i;
  }
  free(there);
  return ok;
}

/* Else nodes come as soon as all their inputs are there. */
static int sort_nodes(ANeuralNetworksModel *model) {
  Readers readers = {NULL, NULL, NULL};
  uint32_t sorted = 0;
  model->order = snn_allocate(model->n_nodes, sizeof(model->order[0]));
  if (model->order == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  if (keep_order(model)) return 0;
  if (!find_readers(model, &readers)) {
    free_readers(&readers);
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    if (readers.missing[i] == 0) model->order[sorted++] = i;
  }
  for (uint32_t done = 0; done < sorted; done++) {
    const SnnModelNode *node = &model->nodes[model->order[done]];
    for (uint32_t k = 0; k < node->n_out; k++) {
      uint32_t operand = node->operands[node->n_in + k];
      for (size_t r = readers.begin[operand]; r < readers.begin[operand + 1]; r++) {
        if (--readers.missing[readers.nodes[r]] == 0) model->order[sorted++] = readers.nodes[r];
      }
    }
  }
  free_readers(&readers);
  if (sorted < model->n_nodes) {
    return BAD_DATA("Model_finish: %u operations wait for each other in a cycle", model->n_nodes - sorted);
  }
  return 0;
}

/* Constants are read where they lie, unless their elements cannot be read there. */
static int align_constant(ANeuralNetworksModel *model, SnnOperand *operand) {
  size_t element = snn_element_size(operand->t.type);
  if (operand->t.lifetime != SNN_CONSTANT || element < 2 || (uintptr_t)operand->t.data % element == 0) return 0;
  void *copy = snn_slab_take(&model->slab, operand->t.length, SNN_ALIGNMENT);
  if (copy == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  operand->t.data = memcpy(copy, operand->t.data, operand->t.length);
  return 0;
}

static int assign_slots(ANeuralNetworksModel *model) {
  for (uint32_t i = 0; i < model->n_operands; i++) {
    SnnOperand *operand = &model->operands[i];
    SnnLifetime lifetime = operand->t.lifetime;
    bool moves = lifetime == SNN_TEMPORARY || lifetime == SNN_MODEL_INPUT || lifetime == SNN_MODEL_OUTPUT;
    operand->slot = moves ? model->n_slots++ : SNN_NO_SLOT;
    int code = align_constant(model, operand);
    if (code != 0) return code;
  }
  return 0;
}

/* Gives back what the arrays have in reserve. */
static void trim(ANeuralNetworksModel *model) {
  void *operands = realloc(model->operands, model->n_operands * sizeof(model->operands[0]));
  if (operands != NULL) model->operands = operands;
  void *nodes = realloc(model->nodes, model->n_nodes * sizeof(model->nodes[0]));
  if (nodes != NULL) model->nodes = nodes;
  model->operand_capacity = model->n_operands;
  model->node_capacity = model->n_nodes;
}

int snn_model_finish(ANeuralNetworksModel *model) {
  if (model->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_finish: the model is finished");
  if (model->invalid) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_finish: the model is invalid");
  int code = 0;
  if (model->n_operands == 0 || model->n_nodes == 0 || model->n_outputs == 0) {
    code = BAD_DATA("Model_finish: %u operands, %u operations, %u outputs: none of them may be 0", model->n_operands, model->n_nodes,
                    model->n_outputs);
  }
  if (code == 0) code = check_sources(model);
  if (code == 0) code = check_nodes(model);
  if (code == 0) code = sort_nodes(model);
  if (code == 0) code = assign_slots(model);
  model->invalid = code != 0;
  model->finished = code == 0;
  if (model->finished) trim(model);
  return code;
}
