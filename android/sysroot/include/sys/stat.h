#ifndef NTK_SYSROOT_SYS_STAT_H
#define NTK_SYSROOT_SYS_STAT_H

#include <sys/types.h>
#include <time.h>

/* The kernel's layouts: a different one for each family of machines. */
struct stat {
#if defined(__aarch64__)
  dev_t st_dev;
  ino_t st_ino;
  mode_t st_mode;
  nlink_t st_nlink;
  uid_t st_uid;
  gid_t st_gid;
  dev_t st_rdev;
  unsigned long unused1;
  off_t st_size;
  int st_blksize, unused2;
  long st_blocks;
  struct timespec st_atim, st_mtim, st_ctim;
  unsigned int unused3[2];
#elif defined(__x86_64__)
  dev_t st_dev;
  ino_t st_ino;
  unsigned long st_nlink;
  mode_t st_mode;
  uid_t st_uid;
  gid_t st_gid;
  unsigned int unused1;
  dev_t st_rdev;
  off_t st_size;
  long st_blksize, st_blocks;
  struct timespec st_atim, st_mtim, st_ctim;
  long unused2[3];
#else
  unsigned long long st_dev;
  unsigned char unused1[4];
  unsigned long low_ino;
  unsigned int st_mode;
  nlink_t st_nlink;
  uid_t st_uid;
  gid_t st_gid;
  unsigned long long st_rdev;
  unsigned char unused2[4];
  long long st_size;
  unsigned long st_blksize;
  unsigned long long st_blocks;
  struct timespec st_atim, st_mtim, st_ctim;
  unsigned long long st_ino;
#endif
};

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_ISDIR(mode) (((mode) & S_IFMT) == S_IFDIR)
#define S_ISREG(mode) (((mode) & S_IFMT) == S_IFREG)

int fstat(int fd, struct stat *status);
int mkdir(const char *path, mode_t mode);
int stat(const char *path, struct stat *status);

#endif
