"""Options of an operator, read from the file on demand."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from nnapi_toolkit.schema import enums
from nnapi_toolkit.schema.layout import SCALAR_SIZES, Field
from nnapi_toolkit.schema.tflite_layout import TABLES

_FIELDS: Final = {table: {field.name: field for field in fields} for table, fields in TABLES.items()}

_NOTHING: Final = memoryview(b"")


class Options:
    """Attributes by the schema's field names, with the schema's defaults for what the file leaves out.

    Enums are IntEnums, vectors tuples (bytes for bytes), strings `str`.

    Attributes:
        table: The schema's table, for example ``Conv2DOptions``; None for an operator that has no options.
        present: False when the file has no such table and every attribute is a default.
    """

    __slots__ = ("_at", "_data", "_fields", "_values", "present", "table")

    def __init__(self, table: str | None, data: memoryview = _NOTHING, at: int = 0) -> None:
        """Options of a table at byte `at` of verified `data`; of defaults alone when `at` is 0."""
        self.table = table
        self.present = at != 0
        self._data = data
        self._at = at
        self._fields: dict[str, Field] = _FIELDS[table] if table else {}
        self._values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """A field of the table."""
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._values:
            field = self._fields.get(name)
            if field is None:
                raise AttributeError(f"{self.table or 'an operator without options'} has no field '{name}'")
            self._values[name] = self._read(field)
        return self._values[name]

    def __dir__(self) -> list[str]:
        """The attributes, fields included."""
        return [*super().__dir__(), *self._fields]

    def __repr__(self) -> str:
        """``Conv2DOptions(stride_w=1, ...)``."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"{self.table}({fields})"

    def as_dict(self) -> dict[str, Any]:
        """All fields of the table with their values."""
        return {name: getattr(self, name) for name in self._fields}

    def _read(self, field: Field) -> Any:
        at = self._find(field.slot) if self._at else 0
        kind = field.kind
        if kind in SCALAR_SIZES:
            value = struct.unpack_from("<" + kind, self._data, at)[0] if at else field.default
            return getattr(enums, field.ref)(value) if field.ref else value
        if not at:
            return "" if kind == "s" else b"" if kind == "[B" else ()
        start = at + int(struct.unpack_from("<I", self._data, at)[0]) + 4
        count = int(struct.unpack_from("<I", self._data, start - 4)[0])
        if kind == "s":
            return str(self._data[start : start + count], "utf-8", "backslashreplace")
        if kind == "[B":
            return bytes(self._data[start : start + count])
        dtype = np.dtype("?" if kind[1] == "?" else "<" + kind[1])
        values = np.frombuffer(self._data, dtype, count, start).tolist()
        return tuple(getattr(enums, field.ref)(v) for v in values) if field.ref else tuple(values)

    def _find(self, slot: int) -> int:
        """Position of a field in the table, which was verified; 0 when the table leaves it out."""
        vtable = self._at - int(struct.unpack_from("<i", self._data, self._at)[0])
        entry = 4 + 2 * slot
        if entry + 2 > int(struct.unpack_from("<H", self._data, vtable)[0]):
            return 0
        offset = int(struct.unpack_from("<H", self._data, vtable + entry)[0])
        return self._at + offset if offset else 0
