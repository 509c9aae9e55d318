"""RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1, LOGISTIC, TANH, HARD_SWISH, ELU, PRELU, LEAKY_RELU, GELU.

Semantics: LiteRT's reference kernels. Element by element; the output has the input's shape (PRELU broadcasts alpha).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.fixed_point import (
    Int64,
    Multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_half_away,
    rounding_divide_by_pot,
    truncating_shift,
    wrap32,
)
from nnapi_toolkit.reference.quantized import look_up, scale_of, type_range, zero_point_of
from nnapi_toolkit.reference.special import erfc
from nnapi_toolkit.reference.tables import interpolate_16bit, map_8bit, table_16bit
from numpy.typing import NDArray


def _in_double(values: Array, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Array:
    """A float32 function by way of double: within half a unit in the last place."""
    return function(values.astype(np.float64)).astype(values.dtype)


def all_8bit_values(dtype: np.dtype[Any]) -> Int64:
    """Every number of an 8-bit type, in order."""
    low, high = type_range(dtype)
    return np.arange(low, high + 1, dtype=np.int64)


def map_elements(values: Array, function: Callable[[Int64], Int64]) -> Array:
    """Applies a function of integers: through a table for 8-bit numbers, directly for 16-bit ones."""
    low, high = type_range(values.dtype)
    if values.dtype.itemsize == 1:
        table = np.clip(function(all_8bit_values(values.dtype)), low, high).astype(values.dtype)
        return look_up(values, table)
    return np.clip(function(values.astype(np.int64)), low, high).astype(values.dtype)


_RELU_RANGES = {
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


@kernel("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", elementwise=True)
def relu(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Clamps. float32; uint8, int8, int16: rescaled from the input's to the output's parameters, then clamped."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    low, high = _RELU_RANGES[node.operator.name]
    if values.dtype == np.float32:
        result = np.maximum(values, np.float32(low))
        return [np.minimum(result, np.float32(high), out=result) if math.isfinite(high) else result]
    source, target = tensor_in(node, 0), node.output(0)
    scale_out, zero_out = np.float32(scale_of(node, target)), zero_point_of(target)
    type_low, type_high = type_range(values.dtype)
    smallest = max(type_low, zero_out + int(round_half_away(np.float32(low) / scale_out)))
    largest = type_high
    if math.isfinite(high):
        largest = min(type_high, zero_out + int(round_half_away(np.float32(high) / scale_out)))
    multiplier = Multiplier.of(float(np.float32(scale_of(node, source)) / scale_out))
    zero_in = zero_point_of(source)

    def clamp(numbers: Int64) -> Int64:
        scaled = zero_out + multiply_by_quantized_multiplier(numbers - zero_in, multiplier)
        return np.minimum(np.maximum(scaled, smallest), largest)

    return [map_elements(values, clamp)]


def logistic_of(values: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1 / (1 + small), small / (1 + small))


def _logistic_of_8bit(values: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)), each step rounded to float32: the table of the 8-bit kernels is made so, and its rounding shows."""
    exps = np.exp(np.clip(-values, -88, 88)).astype(np.float32)
    return np.float32(1) / (np.float32(1) + exps)


