"""Work and traffic of nodes: multiply-accumulates, and bytes of tensors.

Estimates from the shapes in the file; a dimension that is unknown counts as 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from nnapi_toolkit.delegate.graph import BuiltinOperator, Node, Tensor


def macs(node: Node) -> int:
    """Multiply-accumulates of one invocation; 0 for operators that are not made of them.

    Counted are products that are summed: convolutions, matrix products and recurrent cells, not element by element
    arithmetic or pooling. Control flow counts nothing, as how often a body runs is not known, nor do custom operators.
    """
    count = _COUNTS.get(node.operator.op)
    return count(node) if count else 0


def tensor_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of some tensors together, each counted once."""
    return sum(tensor.byte_size for tensor in {tensor for tensor in tensors if tensor is not None})


def activation_bytes(node: Node) -> int:
    """Bytes that a node reads and writes, constants left out."""
    return tensor_bytes(t for t in (*node.inputs, *node.outputs) if t is not None and not t.is_constant)


def constant_bytes(node: Node) -> int:
    """Bytes of a node's constants."""
    return tensor_bytes(t for t in node.inputs if t is not None and t.is_constant)


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return () if tensor is None else tensor.shape


def _elements(node: Node, *positions: int) -> int:
    """Elements of some inputs together; omitted ones count nothing."""
    return sum(math.prod(t.shape) for position in positions if (t := node.input(position)) is not None)


def _convolution(node: Node) -> int:
    """Filter [out, height, width, in]: each output element sums one filter; grouped filters are smaller."""
    return math.prod(node.output(0).shape) * math.prod(_shape(node.input(1))[1:])


def _depthwise(node: Node) -> int:
    """Filter [1, height, width, out]."""
    return math.prod(node.output(0).shape) * math.prod(_shape(node.input(1))[1:3])


def _transpose_convolution(node: Node) -> int:
    """Inputs (output shape, filter [out, height, width, in], value): each value element spreads over one filter."""
    return _elements(node, 2) * math.prod(_shape(node.input(1))[:3])


def _convolution_3d(node: Node) -> int:
    """Filter [depth, height, width, in, out]."""
    return math.prod(node.output(0).shape) * math.prod(_shape(node.input(1))[:4])


def _transpose_convolution_3d(node: Node) -> int:
    """Inputs (output shape, filter [depth, height, width, out, in], value)."""
    return _elements(node, 2) * math.prod(_shape(node.input(1))[:4])


def _fully_connected(node: Node) -> int:
    """Weights [units, in]."""
    weights = _shape(node.input(1))
    return math.prod(node.output(0).shape) * weights[-1] if weights else 0


def _batch_matmul(node: Node) -> int:
    left = _shape(node.input(0))
    if len(left) < 2:
        return 0
    return math.prod(node.output(0).shape) * left[-2 if node.options.adj_x else -1]


def _steps(node: Node) -> int:
    """Times that a sequence operator uses its weights: batch and time of its input [.., .., features]."""
    return math.prod(_shape(node.input(0))[:-1])


def _cell(*weights: int) -> Callable[[Node], int]:
    return lambda node: _steps(node) * _elements(node, *weights)


def _svdf(node: Node) -> int:
    """Weights feature [filters, in] and time [filters, memory]."""
    return _steps(node) * _elements(node, 1, 2)


_LSTM: Final = _cell(*range(1, 9), 16)
_COUNTS: Final[dict[BuiltinOperator, Callable[[Node], int]]] = {
    BuiltinOperator.CONV_2D: _convolution,
    BuiltinOperator.DEPTHWISE_CONV_2D: _depthwise,
    BuiltinOperator.TRANSPOSE_CONV: _transpose_convolution,
    BuiltinOperator.CONV_3D: _convolution_3d,
    BuiltinOperator.CONV_3D_TRANSPOSE: _transpose_convolution_3d,
    BuiltinOperator.FULLY_CONNECTED: _fully_connected,
    BuiltinOperator.BATCH_MATMUL: _batch_matmul,
    BuiltinOperator.RNN: _cell(1, 2),
    BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_RNN: _cell(1, 2),
    BuiltinOperator.BIDIRECTIONAL_SEQUENCE_RNN: _cell(1, 2, 5, 6, 10, 11),
    BuiltinOperator.LSTM: _LSTM,
    BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM: _LSTM,
    BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM: _cell(*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)),
    BuiltinOperator.SVDF: _svdf,
}
