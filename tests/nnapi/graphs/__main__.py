"""Checks many random graphs: `python -m tests.nnapi.graphs --first 0 --count 10000`."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..cases import build_library
from ..client import Nnapi
from .build import random_graph
from .run import Mismatch, check


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a graph failed; the seed stands in front of what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.nnapi.graphs", description="Check random graphs.")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seconds", type=float, help="as many as fit into this time, instead of --count")
    parser.add_argument("--threads", type=int, default=1, help="that compute one execution")
    parser.add_argument("--library", type=Path, help="a libneuralnetworks.so; else the one of this tree is built")
    parser.add_argument("--sanitize", action="store_true", help="build with UBSan")
    parser.add_argument("-x", type=int, default=20, help="stop after that many failures")
    options = parser.parse_args(arguments)
    api = Nnapi(options.library or build_library(options.sanitize))
    api.configure(feature_level=8, threads=options.threads)
    seen: Counter[str] = Counter()
    failures = graphs = 0
    end = None if options.seconds is None else time.monotonic() + options.seconds
    for seed in itertools.count(options.first):
        if (graphs >= options.count if end is None else time.monotonic() >= end) or failures >= options.x:
            break
        graphs += 1
        try:
            graph = random_graph(seed)
            seen.update(node.name for node in graph.nodes)
            check(api, graph)
        except Mismatch as mismatch:
            failures += 1
            print(f"FAILED {mismatch}", flush=True)
        except Exception:
            failures += 1
            print(f"FAILED seed {seed}: {traceback.format_exc()}", flush=True)
    print(f"{graphs} graphs, {sum(seen.values())} operations of {len(seen)} kinds, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
