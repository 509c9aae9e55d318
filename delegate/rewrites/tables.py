"""Rewrites of quantised operators to exact integer forms: tables of 256 entries, convolutions with chosen multipliers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from nnapi_toolkit.delegate.fixed_point import (
    Int64,
    activation_range,
    inverse_sqrt,
    multiply,
    quantize_multiplier,
    rounding_shift,
    saturating_high_product16,
    saturating_shift16,
)
from nnapi_toolkit.delegate.nnapi import OperandCode, PaddingCode
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.convolution import padding_code
from nnapi_toolkit.delegate.ops.pooling import window_counts
from nnapi_toolkit.delegate.ops.reduction import axes_of, check_reduction
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_EIGHT_BITS = (TensorType.UINT8, TensorType.INT8)
#: Bits below 1 of a root.
_ROOT_BITS = 20


# -- a function of one 8-bit tensor as a table ----------------------------------------------------------------------


def _limits(kind: TensorType) -> tuple[int, int]:
    return (-128, 127) if kind == TensorType.INT8 else (0, 255)


def _values(kind: TensorType) -> Int64:
    low, high = _limits(kind)
    return np.arange(low, high + 1, dtype=np.int64)


def _requantized(case: Case, multiplier: float, activation: int = 0) -> Int64:
    """MultiplyByQuantizedMultiplier(x - zero point) + zero point within the activation's range, for every x."""
    x, out = case.input(0), case.output()
    (_, zero_point), (scale, out_zero_point) = case.scaled(x), case.scaled(out)
    result = multiply(_values(x.tensor.type) - zero_point, *quantize_multiplier(multiplier)) + out_zero_point
    low, high = activation_range(activation, scale, out_zero_point, *_limits(out.tensor.type))
    return np.clip(result, low, high)


def _quantize_table(case: Case) -> Int64:
    return _requantized(case, case.scaled(case.input(0))[0] / case.scaled(case.output())[0])


def _float_ratio(case: Case) -> float:
    return float(np.float32(case.scaled(case.input(0))[0]) / np.float32(case.scaled(case.output())[0]))


def _relu_table(activation: int) -> Callable[[Case], Int64]:
    return lambda case: _requantized(case, _float_ratio(case), activation)


def _leaky_relu_table(case: Case) -> Int64:
    x, out = case.input(0), case.output()
    (scale, zero_point), (out_scale, out_zero_point) = case.scaled(x), case.scaled(out)
    centred = _values(x.tensor.type) - zero_point
    alpha = np.float32(scale) * np.float32(case.options.alpha) / np.float32(out_scale)
    positive = multiply(centred, *quantize_multiplier(_float_ratio(case)))
    negative = multiply(centred, *quantize_multiplier(float(alpha)))
    return np.clip(np.where(centred >= 0, positive, negative) + out_zero_point, *_limits(out.tensor.type))


def _hard_swish_table(case: Case) -> Int64:
    """TFLite's 16-bit arithmetic."""
    x, out = case.input(0), case.output()
    (scale, zero_point), (out_scale, out_zero_point) = case.scaled(x), case.scaled(out)
    fine = np.float32(1.0 / 128.0) * np.float32(scale)
    to_output, output_exponent = quantize_multiplier(float(fine / np.float32(out_scale)))
    to_relu, relu_exponent = quantize_multiplier(float(fine / (np.float32(3.0) / np.float32(32768.0))))
    if output_exponent > 0:
        raise ValueError("the output scale is too small for TFLite's HARD_SWISH")
    centred = (_values(x.tensor.type) - zero_point) * 128
    scaled = saturating_high_product16(centred, _to_16_bits(to_output))
    relu = centred
    if relu_exponent > 0:
        relu = saturating_shift16(relu, relu_exponent - 1)
    relu = saturating_high_product16(relu, _to_16_bits(to_relu))
    if relu_exponent > 0:
        relu = saturating_shift16(relu, 1)
    if relu_exponent < 0:
        relu = rounding_shift(relu, -relu_exponent)
    relu = (relu + (1 << 15)) >> 1
    product = relu * scaled
    product = np.where(product >= 0, product >> 15, -(-product >> 15))
    result = rounding_shift(product, -output_exponent) + out_zero_point
    return np.clip(result, *_limits(out.tensor.type))


