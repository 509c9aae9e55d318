"""BATCH_MATMUL: float32, int8, int16 (also with int8 weights), hybrid. Semantics: LiteRT's reference kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.blocks import BLOCK, blocks
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_int64_accumulator, requantize, wrap32
from nnapi_toolkit.reference.hybrid import quantize_rows_asymmetric, quantize_rows_symmetric
from nnapi_toolkit.reference.quantized import scale_of, type_range, zero_point_of
from nnapi_toolkit.reference.sums import Matrix, product_in_order
from nnapi_toolkit.reference.window import exact_dtype


@kernel("BATCH_MATMUL")
def batch_matmul(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x [..., rows, depth] times y [..., depth, columns]; `adj_x` and `adj_y` swap the last two dimensions first.

    float32; int8; int16; int8 to int32 without rescaling; float32 x with int8 y (hybrid). Leading dimensions
    broadcast.
    """
    left, right = operand(node, inputs, 0, "x"), operand(node, inputs, 1, "y")
    options = node.operator.options
    if min(left.ndim, right.ndim) < 2:
        fail(node, "ranks of the inputs", (left.ndim, right.ndim), "2 or more")
    left = left.swapaxes(-1, -2) if options.adj_x else left
    right = right.swapaxes(-1, -2) if options.adj_y else right
    if left.shape[-1] != right.shape[-2]:
        fail(node, "depths of the inputs", (left.shape[-1], right.shape[-2]), "equal")
    try:
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        fail(node, "batch dimensions", (left.shape[:-2], right.shape[:-2]), "such that they broadcast")
    check_shape(node, (*lead, left.shape[-2], right.shape[-1]))
    require_type(node, left, "type of input 0", np.float32, np.int8, np.int16)
    if left.dtype == np.float32 and right.dtype == np.float32:
        in_order = runtime.reference_order
        multiply: Product = lambda a, b: product_in_order(a, b) if in_order else a @ b  # noqa: E731
    else:
        require_type(node, right, "type of input 1", np.int8, np.int16)
        multiply = _hybrid(node) if left.dtype == np.float32 else _quantized(node, left.dtype)
    return [_one_by_one(node, multiply, left, right, lead)]


Product = Callable[[Array, Array], Array]


def _one_by_one(node: Node, multiply: Product, left: Array, right: Array, lead: tuple[int, ...]) -> Array:
    """The products of all matrices, in blocks of rows, so that sums of integers never fill a tensor."""
    shape = (*lead, left.shape[-2], right.shape[-1])
    result = np.empty(shape, node.output(0).dtype)
    lefts, rights = np.broadcast_to(left, (*lead, *left.shape[-2:])), np.broadcast_to(right, (*lead, *right.shape[-2:]))
    for place in np.ndindex(*lead):
        for (rows,) in blocks((shape[-2],), BLOCK // max(1, *shape[-1:], left.shape[-1])):
            result[place][rows] = multiply(lefts[place][rows], rights[place])
    return result


def _exact_product(left: Array, right: Array, zeros: Sequence[int] = (0, 0)) -> Array:
    """Integer matrix product of numbers less zero points, in the smallest float type that holds every partial sum."""
    bound = left.shape[-1]
    for numbers, zero in zip((left, right), zeros):
        bound *= max(zero - int(numbers.min(initial=zero)), int(numbers.max(initial=zero)) - zero)
    compute = np.dtype(exact_dtype(bound))
    return Matrix(right, compute, zeros[1]).times(left.astype(compute) - compute.type(zeros[0])).astype(np.int64)


def _quantized(node: Node, dtype: np.dtype[Any]) -> Product:
    tensors, target = (tensor_in(node, 0), tensor_in(node, 1)), node.output(0)
    if target.dtype == np.int32:
        return lambda left, right: wrap32(_exact_product(left, right)).astype(np.int32)
    zeros = [zero_point_of(t) for t in tensors]
    product = np.float32(scale_of(node, tensors[0])) * np.float32(scale_of(node, tensors[1]))
    multiplier = Multiplier.of(float(product) / scale_of(node, target))
    limits = type_range(dtype)

    def multiply(left: Array, right: Array) -> Array:
        sums = _exact_product(left, right, zeros)
        if dtype == np.int8:
            return requantize(sums, None, multiplier, zero_point_of(target), limits, dtype)
        return np.clip(wrap32(multiply_int64_accumulator(sums, multiplier)), *limits)

    return multiply


def _hybrid(node: Node) -> Product:
    """Float x, int8 y: each row of x is quantised by itself."""
    tensor = tensor_in(node, 1)
    scale_of(node, tensor)
    weights = np.asarray(tensor.quantization.scale if tensor.quantization else (), np.float32)

    def multiply(left: Array, right: Array) -> Array:
        rows = np.ascontiguousarray(left)
        if node.operator.options.asymmetric_quantize_inputs:
            numbers, scales, zeros = quantize_rows_asymmetric(rows)
        else:
            numbers, scales = quantize_rows_symmetric(rows)
            zeros = np.zeros(rows.shape[0], np.int32)
        sums = _exact_product(numbers, right)
        sums -= zeros[:, None].astype(np.int64) * right.sum(axis=0, dtype=np.int64)
        return np.asarray(sums.astype(np.float32) * (scales[:, None] * weights))

    return multiply
