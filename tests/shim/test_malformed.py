"""Frames and programs that are wrong in every field: an error reply or the end of the session, never a crash.

The shim is built with UBSan and runs without its supervisor, so that a finding or a crash ends the process and is seen.
"""

from __future__ import annotations

import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from nnapi_toolkit.android import frames
from nnapi_toolkit.android.build import BuildResult
from nnapi_toolkit.android.errors import ProgramError, ShimError, ShimLostError
from nnapi_toolkit.android.frames import Kind, Status
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput
from nnapi_toolkit.schema import program_generated as wire

from tests.shim import programs as p

Start = Callable[..., Any]
INTERESTING = (0, 1, 2, 3, 7, 8, 9, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@pytest.fixture
def shim(start: Start, sanitized: BuildResult, tmp_path: Path) -> Iterator[Any]:
    """A sanitized shim with open files, a loaded program and a kept tensor; alive and well after the test."""
    shim = start("--no-supervisor", built=sanitized)
    client = shim.client
    client.hello(sanitized.source_hash)
    model = tmp_path / "model"
    model.write_bytes(bytes(8192))
    client.open(str(model), 8192, str(model), 8192)
    client.load(0, p.pack(p.add()))
    client.write(1, np.ones(4, np.float32), (4,))
    shim.library = shutil.copy(sanitized.libneuralnetworks, tmp_path / "second.so")
    yield shim
    one = ExecuteInput(data=np.ones(4, np.float32))
    client.load(1000, p.pack(p.add()))
    result = client.execute(1000, [one, one], [ExecuteOutput()])
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), np.full(4, 2))
    client.bye()
    assert shim.close() == 0
    assert shim.process.returncode == 0


class Wire:
    """Joins a client's payloads instead of sending them."""

    def request(self, kind: int, parts: Any, deadline: float) -> frames.Reply:
        self.payload = b"".join(bytes(part) for part in parts)
        return frames.Reply(kind, Status.STATE, 0, memoryview(b""))

    def close(self) -> None:
        pass


def valid_payloads(shim: Any, model: Path) -> dict[Kind, bytes]:
    """One request of each kind, as the client would send it."""
    from nnapi_toolkit.android.protocol import ShimClient

    wire = Wire()
    client = ShimClient(wire)
    one = np.ones(4, np.float32)
    calls: dict[Kind, Callable[[], Any]] = {
        Kind.HELLO: client.hello,
        Kind.OPEN: lambda: client.open(str(model), 8192, str(model), 8192),
        Kind.LOAD: lambda: client.load(5, p.pack(p.add()), device=0, cache_directory="", priority=100),
        Kind.SUPPORTED: lambda: client.supported(p.pack(p.add()), device=0),
        Kind.EXECUTE: lambda: client.execute(
            0, [ExecuteInput(slot=2, data=one, shape=(4,)), ExecuteInput(slot=1)], [ExecuteOutput(3, True, 16)]
        ),
        Kind.READ: lambda: client.read(1),
        Kind.WRITE: lambda: client.write(4, one, (4,)),
        Kind.DROP: lambda: client.drop(9),
        Kind.UNLOAD: lambda: client.unload(9),
        Kind.STATS: client.stats,
        Kind.LIBRARY: lambda: client.library(1, str(shim.library), threads=1),
    }
    payloads = {}
    for kind, call in calls.items():
        with pytest.raises(ShimError):
            call()
        payloads[kind] = wire.payload
    return payloads


def soon() -> float:
    return time.monotonic() + 10


def send(shim: Any, kind: int, payload: bytes) -> frames.Reply:
    return shim.channel.request(kind, [payload], 20)


def test_every_truncation(shim: Any, tmp_path: Path) -> None:
    for kind, payload in valid_payloads(shim, tmp_path / "model").items():
        for length in range(len(payload)):
            reply = send(shim, kind, payload[:length])
            assert reply.status != Status.OK, f"{kind.name} with {length} of {len(payload)} bytes"
        for extra in (b"\0", b"\0" * 8):
            assert send(shim, kind, payload + extra).status != Status.OK, f"{kind.name} with bytes too many"


