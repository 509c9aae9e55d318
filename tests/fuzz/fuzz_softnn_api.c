/* libFuzzer target: bytes are a program of calls to the NNAPI C interface.
 *
 * Each call takes its arguments from the bytes that follow its opcode, so that a model can be written down exactly
 * (tests/fuzz/softnn.py does so with the shared NNAPI cases: the corpus) and a changed byte is a changed dimension, value, index or order.
 * Result codes do not matter; crashes, leaks, undefined behaviour and hangs do.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../android/include/softnn.h"

#define MAX_MODELS 4
#define MAX_OPERANDS 64
#define MAX_KEPT 256
#define MAX_BUFFER 65536

typedef struct {
  const uint8_t *data;
  size_t left;
} Input;

static uint8_t take8(Input *in) {
  if (in->left == 0) return 0;
  in->left--;
  return *in->data++;
}

static uint16_t take16(Input *in) {
  uint16_t low = take8(in);
  return (uint16_t)(low | take8(in) << 8);
}

static uint32_t take32(Input *in) {
  uint32_t low = take16(in);
  return low | (uint32_t)take16(in) << 16;
}

static float take_float(Input *in) {
  uint32_t bits = take32(in);
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

/* Everything that lives during one input. */
typedef struct {
  Input in;
  ANeuralNetworksModel *models[MAX_MODELS];
  uint32_t n_models;
  void *kept[MAX_KEPT]; /* constants that models point to */
  uint32_t n_kept;
  ANeuralNetworksCompilation *compilation;
  ANeuralNetworksMemory *memory;
  uint32_t n_inputs, n_outputs; /* of the model that was identified last */
} State;

static ANeuralNetworksModel *current(State *s) { return s->n_models > 0 ? s->models[s->n_models - 1] : NULL; }

/* `length` bytes of the input, repeated when there are not as many; kept until the end. */
static void *keep_bytes(State *s, size_t length, size_t given) {
  if (s->n_kept == MAX_KEPT) return NULL;
  uint8_t *bytes = malloc(length + 1);
  if (bytes == NULL) return NULL;
  if (given > length) given = length;
  for (size_t i = 0; i < given; i++) bytes[i] = take8(&s->in);
  for (size_t i = given; i < length; i++) bytes[i] = given > 0 ? bytes[i - given] : 0;
  s->kept[s->n_kept++] = bytes;
  return bytes;
}

static ANeuralNetworksOperandType take_type(Input *in, uint32_t *dims) {
  ANeuralNetworksOperandType type = {.type = (int8_t)take8(in)};
  uint8_t rank = take8(in) % 10;
  for (uint8_t i = 0; i < rank; i++) {
    dims[i] = take16(in);
    if (dims[i] == 0xFFFF) dims[i] = 0xFFFFFFFF;
  }
  type.dimensionCount = rank;
  type.dimensions = rank > 0 ? dims : NULL;
  type.scale = take_float(in);
  type.zeroPoint = (int32_t)take32(in);
  return type;
}

static void add_operand(State *s) {
  uint32_t dims[16];
  ANeuralNetworksOperandType type = take_type(&s->in, dims);
  ANeuralNetworksModel_addOperand(current(s), &type);
}

static void set_value(State *s) {
  int32_t index = (int16_t)take16(&s->in);
  uint32_t length = take16(&s->in), given = take16(&s->in);
  ANeuralNetworksModel_setOperandValue(current(s), index, keep_bytes(s, length, given), length);
}

static void set_memory(State *s) {
  int32_t index = (int16_t)take16(&s->in);
  size_t offset = take16(&s->in), length = take16(&s->in);
  ANeuralNetworksModel_setOperandValueFromMemory(current(s), index, s->memory, offset, length);
}

static void set_channels(State *s) {
  float scales[64];
  int32_t index = (int16_t)take16(&s->in);
  ANeuralNetworksSymmPerChannelQuantParams channels = {.channelDim = take8(&s->in), .scaleCount = take8(&s->in) % 64, .scales = scales};
  for (uint32_t i = 0; i < channels.scaleCount; i++) scales[i] = take_float(&s->in);
  ANeuralNetworksModel_setOperandSymmPerChannelQuantParams(current(s), index, &channels);
}

