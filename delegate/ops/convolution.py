"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, and grouped convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from nnapi_toolkit.delegate.fixed_point import quantize_multiplier
from nnapi_toolkit.delegate.nnapi import OperandCode, PaddingCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import (
    DEQUANTIZED_WEIGHTS,
    Case,
    Operand,
    OperatorRule,
    float32_product,
    is_float,
)
from nnapi_toolkit.schema.enums import Padding, TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_EIGHT_BITS = (TensorType.INT8, TensorType.UINT8)


def padding_code(case: Case) -> PaddingCode:
    """NNAPI's implicit padding of the option `padding`."""
    value = case.options.padding
    case.need(value in (Padding.SAME, Padding.VALID), "option-value", "option padding", int(value), "SAME or VALID")
    return PaddingCode.SAME if value == Padding.SAME else PaddingCode.VALID


# -- weights and bias, shared by all weighted operators -------------------------------------------------------------


def check_weights(case: Case, x: Operand, weights: Operand, bias: Operand | None, out: Operand) -> None:
    """The types and scales of a weighted operator: float32, uint8, int8 (per channel where NNAPI has it), hybrid."""
    case.known_shape(weights)
    case.same_type(out, x)
    code = case.code(x)
    if is_float(code):
        if weights.tensor.type in _EIGHT_BITS:
            check_hybrid(case, weights)
        else:
            case.same_type(weights, x)
        if bias is not None:
            if bias.tensor.type in _EIGHT_BITS:
                check_hybrid(case, bias)
            else:
                case.same_type(bias, x)
        return
    case.typed(x, TensorType.UINT8, TensorType.INT8)
    case.typed(weights, x.tensor.type)
    case.scaled(x)
    case.scaled(out)
    if bias is not None:
        case.typed(bias, TensorType.INT32)


def check_hybrid(case: Case, weights: Operand) -> None:
    """8-bit weights of a float operator: dequantised on the host, so they must be constant."""
    case.need(
        DEQUANTIZED_WEIGHTS in case.target.rewrites,
        "hybrid-operator",
        weights,
        weights.tensor.type.name,
        "FLOAT32 like the input",
        f"rewrite {DEQUANTIZED_WEIGHTS}",
    )
    case.constant(weights, "a constant, so that it can be dequantised")
    check_scales(case, weights)


def check_scales(case: Case, weights: Operand) -> None:
    """Quantised weights have one positive scale, or one for each slice of the quantised dimension."""
    q = weights.tensor.quantization
    case.need(q is not None and bool(q.scale), "quantization", weights, "without a scale", "quantised")
    assert q is not None
    wanted = weights.shape[q.dimension] if 0 <= q.dimension < weights.rank else 0
    fits = len(q.scale) in (1, wanted) and min(q.scale) > 0
    case.need(fits, "quantization", weights, f"of {len(q.scale)} scales", f"of 1 or {wanted} positive scales")


def check_filter_scales(case: Case, x: Operand, weights: Operand, out: Operand) -> None:
    """Quantised convolution: what the filter's scales need of the feature level."""
    if is_float(case.code(x)):
        return
    check_scales(case, weights)
    q = weights.tensor.quantization
    scales = q.scale if q is not None else ()
    if x.tensor.type == TensorType.UINT8:
        scale, _ = case.scaled(weights)
        _check_product(case, x, scale, out)
        return
    assert q is not None
    case.need(not any(q.zero_point), "quantization", weights, "with a zero point", "symmetric (zero point 0)")
    if case.level >= 3:
        if case.level < 4 or len(scales) > 1:
            case.constant(weights)
        return
    if len(set(scales)) > 1:
        case.refuse(
            "per-channel-quantization",
            weights,
            f"quantised per channel ({len(scales)} scales)",
            "quantised with one scale below feature level 3, which brought TENSOR_QUANT8_SYMM_PER_CHANNEL",
            "feature level 3",
        )
    case.constant(weights)
    _check_product(case, x, scales[0], out)
    narrow = quantize_multiplier(float32_product(case.scaled(x)[0], scales[0]) / case.scaled(out)[0])
    wide = quantize_multiplier(case.scaled(x)[0] * scales[0] / case.scaled(out)[0])
    case.need(
        narrow == wide,
        "quantization",
        weights,
        f"of scale {scales[0]:g}",
        "of a scale whose uint8 form rounds like the int8 form",
        "feature level 3",
    )


def _check_product(case: Case, x: Operand, weight_scale: float, out: Operand) -> None:
    if case.level >= 3:
        return
    product = float32_product(case.scaled(x)[0], weight_scale)
    scale = case.scaled(out)[0]
    case.need(
        scale > product,
        "quantization",
        out,
        f"of scale {scale:g}",
        f"of a scale above {product:g} (input scale times filter scale) below feature level 3",
        "feature level 3",
    )


