"""Semantic checks of quantization parameters: scales, zero points, the quantized dimension, blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from nnapi_toolkit.delegate.check_tensors import MAX_ELEMENTS, TensorColumns, tuples
from nnapi_toolkit.delegate.tensor import BlockQuantization, Quantization
from nnapi_toolkit.delegate.verifier import Level, Positions, refuse
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

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


def check_quantization(columns: TensorColumns) -> dict[int, Quantization]:
    """Row of a tensor -> its quantization, for those that have any.

    Raises:
        ModelError: A scale that is negative or no number, counts that do not match the quantized dimension, a
            zero point outside the type's range, blockwise parameters that name no tensor.
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
    for row, wanted, count, zero_count, dimension in zip(rows, used.tolist(), scale_counts, zero_counts, dimensions):
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
        axes: Sequence[tuple[int, ...]] = [()] * len(blocks)
        shapes = axes
        smallest = np.zeros(len(blocks), np.int64)  # several axes: 0 is one block per channel
        if member == "MultiAxisQuantization":
            axes = _block_vectors(blocks, "quantized_dimensions", 0, columns.ranks[owners] - 1)
        else:
            shapes = _block_vectors(blocks, "block_shape", 1, np.full(len(blocks), MAX_ELEMENTS))
            smallest = np.array([0 if shape else 1 for shape in shapes], np.int64)
        refuse(blocks, sizes < smallest, "block_size", "{} must be at least {}", (sizes, smallest))
        fields = zip(
            owners.tolist(),
            blocks.scalars("scales").tolist(),
            blocks.scalars("zero_points").tolist(),
            sizes.tolist(),
            axes,
            shapes,
        )
        for row, *parameters in fields:
            found[row] = Quantization((), (), 0, BlockQuantization(*parameters))
    return found


def _block_vectors(blocks: Level, field: str, low: int, high: Positions) -> list[tuple[int, ...]]:
    """A vector field of every table, all values within bounds."""
    vector = blocks.ragged(field)
    limit = high[vector.rows]
    bad = (vector.values < low) | (vector.values > limit)
    message = f"{{}} is outside {low} to {{}}"
    refuse(blocks, bad, field, message, (vector.values, limit), vector.rows, vector.elements)
    return tuples(vector.values.tolist(), blocks.vector(field)[1].tolist())
