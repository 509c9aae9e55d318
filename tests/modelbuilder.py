"""Builds small `.tflite` files for tests.

    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 8, 8, 3))
    w = builder.tensor("w", "float32", (4, 3, 3, 3), data=weights)
    y = builder.tensor("y", "float32", (1, 6, 6, 4))
    builder.op("CONV_2D", [x, w, None], [y], stride_w=1, stride_h=1, padding=Padding.VALID)
    data = builder.build([x], [y])

A further subgraph: ``body = builder.subgraph("body")``, then ``body.tensor(...)``, ``body.op(...)`` and
``body.interface(inputs, outputs)``. A malformed file: edit the plain dictionaries of `ModelBuilder.model`
(the schema's names) and hand them to `write_model`.

Nothing here checks anything: what goes in is what the file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from nnapi_toolkit.schema.enums import BuiltinOperator, TensorType
from nnapi_toolkit.schema.layout import SCALAR_SIZES
from nnapi_toolkit.schema.tflite_layout import OPERATOR_OPTIONS, TABLES, UNIONS

#: A tensor by index or name; None is an omitted one.
TensorRef = int | str | None
DTypeLike = TensorType | str | np.dtype | type

_SLOT_WRITERS = {
    "?": "PrependBoolSlot",
    "b": "PrependInt8Slot",
    "B": "PrependUint8Slot",
    "h": "PrependInt16Slot",
    "H": "PrependUint16Slot",
    "i": "PrependInt32Slot",
    "I": "PrependUint32Slot",
    "q": "PrependInt64Slot",
    "Q": "PrependUint64Slot",
    "f": "PrependFloat32Slot",
    "d": "PrependFloat64Slot",
}
_ALIGNED = {("Buffer", "data"): 16, ("Uint16Vector", "values"): 4, ("Uint8Vector", "values"): 4}
_PACKED_BITS = {TensorType.INT4: 4, TensorType.UINT4: 4, TensorType.INT2: 2}


def tensor_type(dtype: DTypeLike) -> TensorType:
    """The schema's type for a numpy dtype or a name in either case ("float32", "INT8", "string")."""
    if isinstance(dtype, TensorType):
        return dtype
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    return TensorType[name.upper()]


