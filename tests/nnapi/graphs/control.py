"""IF and WHILE over small models of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..client import MODEL, Array, OperandType
from .build import NONE, SUM, Builder, Graph, Node, Quantisation, Value, makes

ADD, CONCATENATION, SUB, MUL, LESS = 0, 2, 36, 18, 58


class Inner:
    """A model of its own: inputs first, then what its operations make."""

    def __init__(self) -> None:
        self.graph = Graph()

    def value(self, kind: str, dims: tuple[int, ...], source: str, data: Any = None, code: int | None = None) -> Value:
        type_code = {"f32": 3, "i32": 4, "b8": 9}[kind] if code is None else code
        stored: Array | None = None
        if data is not None:
            stored = np.asarray(data, {"f32": "float32", "i32": "int32", "b8": "bool"}[kind])
        value = Value(len(self.graph.values), OperandType(type_code, dims), kind, source, stored)
        self.graph.values.append(value)
        return value

    def binary(self, code: int, x: Value, y: Value, kind: str) -> Value:
        """Of x's shape; the scalar that some take, 0, is no activation or the first axis."""
        out = self.value(kind, x.dims, "node")
        inputs = [x.index, y.index] + ([] if code == LESS else [self.value("i32", (), "scalar", 0, code=1).index])
        self.graph.nodes.append(Node("", code, inputs, [out.index], None, [], SUM))
        return out


def model(b: Builder, inner: Inner) -> Value:
    """A MODEL operand."""
    return b.add(Value(-1, OperandType(MODEL), "i32", "model", model=inner.graph))


@makes("IF")
def if_(b: Builder) -> None:
    x = b.pick(["f32"], rank=(1, 2, 3, 4))
    y = b.pick(["f32"], dims=x.dims)
    condition = b.given("b8", np.array([b.flip()]))
    condition.full = True  # IF wants to know that it is a single one
    branches, functions = [], []
    for code, function in ((ADD, np.add), (SUB, np.subtract)) if b.flip() else ((MUL, np.multiply), (ADD, np.add)):
        inner = Inner()
        p, q = inner.value("f32", x.dims, "input"), inner.value("f32", x.dims, "input")
        inner.binary(code, p, q, "f32")
        branches.append(model(b, inner))
        functions.append(function)
    b.emit("IF", 96, [condition, *branches, x, y], [("f32", NONE)],
           lambda c, p, q: functions[0](p, q) if c[0] else functions[1](p, q), SUM, arguments=[condition, x, y])  # fmt: skip


@makes("WHILE")
def while_(b: Builder) -> None:
    """while count < limit: count += 1; sum += step, or step is put behind it: then the shape depends on a value"""
    total = b.pick(["f32"], rank=(1, 2, 3, 4))
    step = b.pick(["f32"], dims=total.dims)
    limit, start, grows = b.whole(0, 5), b.whole(0, 2), b.flip(0.4)
    count = b.given("i32", np.array([start]))
    condition, body = Inner(), Inner()
    inside = tuple(0 for _ in total.dims) if grows else total.dims
    shape: list[tuple[str, tuple[int, ...]]] = [("i32", (1,)), ("f32", inside), ("f32", total.dims)]
    places = [condition.value(kind, dims, "input") for kind, dims in shape]
    condition.binary(LESS, places[0], condition.value("i32", (1,), "constant", [limit]), "b8")
    places = [body.value(kind, dims, "input") for kind, dims in shape]
    body.binary(ADD, places[0], body.value("i32", (1,), "constant", [1]), "i32")
    body.binary(CONCATENATION if grows else ADD, places[1], places[2], "f32")

    def reference(c: Any, p: Any, s: Any) -> Any:
        rounds = max(0, limit - int(c[0]))
        return c + rounds, np.concatenate([p, *[s] * rounds]) if grows else p + rounds * s

    outputs: list[tuple[str, Quantisation]] = [("i32", NONE), ("f32", NONE)]
    models = [model(b, condition), model(b, body)]
    for one in models:
        assert one.model is not None
        one.model.all_inputs = [0, 1, 2]
    b.emit("WHILE", 97, [*models, count, total, step], outputs, reference, SUM, arguments=[count, total, step])
