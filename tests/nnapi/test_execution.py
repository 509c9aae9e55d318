"""What executions do: shapes that are not known, memory, events, reuse, threads, time."""

from __future__ import annotations

import ctypes as C
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from .cases import SHARED, case_files
from .client import (
    BAD_DATA,
    BAD_STATE,
    INT32,
    MISSED_DEADLINE_TRANSIENT,
    NO_ERROR,
    OP_FAILED,
    OUTPUT_INSUFFICIENT_SIZE,
    TENSOR_FLOAT16,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    Array,
    Compilation,
    Execution,
    Memory,
    Model,
    Nnapi,
    NnapiError,
    OperandType,
    Owner,
    address,
)
from .world import ADD, World, worlds

ROOT = Path(__file__).resolve().parents[2]
MUL, RESHAPE, TRANSPOSE = 18, 22, 37


@pytest.fixture
def world(api: Nnapi) -> Iterator[World]:
    yield from worlds(api)


def floats(*dims: int) -> OperandType:
    return OperandType(TENSOR_FLOAT32, dims)


def reshape_model(world: World) -> Model:
    """inputs: float[6], int32[2] shape; output of unknown rank: nothing is known before the execution."""
    model = world.own(Model(world.api))
    data, shape = model.operand(floats(6)), model.operand(OperandType(TENSOR_INT32, (2,)))
    reshaped, fuse = model.operand(floats()), model.constant(OperandType(INT32), 0)
    result = model.operand(floats())
    model.operation(RESHAPE, [data, shape], [reshaped])
    model.operation(ADD, [reshaped, reshaped, fuse], [result])
    model.identify([data, shape], [result])
    model.finish()
    return model


def run_add(compilation: Compilation, a: Array, b: Array, mode: str = "sync") -> Array:
    """a + b of one shape."""
    with Execution(compilation) as execution:
        type_ = floats(*a.shape)
        execution.input(0, a, type_)
        execution.input(1, b, type_)
        result = np.zeros_like(a)
        execution.output(0, result)
        execution.compute(mode)
        assert execution.dims(0) == a.shape
        return result


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [floats(0, 3), floats(0, 0), floats()], ids=["one open", "all open", "no rank"])
def test_open_dimensions_change_between_executions(world: World, declared: OperandType) -> None:
    compilation = world.own(Compilation(world.add_model(declared)))
    for rows in (2, 5, 1, 5):
        a = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        np.testing.assert_array_equal(run_add(compilation, a, a), a + a)


def test_an_open_input_needs_a_type(world: World) -> None:
    execution = world.own(Execution(world.own(Compilation(world.add_model(floats(0, 3))))))
    a = np.zeros((2, 3), np.float32)
    set_input = world.api.Execution_setInput
    assert set_input(execution.handle, 0, None, address(a), a.nbytes) == BAD_DATA
    for wrong in (floats(2, 4), floats(2), floats(2, 0), floats(0, 3)):
        assert set_input(execution.handle, 0, world.type(wrong), address(a), a.nbytes) == BAD_DATA
    assert set_input(execution.handle, 0, world.type(floats(2, 3)), address(a), a.nbytes) == NO_ERROR


def test_too_small_a_buffer_tells_the_dimensions(world: World) -> None:
    compilation = world.own(Compilation(world.add_model(floats(0, 3))))
    a = np.ones((4, 3), np.float32)
    with Execution(compilation) as execution:
        execution.input(0, a, floats(4, 3))
        execution.input(1, a, floats(4, 3))
        small = np.full(11, 7, np.float32)
        execution.output(0, small)
        assert world.result("Execution_compute", execution.handle) == OUTPUT_INSUFFICIENT_SIZE
        rank, dims = C.c_uint32(), (C.c_uint32 * 2)()
        assert (
            world.result("Execution_getOutputOperandRank", execution.handle, 0, C.byref(rank))
            == OUTPUT_INSUFFICIENT_SIZE
        )
        assert (
            world.result("Execution_getOutputOperandDimensions", execution.handle, 0, dims) == OUTPUT_INSUFFICIENT_SIZE
        )
        assert (rank.value, tuple(dims)) == (2, (4, 3))
        np.testing.assert_array_equal(small, 7)
    np.testing.assert_array_equal(run_add(compilation, a, a), a + a)


