/* AXIS_ALIGNED_BBOX_TRANSFORM, BOX_WITH_NMS_LIMIT, GENERATE_PROPOSALS.
 * (Of the same family, DETECTION_POSTPROCESSING is in postprocessing.c; ROI_ALIGN, ROI_POOLING and HEATMAP_MAX_KEYPOINT are in
 * roi.c.)
 *
 * How many boxes BOX_WITH_NMS_LIMIT and GENERATE_PROPOSALS find depends on their values, so they find them in prepare. */
#include "boxes.h"

/* Moves and scales a box by deltas (dx, dy in box sizes; dw, dh as logarithms) and cuts it at the image's edges. */
static SnnBox transformed(const SnnBox *roi, const float delta[4], float image_height, float image_width) {
  float w = roi->x2 - roi->x1, h = roi->y2 - roi->y1;
  float x = (roi->x1 + roi->x2) / 2 + delta[0] * w, y = (roi->y1 + roi->y2) / 2 + delta[1] * h;
  float half_w = expf(delta[2]) * w / 2, half_h = expf(delta[3]) * h / 2;
  return (SnnBox){fminf(fmaxf(x - half_w, 0), image_width), fminf(fmaxf(y - half_h, 0), image_height),
                  fminf(fmaxf(x + half_w, 0), image_width), fminf(fmaxf(y + half_h, 0), image_height)};
}

/* --- AXIS_ALIGNED_BBOX_TRANSFORM --- */

static int bbox_transform_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS(3), {ANEURALNETWORKS_TENSOR_QUANT16_ASYMM, 3}, SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0) return level;
  bool quantised = node->in[0]->type == ANEURALNETWORKS_TENSOR_QUANT16_ASYMM;
  bool is_signed = quantised && node->n_in > 1 && node->in[1]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
  if (!snn_signature(node, node->in[0]->type, is_signed ? "TAIT" : quantised ? "TUIT" : "TTIT", "T")) return SNN_INVALID;
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t r = i == 2 ? 1 : 2;
    if (!snn_check_rank(node, node->in[i], "an input", r, r)) return SNN_INVALID;
  }
  if (!snn_check_box_scale(node, node->in[0], "the regions") || !snn_check_box_scale(node, node->in[3], "the image sizes") ||
      !snn_check_box_scale(node, node->out[0], "the output"))
    return SNN_INVALID;
  return is_signed ? 4 : level;
}

static int bbox_transform_prepare(SnnNode *node) {
  const SnnTensor *rois = node->in[0], *deltas = node->in[1], *batches = node->in[2], *images = node->in[3];
  SNN_CHECK(node, rois->rank == 2 && rois->dims[1] == 4, "the regions are not [n, 4]");
  SNN_CHECK(node, deltas->rank == 2 && deltas->dims[0] == rois->dims[0] && deltas->dims[1] > 0 && deltas->dims[1] % 4 == 0,
            "the deltas are not [%u, classes * 4]", rois->dims[0]);
  SNN_CHECK(node, batches->rank == 1 && batches->dims[0] == rois->dims[0], "the batch indices are not [%u]", rois->dims[0]);
  SNN_CHECK(node, images->rank == 2 && images->dims[0] > 0 && images->dims[1] == 2, "the image sizes are not [batches, 2]");
  return snn_set_shape(node, 0, 2, deltas->dims);
}

