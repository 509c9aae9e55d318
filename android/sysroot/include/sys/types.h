/* Types of system calls. This sysroot declares just what the sources of this project use. */
#ifndef NTK_SYSROOT_SYS_TYPES_H
#define NTK_SYSROOT_SYS_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* As Android's kernels and C library have them. On 32-bit machines off_t and time_t have 32 bits. */
#if defined(__LP64__)
typedef long ssize_t;
typedef uint64_t dev_t;
#else
typedef int ssize_t;
typedef uint32_t dev_t;
#endif
typedef long off_t;
typedef long time_t;
typedef long suseconds_t;
typedef unsigned long ino_t;
typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned int gid_t;
typedef unsigned int nlink_t;
#if defined(__arm__) || defined(__i386__)
typedef unsigned short mode_t;
#else
typedef unsigned int mode_t;
#endif
typedef int clockid_t;

#endif
