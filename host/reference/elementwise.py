"""Binary operators element by element: ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD ...

Semantics: LiteRT's reference kernels. Both inputs broadcast by numpy's rules, up to rank 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    check_shape,
    fail,
    kernel,
    operand,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.blocks import by_blocks
from nnapi_toolkit.reference.fixed_functions import leading_zeros, multiply, reciprocal
from nnapi_toolkit.reference.fixed_point import (
    Int64,
    Multiplier,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    requantize,
    rounding_divide_by_pot,
    truncating_divide,
    wrap32,
)
from nnapi_toolkit.reference.quantized import (
    NONE,
    RELU,
    RELU6,
    RELU_N1_TO_1,
    clamp_float,
    look_up,
    quantized_range,
    scale_of,
    scale_or_zero,
    type_range,
    zero_point_of,
)
from numpy.typing import NDArray


def broadcast_pair(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, Array, tuple[int, ...]]:
    """Both inputs and the shape they broadcast to.

    Raises:
        ModelError: Different dtypes, or shapes that do not broadcast.
    """
    first, second = operand(node, inputs, 0, "input 0"), operand(node, inputs, 1, "input 1")
    if first.dtype != second.dtype:
        fail(node, "type of input 1", second.dtype.name, f"that of input 0, {first.dtype.name}")
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        fail(node, "shape of input 1", list(second.shape), f"one that broadcasts with {list(first.shape)}")
    return first, second, check_shape(node, shape)


def clamp_integer(values: Array, activation: int) -> Array:
    """Fused activations on plain integers."""
    limits = {RELU: (0, None), RELU6: (0, 6), RELU_N1_TO_1: (-1, 1)}.get(int(activation))
    return values if limits is None else np.clip(values, *limits)


def _activation(node: Node) -> int:
    return int(getattr(node.operator.options, "fused_activation_function", NONE))


def _plain(node: Node, inputs: Sequence[Array | None], function: Callable[..., Array], *dtypes: type[Any]) -> Array:
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", *dtypes)
    with np.errstate(all="ignore"):
        result = np.asarray(function(first, second))
    if result.dtype.kind == "f":
        fused = hasattr(node.operator.options, "fused_activation_function")
        return clamp_float(result, _activation(node)) if fused else result
    return clamp_integer(result, _activation(node)) if result.dtype.kind == "i" else result


def is_quantized(node: Node, values: Array) -> bool:
    """True for 8-bit numbers, and for int16 ones that carry quantisation parameters."""
    if values.dtype in (np.int8, np.uint8):
        return True
    return (
        values.dtype == np.int16
        and tensor_in(node, 0).quantization is not None
        and scale_or_zero(tensor_in(node, 0)) != 0
    )


def smaller_than_one(values: Int64, multiplier: Multiplier) -> Int64:
    """The multiplication for multipliers up to one; the shift is to the right only."""
    return multiply_by_quantized_multiplier(values, multiplier)


def _scaled_term(
    node: Node, tensor: Tensor, values: Array, left_shift: int, multiplier: Multiplier
) -> NDArray[np.int64]:
    """(x - zero point) * 2^left_shift * multiplier; through a table for 8-bit numbers."""
    zero = zero_point_of(tensor)

    def term(numbers: Int64) -> Int64:
        return smaller_than_one((numbers - zero) << left_shift, multiplier)

    if values.dtype.itemsize > 1:
        return term(values.astype(np.int64))
    low, high = type_range(values.dtype)
    table = term(np.arange(low, high + 1, dtype=np.int64)).astype(np.int32)
    return look_up(values, table)


def quantized_sum(node: Node, first: Array, second: Array, sign: int) -> Array:
    """Quantised ADD and SUB with general scales: both terms on twice the larger scale, with 20 (int16: 15) more bits."""
    tensors = (tensor_in(node, 0), tensor_in(node, 1))
    target = node.output(0)
    scales = [scale_of(node, t) for t in tensors]
    scale_out = scale_of(node, target)
    left_shift = 15 if first.dtype == np.int16 else 20
    twice = 2 * max(scales)
    terms = [
        _scaled_term(node, t, v, left_shift, Multiplier.of(s / twice))
        for t, v, s in zip(tensors, (first, second), scales)
    ]
    total = terms[0] + terms[1] if sign > 0 else terms[0] - terms[1]
    limits = quantized_range(node, target, _activation(node), first.dtype)
    multiplier = Multiplier.of(twice / ((1 << left_shift) * scale_out))
    return requantize(total, None, multiplier, zero_point_of(target), limits, first.dtype)


def _power_of_two(scale: float) -> int | None:
    exponent = math.log2(scale)
    whole = round(exponent)
    return whole if abs(exponent - whole) < 1e-3 else None


def _power_of_two_sum(node: Node, first: Array, second: Array, sign: int) -> Array | None:
    """int16 ADD and SUB on scales that are powers of two (`pot_scale_int16`): one input is shifted right."""
    tensors = (tensor_in(node, 0), tensor_in(node, 1), node.output(0))
    exponents = [_power_of_two(scale_of(node, t)) for t in tensors]
    if first.dtype != np.int16 or not node.operator.options.pot_scale_int16 or None in exponents:
        return None
    one, two, out = (int(e or 0) for e in exponents)
    shifts = (one - out, two - out)
    if (shifts[0] != 0 and shifts[1] != 0) or max(shifts) > 0:
        fail(
            node,
            "scale exponents of inputs and output",
            exponents,
            "one input equal to the output, none above it",
        )
    terms = [rounding_divide_by_pot(v.astype(np.int64), -s) for v, s in zip((first, second), shifts)]
    total = np.clip(terms[0] + terms[1] if sign > 0 else terms[0] - terms[1], -32768, 32767)
    limits = quantized_range(node, tensors[2], _activation(node), first.dtype)
    return np.clip(total, *limits).astype(np.int16)


def _sum(node: Node, inputs: Sequence[Array | None], sign: int) -> Array:
    first, second, _ = broadcast_pair(node, inputs)
    if not is_quantized(node, first):
        function: Callable[..., Array] = np.add if sign > 0 else np.subtract
        return _plain(node, inputs, function, np.float32, np.float16, np.int16, np.int32, np.int64)
    special = _power_of_two_sum(node, first, second, sign)
    return quantized_sum(node, first, second, sign) if special is None else special


@kernel("ADD", elementwise=True)
def add(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x + y with a fused activation. float32, int32, int64; uint8, int8, int16 quantised; plain int16."""
    return [_sum(node, inputs, 1)]


