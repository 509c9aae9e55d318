/* Kernels for AVX2 with FMA. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "operation.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define SNN_VECTOR_BYTES 32
#define SNN_AVX2
#define SNN_FMA
#define SNN_Q_ROWS 4
#define SNN_Q_VECTORS 2
#define SNN_F_ROWS 6
#define SNN_F_VECTORS 2
#define SNN_TABLE snn_kernels_avx2
#define SNN_TABLE_NAME "avx2"
#include "kernels_body.h"
#pragma clang attribute pop
#else
typedef int snn_no_avx2;
#endif
