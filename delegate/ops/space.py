"""SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, OperatorRule

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _check(case: Case, name: str) -> None:
    x, out = case.input(0, "input"), case.output()
    case.operation(name, x)
    case.same_type(out, x)
    case.same_quantization(out, x, name)
    case.known_shape(out)
    case.ranks(out, 4, 4, name)


def _depth_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        _check(case, name)
        case.positive("block_size")
        x, out, block = case.input(0).shape, case.output().shape, case.options.block_size
        deep, wide = (x, out) if name == "DEPTH_TO_SPACE" else (out, x)
        case.need(
            deep[3] == wide[3] * block * block and wide[1:3] == (deep[1] * block, deep[2] * block),
            "operand-shape",
            case.output(),
            list(out),
            f"of the input's {list(x)} moved by blocks of {block}",
        )

    return rule


def _lower_depth(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        inputs = [builder.tensor(case.input(0)), builder.int32(case.options.block_size)]
        builder.operation(name, inputs, builder.tensor(case.output()))

    return lower


def _block(case: Case) -> list[int]:
    operand = case.input(1, "block_shape")
    values = case.integers(operand)
    case.need(len(values) == 2 and min(values) >= 1, "operand-value", operand, values, "two positive numbers")
    return values


def crops(case: Case) -> list[int]:
    """The crops (or paddings), two for each of height and width."""
    operand = case.input(2, "crops")
    values = case.integers(operand)
    case.need(len(values) == 4 and min(values) >= 0, "operand-value", operand, values, "four numbers of at least 0")
    return values


def _space_to_batch_rule(case: Case) -> None:
    """NNAPI: rank 4; 8-bit with a zero point from feature level 3."""
    _check(case, "SPACE_TO_BATCH_ND")
    _block(case)
    crops(case)
    x = case.input(0)
    if case.level < 3 and case.code(x) in QUANT8 and case.has_zero_point(x):
        case.need_level(3, "padding of 8-bit tensors with a zero point", x)


def _lower_space_to_batch(builder: ProgramBuilder, case: Case) -> None:
    inputs = [
        builder.tensor(case.input(0)),
        builder.int32_vector(_block(case)),
        builder.int32_matrix(crops(case), 2),
    ]
    builder.operation("SPACE_TO_BATCH_ND", inputs, builder.tensor(case.output()))


def check_batch_to_space(case: Case) -> None:
    """All but the crops."""
    _check(case, "BATCH_TO_SPACE_ND")
    block = _block(case)
    batch = case.input(0).shape[0]
    case.need(
        batch % (block[0] * block[1]) == 0, "operand-shape", case.input(0), batch, f"a multiple of {block[0] * block[1]}"
    )
    crops(case)


def _batch_to_space_rule(case: Case) -> None:
    """NNAPI: rank 4, no crops."""
    check_batch_to_space(case)
    case.need(
        not any(crops(case)), "operand-value", case.input(2, "crops"), crops(case), "all 0", "rewrite crops-as-slice"
    )


def emit_batch_to_space(builder: ProgramBuilder, case: Case, target: int) -> None:
    """Adds BATCH_TO_SPACE_ND without crops."""
    inputs = [builder.tensor(case.input(0)), builder.int32_vector(_block(case))]
    builder.operation("BATCH_TO_SPACE_ND", inputs, target)


def _lower_batch_to_space(builder: ProgramBuilder, case: Case) -> None:
    emit_batch_to_space(builder, case, builder.tensor(case.output()))


def block_shape(case: Case) -> list[int]:
    """Block height and width."""
    return _block(case)


def _batch_to_space_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 2)
    operand = case.input(2, "crops")
    tensor = operand.tensor
    zero = (
        operand.is_constant
        and tensor.data is not None
        and tensor.byte_size == 16
        and not any(tensor.data.reshape(-1).view("int32"))
    )
    case.need(zero, "operand-value", operand, "not four zeros", "four constant zeros")


_MOVED = tflite.FLOAT_QUANT8
_TO_DEPTH, _TO_SPACE = "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"

RULES = (
    OperatorRule(
        _TO_DEPTH, (_TO_DEPTH,), 2, _depth_rule(_TO_DEPTH), tflite.simple(2, _MOVED), _lower_depth(_TO_DEPTH)
    ),
    OperatorRule(
        _TO_SPACE, (_TO_SPACE,), 2, _depth_rule(_TO_SPACE), tflite.simple(None, _MOVED), _lower_depth(_TO_SPACE)
    ),
    OperatorRule(
        "SPACE_TO_BATCH_ND",
        ("SPACE_TO_BATCH_ND",),
        4,
        _space_to_batch_rule,
        tflite.simple(2, level=2),
        _lower_space_to_batch,
    ),
    OperatorRule(
        "BATCH_TO_SPACE_ND",
        ("BATCH_TO_SPACE_ND",),
        4,
        _batch_to_space_rule,
        _batch_to_space_tflite,
        _lower_batch_to_space,
    ),
)
