"""Semantic checks of buffers and tensors: shapes, sizes, constants, quantization, sparsity, strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.tensor import (
    ELEMENT_BITS,
    BlockQuantization,
    Quantization,
    SparseDimension,
    Sparsity,
    Tensor,
)
from nnapi_toolkit.delegate.verifier import Level, Positions, Ragged, refuse
from nnapi_toolkit.schema.enums import DimensionType, TensorType
from nnapi_toolkit.schema.layout import SCALAR_SIZES
from nnapi_toolkit.schema.tflite_layout import TABLES

#: Kernels count elements in an int32.
MAX_ELEMENTS: Final = 2**31 - 1

_BITS: Final = np.array([ELEMENT_BITS.get(kind, 0) for kind in TensorType], np.int64)
_NAMES: Final = np.array([kind.name for kind in TensorType], object)
_INT32: Final = np.iinfo(np.int32)
_RANGES: Final = {
    TensorType.UINT8: (0, 255),
    TensorType.INT8: (-128, 127),
    TensorType.INT16: (-32768, 32767),
    TensorType.UINT16: (0, 65535),
    TensorType.INT4: (-8, 7),
    TensorType.UINT4: (0, 15),
    TensorType.INT2: (-2, 1),
}
_LOWEST: Final = np.array([_RANGES.get(kind, (_INT32.min, 0))[0] for kind in TensorType], np.int64)
_HIGHEST: Final = np.array([_RANGES.get(kind, (0, _INT32.max))[1] for kind in TensorType], np.int64)


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
    offset, length = _constants(root, level)
    columns = TensorColumns(level, types, shape, ranks, elements, offset, length)
    _check_sizes(columns)
    _check_strings(columns)
    return columns


def _check_shapes(level: Level) -> tuple[Ragged, Positions, Positions]:
    shape, ranks = level.ragged("shape"), level.vector("shape")[1]
    refuse(
        level, shape.values < 0, "shape", "dimension {} is negative", shape.values, shape.rows, shape.elements
    )
    sizes = np.ones(len(level), np.float64)
    np.multiply.at(sizes, shape.rows, np.maximum(shape.values, 1).astype(np.float64))
    is_empty = np.zeros(len(level), np.bool_)
    is_empty[shape.rows[shape.values == 0]] = True
    too_large = (sizes > MAX_ELEMENTS) & ~is_empty
    refuse(level, too_large, "shape", f"{{:.3g}} elements are more than the {MAX_ELEMENTS} an int32 counts", sizes)
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


def _constants(root: Level, level: Level) -> tuple[Positions, Positions]:
    """Position and length of each tensor's data in the file, -1 for none."""
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
    has_data = (index != 0) & (lengths[index] > 0)
    return np.where(has_data, starts[index], -1), np.where(has_data, lengths[index], -1)


def _buffer_ranges(buffers: Level) -> tuple[Positions, Positions]:
    starts, lengths = buffers.vector("data")
    offset, size = buffers.scalars("offset"), buffers.scalars("size")
    beyond = (offset > 1) & (lengths == 0)  # 0 and 1 are placeholders
    total = np.uint64(buffers.image.size)
    bad = beyond & ((offset > total) | (size > total - np.minimum(offset, total)))
    refuse(
        buffers, bad, "offset", f"its {{}} bytes at {{}} lead outside the file of {total} bytes", (size, offset)
    )
    starts = np.where(beyond, offset, 0).astype(np.int64) + np.where(beyond, 0, starts)
    return starts, np.where(beyond, size, 0).astype(np.int64) + np.where(beyond, 0, lengths)


def _check_sizes(columns: TensorColumns) -> None:
    """A constant holds exactly what its type and shape need (strings and sparse tensors are checked elsewhere)."""
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


# ------------------------------------------------------------------------------------------------------- quantization


