"""Semantic checks of sparse tensors: every stored value has one place in the dense tensor."""

from __future__ import annotations

from typing import Final

import numpy as np
from nnapi_toolkit.delegate.check_tensors import MAX_ELEMENTS, TensorColumns, tuples
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.tensor import ELEMENT_BITS, SparseDimension, Sparsity
from nnapi_toolkit.delegate.verifier import Level
from nnapi_toolkit.schema.enums import DimensionType, TensorType
from nnapi_toolkit.schema.layout import SCALAR_SIZES
from nnapi_toolkit.schema.tflite_layout import TABLES
from numpy.typing import NDArray


def check_sparsity(columns: TensorColumns) -> dict[int, Sparsity]:
    """Row of a tensor -> how its values are placed, for the sparse ones.

    Raises:
        ModelError: The traversal is no permutation, a dimension's extent is wrong, an index leads outside, or
            there are more or fewer values than places.
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
        self,
        level: Level,
        row: int,
        shape: tuple[int, ...],
        order: tuple[int, ...],
        block_map: tuple[int, ...],
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
        """Extent of each traversed dimension: blocks say theirs, the others follow from the shape."""
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
