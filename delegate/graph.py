"""A `.tflite` model as a read-only view over its bytes.

`Graph.open` maps the file, verifies all of it (`verifier`: the structure, `check_*`: the meaning), and makes
plain objects of what it says. The weights stay in the map: tensors hand them out as numpy views.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nnapi_toolkit.delegate.check_graph import DataFlow, check_calls, check_model, check_signatures
from nnapi_toolkit.delegate.check_operators import OperatorColumns, check_operators
from nnapi_toolkit.delegate.check_quantization import check_quantization
from nnapi_toolkit.delegate.check_sparsity import check_sparsity
from nnapi_toolkit.delegate.check_tensors import TensorColumns, check_tensors, tuples
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.options import Options
from nnapi_toolkit.delegate.tensor import Quantization, Sparsity, Tensor
from nnapi_toolkit.delegate.verifier import Level, Positions, spread, verify
from nnapi_toolkit.schema.enums import ActivationFunctionType, BuiltinOperator, Padding, TensorType
from nnapi_toolkit.schema.tflite_layout import OPERATOR_OPTIONS

__all__ = [
    "ActivationFunctionType",
    "BuiltinOperator",
    "Graph",
    "Node",
    "Operator",
    "Options",
    "Padding",
    "Quantization",
    "Signature",
    "Sparsity",
    "Subgraph",
    "Tensor",
    "TensorType",
]


@dataclass(slots=True, eq=False)
class Operator:
    """One operator of a subgraph.

    Attributes:
        index: Position in the subgraph, which is its place in the order of execution.
        op: The builtin operator; CUSTOM for a custom one.
        name: ``CONV_2D``, or the custom code.
        version: Version of the operator.
        custom_code: Name of a custom operator, else None.
        inputs: Tensor indices; -1 is an omitted input.
        outputs: Tensor indices.
        intermediates: Tensor indices of values internal to the operator; -1 is an omitted one.
        options: The builtin options.
    """

    index: int
    op: BuiltinOperator
    name: str
    version: int
    custom_code: str | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Options
    _custom: memoryview = field(repr=False)

    @property
    def custom_options(self) -> bytes:
        """The options of a custom operator, as the file holds them; empty when it has none."""
        return bytes(self._custom)


@dataclass(frozen=True, slots=True)
class Signature:
    """Names for the inputs and outputs of a subgraph.

    Attributes:
        key: Name of the signature.
        subgraph: Index of the subgraph that it runs.
        inputs, outputs: Name -> tensor index.
    """

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclass(eq=False)
class Subgraph:
    """One subgraph: its tensors, its operators in order of execution, its inputs and outputs."""

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __repr__(self) -> str:
        """Sizes instead of contents."""
        return f"Subgraph({self.index}, {self.name!r}, {len(self.operators)} operators)"

    @cached_property
    def _producers(self) -> dict[int, Operator]:
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    @cached_property
    def _consumers(self) -> dict[int, tuple[Operator, ...]]:
        found: dict[int, dict[int, Operator]] = {}
        for operator in self.operators:
            for tensor in operator.inputs:
                found.setdefault(tensor, {})[operator.index] = operator
        return {tensor: tuple(operators.values()) for tensor, operators in found.items()}

    def producer(self, tensor: Tensor | int) -> Operator | None:
        """The operator that gives a tensor; None for inputs, constants and variables."""
        return self._producers.get(tensor if isinstance(tensor, int) else tensor.index)

    def consumers(self, tensor: Tensor | int) -> tuple[Operator, ...]:
        """The operators that take a tensor, each once, in order of execution."""
        return self._consumers.get(tensor if isinstance(tensor, int) else tensor.index, ())


@dataclass(frozen=True, slots=True)
class Node:
    """An operator in its place: what support rules and kernels receive."""

    graph: Graph
    subgraph: Subgraph
    operator: Operator

    @property
    def index(self) -> int:
        """Position of the operator in its subgraph."""
        return self.operator.index

    @property
    def name(self) -> str:
        """``CONV_2D``, or the custom code."""
        return self.operator.name

    @property
    def options(self) -> Options:
        """The operator's options."""
        return self.operator.options

    @property
    def path(self) -> str:
        """``subgraphs[0].operators[12]``, as in error messages."""
        return f"subgraphs[{self.subgraph.index}].operators[{self.operator.index}]"

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The input tensors; None for omitted ones."""
        tensors = self.subgraph.tensors
        return tuple(None if index < 0 else tensors[index] for index in self.operator.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The output tensors."""
        return tuple(self.subgraph.tensors[index] for index in self.operator.outputs)

    def input(self, position: int) -> Tensor | None:
        """An input tensor; None when it is omitted (-1) or the operator has fewer inputs."""
        inputs = self.operator.inputs
        if not 0 <= position < len(inputs) or inputs[position] < 0:
            return None
        return self.subgraph.tensors[inputs[position]]

    def output(self, position: int) -> Tensor:
        """An output tensor.

        Raises:
            ModelError: The operator has fewer outputs.
        """
        outputs = self.operator.outputs
        if not 0 <= position < len(outputs):
            message = f"{self.name} has {len(outputs)} outputs, number {position} is asked for"
            raise ModelError(f"{self.path}.outputs", message)
        return self.subgraph.tensors[outputs[position]]


