"""Builds and runs the libFuzzer target of the NNAPI C interface.

    python -m tests.fuzz.softnn --seconds 60

The corpus begins with the shared NNAPI cases, written down as programs of calls. Needs clang with its runtime (Debian:
`apt-get install clang libclang-rt-14-dev`). Findings stay in --artifacts, one file each; give such a file as an argument
to run it again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.nnapi.cases import CASES, case_files, load
from tests.nnapi.client import DTYPES, SCALARS
from tests.nnapi.variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
TARGET = "tests/fuzz/fuzz_softnn_api.c"
#: Larger constants and buffers do not fit the format's 16-bit lengths; a case that has one is left out.
MAX_BYTES = 4096
FLAGS = [
    "-std=c11", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-math-errno", "-ffp-contract=off", "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64", "-DSOFTNN_BUILD", "-DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION",
    "-fno-sanitize-recover=all",
]  # fmt: skip
SANITIZERS = "-fsanitize=address,undefined"
_BUILD_SECONDS = 600


# --- corpus -----------------------------------------------------------------------------------------------------------


class TooLarge(Exception):
    """A case that the format cannot hold."""


class Program:
    """Bytes for the fuzzer's steps; numbers of the opcodes as in the C file."""

    def __init__(self) -> None:
        self.data = bytearray()

    def put(self, layout: str, *values: int | float) -> None:
        self.data += struct.pack("<" + layout, *values)

    def type(self, code: int, dims: Sequence[int], scale: float, zero_point: int) -> None:
        if any(dim >= 0xFFFF for dim in dims):
            raise TooLarge
        self.put(f"bB{len(dims)}Hfi", code, len(dims), *dims, scale, zero_point)

    def bytes(self, value: bytes) -> None:
        """Length, how many bytes follow, the bytes."""
        if len(value) > MAX_BYTES:
            raise TooLarge
        self.put("HH", len(value), len(value))
        self.data += value

    def list(self, values: Sequence[int]) -> None:
        if len(values) >= 64:
            raise TooLarge
        self.put(f"B{len(values)}H", len(values), *values)


