"""Android's C library as the linker needs it: stub libraries made from sysroot/symbols.txt, and the start routine.

No NDK: the headers in sysroot/include declare what the sources use, the stubs have the names that those may refer to,
and sysroot/start.c begins the process. A symbol that Android 8.1 lacks does not link.
"""

from __future__ import annotations

from collections.abc import Mapping

#: File of the tree -> where executables begin.
START = "sysroot/start.c"
#: What compiled code calls on its own, where that is not left to the compiler's run-time library.
RUNTIME = "sysroot/runtime.c"
SYMBOLS = "sysroot/symbols.txt"
INCLUDE = "sysroot/include"

COMPILE_FLAGS = (
    "-nostdlibinc",
    "-isystem",
    INCLUDE,
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-builtin-bcmp",  # the compiler makes it out of memcmp; Android's libraries do not have it
)
#: 16 KiB pages: Android 15 and later may have them.
LINK_FLAGS = ("-nostdlib", "-Wl,-z,max-page-size=16384", "-Wl,-z,defs", "-Wl,--hash-style=both")

#: The same for an NDK's compiler, which has headers and libraries of its own.
NDK_COMPILE_FLAGS = tuple(flag for flag in COMPILE_FLAGS if flag not in ("-nostdlibinc", "-isystem", INCLUDE))
NDK_LINK_FLAGS = tuple(flag for flag in LINK_FLAGS if flag != "-nostdlib")


def parse_symbols(text: str) -> dict[str, list[str]]:
    """Library (`libc.so`) -> symbols, out of symbols.txt."""
    libraries: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if not line.startswith(" "):
            (current,) = words
            libraries[current] = []
        else:
            libraries[current] += words
    return libraries


def stub_sources(symbols: Mapping[str, list[str]]) -> dict[str, str]:
    """File name of a stub library -> C source of it. The compiler would take a file called libc.so for its own."""
    return {
        f"stub_{library.removeprefix('lib')}": "".join(
            f'__asm__(".globl {name}\\n.type {name}, %function\\n{name}:\\n.byte 0\\n.size {name}, 1\\n");\n'
            for name in names
        )
        for library, names in symbols.items()
    }


def soname(stub: str) -> str:
    """`libc.so` for `stub_c.so`."""
    return stub.replace("stub_", "lib", 1)
