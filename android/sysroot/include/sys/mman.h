#ifndef NTK_SYSROOT_SYS_MMAN_H
#define NTK_SYSROOT_SYS_MMAN_H

#include <stddef.h>
#include <sys/types.h>

#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define MAP_SHARED 0x01
#define MAP_PRIVATE 0x02
#define MAP_FIXED 0x10
#define MAP_ANONYMOUS 0x20
#define MAP_FAILED ((void *)-1)
#define MADV_DONTNEED 4

void *mmap(void *wanted, size_t length, int protection, int flags, int fd, off_t offset);
int madvise(void *from, size_t length, int advice);
int mprotect(void *from, size_t length, int protection);
int munmap(void *from, size_t length);

#endif
