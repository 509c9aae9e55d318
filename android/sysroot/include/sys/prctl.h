#ifndef NTK_SYSROOT_SYS_PRCTL_H
#define NTK_SYSROOT_SYS_PRCTL_H

#define PR_SET_PDEATHSIG 1

int prctl(int option, ...);

#endif
