"""Shell protocol version 2: standard input, output, error and the exit code on one stream, in framed packets.

One process supervises (this code), a second one runs the shell; terminals get a real pseudo terminal of the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import struct
import termios
from collections.abc import Callable
from typing import Final

_PACKET: Final = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN, _WINDOW_SIZE = range(6)
_CHUNK: Final = 64 * 1024
_MAX_PACKET: Final = 16 << 20


def run_framed(stream: socket.socket, run: Callable[[], int]) -> int:
    """Runs `run` in a child with three pipes, and carries them over `stream`."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    child = os.fork()
    if child == 0:
        _exit_with(run, (in_read, out_write, err_write))
    for descriptor in (in_read, out_write, err_write):
        os.close(descriptor)
    return _Supervisor(stream, child, in_write, {out_read: _STDOUT, err_read: _STDERR}, framed=True).run()


def run_on_terminal(stream: socket.socket, run: Callable[[], int], framed: bool) -> int:
    """Runs `run` in a child with a pseudo terminal, and carries it over `stream`, framed or as it is."""
    master, slave = os.openpty()
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        _exit_with(run, (slave, slave, slave))
    os.close(slave)
    return _Supervisor(stream, child, os.dup(master), {master: _STDOUT}, framed).run()


def _exit_with(run: Callable[[], int], descriptors: tuple[int, int, int]) -> None:
    status = 1
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        status = run()
    finally:
        os._exit(status & 255)


class _Supervisor:
    """Moves bytes between the stream and the child's descriptors until the child has ended and all is said."""

    def __init__(
        self, stream: socket.socket, child: int, stdin: int, outputs: dict[int, int], framed: bool
    ) -> None:
        self.stream = stream
        self.child = child
        self.stdin = stdin
        self.outputs = outputs
        self.framed = framed
        self.received = bytearray()
        self.to_child = bytearray()
        self.stdin_ends = False
        self.blocked = False
        self.selector = selectors.DefaultSelector()

    def run(self) -> int:
        """The child's exit status, which is also sent when the stream is framed."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for number in range(3):  # the stream's copies: only `self.stream` may keep it open
            os.dup2(null, number, inheritable=False)
        pid_descriptor = os.pidfd_open(self.child)
        os.set_blocking(self.stdin, False)
        selector = self.selector
        selector.register(self.stream, selectors.EVENT_READ)
        selector.register(pid_descriptor, selectors.EVENT_READ)
        for descriptor in self.outputs:
            selector.register(descriptor, selectors.EVENT_READ)
        ended = False
        try:
            while not ended:
                for key, _ in selector.select():
                    if key.fileobj is self.stream:
                        self._from_stream()
                    elif key.fd == pid_descriptor:
                        ended = True
                    elif key.fd == self.stdin:
                        self._feed_child()
                    else:
                        self._from_child(key.fd)
            for descriptor in list(self.outputs):
                os.set_blocking(descriptor, False)
                while self._from_child(descriptor):
                    pass
        except (ConnectionError, EOFError):
            os.kill(self.child, signal.SIGKILL)
        return self._finish()

    def _finish(self) -> int:
        _, status = os.waitpid(self.child, 0)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code
        if self.framed:
            with contextlib.suppress(OSError):
                self.stream.sendall(_PACKET.pack(_EXIT, 1) + bytes([code & 255]))
        return code

    # -- from the host to the child -----------------------------------------------------------------------------

    def _from_stream(self) -> None:
        data = self.stream.recv(_CHUNK)
        if not data:
            raise EOFError
        if not self.framed:
            self.to_child += data
        else:
            self.received += data
            self._take_packets()
        self._feed_child()

    def _take_packets(self) -> None:
        while len(self.received) >= _PACKET.size:
            kind, length = _PACKET.unpack_from(self.received)
            if length > _MAX_PACKET:
                raise EOFError
            if len(self.received) < _PACKET.size + length:
                return
            payload = bytes(self.received[_PACKET.size : _PACKET.size + length])
            del self.received[: _PACKET.size + length]
            if kind == _STDIN:
                self.to_child += payload
            elif kind == _CLOSE_STDIN:
                self.stdin_ends = True
            elif kind == _WINDOW_SIZE:
                self._resize(payload)

    def _resize(self, payload: bytes) -> None:
        with contextlib.suppress(ValueError, OSError):
            rows, columns = payload.split(b",")[0].split(b"x")
            fcntl.ioctl(self.stdin, termios.TIOCSWINSZ, struct.pack("<4H", int(rows), int(columns), 0, 0))

    def _feed_child(self) -> None:
        if self.stdin < 0:
            self.to_child.clear()
            return
        try:
            while self.to_child:
                del self.to_child[: os.write(self.stdin, self.to_child)]
        except BlockingIOError:
            self._wait_for_child(True)
            return
        except OSError:  # the child reads no more
            self.to_child.clear()
            self.stdin_ends = True
        self._wait_for_child(False)
        if self.stdin_ends:
            os.close(self.stdin)
            self.stdin = -1

    def _wait_for_child(self, blocked: bool) -> None:
        """While the child does not read, the stream is not read either: nothing piles up here."""
        if blocked == self.blocked:
            return
        self.blocked = blocked
        if blocked:
            self.selector.unregister(self.stream)
            self.selector.register(self.stdin, selectors.EVENT_WRITE)
        else:
            self.selector.unregister(self.stdin)
            self.selector.register(self.stream, selectors.EVENT_READ)

    # -- from the child to the host -----------------------------------------------------------------------------

    def _from_child(self, descriptor: int) -> bool:
        """Carries one piece of output; False when there is none (for now, or any more)."""
        if descriptor not in self.outputs:
            return False
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose other side is closed
            data = b""
        if not data:
            self.selector.unregister(descriptor)
            del self.outputs[descriptor]
            os.close(descriptor)
            return False
        self.stream.sendall(_PACKET.pack(self.outputs[descriptor], len(data)) + data if self.framed else data)
        return True