def test_every_field(shim: Any, tmp_path: Path) -> None:
    """Each 32-bit word of each request takes values at the borders."""
    for kind, payload in valid_payloads(shim, tmp_path / "model").items():
        for at in range(0, len(payload) - 3, 4):
            for value in INTERESTING:
                mutated = payload[:at] + struct.pack("<I", value) + payload[at + 4 :]
                reply = send(shim, kind, mutated)
                assert reply.status in Status._value2member_map_
                if reply.status == Status.OK and kind == Kind.LOAD:
                    shim.client.unload(struct.unpack_from("<I", mutated)[0])


def test_kinds_and_headers_that_do_not_exist(shim: Any) -> None:
    for kind in (0, 14, 99, 0xFFFF):
        reply = send(shim, kind, b"12345")
        assert reply.status == Status.MALFORMED
        assert b"is not known" in bytes(reply.payload)
    for status, code in ((1, 0), (0, -1), (0xFFFF, -1)):
        shim.transport.send([memoryview(frames.encode_header(Kind.ECHO, 3, 2, status, code) + b"ab")], soon())
        raw = bytearray(24)
        shim.transport.receive_into(memoryview(raw), soon())
        header = frames.decode_header(raw)
        assert header.status == Status.MALFORMED
        shim.transport.receive_into(memoryview(bytearray(header.length)), soon())


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        struct.pack("<IHHIiQ", 0, 11, 0, 7, 0, 0),
        struct.pack("<IHHIiQ", frames.MAGIC, 11, 0, 7, 0, frames.MAX_PAYLOAD + 1),
        struct.pack("<IHHIiQ", frames.MAGIC, 11, 0, 7, 0, 2**64 - 1),
    ],
)
@pytest.mark.parametrize("arguments", [("--no-supervisor",), ()])
def test_a_stream_out_of_step_ends_the_session(start: Start, sanitized: BuildResult, raw: bytes, arguments: Any) -> None:
    shim = start(*arguments, built=sanitized)
    shim.transport.send([memoryview(raw)], soon())
    head = bytearray(24)
    shim.transport.receive_into(memoryview(head), soon())
    header = frames.decode_header(head)
    assert header.status == Status.MALFORMED
    body = bytearray(header.length)
    shim.transport.receive_into(memoryview(body), soon())
    assert b"the session ends" in body
    with pytest.raises((EOFError, OSError)):
        shim.transport.receive_into(memoryview(head), soon())
    assert shim.process.wait(10) == 3


@pytest.mark.parametrize("arguments", [("--no-supervisor",), ()])
def test_a_stream_that_breaks_off(start: Start, sanitized: BuildResult, arguments: Any) -> None:
    whole = frames.encode_header(Kind.ECHO, 1, 100) + bytes(100)
    for length in (1, 23, 24, 60):
        shim = start(*arguments, built=sanitized)
        shim.transport.send([memoryview(whole[:length])], soon())
        assert shim.close() == 3
    shim = start(*arguments, built=sanitized)
    assert shim.close() == 0


# --- programs ---


def rejected(shim: Any, *models: p.Model, **options: Any) -> str:
    with pytest.raises(ProgramError) as info:
        shim.client.load(5, p.pack(*models, **options))
    return info.value.text


def changed(**changes: Any) -> p.Model:
    model = p.add(constant=np.ones(4))
    for name, value in changes.items():
        setattr(model.operands[1], name, value)
    return model


