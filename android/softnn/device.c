/* The two devices: an accelerator whose level and refusals are set, and the CPU device that takes all that the run time knows. */
#include "engine.h"

static const ANeuralNetworksDevice accelerator = {.cpu = false}, reference = {.cpu = true};

uint32_t snn_device_count(const SnnSettings *settings) { return settings->accelerator ? 2 : 1; }

const ANeuralNetworksDevice *snn_device(const SnnSettings *settings, uint32_t index) {
  return settings->accelerator && index == 0 ? &accelerator : &reference;
}

int32_t snn_device_level(const SnnSettings *settings, const ANeuralNetworksDevice *device) {
  return device->cpu ? settings->level : settings->device_level;
}

/* The operation, and all of the models it refers to. */
static bool accelerator_knows(const SnnSettings *settings, const ANeuralNetworksModel *model, const SnnModelNode *node) {
  const SnnOperation *op = node->op;
  if (op->code >= SNN_OPERATION_CODES) return false;
  if (settings->refused[op->code]) return snn_refuse(false, "%s is refused by the settings", op->name);
  if (node->level > settings->device_level) {
    return snn_refuse(false, "%s needs feature level %d here, the device has %d", op->name, (int)node->level,
                      (int)settings->device_level);
  }
  for (uint32_t i = 0; i < node->n_in; i++) {
    const SnnTensor *operand = &model->operands[node->operands[i]].t;
    if (operand->lifetime != SNN_SUBGRAPH) continue;
    const ANeuralNetworksModel *inner = model->models[operand->model];
    for (uint32_t k = 0; k < inner->n_nodes; k++) {
      if (!accelerator_knows(settings, inner, &inner->nodes[k])) return false;
    }
  }
  return true;
}

bool snn_device_supports(const SnnSettings *settings, const ANeuralNetworksDevice *device, const ANeuralNetworksModel *model,
                         uint32_t index) {
  if (device->cpu) return model->nodes[index].op->code < SNN_OPERATION_CODES; /* all but vendors' operations */
  if (settings->refuse_every != 0 && (index + 1) % settings->refuse_every == 0) {
    return snn_refuse(false, "operation %u is refused: each %uth is", index, settings->refuse_every);
  }
  return accelerator_knows(settings, model, &model->nodes[index]);
}

int snn_check_devices(const ANeuralNetworksDevice *const *devices, uint32_t count) {
  if (count == 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "the list of devices is empty");
  for (uint32_t i = 0; i < count; i++) {
    if (devices[i] == NULL) return snn_refuse(ANEURALNETWORKS_UNEXPECTED_NULL, "device %u is NULL", i);
    if (devices[i] != &accelerator && devices[i] != &reference) {
      return snn_refuse(ANEURALNETWORKS_BAD_DATA, "device %u does not come from getDevice", i);
    }
  }
  for (uint32_t i = 0; i < count; i++) {
    for (uint32_t k = 0; k < i && k < SNN_MAX_DEVICES; k++) {
      if (devices[i] == devices[k]) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "devices %u and %u are the same", k, i);
    }
  }
  return 0;
}
