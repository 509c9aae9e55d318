/* What the two files of the C interface share: nulls, levels and injected faults are dealt with there, everything else in the
 * objects' own files. */
#ifndef SNN_API_H
#define SNN_API_H

#include "engine.h"

/* Leaves with BAD_STATE below the entry point's level, or with an injected result. */
#define ENTER(name)                                \
  do {                                             \
    int enter_ = snn_enter(SNN_CALL_##name);       \
    if (enter_ != ANEURALNETWORKS_NO_ERROR) return enter_; \
  } while (0)
#define NOT_NULL(name, pointer)                                                                                          \
  do {                                                                                                                   \
    if ((pointer) == NULL) return snn_refuse(ANEURALNETWORKS_UNEXPECTED_NULL, "%s: %s is NULL", name, #pointer);         \
  } while (0)
/* The same for functions that return a result code. */
#define CHECK1(name, a)  \
  ENTER(name);           \
  NOT_NULL(#name, a)
#define CHECK2(name, a, b) \
  CHECK1(name, a);         \
  NOT_NULL(#name, b)
#define CHECK3(name, a, b, c) \
  CHECK2(name, a, b);         \
  NOT_NULL(#name, c)

/* The answer to whatever names a vendor extension: there are none. */
int snn_no_extension(const char *call, const char *name);

#endif
