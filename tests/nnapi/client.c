/* A client as small as can be, in the common subset of C and C++: (a + b) * 2 on the first device. Prints the result. */
#include <stdio.h>

#include "nnapi.h"
#include "softnn.h"

#define CALL(call)                                          \
  do {                                                      \
    int code = (call);                                      \
    if (code != ANEURALNETWORKS_NO_ERROR) {                 \
      printf("%s -> %d\n", #call, code);                    \
      return 1;                                             \
    }                                                       \
  } while (0)

static int build(ANeuralNetworksModel *model) {
  static const uint32_t dims[] = {3};
  static const float twos[] = {2, 2, 2};
  static const int32_t none = ANEURALNETWORKS_FUSED_NONE;
  const ANeuralNetworksOperandType tensor = {ANEURALNETWORKS_TENSOR_FLOAT32, 1, dims, 0, 0};
  const ANeuralNetworksOperandType scalar = {ANEURALNETWORKS_INT32, 0, NULL, 0, 0};
  const uint32_t add_in[] = {0, 1, 4}, add_out[] = {2}, mul_in[] = {2, 5, 4}, mul_out[] = {3}, inputs[] = {0, 1}, outputs[] = {3};
  for (int i = 0; i < 4; i++) CALL(ANeuralNetworksModel_addOperand(model, &tensor));
  CALL(ANeuralNetworksModel_addOperand(model, &scalar));
  CALL(ANeuralNetworksModel_addOperand(model, &tensor));
  CALL(ANeuralNetworksModel_setOperandValue(model, 4, &none, sizeof(none)));
  CALL(ANeuralNetworksModel_setOperandValue(model, 5, twos, sizeof(twos)));
  CALL(ANeuralNetworksModel_addOperation(model, ANEURALNETWORKS_ADD, 3, add_in, 1, add_out));
  CALL(ANeuralNetworksModel_addOperation(model, ANEURALNETWORKS_MUL, 3, mul_in, 1, mul_out));
  CALL(ANeuralNetworksModel_identifyInputsAndOutputs(model, 2, inputs, 1, outputs));
  CALL(ANeuralNetworksModel_finish(model));
  return 0;
}

static int run(ANeuralNetworksCompilation *compilation) {
  const float a[] = {1, 2, 3}, b[] = {10, 20, 30};
  float result[3];
  ANeuralNetworksExecution *execution = NULL;
  CALL(ANeuralNetworksExecution_create(compilation, &execution));
  CALL(ANeuralNetworksExecution_setInput(execution, 0, NULL, a, sizeof(a)));
  CALL(ANeuralNetworksExecution_setInput(execution, 1, NULL, b, sizeof(b)));
  CALL(ANeuralNetworksExecution_setOutput(execution, 0, NULL, result, sizeof(result)));
  CALL(ANeuralNetworksExecution_compute(execution));
  ANeuralNetworksExecution_free(execution);
  printf("%g %g %g\n", (double)result[0], (double)result[1], (double)result[2]);
  return 0;
}

int main(void) {
  SoftnnSettings settings = {0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 0};
  settings.size = sizeof(settings);
  settings.device_name = "played";
  CALL(softnn_configure(&settings));
  ANeuralNetworksDevice *device = NULL;
  const char *name = NULL;
  CALL(ANeuralNetworks_getDevice(0, &device));
  CALL(ANeuralNetworksDevice_getName(device, &name));
  printf("%s\n", name);
  ANeuralNetworksModel *model = NULL;
  ANeuralNetworksCompilation *compilation = NULL;
  CALL(ANeuralNetworksModel_create(&model));
  if (build(model) != 0) return 1;
  const ANeuralNetworksDevice *devices[] = {device};
  CALL(ANeuralNetworksCompilation_createForDevices(model, devices, 1, &compilation));
  CALL(ANeuralNetworksCompilation_finish(compilation));
  if (run(compilation) != 0) return 1;
  ANeuralNetworksCompilation_free(compilation);
  ANeuralNetworksModel_free(model);
  return 0;
}
