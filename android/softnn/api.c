/* The C interface: nulls, levels and injected faults here, everything else in the object's own file. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* Leaves with BAD_STATE below the entry point's level, or with an injected result. */
#define ENTER(name)                                \
  do {                                             \
    int enter_ = snn_enter(SNN_CALL_##name);       \
    if (enter_ != ANEURALNETWORKS_NO_ERROR) return enter_; \
  } while (0)
#define NOT_NULL(name, pointer)                                                                                          \
  do {                                                                                                                   \
    if ((pointer) == NULL) return snn_refuse(ANEURALNETWORKS_UNEXPECTED_NULL, "%s: %s is NULL", name, #pointer);         \
  } while (0)
/* The same for functions that return a result code. */
#define CHECK1(name, a)  \
  ENTER(name);           \
  NOT_NULL(#name, a)
#define CHECK2(name, a, b) \
  CHECK1(name, a);         \
  NOT_NULL(#name, b)
#define CHECK3(name, a, b, c) \
  CHECK2(name, a, b);         \
  NOT_NULL(#name, c)

/* --- run time and devices ---------------------------------------------------------------------------------------------------- */

int64_t ANeuralNetworks_getRuntimeFeatureLevel(void) {
  snn_enter(SNN_CALL_getRuntimeFeatureLevel);
  return snn_level_constant(snn_settings()->level);
}

int ANeuralNetworks_getDeviceCount(uint32_t *numDevices) {
  CHECK1(getDeviceCount, numDevices);
  *numDevices = snn_device_count(snn_settings());
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworks_getDevice(uint32_t devIndex, ANeuralNetworksDevice **device) {
  CHECK1(getDevice, device);
  const SnnSettings *settings = snn_settings();
  *device = NULL;
  if (devIndex >= snn_device_count(settings)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "getDevice: device %u, but there are %u", devIndex, snn_device_count(settings));
  }
  *device = (ANeuralNetworksDevice *)(uintptr_t)snn_device(settings, devIndex);
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksDevice_getName(const ANeuralNetworksDevice *device, const char **name) {
  CHECK2(Device_getName, device, name);
  *name = device->cpu ? "nnapi-reference" : snn_settings()->device_name;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksDevice_getType(const ANeuralNetworksDevice *device, int32_t *type) {
  CHECK2(Device_getType, device, type);
  *type = device->cpu ? ANEURALNETWORKS_DEVICE_CPU : snn_settings()->device_type;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksDevice_getVersion(const ANeuralNetworksDevice *device, const char **version) {
  CHECK2(Device_getVersion, device, version);
  *version = device->cpu ? "softnn" : snn_settings()->device_version;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksDevice_getFeatureLevel(const ANeuralNetworksDevice *device, int64_t *featureLevel) {
  CHECK2(Device_getFeatureLevel, device, featureLevel);
  *featureLevel = snn_level_constant(snn_device_level(snn_settings(), device));
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksDevice_wait(const ANeuralNetworksDevice *device) {
  CHECK1(Device_wait, device);
  return ANEURALNETWORKS_NO_ERROR;
}

uint64_t ANeuralNetworks_getDefaultLoopTimeout(void) {
  return snn_enter(SNN_CALL_getDefaultLoopTimeout) == 0 ? SNN_DEFAULT_LOOP_TIMEOUT : 0;
}

uint64_t ANeuralNetworks_getMaximumLoopTimeout(void) {
  return snn_enter(SNN_CALL_getMaximumLoopTimeout) == 0 ? SNN_MAXIMUM_LOOP_TIMEOUT : 0;
}

/* --- memory ------------------------------------------------------------------------------------------------------------------ */

int ANeuralNetworksMemory_createFromFd(size_t size, int protect, int fd, size_t offset, ANeuralNetworksMemory **memory) {
  ENTER(Memory_createFromFd);
  NOT_NULL("Memory_createFromFd", memory);
  *memory = NULL;
  return snn_memory_from_fd(size, protect, fd, offset, memory);
}

int ANeuralNetworksMemory_createFromAHardwareBuffer(const AHardwareBuffer *ahwb, ANeuralNetworksMemory **memory) {
  CHECK2(Memory_createFromAHardwareBuffer, ahwb, memory);
  *memory = NULL;
  return snn_refuse(ANEURALNETWORKS_UNMAPPABLE, "Memory_createFromAHardwareBuffer: there are no hardware buffers here");
}

int ANeuralNetworksMemory_createFromDesc(const ANeuralNetworksMemoryDesc *desc, ANeuralNetworksMemory **memory) {
  ENTER(Memory_createFromDesc);
  NOT_NULL("Memory_createFromDesc", memory);
  *memory = NULL;
  NOT_NULL("Memory_createFromDesc", desc);
  return snn_memory_from_desc(desc, memory);
}

int ANeuralNetworksMemory_copy(const ANeuralNetworksMemory *src, const ANeuralNetworksMemory *dst) {
  CHECK2(Memory_copy, src, dst);
  return snn_memory_copy(src, dst);
}

void ANeuralNetworksMemory_free(ANeuralNetworksMemory *memory) {
  if (snn_enter(SNN_CALL_Memory_free) == 0) snn_memory_release(memory);
}

int ANeuralNetworksMemoryDesc_create(ANeuralNetworksMemoryDesc **desc) {
  CHECK1(MemoryDesc_create, desc);
  *desc = snn_allocate(1, sizeof(**desc));
  return *desc != NULL ? ANEURALNETWORKS_NO_ERROR : ANEURALNETWORKS_OUT_OF_MEMORY;
}

void ANeuralNetworksMemoryDesc_free(ANeuralNetworksMemoryDesc *desc) {
  if (snn_enter(SNN_CALL_MemoryDesc_free) == 0) snn_desc_free(desc);
}

int ANeuralNetworksMemoryDesc_addInputRole(ANeuralNetworksMemoryDesc *desc, const ANeuralNetworksCompilation *compilation,
                                           uint32_t index, float frequency) {
  CHECK2(MemoryDesc_addInputRole, desc, compilation);
  return snn_desc_add_role(desc, compilation, false, index, frequency);
}

int ANeuralNetworksMemoryDesc_addOutputRole(ANeuralNetworksMemoryDesc *desc, const ANeuralNetworksCompilation *compilation,
                                            uint32_t index, float frequency) {
  CHECK2(MemoryDesc_addOutputRole, desc, compilation);
  return snn_desc_add_role(desc, compilation, true, index, frequency);
}

int ANeuralNetworksMemoryDesc_setDimensions(ANeuralNetworksMemoryDesc *desc, uint32_t rank, const uint32_t *dimensions) {
  CHECK1(MemoryDesc_setDimensions, desc);
  if (rank != 0) NOT_NULL("MemoryDesc_setDimensions", dimensions);
  return snn_desc_set_dimensions(desc, rank, dimensions);
}

int ANeuralNetworksMemoryDesc_finish(ANeuralNetworksMemoryDesc *desc) {
  CHECK1(MemoryDesc_finish, desc);
  return snn_desc_finish(desc);
}

/* --- model ------------------------------------------------------------------------------------------------------------------- */

int ANeuralNetworksModel_create(ANeuralNetworksModel **model) {
  CHECK1(Model_create, model);
  *model = NULL;
  return snn_model_create(model);
}

void ANeuralNetworksModel_free(ANeuralNetworksModel *model) {
  if (snn_enter(SNN_CALL_Model_free) == 0) snn_model_release(model);
}

int ANeuralNetworksModel_finish(ANeuralNetworksModel *model) {
  CHECK1(Model_finish, model);
  return snn_model_finish(model);
}

int ANeuralNetworksModel_addOperand(ANeuralNetworksModel *model, const ANeuralNetworksOperandType *type) {
  CHECK2(Model_addOperand, model, type);
  return snn_model_add_operand(model, type);
}

int ANeuralNetworksModel_setOperandValue(ANeuralNetworksModel *model, int32_t index, const void *buffer, size_t length) {
  CHECK1(Model_setOperandValue, model);
  if (length != 0) NOT_NULL("Model_setOperandValue", buffer);
  return snn_model_set_value(model, index, buffer, length);
}

int ANeuralNetworksModel_setOperandSymmPerChannelQuantParams(ANeuralNetworksModel *model, int32_t index,
                                                             const ANeuralNetworksSymmPerChannelQuantParams *channelQuant) {
  CHECK2(Model_setOperandSymmPerChannelQuantParams, model, channelQuant);
  return snn_model_set_channels(model, index, channelQuant);
}

int ANeuralNetworksModel_setOperandValueFromMemory(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksMemory *memory,
                                                   size_t offset, size_t length) {
  CHECK2(Model_setOperandValueFromMemory, model, memory);
  return snn_model_set_memory(model, index, memory, offset, length);
}

int ANeuralNetworksModel_setOperandValueFromModel(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksModel *value) {
  CHECK2(Model_setOperandValueFromModel, model, value);
  return snn_model_set_model(model, index, value);
}

int ANeuralNetworksModel_addOperation(ANeuralNetworksModel *model, ANeuralNetworksOperationType type, uint32_t inputCount,
                                      const uint32_t *inputs, uint32_t outputCount, const uint32_t *outputs) {
  CHECK3(Model_addOperation, model, inputs, outputs);
  return snn_model_add_operation(model, type, inputCount, inputs, outputCount, outputs);
}

int ANeuralNetworksModel_identifyInputsAndOutputs(ANeuralNetworksModel *model, uint32_t inputCount, const uint32_t *inputs,
                                                  uint32_t outputCount, const uint32_t *outputs) {
  CHECK3(Model_identifyInputsAndOutputs, model, inputs, outputs);
  return snn_model_identify(model, inputCount, inputs, outputCount, outputs);
}

int ANeuralNetworksModel_relaxComputationFloat32toFloat16(ANeuralNetworksModel *model, bool allow) {
  CHECK1(Model_relaxComputationFloat32toFloat16, model);
  return snn_model_relax(model, allow);
}

int ANeuralNetworksModel_getSupportedOperationsForDevices(const ANeuralNetworksModel *model,
                                                          const ANeuralNetworksDevice *const *devices, uint32_t numDevices,
                                                          bool *supportedOps) {
  CHECK3(Model_getSupportedOperationsForDevices, model, devices, supportedOps);
  if (!model->finished) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_getSupportedOperationsForDevices: the model is not finished");
  }
  int code = snn_check_devices(devices, numDevices);
  if (code != 0) return code;
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    supportedOps[i] = false;
    for (uint32_t d = 0; d < numDevices && !supportedOps[i]; d++) {
      supportedOps[i] = snn_device_supports(snn_settings(), devices[d], model, i);
    }
  }
  return ANEURALNETWORKS_NO_ERROR;
}

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
  CHECK1(Compilation_finish, compilation);
  return snn_compilation_finish(compilation);
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
  CHECK1(Execution_compute, execution);
  int code = snn_execution_begin(execution);
  return code != 0 ? code : snn_execution_run(execution, snn_deadline(execution->timeout));
}

int ANeuralNetworksExecution_startCompute(ANeuralNetworksExecution *execution, ANeuralNetworksEvent **event) {
  CHECK2(Execution_startCompute, execution, event);
  *event = NULL;
  return snn_event_start(execution, NULL, 0, 0, event);
}

int ANeuralNetworksExecution_startComputeWithDependencies(ANeuralNetworksExecution *execution,
                                                          const ANeuralNetworksEvent *const *dependencies, uint32_t num_dependencies,
                                                          uint64_t duration, ANeuralNetworksEvent **event) {
  CHECK2(Execution_startComputeWithDependencies, execution, event);
  *event = NULL;
  if (num_dependencies != 0) NOT_NULL("Execution_startComputeWithDependencies", dependencies);
  for (uint32_t i = 0; i < num_dependencies; i++) NOT_NULL("Execution_startComputeWithDependencies", dependencies[i]);
  if (duration != 0 && !snn_one_device(execution->compilation)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Execution_startComputeWithDependencies: a duration needs exactly one device");
  }
  return snn_event_start(execution, dependencies, num_dependencies, duration, event);
}

int ANeuralNetworksExecution_burstCompute(ANeuralNetworksExecution *execution, ANeuralNetworksBurst *burst) {
  CHECK2(Execution_burstCompute, execution, burst);
  if (burst->compilation != execution->compilation) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Execution_burstCompute: burst and execution come from different compilations");
  }
  if (atomic_flag_test_and_set_explicit(&burst->busy, memory_order_acquire)) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Execution_burstCompute: another execution runs in the burst");
  }
  int code = snn_execution_begin(execution);
  if (code == 0) code = snn_execution_run(execution, snn_deadline(execution->timeout));
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

static int no_extension(const char *call, const char *name) {
  return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: no device has the extension %s", call, name);
}

int ANeuralNetworksDevice_getExtensionSupport(const ANeuralNetworksDevice *device, const char *extensionName,
                                              bool *isExtensionSupported) {
  CHECK3(Device_getExtensionSupport, device, extensionName, isExtensionSupported);
  *isExtensionSupported = false;
  return ANEURALNETWORKS_NO_ERROR;
}

int ANeuralNetworksModel_getExtensionOperandType(ANeuralNetworksModel *model, const char *extensionName,
                                                 uint16_t operandCodeWithinExtension, int32_t *type) {
  CHECK3(Model_getExtensionOperandType, model, extensionName, type);
  (void)operandCodeWithinExtension;
  return no_extension("Model_getExtensionOperandType", extensionName);
}

int ANeuralNetworksModel_getExtensionOperationType(ANeuralNetworksModel *model, const char *extensionName,
                                                   uint16_t operationCodeWithinExtension, ANeuralNetworksOperationType *type) {
  CHECK3(Model_getExtensionOperationType, model, extensionName, type);
  (void)operationCodeWithinExtension;
  return no_extension("Model_getExtensionOperationType", extensionName);
}

int ANeuralNetworksModel_setOperandExtensionData(ANeuralNetworksModel *model, int32_t index, const void *data, size_t length) {
  CHECK1(Model_setOperandExtensionData, model);
  if (length != 0) NOT_NULL("Model_setOperandExtensionData", data);
  return snn_model_check_extension_data(model, index);
}

int ANeuralNetworksCompilation_addExtensionAttribute(ANeuralNetworksCompilation *compilation, const char *extensionName,
                                                     uint16_t attributeCodeWithinExtension, const void *data, size_t length) {
  CHECK3(Compilation_addExtensionAttribute, compilation, extensionName, data);
  (void)attributeCodeWithinExtension;
  (void)length;
  int code = check_unfinished(compilation, "addExtensionAttribute");
  return code != 0 ? code : no_extension("Compilation_addExtensionAttribute", extensionName);
}

int ANeuralNetworksExecution_addExtensionAttribute(ANeuralNetworksExecution *execution, const char *extensionName,
                                                   uint16_t attributeCodeWithinExtension, const void *data, size_t length) {
  CHECK3(Execution_addExtensionAttribute, execution, extensionName, data);
  (void)attributeCodeWithinExtension;
  (void)length;
  int code = snn_execution_check_open(execution, "addExtensionAttribute");
  return code != 0 ? code : no_extension("Execution_addExtensionAttribute", extensionName);
}
