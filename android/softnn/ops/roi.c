/* ROI_ALIGN, ROI_POOLING: regions of an image at one size. HEATMAP_MAX_KEYPOINT: the places of maxima, finer than the grid. */
#include "boxes.h"

#include <float.h>

enum { ROIS = 1, BATCHES = 2, OUT_H = 3, OUT_W = 4, STRIDE_H = 5, STRIDE_W = 6 };

typedef struct {
  SnnView in, out;
  float scale_h, scale_w; /* from the coordinates of the regions to those of the image */
  int32_t samples_h, samples_w;
} Regions;

static int validate_regions(SnnNode *node, const char *plain, const char *quantised) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0 || !snn_signature(node, node->in[0]->type, snn_is_quant8(node->in[0]->type) ? quantised : plain, "T"))
    return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 4, 4) || !snn_check_rank(node, node->in[ROIS], "the regions", 2, 2) ||
      !snn_check_rank(node, node->in[BATCHES], "the batch indices", 1, 1))
    return SNN_INVALID;
  return snn_check_box_scale(node, node->in[ROIS], "the regions") ? level : SNN_INVALID;
}

static int positive_f32(SnnNode *node, uint32_t input, float *value) {
  SNN_TRY(snn_get_f32(node, input, value));
  SNN_CHECK(node, *value > 0, "input %u is %g, not positive", input, (double)*value);
  return SNN_OK;
}

static int read_regions(SnnNode *node, uint32_t nchw_input, Regions *r) {
  const SnnTensor *in = node->in[0], *rois = node->in[ROIS], *batches = node->in[BATCHES];
  bool nchw;
  int32_t h, w;
  float stride_h, stride_w;
  if (!snn_check_rank(node, in, "the input", 4, 4)) return SNN_BAD;
  SNN_CHECK(node, rois->rank == 2 && rois->dims[1] == 4, "the regions are not [n, 4]");
  SNN_CHECK(node, batches->rank == 1 && batches->dims[0] == rois->dims[0], "there are not as many batch indices as regions, %u",
            rois->dims[0]);
  SNN_TRY(snn_get_bool(node, nchw_input, &nchw));
  SNN_TRY(snn_get_i32(node, OUT_H, &h));
  SNN_TRY(snn_get_i32(node, OUT_W, &w));
  SNN_CHECK(node, h > 0 && w > 0, "the output's size %d x %d is not positive", h, w);
  SNN_TRY(positive_f32(node, STRIDE_H, &stride_h));
  SNN_TRY(positive_f32(node, STRIDE_W, &stride_w));
  r->in = snn_view(in->dims, nchw);
  SNN_CHECK(node, r->in.h > 0 && r->in.w > 0, "the input is empty");
  r->scale_h = 1.f / stride_h;
  r->scale_w = 1.f / stride_w;
  return snn_set_view(node, 0, nchw, rois->dims[0], (uint32_t)h, (uint32_t)w, r->in.c, &r->out);
}

/* A region in the coordinates of its image. */
typedef struct {
  float x1, y1, x2, y2;
  size_t image; /* offset of its batch */
} Region;

static int read_region(SnnNode *node, const Regions *r, size_t index, Region *region) {
  const SnnTensor *rois = node->in[ROIS];
  int32_t batch = ((const int32_t *)node->in[BATCHES]->data)[index];
  SNN_CHECK(node, batch >= 0 && (uint32_t)batch < r->in.n, "batch index %d of region %zu lies outside 0 to %d", batch, index,
            (int)r->in.n - 1);
  *region = (Region){snn_real(rois, 4 * index) * r->scale_w, snn_real(rois, 4 * index + 1) * r->scale_h,
                     snn_real(rois, 4 * index + 2) * r->scale_w, snn_real(rois, 4 * index + 3) * r->scale_h,
                     (size_t)batch * (size_t)r->in.by_n};
  /* The slack is for coordinates and strides that were rounded to float16. */
  float width = (float)r->in.w * 1.001f, height = (float)r->in.h * 1.001f;
  SNN_CHECK(node,
            region->x1 >= 0 && region->y1 >= 0 && region->x1 <= region->x2 && region->y1 <= region->y2 && region->x2 <= width &&
                region->y2 <= height,
            "region %zu from (%g, %g) to (%g, %g) does not lie in %u x %u", index, (double)region->x1, (double)region->y1,
            (double)region->x2, (double)region->y2, r->in.w, r->in.h);
  return SNN_OK;
}

