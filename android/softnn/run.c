/* Executing an instance. With all steps prepared beforehand nothing is allocated here, unless a caller's buffer lies where its elements
 * cannot be read. */
#include "engine.h"

#include <string.h>

static int result_code(int code) {
  switch (code) {
    case SNN_OK: return ANEURALNETWORKS_NO_ERROR;
    case SNN_NO_MEMORY: return ANEURALNETWORKS_OUT_OF_MEMORY;
    case SNN_TIMEOUT: return ANEURALNETWORKS_MISSED_DEADLINE_TRANSIENT;
    default: return ANEURALNETWORKS_OP_FAILED;
  }
}

bool snn_instance_fits(const SnnInstance *instance, const SnnArgument *inputs) {
  if (!instance->prepared) return false;
  for (uint32_t i = 0; i < instance->model->n_inputs; i++) {
    const SnnSlot *slot = snn_operand_slot(instance, instance->model->inputs[i]);
    const SnnTensor *given = &inputs[i].t;
    if (slot->tensor.lifetime != given->lifetime) return false;
    if (given->lifetime == SNN_OMITTED) continue;
    if (!slot->shape_known || slot->tensor.rank != given->rank) return false;
    if (given->rank != 0 && memcmp(slot->tensor.dims, given->dims, given->rank * sizeof(given->dims[0])) != 0) return false;
  }
  return true;
}

static bool is_aligned(const void *data, int32_t type) {
  size_t element = snn_element_size(type);
  return element <= 1 || (uintptr_t)data % element == 0;
}

static int bind_inputs(SnnInstance *instance, const SnnRun *run) {
  for (uint32_t i = 0; i < instance->model->n_inputs; i++) {
    SnnSlot *slot = snn_operand_slot(instance, instance->model->inputs[i]);
    if (slot->tensor.lifetime == SNN_OMITTED) continue;
    void *data = run->inputs[i].t.data;
    if (!is_aligned(data, slot->tensor.type)) {
      if (!snn_reserve(&slot->own, slot->bytes)) return SNN_NO_MEMORY;
      memcpy(slot->own.data, data, slot->bytes);
      data = slot->own.data;
    }
    slot->tensor.data = data;
  }
  return SNN_OK;
}

/* Does an output's buffer lie over an input, which is still to be read? */
static bool covers_input(const SnnInstance *instance, const void *data, size_t bytes) {
  uintptr_t begin = (uintptr_t)data;
  for (uint32_t i = 0; i < instance->model->n_inputs; i++) {
    uintptr_t input = (uintptr_t)instance->run->inputs[i].t.data;
    size_t length = snn_operand_slot(instance, instance->model->inputs[i])->bytes;
    if (input < begin ? begin - input < length : input - begin < bytes) return true;
  }
  return false;
}

/* A caller that gave dimensions of an output must get those. */
static bool fits_given_dims(const SnnTensor *given, const SnnTensor *result) {
  if (!given->rank_known) return true;
  if (given->rank != result->rank) return false;
  for (uint32_t i = 0; i < given->rank; i++) {
    if (given->dims[i] != 0 && given->dims[i] != result->dims[i]) return false;
  }
  return true;
}

/* Output `index`, now that its shape is known: into the caller's buffer, or into our own where that is absent, too small, unaligned or
 * over an input. */
static int bind_output(SnnInstance *instance, SnnSlot *slot, uint32_t index) {
  SnnArgument *argument = &instance->run->outputs[index];
  slot->external = false;
  if (!fits_given_dims(&argument->t, &slot->tensor)) {
    snn_log("output %u: the result has other dimensions than the execution gave", index);
    return SNN_BAD;
  }
  if (argument->t.data != NULL) {
    argument->insufficient = argument->t.length < slot->bytes;
    slot->external = !argument->insufficient && is_aligned(argument->t.data, slot->tensor.type) &&
                     !covers_input(instance, argument->t.data, slot->bytes);
  }
  if (!slot->external && !snn_reserve(&slot->own, slot->bytes)) return SNN_NO_MEMORY;
  slot->tensor.data = slot->external ? argument->t.data : slot->own.data;
  return SNN_OK;
}

