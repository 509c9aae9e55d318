"""IF, WHILE, CALL_ONCE, variables and composites against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import COMPARED, examples, floats, rng, run_litert, run_ours
from tests.modelbuilder import ModelBuilder

SEED = st.integers(0, 2**32)


def binary(graph, op, constant):
    """A subgraph `x op constant`."""
    x, y = graph.tensor("x", "float32", (2,)), graph.tensor("y", "float32", (2,))
    c = graph.tensor("c", "float32", (1,), data=np.asarray([constant], np.float32))
    graph.op(op, [x, c], [y])
    graph.interface([x], [y])


@examples
@given(condition=st.booleans(), seed=SEED)
def test_if(condition, seed):
    builder = ModelBuilder()
    flag, x = builder.tensor("flag", "bool", ()), builder.tensor("x", "float32", (2,))
    y = builder.tensor("y", "float32", (2,))
    then, otherwise = builder.subgraph("then"), builder.subgraph("else")
    binary(then, "ADD", 3.0)
    binary(otherwise, "MUL", -2.0)
    builder.op("IF", [flag, x], [y], then_subgraph_index=then.index, else_subgraph_index=otherwise.index)
    model = builder.build([flag, x], [y])
    inputs = [np.asarray(condition), floats(rng(seed), (2,))]
    np.testing.assert_allclose(run_ours(model, inputs)[0], run_litert(model, inputs)[0], rtol=1e-6)
    COMPARED["IF", "bool,float32"] += 1


@examples
@given(count=st.integers(0, 7), step=st.integers(1, 3), seed=SEED)
def test_while(count, step, seed):
    builder = ModelBuilder()
    i, x = builder.tensor("i", "int32", ()), builder.tensor("x", "float32", (2,))
    outputs = [builder.tensor("i_out", "int32", ()), builder.tensor("x_out", "float32", (2,))]
    condition, body = builder.subgraph("condition"), builder.subgraph("body")
    for graph in (condition, body):
        graph.tensor("i", "int32", ())
        graph.tensor("x", "float32", (2,))
    limit = condition.tensor("limit", "int32", (), data=np.asarray(count, np.int32))
    result = condition.tensor("less", "bool", ())
    condition.op("LESS", ["i", limit], [result])
    condition.interface(["i", "x"], [result])
    one = body.tensor("step", "int32", (), data=np.asarray(step, np.int32))
    half = body.tensor("half", "float32", (1,), data=np.asarray([0.5], np.float32))
    body.op("ADD", ["i", one], [body.tensor("i1", "int32", ())])
    body.op("MUL", ["x", half], [body.tensor("x1", "float32", (2,))])
    body.interface(["i", "x"], ["i1", "x1"])
    builder.op("WHILE", [i, x], outputs, cond_subgraph_index=condition.index, body_subgraph_index=body.index)
    model = builder.build([i, x], outputs)
    inputs = [np.asarray(0, np.int32), floats(rng(seed), (2,))]
    for have, want in zip(run_ours(model, inputs), run_litert(model, inputs)):
        np.testing.assert_allclose(have, want, rtol=1e-6)
    COMPARED["WHILE", "int32,float32"] += 1


def counter_model():
    """A variable that CALL_ONCE sets to 1, 2 and to which every run adds its input."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (2,))
    start = builder.subgraph("start")
    handle = start.tensor("handle", "resource", (1,))
    first = start.tensor("first", "float32", (2,), data=np.asarray([1, 2], np.float32))
    start.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
    start.op("ASSIGN_VARIABLE", [handle, first], [])
    start.interface([], [])
    handle = builder.tensor("handle", "resource", (1,))
    old, new = builder.tensor("old", "float32", (2,)), builder.tensor("new", "float32", (2,))
    builder.op("CALL_ONCE", [], [], init_subgraph_index=start.index)
    builder.op("VAR_HANDLE", [], [handle], container="", shared_name="total")
    builder.op("READ_VARIABLE", [handle], [old])
    builder.op("ADD", [old, x], [new])
    builder.op("ASSIGN_VARIABLE", [handle, new], [])
    return builder.build([x], [new])


@examples
@given(runs=st.integers(1, 4), seed=SEED)
def test_variables(runs, seed):
    model, inputs = counter_model(), [floats(rng(seed), (2,))]
    want, have = run_litert(model, inputs, runs)[0], run_ours(model, inputs, runs)[0]
    np.testing.assert_allclose(have, want, rtol=1e-6)
    for op in ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"):
        COMPARED[op, "float32"] += 1


@examples
@given(seed=SEED)
def test_composite(seed):
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2,)), builder.tensor("y", "float32", (2,))
    inner = builder.subgraph("inner")
    binary(inner, "ADD", 3.0)
    builder.op("STABLEHLO_COMPOSITE", [x], [y], name="test.add", decomposition_subgraph_index=inner.index,
               composite_attributes=np.frombuffer(bytes(flexbuffers.Dumps({})), np.uint8))
    model, inputs = builder.build([x], [y]), [floats(rng(seed), (2,))]
    np.testing.assert_allclose(run_ours(model, inputs)[0], run_litert(model, inputs)[0], rtol=1e-6)
    COMPARED["STABLEHLO_COMPOSITE", "float32"] += 1


def test_endless_calls_are_refused():
    from nnapi_toolkit.delegate.errors import ModelError

    builder = ModelBuilder()
    flag, x, y = builder.tensor("f", "bool", ()), builder.tensor("x", "float32", (2,)), builder.tensor("y", "float32", (2,))
    again = builder.subgraph("again")
    again.tensor("f", "bool", (), data=np.asarray(True))
    again.tensor("x", "float32", (2,))
    again.tensor("y", "float32", (2,))
    again.op("IF", ["f", "x"], ["y"], then_subgraph_index=1, else_subgraph_index=1)
    again.interface(["x"], ["y"])
    builder.op("IF", [flag, x], [y], then_subgraph_index=1, else_subgraph_index=1)
    with pytest.raises(ModelError):
        run_ours(builder.build([flag, x], [y]), [np.asarray(True), np.zeros(2, np.float32)])