def dequantized(weights: Operand) -> NDArray[np.float32]:
    """Weights of a hybrid operator as float32; uint8 ones count as signed, as TFLite reads them."""
    data: Any = weights.tensor.data
    q = weights.tensor.quantization
    assert data is not None and q is not None
    scale = np.array(q.scale, np.float32)
    if scale.size > 1:
        scale = scale.reshape([-1 if axis == q.dimension else 1 for axis in range(data.ndim)])
    return data.view(np.int8).astype(np.float32) * scale


def lower_weights(
    builder: ProgramBuilder, case: Case, x: Operand, weights: Operand, bias: Operand | None, channel: int
) -> tuple[int, int, int]:
    """Operands of input, filter and bias (a zero bias where TFLite has none); `channel` is the filter's output axis."""
    source = builder.tensor(x)
    count = weights.shape[channel]
    if is_float(case.code(x)):
        if weights.tensor.type in _EIGHT_BITS:
            values = dequantized(weights)
            filter_ = builder.constant(values, OperandCode.TENSOR_FLOAT32, tensor=weights.tensor.index)
        else:
            filter_ = builder.tensor(weights)
        if bias is None:
            kind = np.float16 if case.code(x) == OperandCode.TENSOR_FLOAT16 else np.float32
            return source, filter_, builder.constant(np.zeros(count, kind), case.code(x))
        if bias.tensor.type in _EIGHT_BITS:
            return source, filter_, builder.constant(dequantized(bias).reshape(count), OperandCode.TENSOR_FLOAT32)
        if bias.rank != 1 and bias.tensor.data is not None:
            values = bias.tensor.data.astype(np.float32).reshape(count)
            return source, filter_, builder.constant(values, OperandCode.TENSOR_FLOAT32)
        return source, filter_, builder.tensor(bias)
    q = weights.tensor.quantization
    assert q is not None
    input_scale = builder.operand(source).scale
    if weights.tensor.type == TensorType.INT8 and weights.is_constant and case.level >= 3:
        scales = q.scale * count if len(q.scale) == 1 else q.scale
        filter_ = builder.described(
            weights.tensor,
            OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
            channel_dimension=channel,
            channel_scales=scales,
        )
        bias_scale = 0.0
    elif weights.tensor.type == TensorType.INT8 and case.level < 3:
        assert weights.tensor.data is not None
        shifted = weights.tensor.data.view(np.uint8) ^ np.uint8(0x80)
        code = OperandCode.TENSOR_QUANT8_ASYMM
        filter_ = builder.constant(shifted, code, q.scale[0], 128, tensor=weights.tensor.index)
        bias_scale = float32_product(input_scale, q.scale[0])
    else:
        filter_ = builder.tensor(weights)
        bias_scale = float32_product(input_scale, q.scale[0])
    return source, filter_, lower_bias(builder, bias, count, bias_scale)


def lower_bias(builder: ProgramBuilder, bias: Operand | None, count: int, scale: float) -> int:
    """An int32 bias of the scale that NNAPI demands (TFLite's own may differ a little; the integers are what counts)."""
    if bias is None:
        return builder.constant(np.zeros(count, np.int32), OperandCode.TENSOR_INT32, scale)
    if bias.is_constant:
        return builder.described(bias.tensor, OperandCode.TENSOR_INT32, scale, shape=(count,))
    index = builder.tensor(bias)
    builder.operand(index).scale = scale
    return index


def optional_bias(case: Case, position: int) -> Operand | None:
    """The bias, or None where it is omitted."""
    return case.input(position, "bias") if case.has_input(position) else None


def check_bias_shape(case: Case, bias: Operand | None, count: int) -> None:
    """Refuses a bias that is not a vector of the output channels; a constant of another rank is described as one."""
    if bias is not None:
        fits = int(np.prod(bias.shape)) == count and (bias.rank == 1 or bias.is_constant)
        case.need(fits, "operand-shape", bias, f"of shape {list(bias.shape)}", f"of shape [{count}]")


# -- CONV_2D --------------------------------------------------------------------------------------------------------


def _conv_operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    return case.input(0, "input"), case.input(1, "filter"), optional_bias(case, 2), case.output()