static int bbox_transform_execute(SnnNode *node) {
  const SnnTensor *deltas = node->in[1], *images = node->in[3];
  uint32_t classes = deltas->dims[1] / 4;
  for (uint32_t n = 0; n < deltas->dims[0]; n++) {
    int32_t batch = ((const int32_t *)node->in[2]->data)[n];
    SnnBox roi = snn_read_box(node->in[0], n);
    SNN_CHECK(node, batch >= 0 && (uint32_t)batch < images->dims[0], "batch index %d of region %u lies outside 0 to %u", batch,
              n, images->dims[0] - 1);
    SNN_CHECK(node, roi.x1 <= roi.x2 && roi.y1 <= roi.y2, "region %u ends before it begins", n);
    float height = snn_real(images, 2 * (size_t)batch), width = snn_real(images, 2 * (size_t)batch + 1);
    for (uint32_t c = 0; c < classes; c++) {
      size_t at = (size_t)n * classes + c;
      float delta[4];
      for (uint32_t i = 0; i < 4; i++) delta[i] = snn_real(deltas, 4 * at + i);
      SnnBox box = transformed(&roi, delta, height, width);
      snn_store_box(node->out[0], at, &box);
    }
  }
  return SNN_OK;
}

/* --- what BOX_WITH_NMS_LIMIT and GENERATE_PROPOSALS found --- */

typedef struct {
  float score;
  int32_t class, batch;
  SnnBox box;
} Found;

typedef struct {
  size_t count;
  Found *list;
} Findings;

/* A block of parameters that begins with Findings and has room for `most` of them, then `more` bytes of working memory. */
static Findings *new_findings(SnnNode *node, size_t most, size_t more, void **memory) {
  size_t list, bytes;
  if (!snn_size_mul(most, sizeof(Found), &list) || __builtin_add_overflow(list, sizeof(Findings), &bytes) ||
      __builtin_add_overflow(bytes, more, &bytes))
    return NULL;
  Findings *findings = snn_params(node, bytes);
  if (!findings) return NULL;
  findings->list = (Found *)(findings + 1);
  *memory = findings->list + most;
  return findings;
}

static const SnnTypeLevel score_levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};

/* --- BOX_WITH_NMS_LIMIT --- */

static int nms_limit_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, score_levels);
  if (level < 0) return level;
  bool quantised = snn_is_quant8(node->in[0]->type);
  if (!snn_signature(node, node->in[0]->type, quantised ? "TQIFiiFFF" : "TTIfiifff", quantised ? "TQII" : "TTII"))
    return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the scores", 2, 2) || !snn_check_rank(node, node->in[1], "the boxes", 2, 2) ||
      !snn_check_rank(node, node->in[2], "the batch indices", 1, 1))
    return SNN_INVALID;
  if (!snn_check_box_scale(node, node->in[1], "the boxes") || !snn_check_box_scale(node, node->out[1], "the output boxes"))
    return SNN_INVALID;
  return level;
}

typedef struct {
  uint32_t count, classes;
  int32_t most;
  float threshold;
  SnnSuppression suppression;
} NmsLimit;

static int read_nms_limit(SnnNode *node, NmsLimit *p) {
  const SnnTensor *scores = node->in[0], *boxes = node->in[1], *batches = node->in[2];
  SnnSuppression *s = &p->suppression;
  SNN_CHECK(node, scores->rank == 2 && scores->dims[1] > 1, "the scores are not [n, 2 classes or more]");
  p->count = scores->dims[0];
  p->classes = scores->dims[1];
  SNN_CHECK(node, boxes->rank == 2 && boxes->dims[0] == p->count && boxes->dims[1] == 4 * (uint64_t)p->classes,
            "the boxes are not [%u, 4 * %u]", p->count, p->classes);
  SNN_CHECK(node, batches->rank == 1 && batches->dims[0] == p->count, "the batch indices are not [%u]", p->count);
  SNN_TRY(snn_get_f32(node, 3, &p->threshold));
  SNN_TRY(snn_get_i32(node, 4, &p->most));
  SNN_TRY(snn_get_i32(node, 5, &s->kernel));
  SNN_CHECK(node, s->kernel >= SNN_NMS_HARD && s->kernel <= SNN_NMS_GAUSSIAN,
            "kernel %d is none of 0 (hard), 1 (linear), 2 (Gaussian)", s->kernel);
  SNN_TRY(snn_get_f32(node, 6, &s->iou));
  SNN_TRY(snn_get_f32(node, 7, &s->sigma));
  SNN_TRY(snn_get_f32(node, 8, &s->least));
  s->lowers = true;
  return SNN_OK;
}

