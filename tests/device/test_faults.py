"""Whatever breaks, when and wherever: a right result or a named error, quickly; and the next session works."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nnapi_toolkit.android.errors import (
    DriverError,
    ShimCrashedError,
    ShimDeadlineError,
    ShimLostError,
    ShimRestartedError,
    ShimTimeoutError,
)
from nnapi_toolkit.device import base, open_device
from nnapi_toolkit.device.base import DeviceSession
from nnapi_toolkit.device.store import FOLDER
from nnapi_toolkit.device.virtual.processes import parents
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import AdbServerError, DeviceError, ToolkitError

from tests.device.conftest import Adder, alive, wait_until

#: The promise: an error that names what vanished within 2 seconds; with room for a busy test machine.
NAMED_WITHIN = 4.0
PHASES = ["idle", "HELLO", "LOAD", "EXECUTE"]
#: Where software NNAPI waits, so that something can be done to it in that phase.
SLEEP_IN = {"HELLO": "getDevice", "LOAD": "Compilation_finish", "EXECUTE": "Execution_compute"}

Fresh = Callable[..., VirtualDevice]


@contextmanager
def after(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Does something while the body waits."""
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def quickly(seconds: float = NAMED_WITHIN) -> Iterator[None]:
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds


def shim_processes(phone: VirtualDevice) -> list[int]:
    """The shim's supervisor and workers, supervisor first."""
    client = phone.phone.control()
    pids = client.call("processes")
    client.close()
    above = parents()

    def path(pid: int) -> str:
        try:
            return str(Path(f"/proc/{pid}/exe").readlink())
        except OSError:
            return ""

    found = [pid for pid in pids if FOLDER in path(pid)]
    return sorted(found, key=lambda pid: above.get(pid) in found)


def start_in_phase(phone: VirtualDevice, adder: Adder, phase: str) -> DeviceSession:
    """A session up to the phase before."""
    session = phone.start(adder.path, adder.sha256)
    if phase == "EXECUTE":
        adder.load(session)
    return session


def enter_phase(session: DeviceSession, adder: Adder, phase: str, deadline: float = 60.0) -> None:
    """The request that then hangs (or, idle, comes after the fact)."""
    if phase == "LOAD":
        session.client.load(0, adder.program.data, deadline=deadline)
    elif phase == "EXECUTE":
        adder.run(session, deadline)
    else:
        session.client.echo(b"hello", deadline=deadline)


@pytest.fixture
def slow_in(fresh: Fresh) -> Callable[[str], VirtualDevice]:
    """A phone whose driver takes 20 s in a phase, the first time that it comes there."""

    def make(phase: str, times: str = ":1") -> VirtualDevice:
        faults = f"{SLEEP_IN[phase]}:sleep=20000{times}" if phase in SLEEP_IN else ""
        return fresh(faults=faults)

    return make


# -- the shim --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("phase", ["idle", "LOAD", "EXECUTE"])
def test_the_worker_dies(slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str, number: int) -> None:
    """The supervisor tells phase and signal; the same session goes on with a new worker."""
    phone = slow_in(phase)
    with start_in_phase(phone, adder, phase) as session:
        worker = session.hello.pid
        if phase == "idle":
            os.kill(worker, number)
        with quickly(), after(0.3, lambda: phase != "idle" and os.kill(worker, number)):
            if phase == "idle":
                with pytest.raises(ShimRestartedError, match=signal.Signals(number).name):
                    adder.load(session)
            else:
                with pytest.raises(ShimCrashedError, match=signal.Signals(number).name) as caught:
                    enter_phase(session, adder, phase)
                assert phase in str(caught.value)
                assert caught.value.code == number
        session.restart()
        assert session.hello.pid != worker
        if phase != "EXECUTE":  # the new worker's driver is as slow as the first, once
            return
    adder_session(phone, adder, phase)


def adder_session(phone: VirtualDevice, adder: Adder, phase: str) -> None:
    """The next session works (a slow driver is slow once in each of them: then without that phase)."""
    with phone.start(adder.path, adder.sha256) as session:
        assert session.client.echo(b"alive") == b"alive"
        if phase == "EXECUTE":
            adder.load(session)


