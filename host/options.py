"""How a model is planned, compiled and run on a device: the options of a session, and what they choose."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from nnapi_toolkit.android.protocol import CONSTANTS, Hello, NnapiDevice
from nnapi_toolkit.delegate.partition import PlanOptions
from nnapi_toolkit.errors import UsageError

Preference = Literal["low-power", "fast-single-answer", "sustained-speed"]
Priority = Literal["low", "medium", "high"]
OnFailure = Literal["error", "cpu"]
Fallback = Literal["host", "device"]

#: NNAPI's own codes.
PREFERENCES: dict[str, int] = {"low-power": 0, "fast-single-answer": 1, "sustained-speed": 2}
PRIORITIES: dict[str, int] = {"low": 90, "medium": 100, "high": 110}
#: Name of the device that is NNAPI's own CPU implementation.
NNAPI_CPU = "nnapi-reference"
#: Of software NNAPI.
MAX_THREADS = CONSTANTS["NTK_MAX_THREADS"]
#: The lowest feature levels that know an option.
DEVICES_LEVEL, CACHE_LEVEL, TIMEOUT_LEVEL, PRIORITY_LEVEL = 3, 3, 4, 4
#: Words of `accelerator=type:...`, by the codes of ANeuralNetworksDevice_getType.
DEVICE_TYPES = {"other": 1, "cpu": 2, "gpu": 3, "accelerator": 4}


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a model is planned, compiled and run.

    Attributes:
        plan: Options of the partitioner.
        feature_level: Plan for this level instead of the device's own (never above it).
        accelerator: The NNAPI device to compile for: its exact name, `type:accelerator` (`gpu`, `cpu`, `other`), or
            `re:PATTERN`, which must match one name. None: the first that is not NNAPI's own CPU.
        disallow_nnapi_cpu: Never let NNAPI's own CPU implementation (`nnapi-reference`) run anything, as TFLite's delegate does
            by default. On a phone without any accelerator nothing is delegated then. Feature level 3 and up; below, NNAPI
            decides by itself.
        preference: NNAPI execution preference; None: NNAPI's default.
        priority: NNAPI priority (feature level 4 and up); None: NNAPI's default.
        allow_fp16: float32 may be computed in float16 (results change).
        burst: Use an NNAPI burst object (feature level 3 and up).
        measure: Ask the driver for its own durations.
        compilation_timeout_seconds, execution_timeout_seconds: What NNAPI gives its driver for one compilation or execution
            before it reports MISSED_DEADLINE (feature level 4 and up, one NNAPI device); None: no limit.
        compilation_deadline_seconds, execution_deadline_seconds: How long this side waits for one compilation or execution,
            whatever NNAPI does. A worker that takes longer is ended on the device.
        cache_directory: Directory on the device for NNAPI's compilation cache (feature level 3 and up); `auto`: the
            toolkit's own there; None: no cache.
        on_failure: When the driver fails: `error` raises; `cpu` runs the partition on the CPU reference from then on.
        fallback: Where nodes run that the device's NNAPI does not take: `host`, on the CPU reference here; `device`, on software
            NNAPI pushed to the device, as far as NNAPI can express them, so that their tensors do not cross the cable.
        fallback_threads: Threads of that software NNAPI.
        pipeline_depth: Inferences that `Session.submit` lets be under way at once.
        diagnose: After a failure, try once more with NNAPI's verbose log and capture it (devices with adb).

    Raises:
        UsageError: A value that is none of the above.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    feature_level: int | None = None
    accelerator: str | None = None
    disallow_nnapi_cpu: bool = True
    preference: Preference | None = None
    priority: Priority | None = None
    allow_fp16: bool = False
    burst: bool = False
    measure: bool = False
    compilation_timeout_seconds: float | None = None
    execution_timeout_seconds: float | None = None
    compilation_deadline_seconds: float = 300.0
    execution_deadline_seconds: float = 120.0
    cache_directory: str | None = None
    on_failure: OnFailure = "error"
    fallback: Fallback = "host"
    fallback_threads: int = 1
    pipeline_depth: int = 2
    diagnose: bool = True

    def __post_init__(self) -> None:
        _one_of("preference", self.preference, (None, *PREFERENCES))
        _one_of("priority", self.priority, (None, *PRIORITIES))
        _one_of("on_failure", self.on_failure, get_args(OnFailure))
        _one_of("fallback", self.fallback, get_args(Fallback))
        if not 1 <= self.fallback_threads <= MAX_THREADS:
            raise UsageError(f"fallback_threads is {self.fallback_threads}: it must be from 1 to {MAX_THREADS}")
        for name in ("compilation_timeout_seconds", "execution_timeout_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise UsageError(f"{name} is {value}: it must be a positive number of seconds, or None for no limit")
        for name in ("compilation_deadline_seconds", "execution_deadline_seconds"):
            value = getattr(self, name)
            if not 0 < value < 1e6:
                raise UsageError(f"{name} is {value}: it must be a positive number of seconds")
        if not 1 <= self.pipeline_depth <= 64:
            raise UsageError(f"pipeline_depth is {self.pipeline_depth}: it must be from 1 to 64")
        if self.cache_directory is not None and (not self.cache_directory or "\0" in self.cache_directory):
            raise UsageError("cache_directory is empty: name a directory on the device, 'auto', or None for no cache")

    def check_level(self, level: int, devices: Sequence[int], name: str) -> None:
        """Refuses options that the device's NNAPI does not know, instead of leaving them out in silence.

        Args:
            level: Feature level of the run time and the chosen devices.
            devices: The chosen NNAPI devices.
            name: The device, for the message.

        Raises:
            UsageError: The option, the level it needs, and the device's level.
        """
        needs = [
            ("priority", self.priority is not None, PRIORITY_LEVEL),
            ("cache_directory", self.cache_directory is not None, CACHE_LEVEL),
            ("compilation_timeout_seconds", self.compilation_timeout_seconds is not None, TIMEOUT_LEVEL),
            ("execution_timeout_seconds", self.execution_timeout_seconds is not None, TIMEOUT_LEVEL),
        ]
        for option, given, least in needs:
            if given and level < least:
                raise UsageError(f"{option} needs NNAPI feature level {least}, {name} has {level}: leave it out")
        timeouts = (self.compilation_timeout_seconds, self.execution_timeout_seconds)
        if timeouts != (None, None) and len(devices) != 1:
            raise UsageError(
                f"NNAPI takes timeouts for exactly one device, and {len(devices) or 'no'} devices are chosen on {name}: "
                f"choose one with accelerator, and leave disallow_nnapi_cpu on"
            )


def _one_of(name: str, value: object, known: Sequence[object]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {value!r}: choose one of {', '.join(str(k) for k in known)}")


@dataclass(frozen=True, slots=True)
class Choice:
    """The NNAPI devices that programs are compiled for.

    Attributes:
        devices: Their indices; empty: NNAPI decides by itself, or nothing may be delegated.
        level: The feature level that the run time and all of them have.
        usable: False: there is no device but NNAPI's own CPU, and that is disallowed.
    """

    devices: tuple[NnapiDevice, ...]
    level: int
    usable: bool = True

    @property
    def indices(self) -> tuple[int, ...]:
        """What LOAD and SUPPORTED take."""
        return tuple(device.index for device in self.devices)

    @property
    def label(self) -> str:
        """Names for people."""
        return " and ".join(device.name for device in self.devices) or "NNAPI's own choice"


def choose_devices(options: SessionOptions, hello: Hello, name: str) -> Choice:
    """The NNAPI devices that the options mean on a device that says `hello`.

    Raises:
        UsageError: The accelerator does not exist, or its pattern matches several.
    """
    if not hello.devices:
        if options.accelerator is not None:
            raise UsageError(
                f"accelerator '{options.accelerator}' cannot be chosen on {name}: NNAPI lists its devices from feature level "
                f"{DEVICES_LEVEL} on (Android 10), it has {hello.feature_level}"
            )
        return Choice((), hello.feature_level)
    own_cpu = [device for device in hello.devices if device.name == NNAPI_CPU]
    if options.accelerator is not None:
        chosen = [_named(options.accelerator, hello.devices, name)]
    else:
        chosen = [device for device in hello.devices if device.name != NNAPI_CPU][:1]
    if not options.disallow_nnapi_cpu and not (chosen and chosen[0].name == NNAPI_CPU):
        chosen += own_cpu
    level = min([hello.feature_level, *(device.feature_level for device in chosen if device.name != NNAPI_CPU)])
    return Choice(tuple(chosen), level, usable=bool(chosen))


def _named(wanted: str, devices: Sequence[NnapiDevice], name: str) -> NnapiDevice:
    kind, colon, rest = wanted.partition(":")
    exact = [device for device in devices if device.name == wanted]
    if exact:
        return exact[0]
    names = ", ".join(f"{d.name} ({d.type_name})" for d in devices)
    if colon and kind == "type":
        if rest not in DEVICE_TYPES:
            raise UsageError(f"'{wanted}': choose type:{', type:'.join(DEVICE_TYPES)}")
        found = [device for device in devices if device.type == DEVICE_TYPES[rest] and device.name != NNAPI_CPU]
    elif colon and kind == "re":
        try:
            found = [device for device in devices if re.search(rest, device.name)]
        except re.error as error:
            raise UsageError(f"'{wanted}' is no regular expression: {error}") from error
    else:
        found = []
    if len(found) == 1 or (found and kind == "type"):
        return found[0]
    problem = "matches several" if found else "is not"
    raise UsageError(f"accelerator '{wanted}' {problem} on {name}: it has {names}")


def cache_token(program: bytes, weights: Sequence[str], devices: Sequence[NnapiDevice], options: SessionOptions) -> bytes:
    """The 32 bytes under which NNAPI caches a compilation: they change with everything that its result depends on.

    Args:
        program: The program's bytes.
        weights: SHA-256 of the files that its constants lie in, hex.
        devices: The NNAPI devices it is compiled for.
        options: Preference and fp16 count.
    """
    digest = hashlib.sha256(b"nnapi-toolkit compilation 1")
    parts = [hashlib.sha256(program).hexdigest(), *weights]
    parts += [text for device in devices for text in (device.name, device.version)]
    parts += [str(options.preference), str(options.allow_fp16)]
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(4, "little") + data)
    return digest.digest()