/* --- ROI_ALIGN --- */

static int roi_align_validate(SnnNode *node) { return validate_regions(node, "TTIiiffiib", "TQIiiFFiib"); }

static int roi_align_prepare(SnnNode *node) {
  Regions r = {0};
  SNN_TRY(read_regions(node, 9, &r));
  SNN_TRY(snn_get_i32(node, 7, &r.samples_h));
  SNN_TRY(snn_get_i32(node, 8, &r.samples_w));
  SNN_CHECK(node, r.samples_h >= 0 && r.samples_w >= 0, "the numbers of samples %d and %d are not both 0 or more", r.samples_h,
            r.samples_w);
  Regions *params = snn_params(node, sizeof(r));
  if (!params) return SNN_NO_MEMORY;
  *params = r;
  return snn_get_scratch(node, (uint64_t)r.in.c * sizeof(float));
}

/* Two neighbours in one direction and the second one's share. */
typedef struct {
  size_t at, next;
  float share;
} Between;

static Between between(float position, uint32_t size, ptrdiff_t stride) {
  size_t lower = position >= (float)size ? size : (size_t)position;
  if (lower + 1 >= size) return (Between){(size - 1) * (size_t)stride, (size - 1) * (size_t)stride, 0};
  return (Between){lower * (size_t)stride, (lower + 1) * (size_t)stride, position - (float)lower};
}

/* The samples of one region: in each output pixel `rows` x `columns` of them, evenly. */
typedef struct {
  float x, y, step_x, step_y; /* start, and size of an output pixel */
  uint32_t rows, columns;
  SnnMultiplier mean; /* 8-bit */
} Samples;

static Samples sample_region(const Regions *r, const Region *region) {
  Samples s = {.x = region->x1, .y = region->y1};
  s.step_x = fmaxf(region->x2 - region->x1, 1) / (float)r->out.w;
  s.step_y = fmaxf(region->y2 - region->y1, 1) / (float)r->out.h;
  s.columns = r->samples_w > 0 ? (uint32_t)r->samples_w : (uint32_t)ceilf(s.step_x);
  s.rows = r->samples_h > 0 ? (uint32_t)r->samples_h : (uint32_t)ceilf(s.step_y);
  return s;
}

/* Adds up the samples of one output pixel, all channels. 8-bit weights are in 1/255. */
#define DEFINE_ALIGN(name, T, Sum, WEIGHT)                                                                                \
  static void name(const Regions *r, const Samples *s, uint32_t i, uint32_t j, const T *image, int32_t zero, Sum *sums) { \
    (void)zero;                                                                                                           \
    for (uint32_t c = 0; c < r->in.c; c++) sums[c] = 0;                                                                   \
    for (uint32_t m = 0; m < s->rows; m++) {                                                                              \
      float y = s->y + s->step_y * ((float)i + ((float)m + .5f) / (float)s->rows);                                        \
      Between v = between(y, r->in.h, r->in.by_h);                                                                        \
      for (uint32_t n = 0; n < s->columns; n++) {                                                                         \
        float x = s->x + s->step_x * ((float)j + ((float)n + .5f) / (float)s->columns);                                   \
        Between h = between(x, r->in.w, r->in.by_w);                                                                      \
        Sum a = WEIGHT((1 - h.share) * (1 - v.share)), b = WEIGHT(h.share * (1 - v.share));                               \
        Sum d = WEIGHT((1 - h.share) * v.share), e = WEIGHT(h.share * v.share);                                           \
        const T *above = image + v.at, *below = image + v.next;                                                           \
        for (uint32_t c = 0; c < r->in.c; c++, above += r->in.by_c, below += r->in.by_c) {                                \
          sums[c] += a * (above[h.at] - (Sum)zero) + b * (above[h.next] - (Sum)zero) + d * (below[h.at] - (Sum)zero) +    \
                     e * (below[h.next] - (Sum)zero);                                                                     \
        }                                                                                                                 \
      }                                                                                                                   \
    }                                                                                                                     \
  }
