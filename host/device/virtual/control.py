"""Counters and faults: what tests ask of a running virtual device, over a Unix socket beside its files.

One JSON object a line each way: `{"do": "counters"}` -> `{"ok": {...}}` or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
_UNLIMITED = (1 << 63) - 1


@dataclass(slots=True)
class Faults:
    """Faults that can be switched on and off while the device runs.

    Attributes:
        bytes_per_second: Speed of the link in each direction; 0 = unlimited.
        bytes_per_write: Largest piece that a service gets or gives at once (1 = byte by byte); 0 = unlimited.
        refuse_connections: Close every new connection at once, as a phone that is gone does.
    """

    bytes_per_second: int = 0
    bytes_per_write: int = 0
    refuse_connections: bool = False

    def update(self, values: dict[str, Any]) -> None:
        """Sets the named ones.

        Raises:
            ValueError: A name that does not exist.
        """
        known = {f.name for f in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"fault '{name}' does not exist: choose of {', '.join(sorted(known))}")
            setattr(self, name, value)


class Disk:
    """How many bytes the sync service may still write; shared by the daemon and its forked services."""

    def __init__(self) -> None:
        """Without a limit."""
        self._shared = mmap.mmap(-1, 8)
        self.set_free(None)

    def set_free(self, count: int | None) -> None:
        """Leaves room for `count` more bytes; None = no limit."""
        struct.pack_into("<q", self._shared, 0, _UNLIMITED if count is None else count)

    def free(self) -> int | None:
        """What is left, or None without a limit."""
        left: int = struct.unpack_from("<q", self._shared)[0]
        return None if left == _UNLIMITED else left

    def allow(self, count: int) -> bool:
        """Takes `count` bytes; False if they do not fit (then nothing is taken)."""
        left = self.free()
        if left is None:
            return True
        if left < count:
            return False
        self.set_free(left - count)
        return True


@dataclass(slots=True)
class ServiceRecord:
    """What went through one service: `received` from the host, `sent` to it, in bytes and in WRTE packets."""

    name: str
    opened: float
    received: int = 0
    sent: int = 0
    packets_received: int = 0
    packets_sent: int = 0
    refused: bool = False
    closed: bool = False


@dataclass(slots=True)
class Counters:
    """Everything since the start, or since the last reset; the newest services one by one."""

    services: int = 0
    connections: int = 0
    received: int = 0
    sent: int = 0
    packets_received: int = 0
    packets_sent: int = 0
    records: deque[ServiceRecord] = field(default_factory=lambda: deque(maxlen=1000))

    def open(self, name: str, refused: bool = False) -> ServiceRecord:
        """A service has been asked for."""
        self.services += 1
        record = ServiceRecord(name, time.time(), refused=refused)
        self.records.append(record)
        return record

    def add(self, record: ServiceRecord, received: int, sent: int) -> None:
        """One WRTE packet has passed."""
        for target in (self, record):
            target.received += received
            target.sent += sent
            target.packets_received += received > 0
            target.packets_sent += sent > 0

    def to_json(self) -> dict[str, Any]:
        """The counters as the control call tells them; `records` newest last."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "records"}
        return values | {"records": [asdict(record) for record in self.records]}


async def serve_control(path: str, handler: Handler) -> asyncio.Server:
    """Listens on a Unix socket at `path`, readable by its owner alone, and answers each line by `handler`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer = {"ok": await handler(json.loads(line))}
            except (ValueError, KeyError, TypeError, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_unix_server(serve, path)


class ControlClient:
    """The other end: one call at a time, each with a deadline."""

    def __init__(self, path: str, timeout: float = 10.0) -> None:
        """Connects to the socket at `path`; each call may take `timeout` seconds."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")

    def call(self, do: str, **values: Any) -> Any:
        """Asks the device; the answer's value.

        Raises:
            OSError: The device has ended, or does not answer in time.
            ValueError: It refuses.
        """
        self._socket.sendall(json.dumps({"do": do, **values}).encode() + b"\n")
        line = self._file.readline()
        if not line:
            raise ConnectionError(f"the virtual device ended while asked for '{do}'")
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["ok"]

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
        self._socket.close()
