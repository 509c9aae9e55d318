"""ABS EXP LOG SQRT RSQRT SIN COS SQUARE NEG FLOOR CEIL ROUND SIGN LOGICAL_NOT ZEROS_LIKE COMPLEX_ABS REAL IMAG ...

Semantics: LiteRT's reference kernels. Transcendental functions of float32 are computed in double and rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.activation import all_8bit_values, map_elements
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type, tensor_in
from nnapi_toolkit.reference.fixed_functions import inverse_square_root
from nnapi_toolkit.reference.fixed_point import Int64, Multiplier, multiply_by_quantized_multiplier
from nnapi_toolkit.reference.quantized import look_up, scale_of, type_range, zero_point_of
from nnapi_toolkit.reference.tables import interpolate_16bit, map_8bit, table_16bit
from numpy.typing import NDArray

Function = Callable[[NDArray[Any]], NDArray[Any]]
FLOATS = (np.float32, np.float16)


def _of_real(values: Array, function: Function) -> Array:
    """A function of reals in double, rounded to the input's type; domain errors give NaN or infinity."""
    with np.errstate(all="ignore"):
        return function(values.astype(np.float64)).astype(values.dtype)


def _table_16bit(node: Node, values: Array, function: Function) -> Array:
    source, target = tensor_in(node, 0), node.output(0)
    table = table_16bit(
        function,
        scale_of(node, source),
        zero_point_of(source),
        scale_of(node, target),
        zero_point_of(target),
        np.float32,
    )
    return interpolate_16bit(values, table).astype(np.int16)


@kernel("ABS", elementwise=True)
def abs_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32, int32, plain int16; int8 and int16 with parameters are rescaled when the scales differ."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8, np.int16, np.int32)
    source, target = tensor_in(node, 0), node.output(0)
    if values.dtype in (np.float32, np.int32) or (values.dtype == np.int16 and source.quantization is None):
        return [np.abs(values)]
    scale_in, scale_out = np.float32(scale_of(node, source)), np.float32(scale_of(node, target))
    zero_in, zero_out = zero_point_of(source), zero_point_of(target)
    multiplier = Multiplier.of(float(scale_in / scale_out))

    def run(numbers: Int64) -> Int64:
        size = np.abs(numbers - zero_in)
        return (size if scale_in == scale_out else multiply_by_quantized_multiplier(size, multiplier)) + zero_out

    return [map_elements(values, run)]


