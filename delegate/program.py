"""From a partition to an NNAPI program: operands, operations, constants, and the bytes that the shim reads.

`ProgramBuilder` is what lowerings write to; `lower_partition` drives it over the nodes of one partition; `verify` proves
that a finished program is what NNAPI will accept before it leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from nnapi_toolkit.delegate.decide import decide
from nnapi_toolkit.delegate.graph import Graph, Subgraph, Tensor
from nnapi_toolkit.delegate.nnapi import (
    ELEMENT_SIZES,
    OPERAND_LEVELS,
    OPERATIONS,
    QUANT8,
    SCALARS,
    OperandCode,
    operation_name,
)
from nnapi_toolkit.delegate.ops.base import Operand, Refusal, operand_code, tensor_quantization
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.schema import program_generated as wire
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.partition import Partition, Plan

#: Version of the program format; the shim checks it.
PROGRAM_VERSION = 1
#: NNAPI copies values up to this size when they are set; larger ones travel in a file.
INLINE_LIMIT = 128
#: Alignment of constants in the side file.
SIDE_ALIGNMENT = 64

#: Which of an operation's tensor inputs decides the feature level, where it is not the first.
_MAIN_TENSOR = {"SELECT": 1, "EMBEDDING_LOOKUP": 1, "HASHTABLE_LOOKUP": 2, "LSH_PROJECTION": 1}

FILE_MODEL = 0
FILE_SIDE = 1


class ProgramError(Exception):
    """A lowered program is not valid: a defect of a lowering, found before the program leaves."""


class SideFile:
    """Constants that differ from the model file's bytes: one blob for all programs of a plan, each value stored once."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._known: dict[bytes, int] = {}

    def add(self, value: bytes) -> int:
        """Stores a value (or finds it stored already) and returns its offset, a multiple of 64."""
        key = hashlib.blake2b(value, digest_size=32).digest()
        offset = self._known.get(key)
        if offset is None:
            padding = -self._size % SIDE_ALIGNMENT
            offset = self._known[key] = self._size + padding
            self._chunks += [bytes(padding), value]
            self._size = offset + len(value)
        return offset

    def __len__(self) -> int:
        return self._size

    @property
    def data(self) -> bytes:
        """The whole file."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    @property
    def sha256(self) -> str:
        """SHA-256 of the contents, hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class IoBinding:
    """One input or output of a program, and the TFLite tensor behind it.

    Attributes:
        tensor: Index of the TFLite tensor in its subgraph.
        type: NNAPI operand type.
        shape: The operand's dimensions (a TFLite scalar has shape (1,)).
        length: Bytes.
        xor: 0x80 where the tensor is int8 in TFLite and uint8 in NNAPI: xor each byte on the way in and out; else 0.
        variable: The tensor is a variable of the model: its value outlives the inference.
    """

    tensor: int
    type: int
    shape: tuple[int, ...]
    length: int
    xor: int = 0
    variable: bool = False


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """A finished program and what the host must know to run it.

    Attributes:
        data: The program in the format of `schema/program.fbs`.
        inputs, outputs: In NNAPI's order.
        operation_nodes: For each NNAPI operation of the main model: the TFLite operator it came from.
        operation_codes: For each NNAPI operation of the main model: its code.
        feature_level: The lowest feature level that runs it.
        side: The side file that the program's constants refer to, shared by all programs of a plan.
        name: For messages.
        target: As `Partition.target`: whose NNAPI runs it.
    """

    data: bytes
    inputs: tuple[IoBinding, ...]
    outputs: tuple[IoBinding, ...]
    operation_nodes: tuple[int, ...]
    operation_codes: tuple[int, ...]
    feature_level: int
    side: SideFile
    name: str = ""
    target: str = "nnapi"


@dataclass(slots=True)
class ProgramOperand:
    """One operand under construction; field names as in `schema/program.fbs`."""

    type: OperandCode
    dimensions: tuple[int, ...] = ()
    scale: float = 0.0
    zero_point: int = 0
    channel_dimension: int = 0
    channel_scales: tuple[float, ...] = ()
    source: int = wire.ValueSource.NONE
    inline: bytes = b""
    file: int = 0
    offset: int = 0
    length: int = 0
    tensor: int = -1

    @property
    def byte_size(self) -> int:
        """Bytes that a value of this operand takes."""
        return prod(self.dimensions) * ELEMENT_SIZES[self.type]