static void set_model(State *s) {
  int32_t index = (int16_t)take16(&s->in);
  uint8_t which = take8(&s->in);
  if (s->n_models > 0) ANeuralNetworksModel_setOperandValueFromModel(current(s), index, s->models[which % s->n_models]);
}

static uint32_t take_list(Input *in, uint32_t *list) {
  uint32_t count = take8(in) % MAX_OPERANDS;
  for (uint32_t i = 0; i < count; i++) list[i] = take16(in);
  return count;
}

static void add_operation(State *s) {
  uint32_t inputs[MAX_OPERANDS], outputs[MAX_OPERANDS];
  int32_t code = (int8_t)take8(&s->in);
  uint32_t n_in = take_list(&s->in, inputs), n_out = take_list(&s->in, outputs);
  ANeuralNetworksModel_addOperation(current(s), code, n_in, inputs, n_out, outputs);
}

static void identify(State *s) {
  uint32_t inputs[MAX_OPERANDS], outputs[MAX_OPERANDS];
  s->n_inputs = take_list(&s->in, inputs);
  s->n_outputs = take_list(&s->in, outputs);
  ANeuralNetworksModel_identifyInputsAndOutputs(current(s), s->n_inputs, inputs, s->n_outputs, outputs);
}

static void compile(State *s) {
  const ANeuralNetworksDevice *devices[2];
  ANeuralNetworksDevice *device;
  bool supported[256];
  uint8_t how = take8(&s->in);
  for (uint32_t i = 0; i < 2; i++) {
    if (ANeuralNetworks_getDevice(i, &device) != ANEURALNETWORKS_NO_ERROR) return;
    devices[i] = device;
  }
  ANeuralNetworksCompilation_free(s->compilation);
  s->compilation = NULL;
  if (how & 1) {
    ANeuralNetworksCompilation_createForDevices(current(s), devices, 1 + (how >> 1 & 1), &s->compilation);
  } else {
    ANeuralNetworksCompilation_create(current(s), &s->compilation);
  }
  if (how & 4) ANeuralNetworksModel_getSupportedOperationsForDevices(current(s), devices, 2, supported);
  ANeuralNetworksCompilation_setPreference(s->compilation, how >> 3 & 3);
  ANeuralNetworksCompilation_finish(s->compilation);
}

/* --- the compilation cache: made, damaged, used --------------------------------------------------------------------------------- */

static char cache_folder[] = "/tmp/fuzz-softnn-XXXXXX", cache_file[128];

static void remove_cache(void) {
  unlink(cache_file);
  rmdir(cache_folder);
}

static bool has_cache_folder(void) {
  static int made = -1;
  if (made < 0) {
    made = mkdtemp(cache_folder) != NULL;
    snprintf(cache_file, sizeof(cache_file), "%s/softnn-%064d.cache", cache_folder, 0);
    if (made) atexit(remove_cache);
  }
  return made == 1;
}

static void compile_cached(State *s) {
  static const uint8_t token[ANEURALNETWORKS_BYTE_SIZE_OF_CACHE_TOKEN];
  ANeuralNetworksCompilation *compilation = NULL;
  if (ANeuralNetworksCompilation_create(current(s), &compilation) != ANEURALNETWORKS_NO_ERROR) return;
  ANeuralNetworksCompilation_setCaching(compilation, cache_folder, token);
  ANeuralNetworksCompilation_finish(compilation);
  ANeuralNetworksCompilation_free(s->compilation);
  s->compilation = compilation;
}

