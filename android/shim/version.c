#include "session.h"

#ifndef NTK_BUILD_HASH
#define NTK_BUILD_HASH "0000000000000000000000000000000000000000000000000000000000000000"
#endif

const char *ntk_build_hash(void) { return NTK_BUILD_HASH; }