class SubgraphBuilder:
    """Collects one subgraph; made by `ModelBuilder`."""

    def __init__(self, owner: ModelBuilder, index: int, name: str) -> None:
        self.owner = owner
        self.index = index
        self._names: dict[str, int] = {}
        self.table: dict[str, Any] = {
            "name": name,
            "tensors": [],
            "operators": [],
            "inputs": [],
            "outputs": [],
        }

    def tensor(
        self,
        name: str,
        dtype: DTypeLike,
        shape: Sequence[int],
        *,
        scale: float | Sequence[float] | None = None,
        zero_point: int | Sequence[int] | None = None,
        dimension: int = 0,
        data: Any = None,
        variable: bool = False,
        shape_signature: Sequence[int] | None = None,
        has_rank: bool = True,
        **fields: Any,
    ) -> int:
        """Adds a tensor and returns its index.

        `data` makes it a constant: an array of the type, integers for INT4 and INT2 (packed here), strings
        for STRING, or raw `bytes`. `fields` are further fields of the schema's `Tensor`.
        """
        kind = tensor_type(dtype)
        table: dict[str, Any] = {"name": name, "type": kind, "shape": list(shape), "has_rank": has_rank}
        table.update(fields)
        if scale is not None or zero_point is not None:
            scales = np.atleast_1d(np.asarray([] if scale is None else scale, np.float32))
            zeros = np.zeros(len(scales), np.int64) if zero_point is None else np.atleast_1d(zero_point)
            table["quantization"] = {
                "scale": scales,
                "zero_point": zeros,
                "quantized_dimension": dimension,
            }
        if data is not None:
            table["buffer"] = self.owner.buffer(_encode(data, kind))
        if variable:
            table["is_variable"] = True
        if shape_signature is not None:
            table["shape_signature"] = list(shape_signature)
        self.table["tensors"].append(table)
        index = self._names[name] = len(self.table["tensors"]) - 1
        return index

    def op(
        self,
        name: str,
        inputs: Sequence[TensorRef],
        outputs: Sequence[TensorRef],
        /,
        *,
        version: int = 1,
        intermediates: Sequence[TensorRef] = (),
        **options: Any,
    ) -> int:
        """Adds a builtin operator with options by the schema's names; returns its index."""
        table = self._operator(self.owner.operator_code(name, version), inputs, outputs)
        if intermediates:
            table["intermediates"] = self.indices(intermediates)
        member = OPERATOR_OPTIONS.get(name)
        if member is not None:
            unknown = set(options) - {field.name for field in TABLES[member]}
            if unknown:
                raise ValueError(f"{member} has no field {', '.join(sorted(unknown))}")
            union = "builtin_options" if member in UNIONS["BuiltinOptions"] else "builtin_options_2"
            table[union] = (member, options)
        elif options:
            raise ValueError(f"{name} has no options")
        return self._append(table)

    def custom(
        self,
        code: str,
        inputs: Sequence[TensorRef],
        outputs: Sequence[TensorRef],
        *,
        options: bytes = b"",
        version: int = 1,
    ) -> int:
        """Adds a custom operator; returns its index."""
        table = self._operator(self.owner.operator_code("CUSTOM", version, code), inputs, outputs)
        if options:
            table["custom_options"] = np.frombuffer(options, np.uint8)
        return self._append(table)

    def interface(self, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> None:
        """Sets the subgraph's inputs and outputs."""
        self.table["inputs"] = self.indices(inputs)
        self.table["outputs"] = self.indices(outputs)

    def indices(self, tensors: Sequence[TensorRef]) -> list[int]:
        """Indices for names; -1 for None."""
        return [-1 if ref is None else self._names[ref] if isinstance(ref, str) else int(ref) for ref in tensors]

    def _operator(self, code: int, inputs: Sequence[TensorRef], outputs: Sequence[TensorRef]) -> dict[str, Any]:
        return {"opcode_index": code, "inputs": self.indices(inputs), "outputs": self.indices(outputs)}

    def _append(self, table: dict[str, Any]) -> int:
        self.table["operators"].append(table)
        return len(self.table["operators"]) - 1


class ModelBuilder(SubgraphBuilder):
    """A model and its main subgraph."""

    def __init__(self, description: str = "", name: str = "main") -> None:
        super().__init__(self, 0, name)
        self.description = description
        self.subgraphs: list[SubgraphBuilder] = [self]
        self._codes: dict[tuple[str, int, str | None], int] = {}
        self._buffers: list[dict[str, Any]] = [{}]
        self._signatures: list[dict[str, Any]] = []
        self._metadata: list[dict[str, Any]] = []

    def subgraph(self, name: str) -> SubgraphBuilder:
        """Adds a subgraph; its `index` is what IF, WHILE and CALL_ONCE options want."""
        self.subgraphs.append(SubgraphBuilder(self, len(self.subgraphs), name))
        return self.subgraphs[-1]

    def signature(
        self,
        key: str,
        inputs: Mapping[str, TensorRef],
        outputs: Mapping[str, TensorRef],
        subgraph: SubgraphBuilder | None = None,
    ) -> None:
        """Adds a signature: names for tensors of a subgraph (the main one unless given)."""
        graph = subgraph or self
        maps = [
            [{"name": name, "tensor_index": index} for name, index in zip(side, graph.indices(list(side.values())))]
            for side in (inputs, outputs)
        ]
        self._signatures.append(
            {
                "signature_key": key,
                "inputs": maps[0],
                "outputs": maps[1],
                "subgraph_index": graph.index,
            }
        )

    def metadata(self, name: str, data: bytes) -> None:
        """Adds a metadata entry."""
        self._metadata.append({"name": name, "buffer": self.buffer(data)})

    def operator_code(self, name: str, version: int = 1, custom_code: str | None = None) -> int:
        """Index of the operator code, added at its first use."""
        return self._codes.setdefault((name, version, custom_code), len(self._codes))

    def buffer(self, data: bytes) -> int:
        """Adds a buffer and returns its index."""
        self._buffers.append({"data": np.frombuffer(data, np.uint8)})
        return len(self._buffers) - 1

    def model(
        self, inputs: Sequence[TensorRef] | None = None, outputs: Sequence[TensorRef] | None = None
    ) -> dict[str, Any]:
        """The whole model as dictionaries by the schema's names, ready for `write_model`."""
        if inputs is not None:
            self.table["inputs"] = self.indices(inputs)
        if outputs is not None:
            self.table["outputs"] = self.indices(outputs)
        codes = []
        for name, version, custom_code in self._codes:
            code = BuiltinOperator[name]
            entry = {"deprecated_builtin_code": min(code, 127), "builtin_code": code, "version": version}
            codes.append({**entry, "custom_code": custom_code} if custom_code is not None else entry)
        return {
            "version": 3,
            "description": self.description,
            "operator_codes": codes,
            "subgraphs": [graph.table for graph in self.subgraphs],
            "buffers": self._buffers,
            "signature_defs": self._signatures or None,
            "metadata": self._metadata or None,
        }

    def build(self, inputs: Sequence[TensorRef] | None = None, outputs: Sequence[TensorRef] | None = None) -> bytes:
        """The `.tflite` bytes, with these inputs and outputs of the main subgraph."""
        return write_model(self.model(inputs, outputs))


def write_model(model: Mapping[str, Any]) -> bytes:
    """Serialises a `Model` of dictionaries by the schema's names; a union is a pair (table, dictionary)."""
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write_table(builder, "Model", model), b"TFL3")
    return bytes(builder.Output())


