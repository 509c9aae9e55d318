"""Kernels that work element by element run over blocks of their operands: temporaries are small, and stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.errors import ModelError
from numpy.typing import NDArray

#: Elements of one block. Temporaries of 8 bytes each then take half a MiB.
BLOCK = 1 << 16

Array = NDArray[Any]
Function = Callable[[Any, Sequence[Array | None], Any], Sequence[Array]]


def blocks(shape: Sequence[int], limit: int) -> Iterator[tuple[slice, ...]]:
    """Cuts all positions of a shape, in order, into blocks of at most `limit` of them (at least one)."""
    inner = math.prod(shape[1:])
    if inner > limit and len(shape) > 1:
        for place in range(shape[0]):
            for rest in blocks(shape[1:], limit):
                yield (slice(place, place + 1), *rest)
        return
    step = max(1, limit // max(1, inner))
    for start in range(0, shape[0], step):
        yield (slice(start, min(start + step, shape[0])), *(slice(0, size) for size in shape[1:]))


def _part(array: Array, where: tuple[slice, ...]) -> Array:
    """What belongs to a block of the shape that the array broadcasts to."""
    own = where[len(where) - array.ndim :]
    return array[tuple(slice(None) if size == 1 else part for size, part in zip(array.shape, own))]


def in_blocks(function: Function) -> Function:
    """A kernel as `function`, but called for one block of the broadcast operands after the other.

    `function` gives one output, each element of which depends on the elements of the operands at its place alone.
    """

    @wraps(function)
    def run(node: Any, inputs: Sequence[Array | None], runtime: Any) -> Sequence[Array]:
        try:
            shape = np.broadcast_shapes(*(a.shape for a in inputs if a is not None))
        except ValueError:  # the kernel has words for it
            return function(node, inputs, runtime)
        if math.prod(shape) <= BLOCK:
            return function(node, inputs, runtime)
        parts = [a for a in inputs if a is not None]
        places = [place for place, a in enumerate(inputs) if a is not None]

        def call(*given: Array) -> Array:
            taken: list[Array | None] = [None] * len(inputs)
            for place, part in zip(places, given):
                taken[place] = part
            return function(node, taken, runtime)[0]

        try:
            return [by_blocks(call, *parts)]
        except ModelError:  # its words are about a block
            return function(node, inputs, runtime)

    return run


def by_blocks(function: Callable[..., Array], *operands: Array) -> Array:
    """`function(*operands)`, which works element by element, called for one block of them after the other."""
    shape = np.broadcast_shapes(*(a.shape for a in operands))
    if math.prod(shape) <= BLOCK:
        return function(*operands)
    result: Array | None = None
    for where in blocks(shape, BLOCK):
        part = function(*(_part(a, where) for a in operands))
        if result is None:
            result = np.empty(shape, part.dtype)
        result[where] = part
    assert result is not None
    return result


def by_rows(function: Callable[[Array], Array], rows: Array) -> Array:
    """`function(rows)`, which works row by row on [M, K], called for one block of rows after the other."""
    step = max(1, BLOCK // max(1, rows.shape[1]))
    if len(rows) <= step:
        return function(rows)
    result: Array | None = None
    for start in range(0, len(rows), step):
        part = function(rows[start : start + step])
        if result is None:
            result = np.empty((len(rows), *part.shape[1:]), part.dtype)
        result[start : start + step] = part
    assert result is not None
    return result
