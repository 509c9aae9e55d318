/* Executions: what is bound to inputs and outputs, and the way from preparation to completion. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#define BAD_DATA(...) snn_refuse(ANEURALNETWORKS_BAD_DATA, __VA_ARGS__)

int snn_execution_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksExecution **result) {
  if (!compilation->finished || !compilation->valid) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_create: the compilation is not finished, or failed");
  }
  const ANeuralNetworksModel *model = compilation->model;
  ANeuralNetworksExecution *execution = snn_allocate(1, sizeof(*execution));
  if (execution == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  execution->inputs = snn_allocate(model->n_inputs, sizeof(SnnBinding));
  execution->outputs = snn_allocate(model->n_outputs, sizeof(SnnBinding));
  execution->arguments = snn_allocate((size_t)model->n_inputs + model->n_outputs, sizeof(SnnArgument));
  if (execution->inputs == NULL || execution->outputs == NULL || execution->arguments == NULL) {
    free(execution->inputs);
    free(execution->outputs);
    free(execution->arguments);
    free(execution);
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  execution->compilation = snn_compilation_retain(compilation);
  execution->loop_timeout = SNN_DEFAULT_LOOP_TIMEOUT;
  atomic_init(&execution->state, SNN_PREPARING);
  *result = execution;
  return 0;
}

void snn_execution_free(ANeuralNetworksExecution *execution) {
  if (execution == NULL) return;
  if (atomic_load_explicit(&execution->state, memory_order_acquire) == SNN_RUNNING) {
    snn_log("Execution_free: it runs; the call is ignored");
    return;
  }
  const ANeuralNetworksModel *model = execution->compilation->model;
  for (uint32_t i = 0; i < model->n_inputs; i++) snn_memory_release(execution->inputs[i].memory);
  for (uint32_t i = 0; i < model->n_outputs; i++) snn_memory_release(execution->outputs[i].memory);
  snn_compilation_release(execution->compilation);
  free(execution->inputs);
  free(execution->outputs);
  free(execution->arguments);
  free(execution);
}

int snn_execution_check_open(const ANeuralNetworksExecution *execution, const char *call) {
  if (atomic_load_explicit(&execution->state, memory_order_acquire) == SNN_PREPARING) return 0;
  return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_%s: the execution has been started", call);
}

/* --- binding ----------------------------------------------------------------------------------------------------------------- */

static const SnnTensor *declared_type(const ANeuralNetworksExecution *execution, bool output, uint32_t index) {
  const ANeuralNetworksModel *model = execution->compilation->model;
  return &model->operands[output ? model->outputs[index] : model->inputs[index]].t;
}

/* Finds the binding and merges the declared type with the given one. The type of an input with bytes must leave nothing open. */
static int open_binding(ANeuralNetworksExecution *execution, bool output, int32_t index, const ANeuralNetworksOperandType *type,
                        bool omitted, SnnBinding **binding, SnnTensor *merged) {
  const char *call = output ? "setOutput" : "setInput", *what = output ? "output" : "input";
  int code = snn_execution_check_open(execution, call);
  if (code != 0) return code;
  const ANeuralNetworksModel *model = execution->compilation->model;
  uint32_t count = output ? model->n_outputs : model->n_inputs;
  if (index < 0 || (uint32_t)index >= count) return BAD_DATA("Execution_%s: %s %d, but there are %u", call, what, (int)index, count);
  *binding = output ? &execution->outputs[index] : &execution->inputs[index];
  if ((*binding)->kind != SNN_UNSET) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_%s: %s %d is given already", call, what, (int)index);
  }
  *merged = *declared_type(execution, output, (uint32_t)index);
  if (type == NULL) return 0;
  SnnTensor given;
  code = snn_read_type(type, model->level, &given);
  if (code != 0) return code;
  if (!output && !omitted && !snn_fully_specified(&given)) {
    return BAD_DATA("Execution_%s: the type of %s %d leaves dimensions open", call, what, (int)index);
  }
  if (given.type != merged->type) {
    return BAD_DATA("Execution_%s: %s %d has type %s, not %s", call, what, (int)index, snn_type_name(merged->type),
                    snn_type_name(given.type));
  }
  if (!snn_merge_dims(merged, given.rank, given.dims)) {
    return BAD_DATA("Execution_%s: the dimensions given for %s %d contradict the model's", call, what, (int)index);
  }
  return 0;
}

