"""CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_PACKABLE = frozenset({TensorType.INT32, TensorType.FLOAT32, TensorType.INT8, TensorType.UINT8})


def _concat_rule(case: Case) -> None:
    """NNAPI: up to rank 4; 8-bit inputs of differing scales from feature level 3."""
    first, out = case.input(0), case.output()
    code = case.operation("CONCATENATION", first)
    case.fuse_none("CONCATENATION")
    case.axis(case.options.axis, max(1, first.rank), "option axis")
    case.same_type(out, first)
    case.known_shape(out)
    if code in QUANT8:
        case.scaled(out)
    for position in range(case.input_count):
        operand = case.input(position)
        case.operation("CONCATENATION", operand)
        case.same_type(operand, first)
        if code in QUANT8:
            case.scaled(operand)
            if case.level < 3 or operand.tensor.type == TensorType.INT8:
                case.same_quantization(operand, out, "CONCATENATION")


def _lower_concat(builder: ProgramBuilder, case: Case) -> None:
    inputs = [builder.tensor(case.input(i)) for i in range(case.input_count)]
    axis = case.axis(case.options.axis, max(1, case.input(0).rank), "option axis")
    builder.operation("CONCATENATION", [*inputs, builder.int32(axis)], builder.tensor(case.output()))


def _concat_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.no_activation(case)
    tflite.ranks_at_most_4(case, 0)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8 | {TensorType.FLOAT16})
    first = tflite.tensor(case, 0)
    if first.type == TensorType.UINT8 and case.level < 3:
        wanted = tflite.legacy_scale(first), tflite.legacy_zero_point(first)
        for position in range(1, case.input_count):
            operand = case.input(position)
            found = tflite.legacy_scale(operand.tensor), tflite.legacy_zero_point(operand.tensor)
            case.need(found == wanted, "quantization", operand, found, wanted, "feature level 3")


# -- PACK -----------------------------------------------------------------------------------------------------------


def check_pack(case: Case, name: str) -> None:
    """All inputs alike, and the type is one that the operation takes."""
    first, out = case.input(0), case.output()
    code = case.operation(name, first)
    case.axis(case.options.axis, first.rank, "option axis", end=1)
    for operand in (*(case.input(i) for i in range(case.input_count)), out):
        case.same_type(operand, first)
        if code in QUANT8:
            case.same_quantization(operand, first, name)
        if operand is not out:
            wanted = f"{list(first.shape)}, as input 0"
            case.need(operand.shape == first.shape, "operand-shape", operand, list(operand.shape), wanted)
    case.known_shape(out)


def _pack_rule(case: Case) -> None:
    """NNAPI: feature level 6."""
    check_pack(case, "PACK")
    first = case.input(0)
    case.need(first.rank >= 1, "operand-rank", first, "of rank 0", "of rank 1 or more", "rewrite pack-by-concatenation")


def _lower_pack(builder: ProgramBuilder, case: Case) -> None:
    axis = builder.int32(case.axis(case.options.axis, case.input(0).rank, "option axis", end=1))
    inputs = [builder.tensor(case.input(i)) for i in range(case.input_count)]
    builder.operation("PACK", [axis, *inputs], builder.tensor(case.output()))


def _pack_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 4)
    if case.level >= 6:
        tflite.type_in(case, 0, _PACKABLE)
        return
    tflite.type_in(case, 0, frozenset({TensorType.FLOAT32, TensorType.INT8}))
    axis = case.options.axis
    case.need(
        axis != -1 and axis != case.input(0).rank,
        "option-value",
        "option axis",
        axis,
        "not the last dimension",
        "feature level 6",
    )


# -- UNPACK ---------------------------------------------------------------------------------------------------------


def _unpack_rule(case: Case) -> None:
    """RESHAPE that merges the axis with the next one, then SPLIT (feature level 3): exact, for all axes but the last."""
    x = case.input(0, "input")
    case.operation("RESHAPE", x)
    case.operation("SPLIT", x)
    case.ranks(x, 2, 4, "UNPACK by RESHAPE and SPLIT")
    axis = case.axis(case.options.axis, x.rank, "option axis")
    case.need(
        axis != x.rank - 1,
        "option-value",
        "option axis",
        case.options.axis,
        "not the last dimension for RESHAPE and SPLIT",
        "rewrite unpack-by-slices",
    )
    check_unpack_outputs(case, x, axis)


def check_unpack_outputs(case: Case, x: Operand, axis: int) -> None:
    """One output per element of the axis, each of the input's type and quantisation."""
    outputs = len(case.node.operator.outputs)
    case.need(outputs == x.shape[axis], "operand-count", "the number of outputs", outputs, x.shape[axis])
    for position in range(outputs):
        out = case.output(position)
        case.same_type(out, x)
        case.same_quantization(out, x, "UNPACK")


