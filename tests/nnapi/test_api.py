"""Misuse of every function: null, wrong state, bad index, bad length, bad type, level too low."""

from __future__ import annotations

import ctypes as C
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .client import (
    BAD_DATA,
    BAD_STATE,
    FLOAT32,
    INT32,
    MODEL,
    NO_ERROR,
    OP_FAILED,
    SIGNATURES,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    TENSOR_QUANT8_ASYMM,
    TENSOR_QUANT8_ASYMM_SIGNED,
    TENSOR_QUANT16_SYMM,
    UNEXPECTED_NULL,
    UNMAPPABLE,
    Compilation,
    Execution,
    Nnapi,
    OperandType,
    symbol_name,
)
from .world import ADD, FLOATS, OPEN, World, out, worlds

ROOT = Path(__file__).resolve().parents[2]
Arguments = Callable[[World], tuple[Any, ...]]


@pytest.fixture
def world(api: Nnapi) -> Iterator[World]:
    yield from worlds(api)


def ref(_: World) -> Any:
    return C.byref(out())


TOKEN = (C.c_uint8 * 32)()

#: One correct call of every function that returns a code.
CORRECT: dict[str, Arguments] = {
    "getDeviceCount": lambda w: (ref(w),),
    "getDevice": lambda w: (0, ref(w)),
    "Device_getName": lambda w: (w.device, ref(w)),
    "Device_getType": lambda w: (w.device, ref(w)),
    "Device_getVersion": lambda w: (w.device, ref(w)),
    "Device_getFeatureLevel": lambda w: (w.device, ref(w)),
    "Device_wait": lambda w: (w.device,),
    "Device_getExtensionSupport": lambda w: (w.device, b"com.example.ops", ref(w)),
    "Memory_createFromFd": lambda w: (20, 3, w.memory_file(), 0, ref(w)),
    "Memory_createFromDesc": lambda w: (w.desc().handle, ref(w)),
    "Memory_copy": lambda w: (w.memory.handle, w.other_memory.handle),
    "MemoryDesc_create": lambda w: (ref(w),),
    "MemoryDesc_addInputRole": lambda w: (w.open_desc.handle, w.compilation.handle, 0, 1.0),
    "MemoryDesc_addOutputRole": lambda w: (w.open_desc.handle, w.compilation.handle, 0, 0.5),
    "MemoryDesc_setDimensions": lambda w: (w.open_desc.handle, 1, w.list(2)),
    "MemoryDesc_finish": lambda w: (w.desc(finish=False).handle,),
    "Model_create": lambda w: (ref(w),),
    "Model_finish": lambda w: (identified(w),),
    "Model_addOperand": lambda w: (w.open_model.handle, w.type(FLOATS)),
    "Model_setOperandValue": lambda w: (w.open_model.handle, 0, w.floats(), 8),
    "Model_setOperandSymmPerChannelQuantParams": lambda w: (w.open_model.handle, 4, w.channels()),
    "Model_setOperandValueFromMemory": lambda w: (w.open_model.handle, 0, w.memory.handle, 4, 8),
    "Model_setOperandValueFromModel": lambda w: (w.open_model.handle, 5, w.model.handle),
    "Model_addOperation": lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 2), 1, w.list(3)),
    "Model_identifyInputsAndOutputs": lambda w: (w.open_model.handle, 2, w.list(0, 1), 1, w.list(3)),
    "Model_relaxComputationFloat32toFloat16": lambda w: (w.open_model.handle, True),
    "Model_getSupportedOperationsForDevices": lambda w: (w.model.handle, w.devices(w.device), 1, ref(w)),
    "Compilation_create": lambda w: (w.model.handle, ref(w)),
    "Compilation_createForDevices": lambda w: (w.model.handle, w.devices(w.device), 1, ref(w)),
    "Compilation_setPreference": lambda w: (w.open_compilation.handle, 2),
    "Compilation_setCaching": lambda w: (w.open_compilation.handle, b"/tmp", TOKEN),
    "Compilation_setPriority": lambda w: (w.open_compilation.handle, 110),
    "Compilation_setTimeout": lambda w: (w.open_compilation.handle, 10**9),
    "Compilation_finish": lambda w: (w.open_compilation.handle,),
    "Compilation_getPreferredMemoryAlignmentForInput": lambda w: (w.compilation.handle, 1, ref(w)),
    "Compilation_getPreferredMemoryPaddingForInput": lambda w: (w.compilation.handle, 1, ref(w)),
    "Compilation_getPreferredMemoryAlignmentForOutput": lambda w: (w.compilation.handle, 0, ref(w)),
    "Compilation_getPreferredMemoryPaddingForOutput": lambda w: (w.compilation.handle, 0, ref(w)),
    "Execution_create": lambda w: (w.compilation.handle, ref(w)),
    "Execution_setInput": lambda w: (w.open_execution.handle, 0, None, w.floats(), 8),
    "Execution_setInputFromMemory": lambda w: (w.open_execution.handle, 0, None, w.memory.handle, 4, 8),
    "Execution_setOutput": lambda w: (w.open_execution.handle, 0, w.type(FLOATS), w.floats(), 8),
    "Execution_setOutputFromMemory": lambda w: (w.open_execution.handle, 0, None, w.memory.handle, 12, 8),
    "Execution_compute": lambda w: (w.ready_execution.handle,),
    "Execution_startCompute": lambda w: (w.ready_execution.handle, ref(w)),
    "Execution_startComputeWithDependencies": lambda w: (
        w.ready_execution.handle, w.devices(w.event.handle), 1, 10**9, ref(w),
    ),
    "Execution_burstCompute": lambda w: (w.ready_execution.handle, w.burst.handle),
    "Execution_getOutputOperandRank": lambda w: (w.done_execution.handle, 0, ref(w)),
    "Execution_getOutputOperandDimensions": lambda w: (w.done_execution.handle, 0, w.list(0, 0, 0, 0)),
    "Execution_setMeasureTiming": lambda w: (w.ready_execution.handle, True),
    "Execution_getDuration": lambda w: (w.done_execution.handle, 0, ref(w)),
    "Execution_setTimeout": lambda w: (w.ready_execution.handle, 10**9),
    "Execution_setLoopTimeout": lambda w: (w.ready_execution.handle, 10**9),
    "Execution_enableInputAndOutputPadding": lambda w: (w.open_execution.handle, True),
    "Execution_setReusable": lambda w: (w.ready_execution.handle, True),
    "Burst_create": lambda w: (w.compilation.handle, ref(w)),
    "Event_wait": lambda w: (w.event.handle,),
    "Event_createFromSyncFenceFd": lambda w: (w.memory_file(), ref(w)),
}  # fmt: skip

