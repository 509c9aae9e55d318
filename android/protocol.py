"""The shim's protocol, as the host speaks it: constants out of shim/protocol.h, frames, and a typed client.

    client = ShimClient(channel)               # any Channel: adb, a subprocess, in process
    hello = client.hello(build_hash)
    client.open("/data/local/tmp/.../model.tflite", size)
    client.load(0, program, device=0)
    result = client.execute(0, [ExecuteInput(data=image, shape=(1, 224, 224, 3))], [ExecuteOutput()])
    result.outputs[0].data                     # memoryview into the reply, nothing is copied

Error replies leave as exceptions (see `nnapi_toolkit.android.errors`). Deadlines are seconds from now.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from .errors import (
    DriverError,
    LibraryError,
    ProgramError,
    ProtocolError,
    ShimCrashedError,
    ShimDeadlineError,
    ShimError,
    describe_errno,
    result_name,
)

#: Anything with the buffer protocol: bytes, bytearray, memoryview, a contiguous numpy array.
Buffer: TypeAlias = Any

PROTOCOL_HEADER = Path(__file__).resolve().parent / "shim" / "protocol.h"


def read_constants(text: str) -> dict[str, int]:
    """The `#define NTK_NAME number` lines of protocol.h."""
    found = re.findall(r"^#define (NTK_\w+)[ \t]+(0[xX][0-9a-fA-F]+|\d+)\b", text, re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


CONSTANTS = read_constants(PROTOCOL_HEADER.read_text(encoding="utf-8"))
VERSION = CONSTANTS["NTK_PROTOCOL_VERSION"]
MAGIC = CONSTANTS["NTK_MAGIC"]
HEADER_BYTES = CONSTANTS["NTK_HEADER_BYTES"]
MAX_PAYLOAD = CONSTANTS["NTK_MAX_PAYLOAD"]
MAX_PROGRAM = CONSTANTS["NTK_MAX_PROGRAM"]
MAX_PROGRAMS = CONSTANTS["NTK_MAX_PROGRAMS"]
MAX_ECHO = CONSTANTS["NTK_MAX_ECHO"]
MAX_SLOTS = CONSTANTS["NTK_MAX_SLOTS"]
MAX_RANK = CONSTANTS["NTK_MAX_RANK"]
HASH_BYTES = CONSTANTS["NTK_HASH_BYTES"]
NO_SLOT = CONSTANTS["NTK_NO_SLOT"]
NOT_AVAILABLE = 2**64 - 1


class Kind(IntEnum):
    """Kinds of requests."""

    HELLO = CONSTANTS["NTK_HELLO"]
    OPEN = CONSTANTS["NTK_OPEN"]
    LOAD = CONSTANTS["NTK_LOAD"]
    SUPPORTED = CONSTANTS["NTK_SUPPORTED"]
    EXECUTE = CONSTANTS["NTK_EXECUTE"]
    READ = CONSTANTS["NTK_READ"]
    WRITE = CONSTANTS["NTK_WRITE"]
    DROP = CONSTANTS["NTK_DROP"]
    UNLOAD = CONSTANTS["NTK_UNLOAD"]
    STATS = CONSTANTS["NTK_STATS"]
    ECHO = CONSTANTS["NTK_ECHO"]
    BYE = CONSTANTS["NTK_BYE"]


class Status(IntEnum):
    """Status of a reply."""

    OK = CONSTANTS["NTK_STATUS_OK"]
    MALFORMED = CONSTANTS["NTK_STATUS_MALFORMED"]
    VERSION = CONSTANTS["NTK_STATUS_VERSION"]
    STATE = CONSTANTS["NTK_STATUS_STATE"]
    PROGRAM = CONSTANTS["NTK_STATUS_PROGRAM"]
    SYSTEM = CONSTANTS["NTK_STATUS_SYSTEM"]
    LIBRARY = CONSTANTS["NTK_STATUS_LIBRARY"]
    NNAPI = CONSTANTS["NTK_STATUS_NNAPI"]
    CRASHED = CONSTANTS["NTK_STATUS_CRASHED"]
    DEADLINE = CONSTANTS["NTK_STATUS_DEADLINE"]


_INLINE = CONSTANTS["NTK_INLINE"]
_SLOT = CONSTANTS["NTK_SLOT"]
_OMITTED = CONSTANTS["NTK_OMITTED"]
_ZEROS = bytes(8)

# --- frames ------------------------------------------------------------------------------------------------------

_HEADER = struct.Struct("<IHHIiQ")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_DIMS = [struct.Struct(f"<{rank}I") for rank in range(MAX_RANK + 1)]
assert _HEADER.size == HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Header:
    """The 24 bytes in front of each payload."""

    kind: int
    id: int
    length: int
    status: int = 0
    code: int = 0


def encode_header(kind: int, id: int, length: int, status: int = 0, code: int = 0) -> bytes:
    """The header of a frame; ProtocolError where the payload is longer than the protocol allows."""
    if length > MAX_PAYLOAD:
        raise ProtocolError(
            f"a payload of {length} bytes (at most {MAX_PAYLOAD}): split the request", request=kind_name(kind)
        )
    return _HEADER.pack(MAGIC, kind, status, id, code, length)


def decode_header(data: Buffer) -> Header:
    """The header in `data`; ProtocolError where it is none."""
    magic, kind, status, id, code, length = _HEADER.unpack(data)
    if magic != MAGIC:
        raise ProtocolError(
            f"the stream is not the shim's: {bytes(data)!r} where a frame should begin. "
            "Something else was started, or it printed into the stream."
        )
    if length > MAX_PAYLOAD:
        raise ProtocolError(f"a reply of {length} bytes (at most {MAX_PAYLOAD})", request=kind_name(kind))
    return Header(kind, id, length, status, code)


def check_reply(header: Header, kind: int, id: int) -> None:
    """ProtocolError unless the header is that of the reply to the request (kind, id)."""
    if header.status == Status.MALFORMED and header.id != id:
        return  # the shim could not read the request's header; its text says so
    if header.kind != kind or header.id != id:
        raise ProtocolError(
            f"the reply is to {kind_name(header.kind)} number {header.id}, not to {kind_name(kind)} number {id}: "
            "the stream is out of step; close the session",
            request=kind_name(kind),
        )


def kind_name(kind: int) -> str:
    """`EXECUTE` for 5; `kind 99` for an unknown one."""
    try:
        return Kind(kind).name
    except ValueError:
        return f"kind {kind}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. The payload is writable memory of its own, aligned to 8 bytes."""

    kind: int
    status: int
    code: int
    payload: memoryview


