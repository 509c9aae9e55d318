"""QUANTIZE, DEQUANTIZE, CAST, FAKE_QUANT, DENSIFY."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import QUANT8, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


# -- QUANTIZE -------------------------------------------------------------------------------------------------------


def is_relabelling(case: Case) -> bool:
    """True for 8-bit to 8-bit with equal scales and zero points that differ as the types do: same values, other bytes."""
    x, out = case.input(0, "input"), case.output()
    bias = {TensorType.UINT8: 128, TensorType.INT8: 0}
    if x.tensor.type not in bias or out.tensor.type not in bias:
        return False
    (scale, zero_point), (out_scale, out_zero_point) = case.scaled(x), case.scaled(out)
    return scale == out_scale and zero_point - bias[x.tensor.type] == out_zero_point - bias[out.tensor.type]


def _quantize_rule(case: Case) -> None:
    """float32 to 8 bits; between uint8 and int8 where only the zero point moves (DEQUANTIZE, QUANTIZE: exact)."""
    x, out = case.input(0, "input"), case.output()
    case.typed(out, TensorType.UINT8, TensorType.INT8)
    case.scaled(out)
    if x.tensor.type in (TensorType.UINT8, TensorType.INT8):
        case.need(
            is_relabelling(case),
            "quantization",
            out,
            "of another scale or shifted",
            "of the input's real values: requantising through float rounds otherwise than TFLite",
            "rewrite quantized-table",
        )
        if case.code(x) == case.code(out):
            case.operation("RESHAPE", x)
            return
        case.operation("DEQUANTIZE", x)
    else:
        case.operation("QUANTIZE", x)
    case.need_level(3, "QUANTIZE")
    code = case.code(out)
    case.known_shape(out)
    if code == OperandCode.TENSOR_QUANT8_ASYMM_SIGNED:
        case.need_level(4, "TENSOR_QUANT8_ASYMM_SIGNED", out)


def _lower_quantize(builder: ProgramBuilder, case: Case) -> None:
    x, out = case.input(0), case.output()
    source, target = builder.tensor(x), builder.tensor(out)
    if case.code(x) not in QUANT8:
        builder.operation("QUANTIZE", [source], target)
    elif case.code(x) == case.code(out):
        builder.operation("RESHAPE", [source, builder.int32_vector(out.shape or (1,))], target)
    else:
        real = builder.temporary(OperandCode.TENSOR_FLOAT32, x.shape)
        builder.operation("DEQUANTIZE", [source], real)
        builder.operation("QUANTIZE", [real], target)


def _quantize_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    x, out = case.input(0), case.output()
    if x.tensor.type in tflite.QUANT8:
        scale = tflite.legacy_scale(x.tensor)
        case.need(scale > 0, "quantization", x, f"of scale {scale:g}", "of a positive scale")
    kinds = tflite.QUANT8 if case.level >= 4 else frozenset({TensorType.UINT8})
    tflite.output_type_in(case, kinds)
    scale = tflite.legacy_scale(out.tensor)
    case.need(scale > 0, "quantization", out, f"of scale {scale:g}", "of a positive scale")


# -- DEQUANTIZE -----------------------------------------------------------------------------------------------------


def _dequantize_rule(case: Case) -> None:
    """8 bits to float32; float16 computed at run time becomes CAST."""
    x, out = case.input(0, "input"), case.output()
    case.typed(out, TensorType.FLOAT32)
    case.known_shape(out)
    if x.tensor.type == TensorType.FLOAT16:
        case.need(
            not x.is_constant, "constant-operand", x, "a constant", "folded", "rewrite constant-folding"
        )
        case.operation("CAST", x)
        return
    case.typed(x, TensorType.UINT8, TensorType.INT8)
    case.scaled(x)
    case.operation("DEQUANTIZE", x)


def _lower_dequantize(builder: ProgramBuilder, case: Case) -> None:
    name = "CAST" if case.input(0).tensor.type == TensorType.FLOAT16 else "DEQUANTIZE"
    builder.operation(name, [builder.tensor(case.input(0))], builder.tensor(case.output()))


def _dequantize_tflite(case: Case) -> None:
    x = case.input(0, "input")
    kind = x.tensor.type
    if case.level >= 4 and kind == TensorType.FLOAT16 and not x.is_constant:
        return
    tflite.max_version(case, 2)
    if case.level < 3:
        tflite.type_in(case, 0, frozenset({TensorType.UINT8}))
        return
    tflite.type_in(case, 0, tflite.QUANT8)
    if case.level == 3 and kind == TensorType.INT8:
        zero_point = tflite.legacy_zero_point(x.tensor)
        case.need(zero_point == 0, "quantization", x, f"of zero point {zero_point}", "symmetric", "feature level 4")


# -- CAST -----------------------------------------------------------------------------------------------------------

#: Types that NNAPI casts to each other; 8-bit ones as plain integers, so uint8 only.
_CASTABLE = (TensorType.FLOAT32, TensorType.INT32, TensorType.UINT8, TensorType.FLOAT16)


def _cast_rule(case: Case) -> None:
    """NNAPI: feature level 3; int8 and bool only to themselves."""
    x, out = case.input(0, "input"), case.output()
    case.operation("CAST", x)
    if x.tensor.type != out.tensor.type:
        case.typed(x, *_CASTABLE)
        case.typed(out, *_CASTABLE)
    case.code(out)
    if out.tensor.type == TensorType.UINT8:
        # NNAPI saturates where TFLite wraps: equal only for what is certainly within 0 to 255.
        case.typed(x, TensorType.UINT8)


def _lower_cast(builder: ProgramBuilder, case: Case) -> None:
    builder.operation("CAST", [builder.tensor(case.input(0))], builder.tensor(case.output()))


def _cast_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    kinds = frozenset({TensorType.FLOAT32, TensorType.INT32, TensorType.UINT8})
    if case.level >= 4:
        kinds |= {TensorType.INT8}
    tflite.type_in(case, 0, kinds)
    tflite.output_type_in(case, kinds)


# -- FAKE_QUANT -----------------------------------------------------------------------------------------------------

#: The largest float below 1/2: floor(x + this) is x >= 0 rounded, ties upwards, where x + 1/2 would be rounded up first.
_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of FAKE_QUANT, in float32 as LiteRT's kernel has them: from `low` to `high` in steps of `scale`."""

    low: np.float32
    high: np.float32
    scale: np.float32


