#ifndef NTK_SYSROOT_ERRNO_H
#define NTK_SYSROOT_ERRNO_H

int *__errno(void) __attribute__((const));
#define errno (*__errno())

#define EINTR 4
#define EAGAIN 11
#define ENOMEM 12
#define EEXIST 17
#define EINVAL 22
#define EFBIG 27
#define ENOENT 2
#define EIO 5
#define EBADF 9
#define EACCES 13
#define EBUSY 16
#define ENODEV 19
#define ENOTDIR 20
#define ENOSPC 28
#define EPIPE 32
#define ERANGE 34
#define ENOSYS 38
#define ETIMEDOUT 110

#endif