@kernel("SUB", elementwise=True)
def sub(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x - y with a fused activation. float32, int32, int64; uint8, int8, int16 quantised."""
    return [_sum(node, inputs, -1)]


@kernel("MUL", elementwise=True)
def mul(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x * y with a fused activation. float32, int32, int64, uint32, complex64; uint8, int8, int16 quantised."""
    first, second, _ = broadcast_pair(node, inputs)
    target = node.output(0)
    if not (is_quantized(node, first) and target.quantization is not None):
        wanted = (np.float32, np.float16, np.int16, np.int32, np.int64, np.uint32, np.complex64)
        return [_plain(node, inputs, np.multiply, *wanted)]
    tensors = (tensor_in(node, 0), tensor_in(node, 1))
    scales = [np.float32(scale_of(node, t)) for t in tensors]
    real = float(scales[0] * scales[1] / np.float32(scale_of(node, target)))
    zeros = [zero_point_of(t) for t in tensors]
    product = (first.astype(np.int32) - zeros[0]) * (second.astype(np.int32) - zeros[1])
    dtype = np.dtype(target.dtype)
    limits = quantized_range(node, target, _activation(node), dtype)
    return [requantize(product, None, Multiplier.of(real), zero_point_of(target), limits, dtype)]


def _refuse_zero(node: Node, divisor: Array) -> None:
    if not np.all(divisor):
        fail(node, "a divisor", 0, "other than 0")


@kernel("DIV", elementwise=True)
def div(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x / y with a fused activation. float32; int32 truncated toward zero; uint8 (also int8, int16) quantised."""
    first, second, _ = broadcast_pair(node, inputs)
    if is_quantized(node, first):
        return [_quantized_quotient(node, first, second)]
    if first.dtype == np.int32:
        _refuse_zero(node, second)
        quotient = truncating_divide(first.astype(np.int64), second.astype(np.int64))
        return [clamp_integer(wrap32(quotient).astype(np.int32), _activation(node))]
    return [_plain(node, inputs, np.divide, np.float32)]


def _divide_by_pot_modulo_32(values: Int64, exponents: Int64) -> Int64:
    """Division by 2^exponent to nearest. Past 31 bits, which C leaves undefined, it is what x86 makes of LiteRT's code.

    There the shift counts modulo 32, and the mask of the remainder is all ones: small quotients come out as the numerator.
    """
    exponents = np.maximum(exponents, 0)
    mask = wrap32((np.int64(1) << np.minimum(exponents, 62)) - 1)
    return (values >> (exponents & 31)) + ((values & mask) > (mask >> 1) + (values < 0))


def _quantized_quotient(node: Node, first: Array, second: Array) -> Array:
    tensors, target = (tensor_in(node, 0), tensor_in(node, 1)), node.output(0)
    scales = [np.float32(scale_of(node, t)) for t in (*tensors, target)]
    significand, exponent = quantize_multiplier(float(scales[0] / (scales[1] * scales[2])))
    one = first.astype(np.int64) - zero_point_of(tensors[0])
    two = second.astype(np.int64) - zero_point_of(tensors[1])
    _refuse_zero(node, two)
    one = np.where(two < 0, -one, one)
    inverse, over_unit = reciprocal(np.abs(two), 31)
    headroom = leading_zeros(one ^ (one >> 63)) - 1
    quotient = multiply(wrap32(one << headroom), inverse)
    scaled = _divide_by_pot_modulo_32(multiply(quotient, significand), over_unit + headroom - exponent)
    limits = quantized_range(node, target, _activation(node), first.dtype)
    return np.clip(scaled + zero_point_of(target), *limits).astype(first.dtype)


_ORDERED = (np.float32, np.float16, np.uint8, np.int8, np.int16, np.int32, np.int64)
_PLAIN = (*_ORDERED, np.float64, np.bool_, np.uint16, np.uint32, np.uint64)


def _ordered(node: Node) -> tuple[type[Any], ...]:
    return _PLAIN if node.operator.name.startswith("STABLEHLO") else _ORDERED


@kernel("MAXIMUM", "STABLEHLO_MAXIMUM", elementwise=True)
def maximum(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The larger of both; quantised tensors are compared by their stored numbers. A NaN in input 0 gives input 1.

    float32, float16, uint8, int8, int16, int32, int64; STABLEHLO_MAXIMUM any real type and bool.
    """
    return [_plain(node, inputs, lambda a, b: np.asarray(np.where(a > b, a, b)), *_ordered(node))]


@kernel("MINIMUM", "STABLEHLO_MINIMUM", elementwise=True)
def minimum(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The smaller of both; quantised tensors are compared by their stored numbers. A NaN in input 0 gives input 1.

    float32, float16, uint8, int8, int16, int32, int64; STABLEHLO_MINIMUM any real type and bool.
    """
    return [_plain(node, inputs, lambda a, b: np.asarray(np.where(a < b, a, b)), *_ordered(node))]


@kernel("STABLEHLO_ADD", elementwise=True)
def stablehlo_add(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x + y on plain numbers of any real type, without scales; bools: or."""
    return [_plain(node, inputs, np.add, *_PLAIN)]


@kernel("STABLEHLO_MULTIPLY", elementwise=True)
def stablehlo_multiply(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x * y on plain numbers of any real type, without scales; bools: and."""
    return [_plain(node, inputs, np.multiply, *_PLAIN)]


@kernel("POW")
def pow_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x to the power y. float32; int32 with exponents of 0 or more.

    A single exponent that is a whole number of 1 or more multiplies, where it has another shape than x: int32 wraps.
    Otherwise a result past int32 becomes its smallest number.
    """
    first, second, shape = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", np.float32, np.int32)
    if first.dtype == np.int32 and second.size and int(second.min()) < 0:
        fail(node, "an exponent", int(second.min()), "0 or more for int32")
    if first.shape != second.shape and second.size == 1:
        exponent = float(second.reshape(-1)[0])
        if 1 <= exponent < 2**31 and exponent == int(exponent):
            return [by_blocks(lambda base: _whole_power(base, int(exponent)), first).reshape(shape)]
    return [by_blocks(_power, first, second)]


def _whole_power(base: Array, exponent: int) -> Array:
    """Squares and multiplies in the base's own type; floats do not overflow to infinity."""
    result = base
    for bit in bin(exponent)[3:]:
        result = _product_within_type(result, result)
        if bit == "1":
            result = _product_within_type(base, result)
    return result


def _product_within_type(first: Array, second: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        product = np.asarray(first * second)
    if product.dtype.kind == "f":
        largest = np.finfo(product.dtype).max
        np.clip(product, -largest, largest, out=product)
    return product


def _power(first: Array, second: Array) -> Array:
    with np.errstate(all="ignore"):
        result = np.power(first.astype(np.float64), second.astype(np.float64))
        if first.dtype == np.float32:
            return np.asarray(result.astype(np.float32))
    inside = (result >= -(2.0**31)) & (result < 2.0**31)
    return np.where(inside, np.where(inside, result, 0), -(2.0**31)).astype(np.int32)


@kernel("SQUARED_DIFFERENCE", elementwise=True)
def squared_difference(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """(x - y)^2. float32, int32; int8 quantised: differences with 7 more bits on twice the larger scale."""
    first, second, _ = broadcast_pair(node, inputs)
    if first.dtype != np.int8:
        difference = _plain(node, inputs, np.subtract, np.float32, np.int32)
        return [difference * difference]
    tensors, target = (tensor_in(node, 0), tensor_in(node, 1)), node.output(0)
    scales = [scale_of(node, t) for t in tensors]
    twice = 2 * max(scales)
    terms = [_scaled_term(node, t, v, 7, Multiplier.of(s / twice)) for t, v, s in zip(tensors, (first, second), scales)]
    difference = terms[0].astype(np.int64) - terms[1]
    multiplier = Multiplier.of(twice * twice / ((1 << 14) * scale_of(node, target)))
    return [requantize(difference * difference, None, multiplier, zero_point_of(target), (-128, 127), first.dtype)]


@kernel("FLOOR_DIV", elementwise=True)
def floor_div(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """floor(x / y), divided in double. float32, int8, int16, int32; a divisor of 0 is refused."""
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", np.float32, np.int8, np.int16, np.int32)
    _refuse_zero(node, second)
    quotient = np.floor(first.astype(np.float64) / second.astype(np.float64))
    if first.dtype == np.float32:
        return [quotient.astype(np.float32)]
    return [quotient.astype(np.int64).astype(first.dtype)]


@kernel("FLOOR_MOD", elementwise=True)
def floor_mod(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x - floor(x / y) * y. float32, int8, int16, int32, int64; a divisor of 0 is refused for integers."""
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", np.float32, np.int8, np.int16, np.int32, np.int64)
    if first.dtype != np.float32:
        _refuse_zero(node, second)
    with np.errstate(all="ignore"):
        rest = np.fmod(first, second)
        return [np.where((rest != 0) & ((second < 0) != (rest < 0)), rest + second, rest).astype(first.dtype)]


@kernel("ADD_N")
def add_n(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Sum of all inputs, from first to last; float32 or int32, equal shapes."""
    total = operand(node, inputs, 0, "input 0")
    require_type(node, total, "type of input 0", np.float32, np.int32)
    total = total.copy()
    for index in range(1, len(inputs)):
        term = operand(node, inputs, index, "term")
        if term.shape != total.shape or term.dtype != total.dtype:
            fail(node, f"input {index}", f"{term.dtype}{list(term.shape)}", f"{total.dtype}{list(total.shape)}")
        total += term
    return [total]


@kernel("ATAN2", elementwise=True)
def atan2(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Angle of (x = input 1, y = input 0). float32, float64, float16; equal shapes."""
    first, second, _ = broadcast_pair(node, inputs)
    require_type(node, first, "type of the inputs", np.float32, np.float64, np.float16)
    return [np.arctan2(first.astype(np.float64), second.astype(np.float64)).astype(first.dtype)]


_INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)


@kernel("BITWISE_XOR")
def bitwise_xor(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x ^ y on integers of 8 to 32 bits."""
    return [_plain(node, inputs, np.bitwise_xor, *_INTEGERS)]


@kernel("RIGHT_SHIFT", elementwise=True)
def right_shift(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x >> y, arithmetic for signed integers; y is held between 0 and the number of bits less one."""

    def shift(first: Array, second: Array) -> Array:
        bits = first.dtype.itemsize * 8
        return np.right_shift(first, np.clip(second.astype(np.int64), 0, bits - 1).astype(first.dtype))

    return [_plain(node, inputs, shift, *_INTEGERS)]
