/* Which table of kernels this machine can run, and how float kernels round. SOFTNN_KERNELS in the environment names another table (baseline,
 * avx2, ...), for tests and to tell a kernel's fault from an operation's; SOFTNN_FLOAT=fused lets every model use fused arithmetic. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const SnnKernels snn_kernels_baseline;

#if defined(__x86_64__)
extern const SnnKernels snn_kernels_avx2, snn_kernels_avxvnni, snn_kernels_avx512;

enum { XMM_YMM = 0x6, ZMM = 0xe6 }; /* register state that the system saves, as XCR0 tells */

static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static bool has(uint32_t word, uint32_t bit) { return word >> bit & 1; }

static bool runs(const SnnKernels *kernels) {
  uint32_t a, b, c, d, b7, c7;
  if (kernels == &snn_kernels_baseline) return true;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27)) return false; /* OSXSAVE */
  bool fma = has(c, 12);
  uint64_t state = saved_state();
  if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d)) return false;
  bool avx2 = fma && has(b7, 5) && (state & XMM_YMM) == XMM_YMM;
  if (kernels == &snn_kernels_avx2) return avx2;
  bool avxvnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, 4);
  if (kernels == &snn_kernels_avxvnni) return avx2 && avxvnni;
  bool avx512 = has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31); /* F, DQ, BW, VL */
  return avx2 && avx512 && has(c7, 11) && (state & ZMM) == ZMM;           /* VNNI */
}

static const SnnKernels *const tables[] = {&snn_kernels_avx512, &snn_kernels_avxvnni, &snn_kernels_avx2,
                                           &snn_kernels_baseline}; /* best first */
#elif defined(__aarch64__)
extern const SnnKernels snn_kernels_dotprod, snn_kernels_i8mm;
unsigned long getauxval(unsigned long type); /* of every Linux C library; its header is not everywhere */

static bool runs(const SnnKernels *kernels) {
  enum { AT_HWCAP_TYPE = 16, AT_HWCAP2_TYPE = 26, HWCAP_DOT_PRODUCT = 1 << 20, HWCAP2_MATRIX_PRODUCT = 1 << 13 };
  bool dotprod = (getauxval(AT_HWCAP_TYPE) & HWCAP_DOT_PRODUCT) != 0, i8mm = (getauxval(AT_HWCAP2_TYPE) & HWCAP2_MATRIX_PRODUCT) != 0;
  if (kernels == &snn_kernels_i8mm) return dotprod && i8mm;
  return kernels == &snn_kernels_baseline || dotprod;
}

static const SnnKernels *const tables[] = {&snn_kernels_i8mm, &snn_kernels_dotprod, &snn_kernels_baseline}; /* best first */
#else
static bool runs(const SnnKernels *kernels) { return kernels != NULL; }
static const SnnKernels *const tables[] = {&snn_kernels_baseline};
#endif

enum { TABLES = sizeof tables / sizeof *tables };

const SnnKernels *snn_kernels_find(const char *name) {
  for (int i = 0; i < TABLES; i++) {
    if (strcmp(tables[i]->name, name) == 0) return runs(tables[i]) ? tables[i] : NULL;
  }
  return NULL;
}

const SnnKernels *snn_kernels(void) {
  static _Atomic(const SnnKernels *) chosen;
  const SnnKernels *kernels = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (kernels != NULL) return kernels;
  const char *name = getenv("SOFTNN_KERNELS");
  if (name != NULL) kernels = snn_kernels_find(name);
  for (int i = 0; kernels == NULL; i++) {
    if (runs(tables[i])) kernels = tables[i];
  }
  atomic_store_explicit(&chosen, kernels, memory_order_relaxed);
  return kernels;
}

int snn_float_kernel(const SnnNode *node) {
  if (node->context->model->relaxed || node->context->instance->shared->fast_floats) return 1;
  const char *way = getenv("SOFTNN_FLOAT");
  return way != NULL && strcmp(way, "fused") == 0;
}

static void look_up_bytes(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count) {
  for (size_t i = 0; i < count; i++) to[i] = table[from[i]];
}

typedef void (*TableLookup)(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count);

#if defined(__x86_64__)
void snn_table_lookup_vbmi(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count);

static TableLookup best_lookup(void) {
  uint32_t a, b, c, d;
  bool vbmi = snn_kernels() == &snn_kernels_avx512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && has(c, 1);
  return vbmi ? snn_table_lookup_vbmi : look_up_bytes;
}
#else
static TableLookup best_lookup(void) { return look_up_bytes; }
#endif

void snn_table_lookup(const uint8_t *table, const uint8_t *from, uint8_t *to, size_t count) {
  static _Atomic(TableLookup) chosen;
  TableLookup lookup = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (lookup == NULL) {
    lookup = best_lookup();
    atomic_store_explicit(&chosen, lookup, memory_order_relaxed);
  }
  lookup(table, from, to, count);
}
