#ifndef NTK_SYSROOT_PTHREAD_H
#define NTK_SYSROOT_PTHREAD_H

typedef long pthread_t;

int pthread_create(pthread_t *thread, const void *attributes, void *(*run)(void *), void *argument);
int pthread_join(pthread_t thread, void **result);
int pthread_detach(pthread_t thread);

#endif
