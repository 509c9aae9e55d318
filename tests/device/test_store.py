"""The phone's folder of content-named files: pushed once, checked before use, nothing wrong ever under a right name."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nnapi_toolkit.device import store as store_module
from nnapi_toolkit.device.store import FOLDER, Item, Store
from nnapi_toolkit.device.virtual.control import ControlClient
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import DeviceError, DeviceLostError, DeviceSpaceError

from tests.device.conftest import wait_until


@pytest.fixture
def place(phone: VirtualDevice) -> Iterator[Path]:
    """The folder on the host, empty before and after."""
    make_store(phone).clean()
    path = phone.phone.root / FOLDER[1:]
    yield path
    make_store(phone).clean()
    assert not path.exists()


def make_store(phone: VirtualDevice) -> Store:
    return Store(phone.server, phone.serial)


def item(size: int, label: str = "thing", executable: bool = False) -> Item:
    made = Item.of_bytes(label, os.urandom(size))
    return Item(label, made.sha256, size, made.read, executable)


def names(place: Path) -> list[str]:
    """All files of the folder; the cache's folder, which is always there, does not count."""
    return sorted(path.name for path in place.iterdir() if path.name != "cache")


def test_pushed_once(phone: VirtualDevice, control: ControlClient, place: Path) -> None:
    program, model = item(70_000, "shim", executable=True), item(500_000, "model")
    seen: list[tuple[str, int, int]] = []
    store = make_store(phone)
    assert store.ensure([program, model], lambda *step: seen.append(step)) == 570_000
    assert seen[0][0] == "pushing shim"
    assert seen[-1] == ("pushing model", 570_000, 570_000)
    assert names(place) == sorted([program.sha256, model.sha256])
    assert hashlib.sha256((place / model.sha256).read_bytes()).hexdigest() == model.sha256
    assert os.access(place / program.sha256, os.X_OK)
    assert not os.access(place / model.sha256, os.X_OK)
    control.call("reset")
    assert make_store(phone).ensure([program, model]) == 0
    counters = control.call("counters")
    assert [record["name"] for record in counters["records"]] == ["exec:sh"]
    assert counters["received"] < 2000


def test_few_services(phone: VirtualDevice, control: ControlClient, place: Path) -> None:
    control.call("reset")
    store = make_store(phone)
    store.ensure([item(1000), item(2000)])
    store.ensure([item(3000)])
    assert sorted(record["name"] for record in control.call("counters")["records"]) == ["exec:sh", "sync:"]


def test_equal_items_are_pushed_once(phone: VirtualDevice, place: Path) -> None:
    one = item(1000)
    assert make_store(phone).ensure([one, one]) == 1000


def test_a_damaged_file_is_replaced(phone: VirtualDevice, place: Path) -> None:
    """Same name, same size, another content: found by its hash, not believed."""
    model = item(100_000)
    make_store(phone).ensure([model])
    damaged = bytearray((place / model.sha256).read_bytes())
    damaged[50_000] ^= 1
    (place / model.sha256).write_bytes(damaged)
    assert make_store(phone).ensure([model]) == 100_000
    assert hashlib.sha256((place / model.sha256).read_bytes()).hexdigest() == model.sha256


def test_what_arrives_damaged_never_gets_the_name(phone: VirtualDevice, place: Path) -> None:
    good = item(1000)
    liar = Item("liar", hashlib.sha256(b"other").hexdigest(), 1000, good.read)
    with pytest.raises(DeviceError, match="liar arrived damaged 2 times"):
        make_store(phone).ensure([liar])
    assert names(place) == []


def test_damaged_once_is_sent_again(phone: VirtualDevice, place: Path) -> None:
    data = os.urandom(1000)
    tries: list[int] = []

    def read() -> Iterator[bytes]:
        tries.append(1)
        yield data if len(tries) > 1 else data[:-1] + bytes([data[-1] ^ 1])

    flaky = Item("flaky", hashlib.sha256(data).hexdigest(), 1000, read)
    assert make_store(phone).ensure([flaky]) == 2000
    assert names(place) == [flaky.sha256]


