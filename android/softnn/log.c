/* Reasons to stderr. One write per line, so that lines of several threads stay whole. */
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_line(const char *format, va_list arguments) {
  char line[512];
  static const char prefix[] = "softnn: ";
  size_t length = sizeof(prefix) - 1;
  memcpy(line, prefix, length);
  int added = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
  if (added < 0) return;
  length += (size_t)added < sizeof(line) - length - 1 ? (size_t)added : sizeof(line) - length - 2;
  line[length++] = '\n';
  for (size_t done = 0; done < length;) {
    ssize_t written = write(STDERR_FILENO, line + done, length - done);
    if (written <= 0) return; /* nobody listens */
    done += (size_t)written;
  }
}

void snn_log(const char *format, ...) {
  if (!snn_settings()->verbose) return;
  va_list arguments;
  va_start(arguments, format);
  write_line(format, arguments);
  va_end(arguments);
}

int snn_refuse(int code, const char *format, ...) {
  if (snn_settings()->verbose) {
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
  }
  return code;
}

void snn_complain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  write_line(format, arguments);
  va_end(arguments);
}
