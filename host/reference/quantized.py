"""Quantisation parameters of tensors and what the kernels derive from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.reference.base import Array, fail
from nnapi_toolkit.reference.blocks import by_blocks
from nnapi_toolkit.reference.fixed_point import round_half_away
from numpy.typing import NDArray

NONE, RELU, RELU_N1_TO_1, RELU6, TANH, SIGN_BIT = range(6)

_LARGEST = float(np.finfo(np.float32).max)

QUANTIZED = (np.int8, np.uint8, np.int16)


def scale_of(node: Node, tensor: Tensor) -> float:
    """The per-tensor scale as the float32 value it is stored as.

    Raises:
        ModelError: The tensor has no quantisation parameters.
    """
    if tensor.quantization is None or not tensor.quantization.scale:
        fail(
            node,
            f"quantization of tensor {tensor.index} '{tensor.name}'",
            "missing",
            "a scale and a zero point",
        )
    return float(tensor.quantization.scale[0])


def scale_or_zero(tensor: Tensor) -> float:
    """The first scale, or 0 for a tensor without quantisation, as the reference run time reads it."""
    return float(tensor.quantization.scale[0]) if tensor.quantization and tensor.quantization.scale else 0.0


def zero_point_of(tensor: Tensor) -> int:
    """The per-tensor zero point; 0 for a tensor without quantisation."""
    return int(tensor.quantization.zero_point[0]) if tensor.quantization and tensor.quantization.zero_point else 0


def type_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest and largest value of an integer dtype."""
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def float_range(activation: int) -> tuple[float, float] | None:
    """The clamp of a fused activation on floats, or None for no clamp."""
    return {RELU: (0.0, np.inf), RELU_N1_TO_1: (-1.0, 1.0), RELU6: (0.0, 6.0)}.get(int(activation))


def clamp_float(values: Array, activation: int) -> Array:
    """Applies RELU, RELU6 or RELU_N1_TO_1 in place. Without an upper or lower limit float32 stays finite, as in LiteRT."""
    low, high = float_range(activation) or (-np.inf, np.inf)
    if values.dtype == np.float32:
        low, high = max(low, -_LARGEST), min(high, _LARGEST)
    kind = values.dtype.type
    return values if (low, high) == (-np.inf, np.inf) else np.clip(values, kind(low), kind(high), out=values)


def activate_float(values: NDArray[np.float32], activation: int) -> NDArray[np.float32]:
    """Applies any fused activation to floats; the kernels that take TANH and SIGN_BIT are the recurrent ones."""
    if activation == TANH:
        return np.tanh(values)
    if activation == SIGN_BIT:
        return np.signbit(values).astype(values.dtype)
    limits = float_range(activation)
    if limits is None:
        return values
    return np.clip(values, np.float32(limits[0]), np.float32(limits[1]))


def quantized_range(node: Node, tensor: Tensor, activation: int, dtype: np.dtype[Any]) -> tuple[int, int]:
    """The clamp of a fused activation in the output's quantised numbers: v / scale rounded in float32, plus zero point."""
    low, high = type_range(dtype)
    limits = float_range(activation)
    if limits is None:
        return low, high
    scale, zero_point = np.float32(scale_of(node, tensor)), zero_point_of(tensor)

    def quantize(value: float) -> int:
        return zero_point + int(round_half_away(np.float32(value) / scale))

    low = max(low, quantize(limits[0]))
    if np.isfinite(limits[1]):
        high = min(high, quantize(limits[1]))
    return low, high


def dequantize_table(tensor: Tensor, node: Node, dtype: np.dtype[Any]) -> NDArray[np.float32]:
    """The real value of every number of an 8-bit tensor, in the order of its type's values."""
    low, high = type_range(dtype)
    numbers = np.arange(low, high + 1, dtype=np.float32)
    return np.float32(scale_of(node, tensor)) * (numbers - np.float32(zero_point_of(tensor)))


def look_up(values: Array, table: Array) -> Array:
    """Maps 8-bit numbers through a table of 256 entries in the order of the type's values."""
    if values.dtype == np.int8:
        table = np.roll(table, 128)
    return by_blocks(lambda numbers: table[numbers], values.view(np.uint8))