def check_quantization(columns: TensorColumns) -> dict[int, Quantization]:
    """Row of a tensor -> its quantization, for those that have any.

    Raises:
        ModelError: A scale that is negative or no number, counts that do not match the quantized dimension, a zero
            point outside the type's range, blockwise parameters that name no tensor.
    """
    level = columns.level.child("quantization")
    found = _check_blocks(columns, level)
    blocked = np.isin(level.rows, list(found)) if found else np.zeros(len(level), np.bool_)
    scales, zeros = level.ragged("scale"), level.ragged("zero_point")
    counts, zero_counts = level.vector("scale")[1], level.vector("zero_point")[1]
    used = (counts > 0) & ~blocked
    bad = used[scales.rows] & ~(np.isfinite(scales.values) & (scales.values >= 0))
    refuse(level, bad, "scale", "{} is no scale: it must be finite and positive", *scales)
    bad = used & (zero_counts > 1) & (zero_counts != counts)
    refuse(level, bad, "zero_point", "there are {} zero points for {} scales", (zero_counts, counts))
    kinds = columns.types[level.rows]
    low, high = _LOWEST[kinds][zeros.rows], _HIGHEST[kinds][zeros.rows]
    bad = used[zeros.rows] & ((zeros.values < low) | (zeros.values > high))
    refuse(
        level,
        bad,
        "zero_point",
        "{} is outside {} to {}, the range of the tensor's type",
        (zeros.values, low, high),
        zeros.rows,
        zeros.elements,
    )
    dimensions = _check_dimensions(columns, level, used & (counts > 1), counts)
    _collect(level, used, scales.values.tolist(), zeros.values.tolist(), dimensions, found)
    return found


def _check_dimensions(
    columns: TensorColumns, level: Level, per_channel: NDArray[np.bool_], counts: Positions
) -> list[int]:
    dimension = level.scalars("quantized_dimension").astype(np.int64)
    ranks = columns.ranks[level.rows]
    bad = per_channel & ((dimension < 0) | (dimension >= ranks))
    message = "there is no dimension {}: the tensor has {}"
    refuse(level, bad, "quantized_dimension", message, (dimension, ranks))
    firsts = (np.cumsum(columns.ranks) - columns.ranks)[level.rows]
    rows = np.flatnonzero(per_channel)
    extent = columns.shape.values[firsts[rows] + dimension[rows]]
    bad = extent != counts[rows]
    message = "there are {} scales for a dimension of {}"
    refuse(level, bad, "scale", message, (counts[rows], extent), rows)
    return list(dimension.tolist())


def _collect(
    level: Level,
    used: NDArray[np.bool_],
    scales: list[float],
    zeros: list[int],
    dimensions: list[int],
    found: dict[int, Quantization],
) -> None:
    scale_counts, zero_counts = level.vector("scale")[1].tolist(), level.vector("zero_point")[1].tolist()
    at = zero_at = 0
    rows = level.rows.tolist()
    for row, wanted, count, zero_count, dimension in zip(
        rows, used.tolist(), scale_counts, zero_counts, dimensions
    ):
        if wanted and (count > 1 or scales[at] > 0):  # one scale of 0 is how some writers say "none"
            scale = tuple(scales[at : at + count])
            points = tuple(zeros[zero_at : zero_at + zero_count])
            points = points if len(points) == count else (points or (0,)) * count
            found[row] = Quantization(scale, points, dimension)
        at += count
        zero_at += zero_count


def _check_blocks(columns: TensorColumns, level: Level) -> dict[int, Quantization]:
    found: dict[int, Quantization] = {}
    per_subgraph = columns.level.parent
    if per_subgraph is None:
        return found
    counts = per_subgraph.vector("tensors")[1]
    for member, blocks in level.members("details").items():
        if member == "CustomQuantization":
            continue
        owners = level.rows[blocks.rows]
        limits = counts[columns.level.rows[owners]]
        for name, lowest in (("scales", 0), ("zero_points", -1)):
            index = blocks.scalars(name).astype(np.int64)
            bad = (index < lowest) | (index >= limits)
            refuse(blocks, bad, name, "there is no tensor {}: the subgraph has {}", (index, limits))
        sizes = blocks.scalars("block_size")
        lowest = 1 if member == "BlockwiseQuantization" else 0
        refuse(blocks, sizes < lowest, "block_size", f"{{}} must be at least {lowest}", sizes)
        dimensions: Sequence[tuple[int, ...]] = [()] * len(blocks)
        if member == "MultiAxisQuantization":
            quantized = blocks.ragged("quantized_dimensions")
            bad = (quantized.values < 0) | (quantized.values >= columns.ranks[owners][quantized.rows])
            refuse(blocks, bad, "quantized_dimensions", "there is no dimension {}", *quantized)
            dimensions = tuples(quantized.values.tolist(), blocks.vector("quantized_dimensions")[1].tolist())
        fields = zip(
            owners.tolist(),
            blocks.scalars("scales").tolist(),
            blocks.scalars("zero_points").tolist(),
            sizes.tolist(),
            dimensions,
        )
        for row, scale, zero_point, size, axes in fields:
            found[row] = Quantization((), (), 0, BlockQuantization(scale, zero_point, size, axes))
    return found


