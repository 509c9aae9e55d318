#ifndef NTK_SYSROOT_STDIO_H
#define NTK_SYSROOT_STDIO_H

#include <stdarg.h>
#include <stddef.h>

int rename(const char *from, const char *to);
int snprintf(char *restrict to, size_t size, const char *restrict format, ...) __attribute__((format(printf, 3, 4)));
int vsnprintf(char *restrict to, size_t size, const char *restrict format, va_list arguments) __attribute__((format(printf, 3, 0)));

#endif
