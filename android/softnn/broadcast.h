/* Two operands, element by element, numpy broadcasting: the shared loop of the arithmetic operations. */
#ifndef SNN_BROADCAST_H
#define SNN_BROADCAST_H

#include "operation.h"

/* The output's dimensions with both operands' strides in elements (0 where repeated). Neighbours that both operands walk evenly are merged, so
 * the innermost run is as long as it can be. */
typedef struct {
  uint32_t rank; /* at least 1 */
  size_t dims[SNN_MAX_RANK];
  ptrdiff_t a[SNN_MAX_RANK], b[SNN_MAX_RANK];
  size_t outer; /* product of all but the innermost */
} SnnPairs;

/* One innermost run of `count` outputs. A step is 1 (the operand advances) or 0 (one value for all). */
typedef void (*SnnPairRow)(const void *context, const void *a, ptrdiff_t step_a, const void *b, ptrdiff_t step_b, void *out, size_t count);

/* The loop of a row over operands `a` and `b` and output `out` three times, so that the compiler sees plain runs: both operands advance, or one
 * stands. AT(first, second) is the caller's macro that binds their elements. */
#define SNN_PAIR_LOOP(EXPRESSION)                                                            \
  if (step_a == 1 && step_b == 1) {                                                          \
    for (size_t i = 0; i < count; i++) { AT(a[i], b[i]); out[i] = (EXPRESSION); }            \
  } else if (step_a == 1) {                                                                  \
    for (size_t i = 0; i < count; i++) { AT(a[i], b[0]); out[i] = (EXPRESSION); }            \
  } else {                                                                                   \
    for (size_t i = 0; i < count; i++) { AT(a[0], b[i * (size_t)step_b]); out[i] = (EXPRESSION); } \
  }
/* The parameters of a SnnPairRow. */
#define SNN_PAIR_ARGUMENTS \
  const void *context, const void *a_data, ptrdiff_t step_a, const void *b_data, ptrdiff_t step_b, void *out_data, size_t count

/* In prepare: the plan for inputs 0 and 1, and output 0's shape. */
int snn_pairs_plan(SnnNode *node, SnnPairs *pairs);
/* In execute: calls `row` for all runs. Elements are `element` bytes in both inputs and the output. */
void snn_pairs_run(SnnNode *node, const SnnPairs *pairs, size_t element, SnnPairRow row, const void *context);

#endif