@kernel("EXP", elementwise=True)
def exp(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32; int8 and int16 by table."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8, np.int16)
    if values.dtype == np.float32:
        return [_of_real(values, np.exp)]
    return [map_8bit(node, values, np.exp) if values.dtype == np.int8 else _table_16bit(node, values, np.exp)]


@kernel("LOG", elementwise=True)
def log(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32; int8 and int16 by table, where non-positive numbers give the smallest output."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8, np.int16)
    if values.dtype == np.float32:
        return [_of_real(values, np.log)]
    target = node.output(0)
    lowest = type_range(values.dtype)[0] - zero_point_of(target)
    smallest = float(np.float32(lowest) * np.float32(scale_of(node, target)))

    def function(x: NDArray[Any]) -> NDArray[Any]:
        return np.where(x <= 0, smallest, np.log(np.maximum(x, 1e-300)))

    return [map_8bit(node, values, function) if values.dtype == np.int8 else _table_16bit(node, values, function)]


@kernel("SQRT", elementwise=True)
def sqrt(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32; int8 and int16: float32 root, divided by the output scale and truncated. Negative numbers are refused."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8, np.int16)
    if values.dtype == np.float32:
        with np.errstate(invalid="ignore"):
            return [np.sqrt(values)]
    source, target = tensor_in(node, 0), node.output(0)
    plain = values.astype(np.int64) - zero_point_of(source)
    if plain.size and int(plain.min()) < 0:
        fail(node, "a value of input 0", f"{int(plain.min())} steps below zero", "non-negative")
    real = np.float32(scale_of(node, source)) * plain.astype(np.float32)
    steps = (np.sqrt(real) / np.float32(scale_of(node, target))).astype(np.int64) + zero_point_of(target)
    return [np.clip(steps, *type_range(values.dtype)).astype(values.dtype)]


@kernel("RSQRT", elementwise=True)
def rsqrt(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """1 / sqrt(x). float32; int8 by fixed-point Newton steps; int16 by table. Negative numbers are refused."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int8, np.int16)
    if values.dtype == np.float32:
        with np.errstate(all="ignore"):
            return [np.float32(1) / np.sqrt(values)]
    source, target = tensor_in(node, 0), node.output(0)
    zero_in = zero_point_of(source)
    if values.size and int(values.min()) < zero_in:
        fail(node, "a value of input 0", f"{int(values.min()) - zero_in} steps from zero", "non-negative")
    scale_out = scale_of(node, target)
    if values.dtype == np.int16:
        top = float(np.float32(32767) * np.float32(scale_out))

        def function(x: NDArray[Any]) -> NDArray[Any]:
            real = x.astype(np.float32)
            with np.errstate(all="ignore"):
                return np.where(real <= 0, top, np.float32(1) / np.sqrt(real))

        return [_table_16bit(node, values, function)]
    root = np.sqrt(np.float32(scale_of(node, source)))
    return [_rsqrt_int8(values, zero_in, 1.0 / float(root * np.float32(scale_out)), zero_point_of(target))]


def _rsqrt_int8(values: Array, zero_in: int, real: float, zero_out: int) -> Array:
    multiplier = Multiplier.of(real)
    extra = 20  # bits that keep the root an integer
    table = np.full(256, 127, np.int8)
    for place, number in enumerate(all_8bit_values(values.dtype)):
        if number <= zero_in:
            continue
        significand, shift = inverse_square_root(int(number) - zero_in)
        step = Multiplier(np.asarray(significand, np.int64), np.asarray(shift + extra, np.int64))
        root = multiply_by_quantized_multiplier(np.asarray(1, np.int64), step)
        back = Multiplier(multiplier.significand, multiplier.exponent - extra)
        table[place] = np.clip(multiply_by_quantized_multiplier(root, back) + zero_out, -128, 127)
    return look_up(values, table)


@kernel("SIN", elementwise=True)
def sin(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Sine of float32 or float16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS)
    return [_of_real(values, np.sin)]


@kernel("COS", elementwise=True)
def cos(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Cosine of float32 or float16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS)
    return [_of_real(values, np.cos)]


@kernel("SQUARE")
def square(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """x * x of float32."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32)
    return [values * values]


@kernel("NEG")
def neg(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """-x of stored numbers. float32, float16, int8, int16, int32, int64 (the smallest number stays)."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS, np.int8, np.int16, np.int32, np.int64)
    return [np.negative(values)]


@kernel("FLOOR")
def floor(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Largest integer not above x, float32 or float16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS)
    return [np.floor(values)]


@kernel("CEIL")
def ceil(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Smallest integer not below x, float32 or float16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS)
    return [np.ceil(values)]


@kernel("ROUND")
def round_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Nearest integer, ties to even; float32 or float16."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", *FLOATS)
    return [np.rint(values)]


@kernel("SIGN", elementwise=True)
def sign(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """-1, 0 or 1. float32, float64, int32."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.float64, np.int32)
    return [(np.greater(values, 0).astype(np.int8) - np.less(values, 0).astype(np.int8)).astype(values.dtype)]


@kernel("LOGICAL_NOT")
def logical_not(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """not x of bools."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.bool_)
    return [np.logical_not(values)]


@kernel("ZEROS_LIKE")
def zeros_like(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Zeros of the input's shape and type. float32, int32, int64."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32, np.int32, np.int64)
    return [np.zeros_like(values)]


@kernel("COMPLEX_ABS")
def complex_abs(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Magnitude of complex64 (complex128) as float32 (float64)."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.complex64, np.complex128)
    return [np.abs(values)]


@kernel("REAL")
def real(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Real part of complex64 or complex128."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.complex64, np.complex128)
    return [np.ascontiguousarray(values.real)]


@kernel("IMAG")
def imag(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Imaginary part of complex64 or complex128."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.complex64, np.complex128)
    return [np.ascontiguousarray(values.imag)]
