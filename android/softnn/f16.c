/* float16 for operations that know float32 only: each float16 operand of such a step has a float32 shadow, which the operation sees
 * in its place. Constants are widened once; inputs before and outputs after each execution. */
#include "engine.h"

#include <string.h>

float snn_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 0x1Fu, fraction = half & 0x3FFu, bits;
  if (exponent == 0x1F) {
    bits = sign | 0x7F800000u | fraction << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  } else {
    /* Zero or subnormal: fraction * 2^-24 is exact in float32. */
    float value = (float)fraction * 0x1p-24f;
    memcpy(&bits, &value, sizeof(bits));
    bits |= sign;
  }
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

uint16_t snn_float_to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return (uint16_t)(sign | 0x7E00u); /* NaN */
  if (bits >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u); /* 65520 and above round to infinity */
  if (bits < 0x33000001u) return sign;                        /* 2^-25 and below round to zero */
  if (bits < 0x38800000u) { /* subnormal: in units of 2^-24, ties to even */
    uint32_t shift = 126 - (bits >> 23), fraction = (bits & 0x7FFFFFu) | 0x800000u;
    uint32_t whole = fraction >> shift, rest = fraction & ((1u << shift) - 1), half = 1u << (shift - 1);
    return (uint16_t)(sign | (whole + (rest > half || (rest == half && (whole & 1)))));
  }
  uint32_t rounded = bits + 0xFFFu + (bits >> 13 & 1); /* ties to even; a carry enters the exponent as it should */
  return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

void snn_widen(float *to, const uint16_t *from, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = snn_half_to_float(from[i]);
}

void snn_narrow(uint16_t *to, const float *from, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = snn_float_to_half(from[i]);
}

bool snn_is_half(int32_t type) { return type == ANEURALNETWORKS_TENSOR_FLOAT16 || type == ANEURALNETWORKS_FLOAT16; }

/* --- shadows ------------------------------------------------------------------------------------------------------------------ */

/* What the operation would see without shadows, and its slot: NULL where it is a constant. */
static SnnTensor *original(const SnnStep *step, uint32_t index) {
  return snn_operand_tensor(step->node.context->instance, step->source->operands[index]);
}

static SnnSlot *original_slot(const SnnStep *step, uint32_t index) {
  return snn_operand_slot(step->node.context->instance, step->source->operands[index]);
}

int snn_shadows_describe(SnnStep *step) {
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_in + step->node.n_out; i++) {
    const SnnTensor *tensor = original(step, i);
    const SnnSlot *slot = original_slot(step, i);
    SnnSlot *shadow = &step->shadows[i];
    if (!snn_is_half(tensor->type)) continue;
    void *kept = shadow->tensor.lifetime == SNN_CONSTANT ? shadow->tensor.data : NULL;
    shadow->tensor = *tensor;
    shadow->tensor.type = tensor->type == ANEURALNETWORKS_FLOAT16 ? ANEURALNETWORKS_FLOAT32 : ANEURALNETWORKS_TENSOR_FLOAT32;
    shadow->tensor.data = kept;
    shadow->declared = slot == NULL ? tensor : slot->declared;
    shadow->shape_known = slot == NULL || slot->shape_known;
    if (!shadow->shape_known) continue;
    size_t count;
    if (!snn_count(&shadow->tensor, &count)) return snn_fail(&step->node, "a float16 operand is too large to widen"), SNN_BAD;
    shadow->tensor.length = shadow->bytes = count * sizeof(float);
    if (tensor->lifetime == SNN_CONSTANT && kept == NULL) {
      if (!snn_reserve(&shadow->own, shadow->bytes)) return SNN_NO_MEMORY;
      snn_widen(shadow->own.data, tensor->data, count);
      shadow->tensor.data = shadow->own.data;
    }
  }
  return SNN_OK;
}

void snn_shadows_accept(SnnStep *step) {
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_out; i++) {
    SnnSlot *slot = original_slot(step, step->node.n_in + i), *shadow = &step->shadows[step->node.n_in + i];
    if (!snn_is_half(slot->tensor.type)) continue;
    slot->shape_known = shadow->shape_known;
    slot->tensor.rank_known = shadow->tensor.rank_known;
    slot->tensor.rank = shadow->tensor.rank;
    memcpy(slot->tensor.dims, shadow->tensor.dims, sizeof(slot->tensor.dims));
    slot->tensor.length = slot->bytes = shadow->tensor.length / 2;
  }
}

/* A shadow with bytes of its own in each execution. */
static bool moves(const SnnTensor *tensor) {
  return snn_is_half(tensor->type) && tensor->lifetime != SNN_CONSTANT && tensor->lifetime != SNN_OMITTED;
}

size_t snn_shadows_bytes(const SnnStep *step) {
  size_t bytes = 0;
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_in + step->node.n_out; i++) {
    if (moves(original(step, i)) && __builtin_add_overflow(bytes, snn_align(step->shadows[i].bytes), &bytes)) return SIZE_MAX;
  }
  return bytes;
}

void snn_bind_workspace(SnnStep *step, uint8_t *workspace) {
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_in + step->node.n_out; i++) {
    if (!moves(original(step, i))) continue;
    step->shadows[i].tensor.data = workspace;
    workspace += snn_align(step->shadows[i].bytes);
  }
  step->node.scratch = workspace;
}

bool snn_shadows_reserve(SnnStep *step, bool outputs) {
  uint32_t begin = outputs ? step->node.n_in : 0, end = outputs ? step->node.n_in + step->node.n_out : step->node.n_in;
  for (uint32_t i = begin; step->shadows != NULL && i < end; i++) {
    if (!moves(original(step, i))) continue;
    if (!snn_reserve(&step->shadows[i].own, step->shadows[i].bytes)) return false;
    step->shadows[i].tensor.data = step->shadows[i].own.data;
  }
  return true;
}

void snn_shadows_widen(SnnStep *step) {
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_in; i++) {
    const SnnTensor *tensor = original(step, i);
    const SnnSlot *shadow = &step->shadows[i];
    if (moves(tensor)) snn_widen(shadow->tensor.data, tensor->data, shadow->bytes / sizeof(float));
  }
}

void snn_shadows_narrow(SnnStep *step) {
  for (uint32_t i = 0; step->shadows != NULL && i < step->node.n_out; i++) {
    const SnnTensor *tensor = original(step, step->node.n_in + i);
    const SnnSlot *shadow = &step->shadows[step->node.n_in + i];
    if (moves(tensor)) snn_narrow(tensor->data, shadow->tensor.data, shadow->bytes / sizeof(float));
  }
}
