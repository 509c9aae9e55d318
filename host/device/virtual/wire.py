"""Packets of the ADB wire protocol: a header of six little-endian words, then the payload."""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct("<6I")
HEADER_BYTES: Final = HEADER.size

CNXN: Final = 0x4E584E43
AUTH: Final = 0x48545541
OPEN: Final = 0x4E45504F
OKAY: Final = 0x59414B4F
WRTE: Final = 0x45545257
CLSE: Final = 0x45534C43
STLS: Final = 0x534C5453

COMMAND_NAMES: Final = {
    CNXN: "CNXN", AUTH: "AUTH", OPEN: "OPEN", OKAY: "OKAY", WRTE: "WRTE", CLSE: "CLSE", STLS: "STLS",
}  # fmt: skip

#: From this version on, payload checksums are neither sent nor checked.
VERSION_NO_CHECKSUM: Final = 0x01000001
VERSION_MIN: Final = 0x01000000
#: Largest payload that we accept and send: 1 MiB, as in adbd.
MAX_PAYLOAD: Final = 1 << 20
#: Largest payload before the handshake has told the other end's limit.
MAX_PAYLOAD_V1: Final = 4096

#: AUTH, first argument: a token to sign, and the signature that answers it.
AUTH_TOKEN: Final = 1
AUTH_SIGNATURE: Final = 2

_MASK: Final = 0xFFFFFFFF


def checksum(payload: bytes | bytearray | memoryview) -> int:
    """Sum of the payload's bytes, modulo 2^32: what version 0x01000000 wants in the header."""
    return sum(payload) & _MASK


def header(command: int, arg0: int, arg1: int, length: int, check: int = 0) -> bytes:
    """The 24 bytes in front of a payload of `length` bytes."""
    return HEADER.pack(command, arg0, arg1, length, check, command ^ _MASK)


class WireError(Exception):
    """A packet that is not one: the connection cannot be trusted any more."""


def parse_header(buffer: memoryview, limit: int) -> tuple[int, int, int, int, int]:
    """Reads a header: (command, arg0, arg1, payload length, checksum).

    Raises:
        WireError: The magic does not match the command, or the payload is longer than `limit`.
    """
    command, arg0, arg1, length, check, magic = HEADER.unpack_from(buffer)
    if magic != command ^ _MASK:
        raise WireError(f"magic 0x{magic:08x} does not belong to command 0x{command:08x}")
    if length > limit:
        raise WireError(f"payload of {length} bytes is above the limit of {limit}")
    return command, arg0, arg1, length, check