@pytest.mark.parametrize("room", [0, 70_000, 299_999])
def test_a_full_disk(phone: VirtualDevice, control: ControlClient, place: Path, room: int) -> None:
    """Whether df tells in time or the write fails: a named error, and nothing left."""
    store = make_store(phone)
    control.call("disk", free=room)
    with pytest.raises(DeviceSpaceError):
        store.ensure([item(300_000)])
    assert names(place) == []
    control.call("disk", free=None)
    small = item(1000)
    assert store.ensure([small]) == 1000
    assert names(place) == [small.sha256]


@pytest.mark.parametrize("room", [1, 100_000, 199_999])
def test_the_disk_fills_in_the_middle(
    phone: VirtualDevice, control: ControlClient, place: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "_free_kib", lambda self: None)
    store = make_store(phone)
    control.call("disk", free=room)
    first = item(50, "first")
    with pytest.raises(DeviceSpaceError, match="No space left"):
        store.ensure([first, item(200_000, "second")])
    assert names(place) == ([first.sha256] if room >= first.size else []), "whole files only"


def test_unused_files_make_room(phone: VirtualDevice, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, older = item(400_000), item(400_000)
    make_store(phone).ensure([old, older])
    os.utime(place / older.sha256, (1_600_000_000, 1_600_000_000))
    os.utime(place / old.sha256, (1_700_000_000, 1_700_000_000))
    free = iter([200, 600])  # KiB, before and after
    monkeypatch.setattr(Store, "_free_kib", lambda self: next(free))
    new = item(300_000)
    assert make_store(phone).ensure([new]) == 300_000
    assert names(place) == sorted([old.sha256, new.sha256])


def test_leftovers_are_swept(phone: VirtualDevice, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, unused = item(2000), item(1000)
    make_store(phone).ensure([used, unused])
    ancient = time.time() - 10 * 86400
    for name, when in (("a.12345678.part", ancient), ("b.12345678.part", time.time()), ("c.log", ancient)):
        (place / name).write_text("x")
        os.utime(place / name, (when, when))
    (place / "folder").mkdir()
    os.utime(place / "folder", (ancient, ancient))
    os.utime(place / unused.sha256, (ancient, ancient))
    os.utime(place / used.sha256, (ancient, ancient))
    monkeypatch.setattr(store_module, "KEEP_BYTES", 100)
    make_store(phone).ensure([used])
    assert names(place) == sorted([used.sha256, "b.12345678.part", "folder"])
    assert time.time() - (place / used.sha256).stat().st_mtime < 60


def test_clean_keeps_what_was_used_last(phone: VirtualDevice, place: Path) -> None:
    store = make_store(phone)
    items = [item(1000) for _ in range(3)]
    store.ensure(items)
    for age, one in enumerate(items):
        os.utime(place / one.sha256, (time.time() - age * 100, time.time() - age * 100))
    (place / "cache" / "compiled").write_bytes(b"x" * 500)
    os.utime(place / "cache" / "compiled", (time.time() - 150, time.time() - 150))
    for name, when in (("old.part", 0), ("young.part", time.time()), ("0123456789abcdef-1.log", time.time())):
        (place / name).write_bytes(b"x" * 10)
        os.utime(place / name, (when, when))
    assert store.clean(keep=2500) == 1020
    assert names(place) == sorted([*(one.sha256 for one in items[:2]), "young.part"])
    assert (place / "cache" / "compiled").exists()
    assert store.ensure(items) == 1000


@pytest.mark.parametrize("size", [0, 1, 99_999])
def test_a_truncated_file_is_replaced(phone: VirtualDevice, place: Path, size: int) -> None:
    model = item(100_000)
    make_store(phone).ensure([model])
    os.truncate(place / model.sha256, size)
    assert make_store(phone).ensure([model]) == 100_000
    assert (place / model.sha256).stat().st_size == 100_000


def test_what_vanishes_is_pushed_again(phone: VirtualDevice, place: Path) -> None:
    store = make_store(phone)
    model = item(1000)
    store.ensure([model])
    (place / model.sha256).unlink()
    assert store.ensure([model]) == 1000


def test_two_clients_at_once(phone: VirtualDevice, place: Path) -> None:
    models = [item(300_000 + n) for n in range(3)]
    failures: list[BaseException] = []

    def client() -> None:
        try:
            store = make_store(phone)
            for model in models:
                store.ensure([model])
            store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert names(place) == sorted(model.sha256 for model in models)


def test_the_phone_goes_in_the_middle_of_a_push(fresh_phone: Callable[[], VirtualDevice]) -> None:
    device = fresh_phone()
    control = device.phone.control()
    big = item(3_000_000)
    pieces = iter([os.urandom(100_000)] * 30)

    def read() -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            if number == 10:
                control.call("drop")
            yield piece

    store = make_store(device)
    begin = time.monotonic()
    with pytest.raises(DeviceLostError, match=device.serial):
        store.ensure([Item("big", big.sha256, big.size, read)])
    assert time.monotonic() - begin < 5
    place = device.phone.root / FOLDER[1:]
    assert wait_until(lambda: names(place) == [])
    device.reconnect()
    assert make_store(device).ensure([big]) == big.size
    assert names(place) == [big.sha256]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeviceLostError])