def program_of(case: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """A case as a program of calls."""
    program = Program()
    order = [*range(len(case["models"]) - 1, 0, -1), 0]
    if len(order) > 4:
        raise TooLarge
    for index in order:
        add_model(program, case, case["models"][index], arrays, order)
    program.put("BB", 11, 0)
    if len(program.data) % 4 == 0:
        program.put("BBI", 14, 1 << len(program.data) % 8, len(program.data))  # by the cache, with a changed byte
    for example in case["examples"]:
        add_execution(program, case["models"][0], example, arrays)
    return bytes(program.data)


def add_model(
    program: Program, case: dict[str, Any], model: dict[str, Any], arrays: dict[str, Any], order: list[int]
) -> None:
    program.put("B", 0)
    for index, operand in enumerate(model["operands"]):
        program.put("B", 1)
        program.type(operand["type_code"], operand["dims"], operand["scale"], operand["zero_point"])
        if operand["per_channel"]:
            scales = operand["per_channel"]["scales"]
            if len(scales) >= 64:
                raise TooLarge
            program.put(f"BHBB{len(scales)}f", 5, index, operand["per_channel"]["axis"], len(scales), *scales)
        if operand["lifetime"] == "const":
            program.put("BH", 2, index)
            program.bytes(arrays[operand["data"]].tobytes())
        elif operand["lifetime"] == "no_value":
            program.put("BH", 3, index)
        elif operand["lifetime"] == "subgraph_ref":
            program.put("BHB", 6, index, order.index(operand["subgraph"]))
    for operation in model["operations"]:
        program.put("Bb", 7, operation["code"])
        program.list(operation["inputs"])
        program.list(operation["outputs"])
    program.put("B", 8)
    program.list(model["inputs"])
    program.list(model["outputs"])
    program.put("BB", 9, int(case["relaxed"]))
    program.put("B", 10)


def add_execution(program: Program, model: dict[str, Any], example: dict[str, Any], arrays: dict[str, Any]) -> None:
    program.put("BB", 12, (0, 1, 16, 4 + 16 + 32)[len(program.data) % 4])  # sync, burst, by an event, by two
    for operand, key in zip(model["inputs"], example["inputs"], strict=True):
        spec = model["operands"][operand]
        value = None if key is None else arrays[key]
        open_type = spec["type_code"] not in SCALARS and (not spec["dims"] or 0 in spec["dims"])
        program.put("B", (1 if open_type and value is not None else 0) | (4 if value is None else 0))
        if open_type and value is not None:
            program.type(spec["type_code"], value.shape, spec["scale"], spec["zero_point"])
        program.bytes(b"" if value is None else value.tobytes())
    for operand, key in zip(model["outputs"], example["outputs"], strict=True):
        spec = model["operands"][operand]
        shape = spec["dims"] if key is None else arrays[key].shape
        size = max(int(np.prod(shape, dtype=np.int64)), 1) * np.dtype(DTYPES[spec["type_code"]]).itemsize
        if size > 0xFFFF:
            raise TooLarge
        program.put("BHH", 0, size, 0)


def forms(case: dict[str, Any], arrays: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """A case as it is, and (once, not for each lifetime of its operands) with shapes that come late and as a referenced model."""
    yield case, arrays
    if not case["lifetime_variation"] and not case["expect_failure"]:
        for name in ("rank", "branch"):
            changed = VARIANTS[name](case, arrays)
            if changed is not None:
                yield changed


def corpus(root: Path = CASES) -> Iterator[bytes]:
    """Programs of all cases that fit."""
    for file in case_files(root):
        meta, arrays = load(str(file))
        for case in meta["cases"]:
            for form in forms(case, arrays):
                try:
                    yield program_of(*form)
                except (TooLarge, struct.error):
                    continue


def write_corpus(folder: Path) -> int:
    """Writes the corpus, one file per program; their number."""
    folder.mkdir(parents=True, exist_ok=True)
    programs = {hashlib.sha1(program).hexdigest(): program for program in corpus()}
    for name, program in programs.items():
        (folder / name).write_bytes(program)
    return len(programs)


# --- build and run ------------------------------------------------------------------------------------------------------


def clang() -> str | None:
    """The compiler, or None where its runtime for address sanitizing and fuzzing is missing."""
    found = shutil.which("clang")
    if found is None:
        return None
    asked = [found, "-print-file-name=libclang_rt.fuzzer-x86_64.a"]
    runtime = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.strip()
    return found if Path(runtime).is_absolute() and Path(runtime).exists() else None


def sources() -> list[Path]:
    """All of software NNAPI."""
    return sorted((ROOT / "android/softnn").glob("*.c")) + sorted((ROOT / "android/softnn/ops").glob("*.c"))


def compile_all(compiler: str, folder: Path, flags: Sequence[str], extra: Sequence[Path] = ()) -> list[Path]:
    """Objects of software NNAPI and `extra`, two at a time; compiled anew only when a source is newer."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = [*(ROOT / "android").glob("**/*.h"), Path(__file__)]
    newest_header = max(header.stat().st_mtime for header in headers)

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.parent.name}-{source.stem}.o"
        if not target.exists() or target.stat().st_mtime < max(source.stat().st_mtime, newest_header):
            part = target.with_suffix(f".{os.getpid()}.part")
            # The widest table of kernels is the source of the others once more; with sanitizers it takes the compiler minutes.
            plain = source.stem == "kernels_avx512"
            chosen = [flag for flag in flags if not (plain and flag.startswith("-fsanitize"))]
            command = [compiler, *chosen, "-c", str(source), "-o", str(part)]
            subprocess.run(command, check=True, timeout=_BUILD_SECONDS)
            part.replace(target)
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, [*sources(), *extra]))


def build_fuzzer(compiler: str, folder: Path) -> Path:
    """The fuzzer's executable."""
    flags = [*FLAGS, SANITIZERS, "-fsanitize=fuzzer-no-link"]
    objects = compile_all(compiler, folder / "fuzz", flags, [ROOT / TARGET])
    program = folder / "fuzz_softnn_api"
    link = [compiler, SANITIZERS, "-fsanitize=fuzzer", *map(str, objects), "-o", str(program), "-lm", "-lpthread"]
    subprocess.run(link, check=True, timeout=_BUILD_SECONDS)
    return program


def build_library(compiler: str, folder: Path) -> Path:
    """libneuralnetworks.so with ASan and UBSan, for a process that preloads `preload(compiler)`."""
    flags = [*(flag for flag in FLAGS if "FUZZING" not in flag), SANITIZERS, "-fPIC", "-fvisibility=hidden"]
    objects = compile_all(compiler, folder / "asan", flags)
    library = folder / "libneuralnetworks.so"
    link = [
        compiler,
        SANITIZERS,
        "-shared-libasan",
        "-shared",
        *map(str, objects),
        "-o",
        str(library),
        "-lm",
        "-lpthread",
    ]
    subprocess.run(link, check=True, timeout=_BUILD_SECONDS)
    return library


def build_program(compiler: str, name: str, sanitizer: str, source: Path) -> Path:
    """`source` and software NNAPI in one program, with a sanitizer that a library cannot have alone."""
    flags = [*(flag for flag in FLAGS if "FUZZING" not in flag), sanitizer, f"-I{ROOT / 'android' / 'include'}"]
    folder = cache_folder() / name
    objects = compile_all(compiler, folder, flags, [source])
    program = folder / source.stem
    part = program.with_suffix(f".{os.getpid()}.part")  # another process may be running the former one
    link = [compiler, sanitizer, *map(str, objects), "-o", str(part), "-lm", "-lpthread"]
    subprocess.run(link, check=True, timeout=_BUILD_SECONDS)
    return part.replace(program)


def preload(compiler: str) -> str:
    """The shared runtime of the address sanitizer."""
    asked = [compiler, "-print-file-name=libclang_rt.asan-x86_64.so"]
    return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def cache_folder() -> Path:
    """Where objects and the corpus are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "nnapi-toolkit" / "fuzz" / hashlib.sha1(str(ROOT).encode()).hexdigest()[:12]


def run(seconds: int, artifacts: Path, inputs: Sequence[Path] = (), jobs: int = 1, seed: int | None = None) -> int:
    """Fuzzes for a time, or runs some inputs; the fuzzer's exit code."""
    compiler = clang()
    if compiler is None:
        print("no clang with libFuzzer: apt-get install clang libclang-rt-14-dev", file=sys.stderr)
        return 2
    folder = cache_folder()
    program = build_fuzzer(compiler, folder)
    artifacts.mkdir(parents=True, exist_ok=True)
    options = [f"-artifact_prefix={artifacts}/", "-timeout=20", "-rss_limit_mb=3000", "-malloc_limit_mb=1000"]
    environment = {**os.environ, "ASAN_OPTIONS": "allocator_may_return_null=1:detect_stack_use_after_return=1"}
    if inputs:
        return subprocess.run([str(program), *options, *map(str, inputs)], env=environment).returncode
    seeds = folder / "seeds"
    if not seeds.exists():
        print(f"corpus: {write_corpus(seeds)} programs", file=sys.stderr)
    found = folder / "found"
    found.mkdir(exist_ok=True)
    if jobs > 1:
        options += [f"-fork={jobs}"]
    if seed is not None:
        options += [f"-seed={seed + 1}"]  # 0 stands for another one each time
    options += [f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=20000", "-use_value_profile=1"]
    return subprocess.run([str(program), *options, str(found), str(seeds)], env=environment).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.softnn", description="Fuzz software NNAPI.")
    parser.add_argument("inputs", nargs="*", type=Path, help="run these inputs instead of fuzzing")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--artifacts", type=Path, default=ROOT / ".cache" / "fuzz-artifacts")
    parser.add_argument("--jobs", type=int, default=1, help="processes (libFuzzer's fork mode)")
    parser.add_argument("--seed", type=int, help="of the mutations; else another one each time")
    options = parser.parse_args(arguments)
    return run(options.seconds, options.artifacts, options.inputs, options.jobs, options.seed)


if __name__ == "__main__":
    sys.exit(main())