/* Nobody maps the file now: its compilation is gone. */
static void damage_cache(State *s) {
  struct stat status;
  uint8_t how = take8(&s->in), byte = 0;
  uint32_t where = take32(&s->in);
  int fd = open(cache_file, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &status) == 0 && status.st_size > 0) {
    off_t at = (off_t)(where % (uint64_t)status.st_size);
    if (how == 0) {
      if (ftruncate(fd, at) != 0) abort();
    } else if (pread(fd, &byte, 1, at) == 1) {
      byte ^= how;
      if (pwrite(fd, &byte, 1, at) != 1) abort();
    }
  }
  close(fd);
}

static void cache(State *s) {
  if (!has_cache_folder()) return;
  compile_cached(s);
  ANeuralNetworksCompilation_free(s->compilation);
  s->compilation = NULL;
  damage_cache(s);
  compile_cached(s);
  ANeuralNetworksCompilation_free(s->compilation); /* and once more what the second one has written */
  s->compilation = NULL;
  compile_cached(s);
}

/* --- executions ------------------------------------------------------------------------------------------------------------------- */

/* With an event: one that waits for the last one, too. */
static void run_by_event(ANeuralNetworksExecution *execution, uint8_t how, ANeuralNetworksEvent **last) {
  ANeuralNetworksEvent *event = NULL;
  const ANeuralNetworksEvent *dependencies[1] = {*last};
  if (how & 32) {
    ANeuralNetworksExecution_startComputeWithDependencies(execution, dependencies, *last != NULL, how & 64 ? 1000000000 : 0, &event);
  } else {
    ANeuralNetworksExecution_startCompute(execution, &event);
  }
  if (event == NULL) return;
  ANeuralNetworksEvent_free(*last);
  *last = event;
}

static void bind(State *s, ANeuralNetworksExecution *execution, bool output, uint32_t index) {
  uint32_t dims[16];
  ANeuralNetworksOperandType type, *given = NULL;
  uint8_t how = take8(&s->in);
  if (how & 1) {
    type = take_type(&s->in, dims);
    given = &type;
  }
  size_t length = take16(&s->in), bytes = take16(&s->in);
  if (how & 2) {
    size_t offset = take16(&s->in);
    if (output) {
      ANeuralNetworksExecution_setOutputFromMemory(execution, (int32_t)index, given, s->memory, offset, length);
    } else {
      ANeuralNetworksExecution_setInputFromMemory(execution, (int32_t)index, given, s->memory, offset, length);
    }
    return;
  }
  uint8_t *buffer = how & 4 ? NULL : keep_bytes(s, length + (how >> 7), bytes);
  if (buffer != NULL) buffer += how >> 7; /* unaligned */
  if (buffer == NULL) length = 0;
  if (output) {
    ANeuralNetworksExecution_setOutput(execution, (int32_t)index, given, buffer, length);
  } else {
    ANeuralNetworksExecution_setInput(execution, (int32_t)index, given, buffer, length);
  }
}

static void execute(State *s) {
  ANeuralNetworksExecution *execution = NULL;
  uint8_t how = take8(&s->in), rounds = (how & 4) ? 2 : 1;
  if (ANeuralNetworksExecution_create(s->compilation, &execution) != ANEURALNETWORKS_NO_ERROR) return;
  ANeuralNetworksExecution_setLoopTimeout(execution, 1000000);
  ANeuralNetworksExecution_setReusable(execution, how & 4);
  ANeuralNetworksExecution_enableInputAndOutputPadding(execution, how & 8);
  for (uint32_t i = 0; i < s->n_inputs; i++) bind(s, execution, false, i);
  for (uint32_t i = 0; i < s->n_outputs; i++) bind(s, execution, true, i);
  ANeuralNetworksEvent *last = NULL;
  for (uint8_t i = 0; i < rounds; i++) {
    if (how & 16) {
      run_by_event(execution, how, &last);
      if (how & 128 && last != NULL) ANeuralNetworksEvent_wait(last);
    } else if (how & 1) {
      ANeuralNetworksBurst *burst = NULL;
      ANeuralNetworksBurst_create(s->compilation, &burst);
      ANeuralNetworksExecution_burstCompute(execution, burst);
      ANeuralNetworksBurst_free(burst);
    } else {
      ANeuralNetworksExecution_compute(execution);
    }
  }
  ANeuralNetworksEvent_free(last); /* waits */
  for (uint32_t i = 0; i <= s->n_outputs; i++) {
    uint32_t rank, dims[16];
    ANeuralNetworksExecution_getOutputOperandRank(execution, (int32_t)i, &rank);
    ANeuralNetworksExecution_getOutputOperandDimensions(execution, (int32_t)i, dims);
  }
  ANeuralNetworksExecution_free(execution);
}

