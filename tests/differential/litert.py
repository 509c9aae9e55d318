"""One operator at a time through LiteRT's reference kernels and through ours."""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.reference.executor import ReferenceExecutor

from tests.modelbuilder import ModelBuilder

Array = np.ndarray

#: Examples that were compared, by (operator, types of its inputs); the coverage table is printed from it.
COMPARED: Counter[tuple[str, str]] = Counter()

#: The number of examples of each test; fewer for a quick look.
examples = settings(
    max_examples=int(os.environ.get("NNAPI_TOOLKIT_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@dataclass
class T:
    """A tensor of the single-operator model: a value (model input, or constant with `const`) or an output."""

    data: Array | None = None
    dtype: str | None = None  # the schema's name where numpy has none ("int4"), and for outputs
    shape: Sequence[int] = ()
    scale: float | Sequence[float] | None = None
    zero_point: int | Sequence[int] | None = None
    dimension: int = 0
    const: bool = False
    variable: bool = False

    def add(self, builder: ModelBuilder, name: str) -> int:
        """Adds the tensor to the model."""
        if self.data is None:
            return builder.tensor(
                name, self.dtype or "float32", self.shape, scale=self.scale, zero_point=self.zero_point,
                dimension=self.dimension, variable=self.variable,
            )
        kind = self.dtype or self.data.dtype.name
        return builder.tensor(
            name, kind, self.data.shape, scale=self.scale, zero_point=self.zero_point, dimension=self.dimension,
            data=self.data if self.const else None,
        )


def single(
    op: str, inputs: Sequence[T | None], outputs: Sequence[T], *, version: int = 1, custom: bytes | None = None,
    intermediates: Sequence[T] = (), results: int | None = None, **options: Any,
) -> tuple[bytes, list[Array]]:
    """The model and the values of its inputs; its first `results` outputs (all without that) are those of the model."""
    builder = ModelBuilder()
    indices = [None if t is None else t.add(builder, f"x{i}") for i, t in enumerate(inputs)]
    made = [t.add(builder, f"y{i}") for i, t in enumerate(outputs)]
    if custom is None:
        inner = [t.add(builder, f"t{i}") for i, t in enumerate(intermediates)]
        builder.op(op, indices, made, version=version, intermediates=inner, **options)
    else:
        builder.custom(op, indices, made, options=custom, version=version)
    fed = [(i, t) for i, t in zip(indices, inputs) if t is not None and t.data is not None and not t.const]
    data = builder.build([i for i, _ in fed], made[:results])
    return data, [t.data for _, t in fed if t.data is not None]


class LiteRTError(Exception):
    """LiteRT refused a model, or ended its process."""


class _Worker:
    """LiteRT in a process of its own, started at first use and again after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, model: bytes, inputs: Sequence[Array], runs: int, resolver: str) -> list[Array]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.differential.litert_worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
            )
            atexit.register(self.close)
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((model, list(inputs), runs, resolver), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            code = process.wait(10)
            self._process = None
            raise LiteRTError(f"LiteRT ended its process with {code}") from error
        if isinstance(answer, str):
            raise LiteRTError(answer)
        return answer

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None


_worker = _Worker()


def run_litert(
    model: bytes, inputs: Sequence[Array], runs: int = 1, resolver: str = "BUILTIN_REF"
) -> list[Array]:
    """Outputs of the reference kernels, or of another resolver's (of the last of several runs).

    Raises:
        LiteRTError: It refuses the model, or crashes.
    """
    return _worker.run(model, inputs, runs, resolver)


def run_ours(model: bytes, inputs: Sequence[Array], runs: int = 1) -> list[Array]:
    """Outputs of our kernels (of the last of several runs)."""
    executor = ReferenceExecutor(Graph.from_bytes(model))
    result: list[Array] = []
    for _ in range(runs):
        result = executor.run(0, inputs)
    return result


def compare(
    op: str, inputs: Sequence[T | None], outputs: Sequence[T], *, rel: float = 1e-6, ulps: int = 4,
    slack: float | Array = 0.0, runs: int = 1, version: int = 1, custom: bytes | None = None,
    resolver: str = "BUILTIN_REF", **options: Any,
) -> list[Array]:
    """Runs both and compares: integers exactly; floats within `ulps`, `rel`, or the absolute `slack` of the operands.

    `slack` is what the order of a sum may change: a few roundings of the sum of magnitudes.
    """
    model, values = single(op, inputs, outputs, version=version, custom=custom, **options)
    want, have = run_litert(model, values, runs, resolver), run_ours(model, values, runs)
    assert len(want) == len(have)
    for place, (w, h) in enumerate(zip(want, have)):
        assert (h.shape, h.dtype) == (w.shape, w.dtype), f"output {place}: {h.dtype}{h.shape}, not {w.dtype}{w.shape}"
        assert_equal(h, w, rel, ulps, slack)
    kinds = [(t.dtype or t.data.dtype.name) for t in inputs if t is not None and t.data is not None]
    COMPARED[op, ",".join(kinds[:2])] += 1
    return want


def assert_equal(have: Array, want: Array, rel: float, ulps: int, slack: float | Array) -> None:
    """Integers equal; floats within the tolerances, NaNs and infinities in the same places."""
    if want.dtype.kind not in "fc":
        np.testing.assert_array_equal(have, want)
        return
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isfinite(have), finite)
    np.testing.assert_array_equal(have[~finite], want[~finite])
    exact, ours = want[finite], have[finite]
    with np.errstate(over="ignore"):  # the spacing of the largest float is infinite
        allowed = np.maximum(rel * np.abs(exact), ulps * np.spacing(np.abs(exact)) if ulps else 0)
    allowed = allowed + np.broadcast_to(np.asarray(slack), want.shape)[finite]
    difference = np.abs(ours.astype(np.complex128) - exact)
    worst = difference - allowed
    assert (worst <= 0).all(), f"off by {difference[worst.argmax()]}: {ours[worst.argmax()]}, not {exact[worst.argmax()]}"


def rng(seed: int) -> np.random.Generator:
    """Values are drawn by seed: hypothesis chooses shapes and attributes, and the seed."""
    return np.random.default_rng(seed)


def integers(generator: np.random.Generator, dtype: Any, shape: Sequence[int]) -> Array:
    """All numbers of an integer type, the extremes more often."""
    info = np.iinfo(dtype)
    values = generator.integers(info.min, info.max, shape, dtype=np.int64, endpoint=True)
    edge = generator.random(shape)
    return np.where(edge < 0.05, info.min, np.where(edge > 0.95, info.max, values)).astype(dtype)


def floats(generator: np.random.Generator, shape: Sequence[int], scale: float = 3.0) -> Array:
    """Normal float32 values."""
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def zero_point(generator: np.random.Generator, dtype: Any) -> int:
    """A zero point of an 8-bit type; 0 for int16."""
    info = np.iinfo(dtype)
    return 0 if info.bits > 8 else int(generator.integers(info.min, info.max, endpoint=True))


def scale(generator: np.random.Generator, low: float = 0.002, high: float = 0.2) -> float:
    """A scale, log-uniform."""
    return float(np.float32(np.exp(generator.uniform(np.log(low), np.log(high)))))


def quantized(
    generator: np.random.Generator, dtype: Any, shape: Sequence[int], *, const: bool = False, **fixed: Any
) -> T:
    """A quantised tensor with random numbers and parameters."""
    parameters = {"scale": scale(generator), "zero_point": zero_point(generator, dtype)} | fixed
    return T(integers(generator, dtype, shape), const=const, **parameters)


Maker = Callable[..., T]
