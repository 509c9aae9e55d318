"""What a compilation keeps in memory: packed weights once, and no page of the file that they came from.

Resident memory is no timing: it is asserted. What each test allows beside the weights is room for the heap and for pages that
the kernel maps along with others.
"""

from __future__ import annotations

import ctypes as C
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .client import INT32, TENSOR_FLOAT32, Array, Compilation, Execution, Memory, Model, Nnapi, OperandType
from .world import ADD, World, worlds

FULLY_CONNECTED = 9
MIB = 1 << 20
UNITS = 2048
WEIGHT_BYTES = UNITS * UNITS * 4
SLACK = 2 * MIB


def resident(kind: str = "VmRSS") -> int:
    """Bytes of this process: all (VmRSS), their peak (VmHWM), or anonymous ones (RssAnon)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def resident_of(fd: int) -> int:
    """Bytes of all mappings of a file that are resident in this process."""
    wanted, total, inside = str(os.fstat(fd).st_ino), 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if re.match(r"[0-9a-f]+-[0-9a-f]+$", words[0]):
            inside = words[4] == wanted and "nnapi-test" in line
        elif inside and words[0] == "Rss:":
            total += int(words[1]) * 1024
    return total


def weights() -> Array:
    return np.random.default_rng(1).integers(-8, 8, (UNITS, UNITS)).astype(np.float32)


def fully_connected(world: World, memory: Memory) -> Model:
    """The weights of a memory times the input, plus 1."""
    model = world.own(Model(world.api))
    x = model.operand(OperandType(TENSOR_FLOAT32, (1, UNITS)))
    w = model.operand(OperandType(TENSOR_FLOAT32, (UNITS, UNITS)))
    world.api.check("Model_setOperandValueFromMemory", model.handle, w, memory.handle, 0, WEIGHT_BYTES)
    bias = model.constant(OperandType(TENSOR_FLOAT32, (UNITS,)), np.ones(UNITS, np.float32))
    none, result = model.constant(OperandType(INT32), 0), model.operand(OperandType(TENSOR_FLOAT32, (1, UNITS)))
    model.operation(FULLY_CONNECTED, [x, w, bias, none], [result])
    model.identify([x], [result])
    model.finish()
    return model


def compute(compilation: Compilation, x: Array) -> Array:
    with Execution(compilation) as execution:
        execution.input(0, x)
        result = np.zeros((1, UNITS), np.float32)
        execution.output(0, result)
        execution.compute()
        return result


@pytest.fixture
def world(api: Nnapi) -> Iterator[World]:
    yield from worlds(api)


@pytest.fixture
def memory(world: World) -> Memory:
    """The weights in a file that nobody has mapped yet."""
    return world.own(Memory(world.api, weights().tobytes(), protect=1))


X = np.random.default_rng(2).integers(-8, 8, (1, UNITS)).astype(np.float32)


def test_compilations_of_a_model_share_packed_weights(world: World, memory: Memory) -> None:
    expected = X @ weights().T + 1
    model = fully_connected(world, memory)
    before = resident("RssAnon")
    first = Compilation(model)
    one = resident("RssAnon") - before
    second = Compilation(model)
    two = resident("RssAnon") - before
    assert WEIGHT_BYTES - SLACK < one < WEIGHT_BYTES + SLACK
    assert two < WEIGHT_BYTES + SLACK
    np.testing.assert_array_equal(compute(first, X), expected)
    np.testing.assert_array_equal(compute(second, X), expected)
    first.close()
    np.testing.assert_array_equal(compute(second, X), expected)
    second.close()
    assert resident("RssAnon") - before < SLACK, "the last compilation takes the packed weights with it"
    with Compilation(model) as third:
        np.testing.assert_array_equal(compute(third, X), expected)


def test_another_model_packs_for_itself(world: World, memory: Memory) -> None:
    """A model is what was built, not what it was built from: memory may hold something else by then."""
    first = world.own(Compilation(fully_connected(world, memory)))
    compute(first, X)
    os.pwrite(memory.fd, (weights() * 2).tobytes(), 0)
    second = world.own(Compilation(fully_connected(world, memory)))
    np.testing.assert_array_equal(compute(second, X), X @ weights().T * 2 + 1)


def test_pages_of_packed_constants_do_not_stay(world: World, memory: Memory) -> None:
    """Neither before the compilation nor after it does the file's part of the process matter; only while it is packed."""
    compilation = world.own(Compilation(fully_connected(world, memory)))
    assert resident_of(memory.fd) < MIB
    compute(compilation, X)
    assert resident_of(memory.fd) < MIB