@dataclass(frozen=True, slots=True)
class ProgramOperation:
    """One operation: code, operand indices, and the TFLite operator behind it."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    node: int = -1


@dataclass(slots=True)
class ProgramModel:
    """One NNAPI model: operands, operations in order, inputs and outputs by operand index."""

    operands: list[ProgramOperand] = field(default_factory=list)
    operations: list[ProgramOperation] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


def _dimensions(shape: Sequence[int]) -> tuple[int, ...]:
    """NNAPI's dimensions of a TFLite shape: rank 0 means "unknown" there, so a scalar tensor is sent as [1]."""
    return tuple(int(d) for d in shape) or (1,)


def _description(operand: ProgramOperand) -> tuple[Any, ...]:
    """What tells two constants of equal bytes apart."""
    return (
        operand.type,
        operand.dimensions,
        operand.scale,
        operand.zero_point,
        operand.channel_dimension,
        operand.channel_scales,
    )


class ProgramBuilder:
    """Writes one NNAPI model out of TFLite nodes of one subgraph.

    Operands are named by their index. Everything that a lowering may need has a method here; lowerings never touch the
    operand list.
    """

    def __init__(self, graph: Graph, subgraph: Subgraph, target: Target, side: SideFile) -> None:
        self.graph = graph
        self.subgraph = subgraph
        self.target = target
        self.side = side
        self.model = ProgramModel()
        self.models: list[ProgramModel] = [self.model]
        self.level = 1
        self.node = -1
        self._tensors: dict[int, int] = {}
        self._constants: dict[tuple[Any, ...], int] = {}
        self._written: set[int] = set()
        self._bound: dict[int, IoBinding] = {}
        self._state_outputs: dict[int, int] = {}
        self._submodels: dict[int, int] = {}

    # -- operands ---------------------------------------------------------------------------------------------------

    def _add(self, operand: ProgramOperand) -> int:
        self.level = max(self.level, OPERAND_LEVELS[operand.type])
        self.model.operands.append(operand)
        return len(self.model.operands) - 1

    def operand(self, index: int) -> ProgramOperand:
        """The operand behind an index."""
        return self.model.operands[index]

    def tensor(self, operand: Operand | Tensor) -> int:
        """The operand of a TFLite tensor in its own representation; constants bring their value along."""
        tensor = operand.tensor if isinstance(operand, Operand) else operand
        index = self._tensors.get(tensor.index)
        if index is None:
            described = self._describe(tensor)
            if tensor.is_constant:
                self._give_value(described, tensor)
            index = self._tensors[tensor.index] = self._add(described)
        return index

    def _describe(self, tensor: Tensor) -> ProgramOperand:
        named = Operand(f"tensor {tensor.index}", tensor)
        scale, zero_point = 0.0, 0
        try:
            code = operand_code(named, self.target)
            if code in QUANT8:
                scale, zero_point = tensor_quantization(named)
            elif code == OperandCode.TENSOR_QUANT16_SYMM:
                scale = tensor_quantization(named)[0] or 1.0
        except Refusal as refusal:
            raise ProgramError(f"tensor {tensor.index} cannot be an operand: {refusal}") from None
        if code in QUANT8:
            scale = scale if scale > 0 else 1.0
            if self.is_shifted(tensor):
                zero_point += 128
        return ProgramOperand(code, _dimensions(tensor.shape), scale, zero_point, tensor=tensor.index)

    def is_shifted(self, tensor: Tensor) -> bool:
        """True for int8 tensors that this target carries as uint8."""
        return tensor.type == TensorType.INT8 and self.target.feature_level < 4

    def _give_value(self, operand: ProgramOperand, tensor: Tensor) -> None:
        data = tensor.data
        assert data is not None
        if self.is_shifted(tensor):
            self._store(operand, (data.view(np.uint8) ^ np.uint8(0x80)).tobytes())
        elif tensor.type == TensorType.FLOAT16:
            self._store(operand, data.astype(np.float32).tobytes())
        else:
            self._store_tensor(operand, tensor)

    def _store_tensor(self, operand: ProgramOperand, tensor: Tensor, first: int = 0) -> None:
        """Points at the bytes in the model file, from byte `first` of the tensor on, where they are what NNAPI wants."""
        assert tensor.data is not None
        in_file = tensor.data_offset is not None and tensor.sparsity is None and tensor.data_length == tensor.data.nbytes
        if not in_file or operand.byte_size <= INLINE_LIMIT:
            raw = np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)
            self._store(operand, raw[first : first + operand.byte_size].tobytes())
            return
        assert tensor.data_offset is not None
        operand.source = wire.ValueSource.FILE
        operand.file = FILE_MODEL
        operand.offset = tensor.data_offset + first
        operand.length = operand.byte_size

    def _store(self, operand: ProgramOperand, value: bytes) -> None:
        operand.length = len(value)
        if len(value) <= INLINE_LIMIT:
            operand.source = wire.ValueSource.INLINE
            operand.inline = value
        else:
            operand.source = wire.ValueSource.FILE
            operand.file = FILE_SIDE
            operand.offset = self.side.add(value)

    def constant(
        self,
        data: NDArray[Any],
        code: OperandCode,
        scale: float = 0.0,
        zero_point: int = 0,
        *,
        channel_dimension: int = 0,
        channel_scales: Sequence[float] = (),
        tensor: int = -1,
    ) -> int:
        """A constant with a value of the lowering's own making. Equal constants become one operand.

        Args:
            data: The value, already in NNAPI's representation.
            code: Its operand type.
            scale, zero_point: Quantisation.
            channel_dimension, channel_scales: Per-channel quantisation.
            tensor: The TFLite tensor it came from, for messages.
        """
        value = np.ascontiguousarray(data).tobytes()
        operand = ProgramOperand(
            code, _dimensions(data.shape), scale, zero_point, channel_dimension, tuple(channel_scales), tensor=tensor
        )
        key = (hashlib.blake2b(value, digest_size=16).digest(), *_description(operand))
        index = self._constants.get(key)
        if index is None:
            self._store(operand, value)
            index = self._constants[key] = self._add(operand)
        return index

    def described(
        self,
        tensor: Tensor,
        code: OperandCode,
        scale: float = 0.0,
        zero_point: int = 0,
        *,
        shape: Sequence[int] | None = None,
        channel_dimension: int = 0,
        channel_scales: Sequence[float] = (),
    ) -> int:
        """A constant tensor's own bytes under another description (type, scale, shape): nothing is copied."""
        operand = ProgramOperand(
            code,
            _dimensions(tensor.shape if shape is None else shape),
            scale,
            zero_point,
            channel_dimension,
            tuple(channel_scales),
            tensor=tensor.index,
        )
        key = ("tensor", tensor.index, *_description(operand))
        index = self._constants.get(key)
        if index is None:
            self._store_tensor(operand, tensor)
            index = self._constants[key] = self._add(operand)
        return index

    def row(self, tensor: Tensor, number: int, code: OperandCode, scale: float, zero_point: int) -> int:
        """One row along the first dimension of a constant tensor, [1, ...], its own bytes under another description."""
        operand = ProgramOperand(code, _dimensions((1, *tensor.shape[1:])), scale, zero_point, tensor=tensor.index)
        key = ("row", tensor.index, number, *_description(operand))
        index = self._constants.get(key)
        if index is None:
            self._store_tensor(operand, tensor, number * operand.byte_size)
            index = self._constants[key] = self._add(operand)
        return index

    def _scalar(self, code: OperandCode, value: bytes) -> int:
        key = (code, value)
        index = self._constants.get(key)
        if index is None:
            operand = ProgramOperand(code, source=wire.ValueSource.INLINE, inline=value, length=len(value))
            index = self._constants[key] = self._add(operand)
        return index

    def int32(self, value: int) -> int:
        """An INT32 scalar."""
        return self._scalar(OperandCode.INT32, int(value).to_bytes(4, "little", signed=True))

    def float32(self, value: float) -> int:
        """A FLOAT32 scalar."""
        return self._scalar(OperandCode.FLOAT32, np.float32(value).tobytes())

    def float_like(self, value: float, code: OperandCode) -> int:
        """A floating scalar for an operation on tensors of the type: FLOAT16 for float16 tensors, else FLOAT32."""
        if code == OperandCode.TENSOR_FLOAT16:
            return self._scalar(OperandCode.FLOAT16, np.float16(value).tobytes())
        return self.float32(value)

    def bool(self, value: bool) -> int:
        """A BOOL scalar."""
        return self._scalar(OperandCode.BOOL, b"\x01" if value else b"\x00")

    def int32_vector(self, values: Sequence[int]) -> int:
        """A constant TENSOR_INT32 vector."""
        return self.constant(np.array(values, np.int32), OperandCode.TENSOR_INT32)

    def int32_matrix(self, values: Sequence[int], columns: int) -> int:
        """A constant TENSOR_INT32 matrix, given row by row."""
        return self.constant(np.array(values, np.int32).reshape(-1, columns), OperandCode.TENSOR_INT32)

    def omitted(self, code: OperandCode, rank: int = 1) -> int:
        """An optional operand without a value (a quantised one still needs a scale)."""
        dims = () if code in SCALARS else (0,) * rank
        scale = 1.0 if code in (OperandCode.TENSOR_QUANT8_SYMM, OperandCode.TENSOR_QUANT16_SYMM) else 0.0
        return self._add(ProgramOperand(code, dims, scale, source=wire.ValueSource.OMITTED))

    def temporary(
        self, code: OperandCode, shape: Sequence[int], scale: float = 0.0, zero_point: int = 0, tensor: int = -1
    ) -> int:
        """An intermediate result."""
        return self._add(ProgramOperand(code, _dimensions(shape), scale, zero_point, tensor=tensor))

    def temporary_like(self, operand: int, shape: Sequence[int] | None = None) -> int:
        """An intermediate result of an operand's type and quantisation, with another shape if given."""
        like = self.operand(operand)
        return self.temporary(
            like.type, like.dimensions if shape is None else shape, like.scale, like.zero_point, like.tensor
        )

    # -- operations -------------------------------------------------------------------------------------------------

    def operation(self, name: str, inputs: Sequence[int], outputs: Sequence[int] | int, since: int = 1) -> None:
        """Adds an operation; `since` is the feature level that its form needs beyond name and types."""
        outs = (outputs,) if isinstance(outputs, int) else tuple(outputs)
        fact = OPERATIONS[name]
        tensors = [self.operand(i).type for i in inputs if self.operand(i).type not in SCALARS]
        main = tensors[_MAIN_TENSOR.get(name, 0)] if tensors else None
        self.level = max(self.level, fact.level, since, fact.types.get(main, 1) if main is not None else 1)
        self.model.operations.append(ProgramOperation(fact.code, tuple(inputs), outs, self.node))
        self._written.update(outs)

    def state_output(self, tensor: Tensor, code: OperandCode) -> int:
        """An operand that receives the new value of a variable tensor; it becomes an output of the program."""
        index = self.temporary(code, tensor.shape, tensor=tensor.index)
        if code in QUANT8 or code == OperandCode.TENSOR_QUANT16_SYMM:
            like = self._describe(tensor)
            self.operand(index).scale, self.operand(index).zero_point = like.scale, like.zero_point
        self._state_outputs[tensor.index] = index
        return index

    # -- called subgraphs -------------------------------------------------------------------------------------------

    def submodel(self, subgraph: Subgraph) -> int:
        """A MODEL operand for a called subgraph, which is lowered into this program once."""
        index = self._submodels.get(subgraph.index)
        if index is None:
            inner = ProgramBuilder(self.graph, subgraph, self.target, self.side)
            inner.models = self.models
            inner._submodels = self._submodels
            inner.node = self.node
            self.models.append(inner.model)
            index = self._submodels[subgraph.index] = len(self.models) - 1
            inner.lower_subgraph()
            self.level = max(self.level, inner.level)
        operand = ProgramOperand(OperandCode.MODEL, source=wire.ValueSource.MODEL, file=index)
        return self._add(operand)

    def lower_subgraph(self) -> None:
        """Lowers every operator of the builder's subgraph; inputs and outputs are the subgraph's, in its order."""
        for node in self.graph.nodes(self.subgraph.index):
            if not all(self.subgraph.tensors[t].is_constant for t in node.operator.outputs):
                decide(node, self.target).lower(self, node, self.target)
        tensors = self.subgraph.tensors
        self.model.inputs = [self.tensor(tensors[t]) for t in self.subgraph.inputs]
        for tensor in self.subgraph.outputs:
            index = self.tensor(tensors[tensor])
            copied = index not in self._written or index in self.model.outputs
            self.model.outputs.append(self._copy(index) if copied else index)

    def _copy(self, index: int) -> int:
        """An operation that writes another operand's value: NNAPI gives out results of operations only."""
        result = self.temporary_like(index)
        operand = self.operand(index)
        if operand.type == OperandCode.TENSOR_BOOL8:
            self.operation("LOGICAL_OR", [index, index], result)
        elif operand.type == OperandCode.TENSOR_INT32:
            self.operation("MAXIMUM", [index, index], result)
        else:
            self.operation("RESHAPE", [index, self.int32_vector(operand.dimensions)], result)
        return result

    # -- the end ----------------------------------------------------------------------------------------------------

    def finish(self, outputs: Iterable[int]) -> tuple[tuple[IoBinding, ...], tuple[IoBinding, ...]]:
        """Declares inputs and outputs of the model.

        Inputs are the TFLite tensors that some operation reads and none writes, by tensor index; outputs are the given
        TFLite tensors by index, then the new values of variables.

        Returns:
            Bindings of inputs and outputs.
        """
        read = {i for operation in self.model.operations for i in operation.inputs}
        inputs = [
            (tensor, index)
            for tensor, index in sorted(self._tensors.items())
            if index in read and index not in self._written and self.operand(index).source == wire.ValueSource.NONE
        ]
        self.model.inputs = [index for _, index in inputs]
        given = []
        for tensor in sorted(outputs):
            index = self._tensors.get(tensor, -1)
            if index not in self._written:
                raise ProgramError(f"output tensor {tensor} is written by no operation")
            given.append((tensor, index))
        given += sorted(self._state_outputs.items())
        self.model.outputs = [index for _, index in given]
        return tuple(self._binding(*i) for i in inputs), tuple(self._binding(*i) for i in given)

    def _binding(self, tensor_index: int, index: int) -> IoBinding:
        tensor = self.subgraph.tensors[tensor_index]
        operand = self.operand(index)
        xor = 0x80 if self.is_shifted(tensor) else 0
        return IoBinding(
            tensor_index, int(operand.type), operand.dimensions, operand.byte_size, xor, tensor.is_variable
        )


