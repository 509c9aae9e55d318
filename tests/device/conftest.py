"""A virtual phone behind a private, real adb server: one for all tests of a run, and fresh ones for those that break it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nnapi_toolkit.device.virtual.adbserver import adb_binary
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.control import ControlClient
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import VirtualDevice, open_virtual

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
