/* The C interface: run time, devices, memory, models. */
#include "api.h"

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

/* --- vendor extensions: there are none ---------------------------------------------------------------------------------------- */

int snn_no_extension(const char *call, const char *name) {
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
  return snn_no_extension("Model_getExtensionOperandType", extensionName);
}

int ANeuralNetworksModel_getExtensionOperationType(ANeuralNetworksModel *model, const char *extensionName,
                                                   uint16_t operationCodeWithinExtension, ANeuralNetworksOperationType *type) {
  CHECK3(Model_getExtensionOperationType, model, extensionName, type);
  (void)operationCodeWithinExtension;
  return snn_no_extension("Model_getExtensionOperationType", extensionName);
}

int ANeuralNetworksModel_setOperandExtensionData(ANeuralNetworksModel *model, int32_t index, const void *data, size_t length) {
  CHECK1(Model_setOperandExtensionData, model);
  if (length != 0) NOT_NULL("Model_setOperandExtensionData", data);
  return snn_model_check_extension_data(model, index);
}