#define PLAIN_WEIGHT(w) (w)
#define BYTE_WEIGHT(w) ((int32_t)roundf((w) * 255.f))
DEFINE_ALIGN(align_float, float, float, PLAIN_WEIGHT)
DEFINE_ALIGN(align_u8, uint8_t, int32_t, BYTE_WEIGHT)
DEFINE_ALIGN(align_s8, int8_t, int32_t, BYTE_WEIGHT)

static void align_pixel(SnnNode *node, const Regions *r, const Region *region, const Samples *s, uint32_t i, uint32_t j,
                        size_t at) {
  const SnnTensor *in = node->in[0], *out = node->out[0];
  if (in->type == ANEURALNETWORKS_TENSOR_FLOAT32) {
    float *sums = node->scratch, *to = (float *)out->data + at;
    align_float(r, s, i, j, (const float *)in->data + region->image, 0, sums);
    for (uint32_t c = 0; c < r->in.c; c++) to[c * (size_t)r->out.by_c] = sums[c] / (float)((uint64_t)s->rows * s->columns);
    return;
  }
  int32_t *sums = node->scratch, lo, hi;
  uint8_t *to = (uint8_t *)out->data + at;
  if (in->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM)
    align_u8(r, s, i, j, (const uint8_t *)in->data + region->image, in->zero_point, sums);
  else align_s8(r, s, i, j, (const int8_t *)in->data + region->image, in->zero_point, sums);
  snn_quantized_limits(out->type, &lo, &hi);
  for (uint32_t c = 0; c < r->in.c; c++) {
    to[c * (size_t)r->out.by_c] =
        (uint8_t)snn_clamp(snn_clamp(snn_multiply(sums[c], s->mean), -65536, 65536) + out->zero_point, lo, hi);
  }
}

static int roi_align_execute(SnnNode *node) {
  const Regions *r = node->params;
  const SnnTensor *in = node->in[0], *out = node->out[0];
  for (uint32_t n = 0; n < r->out.n; n++) {
    Region region;
    SNN_TRY(read_region(node, r, n, &region));
    Samples s = sample_region(r, &region);
    uint64_t count = (uint64_t)s.rows * s.columns;
    /* 255 * 255 in each sample's sum must fit. */
    SNN_CHECK(node, count <= INT32_MAX / (256 * 256), "%llu samples for one value are too many", (unsigned long long)count);
    if (snn_is_quant8(in->type)) s.mean = snn_quantize_multiplier(in->scale * (1.f / 255.f) / out->scale / (float)count);
    for (uint32_t i = 0; i < r->out.h; i++) {
      for (uint32_t j = 0; j < r->out.w; j++) {
        size_t at = n * (size_t)r->out.by_n + i * (size_t)r->out.by_h + j * (size_t)r->out.by_w;
        align_pixel(node, r, &region, &s, i, j, at);
      }
    }
  }
  return SNN_OK;
}

/* --- ROI_POOLING --- */

static int roi_pooling_validate(SnnNode *node) {
  int level = validate_regions(node, "TTIiiffb", "TQIiiFFb");
  return level < 0 || snn_check_same_quantization(node, node->in[0], node->out[0]) ? level : SNN_INVALID;
}

static int roi_pooling_prepare(SnnNode *node) {
  Regions r = {0};
  SNN_TRY(read_regions(node, 7, &r));
  Regions *params = snn_params(node, sizeof(r));
  if (!params) return SNN_NO_MEMORY;
  *params = r;
  return SNN_OK;
}

typedef struct {
  uint32_t begin, end;
} Range;

/* Pixels that output position `index` covers: rounded outwards, inside the image. */
static Range covered(float step, uint32_t index, int32_t start, uint32_t size) {
  float begin = floorf(step * (float)index + (float)start), end = ceilf(step * (float)(index + 1) + (float)start);
  return (Range){begin >= (float)size ? size : (uint32_t)begin, end >= (float)size ? size : (uint32_t)end};
}