class Channel(Protocol):
    """The road to a shim: one request, one reply, one at a time."""

    def request(self, kind: int, parts: Sequence[Buffer], deadline: float) -> Reply:
        """Sends a request whose payload is the parts one after another, and waits for its reply.

        Args:
            kind: One of `Kind`.
            parts: Bytes-like; sent as they are, without being joined. They are not kept.
            deadline: Seconds until the whole reply must be there.

        Raises:
            ShimLostError: the shim or the road to it is gone.
            ShimTimeoutError: the deadline passed; the channel cannot be used again.
            ProtocolError: what came back is not a reply to this request.
        """
        ...

    def close(self) -> None:
        """Ends the road; may be called twice."""
        ...


# --- fields ------------------------------------------------------------------------------------------------------


class _Reader:
    """Takes fields off a reply's payload."""

    def __init__(self, payload: memoryview, kind: int) -> None:
        self.payload = payload
        self.kind = kind
        self.at = 0

    def take(self, length: int) -> memoryview:
        end = self.at + length
        if end > len(self.payload):
            raise ProtocolError(
                f"a reply of {len(self.payload)} bytes ends before byte {end}", request=kind_name(self.kind)
            )
        piece = self.payload[self.at : end]
        self.at = end
        return piece

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def i32(self) -> int:
        return int.from_bytes(self.take(4), "little", signed=True)

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def dims(self) -> tuple[int, ...]:
        rank = self.u32()
        if rank > MAX_RANK:
            raise ProtocolError(f"a shape of rank {rank} (at most {MAX_RANK})", request=kind_name(self.kind))
        return _DIMS[rank].unpack(self.take(4 * rank))

    def text(self) -> str:
        return bytes(self.take(self.u32())).decode("utf-8", "replace")

    def pad(self) -> None:
        self.take(-self.at % 8)

    def end(self) -> None:
        if self.at != len(self.payload):
            raise ProtocolError(
                f"a reply with {len(self.payload) - self.at} bytes too many", request=kind_name(self.kind)
            )


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    if b"\0" in data:
        raise ValueError(f"a NUL in {value!r}")
    return _U32.pack(len(data)) + data


