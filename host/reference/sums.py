"""Matrix products: float32 sums in the order of the reference kernels' loops, and exact sums of integers.

The right factor of a product stays as the model's file has it, and is converted block by block: a whole layer's weights
as floats, or in another layout, would be up to eight times what is mapped from the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnapi_toolkit.reference.base import Array

#: Elements of one block of the left matrix: it should stay in the second-level cache.
BLOCK_ELEMENTS = 1 << 17

#: Elements of one block of converted or transposed weights.
WEIGHT_ELEMENTS = 1 << 17

#: With fewer columns than this, sums go along the rows of the left matrix instead.
NARROW = 64


def _column_blocks(depth: int, columns: int) -> Iterator[slice]:
    """Blocks of columns of about `WEIGHT_ELEMENTS` weights, none of a single column unless there is just one."""
    step = max(2, WEIGHT_ELEMENTS // max(1, depth))
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        yield slice(start - 1 if 0 < start == stop - 1 else start, stop)


def product_in_order(left: Array, right: Array) -> Array:
    """Matrix product [M, K] x [K, N] whose sums run over K from first to last, rounded at every step.

    That is the order of the reference kernels' loops; a BLAS has its own. `einsum` loops over columns (or, where they are
    few, over rows) innermost, adds a row times a number to the row of sums, and takes K in its order. About a quarter of
    a BLAS's speed.
    """
    rows, depth, columns = left.shape[0], left.shape[1], right.shape[1]
    if depth == 0 or rows * columns == 0:
        return np.zeros((rows, columns), left.dtype)
    if rows * columns == 1:  # no row to go along: einsum would add up along K, four sums at a time
        return np.add.accumulate(left[0] * right[:, 0])[-1:].reshape(1, 1)
    if rows > columns and columns < NARROW:
        return _along_rows(left, np.ascontiguousarray(right))
    if right.flags.c_contiguous:
        whole: Array = np.einsum("mk,kn->mn", left, right)
        return whole
    result = np.empty((rows, columns), left.dtype)
    for block in _column_blocks(depth, columns):
        result[:, block] = np.einsum("mk,kn->mn", left, np.ascontiguousarray(right[:, block]))
    return result


def _along_rows(left: Array, right: Array) -> Array:
    rows, depth = left.shape
    result = np.empty((rows, right.shape[1]), left.dtype)
    step = min(4096, max(64, BLOCK_ELEMENTS // depth))
    starts = [*range(0, rows, step)]
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts[-1] -= 1  # never a block of a single row
    for start in starts:
        block = np.ascontiguousarray(left[start : start + step].T)
        result[start : start + step] = np.einsum("km,kn->nm", block, right).T
    return result


def add_product_by_four(total: Array, rows: Array, weights: Array) -> Array:
    """`total` [M, N] plus rows [M, K] times the transposed weights [N, K], as LiteRT's vector code adds float32 up.

    Whole groups of four along K go into four sums, which are then added to each other and to the total; the rest of K
    follows one by one.
    """
    whole = rows.shape[1] // 4 * 4
    if whole:
        lanes = [product_in_order(rows[:, lane:whole:4], weights[:, lane:whole:4].T) for lane in range(4)]
        total = total + (((lanes[0] + lanes[1]) + lanes[2]) + lanes[3])
    for place in range(whole, rows.shape[1]):
        total = total + rows[:, place, None] * weights[:, place]
    return total


@dataclass(frozen=True, slots=True)
class Matrix:
    """The right factor [K, N] of matrix products, kept in the model's own type and layout.

    Attributes:
        values: [K, N], floats or integers; for most operators the transposed view of the file's [N, K].
        compute: The float type to compute in. It holds every partial sum of integers exactly.
        offset: What is subtracted from each integer first.
        in_order: Form float sums in the reference's order.
    """

    values: Array
    compute: np.dtype[Any]
    offset: int = 0
    in_order: bool = False

    def times(self, rows: Array) -> Array:
        """The product of rows [M, K] and this matrix, in `compute`."""
        left = rows.astype(self.compute, copy=False)
        if self.values.dtype == self.compute:
            return product_in_order(left, self.values) if self.in_order else np.asarray(left @ self.values)
        depth, columns = self.values.shape
        if depth * columns <= WEIGHT_ELEMENTS:
            return np.asarray(left @ self._converted(slice(None)))
        result = np.empty((len(left), columns), self.compute)
        for block in _column_blocks(depth, columns):
            np.matmul(left, self._converted(block), out=result[:, block])
        return result

    def _converted(self, block: slice) -> Array:
        """Some columns as floats; their layout stays, which BLAS takes either way."""
        part = self.values[:, block].astype(self.compute)
        if self.offset:
            part -= self.compute.type(self.offset)
        return part


def sum_in_order(values: Array) -> Array:
    """Sums over the first axis of [n, ...] from first to last, rounded at every step."""
    return fold_in_order(np.add, values)


def fold_in_order(function: np.ufunc, values: Array) -> Array:
    """`np.add` or `np.multiply` over the first axis of [n, ...] from first to last, rounded at every step."""
    if values.shape[0] == 0:
        return np.full(values.shape[1:], function.identity, values.dtype)
    columns = values.reshape(values.shape[0], -1)
    if columns.shape[1] == 1:  # along the fast axis numpy goes by pairs, but not when it keeps the partial results
        total = function.accumulate(columns[:, 0])[-1:]
    else:
        total = function.reduce(np.ascontiguousarray(columns), axis=0)
    return np.asarray(total, values.dtype).reshape(values.shape[1:])
