"""Kernels execute no more instructions than recorded (`scripts/bench --instructions --write` renews the record)."""

from __future__ import annotations

import shutil

import pytest
from nnapi_toolkit.android.toolchain import compiler_version

from tests.benchmarks.instructions import measure, recorded

NAMES = ["1x1 convolution", "3x3 convolution", "3x3 depthwise", "fully connected", "average pool", "add", "softmax"]


def test_no_more_instructions_than_recorded() -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    record = recorded()
    if record["compiler"] != compiler_version():
        pytest.skip(f"recorded with {record['compiler']}, this is {compiler_version()}")
    for name, row in measure(NAMES).items():
        for table, number in row.items():
            # Another C library's malloc and memcpy make some difference; a kernel that is not inlined or vectorised makes a large one.
            limit = 1.15 * record["instructions"][name][table] + 5000
            assert number <= limit, f"{name} with the {table} table: {number:,} instructions, {limit:,.0f} allowed"
