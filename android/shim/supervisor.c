/* The supervisor keeps the session alive: NNAPI and its drivers run in a worker process, which may crash or hang.
 *
 * The worker itself reads the requests and writes the replies, so the supervisor costs nothing while all is well. Both see one NtkWatch;
 * from it the supervisor knows, when the worker is gone, which request is open and how much of it is still in the stream. It answers that
 * request (which phase, which NNAPI call, which signal) and starts a new worker, with an empty session.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

enum { TICK_MS = 100, TEXT_BYTES = 512, NEXT_REQUEST_MS = 1000 };

typedef struct {
  int in, out;
  const char *library;
  NtkWatch *watch;
  sigset_t child_signal;
} Supervisor;

typedef enum { ENDED, LATE, HOST_GONE } Outcome;

static const char *const KIND_NAMES[] = {"no request", "HELLO", "OPEN", "LOAD", "SUPPORTED", "EXECUTE", "READ",
                                         "WRITE", "DROP", "UNLOAD", "STATS", "ECHO", "BYE", "LIBRARY"};

static const char *kind_name(uint16_t kind) {
  return kind < sizeof KIND_NAMES / sizeof *KIND_NAMES ? KIND_NAMES[kind] : "a request";
}

/* A pipe or socket whose other end is closed. */
static bool closed(int fd) {
  struct pollfd state = {.fd = fd, .events = 0};
  return poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

/* Phases that depend on drivers; in all others the worker itself sees that the stream has ended. */
static bool may_hang(const NtkWatch *watch) { return watch->phase == NTK_PHASE_WORKING || watch->phase == NTK_PHASE_ENDING; }

static bool late(const NtkWatch *watch) {
  uint32_t limit = watch->limit;
  return may_hang(watch) && limit != 0 && (uint32_t)(ntk_now() / 1000000u) - watch->started > limit;
}

/* Waits until the worker is dead, and kills it where it is late or nobody waits for it. */
static Outcome wait_for(const Supervisor *supervisor, pid_t worker, int *status) {
  Outcome outcome = ENDED;
  const struct timespec tick = {0, TICK_MS * 1000000L};
  while (waitpid(worker, status, WNOHANG) == 0) {
    if (late(supervisor->watch)) outcome = LATE;
    else if (may_hang(supervisor->watch) && closed(supervisor->out)) outcome = HOST_GONE;
    if (outcome != ENDED) {
      kill(worker, SIGKILL);
      while (waitpid(worker, status, 0) < 0 && errno == EINTR) continue;
      break;
    }
    sigtimedwait(&supervisor->child_signal, NULL, &tick);
  }
  return outcome;
}

static void describe(const NtkWatch *watch, Outcome outcome, int status, char text[TEXT_BYTES]) {
  char how[96];
  if (outcome == LATE) snprintf(how, sizeof how, "was killed after its limit of %u ms", watch->limit);
  else if (WIFSIGNALED(status)) snprintf(how, sizeof how, "died of signal %d", WTERMSIG(status));
  else snprintf(how, sizeof how, "ended itself with code %d", WEXITSTATUS(status));
  const char *call = watch->call;
  bool answered = watch->phase == NTK_PHASE_REPLYING;
  snprintf(text, TEXT_BYTES, "the worker %s %s %s%s%s%s%s", how, answered ? "after its answer to" : "in",
           kind_name(watch->phase == NTK_PHASE_IDLE ? 0 : watch->kind), watch->object[0] != '\0' ? " of " : "", watch->object, call != NULL ? ", inside " : "", call != NULL ? call : "");
}

/* Takes what is left of the open request out of the stream. */
static bool drain(const Supervisor *supervisor) {
  uint8_t sink[4096];
  while (supervisor->watch->left > 0) {
    size_t piece = supervisor->watch->left < sizeof sink ? (size_t)supervisor->watch->left : sizeof sink;
    if (ntk_read_exactly(supervisor->in, sink, piece) != 1) return false;
    supervisor->watch->left -= piece;
  }
  return true;
}

/* Has the host the whole answer to the last request? The next one says so, if it comes soon. */
static bool answer_arrived(const Supervisor *supervisor) {
  NtkWatch *watch = supervisor->watch;
  struct pollfd state = {.fd = supervisor->in, .events = POLLIN};
  int found;
  do found = poll(&state, 1, NEXT_REQUEST_MS);
  while (found < 0 && errno == EINTR);
  if (found <= 0 || (state.revents & POLLIN) == 0) return false;
  watch->has_next = ntk_read_exactly(supervisor->in, &watch->next, sizeof watch->next) == 1;
  return watch->has_next && watch->next.code > 0 && (uint32_t)watch->next.code == watch->id;
}

/* Tells the host what happened. False: the stream cannot be saved. */
static bool bury(const Supervisor *supervisor, Outcome outcome, int status) {
  NtkWatch *watch = supervisor->watch;
  char text[TEXT_BYTES];
  uint16_t answer = outcome == LATE ? NTK_STATUS_DEADLINE : NTK_STATUS_CRASHED;
  int32_t code = outcome != LATE && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  describe(watch, outcome, status, text);
  (void)!write(STDERR_FILENO, text, strlen(text));
  (void)!write(STDERR_FILENO, "\n", 1);
  switch ((uint32_t)watch->phase) {
    case NTK_PHASE_REPLYING: /* how much of the answer is out nobody knows */
      if (!answer_arrived(supervisor)) return false;
      /* fall through */
    case NTK_PHASE_IDLE: /* no request is open: the next one gets the answer */
      snprintf(watch->obituary, sizeof watch->obituary, "%s", text);
      watch->obituary_code = code;
      return true;
    case NTK_PHASE_READING:
    case NTK_PHASE_WORKING:
      return drain(supervisor) && ntk_write_error(supervisor->out, watch->kind, watch->id, answer, code, text);
    default:
      return false;
  }
}

static pid_t start_worker(const Supervisor *supervisor) {
  pid_t parent = getpid();
  pid_t worker = fork();
  if (worker != 0) return worker;
  sigprocmask(SIG_UNBLOCK, &supervisor->child_signal, NULL);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(NTK_EXIT_BROKEN);
  _exit(ntk_serve(supervisor->in, supervisor->out, supervisor->library, supervisor->watch));
}

static void reset(NtkWatch *watch) {
  watch->phase = NTK_PHASE_IDLE;
  watch->limit = 0;
  watch->left = 0;
  watch->call = NULL;
  watch->object[0] = '\0';
}

int ntk_supervise(int in, int out, const char *library) {
  NtkWatch *watch = mmap(NULL, sizeof *watch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (watch == MAP_FAILED) return NTK_EXIT_MEMORY;
  Supervisor supervisor = {.in = in, .out = out, .library = library, .watch = watch};
  sigemptyset(&supervisor.child_signal);
  sigaddset(&supervisor.child_signal, SIGCHLD);
  sigprocmask(SIG_BLOCK, &supervisor.child_signal, NULL);
  for (;;) {
    int status = 0;
    reset(watch);
    pid_t worker = start_worker(&supervisor);
    if (worker < 0) return NTK_EXIT_MEMORY;
    Outcome outcome = wait_for(&supervisor, worker, &status);
    /* The session was over, or is now; how the worker frees its objects is nobody's concern any more. */
    if (watch->phase == NTK_PHASE_ENDING) return outcome == ENDED && WIFEXITED(status) ? WEXITSTATUS(status) : NTK_EXIT_DONE;
    if (outcome == HOST_GONE) return NTK_EXIT_BROKEN;
    if (outcome == ENDED && WIFEXITED(status) && WEXITSTATUS(status) == NTK_EXIT_MEMORY) return NTK_EXIT_MEMORY;
    if (!bury(&supervisor, outcome, status)) return NTK_EXIT_BROKEN;
  }
}
