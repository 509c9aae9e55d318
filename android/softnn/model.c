/* Building a model: operands, values, operations. Every refusal leaves the model as it was. */
#include "engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* First capacities: so large that heaps take them from the system as they are. What is not used costs nothing, and all that finishing leaves
 * over goes back. */
enum { OPERANDS = 640, NODES = 2560 };

#define BAD_DATA(...) snn_refuse(ANEURALNETWORKS_BAD_DATA, __VA_ARGS__)

ANeuralNetworksModel *snn_model_retain(const ANeuralNetworksModel *model) {
  ANeuralNetworksModel *shared = (ANeuralNetworksModel *)(uintptr_t)model;
  atomic_fetch_add_explicit(&shared->references, 1, memory_order_relaxed);
  return shared;
}

void snn_model_release(ANeuralNetworksModel *model) {
  if (model == NULL || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < model->n_operands; i++) snn_memory_release(model->operands[i].memory);
  snn_slab_free(&model->slab);
  for (uint32_t i = 0; i < model->n_models; i++) snn_model_release(model->models[i]);
  free(model->operands);
  free(model->nodes);
  free(model->models);
  free(model->inputs);
  free(model->outputs);
  free(model->order);
  free(model);
}

int snn_model_create(ANeuralNetworksModel **result) {
  ANeuralNetworksModel *model = snn_allocate(1, sizeof(*model));
  if (model == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  atomic_init(&model->references, 1);
  model->level = snn_settings()->level;
  *result = model;
  return 0;
}

static int check_open(const ANeuralNetworksModel *model, const char *call) {
  if (model->finished) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_%s: the model is finished", call);
  if (model->invalid) return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_%s: the model is invalid", call);
  return 0;
}

int snn_model_add_operand(ANeuralNetworksModel *model, const ANeuralNetworksOperandType *type) {
  int code = check_open(model, "addOperand");
  if (code != 0) return code;
  SnnOperand operand;
  memset(&operand, 0, sizeof(operand));
  code = snn_read_type(type, model->level, &operand.t);
  if (code != 0) return code;
  operand.t.lifetime = SNN_TEMPORARY;
  if (model->n_operands >= INT32_MAX) return BAD_DATA("Model_addOperand: too many operands");
  uint32_t most = model->n_operands + 1;
  if (!snn_grow((void **)&model->operands, &model->operand_capacity, most < OPERANDS ? OPERANDS : most, sizeof(operand))) {
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  model->operands[model->n_operands++] = operand;
  return 0;
}

/* --- values ------------------------------------------------------------------------------------------------------------------ */

/* The operand that a set... call means; it must not be an input or output of the model. */
static int find_operand(ANeuralNetworksModel *model, int32_t index, const char *call, SnnOperand **operand) {
  int code = check_open(model, call);
  if (code != 0) return code;
  if (index < 0 || (uint32_t)index >= model->n_operands) {
    return BAD_DATA("Model_%s: operand %d, but there are %u", call, (int)index, model->n_operands);
  }
  *operand = &model->operands[index];
  SnnLifetime lifetime = (*operand)->t.lifetime;
  if (lifetime == SNN_MODEL_INPUT || lifetime == SNN_MODEL_OUTPUT) {
    return BAD_DATA("Model_%s: operand %d is an input or output of the model", call, (int)index);
  }
  return 0;
}

static int check_value_length(const SnnOperand *operand, int32_t index, size_t length) {
  const SnnTensor *t = &operand->t;
  size_t bytes = 0;
  if (t->type == ANEURALNETWORKS_MODEL) return BAD_DATA("operand %d is a MODEL; it takes setOperandValueFromModel", (int)index);
  if (t->type == ANEURALNETWORKS_OEM_SCALAR) return 0; /* its size is known to the vendor only */
  if (!snn_fully_specified(t)) return BAD_DATA("operand %d gets a value, but its dimensions are not known", (int)index);
  if (!snn_byte_size(t, &bytes) || bytes != length) {
    return BAD_DATA("operand %d of type %s has %zu bytes; the value has %zu", (int)index, snn_type_name(t->type), bytes, length);
  }
  return 0;
}

static void forget_value(SnnOperand *operand) {
  snn_memory_release(operand->memory);
  operand->memory = NULL;
  operand->t.data = NULL;
  operand->t.length = 0;
}

int snn_model_set_value(ANeuralNetworksModel *model, int32_t index, const void *buffer, size_t length) {
  SnnOperand *operand;
  int code = find_operand(model, index, "setOperandValue", &operand);
  if (code != 0) return code;
  if (buffer == NULL) {
    if (length != 0) return BAD_DATA("Model_setOperandValue: operand %d gets NULL with length %zu", (int)index, length);
    forget_value(operand);
    operand->t.lifetime = SNN_OMITTED;
    return 0;
  }
  code = check_value_length(operand, index, length);
  if (code != 0) return code;
  void *value = (void *)(uintptr_t)buffer;
  if (length <= ANEURALNETWORKS_MAX_SIZE_OF_IMMEDIATELY_COPIED_VALUES) {
    value = snn_slab_take(&model->slab, length, sizeof(int64_t)); /* a former value stays there until the model goes */
    if (value == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
    memcpy(value, buffer, length);
  }
  forget_value(operand);
  operand->t.data = value;
  operand->t.length = length;
  operand->t.lifetime = SNN_CONSTANT;
  return 0;
}

int snn_model_set_memory(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksMemory *memory, size_t offset,
                         size_t length) {
  SnnOperand *operand;
  int code = find_operand(model, index, "setOperandValueFromMemory", &operand);
  if (code == 0) code = check_value_length(operand, index, length);
  if (code == 0) code = snn_memory_check_constant(memory, offset, length);
  if (code != 0) return code;
  ANeuralNetworksMemory *shared = snn_memory_retain(memory);
  forget_value(operand);
  operand->memory = shared;
  operand->t.data = shared->data + offset;
  operand->t.length = length;
  operand->t.lifetime = SNN_CONSTANT;
  return 0;
}

int snn_model_set_model(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksModel *value) {
  SnnOperand *operand;
  int code = check_open(model, "setOperandValueFromModel");
  if (code != 0) return code;
  if (!value->finished || value->invalid) {
    return snn_refuse(ANEURALNETWORKS_BAD_STATE, "Model_setOperandValueFromModel: the referenced model is not finished");
  }
  code = find_operand(model, index, "setOperandValueFromModel", &operand);
  if (code != 0) return code;
  if (operand->t.type != ANEURALNETWORKS_MODEL) {
    return BAD_DATA("Model_setOperandValueFromModel: operand %d has type %s", (int)index, snn_type_name(operand->t.type));
  }
  if (value->depth >= SNN_MAX_DEPTH) return BAD_DATA("Model_setOperandValueFromModel: models are nested too deeply");
  if (!snn_grow((void **)&model->models, &model->model_capacity, model->n_models + 1, sizeof(model->models[0]))) {
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  model->models[model->n_models] = snn_model_retain(value);
  operand->t.model = model->n_models++;
  operand->t.lifetime = SNN_SUBGRAPH;
  return 0;
}

void snn_model_rest(const ANeuralNetworksModel *model) {
  const ANeuralNetworksMemory *last = NULL;
  for (uint32_t i = 0; i < model->n_operands; i++) {
    const SnnOperand *operand = &model->operands[i];
    if (operand->memory != NULL && operand->memory != last) snn_memory_rest(operand->memory);
    if (operand->memory != NULL) last = operand->memory;
  }
  for (uint32_t i = 0; i < model->n_models; i++) snn_model_rest(model->models[i]);
}

/* No operand can have an extension's type, so none can take its data. */
int snn_model_check_extension_data(ANeuralNetworksModel *model, int32_t index) {
  SnnOperand *operand;
  int code = find_operand(model, index, "setOperandExtensionData", &operand);
  if (code != 0) return code;
  return BAD_DATA("Model_setOperandExtensionData: operand %d has type %s, which is of no extension", (int)index,
                  snn_type_name(operand->t.type));
}

int snn_model_set_channels(ANeuralNetworksModel *model, int32_t index, const ANeuralNetworksSymmPerChannelQuantParams *channels) {
  int code = check_open(model, "setOperandSymmPerChannelQuantParams");
  if (code != 0) return code;
  if (index < 0 || (uint32_t)index >= model->n_operands) {
    return BAD_DATA("operand %d, but there are %u", (int)index, model->n_operands);
  }
  SnnTensor *t = &model->operands[index].t;
  if (t->type != ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL) {
    return BAD_DATA("operand %d has type %s, which has no scales per channel", (int)index, snn_type_name(t->type));
  }
  if (!t->rank_known || channels->channelDim >= t->rank) {
    return BAD_DATA("operand %d has no dimension %u", (int)index, channels->channelDim);
  }
  uint32_t count = channels->scaleCount;
  if (channels->scales == NULL || count == 0 || count != t->dims[channels->channelDim]) {
    return BAD_DATA("operand %d: %u scales for dimension %u of %u", (int)index, count, channels->channelDim,
                    t->dims[channels->channelDim]);
  }
  for (uint32_t i = 0; i < count; i++) {
    if (!isfinite(channels->scales[i]) || !(channels->scales[i] > 0)) {
      return BAD_DATA("operand %d: scale %u is %g", (int)index, i, (double)channels->scales[i]);
    }
  }
  size_t bytes;
  if (__builtin_mul_overflow(count, sizeof(float), &bytes)) return ANEURALNETWORKS_OUT_OF_MEMORY;
  float *copy = snn_slab_take(&model->slab, bytes, sizeof(float));
  if (copy == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  memcpy(copy, channels->scales, bytes);
  t->channel_scales = copy;
  t->channel_dim = channels->channelDim;
  t->channel_count = count;
  return 0;
}

/* --- operations -------------------------------------------------------------------------------------------------------------- */

static int check_list(const ANeuralNetworksModel *model, uint32_t count, const uint32_t *list, const char *what) {
  for (uint32_t i = 0; i < count; i++) {
    if (list[i] >= model->n_operands) return BAD_DATA("%s %u is operand %u, but there are %u", what, i, list[i], model->n_operands);
  }
  return 0;
}

int snn_validate_node(const ANeuralNetworksModel *model, const SnnModelNode *source) {
  uint32_t count = source->n_in + source->n_out;
  SnnTensor **pointers = snn_allocate(count, sizeof(pointers[0]));
  struct SnnContext context = {.model = model};
  if (pointers == NULL) return SNN_INVALID;
  int level = source->op->feature_level;
  for (uint32_t i = 0; i < count; i++) {
    pointers[i] = (SnnTensor *)(uintptr_t)&model->operands[source->operands[i]].t;
    int32_t type_level = snn_type_feature_level(pointers[i]->type);
    if (type_level > level) level = type_level;
  }
  SnnNode node = {.op = source->op, .n_in = source->n_in, .n_out = source->n_out, .in = pointers, .out = pointers + source->n_in,
                  .context = &context};
  int answer = SNN_OK;
  for (uint32_t i = 0; i < source->n_in && answer == SNN_OK; i++) {
    if (pointers[i]->lifetime == SNN_OMITTED && !(source->op->flags & SNN_ALLOW_OMITTED)) {
      answer = snn_fail(&node, "input %u must not be omitted", i);
    }
  }
  if (answer == SNN_OK) answer = source->op->validate(&node);
  if (answer > level) level = answer;
  free(pointers);
  return answer < 0 ? SNN_INVALID : level;
}

/* Vendors' operations can be in a model, but no device here runs them. */
#ifdef SNN_SELECTED
#define SNN_NOT_BUILT ", or left out of this library: it was built for chosen operations"
#else
#define SNN_NOT_BUILT ""
#endif

static int oem_validate(SnnNode *node) { return node->op->feature_level; }
static int oem_prepare(SnnNode *node) { return snn_fail(node, "no device runs it"), SNN_BAD; }
static const SnnOperation oem_operation = {
    ANEURALNETWORKS_OEM_OPERATION, "OEM_OPERATION", 1, oem_validate, oem_prepare, oem_prepare, SNN_ALLOW_OMITTED};

int snn_model_add_operation(ANeuralNetworksModel *model, int32_t code, uint32_t n_in, const uint32_t *in, uint32_t n_out,
                            const uint32_t *out) {
  int result = check_open(model, "addOperation");
  if (result == 0) result = check_list(model, n_in, in, "input");
  if (result == 0) result = check_list(model, n_out, out, "output");
  if (result != 0) return result;
  const SnnOperation *op = code == ANEURALNETWORKS_OEM_OPERATION ? &oem_operation : snn_find_operation(code);
  if (op == NULL) return BAD_DATA("Model_addOperation: operation %d is not known" SNN_NOT_BUILT, (int)code);
  if (op->feature_level > model->level) {
    return BAD_DATA("Model_addOperation: %s needs feature level %d, the run time has %d", op->name, (int)op->feature_level,
                    (int)model->level);
  }
  if (n_in > INT32_MAX || n_out > INT32_MAX) return BAD_DATA("Model_addOperation: too many operands");
  size_t list, most = model->n_nodes + 1;
  if (__builtin_mul_overflow((size_t)n_in + n_out, sizeof(uint32_t), &list) ||
      !snn_grow((void **)&model->nodes, &model->node_capacity, most < NODES ? NODES : (uint32_t)most, sizeof(model->nodes[0]))) {
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  SnnModelNode node = {.op = op, .n_in = n_in, .n_out = n_out};
  SnnSlab before = model->slab;
  node.operands = snn_slab_take(&model->slab, list, sizeof(uint32_t));
  if (node.operands == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  for (uint32_t i = 0; i < n_in; i++) node.operands[i] = in[i];
  for (uint32_t i = 0; i < n_out; i++) node.operands[n_in + i] = out[i];
  node.level = snn_validate_node(model, &node);
  if (node.level == SNN_INVALID || node.level > model->level) {
    if (node.level > model->level) {
      snn_log("Model_addOperation: %s needs feature level %d in this form, the run time has %d", op->name, (int)node.level,
              (int)model->level);
    }
    if (model->slab.newest == before.newest) model->slab = before; /* else the list stays until the model goes */
    return ANEURALNETWORKS_BAD_DATA;
  }
  model->nodes[model->n_nodes++] = node;
  return 0;
}

/* --- inputs and outputs ------------------------------------------------------------------------------------------------------ */

/* Every operand of the list must still be without a role, and stand there once. Gives the role to the first `count` of them. */
static int take_roles(ANeuralNetworksModel *model, uint32_t count, const uint32_t *list, SnnLifetime lifetime, uint32_t *taken) {
  for (*taken = 0; *taken < count; ++*taken) {
    SnnTensor *t = &model->operands[list[*taken]].t;
    if (t->lifetime != SNN_TEMPORARY) {
      return BAD_DATA("Model_identifyInputsAndOutputs: operand %u has a value or a role already", list[*taken]);
    }
    if (t->type == ANEURALNETWORKS_MODEL) {
      return BAD_DATA("Model_identifyInputsAndOutputs: operand %u is a MODEL", list[*taken]);
    }
    t->lifetime = lifetime;
  }
  return 0;
}

static void drop_roles(ANeuralNetworksModel *model, uint32_t count, const uint32_t *list) {
  for (uint32_t i = 0; i < count; i++) model->operands[list[i]].t.lifetime = SNN_TEMPORARY;
}

int snn_model_identify(ANeuralNetworksModel *model, uint32_t n_in, const uint32_t *in, uint32_t n_out, const uint32_t *out) {
  int code = check_open(model, "identifyInputsAndOutputs");
  if (code == 0) code = check_list(model, n_in, in, "input");
  if (code == 0) code = check_list(model, n_out, out, "output");
  if (code != 0) return code;
  if (model->identified) return BAD_DATA("Model_identifyInputsAndOutputs: they are identified already");
  uint32_t *copy = snn_allocate((size_t)n_in, sizeof(copy[0])), *out_copy = snn_allocate((size_t)n_out, sizeof(copy[0]));
  uint32_t taken_in = 0, taken_out = 0;
  if (copy == NULL || out_copy == NULL) code = ANEURALNETWORKS_OUT_OF_MEMORY;
  if (code == 0) code = take_roles(model, n_in, in, SNN_MODEL_INPUT, &taken_in);
  if (code == 0) code = take_roles(model, n_out, out, SNN_MODEL_OUTPUT, &taken_out);
  if (code != 0) {
    drop_roles(model, taken_in, in);
    drop_roles(model, taken_out, out);
    free(copy);
    free(out_copy);
    return code;
  }
  for (uint32_t i = 0; i < n_in; i++) copy[i] = in[i];
  for (uint32_t i = 0; i < n_out; i++) out_copy[i] = out[i];
  model->inputs = copy;
  model->outputs = out_copy;
  model->n_inputs = n_in;
  model->n_outputs = n_out;
  model->identified = true;
  return 0;
}

int snn_model_relax(ANeuralNetworksModel *model, bool allow) {
  int code = check_open(model, "relaxComputationFloat32toFloat16");
  if (code == 0) model->relaxed = allow;
  return code;
}
