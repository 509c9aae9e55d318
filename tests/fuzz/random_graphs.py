"""Random graphs: whole on the device, split between device and CPU, at a lower feature level, and all on the CPU reference.

    python -m tests.fuzz.random_graphs --count 10000 --seed 1 --seconds 60 --findings DIRECTORY

All four have to agree within what the accuracy classes of the operators allow (`graph_builder`). A graph that does not is written to
the findings directory with its seed in the file's name; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nnapi_toolkit.delegate.partition import PlanOptions
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.session import Session, SessionOptions

from tests.fuzz.graph_builder import MOST, SMALLEST, GraphBuilder, RandomGraph, Unfit
from tests.fuzz.graph_operators import KNOWN_GAPS, MAKERS


@dataclass
class Outcome:
    """What a run saw.

    Attributes:
        graphs: How many graphs ran.
        operators: How often each operator was in one.
        delegated: Nodes that ran on the device in the runs of the whole graph.
        partitions: How many partitions the split runs had.
        findings: What went wrong, by seed.
    """

    graphs: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    delegated: int = 0
    partitions: int = 0
    findings: dict[int, str] = field(default_factory=dict)


def random_graph(seed: int) -> RandomGraph:
    """The graph of a seed."""
    chance = random.Random(seed)
    while True:
        try:
            return _grown(chance).finish()
        except Unfit:
            continue


def _grown(chance: random.Random) -> GraphBuilder:
    graph = GraphBuilder(chance)
    size = chance.randint(SMALLEST, MOST)
    names = list(MAKERS)
    while len(graph.steps) < size:
        values, inputs, steps = len(graph.values), len(graph.inputs), len(graph.steps)
        try:
            MAKERS[chance.choice(names)](graph)
        except Unfit:
            del graph.values[values:], graph.inputs[inputs:], graph.steps[steps:]
    return graph


def variants(chance: random.Random, nodes: int) -> Iterator[tuple[str, str, SessionOptions]]:
    """What a graph runs on besides the reference: a name, a device and options."""
    yield "whole", "local", SessionOptions()
    if chance.random() < 0.5:
        yield "split", f"local,refuse-every={chance.randint(2, 4)}", SessionOptions()
    else:
        kept = sorted(chance.sample(range(nodes), max(1, nodes // 3)))
        selection = NodeSelection(tuple((0, n, n) for n in kept))
        yield f"split without {kept}", "local", SessionOptions(plan=PlanOptions(exclude=selection))
    yield "lower level", f"local,fl={chance.randint(1, 7)}", SessionOptions()


def check(seed: int, outcome: Outcome, directory: Path) -> bytes:
    """Runs the graph of a seed in all ways. Raises AssertionError, or what the product raised; returns the model."""
    graph = random_graph(seed)
    path = directory / f"graph-{seed}.tflite"
    path.write_bytes(graph.model)
    outcome.graphs += 1
    outcome.operators.update(graph.operators)
    try:
        with Session(path, "cpu") as session:
            wanted = session.run(graph.inputs)
        for value, want in zip(graph.outputs, wanted, strict=True):
            assert np.isfinite(want).all(), "the generator made a graph with results that are not finite"
            assert (want.shape, want.dtype.name) == (value.shape, value.kind), "the reference disagrees with the generator"
        for name, device, options in variants(random.Random(seed + 1), len(graph.operators)):
            with Session(path, device, options) as session:
                results = session.run(graph.inputs)
                if name == "whole":
                    outcome.delegated += int(session.plan.summary()["delegated_nodes"])
                elif name.startswith("split"):
                    outcome.partitions += len(session.plan.partitions)
            for number, (value, have, want) in enumerate(zip(graph.outputs, results, wanted, strict=True)):
                _compare(f"seed {seed}, {name} on {device}, output {number}", value.scale, value.error, have, want)
    except BaseException as error:
        error.add_note(f"seed {seed}: {' '.join(graph.operators)}")
        raise
    finally:
        path.unlink()
    return graph.model


def _compare(what: str, scale: float | None, error: float, have: np.ndarray, want: np.ndarray) -> None:
    assert (have.shape, have.dtype) == (want.shape, want.dtype), f"{what}: {have.dtype}{have.shape} for {want.dtype}{want.shape}"
    if error == 0:
        differ = int((have != want).sum())
        assert not differ, f"{what}: {differ} of {want.size} differ where all have to be equal: {have[have != want][:3]}, {want[have != want][:3]}"
        return
    worst = float(np.abs(have.astype(np.float64) - want).max(initial=0)) * (scale or 1.0)
    assert worst <= error, f"{what}: off by {worst}, allowed are {error}"


def fuzz(seeds: range, seconds: float, findings: Path | None) -> Outcome:
    """Runs graphs of these seeds until the time is over."""
    outcome = Outcome()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        for seed in seeds:
            if time.monotonic() >= end:
                break
            try:
                check(seed, outcome, Path(directory))
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                outcome.findings[seed] = text
                if findings is not None:
                    findings.mkdir(parents=True, exist_ok=True)
                    (findings / f"random-graph-{seed}.tflite").write_bytes(random_graph(seed).model)
                    (findings / f"random-graph-{seed}.txt").write_text(text)
    return outcome


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    seconds = arguments.seconds if arguments.count < 1_000_000_000 or arguments.seconds < float("inf") else 60.0
    outcome = fuzz(range(arguments.seed, arguments.seed + arguments.count), seconds, arguments.findings)
    print(f"{outcome.graphs} graphs, {outcome.operators.total()} nodes ({outcome.delegated} delegated whole), {len(outcome.operators)} operators")
    print(f"never drawn: {', '.join(sorted(set(MAKERS) - set(outcome.operators))) or 'none'}")
    for what, reason in KNOWN_GAPS.items():
        print(f"known gap: {what}: {reason}")
    for seed, text in outcome.findings.items():
        print(f"finding: seed {seed}: {text.strip().splitlines()[-1]}\n  {text.strip().splitlines()[-2]}")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