# ----------------------------------------------------------------------------------------------------------- sparsity


def check_sparsity(columns: TensorColumns) -> dict[int, Sparsity]:
    """Row of a tensor -> how its values are placed, for the sparse ones.

    Raises:
        ModelError: The traversal is no permutation, a dimension's extent is wrong, an index leads outside, or there are
            more or fewer values than places.
    """
    level = columns.level.child("sparsity")
    if not len(level):
        return {}
    orders = tuples(level.ragged("traversal_order").values.tolist(), level.vector("traversal_order")[1].tolist())
    maps = tuples(level.ragged("block_map").values.tolist(), level.vector("block_map")[1].tolist())
    metadata = level.child("dim_metadata")
    ends = np.cumsum(level.vector("dim_metadata")[1]).tolist()
    shapes = tuples(columns.shape.values.tolist(), columns.ranks.tolist())
    arrays = {name: _index_arrays(metadata, name) for name in ("array_segments", "array_indices")}
    formats = metadata.scalars("format").tolist()
    sizes = metadata.scalars("dense_size").tolist()
    found = {}
    for row, tensor in enumerate(level.rows.tolist()):
        dimensions = [
            SparseDimension(
                DimensionType(formats[at]),
                sizes[at],
                arrays["array_segments"].get(at, _NO_INDICES),
                arrays["array_indices"].get(at, _NO_INDICES),
            )
            for at in range(ends[row - 1] if row else 0, ends[row])
        ]
        bits = ELEMENT_BITS.get(TensorType(int(columns.types[tensor])), 0)
        values = max(int(columns.data_length[tensor]), 0) * 8 // bits if bits else -1
        check = _SparseCheck(level, row, shapes[tensor], orders[row], maps[row])
        found[tensor] = check.run(dimensions, values)
    return found


_NO_INDICES: Final = np.zeros(0, np.int64)


def _index_arrays(metadata: Level, field: str) -> dict[int, NDArray[np.int64]]:
    arrays = {}
    for member, vectors in metadata.members(field).items():
        kind = TABLES[member][0].kind[1]
        starts, counts = vectors.vector("values")
        for row, start, count in zip(vectors.rows.tolist(), starts.tolist(), counts.tolist()):
            raw = metadata.image.data[start : start + count * SCALAR_SIZES[kind]]
            arrays[row] = np.frombuffer(raw, np.dtype(kind)).astype(np.int64) if count else _NO_INDICES
    return arrays


