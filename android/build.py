"""Builds the shim and software NNAPI from the sources beside this file, on demand, cached by content.

One list of sources (found by folder), one set of flags (toolchain), one compiler (the ziglang wheel) for all
targets:

    result = build("host")
    result.shim                # nnapi-shim: the executable that is pushed
    result.shim_library        # libnnapi_shim.so: the same request handler, for cffi
    result.libneuralnetworks   # software NNAPI

Nothing is built twice: objects are kept by the hash of everything that goes into them, products by the hash
of all sources, flags and the compiler's version. Several processes may build at once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import bionic, prebuilt
from .errors import BuildError
from .sources import SOURCE_ROOT as SOURCE_ROOT
from .sources import SourceTree as SourceTree
from .toolchain import (
    COMMON_COMPILE_FLAGS,
    COMMON_LINK_FLAGS,
    NDK_TARGETS,
    TOOLCHAINS,
    Target,
    Toolchain,
    Variant,
    compiler_version,
    find_target,
    find_toolchain,
)

SHIM = "nnapi-shim"
SHIM_LIBRARY = "libnnapi_shim.so"
LIBNEURALNETWORKS = "libneuralnetworks.so"

_JOBS = 2
_COMPILE_SECONDS = 300.0
_BUILD_SECONDS = 900.0
_KEPT_BUILDS = 24
_KEPT_SECONDS = 14 * 86400.0
#: The engine's files that move or compute tensors; its others run once for a model or a call, and are built as small as can be.
_LOOPS = ("kernels", "broadcast", "f16", "layout", "numeric", "requant", "run", "threads", "unary")
#: Operations on a few boxes, hashes or control values: nothing that vectors would speed up.
_SHORT = ("boxes", "control_flow", "detection", "lsh", "postprocessing", "random", "roi")

#: Tables of kernels, of which a machine uses one: those that newer x86-64 processors leave alone, and what all have.
_OTHER_PROCESSORS = ("kernels_avx2", "kernels_avxvnni", "kernels_baseline")
#: Operations that few models have.
_RARE = (*_SHORT, "lstm", "matmul", "normalization", "quantized_lstm", "recurrent", "space", "transpose")

#: Called with (steps done, steps in all, what is being done).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BuildResult:
    """What `build` made.

    Sizes in bytes, by the names of the fields; `source_hash` (hex) is what the shim tells at hello.
    """

    target: str
    shim: Path
    shim_library: Path | None
    libneuralnetworks: Path
    sizes: dict[str, int]
    source_hash: str

    def to_json(self) -> dict[str, Any]:
        """The form that `nnapi build --json` prints."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class _Unit:
    """One C file on its way to an object."""

    source: str
    flags: tuple[str, ...]
    object: Path