static int bind_known_outputs(SnnInstance *instance, bool *all, bool *enough) {
  const ANeuralNetworksModel *model = instance->model;
  *all = *enough = true;
  for (uint32_t i = 0; i < model->n_outputs; i++) {
    SnnSlot *slot = snn_operand_slot(instance, model->outputs[i]);
    instance->run->outputs[i].insufficient = false;
    if (slot->late) {
      *all = false;
      continue;
    }
    int code = bind_output(instance, slot, i);
    if (code != SNN_OK) return code;
    *enough &= !instance->run->outputs[i].insufficient;
  }
  return SNN_OK;
}

static int bind_late_output(SnnInstance *instance, SnnSlot *slot, uint32_t operand) {
  if (!slot->late) return SNN_OK;
  if (slot->declared->lifetime == SNN_MODEL_OUTPUT) {
    for (uint32_t i = 0; i < instance->model->n_outputs; i++) {
      if (instance->model->outputs[i] == operand) return bind_output(instance, slot, i);
    }
  }
  if (!snn_reserve(&slot->own, slot->bytes)) return SNN_NO_MEMORY;
  slot->tensor.data = slot->own.data;
  return SNN_OK;
}

static int prepare_late(SnnInstance *instance, SnnStep *step) {
  int code = snn_step_prepare(instance, step, true);
  for (uint32_t i = 0; code == SNN_OK && i < step->node.n_out; i++) {
    uint32_t operand = step->source->operands[step->node.n_in + i];
    code = bind_late_output(instance, snn_operand_slot(instance, operand), operand);
  }
  if (code != SNN_OK) return code;
  if (!snn_shadows_reserve(step, true) || !snn_reserve(&step->own, step->node.scratch_bytes)) return SNN_NO_MEMORY;
  step->node.scratch = step->own.data;
  return SNN_OK;
}

static int run_step(SnnInstance *instance, SnnStep *step) {
  if (step->late) {
    int code = prepare_late(instance, step);
    if (code != SNN_OK) return code;
  }
  if (step->skip) return SNN_OK;
  if (!step->late) snn_shadows_widen(step);
  int code = step->node.op->execute(&step->node);
  if (code == SNN_OK) snn_shadows_narrow(step);
  return code;
}

static int run_steps(SnnInstance *instance) {
  uint64_t deadline = instance->run->deadline;
  for (uint32_t i = 0; i < instance->model->n_nodes; i++) {
    if (deadline != SNN_NEVER && snn_now() >= deadline) {
      snn_log("the deadline passed before operation %u of %u", i, instance->model->n_nodes);
      return SNN_TIMEOUT;
    }
    int code = run_step(instance, &instance->steps[i]);
    if (code != SNN_OK) return code;
  }
  return SNN_OK;
}

/* Shapes to the caller, and the bytes that are not there already. True when everything fitted. */
static bool deliver(SnnInstance *instance, bool computed) {
  bool enough = true;
  for (uint32_t i = 0; i < instance->model->n_outputs; i++) {
    const SnnSlot *slot = snn_operand_slot(instance, instance->model->outputs[i]);
    SnnArgument *argument = &instance->run->outputs[i];
    if (computed && !slot->external && !argument->insufficient && argument->t.data != NULL) {
      memcpy(argument->t.data, slot->tensor.data, slot->bytes);
    }
    enough &= !argument->insufficient;
    argument->t.rank_known = true;
    argument->t.rank = slot->tensor.rank;
    memcpy(argument->t.dims, slot->tensor.dims, sizeof(argument->t.dims));
  }
  return enough;
}

int snn_instance_run(SnnInstance *instance, const SnnRun *run) {
  bool all = false, enough = false;
  int code = SNN_OK;
  if (!snn_instance_fits(instance, run->inputs)) code = snn_instance_prepare(instance, run->inputs, true);
  instance->run = run; /* from here on there is data: not for the steps that were just prepared */
  if (code == SNN_OK) code = bind_inputs(instance, run);
  if (code == SNN_OK) code = bind_known_outputs(instance, &all, &enough);
  /* All shapes are known and a buffer is too small: there is nothing more to learn from computing. */
  bool compute = code == SNN_OK && (!all || enough);
  if (compute) code = run_steps(instance);
  int result = result_code(code);
  if (code == SNN_OK && !deliver(instance, compute)) result = ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE;
  instance->run = NULL;
  return result;
}
