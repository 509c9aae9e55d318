/* The pool of threads behind snn_parallel.
 *
 * One job at a time: an execution that finds the pool busy computes alone. The caller works too; workers join a job while its gate is
 * open, and the caller waits only for those that did, so a worker that is slow to wake costs nothing. Workers wait for the next job
 * by futex, after a short look without.
 */
#include "engine.h"

#include <pthread.h>
#include <stdlib.h>

#define MAX_WORKERS 63
#define OPEN 0x80000000u
#define LOOKS 2000

typedef struct {
  pthread_t thread;
  uint32_t index; /* from 1; 0 is the caller */
  unsigned seen;  /* the round at its start */
} Worker;

static struct {
  SnnLock lock;      /* guards the workers' coming and going */
  uint32_t holders, count_of_workers;
  Worker workers[MAX_WORKERS];
  atomic_uint stop;
  atomic_uint busy;  /* 1 while an execution has the pool */
  atomic_uint round; /* counts jobs; what workers wait on */
  atomic_uint gate;  /* OPEN, and the number of workers inside */
  /* the job; written while the gate is closed and nobody is inside */
  SnnSliceFunction fn;
  void *arg;
  size_t count, slice, slices;
  uint32_t workers_wanted;
  atomic_size_t next; /* slice */
} pool;

static void work(uint32_t worker) {
  size_t slice = pool.slice, count = pool.count;
  for (;;) {
    size_t index = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
    if (index >= pool.slices) return;
    size_t begin = index * slice;
    pool.fn(pool.arg, worker, begin, count - begin < slice ? count : begin + slice);
  }
}

static bool join_job(void) {
  unsigned gate = atomic_load_explicit(&pool.gate, memory_order_relaxed);
  while (gate & OPEN) {
    if (atomic_compare_exchange_weak_explicit(&pool.gate, &gate, gate + 1, memory_order_acquire, memory_order_relaxed)) return true;
  }
  return false;
}

static void leave_job(void) {
  if (atomic_fetch_sub_explicit(&pool.gate, 1, memory_order_release) == 1) snn_wake_word(&pool.gate); /* closed, and the last one */
}

/* The round after `seen`; the pool is to stop when it has not changed on return. */
static unsigned await_round(unsigned seen) {
  for (int look = 0; look < LOOKS; look++) {
    unsigned round = atomic_load_explicit(&pool.round, memory_order_acquire);
    if (round != seen) return round;
  }
  unsigned round;
  while ((round = atomic_load_explicit(&pool.round, memory_order_acquire)) == seen) snn_wait_word(&pool.round, seen, SNN_NEVER);
  return round;
}

static void *worker_main(void *argument) {
  const Worker *self = argument;
  unsigned seen = self->seen;
  for (;;) {
    seen = await_round(seen);
    if (atomic_load_explicit(&pool.stop, memory_order_acquire)) return NULL;
    if (join_job()) {
      if (self->index < pool.workers_wanted) work(self->index);
      leave_job();
    }
  }
}

void snn_threads_retain(uint32_t threads) {
  if (threads < 2) return;
  snn_lock(&pool.lock);
  pool.holders++;
  uint32_t wanted = threads - 1 < MAX_WORKERS ? threads - 1 : MAX_WORKERS;
  while (pool.count_of_workers < wanted) {
    Worker *worker = &pool.workers[pool.count_of_workers];
    worker->index = pool.count_of_workers + 1;
    worker->seen = atomic_load_explicit(&pool.round, memory_order_relaxed);
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) break; /* fewer threads than wanted are no error */
    pool.count_of_workers++;
  }
  snn_unlock(&pool.lock);
}

void snn_threads_release(uint32_t threads) {
  if (threads < 2) return;
  snn_lock(&pool.lock);
  if (--pool.holders == 0) { /* no compilation, so no execution: no job */
    atomic_store_explicit(&pool.stop, 1, memory_order_release);
    atomic_fetch_add_explicit(&pool.round, 1, memory_order_release);
    snn_wake_word(&pool.round);
    for (; pool.count_of_workers > 0; pool.count_of_workers--) pthread_join(pool.workers[pool.count_of_workers - 1].thread, NULL);
    atomic_store_explicit(&pool.stop, 0, memory_order_release);
  }
  snn_unlock(&pool.lock);
}

/* Four slices a thread even out unequal speed. */
static size_t slice_of(size_t count, size_t grain, size_t threads) {
  size_t slice = count / (threads * 4);
  return slice < grain ? grain : slice;
}

uint32_t snn_workers(const SnnNode *node) { return node->context->instance->shared->threads; }

void snn_parallel_by_worker(SnnNode *node, size_t count, size_t grain, SnnSliceFunction fn, void *arg) {
  uint32_t threads = snn_workers(node);
  if (count == 0) return;
  if (grain == 0) grain = 1;
  unsigned idle = 0;
  if (threads < 2 || count <= grain || !atomic_compare_exchange_strong(&pool.busy, &idle, 1)) {
    fn(arg, 0, 0, count);
    return;
  }
  pool.fn = fn;
  pool.arg = arg;
  pool.count = count;
  pool.slice = slice_of(count, grain, threads);
  pool.slices = (count - 1) / pool.slice + 1;
  pool.workers_wanted = threads;
  atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
  atomic_store_explicit(&pool.gate, OPEN, memory_order_release);
  atomic_fetch_add_explicit(&pool.round, 1, memory_order_release);
  snn_wake_word(&pool.round);
  work(0);
  unsigned inside = atomic_fetch_and_explicit(&pool.gate, ~OPEN, memory_order_acquire) & ~OPEN;
  while (inside != 0) {
    snn_wait_word(&pool.gate, inside, SNN_NEVER);
    inside = atomic_load_explicit(&pool.gate, memory_order_acquire);
  }
  atomic_store_explicit(&pool.busy, 0, memory_order_release);
}

/* For functions that do not care which worker they are. */
typedef struct {
  void (*fn)(void *arg, size_t begin, size_t end);
  void *arg;
} Plain;

static void run_plain(void *arg, uint32_t worker, size_t begin, size_t end) {
  const Plain *plain = arg;
  (void)worker;
  plain->fn(plain->arg, begin, end);
}

void snn_parallel(SnnNode *node, size_t count, size_t grain, void (*fn)(void *arg, size_t begin, size_t end), void *arg) {
  Plain plain = {fn, arg};
  snn_parallel_by_worker(node, count, grain, run_plain, &plain);
}
