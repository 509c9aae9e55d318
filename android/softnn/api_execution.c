/* The C interface: compilations, executions, events. */
#include "api.h"

#include <stdlib.h>
#include <string.h>

/* --- compilation ------------------------------------------------------------------------------------------------------------- */

int ANeuralNetworksCompilation_create(ANeuralNetworksModel *model, ANeuralNetworksCompilation **compilation) {
  CHECK2(Compilation_create, model, compilation);
  *compilation = NULL;
  return snn_compilation_create(model, NULL, 0, compilation);
}

int ANeuralNetworksCompilation_createForDevices(ANeuralNetworksModel *model, const ANeuralNetworksDevice *const *devices,
                                                uint32_t numDevices, ANeuralNetworksCompilation **compilation) {
  CHECK3(Compilation_createForDevices, model, devices, compilation);
  *compilation = NULL;
  return snn_compilation_create(model, devices, numDevices, compilation);
}

void ANeuralNetworksCompilation_free(ANeuralNetworksCompilation *compilation) {
  if (snn_enter(SNN_CALL_Compilation_free) == 0) snn_compilation_release(compilation);
}

static int check_unfinished(const ANeuralNetworksCompilation *compilation, const char *call) {
  if (!compilation->finished) return 0;
  return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Compilation_%s: the compilation is finished", call);
}