def _rsqrt_table(case: Case) -> Int64:
    """TFLite's fixed-point root; what is not positive gets the largest number (TFLite refuses to run below zero)."""
    x, out = case.input(0), case.output()
    if x.tensor.type != TensorType.INT8:
        raise ValueError("TFLite has no RSQRT of uint8")
    (scale, zero_point), (out_scale, out_zero_point) = case.scaled(x), case.scaled(out)
    fraction, exponent = quantize_multiplier(1.0 / float(np.sqrt(np.float32(scale)) * np.float32(out_scale)))
    low, high = _limits(out.tensor.type)
    result = np.full(256, high, np.int64)
    for place, value in enumerate((_values(x.tensor.type) - zero_point).tolist()):
        if value > 0:
            root, shift = inverse_sqrt(value)
            fine = multiply(np.asarray(1, np.int64), root, shift + _ROOT_BITS)
            result[place] = int(multiply(fine, fraction, exponent - _ROOT_BITS)) + out_zero_point
    return np.clip(result, low, high)


def _to_16_bits(multiplier: int) -> int:
    return min((multiplier + (1 << 15)) >> 16, 32767)


_TABLES: dict[str, Callable[[Case], Int64]] = {
    "QUANTIZE": _quantize_table,
    "RELU": _relu_table(1),
    "RELU_N1_TO_1": _relu_table(2),
    "RELU6": _relu_table(3),
    "LEAKY_RELU": _leaky_relu_table,
    "HARD_SWISH": _hard_swish_table,
    "RSQRT": _rsqrt_table,
}


def _table(case: Case) -> Int64:
    return _TABLES[case.node.operator.name](case)


def _table_rule(case: Case) -> None:
    x, out = case.input(0, "input"), case.output()
    case.typed(x, *_EIGHT_BITS)
    case.typed(out, *_EIGHT_BITS)
    case.scaled(x)
    case.scaled(out)
    case.need_level(3, "CAST and GATHER")
    if case.code(x) == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED:
        case.operation("DEQUANTIZE", x)
    case.known_shape(x)
    case.ranks(x, 1, 4, "DEQUANTIZE")
    try:
        _table(case)
    except ValueError as error:
        case.refuse("quantization", out, f"of scale {case.scaled(out)[0]:g}", str(error))


def _lower_table(builder: ProgramBuilder, case: Case) -> None:
    """The stored number as an index, then GATHER from the table."""
    x, out = case.input(0), case.output()
    target = builder.tensor(out)
    index = builder.temporary(OperandCode.TENSOR_INT32, x.shape)
    builder.operation("CAST", [_stored_as_uint8(builder, x)], index)
    _emit_lookup(builder, out, _table(case), index, target)


def _stored_as_uint8(builder: ProgramBuilder, x: Operand) -> int:
    """The stored numbers of an 8-bit tensor as uint8, which CAST takes: int8 ones moved by 128 (exact through float32)."""
    source = builder.tensor(x)
    like = builder.operand(source)
    if like.type != OperandCode.TENSOR_QUANT8_ASYMM_SIGNED:
        return source
    real = builder.temporary(OperandCode.TENSOR_FLOAT32, x.shape)
    builder.operation("DEQUANTIZE", [source], real)
    stored = builder.temporary(OperandCode.TENSOR_QUANT8_ASYMM, x.shape, like.scale, like.zero_point + 128)
    builder.operation("QUANTIZE", [real], stored)
    return stored


def _emit_lookup(builder: ProgramBuilder, out: Operand, entries: Int64, index: int, target: int) -> None:
    """GATHER of an output's values (in TFLite's numbers) by an int32 index."""
    into = builder.operand(target)
    if builder.is_shifted(out.tensor):
        entries = entries + 128
    kind = np.int8 if into.type == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED else np.uint8
    table = builder.constant(entries.astype(kind), into.type, into.scale, into.zero_point)
    builder.operation("GATHER", [table, builder.int32(0), index], target)


