"""QUANTIZE, DEQUANTIZE, CAST, FAKE_QUANT, BITCAST, DENSIFY.

Semantics: LiteRT's reference kernels. Tensors of 4 and 2 bits are arrays of int8 (UINT4: uint8), one number an element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    custom_op,
    fail,
    from_constants,
    kernel,
    operand,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.blocks import by_blocks
from nnapi_toolkit.reference.fixed_point import Multiplier, requantize, round_half_away
from nnapi_toolkit.reference.quantized import look_up, scale_of, type_range, zero_point_of
from numpy.typing import NDArray

_NARROW = {"INT4": (-8, 7), "UINT4": (0, 15), "INT2": (-2, 1)}


def number_range(tensor: Tensor) -> tuple[int, int]:
    """Smallest and largest number of a tensor's type, also of those narrower than a byte."""
    return _NARROW.get(tensor.type.name) or type_range(np.dtype(tensor.dtype))


def channel_parameters(node: Node, tensor: Tensor, rank: int) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
    """Scales and zero points shaped to broadcast along the quantised dimension, or None for per-tensor ones."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scale) < 2:
        return None
    if not 0 <= quantization.dimension < rank:
        fail(node, f"quantized dimension of '{tensor.name}'", quantization.dimension, f"below the rank {rank}")
    shape = [1] * rank
    shape[quantization.dimension] = -1
    scales = np.asarray(quantization.scale, np.float32)
    zeros = np.asarray(quantization.zero_point or (0,), np.int64)
    zeros = np.broadcast_to(zeros, scales.shape) if zeros.size != scales.size else zeros
    return scales.reshape(shape), zeros.reshape(shape)


def _to_int32(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Floats as x86 converts them to int32: out of range and NaN give the smallest number."""
    inside = (values >= -(2.0**31)) & (values < 2.0**31)
    return np.where(inside, np.where(inside, values, 0), -(2.0**31)).astype(np.int64)


@kernel("QUANTIZE")
def quantize(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float32 to int8, uint8, int16, int4 (per tensor, or per channel), or integers rescaled to other parameters."""
    values = operand(node, inputs, 0, "input")
    target = node.output(0)
    dtype = np.dtype(target.dtype)
    low, high = number_range(target)
    if values.dtype != np.float32:
        require_type(node, values, "type of input 0", np.int8, np.uint8, np.int16, np.int32)
        return [_requantize(node, values, dtype)]
    scale, zero_point = channel_parameters(node, target, values.ndim) or (
        np.float32(scale_of(node, target)),
        np.asarray(zero_point_of(target), np.int64),
    )

    def numbers(real: Array, scale: Array, zero: Array) -> Array:
        return np.clip(_to_int32(round_half_away(real / scale)) + zero, low, high).astype(dtype)

    return [by_blocks(numbers, values, np.asarray(scale), zero_point)]


def _requantize(node: Node, values: Array, dtype: np.dtype[Any]) -> Array:
    source, target = tensor_in(node, 0), node.output(0)
    multiplier = Multiplier.of(scale_of(node, source) / scale_of(node, target))
    zero_in, zero_out = zero_point_of(source), zero_point_of(target)
    limits = type_range(dtype)
    if values.dtype.itemsize == 1:
        low, high = type_range(values.dtype)
        numbers = np.arange(low, high + 1, dtype=np.int64) - zero_in
        return look_up(values, requantize(numbers, None, multiplier, zero_out, limits, dtype))
    return by_blocks(
        lambda numbers: requantize(numbers.astype(np.int64) - zero_in, None, multiplier, zero_out, limits, dtype),
        values,
    )


@kernel("DEQUANTIZE")
def dequantize(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """float16, or numbers of 2 to 16 bits (per tensor in double, per channel in float32), to float32."""
    values = operand(node, inputs, 0, "input")

    def build() -> Array:
        return _dequantized(node, values)

    if from_constants(node, 0):
        return [runtime.memo(node, "values", build, 4 * values.size)]
    return [build()]


def _dequantized(node: Node, values: Array) -> Array:
    source = tensor_in(node, 0)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    require_type(node, values, "type of input 0", np.int8, np.uint8, np.int16)
    channels = channel_parameters(node, source, values.ndim)
    if channels is not None:

        def real(numbers: Array, scale: Array, zero: Array) -> Array:
            return np.asarray(scale * (numbers.astype(np.int32) - zero.astype(np.int32)).astype(np.float32))

        return by_blocks(real, values, *channels)
    scale, zero_point = scale_of(node, source), zero_point_of(source)
    if values.dtype.itemsize == 1:
        low, high = type_range(values.dtype)
        numbers = np.arange(low, high + 1, dtype=np.float64) - zero_point
        return look_up(values, (scale * numbers).astype(np.float32))
    return by_blocks(lambda numbers: (scale * (numbers.astype(np.float64) - zero_point)).astype(np.float32), values)


@custom_op("NumericVerify")
def numeric_verify(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The dequantised input minus the float32 reference of input 1.

    With `log_if_failed` and a tolerance of 0.1 or more, refuses differences of more than tolerance times scale.
    """
    from nnapi_toolkit.reference.custom import flexbuffer

    values, reference = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "reference")
    require_type(node, reference, "type of input 1", np.float32)
    if values.shape != reference.shape:
        fail(node, "shape of input 1", list(reference.shape), list(values.shape))
    difference = _dequantized(node, values) - reference
    options = flexbuffer(node)
    tolerance = float(options.get("tolerance", 0.0))
    if options.get("log_if_failed") and tolerance >= 0.1 and values.size:
        worst, allowed = float(np.abs(difference).max()), tolerance * scale_of(node, tensor_in(node, 0))
        if worst > allowed:
            fail(node, "largest difference", worst, f"at most {allowed} (tolerance {tolerance})")
    return [difference]


