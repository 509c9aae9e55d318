"""A virtual device as a `Device`: launched, connected to its private adb server, stopped with it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import shutil
import subprocess
import weakref
from pathlib import Path

from nnapi_toolkit.android.build import build
from nnapi_toolkit.errors import AdbServerError, DeviceError

from .adb import AdbDevice
from .adbclient import AdbServer, Address, ListedDevice
from .base import Progress, for_build
from .virtual.config import ABIS, VirtualConfig, host_abi
from .virtual.launch import VirtualDeviceError, VirtualPhone, launch

#: ABI -> build target that runs there without any Android: on a host of that ABI, or under an emulator.
VIRTUAL_TARGETS = {"x86_64": "x86_64-linux", "arm64-v8a": "aarch64-linux", "armeabi-v7a": "arm-linux"}
#: ABI -> the emulator program (package qemu-user) that runs its programs here.
_EMULATORS = {"arm64-v8a": "qemu-aarch64", "armeabi-v7a": "qemu-arm", "x86_64": "qemu-x86_64", "x86": "qemu-i386"}

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

    For the host's ABI, programs are its own build, which loads the phone's `library` as on a phone, or with `static` one with
    software NNAPI in it; for another ABI always such a one, under an emulator; and the true Android build under an emulator where
    there is a `sysroot`.

    Raises:
        DeviceError: There is no way to run that ABI here.
        BuildError: Software NNAPI cannot be built.
    """
    if config.runner:  # the caller knows how
        return config
    if config.library and config.static:
        raise DeviceError(
            f"library={config.library} cannot be loaded: build=static has software NNAPI in the program",
            advice="Leave one of the two out",
        )
    if config.library and not Path(config.library).is_file():
        raise DeviceError(f"library={config.library} is no file", advice="Name a libneuralnetworks.so")
    if config.sysroot:
        return _with_sysroot(config, progress)
    if config.abi == host_abi():
        if config.cpu:
            raise DeviceError(
                f"cpu={config.cpu} is for an emulator, and programs for {config.abi} run on this machine itself",
                advice="Leave it out, or choose another ABI",
            )
        if config.static:
            return dataclasses.replace(config, target=VIRTUAL_TARGETS[config.abi])
        return dataclasses.replace(config, target="host", library=config.library or _library("host", progress))
    if config.library:
        raise DeviceError(
            f"library={config.library} cannot be loaded: programs for {config.abi} have software NNAPI in them",
            advice="Leave it out, or give the device a real Android with sysroot=DIR as well",
        )
    target = VIRTUAL_TARGETS.get(config.abi)
    if target is None:
        known = ", ".join([host_abi(), *(abi for abi in VIRTUAL_TARGETS if abi != host_abi())])
        raise DeviceError(
            f"a virtual device cannot play {config.abi} on this machine",
            advice=f"Choose one of {known}, or give it a real Android with sysroot=DIR",
        )
    return dataclasses.replace(config, target=target, runner=_emulator(config))


def _with_sysroot(config: VirtualConfig, progress: Progress | None) -> VirtualConfig:
    linker = Path(config.sysroot) / "system/bin" / ("linker64" if ABIS[config.abi][1] else "linker")
    if not linker.exists():
        raise DeviceError(
            f"{config.sysroot} holds no Android system for {config.abi}: {linker} does not exist",
            advice="Name the directory that contains `system`, as pulled from a phone or an emulator image",
        )
    runner = (*_emulator(config), "-L", str(Path(config.sysroot).resolve()))
    library = config.library or _library(config.abi, progress)
    return dataclasses.replace(config, target=config.abi, runner=runner, library=library)


def _library(target: str, progress: Progress | None) -> str:
    return str(build(target, progress=for_build(progress)).libneuralnetworks)


def _emulator(config: VirtualConfig) -> tuple[str, ...]:
    """The command in front of programs for the ABI."""
    abi, name = config.abi, _EMULATORS[config.abi]
    program = shutil.which(name) or shutil.which(f"{name}-static")
    if program is None:
        raise DeviceError(
            f"a virtual device that plays {abi} needs {name}, which is not on the PATH",
            advice="Install it (Debian, Ubuntu: apt-get install qemu-user), or leave the ABI out",
        )
    if not config.cpu:
        return (program,)
    listed = subprocess.run([program, "-cpu", "help"], capture_output=True, text=True, timeout=30).stdout
    known = {line.split()[0] for line in listed.splitlines()[1:] if line.split()}
    if config.cpu.split(",")[0] not in known:
        raise DeviceError(
            f"{name} plays no processor '{config.cpu}'",
            advice=f"`{name} -cpu help` lists them, for example {', '.join(sorted(known)[:5])}",
        )
    return program, "-cpu", config.cpu


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
