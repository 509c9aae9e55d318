"""Rewrites that move bytes by other operations: reshapes, slices, flattened matrix products."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops import concatenation, fully_connected
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.reshape import check_reshape, emit_reshape
from nnapi_toolkit.delegate.rewrites.base import Rewrite

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


# -- fully connected ----------------------------------------------------------------------------------------------------


def _fully_connected_rule(case: Case) -> None:
    x, weights, _, out = fully_connected.operands(case)
    code = case.code(x)
    fully_connected.check_operands(case)
    fully_connected.check_weight_scale(case, x, weights, out)
    for operand in (x, out):
        case.operation("RESHAPE", operand)
    if code == OperandCode.TENSOR_INT32:
        case.refuse("operand-type", x, "INT32", "FLOAT32 or 8-bit")


def _flat(builder: ProgramBuilder, operand: Operand, shape: tuple[int, int]) -> int:
    """The input as a matrix: by RESHAPE unless NNAPI flattens it by itself."""
    source = builder.tensor(operand)
    if 2 <= operand.rank <= 4:
        return source
    matrix = builder.temporary_like(source, shape)
    builder.operation("RESHAPE", [source, builder.int32_vector(shape)], matrix)
    return matrix


def _lower_fully_connected(builder: ProgramBuilder, case: Case) -> None:
    x, weights, _, out = fully_connected.operands(case)
    units, depth = weights.shape
    rows = prod(x.shape) // depth
    source = _flat(builder, x, (rows, depth))
    target = builder.tensor(out)
    if len(out.shape) == 2:
        fully_connected.emit(builder, case, source, target)
        return
    matrix = builder.temporary_like(target, (rows, units))
    fully_connected.emit(builder, case, source, matrix)
    builder.operation("RESHAPE", [matrix, builder.int32_vector(out.shape or (1,))], target)


# -- squeeze, expand_dims -----------------------------------------------------------------------------------------------


def _reshape_rule(case: Case) -> None:
    check_reshape(case)


def _lower_reshape(builder: ProgramBuilder, case: Case) -> None:
    emit_reshape(builder, case)


# -- pack, unpack ---------------------------------------------------------------------------------------------------------


def _pack_rule(case: Case) -> None:
    """Each input reshaped to have the new axis, then concatenated along it."""
    concatenation.check_pack(case, "CONCATENATION")
    out = case.output()
    case.operation("RESHAPE", case.input(0))
    case.ranks(out, 1, 4, "CONCATENATION")


def _lower_pack(builder: ProgramBuilder, case: Case) -> None:
    out = case.output()
    axis = case.axis(case.options.axis, case.input(0).rank, "option axis", end=1)
    shape = [1 if i == axis else size for i, size in enumerate(out.shape)]
    parts = []
    for position in range(case.input_count):
        source = builder.tensor(case.input(position))
        part = builder.temporary_like(source, shape)
        builder.operation("RESHAPE", [source, builder.int32_vector(shape)], part)
        parts.append(part)
    builder.operation("CONCATENATION", [*parts, builder.int32(axis)], builder.tensor(out))


def _unpack_rule(case: Case) -> None:
    """One SLICE for each output, then RESHAPE without the axis."""
    x = case.input(0, "input")
    case.operation("SLICE", x)
    case.operation("RESHAPE", x)
    concatenation.check_unpack_outputs(case, x, case.axis(case.options.axis, x.rank, "option axis"))


def _lower_unpack(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(0)
    axis = case.axis(case.options.axis, x.rank, "option axis")
    source = builder.tensor(x)
    lengths = [1 if i == axis else size for i, size in enumerate(x.shape)]
    for position in range(x.shape[axis]):
        begin = [position if i == axis else 0 for i in range(x.rank)]
        part = builder.temporary_like(source, lengths)
        builder.operation("SLICE", [source, builder.int32_vector(begin), builder.int32_vector(lengths)], part)
        out = case.output(position)
        builder.operation("RESHAPE", [part, builder.int32_vector(out.shape or (1,))], builder.tensor(out))


REWRITES = (
    Rewrite(
        "fully-connected-reshape",
        ("FULLY_CONNECTED",),
        "FULLY_CONNECTED of other ranks between RESHAPEs to matrices",
        True,
        _fully_connected_rule,
        _lower_fully_connected,
    ),
    Rewrite("squeeze-as-reshape", ("SQUEEZE",), "SQUEEZE as RESHAPE", True, _reshape_rule, _lower_reshape),
    Rewrite("expand-dims-as-reshape", ("EXPAND_DIMS",), "EXPAND_DIMS as RESHAPE", True, _reshape_rule, _lower_reshape),
    Rewrite(
        "pack-by-concatenation",
        ("PACK",),
        "PACK as RESHAPE of each input and CONCATENATION",
        True,
        _pack_rule,
        _lower_pack,
    ),
    Rewrite("unpack-by-slices", ("UNPACK",), "UNPACK as SLICE and RESHAPE", True, _unpack_rule, _lower_unpack),
)
