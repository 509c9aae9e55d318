/* Small checks that the validate functions of the families are made of. Each answers SNN_INVALID after recording why. */
#ifndef SNN_VALIDATE_H
#define SNN_VALIDATE_H

#include "operation.h"

/* Leaves the validate function with SNN_INVALID when a check failed. */
#define SNN_EXPECT(check) do { if ((check) < 0) return SNN_INVALID; } while (0)

/* A type and the feature level from which an operation takes it; a list ends with level 0. */
typedef struct {
  int32_t type;
  int level;
} SnnTypeLevel;

static inline int snn_level_max(int a, int b) { return a > b ? a : b; }

int snn_expect_counts(SnnNode *node, uint32_t least, uint32_t most, uint32_t outputs);
/* The level from which `accepted` has the type of input `input`. */
int snn_expect_listed(SnnNode *node, uint32_t input, const SnnTypeLevel *accepted);
int snn_expect_type(SnnNode *node, uint32_t input, int32_t type);
int snn_expect_output_type(SnnNode *node, uint32_t output, int32_t type);
/* A float scalar beside tensors of `tensor_type`: FLOAT16 beside TENSOR_FLOAT16, else FLOAT32. */
int snn_expect_float_scalar(SnnNode *node, uint32_t input, int32_t tensor_type);
/* Rank of an input in [least, most], as far as it is known. */
int snn_expect_rank(SnnNode *node, uint32_t input, uint32_t least, uint32_t most);
/* Quantised output with the parameters of input 0; with the given ones. Other types pass. */
int snn_expect_output_quantized_as_input(SnnNode *node);
int snn_expect_output_quantized(SnnNode *node, float scale, int32_t zero_point_unsigned, int32_t zero_point_signed);

#endif