def lower_partition(plan: Plan, partition: Partition, side: SideFile | None = None) -> LoweredProgram:
    """Lowers one partition of a plan.

    Args:
        plan: The plan that the partition belongs to.
        partition: One of `plan.partitions`, or a preview of one.
        side: Where transformed constants go; a new side file without it.

    Raises:
        UnsupportedError: A node cannot be said in NNAPI for the plan's target (`--strategy tflite` takes such nodes).
        ProgramError: The result is not a valid program.
    """
    side = side if side is not None else SideFile()
    subgraph = plan.graph.subgraphs[partition.subgraph]
    target = plan.target_of(partition)
    builder = ProgramBuilder(plan.graph, subgraph, target, side)
    for index in partition.nodes:
        builder.node = index
        plan.lower_node(builder, partition.subgraph, index)
    inputs, outputs = builder.finish(partition.outputs)
    for model in builder.models:
        verify(model, target.feature_level)
    name = f"subgraph {partition.subgraph} partition {partition.index}"
    return LoweredProgram(
        serialize(builder.models, builder.level, name),
        inputs,
        outputs,
        tuple(operation.node for operation in builder.model.operations),
        tuple(operation.code for operation in builder.model.operations),
        builder.level,
        side,
        name,
        partition.target,
    )


# -- the wire format ------------------------------------------------------------------------------------------------


