"""Programs: constants where they lie, descriptions that NNAPI accepts, and a self-check that finds what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.delegate.errors import UnsupportedError
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.program import (
    FILE_MODEL,
    FILE_SIDE,
    LoweredProgram,
    ProgramError,
    ProgramModel,
    ProgramOperand,
    ProgramOperation,
    SideFile,
    verify,
)
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.schema import program_generated as wire

from tests.modelbuilder import ModelBuilder

PLAIN = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}


def read(program: LoweredProgram) -> wire.Model:
    root = wire.Program.GetRootAs(program.data)
    assert root.Version() == 1
    assert root.FeatureLevel() == program.feature_level
    return root.Models(0)


def operands(model: wire.Model) -> list[wire.Operand]:
    return [model.Operands(i) for i in range(model.OperandsLength())]


def conv(kind: str, channels: int = 16, per_channel: bool = True) -> tuple[Graph, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    builder = ModelBuilder()
    quant = {"scale": 0.05, "zero_point": -3} if kind == "int8" else {}
    x = builder.tensor("x", kind, (1, 8, 8, 4), **quant)
    if kind == "int8":
        weights = rng.integers(-127, 128, (channels, 3, 3, 4)).astype(np.int8)
        scales = rng.uniform(0.01, 0.02, channels if per_channel else 1)
        w = builder.tensor("w", "int8", weights.shape, scale=scales, zero_point=[0] * len(scales), data=weights)
        bias = rng.integers(-100, 100, channels).astype(np.int32)
        b = builder.tensor("b", "int32", (channels,), scale=scales * 0.05, zero_point=[0] * len(scales), data=bias)
    else:
        weights = rng.standard_normal((channels, 3, 3, 4)).astype(np.float32)
        bias = rng.standard_normal(channels).astype(np.float32)
        w = builder.tensor("w", "float32", weights.shape, data=weights)
        b = builder.tensor("b", "float32", (channels,), data=bias)
    y = builder.tensor("y", kind, (1, 8, 8, channels), **({"scale": 0.3, "zero_point": 4} if kind == "int8" else {}))
    builder.op("CONV_2D", [x, w, b], [y], **PLAIN)
    return Graph.from_bytes(builder.build([x], [y])), weights, bias


def lower(graph: Graph, level: int, **options: Any) -> LoweredProgram:
    (program,) = make_plan(graph, Target(level), PlanOptions(**options)).lower()
    return program


def value(graph: Graph, program: LoweredProgram, operand: wire.Operand) -> bytes:
    if operand.Source() == wire.ValueSource.INLINE:
        return bytes(operand.InlineAsNumpy())
    assert operand.Source() == wire.ValueSource.FILE
    data = bytes(graph.data) if operand.File() == FILE_MODEL else program.side.data
    return data[operand.Offset() : operand.Offset() + operand.Length()]


# -- constants ------------------------------------------------------------------------------------------------------


def test_untransformed_weights_stay_in_the_model_file() -> None:
    graph, weights, _ = conv("float32")
    program = lower(graph, 1)
    model = read(program)
    filter_ = operands(model)[model.Operations(0).Inputs(1)]
    assert (filter_.Source(), filter_.File()) == (wire.ValueSource.FILE, FILE_MODEL)
    assert value(graph, program, filter_) == weights.tobytes()
    assert len(program.side) == 0


def test_per_channel_weights_are_described_not_copied() -> None:
    graph, weights, bias = conv("int8")
    for level in (3, 4):
        program = lower(graph, level)
        model = read(program)
        x, filter_, biases = (operands(model)[model.Operations(0).Inputs(i)] for i in range(3))
        assert filter_.Type() == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
        assert filter_.ChannelScalesLength() == 16 and filter_.ChannelDimension() == 0
        assert (filter_.Source(), filter_.File()) == (wire.ValueSource.FILE, FILE_MODEL)
        assert value(graph, program, filter_) == weights.tobytes()
        assert value(graph, program, biases) == bias.tobytes()
        assert biases.Scale() == 0
        signed = level >= 4
        assert x.Type() == (OperandCode.TENSOR_QUANT8_ASYMM_SIGNED if signed else OperandCode.TENSOR_QUANT8_ASYMM)
        assert x.ZeroPoint() == (-3 if signed else 125)
        assert program.inputs[0].xor == program.outputs[0].xor == (0 if signed else 0x80)
        assert program.inputs[0].length == 8 * 8 * 4 and program.inputs[0].shape == (1, 8, 8, 4)


def test_weights_as_uint8_go_to_the_side_file() -> None:
    builder = ModelBuilder()
    rng = np.random.default_rng(2)
    weights = rng.integers(-127, 128, (20, 12)).astype(np.int8)
    x = builder.tensor("x", "int8", (2, 12), scale=0.05, zero_point=1)
    w = builder.tensor("w", "int8", (20, 12), scale=0.02, zero_point=0, data=weights)
    y = builder.tensor("y", "int8", (2, 20), scale=0.9, zero_point=0)
    builder.op("FULLY_CONNECTED", [x, w, None], [y])
    graph = Graph.from_bytes(builder.build([x], [y]))
    program = lower(graph, 3)
    model = read(program)
    filter_ = operands(model)[model.Operations(0).Inputs(1)]
    assert (filter_.File(), filter_.ZeroPoint()) == (FILE_SIDE, 128)
    assert filter_.Offset() % 64 == 0
    assert value(graph, program, filter_) == (weights.view(np.uint8) ^ 0x80).tobytes()


def test_float16_weights_are_expanded_once_for_all_programs() -> None:
    builder = ModelBuilder()
    weights = np.random.default_rng(3).standard_normal((8, 3, 3, 8)).astype(np.float16)
    half = builder.tensor("half", "float16", weights.shape, data=weights)
    full = builder.tensor("full", "float32", weights.shape)
    builder.op("DEQUANTIZE", [half], [full])
    bias = builder.tensor("b", "float32", (8,), data=np.zeros(8, np.float32))
    x = current = builder.tensor("x", "float32", (1, 4, 4, 8))
    for index in range(2):
        y = builder.tensor(f"y{index}", "float32", (1, 4, 4, 8))
        builder.op("CONV_2D", [current, full, bias], [y], **PLAIN)
        current = builder.tensor(f"z{index}", "float32", (1, 4, 4, 8))
        builder.op("ROUND", [y], [current])
    graph = Graph.from_bytes(builder.build([x], [current]))
    plan = make_plan(graph, Target(4))
    programs = plan.lower()
    assert len(programs) == 2 and programs[0].side is programs[1].side
    assert programs[0].side.data == weights.astype(np.float32).tobytes()
    assert plan.verdicts[0][0].target == "nnapi"  # folded with its consumers
    assert all(n != 0 for program in programs for n in program.operation_nodes)


def test_scalars_of_rank_0_become_vectors_of_one() -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2, 3)), builder.tensor("y", "float32", (2, 3))
    two = builder.tensor("two", "float32", (), data=np.float32(2))
    builder.op("POW", [x, two], [y])
    graph = Graph.from_bytes(builder.build([x], [y]))
    program = lower(graph, 3)
    model = read(program)
    exponent = operands(model)[model.Operations(0).Inputs(1)]
    assert exponent.DimensionsAsNumpy().tolist() == [1]


def test_operations_name_their_nodes() -> None:
    graph, _, _ = conv("float32")
    program = lower(graph, 1)
    assert program.operation_nodes == (0,) and program.operation_codes == (3,)
    model = read(program)
    assert [model.Operations(i).Node() for i in range(model.OperationsLength())] == [0]
    assert operands(model)[model.Inputs(0)].Tensor() == 0


def test_inline_values_are_aligned() -> None:
    graph, _, _ = conv("float32", channels=4)
    program = lower(graph, 1)
    model = read(program)
    for operand in operands(model):
        if operand.Source() == wire.ValueSource.INLINE:
            where = operand.InlineAsNumpy().__array_interface__["data"][0]
            base = np.frombuffer(program.data, np.uint8).__array_interface__["data"][0]
            assert (where - base) % 8 == 0


# -- the side file --------------------------------------------------------------------------------------------------


def test_side_file_stores_each_value_once_and_aligned() -> None:
    side = SideFile()
    first, second = side.add(b"a" * 100), side.add(b"b" * 70)
    assert side.add(b"a" * 100) == first == 0
    assert second == 128 and len(side) == 198
    assert side.data == b"a" * 100 + bytes(28) + b"b" * 70
    third = side.add(b"c")
    assert third == 256 and side.data[256:] == b"c"


# -- what cannot be lowered -----------------------------------------------------------------------------------------


def test_a_delegate_plan_that_nnapi_refuses_says_so() -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", "int32", (2, 3)), builder.tensor("y", "int32", (3, 2))
    perm = builder.tensor("p", "int32", (2,), data=np.array([1, 0], np.int32))
    builder.op("TRANSPOSE", [x, perm], [y])
    graph = Graph.from_bytes(builder.build([x], [y]))
    plan = make_plan(graph, Target(4), PlanOptions(strategy="tflite"))
    assert plan.summary()["delegated_nodes"] == 1  # Validate looks at no type
    with pytest.raises(UnsupportedError, match="INT32"):
        plan.lower()


# -- the self-check -------------------------------------------------------------------------------------------------


def sound() -> ProgramModel:
    """RELU of a [2, 3] tensor."""
    return ProgramModel(
        [
            ProgramOperand(OperandCode.TENSOR_FLOAT32, (2, 3)),
            ProgramOperand(OperandCode.TENSOR_FLOAT32, (2, 3)),
        ],
        [ProgramOperation(19, (0,), (1,), 0)],
        [0],
        [1],
    )


def quantized(**fields: Any) -> ProgramModel:
    model = sound()
    for index in (0, 1):
        model.operands[index] = ProgramOperand(OperandCode.TENSOR_QUANT8_ASYMM, (2, 3), scale=0.5, zero_point=3)
    for name, changed in fields.items():
        setattr(model.operands[0], name, changed)
    return model


def test_a_sound_model_passes() -> None:
    verify(sound(), 1)
    verify(quantized(), 1)


def _change(**fields: Any) -> ProgramModel:
    model = sound()
    for name, changed in fields.items():
        setattr(model, name, changed)
    return model


def _constant(**fields: Any) -> ProgramModel:
    model = sound()
    extra = ProgramOperand(OperandCode.TENSOR_FLOAT32, (2,), source=wire.ValueSource.INLINE, inline=bytes(8), length=8)
    for name, changed in fields.items():
        setattr(extra, name, changed)
    model.operands.append(extra)
    return model


WRONG: list[tuple[str, ProgramModel, str]] = [
    ("scale", quantized(scale=0.0), "scale"),
    ("infinite scale", quantized(scale=float("inf")), "scale"),
    ("zero point", quantized(zero_point=256), "zero point"),
    ("dimension", quantized(dimensions=(2, 0)), "dimensions"),
    ("no dimensions", quantized(dimensions=()), "without dimensions"),
    ("too new a type", quantized(type=OperandCode.TENSOR_QUANT8_ASYMM_SIGNED), "feature level 4"),
    ("scale of a float", _constant(scale=1.0), "scale"),
    ("short value", _constant(length=4), "bytes of value"),
    ("inline of another length", _constant(inline=bytes(4)), "inline"),
    ("written by nothing", _constant(source=wire.ValueSource.NONE), "written by nothing"),
    ("unknown operation", _change(operations=[ProgramOperation(9999, (0,), (1,), 0)]), "unknown code"),
    ("too new an operation", _change(operations=[ProgramOperation(49, (0,), (1,), 0)]), "feature level 3"),
    ("number of inputs", _change(operations=[ProgramOperation(19, (0, 0), (1,), 0)]), "2 inputs"),
    ("index", _change(operations=[ProgramOperation(19, (7,), (1,), 0)]), "operand 7"),
    ("read before written", _change(inputs=[], operations=[ProgramOperation(19, (0,), (1,), 0)]), "before it is written"),
    ("written twice", _change(operations=[ProgramOperation(19, (0,), (1,), 0)] * 2), "has a value already"),
    ("input as output", _change(outputs=[0]), "no operation's result"),
    ("no output", _change(outputs=[]), "there is none"),
    ("input twice", _change(inputs=[0, 0]), "twice"),
    ("output index", _change(outputs=[5]), "no operand"),
    (
        "type of the main tensor",
        ProgramModel(
            [ProgramOperand(OperandCode.TENSOR_INT32, (2,)), ProgramOperand(OperandCode.TENSOR_INT32, (2,))],
            [ProgramOperation(19, (0,), (1,), 0)],
            [0],
            [1],
        ),
        "takes no tensor",
    ),
    (
        "channel scales",
        ProgramModel(
            [
                ProgramOperand(OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL, (2, 3), channel_dimension=1, channel_scales=(0.1, 0.2)),
                ProgramOperand(OperandCode.TENSOR_FLOAT32, (2, 3)),
            ],
            [ProgramOperation(6, (0,), (1,), 0)],
            [0],
            [1],
        ),
        "channel scales",
    ),
]


@pytest.mark.parametrize(("model", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_the_self_check_finds(model: ProgramModel, words: str) -> None:
    with pytest.raises(ProgramError, match=words):
        verify(model, 2 if "level 3" in words else 3 if "channel" in words or "level 4" in words else 1)
