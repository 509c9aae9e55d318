"""Reductions against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import (
    T,
    compare,
    examples,
    floats,
    integers,
    quantized,
    rng,
    run_litert,
    run_ours,
    scale,
    single,
    zero_point,
)

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def axes(generator, rank):
    chosen = [axis for axis in range(rank) if generator.random() < 0.6] or [0]
    return T(np.asarray([a - rank if generator.random() < 0.3 else a for a in chosen], np.int32), const=True)


@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@examples
@given(shape=SHAPES, keep=st.booleans(), seed=SEED)
def test_plain(op, dtype, shape, keep, seed):
    generator = rng(seed)
    x = floats(generator, shape) if dtype == np.float32 else generator.integers(-99, 99, shape).astype(dtype)
    compare(op, [T(x), axes(generator, len(shape))], [T(dtype=np.dtype(dtype).name)], keep_dims=keep, rel=0, ulps=0)


@pytest.mark.parametrize("op", ["MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(shape=SHAPES, keep=st.booleans(), seed=SEED)
def test_quantized(op, dtype, shape, keep, seed):
    if dtype == np.uint8 and op == "REDUCE_PROD":
        pytest.skip("the reference has no such kernel")
    if dtype != np.uint8 and op == "SUM":
        pytest.skip("the reference takes the numbers for uint8 ones: see test_sum_beside_the_optimised_kernel")
    generator = rng(seed)
    x = quantized(generator, dtype, shape)
    y = T(dtype=np.dtype(dtype).name, scale=x.scale, zero_point=x.zero_point)
    if op in ("MEAN", "SUM", "REDUCE_PROD"):
        y.scale, y.zero_point = scale(generator, 0.01, 0.5), zero_point(generator, dtype)
    compare(op, [x, axes(generator, len(shape))], [y], keep_dims=keep, version=2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(shape=SHAPES, keep=st.booleans(), seed=SEED)
def test_products_of_numbers_without_parameters(dtype, shape, keep, seed):
    generator = rng(seed)
    x, y = T(integers(generator, dtype, shape)), T(dtype=np.dtype(dtype).name)
    compare("REDUCE_PROD", [x, axes(generator, len(shape))], [y], keep_dims=keep, version=2)


@pytest.mark.parametrize("op", ["REDUCE_ANY", "REDUCE_ALL", "SUM", "REDUCE_PROD"])
@examples
@given(shape=SHAPES, keep=st.booleans(), seed=SEED)
def test_bool(op, shape, keep, seed):
    generator = rng(seed)
    compare(op, [T(generator.random(shape) < 0.5), axes(generator, len(shape))], [T(dtype="bool")], keep_dims=keep)


@pytest.mark.parametrize("op", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, np.bool_])
@examples
@given(shape=SHAPES, axis=st.integers(-4, 3), wide=st.booleans(), seed=SEED)
def test_arg(op, dtype, shape, axis, wide, seed):
    generator = rng(seed)
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    x = floats(generator, shape) if dtype == np.float32 else generator.integers(0, 4, shape).astype(dtype)
    x = np.round(x) if dtype == np.float32 else x  # ties
    out = "int64" if wide else "int32"
    compare(op, [T(x), T(np.asarray(axis, np.int32), const=True)], [T(dtype=out)], output_type=4 if wide else 2, version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@examples
@given(shape=SHAPES, axis=st.integers(-4, 3), exclusive=st.booleans(), reverse=st.booleans(), seed=SEED)
def test_cumsum(dtype, shape, axis, exclusive, reverse, seed):
    generator = rng(seed)
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    x = floats(generator, shape) if dtype == np.float32 else generator.integers(-99, 99, shape).astype(dtype)
    compare("CUMSUM", [T(x), T(np.asarray(axis, np.int32), const=True)], [T(dtype=np.dtype(dtype).name)],
            exclusive=exclusive, reverse=reverse, rel=0, ulps=0)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@examples
@given(shape=SHAPES, keep=st.booleans(), seed=SEED)
def test_sum_beside_the_optimised_kernel(dtype, shape, keep, seed):
    """int8 and int16 SUM: the optimised kernel rescales in float, so a step of one is allowed."""
    generator = rng(seed)
    y = T(dtype=np.dtype(dtype).name, scale=scale(generator, 0.01, 0.5), zero_point=zero_point(generator, dtype))
    model, values = single("SUM", [quantized(generator, dtype, shape), axes(generator, len(shape))], [y],
                           keep_dims=keep, version=2)
    want = run_litert(model, values, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")[0]
    have = run_ours(model, values)[0]
    assert have.dtype == want.dtype
    np.testing.assert_allclose(have.astype(int), want.astype(int), atol=1)
