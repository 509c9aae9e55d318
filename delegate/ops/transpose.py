"""TRANSPOSE, REVERSE_V2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def permutation(case: Case) -> list[int]:
    """The constant permutation, counted from the front."""
    x, operand = case.input(0, "input"), case.input(1, "perm")
    values = [case.axis(v, x.rank, operand) for v in case.integers(operand)]
    case.need(sorted(values) == list(range(x.rank)), "operand-value", operand, values, f"a permutation of {x.rank} axes")
    return values


def _transpose_rule(case: Case) -> None:
    """NNAPI: feature level 2, a constant permutation."""
    x, out = case.input(0, "input"), case.output()
    case.operation("TRANSPOSE", x)
    case.need(x.rank >= 1, "operand-rank", x, "of rank 0", "of rank 1 to 4")
    case.same_type(out, x)
    case.same_quantization(out, x, "TRANSPOSE")
    order = permutation(case)
    wanted = [x.shape[axis] for axis in order]
    case.need(list(out.shape) == wanted, "operand-shape", out, list(out.shape), wanted)


def _lower_transpose(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.int32_vector(permutation(case))]
    builder.operation("TRANSPOSE", inputs, builder.tensor(case.output()))


def _transpose_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 2)
    case.need(case.input_count > 1, "operand-count", "the number of inputs", case.input_count, "2")
    tflite.constant(case, 1)


def _axes(case: Case) -> list[int]:
    x, operand = case.input(0, "input"), case.input(1, "axis")
    return sorted({case.axis(v, x.rank, operand) for v in case.integers(operand)})


def _reverse_rule(case: Case) -> None:
    """NNAPI: feature level 7, one axis an operation; several axes are several operations."""
    x, out = case.input(0, "input"), case.output()
    case.operation("REVERSE", x)
    case.same_type(out, x)
    case.same_quantization(out, x, "REVERSE")
    case.need(bool(_axes(case)), "operand-value", case.input(1, "axis"), "empty", "at least one axis")


def _lower_reverse(builder: ProgramBuilder, case: Case) -> None:
    axes = _axes(case)
    source, out = builder.tensor(case.input(0)), builder.tensor(case.output())
    for axis in axes:
        into = out if axis == axes[-1] else builder.temporary_like(source)
        builder.operation("REVERSE", [source, builder.int32_vector([axis])], into)
        source = into


def _reverse_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    tflite.min_level(case, 7)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8 | {TensorType.INT32})
    tflite.input_count(case, 2)


RULES = (
    OperatorRule("TRANSPOSE", ("TRANSPOSE",), 8, _transpose_rule, _transpose_tflite, _lower_transpose),
    OperatorRule("REVERSE_V2", ("REVERSE",), 4, _reverse_rule, _reverse_tflite, _lower_reverse),
)
