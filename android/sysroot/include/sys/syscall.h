#ifndef NTK_SYSROOT_SYS_SYSCALL_H
#define NTK_SYSROOT_SYS_SYSCALL_H

/* Numbers of system calls that the C library has no function for on every version. */
#if defined(__x86_64__)
#define SYS_futex 202
#define SYS_sched_setaffinity 203
#define SYS_sched_getaffinity 204
#define SYS_memfd_create 319
#elif defined(__i386__)
#define SYS_futex 240
#define SYS_sched_setaffinity 241
#define SYS_sched_getaffinity 242
#define SYS_memfd_create 356
#elif defined(__aarch64__)
#define SYS_futex 98
#define SYS_sched_setaffinity 122
#define SYS_sched_getaffinity 123
#define SYS_memfd_create 279
#elif defined(__arm__)
#define SYS_futex 240
#define SYS_sched_setaffinity 241
#define SYS_sched_getaffinity 242
#define SYS_memfd_create 385
#endif

#endif
