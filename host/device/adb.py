"""A phone, an emulator or a virtual device behind an adb server."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nnapi_toolkit.android.build import BuildResult, build
from nnapi_toolkit.android.channel import DescriptorTransport, StreamChannel
from nnapi_toolkit.android.errors import ProtocolError, ShimError, ShimLostError
from nnapi_toolkit.android.frames import MAGIC
from nnapi_toolkit.android.protocol import Hello, Library, ShimClient
from nnapi_toolkit.android.toolchain import find_target
from nnapi_toolkit.errors import AdbServerError, DeviceAbiError, DeviceError, DeviceStateError

from .adbclient import AdbServer, ListedDevice, Stream
from .adbshell import CommandResult, run_command
from .base import (
    EXECUTE_LIMIT,
    LOAD_LIMIT,
    SOFTNN,
    START_SECONDS,
    Deadline,
    Device,
    DeviceInfo,
    DeviceSession,
    Progress,
    SideData,
    feature_level_of,
    for_build,
)
from .store import CACHE, FOLDER, Item, Store

#: ABIs of phones that there is a build for; the build target has the same name.
ANDROID_TARGETS: Final = ("arm64-v8a", "armeabi-v7a", "x86_64", "x86")
#: How long to look for the reason after a stream has ended.
_REASON_SECONDS: Final = 1.0
_BOOT_POLL_SECONDS: Final = 0.5
_FRAME_START: Final = MAGIC.to_bytes(4, "little")


class AdbDevice(Device):
    """One device at one adb server. Sessions may be started from several threads."""

    def __init__(
        self,
        server: AdbServer,
        listed: ListedDevice,
        name: str = "",
        on_close: Callable[[], None] | None = None,
        by_number: bool = False,
    ) -> None:
        """Asks nothing yet.

        Args:
            server: The adb server.
            listed: The device as the server lists it.
            name: What messages call it; its serial otherwise.
            on_close: Called by `close`, last.
            by_number: Address it by its transport id, since its serial is not the only one of its kind. After its
                connection was lost it has another number, and this object is of no use any more.
        """
        self.server = server
        self.serial = listed.serial
        self.name = name or listed.serial
        self._listed = listed
        self._on_close = on_close
        self._info: DeviceInfo | None = None
        self._properties: Mapping[str, str] = {}
        self.transport_id = listed.transport_id if by_number else None
        self._store = Store(server, listed.serial, self.transport_id)
        self._lock = threading.Lock()

    # -- what it is ---------------------------------------------------------------------------------------------

    def info(self) -> DeviceInfo:
        """See `Device.info`: one command reads all properties."""
        with self._lock:
            if self._info is None:
                text = self._store.shell().run("getprop").check().text
                self._properties = parse_properties(text)
                self._info = device_info(self._listed, self._properties)
            return self._info

    def _wait_until_booted(self, deadline: Deadline) -> DeviceInfo:
        """An emulator answers adb long before it can run anything."""
        info = self.info()
        while self._properties.get("sys.boot_completed") != "1":
            if time.monotonic() >= deadline.end:
                raise DeviceStateError(
                    "has not finished booting",
                    serial=self.name,
                    state="booting",
                    advice="Give it more time, then look at its screen",
                )
            time.sleep(_BOOT_POLL_SECONDS)
            self._info = None
            info = self.info()
        return info

    @property
    def properties(self) -> Mapping[str, str]:
        """All of `getprop`. Raises as `info`."""
        self.info()
        return self._properties

    def command(self, line: str, seconds: float = 30.0) -> CommandResult:
        """Runs one command line (quoted already) in a service of its own, with output, error and exit status apart.

        Raises:
            DeviceLostError, DeviceTimeoutError: The phone vanished, or the command did not end in time.
        """
        return run_command(self.server, self.serial, line, seconds, self.transport_id)

    # -- sessions -----------------------------------------------------------------------------------------------

    def start(
        self,
        model: Path | None = None,
        sha256: str = "",
        progress: Progress | None = None,
        deadline: float = START_SECONDS,
    ) -> AdbSession:
        """See `Device.start`."""
        info = self._wait_until_booted(Deadline(deadline))
        built = programs_for(info, self._properties.get("ro.nnapi_toolkit.target", ""), progress)
        items = [Item.of_file(built.shim, executable=True)]
        if model is not None:
            items.append(Item.of_file(model, sha256))
        with self._lock:
            pushed = self._store.ensure(items, progress)
        session = AdbSession(self, info, built, items[0].sha256, pushed)
        try:
            session.greet(Deadline(deadline))
            if model is not None:
                session.open_model(items[1])
        except BaseException:
            session.close()
            raise
        return session

    def ensure(self, items: list[Item], progress: Progress | None = None) -> int:
        """Brings files to the phone's store, without a session: the bytes pushed. Raises as `Device.start`."""
        with self._lock:
            return self._store.ensure(items, progress)

    def clean(self, keep: int = 0) -> int:
        """See `Device.clean`."""
        with self._lock:
            return self._store.clean(keep)

    def remove(self, pattern: str) -> None:
        """Removes files of ours from the store's folder, if the phone is still there."""
        with self._lock, contextlib.suppress(DeviceError):
            self._store.shell().run(f"rm -f {FOLDER}/{pattern}", 2.0)

    def tail(self, pattern: str) -> str:
        """The end of a text file of ours, "" if it cannot be had quickly."""
        if not self._lock.acquire(timeout=_REASON_SECONDS):
            return ""
        try:
            return self._store.shell().run(f"tail -c 2000 {FOLDER}/{pattern} 2>/dev/null", _REASON_SECONDS).text.strip()
        except DeviceError:
            return ""
        finally:
            self._lock.release()

    def why_lost(self) -> str:
        """A word on the device after a stream to it has ended: is it still there?"""
        try:
            state = self.server.state(self.serial, self.transport_id)
        except AdbServerError as error:
            if self.server.running():
                return f"device {self.name} is gone ({error.message})"
            return f"the adb server at {self.server.address} has ended; device {self.name} may still be there"
        except DeviceError as error:
            return f"device {self.name}: {error.message}"
        if state != "device":
            return f"device {self.name} is {state}"
        return f"device {self.name} is still there: the program on it has ended"

    def close(self) -> None:
        """See `Device.close`."""
        self._store.close()
        on_close, self._on_close = self._on_close, None
        if on_close:
            on_close()


