"""TRANSPOSE_CONV, CONV_3D_TRANSPOSE, and the form of MediaPipe's Convolution2DTransposeBias: each input cell spreads
over a window of the output.

Semantics: LiteRT's reference kernels. Integer sums are exact, as in `convolution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
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
from nnapi_toolkit.reference.convolution import (
    check_bias,
    convolution_multiplier,
    filter_scales,
    float_finish,
    integer_finish,
    lay_out,
)
from nnapi_toolkit.reference.hybrid import quantize_batches
from nnapi_toolkit.reference.quantized import zero_point_of
from nnapi_toolkit.reference.sums import Matrix
from nnapi_toolkit.reference.window import SAME, VALID, axis


@dataclass(frozen=True, slots=True)
class Spread:
    """One spatial axis of a transposed convolution: output cell = input cell * stride + tap * dilation - before."""

    out: int
    stride: int
    dilation: int
    before: int


def spread(
    values: Array,
    weights: Array,
    axes: Sequence[Spread],
    compute: np.dtype[Any],
    offset: int = 0,
    in_order: bool = False,
    factors: Sequence[Array] = (),
) -> Array:
    """Sums of all windows, one place of the window after the other.

    Args:
        values: Input [N, *spatial, I], in the type to compute in.
        weights: A view [I, *kernel, O], of any type.
        axes: One per spatial axis.
        compute: The type to compute in.
        offset: Zero point of the weights.
        in_order: Form the sums in the reference's order: input cells from first to last, so taps from last to first.
        factors: With `in_order`, what every product is multiplied by before it is added.

    Returns:
        [N, *out, O].
    """
    size, kernel_shape, channels = values.shape[1:-1], weights.shape[1:-1], weights.shape[-1]
    spans = [
        max((s - 1) * a.stride + (k - 1) * a.dilation + 1, a.before + a.out)
        for s, k, a in zip(size, kernel_shape, axes)
    ]
    result = np.zeros((values.shape[0], *spans, channels), values.dtype)
    rows = values.reshape(-1, values.shape[-1])
    for tap in reversed(list(np.ndindex(*kernel_shape))):
        target = [slice(None)]
        for place, cells, a in zip(tap, size, axes):
            first = place * a.dilation
            target.append(slice(first, first + (cells - 1) * a.stride + 1, a.stride))
        sums = result[tuple(target)]
        matrix = weights[(slice(None), *tap)]
        if not in_order:
            sums += Matrix(matrix, compute, offset).times(rows).reshape(*values.shape[:-1], channels)
            continue
        for depth in range(values.shape[-1]):
            terms = values[..., depth, None] * matrix[depth]
            for factor in factors:
                terms *= factor
            sums += terms
    return result[(slice(None), *(slice(a.before, a.before + a.out) for a in axes))]


def _axes(node: Node, out: Sequence[int], kernel_shape: Sequence[int], names: str) -> list[Spread]:
    options = node.operator.options
    result = []
    for name, size, taps in zip(names, out, kernel_shape):
        stride = getattr(options, f"stride_{name}")
        dilation = getattr(options, f"dilation_{name}_factor", 1) if len(names) == 3 else 1
        forward = axis(node, name, size, taps, stride, dilation, options.padding)
        result.append(Spread(size, stride, dilation, forward.before))
    return result


def _output_shape(node: Node, given: Array, values: Array, channels: int) -> tuple[int, ...]:
    shape = check_shape(node, [int(v) for v in given.reshape(-1)], "input 0 (output_shape)")
    if len(shape) != values.ndim or shape[0] != values.shape[0] or shape[-1] != channels or min(shape[1:-1]) < 1:
        fail(node, "input 0 (output_shape)", list(shape), f"[{values.shape[0]}, sizes of 1 or more, {channels}]")
    return shape


@kernel("TRANSPOSE_CONV")
def transpose_conv(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Inputs: output shape, filter [O, KH, KW, I], input NHWC, optional bias.

    float32; uint8; int8 per channel; int16 with int8 weights; float32 with int8 weights (hybrid).
    """
    weights, values = operand(node, inputs, 1, "filter"), operand(node, inputs, 2, "input")
    if weights.ndim != 4 or values.ndim != 4 or weights.shape[3] != values.shape[3] or not all(weights.shape):
        shapes = (list(weights.shape), list(values.shape))
        fail(node, "shapes of filter and input", shapes, "[O, KH, KW, I] and [N, H, W, I]")
    channels = weights.shape[0]
    shape = _output_shape(node, operand(node, inputs, 0, "output_shape"), values, channels)
    axes = _axes(node, shape[1:3], weights.shape[1:3], "hw")
    bias = check_bias(node, optional(inputs, 3), channels)
    require_type(node, values, "type of input 2", np.float32, np.uint8, np.int8, np.int16)
    if values.dtype == np.float32 and weights.dtype == np.float32:
        taps = weights.transpose(3, 1, 2, 0)
        sums = spread(values, taps, axes, values.dtype, in_order=runtime.reference_order)
        return [float_finish(node, bias)(np.ascontiguousarray(sums), 0)]
    if values.dtype == np.float32:
        return [_hybrid(node, values, weights, bias, axes)]
    return [_quantized(node, runtime, values, weights, bias, axes)]


