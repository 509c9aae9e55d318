"""Random TFLite graphs: values with bounds on their size and on the error that implementations may differ by.

Every value knows the largest magnitude that it can have and by how much two correct implementations may differ in it. A node adds to
the propagated error what its accuracy class says, once, here. Discontinuous operators take only values without any error, so that the
comparison of outputs is sharp: copies, integers, booleans and quantised values before any float node have to be equal bit for bit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from nnapi_toolkit.schema.enums import ActivationFunctionType

from tests.modelbuilder import ModelBuilder

Array = np.ndarray

#: What one node adds to the error of its float results, relative to the largest magnitude that they can have.
COPY, INTEGER, ARITHMETIC, TRANSCENDENTAL, CONVOLUTION = "copy", "integer", "arithmetic", "transcendental", "convolution"
ACCURACY = {COPY: 0.0, INTEGER: 0.0, ARITHMETIC: 1e-6, TRANSCENDENTAL: 5e-6, CONVOLUTION: 1e-5}

QUANTIZED = {"int8": (-128, 127), "uint8": (0, 255)}
#: Nodes of a graph, before those that lead to no output are dropped.
SMALLEST, MOST = 3, 15
LARGEST = 1000.0
LARGEST_INTEGER = 1 << 22
LARGEST_COUNT = 3000
FUSED = {
    ActivationFunctionType.NONE: math.inf,
    ActivationFunctionType.RELU: math.inf,
    ActivationFunctionType.RELU6: 6.0,
    ActivationFunctionType.RELU_N1_TO_1: 1.0,
}


class Unfit(Exception):
    """The operator drawn does not go with the values there are: draw another."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor.

    Attributes:
        kind: "float32", "int8", "uint8", "int32" or "bool".
        bound: Real numbers: no element is larger in magnitude.
        error: Real numbers: no element of one correct result differs more from that of another.
        scale, zero: Quantisation; scales is for constants by channel along `dimension`.
        data: Of a constant.
    """

    kind: str
    shape: tuple[int, ...]
    bound: float = 0.0
    error: float = 0.0
    scale: float | None = None
    zero: int = 0
    data: Array | None = None
    scales: tuple[float, ...] | None = None
    dimension: int = 0

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass
class Step:
    """A node."""

    op: str
    inputs: list[Value | None]
    outputs: list[Value]
    version: int
    options: dict[str, Any]


@dataclass
class RandomGraph:
    """A finished graph.

    Attributes:
        model: The bytes of the `.tflite` file.
        inputs: Values of its inputs.
        outputs: Its outputs, with their bounds.
        operators: Names of the operators, in order.
    """

    model: bytes
    inputs: list[Array]
    outputs: list[Value]
    operators: list[str]


@dataclass
class GraphBuilder:
    """Collects values and nodes; `chance` decides everything."""

    chance: random.Random
    values: list[Value] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    # -- values -----------------------------------------------------------------------------------------------------

    def quantization(self, kind: str, bound: float, low: float = 0.4, high: float = 1.1) -> dict[str, Any]:
        """A scale that covers about this bound and a zero point."""
        scale = float(np.float32(max(bound, 1e-2) * self.chance.uniform(low, high) / 127))
        return {"scale": scale, "zero": self.chance.randint(-20, 20) + (128 if kind == "uint8" else 0)}

    def shape(self, low: int = 1, high: int = 4) -> tuple[int, ...]:
        """A small shape of a rank in the range."""
        rank = self.chance.randint(low, high)
        return tuple(self.chance.choice((1, 2, 3, 4, 5, 6)) for _ in range(rank))

    def source(self, kind: str, shape: Sequence[int]) -> Value:
        """A new input of the graph."""
        if len(self.inputs) > 5:
            raise Unfit
        if kind in QUANTIZED:
            spec = self.quantization(kind, self.chance.choice((1.0, 3.0, 6.0)))
            value = Value(kind, tuple(shape), real_bound(kind, **spec), **spec)
        else:
            value = Value(kind, tuple(shape), {"float32": 3.0, "int32": 40, "bool": 1}[kind])
        self.inputs.append(value)
        self.values.append(value)
        return value

    def pick(
        self, kinds: Sequence[str], low: int = 1, high: int = 4, where: Callable[[Value], bool] | None = None,
        shape: Sequence[int] | None = None, exact: bool = False, bound: float = math.inf,
    ) -> Value:  # fmt: skip
        """A value of one of the kinds that fits; where there is none, or now and then, a new input."""
        used = {id(v) for step in self.steps for v in step.inputs}
        fit = [
            v
            for v in self.values
            if v.kind in kinds and low <= v.rank <= high and (not exact or v.error == 0) and v.bound <= bound
            and (shape is None or v.shape == tuple(shape)) and (where is None or where(v))
        ]  # fmt: skip
        unused = [v for v in fit if id(v) not in used]
        if fit and self.chance.random() < 0.9:
            return self.chance.choice(unused if unused and self.chance.random() < 0.85 else fit)
        for _ in range(8):
            made = tuple(shape) if shape is not None else self.shape(low, high)
            value = self.source(self.chance.choice(list(kinds)), made)
            if value.bound <= bound and (where is None or where(value)):
                return value
            self.inputs.remove(value)
            self.values.remove(value)
        raise Unfit

    def constant(self, kind: str, data: Any, **more: Any) -> Value:
        """A constant."""
        array = np.asarray(data, kind)
        scale, zero = more.get("scale") or 1.0, more.get("zero", 0)
        bound = float(np.abs((array.astype(np.float64) - zero) * scale).max(initial=0))
        return Value(kind, array.shape, bound, data=array, **more)

    def random_constant(self, kind: str, shape: Sequence[int], size: float = 1.5, **spec: Any) -> Value:
        """A constant of random numbers."""
        generator = self.numpy()
        if kind in QUANTIZED:
            low, high = QUANTIZED[kind]
            spec = spec or self.quantization(kind, size)
            return self.constant(kind, generator.integers(low, high + 1, shape), **spec)
        if kind == "int32":
            return self.constant(kind, generator.integers(-20, 21, shape))
        if kind == "bool":
            return self.constant(kind, generator.random(shape) < 0.5)
        return self.constant(kind, generator.uniform(-size, size, shape))

    def integers(self, *numbers: Any) -> Value:
        """A constant vector of int32; a single list as it is nested."""
        return self.constant("int32", numbers[0] if len(numbers) == 1 and isinstance(numbers[0], list) else list(numbers))

    def scalar(self, number: int) -> Value:
        """A constant int32 without dimensions."""
        return self.constant("int32", number)

    def numpy(self) -> np.random.Generator:
        """A generator that follows from the seed."""
        return np.random.default_rng(self.chance.getrandbits(32))

    # -- nodes ------------------------------------------------------------------------------------------------------

    def node(self, op: str, inputs: Sequence[Value | None], outputs: Sequence[Value], version: int = 1, **options: Any) -> None:
        """Adds a node; its results become values."""
        for value in outputs:
            largest = {"int32": LARGEST_INTEGER}.get(value.kind, LARGEST)
            if value.bound > largest or value.count > LARGEST_COUNT or value.error > 0.05 * max(1.0, value.bound):
                raise Unfit
        self.steps.append(Step(op, list(inputs), list(outputs), version, options))
        self.values.extend(outputs)

    def emit(
        self, op: str, inputs: Sequence[Value | None], shape: Sequence[int], kind: str, bound: float, error: float = 0.0,
        accuracy: str = ARITHMETIC, spec: dict[str, Any] | None = None, version: int | None = None, **options: Any,
    ) -> Value:  # fmt: skip
        """Adds a node of one result that computes: bound and propagated error of the results in real numbers."""
        activation = FUSED.get(options.get("fused_activation_function", ActivationFunctionType.NONE), math.inf)
        bound = min(bound, activation)
        if kind in QUANTIZED:
            spec = spec or self.quantization(kind, bound)
            error = error + spec["scale"] * 1.001 if error else 0.0
            value = Value(kind, tuple(shape), real_bound(kind, **spec), error, **spec)
        elif kind == "float32":
            value = Value(kind, tuple(shape), bound, error + ACCURACY[accuracy] * bound)
        else:
            assert error == 0, f"{op} makes {kind} of values with errors"
            value = Value(kind, tuple(shape), bound)
        self.node(op, inputs, [value], (2 if kind == "int8" else 1) if version is None else version, **options)
        return value

    def move(
        self, op: str, x: Value, inputs: Sequence[Value], shape: Sequence[int], version: int | None = None, **options: Any
    ) -> Value:
        """Adds a node that only moves elements of `x`."""
        return self.moves(op, x, inputs, [shape], version, **options)[0]

    def moves(
        self, op: str, x: Value, inputs: Sequence[Value], shapes: Sequence[Sequence[int]], version: int | None = None, **options: Any
    ) -> list[Value]:
        """As `move`, with several results."""
        outputs = [like(x, shape) for shape in shapes]
        self.node(op, inputs, outputs, (2 if x.kind == "int8" else 1) if version is None else version, **options)
        return outputs

    def positive(self, x: Value) -> Value:
        """A value that is at least 0.5: ABS and ADD of a constant."""
        absolute = self.emit("ABS", [x], x.shape, "float32", x.bound, x.error, COPY)
        half = self.constant("float32", np.full((1,), 0.5))
        return self.emit("ADD", [absolute, half], x.shape, "float32", x.bound + 0.5, x.error)

    def fused(self) -> dict[str, Any]:
        """A fused activation."""
        kind = ActivationFunctionType.NONE if self.chance.random() < 0.5 else self.chance.choice(list(FUSED))
        return {"fused_activation_function": kind}

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> RandomGraph:
        """Chooses 1 to 3 outputs among what nobody reads, drops what does not lead there (mostly), and writes the model.

        Raises Unfit where less than `SMALLEST` nodes are left.
        """
        used = {id(v) for step in self.steps for v in step.inputs}
        sinks = [v for step in self.steps for v in step.outputs if id(v) not in used]
        count = min(len(sinks), self.chance.randint(1, 3))
        choices = [self.chance.sample(sinks, count) for _ in range(6)]
        outputs = max(choices, key=lambda chosen: len(self._live(chosen)))
        inner = [v for step in self.steps for v in step.outputs if id(v) in used]
        if inner and len(outputs) < 3 and self.chance.random() < 0.2:
            outputs.append(self.chance.choice(inner))  # an output that is read too
        steps = self.steps if self.chance.random() < 0.1 else self._live(outputs)
        if len(steps) < SMALLEST:
            raise Unfit
        taken = {id(v) for step in steps for v in step.inputs}
        inputs = [v for v in self.inputs if id(v) in taken]
        return RandomGraph(_write(steps, inputs, outputs), [self._feed(v) for v in inputs], outputs, [s.op for s in steps])

    def _live(self, outputs: Sequence[Value]) -> list[Step]:
        needed = {id(v) for v in outputs}
        live = []
        for step in reversed(self.steps):
            if any(id(v) in needed for v in step.outputs):
                live.append(step)
                needed |= {id(v) for v in step.inputs}
        return live[::-1]

    def _feed(self, value: Value) -> Array:
        generator = self.numpy()
        if value.kind in QUANTIZED:
            low, high = QUANTIZED[value.kind]
            return generator.integers(low, high + 1, value.shape).astype(value.kind)
        if value.kind == "int32":
            return generator.integers(-40, 41, value.shape).astype(np.int32)
        if value.kind == "bool":
            return generator.random(value.shape) < 0.5
        return generator.uniform(-3, 3, value.shape).astype(np.float32)


def real_bound(kind: str, scale: float, zero: int) -> float:
    """The largest real magnitude of a quantised type."""
    low, high = QUANTIZED[kind]
    return scale * max(high - zero, zero - low)


def like(x: Value, shape: Sequence[int]) -> Value:
    """A value as `x`, of another shape."""
    return Value(x.kind, tuple(shape), x.bound, x.error, x.scale, x.zero)


def _write(steps: Sequence[Step], inputs: Sequence[Value], outputs: Sequence[Value]) -> bytes:
    builder = ModelBuilder("random graph")
    numbers: dict[int, int] = {}

    def number(value: Value | None) -> int | None:
        if value is None:
            return None
        if id(value) not in numbers:
            more: dict[str, Any] = {}
            if value.scales is not None:
                more = {"scale": value.scales, "zero_point": [0] * len(value.scales), "dimension": value.dimension}
            elif value.scale is not None:
                more = {"scale": value.scale, "zero_point": value.zero}
            name = f"t{len(numbers)}"
            numbers[id(value)] = builder.tensor(name, value.kind, value.shape, data=value.data, **more)
        return numbers[id(value)]

    fed = [number(v) for v in inputs]
    for step in steps:
        ins, outs = [number(v) for v in step.inputs], [number(v) for v in step.outputs]
        builder.op(step.op, ins, outs, version=step.version, **step.options)
    return builder.build(fed, [number(v) for v in outputs])
