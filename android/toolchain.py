"""Compiler, targets and flags: all that decides what the native build puts out, apart from the sources."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import bionic
from .errors import BuildError

#: The glibc that host binaries ask for at least: old enough for every distribution still alive.
GLIBC = "2.17"


@dataclass(frozen=True)
class Target:
    """One machine to build for.

    `name` is what the user writes, `triple` what the compiler gets. `static` targets have no dynamic linker
    (they run under qemu-user): software NNAPI is linked into the shim there. `android` targets use this
    tree's sysroot; `linker` is the path of their dynamic linker. Where `compiler_runtime` is set, they take 64-bit division
    and the like from the compiler's run-time library.
    """

    name: str
    triple: str
    compile_flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()
    static: bool = False
    android: bool = False
    linker: str = ""
    compiler_runtime: bool = False
    host: bool = False


@dataclass(frozen=True)
class Variant:
    """How to compile: for release, with UBSan (ends the process at a finding), or for a debugger."""

    sanitize: bool = False
    debug: bool = False
    compile_flags: tuple[str, ...] = field(init=False)
    link_flags: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Works out the flags."""
        flags = ["-O0" if self.debug else "-O1" if self.sanitize else "-O2"]
        if self.sanitize:
            flags += ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
        else:
            flags += ["-fno-sanitize=undefined"]
        plain = not (self.sanitize or self.debug)
        flags += ["-g0", "-DNDEBUG"] if plain else ["-g", "-fno-omit-frame-pointer"]
        link = ["-s"] if plain else ["-g"]
        link += ["-fsanitize=undefined"] if self.sanitize else ["-fno-sanitize=undefined"]
        object.__setattr__(self, "compile_flags", tuple(flags))
        object.__setattr__(self, "link_flags", tuple(link))

    @property
    def suffix(self) -> str:
        """Appended to the target's name in the cache."""
        return ("-sanitize" if self.sanitize else "") + ("-debug" if self.debug else "")


#: For every target and variant.
COMMON_COMPILE_FLAGS = (
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wdate-time",
    "-fvisibility=hidden",
    "-fPIC",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-math-errno",
    "-ffp-contract=off",
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
)
COMMON_LINK_FLAGS = ("-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack")

_HOST_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def host_target() -> Target:
    """The machine this runs on. Only Linux on x86-64 and arm64 hosts is supported."""
    machine = _HOST_MACHINES.get(platform.machine().lower())
    if sys.platform != "linux" or machine is None:
        raise BuildError(
            f"target host: {sys.platform} on {platform.machine()} is not supported (Linux on x86-64, arm64)",
            target="host",
            next_step="Use a phone (--device SERIAL) or the CPU reference (--device cpu): neither needs it.",
        )
    return Target("host", f"{machine}-linux-gnu.{GLIBC}", host=True)


