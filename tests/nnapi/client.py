"""The NNAPI C interface by ctypes, for any libneuralnetworks.so.

`Nnapi` holds the raw entry points (`api.Model_create(...)` returns the result code) and `check`, which turns a code
into `NnapiError`. `Model`, `Compilation` and `Execution` own their handles and keep alive what the C side points to.
"""

from __future__ import annotations

import ctypes as C
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_RESULTS = """
NO_ERROR OUT_OF_MEMORY INCOMPLETE UNEXPECTED_NULL BAD_DATA OP_FAILED BAD_STATE UNMAPPABLE OUTPUT_INSUFFICIENT_SIZE
UNAVAILABLE_DEVICE MISSED_DEADLINE_TRANSIENT MISSED_DEADLINE_PERSISTENT RESOURCE_EXHAUSTED_TRANSIENT
RESOURCE_EXHAUSTED_PERSISTENT DEAD_OBJECT
"""
#: Names of the result codes, by code.
RESULTS = _RESULTS.split()
NO_ERROR, UNEXPECTED_NULL, BAD_DATA, OP_FAILED, BAD_STATE, UNMAPPABLE = 0, 3, 4, 5, 6, 7
OUTPUT_INSUFFICIENT_SIZE, MISSED_DEADLINE_TRANSIENT, MISSED_DEADLINE_PERSISTENT = 8, 10, 11

FLOAT32, INT32, UINT32, TENSOR_FLOAT32, TENSOR_INT32, TENSOR_QUANT8_ASYMM, BOOL = range(7)
TENSOR_QUANT16_SYMM, TENSOR_FLOAT16, TENSOR_BOOL8, FLOAT16, TENSOR_QUANT8_SYMM_PER_CHANNEL = range(7, 12)
TENSOR_QUANT16_ASYMM, TENSOR_QUANT8_SYMM, TENSOR_QUANT8_ASYMM_SIGNED, MODEL = range(12, 16)

#: numpy type of an element, by operand type code.
DTYPES: dict[int, type[np.generic]] = {
    FLOAT32: np.float32, INT32: np.int32, UINT32: np.uint32,
    TENSOR_FLOAT32: np.float32, TENSOR_INT32: np.int32,
    TENSOR_QUANT8_ASYMM: np.uint8, BOOL: np.bool_, TENSOR_QUANT16_SYMM: np.int16, TENSOR_FLOAT16: np.float16,
    TENSOR_BOOL8: np.bool_, FLOAT16: np.float16, TENSOR_QUANT8_SYMM_PER_CHANNEL: np.int8,
    TENSOR_QUANT16_ASYMM: np.uint16, TENSOR_QUANT8_SYMM: np.int8, TENSOR_QUANT8_ASYMM_SIGNED: np.int8,
}  # fmt: skip
SCALARS = frozenset({FLOAT32, INT32, UINT32, BOOL, FLOAT16, MODEL})


class CType(C.Structure):
    """ANeuralNetworksOperandType."""

    _fields_: ClassVar = [
        ("type", C.c_int32),
        ("dimension_count", C.c_uint32),
        ("dimensions", C.POINTER(C.c_uint32)),
        ("scale", C.c_float),
        ("zero_point", C.c_int32),
    ]


class CChannels(C.Structure):
    """ANeuralNetworksSymmPerChannelQuantParams."""

    _fields_: ClassVar = [
        ("channel_dim", C.c_uint32),
        ("scale_count", C.c_uint32),
        ("scales", C.POINTER(C.c_float)),
    ]


class CSettings(C.Structure):
    """SoftnnSettings of softnn.h."""

    _fields_: ClassVar = [
        ("size", C.c_uint32),
        ("feature_level", C.c_int32),
        ("device_feature_level", C.c_int32),
        ("device_type", C.c_int32),
        ("device_name", C.c_char_p),
        ("device_version", C.c_char_p),
        ("refuse", C.c_char_p),
        ("faults", C.c_char_p),
        ("refuse_every", C.c_uint32),
        ("threads", C.c_uint32),
        ("verbose", C.c_uint32),
        ("cores", C.c_uint32),
    ]


