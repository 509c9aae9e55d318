"""LSH_PROJECTION. Semantics: LiteRT's reference kernel; FarmHash's 64-bit fingerprint (public algorithm of G. Pike)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, optional, require_type
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_K0, _K1, _K2 = np.uint64(0xC3A5C85C97CB3127), np.uint64(0xB492B66FBE98F273), np.uint64(0x9AE16A3B2F90404F)


def _u(number: int) -> np.uint64:
    return np.uint64(number & (2**64 - 1))


def _turn(value: Words, bits: int) -> Words:
    return (value >> _u(bits)) | (value << _u(64 - bits))


def _shift_mix(value: Words) -> Words:
    return value ^ (value >> _u(47))


def _mix(first: Words, second: Words, factor: np.uint64 | Words) -> Words:
    """Two words to one."""
    inner = _shift_mix((first ^ second) * factor)
    return _shift_mix((second ^ inner) * factor) * factor


class _Bytes:
    """Rows of bytes, read as little-endian words."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self.rows = rows
        self.size = rows.shape[1]

    def word(self, at: int, size: int = 8) -> Words:
        """`size` bytes from `at` (negative: from the end) of every row."""
        at = at + self.size if at < 0 else at
        part = np.ascontiguousarray(self.rows[:, at : at + size])
        return part.view(f"<u{size}").reshape(-1).astype(np.uint64)


def fingerprint(rows: NDArray[np.uint8]) -> Words:
    """The fingerprint of each row of bytes [n, length]."""
    data = _Bytes(rows)
    if data.size <= 16:
        return _up_to_16(data)
    factor = _K2 + _u(2 * data.size)
    if data.size <= 32:
        first, second = data.word(0) * _K1, data.word(8)
        third, fourth = data.word(-8) * factor, data.word(-16) * _K2
        left = _turn(first + second, 43) + _turn(third, 30) + fourth
        return _mix(left, first + _turn(second + _K2, 18) + third, factor)
    if data.size <= 64:
        first, second = data.word(0) * _K2, data.word(8)
        third, fourth = data.word(-8) * factor, data.word(-16) * _K2
        left = _turn(first + second, 43) + _turn(third, 30) + fourth
        right = _mix(left, first + _turn(second + _K2, 18) + third, factor)
        fifth, sixth = data.word(16) * factor, data.word(24)
        seventh = (left + data.word(-32)) * factor
        eighth = (right + data.word(-24)) * factor
        low = _turn(fifth + sixth, 43) + _turn(seventh, 30) + eighth
        return _mix(low, fifth + _turn(sixth + first, 18) + seventh, factor)
    return _longer(data)


def _up_to_16(data: _Bytes) -> Words:
    size = data.size
    factor = _K2 + _u(2 * size)
    if size >= 8:
        first, second = data.word(0) + _K2, data.word(-8)
        left = _turn(second, 37) * factor + first
        return _mix(left, (_turn(first, 25) + second) * factor, factor)
    if size >= 4:
        return _mix(_u(size) + (data.word(0, 4) << _u(3)), data.word(-4, 4), factor)
    if size == 0:
        return np.full(data.rows.shape[0], _K2)
    left = data.word(0, 1) + (data.word(size >> 1, 1) << _u(8))
    right = _u(size) + (data.word(-1, 1) << _u(2))
    return _shift_mix(left * _K2 ^ right * _K0) * _K2


def _weak(data: _Bytes, at: int, first: Words, second: Words) -> tuple[Words, Words]:
    words = [data.word(at + 8 * i) for i in range(4)]
    first = first + words[0]
    second = _turn(second + first + words[3], 21)
    total = first + words[1] + words[2]
    return total + words[3], second + _turn(total, 44) + first


def _longer(data: _Bytes) -> Words:
    """Rows of more than 64 bytes: blocks of 64 through a state of seven words, the last block from the end."""
    one = np.ones(data.rows.shape[0], np.uint64)
    x, y = _u(81) * one, _K1 * (_u(81) * one) + _u(113)
    z = _shift_mix(y * _K2 + _u(113)) * _K2
    v, w = (one * _u(0), one * _u(0)), (one * _u(0), one * _u(0))
    x = x * _K2 + data.word(0)
    last = (data.size - 1) // 64 * 64
    for at in (*range(0, last, 64), data.size - 64):
        final = at == data.size - 64 and at + 64 > last
        factor = _K1 + ((z & _u(0xFF)) << _u(1)) if final else _K1
        scale = _u(9) if final else _u(1)
        if final:
            w = (w[0] + _u((data.size - 1) & 63), w[1])
            v = (v[0] + w[0], v[1])
            w = (w[0] + v[0], w[1])
        x = _turn(x + y + v[0] + data.word(at + 8), 37) * factor
        y = _turn(y + v[1] + data.word(at + 48), 42) * factor
        x = x ^ w[1] * scale
        y = y + v[0] * scale + data.word(at + 40)
        z = _turn(z + w[0], 33) * factor
        v = _weak(data, at, v[1] * factor, x + w[0])
        w = _weak(data, at + 32, z + w[1], y + data.word(at + 16))
        z, x = x, z
    left = _mix(v[0], w[0], factor) + _shift_mix(y) * _K0 + z
    return _mix(left, _mix(v[1], w[1], factor) + x, factor)


UNKNOWN, SPARSE, DENSE = range(3)


@kernel("LSH_PROJECTION")
def lsh_projection(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Signs of weighted sums of fingerprints of (seed, row): one bit per seed of the hash [functions, bits].

    Inputs: hash seeds float32 [functions, up to 32 bits], input of any type (each row of its first axis is one item),
    weights float32 [rows] or none. SPARSE packs the bits of a function and adds its index times 2^bits.
    """
    seeds, values = operand(node, inputs, 0, "hash"), operand(node, inputs, 1, "input")
    weights, kind = optional(inputs, 2), int(node.operator.options.type)
    require_type(node, seeds, "type of input 0 (hash)", np.float32)
    if seeds.ndim != 2 or seeds.shape[1] > 32:
        fail(node, "shape of input 0 (hash)", list(seeds.shape), "[functions, up to 32 bits]")
    if values.ndim < 1 or values.shape[0] < 1:
        fail(node, "shape of input 1", list(values.shape), "of one or more rows")
    if weights is not None and weights.shape != values.shape[:1]:
        fail(node, "shape of input 2 (weight)", list(weights.shape), f"[{values.shape[0]}]")
    if kind not in (SPARSE, DENSE):
        fail(node, "type", kind, "SPARSE or DENSE")
    items = np.ascontiguousarray(values).view(np.uint8).reshape(values.shape[0], -1)
    bits = np.empty(seeds.size, np.int32)
    for place, seed in enumerate(seeds.reshape(-1)):
        prefix = np.broadcast_to(np.asarray([seed]).view(np.uint8), (items.shape[0], 4))
        marks = fingerprint(np.concatenate([prefix, items], axis=1)).view(np.int64).astype(np.float64)
        if weights is not None:
            marks = weights.astype(np.float64) * marks
        bits[place] = np.cumsum(marks)[-1] > 0
    if kind == DENSE:
        return [bits]
    count = seeds.shape[1]
    packed = bits.reshape(seeds.shape).astype(np.int64) @ (1 << np.arange(count - 1, -1, -1, dtype=np.int64))
    return [(packed + (np.arange(seeds.shape[0]) << count)).astype(np.int32)]
