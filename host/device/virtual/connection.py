"""The device's side of one ADB connection: handshake, streams, flow control.

A stream may have one unacknowledged WRTE in each direction; with the `delayed_ack` feature it may have as many bytes on
their way as the other end has said it will take. Payloads go from the socket's buffer to the service and back without
being touched by Python byte by byte.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from . import wire
from .services import Service

if TYPE_CHECKING:
    from .control import Faults

#: Only what this device really does.
FEATURES = ("shell_v2", "stat_v2", "ls_v2", "fixed_push_mkdir", "sendrecv_v2", "sendrecv_v2_dry_run_send", "delayed_ack")
#: Bytes that a stream may send us before we acknowledge, with delayed_ack.
_WINDOW = 4 << 20
_SLICES_PER_SECOND = 20


class Host(Protocol):
    """What a connection needs of its daemon."""

    faults: Faults
    authorized: bool

    @property
    def banner(self) -> str:
        """What the device says of itself: `name=value;` pairs."""

    def open_service(self, name: str) -> Service | None:
        """Starts a service, or None."""

    def close_service(self, service: Service) -> None:
        """The stream is gone: the service's process must end."""

    def count(self, stream: Stream, received: int, sent: int) -> None:
        """Adds to the counters of a stream's service."""

    def connection_made(self, connection: Connection) -> None:
        """A server has connected."""

    def connection_lost(self, connection: Connection) -> None:
        """The connection is gone, all its streams are closed."""


@dataclass(slots=True, eq=False)
class Stream:
    """One open stream.

    Attributes:
        window: Bytes that we may still send before an acknowledgement; without delayed_ack: 0 or one whole payload.
        waiting: Received bytes that the service has not yet taken, and how many of them acknowledge what.
    """

    local: int
    remote: int
    service: Service
    window: int
    waiting: deque[memoryview] = field(default_factory=deque)
    unacknowledged: int = 0
    reading: bool = False
    broken: bool = False  # the service takes no more input


