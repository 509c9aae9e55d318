/* A libneuralnetworks.so of the tests' own: it computes nothing but notes each call and its arguments, one line each, in the file that
 * FAKE_LOG names. Built with FAKE_LEVEL=1 it exports just what Android 8.1 has. FAKE_CRASH names a call that dies of SIGSEGV, FAKE_EXIT one
 * that ends the process; FAKE_NOISE makes it print, as some drivers do.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOFTNN_BUILD
#include "nnapi.h"

struct ANeuralNetworksMemory {
  size_t size;
  int fd, number;
};
struct ANeuralNetworksModel {
  uint32_t operands;
};
struct ANeuralNetworksCompilation {
  int unused;
};
struct ANeuralNetworksExecution {
  ANeuralNetworksMemory *memory;
  size_t offset, length;
};
struct ANeuralNetworksEvent {
  int unused;
};

static int memories;

__attribute__((format(printf, 2, 3))) static void note(const char *call, const char *format, ...) {
  char line[512];
  va_list arguments;
  int length = snprintf(line, sizeof line, "%s", call);
  va_start(arguments, format);
  length += vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
  va_end(arguments);
  line[length++] = '\n';
  const char *path = getenv("FAKE_LOG"), *crash = getenv("FAKE_CRASH"), *leave = getenv("FAKE_EXIT");
  int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
  if (fd >= 0) {
    (void)!write(fd, line, (size_t)length);
    close(fd);
  }
  if (getenv("FAKE_NOISE") != NULL) {
    (void)!write(STDOUT_FILENO, line, (size_t)length);
    (void)!write(STDERR_FILENO, line, (size_t)length);
  }
  if (crash != NULL && strcmp(crash, call) == 0) *(volatile int *)0 = 1;
  if (leave != NULL && strcmp(leave, call) == 0) exit(0);
}

/* "file" for a file on disk, "shared" for anonymous shared memory. */
static const char *kind_of(int fd) {
  char link[64], target[256];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof target - 1);
  target[length < 0 ? 0 : length] = '\0';
  return strncmp(target, "/memfd:", 7) == 0 ? "shared" : "file";
}

static void list(char *text, size_t size, uint32_t count, const uint32_t *values) {
  size_t length = 0;
  text[0] = '\0';
  for (uint32_t i = 0; i < count; i++) length += (size_t)snprintf(text + length, size - length, "%s%u", i > 0 ? "," : "", values[i]);
}

int ANeuralNetworksMemory_createFromFd(size_t size, int protect, int fd, size_t offset, ANeuralNetworksMemory **memory) {
  *memory = malloc(sizeof **memory);
  **memory = (ANeuralNetworksMemory){size, dup(fd), memories++};
  note("Memory_createFromFd", " %s protect=%d offset=%zu size=%zu", kind_of(fd), protect, offset, size);
  return 0;
}
void ANeuralNetworksMemory_free(ANeuralNetworksMemory *memory) {
  note("Memory_free", " %d", memory->number);
  close(memory->fd);
  free(memory);
}

int ANeuralNetworksModel_create(ANeuralNetworksModel **model) {
  *model = calloc(1, sizeof **model);
  note("Model_create", "%s", "");
  return 0;
}
void ANeuralNetworksModel_free(ANeuralNetworksModel *model) {
  note("Model_free", "%s", "");
  free(model);
}
int ANeuralNetworksModel_finish(ANeuralNetworksModel *model) {
  (void)model;
  note("Model_finish", "%s", "");
  return 0;
}
int ANeuralNetworksModel_addOperand(ANeuralNetworksModel *model, const ANeuralNetworksOperandType *type) {
  char dims[128];
  list(dims, sizeof dims, type->dimensionCount, type->dimensions);
  note("Model_addOperand", " %u type=%d dims=[%s] scale=%g zero=%d", model->operands++, type->type, dims, (double)type->scale,
       type->zeroPoint);
  return 0;
}
int ANeuralNetworksModel_setOperandValue(ANeuralNetworksModel *model, int32_t index, const void *buffer, size_t length) {
  (void)model;
  note("Model_setOperandValue", " %d %s length=%zu", index, buffer == NULL ? "none" : "pointer", length);
  return 0;
}
int ANeuralNetworksModel_setOperandValueFromMemory(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksMemory *memory,
                                                   size_t offset, size_t length) {
  (void)model;
  note("Model_setOperandValueFromMemory", " %d memory=%d offset=%zu length=%zu", index, memory->number, offset, length);
  return 0;
}
int ANeuralNetworksModel_addOperation(ANeuralNetworksModel *model, ANeuralNetworksOperationType type, uint32_t input_count,
                                      const uint32_t *inputs, uint32_t output_count, const uint32_t *outputs) {
  char in[128], out[128];
  (void)model;
  list(in, sizeof in, input_count, inputs);
  list(out, sizeof out, output_count, outputs);
  note("Model_addOperation", " %d in=[%s] out=[%s]", type, in, out);
  return 0;
}
int ANeuralNetworksModel_identifyInputsAndOutputs(ANeuralNetworksModel *model, uint32_t input_count, const uint32_t *inputs,
                                                  uint32_t output_count, const uint32_t *outputs) {
  char in[128], out[128];
  (void)model;
  list(in, sizeof in, input_count, inputs);
  list(out, sizeof out, output_count, outputs);
  note("Model_identifyInputsAndOutputs", " in=[%s] out=[%s]", in, out);
  return 0;
}