#: Calls that no arguments make succeed here, and their answer.
REFUSED: dict[str, tuple[Arguments, int]] = {
    "Memory_createFromAHardwareBuffer": (lambda w: (w.floats(), ref(w)), UNMAPPABLE),
    "Event_getSyncFenceFd": (lambda w: (w.event.handle, ref(w)), BAD_DATA),
    "Model_getExtensionOperandType": (lambda w: (w.open_model.handle, b"com.example", 1, ref(w)), BAD_DATA),
    "Model_getExtensionOperationType": (lambda w: (w.open_model.handle, b"com.example", 1, ref(w)), BAD_DATA),
    "Model_setOperandExtensionData": (lambda w: (w.open_model.handle, 0, w.floats(), 8), BAD_DATA),
    "Compilation_addExtensionAttribute": (
        lambda w: (w.open_compilation.handle, b"com.example", 1, w.floats(), 8), BAD_DATA,
    ),
    "Execution_addExtensionAttribute": (
        lambda w: (w.open_execution.handle, b"com.example", 1, w.floats(), 8), BAD_DATA,
    ),
}  # fmt: skip

FREES = [call for call, letters in SIGNATURES.items() if letters.startswith("!")]
NUMBERS = [call for call, letters in SIGNATURES.items() if letters.startswith("=")]
#: Pointer parameters that may be NULL.
OPTIONAL = {("Execution_setInput", 2), ("Execution_setOutput", 2), ("Execution_setInputFromMemory", 2)} | {
    ("Execution_setOutputFromMemory", 2)
}


def identified(w: World) -> C.c_void_p:
    """A model that only lacks `finish`."""
    model = w.add_model(finish=False)
    model.identify([0, 1], [3])
    return model.handle


def arguments_of(call: str) -> Arguments:
    return CORRECT[call] if call in CORRECT else REFUSED[call][0]


