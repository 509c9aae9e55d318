"""What the reference holds while it runs, as numpy reports it to tracemalloc; and results when all blocks are tiny."""

from __future__ import annotations

import importlib
import tracemalloc

import numpy as np
import pytest
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.footprint import needed_bytes
from nnapi_toolkit.reference.executor import ReferenceExecutor

from tests.conftest import Golden, model_path
from tests.differential.litert import T, compare, floats, integers, quantized, rng
from tests.modelbuilder import ModelBuilder

MIB = 1 << 20

#: What kernels may take for themselves beside the tensors that are alive: gathered windows, converted weights, sums.
SCRATCH = 4 * MIB


def traced(executor, inputs):
    """Bytes that stay after a run, and the most there was during it beyond those."""
    tracemalloc.start()
    try:
        executor.run(0, inputs)
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        executor.run(0, inputs)
        return kept, tracemalloc.get_traced_memory()[1] - kept
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v1_10_224_int8", "mobilenet_v1_10_224_float", "mobilenet_v1_10_224_quant_classic",
     "mobilenet_v3_small_int8", "mobilenet_v3_small_float", "inception_v3_int8"],
)  # fmt: skip
def test_models_take_their_live_tensors_and_little_else(name):
    """Weights stay where the file is mapped, which tracemalloc does not see: no copy of them may be alive."""
    graph = Graph.open(model_path(name))
    main = graph.subgraphs[0]
    inputs = random_inputs([main.tensors[index] for index in main.inputs])
    ReferenceExecutor(graph).run(0, inputs)  # imports the kernels
    weights = sum(t.byte_size for t in main.tensors if t.is_constant)
    kept, most = traced(ReferenceExecutor(graph), inputs)
    assert kept < MIB + weights // 20, f"{kept / MIB:.1f} MiB stay, for {weights / MIB:.1f} MiB of weights"
    alive = needed_bytes(graph) - weights
    assert most < alive + SCRATCH, f"{most / MIB:.1f} MiB, {alive / MIB:.1f} MiB of them for live tensors"


def long_chain(graph, start, count, shape):
    """A chain of NEGs on large tensors; returns the last."""
    for number in range(count):
        end = graph.tensor(f"c{number}", "float32", shape)
        graph.op("NEG", [start], [end])
        start = end
    return start


SHAPE = (1 << 18,)  # a MiB


def test_chains_free_what_is_dead():
    builder = ModelBuilder()
    start = builder.tensor("x", "float32", SHAPE)
    graph = Graph.from_bytes(builder.build([start], [long_chain(builder, start, 20, SHAPE)]))
    _, most = traced(ReferenceExecutor(graph), [floats(rng(1), SHAPE)])
    assert most < 2.5 * MIB


def test_loops_and_their_subgraphs_free_what_is_dead():
    """Ten turns of a body of ten large tensors: the loop variable before and after a turn, and two inside."""
    builder = ModelBuilder()
    condition, body = builder.subgraph("condition"), builder.subgraph("body")
    for graph in (condition, body):
        graph.count, graph.x = graph.tensor("n", "int32", ()), graph.tensor("x", "float32", SHAPE)
    limit, more = (
        condition.tensor("ten", "int32", (), data=np.asarray(10, np.int32)),
        condition.tensor("more", "bool", ()),
    )
    condition.op("LESS", [condition.count, limit], [more])
    condition.interface([condition.count, condition.x], [more])
    one, following = body.tensor("one", "int32", (), data=np.asarray(1, np.int32)), body.tensor("next", "int32", ())
    body.op("ADD", [body.count, one], [following])
    body.interface([body.count, body.x], [following, long_chain(body, body.x, 10, SHAPE)])
    n, x = builder.tensor("n", "int32", ()), builder.tensor("x", "float32", SHAPE)
    m, y = builder.tensor("m", "int32", ()), builder.tensor("y", "float32", SHAPE)
    builder.op("WHILE", [n, x], [m, y], cond_subgraph_index=condition.index, body_subgraph_index=body.index)
    graph = Graph.from_bytes(builder.build([n, x], [m, y]))
    values = [np.asarray(0, np.int32), floats(rng(1), SHAPE)]
    executor = ReferenceExecutor(graph)
    np.testing.assert_array_equal(executor.run(0, values)[1], values[1])
    _, most = traced(executor, values)
    assert most < 4.5 * MIB


