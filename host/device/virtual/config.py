"""What phone a virtual device plays: a plain record that crosses the process boundary as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nnapi_toolkit.delegate.target import FEATURE_LEVELS

#: Machine name of the host -> the Android ABI whose programs run natively.
HOST_ABIS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64-v8a", "arm64": "arm64-v8a"}
#: ABI -> (the ABIs a phone of that kind lists, 64-bit, ELF machine number).
ABIS: dict[str, tuple[tuple[str, ...], bool, int]] = {
    "x86_64": (("x86_64", "x86"), True, 62),
    "arm64-v8a": (("arm64-v8a", "armeabi-v7a", "armeabi"), True, 183),
    "armeabi-v7a": (("armeabi-v7a", "armeabi"), False, 40),
    "x86": (("x86",), False, 3),
}


def host_abi() -> str:
    """The Android ABI that corresponds to this machine (`x86_64` if there is none)."""
    return HOST_ABIS.get(platform.machine().lower(), "x86_64")


@dataclass(frozen=True, slots=True)
class VirtualConfig:
    """One virtual phone.

    Attributes:
        abi: The ABI it plays; programs of another machine than the host's need a `runner`.
        feature_level: NNAPI feature level, 1 to 8; also decides Android release and API level.
        refuse: NNAPI operations (`CONV_2D`) that its accelerator refuses.
        refuse_every: Refuse every N-th operation; 0 = none.
        faults: Fault injection of software NNAPI (`SOFTNN_FAULTS`), "" = none.
        library: The `libneuralnetworks.so` that is part of its system; "" = a phone without NNAPI.
        runner: Command in front of every pushed program, for example `("qemu-aarch64",)`.
        static: Programs have software NNAPI in them, with no library and no dynamic linker (always so under an emulator).
        cpu: The processor that the emulator plays, by qemu's name (`cortex-a53`); "" = the emulator's choice.
        sysroot: Directory with a real Android `/system`: Android's own programs run there, with its dynamic linker.
        target: The build whose programs run on it (`ro.nnapi_toolkit.target`).
        environment: Further variables for programs that run on it.
        model, manufacturer: As `getprop` tells them.
        serial: `ro.serialno`.
        properties: Further properties, or other values for the usual ones.
        root: The directory that holds its files; "" = a fresh one, removed at the end.
        state: `device`, or `unauthorized`: how it answers the server's handshake.
    """

    abi: str = field(default_factory=host_abi)
    feature_level: int = 8
    refuse: tuple[str, ...] = ()
    refuse_every: int = 0
    faults: str = ""
    library: str = ""
    runner: tuple[str, ...] = ()
    static: bool = False
    cpu: str = ""
    sysroot: str = ""
    target: str = "host"
    environment: Mapping[str, str] = field(default_factory=dict)
    model: str = "Virtual Phone"
    manufacturer: str = "nnapi-toolkit"
    serial: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    root: str = ""
    state: str = "device"

    def __post_init__(self) -> None:
        if self.abi not in ABIS:
            raise ValueError(f"ABI '{self.abi}' does not exist: choose one of {', '.join(ABIS)}")
        if self.feature_level not in FEATURE_LEVELS:
            raise ValueError(f"feature level {self.feature_level} does not exist: choose 1 to 8")
        if self.refuse_every < 0:
            raise ValueError(f"refuse-every is {self.refuse_every}, must be 0 (none) or more")

    def to_json(self) -> str:
        """One line of JSON, for `from_json` in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> VirtualConfig:
        """The record behind `to_json`'s text."""
        values: dict[str, Any] = json.loads(text)
        known = {f.name for f in fields(cls)}
        for name in ("refuse", "runner"):
            values[name] = tuple(values.get(name, ()))
        return cls(**{name: value for name, value in values.items() if name in known})

    @property
    def elf_machine(self) -> int:
        """The `e_machine` of programs that this phone can run."""
        return ABIS[self.abi][2]

    @property
    def library_directory(self) -> str:
        """Where on the phone `libneuralnetworks.so` lies."""
        return "/system/lib64" if ABIS[self.abi][1] else "/system/lib"

    def build_properties(self) -> dict[str, str]:
        """Everything that `getprop` tells, sorted by name."""
        release, sdk, _ = FEATURE_LEVELS[self.feature_level]
        release = release.split("+")[0]
        listed = ABIS[self.abi][0]
        abis64 = [abi for abi in listed if ABIS.get(abi, ((), False, 0))[1]]
        values = {
            "debug.nn.vlog": "",
            "dev.bootcomplete": "1",
            "ro.build.characteristics": "default",
            "ro.build.fingerprint": f"nnapi-toolkit/virtual/{self.abi}:{release}/FL{self.feature_level}/1:user/release-keys",
            "ro.build.type": "user",
            "ro.build.version.release": release,
            "ro.build.version.sdk": str(sdk),
            "ro.hardware": "virtual",
            "ro.nnapi_toolkit.feature_level": str(self.feature_level),
            "ro.nnapi_toolkit.target": self.target,
            "ro.nnapi_toolkit.virtual": "1",
            "ro.product.cpu.abi": self.abi,
            "ro.product.cpu.abilist": ",".join(listed),
            "ro.product.cpu.abilist32": ",".join(abi for abi in listed if abi not in abis64),
            "ro.product.cpu.abilist64": ",".join(abis64),
            "ro.product.device": "virtual",
            "ro.product.manufacturer": self.manufacturer,
            "ro.product.model": self.model,
            "ro.product.name": "virtual",
            "ro.serialno": self.serial or f"virtual-{self.abi}",
            "sys.boot_completed": "1",
        }
        values.update(self.properties)
        return dict(sorted(values.items()))

    def softnn_environment(self) -> dict[str, str]:
        """The settings of software NNAPI, as environment of the programs that load it."""
        values = {"SOFTNN_FEATURE_LEVEL": str(self.feature_level)}
        if self.refuse:
            values["SOFTNN_REFUSE"] = "+".join(self.refuse)
        if self.refuse_every:
            values["SOFTNN_REFUSE_EVERY"] = str(self.refuse_every)
        if self.faults:
            values["SOFTNN_FAULTS"] = self.faults
        return values

    def program_environment(self, root: str) -> dict[str, str]:
        """The whole environment of a program on this phone; nothing of the host's leaks in."""
        values = {
            "PATH": "/system/bin",
            "HOME": "/",
            "SHELL": "/system/bin/sh",
            "USER": "shell",
            "TMPDIR": f"{root}/data/local/tmp",
            "LD_LIBRARY_PATH": root + self.library_directory,
            "ANDROID_DATA": "/data",
            "ANDROID_ROOT": "/system",
        }
        return values | self.softnn_environment() | dict(self.environment)
