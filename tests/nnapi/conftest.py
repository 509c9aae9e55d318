"""The library under test, built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .cases import Worker, build_library
from .client import Nnapi
from .operation import FORMS, run, scalar, tensor

#: Tables of kernels (android/softnn/kernels_select.c), with the flag of /proc/cpuinfo that each needs.
KERNELS = {
    "baseline": "", "avx2": " avx2", "avxvnni": " avx_vnni", "avx512vnni": " avx512_vnni", "dotprod": " asimddp",
    "i8mm": " i8mm",
}  # fmt: skip


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
def threaded_worker(library: Path) -> Iterator[Worker]:
    """A process that runs cases with several threads in each execution."""
    with Worker(library, {"SOFTNN_THREADS": "4"}) as process:
        yield process


@pytest.fixture(scope="session")
def sanitized_worker(sanitized_library: Path) -> Iterator[Worker]:
    """A process that runs cases with the sanitized library."""
    with Worker(sanitized_library, {"SOFTNN_KERNELS": "baseline"}) as process:  # one that is sanitized itself
        yield process


@pytest.fixture
def api(library: Path) -> Iterator[Nnapi]:
    """The library in this process, with default settings."""
    nnapi = Nnapi(library)
    assert nnapi.configure(feature_level=8) == 0
    yield nnapi
    nnapi.configure()


@pytest.fixture(scope="session", params=KERNELS)
def kernels(request: pytest.FixtureRequest, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Nnapi:
    """The library with one table of kernels; a copy for each, because a process keeps a library's first choice."""
    info = Path("/proc/cpuinfo")
    if KERNELS[request.param] not in (info.read_text() if info.exists() else ""):
        pytest.skip(f"this machine has no{KERNELS[request.param]}")
    copy = tmp_path_factory.mktemp(request.param) / library.name
    shutil.copy(library, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTNN_KERNELS", request.param)
        api = Nnapi(copy)
        assert api.configure(feature_level=8) == 0
        x = np.ones((1, 1), np.float32)
        fully_connected, none = 9, 0
        run(api, fully_connected, [tensor(x), tensor(x), tensor(x[0]), scalar(none)], [tensor(x)], FORMS[0])
        assert "SOFTNN_KERNELS" in os.environ
    return api
