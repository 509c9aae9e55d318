"""Random graphs of NNAPI operations: whole, split and with open shapes they give the same bits, near numpy's numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .graphs.build import MAKERS, random_graph

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = 240
CHUNK = 60
OPERATIONS = 106


@pytest.mark.parametrize("first", range(0, GRAPHS, CHUNK))
@pytest.mark.parametrize("threads", [1, 3])
def test_graphs(library: Path, first: int, threads: int) -> None:
    """In a process of its own: a crash is one failure, and says after which seed."""
    command = [sys.executable, "-m", "tests.nnapi.graphs", "--library", str(library), "--threads", str(threads)]
    command += ["--first", str(first + threads * 10_000), "--count", str(CHUNK)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_graphs_under_ubsan(sanitized_library: Path) -> None:
    command = [sys.executable, "-m", "tests.nnapi.graphs", "--library", str(sanitized_library), "--count", str(CHUNK)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_operation_is_drawn() -> None:
    """Seeds go through the operations in turn, so as many graphs as operations have each of them."""
    random_graph(0)  # registers the makers
    assert len(MAKERS) == OPERATIONS
    seen = {node.name for seed in range(10_000, 10_000 + GRAPHS) for node in random_graph(seed).nodes}
    assert seen == set(MAKERS)
