"""Files to the phone and back over adb's sync service: in pieces, with progress, and with deadlines that fit slow links."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Final

from nnapi_toolkit.errors import DeviceError, DeviceLostError, DeviceSpaceError

from .adbclient import OPEN_SECONDS, AdbServer, Stream

_HEAD: Final = struct.Struct("<4sI")
_CHUNK: Final = 64 * 1024
#: A transfer fails when nothing moves for this long ...
STALL_SECONDS: Final = 30.0
#: ... and, once all is sent, when what may still be on its way arrives slower than this (bytes a second).
SLOWEST_LINK: Final = 4096
#: How much the sockets and the server can hold of what we sent.
_ON_THE_WAY: Final = 4 << 20
_SEND_BUFFER: Final = 256 * 1024

Progress = Callable[[int], None]


class SyncConnection:
    """One sync service on one phone; several files can go through it, one after another."""

    def __init__(self, server: AdbServer, serial: str, transport_id: int | None = None) -> None:
        """Opens the service. Raises as `AdbServer.open`."""
        self.serial = serial
        self._stream: Stream = server.open(serial, "sync:", OPEN_SECONDS, transport_id)
        # Small, so that what we count as sent is not far ahead of what the phone has.
        self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def push(
        self,
        source: Iterable[bytes | memoryview],
        size: int,
        target: str,
        mode: int = 0o644,
        progress: Progress | None = None,
        end: float = float("inf"),
    ) -> None:
        """Writes a file on the phone.

        Args:
            source: The content, in pieces of any size.
            size: Its length in bytes, for the deadline.
            target: Path on the phone; folders are made.
            mode: Permissions.
            progress: Called with the number of bytes sent so far.
            end: Time (time.monotonic) at which to give up in any case.

        Raises:
            DeviceSpaceError: The phone is full.
            DeviceLostError: It vanished, or refused the file.
            DeviceTimeoutError: Nothing moved for `STALL_SECONDS`.
        """
        request = os.fsencode(f"{target},{0o100000 | mode}")
        self._stream.send(_HEAD.pack(b"SEND", len(request)) + request, self._stall(end))
        sent = 0
        try:
            for piece in source:
                view = memoryview(piece)
                for at in range(0, len(view), _CHUNK):
                    chunk = view[at : at + _CHUNK]
                    self._stream.send(_HEAD.pack(b"DATA", len(chunk)) + bytes(chunk), self._stall(end))
                    sent += len(chunk)
                    if progress:
                        progress(sent)
            self._stream.send(_HEAD.pack(b"DONE", int(time.time())), self._stall(end))
        except DeviceLostError as error:
            raise self._refusal(target) or error from None
        pending = min(size, _ON_THE_WAY) / SLOWEST_LINK
        self._expect_okay(target, min(end, time.monotonic() + STALL_SECONDS + pending))

    def pull(self, path: str, end: float = float("inf")) -> bytes:
        """The content of a file on the phone. Raises DeviceLostError, also if there is no such file."""
        request = os.fsencode(path)
        self._stream.send(_HEAD.pack(b"RECV", len(request)) + request, self._stall(end))
        pieces: list[bytes] = []
        while True:
            kind, length = self._head(end)
            if kind == b"DONE":
                return b"".join(pieces)
            if kind != b"DATA":
                raise self._failure(kind, length, path, end)
            pieces.append(self._stream.receive_exactly(length, self._stall(end)))

    def stat(self, path: str, end: float = float("inf")) -> tuple[int, int, int]:
        """(mode, size, modification time) of a file; all 0 if there is none. Sizes modulo 2^32."""
        request = os.fsencode(path)
        self._stream.send(_HEAD.pack(b"STAT", len(request)) + request, self._stall(end))
        kind, mode, size, mtime = struct.unpack("<4sIII", self._stream.receive_exactly(16, self._stall(end)))
        if kind != b"STAT":
            raise DeviceLostError(f"answered {kind!r} to STAT", serial=self.serial)
        return mode, size, mtime

    def usable(self) -> bool:
        """Whether the next file has a chance: the phone, the cable and the adb server may have gone meanwhile."""
        return not self._stream.ended()

    def close(self) -> None:
        """Ends the service."""
        self._stream.close()

    @staticmethod
    def _stall(end: float) -> float:
        return min(end, time.monotonic() + STALL_SECONDS)

    def _head(self, end: float) -> tuple[bytes, int]:
        kind, length = _HEAD.unpack(self._stream.receive_exactly(_HEAD.size, self._stall(end)))
        return kind, length

    def _expect_okay(self, target: str, end: float) -> None:
        kind, length = _HEAD.unpack(self._stream.receive_exactly(_HEAD.size, end))
        if kind != b"OKAY":
            raise self._failure(kind, length, target, end)

    def _failure(self, kind: bytes, length: int, path: str, end: float) -> DeviceError:
        if kind != b"FAIL" or length > 1 << 16:
            return DeviceLostError(f"answered {kind!r} in the transfer of {path}", serial=self.serial)
        text = self._stream.receive_exactly(length, self._stall(end)).decode(errors="replace")
        if "No space left" in text:
            return DeviceSpaceError(
                f"no space left for {path} ({text})",
                serial=self.serial,
                advice="Free some room on the phone; `nnapi clean` removes what this tool left there",
            )
        return DeviceLostError(f"the transfer of {path} failed: {text}", serial=self.serial)

    def _refusal(self, path: str) -> DeviceError | None:
        """What the phone said before it closed the stream, if anything."""
        end = time.monotonic() + 1.0
        try:
            kind, length = _HEAD.unpack(self._stream.receive_exactly(_HEAD.size, end))
            return self._failure(kind, length, path, end)
        except DeviceError:
            return None
