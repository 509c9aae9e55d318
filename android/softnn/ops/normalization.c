/* L2_NORMALIZATION, LOCAL_RESPONSE_NORMALIZATION, INSTANCE_NORMALIZATION. */
#include <math.h>

#include "../numeric.h"
#include "../shape.h"

/* Lines along one axis: element i of a line lies `inner` after element i - 1. */
typedef struct {
  size_t outer, axis, inner;
  int32_t type, zero_point;           /* L2_NORMALIZATION */
  int32_t radius;                     /* LOCAL_RESPONSE_NORMALIZATION */
  float bias, alpha, beta;
  float gamma, shift, epsilon;        /* INSTANCE_NORMALIZATION */
} Normalization;

typedef struct {
  const Normalization *norm;
  const void *in;
  void *out;
} Job;

static size_t line_start(const Normalization *norm, size_t line) {
  return line / norm->inner * norm->axis * norm->inner + line % norm->inner;
}

static int set_axis(SnnNode *node, Normalization *norm, uint32_t axis_input) {
  const SnnTensor *in = node->in[0];
  int32_t axis = -1;
  uint32_t at;
  SNN_CHECK(node, in->rank <= 4, "input 0 has rank %u; at most 4 expected", in->rank);
  if (node->n_in > axis_input) SNN_TRY(snn_get_i32(node, axis_input, &axis));
  if (!snn_axis(node, axis, in->rank, &at)) return SNN_BAD;
  norm->outer = snn_product(in->dims, 0, at);
  norm->axis = in->dims[at];
  norm->inner = snn_product(in->dims, at + 1, in->rank);
  norm->type = in->type;
  return snn_set_shape_like(node, 0, in);
}

static int keep(SnnNode *node, const Normalization *norm) {
  Normalization *params = snn_params(node, sizeof *params);
  if (params == NULL) return SNN_NO_MEMORY;
  *params = *norm;
  return SNN_OK;
}

static int run_lines(SnnNode *node, void (*run)(void *arg, size_t begin, size_t end)) {
  const Normalization *norm = node->params;
  Job job = {norm, node->in[0]->data, node->out[0]->data};
  if (norm->axis > 0) snn_parallel(node, norm->outer * norm->inner, 1 + 4096 / norm->axis, run, &job);
  return SNN_OK;
}

/* Before feature level 3 the operations took rank 4 and no axis. */
static int level_with_axis(const SnnNode *node, int level, bool axis) {
  bool old = !axis && node->in[0]->rank_known && node->in[0]->rank == 4;
  return old || level >= 3 ? level : 3;
}

/* --- L2_NORMALIZATION --- */

static int validate_l2(SnnNode *node) {
  static const SnnTypeLevel types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3},
                                       {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                       SNN_NO_TYPE};
  int level = snn_type_level(node, 0, types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "T|i", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "input 0", 1, 4) || !snn_check_fixed_output(node, 1.0f / 128, 128, 0)) return SNN_INVALID;
  return level_with_axis(node, level, node->n_in > 1);
}

static int prepare_l2(SnnNode *node) {
  Normalization norm = {.zero_point = node->in[0]->zero_point};
  SNN_TRY(set_axis(node, &norm, 1));
  return keep(node, &norm);
}

static void l2_float(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Normalization *norm = job->norm;
  for (size_t line = begin; line < end; line++) {
    const float *in = (const float *)job->in + line_start(norm, line);
    float *out = (float *)job->out + line_start(norm, line), sum = 0;
    for (size_t i = 0; i < norm->axis; i++) sum += in[i * norm->inner] * in[i * norm->inner];
    float length = fmaxf(sqrtf(sum), 1e-6f);
    for (size_t i = 0; i < norm->axis; i++) out[i * norm->inner] = in[i * norm->inner] / length;
  }
}

/* TFLite scales unsigned values by 2^7 before, signed ones by the shift: the last bit can differ. */
static int32_t l2_value(int32_t type, int32_t value, SnnMultiplier inverse) {
  if (type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM) return snn_clamp(snn_multiply(value * 128, inverse) + 128, 0, 255);
  inverse.shift += 7;
  return snn_clamp(snn_multiply(value, inverse), -128, 127);
}

static void l2_quantized(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Normalization *norm = job->norm;
  for (size_t line = begin; line < end; line++) {
    size_t start = line_start(norm, line);
    uint32_t sum = 0;
    for (size_t i = 0; i < norm->axis; i++) {
      int32_t value = snn_load8(norm->type, job->in, start + i * norm->inner) - norm->zero_point;
      sum += (uint32_t)(value * value);
    }
    SnnMultiplier inverse = snn_inverse_sqrt((int32_t)sum);
    for (size_t i = 0; i < norm->axis; i++) {
      int32_t value = snn_load8(norm->type, job->in, start + i * norm->inner) - norm->zero_point;
      ((uint8_t *)job->out)[start + i * norm->inner] = (uint8_t)l2_value(norm->type, value, inverse);
    }
  }
}

