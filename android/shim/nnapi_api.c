#include "nnapi_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FEATURE_LEVEL = 8, LAST_LEVEL_OF_AN_API = 5, PROPERTY_BYTES = 92 };

int ntk_feature_level(int64_t constant) {
  if (constant >= 1000000) {
    int64_t level = constant - 1000000;
    return level > MAX_FEATURE_LEVEL ? MAX_FEATURE_LEVEL : level < LAST_LEVEL_OF_AN_API ? LAST_LEVEL_OF_AN_API : (int)level;
  }
  if (constant < ANEURALNETWORKS_FEATURE_LEVEL_1) return 1;
  int64_t level = constant - ANEURALNETWORKS_FEATURE_LEVEL_1 + 1;
  /* The CPU device of AOSP reports a number far beyond every level. */
  return level > MAX_FEATURE_LEVEL ? MAX_FEATURE_LEVEL : (int)level;
}

/* Before feature level 5 the run time's level is the API level of the phone's Android. */
static int level_without_function(const NtkNnapi *nnapi) {
  /* Asked by name, as the C library of other systems has no properties. */
  void *symbol = dlsym(RTLD_DEFAULT, "__system_property_get");
  int (*property_get)(const char *, char *);
  memcpy(&property_get, &symbol, sizeof symbol);
  char value[PROPERTY_BYTES] = "";
  int by_symbols = nnapi->Compilation_setTimeout != NULL                       ? 4
                   : nnapi->_getDeviceCount != NULL                            ? 3
                   : nnapi->Model_relaxComputationFloat32toFloat16 != NULL     ? 2
                                                                               : 1;
  if (property_get == NULL || property_get("ro.build.version.sdk", value) <= 0) return by_symbols;
  int by_property = ntk_feature_level(strtol(value, NULL, 10));
  return by_property < by_symbols ? by_property : by_symbols;
}

#ifdef NTK_STATIC_LIBRARY
/* Without a dynamic linker software NNAPI is part of the executable. */
static bool find_library(NtkNnapi *nnapi, const char *path, char *message, size_t message_size) {
  (void)path, (void)message, (void)message_size;
  nnapi->library = nnapi;
#define NTK_FIND(level, name) nnapi->name = ANeuralNetworks##name;
  NTK_NNAPI_FUNCTIONS(NTK_FIND)
#undef NTK_FIND
  return true;
}
#else
static bool find_library(NtkNnapi *nnapi, const char *path, char *message, size_t message_size) {
  nnapi->library = dlopen(path != NULL ? path : "libneuralnetworks.so", RTLD_NOW | RTLD_LOCAL);
  if (nnapi->library == NULL) {
    const char *reason = dlerror();
    snprintf(message, message_size, "%s cannot be loaded: %s", path != NULL ? path : "libneuralnetworks.so",
             reason != NULL ? reason : "no reason given");
    return false;
  }
  void *symbol;
#define NTK_FIND(level, name)                                                                                        \
  symbol = dlsym(nnapi->library, "ANeuralNetworks" #name);                                                           \
  if (symbol == NULL && (level) == 1) {                                                                              \
    snprintf(message, message_size, "the library lacks ANeuralNetworks" #name ", which every version of NNAPI has"); \
    return false;                                                                                                    \
  }                                                                                                                  \
  memcpy(&nnapi->name, &symbol, sizeof symbol);
  NTK_NNAPI_FUNCTIONS(NTK_FIND)
#undef NTK_FIND
  return true;
}
#endif

bool ntk_nnapi_open(NtkNnapi *nnapi, const char *path, char *message, size_t message_size) {
  memset(nnapi, 0, sizeof *nnapi);
  if (!find_library(nnapi, path, message, message_size)) {
    ntk_nnapi_close(nnapi);
    return false;
  }
  nnapi->feature_level = nnapi->_getRuntimeFeatureLevel != NULL ? ntk_feature_level(nnapi->_getRuntimeFeatureLevel())
                                                                : level_without_function(nnapi);
  /* A library may export what its level does not have yet: software NNAPI playing an older Android does. */
#define NTK_HIDE(level, name) \
  if ((level) > nnapi->feature_level) nnapi->name = NULL;
  NTK_NNAPI_FUNCTIONS(NTK_HIDE)
#undef NTK_HIDE
  return true;
}

void ntk_nnapi_close(NtkNnapi *nnapi) {
#ifndef NTK_STATIC_LIBRARY
  if (nnapi->library != NULL) dlclose(nnapi->library);
#endif
  memset(nnapi, 0, sizeof *nnapi);
}
