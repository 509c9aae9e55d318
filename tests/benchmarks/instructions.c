/* One operation, compiled and computed once on software NNAPI: what instructions.py counts instructions of.
 *
 *     instructions CODE TYPE IN_HEIGHT IN_WIDTH IN_CHANNELS OUT_CHANNELS KERNEL STRIDE
 *
 * TYPE is `f32`, or `q8`: signed 8-bit, weights with a scale for each channel where the operation has that. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nnapi.h"

#define CALL(call)                                           \
  do {                                                       \
    int result_ = (call);                                    \
    if (result_ != ANEURALNETWORKS_NO_ERROR) {               \
      fprintf(stderr, "%s -> %d\n", #call, result_);         \
      exit(1);                                               \
    }                                                        \
  } while (0)

enum { MOST = 16, LARGEST = 1 << 21 };

static ANeuralNetworksModel *model;
static uint32_t operands, in[MOST], n_in;
static bool quantized;
static float scales[4096];
static uint8_t numbers[4 * LARGEST];

static uint32_t add(int32_t type, uint32_t rank, const uint32_t *dims, float scale) {
  const ANeuralNetworksOperandType described = {type, rank, dims, scale, 0};
  CALL(ANeuralNetworksModel_addOperand(model, &described));
  return operands++;
}

static size_t bytes(uint32_t rank, const uint32_t *dims, size_t element) {
  for (uint32_t i = 0; i < rank; i++) element *= dims[i];
  if (element > sizeof(numbers)) exit(2);
  return element;
}

/* Small numbers, the same each time, and not all alike. */
static const void *values(uint32_t rank, const uint32_t *dims) {
  size_t size = bytes(rank, dims, quantized ? 1 : 4);
  uint8_t *made = malloc(size);
  if (made == NULL) exit(2);
  for (size_t i = 0; quantized && i < size; i++) made[i] = (uint8_t)(int8_t)((int)(i * 7 % 41) - 20);
  for (size_t i = 0; !quantized && i < size / 4; i++) {
    float x = (float)(i * 7 % 41) / 64 - 0.3f;
    memcpy(made + 4 * i, &x, 4);
  }
  return made;
}

static void input(uint32_t rank, const uint32_t *dims) {
  in[n_in++] = add(quantized ? ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED : ANEURALNETWORKS_TENSOR_FLOAT32, rank, dims, quantized ? 0.5f : 0);
}

static void integer(int32_t value) {
  in[n_in] = add(ANEURALNETWORKS_INT32, 0, NULL, 0);
  CALL(ANeuralNetworksModel_setOperandValue(model, (int32_t)in[n_in++], &value, sizeof(value)));
}

static void flag(bool value) {
  in[n_in] = add(ANEURALNETWORKS_BOOL, 0, NULL, 0);
  uint8_t byte = value;
  CALL(ANeuralNetworksModel_setOperandValue(model, (int32_t)in[n_in++], &byte, 1));
}

static void real(float value) {
  in[n_in] = add(ANEURALNETWORKS_FLOAT32, 0, NULL, 0);
  CALL(ANeuralNetworksModel_setOperandValue(model, (int32_t)in[n_in++], &value, sizeof(value)));
}

/* Weights, then a bias for each of `channels`, whose axis in the weights is `axis`; -1: one scale. */
static void weights(uint32_t rank, const uint32_t *dims, uint32_t channels, int axis) {
  int32_t type = !quantized ? ANEURALNETWORKS_TENSOR_FLOAT32 : axis < 0 ? ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED : ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL;
  uint32_t filter = in[n_in++] = add(type, rank, dims, quantized && axis < 0 ? 0.25f : 0);
  if (quantized && axis >= 0) {
    for (uint32_t i = 0; i < channels; i++) scales[i] = 0.25f + (float)i / 4096;
    const ANeuralNetworksSymmPerChannelQuantParams each = {(uint32_t)axis, channels, scales};
    CALL(ANeuralNetworksModel_setOperandSymmPerChannelQuantParams(model, (int32_t)filter, &each));
  }
  CALL(ANeuralNetworksModel_setOperandValue(model, (int32_t)filter, values(rank, dims), bytes(rank, dims, quantized ? 1 : 4)));
  uint32_t bias = in[n_in++] =
      add(quantized ? ANEURALNETWORKS_TENSOR_INT32 : ANEURALNETWORKS_TENSOR_FLOAT32, 1, &channels, quantized && axis < 0 ? 0.125f : 0);
  CALL(ANeuralNetworksModel_setOperandValue(model, (int32_t)bias, calloc(channels, 4), 4 * (size_t)channels));
}

static void windows(uint32_t size, uint32_t stride, bool pool) {
  integer(ANEURALNETWORKS_PADDING_SAME);
  integer((int32_t)stride), integer((int32_t)stride);
  if (pool) integer((int32_t)size), integer((int32_t)size);
}

