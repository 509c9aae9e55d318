"""Run-time quantisation of float inputs for weights of 8 bits or less (dynamic range models)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nnapi_toolkit.reference.blocks import BLOCK
from nnapi_toolkit.reference.fixed_point import round_half_away
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def _round_row_tails(scaled: Float32) -> Float32:
    """Nearest integers, ties away from zero, the way LiteRT's vector code finds them.

    Eight at a time it adds half and truncates, so that the largest float below one half becomes 1; the rest of a row is
    rounded exactly.
    """
    whole = scaled.shape[-1] // 8 * 8
    result = np.empty_like(scaled)
    head = scaled[..., :whole]
    np.trunc(head + np.copysign(np.float32(0.5), head), out=result[..., :whole])
    result[..., whole:] = round_half_away(scaled[..., whole:])
    return result


def _columns(rows: Float32) -> Iterator[slice]:
    """Blocks along the rows, whole groups of eight in each but the last, so that temporaries stay small."""
    step = max(8, BLOCK // max(1, len(rows)) // 8 * 8)
    for start in range(0, rows.shape[1], step):
        yield slice(start, start + step)


def quantize_rows_symmetric(rows: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Quantises each row by its largest magnitude to -127 .. 127; returns the numbers and one scale per row.

    A row of zeros gets scale 1. float32 arithmetic throughout.
    """
    if rows.shape[-1] == 0:
        return rows.astype(np.int8), np.ones(rows.shape[0], np.float32)
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    empty = largest == 0
    span: Float32 = np.where(empty, np.float32(1), largest)
    inverse: Float32 = (np.float32(127) / span).astype(np.float32)
    numbers = np.empty(rows.shape, np.int8)
    for part in _columns(rows):
        numbers[:, part] = np.clip(_round_row_tails(rows[:, part] * inverse[:, None]), -127, 127)
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
        low, high = lows[index], highs[index]
        if low == high:
            continue
        scale = float(high - low) / 255.0
        from_low, from_high = float(low) / scale, float(high) / scale
        closer_low = 128.0 + abs(from_low) < 127.0 + abs(from_high)
        zero_point = np.float64(-128.0 - from_low if closer_low else 127.0 - from_high)
        zero = int(np.clip(round_half_away(zero_point), -128, 127))
        scales[index], zero_points[index] = np.float32(scale), zero
        inverse = np.float32(1.0 / float(scales[index]))
        for part in _columns(rows[index : index + 1]):
            numbers[index, part] = np.clip(_round_row_tails(rows[index, part] * inverse) + zero, -128, 127)
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
