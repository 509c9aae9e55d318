"""EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL, LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT, SELECT, SELECT_V2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.activation import lower_unary
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, OperatorRule
from nnapi_toolkit.delegate.ops.elementwise import check_broadcast, lower_pair
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _compare_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        a, b, out = case.input(0), case.input(1), case.output()
        code = case.operation(name, a)
        case.operation(name, b)
        case.same_type(b, a)
        case.typed(out, TensorType.BOOL)
        case.known_shape(out)
        try:
            np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            case.refuse("operand-shape", b, list(b.shape), f"broadcastable with {list(a.shape)}")
        if code in QUANT8:
            case.scaled(a)
            case.scaled(b)

    return rule


def _logical_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        check_broadcast(case, name)

    return rule


def _not_rule(case: Case) -> None:
    x = case.input(0, "input")
    case.operation("LOGICAL_NOT", x)
    case.same_type(case.output(), x)


def _select_rule(case: Case) -> None:
    """NNAPI: condition and both values of one shape."""
    condition, a, b, out = case.input(0, "condition"), case.input(1), case.input(2), case.output()
    case.typed(condition, TensorType.BOOL)
    case.code(condition)
    case.operation("SELECT", a)
    for operand in (b, out):
        case.same_type(operand, a)
        case.same_quantization(operand, a, "TFLite's SELECT")
    for operand in (condition, a, b):
        case.known_shape(operand)
        case.need(
            operand.shape == out.shape,
            "operand-shape",
            operand,
            list(operand.shape),
            f"{list(out.shape)}: SELECT does not broadcast",
            "rewrite broadcast-select",
        )


def _lower_select(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(i)) for i in range(3)]
    builder.operation("SELECT", inputs, builder.tensor(case.output()))


def _select_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 1, tflite.FLOAT_QUANT8_INT32)
    condition, value = case.input(0, "condition"), case.input(1)
    case.need(
        condition.shape == value.shape, "operand-shape", condition, list(condition.shape), list(value.shape)
    )


_COMPARED = tflite.FLOAT_QUANT8_INT32 | {TensorType.BOOL}
_COMPARE_TFLITE = tflite.simple(2, _COMPARED, level=3)
_LOGICAL_TFLITE = tflite.simple(1, frozenset({TensorType.BOOL}), level=3)
_VERSIONS = {"EQUAL": 5, "NOT_EQUAL": 4, "LESS": 3, "LESS_EQUAL": 2, "GREATER": 2, "GREATER_EQUAL": 3}

RULES = (
    *(
        OperatorRule(name, (name,), known, _compare_rule(name), _COMPARE_TFLITE, lower_pair(name))
        for name, known in _VERSIONS.items()
    ),
    *(
        OperatorRule(name, (name,), 1, _logical_rule(name), _LOGICAL_TFLITE, lower_pair(name))
        for name in ("LOGICAL_AND", "LOGICAL_OR")
    ),
    OperatorRule("LOGICAL_NOT", ("LOGICAL_NOT",), 1, _not_rule, _LOGICAL_TFLITE, lower_unary("LOGICAL_NOT")),
    OperatorRule("SELECT", ("SELECT",), 4, _select_rule, _select_tflite, _lower_select),
    OperatorRule("SELECT_V2", ("SELECT",), 2, _select_rule, None, _lower_select),
)
