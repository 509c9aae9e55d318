"""SOFTMAX and LOG_SOFTMAX against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng, scale

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
BETA = st.sampled_from([1.0, 0.5, 2.0, 0.1])


@examples
@given(shape=SHAPES, beta=BETA, seed=st.integers(0, 2**32))
def test_softmax_float(shape, beta, seed):
    compare("SOFTMAX", [T(floats(rng(seed), shape))], [T(dtype="float32")], beta=beta)


@pytest.mark.parametrize(
    ("dtype", "out", "y_scale", "y_zero"),
    [
        (np.int8, "int8", 1 / 256, -128),
        (np.uint8, "uint8", 1 / 256, 0),
        (np.int8, "int16", 1 / 32768, 0),
        (np.int16, "int16", 1 / 32768, 0),
    ],
)
@examples
@given(shape=SHAPES, beta=BETA, seed=st.integers(0, 2**32))
def test_softmax_integer(dtype, out, y_scale, y_zero, shape, beta, seed):
    generator = rng(seed)
    fine = 0.01 if dtype == np.int16 else 1.0
    x = T(integers(generator, dtype, shape), scale=scale(generator, 0.001 * fine, 0.5 * fine), zero_point=0)
    compare("SOFTMAX", [x], [T(dtype=out, scale=y_scale, zero_point=y_zero)], beta=beta)


@examples
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_log_softmax_float(shape, seed):
    compare("LOG_SOFTMAX", [T(floats(rng(seed), shape))], [T(dtype="float32")])


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 127), (np.uint8, 255)])
@examples
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_log_softmax_integer(dtype, zero, shape, seed):
    generator = rng(seed)
    x = T(integers(generator, dtype, shape), scale=scale(generator, 0.005, 0.5), zero_point=0)
    compare("LOG_SOFTMAX", [x], [T(dtype=np.dtype(dtype).name, scale=16 / 256, zero_point=zero)])
