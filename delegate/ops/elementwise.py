"""Arithmetic of two tensors: ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW, SQUARED_DIFFERENCE, FLOOR_DIV, SQUARE, ADD_N."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import (
    Case,
    CheckFunction,
    LowerFunction,
    Operand,
    OperatorRule,
    float32_product,
    is_float,
)
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def check_broadcast(case: Case, name: str) -> OperandCode:
    """Two inputs of one type that broadcast to the output, all within the ranks of the operation."""
    a, b, out = case.input(0), case.input(1), case.output()
    code = case.operation(name, a)
    case.operation(name, b)
    case.operation(name, out)
    case.same_type(b, a)
    case.same_type(out, a)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        case.refuse("operand-shape", b, f"of shape {list(b.shape)}", f"broadcastable with {list(a.shape)}")
    case.need(shape == tuple(out.shape), "operand-shape", out, f"of shape {list(out.shape)}", f"of shape {list(shape)}")
    return code


def _arithmetic_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        code = check_broadcast(case, name)
        fuse = case.fuse()
        if code == OperandCode.TENSOR_INT32:
            case.need(
                fuse == 0,
                "fused-activation",
                "option fused_activation_function",
                fuse.name,
                f"NONE for {name} of TENSOR_INT32",
                "rewrite split-activation",
            )
        if code in QUANT8:
            a, b, out = (case.scaled(o)[0] for o in (case.input(0), case.input(1), case.output()))
            if name == "MUL":
                product = float32_product(a, b)
                case.need(
                    out > product,
                    "quantization",
                    case.output(),
                    f"of scale {out:g}",
                    f"of a scale above {product:g}, the product of the input scales",
                )

    return rule


def _lower_arithmetic(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1)), builder.int32(case.fuse())]
        builder.operation(name, inputs, builder.tensor(case.output()))

    return lower


def _div_rule(case: Case) -> None:
    """Float only: NNAPI's integer division rounds down, TFLite's towards zero."""
    case.typed(case.input(0), TensorType.FLOAT32, TensorType.FLOAT16)
    _arithmetic_rule("DIV")(case)


def _extremum_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        check_broadcast(case, name)
        # TFLite compares stored numbers: right only where all three tensors share scale and zero point.
        case.same_quantization(case.input(1), case.input(0), f"TFLite's {name}")
        case.same_quantization(case.output(), case.input(0), f"TFLite's {name}")

    return rule


def _pow_rule(case: Case) -> None:
    check_broadcast(case, "POW")


def lower_pair(name: str) -> LowerFunction:
    """An operation of two inputs without further operands."""

    def lower(builder: ProgramBuilder, case: Case) -> None:
        inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1))]
        builder.operation(name, inputs, builder.tensor(case.output()))

    return lower


# -- compositions ---------------------------------------------------------------------------------------------------


def _squared_difference_rule(case: Case) -> None:
    """SUB then MUL by itself: exact for float and int32; 8-bit would round in between."""
    case.typed(case.input(0), TensorType.FLOAT32, TensorType.FLOAT16, TensorType.INT32)
    check_broadcast(case, "SUB")


def _lower_squared_difference(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    difference = builder.temporary_like(out)
    none = builder.int32(0)
    builder.operation("SUB", [builder.tensor(case.input(0)), builder.tensor(case.input(1)), none], difference)
    builder.operation("MUL", [difference, difference, none], out)


def _floor_div_rule(case: Case) -> None:
    """Float: FLOOR of DIV. int32: DIV, which rounds down in NNAPI."""
    case.typed(case.input(0), TensorType.FLOAT32, TensorType.INT32)
    check_broadcast(case, "DIV")


def _lower_floor_div(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1)), builder.int32(0)]
    if is_float(case.code(case.input(0))):
        quotient = builder.temporary_like(out)
        builder.operation("DIV", inputs, quotient)
        builder.operation("FLOOR", [quotient], out)
    else:
        builder.operation("DIV", inputs, out)


def _square_rule(case: Case) -> None:
    x = case.input(0)
    case.typed(x, TensorType.FLOAT32)
    case.operation("MUL", x)
    case.same_type(case.output(), x)


def _lower_square(builder: ProgramBuilder, case: Case) -> None:
    x = builder.tensor(case.input(0))
    builder.operation("MUL", [x, x, builder.int32(0)], builder.tensor(case.output()))


def _add_n_rule(case: Case) -> None:
    case.need(case.input_count >= 2, "operand-count", "the number of inputs", case.input_count, "2 or more")
    first = case.input(0)
    case.typed(first, TensorType.FLOAT32, TensorType.INT32)
    case.operation("ADD", first)
    case.same_type(case.output(), first)
    for position in range(1, case.input_count):
        other: Operand = case.input(position)
        case.same_type(other, first)
        case.need(other.shape == first.shape, "operand-shape", other, list(other.shape), list(first.shape))


def _lower_add_n(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    total = builder.tensor(case.input(0))
    for position in range(1, case.input_count):
        into = out if position == case.input_count - 1 else builder.temporary_like(out)
        builder.operation("ADD", [total, builder.tensor(case.input(position)), builder.int32(0)], into)
        total = into


# -- what the TFLite delegate takes ---------------------------------------------------------------------------------


def _add_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    _sum_types(case)


def _mul_tflite(case: Case) -> None:
    tflite.max_version(case, 3 if tflite.accelerator_specified(case) else 2)
    _sum_types(case)


def _sum_types(case: Case) -> None:
    if case.level >= 4:
        tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
        if tflite.tensor(case, 0).type == TensorType.INT32:
            tflite.no_activation(case)
    else:
        tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    tflite.ranks_at_most_4(case, 0, 1)


def _sub_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    kind = tflite.tensor(case, 0).type
    needs = 2 if kind in tflite.FLOAT else 3 if kind in tflite.QUANT8 else 4
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    tflite.min_level(case, needs)
    if kind == TensorType.INT32:
        tflite.no_activation(case)
    tflite.ranks_at_most_4(case, 0, 1)


def _div_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT)
    tflite.ranks_at_most_4(case, 0, 1)


def _extremum_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    for position in (0, 1):
        if case.input(position).rank == 0:
            tflite.constant(case, position)


def _squared_difference_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 2)
    if case.level >= 4:
        tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    elif case.level >= 3:
        tflite.type_in(case, 0, tflite.FLOAT_UINT8)
    else:
        tflite.type_in(case, 0, tflite.FLOAT)
    tflite.ranks_at_most_4(case, 0, 1)


RULES = (
    OperatorRule("ADD", ("ADD",), 5, _arithmetic_rule("ADD"), _add_tflite, _lower_arithmetic("ADD")),
    OperatorRule("SUB", ("SUB",), 5, _arithmetic_rule("SUB"), _sub_tflite, _lower_arithmetic("SUB")),
    OperatorRule("MUL", ("MUL",), 7, _arithmetic_rule("MUL"), _mul_tflite, _lower_arithmetic("MUL")),
    OperatorRule("DIV", ("DIV",), 2, _div_rule, _div_tflite, _lower_arithmetic("DIV")),
    OperatorRule("MAXIMUM", ("MAXIMUM",), 4, _extremum_rule("MAXIMUM"), _extremum_tflite, lower_pair("MAXIMUM")),
    OperatorRule("MINIMUM", ("MINIMUM",), 4, _extremum_rule("MINIMUM"), _extremum_tflite, lower_pair("MINIMUM")),
    OperatorRule("POW", ("POW",), 1, _pow_rule, tflite.simple(1, tflite.FLOAT, level=3), lower_pair("POW")),
    OperatorRule(
        "SQUARED_DIFFERENCE",
        ("SUB", "MUL"),
        2,
        _squared_difference_rule,
        _squared_difference_tflite,
        _lower_squared_difference,
    ),
    OperatorRule("FLOOR_DIV", ("DIV", "FLOOR"), 3, _floor_div_rule, None, _lower_floor_div),
    OperatorRule("SQUARE", ("MUL",), 1, _square_rule, None, _lower_square),
    OperatorRule("ADD_N", ("ADD",), 1, _add_n_rule, None, _lower_add_n),
)
