"""Rewrites that move bytes by other operations: reshapes, slices, flattened matrix products."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops import concatenation, fully_connected, gather, space
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.reshape import check_reshape, emit_reshape
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


# -- fully connected ------------------------------------------------------------------------------------------------


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


# -- squeeze, expand_dims -------------------------------------------------------------------------------------------


def _reshape_rule(case: Case) -> None:
    check_reshape(case)
    if case.node.operator.name == "EXPAND_DIMS":
        case.integers(case.input(1, "axis"))


def _lower_reshape(builder: ProgramBuilder, case: Case) -> None:
    emit_reshape(builder, case)


# -- pack, unpack ---------------------------------------------------------------------------------------------------


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


# -- gather, slices, crops, select ----------------------------------------------------------------------------------


def _gather_rule(case: Case) -> None:
    """A scalar position is a vector of one, and the result a dimension short."""
    gather.check_gather(case)
    case.operation("RESHAPE", case.input(0))
    case.ranks(case.output(), 1, 3, "RESHAPE")


def _lower_gather(builder: ProgramBuilder, case: Case) -> None:
    x, out = case.input(0), case.output()
    axis = case.axis(case.options.axis, x.rank, "option axis")
    target = builder.tensor(out)
    long = builder.temporary_like(target, [1 if i == axis else size for i, size in enumerate(x.shape)])
    gather.emit_gather(builder, case, long)
    builder.operation("RESHAPE", [long, builder.int32_vector(out.shape or (1,))], target)


def _topk_rule(case: Case) -> None:
    """The input turned round, so that the larger index that NNAPI prefers is the lower one, and the indices turned back."""
    x = gather.check_topk(case)
    case.operation("GATHER", x)


def _lower_topk(builder: ProgramBuilder, case: Case) -> None:
    x, k = case.input(0), case.integers(case.input(1))[0]
    backwards = builder.constant(np.arange(x.shape[-1], dtype=np.int32)[::-1], OperandCode.TENSOR_INT32)
    source, values, indices = builder.tensor(x), builder.tensor(case.output(0)), builder.tensor(case.output(1))
    turned, found = builder.temporary_like(source), builder.temporary_like(indices)
    builder.operation("GATHER", [source, builder.int32(len(x.shape) - 1), backwards], turned)
    builder.operation("TOPK_V2", [turned, builder.int32(k)], [values, found])
    builder.operation("GATHER", [backwards, builder.int32(0), found], indices)


def _slice_operation(case: Case, slices: list[gather.AxisSlice]) -> str:
    """SLICE for stride 1 where the type has it only there (int32), else STRIDED_SLICE."""
    x = case.input(0)
    if x.tensor.type == TensorType.INT32:
        case.need(all(s.stride == 1 for s in slices), "option-value", "input 3 (strides)", "not all 1", "1 for INT32")
        return "SLICE"
    return "STRIDED_SLICE"


def _strided_rule(case: Case) -> None:
    """STRIDED_SLICE (SLICE for int32) without shrinking, then RESHAPE for dimensions that go or come."""
    x, out = case.input(0, "input"), case.output()
    case.same_type(out, x)
    case.same_quantization(out, x, "STRIDED_SLICE")
    case.known_shape(out)
    slices, layout = gather.strided_slices(case)
    case.operation(_slice_operation(case, slices), x)
    wanted = [1 if axis is None else slices[axis].size for axis in layout]
    case.need(list(out.shape) == wanted, "operand-shape", out, list(out.shape), wanted)
    if [s.size for s in slices] != wanted:
        case.operation("RESHAPE", x)
        case.ranks(out, 0, 4, "RESHAPE")


def _lower_strided(builder: ProgramBuilder, case: Case) -> None:
    out = case.output()
    slices, _ = gather.strided_slices(case)
    plain = [gather.AxisSlice(s.begin, s.end, s.stride, False) for s in slices]
    sizes = [s.size for s in plain]
    source, target = builder.tensor(case.input(0)), builder.tensor(out)
    taken = target if tuple(sizes) == tuple(out.shape) else builder.temporary_like(target, sizes)
    if _slice_operation(case, slices) == "SLICE":
        bounds = [builder.int32_vector([s.begin for s in plain]), builder.int32_vector(sizes)]
        builder.operation("SLICE", [source, *bounds], taken)
    else:
        gather.emit_strided(builder, source, plain, taken)
    if taken != target:
        builder.operation("RESHAPE", [taken, builder.int32_vector(out.shape or (1,))], target)


def _crops_rule(case: Case) -> None:
    """BATCH_TO_SPACE_ND without crops, then what the crops leave."""
    space.check_batch_to_space(case)
    case.operation("STRIDED_SLICE", case.input(0))


def _lower_crops(builder: ProgramBuilder, case: Case) -> None:
    out, x = case.output(), case.input(0).shape
    block, crops = space.block_shape(case), space.crops(case)
    whole = (x[0] // (block[0] * block[1]), x[1] * block[0], x[2] * block[1], x[3])
    target = builder.tensor(out)
    spread = builder.temporary_like(target, whole)
    space.emit_batch_to_space(builder, case, spread)
    begins = (0, crops[0], crops[2], 0)
    slices = [gather.AxisSlice(b, b + size, 1, False) for b, size in zip(begins, out.shape)]
    gather.emit_strided(builder, spread, slices, target)


def _select_rule(case: Case) -> None:
    """Smaller operands spread to the output's shape by TILE (values only: NNAPI tiles no booleans)."""
    condition, out = case.input(0, "condition"), case.output()
    case.typed(condition, TensorType.BOOL)
    case.code(condition)
    case.operation("SELECT", out)
    case.operation("TILE", out)
    case.ranks(out, 1, 4, "TILE")
    case.need(
        condition.shape == out.shape, "operand-shape", condition, list(condition.shape), f"{list(out.shape)} like the output"
    )
    for position in (1, 2):
        operand = case.input(position)
        case.same_type(operand, out)
        case.same_quantization(operand, out, "SELECT")
        case.known_shape(operand)
        padded = (1,) * (out.rank - operand.rank) + tuple(operand.shape)
        fits = len(padded) == out.rank and all(mine in (1, theirs) for mine, theirs in zip(padded, out.shape))
        case.need(fits, "operand-shape", operand, list(operand.shape), f"broadcastable to {list(out.shape)}")
        if operand.rank != out.rank:
            case.operation("RESHAPE", operand)