@pytest.mark.parametrize("capacity", [6, 3])
def test_shapes_that_depend_on_values(world: World, capacity: int) -> None:
    compilation = world.own(Compilation(reshape_model(world)))
    for shape in ((2, 3), (3, 2), (6, 1)):
        with Execution(compilation) as execution:
            execution.input(0, np.arange(6, dtype=np.float32))
            execution.input(1, np.array(shape, np.int32))
            result = np.zeros(capacity, np.float32)
            execution.output(0, result)
            code = world.result("Execution_compute", execution.handle)
            if capacity == 6:
                assert code == NO_ERROR and execution.dims(0) == shape
                np.testing.assert_array_equal(result, 2 * np.arange(6, dtype=np.float32))
            else:
                assert code == OUTPUT_INSUFFICIENT_SIZE
                dims = (C.c_uint32 * 2)()
                world.api.Execution_getOutputOperandDimensions(execution.handle, 0, dims)
                assert tuple(dims) == shape
    with Execution(compilation) as execution:
        execution.input(0, np.arange(6, dtype=np.float32))
        execution.input(1, np.array([4, 2], np.int32))
        execution.output(0, np.zeros(8, np.float32))
        assert world.result("Execution_compute", execution.handle) == OP_FAILED


def test_an_output_that_is_not_wanted(world: World) -> None:
    execution = world.own(Execution(world.compilation))
    execution.input(0, np.ones(2, np.float32))
    execution.input(1, np.ones(2, np.float32))
    execution.output(0, None)
    execution.compute()
    assert execution.dims(0) == (2,)


@pytest.mark.parametrize(
    "type_", [None, OperandType(TENSOR_INT32, (2,)), OperandType(TENSOR_INT32, (0,)), OperandType(TENSOR_INT32)]
)
def test_an_input_omitted_by_the_execution(world: World, type_: OperandType | None) -> None:
    """TRANSPOSE without a permutation reverses. The type of what is omitted may leave everything open; it must fit, though."""
    model = world.own(Model(world.api))
    x, permutation, out = (
        model.operand(floats(2, 3)),
        model.operand(OperandType(TENSOR_INT32, (0,))),
        model.operand(floats()),
    )
    model.operation(TRANSPOSE, [x, permutation], [out])
    model.identify([x, permutation], [out])
    model.finish()
    compilation = world.own(Compilation(model))
    for round_ in range(2):
        execution = world.own(Execution(compilation))
        values = np.arange(6, dtype=np.float32).reshape(2, 3)
        result = np.zeros(6, np.float32)
        execution.input(0, values)
        execution.output(0, result)
        set_input = world.api.Execution_setInput
        wrong = world.type(OperandType(TENSOR_FLOAT32, (2,)))
        assert set_input(execution.handle, 1, wrong, None, 0) == BAD_DATA
        given = np.array([0, 1], np.int32)
        if round_ == 0:
            assert (
                set_input(execution.handle, 1, world.type(OperandType(TENSOR_INT32, (0,))), address(given), 8)
                == BAD_DATA
            )
            execution.input(1, None, type_)
        else:
            execution.input(1, given, OperandType(TENSOR_INT32, (2,)))
        execution.compute()
        np.testing.assert_array_equal(result, (values.T if round_ == 0 else values).ravel())
    refused = world.own(Execution(world.compilation))  # ADD needs both
    refused.input(0, np.ones(2, np.float32))
    refused.input(1, None)
    refused.output(0, np.zeros(2, np.float32))
    assert world.result("Execution_compute", refused.handle) == OP_FAILED


# --- plans ------------------------------------------------------------------------------------------------------------


