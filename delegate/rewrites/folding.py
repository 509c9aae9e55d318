"""Constant folding: a view of the graph in which everything that is known while planning is a constant.

Weights are not computed here: a folded weight (float16 expanded, int8 dequantised) is computed when a program first needs
it. Only what rules look at (shapes, axes, sizes) is computed at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Graph, Node, Subgraph, Tensor
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

#: Name of the rewrite.
CONSTANT_FOLDING = "constant-folding"

Array = NDArray[Any]
Thunk = Callable[[], Array]


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


def known(tensor: Tensor, thunk: Thunk, shape: tuple[int, ...] | None = None) -> KnownTensor:
    """The tensor as a constant of the value that `thunk` computes."""
    made = KnownTensor(
        tensor.index,
        tensor.name,
        tensor.type,
        tensor.shape if shape is None else shape,
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


class FoldedGraph:
    """A graph with folded constants.

    Attributes:
        graph: The view: same operators and indices, folded tensors are constants.
        folded: For each subgraph, the operators whose outputs are all folded.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = copy.copy(graph)
        self.graph.__dict__.pop("_nodes", None)
        pairs = [_fold(graph, index) for index in range(len(graph.subgraphs))]
        self.graph.subgraphs = tuple(subgraph for subgraph, _ in pairs)
        self.folded = tuple(folded for _, folded in pairs)


def _fold(graph: Graph, index: int) -> tuple[Subgraph, frozenset[int]]:
    from nnapi_toolkit.delegate.rewrites.evaluate import evaluate

    subgraph = graph.subgraphs[index]
    tensors = list(subgraph.tensors)
    view = Subgraph(subgraph.index, subgraph.name, subgraph.tensors, subgraph.operators, subgraph.inputs, subgraph.outputs)
    folded = set()
    for operator in subgraph.operators:
        thunks = evaluate(Node(graph, view, operator), tensors)
        if thunks is None:
            continue
        folded.add(operator.index)
        for tensor, thunk in zip(operator.outputs, thunks):
            tensors[tensor] = known(tensors[tensor], thunk)
    if not folded:
        return subgraph, frozenset()
    view.tensors = tuple(tensors)
    return view, frozenset(folded)


def is_weight(tensor: Tensor) -> bool:
    """True for element types that folding computes lazily."""
    return tensor.type in (TensorType.FLOAT32, TensorType.FLOAT16)
