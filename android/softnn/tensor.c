/* Operand types, shapes and values: what operation.h offers to the operations, and the checks of the C interface on types. */
#include "engine.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const char *name;
  uint8_t bytes; /* of an element */
  uint8_t level;
  bool scalar;
  bool scaled; /* scale > 0 */
  int32_t least, most; /* zero points */
} SnnTypeInfo;

static const SnnTypeInfo types[] = {
    [ANEURALNETWORKS_FLOAT32] = {"FLOAT32", 4, 1, true, false, 0, 0},
    [ANEURALNETWORKS_INT32] = {"INT32", 4, 1, true, false, 0, 0},
    [ANEURALNETWORKS_UINT32] = {"UINT32", 4, 1, true, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_FLOAT32] = {"TENSOR_FLOAT32", 4, 1, false, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_INT32] = {"TENSOR_INT32", 4, 1, false, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_QUANT8_ASYMM] = {"TENSOR_QUANT8_ASYMM", 1, 1, false, true, 0, 255},
    [ANEURALNETWORKS_BOOL] = {"BOOL", 1, 3, true, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_QUANT16_SYMM] = {"TENSOR_QUANT16_SYMM", 2, 3, false, true, 0, 0},
    [ANEURALNETWORKS_TENSOR_FLOAT16] = {"TENSOR_FLOAT16", 2, 3, false, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_BOOL8] = {"TENSOR_BOOL8", 1, 3, false, false, 0, 0},
    [ANEURALNETWORKS_FLOAT16] = {"FLOAT16", 2, 3, true, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_QUANT8_SYMM_PER_CHANNEL] = {"TENSOR_QUANT8_SYMM_PER_CHANNEL", 1, 3, false, false, 0, 0},
    [ANEURALNETWORKS_TENSOR_QUANT16_ASYMM] = {"TENSOR_QUANT16_ASYMM", 2, 3, false, true, 0, 65535},
    [ANEURALNETWORKS_TENSOR_QUANT8_SYMM] = {"TENSOR_QUANT8_SYMM", 1, 3, false, true, 0, 0},
    [ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED] = {"TENSOR_QUANT8_ASYMM_SIGNED", 1, 4, false, true, -128, 127},
    [ANEURALNETWORKS_MODEL] = {"MODEL", 0, 4, true, false, 0, 0},
};

/* Only passed through: no device computes with them. */
static const SnnTypeInfo oem_scalar = {"OEM_SCALAR", 0, 1, true, false, 0, 0};
static const SnnTypeInfo oem_tensor = {"TENSOR_OEM_BYTE", 1, 1, false, false, 0, 0};

static const SnnTypeInfo *type_info(int32_t type) {
  if (type == ANEURALNETWORKS_OEM_SCALAR) return &oem_scalar;
  if (type == ANEURALNETWORKS_TENSOR_OEM_BYTE) return &oem_tensor;
  return type >= 0 && (size_t)type < sizeof(types) / sizeof(types[0]) ? &types[type] : NULL;
}

bool snn_is_scalar(int32_t type) {
  const SnnTypeInfo *info = type_info(type);
  return info != NULL && info->scalar;
}

size_t snn_element_size(int32_t type) {
  const SnnTypeInfo *info = type_info(type);
  return info != NULL ? info->bytes : 0;
}

bool snn_is_quant8(int32_t type) {
  return type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM || type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
}

const char *snn_type_name(int32_t type) {
  const SnnTypeInfo *info = type_info(type);
  return info != NULL ? info->name : "an unknown type";
}

int32_t snn_type_feature_level(int32_t type) {
  const SnnTypeInfo *info = type_info(type);
  return info != NULL ? info->level : 0;
}

/* --- shapes ------------------------------------------------------------------------------------------------------------------ */

bool snn_count(const SnnTensor *t, size_t *count) {
  size_t element = snn_element_size(t->type);
  uint64_t limit = UINT32_MAX / (element == 0 ? 1 : element), product = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dims[i] != 0 && product > limit / t->dims[i]) {
      /* Still fine when a later dimension is 0: then there is nothing to store. */
      for (uint32_t j = i + 1; j < t->rank; j++) {
        if (t->dims[j] == 0) return *count = 0, true;
      }
      return false;
    }
    product *= t->dims[i];
  }
  *count = (size_t)product;
  return true;
}

