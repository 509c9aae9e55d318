"""Comparisons, logic and selection against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng

SEED = st.integers(0, 2**32)
OPERATORS = ["EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"]


def shapes(count, rank=4):
    return mutually_broadcastable_shapes(num_shapes=count, min_dims=1, max_dims=rank, max_side=4).map(
        lambda all_: all_.input_shapes
    )


def few(generator, dtype, shape):
    """Values with many ties."""
    if dtype == np.float32:
        return np.round(floats(generator, shape))
    return generator.integers(0, 2 if dtype == np.bool_ else 5, shape).astype(dtype)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@examples
@given(pair=shapes(2), seed=SEED)
def test_plain(op, dtype, pair, seed):
    compare(op, [T(few(rng(seed + i), dtype, s)) for i, s in enumerate(pair)], [T(dtype="bool")])


@pytest.mark.parametrize("op", ["EQUAL", "NOT_EQUAL"])
@examples
@given(pair=shapes(2), seed=SEED)
def test_bool(op, pair, seed):
    compare(op, [T(few(rng(seed + i), np.bool_, s)) for i, s in enumerate(pair)], [T(dtype="bool")])


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@examples
@given(pair=shapes(2), same=st.booleans(), seed=SEED)
def test_quantized(op, dtype, pair, same, seed):
    generator = rng(seed)
    first, second = (quantized(generator, dtype, s) for s in pair)
    if same:
        second.scale, second.zero_point = first.scale, first.zero_point
    compare(op, [first, second], [T(dtype="bool")], version=2)


@pytest.mark.parametrize("op", ["LOGICAL_AND", "LOGICAL_OR"])
@examples
@given(pair=shapes(2), seed=SEED)
def test_logical(op, pair, seed):
    compare(op, [T(rng(seed + i).random(s) < 0.5) for i, s in enumerate(pair)], [T(dtype="bool")])


def anything(generator, dtype, shape):
    if dtype == np.float32:
        return floats(generator, shape)
    return generator.random(shape) < 0.5 if dtype == np.bool_ else integers(generator, dtype, shape)


DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_]


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), rank_one=st.booleans(), seed=SEED)
def test_select(dtype, shape, rank_one, seed):
    generator = rng(seed)
    condition = generator.random(shape[:1] if rank_one else shape) < 0.5
    values = [T(anything(generator, dtype, shape)) for _ in range(2)]
    # for single elements the reference keeps the shape that the model declares
    compare("SELECT", [T(condition), *values], [T(dtype=np.dtype(dtype).name.rstrip("_"), shape=shape)])


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(three=shapes(3), seed=SEED)
def test_select_v2(dtype, three, seed):
    generator = rng(seed)
    condition = T(generator.random(three[0]) < 0.5)
    values = [T(anything(generator, dtype, s)) for s in three[1:]]
    if all(np.prod(s) == 1 for s in three):  # the reference keeps the declared output shape for scalars
        three = ((1,),) * 3
        condition, values = T(condition.data.reshape(1)), [T(v.data.reshape(1)) for v in values]
    compare("SELECT_V2", [condition, *values], [T(dtype=np.dtype(dtype).name.rstrip("_"), shape=(1,))])
