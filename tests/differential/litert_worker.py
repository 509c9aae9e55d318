"""The process that runs LiteRT for the differential tests: a model that makes it abort does not take the tests along.

Reads pickled (model, inputs, runs, resolver) from standard input, writes pickled lists of arrays, or the error's text.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def run(model: bytes, inputs: list[Any], runs: int, resolver: str) -> list[Any]:
    """Outputs of the last of several runs of the main subgraph."""
    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=OpResolverType[resolver]
    )
    interpreter.allocate_tensors()
    for _ in range(runs):
        for detail, value in zip(interpreter.get_input_details(), inputs):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
    return [_output(interpreter, detail) for detail in interpreter.get_output_details()]


def _output(interpreter: Interpreter, detail: dict[str, Any]) -> Any:
    """One output; the interpreter cannot hand out empty ones."""
    if 0 in detail["shape"]:
        return np.empty(detail["shape"], detail["dtype"])
    return interpreter.get_tensor(detail["index"]).copy()


def main() -> None:
    """Serves until its standard input ends."""
    while True:
        try:
            model, inputs, runs, resolver = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer: Any = run(model, inputs, runs, resolver)
        except (RuntimeError, ValueError) as error:
            answer = str(error)
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
