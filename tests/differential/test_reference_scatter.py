"""Adding up by index against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def values(generator, dtype, shape):
    return floats(generator, shape) if dtype == np.float32 else integers(generator, np.int8, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, np.int64])
@examples
@given(shape=SHAPES, count=st.integers(1, 5), seed=SEED)
def test_scatter_nd(dtype, shape, count, seed):
    generator = rng(seed)
    depth = int(generator.integers(1, len(shape) + 1))
    indices = np.stack([generator.integers(0, shape[i], count) for i in range(depth)], axis=-1).astype(np.int32)
    updates = values(generator, dtype, (count, *shape[depth:]))
    wanted = T(np.asarray(shape, np.int32), const=True)
    compare("SCATTER_ND", [T(indices), T(updates), wanted], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, np.int64])
@examples
@given(shape=SHAPES, scalar=st.booleans(), wide=st.booleans(), seed=SEED)
def test_sparse_to_dense(dtype, shape, scalar, wide, seed):
    generator = rng(seed)
    kind = np.int64 if wide else np.int32
    cells = generator.permutation(int(np.prod(shape)))[: int(generator.integers(1, np.prod(shape) + 1))]
    indices = np.stack(np.unravel_index(np.sort(cells), shape), axis=-1).astype(kind)
    given_values = values(generator, dtype, () if scalar else (len(cells),))
    inputs = [T(indices), T(np.asarray(shape, kind), const=True), T(np.asarray(given_values, dtype)),
              T(np.asarray(3, dtype))]
    compare("SPARSE_TO_DENSE", inputs, [T(dtype=np.dtype(dtype).name)], version=3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shape=SHAPES, seed=SEED)
def test_segment_sum(dtype, shape, seed):
    generator = rng(seed)
    ids = np.cumsum(np.append(0, generator.integers(0, 2, shape[0] - 1))).astype(np.int32)
    compare("SEGMENT_SUM", [T(values(generator, dtype, shape)), T(ids)], [T(dtype=np.dtype(dtype).name)],
            resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")  # the reference resolver leaves it out


@pytest.mark.parametrize("op", ["SUM", "PROD", "MAX", "MIN"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shape=SHAPES, seed=SEED)
def test_unsorted_segment(op, dtype, shape, seed):
    generator = rng(seed)
    ids = generator.integers(-1, 4, shape[:1]).astype(np.int32)
    inputs = [T(values(generator, dtype, shape)), T(ids), T(np.asarray(4, np.int32), const=True)]
    compare(f"UNSORTED_SEGMENT_{op}", inputs, [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("combiner", [0, 1, 2])
@examples
@given(lead=st.lists(st.integers(1, 3), min_size=1, max_size=2), table=st.lists(st.integers(1, 4), min_size=2, max_size=3),
       count=st.integers(1, 6), seed=SEED)
def test_embedding_lookup_sparse(combiner, lead, table, count, seed):
    generator = rng(seed)
    dense = [*lead, count]
    buckets = np.sort(generator.integers(0, int(np.prod(lead)), count))
    columns = [*np.unravel_index(buckets, lead), np.arange(count)]
    inputs = [
        T(generator.integers(0, table[0], count).astype(np.int32)),
        T(np.stack(columns, axis=-1).astype(np.int32)),
        T(np.asarray(dense, np.int32)),
        T(np.abs(floats(generator, (count,))) + np.float32(0.1)),
        T(floats(generator, table), const=True),
    ]
    compare("EMBEDDING_LOOKUP_SPARSE", inputs, [T(dtype="float32")], combiner=combiner)
