"""What is delegated, beside TFLite's own delegate, and how long planning takes: the tables of docs/reference/delegation.md.

    python -m tests.benchmarks.delegation [--write] [--levels 1,2,3,4,6]

The first table is arithmetic, not measurement: for each shared model and feature level, the share of nodes and of
multiply-accumulates that TFLite's delegate takes with its defaults (at most three partitions), and what this toolkit takes with
its own. The second measures planning on chains of operators; its last column would stay level for n log n.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.rewrites import DEFAULT, SUMMARIES
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target

from tests.conftest import catalogue, model_path
from tests.delegate_gaps import GAPS
from tests.modelbuilder import ModelBuilder

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "reference" / "delegation.md"
DELEGATE = PlanOptions(strategy="tflite", rewrites=False)


def share(part: int, whole: int) -> str:
    """A percentage; 100 % of nothing is a dash."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def gains(levels: list[int]) -> list[list[str]]:
    """Rows: model, level, nodes and multiply-accumulates by TFLite's delegate and by us, partitions of both."""
    rows = []
    for name in catalogue():
        graph = Graph.open(model_path(name))
        for level in levels:
            theirs = make_plan(graph, Target(level), DELEGATE).summary()
            ours = make_plan(graph, Target(level)).summary()
            rows.append(
                [
                    name,
                    str(level),
                    share(theirs["delegated_nodes"], theirs["nodes"]),
                    share(ours["delegated_nodes"], ours["nodes"]),
                    share(theirs["delegated_macs"], theirs["macs"]),
                    share(ours["delegated_macs"], ours["macs"]),
                    str(theirs["partitions"]),
                    str(ours["partitions"]),
                ]
            )
    return rows


def chain(count: int) -> bytes:
    """A model of `count` operators; every third has no NNAPI form."""
    builder = ModelBuilder()
    x = current = builder.tensor("x", "float32", (1, 8, 8, 4))
    weights = builder.tensor("w", "float32", (4, 3, 3, 4), data=np.zeros((4, 3, 3, 4), np.float32))
    bias = builder.tensor("b", "float32", (4,), data=np.zeros(4, np.float32))
    for index in range(count):
        following = builder.tensor(f"t{index}", "float32", (1, 8, 8, 4))
        if index % 3 == 0:
            builder.op("ROUND", [current], [following])
        elif index % 3 == 1:
            builder.op("CONV_2D", [current, weights, bias], [following], stride_w=1, stride_h=1)
        else:
            builder.op("ADD", [current, x], [following])
        current = following
    return builder.build([x], [current])


def curve(counts: tuple[int, ...] = (100, 1_000, 10_000, 20_000), rounds: int = 3) -> list[list[str]]:
    """Rows: operators, milliseconds to open the file and to plan (best of some rounds), nanoseconds per n log2 n."""
    rows = []
    for count in counts:
        data = chain(count)
        opened, planned = [], []
        for _ in range(rounds):
            start = time.process_time()
            graph = Graph.from_bytes(data)
            middle = time.process_time()
            make_plan(graph, Target(4)).to_json("model")
            opened.append(middle - start)
            planned.append(time.process_time() - middle)
        best = min(planned)
        rows.append(
            [
                f"{count:,}",
                f"{min(opened) * 1e3:.0f}",
                f"{best * 1e3:.0f}",
                f"{best * 1e9 / (count * math.log2(count)):.0f}",
            ]
        )
    return rows


def table(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table; all but the first column right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def document(levels: list[int], rounds: int) -> str:
    """The page."""
    named = ", ".join(f"{level} is Android {FEATURE_LEVELS[level][0]}" for level in levels if level <= 5)
    rewrites = table(
        ["rewrite", "what it does", "used"],
        [[f"`{name}`", summary, "always" if name in DEFAULT else "on request"] for name, summary in sorted(SUMMARIES.items())],
    )
    gaps = [[", ".join(sorted(gap.operators)) or "any", f"`{gap.rule_name}`", gap.why, "`{0}` level {2}".format(*gap.example)] for gap in GAPS]
    return f"""# What is delegated

Written by `python -m tests.benchmarks.delegation --write`; not edited by hand.

## Beside TFLite's own delegate

Share of all nodes (every subgraph) and of their multiply-accumulates that goes to NNAPI when the device takes every operation of
its feature level ({named}). *TFLite*: the TFLite NNAPI delegate with its defaults, reproduced node for node by
`--strategy tflite`; a 0 can mean that the delegate gave up (float16 weights in more than three partitions, dynamic tensors, custom
operators that the interpreter does not know). *Ours*: the default, `--strategy cost` with its exact rewrites. Some nodes that
TFLite's delegate takes are refused by NNAPI when it comes to compiling; ours are all lowered and run.

{table(["model", "level", "nodes TFLite", "nodes ours", "MACs TFLite", "MACs ours", "partitions TFLite", "ours"], gains(levels))}

## What TFLite's delegate takes and we do not

The delegate's checks are weaker than NNAPI's rules. Nodes like these it takes, and NNAPI then rejects them, reads them in another way or
rounds otherwise than TFLite; by default they stay on the CPU, with the reason, and `--strategy tflite` takes them as the delegate
does. There are no others among some ten thousand variants of single operators (`tests/differential/test_delegate_gaps.py`); in
particular, no model has fewer delegated multiply-accumulates than with TFLite's delegate but for nodes of this table.

{table(["operators", "rule", "why", "seen with"], gaps)}

## Rewrites

Other ways to say a node that its plain rule refuses. Those used always give quantised and integer results that are the same bit
for bit, and float results that differ by rounding only.

{rewrites}

## Planning time

Chains of operators of which every third has no NNAPI form, feature level 4, best of {rounds} rounds, in CPU time. The last column
stays level where the time grows as n log n. Measured on {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} before.

{table(["operators", "open, ms", "plan and reasons, ms", "ns per n log2 n"], curve(rounds=rounds))}
"""


def main() -> None:
    """Prints the page, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="1,2,3,4,6", help="feature levels of the first table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the planning times")
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.relative_to(ROOT)}")
    given: Any = parser.parse_args()
    text = document([int(level) for level in given.levels.split(",")], given.rounds)
    if given.write:
        DOCUMENT.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
