"""STABLEHLO_GATHER, STABLEHLO_SCATTER, REDUCE_WINDOW, STABLEHLO_REDUCE_WINDOW. Semantics: LiteRT's reference kernels."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from nnapi_toolkit.reference.pad import spread
from numpy.typing import NDArray


def _positions(node: Node, what: str, values: Iterable[int], rank: int) -> list[int]:
    """A list of axes, each below `rank` and none twice."""
    axes = [int(value) for value in values]
    if len(set(axes)) != len(axes) or any(not 0 <= axis < rank for axis in axes):
        fail(node, what, axes, f"different axes from 0 to {rank - 1}")
    return axes


def _starts(node: Node, indices: Array, vector: int, axes: Sequence[int], rank: int) -> NDArray[np.int64]:
    """The index vectors [..., rank] that the axis `vector` of an index tensor holds; axes that it leaves out are 0."""
    require_type(node, indices, "type of input 1 (indices)", np.int32, np.int64)
    if not 0 <= vector <= indices.ndim:
        fail(node, "index_vector_dim", vector, f"from 0 to {indices.ndim}")
    moved = indices[..., None] if vector == indices.ndim else np.moveaxis(indices, vector, -1)
    if moved.shape[-1] != len(axes):
        fail(node, "index vector length", moved.shape[-1], f"{len(axes)}, one entry per mapped axis")
    full = np.zeros((*moved.shape[:-1], rank), np.int64)
    full[..., list(axes)] = moved
    return full


def _place(part: Array, at: Sequence[int], rank: int) -> Array:
    """`part` with its axes at the positions `at` of a tensor of `rank` axes."""
    shape = [1] * rank
    for axis, size in zip(at, part.shape):
        shape[axis] = size
    return part.reshape(shape)


@kernel("STABLEHLO_GATHER")
def stablehlo_gather(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A slice of `slice_sizes` at each index vector, moved back inside the operand where it would leave it.

    Any dtype; indices int32 or int64.
    """
    values, indices = operand(node, inputs, 0, "operand"), operand(node, inputs, 1, "start_indices")
    options, rank = node.operator.options, values.ndim
    sizes = [int(size) for size in options.slice_sizes]
    if len(sizes) != rank or any(not 0 <= size <= limit for size, limit in zip(sizes, values.shape)):
        fail(node, "slice_sizes", sizes, f"sizes inside the operand's {list(values.shape)}")
    collapsed = _positions(node, "collapsed_slice_dims", options.collapsed_slice_dims, rank)
    if any(sizes[axis] != 1 for axis in collapsed):
        fail(node, "collapsed_slice_dims", collapsed, f"axes of size 1 of the slice {sizes}")
    axes = _positions(node, "start_index_map", options.start_index_map, rank)
    starts = _starts(node, indices, int(options.index_vector_dim), axes, rank)
    kept = [axis for axis in range(rank) if axis not in collapsed]
    out_rank = starts.ndim - 1 + len(kept)
    offset = _positions(node, "offset_dims", options.offset_dims, out_rank)
    if len(offset) != len(kept):
        fail(node, "offset_dims", offset, f"{len(kept)} axes, one per slice axis that stays")
    batch = [axis for axis in range(out_rank) if axis not in offset]
    limits = np.asarray([limit - size for size, limit in zip(sizes, values.shape)])
    starts = np.clip(starts, 0, limits)
    shape = [0] * out_rank
    for axis, size in (*zip(batch, starts.shape), *zip(offset, (sizes[axis] for axis in kept))):
        shape[axis] = size
    check_shape(node, shape)
    where = []
    for axis in range(rank):
        at = _place(starts[..., axis], batch, out_rank)
        if axis in kept:
            at = at + _place(np.arange(sizes[axis]), [offset[kept.index(axis)]], out_rank)
        where.append(at)
    return [np.broadcast_to(values[tuple(where)], shape)]


_COMBINE: dict[str, Any] = {
    "STABLEHLO_ADD": np.add,
    "STABLEHLO_MULTIPLY": np.multiply,
    "STABLEHLO_MAXIMUM": np.maximum,
    "STABLEHLO_MINIMUM": np.minimum,
}


def _body(node: Node, index: int, what: str) -> list[str]:
    """The operators of the subgraph that combines two values."""
    if not 0 <= index < len(node.graph.subgraphs):
        fail(node, what, index, f"from 0 to {len(node.graph.subgraphs) - 1}")
    return [operator.name for operator in node.graph.subgraphs[index].operators]


