"""The plan: which nodes run on NNAPI, in which partitions, in which order, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from nnapi_toolkit.delegate import tflite_strategy
from nnapi_toolkit.delegate.cost import NodeCost, node_cost
from nnapi_toolkit.delegate.decide import Decision, decide, with_remedy
from nnapi_toolkit.delegate.epochs import Epoch, cut, dependencies
from nnapi_toolkit.delegate.graph import Graph, Subgraph
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.program import LoweredProgram, ProgramBuilder, SideFile, lower_partition
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.remedies import complete
from nnapi_toolkit.delegate.rewrites import ALL, DEFAULT
from nnapi_toolkit.delegate.rewrites.folding import CONSTANT_FOLDING, FoldedGraph
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.delegate.strategy import Choice, Part, choose
from nnapi_toolkit.delegate.target import Strategy, Target

#: Asks a device which NNAPI operations of a program it takes.
Supports = Callable[[LoweredProgram], Sequence[bool]]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a plan is made.

    Attributes:
        strategy: `cost`: by multiply-accumulates and bytes that cross boundaries, with all that NNAPI can take. `tflite`: the
            choice of TFLite's own delegate, node for node.
        max_partitions: Keep at most so many partitions in each subgraph; 0 or less: no limit; None: no limit for `cost`, and
            TFLite's default of 3 for `tflite`.
        min_nodes: Drop partitions of fewer nodes.
        rewrites: True: the usual ones (`DEFAULT`); False: none; or a set of names (see `delegate/rewrites`).
        include: Only these nodes may be delegated; None: all.
        exclude: These nodes stay on the CPU.
        custom_operators: For `tflite`: custom operators that the application registers with its interpreter.
        allow_dynamic: For `tflite`: the delegate's option allow_dynamic_dimensions.
    """

    strategy: Strategy = "cost"
    max_partitions: int | None = None
    min_nodes: int = 1
    rewrites: bool | frozenset[str] = True
    include: NodeSelection | None = None
    exclude: NodeSelection | None = None
    custom_operators: frozenset[str] = frozenset()
    allow_dynamic: bool = False

    @property
    def rewrite_names(self) -> frozenset[str]:
        """The rewrites in use."""
        if isinstance(self.rewrites, bool):
            return DEFAULT if self.rewrites else frozenset()
        return self.rewrites

    @property
    def limit(self) -> int | None:
        """The highest number of partitions of a subgraph, None for no limit."""
        if self.max_partitions is None:
            return tflite_strategy.DEFAULT_PARTITIONS if self.strategy == "tflite" else None
        return self.max_partitions if self.max_partitions > 0 else None


@dataclass(frozen=True, slots=True)
class Partition:
    """Nodes that become one NNAPI program.

    Attributes:
        target: Whose NNAPI runs it: `nnapi`, the device's own, or `softnn`, software NNAPI on the device (see `fallback`).
        index: Position among the plan's partitions.
        subgraph: Index of the subgraph.
        nodes: Operator indices in order of execution.
        inputs: Tensors that are read inside and made outside, constants left out, by index.
        outputs: Tensors that are made inside and needed outside, by index.
    """

    index: int
    subgraph: int
    nodes: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    target: Literal["nnapi", "softnn"] = "nnapi"


def boundary(subgraph: Subgraph, nodes: Iterable[int], index: int = 0) -> Partition:
    """A partition with the tensors that cross its boundary."""
    members = tuple(nodes)
    inside = set(members)
    operators, tensors = subgraph.operators, subgraph.tensors
    made = {t for n in members for t in operators[n].outputs}
    read = {t for n in members for t in operators[n].inputs if t >= 0}
    inputs = sorted(t for t in read - made if not tensors[t].is_constant)
    shown = set(subgraph.outputs)
    outputs = sorted(
        t
        for t in made
        if not tensors[t].is_constant and (t in shown or any(user.index not in inside for user in subgraph.consumers(t)))
    )
    if not outputs:  # nodes whose results nobody needs; an NNAPI model has outputs all the same
        outputs = sorted(t for t in made if not subgraph.consumers(t))
    return Partition(index, subgraph.index, members, tuple(inputs), tuple(outputs))