def saturating_cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Floats to an integer type: truncated and saturated; NaN gives the largest number."""
    low, high = type_range(dtype)
    wide = values.astype(np.float64)
    inside = (wide > low - 1.0) & (wide < high + 1.0)
    result = np.where(inside, np.where(inside, wide, 0), 0).astype(dtype)
    result[np.isnan(wide) | (wide >= high + 1.0)] = high
    result[wide <= low - 1.0] = low
    return result


@kernel("CAST", elementwise=True)
def cast(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Between numbers of any type, ignoring quantisation. Complex gives its real part; bool is 0 or 1."""
    values = operand(node, inputs, 0, "input")
    target = node.output(0)
    dtype = np.dtype(target.dtype)
    if values.dtype.kind == "c" and dtype.kind != "c":
        values = values.real
    if dtype == np.bool_:
        return [values != 0]
    if values.dtype.kind == "f" and dtype.kind in "iu":
        return [saturating_cast(np.atleast_1d(values), dtype).reshape(values.shape)]
    if target.type.name in _NARROW:
        low, high = _NARROW[target.type.name]
        span = high - low + 1
        return [((values.astype(np.int64) - low) % span + low).astype(dtype)]
    with np.errstate(over="ignore", invalid="ignore"):
        return [values.astype(dtype)]


@kernel("BITCAST")
def bitcast(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The same bytes under another type; a narrower type adds a last dimension, a wider one takes it away."""
    values = np.ascontiguousarray(operand(node, inputs, 0, "input"))
    dtype = np.dtype(node.output(0).dtype)
    ratio = values.dtype.itemsize / dtype.itemsize
    if ratio == 1:
        return [values.view(dtype)]
    if ratio > 1:
        return [values[..., None].view(dtype)]
    if values.ndim == 0 or values.shape[-1] != round(1 / ratio):
        fail(
            node,
            "last dimension of input 0",
            list(values.shape),
            f"{round(1 / ratio)} to make one {dtype.name}",
        )
    return [values.view(dtype)[..., 0]]


def nudged_range(low: np.float32, high: np.float32, smallest: int, largest: int) -> tuple[Any, Any, Any]:
    """The range moved so that zero is a quantised number: (low, high, scale), in float32."""
    bottom, top = np.float32(smallest), np.float32(largest)
    scale = (high - low) / (top - bottom)
    from_low = bottom - low / scale
    if from_low < bottom:
        zero = bottom
    elif from_low > top:
        zero = top
    else:
        zero = np.float32(round_half_away(from_low))
    return (bottom - zero) * scale, (top - zero) * scale, scale


@kernel("FAKE_QUANT", elementwise=True)
def fake_quant(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Rounds floats to the steps that a quantised tensor of `num_bits` over [min, max] would have."""
    values = operand(node, inputs, 0, "input")
    require_type(node, values, "type of input 0", np.float32)
    options = node.operator.options
    if not 1 <= options.num_bits <= 16:
        fail(node, "num_bits", options.num_bits, "1 to 16")
    smallest, largest = (1 if options.narrow_range else 0), (1 << options.num_bits) - 1
    low_in, high_in = np.float32(options.min), np.float32(options.max)
    if not low_in < high_in:
        fail(node, "min and max", (options.min, options.max), "an increasing pair")
    low, high, scale = nudged_range(low_in, high_in, smallest, largest)
    inverse = np.float32(1) / scale
    clamped = np.minimum(np.maximum(values, low), high)
    return [(round_half_away((clamped - low) * inverse) * scale + low).astype(np.float32)]
