"""CONV_2D (also grouped), DEPTHWISE_CONV_2D: float32, int8 and int16 per channel, uint8, hybrid.

Semantics: LiteRT's reference kernels. Layouts: input NHWC; CONV_2D filter [O, KH, KW, I / groups]; DEPTHWISE_CONV_2D
filter [1, KH, KW, I * multiplier]; bias [O]. Integer sums are exact: they are formed in a float type that holds every
partial sum. Weights are read where the model's file is mapped, and converted block by block (`sums.Matrix`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from nnapi_toolkit.reference.fixed_point import Multiplier, Requantizer, multiply_int64_accumulator, requantize, wrap32
from nnapi_toolkit.reference.hybrid import quantize_batches
from nnapi_toolkit.reference.quantized import (
    clamp_float,
    quantized_range,
    scale_of,
    zero_point_of,
)
from nnapi_toolkit.reference.sums import WEIGHT_ELEMENTS, Matrix
from nnapi_toolkit.reference.window import Axis, Finish, axis, convolve, exact_dtype, padded_rows
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

INT32, INT64 = 2, 4  # codes of TensorType in `quantized_bias_type`


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of an integer convolution, and what is known of them.

    Attributes:
        matrices: One [K, O / groups] per group.
        sums: Sum of the weights per output channel, for the input's zero point.
    """

    matrices: tuple[Matrix, ...]
    sums: NDArray[np.int64]


def conv_axes(node: Node, values: Array, kernel_size: Sequence[int]) -> list[Axis]:
    """The two spatial axes of a 2-D convolution."""
    options = node.operator.options
    if values.ndim != 4:
        fail(node, "rank of input 0", values.ndim, "4")
    return [
        axis(
            node,
            "h",
            values.shape[1],
            kernel_size[0],
            options.stride_h,
            options.dilation_h_factor,
            options.padding,
        ),
        axis(
            node,
            "w",
            values.shape[2],
            kernel_size[1],
            options.stride_w,
            options.dilation_w_factor,
            options.padding,
        ),
    ]


def check_bias(node: Node, bias: Array | None, channels: int) -> Array | None:
    """Refuses a bias whose length is not the number of output channels."""
    if bias is not None and bias.size != channels:
        fail(node, "elements of input 2 (bias)", bias.size, f"{channels}, one per output channel")
    return None if bias is None else bias.reshape(-1)


def filter_scales(node: Node, channels: int, index: int = 1) -> NDArray[np.float64]:
    """The filter's scales, one or one per output channel, widened to double."""
    tensor = tensor_in(node, index)
    scale_of(node, tensor)
    assert tensor.quantization is not None
    scales = np.asarray(tensor.quantization.scale, np.float32).astype(np.float64)
    if scales.size not in (1, channels):
        fail(node, f"scales of tensor '{tensor.name}'", scales.size, f"1 or {channels}")
    return scales


def convolution_multiplier(node: Node, channels: int, dtype: np.dtype[Any], filter_index: int = 1) -> Multiplier:
    """Output multipliers in / out * filter. int8 and int16 form the product in double, uint8 in float32 first."""
    source = scale_of(node, tensor_in(node, 0 if filter_index == 1 and node.operator.name != "TRANSPOSE_CONV" else 2))
    target = scale_of(node, node.output(0))
    scales = filter_scales(node, channels, filter_index)
    if dtype == np.uint8:
        return Multiplier.of(float(np.float32(source) * np.float32(scales[0])) / target)
    return Multiplier.of(source * scales / target)


