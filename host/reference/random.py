"""RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL, MULTINOMIAL, STABLEHLO_RNG_BIT_GENERATOR.

Semantics: LiteRT's reference kernels; the generators are Philox4x32-10 and Threefry2x32-20 of Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3" (SC 2011). A node goes on where its last inference ended; seeds of 0 and 0 stand for
a start drawn by chance.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, check_shape, fail, kernel, operand, require_type
from numpy.typing import NDArray

Words = NDArray[np.uint32]
_LOW = (1 << 64) - 1


def philox(key: tuple[int, int], counters: Words) -> Words:
    """Ten rounds of Philox4x32 on counters [n, 4]; returns four random words for each."""
    first, second, third, fourth = (counters[:, i].astype(np.uint32) for i in range(4))
    key_0, key_1 = key
    for _ in range(10):
        left = first.astype(np.uint64) * np.uint64(0xD2511F53)
        right = third.astype(np.uint64) * np.uint64(0xCD9E8D57)
        first = (right >> np.uint64(32)).astype(np.uint32) ^ second ^ np.uint32(key_0)
        third = (left >> np.uint64(32)).astype(np.uint32) ^ fourth ^ np.uint32(key_1)
        second, fourth = right.astype(np.uint32), left.astype(np.uint32)
        key_0, key_1 = (key_0 + 0x9E3779B9) & 0xFFFFFFFF, (key_1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([first, second, third, fourth], -1)


def threefry(key: tuple[int, int], counters: Words) -> Words:
    """Twenty rounds of Threefry2x32 on counters [n, 2]; returns two random words for each."""
    keys = [np.uint32(word) for word in (*key, key[0] ^ key[1] ^ 0x1BD11BDA)]
    first, second = counters[:, 0] + keys[0], counters[:, 1] + keys[1]
    for group in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            first = first + second
            second = ((second << np.uint32(turn)) | (second >> np.uint32(32 - turn))) ^ first
        first = first + keys[(group + 1) % 3]
        second = second + keys[(group + 2) % 3] + np.uint32(group + 1)
    return np.stack([first, second], -1)


def _split(number: int, words: int) -> list[int]:
    return [(number >> (32 * i)) & 0xFFFFFFFF for i in range(words)]


def _int32(seed: int) -> int:
    """A 64-bit seed of the file as the run time reads it: its lower half, with that half's sign."""
    return (seed + 2**31) % 2**32 - 2**31


