"""Two NNAPI libraries in one session: the device's own, and software NNAPI beside it with all that it can."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.android.build import SOURCE_ROOT, BuildResult
from nnapi_toolkit.android.errors import DriverError, LibraryError, ProtocolError, ShimCrashedError, ShimError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ShimClient
from nnapi_toolkit.android.toolchain import compiler, host_target

from tests.shim import programs as p

Start = Callable[..., Any]
X = np.arange(4, dtype=np.float32)
PLUS_ONE, PLUS_TEN = (p.pack(p.add(constant=np.full(4, value))) for value in (1, 10))


@pytest.fixture
def second(native: BuildResult, tmp_path: Path) -> str:
    """A copy of software NNAPI: a file of its own is a library of its own."""
    return str(shutil.copy(native.libneuralnetworks, tmp_path / "second.so"))


@pytest.fixture
def fake(tmp_path: Path) -> str:
    """The library that notes its calls."""
    library = tmp_path / "fake.so"
    source = Path(__file__).with_name("fake_nnapi.c")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-DFAKE_LEVEL=3", f"-I{SOURCE_ROOT / 'include'}"]
    command = [*compiler(), "-target", host_target().triple, *flags, str(source), "-o", str(library)]
    subprocess.run(command, check=True, timeout=120)
    return str(library)


def test_each_program_runs_on_its_own_library(connect: Callable[..., ShimClient], second: str) -> None:
    """The first refuses ADD; a tensor goes from library to library in slots, and back, without a byte to the host."""
    client = connect(refuse="ADD")
    library = client.library(1, second)
    assert (library.feature_level, library.path, library.devices[0].name) == (8, second, "softnn")
    assert client.supported(PLUS_ONE, device=0) == [False]
    assert client.supported(PLUS_ONE, library=1, device=0) == [True]
    with pytest.raises(DriverError):
        client.load(0, PLUS_ONE, device=0)
    client.load(0, PLUS_ONE)  # its CPU device takes it
    client.load(1, PLUS_TEN, library=1, device=0)
    for _ in range(3):
        kept = ExecuteOutput(slot=1, send=False)
        client.execute(0, [ExecuteInput(data=X)], [kept])
        client.execute(1, [ExecuteInput(slot=1)], [ExecuteOutput(slot=2, send=False)], measure=True)
        back = client.execute(0, [ExecuteInput(slot=2)], [ExecuteOutput()])
        np.testing.assert_array_equal(np.frombuffer(back.outputs[0].data, np.float32), X + 12)
    client.unload(1)
    with pytest.raises(ShimError, match="program 1 is not loaded"):
        client.execute(1, [ExecuteInput(slot=1)], [ExecuteOutput()])
    client.bye()


def test_the_second_library_has_every_level(connect: Callable[..., ShimClient], second: str) -> None:
    client = connect(feature_level=1)
    conditional = p.pack(*p.conditional(), feature_level=4)
    inputs = [ExecuteInput(data=np.ones(1, np.uint8)), ExecuteInput(data=X)]
    assert client.library(1, second).feature_level == 8
    with pytest.raises(ShimError, match="BAD_DATA"):
        client.load(0, conditional)
    client.load(0, conditional, library=1, device=0, priority=110, burst=True, timeout=5.0)
    result = client.execute(0, inputs, [ExecuteOutput()], measure=True, timeout=5.0)
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), X + 1)
    assert result.driver_ns is not None
    client.load(1, PLUS_ONE)  # the first is as it was
    client.execute(1, [ExecuteInput(data=X)], [ExecuteOutput()])
    with pytest.raises(ShimError, match="came with feature level 3"):
        client.supported(PLUS_ONE)
    client.bye()


def test_faults_of_the_first_do_not_strike_in_the_second(connect: Callable[..., ShimClient], second: str) -> None:
    client = connect(faults="Execution_compute:5")
    client.library(1, second)
    client.load(0, PLUS_ONE)
    client.load(1, PLUS_ONE, library=1)
    with pytest.raises(DriverError, match="OP_FAILED"):
        client.execute(0, [ExecuteInput(data=X)], [ExecuteOutput()])
    client.execute(1, [ExecuteInput(data=X)], [ExecuteOutput()])
    client.bye()


def test_a_library_that_comes_late_takes_tensors_that_are_there(connect: Callable[..., ShimClient], second: str) -> None:
    client = connect()
    client.write(1, X, (4,))
    client.library(1, second, threads=2)
    client.load(1, PLUS_TEN, library=1)
    result = client.execute(1, [ExecuteInput(slot=1)], [ExecuteOutput()])
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), X + 10)
    client.bye()


def test_a_tensor_in_the_other_representation(connect: Callable[..., ShimClient], second: str) -> None:
    """int8 that one program keeps is read by another that carries it as uint8; the slot stays as it is."""

    def plus(type: int, zero_point: int) -> bytes:
        tensor = p.Operand(type, (4,), scale=1.0, zero_point=zero_point)
        model = p.Model([tensor, tensor, p.scalar(0), tensor], [p.Operation(p.ADD, (0, 1, 2), (3,))], (0, 1), (3,))
        return p.pack(model, feature_level=4 if type == p.TENSOR_QUANT8_ASYMM_SIGNED else 1)

    client = connect()
    client.library(1, second)
    client.load(0, plus(p.TENSOR_QUANT8_ASYMM, 128))
    client.load(1, plus(p.TENSOR_QUANT8_ASYMM_SIGNED, 0), library=1)
    client.load(2, PLUS_ONE)
    x = np.array([-128, -1, 0, 40], np.int8)
    client.execute(0, [ExecuteInput(slot=1, data=x.view(np.uint8) ^ 0x80), ExecuteInput(data=np.full(4, 129, np.uint8))],
                   [ExecuteOutput(slot=2, send=False)])  # fmt: skip
    sums = client.execute(1, [ExecuteInput(slot=2, flipped=True), ExecuteInput(slot=1, flipped=True)],
                          [ExecuteOutput(slot=2, send=True)])  # fmt: skip
    np.testing.assert_array_equal(np.frombuffer(sums.outputs[0].data, np.int8), [-128, -1, 1, 81])
    np.testing.assert_array_equal(np.frombuffer(client.read(1).data, np.uint8) ^ 0x80, x.view(np.uint8))
    again = client.execute(0, [ExecuteInput(slot=2, flipped=True), ExecuteInput(slot=1)], [ExecuteOutput()])
    np.testing.assert_array_equal((np.frombuffer(again.outputs[0].data, np.uint8) ^ 0x80).view(np.int8), [-128, -2, 1, 121])
    client.write(9, X, (4,))
    with pytest.raises(ProtocolError, match="input 0: flipped, but of type 3"):
        client.execute(2, [ExecuteInput(slot=9, flipped=True)], [ExecuteOutput()])
    with pytest.raises(ShimError, match="slot 77 holds no tensor"):
        client.execute(1, [ExecuteInput(slot=77, flipped=True), ExecuteInput(slot=1)], [ExecuteOutput()])
    client.bye()


def test_wrong_requests(connect: Callable[..., ShimClient], second: str, tmp_path: Path) -> None:
    client = connect()
    with pytest.raises(ShimError, match="library 1 is not open: send LIBRARY first"):
        client.load(0, PLUS_ONE, library=1)
    for number in (0, 2, 2**32 - 1):
        with pytest.raises(ProtocolError, match=f"library {number}: numbers go from 1 to 1"):
            client.library(number, second)
    with pytest.raises(ProtocolError, match="library 2: numbers go up to 1"):
        client.supported(PLUS_ONE, library=2)
    with pytest.raises(ProtocolError, match="65 threads"):
        client.library(1, second, threads=65)
    (tmp_path / "text.so").write_text("no library")
    for path, message in (
        (tmp_path / "missing.so", "missing.so cannot be loaded"),
        (tmp_path / "text.so", "text.so cannot be loaded"),
        ("", "no library is part of this program"),
    ):
        with pytest.raises(LibraryError, match=message):
            client.library(1, str(path))
    client.library(1, second)
    client.library(1, second)  # it is as wanted
    with pytest.raises(ShimError, match=r"library 1 is open already, as .*second\.so"):
        client.library(1, str(tmp_path / "text.so"))
    client.load(0, PLUS_ONE, library=1)
    client.bye()


def test_both_libraries_get_the_memory(start: Start, fake: str, tmp_path: Path) -> None:
    """What a program of the other library left is read from the memory object that both were given."""
    log = tmp_path / "log"
    shim = start(env={"FAKE_LOG": str(log)})
    shim.client.hello()
    assert shim.client.library(1, fake).feature_level == 3  # it has no settings: nothing is said to it
    shim.client.load(0, PLUS_ONE)
    shim.client.load(1, PLUS_TEN, library=1)
    shim.client.execute(0, [ExecuteInput(data=X)], [ExecuteOutput(slot=3, send=False)])
    shim.client.execute(1, [ExecuteInput(slot=3)], [ExecuteOutput()])
    calls = log.read_text().splitlines()
    assert any(line.startswith("Memory_createFromFd shared protect=3") for line in calls)
    assert any(line.startswith("Execution_setInputFromMemory 0 as declared memory=0") for line in calls)
    shim.client.bye()
    assert shim.close() == 0
    assert log.read_text().count("Memory_free") == 1


def test_a_library_that_kills_the_worker(start: Start, fake: str) -> None:
    shim = start(env={"FAKE_CRASH": "Execution_compute"})
    for _ in range(2):
        shim.client.hello()
        shim.client.library(1, fake)
        shim.client.load(0, PLUS_ONE)
        shim.client.load(1, PLUS_ONE, library=1)
        shim.client.execute(0, [ExecuteInput(data=X)], [ExecuteOutput()])
        with pytest.raises(ShimCrashedError, match="signal 11 in EXECUTE of program 1, inside ANeuralNetworksExecution_compute"):
            shim.client.execute(1, [ExecuteInput(data=X)], [ExecuteOutput()])
    shim.client.hello()
    with pytest.raises(ShimError, match="library 1 is not open"):
        shim.client.load(1, PLUS_ONE, library=1)


def test_two_libraries_leave_nothing(native: BuildResult, second: str) -> None:
    from nnapi_toolkit.android.binding import LocalChannel

    def session() -> None:
        channel = LocalChannel(native.shim_library, native.libneuralnetworks)
        client = ShimClient(channel)
        client.hello()
        client.library(1, second, threads=2)
        for number in (0, 1):
            client.load(number, PLUS_ONE, library=number)
            client.execute(number, [ExecuteInput(data=X)], [ExecuteOutput(slot=number)])
        channel.close()

    for _ in range(5):
        session()
    descriptors, mappings = len(list(Path("/proc/self/fd").iterdir())), maps()
    for _ in range(50):
        session()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    assert maps() <= mappings


def maps() -> int:
    """How often this process maps a library called second.so."""
    return Path("/proc/self/maps").read_text().count("second.so")
