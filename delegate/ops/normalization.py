"""L2_NORMALIZATION, LOCAL_RESPONSE_NORMALIZATION."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _ranks(case: Case, name: str) -> None:
    x = case.input(0, "input")
    if case.level < 3:
        case.need(
            x.rank == 4, "operand-rank", x, f"of rank {x.rank}", f"of rank 4 for {name} below feature level 3", "feature level 3"
        )


def _l2_rule(case: Case) -> None:
    """NNAPI: rank 4 before feature level 3; 8-bit results in steps of 1/128; over the last axis."""
    x, out = case.input(0, "input"), case.output()
    if case.operation("L2_NORMALIZATION", x) in QUANT8:
        case.scaled(x)
    if x.tensor.type == TensorType.INT8:
        case.need_level(4, "TENSOR_QUANT8_ASYMM_SIGNED for L2_NORMALIZATION (the uint8 form rounds otherwise)", x)
    case.same_type(out, x)
    _ranks(case, "L2_NORMALIZATION")
    case.fuse_none("L2_NORMALIZATION")
    case.fixed_quantization(out, 1 / 128, signed=0, unsigned=128, what="L2_NORMALIZATION")


def _lower_l2(builder: ProgramBuilder, case: Case) -> None:
    builder.operation("L2_NORMALIZATION", [builder.tensor(case.input(0))], builder.tensor(case.output()))


def _l2_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    if case.level < 3:
        tflite.type_in(case, 0, tflite.FLOAT)
        x = case.input(0)
        case.need(x.rank == 4, "operand-rank", x, f"of rank {x.rank}", "of rank 4", "feature level 3")
    tflite.no_activation(case)


def _lrn_rule(case: Case) -> None:
    """NNAPI: float; the bias is not zero. The window is symmetric, as in TFLite's default kernel, whose numbers users see (its
    reference kernel leaves out the last channel of each window; docs/how-to/wrong-numbers.md)."""
    x = case.input(0, "input")
    case.operation("LOCAL_RESPONSE_NORMALIZATION", x)
    case.same_type(case.output(), x)
    _ranks(case, "LOCAL_RESPONSE_NORMALIZATION")
    case.need(case.options.bias != 0, "option-value", "option bias", 0, "not 0")
    case.need(case.options.radius >= 0, "option-value", "option radius", case.options.radius, "at least 0")


def _lower_lrn(builder: ProgramBuilder, case: Case) -> None:
    x, o = case.input(0), case.options
    scalars = (builder.float_like(v, case.code(x)) for v in (o.bias, o.alpha, o.beta))
    inputs = [builder.tensor(x), builder.int32(o.radius), *scalars]
    builder.operation("LOCAL_RESPONSE_NORMALIZATION", inputs, builder.tensor(case.output()))


_LRN = "LOCAL_RESPONSE_NORMALIZATION"

RULES = (
    OperatorRule("L2_NORMALIZATION", ("L2_NORMALIZATION",), 2, _l2_rule, _l2_tflite, _lower_l2),
    OperatorRule(_LRN, (_LRN,), 1, _lrn_rule, tflite.simple(1), _lower_lrn),
)
