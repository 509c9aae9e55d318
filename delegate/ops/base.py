"""What every operator family is made of: the rule record, and the words in which a rule says no.

A rule is written as plain statements about a `Case` (a node and a target). The first statement that does not hold raises
`Refusal` with the complete reason; `OperatorRule.check` turns that into its answer, so that rules read top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from nnapi_toolkit.delegate.errors import UnsupportedError
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.delegate.nnapi import OPERATIONS, QUANT8, FuseCode, OperandCode
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.shapes import ShapeError, infer
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

#: The rewrite that carries int8 tensors as uint8 (zero point + 128) where NNAPI has no signed type yet.
INT8_AS_UINT8 = "int8-as-uint8"
#: The rewrite that turns 8-bit weights of a float operator into float32 constants.
DEQUANTIZED_WEIGHTS = "dequantized-weights"

_CODES: dict[TensorType, OperandCode] = {
    TensorType.FLOAT32: OperandCode.TENSOR_FLOAT32,
    TensorType.UINT8: OperandCode.TENSOR_QUANT8_ASYMM,
    TensorType.INT8: OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    TensorType.INT32: OperandCode.TENSOR_INT32,
    TensorType.BOOL: OperandCode.TENSOR_BOOL8,
    TensorType.INT16: OperandCode.TENSOR_QUANT16_SYMM,
}

#: TFLite's fused activations by schema number, for messages.
ACTIVATION_NAMES = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


class Refusal(Exception):
    """A rule's no, on its way to `OperatorRule.check`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor of a node with the words that name it in a reason, such as `input 1 (filter)`."""

    label: str
    tensor: Tensor

    @property
    def rank(self) -> int:
        """Number of dimensions in TFLite's eyes (0 for a scalar)."""
        return len(self.tensor.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in TFLite's eyes."""
        return self.tensor.shape

    @property
    def is_constant(self) -> bool:
        """True when the value is known while planning."""
        return self.tensor.is_constant


def refuse(
    rule: str, operand: Operand | str, actual: object, required: object, lifted_by: str | None = None
) -> NoReturn:
    """Ends a check with a reason."""
    label, tensor = (operand.label, operand.tensor.name) if isinstance(operand, Operand) else (operand, None)
    raise Refusal(Reason(rule, label, str(actual), str(required), tensor, lifted_by))


def need_level(target: Target, level: int, what: str, operand: Operand | str = "the operator") -> None:
    """Refuses below a feature level; `what` is what that level brought."""
    if target.feature_level < level:
        refuse(
            "feature-level",
            operand,
            f"for feature level {target.feature_level}",
            f"for feature level {level} or higher, which brought {what}",
            f"feature level {level}",
        )


def operand_code(operand: Operand, target: Target) -> OperandCode:
    """The NNAPI operand type that carries a tensor on a target, or a refusal."""
    tensor = operand.tensor
    kind = tensor.type
    if kind == TensorType.FLOAT16:
        if tensor.is_constant:
            return OperandCode.TENSOR_FLOAT32  # expanded on the host
        need_level(target, 3, "TENSOR_FLOAT16", operand)
        return OperandCode.TENSOR_FLOAT16
    if kind == TensorType.INT8:
        if target.feature_level >= 4:
            return OperandCode.TENSOR_QUANT8_ASYMM_SIGNED
        if INT8_AS_UINT8 in target.rewrites:
            return OperandCode.TENSOR_QUANT8_ASYMM
        refuse(
            "operand-type",
            operand,
            "INT8",
            f"another type at feature level {target.feature_level}, which has no TENSOR_QUANT8_ASYMM_SIGNED",
            f"feature level 4 or rewrite {INT8_AS_UINT8}",
        )
    code = _CODES.get(kind)
    if code is None:
        refuse("operand-type", operand, kind.name, "a type that NNAPI has (no 64-bit, 4-bit, string or complex)")
    if code == OperandCode.TENSOR_BOOL8:
        need_level(target, 3, "TENSOR_BOOL8", operand)
    return code


def tensor_quantization(operand: Operand) -> tuple[float, int]:
    """Scale and zero point of a per-tensor quantised tensor in TFLite's numbers (0, 0 without); refuses per-channel ones."""
    found = operand.tensor.quantization
    if found is None or not found.scale:
        return 0.0, 0
    if len(found.scale) > 1:
        refuse(
            "per-channel-quantization",
            operand,
            f"quantised per channel ({len(found.scale)} scales)",
            "quantised with one scale",
        )
    return found.scale[0], found.zero_point[0] if found.zero_point else 0


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a rule: may this node be lowered for this target?

    Attributes:
        node: The node.
        target: The target.
        depth: How many called subgraphs the node is inside of.
    """

    node: Node
    target: Target
    depth: int = 0

    # -- the node ---------------------------------------------------------------------------------------------------

    @property
    def level(self) -> int:
        """The target's feature level."""
        return self.target.feature_level

    @property
    def options(self) -> Any:
        """The operator's options, by schema field name."""
        return self.node.operator.options

    @property
    def input_count(self) -> int:
        """Number of input positions, omitted ones included."""
        return len(self.node.operator.inputs)

    def has_input(self, position: int) -> bool:
        """True when the position exists and is not omitted."""
        inputs = self.node.operator.inputs
        return position < len(inputs) and inputs[position] >= 0

    def input(self, position: int, role: str = "") -> Operand:
        """The operand at an input position; refuses the node when it is missing."""
        label = f"input {position} ({role})" if role else f"input {position}"
        tensor = self.node.input(position) if position < self.input_count else None
        if tensor is None:
            self.refuse("operand-missing", label, "omitted", "present")
        return Operand(label, tensor)

    def output(self, position: int = 0, role: str = "") -> Operand:
        """The operand at an output position."""
        label = f"output {position} ({role})" if role else f"output {position}"
        if position >= len(self.node.operator.outputs):
            self.refuse("operand-missing", label, "missing", "present")
        return Operand(label, self.node.output(position))

    # -- saying no --------------------------------------------------------------------------------------------------

    def refuse(
        self, rule: str, operand: Operand | str, actual: object, required: object, lifted_by: str | None = None
    ) -> NoReturn:
        """Ends the check with a reason."""
        refuse(rule, operand, actual, required, lifted_by)

    def need(
        self,
        holds: bool,
        rule: str,
        operand: Operand | str,
        actual: object,
        required: object,
        lifted_by: str | None = None,
    ) -> None:
        """Refuses unless the statement holds."""
        if not holds:
            self.refuse(rule, operand, actual, required, lifted_by)

    def need_level(self, level: int, what: str, operand: Operand | str = "the operator") -> None:
        """Refuses below a feature level; `what` is what that level brought."""
        need_level(self.target, level, what, operand)

    # -- types ------------------------------------------------------------------------------------------------------

    def code(self, operand: Operand) -> OperandCode:
        """The NNAPI operand type of a tensor on this target, or a refusal."""
        return operand_code(operand, self.target)

    def operation(self, name: str, operand: Operand, *, any_rank: bool = False) -> OperandCode:
        """Checks that an NNAPI operation takes this main operand on this target: level, type, rank, shape.

        Args:
            name: The operation.
            operand: Its main input or output.
            any_rank: The operand gets another shape first.

        Returns:
            The operand's NNAPI type.
        """
        fact = OPERATIONS[name]
        self.need_level(fact.level, f"the operation {name}")
        code = self.code(operand)
        since = fact.types.get(code)
        if since is None:
            names = ", ".join(t.name for t in fact.types)
            self.refuse("operand-type", operand, operand.tensor.type.name, f"one of {names} for {name}")
        if since > self.level:
            self.need_level(since, f"{code.name} for {name}", operand)
        if code in QUANT8:
            self.quantization(operand)
        if not any_rank:
            self.ranks(operand, *fact.ranks, what=name)
        self.known_shape(operand)
        return code

    def same_type(self, operand: Operand, other: Operand) -> None:
        """Refuses unless both tensors have the same TFLite type (float16 constants count as float32)."""
        widened = TensorType.FLOAT16 in (operand.tensor.type, other.tensor.type)
        same = self.code(operand) == self.code(other)
        if not same or (operand.tensor.type != other.tensor.type and not widened):
            self.refuse(
                "operand-type",
                operand,
                operand.tensor.type.name,
                f"{other.tensor.type.name}, the type of {other.label}",
            )

    def typed(self, operand: Operand, *kinds: TensorType) -> None:
        """Refuses unless the tensor has one of the TFLite types."""
        if operand.tensor.type not in kinds:
            names = " or ".join(k.name for k in kinds)
            self.refuse("operand-type", operand, operand.tensor.type.name, names)

    # -- shapes -----------------------------------------------------------------------------------------------------

    def ranks(self, operand: Operand, low: int, high: int, what: str = "NNAPI") -> None:
        """Refuses a rank outside the bounds; TFLite scalars count as rank 1, the form in which they are sent."""
        rank = max(1, operand.rank)
        if not low <= rank <= high:
            wanted = f"rank {low}" if low == high else f"rank {low} to {high}" if high < 255 else f"rank {low} or more"
            self.refuse("operand-rank", operand, f"of rank {operand.rank}", f"of {wanted} for {what}")

    def known_shape(self, operand: Operand) -> None:
        """Refuses tensors with unknown or zero dimensions."""
        tensor = operand.tensor
        if min(tensor.shape, default=1) <= 0:
            self.refuse("empty-tensor", operand, f"of shape {list(tensor.shape)}", "without a zero dimension")
        if tensor.byte_size > 0xFFFFFFFF:
            self.refuse("operand-size", operand, f"{tensor.byte_size} bytes", "at most 4294967295 bytes")

    def constant(self, operand: Operand, what: str = "a constant") -> NDArray[Any]:
        """The value of a constant operand; refuses one that is computed at run time."""
        data = operand.tensor.data
        if not operand.is_constant or data is None:
            self.refuse("constant-operand", operand, "computed at run time", what, "a constant value")
        return data

    def integers(self, operand: Operand) -> list[int]:
        """The value of a constant INT32 or INT64 operand as a flat list, each in the range of INT32."""
        self.typed(operand, TensorType.INT32, TensorType.INT64)
        values = [int(v) for v in self.constant(operand).reshape(-1)]
        for value in values:
            if not -(2**31) <= value < 2**31:
                self.refuse("operand-value", operand, value, "within the range of INT32")
        return values

    def axis(self, value: int, rank: int, operand: Operand | str, end: int = 0) -> int:
        """An axis counted from the front; refuses one outside the rank (`end` = 1 for operators that insert an axis)."""
        rank += end
        if not -rank <= value < rank:
            self.refuse("operand-value", operand, value, f"between {-rank} and {rank - 1}")
        return value + rank if value < 0 else value

    # -- quantisation -----------------------------------------------------------------------------------------------

    def quantization(self, operand: Operand) -> tuple[float, int]:
        """Scale and zero point of a per-tensor quantised operand in TFLite's numbers; refuses per-channel ones."""
        return tensor_quantization(operand)

    def has_zero_point(self, operand: Operand) -> bool:
        """Has the NNAPI operand a zero point that is not 0? Below feature level 4, int8 goes as uint8 with 128 more."""
        zero_point = self.quantization(operand)[1]
        shifted = operand.tensor.type == TensorType.INT8 and self.code(operand) == OperandCode.TENSOR_QUANT8_ASYMM
        return zero_point != (-128 if shifted else 0)

    def scaled(self, operand: Operand) -> tuple[float, int]:
        """As `quantization`, refusing a tensor without a positive scale."""
        scale, zero_point = self.quantization(operand)
        if not scale > 0:
            self.refuse("quantization", operand, f"of scale {scale:g}", "of a positive scale")
        return scale, zero_point

    def same_quantization(self, operand: Operand, other: Operand, what: str) -> None:
        """Refuses unless both 8-bit tensors have equal scale and zero point."""
        if self.code(other) not in QUANT8:
            return
        mine, theirs = self.quantization(operand), self.quantization(other)
        if mine != theirs:
            self.refuse(
                "quantization",
                operand,
                f"of scale {mine[0]:g} and zero point {mine[1]}",
                f"of scale {theirs[0]:g} and zero point {theirs[1]} like {other.label}, which {what} keeps",
            )

    def fixed_quantization(self, operand: Operand, scale: float, signed: int, unsigned: int, what: str) -> None:
        """Refuses an 8-bit output whose scale or zero point is not the one that NNAPI fixes."""
        if self.code(operand) not in QUANT8:
            return
        zero_point = signed if operand.tensor.type == TensorType.INT8 else unsigned
        mine = self.quantization(operand)
        if mine != (scale, zero_point):
            self.refuse(
                "quantization",
                operand,
                f"of scale {mine[0]:g} and zero point {mine[1]}",
                f"of scale 1/{round(1 / scale)} and zero point {zero_point}, the only ones that {what} writes",
            )

    # -- options ----------------------------------------------------------------------------------------------------

    def fuse(self) -> FuseCode:
        """The fused activation; refuses those that NNAPI cannot fuse."""
        value = int(self.options.fused_activation_function)
        if value > 3:
            name = ACTIVATION_NAMES[value] if value < len(ACTIVATION_NAMES) else str(value)
            self.refuse(
                "fused-activation", "option fused_activation_function", name, "NONE, RELU, RELU_N1_TO_1 or RELU6"
            )
        return FuseCode(value)

    def fuse_none(self, what: str) -> None:
        """Refuses any fused activation: the NNAPI operation has no such operand."""
        value = int(self.options.fused_activation_function)
        if value:
            name = ACTIVATION_NAMES[value] if value < len(ACTIVATION_NAMES) else str(value)
            self.refuse(
                "fused-activation", "option fused_activation_function", name, f"NONE: {what} fuses no activation"
            )

    def positive(self, *names: str) -> None:
        """Refuses options that must be at least 1."""
        for name in names:
            value = int(getattr(self.options, name))
            if value < 1:
                self.refuse("option-value", f"option {name}", value, "at least 1")

    def outputs_fit(self) -> None:
        """Refuses tensors that cannot be operands, and outputs whose shape is not what the operator makes of its inputs."""
        node = self.node
        for position, index in enumerate(node.operator.inputs):
            if index >= 0 and not node.subgraph.tensors[index].is_constant:
                self.known_shape(Operand(f"input {position}", node.subgraph.tensors[index]))
        shapes = expected_shapes(node)
        for position, index in enumerate(node.operator.outputs):
            if index < 0:
                continue
            out = Operand(f"output {position}", node.subgraph.tensors[index])
            if shapes is not None and position >= len(shapes):
                count = f"{len(shapes)} output{'s' * (len(shapes) != 1)}"
                self.refuse("operand-count", "the number of outputs", len(node.operator.outputs), f"{count}, as the operator has")
            if self.code(out) in QUANT8:
                self.quantization(out)
            self.known_shape(out)
            if shapes is not None and position < len(shapes) and tuple(out.shape) != shapes[position]:
                wanted = f"{list(shapes[position])}, what the operator makes of its inputs"
                self.refuse("operand-shape", out, list(out.shape), wanted)

    def version(self, known: int) -> None:
        """Refuses an operator version whose meaning this toolkit does not know."""
        version = self.node.operator.version
        if version > known:
            self.refuse(
                "operator-version",
                "the operator version",
                version,
                f"at most {known}",
                "a converter setting that writes an older operator version",
            )


CheckFunction = Callable[[Case], None]
LowerFunction = Callable[["ProgramBuilder", Case], None]


@dataclass(frozen=True, slots=True)
class OperatorRule:
    """All that the delegate knows of one TFLite operator.

    Attributes:
        op: The operator's name in the schema, or the custom code.
        nnapi: NNAPI operations that it may become.
        known_version: Highest operator version whose meaning is covered (TFLite's own kernels' maximum); None: any.
        rule: NNAPI's own rules and what is lowered right, as statements.
        tflite_rule: What the TFLite delegate's Validate accepts, gaps included; None: it never takes the operator.
        lowering: Says the node in NNAPI operations; reached through a passed check only. None: there is no form.
    """

    op: str
    nnapi: tuple[str, ...]
    known_version: int | None
    rule: CheckFunction
    tflite_rule: CheckFunction | None
    lowering: LowerFunction | None

    def check(self, node: Node, target: Target) -> Reason | None:
        """None when the node can be lowered for the target, else why not."""
        return self.check_case(Case(node, target))

    def check_case(self, case: Case) -> Reason | None:
        """As `check`, for a case that exists already."""
        try:
            if self.known_version is not None:
                case.version(self.known_version)
            self.rule(case)
            case.outputs_fit()
        except Refusal as refusal:
            return refusal.reason
        return None

    def tflite_check(self, node: Node, target: Target) -> Reason | None:
        """None when the TFLite delegate would accept the node, else why not."""
        if self.tflite_rule is None:
            return Reason("operator", "the operator", self.op, "one that the TFLite delegate maps")
        try:
            self.tflite_rule(Case(node, target))
        except Refusal as refusal:
            return refusal.reason
        return None

    def lower(self, builder: ProgramBuilder, node: Node, target: Target) -> None:
        """Adds the node to a program.

        Raises:
            UnsupportedError: The check refuses the node.
        """
        case = Case(node, target)
        reason = self.check_case(case)
        if reason is not None or self.lowering is None:
            raise UnsupportedError(node.operator.name, node.operator.index, str(reason or "it has no NNAPI form"))
        self.lowering(builder, case)


def expected_shapes(node: Node) -> tuple[tuple[int, ...], ...] | None:
    """Output shapes that follow from a node's inputs; None where they cannot be told."""
    try:
        return infer(node, node.inputs)
    except ShapeError as error:
        refuse("operand-shape", "the operator's inputs", str(error), "shapes that go together")


def never(op: str, lacks: str) -> OperatorRule:
    """The rule of an operator that has no NNAPI form; `lacks` says what NNAPI would need."""

    def rule(case: Case) -> None:
        case.refuse("operator", "the operator", op, f"one that NNAPI can express: {lacks}")

    return OperatorRule(op, (), None, rule, None, None)


def integer_list(values: Sequence[int]) -> str:
    """A shape or index list for a message."""
    return "[" + ", ".join(str(v) for v in values) + "]"


def is_float(code: OperandCode) -> bool:
    """True for float32 and float16 tensors."""
    return code in (OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_FLOAT16)


def float32_product(a: float, b: float) -> float:
    """The product of two scales in float32, as NNAPI and TFLite compute it."""
    return float(np.float32(a) * np.float32(b))
