"""RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng

ATTRIBUTES = dict(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    mode=st.sampled_from([(False, False), (True, False), (False, True)]),
    seed=st.integers(0, 2**32),
)


@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16])
@examples
@given(**ATTRIBUTES)
def test_resize(op, dtype, shape, size, mode, seed):
    generator = rng(seed)
    parameters = {} if dtype == np.float32 else {"scale": 0.5, "zero_point": 0}
    x = floats(generator, shape) if dtype == np.float32 else integers(generator, dtype, shape)
    inputs = [T(x, **parameters), T(np.asarray(size, np.int32), const=True)]
    compare(op, inputs, [T(dtype=np.dtype(dtype).name, **parameters)], align_corners=mode[0],
            half_pixel_centers=mode[1], version=3)