#define DEFINE_LARGEST(name, T)                                                               \
  static void name(const Regions *r, Range y, Range x, const T *image, int32_t zero, T *to) { \
    for (uint32_t c = 0; c < r->in.c; c++) {                                                  \
      const T *channel = image + c * (size_t)r->in.by_c;                                      \
      T largest = (T)zero; /* of an empty range */                                            \
      for (uint32_t h = y.begin; h < y.end; h++) {                                            \
        for (uint32_t w = x.begin; w < x.end; w++) {                                          \
          T value = channel[h * (size_t)r->in.by_h + w * (size_t)r->in.by_w];                 \
          if ((h == y.begin && w == x.begin) || value > largest) largest = value;             \
        }                                                                                     \
      }                                                                                       \
      to[c * (size_t)r->out.by_c] = largest;                                                  \
    }                                                                                         \
  }
DEFINE_LARGEST(largest_float, float)
DEFINE_LARGEST(largest_u8, uint8_t)
DEFINE_LARGEST(largest_s8, int8_t)

static int roi_pooling_execute(SnnNode *node) {
  const Regions *r = node->params;
  const SnnTensor *in = node->in[0];
  for (uint32_t n = 0; n < r->out.n; n++) {
    Region region;
    SNN_TRY(read_region(node, r, n, &region));
    int32_t x1 = snn_round(region.x1), y1 = snn_round(region.y1), x2 = snn_round(region.x2), y2 = snn_round(region.y2);
    float step_x = (float)(x2 - x1 + 1) / (float)r->out.w, step_y = (float)(y2 - y1 + 1) / (float)r->out.h;
    for (uint32_t i = 0; i < r->out.h; i++) {
      Range y = covered(step_y, i, y1, r->in.h);
      for (uint32_t j = 0; j < r->out.w; j++) {
        Range x = covered(step_x, j, x1, r->in.w);
        size_t at = n * (size_t)r->out.by_n + i * (size_t)r->out.by_h + j * (size_t)r->out.by_w;
        void *out = node->out[0]->data;
        switch (in->type) {
          case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM:
            largest_u8(r, y, x, (const uint8_t *)in->data + region.image, in->zero_point, (uint8_t *)out + at);
            break;
          case ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED:
            largest_s8(r, y, x, (const int8_t *)in->data + region.image, in->zero_point, (int8_t *)out + at);
            break;
          default: largest_float(r, y, x, (const float *)in->data + region.image, 0, (float *)out + at);
        }
      }
    }
  }
  return SNN_OK;
}

/* --- HEATMAP_MAX_KEYPOINT --- */

static int heatmap_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  int level = snn_type_level(node, 0, levels);
  if (level < 0) return level;
  bool quantised = snn_is_quant8(node->in[0]->type);
  if (!snn_signature(node, node->in[0]->type, quantised ? "TQb" : "TTb", quantised ? "TQ" : "TT")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the heatmaps", 4, 4) || !snn_check_rank(node, node->in[1], "the boxes", 2, 2))
    return SNN_INVALID;
  if (!snn_check_box_scale(node, node->in[1], "the boxes") || !snn_check_box_scale(node, node->out[1], "the keypoints"))
    return SNN_INVALID;
  return level;
}

static int heatmap_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0], *boxes = node->in[1];
  bool nchw;
  if (!snn_check_rank(node, in, "the heatmaps", 4, 4)) return SNN_BAD;
  SNN_TRY(snn_get_bool(node, 2, &nchw));
  SnnView view = snn_view(in->dims, nchw);
  SNN_CHECK(node, view.h == view.w && view.h >= 2, "heatmaps of %u x %u are not square and at least 2", view.h, view.w);
  SNN_CHECK(node, boxes->rank == 2 && boxes->dims[0] == view.n && boxes->dims[1] == 4, "the boxes are not [%u, 4]", view.n);
  uint32_t dims[3] = {view.n, view.c, 2};
  SNN_TRY(snn_set_shape(node, 0, 2, dims));
  SNN_TRY(snn_set_shape(node, 1, 3, dims));
  SnnView *params = snn_params(node, sizeof(view));
  if (!params) return SNN_NO_MEMORY;
  *params = view;
  return SNN_OK;
}

