"""float32 sums and matrix products in the order of the reference kernels' loops, which decides their last bits."""

from __future__ import annotations

import numpy as np
from nnapi_toolkit.reference.base import Array

#: Elements of one block of partial sums: with the products of a step it should stay in the first-level cache.
SUM_ELEMENTS = 1 << 13

#: Elements of one block of products: it should stay in the second-level cache.
PRODUCT_ELEMENTS = 1 << 17

#: Matrices of fewer columns go faster with the rows along the fast axis.
NARROW = 48


def product_in_order(left: Array, right: Array) -> Array:
    """Matrix product [M, K] x [K, N] whose sums run over K from first to last, rounded at every step.

    That is the order of the reference kernels' loops; a BLAS has its own. Costs a multiplication and an addition over
    [M, N] per step.
    """
    rows, depth, columns = left.shape[0], left.shape[1], right.shape[1]
    if depth == 0 or rows == 0 or columns == 0:
        return np.zeros((rows, columns), left.dtype)
    if columns < NARROW and rows > columns:
        return _narrow(left, right)
    result = np.empty((rows, columns), left.dtype)
    step = max(1, PRODUCT_ELEMENTS // (columns * depth))
    right = np.ascontiguousarray(right)
    for start in range(0, rows, step):
        block = np.ascontiguousarray(left[start : start + step].T)
        result[start : start + step] = sum_in_order(block[:, :, None] * right[:, None, :])
    return result


def _narrow(left: Array, right: Array) -> Array:
    rows, depth, columns = left.shape[0], left.shape[1], right.shape[1]
    result = np.empty((rows, columns), left.dtype)
    step = max(1, SUM_ELEMENTS // columns)
    for start in range(0, rows, step):
        block = np.ascontiguousarray(left[start : start + step].T)
        sums = np.zeros((columns, block.shape[1]), left.dtype)
        product = np.empty_like(sums)
        for k in range(depth):
            np.multiply(right[k][:, None], block[k], out=product)
            np.add(sums, product, out=sums)
        result[start : start + step] = sums.T
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
