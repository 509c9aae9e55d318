#ifndef NTK_SYSROOT_SYS_SYSCALL_H
#define NTK_SYSROOT_SYS_SYSCALL_H

/* Numbers of system calls that the C library has no function for on every version. */
#if defined(__x86_64__)
#define SYS_futex 202
#define SYS_memfd_create 319
#elif defined(__i386__)
#define SYS_futex 240
#define SYS_memfd_create 356
#elif defined(__aarch64__)
#define SYS_futex 98
#define SYS_memfd_create 279
#elif defined(__arm__)
#define SYS_futex 240
#define SYS_memfd_create 385
#endif

#endif
