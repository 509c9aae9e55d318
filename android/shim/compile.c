/* From a program to a compiled NNAPI model: OPEN, LOAD, SUPPORTED, UNLOAD. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

enum { CONSTANT_ALIGN = 4, PRIVATE_FOLDER = 0700 };

/* --- files --- */

static void close_file(NtkSession *session, NtkFile *file) {
  for (uint32_t i = 0; i < NTK_MAX_LIBRARIES; i++)
    if (file->memory[i] != NULL) session->libraries[i].Memory_free(file->memory[i]);
  if (file->map != NULL) munmap(file->map, (size_t)file->size);
  if (file->fd >= 0) close(file->fd);
  *file = (NtkFile){.fd = -1};
}

void ntk_files_release(NtkSession *session, NtkFiles *files) {
  if (files == NULL || --files->references > 0) return;
  close_file(session, &files->file[0]);
  close_file(session, &files->file[1]);
  free(files);
}

static bool open_file(NtkSession *session, const char *path, uint64_t size, NtkFile *file) {
  struct stat status;
  if (size == 0 || size > SIZE_MAX / 2)
    return ntk_fail(session, NTK_STATUS_SYSTEM, EFBIG, "open %s: a size of %llu bytes cannot be mapped", path, (unsigned long long)size);
  file->fd = open(path, O_RDONLY | O_CLOEXEC);
  if (file->fd < 0) return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "open %s: errno %d", path, errno);
  if (fstat(file->fd, &status) != 0) return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "stat %s: errno %d", path, errno);
  if ((uint64_t)status.st_size != size)
    return ntk_fail(session, NTK_STATUS_SYSTEM, EINVAL, "open %s: it has %llu bytes, not %llu", path,
                    (unsigned long long)status.st_size, (unsigned long long)size);
  void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, file->fd, 0);
  if (map == MAP_FAILED) return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "map %s: errno %d", path, errno);
  file->map = map;
  file->size = size;
  return true;
}

bool ntk_handle_open(NtkSession *session) {
  char path[2][NTK_MAX_PATH];
  uint64_t size[2];
  static const char *const WHAT[2] = {"path of the model file", "path of the side file"};
  for (int i = 0; i < 2; i++) {
    if (!ntk_take_text(session, path[i], sizeof path[i], WHAT[i])) return false;
    if (!ntk_take_u64(session->source, &size[i])) return ntk_fail_short(session, "size of a file");
  }
  if (!ntk_expect_end(session)) return false;
  if (path[0][0] == '\0') return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "an empty path of the model file");
  NtkFiles *files = calloc(1, sizeof *files);
  if (files == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory");
  *files = (NtkFiles){.references = 1, .file = {{.fd = -1}, {.fd = -1}}};
  if (!open_file(session, path[0], size[0], &files->file[0]) ||
      (path[1][0] != '\0' && !open_file(session, path[1], size[1], &files->file[1]))) {
    ntk_files_release(session, files);
    return false;
  }
  ntk_files_release(session, session->files);
  session->files = files;
  return true;
}

/* --- building --- */

typedef struct {
  uint32_t device_count;
  const ANeuralNetworksDevice *devices[NTK_MAX_DEVICES];
  int32_t preference, priority;
  uint32_t flags;
  uint64_t timeout;
  char cache[NTK_MAX_PATH];
  uint8_t token[ANEURALNETWORKS_BYTE_SIZE_OF_CACHE_TOKEN];
} LoadOptions;

/* The file as NNAPI memory; NULL where NNAPI may not map it, the value is then given by pointer. */
static ANeuralNetworksMemory *file_memory(NtkSession *session, NtkFile *file) {
  uint32_t library = session->nnapi->number;
  if (file->memory[library] == NULL && !file->refused[library]) {
    int result = NTK_CALL(session, Memory_createFromFd, (size_t)file->size, PROT_READ, file->fd, 0, &file->memory[library]);
    if (result != 0) file->memory[library] = NULL;
    file->refused[library] = result != 0;
  }
  return file->memory[library];
}

/* `data` itself where it is aligned for its elements, else a copy that lives as long as the program. */
static const void *aligned(NtkSession *session, NtkLoaded *loaded, const uint8_t *data, size_t length) {
  if ((uintptr_t)data % CONSTANT_ALIGN == 0) return data;
  NtkCopy *copy = malloc(sizeof *copy + length);
  if (copy == NULL) {
    ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for a constant of %zu bytes", length);
    return NULL;
  }
  copy->next = loaded->copies;
  loaded->copies = copy;
  memcpy(copy->bytes, data, length);
  return copy->bytes;
}

