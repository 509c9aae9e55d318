"""The process of a virtual device: one thread, one event loop, its services forked from it.

Everything below this process is the phone's (and the private adb server): it adopts orphans, and ends them with itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from .adbserver import adb_binary, start_adb_server
from .config import VirtualConfig
from .connection import Connection, Stream
from .control import Counters, Disk, Faults, ServiceRecord, serve_control
from .filesystem import DeviceFiles
from .processes import descendants
from .services import Service, start_service
from .shell import Phone

#: A program whose stream is gone ends by itself, as on a phone; what is still there after this many seconds is killed.
GRACE_SECONDS = 2.0
_PR_SET_CHILD_SUBREAPER = 36
_STALE_PREFIX = "nnapi-virtual-"


@dataclass(frozen=True, slots=True)
class Started:
    """Where a running device can be reached, as the daemon tells its parent.

    Attributes:
        port: The loopback port for `adb connect`.
        adb_socket: Unix socket of the private adb server, "" without one.
        control: Unix socket for counters and faults.
        root: Host directory of the phone's files.
        process: The daemon.
    """

    port: int
    adb_socket: str
    control: str
    root: str
    process: int

    @property
    def serial(self) -> str:
        """Its name at an adb server after `host:connect`."""
        return f"127.0.0.1:{self.port}"


Announce = Callable[[Started], None]


class Daemon:
    """One running virtual device."""

    def __init__(self, config: VirtualConfig, log: TextIO) -> None:
        """Makes the phone's files; `start` brings it up."""
        self._config = config
        self._log_file = log
        self._loop = asyncio.get_running_loop()
        self._runtime = _runtime_directory()
        root = config.root or f"{self._runtime}/files"
        Path(root).mkdir(parents=True, exist_ok=True)
        self._files = DeviceFiles(root)
        self._properties_path = f"{self._runtime}/properties.json"
        self.disk = Disk()
        self.faults = Faults()
        self.counters = Counters()
        self.authorized = config.state == "device"
        self._connections: set[Connection] = set()
        self._services: dict[int, Service] = {}
        self._records: dict[int, ServiceRecord] = {}
        self._adb = 0
        self._servers: list[asyncio.AbstractServer] = []
        self._stopped = asyncio.Event()
        self._phone = self._make_phone()

    # -- the phone ----------------------------------------------------------------------------------------------

    def _make_phone(self) -> Phone:
        self._files.create_skeleton()
        if self._config.library:
            target = f"{self._files.root}{self._config.library_directory}/libneuralnetworks.so"
            shutil.copyfile(self._config.library, target)
        Path(self._properties_path).write_text(json.dumps(self._config.build_properties()))
        return Phone(
            self._config,
            self._files,
            properties=self._read_properties,
            set_property=self._set_property,
            process_root=os.getpid(),
            free_bytes=self.disk.free,
        )

    def _read_properties(self) -> Mapping[str, str]:
        values: dict[str, str] = json.loads(Path(self._properties_path).read_text())
        return values

    def _set_property(self, name: str, value: str) -> None:
        """Called in a service's process: the file is what all of them share."""
        with open(f"{self._properties_path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            values = dict(self._read_properties())
            values[name] = value
            part = Path(f"{self._properties_path}.part")
            part.write_text(json.dumps(dict(sorted(values.items()))))
            part.replace(self._properties_path)

    @property
    def banner(self) -> str:
        """What the phone says of itself in the handshake."""
        properties = self._config.build_properties()
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        return "".join(f"{name}={properties[name]};" for name in names)

    # -- services (the connection's host) -----------------------------------------------------------------------

    def open_service(self, name: str) -> Service | None:
        """Starts what an OPEN asks for; None (and a line in the log) if that does not exist here."""
        try:
            service = start_service(name, self._phone, self.disk.allow)
        except OSError as error:
            self._log(f"service '{name}' cannot be started: {error}")
            service = None
        record = self.counters.open(name, refused=service is None)
        if service:
            self._services[service.process] = service
            self._records[service.process] = record
        return service

    def close_service(self, service: Service) -> None:
        """The stream is closed: the process has a moment to end by itself."""
        if record := self._records.pop(service.process, None):
            record.closed = True
        self._services.pop(service.process, None)
        self._loop.call_later(GRACE_SECONDS, self._end_group, service.process)

    def count(self, stream: Stream, received: int, sent: int) -> None:
        """Counts one packet of a stream."""
        if record := self._records.get(stream.service.process):
            self.counters.add(record, received, sent)

    def connection_made(self, connection: Connection) -> None:
        """A server has connected; it is sent away by fault, or if it is another user's."""
        self._connections.add(connection)
        self.counters.connections += 1
        if self.faults.refuse_connections:
            self._loop.call_soon(connection.abort)
        elif (user := connection.peer_user()) not in (os.getuid(), 0):
            # Whoever can connect can run programs as this user.
            self._log(f"refused a connection of user {'unknown' if user is None else user}")
            self._loop.call_soon(connection.abort)

    def connection_lost(self, connection: Connection) -> None:
        """A server has gone."""
        self._connections.discard(connection)

    # -- processes ----------------------------------------------------------------------------------------------

    def _end_group(self, group: int) -> None:
        for pid in self._phone_processes():
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) == group:
                    os.kill(pid, signal.SIGKILL)

    def _phone_processes(self) -> list[int]:
        return descendants(os.getpid(), frozenset([self._adb]))

    def _reap(self) -> None:
        """Takes the exit status of every child that has ended, adopted orphans too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._adb:
                self._log(f"the private adb server ended with status {os.waitstatus_to_exitcode(status)}")
                self._adb = 0

    def _end_everything(self) -> None:
        """Kills all that is below this process; new forks of what is being killed too."""
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            below = descendants(os.getpid())
            if not below:
                return
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.005)

    # -- control ------------------------------------------------------------------------------------------------

    async def control(self, request: dict[str, Any]) -> Any:
        """Answers one request of a `ControlClient`."""
        do = request.pop("do")
        if do == "counters":
            return self.counters.to_json()
        if do == "reset":
            self.counters = Counters()
            return None
        if do == "faults":
            self.faults.update(request)
            return None
        if do == "disk":
            self.disk.set_free(request["free"])
            return None
        if do == "drop":
            for connection in list(self._connections):
                connection.abort()
            return None
        if do == "processes":
            return self._phone_processes()
        if do == "kill_adb":
            if self._adb:
                os.kill(self._adb, signal.SIGKILL)
            return self._adb
        if do == "descriptors":
            return len(os.listdir("/proc/self/fd"))
        raise ValueError(f"control request '{do}' does not exist")

    def _log(self, text: str) -> None:
        print(f"virtual device: {text}", file=self._log_file, flush=True)

    # -- life ---------------------------------------------------------------------------------------------------

    async def start(self, port: int, with_adb: bool) -> Started:
        """Listens; with a private adb server if asked for.

        Raises:
            OSError: The port is taken, no space, no processes.
        """
        _become_subreaper()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._stopped.set)
        adb_socket = ""
        if with_adb:
            adb_socket = f"{self._runtime}/adb"
            home = f"{self._runtime}/home"
            os.mkdir(home, 0o700)
            self._adb = start_adb_server(adb_binary(), adb_socket, home)
            self._phone.hidden_processes = frozenset([self._adb])
        listener = socket.create_server(("127.0.0.1", port))
        self._servers.append(await self._loop.create_server(self._accept, sock=listener))
        control = f"{self._runtime}/control"
        self._servers.append(await serve_control(control, self.control))
        return Started(listener.getsockname()[1], adb_socket, control, self._files.root, os.getpid())

    def _accept(self) -> asyncio.BaseProtocol:
        return Connection(self)

    def end_with(self, parent: int) -> None:
        """Stops when the parent closes our standard input, or ends in whatever way."""
        self._loop.add_reader(0, self._stopped.set)
        try:
            self._loop.add_reader(os.pidfd_open(parent), self._stopped.set)
        except OSError:
            self._stopped.set()

    async def wait(self) -> None:
        """Until asked to stop."""
        await self._stopped.wait()

    def close(self) -> None:
        """Ends every process and removes what is only this run's."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self._end_everything()
        shutil.rmtree(self._runtime, ignore_errors=True)


