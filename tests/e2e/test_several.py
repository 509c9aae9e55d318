"""All devices of an adb server at once: one row each, and one that fails does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.cli import main
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import open_virtual, prepare_config


@pytest.fixture(scope="module")
def phones() -> Iterator[list[str]]:
    """Three phones at one adb server, the environment's: a good one, an old one, one whose driver fails.

    Their serials, in that order.
    """
    configs = [VirtualConfig(), VirtualConfig(feature_level=3), VirtualConfig(faults="Execution_compute:5")]
    with open_virtual(configs[0]) as first, pytest.MonkeyPatch.context() as patch:
        others = [launch(prepare_config(config)) for config in configs[1:]]
        try:
            for other in others:
                first.server.connect_device(other.serial)
            patch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{first.phone.adb_socket}")
            patch.delenv("ANDROID_SERIAL", raising=False)
            yield [first.serial, *(other.serial for other in others)]
        finally:
            for other in others:
                other.close()


def nnapi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def rows(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = nnapi(capsys, *arguments, "--json")
    found = json.loads(out)
    assert isinstance(found, list)
    assert [row["device"] for row in found] == sorted(row["device"] for row in found)
    return code, {row["device"]: row for row in found}


def test_run(phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    outputs = tmp_path / "out.npz"
    code, found = rows(capsys, "run", small_model, "--device", "all", "--outputs", outputs)
    assert code == 1
    good, old, broken = (found[serial] for serial in phones)
    assert set(found) == set(phones)
    assert good["summary"]["delegated_nodes"] == old["summary"]["delegated_nodes"] == 3
    assert broken["error"]["type"] == "DriverError"
    assert broken["error"]["failure"]["partition"] == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(f"out.{serial.replace(':', '_')}.npz" for serial in phones[:2])
    arrays = [np.load(path)["output_0"] for path in tmp_path.iterdir()]
    np.testing.assert_allclose(arrays[0], arrays[1], rtol=1e-5, atol=1e-6)


def test_run_for_people(phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = nnapi(capsys, "run", small_model, "--device", "all")
    assert code == 1
    assert all(serial in out for serial in phones)
    assert "DriverError" in out
    assert f"nnapi: {phones[2]}: " in err


def test_a_policy_makes_all_of_them_work(
    phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = rows(capsys, "run", small_model, "--device", "all", "--on-failure", "cpu")
    assert code == 0
    assert found[phones[2]]["summary"]["failed_partitions"] == [0]
    assert found[phones[2]]["failures"][0]["action"] == "cpu"
    code, found = rows(capsys, "run", small_model, "--device", "all", "--on-failure", "cpu", "--require-delegated", "50%")
    assert code == 1, "what failed does not count as delegated"


def test_verify(phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = rows(capsys, "verify", small_model, "--device", "all")
    assert code == 1
    assert found[phones[0]]["within"] and found[phones[1]]["within"]
    assert "error" in found[phones[2]]
    assert nnapi(capsys, "verify", small_model, "--device", "all", "--on-failure", "cpu")[0] == 0


def test_bench(phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = rows(capsys, "bench", small_model, "--device", "all", "--runs", 3)
    assert code == 1
    assert found[phones[0]]["latency_us"]["count"] == 3
    assert found[phones[1]]["latency_us"]["count"] == 3
    assert "error" in found[phones[2]]


def test_one_of_several_must_be_named(
    phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = nnapi(capsys, "run", small_model, "--json")
    assert code == 1
    assert "ANDROID_SERIAL" in json.loads(out)["error"]["message"]
    monkeypatch.setenv("ANDROID_SERIAL", phones[1])
    code, out, _ = nnapi(capsys, "run", small_model, "--json")
    assert code == 0
    assert json.loads(out)["device"] == phones[1]
    monkeypatch.setenv("ANDROID_SERIAL", "nonesuch")
    code, out, _ = nnapi(capsys, "run", small_model, "--json")
    assert code == 1
    assert "nonesuch" in json.loads(out)["error"]["message"]


def test_partition_asks_the_device_of_the_environments_server(
    phones: list[str], small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = nnapi(capsys, "partition", small_model, "--device", phones[1], "--json")
    assert (code, json.loads(out)["feature_level"]) == (0, 3)
    code, _, err = nnapi(capsys, "partition", small_model, "--adb-port", 5037)
    assert code == 2 and "--device" in err


def test_by_abi(phones: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One phone of an ABI is found by it; several and none are errors that list what there is."""
    from nnapi_toolkit.device import AdbServer, Address, open_device
    from nnapi_toolkit.device.virtual.config import host_abi
    from nnapi_toolkit.errors import DeviceNotFoundError

    server = AdbServer(Address.default(None, None))
    other = launch(VirtualConfig(abi="armeabi-v7a"))
    try:
        server.connect_device(other.serial)
        with open_device("abi:armeabi-v7a", server) as device:
            assert device.info().serial == other.serial
        with pytest.raises(DeviceNotFoundError, match=f"3 devices of ABI {host_abi()}.*--device SERIAL") as caught:
            open_device(f"abi:{host_abi()}", server)
        assert all(serial in str(caught.value) for serial in phones) and other.serial not in str(caught.value)
        server.disconnect_device(other.serial)
    finally:
        other.close()
    with pytest.raises(DeviceNotFoundError, match=r"no devices of ABI armeabi-v7a.*virtual:armeabi-v7a"):
        open_device("abi:armeabi-v7a", server)


def test_no_device_at_all(small_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open_virtual() as device:
        device.server.disconnect_device(device.serial)
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{device.phone.adb_socket}")
        code, out, _ = nnapi(capsys, "bench", small_model, "--device", "all", "--json")
    assert code == 1
    assert json.loads(out)["error"]["type"] == "DeviceNotFoundError"


def test_adb_host_and_port(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not this machine's usual address, so that no server is started for it."""
    where = ("--adb-host", "127.0.0.2", "--adb-port", 1)
    for command in ("run", "verify", "bench", "partition"):
        code, out, _ = nnapi(capsys, command, small_model, "--device", "x", *where, "--json")
        assert code == 1
        error = json.loads(out)["error"]
        assert error["type"] == "AdbServerError"
        assert "127.0.0.2:1" in error["message"]
    code, out, _ = nnapi(capsys, "devices", *where, "--json")
    assert code == 0
    assert json.loads(out)["devices"] == []


def test_the_adb_server_of_another_machine(
    small_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A TCP adb server, named by host and port alone."""
    import socket
    import threading

    with open_virtual() as device:
        listener = socket.create_server(("127.0.0.1", 0))

        def forward() -> None:
            """Each connection to the port becomes one to the private server's socket."""
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.socket(socket.AF_UNIX)
                server.connect(device.phone.adb_socket)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

        threading.Thread(target=forward, daemon=True).start()
        port = listener.getsockname()[1]
        where = ("--adb-host", "127.0.0.1", "--adb-port", port)
        code, out, _ = nnapi(capsys, "devices", *where, "--json")
        assert [row["serial"] for row in json.loads(out)["devices"]] == [device.serial]
        code, out, _ = nnapi(capsys, "run", small_model, "--device", device.serial, *where, "--json")
        assert code == 0
        assert json.loads(out)["device"] == device.serial
        code, out, _ = nnapi(capsys, "partition", small_model, "--device", device.serial, *where, "--json")
        assert code == 0
        assert json.loads(out)["feature_level"] == 8
        listener.close()


def pump(source: Any, target: Any) -> None:
    import contextlib
    import socket

    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