/* The top of the parabola through a grid of 3 x 3 around a maximum: where (relative to the middle) and how high. Nothing changes
 * where the second derivatives say little. */
static void refine(float grid[3][3], float near_zero, float *dx, float *dy, float *height) {
  float bx = -(grid[1][2] - grid[1][0]) / 2, by = -(grid[2][1] - grid[0][1]) / 2;
  float xx = grid[1][0] - 2 * grid[1][1] + grid[1][2], yy = grid[0][1] - 2 * grid[1][1] + grid[2][1];
  float xy = (grid[2][2] - grid[2][0] - grid[0][2] + grid[0][0]) / 4;
  float determinant = xx * yy - xy * xy;
  if (fabsf(determinant) < near_zero + near_zero * (xx * yy)) return;
  float x = (yy * bx - xy * by) / determinant, y = (xx * by - xy * bx) / determinant;
  float largest = fmaxf(fabsf(x), fabsf(y));
  if (largest > 1.5f) {
    x *= 1.5f / largest;
    y *= 1.5f / largest;
  }
  *dx = x;
  *dy = y;
  *height = grid[1][1] - bx * x - by * y + ((xx * x + xy * y) * x + (xy * x + yy * y) * y) / 2;
}

/* The neighbour of a position, mirrored at the edges. */
static uint32_t neighbour(uint32_t at, int step, uint32_t size) {
  if (step < 0) return at == 0 ? 1 : at - 1;
  if (step > 0) return at + 1 == size ? size - 2 : at + 1;
  return at;
}

static void keypoint(SnnNode *node, const SnnView *view, uint32_t box, uint32_t channel, const float corners[4]) {
  const SnnTensor *in = node->in[0];
  size_t base = box * (size_t)view->by_n + channel * (size_t)view->by_c;
  uint32_t top = 0, left = 0, size = view->h;
  float best = -FLT_MAX;
  for (uint32_t y = 0; y < size; y++) {
    for (uint32_t x = 0; x < size; x++) {
      float value = snn_real(in, base + y * (size_t)view->by_h + x * (size_t)view->by_w);
      if (value > best) best = value, top = y, left = x;
    }
  }
  float grid[3][3], dx = 0, dy = 0, score = best;
  for (int i = -1; i <= 1; i++) {
    for (int j = -1; j <= 1; j++) {
      grid[i + 1][j + 1] =
          snn_real(in, base + neighbour(top, i, size) * (size_t)view->by_h + neighbour(left, j, size) * (size_t)view->by_w);
    }
  }
  refine(grid, in->type == ANEURALNETWORKS_TENSOR_FLOAT16 ? 1e-3f : 1e-5f, &dx, &dy, &score);
  size_t index = (size_t)box * view->c + channel;
  snn_store_real(node->out[0], index, score);
  snn_store_real(node->out[1], 2 * index, ((float)left + dx + .5f) / (float)size * (corners[2] - corners[0]) + corners[0]);
  snn_store_real(node->out[1], 2 * index + 1, ((float)top + dy + .5f) / (float)size * (corners[3] - corners[1]) + corners[1]);
}

static int heatmap_execute(SnnNode *node) {
  const SnnView *view = node->params;
  for (uint32_t box = 0; box < view->n; box++) {
    float corners[4];
    for (uint32_t i = 0; i < 4; i++) corners[i] = snn_real(node->in[1], 4 * (size_t)box + i);
    SNN_CHECK(node, corners[0] <= corners[2] && corners[1] <= corners[3], "box %u ends before it begins", box);
    for (uint32_t channel = 0; channel < view->c; channel++) keypoint(node, view, box, channel, corners);
  }
  return SNN_OK;
}

const SnnOperation snn_roi_operations[] = {
    SNN_RECORD(ROI_ALIGN, 3, roi_align_validate, roi_align_prepare, roi_align_execute, SNN_F16_BY_F32)
    SNN_RECORD(ROI_POOLING, 3, roi_pooling_validate, roi_pooling_prepare, roi_pooling_execute, SNN_F16_BY_F32)
    SNN_RECORD(HEATMAP_MAX_KEYPOINT, 3, heatmap_validate, heatmap_prepare, heatmap_execute, 0)
    {0},
};
