/* What compiled code calls on its own, on arm64: atomic steps, which the compiler always leaves to these routines for Android. The compiler's own
 * run-time library has them too, but it brings its memcpy, exp, sinf ... along, and those would hide Android's.
 *
 * All are of the strongest order, under each of their four names. They keep every register but x15, x16, x17 and the result.
 */
#if defined(__aarch64__)

#define NAMES(name)                                                                                                          \
  ".section .text." #name ",\"ax\",%progbits\n.balign 4\n" NAME(name, _relax) NAME(name, _acq) NAME(name, _rel) NAME(name, _acq_rel)
#define NAME(name, order)                                                                                       \
  ".globl __aarch64_" #name #order "\n.hidden __aarch64_" #name #order "\n.type __aarch64_" #name #order ", %function\n" \
  "__aarch64_" #name #order ":\n"

/* old = *(x1); *(x1) = old CHANGE x0; `r` is the registers' letter, `b` the instructions' suffix. */
#define CHANGE(name, r, b, change)                                                                                   \
  __asm__(NAMES(name) "mov " r "16, " r "0\n"                                                                         \
                      "0: ldaxr" b " " r "0, [x1]\n" change "\nstlxr" b " w15, " r "17, [x1]\ncbnz w15, 0b\nret\n.text\n");

/* old = *(x2); if (old == x0) *(x2) = x1. */
#define EXCHANGE(name, r, b, widen)                                                                                 \
  __asm__(NAMES(name) widen "\n"                                                                                      \
                      "0: ldaxr" b " " r "0, [x2]\ncmp " r "0, " r "16\nb.ne 1f\nstlxr" b " w17, " r "1, [x2]\ncbnz w17, 0b\n1: ret\n.text\n");

#define ALL(size, r, b, widen)                                              \
  EXCHANGE(cas##size, r, b, widen)                                          \
  CHANGE(swp##size, r, b, "mov " r "17, " r "16")                           \
  CHANGE(ldadd##size, r, b, "add " r "17, " r "0, " r "16")                 \
  CHANGE(ldclr##size, r, b, "bic " r "17, " r "0, " r "16")                 \
  CHANGE(ldset##size, r, b, "orr " r "17, " r "0, " r "16")                 \
  CHANGE(ldeor##size, r, b, "eor " r "17, " r "0, " r "16")

ALL(1, "w", "b", "and w16, w0, #255")
ALL(2, "w", "h", "and w16, w0, #65535")
ALL(4, "w", "", "mov w16, w0")
ALL(8, "x", "", "mov x16, x0")

#else
typedef int NtkNothing;
#endif
