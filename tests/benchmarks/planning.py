"""How long opening, partitioning and lowering take: for each model, and as models grow in operators and in megabytes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import make_plan
from nnapi_toolkit.delegate.target import Target

from tests.benchmarks.delegation import chain
from tests.modelbuilder import ModelBuilder

OPERATORS = (100, 1_000, 10_000)
MEGABYTES = (1, 20, 200)


def weighty(megabytes: int) -> bytes:
    """A model of ten FULLY_CONNECTED operators with that much float32 weights."""
    builder = ModelBuilder()
    width = round((megabytes * 1e6 / 40) ** 0.5)
    x = current = builder.tensor("x", "float32", (1, width))
    for index in range(10):
        weights = builder.tensor(f"w{index}", "float32", (width, width), data=np.full((width, width), 0.01, np.float32))
        following = builder.tensor(f"t{index}", "float32", (1, width))
        builder.op("FULLY_CONNECTED", [current, weights, None], [following], weights_format=0)
        current = following
    return builder.build([x], [current])


def times(path: Path, rounds: int = 5) -> dict[str, Any]:
    """Milliseconds, the best of some rounds, to open and verify the file, to plan for feature level 4, and to lower."""
    best = [float("inf")] * 3
    for _ in range(rounds):
        marks = [time.perf_counter()]
        graph = Graph.open(path)
        marks.append(time.perf_counter())
        plan = make_plan(graph, Target(4))
        marks.append(time.perf_counter())
        plan.lower()
        marks.append(time.perf_counter())
        best = [min(old, 1e3 * (b - a)) for old, a, b in zip(best, marks, marks[1:])]
    summary = plan.summary()
    return {
        "open_ms": best[0],
        "plan_ms": best[1],
        "lower_ms": best[2],
        "megabytes": path.stat().st_size / 1e6,
        "operators": summary["nodes"],
        "partitions": summary["partitions"],
    }


def growth() -> dict[str, dict[str, Any]]:
    """Rows of made-up models: name -> `times`."""
    made = {f"chain of {count:,} operators": (chain, count) for count in OPERATORS}
    made |= {f"{size} MB of weights": (weighty, size) for size in MEGABYTES}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, size) in made.items():
            path = Path(folder) / "model.tflite"
            path.write_bytes(make(size))
            rows[name] = times(path, 3)
            path.unlink()
    return rows


def markdown(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The section of the page."""
    lines = [
        "",
        "## Planning",
        "",
        "Milliseconds to open and verify the file (weights are mapped, not read), to decide what goes to NNAPI of feature level 4, and to lower the",
        "partitions, the best of some rounds. Of the chains, every third operator has no NNAPI form.",
        "",
        "| model | MB | operators | partitions | open | plan | lower |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['megabytes']:.1f} | {row['operators']:,} | {row['partitions']:,} | {row['open_ms']:.1f} | {row['plan_ms']:.1f} | "
            f"{row['lower_ms']:.1f} |"
        )
    return lines
