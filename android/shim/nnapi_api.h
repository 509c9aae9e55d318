/* The phone's libneuralnetworks.so, found at run time: an entry point that the system lacks is NULL. */
#ifndef NTK_NNAPI_API_H
#define NTK_NNAPI_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../include/nnapi.h"

/* X(feature level that brought it, name without the prefix ANeuralNetworks). Those of level 1 must be there. */
#define NTK_NNAPI_FUNCTIONS(X)                        \
  X(1, Memory_createFromFd)                           \
  X(1, Memory_free)                                   \
  X(1, Model_create)                                  \
  X(1, Model_free)                                    \
  X(1, Model_finish)                                  \
  X(1, Model_addOperand)                              \
  X(1, Model_setOperandValue)                         \
  X(1, Model_setOperandValueFromMemory)               \
  X(1, Model_addOperation)                            \
  X(1, Model_identifyInputsAndOutputs)                \
  X(1, Compilation_create)                            \
  X(1, Compilation_free)                              \
  X(1, Compilation_setPreference)                     \
  X(1, Compilation_finish)                            \
  X(1, Execution_create)                              \
  X(1, Execution_free)                                \
  X(1, Execution_setInput)                            \
  X(1, Execution_setInputFromMemory)                  \
  X(1, Execution_setOutput)                           \
  X(1, Execution_setOutputFromMemory)                 \
  X(1, Execution_startCompute)                        \
  X(1, Event_wait)                                    \
  X(1, Event_free)                                    \
  X(2, Model_relaxComputationFloat32toFloat16)        \
  X(3, _getDeviceCount)                               \
  X(3, _getDevice)                                    \
  X(3, Device_getName)                                \
  X(3, Device_getType)                                \
  X(3, Device_getVersion)                             \
  X(3, Device_getFeatureLevel)                        \
  X(3, Model_getSupportedOperationsForDevices)        \
  X(3, Model_setOperandSymmPerChannelQuantParams)     \
  X(3, Compilation_createForDevices)                  \
  X(3, Compilation_setCaching)                        \
  X(3, Execution_compute)                             \
  X(3, Execution_burstCompute)                        \
  X(3, Execution_getOutputOperandRank)                \
  X(3, Execution_getOutputOperandDimensions)          \
  X(3, Execution_setMeasureTiming)                    \
  X(3, Execution_getDuration)                         \
  X(3, Burst_create)                                  \
  X(3, Burst_free)                                    \
  X(4, Model_setOperandValueFromModel)                \
  X(4, Compilation_setPriority)                       \
  X(4, Compilation_setTimeout)                        \
  X(4, Execution_setTimeout)                          \
  X(5, _getRuntimeFeatureLevel)                       \
  X(5, Execution_setReusable)

typedef struct {
  void *library;     /* of dlopen; NULL = not open */
  uint32_t number;   /* among the libraries of a session */
  int feature_level; /* of the run time, 1..8 */
#define NTK_MEMBER(level, name) __typeof__(ANeuralNetworks##name) *name;
  NTK_NNAPI_FUNCTIONS(NTK_MEMBER)
#undef NTK_MEMBER
} NtkNnapi;

/* Loads `path` (NULL: the system's libneuralnetworks.so) as library 0. On failure `message` says why. */
bool ntk_nnapi_open(NtkNnapi *nnapi, const char *path, char *message, size_t message_size);
/* Loads a further library, `number`, beside it: software NNAPI with all that it can, whatever the environment says. A `path` that is
 * empty means the one that is part of the program. */
bool ntk_nnapi_open_further(NtkNnapi *nnapi, uint32_t number, const char *path, uint32_t threads, char *message, size_t message_size);
/* The calls that follow are this library's. Only where one copy of software NNAPI plays several libraries does that need a word. */
void ntk_nnapi_enter(const NtkNnapi *nnapi);
void ntk_nnapi_close(NtkNnapi *nnapi);
/* Feature level 1..8 behind a level constant (27..31, 1000006...). */
int ntk_feature_level(int64_t constant);

#endif