def test_the_table_is_complete() -> None:
    assert set(CORRECT) | set(REFUSED) | set(FREES) | set(NUMBERS) == set(SIGNATURES)


def test_exports(library: Path) -> None:
    """Exactly the functions that the headers declare."""
    from .elf import exported_symbols

    declared: set[str] = set()
    for header in ("nnapi.h", "softnn.h"):
        text = (ROOT / "android" / "include" / header).read_text()
        declared |= set(re.findall(r"^ANEURALNETWORKS_API [^(]*?(\w+)\(", text, re.M))
    assert exported_symbols(library) == declared == {symbol_name(call) for call in SIGNATURES} | {"softnn_configure"}


@pytest.mark.parametrize("call", [*CORRECT, *REFUSED])
def test_correct_calls(world: World, call: str) -> None:
    expected = NO_ERROR if call in CORRECT else REFUSED[call][1]
    assert world.result(call, *arguments_of(call)(world)) == expected


POINTERS = [
    (call, position)
    for call in [*CORRECT, *REFUSED]
    for position, letter in enumerate(SIGNATURES[call])
    if letter in "pPtc" and (call, position) not in OPTIONAL
]


@pytest.mark.parametrize(("call", "position"), POINTERS, ids=lambda value: str(value))
def test_null(world: World, call: str, position: int) -> None:
    arguments = list(arguments_of(call)(world))
    arguments[position] = None
    assert world.result(call, *arguments) == UNEXPECTED_NULL


@pytest.mark.parametrize("call", FREES)
def test_free_null(api: Nnapi, call: str) -> None:
    getattr(api, call)(None)


LEVELS = {
    match[1]: int(match[2])
    for match in re.finditer(r"X\((\w+), (\d)\)", (ROOT / "android/softnn/entry_points.h").read_text())
}


@pytest.mark.parametrize("call", [call for call in [*CORRECT, *REFUSED] if LEVELS[call] > 1])
def test_below_its_level(world: World, call: str) -> None:
    """A function that came later answers BAD_STATE, whatever it is given."""
    arguments = arguments_of(call)(world)
    assert world.api.configure(feature_level=LEVELS[call] - 1) == NO_ERROR
    assert world.result(call, *arguments) == BAD_STATE
    world.api.configure(feature_level=LEVELS[call])
    assert world.result(call, *arguments) != BAD_STATE
    world.api.configure(feature_level=8)


def test_levels_match_the_header() -> None:
    """The marks of nnapi.h: "[n]" behind a function or at the end of the comment above it."""
    text = (ROOT / "android" / "include" / "nnapi.h").read_text()
    text = re.sub(r"ANEURALNETWORKS_API .*?\(", lambda match: " ".join(match[0].split()), text, flags=re.S)
    for call, level in LEVELS.items():
        before, _, after = text.partition(f"{symbol_name(call)}(")
        comment = before[before.rindex("/*") :]
        line = after.partition(";")[2].partition("\n")[0]
        marks = re.findall(r"\[(\d)\]", line) or re.findall(r"\[(\d)\]", comment)
        assert (int(marks[0]) if marks else 1) == level or call == "getRuntimeFeatureLevel", call


# --- wrong state ------------------------------------------------------------------------------------------------------