# Parameters by letter: p pointer or handle, P pointer to handle, i int32, u uint32, l uint64, z size_t, b bool,
# f float, h uint16, t operand type, c channel parameters. In front "!": returns nothing; "=": a 64-bit number.
_SIGNATURES = """
getRuntimeFeatureLevel:= getDeviceCount:p getDevice:uP getDefaultLoopTimeout:= getMaximumLoopTimeout:=
Device_getName:pp Device_getType:pp Device_getVersion:pp Device_getFeatureLevel:pp Device_wait:p
Device_getExtensionSupport:ppp Memory_createFromFd:ziizP Memory_createFromAHardwareBuffer:pP
Memory_createFromDesc:pP Memory_copy:pp Memory_free:!p MemoryDesc_create:P MemoryDesc_free:!p
MemoryDesc_addInputRole:ppuf MemoryDesc_addOutputRole:ppuf MemoryDesc_setDimensions:pup
MemoryDesc_finish:p Model_create:P Model_free:!p Model_finish:p Model_addOperand:pt
Model_setOperandValue:pipz Model_setOperandSymmPerChannelQuantParams:pic
Model_setOperandValueFromMemory:pipzz Model_setOperandValueFromModel:pip Model_addOperation:piupup
Model_identifyInputsAndOutputs:pupup Model_relaxComputationFloat32toFloat16:pb
Model_getSupportedOperationsForDevices:ppup Model_getExtensionOperandType:pphp
Model_getExtensionOperationType:pphp Model_setOperandExtensionData:pipz Compilation_create:pP
Compilation_createForDevices:ppuP Compilation_free:!p Compilation_setPreference:pi
Compilation_setCaching:ppp Compilation_setPriority:pi Compilation_setTimeout:pl Compilation_finish:p
Compilation_getPreferredMemoryAlignmentForInput:pup Compilation_getPreferredMemoryPaddingForInput:pup
Compilation_getPreferredMemoryAlignmentForOutput:pup Compilation_getPreferredMemoryPaddingForOutput:pup
Compilation_addExtensionAttribute:pphpz Execution_create:pP Execution_free:!p Execution_setInput:pitpz
Execution_setInputFromMemory:pitpzz Execution_setOutput:pitpz Execution_setOutputFromMemory:pitpzz
Execution_compute:p Execution_startCompute:pP Execution_startComputeWithDependencies:ppulP
Execution_burstCompute:pp Execution_getOutputOperandRank:pip Execution_getOutputOperandDimensions:pip
Execution_setMeasureTiming:pb Execution_getDuration:pip Execution_setTimeout:pl
Execution_setLoopTimeout:pl Execution_enableInputAndOutputPadding:pb Execution_setReusable:pb
Execution_addExtensionAttribute:pphpz Burst_create:pP Burst_free:!p Event_wait:p Event_free:!p
Event_createFromSyncFenceFd:iP Event_getSyncFenceFd:pp
"""
SIGNATURES: dict[str, str] = {item.split(":")[0]: item.split(":")[1] for item in _SIGNATURES.split()}
_LETTERS: dict[str, Any] = {
    "p": C.c_void_p, "P": C.c_void_p, "i": C.c_int32, "u": C.c_uint32, "l": C.c_uint64, "z": C.c_size_t,
    "b": C.c_bool, "f": C.c_float, "h": C.c_uint16, "t": C.POINTER(CType), "c": C.POINTER(CChannels),
}  # fmt: skip


class NnapiError(Exception):
    """A call that did not return NO_ERROR."""

    def __init__(self, call: str, code: int) -> None:
        self.call, self.code = call, code
        name = RESULTS[code] if 0 <= code < len(RESULTS) else "?"
        super().__init__(f"ANeuralNetworks{call} -> {code} ({name})")


def symbol_name(call: str) -> str:
    """The exported name of an entry point: `Model_create` -> `ANeuralNetworksModel_create`."""
    return "ANeuralNetworks" + ("_" if call[0].islower() else "") + call