static bool set_value(NtkSession *session, NtkLoaded *loaded, uint32_t model_index, uint32_t index, bool copy) {
  const NtkOperand *operand = &loaded->program.models[model_index].operands[index];
  ANeuralNetworksModel *model = loaded->models[model_index];
  int result;
  if (operand->source == NTK_VALUE_NONE) return true;
  if (operand->source == NTK_VALUE_OMITTED) {
    result = NTK_CALL(session, Model_setOperandValue, model, (int32_t)index, NULL, 0);
  } else if (operand->source == NTK_VALUE_MODEL) {
    if (!NTK_NEED(session, Model_setOperandValueFromModel, 4)) return false;
    result = NTK_CALL(session, Model_setOperandValueFromModel, model, (int32_t)index, loaded->models[operand->file]);
  } else {
    NtkFile *file = operand->source == NTK_VALUE_FILE ? &loaded->files->file[operand->file] : NULL;
    const uint8_t *data = file != NULL ? file->map + operand->offset : operand->data;
    size_t length = (size_t)operand->length;
    bool large = length > ANEURALNETWORKS_MAX_SIZE_OF_IMMEDIATELY_COPIED_VALUES;
    bool in_place = large && file != NULL && !copy && operand->offset % CONSTANT_ALIGN == 0;
    ANeuralNetworksMemory *memory = in_place ? file_memory(session, file) : NULL;
    if (memory != NULL) {
      result = NTK_CALL(session, Model_setOperandValueFromMemory, model, (int32_t)index, memory, (size_t)operand->offset, length);
      loaded->mapped_bytes += length;
    } else {
      const void *value = large ? aligned(session, loaded, data, length) : data;
      if (value == NULL) return false;
      loaded->values_in_program |= large && file == NULL && value == data;
      result = NTK_CALL(session, Model_setOperandValue, model, (int32_t)index, value, length);
      loaded->copied_bytes += length;
    }
  }
  return result == 0 || ntk_fail_call(session, result, "Model_setOperandValue", "of models[%u].operands[%u] (tensor %d)", model_index,
                                      index, (int)operand->tensor);
}

static bool add_operand(NtkSession *session, NtkLoaded *loaded, uint32_t model_index, uint32_t index) {
  const NtkOperand *operand = &loaded->program.models[model_index].operands[index];
  ANeuralNetworksModel *model = loaded->models[model_index];
  ANeuralNetworksOperandType type = {.type = operand->type, .dimensionCount = operand->rank,
                                     .dimensions = operand->rank > 0 ? operand->dims : NULL,
                                     .scale = operand->scale, .zeroPoint = operand->zero_point};
  int result = NTK_CALL(session, Model_addOperand, model, &type);
  if (result != 0)
    return ntk_fail_call(session, result, "Model_addOperand", "of models[%u].operands[%u] (type %d, tensor %d)", model_index, index,
                         (int)operand->type, (int)operand->tensor);
  if (operand->type != ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) return true;
  if (!NTK_NEED(session, Model_setOperandSymmPerChannelQuantParams, 3)) return false;
  ANeuralNetworksSymmPerChannelQuantParams scales = {operand->channel_dim, operand->channel_count, operand->channel_scales};
  result = NTK_CALL(session, Model_setOperandSymmPerChannelQuantParams, model, (int32_t)index, &scales);
  return result == 0 || ntk_fail_call(session, result, "Model_setOperandSymmPerChannelQuantParams",
                                      "of models[%u].operands[%u] (tensor %d)", model_index, index, (int)operand->tensor);
}