@dataclass(frozen=True, slots=True)
class Step:
    """One step of running a subgraph: a partition, or nodes on the CPU (partition None)."""

    partition: int | None
    nodes: tuple[int, ...]


@dataclass(slots=True)
class Verdict:
    """What becomes of one node.

    Attributes:
        subgraph, index: Where the node is.
        op: Name of the operator.
        partition: The partition it belongs to, None on the CPU.
        refusal: Why the device's NNAPI does not run it, None when it does; without the remedy, which `Plan.reason` adds.
        rewrite: The rewrite that made it acceptable, None without one.
        target: `nnapi`, `softnn` or `cpu`.
    """

    subgraph: int
    index: int
    op: str
    partition: int | None = None
    refusal: Reason | None = None
    rewrite: str | None = None
    target: Literal["nnapi", "softnn", "cpu"] = "cpu"


@dataclass(eq=False)
class Plan:
    """The result of planning. Made by `make_plan`.

    Attributes:
        graph: The model.
        target: What the plan is for; None: everything on the CPU reference.
        options: How it was made.
        verdicts: One list of verdicts for each subgraph.
        partitions: All partitions, by index.
        softnn_target: What partitions for software NNAPI on the device are lowered for; None: the plan has no such fallback.
    """

    graph: Graph
    target: Target | None
    options: PlanOptions
    verdicts: tuple[tuple[Verdict, ...], ...]
    partitions: tuple[Partition, ...]
    view: Graph = field(repr=False)
    folded: tuple[frozenset[int], ...] = field(repr=False)
    lowering_target: Target = field(repr=False)
    _steps: tuple[tuple[Step, ...], ...] = field(repr=False)
    _costs: tuple[tuple[NodeCost, ...], ...] = field(repr=False)
    softnn_target: Target | None = None
    _programs: tuple[LoweredProgram, ...] | None = field(default=None, repr=False)

    def steps(self, subgraph: int = 0) -> tuple[Step, ...]:
        """The steps of running a subgraph, in order."""
        return self._steps[subgraph]

    def lower(self) -> tuple[LoweredProgram, ...]:
        """The programs of all partitions, by index; constants of all of them share one side file. Lowered once.

        Raises:
            UnsupportedError: A node of a `tflite` plan has no valid NNAPI form.
        """
        if self._programs is None:
            side = SideFile()
            self._programs = tuple(lower_partition(self, partition, side) for partition in self.partitions)
        return self._programs

    def lower_node(self, builder: ProgramBuilder, subgraph: int, index: int) -> None:
        """Adds one node to a program; folded nodes add nothing."""
        if index in self.folded[subgraph]:
            return
        node = self.view.nodes(subgraph)[index]
        decide(node, builder.target).lower(builder, node, builder.target)

    def target_of(self, partition: Partition) -> Target:
        """What a partition is lowered for."""
        if partition.target == "nnapi":
            return self.lowering_target
        assert self.softnn_target is not None
        return self.softnn_target

    def cost(self, subgraph: int, index: int) -> NodeCost:
        """The estimate for a node."""
        return self._costs[subgraph][index]

    def reason(self, verdict: Verdict) -> Reason | None:
        """Why the device's NNAPI does not run a node, with what would lift it."""
        reason = verdict.refusal
        if reason is None:
            return None
        if self.target is not None and self.options.strategy != "tflite" and reason.rule not in _CHOICES:
            node = self.view.nodes(verdict.subgraph)[verdict.index]
            reason = with_remedy(node, self.lowering_target, reason)
        return complete(reason, verdict.op)

    @cached_property
    def _summary(self) -> dict[str, Any]:
        nodes = Counter[str]()
        macs = Counter[str]()
        for verdicts, costs in zip(self.verdicts, self._costs):
            for verdict, cost in zip(verdicts, costs):
                nodes[verdict.target] += 1
                macs[verdict.target] += cost.macs
        own = [p for p in self.partitions if p.target == "nnapi"]
        crossing = sum(self.graph.subgraphs[p.subgraph].tensors[t].byte_size for p in own for t in (*p.inputs, *p.outputs))
        return {
            "nodes": nodes.total(),
            "delegated_nodes": nodes["nnapi"],
            "macs": macs.total(),
            "delegated_macs": macs["nnapi"],
            "partitions": len(own),
            "boundary_bytes": crossing,
            "softnn_nodes": nodes["softnn"],
            "softnn_macs": macs["softnn"],
            "softnn_partitions": len(self.partitions) - len(own),
        }

    def summary(self) -> dict[str, Any]:
        """Nodes, multiply-accumulates and partitions, all and delegated, and the bytes that cross a boundary.

        What software NNAPI on the device takes over from the CPU is counted apart, not as delegated.
        """
        return dict(self._summary)

    def to_json(self, model: str) -> dict[str, Any]:
        """The stable form that `nnapi partition --json` prints."""
        nodes = []
        for verdict in (v for verdicts in self.verdicts for v in verdicts):
            reason = self.reason(verdict)
            nodes.append(
                {
                    "subgraph": verdict.subgraph,
                    "index": verdict.index,
                    "op": verdict.op,
                    "target": verdict.target,
                    "partition": verdict.partition,
                    "reason": None if reason is None else str(reason),
                }
            )
        return {
            "model": model,
            "feature_level": self.target.feature_level if self.target is not None else None,
            "nodes": nodes,
            "partitions": [self._partition_json(p) for p in self.partitions],
        }

    def _partition_json(self, partition: Partition) -> dict[str, Any]:
        row = {"index": partition.index, "subgraph": partition.subgraph, "nodes": list(partition.nodes)}
        return row if self.softnn_target is None else row | {"target": partition.target}


