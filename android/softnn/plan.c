/* Instances: a model made ready to execute. Everything that can be known before an execution is worked out here.
 *
 * Steps are prepared in run order. Where all shapes and needed values are known a step is done with for good; where they are not it is
 * "late", and prepared again in each execution. Shapes that the model declares in full are believed until the operation says
 * otherwise (then the execution fails), so one late step does not make those behind it late.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

static bool create_step(SnnInstance *instance, SnnStep *step, const SnnModelNode *source, SnnTensor **pointers, uint32_t *next_id) {
  uint32_t count = source->n_in + source->n_out;
  step->source = source;
  step->id = (*next_id)++;
  step->node.op = source->op;
  step->node.n_in = source->n_in;
  step->node.n_out = source->n_out;
  step->node.context = &instance->context;
  step->node.in = pointers;
  step->node.out = pointers + source->n_in;
  bool halves = false, models = false;
  for (uint32_t i = 0; i < count; i++) {
    SnnTensor *tensor = snn_operand_tensor(instance, source->operands[i]);
    pointers[i] = tensor;
    halves |= snn_is_half(tensor->type);
    models |= tensor->lifetime == SNN_SUBGRAPH;
  }
  if (halves && (source->op->flags & SNN_F16_BY_F32)) {
    step->shadows = snn_allocate(count, sizeof(step->shadows[0]));
    if (step->shadows == NULL) return false;
    for (uint32_t i = 0; i < count; i++) {
      if (snn_is_half(pointers[i]->type)) pointers[i] = &step->shadows[i].tensor;
    }
  }
  if (models) {
    step->children = snn_allocate(source->n_in, sizeof(step->children[0]));
    if (step->children == NULL) return false;
    for (uint32_t i = 0; i < source->n_in; i++) {
      if (step->node.in[i]->lifetime != SNN_SUBGRAPH) continue;
      step->children[i] = snn_instance_create(instance->model->models[step->node.in[i]->model], instance->shared, next_id);
      if (step->children[i] == NULL) return false;
    }
  }
  return true;
}

SnnInstance *snn_instance_create(const ANeuralNetworksModel *model, SnnShared *shared, uint32_t *next_id) {
  SnnInstance *instance = snn_allocate(1, sizeof(*instance));
  if (instance == NULL) return NULL;
  instance->model = model;
  instance->shared = shared;
  instance->context = (struct SnnContext){instance, model};
  size_t pointers = 0;
  for (uint32_t i = 0; i < model->n_nodes; i++) pointers += (size_t)model->nodes[i].n_in + model->nodes[i].n_out;
  instance->pointers = snn_allocate(pointers, sizeof(instance->pointers[0]));
  instance->slots = snn_allocate(model->n_slots, sizeof(instance->slots[0]));
  instance->steps = snn_allocate(model->n_nodes, sizeof(instance->steps[0]));
  instance->arguments = snn_allocate((size_t)model->n_inputs + model->n_outputs, sizeof(instance->arguments[0]));
  instance->banks = snn_allocate(model->n_outputs, SNN_BANKS * sizeof(instance->banks[0]));
  bool ok = instance->slots != NULL && instance->steps != NULL && instance->pointers != NULL && instance->arguments != NULL &&
            instance->banks != NULL;
  for (uint32_t i = 0; ok && i < model->n_operands; i++) {
    SnnSlot *slot = snn_operand_slot(instance, i);
    if (slot == NULL) continue;
    slot->declared = &model->operands[i].t;
    slot->tensor = *slot->declared;
    slot->tensor.data = NULL;
  }
  SnnTensor **next = instance->pointers;
  for (uint32_t i = 0; ok && i < model->n_nodes; i++) {
    const SnnModelNode *source = &model->nodes[model->order[i]];
    ok = create_step(instance, &instance->steps[i], source, next, next_id);
    next += source->n_in + source->n_out;
  }
  if (ok) return instance;
  snn_instance_free(instance);
  return NULL;
}

static void free_step(SnnStep *step) {
  uint32_t count = step->node.n_in + step->node.n_out;
  for (uint32_t i = 0; step->shadows != NULL && i < count; i++) snn_release(&step->shadows[i].own);
  for (uint32_t i = 0; step->children != NULL && i < step->node.n_in; i++) snn_instance_free(step->children[i]);
  free(step->shadows);
  free(step->children);
  if (step->params_apart) snn_release(&step->params);
  snn_release(&step->own);
}

void snn_instance_free(SnnInstance *instance) {
  if (instance == NULL) return;
  for (uint32_t i = 0; instance->steps != NULL && i < instance->model->n_nodes; i++) free_step(&instance->steps[i]);
  for (uint32_t i = 0; instance->slots != NULL && i < instance->model->n_slots; i++) snn_release(&instance->slots[i].own);
  for (uint32_t i = 0; instance->banks != NULL && i < instance->model->n_outputs * SNN_BANKS; i++) snn_release(&instance->banks[i]);
  free(instance->banks);
  free(instance->arguments);
  free(instance->arena);
  free(instance->slots);
  free(instance->steps);
  free(instance->pointers);
  snn_slab_free(&instance->slab);
  free(instance);
}

/* --- one step ---------------------------------------------------------------------------------------------------------------- */

