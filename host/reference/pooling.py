"""AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D on NHWC tensors.

Semantics: LiteRT's reference kernels; cells outside the input never count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from nnapi_toolkit.reference.fixed_point import truncating_divide
from nnapi_toolkit.reference.quantized import clamp_float, quantized_range
from nnapi_toolkit.reference.window import Axis, axis, pad_spatial
from numpy.typing import NDArray


def _axes(node: Node, values: Array) -> tuple[Axis, Axis]:
    options = node.operator.options
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    vertical = axis(node, "h", values.shape[1], options.filter_height, options.stride_h, 1, options.padding)
    horizontal = axis(node, "w", values.shape[2], options.filter_width, options.stride_w, 1, options.padding)
    check_shape(node, (values.shape[0], vertical.out, horizontal.out, values.shape[3]))
    return vertical, horizontal


def _fold(padded: Array, axes: tuple[Axis, Axis], start: Array, combine: Callable[..., Array]) -> Array:
    """Combines the cells of each window into `start`, row by row of the window."""
    vertical, horizontal = axes
    down = (vertical.out - 1) * vertical.stride + 1
    across = (horizontal.out - 1) * horizontal.stride + 1
    for y in range(vertical.kernel):
        for x in range(horizontal.kernel):
            window = padded[:, y : y + down : vertical.stride, x : x + across : horizontal.stride]
            combine(start, window, out=start)
    return start


def _counts(axes: tuple[Axis, Axis]) -> NDArray[np.int64]:
    """Cells inside the input per output position, shape [out_h, out_w, 1]."""
    spans = []
    for a in axes:
        first = np.arange(a.out) * a.stride - a.before
        spans.append(np.minimum(first + a.kernel, a.size) - np.maximum(first, 0))
    return (spans[0][:, None] * spans[1][None, :])[..., None].astype(np.int64)


def _empty(values: Array, axes: tuple[Axis, Axis], dtype: type[np.generic], fill: float = 0) -> Array:
    return np.full((values.shape[0], axes[0].out, axes[1].out, values.shape[3]), fill, dtype)


@kernel("AVERAGE_POOL_2D")
def average_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Mean of each window. float32; uint8, int8, int16: integer mean of the stored numbers, half away from zero."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    axes = _axes(node, values)
    activation = node.operator.options.fused_activation_function
    counts = _counts(axes)
    if values.dtype == np.float32:
        sums = _fold(pad_spatial(values, axes, 0), axes, _empty(values, axes, np.float32), np.add)
        sums /= counts.astype(np.float32)
        return [clamp_float(sums, activation)]
    sums = _fold(pad_spatial(values, axes, 0), axes, _empty(values, axes, np.int32), np.add)
    half = (counts // 2).astype(np.int32)
    if values.dtype == np.uint8:
        means: Array = (sums + half) // counts.astype(np.int32)
    else:
        means = truncating_divide(sums + np.where(sums > 0, half, -half), counts.astype(np.int32))
    limits = quantized_range(node, node.output(0), activation, values.dtype)
    return [np.clip(means, *limits).astype(values.dtype)]


@kernel("MAX_POOL_2D")
def max_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Largest value of each window. float32; uint8, int8, int16 on the stored numbers."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    axes = _axes(node, values)
    activation = node.operator.options.fused_activation_function
    if values.dtype == np.float32:
        lowest = float(np.finfo(np.float32).min)
        start = _empty(values, axes, np.float32, lowest)
        return [clamp_float(_fold(pad_spatial(values, axes, lowest), axes, start, np.fmax), activation)]
    lowest = int(np.iinfo(values.dtype).min)
    start = _empty(values, axes, values.dtype.type, lowest)
    largest = _fold(pad_spatial(values, axes, lowest), axes, start, np.maximum)
    limits = quantized_range(node, node.output(0), activation, values.dtype)
    return [np.clip(largest, *limits)]


@kernel("L2_POOL_2D")
def l2_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Root of the mean of squares of each window, float32."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32)
    axes = _axes(node, values)
    sums = _fold(pad_spatial(values * values, axes, 0), axes, _empty(values, axes, np.float32), np.add)
    sums /= _counts(axes).astype(np.float32)
    return [clamp_float(np.sqrt(sums, out=sums), node.operator.options.fused_activation_function)]
