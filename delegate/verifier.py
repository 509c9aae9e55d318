"""Structural verification of a FlatBuffer: nothing in the file is believed before it is checked here.

The tables of a file are visited level by level, where a level is every table reached by one path of fields
(`subgraphs[].tensors[].quantization`), and each check is one numpy expression over a level. So the cost is a
few hundred array operations for any model, the memory is that of the visited tables, and neither depends on
the weights, which no check ever touches.

Checked for every table, vtable, vector, string and union that the schema knows: offsets inside the file,
alignment, sizes, terminating zeros, known enum values and union types. Work is bounded: a file whose offsets
point many times at the same bytes is refused once it asks for more work than its size can account for.
"""

from __future__ import annotations

import enum
from typing import Any, Final, NamedTuple

import numpy as np
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.schema import enums
from nnapi_toolkit.schema.layout import SCALAR_SIZES, Field
from nnapi_toolkit.schema.tflite_layout import TABLES, UNIONS
from numpy.typing import NDArray

Positions = NDArray[np.int64]

FILE_IDENTIFIER: Final = b"TFL3"
#: The FlatBuffers verifier's own default for the number of tables.
MAX_TABLES: Final = 1_000_000
MAX_DEPTH: Final = 16
#: Bytes of tables, vectors and strings visited, as a multiple of the file size; below 1 without sharing.
WORK_FACTOR: Final = 4

_DTYPES: Final = {kind: np.dtype(kind if kind == "?" else "<" + kind) for kind in SCALAR_SIZES}


class Ragged(NamedTuple):
    """Vectors of all rows laid end to end: each value with its row and its place in that row's vector."""

    values: NDArray[Any]
    rows: Positions
    elements: Positions


def spread(counts: Positions) -> tuple[Positions, Positions]:
    """Row and place within the row of every element, for rows of these lengths."""
    rows = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    firsts = np.cumsum(counts) - counts
    return rows, np.arange(len(rows), dtype=np.int64) - firsts[rows]


