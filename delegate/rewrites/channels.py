"""FULLY_CONNECTED with a scale for each unit, which NNAPI's has not: unit by unit, or as a convolution, which has.

LiteRT scales the sums of FULLY_CONNECTED in double and rounds once; convolutions round twice, and are one step apart for about
one sum in 600. One operation for each unit is exact, and all arithmetic stays in 8 bits; a convolution is a single operation, which
suits a phone's accelerator better, and is used where inexact rewrites are allowed.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import OperandCode, PaddingCode
from nnapi_toolkit.delegate.ops import fully_connected
from nnapi_toolkit.delegate.ops.base import Case, Operand, float32_product
from nnapi_toolkit.delegate.ops.convolution import lower_bias
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

#: Above so many units, the convolution goes first where it is allowed.
FEW = 64
BY_UNIT = "fully-connected-by-unit"
_AS_CONVOLUTION = "fully-connected-as-convolution"


def _check(case: Case) -> tuple[float, ...]:
    """int8, constant symmetric weights with a scale for each unit."""
    x, weights, _, out = fully_connected.operands(case)
    case.typed(x, TensorType.INT8)
    fully_connected.check_operands(case)
    q = weights.tensor.quantization
    case.need(q is not None and q.per_channel, "quantization", weights, "quantised with one scale", "per channel")
    assert q is not None
    case.need(q.dimension == 0 and not any(q.zero_point), "quantization", weights, "asymmetric", "symmetric by unit")
    case.constant(weights)
    for operand in (x, out):
        case.operation("RESHAPE", operand)
    case.scaled(x)
    case.scaled(out)
    return tuple(q.scale)


def _shaped(builder: ProgramBuilder, operand: Operand, shape: tuple[int, ...]) -> int:
    source = builder.tensor(operand)
    if operand.shape == shape:
        return source
    made = builder.temporary_like(source, shape)
    builder.operation("RESHAPE", [source, builder.int32_vector(shape)], made)
    return made


def _into(builder: ProgramBuilder, target: int, shape: tuple[int, ...]) -> int:
    """Where a result of this shape goes before it is the target."""
    return target if builder.operand(target).dimensions == shape else builder.temporary_like(target, shape)


def _deliver(builder: ProgramBuilder, result: int, target: int) -> None:
    if result != target:
        builder.operation("RESHAPE", [result, builder.int32_vector(builder.operand(target).dimensions)], target)


# -- unit by unit ---------------------------------------------------------------------------------------------------


def _unit_rule(case: Case) -> None:
    scales = _check(case)
    x, weights, bias, out = fully_connected.operands(case)
    if case.level >= 3 and _AS_CONVOLUTION in case.target.rewrites:
        case.need(len(scales) <= FEW, "operand-shape", weights, f"{len(scales)} units", f"{FEW} units, more as a convolution")
    case.operation("FULLY_CONNECTED", x, any_rank=True)
    case.operation("CONCATENATION", out, any_rank=True)
    if bias is not None:
        case.constant(bias)
    if case.level < 3:
        product, mine = float32_product(case.scaled(x)[0], max(scales)), case.scaled(out)[0]
        case.need(mine > product, "quantization", out, f"of scale {mine:g}", f"of a scale above {product:g}", "feature level 3")


def _lower_units(builder: ProgramBuilder, case: Case) -> None:
    """One FULLY_CONNECTED for each unit, put side by side."""
    x, weights, bias, out = fully_connected.operands(case)
    units, depth = weights.shape
    rows = prod(x.shape) // depth
    target = builder.tensor(out)
    source = builder.tensor(x) if 2 <= x.rank <= 4 else _shaped(builder, x, (rows, depth))
    q, values = weights.tensor.quantization, weights.tensor.data
    assert q is not None and values is not None
    biases = np.zeros(units, np.int32) if bias is None else case.constant(bias).reshape(units).astype(np.int32)
    code = builder.operand(source).type
    shifted = values.view(np.uint8) ^ np.uint8(0x80) if code == OperandCode.TENSOR_QUANT8_ASYMM else None
    fuse = builder.int32(case.fuse())
    parts = []
    for unit, scale in enumerate(q.scale):
        if shifted is None:
            filter_ = builder.row(weights.tensor, unit, code, scale, 0)
        else:
            filter_ = builder.constant(shifted[unit : unit + 1], code, scale, 128, tensor=weights.tensor.index)
        sum_scale = float32_product(builder.operand(source).scale, scale)
        first = builder.constant(biases[unit : unit + 1], OperandCode.TENSOR_INT32, sum_scale)
        part = builder.temporary_like(target, (rows, 1))
        builder.operation("FULLY_CONNECTED", [source, filter_, first, fuse], part)
        parts.append(part)
    result = _into(builder, target, (rows, units))
    builder.operation("CONCATENATION", [*parts, builder.int32(1)], result)
    _deliver(builder, result, target)


# -- as a convolution -----------------------------------------------------------------------------------------------


def _convolution_rule(case: Case) -> None:
    """CONV_2D has one scale for each output channel."""
    _check(case)
    case.need_level(3, "TENSOR_QUANT8_SYMM_PER_CHANNEL", case.input(1, "weights"))


def _lower_convolution(builder: ProgramBuilder, case: Case) -> None:
    """[rows, depth] as a rows x 1 x 1 x depth image, the weights as a 1 x 1 filter."""
    x, weights, bias, out = fully_connected.operands(case)
    units, depth = weights.shape
    rows = prod(x.shape) // depth
    target = builder.tensor(out)
    image = _shaped(builder, x, (rows, 1, 1, depth))
    q = weights.tensor.quantization
    assert q is not None
    filter_ = builder.described(
        weights.tensor,
        OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
        shape=(units, 1, 1, depth),
        channel_dimension=0,
        channel_scales=q.scale,
    )
    result = _into(builder, target, (rows, 1, 1, units))
    numbers = map(builder.int32, (PaddingCode.VALID, 1, 1, case.fuse()))
    builder.operation("CONV_2D", [image, filter_, lower_bias(builder, bias, units, 0.0), *numbers], result)
    _deliver(builder, result, target)


REWRITES = (
    Rewrite(
        BY_UNIT,
        ("FULLY_CONNECTED",),
        "FULLY_CONNECTED with per-channel weights as one for each unit, and CONCATENATION",
        True,
        _unit_rule,
        _lower_units,
    ),
    Rewrite(
        _AS_CONVOLUTION,
        ("FULLY_CONNECTED",),
        "FULLY_CONNECTED with per-channel weights as a 1x1 CONV_2D: a step apart near ties, so on request (feature level 3)",
        False,
        _convolution_rule,
        _lower_convolution,
    ),
)
