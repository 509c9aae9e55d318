/* AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D. Padding cells do not count. */
#include "../kernels.h"
#include "../layout.h"
#include "../numeric.h"
#include "../shape.h"

static const SnnWindowKind kind = {.tensors = 1, .extras = 2};
enum { FILTER_WIDTH, FILTER_HEIGHT }; /* extras */

typedef struct {
  SnnWindow window;
  SnnImage out;
  const SnnKernels *kernels;
  bool quantized, is_signed;
  int32_t lo, hi;
  float float_lo, float_hi;
  uint32_t element;
  size_t nhwc_in, nhwc_out; /* in the scratch memory */
} Pool;

static const SnnTypeLevel float_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, SNN_NO_TYPE};
static const SnnTypeLevel all_types[] = {{ANEURALNETWORKS_TENSOR_FLOAT32, 1}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM, 1},
                                         {ANEURALNETWORKS_TENSOR_FLOAT16, 3}, {ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED, 4},
                                         SNN_NO_TYPE};

static int validate(SnnNode *node) {
  int level = snn_type_level(node, 0, node->op->code == ANEURALNETWORKS_L2_POOL_2D ? float_types : all_types);
  if (level < 0) return SNN_INVALID;
  SNN_REQUIRE(node, snn_present(node->in[0]), "input 0 may not be omitted");
  SNN_REQUIRE(node, node->n_out == 1, "%u outputs are not 1", node->n_out);
  SNN_REQUIRE(node, node->out[0]->type == node->in[0]->type, "output is %s, not %s", snn_type_name(node->out[0]->type),
              snn_type_name(node->in[0]->type));
  SnnWindowForm form;
  int form_level = snn_window_form(node, &kind, &form);
  if (form_level < 0 || !snn_check_rank(node, node->in[0], "input 0", 4, 4)) return SNN_INVALID;
  if (!snn_check_same_quantization(node, node->in[0], node->out[0])) return SNN_INVALID;
  return level > form_level ? level : form_level;
}

static int prepare(SnnNode *node) {
  Pool pool = {0};
  SNN_TRY(snn_window_read(node, &kind, &pool.window));
  pool.window.x.filter = pool.window.extra[FILTER_WIDTH];
  pool.window.y.filter = pool.window.extra[FILTER_HEIGHT];
  SNN_TRY(snn_window_solve(node, &pool.window));
  pool.out = (SnnImage){pool.window.in.batch, (uint32_t)pool.window.y.out, (uint32_t)pool.window.x.out, pool.window.in.channels};
  SNN_TRY(snn_set_image(node, &pool.window, pool.out.channels));
  pool.kernels = snn_kernels();
  int32_t type = node->in[0]->type;
  pool.quantized = snn_is_quant8(type);
  pool.is_signed = type == ANEURALNETWORKS_TENSOR_QUANT8_ASYMM_SIGNED;
  pool.element = pool.quantized ? 1 : sizeof(float);
  if (pool.quantized) SNN_TRY(snn_fused_range(node, pool.window.fuse, node->out[0], &pool.lo, &pool.hi));
  else SNN_TRY(snn_fused_range_float(node, pool.window.fuse, &pool.float_lo, &pool.float_hi));
  size_t in, out, at = 0;
  SNN_CHECK(node, snn_image_count(&pool.window.in, &in) && snn_image_count(&pool.out, &out), "the image is too large");
  if (pool.window.nchw) {
    pool.nhwc_out = snn_align(in * pool.element, 64);
    at = pool.nhwc_out + out * pool.element;
  }
  snn_scratch(node, at);
  Pool *params = snn_params(node, sizeof *params);
  if (params == NULL) return SNN_NO_MEMORY;
  *params = pool;
  return SNN_OK;
}

typedef struct {
  const Pool *pool;
  int32_t code;
  const char *in;
  char *out;
} Job;

/* The cells of a window that starts at `at` and lie inside: [begin, end). */
static void inside(const SnnAxis *axis, int64_t at, int64_t *begin, int64_t *end) {
  *begin = at < 0 ? 0 : at;
  *end = at + axis->filter < axis->in ? at + axis->filter : axis->in;
}

static void run_pixel(const Job *job, const SnnTaps *taps) {
  const Pool *pool = job->pool;
  const SnnKernels *kernels = pool->kernels;
  bool average = job->code == ANEURALNETWORKS_AVERAGE_POOL_2D;
  if (pool->quantized) {
    if (average) kernels->q_average(taps, pool->is_signed, pool->lo, pool->hi);
    else kernels->q_max(taps, pool->is_signed, pool->lo, pool->hi);
  } else if (average) {
    kernels->f_average(taps, pool->float_lo, pool->float_hi);
  } else if (job->code == ANEURALNETWORKS_MAX_POOL_2D) {
    kernels->f_max(taps, pool->float_lo, pool->float_hi);
  } else {
    kernels->f_l2(taps, pool->float_lo, pool->float_hi);
  }
}

/* Lines of the output, counted through all batches. */
static void run_lines(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  const Pool *pool = job->pool;
  const SnnAxis *y = &pool->window.y, *x = &pool->window.x;
  size_t channels = pool->out.channels, row = pool->window.in.width * channels;
  SnnTaps taps = {.in_row = row, .in_column = channels, .channels = (uint32_t)channels};
  for (size_t line = begin; line < end; line++) {
    size_t batch = line / pool->out.height;
    int64_t y0, y1, x0, x1;
    inside(y, (int64_t)(line % pool->out.height) * y->stride - y->before, &y0, &y1);
    for (size_t column = 0; column < pool->out.width; column++) {
      inside(x, (int64_t)column * x->stride - x->before, &x0, &x1);
      taps.rows = (uint32_t)(y1 - y0);
      taps.columns = (uint32_t)(x1 - x0);
      taps.in = job->in + ((batch * pool->window.in.height + (size_t)y0) * row + (size_t)x0 * channels) * pool->element;
      taps.out = job->out + (line * pool->out.width + column) * channels * pool->element;
      run_pixel(job, &taps);
    }
  }
}

static int execute(SnnNode *node) {
  const Pool *pool = node->params;
  char *scratch = node->scratch;
  Job job = {pool, node->op->code, node->in[0]->data, node->out[0]->data};
  if (pool->window.nchw) {
    snn_nchw_to_nhwc(scratch + pool->nhwc_in, job.in, &pool->window.in, pool->element);
    job.in = scratch + pool->nhwc_in;
    job.out = scratch + pool->nhwc_out;
  }
  snn_parallel(node, (size_t)pool->out.batch * pool->out.height, 1, run_lines, &job);
  if (pool->window.nchw) snn_nhwc_to_nchw(node->out[0]->data, job.out, &pool->out, pool->element);
  return SNN_OK;
}

const SnnOperation snn_pooling_operations[] = {
    SNN_RECORD(AVERAGE_POOL_2D, 1, validate, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(L2_POOL_2D, 1, validate, prepare, execute, SNN_F16_BY_F32)
    SNN_RECORD(MAX_POOL_2D, 1, validate, prepare, execute, SNN_F16_BY_F32)
    {0, NULL, 0, NULL, NULL, NULL, 0},
};
