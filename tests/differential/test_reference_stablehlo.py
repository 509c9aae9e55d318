"""STABLEHLO_GATHER, STABLEHLO_SCATTER and both REDUCE_WINDOWs against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import COMPARED, T, compare, examples, floats, rng, run_litert, run_ours
from tests.modelbuilder import ModelBuilder

SEED = st.integers(0, 2**32)
TYPES = st.sampled_from(["float32", "int8", "uint8", "int16", "int32", "int64"])


def values_of(generator, dtype, shape):
    if dtype == "float32":
        return floats(generator, shape)
    return generator.integers(-9 if dtype[0] != "u" else 0, 9, shape).astype(dtype)


@examples
@given(rank=st.integers(1, 4), batch=st.integers(0, 2), dtype=TYPES, index=st.sampled_from(["int32", "int64"]),
       seed=SEED)  # fmt: skip
def test_gather(rank, batch, dtype, index, seed):
    generator = rng(seed)
    shape = generator.integers(1, 5, rank)
    sizes = [int(generator.integers(1, size + 1)) for size in shape]
    collapsed = [axis for axis in range(rank) if sizes[axis] == 1 and generator.random() < 0.6]
    mapped = generator.permutation(rank)[: generator.integers(1, rank + 1)]
    lead = list(generator.integers(1, 4, batch))
    vector = int(generator.integers(0, batch + 1))
    indices = generator.integers(-2, 6, [*lead[:vector], len(mapped), *lead[vector:]]).astype(index)
    kept = [size for axis, size in enumerate(sizes) if axis not in collapsed]
    out_rank = batch + len(kept)
    offset = sorted(generator.permutation(out_rank)[: len(kept)])
    out, parts = [], {True: iter(kept), False: iter(lead)}
    for axis in range(out_rank):
        out.append(int(next(parts[axis in offset])))
    compare("STABLEHLO_GATHER", [T(values_of(generator, dtype, shape)), T(indices)], [T(dtype=dtype, shape=out)],
            offset_dims=offset, collapsed_slice_dims=collapsed, start_index_map=mapped, index_vector_dim=vector,
            slice_sizes=sizes, indices_are_sorted=False)  # fmt: skip


def scatter_model(body, values, indices, updates, **options):
    """STABLEHLO_SCATTER with a body of one operator, or none."""
    builder = ModelBuilder()
    tensors = [builder.tensor(f"x{i}", a.dtype, a.shape) for i, a in enumerate((values, indices, updates))]
    y = builder.tensor("y", values.dtype, values.shape)
    graph = builder.subgraph("body")
    pair = [graph.tensor(name, values.dtype, ()) for name in "ab"]
    if body:
        result = graph.tensor("c", values.dtype, ())
        graph.op(body, pair, [result])
    graph.interface(pair, [result if body else pair[1]])
    builder.op("STABLEHLO_SCATTER", tensors, [y], update_computation_subgraph_index=graph.index, **options)
    return builder.build(tensors, [y])


@pytest.mark.parametrize("body", [None, "ADD", "MULTIPLY", "MAXIMUM", "MINIMUM"])
@examples
@given(rank=st.integers(1, 3), batch=st.integers(0, 2), dtype=st.sampled_from(["float32", "int32", "int8", "int64"]),
       index=st.sampled_from(["int32", "int64"]), seed=SEED)  # fmt: skip
def test_scatter(body, rank, batch, dtype, index, seed):
    generator = rng(seed)
    shape = generator.integers(1, 5, rank)
    sizes = [int(generator.integers(1, size + 1)) for size in shape]
    inserted = [axis for axis in range(rank) if sizes[axis] == 1 and generator.random() < 0.6]
    mapped = generator.permutation(rank)[: generator.integers(1, rank + 1)]
    lead = list(generator.integers(1, 4, batch))
    vector = int(generator.integers(0, batch + 1))
    indices = generator.integers(-1, 5, [*lead[:vector], len(mapped), *lead[vector:]]).astype(index)
    kept = [size for axis, size in enumerate(sizes) if axis not in inserted]
    out_rank = batch + len(kept)
    window = sorted(generator.permutation(out_rank)[: len(kept)])
    parts = {True: iter(kept), False: iter(lead)}
    updates = values_of(generator, dtype, [int(next(parts[axis in window])) for axis in range(out_rank)])
    values = values_of(generator, dtype, shape)
    model = scatter_model(
        body and f"STABLEHLO_{body}", values, indices, updates, update_window_dims=window,
        inserted_window_dims=inserted, scatter_dims_to_operand_dims=mapped, index_vector_dim=vector,
        indices_are_sorted=False, unique_indices=False,
    )  # fmt: skip
    inputs = [values, indices, updates]
    np.testing.assert_array_equal(run_ours(model, inputs)[0], run_litert(model, inputs)[0])
    COMPARED["STABLEHLO_SCATTER", f"{dtype},{index}"] += 1


def windows(generator, rank, limit=3):
    return [int(value) for value in generator.integers(1, limit, rank)]


@pytest.mark.parametrize("function", ["ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY"])
@examples
@given(rank=st.integers(1, 4), dtype=TYPES, seed=SEED)
def test_reduce_window(function, rank, dtype, seed):
    if function in ("ALL", "ANY"):
        dtype = "bool"
    generator = rng(seed)
    shape = generator.integers(1, 6, rank)
    values = generator.random(shape) < 0.6 if dtype == "bool" else values_of(generator, dtype, shape)
    start = np.asarray(1, dtype)
    attributes = [np.asarray(windows(generator, rank), np.int64) for _ in range(3)]
    window, strides, dilations = attributes
    out = np.maximum(0, (shape - (window - 1) * dilations - 1) // strides + 1)
    number = ("UNSUPPORTED", "ADD", "MUL", "MINIMUM", "MAXIMUM", "ALL", "ANY").index(function)
    tensors = [T(values), T(start, const=True), *(T(a, const=True) for a in attributes)]
    compare("REDUCE_WINDOW", tensors, [T(dtype=dtype, shape=out)], reduce_function=number)


@pytest.mark.parametrize("body", ["ADD", "MULTIPLY", "MINIMUM", "MAXIMUM"])
@examples
@given(rank=st.integers(1, 3), dtype=st.sampled_from(["float32", "int32", "int8", "int64"]), seed=SEED)
def test_stablehlo_reduce_window(body, rank, dtype, seed):
    generator = rng(seed)
    shape = generator.integers(1, 6, rank)
    values, start = values_of(generator, dtype, shape), values_of(generator, dtype, ())
    start = np.asarray(start)
    window, strides, base, steps = (windows(generator, rank) for _ in range(4))
    padding = [int(value) for value in generator.integers(-1, 3, 2 * rank)]
    padded = (shape - 1) * base + 1 + np.reshape(padding, (rank, 2)).sum(1)
    if padded.min() < 1:
        padding, padded = [0] * (2 * rank), (shape - 1) * base + 1
    out = np.maximum(0, (padded - (np.asarray(window) - 1) * steps - 1) // strides + 1)
    builder = ModelBuilder()
    x, i = builder.tensor("x", dtype, shape), builder.tensor("i", dtype, ())
    y = builder.tensor("y", dtype, out)
    graph = builder.subgraph("body")
    pair, result = [graph.tensor(name, dtype, ()) for name in "ab"], graph.tensor("c", dtype, ())
    graph.op(f"STABLEHLO_{body}", pair, [result])
    graph.interface(pair, [result])
    builder.op("STABLEHLO_REDUCE_WINDOW", [x, i], [y], body_subgraph_index=graph.index, window_dimensions=window,
               window_strides=strides, base_dilations=base, window_dilations=steps, padding=padding)  # fmt: skip
    model = builder.build([x, i], [y])
    np.testing.assert_array_equal(run_ours(model, [values, start])[0], run_litert(model, [values, start])[0])
    COMPARED["STABLEHLO_REDUCE_WINDOW", dtype] += 1