def serialize(models: Sequence[ProgramModel], feature_level: int, name: str) -> bytes:
    """The bytes of a program (`schema/program.fbs`)."""
    b = flatbuffers.Builder(1024)
    offsets = [_write_model(b, model) for model in models]
    models_vector = _offsets(b, offsets, wire.ProgramStartModelsVector)
    name_offset = b.CreateString(name)
    wire.ProgramStart(b)
    wire.ProgramAddVersion(b, PROGRAM_VERSION)
    wire.ProgramAddFeatureLevel(b, feature_level)
    wire.ProgramAddModels(b, models_vector)
    wire.ProgramAddName(b, name_offset)
    b.Finish(wire.ProgramEnd(b), file_identifier=b"NNTP")
    return bytes(b.Output())


def _offsets(b: Any, offsets: Sequence[int], start: Any) -> int:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _write_model(b: Any, model: ProgramModel) -> int:
    operands = [_write_operand(b, operand) for operand in model.operands]
    operations = [_write_operation(b, operation) for operation in model.operations]
    operand_vector = _offsets(b, operands, wire.ModelStartOperandsVector)
    operation_vector = _offsets(b, operations, wire.ModelStartOperationsVector)
    inputs = b.CreateNumpyVector(np.array(model.inputs, np.uint32))
    outputs = b.CreateNumpyVector(np.array(model.outputs, np.uint32))
    wire.ModelStart(b)
    wire.ModelAddOperands(b, operand_vector)
    wire.ModelAddOperations(b, operation_vector)
    wire.ModelAddInputs(b, inputs)
    wire.ModelAddOutputs(b, outputs)
    return int(wire.ModelEnd(b))


