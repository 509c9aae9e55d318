"""Picking and placing: GATHER, GATHER_ND, SLICE, STRIDED_SLICE, TILE, ONE_HOT, TOPK_V2, WHERE, UNIQUE, lookups, FILL ...

Semantics: LiteRT's reference kernels. An index outside its dimension is refused.
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
from nnapi_toolkit.reference.quantized import scale_of


def check_indices(node: Node, indices: Array, size: int, what: str) -> Array:
    """Indices as int64, all from 0 to size - 1.

    Raises:
        ModelError: One is outside.
    """
    if indices.size and (int(indices.min()) < 0 or int(indices.max()) >= size):
        bad = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
        fail(node, f"an index in {what}", bad, f"from 0 to {size - 1}")
    return indices.astype(np.int64)


@kernel("GATHER")
def gather(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Slices of `axis` by the indices in input 1; the first `batch_dims` dimensions of both run together.

    Any dtype; indices int16, int32 or int64 of any shape. Output: values [:axis] + indices [batch_dims:] + values
    [axis + 1:].
    """
    values, indices = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "positions")
    options = node.operator.options
    axis = axis_of(node, options.axis, values.ndim)
    batch = options.batch_dims + indices.ndim if options.batch_dims < 0 else options.batch_dims
    if not 0 <= batch <= min(indices.ndim, axis) or values.shape[:batch] != indices.shape[:batch]:
        fail(node, "batch_dims", options.batch_dims, "common leading dimensions of both inputs, at most the axis")
    check_shape(node, (*values.shape[:axis], *indices.shape[batch:], *values.shape[axis + 1 :]))
    places = check_indices(node, indices, values.shape[axis], "input 1 (positions)")
    if batch == 0:
        return [np.take(values, places, axis=axis)]
    lead = math.prod(values.shape[:batch])
    parts = values.reshape(lead, *values.shape[batch:])
    picks = places.reshape(lead, *places.shape[batch:])
    taken = [np.take(part, pick, axis=axis - batch) for part, pick in zip(parts, picks)]
    shape = (*values.shape[:axis], *indices.shape[batch:], *values.shape[axis + 1 :])
    return [np.stack(taken).reshape(shape) if taken else np.zeros(shape, values.dtype)]


def _tuple_index(node: Node, indices: Array, shape: Sequence[int], what: str) -> tuple[Array, ...]:
    """The last dimension of indices as one index array per leading dimension of `shape`."""
    depth = indices.shape[-1] if indices.ndim else 0
    if indices.ndim < 1 or depth > len(shape):
        fail(node, f"shape of {what}", list(indices.shape), f"of a last dimension of at most {len(shape)}")
    return tuple(check_indices(node, indices[..., i], shape[i], what) for i in range(depth))