bool snn_byte_size(const SnnTensor *t, size_t *bytes) {
  size_t count;
  if (!snn_count(t, &count)) return false;
  *bytes = count * snn_element_size(t->type);
  return *bytes <= SNN_MAX_BYTES;
}

bool snn_fully_specified(const SnnTensor *t) {
  if (!t->rank_known) return false;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dims[i] == 0) return false;
  }
  return true;
}

bool snn_merge_dims(SnnTensor *t, uint32_t rank, const uint32_t *dims) {
  if (rank > SNN_MAX_RANK || snn_is_scalar(t->type)) return rank == 0;
  if (rank == 0) return true;
  if (!t->rank_known) {
    t->rank_known = true;
    t->rank = rank;
    memcpy(t->dims, dims, rank * sizeof(dims[0]));
    return true;
  }
  if (t->rank != rank) return false;
  for (uint32_t i = 0; i < rank; i++) {
    if (t->dims[i] != 0 && dims[i] != 0 && t->dims[i] != dims[i]) return false;
  }
  for (uint32_t i = 0; i < rank; i++) {
    if (t->dims[i] == 0) t->dims[i] = dims[i];
  }
  return true;
}

static int read_quantization(const ANeuralNetworksOperandType *type, const SnnTypeInfo *info) {
  bool scale_ok;
  if (info->scaled) {
    scale_ok = isfinite(type->scale) && type->scale > 0;
  } else if (type->type == ANEURALNETWORKS_TENSOR_INT32) {
    scale_ok = isfinite(type->scale) && type->scale >= 0;
  } else {
    scale_ok = type->scale == 0;
  }
  if (!scale_ok) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: scale %g is not allowed", info->name, (double)type->scale);
  if (type->zeroPoint < info->least || type->zeroPoint > info->most) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: zero point %d is not in [%d, %d]", info->name, (int)type->zeroPoint,
                      (int)info->least, (int)info->most);
  }
  return 0;
}

int snn_read_type(const ANeuralNetworksOperandType *type, int32_t level, SnnTensor *t) {
  const SnnTypeInfo *info = type_info(type->type);
  if (info == NULL) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "operand type %d is not known", (int)type->type);
  if (info->level > level) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "operand type %s needs feature level %d, the run time has %d", info->name,
                      info->level, (int)level);
  }
  uint32_t rank = type->dimensionCount;
  if (info->scalar && rank != 0) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: a scalar has no dimensions, %u are given", info->name, rank);
  }
  if (rank > SNN_MAX_RANK) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: rank %u is above %d", info->name, rank, SNN_MAX_RANK);
  }
  if (rank != 0 && type->dimensions == NULL) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: %u dimensions, but the list is NULL", info->name, rank);
  }
  if (!info->scalar && rank == 0 && level < 3) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: a tensor of unknown rank needs feature level 3", info->name);
  }
  int code = read_quantization(type, info);
  if (code != 0) return code;
  memset(t, 0, sizeof(*t));
  t->type = type->type;
  t->rank_known = info->scalar || rank != 0;
  t->rank = rank;
  if (rank != 0) memcpy(t->dims, type->dimensions, rank * sizeof(t->dims[0]));
  t->scale = type->scale;
  t->zero_point = type->zeroPoint;
  /* Unknown dimensions count as 1: what is known must fit already. */
  SnnTensor least = *t;
  for (uint32_t i = 0; i < rank; i++) least.dims[i] = least.dims[i] == 0 ? 1 : least.dims[i];
  size_t bytes;
  if (!snn_byte_size(&least, &bytes)) {
    return snn_refuse(ANEURALNETWORKS_BAD_DATA, "%s: the dimensions need more than 4 GiB", info->name);
  }
  return 0;
}

/* --- what operations call ---------------------------------------------------------------------------------------------------- */

