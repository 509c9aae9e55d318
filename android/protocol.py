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

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import (
    DriverError,
    LibraryError,
    ProgramError,
    ProtocolError,
    ShimCrashedError,
    ShimDeadlineError,
    ShimError,
    ShimRestartedError,
    describe_errno,
    result_name,
)
from .frames import (
    CONSTANTS,
    HASH_BYTES,
    INLINE,
    MAX_ECHO,
    MAX_PAYLOAD,
    MAX_PROGRAMS,
    MAX_RANK,
    MAX_SLOTS,
    NO_SLOT,
    NOT_AVAILABLE,
    OMITTED,
    SLOT,
    SLOT_FLIPPED,
    U32,
    U64,
    VERSION,
    ZEROS,
    Buffer,
    Channel,
    FieldReader,
    Header,
    Kind,
    Reply,
    Status,
    bytes_of,
    check_reply,
    decode_header,
    encode_header,
    encode_shape,
    encode_text,
    kind_name,
)

__all__ = [
    "CONSTANTS",
    "MAX_ECHO",
    "MAX_PAYLOAD",
    "MAX_PROGRAMS",
    "MAX_RANK",
    "MAX_SLOTS",
    "VERSION",
    "Buffer",
    "Channel",
    "ExecuteInput",
    "ExecuteOutput",
    "ExecuteResult",
    "Header",
    "Hello",
    "Kind",
    "Library",
    "LoadResult",
    "NnapiDevice",
    "Reply",
    "ShimClient",
    "Stats",
    "Status",
    "Tensor",
    "check_reply",
    "decode_header",
    "encode_header",
    "error_of",
]

# --- what requests take and replies give -------------------------------------------------------------------


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
class Library:
    """A further NNAPI library of a session. `feature_level` is its run time's, 1..8."""

    number: int
    feature_level: int
    path: str
    devices: tuple[NnapiDevice, ...]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A compiled program. Times in nanoseconds of the device's clock.

    `mapped_bytes` of its constants are used where they lie in the pushed files, `copied_bytes` were copied:
    small ones, misaligned ones, and all of them where a driver may not map files.
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
        slot: Without `data`: the slot that holds the tensor. With it: the slot that keeps it too, if any.
        data: The tensor's bytes; None = it is in `slot`.
        shape: Needed where the program leaves dimensions open; () = as the program declares them.
        omitted: An optional operand without a value.
        flipped: With a slot and without data: the highest bit of each byte is flipped on the way, so that int8 becomes what
            programs take that carry it as uint8, and the other way round. The slot stays as it is.
    """

    slot: int | None = None
    data: Buffer | None = None
    shape: Sequence[int] = ()
    omitted: bool = False
    flipped: bool = False


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
    """A tensor that came back: `data` is a view into the reply, empty where it was not sent."""

    data: memoryview
    shape: tuple[int, ...]
    length: int


@dataclass(frozen=True, slots=True)
class ExecuteResult:
    """One execution. Times in nanoseconds of the device's clock.

    `execute_ns` is inside NNAPI, `request_ns` from the arrival of the request to the reply; `hardware_ns` and
    `driver_ns` are what the driver says of itself, None where it does not.
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


def _optional_ns(value: int) -> int | None:
    return None if value == NOT_AVAILABLE else value


# --- the client --------------------------------------------------------------------------------------------

_ERRORS: dict[int, type[ShimError]] = {
    Status.MALFORMED: ProtocolError,
    Status.VERSION: ProtocolError,
    Status.PROGRAM: ProgramError,
    Status.LIBRARY: LibraryError,
    Status.NNAPI: DriverError,
    Status.CRASHED: ShimCrashedError,
    Status.DEADLINE: ShimDeadlineError,
    Status.RESTARTED: ShimRestartedError,
}
_ADVICE = {
    Status.VERSION: "Remove the old files (nnapi clean) and try again.",
    Status.LIBRARY: "`nnapi doctor` shows what this device has.",
    Status.CRASHED: "The session is empty now: say hello, open and load again.",
    Status.DEADLINE: "The session is empty now: say hello, open and load again.",
    Status.RESTARTED: "The session is empty now: say hello, open and load again.",
}

_EXECUTE = struct.Struct("<IIQII")
_INPUT = struct.Struct("<IIQ")
_OUTPUT = struct.Struct("<IIQ")
_EXECUTED = struct.Struct("<QQQQI")


