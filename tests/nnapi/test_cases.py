"""All shared NNAPI cases, in every way of running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import table
from .cases import SHARED, Worker, case_files, jobs
from .variants import VARIANTS


def files() -> list[Any]:
    found = case_files()
    skipped = pytest.mark.skip(reason=f"no shared NNAPI cases below {SHARED}")
    return [pytest.param(file, id=f"{file.parent.name}-{file.stem}") for file in found] or [
        pytest.param(Path(), marks=skipped)
    ]


def run(worker: Worker, file: Path, **how: Any) -> None:
    """Fails with the reasons of all cases that did not pass."""
    outcomes = [worker.run(job) for job in jobs([file], **how)]
    bad = [outcome for outcome in outcomes if outcome.status != "passed"]
    if bad:
        lines = [f"{outcome.status} {outcome.job.title}: {outcome.message}" for outcome in bad[:20]]
        pytest.fail(f"{len(bad)} of {len(outcomes)} cases:\n" + "\n".join(lines), pytrace=False)
    if not outcomes:
        pytest.skip("no case of this file can run so")


@pytest.mark.parametrize("file", files())
def test_modes(worker: Worker, file: Path) -> None:
    """Synchronous, asynchronous, fenced and in a burst; constants by pointer and from memory."""
    run(worker, file, modes=("sync", "async", "fenced", "burst"), constants=("copied", "memory"))


@pytest.mark.parametrize("file", files())
def test_own_feature_level(worker: Worker, file: Path) -> None:
    """The run time at the level that the cases were written for knows all they need."""
    run(worker, file, modes=("sync", "async"), own_level=True)


@pytest.mark.parametrize("file", files())
def test_sanitized(sanitized_worker: Worker, file: Path) -> None:
    """No undefined behaviour."""
    run(sanitized_worker, file, modes=("sync", "async"), constants=("copied", "memory"))


@pytest.mark.parametrize("file", files())
def test_threads(threaded_worker: Worker, file: Path) -> None:
    """Several threads give the same results."""
    run(threaded_worker, file, modes=("sync", "async"))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("file", files())
def test_variants(worker: Worker, file: Path, variant: str) -> None:
    """Put in another way, the results are the same."""
    run(worker, file, variant=variant)


def test_the_documented_table_is_of_these_cases() -> None:
    """`python -m tests.nnapi.table` writes it; it names each operation with all of its runs, all passed."""
    if not case_files():
        pytest.skip(f"no shared NNAPI cases below {SHARED}")
    ways = len(table.MODES) * len(table.CONSTANTS)
    expected = {op: (cases * ways, cases * ways) for op, (cases, _) in table.case_counts().items()}
    assert table.documented() == expected
