"""ABS, EXP, LOG, SQRT, RSQRT, SIN, COS, NEG, FLOOR, CEIL."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.activation import lower_unary
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        x, out = case.input(0, "input"), case.output()
        code = case.operation(name, x)
        case.same_type(out, x)
        if code in QUANT8:
            case.scaled(x)
            case.scaled(out)

    return rule


def _rsqrt_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT if case.level < 7 else tflite.FLOAT_QUANT8)


def _rsqrt_rule(case: Case) -> None:
    """NNAPI: 8-bit from feature level 7, computed in float where TFLite's is fixed point: float only (8-bit by a table)."""
    case.typed(case.input(0, "input"), TensorType.FLOAT32, TensorType.FLOAT16)
    _rule("RSQRT")(case)


def _ceil_rule(case: Case) -> None:
    """NEG(FLOOR(NEG x)): exact."""
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("NEG", x)
    case.operation("FLOOR", x)
    case.same_type(case.output(), x)


def _lower_ceil(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    negated, floored = builder.temporary_like(out), builder.temporary_like(out)
    builder.operation("NEG", [builder.tensor(case.input(0))], negated)
    builder.operation("FLOOR", [negated], floored)
    builder.operation("NEG", [floored], out)


def _cos_rule(case: Case) -> None:
    """NNAPI has no cosine."""
    case.refuse("operator", "the operator", "COS", "one that NNAPI has: SIN(pi/2 - x) loses digits", "rewrite cosine-as-sine")


def check_cosine(case: Case) -> None:
    """COS as SIN(pi/2 - x)."""
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("SIN", x)
    case.operation("SUB", x)
    case.same_type(case.output(), x)


def lower_cosine(builder: ProgramBuilder, case: Case) -> None:
    """SUB from pi/2, then SIN."""
    out = builder.tensor(case.output())
    quarter = builder.constant(np.array([pi / 2], np.float32), OperandCode.TENSOR_FLOAT32)
    angle = builder.temporary_like(out)
    builder.operation("SUB", [quarter, builder.tensor(case.input(0)), builder.int32(0)], angle)
    builder.operation("SIN", [angle], out)


_FLOAT_3 = tflite.simple(1, tflite.FLOAT, level=3)
_NEG_TYPES = frozenset({TensorType.FLOAT32, TensorType.INT32})

RULES = (
    OperatorRule("ABS", ("ABS",), 3, _rule("ABS"), _FLOAT_3, lower_unary("ABS")),
    OperatorRule("EXP", ("EXP",), 2, _rule("EXP"), _FLOAT_3, lower_unary("EXP")),
    OperatorRule("LOG", ("LOG",), 2, _rule("LOG"), _FLOAT_3, lower_unary("LOG")),
    OperatorRule("SQRT", ("SQRT",), 2, _rule("SQRT"), _FLOAT_3, lower_unary("SQRT")),
    OperatorRule("RSQRT", ("RSQRT",), 3, _rsqrt_rule, _rsqrt_tflite, lower_unary("RSQRT")),
    OperatorRule("SIN", ("SIN",), 1, _rule("SIN"), _FLOAT_3, lower_unary("SIN")),
    OperatorRule("COS", ("SUB", "SIN"), 1, _cos_rule, _FLOAT_3, None),
    OperatorRule("NEG", ("NEG",), 2, _rule("NEG"), tflite.simple(2, _NEG_TYPES, level=3), lower_unary("NEG")),
    OperatorRule("FLOOR", ("FLOOR",), 1, _rule("FLOOR"), tflite.simple(1), lower_unary("FLOOR")),
    OperatorRule("CEIL", ("NEG", "FLOOR"), 1, _ceil_rule, None, _lower_ceil),
)
