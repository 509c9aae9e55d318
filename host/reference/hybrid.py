"""Run-time quantisation of float inputs for weights of 8 bits or less (dynamic range models)."""

from __future__ import annotations

from typing import Any

import numpy as np
from nnapi_toolkit.reference.fixed_point import round_half_away
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def quantize_rows_symmetric(rows: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Quantises each row by its largest magnitude to -127 .. 127; returns the numbers and one scale per row.

    A row of zeros gets scale 1. float32 arithmetic throughout, rounding half away from zero.
    """
    if rows.shape[-1] == 0:
        return rows.astype(np.int8), np.ones(rows.shape[0], np.float32)
    largest = np.abs(rows).max(axis=1)
    empty = largest == 0
    span = np.where(empty, np.float32(1), largest)
    inverse = np.float32(127) / span
    scaled = round_half_away(rows * inverse[:, None])
    numbers = np.clip(np.where(empty[:, None], np.float32(0), scaled), -127, 127).astype(np.int8)
    return numbers, np.where(empty, np.float32(1), span / np.float32(127)).astype(np.float32)


def quantize_rows_asymmetric(rows: Float32) -> tuple[NDArray[np.int8], Float32, NDArray[np.int32]]:
    """Quantises each row by its range (widened to hold 0) to -128 .. 127; returns numbers, scales and zero points.

    The scale is found in double and kept as float32; the zero point is the nudged one of the smaller error.
    """
    numbers = np.zeros(rows.shape, np.int8)
    scales = np.ones(rows.shape[0], np.float32)
    zero_points = np.zeros(rows.shape[0], np.int32)
    if rows.shape[-1] == 0:
        return numbers, scales, zero_points
    lows = np.minimum(np.float32(0), rows.min(axis=1))
    highs = np.maximum(np.float32(0), rows.max(axis=1))
    for index in range(rows.shape[0]):
        low, high = float(lows[index]), float(highs[index])
        if low == high:
            continue
        scale = (high - low) / 255.0
        from_low = -128.0 - low / scale
        from_high = 127.0 - high / scale
        closer_low = 128.0 + abs(low / scale) < 127.0 + abs(high / scale)
        zero_point = from_low if closer_low else from_high
        zero = int(np.clip(round_half_away(np.float64(zero_point)), -128, 127))
        scales[index], zero_points[index] = np.float32(scale), zero
        inverse = np.float32(1) / scales[index]
        quantized = round_half_away(np.float32(zero) + rows[index] * inverse)
        numbers[index] = np.clip(quantized, -128, 127)
    return numbers, scales, zero_points


def quantize_batches(values: Any, asymmetric: bool) -> tuple[NDArray[np.int8], Float32, NDArray[np.int32]]:
    """Quantises each batch item of a tensor as one row; the shape stays."""
    rows = values.reshape(values.shape[0], -1)
    if asymmetric:
        numbers, scales, zero_points = quantize_rows_asymmetric(rows)
    else:
        numbers, scales = quantize_rows_symmetric(rows)
        zero_points = np.zeros(values.shape[0], np.int32)
    return numbers.reshape(values.shape), scales, zero_points