static int execute_l2(SnnNode *node) {
  return run_lines(node, snn_is_quant8(node->in[0]->type) ? l2_quantized : l2_float);
}

/* --- LOCAL_RESPONSE_NORMALIZATION --- */

static const SnnTypeLevel lrn_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};

static int validate_lrn(SnnNode *node) {
  int level = snn_type_level(node, 0, lrn_types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Tifff|i", "T")) return SNN_INVALID;
  if (!snn_check_rank(node, node->in[0], "input 0", 1, 4)) return SNN_INVALID;
  return level_with_axis(node, level, node->n_in > 5);
}

static int prepare_lrn(SnnNode *node) {
  Normalization norm = {0};
  SNN_TRY(set_axis(node, &norm, 5));
  SNN_TRY(snn_get_i32(node, 1, &norm.radius));
  SNN_TRY(snn_get_f32(node, 2, &norm.bias));
  SNN_TRY(snn_get_f32(node, 3, &norm.alpha));
  SNN_TRY(snn_get_f32(node, 4, &norm.beta));
  SNN_CHECK(node, norm.radius >= 0, "the radius is %d; it may not be negative", (int)norm.radius);
  return keep(node, &norm);
}

static void lrn(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Normalization *norm = job->norm;
  size_t radius = (size_t)norm->radius;
  for (size_t line = begin; line < end; line++) {
    const float *in = (const float *)job->in + line_start(norm, line);
    float *out = (float *)job->out + line_start(norm, line);
    for (size_t i = 0; i < norm->axis; i++) {
      size_t from = i > radius ? i - radius : 0, to = norm->axis - i > radius ? i + radius + 1 : norm->axis;
      float sum = 0;
      for (size_t d = from; d < to; d++) sum += in[d * norm->inner] * in[d * norm->inner];
      out[i * norm->inner] = in[i * norm->inner] * powf(norm->bias + norm->alpha * sum, -norm->beta);
    }
  }
}

static int execute_lrn(SnnNode *node) { return run_lines(node, lrn); }

/* --- INSTANCE_NORMALIZATION --- */

static const SnnTypeLevel instance_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 3}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};

static int validate_instance(SnnNode *node) {
  int level = snn_type_level(node, 0, instance_types);
  if (level < 0 || !snn_signature(node, node->in[0]->type, "Tfffb", "T")) return SNN_INVALID;
  return snn_check_rank(node, node->in[0], "input 0", 4, 4) ? level : SNN_INVALID;
}

static int prepare_instance(SnnNode *node) {
  const SnnTensor *in = node->in[0];
  Normalization norm = {0};
  bool nchw;
  SNN_CHECK(node, in->rank == 4, "input 0 has rank %u; 4 expected", in->rank);
  SNN_TRY(snn_get_f32(node, 1, &norm.gamma));
  SNN_TRY(snn_get_f32(node, 2, &norm.shift));
  SNN_TRY(snn_get_f32(node, 3, &norm.epsilon));
  SNN_TRY(snn_get_bool(node, 4, &nchw));
  /* A line is one channel of one image: its cells lie together (NCHW) or a pixel apart (NHWC). */
  norm.outer = nchw ? (size_t)in->dims[0] * in->dims[1] : in->dims[0];
  norm.axis = nchw ? (size_t)in->dims[2] * in->dims[3] : (size_t)in->dims[1] * in->dims[2];
  norm.inner = nchw ? 1 : in->dims[3];
  SNN_TRY(snn_set_shape_like(node, 0, in));
  return keep(node, &norm);
}

static void instance(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Normalization *norm = job->norm;
  for (size_t line = begin; line < end; line++) {
    const float *in = (const float *)job->in + line_start(norm, line);
    float *out = (float *)job->out + line_start(norm, line), cells = (float)norm->axis;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < norm->axis; i++) sum += in[i * norm->inner];
    float mean = (float)(sum / cells);
    for (size_t i = 0; i < norm->axis; i++) {
      float distance = in[i * norm->inner] - mean;
      squares += distance * distance;
    }
    float sigma = sqrtf((float)(squares / cells) + norm->epsilon);
    for (size_t i = 0; i < norm->axis; i++) {
      out[i * norm->inner] = (in[i * norm->inner] - mean) * norm->gamma / sigma + norm->shift;
    }
  }
}

static int execute_instance(SnnNode *node) { return run_lines(node, instance); }

const SnnOperation snn_normalization_operations[] = {
    SNN_RECORD(L2_NORMALIZATION, 1, validate_l2, prepare_l2, execute_l2, SNN_F16_BY_F32)
    SNN_RECORD(LOCAL_RESPONSE_NORMALIZATION, 1, validate_lrn, prepare_lrn, execute_lrn, SNN_F16_BY_F32)
    SNN_RECORD(INSTANCE_NORMALIZATION, 3, validate_instance, prepare_instance, execute_instance, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
