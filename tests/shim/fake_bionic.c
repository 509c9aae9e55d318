/* A stand-in for Android's libc.so on an x86-64 Linux machine: what differs from glibc, with Android's layouts; the rest is glibc's, which
 * the stand-in itself is linked with. Enough to run the very files that go to phones.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

typedef struct {
  void *lists[3];
} Structors;

API int *__errno(void) { return &errno; }

API void __libc_init(void *raw, void (*on_exit)(void), int (*run)(int, char **, char **), const Structors *structors) {
  long count = *(long *)raw;
  char **arguments = (char **)raw + 1;
  (void)on_exit;
  if (structors->lists[2] != NULL) abort(); /* destructors that nobody would run */
  exit(run((int)count, arguments, arguments + count + 1));
}

/* Android's set has one word. */
API int android_sigemptyset(uint64_t *set) {
  *set = 0;
  return 0;
}
API int android_sigaddset(uint64_t *set, int number) {
  *set |= (uint64_t)1 << (number - 1);
  return 0;
}
API int android_sigprocmask(int how, const uint64_t *set, uint64_t *before) {
  return (int)syscall(SYS_rt_sigprocmask, how, set, before, sizeof *set);
}
API int android_sigtimedwait(const uint64_t *set, void *info, const struct timespec *limit) {
  return (int)syscall(SYS_rt_sigtimedwait, set, info, limit, sizeof *set);
}
API long android_sysconf(int name) {
  switch (name) {
    case 0x27: return (long)getauxval(AT_PAGESZ);
    case 0x61: return 1;
    default: abort();
  }
}
/* Makes the process look like a phone of API 28, as far as properties go. */
API int __system_property_get(const char *name, char *value) {
  (void)name;
  value[0] = '2', value[1] = '8', value[2] = '\0';
  return 2;
}

__asm__(".globl sigemptyset\n.set sigemptyset, android_sigemptyset\n.globl sigaddset\n.set sigaddset, android_sigaddset\n"
        ".globl sigprocmask\n.set sigprocmask, android_sigprocmask\n.globl sigtimedwait\n.set sigtimedwait, android_sigtimedwait\n"
        ".globl sysconf\n.set sysconf, android_sysconf\n");
