"""Adding up by index: SCATTER_ND, SPARSE_TO_DENSE, SEGMENT_SUM, UNSORTED_SEGMENT_*, EMBEDDING_LOOKUP_SPARSE, DENSIFY.

Semantics: LiteRT's reference kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from nnapi_toolkit.reference.gather import check_indices


@kernel("SCATTER_ND")
def scatter_nd(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Zeros of the shape in input 2 with the updates of input 1 added at the index tuples of input 0.

    Updates of float32, uint8, int8, int32, int64, bool; indices and shape int32 or int64.
    """
    indices, updates = operand(node, inputs, 0, "indices"), operand(node, inputs, 1, "updates")
    shape = check_shape(node, [int(v) for v in operand(node, inputs, 2, "shape").reshape(-1)], "input 2 (shape)")
    depth = indices.shape[-1] if indices.ndim else 0
    if indices.ndim < 1 or depth > len(shape):
        fail(node, "shape of input 0 (indices)", list(indices.shape), f"of a last dimension of at most {len(shape)}")
    if updates.shape != (*indices.shape[:-1], *shape[depth:]):
        fail(node, "shape of input 1 (updates)", list(updates.shape), f"{[*indices.shape[:-1], *shape[depth:]]}")
    where: Any = tuple(check_indices(node, indices[..., i], shape[i], "input 0 (indices)") for i in range(depth))
    result = np.zeros(shape, updates.dtype)
    if not where:  # index tuples of no numbers: each names the whole result
        where = ...
    np.add.at(result, where, updates)
    return [result]


