"""The values of operators on constants, as far as folding needs them: dequantised weights, shapes and index arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

Array = NDArray[Any]
Thunk = Callable[[], Array]

_EIGHT_BITS = (TensorType.INT8, TensorType.UINT8)


def evaluate(node: Node, tensors: Sequence[Tensor]) -> tuple[Thunk, ...] | None:
    """Values of a node's outputs, each computed when called; None when it is not all constants, or not an operator to fold.

    Args:
        node: The node.
        tensors: The subgraph's tensors, those folded so far as constants.
    """
    rule = _RULES.get(node.operator.name)
    if rule is None or node.operator.custom_code is not None:
        return None
    inputs = [tensors[i] if i >= 0 else None for i in node.operator.inputs]
    thunk = rule(node, inputs)
    return None if thunk is None else (thunk,)


def _dequantize(node: Node, inputs: Sequence[Tensor | None]) -> Thunk | None:
    x = inputs[0]
    if x is None or not x.is_constant or node.output(0).type != TensorType.FLOAT32:
        return None
    if x.type == TensorType.FLOAT16:
        return lambda: _value(x).astype(np.float32)
    q = x.quantization
    if x.type not in _EIGHT_BITS or q is None:
        return None

    def compute() -> Array:
        if len(q.scale) == 1:
            return (q.scale[0] * (_value(x).astype(np.float64) - q.zero_point[0])).astype(np.float32)
        shape = [-1 if axis == q.dimension else 1 for axis in range(len(x.shape))]
        scale = np.array(q.scale, np.float32).reshape(shape)
        zero_point = np.array(q.zero_point, np.float32).reshape(shape)
        return (_value(x).astype(np.float32) - zero_point) * scale

    return compute


def _densify(node: Node, inputs: Sequence[Tensor | None]) -> Thunk | None:
    x = inputs[0]
    if x is None or not x.is_constant:
        return None
    return lambda: _value(x)


def _value(tensor: Tensor) -> Array:
    data = tensor.data
    assert data is not None
    return data


_RULES: dict[str, Callable[[Node, Sequence[Tensor | None]], Thunk | None]] = {
    "DEQUANTIZE": _dequantize,
    "DENSIFY": _densify,
}