def chain_model(world: World, order: list[int], dtype: int = TENSOR_FLOAT32) -> Model:
    """((x * 2 + x) * 2 + x) ... of eight steps, whose operations are added in the given order."""
    model = world.own(Model(world.api))
    tensor = OperandType(dtype, (4,))
    x, fuse = model.operand(tensor), model.constant(OperandType(INT32), 0)
    two = model.constant(tensor, [2, 2, 2, 2])
    steps = []
    last = x
    for step in range(8):
        result = model.operand(tensor)
        steps.append((MUL, [last, two, fuse], [result]) if step % 2 == 0 else (ADD, [last, x, fuse], [result]))
        last = result
    for index in order:
        model.operation(*steps[index])
    model.identify([x], [last])
    model.finish()
    return model


@pytest.mark.parametrize("order", [list(range(8)), list(range(7, -1, -1)), [3, 1, 4, 0, 5, 2, 7, 6]], ids=str)
@pytest.mark.parametrize("dtype", [TENSOR_FLOAT32, TENSOR_FLOAT16])
def test_operations_in_any_order(world: World, order: list[int], dtype: int) -> None:
    numpy_type = np.float32 if dtype == TENSOR_FLOAT32 else np.float16
    execution = world.own(Execution(world.own(Compilation(chain_model(world, order, dtype)))))
    execution.input(0, np.array([1, 2, -1, 0.5], numpy_type))
    result = np.zeros(4, numpy_type)
    execution.output(0, result)
    execution.compute()
    np.testing.assert_array_equal(result, 31 * np.array([1, 2, -1, 0.5], numpy_type))


def test_a_cycle_is_refused(world: World) -> None:
    model = world.own(Model(world.api))
    x, fuse = model.operand(floats(2)), model.constant(OperandType(INT32), 0)
    a, b = model.operand(floats(2)), model.operand(floats(2))
    model.operation(ADD, [x, b, fuse], [a])
    model.operation(ADD, [x, a, fuse], [b])
    model.identify([x], [a])
    assert world.result("Model_finish", model.handle) == BAD_DATA


def test_each_operand_has_one_source(world: World) -> None:
    model = world.add_model(finish=False)
    model.operation(ADD, [0, 1, 2], [3])  # written twice
    model.identify([0, 1], [3])
    assert world.result("Model_finish", model.handle) == BAD_DATA
    model = world.add_model(finish=False)
    model.operand(floats(2))  # never written
    model.identify([0, 1], [3])
    assert world.result("Model_finish", model.handle) == BAD_DATA
    model = world.own(Model(world.api))
    a, fuse = model.operand(floats(2)), model.constant(OperandType(INT32), 0)
    constant = model.constant(floats(2), [1, 2])
    model.operation(ADD, [a, a, fuse], [constant])  # a constant is written
    model.identify([a], [])
    assert world.result("Model_finish", model.handle) == BAD_DATA


def test_objects_stay_as_long_as_they_are_needed(world: World) -> None:
    """Freeing a model, memory or compilation too early ends the client's hold, not the object."""
    model = Model(world.api)
    memory = Memory(world.api, np.array([10, 20], np.float32).tobytes())
    x, constant = model.operand(floats(2)), model.operand(floats(2))
    fuse, result = model.constant(OperandType(INT32), 0), model.operand(floats(2))
    world.api.check("Model_setOperandValueFromMemory", model.handle, constant, memory.handle, 0, 8)
    model.operation(ADD, [x, constant, fuse], [result])
    model.identify([x], [result])
    model.finish()
    compilation = Compilation(model)
    execution = world.own(Execution(compilation))
    for owner in (memory, model, compilation):
        owner.close()
    execution.input(0, np.array([1, 2], np.float32))
    values = np.zeros(2, np.float32)
    execution.output(0, values)
    execution.compute()
    np.testing.assert_array_equal(values, [11, 22])


