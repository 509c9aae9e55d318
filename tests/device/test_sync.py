"""Files to the phone and back: the real adb client, our own client, and both versions of the protocol."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest
from nnapi_toolkit.device.adbclient import Stream
from nnapi_toolkit.device.adbsync import SyncConnection
from nnapi_toolkit.device.virtual.control import ControlClient
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import DeviceLostError, DeviceSpaceError

from tests.device.conftest import Adb, wait_until

FOREVER = 1e8
ODD_NAMES = ["plain", "with space", "q'uote", 'd"ouble', "dollar$HOME", "star*", "ünïcödé", "-dash", "back\\slash"]
ODD_NAMES += ["a,b", "new\nline"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 3_000_001])
def test_push_and_pull_with_adb(adb: Adb, phone: VirtualDevice, folder: str, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    source.chmod(0o640)
    os.utime(source, (1_500_000_000, 1_500_000_000))
    assert adb("push", str(source), f"{folder}/file").returncode == 0
    there = phone.phone.root / folder[1:] / "file"
    assert there.read_bytes() == source.read_bytes()
    assert int(there.stat().st_mtime) == 1_500_000_000
    assert stat.S_IMODE(there.stat().st_mode) == 0o666  # owner's rights for all, as adbd does
    assert adb("pull", "-a", f"{folder}/file", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert int((tmp_path / "back").stat().st_mtime) == 1_500_000_000


def test_a_tree_with_odd_names(adb: Adb, folder: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number, name in enumerate(ODD_NAMES):
        (tree / f"folder {number}").mkdir(parents=True)
        (tree / f"folder {number}" / name).write_bytes(os.urandom(number * 1000))
    (tree / "link").symlink_to("folder 0/plain")
    pushed = adb("push", str(tree), f"{folder}/tree")
    assert pushed.returncode == 0, pushed.stderr
    assert adb("pull", f"{folder}/tree", str(tmp_path / "back")).returncode == 0
    for number, name in enumerate(ODD_NAMES):
        relative = f"folder {number}/{name}"
        assert (tmp_path / "back" / relative).read_bytes() == (tree / relative).read_bytes()


def test_push_into_what_cannot_be_written(adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = adb("push", str(tmp_path / "file"), "/system/file")
    assert result.returncode == 1
    assert b"Permission denied" in result.stderr + result.stdout


def test_pull_of_what_is_not_there(adb: Adb, tmp_path: Path) -> None:
    assert adb("pull", "/data/no/such", str(tmp_path / "back")).returncode == 1


# -- our own client ------------------------------------------------------------------------------------------------


@pytest.fixture
def sync(phone: VirtualDevice) -> SyncConnection:
    return SyncConnection(phone.server, phone.serial)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_our_push_and_pull(sync: SyncConnection, phone: VirtualDevice, folder: str, name: str) -> None:
    data = os.urandom(200_000)
    seen: list[int] = []
    sync.push([data[:5], b"", data[5:]], len(data), f"{folder}/deep/er/{name}", 0o755, seen.append)
    there = phone.phone.root / folder[1:] / "deep/er" / name
    assert there.read_bytes() == data
    assert os.access(there, os.X_OK)
    assert seen == sorted(seen)
    assert seen[-1] == len(data)
    assert sync.pull(f"{folder}/deep/er/{name}") == data
    mode, size, _ = sync.stat(f"{folder}/deep/er/{name}")
    assert (stat.S_ISREG(mode), size) == (True, len(data))
    assert sync.stat(f"{folder}/nothing") == (0, 0, 0)


def test_several_files_over_one_service(sync: SyncConnection, control: ControlClient, folder: str) -> None:
    for number in range(5):
        sync.push([bytes([number]) * 100], 100, f"{folder}/{number}")
    assert [sync.pull(f"{folder}/{number}") for number in range(5)] == [bytes([n]) * 100 for n in range(5)]
    assert control.call("counters")["services"] == 0  # the one was opened before the reset


@pytest.mark.parametrize("room", [0, 1, 65536, 65537, 150_000])
def test_a_full_disk_leaves_nothing(
    sync: SyncConnection, phone: VirtualDevice, control: ControlClient, folder: str, room: int
) -> None:
    control.call("disk", free=room)
    with pytest.raises(DeviceSpaceError, match="No space left"):
        sync.push([os.urandom(1000)] * 300, 300_000, f"{folder}/big")
    assert list((phone.phone.root / folder[1:]).iterdir()) == []
    control.call("disk", free=None)
    sync.push([b"fits"], 4, f"{folder}/small")  # the same service goes on


def test_a_push_that_is_cut_leaves_nothing(sync: SyncConnection, phone: VirtualDevice, folder: str) -> None:
    def source() -> object:
        yield os.urandom(100_000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync.push(source(), 200_000, f"{folder}/half")  # type: ignore[arg-type]
    target = phone.phone.root / folder[1:]
    sync.close()
    assert wait_until(lambda: list(target.iterdir()) == [])


def test_pull_failures_name_the_file(sync: SyncConnection, folder: str) -> None:
    with pytest.raises(DeviceLostError, match=r"/nothing.*No such file"):
        sync.pull(f"{folder}/nothing")
    with pytest.raises(DeviceLostError, match="directory"):
        sync.pull(folder)


# -- both versions, raw --------------------------------------------------------------------------------------------


@pytest.fixture
def raw(phone: VirtualDevice) -> Stream:
    return phone.server.open(phone.serial, "sync:")


def ask(raw: Stream, kind: bytes, path: str, more: bytes = b"") -> None:
    encoded = os.fsencode(path)
    raw.send(kind + struct.pack("<I", len(encoded)) + encoded + more, FOREVER)


def test_stat_versions(raw: Stream, phone: VirtualDevice, folder: str) -> None:
    host = phone.phone.root / folder[1:]
    (host / "file").write_bytes(b"12345")
    (host / "link").symlink_to("file")
    ask(raw, b"STAT", f"{folder}/link")
    kind, mode, size, _ = struct.unpack("<4sIII", raw.receive_exactly(16, FOREVER))
    assert (kind, stat.S_ISLNK(mode), size) == (b"STAT", True, 4)
    for name, follows in ((b"STA2", True), (b"LST2", False)):
        ask(raw, name, f"{folder}/link")
        kind, error, _, inode, mode, links, uid, gid, size, *times = struct.unpack(
            "<4sIQQIIIIQqqq", raw.receive_exactly(72, FOREVER)
        )
        expected = (host / "link").stat() if follows else (host / "link").lstat()
        assert (kind, error, inode, mode, links, size) == (
            name, 0, expected.st_ino, expected.st_mode, expected.st_nlink, expected.st_size,
        )  # fmt: skip
        assert (uid, gid) == (2000, 2000)
        assert times[1] == int(expected.st_mtime)
        ask(raw, name, f"{folder}/nothing")
        assert struct.unpack("<4sI", raw.receive_exactly(72, FOREVER)[:8]) == (name, 2)


@pytest.mark.parametrize("version", [1, 2])
def test_list_versions(raw: Stream, phone: VirtualDevice, folder: str, version: int) -> None:
    host = phone.phone.root / folder[1:]
    for name in ODD_NAMES:
        (host / name).write_bytes(name.encode())
    ask(raw, b"LIST" if version == 1 else b"LIS2", folder)
    found = {}
    while True:
        if version == 1:
            kind, mode, size, _, length = struct.unpack("<4s4I", raw.receive_exactly(20, FOREVER))
        else:
            fields = struct.unpack("<4sIQQIIIIQqqqI", raw.receive_exactly(76, FOREVER))
            kind, mode, size, length = fields[0], fields[4], fields[8], fields[12]
        if kind == b"DONE":
            break
        assert kind == (b"DENT" if version == 1 else b"DNT2")
        found[raw.receive_exactly(length, FOREVER).decode()] = (stat.S_ISREG(mode), size)
    assert found.pop(".")[0] is False
    assert found.pop("..")[0] is False
    assert found == {name: (True, len(name.encode())) for name in ODD_NAMES}


def test_version_2_transfers(raw: Stream, folder: str) -> None:
    data = os.urandom(100_000)
    ask(raw, b"SND2", f"{folder}/file", b"SND2" + struct.pack("<II", 0o100644, 0))
    for at in range(0, len(data), 60_000):
        piece = data[at : at + 60_000]
        raw.send(b"DATA" + struct.pack("<I", len(piece)) + piece, FOREVER)
    raw.send(b"DONE" + struct.pack("<I", 1_600_000_000), FOREVER)
    assert raw.receive_exactly(8, FOREVER) == b"OKAY\0\0\0\0"
    ask(raw, b"RCV2", f"{folder}/file", b"RCV2" + struct.pack("<I", 0))
    back = b""
    while True:
        kind, length = struct.unpack("<4sI", raw.receive_exactly(8, FOREVER))
        if kind == b"DONE":
            break
        back += raw.receive_exactly(length, FOREVER)
    assert back == data


def test_dry_run_stores_nothing(raw: Stream, phone: VirtualDevice, folder: str) -> None:
    ask(raw, b"SND2", f"{folder}/file", b"SND2" + struct.pack("<II", 0o100644, 0x80000000))
    raw.send(b"DATA\4\0\0\0data" + b"DONE\0\0\0\0", FOREVER)
    assert raw.receive_exactly(4, FOREVER) == b"OKAY"
    assert list((phone.phone.root / folder[1:]).iterdir()) == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"WHAT\0\0\0\0", b"STAT" + struct.pack("<I", 5000) + b"x" * 5000, b"SEND\4\0\0\0/x,y",
        b"SEND\5\0\0\0/xxxx", b"SEND\6\0\0\0/x,420" + b"DATA" + struct.pack("<I", 1 << 20),
        b"SND2\2\0\0\0/xSND2" + struct.pack("<II", 0o644, 1), b"RCV2\2\0\0\0/xRCV2" + struct.pack("<I", 4),
    ],
)  # fmt: skip
def test_broken_requests_fail_and_end_the_service(raw: Stream, request_bytes: bytes) -> None:
    raw.send(request_bytes, FOREVER)
    answer = raw.receive_all(FOREVER)
    assert answer[:4] == b"FAIL"
    assert len(answer) == 8 + struct.unpack("<I", answer[4:8])[0]


def test_quit_ends_the_service(raw: Stream) -> None:
    raw.send(b"QUIT\0\0\0\0", FOREVER)
    assert raw.receive_all(FOREVER) == b""