STATES: list[tuple[str, Arguments]] = [
    ("Model_finish", lambda w: (w.model.handle,)),
    ("Model_addOperand", lambda w: (w.model.handle, w.type(FLOATS))),
    ("Model_setOperandValue", lambda w: (w.model.handle, 0, w.floats(), 8)),
    ("Model_setOperandValue", lambda w: (w.model.handle, 99, w.floats(), 8)),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.model.handle, 0, w.channels())),
    ("Model_setOperandValueFromMemory", lambda w: (w.model.handle, 0, w.memory.handle, 0, 8)),
    ("Model_setOperandValueFromModel", lambda w: (w.model.handle, 0, w.model.handle)),
    ("Model_setOperandValueFromModel", lambda w: (w.open_model.handle, 5, w.add_model(finish=False).handle)),
    ("Model_setOperandExtensionData", lambda w: (w.model.handle, 0, w.floats(), 8)),
    ("Model_addOperation", lambda w: (w.model.handle, ADD, 3, w.list(0, 1, 2), 1, w.list(3))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.model.handle, 2, w.list(0, 1), 1, w.list(3))),
    ("Model_relaxComputationFloat32toFloat16", lambda w: (w.model.handle, False)),
    ("Model_getSupportedOperationsForDevices", lambda w: (w.open_model.handle, w.devices(w.device), 1, ref(w))),
    ("Compilation_create", lambda w: (w.open_model.handle, ref(w))),
    ("Compilation_createForDevices", lambda w: (w.open_model.handle, w.devices(w.device), 1, ref(w))),
    ("Compilation_setPreference", lambda w: (w.compilation.handle, 0)),
    ("Compilation_setCaching", lambda w: (w.compilation.handle, b"/tmp", TOKEN)),
    ("Compilation_setPriority", lambda w: (w.compilation.handle, 100)),
    ("Compilation_setTimeout", lambda w: (w.compilation.handle, 1)),
    ("Compilation_setTimeout", lambda w: (w.any_compilation.handle, 1)),
    ("Compilation_finish", lambda w: (w.compilation.handle,)),
    ("Compilation_addExtensionAttribute", lambda w: (w.compilation.handle, b"x", 1, w.floats(), 8)),
    ("Compilation_getPreferredMemoryAlignmentForInput", lambda w: (w.open_compilation.handle, 0, ref(w))),
    ("Compilation_getPreferredMemoryPaddingForInput", lambda w: (w.open_compilation.handle, 0, ref(w))),
    ("Compilation_getPreferredMemoryAlignmentForOutput", lambda w: (w.open_compilation.handle, 0, ref(w))),
    ("Compilation_getPreferredMemoryPaddingForOutput", lambda w: (w.open_compilation.handle, 0, ref(w))),
    ("Execution_create", lambda w: (w.open_compilation.handle, ref(w))),
    ("Burst_create", lambda w: (w.open_compilation.handle, ref(w))),
    ("Execution_setInput", lambda w: (w.done_execution.handle, 0, None, w.floats(), 8)),
    ("Execution_setInput", lambda w: (w.ready_execution.handle, 0, None, w.floats(), 8)),
    ("Execution_setInputFromMemory", lambda w: (w.done_execution.handle, 0, None, w.memory.handle, 0, 8)),
    ("Execution_setInputFromMemory", lambda w: (w.ready_execution.handle, 0, None, w.memory.handle, 0, 8)),
    ("Execution_setOutput", lambda w: (w.done_execution.handle, 0, None, w.floats(), 8)),
    ("Execution_setOutput", lambda w: (w.ready_execution.handle, 0, None, w.floats(), 8)),
    ("Execution_setOutputFromMemory", lambda w: (w.done_execution.handle, 0, None, w.memory.handle, 0, 8)),
    ("Execution_setOutputFromMemory", lambda w: (w.ready_execution.handle, 0, None, w.memory.handle, 0, 8)),
    ("Execution_compute", lambda w: (w.done_execution.handle,)),
    ("Execution_startCompute", lambda w: (w.done_execution.handle, ref(w))),
    ("Execution_startComputeWithDependencies", lambda w: (w.done_execution.handle, None, 0, 0, ref(w))),
    ("Execution_burstCompute", lambda w: (w.done_execution.handle, w.burst.handle)),
    ("Execution_getOutputOperandRank", lambda w: (w.ready_execution.handle, 0, ref(w))),
    ("Execution_getOutputOperandDimensions", lambda w: (w.ready_execution.handle, 0, w.list(0))),
    ("Execution_setMeasureTiming", lambda w: (w.done_execution.handle, True)),
    ("Execution_getDuration", lambda w: (w.ready_execution.handle, 0, ref(w))),
    ("Execution_setTimeout", lambda w: (w.done_execution.handle, 1)),
    ("Execution_setLoopTimeout", lambda w: (w.done_execution.handle, 1)),
    ("Execution_enableInputAndOutputPadding", lambda w: (w.done_execution.handle, True)),
    ("Execution_enableInputAndOutputPadding", lambda w: (w.ready_execution.handle, True)),
    ("Execution_setReusable", lambda w: (w.done_execution.handle, True)),
    ("Execution_addExtensionAttribute", lambda w: (w.done_execution.handle, b"x", 1, w.floats(), 8)),
    ("MemoryDesc_addInputRole", lambda w: (w.desc().handle, w.compilation.handle, 1, 1.0)),
    ("MemoryDesc_addOutputRole", lambda w: (w.desc().handle, w.compilation.handle, 0, 1.0)),
    ("MemoryDesc_setDimensions", lambda w: (w.desc().handle, 1, w.list(2))),
    ("MemoryDesc_finish", lambda w: (w.desc().handle,)),
    ("Memory_createFromDesc", lambda w: (w.open_desc.handle, ref(w))),
]