int ANeuralNetworksCompilation_setPreference(ANeuralNetworksCompilation *compilation, int32_t preference) {
  CHECK1(Compilation_setPreference, compilation);
  int code = check_unfinished(compilation, "setPreference");
  if (code != 0) return code;
  if (preference < ANEURALNETWORKS_PREFER_LOW_POWER || preference > ANEURALNETWORKS_PREFER_SUSTAINED_SPEED) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Compilation_setPreference: %d", (int)preference);
  }
  compilation->preference = preference;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksCompilation_setCaching(ANeuralNetworksCompilation *compilation, const char *cacheDir, const uint8_t *token) {
  CHECK3(Compilation_setCaching, compilation, cacheDir, token);
  int code = check_unfinished(compilation, "setCaching");
  if (code != 0) return code;
  char *directory = strdup(cacheDir);
  if (directory == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  free(compilation->cache_directory);
  compilation->cache_directory = directory;
  memcpy(compilation->token, token, sizeof(compilation->token));
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksCompilation_setPriority(ANeuralNetworksCompilation *compilation, int priority) {
  CHECK1(Compilation_setPriority, compilation);
  int code = check_unfinished(compilation, "setPriority");
  if (code != 0) return code;
  if (priority != ANEURALNETWORKS_PRIORITY_LOW && priority != ANEURALNETWORKS_PRIORITY_MEDIUM &&
      priority != ANEURALNETWORKS_PRIORITY_HIGH) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Compilation_setPriority: %d", priority);
  }
  compilation->priority = priority;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksCompilation_setTimeout(ANeuralNetworksCompilation *compilation, uint64_t duration) {
  CHECK1(Compilation_setTimeout, compilation);
  int code = check_unfinished(compilation, "setTimeout");
  if (code != 0) return code;
  if (!snn_one_device(compilation)) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Compilation_setTimeout needs exactly one device");
  compilation->timeout = duration;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksCompilation_finish(ANeuralNetworksCompilation *compilation) {
  uint64_t start = snn_now();
  CHECK1(Compilation_finish, compilation);
  return snn_compilation_finish(compilation, start);
}

static int preferred_bytes(const ANeuralNetworksCompilation *compilation, bool output, uint32_t index, uint32_t value, uint32_t *result) {
  if (!compilation->finished || !compilation->valid) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Compilation_getPreferredMemory...: the compilation is not finished");
  }
  uint32_t count = output ? compilation->model->n_outputs : compilation->model->n_inputs;
  if (index >= count) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Compilation_getPreferredMemory...: index %u, but there are %u", index, count);
  }
  *result = value;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksCompilation_getPreferredMemoryAlignmentForInput(const ANeuralNetworksCompilation *compilation, uint32_t index,
                                                                   uint32_t *alignment) {
  CHECK2(Compilation_getPreferredMemoryAlignmentForInput, compilation, alignment);
  return preferred_bytes(compilation, false, index, SNN_ALIGNMENT, alignment);
}

int ANeuralNetworksCompilation_getPreferredMemoryAlignmentForOutput(const ANeuralNetworksCompilation *compilation, uint32_t index,
                                                                    uint32_t *alignment) {
  CHECK2(Compilation_getPreferredMemoryAlignmentForOutput, compilation, alignment);
  return preferred_bytes(compilation, true, index, SNN_ALIGNMENT, alignment);
}

int ANeuralNetworksCompilation_getPreferredMemoryPaddingForInput(const ANeuralNetworksCompilation *compilation, uint32_t index,
                                                                 uint32_t *padding) {
  CHECK2(Compilation_getPreferredMemoryPaddingForInput, compilation, padding);
  return preferred_bytes(compilation, false, index, 1, padding);
}

int ANeuralNetworksCompilation_getPreferredMemoryPaddingForOutput(const ANeuralNetworksCompilation *compilation, uint32_t index,
                                                                  uint32_t *padding) {
  CHECK2(Compilation_getPreferredMemoryPaddingForOutput, compilation, padding);
  return preferred_bytes(compilation, true, index, 1, padding);
}

/* --- execution --------------------------------------------------------------------------------------------------------------- */

int ANeuralNetworksExecution_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksExecution **execution) {
  CHECK2(Execution_create, compilation, execution);
  *execution = NULL;
  return snn_execution_create(compilation, execution);
}

void ANeuralNetworksExecution_free(ANeuralNetworksExecution *execution) {
  if (snn_enter(SNN_CALL_Execution_free) == 0) snn_execution_free(execution);
}

int ANeuralNetworksExecution_setInput(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                      const void *buffer, size_t length) {
  CHECK1(Execution_setInput, execution);
  if (length != 0) NOT_NULL("Execution_setInput", buffer);
  return snn_execution_bind(execution, false, index, type, (void *)(uintptr_t)buffer, length);
}

int ANeuralNetworksExecution_setInputFromMemory(ANeuralNetworksExecution *execution, int32_t index,
                                                const ANeuralNetworksOperandType *type, const ANeuralNetworksMemory *memory,
                                                size_t offset, size_t length) {
  CHECK2(Execution_setInputFromMemory, execution, memory);
  return snn_execution_bind_memory(execution, false, index, type, memory, offset, length);
}

int ANeuralNetworksExecution_setOutput(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                       void *buffer, size_t length) {
  CHECK1(Execution_setOutput, execution);
  if (length != 0) NOT_NULL("Execution_setOutput", buffer);
  return snn_execution_bind(execution, true, index, type, buffer, length);
}

int ANeuralNetworksExecution_setOutputFromMemory(ANeuralNetworksExecution *execution, int32_t index,
                                                 const ANeuralNetworksOperandType *type, const ANeuralNetworksMemory *memory,
                                                 size_t offset, size_t length) {
  CHECK2(Execution_setOutputFromMemory, execution, memory);
  return snn_execution_bind_memory(execution, true, index, type, memory, offset, length);
}

int ANeuralNetworksExecution_compute(ANeuralNetworksExecution *execution) {
  uint64_t start = snn_now();
  CHECK1(Execution_compute, execution);
  int code = snn_execution_begin(execution);
  return code != 0 ? code : snn_execution_run(execution, snn_deadline(start, execution->timeout));
}

int ANeuralNetworksExecution_startCompute(ANeuralNetworksExecution *execution, ANeuralNetworksEvent **event) {
  uint64_t start = snn_now();
  CHECK2(Execution_startCompute, execution, event);
  *event = NULL;
  return snn_event_start(execution, NULL, 0, start, 0, event);
}

int ANeuralNetworksExecution_startComputeWithDependencies(ANeuralNetworksExecution *execution,
                                                          const ANeuralNetworksEvent *const *dependencies, uint32_t num_dependencies,
                                                          uint64_t duration, ANeuralNetworksEvent **event) {
  uint64_t start = snn_now();
  CHECK2(Execution_startComputeWithDependencies, execution, event);
  *event = NULL;
  if (num_dependencies != 0) NOT_NULL("Execution_startComputeWithDependencies", dependencies);
  for (uint32_t i = 0; i < num_dependencies; i++) NOT_NULL("Execution_startComputeWithDependencies", dependencies[i]);
  if (duration != 0 && !snn_one_device(execution->compilation)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Execution_startComputeWithDependencies: a duration needs exactly one device");
  }
  return snn_event_start(execution, dependencies, num_dependencies, start, duration, event);
}

int ANeuralNetworksExecution_burstCompute(ANeuralNetworksExecution *execution, ANeuralNetworksBurst *burst) {
  uint64_t start = snn_now();
  CHECK2(Execution_burstCompute, execution, burst);
  if (burst->compilation != execution->compilation) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Execution_burstCompute: burst and execution come from different compilations");
  }
  if (atomic_flag_test_and_set_explicit(&burst->busy, memory_order_acquire)) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_burstCompute: another execution runs in the burst");
  }
  int code = snn_execution_begin(execution);
  if (code == 0) code = snn_execution_run(execution, snn_deadline(start, execution->timeout));
  atomic_flag_clear_explicit(&burst->busy, memory_order_release);
  return code;
}

