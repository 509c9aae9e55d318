"""SOFTMAX, LOG_SOFTMAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def softmax_rule(case: Case) -> None:
    """NNAPI: over the last axis; rank 2 or 4 before feature level 3; 8-bit results in steps of 1/256."""
    x, out = case.input(0, "input"), case.output()
    case.operation("SOFTMAX", x)
    case.same_type(out, x)
    if case.level < 3:
        case.need(
            x.rank in (2, 4),
            "operand-rank",
            x,
            f"of rank {x.rank}",
            "of rank 2 or 4 for SOFTMAX below feature level 3",
            "feature level 3",
        )
    case.fixed_quantization(out, 1 / 256, signed=-128, unsigned=0, what="SOFTMAX")
    case.need(case.options.beta > 0, "option-value", "option beta", case.options.beta, "positive")


def lower_softmax(builder: ProgramBuilder, case: Case) -> None:
    """x, beta; the axis is the last one when not given."""
    x = case.input(0)
    beta = builder.float_like(case.options.beta, case.code(x))
    builder.operation("SOFTMAX", [builder.tensor(x), beta], builder.tensor(case.output()))


def softmax_tflite(case: Case) -> None:
    """TFLite's Validate."""
    tflite.max_version(case, 2)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    tflite.output_type_in(case, tflite.FLOAT_QUANT8)
    tflite.ranks_at_most_4(case, 0)
    x = case.input(0)
    if case.level < 3:
        case.need(x.rank in (2, 4), "operand-rank", x, f"of rank {x.rank}", "of rank 2 or 4", "feature level 3")


def log_softmax_rule(case: Case) -> None:
    """NNAPI: float only."""
    x, out = case.input(0, "input"), case.output()
    case.operation("LOG_SOFTMAX", x)
    case.same_type(out, x)


def lower_log_softmax(builder: ProgramBuilder, case: Case) -> None:
    """x, beta 1, axis -1."""
    x = case.input(0)
    inputs = [builder.tensor(x), builder.float_like(1.0, case.code(x)), builder.int32(max(1, x.rank) - 1)]
    builder.operation("LOG_SOFTMAX", inputs, builder.tensor(case.output()))


RULES = (
    OperatorRule("SOFTMAX", ("SOFTMAX",), 3, softmax_rule, softmax_tflite, lower_softmax),
    OperatorRule(
        "LOG_SOFTMAX",
        ("LOG_SOFTMAX",),
        2,
        log_softmax_rule,
        tflite.simple(1, frozenset({TensorType.FLOAT32}), level=3),
        lower_log_softmax,
    ),
)