#: Rules of reasons that are choices of the plan, not refusals of a node.
_CHOICES = frozenset(
    {
        "excluded",
        "not-included",
        "partition-limit",
        "partition-size",
        "partition-cost",
        "partition-inputs",
        "device",
        "constant",
    }
)


def make_plan(
    graph: Graph, target: Target | None, options: PlanOptions | None = None, supports: Supports | None = None
) -> Plan:
    """Plans a model for a target.

    Args:
        graph: The model.
        target: The phone; None for a plan with everything on the CPU.
        options: See `PlanOptions`.
        supports: Asks the device which NNAPI operations of a program it takes; without it, every lowered operation counts
            as supported.
    """
    options = options or PlanOptions()
    return _Planner(graph, target, options, supports).plan()


class _Planner:
    def __init__(self, graph: Graph, target: Target | None, options: PlanOptions, supports: Supports | None) -> None:
        self.graph = graph
        self.options = options
        self.supports = supports
        self.tflite = options.strategy == "tflite"
        names = ALL if self.tflite else options.rewrite_names
        self.target = None if target is None else replace(target, rewrites=options.rewrite_names)
        self.lowering_target = replace(target or Target(8), rewrites=names)
        if target is not None and CONSTANT_FOLDING in names:
            folded = FoldedGraph(graph)
            self.view, self.folded = folded.graph, folded.folded
        else:
            self.view, self.folded = graph, tuple(frozenset[int]() for _ in graph.subgraphs)
        self.costs = tuple(tuple(map(node_cost, self.view.nodes(s.index))) for s in self.view.subgraphs)
        self.verdicts = [[Verdict(s.index, o.index, o.name) for o in s.operators] for s in graph.subgraphs]

    def plan(self) -> Plan:
        parts: list[list[Epoch]] = []
        if self.target is None:
            for subgraph in self.graph.subgraphs:
                waits = dependencies(subgraph)
                self._refuse_all(subgraph.index, Reason("device", "the plan", "for the CPU alone", "for an NNAPI device"))
                parts.append(cut(waits, [False] * len(waits)))
        elif self.tflite:
            parts = self._tflite_parts()
        else:
            parts = [self._cost_parts(s) for s in self.view.subgraphs]
        return self._assemble(parts)

    def _refuse_all(self, subgraph: int, reason: Reason) -> None:
        for verdict in self.verdicts[subgraph]:
            verdict.refusal = verdict.refusal or reason

    # -- the strategies ---------------------------------------------------------------------------------------------

    def _tflite_parts(self) -> list[list[Epoch]]:
        assert self.target is not None
        choice = tflite_strategy.TfliteDelegate(
            self.graph, self.target, self.options.limit, self.options.custom_operators, self.options.allow_dynamic
        )
        for subgraph, reasons in enumerate(choice.reasons):
            for index, reason in reasons.items():
                self.verdicts[subgraph][index].refusal = reason
        allowed = None
        if self.supports is not None:
            allowed = [self._device_takes(s, self._lowerable(s.index, choice.candidates[s.index])) for s in self.view.subgraphs]
        selected = choice.select(allowed)
        for subgraph, reasons in enumerate(choice.reasons):
            for index, reason in reasons.items():
                verdict = self.verdicts[subgraph][index]
                verdict.refusal = verdict.refusal or reason
        return selected

    def _lowerable(self, subgraph: int, nodes: frozenset[int]) -> set[int]:
        """Nodes of a `tflite` plan that have a valid form; the delegate takes others, and NNAPI then refuses them."""
        kept = set()
        for index in nodes:
            decision = self._decide(subgraph, index)
            if decision is None or decision.reason is None:
                kept.add(index)
            else:
                self.verdicts[subgraph][index].refusal = decision.reason
        return kept

    def _decide(self, subgraph: int, index: int) -> Decision | None:
        """The decision for a node; None for one that is folded."""
        if index in self.folded[subgraph]:
            return None
        return decide(self.view.nodes(subgraph)[index], self.lowering_target)

    def _cost_parts(self, subgraph: Subgraph) -> list[Epoch]:
        number = subgraph.index
        accepted = self._accepted(subgraph)
        if self.supports is not None:
            accepted = self._device_takes(subgraph, accepted)
        produced = self._folded_tensors(subgraph)
        waits = dependencies(subgraph, produced)
        real = [index for index in range(len(waits)) if index not in self.folded[number]]
        choice = self._choose(subgraph, waits, frozenset(accepted), real)
        for index, reason in choice.dropped.items():
            self.verdicts[number][index].refusal = reason
        return self._place_folded(subgraph, choice.epochs)

    def _accepted(self, subgraph: Subgraph) -> set[int]:
        """Nodes that rules, rewrites and the user's lists let through; folded ones left out."""
        accepted = set()
        include, exclude = self.options.include, self.options.exclude
        for node in self.view.nodes(subgraph.index):
            index, verdict = node.operator.index, self.verdicts[subgraph.index][node.operator.index]
            decision = self._decide(subgraph.index, index)
            if decision is None:
                continue
            if decision.reason is not None:
                verdict.refusal = decision.reason
            elif exclude is not None and exclude.matches(subgraph.index, index, node.operator.name):
                verdict.refusal = Reason("excluded", "the node", "on the exclude list", "off it")
            elif include is not None and not include.matches(subgraph.index, index, node.operator.name):
                verdict.refusal = Reason("not-included", "the node", "not on the include list", "on it")
            else:
                accepted.add(index)
                verdict.rewrite = decision.rewrite.name if decision.rewrite is not None else None
        return accepted

    def _folded_tensors(self, subgraph: Subgraph) -> frozenset[int]:
        operators = subgraph.operators
        return frozenset(t for index in self.folded[subgraph.index] for t in operators[index].outputs)

    def _choose(
        self, subgraph: Subgraph, waits: list[list[int]], accepted: frozenset[int], real: list[int]
    ) -> Choice:
        """Runs the cost strategy on the nodes that do something; folded ones are placed afterwards."""
        assert self.target is not None
        place = {index: position for position, index in enumerate(real)}
        compact = [[place[w] for w in waits[index] if w in place] for index in real]
        rivals = []
        if accepted and len(accepted) < len(real):
            rival = tflite_strategy.TfliteDelegate(
                self.graph,
                self.target,
                self.options.limit or tflite_strategy.DEFAULT_PARTITIONS,
                self.options.custom_operators,
                self.options.allow_dynamic,
                only=subgraph.index,
            )
            nodes = {index for epoch in rival.select()[subgraph.index] if epoch.delegated for index in epoch.nodes}
            rivals.append(frozenset(place[index] for index in nodes & accepted))
        costs = [self.costs[subgraph.index][index] for index in real]

        def measure(nodes: Sequence[int]) -> Part:
            partition = boundary(subgraph, [real[n] for n in nodes])
            tensors = subgraph.tensors
            crossing = (*partition.inputs, *partition.outputs)
            return Part(sum(tensors[t].byte_size for t in crossing), len(partition.inputs))

        found = choose(
            compact,
            frozenset(place[index] for index in accepted),
            costs,
            measure,
            limit=self.options.limit,
            min_nodes=self.options.min_nodes,
            rivals=rivals,
        )
        epochs = [Epoch(e.delegated, tuple(real[n] for n in e.nodes)) for e in found.epochs]
        return Choice(epochs, {real[n]: reason for n, reason in found.dropped.items()})

    def _place_folded(self, subgraph: Subgraph, epochs: list[Epoch]) -> list[Epoch]:
        """Puts folded nodes where their values are used: with their consumers when all of those are delegated."""
        folded = self.folded[subgraph.index]
        if not folded:
            return epochs
        epoch_of = {index: number for number, epoch in enumerate(epochs) for index in epoch.nodes}
        lists = [set(epoch.nodes) for epoch in epochs]
        on_cpu: set[int] = set()
        for index in sorted(folded, reverse=True):
            operator = subgraph.operators[index]
            users = {user.index for t in operator.outputs for user in subgraph.consumers(t)}
            places = [epoch_of.get(user) for user in users]
            visible = any(t in subgraph.outputs for t in operator.outputs)
            if visible or not places or any(p is None or not epochs[p].delegated for p in places):
                on_cpu.add(index)
                self.verdicts[subgraph.index][index].refusal = Reason(
                    "constant", "the operator", "a constant that the CPU needs", "needed by delegated nodes only"
                )
            else:
                epoch_of[index] = min(p for p in places if p is not None)
                lists[epoch_of[index]].add(index)
        result = [Epoch(epoch.delegated, tuple(sorted(nodes))) for epoch, nodes in zip(epochs, lists)]
        if on_cpu and result and not result[0].delegated:
            result[0] = Epoch(False, tuple(sorted({*result[0].nodes, *on_cpu})))
        elif on_cpu:
            result.insert(0, Epoch(False, tuple(sorted(on_cpu))))
        return result

    # -- what the device says ---------------------------------------------------------------------------------------

    def _device_takes(self, subgraph: Subgraph, accepted: set[int]) -> set[int]:
        """Lowers preview partitions and keeps the nodes all of whose operations the device supports."""
        assert self.supports is not None
        number = subgraph.index
        waits = dependencies(subgraph, self._folded_tensors(subgraph))
        flags = [index in accepted for index in range(len(waits))]
        preview = self._assemble([[] for _ in self.graph.subgraphs], partial=True)
        kept = set(accepted)
        for epoch in cut(waits, flags):
            real = [index for index in epoch.nodes if index not in self.folded[number]]
            if not epoch.delegated or not real:
                continue
            program = lower_partition(preview, boundary(subgraph, real))
            for node, code, takes in zip(program.operation_nodes, program.operation_codes, self.supports(program)):
                if not takes and node in kept:
                    kept.discard(node)
                    verdict = self.verdicts[number][node]
                    verdict.rewrite = None
                    verdict.refusal = Reason(
                        "device", f"NNAPI operation {operation_name(code)}", "refused by the device", "supported"
                    )
        return kept

    # -- the result -------------------------------------------------------------------------------------------------

    def _assemble(self, parts: list[list[Epoch]], partial: bool = False) -> Plan:
        partitions: list[Partition] = []
        steps: list[tuple[Step, ...]] = []
        for subgraph, epochs in zip(self.view.subgraphs, parts):
            own: list[Step] = []
            for epoch in epochs:
                if not epoch.delegated:
                    own.append(Step(None, epoch.nodes))
                    continue
                partition = boundary(subgraph, epoch.nodes, len(partitions))
                partitions.append(partition)
                own.append(Step(partition.index, epoch.nodes))
                for index in epoch.nodes:
                    verdict = self.verdicts[subgraph.index][index]
                    verdict.partition, verdict.refusal, verdict.target = partition.index, None, "nnapi"
            steps.append(tuple(own))
        return Plan(
            self.graph,
            self.target,
            self.options,
            () if partial else tuple(map(tuple, self.verdicts)),
            tuple(partitions),
            self.view,
            self.folded,
            self.lowering_target,
            tuple(steps),
            self.costs,
        )
