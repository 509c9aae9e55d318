"""Runs a graph whole, with all results as outputs, split, and with open shapes; compares with the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from ..client import DTYPES, SCALARS, Array, Compilation, Execution, Memory, Model, Nnapi, NnapiError, OperandType
from .build import QUANTISED, Graph, Node, Rule, Unfit, Value, quantise, real

SPLITS = 3


@dataclass(frozen=True)
class Way:
    """How a client puts a graph. `shapes` of everything but constants: known, open (dimensions unknown), none (no rank)."""

    shapes: str = "known"
    mode: str = "sync"
    memory: bool = False  # constants from memory
    shuffled: bool = False  # operations added in another order


@dataclass
class Mismatch(Exception):
    """What differs, and where."""

    graph: Graph
    text: str

    def __str__(self) -> str:
        return f"seed {self.graph.seed}: {self.text}"


@dataclass
class Part:
    """A model of some nodes; `places`: operand of the graph -> operand of the model."""

    graph: Graph
    nodes: Sequence[Node]
    outputs: list[int]
    way: Way
    places: dict[int, int] = field(default_factory=dict)
    memories: list[Memory] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)

    def declared(self, value: Value) -> OperandType:
        constant = value.source in ("constant", "omitted") or value.full
        if self.way.shapes == "known" and 0 not in value.dims:
            return value.type
        if constant or value.type.type in SCALARS or value.type.type == 15:
            return value.type
        return replace(value.type, dims=() if self.way.shapes == "none" else tuple(0 for _ in value.dims))

    def place(self, model: Model, value: Value) -> None:
        index = self.places[value.index] = model.operand(self.declared(value))
        if value.channels is not None:
            model.channels(index, *value.channels)
        if value.model is not None:
            inner = Part(value.model, value.model.nodes, value.model.sinks(), replace(self.way, shapes="known"))
            built = inner.build(model.api)
            self.models += [built, *inner.models]
            self.memories += inner.memories
            model.api.check("Model_setOperandValueFromModel", model.handle, index, built.handle)
        elif value.source == "omitted":
            model.value(index, None)
        elif value.source == "constant" and self.way.memory and value.data is not None:
            memory = Memory(model.api, b"\0" * 4 + value.data.tobytes(), protect=1)
            self.memories.append(memory)
            call = "Model_setOperandValueFromMemory"
            model.api.check(call, model.handle, index, memory.handle, 4, value.data.nbytes)
        elif value.source in ("constant", "scalar"):
            model.value(index, value.data)

    def build(self, api: Nnapi) -> Model:
        model = Model(api)
        inputs = self.graph.inputs_of(self.nodes)
        used = {i for node in self.nodes for i in (*node.inputs, *node.outputs)} | set(inputs)
        for index in sorted(used):
            self.place(model, self.graph.values[index])
        order = list(self.nodes)
        if self.way.shuffled:
            order = [order[i] for i in np.random.default_rng(self.graph.seed).permutation(len(order))]
        for node in order:
            model.operation(node.code, [self.places[i] for i in node.inputs], [self.places[i] for i in node.outputs])
        model.identify([self.places[i] for i in inputs], [self.places[i] for i in self.outputs])
        model.finish()
        return model

    def run(self, api: Nnapi, known: dict[int, Array]) -> dict[int, Array]:
        """Results of the outputs, from the values of the inputs."""
        model = self.build(api)
        try:
            with Compilation(model) as compilation, Execution(compilation) as execution:
                for position, index in enumerate(self.graph.inputs_of(self.nodes)):
                    value = self.graph.values[index]
                    open_ = self.declared(value) != value.type
                    execution.input(position, known[index], value.type if open_ else None)
                buffers = {}
                for position, index in enumerate(self.outputs):
                    value = self.graph.values[index]
                    size = max(int(np.prod(value.dims, dtype=np.int64)), 1)
                    buffers[index] = np.zeros(size, DTYPES[value.type.type])
                    execution.output(position, buffers[index])
                execution.compute(self.way.mode)
                for position, index in enumerate(self.outputs):
                    dims = execution.dims(position)
                    if dims != self.graph.values[index].dims:
                        raise Mismatch(
                            self.graph, f"operand {index} has shape {dims}, not {self.graph.values[index].dims}"
                        )
                    buffers[index] = buffers[index][: int(np.prod(dims))].reshape(dims)
                return buffers
        finally:
            for owner in (model, *self.models, *self.memories):
                owner.close()


def compare(graph: Graph, node: Node, results: dict[int, Array], known: dict[int, Array]) -> None:
    """The node's results against the reference, computed from the same inputs."""
    if node.reference is None:
        return
    arguments = []
    for index in node.arguments:
        value = graph.values[index]
        stored = known.get(index, value.data)
        assert stored is not None
        arguments.append(real(stored, value) if value.source != "scalar" else value.real)
    try:
        with np.errstate(all="ignore"):
            answer = node.reference(*arguments)
    except Unfit:  # the values of the run have come to lie where the reference says nothing
        return
    for index, expected in zip(node.outputs, answer if isinstance(answer, tuple) else (answer,)):
        value = graph.values[index]
        if index in node.unchecked:
            continue
        problem = differs(results[index], np.asarray(expected), value, node.rule)
        if problem:
            raise Mismatch(graph, f"{node.name} ({value.kind}{list(value.dims)}): {problem}")


