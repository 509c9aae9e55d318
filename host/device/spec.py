"""Device specifications: what `--device` takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from nnapi_toolkit.delegate.nnapi import OPERATIONS
from nnapi_toolkit.errors import UsageError

from .virtual.config import ABIS, VirtualConfig, host_abi

SYNTAX = (
    "auto, cpu, local[SETTINGS], virtual[:ABI][SETTINGS], abi:ABI or an adb serial, "
    "where SETTINGS are ,fl=N ,refuse=OP+OP ,refuse-every=N ,faults=... "
    "and, for virtual, ,build=static ,cpu=NAME ,sysroot=DIR ,library=FILE"
)

_KEYS = ("fl", "refuse", "refuse-every", "faults", "build", "cpu", "sysroot", "library")


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A specification, read.

    Attributes:
        kind: `auto`, `local`, `cpu`, `virtual`, `abi` or `serial`.
        serial: For `serial`.
        abi: For `virtual`: the ABI that it plays. For `abi`: the one that the phone must have.
        feature_level, refuse, refuse_every, faults: Settings of software NNAPI, for `local` and `virtual`.
        cpu: For `virtual` of another ABI: the processor that its emulator plays, by qemu's name.
        sysroot: For `virtual`: directory with a real Android `/system` to run Android's own programs with.
        library: For `virtual`: the `libneuralnetworks.so` that it has in its system; "" = software NNAPI.
        static: For `virtual`: programs have software NNAPI in them.
    """

    kind: str
    serial: str = ""
    abi: str = field(default_factory=host_abi)
    feature_level: int = 8
    refuse: tuple[str, ...] = ()
    refuse_every: int = 0
    faults: str = ""
    cpu: str = ""
    sysroot: str = ""
    library: str = ""
    static: bool = False

    def config(self, **more: object) -> VirtualConfig:
        """The virtual phone of these settings."""
        values: dict[str, object] = {
            "abi": self.abi, "feature_level": self.feature_level, "refuse": self.refuse,
            "refuse_every": self.refuse_every, "faults": self.faults,
            "cpu": self.cpu, "sysroot": self.sysroot, "library": self.library,
            "static": self.static,
        }  # fmt: skip
        return VirtualConfig(**(values | more))  # type: ignore[arg-type]


def parse_spec(text: str) -> DeviceSpec:
    """Reads a specification.

    Raises:
        UsageError: An ABI, key, value or operation that does not exist. A text that is none of the words is a serial.
    """
    if text in ("auto", "cpu"):
        return DeviceSpec(text)
    if text.startswith("abi:"):
        return DeviceSpec("abi", abi=_abi(text, text.removeprefix("abi:")))
    head, *settings = text.split(",")
    kind, colon, abi = head.partition(":")
    if kind not in ("local", "virtual") or (kind == "local" and colon):
        if not text or text != text.strip() or kind == "local":
            raise UsageError(f"'{text}' is no device: write {SYNTAX}")
        return DeviceSpec("serial", serial=text)
    if colon:
        _abi(text, abi)
    values = _settings(text, settings)
    for key in ("build", "cpu", "sysroot", "library"):
        if key in values and kind != "virtual":
            raise UsageError(f"{key} in device '{text}' is for virtual devices")
    if values.get("build", "static") != "static":
        raise UsageError(f"build={values['build']} in device '{text}': only `static` can be asked for")
    return DeviceSpec(
        kind,
        abi=abi or host_abi(),
        feature_level=_number(text, values, "fl", 8, 1, 8),
        refuse=_operations(text, values.get("refuse", "")),
        refuse_every=_number(text, values, "refuse-every", 0, 1, 1_000_000),
        faults=values.get("faults", "").replace("+", ","),
        cpu=values.get("cpu", ""),
        sysroot=values.get("sysroot", ""),
        library=values.get("library", ""),
        static="build" in values,
    )


def _abi(text: str, abi: str) -> str:
    if abi not in ABIS:
        raise UsageError(f"'{abi}' in '{text}' is no ABI: choose one of {', '.join(ABIS)}")
    return abi


def _settings(text: str, settings: list[str]) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key not in _KEYS or not equals or not value:
            raise UsageError(f"'{setting}' in device '{text}' is no setting: write KEY=VALUE with one of {', '.join(_KEYS)}")
        if key in values:
            raise UsageError(f"'{key}' stands twice in device '{text}'")
        values[key] = value
    return values


def _number(text: str, values: Mapping[str, str], key: str, default: int, least: int, most: int) -> int:
    value = values.get(key)
    if value is None:
        return default
    if not re.fullmatch(r"[0-9]{1,7}", value) or not least <= int(value) <= most:
        raise UsageError(f"{key}={value} in device '{text}' must be a number from {least} to {most}")
    return int(value)


def _operations(text: str, value: str) -> tuple[str, ...]:
    names = tuple(name for name in value.split("+") if name)
    known = OPERATIONS
    for name in names:
        if name not in known:
            near = sorted(known, key=lambda other: (-_common(name, other), other))[:3]
            raise UsageError(f"'{name}' in device '{text}' is no NNAPI operation; near it: {', '.join(near)}")
    return names


def _common(a: str, b: str) -> int:
    """How many pairs of neighbouring letters two names share."""
    pairs = {a[i : i + 2] for i in range(len(a) - 1)}
    return len(pairs & {b[i : i + 2] for i in range(len(b) - 1)})
