"""RELU, RELU_N1_TO_1, RELU6, RELU_0_TO_1, LOGISTIC, TANH, HARD_SWISH, ELU, PRELU, LEAKY_RELU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, OperatorRule
from nnapi_toolkit.delegate.ops.elementwise import check_broadcast, lower_pair
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def lower_unary(name: str) -> LowerFunction:
    """An operation of one input without further operands."""

    def lower(builder: ProgramBuilder, case: Case) -> None:
        builder.operation(name, [builder.tensor(case.input(0))], builder.tensor(case.output()))

    return lower


def _relu_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        x, out = case.input(0, "input"), case.output()
        code = case.operation(name, x)
        case.same_type(out, x)
        case.same_quantization(out, x, name)
        if code in QUANT8:
            case.scaled(x)

    return rule


def _logistic_rule(case: Case) -> None:
    """NNAPI: 8-bit results in steps of 1/256."""
    x, out = case.input(0, "input"), case.output()
    if case.operation("LOGISTIC", x) in QUANT8:
        case.scaled(x)
    case.same_type(out, x)
    case.fixed_quantization(out, 1 / 256, signed=-128, unsigned=0, what="LOGISTIC")


def _tanh_rule(case: Case) -> None:
    """NNAPI: 8-bit from feature level 3, results in steps of 1/128."""
    x, out = case.input(0, "input"), case.output()
    if case.operation("TANH", x) in QUANT8:
        case.scaled(x)
    case.same_type(out, x)
    case.fixed_quantization(out, 1 / 128, signed=0, unsigned=128, what="TANH")


def _tanh_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT if case.level < 3 else tflite.FLOAT_QUANT8)


def _hard_swish_rule(case: Case) -> None:
    """NNAPI: feature level 4."""
    x, out = case.input(0, "input"), case.output()
    if case.operation("HARD_SWISH", x) in QUANT8:
        case.scaled(x)
        case.scaled(out)
    case.same_type(out, x)


def _elu_rule(case: Case) -> None:
    """NNAPI: float, feature level 4."""
    x = case.input(0, "input")
    case.operation("ELU", x)
    case.same_type(case.output(), x)


def _lower_elu(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(0)
    inputs = [builder.tensor(x), builder.float_like(1.0, case.code(x))]
    builder.operation("ELU", inputs, builder.tensor(case.output()))


def _prelu_rule(case: Case) -> None:
    code = check_broadcast(case, "PRELU")
    if code in QUANT8:
        for operand in (case.input(0), case.input(1), case.output()):
            case.scaled(operand)


def _leaky_relu_rule(case: Case) -> None:
    """PRELU with a constant; 8-bit would round otherwise than TFLite's LEAKY_RELU."""
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("PRELU", x)
    case.same_type(case.output(), x)


def _lower_leaky_relu(builder: ProgramBuilder, case: Case) -> None:
    alpha = builder.constant(np.array([case.options.alpha], np.float32), OperandCode.TENSOR_FLOAT32)
    builder.operation("PRELU", [builder.tensor(case.input(0)), alpha], builder.tensor(case.output()))


def _relu_0_to_1_rule(case: Case) -> None:
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("MAXIMUM", x)
    case.same_type(case.output(), x)


def _lower_relu_0_to_1(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    low, high = (builder.constant(np.array([v], np.float32), OperandCode.TENSOR_FLOAT32) for v in (0, 1))
    positive = builder.temporary_like(out)
    builder.operation("MAXIMUM", [builder.tensor(case.input(0)), low], positive)
    builder.operation("MINIMUM", [positive, high], out)


_SIMPLE = tflite.simple(2, tflite.FLOAT_QUANT8)
_RELU_LIKE = tflite.simple(1, tflite.FLOAT_QUANT8, level=3)

RULES = (
    OperatorRule("RELU", ("RELU",), 3, _relu_rule("RELU"), _SIMPLE, lower_unary("RELU")),
    OperatorRule("RELU_N1_TO_1", ("RELU1",), 3, _relu_rule("RELU1"), _SIMPLE, lower_unary("RELU1")),
    OperatorRule("RELU6", ("RELU6",), 3, _relu_rule("RELU6"), _SIMPLE, lower_unary("RELU6")),
    OperatorRule("RELU_0_TO_1", ("MAXIMUM", "MINIMUM"), 1, _relu_0_to_1_rule, None, _lower_relu_0_to_1),
    OperatorRule("LOGISTIC", ("LOGISTIC",), 3, _logistic_rule, _SIMPLE, lower_unary("LOGISTIC")),
    OperatorRule("TANH", ("TANH",), 3, _tanh_rule, _tanh_tflite, lower_unary("TANH")),
    OperatorRule(
        "HARD_SWISH",
        ("HARD_SWISH",),
        1,
        _hard_swish_rule,
        tflite.simple(None, tflite.FLOAT_QUANT8),
        lower_unary("HARD_SWISH"),
    ),
    OperatorRule("ELU", ("ELU",), 1, _elu_rule, tflite.simple(1, tflite.FLOAT, level=4), _lower_elu),
    OperatorRule("PRELU", ("PRELU",), 1, _prelu_rule, _RELU_LIKE, lower_pair("PRELU")),
    OperatorRule("LEAKY_RELU", ("PRELU",), 2, _leaky_relu_rule, _RELU_LIKE, _lower_leaky_relu),
)