@pytest.mark.parametrize(("call", "arguments"), STATES, ids=[f"{n}-{call}" for n, (call, _) in enumerate(STATES)])
def test_wrong_state(world: World, call: str, arguments: Arguments) -> None:
    assert world.result(call, *arguments(world)) == BAD_STATE


def test_an_invalid_model_stays_invalid(world: World) -> None:
    model = world.open_model
    assert world.result("Model_finish", model.handle) == BAD_DATA
    assert world.result("Model_finish", model.handle) == BAD_STATE
    assert world.result("Model_addOperand", model.handle, world.type(FLOATS)) == BAD_STATE
    assert world.result("Compilation_create", model.handle, ref(world)) == BAD_STATE


# --- bad index, length, type, value -----------------------------------------------------------------------------------


def operand(**fields: Any) -> Arguments:
    return lambda w: (w.open_model.handle, w.type(OperandType(**fields)))


BAD: list[tuple[str, Arguments]] = [
    ("getDevice", lambda w: (2, ref(w))),
    ("Memory_createFromFd", lambda w: (0, 3, w.memory_file(), 0, ref(w))),
    ("Memory_createFromFd", lambda w: (20, 3, -1, 0, ref(w))),
    ("Memory_createFromFd", lambda w: (20, 0x40000000, w.memory_file(), 0, ref(w))),
    ("Memory_createFromFd", lambda w: (2**64 - 1, 3, w.memory_file(), 4096, ref(w))),
    ("Memory_copy", lambda w: (w.memory.handle, w.described(w.desc()).handle)),
    ("Memory_copy", lambda w: (w.described(w.desc()).handle, w.described(w.desc()).handle)),
    ("MemoryDesc_addInputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 2, 1.0)),
    ("MemoryDesc_addInputRole", lambda w: (w.open_desc.handle, w.open_compilation.handle, 0, 1.0)),
    ("MemoryDesc_addInputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 0, 0.0)),
    ("MemoryDesc_addInputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 0, 1.5)),
    ("MemoryDesc_addInputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 0, math.nan)),
    ("MemoryDesc_addInputRole", lambda w: (w.desc(finish=False).handle, w.compilation.handle, 0, 1.0)),
    ("MemoryDesc_addOutputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 1, 1.0)),
    ("MemoryDesc_addOutputRole", lambda w: (w.open_desc.handle, w.open_compilation.handle, 0, 1.0)),
    ("MemoryDesc_addOutputRole", lambda w: (w.open_desc.handle, w.compilation.handle, 0, -1.0)),
    ("MemoryDesc_addOutputRole", lambda w: (w.desc(outputs=(0,), finish=False).handle, w.compilation.handle, 0, 1.0)),
    ("MemoryDesc_setDimensions", lambda w: (w.desc(finish=False).handle, 1, w.list(3))),
    ("MemoryDesc_setDimensions", lambda w: (w.desc(finish=False).handle, 2, w.list(2, 1))),
    ("MemoryDesc_setDimensions", lambda w: (w.open_desc.handle, 1000, w.list(*range(1000)))),
    ("MemoryDesc_finish", lambda w: (w.open_desc.handle,)),
    # operand types
    ("Model_addOperand", operand(type=-1)),
    ("Model_addOperand", operand(type=16)),
    ("Model_addOperand", operand(type=0x10000)),
    ("Model_addOperand", operand(type=INT32, dims=(1,))),
    ("Model_addOperand", operand(type=MODEL, dims=(1,))),
    ("Model_addOperand", operand(type=TENSOR_FLOAT32, dims=(65536, 65536))),
    ("Model_addOperand", operand(type=TENSOR_FLOAT32, dims=(1, 0xFFFFFFFF))),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,), scale=-1.0)),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,))),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,), scale=math.nan)),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,), scale=math.inf)),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,), scale=1.0, zero_point=-1)),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM, dims=(1,), scale=1.0, zero_point=256)),
    ("Model_addOperand", operand(type=TENSOR_QUANT8_ASYMM_SIGNED, dims=(1,), scale=1.0, zero_point=128)),
    ("Model_addOperand", operand(type=TENSOR_QUANT16_SYMM, dims=(1,), scale=1.0, zero_point=1)),
    ("Model_addOperand", operand(type=TENSOR_INT32, dims=(1,), zero_point=1)),
    ("Model_addOperand", operand(type=TENSOR_INT32, dims=(1,), scale=-1.0)),
    ("Model_addOperand", operand(type=TENSOR_FLOAT32, dims=(1,), scale=1.0)),
    ("Model_addOperand", operand(type=FLOAT32, zero_point=1)),
    # values
    ("Model_setOperandValue", lambda w: (w.open_model.handle, -1, w.floats(), 8)),
    ("Model_setOperandValue", lambda w: (w.open_model.handle, 7, w.floats(), 8)),
    ("Model_setOperandValue", lambda w: (w.open_model.handle, 0, w.floats(), 4)),
    ("Model_setOperandValue", lambda w: (w.open_model.handle, 0, w.floats(), 0)),
    ("Model_setOperandValue", lambda w: (w.open_model.handle, 5, w.floats(), 8)),
    ("Model_setOperandValue", lambda w: (open_operand(w), 0, w.floats(), 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, -1, w.memory.handle, 0, 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 7, w.memory.handle, 0, 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 0, w.memory.handle, 0, 20)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 0, w.memory.handle, 13, 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 0, w.memory.handle, 21, 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 0, w.memory.handle, 2**64 - 4, 8)),
    ("Model_setOperandValueFromMemory", lambda w: (w.open_model.handle, 0, w.described(w.desc()).handle, 0, 8)),
    ("Model_setOperandValueFromModel", lambda w: (w.open_model.handle, -1, w.model.handle)),
    ("Model_setOperandValueFromModel", lambda w: (w.open_model.handle, 7, w.model.handle)),
    ("Model_setOperandValueFromModel", lambda w: (w.open_model.handle, 0, w.model.handle)),
    ("Model_setOperandExtensionData", lambda w: (w.open_model.handle, 7, w.floats(), 8)),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, -1, w.channels())),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 7, w.channels())),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 0, w.channels())),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 4, w.channels(dim=2))),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 4, w.channels(count=1))),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 4, w.channels(count=0))),
    ("Model_setOperandSymmPerChannelQuantParams", lambda w: (w.open_model.handle, 4, w.channels(scales=(1.0, 0.0)))),
    # operations
    ("Model_addOperation", lambda w: (w.open_model.handle, -1, 3, w.list(0, 1, 2), 1, w.list(3))),
    ("Model_addOperation", lambda w: (w.open_model.handle, 106, 3, w.list(0, 1, 2), 1, w.list(3))),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 7), 1, w.list(3))),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 2), 1, w.list(7))),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 2, w.list(0, 1), 1, w.list(3))),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 2), 0, w.list())),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 4), 1, w.list(3))),
    ("Model_addOperation", lambda w: (w.open_model.handle, ADD, 3, w.list(0, 1, 2), 1, w.list(4))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 2, w.list(0, 7), 1, w.list(3))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 2, w.list(0, 1), 1, w.list(7))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 2, w.list(0, 0), 1, w.list(3))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 2, w.list(0, 1), 2, w.list(3, 3))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 2, w.list(0, 1), 2, w.list(3, 0))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 3, w.list(0, 1, 2), 1, w.list(3))),
    ("Model_identifyInputsAndOutputs", lambda w: (w.open_model.handle, 3, w.list(0, 1, 5), 1, w.list(3))),
    ("Model_finish", lambda w: (w.open_model.handle,)),
    ("Model_getSupportedOperationsForDevices", lambda w: (w.model.handle, w.devices(w.device), 0, ref(w))),
    ("Model_getSupportedOperationsForDevices", lambda w: (w.model.handle, w.devices(w.device, w.device), 2, ref(w))),
    # compilations
    ("Compilation_createForDevices", lambda w: (w.model.handle, w.devices(w.device), 0, ref(w))),
    ("Compilation_createForDevices", lambda w: (w.model.handle, w.devices(w.device, w.device), 2, ref(w))),
    ("Compilation_setPreference", lambda w: (w.open_compilation.handle, 3)),
    ("Compilation_setPreference", lambda w: (w.open_compilation.handle, -1)),
    ("Compilation_setPriority", lambda w: (w.open_compilation.handle, 95)),
    ("Compilation_setTimeout", lambda w: (w.own(Compilation(w.model, finish=False)).handle, 1)),
    ("Compilation_getPreferredMemoryAlignmentForInput", lambda w: (w.compilation.handle, 2, ref(w))),
    ("Compilation_getPreferredMemoryPaddingForInput", lambda w: (w.compilation.handle, 2, ref(w))),
    ("Compilation_getPreferredMemoryAlignmentForOutput", lambda w: (w.compilation.handle, 1, ref(w))),
    ("Compilation_getPreferredMemoryPaddingForOutput", lambda w: (w.compilation.handle, 1, ref(w))),
    # executions
    *[
        (f"Execution_set{which}", lambda w, i=index, t=type_, n=length: (
            w.open_execution.handle, i, None if t is None else w.type(t), w.floats(), n,
        ))
        for which in ("Input", "Output")
        for index, type_, length in [
            (-1, None, 8), (2, None, 8), (0, None, 4), (0, None, 12), (0, OperandType(TENSOR_FLOAT32, (3,)), 12),
            (0, OperandType(TENSOR_FLOAT32, (2, 1)), 8), (0, OperandType(TENSOR_INT32, (2,)), 8),
            (0, OperandType(99, (2,)), 8),
        ]
    ],
    *[
        (f"Execution_set{which}FromMemory", lambda w, i=index, o=offset, n=length: (
            w.open_execution.handle, i, None, w.memory.handle, o, n,
        ))
        for which in ("Input", "Output")
        for index, offset, length in [
            (-1, 0, 8), (2, 0, 8), (0, 0, 4), (0, 0, 20), (0, 13, 8), (0, 21, 8), (0, 2**64 - 4, 8),
        ]
    ],
    ("Execution_setInputFromMemory", lambda w: (w.open_execution.handle, 0, None, w.described(w.desc()).handle, 0, 8)),
    ("Execution_setInputFromMemory", lambda w: (w.open_execution.handle, 1, None, w.described(w.desc()).handle, 0, 0)),
    ("Execution_setOutputFromMemory", lambda w: (w.open_execution.handle, 0, None, w.described(w.desc()).handle, 0, 0)),
    ("Execution_compute", lambda w: (w.open_execution.handle,)),
    ("Execution_startCompute", lambda w: (w.open_execution.handle, ref(w))),
    ("Execution_startComputeWithDependencies", lambda w: (w.open_execution.handle, None, 0, 0, ref(w))),
    ("Execution_startComputeWithDependencies", lambda w: (
        w.execution_of(w.any_compilation).handle, None, 0, 1, ref(w),
    )),
    ("Execution_burstCompute", lambda w: (w.open_execution.handle, w.burst.handle)),
    ("Execution_burstCompute", lambda w: (w.execution_of(w.any_compilation).handle, w.burst.handle)),
    ("Execution_getOutputOperandRank", lambda w: (w.done_execution.handle, -1, ref(w))),
    ("Execution_getOutputOperandRank", lambda w: (w.done_execution.handle, 1, ref(w))),
    ("Execution_getOutputOperandDimensions", lambda w: (w.done_execution.handle, -1, w.list(0))),
    ("Execution_getOutputOperandDimensions", lambda w: (w.done_execution.handle, 1, w.list(0))),
    ("Execution_setMeasureTiming", lambda w: (w.execution_of(w.any_compilation).handle, True)),
    ("Execution_setTimeout", lambda w: (w.execution_of(w.any_compilation).handle, 1)),
    ("Execution_getDuration", lambda w: (w.done_execution.handle, 4, ref(w))),
    ("Execution_getDuration", lambda w: (w.done_execution.handle, -1, ref(w))),
    ("Event_createFromSyncFenceFd", lambda w: (-1, ref(w))),
    ("Event_createFromSyncFenceFd", lambda w: (999_999, ref(w))),
]  # fmt: skip


