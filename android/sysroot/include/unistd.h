#ifndef NTK_SYSROOT_UNISTD_H
#define NTK_SYSROOT_UNISTD_H

#include <stddef.h>
#include <sys/types.h>

#define STDIN_FILENO 0
#define STDOUT_FILENO 1
#define STDERR_FILENO 2
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define _SC_PAGESIZE 0x27
#define _SC_NPROCESSORS_ONLN 0x61

void _exit(int code) __attribute__((noreturn));
int close(int fd);
int dup(int fd);
int dup2(int from, int to);
pid_t fork(void);
int ftruncate(int fd, off_t length);
pid_t getpid(void);
pid_t getppid(void);
off_t lseek(int fd, off_t offset, int whence);
ssize_t read(int fd, void *to, size_t length);
long syscall(long number, ...);
long sysconf(int name);
int unlink(const char *path);
ssize_t write(int fd, const void *from, size_t length);

#endif
