"""A session walks a plan: delegated steps on the device, the rest on the CPU reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from nnapi_toolkit import failures
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.arrays import Array, check_array, check_inputs
from nnapi_toolkit.delegate.cost import node_cost
from nnapi_toolkit.delegate.graph import Graph, Tensor
from nnapi_toolkit.delegate.partition import Plan, Step, make_plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.device import AdbDevice, Device, DeviceSession, open_device
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.failures import Failure, PartitionFailedError
from nnapi_toolkit.options import SessionOptions
from nnapi_toolkit.reference.executor import ReferenceExecutor
from nnapi_toolkit.remote import Progress, Remote
from nnapi_toolkit.stats import RunStats, StepStats
from nnapi_toolkit.transfers import (
    StepTransfers,
    from_device,
    plan_transfers,
    svdf_state_for_tflite,
    svdf_states,
    to_device,
)

__all__ = ["RunStats", "Session", "SessionOptions", "StepStats", "check_array"]

Value = TypeVar("Value")
#: Values of variable tensors, by subgraph and tensor; resource variables; states that are kept as NNAPI keeps them.
State = tuple[dict[tuple[int, int], Array], dict[Any, Any], set[int]]


class Session:
    """One model on one device, planned, pushed, compiled and ready.

    Use as a context manager, or call `close`. Not safe for use from several threads at once.

    Attributes:
        graph: The model.
        plan: What runs where.
        programs: The lowered partitions, by index.
        compile_ns: For each partition, the time that its compilation took on the device.
        remote: The device half, None for the CPU reference.
        failures: What the driver failed at, oldest first.
        fallback: Partitions that failed and run on the CPU reference since (`on_failure="cpu"`).
        last_stats: Of the last inference.
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
            UsageError: The device cannot do what the options ask.
            DeviceError, ShimError, DriverError: The device, the pushed program or NNAPI failed.
        """
        self.options = options or SessionOptions()
        self.graph = model if isinstance(model, Graph) else Graph.open(model)
        self._executor = ReferenceExecutor(self.graph)
        self._nnapi_states: set[int] = set()
        self._variables = [(s.index, t) for s in self.graph.subgraphs for t in s.tensors if t.is_variable]
        self.remote: Remote | None = None
        self._owned_device: Device | None = None
        self.programs: tuple[LoweredProgram, ...] = ()
        self.compile_ns: list[int] = []
        self.failures: list[Failure] = []
        self.fallback: set[int] = set()
        self.last_stats: RunStats | None = None
        self._steps: tuple[Step, ...] = ()
        self._transfers: list[StepTransfers | None] = []
        self._name = "cpu"
        try:
            if device == "cpu":
                self.plan = make_plan(self.graph, None, self.options.plan)
            else:
                self._open(device, progress)
            self._plan_transfers()
        except BaseException:
            self.close()
            raise

    # -- opening ------------------------------------------------------------------------------------------------

    def _open(self, device: str | Device, progress: Progress | None) -> None:
        if isinstance(device, str):
            device = self._owned_device = open_device(device, progress=progress)
        remote = self.remote = Remote(device, self.graph, self.options, progress)
        self._name = remote.name
        if not remote.choice.usable:
            self.plan = _nothing_delegated(self.graph, self.options)
            return
        level = remote.choice.level
        if self.options.feature_level is not None:
            if self.options.feature_level > level:
                raise UsageError(
                    f"feature level {self.options.feature_level} is above what {remote.name} offers ({level}); "
                    f"leave it out or choose at most {level}"
                )
            level = self.options.feature_level
        self.options.check_level(remote.choice.level, remote.choice.indices, remote.name)
        target = Target(
            level,
            api_level=remote.session.info.api_level,
            device_selected=bool(remote.choice.devices),
            allow_fp16=self.options.allow_fp16,
        )
        self.plan = make_plan(self.graph, target, self.options.plan, supports=self._supports)
        self.programs = tuple(self.plan.lower())
        self.compile_ns = [0] * len(self.programs)
        self._persist(lambda: self._load(progress))

    def _supports(self, program: LoweredProgram) -> Sequence[bool]:
        """What the chosen devices take of a program. A driver that fails at the question takes nothing of it."""
        remote = self._remote()
        if not remote.choice.devices:
            return [True] * len(program.operation_nodes)
        try:
            return remote.supported(program)
        except PartitionFailedError as failed:
            answer = self._handle(failed, lambda: remote.supported(program))
            return [False] * len(program.operation_nodes) if answer is None else answer[0]

    def _load(self, progress: Progress | None = None) -> None:
        """Compiles every partition that is not compiled and has not failed. Raises PartitionFailedError."""
        remote = self._remote()
        remote.alive()
        for number, program in enumerate(self.programs):
            if number not in self.fallback and number not in remote.loaded:
                self.compile_ns[number] = remote.load(number, program)
            if progress is not None:
                progress("compile", number + 1, len(self.programs))

    def _remote(self) -> Remote:
        assert self.remote is not None, "the session runs on the CPU reference alone, or is closed"
        return self.remote

    def _plan_transfers(self) -> None:
        """Works out what crosses the cable; partitions that failed count as CPU steps."""
        steps = self.plan.steps(0)
        self._steps = tuple(Step(None, s.nodes) if s.partition in self.fallback else s for s in steps)
        self._transfers = plan_transfers(self.graph.subgraphs[0], self._steps, self.programs)

    # -- failures -----------------------------------------------------------------------------------------------

    def _persist(self, attempt: Callable[[], Value]) -> Value:
        """`attempt()`, again with one partition less on the device each time the driver fails, if the options want it so.

        Raises:
            DriverError, WorkerLostError: The driver failed, and the options say `error`.
        """
        while True:
            try:
                return attempt()
            except PartitionFailedError as failed:
                answer = self._handle(failed, attempt)
                if answer is not None:
                    return answer[0]

    def _handle(self, failed: PartitionFailedError, attempt: Callable[[], Value]) -> tuple[Value] | None:
        """Tries once more and looks into the device's log; then what the options say.

        Returns:
            What the second attempt returned; None where it failed too, and the partition runs on the CPU from now on.

        Raises:
            DriverError, WorkerLostError: The options say `error`.
        """
        remote = self._remote()
        outcome, log, retry = self._second_attempt(failed, attempt)
        if isinstance(outcome, PartitionFailedError) and outcome.partition == failed.partition:
            failed = outcome
        worked = not isinstance(outcome, Exception)
        action = "retried" if worked and self.options.on_failure != "error" else self.options.on_failure
        plan = self.plan if failed.partition is not None else None
        failure = failures.report(failed, remote.name, plan, self.graph.subgraphs[0], log, retry, action)
        self.failures.append(failure)
        if action == "error":
            raise failures.attach(failed.error, failure) from None
        if not isinstance(outcome, Exception):
            return (outcome,)
        if failed.partition is not None:
            self.fallback.add(failed.partition)
            self._plan_transfers()
        return None

    def _second_attempt(
        self, failed: PartitionFailedError, attempt: Callable[[], Value]
    ) -> tuple[Value | Exception, failures.Log, str]:
        """Once more on a fresh program with the verbose log on: what came of it, the log, and a word on it."""
        remote = self._remote()
        if not self.options.diagnose or not isinstance(remote.device, AdbDevice):
            return failed, failures.Log(), ""
        not_made = failures.why_not_again(failed.error)
        if not_made:
            seconds = self.options.compilation_deadline_seconds + self.options.execution_deadline_seconds
            return failed, failures.log_of_last(remote.device, seconds, remote.pids), not_made
        remote.forget()
        outcome, log = failures.again_with_log(remote.device, attempt, remote.pids)
        remote.forget()  # what comes next runs without the verbose log
        if not isinstance(outcome, Exception):
            return outcome, log, "it worked, so the failure comes and goes"
        if not isinstance(outcome, PartitionFailedError):
            return outcome, log, f"could not be made: {outcome}"
        same = outcome.partition == failed.partition and str(outcome) == str(failed)
        return outcome, log, "failed in the same way" if same else f"failed otherwise: {outcome}"

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
                starts it again. What the driver failed at is in `failures` too.
        """
        values = dict(zip(self.graph.subgraphs[0].inputs, check_inputs(self.input_tensors, inputs)))
        return self.run_values(values)

    def run_values(self, values: dict[int, Array]) -> list[Array]:
        """As `run`, from a dict of tensor index to array, which afterwards also holds every tensor that reached the host."""
        given, state = dict(values), self._state()
        attempts = 0

        def attempt() -> list[Array]:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                values.clear()
                values.update(given)
                self._set_state(state)
            if self.remote is not None and self.remote.lost:
                self._load()
            return self._walk(values)

        try:
            outputs = self._persist(attempt)
        except BaseException:
            self._set_state(state)  # as if this inference had never been
            raise
        assert self.last_stats is not None
        self.last_stats.attempts = attempts
        return outputs

    def _walk(self, values: dict[int, Array]) -> list[Array]:
        """One inference. Raises PartitionFailedError."""
        begin = time.perf_counter_ns()
        stats = RunStats(0)
        self._executor.begin(0, values)
        for step, planned, transfers in zip(self._steps, self.plan.steps(0), self._transfers):
            if transfers is None or step.partition is None:
                start = time.perf_counter_ns()
                fallback = planned.partition is not None
                if fallback:
                    self._adopt_states(step.nodes)
                self._executor.run_operators(0, step.nodes, values)
                wall = time.perf_counter_ns() - start
                stats.steps.append(StepStats("cpu", planned.partition, len(step.nodes), wall, fallback=fallback))
            else:
                stats.steps.append(self._run_partition(step.partition, len(step.nodes), transfers, values))
        outputs = [self._value(values, index) for index in self.graph.subgraphs[0].outputs]
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
        start = time.perf_counter_ns()
        inputs = [
            ExecuteInput(slot=t.slot, data=None if t.resident else to_device(t.binding, self._value(values, t.binding.tensor)))
            for t in transfers.inputs
        ]
        outputs = [ExecuteOutput(slot=t.slot, send=t.send, capacity=t.binding.length) for t in transfers.outputs]
        result = self._remote().execute(number, self.programs[number], inputs, outputs)
        received = 0
        tensors = self.graph.subgraphs[0].tensors
        for t, reply in zip(transfers.outputs, result.outputs):
            if t.send:
                array = from_device(t.binding, tensors[t.binding.tensor], reply.data, reply.shape)
                received += reply.length
                if t.binding.variable:
                    self._executor.set_variable(0, t.binding.tensor, array)
                    self._nnapi_states.add(t.binding.tensor)
                else:
                    values[t.binding.tensor] = array
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
            sent=tuple(tensors[t.binding.tensor].name for t in transfers.inputs if not t.resident),
            received=tuple(tensors[t.binding.tensor].name for t in transfers.outputs if t.send),
            resident=tuple(tensors[t.binding.tensor].name for t in transfers.inputs if t.resident),
        )

    # -- state --------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        """A copy of everything that outlives an inference."""
        variables = {
            (subgraph, tensor.index): self._executor.variable(tensor, subgraph).copy()
            for subgraph, tensor in self._variables
        }
        return variables, dict(self._executor.resources), set(self._nnapi_states)

    def _adopt_states(self, nodes: Sequence[int]) -> None:
        """Before nodes run on the CPU that ran on the device before: their states as TFLite keeps them."""
        main = self.graph.subgraphs[0]
        for index, memory in svdf_states(main, nodes).items():
            if index in self._nnapi_states:
                state = self._executor.variable(main.tensors[index], 0)
                self._executor.set_variable(0, index, svdf_state_for_tflite(state, memory))
                self._nnapi_states.discard(index)

    def _set_state(self, state: State) -> None:
        variables, resources, nnapi_states = state
        self._nnapi_states = set(nnapi_states)
        for (subgraph, tensor), value in variables.items():
            self._executor.set_variable(subgraph, tensor, value.copy())
        self._executor.resources.clear()
        self._executor.resources.update(resources)

    # -- end ----------------------------------------------------------------------------------------------------

    @property
    def device_name(self) -> str:
        """The device's serial, or `cpu`."""
        return self._name

    def summary(self) -> dict[str, Any]:
        """The plan's summary, as it is now: partitions that failed and run on the CPU count as not delegated."""
        summary = self.plan.summary()
        for number in self.fallback:
            partition = self.plan.partitions[number]
            nodes = self.graph.nodes(partition.subgraph)
            summary["delegated_nodes"] -= len(partition.nodes)
            summary["delegated_macs"] -= sum(node_cost(nodes[index]).macs for index in partition.nodes)
        return summary | {"failed_partitions": sorted(self.fallback)}

    @property
    def device_session(self) -> DeviceSession | None:
        """The open device half, or None for the CPU reference."""
        return None if self.remote is None else self.remote.session

    @property
    def pushed_bytes(self) -> int:
        """Bytes of files that had to be pushed for this session."""
        return 0 if self.remote is None else self.remote.pushed_bytes

    def reset_variables(self) -> None:
        """Sets all variable tensors back to zero."""
        self._executor.reset()
        self._nnapi_states.clear()

    def close(self) -> None:
        """Ends the program on the device and frees what this session opened. May be called twice."""
        remote, self.remote = self.remote, None
        owned, self._owned_device = self._owned_device, None
        try:
            if remote is not None:
                remote.close()
        finally:
            if owned is not None:
                owned.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _nothing_delegated(graph: Graph, options: SessionOptions) -> Plan:
    """The plan for a device that has nothing but NNAPI's own CPU, which the options do not allow."""
    plan = make_plan(graph, None, options.plan)
    reason = Reason(
        "device", "NNAPI", "without a device but its own CPU (nnapi-reference)", "with an accelerator",
        lifted_by="disallow_nnapi_cpu=False (--allow-nnapi-cpu)",
    )  # fmt: skip
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        verdict.refusal = reason
    return plan