class Connection(asyncio.BufferedProtocol):
    """One connection of an adb server."""

    def __init__(self, host: Host) -> None:
        """Made for each connection that is accepted."""
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = memoryview(bytearray(2 * (wire.HEADER_BYTES + wire.MAX_PAYLOAD)))
        self._begin = self._end = 0
        self._outgoing = memoryview(bytearray(wire.HEADER_BYTES + wire.MAX_PAYLOAD))
        self._streams: dict[int, Stream] = {}
        self._next_id = 1
        self._online = False
        self._checksums = True
        self._delayed_ack = False
        self._max_payload = wire.MAX_PAYLOAD_V1
        self._paused = False
        self._slow_queue: deque[bytes] = deque()
        self._slow_timer: asyncio.TimerHandle | None = None

    # -- the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: a server has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=4 << 20)
        # asyncio does so only for sockets that were made with an explicit protocol number.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host.connection_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the connection is gone; so are all its services."""
        self._transport = None
        if self._slow_timer:
            self._slow_timer.cancel()
        self._close_streams()
        self._host.connection_lost(self)

    def peer_user(self) -> int | None:
        """The user whose process is at the other end, as the kernel knows it; None if it cannot tell."""
        if self._transport is None:
            return None
        return _user_of(self._transport.get_extra_info("peername"), self._transport.get_extra_info("sockname"))

    def abort(self) -> None:
        """Drops the connection without a word, as a pulled cable does."""
        if self._transport:
            self._transport.abort()

    def pause_writing(self) -> None:
        """asyncio: the server does not read; programs must wait."""
        self._paused = True
        for stream in self._streams.values():
            self._watch(stream)

    def resume_writing(self) -> None:
        """asyncio: the server reads again."""
        self._paused = False
        for stream in self._streams.values():
            self._watch(stream)

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where received bytes go."""
        rate = self._host.faults.bytes_per_second
        limit = max(1, rate // _SLICES_PER_SECOND) if rate else len(self._buffer)
        return self._buffer[self._end : self._end + limit]

    def buffer_updated(self, count: int) -> None:
        """asyncio: bytes have been received."""
        self._end += count
        try:
            self._take_packets()
        except wire.WireError:
            self.abort()
            return
        rate = self._host.faults.bytes_per_second
        if rate and self._transport:
            self._transport.pause_reading()
            self._loop.call_later(count / rate, self._resume_reading)

    def _resume_reading(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def _take_packets(self) -> None:
        while self._end - self._begin >= wire.HEADER_BYTES:
            view = self._buffer[self._begin : self._end]
            command, arg0, arg1, length, check = wire.parse_header(view, max(self._max_payload, wire.MAX_PAYLOAD_V1))
            whole = wire.HEADER_BYTES + length
            if len(view) < whole:
                break
            payload = view[wire.HEADER_BYTES : whole]
            if self._checksums and self._online and length and wire.checksum(payload) != check:
                raise wire.WireError("payload checksum does not match")
            self._begin += whole
            self._handle(command, arg0, arg1, payload)
        if self._begin == self._end:
            self._begin = self._end = 0
        elif len(self._buffer) - self._begin < wire.HEADER_BYTES + wire.MAX_PAYLOAD:
            rest = self._end - self._begin
            self._buffer[:rest] = bytes(self._buffer[self._begin : self._end])
            self._begin, self._end = 0, rest

    def _send(self, command: int, arg0: int, arg1: int, payload: bytes | memoryview = b"") -> None:
        check = wire.checksum(payload) if self._checksums and payload else 0
        self._write(wire.header(command, arg0, arg1, len(payload), check) + bytes(payload))

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is None:
            return
        if self._host.faults.bytes_per_second or self._slow_queue:
            self._slow_queue.append(bytes(data))
            if self._slow_timer is None:
                self._send_slice()
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() and isinstance(data, memoryview):
            # The transport may keep the view until the socket has room (Python 3.12): it is not ours any more.
            self._outgoing = memoryview(bytearray(len(self._outgoing)))

    def _send_slice(self) -> None:
        """One slice of what waits for the slow link, then the pause that it costs."""
        self._slow_timer = None
        if not self._slow_queue or self._transport is None:
            return
        rate = self._host.faults.bytes_per_second
        if not rate:
            while self._slow_queue:
                self._transport.write(self._slow_queue.popleft())
            return
        piece = self._slow_queue[0][: max(1, rate // _SLICES_PER_SECOND)]
        rest = self._slow_queue[0][len(piece) :]
        self._transport.write(piece)
        if rest:
            self._slow_queue[0] = rest
        else:
            self._slow_queue.popleft()
            for stream in self._streams.values():
                self._watch(stream)
        self._slow_timer = self._loop.call_later(len(piece) / rate, self._send_slice)

    # -- packets ------------------------------------------------------------------------------------------------

    def _handle(self, command: int, arg0: int, arg1: int, payload: memoryview) -> None:
        if command == wire.CNXN:
            self._connect(arg0, arg1, bytes(payload))
        elif command == wire.AUTH and arg0 == wire.AUTH_SIGNATURE and not self._host.authorized:
            self._send(wire.AUTH, wire.AUTH_TOKEN, 0, os.urandom(20))
        elif not self._online:
            return
        elif command == wire.OPEN:
            self._open(arg0, arg1, payload)
        elif stream := self._streams.get(arg1):
            if stream.remote != arg0:
                return
            if command == wire.WRTE:
                self._host.count(stream, len(payload), 0)
                self._deliver(stream, payload)
            elif command == wire.OKAY:
                self._acknowledged(stream, payload)
            elif command == wire.CLSE:
                self._close(stream, tell=False)
        elif command == wire.WRTE:
            self._send(wire.CLSE, 0, arg0)

    def _connect(self, version: int, limit: int, banner: bytes) -> None:
        self._close_streams()
        if version < wire.VERSION_MIN:
            raise wire.WireError(f"version 0x{version:08x} is not known")
        if not self._host.authorized:
            self._send(wire.AUTH, wire.AUTH_TOKEN, 0, os.urandom(20))
            return
        self._checksums = version < wire.VERSION_NO_CHECKSUM
        self._max_payload = max(wire.MAX_PAYLOAD_V1, min(limit, wire.MAX_PAYLOAD))
        features = banner.rpartition(b"features=")[2].rstrip(b"\0").split(b";")[0].split(b",")
        self._delayed_ack = b"delayed_ack" in features
        self._online = True
        answer = f"device::{self._host.banner}features={','.join(FEATURES)}"
        own_version = min(version, wire.VERSION_NO_CHECKSUM)
        self._send(wire.CNXN, own_version, wire.MAX_PAYLOAD, answer.encode())

    def _open(self, remote: int, window: int, payload: memoryview) -> None:
        name = bytes(payload).rstrip(b"\0").decode(errors="surrogateescape")
        service = self._host.open_service(name) if remote else None
        if service is None:
            self._send(wire.CLSE, 0, remote)
            return
        local, self._next_id = self._next_id, self._next_id + 1
        stream = Stream(local, remote, service, window if self._delayed_ack else self._max_payload)
        self._streams[local] = stream
        self._acknowledge(stream, _WINDOW)
        self._watch(stream)

    def _acknowledge(self, stream: Stream, count: int) -> None:
        self._send(wire.OKAY, stream.local, stream.remote, struct.pack("<i", count) if self._delayed_ack else b"")

    def _acknowledged(self, stream: Stream, payload: memoryview) -> None:
        if self._delayed_ack:
            if len(payload) == 4:
                stream.window += struct.unpack("<i", payload)[0]
        else:
            stream.window = self._max_payload
        self._watch(stream)

    # -- from the server to the service -------------------------------------------------------------------------

    def _deliver(self, stream: Stream, payload: memoryview) -> None:
        """Gives a payload to the service; what it does not take at once waits, and is acknowledged when taken."""
        stream.unacknowledged += len(payload)
        step = self._host.faults.bytes_per_write or len(payload)
        pieces = [payload[at : at + step] for at in range(0, len(payload), step)] if payload else []
        if not stream.waiting:
            pieces = self._push(stream, pieces)
        if pieces:
            if not stream.waiting:
                self._loop.add_writer(stream.service.stream, self._writable, stream)
            # The receive buffer is reused: what waits must be copied.
            stream.waiting.extend(memoryview(bytes(piece)) for piece in pieces)
        else:
            self._taken(stream)

    def _push(self, stream: Stream, pieces: list[memoryview]) -> list[memoryview]:
        """Sends pieces until the service's socket is full; what is left."""
        if stream.broken:
            return []
        for number, piece in enumerate(pieces):
            try:
                sent = stream.service.stream.send(piece)
            except BlockingIOError:
                return pieces[number:]
            except OSError:  # the program has ended or reads no more: its last words may still come
                stream.broken = True
                return []
            if sent < len(piece):
                return [piece[sent:], *pieces[number + 1 :]]
        return []

    def _writable(self, stream: Stream) -> None:
        rest = self._push(stream, list(stream.waiting))
        stream.waiting = deque(rest)
        if not rest:
            self._loop.remove_writer(stream.service.stream)
            self._taken(stream)

    def _taken(self, stream: Stream) -> None:
        count, stream.unacknowledged = stream.unacknowledged, 0
        self._acknowledge(stream, count)

    # -- from the service to the server -------------------------------------------------------------------------

    def _watch(self, stream: Stream) -> None:
        """Reads from the service exactly while something may be sent."""
        wanted = stream.window > 0 and not self._paused and len(self._slow_queue) < 2
        if wanted and not stream.reading:
            self._loop.add_reader(stream.service.stream, self._readable, stream)
        elif not wanted and stream.reading:
            self._loop.remove_reader(stream.service.stream)
        stream.reading = wanted

    def _readable(self, stream: Stream) -> None:
        payload = self._outgoing[wire.HEADER_BYTES :]
        limit = min(self._max_payload, stream.window, self._host.faults.bytes_per_write or self._max_payload)
        count, ended = _fill(stream.service.stream, payload[:limit])
        if count:
            check = wire.checksum(payload[:count]) if self._checksums else 0
            self._outgoing[: wire.HEADER_BYTES] = wire.header(wire.WRTE, stream.local, stream.remote, count, check)
            self._host.count(stream, 0, count)
            stream.window = stream.window - count if self._delayed_ack else 0
            self._write(self._outgoing[: wire.HEADER_BYTES + count])
        if ended:
            self._close(stream, tell=True)
        else:
            self._watch(stream)

    def _close(self, stream: Stream, tell: bool) -> None:
        if self._streams.pop(stream.local, None) is None:
            return
        self._loop.remove_reader(stream.service.stream)
        self._loop.remove_writer(stream.service.stream)
        stream.service.stream.close()
        if tell:
            self._send(wire.CLSE, stream.local, stream.remote)
        self._host.close_service(stream.service)

    def _close_streams(self) -> None:
        for stream in list(self._streams.values()):
            self._close(stream, tell=False)


def _fill(source: socket.socket, buffer: memoryview) -> tuple[int, bool]:
    """Reads what is there, up to the buffer's size: (bytes, whether the stream has ended)."""
    count = 0
    try:
        while count < len(buffer):
            got = source.recv_into(buffer[count:])
            if not got:
                return count, True
            count += got
    except BlockingIOError:
        return count, False
    except OSError:
        return count, True
    return count, False


def _user_of(peer: tuple[str, int], own: tuple[str, int]) -> int | None:
    """The owner of the socket that is bound to `peer` and connected to `own` (IPv4), by the kernel's table."""

    def packed(address: tuple[str, int]) -> str:
        number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
        return f"{number:08X}:{address[1]:04X}"

    wanted = [packed(peer), packed(own)]
    try:
        with open("/proc/net/tcp", encoding="ascii") as table:
            for line in table:
                columns = line.split()
                if columns[1:3] == wanted:
                    return int(columns[7])
    except OSError:
        pass
    return None
