/* Compilations: the devices' consent, a prepared instance, a pool of instances for executions that run at the same time. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

ANeuralNetworksCompilation *snn_compilation_retain(const ANeuralNetworksCompilation *compilation) {
  ANeuralNetworksCompilation *shared = (ANeuralNetworksCompilation *)(uintptr_t)compilation;
  atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
  return shared;
}

void snn_compilation_release(ANeuralNetworksCompilation *compilation) {
  if (compilation == NULL || atomic_fetch_sub_explicit(&compilation->references, 1, memory_order_acq_rel) != 1) return;
  while (compilation->pool != NULL) {
    SnnInstance *next = compilation->pool->next;
    snn_instance_free(compilation->pool);
    compilation->pool = next;
  }
  snn_threads_release(compilation->shared.threads);
  snn_packed_release(compilation->shared.packed);
  snn_model_release(compilation->model);
  free(compilation->cache_directory);
  free(compilation);
}

int snn_compilation_create(ANeuralNetworksModel *model, const ANeuralNetworksDevice *const *devices, uint32_t count,
                           ANeuralNetworksCompilation **result) {
  if (!model->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Compilation_create: the model is not finished");
  if (devices != NULL) {
    int code = snn_check_devices(devices, count);
    if (code != 0) return code;
  }
  ANeuralNetworksCompilation *compilation = snn_allocate(1, sizeof(*compilation));
  if (compilation == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  atomic_init(&compilation->references, 1);
  compilation->model = snn_model_retain(model);
  compilation->shared.packed = &model->packed;
  snn_packed_retain(&model->packed);
  compilation->settings = snn_settings();
  compilation->shared.threads = compilation->settings->threads;
  snn_threads_retain(compilation->shared.threads, compilation->settings->cores);
  compilation->preference = ANEURALNETWORKS_PREFER_FAST_SINGLE_ANSWER;
  compilation->priority = ANEURALNETWORKS_PRIORITY_DEFAULT;
  compilation->explicit_devices = devices != NULL;
  compilation->n_devices = devices != NULL ? count : snn_device_count(compilation->settings);
  for (uint32_t i = 0; i < compilation->n_devices; i++) {
    compilation->devices[i] = devices != NULL ? devices[i] : snn_device(compilation->settings, i);
  }
  *result = compilation;
  return 0;
}

bool snn_one_device(const ANeuralNetworksCompilation *compilation) {
  return compilation->explicit_devices && compilation->n_devices == 1;
}

/* Each operation needs a device that takes it. */
static int check_devices(const ANeuralNetworksCompilation *compilation) {
  const ANeuralNetworksModel *model = compilation->model;
  for (uint32_t i = 0; i < model->n_nodes; i++) {
    bool supported = false;
    for (uint32_t d = 0; d < compilation->n_devices && !supported; d++) {
      supported = snn_device_supports(compilation->settings, compilation->devices[d], model, i);
    }
    if (!supported) {
      return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Compilation_finish: no chosen device runs operation %u (%s)", i,
                        model->nodes[i].op->name);
    }
  }
  return 0;
}

static SnnInstance *new_instance(ANeuralNetworksCompilation *compilation) {
  uint32_t next_id = 0;
  return snn_instance_create(compilation->model, &compilation->shared, &next_id);
}

/* The first instance, prepared for the shapes that the model declares. */
static int prepare(ANeuralNetworksCompilation *compilation) {
  const ANeuralNetworksModel *model = compilation->model;
  SnnInstance *instance = new_instance(compilation);
  SnnArgument *inputs = snn_allocate(model->n_inputs, sizeof(inputs[0]));
  int code = instance == NULL || inputs == NULL ? SNN_NO_MEMORY : SNN_OK;
  for (uint32_t i = 0; code == SNN_OK && i < model->n_inputs; i++) inputs[i].t = model->operands[model->inputs[i]].t;
  if (code == SNN_OK) code = snn_instance_prepare(instance, inputs, false);
  free(inputs);
  if (code != SNN_OK) {
    snn_instance_free(instance);
    return code == SNN_NO_MEMORY ? ANEURALNETWORKS_OUT_OF_MEMORY : ANEURALNETWORKS_OP_FAILED;
  }
  compilation->pool = instance;
  return 0;
}

/* What the compilation holds beside the model's constants. */
static void describe_memory(const ANeuralNetworksCompilation *compilation) {
  size_t packed = 0, parameters = 0;
  SnnPackedSet *set = compilation->shared.packed;
  const SnnInstance *instance = compilation->pool;
  snn_lock(&set->lock);
  for (const SnnPacked *block = set->first; block != NULL; block = block->next) packed += block->bytes;
  snn_unlock(&set->lock);
  for (uint32_t i = 0; i < compilation->model->n_nodes; i++) parameters += instance->steps[i].params.capacity;
  snn_log("compiled %u operations: %zu bytes of packed constants, %zu of parameters, %zu for values", compilation->model->n_nodes, packed,
          parameters, instance->arena_bytes);
}

int snn_compilation_finish(ANeuralNetworksCompilation *compilation, uint64_t start) {
  if (compilation->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Compilation_finish: it is finished");
  compilation->finished = true;
  uint64_t deadline = snn_deadline(start, compilation->timeout);
  int code = check_devices(compilation);
  if (code != 0) return code;
  compilation->shared.fast_floats = compilation->preference == ANEURALNETWORKS_PREFER_SUSTAINED_SPEED;
  if (compilation->cache_directory != NULL) snn_cache_load(compilation);
  code = prepare(compilation);
  snn_model_rest(compilation->model);
  if (code != 0) return code;
  if (snn_now() >= deadline) {
    return snn_refuse(ANEURALNETWORKS_MISSED_DEADLINE_TRANSIENT, "Compilation_finish: the deadline passed");
  }
  if (compilation->cache_directory != NULL) snn_cache_store(compilation);
  compilation->valid = true;
  describe_memory(compilation);
  return 0;
}

SnnInstance *snn_compilation_take(ANeuralNetworksCompilation *compilation) {
  snn_lock(&compilation->lock);
  SnnInstance *instance = compilation->pool;
  if (instance != NULL) compilation->pool = instance->next;
  snn_unlock(&compilation->lock);
  return instance != NULL ? instance : new_instance(compilation);
}

void snn_compilation_give(ANeuralNetworksCompilation *compilation, SnnInstance *instance) {
  snn_lock(&compilation->lock);
  instance->next = compilation->pool;
  compilation->pool = instance;
  snn_unlock(&compilation->lock);
}
