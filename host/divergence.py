"""Where does a device part from the reference? The first node whose error exceeds the bound, found by bisection.

The model's steps are walked as the session runs them, each partition as a program of its own whose outputs all come back. In the
first step over the bound, programs with ever closer prefixes of its nodes are compiled and run until one node is left: without it
the bound holds, with it no more. Alone, on the reference's inputs, that node shows whether the error is its own or
has come in with its inputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.arrays import Array, Difference, Tolerance, compare
from nnapi_toolkit.delegate.partition import Partition, Plan
from nnapi_toolkit.delegate.program import ProgramError, lower_partition
from nnapi_toolkit.reference.executor import ReferenceExecutor
from nnapi_toolkit.session import Session, State
from nnapi_toolkit.transfers import from_device, to_device

#: Number of the program that trials are loaded under; partitions count from 0.
_TRIAL = 1023

#: Causes of a `Finding`, in words.
CAUSES = {
    "node": "on the reference's inputs, alone, it exceeds the bound as well: the error is its own",
    "accumulated": "alone, on the reference's inputs, it is within the bound: errors of earlier nodes have added up",
    "called": "parts of the subgraphs that it calls are delegated: the error comes from there",
    "cpu": "it runs on the CPU reference: a small error of the device in its inputs became large",
}

Values = dict[int, Array]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class NodeResult:
    """One node alone on the device, on the reference's inputs.

    Attributes:
        index, op: The node.
        partition: The partition that it belongs to.
        differences: For each of its outputs.
        note: Why there are none, "" otherwise.
    """

    index: int
    op: str
    partition: int
    differences: tuple[Difference, ...]
    note: str = ""

    @property
    def within(self) -> bool:
        """True when no output exceeds the bound."""
        return all(difference.within for difference in self.differences)

    def to_json(self) -> dict[str, Any]:
        """One entry of "nodes"."""
        return {
            "index": self.index,
            "op": self.op,
            "partition": self.partition,
            "within": self.within,
            "outputs": [difference.to_json() for difference in self.differences],
            "note": self.note or None,
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """The first node over the bound.

    Attributes:
        run: Number of the run, whose inputs show it.
        index, op: The node.
        tensor: Index of its first output over the bound.
        name: That tensor's name.
        partition: The partition that the node belongs to; None for one that runs on the CPU reference.
        cause: `node`: the node alone exceeds the bound on the reference's inputs. `accumulated`: it does not; errors of earlier
            nodes, each within the bound, have grown past it here. `cpu`: a CPU step made a small error of the device large.
            `called`: the node calls subgraphs, parts of which are delegated; the error comes from there.
        differences: Of the outputs over which it was found, in place.
        alone: Of the node's outputs when it runs alone on the reference's inputs; empty for `cpu` and `called`.
        trials: How many programs were compiled to find it.
        inputs, expected, actual: The node's inputs by tensor index, its outputs in the reference, and alone on the device.
    """

    run: int
    index: int
    op: str
    tensor: int
    name: str
    partition: int | None
    cause: str
    differences: tuple[Difference, ...]
    alone: tuple[Difference, ...]
    trials: int
    inputs: Values
    expected: Values
    actual: Values

    def explain(self) -> str:
        """The finding as one line of text."""
        where = "on the CPU" if self.partition is None else f"in partition {self.partition}"
        worst = max(self.differences, key=lambda difference: difference.max_abs)
        return f"node {self.index} ({self.op}) {where}, tensor {self.tensor} '{self.name}': {worst.explain()}; {CAUSES[self.cause]}"

    def to_json(self) -> dict[str, Any]:
        """The value of "node"."""
        return {
            "run": self.run,
            "index": self.index,
            "op": self.op,
            "tensor": {"index": self.tensor, "name": self.name},
            "partition": self.partition,
            "cause": self.cause,
            "outputs": [difference.to_json() for difference in self.differences],
            "alone": [difference.to_json() for difference in self.alone],
            "trials": self.trials,
        }

    def save(self, path: Path, model: str, device: str, inputs: Sequence[Array]) -> None:
        """Writes a reproducer: an npz file that `--inputs` takes, with the node's tensors beside the model's inputs.

        Keys: `input_N` of the model; `node_input_TENSOR`, `node_expected_TENSOR`, `node_actual_TENSOR` by tensor index;
        `about`: JSON with model, device and the finding.
        """
        arrays = {f"input_{position}": value for position, value in enumerate(inputs)}
        for kind, values in (("input", self.inputs), ("expected", self.expected), ("actual", self.actual)):
            arrays |= {f"node_{kind}_{index}": value for index, value in values.items()}
        about = {"model": model, "device": device, "node": self.to_json()}
        arrays["about"] = np.array(json.dumps(about))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


class Examination:
    """One run of a model, ready to be taken apart on a session's device."""

    def __init__(
        self, session: Session, inputs: Sequence[Array], state: State, reference_state: State, tolerance: Tolerance
    ) -> None:
        """Runs the reference once, and keeps all of its tensors.

        Args:
            session: The open session. Its own state is left alone.
            inputs: In the model's order.
            state: The session's state before the run.
            reference_state: The reference's state before the run.
            tolerance: The bound.
        """
        self._session = session
        self._graph = session.graph
        self._main = session.graph.subgraphs[0]
        self._tolerance = tolerance
        self._state = state
        self._given = dict(zip(self._main.inputs, inputs))
        self.trials = 0
        self.reference: Values = dict(self._given)
        executor = self._begin(ReferenceExecutor(self._graph, keep_intermediates=True), reference_state, self.reference)
        executor.run_operators(0, range(len(self._main.operators)), self.reference)

    @staticmethod
    def _begin(executor: ReferenceExecutor, state: State, values: Values) -> ReferenceExecutor:
        for (subgraph, tensor), value in state.variables.items():
            executor.set_variable(subgraph, tensor, value.copy())
        executor.resources.update(state.resources)
        executor.begin(0, values)
        return executor

    # -- the search ---------------------------------------------------------------------------------------------

    def find(self, run: int) -> Finding | None:
        """The first node over the bound, None if none is (any more).

        Raises:
            PartitionFailedError: The driver failed at a trial.
        """
        values = dict(self._given)
        executor = self._begin(self._session.executor(), self._state, values)
        for step in self._session.plan.steps(0):
            if step.partition is None or step.partition in self._session.fallback:
                for index in step.nodes:
                    executor.run_operators(0, [index], values)
                    differences = self._compare(self._outputs_of(index, values))
                    if not _within(differences):
                        return self._on_cpu(run, index, differences, values)
                continue
            made = self._run(step.nodes, values)
            if not _within(self._compare(made)):
                return self._bisect(run, step.partition, values)
            values.update(made)
        return None

    def _bisect(self, run: int, partition: int, values: Values) -> Finding:
        """The node of a partition at which its error passes the bound."""
        nodes = self.nodes_of(partition)
        whole = self._compare(self._run(nodes, self.reference))
        own = not _within(whole)
        feed = self.reference if own else values
        found = whole if own else self._compare(self._run(nodes, feed))
        low, high = 0, len(nodes)  # within with `low` nodes, over with `high`
        while high - low > 1:
            middle = (low + high) // 2
            differences = self._compare(self._run(nodes[:middle], feed))
            if _within(differences):
                low = middle
            else:
                high, found = middle, differences
        index = nodes[high - 1]
        actual = self._run([index], self.reference)
        alone = self._compare(actual)
        over = [d for d in found.values() if not d.within]
        tensor = next(t for t, d in found.items() if not d.within)
        operator = self._main.operators[index]
        return Finding(
            run,
            index,
            operator.name,
            tensor,
            self._main.tensors[tensor].name,
            partition,
            "node" if not _within(alone) else "accumulated",
            tuple(over),
            tuple(alone.values()),
            self.trials,
            self._inputs_of(index, self.reference),
            {t: self.reference[t] for t in actual},
            actual,
        )

    def _on_cpu(self, run: int, index: int, differences: Mapping[int, Difference], values: Values) -> Finding:
        tensor = next(t for t, d in differences.items() if not d.within)
        outputs = self._outputs_of(index, values)
        return Finding(
            run,
            index,
            self._main.operators[index].name,
            tensor,
            self._main.tensors[tensor].name,
            None,
            "called" if self._session.delegates_calls_of(index) else "cpu",
            tuple(d for d in differences.values() if not d.within),
            (),
            self.trials,
            self._inputs_of(index, values),
            {t: self.reference[t] for t in outputs},
            outputs,
        )

    def alone(self, run: int, result: NodeResult) -> Finding:
        """The finding for a node that exceeds the bound alone, although the model's steps do not show it."""
        index = result.index
        actual = self._run([index], self.reference)
        differences = self._compare(actual)
        tensor = next(t for t, d in differences.items() if not d.within)
        return Finding(
            run,
            index,
            result.op,
            tensor,
            self._main.tensors[tensor].name,
            result.partition,
            "node",
            tuple(d for d in differences.values() if not d.within),
            tuple(differences.values()),
            self.trials,
            self._inputs_of(index, self.reference),
            {t: self.reference[t] for t in actual},
            actual,
        )

    # -- node by node -------------------------------------------------------------------------------------------

    def every_node(self, progress: Progress | None = None) -> list[NodeResult]:
        """Each delegated node alone on the device, on the reference's inputs."""
        todo = [
            (partition.index, index)
            for partition in self._session.plan.partitions
            if partition.subgraph == 0 and partition.index not in self._session.fallback
            for index in self.nodes_of(partition.index)
        ]
        results = []
        for done, (partition, index) in enumerate(sorted(todo, key=lambda entry: entry[1])):
            name = self._main.operators[index].name
            try:
                differences = tuple(self._compare(self._run([index], self.reference)).values())
                results.append(NodeResult(index, name, partition, differences))
            except ProgramError as error:
                results.append(NodeResult(index, name, partition, (), f"cannot run alone: {error}"))
            if progress is not None:
                progress("nodes", done + 1, len(todo))
        return results

    def nodes_of(self, partition: int) -> list[int]:
        """Nodes of a partition that do something, in order."""
        folded = self._session.plan.folded[0]
        return [index for index in self._session.plan.partitions[partition].nodes if index not in folded]

    # -- one trial ----------------------------------------------------------------------------------------------

    def _run(self, nodes: Sequence[int], feed: Mapping[int, Array]) -> Values:
        """Compiles nodes as one program, runs it with values out of `feed`, and returns all tensors that it gives out.

        Raises:
            PartitionFailedError, ProgramError: The driver failed; the nodes cannot be a program of their own.
        """
        session, remote = self._session, self._session.remote
        assert remote is not None
        side = session.programs[-1].side
        program = lower_partition(session.plan, _part(session.plan, nodes), side)
        self.trials += 1
        remote.alive()
        if _TRIAL in remote.loaded:
            remote.unload(_TRIAL)
        remote.load(_TRIAL, program)
        tensors = self._main.tensors
        inputs = [
            ExecuteInput(data=to_device(binding, self._state.variables[0, binding.tensor] if binding.variable
                                        else self._value(feed, binding.tensor)))
            for binding in program.inputs
        ]  # fmt: skip
        outputs = [ExecuteOutput(capacity=binding.length) for binding in program.outputs]
        result = remote.execute(_TRIAL, program, inputs, outputs)
        return {
            binding.tensor: from_device(binding, tensors[binding.tensor], reply.data, reply.shape)
            for binding, reply in zip(program.outputs, result.outputs)
            if not binding.variable
        }

    def _value(self, values: Mapping[int, Array], index: int) -> Array:
        if index in values:
            return values[index]
        data = self._main.tensors[index].data
        return self.reference[index] if data is None else data

    def _compare(self, made: Mapping[int, Array]) -> dict[int, Difference]:
        """Tensors beside the reference's, by index."""
        return {
            index: compare(self._main.tensors[index], value, self.reference[index], self._tolerance)
            for index, value in sorted(made.items())
            if index in self.reference and value.dtype.kind in "fciub"
        }

    def _inputs_of(self, index: int, values: Mapping[int, Array]) -> Values:
        tensors = self._main.tensors
        return {
            t: self._value(values, t)
            for t in self._main.operators[index].inputs
            if t >= 0 and not tensors[t].is_constant and not tensors[t].is_variable
        }

    def _outputs_of(self, index: int, values: Mapping[int, Array]) -> Values:
        return {t: values[t] for t in self._main.operators[index].outputs if t in values}


def _within(differences: Mapping[int, Difference]) -> bool:
    return all(difference.within for difference in differences.values())


def _part(plan: Plan, nodes: Sequence[int]) -> Partition:
    """Some nodes of the main subgraph as a partition of their own: every tensor that leaves them is an output."""
    subgraph = plan.view.subgraphs[0]
    tensors, inside = subgraph.tensors, set(nodes)
    made = {t for n in nodes for t in subgraph.operators[n].outputs if t >= 0}
    read = {t for n in nodes for t in subgraph.operators[n].inputs if t >= 0}
    inputs = sorted(t for t in read - made if not tensors[t].is_constant)
    shown = set(subgraph.outputs)
    given = sorted(t for t in made if not tensors[t].is_constant)
    needed = [t for t in given if t in shown or any(u.index not in inside for u in subgraph.consumers(t))]
    # Of an operator with results that nobody reads NNAPI may not even give them (working memory of LSTM).
    outputs = needed or [t for t in given if not subgraph.consumers(t)]
    home = next(p for p in plan.partitions if p.subgraph == 0 and nodes[0] in p.nodes)
    return Partition(_TRIAL, 0, tuple(nodes), tuple(inputs), tuple(outputs), home.target)
