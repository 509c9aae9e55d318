"""Geometry of sliding windows and matrix products over them, shared by convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, check_shape, fail
from nnapi_toolkit.reference.blocks import blocks
from nnapi_toolkit.reference.sums import Matrix
from numpy.lib.stride_tricks import as_strided

SAME, VALID = 0, 1

#: Elements of one block of gathered patches, and of its sums: they should stay in the second-level cache.
PATCH_ELEMENTS = 1 << 17

#: With fewer rows than this, a block may have twice as many elements: narrow products are slow.
PATCH_ROWS = 256


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis: sizes in cells, `before` and `after` are the padding."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


def axis(node: Node, name: str, size: int, kernel: int, stride: int, dilation: int, padding: int) -> Axis:
    """Output size and padding of one axis by TensorFlow's rules.

    Raises:
        ModelError: A stride, dilation or kernel below one, an unknown padding, or a window larger than the input.
    """
    for what, value in (
        (f"stride_{name}", stride),
        (f"dilation_{name}_factor", dilation),
        (f"filter {name}", kernel),
    ):
        if value < 1:
            fail(node, what, value, "1 or more")
    effective = (kernel - 1) * dilation + 1
    if padding == SAME:
        out = -(-size // stride)
    elif padding == VALID:
        out = int(math.trunc((size + stride - effective) / stride))
    else:
        fail(node, "padding", padding, "SAME or VALID")
    if out < 0:
        fail(node, f"input {name}", size, f"at least the window's {effective} for VALID padding")
    total = max(0, (out - 1) * stride + effective - size)
    return Axis(size, out, kernel, stride, dilation, total // 2, total - total // 2)


def padded_rows(item: Array, axes: Sequence[Axis], rows: slice, fill: float) -> Array:
    """What a range of output rows reads of one batch item: its part of the first axis, all spatial axes padded.

    Args:
        item: [*spatial, C].
        axes: One per spatial axis.
        rows: Of the output's first spatial axis, with a start and a stop.
        fill: The value of padded cells.

    Returns:
        [*padded spatial, C]; a view where nothing is padded.
    """
    first = axes[0]
    begin = rows.start * first.stride - first.before
    end = (rows.stop - 1) * first.stride + (first.kernel - 1) * first.dilation + 1 - first.before
    part = item[max(0, begin) : max(0, min(end, first.size))]
    missing = end - begin - len(part)
    above = min(max(0, -begin), missing)
    needed = [(above, missing - above)]
    for a in axes[1:]:
        needed.append((a.before, max(0, (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1 - a.size - a.before)))
    if not any(before or after for before, after in needed):
        return part
    shape = [size + before + after for size, (before, after) in zip(part.shape, needed)]
    padded = np.full((*shape, part.shape[-1]), fill, part.dtype)
    padded[tuple(slice(before, before + size) for size, (before, _) in zip(part.shape, needed))] = part
    return padded


def patches(padded: Array, axes: Sequence[Axis], counts: Sequence[int]) -> Array:
    """A view [*counts, *kernel, C] of windows of a padded [*spatial, C]; nothing is copied."""
    spatial = padded.strides[:-1]
    shape = (*counts, *(a.kernel for a in axes), padded.shape[-1])
    steps = (
        *(s * a.stride for s, a in zip(spatial, axes)),
        *(s * a.dilation for s, a in zip(spatial, axes)),
        padded.strides[-1],
    )
    return as_strided(padded, shape, steps, writeable=False)


def exact_dtype(bound: int) -> type[np.float32] | type[np.float64]:
    """The smaller float type in which every sum of products up to `bound` is exact."""
    return np.float32 if bound < 2**24 else np.float64


Finish = Callable[[Array, int], Array]


def _rows_of_a_block(width: int) -> int:
    """How many windows are gathered at once, when a window or its sums have `width` elements."""
    width = max(1, width)
    return min(2 * PATCH_ELEMENTS // width, max(PATCH_ELEMENTS // width, PATCH_ROWS))


def convolve(
    node: Node,
    values: Array,
    axes: Sequence[Axis],
    matrices: Sequence[Matrix],
    fill: float,
    finish: Finish,
    dtype: np.dtype[np.generic],
) -> Array:
    """Matrix product over windows, block by block: the gathered windows and sums of a block are all that it holds.

    Args:
        node: For messages.
        values: Input [N, *spatial, C].
        axes: One per spatial axis.
        matrices: One weight matrix [prod(kernel) * C / groups, O / groups] per group.
        fill: The value of padded cells.
        finish: Turns a block of sums [rows, O] of batch item n into outputs of `dtype`; may reuse the block.
        dtype: Of the output.

    Returns:
        Output [N, *out, O].
    """
    channels = sum(m.values.shape[1] for m in matrices)
    batch, spatial = values.shape[0], tuple(a.out for a in axes)
    result = np.empty(check_shape(node, (batch, *spatial, channels)), dtype)
    if result.size == 0:
        return result
    pointwise = all(a.kernel == 1 and a.stride == 1 for a in axes) and len(matrices) == 1
    depth = math.prod(a.kernel for a in axes) * values.shape[-1]
    for n in range(batch):
        if pointwise:
            _pointwise(values[n], matrices[0], result[n], finish, n)
            continue
        for where in blocks(spatial, _rows_of_a_block(max(depth, channels))):
            counts = [part.stop - part.start for part in where]
            padded = padded_rows(values[n], axes, where[0], fill)
            for place, (part, a) in enumerate(zip(where[1:], axes[1:]), 1):
                padded = padded[(slice(None),) * place + (slice(part.start * a.stride, None),)]
            block = patches(padded, axes, counts)
            sums = _block_product(block, math.prod(counts), matrices)
            result[n][where] = finish(sums, n).reshape(*counts, channels)
    return result


def _pointwise(values: Array, matrix: Matrix, result: Array, finish: Finish, n: int) -> None:
    """One batch item of a 1x1 convolution: a plain matrix product, in blocks of rows."""
    rows = values.reshape(-1, values.shape[-1])
    out = result.reshape(-1, result.shape[-1])
    step = max(64, _rows_of_a_block(max(matrix.values.shape)))
    for start in range(0, rows.shape[0], step):
        out[start : start + step] = finish(matrix.times(rows[start : start + step]), n)


def _block_product(block: Array, rows: int, matrices: Sequence[Matrix]) -> Array:
    if len(matrices) == 1:
        return matrices[0].times(block.reshape(rows, -1))
    depth = block.shape[-1] // len(matrices)
    parts = []
    for g, matrix in enumerate(matrices):
        taken = block[..., g * depth : (g + 1) * depth].reshape(rows, -1)
        parts.append(matrix.times(taken))
    return np.concatenate(parts, axis=1)
