"""The choice of TFLite's own NNAPI delegate, node for node: what `--strategy tflite` reproduces.

The order of decisions is the delegate's: the interpreter must be able to prepare the graph (custom operators known, no
dynamic tensors), Validate runs over every node, models with float16 weights take a path of their own, the graph is cut, the
largest partitions by node count are kept, and the graph is cut again with what is left.
"""

from __future__ import annotations

from collections.abc import Sequence

from nnapi_toolkit.delegate.epochs import Epoch, cut, dependencies
from nnapi_toolkit.delegate.graph import Graph, Node, Operator, Subgraph
from nnapi_toolkit.delegate.ops import rule_of
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.rewrites.folding import inferred_shapes
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.delegate.tflite_dynamic import dynamic_tensor
from nnapi_toolkit.schema.enums import BuiltinOperator, TensorType

#: TFLite's default of max_number_delegated_partitions.
DEFAULT_PARTITIONS = 3

#: Types that the delegate can make operands of; any other type ends the whole delegation.
_OPERAND_TYPES = frozenset(
    {
        TensorType.FLOAT32,
        TensorType.FLOAT16,
        TensorType.UINT8,
        TensorType.INT8,
        TensorType.INT32,
        TensorType.BOOL,
        TensorType.INT16,
    }
)

#: Input positions that become scalars or nothing, and no operand of their own.
_NO_OPERAND: dict[str, frozenset[int]] = {
    "SPLIT": frozenset({0}),
    "PAD": frozenset({2}),
    "PADV2": frozenset({2}),
    "RESIZE_BILINEAR": frozenset({1}),
    "RESIZE_NEAREST_NEIGHBOR": frozenset({1}),
    "TOPK_V2": frozenset({1}),
    "EXPAND_DIMS": frozenset({1}),
    "BATCH_TO_SPACE_ND": frozenset({2}),
    "ARG_MAX": frozenset({1}),
    "ARG_MIN": frozenset({1}),
    "FILL": frozenset({0, 1}),
    "SPLIT_V": frozenset({1, 2}),
    "DENSIFY": frozenset({0}),
}

#: Subgraphs of this name are for checks of the model, and left alone.
_SKIPPED_PREFIX = "VALIDATION:"