def logistic_float32(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The reference's float32 sigmoid: 1 above 16.6, exp(x) below -9, in between 1 / (1 + exp(-x)) step by step."""
    exps = np.exp(np.clip(-values, -88, 88).astype(np.float64)).astype(np.float32)
    middle = np.float32(1) / (np.float32(1) + exps)
    low = np.exp(np.clip(values, -103, 0).astype(np.float64)).astype(np.float32)
    result = np.where(values < np.float32(-9), low, middle)
    return np.where(values > np.float32(16.619047164916992), np.float32(1), result)


#: Where the published 16-bit sigmoid table is one above the rounded function.
_RAISED = (
    4, 8, 12, 14, 15, 16, 17, 19, 20, 21, 22, 25, 27, 28, 29, 30, 31, 33, 34, 35, 37, 39, 40, 41, 43, 44, 45, 46, 49,
    50, 54, 62, 63, 64, 66, 82, 86, 93, 100, 103, 112, 116, 135, 255,
)  # fmt: skip


def _sigmoid_table() -> NDArray[np.int64]:
    """sigmoid(i / 24) in 16 bits for i = 0 .. 255."""
    table = np.floor(65536 / (1 + np.exp(-np.arange(256) / 24)) + 0.5).astype(np.int64)
    table[list(_RAISED)] += 1
    return np.minimum(table, 65535)


def _log2_of_power(scale: float) -> int | None:
    """The exponent when a scale is a power of two (within the tolerance the kernels use), else None."""
    exponent = math.log2(scale)
    rounded = round(exponent)
    return rounded if abs(exponent - rounded) < 1e-3 else None


def _scaled_for_sigmoid(node: Node, values: Array, shifts: tuple[int, ...]) -> Int64:
    """int16 numbers rescaled so that 2^17 is 32 / 3, as the sigmoid table wants."""
    scale = scale_of(node, tensor_in(node, 0))
    exponent = _log2_of_power(scale)
    if exponent is not None and 12 + exponent in shifts:
        return values.astype(np.int64) * (3 << (12 + exponent))
    factor, shift = float(np.float32(scale)) * 4096.0 * 3.0, 0
    while factor <= 32767.0 / 2.0 and shift <= 30:
        shift += 1
        factor *= 2.0
    rounding = (1 << (shift - 1)) if shift > 0 else 0
    return wrap32(values.astype(np.int64) * int(factor) + rounding) >> shift


@kernel("LOGISTIC", elementwise=True)
def logistic(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Sigmoid. float32, float16; uint8 and int8 by table; int16 by an interpolated table of 256 entries."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float16, np.uint8, np.int8, np.int16)
    if values.dtype in (np.float32, np.float16):
        return [logistic_float32(values.astype(np.float32)).astype(values.dtype)]
    if values.dtype != np.int16:
        return [map_8bit(node, values, _logistic_of_8bit)]
    scaled = _scaled_for_sigmoid(node, values, (0,))
    magnitude, table = np.abs(scaled), _sigmoid_table()
    index = np.minimum(magnitude >> 9, 254)
    below = table[index]
    result = (below << 9) + (magnitude & 0x1FF) * (table[index + 1] - below)
    result = np.where(magnitude >> 9 >= 255, 0x7FFF << 10, result)
    result = np.where(scaled >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return [(result >> 10).astype(np.int16)]


@kernel("TANH", elementwise=True)
def tanh(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Hyperbolic tangent. float32, float16; uint8 and int8 by table; int16 through the sigmoid table."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float16, np.uint8, np.int8, np.int16)
    if values.dtype in (np.float32, np.float16):
        return [_in_double(values, np.tanh)]
    if values.dtype != np.int16:
        return [map_8bit(node, values, np.tanh)]
    scaled = _scaled_for_sigmoid(node, values, (0, 1))
    magnitude, table = np.abs(scaled), _sigmoid_table()
    index = np.minimum(magnitude >> 8, 254)
    below = table[index]
    result = (below << 8) + (magnitude & 0xFF) * (table[index + 1] - below)
    result = np.where(magnitude >> 8 >= 255, 0xFFFF << 8, result)
    result = np.where(scaled >= 0, result - (1 << 23) + (1 << 7), -result + (1 << 23) + (1 << 7) - 1)
    return [(result >> 8).astype(np.int16)]


@kernel("HARD_SWISH", elementwise=True)
def hard_swish(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x * clamp(x + 3, 0, 6) / 6. float32; uint8 and int8 in 16-bit fixed point."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8)
    if values.dtype == np.float32:
        gate = np.minimum(np.float32(6), np.maximum(np.float32(0), values + np.float32(3)))
        return [values * gate / np.float32(6)]
    return [map_elements(values, _hard_swish_numbers(node))]


def _to_16bit_multiplier(real: float) -> tuple[int, int]:
    significand, exponent = quantize_multiplier(real)
    if significand >= 2**31 - 1 - (1 << 15):
        return 32767, exponent
    return (significand + (1 << 15)) >> 16, exponent


def _high_multiply_16(values: Int64, factor: int) -> Int64:
    """Rounding doubling high product of int16 numbers; the factor is positive."""
    product = values * factor
    return truncating_shift(product + np.where(product >= 0, 1 << 14, 1 - (1 << 14)), 15)


def _hard_swish_numbers(node: Node) -> Callable[[Int64], Int64]:
    source, target = tensor_in(node, 0), node.output(0)
    fine = np.float32(1.0 / 128.0) * np.float32(scale_of(node, source))
    out_factor, out_exponent = _to_16bit_multiplier(float(fine / np.float32(scale_of(node, target))))
    gate_factor, gate_exponent = _to_16bit_multiplier(float(fine / (np.float32(3) / np.float32(32768))))
    if out_exponent > 0:
        fail(node, "input scale over output scale", float(fine) * 128 / scale_of(node, target), "below 128")
    zero_in, zero_out = zero_point_of(source), zero_point_of(target)

    def run(numbers: Int64) -> Int64:
        fine_value = (numbers - zero_in) << 7
        pre = _high_multiply_16(fine_value, out_factor)
        gate = fine_value
        if gate_exponent > 0:
            gate = np.clip(gate << (gate_exponent - 1), -32768, 32767)
        gate = _high_multiply_16(gate, gate_factor)
        if gate_exponent > 0:
            gate = np.clip(gate << 1, -32768, 32767)
        elif gate_exponent < 0:
            gate = rounding_divide_by_pot(gate, -gate_exponent)
        gate = (gate + (1 << 15)) >> 1
        return rounding_divide_by_pot(truncating_shift(gate * pre, 15), -out_exponent) + zero_out

    return run


@kernel("ELU", elementwise=True)
def elu(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x, or exp(x) - 1 below zero. float32; int8 by table."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8)

    def function(x: NDArray[Any]) -> NDArray[Any]:
        return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)

    return [_in_double(values, function) if values.dtype == np.float32 else map_8bit(node, values, function)]


def gelu_of(x: NDArray[Any]) -> NDArray[Any]:
    """x / 2 * erfc(-x / sqrt 2), in double; the argument of erfc is rounded to float32 as in the reference."""
    argument = (x.astype(np.float32) * np.float32(-math.sqrt(0.5))).astype(np.float64)
    return 0.5 * x * erfc(argument)


def gelu_approximation(x: NDArray[Any]) -> NDArray[Any]:
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_in_steps(values: Array, approximate: bool) -> Array:
    """GELU of floats, constants and every step rounded to the input's type, as the reference's arithmetic is."""
    kind = values.dtype.type

    def rounded(exact: Any) -> NDArray[np.float64]:
        return np.asarray(exact).astype(kind).astype(np.float64)

    with np.errstate(over="ignore", invalid="ignore"):
        x = values.astype(np.float64)
        if approximate:
            cube = rounded(rounded(x * x) * x)
            inner = rounded(x + rounded(rounded(0.044715) * cube))
            factor = rounded(1 + rounded(np.tanh(rounded(rounded(math.sqrt(2 / math.pi)) * inner))))
        else:
            factor = rounded(erfc(rounded(x * rounded(-math.sqrt(0.5)))))
        return (rounded(0.5 * x) * factor).astype(kind)


@kernel("GELU", elementwise=True)
def gelu(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Gaussian error linear unit, exact or by tanh (`approximate`). float32, float16; uint8, int8, int16 by table."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float16, np.uint8, np.int8, np.int16)
    function = gelu_approximation if node.operator.options.approximate else gelu_of
    if values.dtype in (np.float32, np.float16):
        return [_gelu_in_steps(values, node.operator.options.approximate)]
    if values.dtype != np.int16:
        return [map_8bit(node, values, function)]
    source, target = tensor_in(node, 0), node.output(0)
    table = table_16bit(
        function,
        scale_of(node, source),
        zero_point_of(source),
        scale_of(node, target),
        zero_point_of(target),
        np.float32,
    )
    return [interpolate_16bit(values, table).astype(np.int16)]


@kernel("LEAKY_RELU", elementwise=True)
def leaky_relu(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x, or alpha * x below zero. float32; uint8, int8, int16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    alpha = np.float32(node.operator.options.alpha)
    if values.dtype == np.float32:
        return [np.where(values > 0, values, values * alpha)]
    source, target = tensor_in(node, 0), node.output(0)
    scale_in, scale_out = np.float32(scale_of(node, source)), np.float32(scale_of(node, target))
    identity = Multiplier.of(float(scale_in / scale_out))
    slope_real = float(scale_in * alpha / scale_out)
    slope, sign = Multiplier.of(abs(slope_real)), -1 if slope_real < 0 else 1
    zero_in, zero_out = zero_point_of(source), zero_point_of(target)

    def run(numbers: Int64) -> Int64:
        plain = numbers - zero_in
        below = sign * multiply_by_quantized_multiplier(plain, slope)
        return zero_out + np.where(plain >= 0, multiply_by_quantized_multiplier(plain, identity), below)

    return [map_elements(values, run)]


@kernel("PRELU", elementwise=True)
def prelu(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x, or alpha * x below zero with an alpha tensor that broadcasts to the input. float32; uint8, int8; int16 with int8 alpha."""
    values, alpha = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "alpha")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    require_type(node, alpha, "type of input 1 (alpha)", np.int8 if values.dtype == np.int16 else values.dtype.type)
    try:
        shape = np.broadcast_shapes(values.shape, alpha.shape)
    except ValueError:
        fail(
            node,
            "shape of input 1 (alpha)",
            list(alpha.shape),
            f"one that broadcasts to {list(values.shape)}",
        )
    if shape != values.shape:
        fail(
            node,
            "shape of input 1 (alpha)",
            list(alpha.shape),
            f"one that broadcasts to {list(values.shape)}",
        )
    if values.dtype == np.float32:
        return [np.where(values >= 0, values, values * alpha)]
    source, slope, target = tensor_in(node, 0), tensor_in(node, 1), node.output(0)
    scale_in, scale_out = np.float32(scale_of(node, source)), np.float32(scale_of(node, target))
    identity = Multiplier.of(float(scale_in / scale_out))
    product = Multiplier.of(float(scale_in * np.float32(scale_of(node, slope)) / scale_out))
    plain = values.astype(np.int64) - zero_point_of(source)
    factor = alpha.astype(np.int64) - zero_point_of(slope)
    below = multiply_by_quantized_multiplier(plain * factor, product)
    result = np.where(plain >= 0, multiply_by_quantized_multiplier(plain, identity), below) + zero_point_of(target)
    return [np.clip(result, *type_range(values.dtype)).astype(values.dtype)]
