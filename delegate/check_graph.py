"""Semantic checks of the whole: data flow within subgraphs, calls between them, signatures, metadata."""

from __future__ import annotations

from typing import Final

import numpy as np
from nnapi_toolkit.delegate.check_operators import OperatorColumns
from nnapi_toolkit.delegate.check_tensors import TensorColumns
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.verifier import Level, Positions, Ragged, refuse
from nnapi_toolkit.schema.enums import BuiltinOperator
from nnapi_toolkit.schema.tflite_layout import TABLES
from numpy.typing import NDArray

SCHEMA_VERSION: Final = 3
#: How deep subgraphs may call each other; converters nest a handful.
MAX_CALL_DEPTH: Final = 64


def check_model(root: Level) -> None:
    """Checks what concerns the model as a whole, before its parts.

    Raises:
        ModelError: Another schema version, no subgraph, a metadata entry without buffer.
    """
    version = root.scalars("version")
    message = f"schema version {{}} is not supported, only {SCHEMA_VERSION}: convert the model again"
    refuse(root, version != SCHEMA_VERSION, "version", message, version)
    if not len(root.child("subgraphs")):
        raise root.error(0, "subgraphs", "the model has no subgraph")
    metadata, buffers = root.child("metadata"), len(root.child("buffers"))
    index = metadata.scalars("buffer")
    refuse(metadata, index >= buffers, "buffer", f"there is no buffer {{}}: the model has {buffers}", index)


def check_signatures(root: Level) -> None:
    """Checks that signatures name subgraphs and tensors that exist.

    Raises:
        ModelError: The first signature found wrong.
    """
    level, subgraphs = root.child("signature_defs"), root.child("subgraphs")
    subgraph = level.scalars("subgraph_index").astype(np.int64)
    message = f"there is no subgraph {{}}: the model has {len(subgraphs)}"
    refuse(level, subgraph >= len(subgraphs), "subgraph_index", message, subgraph)
    counts = subgraphs.vector("tensors")[1]
    for side in ("inputs", "outputs"):
        maps = level.child(side)
        index, limit = maps.scalars("tensor_index").astype(np.int64), counts[subgraph[maps.rows]]
        message = "there is no tensor {}: the subgraph has {}"
        refuse(maps, index >= limit, "tensor_index", message, (index, limit))


