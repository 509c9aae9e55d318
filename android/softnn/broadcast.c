#include "broadcast.h"

#include "shape.h"

/* Merges dimension `i` into the one kept before it when both operands continue evenly. */
static bool continues(const SnnPairs *pairs, uint32_t kept, size_t extent, ptrdiff_t a, ptrdiff_t b) {
  return kept > 0 && pairs->a[kept - 1] == a * (ptrdiff_t)extent && pairs->b[kept - 1] == b * (ptrdiff_t)extent;
}

int snn_pairs_plan(SnnNode *node, SnnPairs *pairs) {
  uint32_t rank, dims[SNN_MAX_RANK], kept = 0;
  ptrdiff_t a[SNN_MAX_RANK], b[SNN_MAX_RANK];
  if (!snn_broadcast(node, node->in[0], node->in[1], &rank, dims)) return SNN_BAD;
  snn_broadcast_strides(node->in[0], rank, a);
  snn_broadcast_strides(node->in[1], rank, b);
  for (uint32_t i = 0; i < rank; i++) {
    if (dims[i] == 1) continue;
    if (continues(pairs, kept, dims[i], a[i], b[i])) {
      kept--;
      pairs->dims[kept] *= dims[i];
    } else {
      pairs->dims[kept] = dims[i];
    }
    pairs->a[kept] = a[i];
    pairs->b[kept] = b[i];
    kept++;
  }
  if (kept == 0) {
    pairs->dims[0] = 1;
    pairs->a[0] = pairs->b[0] = 0;
    kept = 1;
  }
  pairs->rank = kept;
  pairs->outer = 1;
  for (uint32_t i = 0; i + 1 < kept; i++) pairs->outer *= pairs->dims[i];
  return snn_set_shape(node, 0, rank, dims);
}

typedef struct {
  const SnnPairs *pairs;
  size_t element;
  SnnPairRow row;
  const void *context;
  const char *a, *b;
  char *out;
} Job;

/* Part [begin, end) of the innermost run number `line`. */
static void run_line(const Job *job, size_t line, size_t begin, size_t end) {
  const SnnPairs *pairs = job->pairs;
  uint32_t inner = pairs->rank - 1;
  ptrdiff_t a = (ptrdiff_t)begin * pairs->a[inner], b = (ptrdiff_t)begin * pairs->b[inner];
  size_t rest = line;
  for (uint32_t i = inner; i-- > 0;) {
    ptrdiff_t index = (ptrdiff_t)(rest % pairs->dims[i]);
    rest /= pairs->dims[i];
    a += index * pairs->a[i];
    b += index * pairs->b[i];
  }
  ptrdiff_t bytes = (ptrdiff_t)job->element;
  job->row(job->context, job->a + a * bytes, pairs->a[inner], job->b + b * bytes, pairs->b[inner],
           job->out + (line * pairs->dims[inner] + begin) * job->element, end - begin);
}

static void run_lines(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  for (size_t line = begin; line < end; line++) run_line(job, line, 0, job->pairs->dims[job->pairs->rank - 1]);
}

static void run_inner(void *arg, size_t begin, size_t end) { run_line(arg, 0, begin, end); }

void snn_pairs_run(SnnNode *node, const SnnPairs *pairs, size_t element, SnnPairRow row, const void *context) {
  Job job = {pairs, element, row, context, node->in[0]->data, node->in[1]->data, node->out[0]->data};
  size_t inner = pairs->dims[pairs->rank - 1];
  const size_t slice = 6144; /* less than two are not worth it, though half of them lie in another core's cache */
  if (inner == 0) return;
  if (pairs->outer == 1) snn_parallel(node, inner, slice, run_inner, &job);
  else snn_parallel(node, pairs->outer, inner >= slice ? 1 : slice / inner, run_lines, &job);
}
