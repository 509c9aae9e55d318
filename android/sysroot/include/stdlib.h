#ifndef NTK_SYSROOT_STDLIB_H
#define NTK_SYSROOT_STDLIB_H

#include <stddef.h>

void abort(void) __attribute__((noreturn));
void *calloc(size_t count, size_t size) __attribute__((malloc));
void exit(int code) __attribute__((noreturn));
void free(void *block);
char *getenv(const char *name);
void *malloc(size_t size) __attribute__((malloc));
int posix_memalign(void **block, size_t alignment, size_t size);
void qsort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *));
void *realloc(void *block, size_t size);
double strtod(const char *text, char **end);
float strtof(const char *text, char **end);
long strtol(const char *text, char **end, int base);
unsigned long strtoul(const char *text, char **end, int base);
unsigned long long strtoull(const char *text, char **end, int base);
#define abs(x) __builtin_abs(x)
#define labs(x) __builtin_labs(x)
#define llabs(x) __builtin_llabs(x)

#endif
