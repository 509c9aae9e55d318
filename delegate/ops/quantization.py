"""QUANTIZE, DEQUANTIZE, CAST, DENSIFY."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    OperatorRule("CAST", ("CAST",), 9, _cast_rule, _cast_tflite, _lower_cast),
)