/* Back to what the model declares. Zero means unknown there; in a slot of known shape it means empty. */
static void reset_slot(SnnSlot *slot) {
  slot->tensor.lifetime = slot->declared->lifetime;
  slot->tensor.rank_known = slot->declared->rank_known;
  slot->tensor.rank = slot->declared->rank;
  memcpy(slot->tensor.dims, slot->declared->dims, sizeof(slot->tensor.dims));
  slot->shape_known = snn_fully_specified(slot->declared);
  slot->bytes = 0;
  if (slot->shape_known) snn_byte_size(slot->declared, &slot->bytes);
  slot->tensor.length = slot->bytes;
}

static SnnSlot *output_slot(SnnInstance *instance, SnnStep *step, uint32_t output) {
  return snn_operand_slot(instance, step->source->operands[step->node.n_in + output]);
}

/* The node as the model's validation saw it, but with inputs that the execution omits: may those be omitted? */
static int validate_again(SnnInstance *instance, SnnStep *step) {
  uint32_t count = step->node.n_in + step->node.n_out;
  SnnTensor **pointers = step->node.in;
  for (uint32_t i = 0; i < count; i++) pointers[i] = snn_operand_tensor(instance, step->source->operands[i]);
  int answer = step->node.op->validate(&step->node);
  for (uint32_t i = 0; i < count; i++) {
    if (step->shadows != NULL && snn_is_half(pointers[i]->type)) pointers[i] = &step->shadows[i].tensor;
  }
  return answer < 0 ? SNN_BAD : SNN_OK;
}

/* SNN_NEEDS_DATA when an input's shape is not known yet. */
static int check_inputs(SnnInstance *instance, SnnStep *step) {
  int answer = SNN_OK;
  for (uint32_t i = 0; i < step->node.n_in; i++) {
    uint32_t operand = step->source->operands[i];
    const SnnSlot *slot = snn_operand_slot(instance, operand);
    if (snn_operand_tensor(instance, operand)->lifetime == SNN_OMITTED) {
      SNN_CHECK(&step->node, step->node.op->flags & SNN_ALLOW_OMITTED, "input %u must not be omitted", i);
      if (slot != NULL) SNN_TRY(validate_again(instance, step)); /* by the execution */
    } else if (slot != NULL && !slot->shape_known) {
      answer = SNN_NEEDS_DATA;
    }
  }
  return answer;
}

/* Takes over what prepare said of the outputs. */
static int accept_outputs(SnnInstance *instance, SnnStep *step) {
  snn_shadows_accept(step);
  bool empty = true;
  for (uint32_t i = 0; i < step->node.n_out; i++) {
    const SnnSlot *slot = output_slot(instance, step, i);
    SNN_CHECK(&step->node, slot->shape_known, "output %u has got no shape", i);
    empty &= slot->bytes == 0;
  }
  step->skip = empty && step->node.n_out > 0 && !(step->node.op->flags & SNN_ALLOW_ZERO_SIZED);
  return SNN_OK;
}

