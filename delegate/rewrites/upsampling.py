"""Growing images before NNAPI can: transposed convolutions as plain ones, half-pixel centres as every second of more pixels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import OperandCode, PaddingCode
from nnapi_toolkit.delegate.ops import convolution, detection
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.gather import AxisSlice, emit_strided
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder
    from numpy.typing import NDArray

#: Most bytes of the larger image that a half-pixel resize goes through.
_MOST_RESIZED = 1 << 26


# -- TRANSPOSE_CONV -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Axis:
    """A transposed convolution along one axis, as a plain one that gives `stride` neighbours at once.

    Pixel `y = quotient * stride + phase` of the output sums `x[quotient + d] * w[phase + offset - d * stride]` over the
    distances `d` for which the filter has such a tap.

    Attributes:
        stride, kernel: The transposed convolution's.
        offset: How many pixels it cuts off in front.
        low, high: Range of the distances.
        count: Quotients.
        before, after: Zeros around the input.
    """

    stride: int
    kernel: int
    offset: int
    low: int
    high: int
    count: int
    before: int
    after: int

    @classmethod
    def of(cls, size: int, kernel: int, stride: int, out: int, same: bool) -> _Axis:
        steps = -(-out // stride) if same else (out - kernel + stride) // stride
        offset = max(0, (steps - 1) * stride + kernel - out) // 2
        low, high = -((kernel - 1 - offset) // stride), (stride - 1 + offset) // stride
        count = -(-out // stride)
        return cls(stride, kernel, offset, low, high, count, -low, count - size + high)

    @property
    def taps(self) -> int:
        """Size of the plain filter."""
        return self.high - self.low + 1

    def tap(self, phase: int, number: int) -> int | None:
        """The transposed filter's tap behind one of the plain filter; None for zero."""
        found = phase + self.offset - (self.low + number) * self.stride
        return found if 0 <= found < self.kernel else None


def _transposed(case: Case) -> tuple[Operand, Operand, Operand | None, Operand, tuple[int, int, int]]:
    if case.node.operator.name == "TRANSPOSE_CONV":
        o = case.options
        case.positive("stride_w", "stride_h")
        numbers = (int(convolution.padding_code(case)), o.stride_w, o.stride_h)
        return (*convolution.transpose_operands(case), numbers)
    return (*detection.transpose_bias_operands(case), detection.transpose_bias_options(case))


def _axes(x: Operand, weights: Operand, out: Operand, numbers: tuple[int, int, int]) -> tuple[_Axis, _Axis]:
    padding, width, height = numbers
    same = padding == PaddingCode.SAME
    return (
        _Axis.of(x.shape[1], weights.shape[1], height, out.shape[1], same),
        _Axis.of(x.shape[2], weights.shape[2], width, out.shape[2], same),
    )


def _transpose_rule(case: Case) -> None:
    """Float, one stride for both axes, constant weights."""
    x, weights, bias, out, numbers = _transposed(case)
    case.typed(x, TensorType.FLOAT32)
    for name in ("CONV_2D", "DEPTH_TO_SPACE"):
        case.operation(name, x)
    convolution.check_transposed(case, x, weights, bias, out)
    if case.node.operator.name == "TRANSPOSE_CONV":
        case.fuse()
        case.integers(case.input(0, "output_shape"))
    case.constant(weights)
    if bias is not None:
        case.constant(bias)
    case.need(
        numbers[1] == numbers[2] > 1, "option-value", "option stride_w, stride_h", numbers[1:], "equal, and above 1"
    )
    axes = _axes(x, weights, out, numbers)
    for axis in axes:
        fits = 0 <= axis.before < axis.taps and 0 <= axis.after < axis.taps
        case.need(fits, "operand-shape", out, list(out.shape), "about as many times larger than the input as the stride")
    if [axis.count * axis.stride for axis in axes] != list(out.shape[1:3]):
        case.operation("STRIDED_SLICE", out)


def _values(operand: Operand) -> NDArray[np.float32]:
    if operand.tensor.type in (TensorType.INT8, TensorType.UINT8):
        return convolution.dequantized(operand)
    assert operand.tensor.data is not None
    return operand.tensor.data.astype(np.float32)