class AdbSession(DeviceSession):
    """A shim on a device, at the other end of one `exec:` stream."""

    def __init__(self, device: AdbDevice, info: DeviceInfo, built: BuildResult, shim: str, pushed: int) -> None:
        """Starts the shim. Raises as `AdbServer.open`."""
        self.name = device.name
        self.info = info
        self.pushed_bytes = pushed
        self._device = device
        self._built = built
        # The log's name ends with the shim's process (the shell's, whose place it takes): whoever comes next can tell
        # whether it belongs to anybody still.
        token = secrets.token_hex(8)
        self._log = f"{token}-*.log"
        self._model: Item | None = None
        self._side: Item | None = None
        self._softnn: Item | None = None
        self.cache_directory = CACHE
        self._closed = False
        command = f"cd {FOLDER} && exec ./{shim} --log {token}-$$.log"
        self._stream: Stream = device.server.open(device.serial, f"exec:{command}", transport_id=device.transport_id)
        descriptor = self._stream.socket.fileno()
        self._transport = _FirstWords(DescriptorTransport(descriptor, descriptor, self._stream.close))
        self.client = ShimClient(StreamChannel(self._transport, describe=self._describe))

    def greet(self, deadline: Deadline) -> None:
        """Says hello: the shim must be of this build.

        Raises:
            DeviceError: It could not be started; holds what the phone's shell said.
            ShimError: It is another one, or does not answer.
        """
        try:
            self.hello: Hello = self.client.hello(
                self._built.source_hash, load_limit=LOAD_LIMIT, execute_limit=EXECUTE_LIMIT, deadline=deadline.left
            )
        except (ProtocolError, ShimLostError) as error:
            said = self._transport.words()
            if said:
                raise _cannot_start(self.name, said, self.info) from error
            raise
        self._transport.forget()

    def open_model(self, item: Item) -> None:
        """Tells the shim its model. Raises ShimError."""
        self._model = item
        self._open_files()

    def provide_side(self, side: SideData) -> None:
        """See `DeviceSession.provide_side`."""
        data = side.data
        if not data or (self._side and side.sha256 == self._side.sha256):
            return
        if self._model is None:
            raise ShimError("no model is open", request="OPEN")
        item = Item.of_bytes("constants", data, side.sha256)
        self.pushed_bytes += self._device.ensure([item])
        self._side = item
        self._open_files()

    def provide_softnn(self, threads: int = 1, progress: Progress | None = None) -> Library:
        """See `DeviceSession.provide_softnn`."""
        if find_target(self._built.target).static:  # it is part of the shim
            return self.client.library(SOFTNN, "", threads=threads)
        if self._softnn is None:
            item = Item.of_file(self._built.libneuralnetworks)
            self.pushed_bytes += self._device.ensure([item], progress)
            self._softnn = item
        return self.client.library(SOFTNN, f"./{self._softnn.sha256}", threads=threads)

    def restart(self) -> None:
        """See `DeviceSession.restart`."""
        self.greet(Deadline(START_SECONDS))
        if self._model is not None:
            self._open_files()

    def _open_files(self) -> None:
        assert self._model is not None
        side = (self._side.sha256, self._side.size) if self._side else ("", 0)
        self.client.open(self._model.sha256, self._model.size, *side)

    def close(self) -> None:
        """See `DeviceSession.close`."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ShimError):
            self.client.bye(deadline=2.0)
        self.client.close()
        self._device.remove(self._log)

    def _describe(self) -> str:
        reason = self._device.why_lost()
        log = self._device.tail(self._log) if reason.endswith("has ended") else ""
        return f"{reason}; its log ends with: {log}" if log else reason


class _FirstWords:
    """A transport that remembers its first bytes: where no shim answers, they are the phone's shell's complaint."""

    def __init__(self, inner: DescriptorTransport) -> None:
        self._inner = inner
        self._first: bytearray | None = bytearray()
        self.send = inner.send
        self.receive_into = self._receive_into

    def _receive_into(self, view: memoryview, end: float) -> None:
        """Byte by byte as they come, so that a text shorter than a frame is not lost."""
        first = self._first
        if first is None:
            self._inner.receive_into(view, end)
            return
        for at in range(len(view)):
            self._inner.receive_into(view[at : at + 1], end)
            first += view[at : at + 1]

    def words(self) -> str:
        """The text that came instead of a frame, with what follows it shortly; "" if a frame came."""
        if bytes(self._first or b"").startswith(_FRAME_START):
            return ""
        end = Deadline(_REASON_SECONDS).end
        with contextlib.suppress(EOFError, OSError):
            byte = memoryview(bytearray(1))
            while self._first is not None and len(self._first) < 4000:
                self._inner.receive_into(byte, end)
                self._first += byte
        return bytes(self._first or b"").decode(errors="replace").strip()

    def ended(self) -> bool:
        return self._inner.ended()

    def forget(self) -> None:
        """The shim has answered: from here on nothing stands between it and the caller."""
        self._first = None
        self.receive_into = self._inner.receive_into

    def close(self) -> None:
        self._inner.close()


def _cannot_start(name: str, said: str, info: DeviceInfo) -> DeviceError:
    """Makes a plain message of what the phone's shell said."""
    if "not executable" in said or "Exec format" in said or re.search(r"not found|No such file", said):
        return DeviceAbiError(
            f"the program cannot run there: {said}",
            serial=name,
            advice=f"It was built for {info.abis[0] if info.abis else 'another ABI'}; does the device tell its ABI rightly?",
        )
    if "ermission denied" in said:
        return DeviceStateError(
            f"programs below {FOLDER} may not be executed: {said}", serial=name, state="device",
            advice="The device forbids it (a noexec mount or a policy): `nnapi clean` and try again; else use another device",
        )  # fmt: skip
    return DeviceError(f"the program did not start: {said[-1000:]}", serial=name)


