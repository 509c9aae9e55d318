"""Picking operators against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng, scale

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64]


def values(generator, dtype, shape):
    if dtype == np.bool_:
        return generator.random(shape) < 0.5
    return floats(generator, shape) if dtype == np.float32 else integers(generator, dtype, shape)


def out(dtype):
    return [T(dtype=np.dtype(dtype).name.rstrip("_"))]


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=SHAPES, indices=st.lists(st.integers(1, 3), max_size=2), axis=st.integers(-4, 3), batch=st.integers(0, 2),
       wide=st.booleans(), seed=SEED)
def test_gather(dtype, shape, indices, axis, batch, wide, seed):
    generator = rng(seed)
    place = axis % len(shape)
    axis = place - (len(shape) if axis < 0 else 0)
    batch = min(batch, place)
    picks = generator.integers(0, shape[place], (*shape[:batch], *indices)).astype(np.int64 if wide else np.int32)
    compare("GATHER", [T(values(generator, dtype, shape)), T(picks)], out(dtype), axis=axis, batch_dims=batch, version=5)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=SHAPES, lead=st.lists(st.integers(1, 3), min_size=1, max_size=2), wide=st.booleans(), seed=SEED)
def test_gather_nd(dtype, shape, lead, wide, seed):
    generator = rng(seed)
    depth = int(generator.integers(1, len(shape) + 1))
    picks = np.stack([generator.integers(0, shape[i], lead) for i in range(depth)], axis=-1)
    picks = picks.astype(np.int64 if wide else np.int32)
    compare("GATHER_ND", [T(values(generator, dtype, shape)), T(picks)], out(dtype), version=5)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), wide=st.booleans(), seed=SEED)
def test_slice(dtype, shape, wide, seed):
    generator = rng(seed)
    begin = [int(generator.integers(0, size)) for size in shape]
    size = [-1 if generator.random() < 0.3 else int(generator.integers(1, total - b + 1)) for total, b in zip(shape, begin)]
    kind = np.int64 if wide else np.int32
    lists = [T(np.asarray(v, kind), const=True) for v in (begin, size)]
    compare("SLICE", [T(values(generator, dtype, shape)), *lists], out(dtype), version=5)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), offset=st.booleans(), seed=SEED)
def test_strided_slice(dtype, shape, offset, seed):
    generator = rng(seed)
    given_dims = len(shape) if offset else int(generator.integers(1, len(shape) + 1))
    begin, end, strides, masks = [], [], [], [0, 0, 0]
    for i in range(given_dims):
        size, stride = shape[i], int(generator.choice([1, 1, 2, 3, -1, -2]))
        begin.append(int(generator.integers(-size - 1, size + 2)))
        end.append(int(generator.integers(-size - 1, size + 2)))
        strides.append(stride)
        for mask in range(2):
            masks[mask] |= (generator.random() < 0.3) << i
        if generator.random() < 0.2:
            masks[2] |= 1 << i
            begin[i], strides[i] = int(generator.integers(-size, size)), 1
            masks[0] &= ~(1 << i)
    if offset:  # end is a length then
        begin = [int(generator.integers(0, size)) for size in shape[:given_dims]]
        end = [int(generator.integers(1, size - b + 1)) for size, b in zip(shape, begin)]
        strides, masks = [1] * given_dims, [0, 0, 0]
    lists = [T(np.asarray(v, np.int32), const=True) for v in (begin, end, strides)]
    compare("STRIDED_SLICE", [T(values(generator, dtype, shape)), *lists], out(dtype), begin_mask=masks[0],
            end_mask=masks[1], shrink_axis_mask=masks[2], offset=offset, version=4)


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), ellipsis=st.integers(0, 3), seed=SEED)
def test_strided_slice_with_new_axes_and_ellipsis(shape, ellipsis, seed):
    generator = rng(seed)
    count = len(shape) + 1
    ellipsis = min(ellipsis, count - 1)
    lists = [T(np.asarray(v, np.int32), const=True) for v in ([0] * count, [1] * count, [1] * count)]
    new_axis = (ellipsis + 1) % count
    compare("STRIDED_SLICE", [T(floats(generator, shape)), *lists], out(np.float32), ellipsis_mask=1 << ellipsis,
            new_axis_mask=1 << new_axis, version=4)


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=SHAPES, wide=st.booleans(), seed=SEED)
def test_tile(dtype, shape, wide, seed):
    generator = rng(seed)
    times = generator.integers(1, 4, len(shape)).astype(np.int64 if wide else np.int32)
    compare("TILE", [T(values(generator, dtype, shape)), T(times, const=True)], out(dtype), version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, np.int64, np.bool_])
@examples
@given(shape=SHAPES, depth=st.integers(1, 5), axis=st.integers(-1, 4), wide=st.booleans(), seed=SEED)
def test_one_hot(dtype, shape, depth, axis, wide, seed):
    generator = rng(seed)
    indices = T(generator.integers(-1, depth + 1, shape).astype(np.int64 if wide else np.int32))
    on, off = (T(np.asarray(v, dtype), const=True) for v in (1, 0))
    axis = -1 if axis < 0 else min(axis, len(shape))
    compare("ONE_HOT", [indices, T(np.asarray(depth, np.int32), const=True), on, off], out(dtype), axis=axis)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, seed=SEED)
def test_top_k(dtype, shape, seed):
    generator = rng(seed)
    x = np.round(floats(generator, shape)) if dtype == np.float32 else generator.integers(0, 9, shape).astype(dtype)
    k = T(np.asarray(int(generator.integers(1, shape[-1] + 1)), np.int32), const=True)
    compare("TOPK_V2", [T(x), k], [*out(dtype), T(dtype="int32")], version=2)


@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.int32, np.int64, np.int8, np.uint8])
@examples
@given(shape=SHAPES, seed=SEED)
def test_where(dtype, shape, seed):
    compare("WHERE", [T(rng(seed).integers(0, 2, shape).astype(dtype))], [T(dtype="int64")], version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64])
@examples
@given(size=st.integers(1, 12), wide=st.booleans(), seed=SEED)
def test_unique(dtype, size, wide, seed):
    x = rng(seed).integers(0, 5, size).astype(dtype)
    compare("UNIQUE", [T(x)], [*out(dtype), T(dtype="int64" if wide else "int32")], idx_out_type=4 if wide else 2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32])
@examples
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple), count=st.integers(1, 6), seed=SEED)
def test_embedding_lookup(dtype, shape, count, seed):
    generator = rng(seed)
    ids = T(generator.integers(0, shape[0], count).astype(np.int32))
    compare("EMBEDDING_LOOKUP", [ids, T(values(generator, dtype, shape), const=True)], out(dtype), version=3)


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("kind", ["int8", "int4"])
@examples
@given(shape=st.tuples(st.integers(1, 5), st.integers(1, 4).map(lambda n: 2 * n)), count=st.integers(1, 6), seed=SEED)
def test_hybrid_embedding_lookup(per_row, kind, shape, count, seed):
    generator = rng(seed)
    rows = shape[0] if per_row else 1
    low, high = (-8, 8) if kind == "int4" else (-127, 128)
    table = T(generator.integers(low, high, shape).astype(np.int8), dtype=kind, zero_point=[0] * rows, const=True,
              scale=[scale(generator) for _ in range(rows)])
    ids = T(generator.integers(0, shape[0], count).astype(np.int32))
    compare("EMBEDDING_LOOKUP", [ids, table], [T(dtype="float32")], version=4)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32])
@examples
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), count=st.integers(1, 6), seed=SEED)
def test_hashtable_lookup(dtype, shape, count, seed):
    generator = rng(seed)
    keys = np.sort(generator.choice(20, shape[0], replace=False)).astype(np.int32)
    wanted = generator.integers(0, 20, count).astype(np.int32)
    inputs = [T(wanted), T(keys), T(values(generator, dtype, shape))]
    compare("HASHTABLE_LOOKUP", inputs, [*out(dtype), T(dtype="uint8")])


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.int8, np.int16, np.bool_])
@examples
@given(shape=SHAPES, wide=st.booleans(), const=st.booleans(), seed=SEED)
def test_fill(dtype, shape, wide, const, seed):
    dims = T(np.asarray(shape, np.int64 if wide else np.int32), const=const)
    compare("FILL", [dims, T(np.asarray(values(rng(seed), dtype, ()), dtype))], out(dtype), version=3)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
@examples
@given(start=st.integers(-9, 9), count=st.integers(0, 9), delta=st.sampled_from([1, 2, -1, -3]))
def test_range(dtype, start, count, delta):
    three = (start, start + count * delta + (1 if delta > 1 else 0), delta)
    compare("RANGE", [T(np.asarray(v, dtype)) for v in three], out(dtype))


@pytest.mark.parametrize("dtype", [*DTYPES, np.bool_])
@examples
@given(shape=SHAPES, lead=st.lists(st.integers(1, 3), max_size=2), wide=st.booleans(), seed=SEED)
def test_broadcast_to(dtype, shape, lead, wide, seed):
    generator = rng(seed)
    narrow = tuple(1 if generator.random() < 0.4 else size for size in shape)
    wanted = T(np.asarray([*lead, *shape], np.int64 if wide else np.int32), const=True)
    compare("BROADCAST_TO", [T(values(generator, dtype, narrow)), wanted], out(dtype), version=3)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@examples
@given(shape=SHAPES, lead=st.lists(st.integers(1, 3), max_size=2), seed=SEED)
def test_broadcast_args(dtype, shape, lead, seed):
    generator = rng(seed)
    narrow = [1 if generator.random() < 0.4 else size for size in shape]
    compare("BROADCAST_ARGS", [T(np.asarray(narrow, dtype)), T(np.asarray([*lead, *shape], dtype))], out(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int32, np.int64, np.bool_])
@examples
@given(shape=SHAPES, wide=st.booleans(), seed=SEED)
def test_dynamic_update_slice(dtype, shape, wide, seed):
    generator = rng(seed)
    update = [int(generator.integers(1, size + 1)) for size in shape]
    start = generator.integers(-2, 6, len(shape)).astype(np.int64 if wide else np.int32)
    inputs = [T(values(generator, dtype, shape)), T(values(generator, dtype, update)), T(start)]
    compare("DYNAMIC_UPDATE_SLICE", inputs, out(dtype), version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@examples
@given(shape=SHAPES, bounds=st.lists(st.integers(-20, 20), min_size=1, max_size=5), seed=SEED)
def test_bucketize(dtype, shape, bounds, seed):
    x = rng(seed).integers(-25, 25, shape).astype(dtype)
    compare("BUCKETIZE", [T(x)], [T(dtype="int32")], boundaries=sorted(float(b) for b in bounds))


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, seed=SEED)
def test_matrix_diag(dtype, shape, seed):
    compare("MATRIX_DIAG", [T(values(rng(seed), dtype, shape))], out(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), seed=SEED)
def test_matrix_set_diag(dtype, shape, seed):
    generator = rng(seed)
    diagonal = values(generator, dtype, (*shape[:-2], min(shape[-2:])))
    compare("MATRIX_SET_DIAG", [T(values(generator, dtype, shape)), T(diagonal)], out(dtype))