def open_operand(w: World) -> C.c_void_p:
    """A model whose operand 0 has an unknown dimension."""
    return w.add_model(OPEN, finish=False).handle


@pytest.mark.parametrize(("call", "arguments"), BAD, ids=[f"{n}-{call}" for n, (call, _) in enumerate(BAD)])
def test_bad_data(world: World, call: str, arguments: Arguments) -> None:
    assert world.result(call, *arguments(world)) == BAD_DATA


@pytest.mark.parametrize("call", ["Model_getSupportedOperationsForDevices", "Compilation_createForDevices"])
def test_null_among_devices(world: World, call: str) -> None:
    assert world.result(call, world.model.handle, world.devices(world.device, None), 2, ref(world)) == UNEXPECTED_NULL


def test_null_among_dependencies(world: World) -> None:
    events = world.devices(world.event.handle, None)
    call = "Execution_startComputeWithDependencies"
    assert world.result(call, world.ready_execution.handle, events, 2, 0, ref(world)) == UNEXPECTED_NULL


def test_a_short_file_cannot_be_mapped(world: World) -> None:
    assert world.result("Memory_createFromFd", 21, 3, world.memory_file(), 0, ref(world)) == UNMAPPABLE
    assert world.result("Memory_createFromFd", 20, 3, world.memory_file(), 1, ref(world)) == UNMAPPABLE
    read, write = os.pipe()
    assert world.result("Memory_createFromFd", 20, 3, read, 0, ref(world)) == UNMAPPABLE
    os.close(read)
    os.close(write)


