"""The pool of threads under the thread sanitizer: layers large enough to be shared, computed by several threads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from nnapi_toolkit.delegate.nnapi import OPERATIONS

from tests.fuzz import softnn

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests" / "benchmarks" / "instructions.c"
#: Operation, and input height, width, channels, output channels, kernel, stride.
LAYERS = [
    ("CONV_2D", 28, 28, 64, 128, 1, 1),
    ("CONV_2D", 7, 7, 160, 961, 1, 1),
    ("CONV_2D", 7, 7, 160, 97, 3, 1),
    ("DEPTHWISE_CONV_2D", 56, 56, 64, 64, 3, 1),
    ("FULLY_CONNECTED", 4, 1, 1000, 1001, 1, 1),
    ("AVERAGE_POOL_2D", 56, 56, 64, 64, 3, 1),
    ("ADD", 56, 56, 64, 64, 1, 1),
    ("SOFTMAX", 64, 1, 1000, 1000, 1, 1),
    ("HARD_SWISH", 56, 56, 64, 64, 1, 1),
]


@pytest.fixture(scope="module")
def program() -> Path:
    """The driver and software NNAPI in one program."""
    compiler = softnn.clang()
    if compiler is None:
        pytest.skip("needs clang with its sanitizer runtime: apt-get install clang libclang-rt-14-dev")
    return softnn.build_program(compiler, "tsan", "-fsanitize=thread", DRIVER)


@pytest.mark.timeout(900)
@pytest.mark.xdist_group("sanitizers")
@pytest.mark.parametrize("kind", ["f32", "q8"])
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: "-".join(map(str, layer)))
def test_threads_do_not_race(program: Path, layer: tuple[str, int, int, int, int, int, int], kind: str) -> None:
    op, *sizes = layer
    environment = {**os.environ, "SOFTNN_THREADS": "4", "SOFTNN_KERNELS": "baseline", "TSAN_OPTIONS": "exitcode=66"}
    command = [str(program), str(OPERATIONS[op].code), kind, *map(str, sizes)]
    for _ in range(3):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-4000:]
