"""exp, reciprocal, logarithm and inverse root in the fixed-point arithmetic of the TFLite quantised kernels.

All arrays are int64 and hold int32 (or int16, with `bits` 16) values; Qm is a number with m integer bits. The
algorithms and constants are those of gemmlowp's fixed-point functions, which LiteRT's kernels call.
"""

from __future__ import annotations

import numpy as np
from nnapi_toolkit.reference.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    Int64,
    rounding_divide_by_pot,
    truncating_shift,
    wrap32,
)

#: exp(-2^k) in Q0.31 for k = -2 .. 4: the steps of the barrel shifter.
_EXP_STEPS = (
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)
_EXP_MINUS_EIGHTH = 1895147668
_ONE_THIRD = 715827883
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540


def _constant(raw: int, bits: int) -> int:
    """A constant given for 32 bits, rounded to the numbers of `bits` bits."""
    return raw if bits == 32 else (raw + (1 << (31 - bits))) >> (32 - bits)


def multiply(a: Int64, b: Int64 | int, bits: int = 32) -> Int64:
    """Rounding doubling high product; integer bits add up."""
    return np.minimum((a * b + (1 << (bits - 2))) >> (bits - 1), (1 << (bits - 1)) - 1)


def shift_left(values: Int64, shift: int | Int64, bits: int = 32) -> Int64:
    """values * 2^shift, saturated to `bits` bits; shifts from 0 to 31."""
    limit = 1 << (bits - 1)
    return np.clip(values << np.minimum(shift, 31), -limit, limit - 1)


def leading_zeros(values: Int64) -> Int64:
    """Leading zero bits of non-negative int32 values."""
    used = np.frexp(values.astype(np.float64))[1]
    return np.where(values == 0, 32, 32 - used).astype(np.int64)


def exp_on_negative_values(values: Int64, integer_bits: int, bits: int = 32) -> Int64:
    """exp of non-positive Qm numbers, in Q0."""
    fraction_bits = bits - 1 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    remainder = (values & (quarter - 1)) - quarter
    result = _exp_in_last_quarter(shift_left(remainder, integer_bits, bits), bits)
    rest = remainder - values
    for exponent, factor in _EXP_STEPS:
        if integer_bits > exponent:
            chosen = (rest >> (fraction_bits + exponent)) & 1
            result = np.where(chosen == 1, multiply(result, _constant(factor, bits), bits), result)
    if integer_bits > 5:
        result = np.where(values < -(1 << (fraction_bits + 5)), 0, result)
    return np.where(values == 0, (1 << (bits - 1)) - 1, result)


def _exp_in_last_quarter(values: Int64, bits: int) -> Int64:
    """exp on [-1/4, 0) in Q0: a fourth-order expansion around -1/8."""
    x = values + (1 << (bits - 4))
    x2 = multiply(x, x, bits)
    x3 = multiply(x2, x, bits)
    quarter_x4 = rounding_divide_by_pot(multiply(x2, x2, bits), 2)
    tail = multiply(quarter_x4 + x3, _constant(_ONE_THIRD, bits), bits) + x2
    middle = _constant(_EXP_MINUS_EIGHTH, bits)
    product = multiply(x + rounding_divide_by_pot(tail, 1), middle, bits)
    return np.minimum(middle + product, (1 << (bits - 1)) - 1)


def _newton_reciprocal(values: Int64, bits: int) -> Int64:
    """2 / (1 + x) for x in [0, 1] in Q2, by three Newton steps."""
    total = values + (1 << (bits - 1)) - 1
    half_denominator = truncating_shift(total + np.where(total >= 0, 1, -1), 1)
    x = _constant(_48_OVER_17, bits) + multiply(half_denominator, _constant(_MINUS_32_OVER_17, bits), bits)
    for _ in range(3):
        error = (1 << (bits - 3)) - multiply(half_denominator, x, bits)
        x = x + shift_left(multiply(x, error, bits), 2, bits)
    return x