#: Custom operators that TFLite's own resolver knows.
KNOWN_CUSTOM = frozenset({"TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "NumericVerify"})


class TfliteDelegate:
    """What the delegate does with each subgraph.

    Attributes:
        candidates: For each subgraph, the nodes that it would delegate if no device refused any.
        reasons: For each subgraph, why a node stays on the CPU (filled further by `select`).
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        limit: int | None,
        custom_operators: frozenset[str] = frozenset(),
        allow_dynamic: bool = False,
        only: int | None = None,
    ) -> None:
        self._limit = limit
        view = inferred_shapes(graph)
        self._subgraphs = [
            _DelegatedSubgraph(graph, view.subgraphs[s.index], target, custom_operators, allow_dynamic, only in (None, s.index))
            for s in graph.subgraphs
        ]
        self._stop_where_it_stops()
        self.candidates = [frozenset(s.candidates) for s in self._subgraphs]
        self.reasons = [s.reasons for s in self._subgraphs]

    def _stop_where_it_stops(self) -> None:
        """The interpreter applies the delegate subgraph by subgraph and stops at the first that fails."""
        for position, subgraph in enumerate(self._subgraphs):
            if subgraph.failure is not None:
                for later in self._subgraphs[position + 1 :]:
                    later.give_up(subgraph.failure)
                return

    def select(self, allowed: Sequence[set[int]] | None = None) -> list[list[Epoch]]:
        """Cuts every subgraph.

        Args:
            allowed: For each subgraph, the candidates that the device takes; None: all of them.
        """
        result = []
        for index, subgraph in enumerate(self._subgraphs):
            result.append(subgraph.select(self._limit, None if allowed is None else allowed[index]))
            if subgraph.undoes_everything:
                # An error of the delegate itself restores all subgraphs.
                failure = subgraph.failure
                assert failure is not None
                for other in self._subgraphs:
                    other.give_up(failure)
                return [other.select(self._limit, set()) for other in self._subgraphs]
        return result


class _DelegatedSubgraph:
    def __init__(
        self,
        graph: Graph,
        subgraph: Subgraph,
        target: Target,
        custom_operators: frozenset[str],
        allow_dynamic: bool,
        wanted: bool,
    ) -> None:
        self.graph = graph
        self.subgraph = subgraph
        self.target = target
        self.failure: Reason | None = None
        self.undoes_everything = False
        self.reasons: dict[int, Reason] = {}
        self.float16 = _float16_constants(subgraph)
        self.valid: set[int] = set()
        self.candidates: set[int] = set()
        if not wanted or subgraph.name.startswith(_SKIPPED_PREFIX):
            return
        self._validate()
        self.candidates = set(self.valid)
        if self.float16 and len(self.valid) + len(self.float16) == len(subgraph.operators):
            self.candidates = set(range(len(subgraph.operators)))
        self._prepare(custom_operators, allow_dynamic)

    def _prepare(self, custom_operators: frozenset[str], allow_dynamic: bool) -> None:
        """What keeps the interpreter from taking any delegate."""
        for operator in self.subgraph.operators:
            code = operator.custom_code
            if operator.op == BuiltinOperator.CUSTOM and code not in KNOWN_CUSTOM | custom_operators:
                self.give_up(
                    Reason(
                        "unresolved-operator",
                        f"operator {operator.index}",
                        f"the custom operator '{code}'",
                        "one that the interpreter knows, or it takes no delegate",
                        None,
                        "registering the operator with the interpreter",
                    )
                )
                return
        if allow_dynamic and self.target.feature_level >= 2:
            return
        found = dynamic_tensor(self.graph, self.graph.subgraphs[self.subgraph.index])
        if found is not None:
            name = self.subgraph.tensors[found].name
            self.give_up(
                Reason(
                    "dynamic-shape",
                    f"tensor {found}",
                    "of a shape that depends on data",
                    "of a fixed shape, or the interpreter takes no static delegate",
                    name,
                    "a fixed shape",
                )
            )

    def give_up(self, failure: Reason) -> None:
        """Nothing of this subgraph is delegated."""
        self.failure = self.failure or failure
        self.candidates = set()
        for operator in self.subgraph.operators:
            self.reasons.setdefault(operator.index, failure)

    def _validate(self) -> None:
        """Validate of every node; float16 constants are looked at in place of what DEQUANTIZE makes of them."""
        source: dict[int, int] = {}
        for operator in self.subgraph.operators:
            index = operator.index
            if index in self.float16:
                source[operator.outputs[0]] = operator.inputs[0]
                self.reasons[index] = Reason(
                    "float16", "the operator", "a constant that is expanded", "part of a graph that is delegated as a whole"
                )
                continue
            node = Node(self.graph, self.subgraph, _remapped(operator, source) if source else operator)
            reason = rule_of(operator).tflite_check(node, self.target)
            if reason is None:
                self.valid.add(index)
            else:
                self.reasons[index] = reason

    def select(self, limit: int | None, allowed: set[int] | None) -> list[Epoch]:
        """Cuts, keeps the largest partitions, cuts again."""
        nodes = self.candidates if allowed is None else self.candidates & allowed
        if self.float16 and self.candidates and nodes != self.candidates:
            self.give_up(Reason("float16", "the model", "only partly supported", "wholly supported, having float16 weights"))
            nodes = set()
        remapped = self.valid if self.float16 else set()
        waits = self._waits(remapped)
        count = len(waits)
        found = [e for e in cut(waits, [n in nodes for n in range(count)]) if e.delegated]
        if self.target.feature_level >= 3 and self._cannot_build(found):
            # The device is asked about every partition, so every one is built, also those that the limit drops.
            return cut(self._waits(set()), [False] * count)
        if limit is not None and len(found) > limit:
            ranked = sorted(found, key=lambda e: -len(e.nodes))
            for epoch in ranked[limit:]:
                size = f"{len(epoch.nodes)} nodes"
                reason = Reason("partition-limit", "its partition", size, f"among the {limit} largest by node count")
                self.reasons.update(dict.fromkeys(epoch.nodes, reason))
            nodes = {n for epoch in ranked[:limit] for n in epoch.nodes}
            if remapped - nodes and not self._restored(remapped - nodes):
                self.undoes_everything = True
                self.give_up(
                    Reason(
                        "float16",
                        "the model",
                        f"cut into {len(found)} partitions",
                        f"at most {limit} partitions: the nodes left over keep float16 weights that TFLite's kernels refuse",
                    )
                )
                nodes = set()
                waits = self._waits(set())
        epochs = cut(waits, [n in nodes for n in range(count)])
        if self._cannot_build([e for e in epochs if e.delegated]):
            return cut(self._waits(set()), [False] * count)
        return epochs

    def _cannot_build(self, partitions: Sequence[Epoch]) -> bool:
        """True when the delegate fails while it builds one of the partitions, which undoes all of its work."""
        for epoch in partitions:
            failure = self._build_failure(epoch.nodes)
            if failure is not None:
                self.undoes_everything = True
                self.give_up(failure)
                return True
        return False

    def _build_failure(self, nodes: Sequence[int]) -> Reason | None:
        tensors = self.subgraph.tensors
        made = {t for n in nodes for t in self.subgraph.operators[n].outputs}
        fed = False
        for index in nodes:
            operator = self.subgraph.operators[index]
            skipped = _NO_OPERAND.get(operator.name, frozenset())
            inputs = [t for p, t in enumerate(operator.inputs) if t >= 0 and p not in skipped]
            if _lacks_intermediates(operator, subgraph=self.subgraph, level=self.target.feature_level):
                return Reason(
                    "operand-count",
                    f"operator {index} (LSTM)",
                    f"{len(operator.intermediates)} intermediate tensors",
                    "5: Validate does not count them, the build fails, and nothing is delegated",
                )
            if index in self.float16 or operator.op == BuiltinOperator.DENSIFY:
                continue
            for t in (*inputs, *(t for t in operator.outputs if t >= 0)):
                kind = tensors[t].type
                if kind not in _OPERAND_TYPES:
                    return Reason(
                        "operand-type",
                        f"a tensor of operator {index} ({operator.name})",
                        kind.name,
                        "a type that the delegate makes operands of: Validate lets it pass, the build fails, and nothing is "
                        "delegated",
                        tensors[t].name,
                    )
            fed = fed or any(t not in made and not tensors[t].is_constant for t in operator.inputs if t >= 0)
        if not fed:
            return Reason(
                "partition-inputs",
                f"the partition of operator {nodes[0]}",
                "without a run-time input",
                "fed by at least one tensor: the delegate cannot make an empty input pool, and nothing is delegated",
            )
        return None

    def _restored(self, left: set[int]) -> bool:
        """True when none of the nodes left to the CPU was pointed at a float16 constant."""
        operators = self.subgraph.operators
        expanded = {operators[index].outputs[0] for index in self.float16}
        return not any(t in expanded for n in left for t in operators[n].inputs)

    def _waits(self, remapped: set[int]) -> list[list[int]]:
        """Dependencies; remapped nodes do not wait for the DEQUANTIZE of their float16 constants."""
        waits = dependencies(self.subgraph)
        if remapped:
            for index in remapped:
                waits[index] = [w for w in waits[index] if w not in self.float16]
        return waits


def _lacks_intermediates(operator: Operator, subgraph: Subgraph, level: int) -> bool:
    """An int8 LSTM that becomes QUANTIZED_LSTM, without the five intermediate tensors whose scales it takes."""
    full = operator.name == "LSTM" and len(operator.inputs) in (20, 24) and level >= 4
    return full and subgraph.tensors[operator.inputs[0]].type == TensorType.INT8 and len(operator.intermediates) != 5


def _float16_constants(subgraph: Subgraph) -> frozenset[int]:
    """DEQUANTIZE operators that expand a float16 constant."""
    found = set()
    for operator in subgraph.operators:
        if operator.op == BuiltinOperator.DEQUANTIZE and operator.inputs and operator.inputs[0] >= 0:
            tensor = subgraph.tensors[operator.inputs[0]]
            if tensor.type == TensorType.FLOAT16 and tensor.is_constant:
                found.add(operator.index)
    return frozenset(found)


def _remapped(operator: Operator, source: dict[int, int]) -> Operator:
    inputs = tuple(source.get(t, t) for t in operator.inputs)
    if inputs == operator.inputs:
        return operator
    return Operator(
        operator.index,
        operator.op,
        operator.name,
        operator.version,
        operator.custom_code,
        inputs,
        operator.outputs,
        operator.intermediates,
        operator.options,
        operator._custom,
    )
