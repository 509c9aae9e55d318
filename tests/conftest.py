"""Fixtures that every test folder shares."""

from __future__ import annotations

import json
import lzma
import os
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

# The same examples in every run of CI: a new one that fails is found and mended on somebody's desk.
hypothesis.settings.register_profile("ci", derandomize=True, database=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent
#: Real models and NNAPI cases live beside the checkout; a plain clone has none and skips what needs them.
SHARED = Path(os.environ.get("NNAPI_TOOLKIT_SHARED", ROOT.parent / "shared"))


def shared_path(*parts: str) -> Path:
    """A path below the shared test data, or a skip with the way to get it."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {'/'.join(parts)} below $NNAPI_TOOLKIT_SHARED (now {SHARED})")
    return path


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """The shared models by name; empty without the shared data (then model tests collect nothing)."""
    file = SHARED / "models" / "catalogue.json"
    if not file.exists():
        return {}
    return {entry["name"]: entry for entry in json.loads(file.read_text())["models"]}


def model_names(prefix: str = "") -> list[Any]:
    """Parameters for `pytest.mark.parametrize`: names of shared models, or one skipped entry without them."""
    names = [name for name in catalogue() if name.startswith(prefix)]
    return names or [pytest.param("", marks=pytest.mark.skip(reason=f"no shared models below {SHARED}"))]


def model_path(name: str) -> Path:
    """The unpacked file of a shared model, or a skip; compressed ones are unpacked once into the user's cache."""
    shared_path("models", "catalogue.json")
    entry = catalogue()[name]
    plain = SHARED / "models" / entry["file"]
    if plain.exists():
        return plain
    packed = SHARED / "models" / entry["stored_as"]["file"]
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nnapi-toolkit" / "test-models"
    cache_dir.mkdir(parents=True, exist_ok=True)
    unpacked = cache_dir / entry["file"]
    if not unpacked.exists() or unpacked.stat().st_size != entry["bytes"]:
        part = unpacked.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(lzma.decompress(packed.read_bytes()))
        part.replace(unpacked)
    return unpacked


class Golden:
    """Inputs and expected outputs of a shared model (`ref` = LiteRT's reference kernels, `xnn` = its default)."""

    def __init__(self, name: str) -> None:
        self._data = np.load(shared_path("models", "golden", f"{name}.npz"))
        self.cases = int(self._data["cases"])

    def _list(self, prefix: str) -> list[np.ndarray]:
        count = 0
        while f"{prefix}_{count}" in self._data:
            count += 1
        return [self._data[f"{prefix}_{j}"] for j in range(count)]

    def inputs(self, case: int) -> list[np.ndarray]:
        return self._list(f"in{case}")

    def outputs(self, case: int, kernels: str = "ref") -> list[np.ndarray]:
        return self._list(f"{kernels}{case}")
