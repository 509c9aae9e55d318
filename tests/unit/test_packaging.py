"""What is in the tree is in the distributions."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

PARTS = {"host": "nnapi_toolkit", "delegate": "nnapi_toolkit.delegate", "android": "nnapi_toolkit.android",
         "schema": "nnapi_toolkit.schema"}  # fmt: skip


@pytest.fixture(scope="module")
def setuptools_table() -> dict[str, object]:
    if not (ROOT / "host").exists():
        pytest.skip("runs in a checkout, where the sources are")
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed(setuptools_table: dict[str, object]) -> None:
    found = set()
    for folder, name in PARTS.items():
        for file in (ROOT / folder).rglob("__init__.py"):
            inner = file.parent.relative_to(ROOT / folder).parts
            found.add(".".join((name, *inner)))
    assert found == set(setuptools_table["packages"])  # type: ignore[call-overload]


def test_every_native_source_is_package_data(setuptools_table: dict[str, object]) -> None:
    patterns = setuptools_table["package-data"]["nnapi_toolkit.android"]  # type: ignore[index]
    listed = {file for pattern in patterns for file in (ROOT / "android").glob(pattern)}
    wanted = {
        file for file in (ROOT / "android").rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc") and "__pycache__" not in file.parts
    }  # fmt: skip
    assert sorted(str(f.relative_to(ROOT)) for f in wanted - listed) == []


def test_the_type_marker_is_shipped() -> None:
    import nnapi_toolkit

    assert (Path(nnapi_toolkit.__file__).parent / "py.typed").exists()