def _static(name: str, triple: str) -> Target:
    """A program without a dynamic linker, software NNAPI inside."""
    flags = ("-DNTK_STATIC_LIBRARY", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables")
    return Target(name, triple, flags, static=True)


def _android(abi: str, triple: str, linker: str, *machine_flags: str) -> Target:
    """One Android ABI, with the processor that the ABI promises."""
    return Target(
        abi,
        triple,
        (*bionic.COMPILE_FLAGS, *machine_flags),
        (*bionic.LINK_FLAGS, *(flag for flag in machine_flags if flag.startswith("-mcpu"))),
        android=True,
        linker=linker,
        compiler_runtime=not linker.endswith("64"),
    )


def targets() -> dict[str, Target]:
    """All targets by name, `host` first where this machine is one."""
    found: list[Target] = []
    with contextlib.suppress(BuildError):
        found.append(host_target())
    found += [
        _static("x86_64-linux", "x86_64-linux-musl"),
        _static("aarch64-linux", "aarch64-linux-musl"),
        _static("arm-linux", "arm-linux-musleabihf"),
        _android("arm64-v8a", "aarch64-linux-android", "/system/bin/linker64"),
        # Floats in VFP registers, passed in integer registers, as Android's libraries take them. Not with NEON, which the ABI
        # does not promise, and which takes tiny numbers for 0.
        _android("armeabi-v7a", "thumb-linux-androideabi", "/system/bin/linker", "-mcpu=cortex_a8-neon-d32", "-mfloat-abi=softfp"),
        _android("x86_64", "x86_64-linux-android", "/system/bin/linker64", "-mcpu=x86_64+sse4_2+popcnt"),
        _android("x86", "x86-linux-android", "/system/bin/linker", "-mcpu=i686+ssse3"),
    ]
    return {target.name: target for target in found}


def find_target(name: str) -> Target:
    """The target called `name`; BuildError with the list of names otherwise."""
    if name == "host":
        return host_target()
    known = targets()
    if name not in known:
        raise BuildError(
            f"target {name!r} is not known", target=name, next_step=f"Choose one of: {', '.join(known)}."
        )
    return known[name]


@dataclass(frozen=True)
class Toolchain:
    """A compiler: how it is started, and what tells one release from another. `ndk`: it brings Android's headers and libraries."""

    command: tuple[str, ...]
    version: str
    next_step: str
    ndk: bool = False


TOOLCHAINS = ("zig", "ndk")

#: ABI -> what the NDK's clang calls it (with the API level that is the floor), and flags for the same machine as ours.
NDK_TARGETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "arm64-v8a": ("aarch64-linux-android27", ("-mno-outline-atomics",)),
    "armeabi-v7a": ("armv7a-linux-androideabi27", ("-mthumb", "-mfpu=vfpv3-d16", "-mfloat-abi=softfp")),
    "x86_64": ("x86_64-linux-android27", ()),
    "x86": ("i686-linux-android27", ()),
}


def find_toolchain(name: str = "zig") -> Toolchain:
    """The compiler of the ziglang wheel, or (`ndk`) the one of the NDK that ANDROID_NDK_HOME names.

    Raises:
        BuildError: no such toolchain here.
    """
    if name == "zig":
        return Toolchain(compiler(), compiler_version(), "pip install --force-reinstall nnapi-toolkit ziglang")
    if name != "ndk":
        raise BuildError(f"toolchain {name!r} is not known", next_step=f"Choose one of: {', '.join(TOOLCHAINS)}.")
    home = os.environ.get("ANDROID_NDK_HOME", "")
    if not home:
        raise BuildError(
            "toolchain ndk: ANDROID_NDK_HOME is not set",
            next_step="Set it to the folder of an NDK (it holds source.properties), or build without --toolchain ndk.",
        )
    clang = Path(home) / "toolchains/llvm/prebuilt/linux-x86_64/bin/clang"
    try:
        properties = (Path(home) / "source.properties").read_text(encoding="utf-8", errors="replace")
    except OSError:
        properties = ""
    revision = re.search(r"^Pkg\.Revision\s*=\s*(\S+)", properties, re.MULTILINE)
    if revision is None or not os.access(clang, os.X_OK):
        missing = "its version in source.properties" if revision is None else str(clang)
        raise BuildError(
            f"toolchain ndk: ANDROID_NDK_HOME={home} is no NDK for Linux: {missing} is missing",
            next_step="Set it to the folder of an NDK for Linux (r19 or newer), or build without --toolchain ndk.",
        )
    return Toolchain((str(clang),), f"ndk {revision[1]}", f"Reinstall the NDK in {home}.", ndk=True)


def compiler() -> tuple[str, ...]:
    """The command that starts the C compiler of the ziglang wheel."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise BuildError("the compiler is missing", next_step="Install it: pip install ziglang")
    binary = Path(spec.origin).parent / ("zig.exe" if os.name == "nt" else "zig")
    return (str(binary), "cc") if binary.exists() else (sys.executable, "-m", "ziglang", "cc")


def compiler_version() -> str:
    """`zig 0.14.1`; part of every hash."""
    try:
        return f"zig {importlib.metadata.version('ziglang')}"
    except importlib.metadata.PackageNotFoundError:
        raise BuildError("the compiler is missing", next_step="Install it: pip install ziglang") from None