class Image:
    """The bytes of a file, viewed as little-endian numbers of each width.

    Attributes:
        data: The bytes.
        size: Their number.
    """

    def __init__(self, data: memoryview) -> None:
        """A view of `data`, which is not copied."""
        self.data = data
        self.size = len(data)
        self._u8 = np.frombuffer(data, np.uint8)
        self._u16 = np.frombuffer(data, "<u2", self.size // 2)
        self._u32 = np.frombuffer(data, "<u4", self.size // 4)

    def gather(self, kind: str, at: Positions) -> NDArray[Any]:
        """Scalars at positions that are in range and aligned to their size, or to 4 if that is less."""
        size = SCALAR_SIZES[kind]
        bits: NDArray[Any]
        if size == 1:
            bits = self._u8[at]
        elif size == 2:
            bits = self._u16[at >> 1]
        elif size == 4:
            bits = self._u32[at >> 2]
        else:
            low, high = self._u32[at >> 2].astype(np.uint64), self._u32[(at >> 2) + 1].astype(np.uint64)
            bits = low | high << np.uint64(32)
        return bits != 0 if kind == "?" else bits.view(_DTYPES[kind])

    def integers(self, kind: str, at: Positions) -> Positions:
        """`gather`, widened so that sums of positions cannot overflow."""
        return self.gather(kind, at).astype(np.int64)


class Level:
    """All tables that one path of fields reaches, verified, as columns: row r is one table.

    Attributes:
        table: Name of the table in the schema.
        positions: Where each table lies in the file.
        rows: For each table, the row of its parent in `parent`.
        elements: For each table, its place in the parent's vector; None for a field that is no vector.
    """

    def __init__(
        self,
        image: Image,
        table: str,
        positions: Positions,
        parent: Level | None = None,
        field: str = "",
        rows: Positions | None = None,
        elements: Positions | None = None,
    ) -> None:
        """Tables at `positions`, reached by `field` of `parent`; not verified yet."""
        self.image = image
        self.table = table
        self.positions = positions
        self.parent = parent
        self.field = field
        self.rows = np.zeros(len(positions), np.int64) if rows is None else rows
        self.elements = elements
        self.depth: int = parent.depth + 1 if parent else 0
        self._fields = {field.name: field for field in TABLES[table]}
        self._at: dict[str, Positions] = {}
        self._vectors: dict[str, tuple[Positions, Positions]] = {}
        self._children: dict[str, dict[str, Level]] = {}

    def __len__(self) -> int:
        """Number of tables."""
        return len(self.positions)

    def path(self, row: int, field: str = "", element: int | None = None) -> str:
        """Where a table, or one of its fields, stands: `subgraphs[0].operators[12].inputs[1]`."""
        own = field + ("" if element is None else f"[{element}]")
        if self.parent is None:
            return own
        place = None if self.elements is None else int(self.elements[row])
        above = self.parent.path(int(self.rows[row]), self.field, place)
        return f"{above}.{own}" if own else above

    def error(
        self, row: int, field: str, message: str, element: int | None = None, offset: int | None = None
    ) -> ModelError:
        """A `ModelError` about a field of one table, by default at the position of the field or the table."""
        if offset is None:
            at = int(self._at[field][row]) if field in self._at else 0
            offset = at or int(self.positions[row])
        return ModelError(self.path(row, field, element), message, offset)

    def has(self, field: str) -> NDArray[np.bool_]:
        """Which tables have the field in the file."""
        present: NDArray[np.bool_] = self._at[field] != 0
        return present

    def scalars(self, field: str) -> NDArray[Any]:
        """A scalar field of every table, the schema's default where the file leaves it out."""
        at, spec = self._at[field], self._fields[field]
        present = at != 0
        if not present.any():
            return np.full(len(at), spec.default, _DTYPES[spec.kind])
        values = self.image.gather(spec.kind, at)  # position 0 is readable, and replaced
        values[~present] = spec.default
        return values

    def vector(self, field: str) -> tuple[Positions, Positions]:
        """Position of the first element (0: no vector) and number of elements of a vector or string field."""
        return self._vectors[field]

    def ragged(self, field: str) -> Ragged:
        """All elements of a vector of scalars."""
        kind = self._fields[field].kind[1]
        starts, counts = self._vectors[field]
        rows, elements = spread(counts)
        values = self.image.gather(kind, starts[rows] + elements * SCALAR_SIZES[kind])
        return Ragged(values, rows, elements)

    def strings(self, field: str) -> list[str]:
        """A string field of every table, empty where left out; bytes that are no UTF-8 as escapes."""
        starts, counts = self._vectors[field]
        data = self.image.data
        return [
            str(data[start : start + count], "utf-8", "backslashreplace") if count else ""
            for start, count in zip(starts.tolist(), counts.tolist())
        ]

    def child(self, field: str) -> Level:
        """The tables behind a table field or a vector of tables; an empty level when no row has any."""
        table = self._fields[field].ref or ""
        return self._children.get(field, {}).get(table) or _empty(self, field, table)

    def members(self, field: str) -> dict[str, Level]:
        """The tables behind a union field, by member."""
        return self._children.get(field, {})


def verify(data: memoryview) -> Level:
    """Verifies a whole TFLite file.

    Returns:
        The level of the root table, from which all others are reached.

    Raises:
        ModelError: The first thing found wrong, with its path and offset.
    """
    size = len(data)
    if size == 0:
        raise ModelError("", "the file is empty: download or convert the model again", 0)
    if size < 8:
        raise ModelError("", f"{size} bytes are too short for a TFLite model: the file is cut off", 0)
    identifier = bytes(data[4:8])
    if identifier != FILE_IDENTIFIER:
        raise ModelError("", f"not a TFLite model: bytes 4 to 7 are {identifier!r}, must be b'TFL3'", 4)
    image = Image(data)
    root = image.integers("I", np.zeros(1, np.int64))
    if int(root[0]) % 4 or not 8 <= int(root[0]) <= size - 4:
        raise ModelError("", f"the root table's offset {root[0]} is outside the file of {size} bytes", 0)
    level = Level(image, "Model", root)
    _Verifier(size).run(level)
    return level


class _Verifier:
    """The walk over all levels, and the work it may still do."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.tables = MAX_TABLES
        self.work = WORK_FACTOR * size + 1024

    def run(self, root: Level) -> None:
        """Verifies a level and all below it, breadth first."""
        queue = [root]
        for level in queue:
            if level.depth > MAX_DEPTH:
                raise level.error(0, "", f"tables are nested deeper than {MAX_DEPTH}")
            self._spend(level, len(level), 4 * len(level))
            self._table(level)
            for spec in TABLES[level.table]:
                self._field(level, spec)
            for group in level._children.values():
                queue.extend(group.values())

    def _spend(self, level: Level, tables: int, work: int) -> None:
        self.tables -= tables
        self.work -= work
        if self.tables < 0:
            raise level.error(0, "", f"the file has more than {MAX_TABLES} tables")
        if self.work < 0:
            raise level.error(0, "", f"offsets lead more than {WORK_FACTOR} times through the same bytes")

    def _table(self, level: Level) -> None:
        """Checks vtables, and finds where each field of each table lies."""
        image, at = level.image, level.positions
        vtable = at - image.integers("i", at)
        bad = (vtable < 0) | (vtable > self.size - 4) | (vtable & 1 != 0)
        refuse(level, bad, "", "the offset of the table's field list leads to {}, outside the file", vtable)
        length, inline = image.integers("H", vtable), image.integers("H", vtable + 2)
        bad = (length < 4) | (length & 1 != 0) | (vtable + length > self.size)
        refuse(level, bad, "", "the table's field list has the impossible length {}", length)
        bad = (inline < 4) | (at + inline > self.size)
        refuse(level, bad, "", "the table's size of {} bytes leads outside the file", inline)
        longest = int(length.max(initial=4))
        for spec in TABLES[level.table]:
            slots = [(spec.name, spec.slot, SCALAR_SIZES.get(spec.kind, 4))]
            if spec.kind == "u":
                slots.append((spec.name + "_type", spec.slot - 1, 1))
            for name, slot, width in slots:
                entry = 4 + 2 * slot
                if entry + 2 > longest:
                    level._at[name] = np.zeros(len(at), np.int64)
                    continue
                inside = length >= entry + 2
                offset = np.where(inside, image.integers("H", vtable + np.where(inside, entry, 0)), 0)
                present = offset != 0
                place = np.where(present, at + offset, 0)
                bad = present & ((offset < 4) | (offset + width > inline))
                refuse(level, bad, name, "the field lies at byte {} of its table, outside it", offset)
                refuse(level, place % min(width, 4) != 0, name, "the field's position {} is not aligned", place)
                level._at[name] = place

    def _field(self, level: Level, spec: Field) -> None:
        if spec.kind in SCALAR_SIZES:
            if spec.ref:
                values = level.scalars(spec.name)
                bad = _unknown(spec.ref, values)
                refuse(level, bad, spec.name, "{} is no " + _describe(spec.ref), values)
        elif spec.kind == "u":
            self._union(level, spec)
        else:
            rows = np.flatnonzero(level._at[spec.name])
            targets = self._follow(level, spec.name, rows, level._at[spec.name][rows])
            if spec.kind == "t":
                self._add(level, spec.name, spec.ref, targets, rows, None)
            else:
                self._vector(level, spec, rows, targets)

    def _follow(
        self, level: Level, field: str, rows: Positions, at: Positions, elements: Positions | None = None
    ) -> Positions:
        """Positions that the offsets at `at` lead to, each with room for 4 bytes."""
        offset = level.image.integers("I", at)
        target = at + offset
        bad = (offset == 0) | (target > self.size - 4)
        refuse(level, bad, field, "the offset {} leads outside the file", offset, rows, elements, at)
        refuse(level, target & 3 != 0, field, "the offset {} is not aligned", offset, rows, elements, at)
        return target

    def _vector(self, level: Level, spec: Field, rows: Positions, targets: Positions) -> None:
        element = spec.kind[1] if spec.kind[0] == "[" else "B"
        width = SCALAR_SIZES.get(element, 4)
        count = level.image.integers("I", targets)
        end = targets + 4 + count * width
        if spec.kind == "s":
            refuse(level, end >= self.size, spec.name, "its length {} leads outside the file", count, rows)
            last = level.image.gather("B", end)
            refuse(level, last != 0, spec.name, "the string does not end with a zero byte", last, rows)
        else:
            refuse(level, end > self.size, spec.name, "its {} elements lead outside the file", count, rows)
        starts, counts = np.zeros(len(level), np.int64), np.zeros(len(level), np.int64)
        starts[rows], counts[rows] = targets + 4, count
        level._vectors[spec.name] = starts, counts
        if (level.table, spec.name) != ("Buffer", "data"):  # weights are never walked through
            self._spend(level, 0, int(count.sum()) * width)
        if spec.kind == "[t":
            owner, place = spread(counts)
            tables = self._follow(level, spec.name, owner, starts[owner] + 4 * place, place)
            self._add(level, spec.name, spec.ref, tables, owner, place)
        elif spec.kind != "s" and spec.ref:
            values, owner, place = level.ragged(spec.name)
            bad = _unknown(spec.ref, values)
            refuse(level, bad, spec.name, "{} is no " + _describe(spec.ref), values, owner, place)

    def _union(self, level: Level, spec: Field) -> None:
        members = UNIONS[spec.ref or ""]
        at = level._at[spec.name + "_type"]
        kinds = np.where(at != 0, level.image.integers("B", at), 0)
        refuse(level, kinds >= len(members), spec.name, f"{{}} is no member of the union {spec.ref}", kinds)
        missing = (kinds != 0) & ~level.has(spec.name)
        refuse(level, missing, spec.name, "the union's value is missing, its type is {}", kinds)
        for kind in sorted(set(kinds.tolist())):  # np.unique would import numpy.ma, which is large
            if kind:
                rows = np.flatnonzero(kinds == kind)
                targets = self._follow(level, spec.name, rows, level._at[spec.name][rows])
                self._add(level, spec.name, members[kind], targets, rows, None)

    def _add(
        self,
        level: Level,
        field: str,
        table: str | None,
        positions: Positions,
        rows: Positions,
        elements: Positions | None,
    ) -> None:
        if len(positions):
            name = table or ""
            child = Level(level.image, name, positions, level, field, rows, elements)
            level._children.setdefault(field, {})[name] = child


def refuse(
    level: Level,
    bad: NDArray[np.bool_],
    field: str,
    message: str,
    values: NDArray[Any] | tuple[NDArray[Any], ...] = (),
    rows: Positions | None = None,
    elements: Positions | None = None,
    offsets: Positions | None = None,
) -> None:
    """Raises a `ModelError` for the first true entry of `bad`.

    `message` is formatted with that entry of `values`. `rows` and `elements` say which table, and place in its
    field, an entry is; without `rows`, entry i is table i.
    """
    if not bad.any():
        return
    first = int(np.argmax(bad))
    row = first if rows is None else int(rows[first])
    element = None if elements is None else int(elements[first])
    offset = None if offsets is None else int(offsets[first])
    shown = values if isinstance(values, tuple) else (values,)
    raise level.error(row, field, message.format(*(value[first] for value in shown)), element, offset)


def _empty(parent: Level, field: str, table: str) -> Level:
    nothing = np.zeros(0, np.int64)
    level = Level(parent.image, table, nothing, parent, field, nothing, nothing)
    for spec in TABLES[table]:
        level._at[spec.name] = nothing
        level._vectors[spec.name] = nothing, nothing
    return level


def _enum(name: str) -> type[enum.IntEnum]:
    kind: type[enum.IntEnum] = getattr(enums, name)
    return kind


def _unknown(name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    known = _enum(name)
    if len(values) and int(values.min()) >= 0 and int(values.max()) < len(known):
        return np.zeros(len(values), np.bool_)  # the schema's enums count from 0 without gaps
    return ~np.isin(values, [int(member) for member in known])


def _describe(name: str) -> str:
    members = list(_enum(name))
    low, high = members[0], members[-1]
    return f"{name} known here ({int(low)} {low.name} to {int(high)} {high.name})"
