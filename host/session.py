"""A session walks a plan: delegated steps on the device, the rest on the CPU reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ExecuteResult
from nnapi_toolkit.delegate.graph import Graph, Tensor
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.program import IoBinding, LoweredProgram
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.device import Device, DeviceSession, open_device
from nnapi_toolkit.errors import DriverError, ShimError, UsageError
from nnapi_toolkit.reference.executor import ReferenceExecutor
from nnapi_toolkit.transfers import StepTransfers, plan_transfers
from numpy.typing import NDArray

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]

#: Deadlines in seconds; each wait has one.
COMPILE_DEADLINE = 300.0
EXECUTE_DEADLINE = 120.0


@dataclass(slots=True)
class StepStats:
    """What one step of one inference did. Times in nanoseconds, sizes in bytes."""

    target: str  # "nnapi" or "cpu"
    partition: int | None
    nodes: int
    wall_ns: int
    device_ns: int = 0
    hardware_ns: int | None = None
    driver_ns: int | None = None
    bytes_to_device: int = 0
    bytes_from_device: int = 0
    sent: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    resident: tuple[str, ...] = ()


@dataclass(slots=True)
class RunStats:
    """One inference, step by step."""

    wall_ns: int
    steps: list[StepStats] = field(default_factory=list)

    @property
    def device_ns(self) -> int:
        """Time inside NNAPI executions, by the device's clock."""
        return sum(step.device_ns for step in self.steps)

    @property
    def cpu_ns(self) -> int:
        """Time inside reference kernels on the host."""
        return sum(step.wall_ns for step in self.steps if step.target == "cpu")

    @property
    def host_overhead_ns(self) -> int:
        """End to end minus the time on the device and in reference kernels: protocol, cable and bookkeeping."""
        return max(0, self.wall_ns - self.device_ns - self.cpu_ns)

    def to_json(self) -> dict[str, Any]:
        """The stable form that `nnapi run --json` prints under "stats"."""
        return {
            "wall_us": self.wall_ns / 1e3,
            "device_us": self.device_ns / 1e3,
            "cpu_us": self.cpu_ns / 1e3,
            "host_overhead_us": self.host_overhead_ns / 1e3,
            "steps": [
                {
                    "target": s.target,
                    "partition": s.partition,
                    "nodes": s.nodes,
                    "wall_us": s.wall_ns / 1e3,
                    "device_us": s.device_ns / 1e3,
                    "bytes_to_device": s.bytes_to_device,
                    "bytes_from_device": s.bytes_from_device,
                    "sent": list(s.sent),
                    "received": list(s.received),
                    "resident": list(s.resident),
                }
                for s in self.steps
            ],
        }


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a model is planned and compiled.

    Attributes:
        plan: Options of the partitioner.
        feature_level: Plan for this level instead of the device's own (never above it).
        accelerator: Name of the NNAPI device to compile for; None: the first that is not NNAPI's own CPU.
        preference: NNAPI execution preference (0 low power, 1 fast single answer, 2 sustained speed), None: the default.
        priority: NNAPI priority (90, 100, 110), None: the default.
        allow_fp16: float32 may be computed in float16 (results change).
        burst: Use an NNAPI burst object (feature level 3 and up).
        measure: Ask the driver for its own durations.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    feature_level: int | None = None
    accelerator: str | None = None
    preference: int | None = None
    priority: int | None = None
    allow_fp16: bool = False
    burst: bool = False
    measure: bool = False