static int check_length(const ANeuralNetworksExecution *execution, bool output, int32_t index, const SnnTensor *t, size_t length) {
  const char *what = output ? "output" : "input";
  size_t bytes;
  if (!snn_fully_specified(t)) {
    return output ? 0 : BAD_DATA("%s %d: dimensions are unknown; give a type", what, (int)index);
  }
  if (!snn_byte_size(t, &bytes)) return BAD_DATA("%s %d needs more than 4 GiB", what, (int)index);
  if (length == bytes || (execution->padding && length > bytes)) return 0;
  return BAD_DATA("%s %d has %zu bytes; the buffer has %zu", what, (int)index, bytes, length);
}

static void set_binding(ANeuralNetworksExecution *execution, SnnBinding *binding, int kind, const SnnTensor *t, void *data,
                        size_t length) {
  snn_memory_release(binding->memory);
  memset(binding, 0, sizeof(*binding));
  binding->kind = kind;
  binding->a.t = *t;
  binding->a.t.data = data;
  binding->a.t.length = length;
  execution->bound = true;
}

int snn_execution_bind(ANeuralNetworksExecution *execution, bool output, int32_t index, const ANeuralNetworksOperandType *type,
                       void *buffer, size_t length) {
  SnnBinding *binding;
  SnnTensor merged;
  int code = open_binding(execution, output, index, type, buffer == NULL, &binding, &merged);
  if (code != 0) return code;
  if (buffer == NULL) {
    if (length != 0) return BAD_DATA("%s %d: NULL with length %zu", output ? "output" : "input", (int)index, length);
    if (!output) merged.lifetime = SNN_OMITTED;
    set_binding(execution, binding, SNN_NOTHING, &merged, NULL, 0);
    return 0;
  }
  code = check_length(execution, output, index, &merged, length);
  if (code != 0) return code;
  set_binding(execution, binding, SNN_POINTER, &merged, buffer, length);
  return 0;
}

int snn_execution_bind_memory(ANeuralNetworksExecution *execution, bool output, int32_t index, const ANeuralNetworksOperandType *type,
                              const ANeuralNetworksMemory *memory, size_t offset, size_t length) {
  SnnBinding *binding;
  SnnTensor merged;
  bool whole;
  int code = open_binding(execution, output, index, type, false, &binding, &merged);
  if (code == 0) {
    code = snn_memory_check_role(memory, execution->compilation, output, (uint32_t)index, offset, length, &whole);
  }
  if (code != 0) return code;
  if (whole) {
    length = memory->size;
    if (!snn_merge_dims(&merged, memory->type.rank, memory->type.dims)) {
      return BAD_DATA("%s %d: the memory's dimensions contradict the type", output ? "output" : "input", (int)index);
    }
  }
  if (!whole || !output) code = check_length(execution, output, index, &merged, length);
  if (code != 0) return code;
  ANeuralNetworksMemory *shared = snn_memory_retain(memory);
  set_binding(execution, binding, SNN_MEMORY, &merged, shared->data + offset, length);
  binding->memory = shared;
  binding->whole = whole;
  return 0;
}

/* --- running ----------------------------------------------------------------------------------------------------------------- */

static int check_bound(const SnnBinding *bindings, uint32_t count, const char *what) {
  for (uint32_t i = 0; i < count; i++) {
    if (bindings[i].kind == SNN_UNSET) return BAD_DATA("the execution starts, but %s %u is not given", what, i);
  }
  return 0;
}

int snn_execution_begin(ANeuralNetworksExecution *execution) {
  const ANeuralNetworksModel *model = execution->compilation->model;
  unsigned before = atomic_load_explicit(&execution->state, memory_order_acquire);
  bool allowed = before == SNN_PREPARING || (before == SNN_DONE && execution->reusable);
  if (!allowed) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, before == SNN_RUNNING ? "the execution runs already"
                                                                       : "the execution has run and is not reusable");
  }
  int code = check_bound(execution->inputs, model->n_inputs, "input");
  if (code == 0) code = check_bound(execution->outputs, model->n_outputs, "output");
  if (code != 0) return code;
  if (!atomic_compare_exchange_strong_explicit(&execution->state, &before, SNN_RUNNING, memory_order_acq_rel, memory_order_relaxed)) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "the execution is started twice at the same time");
  }
  execution->fenced = false;
  execution->duration = UINT64_MAX;
  return 0;
}

/* Inputs from memory that executions write: what it holds now. */
static int take_content(SnnArgument *argument, SnnBinding *binding) {
  if (!binding->whole) return 0;
  ANeuralNetworksMemory *memory = binding->memory;
  snn_lock(&memory->lock);
  bool initialized = memory->initialized;
  bool same = initialized && snn_merge_dims(&argument->t, memory->rank, memory->dims);
  snn_unlock(&memory->lock);
  if (!initialized) return snn_refuse(ANEURALNETWORKS_OP_FAILED, "an input memory has no content yet");
  if (!same) return snn_refuse(ANEURALNETWORKS_OP_FAILED, "an input memory's content has other dimensions");
  return 0;
}