def _bytes_of(data: Buffer, what: str) -> memoryview:
    view = memoryview(data)
    if not view.contiguous:
        raise ValueError(f"{what}: its bytes are not contiguous; copy it first (numpy.ascontiguousarray)")
    if view.nbytes == 0:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _shape(shape: Sequence[int], what: str) -> bytes:
    if len(shape) > MAX_RANK:
        raise ValueError(f"{what}: rank {len(shape)} (at most {MAX_RANK})")
    return _U32.pack(len(shape)) + _DIMS[len(shape)].pack(*shape)


def _optional_ns(value: int) -> int | None:
    return None if value == NOT_AVAILABLE else value


# --- what requests take and replies give --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NnapiDevice:
    """One NNAPI device of the phone. `type`: 0 unknown, 1 other, 2 CPU, 3 GPU, 4 accelerator; level 1..8."""

    index: int
    type: int
    feature_level: int
    name: str
    version: str

    @property
    def type_name(self) -> str:
        """`accelerator` and the like."""
        names = ("unknown", "other", "cpu", "gpu", "accelerator")
        return names[self.type] if 0 <= self.type < len(names) else f"type {self.type}"


@dataclass(frozen=True, slots=True)
class Hello:
    """What the shim says about itself and the phone's NNAPI. `feature_level` is the run time's, 1..8."""

    version: int
    build_hash: str
    pid: int
    feature_level: int
    pointer_bits: int
    library: str
    devices: tuple[NnapiDevice, ...]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A compiled program. Times in nanoseconds of the device's clock.

    `mapped_bytes` of its constants are used where they lie in the pushed files, `copied_bytes` were copied: small ones, misaligned
    ones, and all of them where a driver may not map files.
    """

    build_ns: int
    compile_ns: int
    input_count: int
    output_count: int
    mapped_bytes: int
    copied_bytes: int


@dataclass(frozen=True, slots=True)
class ExecuteInput:
    """One input of an execution.

    Attributes:
        slot: Without `data`: the slot that holds the tensor. With it: the slot that keeps it too, None = do not keep.
        data: The tensor's bytes; None = it is in `slot`.
        shape: Needed where the program leaves dimensions open; () = as the program declares them.
        omitted: An optional operand without a value.
    """

    slot: int | None = None
    data: Buffer | None = None
    shape: Sequence[int] = ()
    omitted: bool = False


@dataclass(frozen=True, slots=True)
class ExecuteOutput:
    """One output of an execution.

    Attributes:
        slot: The slot that keeps it on the device, None = do not keep.
        send: Send it to the host.
        capacity: Bytes; a first guess where the program leaves dimensions open, 0 = none.
    """

    slot: int | None = None
    send: bool = True
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that came back: `data` is a view into the reply (empty where it was not sent), `length` its bytes."""

    data: memoryview
    shape: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """One execution. Times in nanoseconds of the device's clock.

    `execute_ns` is inside NNAPI, `request_ns` from the arrival of the request to the reply; `hardware_ns` and `driver_ns` are what the
    driver says of itself, None where it does not.
    """

    outputs: tuple[Tensor, ...]
    execute_ns: int
    hardware_ns: int | None
    driver_ns: int | None
    request_ns: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What the worker on the device holds."""

    max_resident_kib: int
    programs: int
    slots: int
    slot_bytes: int
    shared_bytes: int
    descriptors: int


# --- the client --------------------------------------------------------------------------------------------------

_ERRORS: dict[int, type[ShimError]] = {
    Status.MALFORMED: ProtocolError,
    Status.VERSION: ProtocolError,
    Status.PROGRAM: ProgramError,
    Status.LIBRARY: LibraryError,
    Status.NNAPI: DriverError,
    Status.CRASHED: ShimCrashedError,
    Status.DEADLINE: ShimDeadlineError,
}
_ADVICE = {
    Status.VERSION: "Remove the old files (nnapi clean) and try again.",
    Status.LIBRARY: "`nnapi doctor` shows what this device has.",
    Status.CRASHED: "The session is empty now: say hello, open and load again.",
    Status.DEADLINE: "The session is empty now: say hello, open and load again.",
}

_EXECUTE = struct.Struct("<IIQII")
_INPUT = struct.Struct("<IIQ")
_OUTPUT = struct.Struct("<IIQ")
_EXECUTED = struct.Struct("<QQQQI")


def error_of(reply: Reply) -> ShimError:
    """The exception that an error reply stands for."""
    request = kind_name(reply.kind)
    try:
        text = _Reader(reply.payload, reply.kind).text()
    except ProtocolError:
        text = f"status {reply.status} without a text"
    if reply.status == Status.NNAPI:
        text += f" ({result_name(reply.code)})"
    elif reply.status == Status.SYSTEM:
        text += f" ({describe_errno(reply.code)})"
    elif reply.status == Status.CRASHED:
        crashed = ShimCrashedError("", code=reply.code)
        text += f" ({crashed.signal_name})" if crashed.signal_name else ""
    advice = _ADVICE.get(Status(reply.status)) if reply.status in Status._value2member_map_ else None
    if advice:
        text += f". {advice}"
    return _ERRORS.get(reply.status, ShimError)(text, request=request, status=reply.status, code=reply.code)


class ShimClient:
    """Requests to a shim, as methods. Every method raises what `Channel.request` raises, and what `error_of` makes of error replies."""

    def __init__(self, channel: Channel) -> None:
        """`channel` stays the caller's as far as `close` is not called."""
        self.channel = channel

    def _request(self, kind: Kind, parts: Sequence[Buffer], deadline: float) -> _Reader:
        reply = self.channel.request(kind, parts, deadline)
        if reply.status != Status.OK:
            raise error_of(reply)
        return _Reader(reply.payload, kind)

    def hello(
        self,
        build_hash: str | None = None,
        *,
        load_limit: float = 0.0,
        execute_limit: float = 0.0,
        deadline: float = 60.0,
    ) -> Hello:
        """Greets the shim: it must be of this protocol version and, with `build_hash` (hex), of that build.

        `load_limit` and `execute_limit` (seconds, 0 = none) are watched over on the device itself: a worker that takes longer over a
        request is killed there, whatever the driver does, and the request fails with ShimDeadlineError.
        """
        digest = bytes.fromhex(build_hash) if build_hash else bytes(HASH_BYTES)
        if len(digest) != HASH_BYTES:
            raise ValueError(f"a build hash of {len(digest)} bytes ({HASH_BYTES} are needed)")
        limits = struct.pack("<II", round(load_limit * 1000), round(execute_limit * 1000))
        fields = self._request(Kind.HELLO, [_U32.pack(VERSION) + digest + limits], deadline)
        version, theirs = fields.u32(), bytes(fields.take(HASH_BYTES)).hex()
        if version != VERSION:
            raise ProtocolError(f"the shim speaks protocol {version}, this host {VERSION}", request="HELLO")
        pid, level, bits, library = fields.u32(), fields.i32(), fields.u32(), fields.text()
        devices = tuple(
            NnapiDevice(index, fields.i32(), fields.i32(), fields.text(), fields.text())
            for index in range(fields.u32())
        )
        fields.end()
        return Hello(version, theirs, pid, level, bits, library, devices)

    def open(
        self,
        model_path: str,
        model_size: int,
        side_path: str = "",
        side_size: int = 0,
        *,
        deadline: float = 30.0,
    ) -> None:
        """Names the files (paths on the device, sizes in bytes) that the constants of programs loaded from now on lie in."""
        parts = [_text(model_path), _U64.pack(model_size), _text(side_path), _U64.pack(side_size)]
        self._request(Kind.OPEN, [b"".join(parts)], deadline).end()

    def load(
        self,
        number: int,
        program: Buffer,
        *,
        device: int | None = None,
        devices: Sequence[int] = (),
        preference: int | None = None,
        priority: int | None = None,
        relax_fp16: bool = False,
        burst: bool = False,
        copy_constants: bool = False,
        timeout: float = 0.0,
        cache_directory: str = "",
        cache_token: bytes = b"",
        deadline: float = 300.0,
    ) -> LoadResult:
        """Verifies, builds and compiles a program under a number of the caller's choice (below MAX_PROGRAMS).

        Args:
            number: Free: `unload` an old program first.
            program: Bytes of schema/program.fbs.
            device, devices: Indices into `Hello.devices`; neither = the run time chooses.
            preference: 0 low power, 1 fast single answer, 2 sustained speed; None = the run time's default.
            priority: 90, 100 or 110; None = the run time's default. Feature level 4.
            relax_fp16: float32 may be computed as float16. Feature level 2.
            burst: Use a burst object where there are any (feature level 3).
            copy_constants: Do not let drivers map the files.
            timeout: Seconds that NNAPI gives its driver, 0 = no limit. Feature level 4, one device.
            cache_directory, cache_token: For NNAPI's compilation cache; the token has 32 bytes. Feature level 3.
        """
        options = _load_options(number, program, device, devices, preference, priority, relax_fp16, burst,
                                copy_constants, timeout, cache_directory, cache_token)  # fmt: skip
        fields = self._request(Kind.LOAD, options, deadline)
        result = LoadResult(fields.u64(), fields.u64(), fields.u32(), fields.u32(), fields.u64(), fields.u64())
        fields.end()
        return result

    def supported(
        self,
        program: Buffer,
        *,
        device: int | None = None,
        devices: Sequence[int] = (),
        relax_fp16: bool = False,
        deadline: float = 120.0,
    ) -> list[bool]:
        """Which operations of the program's main model do the devices (default: all) support? Feature level 3."""
        options = _load_options(0, program, device, devices, relax_fp16=relax_fp16)
        fields = self._request(Kind.SUPPORTED, options, deadline)
        answers = [answer != 0 for answer in fields.take(fields.u32())]
        fields.end()
        return answers

    def execute(
        self,
        number: int,
        inputs: Sequence[ExecuteInput],
        outputs: Sequence[ExecuteOutput],
        *,
        measure: bool = False,
        timeout: float = 0.0,
        deadline: float = 120.0,
    ) -> ExecuteResult:
        """Runs a loaded program once.

        Args:
            number: Of `load`.
            inputs, outputs: In the order of the program's inputs and outputs.
            measure: Ask the driver for its own durations (feature level 3, one device).
            timeout: Seconds that NNAPI gives its driver, 0 = no limit (feature level 4, one device).
        """
        parts = _execute_parts(number, inputs, outputs, measure, timeout)
        return _executed(self._request(Kind.EXECUTE, parts, deadline))

    def read(self, slot: int, *, deadline: float = 60.0) -> Tensor:
        """The tensor that a slot keeps."""
        fields = self._request(Kind.READ, [_U32.pack(slot)], deadline)
        length, shape = fields.u64(), fields.dims()
        fields.pad()
        data = fields.take(length)
        fields.end()
        return Tensor(data, shape, length)

    def write(self, slot: int, data: Buffer, shape: Sequence[int] = (), *, deadline: float = 60.0) -> None:
        """Puts a tensor into a slot."""
        view = _bytes_of(data, f"slot {slot}")
        fields = _U32.pack(slot) + _U64.pack(view.nbytes) + _shape(shape, f"slot {slot}")
        self._request(Kind.WRITE, [fields + _ZEROS[: -len(fields) % 8], view], deadline).end()

    def drop(self, slot: int, *, deadline: float = 30.0) -> None:
        """Frees a slot that holds a tensor."""
        self._request(Kind.DROP, [_U32.pack(slot)], deadline).end()

    def unload(self, number: int, *, deadline: float = 60.0) -> None:
        """Frees a loaded program."""
        self._request(Kind.UNLOAD, [_U32.pack(number)], deadline).end()

    def stats(self, *, deadline: float = 30.0) -> Stats:
        """What the worker on the device holds."""
        fields = self._request(Kind.STATS, [], deadline)
        stats = Stats(fields.u64(), fields.u32(), fields.u32(), fields.u64(), fields.u64(), fields.u32())
        fields.end()
        return stats

    def echo(self, data: Buffer, *, deadline: float = 60.0) -> memoryview:
        """The same bytes back: what the road costs without any NNAPI."""
        return self._request(Kind.ECHO, [_bytes_of(data, "echo")], deadline).payload

    def bye(self, *, deadline: float = 10.0) -> None:
        """Ends the session; the shim frees everything and exits."""
        self._request(Kind.BYE, [], deadline).end()

    def close(self) -> None:
        """Closes the channel, without a farewell: the shim ends with its stream."""
        self.channel.close()


