"""BATCH_MATMUL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def _rule(case: Case) -> None:
    """NNAPI: feature level 6, equal batch dimensions."""
    a, b, out = case.input(0), case.input(1), case.output()
    code = case.operation("BATCH_MATMUL", a)
    case.operation("BATCH_MATMUL", b)
    case.same_type(b, a)
    case.same_type(out, a)
    case.need(a.rank >= 2, "operand-rank", a, f"of rank {a.rank}", "of rank 2 to 4")
    case.need(
        a.rank == b.rank and a.shape[:-2] == b.shape[:-2],
        "operand-shape",
        b,
        list(b.shape),
        f"the batch dimensions {list(a.shape[:-2])} of input 0: BATCH_MATMUL does not broadcast",
    )
    depth = a.shape[-2] if case.options.adj_x else a.shape[-1]
    other = b.shape[-1] if case.options.adj_y else b.shape[-2]
    case.need(depth == other, "operand-shape", b, f"{other} deep", f"{depth} deep")
    if code in QUANT8:
        for operand in (a, b, out):
            case.scaled(operand)


def _lower(builder: ProgramBuilder, case: Case) -> None:
    o = case.options
    flags = (builder.bool(bool(o.adj_x)), builder.bool(bool(o.adj_y)))
    inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1)), *flags]
    builder.operation("BATCH_MATMUL", inputs, builder.tensor(case.output()))


def _tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 6)
    tflite.type_in(case, 0, frozenset({TensorType.FLOAT32, TensorType.INT32, TensorType.INT8}))
    a, b = case.input(0), case.input(1)
    case.need(a.tensor.type == b.tensor.type, "operand-type", b, b.tensor.type.name, a.tensor.type.name)
    case.need(2 <= a.rank <= 4, "operand-rank", a, f"of rank {a.rank}", "of rank 2 to 4")
    same = a.rank == b.rank and a.shape[:-2] == b.shape[:-2]
    case.need(same, "operand-shape", b, list(b.shape), f"the batch dimensions of {list(a.shape)}")


RULES = (OperatorRule("BATCH_MATMUL", ("BATCH_MATMUL",), 4, _rule, _tflite, _lower),)
