"""The device half of a session: the program on the device, started and started again, and the requests to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from nnapi_toolkit.android.errors import DriverError, ShimError, WorkerLostError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ExecuteResult, Library, NnapiDevice
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.device import Device, DeviceSession
from nnapi_toolkit.errors import DeviceError, UsageError
from nnapi_toolkit.failures import PartitionFailedError
from nnapi_toolkit.options import NNAPI_CPU, PREFERENCES, PRIORITIES, SessionOptions, cache_token, choose_devices

Progress = Callable[[str, int, int], None]

#: The device's own limit comes first, so that its answer, which names the phase, arrives before ours.
_MARGIN = 0.93
_USUAL_DEADLINES = (SessionOptions().compilation_deadline_seconds, SessionOptions().execution_deadline_seconds)


class Remote:
    """One model's program on one device.

    A request that fails in a way that NNAPI's driver may be to blame for raises PartitionFailedError; the program on the device
    may be lost with it. `alive` brings it back.

    Attributes:
        session: The device's session.
        choice: The NNAPI devices that programs are compiled for.
        softnn: Software NNAPI beside the device's own, None without a fallback on the device.
        loaded: Numbers of the programs that are loaded now.
        pids: The processes on the device so far.
        pushed_bytes: Bytes of files that were pushed so far.
    """

    def __init__(self, device: Device, graph: Graph, options: SessionOptions, progress: Progress | None = None) -> None:
        """Starts it. Raises as `Device.start`, and UsageError for options that the device cannot fulfil."""
        if graph.path is None:
            raise UsageError("a model that runs on a device must come from a file: write the bytes to one first")
        self.device = device
        self.graph = graph
        self.options = options
        self.loaded: set[int] = set()
        self.pids: list[int] = []
        self._pushed = 0
        self._lost = ""  # "worker": the process that runs NNAPI; "session": everything, or it is to be begun anew
        self.softnn: Library | None = None
        self.session: DeviceSession = self._start(progress)
        try:
            self.choice = choose_devices(options, self.session.hello, self.session.name)
        except BaseException:
            self.session.close()
            raise

    @property
    def name(self) -> str:
        """What messages call the device."""
        return self.session.name

    @property
    def pushed_bytes(self) -> int:
        """Bytes of files that were pushed so far."""
        return self._pushed + self.session.pushed_bytes

    # -- life ---------------------------------------------------------------------------------------------------

    def _start(self, progress: Progress | None = None) -> DeviceSession:
        session = self.device.start(self.graph.path, self.graph.sha256, progress=progress)
        try:
            self._greeted(session, progress)
        except BaseException:
            session.close()
            raise
        return session

    def _greeted(self, session: DeviceSession, progress: Progress | None = None) -> None:
        """After each hello: the limits that the device watches over, where they are not the usual ones; the second library."""
        self.loaded.clear()
        self.pids.append(session.hello.pid)
        deadlines = (self.options.compilation_deadline_seconds, self.options.execution_deadline_seconds)
        if deadlines != _USUAL_DEADLINES:
            load, execute = (_MARGIN * seconds for seconds in deadlines)
            session.client.hello(session.hello.build_hash, load_limit=load, execute_limit=execute)
        if self.options.fallback == "device":
            try:
                self.softnn = session.provide_softnn(self.options.fallback_threads, progress)
            except ShimError as error:
                error.args = (f"{session.name}: software NNAPI, for the fallback on the device: {error}",)
                raise

    @property
    def lost(self) -> bool:
        """The program on the device has to be begun anew; its programs are gone."""
        if not self._lost and self.session.ended():
            self._lost = "session"
        return bool(self._lost)

    def forget(self) -> None:
        """The next use begins with a fresh program on the device."""
        self._lost = "session"

    def alive(self) -> DeviceSession:
        """The device's session, begun anew if it was lost.

        Raises:
            DeviceError, ShimError: As `Device.start`.
        """
        lost, self._lost = self._lost, "session"  # until it has worked
        if lost == "worker":
            self.session.restart()
            self._greeted(self.session)
        elif lost:
            self._pushed += self.session.pushed_bytes
            self.session.close()
            try:
                self.session = self._start()
            except DeviceError as error:
                error.message = f"the program on the device has ended and cannot be started again: {error.message}"
                error.serial = self.name
                raise
        self._lost = ""
        return self.session

    def close(self) -> None:
        """Ends the program on the device. Never raises."""
        self.session.close()

    # -- requests -----------------------------------------------------------------------------------------------

    def supported(self, program: LoweredProgram) -> list[bool]:
        """Which operations of a program the devices that it is for take. Raises PartitionFailedError."""
        session = self.alive()
        session.provide_side(program.side)
        library, devices = self._devices_for(program)
        with self._blame(None, program):
            return session.client.supported(program.data, library=library, devices=[device.index for device in devices])

    def _devices_for(self, program: LoweredProgram) -> tuple[int, Sequence[NnapiDevice]]:
        """The number of the library that runs a program, and the NNAPI devices that it is compiled for."""
        if program.target == "nnapi":
            return 0, self.choice.devices
        assert self.softnn is not None
        return self.softnn.number, [device for device in self.softnn.devices if device.name != NNAPI_CPU][:1]

    def load(self, number: int, program: LoweredProgram, cache_salt: bytes | None = None) -> int:
        """Compiles a program under a free number; the nanoseconds that it took on the device.

        Args:
            number: Partitions have their own index.
            program: One of this model.
            cache_salt: Use the device's own cache directory, whatever the options say, with tokens of this salt.

        Raises:
            PartitionFailedError: The driver failed.
            DeviceError, ShimError: The device or the program on it is lost.
        """
        session, options = self.session, self.options
        session.provide_side(program.side)
        directory = "auto" if cache_salt is not None else options.cache_directory or ""
        if directory == "auto":
            directory = session.cache_directory
        token = b""
        library, devices = self._devices_for(program)
        if directory:
            path = self.softnn.path if library and self.softnn is not None else ""
            weights = (self.graph.sha256, program.side.sha256, (cache_salt or b"").hex(), path)
            token = cache_token(program.data, weights, devices, options)
        with self._blame(number, program):
            result = session.client.load(
                number,
                program.data,
                library=library,
                devices=[device.index for device in devices],
                preference=None if options.preference is None else PREFERENCES[options.preference],
                priority=None if options.priority is None else PRIORITIES[options.priority],
                relax_fp16=options.allow_fp16,
                burst=options.burst,
                timeout=options.compilation_timeout_seconds or 0.0,
                cache_directory=directory,
                cache_token=token,
                deadline=options.compilation_deadline_seconds,
            )
        self.loaded.add(number)
        return result.build_ns + result.compile_ns

    def unload_all(self) -> None:
        """Frees all loaded programs. Raises as `load`, but not where they are gone with their process."""
        with contextlib.suppress(WorkerLostError):
            for number in sorted(self.loaded):
                self.unload(number)

    def unload(self, number: int) -> None:
        """Frees a loaded program."""
        self.loaded.discard(number)
        with self._blame(None, None):
            self.session.client.unload(number)

    def execute(
        self, number: int, program: LoweredProgram, inputs: Sequence[ExecuteInput], outputs: Sequence[ExecuteOutput]
    ) -> ExecuteResult:
        """Runs a loaded program once. Raises as `load`."""
        with self._blame(number, program):
            return self.session.client.execute(
                number,
                inputs,
                outputs,
                measure=self.options.measure,
                timeout=self.options.execution_timeout_seconds or 0.0,
                deadline=self.options.execution_deadline_seconds,
            )

    @contextlib.contextmanager
    def _blame(self, number: int | None, program: LoweredProgram | None) -> Iterator[None]:
        """Tells failures that may be the driver's from a lost device, and remembers what is lost."""
        try:
            yield
        except (DriverError, WorkerLostError) as error:
            if isinstance(error, WorkerLostError):
                self._lost = "worker"
            if program is None:
                raise
            raise PartitionFailedError(number, program, error) from error
        except ShimError as error:
            self._lost = "session"
            where = "" if number is None else f", partition {number}"
            error.args = (f"{self.name}{where}: {error}",)
            raise
