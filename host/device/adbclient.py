"""The adb server's own protocol: which phones there are, and streams to them. Every wait has a deadline.

We speak to the server that runs; a second one is never started beside it, and none is ever killed (several versions of
adb that kill each other's server are what breaks other people's sessions). Where no server runs at all and one is
needed, `start_server` starts one as `adb start-server` does.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nnapi_toolkit.errors import (
    AdbServerError,
    DeviceLostError,
    DeviceNotFoundError,
    DeviceStateError,
    DeviceTimeoutError,
    UsageError,
)

DEFAULT_PORT: Final = 5037
#: Seconds for a question that the server answers by itself.
ANSWER_SECONDS: Final = 5.0
#: Seconds for a question that goes on to the phone before the first answer.
OPEN_SECONDS: Final = 15.0
CONNECT_SECONDS: Final = 15.0
_START_SECONDS: Final = 20.0

_ADVICE: Final = {
    "unauthorized": "Unlock the phone and accept the dialog 'Allow USB debugging'; if none appears, revoke USB debugging "
    "authorizations in the developer options and plug it in again.",
    "offline": "Plug it in again, or run `adb reconnect offline`; a phone that just started needs a moment.",
    "no permissions": "This user may not open the USB device: install the udev rules of your distribution "
    "(package android-sdk-platform-tools-common or android-udev), then plug it in again.",
    "authorizing": "The phone is still answering: try again in a moment.",
    "connecting": "The connection is being made: try again in a moment.",
    "recovery": "It is in recovery mode: boot Android.",
    "sideload": "It is in sideload mode: boot Android.",
    "bootloader": "It is in the boot loader: boot Android.",
    "rescue": "It is in rescue mode: boot Android.",
    "host": "It is not in device mode.",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an adb server listens: a TCP host and port, or a Unix socket."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        """As ADB_SERVER_SOCKET has it."""
        return f"localfilesystem:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return bool(self.path) or self.host in ("localhost", "127.0.0.1", "::1")

    @classmethod
    def parse(cls, text: str) -> Address:
        """`tcp:PORT`, `tcp:HOST:PORT` or `localfilesystem:PATH`.

        Raises:
            UsageError: Anything else.
        """
        kind, _, rest = text.partition(":")
        if kind == "localfilesystem" and rest:
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and port.isdigit() and 0 < int(port) < 65536:
            return cls(host.strip("[]") or "127.0.0.1", int(port))
        raise UsageError(
            f"'{text}' is not the address of an adb server: write tcp:HOST:PORT, tcp:PORT or localfilesystem:PATH"
        )

    @classmethod
    def default(cls, host: str | None = None, port: int | None = None) -> Address:
        """From the arguments, then ADB_SERVER_SOCKET, then ANDROID_ADB_SERVER_ADDRESS and _PORT, then 127.0.0.1:5037.

        Raises:
            UsageError: A variable that cannot be read.
        """
        if host is None and port is None and (text := os.environ.get("ADB_SERVER_SOCKET")):
            return cls.parse(text)
        port_text = os.environ.get("ANDROID_ADB_SERVER_PORT", str(DEFAULT_PORT))
        if port is None and not (port_text.isdigit() and 0 < int(port_text) < 65536):
            raise UsageError(f"ANDROID_ADB_SERVER_PORT is '{port_text}': it must be a number from 1 to 65535")
        return cls(
            host or os.environ.get("ANDROID_ADB_SERVER_ADDRESS") or "127.0.0.1",
            int(port_text) if port is None else port,
        )


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """One line of `adb devices -l`. `facts` holds product, model, transport_id and the like."""

    serial: str
    state: str
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether commands can be sent to it."""
        return self.state == "device"

    @property
    def advice(self) -> str:
        """What to do about a state that is not `device`, or ""."""
        return "" if self.usable else _ADVICE.get(self.state, "See `adb devices` and the phone's screen.")

    @property
    def transport(self) -> str:
        """`transport_id:N`, by which it can be chosen; "" where the server gave no number."""
        return f"transport_id:{self.transport_id}" if self.transport_id is not None else ""

    @property
    def transport_id(self) -> int | None:
        """The server's own number of the connection: unique where serials are not."""
        number = self.facts.get("transport_id", "")
        return int(number) if number.isdigit() else None


