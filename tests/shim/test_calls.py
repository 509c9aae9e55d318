"""Which NNAPI calls the shim makes, with which arguments, in which order: noted by a library of the tests' own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.android.build import SOURCE_ROOT
from nnapi_toolkit.android.errors import ShimCrashedError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.android.toolchain import compiler, host_target

from tests.shim import programs as p

Start = Callable[..., Any]


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Builds the fake library of a feature level."""
    folder = tmp_path_factory.mktemp("fake")

    def build(level: int) -> Path:
        library = folder / f"libfake{level}.so"
        if not library.exists():
            subprocess.run(
                [*compiler(), "-target", host_target().triple, "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                 "-O1", "-shared", "-fPIC", f"-DFAKE_LEVEL={level}", f"-I{SOURCE_ROOT / 'include'}",
                 str(Path(__file__).with_name("fake_nnapi.c")), "-o", str(library)],
                check=True, timeout=120,
            )  # fmt: skip
        return library

    return build


def program(file: int = 0) -> bytes:
    weights = p.Operand(dims=(16, 64), source=p.FILE, file=file, offset=128, length=4096)
    bias = p.Operand(dims=(16,), source=p.FILE, file=file, offset=4224, length=64)
    return p.pack(p.fully_connected(weights, bias))


BUILD = """
Model_create
Model_addOperand 0 type=3 dims=[1,64] scale=0 zero=0
Model_addOperand 1 type=3 dims=[16,64] scale=0 zero=0
Memory_createFromFd file protect=1 offset=0 size=8192
Model_setOperandValueFromMemory 1 memory=0 offset=128 length=4096
Model_addOperand 2 type=3 dims=[16] scale=0 zero=0
Model_setOperandValue 2 pointer length=64
Model_addOperand 3 type=1 dims=[] scale=0 zero=0
Model_setOperandValue 3 pointer length=4
Model_addOperand 4 type=3 dims=[1,16] scale=0 zero=0
Model_addOperation 9 in=[0,1,2,3] out=[4]
Model_identifyInputsAndOutputs in=[0] out=[4]
Model_finish
Compilation_create
Compilation_setPreference 2
Compilation_finish
"""
FIRST = """
Memory_createFromFd shared protect=3 offset=0 size=1048576
Execution_create
Execution_setInputFromMemory 0 as declared memory=1 offset=0 length=256
Execution_setOutputFromMemory 0 memory=1 offset=256 length=64
"""
AGAIN = """
Execution_create
Execution_setInputFromMemory 0 as declared memory=1 offset=0 length=256
Execution_setOutputFromMemory 0 memory=1 offset=256 length=64
"""
ASYNCHRONOUS = """
Execution_startCompute
Event_wait
Event_free
Execution_free
"""
END = """
Compilation_free
Model_free
Memory_free 1
"""


def run(start: Start, library: Path, tmp_path: Path, **env: str) -> tuple[Any, Path]:
    """A session with one program, which runs twice and is unloaded."""
    log, model = tmp_path / "calls", tmp_path / "model"
    model.write_bytes(bytes(8192))
    shim = start(library=library, env={"FAKE_LOG": str(log), **env})
    client = shim.client
    client.hello()
    client.open(str(model), 8192)
    loaded = client.load(0, program(), preference=2)
    assert (loaded.mapped_bytes, loaded.copied_bytes) == (4096, 68)
    for _ in range(2):
        x = np.zeros(64, np.float32)
        result = client.execute(0, [ExecuteInput(data=x)], [ExecuteOutput()], measure=True, timeout=1.0)
        assert bytes(result.outputs[0].data) == bytes(range(1, 65))
        assert result.driver_ns is None
    client.unload(0)
    return shim, log


def lines(*blocks: str) -> list[str]:
    return [line for block in blocks for line in block.strip().splitlines()]


def test_android_8_1(start: Start, fake: Callable[[int], Path], tmp_path: Path) -> None:
    shim, log = run(start, fake(1), tmp_path)
    assert shim.client.hello().feature_level == 1 and shim.client.hello().devices == ()
    expected = lines(BUILD, FIRST, ASYNCHRONOUS, AGAIN, ASYNCHRONOUS, END)
    assert log.read_text().splitlines() == expected
    shim.client.bye()
    shim.close()
    assert log.read_text().splitlines() == [*expected, "Memory_free 0"]


def test_android_10(start: Start, fake: Callable[[int], Path], tmp_path: Path) -> None:
    shim, log = run(start, fake(3), tmp_path)
    assert shim.client.hello().feature_level == 3
    compute = "Execution_compute\nExecution_free"
    assert log.read_text().splitlines() == lines(BUILD, FIRST, compute, AGAIN, compute, END)


def test_android_12_uses_an_execution_again(start: Start, fake: Callable[[int], Path], tmp_path: Path) -> None:
    shim, log = run(start, fake(5), tmp_path)
    assert shim.client.hello().feature_level == 5
    first = FIRST.replace("Execution_create", "Execution_create\nExecution_setReusable 1")
    assert log.read_text().splitlines() == lines(
        BUILD, first, "Execution_compute", "Execution_compute", "Execution_free", END
    )


def test_a_driver_that_prints(start: Start, fake: Callable[[int], Path], tmp_path: Path) -> None:
    run(start, fake(1), tmp_path, FAKE_NOISE="1")


@pytest.mark.parametrize("call", ["Model_finish", "Compilation_finish", "Execution_startCompute", "Event_wait"])
def test_a_driver_that_crashes(start: Start, fake: Callable[[int], Path], tmp_path: Path, call: str) -> None:
    with pytest.raises(ShimCrashedError, match=f"died of signal 11 in .* of program 0, inside ANeuralNetworks{call}") as info:
        run(start, fake(1), tmp_path, FAKE_CRASH=call)
    assert info.value.signal_name == "SIGSEGV"


def test_a_driver_that_exits(start: Start, fake: Callable[[int], Path], tmp_path: Path) -> None:
    with pytest.raises(ShimCrashedError, match=r"ended itself with code 0 in LOAD of program 0, inside .*Model_finish"):
        run(start, fake(1), tmp_path, FAKE_EXIT="Model_finish")
