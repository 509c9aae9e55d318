"""PAD, PADV2, MIRROR_PAD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import MirrorPadMode, TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def paddings(case: Case) -> list[int]:
    """The constant paddings, two for each dimension; refuses other counts and shapes that do not fit the output."""
    x, out, operand = case.input(0, "input"), case.output(), case.input(1, "paddings")
    values = case.integers(operand)
    case.need(len(values) == 2 * x.rank, "operand-shape", operand, f"{len(values)} values", f"{2 * x.rank} values")
    case.need(min(values, default=0) >= 0, "operand-value", operand, values, "no negative padding")
    wanted = [size + values[2 * axis] + values[2 * axis + 1] for axis, size in enumerate(x.shape)]
    case.need(list(out.shape) == wanted, "operand-shape", out, list(out.shape), wanted)
    return values


def check_pad(case: Case, name: str) -> None:
    """The operation takes the input, and the paddings are known."""
    x, out = case.input(0, "input"), case.output()
    case.operation(name, x)
    case.need(x.rank >= 1, "operand-rank", x, "of rank 0", "of rank 1 or more")
    case.same_type(out, x)
    case.same_quantization(out, x, name)
    case.known_shape(out)
    paddings(case)


def _pad_rule(case: Case) -> None:
    """NNAPI: PAD from feature level 2 (8-bit with a zero point from 3); with a value PAD_V2 from 3."""
    if case.has_input(2):
        _pad_v2_rule(case)
        return
    check_pad(case, "PAD")
    x = case.input(0)
    if case.level < 3 and case.code(x) in QUANT8 and case.has_zero_point(x):
        case.need_level(3, "padding of 8-bit tensors with a zero point", x)


def _pad_v2_rule(case: Case) -> None:
    check_pad(case, "PAD_V2")
    check_value(case, "PAD_V2")


def check_value(case: Case, name: str) -> None:
    """What is padded with: one constant of the input's type and scale."""
    value = case.input(2, "constant_values")
    case.same_type(value, case.input(0))
    case.need(case.constant(value).size == 1, "operand-shape", value, list(value.shape), "a single value")
    if case.code(value) in QUANT8:
        case.same_quantization(value, case.input(0), name)


def _lower_pad(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(0)
    source = builder.tensor(x)
    amounts = builder.int32_matrix(paddings(case), 2)
    if not case.has_input(2):
        builder.operation("PAD", [source, amounts], builder.tensor(case.output()))
        return
    value = case.constant(case.input(2)).reshape(-1)[0]
    code = case.code(x)
    if code in QUANT8:
        scalar = builder.int32(int(value) + (128 if builder.is_shifted(x.tensor) else 0))
    else:
        scalar = builder.float_like(float(value), code)
    builder.operation("PAD_V2", [source, amounts, scalar], builder.tensor(case.output()))


def _pad_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    tflite.min_level(case, 2)
    x = case.input(0)
    case.need(0 not in x.shape, "empty-tensor", x, list(x.shape), "without a zero dimension")
    case.need(case.input_count >= 2, "operand-count", "the number of inputs", case.input_count, "2 or 3")
    if case.input_count == 3:
        tflite.min_level(case, 3)
    elif case.level < 3:
        tflite.type_in(case, 0, tflite.FLOAT)


def _mirror_rule(case: Case) -> None:
    """NNAPI: feature level 7."""
    check_pad(case, "MIRROR_PAD")
    x, edge = case.input(0), 1 if case.options.mode == MirrorPadMode.REFLECT else 0
    for axis, size in enumerate(x.shape):
        most = max(paddings(case)[2 * axis : 2 * axis + 2])
        case.need(most <= size - edge, "operand-value", case.input(1, "paddings"), most, f"at most {size - edge}")


def _lower_mirror(builder: ProgramBuilder, case: Case) -> None:
    mode = builder.int32(0 if case.options.mode == MirrorPadMode.REFLECT else 1)
    inputs = [builder.tensor(case.input(0)), builder.int32_matrix(paddings(case), 2), mode]
    builder.operation("MIRROR_PAD", inputs, builder.tensor(case.output()))


def _mirror_tflite(case: Case) -> None:
    case.need(case.options.present, "option-value", "option mode", "missing", "REFLECT or SYMMETRIC")
    tflite.max_version(case, 2)
    tflite.min_level(case, 7)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8 | {TensorType.INT32})
    x = case.input(0)
    case.need(0 not in x.shape, "empty-tensor", x, list(x.shape), "without a zero dimension")
    tflite.input_count(case, 2)


RULES = (
    OperatorRule("PAD", ("PAD", "PAD_V2"), 6, _pad_rule, _pad_tflite, _lower_pad),
    OperatorRule("PADV2", ("PAD_V2", "PAD"), 6, _pad_rule, _pad_tflite, _lower_pad),
    OperatorRule("MIRROR_PAD", ("MIRROR_PAD",), 3, _mirror_rule, _mirror_tflite, _lower_mirror),
)