def fake_quant_steps(case: Case) -> Steps:
    """Moves the range so that 0 is a step; refuses ranges and numbers of bits that the operator does not have."""
    o = case.options
    case.need(2 <= o.num_bits <= 16, "option-value", "option num_bits", o.num_bits, "2 to 16")
    case.need(not o.narrow_range, "option-value", "option narrow_range", "true", "false")
    case.need(o.min <= 0 <= o.max and o.min < o.max, "option-value", "option min, max", (o.min, o.max), "a range around 0")
    low, high, top = np.float32(o.min), np.float32(o.max), np.float32((1 << o.num_bits) - 1)
    scale = np.float32((high - low) / top)
    with np.errstate(divide="ignore", over="ignore"):
        fits = bool(scale > 0 and np.isfinite(scale) and np.isfinite(np.float32(1) / scale))
    case.need(fits, "option-value", "option min, max", (o.min, o.max), "a range with steps that float32 can tell apart")
    zero_point = np.float32(min(max(np.floor(float(-low / scale) + 0.5), 0.0), float(top)))
    return Steps(np.float32(-zero_point * scale), np.float32((top - zero_point) * scale), scale)


def _fake_quant_rule(case: Case) -> None:
    """The kernel's own float32 operations one by one (feature level 3): the same bits. QUANTIZE and DEQUANTIZE would round ties of
    negative numbers the other way."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, TensorType.FLOAT32)
    case.typed(out, TensorType.FLOAT32)
    for name in ("MAXIMUM", "SUB", "FLOOR"):
        case.operation(name, x)
    fake_quant_steps(case)


def _lower_fake_quant(builder: ProgramBuilder, case: Case) -> None:
    """clamp, SUB, MUL, round, MUL, ADD."""
    steps, none = fake_quant_steps(case), builder.int32(0)

    def number(value: np.float32) -> int:
        return builder.constant(np.array([value], np.float32), OperandCode.TENSOR_FLOAT32)

    low, scale = number(steps.low), number(steps.scale)
    current, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    for name, operands in (
        ("MAXIMUM", [low]),
        ("MINIMUM", [number(steps.high)]),
        ("SUB", [low, none]),
        ("MUL", [number(np.float32(1) / steps.scale), none]),
        ("ADD", [number(_BELOW_HALF), none]),
        ("FLOOR", []),
        ("MUL", [scale, none]),
    ):
        made = builder.temporary_like(out)
        builder.operation(name, [current, *operands], made)
        current = made
    builder.operation("ADD", [current, low, none], out)


# -- DENSIFY --------------------------------------------------------------------------------------------------------


def _densify_rule(case: Case) -> None:
    """No operation: a sparse constant is made dense while planning."""
    case.refuse(
        "constant-operand", case.input(0, "input"), "not folded", "folded into a dense constant", "rewrite constant-folding"
    )


def _densify_tflite(case: Case) -> None:
    tflite.min_level(case, 4)
    tflite.constant(case, 0)


RULES = (
    OperatorRule("QUANTIZE", ("QUANTIZE", "DEQUANTIZE"), 6, _quantize_rule, _quantize_tflite, _lower_quantize),
    OperatorRule("DEQUANTIZE", ("DEQUANTIZE", "CAST"), 9, _dequantize_rule, _dequantize_tflite, _lower_dequantize),
    OperatorRule("DENSIFY", (), 1, _densify_rule, _densify_tflite, None),
    OperatorRule("FAKE_QUANT", ("MAXIMUM", "MINIMUM", "SUB", "MUL", "ADD", "FLOOR"), 2, _fake_quant_rule, None, _lower_fake_quant),
    OperatorRule("CAST", ("CAST",), 9, _cast_rule, _cast_tflite, _lower_cast),
)