class Nnapi:
    """A loaded libneuralnetworks.so; entry points are attributes."""

    def __init__(self, path: Path | str) -> None:
        self.library = C.CDLL(str(path))
        for call, letters in SIGNATURES.items():
            function = self.library[symbol_name(call)]
            function.restype = {"!": None, "=": C.c_uint64}.get(letters[:1], C.c_int)
            function.argtypes = [_LETTERS[letter] for letter in letters.lstrip("!=")]
            setattr(self, call, function)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(name)

    def check(self, call: str, *arguments: Any) -> None:
        """Calls and raises NnapiError unless the answer is NO_ERROR."""
        code = getattr(self, call)(*arguments)
        if code != NO_ERROR:
            raise NnapiError(call, code)

    def handle(self, call: str, *arguments: Any) -> C.c_void_p:
        """Calls a function whose last parameter receives a new handle."""
        handle = C.c_void_p()
        self.check(call, *arguments, C.byref(handle))
        return handle

    def configure(self, **fields: Any) -> int:
        """softnn_configure; without fields back to the environment."""
        function = self.library["softnn_configure"]
        function.restype, function.argtypes = C.c_int, [C.POINTER(CSettings)]
        if not fields:
            return int(function(None))
        encoded = {name: value.encode() if isinstance(value, str) else value for name, value in fields.items()}
        return int(function(C.byref(CSettings(size=C.sizeof(CSettings), **encoded))))

    def devices(self) -> dict[str, C.c_void_p]:
        """All devices by name."""
        count = C.c_uint32()
        self.check("getDeviceCount", C.byref(count))
        found = {}
        for index in range(count.value):
            device, name = self.handle("getDevice", index), C.c_char_p()
            self.check("Device_getName", device, C.byref(name))
            found[(name.value or b"").decode()] = device
        return found


@dataclass(frozen=True)
class OperandType:
    """An operand's type. `dims` () for a scalar or a tensor of unknown rank."""

    type: int
    dims: tuple[int, ...] = ()
    scale: float = 0.0
    zero_point: int = 0

    def c(self) -> CType:
        dims = (C.c_uint32 * max(len(self.dims), 1))(*self.dims)
        return CType(self.type, len(self.dims), dims if self.dims else None, self.scale, self.zero_point)


def indexes(values: Sequence[int]) -> C.Array[C.c_uint32]:
    """A C array of operand indexes; of one element at least, because an empty list must not be NULL."""
    return (C.c_uint32 * max(len(values), 1))(*values)


def address(array: Array) -> int:
    """Where a contiguous array's bytes are."""
    assert array.flags.c_contiguous
    return int(array.ctypes.data)


