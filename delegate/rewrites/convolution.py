"""A dilated convolution before feature level 3: the pixels of each phase gathered into a batch, a plain convolution, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8, PaddingCode
from nnapi_toolkit.delegate.ops import convolution
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.gather import AxisSlice, emit_strided
from nnapi_toolkit.delegate.rewrites import per_channel
from nnapi_toolkit.delegate.rewrites.base import Rewrite

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    return case.input(0, "input"), case.input(1, "filter"), convolution.optional_bias(case, 2), case.output()


def _rule(case: Case) -> None:
    x, weights, bias, out = _operands(case)
    name = case.node.operator.name
    case.operation(name, x)
    case.operation("SPACE_TO_BATCH_ND", x)
    case.operation("BATCH_TO_SPACE_ND", x)
    case.operation("STRIDED_SLICE", x)
    case.ranks(weights, 4, 4, name)
    case.known_shape(out)
    case.positive("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor")
    convolution.padding_code(case)
    case.fuse()
    convolution.check_weights(case, x, weights, bias, out)
    convolution.check_filter_scales(case, x, weights, out)
    o = case.options
    case.need(o.stride_w == o.stride_h == 1, "option-value", "option stride_w, stride_h", (o.stride_w, o.stride_h), "1, 1")
    if case.code(x) in QUANT8:
        case.need(
            case.quantization(x)[1] == 0, "quantization", x, "with a zero point", "without one: the padding is zero"
        )
    if name == "CONV_2D":
        groups = convolution.conv_groups(case, x, weights)
        case.need(groups == 1, "operand-shape", weights, f"{groups} groups", "one group")
        convolution.check_bias_shape(case, bias, weights.shape[0])
    else:
        fits = weights.shape[0] == 1 and weights.shape[3] % x.shape[3] == 0
        case.need(fits, "operand-shape", weights, list(weights.shape), "[1, height, width, channels]")
        convolution.check_bias_shape(case, bias, weights.shape[3])


def _lower(builder: ProgramBuilder, case: Case) -> None:
    x, weights, bias, out = _operands(case)
    depthwise = case.node.operator.name == "DEPTHWISE_CONV_2D"
    o = case.options
    block = (o.dilation_h_factor, o.dilation_w_factor)
    kernel = weights.shape[1:3]
    same = convolution.padding_code(case) == PaddingCode.SAME
    before, after, grown = [], [], []
    for axis in (0, 1):
        size, result = x.shape[axis + 1], out.shape[axis + 1]
        reach = (kernel[axis] - 1) * block[axis] + 1
        total = max(0, result - 1 + reach - size) if same else 0
        extra = -(size + total) % block[axis]
        before.append(total // 2)
        after.append(total - total // 2 + extra)
        grown.append(size + total + extra)
    batch = x.shape[0] * block[0] * block[1]
    phase = (batch, grown[0] // block[0], grown[1] // block[1], x.shape[3])
    source, filter_, biases = convolution.lower_weights(builder, case, x, weights, bias, 3 if depthwise else 0)
    target = builder.tensor(out)
    phases = builder.temporary_like(source, phase)
    blocks = builder.int32_vector(block)
    paddings = builder.int32_matrix([before[0], after[0], before[1], after[1]], 2)
    builder.operation("SPACE_TO_BATCH_ND", [source, blocks, paddings], phases)
    small = (batch, phase[1] - kernel[0] + 1, phase[2] - kernel[1] + 1, out.shape[3])
    convolved = builder.temporary_like(target, small)
    numbers = [PaddingCode.VALID, 1, 1, *((out.shape[3] // x.shape[3],) if depthwise else ()), case.fuse()]
    name = case.node.operator.name
    builder.operation(name, [phases, filter_, biases, *map(builder.int32, numbers)], convolved)
    wide = (x.shape[0], small[1] * block[0], small[2] * block[1], out.shape[3])
    if wide == out.shape:
        builder.operation("BATCH_TO_SPACE_ND", [convolved, blocks], target)
        return
    spread = builder.temporary_like(target, wide)
    builder.operation("BATCH_TO_SPACE_ND", [convolved, blocks], spread)
    emit_strided(builder, spread, [AxisSlice(0, size, 1, False) for size in out.shape], target)


REWRITES = (
    Rewrite(
        "dilation-by-batch",
        ("CONV_2D", "DEPTHWISE_CONV_2D"),
        "a dilated convolution between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND (feature level 2)",
        True,
        _rule,
        _lower,
    ),
    *per_channel.REWRITES,
)
