"""A virtual device as a `Device`: launched, connected to its private adb server, stopped with it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import shutil
import weakref
from functools import partial

from nnapi_toolkit.android.build import build
from nnapi_toolkit.errors import AdbServerError, DeviceError

from .adb import VIRTUAL_TARGETS, AdbDevice
from .adbclient import AdbServer, Address, ListedDevice
from .base import Progress
from .virtual.config import VirtualConfig, host_abi
from .virtual.launch import VirtualDeviceError, VirtualPhone, launch

#: ABI -> the emulator program (package qemu-user) that runs its programs here.
_EMULATORS = {"arm64-v8a": "qemu-aarch64", "armeabi-v7a": "qemu-arm"}

_running: weakref.WeakSet[VirtualDevice] = weakref.WeakSet()


class VirtualDevice(AdbDevice):
    """An ephemeral virtual device behind a private, real adb server. `close` ends both.

    Attributes:
        phone: The running phone, with its counters and faults.
    """

    def __init__(self, phone: VirtualPhone) -> None:
        """Connects the private adb server to the phone.

        Raises:
            DeviceError: They do not come together.
        """
        self.phone = phone
        server = AdbServer(Address(path=phone.adb_socket))
        server.connect_device(phone.serial)
        super().__init__(server, ListedDevice(phone.serial, "device"), f"virtual device {phone.serial}", phone.close)
        _running.add(self)

    def reconnect(self) -> None:
        """Connects again after the connection was lost. Raises as the constructor."""
        self._store.close()
        self.server.disconnect_device(self.serial)
        self.server.connect_device(self.serial)


@atexit.register
def _close_running() -> None:
    """The daemon would end with this process anyway; this way its files are gone before we are."""
    for device in list(_running):
        with contextlib.suppress(Exception):
            device.close()


def prepare_config(config: VirtualConfig, progress: Progress | None = None) -> VirtualConfig:
    """Adds what the phone needs to run programs: software NNAPI as its library, an emulator for another ABI.

    Raises:
        DeviceError: There is no way to run that ABI here.
        BuildError: Software NNAPI cannot be built.
    """
    report = None if progress is None else partial(_report_build, progress)
    if config.abi == host_abi():
        return dataclasses.replace(config, library=config.library or str(build("host", progress=report).libneuralnetworks))
    emulator = _EMULATORS.get(config.abi)
    if emulator is None or config.abi not in VIRTUAL_TARGETS:
        known = ", ".join([host_abi(), *(abi for abi in VIRTUAL_TARGETS if abi != host_abi())])
        raise DeviceError(f"a virtual device cannot play {config.abi} on this machine: choose one of {known}")
    if config.runner:
        return config
    program = shutil.which(emulator) or shutil.which(f"{emulator}-static")
    if program is None:
        raise DeviceError(
            f"a virtual device that plays {config.abi} needs {emulator}, which is not on the PATH",
            advice="Install it (Debian, Ubuntu: apt-get install qemu-user), or leave the ABI out",
        )
    return dataclasses.replace(config, runner=(program,))


def open_virtual(config: VirtualConfig | None = None, progress: Progress | None = None) -> VirtualDevice:
    """Launches a virtual device.

    Raises:
        DeviceError: It does not start, or its ABI cannot be run here.
        BuildError: Software NNAPI cannot be built.
    """
    config = prepare_config(config or VirtualConfig(), progress)
    try:
        phone = launch(config)
    except VirtualDeviceError as error:
        raise DeviceError(str(error), advice="`nnapi doctor` checks what it needs") from error
    try:
        return VirtualDevice(phone)
    except (DeviceError, AdbServerError) as error:
        log = phone.log_tail()
        phone.close()
        if log:
            raise DeviceError(f"{error}\nthe virtual device's log: {log}") from error
        raise
    except BaseException:
        phone.close()
        raise


def _report_build(progress: Progress, done: int, steps: int, what: str) -> None:
    progress(what, done, steps)