def _lower_unpack(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(0)
    axis = case.axis(case.options.axis, x.rank, "option axis")
    count = x.shape[axis]
    shape = list(x.shape)
    shape[axis : axis + 2] = [count * shape[axis + 1]]
    source = builder.tensor(x)
    merged = builder.temporary_like(source, shape)
    builder.operation("RESHAPE", [source, builder.int32_vector(shape)], merged)
    outputs = [builder.tensor(case.output(i)) for i in range(count)]
    builder.operation("SPLIT", [merged, builder.int32(axis), builder.int32(count)], outputs)


def _unpack_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 4)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8)
    x = case.input(0)
    case.need(1 < x.rank <= 4, "operand-rank", x, f"of rank {x.rank}", "of rank 2 to 4")
    axis = case.options.axis
    case.need(axis != -1 and axis != x.rank - 1, "option-value", "option axis", axis, "not the last dimension")


# -- SPLIT, SPLIT_V -------------------------------------------------------------------------------------------------


def _split_rule(case: Case) -> None:
    """NNAPI: feature level 3, a constant axis."""
    x = case.input(1, "input")
    case.operation("SPLIT", x)
    axis = case.axis(case.integers(case.input(0, "axis"))[0], max(1, x.rank), case.input(0, "axis"))
    count = len(case.node.operator.outputs)
    case.need(x.shape[axis] % count == 0, "operand-shape", x, list(x.shape), f"divisible by {count} on axis {axis}")
    for position in range(count):
        case.same_type(case.output(position), x)
        case.same_quantization(case.output(position), x, "SPLIT")


def _lower_split(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(1)
    axis = case.axis(case.integers(case.input(0, "axis"))[0], max(1, x.rank), case.input(0, "axis"))
    outputs = [builder.tensor(case.output(i)) for i in range(len(case.node.operator.outputs))]
    builder.operation("SPLIT", [builder.tensor(x), builder.int32(axis), builder.int32(len(outputs))], outputs)


def _split_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    tflite.min_level(case, 3)
    kinds = tflite.FLOAT_QUANT8_INT32 if case.level >= 4 else tflite.FLOAT_UINT8 | {TensorType.INT32}
    tflite.type_in(case, 1, kinds)
    tflite.type_in(case, 0, frozenset({TensorType.INT32}))
    tflite.constant(case, 0)


def split_sizes(case: Case) -> tuple[int, list[int]]:
    """Axis and sizes of SPLIT_V, a -1 among them resolved."""
    x = case.input(0, "input")
    axis_operand, sizes_operand = case.input(2, "axis"), case.input(1, "size_splits")
    axis = case.axis(case.integers(axis_operand)[0], max(1, x.rank), axis_operand)
    sizes = case.integers(sizes_operand)
    total = x.shape[axis]
    if sizes.count(-1) == 1:
        known = sum(s for s in sizes if s >= 0)
        sizes[sizes.index(-1)] = total - known
    case.need(
        min(sizes, default=-1) > 0 and sum(sizes) == total and len(sizes) == len(case.node.operator.outputs),
        "operand-value",
        sizes_operand,
        sizes,
        f"positive sizes that add up to {total}",
    )
    return axis, sizes


def _split_v_rule(case: Case) -> None:
    """One SLICE for each output (feature level 3)."""
    x = case.input(0, "input")
    case.operation("SLICE", x)
    _, sizes = split_sizes(case)
    for position in range(len(sizes)):
        case.same_type(case.output(position), x)
        case.same_quantization(case.output(position), x, "SLICE")


def _lower_split_v(builder: ProgramBuilder, case: Case) -> None:
    x = case.input(0)
    axis, sizes = split_sizes(case)
    source = builder.tensor(x)
    begin = 0
    for position, size in enumerate(sizes):
        starts, lengths = [0] * len(x.shape), list(x.shape)
        starts[axis], lengths[axis] = begin, size
        inputs = [source, builder.int32_vector(starts), builder.int32_vector(lengths)]
        builder.operation("SLICE", inputs, builder.tensor(case.output(position)))
        begin += size


def _split_v_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 4)
    tflite.type_in(case, 0, tflite.FLOAT_QUANT8_INT32)
    sizes_operand, axis_operand = case.input(1, "size_splits"), case.input(2, "axis")
    for operand in (sizes_operand, axis_operand):
        case.typed(operand, TensorType.INT32)
        case.constant(operand)
    case.ranks(sizes_operand, 1, 1)
    case.need(sizes_operand.rank == 1, "operand-rank", sizes_operand, f"of rank {sizes_operand.rank}", "of rank 1")
    sizes = case.integers(sizes_operand)
    x = case.input(0)
    axis = case.axis((case.integers(axis_operand) or [0])[0], x.rank, axis_operand)
    rest = x.shape[axis] - sum(s for s in sizes if s != -1) if -1 in sizes else -1
    case.need(0 not in sizes and rest != 0, "operand-value", sizes_operand, sizes, "no split of size zero")


RULES = (
    OperatorRule("CONCATENATION", ("CONCATENATION",), 7, _concat_rule, _concat_tflite, _lower_concat),
    OperatorRule("PACK", ("PACK",), 5, _pack_rule, _pack_tflite, _lower_pack),
    OperatorRule("UNPACK", ("RESHAPE", "SPLIT"), 6, _unpack_rule, _unpack_tflite, _lower_unpack),
    OperatorRule("SPLIT", ("SPLIT",), 5, _split_rule, _split_tflite, _lower_split),
    OperatorRule("SPLIT_V", ("SLICE",), 3, _split_v_rule, _split_v_tflite, _lower_split_v),
)
