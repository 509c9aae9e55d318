"""Pools against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, quantized, rng

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
ATTRIBUTES = dict(
    shape=SHAPES,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    same=st.booleans(),
    activation=st.sampled_from([0, 1, 2, 3]),
    seed=st.integers(0, 2**32),
)


def options(shape, kernel, stride, same, activation):
    fits = kernel[0] <= shape[1] and kernel[1] <= shape[2]
    return dict(
        filter_height=kernel[0], filter_width=kernel[1], stride_h=stride[0], stride_w=stride[1],
        padding=0 if same or not fits else 1, fused_activation_function=activation,
    )


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"])
@examples
@given(**ATTRIBUTES)
def test_float(op, shape, kernel, stride, same, activation, seed):
    x = T(floats(rng(seed), shape))
    compare(op, [x], [T(dtype="float32")], **options(shape, kernel, stride, same, activation))


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(**ATTRIBUTES)
def test_integer(op, dtype, shape, kernel, stride, same, activation, seed):
    x = quantized(rng(seed), dtype, shape)
    y = T(dtype=np.dtype(dtype).name, scale=x.scale, zero_point=x.zero_point)
    compare(op, [x], [y], **options(shape, kernel, stride, same, activation))
