"""Streams to programs: binary, both ways at once, large, cut off; and the long-lived form of the device."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nnapi_toolkit.device.adbclient import AdbServer, Address, Stream
from nnapi_toolkit.device.virtual.adbserver import adb_binary, server_environment
from nnapi_toolkit.device.virtual.control import ControlClient
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import DeviceError

from tests.device.conftest import alive, wait_until


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def program(phone: VirtualDevice, folder: str) -> str:
    """A native `cat` on the phone, that is no builtin: its path."""
    target = phone.phone.root / folder[1:] / "copy"
    shutil.copy(shutil.which("cat") or "/bin/cat", target)
    target.chmod(0o755)
    return f"{folder}/copy"


def talk(stream: Stream, data: bytes, expected: int) -> bytes:
    """Sends everything from a thread while everything is received."""
    sender = threading.Thread(target=stream.send, args=(data, soon()))
    sender.start()
    received = bytearray()
    while len(received) < expected:
        piece = stream.receive(1 << 20, soon())
        if not piece:
            break
        received += piece
    sender.join(30)
    return bytes(received)


@pytest.mark.parametrize("size", [1, 255, 65_536, 1 << 20, (1 << 20) + 1, 20_000_000])
def test_every_byte_both_ways(phone: VirtualDevice, program: str, size: int) -> None:
    data = random.Random(size).randbytes(size)
    stream = phone.server.open(phone.serial, f"exec:{program}")
    assert hashlib.sha256(talk(stream, data, size)).digest() == hashlib.sha256(data).digest()
    stream.close()


@pytest.mark.parametrize("step", [1, 100])
def test_in_small_pieces(phone: VirtualDevice, control: ControlClient, program: str, step: int) -> None:
    data = os.urandom(3000)
    stream = phone.server.open(phone.serial, f"exec:{program}")
    control.call("faults", bytes_per_write=step)
    assert talk(stream, data, len(data)) == data
    stream.close()
    counters = control.call("counters")
    assert counters["packets_sent"] >= len(data) // step


def test_counters(phone: VirtualDevice, control: ControlClient, program: str) -> None:
    stream = phone.server.open(phone.serial, f"exec:{program}")
    assert talk(stream, b"x" * 1000, 1000) == b"x" * 1000
    [record] = control.call("counters")["records"]
    assert record["name"] == f"exec:{program}"
    assert (record["received"], record["sent"], record["closed"], record["refused"]) == (1000, 1000, False, False)
    stream.close()
    assert wait_until(lambda: control.call("counters")["records"][0]["closed"])
    with pytest.raises(DeviceError):
        phone.server.open(phone.serial, "no:such")
    assert control.call("counters")["records"][1]["refused"]


def test_unknown_control_requests(control: ControlClient) -> None:
    for request, values in (("what", {}), ("faults", {"no_such": 1})):
        with pytest.raises(ValueError, match="does not exist"):
            control.call(request, **values)


def test_a_slow_reader_holds_the_program_up(phone: VirtualDevice, program: str) -> None:
    """Nothing piles up in the daemon while the host does not read."""
    def resident() -> int:
        return int(Path(f"/proc/{phone.phone.process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    stream = phone.server.open(phone.serial, "exec:cat /dev/zero")
    time.sleep(0.5)
    assert resident() - before < 48 << 20
    assert stream.receive_exactly(5_000_000, soon()) == bytes(5_000_000)
    stream.close()


def test_a_slow_program_holds_the_host_up(phone: VirtualDevice, folder: str) -> None:
    def resident() -> int:
        return int(Path(f"/proc/{phone.phone.process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    stream = phone.server.open(phone.serial, "exec:sleep 30")
    with pytest.raises(DeviceError, match="deadline"):
        stream.send(bytes(200_000_000), soon(1.0))
    assert resident() - before < 48 << 20
    stream.close()


def test_the_program_ends_with_its_stream(phone: VirtualDevice, control: ControlClient, program: str) -> None:
    before = control.call("processes")
    stream = phone.server.open(phone.serial, f"exec:{program}")
    talk(stream, b"x", 1)
    pids = set(control.call("processes")) - set(before)
    assert len(pids) == 2  # the shell and the program
    stream.close()
    assert wait_until(lambda: not any(map(alive, pids)), 1.5), "by itself: its input has ended"


def test_a_program_that_does_not_notice_is_killed(phone: VirtualDevice, control: ControlClient) -> None:
    stream = phone.server.open(phone.serial, "exec:sleep 60")
    assert wait_until(lambda: control.call("processes") != [])
    pids = control.call("processes")
    stream.close()
    assert wait_until(lambda: not any(map(alive, pids)), 5)


def test_the_stream_ends_with_its_program(phone: VirtualDevice, control: ControlClient, program: str) -> None:
    """All that the program wrote before it was killed still arrives."""
    stream = phone.server.open(phone.serial, f"exec:{program}")
    stream.send(b"y" * 300_000, soon())
    assert wait_until(lambda: control.call("counters")["sent"] == 300_000)
    for pid in control.call("processes"):
        os.kill(pid, signal.SIGKILL)
    assert stream.receive_all(soon(5)) == b"y" * 300_000


def test_the_connection_is_dropped(fresh_phone: object) -> None:
    phone = fresh_phone()  # type: ignore[operator]
    stream = phone.server.open(phone.serial, "exec:cat")
    assert talk(stream, b"x", 1) == b"x"
    control = phone.phone.control()
    control.call("drop")
    assert stream.receive_all(soon(5)) == b""
    assert wait_until(lambda: control.call("processes") == [])
    phone.reconnect()
    assert phone.command("echo back").text == "back\n"


def test_commands_reach_processes_of_the_phone_only(phone: VirtualDevice, control: ControlClient) -> None:
    before = set(control.call("processes"))
    stream = phone.server.open(phone.serial, "exec:sleep 60")
    assert wait_until(lambda: set(control.call("processes")) > before)
    [pid] = set(control.call("processes")) - before
    listed = phone.command("ps -A -o PID,NAME").text
    assert f"{pid} sh" in listed
    assert str(phone.phone.process) not in listed.split()
    assert phone.command(f"kill -9 {os.getpid()}").status == 1
    assert phone.command(f"kill -9 {phone.phone.process}").status == 1
    assert phone.command(f"kill -9 {pid}").status == 0
    assert stream.receive_all(soon(5)) == b""


# -- the long-lived form -------------------------------------------------------------------------------------------


@pytest.fixture
def adb_server(tmp_path: Path) -> Iterator[AdbServer]:
    """A user's adb server, apart from everything else."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "adb"))
        listener.listen()
        server = subprocess.Popen(
            [adb_binary(), "-L", f"acceptfd:{listener.fileno()}", "server", "nodaemon"],
            env=server_environment(str(tmp_path)), pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL,
        )  # fmt: skip
    yield AdbServer(Address(path=str(tmp_path / "adb")))
    server.kill()
    server.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve(adb_server: AdbServer, number: int) -> None:
    """A device on a port of its own, for `adb connect`; it ends on request, and leaves nothing."""
    code = """
import json, sys
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.daemon import serve
serve(VirtualConfig(model="Shelf Phone"), 0, lambda s: print(json.dumps([s.serial, s.root, s.control]), flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        serial, root, control = json.loads(child.stdout.readline())
        adb_server.connect_device(serial)
        adb_server.connect_device(serial)  # already connected is fine
        chosen = adb_server.choose()
        assert (chosen.serial, chosen.facts["model"]) == (serial, "Shelf_Phone")
        stream = adb_server.open(serial, "exec:cat")
        assert talk(stream, b"hello", 5) == b"hello"
        client = ControlClient(control)
        pids = client.call("processes")
        client.close()
        child.send_signal(number)
        assert child.wait(10) == 0
        assert stream.receive_all(soon(5)) == b""
        assert not any(map(alive, pids))
        assert not Path(root).exists()


def test_serve_on_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code = f"""
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.daemon import serve
try:
    serve(VirtualConfig(), {taken.getsockname()[1]})
