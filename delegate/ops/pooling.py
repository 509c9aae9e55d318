"""AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import PaddingCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, OperatorRule
from nnapi_toolkit.delegate.ops.convolution import padding_code
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def window_counts(case: Case) -> tuple[list[int], list[int]]:
    """Rows, and columns, of the input under each row and column of windows: the padding does not count."""
    o, x, out = case.options, case.input(0).shape, case.output().shape
    same = padding_code(case) == PaddingCode.SAME
    counts = []
    for axis, stride, size in ((1, o.stride_h, o.filter_height), (2, o.stride_w, o.filter_width)):
        before = max(0, (out[axis] - 1) * stride + size - x[axis]) // 2 if same else 0
        starts = [i * stride - before for i in range(out[axis])]
        counts.append([min(start + size, x[axis]) - max(start, 0) for start in starts])
    return counts[0], counts[1]


def _check_rounding(case: Case) -> None:
    """int8 averages round ties away from zero, uint8 ones up: equal where no window has an even number of cells."""
    x = case.input(0, "input")
    if x.tensor.type != TensorType.INT8 or case.level >= 4:
        return
    rows, columns = window_counts(case)
    even = any(n % 2 == 0 for n in (*rows, *columns))
    case.need(
        not even,
        "rounding",
        "option filter_width, filter_height",
        "a window of an even number of cells, whose average rounds otherwise as uint8",
        "windows of odd numbers of cells below feature level 4",
        "feature level 4",
    )


def _rule(name: str) -> CheckFunction:
    def rule(case: Case) -> None:
        x, out = case.input(0, "input"), case.output()
        case.operation(name, x)
        case.same_type(out, x)
        case.known_shape(out)
        case.same_quantization(out, x, name)
        case.positive("stride_w", "stride_h", "filter_width", "filter_height")
        padding_code(case)
        case.fuse()
        if name == "AVERAGE_POOL_2D":
            _check_rounding(case)

    return rule


def _lower(name: str) -> LowerFunction:
    def lower(builder: ProgramBuilder, case: Case) -> None:
        o = case.options
        numbers = (padding_code(case), o.stride_w, o.stride_h, o.filter_width, o.filter_height, case.fuse())
        inputs = [builder.tensor(case.input(0)), *map(builder.int32, numbers)]
        builder.operation(name, inputs, builder.tensor(case.output()))

    return lower


def _average_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    area = case.options.filter_width * case.options.filter_height
    if tflite.tensor(case, 0).type in tflite.QUANT8 and not tflite.accelerator_specified(case):
        case.need(
            area <= 256,
            "option-value",
            "option filter_width, filter_height",
            f"{area} cells",
            "at most 256 cells unless devices are selected",
            "a selected device",
        )


def _l2_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.type_in(case, 0, tflite.FLOAT)
    if case.level < 3:
        tflite.no_activation(case)


_AVERAGE, _MAX, _L2 = "AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"

RULES = (
    OperatorRule(_AVERAGE, (_AVERAGE,), 3, _rule(_AVERAGE), _average_tflite, _lower(_AVERAGE)),
    OperatorRule(_MAX, (_MAX,), 3, _rule(_MAX), tflite.simple(2, tflite.FLOAT_QUANT8), _lower(_MAX)),
    OperatorRule(_L2, (_L2,), 1, _rule(_L2), _l2_tflite, _lower(_L2)),
)