static void make_model(State *s) {
  if (s->n_models < MAX_MODELS && ANeuralNetworksModel_create(&s->models[s->n_models]) == ANEURALNETWORKS_NO_ERROR) s->n_models++;
}

static void describe_memory(State *s) {
  ANeuralNetworksMemoryDesc *desc = NULL;
  ANeuralNetworksMemory *memory = NULL;
  if (ANeuralNetworksMemoryDesc_create(&desc) != ANEURALNETWORKS_NO_ERROR) return;
  uint8_t how = take8(&s->in);
  uint32_t dims[4] = {take16(&s->in), take16(&s->in), take16(&s->in), take16(&s->in)};
  if (how & 1) ANeuralNetworksMemoryDesc_addInputRole(desc, s->compilation, how >> 1 & 3, 1.0f);
  if (how & 8) ANeuralNetworksMemoryDesc_setDimensions(desc, how >> 6, dims);
  if (how & 16) ANeuralNetworksMemoryDesc_addOutputRole(desc, s->compilation, how >> 5 & 3, 0.5f);
  ANeuralNetworksMemoryDesc_finish(desc);
  if (ANeuralNetworksMemory_createFromDesc(desc, &memory) == ANEURALNETWORKS_NO_ERROR) {
    ANeuralNetworksMemory_copy(s->memory, memory);
    ANeuralNetworksMemory_free(s->memory);
    s->memory = memory;
  }
  ANeuralNetworksMemoryDesc_free(desc);
}

static bool step(State *s) {
  if (s->in.left == 0) return false;
  switch (take8(&s->in) % 16) {
    case 0: make_model(s); break;
    case 1: add_operand(s); break;
    case 2: set_value(s); break;
    case 3: ANeuralNetworksModel_setOperandValue(current(s), (int16_t)take16(&s->in), NULL, 0); break;
    case 4: set_memory(s); break;
    case 5: set_channels(s); break;
    case 6: set_model(s); break;
    case 7: add_operation(s); break;
    case 8: identify(s); break;
    case 9: ANeuralNetworksModel_relaxComputationFloat32toFloat16(current(s), take8(&s->in) & 1); break;
    case 10: ANeuralNetworksModel_finish(current(s)); break;
    case 11: compile(s); break;
    case 12: execute(s); break;
    case 13: describe_memory(s); break;
    case 14: cache(s); break;
    default: break;
  }
  return true;
}

static ANeuralNetworksMemory *shared_memory(void) {
  ANeuralNetworksMemory *memory = NULL;
  int fd = memfd_create("fuzz", 0);
  if (fd < 0) return NULL;
  if (ftruncate(fd, 4096) == 0) ANeuralNetworksMemory_createFromFd(4000, PROT_READ | PROT_WRITE, fd, 3, &memory);
  close(fd);
  return memory;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool configured;
  if (!configured) {
    SoftnnSettings settings = {.size = sizeof(settings), .feature_level = 8};
    configured = softnn_configure(&settings) == ANEURALNETWORKS_NO_ERROR;
  }
  State state = {.in = {data, size}, .memory = shared_memory()};
  for (int steps = 0; steps < 1000 && step(&state); steps++) {
  }
  ANeuralNetworksCompilation_free(state.compilation);
  for (uint32_t i = 0; i < state.n_models; i++) ANeuralNetworksModel_free(state.models[i]);
  ANeuralNetworksMemory_free(state.memory);
  for (uint32_t i = 0; i < state.n_kept; i++) free(state.kept[i]);
  return 0;
}
