/* DETECTION_POSTPROCESSING: decoded boxes, then non-maximum suppression by class (regular) or over all classes at once (fast). */
#include "boxes.h"

#include <string.h>

static int postprocessing_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS(3), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "TTTffffbiiiffb", "TTII")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the scores", 3, 3) || !snn_check_rank(node, node->in[1], "the deltas", 3, 3) ||
      !snn_check_rank(node, node->in[2], "the anchors", 2, 2))
    return SNN_INVALID;
  return level;
}

typedef struct {
  uint32_t batches, anchors, classes, encoding, outputs; /* outputs: rows for one image */
  float scale[4];                                        /* of y, x, h, w */
  bool regular, background_in_labels;
  int32_t most, classes_per_detection, most_per_class;
  float threshold;
  SnnSuppression suppression;
} Postprocessing;

static int read_postprocessing(SnnNode *node, Postprocessing *p) {
  const SnnTensor *scores = node->in[0], *deltas = node->in[1], *anchors = node->in[2];
  SNN_CHECK(node, scores->rank == 3 && scores->dims[2] > 1, "the scores are not [batches, anchors, 2 classes or more]");
  p->batches = scores->dims[0];
  p->anchors = scores->dims[1];
  p->classes = scores->dims[2];
  SNN_CHECK(node, deltas->rank == 3 && deltas->dims[0] == p->batches && deltas->dims[1] == p->anchors && deltas->dims[2] >= 4,
            "the deltas are not [%u, %u, 4 or more]", p->batches, p->anchors);
  p->encoding = deltas->dims[2];
  SNN_CHECK(node, anchors->rank == 2 && anchors->dims[0] == p->anchors && anchors->dims[1] == 4, "the anchors are not [%u, 4]",
            p->anchors);
  for (uint32_t i = 0; i < 4; i++) {
    SNN_TRY(snn_get_f32(node, 3 + i, &p->scale[i]));
    SNN_CHECK(node, p->scale[i] > 0, "scale %u is %g, not positive", i, (double)p->scale[i]);
  }
  SNN_TRY(snn_get_bool(node, 7, &p->regular));
  SNN_TRY(snn_get_i32(node, 8, &p->most));
  SNN_TRY(snn_get_i32(node, 9, &p->classes_per_detection));
  SNN_TRY(snn_get_i32(node, 10, &p->most_per_class));
  SNN_TRY(snn_get_f32(node, 11, &p->threshold));
  SNN_TRY(snn_get_f32(node, 12, &p->suppression.iou));
  SNN_TRY(snn_get_bool(node, 13, &p->background_in_labels));
  SNN_CHECK(node, p->threshold >= 0 && p->suppression.iou >= 0, "score and overlap thresholds %g and %g are not both 0 or more",
            (double)p->threshold, (double)p->suppression.iou);
  SNN_CHECK(node, p->most > 0, "%d detections are not a positive number", p->most);
  if (p->regular)
    SNN_CHECK(node, p->most_per_class > 0, "%d detections of a class are not a positive number", p->most_per_class);
  else
    SNN_CHECK(node, p->classes_per_detection > 0, "%d classes of a detection are not a positive number",
              p->classes_per_detection);
  uint64_t outputs = (uint64_t)p->most * (p->regular ? 1 : (uint32_t)p->classes_per_detection);
  SNN_CHECK(node, outputs <= UINT32_MAX, "there are too many detections");
  p->outputs = (uint32_t)outputs;
  return SNN_OK;
}

static int postprocessing_prepare(SnnNode *node) {
  Postprocessing p = {0};
  SNN_TRY(read_postprocessing(node, &p));
  uint32_t dims[3] = {p.batches, p.outputs, 4};
  SNN_TRY(snn_set_shape(node, 0, 2, dims));
  SNN_TRY(snn_set_shape(node, 1, 3, dims));
  SNN_TRY(snn_set_shape(node, 2, 2, dims));
  SNN_TRY(snn_set_shape(node, 3, 1, dims));
  Postprocessing *params = snn_params(node, sizeof(p));
  if (!params) return SNN_NO_MEMORY;
  *params = p;
  /* Boxes and best scores of the anchors, then item numbers: of anchors and classes, or of anchors and of the classes of one. */
  uint64_t items = p.regular ? (uint64_t)p.anchors * p.classes : (uint64_t)p.anchors + p.classes;
  return snn_get_scratch(node, p.anchors * (uint64_t)(sizeof(SnnBox) + sizeof(float)) + items * sizeof(uint32_t));
}

