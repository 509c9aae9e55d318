"""L2_NORMALIZATION and LOCAL_RESPONSE_NORMALIZATION against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, quantized, rng

SEED = st.integers(0, 2**32)


@examples
@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), seed=SEED)
def test_l2_float(shape, seed):
    compare("L2_NORMALIZATION", [T(floats(rng(seed), shape))], [T(dtype="float32")])


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 0), (np.uint8, 128)])
@examples
@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), seed=SEED)
def test_l2_quantized(dtype, zero, shape, seed):
    y = T(dtype=np.dtype(dtype).name, scale=1 / 128, zero_point=zero)
    compare("L2_NORMALIZATION", [quantized(rng(seed), dtype, shape)], [y], version=2)


@examples
@given(shape=st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 9)), radius=st.integers(1, 5), bias=st.sampled_from([1.0, 2.5]),
       alpha=st.sampled_from([0.1, 1.0]), beta=st.sampled_from([0.5, 0.75, 1.0]), seed=SEED)
def test_local_response(shape, radius, bias, alpha, beta, seed):
    compare("LOCAL_RESPONSE_NORMALIZATION", [T(floats(rng(seed), shape))], [T(dtype="float32")], radius=radius,
            bias=bias, alpha=alpha, beta=beta)
