"""Instructions that operations of software NNAPI execute, counted by valgrind: what wall time on a shared machine can't show.

    scripts/bench --instructions [--write]

Counts are compared with `instructions.json`, which --write renews. They depend on the compiler, so the file names its version; on
valgrind's processor, which has AVX2 at most, so they are those of the tables `baseline` and `avx2`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from nnapi_toolkit.android.build import build
from nnapi_toolkit.android.toolchain import compiler, compiler_version, host_target
from nnapi_toolkit.delegate.nnapi import OPERATIONS

RECORD = Path(__file__).with_name("instructions.json")
INCLUDE = Path(__file__).resolve().parents[2] / "android" / "include"
#: Name -> operation, and input height, width, channels, output channels, kernel, stride.
CASES = {
    "1x1 convolution": ("CONV_2D", 28, 28, 64, 128, 1, 1),
    "3x3 convolution": ("CONV_2D", 14, 14, 32, 48, 3, 1),
    "3x3 convolution of an image": ("CONV_2D", 48, 48, 3, 16, 3, 2),
    "1x1 convolution, odd sizes": ("CONV_2D", 7, 7, 37, 61, 1, 1),
    "3x3 depthwise": ("DEPTHWISE_CONV_2D", 28, 28, 64, 64, 3, 1),
    "5x5 depthwise, stride 2": ("DEPTHWISE_CONV_2D", 28, 28, 48, 48, 5, 2),
    "fully connected": ("FULLY_CONNECTED", 1, 1, 512, 400, 1, 1),
    "fully connected, 16 rows": ("FULLY_CONNECTED", 16, 1, 256, 64, 1, 1),
    "average pool": ("AVERAGE_POOL_2D", 28, 28, 64, 64, 3, 2),
    "max pool": ("MAX_POOL_2D", 28, 28, 64, 64, 3, 2),
    "add": ("ADD", 28, 28, 64, 64, 1, 1),
    "multiply": ("MUL", 28, 28, 64, 64, 1, 1),
    "softmax": ("SOFTMAX", 4, 1, 1000, 1000, 1, 1),
    "bilinear resize": ("RESIZE_BILINEAR", 16, 16, 32, 32, 1, 1),
    "logistic": ("LOGISTIC", 28, 28, 64, 64, 1, 1),
    "hard swish": ("HARD_SWISH", 28, 28, 64, 64, 1, 1),
}
TYPES = ("f32", "q8")
TABLES = ("baseline", "avx2")


def build_driver(folder: Path) -> Path:
    """The program that computes one operation, linked to software NNAPI."""
    library = build().libneuralnetworks
    program = folder / "instructions"
    command = [
        *compiler(), "-target", host_target().triple, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}",
        Path(__file__).with_suffix(".c"), library, f"-Wl,-rpath,{library.parent}", "-o", program,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    if done.returncode != 0:
        raise RuntimeError(f"The driver does not compile:\n{done.stderr}")
    return program


def count(program: Path, name: str, kind: str, table: str) -> int:
    """Instructions of one ANeuralNetworksExecution_compute.

    Raises:
        RuntimeError: valgrind or the program failed.
    """
    op, *sizes = CASES[name]
    arguments = [str(OPERATIONS[op].code), kind, *map(str, sizes)]
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=ANeuralNetworksExecution_compute", "--callgrind-out-file=/dev/null"]
    environment = {**os.environ, "SOFTNN_KERNELS": table, "SOFTNN_THREADS": "1"}
    done = subprocess.run([*command, program, *arguments], env=environment, capture_output=True, text=True, timeout=120)
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode != 0 or found is None or int(found[1]) == 0:
        raise RuntimeError(f"{name} {kind} {table}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return int(found[1])


def measure(names: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Name and type -> table -> instructions.

    Raises:
        RuntimeError: valgrind is missing or fails.
    """
    if shutil.which("valgrind") is None:
        raise RuntimeError("Instructions are counted by valgrind, which is not here. Install it (Debian: valgrind).")
    tables = [t for t in TABLES if t != "avx2" or " avx2 " in Path("/proc/cpuinfo").read_text()]
    with tempfile.TemporaryDirectory() as folder:
        program = build_driver(Path(folder))
        return {
            f"{name}, {kind}": {table: count(program, name, kind, table) for table in tables}
            for name in names or CASES
            for kind in TYPES
        }


def recorded() -> dict[str, Any]:
    """The record: `compiler` and `instructions`, as `measure` gives them."""
    document: dict[str, Any] = json.loads(RECORD.read_text())
    return document


def main(write: bool) -> int:
    """Prints the counts beside the recorded ones; 1 when one has grown by more than a twentieth."""
    found = measure()
    version = compiler_version()
    before = recorded() if RECORD.exists() else {"compiler": version, "instructions": {}}
    grown = 0
    for name, row in found.items():
        for table, number in row.items():
            old = before["instructions"].get(name, {}).get(table)
            grown += old is not None and number > 1.05 * old
            change = f"{number / old - 1:+8.1%}" if old else "     new"
            print(f"{name:40} {table:9} {number:12,} {change}")
    if before["compiler"] != version:
        print(f"The record is of zig {before['compiler']}, this is {version}: changes may be the compiler's.")
    if write:
        RECORD.write_text(json.dumps({"compiler": version, "instructions": found}, indent=1) + "\n")
        return 0
    return int(grown > 0)
