"""FULLY_CONNECTED: float32, uint8, int8 (per tensor and per channel), int16, hybrid; int4 weights come unpacked.

Semantics: LiteRT's reference kernel, which rescales integer sums in double (round half away), unlike convolutions,
whose multipliers are fixed-point; except where input and filter are int16. The input is read as rows of the filter's
width; filter [units, width].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.delegate.tensor import BlockQuantization
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    check_shape,
    fail,
    from_constants,
    kernel,
    operand,
    optional,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.convolution import Weights, check_bias, float_finish, largest_magnitude, lay_out
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_int64_accumulator, round_half_away, wrap32
from nnapi_toolkit.reference.hybrid import quantize_rows_asymmetric, quantize_rows_symmetric
from nnapi_toolkit.reference.quantized import (
    NONE,
    activate_float,
    quantized_range,
    scale_of,
    scale_or_zero,
    zero_point_of,
)
from nnapi_toolkit.reference.sums import BLOCK_ELEMENTS, Matrix, sum_in_order

INT32 = 2


@kernel("FULLY_CONNECTED")
def fully_connected(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Rows of the input times the transposed filter, plus bias, then the fused activation.

    Output [rows, units], or the input's shape with the last dimension replaced (`keep_num_dims`).

    float32; uint8; int8 per tensor or per channel; int16 with int8 weights; float32 with 8-, 4- or 2-bit weights
    (hybrid), also with a scale per block of weights.
    """
    values, weights = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "filter")
    if weights.ndim != 2:
        fail(node, "rank of input 1 (filter)", weights.ndim, "2")
    if int(node.operator.options.weights_format) != 0:
        fail(node, "weights_format", node.operator.options.weights_format, "DEFAULT")
    units, width = weights.shape
    bias = check_bias(node, optional(inputs, 2), units)
    shape = _output_shape(node, values, units, width)
    if width == 0 or math.prod(shape) == 0:
        return [np.zeros(shape, values.dtype)]
    if values.size % width:
        fail(node, "elements of input 0", values.size, f"a multiple of the filter's width {width}")
    rows = values.reshape(-1, width)
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    if values.dtype == np.float32 and weights.dtype == np.float32:
        matrix = Matrix(weights.T, weights.dtype, in_order=runtime.reference_order)
        result: Array = float_finish(node, bias)(matrix.times(rows), 0)
    elif values.dtype == np.float32:
        result = _hybrid(node, runtime, rows, weights, bias)
    else:
        result = _quantized(node, runtime, rows, weights, bias)
    return [result.reshape(shape)]


def _output_shape(node: Node, values: Array, units: int, width: int) -> tuple[int, ...]:
    if node.operator.options.keep_num_dims:
        if values.shape[-1] != width:
            fail(node, "last dimension of input 0", values.shape[-1], f"the filter's width {width}")
        return check_shape(node, (*values.shape[:-1], units))
    rows = math.prod(values.shape[:-1]) if width == 0 else values.size // width
    return check_shape(node, (rows, units))


def _weights(node: Node, runtime: Runtime, weights: Array, offset: int, largest: int) -> Weights:
    def build() -> Weights:
        return lay_out(weights, 1, offset, largest)

    return runtime.memo(node, "weights", build, 8 * weights.shape[0]) if from_constants(node, 1) else build()


