/* Settings of software NNAPI, the libneuralnetworks.so of this project.
 *
 * A client that knows nothing of it uses the environment instead; the variables are read on the first call and again whenever a
 * program asks for the device count or creates a model:
 *
 *   SOFTNN_FEATURE_LEVEL=1..8          level of the run time and of its CPU device (default 8)
 *   SOFTNN_DEVICE_FEATURE_LEVEL=1..8   level of the accelerator (default: that of the run time)
 *   SOFTNN_DEVICE_NAME=NAME            name of the accelerator (default "softnn"); "none" leaves just the CPU device
 *   SOFTNN_DEVICE_VERSION=TEXT         its driver version
 *   SOFTNN_DEVICE_TYPE=TYPE            accelerator (default), gpu, cpu, other or unknown
 *   SOFTNN_REFUSE=OP+OP                operations that the accelerator does not support: AVERAGE_POOL_2D+ADD
 *   SOFTNN_REFUSE_EVERY=N              it refuses each N-th operation of a model as well, by the order of addOperation
 *   SOFTNN_FAULTS=CALL:ACTION[:NTH]    injected faults, separated by commas. CALL is an entry point without its "ANeuralNetworks"
 *                                      (Execution_compute, getDevice); ACTION a result code that it returns at once (5), `sleep=MS`
 *                                      to come late, or `kill` to end the process by SIGKILL; NTH, from 1, picks one call, else
 *                                      every call is hit
 *   SOFTNN_THREADS=N                   threads that compute one execution (default 1)
 *   SOFTNN_CORES=LIST                  cores, below 32, that they stay on, one each in turn: 0+2+3 (default: wherever the system puts them)
 *   SOFTNN_VLOG=1                      the reason of every refusal goes to stderr
 *   SOFTNN_CLIENT=TEXT                 with another text, faults count calls from 1 again
 *   SOFTNN_FLOAT=fused                 float32 products are added with one rounding in every model, as in those that allow relaxed
 *                                      computation: faster, and no longer TFLite's reference results bit for bit
 *   SOFTNN_KERNELS=NAME                baseline, avx2, avxvnni, avx512vnni, dotprod or i8mm, not the best that the machine runs; read once
 *
 * Below its level an entry point that came later answers ANEURALNETWORKS_BAD_STATE (a phone's library would lack the symbol);
 * getRuntimeFeatureLevel always works.
 */
#ifndef NNAPI_TOOLKIT_SOFTNN_H
#define NNAPI_TOOLKIT_SOFTNN_H

#include <stdint.h>

#include "nnapi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed fields mean the defaults. */
typedef struct SoftnnSettings {
  uint32_t size;                /* sizeof(SoftnnSettings), so that later versions can add fields */
  int32_t feature_level;        /* 1..8 */
  int32_t device_feature_level; /* 1..8 */
  int32_t device_type;          /* ANEURALNETWORKS_DEVICE_OTHER .. _ACCELERATOR; -1 = _UNKNOWN */
  const char *device_name;
  const char *device_version;
  const char *refuse;    /* as SOFTNN_REFUSE */
  const char *faults;    /* as SOFTNN_FAULTS */
  uint32_t refuse_every;
  uint32_t threads;
  uint32_t verbose;
  uint32_t cores; /* bit i: core i is one of SOFTNN_CORES; 0: any */
} SoftnnSettings;

/* Replaces all settings, those of the environment too; NULL goes back to the environment. Models and compilations that exist keep
 * the level they were made with. BAD_DATA, and no change, when a value is out of range or a name is unknown. */
ANEURALNETWORKS_API int softnn_configure(const SoftnnSettings *settings);

/* For programs that software NNAPI is linked into, and that play two libraries with it (not exported): from here on calls, and
 * softnn_configure, go by the settings of this set, 0 or 1. Set 0 at the start. Not while another thread is in a call. */
void softnn_select(uint32_t set);

#ifdef __cplusplus
}
#endif

#endif