class Graph:
    """A verified model. Made by `Graph.open` or `Graph.from_bytes`.

    Attributes:
        path: The file, None for a model from memory.
        data: All bytes of the file, read-only. A mapped file must not be shortened while the graph is in use.
        subgraphs: The subgraphs; [0] is the main one.
        signatures: Named entries.
        description: Free text of the converter.
        metadata: Name -> bytes of the metadata entries.
    """

    def __init__(self, data: memoryview, path: Path | None = None) -> None:
        """Verifies and reads `data`; use `open` or `from_bytes`.

        Raises:
            ModelError: The first thing found wrong.
        """
        self.data = data
        self.path = path
        root = verify(data)
        check_model(root)
        tensors = check_tensors(root)
        operators = check_operators(root, tensors)
        flow = DataFlow(root, tensors, operators)
        flow.check()
        check_calls(flow)
        check_signatures(root)
        level = root.child("subgraphs")
        places = spread(level.vector("tensors")[1])[1]
        self.subgraphs = _make_subgraphs(level, _make_tensors(tensors, places), operators)
        self.signatures = _make_signatures(root)
        self.description: str = root.strings("description")[0]
        self._metadata = _metadata_ranges(root)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Graph:
        """Maps and verifies a `.tflite` file.

        Raises:
            ModelError: The file cannot be read, or is no valid model.
        """
        file = Path(path)
        try:
            data = _map(file)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path, a file that cannot be mapped
            reason = getattr(error, "strerror", None) or str(error)
            message = f"cannot be read: {reason}. Check the path and its permissions"
            raise ModelError("", message, file=str(file)) from error
        try:
            return cls(data, file)
        except ModelError as error:
            raise ModelError(error.path, error.message, error.offset, str(file)) from None

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Graph:
        """Verifies a model in memory; `data` is kept, not copied.

        Raises:
            ModelError: It is no valid model.
        """
        return cls(memoryview(data).cast("B").toreadonly())

    def __repr__(self) -> str:
        """The file and the number of subgraphs."""
        source = str(self.path) if self.path else f"{len(self.data)} bytes"
        return f"Graph({source}, {len(self.subgraphs)} subgraphs)"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file in hexadecimal; computed at first use."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def metadata(self) -> dict[str, memoryview]:
        """Name -> bytes of the metadata entries."""
        return {name: self.data[start : start + count] for name, start, count in self._metadata}

    @cached_property
    def _nodes(self) -> tuple[tuple[Node, ...], ...]:
        return tuple(
            tuple(Node(self, subgraph, operator) for operator in subgraph.operators) for subgraph in self.subgraphs
        )

    def nodes(self, subgraph: int = 0) -> tuple[Node, ...]:
        """The nodes of a subgraph in order of execution."""
        return self._nodes[subgraph]


