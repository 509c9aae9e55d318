"""Objects in every stage, for tests of single calls."""

from __future__ import annotations

import ctypes as C
import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .client import (
    INT32,
    MODEL,
    TENSOR_FLOAT32,
    TENSOR_QUANT8_SYMM_PER_CHANNEL,
    CChannels,
    Compilation,
    Execution,
    Memory,
    Model,
    Nnapi,
    OperandType,
    Owner,
    indexes,
)

ADD = 0
T = TypeVar("T", bound=Owner)
FLOATS = OperandType(TENSOR_FLOAT32, (2,))
OPEN = OperandType(TENSOR_FLOAT32, (0,))


def out() -> Any:
    """Room for a handle or a number."""
    return C.c_void_p()


class World:
    """Everything a call can be given. Objects are made when first asked for, and freed by `close`."""

    def __init__(self, api: Nnapi) -> None:
        self.api = api
        self.stack = ExitStack()
        self.kept: list[Any] = []

    def close(self) -> None:
        self.stack.close()

    def own(self, owner: T) -> T:
        """Freed with the world."""
        self.stack.callback(owner.close)
        return owner

    def keep(self, value: Any) -> Any:
        """Stays alive as long as the world."""
        self.kept.append(value)
        return value

    # models -----------------------------------------------------------------------------------------------------------

    def add_model(self, type_: OperandType = FLOATS, *, finish: bool = True) -> Model:
        """out = a + b, with a constant NONE as activation."""
        model = self.own(Model(self.api))
        a, b = model.operand(type_), model.operand(type_)
        fuse = model.constant(OperandType(INT32), 0)
        result = model.operand(type_)
        model.operation(ADD, [a, b, fuse], [result])
        if finish:
            model.identify([a, b], [result])
            model.finish()
        return model

    @cached_property
    def model(self) -> Model:
        """Finished."""
        return self.add_model()

    @cached_property
    def open_model(self) -> Model:
        """Not finished: operands 0-3 as in `model`, 4 per channel, 5 a referenced model, 6 a tensor without a source."""
        model = self.add_model(finish=False)
        model.operand(OperandType(TENSOR_QUANT8_SYMM_PER_CHANNEL, (2, 2)))
        model.operand(OperandType(MODEL))
        model.operand(FLOATS)
        return model

    # compilations -----------------------------------------------------------------------------------------------------

    @cached_property
    def device(self) -> C.c_void_p:
        return self.api.handle("getDevice", 0)

    def devices(self, *devices: Any) -> Any:
        """A C array of devices."""
        array = (C.c_void_p * len(devices))(*[getattr(device, "value", device) for device in devices])
        return self.keep(array)

    @cached_property
    def open_compilation(self) -> Compilation:
        return self.own(Compilation(self.model, [self.device], finish=False))

    @cached_property
    def compilation(self) -> Compilation:
        """Finished, for one device."""
        return self.own(Compilation(self.model, [self.device]))

    @cached_property
    def any_compilation(self) -> Compilation:
        """Finished, for the devices that the run time chose."""
        return self.own(Compilation(self.model))

    # executions -------------------------------------------------------------------------------------------------------

    def execution_of(self, compilation: Compilation, *, bound: bool = True, measure: bool = False) -> Execution:
        execution = self.own(Execution(compilation))
        if measure:
            self.api.check("Execution_setMeasureTiming", execution.handle, True)
        if bound:
            execution.input(0, np.array([1, 2], np.float32))
            execution.input(1, np.array([3, 4], np.float32))
            execution.output(0, np.zeros(2, np.float32))
        return execution

    @cached_property
    def open_execution(self) -> Execution:
        """Nothing given yet."""
        return self.execution_of(self.compilation, bound=False)

    @cached_property
    def ready_execution(self) -> Execution:
        """Everything given, not started."""
        return self.execution_of(self.compilation)

    @cached_property
    def done_execution(self) -> Execution:
        execution = self.execution_of(self.compilation, measure=True)
        execution.compute()
        return execution

    @cached_property
    def burst(self) -> Owner:
        return self.own(Owner(self.api, "Burst_free", self.api.handle("Burst_create", self.compilation.handle)))

    @cached_property
    def event(self) -> Owner:
        handle = self.api.handle("Execution_startCompute", self.execution_of(self.compilation).handle)
        return self.own(Owner(self.api, "Event_free", handle))

    # memory -----------------------------------------------------------------------------------------------------------

    @cached_property
    def memory(self) -> Memory:
        return self.own(Memory(self.api, bytes(20)))

    @cached_property
    def other_memory(self) -> Memory:
        return self.own(Memory(self.api, bytes(20)))

    def memory_file(self) -> int:
        """A descriptor of a file of 20 bytes."""
        fd = os.memfd_create("nnapi-test")
        os.write(fd, bytes(20))
        self.stack.callback(os.close, fd)
        return fd

    @cached_property
    def open_desc(self) -> Owner:
        return self.own(Owner(self.api, "MemoryDesc_free", self.api.handle("MemoryDesc_create")))

    def desc(self, *, inputs: tuple[int, ...] = (0,), outputs: tuple[int, ...] = (), finish: bool = True) -> Owner:
        """A descriptor with roles in `compilation`."""
        desc = self.own(Owner(self.api, "MemoryDesc_free", self.api.handle("MemoryDesc_create")))
        for index in inputs:
            self.api.check("MemoryDesc_addInputRole", desc.handle, self.compilation.handle, index, 1.0)
        for index in outputs:
            self.api.check("MemoryDesc_addOutputRole", desc.handle, self.compilation.handle, index, 1.0)
        if finish:
            self.api.check("MemoryDesc_finish", desc.handle)
        return desc

    def described(self, desc: Owner) -> Owner:
        return self.own(Owner(self.api, "Memory_free", self.api.handle("Memory_createFromDesc", desc.handle)))

    # arguments --------------------------------------------------------------------------------------------------------

    def floats(self, count: int = 2) -> int:
        """The address of some floats."""
        return int(self.keep(np.zeros(count, np.float32)).ctypes.data)

    def type(self, type_: OperandType) -> Any:
        return C.byref(self.keep(type_.c()))

    def channels(self, dim: int = 0, scales: tuple[float, ...] = (1.0, 2.0), count: int | None = None) -> Any:
        array = self.keep((C.c_float * len(scales))(*scales))
        return C.byref(self.keep(CChannels(dim, len(scales) if count is None else count, array)))

    def list(self, *values: int) -> Any:
        return self.keep(indexes(values))

    def result(self, call: str, *arguments: Any) -> int:
        """The code of a call; a handle that it made is freed."""
        return int(getattr(self.api, call)(*arguments))


def worlds(api: Nnapi) -> Iterator[World]:
    """For a fixture."""
    world = World(api)
    yield world
    world.close()