def test_packing_takes_little_more_than_the_weights(world: World, memory: Memory) -> None:
    """The peak, too: what is packed leaves while the rest is still being packed."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = resident()
    world.own(Compilation(fully_connected(world, memory)))
    assert resident("VmHWM") - before < WEIGHT_BYTES + 2 * SLACK


def test_memory_that_is_let_go_keeps_what_was_written(world: World) -> None:
    """The mapping is shared: whoever wrote to it finds it, and so does the next model."""
    memory = world.own(Memory(world.api, bytes(WEIGHT_BYTES)))
    os.pwrite(memory.fd, weights().tobytes(), 0)
    model = fully_connected(world, memory)
    compilation = world.own(Compilation(model))
    np.testing.assert_array_equal(compute(compilation, X), X @ weights().T + 1)
    assert memory.read() == weights().tobytes()


def test_constants_beside_packed_ones(world: World) -> None:
    """An operation that reads its constant where it lies, on the same pages as another's that was packed."""
    memory = world.own(Memory(world.api, weights().tobytes() + np.arange(UNITS, dtype=np.float32).tobytes(), protect=1))
    model = world.own(Model(world.api))
    shape = OperandType(TENSOR_FLOAT32, (1, UNITS))
    x, w = model.operand(shape), model.operand(OperandType(TENSOR_FLOAT32, (UNITS, UNITS)))
    world.api.check("Model_setOperandValueFromMemory", model.handle, w, memory.handle, 0, WEIGHT_BYTES)
    y = model.operand(OperandType(TENSOR_FLOAT32, (UNITS,)))
    world.api.check("Model_setOperandValueFromMemory", model.handle, y, memory.handle, WEIGHT_BYTES, UNITS * 4)
    bias = model.constant(OperandType(TENSOR_FLOAT32, (UNITS,)), np.zeros(UNITS, np.float32))
    none, between, result = model.constant(OperandType(INT32), 0), model.operand(shape), model.operand(shape)
    model.operation(FULLY_CONNECTED, [x, w, bias, none], [between])
    model.operation(ADD, [between, y, none], [result])
    model.identify([x], [result])
    model.finish()
    compilation = world.own(Compilation(model))
    np.testing.assert_array_equal(compute(compilation, X), X @ weights().T + np.arange(UNITS))


def test_a_cache_file_serves_all_compilations(world: World, memory: Memory, tmp_path: Path) -> None:
    """Written piece by piece, mapped once; the packed weights are the file's pages then, not memory of our own."""
    model, token = fully_connected(world, memory), (C.c_uint8 * 32)(*range(32))

    def compile_cached(model: Model) -> Compilation:
        compilation = Compilation(model, finish=False)
        world.api.check("Compilation_setCaching", compilation.handle, str(tmp_path).encode(), token)
        compilation.finish()
        return compilation

    with compile_cached(model) as first:
        expected = compute(first, X)
    before = resident("RssAnon")
    other = fully_connected(world, memory)
    with compile_cached(other) as second, compile_cached(other) as third:
        np.testing.assert_array_equal(compute(second, X), expected)
        np.testing.assert_array_equal(compute(third, X), expected)
        assert resident("RssAnon") - before < SLACK
    with compile_cached(other) as fourth:
        np.testing.assert_array_equal(compute(fourth, X), expected)