def test_wrong_programs_say_what_is_wrong(shim: Any) -> None:
    per_channel = {"type": p.PER_CHANNEL, "inline": bytes(4)}
    for message, model in {
        "models[0].operands[1]: type 16": changed(type=16),
        "models[0].operands[1]: type -1": changed(type=-1),
        "models[0].operands[1]: value source 5": changed(source=5),
        "models[0].operands[1]: a value of 15 bytes for 16": changed(inline=bytes(15)),
        "models[0].operands[1]: a value of 0 bytes for 16": changed(inline=None),
        "models[0].operands[1]: a constant whose dimensions are not all known": changed(dims=(0, 4)),
        "models[0].operands[1]: rank 9": changed(dims=(1,) * 9),
        "models[0].operands[1]: dimensions make more than 4 GiB": changed(dims=(2**16, 2**16)),
        "models[0].operands[1]: scale is negative or not finite": changed(scale=-1.0),
        "models[0].operands[1]: file 2 (0 and 1 exist)": changed(source=p.FILE, file=2, length=16),
        "models[0].operands[1]: bytes 8180 + 16 of file 1, which has 8192": changed(source=p.FILE, file=1, offset=8180, length=16),
        "models[0].operands[1]: bytes 18446744073709551608 + 16": changed(source=p.FILE, offset=2**64 - 8, length=16),
        "models[0].operands[1]: type 3 with value source 4": changed(source=p.REFERENCE),
        "models[0].operands[1]: type 15 with value source 1": changed(type=p.MODEL, dims=()),
        "models[0].operands[1]: refers to model 1 of 1": changed(type=p.MODEL, dims=(), source=p.REFERENCE, file=1),
        "models[0].operands[1]: dimensions on scalar type 1": changed(type=p.INT32, inline=bytes(4)),
        "models[0].operands[1]: channel_scales on type 3": changed(channel_scales=[1.0] * 4),
        "models[0].operands[1]: channel_dimension 1 with rank 1": changed(**per_channel, channel_dimension=1),
        "models[0].operands[1]: 3 channel_scales for dimension 0 of size 4": changed(**per_channel, channel_scales=[1.0] * 3),
        "channel_scales[2] is not positive and finite": changed(**per_channel, channel_scales=[1.0, 1.0, 0.0, 1.0]),
    }.items():
        assert message in rejected(shim, model), message
    assert "refer to each other in a circle" in rejected(shim, changed(type=p.MODEL, dims=(), source=p.REFERENCE, file=0))
    assert "version 2 (this shim reads 1)" in rejected(shim, p.add(), version=2)
    assert "feature_level 9" in rejected(shim, p.add(), feature_level=9)
    assert "feature_level 0" in rejected(shim, p.add(), feature_level=0)
    assert "0 models" in rejected(shim)


def test_wrong_indices(shim: Any) -> None:
    def model(inputs: Any = (0, 1), outputs: Any = (3,), operation: Any = ((0, 1, 2), (3,)), code: int = 0) -> p.Model:
        result = p.add()
        result.inputs, result.outputs = inputs, outputs
        result.operations = [p.Operation(code, *operation)]
        return result

    twice = model()
    twice.operations *= 2
    for message, wrong in {
        "models[0].inputs[1]: operand 4 of 4": model(inputs=(0, 4)),
        "models[0].inputs[1]: operand 2 has a constant value": model(inputs=(0, 2)),
        "models[0].inputs[1]: operand 0 is written twice": model(inputs=(0, 0)),
        "models[0].outputs[0]: operand 4294967295 of 4": model(outputs=(0xFFFFFFFF,)),
        "models[0].outputs[0]: operand 0 is an input or output already": model(outputs=(0,)),
        "models[0].outputs[1]: operand 3 is an input or output already": model(outputs=(3, 3)),
        "0 outputs": model(outputs=()),
        "models[0].operations[0].inputs[2]: operand 9 of 4": model(operation=((0, 1, 9), (3,))),
        "models[0].operations[0].outputs[0]: operand 2 has a constant value": model(operation=((0, 1, 2), (2,))),
        "models[0].operations[0].outputs[0]: operand 0 is written twice": model(operation=((0, 1, 2), (0,))),
        "models[0].operations[1].outputs[0]: operand 3 is written twice": twice,
        "models[0].operations[0]: code 106": model(code=106),
        "models[0].operations[0]: code -1": model(code=-1),
        "models[0].operations[0]: has no inputs or no outputs": model(operation=((), (3,))),
    }.items():
        assert message in rejected(shim, wrong), message
    assert "no operation writes operand 4" in rejected(
        shim, p.Model([*p.add().operands, p.Operand(dims=(4,))], p.add().operations, (0, 1), (3, 4))
    )