@kernel("SPARSE_TO_DENSE")
def sparse_to_dense(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The default value everywhere, the given values at the given indices (a scalar, a vector, or one row each).

    Values float32, uint8, int8, int32, int64; indices and shape int32 or int64.
    """
    indices = operand(node, inputs, 0, "indices")
    shape = check_shape(node, [int(v) for v in operand(node, inputs, 1, "output_shape").reshape(-1)])
    values, default = operand(node, inputs, 2, "values"), operand(node, inputs, 3, "default_value")
    if indices.ndim > 2:
        fail(node, "rank of input 0 (indices)", indices.ndim, "2 or less")
    rows = indices.reshape(-1, 1) if indices.ndim < 2 else indices
    if rows.shape[1] != len(shape):
        fail(node, "index columns", rows.shape[1], f"{len(shape)}, the output's rank")
    if values.ndim and values.size != rows.shape[0]:
        fail(node, "elements of input 2 (values)", values.size, f"1 or {rows.shape[0]}")
    result = np.full(shape, default.reshape(-1)[0], values.dtype)
    where: Any = tuple(check_indices(node, rows[:, i], shape[i], "input 0 (indices)") for i in range(len(shape)))
    result[where] = values.reshape(-1) if values.ndim else values
    return [result]


@kernel("SEGMENT_SUM")
def segment_sum(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Sums rows of equal segment id; the ids rise from 0 without gaps. float32, int32."""
    values, ids = operand(node, inputs, 0, "data"), operand(node, inputs, 1, "segment_ids")
    require_type(node, values, "type of input 0", np.float32, np.int32)
    if ids.ndim != 1 or values.ndim < 1 or ids.size != values.shape[0]:
        fail(node, "shape of input 1 (segment_ids)", list(ids.shape), f"[{values.shape[0] if values.ndim else 0}]")
    steps = np.diff(ids.astype(np.int64), prepend=0)
    if ids.size and (steps[0] != 0 or steps.min() < 0 or steps.max() > 1):
        fail(node, "input 1 (segment_ids)", ids.tolist(), "rising from 0 in steps of at most 1")
    count = int(ids[-1]) + 1 if ids.size else 0
    result = np.zeros(check_shape(node, (count, *values.shape[1:])), values.dtype)
    np.add.at(result, ids.astype(np.int64), values)
    return [result]


_UNSORTED: dict[str, Any] = {
    "UNSORTED_SEGMENT_SUM": np.add,
    "UNSORTED_SEGMENT_PROD": np.multiply,
    "UNSORTED_SEGMENT_MAX": np.maximum,
    "UNSORTED_SEGMENT_MIN": np.minimum,
}


def _start(name: str, dtype: np.dtype[Any]) -> Any:
    info: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return {"SUM": 0, "PROD": 1, "MAX": info.min, "MIN": info.max}[name.rsplit("_", 1)[1]]


@kernel(*_UNSORTED)
def unsorted_segment(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Combines the slices of equal id into `num_segments` rows; negative ids are left out. float32, int32."""
    values, ids = operand(node, inputs, 0, "data"), operand(node, inputs, 1, "segment_ids")
    count = int(operand(node, inputs, 2, "num_segments").reshape(-1)[0])
    require_type(node, values, "type of input 0", np.float32, np.int32)
    if ids.ndim > values.ndim or values.shape[: ids.ndim] != ids.shape:
        fail(node, "shape of input 1 (segment_ids)", list(ids.shape), f"leading dimensions of {list(values.shape)}")
    if count < 0:
        fail(node, "input 2 (num_segments)", count, "0 or more")
    rest = values.shape[ids.ndim :]
    rows = values.reshape(math.prod(ids.shape), *rest)
    chosen = ids.reshape(-1) >= 0
    places = check_indices(node, ids.reshape(-1)[chosen], count, "input 1 (segment_ids)")
    name = node.operator.name
    result = np.full(check_shape(node, (count, *rest)), _start(name, values.dtype), values.dtype)
    _UNSORTED[name].at(result, places, rows[chosen])
    return [result]


SUM, MEAN, SQRTN = range(3)


@kernel("EMBEDDING_LOOKUP_SPARSE")
def embedding_lookup_sparse(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Weighted sums of table rows, grouped by all but the last column of the indices.

    Inputs: ids [n], indices [n, rank] in row order, dense shape [rank], weights [n], table [rows, ...]. `combiner`:
    SUM, MEAN (over the sum of weights) or SQRTN (over the root of the sum of squared weights).
    """
    ids, indices = operand(node, inputs, 0, "ids"), operand(node, inputs, 1, "indices")
    dense = [int(v) for v in operand(node, inputs, 2, "dense_shape").reshape(-1)]
    weights, table = operand(node, inputs, 3, "weights"), operand(node, inputs, 4, "value")
    if indices.ndim != 2 or indices.shape != (ids.size, len(dense)) or weights.size != ids.size or table.ndim < 2:
        fail(node, "shapes of ids, indices, weights", [list(a.shape) for a in (ids, indices, weights)],
             f"[n], [n, {len(dense)}], [n]")
    lead = dense[:-1]
    shape = check_shape(node, (*lead, *table.shape[1:]))
    places = check_indices(node, ids, table.shape[0], "input 0 (ids)")
    columns = [check_indices(node, indices[:, i], size, "input 1 (indices)") for i, size in enumerate(lead)]
    buckets = np.ravel_multi_index(tuple(columns), lead) if lead else np.zeros(ids.size, np.int64)
    rows = math.prod(lead)
    result = np.zeros((rows, *table.shape[1:]), np.float32)
    factor = weights.reshape(-1, *[1] * (table.ndim - 1)).astype(np.float32)
    np.add.at(result, buckets, table[places] * factor)
    combiner = int(node.operator.options.combiner)
    if combiner != SUM:
        total = np.zeros(rows, np.float32)
        np.add.at(total, buckets, weights if combiner == MEAN else weights * weights)
        total = np.sqrt(total) if combiner == SQRTN else total
        divisor = np.where(total == 0, np.float32(1), total).reshape(-1, *[1] * (table.ndim - 1))
        result = result / divisor
    return [result.reshape(shape)]


@kernel("DENSIFY")
def densify(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A sparse constant as a dense tensor: the model's view of it is dense already.

    Any dtype.
    """
    return [operand(node, inputs, 0, "input")]
