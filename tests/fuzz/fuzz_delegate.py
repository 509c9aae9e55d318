"""Mutational fuzzer of planning and lowering: for any valid model, a plan with complete reasons and valid programs.

    python -m tests.fuzz.fuzz_delegate --seconds 60 --seed 1 --findings DIRECTORY

Single-operator models of `tests/operator_cases.py` with other shapes, types, quantisation, options, constants and versions. What
breaks the rule is written to the findings directory, one file per kind of failure; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.errors import ModelError, UnsupportedError
from nnapi_toolkit.delegate.explain import explain
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.rewrites import ALL
from nnapi_toolkit.delegate.target import Target

from tests.differential.litert import T
from tests.modelbuilder import ModelBuilder
from tests.operator_cases import CASES, OperatorCase

KINDS = ("float32", "uint8", "int8", "int32", "bool", "int64", "int16", "float16")
QUANTIZATIONS: tuple[tuple[Any, Any], ...] = (
    (None, None), (0.0, 0), (0.1, 5), ([0.1, 0.2], [0, 0]), (1e-9, 0), (1 / 256, -128), (1 / 256, 0), (1 / 128, 0),
)  # fmt: skip
OPTIONS = (
    PlanOptions(),
    PlanOptions(strategy="tflite"),
    PlanOptions(rewrites=ALL),
    PlanOptions(rewrites=False),
    PlanOptions(max_partitions=1),
)


class Mutation:
    """One mutated model."""

    def __init__(self, chance: random.Random, case: OperatorCase) -> None:
        self.chance = chance
        self.case = case
        self.builder = ModelBuilder()

    def build(self) -> bytes:
        """The bytes of the model."""
        chance, case = self.chance, self.case
        inputs, outputs = list(case.inputs), list(case.outputs)
        if chance.random() < 0.1 and len(inputs) > 1:
            inputs.pop()
        if chance.random() < 0.05:
            inputs.append(inputs[-1])
        if chance.random() < 0.05:
            outputs.append(outputs[0])
        taken = [self._tensor(t, f"x{i}") for i, t in enumerate(inputs)]
        made = [self._tensor(t, f"y{i}", output=True) for i, t in enumerate(outputs)]
        if chance.random() < 0.05:
            taken[chance.randrange(len(taken))] = None
        if case.custom is not None:
            cut = len(case.custom) if chance.random() < 0.7 else chance.randrange(len(case.custom))
            self.builder.custom(case.op, taken, made, options=case.custom[:cut])
        else:
            version = chance.choice((1, case.version, case.version, 2, 5))
            self.builder.op(case.op, taken, made, version=version, **self._options())
        tensors = self.builder.table["tensors"]
        fed = {i for i in taken if i is not None and not tensors[i].get("buffer") and not tensors[i].get("is_variable")}
        return self.builder.build(sorted(fed), made)

    def _shape(self, shape: list[int]) -> list[int]:
        chance, roll = self.chance, self.chance.random()
        if roll < 0.25 and shape:
            shape[chance.randrange(len(shape))] = chance.choice((0, 1, 2, 3, 5, 7))
        elif roll < 0.35:
            shape.append(chance.choice((1, 2)))
        elif roll < 0.45 and shape:
            shape.pop()
        elif roll < 0.5 and shape:
            shape.insert(0, 1)
        return shape

    def _tensor(self, t: T | None, name: str, output: bool = False) -> int | None:
        if t is None:
            return None
        chance = self.chance
        shape = list(t.data.shape if t.data is not None else t.shape)
        kind = t.dtype or (t.data.dtype.name if t.data is not None else "float32")
        if chance.random() < 0.3:
            shape = self._shape(shape)
        if chance.random() < 0.15:
            kind = chance.choice(KINDS)
        scale, zero_point = (t.scale, t.zero_point) if chance.random() < 0.85 else chance.choice(QUANTIZATIONS)
        constant = t.const if chance.random() < 0.85 else not t.const
        data = self._data(t, kind, shape) if t.data is not None and constant and not output else None
        signature = None
        if chance.random() < 0.08 and shape:
            signature = list(shape)
            signature[chance.randrange(len(shape))] = -1
        dimension = chance.choice((0, 0, 1, 3)) if isinstance(scale, list) else 0
        return self.builder.tensor(
            name, kind, shape, scale=scale, zero_point=zero_point, dimension=dimension, data=data, variable=t.variable,
            shape_signature=signature,
        )  # fmt: skip

    def _data(self, t: T, kind: str, shape: list[int]) -> np.ndarray:
        chance = self.chance
        assert t.data is not None
        if kind == t.data.dtype.name and list(t.data.shape) == shape:
            data = t.data.copy()
        else:
            low, high = (0, 2) if kind == "bool" else (0, 5) if kind.startswith("u") else (-2, 5)
            data = np.random.default_rng(chance.randrange(10**6)).integers(low, high, shape).astype(kind)
        if chance.random() < 0.2 and data.size and data.dtype.kind in "iu":
            values = (0, 1, 2, 100, -1) if data.dtype.kind == "i" else (0, 1, 2, 100)
            data.reshape(-1)[chance.randrange(data.size)] = chance.choice(values)
        return data

    def _options(self) -> dict[str, Any]:
        chance, options = self.chance, dict(self.case.options)
        for name, given in options.items():
            if chance.random() > 0.15:
                continue
            if isinstance(given, bool):
                options[name] = not given
            elif hasattr(given, "value"):
                options[name] = chance.choice((0, 1, 2, 3))
            elif isinstance(given, int):
                options[name] = chance.choice((0, 1, 2, 3, 4, -1, -2, 5, 100))
            elif isinstance(given, float):
                options[name] = chance.choice((0.0, -1.0, 1.5))
            elif isinstance(given, list):
                options[name] = chance.choice(([], [0], [1, 2], [-1], [9]))
        return options


def try_model(data: bytes, level: int) -> bool:
    """Plans and lowers a model in all ways.

    Returns:
        False when the bytes are no valid model.
    """
    try:
        graph = Graph.from_bytes(data)
    except ModelError:
        return False
    for options in OPTIONS:
        plan = make_plan(graph, Target(level), options)
        for row in plan.to_json("model")["nodes"]:
            assert (row["reason"] is None) == (row["target"] == "nnapi"), row
        explain(plan)
        try:
            plan.lower()
        except UnsupportedError:
            if options.strategy != "tflite":  # the delegate takes nodes that NNAPI refuses; nobody else may
                raise
    return True


def fuzz(seed: int, cases: int | None, seconds: float, findings: Path | None) -> tuple[int, int, dict[str, str]]:
    """Runs mutations.

    Returns:
        How many were tried, how many were valid models, and the failures by kind with their traces.
    """
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    tried = valid = 0
    failures: dict[str, str] = {}
    while (cases is None or tried < cases) and time.monotonic() < end:
        tried += 1
        data = Mutation(chance, chance.choice(CASES)).build()
        try:
            valid += try_model(data, chance.choice((1, 2, 3, 4, 6, 8)))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
            if kind not in failures:
                failures[kind] = traceback.format_exc()
                if findings is not None:
                    findings.mkdir(parents=True, exist_ok=True)
                    (findings / f"{kind}.tflite").write_bytes(data)
    return tried, valid, failures


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--findings", type=Path, default=Path("findings/delegate"))
    given = parser.parse_args()
    tried, valid, failures = fuzz(given.seed, None, given.seconds, given.findings)
    print(f"delegate: seed {given.seed}, {tried} cases, {valid} valid models, {len(failures)} findings")
    for trace in failures.values():
        print(trace)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
