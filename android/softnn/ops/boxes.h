/* Boxes and real values for the detection operations. */
#ifndef SNN_BOXES_H
#define SNN_BOXES_H

#include "../numeric.h"
#include "../shape.h"

/* Boxes of quantised operations are TENSOR_QUANT16_ASYMM in eighths of a pixel. */
#define SNN_BOX_SCALE 0.125f

/* One stored value as a real number; float, 8-bit and 16-bit tensors. */
static inline float snn_real(const SnnTensor *t, size_t i) {
  switch (t->type) {
    case ANEURALNETWORKS_TENSOR_FLOAT32: return ((const float *)t->data)[i];
    case ANEURALNETWORKS_TENSOR_FLOAT16: return snn_half_to_float(((const uint16_t *)t->data)[i]);
    case ANEURALNETWORKS_TENSOR_QUANT16_ASYMM: return (float)(((const uint16_t *)t->data)[i] - t->zero_point) * t->scale;
    case ANEURALNETWORKS_TENSOR_QUANT16_SYMM: return (float)((const int16_t *)t->data)[i] * t->scale;
    default: return (float)(snn_load8(t->type, t->data, i) - t->zero_point) * t->scale;
  }
}

/* Stores a real number, rounded and saturated. */
static inline void snn_store_real(const SnnTensor *t, size_t i, float value) {
  int32_t lo, hi, stored;
  switch (t->type) {
    case ANEURALNETWORKS_TENSOR_FLOAT32: ((float *)t->data)[i] = value; return;
    case ANEURALNETWORKS_TENSOR_FLOAT16: ((uint16_t *)t->data)[i] = snn_float_to_half(value); return;
    default: break;
  }
  snn_quantized_limits(t->type, &lo, &hi);
  stored = snn_clamp(snn_round(value / t->scale + (float)t->zero_point), lo, hi);
  if (t->type == ANEURALNETWORKS_TENSOR_QUANT16_ASYMM || t->type == ANEURALNETWORKS_TENSOR_QUANT16_SYMM)
    ((uint16_t *)t->data)[i] = (uint16_t)stored;
  else ((uint8_t *)t->data)[i] = (uint8_t)stored;
}

/* A quantised tensor of boxes (or image sizes) has just this scale and no zero point. */
static inline bool snn_check_box_scale(SnnNode *node, const SnnTensor *t, const char *what) {
  bool quantised = t->type == ANEURALNETWORKS_TENSOR_QUANT16_ASYMM || t->type == ANEURALNETWORKS_TENSOR_QUANT16_SYMM;
  if (!quantised || (t->scale == SNN_BOX_SCALE && t->zero_point == 0)) return true;
  snn_fail(node, "%s has scale %.9g and zero point %d, not 0.125 and 0", what, (double)t->scale, t->zero_point);
  return false;
}

/* Two corners; which coordinate is x and which y does not matter to most functions. */
typedef struct {
  float x1, y1, x2, y2;
} SnnBox;

static inline SnnBox snn_read_box(const SnnTensor *t, size_t index) {
  return (SnnBox){snn_real(t, 4 * index), snn_real(t, 4 * index + 1), snn_real(t, 4 * index + 2), snn_real(t, 4 * index + 3)};
}

static inline void snn_store_box(const SnnTensor *t, size_t index, const SnnBox *box) {
  snn_store_real(t, 4 * index, box->x1);
  snn_store_real(t, 4 * index + 1, box->y1);
  snn_store_real(t, 4 * index + 2, box->x2);
  snn_store_real(t, 4 * index + 3, box->y2);
}

/* --- boxes.c: ranking and non-maximum suppression; items are numbers that index `scores` --- */

/* Sorts items, the highest score first, of equal ones the lower number. */
void snn_rank(const float *scores, uint32_t *items, size_t count);

enum { SNN_NMS_HARD = 0, SNN_NMS_LINEAR = 1, SNN_NMS_GAUSSIAN = 2 };

typedef struct {
  int32_t kernel;
  bool lowers;             /* scores are multiplied by the kernel; else overlapping boxes are just dropped */
  float iou, sigma, least; /* least: the score below which a lowered box is dropped */
} SnnSuppression;

/* The box of item i is boxes[i / items_per_box]. Takes the best item, suppresses what overlaps it, and so on, until `most` are
 * taken (negative: no limit). The taken ones come to the front; answers how many. */
size_t snn_suppress(const SnnSuppression *s, float *scores, const SnnBox *boxes, uint32_t items_per_box, uint32_t *items,
                    size_t count, int32_t most);

/* Items of [boxes, classes], numbered row by row. */
typedef struct {
  uint32_t boxes, classes, items_per_box;
  float threshold;              /* items must lie above it */
  int32_t most_per_class, most; /* negative: no limit */
} SnnClasses;

/* Suppresses within each class but the background, 0; then the best of all. `items` has room for all of them. */
size_t snn_suppress_by_class(const SnnSuppression *s, const SnnClasses *classes, float *scores, const SnnBox *boxes,
                             uint32_t *items);

#endif
