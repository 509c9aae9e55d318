"""Peak memory of one model in a fresh process: the CPU reference, or LiteRT's reference kernels.

    python -m tests.benchmarks.memory MODEL reference|litert INPUTS.npz

The process imports what it needs, reads the inputs, and sets the kernel's high-water mark of its resident memory back to
what is resident then (Linux: `/proc/self/clear_refs`). Then it opens the model, runs it three times, and tells by how much
the mark has grown. Pages of the model's file that were read count on both sides, and so does what the allocator holds back.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.session import Session

ROOT = Path(__file__).resolve().parents[2]
RUNS = 3


def _resident_kib(field: str) -> int:
    """VmRSS (now) or VmHWM (at most since the mark was set back) of this process."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, field
    return int(found.group(1))


def _reference(path: Path, inputs: list[np.ndarray]) -> None:
    with Session(path, "cpu") as session:
        for _ in range(RUNS):
            session.run(inputs)


def _litert(path: Path, inputs: list[np.ndarray]) -> None:
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for _ in range(RUNS):
        for detail, value in zip(interpreter.get_input_details(), inputs):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            interpreter.get_tensor(detail["index"])


CONTENDERS = {"reference": _reference, "litert": _litert}


def growth_kib(path: Path, contender: str) -> int:
    """How much resident memory one model takes at most in a fresh process, in KiB.

    Args:
        path: The model.
        contender: `reference` or `litert`.
    """
    graph = Graph.open(path)
    main = graph.subgraphs[0]
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, *random_inputs([main.tensors[index] for index in main.inputs]))
        file.flush()
        command = [sys.executable, "-m", "tests.benchmarks.memory", str(path), contender, file.name]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return int(done.stdout)


def main() -> None:
    """Measures this process, prints KiB."""
    path, contender = Path(sys.argv[1]), sys.argv[2]
    with np.load(sys.argv[3]) as file:
        inputs = list(file.values())
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident_kib("VmRSS")
    CONTENDERS[contender](path, inputs)
    print(_resident_kib("VmHWM") - before)


if __name__ == "__main__":
    main()