static bool build_model(NtkSession *session, NtkLoaded *loaded, uint32_t index, const LoadOptions *options, bool copy) {
  const NtkModel *source = &loaded->program.models[index];
  int result = NTK_CALL(session, Model_create, &loaded->models[index]);
  if (result != 0) return ntk_fail_call(session, result, "Model_create", "of models[%u]", index);
  ANeuralNetworksModel *model = loaded->models[index];
  for (uint32_t i = 0; i < source->operand_count; i++)
    if (!add_operand(session, loaded, index, i) || !set_value(session, loaded, index, i, copy)) return false;
  for (uint32_t i = 0; i < source->operation_count; i++) {
    const NtkOperation *operation = &source->operations[i];
    result = NTK_CALL(session, Model_addOperation, model, operation->code, operation->input_count, operation->inputs,
                      operation->output_count, operation->outputs);
    if (result != 0)
      return ntk_fail_call(session, result, "Model_addOperation", "of models[%u].operations[%u] (code %d, node %d)", index, i,
                           (int)operation->code, (int)operation->node);
  }
  /* A program of constants alone has no inputs; NNAPI wants a pointer all the same. */
  static const uint32_t none = 0;
  result = NTK_CALL(session, Model_identifyInputsAndOutputs, model, source->input_count,
                    source->input_count ? source->inputs : &none, source->output_count, source->outputs);
  if (result != 0) return ntk_fail_call(session, result, "Model_identifyInputsAndOutputs", "of models[%u]", index);
  if (options->flags & NTK_LOAD_RELAX_FP16) {
    if (!NTK_NEED(session, Model_relaxComputationFloat32toFloat16, 2)) return false;
    result = NTK_CALL(session, Model_relaxComputationFloat32toFloat16, model, true);
    if (result != 0) return ntk_fail_call(session, result, "Model_relaxComputationFloat32toFloat16", "of models[%u]", index);
  }
  result = NTK_CALL(session, Model_finish, model);
  return result == 0 || ntk_fail_call(session, result, "Model_finish", "of models[%u] (%u operations)", index, source->operation_count);
}

static void free_models(NtkLoaded *loaded) {
  if (loaded->models != NULL) {
    /* A model lives longer than those that refer to it. */
    for (uint32_t i = loaded->program.model_count; i-- > 0;) {
      uint32_t index = loaded->program.order[i];
      if (loaded->models[index] != NULL) loaded->nnapi->Model_free(loaded->models[index]);
      loaded->models[index] = NULL;
    }
  }
  while (loaded->copies != NULL) {
    NtkCopy *next = loaded->copies->next;
    free(loaded->copies);
    loaded->copies = next;
  }
  loaded->mapped_bytes = loaded->copied_bytes = 0;
}

static bool build_models(NtkSession *session, NtkLoaded *loaded, const LoadOptions *options, bool copy) {
  for (uint32_t i = 0; i < loaded->program.model_count; i++)
    if (!build_model(session, loaded, loaded->program.order[i], options, copy)) return false;
  return true;
}

/* --- compiling --- */

static bool create_compilation(NtkSession *session, NtkLoaded *loaded, const LoadOptions *options) {
  ANeuralNetworksModel *model = loaded->models[0];
  int result;
  if (options->device_count == 0) {
    result = NTK_CALL(session, Compilation_create, model, &loaded->compilation);
    return result == 0 || ntk_fail_call(session, result, "Compilation_create", "of program %u", loaded->number);
  }
  if (!NTK_NEED(session, Compilation_createForDevices, 3)) return false;
  result = NTK_CALL(session, Compilation_createForDevices, model, options->devices, options->device_count, &loaded->compilation);
  loaded->one_device = options->device_count == 1;
  return result == 0 || ntk_fail_call(session, result, "Compilation_createForDevices", "of program %u", loaded->number);
}

static bool configure_compilation(NtkSession *session, NtkLoaded *loaded, const LoadOptions *options) {
  ANeuralNetworksCompilation *compilation = loaded->compilation;
  int result;
  if (options->preference >= 0) {
    result = NTK_CALL(session, Compilation_setPreference, compilation, options->preference);
    if (result != 0) return ntk_fail_call(session, result, "Compilation_setPreference", "to %d", (int)options->preference);
  }
  if (options->priority >= 0) {
    if (!NTK_NEED(session, Compilation_setPriority, 4)) return false;
    result = NTK_CALL(session, Compilation_setPriority, compilation, options->priority);
    if (result != 0) return ntk_fail_call(session, result, "Compilation_setPriority", "to %d", (int)options->priority);
  }
  if (options->timeout != 0) {
    if (!NTK_NEED(session, Compilation_setTimeout, 4)) return false;
    result = NTK_CALL(session, Compilation_setTimeout, compilation, options->timeout);
    if (result != 0)
      return ntk_fail_call(session, result, "Compilation_setTimeout", "to %llu ns (only for one chosen device)",
                           (unsigned long long)options->timeout);
  }
  if (options->cache[0] != '\0') {
    if (!NTK_NEED(session, Compilation_setCaching, 3)) return false;
    if (mkdir(options->cache, PRIVATE_FOLDER) != 0 && errno != EEXIST)
      return ntk_fail(session, NTK_STATUS_SYSTEM, errno, "make the cache directory %.200s: errno %d", options->cache, errno);
    result = NTK_CALL(session, Compilation_setCaching, compilation, options->cache, options->token);
    if (result != 0) return ntk_fail_call(session, result, "Compilation_setCaching", "in %.200s", options->cache);
  }
  return true;
}