#: Limits of blocks, by module, and values that cut the smallest tensors into several.
TINY = {
    "blocks": {"BLOCK": 7}, "hybrid": {"BLOCK": 7}, "matmul": {"BLOCK": 7}, "pooling": {"BLOCK": 7}, "resize": {"BLOCK": 7},
    "window": {"PATCH_ELEMENTS": 24, "PATCH_ROWS": 2}, "sums": {"WEIGHT_ELEMENTS": 16, "BLOCK_ELEMENTS": 32},
    "convolution": {"WEIGHT_ELEMENTS": 16, "DEPTHWISE_ELEMENTS": 8}, "fully_connected": {"BLOCK_ELEMENTS": 32},
    "fixed_point": {"_BLOCK": 16},
}  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """Blocks so small that every kernel takes several."""
    for module, limits in TINY.items():
        for name, value in limits.items():
            monkeypatch.setattr(importlib.import_module(f"nnapi_toolkit.reference.{module}"), name, value)


CONV = {"stride_w": 2, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 2, "padding": 0}
POOL = {"stride_w": 2, "stride_h": 2, "filter_width": 3, "filter_height": 2, "padding": 0}
SYMMETRIC = {"zero_point": 0}


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
@pytest.mark.parametrize(
    ("op", "weights", "units", "options"),
    [("CONV_2D", (5, 3, 2, 3), 5, CONV), ("CONV_2D", (20, 1, 1, 3), 20, CONV | {"stride_w": 1}),
     ("DEPTHWISE_CONV_2D", (1, 3, 2, 6), 6, CONV | {"depth_multiplier": 2})],
    ids=["conv", "pointwise", "depthwise"],
)  # fmt: skip
def test_convolutions_in_tiny_blocks(tiny, op, weights, units, options, dtype):
    generator = rng(5)
    if dtype == np.float32:
        x, w = T(floats(generator, (2, 9, 8, 3))), T(floats(generator, weights), const=True)
        b, kind = T(floats(generator, (units,)), const=True), {}
    else:
        x, w = (
            quantized(generator, dtype, (2, 9, 8, 3)),
            quantized(generator, dtype, weights, const=True, scale=0.01, zero_point=0 if dtype == np.int8 else 117),
        )
        b = T(generator.integers(-999, 999, (units,), dtype=np.int32), const=True)
        kind = {"dtype": np.dtype(dtype).name, "scale": 0.3, "zero_point": 3}
    slack = 1e-5 if op == "DEPTHWISE_CONV_2D" else 0.0
    compare(op, [x, w, b], [T(shape=(0, 0, 0, units), **kind)], slack=slack, version=3, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools_in_tiny_blocks(tiny, op, dtype):
    generator, shape = rng(6), (2, 7, 9, 3)
    same = {"scale": 0.1, "zero_point": -4}
    x = T(floats(generator, shape)) if dtype == np.float32 else quantized(generator, dtype, shape, **same)
    out = T(shape=()) if dtype == np.float32 else T(dtype="int8", shape=(), **same)
    compare(op, [x], [out], version=2, **POOL)


@pytest.mark.parametrize("rows", [1, 2, 11, 90])
@pytest.mark.parametrize("columns", [1, 2, 9, 70])
def test_float_products_in_tiny_blocks_are_the_reference_s_to_the_bit(tiny, rows, columns):
    generator = rng(8)
    x, w = T(floats(generator, (rows, 21))), T(floats(generator, (columns, 21)), const=True)
    compare("FULLY_CONNECTED", [x, w, None], [T(shape=(rows, columns))], rel=0, ulps=0)


def test_element_wise_operators_in_tiny_blocks_broadcast(tiny):
    generator = rng(9)
    for first, second in [((3, 1, 5, 4), (2, 1, 4)), ((4,), (2, 3, 1)), ((), (3, 7)), ((2, 3, 4, 5), (2, 3, 4, 5))]:
        x, y = quantized(generator, np.int8, first), quantized(generator, np.int8, second)
        compare("MUL", [x, y], [T(dtype="int8", shape=(), scale=0.1, zero_point=1)])
        compare("ADD", [T(floats(generator, first)), T(floats(generator, second))], [T(shape=())])
    values = integers(generator, np.int8, (5, 11))
    parameters = {"scale": 0.05, "zero_point": 7}
    compare("LOGISTIC", [T(values, **parameters)], [T(dtype="int8", shape=(), scale=1 / 256, zero_point=-128)])
    compare("SOFTMAX", [T(floats(generator, (9, 6)))], [T(shape=())], beta=1.0)


def test_a_model_in_tiny_blocks_gives_its_golden_outputs(tiny):
    golden = Golden("mobilenet_v1_025_128_int8")
    executor = ReferenceExecutor(Graph.open(model_path("mobilenet_v1_025_128_int8")))
    np.testing.assert_array_equal(executor.run(0, golden.inputs(0))[0], golden.outputs(0)[0])