class _Builder:
    """One build of one target: sources, flags, cache."""

    def __init__(
        self,
        target: Target,
        variant: Variant,
        tree: SourceTree,
        cache: Path,
        toolchain: Toolchain | None = None,
        operations: frozenset[str] | None = None,
    ) -> None:
        self.target = target
        self.variant = variant
        self.tree = tree
        self.cache = cache
        self.toolchain = toolchain or find_toolchain()
        self.operations = operations
        self.triple, compile_flags, link_flags = target.triple, target.compile_flags, target.link_flags
        if self.toolchain.ndk:
            self.triple, machine_flags = NDK_TARGETS[target.name]
            compile_flags, link_flags = (*bionic.NDK_COMPILE_FLAGS, *machine_flags), bionic.NDK_LINK_FLAGS
        self.compile_flags = (*COMMON_COMPILE_FLAGS, *variant.compile_flags, *compile_flags)
        self.link_flags = (*COMMON_LINK_FLAGS, *variant.link_flags, *link_flags)
        self.environment = _compiler_environment(cache)

    def unit(self, source: str) -> _Unit:
        flags = self.compile_flags
        if source.startswith("softnn/"):
            flags += ("-DSOFTNN_BUILD",)
        if not (self.variant.debug or self.variant.sanitize):
            flags += self.size_flags(source)
        if self.variant.sanitize and source == "softnn/kernels_avx512.c":
            # The same source as the other tables, which are sanitized; at this width UBSan's checks take the compiler minutes.
            flags += ("-fno-sanitize=undefined",)
        flags += self.selection_flags(source)
        if b"NTK_BUILD_HASH" in self.tree.files[source]:
            flags += (f'-DNTK_BUILD_HASH="{source_hash(self.tree, self.variant, self.toolchain.version)}"',)
        headers = self.tree.below(bionic.INCLUDE) if self.target.android else []
        digest = hashlib.sha256(self.tree.digest([*self.tree.closure(source), *headers]))
        digest.update("\0".join((self.toolchain.version, self.triple, source, *flags)).encode())
        return _Unit(source, flags, self.cache / "objects" / f"{digest.hexdigest()}.o")

    def size_flags(self, source: str) -> tuple[str, ...]:
        """What counts in what is pushed is its size, except where the time is spent."""
        folder, _, name = source.removesuffix(".c").rpartition("/")
        if folder not in ("softnn", "softnn/ops"):
            return ("-Os",)
        pushed = self.target.android or self.target.static
        if not pushed or name.startswith("kernels"):
            return ()
        short = name in _SHORT if folder == "softnn/ops" else not name.startswith(_LOOPS)
        return ("-Os", "-Xclang", "-Oz") if short else ("-Os",)

    def selection_flags(self, source: str) -> tuple[str, ...]:
        """For a library with some operations only; see SNN_RECORD."""
        chosen = self.tree.operations(source)
        if self.operations is None or not (chosen or b"SNN_SELECTED" in self.tree.files[source]):
            return ()
        names = sorted(chosen & self.operations)
        return ("-DSNN_SELECTED", "-Wno-unused", *(f"-DSNN_SELECT_{name}=0," for name in names))

    def compile(self, unit: _Unit, folder: Path) -> None:
        part = unit.object.with_name(f"{unit.object.name}.{os.getpid()}.part")
        command = ["-c", unit.source, "-o", str(part), *unit.flags]
        try:
            self.run(command, folder, f"compiling {unit.source}")
            part.replace(unit.object)
        finally:
            part.unlink(missing_ok=True)

    def run(self, arguments: Sequence[str], folder: Path, what: str) -> None:
        command = [*self.toolchain.command, "-target", self.triple, *arguments]
        try:
            done = subprocess.run(
                command, cwd=folder, env=self.environment, capture_output=True, text=True, errors="replace",
                stdin=subprocess.DEVNULL, timeout=_COMPILE_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BuildError(
                f"{what} for {self.target.name}: the compiler did not end within {_COMPILE_SECONDS:.0f} s",
                target=self.target.name,
            ) from None
        except OSError as error:
            raise BuildError(
                f"{what} for {self.target.name}: the compiler cannot be started: {error}",
                target=self.target.name,
                next_step=f"Reinstall it: {self.toolchain.next_step}",
            ) from error
        if done.returncode != 0:
            raise BuildError(
                f"{what} for {self.target.name} failed (exit code {done.returncode})",
                target=self.target.name,
                output=done.stderr,
                next_step="If you did not change the sources, report this with the text above "
                f"({self.toolchain.version}). To restore both: {self.toolchain.next_step}",
            )

    def products(self, names: Sequence[str], out: Path, progress: Progress) -> None:
        """Compiles what is missing and links `names` into `out`."""
        plans = {name: self.plan(name) for name in names}
        units = {unit.object: unit for sources, _ in plans.values() for unit in map(self.unit, sources)}
        missing = [unit for unit in units.values() if not _touch(unit.object)]
        steps = len(missing) + len(names)
        with tempfile.TemporaryDirectory(prefix="nnapi-build-") as scratch:
            folder = Path(scratch)
            self.tree.write(folder)
            (self.cache / "objects").mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_JOBS) as pool:
                futures = [(unit, pool.submit(self.compile, unit, folder)) for unit in missing]
                try:
                    for done, (unit, future) in enumerate(futures):
                        progress(done, steps, f"compiling {unit.source}")
                        future.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            for done, (name, (sources, flags)) in enumerate(plans.items(), len(missing)):
                progress(done, steps, f"linking {name}")
                objects = [str(self.unit(source).object) for source in sources]
                libraries = self.android_libraries(folder) if self.target.android and not self.toolchain.ndk else []
                arguments = [*objects, *libraries, "-o", str(out / name), *self.link_flags, *flags]
                self.run(arguments, folder, f"linking {name}")
        progress(steps, steps, "built")

    def android_libraries(self, folder: Path) -> list[str]:
        """The stub libraries for Android, made in `folder`; on 32 bits the compiler's run-time library as well."""
        symbols = bionic.parse_symbols(self.tree.files[bionic.SYMBOLS].decode())
        for stub, source in bionic.stub_sources(symbols).items():
            if (folder / stub).exists():
                continue
            (folder / f"{stub}.c").write_text(source)
            arguments = ["-nostdlib", "-shared", "-fPIC", "-fno-sanitize=undefined", f"-Wl,-soname,{bionic.soname(stub)}"]
            self.run([*arguments, f"{stub}.c", "-o", stub], folder, f"making {stub}")
        return [*bionic.stub_sources(symbols), *(["-lcompiler_rt"] if self.target.compiler_runtime else [])]

    def plan(self, name: str) -> tuple[list[str], tuple[str, ...]]:
        """Sources and link flags of one product."""
        shim, softnn = self.tree.units("shim"), sorted(self.tree.units("softnn", "softnn/ops"), key=_place)
        own = self.target.android and not self.toolchain.ndk  # what an NDK's compiler adds by itself
        if name == SHIM and self.target.android:
            if not own:
                return shim, ("-pie", "-ldl")
            return [*shim, bionic.START, bionic.RUNTIME], ("-pie", f"-Wl,-dynamic-linker,{self.target.linker}")
        if name == SHIM and self.target.static:
            return softnn + shim, ("-lm", "-lpthread", "-static")
        if name == SHIM:
            return shim, ("-ldl",)
        if name == SHIM_LIBRARY:
            return [source for source in shim if source != "shim/main.c"], ("-shared", "-ldl")
        if not softnn:
            raise BuildError(f"linking {name}: no sources in softnn/", target=self.target.name)
        flags = ("-shared", f"-Wl,-soname,{name}", "-Wl,-z,defs")
        if own:
            return [*softnn, bionic.RUNTIME], flags
        return softnn, (*flags, "-lm") if self.target.android else (*flags, "-lm", "-lpthread")


