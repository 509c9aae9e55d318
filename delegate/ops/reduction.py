"""MEAN, SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ANY, REDUCE_ALL, ARG_MAX, ARG_MIN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def axes_of(case: Case) -> list[int]:
    """Reduced axes, counted from the front, each once; a scalar axis operand counts as one axis."""
    x, operand = case.input(0, "input"), case.input(1, "axes")
    axes = sorted({case.axis(v, max(1, x.rank), operand) for v in case.integers(operand)})
    case.need(bool(axes), "operand-value", operand, "empty", "at least one axis: NNAPI reads an empty list otherwise")
    return axes


def check_reduction(case: Case, name: str, *, any_rank: bool = False) -> None:
    """The operation takes the input (or an image made of it), and the axes are known."""
    x, out = case.input(0, "input"), case.output()
    code = case.operation(name, x, any_rank=any_rank)
    case.same_type(out, x)
    case.known_shape(out)
    axes = axes_of(case)
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if not case.options.keep_dims:
        kept = [size for axis, size in enumerate(x.shape) if axis not in axes]
    case.need(list(out.shape) == kept, "operand-shape", out, list(out.shape), kept)
    if code in QUANT8:
        case.scaled(x)


def _rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        check_reduction(case, name)
        case.same_quantization(case.output(), case.input(0), name)

    return rule


def _lower(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        keep = bool(case.options.keep_dims)
        flag = builder.int32(int(keep)) if name == "MEAN" else builder.bool(keep)
        inputs = [builder.tensor(case.input(0)), builder.int32_vector(axes_of(case)), flag]
        builder.operation(name, inputs, builder.tensor(case.output()))

    return lower


def _scalar_result(case: Case) -> None:
    out = case.output()
    case.need(out.rank > 0, "operand-rank", out, "of rank 0", "of rank 1 or more")


def _mean_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8 if case.level >= 3 else tflite.FLOAT)
    _scalar_result(case)
    tflite.ranks_at_most_4(case, 0)


def _sum_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    _scalar_result(case)
    tflite.type_in(case, 0, tflite.FLOAT)


def _extremum_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    x = case.input(0)
    case.need(x.rank > 0, "operand-rank", x, "of rank 0", "of rank 1 or more")


def _any_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    _scalar_result(case)


# -- ARG_MAX, ARG_MIN -----------------------------------------------------------------------------------------------


def _arg_rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        x, out, axis = case.input(0, "input"), case.output(), case.input(1, "axis")
        case.operation(name, x)
        case.typed(out, TensorType.INT32)
        case.axis(case.integers(axis)[0], max(1, x.rank), axis)

    return rule


def _lower_arg(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        x, axis = case.input(0), case.input(1)
        number = case.axis(case.integers(axis)[0], max(1, x.rank), axis)
        builder.operation(name, [builder.tensor(x), builder.int32(number)], builder.tensor(case.output()))

    return lower


def _arg_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32 | {TensorType.FLOAT16})
    axis = case.input(1, "axis")
    if axis.tensor.type == TensorType.INT64:
        case.integers(axis)
    else:
        case.typed(axis, TensorType.INT32)
    kind = case.options.output_type
    case.need(kind == TensorType.INT32, "option-value", "option output_type", kind.name, "INT32")


def _reduce(op: str, name: str, known: int, rule: CheckFunction) -> OperatorRule:
    return OperatorRule(op, (name,), known, _rule(name), rule, _lower(name))


RULES = (
    _reduce("MEAN", "MEAN", 3, _mean_tflite),
    _reduce("SUM", "REDUCE_SUM", 2, _sum_tflite),
    _reduce("REDUCE_PROD", "REDUCE_PROD", 2, _sum_tflite),
    _reduce("REDUCE_MAX", "REDUCE_MAX", 3, _extremum_tflite),
    _reduce("REDUCE_MIN", "REDUCE_MIN", 3, _extremum_tflite),
    _reduce("REDUCE_ANY", "REDUCE_ANY", 2, _any_tflite),
    OperatorRule("REDUCE_ALL", ("REDUCE_ALL",), 2, _rule("REDUCE_ALL"), None, _lower("REDUCE_ALL")),
    OperatorRule("ARG_MAX", ("ARGMAX",), 3, _arg_rule("ARGMAX"), _arg_tflite, _lower_arg("ARGMAX")),
    OperatorRule("ARG_MIN", ("ARGMIN",), 3, _arg_rule("ARGMIN"), _arg_tflite, _lower_arg("ARGMIN")),
)