class _SparseCheck:
    """The checks of one sparse tensor."""

    def __init__(
        self, level: Level, row: int, shape: tuple[int, ...], order: tuple[int, ...], block_map: tuple[int, ...]
    ) -> None:
        self.level, self.row, self.shape, self.order, self.block_map = level, row, shape, order, block_map

    def _error(self, field: str, message: str, element: int | None = None) -> ModelError:
        return self.level.error(self.row, field, message, element)

    def run(self, dimensions: list[SparseDimension], values: int) -> Sparsity:
        """Checks the dimensions from the outermost in, counting the places they make."""
        rank, levels = len(self.shape), len(self.order)
        if sorted(self.order[:rank]) != list(range(rank)) or sorted(self.order[rank:]) != list(range(rank, levels)):
            message = f"{self.order[:16]} is no order of {rank} dimensions and their blocks"
            raise self._error("traversal_order", message)
        if len(self.block_map) != levels - rank or any(not 0 <= d < rank for d in self.block_map):
            message = f"{self.block_map[:16]} does not map {levels - rank} block dimensions to the tensor's {rank}"
            raise self._error("block_map", message)
        if len(set(self.block_map)) != len(self.block_map):
            raise self._error("block_map", f"{self.block_map[:16]} names a dimension twice")
        if len(dimensions) != levels:
            message = f"there are {len(dimensions)} entries for {levels} traversed dimensions"
            raise self._error("dim_metadata", message)
        extents = self._extents(dimensions)
        places = 1
        checked = []
        for position, (dimension, extent) in enumerate(zip(dimensions, extents)):
            places = self._places(position, dimension, extent, places)
            if places > MAX_ELEMENTS:
                raise self._error("dim_metadata", f"{places} places are too many", position)
            checked.append(SparseDimension(dimension.format, extent, dimension.segments, dimension.indices))
        if places != values:
            raise self._error("dim_metadata", f"there are {values} values for {places} places")
        return Sparsity(self.order, self.block_map, tuple(checked))

    def _extents(self, dimensions: list[SparseDimension]) -> list[int]:
        """Extent of each traversed dimension: block dimensions say theirs, the others follow from the shape."""
        rank = len(self.shape)
        blocks = {}
        for position, source in enumerate(self.order):
            if source >= rank:
                size = dimensions[position].size
                axis = self.block_map[source - rank]
                if size < 1 or self.shape[axis] % size:
                    message = f"blocks of {size} do not divide dimension {axis} of {self.shape[axis]}"
                    raise self._error("dim_metadata", message, position)
                blocks[axis] = size
        extents = []
        for position, source in enumerate(self.order):
            size = dimensions[position].size
            extent = size if source >= rank else self.shape[source] // blocks.get(source, 1)
            if dimensions[position].format == DimensionType.DENSE and size != extent:
                message = f"dense_size is {size}, the shape makes it {extent}"
                raise self._error("dim_metadata", message, position)
            extents.append(extent)
        return extents

    def _places(self, position: int, dimension: SparseDimension, extent: int, places: int) -> int:
        if dimension.format == DimensionType.DENSE:
            return places * extent
        segments, indices = dimension.segments, dimension.indices
        if len(segments) != places + 1 or segments[0] != 0 or segments[-1] != len(indices):
            message = f"its {len(segments)} segments do not span {len(indices)} indices of {places} places"
            raise self._error("dim_metadata", message, position)
        if (np.diff(segments) < 0).any() or (indices < 0).any() or (indices >= extent).any():
            message = f"segments fall, or an index is outside 0 to {extent - 1}"
            raise self._error("dim_metadata", message, position)
        return len(indices)


# ------------------------------------------------------------------------------------------------------------ objects


def tuples(values: list[Any], counts: list[int]) -> list[tuple[Any, ...]]:
    """Cuts a flat list into tuples of the given lengths."""
    cut, at = [], 0
    for count in counts:
        cut.append(tuple(values[at : at + count]))
        at += count
    return cut


def make_tensors(columns: TensorColumns, places: Positions) -> list[Tensor]:
    """The `Tensor` objects of all subgraphs, in the order of the rows; `places` is each one's index in its subgraph."""
    level = columns.level
    quantization, sparsity = check_quantization(columns), check_sparsity(columns)
    signature_counts = level.vector("shape_signature")[1].tolist()
    signatures = tuples(level.ragged("shape_signature").values.tolist(), signature_counts)
    kinds = list(TensorType)
    file = level.image.data
    return [
        Tensor(
            index,
            name,
            kinds[kind],
            shape,
            signature or None,
            buffer,
            None if length < 0 else offset,
            None if length < 0 else length,
            quantization.get(row),
            is_variable,
            has_rank,
            sparsity.get(row),
            file,
        )
        for row, (index, name, kind, shape, signature, buffer, offset, length, is_variable, has_rank) in enumerate(
            zip(
                places.tolist(),
                level.strings("name"),
                columns.types.tolist(),
                tuples(columns.shape.values.tolist(), columns.ranks.tolist()),
                signatures,
                level.scalars("buffer").tolist(),
                columns.data_offset.tolist(),
                columns.data_length.tolist(),
                level.scalars("is_variable").tolist(),
                level.scalars("has_rank").tolist(),
            )
        )
    ]