def _lower_transpose(builder: ProgramBuilder, case: Case) -> None:
    x, weights, bias, out, numbers = _transposed(case)
    rows, columns = _axes(x, weights, out, numbers)
    stride, channels = rows.stride, weights.shape[0]
    given = _values(weights)
    filter_ = np.zeros((stride, stride, channels, rows.taps, columns.taps, weights.shape[3]), np.float32)
    for row, column in np.ndindex(stride, stride):
        for i, j in np.ndindex(rows.taps, columns.taps):
            y, z = rows.tap(row, i), columns.tap(column, j)
            if y is not None and z is not None:
                filter_[row, column, :, i, j] = given[:, y, z]
    biases = np.zeros(channels, np.float32) if bias is None else _values(bias).reshape(channels)
    code = OperandCode.TENSOR_FLOAT32
    target = builder.tensor(out)
    fuse = int(case.fuse()) if case.node.operator.name == "TRANSPOSE_CONV" else 0
    deep = builder.temporary_like(target, (x.shape[0], rows.count, columns.count, stride * stride * channels))
    inputs = [
        builder.tensor(x),
        builder.constant(filter_.reshape(-1, rows.taps, columns.taps, weights.shape[3]), code),
        builder.constant(np.tile(biases, stride * stride), code),
        *map(builder.int32, (columns.before, columns.after, rows.before, rows.after, 1, 1, fuse)),
    ]
    builder.operation("CONV_2D", inputs, deep)
    wide = (x.shape[0], rows.count * stride, columns.count * stride, channels)
    result = target if wide == tuple(out.shape) else builder.temporary_like(target, wide)
    builder.operation("DEPTH_TO_SPACE", [deep, builder.int32(stride)], result)
    if result != target:
        emit_strided(builder, result, [AxisSlice(0, size, 1, False) for size in out.shape], target)


# -- RESIZE_BILINEAR ------------------------------------------------------------------------------------------------


def _resize_rule(case: Case) -> None:
    """Half-pixel centres of a float image twice as large are odd pixels of one four times as large without them."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, TensorType.FLOAT32)
    case.same_type(out, x)
    for name in ("RESIZE_BILINEAR", "STRIDED_SLICE", "CONCATENATION"):
        case.operation(name, x)
    case.integers(case.input(1, "size"))
    o = case.options
    case.need(
        bool(o.half_pixel_centers) and not o.align_corners, "option-value", "option half_pixel_centers", "false", "true"
    )
    wanted = [x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]]
    case.need(list(out.shape) == wanted, "operand-shape", out, list(out.shape), f"{wanted}, twice as large")
    size = 16 * x.tensor.byte_size
    case.need(size <= _MOST_RESIZED, "operand-size", x, f"{size} bytes in between", f"at most {_MOST_RESIZED}")
    square = case.level >= 3 or x.shape[1] == x.shape[2]
    case.need(square, "operand-shape", x, list(x.shape), "as high as wide below feature level 3")


def _lower_resize(builder: ProgramBuilder, case: Case) -> None:
    x, target = case.input(0), builder.tensor(case.output())
    shape = [x.shape[0], 4 * x.shape[1], 4 * x.shape[2], x.shape[3]]
    assert prod(shape) == 16 * prod(x.shape)
    made = builder.temporary_like(target, shape)
    builder.operation("RESIZE_BILINEAR", [builder.tensor(x), builder.int32(shape[2]), builder.int32(shape[1])], made)
    for axis in (1, 2):
        source, grown = made, shape[axis]
        parts = []
        # The first centre lies before the first pixel and takes its value.
        for bounds in (AxisSlice(0, 1, 1, False), AxisSlice(1, grown - 2, 2, False)):
            slices = [bounds if i == axis else AxisSlice(0, size, 1, False) for i, size in enumerate(shape)]
            part = builder.temporary_like(target, [s.size for s in slices])
            emit_strided(builder, source, slices, part)
            parts.append(part)
        shape[axis] = grown // 2
        made = target if axis == 2 else builder.temporary_like(target, shape)
        builder.operation("CONCATENATION", [*parts, builder.int32(axis)], made)


REWRITES = (
    Rewrite(
        "transpose-conv-as-conv",
        ("TRANSPOSE_CONV", "Convolution2DTransposeBias"),
        "a float transposed convolution as CONV_2D of all neighbours at once and DEPTH_TO_SPACE (below feature level 3)",
        True,
        _transpose_rule,
        _lower_transpose,
    ),
    Rewrite(
        "half-pixels-by-slice",
        ("RESIZE_BILINEAR",),
        "a float image doubled with half-pixel centres: every second pixel of it resized fourfold (feature levels 2, 3)",
        True,
        _resize_rule,
        _lower_resize,
    ),
)
