"""The library under test, built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .cases import Worker, build_library
from .client import Nnapi


@pytest.fixture(scope="session")
def library() -> Path:
    """libneuralnetworks.so of this tree."""
    return build_library()


@pytest.fixture(scope="session")
def sanitized_library() -> Path:
    """The same with UBSan, which ends the process at its first finding."""
    return build_library(sanitize=True)


@pytest.fixture(scope="session")
def worker(library: Path) -> Iterator[Worker]:
    """A process that runs cases."""
    with Worker(library) as process:
        yield process


@pytest.fixture(scope="session")
def sanitized_worker(sanitized_library: Path) -> Iterator[Worker]:
    """A process that runs cases with the sanitized library."""
    with Worker(sanitized_library) as process:
        yield process


@pytest.fixture
def api(library: Path) -> Iterator[Nnapi]:
    """The library in this process, with default settings."""
    nnapi = Nnapi(library)
    assert nnapi.configure(feature_level=8) == 0
    yield nnapi
    nnapi.configure()
