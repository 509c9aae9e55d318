"""Random graphs: whole, split, at a lower feature level and on the CPU reference they give the same results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.delegate.partition import PlanOptions
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.session import Session, SessionOptions

from tests.fuzz.graph_operators import MAKERS
from tests.fuzz.random_graphs import Outcome, check, random_graph
from tests.modelbuilder import ModelBuilder

CHUNK = 25
SEEDS = range(0, 200, CHUNK)
FEWEST_OPERATORS = 85


@pytest.mark.parametrize("first", SEEDS)
def test_all_ways_agree(first: int, tmp_path: Path) -> None:
    outcome = Outcome()
    for seed in range(first, first + CHUNK):
        check(seed, outcome, tmp_path)
    assert outcome.graphs == CHUNK
    assert outcome.delegated > 2 * CHUNK and outcome.partitions > CHUNK // 2, "hardly anything ran on the device"


def test_the_graphs_cover_the_operators() -> None:
    seen = {op for seed in range(SEEDS.start, SEEDS.stop) for op in random_graph(seed).operators}
    missing = sorted(set(MAKERS) - seen)
    print(f"{len(seen)} operators; never drawn: {', '.join(missing) or 'none'}")
    assert len(seen) >= FEWEST_OPERATORS, f"only {len(seen)} operators, without {', '.join(missing)}"


def test_a_seed_is_one_graph() -> None:
    assert random_graph(7).model == random_graph(7).model
    assert random_graph(7).model != random_graph(8).model


def test_nodes_that_lead_to_no_output(tmp_path: Path) -> None:
    """A partition of nothing else has outputs all the same: NNAPI wants some."""
    builder = ModelBuilder()
    x, y, dead = (builder.tensor(name, "float32", (2, 3)) for name in ("x", "y", "dead"))
    builder.op("ELU", [x], [y])
    builder.op("NEG", [x], [dead])
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build([x], [y]))
    value = np.ones((2, 3), np.float32)
    options = SessionOptions(plan=PlanOptions(exclude=NodeSelection.parse("0")))
    with Session(path, "local", options) as session:
        assert session.plan.summary()["delegated_nodes"] == 1
        np.testing.assert_array_equal(session.run([value])[0], value)
