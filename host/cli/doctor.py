"""`nnapi doctor`: what works on this machine and on its devices, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click
from nnapi_toolkit.cli.common import EXIT_NEGATIVE, JSON, emit
from nnapi_toolkit.cli.targets import adb_options, adb_server

if TYPE_CHECKING:
    from nnapi_toolkit.device import AdbServer, Device


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` None: nothing is wrong, but the user may want to know."""

    name: str
    ok: bool | None
    detail: str
    advice: str = ""


@click.command()
@click.option("--device", default=None, metavar="SPEC", help="Also check this device (a serial, `virtual`, ...).")
@adb_options
@JSON
def doctor(device: str | None, adb_host: str | None, adb_port: int | None, as_json: bool) -> int:
    """Check this machine and its devices. Exit code 1 when something needs doing."""
    server = adb_server(adb_host, adb_port)
    checks: list[Check] = []
    for step in (_python, _compiler, _native, _other_abis, _emulator):
        checks += _guard(step)
    checks += _guard(lambda: _adb(server), "adb server")
    checks += _guard(lambda: _phones(server), "phones")
    if device is not None:
        checks += _guard(lambda: [_device(device, server)], "device")
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


def _guard(step: Callable[[], list[Check]], name: str = "") -> list[Check]:
    """A check that fails with a named error is a finding, not the end of the others."""
    from nnapi_toolkit.delegate.errors import ToolkitError

    try:
        return step()
    except ToolkitError as error:
        return [Check(name or step.__name__.strip("_"), False, str(error))]


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


def _adb(server: AdbServer) -> list[Check]:
    if not server.running():
        return [
            Check("adb server", None, f"none runs at {server.address}; one is started when a phone is asked for",
                  "Plug in a phone with USB debugging enabled, then `nnapi devices`")
        ]  # fmt: skip
    return [Check("adb server", True, f"version {server.version()} answers at {server.address}")]


def _other_abis() -> list[Check]:
    found = [name for name in ("qemu-aarch64", "qemu-arm") if shutil.which(name) or shutil.which(f"{name}-static")]
    if len(found) == 2:
        return [Check("other ABIs", True, f"{' and '.join(found)} can run virtual devices of arm ABIs")]
    return [
        Check("other ABIs", None, "qemu-user is not complete: virtual:arm64-v8a and virtual:armeabi-v7a need it",
              "Debian, Ubuntu: apt-get install qemu-user")
    ]  # fmt: skip


# -- Android emulators ----------------------------------------------------------------------------------------------


def _emulator() -> list[Check]:
    """Android's own emulator: is it there, which virtual devices does it know, and how is one started."""
    program = emulator_program()
    if program is None:
        return [
            Check("Android emulator", None, "not installed; --device virtual needs none",
                  "For a true Android: install the SDK's emulator and a system image, and set ANDROID_HOME "
                  "(docs/how-to/emulator-ci.md)")
        ]  # fmt: skip
    try:
        done = subprocess.run(
            [program, "-list-avds"], capture_output=True, text=True, timeout=_EMULATOR_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Check("Android emulator", False, f"{program} does not run: {error}", "Install the emulator anew")]
    # It writes notices among the names, with spaces, bars or colons in them, which no name has.
    names = [line.strip() for line in done.stdout.splitlines() if re.fullmatch(r"[A-Za-z0-9._-]+", line.strip())]
    if not names:
        return [
            Check("Android emulator", None, f"{program} knows no virtual device",
                  "Make one: avdmanager create avd -n nnapi -k 'system-images;android-34;google_apis;x86_64'")
        ]  # fmt: skip
    advice = "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "Without access to /dev/kvm it is very slow: " + _KVM
    start = f"start one: {program} -avd {names[0]} -no-window -no-audio -gpu swiftshader_indirect -no-snapshot"
    return [Check("Android emulator", True, f"{program} knows {', '.join(names)}; {start}", advice)]


_EMULATOR_SECONDS = 20.0
_KVM = "add your user to the group kvm, or enable virtualisation in the firmware"


def emulator_program() -> str | None:
    """The emulator of the Android SDK: on the PATH, or below ANDROID_HOME or ANDROID_SDK_ROOT."""
    found = shutil.which("emulator")
    for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        root = os.environ.get(variable)
        if found is None and root:
            candidate = Path(root) / "emulator" / "emulator"
            found = str(candidate) if os.access(candidate, os.X_OK) else None
    return found


