#include "nnapi_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../include/softnn.h"

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
  if (nnapi->number > 0 && path[0] != '\0') {
    snprintf(message, message_size, "%s cannot be loaded: this program has no dynamic linker", path);
    return false;
  }
  nnapi->library = nnapi;
#define NTK_FIND(level, name) nnapi->name = ANeuralNetworks##name;
  NTK_NNAPI_FUNCTIONS(NTK_FIND)
#undef NTK_FIND
  return true;
}
#else
static bool find_library(NtkNnapi *nnapi, const char *path, char *message, size_t message_size) {
  if (path != NULL && path[0] == '\0') {
    snprintf(message, message_size, "no library is part of this program: name one");
    return false;
  }
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

void ntk_nnapi_enter(const NtkNnapi *nnapi) {
#ifdef NTK_STATIC_LIBRARY
  softnn_select(nnapi->number);
#else
  (void)nnapi;
#endif
}

static void find_level(NtkNnapi *nnapi) {
  nnapi->feature_level = nnapi->_getRuntimeFeatureLevel != NULL ? ntk_feature_level(nnapi->_getRuntimeFeatureLevel())
                                                                : level_without_function(nnapi);
  /* A library may export what its level does not have yet: software NNAPI playing an older Android does. */
#define NTK_HIDE(level, name) \
  if ((level) > nnapi->feature_level) nnapi->name = NULL;
  NTK_NNAPI_FUNCTIONS(NTK_HIDE)
#undef NTK_HIDE
}

bool ntk_nnapi_open(NtkNnapi *nnapi, const char *path, char *message, size_t message_size) {
  memset(nnapi, 0, sizeof *nnapi);
  if (!find_library(nnapi, path, message, message_size)) {
    ntk_nnapi_close(nnapi);
    return false;
  }
  ntk_nnapi_enter(nnapi);
  find_level(nnapi);
  return true;
}

/* Software NNAPI would take the settings of the first library from the environment. Another library has no such function. */
static bool lift_limits(const NtkNnapi *nnapi, uint32_t threads) {
  const SoftnnSettings settings = {.size = sizeof settings, .threads = threads};
#ifdef NTK_STATIC_LIBRARY
  (void)nnapi;
  return softnn_configure(&settings) == 0;
#else
  __typeof__(softnn_configure) *configure;
  void *symbol = dlsym(nnapi->library, "softnn_configure");
  memcpy(&configure, &symbol, sizeof symbol);
  return configure == NULL || configure(&settings) == 0;
#endif
}

bool ntk_nnapi_open_further(NtkNnapi *nnapi, uint32_t number, const char *path, uint32_t threads, char *message, size_t message_size) {
  memset(nnapi, 0, sizeof *nnapi);
  nnapi->number = number;
  bool fine = find_library(nnapi, path, message, message_size);
  if (fine) ntk_nnapi_enter(nnapi);
  if (fine && !lift_limits(nnapi, threads)) {
    snprintf(message, message_size, "%s: its settings cannot be made (%u threads)", path, threads);
    fine = false;
  }
  if (!fine) ntk_nnapi_close(nnapi);
  else find_level(nnapi);
  return fine;
}

void ntk_nnapi_close(NtkNnapi *nnapi) {
#ifndef NTK_STATIC_LIBRARY
  if (nnapi->library != NULL) dlclose(nnapi->library);
#endif
  memset(nnapi, 0, sizeof *nnapi);
}
