"""What the doctor says of this machine, of devices, and of NNAPI without an accelerator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from nnapi_toolkit.cli import main
from nnapi_toolkit.cli.doctor import emulator_program, why_no_accelerator
from nnapi_toolkit.device import open_virtual
from nnapi_toolkit.device.virtual.config import VirtualConfig


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The doctor's checks by name, and its exit code, for a virtual phone of a configuration."""

    def examine(config: VirtualConfig) -> tuple[dict[str, Any], int, str]:
        with open_virtual(config) as device:
            monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{device.phone.adb_socket}")
            capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                main(["doctor", "--json"])
            found = json.loads(capsys.readouterr().out)
        return {check["name"]: check for check in found["checks"]}, int(left.value.code or 0), device.serial

    return examine


def test_a_good_phone(doctor: Any) -> None:
    checks, code, serial = doctor(VirtualConfig())
    assert code == 0
    phone = checks[f"device {serial}"]
    assert phone["ok"] is True
    assert "softnn (accelerator" in phone["detail"]
    assert phone["advice"] == ""
    assert "version 41" in checks["adb server"]["detail"]


def test_a_phone_without_accelerator(doctor: Any) -> None:
    checks, _, serial = doctor(VirtualConfig(environment={"SOFTNN_DEVICE_NAME": "none"}))
    assert "--allow-nnapi-cpu" in checks[f"device {serial}"]["advice"]


def test_a_deprecated_nnapi(doctor: Any) -> None:
    checks, _, serial = doctor(VirtualConfig(properties={"ro.build.version.sdk": "35", "ro.build.version.release": "15"}))
    advice = checks[f"device {serial}"]["advice"]
    assert "Android 15" in advice and "feature level 8" in advice and "deprecated" in advice


def test_a_phone_that_still_starts(doctor: Any) -> None:
    checks, code, serial = doctor(VirtualConfig(properties={"sys.boot_completed": "0"}))
    assert code == 1
    assert checks[f"device {serial}"]["ok"] is False
    assert "sys.boot_completed" in checks[f"device {serial}"]["advice"]


@pytest.mark.parametrize(
    ("properties", "denials", "texts"),
    [
        ({}, [], ["vendor ships no NNAPI driver"]),
        ({"ro.boot.qemu": "1"}, [], ["emulators have no NNAPI driver"]),
        ({"debug.nn.cpuonly": "1"}, [], ["debug.nn.cpuonly is set"]),
        ({"debug.nn.enabled-devices": "gpu.*"}, [], ["'gpu.*'"]),
        ({"init.svc.vendor.neuralnetworks-1-3": "stopped"}, [], ["does not run: vendor.neuralnetworks-1-3"]),
        ({"init.svc.neuralnetworks_hal_service": "running"}, ["avc: denied { find } x"], ["a driver runs", "denies access (1"]),
        ({}, ["avc:  denied { call } neuralnetworks"], ["denies access"]),
    ],
)
def test_reasons(properties: Mapping[str, str], denials: list[str], texts: list[str]) -> None:
    found = why_no_accelerator(properties, denials)
    assert len(found) == len(texts)
    for text, reason in zip(texts, found):
        assert text in reason


def test_an_emulator_is_found_and_its_start_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "emulator" / "emulator"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'INFO    | Storing crashdata in: /tmp, detection is enabled'\necho Pixel_7_API_34\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    assert emulator_program() == str(program)
    from nnapi_toolkit.cli.doctor import _emulator

    (check,) = _emulator()
    assert check.ok is True
    assert f"{program} -avd Pixel_7_API_34 -no-window" in check.detail
    program.write_text("#!/bin/sh\nexit 0\n")
    (check,) = _emulator()
    assert check.ok is None and "avdmanager" in check.advice
    monkeypatch.delenv("ANDROID_HOME")
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    (check,) = _emulator()
    assert check.ok is None and "emulator-ci.md" in check.advice


def test_devices_say_that_nnapi_is_deprecated(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VirtualConfig(properties={"ro.build.version.sdk": "35", "ro.build.version.release": "15"})
    with open_virtual(config) as device:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{device.phone.adb_socket}")
        rows = []
        for arguments in (["devices", "--json"], ["devices"]):
            with pytest.raises(SystemExit):
                main(arguments)
            rows.append(capsys.readouterr().out)
    assert json.loads(rows[0])["devices"][0]["nnapi_deprecated"] is True
    assert "deprecated since Android 15" in " ".join(rows[1].split())