def integer_finish(
    node: Node,
    bias: Array | None,
    correction: NDArray[np.int64],
    multiplier: Multiplier,
    dtype: np.dtype[Any],
) -> Finish:
    """What turns exact sums into quantised outputs: offset correction, bias, multiplier, zero point, clamp.

    Args:
        node: CONV_2D or one of its kin.
        bias: int32 or int64, or None.
        correction: Minus input zero point times the sum of the weights, per output channel.
        multiplier: One or one per channel.
        dtype: Of input and output.
    """
    options = node.operator.options
    target = node.output(0)
    limits = quantized_range(node, target, options.fused_activation_function, dtype)
    offset = correction if bias is None else correction + bias.astype(np.int64)
    if dtype != np.int16:
        requantizer = Requantizer.of(offset, multiplier, zero_point_of(target), limits, dtype)
        return lambda sums, _: requantizer(sums)
    if getattr(options, "quantized_bias_type", 0) == INT32:
        return lambda sums, _: requantize(wrap32(sums.astype(np.int64) + offset), None, multiplier, 0, limits, dtype)

    def finish(sums: Array, _: int) -> Array:
        scaled = wrap32(multiply_int64_accumulator(sums.astype(np.int64) + offset, multiplier))
        return np.clip(scaled, *limits).astype(dtype)

    return finish


def float_finish(node: Node, bias: Array | None) -> Callable[[Array, int], Array]:
    """Bias and fused activation on float sums."""
    activation = node.operator.options.fused_activation_function

    def finish(sums: Array, _: int) -> Array:
        if bias is not None:
            sums += bias
        return clamp_float(sums, activation)

    return finish


def _finish_item(finish: Callable[[Array, int], Array], item: int, sums: Array, group: int) -> Array:
    """What `convolve` calls for each group of channels, for one item of the batch."""
    return finish(sums, item)


def hybrid_finish(
    node: Node,
    bias: Array | None,
    scales: Array,
    row_scales: Array,
    zero_points: Array,
    sums_of_weights: Array,
) -> Callable[[Array, int], Array]:
    """Integer sums times weight scale times the batch item's scale, in float32.

    The order of the two products is the reference's: depthwise multiplies the scales first, the others last.
    """
    options = node.operator.options
    activation = getattr(options, "fused_activation_function", 0)
    scales_first = node.operator.name == "DEPTHWISE_CONV_2D"

    def finish(sums: Array, n: int) -> Array:
        whole = sums.astype(np.int64) - int(zero_points[n]) * sums_of_weights
        result = whole.astype(np.float32)
        if scales_first:
            result *= scales * row_scales[n]
        else:
            result *= scales
            result *= row_scales[n]
        if bias is not None:
            result += bias
        return clamp_float(result, activation)

    return finish


def lay_out(weights: Array, groups: int, offset: int, largest: int) -> Weights:
    """Integer weights [O, ...] as views [K, O / groups], to be computed in the smallest exact float type.

    Args:
        weights: As the model has them.
        groups: Groups of output channels.
        offset: Zero point of the weights.
        largest: The largest magnitude of an input number.
    """
    flat = weights.reshape(weights.shape[0], -1)
    depth = flat.shape[1]
    bound = 0
    step = max(1, WEIGHT_ELEMENTS // max(1, depth))
    for start in range(0, len(flat), step):
        magnitudes = np.abs(flat[start : start + step].astype(np.int32) - offset)
        bound = max(bound, int(magnitudes.sum(axis=1, dtype=np.int64).max(initial=0)))
    compute = np.dtype(exact_dtype(bound * largest))
    matrices = tuple(Matrix(part.T, compute, offset) for part in np.split(flat, groups))
    return Weights(matrices, flat.sum(axis=1, dtype=np.int64) - offset * depth)


def largest_magnitude(dtype: np.dtype[Any]) -> int:
    """The largest magnitude of an integer type's numbers."""
    info = np.iinfo(dtype)
    return max(-int(info.min), int(info.max))


@kernel("CONV_2D")
def conv_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """2-D convolution, grouped when the filter has fewer input channels than the input.

    float32; uint8; int8 per channel (weights int8 or int4); int16 with int8 weights and int32 or int64 bias; float32
    with int8 or int4 weights (hybrid: the input is quantised per batch item).
    """
    values, weights = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "filter")
    if weights.ndim != 4:
        fail(node, "rank of input 1 (filter)", weights.ndim, "4")
    axes = conv_axes(node, values, weights.shape[1:3])
    channels, depth = weights.shape[0], weights.shape[3]
    if depth == 0 or values.shape[3] == 0 or values.shape[3] % depth:
        fail(node, "input channels", values.shape[3], f"a multiple of the filter's {depth}")
    groups = values.shape[3] // depth
    if channels == 0 or channels % groups:
        fail(node, "output channels", channels, f"a multiple of the {groups} groups")
    bias = check_bias(node, optional(inputs, 2), channels)
    return [run_convolution(node, runtime, values, weights, bias, axes, groups)]


