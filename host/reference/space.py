"""SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND: cells traded for channels or batch items.

Semantics: LiteRT's reference kernels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand
from nnapi_toolkit.reference.quantized import QUANTIZED, zero_point_of


def _block_size(node: Node, values: Array) -> int:
    size = int(node.operator.options.block_size)
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    if size < 1:
        fail(node, "block_size", size, "1 or more")
    return size


@kernel("SPACE_TO_DEPTH")
def space_to_depth(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """[N, H, W, C] to [N, H / b, W / b, b * b * C].

    Any dtype.
    """
    values = operand(node, inputs, 0, "input")
    size = _block_size(node, values)
    batch, height, width, depth = values.shape
    if height % size or width % size:
        fail(node, "block_size", size, f"a divisor of height {height} and width {width}")
    blocks = values.reshape(batch, height // size, size, width // size, size, depth)
    return [
        blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // size, width // size, size * size * depth)
    ]


@kernel("DEPTH_TO_SPACE")
def depth_to_space(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """[N, H, W, b * b * C] to [N, H * b, W * b, C].

    Any dtype.
    """
    values = operand(node, inputs, 0, "input")
    size = _block_size(node, values)
    batch, height, width, depth = values.shape
    if depth % (size * size):
        fail(node, "block_size", size, f"such that its square divides the {depth} channels")
    shape = check_shape(node, (batch, height * size, width * size, depth // (size * size)))
    blocks = values.reshape(batch, height, width, size, size, shape[3])
    return [blocks.transpose(0, 1, 3, 2, 4, 5).reshape(shape)]


def _blocks(
    node: Node, values: Array, block: Array, edges: Array, what: str
) -> tuple[list[int], list[tuple[int, int]]]:
    sizes = [int(size) for size in block.reshape(-1)]
    if not 3 <= values.ndim <= 4:
        fail(node, "rank of input 0", values.ndim, "3 or 4")
    if len(sizes) != values.ndim - 2 or min(sizes) < 1:
        fail(node, "input 1 (block_shape)", sizes, f"{values.ndim - 2} sizes of 1 or more")
    if edges.shape != (len(sizes), 2) or (edges < 0).any():
        fail(node, f"input 2 ({what})", edges.tolist(), f"[{len(sizes)}, 2] amounts of 0 or more")
    return sizes, [(int(a), int(b)) for a, b in edges]


@kernel("SPACE_TO_BATCH_ND")
def space_to_batch_nd(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Pads the spatial dimensions, then moves the cells of each block to the batch dimension, block-major.

    Any dtype, [N, spatial..., C]; block shape and paddings int32. Cells of the padding hold the zero point.
    """
    values = operand(node, inputs, 0, "input")
    edges = operand(node, inputs, 2, "paddings")
    sizes, amounts = _blocks(node, values, operand(node, inputs, 1, "block_shape"), edges, "paddings")
    fill = zero_point_of(node.output(0)) if values.dtype.type in QUANTIZED else 0
    wide = [size + sum(pair) for size, pair in zip(values.shape[1:-1], amounts)]
    check_shape(node, (values.shape[0], *wide, values.shape[-1]))
    padded = np.pad(values, [(0, 0), *amounts, (0, 0)], constant_values=fill)
    if any(total % size for total, size in zip(wide, sizes)):
        fail(node, "padded spatial dimensions", wide, f"multiples of the block {sizes}")
    split: list[int] = []
    for total, size in zip(wide, sizes):
        split += [total // size, size]
    count = len(sizes)
    blocks = padded.reshape(values.shape[0], *split, values.shape[-1])
    order = [2 * i + 2 for i in range(count)] + [0] + [2 * i + 1 for i in range(count)] + [2 * count + 1]
    shape = (values.shape[0] * int(np.prod(sizes)), *(t // s for t, s in zip(wide, sizes)), values.shape[-1])
    return [blocks.transpose(order).reshape(shape)]


@kernel("BATCH_TO_SPACE_ND")
def batch_to_space_nd(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The inverse of SPACE_TO_BATCH_ND; `crops` cuts the borders afterwards.

    Any dtype; block shape and crops int32.
    """
    values = operand(node, inputs, 0, "input")
    edges = operand(node, inputs, 2, "crops")
    sizes, amounts = _blocks(node, values, operand(node, inputs, 1, "block_shape"), edges, "crops")
    cells = int(np.prod(sizes))
    if values.shape[0] % cells:
        fail(node, "batch", values.shape[0], f"a multiple of the block's {cells} cells")
    batch, count = values.shape[0] // cells, len(sizes)
    wide = [size * block for size, block in zip(values.shape[1:-1], sizes)]
    if any(sum(pair) > total for pair, total in zip(amounts, wide)):
        fail(node, "input 2 (crops)", amounts, f"at most {wide} in sum")
    check_shape(node, (batch, *wide, values.shape[-1]))
    blocks = values.reshape(*sizes, batch, *values.shape[1:])
    order = [count]
    for index in range(count):
        order += [count + 1 + index, index]
    joined = blocks.transpose([*order, 2 * count + 1]).reshape(batch, *wide, values.shape[-1])
    cut = tuple(slice(before, total - after) for (before, after), total in zip(amounts, wide))
    return [np.ascontiguousarray(joined[(slice(None), *cut)])]