def error_of(reply: Reply) -> ShimError:
    """The exception that an error reply stands for."""
    request = kind_name(reply.kind)
    try:
        text = FieldReader(reply.payload, reply.kind).text()
    except ProtocolError:
        text = f"status {reply.status} without a text"
    if reply.status == Status.NNAPI:
        text += f" ({result_name(reply.code)})"
    elif reply.status == Status.SYSTEM:
        text += f" ({describe_errno(reply.code)})"
    elif reply.status in (Status.CRASHED, Status.RESTARTED):
        crashed = ShimCrashedError("", code=reply.code)
        text += f" ({crashed.signal_name})" if crashed.signal_name else ""
    advice = _ADVICE.get(Status(reply.status)) if reply.status in Status._value2member_map_ else None
    if advice:
        text += f". {advice}"
    return _ERRORS.get(reply.status, ShimError)(text, request=request, status=reply.status, code=reply.code)


class ShimClient:
    """Requests to a shim, as methods.

    Every method raises what `Channel.request` raises, and what `error_of` makes of error replies.
    """

    def __init__(self, channel: Channel) -> None:
        """`channel` stays the caller's as far as `close` is not called."""
        self.channel = channel

    def _request(self, kind: Kind, parts: Sequence[Buffer], deadline: float) -> FieldReader:
        reply = self.channel.request(kind, parts, deadline)
        if reply.status != Status.OK:
            raise error_of(reply)
        return FieldReader(reply.payload, kind)

    def hello(
        self,
        build_hash: str | None = None,
        *,
        load_limit: float = 0.0,
        execute_limit: float = 0.0,
        deadline: float = 60.0,
    ) -> Hello:
        """Greets the shim: it must be of this protocol version and, with `build_hash` (hex), of that build.

        `load_limit` and `execute_limit` (seconds, 0 = none) are watched over on the device itself: a worker
        that takes longer over a request is killed there, whatever the driver does, and the request fails with
        ShimDeadlineError.
        """
        digest = bytes.fromhex(build_hash) if build_hash else bytes(HASH_BYTES)
        if len(digest) != HASH_BYTES:
            raise ValueError(f"a build hash of {len(digest)} bytes ({HASH_BYTES} are needed)")
        limits = struct.pack("<II", round(load_limit * 1000), round(execute_limit * 1000))
        fields = self._request(Kind.HELLO, [U32.pack(VERSION) + digest + limits], deadline)
        version, theirs = fields.u32(), bytes(fields.take(HASH_BYTES)).hex()
        if version != VERSION:
            raise ProtocolError(f"the shim speaks protocol {version}, this host {VERSION}", request="HELLO")
        pid, level, bits, library = fields.u32(), fields.i32(), fields.u32(), fields.text()
        devices = _devices(fields)
        fields.end()
        return Hello(version, theirs, pid, level, bits, library, devices)

    def library(self, number: int, path: str, *, threads: int = 0, deadline: float = 60.0) -> Library:
        """Opens a second libneuralnetworks.so beside the device's, for `load` and `supported`.

        Software NNAPI is set to everything it can do there, whatever settings the device's own plays with.

        Args:
            number: From 1 to MAX_LIBRARIES - 1; 0 is the device's.
            path: On the device; "" = software NNAPI that is part of the shim itself (static builds).
            threads: Of software NNAPI, 0 = its default.
        """
        parts = [U32.pack(number), encode_text(path), U32.pack(threads)]
        fields = self._request(Kind.LIBRARY, [b"".join(parts)], deadline)
        found = Library(number, fields.i32(), fields.text(), _devices(fields))
        fields.end()
        return found

    def open(
        self,
        model_path: str,
        model_size: int,
        side_path: str = "",
        side_size: int = 0,
        *,
        deadline: float = 30.0,
    ) -> None:
        """Names the files that the constants of programs loaded from now on lie in.

        Paths on the device, sizes in bytes; a size that is not the file's is an error.
        """
        parts = [encode_text(model_path), U64.pack(model_size), encode_text(side_path), U64.pack(side_size)]
        self._request(Kind.OPEN, [b"".join(parts)], deadline).end()

    def load(
        self,
        number: int,
        program: Buffer,
        *,
        library: int = 0,
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
            library: That compiles it: 0 = the device's own, or one that `library` opened.
            device, devices: Indices into `Hello.devices` (or the library's); neither = the run time chooses.
            preference: 0 low power, 1 fast single answer, 2 sustained speed; None = the run time's default.
            priority: 90, 100 or 110; None = the run time's default. Feature level 4.
            relax_fp16: float32 may be computed as float16. Feature level 2.
            burst: Use a burst object where there are any (feature level 3).
            copy_constants: Do not let drivers map the files.
            timeout: Seconds that NNAPI gives its driver, 0 = no limit. Feature level 4, one device.
            cache_directory, cache_token: For NNAPI's compilation cache; 32 bytes of token. Feature level 3.
        """
        options = _load_options(number, program, library, device, devices, preference, priority, relax_fp16, burst,
                                copy_constants, timeout, cache_directory, cache_token)  # fmt: skip
        fields = self._request(Kind.LOAD, options, deadline)
        build_ns, compile_ns, inputs, outputs = fields.u64(), fields.u64(), fields.u32(), fields.u32()
        result = LoadResult(build_ns, compile_ns, inputs, outputs, fields.u64(), fields.u64())
        fields.end()
        return result

    def supported(
        self,
        program: Buffer,
        *,
        library: int = 0,
        device: int | None = None,
        devices: Sequence[int] = (),
        relax_fp16: bool = False,
        deadline: float = 120.0,
    ) -> list[bool]:
        """Which operations of the program's main model do the devices (none named: all) support?

        Needs feature level 3.
        """
        options = _load_options(0, program, library, device, devices, relax_fp16=relax_fp16)
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
        fields = self._request(Kind.READ, [U32.pack(slot)], deadline)
        length, shape = fields.u64(), fields.dims()
        fields.pad()
        data = fields.take(length)
        fields.end()
        return Tensor(data, shape, length)

    def write(self, slot: int, data: Buffer, shape: Sequence[int] = (), *, deadline: float = 60.0) -> None:
        """Puts a tensor into a slot."""
        view = bytes_of(data, f"slot {slot}")
        fields = U32.pack(slot) + U64.pack(view.nbytes) + encode_shape(shape, f"slot {slot}")
        self._request(Kind.WRITE, [fields + ZEROS[: -len(fields) % 8], view], deadline).end()

    def drop(self, slot: int, *, deadline: float = 30.0) -> None:
        """Frees a slot that holds a tensor."""
        self._request(Kind.DROP, [U32.pack(slot)], deadline).end()

    def unload(self, number: int, *, deadline: float = 60.0) -> None:
        """Frees a loaded program."""
        self._request(Kind.UNLOAD, [U32.pack(number)], deadline).end()

    def stats(self, *, deadline: float = 30.0) -> Stats:
        """What the worker on the device holds."""
        fields = self._request(Kind.STATS, [], deadline)
        stats = Stats(fields.u64(), fields.u32(), fields.u32(), fields.u64(), fields.u64(), fields.u32())
        fields.end()
        return stats

    def echo(self, data: Buffer, *, deadline: float = 60.0) -> memoryview:
        """The same bytes back: what the road costs without any NNAPI."""
        return self._request(Kind.ECHO, [bytes_of(data, "echo")], deadline).payload

    def bye(self, *, deadline: float = 10.0) -> None:
        """Ends the session; the shim frees everything and exits."""
        self._request(Kind.BYE, [], deadline).end()

    def close(self) -> None:
        """Closes the channel, without a farewell: the shim ends with its stream."""
        self.channel.close()


def _devices(fields: FieldReader) -> tuple[NnapiDevice, ...]:
    """The list that HELLO and LIBRARY end with."""
    return tuple(
        NnapiDevice(index, fields.i32(), fields.i32(), fields.text(), fields.text()) for index in range(fields.u32())
    )


def _load_options(
    number: int,
    program: Buffer,
    library: int,
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
    view = bytes_of(program, f"program {number}")
    fields = struct.pack(f"<III{len(devices)}I", number, library, len(devices), *devices)
    fields += struct.pack(
        "<iiIQ",
        -1 if preference is None else preference,
        -1 if priority is None else priority,
        flags,
        round(timeout * 1e9),
    )
    fields += encode_text(cache_directory) + cache_token.ljust(HASH_BYTES, b"\0") + U64.pack(view.nbytes)
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
        source, length = INLINE, 0
        if value.omitted:
            source = OMITTED
        elif value.data is None:
            if value.slot is None:
                raise ValueError(f"input {index} of program {number} has neither data nor a slot")
            source = SLOT_FLIPPED if value.flipped else SLOT
        else:
            view = bytes_of(value.data, f"input {index} of program {number}")
            length = view.nbytes
            parts.append(view)
            if length % 8:
                parts.append(ZEROS[: -length % 8])
        fields += _INPUT.pack(NO_SLOT if value.slot is None else value.slot, source, length)
        fields += encode_shape(value.shape, f"input {index} of program {number}")
    for output in outputs:
        fields += _OUTPUT.pack(NO_SLOT if output.slot is None else output.slot, output.send, output.capacity)
    fields += ZEROS[: -len(fields) % 8]
    return parts


def _executed(fields: FieldReader) -> ExecuteResult:
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