class DataFlow:
    """Who produces what. Tensors are numbered over all subgraphs, as are operators."""

    def __init__(self, root: Level, tensors: TensorColumns, operators: OperatorColumns) -> None:
        """Checks the subgraphs' inputs and outputs to be tensors of theirs."""
        self.tensors, self.operators = tensors, operators
        self.subgraphs = root.child("subgraphs")
        counts = self.subgraphs.vector("tensors")[1]
        self.tensor_bases = np.cumsum(counts) - counts
        counts = self.subgraphs.vector("operators")[1]
        self.operator_bases = np.cumsum(counts) - counts
        self.inputs = self._check_interface("inputs")
        self.outputs = self._check_interface("outputs")
        self.producer = np.full(len(tensors.level), -1, np.int64)

    def check(self) -> None:
        """Checks that each tensor is produced once, before its use, and marks the empty ones as constants.

        Raises:
            ModelError: The first operator or interface found wrong.
        """
        tensors = self.tensors
        is_input = np.zeros(len(tensors.level), np.bool_)
        is_input[self._number(self.inputs)] = True
        self._check_outputs(is_input)
        empty = (tensors.elements == 0) & (self.producer < 0) & ~is_input & (tensors.data_length < 0)
        tensors.data_offset[empty] = tensors.data_length[empty] = 0
        variable = tensors.level.scalars("is_variable")
        constant = tensors.data_length > 0
        refuse(tensors.level, variable & constant, "is_variable", "a variable cannot hold constant data")
        self._check_uses(is_input | variable | (tensors.data_length >= 0))

    def _number(self, side: Ragged) -> Positions:
        numbers: Positions = self.tensor_bases[side.rows] + side.values
        return numbers

    def _check_interface(self, field: str) -> Ragged:
        side = self.subgraphs.ragged(field)
        limit = self.subgraphs.vector("tensors")[1][side.rows]
        bad = (side.values < 0) | (side.values >= limit)
        message = "there is no tensor {}: the subgraph has {}"
        refuse(self.subgraphs, bad, field, message, (side.values, limit), side.rows, side.elements)
        return side

    def _check_outputs(self, is_input: NDArray[np.bool_]) -> None:
        """Sets `producer`; nothing is written twice, and neither inputs nor constants are written at all."""
        numbers = self._number(self.inputs)
        repeated = _repeated(numbers)
        message = "tensor {} is an input twice"
        refuse(
            self.subgraphs,
            repeated,
            "inputs",
            message,
            self.inputs.values,
            self.inputs.rows,
            self.inputs.elements,
        )
        constant = self.tensors.data_length[numbers] > 0
        message = "tensor {} is an input, yet holds constant data"
        refuse(
            self.subgraphs,
            constant,
            "inputs",
            message,
            self.inputs.values,
            self.inputs.rows,
            self.inputs.elements,
        )
        outputs, level = self.operators.outputs, self.operators.level
        numbers = self._tensor_numbers(outputs)
        checks = (
            (is_input[numbers], "tensor {} is an input of the subgraph and cannot be produced"),
            (self.tensors.data_length[numbers] > 0, "tensor {} is a constant and cannot be produced"),
            (_repeated(numbers), "tensor {} is produced a second time"),
        )
        for bad, message in checks:
            refuse(level, bad, "outputs", message, outputs.values, outputs.rows, outputs.elements)
        self.producer[numbers] = outputs.rows

    def _tensor_numbers(self, side: Ragged) -> Positions:
        numbers: Positions = self.tensor_bases[self.operators.level.rows[side.rows]] + side.values
        return numbers

    def _check_uses(self, available: NDArray[np.bool_]) -> None:
        inputs = self.operators.inputs
        given = inputs.values >= 0
        numbers = np.where(given, self._tensor_numbers(inputs), 0)
        if len(self.producer):
            producer = self.producer[numbers]
            # custom operators of other accelerators list their scratch tensors as inputs
            missing = (producer < 0) & (self.operators.builtin[inputs.rows] != BuiltinOperator.CUSTOM)
            late = given & ~available[numbers] & (missing | (producer >= inputs.rows))
            if late.any():
                raise self._use_error(int(np.argmax(late)), numbers, available)
            numbers = self._number(self.outputs)
            bad = ~available[numbers] & (self.producer[numbers] < 0)
            message = "tensor {} is an output, but nothing produces it"
            refuse(
                self.subgraphs,
                bad,
                "outputs",
                message,
                self.outputs.values,
                self.outputs.rows,
                self.outputs.elements,
            )

    def _use_error(self, use: int, numbers: Positions, available: NDArray[np.bool_]) -> ModelError:
        inputs, level = self.operators.inputs, self.operators.level
        row, tensor, element = int(inputs.rows[use]), int(inputs.values[use]), int(inputs.elements[use])
        producer = int(self.producer[numbers[use]])
        if producer < 0:
            message = f"tensor {tensor} is used, but nothing produces it"
        elif cycle := self._cycle(row, producer, numbers):
            base = int(self.operator_bases[level.rows[row]])
            shown = [str(operator - base) for operator in cycle[:8]] + ["..."] * (len(cycle) > 8)
            message = f"tensor {tensor} closes a cycle of operators: {' -> '.join(shown)}"
        else:
            place = producer - int(self.operator_bases[level.rows[row]])
            message = f"tensor {tensor} is used before operators[{place}] produces it"
        return level.error(row, "inputs", message, element)

    def _cycle(self, user: int, producer: int, numbers: Positions) -> list[int]:
        """Operators from `user` to `producer`, which it depends on, if they lie on a cycle; else nothing."""
        inputs = self.operators.inputs
        firsts = np.searchsorted(inputs.rows, np.arange(len(self.operators.level) + 1)).tolist()
        makers = np.where(inputs.values >= 0, self.producer[numbers], -1).tolist()
        reached_from = {producer: -1}
        queue = [producer]
        for operator in queue:
            if operator == user:
                break
            for maker in makers[firsts[operator] : firsts[operator + 1]]:
                if maker >= 0 and maker not in reached_from:
                    reached_from[maker] = operator
                    queue.append(maker)
        path = [user] if user in reached_from else []
        while path and path[-1] != producer:
            path.append(reached_from[path[-1]])
        return [*path, user] if path else []


def _repeated(numbers: Positions) -> NDArray[np.bool_]:
    """Which numbers occur earlier in the array."""
    order = np.argsort(numbers, kind="stable")
    repeated = np.zeros(len(numbers), np.bool_)
    repeated[order[1:]] = numbers[order[1:]] == numbers[order[:-1]]
    return repeated


# ---------------------------------------------------------------------------------------------- control flow


