"""RESHAPE, SQUEEZE, EXPAND_DIMS."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def check_reshape(case: Case, position: int = 0) -> None:
    """Input and output can be those of NNAPI's RESHAPE: same bytes, same quantisation, ranks up to 4."""
    x, out = case.input(position, "input"), case.output()
    case.operation("RESHAPE", x)
    case.same_type(out, x)
    case.known_shape(out)
    case.ranks(out, 1, 4, "RESHAPE")
    case.same_quantization(out, x, "RESHAPE")
    case.need(
        prod(x.shape) == prod(out.shape), "operand-shape", out, list(out.shape), f"a shape of {prod(x.shape)} elements"
    )


def emit_reshape(builder: ProgramBuilder, case: Case, position: int = 0) -> None:
    """Adds RESHAPE from an input to output 0; the output's shape is known, whatever the shape operand says."""
    x, out = case.input(position), case.output()
    inputs = [builder.tensor(x), builder.int32_vector(out.shape or (1,))]
    builder.operation("RESHAPE", inputs, builder.tensor(out))


def _rule(case: Case) -> None:
    """NNAPI: int32 from feature level 6; the new shape must not depend on the input's values."""
    check_reshape(case)
    if case.has_input(1):
        case.integers(case.input(1, "shape"))


def _lower(builder: ProgramBuilder, case: Case) -> None:
    emit_reshape(builder, case)


def _tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8 if case.level < 6 else tflite.FLOAT_QUANT8_INT32)
    tflite.ranks_at_most_4(case, 0)
    out = case.output()
    case.need(out.rank <= 4, "operand-rank", out, f"of rank {out.rank}", "of rank 4 or less")
    if case.input_count >= 2:
        tflite.constant(case, 1)
    if case.input_count == 1:
        shape = list(case.options.new_shape if case.options.new_shape is not None else ())
        dims = 0 if shape == [0] else len(shape)
        case.need(dims > 0, "option-value", "option new_shape", shape, "of rank 1 or more")


# -- SQUEEZE --------------------------------------------------------------------------------------------------------


def _squeezed(case: Case) -> list[int]:
    """Axes that are dropped, counted from the front."""
    x = case.input(0, "input")
    given = case.options.squeeze_dims
    dims = [int(d) for d in given] if given is not None else []
    axes = sorted({case.axis(d, x.rank, "option squeeze_dims") for d in dims})
    if not axes:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    for axis in axes:
        case.need(x.shape[axis] == 1, "option-value", "option squeeze_dims", axis, f"an axis of size 1 of {list(x.shape)}")
    return axes


def _squeeze_rule(case: Case) -> None:
    """NNAPI: feature level 2."""
    x, out = case.input(0, "input"), case.output()
    case.operation("SQUEEZE", x)
    case.same_type(out, x)
    case.same_quantization(out, x, "SQUEEZE")
    axes = _squeezed(case)
    shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
    case.need(list(out.shape) == shape, "operand-shape", out, list(out.shape), shape)
    case.need(
        bool(axes) and bool(shape),
        "option-value",
        "option squeeze_dims",
        axes,
        "some but not all axes: NNAPI has no tensor of rank 0",
        "rewrite squeeze-as-reshape",
    )


def _lower_squeeze(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.int32_vector(_squeezed(case))]
    builder.operation("SQUEEZE", inputs, builder.tensor(case.output()))


def _squeeze_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 2)
    dims = case.options.squeeze_dims
    if case.level == 2:
        case.need(
            dims is not None and len(dims) > 0,
            "option-value",
            "option squeeze_dims",
            "empty",
            "not empty",
            "feature level 3",
        )


# -- EXPAND_DIMS ----------------------------------------------------------------------------------------------------


def _expand_axis(case: Case) -> int:
    axis = case.input(1, "axis")
    return case.axis(case.integers(axis)[0], case.input(0).rank, axis, end=1)


def _expand_rule(case: Case) -> None:
    """NNAPI: feature level 3, a constant axis."""
    x, out = case.input(0, "input"), case.output()
    case.operation("EXPAND_DIMS", x)
    case.need(x.rank >= 1, "operand-rank", x, "of rank 0", "of rank 1 or more", "rewrite expand-dims-as-reshape")
    case.same_type(out, x)
    case.same_quantization(out, x, "EXPAND_DIMS")
    _expand_axis(case)


def _lower_expand(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.int32(_expand_axis(case))]
    builder.operation("EXPAND_DIMS", inputs, builder.tensor(case.output()))


def _expand_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32 | {TensorType.FLOAT16})
    tflite.type_in(case, 1, frozenset({TensorType.INT32}))
    tflite.constant(case, 1)


RULES = (
    OperatorRule("RESHAPE", ("RESHAPE",), 1, _rule, _tflite, _lower),
    OperatorRule("SQUEEZE", ("SQUEEZE",), 2, _squeeze_rule, _squeeze_tflite, _lower_squeeze),
    OperatorRule("EXPAND_DIMS", ("EXPAND_DIMS",), 1, _expand_rule, _expand_tflite, _lower_expand),
)
