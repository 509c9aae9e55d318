"""Operations that move data or make it from shapes: exact in every type."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .build import BYTES, EXACT, FLOATS, NONE, Builder, Unfit, Value, makes

ANY = [*FLOATS, *BYTES, "i32"]
MOVED = [*FLOATS, *BYTES]
SMALL = (1, 2, 3, 4)


def move(b: Builder, name: str, code: int, x: Value, others: list[Value], reference: Any) -> None:
    """A node whose output has the type of x."""
    b.emit(name, code, [x, *others], [(x.kind, x.quantisation)], reference, EXACT, arguments=[x])


@makes("RESHAPE")
def reshape(b: Builder) -> None:
    x = b.pick(ANY, rank=SMALL)
    size = x.real.size
    first = b.choice([d for d in range(1, size + 1) if size % d == 0])
    rest = size // first
    second = b.choice([d for d in range(1, rest + 1) if rest % d == 0])
    dims = b.choice([(size,), (first, rest), (first, second, rest // second), (1, first, second, rest // second)])
    given = list(dims)
    if b.flip(0.3):
        given[b.whole(0, len(dims) - 1)] = -1
    move(b, "RESHAPE", 22, x, [b.ints(given)], lambda p: p.reshape(dims))


@makes("SQUEEZE")
def squeeze(b: Builder) -> None:
    dims = b.dims(1, 3)
    at = b.whole(0, len(dims))
    x = b.tensor((*dims[:at], 1, *dims[at:]), b.choice(MOVED))
    if b.flip(0.3):
        left = tuple(d for d in x.dims if d != 1) or (1,)
        move(b, "SQUEEZE", 34, x, [b.omitted("i32")], lambda p: p.reshape(left))
    else:
        move(b, "SQUEEZE", 34, x, [b.ints([at - len(x.dims) if b.flip(0.3) else at])], lambda p: p.squeeze(at))


@makes("EXPAND_DIMS")
def expand_dims(b: Builder) -> None:
    x = b.pick(ANY, rank=SMALL)
    given, axis = b.axis(len(x.dims) + 1)
    move(b, "EXPAND_DIMS", 50, x, [b.scalar(given)], lambda p: np.expand_dims(p, axis))


@makes("TRANSPOSE")
def transpose(b: Builder) -> None:
    x = b.pick(MOVED, rank=SMALL)
    if b.flip(0.2):
        move(b, "TRANSPOSE", 37, x, [b.omitted("i32")], np.transpose)
        return
    permutation = b.rng.permutation(len(x.dims)).tolist()
    move(b, "TRANSPOSE", 37, x, [b.ints(permutation)], lambda p: p.transpose(permutation))


@makes("REVERSE")
def reverse(b: Builder) -> None:
    x = b.pick(ANY)
    axis = b.whole(0, len(x.dims) - 1)
    move(b, "REVERSE", 105, x, [b.ints([axis])], lambda p: np.flip(p, axis))


@makes("SLICE")
def slice_(b: Builder) -> None:
    x = b.pick(ANY)
    begin = [b.whole(0, d - 1) for d in x.dims]
    size = [b.whole(1, d - start) for d, start in zip(x.dims, begin)]
    part = tuple(slice(start, start + n) for start, n in zip(begin, size))
    given = [-1 if start + n == d and b.flip(0.4) else n for start, n, d in zip(begin, size, x.dims)]
    move(b, "SLICE", 86, x, [b.ints(begin), b.ints(given)], lambda p: p[part])


@makes("STRIDED_SLICE")
def strided_slice(b: Builder) -> None:
    x = b.pick(MOVED, rank=SMALL)
    begin: list[int] = []
    end: list[int] = []
    strides: list[int] = []
    index: list[int | slice] = []
    begin_mask = end_mask = shrink = 0
    for axis, size in enumerate(x.dims):
        start, stop = sorted((b.whole(0, size - 1), b.whole(1, size)))
        stop = max(stop, start + 1)
        stride = b.whole(1, 2)
        if b.flip(0.2):
            shrink |= 1 << axis
            begin, end, strides = [*begin, start], [*end, start + 1], [*strides, 1]
            index.append(start)
            continue
        if b.flip(0.2):
            begin_mask |= 1 << axis
            start = 0
        if b.flip(0.2):
            end_mask |= 1 << axis
            stop = size
        begin, end, strides = [*begin, start], [*end, stop], [*strides, stride]
        index.append(slice(start, stop, stride))
    if shrink == (1 << len(x.dims)) - 1:
        raise Unfit
    where = tuple(index)
    masks = [b.scalar(mask) for mask in (begin_mask, end_mask, shrink)]
    move(b, "STRIDED_SLICE", 35, x, [b.ints(begin), b.ints(end), b.ints(strides), *masks], lambda p: p[where])


@makes("SPLIT")
def split(b: Builder) -> None:
    count = b.whole(1, 3)
    dims = list(b.dims())
    given, axis = b.axis(len(dims))
    dims[axis] = count * b.whole(1, 2)
    x = b.pick(ANY, dims=tuple(dims))
    b.emit("SPLIT", 87, [x, b.scalar(given), b.scalar(count)], [(x.kind, x.quantisation)] * count,
           lambda p: tuple(np.split(p, count, axis)), EXACT, arguments=[x])  # fmt: skip


@makes("CONCATENATION")
def concatenation(b: Builder) -> None:
    x = b.pick(MOVED, rank=SMALL)
    axis = b.whole(0, len(x.dims) - 1)
    parts = [x]
    for _ in range(b.whole(0, 2)):
        dims = tuple(b.whole(1, 3) if d == axis else size for d, size in enumerate(x.dims))
        parts.append(b.pick([x.kind], dims=dims, quantisation=x.quantisation))
    b.emit("CONCATENATION", 2, [*parts, b.scalar(axis)], [(x.kind, x.quantisation)],
           lambda *p: np.concatenate(p, axis), EXACT, arguments=parts)  # fmt: skip


@makes("PACK")
def pack(b: Builder) -> None:
    x = b.pick(ANY, rank=SMALL)
    parts = [x, *(b.pick([x.kind], dims=x.dims, quantisation=x.quantisation) for _ in range(b.whole(0, 2)))]
    axis = b.whole(0, len(x.dims))
    b.emit("PACK", 103, [b.scalar(axis), *parts], [(x.kind, x.quantisation)], lambda *p: np.stack(p, axis), EXACT,
           arguments=parts)  # fmt: skip


def paddings(b: Builder, x: Value, most: int | None = None) -> list[tuple[int, int]]:
    return [tuple(b.whole(0, 2 if most is None else max(0, min(2, d - most))) for _ in range(2)) for d in x.dims]  # type: ignore[misc]


@makes("PAD")
def pad(b: Builder) -> None:
    x = b.pick(MOVED, rank=SMALL)
    around = paddings(b, x)
    move(b, "PAD", 32, x, [b.ints(around)], lambda p: np.pad(p, around))


@makes("PAD_V2")
def pad_v2(b: Builder) -> None:
    x = b.pick(MOVED, rank=SMALL)
    around = paddings(b, x)
    if x.kind in BYTES:
        stored = b.whole(0, 100)
        number, operand = (stored - x.type.zero_point) * float(np.float32(x.type.scale)), b.scalar(stored)
    else:
        number = 0.5 * b.whole(-4, 4)
        operand = b.real_scalar(number, x.kind)
    move(b, "PAD_V2", 69, x, [b.ints(around), operand], lambda p: np.pad(p, around, constant_values=number))


@makes("MIRROR_PAD")
def mirror_pad(b: Builder) -> None:
    x = b.pick(ANY, rank=SMALL)
    symmetric = b.flip()
    around = paddings(b, x, 0 if symmetric else 1)
    mode: Literal["symmetric", "reflect"] = "symmetric" if symmetric else "reflect"
    move(b, "MIRROR_PAD", 104, x, [b.ints(around), b.scalar(int(symmetric))], lambda p: np.pad(p, around, mode=mode))


@makes("TILE")
def tile(b: Builder) -> None:
    x = b.pick(ANY)
    times = [b.whole(1, 2) for _ in x.dims]
    move(b, "TILE", 89, x, [b.ints(times)], lambda p: np.tile(p, times))


@makes("GATHER")
def gather(b: Builder) -> None:
    x = b.pick(ANY, rank=SMALL)
    given, axis = b.axis(len(x.dims))
    indices = b.rng.integers(0, x.dims[axis], b.dims(1, 2, 4))
    move(b, "GATHER", 51, x, [b.scalar(given), b.ints(indices)], lambda p: np.take(p, indices, axis))


@makes("EMBEDDING_LOOKUP")
def embedding_lookup(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES, "i32"], rank=(2, 3, 4))
    rows = b.rng.integers(0, x.dims[0], b.whole(1, 5))
    b.emit(
        "EMBEDDING_LOOKUP", 7, [b.ints(rows), x], [(x.kind, x.quantisation)], lambda p: p[rows], EXACT, arguments=[x]
    )


@makes("HASHTABLE_LOOKUP")
def hashtable_lookup(b: Builder) -> None:
    x = b.pick(["f32", "i32", "u8"], rank=(2, 3, 4), where=lambda v: v.kind != "u8")
    if x.kind == "u8" and x.type.zero_point != 0:
        raise Unfit  # what a missing row is then, zero or stored zero, is not said
    keys = np.cumsum(b.rng.integers(1, 4, x.dims[0]))
    wanted = b.rng.integers(0, keys[-1] + 2, b.whole(1, 5))

    def reference(p: Any) -> Any:
        hits = np.isin(wanted, keys)
        rows = p[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)]
        return np.where(hits.reshape(-1, *[1] * (p.ndim - 1)), rows, 0), hits.astype(np.float64)

    b.emit("HASHTABLE_LOOKUP", 10, [b.ints(wanted), b.ints(keys), x], [(x.kind, x.quantisation), ("u8", (1.0, 0))],
           reference, EXACT, arguments=[x])  # fmt: skip


@makes("FILL")
def fill(b: Builder) -> None:
    kind = b.choice(["f32", "f16", "i32"])
    dims, number = b.dims(), b.whole(-4, 4)
    b.emit("FILL", 100, [b.ints(dims), b.scalar(number, kind)], [(kind, NONE)],
           lambda: np.full(dims, number, np.int64 if kind == "i32" else np.float64), EXACT, arguments=[])  # fmt: skip


@makes("RANK")
def rank(b: Builder) -> None:
    x = b.pick([*ANY, "b8"])
    b.emit("RANK", 101, [x], [("i32", NONE)], lambda p: np.asarray(p.ndim), EXACT, scalar=True)


# --- images -------------------------------------------------------------------------------------------------------------


def layout(b: Builder, optional: bool = True) -> tuple[bool, list[Value]]:
    """(NCHW?, the operand that says so, or none)"""
    if optional and b.flip(0.3):
        return False, []
    nchw = b.flip()
    return nchw, [b.truth(nchw)]


def as_nhwc(p: Any, nchw: bool) -> Any:
    return p.transpose(0, 2, 3, 1) if nchw else p


def from_nhwc(p: Any, nchw: bool) -> Any:
    return p.transpose(0, 3, 1, 2) if nchw else p


def image(b: Builder, nchw: bool, height: int, width: int, channels: int, kinds: list[str] | None = None) -> Value:
    """An image of a size, in a layout."""
    batch = b.whole(1, 2)
    dims = (batch, channels, height, width) if nchw else (batch, height, width, channels)
    return b.pick(kinds or MOVED, dims=dims)


@makes("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
def space_and_depth(b: Builder, name: str) -> None:
    nchw, flag = layout(b)
    block = b.whole(1, 3)
    to_depth = name == "SPACE_TO_DEPTH"
    factor, channels = (block, 1) if to_depth else (1, block * block)
    x = image(b, nchw, factor * b.whole(1, 3), factor * b.whole(1, 3), channels * b.whole(1, 2))

    def reference(p: Any) -> Any:
        n, h, w, c = as_nhwc(p, nchw).shape
        q = as_nhwc(p, nchw)
        if to_depth:
            q = q.reshape(n, h // block, block, w // block, block, c).transpose(0, 1, 3, 2, 4, 5)
            q = q.reshape(n, h // block, w // block, block * block * c)
        else:
            q = q.reshape(n, h, w, block, block, c // block**2).transpose(0, 1, 3, 2, 4, 5)
            q = q.reshape(n, h * block, w * block, c // block**2)
        return from_nhwc(q, nchw)

    move(b, name, 26 if to_depth else 5, x, [b.scalar(block), *flag], reference)


@makes("SPACE_TO_BATCH_ND")
def space_to_batch(b: Builder) -> None:
    nchw, flag = layout(b)
    block = [b.whole(1, 2), b.whole(1, 2)]
    size = [b.whole(1, 5), b.whole(1, 5)]
    before = [b.whole(0, 2), b.whole(0, 2)]
    after = [-(s + p) % k + k * b.whole(0, 1) for s, p, k in zip(size, before, block)]
    x = image(b, nchw, size[0], size[1], b.whole(1, 3))

    def reference(p: Any) -> Any:
        q = np.pad(as_nhwc(p, nchw), [(0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)])
        n, h, w, c = q.shape
        q = q.reshape(n, h // block[0], block[0], w // block[1], block[1], c).transpose(2, 4, 0, 1, 3, 5)
        return from_nhwc(q.reshape(-1, h // block[0], w // block[1], c), nchw)

    around = b.ints([[before[0], after[0]], [before[1], after[1]]])
    move(b, "SPACE_TO_BATCH_ND", 33, x, [b.ints(block), around, *flag], reference)


@makes("BATCH_TO_SPACE_ND")
def batch_to_space(b: Builder) -> None:
    nchw, flag = layout(b)
    block = [b.whole(1, 2), b.whole(1, 2)]
    batch, height, width, channels = block[0] * block[1] * b.whole(1, 2), b.whole(1, 3), b.whole(1, 3), b.whole(1, 3)
    dims = (batch, channels, height, width) if nchw else (batch, height, width, channels)
    x = b.pick(MOVED, dims=dims)

    def reference(p: Any) -> Any:
        n = batch // (block[0] * block[1])
        q = as_nhwc(p, nchw).reshape(*block, n, height, width, channels).transpose(2, 3, 0, 4, 1, 5)
        return from_nhwc(q.reshape(n, height * block[0], width * block[1], channels), nchw)

    move(b, "BATCH_TO_SPACE_ND", 29, x, [b.ints(block), *flag], reference)


@makes("CHANNEL_SHUFFLE")
def channel_shuffle(b: Builder) -> None:
    groups = b.whole(1, 3)
    dims = list(b.dims())
    given, axis = b.axis(len(dims))
    dims[axis] = groups * b.whole(1, 3)
    x = b.pick(MOVED, dims=tuple(dims))

    def reference(p: Any) -> Any:
        q = np.moveaxis(p, axis, -1)
        shuffled = q.reshape(*q.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(q.shape)
        return np.moveaxis(shuffled, -1, axis)

    move(b, "CHANNEL_SHUFFLE", 46, x, [b.scalar(groups), b.scalar(given)], reference)
