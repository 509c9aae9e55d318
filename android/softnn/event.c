/* Events: executions on a thread of their own, and sync fences. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct ANeuralNetworksEvent {
  atomic_uint references; /* the client's, and those of events that depend on it */
  atomic_uint done;       /* 1 once the result is there */
  int result;
  bool threaded;
  pthread_t thread;
  ANeuralNetworksExecution *execution;
  ANeuralNetworksEvent **dependencies;
  uint32_t n_dependencies;
  uint64_t limit;    /* absolute, from the execution's own timeout */
  uint64_t duration; /* from the moment the dependencies are signalled; 0 = no limit */
  int fence;         /* a file descriptor, or -1 */
};

static ANeuralNetworksEvent *new_event(void) {
  ANeuralNetworksEvent *event = snn_allocate(1, sizeof(*event));
  if (event == NULL) return NULL;
  atomic_init(&event->references, 1);
  event->fence = -1;
  return event;
}

static void release(ANeuralNetworksEvent *event) {
  if (atomic_fetch_sub_explicit(&event->references, 1, memory_order_acq_rel) != 1) return;
  if (event->fence >= 0) close(event->fence);
  free(event->dependencies);
  free(event);
}

static void signal_event(ANeuralNetworksEvent *event, int result) {
  event->result = result;
  atomic_store_explicit(&event->done, 1, memory_order_release);
  snn_wake_word(&event->done);
}

static int wait_fence(int fd) {
  struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
  for (;;) {
    int ready = poll(&poll_fd, 1, -1);
    if (ready > 0) return poll_fd.revents & POLLIN ? ANEURALNETWORKS_NO_ERROR : ANEURALNETWORKS_OP_FAILED;
    if (ready < 0 && errno != EINTR && errno != EAGAIN) return ANEURALNETWORKS_OP_FAILED;
  }
}

int snn_event_wait(ANeuralNetworksEvent *event) {
  if (event->fence >= 0) return wait_fence(event->fence);
  while (atomic_load_explicit(&event->done, memory_order_acquire) == 0) snn_wait_word(&event->done, 0, SNN_NEVER);
  return event->result;
}

static int run_event(ANeuralNetworksEvent *event) {
  int failed = 0;
  for (uint32_t i = 0; i < event->n_dependencies; i++) {
    if (snn_event_wait(event->dependencies[i]) != ANEURALNETWORKS_NO_ERROR) failed = ANEURALNETWORKS_OP_FAILED;
    release(event->dependencies[i]);
  }
  if (failed != 0) {
    snn_log("an event that the execution depends on ended with an error");
    return snn_execution_abandon(event->execution, failed);
  }
  uint64_t deadline = snn_deadline(snn_now(), event->duration);
  return snn_execution_run(event->execution, deadline < event->limit ? deadline : event->limit);
}

static void *thread_main(void *argument) {
  ANeuralNetworksEvent *event = argument;
  signal_event(event, run_event(event));
  return NULL;
}

/* The execution has begun. */
static int start_thread(ANeuralNetworksEvent *event) {
  event->threaded = pthread_create(&event->thread, NULL, thread_main, event) == 0;
  if (!event->threaded) thread_main(event); /* no thread to be had: late is better than never */
  return 0;
}

int snn_event_start(ANeuralNetworksExecution *execution, const ANeuralNetworksEvent *const *dependencies, uint32_t count,
                    uint64_t start, uint64_t duration, ANeuralNetworksEvent **result) {
  ANeuralNetworksEvent *event = new_event();
  if (event == NULL) return ANEURALNETWORKS_OUT_OF_MEMORY;
  event->dependencies = snn_allocate(count, sizeof(event->dependencies[0]));
  if (event->dependencies == NULL) {
    release(event);
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  int code = snn_execution_begin(execution);
  if (code != 0) {
    release(event);
    return code;
  }
  for (uint32_t i = 0; i < count; i++) {
    ANeuralNetworksEvent *dependency = (ANeuralNetworksEvent *)(uintptr_t)dependencies[i];
    atomic_fetch_add_explicit(&dependency->references, 1, memory_order_relaxed);
    event->dependencies[i] = dependency;
  }
  event->n_dependencies = count;
  event->execution = execution;
  event->duration = duration;
  event->limit = snn_deadline(start, execution->timeout);
  execution->fenced = count > 0;
  *result = event;
  return start_thread(event);
}

int snn_event_from_fence(int fd, ANeuralNetworksEvent **result) {
  if (fd < 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Event_createFromSyncFenceFd: file descriptor %d", fd);
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Event_createFromSyncFenceFd: file descriptor %d is not open", fd);
  ANeuralNetworksEvent *event = new_event();
  if (event == NULL) {
    close(own);
    return ANEURALNETWORKS_OUT_OF_MEMORY;
  }
  event->fence = own;
  *result = event;
  return 0;
}

int snn_event_fence(const ANeuralNetworksEvent *event, int *fd) {
  *fd = -1;
  if (event->fence < 0) return snn_refuse(ANEURALNETWORKS_BAD_DATA, "Event_getSyncFenceFd: the event has no sync fence");
  *fd = fcntl(event->fence, F_DUPFD_CLOEXEC, 0);
  return *fd >= 0 ? 0 : ANEURALNETWORKS_RESOURCE_EXHAUSTED_TRANSIENT;
}

void snn_event_free(ANeuralNetworksEvent *event) {
  if (event == NULL) return;
  if (event->fence < 0) snn_event_wait(event);
  if (event->threaded) pthread_join(event->thread, NULL);
  release(event);
}