def _load_options(
    number: int,
    program: Buffer,
    device: int | None,
    devices: Sequence[int],
    preference: int | None = None,
    priority: int | None = None,
    relax_fp16: bool = False,
    burst: bool = False,
    copy_constants: bool = False,
    timeout: float = 0.0,
    cache_directory: str = "",
    cache_token: bytes = b"",
) -> list[Buffer]:
    """The payload of LOAD and SUPPORTED."""
    if device is not None:
        devices = (device, *devices)
    if cache_directory and len(cache_token) != HASH_BYTES:
        raise ValueError(f"a cache token of {len(cache_token)} bytes ({HASH_BYTES} are needed)")
    flags = (
        (CONSTANTS["NTK_LOAD_RELAX_FP16"] if relax_fp16 else 0)
        | (CONSTANTS["NTK_LOAD_BURST"] if burst else 0)
        | (CONSTANTS["NTK_LOAD_COPY"] if copy_constants else 0)
    )
    view = _bytes_of(program, f"program {number}")
    fields = struct.pack(f"<II{len(devices)}I", number, len(devices), *devices)
    fields += struct.pack(
        "<iiIQ",
        -1 if preference is None else preference,
        -1 if priority is None else priority,
        flags,
        round(timeout * 1e9),
    )
    fields += _text(cache_directory) + cache_token.ljust(HASH_BYTES, b"\0") + _U64.pack(view.nbytes)
    return [fields, view]