# --- where bytes lie ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 4, 1, 7])
def test_constants_are_used_where_they_lie(world: World, offset: int) -> None:
    """The same mapped bytes, also at an address where a float cannot be read (then by a copy)."""
    count = 64
    memory = world.own(Memory(world.api, bytes(offset) + np.arange(count, dtype=np.float32).tobytes()))
    model = world.own(Model(world.api))
    x, constant = model.operand(floats(count)), model.operand(floats(count))
    fuse, result = model.constant(OperandType(INT32), 0), model.operand(floats(count))
    world.api.check("Model_setOperandValueFromMemory", model.handle, constant, memory.handle, offset, count * 4)
    model.operation(ADD, [x, constant, fuse], [result])
    model.identify([x], [result])
    model.finish()
    compilation = world.own(Compilation(model))

    def run() -> Array:
        with Execution(compilation) as execution:
            execution.input(0, np.zeros(count, np.float32))
            values = np.zeros(count, np.float32)
            execution.output(0, values)
            execution.compute()
            return values

    np.testing.assert_array_equal(run(), np.arange(count))
    os.pwrite(memory.fd, np.full(count, 5, np.float32).tobytes(), offset)
    np.testing.assert_array_equal(run(), np.full(count, 5) if offset % 4 == 0 else np.arange(count))


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_unaligned_buffers(world: World, shift: int) -> None:
    raw = [np.zeros(12, np.uint8) for _ in range(3)]
    a, b, result = (array[shift : shift + 8] for array in raw)
    a[:] = np.array([1.5, 2], np.float32).view(np.uint8)
    b[:] = np.array([10, 20], np.float32).view(np.uint8)
    execution = world.own(Execution(world.compilation))
    execution.input(0, a)
    execution.input(1, b)
    execution.output(0, result)
    execution.compute()
    np.testing.assert_array_equal(result.copy().view(np.float32), [11.5, 22])


@pytest.mark.parametrize("shift", [0, 1])
def test_an_output_over_an_input(world: World, shift: int) -> None:
    """Inputs are read as they were, whichever operation still needs them: (x + x) then added to x again, written over x."""
    model = world.own(Model(world.api))
    x, fuse = model.operand(floats(4)), model.constant(OperandType(INT32), 0)
    double, twice = model.operand(floats(4)), model.operand(floats(4))
    model.operation(ADD, [x, x, fuse], [double])
    model.operation(MUL, [x, double, fuse], [twice])
    model.identify([x], [double, twice])
    model.finish()
    buffer = np.array([1, 2, 3, 4, 0], np.float32)
    squares = np.zeros(4, np.float32)
    execution = world.own(Execution(world.own(Compilation(model))))
    execution.input(0, buffer[:4])
    execution.output(0, buffer[shift : shift + 4])
    execution.output(1, squares)
    execution.compute()
    np.testing.assert_array_equal(buffer[shift : shift + 4], [2, 4, 6, 8])
    np.testing.assert_array_equal(squares, [2, 8, 18, 32])


def test_dimensions_given_for_an_output_must_be_those_of_the_result(world: World) -> None:
    compilation = world.own(Compilation(world.add_model(floats(0, 0))))
    for given, code in ((floats(2, 3), NO_ERROR), (floats(2, 0), NO_ERROR), (floats(3, 2), OP_FAILED)):
        with Execution(compilation) as execution:
            for index in range(2):
                execution.input(index, np.ones((2, 3), np.float32), floats(2, 3))
            execution.output(0, np.zeros(6, np.float32), given)
            assert world.result("Execution_compute", execution.handle) == code


def test_memory_for_inputs_and_outputs(world: World) -> None:
    memory = world.own(Memory(world.api, np.array([0, 1, 2, 3, 4, 0, 0], np.float32).tobytes(), offset=24))
    execution = world.own(Execution(world.compilation))
    world.api.check("Execution_setInputFromMemory", execution.handle, 0, None, memory.handle, 4, 8)
    world.api.check("Execution_setInputFromMemory", execution.handle, 1, None, memory.handle, 12, 8)
    world.api.check("Execution_setOutputFromMemory", execution.handle, 0, None, memory.handle, 20, 8)
    execution.compute()
    np.testing.assert_array_equal(np.frombuffer(memory.read(), np.float32), [0, 1, 2, 3, 4, 4, 6])