def run_convolution(
    node: Node,
    runtime: Runtime,
    values: Array,
    weights: Array,
    bias: Array | None,
    axes: Sequence[Axis],
    groups: int,
) -> Array:
    """A convolution over any number of spatial axes; weights [O, *kernel, I / groups]."""
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    if values.dtype == np.float32 and weights.dtype == np.float32:
        matrices = float_matrices(weights, groups, runtime.reference_order)
        return convolve(node, values, axes, matrices, 0, float_finish(node, bias), values.dtype)
    if values.dtype == np.float32:
        return hybrid_convolution(node, runtime, values, weights, bias, axes, groups)
    source = tensor_in(node, 0)
    offset = zero_point_of(tensor_in(node, 1)) if values.dtype == np.uint8 else 0
    largest = largest_magnitude(values.dtype)
    laid_out = remembered(node, runtime, lambda: lay_out(weights, groups, offset, largest), 8 * weights.shape[0])
    zero_point = zero_point_of(source) if values.dtype != np.int16 else 0
    finish = remembered_finish(node, runtime, bias, -zero_point * laid_out.sums, values.dtype)
    return convolve(node, values, axes, laid_out.matrices, zero_point, finish, values.dtype)


def float_matrices(weights: Array, groups: int, in_order: bool) -> tuple[Matrix, ...]:
    """Float weights [O, ...] as one view [K, O / groups] per group."""
    parts = np.split(weights.reshape(weights.shape[0], -1), groups)
    return tuple(Matrix(part.T, weights.dtype, in_order=in_order) for part in parts)


def remembered(node: Node, runtime: Runtime, build: Callable[[], Any], size: int) -> Any:
    """`build()`, of about `size` bytes, kept for the next run when the weights are constants."""
    return runtime.memo(node, "weights", build, size) if from_constants(node, 1) else build()


def remembered_finish(
    node: Node, runtime: Runtime, bias: Array | None, correction: NDArray[np.int64], dtype: np.dtype[Any]
) -> Finish:
    """`integer_finish` with the node's multipliers, kept for the next run when weights and bias are constants."""

    def build() -> Finish:
        multiplier = convolution_multiplier(node, correction.size, dtype)
        return integer_finish(node, bias, correction, multiplier, dtype)

    return runtime.memo(node, "finish", build) if from_constants(node, 1, 2) else build()


def hybrid_convolution(
    node: Node,
    runtime: Runtime,
    values: Array,
    weights: Array,
    bias: Array | None,
    axes: Sequence[Axis],
    groups: int,
) -> Array:
    """Float input, weights of 8 bits or less. Equal scales: symmetric input numbers; else asymmetric ones."""
    scales = filter_scales(node, weights.shape[0]).astype(np.float32)
    per_channel = groups != 1 or bool((scales != scales[0]).any())
    numbers, row_scales, zero_points = quantize_batches(values, asymmetric=per_channel)
    laid_out = remembered(node, runtime, lambda: lay_out(weights, groups, 0, 128), 8 * weights.shape[0])
    if per_channel:
        finish = hybrid_finish(node, bias, scales, row_scales, zero_points, laid_out.sums)
    else:
        finish = hybrid_finish(node, bias, np.ones(1, np.float32), row_scales * scales[0], zero_points, laid_out.sums)
    fill_rows = [
        convolve(
            node,
            numbers[n : n + 1],
            axes,
            laid_out.matrices,
            int(zero_points[n]),
            partial(_finish_item, finish, n),
            values.dtype,
        )
        for n in range(values.shape[0])
    ]
    if not fill_rows:
        return np.empty((0, *(a.out for a in axes), weights.shape[0]), np.float32)
    return np.concatenate(fill_rows)


