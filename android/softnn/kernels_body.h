/* The kernels, written once. A kernels_<isa>.c includes this after simd.h's settings with
 *
 *   SNN_TABLE                    the name of its SnnKernels
 *   SNN_TABLE_NAME               the name as text
 *   SNN_Q_ROWS, SNN_Q_VECTORS    quantised tile: rows x vectors of accumulators held in registers
 *   SNN_F_ROWS, SNN_F_VECTORS    the same for float
 *   SNN_DOT8                     defined: dot8(acc, bytes, weights) adds four products of bytes to each lane, unsigned x signed
 *   SNN_DOT8_SIGNED              or, with this, signed x signed
 */
#include <float.h>

#include "kernels.h"
#include "numeric.h"
#include "simd.h"

#define SNN_Q_COLUMNS (SNN_Q_VECTORS * SNN_LANES)
#define SNN_F_COLUMNS (SNN_F_VECTORS * SNN_LANES)
#define SNN_UNROLL _Pragma("clang loop unroll(full)")
/* Heights of register blocks, as a set of bits: 1, 2, 3, 4, 6, 8, 10, 12, as far as they are at most `rows`. */
#define BLOCK_HEIGHTS(rows) (0x155e & ((2 << (rows)) - 1))

#include "kernels_gather.h"
#include "kernels_quantized.h"

/* --- float products and depthwise: in TFLite's order and rounding, and fused --- */

enum { F_ALL = BLOCK_HEIGHTS(SNN_F_ROWS), F_FEW = BLOCK_HEIGHTS(SNN_F_ROWS) & (1 << 1 | 1 << 4 | 1 << 8 | 1 << 12) };

#define FLOAT_NAME(name) name##_exact
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#include "kernels_float.h"
#undef FLOAT_NAME
#undef MULTIPLY_ADD

#ifdef SNN_FMA
#define FLOAT_NAME(name) name##_fused
#define MULTIPLY_ADD(a, b, c) fma_f32(a, b, c)
#include "kernels_float.h"
#undef FLOAT_NAME
#undef MULTIPLY_ADD
#else
#define f_multiply_fused f_multiply_exact
#define f_depthwise_fused f_depthwise_exact
#endif

#include "kernels_depthwise.h"
#include "kernels_pool.h"
#include "kernels_row.h"

const SnnKernels SNN_TABLE = {
    .name = SNN_TABLE_NAME,
    .q_rows = SNN_Q_ROWS,
    .q_columns = SNN_Q_COLUMNS,
    .q_unit = Q_UNIT,
    .q_element = Q_ELEMENT,
    .q_signed = Q_SIGNED,
    .f_rows = SNN_F_ROWS,
    .f_columns = SNN_F_COLUMNS,
    .dw_block = DW_BLOCK,
    .dw_vectors = DW_VECTORS,
    .dw_group = DW_GROUP,
    .dw_element = DW_ELEMENT,
#ifdef SNN_AVX512
    .dw_narrow = {16, 32},
#endif
    .gather = gather,
    .q_convert = q_convert,
    .q_multiply = q_multiply,
    .f_multiply = {f_multiply_exact, f_multiply_fused},
    .q_depthwise = q_depthwise,
    .f_depthwise = {f_depthwise_exact, f_depthwise_fused},
    .q_average = q_average,
    .q_max = q_max,
    .f_average = f_average,
    .f_max = f_max,
    .f_l2 = f_l2,
    .f_hard_swish = f_hard_swish,
    .q_add = q_add,
    .q_mul = q_mul,
    .f_quantize = f_quantize,
};
