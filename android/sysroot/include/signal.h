#ifndef NTK_SYSROOT_SIGNAL_H
#define NTK_SYSROOT_SIGNAL_H

#include <sys/types.h>
#include <time.h>

#define SIGABRT 6
#define SIGKILL 9
#define SIGSEGV 11
#define SIGPIPE 13
#define SIGTERM 15
#define SIGCHLD 17
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1
#define SIG_DFL ((void (*)(int))0)
#define SIG_IGN ((void (*)(int))1)

/* One word: 32 signals on 32-bit machines, which is all that these calls handle there. */
typedef struct {
  unsigned long bits;
} sigset_t;

int kill(pid_t process, int number);
int sigaddset(sigset_t *set, int number);
int sigemptyset(sigset_t *set);
void (*signal(int number, void (*handler)(int)))(int);
int sigprocmask(int how, const sigset_t *set, sigset_t *before);
int sigtimedwait(const sigset_t *set, void *info, const struct timespec *limit);

#endif
