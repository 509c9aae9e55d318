"""Which device is meant: from `--device` to a `Device`."""

from __future__ import annotations

import re

from nnapi_toolkit.errors import AdbServerError, DeviceError, DeviceNotFoundError, UsageError

from .adb import AdbDevice, device_info, environment_serial
from .adbclient import AdbServer, start_server, usb_phone_attached
from .base import Device, DeviceInfo, Progress
from .local import LocalDevice
from .spec import parse_spec
from .virtual_phone import open_virtual


def open_device(spec: str = "auto", server: AdbServer | None = None, progress: Progress | None = None) -> Device:
    """The device of a specification.

    Args:
        spec: `auto` (the one phone attached, else a virtual device), `local` or `virtual[:ABI]` with settings, an adb
            serial, an address HOST:PORT (connected to if need be), `transport_id:N` of `adb devices -l`, or `abi:ABI` (the one
            phone attached that has it).
        server: The adb server to ask; the environment's, else 127.0.0.1:5037.
        progress: Told of builds.

    Raises:
        UsageError: The specification cannot be read, or is `cpu` (which is no device).
        DeviceError: There is no such device, several, or it cannot be used: the message says what to do.
    """
    wanted = parse_spec(spec)
    if wanted.kind == "cpu":
        raise UsageError("'cpu' is the CPU reference, not a device: sessions take it, open_device does not")
    if wanted.kind == "local":
        return LocalDevice(wanted.config())
    if wanted.kind == "virtual":
        return open_virtual(wanted.config(), progress)
    server = server or AdbServer()
    if wanted.kind in ("serial", "abi"):
        if not server.running():
            start_server(server)
        return _open_serial(server, wanted.serial) if wanted.kind == "serial" else _open_abi(server, wanted.abi)
    return _open_any(server, progress)


def _open_serial(server: AdbServer, serial: str) -> Device:
    """A serial that is an address is connected to if the server does not know it yet, or has lost it."""
    if re.fullmatch(r"[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", serial) and not serial.startswith("transport_id:"):
        states = {device.serial: device.state for device in server.devices()}
        if states.get(serial) == "offline":
            server.disconnect_device(serial)
        if states.get(serial, "offline") == "offline":
            server.connect_device(serial)
    return AdbDevice(server, server.choose(serial), by_number=serial.startswith("transport_id:"))


def _open_abi(server: AdbServer, abi: str) -> Device:
    """The one usable phone whose list of ABIs holds this one."""
    known = list_devices(server)
    found = [info for info in known if abi in info.abis and info.state == "device"]
    if len(found) == 1:
        return AdbDevice(server, server.choose(found[0].serial))
    shown = ", ".join(f"{info.serial} ({'/'.join(info.abis) or info.state})" for info in found or known) or "none"
    raise DeviceNotFoundError(
        f"{len(found) or 'no'} devices of ABI {abi} are at the {server.address} adb server: {shown}",
        advice="Choose one: --device SERIAL" if found else f"Plug one in, or use --device virtual:{abi}",
    )


def _open_any(server: AdbServer, progress: Progress | None) -> Device:
    """`auto`: a phone that is there is never passed over in silence; only where there is none, the virtual device."""
    if not server.running():
        if not usb_phone_attached() and environment_serial() is None:
            return open_virtual(None, progress)
        start_server(server)
    if environment_serial() is not None or server.devices():
        return AdbDevice(server, server.choose())
    return open_virtual(None, progress)


def list_devices(server: AdbServer | None = None) -> list[DeviceInfo]:
    """All devices at the adb server, usable or not, with advice for those that are not. Nothing is started.

    Raises:
        AdbServerError: The server runs, but does not answer.
    """
    server = server or AdbServer()
    if not server.running():
        return []
    found = []
    for listed in server.devices():
        info = device_info(listed, {})
        if listed.usable:
            try:
                with AdbDevice(server, listed) as device:
                    info = device.info()
            except AdbServerError:
                raise
            except DeviceError as error:
                info = DeviceInfo(listed.serial, "no answer", listed.facts.get("model", ""), advice=str(error))
        found.append(info)
    return found