def _execute_parts(
    number: int,
    inputs: Sequence[ExecuteInput],
    outputs: Sequence[ExecuteOutput],
    measure: bool,
    timeout: float,
) -> list[Buffer]:
    """The payload of EXECUTE: the fields, then each inline input as it lies in the caller's memory."""
    flags = CONSTANTS["NTK_EXECUTE_MEASURE"] if measure else 0
    fields = bytearray(_EXECUTE.pack(number, flags, round(timeout * 1e9), len(inputs), len(outputs)))
    parts: list[Buffer] = [fields]
    for index, value in enumerate(inputs):
        source, length = _INLINE, 0
        if value.omitted:
            source = _OMITTED
        elif value.data is None:
            if value.slot is None:
                raise ValueError(f"input {index} of program {number} has neither data nor a slot")
            source = _SLOT
        else:
            view = _bytes_of(value.data, f"input {index} of program {number}")
            length = view.nbytes
            parts.append(view)
            if length % 8:
                parts.append(_ZEROS[: -length % 8])
        fields += _INPUT.pack(NO_SLOT if value.slot is None else value.slot, source, length)
        fields += _shape(value.shape, f"input {index} of program {number}")
    for output in outputs:
        fields += _OUTPUT.pack(NO_SLOT if output.slot is None else output.slot, output.send, output.capacity)
    fields += _ZEROS[: -len(fields) % 8]
    return parts


def _executed(fields: _Reader) -> ExecuteResult:
    """Reads the reply to EXECUTE."""
    execute_ns, hardware_ns, driver_ns, request_ns, count = _EXECUTED.unpack(fields.take(_EXECUTED.size))
    shapes = [(fields.u64(), fields.u32(), fields.dims()) for _ in range(count)]
    fields.pad()
    outputs = []
    for length, sent, dims in shapes:
        data = fields.take(length if sent else 0)
        if sent:
            fields.pad()
        outputs.append(Tensor(data, dims, length))
    fields.end()
    return ExecuteResult(
        tuple(outputs), execute_ns, _optional_ns(hardware_ns), _optional_ns(driver_ns), request_ns
    )
