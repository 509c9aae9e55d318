/* One operand, element by element: the shared parts of activations, unary functions and conversions. */
#ifndef SNN_UNARY_H
#define SNN_UNARY_H

#include "operation.h"

/* `count` elements; in and out may be the same memory. */
typedef void (*SnnRun)(const void *context, const void *in, void *out, size_t count);

/* Runs over all elements of output 0 in slices. */
void snn_run_all(SnnNode *node, size_t in_element, size_t out_element, SnnRun run, const void *context);
/* out[i] = table[in[i]]; `context` is 256 bytes. */
void snn_run_table(const void *context, const void *in, void *out, size_t count);

#endif
