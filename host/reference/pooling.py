"""AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D on NHWC tensors.

Semantics: LiteRT's reference kernels; cells outside the input never count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from nnapi_toolkit.reference.blocks import BLOCK, blocks
from nnapi_toolkit.reference.fixed_point import truncating_divide
from nnapi_toolkit.reference.quantized import clamp_float, quantized_range
from nnapi_toolkit.reference.window import Axis, axis, padded_rows
from numpy.typing import NDArray


def _axes(node: Node, values: Array) -> tuple[Axis, Axis]:
    options = node.operator.options
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    vertical = axis(node, "h", values.shape[1], options.filter_height, options.stride_h, 1, options.padding)
    horizontal = axis(node, "w", values.shape[2], options.filter_width, options.stride_w, 1, options.padding)
    check_shape(node, (values.shape[0], vertical.out, horizontal.out, values.shape[3]))
    return vertical, horizontal


def _pool(
    values: Array,
    axes: tuple[Axis, Axis],
    fill: float,
    dtype: np.dtype[Any],
    combine: Callable[..., Array],
    finish: Callable[[Array, slice], Array],
) -> Array:
    """Combines the cells of each window, row by row of the window, in blocks of output rows.

    Args:
        values: [N, H, W, C].
        axes: Vertical and horizontal.
        fill: What padded cells hold, and what each window starts from.
        dtype: To combine in.
        combine: (so far, cells, out=).
        finish: Turns a block [rows, out_w, C], and which output rows they are, into outputs of the input's type.
    """
    vertical, horizontal = axes
    result = np.empty((values.shape[0], vertical.out, horizontal.out, values.shape[3]), values.dtype)
    if result.size == 0:
        return result
    across = (horizontal.out - 1) * horizontal.stride + 1
    for n in range(values.shape[0]):
        for (rows,) in blocks((vertical.out,), BLOCK // math.prod(result.shape[2:])):
            padded = padded_rows(values[n], axes, rows, fill)
            so_far = np.full(result[n, rows].shape, fill, dtype)
            down = (len(so_far) - 1) * vertical.stride + 1
            for y in range(vertical.kernel):
                for x in range(horizontal.kernel):
                    window = padded[y : y + down : vertical.stride, x : x + across : horizontal.stride]
                    combine(so_far, window, out=so_far)
            result[n, rows] = finish(so_far, rows)
    return result


def _counts(axes: tuple[Axis, Axis]) -> NDArray[np.int64]:
    """Cells inside the input per output position, shape [out_h, out_w, 1]."""
    spans = []
    for a in axes:
        first = np.arange(a.out) * a.stride - a.before
        spans.append(np.minimum(first + a.kernel, a.size) - np.maximum(first, 0))
    return (spans[0][:, None] * spans[1][None, :])[..., None].astype(np.int64)


@kernel("AVERAGE_POOL_2D")
def average_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Mean of each window. float32; uint8, int8, int16: integer mean of the stored numbers, half away from zero."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    axes = _axes(node, values)
    activation = node.operator.options.fused_activation_function
    counts = _counts(axes)
    if values.dtype == np.float32:

        def mean(sums: Array, rows: slice) -> Array:
            sums /= counts[rows].astype(np.float32)
            return clamp_float(sums, activation)

        return [_pool(values, axes, 0, values.dtype, np.add, mean)]
    limits = quantized_range(node, node.output(0), activation, values.dtype)

    def integer_mean(sums: Array, rows: slice) -> Array:
        cells = counts[rows].astype(np.int32)
        half = cells // 2
        if values.dtype == np.uint8:
            means: Array = (sums + half) // cells
        else:
            means = truncating_divide(sums + np.where(sums > 0, half, -half), cells.astype(np.int64))
        return np.clip(means, *limits)

    return [_pool(values, axes, 0, np.dtype(np.int32), np.add, integer_mean)]


@kernel("MAX_POOL_2D")
def max_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Largest value of each window. float32; uint8, int8, int16 on the stored numbers."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    axes = _axes(node, values)
    activation = node.operator.options.fused_activation_function
    if values.dtype == np.float32:
        lowest = float(np.finfo(np.float32).min)
        return [_pool(values, axes, lowest, values.dtype, np.fmax, lambda top, _: clamp_float(top, activation))]
    limits = quantized_range(node, node.output(0), activation, values.dtype)
    lowest = int(np.iinfo(values.dtype).min)
    return [_pool(values, axes, lowest, values.dtype, np.maximum, lambda top, _: np.clip(top, *limits))]


@kernel("L2_POOL_2D")
def l2_pool_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Root of the mean of squares of each window, float32."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32)
    axes = _axes(node, values)
    counts = _counts(axes)

    def add_squares(so_far: Array, cells: Array, out: Array) -> Array:
        return np.add(so_far, cells * cells, out=out)

    def root(sums: Array, rows: slice) -> Array:
        sums /= counts[rows].astype(np.float32)
        return clamp_float(np.sqrt(sums, out=sums), node.operator.options.fused_activation_function)

    return [_pool(values, axes, 0, values.dtype, add_squares, root)]