def _lower_select(builder: ProgramBuilder, case: Case) -> None:
    out = case.output()
    values = []
    for position in (1, 2):
        operand = case.input(position)
        if operand.shape == out.shape:
            values.append(builder.tensor(operand))
        else:
            spread = builder.temporary_like(builder.tensor(operand), out.shape)
            gather.emit_broadcast(builder, operand, spread, out.shape)
            values.append(spread)
    builder.operation("SELECT", [builder.tensor(case.input(0)), *values], builder.tensor(out))


def _cast_rule(case: Case) -> None:
    """Booleans to numbers: SELECT between ones and zeros. Numbers to booleans: NOT_EQUAL to zero."""
    x, out = case.input(0, "input"), case.output()
    case.known_shape(x)
    if x.tensor.type == TensorType.BOOL:
        case.code(x)
        case.typed(out, TensorType.FLOAT32, TensorType.INT32, TensorType.UINT8)
        case.operation("SELECT", out)
    else:
        case.typed(out, TensorType.BOOL)
        case.typed(x, TensorType.FLOAT32, TensorType.INT32)
        case.operation("NOT_EQUAL", x)


def _lower_cast(builder: ProgramBuilder, case: Case) -> None:
    x, out = case.input(0), case.output()
    target = builder.tensor(out)
    if x.tensor.type != TensorType.BOOL:
        zero = builder.constant(np.zeros(1, x.tensor.dtype), case.code(x))
        builder.operation("NOT_EQUAL", [builder.tensor(x), zero], target)
        return
    like = builder.operand(target)
    ones, zeros = (
        builder.constant(np.full(like.dimensions, value, out.tensor.dtype), like.type, like.scale, like.zero_point)
        for value in (1, 0)
    )
    builder.operation("SELECT", [builder.tensor(x), ones, zeros], target)


REWRITES = (
    Rewrite("gather-of-scalar", ("GATHER",), "GATHER at a scalar position, then RESHAPE", True, _gather_rule, _lower_gather),
    Rewrite(
        "topk-reversed",
        ("TOPK_V2",),
        "TOPK_V2 of the values turned round by GATHER: the lower index first among equal values, as TFLite has it",
        True,
        _topk_rule,
        _lower_topk,
    ),
    Rewrite(
        "strided-slice-reshaped",
        ("STRIDED_SLICE",),
        "STRIDED_SLICE (SLICE for int32) and RESHAPE in place of new, dropped or omitted dimensions",
        True,
        _strided_rule,
        _lower_strided,
    ),
    Rewrite(
        "crops-as-slice",
        ("BATCH_TO_SPACE_ND",),
        "BATCH_TO_SPACE_ND without crops, then STRIDED_SLICE",
        True,
        _crops_rule,
        _lower_crops,
    ),
    Rewrite(
        "broadcast-select",
        ("SELECT", "SELECT_V2"),
        "values spread by TILE to the shape that SELECT wants",
        True,
        _select_rule,
        _lower_select,
    ),
    Rewrite(
        "cast-of-bool",
        ("CAST",),
        "CAST from booleans as SELECT between 1 and 0, to booleans as NOT_EQUAL to 0 (feature level 3)",
        True,
        _cast_rule,
        _lower_cast,
    ),
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
