/* The pool of threads behind snn_parallel.
 *
 * Each thread has a share of a job's slices, in order; who is through helps the others. That is for the caches: what a thread wrote in one
 * operation it reads in the next, mostly.
 *
 * One job at a time: an execution that finds the pool busy computes alone. The caller works too; workers join a job while its gate is
 * open, and the caller waits only for those that did, so a worker that is slow to wake costs nothing. Waking takes longer than many
 * operations: while an execution is under way, workers look for its next job about a millisecond long before they sleep by futex.
 */
#include "engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_WORKERS 63
#define OPEN 0x80000000u
#define AWAITED 0x40000000u
#define LOOKS 20000

typedef struct {
  pthread_t thread;
  uint32_t index; /* from 1; 0 is the caller */
  unsigned seen;  /* the round at its start */
  uint32_t cores; /* that the compilation asks for on whose behalf it was started; 0: any */
} Worker;

/* The slices of a job that are meant for one thread. It takes them from the front; others, once they are through with their own, from
 * the back. */
typedef struct {
  _Alignas(128) atomic_size_t left; /* cache lines of its own */
  atomic_size_t past;
  size_t first; /* the owner's alone */
} Share;

static struct {
  SnnLock lock;      /* guards the workers' coming and going */
  uint32_t holders, count_of_workers;
  Worker workers[MAX_WORKERS];
  atomic_uint stop;
  atomic_uint executions; /* under way, of those that use threads */
  atomic_uint sleepers;
  atomic_uint busy;  /* 1 while an execution has the pool */
  atomic_uint round; /* counts jobs; what workers wait on */
  atomic_uint gate;  /* OPEN, AWAITED by a sleeping caller, and the number of workers inside */
  /* the job; written while the gate is closed and nobody is inside */
  SnnSliceFunction fn;
  void *arg;
  size_t count, slices;
  uint32_t workers_wanted;
  Share shares[MAX_WORKERS + 1];
} pool;

/* Whoever gets one slice of a share has a claim to it; which one is said by the end it is taken from. */
static bool claim(Share *share) {
  size_t left = atomic_load_explicit(&share->left, memory_order_relaxed);
  while (left > 0) {
    if (atomic_compare_exchange_weak_explicit(&share->left, &left, left - 1, memory_order_relaxed, memory_order_relaxed)) return true;
  }
  return false;
}

static size_t begin_of(size_t slice) { return (size_t)((uint64_t)pool.count * slice / pool.slices); }

static void run_slice(uint32_t worker, size_t slice) { pool.fn(pool.arg, worker, begin_of(slice), begin_of(slice + 1)); }

static void work(uint32_t worker) {
  Share *own = &pool.shares[worker];
  while (claim(own)) run_slice(worker, own->first++);
  for (uint32_t i = 1; i < pool.workers_wanted; i++) {
    Share *other = &pool.shares[(worker + i) % pool.workers_wanted];
    while (claim(other)) run_slice(worker, atomic_fetch_sub_explicit(&other->past, 1, memory_order_relaxed) - 1);
  }
}

/* The slices, evenly and in order: the same lines of one image after the other fall to the same thread, in whose cache they are. */
static void share_out(void) {
  size_t first = 0;
  for (uint32_t i = 0; i < pool.workers_wanted; i++) {
    size_t left = (pool.slices - first) / (pool.workers_wanted - i);
    pool.shares[i].first = first;
    first += left;
    atomic_store_explicit(&pool.shares[i].past, first, memory_order_relaxed);
    atomic_store_explicit(&pool.shares[i].left, left, memory_order_relaxed);
  }
}

/* Leaves the core to its other thread, or to a saving of power, for some ten nanoseconds. */
static void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("pause");
#elif defined(__aarch64__)
  __asm__ volatile("isb"); /* `yield` does nothing on most */
#else
  __asm__ volatile("yield");
#endif
}

static bool join_job(void) {
  unsigned gate = atomic_load_explicit(&pool.gate, memory_order_relaxed);
  while (gate & OPEN) {
    if (atomic_compare_exchange_weak_explicit(&pool.gate, &gate, gate + 1, memory_order_acquire, memory_order_relaxed)) return true;
  }
  return false;
}

/* Returns when no worker is inside. */
static void close_gate(void) {
  unsigned inside = atomic_fetch_and_explicit(&pool.gate, ~OPEN, memory_order_acquire) & ~OPEN;
  for (int look = 0; inside != 0 && look < LOOKS; look++) {
    breathe();
    inside = atomic_load_explicit(&pool.gate, memory_order_acquire);
  }
  if (inside == 0) return;
  inside = atomic_fetch_or_explicit(&pool.gate, AWAITED, memory_order_acquire) | AWAITED;
  while (inside != AWAITED) {
    snn_wait_word(&pool.gate, inside, SNN_NEVER);
    inside = atomic_load_explicit(&pool.gate, memory_order_acquire);
  }
}