def test_described_memory_between_executions(world: World) -> None:
    """An output that stays on the device becomes the next input; copies bring content in and out."""
    memory = world.described(world.desc(inputs=(0, 1), outputs=(0,)))
    shared = world.own(Memory(world.api, np.array([1, 2], np.float32).tobytes()))
    world.api.check("Memory_copy", shared.handle, memory.handle)
    kept = world.described(world.desc(inputs=(0,), outputs=(0,)))
    for index in range(2):
        with Execution(world.compilation) as execution:
            source = memory if index == 0 else kept
            world.api.check("Execution_setInputFromMemory", execution.handle, 0, None, source.handle, 0, 0)
            execution.input(1, np.array([10, 10], np.float32))
            if index == 0:
                world.api.check("Execution_setOutputFromMemory", execution.handle, 0, None, kept.handle, 0, 0)
                execution.compute()
            else:
                values = np.zeros(2, np.float32)
                execution.output(0, values)
                execution.compute()
                np.testing.assert_array_equal(values, [21, 22])
    world.api.check("Memory_copy", kept.handle, shared.handle)
    np.testing.assert_array_equal(np.frombuffer(shared.read(), np.float32), [11, 12])
    small = world.own(Memory(world.api, bytes(4)))
    assert world.result("Memory_copy", small.handle, kept.handle) == BAD_DATA
    assert world.result("Memory_copy", kept.handle, shared.handle) == BAD_DATA  # lost by the failed copy


def test_described_memory_of_open_dimensions(world: World) -> None:
    compilation = world.own(Compilation(world.add_model(floats(0, 3))))
    desc = world.own(Owner(world.api, "MemoryDesc_free", world.api.handle("MemoryDesc_create")))
    world.api.check("MemoryDesc_addInputRole", desc.handle, compilation.handle, 0, 1.0)
    world.api.check("MemoryDesc_finish", desc.handle)
    assert world.result("Memory_createFromDesc", desc.handle, C.byref(C.c_void_p())) == OP_FAILED
    desc = world.own(Owner(world.api, "MemoryDesc_free", world.api.handle("MemoryDesc_create")))
    world.api.check("MemoryDesc_addInputRole", desc.handle, compilation.handle, 0, 1.0)
    world.api.check("MemoryDesc_setDimensions", desc.handle, 2, world.list(2, 0))
    world.api.check("MemoryDesc_finish", desc.handle)
    memory = world.described(desc)
    shared = world.own(Memory(world.api, np.ones(6, np.float32).tobytes()))
    world.api.check("Memory_copy", shared.handle, memory.handle)
    with Execution(compilation) as execution:
        set_input = world.api.Execution_setInputFromMemory
        assert set_input(execution.handle, 0, world.type(floats(3, 3)), memory.handle, 0, 0) == BAD_DATA
        assert set_input(execution.handle, 0, None, memory.handle, 0, 0) == NO_ERROR
        execution.input(1, np.ones((2, 3), np.float32), floats(2, 3))
        values = np.zeros(6, np.float32)
        execution.output(0, values)
        execution.compute()
        np.testing.assert_array_equal(values, 2)


def test_padding(world: World) -> None:
    padded = np.array([1, 2, 99], np.float32)
    execution = world.own(Execution(world.compilation))
    set_input = world.api.Execution_setInput
    assert set_input(execution.handle, 0, None, address(padded), 12) == BAD_DATA
    world.api.check("Execution_enableInputAndOutputPadding", execution.handle, True)
    assert set_input(execution.handle, 0, None, address(padded), 4) == BAD_DATA
    execution.input(0, padded)
    execution.input(1, padded[:2].copy())
    values = np.full(5, 7, np.float32)
    execution.output(0, values)
    execution.compute()
    np.testing.assert_array_equal(values, [2, 4, 7, 7, 7])


# --- reuse, events, threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async", "fenced", "burst"])
def test_reusable_execution(world: World, mode: str) -> None:
    execution = world.own(Execution(world.compilation))
    world.api.check("Execution_setReusable", execution.handle, True)
    a, values = np.array([1, 2], np.float32), np.zeros(2, np.float32)
    execution.input(0, a)
    execution.input(1, np.array([10, 10], np.float32))
    execution.output(0, values)
    for round_ in range(3):
        a[:] = [round_, 2 * round_]
        execution.compute(mode)
        np.testing.assert_array_equal(values, a + 10)
    assert world.result("Execution_setLoopTimeout", execution.handle, 1) == BAD_STATE


