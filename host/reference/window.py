"""Geometry of sliding windows and matrix products over them, shared by convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, check_shape, fail
from nnapi_toolkit.reference.sums import product
from numpy.lib.stride_tricks import as_strided

SAME, VALID = 0, 1

#: Elements of one block of gathered patches: it should stay in the second-level cache.
PATCH_ELEMENTS = 1 << 18


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


def pad_spatial(values: Array, axes: Sequence[Axis], fill: float) -> Array:
    """Pads the spatial axes (1 ..) of a channels-last tensor; returns it unchanged if there is nothing to add."""
    needed = [
        (a.before, max(0, (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation + 1 - a.size - a.before))
        for a in axes
    ]
    if not any(before or after for before, after in needed):
        return values
    shape = list(values.shape)
    inner: list[slice] = [slice(None)]
    for position, (before, after) in enumerate(needed):
        shape[1 + position] += before + after
        inner.append(slice(before, before + values.shape[1 + position]))
    padded = np.full(shape, fill, values.dtype)
    padded[tuple(inner)] = values
    return padded


def patches(padded: Array, axes: Sequence[Axis]) -> Array:
    """A view [N, *out, *kernel, C] of all windows of a padded channels-last tensor; nothing is copied."""
    strides = padded.strides
    spatial = strides[1 : 1 + len(axes)]
    shape = (padded.shape[0], *(a.out for a in axes), *(a.kernel for a in axes), padded.shape[-1])
    steps = (
        strides[0],
        *(s * a.stride for s, a in zip(spatial, axes)),
        *(s * a.dilation for s, a in zip(spatial, axes)),
        strides[-1],
    )
    return as_strided(padded, shape, steps, writeable=False)


def exact_dtype(bound: int) -> type[np.float32] | type[np.float64]:
    """The smaller float type in which every sum of products up to `bound` is exact."""
    return np.float32 if bound < 2**24 else np.float64


Finish = Callable[[Array, int], Array]


def convolve(
    node: Node,
    values: Array,
    axes: Sequence[Axis],
    matrices: Sequence[Array],
    fill: float,
    finish: Finish,
    dtype: np.dtype[np.generic],
    in_order: bool = False,
) -> Array:
    """Matrix product over windows, block by block.

    Args:
        node: For messages.
        values: Input [N, *spatial, C].
        axes: One per spatial axis.
        matrices: One weight matrix [prod(kernel) * C / groups, O / groups] per group, in the float type to compute in.
        fill: The value of padded cells.
        finish: Turns a block of sums [rows, O] of batch item n into outputs of `dtype`; may reuse the block.
        dtype: Of the output.
        in_order: Form the sums in the reference's order.

    Returns:
        Output [N, *out, O].
    """
    channels = sum(m.shape[1] for m in matrices)
    batch, spatial = values.shape[0], tuple(a.out for a in axes)
    result = np.empty(check_shape(node, (batch, *spatial, channels)), dtype)
    if result.size == 0:
        return result
    compute = matrices[0].dtype
    pointwise = all(a.kernel == 1 and a.stride == 1 for a in axes) and len(matrices) == 1
    depth = math.prod(a.kernel for a in axes) * values.shape[-1]
    row_cells = math.prod(spatial[1:])
    step = max(1, PATCH_ELEMENTS // max(1, max(depth, channels) * row_cells))
    for n in range(batch):
        if pointwise:
            _pointwise(values[n], matrices[0], result[n], finish, n, in_order)
            continue
        padded = pad_spatial(values[n : n + 1], axes, fill).astype(compute, copy=False)
        view = patches(padded, axes)[0]
        for start in range(0, spatial[0], step):
            block = view[start : start + step]
            sums = _block_product(block, block.shape[0] * row_cells, matrices, in_order)
            shape = (block.shape[0], *spatial[1:], channels)
            result[n, start : start + step] = finish(sums, n).reshape(shape)
    return result


def _pointwise(
    values: Array, matrix: Array, result: Array, finish: Finish, n: int, in_order: bool
) -> None:
    """One batch item of a 1x1 convolution: a plain matrix product, in blocks of rows."""
    rows = values.reshape(-1, values.shape[-1])
    out = result.reshape(-1, result.shape[-1])
    step = max(64, PATCH_ELEMENTS // max(matrix.shape))
    for start in range(0, rows.shape[0], step):
        block = rows[start : start + step].astype(matrix.dtype, copy=False)
        out[start : start + step] = finish(product(block, matrix, in_order), n)


def _block_product(block: Array, rows: int, matrices: Sequence[Array], in_order: bool) -> Array:
    if len(matrices) == 1:
        return product(block.reshape(rows, -1), matrices[0], in_order)
    depth = block.shape[-1] // len(matrices)
    parts = []
    for g, matrix in enumerate(matrices):
        taken = block[..., g * depth : (g + 1) * depth].reshape(rows, -1)
        parts.append(product(taken, matrix, in_order))
    return np.concatenate(parts, axis=1)
