"""Frames of the shim's protocol: constants out of shim/protocol.h, headers, and the fields of a payload."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from .errors import ProtocolError

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
    LIBRARY = CONSTANTS["NTK_LIBRARY"]


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
    RESTARTED = CONSTANTS["NTK_STATUS_RESTARTED"]



#: Where an input of an execution comes from.
INLINE = CONSTANTS["NTK_INLINE"]
SLOT = CONSTANTS["NTK_SLOT"]
OMITTED = CONSTANTS["NTK_OMITTED"]
SLOT_FLIPPED = CONSTANTS["NTK_SLOT_FLIPPED"]

# --- frames ------------------------------------------------------------------------------------------------

ZEROS = bytes(8)
_HEADER = struct.Struct("<IHHIiQ")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
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
            f"the reply is to {kind_name(header.kind)} number {header.id}, "
            f"not to {kind_name(kind)} number {id}: the stream is out of step; close the session",
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
    """The road to a shim: for each request a reply, in the same order; several threads may have requests under way."""

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

    def ended(self) -> bool:
        """Whether the road is known to have ended, without asking the other end: then the next request cannot succeed."""
        ...

    def close(self) -> None:
        """Ends the road; may be called twice."""
        ...


# --- fields ------------------------------------------------------------------------------------------------


class FieldReader:
    """Takes fields off a reply's payload; ProtocolError where it is too short for one."""

    def __init__(self, payload: memoryview, kind: int) -> None:
        """`kind` is for messages."""
        self.payload = payload
        self.kind = kind
        self.at = 0

    def take(self, length: int) -> memoryview:
        """The next bytes, as a view."""
        end = self.at + length
        if end > len(self.payload):
            raise ProtocolError(
                f"a reply of {len(self.payload)} bytes ends before byte {end}", request=kind_name(self.kind)
            )
        piece = self.payload[self.at : end]
        self.at = end
        return piece

    def u32(self) -> int:
        """An unsigned 32-bit number."""
        return int(U32.unpack(self.take(4))[0])

    def i32(self) -> int:
        """A signed 32-bit number."""
        return int.from_bytes(self.take(4), "little", signed=True)

    def u64(self) -> int:
        """An unsigned 64-bit number."""
        return int(U64.unpack(self.take(8))[0])

    def dims(self) -> tuple[int, ...]:
        """A rank, and as many dimensions."""
        rank = self.u32()
        if rank > MAX_RANK:
            raise ProtocolError(f"a shape of rank {rank} (at most {MAX_RANK})", request=kind_name(self.kind))
        return _DIMS[rank].unpack(self.take(4 * rank))

    def text(self) -> str:
        """A str of the protocol."""
        return bytes(self.take(self.u32())).decode("utf-8", "replace")

    def pad(self) -> None:
        """Skips to a multiple of 8."""
        self.take(-self.at % 8)

    def end(self) -> None:
        """ProtocolError unless all has been taken."""
        if self.at != len(self.payload):
            raise ProtocolError(
                f"a reply with {len(self.payload) - self.at} bytes too many", request=kind_name(self.kind)
            )


def encode_text(value: str) -> bytes:
    """A str of the protocol."""
    data = value.encode("utf-8")
    if b"\0" in data:
        raise ValueError(f"a NUL in {value!r}")
    return U32.pack(len(data)) + data


def bytes_of(data: Buffer, what: str) -> memoryview:
    """The bytes of a buffer, as a view; ValueError where they are not contiguous."""
    view = memoryview(data)
    if not view.contiguous:
        raise ValueError(f"{what}: its bytes are not contiguous; copy it first (numpy.ascontiguousarray)")
    if view.nbytes == 0:
        return memoryview(b"")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def encode_shape(shape: Sequence[int], what: str) -> bytes:
    """A rank and the dimensions."""
    if len(shape) > MAX_RANK:
        raise ValueError(f"{what}: rank {len(shape)} (at most {MAX_RANK})")
    return U32.pack(len(shape)) + _DIMS[len(shape)].pack(*shape)
