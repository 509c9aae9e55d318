/* The kernels, written once. A kernels_<isa>.c includes this after simd.h's settings with
 *
 *   SNN_TABLE                    the name of its SnnKernels
 *   SNN_TABLE_NAME               the name as text
 *   SNN_Q_ROWS, SNN_Q_VECTORS    quantised tile: rows x vectors of accumulators held in registers
 *   SNN_F_ROWS, SNN_F_VECTORS    the same for float
 *   SNN_DOT8                     defined: dot8(acc, bytes, weights) adds four products of bytes to each lane, unsigned x signed
 *   SNN_DOT8_SIGNED              or, with this, signed x signed
 *   SNN_MATRIX8                  beside SNN_DOT8: matrix8(acc, a, w) adds the products of two rows and two columns of 8 bytes to the four lanes,
 *                                and two_units(p, q) loads 8 bytes from each place
 *   SNN_LEND, SNN_BORROW         defined: the kernels that are the same in another table of equal vectors are lent to it, or borrowed from
 *                                the table that lends them, so that a library has them once
 *   SNN_LEND_DEPTHWISE, SNN_BORROW_DEPTHWISE   the same for q_depthwise among tables with the same SNN_DOT8
 *   SNN_SMALL                    defined: fewer forms of q_multiply
 */
#include <float.h>

#include "kernels.h"
#include "numeric.h"
#include "simd.h"

#define SNN_Q_COLUMNS (SNN_Q_VECTORS * SNN_LANES)
#define SNN_F_COLUMNS (SNN_F_VECTORS * SNN_LANES)
#if SNN_VECTOR_BYTES > 16 /* a last panel of one vector is worth a form of its own */
#define SNN_WIDE
#endif
#define SNN_UNROLL _Pragma("clang loop unroll(full)")
/* Heights of register blocks, as a set of bits: 1, 2, 3, 4, 6, 8, 10, 12, as far as they are at most `rows`. */
#define BLOCK_HEIGHTS(rows) (0x155e & ((2 << (rows)) - 1))

#include "kernels_quantized.h"

#define SNN_COMMON(X)                                                                                                                    \
  X(gather, gather)                                                                                                                      \
  X(f_multiply_exact, f_multiply[0]) X(f_multiply_fused, f_multiply[1])                                                                  \
  X(f_depthwise_exact, f_depthwise[0]) X(f_depthwise_fused, f_depthwise[1])                                                              \
  X(q_average, q_average) X(q_max, q_max) X(f_average, f_average) X(f_max, f_max) X(f_l2, f_l2)                                          \
  X(f_hard_swish, f_hard_swish) X(q_add, q_add) X(q_mul, q_mul) X(q_dot, q_dot)                                                          \
  X(f_quantize, f_quantize)

#ifdef SNN_BORROW

#define SNN_BORROWED(name, member) extern __typeof__(*((const SnnKernels *)0)->member) snn_common_##name;
SNN_COMMON(SNN_BORROWED)
#define SNN_OF_TABLE(name) snn_common_##name
#include "kernels_depthwise.h"

#else

#include "kernels_gather.h"

/* --- float products and depthwise: in TFLite's order and rounding, and fused --- */

enum { F_ALL = BLOCK_HEIGHTS(SNN_F_ROWS), F_FEW = F_ALL & (1 << 1 | 1 << 4 | 1 << 8 | 1 << 12) };

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
#define SNN_OF_TABLE(name) name

#ifdef SNN_LEND
#define SNN_LENT(name, member) extern __typeof__(name) snn_common_##name __attribute__((alias(#name)));
SNN_COMMON(SNN_LENT)
#endif

#endif

#ifdef SNN_LEND_DEPTHWISE
extern __typeof__(q_depthwise) snn_dot8_q_depthwise __attribute__((alias("q_depthwise")));
#endif

const SnnKernels SNN_TABLE = {
    .name = SNN_TABLE_NAME,
    .q_rows = SNN_Q_ROWS,
    .q_columns = SNN_Q_COLUMNS,
    .q_unit = Q_UNIT,
    .q_element = Q_ELEMENT,
    .q_signed = Q_SIGNED,
    .f_rows = SNN_F_ROWS,
    .f_columns = SNN_F_COLUMNS,
#ifdef SNN_WIDE
    .narrow = SNN_LANES,
#endif
    .q_heights = BLOCK_HEIGHTS(SNN_Q_ROWS),
    .f_heights = BLOCK_HEIGHTS(SNN_F_ROWS),
    .dw_block = DW_BLOCK,
    .dw_vectors = DW_VECTORS,
    .dw_group = DW_GROUP,
    .dw_element = DW_ELEMENT,
#ifdef SNN_AVX512
    .dw_narrow = {16, 32},
#endif
    .gather = SNN_OF_TABLE(gather),
    .q_convert = q_convert,
    .q_multiply = q_multiply,
    .f_multiply = {SNN_OF_TABLE(f_multiply_exact), SNN_OF_TABLE(f_multiply_fused)},
    .q_depthwise = DW_KERNEL,
    .f_depthwise = {SNN_OF_TABLE(f_depthwise_exact), SNN_OF_TABLE(f_depthwise_fused)},
    .q_average = SNN_OF_TABLE(q_average),
    .q_max = SNN_OF_TABLE(q_max),
    .f_average = SNN_OF_TABLE(f_average),
    .f_max = SNN_OF_TABLE(f_max),
    .f_l2 = SNN_OF_TABLE(f_l2),
    .f_hard_swish = SNN_OF_TABLE(f_hard_swish),
    .q_add = SNN_OF_TABLE(q_add),
    .q_mul = SNN_OF_TABLE(q_mul),
    .q_dot = SNN_OF_TABLE(q_dot),
    .f_quantize = SNN_OF_TABLE(f_quantize),
};
