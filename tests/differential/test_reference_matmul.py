"""BATCH_MATMUL against LiteRT's reference kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, quantized, rng, scale, zero_point

ATTRIBUTES = dict(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 5)),
    lead=st.lists(st.integers(1, 3), max_size=3),
    broadcast=st.sampled_from(["none", "left", "right"]),
    adjoint=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**32),
)


def shapes(sizes, lead, broadcast, adjoint):
    rows, depth, columns = sizes
    left = [rows, depth][::-1] if adjoint[0] else [rows, depth]
    right = [depth, columns][::-1] if adjoint[1] else [depth, columns]
    ones = [1] * len(lead)
    return (*(ones if broadcast == "left" else lead), *left), (*(ones if broadcast == "right" else lead), *right)


@examples
@given(**ATTRIBUTES)
def test_float(sizes, lead, broadcast, adjoint, seed):
    generator = rng(seed)
    left, right = shapes(sizes, lead, broadcast, adjoint)
    compare("BATCH_MATMUL", [T(floats(generator, left)), T(floats(generator, right))], [T(dtype="float32")],
            adj_x=adjoint[0], adj_y=adjoint[1])


@pytest.mark.parametrize(("x", "y"), [(np.int8, np.int8), (np.int16, np.int16), (np.int16, np.int8)])
@examples
@given(**ATTRIBUTES)
def test_quantized(x, y, sizes, lead, broadcast, adjoint, seed):
    generator = rng(seed)
    left, right = shapes(sizes, lead, broadcast, adjoint)
    inputs = [quantized(generator, x, left), quantized(generator, y, right)]
    if x == np.int16:
        inputs[1].zero_point = 0
    wide = np.iinfo(x).max * np.iinfo(y).max / 2**14 * 256 / np.iinfo(x).max
    out = inputs[0].scale * inputs[1].scale * wide * scale(generator, 20, 200)
    target = T(dtype=np.dtype(x).name, scale=out, zero_point=zero_point(generator, x))
    compare("BATCH_MATMUL", inputs, [target], adj_x=adjoint[0], adj_y=adjoint[1], version=4)


@examples
@given(**ATTRIBUTES)
def test_int32_sums(sizes, lead, broadcast, adjoint, seed):
    generator = rng(seed)
    left, right = shapes(sizes, lead, broadcast, adjoint)
    inputs = [quantized(generator, np.int8, s, zero_point=0) for s in (left, right)]
    compare("BATCH_MATMUL", inputs, [T(dtype="int32")], adj_x=adjoint[0], adj_y=adjoint[1], version=4)


@pytest.mark.parametrize("asymmetric", [False, True])
@examples
@given(**ATTRIBUTES)
def test_hybrid(asymmetric, sizes, lead, broadcast, adjoint, seed):
    generator = rng(seed)
    # with two batch dimensions the reference takes the scales of other rows
    left, right = shapes(sizes, lead[:1] if broadcast != "right" else [], "none", adjoint)
    y = quantized(generator, np.int8, right, zero_point=0)
    y.data = np.maximum(y.data, -127)
    compare("BATCH_MATMUL", [T(floats(generator, left)), y], [T(dtype="float32")], adj_x=adjoint[0],
            adj_y=adjoint[1], asymmetric_quantize_inputs=asymmetric, version=4)