/* Constants of which the packed form is read from now on. */
static void rest_constants(SnnInstance *instance, SnnStep *step) {
  for (uint32_t i = 0; i < step->node.n_in; i++) {
    const SnnOperand *operand = &instance->model->operands[step->source->operands[i]];
    if (operand->t.lifetime == SNN_CONSTANT && operand->memory != NULL) snn_memory_was_read(operand->memory, operand->t.length);
  }
}

void snn_constant_packed(const SnnNode *node, const void *from, size_t bytes) {
  const SnnStep *step = snn_step(node);
  for (uint32_t i = 0; i < node->n_in; i++) {
    const SnnOperand *operand = &node->context->model->operands[step->source->operands[i]];
    uintptr_t first = (uintptr_t)from, begin = (uintptr_t)operand->t.data;
    if (operand->memory != NULL && first >= begin && first - begin < operand->t.length) snn_memory_was_read(operand->memory, bytes);
  }
}

int snn_step_prepare(SnnInstance *instance, SnnStep *step, bool live) {
  step->node.scratch_bytes = 0;
  step->node.scratch = NULL;
  step->skip = false;
  for (uint32_t i = 0; i < step->node.n_out; i++) reset_slot(output_slot(instance, step, i));
  int code = check_inputs(instance, step);
  if (code == SNN_OK) code = snn_shadows_describe(step);
  if (code == SNN_OK && live) {
    if (!snn_shadows_reserve(step, false)) return SNN_NO_MEMORY;
    snn_shadows_widen(step);
  }
  if (code == SNN_OK) code = step->node.op->prepare(&step->node);
  if (code == SNN_OK) code = accept_outputs(instance, step);
  if (code == SNN_OK && snn_packed_finish(instance->shared->packed, instance, step->id)) rest_constants(instance, step);
  if (live && code == SNN_NEEDS_DATA) return snn_fail(&step->node, "asks for data that is there"), SNN_BAD;
  return code;
}

/* --- all steps --------------------------------------------------------------------------------------------------------------- */

static void describe_inputs(SnnInstance *instance, const SnnArgument *inputs, bool exact) {
  const ANeuralNetworksModel *model = instance->model;
  for (uint32_t i = 0; i < model->n_inputs; i++) {
    SnnSlot *slot = snn_operand_slot(instance, model->inputs[i]);
    const SnnTensor *given = &inputs[i].t;
    reset_slot(slot);
    slot->tensor.lifetime = given->lifetime;
    slot->tensor.rank_known = given->rank_known;
    slot->tensor.rank = given->rank;
    memcpy(slot->tensor.dims, given->dims, sizeof(slot->tensor.dims));
    slot->shape_known = exact || snn_fully_specified(given);
    slot->tensor.data = NULL;
    slot->bytes = 0;
    if (slot->shape_known && given->lifetime != SNN_OMITTED) snn_byte_size(&slot->tensor, &slot->bytes);
    slot->tensor.length = slot->bytes;
  }
}

static void forget_data(SnnInstance *instance) {
  for (uint32_t i = 0; i < instance->model->n_slots; i++) {
    SnnSlot *slot = &instance->slots[i];
    if (slot->declared->lifetime == SNN_TEMPORARY || slot->declared->lifetime == SNN_MODEL_OUTPUT) slot->tensor.data = NULL;
    slot->late = false;
    slot->place = SNN_NO_PLACE;
  }
}

int snn_instance_prepare(SnnInstance *instance, const SnnArgument *inputs, bool exact) {
  instance->prepared = false;
  forget_data(instance);
  describe_inputs(instance, inputs, exact);
  for (uint32_t i = 0; i < instance->model->n_nodes; i++) {
    SnnStep *step = &instance->steps[i];
    int code = snn_step_prepare(instance, step, false);
    step->late = code == SNN_NEEDS_DATA;
    if (code != SNN_OK && code != SNN_NEEDS_DATA) return code;
    for (uint32_t o = 0; o < step->node.n_out; o++) {
      SnnSlot *slot = output_slot(instance, step, o);
      if (step->late) reset_slot(slot); /* whatever prepare got to before it asked for data */
      slot->late = !slot->shape_known;
    }
  }
  if (!snn_plan_arena(instance)) return SNN_NO_MEMORY;
  instance->prepared = true;
  return SNN_OK;
}