/* Finds the boxes of one image: rows [begin, end). */
static int find_in_batch(SnnNode *node, const NmsLimit *p, uint32_t begin, uint32_t end, float *scores, SnnBox *boxes,
                         uint32_t *items, Findings *findings) {
  size_t first = (size_t)begin * p->classes;
  for (size_t i = first; i < (size_t)end * p->classes; i++) {
    scores[i] = snn_real(node->in[0], i);
    boxes[i] = snn_read_box(node->in[1], i);
    bool candidate = i % p->classes != 0 && scores[i] > p->threshold;
    SNN_CHECK(node, !candidate || (boxes[i].x1 <= boxes[i].x2 && boxes[i].y1 <= boxes[i].y2),
              "box %zu of class %zu ends before it begins", i / p->classes, i % p->classes);
  }
  SnnClasses classes = {end - begin, p->classes, 1, p->threshold, p->most, p->most};
  size_t taken = snn_suppress_by_class(&p->suppression, &classes, scores + first, boxes + first, items);
  /* By class, the best first within one: the items are ranked already. */
  for (uint32_t c = 1; c < p->classes; c++) {
    for (size_t i = 0; i < taken; i++) {
      if (items[i] % p->classes != c) continue;
      size_t item = first + items[i];
      findings->list[findings->count++] =
          (Found){scores[item], (int32_t)c, ((const int32_t *)node->in[2]->data)[begin], boxes[item]};
    }
  }
  return SNN_OK;
}

static int nms_limit_prepare(SnnNode *node) {
  NmsLimit p;
  SNN_TRY(read_nms_limit(node, &p));
  if (p.count > 0 && (!node->in[0]->data || !node->in[1]->data || !node->in[2]->data)) return SNN_NEEDS_DATA;
  size_t items = (size_t)p.count * p.classes, bytes;
  void *memory;
  SNN_CHECK(node, snn_size_mul(items, sizeof(float) + sizeof(SnnBox) + sizeof(uint32_t), &bytes), "there are too many boxes");
  Findings *findings = new_findings(node, items, bytes, &memory);
  if (!findings) return SNN_NO_MEMORY;
  SnnBox *boxes = memory;
  float *scores = (float *)(boxes + items);
  uint32_t *selection = (uint32_t *)(scores + items);
  const int32_t *batches = node->in[2]->data;
  for (uint32_t begin = 0, end; begin < p.count; begin = end) {
    for (end = begin + 1; end < p.count && batches[end] == batches[begin];) end++;
    SNN_TRY(find_in_batch(node, &p, begin, end, scores, boxes, selection, findings));
  }
  uint32_t dims[2] = {(uint32_t)findings->count, 4};
  SNN_TRY(snn_set_shape(node, 0, 1, dims));
  SNN_TRY(snn_set_shape(node, 1, 2, dims));
  SNN_TRY(snn_set_shape(node, 2, 1, dims));
  return snn_set_shape(node, 3, 1, dims);
}

static int nms_limit_execute(SnnNode *node) {
  const Findings *findings = node->params;
  for (size_t i = 0; i < findings->count; i++) {
    const Found *found = &findings->list[i];
    snn_store_real(node->out[0], i, found->score);
    snn_store_box(node->out[1], i, &found->box);
    ((int32_t *)node->out[2]->data)[i] = found->class;
    ((int32_t *)node->out[3]->data)[i] = found->batch;
  }
  return SNN_OK;
}

/* --- GENERATE_PROPOSALS --- */