def _write_table(builder: flatbuffers.Builder, table: str, values: Mapping[str, Any]) -> int:
    fields = [field for field in TABLES[table] if values.get(field.name) is not None]
    offsets = {}
    for field in fields:
        if field.kind not in SCALAR_SIZES:
            offsets[field.slot] = _write_child(builder, table, field, values[field.name])
    builder.StartObject(1 + max((field.slot for field in TABLES[table]), default=-1))
    for field in sorted(fields, key=lambda field: -SCALAR_SIZES.get(field.kind, 4)):
        value = values[field.name]
        if field.kind == "u":
            builder.PrependUint8Slot(field.slot - 1, _union_type(field.ref, value[0]), 0)
        if field.kind in SCALAR_SIZES:
            getattr(builder, _SLOT_WRITERS[field.kind])(field.slot, value, field.default)
        else:
            builder.PrependUOffsetTRelativeSlot(field.slot, offsets[field.slot], 0)
    return builder.EndObject()


def _write_child(builder: flatbuffers.Builder, table: str, field: Any, value: Any) -> int:
    if field.kind == "s":
        return builder.CreateString(value)
    if field.kind == "t":
        return _write_table(builder, field.ref, value)
    if field.kind == "u":
        return _write_table(builder, value[0], value[1])
    if field.kind == "[t":
        children = [_write_table(builder, field.ref, child) for child in value]
        builder.StartVector(4, len(children), 4)
        for child in reversed(children):
            builder.PrependUOffsetTRelative(child)
        return builder.EndVector()
    array = np.ascontiguousarray(value, dtype="<" + field.kind[1])
    builder.StartVector(array.itemsize, array.size, _ALIGNED.get((table, field.name), array.itemsize))
    builder.head -= array.nbytes
    builder.Bytes[builder.head : builder.head + array.nbytes] = array.tobytes()
    return builder.EndVector()


def _union_type(union: str, member: str | int) -> int:
    return member if isinstance(member, int) else UNIONS[union].index(member)


def _encode(data: Any, kind: TensorType) -> bytes:
    if isinstance(data, bytes):
        return data
    if kind == TensorType.STRING:
        return encode_strings(data)
    if kind in _PACKED_BITS:
        return pack_bits(np.asarray(data), _PACKED_BITS[kind])
    name = {TensorType.BFLOAT16: "uint16"}.get(kind, kind.name.lower())
    return np.ascontiguousarray(data, dtype=name).tobytes()


def encode_strings(strings: Sequence[str | bytes]) -> bytes:
    """A string tensor's bytes: count, count + 1 offsets, characters."""
    encoded = [text if isinstance(text, bytes) else text.encode() for text in strings]
    start = 4 * (len(encoded) + 2)
    ends = start + np.cumsum([0, *(len(text) for text in encoded)])
    return np.array([len(encoded), *ends], "<i4").tobytes() + b"".join(encoded)


def pack_bits(values: np.ndarray, bits: int) -> bytes:
    """Packs small integers into bytes, first value in the lowest bits."""
    per_byte = 8 // bits
    flat = values.ravel().astype(np.int64) & ((1 << bits) - 1)
    flat = np.pad(flat, (0, -flat.size % per_byte)).reshape(-1, per_byte)
    return (flat << (np.arange(per_byte) * bits)).sum(axis=1).astype(np.uint8).tobytes()