static void free_compilation(NtkLoaded *loaded) {
  if (loaded->compilation == NULL) return;
  ntk_nnapi_enter(loaded->nnapi);
  ntk_forget_execution(loaded);
  if (loaded->burst != NULL) loaded->nnapi->Burst_free(loaded->burst);
  loaded->nnapi->Compilation_free(loaded->compilation);
  loaded->burst = NULL;
  loaded->compilation = NULL;
}

static bool compile(NtkSession *session, NtkLoaded *loaded, const LoadOptions *options) {
  if (!create_compilation(session, loaded, options) || !configure_compilation(session, loaded, options)) return false;
  int result = NTK_CALL(session, Compilation_finish, loaded->compilation);
  if (result != 0) return ntk_fail_call(session, result, "Compilation_finish", "of program %u", loaded->number);
  if (!(options->flags & NTK_LOAD_BURST) || session->nnapi->Burst_create == NULL) return true;
  result = NTK_CALL(session, Burst_create, loaded->compilation, &loaded->burst);
  return result == 0 || ntk_fail_call(session, result, "Burst_create", "of program %u", loaded->number);
}

/* A driver in another process may not be allowed to map the model file: then the same model with copied constants compiles. */
static bool may_be_the_mapping(const NtkSession *session, const NtkLoaded *loaded) {
  return session->status == NTK_STATUS_NNAPI && loaded->mapped_bytes > 0 &&
         (session->code == ANEURALNETWORKS_UNMAPPABLE || session->code == ANEURALNETWORKS_OP_FAILED);
}

static bool build_and_compile(NtkSession *session, NtkLoaded *loaded, const LoadOptions *options, uint64_t *build_ns,
                              uint64_t *compile_ns) {
  bool copy = (options->flags & NTK_LOAD_COPY) != 0;
  for (;;) {
    uint64_t begin = ntk_now();
    bool built = build_models(session, loaded, options, copy);
    uint64_t middle = ntk_now();
    bool compiled = built && compile(session, loaded, options);
    *build_ns = middle - begin;
    *compile_ns = ntk_now() - middle;
    if (compiled) return true;
    if (copy || !may_be_the_mapping(session, loaded)) return false;
    free_compilation(loaded);
    free_models(loaded);
    copy = true;
    session->status = NTK_STATUS_OK; /* the second attempt's error counts */
  }
}

/* --- requests --- */

static bool take_devices(NtkSession *session, LoadOptions *options) {
  uint32_t count, number, available = 0;
  if (!ntk_take_u32(session->source, &count)) return ntk_fail_short(session, "number of devices");
  if (count > NTK_MAX_DEVICES) return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "%u devices (at most %d)", count, NTK_MAX_DEVICES);
  if (count > 0 && (!NTK_NEED(session, _getDevice, 3) || !NTK_NEED(session, _getDeviceCount, 3))) return false;
  int result = count > 0 ? NTK_CALL(session, _getDeviceCount, &available) : 0;
  if (result != 0) return ntk_fail_call(session, result, "_getDeviceCount", "of the run time");
  for (uint32_t i = 0; i < count; i++) {
    ANeuralNetworksDevice *device = NULL;
    if (!ntk_take_u32(session->source, &number)) return ntk_fail_short(session, "device number");
    if (number >= available) return ntk_fail(session, NTK_STATUS_STATE, 0, "device %u of %u", number, available);
    result = NTK_CALL(session, _getDevice, number, &device);
    if (result != 0) return ntk_fail_call(session, result, "_getDevice", "of device %u", number);
    options->devices[i] = device;
  }
  options->device_count = count;
  return true;
}

static bool take_program(NtkSession *session, NtkLoaded *loaded) {
  NtkSource *source = session->source;
  uint64_t length, sizes[2] = {0, 0};
  char problem[512];
  if (!ntk_take_u64(source, &length)) return ntk_fail_short(session, "length of the program");
  if (length != source->left)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "a program of %llu bytes, but %llu follow", (unsigned long long)length,
                    (unsigned long long)source->left);
  if (length > NTK_MAX_PROGRAM)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "a program of %llu bytes (at most %d)", (unsigned long long)length, NTK_MAX_PROGRAM);
  uint8_t *bytes = malloc((size_t)length + 1);
  if (bytes == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for a program of %llu bytes", (unsigned long long)length);
  if (!ntk_take(source, bytes, length)) {
    free(bytes);
    return ntk_fail_short(session, "program");
  }
  if (session->files != NULL)
    for (int i = 0; i < 2; i++) sizes[i] = session->files->file[i].size;
  if (!ntk_program_read(&loaded->program, bytes, (size_t)length, sizes, problem, sizeof problem))
    return ntk_fail(session, NTK_STATUS_PROGRAM, 0, "%s", problem);
  return true;
}

