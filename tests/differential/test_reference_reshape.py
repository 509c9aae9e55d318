"""RESHAPE, SQUEEZE, EXPAND_DIMS, SHAPE, RANK against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, rng

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64]


def values(seed, dtype, shape):
    return (rng(seed).random(shape) * 100).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["constant", "input", "option"])
@examples
@given(shape=SHAPES, order=st.randoms(use_true_random=False), unknown=st.booleans(), seed=SEED)
def test_reshape(dtype, how, shape, order, unknown, seed):
    wanted = list(shape)
    order.shuffle(wanted)
    wanted = [*wanted[:1], 1, *wanted[1:]]
    if unknown:
        wanted[order.randrange(len(wanted))] = -1
    x, name = T(values(seed, dtype, shape)), np.dtype(dtype).name
    if how == "option":
        compare("RESHAPE", [x], [T(dtype=name)], new_shape=wanted)
    else:
        compare("RESHAPE", [x, T(np.asarray(wanted, np.int32), const=how == "constant")], [T(dtype=name)])


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=5).map(tuple), some=st.booleans(), negative=st.booleans(),
       seed=SEED)
def test_squeeze(dtype, shape, some, negative, seed):
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    dims = [axis - len(shape) if negative else axis for axis in ones[: 1 + len(ones) // 2]] if some else []
    compare("SQUEEZE", [T(values(seed, dtype, shape))], [T(dtype=np.dtype(dtype).name)], squeeze_dims=dims)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, axis=st.integers(-5, 4), wide=st.booleans(), seed=SEED)
def test_expand_dims(dtype, shape, axis, wide, seed):
    rank = len(shape) + 1
    axis = axis % rank - (rank if axis < 0 else 0)
    where = T(np.asarray([axis], np.int64 if wide else np.int32), const=True)
    compare("EXPAND_DIMS", [T(values(seed, dtype, shape)), where], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("out", ["int32", "int64"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_shape(out, shape, seed):
    kind = {"int32": 2, "int64": 4}[out]
    compare("SHAPE", [T(values(seed, np.float32, shape))], [T(dtype=out)], out_type=kind)


@examples
@given(shape=SHAPES, seed=SEED)
def test_rank(shape, seed):
    compare("RANK", [T(values(seed, np.float32, shape))], [T(dtype="int32")])
