/* A program (schema/program.fbs), read and verified completely before anything is done with it. */
#ifndef NTK_PROGRAM_H
#define NTK_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

typedef struct {
  int32_t type; /* ANEURALNETWORKS_TENSOR_FLOAT32 ... */
  uint32_t rank;
  uint32_t dims[NTK_MAX_RANK]; /* 0 = unknown */
  float scale;
  int32_t zero_point;
  uint32_t channel_dim, channel_count;
  const float *channel_scales; /* in the program's bytes */
  uint8_t source;              /* NTK_VALUE_* */
  uint32_t file;               /* NTK_VALUE_FILE: 0 or 1; NTK_VALUE_MODEL: index of the model */
  const uint8_t *data;         /* NTK_VALUE_INLINE: in the program's bytes */
  uint64_t offset, length;     /* NTK_VALUE_FILE: where; both kinds: how many bytes */
  uint64_t size;               /* bytes by type and dimensions; 0 = not known (or no size at all) */
  int32_t tensor;              /* the TFLite tensor behind it, -1 = none */
} NtkOperand;

typedef struct {
  int32_t code;
  uint32_t input_count, output_count;
  const uint32_t *inputs, *outputs; /* in the program's bytes */
  int32_t node;                     /* the TFLite operator behind it, -1 = none */
} NtkOperation;

typedef struct {
  uint32_t operand_count, operation_count, input_count, output_count;
  NtkOperand *operands;
  NtkOperation *operations;
  const uint32_t *inputs, *outputs; /* in the program's bytes */
} NtkModel;

typedef struct {
  uint8_t *bytes; /* owned; aligned as malloc does */
  size_t size;
  uint32_t feature_level;
  uint32_t model_count;
  NtkModel *models;
  uint32_t *order; /* model indices: each after the models that it refers to */
} NtkProgram;

/* Bytes of one element of an operand type; 0 for types without a size (MODEL) and unknown ones. */
uint32_t ntk_element_size(int32_t type);
bool ntk_is_scalar(int32_t type);
/* Bytes of a tensor; false where that does not fit into 32 bits. A dimension of 0 counts as 0. */
bool ntk_tensor_size(int32_t type, uint32_t rank, const uint32_t *dims, uint64_t *size);

/* Reads `size` bytes, which become the program's own (also on failure). `file_sizes`: of the two files that values may lie in.
 * On failure the rule that is broken, where and by what, is in `message` and the program is empty. */
bool ntk_program_read(NtkProgram *program, uint8_t *bytes, size_t size, const uint64_t file_sizes[2], char *message,
                      size_t message_size);
/* Gives back all but the models' number and order, and the bytes when they are still used. */
void ntk_program_trim(NtkProgram *program, bool keep_bytes);
void ntk_program_free(NtkProgram *program);

#endif
