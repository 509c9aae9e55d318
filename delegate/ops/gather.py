"""GATHER, SLICE, STRIDED_SLICE, TILE, BROADCAST_TO, TOPK_V2, FILL, EMBEDDING_LOOKUP, HASHTABLE_LOOKUP, LSH_PROJECTION."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule
from nnapi_toolkit.schema.enums import LSHProjectionType, TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_INT32 = frozenset({TensorType.INT32})
_MOVED = tflite.FLOAT_QUANT8_INT32 | {TensorType.FLOAT16}


def check_moved(case: Case, name: str, position: int = 0) -> Operand:
    """The main input of an operation that moves bytes: type, and equal quantisation of the output."""
    x, out = case.input(position, "input"), case.output()
    case.operation(name, x)
    case.same_type(out, x)
    case.same_quantization(out, x, name)
    case.known_shape(out)
    return x


# -- GATHER ---------------------------------------------------------------------------------------------------------


def check_gather(case: Case) -> None:
    """All but the rank of the positions."""
    x = check_moved(case, "GATHER")
    positions = case.input(1, "positions")
    case.typed(positions, TensorType.INT32)
    case.known_shape(positions)
    axis = case.axis(case.options.axis, max(1, x.rank), "option axis")
    dims = case.options.batch_dims
    dims += positions.rank if dims < 0 else 0
    case.need(dims == 0, "option-value", "option batch_dims", dims, "0: GATHER has no batch dimensions")
    wanted = [*x.shape[:axis], *positions.shape, *x.shape[axis + 1 :]]
    case.need(list(case.output().shape) == wanted, "operand-shape", case.output(), list(case.output().shape), wanted)


def _gather_rule(case: Case) -> None:
    """NNAPI: feature level 3. Scalar positions count as one position, and the result has one dimension more."""
    check_gather(case)
    positions = case.input(1, "positions")
    case.need(
        positions.rank >= 1 or case.input(0).rank == 1,
        "operand-rank",
        positions,
        "of rank 0",
        "of rank 1 or more",
        "rewrite gather-of-scalar",
    )


def _lower_gather(builder: ProgramBuilder, case: Case) -> None:
    emit_gather(builder, case, builder.tensor(case.output()))


def emit_gather(builder: ProgramBuilder, case: Case, target: int) -> None:
    """x, axis, positions."""
    x, positions = case.input(0), case.input(1)
    axis = case.axis(case.options.axis, max(1, x.rank), "option axis")
    builder.operation("GATHER", [builder.tensor(x), builder.int32(axis), builder.tensor(positions)], target)


def _gather_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, _MOVED)
    tflite.type_in(case, 1, _INT32)
    positions = case.input(1)
    case.need(positions.rank != 0, "operand-rank", positions, "of rank 0", "of rank 1 or more")


# -- SLICE, STRIDED_SLICE -------------------------------------------------------------------------------------------


def slice_bounds(case: Case) -> tuple[list[int], list[int]]:
    """Begin and size of a SLICE, the sizes resolved."""
    x, begin, size = case.input(0, "input"), case.input(1, "begin"), case.input(2, "size")
    starts, sizes = case.integers(begin), case.integers(size)
    case.need(len(starts) == len(sizes) == x.rank, "operand-shape", begin, f"{len(starts)} values", f"{x.rank} values")
    sizes = [length - start if s == -1 else s for s, start, length in zip(sizes, starts, x.shape)]
    for start, s, length in zip(starts, sizes, x.shape):
        inside = start >= 0 and s >= 1 and start + s <= length
        case.need(inside, "operand-value", begin, f"{start} with size {s}", f"within {length}")
    return starts, sizes


def _slice_rule(case: Case) -> None:
    """NNAPI: feature level 3, constant bounds (int64 ones are folded)."""
    check_moved(case, "SLICE")
    slice_bounds(case)


def _lower_slice(builder: ProgramBuilder, case: Case) -> None:
    starts, sizes = slice_bounds(case)
    inputs = [builder.tensor(case.input(0)), builder.int32_vector(starts), builder.int32_vector(sizes)]
    builder.operation("SLICE", inputs, builder.tensor(case.output()))


def _slice_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    tflite.type_in(case, 1, _INT32)
    tflite.type_in(case, 2, _INT32)


@dataclass(frozen=True, slots=True)
class AxisSlice:
    """One dimension of a strided slice, resolved: positive numbers but for the end of a negative stride (-1: past the front)."""

    begin: int
    end: int
    stride: int
    shrink: bool

    @property
    def size(self) -> int:
        """Number of elements taken."""
        return max(0, -(-(self.end - self.begin) // self.stride))


def strided_slices(case: Case) -> tuple[list[AxisSlice], list[int | None]]:
    """A STRIDED_SLICE resolved against its input.

    Returns:
        A slice for each dimension of the input, and the output's dimensions: the input's axis, or None for a new one.
    """
    x, o = case.input(0, "input"), case.options
    given = [case.integers(case.input(p, role)) for p, role in ((1, "begin"), (2, "end"), (3, "strides"))]
    begins, ends, strides = given
    case.need(len(begins) == len(ends) == len(strides), "operand-shape", case.input(1, "begin"), len(begins), len(ends))
    case.need(0 not in strides, "operand-value", case.input(3, "strides"), strides, "no stride of 0")
    slices: list[AxisSlice] = []
    layout: list[int | None] = []
    sparse = len(begins)
    new_axes = sum(1 for i in range(sparse) if o.new_axis_mask >> i & 1 and not o.ellipsis_mask >> i & 1)
    wide = x.rank - (sparse - new_axes - 1)  # dimensions that an ellipsis stands for
    ellipses = sum(1 for i in range(sparse) if o.ellipsis_mask >> i & 1)
    fits = ellipses == 0 or (ellipses == 1 and wide >= 0)
    case.need(fits, "option-value", "option ellipsis_mask", o.ellipsis_mask, "at most one ellipsis")
    for i in range(sparse):
        if o.ellipsis_mask >> i & 1:
            for _ in range(wide):
                layout.append(len(slices))
                slices.append(AxisSlice(0, x.shape[len(slices)], 1, False))
        elif o.new_axis_mask >> i & 1:
            layout.append(None)
        else:
            axis = len(slices)
            case.need(axis < x.rank, "operand-shape", case.input(1, "begin"), f"{sparse} values", f"at most {x.rank}")
            slices.append(_axis_slice(case, i, x.shape[axis], begins[i], ends[i], strides[i]))
            if not slices[-1].shrink:
                layout.append(axis)
    for axis in range(len(slices), x.rank):
        layout.append(axis)
        slices.append(AxisSlice(0, x.shape[axis], 1, False))
    return slices, layout


def _axis_slice(case: Case, i: int, size: int, begin: int, end: int, stride: int) -> AxisSlice:
    o = case.options
    low, high = (0, size) if stride > 0 else (-1, size - 1)
    shrink = bool(o.shrink_axis_mask >> i & 1)

    def clamp(index: int) -> int:
        return min(max(index + size if index < 0 else index, low), high)

    start = (0 if stride > 0 else size - 1) if o.begin_mask >> i & 1 else clamp(begin)
    if shrink:
        case.need(0 <= start < size, "operand-value", case.input(1, "begin"), begin, f"an index within {size}")
        return AxisSlice(start, start + 1, 1, True)
    if o.end_mask >> i & 1:
        stop = size if stride > 0 else -1
    elif o.offset:
        stop = min(max(start + end, low), high)
    else:
        stop = clamp(end)
    return AxisSlice(start, stop, stride, False)


def _strided_rule(case: Case) -> None:
    """NNAPI: feature level 2; neither ellipsis nor new axes, which the TFLite delegate drops silently."""
    x, out = check_moved(case, "STRIDED_SLICE"), case.output()
    slices, layout = strided_slices(case)
    case.need(
        None not in layout and bool(layout),
        "option-value",
        "option new_axis_mask, shrink_axis_mask",
        f"{case.options.new_axis_mask}, {case.options.shrink_axis_mask}",
        "no new axis, and a dimension left",
        "rewrite strided-slice-reshaped",
    )
    wanted = [slices[axis].size for axis in layout if axis is not None]
    case.need(list(out.shape) == wanted, "operand-shape", out, list(out.shape), wanted)
    case.need(len(slices) == x.rank, "operand-shape", x, list(x.shape), f"of rank {len(slices)}")


def _lower_strided(builder: ProgramBuilder, case: Case) -> None:
    slices, _ = strided_slices(case)
    emit_strided(builder, builder.tensor(case.input(0)), slices, builder.tensor(case.output()))


def emit_strided(builder: ProgramBuilder, source: int, slices: Sequence[AxisSlice], target: int) -> None:
    """Adds STRIDED_SLICE with resolved bounds; the only masks left are those that numbers cannot say."""
    end_mask = sum(1 << axis for axis, s in enumerate(slices) if s.end < 0)
    shrink_mask = sum(1 << axis for axis, s in enumerate(slices) if s.shrink)
    inputs = [
        source,
        builder.int32_vector([s.begin for s in slices]),
        builder.int32_vector([max(0, s.end) for s in slices]),
        builder.int32_vector([s.stride for s in slices]),
        *map(builder.int32, (0, end_mask, shrink_mask)),
    ]
    builder.operation("STRIDED_SLICE", inputs, target)


# -- TILE, BROADCAST_TO ---------------------------------------------------------------------------------------------


def _tile_rule(case: Case) -> None:
    """NNAPI: feature level 3, constant multiples."""
    x = check_moved(case, "TILE")
    operand = case.input(1, "multiples")
    values = case.integers(operand)
    case.need(len(values) == max(1, x.rank), "operand-shape", operand, f"{len(values)} values", f"{x.rank} values")
    case.need(min(values) >= 1, "operand-value", operand, values, "positive")


def _lower_tile(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.int32_vector(case.integers(case.input(1)))]
    builder.operation("TILE", inputs, builder.tensor(case.output()))


def _tile_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    tflite.type_in(case, 1, _INT32)


def _broadcast_rule(case: Case) -> None:
    """TILE along the dimensions that grow; the input gets leading ones by RESHAPE where its rank is lower."""
    x, out = check_moved(case, "TILE"), case.output()
    case.integers(case.input(1, "shape"))
    case.ranks(out, 1, 4, "TILE")
    padded = (1,) * (out.rank - x.rank) + tuple(x.shape)
    grows = all(mine in (1, theirs) for mine, theirs in zip(padded, out.shape))
    case.need(out.rank >= x.rank and grows, "operand-shape", x, list(x.shape), f"broadcastable to {list(out.shape)}")
    if len(padded) != max(1, x.rank):
        case.operation("RESHAPE", x)


def _lower_broadcast(builder: ProgramBuilder, case: Case) -> None:
    emit_broadcast(builder, case.input(0), builder.tensor(case.output()), case.output().shape)


def emit_broadcast(builder: ProgramBuilder, x: Operand, target: int, shape: tuple[int, ...]) -> None:
    """Adds TILE (after RESHAPE to the rank) that spreads a tensor to a shape."""
    source = builder.tensor(x)
    padded = (1,) * (len(shape) - len(x.shape)) + tuple(x.shape)
    if builder.operand(source).dimensions != padded:
        made = builder.temporary_like(source, padded)
        builder.operation("RESHAPE", [source, builder.int32_vector(padded)], made)
        source = made
    multiples = [theirs // mine for mine, theirs in zip(padded, shape)]
    builder.operation("TILE", [source, builder.int32_vector(multiples)], target)


# -- TOPK_V2, FILL --------------------------------------------------------------------------------------------------


def check_topk(case: Case) -> Operand:
    """NNAPI: feature level 3, a constant k. All but the order of equal values."""
    x = check_moved(case, "TOPK_V2")
    operand = case.input(1, "k")
    k = case.integers(operand)[0]
    case.need(1 <= k <= (x.shape[-1] if x.shape else 1), "operand-value", operand, k, f"1 to {list(x.shape)[-1:]}")
    case.typed(case.output(1), TensorType.INT32)
    return x


def _topk_rule(case: Case) -> None:
    """Of equal values NNAPI gives the one with the larger index first, TFLite the other: never the same by itself."""
    check_topk(case)
    out = case.output(1)
    case.refuse(
        "semantics",
        out,
        "the lower index first among equal values",
        "the larger index first, as TOPK_V2 gives them",
        "rewrite topk-reversed",
    )


def _lower_topk(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.int32(case.integers(case.input(1))[0])]
    builder.operation("TOPK_V2", inputs, [builder.tensor(case.output(0)), builder.tensor(case.output(1))])


def _topk_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    tflite.type_in(case, 1, _INT32)
    tflite.constant(case, 1)


def _fill_rule(case: Case) -> None:
    """NNAPI: feature level 4; dimensions and value are constant."""
    value, out = case.input(1, "value"), case.output()
    case.need_level(4, "the operation FILL")
    case.operation("FILL", out)
    case.typed(value, TensorType.FLOAT32, TensorType.INT32)
    case.same_type(out, value)
    case.integers(case.input(0, "dims"))
    case.constant(value)
    case.need(out.rank >= 1, "operand-rank", out, "of rank 0", "of rank 1 or more")


def _lower_fill(builder: ProgramBuilder, case: Case) -> None:
    value = case.constant(case.input(1)).reshape(-1)[0]
    scalar = builder.int32(int(value)) if case.input(1).tensor.type == TensorType.INT32 else builder.float32(float(value))
    dims = builder.int32_vector(case.output().shape)
    builder.operation("FILL", [dims, scalar], builder.tensor(case.output()), since=4)


def _fill_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 4)
    tflite.constant(case, 0)
    tflite.type_in(case, 0, frozenset({TensorType.INT32, TensorType.INT64}))
    dims, value = case.input(0, "dims"), case.input(1, "value")
    case.need(dims.shape[:1] != (0,), "operand-shape", dims, "empty", "not empty")
    case.integers(dims)
    tflite.type_in(case, 1, frozenset({TensorType.FLOAT32, TensorType.INT32, TensorType.INT64}))
    if value.tensor.type == TensorType.INT64 and value.is_constant:
        case.integers(value)


# -- lookups --------------------------------------------------------------------------------------------------------


def _embedding_rule(case: Case) -> None:
    """NNAPI: a vector of row numbers."""
    lookups, values = case.input(0, "lookups"), case.input(1, "values")
    case.typed(lookups, TensorType.INT32)
    case.ranks(lookups, 1, 1, "EMBEDDING_LOOKUP")
    case.operation("EMBEDDING_LOOKUP", values)
    case.same_type(case.output(), values)
    case.same_quantization(case.output(), values, "EMBEDDING_LOOKUP")
    case.known_shape(lookups)


def _lower_embedding(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1))]
    builder.operation("EMBEDDING_LOOKUP", inputs, builder.tensor(case.output()))


def _embedding_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.type_in(case, 1, tflite.FLOAT)


def _hashtable_rule(case: Case) -> None:
    """NNAPI: sorted int32 keys; the hits are a uint8 tensor of scale 1."""
    lookups, keys, values = case.input(0, "lookups"), case.input(1, "keys"), case.input(2, "values")
    for operand in (lookups, keys):
        case.typed(operand, TensorType.INT32)
        case.ranks(operand, 1, 1, "HASHTABLE_LOOKUP")
    case.operation("HASHTABLE_LOOKUP", values)
    for operand in (keys, values):
        case.known_shape(operand)
    case.same_type(case.output(), values)
    case.same_quantization(case.output(), values, "HASHTABLE_LOOKUP")
    hits = case.output(1, "hits")
    case.typed(hits, TensorType.UINT8)
    case.need(
        case.quantization(hits) in ((0.0, 0), (1.0, 0)), "quantization", hits, case.quantization(hits), "scale 1, zero point 0"
    )


def _lower_hashtable(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(i)) for i in range(3)]
    builder.operation("HASHTABLE_LOOKUP", inputs, [builder.tensor(case.output(0)), builder.tensor(case.output(1))])


def _hashtable_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.output_type_in(case, tflite.FLOAT)


def _lsh_rule(case: Case) -> None:
    """NNAPI: sparse projections from feature level 3."""
    hashes, x, out = case.input(0, "hash"), case.input(1, "input"), case.output()
    case.typed(hashes, TensorType.FLOAT32)
    case.operation("LSH_PROJECTION", x)
    case.typed(out, TensorType.INT32)
    kind = case.options.type
    known = (LSHProjectionType.SPARSE, LSHProjectionType.DENSE)
    case.need(kind in known, "option-value", "option type", kind.name, "SPARSE or DENSE")
    if kind == LSHProjectionType.SPARSE:
        case.need_level(3, "correct sparse projections", "option type")
    if case.has_input(2):
        case.typed(case.input(2, "weight"), TensorType.FLOAT32)


def _lower_lsh(builder: ProgramBuilder, case: Case) -> None:
    weight = builder.tensor(case.input(2)) if case.has_input(2) else builder.omitted(OperandCode.TENSOR_FLOAT32)
    sparse = case.options.type == LSHProjectionType.SPARSE
    inputs = [builder.tensor(case.input(0)), builder.tensor(case.input(1)), weight, builder.int32(3 if sparse else 2)]
    builder.operation("LSH_PROJECTION", inputs, builder.tensor(case.output()), since=3 if sparse else 1)


def _lsh_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    if case.options.type == LSHProjectionType.SPARSE:
        tflite.min_level(case, 3)
        tflite.input_count(case, 2)


# -- ONE_HOT --------------------------------------------------------------------------------------------------------


def _one_hot_rule(case: Case) -> None:
    """EQUAL with the numbers 0 to depth - 1, then SELECT (feature level 3)."""
    indices, out = case.input(0, "indices"), case.output()
    case.typed(indices, TensorType.INT32)
    case.operation("EQUAL", indices)
    case.operation("SELECT", out)
    case.integers(case.input(1, "depth"))
    for position, role in ((2, "on_value"), (3, "off_value")):
        operand = case.input(position, role)
        case.typed(operand, out.tensor.type)
        case.constant(operand)
    case.ranks(out, 1, 4, "RESHAPE")
    case.need(indices.rank == out.rank - 1, "operand-rank", out, f"of rank {out.rank}", f"of rank {indices.rank + 1}")
    case.axis(case.options.axis, indices.rank, "option axis", end=1)
    case.known_shape(out)
    case.need_level(3, "EXPAND_DIMS")


def _lower_one_hot(builder: ProgramBuilder, case: Case) -> None:
    indices, out = case.input(0), case.output()
    axis = case.axis(case.options.axis, indices.rank, "option axis", end=1)
    depth = case.integers(case.input(1))[0]
    wide = [1 if i == axis else size for i, size in enumerate(out.shape)]
    source = builder.tensor(indices)
    if indices.rank:
        spread = builder.temporary_like(source, wide)
        builder.operation("EXPAND_DIMS", [source, builder.int32(axis)], spread)
        source = spread
    classes = np.arange(depth, dtype=np.int32).reshape([depth if i == axis else 1 for i in range(out.rank)])
    numbers = builder.constant(classes, OperandCode.TENSOR_INT32)
    hit = builder.temporary(OperandCode.TENSOR_BOOL8, out.shape)
    builder.operation("EQUAL", [source, numbers], hit)
    target = builder.tensor(out)
    like = builder.operand(target)
    values = []
    for position in (2, 3):
        value = np.full(out.shape, case.constant(case.input(position)).reshape(-1)[0])
        if builder.is_shifted(out.tensor):
            value = value.view(np.uint8) ^ np.uint8(0x80)
        values.append(builder.constant(value, like.type, like.scale, like.zero_point))
    builder.operation("SELECT", [hit, *values], target)


RULES = (
    OperatorRule("GATHER", ("GATHER",), 8, _gather_rule, _gather_tflite, _lower_gather),
    OperatorRule("SLICE", ("SLICE",), 8, _slice_rule, _slice_tflite, _lower_slice),
    OperatorRule(
        "STRIDED_SLICE",
        ("STRIDED_SLICE",),
        8,
        _strided_rule,
        tflite.simple(2, tflite.FLOAT_QUANT8, level=2),
        _lower_strided,
    ),
    OperatorRule("TILE", ("TILE",), 3, _tile_rule, _tile_tflite, _lower_tile),
    OperatorRule("BROADCAST_TO", ("RESHAPE", "TILE"), 4, _broadcast_rule, None, _lower_broadcast),
    OperatorRule("TOPK_V2", ("TOPK_V2", "GATHER"), 3, _topk_rule, _topk_tflite, _lower_topk),
    OperatorRule("FILL", ("FILL",), 5, _fill_rule, _fill_tflite, _lower_fill),
    OperatorRule("ONE_HOT", ("EXPAND_DIMS", "EQUAL", "SELECT"), 1, _one_hot_rule, None, _lower_one_hot),
    OperatorRule("EMBEDDING_LOOKUP", ("EMBEDDING_LOOKUP",), 5, _embedding_rule, _embedding_tflite, _lower_embedding),
    OperatorRule("HASHTABLE_LOOKUP", ("HASHTABLE_LOOKUP",), 1, _hashtable_rule, _hashtable_tflite, _lower_hashtable),
    OperatorRule("LSH_PROJECTION", ("LSH_PROJECTION",), 1, _lsh_rule, _lsh_tflite, _lower_lsh),
)