def windows_of(entries: Int64) -> tuple[int, Int64, Int64, Int64]:
    """A table that never falls, in windows of a power of two entries with one step at most: (width, step, before, after).

    Entry `i` is `after[w]` where `i >= step[w]`, else `before[w]`, with `w = i // width`.
    """
    changes = np.flatnonzero(np.diff(entries)) + 1
    width = 1 << (len(entries) - 1).bit_length()
    while width > 1 and np.any(np.diff(changes // width) == 0):
        width //= 2
    first = np.arange(0, len(entries), width)
    last = np.minimum(first + width, len(entries)) - 1
    step = last + 1
    step[changes // width] = changes
    return width, step, entries[first], entries[last]


def _emit_window_lookup(builder: ProgramBuilder, out: Operand, entries: Int64, index: int, target: int) -> None:
    """The same for a long table that never falls, by an index in float32: small tables, and one comparison."""
    shape = builder.operand(index).dimensions
    width, step, before, after = windows_of(entries)
    parts = builder.temporary(OperandCode.TENSOR_FLOAT32, shape)
    factor = builder.constant(np.full(1, 1 / width, np.float32), OperandCode.TENSOR_FLOAT32)
    builder.operation("MUL", [index, factor, builder.int32(0)], parts)
    floors = builder.temporary(OperandCode.TENSOR_FLOAT32, shape)
    builder.operation("FLOOR", [parts], floors)
    window = builder.temporary(OperandCode.TENSOR_INT32, shape)
    builder.operation("CAST", [floors], window)
    steps = builder.temporary(OperandCode.TENSOR_FLOAT32, shape)
    table = builder.constant(step.astype(np.float32), OperandCode.TENSOR_FLOAT32)
    builder.operation("GATHER", [table, builder.int32(0), window], steps)
    results = [builder.temporary_like(target, shape) for _ in range(2)]
    for values, result in zip((after, before), results, strict=True):
        _emit_lookup(builder, out, values, window, result)
    reached = builder.temporary(OperandCode.TENSOR_BOOL8, shape)
    builder.operation("GREATER_EQUAL", [index, steps], reached)
    builder.operation("SELECT", [reached, *results], target)


# -- MEAN with another scale for the result as a depthwise convolution ----------------------------------------------


#: Filter values to try: each rounds the filter's scale to float32 in another way.
_FILTER_VALUES = (1, 3, 5, 7, 11, 13)


def _mean_multiplier(case: Case, count: int) -> tuple[int, int]:
    """TFLite's multiplier of a quantised mean: input over output scale, divided by the number of elements."""
    ratio = case.scaled(case.input(0))[0] / case.scaled(case.output())[0]
    multiplier, exponent = quantize_multiplier(ratio)
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << shift) // count, exponent - shift


def _sum_range(case: Case) -> tuple[int, int, int]:
    """Number of elements behind each mean, and the lowest and highest sum of (x - zero point)."""
    x = case.input(0)
    count = prod(x.shape[axis] for axis in axes_of(case))
    low, high = _limits(x.tensor.type)
    zero_point = case.scaled(x)[1]
    return count, count * (low - zero_point), count * (high - zero_point)


def _steps(case: Case, factor: int, multiplier: int, exponent: int, lowest: int, highest: int) -> Int64:
    """For each result but the lowest: the smallest sum that reaches it. Two roundings are equal when their steps are."""
    out_zero_point = case.scaled(case.output())[1]
    low, high = _limits(case.output().tensor.type)
    wanted = np.arange(low + 1, high + 1, dtype=np.int64) - out_zero_point
    below, reached = np.full(wanted.shape, lowest - 1, np.int64), np.full(wanted.shape, highest + 1, np.int64)
    while np.any(reached - below > 1):
        middle = (below + reached) >> 1
        enough = multiply(middle * factor, multiplier, exponent) >= wanted
        reached, below = np.where(enough, middle, reached), np.where(enough, below, middle)
    return reached


def _depthwise_mean(case: Case) -> tuple[int, float] | None:
    """A filter value and a filter scale whose multiplier rounds every possible sum as TFLite's mean does, or None."""
    scale, out_scale = case.scaled(case.input(0))[0], case.scaled(case.output())[0]
    count, lowest, highest = _sum_range(case)
    multiplier, exponent = _mean_multiplier(case, count)
    if max(abs(lowest), abs(highest)) * _FILTER_VALUES[-1] >= 1 << 30:
        return None
    wanted = _steps(case, 1, multiplier, exponent, lowest, highest)
    real = multiplier / (1 << 31) * 2.0**exponent
    for value in _FILTER_VALUES:
        filter_scale = float(np.float32(real * out_scale / scale / value))
        found = quantize_multiplier(scale * filter_scale / out_scale)
        if np.array_equal(_steps(case, value, *found, lowest, highest), wanted):
            return value, filter_scale
    return None


def _mean_rule(case: Case) -> None:
    """Over height and width of a rank-4 tensor, where a multiplier is found that is right for every possible sum."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, *_EIGHT_BITS)
    check_reduction(case, "MEAN")
    case.need_level(3, "TENSOR_QUANT8_SYMM_PER_CHANNEL")
    case.operation("DEPTHWISE_CONV_2D", x)
    case.need(axes_of(case) == [1, 2], "operand-value", case.input(1, "axes"), axes_of(case), "height and width ([1, 2])")
    case.scaled(out)
    case.need(
        _depthwise_mean(case) is not None,
        "quantization",
        out,
        f"of scale {case.scaled(out)[0]:g}",
        "of a scale that a depthwise convolution reaches with the same rounding",
    )


#: Largest table of means, in bytes; and from which length on it is put as windows.
_LARGEST_TABLE = 1 << 20
_LONG_TABLE = 1 << 16


def _mean_table_rule(case: Case) -> None:
    """Any axes: the sum is exact in float32, its mean is looked up."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, *_EIGHT_BITS)
    check_reduction(case, "MEAN")
    case.need_level(3, "REDUCE_SUM, CAST and GATHER")
    case.scaled(out)
    need_float32(case)
    count, lowest, highest = _sum_range(case)
    case.need(
        count * 255 < 1 << 24 and highest - lowest < _LARGEST_TABLE,
        "operand-size",
        x,
        f"averaged over {count} elements",
        f"averaged over at most {_LARGEST_TABLE // 256}, so that the table of means stays small",
    )


def _lower_mean_table(builder: ProgramBuilder, case: Case) -> None:
    """Stored numbers as float32, REDUCE_SUM, back to an index, GATHER."""
    x, out = case.input(0), case.output()
    target = builder.tensor(out)
    stored = _stored_as_uint8(builder, x)
    real = builder.temporary(OperandCode.TENSOR_FLOAT32, x.shape)
    builder.operation("CAST", [stored], real)
    sums = builder.temporary(OperandCode.TENSOR_FLOAT32, out.shape)
    axes = builder.int32_vector(axes_of(case))
    builder.operation("REDUCE_SUM", [real, axes, builder.bool(bool(case.options.keep_dims))], sums)
    count, lowest, highest = _sum_range(case)
    every = np.arange(lowest, highest + 1, dtype=np.int64)
    entries = multiply(every, *_mean_multiplier(case, count)) + case.scaled(out)[1]
    entries = np.clip(entries, *_limits(out.tensor.type))
    if len(entries) > _LONG_TABLE:
        _emit_window_lookup(builder, out, entries, sums, target)
        return
    index = builder.temporary(OperandCode.TENSOR_INT32, out.shape)
    builder.operation("CAST", [sums], index)
    _emit_lookup(builder, out, entries, index, target)


def _lower_mean(builder: ProgramBuilder, case: Case) -> None:
    x, out = case.input(0), case.output()
    found = _depthwise_mean(case)
    assert found is not None
    value, scale = found
    _, height, width, channels = x.shape
    source, target = builder.tensor(x), builder.tensor(out)
    filter_ = builder.constant(
        np.full((1, height, width, channels), value, np.int8),
        OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
        channel_dimension=3,
        channel_scales=[scale] * channels,
    )
    bias = builder.constant(np.zeros(channels, np.int32), OperandCode.TENSOR_INT32)
    pooled = target if len(out.shape) == 4 else builder.temporary_like(target, (x.shape[0], 1, 1, channels))
    numbers = map(builder.int32, (PaddingCode.VALID, 1, 1, 1, 0))
    builder.operation("DEPTHWISE_CONV_2D", [source, filter_, bias, *numbers], pooled)
    if pooled != target:
        builder.operation("RESHAPE", [pooled, builder.int32_vector(out.shape or (1,))], target)


# -- AVERAGE_POOL_2D of int8 before feature level 4 -----------------------------------------------------------------


def _window_cells(case: Case) -> Int64:
    """Cells under each window, [height, width] of the output."""
    rows, columns = window_counts(case)
    return np.array(rows, np.int64)[:, None] * np.array(columns, np.int64)


def _pool_table_rule(case: Case) -> None:
    """The sum under each window is exact in float32; its average is looked up."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, TensorType.INT8)
    case.operation("AVERAGE_POOL_2D", x)
    case.same_type(out, x)
    case.known_shape(out)
    case.same_quantization(out, x, "AVERAGE_POOL_2D")
    case.scaled(out)
    case.positive("stride_w", "stride_h", "filter_width", "filter_height")
    case.need_level(3, "CAST and GATHER")
    need_float32(case)
    size = int(sum(256 * cells for cells in np.unique(_window_cells(case))))
    case.need(size < _LARGEST_TABLE, "option-value", "option filter_width, filter_height", f"a table of {size}", "small windows")


def _lower_pool_table(builder: ProgramBuilder, case: Case) -> None:
    """Stored numbers as float32, their average times the number of cells, to an index, GATHER.

    Windows over the edge have fewer cells: each number of cells has its own part of the table, and an offset for its windows.
    """
    x, out, o = case.input(0), case.output(), case.options
    target = builder.tensor(out)
    real = builder.temporary(OperandCode.TENSOR_FLOAT32, x.shape)
    builder.operation("CAST", [_stored_as_uint8(builder, x)], real)
    average, total, place = (builder.temporary(OperandCode.TENSOR_FLOAT32, out.shape) for _ in range(3))
    numbers = (padding_code(case), o.stride_w, o.stride_h, o.filter_width, o.filter_height, 0)
    builder.operation("AVERAGE_POOL_2D", [real, *map(builder.int32, numbers)], average)
    cells = _window_cells(case)
    parts, offsets, begin = [], np.zeros(cells.shape, np.float32), 0
    for count in np.unique(cells):
        parts.append(_averages(case, int(count)))
        offsets[cells == count] = begin
        begin += parts[-1].size

    def grid(values: NDArray[Any]) -> int:
        flat = np.unique(values)
        shaped = flat if flat.size == 1 else values.reshape(1, *values.shape, 1)
        return builder.constant(shaped.astype(np.float32), OperandCode.TENSOR_FLOAT32)

    builder.operation("MUL", [average, grid(cells), builder.int32(0)], total)
    builder.operation("ADD", [total, grid(offsets + 0.5), builder.int32(0)], place)
    index = builder.temporary(OperandCode.TENSOR_INT32, out.shape)
    builder.operation("CAST", [place], index)
    _emit_lookup(builder, out, np.concatenate(parts), index, target)


def _averages(case: Case, cells: int) -> Int64:
    """The average for every sum of `cells` stored numbers, ties away from zero, within the activation's range."""
    sums = np.arange(255 * cells + 1, dtype=np.int64) - 128 * cells
    biased = sums + np.where(sums > 0, cells // 2, -(cells // 2))
    average = np.where(biased >= 0, biased // cells, -(-biased // cells))
    scale, zero_point = case.scaled(case.output())
    return np.clip(average, *activation_range(int(case.fuse()), scale, zero_point, *_limits(TensorType.INT8)))


def need_float32(case: Case) -> None:
    """Exact sums in float32 are exact no more when the target may compute in float16."""
    case.need(not case.target.allow_fp16, "precision", "the target", "allowed to compute in float16", "computing in float32")


REWRITES = (
    Rewrite(
        "quantized-table",
        tuple(_TABLES),
        "a quantised function of one tensor as GATHER from a table of its 256 results (feature level 3)",
        True,
        _table_rule,
        _lower_table,
    ),
    Rewrite(
        "mean-as-depthwise",
        ("MEAN",),
        "a quantised MEAN that changes the scale as DEPTHWISE_CONV_2D, where every possible sum rounds alike",
        True,
        _mean_rule,
        _lower_mean,
    ),
    Rewrite(
        "mean-by-table",
        ("MEAN",),
        "a quantised MEAN that changes the scale as an exact float32 sum and GATHER from a table (feature level 3)",
        True,
        _mean_table_rule,
        _lower_mean_table,
    ),
    Rewrite(
        "average-pool-by-table",
        ("AVERAGE_POOL_2D",),
        "an int8 average whose ties would round otherwise as an exact float32 sum and GATHER (feature level 3)",
        True,
        _pool_table_rule,
        _lower_pool_table,
    ),
)
