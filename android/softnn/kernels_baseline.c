/* Kernels that every processor of the target has: SSE2 on x86, NEON on arm64, plain vectors elsewhere. */
#define SNN_VECTOR_BYTES 16
#if defined(__SSE2__)
#include <emmintrin.h>
#define SNN_SSE2
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#define SNN_NEON
#endif
#if defined(__aarch64__)
#define SNN_FMA
#define SNN_LEND
#define SNN_SMALL /* newer processors take another table */
#define SNN_Q_ROWS 6
#define SNN_F_ROWS 8
#else
#define SNN_Q_ROWS 4
#define SNN_F_ROWS 4
#endif
#define SNN_Q_VECTORS 2
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_baseline
#define SNN_TABLE_NAME "baseline"

#include "kernels_body.h"
