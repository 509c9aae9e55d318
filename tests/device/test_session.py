"""Sessions on a device: what they bring, what they cost, what they leave."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.errors import ShimError
from nnapi_toolkit.delegate.program import SideFile
from nnapi_toolkit.device import Device, LocalDevice, open_device
from nnapi_toolkit.device.store import FOLDER
from nnapi_toolkit.device.virtual.config import VirtualConfig, host_abi
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import DeviceAbiError, DeviceError, DeviceStateError

from tests.device.conftest import Adder, wait_until


def services(phone: VirtualDevice) -> list[str]:
    client = phone.phone.control()
    names = [record["name"].split(":")[0] + ":" for record in client.call("counters")["records"]]
    client.close()
    return names


def test_info(nnapi_phone: VirtualDevice) -> None:
    info = nnapi_phone.info()
    assert (info.serial, info.model, info.abis[0]) == (nnapi_phone.serial, "Virtual Phone", host_abi())
    assert (info.api_level, info.feature_level, info.virtual) == (31, 8, True)
    assert info.to_json()["abis"] == list(info.abis)
    assert nnapi_phone.properties["ro.nnapi_toolkit.virtual"] == "1"


@pytest.mark.parametrize("level", [1, 4])
def test_hello_tells_the_level(fresh: Callable[..., VirtualDevice], level: int) -> None:
    with fresh(feature_level=level).start() as session:
        assert session.hello.feature_level == level
        assert session.hello.pointer_bits == 64


def test_first_and_second_session(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    """Fewer than five services, and a second session that pushes nothing and opens one."""
    phone = fresh()
    with phone.start(adder.path, adder.sha256) as session:
        assert session.pushed_bytes > adder.path.stat().st_size
        adder.load(session)
        adder.run(session)
    assert sorted(services(phone)) == ["exec:", "exec:", "sync:"]
    control = phone.phone.control()
    control.call("reset")
    with phone.start(adder.path, adder.sha256) as session:
        assert session.pushed_bytes == 0
        adder.load(session)
        counters = control.call("counters")
        assert counters["received"] < 4096, "frames and a few commands"
        assert counters["services"] == 1
        for _ in range(20):
            adder.run(session)
        after = control.call("counters")
        assert after["services"] == 1, "an inference opens no adb service"
        assert after["packets_received"] - counters["packets_received"] == 20, "an inference is one frame"


def test_another_client_pushes_nothing_either(nnapi_phone: VirtualDevice, adder: Adder) -> None:
    adder.whole(nnapi_phone)
    other = open_device(nnapi_phone.serial, nnapi_phone.server)
    with other, other.start(adder.path) as session:
        assert session.pushed_bytes == 0
        adder.load(session)
        adder.run(session)


def test_progress(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    steps: list[tuple[str, int, int]] = []
    fresh().start(adder.path, progress=lambda *step: steps.append(step)).close()
    pushes = [step for step in steps if step[0].startswith("pushing")]
    assert pushes[-1][0] == f"pushing {adder.path.name}"
    assert pushes[-1][1] == pushes[-1][2] > 0


@pytest.mark.parametrize("kind", ["virtual", "local"])
def test_side_files(nnapi_phone: VirtualDevice, adder: Adder, kind: str) -> None:
    device: Device = nnapi_phone if kind == "virtual" else LocalDevice()
    side = SideFile()
    with device.start(adder.path, adder.sha256) as session:
        pushed = session.pushed_bytes
        session.provide_side(side)  # empty: nothing to do
        assert session.pushed_bytes == pushed
        for _ in range(3):
            side.add(os.urandom(1000))
            session.provide_side(side)
            session.provide_side(side)
        if kind == "virtual":
            assert session.pushed_bytes - pushed == sum(1000 + 1024 * n for n in range(3))
        adder.load(session)
        adder.run(session)
    with device.start() as session:
        if kind == "virtual":
            with pytest.raises(ShimError, match="no model"):
                session.provide_side(side)


def test_local_leaves_no_side_file(adder: Adder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    side = SideFile()
    side.add(b"constants")
    with LocalDevice().start(adder.path) as session:
        session.provide_side(side)
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_large_tensors_both_ways(nnapi_phone: VirtualDevice, tmp_path: Path) -> None:
    big = Adder(tmp_path, 3_000_000)
    with nnapi_phone.start(big.path) as session:
        big.load(session)
        big.run(session)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_small_pieces(nnapi_phone: VirtualDevice, adder: Adder, step: int) -> None:
    client = nnapi_phone.phone.control()
    client.call("faults", bytes_per_write=step)
    try:
        adder.whole(nnapi_phone)
        with nnapi_phone.start() as session:
            data = np.arange(2000, dtype=np.uint8)
            assert bytes(session.client.echo(data)) == data.tobytes()
    finally:
        client.call("faults", bytes_per_write=0)
        client.close()


def test_several_sessions_at_once(nnapi_phone: VirtualDevice, adder: Adder) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(3):
                adder.whole(nnapi_phone)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_closing_twice_and_closing_late(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    phone = fresh()
    session = phone.start(adder.path)
    session.close()
    session.close()
    with pytest.raises(ShimError, match="session is over"):
        adder.load(session)
    late = phone.start(adder.path)
    phone.close()
    phone.close()
    late.close()


def test_nothing_stays_after_a_session(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    phone = fresh()
    control = phone.phone.control()
    adder.whole(phone)
    place = phone.phone.root / FOLDER[1:]
    assert [path.name for path in place.iterdir() if len(path.name) != 64] == ["cache"]
    # The device's own shell and sync stay for the next session; the shim and its worker are gone by themselves.
    assert wait_until(lambda: len(control.call("processes")) <= 2, 1.5)
    assert phone.clean() > 0
    assert not place.exists()
    adder.whole(phone)


def test_many_sessions_leave_nothing_behind(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    """No growth in descriptors, processes, files or memory: here, in the daemon, on the phone."""
    phone = fresh()
    control = phone.phone.control()
    place = phone.phone.root / FOLDER[1:]

    def figures() -> tuple[int, int, int]:
        assert wait_until(lambda: len(control.call("processes")) <= 2, 5)
        return len(list(Path("/proc/self/fd").iterdir())), control.call("descriptors"), len(list(place.iterdir()))

    def memory(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(10):
        adder.whole(phone)
    before, resident = figures(), (memory(os.getpid()), memory(phone.phone.process))
    for _ in range(190):
        adder.whole(phone)
    for now, then in zip(figures(), before):
        assert now <= then
    for now, then in zip((memory(os.getpid()), memory(phone.phone.process)), resident):
        assert now - then < 4 << 20


def test_waits_until_the_phone_has_booted(fresh: Callable[..., VirtualDevice], adder: Adder) -> None:
    phone = fresh(properties={"sys.boot_completed": ""})
    timer = threading.Timer(0.7, lambda: phone.command("setprop sys.boot_completed 1"))
    timer.start()
    adder.whole(phone)
    timer.join()
    phone.command("setprop sys.boot_completed 0").check()
    with VirtualDevice(phone.phone) as again, pytest.raises(DeviceStateError, match="not finished booting"):
        again.start(adder.path, deadline=0.2)


# -- what cannot start ---------------------------------------------------------------------------------------------


def test_no_execute_permission(fresh: Callable[..., VirtualDevice], monkeypatch: pytest.MonkeyPatch) -> None:
    phone = fresh()
    phone.start().close()
    opened = phone.server.open

    def open_without_permission(serial: str, service: str, *more: object, **named: object) -> object:
        if service.startswith("exec:cd"):
            for path in (phone.phone.root / FOLDER[1:]).iterdir():
                path.chmod(0o644)
        return opened(serial, service, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(phone.server, "open", open_without_permission)
    with pytest.raises(DeviceStateError, match=r"may not be executed.*Permission denied"):
        phone.start()


def test_wrong_abi(fresh: Callable[..., VirtualDevice], tmp_path: Path) -> None:
    """A phone that says one ABI and is another: told so in plain words."""
    other = next(abi for abi in ("arm64-v8a", "x86_64") if abi != host_abi())
    phone = fresh(abi=other, runner=("/bin/false",), target="host")
    with pytest.raises(DeviceAbiError, match="not executable: 64-bit ELF file"):
        phone.start()


def test_no_program_for_the_abi(fresh: Callable[..., VirtualDevice]) -> None:
    phone = fresh(properties={"ro.product.cpu.abilist": "riscv64", "ro.nnapi_toolkit.target": ""})
    with pytest.raises(DeviceAbiError, match="riscv64"):
        phone.start()


def test_no_nnapi_on_the_phone(adder: Adder) -> None:
    """Software NNAPI taken away: the shim says which library cannot be loaded."""
    from nnapi_toolkit.device.virtual.launch import launch

    with VirtualDevice(launch(VirtualConfig())) as phone, pytest.raises(ShimError, match=r"libneuralnetworks\.so"):
        adder.whole(phone)


def test_another_build_is_refused(nnapi_phone: VirtualDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from nnapi_toolkit.device import adb

    real = adb.programs_for
    monkeypatch.setattr(adb, "programs_for", lambda *asked: replace(real(*asked), source_hash="00" * 31 + "01"))
    with pytest.raises(ShimError, match="HELLO"):
        nnapi_phone.start()


def test_virtual_abi_that_cannot_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    other = next(abi for abi in ("arm64-v8a", "armeabi-v7a") if abi != host_abi())
    with pytest.raises(DeviceError, match="apt-get install qemu-user"):
        open_device(f"virtual:{other}")
    with pytest.raises(DeviceError, match="cannot play x86 on"):
        open_device("virtual:x86")
