"""L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION over the last axis. Semantics: LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.fixed_functions import inverse_square_root
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_by_quantized_multiplier
from nnapi_toolkit.reference.quantized import type_range, zero_point_of
from nnapi_toolkit.reference.sums import sum_in_order


@kernel("L2_NORMALIZATION")
def l2_normalization(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x / max(norm, 1e-6) per row. float32; uint8 and int8 with an output scale of 1/128."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8)
    if values.ndim < 1:
        fail(node, "rank of input 0", 0, "1 or more")
    if values.dtype == np.float32:
        squares = sum_in_order(np.moveaxis(values * values, -1, 0))[..., None]
        return [values / np.maximum(np.sqrt(squares), np.float32(1e-6))]
    rows = values.reshape(-1, values.shape[-1]).astype(np.int64) - zero_point_of(tensor_in(node, 0))
    low, high = type_range(values.dtype)
    middle = 128 if values.dtype == np.uint8 else 0
    result = np.empty(rows.shape, values.dtype)
    for index, row in enumerate(rows):
        significand, shift = inverse_square_root(int((row * row).sum()))
        multiplier = Multiplier(np.asarray(significand, np.int64), np.asarray(shift, np.int64))
        if values.dtype == np.int8:
            scaled = multiply_by_quantized_multiplier(row, Multiplier(multiplier.significand, multiplier.exponent + 7))
        else:
            scaled = multiply_by_quantized_multiplier(128 * row, multiplier)
        result[index] = np.clip(scaled + middle, low, high)
    return [result.reshape(values.shape)]


@kernel("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x * (bias + alpha * sum of squares of the channels from c - radius up to c + radius - 1) ^ -beta, float32.

    The window's upper end is open, as in the reference.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32)
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    if options.radius < 0:
        fail(node, "radius", options.radius, "0 or more")
    depth, radius = values.shape[-1], min(options.radius, values.shape[-1])
    squares = np.zeros((*values.shape[:-1], depth + 2 * radius), np.float32)
    squares[..., radius : radius + depth] = values * values
    window = np.zeros_like(values)
    for offset in range(2 * radius):
        window += squares[..., offset : offset + depth]
    base = np.float32(options.bias) + np.float32(options.alpha) * window
    with np.errstate(all="ignore"):
        factor = np.power(base.astype(np.float64), -float(options.beta)).astype(np.float32)
    return [values * factor]
