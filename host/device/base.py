"""What a device is to the rest of the host: something that a session can be started on."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

from nnapi_toolkit.android.protocol import Hello, Library, ShimClient
from nnapi_toolkit.delegate.target import FEATURE_LEVELS

#: Called as (what, done, total) while something long goes on; bytes for pushes, steps for builds.
Progress = Callable[[str, int, int], None]

#: Seconds for the start of a session, not counting pushes (those have deadlines of their own).
START_SECONDS = 60.0
#: The number of software NNAPI among the libraries of a session.
SOFTNN: Final = 1
#: Seconds after which the shim itself ends a worker that still loads or executes, whatever the driver does. Below the
#: deadlines of the host's requests, so that the error names the phase and the session goes on.
LOAD_LIMIT = 280.0
EXECUTE_LIMIT = 110.0


class SideData(Protocol):
    """Constants that are not in the model file: what `delegate.program.SideFile` is."""

    @property
    def data(self) -> bytes:
        """The bytes."""

    @property
    def sha256(self) -> str:
        """Their SHA-256, hex."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as the user knows it.

    Attributes:
        serial: Its name at the adb server; `local` for this process.
        state: adb's word: `device` when usable, else `unauthorized`, `offline`, ...
        model, manufacturer: Of the phone; "" where unknown.
        release: Android version, "10".
        api_level: Android API level, 0 where unknown.
        abis: Best first.
        feature_level: NNAPI feature level that the API level promises (the shim's hello tells the true one); 0 = no NNAPI.
        virtual: It is a virtual device, or this process.
        advice: What to do about a state other than `device`.
    """

    serial: str
    state: str = "device"
    model: str = ""
    manufacturer: str = ""
    release: str = ""
    api_level: int = 0
    abis: tuple[str, ...] = ()
    feature_level: int = 0
    virtual: bool = False
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form that `nnapi devices --json` prints."""
        return asdict(self) | {"abis": list(self.abis)}


def for_build(progress: Progress | None) -> Callable[[int, int, str], None] | None:
    """A `Progress` in the form that `android.build` calls."""
    return None if progress is None else lambda done, steps, what: progress(what, done, steps)


def feature_level_of(api_level: int) -> int:
    """The NNAPI feature level that an Android API level promises: 27 -> 1 ... 31 and up -> 5; 0 below 27."""
    levels = [level for level, (_, api, _) in FEATURE_LEVELS.items() if api <= api_level and level <= 5]
    return max(levels, default=0)


class DeviceSession(ABC):
    """A started shim with the model in place. Use as a context manager, or call `close`.

    Attributes:
        name: What messages call the device.
        info: The device.
        client: Requests to the shim.
        hello: What the shim said of itself and of NNAPI.
        pushed_bytes: Bytes of files that had to be pushed for this session.
        cache_directory: Where on the device NNAPI may keep compilations, for `ShimClient.load`; "" = nowhere.
    """

    name: str
    info: DeviceInfo
    client: ShimClient
    hello: Hello
    pushed_bytes: int = 0
    cache_directory: str = ""

    @abstractmethod
    def provide_side(self, side: SideData) -> None:
        """Makes the side file the one that programs loaded from now on refer to; pushes it if it is not there.

        Raises:
            DeviceError, ShimError: The push failed, or the shim cannot open the file.
        """

    @abstractmethod
    def provide_softnn(self, threads: int = 1, progress: Progress | None = None) -> Library:
        """Loads software NNAPI, which is pushed if it is not there, beside the device's own; again after `restart`.

        Programs are loaded into it with the library's number.

        Raises:
            DeviceError, ShimError: The push failed, or the library does not load.
        """

    @abstractmethod
    def restart(self) -> None:
        """After a `WorkerLostError`: greets the new worker and opens the files again. Programs and slots are gone.

        Raises:
            DeviceError, ShimError: The shim is gone as well, or the new worker fails too.
        """

    def ended(self) -> bool:
        """Whether the shim is known to be gone; asks nobody. False says little: it may be gone since a moment ago."""
        return self.client.channel.ended()

    @abstractmethod
    def close(self) -> None:
        """Ends the shim and everything of this session on the device. Never raises; safe to call again."""

    def __enter__(self) -> DeviceSession:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()


class Device(ABC):
    """A device that sessions can be started on. Use as a context manager, or call `close`.

    Attributes:
        name: What messages call it.
    """

    name: str

    @abstractmethod
    def info(self) -> DeviceInfo:
        """What the device is; asked once, then remembered.

        Raises:
            DeviceError: It does not answer.
        """

    @abstractmethod
    def start(
        self,
        model: Path | None = None,
        sha256: str = "",
        progress: Progress | None = None,
        deadline: float = START_SECONDS,
    ) -> DeviceSession:
        """Brings shim and model to the device (what is there already stays), starts the shim, greets it, opens the model.

        Args:
            model: The `.tflite` file; None = only start the shim (to learn what NNAPI the device has).
            sha256: The file's SHA-256, hex, if known; it names the file on the device.
            progress: Told of pushes and builds.
            deadline: Seconds for everything but pushes and builds.

        Raises:
            DeviceError: The device is gone, has no room, has no ABI of ours, ...
            ShimError: The shim cannot be started, or is not of this version.
            BuildError: The shim cannot be built.
        """

    def clean(self, keep: int = 0) -> int:
        """Removes what the toolkit keeps on the device; the bytes freed.

        Args:
            keep: Bytes of files, the most recently used first, that may stay; 0 = nothing stays.

        Raises:
            DeviceError: It does not answer.
        """
        return 0

    def close(self) -> None:  # noqa: B027 - most devices own nothing
        """Ends what belongs to this object (connections; a virtual device itself). Never raises; safe to call again."""

    def __enter__(self) -> Device:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()


class Deadline:
    """A point in time that several steps share."""

    def __init__(self, seconds: float) -> None:
        """It lies `seconds` from now."""
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least a moment (so that a late step fails by its own deadline, with its own name)."""
        return max(0.05, self.end - time.monotonic())
