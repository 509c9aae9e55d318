"""Matrix products without BATCH_MATMUL: FULLY_CONNECTED, one product for each batch item."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.gather import AxisSlice, emit_strided
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_FLOAT32 = OperandCode.TENSOR_FLOAT32
#: Most products that one operator is taken apart into.
MOST = 64


def _check_floats(case: Case) -> tuple[Operand, Operand, Operand]:
    a, b, out = case.input(0), case.input(1), case.output()
    for operand in (a, b, out):
        case.typed(operand, TensorType.FLOAT32)
        case.known_shape(operand)
        case.need(operand.rank >= 2, "operand-rank", operand, f"of rank {operand.rank}", "of rank 2 or more")
    case.need_level(1, "FULLY_CONNECTED")
    return a, b, out


# -- a constant matrix on the right ---------------------------------------------------------------------------------


def _constant_rule(case: Case) -> None:
    """FULLY_CONNECTED with the transposed matrix, between RESHAPEs."""
    a, b, out = _check_floats(case)
    case.constant(b)
    case.need(prod(b.shape[:-2]) == 1, "operand-shape", b, list(b.shape), "a single matrix")
    case.need(not case.options.adj_x, "option-value", "option adj_x", "true", "false")
    for operand in (a, out):
        case.ranks(operand, 2, 4, "RESHAPE")


def _lower_constant(builder: ProgramBuilder, case: Case) -> None:
    a, b, out = case.input(0), case.input(1), case.output()
    matrix = case.constant(b).reshape(b.shape[-2:])
    weights = matrix if case.options.adj_y else matrix.T
    units, depth = weights.shape
    rows = prod(a.shape) // depth
    target = builder.tensor(out)
    result = target if tuple(out.shape) == (rows, units) else builder.temporary_like(target, (rows, units))
    filter_ = builder.constant(np.ascontiguousarray(weights), _FLOAT32, tensor=b.tensor.index)
    _product(builder, builder.tensor(a), filter_, units, result)
    if result != target:
        builder.operation("RESHAPE", [result, builder.int32_vector(out.shape)], target)


def _product(builder: ProgramBuilder, a: int, weights: int, units: int, target: int) -> None:
    bias = builder.constant(np.zeros(units, np.float32), _FLOAT32)
    builder.operation("FULLY_CONNECTED", [a, weights, bias, builder.int32(0)], target)


# -- matrices computed at run time ----------------------------------------------------------------------------------


def _batch_rule(case: Case) -> None:
    """Each pair of matrices cut out, multiplied by FULLY_CONNECTED, and put together (feature level 2)."""
    a, b, out = _check_floats(case)
    case.need_level(2, "STRIDED_SLICE and TRANSPOSE")
    for operand in (a, b, out):
        case.ranks(operand, 2, 4, "RESHAPE")
    count = prod(out.shape[:-2])
    case.need(count <= MOST, "operand-shape", out, f"{count} products", f"at most {MOST} products")
    batch = out.shape[:-2]
    for operand in (a, b):
        outer = (1,) * (len(batch) - len(operand.shape[:-2])) + tuple(operand.shape[:-2])
        fits = len(outer) == len(batch) and all(mine in (1, theirs) for mine, theirs in zip(outer, batch))
        case.need(fits, "operand-shape", operand, list(operand.shape), f"batches that broadcast to {list(batch)}")


def _matrices(builder: ProgramBuilder, operand: Operand, batch: tuple[int, ...], turned: bool) -> list[int]:
    """One operand of shape [rows, columns] for each item of the batch, turned if asked."""
    source = builder.tensor(operand)
    shape = list(operand.shape)
    if turned:
        order = [*range(operand.rank - 2), operand.rank - 1, operand.rank - 2]
        shape = [shape[axis] for axis in order]
        flipped = builder.temporary_like(source, shape)
        builder.operation("TRANSPOSE", [source, builder.int32_vector(order)], flipped)
        source = flipped
    own = prod(shape[:-2])
    if operand.rank != 3 and own > 1:
        flat = builder.temporary_like(source, [own, *shape[-2:]])
        builder.operation("RESHAPE", [source, builder.int32_vector([own, *shape[-2:]])], flat)
        source = flat
    outer = (1,) * (len(batch) - len(shape[:-2])) + tuple(shape[:-2])
    numbers = np.arange(own).reshape(outer)
    cut: dict[int, int] = {}
    result = []
    for position in product(*map(range, batch)):
        number = int(numbers[tuple(min(p, size - 1) for p, size in zip(position, outer))])
        if number not in cut:
            cut[number] = builder.temporary_like(source, shape[-2:])
            if own == 1:
                builder.operation("RESHAPE", [source, builder.int32_vector(shape[-2:])], cut[number])
            else:
                bounds = [AxisSlice(number, number + 1, 1, True), *(AxisSlice(0, size, 1, False) for size in shape[-2:])]
                emit_strided(builder, source, bounds, cut[number])
        result.append(cut[number])
    return result


def _lower_batch(builder: ProgramBuilder, case: Case) -> None:
    a, b, out = case.input(0), case.input(1), case.output()
    batch, (rows, units) = tuple(out.shape[:-2]), out.shape[-2:]
    left = _matrices(builder, a, batch, bool(case.options.adj_x))
    right = _matrices(builder, b, batch, not case.options.adj_y)
    target = builder.tensor(out)
    parts = []
    for matrix, weights in zip(left, right):
        result = builder.temporary_like(target, (rows, units))
        _product(builder, matrix, weights, units, result)
        part = builder.temporary_like(target, (1, rows, units))
        builder.operation("RESHAPE", [result, builder.int32_vector((1, rows, units))], part)
        parts.append(part)
    whole = parts[0]
    if len(parts) > 1:
        whole = builder.temporary_like(target, (len(parts), rows, units))
        builder.operation("CONCATENATION", [*parts, builder.int32(0)], whole)
    builder.operation("RESHAPE", [whole, builder.int32_vector(out.shape)], target)


REWRITES = (
    Rewrite(
        "matmul-as-fully-connected",
        ("BATCH_MATMUL",),
        "a float matrix product with a constant matrix as FULLY_CONNECTED",
        True,
        _constant_rule,
        _lower_constant,
    ),
    Rewrite(
        "matmul-by-batch",
        ("BATCH_MATMUL",),
        "float matrix products as one FULLY_CONNECTED for each item of the batch (feature level 2)",
        True,
        _batch_rule,
        _lower_batch,
    ),
)