@kernel("GATHER_ND")
def gather_nd(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Slices of the leading dimensions by the index tuples in the last dimension of input 1.

    Any dtype; indices int16, int32 or int64 [..., n]. Output: indices [:-1] + values [n:].
    """
    values, indices = operand(node, inputs, 0, "params"), operand(node, inputs, 1, "indices")
    where = _tuple_index(node, indices, values.shape, "input 1 (indices)")
    if not where:
        return [np.broadcast_to(values, (*indices.shape[:-1], *values.shape)).copy()]
    return [values[where]]


@kernel("SLICE")
def slice_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """`size` cells of each dimension from `begin`; a size of -1 takes the rest.

    Any dtype; `begin` and `size` int32 or int64, one number per dimension.
    """
    values = operand(node, inputs, 0, "input")
    begin = [int(v) for v in operand(node, inputs, 1, "begin").reshape(-1)]
    size = [int(v) for v in operand(node, inputs, 2, "size").reshape(-1)]
    if len(begin) != values.ndim or len(size) != values.ndim:
        fail(node, "elements of begin and size", (len(begin), len(size)), f"{values.ndim} each, the input's rank")
    cuts = []
    for axis, (start, count, total) in enumerate(zip(begin, size, values.shape)):
        count = total - start if count == -1 else count
        if start < 0 or count < 0 or start + count > total:
            fail(node, f"begin and size of dimension {axis}", (start, size[axis]), f"inside its {total} cells")
        cuts.append(slice(start, start + count))
    return [values[tuple(cuts)].copy()]


@kernel("STRIDED_SLICE")
def strided_slice(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """begin : end : stride per dimension, with the masks of the options (begin, end, ellipsis, new axis, shrink).

    Any dtype; begin, end and strides int32, one number per dimension that the masks leave.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    lists = [[int(v) for v in operand(node, inputs, i, "list").reshape(-1)] for i in (1, 2, 3)]
    begin, end, strides = lists
    if len({len(entry) for entry in lists}) != 1:
        fail(node, "elements of begin, end and strides", [len(entry) for entry in lists], "equal")
    entries: list[Any] = []
    axis, count = 0, len(begin)
    new_axes = sum(1 for i in range(count) if options.new_axis_mask >> i & 1 and not options.ellipsis_mask >> i & 1)
    ellipses = bin(options.ellipsis_mask & ((1 << count) - 1)).count("1")
    if ellipses > 1:
        fail(node, "ellipsis_mask", options.ellipsis_mask, "one bit at most")
    covered = count - new_axes - ellipses
    if covered > values.ndim:
        fail(node, "elements of begin", count, f"at most {values.ndim} without new axes, the input's rank")
    for i in range(count):
        if options.ellipsis_mask >> i & 1:
            skipped = values.ndim - covered
            entries += [slice(None)] * skipped
            axis += skipped
        elif options.new_axis_mask >> i & 1:
            entries.append(None)
        else:
            entries.append(_one_range(node, i, axis, values.shape[axis], begin[i], end[i], strides[i]))
            axis += 1
    return [np.array(values[tuple(entries)], order="C")]


def _one_range(node: Node, i: int, axis: int, size: int, begin: int, end: int, stride: int) -> Any:
    """The numpy index of one dimension."""
    options = node.operator.options
    if stride == 0:
        fail(node, f"strides[{i}]", 0, "other than 0")
    if options.shrink_axis_mask >> i & 1:
        place = 0 if options.begin_mask >> i & 1 else begin
        place = place + size if place < 0 else place
        if not 0 <= place < size:
            fail(node, f"begin[{i}]", begin, f"inside the {size} cells of dimension {axis} that it shrinks")
        return place
    if options.offset:
        end = begin + end
    start = None if options.begin_mask >> i & 1 else begin
    stop = None if options.end_mask >> i & 1 else end
    return slice(start, stop, stride)


@kernel("TILE")
def tile(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Repeats each dimension as often as input 1 says.

    Any dtype; multiples int32 or int64, one per dimension.
    """
    values, multiples = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "multiples")
    times = [int(v) for v in multiples.reshape(-1)]
    if len(times) != values.ndim or min(times, default=0) < 0:
        fail(node, "input 1 (multiples)", times, f"{values.ndim} numbers of 0 or more")
    check_shape(node, [size * count for size, count in zip(values.shape, times)])
    return [np.tile(values, times)]


@kernel("ONE_HOT")
def one_hot(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A new axis of `depth` cells: on_value at the index, off_value elsewhere; an index outside gives only off.

    Indices int32 or int64; on and off values, and so the output, of any one dtype.
    """
    indices, depth = operand(node, inputs, 0, "indices"), operand(node, inputs, 1, "depth")
    on, off = operand(node, inputs, 2, "on_value"), operand(node, inputs, 3, "off_value")
    size, axis = int(depth.reshape(-1)[0]), node.operator.options.axis
    axis = indices.ndim if axis == -1 else axis_of(node, axis, indices.ndim + 1)
    if size < 0:
        fail(node, "input 1 (depth)", size, "0 or more")
    check_shape(node, (*indices.shape, size))
    hit = np.expand_dims(indices, axis) == np.arange(size).reshape([-1 if d == axis else 1 for d in range(indices.ndim + 1)])
    return [np.where(hit, on.reshape(-1)[0], off.reshape(-1)[0]).astype(on.dtype)]


@kernel("TOPK_V2")
def top_k(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The k largest of the last axis in falling order, and their indices; the first of equals comes first.

    Values of any ordered dtype [..., n]; k int16 or int32, which the indices have too.
    """
    values, given = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "k")
    count = int(given.reshape(-1)[0])
    if values.ndim < 1 or not 0 <= count <= values.shape[-1]:
        fail(node, "input 1 (k)", count, f"from 0 to the last dimension of {list(values.shape)}")
    backwards = np.argsort(values[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    order = (values.shape[-1] - 1 - backwards)[..., :count]
    return [np.take_along_axis(values, order, axis=-1), order.astype(node.output(1).dtype)]


@kernel("WHERE")
def where(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Coordinates of the true (non-zero) cells, one row each, as int64."""
    values = operand(node, inputs, 0, "condition")
    return [np.argwhere(values).astype(np.int64).reshape(-1, values.ndim)]


@kernel("UNIQUE")
def unique(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The distinct values of a vector in the order of their first appearance, and each element's place among them.

    Any dtype [n]; places int32 or int64 (`idx_out_type`).
    """
    values = operand(node, inputs, 0, "input")
    if values.ndim != 1:
        fail(node, "rank of input 0", values.ndim, "1")
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return [values[np.sort(first)], rank[inverse].astype(node.output(1).dtype)]


@kernel("EMBEDDING_LOOKUP")
def embedding_lookup(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Rows of input 1 by the int32 ids in input 0; weights of 8 bits or less become floats, by one scale or one per row."""
    ids, table = operand(node, inputs, 0, "ids"), operand(node, inputs, 1, "weights")
    if ids.ndim != 1 or table.ndim < 2:
        fail(node, "ranks of the inputs", (ids.ndim, table.ndim), "1, and 2 or more")
    places = check_indices(node, ids, table.shape[0], "input 0 (ids)")
    rows = table[places]
    if rows.dtype == node.output(0).dtype or rows.dtype.kind not in "iu":
        return [rows]
    tensor = tensor_in(node, 1)
    scale_of(node, tensor)
    scales = np.asarray(tensor.quantization.scale if tensor.quantization else (), np.float32)
    factor = scales[places].reshape(-1, *[1] * (table.ndim - 1)) if scales.size > 1 else scales[0]
    return [(rows.astype(np.float32) * factor).astype(node.output(0).dtype)]


@kernel("HASHTABLE_LOOKUP")
def hashtable_lookup(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Rows of input 2 by the sorted keys in input 1; zeros and hit 0 for a key that is not there.

    ids int32 [n], keys int32 [m], rows of any dtype [m, ...]; hits are uint8 [n].
    """
    wanted, keys = operand(node, inputs, 0, "lookup"), operand(node, inputs, 1, "keys")
    table = operand(node, inputs, 2, "values")
    if table.ndim < 1 or table.shape[0] != keys.size or keys.size == 0:
        fail(node, "rows of input 2", list(table.shape), f"one per key, {keys.size}, and at least one")
    places = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    hits = keys[places] == wanted
    found = table[places].copy()
    found[~hits] = b"" if found.dtype == object else 0
    return [found, hits.astype(np.uint8)]


@kernel("FILL")
def fill(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A tensor of the shape in input 0, all of it the scalar in input 1.

    Shape int32 or int64; value of any dtype.
    """
    dims, value = operand(node, inputs, 0, "dims"), operand(node, inputs, 1, "value")
    if value.size != 1:
        fail(node, "elements of input 1 (value)", value.size, "1")
    return [np.full(check_shape(node, [int(v) for v in dims.reshape(-1)]), value.reshape(-1)[0], value.dtype)]


@kernel("RANGE")
def range_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """start, start + delta, ... before limit. float32, int32, int64."""
    start, limit, delta = (operand(node, inputs, i, name) for i, name in enumerate(("start", "limit", "delta")))
    require_type(node, start, "type of input 0", np.float32, np.int32, np.int64)
    first, last, step = (a.reshape(-1)[0] for a in (start, limit, delta))
    if step == 0 or (last - first) * step < 0:
        fail(node, "start, limit and delta", (first, last, step), "a step other than 0, toward the limit")
    if start.dtype == np.float32:
        count = math.ceil(abs((float(last) - float(first)) / float(step)))
    else:
        count = -(-abs(int(last) - int(first)) // abs(int(step)))
    check_shape(node, (count,))
    steps = np.full(count, step, start.dtype)
    if count:
        steps[0] = first
    return [np.cumsum(steps, dtype=start.dtype)]


@kernel("BROADCAST_TO")
def broadcast_to(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Repeats dimensions of size 1 to the shape in input 1.

    Any dtype; shape int32 or int64.
    """
    values, wanted = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "shape")
    shape = check_shape(node, [int(v) for v in wanted.reshape(-1)], "input 1 (shape)")
    try:
        return [np.broadcast_to(values, shape).copy()]
    except ValueError:
        fail(node, "input 1 (shape)", list(shape), f"one that {list(values.shape)} broadcasts to")


@kernel("BROADCAST_ARGS")
def broadcast_args(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The shape that tensors of the two given shapes broadcast to.

    Shapes int32 or int64, and so the output.
    """
    first, second = operand(node, inputs, 0, "shape 0"), operand(node, inputs, 1, "shape 1")
    shapes = [[int(v) for v in shape.reshape(-1)] for shape in (first, second)]
    try:
        return [np.asarray(np.broadcast_shapes(*map(tuple, shapes)), first.dtype)]
    except ValueError:
        fail(node, "the shapes", shapes, "such that they broadcast")


@kernel("DYNAMIC_UPDATE_SLICE")
def dynamic_update_slice(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A copy of input 0 with input 1 written at the place in input 2, moved so that it fits.

    Any dtype; start indices int32 or int64, one per dimension.
    """
    values, update = operand(node, inputs, 0, "operand"), operand(node, inputs, 1, "update")
    start = [int(v) for v in operand(node, inputs, 2, "start_indices").reshape(-1)]
    fits = update.ndim == values.ndim == len(start) and all(u <= v for u, v in zip(update.shape, values.shape))
    if not fits:
        fail(node, "shape of input 1 (update)", list(update.shape), f"inside {list(values.shape)}, one start each")
    result = values.copy()
    places = [min(max(s, 0), v - u) for s, u, v in zip(start, update.shape, values.shape)]
    result[tuple(slice(p, p + u) for p, u in zip(places, update.shape))] = update
    return [result]


@kernel("BUCKETIZE")
def bucketize(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The number of `boundaries` that are not above each value, as int32."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float64, np.int32, np.int64)
    bounds = np.asarray(node.operator.options.boundaries, np.float32)
    if (np.diff(bounds) < 0).any():
        fail(node, "boundaries", bounds.tolist(), "in rising order")
    kind = np.float64 if values.dtype in (np.float64, np.int64, np.int32) else np.float32
    return [np.searchsorted(bounds.astype(kind), values.astype(kind), side="right").astype(np.int32)]


@kernel("MATRIX_DIAG")
def matrix_diag(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """[..., n] to [..., n, n] with the values on the diagonal.

    Any dtype of a fixed size.
    """
    values = operand(node, inputs, 0, "diagonal")
    if values.ndim < 1:
        fail(node, "rank of input 0", 0, "1 or more")
    size = values.shape[-1]
    result = np.zeros(check_shape(node, (*values.shape, size)), values.dtype)
    result[..., np.arange(size), np.arange(size)] = values
    return [result]


@kernel("MATRIX_SET_DIAG")
def matrix_set_diag(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A copy of input 0 with input 1 on the diagonal of its last two dimensions.

    Any dtype of a fixed size; [..., m, n] and [..., min(m, n)].
    """
    values, diagonal = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "diagonal")
    if values.ndim < 2 or diagonal.shape != (*values.shape[:-2], min(values.shape[-2:])):
        fail(node, "shape of input 1 (diagonal)", list(diagonal.shape), f"the diagonal of {list(values.shape)}")
    result, places = values.copy(), np.arange(min(values.shape[-2:]))
    result[..., places, places] = diagonal
    return [result]