int snn_fail(SnnNode *node, const char *format, ...) {
  char message[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  snn_log("%s: %s", node->op->name, message);
  return SNN_INVALID;
}

static int get_scalar(SnnNode *node, uint32_t input, int32_t type, void *value) {
  const SnnTensor *t = node->in[input];
  SNN_CHECK(node, t->type == type, "input %u has type %s; %s expected", input, snn_type_name(t->type), snn_type_name(type));
  SNN_CHECK(node, snn_present(t), "input %u is omitted", input);
  if (t->data == NULL) return SNN_NEEDS_DATA;
  memcpy(value, t->data, snn_element_size(type));
  return SNN_OK;
}

int snn_get_i32(SnnNode *node, uint32_t input, int32_t *value) { return get_scalar(node, input, ANEURALNETWORKS_INT32, value); }

int snn_get_f32(SnnNode *node, uint32_t input, float *value) {
  if (node->in[input]->type != ANEURALNETWORKS_FLOAT16) return get_scalar(node, input, ANEURALNETWORKS_FLOAT32, value);
  uint16_t half = 0;
  SNN_TRY(get_scalar(node, input, ANEURALNETWORKS_FLOAT16, &half));
  *value = snn_half_to_float(half);
  return SNN_OK;
}

int snn_get_bool(SnnNode *node, uint32_t input, bool *value) {
  uint8_t byte = 0;
  SNN_TRY(get_scalar(node, input, ANEURALNETWORKS_BOOL, &byte));
  *value = byte != 0;
  return SNN_OK;
}

int snn_set_shape(SnnNode *node, uint32_t output, uint32_t rank, const uint32_t *dims) {
  SnnTensor *t = node->out[output];
  SnnSlot *slot = snn_slot(t);
  const SnnTensor *declared = slot->declared;
  SNN_CHECK(node, rank <= SNN_MAX_RANK, "output %u: rank %u is above %d", output, rank, SNN_MAX_RANK);
  SNN_CHECK(node, !snn_is_scalar(t->type) || rank == 0, "output %u is a scalar; it cannot take rank %u", output, rank);
  if (declared->rank_known) {
    SNN_CHECK(node, declared->rank == rank, "output %u is declared with rank %u; the result has rank %u", output, declared->rank, rank);
    for (uint32_t i = 0; i < rank; i++) {
      SNN_CHECK(node, declared->dims[i] == 0 || declared->dims[i] == dims[i],
                "output %u is declared with dimension %u = %u; the result has %u", output, i, declared->dims[i], dims[i]);
    }
  }
  SnnTensor shaped = *t;
  shaped.rank_known = true;
  shaped.rank = rank;
  if (rank != 0) memcpy(shaped.dims, dims, rank * sizeof(dims[0]));
  size_t bytes;
  SNN_CHECK(node, snn_byte_size(&shaped, &bytes), "output %u needs more than 4 GiB", output);
  memcpy(t->dims, shaped.dims, sizeof(t->dims));
  t->rank = rank;
  t->rank_known = true;
  t->length = slot->bytes = bytes;
  slot->shape_known = true;
  return SNN_OK;
}

int snn_set_shape_like(SnnNode *node, uint32_t output, const SnnTensor *like) {
  return snn_set_shape(node, output, like->rank, like->dims);
}

void *snn_params(SnnNode *node, size_t bytes) {
  enum { SMALL = 1024, PLAIN = 16 };
  SnnStep *step = snn_step(node);
  node->params = NULL;
  if (step->params.data == NULL) { /* small ones need not be aligned to more than the heap does */
    step->params.data = snn_slab_take(&node->context->instance->slab, bytes, bytes < SMALL ? PLAIN : SNN_ALIGNMENT);
    if (step->params.data == NULL) return NULL;
    step->params_apart = false;
    step->params.capacity = bytes;
  } else if (bytes > step->params.capacity) { /* for other shapes: there may be many */
    if (!step->params_apart) step->params = (SnnBuffer){NULL, 0};
    step->params_apart = true;
    if (!snn_reserve(&step->params, bytes)) return NULL;
  }
  node->params = step->params.data;
  memset(node->params, 0, bytes);
  return node->params;
}

void snn_scratch(SnnNode *node, size_t bytes) { node->scratch_bytes = bytes; }
