"""Operations that move data, against numpy, in every data type and form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .client import Array, Nnapi
from .operation import Operand, check, ints, omitted, refused, scalar, tensor

CONCATENATION, DEPTH_TO_SPACE, EMBEDDING_LOOKUP, HASHTABLE_LOOKUP, RESHAPE, SPACE_TO_DEPTH = 2, 5, 7, 10, 22, 26
BATCH_TO_SPACE_ND, PAD, SPACE_TO_BATCH_ND, SQUEEZE, STRIDED_SLICE, TRANSPOSE = 29, 32, 33, 34, 35, 37
CHANNEL_SHUFFLE, EXPAND_DIMS, GATHER, PAD_V2, SELECT, SLICE, SPLIT, TILE = 46, 50, 51, 69, 84, 86, 87, 89
FILL, RANK, PACK, MIRROR_PAD, REVERSE = 100, 101, 103, 104, 105

FLOATS_AND_BYTES = ["float32", "float16", "uint8", "int8"]
WITH_INT32 = [*FLOATS_AND_BYTES, "int32"]
examples = settings(
    max_examples=15, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)  # fmt: skip
seeds = st.integers(0, 2**32)


def shapes(most: int = 4, least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(1, 4), min_size=least, max_size=most).map(tuple)


def draw(seed: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """Numbers that differ, in any type."""
    generator = np.random.default_rng(seed)
    if dtype.startswith("float"):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 100, shape).astype(dtype)


def quantised(value: Array, zero_point: int = 3) -> Operand:
    """A tensor with parameters of its own where its type has any."""
    return tensor(value, 0.25, zero_point) if value.dtype.name in ("uint8", "int8") else tensor(value)


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@examples
@given(shape=shapes(), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=4), data=st.data(), seed=seeds)
def test_concatenation(api: Nnapi, dtype: str, shape: tuple[int, ...], sizes: list[int], data: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes[0] = max(sizes[0], 1)
    parts = [draw(seed + i, dtype, (*shape[:axis], size, *shape[axis + 1 :])) for i, size in enumerate(sizes) if size]
    check(api, CONCATENATION, [*map(quantised, parts), scalar(axis)], [quantised(np.concatenate(parts, axis))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(), count=st.integers(1, 4), data=st.data(), seed=seeds)
def test_pack(api: Nnapi, dtype: str, shape: tuple[int, ...], count: int, data: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape)))
    parts = [draw(seed + i, dtype, shape) for i in range(count)]
    check(api, PACK, [scalar(axis), *map(quantised, parts)], [quantised(np.stack(parts, axis))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(), count=st.integers(1, 3), data=st.data(), seed=seeds)
def test_split(api: Nnapi, dtype: str, shape: tuple[int, ...], count: int, data: Any, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    whole = list(shape)
    whole[axis] *= count
    x = draw(seed, dtype, tuple(whole))
    check(api, SPLIT, [quantised(x), scalar(axis), scalar(count)], [*map(quantised, np.split(x, count, axis))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(), data=st.data(), seed=seeds)
def test_reshape(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    flat = data.draw(st.permutations(shape))
    wanted = list(flat)
    if data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(wanted) - 1))] = -1
    check(api, RESHAPE, [quantised(x), ints(wanted)], [quantised(x.reshape(flat))])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@pytest.mark.parametrize("given_dims", [None, [], [1], [-1, 1], [1, 3, 1]])
def test_squeeze(api: Nnapi, dtype: str, given_dims: list[int] | None) -> None:
    x = draw(1, dtype, (2, 1, 3, 1))
    axes = (1, 3) if given_dims is None else tuple({axis % 4 for axis in given_dims})
    dims = omitted(4) if given_dims is None else ints(given_dims)
    if given_dims == []:
        return  # a list without elements can be no constant; NNAPI has no other way to give one
    check(api, SQUEEZE, [quantised(x), dims], [quantised(x.squeeze(axes))])
    if given_dims is None:
        ones = draw(2, dtype, (1, 1))
        check(api, SQUEEZE, [quantised(ones), omitted(4)], [quantised(ones.reshape(1))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(), data=st.data(), seed=seeds)
def test_expand_dims_and_rank(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    check(api, EXPAND_DIMS, [quantised(x), scalar(axis)], [quantised(np.expand_dims(x, axis))])
    check(api, RANK, [quantised(x)], [scalar(len(shape))])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@examples
@given(shape=shapes())
def test_fill(api: Nnapi, dtype: str, shape: tuple[int, ...]) -> None:
    value = np.array(-7, dtype)[()]
    check(api, FILL, [ints(shape), scalar(value)], [tensor(np.full(shape, value))])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@examples
@given(shape=shapes(), data=st.data(), seed=seeds)
def test_pad(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    pads = [(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in shape]
    zero = 3 if dtype in ("uint8", "int8") else 0
    check(api, PAD, [quantised(x), ints(np.array(pads))], [quantised(np.pad(x, pads, constant_values=zero))])
    value = 9 if zero else np.array(9.5, dtype)[()]
    padded = np.pad(x, pads, constant_values=value)
    check(api, PAD_V2, [quantised(x), ints(np.array(pads)), scalar(value)], [quantised(padded)])


@pytest.mark.parametrize("dtype", WITH_INT32)
@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@examples
@given(shape=shapes(5), data=st.data(), seed=seeds)
def test_mirror_pad(api: Nnapi, dtype: str, mode: Any, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    most = [size - (mode == "reflect") for size in shape]
    pads = [(data.draw(st.integers(0, m)), data.draw(st.integers(0, m))) for m in most]
    operands = [quantised(x), ints(np.array(pads)), scalar(int(mode == "symmetric"))]
    check(api, MIRROR_PAD, operands, [quantised(np.pad(x, pads, mode=mode))])
    pads[0] = (most[0] + 1, 0)
    refused(api, MIRROR_PAD, [quantised(x), ints(np.array(pads)), scalar(int(mode == "symmetric"))], [quantised(x)])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@examples
@given(shape=shapes(), data=st.data(), seed=seeds)
def test_transpose(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    order = data.draw(st.permutations(range(len(shape))))
    check(api, TRANSPOSE, [quantised(x), ints(order)], [quantised(x.transpose(order))])
    check(api, TRANSPOSE, [quantised(x), omitted(4)], [quantised(x.transpose())])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(8), data=st.data(), seed=seeds)
def test_reverse(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    check(api, REVERSE, [quantised(x), ints([axis])], [quantised(np.flip(x, axis))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(5), data=st.data(), seed=seeds)
def test_slice(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    begin = [data.draw(st.integers(0, size - 1)) for size in shape]
    size = [data.draw(st.sampled_from([-1, *range(1, s - b + 1)])) for s, b in zip(shape, begin)]
    part = x[tuple(np.s_[b : None if n < 0 else b + n] for b, n in zip(begin, size))]
    check(api, SLICE, [quantised(x), ints(begin), ints(size)], [quantised(part)])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@examples
@given(shape=shapes(), data=st.data(), seed=seeds)
def test_strided_slice(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    begin: list[int] = []
    end: list[int] = []
    stride: list[int] = []
    where: list[int | slice] = []
    begin_mask = end_mask = shrink_mask = 0
    for d, size in enumerate(shape):
        b, e = data.draw(st.integers(-size - 2, size + 2)), data.draw(st.integers(-size - 2, size + 2))
        s = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        kind = data.draw(st.sampled_from(["range", "begin", "end", "both", "index"]))
        if kind == "index":
            b = data.draw(st.integers(0, size - 1))
            e, s, shrink_mask = b + 1, 1, shrink_mask | 1 << d
        begin_mask |= (kind in ("begin", "both")) << d
        end_mask |= (kind in ("end", "both")) << d
        begin.append(b)
        end.append(e)
        stride.append(s)
        where.append(b if kind == "index" else slice(
            None if begin_mask >> d & 1 else b, None if end_mask >> d & 1 else e, s))  # fmt: skip
    part = np.atleast_1d(x[tuple(where)])
    lists = [ints(begin), ints(end), ints(stride)]
    masks = [scalar(begin_mask), scalar(end_mask), scalar(shrink_mask)]
    check(api, STRIDED_SLICE, [quantised(x), *lists, *masks], [quantised(part)])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(4), data=st.data(), seed=seeds)
def test_tile(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    multiples = [data.draw(st.integers(1, 3)) for _ in shape]
    check(api, TILE, [quantised(x), ints(multiples)], [quantised(np.tile(x, multiples))])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(), picks=shapes(3), data=st.data(), seed=seeds)
def test_gather(api: Nnapi, dtype: str, shape: tuple[int, ...], picks: tuple[int, ...], data: Any, seed: int) -> None:
    x = draw(seed, dtype, shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    indices = np.random.default_rng(seed).integers(0, shape[axis], picks).astype(np.int32)
    check(api, GATHER, [quantised(x), scalar(axis), tensor(indices)], [quantised(np.take(x, indices, axis))])
    indices.flat[0] = shape[axis]
    refused(api, GATHER, [quantised(x), scalar(axis), tensor(indices)], [quantised(np.zeros_like(x))])


@pytest.mark.parametrize("dtype", WITH_INT32)
def test_embedding_lookup(api: Nnapi, dtype: str) -> None:
    values, lookups = draw(1, dtype, (5, 2, 3)), np.array([4, 0, 0, 2], np.int32)
    check(api, EMBEDDING_LOOKUP, [tensor(lookups), quantised(values)], [quantised(values[lookups])])
    lookups[1] = -1
    refused(api, EMBEDDING_LOOKUP, [tensor(lookups), quantised(values)], [quantised(values[:4])])


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
def test_hashtable_lookup(api: Nnapi, dtype: str) -> None:
    values, keys = draw(1, dtype, (4, 3)), np.array([-5, 0, 7, 90], np.int32)
    lookups = np.array([90, 1, -5, 7, 2**31 - 1], np.int32)
    hits = np.isin(lookups, keys)
    rows = np.where(hits[:, None], values[np.searchsorted(keys, lookups) % 4], 0).astype(dtype)
    operands = [tensor(lookups), tensor(keys), quantised(values)]
    check(api, HASHTABLE_LOOKUP, operands, [quantised(rows), tensor(hits.astype(np.uint8), 1.0)])


def nhwc(x: Array, nchw: bool) -> Array:
    return x.transpose(0, 3, 1, 2) if nchw else x


LAYOUTS = [
    pytest.param([], id="default"),
    pytest.param([scalar(False)], id="nhwc"),
    pytest.param([scalar(True)], id="nchw"),
]


def is_nchw(layout: list[Operand]) -> bool:
    return bool(layout and layout[0].value)


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@pytest.mark.parametrize("layout", LAYOUTS)
@examples
@given(
    n=st.integers(1, 2),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
    c=st.integers(1, 3),
    block=st.integers(1, 3),
    seed=seeds,
)
def test_space_and_depth(
    api: Nnapi, dtype: str, layout: list[Operand], n: int, h: int, w: int, c: int, block: int, seed: int
) -> None:
    space = draw(seed, dtype, (n, h * block, w * block, c))
    blocks = space.reshape(n, h, block, w, block, c).transpose(0, 1, 3, 2, 4, 5)
    depth = blocks.reshape(n, h, w, block * block * c)
    nchw = is_nchw(layout)
    a, b = quantised(nhwc(space, nchw)), quantised(nhwc(depth, nchw))
    check(api, SPACE_TO_DEPTH, [a, scalar(block), *layout], [b])
    check(api, DEPTH_TO_SPACE, [b, scalar(block), *layout], [a])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@pytest.mark.parametrize("layout", LAYOUTS)
@examples
@given(
    n=st.integers(1, 2), h=st.integers(1, 4), w=st.integers(1, 4), c=st.integers(1, 2),
    block=st.tuples(st.integers(1, 3), st.integers(1, 3)), top=st.integers(0, 3), left=st.integers(0, 3), seed=seeds,
)  # fmt: skip
def test_space_and_batch(
    api: Nnapi, dtype: str, layout: list[Operand], n: int, h: int, w: int, c: int, block: tuple[int, int], top: int,
    left: int, seed: int,
) -> None:  # fmt: skip
    x, nchw = draw(seed, dtype, (n, h, w, c)), is_nchw(layout)
    pads = [(top, -(h + top) % block[0]), (left, -(w + left) % block[1])]
    zero = 3 if dtype in ("uint8", "int8") else 0
    padded = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=zero)
    _, ph, pw, _ = padded.shape
    split = padded.reshape(n, ph // block[0], block[0], pw // block[1], block[1], c)
    batch = split.transpose(2, 4, 0, 1, 3, 5).reshape(-1, ph // block[0], pw // block[1], c)
    a, b = quantised(nhwc(x, nchw)), quantised(nhwc(batch, nchw))
    check(api, SPACE_TO_BATCH_ND, [a, ints(block), ints(np.array(pads)), *layout], [b])
    check(api, BATCH_TO_SPACE_ND, [b, ints(block), *layout], [quantised(nhwc(padded, nchw))])


@pytest.mark.parametrize("dtype", FLOATS_AND_BYTES)
@examples
@given(shape=shapes(), groups=st.integers(1, 3), data=st.data(), seed=seeds)
def test_channel_shuffle(api: Nnapi, dtype: str, shape: tuple[int, ...], groups: int, data: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    whole = (*shape[:axis], shape[axis] * groups, *shape[axis + 1 :])
    x = draw(seed, dtype, whole)
    grouped = x.reshape(*shape[:axis], groups, shape[axis], *shape[axis + 1 :])
    shuffled = grouped.swapaxes(axis, axis + 1).reshape(whole)
    negative = axis - len(shape) if data.draw(st.booleans()) else axis
    check(api, CHANNEL_SHUFFLE, [quantised(x), scalar(groups), scalar(negative)], [quantised(shuffled)])


@pytest.mark.parametrize("dtype", WITH_INT32)
@examples
@given(shape=shapes(5), seed=seeds)
def test_select(api: Nnapi, dtype: str, shape: tuple[int, ...], seed: int) -> None:
    condition = np.random.default_rng(seed).random(shape) < 0.5
    a, b = draw(seed, dtype, shape), draw(seed + 1, dtype, shape)
    check(api, SELECT, [tensor(condition), quantised(a), quantised(b)], [quantised(np.where(condition, a, b))])