def conv_rule(case: Case) -> None:
    """NNAPI: CONV_2D, dilated from feature level 3; GROUPED_CONV_2D from feature level 3, not dilated."""
    x, weights, bias, out = _conv_operands(case)
    groups = conv_groups(case, x, weights)
    case.operation("CONV_2D" if groups == 1 else "GROUPED_CONV_2D", x)
    case.known_shape(out)
    case.ranks(out, 4, 4, "CONV_2D")
    case.positive("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor")
    padding_code(case)
    case.fuse()
    check_weights(case, x, weights, bias, out)
    check_filter_scales(case, x, weights, out)
    check_bias_shape(case, bias, weights.shape[0])
    if is_dilated(case):
        case.need_level(3, "dilation of CONV_2D", "option dilation_w_factor, dilation_h_factor")
        if groups > 1:
            case.refuse(
                "option-value",
                "option dilation_w_factor, dilation_h_factor",
                f"{case.options.dilation_w_factor}, {case.options.dilation_h_factor}",
                "1, 1 for a grouped convolution: GROUPED_CONV_2D has no dilation",
            )


def is_dilated(case: Case) -> bool:
    """True when a dilation factor is not 1."""
    return bool(case.options.dilation_w_factor != 1 or case.options.dilation_h_factor != 1)


