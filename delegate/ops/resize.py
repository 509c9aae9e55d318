"""RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _check(case: Case, name: str) -> None:
    x, out = case.input(0, "input"), case.output()
    case.operation(name, x)
    case.same_type(out, x)
    case.known_shape(out)
    case.ranks(out, 4, 4, name)
    case.same_quantization(out, x, name)
    case.integers(case.input(1, "size"))
    o = case.options
    if o.align_corners or o.half_pixel_centers:
        flag = "align_corners" if o.align_corners else "half_pixel_centers"
        case.need_level(4, f"{flag} of {name}", f"option {flag}")
    case.need(
        not (o.align_corners and o.half_pixel_centers),
        "option-value",
        "option align_corners, half_pixel_centers",
        "both true",
        "at most one of them",
    )


def _bilinear_rule(case: Case) -> None:
    """NNAPI: 8-bit from feature level 3. The int8 kernel rounds otherwise than the uint8 one: no int8 as uint8."""
    _check(case, "RESIZE_BILINEAR")
    x, out = case.input(0), case.output()
    if x.tensor.type == TensorType.INT8:
        case.need_level(4, "TENSOR_QUANT8_ASYMM_SIGNED for RESIZE_BILINEAR (the uint8 form rounds otherwise)", x)
    if case.level < 3:
        case.need(
            out.shape[1] == out.shape[2],
            "operand-shape",
            out,
            list(out.shape),
            "as high as wide below feature level 3, where drivers disagree on the order of width and height",
            "feature level 3",
        )


def _nearest_rule(case: Case) -> None:
    """NNAPI: feature level 3."""
    _check(case, "RESIZE_NEAREST_NEIGHBOR")


def _lower(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        o, out = case.options, case.output()
        inputs = [builder.tensor(case.input(0)), builder.int32(out.shape[2]), builder.int32(out.shape[1])]
        flags = bool(o.align_corners or o.half_pixel_centers)
        if flags or name == "RESIZE_NEAREST_NEIGHBOR":
            inputs.append(builder.bool(False))
        if flags:
            inputs += [builder.bool(o.align_corners), builder.bool(o.half_pixel_centers)]
        builder.operation(name, inputs, builder.tensor(out), since=4 if flags else 1)

    return lower


def _tflite(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        bilinear = name == "RESIZE_BILINEAR"
        tflite.max_version(case, 3)
        if bilinear:
            x = case.input(0)
            case.need(x.rank == 4, "operand-rank", x, f"of rank {x.rank}", "of rank 4")
        else:
            tflite.min_level(case, 3)
        tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
        case.need(case.input_count >= 2, "operand-count", "the number of inputs", case.input_count, "2")
        tflite.constant(case, 1)
        if bilinear and case.level < 3:
            out = case.output()
            case.need(out.shape[1] == out.shape[2], "operand-shape", out, list(out.shape), "as high as wide")
            tflite.type_in(case, 0, tflite.FLOAT)
        if case.level <= 3:
            for flag in ("align_corners", "half_pixel_centers"):
                case.need(not getattr(case.options, flag), "option-value", f"option {flag}", "true", "false", "feature level 4")

    return rule


RULES = tuple(
    OperatorRule(name, (name,), 4, rule, _tflite(name), _lower(name))
    for name, rule in (("RESIZE_BILINEAR", _bilinear_rule), ("RESIZE_NEAREST_NEIGHBOR", _nearest_rule))
)