def corpus() -> list[bytes]:
    conv = p.Model(
        [p.Operand(p.TENSOR_QUANT8_ASYMM_SIGNED, (1, 4, 4, 2), 0.5),
         p.Operand(p.PER_CHANNEL, (4, 1, 1, 2), source=p.INLINE, inline=bytes(8), channel_scales=[0.5, 1, 2, 4]),
         p.value(np.zeros(4, np.int32)), p.scalar(1), p.scalar(1), p.scalar(1), p.scalar(0),
         p.Operand(p.TENSOR_QUANT8_ASYMM_SIGNED, (1, 4, 4, 4), 1.0)],
        [p.Operation(p.CONV_2D, range(7), (7,))], (0,), (7,),
    )  # fmt: skip
    weights = p.Operand(dims=(16, 64), source=p.FILE, offset=64, length=4096)
    dense = p.fully_connected(weights, p.Operand(dims=(16,), source=p.FILE, file=1, length=64))
    return [p.pack(p.add()), p.pack(conv, feature_level=4), p.pack(dense), p.pack(*p.conditional(), feature_level=4)]


def try_program(shim: Any, program: bytes) -> bool:
    """Loads a program that may be anything; True where it was accepted (and is unloaded again)."""
    try:
        shim.client.load(5, program)
    except ShimLostError as error:
        stderr = shim.process.stderr.read() if shim.process.poll() is not None else b""
        pytest.fail(f"the shim died of {program.hex()}: {error}\n{stderr.decode(errors='replace')[-3000:]}")
    except ShimError:
        return False
    shim.client.unload(5)
    return True


def test_every_byte_of_a_program_takes_wrong_values(shim: Any) -> None:
    accepted = rejected_count = 0
    for program in corpus()[:3]:
        for at in range(len(program)):
            for value in (0x00, 0x01, 0x7F, 0x80, 0xFF, program[at] ^ 4):
                if try_program(shim, program[:at] + bytes([value]) + program[at + 1 :]):
                    accepted += 1
                else:
                    rejected_count += 1
    assert accepted and rejected_count > 1000


def test_truncated_programs(shim: Any) -> None:
    for program in corpus():
        for length in range(0, len(program), 3):
            assert not try_program(shim, program[:length])


def test_randomly_damaged_programs(shim: Any) -> None:
    chance = random.Random(20240607)
    seeds = corpus()
    for _ in range(4000):
        program = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            kind = chance.randrange(4)
            at = chance.randrange(len(program) - 4)
            if kind == 0:
                program[at] = chance.randrange(256)
            elif kind == 1:
                struct.pack_into("<I", program, at & ~3, chance.choice(INTERESTING))
            elif kind == 2:
                struct.pack_into("<i", program, at & ~3, chance.randint(-64, 64))
            else:
                source = chance.randrange(len(program) - 4)
                program[at : at + 4] = program[source : source + 4]
        try_program(shim, bytes(program))


def test_offsets_that_meet_again_and_again_do_not_buy_work(shim: Any) -> None:
    """Twenty thousand references to one operand with a long value: refused, not multiplied out."""
    count = 20000
    builder = flatbuffers.Builder(1024)
    ignored = builder.CreateNumpyVector(np.ones(4 * count, np.uint8))
    wire.OperandStart(builder)
    wire.OperandAddType(builder, p.TENSOR_FLOAT32)
    wire.OperandAddInline(builder, ignored)
    operand = wire.OperandEnd(builder)
    wire.ModelStartOperandsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(operand)
    operands = builder.EndVector()
    one = builder.CreateNumpyVector(np.zeros(1, np.uint32))
    wire.OperationStart(builder)
    wire.OperationAddInputs(builder, one)
    wire.OperationAddOutputs(builder, one)
    operation = wire.OperationEnd(builder)
    wire.ModelStartOperationsVector(builder, 1)
    builder.PrependUOffsetTRelative(operation)
    operations = builder.EndVector()
    wire.ModelStart(builder)
    wire.ModelAddOperands(builder, operands)
    wire.ModelAddOperations(builder, operations)
    wire.ModelAddOutputs(builder, one)
    model = wire.ModelEnd(builder)
    wire.ProgramStartModelsVector(builder, 1)
    builder.PrependUOffsetTRelative(model)
    models = builder.EndVector()
    wire.ProgramStart(builder)
    wire.ProgramAddVersion(builder, 1)
    wire.ProgramAddFeatureLevel(builder, 3)
    wire.ProgramAddModels(builder, models)
    builder.Finish(wire.ProgramEnd(builder), b"NNTP")
    with pytest.raises(ProgramError, match=r"models\[0\].operands\[\d+\]: too much work"):
        shim.client.load(5, bytes(builder.Output()))