# -- devices --------------------------------------------------------------------------------------------------------


def _phones(server: AdbServer) -> list[Check]:
    from nnapi_toolkit.device import list_devices

    checks = []
    for info in list_devices(server):
        if info.state != "device":
            checks.append(Check(f"phone {info.serial}", False, f"state {info.state}", info.advice))
        else:
            checks += _guard(lambda serial=info.serial: [_device(serial, server)], f"phone {info.serial}")  # type: ignore[misc]
    if not checks:
        checks.append(
            Check("phones", None, "none attached",
                  "Enable USB debugging and plug one in, start an emulator, or use --device virtual")
        )  # fmt: skip
    return checks


def _device(spec: str, server: AdbServer) -> Check:
    from nnapi_toolkit.cli.devices import DEPRECATED_API, accelerators_of, deprecation
    from nnapi_toolkit.device import AdbDevice, open_device
    from nnapi_toolkit.options import DEVICES_LEVEL, NNAPI_CPU

    with open_device(spec, server) as device:
        info = device.info()
        properties = device.properties if isinstance(device, AdbDevice) else {}
        if properties.get("sys.boot_completed", "1") != "1":
            advice = f"Wait until `adb -s {info.serial} shell getprop sys.boot_completed` says 1"
            return Check(f"device {info.serial}", False, "Android has not started completely", advice)
        level, found = accelerators_of(device)
        real = [row for row in found if row["name"] != NNAPI_CPU]
        advice_lines = []
        if level >= DEVICES_LEVEL and not real:
            advice_lines = why_no_accelerator(properties, _denials(device))
    names = ", ".join(f"{row['name']} ({row['type']}, feature level {row['feature_level']})" for row in found) or "none"
    detail = (
        f"{info.model}, Android {info.release} (API {info.api_level}), NNAPI feature level {level}, devices: {names}"
    )
    if info.api_level >= DEPRECATED_API:
        advice_lines.append(deprecation(info.release, level))
    return Check(f"device {info.serial}", True, detail, "; ".join(advice_lines))


def _denials(device: Device) -> list[str]:
    """Lines of the device's log in which its security policy keeps a process from NNAPI."""
    from nnapi_toolkit.device import AdbDevice
    from nnapi_toolkit.errors import DeviceError

    if not isinstance(device, AdbDevice):
        return []
    try:
        text = device.command("logcat -d -b main,system,crash", 15.0).text
    except DeviceError:
        return []
    wanted = re.compile(r"avc: +denied.*(neuralnetworks|nnapi|hal_neural)", re.IGNORECASE)
    return [line.strip() for line in text.splitlines() if wanted.search(line)]


def why_no_accelerator(properties: Mapping[str, str], denials: Sequence[str]) -> list[str]:
    """What keeps NNAPI to its own CPU on a device, most certain first.

    Args:
        properties: All of `getprop`.
        denials: Lines of the log with denials of the security policy.
    """
    reasons = []
    if properties.get("debug.nn.cpuonly", "0") not in ("", "0"):
        reasons.append("debug.nn.cpuonly is set: `adb shell setprop debug.nn.cpuonly 0` lets drivers in again")
    chosen = properties.get("debug.nn.enabled-devices", "")
    if chosen:
        reasons.append(f"debug.nn.enabled-devices is '{chosen}': drivers of other names are left out")
    services = {
        name.removeprefix("init.svc."): state
        for name, state in properties.items()
        if name.startswith("init.svc.") and re.search(r"neuralnetworks|nnapi|nn-hal|nnhal", name)
    }
    stopped = [name for name, state in services.items() if state != "running"]
    if stopped:
        reasons.append(f"the vendor's driver does not run: {', '.join(stopped)}; see logcat after a restart of the phone")
    elif services:
        reasons.append(f"a driver runs ({', '.join(services)}), but offers no device to the shell user")
    if denials:
        reasons.append(f"the security policy denies access ({len(denials)} times): {denials[-1]}")
    if not services and not reasons:
        emulator = properties.get("ro.kernel.qemu") == "1" or properties.get("ro.boot.qemu") == "1"
        what = "emulators have" if emulator else "the vendor ships"
        reasons.append(f"{what} no NNAPI driver: only NNAPI's own CPU is there (--allow-nnapi-cpu uses it)")
    return reasons