/* Everything of LOAD and SUPPORTED; the program is verified afterwards. */
static bool take_load(NtkSession *session, NtkLoaded *loaded, LoadOptions *options) {
  NtkSource *source = session->source;
  memset(options, 0, sizeof *options);
  if (!ntk_take_u32(source, &loaded->number)) return ntk_fail_short(session, "program number");
  if (loaded->number >= NTK_MAX_PROGRAMS)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "program %u: numbers go up to %d", loaded->number, NTK_MAX_PROGRAMS - 1);
  snprintf(session->watch->object, sizeof session->watch->object, "program %u", loaded->number);
  uint32_t library;
  if (!ntk_take_u32(source, &library)) return ntk_fail_short(session, "library number");
  if (library >= NTK_MAX_LIBRARIES)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "library %u: numbers go up to %d", library, NTK_MAX_LIBRARIES - 1);
  if (session->libraries[library].library == NULL)
    return ntk_fail(session, NTK_STATUS_STATE, 0, "library %u is not open: send LIBRARY first", library);
  ntk_use(session, &session->libraries[library]);
  loaded->nnapi = session->nnapi;
  if (!take_devices(session, options)) return false;
  if (!ntk_take_i32(source, &options->preference) || !ntk_take_i32(source, &options->priority) ||
      !ntk_take_u32(source, &options->flags) || !ntk_take_u64(source, &options->timeout))
    return ntk_fail_short(session, "preference, priority, flags and timeout");
  if ((options->flags & ~(uint32_t)(NTK_LOAD_RELAX_FP16 | NTK_LOAD_BURST | NTK_LOAD_COPY)) != 0)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "flags %u are not known", options->flags);
  if (options->preference < -1 || options->priority < -1)
    return ntk_fail(session, NTK_STATUS_MALFORMED, 0, "preference %d, priority %d (-1 = default)", (int)options->preference,
                    (int)options->priority);
  if (!ntk_take_text(session, options->cache, sizeof options->cache, "cache directory")) return false;
  if (!ntk_take(source, options->token, sizeof options->token)) return ntk_fail_short(session, "cache token");
  if (!take_program(session, loaded)) return false;
  loaded->files = session->files;
  if (loaded->files != NULL) loaded->files->references++;
  loaded->models = calloc(loaded->program.model_count, sizeof *loaded->models);
  return loaded->models != NULL || ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory");
}

static bool prepare_arguments(NtkSession *session, NtkLoaded *loaded) {
  const NtkModel *model = &loaded->program.models[0];
  size_t count = (size_t)model->input_count + model->output_count;
  loaded->input_count = model->input_count;
  loaded->output_count = model->output_count;
  loaded->arguments = calloc(count, sizeof *loaded->arguments);
  loaded->places = calloc(count, sizeof *loaded->places);
  loaded->declared = calloc(count, sizeof *loaded->declared);
  if (loaded->arguments == NULL || loaded->places == NULL || loaded->declared == NULL)
    return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for %zu inputs and outputs", count);
  for (size_t i = 0; i < count; i++) {
    uint32_t operand = i < model->input_count ? model->inputs[i] : model->outputs[i - model->input_count];
    loaded->declared[i] = model->operands[operand];
    loaded->arguments[i].operand = &loaded->declared[i];
  }
  ntk_program_trim(&loaded->program, loaded->values_in_program);
  return true;
}

void ntk_loaded_free(NtkSession *session, NtkLoaded *loaded) {
  if (loaded == NULL) return;
  free_compilation(loaded);
  free_models(loaded);
  for (size_t i = 0; loaded->arguments != NULL && i < (size_t)loaded->input_count + loaded->output_count; i++)
    ntk_region_release(&session->arena, &loaded->arguments[i].region);
  free(loaded->arguments);
  free(loaded->places);
  free(loaded->declared);
  free(loaded->models);
  ntk_program_free(&loaded->program);
  ntk_files_release(session, loaded->files);
  free(loaded);
}