class Session:
    """One model on one device, planned, pushed, compiled and ready.

    Use as a context manager, or call `close`. Not safe for use from several threads at once.
    """

    def __init__(
        self,
        model: str | Path | Graph,
        device: str | Device = "auto",
        options: SessionOptions | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Opens the device, plans, pushes what is missing, and compiles every partition.

        Args:
            model: Path of a `.tflite` file, or an opened graph that came from a file.
            device: A device specification (`auto`, `local`, `virtual`, `cpu`, a serial), or an opened device.
            options: See `SessionOptions`.
            progress: Called as (what, done bytes, total bytes) during pushes.

        Raises:
            ModelError: The file does not verify.
            DeviceError, ShimError, DriverError: The device, the pushed program or NNAPI failed.
        """
        self.options = options or SessionOptions()
        self.graph = model if isinstance(model, Graph) else Graph.open(model)
        self._executor = ReferenceExecutor(self.graph)
        self._device: Device | None = None
        self._device_session: DeviceSession | None = None
        self._owned_device: Device | None = None
        self._lost = False
        self.programs: tuple[LoweredProgram, ...] = ()
        self.compile_ns: list[int] = []
        self.pushed_bytes = 0
        self.last_stats: RunStats | None = None
        try:
            if device == "cpu":
                self.plan = make_plan(self.graph, None, self.options.plan)
            else:
                self._open(device, progress)
            self._transfers = self._plan_transfers()
        except BaseException:
            self.close()
            raise

    # -- opening ------------------------------------------------------------------------------------------------

    def _open(self, device: str | Device, progress: Progress | None) -> None:
        if self.graph.path is None:
            raise UsageError("a model that runs on a device must come from a file: write the bytes to one first")
        if isinstance(device, str):
            device = self._owned_device = open_device(device, progress=progress)
        self._device = device
        session = self._device_session = device.start(self.graph.path, self.graph.sha256, progress=progress)
        level = session.hello.feature_level
        accelerator, number = self._choose_accelerator(session)
        if accelerator is not None:
            level = min(level, accelerator.feature_level)
        if self.options.feature_level is not None:
            if self.options.feature_level > level:
                raise UsageError(
                    f"feature level {self.options.feature_level} is above what {session.name} offers ({level}); "
                    f"leave it out or choose at most {level}"
                )
            level = self.options.feature_level
        target = Target(
            level,
            api_level=session.info.api_level,
            device_selected=number is not None,
            allow_fp16=self.options.allow_fp16,
        )
        self._accelerator = number
        self.plan = make_plan(self.graph, target, self.options.plan, supports=self._supports)
        self.programs = tuple(self.plan.lower())
        self._load(progress)

    def _choose_accelerator(self, session: DeviceSession) -> tuple[Any | None, int | None]:
        devices = session.hello.devices
        if self.options.accelerator is not None:
            for number, found in enumerate(devices):
                if found.name == self.options.accelerator:
                    return found, number
            names = ", ".join(d.name for d in devices) or "none"
            raise UsageError(f"accelerator '{self.options.accelerator}' is not on {session.name}: it has {names}")
        for number, found in enumerate(devices):
            if found.name != "nnapi-reference":
                return found, number
        return None, None

    def _supports(self, program: LoweredProgram) -> Sequence[bool]:
        assert self._device_session is not None
        if self._accelerator is None:
            return [True] * len(program.operation_nodes)
        self._device_session.provide_side(program.side)
        return self._device_session.client.supported(program.data, device=self._accelerator)

    def _load(self, progress: Progress | None) -> None:
        session = self._device_session
        assert session is not None
        self.compile_ns = []
        if self.programs:
            session.provide_side(self.programs[-1].side)
        for number, program in enumerate(self.programs):
            loaded = session.client.load(
                number,
                program.data,
                device=self._accelerator,
                preference=self.options.preference,
                priority=self.options.priority,
                relax_fp16=self.options.allow_fp16,
                burst=self.options.burst,
                deadline=COMPILE_DEADLINE,
            )
            self.compile_ns.append(loaded.build_ns + loaded.compile_ns)
            if progress is not None:
                progress("compile", number + 1, len(self.programs))
        self.pushed_bytes = session.pushed_bytes

    def _restart(self) -> None:
        """Starts the program on the device anew after it was lost; plan and files stay, so nothing is pushed."""
        assert self._device is not None and self._device_session is not None
        self._device_session.close()
        self._device_session = self._device.start(self.graph.path, self.graph.sha256)
        self._load(None)
        self._lost = False

    def _plan_transfers(self) -> list[StepTransfers | None]:
        return plan_transfers(self.graph.subgraphs[0], self.plan.steps(0), self.programs)

    # -- running ------------------------------------------------------------------------------------------------

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The model's inputs, in order."""
        main = self.graph.subgraphs[0]
        return tuple(main.tensors[i] for i in main.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """The model's outputs, in order."""
        main = self.graph.subgraphs[0]
        return tuple(main.tensors[i] for i in main.outputs)

    def run(self, inputs: Sequence[Array] | Mapping[str, Array]) -> list[Array]:
        """One inference.

        Args:
            inputs: Arrays in the model's input order, or by tensor name or `input_N`; dtypes and shapes are the model's.

        Returns:
            Outputs in the model's order.

        Raises:
            UsageError: An input is missing, or has another dtype or shape than the model's.
            DeviceError, ShimError, DriverError: The device side failed. If the program there was lost, the next call
                starts it again.
        """
        values = dict(zip(self.graph.subgraphs[0].inputs, self._check_inputs(inputs)))
        return self.run_values(values)

    def run_values(self, values: dict[int, Array]) -> list[Array]:
        """As `run`, from a dict of tensor index to array, which afterwards also holds every tensor that reached the host."""
        if self._lost:
            self._restart()
        main = self.graph.subgraphs[0]
        begin = time.perf_counter_ns()
        stats = RunStats(0)
        self._executor.begin(0, values)
        for step, transfers in zip(self.plan.steps(0), self._transfers):
            if transfers is None or step.partition is None:
                start = time.perf_counter_ns()
                self._executor.run_operators(0, step.nodes, values)
                wall = time.perf_counter_ns() - start
                stats.steps.append(StepStats("cpu", None, len(step.nodes), wall))
            else:
                stats.steps.append(self._run_partition(step.partition, len(step.nodes), transfers, values))
        outputs = [self._value(values, index) for index in main.outputs]
        stats.wall_ns = time.perf_counter_ns() - begin
        self.last_stats = stats
        return outputs

    def _value(self, values: Mapping[int, Array], index: int) -> Array:
        if index in values:
            return values[index]
        tensor = self.graph.subgraphs[0].tensors[index]
        if tensor.is_variable:
            return self._executor.variable(tensor, 0)
        if tensor.data is None:
            raise RuntimeError(f"tensor {index} '{tensor.name}' was never computed: the plan is not complete")
        return tensor.data

    def _run_partition(self, number: int, nodes: int, transfers: StepTransfers, values: dict[int, Array]) -> StepStats:
        session = self._device_session
        assert session is not None
        start = time.perf_counter_ns()
        inputs = [
            ExecuteInput(slot=t.slot, data=None if t.resident else self._to_device(t.binding, values))
            for t in transfers.inputs
        ]
        outputs = [ExecuteOutput(slot=t.slot, send=t.send, capacity=t.binding.length) for t in transfers.outputs]
        try:
            result: ExecuteResult = session.client.execute(
                number, inputs, outputs, measure=self.options.measure, deadline=EXECUTE_DEADLINE
            )
        except ShimError as error:
            self._lost = not isinstance(error, DriverError)
            error.args = (f"{session.name}, partition {number}: {error}",)
            raise
        received = 0
        for t, reply in zip(transfers.outputs, result.outputs):
            if t.send:
                array = self._from_device(t.binding, reply.data, reply.shape)
                received += reply.length
                if t.binding.variable:
                    self._executor.set_variable(0, t.binding.tensor, array)
                else:
                    values[t.binding.tensor] = array
        names = self.graph.subgraphs[0].tensors
        return StepStats(
            "nnapi",
            number,
            nodes,
            time.perf_counter_ns() - start,
            device_ns=result.execute_ns,
            hardware_ns=result.hardware_ns,
            driver_ns=result.driver_ns,
            bytes_to_device=sum(t.binding.length for t in transfers.inputs if not t.resident),
            bytes_from_device=received,
            sent=tuple(names[t.binding.tensor].name for t in transfers.inputs if not t.resident),
            received=tuple(names[t.binding.tensor].name for t in transfers.outputs if t.send),
            resident=tuple(names[t.binding.tensor].name for t in transfers.inputs if t.resident),
        )

    def _to_device(self, binding: IoBinding, values: Mapping[int, Array]) -> memoryview:
        array = np.ascontiguousarray(self._value(values, binding.tensor))
        raw = array.reshape(-1).view(np.uint8)
        if binding.xor:
            raw = raw ^ np.uint8(binding.xor)
        return raw.data

    def _from_device(self, binding: IoBinding, data: memoryview, shape: Sequence[int]) -> Array:
        tensor = self.graph.subgraphs[0].tensors[binding.tensor]
        raw = np.frombuffer(data, np.uint8)
        if binding.xor:
            raw = raw ^ np.uint8(binding.xor)
        array = raw.view(tensor.dtype)
        wanted = tensor.shape if int(np.prod(tensor.shape)) == array.size else tuple(shape)
        return array.reshape(wanted)

    def _check_inputs(self, inputs: Sequence[Array] | Mapping[str, Array]) -> list[Array]:
        tensors = self.input_tensors
        if isinstance(inputs, Mapping):
            chosen = []
            for position, tensor in enumerate(tensors):
                key = tensor.name if tensor.name in inputs else f"input_{position}"
                if key not in inputs:
                    raise UsageError(
                        f"input {position} '{tensor.name}' is missing: give it under its name or as 'input_{position}'"
                    )
                chosen.append(inputs[key])
        else:
            chosen = list(inputs)
        if len(chosen) != len(tensors):
            raise UsageError(f"the model has {len(tensors)} inputs, {len(chosen)} were given")
        return [check_array(position, tensor, value) for position, (tensor, value) in enumerate(zip(tensors, chosen))]

    # -- end ----------------------------------------------------------------------------------------------------

    @property
    def device_name(self) -> str:
        """The device's serial, or `cpu`."""
        return self._device_session.name if self._device_session is not None else "cpu"

    @property
    def device_session(self) -> DeviceSession | None:
        """The open device half, or None for the CPU reference."""
        return self._device_session

    def reset_variables(self) -> None:
        """Sets all variable tensors back to zero."""
        self._executor.reset()

    def close(self) -> None:
        """Ends the program on the device and frees what this session opened. May be called twice."""
        session, self._device_session = self._device_session, None
        owned, self._owned_device = self._owned_device, None
        try:
            if session is not None:
                session.close()
        finally:
            if owned is not None:
                owned.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_array(position: int, tensor: Tensor, value: Array) -> Array:
    """Returns the value as an array of the tensor's dtype and shape, or says how it differs.

    A signature's unknown dimensions (-1) accept any size; everything else must be equal.

    Raises:
        UsageError: dtype or shape differ.
    """
    array = np.asarray(value)
    if array.dtype != tensor.dtype:
        raise UsageError(
            f"input {position} '{tensor.name}' has dtype {array.dtype}, the model wants {np.dtype(tensor.dtype)}: "
            f"convert it first"
        )
    wanted = tensor.shape_signature or tensor.shape
    fits = array.ndim == len(wanted) and all(w in (-1, have) for w, have in zip(wanted, array.shape))
    if not fits:
        raise UsageError(
            f"input {position} '{tensor.name}' has shape {list(array.shape)}, the model wants {list(wanted)}"
        )
    return array