static int proposals_validate(SnnNode *node) {
  int level = snn_type_level(node, 0, score_levels);
  if (level < 0) return level;
  bool quantised = snn_is_quant8(node->in[0]->type);
  if (!snn_signature(node, node->in[0]->type, quantised ? "TTSQFFiiFFb" : "TTTTffiiffb", quantised ? "TQI" : "TTI"))
    return SNN_INVALID;
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t r = i < 2 ? 4 : 2;
    if (!snn_check_rank(node, node->in[i], "an input", r, r)) return SNN_INVALID;
  }
  if (!snn_check_box_scale(node, node->in[2], "the anchors") || !snn_check_box_scale(node, node->in[3], "the image sizes") ||
      !snn_check_box_scale(node, node->out[1], "the output regions"))
    return SNN_INVALID;
  return level;
}

typedef struct {
  SnnView scores, deltas;
  float stride_h, stride_w, least_size;
  int32_t before, after; /* most boxes before and after suppression; not positive: no limit */
  SnnSuppression suppression;
} Proposals;

static int read_proposals(SnnNode *node, Proposals *p) {
  const SnnTensor *anchors = node->in[2], *images = node->in[3];
  bool nchw;
  SNN_CHECK(node, node->in[0]->rank == 4 && node->in[1]->rank == 4, "scores and deltas do not both have rank 4");
  SNN_TRY(snn_get_bool(node, 10, &nchw));
  p->scores = snn_view(node->in[0]->dims, nchw);
  p->deltas = snn_view(node->in[1]->dims, nchw);
  const SnnView *s = &p->scores, *d = &p->deltas;
  SNN_CHECK(node, d->n == s->n && d->h == s->h && d->w == s->w && d->c == 4 * (uint64_t)s->c,
            "the deltas are not [%u, %u, %u, 4 * %u]", s->n, s->h, s->w, s->c);
  SNN_CHECK(node, anchors->rank == 2 && anchors->dims[0] == s->c && anchors->dims[1] == 4, "the anchors are not [%u, 4]", s->c);
  SNN_CHECK(node, images->rank == 2 && images->dims[0] == s->n && images->dims[1] == 2, "the image sizes are not [%u, 2]",
            s->n);
  SNN_TRY(snn_get_f32(node, 4, &p->stride_h));
  SNN_TRY(snn_get_f32(node, 5, &p->stride_w));
  SNN_TRY(snn_get_i32(node, 6, &p->before));
  SNN_TRY(snn_get_i32(node, 7, &p->after));
  SNN_TRY(snn_get_f32(node, 8, &p->suppression.iou));
  return snn_get_f32(node, 9, &p->least_size);
}

/* Moves each anchor to each place of the grid, by its delta, into `boxes`, with its score. */
static int place_anchors(SnnNode *node, const Proposals *p, uint32_t batch, float *scores, SnnBox *boxes) {
  const SnnView *s = &p->scores, *d = &p->deltas;
  float height = snn_real(node->in[3], 2 * (size_t)batch), width = snn_real(node->in[3], 2 * (size_t)batch + 1);
  size_t n = 0;
  for (uint32_t y = 0; y < s->h; y++) {
    for (uint32_t x = 0; x < s->w; x++) {
      size_t score = batch * (size_t)s->by_n + y * (size_t)s->by_h + x * (size_t)s->by_w;
      size_t delta = batch * (size_t)d->by_n + y * (size_t)d->by_h + x * (size_t)d->by_w;
      float dx = (float)x * p->stride_w, dy = (float)y * p->stride_h;
      for (uint32_t a = 0; a < s->c; a++, n++) {
        SnnBox anchor = snn_read_box(node->in[2], a);
        float change[4];
        for (uint32_t i = 0; i < 4; i++) change[i] = snn_real(node->in[1], delta + (4 * (size_t)a + i) * (size_t)d->by_c);
        SNN_CHECK(node, anchor.x1 <= anchor.x2 && anchor.y1 <= anchor.y2, "anchor %u ends before it begins", a);
        SnnBox roi = {anchor.x1 + dx, anchor.y1 + dy, anchor.x2 + dx, anchor.y2 + dy};
        boxes[n] = transformed(&roi, change, height, width);
        scores[n] = snn_real(node->in[0], score + a * (size_t)s->by_c);
      }
    }
  }
  return SNN_OK;
}

