"""Programs for the shim's tests, written with the generated object API and nothing of the delegate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from nnapi_toolkit.schema import program_generated as wire

FLOAT32, INT32, TENSOR_FLOAT32, TENSOR_INT32, TENSOR_QUANT8_ASYMM = 0, 1, 3, 4, 5
BOOL, PER_CHANNEL, TENSOR_QUANT8_ASYMM_SIGNED, MODEL = 6, 11, 14, 15
ADD, CONV_2D, FULLY_CONNECTED, MUL, RELU, RESHAPE, SOFTMAX = 0, 3, 9, 18, 19, 22, 25
IF, FILL, EXPAND_DIMS = 96, 100, 50
NONE, INLINE, FILE, OMITTED, REFERENCE = 0, 1, 2, 3, 4


@dataclass
class Operand:
    """One operand; field names as in schema/program.fbs."""

    type: int = TENSOR_FLOAT32
    dims: Sequence[int] = ()
    scale: float = 0.0
    zero_point: int = 0
    source: int = NONE
    inline: bytes | None = None
    file: int = 0
    offset: int = 0
    length: int = 0
    channel_dimension: int = 0
    channel_scales: Sequence[float] | None = None
    tensor: int = -1


@dataclass
class Operation:
    """One operation."""

    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    node: int = -1


@dataclass
class Model:
    """One model."""

    operands: list[Operand] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    inputs: Sequence[int] = ()
    outputs: Sequence[int] = ()


def value(data: Any, type: int = TENSOR_INT32, dims: Sequence[int] | None = None) -> Operand:
    """A constant operand with its value inline; `dims` default to the array's."""
    array = np.asarray(data)
    return Operand(type, array.shape if dims is None else dims, source=INLINE, inline=array.tobytes())


def scalar(number: int) -> Operand:
    """An INT32 scalar constant."""
    return value(np.int32(number), INT32, ())


def _operand(source: Operand) -> Any:
    operand = wire.OperandT()
    operand.type = source.type
    operand.dimensions = list(source.dims) or None
    operand.scale = source.scale
    operand.zeroPoint = source.zero_point
    operand.source = source.source
    operand.inline = None if source.inline is None else np.frombuffer(source.inline, np.uint8)
    operand.file, operand.offset, operand.length = source.file, source.offset, source.length
    operand.channelDimension = source.channel_dimension
    operand.channelScales = None if source.channel_scales is None else list(source.channel_scales)
    operand.tensor = source.tensor
    return operand


def _model(source: Model) -> Any:
    model = wire.ModelT()
    model.operands = [_operand(operand) for operand in source.operands]
    model.operations = []
    for operation in source.operations:
        item = wire.OperationT()
        item.code, item.node = operation.code, operation.node
        item.inputs, item.outputs = list(operation.inputs), list(operation.outputs)
        model.operations.append(item)
    model.inputs, model.outputs = list(source.inputs), list(source.outputs)
    return model


def pack(*models: Model, feature_level: int = 1, version: int = 1, name: str = "test") -> bytes:
    """The bytes of a program; `models[0]` is the main one."""
    program = wire.ProgramT()
    program.version, program.featureLevel, program.name = version, feature_level, name
    program.models = [_model(model) for model in models]
    builder = flatbuffers.Builder(1024)
    builder.Finish(program.Pack(builder), b"NNTP")
    return bytes(builder.Output())


def add(dims: Sequence[int] = (4,), constant: np.ndarray | None = None, activation: int = 0) -> Model:
    """out = in0 + in1, or out = in0 + constant."""
    operands = [Operand(dims=dims), Operand(dims=dims), scalar(activation), Operand(dims=dims)]
    inputs = [0, 1]
    if constant is not None:
        operands[1] = value(constant.astype(np.float32), TENSOR_FLOAT32)
        inputs = [0]
    return Model(operands, [Operation(ADD, (0, 1, 2), (3,), node=7)], inputs, (3,))


def fully_connected(weights: Operand, bias: Operand, batch: int = 1) -> Model:
    """out = in x weights + bias."""
    units, depth = weights.dims
    operands = [Operand(dims=(batch, depth)), weights, bias, scalar(0), Operand(dims=(batch, units))]
    return Model(operands, [Operation(FULLY_CONNECTED, (0, 1, 2, 3), (4,), node=3)], (0,), (4,))


def fill() -> Model:
    """out = a float tensor full of 2.5, whose shape (rank 2) is an input: an output of unknown size."""
    operands = [
        Operand(TENSOR_INT32, (2,)),
        value(np.float32(2.5), FLOAT32, ()),
        Operand(TENSOR_FLOAT32, (0, 0)),
    ]
    return Model(operands, [Operation(FILL, (0, 1), (2,))], (0,), (2,))


def conditional() -> tuple[Model, Model, Model]:
    """out = in0 ? in1 + 1 : in1 * 3, as IF and two models."""
    dims = (4,)
    main = Model(
        [
            Operand(9, (1,)),
            Operand(MODEL, source=REFERENCE, file=1),
            Operand(MODEL, source=REFERENCE, file=2),
            Operand(dims=dims),
            Operand(dims=dims),
        ],
        [Operation(IF, (0, 1, 2, 3), (4,))],
        (0, 3),
        (4,),
    )
    then = add(dims, np.ones(4, np.float32))
    other = add(dims, np.full(4, 3, np.float32))
    other.operations[0].code = MUL
    return main, then, other
