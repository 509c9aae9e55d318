#ifndef NTK_SYSROOT_DLFCN_H
#define NTK_SYSROOT_DLFCN_H

/* The special handle and the flags differ between 32 and 64 bits. */
#if defined(__LP64__)
#define RTLD_DEFAULT ((void *)0)
#define RTLD_NOW 2
#else
#define RTLD_DEFAULT ((void *)-1)
#define RTLD_NOW 0
#endif
#define RTLD_LOCAL 0

int dlclose(void *library);
char *dlerror(void);
void *dlopen(const char *path, int flags);
void *dlsym(void *library, const char *symbol);

#endif