int ANeuralNetworksExecution_getOutputOperandRank(ANeuralNetworksExecution *execution, int32_t index, uint32_t *rank) {
  CHECK2(Execution_getOutputOperandRank, execution, rank);
  const SnnArgument *output;
  int code = snn_execution_output(execution, index, &output);
  if (code != 0) return code;
  *rank = output->t.rank;
  return output->insufficient ? ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE : ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksExecution_getOutputOperandDimensions(ANeuralNetworksExecution *execution, int32_t index, uint32_t *dimensions) {
  CHECK2(Execution_getOutputOperandDimensions, execution, dimensions);
  const SnnArgument *output;
  int code = snn_execution_output(execution, index, &output);
  if (code != 0) return code;
  if (output->t.rank == 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "output %d is a scalar: it has no dimensions", (int)index);
  memcpy(dimensions, output->t.dims, output->t.rank * sizeof(dimensions[0]));
  return output->insufficient ? ANEURALNETWORKS_OUTPUT_INSUFFICIENT_SIZE : ANEURALNETWORKS_NO_ERROR;
}

/* What needs exactly one device, and an execution that has not started. */
static int check_timed(const ANeuralNetworksExecution *execution, const char *call) {
  if (!snn_one_device(execution->compilation)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Execution_%s needs a compilation for exactly one device", call);
  }
  return snn_execution_check_open(execution, call);
}

int ANeuralNetworksExecution_setMeasureTiming(ANeuralNetworksExecution *execution, bool measure) {
  CHECK1(Execution_setMeasureTiming, execution);
  int code = check_timed(execution, "setMeasureTiming");
  if (code == 0) execution->measure = measure;
  return code;
}

int ANeuralNetworksExecution_getDuration(const ANeuralNetworksExecution *execution, int32_t durationCode, uint64_t *duration) {
  CHECK2(Execution_getDuration, execution, duration);
  return snn_execution_duration(execution, durationCode, duration);
}

int ANeuralNetworksExecution_setTimeout(ANeuralNetworksExecution *execution, uint64_t duration) {
  CHECK1(Execution_setTimeout, execution);
  int code = check_timed(execution, "setTimeout");
  if (code == 0) execution->timeout = duration;
  return code;
}

int ANeuralNetworksExecution_setLoopTimeout(ANeuralNetworksExecution *execution, uint64_t duration) {
  CHECK1(Execution_setLoopTimeout, execution);
  int code = snn_execution_check_open(execution, "setLoopTimeout");
  if (code == 0) execution->loop_timeout = duration < SNN_MAXIMUM_LOOP_TIMEOUT ? duration : SNN_MAXIMUM_LOOP_TIMEOUT;
  return code;
}

int ANeuralNetworksExecution_enableInputAndOutputPadding(ANeuralNetworksExecution *execution, bool enable) {
  CHECK1(Execution_enableInputAndOutputPadding, execution);
  int code = snn_execution_check_open(execution, "enableInputAndOutputPadding");
  if (code != 0) return code;
  if (execution->bound) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_enableInputAndOutputPadding: an input or output is given already");
  }
  execution->padding = enable;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksExecution_setReusable(ANeuralNetworksExecution *execution, bool reusable) {
  CHECK1(Execution_setReusable, execution);
  int code = snn_execution_check_open(execution, "setReusable");
  if (code == 0) execution->reusable = reusable;
  return code;
}

int ANeuralNetworksBurst_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksBurst **burst) {
  CHECK2(Burst_create, compilation, burst);
  *burst = NULL;
  if (!compilation->finished || !compilation->valid) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Burst_create: the compilation is not finished");
  }
  ANeuralNetworksBurst *created = snn_allocate(1, sizeof(*created));
  if (created == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  atomic_flag_clear(&created->busy);
  created->compilation = snn_compilation_retain(compilation);
  *burst = created;
  return ANEURALNETWORKS_NO_ERROR;
}