def check_calls(flow: DataFlow) -> None:
    """Checks the subgraphs that operators refer to: they exist, fit their caller, and never lead back to it.

    Raises:
        ModelError: The first reference found wrong.
    """
    operators, subgraphs = flow.operators, flow.subgraphs
    edges: list[tuple[int, int, Level, int, str]] = []
    for union in ("builtin_options", "builtin_options_2"):
        for member, tables in operators.level.members(union).items():
            for field in TABLES[member]:
                if field.name.endswith("subgraph_index") or field.name in (
                    "subgraph",
                    "branch_subgraph_indices",
                ):
                    edges += _references(tables, field.name, field.kind[0] == "[", len(subgraphs), operators)
    if not edges:
        return
    _check_fit(flow)
    callees: dict[int, list[tuple[int, Level, int, str]]] = {}
    for caller, callee, tables, row, name in edges:
        callees.setdefault(caller, []).append((callee, tables, row, name))
    _check_depth(callees)


def _references(
    tables: Level, field: str, is_vector: bool, count: int, operators: OperatorColumns
) -> list[tuple[int, int, Level, int, str]]:
    if is_vector:
        index, rows, elements = tables.ragged(field)
    else:
        index, rows, elements = tables.scalars(field), np.arange(len(tables)), None
    index = index.astype(np.int64)
    bad = (index < 0) | (index >= count)
    refuse(tables, bad, field, f"there is no subgraph {{}}: the model has {count}", index, rows, elements)
    callers = operators.level.rows[tables.rows[rows]]
    return [(a, b, tables, row, field) for a, b, row in zip(callers.tolist(), index.tolist(), rows.tolist())]


def _check_depth(callees: dict[int, list[tuple[int, Level, int, str]]]) -> None:
    """Depth-first over the calls: a call into a subgraph that is still open is a recursion."""
    depth: dict[int, int] = {}  # of finished subgraphs: the longest chain of calls below
    for start in list(callees):
        if start in depth:
            continue
        open_at = {start}
        stack = [(start, iter(callees[start]), 0)]
        while stack:
            caller, rest, longest = stack.pop()
            for callee, tables, row, field in rest:
                if callee in open_at:
                    raise tables.error(row, field, f"subgraph {callee} calls itself this way without end")
                if callee not in depth and callee in callees:
                    stack.append((caller, rest, longest))
                    stack.append((callee, iter(callees[callee]), 0))
                    open_at.add(callee)
                    break
                longest = max(longest, 1 + depth.get(callee, 0))
                if longest > MAX_CALL_DEPTH:
                    raise tables.error(row, field, f"subgraphs are nested deeper than {MAX_CALL_DEPTH}")
            else:
                depth[caller] = longest
                open_at.discard(caller)
                if stack:
                    above, rest, so_far = stack.pop()
                    stack.append((above, rest, max(so_far, longest + 1)))


def _check_fit(flow: DataFlow) -> None:
    """Calls hand over as many tensors as the subgraph takes, and get as many back as the operator gives."""
    level, subgraphs = flow.operators.level, flow.subgraphs
    takes, gives = level.vector("inputs")[1], level.vector("outputs")[1]
    sub_takes, sub_gives = subgraphs.vector("inputs")[1], subgraphs.vector("outputs")[1]

    def require(op: BuiltinOperator, tables: Level, field: str, inputs: Positions, outputs: Positions) -> None:
        own = flow.operators.builtin[tables.rows] == int(op)
        index = tables.scalars(field)
        for wanted, found, what in (
            (inputs, sub_takes[index], "inputs"),
            (outputs, sub_gives[index], "outputs"),
        ):
            message = f"subgraph {{}} has {{}} {what}, {op.name} needs {{}}"
            refuse(tables, own & (found != wanted), field, message, (index, found, wanted))

    members = level.members("builtin_options")
    if (tables := members.get("IfOptions")) is not None:
        short = takes[tables.rows] < 1
        refuse(level, short, "inputs", "IF has no condition", (), tables.rows)
        for field in ("then_subgraph_index", "else_subgraph_index"):
            require(BuiltinOperator.IF, tables, field, takes[tables.rows] - 1, gives[tables.rows])
    if (tables := members.get("WhileOptions")) is not None:
        carried, given = takes[tables.rows], gives[tables.rows]
        message = "WHILE has {} outputs, its inputs are {}"
        refuse(level, carried != given, "outputs", message, (given, carried), tables.rows)
        require(BuiltinOperator.WHILE, tables, "cond_subgraph_index", carried, np.ones_like(carried))
        require(BuiltinOperator.WHILE, tables, "body_subgraph_index", carried, carried)
    if (tables := members.get("CallOnceOptions")) is not None:
        none = np.zeros(len(tables), np.int64)
        require(BuiltinOperator.CALL_ONCE, tables, "init_subgraph_index", none, none)
