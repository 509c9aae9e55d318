"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR on NHWC tensors.

Semantics: LiteRT's reference kernels: bilinear in float32 for float32 and uint8, with 10-bit fractions for int8 and int16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from nnapi_toolkit.reference.blocks import BLOCK, blocks
from nnapi_toolkit.reference.fixed_point import round_half_away, truncating_divide, truncating_shift
from numpy.typing import NDArray


def _sizes(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, int, int]:
    values, size = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "size")
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    if size.shape != (2,) or size.dtype != np.int32:
        fail(node, "input 1 (size)", f"{size.dtype}{list(size.shape)}", "int32[2]")
    height, width = int(size[0]), int(size[1])
    if height < 1 or width < 1:
        fail(node, "input 1 (size)", [height, width], "1 or more each")
    if values.shape[1] < 1 or values.shape[2] < 1:
        fail(node, "shape of input 0", list(values.shape), "of height and width 1 or more")
    check_shape(node, (values.shape[0], height, width, values.shape[3]))
    options = node.operator.options
    if options.align_corners and options.half_pixel_centers and node.operator.name == "RESIZE_BILINEAR":
        fail(node, "align_corners and half_pixel_centers", "both true", "at most one true")
    return values, height, width


@kernel("RESIZE_BILINEAR")
def resize_bilinear(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Bilinear interpolation to the size in input 1 (int32 [height, width])."""
    values, height, width = _sizes(node, inputs)
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    options = node.operator.options
    integer = values.dtype in (np.int8, np.int16)
    positions = _integer_positions if integer else _float_positions
    sides = [
        positions(size, out, options.align_corners, options.half_pixel_centers)
        for size, out in zip(values.shape[1:3], (height, width))
    ]
    interpolate = _bilinear_integer if integer else _bilinear_float
    result = np.empty((values.shape[0], height, width, values.shape[3]), values.dtype)
    for n in range(values.shape[0]):
        for (rows,) in blocks((height,), BLOCK // max(1, width * values.shape[3])):
            result[n, rows] = interpolate(values[n], [side[rows] for side in sides[0]], sides[1])
    return [result]


def _bilinear_float(values: Array, rows: Sequence[Array], columns: Sequence[Array]) -> Array:
    """Some rows of the output from [H, W, C]; lower index, upper index and fraction of each row and column."""
    one = np.float32(1)
    down, across = rows[2][:, None, None], columns[2][None, :, None]

    def corner(y: Array, x: Array) -> Array:
        return values[y[:, None], x].astype(np.float32, copy=False)

    result = corner(rows[0], columns[0]) * (one - down) * (one - across)
    result += corner(rows[1], columns[0]) * down * (one - across)
    result += corner(rows[0], columns[1]) * (one - down) * across
    result += corner(rows[1], columns[1]) * down * across
    return result if values.dtype == np.float32 else (result + np.float32(0.5)).astype(np.uint8)


def _float_positions(
    size: int, out: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Lower index, upper index and fraction of each output position along one axis, in float32."""
    scale = np.float32(size) / np.float32(out)
    if align_corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    at = np.arange(out, dtype=np.float32)
    if half_pixel_centers:
        position = (at + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        position = at * scale
    low = np.maximum(np.floor(position).astype(np.int64), 0)
    high = np.minimum(np.ceil(position).astype(np.int64), size - 1)
    return np.minimum(low, size - 1), high, position - low.astype(np.float32)


def _bilinear_integer(values: Array, rows: Sequence[Array], columns: Sequence[Array]) -> Array:
    """As `_bilinear_float`, with fractions in 1/1024."""
    down, across = rows[2][:, None, None], columns[2][None, :, None]

    def corner(y: Array, x: Array) -> Array:
        return values[y[:, None], x].astype(np.int64)

    total = corner(rows[0], columns[0]) * (1024 - down) * (1024 - across)
    total += corner(rows[1], columns[0]) * down * (1024 - across)
    total += corner(rows[0], columns[1]) * (1024 - down) * across
    total += corner(rows[1], columns[1]) * down * across
    rounded = total + np.where(total > 0, 1 << 19, -(1 << 19))
    return truncating_shift(rounded, 20).astype(values.dtype)


def _integer_positions(
    size: int, out: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lower index, upper index and fraction in 1/1024 of each output position along one axis."""
    scale = (1024 * size + out // 2) // out
    if align_corners and out > 1:
        scale = (1024 * (size - 1) + (out - 1) // 2) // (out - 1)
    position = np.arange(out, dtype=np.int64) * scale
    if half_pixel_centers:
        position = position + scale // 2 - 512
    low = np.minimum(np.maximum(truncating_divide(position, 1024), 0), size - 1)
    high = np.minimum(truncating_divide(position + 1023, 1024), size - 1)
    return low, high, position - 1024 * low


@kernel("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest_neighbor(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Nearest cell to the size in input 1 (int32 [height, width]); any dtype."""
    values, height, width = _sizes(node, inputs)
    options = node.operator.options

    def positions(size: int, out: int) -> NDArray[np.int64]:
        if options.align_corners and out > 1:
            scale = np.float32(size - 1) / np.float32(out - 1)
        else:
            scale = np.float32(size) / np.float32(out)
        offset = np.float32(0.5 if options.half_pixel_centers else 0)
        scaled = (np.arange(out, dtype=np.float32) + offset) * scale
        whole = round_half_away(scaled) if options.align_corners else np.floor(scaled)
        return np.clip(whole.astype(np.int64), 0, size - 1)

    rows, columns = positions(values.shape[1], height), positions(values.shape[2], width)
    return [np.take(np.take(values, rows, axis=1), columns, axis=2)]