void ANeuralNetworksBurst_free(ANeuralNetworksBurst *burst) {
  if (snn_enter(SNN_CALL_Burst_free) != 0 || burst == NULL) return;
  snn_compilation_release(burst->compilation);
  free(burst);
}

/* --- events ------------------------------------------------------------------------------------------------------------------ */

int ANeuralNetworksEvent_wait(ANeuralNetworksEvent *event) {
  CHECK1(Event_wait, event);
  return snn_event_wait(event);
}

void ANeuralNetworksEvent_free(ANeuralNetworksEvent *event) {
  if (snn_enter(SNN_CALL_Event_free) == 0) snn_event_free(event);
}

int ANeuralNetworksEvent_createFromSyncFenceFd(int sync_fence_fd, ANeuralNetworksEvent **event) {
  CHECK1(Event_createFromSyncFenceFd, event);
  *event = NULL;
  return snn_event_from_fence(sync_fence_fd, event);
}

int ANeuralNetworksEvent_getSyncFenceFd(const ANeuralNetworksEvent *event, int *sync_fence_fd) {
  ENTER(Event_getSyncFenceFd);
  NOT_NULL("Event_getSyncFenceFd", sync_fence_fd);
  *sync_fence_fd = -1;
  NOT_NULL("Event_getSyncFenceFd", event);
  return snn_event_fence(event, sync_fence_fd);
}

/* --- vendor extensions: there are none ---------------------------------------------------------------------------------------- */

int ANeuralNetworksCompilation_addExtensionAttribute(ANeuralNetworksCompilation *compilation, const char *extensionName,
                                                     uint16_t attributeCodeWithinExtension, const void *data, size_t length) {
  CHECK3(Compilation_addExtensionAttribute, compilation, extensionName, data);
  (void)attributeCodeWithinExtension;
  (void)length;
  int code = check_unfinished(compilation, "addExtensionAttribute");
  return code != 0 ? code : snn_no_extension("Compilation_addExtensionAttribute", extensionName);
}

int ANeuralNetworksExecution_addExtensionAttribute(ANeuralNetworksExecution *execution, const char *extensionName,
                                                   uint16_t attributeCodeWithinExtension, const void *data, size_t length) {
  CHECK3(Execution_addExtensionAttribute, execution, extensionName, data);
  (void)attributeCodeWithinExtension;
  (void)length;
  int code = snn_execution_check_open(execution, "addExtensionAttribute");
  return code != 0 ? code : snn_no_extension("Execution_addExtensionAttribute", extensionName);
}