def one_over_one_plus_x(values: Int64, bits: int = 32) -> Int64:
    """1 / (1 + x) for x in [0, 1], Q0."""
    return shift_left(_newton_reciprocal(values, bits), 1, bits)


def reciprocal(values: Int64, integer_bits: int) -> tuple[Int64, Int64]:
    """1 / x for x >= 1 in Qm: (Q0.31 scale, bits by which the result must be shifted right more)."""
    headroom = leading_zeros(values)
    fraction = wrap32(values << headroom) + 2**31
    return one_over_one_plus_x(fraction), integer_bits - headroom


def logistic(values: Int64, integer_bits: int, bits: int = 32) -> Int64:
    """1 / (1 + exp(-x)) of Qm numbers, in Q0."""
    exps = exp_on_negative_values(-np.abs(values), integer_bits, bits)
    positive = one_over_one_plus_x(exps, bits)
    result = np.where(values > 0, positive, (1 << (bits - 1)) - 1 - positive)
    return np.where(values == 0, 1 << (bits - 2), result)


def tanh(values: Int64, integer_bits: int, bits: int = 32) -> Int64:
    """tanh of Qm numbers, in Q0."""
    exps = exp_on_negative_values(-np.abs(values), integer_bits + 1, bits)
    size = shift_left(_newton_reciprocal(exps, bits) - (1 << (bits - 3)), 2, bits)
    return np.where(values == 0, 0, np.where(values > 0, size, -size))


def log_of_at_least_one(values: Int64, input_bits: int, output_bits: int) -> Int64:
    """Natural logarithm of Qm numbers >= 1, in Q of `output_bits` integer bits (a rational approximation)."""
    accumulator_bits = output_bits + 1
    log_2, sqrt_sqrt_half, sqrt_half = 1488522236, 1805811301, 1518500250
    alpha_n, alpha_d, alpha_i, alpha_f = 117049297, 127690142, 1057819769, 638450708
    quarter = rounding_divide_by_pot(np.asarray(536870912), accumulator_bits)
    headroom_a = leading_zeros(values)
    scaled_a = shift_left(values, headroom_a - 1)
    mantissa_a = shift_left(multiply(scaled_a, sqrt_half), 1)
    power_a = shift_left(input_bits - headroom_a, 31 - accumulator_bits) + quarter
    halved = multiply(values, sqrt_half)
    headroom_b = leading_zeros(halved) - 1
    mantissa_b = shift_left(values, headroom_b)
    power_b = shift_left(input_bits - headroom_b, 31 - accumulator_bits) - quarter
    r = np.minimum(mantissa_a, mantissa_b)
    power = np.clip(np.maximum(power_a, power_b), INT32_MIN, INT32_MAX)
    total = r + sqrt_sqrt_half
    p = truncating_shift(total + 1, 1)
    q = wrap32(2 * (r - sqrt_sqrt_half))
    square = multiply(q, q)
    numerator = multiply(q, r) + multiply(multiply(q, square), alpha_n)
    denominator = multiply(p, alpha_i + q + multiply(square, alpha_d)) + multiply(q, alpha_f)
    fraction = multiply(rounding_divide_by_pot(numerator, accumulator_bits), one_over_one_plus_x(denominator))
    return shift_left(multiply(power, log_2) + fraction, 1)


def inverse_square_root(value: int) -> tuple[int, int]:
    """1 / sqrt(value) of a non-negative integer as (significand, left shift), by five Newton steps in Q3.28."""
    if value <= 1:
        return INT32_MAX, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (32 - value.bit_length() - 1) // 2 - 1
    shift -= pairs
    value <<= 2 * pairs
    half_input = rounding_divide_by_pot(np.asarray(value >> 1), 1)
    x: Int64 = np.asarray(1 << 28)
    for _ in range(5):
        cube = shift_left(multiply(multiply(x, x), x), 6)
        x = shift_left(multiply(x, (1 << 28) + (1 << 27)) - multiply(half_input, cube), 3)
    significand = int(multiply(x, 1518500250))
    if shift < 0:
        significand <<= -shift
        shift = 0
    return significand, -shift
