"""What the first feature levels lack, said in the operations that they have.

The float forms are exact: a product with -1 only turns the sign, and of the two halves of a value, what RELU leaves of it and
of its negative, one is zero.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8, FuseCode, OperandCode
from nnapi_toolkit.delegate.ops import pad, reduction
from nnapi_toolkit.delegate.ops.base import Case
from nnapi_toolkit.delegate.ops.elementwise import check_broadcast
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

#: Most bytes that the constants of one padding may take.
_MOST_PADDING = 1 << 24
_VALID = 2


def _number(builder: ProgramBuilder, value: float) -> int:
    return builder.constant(np.array([value], np.float32), OperandCode.TENSOR_FLOAT32)


def _binary(builder: ProgramBuilder, name: str, a: int, b: int, target: int, fuse: int = FuseCode.NONE) -> int:
    builder.operation(name, [a, b, builder.int32(fuse)], target)
    return target


def _negated(builder: ProgramBuilder, x: int, target: int | None = None) -> int:
    return _binary(builder, "MUL", x, _number(builder, -1), builder.temporary_like(x) if target is None else target)


def _float_rule(case: Case) -> None:
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("MUL", x)
    case.operation("RELU", x)
    case.same_type(case.output(), x)


# -- PRELU, LEAKY_RELU, NEG, ABS, SUB -------------------------------------------------------------------------------


def _prelu_rule(case: Case) -> None:
    _float_rule(case)
    if case.node.operator.name == "PRELU":
        check_broadcast(case, "MUL")
        case.need(
            tuple(case.input(0).shape) == tuple(case.output().shape),
            "operand-shape",
            case.input(0),
            list(case.input(0).shape),
            f"{list(case.output().shape)}: only alpha broadcasts",
        )
        case.constant(case.input(1, "alpha"))


def _lower_prelu(builder: ProgramBuilder, case: Case) -> None:
    """relu(x) + relu(-x) * -alpha."""
    x, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    if case.node.operator.name == "PRELU":
        alpha = case.constant(case.input(1)).astype(np.float32)
    else:
        alpha = np.array([case.options.alpha], np.float32)
    slope = builder.constant(-alpha.reshape(alpha.shape or (1,)), OperandCode.TENSOR_FLOAT32)
    positive, negative, scaled = (builder.temporary_like(x) for _ in range(3))
    builder.operation("RELU", [x], positive)
    builder.operation("RELU", [_negated(builder, x)], negative)
    _binary(builder, "ADD", positive, _binary(builder, "MUL", negative, slope, scaled), out)


def _lower_neg(builder: ProgramBuilder, case: Case) -> None:
    _negated(builder, builder.tensor(case.input(0)), builder.tensor(case.output()))


def _lower_abs(builder: ProgramBuilder, case: Case) -> None:
    """relu(x) + relu(-x)."""
    x, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    positive, negative = builder.temporary_like(x), builder.temporary_like(x)
    builder.operation("RELU", [x], positive)
    builder.operation("RELU", [_negated(builder, x)], negative)
    _binary(builder, "ADD", positive, negative, out)


def _sub_rule(case: Case) -> None:
    case.typed(case.input(0), TensorType.FLOAT32)
    check_broadcast(case, "ADD")
    case.operation("MUL", case.input(1))
    if case.node.operator.name == "SUB":
        case.fuse()


def _lower_sub(builder: ProgramBuilder, case: Case) -> None:
    """x + -y; squared for SQUARED_DIFFERENCE."""
    x, y, out = builder.tensor(case.input(0)), builder.tensor(case.input(1)), builder.tensor(case.output())
    turned = _negated(builder, y)
    if case.node.operator.name == "SUB":
        _binary(builder, "ADD", x, turned, out, case.fuse())
        return
    difference = _binary(builder, "ADD", x, turned, builder.temporary_like(out))
    _binary(builder, "MUL", difference, difference, out)


# -- MEAN, REDUCE_MAX -----------------------------------------------------------------------------------------------

_POOLS = {"MEAN": "AVERAGE_POOL_2D", "REDUCE_MAX": "MAX_POOL_2D"}


def _pool_shape(case: Case) -> tuple[tuple[int, ...], tuple[int, int]]:
    """An image of the input and the window, height and width, that covers what is reduced."""
    shape, axes = case.input(0).shape, reduction.axes_of(case)
    if len(shape) == 4 and set(axes) <= {1, 2}:
        return tuple(shape), (shape[1] if 1 in axes else 1, shape[2] if 2 in axes else 1)
    first, last = axes[0], axes[-1] + 1
    size = prod(shape[first:last])
    return (prod(shape[:first]), 1, size, prod(shape[last:])), (1, size)


def _pool_rule(case: Case) -> None:
    """Over dimensions that lie together. Means are float: 8-bit pools round otherwise than MEAN."""
    pool = _POOLS[case.node.operator.name]
    reduction.check_reduction(case, pool, any_rank=True)
    x, out = case.input(0), case.output()
    if case.node.operator.name == "MEAN":
        case.typed(x, TensorType.FLOAT32)
    case.same_quantization(out, x, pool)
    axes = reduction.axes_of(case)
    case.need(
        axes == list(range(axes[0], axes[-1] + 1)), "operand-value", case.input(1), axes, "dimensions that lie together"
    )
    image, window = _pool_shape(case)
    pooled = [image[0], *(size // w for size, w in zip(image[1:3], window)), image[3]]
    for operand, wanted in ((x, image), (out, pooled)):
        if list(operand.shape) != list(wanted):
            case.operation("RESHAPE", operand)


def _lower_pool(builder: ProgramBuilder, case: Case) -> None:
    image, (height, width) = _pool_shape(case)
    source, target = builder.tensor(case.input(0)), builder.tensor(case.output())
    pooled = (image[0], image[1] // height, image[2] // width, image[3])
    if builder.operand(source).dimensions != image:
        made = builder.temporary_like(source, image)
        builder.operation("RESHAPE", [source, builder.int32_vector(image)], made)
        source = made
    shape = builder.operand(target).dimensions
    result = target if shape == pooled else builder.temporary_like(target, pooled)
    numbers = [_VALID, 1, 1, width, height, FuseCode.NONE]
    builder.operation(_POOLS[case.node.operator.name], [source, *map(builder.int32, numbers)], result)
    if result != target:
        builder.operation("RESHAPE", [result, builder.int32_vector(shape)], target)


# -- PAD ------------------------------------------------------------------------------------------------------------


def _pad_rule(case: Case) -> None:
    pad.check_pad(case, "CONCATENATION")
    x, out = case.input(0), case.output()
    if case.code(x) in QUANT8:
        case.scaled(x)
    if case.has_input(2):
        pad.check_value(case, "CONCATENATION")
    added = (prod(out.shape) - prod(x.shape)) * x.tensor.dtype.itemsize
    case.need(0 < added <= _MOST_PADDING, "operand-size", out, f"{added} bytes of padding", f"1 to {_MOST_PADDING}")


def _lower_pad(builder: ProgramBuilder, case: Case) -> None:
    """Axis by axis, the last first: then the constants are smallest."""
    amounts = pad.paddings(case)
    made, target = builder.tensor(case.input(0)), builder.tensor(case.output())
    described = builder.operand(made)
    quantised = described.type in QUANT8
    value: float = described.zero_point if quantised else 0
    if case.has_input(2):
        given = case.constant(case.input(2)).reshape(-1)[0]
        value = int(given) + (128 if builder.is_shifted(case.input(0).tensor) else 0) if quantised else float(given)
    dtype = np.uint8 if described.type == OperandCode.TENSOR_QUANT8_ASYMM else case.input(0).tensor.dtype
    padded = [axis for axis in reversed(range(len(amounts) // 2)) if any(amounts[2 * axis : 2 * axis + 2])]
    shape = list(described.dimensions)

    def block(axis: int, size: int) -> list[int]:
        if not size:
            return []
        sides = [size if i == axis else length for i, length in enumerate(shape)]
        return [builder.constant(np.full(sides, value, dtype), described.type, described.scale, described.zero_point)]

    for axis in padded:
        before, after = amounts[2 * axis : 2 * axis + 2]
        parts = [*block(axis, before), made, *block(axis, after)]
        shape[axis] += before + after
        made = target if axis == padded[-1] else builder.temporary_like(target, shape)
        builder.operation("CONCATENATION", [*parts, builder.int32(axis)], made)


REWRITES = (
    Rewrite(
        "prelu-by-relu",
        ("PRELU", "LEAKY_RELU"),
        "float PRELU with a constant slope as relu(x) + relu(-x) * -alpha (below feature level 3)",
        True,
        _prelu_rule,
        _lower_prelu,
    ),
    Rewrite("neg-by-mul", ("NEG",), "float NEG as a product with -1 (below feature level 3)", True, _float_rule, _lower_neg),
    Rewrite("abs-by-relu", ("ABS",), "float ABS as relu(x) + relu(-x) (below feature level 3)", True, _float_rule, _lower_abs),
    Rewrite(
        "sub-by-add",
        ("SUB", "SQUARED_DIFFERENCE"),
        "a float difference as x + y * -1 (feature level 1)",
        True,
        _sub_rule,
        _lower_sub,
    ),
    Rewrite(
        "reduce-by-pool",
        ("MEAN", "REDUCE_MAX"),
        "float MEAN and REDUCE_MAX as a pool with one window, between RESHAPEs (below feature level 3)",
        True,
        _pool_rule,
        _lower_pool,
    ),
    Rewrite(
        "pad-by-concatenation",
        ("PAD", "PADV2"),
        "PAD as CONCATENATION with constants (below feature level 3)",
        True,
        _pad_rule,
        _lower_pad,
    ),
)
