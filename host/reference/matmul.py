"""BATCH_MATMUL: float32, int8, int16 (also with int8 weights), hybrid. Semantics: LiteRT's reference kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_int64_accumulator, requantize, wrap32
from nnapi_toolkit.reference.hybrid import quantize_rows_asymmetric, quantize_rows_symmetric
from nnapi_toolkit.reference.quantized import scale_of, type_range, zero_point_of
from nnapi_toolkit.reference.sums import product_in_order
from nnapi_toolkit.reference.window import exact_dtype


@kernel("BATCH_MATMUL")
def batch_matmul(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x [..., rows, depth] times y [..., depth, columns]; `adj_x` and `adj_y` swap the last two dimensions first."""
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
        return [_in_order(left, right, lead) if runtime.reference_order else np.matmul(left, right)]
    require_type(node, right, "type of input 1", np.int8, np.int16)
    return [_hybrid(node, left, right) if left.dtype == np.float32 else _quantized(node, left, right)]


def _in_order(left: Array, right: Array, lead: tuple[int, ...]) -> Array:
    """The products one by one, each sum in the reference's order."""
    rows, columns = left.shape[-2], right.shape[-1]
    lefts = np.broadcast_to(left, (*lead, *left.shape[-2:])).reshape(-1, rows, left.shape[-1])
    rights = np.broadcast_to(right, (*lead, *right.shape[-2:])).reshape(-1, right.shape[-2], columns)
    parts = [product_in_order(a, b) for a, b in zip(lefts, rights)]
    return np.asarray(parts, left.dtype).reshape(*lead, rows, columns)


def _exact_product(left: Array, right: Array) -> Array:
    """Integer matrix product by way of the smallest float type that holds every partial sum."""
    bound = 0
    if left.size and right.size:
        largest = [int(max(-int(a.min()), int(a.max()))) for a in (left, right)]
        bound = largest[0] * largest[1] * left.shape[-1]
    compute = exact_dtype(bound)
    return np.matmul(left.astype(compute), right.astype(compute)).astype(np.int64)


def _quantized(node: Node, left: Array, right: Array) -> Array:
    tensors, target = (tensor_in(node, 0), tensor_in(node, 1)), node.output(0)
    if target.dtype == np.int32:
        return wrap32(_exact_product(left, right)).astype(np.int32)
    zeros = [zero_point_of(t) for t in tensors]
    sums = _exact_product(left.astype(np.int32) - zeros[0], right.astype(np.int32) - zeros[1])
    product = np.float32(scale_of(node, tensors[0])) * np.float32(scale_of(node, tensors[1]))
    multiplier = Multiplier.of(float(product) / scale_of(node, target))
    limits = type_range(left.dtype)
    if left.dtype == np.int8:
        return requantize(sums, None, multiplier, zero_point_of(target), limits, left.dtype)
    return np.clip(wrap32(multiply_int64_accumulator(sums, multiplier)), *limits).astype(np.int16)


def _hybrid(node: Node, left: Array, right: Array) -> Array:
    """Float x, int8 y: each row of x is quantised by itself."""
    depth = left.shape[-1]
    rows = np.ascontiguousarray(left).reshape(-1, depth)
    if node.operator.options.asymmetric_quantize_inputs:
        numbers, scales, zeros = quantize_rows_asymmetric(rows)
    else:
        numbers, scales = quantize_rows_symmetric(rows)
        zeros = np.zeros(rows.shape[0], np.int32)
    tensor = tensor_in(node, 1)
    scale_of(node, tensor)
    weights = np.asarray(tensor.quantization.scale if tensor.quantization else (), np.float32)
    sums = _exact_product(numbers.reshape(left.shape), right)
    sums -= zeros.reshape(*left.shape[:-1], 1).astype(np.int64) * right.sum(axis=-2, dtype=np.int64)[..., None, :]
    return sums.astype(np.float32) * (scales.reshape(*left.shape[:-1], 1) * weights)