static void leave_job(void) {
  if (atomic_fetch_sub_explicit(&pool.gate, 1, memory_order_release) == (AWAITED | 1)) snn_wake_word(&pool.gate);
}

/* The round after `seen`. */
static unsigned await_round(unsigned seen) {
  unsigned round = atomic_load_explicit(&pool.round, memory_order_acquire);
  for (int look = 0; round == seen && look < LOOKS && atomic_load_explicit(&pool.executions, memory_order_relaxed) != 0; look++) {
    breathe();
    round = atomic_load_explicit(&pool.round, memory_order_acquire);
  }
  if (round != seen) return round;
  atomic_fetch_add(&pool.sleepers, 1);
  while ((round = atomic_load(&pool.round)) == seen) snn_wait_word(&pool.round, seen, SNN_NEVER);
  atomic_fetch_sub(&pool.sleepers, 1);
  return round;
}

static void next_round(void) {
  atomic_fetch_add(&pool.round, 1);
  if (atomic_load(&pool.sleepers) != 0) snn_wake_word(&pool.round); /* who counts itself later sees the new round */
}

/* The calling thread stays on one of the cores (a bit each): number `thread` in turn. Where the system does not let it, it goes on as it is. */
static void pin(uint32_t cores, uint32_t thread) {
  for (thread %= (uint32_t)__builtin_popcount(cores); thread > 0; thread--) cores &= cores - 1;
  const unsigned long mask[2] = {cores & (0 - cores)};
  syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask);
}

static void *worker_main(void *argument) {
  const Worker *self = argument;
  unsigned seen = self->seen;
  if (self->cores != 0) pin(self->cores, self->index);
  for (;;) {
    seen = await_round(seen);
    if (atomic_load_explicit(&pool.stop, memory_order_acquire)) return NULL;
    if (join_job()) {
      if (self->index < pool.workers_wanted) work(self->index);
      leave_job();
    }
  }
}

void snn_threads_retain(uint32_t threads, uint32_t cores) {
  if (threads < 2) return;
  snn_lock(&pool.lock);
  pool.holders++;
  uint32_t wanted = threads - 1 < MAX_WORKERS ? threads - 1 : MAX_WORKERS;
  while (pool.count_of_workers < wanted) {
    Worker *worker = &pool.workers[pool.count_of_workers];
    worker->index = pool.count_of_workers + 1;
    worker->cores = cores;
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
    next_round();
    for (; pool.count_of_workers > 0; pool.count_of_workers--) pthread_join(pool.workers[pool.count_of_workers - 1].thread, NULL);
    atomic_store_explicit(&pool.stop, 0, memory_order_release);
  }
  snn_unlock(&pool.lock);
}

void snn_threads_begin(uint32_t threads, uint32_t cores, SnnPlace *place) {
  place->bytes = cores != 0 ? syscall(SYS_sched_getaffinity, 0, sizeof(place->before), place->before) : 0;
  if (place->bytes > 0) pin(cores, 0);
  if (threads >= 2) atomic_fetch_add_explicit(&pool.executions, 1, memory_order_relaxed);
}

void snn_threads_end(uint32_t threads, const SnnPlace *place) {
  if (threads >= 2) atomic_fetch_sub_explicit(&pool.executions, 1, memory_order_relaxed);
  if (place->bytes > 0) syscall(SYS_sched_setaffinity, 0, (size_t)place->bytes, place->before);
}

/* Four slices a thread even out unequal speed; fewer where they would be too small, but as many for each thread. */
static size_t slices_of(size_t count, size_t grain, size_t threads) {
  size_t most = count / grain;
  return most >= 4 * threads ? 4 * threads : most >= threads ? most / threads * threads : most;
}

uint32_t snn_workers(const SnnNode *node) { return node->context->instance->shared->threads; }

void snn_parallel_by_worker(SnnNode *node, size_t count, size_t grain, SnnSliceFunction fn, void *arg) {
  uint32_t threads = snn_workers(node);
  if (count == 0) return;
  if (grain == 0) grain = 1;
  unsigned idle = 0;
  if (threads > MAX_WORKERS + 1) threads = MAX_WORKERS + 1;
  size_t slices = slices_of(count, grain, threads);
  if (threads < 2 || slices < 2 || !atomic_compare_exchange_strong(&pool.busy, &idle, 1)) {
    fn(arg, 0, 0, count);
    return;
  }
  pool.fn = fn;
  pool.arg = arg;
  pool.count = count;
  pool.slices = slices;
  pool.workers_wanted = threads;
  share_out();
  atomic_store_explicit(&pool.gate, OPEN, memory_order_release);
  next_round();
  work(0);
  close_gate();
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