def test_memory_without_the_right_is_refused(world: World) -> None:
    fd = world.memory_file()
    readable = world.api.handle("Memory_createFromFd", 20, 1, fd, 0)
    writable = world.api.handle("Memory_createFromFd", 20, 2, fd, 0)
    execution = world.open_execution.handle
    assert world.result("Execution_setOutputFromMemory", execution, 0, None, readable, 0, 8) == BAD_DATA
    assert world.result("Execution_setInputFromMemory", execution, 0, None, writable, 0, 8) == BAD_DATA
    assert world.result("Model_setOperandValueFromMemory", world.open_model.handle, 0, writable, 0, 8) == BAD_DATA
    for handle in (readable, writable):
        world.api.Memory_free(handle)


def test_failed_creation_gives_no_handle(world: World) -> None:
    """The place for the handle is cleared, so that a client's clean-up frees NULL."""
    for call, arguments in [
        ("Compilation_create", (world.open_model.handle,)),
        ("Compilation_createForDevices", (world.open_model.handle, world.devices(world.device), 1)),
        ("Execution_create", (world.open_compilation.handle,)),
        ("Burst_create", (world.open_compilation.handle,)),
        ("Memory_createFromFd", (0, 3, 0, 0)),
        ("Memory_createFromDesc", (world.open_desc.handle,)),
        ("getDevice", (99,)),
        ("Execution_startCompute", (world.open_execution.handle,)),
    ]:
        handle = C.c_void_p(1)
        assert world.result(call, *arguments, C.byref(handle)) != NO_ERROR
        assert not handle, call