def _write_operation(b: Any, operation: ProgramOperation) -> int:
    inputs = b.CreateNumpyVector(np.array(operation.inputs, np.uint32))
    outputs = b.CreateNumpyVector(np.array(operation.outputs, np.uint32))
    wire.OperationStart(b)
    wire.OperationAddCode(b, operation.code)
    wire.OperationAddInputs(b, inputs)
    wire.OperationAddOutputs(b, outputs)
    wire.OperationAddNode(b, operation.node)
    return int(wire.OperationEnd(b))


def _write_operand(b: Any, operand: ProgramOperand) -> int:
    dims = b.CreateNumpyVector(np.array(operand.dimensions, np.uint32)) if operand.dimensions else None
    scales = b.CreateNumpyVector(np.array(operand.channel_scales, np.float32)) if operand.channel_scales else None
    inline = None
    if operand.inline:
        b.StartVector(1, len(operand.inline), 8)
        b.head = b.head - len(operand.inline)
        b.Bytes[b.head : b.head + len(operand.inline)] = operand.inline
        inline = b.EndVector()
    wire.OperandStart(b)
    wire.OperandAddType(b, int(operand.type))
    if dims is not None:
        wire.OperandAddDimensions(b, dims)
    wire.OperandAddScale(b, operand.scale)
    wire.OperandAddZeroPoint(b, operand.zero_point)
    if scales is not None:
        wire.OperandAddChannelDimension(b, operand.channel_dimension)
        wire.OperandAddChannelScales(b, scales)
    wire.OperandAddSource(b, operand.source)
    if inline is not None:
        wire.OperandAddInline(b, inline)
    wire.OperandAddFile(b, operand.file)
    wire.OperandAddOffset(b, operand.offset)
    wire.OperandAddLength(b, operand.length)
    wire.OperandAddTensor(b, operand.tensor)
    return int(wire.OperandEnd(b))


