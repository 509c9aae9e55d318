"""A graph of NNAPI operations, and the builder that makers of operations draw with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..client import Array, OperandType

#: Kind -> (tensor type code, scalar type code or None, numpy type).
KINDS: dict[str, tuple[int, int | None, str]] = {
    "f32": (3, 0, "float32"),
    "f16": (8, 10, "float16"),
    "i32": (4, 1, "int32"),
    "u8": (5, None, "uint8"),
    "s8": (14, None, "int8"),
    "b8": (9, 6, "bool"),
    "sym8": (13, None, "int8"),
    "sym16": (7, None, "int16"),
    "asym16": (12, None, "uint16"),
}
QUANTISED = ("u8", "s8", "sym8", "sym16", "asym16")
FLOATS = ("f32", "f16")
BYTES = ("u8", "s8")
ZERO_POINTS = {"u8": (0, 255), "s8": (-128, 127), "sym8": (0, 0), "sym16": (0, 0), "asym16": (0, 65535)}
#: No reference value is larger: sums stay within float16, and within what tolerances mean.
LARGEST = 500.0

Reference = Callable[..., Any]
Quantisation = tuple[float, int]
NONE: Quantisation = (0.0, 0)


class Unfit(Exception):
    """What was drawn does not go together: the maker is asked again."""


@dataclass(frozen=True)
class Rule:
    """How near a result must be to the reference: in quantised units, or |a - e| <= atol + rtol * |e|.

    Float16 results get their own, wider, rtol and atol. `exact`: equal.
    """

    units: float = 1
    rtol: float = 1e-5
    atol: float = 1e-5
    exact: bool = False
    halves: float = 6e-3


EXACT = Rule(exact=True)
MATH = Rule(rtol=3e-5, atol=2e-5)
SUM = Rule(rtol=1e-4, atol=2e-4, halves=2e-2)


@dataclass
class Value:
    """An operand. `data`: stored numbers of inputs and constants; `real`: what the reference says."""

    index: int
    type: OperandType
    kind: str  # of KINDS
    source: str  # input, constant, scalar, omitted, node
    data: Array | None = None
    real: Any = None
    channels: tuple[int, list[float]] | None = None
    model: Graph | None = None
    full: bool = False  # always declared with its shape

    @property
    def dims(self) -> tuple[int, ...]:
        return self.type.dims

    @property
    def quantisation(self) -> Quantisation:
        return self.type.scale, self.type.zero_point


@dataclass
class Node:
    """An operation; `reference` takes the real values of `arguments` and returns those of the outputs."""

    name: str
    code: int
    inputs: list[int]
    outputs: list[int]
    reference: Reference | None
    arguments: list[int]
    rule: Rule
    unchecked: set[int] = field(default_factory=set)  # outputs without a meaning


@dataclass
class Graph:
    """Operands and operations in run order."""

    seed: int = 0
    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    all_inputs: list[int] | None = None  # of a referenced model that does not read all of its inputs

    def inputs_of(self, nodes: Sequence[Node]) -> list[int]:
        """Operands that some nodes read and neither they write nor a constant holds."""
        if self.all_inputs is not None:
            return self.all_inputs
        written = {index for node in nodes for index in node.outputs}
        read = {index for node in nodes for index in node.inputs}
        return [i for i in sorted(read - written) if self.values[i].source in ("input", "node")]

    def sinks(self) -> list[int]:
        """Results that no node reads."""
        read = {index for node in self.nodes for index in node.inputs}
        return [index for node in self.nodes for index in node.outputs if index not in read]


def real(stored: Array, value: Value) -> Any:
    """The numbers that stored ones mean, in float64, int64 or bool."""
    if value.channels is not None:
        axis, scales = value.channels
        shape = [-1 if d == axis else 1 for d in range(stored.ndim)]
        return stored.astype(np.float64) * np.asarray(scales, np.float64).reshape(shape)
    if value.kind in QUANTISED:
        return (stored.astype(np.float64) - value.type.zero_point) * np.float64(np.float32(value.type.scale))
    if stored.dtype == np.bool_:
        return stored
    return stored.astype(np.int64 if value.kind == "i32" else np.float64)


def quantise(numbers: Any, kind: str, quantisation: Quantisation) -> Array:
    """Stored numbers for real ones: rounded half away from zero, clamped."""
    dtype = np.dtype(KINDS[kind][2])
    if kind not in QUANTISED:
        return np.asarray(numbers).astype(dtype)
    scale, zero_point = np.float64(np.float32(quantisation[0])), quantisation[1]
    scaled = np.asarray(numbers, np.float64) / scale
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5) + zero_point
    info = np.iinfo(dtype)
    clipped: Array = np.clip(rounded, info.min, info.max).astype(dtype)
    return clipped


class Builder:
    """What a maker draws with. Makers call `emit` once, or raise Unfit and leave no trace."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph(seed)
        self.pool: list[Value] = []

    # numbers ----------------------------------------------------------------------------------------------------------

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.whole(0, len(options) - 1)]

    def flip(self, probability: float = 0.5) -> bool:
        return bool(self.rng.random() < probability)

    def dims(self, least: int = 1, most: int = 4, largest: int = 5) -> tuple[int, ...]:
        """Of a rank from least to most."""
        return tuple(self.whole(1, largest) for _ in range(self.whole(least, most)))

    def axis(self, rank: int) -> tuple[int, int]:
        """(as given, maybe negative; as counted from the front)"""
        axis = self.whole(0, rank - 1)
        return (axis - rank if self.flip(0.3) else axis), axis

    # operands ---------------------------------------------------------------------------------------------------------

    def add(self, value: Value) -> Value:
        value.index = len(self.graph.values)
        self.graph.values.append(value)
        return value

    def quantisation(self, kind: str, low: float = 0.02, high: float = 0.06) -> Quantisation:
        """A random one of a kind; NONE for kinds without."""
        if kind not in QUANTISED:
            return NONE
        least, most = ZERO_POINTS[kind]
        middle = (least + most) // 2
        spread = (most - least) // 8
        scale = float(np.float32(self.rng.uniform(low, high)))
        return scale, self.whole(middle - spread, middle + spread) if spread else middle

    def numbers(self, kind: str, dims: Sequence[int], low: float, high: float, quantisation: Quantisation) -> Array:
        """Stored numbers whose meaning is between low and high."""
        if kind == "b8":
            return self.rng.random(dims) < 0.5
        if kind == "i32":
            return self.rng.integers(int(low), int(high) + 1, dims).astype(np.int32)
        return quantise(self.rng.uniform(low, high, dims), kind, quantisation)

    def fresh(
        self, kind: str, dims: Sequence[int], low: float = -2, high: float = 2, *,
        quantisation: Quantisation | None = None, constant: bool | None = None,
    ) -> Value:  # fmt: skip
        """A new model input or constant with random numbers."""
        chosen = self.quantisation(kind) if quantisation is None else quantisation
        data = self.numbers(kind, tuple(dims), low, high, chosen)
        return self.given(kind, data, quantisation=chosen, constant=constant)

    def given(
        self, kind: str, data: Array, *, quantisation: Quantisation = NONE, constant: bool | None = None,
        channels: tuple[int, list[float]] | None = None,
    ) -> Value:  # fmt: skip
        """A model input or constant with these stored numbers."""
        source = "constant" if (self.flip() if constant is None else constant) else "input"
        array = np.ascontiguousarray(data, KINDS[kind][2])
        code = 11 if channels is not None else KINDS[kind][0]
        value = Value(-1, OperandType(code, array.shape, *quantisation), kind, source, array, channels=channels)
        value.real = real(array, value)
        return self.add(value)

    def pick(
        self, kinds: Sequence[str], *, rank: Sequence[int] | None = None, dims: tuple[int, ...] | None = None,
        where: Callable[[Value], bool] = lambda _: True, quantisation: Quantisation | None = None,
    ) -> Value:  # fmt: skip
        """A tensor: one of those there are, or a new one (then `where` is not asked)."""
        fits = [
            value
            for value in self.pool
            if value.kind in kinds
            and (rank is None or len(value.dims) in rank)
            and (dims is None or value.dims == dims)
            and (quantisation is None or value.quantisation == quantisation)
            and where(value)
        ]
        if fits and self.flip(0.75):
            return fits[self.whole(max(0, len(fits) - 3), len(fits) - 1)]
        wanted = dims if dims is not None else self.dims(min(rank or [1]), max(rank or [4]))
        return self.fresh(self.choice(kinds), wanted, quantisation=quantisation)

    def tensor(self, dims: tuple[int, ...], kind: str, **how: Any) -> Value:
        """A new tensor that joins the pool."""
        value = self.fresh(kind, dims, **how)
        self.pool.append(value)
        return value

    def scalar(self, number: Any, kind: str = "i32") -> Value:
        """A constant scalar operand."""
        code = KINDS[kind][1]
        assert code is not None
        data = np.asarray(number, KINDS[kind][2])
        return self.add(Value(-1, OperandType(code), kind, "scalar", data, data[()]))

    def truth(self, number: bool) -> Value:
        return self.scalar(number, "b8")

    def real_scalar(self, number: float, kind: str) -> Value:
        """FLOAT16 beside float16 tensors, else FLOAT32."""
        return self.scalar(number, "f16" if kind == "f16" else "f32")

    def ints(self, numbers: Any, constant: bool | None = None) -> Value:
        """A TENSOR_INT32; now and then a model input, so that shapes depend on values."""
        chosen = not self.flip(0.15) if constant is None else constant
        return self.given("i32", np.asarray(numbers, np.int32), constant=chosen)

    def omitted(self, kind: str, dims: Sequence[int] = (1,)) -> Value:
        quantisation = self.quantisation(kind)
        type_ = OperandType(KINDS[kind][0], tuple(dims), *quantisation)
        return self.add(Value(-1, type_, kind, "omitted"))

    # nodes ------------------------------------------------------------------------------------------------------------

    def emit(
        self, name: str, code: int, inputs: Sequence[Value], outputs: Sequence[tuple[str, Quantisation]],
        reference: Reference | None, rule: Rule = MATH, *, dims: Sequence[tuple[int, ...]] | None = None,
        arguments: Sequence[Value] | None = None, scalar: bool = False,
    ) -> list[Value]:  # fmt: skip
        """Adds a node. Shapes are the reference's, or `dims` where there is no reference; its results then join no pool.

        `arguments`: what the reference gets (all inputs with numbers unless said otherwise).
        """
        given = [value for value in inputs if value.real is not None] if arguments is None else list(arguments)
        results: list[Any] = []
        if reference is not None:
            with np.errstate(all="ignore"):
                answer = reference(*(value.real for value in given))
            results = list(answer) if isinstance(answer, tuple) else [answer]
            for result in results:
                if result.size and result.dtype != np.bool_ and not np.all(np.abs(result) <= LARGEST):
                    raise Unfit
        shapes = [tuple(result.shape) for result in results] if dims is None else list(dims)
        made = []
        for position, (kind, quantisation) in enumerate(outputs):
            code_ = KINDS[kind][1] if scalar else KINDS[kind][0]
            assert code_ is not None
            value = self.add(Value(-1, OperandType(code_, shapes[position], *quantisation), kind, "node"))
            if reference is not None:
                value.real = real(quantise(results[position], kind, quantisation), value)
                if value.dims and all(value.dims):
                    self.pool.append(value)
            made.append(value)
        self.graph.nodes.append(
            Node(name, code, [value.index for value in inputs], [value.index for value in made], reference,
                 [value.index for value in given], rule)
        )  # fmt: skip
        return made


Maker = Callable[[Builder], None]
MAKERS: dict[str, Maker] = {}


def _named(function: Callable[..., None], name: str) -> Maker:
    return lambda builder: function(builder, name)


def makes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a maker of one operation, or of several that take their name as second argument."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for name in names:
            assert name not in MAKERS, name
            MAKERS[name] = function if len(names) == 1 else _named(function, name)
        return function

    return register


def random_graph(seed: int) -> Graph:
    """A graph of 3 to 14 operations. The first one goes through all operations as the seed grows."""
    from . import makers  # noqa: F401 - registers

    builder = Builder(seed)
    names = sorted(MAKERS)
    wanted = builder.whole(3, 14)
    todo = names[seed % len(names)]
    for _ in range(20 * wanted):
        if len(builder.graph.nodes) >= wanted:
            break
        before = (len(builder.graph.values), len(builder.graph.nodes), list(builder.pool))
        try:
            MAKERS[todo](builder)
        except Unfit:
            del builder.graph.values[before[0] :], builder.graph.nodes[before[1] :]
            builder.pool = before[2]
            if not builder.graph.nodes:
                continue
        todo = builder.choice(names)
    return builder.graph
