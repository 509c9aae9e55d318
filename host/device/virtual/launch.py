"""The parent's side of an ephemeral virtual device: start, know where it is, stop, leave nothing."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from .config import VirtualConfig
from .control import ControlClient

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class VirtualDeviceError(Exception):
    """The virtual device could not be started, or has ended. The message holds the end of its log."""


class VirtualPhone:
    """A running ephemeral virtual device with a private adb server.

    Attributes:
        config: The phone played.
        port: The loopback port on which it listens as adbd does.
        serial: Its name at the private adb server once connected, `127.0.0.1:PORT`.
        adb_socket: Unix socket of the private adb server (`ADB_SERVER_SOCKET=localfilesystem:PATH` for other tools).
        root: Host directory of the phone's files.
        process: The daemon's process.
    """

    def __init__(
        self, config: VirtualConfig, child: subprocess.Popen[bytes], log: IO[bytes], answer: dict[str, object]
    ) -> None:
        """Made by `launch`."""
        self.config = config
        self.port = int(str(answer["port"]))
        self.serial = f"127.0.0.1:{self.port}"
        self.adb_socket = str(answer["adb_socket"])
        self.root = Path(str(answer["root"]))
        self.process = child.pid
        self._control_path = str(answer["control"])
        self._child = child
        self._log = log
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def control(self) -> ControlClient:
        """A connection for counters and faults; close it after use."""
        return ControlClient(self._control_path)

    @property
    def running(self) -> bool:
        """Whether the daemon is there."""
        return self._child.poll() is None

    def log_tail(self) -> str:
        """The end of what the daemon wrote to its log."""
        return _tail(self._log)

    def close(self) -> None:
        """Stops it and waits until it is gone, its adb server and programs too. Safe to call again."""
        with self._lock:
            if self._owner != os.getpid():  # a fork of the owner: not ours to stop
                return
            _stop(self._child)
            self._log.close()

    def __enter__(self) -> VirtualPhone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def launch(config: VirtualConfig, timeout: float = START_SECONDS) -> VirtualPhone:
    """Starts a virtual device in a child process, with a private adb server; both end with this process at the latest.

    Raises:
        VirtualDeviceError: It did not come up within `timeout` seconds, or refused the configuration.
    """
    log = tempfile.TemporaryFile(prefix="nnapi-virtual-log-")  # noqa: SIM115 - lives as long as the phone
    environment = dict(os.environ)
    # The child must find this very package, also when it is used from a source tree without being installed.
    search = [entry for entry in sys.path if entry]
    environment["PYTHONPATH"] = os.pathsep.join(search)
    child = subprocess.Popen(
        [sys.executable, "-m", __package__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,  # a Ctrl-C is for the parent, which then ends the session in order
    )
    try:
        assert child.stdin is not None
        child.stdin.write(config.to_json().encode() + b"\n")
        child.stdin.flush()
        line = _read_line(child, timeout)
        answer = json.loads(line) if line else {}
        if "port" not in answer:
            reason = answer.get("error") or f"it ended or did not answer within {timeout:.0f} s"
            raise VirtualDeviceError(f"the virtual device did not start: {reason}\n{_tail(log)}".rstrip())
    except BaseException as error:
        _stop(child)
        log.close()
        if isinstance(error, BrokenPipeError):
            raise VirtualDeviceError("the virtual device did not start: its process ended at once") from error
        raise
    return VirtualPhone(config, child, log, answer)


def _read_line(child: subprocess.Popen[bytes], timeout: float) -> bytes:
    """One line of the child's standard output, or b"" at its end or after the deadline."""
    assert child.stdout is not None
    end = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, end - time.monotonic())):
                return b""
            piece = os.read(child.stdout.fileno(), 65536)
            if not piece:
                return b""
            line += piece
    return line


def _tail(log: IO[bytes]) -> str:
    with contextlib.suppress(ValueError, OSError):
        size = os.fstat(log.fileno()).st_size
        return os.pread(log.fileno(), 4000, max(0, size - 4000)).decode(errors="replace").strip()
    return ""


def _stop(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(STOP_SECONDS)