def test_what_is_through_needs_no_second_push(
    phone: VirtualDevice, place: Path, error: type[BaseException]
) -> None:
    """A push that breaks off in its second file leaves the first, whole, and nothing else."""
    first, second = item(200_000), item(300_000)

    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise error("pulled")

    store = make_store(phone)
    with pytest.raises(error):
        store.ensure([first, Item("second", second.sha256, second.size, broken)])
    assert wait_until(lambda: names(place) == [first.sha256])
    assert make_store(phone).ensure([first, second]) == second.size
    assert names(place) == sorted([first.sha256, second.sha256])


def test_the_adb_server_ends_in_the_middle_of_a_push(fresh_phone: Callable[[], VirtualDevice]) -> None:
    device = fresh_phone()
    control = device.phone.control()

    def read() -> Iterator[bytes]:
        for number in range(30):
            if number == 10:
                control.call("kill_adb")
            yield bytes(100_000)

    with pytest.raises(DeviceError):
        make_store(device).ensure([Item("big", "0" * 64, 3_000_000, read)])
    place = device.phone.root / FOLDER[1:]
    assert wait_until(lambda: names(place) == [])


def test_slow_link_is_not_mistaken_for_a_dead_one(
    phone: VirtualDevice, control: ControlClient, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 KB at 10 KB/s take longer than the stall limit set here, and arrive."""
    from nnapi_toolkit.device import adbsync

    monkeypatch.setattr(adbsync, "STALL_SECONDS", 1.0)
    store = make_store(phone)
    model = item(30_000)
    store.shell()
    control.call("faults", bytes_per_second=10_000)
    begin = time.monotonic()
    assert store.ensure([model]) == 30_000
    assert time.monotonic() - begin > 2.0


def test_byte_by_byte(phone: VirtualDevice, control: ControlClient, place: Path) -> None:
    control.call("faults", bytes_per_write=1)
    model = item(5000)
    assert make_store(phone).ensure([model]) == 5000
    assert names(place) == [model.sha256]


def test_clean_tells_what_it_freed(phone: VirtualDevice, place: Path) -> None:
    store = make_store(phone)
    store.ensure([item(1000), item(500)])
    (place / "cache" / "compiled").write_bytes(b"x" * 100)
    assert store.clean() == 1600
    assert not place.exists()
    assert store.clean() == 0
    again = item(700)
    assert store.ensure([again]) == 700
