/* Every operation, by family: one line for each file in ops/. */
#include "engine.h"

#define SNN_FAMILIES(X) \
  X(activation)         \
  X(comparison)         \
  X(concatenation)      \
  X(control_flow)       \
  X(convolution)        \
  X(detection)          \
  X(elementwise)        \
  X(fully_connected)    \
  X(gather)             \
  X(lsh)                \
  X(lstm)               \
  X(matmul)             \
  X(normalization)      \
  X(pad)                \
  X(pooling)            \
  X(postprocessing)     \
  X(quantization)       \
  X(quantized_lstm)     \
  X(random)             \
  X(recurrent)          \
  X(reduction)          \
  X(reshape)            \
  X(resize)             \
  X(roi)                \
  X(softmax)            \
  X(space)              \
  X(transpose)          \
  X(unary)

#define SNN_DECLARE(family) extern const SnnOperation snn_##family##_operations[];
SNN_FAMILIES(SNN_DECLARE)

const SnnOperation *snn_find_operation(int32_t code) {
#define SNN_TABLE(family) snn_##family##_operations,
  static const SnnOperation *const families[] = {SNN_FAMILIES(SNN_TABLE)};
  for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
    for (const SnnOperation *op = families[i]; op->name != NULL; op++) {
      if (op->code == code) return op;
    }
  }
  return NULL;
}
