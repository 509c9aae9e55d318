/* Every entry point of the C interface with the feature level that brought it; the names are those of the header without their
 * "ANeuralNetworks" (and without its underscore for the functions of no object). Settings name injected faults by them. */
#ifndef SNN_ENTRY_POINTS_H
#define SNN_ENTRY_POINTS_H

#define SNN_ENTRY_POINTS(X)                             \
  X(getRuntimeFeatureLevel, 1) /* see softnn.h */       \
  X(getDeviceCount, 3)                                  \
  X(getDevice, 3)                                       \
  X(getDefaultLoopTimeout, 4)                           \
  X(getMaximumLoopTimeout, 4)                           \
  X(Device_getName, 3)                                  \
  X(Device_getType, 3)                                  \
  X(Device_getVersion, 3)                               \
  X(Device_getFeatureLevel, 3)                          \
  X(Device_wait, 4)                                     \
  X(Device_getExtensionSupport, 3)                      \
  X(Memory_createFromFd, 1)                             \
  X(Memory_createFromAHardwareBuffer, 3)                \
  X(Memory_createFromDesc, 4)                           \
  X(Memory_copy, 4)                                     \
  X(Memory_free, 1)                                     \
  X(MemoryDesc_create, 4)                               \
  X(MemoryDesc_free, 4)                                 \
  X(MemoryDesc_addInputRole, 4)                         \
  X(MemoryDesc_addOutputRole, 4)                        \
  X(MemoryDesc_setDimensions, 4)                        \
  X(MemoryDesc_finish, 4)                               \
  X(Model_create, 1)                                    \
  X(Model_free, 1)                                      \
  X(Model_finish, 1)                                    \
  X(Model_addOperand, 1)                                \
  X(Model_setOperandValue, 1)                           \
  X(Model_setOperandSymmPerChannelQuantParams, 3)       \
  X(Model_setOperandValueFromMemory, 1)                 \
  X(Model_setOperandValueFromModel, 4)                  \
  X(Model_addOperation, 1)                              \
  X(Model_identifyInputsAndOutputs, 1)                  \
  X(Model_relaxComputationFloat32toFloat16, 2)          \
  X(Model_getSupportedOperationsForDevices, 3)          \
  X(Model_getExtensionOperandType, 3)                   \
  X(Model_getExtensionOperationType, 3)                 \
  X(Model_setOperandExtensionData, 3)                   \
  X(Compilation_create, 1)                              \
  X(Compilation_createForDevices, 3)                    \
  X(Compilation_free, 1)                                \
  X(Compilation_setPreference, 1)                       \
  X(Compilation_setCaching, 3)                          \
  X(Compilation_setPriority, 4)                         \
  X(Compilation_setTimeout, 4)                          \
  X(Compilation_finish, 1)                              \
  X(Compilation_getPreferredMemoryAlignmentForInput, 5) \
  X(Compilation_getPreferredMemoryPaddingForInput, 5)   \
  X(Compilation_getPreferredMemoryAlignmentForOutput, 5) \
  X(Compilation_getPreferredMemoryPaddingForOutput, 5)  \
  X(Compilation_addExtensionAttribute, 7)               \
  X(Execution_create, 1)                                \
  X(Execution_free, 1)                                  \
  X(Execution_setInput, 1)                              \
  X(Execution_setInputFromMemory, 1)                    \
  X(Execution_setOutput, 1)                             \
  X(Execution_setOutputFromMemory, 1)                   \
  X(Execution_compute, 3)                               \
  X(Execution_startCompute, 1)                          \
  X(Execution_startComputeWithDependencies, 4)          \
  X(Execution_burstCompute, 3)                          \
  X(Execution_getOutputOperandRank, 3)                  \
  X(Execution_getOutputOperandDimensions, 3)            \
  X(Execution_setMeasureTiming, 3)                      \
  X(Execution_getDuration, 3)                           \
  X(Execution_setTimeout, 4)                            \
  X(Execution_setLoopTimeout, 4)                        \
  X(Execution_enableInputAndOutputPadding, 5)           \
  X(Execution_setReusable, 5)                           \
  X(Execution_addExtensionAttribute, 7)                 \
  X(Burst_create, 3)                                    \
  X(Burst_free, 3)                                      \
  X(Event_wait, 1)                                      \
  X(Event_free, 1)                                      \
  X(Event_createFromSyncFenceFd, 4)                     \
  X(Event_getSyncFenceFd, 4)

typedef enum {
#define SNN_CALL(name, level) SNN_CALL_##name,
  SNN_ENTRY_POINTS(SNN_CALL)
#undef SNN_CALL
      SNN_CALLS
} SnnCall;

#endif
