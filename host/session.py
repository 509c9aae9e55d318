"""A session walks a plan: delegated steps on the device, the rest on the CPU reference."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from nnapi_toolkit import failures
from nnapi_toolkit.android.errors import ShimRestartedError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.arrays import Array, check_array, check_inputs
from nnapi_toolkit.delegate.cost import node_cost
from nnapi_toolkit.delegate.fallback import with_softnn
from nnapi_toolkit.delegate.graph import Graph, Tensor
from nnapi_toolkit.delegate.partition import Step, make_plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.delegate.rewrites.folding import freeze_shapes
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.device import AdbDevice, Device, DeviceSession, open_device
from nnapi_toolkit.errors import ToolkitError, UsageError
from nnapi_toolkit.failures import Failure, PartitionFailedError
from nnapi_toolkit.options import SessionOptions
from nnapi_toolkit.pipeline import Gate, Pipeline
from nnapi_toolkit.planning import called_subgraphs, plan_for_device, plan_for_nothing, walked_subgraphs
from nnapi_toolkit.reference.executor import MAX_DEPTH, ReferenceExecutor
from nnapi_toolkit.remote import Progress, Remote
from nnapi_toolkit.schema.enums import TensorType
from nnapi_toolkit.stats import RunStats, StepStats
from nnapi_toolkit.transfers import (
    StepTransfers,
    from_device,
    plan_transfers,
    svdf_state_for_tflite,
    svdf_states,
    to_device,
)

__all__ = ["RunStats", "Session", "SessionOptions", "State", "StepStats", "check_array"]

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class State:
    """Everything that outlives an inference.

    Attributes:
        variables: Values of variable tensors, by subgraph and tensor.
        resources: Resource variables and hash tables.
        nnapi_states: Variables that are as NNAPI keeps them, by subgraph and tensor.
    """

    variables: dict[tuple[int, int], Array]
    resources: dict[Any, Any]
    nnapi_states: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Walk:
    """The steps of a subgraph as they run now, and what each moves."""

    steps: tuple[Step, ...]
    transfers: list[StepTransfers | None]


class _Executor(ReferenceExecutor):
    """The CPU reference, which leaves called subgraphs with delegated parts to the session."""

    def __init__(self, session: Session, keep_intermediates: bool = False) -> None:
        super().__init__(session.graph, keep_intermediates=keep_intermediates)
        self._session = session

    def run(self, subgraph: int, inputs: Sequence[Array]) -> list[Array]:
        """See `ReferenceExecutor.run`."""
        if subgraph == 0 or subgraph not in self._session._walks or self._depth >= MAX_DEPTH:
            return super().run(subgraph, inputs)
        self._depth += 1
        try:
            return self._session._call(subgraph, inputs)
        finally:
            self._depth -= 1


class _NotTogether(Exception):
    """This inference has to have the session to itself."""


class Session:
    """One model on one device, planned, pushed, compiled and ready.

    Use as a context manager, or call `close`. `run` and `submit` may be called from several threads.

    Attributes:
        graph: The model, with the shapes that it is planned for.
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
        self._model = self.graph = model if isinstance(model, Graph) else Graph.open(model)
        self._walks: dict[int, _Walk] = {}
        self._called: dict[tuple[int, int | None], StepStats] = {}  # partitions of called subgraphs, this inference
        self._walked = {0}  # subgraphs whose steps this session runs itself
        self._inner_ns = 0  # time in them so far
        self._executor = _Executor(self)
        self._nnapi_states: set[tuple[int, int]] = set()
        self._variables = [(s.index, t) for s in self.graph.subgraphs for t in s.tensors if t.is_variable]
        self.remote: Remote | None = None
        self._owned_device: Device | None = None
        self.programs: tuple[LoweredProgram, ...] = ()
        self.compile_ns: list[int] = []
        self.failures: list[Failure] = []
        self.fallback: set[int] = set()
        self.last_stats: RunStats | None = None
        self._gate = Gate()
        self._pipeline: Pipeline | None = None
        self._lanes = threading.local()  # a CPU reference for each thread of the pipeline
        self._slots = threading.Lock()  # an inference whose tensors stay on the device between its steps
        self._name = "cpu"
        try:
            if device == "cpu":
                if self.options.fallback == "device":
                    raise UsageError("fallback 'device' needs a device: the CPU reference has none, leave it out")
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
        if not remote.choice.usable and remote.softnn is None:
            self.plan = plan_for_nothing(self.graph, self.options.plan)
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
        self._plan_and_load(
            Target(
                level,
                api_level=remote.session.info.api_level,
                device_selected=bool(remote.choice.devices),
                allow_fp16=self.options.allow_fp16,
            ),
            progress,
        )

    def _plan_and_load(self, target: Target, progress: Progress | None = None) -> None:
        remote, options = self._remote(), self.options.plan
        if remote.choice.usable:
            self.plan = plan_for_device(self.graph, target, options, self._supports)
        else:
            self.plan = plan_for_nothing(self.graph, options, target)
        if remote.softnn is not None:
            self.plan = with_softnn(self.plan, self._supports)
        self.programs = tuple(self.plan.lower())
        self._walked = walked_subgraphs(self.plan)
        self.compile_ns = [0] * len(self.programs)
        self._persist(lambda: self._load(progress))

    def fit(self, inputs: Sequence[Array]) -> None:
        """Plans and compiles anew where the model leaves shapes open and the device's programs are for other ones.

        Args:
            inputs: In the model's order, of shapes that the model allows.

        Raises:
            UnsupportedError: The shapes contradict an operator, or do not tell the shape of a tensor.
            DeviceError, ShimError, DriverError: As the constructor.
        """
        main = self.graph.subgraphs[0]
        shapes = {index: value.shape for index, value in zip(main.inputs, inputs)}
        same = all(main.tensors[index].shape == shape for index, shape in shapes.items())
        if same or self.remote is None or self.plan.target is None:
            return
        remote, target = self.remote, self.plan.target
        self.graph = freeze_shapes(self._model, shapes)
        if not remote.lost:
            remote.unload_all()
        self.fallback.clear()
        self._plan_and_load(target)
        self._plan_transfers()

    def _supports(self, program: LoweredProgram) -> Sequence[bool]:
        """What the devices take that a program is for. A driver that fails at the question takes nothing of it."""
        remote = self._remote()
        if program.target == "nnapi" and not remote.choice.devices:
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
            needed = self.plan.partitions[number].subgraph in self._walked and number not in self.fallback
            if needed and number not in remote.loaded:
                self.compile_ns[number] = remote.load(number, program)
            if progress is not None:
                progress("compile", number + 1, len(self.programs))

    def _remote(self) -> Remote:
        assert self.remote is not None, "the session runs on the CPU reference alone, or is closed"
        return self.remote

    def _plan_transfers(self) -> None:
        """Works out what crosses the cable; partitions that failed count as CPU steps."""
        first_slot = 0
        self._walks.clear()
        for subgraph in self.graph.subgraphs:
            steps = self.plan.steps(subgraph.index)
            now = tuple(Step(None, s.nodes) if s.partition in self.fallback else s for s in steps)
            if subgraph.index == 0 or (subgraph.index in self._walked and any(s.partition is not None for s in now)):
                self._walks[subgraph.index] = _Walk(now, plan_transfers(subgraph, now, self.programs, first_slot))
            first_slot += 2 * len(subgraph.tensors)

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
        subgraph = 0 if plan is None or failed.partition is None else plan.partitions[failed.partition].subgraph
        failure = failures.report(failed, remote.name, plan, self.graph.subgraphs[subgraph], log, retry, action)
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
        main = self._model.subgraphs[0]
        return tuple(main.tensors[i] for i in main.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """The model's outputs, in order."""
        main = self._model.subgraphs[0]
        return tuple(main.tensors[i] for i in main.outputs)

    def run(self, inputs: Sequence[Array] | Mapping[str, Array]) -> list[Array]:
        """One inference.

        Args:
            inputs: Arrays in the model's input order, or by tensor name or `input_N`; dtypes and shapes are the model's. Where it
                leaves dimensions open, another shape than the last one's means planning and compiling anew (see `fit`).

        Returns:
            Outputs in the model's order.

        Raises:
            UsageError: An input is missing, or has another dtype or shape than the model's.
            DeviceError, ShimError, DriverError: The device side failed. If the program there was lost, the next call
                starts it again. What the driver failed at is in `failures` too.
        """
        return self._run_alone(check_inputs(self.input_tensors, inputs))

    def submit(self, inputs: Sequence[Array] | Mapping[str, Array]) -> Future[list[Array]]:
        """Begins an inference and returns at once, or when there is a place among the `pipeline_depth` under way.

        The next inference's inputs travel while the device computes this one, and CPU steps overlap with delegated ones. Models
        with state (variables, resources) and those that call subgraphs run one inference after the other, in the order given.

        Args:
            inputs: As for `run`; they must not be changed before the result is there.

        Returns:
            A future of what `run` returns or raises. `last_stats` are those of the inference that ended last.

        Raises:
            UsageError: An input is missing, or has another dtype or shape than the model's.
        """
        arrays = check_inputs(self.input_tensors, inputs)
        if self._pipeline is None:
            together = self._infer_together if self._may_overlap() else None
            lost = (PartitionFailedError, ToolkitError, _NotTogether)
            self._pipeline = Pipeline(self.options.pipeline_depth, together, self._run_alone, self._gate, lost)
        return self._pipeline.submit(arrays)

    def _run_alone(self, inputs: Sequence[Array]) -> list[Array]:
        with self._gate.alone():
            self.fit(inputs)
            return self.run_values(dict(zip(self.graph.subgraphs[0].inputs, inputs)))

    def run_subgraph(self, subgraph: int, inputs: Sequence[Array] | Mapping[str, Array]) -> list[Array]:
        """Runs another subgraph than the main one by itself, as a signature may want it, on the CPU reference.

        Subgraphs that it calls run as the plan has them. Variables and hash tables are those of the whole model.

        Args:
            subgraph: Its index.
            inputs: As for `run`; any shapes that its operators take.

        Returns:
            Outputs in the subgraph's order.

        Raises:
            UsageError: An input is missing, or has another dtype than the subgraph's.
            ModelError: An operator does not take the shapes or values.
        """
        tensors = self.graph.subgraphs[subgraph].tensors
        arrays = check_inputs([tensors[i] for i in self.graph.subgraphs[subgraph].inputs], inputs, any_shape=True)
        state = self.state()

        def attempt() -> list[Array]:
            self.restore(state)
            if self.remote is not None and self.remote.lost:
                self._load()
            return self._executor.run(subgraph, arrays)

        try:
            return self._persist(attempt)
        except BaseException:
            self.restore(state)
            raise

    def run_values(self, values: dict[int, Array]) -> list[Array]:
        """As `run`, from a dict of tensor index to array, which afterwards also holds every tensor that reached the host."""
        given, state = dict(values), self.state()
        attempts = 0

        def attempt() -> list[Array]:
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                values.clear()
                values.update(given)
                self.restore(state)
            if self.remote is not None and self.remote.lost:
                self._load()
            return self._infer(values)

        try:
            outputs = self._persist(lambda: self._unless_restarted(attempt))
        except BaseException:
            self.restore(state)  # as if this inference had never been
            raise
        assert self.last_stats is not None
        self.last_stats.attempts = attempts
        return outputs

    @staticmethod
    def _unless_restarted(attempt: Callable[[], Value]) -> Value:
        """`attempt()`, once more where the worker had died beforehand, of something that this inference has no part in."""
        try:
            return attempt()
        except PartitionFailedError as failed:
            if not isinstance(failed.error, ShimRestartedError):
                raise
        return attempt()

    def _infer(self, values: dict[int, Array]) -> list[Array]:
        """One inference. Raises PartitionFailedError."""
        begin = time.perf_counter_ns()
        stats = RunStats(0)
        self._called.clear()
        self.walk(0, values, stats.steps.append)
        outputs = [self._value(0, values, index) for index in self.graph.subgraphs[0].outputs]
        stats.steps += self._called.values()
        stats.wall_ns = time.perf_counter_ns() - begin
        self.last_stats = stats
        return outputs

    def _may_overlap(self) -> bool:
        """Whether inferences share nothing but the device."""
        main = self._model.subgraphs[0]
        calls = any(called_subgraphs(operator) for operator in main.operators)
        kept = any(t.is_variable or t.type in (TensorType.RESOURCE, TensorType.VARIANT) for t in main.tensors)
        return self.remote is not None and not calls and not kept and set(self._walks) == {0}

    def _infer_together(self, inputs: Sequence[Array]) -> list[Array]:
        """One inference while others are under way. Raises PartitionFailedError, _NotTogether."""
        begin, main, walk = time.perf_counter_ns(), self.graph.subgraphs[0], self._walks[0]
        values = dict(zip(main.inputs, inputs))
        if self._remote().lost or any(main.tensors[t].shape != value.shape for t, value in values.items()):
            raise _NotTogether
        delegated = [number for number, transfers in enumerate(walk.transfers) if transfers is not None]
        moved = [transfers for transfers in walk.transfers if transfers is not None]
        kept = any(t.slot is not None for m in moved for t in m.inputs) or any(t.slot is not None for m in moved for t in m.outputs)
        executor = self._lane()
        executor.begin(0, values)
        stats = RunStats(0)
        with ExitStack() as turn:
            for number, (step, planned, transfers) in enumerate(zip(walk.steps, self.plan.steps(0), walk.transfers)):
                if transfers is None:
                    start, partition = time.perf_counter_ns(), planned.partition
                    executor.run_operators(0, step.nodes, values)
                    wall = time.perf_counter_ns() - start
                    stats.steps.append(StepStats("cpu", partition, len(step.nodes), wall, fallback=partition is not None))
                    continue
                if kept and number == delegated[0]:
                    turn.enter_context(self._slots)
                stats.steps.append(self._run_partition(0, step, transfers, values))
                if number == delegated[-1]:
                    turn.close()
        outputs = [self._value(0, values, index) for index in main.outputs]
        stats.wall_ns = time.perf_counter_ns() - begin
        self.last_stats = stats
        return outputs

    def _lane(self) -> ReferenceExecutor:
        """This thread's CPU reference."""
        found: ReferenceExecutor | None = getattr(self._lanes, "executor", None)
        if found is None or found.graph is not self.graph:
            found = self._lanes.executor = ReferenceExecutor(self.graph)
        return found

    def walk(self, subgraph: int, values: dict[int, Array], report: Callable[[StepStats], None]) -> None:
        """Runs the steps of a subgraph. Raises PartitionFailedError."""
        walk = self._walks[subgraph]
        self._executor.begin(subgraph, values)
        for step, planned, transfers in zip(walk.steps, self.plan.steps(subgraph), walk.transfers):
            if transfers is None or step.partition is None:
                fallback = planned.partition is not None
                start, inner = time.perf_counter_ns(), self._inner_ns
                if fallback:
                    self._adopt_states(subgraph, step.nodes)
                self._executor.run_operators(subgraph, step.nodes, values)
                wall = time.perf_counter_ns() - start - (self._inner_ns - inner)
                found = StepStats("cpu", planned.partition, len(step.nodes), wall, fallback=fallback, subgraph=subgraph)
            else:
                found = self._run_partition(subgraph, step, transfers, values)
            report(found)

    def _call(self, subgraph: int, inputs: Sequence[Array]) -> list[Array]:
        """A called subgraph, as the plan has it."""
        graph = self.graph.subgraphs[subgraph]
        values = dict(zip(graph.inputs, inputs))

        def report(step: StepStats) -> None:
            if step.target != "cpu":
                self._inner_ns += step.wall_ns
                key = (subgraph, step.partition)
                if key in self._called:
                    self._called[key].add(step)
                else:
                    self._called[key] = step

        self.walk(subgraph, values, report)
        return [self._value(subgraph, values, index) for index in graph.outputs]

    def _value(self, subgraph: int, values: Mapping[int, Array], index: int) -> Array:
        if index in values:
            return values[index]
        tensor = self.graph.subgraphs[subgraph].tensors[index]
        if tensor.is_variable:
            return self._executor.variable(tensor, subgraph)
        if tensor.data is None:
            raise RuntimeError(f"tensor {index} '{tensor.name}' was never computed: the plan is not complete")
        return tensor.data

    def _run_partition(
        self, subgraph: int, step: Step, transfers: StepTransfers, values: dict[int, Array]
    ) -> StepStats:
        number = step.partition
        assert number is not None
        start = time.perf_counter_ns()
        inputs = []
        for t in transfers.inputs:
            data = None if t.resident else to_device(t.binding, self._value(subgraph, values, t.binding.tensor))
            inputs.append(ExecuteInput(slot=t.slot, data=data, flipped=t.flipped))
        outputs = [ExecuteOutput(slot=t.slot, send=t.send, capacity=t.binding.length) for t in transfers.outputs]
        result = self._remote().execute(number, self.programs[number], inputs, outputs)
        received = 0
        tensors = self.plan.view.subgraphs[subgraph].tensors  # with the shapes that the operators make
        for out, reply in zip(transfers.outputs, result.outputs):
            if out.send:
                array = from_device(out.binding, tensors[out.binding.tensor], reply.data, reply.shape)
                received += reply.length
                if out.binding.variable:
                    self._executor.set_variable(subgraph, out.binding.tensor, array)
                    self._nnapi_states.add((subgraph, out.binding.tensor))
                else:
                    values[out.binding.tensor] = array
        return StepStats(
            self.programs[number].target,
            number,
            len(step.nodes),
            time.perf_counter_ns() - start,
            device_ns=result.execute_ns,
            hardware_ns=result.hardware_ns,
            driver_ns=result.driver_ns,
            bytes_to_device=sum(t.binding.length for t in transfers.inputs if not t.resident),
            bytes_from_device=received,
            sent=tuple(tensors[t.binding.tensor].name for t in transfers.inputs if not t.resident),
            received=tuple(tensors[t.binding.tensor].name for t in transfers.outputs if t.send),
            resident=tuple(tensors[t.binding.tensor].name for t in transfers.inputs if t.resident),
            subgraph=subgraph,
        )

    def executor(self) -> ReferenceExecutor:
        """A CPU reference of its own that keeps all tensors; called subgraphs run as the plan has them."""
        return _Executor(self, keep_intermediates=True)

    def delegates_calls_of(self, index: int) -> bool:
        """Whether an operator of the main subgraph calls subgraphs that have delegated parts."""
        todo, seen = list(called_subgraphs(self.graph.subgraphs[0].operators[index])), set[int]()
        while todo:
            subgraph = todo.pop()
            if subgraph not in seen:
                seen.add(subgraph)
                todo += [c for operator in self.graph.subgraphs[subgraph].operators for c in called_subgraphs(operator)]
        return any(subgraph in self._walks for subgraph in seen)

    # -- state --------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """A copy of everything that outlives an inference."""
        variables = {
            (subgraph, tensor.index): self._executor.variable(tensor, subgraph).copy()
            for subgraph, tensor in self._variables
        }
        return State(variables, dict(self._executor.resources), frozenset(self._nnapi_states))

    def _adopt_states(self, subgraph: int, nodes: Sequence[int]) -> None:
        """Before nodes run on the CPU that ran on the device before: their states as TFLite keeps them."""
        graph = self.graph.subgraphs[subgraph]
        for index, memory in svdf_states(graph, nodes).items():
            if (subgraph, index) in self._nnapi_states:
                state = self._executor.variable(graph.tensors[index], subgraph)
                self._executor.set_variable(subgraph, index, svdf_state_for_tflite(state, memory))
                self._nnapi_states.discard((subgraph, index))

    def restore(self, state: State) -> None:
        """Goes back to a state."""
        self._nnapi_states = set(state.nnapi_states)
        for (subgraph, tensor), value in state.variables.items():
            self._executor.set_variable(subgraph, tensor, value.copy())
        self._executor.resources.clear()
        self._executor.resources.update(state.resources)

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
            kind = "delegated" if partition.target == "nnapi" else "softnn"
            summary[f"{kind}_nodes"] -= len(partition.nodes)
            summary[f"{kind}_macs"] -= sum(node_cost(nodes[index]).macs for index in partition.nodes)
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
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()
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
