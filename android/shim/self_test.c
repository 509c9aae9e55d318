/* nnapi-shim --self-test: does NNAPI work here at all, from shared memory to a computed sum? */
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "session.h"

typedef struct {
  NtkNnapi nnapi;
  NtkArena arena;
  NtkRegion region;
  ANeuralNetworksModel *model;
  ANeuralNetworksCompilation *compilation;
  ANeuralNetworksExecution *execution;
  void (*print)(const char *line);
} Test;

enum { COUNT = 4, IN = 0, CONSTANT = 1, ACTIVATION = 2, OUT = 3 };

static bool step(Test *test, const char *what, int result) {
  char line[160];
  snprintf(line, sizeof line, "%s: %s (%d)\n", what, result == 0 ? "ok" : "FAILED", result);
  test->print(line);
  return result == 0;
}

static void describe(Test *test) {
  char line[512];
  uint32_t count = 0;
  snprintf(line, sizeof line, "feature level: %d\n", test->nnapi.feature_level);
  test->print(line);
  if (test->nnapi._getDeviceCount == NULL || test->nnapi._getDeviceCount(&count) != 0) return;
  for (uint32_t i = 0; i < count; i++) {
    ANeuralNetworksDevice *device;
    const char *name = "?";
    if (test->nnapi._getDevice(i, &device) != 0 || test->nnapi.Device_getName(device, &name) != 0) continue;
    snprintf(line, sizeof line, "device %u: %s\n", i, name);
    test->print(line);
  }
}

/* out = in + {1, 1, 1, 1} */
static int build(Test *test) {
  const NtkNnapi *nnapi = &test->nnapi;
  static const uint32_t DIMS[1] = {COUNT};
  static const float ONES[COUNT] = {1, 1, 1, 1};
  static const int32_t NONE = ANEURALNETWORKS_FUSED_NONE;
  const ANeuralNetworksOperandType tensor = {ANEURALNETWORKS_TENSOR_FLOAT32, 1, DIMS, 0, 0};
  const ANeuralNetworksOperandType scalar = {ANEURALNETWORKS_INT32, 0, NULL, 0, 0};
  const uint32_t inputs[] = {IN, CONSTANT, ACTIVATION}, first[] = {IN}, last[] = {OUT};
  int result = nnapi->Model_create(&test->model);
  if (result == 0) result = nnapi->Model_addOperand(test->model, &tensor);
  if (result == 0) result = nnapi->Model_addOperand(test->model, &tensor);
  if (result == 0) result = nnapi->Model_addOperand(test->model, &scalar);
  if (result == 0) result = nnapi->Model_addOperand(test->model, &tensor);
  if (result == 0) result = nnapi->Model_setOperandValue(test->model, CONSTANT, ONES, sizeof ONES);
  if (result == 0) result = nnapi->Model_setOperandValue(test->model, ACTIVATION, &NONE, sizeof NONE);
  if (result == 0) result = nnapi->Model_addOperation(test->model, ANEURALNETWORKS_ADD, 3, inputs, 1, last);
  if (result == 0) result = nnapi->Model_identifyInputsAndOutputs(test->model, 1, first, 1, last);
  return result != 0 ? result : nnapi->Model_finish(test->model);
}

static int compile(Test *test) {
  int result = test->nnapi.Compilation_create(test->model, &test->compilation);
  return result != 0 ? result : test->nnapi.Compilation_finish(test->compilation);
}

static int run(Test *test) {
  const NtkNnapi *nnapi = &test->nnapi;
  const size_t bytes = COUNT * sizeof(float);
  ANeuralNetworksMemory *memory = ntk_region_memory(&test->region, &test->nnapi);
  size_t offset = test->region.offset;
  ANeuralNetworksEvent *event = NULL;
  int result = nnapi->Execution_create(test->compilation, &test->execution);
  if (result == 0) result = nnapi->Execution_setInputFromMemory(test->execution, 0, NULL, memory, offset, bytes);
  if (result == 0) result = nnapi->Execution_setOutputFromMemory(test->execution, 0, NULL, memory, offset + bytes, bytes);
  if (result == 0) result = nnapi->Execution_startCompute(test->execution, &event);
  if (result == 0) result = nnapi->Event_wait(event);
  if (event != NULL) nnapi->Event_free(event);
  return result;
}

static bool test_all(Test *test) {
  float values[2 * COUNT] = {1.5f, -2.0f, 0.0f, 1e6f};
  if (!ntk_region_reserve(&test->arena, &test->region, sizeof values)) return step(test, "memory", -1);
  memcpy(ntk_region_data(&test->region), values, sizeof values);
  if (!step(test, "shared memory", ntk_region_memory(&test->region, &test->nnapi) == NULL)) return false;
  if (!step(test, "model", build(test)) || !step(test, "compilation", compile(test)) || !step(test, "execution", run(test))) return false;
  memcpy(values, ntk_region_data(&test->region), sizeof values);
  bool equal = true;
  for (int i = 0; i < COUNT; i++) equal = equal && values[COUNT + i] == values[i] + 1.0f;
  return step(test, "result", equal ? 0 : -1);
}

bool ntk_self_test(const char *library, void (*print)(const char *line)) {
  Test test = {.print = print};
  char message[512], line[600];
  if (!ntk_nnapi_open(&test.nnapi, library, message, sizeof message)) {
    snprintf(line, sizeof line, "library: FAILED (%s)\n", message);
    print(line);
    return false;
  }
  print("library: ok\n");
  test.arena = (NtkArena){.libraries = &test.nnapi, .library_count = 1};
  describe(&test);
  bool fine = test_all(&test);
  if (test.execution != NULL) test.nnapi.Execution_free(test.execution);
  if (test.compilation != NULL) test.nnapi.Compilation_free(test.compilation);
  if (test.model != NULL) test.nnapi.Model_free(test.model);
  ntk_arena_free(&test.arena);
  ntk_nnapi_close(&test.nnapi);
  return fine;
}