def _become_subreaper() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _runtime_directory() -> str:
    """A fresh folder of this run, reachable by its owner alone; folders of runs that were killed are swept first.

    Its name holds the process; Unix sockets live in it, so it must be short (108 characters).
    """
    base = tempfile.gettempdir()
    if len(base) > 60:
        base = "/tmp"
    for entry in Path(base).glob(f"{_STALE_PREFIX}*"):
        pid = entry.name.removeprefix(_STALE_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and entry.stat().st_uid == os.getuid() and not os.path.exists(f"/proc/{pid}"):
                shutil.rmtree(entry, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{_STALE_PREFIX}{os.getpid()}-", dir=base)


async def _serve(config: VirtualConfig, port: int, announce: Announce, parent: int | None) -> None:
    daemon = Daemon(config, sys.stderr)
    try:
        started = await daemon.start(port, with_adb=parent is not None)
        if parent is not None:
            daemon.end_with(parent)
        announce(started)
        await daemon.wait()
    finally:
        daemon.close()


def serve(config: VirtualConfig, port: int = 0, announce: Announce | None = None) -> None:
    """Runs a virtual device in the foreground until SIGINT or SIGTERM, for `adb connect 127.0.0.1:PORT`.

    Args:
        config: The phone to play.
        port: Loopback port; 0 = a free one.
        announce: Called with `Started` once it listens.

    Raises:
        OSError: The port is taken.
    """
    asyncio.run(_serve(config, port, announce or (lambda started: None), None))


def serve_ephemeral() -> None:
    """The child's side of `launch`: the configuration comes as a line on stdin, the answer goes as a line to stdout.

    It ends when stdin does, or its parent.
    """

    def announce(started: Started) -> None:
        print(json.dumps(asdict(started)), flush=True)

    parent = os.getppid()
    config = VirtualConfig.from_json(sys.stdin.readline())
    try:
        asyncio.run(_serve(config, 0, announce, parent))
    except OSError as error:
        print(json.dumps({"error": f"{error}"}), flush=True)
