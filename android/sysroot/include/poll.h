#ifndef NTK_SYSROOT_POLL_H
#define NTK_SYSROOT_POLL_H

#define POLLIN 0x01
#define POLLOUT 0x04
#define POLLERR 0x08
#define POLLHUP 0x10
#define POLLNVAL 0x20

typedef unsigned int nfds_t;

struct pollfd {
  int fd;
  short events, revents;
};

int poll(struct pollfd *files, nfds_t count, int milliseconds);

#endif
