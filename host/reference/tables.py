"""Lookup tables of the quantised activations: 256 entries for 8 bits, 513 with interpolation for 16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, tensor_in
from nnapi_toolkit.reference.fixed_point import round_half_away
from nnapi_toolkit.reference.quantized import dequantize_table, look_up, scale_of, type_range, zero_point_of
from numpy.typing import NDArray

Function = Callable[[NDArray[Any]], NDArray[Any]]


def map_8bit(node: Node, values: Array, function: Function) -> Array:
    """Applies a function of reals to 8-bit numbers: float32 arithmetic, multiplied by the inverse output scale."""
    source, target = tensor_in(node, 0), node.output(0)
    low, high = type_range(values.dtype)
    real = dequantize_table(source, node, values.dtype)
    inverse = np.float32(1) / np.float32(scale_of(node, target))
    transformed = function(real.astype(np.float64)).astype(np.float32)
    rescaled = round_half_away(transformed * inverse) + np.float32(zero_point_of(target))
    table = np.clip(np.trunc(rescaled), low, high).astype(values.dtype)
    return look_up(values, table)


def table_16bit(
    function: Function,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    dtype: type[np.float32] | type[np.float64],
) -> NDArray[np.int64]:
    """513 samples of a function over the int16 range, each nudged by half of the interpolation error at the middle."""
    scale_in, scale_out = dtype(input_scale), dtype(output_scale)
    low = scale_in * dtype(-32768 - input_zero_point)
    high = scale_in * dtype(32767 - input_zero_point)
    out_low = scale_out * dtype(-32768 - output_zero_point)
    out_high = scale_out * dtype(32767 - output_zero_point)
    step = (high - low) / dtype(512)
    inverse = dtype(65536) / (out_high - out_low)
    positions: NDArray[Any] = np.arange(513).astype(dtype)
    positions = positions * step
    samples = _call(function, low + positions, dtype) * inverse
    middles = round_half_away(_call(function, low + positions[:512] + step / dtype(2), dtype) * inverse)
    rounded = round_half_away(samples)
    interpolated = round_half_away((samples[1:] + rounded[:512]) / dtype(2))
    bias = round_half_away((interpolated - middles) / dtype(2))
    table = np.empty(513, np.int64)
    table[:512] = np.clip(rounded[:512] - bias, -32768, 32767)
    last = _call(function, np.asarray([high], dtype), dtype)[0] * inverse
    table[512] = np.clip(round_half_away(last), -32768, 32767)
    return table


def _call(function: Function, values: NDArray[Any], dtype: type[np.floating[Any]]) -> NDArray[Any]:
    return function(values.astype(np.float64)).astype(dtype)


def interpolate_16bit(values: Array, table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Looks int16 numbers up: the high 9 bits choose the entry, the low 7 interpolate."""
    wide = values.astype(np.int64)
    index = 256 + (wide >> 7)
    base = table[index]
    slope = ((table[index + 1] - base) + 32768) % 65536 - 32768
    return base + ((slope * (wide & 0x7F) + 64) >> 7)