@kernel("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """2-D convolution of each input channel by its own `multiplier` filters.

    float32; uint8; int8 per channel; int16 with int8 weights and int64 bias; float32 with int8 weights (hybrid).
    """
    values, weights = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "filter")
    if weights.ndim != 4 or weights.shape[0] != 1:
        fail(node, "shape of input 1 (filter)", list(weights.shape), "[1, height, width, channels]")
    axes = conv_axes(node, values, weights.shape[1:3])
    channels, depth = weights.shape[3], values.shape[3]
    if depth == 0 or channels == 0 or channels % depth:
        fail(node, "output channels", channels, f"a multiple of the input's {depth} channels")
    require_type(node, values, "type of input 0", np.float32, np.uint8, np.int8, np.int16)
    bias = check_bias(node, optional(inputs, 2), channels)
    taps = weights.reshape(weights.shape[1], weights.shape[2], depth, channels // depth)
    if values.dtype == np.float32 and weights.dtype == np.float32:
        return [depthwise(node, values, axes, taps, 0, float_finish(node, bias), values.dtype)]
    source = tensor_in(node, 0)
    offset = zero_point_of(tensor_in(node, 1)) if values.dtype == np.uint8 else 0
    hybrid = values.dtype == np.float32
    largest = 128 if hybrid else largest_magnitude(values.dtype)
    real_taps, sums = remembered(node, runtime, lambda: lay_out_taps(taps, offset, largest), 4 * weights.size)
    if hybrid:
        scales = filter_scales(node, channels).astype(np.float32)
        numbers, row_scales, zero_points = quantize_batches(values, asymmetric=True)
        finish = hybrid_finish(node, bias, scales, row_scales, zero_points, sums)
        parts = [
            depthwise(
                node,
                numbers[n : n + 1],
                axes,
                real_taps,
                int(zero_points[n]),
                partial(_finish_item, finish, n),
                values.dtype,
            )
            for n in range(values.shape[0])
        ]
        return [np.concatenate(parts)]
    zero_point = zero_point_of(source) if values.dtype != np.int16 else 0
    finish = remembered_finish(node, runtime, bias, -zero_point * sums, values.dtype)
    return [depthwise(node, values, axes, real_taps, zero_point, finish, values.dtype)]


def lay_out_taps(taps: Array, offset: int, largest: int) -> tuple[Array, NDArray[np.int64]]:
    """Integer taps [KH, KW, C, M] in the smallest exact float type, and their sum per output channel."""
    wide = taps.astype(np.int32) - offset
    magnitudes = np.abs(wide).sum(axis=(0, 1), dtype=np.int64)
    compute = exact_dtype(int(magnitudes.max(initial=0)) * largest)
    return wide.astype(compute), wide.sum(axis=(0, 1), dtype=np.int64).reshape(-1)


#: Elements of one block of depthwise outputs: input and sums of a block share the second-level cache.
DEPTHWISE_ELEMENTS = 1 << 15

#: From this many channels on, the loop over the channels of one pixel is long enough to be the innermost one.
WIDE_DEPTH = 256


def depthwise(
    node: Node,
    values: Array,
    axes: Sequence[Axis],
    taps: Array,
    fill: float,
    finish: Callable[[Array, int], Array],
    dtype: np.dtype[Any],
) -> Array:
    """Sums over shifted views of the padded input, in blocks of output rows.

    The order of the sums is that of the reference (row by row of the filter), so floats agree to the bit where the
    compiler of the reference kept its order.
    """
    vertical, horizontal = axes
    channels = taps.shape[2] * taps.shape[3]
    shape = check_shape(node, (values.shape[0], vertical.out, horizontal.out, channels))
    result = np.empty(shape, dtype)
    if result.size == 0:
        return result
    sum_rows = _choose_depthwise(axes, taps)
    step = max(1, DEPTHWISE_ELEMENTS // (horizontal.out * channels))
    for n in range(values.shape[0]):
        for start in range(0, vertical.out, step):
            rows = min(step, vertical.out - start)
            padded = padded_rows(values[n], axes, slice(start, start + rows), fill)
            block = np.ascontiguousarray(padded, taps.dtype)
            done = finish(sum_rows(block, rows).reshape(rows * horizontal.out, channels), n)
            result[n, start : start + rows] = done.reshape(rows, horizontal.out, channels)
    return result


def _choose_depthwise(axes: Sequence[Axis], taps: Array) -> Callable[[Array, int], Array]:
    """What sums the windows of a block [height, width, C] to [rows, out, C, M].

    `einsum` makes one pass over the sums where the plain way makes two for each tap. Its innermost loop goes along the
    channels of a pixel, or of a row of pixels against repeated weights; it takes the taps in their order.
    """
    vertical, horizontal = axes
    depth, multiplier = taps.shape[2], taps.shape[3]
    if multiplier != 1 or depth * horizontal.out == 1:
        return lambda block, rows: _sum_taps(block, rows, axes, taps)
    weights = taps[..., 0]
    if horizontal.stride == 1 and depth < WIDE_DEPTH:
        repeated = np.tile(weights, (1, 1, horizontal.out))

        def row_by_row(block: Array, rows: int) -> Array:
            down, _, item = block.strides
            across = block.strides[1] * horizontal.dilation
            shape = (rows, vertical.kernel, horizontal.kernel, repeated.shape[2])
            steps = (down * vertical.stride, down * vertical.dilation, across, item)
            return np.asarray(np.einsum("hyxc,yxc->hc", as_strided(block, shape, steps, writeable=False), repeated))

        return row_by_row
    if depth == 1:
        return lambda block, rows: _sum_taps(block, rows, axes, taps)

    def pixel_by_pixel(block: Array, rows: int) -> Array:
        down, across, item = block.strides
        shape = (rows, horizontal.out, vertical.kernel, horizontal.kernel, depth)
        steps = (
            down * vertical.stride,
            across * horizontal.stride,
            down * vertical.dilation,
            across * horizontal.dilation,
            item,
        )
        return np.asarray(np.einsum("hwyxc,yxc->hwc", as_strided(block, shape, steps, writeable=False), weights))

    return pixel_by_pixel


def _sum_taps(block: Array, rows: int, axes: Sequence[Axis], taps: Array) -> Array:
    """The plain way: a multiplication and an addition over all sums per tap."""
    vertical, horizontal = axes
    down = (rows - 1) * vertical.stride + 1
    across = (horizontal.out - 1) * horizontal.stride + 1
    sums = np.zeros((rows, horizontal.out, *taps.shape[2:]), taps.dtype)
    product = np.empty_like(sums)
    for y in range(vertical.kernel):
        top = y * vertical.dilation
        for x in range(horizontal.kernel):
            left = x * horizontal.dilation
            window = block[top : top + down : vertical.stride, left : left + across : horizontal.stride]
            np.multiply(window[..., None], taps[y, x], out=product)
            sums += product
    return sums


@kernel("CONV_3D")
def conv_3d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """3-D convolution of float32: input NDHWC, filter [KD, KH, KW, I, O], optional bias."""
    values, weights = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "filter")
    if values.ndim != 5 or weights.ndim != 5 or weights.shape[3] != values.shape[4] or not all(weights.shape):
        shapes = (list(values.shape), list(weights.shape))
        fail(node, "shapes of input and filter", shapes, "[N, D, H, W, I] and [KD, KH, KW, I, O]")
    require_type(node, values, "type of input 0", np.float32)
    options = node.operator.options
    axes = [
        axis(
            node,
            name,
            size,
            taps,
            getattr(options, f"stride_{name}"),
            getattr(options, f"dilation_{name}_factor"),
            options.padding,
        )
        for name, size, taps in zip("dhw", values.shape[1:4], weights.shape[:3])
    ]
    bias = check_bias(node, optional(inputs, 2), weights.shape[4])
    matrix = Matrix(weights.reshape(-1, weights.shape[4]), weights.dtype, in_order=runtime.reference_order)
    return [convolve(node, values, axes, (matrix,), 0, float_finish(node, bias), values.dtype)]