def _quantized(node: Node, runtime: Runtime, rows: Array, weights: Array, bias: Array | None) -> Array:
    options, target = node.operator.options, node.output(0)
    source, kernel_tensor = tensor_in(node, 0), tensor_in(node, 1)
    assert kernel_tensor.quantization is not None
    scales = np.asarray(kernel_tensor.quantization.scale, np.float32).astype(np.float64)
    per_channel = scales.size > 1
    offset = 0 if per_channel else zero_point_of(kernel_tensor)
    laid_out = _weights(node, runtime, weights, offset, largest_magnitude(rows.dtype))
    correction = -zero_point_of(source) * laid_out.sums
    both_wide = rows.dtype == np.int16 and weights.dtype == np.int16
    if both_wide and bias is not None:  # that kernel takes any bias for int32 numbers
        bias = np.ascontiguousarray(bias).view(np.int32)[: len(weights)]
    if bias is not None:
        correction = correction + bias.astype(np.int64)
    wraps = rows.dtype != np.int16 or int(options.quantized_bias_type) == INT32
    real = scale_of(node, source) * scales / scale_of(node, target)
    limits = quantized_range(node, target, options.fused_activation_function, target.dtype)
    multiplier = Multiplier.of(real)
    result = np.empty((len(rows), len(weights)), target.dtype)
    step = max(1, BLOCK_ELEMENTS // len(weights))
    for start in range(0, len(rows), step):
        whole = laid_out.matrices[0].times(rows[start : start + step]).astype(np.int64) + correction
        scaled: Array
        if both_wide:
            scaled = wrap32(multiply_int64_accumulator(whole, multiplier))
        else:
            scaled = round_half_away((wrap32(whole) if wraps else whole) * real) + zero_point_of(target)
        result[start : start + step] = np.clip(scaled, *limits)
    return result


def _hybrid(node: Node, runtime: Runtime, rows: Array, weights: Array, bias: Array | None) -> Array:
    """Float input, weights of 8 bits or less: each row is quantised by itself."""
    options = node.operator.options
    kernel_tensor = tensor_in(node, 1)
    quantization = kernel_tensor.quantization
    if quantization is not None and quantization.blocks is not None:
        return _blockwise(node, quantization.blocks, rows, weights, bias)
    laid_out = _weights(node, runtime, weights, 0, 128)
    scales = np.asarray(quantization.scale if quantization else (scale_or_zero(kernel_tensor),), np.float32)
    if options.asymmetric_quantize_inputs:
        numbers, row_scales, zero_points = quantize_rows_asymmetric(rows)
    else:
        numbers, row_scales = quantize_rows_symmetric(rows)
        zero_points = np.zeros(rows.shape[0], np.int32)
    sums = laid_out.matrices[0].times(numbers).astype(np.int64)
    sums -= zero_points[:, None].astype(np.int64) * laid_out.sums
    result = sums.astype(np.float32) * (row_scales[:, None] * scales)
    if bias is not None:
        result += bias
    return activate_float(result, options.fused_activation_function)


def _blockwise(node: Node, blocks: BlockQuantization, rows: Array, weights: Array, bias: Array | None) -> Array:
    """Hybrid with a scale for each block of weights: float32 sums over the blocks' integer sums, in their order."""
    units, width = weights.shape
    scales, size = node.subgraph.tensors[blocks.scales].data, blocks.block_size
    if size < 1 or width % size or blocks.block_shape:
        fail(node, "block size of input 1 (filter)", blocks.block_shape or size, f"a divisor of the width {width}")
    count = width // size
    if scales is None or scales.size != units * count:
        fail(node, "block scales of input 1 (filter)", None if scales is None else scales.size, units * count)
    if int(node.operator.options.fused_activation_function) != NONE:
        fail(node, "fused_activation_function", node.operator.options.fused_activation_function, "NONE with blocks")
    factors = scales.astype(np.float32).reshape(units, count)
    numbers, row_scales, zero_points = quantize_rows_asymmetric(rows)
    left = numbers.reshape(len(rows), count, size).astype(np.float64)
    right = weights.reshape(units, count, size).astype(np.float64)
    sums = np.einsum("rbk,ubk->bru", left, right).astype(np.float32)
    result = sum_in_order(sums * factors.T[:, None, :])
    of_weights = sum_in_order((right.sum(axis=2).astype(np.float32) * factors).T)
    result -= zero_points.astype(np.float32)[:, None] * of_weights
    result *= row_scales[:, None]
    return result if bias is None else result + bias
