/* Where an Android executable begins: hands the process's arguments to the C library, which calls main.
 *
 * The dynamic linker has run all constructors by then and the executable has no destructors: every list that __libc_init takes is
 * empty. The first instructions are ARM code on 32-bit ARM, as the linker jumps to an even address.
 */
typedef struct {
  void *lists[3];
  unsigned long counts[3]; /* newer C libraries know the lists' lengths too */
} Structors;

int main(int count, char **arguments);
void __libc_init(void *raw, void (*on_exit)(void), int (*run)(int, char **), const Structors *structors) __attribute__((noreturn));

__attribute__((used, visibility("hidden"), noreturn)) void ntk_start(void *raw) {
  static const Structors NONE;
  __libc_init(raw, 0, main, &NONE);
}

#if defined(__aarch64__)
__asm__(".text\n.globl _start\n.type _start, %function\n_start:\nmov x29, #0\nmov x30, #0\nmov x0, sp\nb ntk_start\n.size _start, .-_start\n");
#elif defined(__arm__)
__asm__(".text\n.arm\n.balign 4\n.globl _start\n.type _start, %function\n_start:\nmov r11, #0\nmov lr, #0\nmov r0, sp\nbl ntk_start\n"
        ".size _start, .-_start\n");
#elif defined(__x86_64__)
__asm__(".text\n.globl _start\n.type _start, @function\n_start:\nxorl %ebp, %ebp\nmovq %rsp, %rdi\nandq $-16, %rsp\ncall ntk_start\n"
        ".size _start, .-_start\n");
#elif defined(__i386__)
__asm__(".text\n.globl _start\n.type _start, @function\n_start:\nxorl %ebp, %ebp\nmovl %esp, %eax\nandl $-16, %esp\nsubl $12, %esp\npushl %eax\n"
        "call ntk_start\n.size _start, .-_start\n");
#else
#error "no start routine for this machine"
#endif
