"""TRANSPOSE, REVERSE_V2, REVERSE_SEQUENCE against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng

SEED = st.integers(0, 2**32)
DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64]


def values(generator, dtype, shape):
    if dtype == np.bool_:
        return generator.random(shape) < 0.5
    return floats(generator, shape) if dtype == np.float32 else integers(generator, dtype, shape)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=6).map(tuple), seed=SEED)
def test_transpose(dtype, shape, seed):
    generator = rng(seed)
    order = T(generator.permutation(len(shape)).astype(np.int32), const=True)
    compare("TRANSPOSE", [T(values(generator, dtype, shape)), order], [T(dtype=np.dtype(dtype).name.rstrip("_"))], version=4)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), seed=SEED)
def test_reverse(dtype, shape, seed):
    generator = rng(seed)
    first = int(generator.integers(0, len(shape)))
    last = int(generator.integers(first + 1, len(shape) + 1))
    axes = T(np.arange(first, last, dtype=np.int32), const=True)  # the reference wants neighbours
    compare("REVERSE_V2", [T(values(generator, dtype, shape)), axes], [T(dtype=np.dtype(dtype).name.rstrip("_"))], version=3)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16, np.int32, np.int64])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), wide=st.booleans(), seed=SEED)
def test_reverse_sequence(dtype, shape, wide, seed):
    generator = rng(seed)
    sequence, batch = (int(v) for v in generator.permutation(len(shape))[:2])
    lengths = generator.integers(1, shape[sequence] + 1, shape[batch]).astype(np.int64 if wide else np.int32)
    compare("REVERSE_SEQUENCE", [T(values(generator, dtype, shape)), T(lengths)], [T(dtype=np.dtype(dtype).name)],
            seq_dim=sequence, batch_dim=batch)
