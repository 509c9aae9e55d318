"""Both ends of the wire, byte for byte. To learn the format, read this beside android/shim/protocol.h."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.android import frames
from nnapi_toolkit.android.build import BuildResult
from nnapi_toolkit.android.errors import (
    DriverError,
    LibraryError,
    ProgramError,
    ProtocolError,
    ShimCrashedError,
    ShimDeadlineError,
    ShimError,
    ShimLostError,
    ShimRestartedError,
)
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, Reply, ShimClient, Status, error_of

from tests.shim import programs as p


class Recorder:
    """A channel that notes the request and answers with given bytes."""

    def __init__(self, answer: bytes = b"", status: int = 0, code: int = 0) -> None:
        self.answer, self.status, self.code = answer, status, code
        self.kind, self.payload = 0, b""

    def request(self, kind: int, parts: Sequence[Any], deadline: float) -> Reply:
        self.kind, self.payload = kind, b"".join(bytes(part) for part in parts)
        return Reply(kind, self.status, self.code, memoryview(bytearray(self.answer)))

    def close(self) -> None:
        pass


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def error_reply(status: int, code: int, message: str) -> ShimError:
    return error_of(Reply(frames.Kind.LOAD, status, code, memoryview(text(message))))


def test_header() -> None:
    raw = frames.encode_header(frames.Kind.EXECUTE, 0x01020304, 0x10, status=7, code=-2)
    assert raw.hex(" ") == "4e 54 4b 31 05 00 07 00 04 03 02 01 fe ff ff ff 10 00 00 00 00 00 00 00"
    assert frames.decode_header(raw) == frames.Header(5, 0x01020304, 0x10, 7, -2)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n".ljust(24), "the stream is not the shim's"),
        (struct.pack("<IHHIiQ", frames.MAGIC, 5, 0, 1, 0, frames.MAX_PAYLOAD + 1), "a reply of 1073741825 bytes"),
    ],
)
def test_headers_that_are_none(raw: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        frames.decode_header(raw)


def test_too_long_a_request_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ProtocolError, match="at most 1073741824"):
        frames.encode_header(frames.Kind.ECHO, 1, frames.MAX_PAYLOAD + 1)


def test_constants_are_those_of_the_header() -> None:
    header = frames.PROTOCOL_HEADER.read_text()
    names = [line.split()[1] for line in header.splitlines() if line.startswith("#define NTK_")]
    assert names == ["NTK_PROTOCOL_H", *frames.CONSTANTS]
    assert {kind.value for kind in frames.Kind} == set(range(1, 14))
    assert [status.value for status in frames.Status] == list(range(len(frames.Status)))


def test_hello() -> None:
    digest = bytes(range(32))
    answer = struct.pack("<I", 2) + digest + struct.pack("<IiI", 42, 5, 64) + text("lib.so") + struct.pack("<I", 1)
    answer += struct.pack("<ii", 4, 3) + text("npu") + text("1.0")
    road = Recorder(answer)
    hello = ShimClient(road).hello(digest.hex(), load_limit=1.5, execute_limit=0.25)
    assert road.kind == 1 and road.payload == b"\x02\0\0\0" + digest + struct.pack("<II", 1500, 250)
    assert (hello.pid, hello.feature_level, hello.pointer_bits, hello.library) == (42, 5, 64, "lib.so")
    assert [(d.index, d.type_name, d.feature_level, d.name, d.version) for d in hello.devices] == [
        (0, "accelerator", 3, "npu", "1.0")
    ]


def test_open() -> None:
    road = Recorder()
    ShimClient(road).open("/a/m", 258, "s", 1)
    assert road.payload.hex() == "04000000" "2f612f6d" "0201000000000000" "01000000" "73" "0100000000000000"


def test_load() -> None:
    road = Recorder(struct.pack("<QQIIQQ", 1, 2, 3, 4, 5, 6))
    loaded = ShimClient(road).load(
        9, b"PROG", library=1, devices=(1, 2), preference=1, priority=110, relax_fp16=True, burst=True, copy_constants=True,
        timeout=2.0, cache_directory="c", cache_token=b"t" * 32,
    )  # fmt: skip
    assert road.payload.hex() == (
        "09000000" "01000000" "02000000" "01000000" "02000000" "01000000" "6e000000" "07000000" "0094357700000000"
        "01000000" "63" + "74" * 32 + "0400000000000000" "50524f47"
    )
    assert (loaded.build_ns, loaded.compile_ns, loaded.input_count, loaded.output_count) == (1, 2, 3, 4)
    assert (loaded.mapped_bytes, loaded.copied_bytes) == (5, 6)
    ShimClient(road).load(9, b"PROG")
    assert road.payload.hex() == (
        "09000000" "00000000" "00000000" "ffffffff" "ffffffff" "00000000" + "00" * 8 + "00000000" + "00" * 32
        + "0400000000000000" "50524f47"
    )  # fmt: skip


def test_execute() -> None:
    answer = struct.pack("<QQQQI", 10, 20, 2**64 - 1, 30, 2)
    answer += struct.pack("<QIIII", 3, 1, 2, 1, 3) + struct.pack("<QIII", 4, 0, 1, 4)
    answer += bytes(-len(answer) % 8) + b"abc" + bytes(5)
    road = Recorder(answer)
    inputs = [
        ExecuteInput(data=b"\x01\x02\x03", shape=(3,)),
        ExecuteInput(slot=6),
        ExecuteInput(slot=5, data=np.array([[1, 2]], "<i4")),
        ExecuteInput(omitted=True),
    ]
    result = ShimClient(road).execute(2, inputs, [ExecuteOutput(capacity=9), ExecuteOutput(8, False)], measure=True)
    assert road.payload.hex() == (
        "02000000" "01000000" "0000000000000000" "04000000" "02000000"
        "ffffffff" "00000000" "0300000000000000" "01000000" "03000000"
        "06000000" "01000000" "0000000000000000" "00000000"
        "05000000" "00000000" "0800000000000000" "00000000"
        "ffffffff" "02000000" "0000000000000000" "00000000"
        "ffffffff" "01000000" "0900000000000000"
        "08000000" "00000000" "0000000000000000"
        "00000000"
        "0102030000000000"
        "0100000002000000"
    )  # fmt: skip
    assert (result.execute_ns, result.hardware_ns, result.driver_ns, result.request_ns) == (10, 20, None, 30)
    assert [(bytes(t.data), t.shape, t.length) for t in result.outputs] == [(b"abc", (1, 3), 3), (b"", (4,), 4)]


def test_slots_and_stats() -> None:
    road = Recorder(struct.pack("<QIIII", 4, 2, 1, 4, 0) + b"wxyz")  # 20 bytes of fields, 4 of padding
    client = ShimClient(road)
    kept = client.read(7)
    assert road.payload.hex() == "07000000" and bytes(kept.data) == b"wxyz" and kept.shape == (1, 4)
    road.answer = b""
    client.write(7, b"wxyz", (2, 2))
    assert road.payload.hex() == "07000000" "0400000000000000" "02000000" "0200000002000000" "7778797a"
    client.drop(7)
    assert (road.kind, road.payload.hex()) == (frames.Kind.DROP, "07000000")
    client.unload(3)
    assert (road.kind, road.payload.hex()) == (frames.Kind.UNLOAD, "03000000")
    road.answer = struct.pack("<QIIQQI", 1, 2, 3, 4, 5, 6)
    stats = client.stats()
    assert (stats.max_resident_kib, stats.programs, stats.slots, stats.slot_bytes) == (1, 2, 3, 4)
    assert (stats.shared_bytes, stats.descriptors) == (5, 6)


def test_supported() -> None:
    road = Recorder(struct.pack("<I", 3) + b"\x01\x00\x01")
    assert ShimClient(road).supported(b"PROG", device=2) == [True, False, True]
    assert road.kind == frames.Kind.SUPPORTED and road.payload[:16].hex() == "00000000" * 2 + "01000000" "02000000"


def test_every_truncated_reply_is_an_error() -> None:
    answer = struct.pack("<QQQQIQIII", 1, 2, 3, 4, 1, 4, 1, 1, 4) + b"data" + bytes(4)
    assert ShimClient(Recorder(answer)).execute(0, [], [ExecuteOutput()]).outputs[0].data == b"data"
    for length in range(len(answer)):
        with pytest.raises(ProtocolError, match="a reply of"):
            ShimClient(Recorder(answer[:length])).execute(0, [], [ExecuteOutput()])
    with pytest.raises(ProtocolError, match="too many"):
        ShimClient(Recorder(answer + b"x")).execute(0, [], [ExecuteOutput()])
    with pytest.raises(ProtocolError, match="rank 9"):
        ShimClient(Recorder(struct.pack("<QI", 4, 9))).read(0)


def test_library() -> None:
    road = Recorder(struct.pack("<i", 8) + text("./x") + struct.pack("<Iii", 1, 4, 8) + text("softnn") + text("1"))
    library = ShimClient(road).library(1, "./x", threads=2)
    assert road.kind == 13 and road.payload.hex() == "01000000" "03000000" "2e2f78" "02000000"
    assert (library.number, library.feature_level, library.path) == (1, 8, "./x")
    assert [(d.index, d.type_name, d.feature_level, d.name) for d in library.devices] == [(0, "accelerator", 8, "softnn")]


def test_error_replies_become_exceptions() -> None:
    driver = error_reply(Status.NNAPI, 4, "Model_finish of models[0] returned 4")
    assert isinstance(driver, DriverError) and driver.name == "ANEURALNETWORKS_BAD_DATA" and driver.request == "LOAD"
    assert str(driver) == "LOAD failed: Model_finish of models[0] returned 4 (ANEURALNETWORKS_BAD_DATA)"
    system = error_reply(Status.SYSTEM, 2, "open /x")
    assert type(system) is ShimError and system.errno_name == "ENOENT" and "No such file" in str(system)
    crashed = error_reply(Status.CRASHED, 11, "the worker died")
    assert isinstance(crashed, ShimCrashedError) and crashed.signal_name == "SIGSEGV" and "(SIGSEGV)" in str(crashed)
    for status, kind in (
        (Status.MALFORMED, ProtocolError), (Status.VERSION, ProtocolError), (Status.PROGRAM, ProgramError),
        (Status.LIBRARY, LibraryError), (Status.DEADLINE, ShimDeadlineError), (Status.STATE, ShimError), (99, ShimError),
        (Status.RESTARTED, ShimRestartedError),
    ):  # fmt: skip
        assert type(error_reply(status, 0, "why")) is kind
    empty = error_of(Reply(frames.Kind.LOAD, Status.STATE, 0, memoryview(b"")))
    assert "status 3 without a text" in str(empty)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (frames.encode_header(frames.Kind.ECHO, 2, 0), "out of step"),
        (frames.encode_header(frames.Kind.STATS, 1, 0), "out of step"),
        (b"\x7fELF".ljust(24), "not the shim's"),
    ],
)
def test_replies_to_something_else(header: bytes, message: str) -> None:
    from nnapi_toolkit.android.channel import DescriptorTransport, StreamChannel

    (read_end, their_out), (their_in, write_end) = os.pipe(), os.pipe()
    channel = StreamChannel(DescriptorTransport(read_end, write_end))
    try:
        os.write(their_out, header)
        with pytest.raises(ProtocolError, match=message):
            channel.request(frames.Kind.ECHO, [], 5)
        with pytest.raises(ShimLostError, match="the session is over"):
            channel.request(frames.Kind.ECHO, [], 5)
    finally:
        channel.close()
        os.close(their_out)
        os.close(their_in)


def test_arguments_that_cannot_be_sent() -> None:
    client = ShimClient(Recorder())
    with pytest.raises(ValueError, match="neither data nor a slot"):
        client.execute(0, [ExecuteInput()], [])
    with pytest.raises(ValueError, match="not contiguous"):
        client.execute(0, [ExecuteInput(data=np.zeros((4, 4))[:, ::2])], [])
    with pytest.raises(ValueError, match="rank 9"):
        client.write(0, b"x", (1,) * 9)
    with pytest.raises(ValueError, match="cache token of 3 bytes"):
        client.load(0, b"", cache_directory="c", cache_token=b"abc")
    with pytest.raises(ValueError, match="build hash of 2 bytes"):
        client.hello("abcd")
    with pytest.raises(ValueError, match="a NUL"):
        client.open("a\0b", 1)


# --- the shim's end ---


def exchange(start: Callable[..., Any], *requests: bytes) -> list[tuple[frames.Header, bytes]]:
    """Raw frames in, raw replies out."""
    shim = start()
    shim.process.stdin.write(b"".join(requests))
    shim.process.stdin.close()
    out, replies = shim.process.stdout, []
    os.set_blocking(out.fileno(), True)
    data = out.read()
    while data:
        header = frames.decode_header(data[:24])
        replies.append((header, data[24 : 24 + header.length]))
        data = data[24 + header.length :]
    assert shim.process.wait(10) == 0
    return replies


def frame(kind: int, payload: bytes, id: int = 1) -> bytes:
    return frames.encode_header(kind, id, len(payload)) + payload


def test_the_shims_replies(start: Callable[..., Any], native: BuildResult) -> None:
    program = p.pack(p.add())
    load = struct.pack("<IIIiiIQI32sQ", 0, 0, 0, -1, -1, 0, 0, 0, bytes(32), len(program)) + program
    inputs = struct.pack("<IIQII", 0xFFFFFFFF, 0, 16, 1, 4) * 2
    execute = struct.pack("<IIQII", 0, 0, 0, 2, 1) + inputs + struct.pack("<IIQ", 4, 1, 16)
    execute += bytes(-len(execute) % 8) + np.arange(8, dtype="<f4").tobytes()
    replies = exchange(
        start,
        frame(frames.Kind.HELLO, struct.pack("<I32sII", 2, bytes.fromhex(native.source_hash), 0, 0), 11),
        frame(frames.Kind.LOAD, load, 12),
        frame(frames.Kind.EXECUTE, execute, 13),
        frame(frames.Kind.READ, struct.pack("<I", 4), 14),
        frame(frames.Kind.WRITE, struct.pack("<IQII", 5, 3, 1, 3) + bytes(4) + b"abc", 15),
        frame(frames.Kind.READ, struct.pack("<I", 5), 16),
        frame(frames.Kind.DROP, struct.pack("<I", 5), 17),
        frame(frames.Kind.DROP, struct.pack("<I", 5), 18),
        frame(frames.Kind.ECHO, b"hello", 19),
        frame(frames.Kind.BYE, b"", 20),
    )
    assert [(h.id, h.kind, h.status) for h, _ in replies] == [
        (11, 1, 0), (12, 3, 0), (13, 5, 0), (14, 6, 0), (15, 7, 0), (16, 6, 0), (17, 8, 0), (18, 8, 3), (19, 11, 0), (20, 12, 0),
    ]  # fmt: skip
    payloads = [payload for _, payload in replies]
    assert payloads[0][:36] == struct.pack("<I", 2) + bytes.fromhex(native.source_hash)
    assert payloads[1][16:24] == struct.pack("<II", 2, 1) and len(payloads[1]) == 40
    answer = np.array([4, 6, 8, 10], "<f4").tobytes()
    assert payloads[2][8:24] == b"\xff" * 16  # no measurements were asked for
    assert payloads[2][32:] == struct.pack("<IQIII", 1, 16, 1, 1, 4) + answer  # 32 + 24 bytes need no padding
    assert payloads[3] == struct.pack("<QII", 16, 1, 4) + answer
    assert payloads[4] == b"" and payloads[6] == b""
    assert payloads[5] == struct.pack("<QII", 3, 1, 3) + b"abc"
    assert payloads[7] == text("slot 5 holds no tensor")
    assert payloads[8] == b"hello" and payloads[9] == b""


def test_another_version_and_another_build(start: Callable[..., Any], native: BuildResult) -> None:
    ours, wrong = bytes.fromhex(native.source_hash), bytes([1] * 32)
    replies = exchange(
        start,
        frame(frames.Kind.HELLO, struct.pack("<I", 99)),
        frame(frames.Kind.HELLO, struct.pack("<I32sII", 2, wrong, 0, 0)),
        frame(frames.Kind.STATS, b""),
        frame(frames.Kind.HELLO, struct.pack("<I32sII", 2, bytes(32), 0, 0)),
        frame(frames.Kind.HELLO, struct.pack("<I32sII", 2, ours, 0, 0)),
    )
    assert [h.status for h, _ in replies] == [Status.VERSION, Status.VERSION, Status.STATE, 0, 0]
    assert replies[0][1] == text("the host speaks protocol 99, this shim 2")
    assert native.source_hash[:12].encode() in replies[1][1]


def test_a_library_that_is_none(start: Callable[..., Any], native: BuildResult, tmp_path: Any) -> None:
    for library, message in ((tmp_path / "missing.so", "cannot be loaded"), (native.shim_library, "lacks ANeuralNetworks")):
        with pytest.raises(LibraryError, match=message):
            start(library=library).client.hello()