/* Boxes here are y1, x1, y2, x2; anchors and deltas are centre y, centre x, height, width. */
static void decode(SnnNode *node, const Postprocessing *p, uint32_t batch, SnnBox *boxes) {
  const float *delta = (const float *)node->in[1]->data + (size_t)batch * p->anchors * p->encoding, *anchor = node->in[2]->data;
  for (uint32_t a = 0; a < p->anchors; a++, delta += p->encoding, anchor += 4) {
    float y = anchor[0] + anchor[2] * delta[0] / p->scale[0], x = anchor[1] + anchor[3] * delta[1] / p->scale[1];
    float half_h = anchor[2] * expf(delta[2] / p->scale[2]) * .5f, half_w = anchor[3] * expf(delta[3] / p->scale[3]) * .5f;
    boxes[a] = (SnnBox){y - half_h, x - half_w, y + half_h, x + half_w};
  }
}

/* One detection as row `row` of all images' outputs. */
static void put(SnnNode *node, const Postprocessing *p, size_t row, float score, const SnnBox *box, uint32_t class) {
  ((float *)node->out[0]->data)[row] = score;
  snn_store_box(node->out[1], row, box);
  ((int32_t *)node->out[2]->data)[row] = (int32_t)class - (p->background_in_labels ? 0 : 1);
}

static uint32_t detect_regular(SnnNode *node, const Postprocessing *p, uint32_t batch, const SnnBox *boxes, uint32_t *items) {
  /* Hard suppression leaves the scores alone. */
  float *scores = (float *)node->in[0]->data + (size_t)batch * p->anchors * p->classes;
  SnnClasses classes = {p->anchors, p->classes, p->classes, p->threshold, p->most_per_class, p->most};
  size_t taken = snn_suppress_by_class(&p->suppression, &classes, scores, boxes, items);
  for (size_t i = 0; i < taken; i++) {
    put(node, p, (size_t)batch * p->outputs + i, scores[items[i]], &boxes[items[i] / p->classes], items[i] % p->classes);
  }
  return (uint32_t)taken;
}

/* SnnSuppression on each anchor's best class; then the best classes of those that are left. */
static uint32_t detect_fast(SnnNode *node, const Postprocessing *p, uint32_t batch, const SnnBox *boxes, float *best,
                            uint32_t *items) {
  const float *scores = (const float *)node->in[0]->data + (size_t)batch * p->anchors * p->classes;
  uint32_t per_anchor = p->classes - 1, *classes = items + p->anchors;
  if ((uint32_t)p->classes_per_detection < per_anchor) per_anchor = (uint32_t)p->classes_per_detection;
  size_t count = 0, row = (size_t)batch * p->outputs;
  for (uint32_t a = 0; a < p->anchors; a++) {
    best[a] = scores[(size_t)a * p->classes + 1];
    for (uint32_t c = 2; c < p->classes; c++) best[a] = fmaxf(best[a], scores[(size_t)a * p->classes + c]);
    if (best[a] > p->threshold) items[count++] = a;
  }
  size_t taken = snn_suppress(&p->suppression, best, boxes, 1, items, count, p->most);
  for (size_t i = 0; i < taken; i++) {
    const float *of_anchor = scores + (size_t)items[i] * p->classes;
    for (uint32_t c = 1; c < p->classes; c++) classes[c - 1] = c;
    snn_rank(of_anchor, classes, p->classes - 1);
    for (uint32_t c = 0; c < per_anchor; c++) put(node, p, row++, of_anchor[classes[c]], &boxes[items[i]], classes[c]);
  }
  return (uint32_t)(taken * per_anchor);
}

static int postprocessing_execute(SnnNode *node) {
  const Postprocessing *p = node->params;
  size_t rows = (size_t)p->batches * p->outputs;
  SnnBox *boxes = node->scratch;
  float *best = (float *)(boxes + p->anchors);
  uint32_t *items = (uint32_t *)(best + p->anchors);
  memset(node->out[0]->data, 0, rows * sizeof(float));
  memset(node->out[1]->data, 0, rows * sizeof(SnnBox));
  memset(node->out[2]->data, 0, rows * sizeof(int32_t));
  for (uint32_t batch = 0; batch < p->batches; batch++) {
    decode(node, p, batch, boxes);
    uint32_t found =
        p->regular ? detect_regular(node, p, batch, boxes, items) : detect_fast(node, p, batch, boxes, best, items);
    ((int32_t *)node->out[3]->data)[batch] = (int32_t)found;
  }
  return SNN_OK;
}

const SnnOperation snn_postprocessing_operations[] = {
    SNN_RECORD(DETECTION_POSTPROCESSING, 3, postprocessing_validate, postprocessing_prepare, postprocessing_execute, SNN_F16_BY_F32)
    {0},
};