# -- the self-check -------------------------------------------------------------------------------------------------


def verify(model: ProgramModel, feature_level: int) -> None:
    """Proves that a model obeys NNAPI's rules for operands and its tables of operations.

    Raises:
        ProgramError: The first thing that is wrong, with the operand or operation.
    """
    for index, operand in enumerate(model.operands):
        _verify_operand(index, operand, feature_level)
    count = len(model.operands)
    for index in (*model.inputs, *model.outputs):
        if not 0 <= index < count:
            raise ProgramError(f"model input or output {index} is no operand (there are {count})")
    constant = {i for i, operand in enumerate(model.operands) if operand.source != wire.ValueSource.NONE}
    ready = constant | set(model.inputs)
    if constant & set(model.inputs) or len(set(model.inputs)) != len(model.inputs):
        raise ProgramError("a model input is a constant or listed twice")
    for number, operation in enumerate(model.operations):
        _verify_operation(number, operation, model, feature_level)
        for index in operation.inputs:
            if index not in ready:
                raise ProgramError(f"{_name(number, operation)} reads operand {index} before it is written")
        for index in operation.outputs:
            if index in ready:
                raise ProgramError(f"{_name(number, operation)} writes operand {index}, which has a value already")
            ready.add(index)
    for index in range(count):
        if index not in ready:
            raise ProgramError(f"operand {index} is written by nothing")
    if not set(model.outputs) <= ready - constant - set(model.inputs) or not model.outputs:
        raise ProgramError("a model output is no operation's result, or there is none")


