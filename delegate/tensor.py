"""Tensors of a model: numpy views into the mapped file, quantization, sparsity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from nnapi_toolkit.schema.enums import DimensionType, TensorType
from numpy.typing import NDArray

#: Bits of one element; types that are missing here have no fixed size.
ELEMENT_BITS: Final = {
    TensorType.FLOAT32: 32,
    TensorType.FLOAT16: 16,
    TensorType.INT32: 32,
    TensorType.UINT8: 8,
    TensorType.INT64: 64,
    TensorType.BOOL: 8,
    TensorType.INT16: 16,
    TensorType.COMPLEX64: 64,
    TensorType.INT8: 8,
    TensorType.FLOAT64: 64,
    TensorType.COMPLEX128: 128,
    TensorType.UINT64: 64,
    TensorType.UINT32: 32,
    TensorType.UINT16: 16,
    TensorType.INT4: 4,
    TensorType.BFLOAT16: 16,
    TensorType.INT2: 2,
    TensorType.UINT4: 4,
    TensorType.FLOAT8_E4M3FN: 8,
    TensorType.FLOAT8_E5M2: 8,
}

# Types that numpy lacks: packed integers unpack to bytes, small floats stay the integers of their bits.
_DTYPES: Final = {
    TensorType.STRING: np.dtype(object),
    TensorType.RESOURCE: np.dtype(object),
    TensorType.VARIANT: np.dtype(object),
    TensorType.INT4: np.dtype(np.int8),
    TensorType.INT2: np.dtype(np.int8),
    TensorType.UINT4: np.dtype(np.uint8),
    TensorType.BFLOAT16: np.dtype(np.uint16),
    TensorType.FLOAT8_E4M3FN: np.dtype(np.uint8),
    TensorType.FLOAT8_E5M2: np.dtype(np.uint8),
}
_DTYPES.update({kind: np.dtype(kind.name.lower()) for kind in TensorType if kind not in _DTYPES})


@dataclass(frozen=True, slots=True)
class BlockQuantization:
    """Scales kept in tensors of the same subgraph, one per block.

    Attributes:
        scales: Index of the tensor of scales.
        zero_points: Index of the tensor of zero points; -1 when they are all zero.
        block_size: Elements per block; 0 is one block per channel.
        dimensions: The quantized dimensions, or empty when the shapes imply them.
        block_shape: Extents of a block over all dimensions, in place of `block_size`; else empty.
    """

    scales: int
    zero_points: int
    block_size: int
    dimensions: tuple[int, ...] = ()
    block_shape: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantization:
    """``real = scale * (quantized - zero_point)``, per tensor or per slice of one dimension.

    Attributes:
        scale: float32 values; one, or one per slice of `dimension`. Empty only with `blocks`.
        zero_point: As many values as `scale`.
        dimension: The quantized dimension; meaningful when `per_channel`.
        blocks: Blockwise parameters, which replace the others.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dimension: int = 0
    blocks: BlockQuantization | None = None

    @property
    def per_channel(self) -> bool:
        """True when each slice of `dimension` has its own scale."""
        return len(self.scale) > 1