def test_dependencies(world: World) -> None:
    """Each execution reads what the one before it writes; only the events keep them in order."""
    buffers = [np.zeros(2, np.float32) for _ in range(9)]
    one = np.ones(2, np.float32)
    events: list[C.c_void_p] = []
    for step in range(8):
        execution = world.own(Execution(world.compilation))
        execution.input(0, buffers[step])
        execution.input(1, one)
        execution.output(0, buffers[step + 1])
        call = "Execution_startComputeWithDependencies"
        waits = world.devices(*events) if events else None
        events.append(world.api.handle(call, execution.handle, waits, len(events), 0))
    world.api.check("Event_wait", events[-1])
    np.testing.assert_array_equal(buffers[-1], 8)
    for event in events:
        world.api.check("Event_wait", event)
        world.api.Event_free(event)


def test_a_failed_dependency_fails_what_waits_for_it(world: World) -> None:
    empty = world.described(world.desc())
    failing = world.own(Execution(world.compilation))
    world.api.check("Execution_setInputFromMemory", failing.handle, 0, None, empty.handle, 0, 0)
    failing.input(1, np.ones(2, np.float32))
    failing.output(0, np.ones(2, np.float32))
    first = world.api.handle("Execution_startCompute", failing.handle)
    call = "Execution_startComputeWithDependencies"
    second = world.api.handle(call, world.ready_execution.handle, world.devices(first), 1, 0)
    assert world.result("Event_wait", second) == OP_FAILED
    assert world.result("Event_wait", first) == OP_FAILED
    for event in (first, second):
        world.api.Event_free(event)


def test_fences(world: World) -> None:
    """An event from a file descriptor is signalled when it becomes readable."""
    read, write = os.pipe()
    event = world.api.handle("Event_createFromSyncFenceFd", read)
    os.close(read)  # the event has its own
    fd = C.c_int()
    world.api.check("Event_getSyncFenceFd", event, C.byref(fd))
    os.close(fd.value)
    call = "Execution_startComputeWithDependencies"
    waiting = world.api.handle(call, world.ready_execution.handle, world.devices(event), 1, 0)
    assert (
        world.result("Execution_getOutputOperandRank", world.ready_execution.handle, 0, C.byref(C.c_uint32()))
        == BAD_STATE
    )
    world.api.Execution_free(world.ready_execution.handle)  # ignored while it runs
    os.write(write, b"x")
    world.api.check("Event_wait", waiting)
    world.api.check("Event_wait", event)
    for handle in (waiting, event):
        world.api.Event_free(handle)
    os.close(write)