static int propose(SnnNode *node, const Proposals *p, uint32_t batch, float *scores, SnnBox *boxes, uint32_t *items,
                   Findings *findings) {
  size_t all = (size_t)p->scores.h * p->scores.w * p->scores.c, count = all, kept = 0;
  SNN_TRY(place_anchors(node, p, batch, scores, boxes));
  for (size_t i = 0; i < all; i++) items[i] = (uint32_t)i;
  if (p->before > 0 && (size_t)p->before < all) {
    snn_rank(scores, items, all);
    count = (size_t)p->before;
  }
  float height = snn_real(node->in[3], 2 * (size_t)batch), width = snn_real(node->in[3], 2 * (size_t)batch + 1);
  for (size_t i = 0; i < count; i++) {
    const SnnBox *box = &boxes[items[i]];
    float w = box->x2 - box->x1, h = box->y2 - box->y1;
    if (w > p->least_size && h > p->least_size && box->x1 + w / 2 < width && box->y1 + h / 2 < height) items[kept++] = items[i];
  }
  size_t taken = snn_suppress(&p->suppression, scores, boxes, 1, items, kept, p->after > 0 ? p->after : -1);
  for (size_t i = 0; i < taken; i++) {
    findings->list[findings->count++] = (Found){scores[items[i]], 0, (int32_t)batch, boxes[items[i]]};
  }
  return SNN_OK;
}

static int proposals_prepare(SnnNode *node) {
  Proposals p = {0};
  SNN_TRY(read_proposals(node, &p));
  size_t all = (size_t)p.scores.h * p.scores.w * p.scores.c, most = all, bytes, total;
  if (p.after > 0 && (size_t)p.after < most) most = (size_t)p.after;
  for (uint32_t i = 0; i < 4; i++) {
    if (all * p.scores.n > 0 && !node->in[i]->data) return SNN_NEEDS_DATA;
  }
  SNN_CHECK(
      node,
      snn_size_mul(all, sizeof(float) + sizeof(SnnBox) + sizeof(uint32_t), &bytes) && snn_size_mul(most, p.scores.n, &total),
      "there are too many boxes");
  void *memory;
  Findings *findings = new_findings(node, total, bytes, &memory);
  if (!findings) return SNN_NO_MEMORY;
  SnnBox *boxes = memory;
  float *scores = (float *)(boxes + all);
  uint32_t *items = (uint32_t *)(scores + all);
  for (uint32_t batch = 0; batch < p.scores.n && all > 0; batch++)
    SNN_TRY(propose(node, &p, batch, scores, boxes, items, findings));
  uint32_t dims[2] = {(uint32_t)findings->count, 4};
  SNN_TRY(snn_set_shape(node, 0, 1, dims));
  SNN_TRY(snn_set_shape(node, 1, 2, dims));
  return snn_set_shape(node, 2, 1, dims);
}

static int proposals_execute(SnnNode *node) {
  const Findings *findings = node->params;
  for (size_t i = 0; i < findings->count; i++) {
    const Found *found = &findings->list[i];
    snn_store_real(node->out[0], i, found->score);
    snn_store_box(node->out[1], i, &found->box);
    ((int32_t *)node->out[2]->data)[i] = found->batch;
  }
  return SNN_OK;
}

const SnnOperation snn_detection_operations[] = {
    SNN_RECORD(AXIS_ALIGNED_BBOX_TRANSFORM, 3, bbox_transform_validate, bbox_transform_prepare, bbox_transform_execute, SNN_F16_BY_F32)
    SNN_RECORD(BOX_WITH_NMS_LIMIT, 3, nms_limit_validate, nms_limit_prepare, nms_limit_execute, SNN_F16_BY_F32)
    SNN_RECORD(GENERATE_PROPOSALS, 3, proposals_validate, proposals_prepare, proposals_execute, SNN_F16_BY_F32)
    {0},
};