def differs(actual: Array, expected: Array, value: Value, rule: Rule) -> str | None:
    """None when near enough; else the worst element."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, not {expected.shape}"
    if value.kind in QUANTISED:
        wanted = quantise(expected, value.kind, value.quantisation).astype(np.float64)
        limit = np.full(wanted.shape, 0.0 if rule.exact else rule.units)
    else:
        wanted = expected.astype(np.float64)
        relative, absolute = (rule.halves, rule.halves) if value.kind == "f16" else (rule.rtol, rule.atol)
        if value.kind in ("i32", "b8") or rule.exact:
            relative = absolute = 0.0
            wanted = quantise(expected, value.kind, value.quantisation).astype(np.float64)
        limit = absolute + relative * np.abs(wanted)
    error = np.abs(actual.astype(np.float64) - wanted)
    bad = ~(error <= limit)
    if not bad.any():
        return None
    at = np.unravel_index(int(np.argmax(np.where(bad, np.nan_to_num(error, nan=np.inf), -1))), wanted.shape)
    return f"{int(bad.sum())} of {bad.size}; at {[int(i) for i in at]} {actual[at]} instead of {wanted[at]}"


def same(graph: Graph, what: str, a: dict[int, Array], b: dict[int, Array]) -> None:
    """Bit for bit."""
    meaningless = {index for node in graph.nodes for index in node.unchecked}
    for index in (a.keys() & b.keys()) - meaningless:
        if a[index].tobytes() != b[index].tobytes():
            writer = next(node.name for node in graph.nodes if index in node.outputs)
            raise Mismatch(graph, f"{what}: results of {writer} (operand {index}) differ: {a[index]} and {b[index]}")


def check(api: Nnapi, graph: Graph) -> None:
    """Every way gives the same bits, and those are near the reference."""
    try:
        _check(api, graph)
    except NnapiError as error:
        raise Mismatch(graph, f"{error} in {[node.name for node in graph.nodes]}") from error


def _check(api: Nnapi, graph: Graph) -> None:
    rng = np.random.default_rng(graph.seed)
    inputs = {v.index: v.data for v in graph.values if v.source == "input" and v.data is not None}
    everything = [index for node in graph.nodes for index in node.outputs]
    known = {**inputs, **Part(graph, graph.nodes, everything, Way()).run(api, inputs)}
    for node in graph.nodes:
        compare(graph, node, known, known)
    sinks = graph.sinks()
    for way in (
        Way(), Way(memory=True, shuffled=True), Way(shapes="open"), Way(shapes="none", mode="async"),
        Way(shapes=str(rng.choice(["open", "none"])), memory=True, shuffled=True, mode="burst"),
    ):  # fmt: skip
        same(graph, f"whole, {way}", Part(graph, graph.nodes, sinks, way).run(api, inputs), known)
    for _ in range(SPLITS):
        cuts = sorted({0, len(graph.nodes), *rng.integers(0, len(graph.nodes) + 1, 3).tolist()})
        split = dict(inputs)
        for begin, end in pairwise(cuts):
            part = graph.nodes[begin:end]
            produced = {index for node in part for index in node.outputs}
            needed = {i for node in graph.nodes[end:] for i in node.inputs} | set(sinks)
            split |= Part(graph, part, sorted(produced & needed), Way()).run(api, split)
        same(graph, f"split at {cuts}", split, known)