int ANeuralNetworksCompilation_create(ANeuralNetworksModel *model, ANeuralNetworksCompilation **compilation) {
  (void)model;
  *compilation = malloc(sizeof **compilation);
  note("Compilation_create", "%s", "");
  return 0;
}
void ANeuralNetworksCompilation_free(ANeuralNetworksCompilation *compilation) {
  note("Compilation_free", "%s", "");
  free(compilation);
}
int ANeuralNetworksCompilation_setPreference(ANeuralNetworksCompilation *compilation, int32_t preference) {
  (void)compilation;
  note("Compilation_setPreference", " %d", preference);
  return 0;
}
int ANeuralNetworksCompilation_finish(ANeuralNetworksCompilation *compilation) {
  (void)compilation;
  note("Compilation_finish", "%s", "");
  return 0;
}

int ANeuralNetworksExecution_create(ANeuralNetworksCompilation *compilation, ANeuralNetworksExecution **execution) {
  (void)compilation;
  *execution = calloc(1, sizeof **execution);
  note("Execution_create", "%s", "");
  return 0;
}
void ANeuralNetworksExecution_free(ANeuralNetworksExecution *execution) {
  note("Execution_free", "%s", "");
  free(execution);
}
int ANeuralNetworksExecution_setInput(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                      const void *buffer, size_t length) {
  (void)execution, (void)type;
  note("Execution_setInput", " %d %s length=%zu", index, buffer == NULL ? "none" : "pointer", length);
  return 0;
}
int ANeuralNetworksExecution_setInputFromMemory(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                                const ANeuralNetworksMemory *memory, size_t offset, size_t length) {
  (void)execution;
  note("Execution_setInputFromMemory", " %d %s memory=%d offset=%zu length=%zu", index, type == NULL ? "as declared" : "typed",
       memory->number, offset, length);
  return 0;
}
int ANeuralNetworksExecution_setOutput(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                       void *buffer, size_t length) {
  (void)execution, (void)type, (void)buffer;
  note("Execution_setOutput", " %d length=%zu", index, length);
  return 0;
}
int ANeuralNetworksExecution_setOutputFromMemory(ANeuralNetworksExecution *execution, int32_t index, const ANeuralNetworksOperandType *type,
                                                 const ANeuralNetworksMemory *memory, size_t offset, size_t length) {
  (void)type;
  *execution = (ANeuralNetworksExecution){(ANeuralNetworksMemory *)(uintptr_t)memory, offset, length};
  note("Execution_setOutputFromMemory", " %d memory=%d offset=%zu length=%zu", index, memory->number, offset, length);
  return 0;
}

/* The output's bytes become 1, 2, 3, ... */
static void fill(const ANeuralNetworksExecution *execution) {
  for (size_t i = 0; execution->memory != NULL && i < execution->length; i++)
    (void)!pwrite(execution->memory->fd, &(uint8_t){(uint8_t)(i + 1)}, 1, (off_t)(execution->offset + i));
}
int ANeuralNetworksExecution_startCompute(ANeuralNetworksExecution *execution, ANeuralNetworksEvent **event) {
  note("Execution_startCompute", "%s", "");
  fill(execution);
  *event = malloc(sizeof **event);
  return 0;
}
int ANeuralNetworksEvent_wait(ANeuralNetworksEvent *event) {
  (void)event;
  note("Event_wait", "%s", "");
  return 0;
}
void ANeuralNetworksEvent_free(ANeuralNetworksEvent *event) {
  note("Event_free", "%s", "");
  free(event);
}

#if FAKE_LEVEL >= 3
int ANeuralNetworksExecution_compute(ANeuralNetworksExecution *execution) {
  note("Execution_compute", "%s", "");
  fill(execution);
  return 0;
}
int ANeuralNetworks_getDeviceCount(uint32_t *count) {
  *count = 0;
  return 0;
}
#endif
#if FAKE_LEVEL >= 5
int ANeuralNetworksExecution_setReusable(ANeuralNetworksExecution *execution, bool reusable) {
  (void)execution;
  note("Execution_setReusable", " %d", reusable);
  return 0;
}
int64_t ANeuralNetworks_getRuntimeFeatureLevel(void) { return ANEURALNETWORKS_FEATURE_LEVEL_5; }
#endif
