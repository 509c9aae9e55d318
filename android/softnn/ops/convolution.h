/* What CONV_2D, GROUPED_CONV_2D, TRANSPOSE_CONV_2D (convolution.c) and DEPTHWISE_CONV_2D (convolution_depthwise.c) share. */
#ifndef SNN_OPS_CONVOLUTION_H
#define SNN_OPS_CONVOLUTION_H

#include "../kernels.h"
#include "../layout.h"

enum { CONV_INPUT, CONV_FILTER, CONV_BIAS };

/* Checks x, filter, bias, output and the scalars. `channel_dim` is the filter's dimension of output channels. */
int snn_convolution_validate(SnnNode *node, const SnnWindowKind *kind, uint32_t channel_dim, int level, bool scale_rule);
/* Shapes of filter and bias, once ranks are known. */
int snn_convolution_check(SnnNode *node, uint32_t channel_dim);

/* Arrays of a SnnRequant of `padded` channels, to be placed in the node's parameters. */
size_t snn_requant_bytes(size_t padded);
/* Fills `memory` and `requant` for input 0, filter 1 (per tensor or channel), output 0. `wide`: scales are multiplied in double, as TFLite
 * does for signed convolutions; else in float. */
int snn_requant_fill(SnnNode *node, void *memory, size_t channels, size_t padded, int32_t fuse, bool wide, SnnRequant *requant);

static inline SnnStored snn_stored(const SnnTensor *t) {
  return (SnnStored){t->type != ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, t->zero_point};
}
/* Filter and bias never change: they can be packed in prepare. */
static inline bool snn_weights_constant(const SnnNode *node) {
  return node->in[CONV_FILTER]->lifetime == SNN_CONSTANT && node->in[CONV_BIAS]->lifetime == SNN_CONSTANT;
}

int snn_depthwise_validate(SnnNode *node);
int snn_depthwise_prepare(SnnNode *node);
int snn_depthwise_execute(SnnNode *node);

#endif
