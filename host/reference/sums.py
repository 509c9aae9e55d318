"""float32 sums and matrix products in the order of the reference kernels' loops, which decides their last bits."""

from __future__ import annotations

import numpy as np
from nnapi_toolkit.reference.base import Array

#: Elements of one block of the left matrix: it should stay in the second-level cache.
BLOCK_ELEMENTS = 1 << 17


def product_in_order(left: Array, right: Array) -> Array:
    """Matrix product [M, K] x [K, N] whose sums run over K from first to last, rounded at every step.

    That is the order of the reference kernels' loops; a BLAS has its own. `einsum` loops over the longer of M and N
    innermost, adds a row times a number to the row of sums, and takes K in its order, as the rows' strides are the
    smallest. About a quarter of a BLAS's speed.
    """
    rows, depth, columns = left.shape[0], left.shape[1], right.shape[1]
    if depth == 0 or rows * columns == 0:
        return np.zeros((rows, columns), left.dtype)
    if rows * columns == 1:  # no row to go along: einsum would add up along K, four sums at a time
        return np.add.accumulate(left[0] * right[:, 0])[-1:].reshape(1, 1)
    right = np.ascontiguousarray(right)
    if rows <= columns:
        whole: Array = np.einsum("mk,kn->mn", left, right)
        return whole
    result = np.empty((rows, columns), left.dtype)
    step = min(4096, max(64, BLOCK_ELEMENTS // depth))
    starts = [*range(0, rows, step)]
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts[-1] -= 1  # never a block of a single row
    for start in starts:
        block = np.ascontiguousarray(left[start : start + step].T)
        result[start : start + step] = np.einsum("km,kn->nm", block, right).T
    return result


def product(left: Array, right: Array, in_order: bool) -> Array:
    """Matrix product by BLAS, or in the reference's order."""
    return product_in_order(left, right) if in_order else left @ right


def sum_in_order(values: Array) -> Array:
    """Sums over the first axis of [n, ...] from first to last, rounded at every step."""
    if values.shape[0] == 0:
        return np.zeros(values.shape[1:], values.dtype)
    columns = values.reshape(values.shape[0], -1)
    if columns.shape[1] == 1:  # along the fast axis numpy adds pairwise, but not when it keeps the partial sums
        total = np.add.accumulate(columns[:, 0])[-1:]
    else:
        total = np.add.reduce(np.ascontiguousarray(columns), axis=0)
    return np.asarray(total, values.dtype).reshape(values.shape[1:])
