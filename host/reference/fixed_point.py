"""Fixed-point arithmetic of the TFLite quantised kernels, vectorised.

Semantics: double rounding (a rounding doubling high multiplication, then a rounding shift), as LiteRT's reference
kernels are built. All functions work on int64 arrays that hold int32 values, so that nothing wraps unseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1


def round_half_away(values: ArrayLike) -> NDArray[np.floating]:
    """C's `round`: nearest integer, ties away from zero; keeps float32 or float64."""
    x = np.asarray(values)
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):
        return whole + np.where(np.abs(x - whole) >= 0.5, np.copysign(x.dtype.type(1), x), x.dtype.type(0))


def quantize_multiplier(real: float) -> tuple[int, int]:
    """A real multiplier as (Q31 significand, exponent): real = significand / 2^31 * 2^exponent."""
    if real == 0.0 or not math.isfinite(real):
        return 0, 0
    fraction, exponent = math.frexp(real)
    scaled = fraction * 2.0**31
    significand = int(math.floor(scaled + 0.5)) if scaled >= 0 else -int(math.floor(-scaled + 0.5))
    if significand == 2**31:
        significand //= 2
        exponent += 1
    if exponent < -31:
        return 0, 0
    return significand, exponent


@dataclass(frozen=True, slots=True)
class Multiplier:
    """Fixed-point multipliers of one output: int64 arrays of significands and exponents that broadcast over channels."""

    significand: Int64
    exponent: Int64

    @classmethod
    def of(cls, real: float | ArrayLike) -> Multiplier:
        """From real (double) multipliers; a scalar gives arrays of shape ()."""
        reals = np.asarray(real, dtype=np.float64)
        pairs = [quantize_multiplier(float(value)) for value in reals.reshape(-1)]
        significand = np.array([pair[0] for pair in pairs], dtype=np.int64).reshape(reals.shape)
        exponent = np.array([pair[1] for pair in pairs], dtype=np.int64).reshape(reals.shape)
        return cls(significand, exponent)


def wrap32(values: Int64) -> Int64:
    """Keeps the low 32 bits as a signed number, as int32 arithmetic that overflows would."""
    return ((values + 2**31) & 0xFFFFFFFF) - 2**31


def saturating_doubling_high_multiply(a: Int64, b: Int64 | int) -> Int64:
    """(a * b + 2^30) >> 31: the rounded high half of the doubled product of two int32 numbers, saturated."""
    product = a * np.int64(b) if isinstance(b, int) else a * b
    product += 1 << 30
    product >>= 31
    return np.minimum(product, INT32_MAX, out=product) if product.ndim else np.minimum(product, INT32_MAX)


def rounding_divide_by_pot(values: Int64, exponent: int | Int64) -> Int64:
    """values / 2^exponent to nearest, ties away from zero; exponents are non-negative."""
    if isinstance(exponent, int):
        if exponent == 0:
            return values
        return (values + (1 << (exponent - 1)) - (values < 0)) >> exponent
    half = np.where(exponent > 0, np.left_shift(np.int64(1), np.maximum(exponent - 1, 0)), 0)
    return (values + half - ((values < 0) & (exponent > 0))) >> exponent


def multiply_by_quantized_multiplier(values: Int64, multiplier: Multiplier) -> Int64:
    """TFLite's MultiplyByQuantizedMultiplier on int32 values (given as int64); the left shift wraps at 32 bits."""
    left = np.maximum(multiplier.exponent, 0)
    right = np.maximum(-multiplier.exponent, 0)
    shifted = wrap32(values << left) if left.any() else values
    high = saturating_doubling_high_multiply(shifted, multiplier.significand)
    return rounding_divide_by_pot(high, right) if right.any() else high


def multiply_with_ties_up(values: Int64, multiplier: Multiplier) -> Int64:
    """As MultiplyByQuantizedMultiplier with ties of the last shift upward: how the optimised matrix library rounds."""
    left, right = np.maximum(multiplier.exponent, 0), np.maximum(-multiplier.exponent, 0)
    high = saturating_doubling_high_multiply(wrap32(values << left), multiplier.significand)
    halves = (np.asarray(1, np.int64) << right) >> 1
    result: Int64 = np.right_shift(high + halves, right)
    return result


def multiply_int64_accumulator(values: Int64, multiplier: Multiplier) -> Int64:
    """The variant for 64-bit accumulators (16x8 kernels): a 16-bit significand and one rounding shift."""
    significand = multiplier.significand
    reduced = np.where(significand < 0x7FFF0000, (significand + (1 << 15)) >> 16, 0x7FFF)
    shift = 15 - multiplier.exponent
    return (values * reduced + np.left_shift(np.int64(1), shift - 1)) >> shift


#: 8-bit outputs lie within 255 of their zero point, that within 255 of 0: numbers past this are clamped in any case.
_LARGEST = 512.0

#: Elements of one block: the temporaries stay in the second-level cache.
_BLOCK = 32768


@dataclass(frozen=True, slots=True)
class _Estimate:
    """An output as sum * factor + offset in float32, good enough outside of `threshold` from the nearest integer."""

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]
    threshold: NDArray[np.float32]

    @classmethod
    def of(cls, bias: Int64 | None, multiplier: Multiplier, zero_point: int) -> _Estimate | None:
        """The estimate, or None where too many outputs would have to be corrected."""
        right = np.maximum(-multiplier.exponent, 0)
        factor = np.ldexp(multiplier.significand.astype(np.float64), multiplier.exponent - 31)
        offset = zero_point + factor * (0 if bias is None else bias)
        # Each of the five roundings is of a number that is no larger than the offset and the output together.
        error = 5 * 2.0**-24 * (np.abs(offset) + _LARGEST)
        margin = np.where(right > 0, 0.5 ** (right + 1.0), 0.0) + error
        if (multiplier.exponent > 0).any() or float(margin.mean()) > 0.05:
            return None
        return cls(*(a.astype(np.float32) for a in (factor, offset, 0.5 - margin)))