class Owner:
    """Something with a handle to free."""

    def __init__(self, api: Nnapi, free: str, handle: C.c_void_p) -> None:
        self.api, self._free, self.handle = api, free, handle
        self.kept: list[Any] = []

    def close(self) -> None:
        if self.handle:
            getattr(self.api, self._free)(self.handle)
            self.handle = C.c_void_p()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Memory(Owner):
    """Memory that holds some bytes, in an anonymous file."""

    def __init__(self, api: Nnapi, content: bytes, protect: int = 3, offset: int = 0) -> None:
        self.fd = os.memfd_create("nnapi-test")
        os.write(self.fd, bytes(offset) + content)
        super().__init__(api, "Memory_free", api.handle("Memory_createFromFd", len(content), protect, self.fd, offset))
        self.size = len(content)
        self.offset = offset

    def read(self) -> bytes:
        return os.pread(self.fd, self.size, self.offset)

    def close(self) -> None:
        super().close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Model(Owner):
    """A model under construction."""

    def __init__(self, api: Nnapi) -> None:
        super().__init__(api, "Model_free", api.handle("Model_create"))
        self.operands: list[OperandType] = []

    def operand(self, type_: OperandType) -> int:
        """Adds an operand; its index."""
        self.api.check("Model_addOperand", self.handle, C.byref(type_.c()))
        self.operands.append(type_)
        return len(self.operands) - 1

    def value(self, index: int, value: Array | None) -> None:
        """Gives a constant by pointer, None omits."""
        if value is None:
            self.api.check("Model_setOperandValue", self.handle, index, None, 0)
            return
        array = np.ascontiguousarray(value)
        self.kept.append(array)
        self.api.check("Model_setOperandValue", self.handle, index, address(array), array.nbytes)

    def constant(self, type_: OperandType, value: Any) -> int:
        """Adds an operand with a value."""
        index = self.operand(type_)
        self.value(index, np.asarray(value, DTYPES[type_.type]))
        return index

    def channels(self, index: int, axis: int, scales: Sequence[float]) -> None:
        array = (C.c_float * len(scales))(*scales)
        call = "Model_setOperandSymmPerChannelQuantParams"
        self.api.check(call, self.handle, index, C.byref(CChannels(axis, len(scales), array)))

    def operation(self, code: int, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        call = "Model_addOperation"
        self.api.check(call, self.handle, code, len(inputs), indexes(inputs), len(outputs), indexes(outputs))

    def identify(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        call = "Model_identifyInputsAndOutputs"
        self.api.check(call, self.handle, len(inputs), indexes(inputs), len(outputs), indexes(outputs))

    def finish(self) -> None:
        self.api.check("Model_finish", self.handle)


class Compilation(Owner):
    """A compilation, finished unless `finish` is false."""

    def __init__(self, model: Model, devices: Sequence[C.c_void_p] | None = None, *, finish: bool = True) -> None:
        api = model.api
        if devices is None:
            handle = api.handle("Compilation_create", model.handle)
        else:
            array = (C.c_void_p * max(len(devices), 1))(*[device.value for device in devices])
            handle = api.handle("Compilation_createForDevices", model.handle, array, len(devices))
        super().__init__(api, "Compilation_free", handle)
        if finish:
            try:
                self.finish()
            except NnapiError:
                self.close()
                raise

    def finish(self) -> None:
        self.api.check("Compilation_finish", self.handle)


class Execution(Owner):
    """An execution and its buffers."""

    def __init__(self, compilation: Compilation) -> None:
        super().__init__(
            compilation.api, "Execution_free", compilation.api.handle("Execution_create", compilation.handle)
        )
        self.compilation = compilation

    def input(self, index: int, value: Array | None, type_: OperandType | None = None) -> None:
        c_type = C.byref(type_.c()) if type_ else None
        if value is None:
            self.api.check("Execution_setInput", self.handle, index, c_type, None, 0)
            return
        self.kept.append(value)
        self.api.check("Execution_setInput", self.handle, index, c_type, address(value), value.nbytes)

    def output(self, index: int, buffer: Array | None, type_: OperandType | None = None) -> None:
        c_type = C.byref(type_.c()) if type_ else None
        length = 0 if buffer is None else buffer.nbytes
        self.kept.append(buffer)
        where = None if buffer is None else address(buffer)
        self.api.check("Execution_setOutput", self.handle, index, c_type, where, length)

    def compute(self, mode: str = "sync") -> None:
        """Runs by one of the ways there are: sync, async, fenced, burst."""
        if mode == "sync":
            self.api.check("Execution_compute", self.handle)
        elif mode == "burst":
            with Owner(self.api, "Burst_free", self.api.handle("Burst_create", self.compilation.handle)) as burst:
                self.api.check("Execution_burstCompute", self.handle, burst.handle)
        elif mode in ("async", "fenced"):
            if mode == "async":
                event = self.api.handle("Execution_startCompute", self.handle)
            else:
                event = self.api.handle("Execution_startComputeWithDependencies", self.handle, None, 0, 0)
            with Owner(self.api, "Event_free", event):
                self.api.check("Event_wait", event)
        else:
            raise ValueError(mode)

    def dims(self, index: int) -> tuple[int, ...]:
        """An output's dimensions after the run."""
        rank = C.c_uint32()
        self.api.check("Execution_getOutputOperandRank", self.handle, index, C.byref(rank))
        if rank.value == 0:
            return ()
        array = (C.c_uint32 * rank.value)()
        self.api.check("Execution_getOutputOperandDimensions", self.handle, index, array)
        return tuple(array)
