"""The comparisons with LiteRT's reference kernels share one worker, so that the table of coverage sees all of them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "differential" and item.path.name.startswith("test_reference_"):
            item.add_marker(pytest.mark.xdist_group("reference"))