@pytest.mark.parametrize("phase", PHASES)
def test_the_whole_shim_is_killed(slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str) -> None:
    """Nobody is left to tell: the stream ends, and the error names device, phase and what is known."""
    phone = slow_in(phase)

    def kill() -> None:
        for pid in shim_processes(phone):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    if phase == "HELLO":
        with quickly(), after(0.4, kill), pytest.raises(ShimLostError, match="HELLO") as lost:
            phone.start(adder.path, adder.sha256)
    else:
        with start_in_phase(phone, adder, phase) as session:
            if phase == "idle":
                kill()
            with quickly(), after(0.3, kill), pytest.raises(ShimLostError) as lost:
                enter_phase(session, adder, phase)
            assert phase == "idle" or phase in str(lost.value)
            with pytest.raises(ShimLostError, match="session is over"):
                enter_phase(session, adder, phase)
    assert phone.serial in str(lost.value)
    assert "the program on it has ended" in str(lost.value)
    if phase != "HELLO":
        adder_session(phone, adder, phase)


@pytest.mark.parametrize("phase", ["LOAD", "EXECUTE"])
def test_a_hung_driver_is_killed_at_its_limit(
    slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnapi_toolkit.device import adb

    monkeypatch.setattr(adb, f"{phase}_LIMIT", 0.5)
    phone = slow_in(phase)
    with start_in_phase(phone, adder, phase) as session:
        with quickly(), pytest.raises(ShimDeadlineError, match=phase) as caught:
            enter_phase(session, adder, phase)
        assert SLEEP_IN[phase].partition("_")[2] in str(caught.value)
        session.restart()
        assert session.client.echo(b"alive") == b"alive"
    assert base.LOAD_LIMIT > base.EXECUTE_LIMIT > 0


@pytest.mark.parametrize("phase", ["LOAD", "EXECUTE"])
def test_the_hosts_deadline_holds_too(slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str) -> None:
    phone = slow_in(phase)
    with start_in_phase(phone, adder, phase) as session, quickly(), pytest.raises(ShimTimeoutError, match=phase):
        enter_phase(session, adder, phase, deadline=0.5)
    assert wait_until(lambda: shim_processes(phone) == []), "the hung worker ends with its stream"
    adder_session(phone, adder, phase)


def test_a_driver_error_names_call_and_code(fresh: Fresh, adder: Adder) -> None:
    phone = fresh(faults="Execution_compute:5:1")
    with phone.start(adder.path) as session:
        adder.load(session)
        with pytest.raises(DriverError, match=r"Execution_compute.*OP_FAILED"):
            adder.run(session)
        adder.run(session)


def test_a_driver_that_crashes(fresh: Fresh, adder: Adder) -> None:
    phone = fresh(faults="Execution_compute:kill:1")
    with phone.start(adder.path) as session:
        adder.load(session)
        with quickly(), pytest.raises(ShimCrashedError, match="EXECUTE"):
            adder.run(session)
        session.restart()
        adder.load(session)


# -- the road --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_the_phone_goes(slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str) -> None:
    """The cable is pulled: the error says that the device is gone; with the cable back, the next session works."""
    phone = slow_in(phase)
    control = phone.phone.control()

    def pull() -> None:
        control.call("drop")

    control.call("faults", refuse_connections=False)
    if phase == "HELLO":
        phone.info()
        unplug = after(0.4, lambda: (control.call("faults", refuse_connections=True), pull()))
        with quickly(), unplug, pytest.raises(ToolkitError) as lost:
            phone.start(adder.path, adder.sha256)
    else:
        with start_in_phase(phone, adder, phase) as session:
            control.call("faults", refuse_connections=True)
            if phase == "idle":
                pull()
                time.sleep(0.1)
            with quickly(), after(0.3, pull), pytest.raises(ShimLostError) as lost:
                enter_phase(session, adder, phase)
            assert f"{phone.serial} is " in str(lost.value)
    assert phone.serial in str(lost.value)
    assert wait_until(lambda: shim_processes(phone) == []), "a shim ends with its stream"
    with pytest.raises(DeviceError, match=phone.serial):
        phone.start(adder.path, adder.sha256)
    control.call("faults", refuse_connections=False)
    phone.reconnect()
    if phase != "HELLO":
        adder_session(phone, adder, phase)


@pytest.mark.parametrize("phase", ["idle", "EXECUTE"])
def test_the_adb_server_is_killed(slow_in: Callable[[str], VirtualDevice], adder: Adder, phase: str) -> None:
    phone = slow_in(phase)
    control = phone.phone.control()
    with start_in_phase(phone, adder, phase) as session:
        if phase == "idle":
            control.call("kill_adb")
            time.sleep(0.1)
        with quickly(), after(0.3, lambda: control.call("kill_adb")), pytest.raises(ShimLostError) as lost:
            enter_phase(session, adder, phase)
    assert "the adb server" in str(lost.value)
    with pytest.raises(AdbServerError, match="no adb server answers"):
        phone.start(adder.path)
    assert wait_until(lambda: shim_processes(phone) == [])


def test_a_slow_link_only_takes_longer(fresh: Fresh, adder: Adder) -> None:
    phone = fresh()
    phone.start(adder.path).close()
    control = phone.phone.control()
    control.call("faults", bytes_per_second=10_000)
    with phone.start(adder.path) as session:
        adder.load(session)
        adder.run(session)
        data = os.urandom(8000)
        begin = time.monotonic()
        assert bytes(session.client.echo(data)) == data
        assert time.monotonic() - begin > 1.0


def test_what_a_killed_client_leaves_on_the_phone_is_swept(nnapi_phone: VirtualDevice, adder: Adder) -> None:
    """A phone outlives its clients: the next one removes the log of a session that nobody ended."""
    code = """
import os, signal, sys
from pathlib import Path
from nnapi_toolkit.device import open_device
from nnapi_toolkit.device.adbclient import Address, AdbServer
device = open_device(sys.argv[2], AdbServer(Address(path=sys.argv[3])))
session = device.start(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""
    place = nnapi_phone.phone.root / FOLDER[1:]
    with nnapi_phone.start(adder.path) as running:
        arguments = [str(adder.path), nnapi_phone.serial, nnapi_phone.phone.adb_socket]
        assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == -signal.SIGKILL
        assert wait_until(lambda: len(shim_processes(nnapi_phone)) == 2)
        assert len(list(place.glob("*.log"))) == 2
        with open_device(nnapi_phone.serial, nnapi_phone.server) as next_client:
            adder.whole(next_client)
        assert len(list(place.glob("*.log"))) == 1, "the log of the session that runs stays"
        assert running.client.echo(b"alive") == b"alive"
    assert list(place.glob("*.log")) == []


# -- the client ------------------------------------------------------------------------------------------------------

CLIENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from pathlib import Path
from nnapi_toolkit.device import open_device
device = open_device("virtual")
session = device.start(Path(sys.argv[1]))
print(device.phone.process, device.phone.root.parent, *device.phone.control().call("processes"), flush=True)
{ending}
"""


def run_client(adder: Adder, ending: str) -> tuple[subprocess.Popen[str], list[int], Path]:
    """A process with a virtual device and a session: (it, daemon and all below it, the daemon's folder)."""
    child = subprocess.Popen(
        [sys.executable, "-c", CLIENT.format(ending=ending), str(adder.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    daemon, folder, *pids = child.stdout.readline().split()
    below = [pid for pid, parent in parents().items() if parent == int(daemon)]  # the adb server among them
    return child, [int(daemon), *map(int, pids), *below], Path(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_client_is_killed(adder: Adder, number: int) -> None:
    """Daemon, adb server, shim, files: all gone, whatever ends the client."""
    child, pids, folder = run_client(adder, "import time; time.sleep(60)")
    assert len(pids) >= 5
    assert all(map(alive, pids))
    child.send_signal(number)
    child.wait(10)
    assert wait_until(lambda: not any(map(alive, pids))), [pid for pid in pids if alive(pid)]
    assert wait_until(lambda: not folder.exists())


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "import os; os._exit(0)", "device.close(); device.close()"])
def test_the_client_ends(adder: Adder, ending: str) -> None:
    child, pids, folder = run_client(adder, ending)
    child.wait(10)
    assert wait_until(lambda: not any(map(alive, pids)))
    assert wait_until(lambda: not folder.exists())


def test_the_daemon_is_killed(adder: Adder) -> None:
    """Its children go with it, the client gets a named error, and the next one sweeps the folder."""
    ending = """
import os, signal
os.kill(device.phone.process, signal.SIGKILL)
try:
    session.client.echo(b"x")
except Exception as error:
    print(type(error).__name__, flush=True)
"""
    child, pids, folder = run_client(adder, ending)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ShimLostError"
    child.wait(10)
    assert wait_until(lambda: not any(map(alive, pids)))
    run_client(adder, "")[0].wait(10)
    assert not folder.exists()


def test_the_user_s_own_adb_is_left_alone(fresh: Fresh, adder: Adder) -> None:
    """No server on the usual port, nothing in the user's Android folder, no device that others could see."""
    home = Path.home() / ".android"
    before = sorted(home.iterdir()) if home.exists() else None
    phone = fresh()
    adder.whole(phone)
    assert (sorted(home.iterdir()) if home.exists() else None) == before
    for pid in [pid for pid, parent in parents().items() if parent == phone.phone.process]:
        environment = Path(f"/proc/{pid}/environ").read_bytes() if alive(pid) else b""
        if b"ADB_USB" in environment:
            assert b"ADB_USB=0" in environment
            assert f"HOME={phone.phone.root.parent}/home".encode() in environment
            break
    else:
        pytest.fail("no private adb server found")