def _map(file: Path) -> memoryview:
    with file.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size == 0:
            return memoryview(b"")  # which the verifier refuses in its own words
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _make_subgraphs(level: Level, tensors: Sequence[Tensor], columns: OperatorColumns) -> tuple[Subgraph, ...]:
    operators = _make_operators(columns, spread(level.vector("operators")[1])[1].tolist())
    subgraphs = []
    tensor_at = operator_at = 0
    for index, (name, inputs, outputs, tensor_count, operator_count) in enumerate(
        zip(
            level.strings("name"),
            _lists(level, "inputs"),
            _lists(level, "outputs"),
            level.vector("tensors")[1].tolist(),
            level.vector("operators")[1].tolist(),
        )
    ):
        own_tensors = tuple(tensors[tensor_at : tensor_at + tensor_count])
        own_operators = tuple(operators[operator_at : operator_at + operator_count])
        subgraphs.append(Subgraph(index, name, own_tensors, own_operators, inputs, outputs))
        tensor_at += tensor_count
        operator_at += operator_count
    return tuple(subgraphs)


def _make_tensors(columns: TensorColumns, places: Positions) -> list[Tensor]:
    """The tensors of all subgraphs in the order of the rows; `places` is each one's index in its subgraph."""
    level = columns.level
    quantization, sparsity = check_quantization(columns), check_sparsity(columns)
    signature_counts = level.vector("shape_signature")[1].tolist()
    signatures = tuples(level.ragged("shape_signature").values.tolist(), signature_counts)
    kinds = list(TensorType)
    file = level.image.data
    return [
        Tensor(
            index,
            name,
            kinds[kind],
            shape,
            signature or None,
            buffer,
            None if length < 0 else offset,
            None if length < 0 else length,
            quantization.get(row),
            is_variable,
            has_rank,
            sparsity.get(row),
            file,
        )
        for row, (
            index,
            name,
            kind,
            shape,
            signature,
            buffer,
            offset,
            length,
            is_variable,
            has_rank,
        ) in enumerate(
            zip(
                places.tolist(),
                level.strings("name"),
                columns.types.tolist(),
                tuples(columns.shape.values.tolist(), columns.ranks.tolist()),
                signatures,
                level.scalars("buffer").tolist(),
                columns.data_offset.tolist(),
                columns.data_length.tolist(),
                level.scalars("is_variable").tolist(),
                level.scalars("has_rank").tolist(),
            )
        )
    ]


def _make_operators(columns: OperatorColumns, places: list[int]) -> list[Operator]:
    data, level = columns.level.image.data, columns.level
    tables = [OPERATOR_OPTIONS.get(code.op.name) for code in columns.codes]
    inputs, outputs, inner = (_lists(level, name) for name in ("inputs", "outputs", "intermediates"))
    options, starts = columns.options.tolist(), columns.custom_offset.tolist()
    ends = (columns.custom_offset + columns.custom_length).tolist()
    operators = []
    for row, (place, index) in enumerate(zip(places, columns.code.tolist())):
        code = columns.codes[index]
        operator = Operator(
            place,
            code.op,
            code.custom_code or code.op.name,
            code.version,
            code.custom_code,
            inputs[row],
            outputs[row],
            inner[row],
            Options(tables[index], data, options[row]),
            data[starts[row] : ends[row]],
        )
        operators.append(operator)
    return operators


def _lists(level: Level, name: str) -> list[tuple[Any, ...]]:
    return tuples(level.ragged(name).values.tolist(), level.vector(name)[1].tolist())


def _make_signatures(root: Level) -> tuple[Signature, ...]:
    level = root.child("signature_defs")
    sides = []
    for side in ("inputs", "outputs"):
        maps = level.child(side)
        pairs = list(zip(maps.strings("name"), maps.scalars("tensor_index").tolist()))
        sides.append([dict(entry) for entry in tuples(pairs, level.vector(side)[1].tolist())])
    keys, subgraphs = level.strings("signature_key"), level.scalars("subgraph_index").tolist()
    return tuple(Signature(*fields) for fields in zip(keys, subgraphs, *sides))


def _metadata_ranges(root: Level) -> list[tuple[str, int, int]]:
    level, buffers = root.child("metadata"), root.child("buffers")
    starts, counts = buffers.vector("data")
    index = level.scalars("buffer")
    return list(zip(level.strings("name"), starts[index].tolist(), counts[index].tolist()))