@dataclass(frozen=True, slots=True)
class SparseDimension:
    """One traversed dimension of a sparse tensor.

    Attributes:
        format: DENSE, or SPARSE_CSR with `segments` and `indices` as in a CSR matrix.
        size: Extent of the dimension.
        segments, indices: int64 arrays, empty when dense.
    """

    format: DimensionType
    size: int
    segments: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How the values of a sparse tensor are placed.

    Attributes:
        traversal_order: The original dimensions in storage order, then the block dimensions.
        block_map: The original dimension behind each block dimension.
        dimensions: One per entry of `traversal_order`.
    """

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    dimensions: tuple[SparseDimension, ...]


@dataclass(slots=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: Position in the subgraph.
        name: The file's name for it, not necessarily unique.
        type: Element type.
        shape: Dimensions; unknown ones are 1 here, and -1 in the signature.
        shape_signature: `shape` with -1 for unknown dimensions; None when the file has none.
        buffer: Index in the model's buffers; 0 is none.
        data_offset, data_length: Bytes of the constant in the file; None for a tensor that is no constant.
        quantization: None when the tensor has no scale, or one scale of 0.
        is_variable: Keeps its value from one invocation to the next.
        has_rank: Tells a scalar from a tensor of unknown rank; old converters leave it false for all.
        sparsity: How a sparse constant's values are placed.
    """

    index: int
    name: str
    type: TensorType
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...] | None
    buffer: int
    data_offset: int | None
    data_length: int | None
    quantization: Quantization | None
    is_variable: bool
    has_rank: bool
    sparsity: Sparsity | None
    _file: memoryview = field(repr=False)
    _data: NDArray[Any] | None = field(default=None, init=False, repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy type of `data`.

        int8 for INT4 and INT2, uint8 for UINT4 and (its bits) FLOAT8, uint16 for (its bits) BFLOAT16, object
        for STRING (elements are bytes), RESOURCE and VARIANT.
        """
        return _DTYPES[self.type]

    @property
    def is_constant(self) -> bool:
        """True when the file holds the value (an empty tensor that nothing produces is a constant, too)."""
        return self.data_length is not None

    @property
    def element_count(self) -> int:
        """Number of elements of `shape`."""
        return math.prod(self.shape)

    @property
    def byte_size(self) -> int:
        """Bytes of the dense tensor, packed types packed; of strings what the file holds; 0 for handles."""
        bits = ELEMENT_BITS.get(self.type)
        if bits is None:
            return self.data_length or 0
        return (self.element_count * bits + 7) // 8

    @property
    def raw(self) -> memoryview | None:
        """The constant's bytes in the file, read-only; None for a tensor that is no constant."""
        if self.data_offset is None or self.data_length is None:
            return None
        return self._file[self.data_offset : self.data_offset + self.data_length]

    @property
    def data(self) -> NDArray[Any] | None:
        """The constant, read-only, of `shape` and `dtype`; None for a tensor that is no constant.

        A view into the file; packed integers, strings and sparse tensors are unpacked at first use.
        """
        if self._data is None and self.data_length is not None:
            self._data = self._read()
            self._data.flags.writeable = False
        return self._data

    def _read(self) -> NDArray[Any]:
        raw = self.raw
        if not raw:
            return np.zeros(self.shape, self.dtype)
        if self.type == TensorType.STRING:
            return _read_strings(raw).reshape(self.shape)
        bits = ELEMENT_BITS[self.type]
        if self.sparsity is not None:
            values = _unpack(raw, self.type, len(raw) * 8 // bits) if bits < 8 else np.frombuffer(raw, self.dtype)
            return densify(values, self.sparsity, self.shape)
        if bits < 8:
            return _unpack(raw, self.type, self.element_count).reshape(self.shape)
        return np.frombuffer(raw, self.dtype).reshape(self.shape)


def _unpack(raw: memoryview, kind: TensorType, count: int) -> NDArray[Any]:
    """Values of a packed type: the first one lies in the lowest bits of its byte."""
    bits = ELEMENT_BITS[kind]
    packed = np.frombuffer(raw, np.uint8)
    fields = packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & np.uint8((1 << bits) - 1)
    values = fields.reshape(-1)[:count]
    if kind == TensorType.UINT4:
        return values
    sign = np.uint8(1 << (bits - 1))
    return ((values ^ sign) - sign).view(np.int8)


def string_offsets(raw: memoryview) -> NDArray[np.int32]:
    """The offsets in a verified string tensor: one per string, then the end of the last."""
    count = int(np.frombuffer(raw, "<i4", 1)[0])
    return np.frombuffer(raw, "<i4", count + 1, 4)


def _read_strings(raw: memoryview) -> NDArray[Any]:
    offsets = string_offsets(raw).tolist()
    strings = np.empty(len(offsets) - 1, object)
    for index, (start, end) in enumerate(pairwise(offsets)):
        strings[index] = bytes(raw[start:end])
    return strings


def densify(values: NDArray[Any], sparsity: Sparsity, shape: tuple[int, ...]) -> NDArray[Any]:
    """The dense array of a verified sparse tensor.

    `values` are the stored elements in traversal order. Format: TFLite's form of TACO.
    """
    coordinates = np.zeros((0, 1), np.int64)  # one row per traversed dimension, one column per stored position
    for dimension in sparsity.dimensions:
        positions = np.arange(coordinates.shape[1], dtype=np.int64)
        if dimension.format == DimensionType.DENSE:
            parents = np.repeat(positions, dimension.size)
            own = np.tile(np.arange(dimension.size, dtype=np.int64), len(positions))
        else:
            parents = np.repeat(positions, np.diff(dimension.segments))
            own = dimension.indices
        coordinates = np.vstack([coordinates[:, parents], own])
    dense = np.zeros(shape, values.dtype)
    where = [np.zeros(len(values), np.int64) for _ in shape]
    for level, source in enumerate(sparsity.traversal_order):
        if source < len(shape):
            where[source] += coordinates[level] * _block_size(sparsity, source, len(shape))
        else:
            where[sparsity.block_map[source - len(shape)]] += coordinates[level]
    dense[tuple(where)] = values
    return dense


def _block_size(sparsity: Sparsity, dimension: int, rank: int) -> int:
    for source, level in zip(sparsity.traversal_order, sparsity.dimensions):
        if source >= rank and sparsity.block_map[source - rank] == dimension:
            return level.size
    return 1