NtkLoaded *ntk_find_program(NtkSession *session, uint32_t number) {
  if (number < NTK_MAX_PROGRAMS && session->programs[number] != NULL) {
    snprintf(session->watch->object, sizeof session->watch->object, "program %u", number);
    ntk_use(session, session->programs[number]->nnapi);
    return session->programs[number];
  }
  ntk_fail(session, NTK_STATUS_STATE, 0, "program %u is not loaded", number);
  return NULL;
}

static bool load(NtkSession *session, NtkLoaded *loaded) {
  LoadOptions options;
  uint64_t build_ns, compile_ns;
  if (!take_load(session, loaded, &options)) return false;
  if (session->programs[loaded->number] != NULL)
    return ntk_fail(session, NTK_STATUS_STATE, 0, "program %u is loaded already: unload it first", loaded->number);
  if (!build_and_compile(session, loaded, &options, &build_ns, &compile_ns) || !prepare_arguments(session, loaded)) return false;
  ntk_put_u64(&session->meta, build_ns);
  ntk_put_u64(&session->meta, compile_ns);
  ntk_put_u32(&session->meta, loaded->input_count);
  ntk_put_u32(&session->meta, loaded->output_count);
  ntk_put_u64(&session->meta, loaded->mapped_bytes);
  ntk_put_u64(&session->meta, loaded->copied_bytes);
  return true;
}

bool ntk_handle_load(NtkSession *session) {
  NtkLoaded *loaded = calloc(1, sizeof *loaded);
  if (loaded == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory");
  if (!load(session, loaded)) {
    ntk_loaded_free(session, loaded);
    return false;
  }
  session->programs[loaded->number] = loaded;
  session->program_count++;
  return true;
}

/* Without a chosen device the question goes to all. */
static bool all_devices(NtkSession *session, LoadOptions *options) {
  uint32_t count;
  int result = NTK_CALL(session, _getDeviceCount, &count);
  if (result != 0) return ntk_fail_call(session, result, "_getDeviceCount", "of the run time");
  if (count > NTK_MAX_DEVICES) count = NTK_MAX_DEVICES;
  for (uint32_t i = 0; i < count; i++) {
    ANeuralNetworksDevice *device = NULL;
    result = NTK_CALL(session, _getDevice, i, &device);
    if (result != 0) return ntk_fail_call(session, result, "_getDevice", "of device %u", i);
    options->devices[i] = device;
  }
  options->device_count = count;
  return count > 0 || ntk_fail(session, NTK_STATUS_STATE, 0, "the run time has no devices");
}

static bool supported(NtkSession *session, NtkLoaded *loaded) {
  LoadOptions options;
  if (!take_load(session, loaded, &options)) return false;
  if (!NTK_NEED(session, Model_getSupportedOperationsForDevices, 3) || !NTK_NEED(session, _getDeviceCount, 3)) return false;
  if (options.device_count == 0 && !all_devices(session, &options)) return false;
  if (!build_models(session, loaded, &options, (options.flags & NTK_LOAD_COPY) != 0)) return false;
  uint32_t count = loaded->program.models[0].operation_count;
  bool *answers = calloc(count, sizeof *answers);
  if (answers == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory for %u answers", count);
  int result = NTK_CALL(session, Model_getSupportedOperationsForDevices, loaded->models[0], options.devices, options.device_count, answers);
  if (result != 0) ntk_fail_call(session, result, "Model_getSupportedOperationsForDevices", "of %u operations", count);
  ntk_put_u32(&session->meta, count);
  for (uint32_t i = 0; i < count; i++) ntk_put(&session->meta, &(uint8_t){answers[i] ? 1 : 0}, 1);
  free(answers);
  return result == 0;
}

bool ntk_handle_supported(NtkSession *session) {
  NtkLoaded *loaded = calloc(1, sizeof *loaded);
  if (loaded == NULL) return ntk_fail(session, NTK_STATUS_SYSTEM, ENOMEM, "out of memory");
  bool fine = supported(session, loaded);
  ntk_loaded_free(session, loaded);
  return fine;
}

bool ntk_handle_unload(NtkSession *session) {
  uint32_t number;
  if (!ntk_take_u32(session->source, &number)) return ntk_fail_short(session, "program number");
  if (!ntk_expect_end(session)) return false;
  NtkLoaded *loaded = ntk_find_program(session, number);
  if (loaded == NULL) return false;
  session->programs[number] = NULL;
  session->program_count--;
  ntk_loaded_free(session, loaded);
  return true;
}
