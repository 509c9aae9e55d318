"""MEAN, SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ANY, REDUCE_ALL, ARG_MAX, ARG_MIN, CUMSUM.

Semantics: LiteRT's reference kernels. Input 1 holds the axes (int32); negative ones count from the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    axis_of,
    check_shape,
    fail,
    kernel,
    operand,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.fixed_point import (
    Int64,
    Multiplier,
    multiply_by_quantized_multiplier,
    multiply_int64_accumulator,
    quantize_multiplier,
    truncating_divide,
    wrap32,
)
from nnapi_toolkit.reference.quantized import (
    QUANTIZED,
    scale_of,
    scale_or_zero,
    type_range,
    zero_point_of,
)
from nnapi_toolkit.reference.sums import fold_in_order
from numpy.typing import NDArray


def reduced_axes(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, tuple[int, ...]]:
    """The input and its reduced axes, sorted and without repeats."""
    values, given = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "axis")
    if values.ndim == 0:
        return values, ()
    return values, tuple(sorted({axis_of(node, int(axis), values.ndim) for axis in given.reshape(-1)}))


def _shape(node: Node, values: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    if node.operator.options.keep_dims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(values.shape))
    return tuple(size for axis, size in enumerate(values.shape) if axis not in axes)


def _count(values: Array, axes: tuple[int, ...]) -> int:
    return math.prod(values.shape[axis] for axis in axes)


def _in_order(function: np.ufunc, values: Array, axes: tuple[int, ...]) -> Array:
    """Sum or product over axes in the order of the elements."""
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    ordered = np.transpose(values, (*axes, *kept))
    with np.errstate(over="ignore", invalid="ignore"):
        return fold_in_order(function, ordered.reshape(_count(values, axes), *(values.shape[axis] for axis in kept)))


@kernel("MEAN")
def mean(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32; int32, int64 truncated toward zero; uint8, int8, int16 with rescaling. An empty input gives NaN or 0."""
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", np.float32, np.int32, np.int64, np.uint8, np.int8, np.int16)
    shape, count = _shape(node, values, axes), _count(values, axes)
    if values.size == 0:
        return [np.full(shape, np.nan if values.dtype == np.float32 else 0, values.dtype)]
    if values.dtype == np.float32:
        return [np.asarray(_in_order(np.add, values, axes) / np.float32(count)).reshape(shape)]
    if values.dtype in (np.int32, np.int64):
        return [
            truncating_divide(np.sum(values, axis=axes, dtype=np.int64), count)
            .astype(values.dtype)
            .reshape(shape)
        ]
    return [_quantized_sum(node, values, axes, count, average=True).reshape(shape)]


@kernel("SUM")
def sum_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32, int32, int64 (wrapping); uint8, int8, int16 with rescaling; bools: or.

    LiteRT's own reference kernel takes int8 and int16 numbers for uint8 ones here; this one sums what they are.
    """
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", np.bool_, np.float32, np.int32, np.int64, *QUANTIZED)
    shape = _shape(node, values, axes)
    if values.dtype == np.bool_:
        return [np.asarray(np.any(values, axis=axes)).reshape(shape)]
    if values.dtype == np.float32:
        return [_in_order(np.add, values, axes).reshape(shape)]
    if values.dtype in (np.int32, np.int64):
        return [np.sum(values, axis=axes, dtype=values.dtype).reshape(shape)]
    return [_quantized_sum(node, values, axes, _count(values, axes), average=False).reshape(shape)]


def _quantized_sum(node: Node, values: Array, axes: tuple[int, ...], count: int, average: bool) -> Array:
    """Sum of (x - zero point), rescaled; the mean's division is folded into the multiplier."""
    source, target = tensor_in(node, 0), node.output(0)
    significand, exponent = quantize_multiplier(scale_of(node, source) / scale_of(node, target))
    if average:
        shift = min(count.bit_length() - 1, 32, 31 + exponent)
        significand = (significand << shift) // count
        exponent -= shift
    total = np.sum(values, axis=axes, dtype=np.int64) - zero_point_of(source) * count
    multiplier = Multiplier(np.asarray(significand, np.int64), np.asarray(exponent, np.int64))
    scaled = multiply_by_quantized_multiplier(wrap32(np.asarray(total)), multiplier) + zero_point_of(target)
    return np.clip(scaled, *type_range(values.dtype)).astype(values.dtype)


_REDUCIBLE = (np.float32, np.int32, np.int64, np.uint8, np.int8, np.int16, np.bool_)


def _refuse_rescaling(node: Node, values: Array) -> None:
    source, target = tensor_in(node, 0), node.output(0)
    if values.dtype.type in QUANTIZED and (
        scale_or_zero(source) != scale_or_zero(target) or zero_point_of(source) != zero_point_of(target)
    ):
        fail(
            node,
            "quantization of the output",
            (scale_or_zero(target), zero_point_of(target)),
            f"that of the input, {(scale_or_zero(source), zero_point_of(source))}",
        )


def extreme(values: Array, axes: tuple[int, ...], largest: bool) -> Array:
    """Maximum or minimum along axes; NaNs lose, an empty range gives the type's last resort."""
    if values.dtype == np.bool_:
        return np.any(values, axis=axes) if largest else np.all(values, axis=axes)
    info: Any = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype)
    start = info.min if largest else info.max
    if values.dtype.kind == "f":
        function: np.ufunc = np.fmax if largest else np.fmin
    else:
        function = np.maximum if largest else np.minimum
    return np.asarray(function.reduce(values, axis=axes, initial=start))