@dataclass
class _Generator:
    """The state of one node: a key and a 128-bit counter."""

    key: tuple[int, int]
    counter: int

    @staticmethod
    def of(node: Node, runtime: Runtime) -> _Generator:
        """The generator that a node has used so far, or a new one from its seeds."""
        where = ("random", node.subgraph.index, node.operator.index)
        if where not in runtime.resources:
            options = node.operator.options
            seed, seed2 = _int32(int(options.seed)), _int32(int(options.seed2))
            if seed == 0 and seed2 == 0:
                seed, seed2 = secrets.randbits(64), secrets.randbits(64)
            key = _split(seed & _LOW, 2)
            runtime.resources[where] = _Generator((key[0], key[1]), (seed2 & _LOW) << 64)
        found: _Generator = runtime.resources[where]
        return found

    def words(self, count: int) -> Words:
        """The next `count` words (of whole blocks of four), without moving on."""
        blocks = -(-count // 4)
        low = np.uint64(self.counter & _LOW) + np.arange(blocks, dtype=np.uint64)
        high = np.uint64(self.counter >> 64 & _LOW) + (low < np.uint64(self.counter & _LOW)).astype(np.uint64)
        parts = [low, low >> np.uint64(32), high, high >> np.uint64(32)]
        counters = np.stack([part.astype(np.uint32) for part in parts], -1)
        return philox(self.key, counters).reshape(-1)[:count]

    def skip(self, blocks: int) -> None:
        """Moves on by a number of blocks of four words."""
        self.counter = (self.counter + blocks) & ((1 << 128) - 1)


def _unit_floats(words: Words) -> NDArray[np.float32]:
    """Floats in [0, 1) of the lower 23 bits of each word."""
    return ((words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def _random_shape(node: Node, inputs: Sequence[Array | None]) -> tuple[int, ...]:
    shape = operand(node, inputs, 0, "shape")
    require_type(node, shape, "type of input 0 (shape)", np.int32)
    if node.output(0).dtype != np.float32:
        fail(node, "type of the output", node.output(0).dtype, "float32")
    return check_shape(node, [int(size) for size in shape.reshape(-1)], "input 0 (shape)")


@kernel("RANDOM_UNIFORM")
def random_uniform(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Uniform floats in [0, 1) of the shape in input 0."""
    shape = _random_shape(node, inputs)
    generator, count = _Generator.of(node, runtime), math.prod(shape)
    words = generator.words(count)
    generator.skip(-(-count // 4))
    return [_unit_floats(words).reshape(shape)]


@kernel("RANDOM_STANDARD_NORMAL")
def random_standard_normal(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Floats of the standard normal distribution by the Box-Muller transform, of the shape in input 0.

    float32; shape int32.
    """
    shape = _random_shape(node, inputs)
    generator, count = _Generator.of(node, runtime), math.prod(shape)
    pairs = generator.words(count + count % 2).reshape(-1, 2)
    generator.skip(-(-count // 4))
    near = np.maximum(_unit_floats(pairs[:, 0]), np.float32(1e-7))
    angle = (2 * math.pi * _unit_floats(pairs[:, 1]).astype(np.float64)).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * np.log(near))
    normal = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], -1)
    return [normal.reshape(-1)[:count].reshape(shape)]


@kernel("MULTINOMIAL")
def multinomial(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Draws `num_samples` (input 1) classes for each row of logits (input 0); int32 or int64 as the output says."""
    logits, samples = operand(node, inputs, 0, "logits"), operand(node, inputs, 1, "num_samples")
    require_type(node, logits, "type of input 0 (logits)", np.float32)
    if logits.ndim != 2 or logits.shape[1] < 1:
        fail(node, "shape of input 0 (logits)", list(logits.shape), "[batch, classes]")
    count = int(samples.reshape(-1)[0])
    shape = check_shape(node, (logits.shape[0], count), "rows and input 1 (num_samples)")
    dtype = node.output(0).dtype
    if dtype not in (np.int32, np.int64):
        fail(node, "type of the output", dtype, "int32 or int64")
    generator = _Generator.of(node, runtime)
    words = generator.words(2 * math.prod(shape)).reshape(*shape, 2).astype(np.uint64)
    generator.skip(logits.shape[0] * (-(-count // 4) * 4) * 2 * 256)
    bits = ((words[..., 0] & np.uint64(0xFFFFF)) << np.uint64(32)) | words[..., 1]
    unit = (bits | np.uint64(1023 << 52)).view(np.float64) - 1
    result = np.empty(shape, dtype)
    for row, drawn, target in zip(logits, unit, result):
        finite = np.isfinite(row)
        highest = row[finite].max() if finite.any() else np.finfo(np.float32).min
        odds = np.zeros(row.shape, np.float64)
        odds[finite] = np.exp(row[finite].astype(np.float64) - np.float64(highest))
        sums = np.cumsum(odds)
        target[:] = np.searchsorted(sums, drawn * sums[-1], side="right")
    return [result]


DEFAULT, PHILOX, THREEFRY = range(3)


@kernel("STABLEHLO_RNG_BIT_GENERATOR")
def rng_bit_generator(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Random bits of the output's shape and the state that follows; the state in input 0 is uint64 [2] or [3]."""
    state, algorithm = operand(node, inputs, 0, "initial_state"), int(node.operator.options.algorithm)
    require_type(node, state, "type of input 0 (initial_state)", np.uint64)
    if algorithm not in (DEFAULT, PHILOX, THREEFRY):
        fail(node, "algorithm", algorithm, "DEFAULT, PHILOX or THREEFRY")
    sizes = (2,) if algorithm == THREEFRY else (2, 3)
    if state.ndim != 1 or state.size not in sizes:
        fail(node, "shape of input 0 (initial_state)", list(state.shape), f"[{'] or ['.join(map(str, sizes))}]")
    tensor = node.output(1)
    if tensor.dtype not in (np.int32, np.uint32, np.int64, np.uint64):
        fail(node, "type of output 1", tensor.dtype, "int32, uint32, int64 or uint64")
    shape = check_shape(node, tensor.shape)
    words = np.ascontiguousarray(state).view(np.uint32)
    key = (int(words[0]), int(words[1]))
    wide, count = 2 if algorithm == THREEFRY else 4, math.prod(shape) * tensor.dtype.itemsize // 4
    blocks = -(-count // wide)
    numbers = state[1] + np.arange(blocks, dtype=np.uint64)
    counters = np.empty((blocks, wide), np.uint32)
    counters[:, 0], counters[:, 1] = numbers.astype(np.uint32), (numbers >> np.uint64(32)).astype(np.uint32)
    if wide == 4:
        counters[:, 2:] = words[4:6] if state.size == 3 else words[:2]
    bits = (threefry if algorithm == THREEFRY else philox)(key, counters).reshape(-1)[:count]
    after = state.copy()
    after[1] = (int(state[1]) + blocks) & _LOW
    return [after, bits.view(tensor.dtype).reshape(shape)]
