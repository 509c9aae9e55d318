/* One operand, element by element: the shared parts of activations, unary functions and conversions. */
#ifndef SNN_UNARY_H
#define SNN_UNARY_H

#include "operation.h"

/* to[i] = EXPRESSION of x = from[i]. In place and out of place are two loops: one loop for both could not be vectorised. */
#define SNN_EACH(Type, in, out, count, EXPRESSION)                                    \
  do {                                                                                \
    if ((in) == (out)) {                                                              \
      Type *both_ = (out);                                                            \
      for (size_t i_ = 0; i_ < (count); i_++) {                                       \
        const Type x = both_[i_];                                                     \
        both_[i_] = (EXPRESSION);                                                     \
      }                                                                               \
    } else {                                                                          \
      const Type *restrict from_ = (in);                                              \
      Type *restrict to_ = (out);                                                     \
      for (size_t i_ = 0; i_ < (count); i_++) {                                       \
        const Type x = from_[i_];                                                     \
        to_[i_] = (EXPRESSION);                                                       \
      }                                                                               \
    }                                                                                 \
  } while (0)

/* `count` elements; in and out may be the same memory. */
typedef void (*SnnRun)(const void *context, const void *in, void *out, size_t count);

/* Runs over all elements of output 0 in slices. */
void snn_run_all(SnnNode *node, size_t in_element, size_t out_element, SnnRun run, const void *context);
/* out[i] = table[in[i]]; `context` is 256 bytes. */
void snn_run_table(const void *context, const void *in, void *out, size_t count);

#endif
