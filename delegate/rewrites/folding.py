"""Constant folding and shapes: a view of the graph in which everything that is known while planning is a constant.

Weights are not computed here: a folded weight (float16 expanded, int8 dequantised) is computed when a program first needs
it. Only what rules look at (shapes, axes, sizes) is computed at once.

The file's shapes are taken as they are, except where it leaves a dimension open or the user gives other input shapes: then
shapes are inferred operator by operator.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.errors import UnsupportedError
from nnapi_toolkit.delegate.graph import Graph, Node, Operator, Subgraph, Tensor
from nnapi_toolkit.delegate.rewrites.evaluate import evaluate
from nnapi_toolkit.delegate.shapes import ShapeError, infer
from numpy.typing import NDArray

#: Name of the rewrite.
CONSTANT_FOLDING = "constant-folding"

Array = NDArray[Any]
Thunk = Callable[[], Array]
Shapes = Mapping[int, Sequence[int]] | Mapping[str, Sequence[int]] | Mapping[int | str, Sequence[int]]


class KnownTensor(Tensor):
    """A tensor that an operator produces and whose value is known while planning."""

    __slots__ = ("_thunk",)

    _thunk: Thunk

    @property
    def data(self) -> Array | None:
        """The value, computed at first use."""
        if self._data is None:
            value = np.ascontiguousarray(self._thunk(), self.dtype).reshape(self.shape)
            value.flags.writeable = False
            self._data = value
        return self._data


def known(tensor: Tensor, thunk: Thunk) -> KnownTensor:
    """The tensor as a constant of the value that `thunk` computes."""
    made = KnownTensor(
        tensor.index,
        tensor.name,
        tensor.type,
        tensor.shape,
        None,
        0,
        None,
        tensor.byte_size,
        tensor.quantization,
        False,
        True,
        None,
        memoryview(b""),
    )
    made._thunk = thunk
    return made


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    made = copy.copy(tensor)
    made.shape = shape
    made.shape_signature = None
    return made


class FoldedGraph:
    """A graph with folded constants.

    Attributes:
        graph: The view: same operators and indices, folded tensors are constants.
        folded: For each subgraph, the operators whose outputs are all folded.
    """

    def __init__(self, graph: Graph) -> None:
        walks = [_Walk(graph, subgraph, fold=True) for subgraph in graph.subgraphs]
        self.graph = _view(graph, [walk.view for walk in walks])
        self.folded = tuple(frozenset(walk.folded) for walk in walks)


def freeze_shapes(graph: Graph, shapes: Shapes | None = None, *, strict: bool = True) -> Graph:
    """The model with every dimension fixed.

    Args:
        graph: The model.
        shapes: Shapes of inputs of the main subgraph, by tensor index or name; the others keep the file's.
        strict: False leaves a shape as the file has it where it cannot be told, for those who do without.

    Returns:
        A view of the same model with other shapes. Constants, operators and indices are the same.

    Raises:
        UnsupportedError: No such input. With `strict`, also: the shapes contradict an operator, or an operator's output shape
            cannot be told from them.
    """
    main = graph.subgraphs[0]
    named = {main.tensors[i].name: i for i in main.inputs}
    given: dict[int, tuple[int, ...]] = {}
    for key, shape in (shapes or {}).items():
        index = named.get(key) if isinstance(key, str) else key
        if index is None or index not in main.inputs:
            names = ", ".join(f"'{name}'" for name in named)
            raise UnsupportedError("", None, f"'{key}' is no input of the model: it has {names}")
        given[index] = tuple(int(d) for d in shape)
        if min(given[index], default=1) < (1 if strict else 0):
            raise UnsupportedError("", None, f"shape {list(given[index])} of input '{key}' has a dimension below 1")
    walks = [
        _Walk(graph, subgraph, fold=False, given=given if subgraph.index == 0 else {}, strict=strict and subgraph.index == 0)
        for subgraph in graph.subgraphs
    ]
    return _view(graph, [walk.view for walk in walks])


def inferred_shapes(graph: Graph) -> Graph:
    """The model with the shapes that follow from its inputs' where the file leaves dimensions open; itself where it leaves none."""
    if not any(-1 in (t.shape_signature or ()) for s in graph.subgraphs for t in s.tensors):
        return graph
    return _view(graph, [_Walk(graph, subgraph, fold=False).view for subgraph in graph.subgraphs])