def test_oem_operands_are_carried_but_never_run(world: World) -> None:
    model = world.own(type(world.model)(world.api))
    scalar = model.operand(OperandType(10000))
    model.value(scalar, np.zeros(20, np.uint8))
    a, b = model.operand(OperandType(10001, (1,))), model.operand(OperandType(10001, (1,)))
    model.operation(10000, [a, scalar], [b])
    model.identify([a], [b])
    model.finish()
    for device in world.api.devices().values():
        supported = (C.c_bool * 1)(True)
        call = "Model_getSupportedOperationsForDevices"
        assert world.result(call, model.handle, world.devices(device), 1, supported) == NO_ERROR
        assert not supported[0]
    compilation = world.own(Compilation(model, finish=False))
    assert world.result("Compilation_finish", compilation.handle) == BAD_DATA
    assert world.result("Execution_create", compilation.handle, ref(world)) == BAD_STATE
    assert world.result("MemoryDesc_addInputRole", world.open_desc.handle, compilation.handle, 0, 1.0) == BAD_DATA


def test_uninitialized_memory_as_input_fails(world: World) -> None:
    memory = world.described(world.desc())
    execution = world.own(Execution(world.compilation))
    world.api.check("Execution_setInputFromMemory", execution.handle, 0, None, memory.handle, 0, 0)
    execution.input(1, np.zeros(2, np.float32))
    execution.output(0, np.zeros(2, np.float32))
    assert world.result("Execution_compute", execution.handle) == OP_FAILED
    assert world.result("Execution_getOutputOperandRank", execution.handle, 0, ref(world)) == BAD_STATE
