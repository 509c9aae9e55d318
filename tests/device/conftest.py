"""A virtual phone behind a private, real adb server: one for all tests of a run, and fresh ones for those that break it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.device.base import Device, DeviceSession
from nnapi_toolkit.device.virtual.adbserver import adb_binary
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.control import ControlClient
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import VirtualDevice, open_virtual

from tests.modelbuilder import ModelBuilder

Adb = Callable[..., "subprocess.CompletedProcess[bytes]"]


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Polls until the condition holds; False after the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="session")
def phone() -> Iterator[VirtualDevice]:
    """A virtual phone without NNAPI that tests share; they leave it as they found it."""
    with VirtualDevice(launch(VirtualConfig())) as device:
        yield device


@pytest.fixture(scope="session")
def nnapi_phone() -> Iterator[VirtualDevice]:
    """A virtual phone with software NNAPI, for tests that start the shim."""
    with open_virtual() as device:
        yield device


@pytest.fixture
def fresh() -> Iterator[Callable[..., VirtualDevice]]:
    """Makes virtual phones for one test alone, with settings of `VirtualConfig`."""
    made: list[VirtualDevice] = []

    def make(**settings: object) -> VirtualDevice:
        made.append(open_virtual(VirtualConfig(**settings)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def fresh_phone() -> Iterator[Callable[[], VirtualDevice]]:
    """Makes virtual phones without NNAPI for one test alone."""
    made: list[VirtualDevice] = []

    def make() -> VirtualDevice:
        made.append(VirtualDevice(launch(VirtualConfig())))
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def control(phone: VirtualDevice) -> Iterator[ControlClient]:
    """Counters (fresh) and faults (off again afterwards) of the shared phone."""
    client = phone.phone.control()
    client.call("reset")
    yield client
    client.call("faults", bytes_per_second=0, bytes_per_write=0, refuse_connections=False)
    client.call("disk", free=None)
    client.close()


@pytest.fixture(scope="session")
def adb(phone: VirtualDevice) -> Adb:
    """The real adb client, speaking to the shared phone."""

    def run(*arguments: str, data: bytes = b"", timeout: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        command = [adb_binary(), "-L", f"localfilesystem:{phone.phone.adb_socket}", "-s", phone.serial, *arguments]
        return subprocess.run(command, input=data, capture_output=True, timeout=timeout)

    return run


@pytest.fixture
def folder(phone: VirtualDevice, request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of the test's own on the shared phone."""
    path = f"/data/local/tmp/test-{os.getpid()}-{abs(hash(request.node.nodeid))}"
    (phone.phone.root / path[1:]).mkdir(parents=True)
    yield path
    shutil.rmtree(phone.phone.root / path[1:])


class Adder:
    """A model with one ADD of two float32 vectors, and what runs it: small, but the whole road."""

    def __init__(self, folder: Path, count: int = 4) -> None:
        builder = ModelBuilder()
        x, y, z = (builder.tensor(name, "float32", (1, count)) for name in "xyz")
        builder.op("ADD", [x, y], [z])
        self.path = folder / f"add-{count}.tflite"
        self.path.write_bytes(builder.build([x, y], [z]))
        graph = Graph.open(self.path)
        self.sha256 = graph.sha256
        [self.program] = make_plan(graph, Target(1), PlanOptions()).lower()
        self.count = count

    def load(self, session: DeviceSession) -> None:
        """Compiles the program as number 0."""
        session.client.load(0, self.program.data)

    def run(self, session: DeviceSession, deadline: float = 30.0) -> None:
        """One inference with its result checked."""
        a = np.random.default_rng(1).random((1, self.count), np.float32)
        inputs = [ExecuteInput(data=a), ExecuteInput(data=a * 2)]
        result = session.client.execute(0, inputs, [ExecuteOutput()], deadline=deadline)
        np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), (a + a * 2).ravel())

    def whole(self, device: Device) -> None:
        """A whole session with one inference."""
        with device.start(self.path, self.sha256) as session:
            self.load(session)
            self.run(session)


@pytest.fixture(scope="session")
def adder(tmp_path_factory: pytest.TempPathFactory) -> Adder:
    """The small model."""
    return Adder(tmp_path_factory.mktemp("models"))