def _quantized(
    node: Node, runtime: Runtime, values: Array, weights: Array, bias: Array | None, axes: Sequence[Spread]
) -> Array:
    offset = zero_point_of(tensor_in(node, 1)) if values.dtype == np.uint8 else 0
    largest = 65535 if values.dtype == np.int16 else 255

    def build() -> np.dtype[Any]:
        return lay_out(weights, 1, offset, largest).matrices[0].compute

    compute: np.dtype[Any] = runtime.memo(node, "type", build) if from_constants(node, 1) else build()
    zero = zero_point_of(tensor_in(node, 2))
    channels = weights.shape[0]
    multiplier = convolution_multiplier(node, channels, values.dtype)
    finish = integer_finish(node, bias, np.zeros(channels, np.int64), multiplier, values.dtype)
    centred = values.astype(compute) - compute.type(zero)
    return finish(np.ascontiguousarray(spread(centred, weights.transpose(3, 1, 2, 0), axes, compute, offset)), 0)


def _hybrid(node: Node, values: Array, weights: Array, bias: Array | None, axes: Sequence[Spread]) -> Array:
    """Float input that is quantised per batch item. The reference scales every product and adds up floats."""
    numbers, row_scales, zeros = quantize_batches(values, asymmetric=True)
    centred = numbers.astype(np.float32) - zeros.reshape(-1, 1, 1, 1).astype(np.float32)
    factors = (filter_scales(node, weights.shape[0]).astype(np.float32), row_scales.reshape(-1, 1, 1, 1))
    taps = weights.transpose(3, 1, 2, 0)
    sums = spread(centred, taps, axes, values.dtype, in_order=True, factors=factors)
    return float_finish(node, bias)(np.ascontiguousarray(sums), 0)


@kernel("CONV_3D_TRANSPOSE")
def conv_3d_transpose(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Inputs: output shape, filter [KD, KH, KW, O, I], input NDHWC, optional bias; float32."""
    weights, values = operand(node, inputs, 1, "filter"), operand(node, inputs, 2, "input")
    if weights.ndim != 5 or values.ndim != 5 or weights.shape[4] != values.shape[4] or not all(weights.shape):
        shapes = (list(weights.shape), list(values.shape))
        fail(node, "shapes of filter and input", shapes, "[KD, KH, KW, O, I] and [N, D, H, W, I]")
    require_type(node, values, "type of input 2", np.float32)
    shape = _output_shape(node, operand(node, inputs, 0, "output_shape"), values, weights.shape[3])
    axes = _axes(node, shape[1:4], weights.shape[:3], "dhw")
    bias = check_bias(node, optional(inputs, 3), weights.shape[3])
    sums = spread(values, weights.transpose(4, 0, 1, 2, 3), axes, values.dtype, in_order=runtime.reference_order)
    return [float_finish(node, bias)(np.ascontiguousarray(sums), 0)]


def transposed_with_bias(
    values: Array, weights: Array, bias: Array, padding: int, strides: Sequence[int], in_order: bool = False
) -> Array:
    """A float transposed convolution whose output shape follows from its padding.

    Args:
        values: [N, H, W, I].
        weights: [O, KH, KW, I].
        bias: [O].
        padding: SAME (output = input * stride) or VALID (the whole of every window).
        strides: Vertical and horizontal.
        in_order: As for `spread`.
    """
    axes = []
    for size, taps, stride in zip(values.shape[1:3], weights.shape[1:3], strides):
        full = (size - 1) * stride + taps
        out = size * stride if padding == SAME else max(full, size * stride)
        axes.append(Spread(out, stride, 1, max(0, full - size * stride) // 2 if padding == SAME else 0))
    sums: Any = spread(values, weights.transpose(3, 1, 2, 0), axes, values.dtype, in_order=in_order)
    return np.ascontiguousarray(sums + bias)


__all__ = ["SAME", "VALID", "Spread", "conv_3d_transpose", "spread", "transpose_conv", "transposed_with_bias"]
