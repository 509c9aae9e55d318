/* RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR. */
#include "../numeric.h"
#include "../shape.h"

#include <string.h>

/* One output position of one direction: the two input positions around it and the second one's share. */
typedef struct {
  uint32_t lower, upper;
  float share;      /* of `upper` */
  int32_t share_10; /* the same in 1/1024 */
} Tap;

typedef struct {
  size_t batches, pixel; /* elements of one pixel; NCHW is NHWC with batch * channels images of one channel */
  uint32_t in_h, in_w, out_h, out_w;
  bool align, half;
  Tap taps[]; /* out_h, then out_w */
} Resize;

enum { WIDTH = 1, HEIGHT = 2, NCHW = 3, ALIGN = 4, HALF = 5 }; /* inputs */

static int validate_form(SnnNode *node, const SnnTypeLevel *levels, const char *by_size, const char *by_scale) {
  int level = snn_type_level(node, 0, levels);
  if (level < 0) return level;
  bool scaled = node->n_in > HEIGHT && node->in[WIDTH]->type != ANEURALNETWORKS_INT32;
  if (!snn_signature(node, node->in[0]->type, scaled ? by_scale : by_size, "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "the input", 4, 4)) return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  if ((scaled || node->n_in > NCHW) && level < 3) level = 3;
  return node->n_in > ALIGN ? 4 : level;
}

static int bilinear_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {
      SNN_FLOATS(1), {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4}, SNN_NO_TYPE};
  return validate_form(node, levels, "Tii|bbb", "Tff|bbb");
}

static int nearest_validate(SnnNode *node) {
  static const SnnTypeLevel levels[] = {SNN_FLOATS_AND_BYTES(3), SNN_NO_TYPE};
  return validate_form(node, levels, "Tiib|bb", "Tffb|bb");
}

static int optional_bool(SnnNode *node, uint32_t input, bool *value) {
  *value = false;
  return input < node->n_in ? snn_get_bool(node, input, value) : SNN_OK;
}

/* The output's size from a size or a factor. */
static int target_size(SnnNode *node, uint32_t input, uint32_t size, uint32_t *target) {
  double wanted;
  if (node->in[input]->type == ANEURALNETWORKS_INT32) {
    int32_t value;
    SNN_TRY(snn_get_i32(node, input, &value));
    wanted = value;
  } else {
    float factor;
    SNN_TRY(snn_get_f32(node, input, &factor));
    wanted = floorf((float)size * factor);
  }
  SNN_CHECK(node, wanted >= 1 && wanted <= INT32_MAX, "the %s becomes %g", input == WIDTH ? "width" : "height", wanted);
  *target = (uint32_t)wanted;
  return SNN_OK;
}

static int resize_prepare(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  Resize r = {0};
  bool nchw;
  if (!snn_check_rank(node, in, "the input", 4, 4)) return SNN_BAD;
  SNN_TRY(optional_bool(node, NCHW, &nchw));
  SNN_TRY(optional_bool(node, ALIGN, &r.align));
  SNN_TRY(optional_bool(node, HALF, &r.half));
  SNN_CHECK(node, !(r.align && r.half), "align_corners and half_pixel_centers exclude each other");
  uint32_t y = nchw ? 2 : 1, x = y + 1, dims[4] = {in->dims[0], in->dims[1], in->dims[2], in->dims[3]};
  r.in_h = in->dims[y];
  r.in_w = in->dims[x];
  SNN_CHECK(node, r.in_h > 0 && r.in_w > 0, "the input is empty");
  SNN_TRY(target_size(node, HEIGHT, r.in_h, &r.out_h));
  SNN_TRY(target_size(node, WIDTH, r.in_w, &r.out_w));
  dims[y] = r.out_h;
  dims[x] = r.out_w;
  SNN_TRY(snn_set_shape(node, 0, 4, dims));
  r.batches = nchw ? (size_t)in->dims[0] * in->dims[1] : in->dims[0];
  r.pixel = nchw ? 1 : in->dims[3];
  size_t bytes, count = (size_t)r.out_h + r.out_w;
  SNN_CHECK(node, snn_size_mul(count, sizeof(Tap), &bytes) && bytes < SIZE_MAX - sizeof(r), "the output is too large");
  Resize *params = snn_params(node, sizeof(r) + bytes);
  if (!params) return SNN_NO_MEMORY;
  *params = r;
  return SNN_OK;
}

/* --- bilinear --- */

/* TFLite's float rule (float32 and uint8). */
static void float_taps(Tap *taps, uint32_t in, uint32_t out, bool align, bool half) {
  float scale = align && out > 1 ? (float)(in - 1) / (float)(out - 1) : (float)in / (float)out;
  for (uint32_t i = 0; i < out; i++) {
    float position = half ? ((float)i + .5f) * scale - .5f : (float)i * scale;
    float lower = floorf(position), upper = ceilf(position);
    taps[i].lower = lower <= 0 ? 0 : lower >= (float)in ? in - 1 : (uint32_t)lower;
    taps[i].upper = upper <= 0 ? 0 : upper >= (float)in ? in - 1 : (uint32_t)upper;
    taps[i].share = position - (float)taps[i].lower;
  }
}

/* TFLite's integer rule (int8): positions in 1/1024. */
static void integer_taps(Tap *taps, uint32_t in, uint32_t out, bool align, bool half) {
  int64_t from = in, to = out;
  if (align && out > 1) from--, to--;
  int64_t scale = (1024 * from + to / 2) / to;
  for (uint32_t i = 0; i < out; i++) {
    int64_t position = half ? i * scale + scale / 2 - 512 : i * scale;
    int64_t lower = position / 1024, upper = (position + 1023) / 1024, last = (int64_t)in - 1;
    lower = lower < 0 ? 0 : lower > last ? last : lower;
    taps[i].lower = (uint32_t)lower;
    taps[i].upper = (uint32_t)(upper > last ? last : upper);
    /* Outside the image both are the edge, and the share, which may be any size there, does not matter. */
    taps[i].share_10 = taps[i].lower == taps[i].upper ? 0 : (int32_t)(position - 1024 * lower);
  }
}

static int bilinear_prepare(SnnNode *node) {
  SNN_TRY(resize_prepare(node));
  Resize *r = node->params;
  bool integer = node->in[0]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
  void (*taps)(Tap *, uint32_t, uint32_t, bool, bool) = integer ? integer_taps : float_taps;
  taps(r->taps, r->in_h, r->out_h, r->align, r->half);
  taps(r->taps + r->out_h, r->in_w, r->out_w, r->align, r->half);
  return SNN_OK;
}

/* Four neighbours of one pixel, in the order of TFLite's sum. */
#define DEFINE_BILINEAR(name, T, mix)                                                               \
  static void name(void *arg, size_t begin, size_t end) {                                           \
    const SnnNode *node = arg;                                                                      \
    const Resize *r = node->params;                                                                 \
    const T *in = node->in[0]->data;                                                                \
    T *out = (T *)node->out[0]->data + begin * r->out_w * r->pixel;                                 \
    const Tap *columns = r->taps + r->out_h;                                                        \
    size_t pixel = r->pixel, row = r->in_w * pixel, width = r->out_w;                               \
    for (size_t line = begin; line < end; line++) {                                                 \
      const T *image = in + line / r->out_h * r->in_h * row;                                        \
      const Tap y = r->taps[line % r->out_h];                                                       \
      const T *above = image + y.lower * row, *below = image + y.upper * row;                       \
      for (uint32_t i = 0; i < width; i++, out += pixel) {                                          \
        const Tap x = columns[i];                                                                   \
        size_t left = x.lower * pixel, right = x.upper * pixel;                                     \
        for (size_t c = 0; c < pixel; c++) {                                                        \
          out[c] = mix(above[left + c], below[left + c], above[right + c], below[right + c], y, x); \
        }                                                                                           \
      }                                                                                             \
    }                                                                                               \
  }

static inline float mix_float(float a, float b, float c, float d, Tap y, Tap x) {
  return a * (1 - y.share) * (1 - x.share) + b * y.share * (1 - x.share) + c * (1 - y.share) * x.share + d * y.share * x.share;
}

static inline uint8_t mix_u8(uint8_t a, uint8_t b, uint8_t c, uint8_t d, Tap y, Tap x) {
  float mixed = mix_float(a, b, c, d, y, x) + .5f;
  return mixed >= 255 ? 255 : mixed <= 0 ? 0 : (uint8_t)mixed;
}

static inline int8_t mix_s8(int8_t a, int8_t b, int8_t c, int8_t d, Tap y, Tap x) {
  int32_t dy = y.share_10, dx = x.share_10;
  int32_t sum = a * (1024 - dy) * (1024 - dx) + b * dy * (1024 - dx) + c * (1024 - dy) * dx + d * dy * dx;
  int32_t mixed = (sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20);
  return (int8_t)(mixed < -128 ? -128 : mixed > 127 ? 127 : mixed);
}

DEFINE_BILINEAR(bilinear_float, float, mix_float)
DEFINE_BILINEAR(bilinear_u8, uint8_t, mix_u8)
DEFINE_BILINEAR(bilinear_s8, int8_t, mix_s8)

static size_t lines_per_slice(const Resize *r) {
  size_t line = (size_t)r->out_w * r->pixel;
  return line >= 4096 ? 1 : 4096 / (line + 1) + 1;
}

static int bilinear_execute(SnnNode *node) {
  const Resize *r = node->params;
  void (*lines)(void *, size_t, size_t) = bilinear_float;
  if (node->in[0]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM) lines = bilinear_u8;
  if (node->in[0]->type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED) lines = bilinear_s8;
  snn_parallel(node, r->batches * r->out_h, lines_per_slice(r), lines, node);
  return SNN_OK;
}

/* --- nearest neighbour --- */

static void nearest_taps(Tap *taps, uint32_t in, uint32_t out, bool align, bool half) {
  float scale = align && out > 1 ? (float)(in - 1) / (float)(out - 1) : (float)in / (float)out;
  for (uint32_t i = 0; i < out; i++) {
    float position = ((float)i + (half ? .5f : 0)) * scale;
    position = align ? roundf(position) : floorf(position);
    taps[i].lower = position >= (float)in ? in - 1 : (uint32_t)position;
  }
}

static int nearest_prepare(SnnNode *node) {
  SNN_TRY(resize_prepare(node));
  Resize *r = node->params;
  nearest_taps(r->taps, r->in_h, r->out_h, r->align, r->half);
  nearest_taps(r->taps + r->out_h, r->in_w, r->out_w, r->align, r->half);
  return SNN_OK;
}

static void nearest_lines(void *arg, size_t begin, size_t end) {
  const SnnNode *node = arg;
  const Resize *r = node->params;
  size_t pixel = r->pixel * snn_element_size(node->in[0]->type);
  const uint8_t *in = node->in[0]->data;
  uint8_t *out = (uint8_t *)node->out[0]->data + begin * r->out_w * pixel;
  for (size_t line = begin; line < end; line++) {
    const uint8_t *row = in + (line / r->out_h * r->in_h + r->taps[line % r->out_h].lower) * r->in_w * pixel;
    for (uint32_t i = 0; i < r->out_w; i++, out += pixel) memcpy(out, row + r->taps[r->out_h + i].lower * pixel, pixel);
  }
}

static int nearest_execute(SnnNode *node) {
  const Resize *r = node->params;
  snn_parallel(node, r->batches * r->out_h, lines_per_slice(r), nearest_lines, node);
  return SNN_OK;
}

const SnnOperation snn_resize_operations[] = {
    SNN_RECORD(RESIZE_BILINEAR, 1, bilinear_validate, bilinear_prepare, bilinear_execute, SNN_F16_BY_F32)
    SNN_RECORD(RESIZE_NEAREST_NEIGHBOR, 3, nearest_validate, nearest_prepare, nearest_execute, 0)
    {0},
};