def _place(source: str) -> tuple[int, str]:
    """Where code lies in the library: the tables for older processors and what few models use at its beginning.

    The system maps a file's pages by the dozen, so code between is resident though nobody calls it; behind it comes the C library.
    """
    folder, _, name = source.removesuffix(".c").rpartition("/")
    if folder == "softnn":
        return 0 if name in _OTHER_PROCESSORS else 3, source
    return 1 if name in _RARE else 2, source


#: This package's modules that say how sources become binaries.
_RECIPE = ("build.py", "toolchain.py", "bionic.py")


def source_hash(tree: SourceTree, variant: Variant, version: str | None = None) -> str:
    """SHA-256 (hex) over all sources, how they are built, and the compiler's version (None: the ziglang wheel's)."""
    digest = hashlib.sha256(tree.hash.encode())
    for module in _RECIPE:
        digest.update(Path(__file__).with_name(module).read_bytes())
    flags = (*variant.compile_flags, *variant.link_flags)
    digest.update("\0".join((version or compiler_version(), *flags)).encode())
    return digest.hexdigest()


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/nnapi-toolkit` or `~/.cache/nnapi-toolkit`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nnapi-toolkit"


def build(
    target: str = "host",
    *,
    sanitize: bool = False,
    debug: bool = False,
    operations: frozenset[str] | None = None,
    toolchain: str = "zig",
    progress: Progress | None = None,
    deadline: float = _BUILD_SECONDS,
) -> BuildResult:
    """Builds everything for one target, or finds it built; a wheel carries the Android targets' binaries.

    Args:
        target: `host`, or a name from `toolchain.targets()`.
        sanitize: with UBSan; the first finding ends the process.
        debug: without optimisation, with symbols.
        operations: NNAPI operations (`CONV_2D`, ...) that software NNAPI shall have; None: all. Models with others are
            refused by it, with BAD_DATA.
        toolchain: `zig`, or `ndk` for an Android target: the NDK that ANDROID_NDK_HOME names.
        progress: called with (steps done, steps in all, what is being done).
        deadline: seconds to wait at most for another process that builds the same.

    Raises:
        BuildError: unknown target or operation, no compiler, no space, compiler errors (with its output), deadline.
    """
    machine = find_target(target)
    names = [SHIM, LIBNEURALNETWORKS] + ([SHIM_LIBRARY] if machine.host else [])
    usual = not (sanitize or debug) and operations is None and toolchain == "zig"
    carried = prebuilt.find(target, SourceTree().hash) if machine.android and usual else None
    if carried is not None:
        folder, digest = carried.folder, carried.build_hash
    else:
        folder, digest = build_products(
            names,
            machine,
            Variant(sanitize, debug),
            operations=operations,
            toolchain=toolchain,
            progress=progress,
            deadline=deadline,
        )
    fields = {SHIM: "shim", SHIM_LIBRARY: "shim_library", LIBNEURALNETWORKS: "libneuralnetworks"}
    return BuildResult(
        target=target,
        shim=folder / SHIM,
        shim_library=folder / SHIM_LIBRARY if machine.host else None,
        libneuralnetworks=folder / LIBNEURALNETWORKS,
        sizes={fields[name]: (folder / name).stat().st_size for name in names},
        source_hash=digest,
    )


def build_products(
    names: Sequence[str],
    target: Target,
    variant: Variant,
    *,
    operations: frozenset[str] | None = None,
    toolchain: str = "zig",
    progress: Progress | None = None,
    deadline: float = _BUILD_SECONDS,
    root: Path = SOURCE_ROOT,
) -> tuple[Path, str]:
    """Builds some of SHIM, SHIM_LIBRARY, LIBNEURALNETWORKS from the sources below `root`.

    Returns:
        The folder that they are in, and the source hash.
    """
    tree = SourceTree(root)
    compiler = find_toolchain(toolchain)
    if compiler.ndk and not target.android:
        raise BuildError(
            f"target {target.name}: an NDK builds for Android only",
            target=target.name,
            next_step=f"Leave the toolchain away, or choose one of: {', '.join(NDK_TARGETS)}.",
        )
    digest = source_hash(tree, variant, compiler.version)
    cache = cache_root()
    label = target.name + variant.suffix + ("" if LIBNEURALNETWORKS in names else "-shim") + _selection(tree, operations)
    out = cache / "build" / digest / label
    if _touch(out):
        return out, digest
    builder = _Builder(target, variant, tree, cache, compiler, operations)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _lock(out.with_name(f"{label}.lock"), deadline):
            if _touch(out):
                return out, digest
            part = Path(tempfile.mkdtemp(prefix=f"{label}.", suffix=".part", dir=out.parent))
            try:
                builder.products(names, part, progress or (lambda done, steps, what: None))
                part.chmod(0o755)
                part.replace(out)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise BuildError(
            f"the build cache {cache} cannot be written: {error}",
            target=target.name,
            next_step="Make room there, or set XDG_CACHE_HOME to a folder that can be written.",
        ) from error
    _prune(cache, keep=out.parent)
    return out, digest


def _selection(tree: SourceTree, operations: frozenset[str] | None) -> str:
    """What the cache calls a library with these operations only; BuildError for one that software NNAPI does not have."""
    if operations is None:
        return ""
    unknown = sorted(operations - tree.operations())
    if unknown or not operations:
        raise BuildError(
            f"software NNAPI has no operation {', '.join(unknown)}" if unknown else "no operation was chosen",
            next_step="Use NNAPI's names, such as CONV_2D; without a choice the library has all of them.",
        )
    return f"-{hashlib.sha256(' '.join(sorted(operations)).encode()).hexdigest()[:16]}"


def _compiler_environment(cache: Path) -> Mapping[str, str]:
    """The compiler's own cache goes below ours: it may run where there is no writable home."""
    environment = dict(os.environ)
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(cache / "zig"))
    environment.setdefault("ZIG_LOCAL_CACHE_DIR", str(cache / "zig"))
    environment["LC_ALL"] = "C"
    environment.pop("SOURCE_DATE_EPOCH", None)
    return environment


def _touch(path: Path) -> bool:
    """Marks a cache entry as used; False if it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # read-only cache: usable all the same
        return path.exists()
    return True


@contextlib.contextmanager
def _lock(path: Path, deadline: float) -> Iterator[None]:
    """An exclusive lock that dies with its process; BuildError after `deadline` seconds."""
    end = time.monotonic() + deadline
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise BuildError(
                        f"another process has been building {path.stem} for more than {deadline:.0f} s",
                        next_step=f"End that process (it holds {path}) and try again.",
                    ) from None
                time.sleep(0.05)
        yield


def _prune(cache: Path, keep: Path) -> None:
    """Drops builds and objects that nobody used for long; the newest builds stay whatever their age."""
    limit = time.time() - _KEPT_SECONDS

    def age(path: Path) -> float:
        try:
            return max(entry.stat().st_mtime for entry in [path, *path.iterdir()])
        except OSError:
            return 0.0

    with contextlib.suppress(OSError):
        builds = [path for path in (cache / "build").iterdir() if path.is_dir()]
        builds.sort(key=age, reverse=True)
        for path in builds[_KEPT_BUILDS:]:
            if path != keep and age(path) < time.time() - 86400.0:
                shutil.rmtree(path, ignore_errors=True)
        for path in (cache / "objects").iterdir():
            if path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m nnapi_toolkit.android.build --target host --json`."""
    parser = argparse.ArgumentParser(prog="nnapi_toolkit.android.build", description="Build the native code.")
    parser.add_argument("--target", default="host")
    parser.add_argument("--sanitize", action="store_true", help="with UBSan")
    parser.add_argument("--debug", action="store_true", help="without optimisation, with symbols")
    parser.add_argument("--operations", help="software NNAPI with these operations only: CONV_2D+ADD+...")
    parser.add_argument("--toolchain", default="zig", choices=TOOLCHAINS, help="ndk: the one that ANDROID_NDK_HOME names")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)

    def progress(done: int, steps: int, what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K[{done}/{steps}] {what}", end="\n" if done == steps else "", file=sys.stderr)

    try:
        operations = None if options.operations is None else frozenset(filter(None, options.operations.split("+")))
        result = build(
            options.target,
            sanitize=options.sanitize,
            debug=options.debug,
            operations=operations,
            toolchain=options.toolchain,
            progress=progress,
        )
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(result.to_json()))
    else:
        for field, size in result.sizes.items():
            print(f"{getattr(result, field)}  {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
