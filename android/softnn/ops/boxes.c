/* Ranking and non-maximum suppression of boxes. */
#include "boxes.h"

static float overlap(const SnnBox *a, const SnnBox *b) {
  float area = (a->x2 - a->x1) * (a->y2 - a->y1) + (b->x2 - b->x1) * (b->y2 - b->y1);
  float w = fmaxf(fminf(a->x2, b->x2) - fmaxf(a->x1, b->x1), 0), h = fmaxf(fminf(a->y2, b->y2) - fmaxf(a->y1, b->y1), 0);
  return w * h / (area - w * h);
}

/* --- ranking --- */

/* A total order: the higher score first, of equal ones the lower index. */
static bool ranks_before(const float *scores, uint32_t a, uint32_t b) {
  return scores[a] > scores[b] || (!(scores[b] > scores[a]) && a < b);
}

static void sink(const float *scores, uint32_t *heap, size_t size, size_t at) {
  for (;;) {
    size_t last = at, child = 2 * at + 1;
    if (child < size && ranks_before(scores, heap[last], heap[child])) last = child;
    if (child + 1 < size && ranks_before(scores, heap[last], heap[child + 1])) last = child + 1;
    if (last == at) return;
    uint32_t moved = heap[at];
    heap[at] = heap[last], heap[last] = moved, at = last;
  }
}

/* Sorts item numbers by their scores (heap sort: no memory, no bad case). */
void snn_rank(const float *scores, uint32_t *items, size_t count) {
  for (size_t i = count / 2; i-- > 0;) sink(scores, items, count, i);
  for (size_t left = count; left-- > 1;) {
    uint32_t last = items[0];
    items[0] = items[left], items[left] = last;
    sink(scores, items, left, 0);
  }
}

/* --- non-maximum suppression --- */

static float lowered(const SnnSuppression *s, float iou) {
  switch (s->kernel) {
    case SNN_NMS_LINEAR: return iou < s->iou ? 1 : 1 - iou;
    case SNN_NMS_GAUSSIAN: return expf(-iou * iou / s->sigma);
    default: return iou < s->iou ? 1 : 0;
  }
}

size_t snn_suppress(const SnnSuppression *s, float *scores, const SnnBox *boxes, uint32_t items_per_box, uint32_t *items,
                    size_t count, int32_t most) {
  size_t taken = 0, limit = most < 0 ? count : (size_t)most;
  while (taken < count && taken < limit) {
    size_t best = taken;
    for (size_t i = taken + 1; i < count; i++) {
      if (ranks_before(scores, items[i], items[best])) best = i;
    }
    uint32_t chosen = items[best];
    items[best] = items[taken], items[taken] = chosen;
    taken++;
    size_t kept = taken;
    for (size_t i = taken; i < count; i++) {
      float iou = overlap(&boxes[items[i] / items_per_box], &boxes[chosen / items_per_box]);
      bool drop = iou >= s->iou;
      if (s->lowers) {
        scores[items[i]] *= lowered(s, iou);
        drop = scores[items[i]] < s->least;
      }
      if (!drop) items[kept++] = items[i];
    }
    count = kept;
  }
  return taken;
}

size_t snn_suppress_by_class(const SnnSuppression *s, const SnnClasses *classes, float *scores, const SnnBox *boxes,
                             uint32_t *items) {
  size_t taken = 0;
  for (uint32_t c = 1; c < classes->classes; c++) {
    size_t candidates = 0;
    for (uint32_t b = 0; b < classes->boxes; b++) {
      uint32_t item = b * classes->classes + c;
      if (scores[item] > classes->threshold) items[taken + candidates++] = item;
    }
    taken += snn_suppress(s, scores, boxes, classes->items_per_box, items + taken, candidates, classes->most_per_class);
  }
  snn_rank(scores, items, taken);
  return classes->most >= 0 && (size_t)classes->most < taken ? (size_t)classes->most : taken;
}
