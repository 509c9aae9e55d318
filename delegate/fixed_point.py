"""TFLite's fixed-point arithmetic, as far as planning needs it to prove that a lowering is exact.

Plain integers and numpy only; formulas as documented for TFLite's reference kernels (double rounding).
"""

from __future__ import annotations

from math import frexp

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def quantize_multiplier(real: float) -> tuple[int, int]:
    """A real multiplier as (31-bit fraction, exponent): fraction / 2^31 * 2^exponent."""
    if real == 0.0:
        return 0, 0
    fraction, exponent = frexp(real)
    scaled = round_half_away(fraction * (1 << 31))
    if scaled == 1 << 31:
        scaled //= 2
        exponent += 1
    if exponent < -31:
        return 0, 0
    return scaled, exponent


def round_half_away(value: float) -> int:
    """Rounds to the nearest integer, ties away from zero."""
    magnitude = int(abs(value) + 0.5)
    return -magnitude if value < 0 else magnitude


def multiply(x: Int64, multiplier: int, exponent: int) -> Int64:
    """MultiplyByQuantizedMultiplier over an array of 32-bit values."""
    left, right = max(exponent, 0), max(-exponent, 0)
    product = (x << left) * np.int64(multiplier)
    nudge = np.where(product >= 0, np.int64(1 << 30), np.int64(1 - (1 << 30)))
    total = product + nudge
    return rounding_shift(np.where(total >= 0, total >> 31, -((-total) >> 31)), right)


def rounding_shift(x: Int64, bits: int) -> Int64:
    """RoundingDivideByPOT: to the nearest, ties away from zero."""
    if bits == 0:
        return x
    mask = np.int64((1 << bits) - 1)
    threshold = (mask >> 1) + (x < 0)
    return (x >> bits) + ((x & mask) > threshold)


def saturating_high_product16(x: Int64, factor: int) -> Int64:
    """SaturatingRoundingDoublingHighMul of 16-bit values."""
    product = x * np.int64(factor)
    nudge = np.where(product >= 0, np.int64(1 << 14), np.int64(1 - (1 << 14)))
    total = product + nudge
    result = np.where(total >= 0, total >> 15, -((-total) >> 15))
    return np.where((x == -32768) & (factor == -32768), np.int64(32767), result)


def saturating_shift16(x: Int64, bits: int) -> Int64:
    """A left shift that saturates at 16 bits."""
    return np.clip(x << bits, -32768, 32767)


def activation_range(activation: int, scale: float, zero_point: int, low: int, high: int) -> tuple[int, int]:
    """Limits of a quantised output under a fused activation (0 none, 1 RELU, 2 RELU_N1_TO_1, 3 RELU6)."""

    def quantized(value: float) -> int:
        return zero_point + round_half_away(float(np.float32(value) / np.float32(scale)))

    if activation == 1:
        return max(low, quantized(0.0)), high
    if activation == 2:
        return max(low, quantized(-1.0)), min(high, quantized(1.0))
    if activation == 3:
        return max(low, quantized(0.0)), min(high, quantized(6.0))
    return low, high


def inverse_sqrt(value: int) -> tuple[int, int]:
    """1 / sqrt(value) of a positive integer as (31-bit fraction, exponent): five Newton steps from 1, in numbers of 3 integer bits
    (TFLite's GetInvSqrtQuantizedMultiplierExp)."""
    if value <= 1:
        return (1 << 31) - 1, 0
    exponent = -11
    while value >= 1 << 29:
        value //= 4
        exponent -= 1
    pairs = (31 - value.bit_length()) // 2 - 1
    exponent += pairs
    half = _halved((value << (2 * pairs)) >> 1)
    three_halves, root = 3 << 27, 1 << 28
    for _ in range(5):
        cube = _wide(_high_product(_high_product(root, root), root) << 6)
        root = _wide((_high_product(three_halves, root) - _high_product(half, cube)) << 3)
    root = _high_product(root, 1518500250)  # sqrt(1/2)
    return (root, exponent) if exponent <= 0 else (root << exponent, 0)


def _high_product(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul of two 32-bit numbers."""
    return int(multiply(np.asarray(a, np.int64), b, 0))


def _halved(x: int) -> int:
    return int(rounding_shift(np.asarray(x, np.int64), 1))


def _wide(x: int) -> int:
    """Saturates at 32 bits."""
    return max(-(1 << 31), min(x, (1 << 31) - 1))
