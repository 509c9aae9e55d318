"""SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng

SEED = st.integers(0, 2**32)
DTYPES = [np.float32, np.int8, np.uint8, np.int32, np.int64]
SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def case(generator, dtype, shape):
    if dtype == np.float32:
        return T(floats(generator, shape)), T(dtype="float32")
    parameters = {"scale": 0.5, "zero_point": 9} if np.dtype(dtype).itemsize == 1 else {}
    return T(integers(generator, dtype, shape), **parameters), T(dtype=np.dtype(dtype).name, **parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, block=st.integers(1, 3), seed=SEED)
def test_space_to_depth(dtype, shape, block, seed):
    x, y = case(rng(seed), dtype, (shape[0], shape[1] * block, shape[2] * block, shape[3]))
    compare("SPACE_TO_DEPTH", [x], [y], block_size=block, version=2)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, block=st.integers(1, 3), seed=SEED)
def test_depth_to_space(dtype, shape, block, seed):
    x, y = case(rng(seed), dtype, (*shape[:3], shape[3] * block * block))
    compare("DEPTH_TO_SPACE", [x], [y], block_size=block)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, seed=SEED)
def test_space_to_batch(rank, dtype, shape, seed):
    generator = rng(seed)
    block = generator.integers(1, 4, rank - 2)
    before, after = generator.integers(0, 3, rank - 2), generator.integers(0, 3, rank - 2)
    sizes = np.maximum(1, np.asarray(shape[1 : rank - 1]) * block - before - after)
    after = -(sizes + before) % block
    x, y = case(generator, dtype, (shape[0], *sizes.tolist(), shape[3]))
    lists = [T(v.astype(np.int32), const=True) for v in (block, np.stack([before, after], axis=1))]
    compare("SPACE_TO_BATCH_ND", [x, *lists], [y], version=3)


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, seed=SEED)
def test_batch_to_space(rank, dtype, shape, seed):
    generator = rng(seed)
    block = generator.integers(1, 4, rank - 2)
    wide = np.asarray(shape[1 : rank - 1]) * block
    crops = np.stack([np.minimum(generator.integers(0, 2, rank - 2), wide - 1), np.zeros(rank - 2, int)], axis=1)
    x, y = case(generator, dtype, (shape[0] * int(block.prod()), *shape[1 : rank - 1], shape[3]))
    lists = [T(v.astype(np.int32), const=True) for v in (block, crops)]
    compare("BATCH_TO_SPACE_ND", [x, *lists], [y], version=3)