int main(int argc, char **argv) {
  if (argc != 9) return 2;
  uint32_t a[6];
  for (int i = 0; i < 6; i++) a[i] = (uint32_t)strtoul(argv[3 + i], NULL, 10);
  uint32_t height = a[0], width = a[1], from = a[2], to = a[3], size = a[4], stride = a[5];
  int32_t code = (int32_t)strtol(argv[1], NULL, 10);
  quantized = strcmp(argv[2], "q8") == 0;
  uint32_t image[] = {1, height, width, from}, out[] = {1, (height + stride - 1) / stride, (width + stride - 1) / stride, to};
  uint32_t out_rank = 4;
  float out_scale = code == ANEURALNETWORKS_SOFTMAX ? 1.0f / 256 : code == ANEURALNETWORKS_CONV_2D || code == ANEURALNETWORKS_FULLY_CONNECTED ? 40 : 0.5f;
  int32_t out_zero = code == ANEURALNETWORKS_SOFTMAX ? -128 : 0;
  CALL(ANeuralNetworksModel_create(&model));
  switch (code) {
    case ANEURALNETWORKS_CONV_2D:
      input(4, image);
      weights(4, (const uint32_t[]){to, size, size, from}, to, 0);
      windows(size, stride, false), integer(ANEURALNETWORKS_FUSED_RELU6);
      break;
    case ANEURALNETWORKS_DEPTHWISE_CONV_2D:
      input(4, image);
      weights(4, (const uint32_t[]){1, size, size, to}, to, 3);
      windows(size, stride, false), integer(1), integer(ANEURALNETWORKS_FUSED_RELU6);
      break;
    case ANEURALNETWORKS_FULLY_CONNECTED:
      input(2, (const uint32_t[]){height, from});
      weights(2, (const uint32_t[]){to, from}, to, -1);
      integer(ANEURALNETWORKS_FUSED_NONE);
      out[0] = height, out[1] = to, out_rank = 2;
      break;
    case ANEURALNETWORKS_AVERAGE_POOL_2D:
    case ANEURALNETWORKS_MAX_POOL_2D:
      input(4, image);
      windows(size, stride, true), integer(ANEURALNETWORKS_FUSED_NONE);
      break;
    case ANEURALNETWORKS_ADD:
    case ANEURALNETWORKS_MUL:
      input(4, image), input(4, image), integer(ANEURALNETWORKS_FUSED_NONE);
      out_scale = 2;
      break;
    case ANEURALNETWORKS_SOFTMAX:
      input(2, (const uint32_t[]){height, from}), real(1);
      out[0] = height, out[1] = from, out_rank = 2;
      break;
    case ANEURALNETWORKS_RESIZE_BILINEAR:
      input(4, image), integer((int32_t)(2 * width)), integer((int32_t)(2 * height)), flag(false);
      out[1] = 2 * height, out[2] = 2 * width;
      break;
    case ANEURALNETWORKS_LOGISTIC:
    case ANEURALNETWORKS_HARD_SWISH:
      input(4, image);
      if (code == ANEURALNETWORKS_LOGISTIC) out_scale = 1.0f / 256, out_zero = -128;
      break;
    default: return 2;
  }
  const ANeuralNetworksOperandType result = {quantized ? ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED : ANEURALNETWORKS_TENSOR_FLOAT32, out_rank,
                                             out, quantized ? out_scale : 0, quantized ? out_zero : 0};
  CALL(ANeuralNetworksModel_addOperand(model, &result));
  uint32_t last = operands++, tensors = code == ANEURALNETWORKS_ADD || code == ANEURALNETWORKS_MUL ? 2 : 1;
  CALL(ANeuralNetworksModel_addOperation(model, code, n_in, in, 1, &last));
  CALL(ANeuralNetworksModel_identifyInputsAndOutputs(model, tensors, in, 1, &last));
  CALL(ANeuralNetworksModel_finish(model));
  ANeuralNetworksCompilation *compilation;
  CALL(ANeuralNetworksCompilation_create(model, &compilation));
  CALL(ANeuralNetworksCompilation_finish(compilation));
  ANeuralNetworksExecution *execution;
  CALL(ANeuralNetworksExecution_create(compilation, &execution));
  uint32_t rank = code == ANEURALNETWORKS_FULLY_CONNECTED || code == ANEURALNETWORKS_SOFTMAX ? 2 : 4, flat[] = {height, from};
  const uint32_t *dims = rank == 2 ? flat : image;
  for (uint32_t i = 0; i < tensors; i++)
    CALL(ANeuralNetworksExecution_setInput(execution, (int32_t)i, NULL, values(rank, dims), bytes(rank, dims, quantized ? 1 : 4)));
  CALL(ANeuralNetworksExecution_setOutput(execution, 0, NULL, numbers, bytes(out_rank, out, quantized ? 1 : 4)));
  CALL(ANeuralNetworksExecution_compute(execution));
  ANeuralNetworksExecution_free(execution);
  ANeuralNetworksCompilation_free(compilation);
  ANeuralNetworksModel_free(model);
  return 0;
}
