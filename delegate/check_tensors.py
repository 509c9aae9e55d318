"""Semantic checks of buffers and tensors: shapes, sizes, constants, quantization, sparsity, strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from nnapi_toolkit.delegate.tensor import (
    ELEMENT_BITS,
)
from nnapi_toolkit.delegate.verifier import Level, Positions, Ragged, refuse
from nnapi_toolkit.schema.enums import TensorType

#: Kernels count elements in an int32.
MAX_ELEMENTS: Final = 2**31 - 1

_BITS: Final = np.array([ELEMENT_BITS.get(kind, 0) for kind in TensorType], np.int64)
_NAMES: Final = np.array([kind.name for kind in TensorType], object)


@dataclass(slots=True)
class TensorColumns:
    """All tensors of all subgraphs, as verified columns; row r is one tensor.

    Attributes:
        level: The `Tensor` tables.
        types: `TensorType` values.
        shape: Dimensions, and `ranks` their number per tensor.
        elements: Number of elements of the shape.
        data_offset, data_length: Bytes of the constant in the file; -1 for none.
        is_input: Set by the graph's checks: inputs of their subgraph.
    """

    level: Level
    types: Positions
    shape: Ragged
    ranks: Positions
    elements: Positions
    data_offset: Positions
    data_length: Positions


def check_tensors(root: Level) -> TensorColumns:
    """Checks all tensors of a model, and finds their constants.

    Raises:
        ModelError: The first tensor or buffer found wrong.
    """
    level = root.child("subgraphs").child("tensors")
    types = level.scalars("type").astype(np.int64)
    shape, ranks, elements = _check_shapes(level)
    offset, length = _constants(root, level, types)
    columns = TensorColumns(level, types, shape, ranks, elements, offset, length)
    _check_sizes(columns)
    _check_strings(columns)
    return columns


def _check_shapes(level: Level) -> tuple[Ragged, Positions, Positions]:
    shape, ranks = level.ragged("shape"), level.vector("shape")[1]
    refuse(level, shape.values < 0, "shape", "dimension {} is negative", shape.values, shape.rows, shape.elements)
    sizes = np.ones(len(level), np.float64)
    with np.errstate(over="ignore"):  # an infinite size is refused like any other that is too large
        np.multiply.at(sizes, shape.rows, np.maximum(shape.values, 1).astype(np.float64))
    is_empty = np.zeros(len(level), np.bool_)
    is_empty[shape.rows[shape.values == 0]] = True
    too_large = (sizes > MAX_ELEMENTS) & ~is_empty
    refuse(
        level,
        too_large,
        "shape",
        f"{{:.3g}} elements are more than the {MAX_ELEMENTS} an int32 counts",
        sizes,
    )
    elements = np.where(is_empty, 0, sizes).astype(np.int64)

    signature, known = level.ragged("shape_signature"), level.vector("shape_signature")[1]
    refuse(
        level,
        (known != 0) & (known != ranks),
        "shape_signature",
        "it has {} dimensions, the shape has {}",
        (known, ranks),
    )
    refuse(
        level,
        signature.values < -1,
        "shape_signature",
        "dimension {} is negative; unknown ones are -1",
        signature.values,
        signature.rows,
        signature.elements,
    )
    return shape, ranks, elements


def _constants(root: Level, level: Level, types: Positions) -> tuple[Positions, Positions]:
    """Position and length of each tensor's data in the file, -1 for none. Handles have no data of their own."""
    buffers = root.child("buffers")
    index = level.scalars("buffer").astype(np.int64)
    count = np.full(len(level), len(buffers))
    bad = (index >= count) & (index != 0)
    refuse(level, bad, "buffer", "there is no buffer {}: the model has {}", (index, count))
    external = level.scalars("external_buffer")
    refuse(
        level,
        external != 0,
        "external_buffer",
        "its data (external buffer {}) lies in another file: convert the model with its weights inside",
        external,
    )
    starts, lengths = _buffer_ranges(buffers)
    if not len(buffers):
        return np.full(len(level), -1), np.full(len(level), -1)
    is_handle = (types == TensorType.RESOURCE) | (types == TensorType.VARIANT)
    has_data = (index != 0) & (lengths[index] > 0) & ~is_handle
    return np.where(has_data, starts[index], -1), np.where(has_data, lengths[index], -1)


def _buffer_ranges(buffers: Level) -> tuple[Positions, Positions]:
    starts, lengths = buffers.vector("data")
    offset, size = buffers.scalars("offset"), buffers.scalars("size")
    beyond = (offset > 1) & (lengths == 0)  # 0 and 1 are placeholders
    total = np.uint64(buffers.image.size)
    bad = beyond & ((offset > total) | (size > total - np.minimum(offset, total)))
    refuse(
        buffers,
        bad,
        "offset",
        f"its {{}} bytes at {{}} lead outside the file of {total} bytes",
        (size, offset),
    )
    starts = np.where(beyond, offset, 0).astype(np.int64) + np.where(beyond, 0, starts)
    return starts, np.where(beyond, size, 0).astype(np.int64) + np.where(beyond, 0, lengths)


def _check_sizes(columns: TensorColumns) -> None:
    """A constant holds exactly what its type and shape need; strings and sparse tensors have other rules."""
    level, bits = columns.level, _BITS[columns.types]
    needed = (columns.elements * bits + 7) // 8
    dense = (bits != 0) & ~level.has("sparsity")
    bad = dense & (columns.data_length >= 0) & (columns.data_length != needed)
    names = _NAMES[columns.types]
    message = "its buffer holds {} bytes, {} elements of {} need {}"
    refuse(level, bad, "buffer", message, (columns.data_length, columns.elements, names, needed))


def _check_strings(columns: TensorColumns) -> None:
    rows = np.flatnonzero((columns.types == TensorType.STRING) & (columns.data_length >= 0))
    seen: dict[tuple[int, int], int] = {}
    for row in rows.tolist():
        place = int(columns.data_offset[row]), int(columns.data_length[row])
        if place not in seen:
            seen[place] = _count_strings(columns.level, row, *place)
        if seen[place] != columns.elements[row]:
            message = f"its buffer holds {seen[place]} strings, its shape needs {columns.elements[row]}"
            raise columns.level.error(row, "buffer", message)


def _count_strings(level: Level, row: int, offset: int, length: int) -> int:
    data = level.image.data[offset : offset + length]
    count = int(np.frombuffer(data, "<i4", 1)[0]) if length >= 4 else -1
    if count < 0 or length < 4 * (count + 2):
        raise level.error(row, "buffer", f"{length} bytes cannot hold its {count} strings", offset=offset)
    offsets = np.frombuffer(data, "<i4", count + 1, 4)
    if offsets[0] < 4 * (count + 2) or offsets[-1] > length or (np.diff(offsets) < 0).any():
        raise level.error(row, "buffer", "the offsets of its strings are not in order", offset=offset)
    return count


def tuples(values: list[Any], counts: list[int]) -> list[tuple[Any, ...]]:
    """Cuts a flat list into tuples of the given lengths."""
    cut, at = [], 0
    for count in counts:
        cut.append(tuple(values[at : at + count]))
        at += count
    return cut
