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

static struct {
  SnnLock lock;      /* guards the workers' coming and going */
  uint32_t holders, workers;
  pthread_t threads[MAX_WORKERS];
  atomic_uint stop;
  atomic_uint busy;  /* 1 while an execution has the pool */
  atomic_uint round; /* counts jobs; what workers wait on */
  atomic_uint gate;  /* OPEN, and the number of workers inside */
  /* the job; written while the gate is closed and nobody is inside */
  void (*fn)(void *arg, size_t begin, size_t end);
  void *arg;
  size_t count, slice, slices;
  atomic_size_t next; /* slice */
} pool;

static void work(void) {
  size_t slice = pool.slice, count = pool.count;
  for (;;) {
    size_t index = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed);
    if (index >= pool.slices) return;
    size_t begin = index * slice;
    pool.fn(pool.arg, begin, count - begin < slice ? count : begin + slice);
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
  unsigned seen = (unsigned)(uintptr_t)argument;
  for (;;) {
    seen = await_round(seen);
    if (atomic_load_explicit(&pool.stop, memory_order_acquire)) return NULL;
    if (join_job()) {
      work();
      leave_job();
    }
  }
}

void snn_threads_retain(uint32_t threads) {
  if (threads < 2) return;
  snn_lock(&pool.lock);
  pool.holders++;
  uint32_t wanted = threads - 1 < MAX_WORKERS ? threads - 1 : MAX_WORKERS;
  void *seen = (void *)(uintptr_t)atomic_load_explicit(&pool.round, memory_order_relaxed);
  while (pool.workers < wanted && pthread_create(&pool.threads[pool.workers], NULL, worker_main, seen) == 0) pool.workers++;
  snn_unlock(&pool.lock);
}

void snn_threads_release(uint32_t threads) {
  if (threads < 2) return;
  snn_lock(&pool.lock);
  if (--pool.holders == 0) { /* no compilation, so no execution: no job */
    atomic_store_explicit(&pool.stop, 1, memory_order_release);
    atomic_fetch_add_explicit(&pool.round, 1, memory_order_release);
    snn_wake_word(&pool.round);
    for (; pool.workers > 0; pool.workers--) pthread_join(pool.threads[pool.workers - 1], NULL);
    atomic_store_explicit(&pool.stop, 0, memory_order_release);
  }
  snn_unlock(&pool.lock);
}

/* Four slices a thread even out unequal speed. */
static size_t slice_of(size_t count, size_t grain, size_t threads) {
  size_t slice = count / (threads * 4);
  return slice < grain ? grain : slice;
}

void snn_parallel(SnnNode *node, size_t count, size_t grain, void (*fn)(void *arg, size_t begin, size_t end), void *arg) {
  size_t threads = node->context->instance->shared->threads;
  if (count == 0) return;
  if (grain == 0) grain = 1;
  unsigned idle = 0;
  if (threads < 2 || count <= grain || !atomic_compare_exchange_strong(&pool.busy, &idle, 1)) {
    fn(arg, 0, count);
    return;
  }
  pool.fn = fn;
  pool.arg = arg;
  pool.count = count;
  pool.slice = slice_of(count, grain, threads);
  pool.slices = (count - 1) / pool.slice + 1;
  atomic_store_explicit(&pool.next, 0, memory_order_relaxed);
  atomic_store_explicit(&pool.gate, OPEN, memory_order_release);
  atomic_fetch_add_explicit(&pool.round, 1, memory_order_release);
  snn_wake_word(&pool.round);
  work();
  unsigned inside = atomic_fetch_and_explicit(&pool.gate, ~OPEN, memory_order_acquire) & ~OPEN;
  while (inside != 0) {
    snn_wait_word(&pool.gate, inside, SNN_NEVER);
    inside = atomic_load_explicit(&pool.gate, memory_order_acquire);
  }
  atomic_store_explicit(&pool.busy, 0, memory_order_release);
}