@dataclass(frozen=True, slots=True)
class Requantizer:
    """int32 sums to a quantised tensor: bias, multiplier, zero point, clamp.

    The double rounding of the reference gives the integer next to sum * multiplier, except near the middle between two
    integers: with a right shift of r, less than 2^-(r+1) away from it, the first rounding decides. So 8-bit outputs are
    estimated in float32, and only those near a middle are formed in integers.

    Attributes:
        bias: Per channel, added first; or None.
        multiplier: One, or one per channel.
        zero_point: Of the output.
        limits: Smallest and largest output number.
        dtype: Of the output.
    """

    bias: Int64 | None
    multiplier: Multiplier
    zero_point: int
    limits: tuple[int, int]
    dtype: np.dtype[Any]
    _estimate: _Estimate | None

    @classmethod
    def of(
        cls, bias: Int64 | None, multiplier: Multiplier, zero_point: int, limits: tuple[int, int], dtype: np.dtype[Any]
    ) -> Requantizer:
        """See the attributes."""
        estimate = _Estimate.of(bias, multiplier, zero_point) if dtype.itemsize == 1 else None
        return cls(bias, multiplier, zero_point, limits, dtype, estimate)

    def __call__(self, accumulators: NDArray[Any]) -> NDArray[Any]:
        """Sums [..., channels] in any dtype that holds them exactly. Works in blocks of rows that stay in the cache."""
        channels = accumulators.shape[-1] if accumulators.ndim else 1
        rows = accumulators.reshape(-1, channels)
        result = np.empty(rows.shape, self.dtype)
        step = max(1, _BLOCK // max(1, channels))
        if self._estimate is None:
            for start in range(0, rows.shape[0], step):
                block = rows[start : start + step]
                result[start : start + step] = self._exact(block, self.bias, self.multiplier)
        elif rows.size:
            self._correct(rows, result, self._fill(self._estimate, rows, result, step))
        return result.reshape(accumulators.shape)

    def _fill(
        self, estimate: _Estimate, rows: NDArray[Any], result: NDArray[Any], step: int
    ) -> NDArray[np.intp]:
        """Fills the result with estimates; returns the flat positions of those near a middle."""
        value, nearest = (np.empty((min(step, rows.shape[0]), rows.shape[1]), np.float32) for _ in range(2))
        doubtful = []
        for start in range(0, rows.shape[0], step):
            block = rows[start : start + step].astype(np.float32, copy=False)
            value, nearest = value[: len(block)], nearest[: len(block)]
            np.multiply(block, estimate.factor, out=value)
            np.add(value, estimate.offset, out=value)
            np.rint(value, out=nearest)
            np.subtract(value, nearest, out=value)
            np.abs(value, out=value)
            doubtful.append((value > estimate.threshold).reshape(-1).nonzero()[0] + start * rows.shape[1])
            result[start : start + step] = np.clip(nearest, *self.limits, out=nearest)
        return np.concatenate(doubtful)

    def _correct(self, rows: NDArray[Any], result: NDArray[Any], places: NDArray[np.intp]) -> None:
        """Forms the outputs at flat positions exactly."""
        channel = places % rows.shape[1]
        shape = rows.shape[1:]
        bias = None if self.bias is None else np.broadcast_to(self.bias, shape)[channel]
        significand = np.broadcast_to(self.multiplier.significand, shape)[channel]
        exponent = np.broadcast_to(self.multiplier.exponent, shape)[channel]
        exact = self._exact(rows.reshape(-1)[places], bias, Multiplier(significand, exponent))
        result.reshape(-1)[places] = exact

    def _exact(self, sums: NDArray[Any], bias: Int64 | None, multiplier: Multiplier) -> Int64:
        """In integers, one by one."""
        whole = sums.astype(np.int64)
        if bias is not None:
            whole += bias
        scaled = multiply_by_quantized_multiplier(whole, multiplier)
        scaled += self.zero_point
        return np.clip(scaled, *self.limits, out=scaled)


def requantize(
    accumulators: NDArray[Any],
    bias: Int64 | None,
    multiplier: Multiplier,
    zero_point: int,
    limits: tuple[int, int],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """`Requantizer` for one time."""
    return Requantizer.of(bias, multiplier, zero_point, limits, dtype)(accumulators)


def multiply_int16(a: Int64, b: Int64 | int) -> Int64:
    """Saturating rounding doubling high multiplication of int16 numbers."""
    product = a * b
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(truncating_shift(nudged, 15), 32767)


def truncating_shift(values: Int64, exponent: int) -> Int64:
    """values / 2^exponent, truncated toward zero as C's integer division does."""
    return (values + ((values >> 63) & ((1 << exponent) - 1))) >> exponent


def truncating_divide(values: Int64, divisor: Int64 | int) -> Int64:
    """C's integer division: truncated toward zero; a zero divisor is the caller's to refuse."""
    quotient = np.abs(values) // np.abs(divisor)
    return np.where((values < 0) != (np.asarray(divisor) < 0), -quotient, quotient)
