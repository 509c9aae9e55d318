"""SOFTMAX and LOG_SOFTMAX over the last axis: float32, float16, uint8, int8, int16.

Semantics: LiteRT's reference kernels; the 8-bit ones are fixed-point (Q5.26 differences, Q12.19 sums).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.blocks import by_rows
from nnapi_toolkit.reference.fixed_functions import (
    exp_on_negative_values,
    leading_zeros,
    log_of_at_least_one,
    multiply,
    reciprocal,
)
from nnapi_toolkit.reference.fixed_point import (
    INT32_MIN,
    Int64,
    Multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    wrap32,
)
from nnapi_toolkit.reference.quantized import scale_of, type_range
from nnapi_toolkit.reference.sums import sum_in_order
from nnapi_toolkit.reference.tables import interpolate_16bit, table_16bit
from numpy.typing import NDArray

DIFFERENCE_BITS = 5
SUM_BITS = 12


def _differences(node: Node, rows: Array, beta: float) -> tuple[Int64, Int64, int, int, int]:
    """Differences from the row's largest number: (plain, rescaled to Q5.26, threshold, multiplier, left shift)."""
    real = min(beta * scale_of(node, tensor_in(node, 0)) * (1 << (31 - DIFFERENCE_BITS)), 2.0**31 - 1)
    significand, shift = quantize_multiplier(real)
    shift = max(shift, 0)
    threshold = -math.floor(((1 << DIFFERENCE_BITS) - 1) * (1 << (31 - DIFFERENCE_BITS)) / (1 << shift))
    plain = rows.astype(np.int64) - rows.max(axis=1, keepdims=True)
    counted = np.maximum(plain, threshold)
    return plain, multiply(wrap32(counted << shift), significand), threshold, significand, shift


def _sum_of_exps(exps: Int64, counted: NDArray[np.bool_]) -> Int64:
    scaled = np.where(counted, rounding_divide_by_pot(exps, SUM_BITS), 0)
    return wrap32(scaled.sum(axis=1, keepdims=True, dtype=np.int64))


@kernel("SOFTMAX")
def softmax(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """exp(beta * (x - max)) over its sum; uint8 and int8 also to int16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float16, np.uint8, np.int8, np.int16)
    if values.ndim < 1:
        fail(node, "rank of input 0", 0, "1 or more")
    if values.size == 0:
        return [np.zeros(values.shape, node.output(0).dtype)]
    beta = float(node.operator.options.beta)
    rows = values.reshape(-1, values.shape[-1])
    function: Callable[[Array], Array]
    if values.dtype in (np.float32, np.float16):
        function = partial(_softmax_float, beta=beta)
    elif values.dtype == np.int16:
        function = partial(_softmax_int16, node, beta=beta)
    else:
        function = partial(_softmax_8bit, node, beta=beta)
    return [by_rows(function, rows).reshape(values.shape)]


def _softmax_float(rows: Array, beta: float) -> Array:
    wide = rows.astype(np.float32)
    shifted = (wide - wide.max(axis=1, keepdims=True)) * np.float32(beta)
    exps = np.exp(shifted.astype(np.float64)).astype(np.float32)
    return (exps / sum_in_order(exps.T)[:, None]).astype(rows.dtype)


def _softmax_8bit(node: Node, rows: Array, beta: float) -> Array:
    plain, scaled, threshold, _, _ = _differences(node, rows, beta)
    counted = plain >= threshold
    exps = exp_on_negative_values(scaled, DIFFERENCE_BITS)
    scale, over_unit = reciprocal(_sum_of_exps(exps, counted), SUM_BITS)
    dtype = np.dtype(node.output(0).dtype)
    low, high = type_range(dtype)
    shift = over_unit + 31 - 8 * dtype.itemsize
    result = rounding_divide_by_pot(multiply(scale, exps), np.broadcast_to(shift, exps.shape)) + low
    return np.where(counted, np.clip(result, low, high), low).astype(dtype)


def _softmax_int16(node: Node, rows: Array, beta: float) -> Array:
    exp_table = table_16bit(np.exp, 10.0 / 65535, 32767, 2.0 / 65535, 0, np.float64)
    inverse_table = table_16bit(lambda x: 1 / (1 + x), 1.0 / 65535, -32768, 2.0 / 65535, 0, np.float64)
    scale = np.float32(scale_of(node, tensor_in(node, 0))) * np.float32(beta)
    multiplier = Multiplier.of(float(scale) / (10.0 / 65535.0))
    plain = rows.astype(np.int64) - rows.max(axis=1, keepdims=True)
    scaled = multiply_by_quantized_multiplier(plain, multiplier) + 32767
    exps = interpolate_16bit(np.clip(scaled, -32768, 32767), exp_table)
    total = exps.sum(axis=1, keepdims=True)
    headroom = leading_zeros(total)
    shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
    position = np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767)
    inverse = interpolate_16bit(position, inverse_table)
    right = 31 - headroom
    result = (exps * inverse + (np.int64(1) << (right - 1))) >> right
    return np.clip(result, 0, 32767).astype(np.int16)


@kernel("LOG_SOFTMAX")
def log_softmax(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x - max - log(sum of exps); quantised outputs have scale 16/256 and zero point at the type's maximum."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8)
    if values.size == 0:
        return [values.copy()]
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    function: Callable[[Array], Array]
    function = _log_softmax_float if values.dtype == np.float32 else partial(_log_softmax_8bit, node)
    return [by_rows(function, rows).reshape(values.shape)]


def _log_softmax_float(rows: Array) -> Array:
    shifted = rows - rows.max(axis=1, keepdims=True)
    exps = np.exp(shifted.astype(np.float64)).astype(np.float32)
    return np.asarray(shifted - np.log(sum_in_order(exps.T).astype(np.float64)).astype(np.float32)[:, None])


def _log_softmax_8bit(node: Node, rows: Array) -> Array:
    plain, scaled, threshold, significand, shift = _differences(node, rows, 1.0)
    exps = exp_on_negative_values(scaled, DIFFERENCE_BITS)
    log_sum = log_of_at_least_one(_sum_of_exps(exps, plain >= threshold), SUM_BITS, DIFFERENCE_BITS)
    back, back_shift = quantize_multiplier((1 << (31 - shift)) / significand)
    reverse = Multiplier(np.asarray(back, np.int64), np.asarray(back_shift, np.int64))
    smallest = multiply_by_quantized_multiplier(wrap32(log_sum + INT32_MIN), reverse)
    limit = np.maximum(threshold - 1, smallest)
    low, high = type_range(rows.dtype)
    rescaled = multiply(wrap32(plain << shift), significand)
    result = rounding_divide_by_pot(rescaled - log_sum, 31 - DIFFERENCE_BITS - 4) + high
    return np.where(plain > limit, np.clip(result, low, high), low).astype(rows.dtype)