class Stream:
    """A connected socket to the server or, through it, to a service on the phone. Every call has a deadline."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        """`name` is what errors call the other end."""
        self.socket = connection
        self.name = name

    def send(self, data: bytes | bytearray | memoryview, end: float) -> None:
        """Sends everything until `end` (time.monotonic).

        Raises:
            DeviceLostError: The stream is closed.
            DeviceTimeoutError: Too late.
        """
        view = memoryview(data)
        with self._errors():
            while view:
                self._arm(end)
                view = view[self.socket.send(view) :]

    def receive(self, limit: int, end: float) -> bytes:
        """At most `limit` bytes; b"" at the end of the stream. Raises as `send`."""
        with self._errors():
            self._arm(end)
            return self.socket.recv(limit)

    def receive_exactly(self, count: int, end: float) -> bytes:
        """Just `count` bytes. Raises as `send`; DeviceLostError if the stream ends before."""
        data = bytearray()
        while len(data) < count:
            piece = self.receive(count - len(data), end)
            if not piece:
                raise DeviceLostError("the connection was closed in the middle of an answer", serial=self.name)
            data += piece
        return bytes(data)

    def receive_all(self, end: float) -> bytes:
        """Everything up to the end of the stream. Raises as `send`."""
        pieces = []
        while piece := self.receive(1 << 16, end):
            pieces.append(piece)
        return b"".join(pieces)

    def ended(self) -> bool:
        """Whether the other end has closed the stream, while nothing was expected from it."""
        try:
            self.socket.settimeout(0)
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Closes the stream; what runs behind it on the phone ends."""
        self.socket.close()

    def _arm(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise DeviceTimeoutError(
                "no answer before the deadline",
                serial=self.name,
                advice="The device or the cable is slow or stuck: try again, or plug it in again",
            ) from None
        except OSError as error:
            raise DeviceLostError(f"the connection broke ({error.strerror or error})", serial=self.name) from error


class AdbServer:
    """Questions to one adb server."""

    def __init__(self, address: Address | None = None) -> None:
        """Without an address: the one of the environment, else 127.0.0.1:5037."""
        self.address = address or Address.default()

    # -- connections --------------------------------------------------------------------------------------------

    def connect(self, end: float) -> Stream:
        """A fresh connection to the server.

        Raises:
            AdbServerError: Nobody listens there.
        """
        try:
            if self.address.path:
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(max(0.01, end - time.monotonic()))
                connection.connect(self.address.path)
            else:
                wait = max(0.01, end - time.monotonic())
                connection = socket.create_connection((self.address.host, self.address.port), timeout=wait)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise AdbServerError(
                f"no adb server answers at {self.address} ({error.strerror or error})",
                advice="Start it with `adb start-server`, or name another with ADB_SERVER_SOCKET=tcp:HOST:PORT",
            ) from error
        return Stream(connection, f"adb server {self.address}")

    def running(self) -> bool:
        """Whether a server listens."""
        try:
            self.connect(time.monotonic() + ANSWER_SECONDS).close()
        except AdbServerError:
            return False
        return True

    def ask(self, request: str, seconds: float = ANSWER_SECONDS) -> str:
        """One question to the server, with the answer's text.

        Raises:
            AdbServerError: It does not run, or says FAIL: the text is its own.
            DeviceTimeoutError, DeviceLostError: It does not answer.
        """
        end = time.monotonic() + seconds
        stream = self.connect(end)
        with contextlib.closing(stream):
            self._request(stream, request, end)
            return self._read_text(stream, end)

    def version(self) -> int:
        """The server's protocol version (41 for adb 1.0.41)."""
        return int(self.ask("host:version"), 16)

    def _request(self, stream: Stream, request: str, end: float) -> None:
        data = os.fsencode(request)
        if len(data) > 0xFFFF:
            raise UsageError(f"an adb request of {len(data)} bytes: at most 65535 fit")
        stream.send(f"{len(data):04x}".encode() + data, end)
        status = stream.receive_exactly(4, end)
        if status == b"OKAY":
            return
        if status != b"FAIL":
            raise AdbServerError(f"{stream.name} answered {status!r} to '{request[:100]}'", advice="Is it an adb server?")
        raise AdbServerError(f"{self._read_text(stream, end)} (asked for '{request[:100]}')")

    def _read_text(self, stream: Stream, end: float) -> str:
        length = stream.receive_exactly(4, end)
        try:
            count = int(length, 16)
        except ValueError:
            raise AdbServerError(f"{stream.name} sent {length!r} where a length must be") from None
        return stream.receive_exactly(count, end).decode(errors="replace")

    # -- phones -------------------------------------------------------------------------------------------------

    def devices(self) -> list[ListedDevice]:
        """All phones that the server knows, usable or not.

        Raises:
            AdbServerError, DeviceTimeoutError, DeviceLostError: The server does not answer.
        """
        return parse_devices(self.ask("host:devices-l"))

    def choose(self, serial: str | None = None) -> ListedDevice:
        """The phone of that serial; without one: of ANDROID_SERIAL, else the only one there.

        `transport_id:N` stands for the phone of that number in `adb devices -l`: for phones with equal serials.

        Raises:
            DeviceNotFoundError: None, or several.
            DeviceStateError: It is there, but not usable; says why, and what to do.
        """
        serial = serial or os.environ.get("ANDROID_SERIAL") or None
        listed = self.devices()
        found = [device for device in listed if serial is None or serial in (device.serial, device.transport)]
        usable = [device for device in found if device.usable]
        names = ", ".join(f"{d.serial} ({d.state})" for d in listed) or "none"
        if serial is not None and not found:
            raise DeviceNotFoundError(
                f"no device '{serial}' at the {self.address} adb server: it knows {names}",
                advice="Plug it in, or `adb connect HOST:PORT`; `nnapi devices` lists what is there",
            )
        if serial is None and len(usable) == 1:
            return usable[0]
        if len(usable) > 1 or (serial is not None and len(found) > 1):
            if serial is None:
                advice = "Choose one: --device SERIAL, or ANDROID_SERIAL"
            else:
                advice = f"Choose one by its number: --device {' or --device '.join(d.transport for d in found)}"
            count = len(usable) if serial is None else len(found)
            raise DeviceNotFoundError(f"{count} devices are attached: {names}", advice=advice)
        if not found:
            raise DeviceNotFoundError(
                "no device is attached", advice="Plug one in with USB debugging on, or use --device virtual"
            )
        device = found[0]
        if not device.usable:
            raise DeviceStateError(f"is {device.state}", serial=device.serial, advice=device.advice, state=device.state)
        return device

    def features(self, serial: str, transport_id: int | None = None) -> frozenset[str]:
        """Features that the server and the phone share, `shell_v2` and the like. Raises as `ask`."""
        return frozenset(self.ask(f"{_of(serial, transport_id)}:features").split(","))

    def state(self, serial: str, transport_id: int | None = None) -> str:
        """`device`, `offline`, ... Raises AdbServerError if the server does not know the phone (any more)."""
        return self.ask(f"{_of(serial, transport_id)}:get-state", 1.0)

    def connect_device(self, serial: str, seconds: float = CONNECT_SECONDS) -> None:
        """`adb connect HOST:PORT`; returns when the phone can be used.

        Raises:
            DeviceNotFoundError: Nobody listens there.
            DeviceStateError: It is connected, but does not become usable.
        """
        end = time.monotonic() + seconds
        while True:
            answer = self.ask(f"host:connect:{serial}", max(0.1, end - time.monotonic()))
            if not re.match(r"(already )?connected to", answer):
                raise DeviceNotFoundError(answer, serial=serial, advice="Is the device on, and its adb port open?")
            # "already connected" may speak of a connection that the server is just about to drop.
            if self._wait_for_state(serial, "device", min(end, time.monotonic() + 2.0)):
                return
            if time.monotonic() >= end:
                found = self._listed_state(serial)
                raise DeviceStateError(
                    f"is {found or 'gone'} after connecting", serial=serial, advice=_ADVICE.get(found, ""), state=found
                )

    def disconnect_device(self, serial: str) -> None:
        """`adb disconnect HOST:PORT`; returns when the server has forgotten it. Quiet if it is not connected."""
        with contextlib.suppress(AdbServerError, DeviceLostError, DeviceTimeoutError):
            self.ask(f"host:disconnect:{serial}")
            self._wait_for_state(serial, "", time.monotonic() + 2.0)

    def _listed_state(self, serial: str) -> str:
        return next((device.state for device in self.devices() if device.serial == serial), "")

    def _wait_for_state(self, serial: str, state: str, end: float) -> bool:
        while self._listed_state(serial) != state:
            if time.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True

    def open(self, serial: str, service: str, seconds: float = OPEN_SECONDS, transport_id: int | None = None) -> Stream:
        """A stream to a service on the phone (`exec:ls`, `sync:`).

        Raises:
            AdbServerError: The server does not run.
            DeviceNotFoundError, DeviceStateError: The phone is gone, or not usable.
            DeviceLostError: The phone refuses the service, or vanished.
            DeviceTimeoutError: It does not answer.
        """
        end = time.monotonic() + seconds
        stream = self.connect(end)
        try:
            choice = f"host:transport-id:{transport_id}" if transport_id is not None else f"host:transport:{serial}"
            try:
                self._request(stream, choice, end)
            except AdbServerError as error:
                raise self._why_not(serial, error) from error
            stream.name = serial
            try:
                self._request(stream, service, end)
            except AdbServerError as error:
                raise DeviceLostError(
                    f"refused the service '{service[:60]}': {error.message}", serial=serial
                ) from error
        except BaseException:
            stream.close()
            raise
        return stream

    def _why_not(self, serial: str, error: AdbServerError) -> Exception:
        """The right exception for a phone to which the server makes no stream."""
        with contextlib.suppress(AdbServerError, DeviceLostError, DeviceTimeoutError):
            for device in self.devices():
                if device.serial == serial and not device.usable:
                    return DeviceStateError(f"is {device.state}", serial=serial, advice=device.advice, state=device.state)
                if device.serial == serial:
                    return DeviceLostError(error.message, serial=serial)
        return DeviceNotFoundError(error.message, serial=serial, advice="`nnapi devices` lists what is attached")


def _of(serial: str, transport_id: int | None) -> str:
    """The beginning of a question about one phone."""
    return f"host-serial:{serial}" if transport_id is None else f"host-transport-id:{transport_id}"


def parse_devices(text: str) -> list[ListedDevice]:
    """Reads `host:devices-l`. Lines that are none (banners, daemon messages) are passed over."""
    found = []
    for line in text.splitlines():
        match = re.match(
            r"(\S+)\s+(no permissions|device|offline|unauthorized|authorizing|connecting|bootloader|recovery|rescue|"
            r"sideload|host|detached|unknown)\b(.*)$",
            line,
        )
        # The facts come last, after a free text in some states: "no permissions (user in plugdev group; ...); see [...] usb:1-1"
        if match and not line.startswith("*"):
            facts = dict(re.findall(r"(?<!\S)([a-z_]+):(\S+)", match[3]))
            found.append(ListedDevice(match[1], match[2], facts))
    return found


def usb_phone_attached() -> bool:
    """Whether a USB device with an adb interface is plugged in (Linux: class 0xff, subclass 0x42, protocol 1)."""
    for folder in Path("/sys/bus/usb/devices").glob("*:*"):
        with contextlib.suppress(OSError):
            wanted = {"bInterfaceClass": "ff", "bInterfaceSubClass": "42", "bInterfaceProtocol": "01"}
            if all((folder / name).read_text().strip() == value for name, value in wanted.items()):
                return True
    return False


def start_server(server: AdbServer) -> None:
    """Starts an adb server where none runs: the user's own `adb` if there is one, else the one that adbutils brings.

    Raises:
        AdbServerError: It is on another machine, or does not start.
    """
    if server.running():
        return
    from .virtual.adbserver import adb_binary, own_adb

    if not server.address.local or server.address.path:
        server.connect(time.monotonic() + ANSWER_SECONDS).close()  # raises, with advice
    try:
        program = own_adb() or adb_binary()
        done = subprocess.run(
            [program, "-P", str(server.address.port), "start-server"],
            capture_output=True, text=True, timeout=_START_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AdbServerError(f"the adb server cannot be started: {error}") from error
    if not server.running():
        raise AdbServerError(f"the adb server does not start: {done.stderr.strip()[-500:] or done.returncode}")
