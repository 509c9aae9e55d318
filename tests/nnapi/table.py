"""Writes the table of NNAPI cases by operation into the documentation.

python -m tests.nnapi.table            # runs all cases in all modes, writes docs/reference/nnapi-cases.md
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .cases import ROOT, Outcome, build_library, case_files, jobs, load, run_jobs

PAGE = ROOT / "docs" / "reference" / "nnapi-cases.md"
MODES = ("sync", "async", "fenced", "burst")
CONSTANTS = ("copied", "memory")

_INTRODUCTION = """\
# NNAPI cases by operation

Software NNAPI against the cases of the Android project's operation specifications: every case, run synchronously, asynchronously,
with fences and in a burst, each with constants by pointer and from memory ({ways} runs a case). A case counts under each operation
that it is about. Written by `python -m tests.nnapi.table`; `tests/nnapi/test_cases.py` runs the same, and once more with several
threads, at the cases' own feature levels, and under UndefinedBehaviorSanitizer and AddressSanitizer.

| operation | cases | of them must fail | runs | passed |
|---|---|---|---|---|
"""


def case_counts() -> dict[str, tuple[int, int]]:
    """Operation -> (cases, cases that expect a failure), as the files have them."""
    cases: Counter[str] = Counter()
    failing: Counter[str] = Counter()
    for file in case_files():
        for case in load(str(file))[0]["cases"]:
            cases.update(case["ops"])
            failing.update(case["ops"] if case["expect_failure"] else ())
    return {op: (cases[op], failing[op]) for op in sorted(cases)}


def page(outcomes: Iterable[Outcome]) -> str:
    """The whole page."""
    runs: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for outcome in outcomes:
        runs.update(outcome.job.ops)
        passed.update(outcome.job.ops if outcome.status == "passed" else ())
        total.update(["runs", outcome.status])
    counts = case_counts()
    rows = [
        f"| {op} | {cases} | {failing or '–'} | {runs[op]} | {passed[op]} |" for op, (cases, failing) in counts.items()
    ]
    lines = [*rows, f"\nAll: {total['runs']} runs, {total['passed']} passed, {len(counts)} operations.", ""]
    return _INTRODUCTION.format(ways=len(MODES) * len(CONSTANTS)) + "\n".join(lines)


def main() -> int:
    """Runs everything and writes the page; 1 when a run failed."""
    outcomes = list(run_jobs(build_library(), jobs(case_files(), modes=MODES, constants=CONSTANTS)))
    PAGE.write_text(page(outcomes))
    bad = [outcome for outcome in outcomes if outcome.status != "passed"]
    for outcome in bad[:20]:
        print(f"{outcome.status} {outcome.job.title}: {outcome.message}", file=sys.stderr)
    print(PAGE)
    return 1 if bad or not outcomes else 0


def documented(path: Path = PAGE) -> dict[str, tuple[int, int]]:
    """The page's rows: operation -> (runs, passed)."""
    rows = [
        line.split("|") for line in path.read_text().splitlines() if line.startswith("| ") and "operation" not in line
    ]
    return {row[1].strip(): (int(row[4]), int(row[5])) for row in rows}


if __name__ == "__main__":
    sys.exit(main())