def programs_for(info: DeviceInfo, target: str = "", progress: Progress | None = None) -> BuildResult:
    """The build that runs on a device.

    Args:
        info: The device.
        target: The build target that the device asks for by itself, as virtual ones do; "" = by its ABIs.
        progress: Told of the build.

    Raises:
        DeviceAbiError: There is none for its ABIs.
        BuildError: It cannot be built.
    """
    wanted = [target] if target else [abi for abi in info.abis if abi in ANDROID_TARGETS]
    if not wanted:
        abis = ", ".join(info.abis) or "none"
        raise DeviceAbiError(
            f"its ABIs ({abis}) are none that we build for ({', '.join(ANDROID_TARGETS)})", serial=info.serial
        )
    return build(wanted[0], progress=for_build(progress))


def parse_properties(text: str) -> dict[str, str]:
    """Reads the output of `getprop`: `[name]: [value]`, where a value may have several lines."""
    pattern = r"^\[([^\]\n]+)\]: \[(.*?)\]\r?$(?=\n\[|\n*\Z)"
    return {match[1]: match[2] for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)}


def device_info(listed: ListedDevice, properties: Mapping[str, str]) -> DeviceInfo:
    """The record of a device, from what the server and its properties say."""

    def number(name: str) -> int:
        value = properties.get(name, "")
        return int(value) if value.isdigit() else 0

    abis = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    virtual = properties.get("ro.nnapi_toolkit.virtual") == "1"
    api_level = number("ro.build.version.sdk")
    return DeviceInfo(
        serial=listed.serial,
        state=listed.state,
        model=properties.get("ro.product.model", "") or listed.facts.get("model", ""),
        manufacturer=properties.get("ro.product.manufacturer", ""),
        release=properties.get("ro.build.version.release", ""),
        api_level=api_level,
        abis=tuple(abi for abi in abis.split(",") if abi),
        feature_level=number("ro.nnapi_toolkit.feature_level") or feature_level_of(api_level),
        virtual=virtual,
        advice=listed.advice,
    )


def environment_serial() -> str | None:
    """ANDROID_SERIAL, if set."""
    return os.environ.get("ANDROID_SERIAL") or None
