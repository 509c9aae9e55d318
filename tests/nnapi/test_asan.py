"""All shared cases under the address and the undefined-behaviour sanitizer."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz import softnn

from .cases import SHARED, case_files, jobs, run_jobs


@pytest.mark.timeout(1500)
@pytest.mark.xdist_group("sanitizers")
def test_cases_under_asan() -> None:
    """Copied constants have exactly their size here, so reading past one is seen; memory ones lie in mapped pages."""
    compiler = softnn.clang()
    if compiler is None:
        pytest.skip("needs clang with its sanitizer runtime: apt-get install clang libclang-rt-14-dev")
    if not case_files():
        pytest.skip(f"no shared NNAPI cases below {SHARED}")
    library = softnn.build_library(compiler, softnn.cache_folder())
    environment = {
        "LD_PRELOAD": softnn.preload(compiler),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "SOFTNN_THREADS": "2",
        "SOFTNN_KERNELS": "baseline",  # one that is sanitized itself
    }
    work = jobs(case_files(), modes=("sync", "async"), constants=("copied",))
    outcomes = list(run_jobs(library, work, environment))
    bad = [outcome for outcome in outcomes if outcome.status != "passed"]
    lines = [f"{outcome.status} {outcome.job.title}: {outcome.message}" for outcome in bad[:10]]
    assert not bad, f"{Counter(outcome.status for outcome in outcomes)}\n" + "\n".join(lines)
