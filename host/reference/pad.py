"""PAD, PADV2, MIRROR_PAD, DILATE, STABLEHLO_PAD. Semantics: LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand
from nnapi_toolkit.reference.quantized import QUANTIZED, zero_point_of


def _amounts(node: Node, values: Array, paddings: Array) -> list[tuple[int, int]]:
    if paddings.shape != (values.ndim, 2):
        fail(node, "shape of input 1 (paddings)", list(paddings.shape), f"[{values.ndim}, 2]")
    amounts = [(int(before), int(after)) for before, after in paddings]
    if any(min(pair) < 0 for pair in amounts):
        fail(node, "input 1 (paddings)", amounts, "0 or more each")
    check_shape(node, [size + sum(pair) for size, pair in zip(values.shape, amounts)])
    return amounts


@kernel("PAD")
def pad(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Surrounds with zeros; quantised tensors with the output's zero point. Paddings [rank, 2]."""
    values = operand(node, inputs, 0, "input")
    amounts = _amounts(node, values, operand(node, inputs, 1, "paddings"))
    fill = zero_point_of(node.output(0)) if values.dtype.type in QUANTIZED else 0
    return [np.pad(values, amounts, constant_values=fill)]


@kernel("PADV2")
def pad_v2(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Surrounds with the value of input 2, a scalar of the input's type."""
    values, fill = operand(node, inputs, 0, "input"), operand(node, inputs, 2, "constant_values")
    amounts = _amounts(node, values, operand(node, inputs, 1, "paddings"))
    if fill.size != 1:
        fail(node, "elements of input 2 (constant_values)", fill.size, "1")
    return [np.pad(values, amounts, constant_values=fill.reshape(-1)[0])]


@kernel("MIRROR_PAD")
def mirror_pad(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Reflects the tensor at its borders: REFLECT without the border cell, SYMMETRIC with it.

    Any dtype; paddings int32 or int64 [rank, 2].
    """
    values = operand(node, inputs, 0, "input")
    amounts = _amounts(node, values, operand(node, inputs, 1, "paddings"))
    reflect = int(node.operator.options.mode) == 0
    for axis, (size, pair) in enumerate(zip(values.shape, amounts)):
        if max(pair) > size - (1 if reflect else 0):
            fail(node, f"paddings of axis {axis}", pair, f"at most {size - (1 if reflect else 0)}")
    return [np.pad(values, amounts, mode="reflect" if reflect else "symmetric")]


@kernel("DILATE")
def dilate(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Puts `factor - 1` cells of the padding value (input 2) between neighbours; factors per axis in input 1.

    Any dtype; factors int32 [rank].
    """
    values, factors = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "dilations")
    fill = operand(node, inputs, 2, "padding_value")
    steps = [int(factor) for factor in factors.reshape(-1)]
    if len(steps) != values.ndim or min(steps, default=1) < 1:
        fail(node, "input 1 (dilations)", steps, f"{values.ndim} factors of 1 or more")
    shape = check_shape(
        node, [(size - 1) * step + 1 if size else 0 for size, step in zip(values.shape, steps)]
    )
    result = np.full(shape, fill.reshape(-1)[0], values.dtype)
    result[tuple(slice(None, None, step) for step in steps)] = values
    return [result]


def spread(
    node: Node, values: Array, fill: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]
) -> Array:
    """Cells of `fill` between neighbours (`interior`) and at the edges of each axis; negative edges cut."""
    wide = [size + max(0, size - 1) * gap for size, gap in zip(values.shape, interior)]
    shape = [max(0, size + a + b) for size, a, b in zip(wide, low, high)]
    result = np.full(check_shape(node, shape), fill.reshape(-1)[0], values.dtype)
    if values.size == 0:
        return result
    target, source = [], []
    for size, out, before, gap in zip(values.shape, shape, low, interior):
        at = np.arange(size) * (gap + 1) + before
        inside = (at >= 0) & (at < out)
        target.append(at[inside])
        source.append(np.nonzero(inside)[0])
    result[np.ix_(*target)] = values[np.ix_(*source)]
    return result


@kernel("STABLEHLO_PAD")
def stablehlo_pad(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Interior cells first, then edges; negative edge amounts cut. Fill from input 1 (scalar).

    Any dtype.
    """
    values, fill = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "padding_value")
    options = node.operator.options
    lists = [list(options.edge_padding_low), list(options.edge_padding_high), list(options.interior_padding)]
    if any(len(entry) != values.ndim for entry in lists) or min(lists[2], default=0) < 0:
        fail(node, "edge and interior padding", lists, f"{values.ndim} entries each, interior 0 or more")
    return [spread(node, values, fill, *lists)]
