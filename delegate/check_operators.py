"""Semantic checks of operator codes, operators and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from nnapi_toolkit.delegate.check_tensors import TensorColumns
from nnapi_toolkit.delegate.verifier import Level, Positions, Ragged, refuse
from nnapi_toolkit.schema.enums import BuiltinOperator
from nnapi_toolkit.schema.layout import Arity
from nnapi_toolkit.schema.tflite_layout import OPERATOR_ARITY, OPERATOR_OPTIONS, TABLES
from numpy.typing import NDArray

#: Options that divide, count or multiply: less would end in a division by zero, a hang or nothing.
AT_LEAST_ONE: Final = {
    "Conv2DOptions": ("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor"),
    "DepthwiseConv2DOptions": ("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor"),
    "TransposeConvOptions": ("stride_w", "stride_h"),
    "Conv3DOptions": (
        *("stride_d", "stride_w", "stride_h"),
        *("dilation_d_factor", "dilation_w_factor", "dilation_h_factor"),
    ),
    "Pool2DOptions": ("stride_w", "stride_h", "filter_width", "filter_height"),
    "SpaceToDepthOptions": ("block_size",),
    "DepthToSpaceOptions": ("block_size",),
    "SplitOptions": ("num_splits",),
    "SplitVOptions": ("num_splits",),
    "PackOptions": ("values_count",),
    "UnpackOptions": ("num",),
    "SVDFOptions": ("rank",),
    "SkipGramOptions": ("ngram_size",),
    "StablehloConvolutionOptions": (
        *("window_strides", "lhs_dilation", "rhs_dilation"),
        *("feature_group_count", "batch_group_count"),
    ),
    "StablehloReduceWindowOptions": (*("window_dimensions", "window_strides", "base_dilations", "window_dilations"),),
    "StablehloSliceOptions": ("strides",),
}
AT_LEAST_ZERO: Final = {
    "DepthwiseConv2DOptions": ("depth_multiplier",),
    "LocalResponseNormalizationOptions": ("radius",),
    "SkipGramOptions": ("max_skip_size",),
}
#: Options that repeat a count: (field, counts the operator's inputs or outputs).
_COUNTS: Final = {
    "PackOptions": ("values_count", "inputs"),
    "UnpackOptions": ("num", "outputs"),
    "SplitOptions": ("num_splits", "outputs"),
    "SplitVOptions": ("num_splits", "outputs"),
}
#: Operator -> (position and rank of its filter, dimensions that slide, the option that spreads each).
_FILTERS: Final = {
    BuiltinOperator.CONV_2D: (1, 4, {1: "dilation_h_factor", 2: "dilation_w_factor"}),
    BuiltinOperator.DEPTHWISE_CONV_2D: (1, 4, {1: "dilation_h_factor", 2: "dilation_w_factor"}),
    BuiltinOperator.TRANSPOSE_CONV: (1, 4, {}),
    BuiltinOperator.CONV_3D: (1, 5, {0: "dilation_d_factor", 1: "dilation_h_factor", 2: "dilation_w_factor"}),
    BuiltinOperator.CONV_3D_TRANSPOSE: (1, 5, {}),
    BuiltinOperator.FULLY_CONNECTED: (1, None, {}),
}
_ANY: Final = Arity(0, None, 0, None)
_OPEN: Final = 2**31 - 1


class OperatorCode(NamedTuple):
    """An entry of the model's operator codes."""

    op: BuiltinOperator
    version: int
    custom_code: str | None


@dataclass(slots=True)
class OperatorColumns:
    """All operators of all subgraphs, as verified columns; row r is one operator.

    Attributes:
        level: The `Operator` tables.
        codes: The model's operator codes, and `code` each operator's index among them.
        builtin: `BuiltinOperator` values.
        inputs, outputs, intermediates: Tensor indices of the operator's subgraph.
        options: Position of the options table in the file, 0 for none.
        custom_offset, custom_length: Bytes of the custom options in the file.
    """

    level: Level
    codes: list[OperatorCode]
    code: Positions
    builtin: Positions
    inputs: Ragged
    outputs: Ragged
    intermediates: Ragged
    options: Positions
    custom_offset: Positions
    custom_length: Positions