static void give_content(const SnnArgument *argument, SnnBinding *binding, bool success) {
  if (!binding->whole) return;
  ANeuralNetworksMemory *memory = binding->memory;
  snn_lock(&memory->lock);
  memory->initialized = success;
  if (success) {
    memory->rank = argument->t.rank;
    memcpy(memory->dims, argument->t.dims, sizeof(memory->dims));
  }
  snn_unlock(&memory->lock);
}

static int run(ANeuralNetworksExecution *execution, SnnRun *run) {
  const ANeuralNetworksModel *model = execution->compilation->model;
  for (uint32_t i = 0; i < model->n_inputs; i++) {
    run->inputs[i] = execution->inputs[i].a;
    int code = take_content(&run->inputs[i], &execution->inputs[i]);
    if (code != 0) return code;
  }
  for (uint32_t i = 0; i < model->n_outputs; i++) run->outputs[i] = execution->outputs[i].a;
  SnnInstance *instance = snn_compilation_take(execution->compilation);
  if (instance == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  uint32_t threads = execution->compilation->shared.threads;
  uint64_t start = snn_now();
  SnnPlace place;
  snn_threads_begin(threads, execution->compilation->settings->cores, &place);
  int code = snn_instance_run(instance, run);
  snn_threads_end(threads, &place);
  execution->duration = snn_now() - start;
  snn_compilation_give(execution->compilation, instance);
  return code;
}

int snn_execution_run(ANeuralNetworksExecution *execution, uint64_t deadline) {
  const ANeuralNetworksModel *model = execution->compilation->model;
  SnnRun what = {.inputs = execution->arguments, .outputs = execution->arguments + model->n_inputs, .deadline = deadline,
                 .loop_timeout = execution->loop_timeout};
  execution->result = run(execution, &what);
  for (uint32_t i = 0; i < model->n_outputs; i++) {
    give_content(&what.outputs[i], &execution->outputs[i], execution->result == ANEURALNETWORKS_NO_ERROR);
  }
  int result = execution->result;
  atomic_store_explicit(&execution->state, SNN_DONE, memory_order_release);
  return result;
}

int snn_execution_abandon(ANeuralNetworksExecution *execution, int code) {
  execution->result = code;
  atomic_store_explicit(&execution->state, SNN_DONE, memory_order_release);
  return code;
}

/* --- results ----------------------------------------------------------------------------------------------------------------- */

static int check_done(const ANeuralNetworksExecution *execution, const char *call) {
  if (atomic_load_explicit(&execution->state, memory_order_acquire) == SNN_DONE) return 0;
  return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_%s: the execution has not finished", call);
}

int snn_execution_output(const ANeuralNetworksExecution *execution, int32_t index, const SnnArgument **output) {
  int code = check_done(execution, "getOutputOperand...");
  if (code != 0) return code;
  const ANeuralNetworksModel *model = execution->compilation->model;
  if (index < 0 || (uint32_t)index >= model->n_outputs) {
    return BAD_DATA("output %d, but there are %u", (int)index, model->n_outputs);
  }
  if (execution->result != ANEURALNETWORKS_NO_ERROR && execution->result != ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "the execution failed; its outputs have no dimensions");
  }
  *output = &execution->arguments[model->n_inputs + (uint32_t)index];
  return 0;
}

int snn_execution_duration(const ANeuralNetworksExecution *execution, int32_t code, uint64_t *duration) {
  *duration = UINT64_MAX;
  if (code < ANEURALNETWORKS_DURATION_ON_HARDWARE || code > ANEURALNETWORKS_FENCED_DURATION_IN_DRIVER) {
    return BAD_DATA("Execution_getDuration: code %d is not known", (int)code);
  }
  int state = check_done(execution, "getDuration");
  if (state != 0) return state;
  if (execution->result != ANEURALNETWORKS_NO_ERROR) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_getDuration: the execution failed");
  }
  if (!execution->measure) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_getDuration: it was not asked for before");
  bool of_fence = code == ANEURALNETWORKS_FENCED_DURATION_ON_HARDWARE || code == ANEURALNETWORKS_FENCED_DURATION_IN_DRIVER;
  if (!of_fence || execution->fenced) *duration = execution->duration;
  return 0;
}