except OSError as error:
    print("refused:", error.errno)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "refused: 98" in done.stdout


def test_files_that_stay(tmp_path: Path) -> None:
    """With a root of its own, a phone keeps its files from one run to the next."""
    from nnapi_toolkit.device.virtual.config import VirtualConfig
    from nnapi_toolkit.device.virtual.launch import launch

    for expected in (b"", b"kept\n"):
        with VirtualDevice(launch(VirtualConfig(root=str(tmp_path / "phone")))) as phone:
            assert phone.command("cat /sdcard/file").stdout == expected
            phone.command("echo kept > /sdcard/file").check()


def test_another_user_is_sent_away(phone: VirtualDevice) -> None:
    """Whoever connects can run programs as this user, so only this user (or root) may."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    code = f"""
import encodings.idna, os, socket
from struct import pack
os.setgid(65534); os.setuid(65534)
s = socket.create_connection(("127.0.0.1", {phone.phone.port}), timeout=5)
s.sendall(pack("<6I", 0x4E584E43, 0x01000001, 1 << 20, 6, 0, 0x4E584E43 ^ 0xFFFFFFFF) + b"host::")
try:
    print(len(s.recv(100)))
except ConnectionError:
    print(0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "0", done.stderr
    assert phone.command("echo fine").text == "fine\n"