@kernel("STABLEHLO_SCATTER")
def stablehlo_scatter(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The operand with updates at each index vector, put in or combined; those outside the operand are left out.

    Any dtype; indices int32 or int64.
    """
    values, indices = operand(node, inputs, 0, "operand"), operand(node, inputs, 1, "scatter_indices")
    updates, options, rank = operand(node, inputs, 2, "updates"), node.operator.options, values.ndim
    window = _positions(node, "update_window_dims", options.update_window_dims, updates.ndim)
    inserted = _positions(node, "inserted_window_dims", options.inserted_window_dims, rank)
    axes = _positions(node, "scatter_dims_to_operand_dims", options.scatter_dims_to_operand_dims, rank)
    starts = _starts(node, indices, int(options.index_vector_dim), axes, rank)
    kept = [axis for axis in range(rank) if axis not in inserted]
    batch = [axis for axis in range(updates.ndim) if axis not in window]
    if len(window) != len(kept) or tuple(updates.shape[axis] for axis in batch) != starts.shape[:-1]:
        fail(node, "shape of input 2 (updates)", list(updates.shape),
             f"axes {window} as a window of {len(kept)} axes, the others {list(starts.shape[:-1])}")  # fmt: skip
    body = _body(node, int(options.update_computation_subgraph_index), "update_computation_subgraph_index")
    if len(body) > 1 or any(name not in _COMBINE for name in body):
        fail(node, "update computation", body, "nothing or one of " + ", ".join(_COMBINE))
    where, inside = [], np.ones(updates.shape, bool)
    for axis in range(rank):
        at = _place(starts[..., axis], batch, updates.ndim)
        if axis in kept:
            place = window[kept.index(axis)]
            at = at + _place(np.arange(updates.shape[place]), [place], updates.ndim)
        inside &= (at >= 0) & (at < values.shape[axis])
        where.append(np.broadcast_to(at, updates.shape))
    result = values.copy()
    chosen = tuple(at[inside] for at in where)
    if body:
        _COMBINE[body[0]].at(result, chosen, updates[inside])
    else:
        result[chosen] = updates[inside]
    return [result]


def _reduce(
    node: Node, values: Array, start: Array, name: str, window: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> Array:  # fmt: skip
    """Combines the cells of each window with the start value, in the order of the cells."""
    for what, entries in (
        ("window dimensions", window),
        ("window strides", strides),
        ("window dilations", dilations),
    ):
        if len(entries) != values.ndim or min(entries, default=1) < 1:
            fail(node, what, list(entries), f"{values.ndim} entries of 1 or more")
    combine = _REDUCTIONS.get(name)
    if combine is None:
        fail(node, "reduction", name, "one of " + ", ".join(_REDUCTIONS))
    if start.size != 1:
        fail(node, "elements of input 1 (init_value)", start.size, "1")
    shape = [
        max(0, (size - (cells - 1) * dilation - 1) // stride + 1)
        for size, cells, stride, dilation in zip(values.shape, window, strides, dilations)
    ]
    result = np.full(check_shape(node, shape), start.reshape(-1)[0], values.dtype)
    if not result.size:
        return result
    for cell in itertools.product(*(range(cells) for cells in window)):
        begins = [at * dilation for at, dilation in zip(cell, dilations)]
        part = values[tuple(slice(b, b + (n - 1) * s + 1, s) for b, n, s in zip(begins, shape, strides))]
        result = combine(result, part).astype(values.dtype)
    return result


_REDUCTIONS: dict[str, Any] = {
    "ADD": np.add, "MUL": np.multiply, "MAXIMUM": np.maximum, "MINIMUM": np.minimum,
    "ALL": np.logical_and, "ANY": np.logical_or,
}  # fmt: skip

_BODIES = {
    "ADD": "ADD", "STABLEHLO_ADD": "ADD", "MUL": "MUL", "STABLEHLO_MULTIPLY": "MUL",
    "MAXIMUM": "MAXIMUM", "STABLEHLO_MAXIMUM": "MAXIMUM", "MINIMUM": "MINIMUM", "STABLEHLO_MINIMUM": "MINIMUM",
    "LOGICAL_AND": "ALL", "STABLEHLO_AND": "ALL", "LOGICAL_OR": "ANY", "STABLEHLO_OR": "ANY",
}  # fmt: skip

_TYPES = (np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.float32, np.float64)


def _entries(values: Array) -> list[int]:
    return [int(value) for value in values.reshape(-1)]


@kernel("REDUCE_WINDOW")
def reduce_window(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Reduces windows; their sizes, strides and dilations are inputs 2 to 4, the start value is input 1.

    float32, int8, uint8, int16, int32, int64; sizes, strides and dilations int64.
    """
    values, start = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "init_value")
    require_type(node, values, "type of input 0", *_TYPES)
    window = _entries(operand(node, inputs, 2, "window_dimensions"))
    strides = _entries(operand(node, inputs, 3, "window_strides"))
    dilations = _entries(operand(node, inputs, 4, "window_dilations"))
    names = ("UNSUPPORTED", "ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY")
    function = int(node.operator.options.reduce_function)
    name = names[function] if 0 <= function < len(names) else str(function)
    return [_reduce(node, values, start, name, window, strides, dilations)]


@kernel("STABLEHLO_REDUCE_WINDOW")
def stablehlo_reduce_window(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Dilates, pads and cuts the operand with the start value of input 1, then reduces windows with the body.

    float32, int8, uint8, int16, int32, int64.
    """
    values, start = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "init_value")
    require_type(node, values, "type of input 0", *_TYPES)
    options, rank = node.operator.options, values.ndim

    def attribute(name: str, count: int, default: int) -> list[int]:
        entries = [int(value) for value in getattr(options, name)]
        return entries or [default] * count

    dilations, padding = attribute("base_dilations", rank, 1), attribute("padding", 2 * rank, 0)
    if len(dilations) != rank or min(dilations, default=1) < 1:
        fail(node, "base_dilations", dilations, f"{rank} entries of 1 or more")
    if len(padding) != 2 * rank:
        fail(node, "padding", padding, f"{2 * rank} entries")
    if start.size != 1:
        fail(node, "elements of input 1 (init_value)", start.size, "1")
    padded = spread(node, values, start, padding[::2], padding[1::2], [step - 1 for step in dilations])
    if not padded.size:
        fail(node, "shape after padding", list(padded.shape), "without an empty dimension")
    body = _body(node, int(options.body_subgraph_index), "body_subgraph_index")
    if len(body) != 1 or body[0] not in _BODIES:
        fail(node, "body", body, "one of " + ", ".join(_BODIES))
    window = attribute("window_dimensions", rank, 1)
    strides, steps = attribute("window_strides", rank, 1), attribute("window_dilations", rank, 1)
    return [_reduce(node, padded, start, _BODIES[body[0]], window, strides, steps)]
