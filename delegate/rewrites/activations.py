"""Rewrites of activations: hard-swish in pieces, fused activations that NNAPI cannot fuse split off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import FuseCode, OperandCode
from nnapi_toolkit.delegate.ops.base import Case
from nnapi_toolkit.delegate.ops.elementwise import check_broadcast
from nnapi_toolkit.delegate.ops.unary import check_cosine, lower_cosine
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _hard_swish_rule(case: Case) -> None:
    """Float only: 8-bit pieces would round in between (see quantized-table)."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, TensorType.FLOAT32)
    case.operation("ADD", x)
    case.same_type(out, x)


def _lower_hard_swish(builder: ProgramBuilder, case: Case) -> None:
    """x * relu6(x + 3) / 6 in TFLite's order; before feature level 2, which brought DIV, times 1/6 (one rounding more)."""
    source, out = builder.tensor(case.input(0)), builder.tensor(case.output())

    def number(value: float) -> int:
        return builder.constant(np.array([value], np.float32), OperandCode.TENSOR_FLOAT32)

    gate, product = builder.temporary_like(source), builder.temporary_like(source)
    none = builder.int32(FuseCode.NONE)
    builder.operation("ADD", [source, number(3), builder.int32(FuseCode.RELU6)], gate)
    builder.operation("MUL", [source, gate, none], product)
    if case.level >= 2:
        builder.operation("DIV", [product, number(6), none], out)
    else:
        builder.operation("MUL", [product, number(1 / 6), none], out)


def _split_rule(case: Case) -> None:
    """int32 arithmetic, which NNAPI fuses with nothing: clamped by MAXIMUM and MINIMUM afterwards."""
    name = case.node.operator.name
    if check_broadcast(case, name) != OperandCode.TENSOR_INT32:
        case.refuse("operand-type", case.input(0), case.input(0).tensor.type.name, "INT32")
    case.need(case.fuse() != FuseCode.NONE, "fused-activation", "option fused_activation_function", "NONE", "RELU ...")


_CLAMPS = {FuseCode.RELU: (0, None), FuseCode.RELU1: (-1, 1), FuseCode.RELU6: (0, 6)}


def _lower_split(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    low, high = _CLAMPS[case.fuse()]
    result = builder.temporary_like(out)
    inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1)), builder.int32(FuseCode.NONE)]
    builder.operation(case.node.operator.name, inputs, result)

    def number(value: int) -> int:
        return builder.constant(np.array([value], np.int32), OperandCode.TENSOR_INT32)

    raised = builder.temporary_like(out) if high is not None else out
    builder.operation("MAXIMUM", [result, number(low)], raised)
    if high is not None:
        builder.operation("MINIMUM", [raised, number(high)], out)


def _gelu_rule(case: Case) -> None:
    """The tanh form in TFLite's order of operations; the exact form needs an error function."""
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.operation("MUL", x)
    case.operation("TANH", x)
    case.same_type(case.output(), x)
    case.need(bool(case.options.approximate), "option-value", "option approximate", "false", "true: NNAPI has no erf")


def _lower_gelu(builder: ProgramBuilder, case: Case) -> None:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    x, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    none = builder.int32(FuseCode.NONE)

    def apply(name: str, a: int, b: int | float, target: int | None = None) -> int:
        other = b if isinstance(b, int) else builder.constant(np.array([b], np.float32), OperandCode.TENSOR_FLOAT32)
        result = builder.temporary_like(x) if target is None else target
        builder.operation(name, [a, other, none], result)
        return result

    cube = apply("MUL", apply("MUL", apply("MUL", x, 0.044715), x), x)
    angle = apply("MUL", apply("ADD", x, cube), float(np.sqrt(np.float32(2.0) / np.float32(np.pi))))
    curve = builder.temporary_like(x)
    builder.operation("TANH", [angle], curve)
    apply("MUL", apply("MUL", x, 0.5), apply("ADD", curve, 1.0), out)


#: Abramowitz and Stegun 7.1.26: erf(z) = 1 - (a1 t + ... + a5 t^5) exp(-z^2), t = 1 / (1 + p z), for z >= 0, within 1.5e-7.
_ERF_P = 0.3275911
_ERF_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def _gelu_exact_rule(case: Case) -> None:
    """The exact form with a polynomial for the error function."""
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    case.need(not case.options.approximate, "option-value", "option approximate", "true", "false")
    for name in ("MUL", "ABS", "EXP", "DIV", "NEG"):
        case.operation(name, x)
    case.same_type(case.output(), x)


def _lower_gelu_exact(builder: ProgramBuilder, case: Case) -> None:
    """0.5 (x + |x| erf(|x| / sqrt(2)))."""
    x, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    none = builder.int32(FuseCode.NONE)

    def number(value: float) -> int:
        return builder.constant(np.array([value], np.float32), OperandCode.TENSOR_FLOAT32)

    def apply(name: str, *inputs: int, target: int | None = None) -> int:
        result = builder.temporary_like(x) if target is None else target
        fused = (none,) if name in ("ADD", "SUB", "MUL", "DIV") else ()
        builder.operation(name, [*inputs, *fused], result)
        return result

    size = apply("ABS", x)
    z = apply("MUL", size, number(0.5**0.5))
    t = apply("DIV", number(1.0), apply("ADD", apply("MUL", z, number(_ERF_P)), number(1.0)))
    total = number(_ERF_A[-1])
    for coefficient in reversed(_ERF_A[:-1]):
        total = apply("ADD", apply("MUL", total, t), number(coefficient))
    tail = apply("MUL", apply("MUL", total, t), apply("EXP", apply("NEG", apply("MUL", z, z))))
    erf = apply("SUB", number(1.0), tail)
    apply("MUL", apply("ADD", x, apply("MUL", size, erf)), number(0.5), target=out)


REWRITES = (
    Rewrite(
        "gelu-by-polynomial",
        ("GELU",),
        "exact GELU with a polynomial for erf: absolute error up to 1e-6 times x, so on request only (feature level 3)",
        False,
        _gelu_exact_rule,
        _lower_gelu_exact,
    ),
    Rewrite(
        "split-activation",
        ("ADD", "SUB", "MUL"),
        "a fused activation of int32 arithmetic as MAXIMUM and MINIMUM (feature level 4)",
        True,
        _split_rule,
        _lower_split,
    ),
    Rewrite(
        "gelu-decomposed",
        ("GELU",),
        "approximate GELU as MUL, ADD and TANH",
        True,
        _gelu_rule,
        _lower_gelu,
    ),
    Rewrite(
        "cosine-as-sine",
        ("COS",),
        "COS as SIN(pi/2 - x): absolute error up to 2^-24 (abs(x) + 2), so on request only",
        False,
        check_cosine,
        lower_cosine,
    ),
    Rewrite(
        "hard-swish-decomposed",
        ("HARD_SWISH",),
        "float HARD_SWISH as ADD with RELU6, MUL and DIV (below feature level 4)",
        True,
        _hard_swish_rule,
        _lower_hard_swish,
    ),
)
