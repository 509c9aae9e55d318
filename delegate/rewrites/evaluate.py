"""The values of operators on constants, as far as folding needs them: dequantised weights, shapes and index arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.delegate.ops.base import Case, Refusal
from nnapi_toolkit.delegate.ops.gather import strided_slices
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

Array = NDArray[Any]
Thunk = Callable[[], Array]
Inputs = Sequence[Tensor | None]

_EIGHT_BITS = (TensorType.INT8, TensorType.UINT8)
_INTEGERS = (TensorType.INT32, TensorType.INT64, TensorType.BOOL)
#: Largest result of index arithmetic, in elements: what is larger is data, and data is left to the kernels.
_LARGEST = 4096


def evaluate(node: Node, inputs: Inputs, shapes: Sequence[tuple[int, ...]]) -> tuple[Thunk, ...] | None:
    """Values of a node's outputs, each computed when called; None when it is not all constants, or not an operator to fold.

    Args:
        node: The node. Its own tensors give types and options.
        inputs: The input tensors, those folded so far as constants, with their shapes as they are now.
        shapes: The output shapes as they are now.
    """
    name = node.operator.name
    if node.operator.custom_code is not None or not node.operator.outputs:
        return None
    lazy = _LAZY.get(name)
    if lazy is not None:
        thunk = lazy(node, inputs, shapes[0])
        if thunk is not None:
            return (thunk,)
    if name in _SHAPE_ONLY:
        x = inputs[0]
        return None if x is None else (_now(_SHAPE_ONLY[name](x), node),)
    rule = _EAGER.get(name)
    known = all(t is not None and t.is_constant for t in inputs)
    if rule is None or not known or len(node.operator.outputs) != 1 or prod(shapes[0]) > _LARGEST:
        return None
    integers = node.output(0).type in _INTEGERS and all(t.type in _INTEGERS for t in inputs if t is not None)
    if not integers:
        return None
    try:
        values = [_value(t) for t in inputs if t is not None]
        if not _is_of_size(name, values, prod(shapes[0])):
            return None
        value = rule(node, values)
    except (ValueError, IndexError, OverflowError, TypeError, ZeroDivisionError):
        return None  # operands that do not go together: left to the kernels, which say so
    return None if value is None or value.shape != tuple(shapes[0]) else (_now(value, node),)


def _is_of_size(name: str, values: list[Array], count: int) -> bool:
    """False where values, not shapes, ask for another number of elements than the file says: nothing large is made by mistake."""
    if name == "FILL":
        return prod(int(d) for d in values[0].reshape(-1)) == count
    if name == "TILE":
        return values[0].size * prod(int(m) for m in values[1].reshape(-1)) == count
    if name == "RANGE":
        start, limit, delta = (int(v.reshape(-1)[0]) for v in values)
        return len(range(start, limit, delta)) == count
    return True


def _now(value: Array, node: Node) -> Thunk:
    typed = value.astype(node.output(0).dtype)
    return lambda: typed


def _value(tensor: Tensor) -> Array:
    data = tensor.data
    assert data is not None
    return data


# -- weights: computed when a program needs them --------------------------------------------------------------------


def _dequantize(node: Node, inputs: Inputs, shape: tuple[int, ...]) -> Thunk | None:
    x = inputs[0]
    if x is None or not x.is_constant or node.output(0).type != TensorType.FLOAT32:
        return None
    if x.type == TensorType.FLOAT16:
        return lambda: _value(x).astype(np.float32)
    q = x.quantization
    if x.type not in _EIGHT_BITS or q is None or not q.scale:
        return None

    def compute() -> Array:
        if len(q.scale) == 1:
            return (q.scale[0] * (_value(x).astype(np.float64) - q.zero_point[0])).astype(np.float32)
        wide = [-1 if axis == q.dimension else 1 for axis in range(len(x.shape))]
        scale = np.array(q.scale, np.float32).reshape(wide)
        zero_point = np.array(q.zero_point, np.float32).reshape(wide)
        return (_value(x).astype(np.float32) - zero_point) * scale

    return compute


def _densify(node: Node, inputs: Inputs, shape: tuple[int, ...]) -> Thunk | None:
    x = inputs[0]
    return None if x is None or not x.is_constant else lambda: _value(x)


def _move(move: Callable[[Array, tuple[int, ...], list[int]], Array], axes: bool) -> Callable[..., Thunk | None]:
    """A constant moved about without arithmetic."""

    def rule(node: Node, inputs: Inputs, shape: tuple[int, ...]) -> Thunk | None:
        x, other = inputs[0], inputs[1] if len(inputs) > 1 else None
        if x is None or not x.is_constant or x.type == TensorType.STRING or node.output(0).type != x.type:
            return None
        values: list[int] = []
        if axes:
            if other is None or not other.is_constant:
                return None
            values = [int(v) for v in _value(other).reshape(-1)]
        return lambda: move(_value(x), shape, values)

    return rule


_LAZY: dict[str, Callable[[Node, Inputs, tuple[int, ...]], Thunk | None]] = {
    "DEQUANTIZE": _dequantize,
    "DENSIFY": _densify,
    "RESHAPE": _move(lambda x, shape, _: x.reshape(shape), False),
    "SQUEEZE": _move(lambda x, shape, _: x.reshape(shape), False),
    "EXPAND_DIMS": _move(lambda x, shape, _: x.reshape(shape), False),
    "TRANSPOSE": _move(lambda x, _, axes: np.transpose(x, axes), True),
}

# -- shapes and indices: computed at once ---------------------------------------------------------------------------

_SHAPE_ONLY: dict[str, Callable[[Tensor], Array]] = {
    "SHAPE": lambda x: np.array(x.shape, np.int64),
    "RANK": lambda x: np.array(len(x.shape), np.int64),
    "ZEROS_LIKE": lambda x: np.zeros(x.shape),
}


def _strided_slice(node: Node, values: list[Array]) -> Array | None:
    try:
        slices, layout = strided_slices(Case(node, Target(8)))
    except Refusal:
        return None
    picked = values[0][tuple(slice(s.begin, None if s.end < 0 else s.end, s.stride) for s in slices)]
    shape = [1 if axis is None else slices[axis].size for axis in layout]
    return picked.reshape(shape)


def _slice(node: Node, values: list[Array]) -> Array:
    x, begin, size = values
    ends = [length if s == -1 else b + s for b, s, length in zip(begin, size, x.shape)]
    return x[tuple(slice(int(b), int(e)) for b, e in zip(begin, ends))]


def _gather(node: Node, values: list[Array]) -> Array | None:
    x, positions = values
    inside = positions.size == 0 or (positions.min() >= 0 and positions.max() < x.shape[node.options.axis])
    return np.take(x, positions, axis=node.options.axis) if node.options.batch_dims == 0 and inside else None


def _plain(function: Callable[[Array, Array], Array]) -> Callable[[Node, list[Array]], Array | None]:
    """Arithmetic of two integers without a fused activation."""

    def rule(node: Node, values: list[Array]) -> Array | None:
        fused = node.options.table in ("AddOptions", "SubOptions", "MulOptions", "DivOptions")
        if fused and node.options.fused_activation_function:
            return None
        return function(*values)

    return rule


def _divide(function: Callable[[Array, Array], Array]) -> Callable[[Node, list[Array]], Array | None]:
    return lambda node, values: None if np.any(values[1] == 0) else function(*values)


def _reduce(function: Callable[..., Array]) -> Callable[[Node, list[Array]], Array]:
    def rule(node: Node, values: list[Array]) -> Array:
        x, axes = values
        chosen = tuple(int(a) for a in axes.reshape(-1))
        return np.asarray(function(x, axis=chosen, keepdims=bool(node.options.keep_dims), dtype=x.dtype))

    return rule


_EAGER: dict[str, Callable[[Node, list[Array]], Array | None]] = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "GATHER": _gather,
    "PACK": lambda node, values: np.stack(values, node.options.axis),
    "CONCATENATION": lambda node, values: np.concatenate(values, node.options.axis) if values[0].ndim else None,
    "CAST": lambda node, values: values[0].astype(node.output(0).dtype),
    "ADD": _plain(np.add),
    "SUB": _plain(np.subtract),
    "MUL": _plain(np.multiply),
    "MAXIMUM": _plain(np.maximum),
    "MINIMUM": _plain(np.minimum),
    "FLOOR_DIV": _divide(np.floor_divide),
    "FLOOR_MOD": _divide(np.mod),
    "NEG": lambda node, values: -values[0],
    "REDUCE_PROD": _reduce(np.prod),
    "SUM": _reduce(np.sum),
    "RANGE": lambda node, values: np.arange(*(v.reshape(-1)[0] for v in values)),
    "FILL": lambda node, values: np.full(values[0].reshape(-1), values[1].reshape(-1)[0]),
    "TILE": lambda node, values: np.tile(values[0], values[1]),
    "BROADCAST_TO": lambda node, values: np.broadcast_to(values[0], values[1].reshape(-1)),
    "BROADCAST_ARGS": lambda node, values: np.array(np.broadcast_shapes(*(tuple(v) for v in values)), np.int64),
    "EQUAL": lambda node, values: np.equal(*values),
    "NOT_EQUAL": lambda node, values: np.not_equal(*values),
    "LESS": lambda node, values: np.less(*values),
    "GREATER": lambda node, values: np.greater(*values),
    "SELECT": lambda node, values: np.where(*values),
    "SELECT_V2": lambda node, values: np.where(*values),
}