def _name(number: int, operation: ProgramOperation) -> str:
    return f"operation {number} ({operation_name(operation.code)}) of node {operation.node}"


def _verify_operand(index: int, operand: ProgramOperand, feature_level: int) -> None:
    def need(holds: bool, what: str) -> None:
        if not holds:
            raise ProgramError(f"operand {index} ({operand.type.name}, tensor {operand.tensor}): {what}")

    need(OPERAND_LEVELS[operand.type] <= feature_level, f"its type needs feature level {OPERAND_LEVELS[operand.type]}")
    omitted = operand.source == wire.ValueSource.OMITTED
    if operand.type in SCALARS or operand.type == OperandCode.MODEL:
        need(not operand.dimensions, f"a scalar with dimensions {operand.dimensions}")
    else:
        need(bool(operand.dimensions), "a tensor without dimensions")
        need(omitted or min(operand.dimensions, default=1) > 0, f"dimensions {operand.dimensions}")
    quant = operand.type in QUANT8 or operand.type in (
        OperandCode.TENSOR_QUANT16_ASYMM,
        OperandCode.TENSOR_QUANT16_SYMM,
        OperandCode.TENSOR_QUANT8_SYMM,
    )
    if quant and not omitted:
        need(operand.scale > 0 and np.isfinite(operand.scale), f"scale {operand.scale}")
    elif operand.type == OperandCode.TENSOR_INT32:
        need(operand.scale >= 0, f"scale {operand.scale}")
    elif not quant:
        need(operand.scale == 0, f"scale {operand.scale}")
    low, high = {
        OperandCode.TENSOR_QUANT8_ASYMM: (0, 255),
        OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: (-128, 127),
        OperandCode.TENSOR_QUANT16_ASYMM: (0, 65535),
    }.get(operand.type, (0, 0))
    need(low <= operand.zero_point <= high, f"zero point {operand.zero_point}")
    if operand.type == OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL:
        axis, scales = operand.channel_dimension, operand.channel_scales
        need(axis < len(operand.dimensions), f"channel dimension {axis}")
        need(len(scales) == operand.dimensions[axis], f"{len(scales)} channel scales")
        need(min(scales) > 0, "a channel scale that is not positive")
    if operand.source in (wire.ValueSource.INLINE, wire.ValueSource.FILE):
        size = operand.byte_size
        need(operand.length == size, f"{operand.length} bytes of value for {size} bytes of operand")
        need(operand.source != wire.ValueSource.INLINE or len(operand.inline) == size, "inline bytes of another length")


def _verify_operation(number: int, operation: ProgramOperation, model: ProgramModel, feature_level: int) -> None:
    name = operation_name(operation.code)
    fact = OPERATIONS.get(name)
    if fact is None:
        raise ProgramError(f"operation {number} has the unknown code {operation.code}")
    where = _name(number, operation)
    if fact.level > feature_level:
        raise ProgramError(f"{where} needs feature level {fact.level}, not {feature_level}")
    count = len(operation.inputs)
    if count < fact.min_inputs or (fact.inputs and count not in fact.inputs):
        raise ProgramError(f"{where} has {count} inputs")
    for index in (*operation.inputs, *operation.outputs):
        if not 0 <= index < len(model.operands):
            raise ProgramError(f"{where} names operand {index} of {len(model.operands)}")
    if not fact.types:
        return
    kinds = [model.operands[i].type for i in operation.inputs if model.operands[i].type not in SCALARS]
    levels = [fact.types[kind] for kind in kinds if kind in fact.types]
    if not levels or min(levels) > feature_level:
        raise ProgramError(f"{where} takes no tensor of {', '.join(k.name for k in kinds)} at level {feature_level}")