def check_operators(root: Level, tensors: TensorColumns) -> OperatorColumns:
    """Checks all operators of a model, each by itself.

    Raises:
        ModelError: The first operator or operator code found wrong.
    """
    level = root.child("subgraphs").child("operators")
    codes = _check_codes(root.child("operator_codes"))
    code = level.scalars("opcode_index").astype(np.int64)
    count = np.full(len(level), len(codes))
    refuse(level, code >= count, "opcode_index", "there is no operator code {}: the model has {}", (code, count))
    builtin = np.array([int(entry.op) for entry in codes], np.int64)[code] if codes else code
    sides = _check_indices(level)
    _check_arity(level, codes, code, *sides[:2])
    options = _check_members(level, builtin)
    custom = _custom_ranges(level)
    columns = OperatorColumns(level, codes, code, builtin, *sides, options, *custom)
    _check_missing(columns)
    for union in ("builtin_options", "builtin_options_2"):
        for member, tables in level.members(union).items():
            _check_values(level, member, tables)
    _check_filters(columns, tensors)
    return columns


def _check_codes(level: Level) -> list[OperatorCode]:
    old, new = level.scalars("deprecated_builtin_code"), level.scalars("builtin_code")
    code = np.maximum(old.astype(np.int64), new.astype(np.int64))
    bad = (code < 0) | (code == BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    refuse(level, bad, "deprecated_builtin_code", "{} is the code of no operator", code)
    names = level.strings("custom_code")
    nameless = (code == BuiltinOperator.CUSTOM) & np.array([not name for name in names], np.bool_)
    refuse(level, nameless, "custom_code", "the custom operator has no name", code)
    versions = level.scalars("version").tolist()
    return [
        OperatorCode(BuiltinOperator(value), version, name if value == BuiltinOperator.CUSTOM else None)
        for value, version, name in zip(code.tolist(), versions, names)
    ]


def _check_indices(level: Level) -> tuple[Ragged, Ragged, Ragged]:
    """Every tensor index is one of the operator's subgraph; -1 is an omitted input or intermediate."""
    limits = np.zeros(0, np.int64) if level.parent is None else level.parent.vector("tensors")[1][level.rows]
    sides = []
    for field, lowest in (("inputs", -1), ("outputs", 0), ("intermediates", -1)):
        side = level.ragged(field)
        limit = limits[side.rows]
        bad = (side.values < lowest) | (side.values >= limit)
        message = "there is no tensor {}: the subgraph has {}"
        refuse(level, bad, field, message, (side.values, limit), side.rows, side.elements)
        sides.append(side)
    mutating, inputs = level.vector("mutating_variable_inputs")[1], level.vector("inputs")[1]
    bad = (mutating != 0) & (mutating != inputs)
    refuse(level, bad, "mutating_variable_inputs", "it has {} flags for {} inputs", (mutating, inputs))
    return sides[0], sides[1], sides[2]


def _check_arity(level: Level, codes: list[OperatorCode], code: Positions, inputs: Ragged, outputs: Ragged) -> None:
    arities = [OPERATOR_ARITY.get(entry.op.name, _ANY) for entry in codes]
    names = np.array([entry.op.name for entry in codes], object)
    bounds = np.array([[_OPEN if b is None else int(b) for b in arity] for arity in arities], np.int64)
    bounds = bounds.reshape(-1, 5)[code]
    for field, low, high in (("inputs", bounds[:, 0], bounds[:, 1]), ("outputs", bounds[:, 2], bounds[:, 3])):
        count = level.vector(field)[1]
        refuse(level, count < low, field, "{} has {}, needs at least {}", (names[code], count, low))
        refuse(level, count > high, field, "{} has {}, takes at most {}", (names[code], count, high))
    needed = (inputs.elements < bounds[:, 0][inputs.rows]) & (bounds[:, 4][inputs.rows] == 0)
    bad = (inputs.values == -1) & needed
    message = "{} cannot do without this input, it is omitted (-1)"
    refuse(level, bad, "inputs", message, names[code][inputs.rows], inputs.rows, inputs.elements)


def _check_members(level: Level, builtin: Positions) -> Positions:
    """The options are the operator's own kind; their positions in the file."""
    positions = np.zeros(len(level), np.int64)
    for union in ("builtin_options", "builtin_options_2"):
        for member, tables in level.members(union).items():
            expected = [OPERATOR_OPTIONS.get(op.name) for op in BuiltinOperator]
            is_own = np.array([table == member for table in expected], np.bool_)[builtin[tables.rows]]
            reads = np.array([bool(table and TABLES[table]) for table in expected], np.bool_)
            foreign = ~is_own & reads[builtin[tables.rows]]
            wanted = np.array(expected, object)[builtin[tables.rows]]
            message = f"its options are {member}, must be {{}}"
            refuse(level, foreign, union, message, wanted, tables.rows)
            positions[tables.rows[is_own]] = tables.positions[is_own]
    return positions


def _check_missing(columns: OperatorColumns) -> None:
    """An operator without its table has the schema's defaults, which for some options means zero."""
    zero_default = {}
    for table, fields in AT_LEAST_ONE.items():
        defaults = [f.name for f in TABLES[table] if f.name in fields and f.default is not None and not f.default]
        if defaults:
            zero_default[table] = defaults[0]
    for entry in set(columns.codes):
        table = OPERATOR_OPTIONS.get(entry.op.name, "")
        if table in zero_default:
            bad = (columns.builtin == int(entry.op)) & (columns.options == 0)
            message = f"{entry.op.name} lacks its {table}, so {zero_default[table]} is 0: must be at least 1"
            refuse(columns.level, bad, "builtin_options", message)


def _custom_ranges(level: Level) -> tuple[Positions, Positions]:
    starts, counts = level.vector("custom_options")
    offset, size = level.scalars("large_custom_options_offset"), level.scalars("large_custom_options_size")
    beyond = (offset > 1) & (counts == 0)
    total = np.uint64(level.image.size)
    bad = beyond & ((offset > total) | (size > total - np.minimum(offset, total)))
    message = f"its {{}} bytes at {{}} lead outside the file of {total} bytes"
    refuse(level, bad, "large_custom_options_offset", message, (size, offset))
    starts = np.where(beyond, offset, 0).astype(np.int64) + np.where(beyond, 0, starts)
    return starts, np.where(beyond, size, 0).astype(np.int64) + np.where(beyond, 0, counts)


def _check_values(level: Level, member: str, tables: Level) -> None:
    kinds = {field.name: field.kind for field in TABLES[member]}
    for lowest, fields in ((1, AT_LEAST_ONE.get(member, ())), (0, AT_LEAST_ZERO.get(member, ()))):
        for field in fields:
            message = f"{{}} must be at least {lowest}"
            if kinds[field][0] == "[":
                vector = tables.ragged(field)
                refuse(tables, vector.values < lowest, field, message, *vector)
            else:
                values = tables.scalars(field)
                refuse(tables, values < lowest, field, message, values)
    if member in _COUNTS:
        field, side = _COUNTS[member]
        values, count = tables.scalars(field), level.vector(side)[1][tables.rows]
        refuse(tables, values != count, field, f"it is {{}}, the operator has {{}} {side}", (values, count))
    for field, kind in kinds.items():
        if kind == "f":
            values = tables.scalars(field)
            refuse(tables, np.isnan(values), field, "{} is no number", values)
    if member == "FakeQuantOptions":
        bits = tables.scalars("num_bits")
        refuse(tables, (bits < 2) | (bits > 16), "num_bits", "{} must be 2 to 16", bits)


def _check_filters(columns: OperatorColumns, tensors: TensorColumns) -> None:
    """Filters have the kernels' rank and no empty dimension, and stay countable when dilated."""
    level = columns.level
    if level.parent is None or not len(level):
        return
    tensor_bases = np.cumsum(level.parent.vector("tensors")[1]) - level.parent.vector("tensors")[1]
    firsts = np.cumsum(tensors.ranks) - tensors.ranks
    input_counts = level.vector("inputs")[1]
    input_firsts = np.cumsum(input_counts) - input_counts
    for op in {entry.op for entry in columns.codes} & set(_FILTERS):
        position, rank, spread = _FILTERS[op]
        rows = np.flatnonzero(columns.builtin == int(op))
        index = columns.inputs.values[input_firsts[rows] + position]
        tensor = tensor_bases[level.rows[rows]] + index
        empty = tensors.elements[tensor] == 0
        refuse(level, empty, "inputs", "the filter has an empty dimension", (), rows, np.full(len(rows), position))
        known = tensors.data_length[tensor] >= 0  # others get their shape when the model runs
        rows, tensor = rows[known], tensor[known]
        place = np.full(len(rows), position)
        ranks = tensors.ranks[tensor]
        if rank is not None:
            message = f"the filter has {{}} dimensions, must have {rank}"
            refuse(level, ranks != rank, "inputs", message, ranks, rows, place)
        if spread:
            _check_dilated(columns, rows, op, tensors.shape.values, firsts[tensor], spread)


def _check_dilated(
    columns: OperatorColumns,
    rows: Positions,
    op: BuiltinOperator,
    dimensions: NDArray[Any],
    firsts: Positions,
    spread: dict[int, str],
) -> None:
    level = columns.level
    tables = level.members("builtin_options").get(OPERATOR_OPTIONS[op.name])
    if tables is None:
        return
    for axis, field in spread.items():
        factors = np.ones(len(level), np.int64)
        factors[tables.rows] = tables.scalars(field)
        extent = (dimensions[firsts + axis].astype(np.int64) - 1) * factors[rows] + 1
        message = f"the filter spreads over {{}} positions with its {field}: more than an int32 counts"
        refuse(level, extent > _OPEN, "builtin_options", message, extent, rows)