def _view(graph: Graph, subgraphs: Sequence[Subgraph]) -> Graph:
    view = copy.copy(graph)
    view.__dict__.pop("_nodes", None)
    view.subgraphs = tuple(subgraphs)
    return view


class _Walk:
    """One pass over a subgraph in order of execution: shapes, then values."""

    def __init__(
        self,
        graph: Graph,
        subgraph: Subgraph,
        *,
        fold: bool,
        given: Mapping[int, tuple[int, ...]] | None = None,
        strict: bool = False,
    ) -> None:
        self.graph = graph
        self.subgraph = subgraph
        self.fold = fold
        self.strict = strict
        self.tensors = list(subgraph.tensors)
        self.shown = list(subgraph.tensors)
        self.folded: set[int] = set()
        self.changed: set[int] = set()
        for index, shape in (given or {}).items():
            if shape != self.tensors[index].shape:
                self._set(index, _shaped(self.tensors[index], shape))
                self.changed.add(index)
        self.view = Subgraph(
            subgraph.index, subgraph.name, subgraph.tensors, subgraph.operators, subgraph.inputs, subgraph.outputs
        )
        for operator in subgraph.operators:
            self._visit(operator)
        self.view.tensors = tuple(self.shown)

    def _set(self, index: int, tensor: Tensor, show: bool = True) -> None:
        self.tensors[index] = tensor
        if show:
            self.shown[index] = tensor

    def _visit(self, operator: Operator) -> None:
        inputs = [self.tensors[i] if i >= 0 else None for i in operator.inputs]
        self._shape(operator, inputs)
        thunks = evaluate(self._node(operator), inputs, [self.tensors[i].shape for i in operator.outputs])
        if thunks is None:
            return
        for index, thunk in zip(operator.outputs, thunks):
            self._set(index, known(self.tensors[index], thunk), self.fold)
        if self.fold:
            self.folded.add(operator.index)

    def _node(self, operator: Operator) -> Node:
        self.view.tensors = _Tensors(self.tensors)  # type: ignore[assignment]  # as they are now, without a copy
        return Node(self.graph, self.view, operator)

    def _shape(self, operator: Operator, inputs: Sequence[Tensor | None]) -> None:
        """Infers the output shapes where the file leaves them open or an input changed."""
        open_ = any(-1 in (self.tensors[i].shape_signature or ()) for i in operator.outputs if i >= 0)
        moved = any(i in self.changed for i in operator.inputs)
        if not open_ and not moved:
            return
        try:
            shapes = self._strided(operator) if operator.name == "STRIDED_SLICE" else infer(self._node(operator), inputs)
        except ShapeError as error:
            if self.strict:
                raise UnsupportedError(operator.name, operator.index, str(error)) from None
            return
        if shapes is None:
            if self.strict and moved:
                raise UnsupportedError(
                    operator.name,
                    operator.index,
                    "its output shape cannot be told from its input shapes: convert the model with fixed shapes",
                )
            return
        for index, shape in zip(operator.outputs, shapes):
            if index >= 0:
                if self.tensors[index].shape != shape:
                    self.changed.add(index)
                self._set(index, _shaped(self.tensors[index], shape))

    def _strided(self, operator: Operator) -> tuple[tuple[int, ...], ...] | None:
        from nnapi_toolkit.delegate.ops.base import Case, Refusal
        from nnapi_toolkit.delegate.ops.gather import strided_slices
        from nnapi_toolkit.delegate.target import Target

        try:
            slices, layout = strided_slices(Case(self._node(operator), Target(8)))
        except Refusal:
            return None
        return (tuple(1 if axis is None else slices[axis].size for axis in layout),)


class _Tensors(Sequence[Tensor]):
    """A read-only window on a list that still changes."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors

    def __getitem__(self, index: Any) -> Any:
        return self._tensors[index]

    def __len__(self) -> int:
        return len(self._tensors)
