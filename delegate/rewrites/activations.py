"""Rewrites of activations: hard-swish in pieces, fused activations that NNAPI cannot fuse split off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnapi_toolkit.delegate.nnapi import FuseCode, OperandCode
from nnapi_toolkit.delegate.ops.base import Case
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _hard_swish_rule(case: Case) -> None:
    """Float only: 8-bit pieces would round in between (see quantized-table)."""
    x, out = case.input(0, "input"), case.output()
    case.typed(x, TensorType.FLOAT32)
    case.operation("ADD", x)
    case.same_type(out, x)


def _lower_hard_swish(builder: ProgramBuilder, case: Case) -> None:
    """x * relu6(x + 3) / 6 in TFLite's order; before feature level 2, which brought DIV, times 1/6 (one rounding more)."""
    source, out = builder.tensor(case.input(0)), builder.tensor(case.output())

    def number(value: float) -> int:
        return builder.constant(np.array([value], np.float32), OperandCode.TENSOR_FLOAT32)

    gate, product = builder.temporary_like(source), builder.temporary_like(source)
    none = builder.int32(FuseCode.NONE)
    builder.operation("ADD", [source, number(3), builder.int32(FuseCode.RELU6)], gate)
    builder.operation("MUL", [source, gate, none], product)
    if case.level >= 2:
        builder.operation("DIV", [product, number(6), none], out)
    else:
        builder.operation("MUL", [product, number(1 / 6), none], out)


REWRITES = (
    Rewrite(
        "hard-swish-decomposed",
        ("HARD_SWISH",),
        "float HARD_SWISH as ADD with RELU6, MUL and DIV (below feature level 4)",
        True,
        _hard_swish_rule,
        _lower_hard_swish,
    ),
)