@kernel("REDUCE_MAX")
def reduce_max(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Largest value; quantised tensors need equal parameters of input and output.

    float32, int32, int64, uint8, int8, int16, bool.
    """
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", *_REDUCIBLE)
    _refuse_rescaling(node, values)
    return [extreme(values, axes, largest=True).reshape(_shape(node, values, axes))]


@kernel("REDUCE_MIN")
def reduce_min(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Smallest value; quantised tensors need equal parameters of input and output.

    float32, int32, int64, uint8, int8, int16, bool.
    """
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", *_REDUCIBLE)
    _refuse_rescaling(node, values)
    return [extreme(values, axes, largest=False).reshape(_shape(node, values, axes))]


@kernel("REDUCE_ANY")
def reduce_any(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Logical or of bools."""
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", np.bool_)
    return [np.asarray(np.any(values, axis=axes)).reshape(_shape(node, values, axes))]


@kernel("REDUCE_ALL")
def reduce_all(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Logical and of bools."""
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", np.bool_)
    return [np.asarray(np.all(values, axis=axes)).reshape(_shape(node, values, axes))]


@kernel("REDUCE_PROD")
def reduce_prod(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Product. float32, int32, int64 (wrapping); int8 and int16 with a rescaling after every factor; bools: and.

    8- and 16-bit integers without parameters are plain numbers, and wrap.
    """
    values, axes = reduced_axes(node, inputs)
    require_type(node, values, "type of input 0", np.bool_, np.float32, np.int32, np.int64, *QUANTIZED)
    shape = _shape(node, values, axes)
    if values.dtype == np.bool_:
        return [np.asarray(np.all(values, axis=axes)).reshape(shape)]
    plain = values.dtype.type in QUANTIZED and scale_or_zero(tensor_in(node, 0)) == 0
    if values.dtype == np.uint8 and not plain:
        fail(node, "type of input 0", "uint8 with a scale", "int8 or int16 with one, or without a scale")
    if values.dtype == np.float32:
        return [_in_order(np.multiply, values, axes).reshape(shape)]
    if plain or values.dtype in (np.int32, np.int64):
        return [np.prod(values, axis=axes, dtype=values.dtype).reshape(shape)]
    return [_quantized_product(node, values, axes).reshape(shape)]


def _quantized_product(node: Node, values: Array, axes: tuple[int, ...]) -> Array:
    source, target = tensor_in(node, 0), node.output(0)
    kept = [axis for axis in range(values.ndim) if axis not in axes]
    count = _count(values, axes)
    rows = np.transpose(values, (*kept, *axes)).reshape(-1, count).astype(np.int64) - zero_point_of(source)
    if rows.size == 0:
        return np.zeros(rows.shape[0], values.dtype)
    real = scale_of(node, source) / math.pow(scale_of(node, target), 1.0 / count)
    multiplier = Multiplier.of(real)
    product: Int64 = rows[:, 0]
    for index in range(1, count):
        product = wrap32(multiply_int64_accumulator(product * rows[:, index], multiplier))
    scaled = wrap32(multiply_int64_accumulator(product, multiplier)) + zero_point_of(target)
    return np.clip(scaled, *type_range(values.dtype)).astype(values.dtype)


def _arg_extreme(node: Node, inputs: Sequence[Array | None], largest: bool) -> Array:
    values, where = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "axis")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int32, np.bool_)
    if where.size != 1:
        fail(node, "elements of input 1 (axis)", where.size, "1")
    axis = axis_of(node, int(where.reshape(-1)[0]), values.ndim)
    dtype = np.dtype(node.output(0).dtype)
    if values.shape[axis] == 0:
        fail(node, f"dimension {axis} of input 0", 0, "1 or more")
    if values.dtype.kind == "f":
        first_is_nan = np.isnan(np.take(values, 0, axis=axis))
        values = np.where(np.isnan(values), np.float32(-np.inf if largest else np.inf), values)
        found = values.argmax(axis=axis) if largest else values.argmin(axis=axis)
        return np.where(first_is_nan, 0, found).astype(dtype)
    return np.asarray(values.argmax(axis=axis) if largest else values.argmin(axis=axis)).astype(dtype)


@kernel("ARG_MAX")
def arg_max(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Index of the first largest value along the axis in input 1, as int32 or int64."""
    return [_arg_extreme(node, inputs, largest=True)]


@kernel("ARG_MIN")
def arg_min(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Index of the first smallest value along the axis in input 1, as int32 or int64."""
    return [_arg_extreme(node, inputs, largest=False)]


@kernel("CUMSUM")
def cumsum(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Running sum along the axis in input 1. float32, int32, int64; `exclusive` leaves the own value out."""
    values, where = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "axis")
    require_type(node, values, "type of input 0", np.float32, np.int32, np.int64)
    if where.size != 1:
        fail(node, "elements of input 1 (axis)", where.size, "1")
    axis = axis_of(node, int(where.reshape(-1)[0]), values.ndim)
    options = node.operator.options
    check_shape(node, values.shape)
    ordered = np.flip(values, axis) if options.reverse else values
    sums: NDArray[Any] = np.cumsum(ordered, axis=axis, dtype=values.dtype)
    if options.exclusive and values.shape[axis]:
        sums = np.roll(sums, 1, axis)
        sums[(slice(None),) * axis + (0,)] = 0
    return [np.ascontiguousarray(np.flip(sums, axis) if options.reverse else sums)]