def conv_groups(case: Case, x: Operand, weights: Operand) -> int:
    """Number of groups: input channels over the filter's; refuses shapes that do not divide."""
    case.ranks(x, 4, 4, "CONV_2D")
    case.ranks(weights, 4, 4, "CONV_2D")
    channels, depth = x.shape[3], weights.shape[3]
    if depth < 1 or channels % depth or weights.shape[0] % max(1, channels // max(1, depth)):
        case.refuse(
            "operand-shape", weights, f"of shape {list(weights.shape)}", f"of a depth that divides {channels} input channels"
        )
    return channels // depth


def lower_conv(builder: ProgramBuilder, case: Case) -> None:
    """x, filter, bias, padding, strides, [groups], fuse, and the layout flag where the form needs it."""
    x, weights, bias, out = _conv_operands(case)
    o = case.options
    groups = conv_groups(case, x, weights)
    inputs = [
        *lower_weights(builder, case, x, weights, bias, 0),
        *map(builder.int32, (padding_code(case), o.stride_w, o.stride_h)),
    ]
    if groups > 1:
        inputs += [builder.int32(groups), builder.int32(case.fuse()), builder.bool(False)]
        builder.operation("GROUPED_CONV_2D", inputs, builder.tensor(out))
        return
    inputs.append(builder.int32(case.fuse()))
    if is_dilated(case):
        inputs += [builder.bool(False), builder.int32(o.dilation_w_factor), builder.int32(o.dilation_h_factor)]
    builder.operation("CONV_2D", inputs, builder.tensor(out), since=3 if is_dilated(case) else 1)


def conv_tflite(case: Case) -> None:
    """TFLite's Validate: no type check at all from feature level 3."""
    tflite.max_version(case, 5)
    if case.level < 3:
        case.need(not tflite.hybrid(case, 1), "hybrid-operator", case.input(1, "filter"), "8-bit", "FLOAT32")
        tflite.type_in(case, 0, tflite.FLOAT_UINT8)
        q = tflite.tensor(case, 1).quantization
        count = len(q.scale) if q is not None else 0
        case.need(count <= 1, "per-channel-quantization", case.input(1, "filter"), f"{count} scales", "one scale")
        if tflite.tensor(case, 0).type == TensorType.UINT8:
            tflite.restricted_scales(case)
    tflite.input_count(case, 3)
    if is_dilated(case):
        tflite.min_level(case, 3)
    if case.level < 3:
        x, weights = case.input(0, "input"), case.input(1, "filter")
        case.ranks(x, 4, 4)
        case.ranks(weights, 4, 4)
        case.need(
            x.shape[3] == weights.shape[3], "grouped-convolution", weights, weights.shape[3], x.shape[3], "feature level 3"
        )


# -- DEPTHWISE_CONV_2D ----------------------------------------------------------------------------------------------


def depthwise_rule(case: Case) -> None:
    """NNAPI: DEPTHWISE_CONV_2D, dilated from feature level 3."""
    x, weights, bias, out = _conv_operands(case)
    case.operation("DEPTHWISE_CONV_2D", x)
    case.ranks(weights, 4, 4, "DEPTHWISE_CONV_2D")
    case.known_shape(out)
    case.positive("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor")
    padding_code(case)
    case.fuse()
    depth = weights.shape[3]
    case.need(
        weights.shape[0] == 1 and depth % x.shape[3] == 0,
        "operand-shape",
        weights,
        f"of shape {list(weights.shape)}",
        f"[1, height, width, a multiple of {x.shape[3]}]",
    )
    check_weights(case, x, weights, bias, out)
    check_filter_scales(case, x, weights, out)
    check_bias_shape(case, bias, depth)
    if is_dilated(case):
        case.need_level(3, "dilation of DEPTHWISE_CONV_2D", "option dilation_w_factor, dilation_h_factor")


def lower_depthwise(builder: ProgramBuilder, case: Case) -> None:
    """x, filter, bias, padding, strides, multiplier, fuse, and the dilation where there is one."""
    x, weights, bias, out = _conv_operands(case)
    o = case.options
    numbers = (padding_code(case), o.stride_w, o.stride_h, weights.shape[3] // x.shape[3], case.fuse())
    inputs = [*lower_weights(builder, case, x, weights, bias, 3), *map(builder.int32, numbers)]
    if is_dilated(case):
        inputs += [builder.bool(False), builder.int32(o.dilation_w_factor), builder.int32(o.dilation_h_factor)]
    builder.operation("DEPTHWISE_CONV_2D", inputs, builder.tensor(out), since=3 if is_dilated(case) else 1)


def depthwise_tflite(case: Case) -> None:
    """TFLite's Validate: neither types nor the bias are looked at from feature level 3."""
    tflite.max_version(case, 3)
    if case.level < 3:
        tflite.type_in(case, 0, tflite.FLOAT_UINT8)
        if tflite.tensor(case, 0).type == TensorType.UINT8:
            tflite.restricted_scales(case)
        case.need(not is_dilated(case), "feature-level", "option dilation_w_factor", "dilated", "1", "feature level 3")


# -- TRANSPOSE_CONV -------------------------------------------------------------------------------------------------


def transpose_operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    """Input, filter, bias, output."""
    return case.input(2, "input"), case.input(1, "filter"), optional_bias(case, 3), case.output()


def check_transpose_conv(case: Case, x: Operand, weights: Operand, bias: Operand | None, out: Operand) -> None:
    """What TRANSPOSE_CONV_2D needs of its operands."""
    case.operation("TRANSPOSE_CONV_2D", x)
    check_transposed(case, x, weights, bias, out)


def check_transposed(case: Case, x: Operand, weights: Operand, bias: Operand | None, out: Operand) -> None:
    """Operands of a transposed convolution that go together."""
    case.ranks(weights, 4, 4, "TRANSPOSE_CONV_2D")
    case.ranks(out, 4, 4, "TRANSPOSE_CONV_2D")
    case.known_shape(out)
    case.need(
        weights.shape[3] == x.shape[3],
        "operand-shape",
        weights,
        f"of shape {list(weights.shape)}",
        f"of depth {x.shape[3]} like the input",
    )
    check_weights(case, x, weights, bias, out)
    check_filter_scales(case, x, weights, out)
    check_bias_shape(case, bias, weights.shape[0])


def transpose_conv_rule(case: Case) -> None:
    """NNAPI: TRANSPOSE_CONV_2D; the output shape must be known."""
    x, weights, bias, out = transpose_operands(case)
    check_transpose_conv(case, x, weights, bias, out)
    case.positive("stride_w", "stride_h")
    padding_code(case)
    case.fuse()
    case.integers(case.input(0, "output_shape"))


def lower_transpose_conv(builder: ProgramBuilder, case: Case) -> None:
    """x, filter, bias, output shape, padding, strides, fuse, layout."""
    x, weights, bias, out = transpose_operands(case)
    o = case.options
    emit_transpose_conv(
        builder, case, (x, weights, bias, out), (int(padding_code(case)), o.stride_w, o.stride_h, int(case.fuse()))
    )


def emit_transpose_conv(
    builder: ProgramBuilder,
    case: Case,
    operands: tuple[Operand, Operand, Operand | None, Operand],
    numbers: tuple[int, int, int, int],
) -> None:
    """Adds TRANSPOSE_CONV_2D; `numbers` are padding, stride width, stride height and fuse code."""
    x, weights, bias, out = operands
    inputs = [
        *lower_weights(builder, case, x, weights, bias, 0),
        builder.int32_vector(out.shape),
        *map(builder.int32, numbers),
        builder.bool(False),
    ]
    builder.operation("TRANSPOSE_CONV_2D", inputs, builder.tensor(out))


def transpose_conv_tflite(case: Case) -> None:
    """TFLite's Validate: constant output shape and weights."""
    tflite.max_version(case, 4)
    tflite.min_level(case, 3)
    tflite.constant(case, 0)
    tflite.constant(case, 1)


RULES = (
    OperatorRule("CONV_2D", ("CONV_2D", "GROUPED_CONV_2D"), 8, conv_rule, conv_tflite, lower_conv),
    OperatorRule("DEPTHWISE_CONV_2D", ("DEPTHWISE_CONV_2D",), 7, depthwise_rule, depthwise_tflite, lower_depthwise),
    OperatorRule(
        "TRANSPOSE_CONV", ("TRANSPOSE_CONV_2D",), 5, transpose_conv_rule, transpose_conv_tflite, lower_transpose_conv
    ),
)
