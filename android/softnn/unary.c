#include "unary.h"

#include "kernels.h"

typedef struct {
  const char *in;
  char *out;
  size_t in_element, out_element;
  SnnRun run;
  const void *context;
} Job;

static void run_slice(void *arg, size_t begin, size_t end) {
  const Job *job = arg;
  job->run(job->context, job->in + begin * job->in_element, job->out + begin * job->out_element, end - begin);
}

void snn_run_all(SnnNode *node, size_t in_element, size_t out_element, SnnRun run, const void *context) {
  size_t count;
  if (!snn_count(node->out[0], &count) || count == 0) return;
  Job job = {node->in[0]->data, node->out[0]->data, in_element, out_element, run, context};
  snn_parallel(node, count, 8192, run_slice, &job);
}

void snn_run_table(const void *context, const void *in, void *out, size_t count) {
  snn_table_lookup(context, in, out, count);
}
