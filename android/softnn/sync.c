/* Locks and waits by futex, so that no pthread object crosses the border between C libraries. Time. */
#include "engine.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000ull

/* The kernel's form of the call's timeout: two longs, whatever the C library's time_t is. */
struct FutexTime {
  long seconds, nanoseconds;
};

static long futex(atomic_uint *word, int operation, unsigned value, const struct FutexTime *timeout) {
  return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

void snn_lock(SnnLock *lock) {
  unsigned free_state = 0;
  if (atomic_compare_exchange_strong_explicit(&lock->state, &free_state, 1, memory_order_acquire, memory_order_relaxed)) return;
  while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0) futex(&lock->state, FUTEX_WAIT, 2, NULL);
}

void snn_unlock(SnnLock *lock) {
  if (atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2) futex(&lock->state, FUTEX_WAKE, 1, NULL);
}

void snn_wait_word(atomic_uint *word, unsigned value, uint64_t deadline) {
  struct FutexTime left = {0, 0}, *timeout = NULL;
  if (deadline != SNN_NEVER) {
    uint64_t now = snn_now();
    if (now >= deadline) return;
    uint64_t ns = deadline - now;
    if (ns > 3600 * NS) ns = 3600 * NS; /* returning early is allowed */
    left.seconds = (long)(ns / NS);
    left.nanoseconds = (long)(ns % NS);
    timeout = &left;
  }
  futex(word, FUTEX_WAIT, value, timeout);
}

void snn_wake_word(atomic_uint *word) { futex(word, FUTEX_WAKE, 0x7FFFFFFF, NULL); }

uint64_t snn_now(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
  return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

void snn_sleep_ns(uint64_t ns) {
  struct timespec left = {(time_t)(ns / NS), (long)(ns % NS)};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) {
  }
}

uint64_t snn_deadline(uint64_t start, uint64_t duration) {
  return duration == 0 || duration > SNN_NEVER - start ? SNN_NEVER : start + duration;
}