@pytest.mark.parametrize("declared", [floats(64, 64), floats(0, 64)], ids=["known", "open"])
def test_executions_at_the_same_time(world: World, declared: OperandType) -> None:
    compilation = world.own(Compilation(world.add_model(declared)))
    problems: list[str] = []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(25):
            rows = 64 if declared.dims[0] else int(generator.integers(1, 64))
            a = generator.standard_normal((rows, 64)).astype(np.float32)
            b = generator.standard_normal((rows, 64)).astype(np.float32)
            if not np.array_equal(run_add(compilation, a, b, ("sync", "async")[seed % 2]), a + b):
                problems.append(f"thread {seed}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems


# --- time --------------------------------------------------------------------------------------------------------------


def test_durations(world: World) -> None:
    def duration(execution: Execution, code: int) -> int:
        value = C.c_uint64()
        world.api.check("Execution_getDuration", execution.handle, code, C.byref(value))
        return value.value

    unknown = 2**64 - 1
    assert 0 < duration(world.done_execution, 0) < unknown
    assert 0 < duration(world.done_execution, 1) < unknown
    assert duration(world.done_execution, 2) == duration(world.done_execution, 3) == unknown
    fenced = world.execution_of(world.compilation, measure=True)
    call = "Execution_startComputeWithDependencies"
    event = world.api.handle(call, fenced.handle, world.devices(world.event.handle), 1, 0)
    world.api.check("Event_wait", event)
    world.api.Event_free(event)
    assert 0 < duration(fenced, 3) < unknown
    unmeasured = world.ready_execution
    unmeasured.compute()
    value = C.c_uint64(5)
    assert world.result("Execution_getDuration", unmeasured.handle, 0, C.byref(value)) == BAD_STATE
    assert value.value == unknown


def test_deadlines(world: World) -> None:
    late = world.execution_of(world.compilation)
    world.api.check("Execution_setTimeout", late.handle, 1)
    assert world.result("Execution_compute", late.handle) == MISSED_DEADLINE_TRANSIENT
    for timeout in (0, 2**64 - 1):
        execution = world.execution_of(world.compilation)
        world.api.check("Execution_setTimeout", execution.handle, timeout)
        execution.compute()
    world.api.check("Compilation_setTimeout", world.open_compilation.handle, 1)
    assert world.result("Compilation_finish", world.open_compilation.handle) == MISSED_DEADLINE_TRANSIENT
    assert world.result("Execution_create", world.open_compilation.handle, C.byref(C.c_void_p())) == BAD_STATE
    call = "Execution_startComputeWithDependencies"
    event = world.api.handle(call, world.ready_execution.handle, None, 0, 1)
    assert world.result("Event_wait", event) == MISSED_DEADLINE_TRANSIENT
    world.api.Event_free(event)


@pytest.mark.parametrize(
    "call", ["Execution_compute", "Execution_startCompute", "Execution_burstCompute", "Compilation_finish"]
)
def test_a_driver_that_is_slow_misses_the_deadline(world: World, call: str) -> None:
    """An injected delay counts as the driver's."""
    execution, burst = world.ready_execution, world.burst  # made before the calls are slow
    world.api.check("Execution_setTimeout", execution.handle, 10**7)
    world.api.check("Compilation_setTimeout", world.open_compilation.handle, 10**7)
    world.api.configure(feature_level=8, faults=f"{call}:sleep=30")
    if call == "Execution_startCompute":
        with Owner(world.api, "Event_free", world.api.handle(call, execution.handle)) as event:
            code = world.result("Event_wait", event.handle)
    elif call == "Execution_burstCompute":
        code = world.result(call, execution.handle, burst.handle)
    else:
        code = world.result(call, (world.open_compilation if call == "Compilation_finish" else execution).handle)
    assert code == MISSED_DEADLINE_TRANSIENT


def test_loop_timeouts(api: Nnapi) -> None:
    assert api.getDefaultLoopTimeout() == 2_000_000_000
    assert api.getMaximumLoopTimeout() == 15_000_000_000


# --- allocation --------------------------------------------------------------------------------------------------------

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static _Thread_local long count;
void *malloc(size_t n) { count++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { count++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { count++; return __libc_realloc(p, n); }
int posix_memalign(void **p, size_t a, size_t n) { count++; *p = __libc_memalign(a, n); return *p == NULL ? 12 : 0; }
long counted(int (*compute)(void *), void *execution, int *code) {
  long before = count;
  *code = compute(execution);
  return count - before;
}
"""


@pytest.fixture(scope="session")
def count_allocations(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Runs count_allocations under a counter of allocations; the lines that it prints."""
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter.c").write_text(COUNTER)
    counter = folder / "libcounter.so"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1"]
    subprocess.run([*compiler, str(folder / "counter.c"), "-o", str(counter)], check=True, timeout=120)

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.nnapi.count_allocations", str(library), *arguments],
            cwd=ROOT, env={**os.environ, "LD_PRELOAD": str(counter)}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


def test_nothing_is_allocated_while_executing(count_allocations: Callable[..., list[str]]) -> None:
    assert count_allocations() == ["0"] * 9


def test_no_case_goes_on_allocating(count_allocations: Callable[..., list[str]]) -> None:
    """Of any operation, with two threads: where shapes depend on values the blocks are kept."""
    if not case_files():
        pytest.skip(f"no shared NNAPI cases below {SHARED}")
    assert count_allocations("cases") == []


def test_errors_are_exceptions_of_the_client(world: World) -> None:
    with pytest.raises(NnapiError, match=r"ANeuralNetworksExecution_compute -> 4 \(BAD_DATA\)"):
        world.open_execution.compute()
