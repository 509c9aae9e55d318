"""Frames over a byte stream: a subprocess's pipes, a socket, whatever adb opens.

`StreamChannel` knows frames, `Transport` knows bytes. `DescriptorTransport` serves everything that has file
descriptors; others need just the three methods.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .errors import ShimLostError, ShimTimeoutError
from .frames import (
    HEADER_BYTES,
    Buffer,
    Reply,
    bytes_of,
    check_reply,
    decode_header,
    encode_header,
    kind_name,
)

#: Buffers for one writev: below every system's limit.
_MAX_VECTORS = 64
#: Ids of requests fit into a header's `code` as well.
_HIGHEST_ID = 0x7FFFFFFF


class Transport(Protocol):
    """A byte stream in both directions. `end` is a time of `time.monotonic()`."""

    def send(self, parts: Sequence[memoryview], end: float) -> None:
        """Sends all bytes. EOFError or OSError: the other end is gone; TimeoutError: too late."""
        ...

    def receive_into(self, view: memoryview, end: float) -> None:
        """Fills the view. Raises as `send`."""
        ...

    def ended(self) -> bool:
        """Whether there is something to read although nobody has asked: the other end is gone, or out of step."""
        ...

    def close(self) -> None:
        """Closes the stream; may be called twice."""
        ...


class StreamChannel:
    """A `Channel` over a `Transport`, also for several threads.

    Requests go out while earlier ones are still at work at the other end, which answers in order; a deadline counts from the
    answer before. A request that fails in any way but by an error reply ends the session for all.
    """

    def __init__(self, transport: Transport, *, describe: Callable[[], str] | None = None) -> None:
        """`describe` is asked for more words when the stream ends early: an exit code, a log, the serial."""
        self.transport = transport
        self._describe = describe
        self._id = 0
        self._broken: str | None = None
        self._sending = threading.Lock()
        self._turns = threading.Condition()
        self._received = 0  # id of the last reply that is here in full: tells the shim, should its worker die then
        self._waiting: deque[tuple[int, float]] = deque()  # requests under way in the order of their answers: id, seconds

    def request(self, kind: int, parts: Sequence[Buffer], deadline: float) -> Reply:
        """See `Channel.request`."""
        self._check(kind)
        end = time.monotonic() + deadline
        views = [view for view in (bytes_of(part, kind_name(kind)) for part in parts) if len(view)]
        try:
            return self._receive(kind, self._send(kind, views, end, deadline), deadline)
        except TimeoutError:
            self._end(f"{kind_name(kind)} was not answered in time")
            raise ShimTimeoutError(
                f"no answer within {deadline:g} s. The device is slow, or its driver hangs: try a longer "
                "deadline, or `nnapi doctor`.",
                request=kind_name(kind),
            ) from None
        except (EOFError, OSError) as error:
            more = self._describe() if self._describe else ""
            self._end(f"the stream ended in {kind_name(kind)}")
            raise ShimLostError(
                f"the shim's stream ended before its answer ({str(error) or 'end of file'})"
                + (f"; {more}" if more else ""),
                request=kind_name(kind),
            ) from error
        except BaseException:
            self._end("an earlier request was interrupted")
            raise

    def _check(self, kind: int) -> None:
        if self._broken is not None:
            raise ShimLostError(f"the session is over: {self._broken}", request=kind_name(kind))

    def _end(self, why: str) -> None:
        with self._turns:
            self._broken = self._broken or why
            self._turns.notify_all()

    def _send(self, kind: int, views: Sequence[memoryview], end: float, deadline: float) -> int:
        """Sends a request behind those that are being sent; its id. TimeoutError, EOFError, OSError."""
        if not self._sending.acquire(timeout=max(0.0, end - time.monotonic())):
            raise TimeoutError
        try:
            self._check(kind)
            number = self._id = self._id % _HIGHEST_ID + 1
            header = encode_header(kind, number, sum(map(len, views)), code=self._received)
            with self._turns:
                self._waiting.append((number, deadline))
            self.transport.send([memoryview(header), *views], end)
        finally:
            self._sending.release()
        return number

    def _receive(self, kind: int, number: int, deadline: float) -> Reply:
        """The reply, once those before it are there, who have deadlines of their own. TimeoutError, EOFError, OSError."""
        with self._turns:
            # Those ahead end within their own deadlines, so together within the sum; this one's counts from then.
            ahead = sum(seconds for _, seconds in self._waiting)
            if not self._turns.wait_for(lambda: self._broken is not None or self._waiting[0][0] == number, ahead):
                raise TimeoutError
            self._check(kind)
        end = time.monotonic() + deadline
        raw = bytearray(HEADER_BYTES)
        self.transport.receive_into(memoryview(raw), end)
        header = decode_header(raw)
        check_reply(header, kind, number)
        payload = memoryview(bytearray(header.length))
        if header.length:
            self.transport.receive_into(payload, end)
        with self._turns:
            self._received, _ = self._waiting.popleft()
            self._turns.notify_all()
        return Reply(header.kind, header.status, header.code, payload)

    def ended(self) -> bool:
        """See `Channel.ended`."""
        with self._turns:  # nobody begins a request meanwhile
            return self._broken is not None or (not self._waiting and self.transport.ended())

    def close(self) -> None:
        """Closes the stream: the shim ends with it."""
        with self._turns:
            self._broken = "it was closed"
            self._turns.notify_all()
        self.transport.close()


class DescriptorTransport:
    """A `Transport` over file descriptors (the same one twice for a socket), which become non-blocking."""

    def __init__(self, read_fd: int, write_fd: int, close: Callable[[], None] | None = None) -> None:
        """`close` closes what owns the descriptors; without it they are closed themselves."""
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._close: Callable[[], None] | None = close or self._close_descriptors
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)

    def _close_descriptors(self) -> None:
        for fd in {self._read_fd, self._write_fd}:
            with contextlib.suppress(OSError):
                os.close(fd)

    @staticmethod
    def _wait(fd: int, event: int, end: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        while (left := end - time.monotonic()) > 0:
            if poll.poll(min(left, 3600.0) * 1000):
                return
        raise TimeoutError

    def send(self, parts: Sequence[memoryview], end: float) -> None:
        """See `Transport.send`: scattered parts leave with writev, without being joined."""
        todo = [part for part in parts if len(part)]
        first = 0
        while first < len(todo):
            try:
                sent = os.writev(self._write_fd, todo[first : first + _MAX_VECTORS])
            except BlockingIOError:
                self._wait(self._write_fd, select.POLLOUT, end)
                continue
            while sent:
                piece = min(sent, len(todo[first]))
                sent -= piece
                if piece == len(todo[first]):
                    first += 1
                else:
                    todo[first] = todo[first][piece:]

    def receive_into(self, view: memoryview, end: float) -> None:
        """See `Transport.receive_into`."""
        while len(view):
            try:
                count = os.readv(self._read_fd, [view])
            except BlockingIOError:
                self._wait(self._read_fd, select.POLLIN, end)
                continue
            if count == 0:
                raise EOFError
            view = view[count:]

    def ended(self) -> bool:
        """See `Transport.ended`."""
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Closes the descriptors once."""
        close, self._close = self._close, None
        if close is not None:
            close()
