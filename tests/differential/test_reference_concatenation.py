"""CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, integers, quantized, rng, scale, zero_point

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_]


def any_values(generator, dtype, shape):
    if dtype == np.bool_:
        return generator.random(shape) < 0.5
    if dtype == np.float32:
        return generator.standard_normal(shape).astype(np.float32)
    return integers(generator, dtype, shape)


def fixed(dtype):
    """Equal quantisation parameters for the types that need them."""
    return {"scale": 0.5, "zero_point": 0} if dtype in (np.int8, np.uint8, np.int16) else {}


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), axis=st.integers(-4, 3), seed=SEED)
def test_concatenation(dtype, shape, sizes, axis, seed):
    generator = rng(seed)
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    shapes = []
    for size in sizes:
        one = list(shape)
        one[axis] = size
        shapes.append(one)
    inputs = [T(any_values(generator, dtype, s), **fixed(dtype)) for s in shapes]
    compare("CONCATENATION", inputs, [T(dtype=np.dtype(dtype).name.rstrip("_"), **fixed(dtype))], axis=axis)


@examples
@given(shape=SHAPES, count=st.integers(1, 4), seed=SEED)
def test_rescaling_concatenation(shape, count, seed):
    generator = rng(seed)
    inputs = [quantized(generator, np.uint8, shape) for _ in range(count)]
    y = T(dtype="uint8", scale=scale(generator), zero_point=zero_point(generator, np.uint8))
    compare("CONCATENATION", inputs, [y], axis=0)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64])
@examples
@given(shape=SHAPES, count=st.integers(1, 4), axis=st.integers(-5, 4), seed=SEED)
def test_pack(dtype, shape, count, axis, seed):
    generator = rng(seed)
    rank = len(shape) + 1
    axis = axis % rank - (rank if axis < 0 else 0)
    inputs = [T(any_values(generator, dtype, shape), **fixed(dtype)) for _ in range(count)]
    compare("PACK", inputs, [T(dtype=np.dtype(dtype).name, **fixed(dtype))], values_count=count, axis=axis, version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32, np.bool_])
@examples
@given(shape=SHAPES, axis=st.integers(-4, 3), seed=SEED)
def test_unpack(dtype, shape, axis, seed):
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    x = T(any_values(rng(seed), dtype, shape), **fixed(dtype))
    outputs = [T(dtype=np.dtype(dtype).name.rstrip("_"), **fixed(dtype)) for _ in range(shape[axis])]
    compare("UNPACK", [x], outputs, num=shape[axis], axis=axis, version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32])
@examples
@given(shape=SHAPES, parts=st.integers(1, 4), axis=st.integers(-4, 3), seed=SEED)
def test_split(dtype, shape, parts, axis, seed):
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    shape = list(shape)
    shape[axis] *= parts
    x = T(any_values(rng(seed), dtype, shape), **fixed(dtype))
    outputs = [T(dtype=np.dtype(dtype).name, **fixed(dtype)) for _ in range(parts)]
    compare("SPLIT", [T(np.asarray(axis, np.int32), const=True), x], outputs, num_splits=parts, version=4)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64])
@examples
@given(shape=SHAPES, sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4), axis=st.integers(-4, 3),
       rest=st.booleans(), seed=SEED)
def test_split_v(dtype, shape, sizes, axis, rest, seed):
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    shape = list(shape)
    shape[axis] = sum(sizes)
    if rest:
        sizes = [*sizes[:-1], -1]
    x = T(any_values(rng(seed), dtype, shape), **fixed(dtype))
    outputs = [T(dtype=np.dtype(dtype).name, **fixed(dtype)) for _ in sizes]
    lengths, where = T(np.asarray(sizes, np.int32), const=True), T(np.asarray(axis, np.int32), const=True)
    compare("SPLIT_V", [x, lengths, where], outputs, num_splits=len(sizes), version=2)
