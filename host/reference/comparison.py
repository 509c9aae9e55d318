"""EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL, LOGICAL_AND LOGICAL_OR, SELECT SELECT_V2.

Semantics: LiteRT's reference kernels. Outputs of comparisons are bools; inputs broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    check_shape,
    fail,
    kernel,
    operand,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.elementwise import broadcast_pair
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_by_quantized_multiplier
from nnapi_toolkit.reference.quantized import look_up, scale_of, type_range, zero_point_of

_COMPARISONS: dict[str, Callable[..., Any]] = {
    "EQUAL": np.equal,
    "NOT_EQUAL": np.not_equal,
    "LESS": np.less,
    "LESS_EQUAL": np.less_equal,
    "GREATER": np.greater,
    "GREATER_EQUAL": np.greater_equal,
}

_TYPES = (np.bool_, np.float32, np.float16, np.int8, np.uint8, np.int16, np.int32, np.int64, np.object_)


def _rescaled(node: Node, index: int, values: Array) -> Array:
    """(x - zero point) << 8, times the scale in fixed point: a common measure for both inputs."""
    tensor = tensor_in(node, index)
    multiplier = Multiplier.of(scale_of(node, tensor))
    zero = zero_point_of(tensor)

    if values.dtype == np.int16:
        return multiply_by_quantized_multiplier((values.astype(np.int64) - zero) << 8, multiplier)
    low, high = type_range(values.dtype)
    numbers = np.arange(low, high + 1, dtype=np.int64)
    return look_up(values, multiply_by_quantized_multiplier((numbers - zero) << 8, multiplier))


@kernel("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", elementwise=True)
def compare(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Compares element by element.

    bool (equality), float32, float16, int16, int32, int64, strings (equality); uint8 and int8 (for equality also int16)
    with parameters are brought to one scale first.
    """
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", *_TYPES)
    name = node.operator.name
    wide = first.dtype == np.int16 and name in ("EQUAL", "NOT_EQUAL") and tensor_in(node, 0).quantization is not None
    if wide or first.dtype in (np.int8, np.uint8):
        first, second = _rescaled(node, 0, first), _rescaled(node, 1, second)
    return [np.asarray(_COMPARISONS[name](first, second)).astype(np.bool_)]


@kernel("LOGICAL_AND", "LOGICAL_OR")
def logical(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """And, or of bools; broadcasts."""
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", np.bool_)
    function = np.logical_and if node.operator.name == "LOGICAL_AND" else np.logical_or
    return [np.asarray(function(first, second))]


@kernel("SELECT")
def select(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x where the condition holds, else y; the condition has their shape, or rank 1 and picks rows, or is a scalar.

    x and y of any one dtype, condition bool; the output has the shape of x.
    """
    condition, first, second = _select_operands(node, inputs)
    if first.shape != second.shape:
        fail(node, "shape of input 2", list(second.shape), f"that of input 1, {list(first.shape)}")
    if condition.shape != first.shape and condition.ndim == 1 and first.ndim and condition.shape[0] == first.shape[0]:
        condition = condition.reshape(-1, *[1] * (first.ndim - 1))
    elif condition.shape != first.shape and condition.size != 1:
        fail(
            node,
            "shape of input 0 (condition)",
            list(condition.shape),
            f"{list(first.shape)}, its first dimension, or []",
        )
    return [np.where(condition, first, second).reshape(first.shape)]


@kernel("SELECT_V2")
def select_v2(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x where the condition holds, else y; all three broadcast.

    x and y of any one dtype, condition bool; the output has the shape that they broadcast to.
    """
    condition, first, second = _select_operands(node, inputs)
    try:
        check_shape(node, np.broadcast_shapes(condition.shape, first.shape, second.shape))
    except ValueError:
        shapes = [list(a.shape) for a in (condition, first, second)]
        fail(node, "shapes of the inputs", shapes, "such that they broadcast")
    return [np.asarray(np.where(condition, first, second))]


def _select_operands(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, Array, Array]:
    condition = operand(node, inputs, 0, "condition")
    first, second = operand(node, inputs, 1, "x"), operand(node, inputs, 2, "y")
    require_type(node, condition, "type of input 0 (condition)", np.bool_)
    if first.dtype != second.dtype:
        fail(node, "type of input 2", second.dtype.name, f"that of input 1, {first.dtype.name}")
    return condition, first, second
