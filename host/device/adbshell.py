"""Commands on the phone: one at a time with its exit status, or many over one shell that stays open.

A phone that vanishes is never mistaken for the end of a command's output, nor a failed command for a successful one.
"""

from __future__ import annotations

import re
import secrets
import struct
import time
from dataclasses import dataclass
from typing import Final

from nnapi_toolkit.errors import DeviceCommandError, DeviceLostError

from .adbclient import OPEN_SECONDS, AdbServer

_PACKET: Final = struct.Struct("<BI")
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_MAX_OUTPUT: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did. Without shell protocol 2 (before Android 7), `stderr` is part of `stdout`."""

    command: str
    status: int
    stdout: bytes
    stderr: bytes
    serial: str = ""

    @property
    def text(self) -> str:
        """The standard output as text."""
        return self.stdout.decode(errors="replace")

    def check(self, advice: str = "") -> CommandResult:
        """Itself.

        Raises:
            DeviceCommandError: The exit status is not 0.
        """
        if self.status != 0:
            output = (self.stdout + self.stderr).decode(errors="replace")
            raise DeviceCommandError(self.command, self.status, output, serial=self.serial, advice=advice)
        return self


def run_command(
    server: AdbServer, serial: str, command: str, seconds: float = 30.0, transport_id: int | None = None
) -> CommandResult:
    """Runs one command line, as a service of its own, with output and error apart.

    The line must be quoted already (`shlex.quote` for every word that is not fixed).

    Raises:
        DeviceLostError: The connection ended before the exit status came.
        DeviceTimeoutError: The command did not end in time.
    """
    end = time.monotonic() + seconds
    if "shell_v2" not in server.features(serial, transport_id):
        with RemoteShell(server, serial, transport_id) as shell:
            return shell.run(command, seconds)
    stream = server.open(serial, f"shell,v2,raw:{command}", min(seconds, OPEN_SECONDS), transport_id)
    output: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
    try:
        while True:
            kind, length = _PACKET.unpack(stream.receive_exactly(_PACKET.size, end))
            if length > _MAX_OUTPUT:
                raise DeviceLostError(f"a shell packet of {length} bytes", serial=serial)
            payload = stream.receive_exactly(length, end)
            if kind == _EXIT:
                status = payload[0] if payload else 255
                return CommandResult(command, status, bytes(output[_STDOUT]), bytes(output[_STDERR]), serial)
            if kind in output:
                output[kind] += payload
    finally:
        stream.close()


class RemoteShell:
    """One shell on the phone that runs command after command: one adb service for all of them."""

    def __init__(self, server: AdbServer, serial: str, transport_id: int | None = None) -> None:
        """Opens the service. Raises as `AdbServer.open`."""
        self.serial = serial
        self._token = secrets.token_hex(8)
        self._stream = server.open(serial, "exec:sh", OPEN_SECONDS, transport_id)
        self._received = bytearray()
        self._closed = False

    def run(self, command: str, seconds: float = 30.0) -> CommandResult:
        """Runs a command line (quoted already, without a newline) in the shell; error output comes with the output.

        Raises:
            DeviceLostError: The connection ended before the exit status came.
            DeviceTimeoutError: The command did not end in time; the shell cannot be used any more.
        """
        end = time.monotonic() + seconds
        marker = f"{self._token}-end"
        self._stream.send(f"{command}\necho {marker} $?\n".encode(errors="surrogateescape"), end)
        pattern = re.compile(re.escape(marker.encode()) + rb" (\d+)\r?\n")
        searched = 0
        try:
            while True:
                if match := pattern.search(self._received, searched):
                    output, status = bytes(self._received[: match.start()]), int(match[1])
                    del self._received[: match.end()]
                    return CommandResult(command, status, output, b"", self.serial)
                searched = max(0, len(self._received) - len(marker) - 8)
                piece = self._stream.receive(1 << 16, end)
                if not piece:
                    raise self._ended(command)
                self._received += piece
                if len(self._received) > _MAX_OUTPUT:
                    raise DeviceLostError(f"'{command[:60]}' writes without end", serial=self.serial)
        except BaseException:
            self.close()
            raise

    def usable(self) -> bool:
        """Whether the next command has a chance: the phone, the cable and the adb server may have gone meanwhile."""
        return not self._closed and not self._stream.ended()

    def _ended(self, command: str) -> DeviceLostError:
        said = bytes(self._received).decode(errors="replace").strip()[-500:]
        return DeviceLostError(
            f"the shell ended in '{command[:100]}'" + (f" after: {said}" if said else ""), serial=self.serial
        )

    def close(self) -> None:
        """Ends the shell."""
        self._closed = True
        self._stream.close()

    def __enter__(self) -> RemoteShell:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()
