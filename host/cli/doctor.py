"""`nnapi doctor`: what works on this machine and on its devices, and what to do about the rest."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import click
from nnapi_toolkit.cli.common import EXIT_NEGATIVE, JSON, emit


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` None: nothing is wrong, but the user may want to know."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


@click.command()
@click.option("--device", default=None, metavar="SPEC", help="Also check this device (a serial, `virtual`, ...).")
@JSON
def doctor(device: str | None, as_json: bool) -> int:
    """Check this machine and its devices. Exit code 1 when something needs doing."""
    checks: list[Check] = []
    for step in (_python, _compiler, _native, _adb, _emulators):
        checks += _guard(step)
    checks += _guard(_phones)
    if device is not None:
        checks += _guard(lambda: [_device(device)])
    failed = any(check.ok is False for check in checks)
    if as_json:
        emit({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[check.ok]
            click.echo(f"{mark}  {check.name}: {check.detail}")
            if check.advice:
                click.echo(f"      -> {check.advice}")
    return EXIT_NEGATIVE if failed else 0


def _guard(step: Callable[[], list[Check]]) -> list[Check]:
    """A check that fails with a named error is a finding, not the end of the others."""
    from nnapi_toolkit.delegate.errors import ToolkitError

    try:
        return step()
    except ToolkitError as error:
        name = getattr(step, "__name__", "device").strip("_<>")
        return [Check(name if name != "lambda" else "device", False, str(error))]


def _python() -> list[Check]:
    packages = []
    for name in ("numpy", "cffi", "adbutils", "ziglang", "flatbuffers"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return [Check("python", False, f"package {name} is missing", f"pip install {name}")]
    system = f"{platform.system()} {platform.machine()}"
    supported = platform.system() == "Linux"
    advice = "" if supported else "software NNAPI and the virtual device need Linux; phones over adb may still work"
    return [
        Check("python", sys.version_info >= (3, 11), f"{platform.python_version()}, {', '.join(packages)}"),
        Check("system", True if supported else None, system, advice),
    ]


def _compiler() -> list[Check]:
    from nnapi_toolkit.android.toolchain import compiler_version

    return [Check("compiler", True, compiler_version())]


def _native() -> list[Check]:
    from nnapi_toolkit.android.build import build
    from nnapi_toolkit.device import open_device

    built = build("host")
    with open_device("local") as device, device.start() as session:
        names = ", ".join(found.name for found in session.hello.devices)
        level = session.hello.feature_level
    return [Check("software NNAPI", True, f"{built.libneuralnetworks}: feature level {level}, devices {names}")]


def _adb() -> list[Check]:
    from nnapi_toolkit.device import AdbServer

    server = AdbServer()
    if not server.running():
        return [
            Check("adb server", None, f"none runs at {server.address}; one is started when a phone is asked for",
                  "Plug in a phone with USB debugging enabled, then `nnapi devices`")
        ]  # fmt: skip
    return [Check("adb server", True, f"answers at {server.address}")]


def _emulators() -> list[Check]:
    found = [name for name in ("qemu-aarch64", "qemu-arm") if shutil.which(name) or shutil.which(f"{name}-static")]
    if len(found) == 2:
        return [Check("other ABIs", True, f"{' and '.join(found)} can run virtual devices of arm ABIs")]
    return [
        Check("other ABIs", None, "qemu-user is not complete: virtual:arm64-v8a and virtual:armeabi-v7a need it",
              "Debian, Ubuntu: apt-get install qemu-user")
    ]  # fmt: skip


def _phones() -> list[Check]:
    from nnapi_toolkit.device import list_devices

    checks = []
    for info in list_devices():
        if info.state != "device":
            checks.append(Check(f"phone {info.serial}", False, f"state {info.state}", info.advice))
        else:
            checks += _guard(lambda serial=info.serial: [_device(serial)])  # type: ignore[misc]
    if not checks:
        checks.append(
            Check("phones", None, "none attached",
                  "Enable USB debugging and plug one in, start an emulator, or use --device virtual")
        )  # fmt: skip
    return checks


def _device(spec: str) -> Check:
    from nnapi_toolkit.cli.devices import accelerators_of
    from nnapi_toolkit.device import open_device

    with open_device(spec) as device:
        info = device.info()
        level, found = accelerators_of(device)
    real = [row for row in found if row["name"] != "nnapi-reference"]
    names = ", ".join(f"{row['name']} ({row['type']}, feature level {row['feature_level']})" for row in found) or "none"
    detail = (
        f"{info.model}, Android {info.release} (API {info.api_level}), NNAPI feature level {level}, devices: {names}"
    )
    advice = []
    if level >= 3 and not real:
        advice.append(
            "NNAPI has only its own CPU here: the vendor ships no driver, or it is hidden from the shell user; "
            "look for avc denials of neuralnetworks in `adb logcat`"
        )
    if info.api_level >= 35:
        advice.append("NNAPI is deprecated from Android 15 on; it still works")
    return Check(f"device {info.serial}", True, detail, "; ".join(advice))
