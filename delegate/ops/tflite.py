"""Vocabulary of the TFLite delegate's own checks, gaps included.

These statements say what TFLite's Validate says and no more: where it looks only at input 0, so do they. They serve
`--strategy tflite`, which must take exactly the nodes that TFLite takes, even those that NNAPI then refuses.
"""

from __future__ import annotations

from collections.abc import Callable

from nnapi_toolkit.delegate.graph import Tensor
from nnapi_toolkit.delegate.ops.base import Case, float32_product
from nnapi_toolkit.schema.enums import TensorType

FLOAT = frozenset({TensorType.FLOAT32})
QUANT8 = frozenset({TensorType.UINT8, TensorType.INT8})
FLOAT_UINT8 = frozenset({TensorType.FLOAT32, TensorType.UINT8})
FLOAT_QUANT8 = FLOAT | QUANT8
FLOAT_QUANT8_INT32 = FLOAT_QUANT8 | {TensorType.INT32}


def tensor(case: Case, position: int) -> Tensor:
    """The tensor at an input position; a missing one is refused (TFLite would read past its array)."""
    return case.input(position).tensor


def accelerator_specified(case: Case) -> bool:
    """True when the delegate counts as having chosen devices: named ones, or NNAPI's CPU disallowed from API 29."""
    return case.target.device_selected and case.target.api_level >= 29


def max_version(case: Case, highest: int) -> None:
    """Refuses operator versions above the delegate's limit."""
    version = case.node.operator.version
    case.need(
        version <= highest,
        "operator-version",
        "the operator version",
        version,
        f"at most {highest} for the TFLite delegate",
        "a converter setting that writes an older operator version",
    )


def min_level(case: Case, level: int) -> None:
    """Refuses target levels below the one that the delegate asks for."""
    case.need_level(level, "the delegate's mapping")


def type_in(case: Case, position: int, kinds: frozenset[TensorType]) -> None:
    """Refuses an input whose type is not in the set."""
    operand = case.input(position)
    case.need(operand.tensor.type in kinds, "operand-type", operand, operand.tensor.type.name, names(kinds))


def output_type_in(case: Case, kinds: frozenset[TensorType]) -> None:
    """Refuses an output whose type is not in the set."""
    operand = case.output()
    case.need(operand.tensor.type in kinds, "operand-type", operand, operand.tensor.type.name, names(kinds))


def names(kinds: frozenset[TensorType]) -> str:
    """Types for a message."""
    return " or ".join(k.name for k in sorted(kinds))


def is_constant(t: Tensor) -> bool:
    """True for tensors that TFLite maps read-only: those with a buffer in the file, even an empty one."""
    return t.is_constant and t.buffer != 0 and t.data_offset is not None


def constant(case: Case, position: int) -> None:
    """Refuses an input that is not a constant of the file."""
    operand = case.input(position)
    fits = is_constant(operand.tensor)
    case.need(fits, "constant-operand", operand, "computed at run time", "a constant", "a constant value")


def no_activation(case: Case) -> None:
    """Refuses any fused activation."""
    value = int(case.options.fused_activation_function)
    case.need(value == 0, "fused-activation", "option fused_activation_function", value, "NONE")


def ranks_at_most_4(case: Case, *positions: int) -> None:
    """Refuses inputs of rank above 4."""
    for position in positions:
        operand = case.input(position)
        case.need(operand.rank <= 4, "operand-rank", operand, f"of rank {operand.rank}", "of rank 4 or less")


def input_count(case: Case, *counts: int) -> None:
    """Refuses other numbers of inputs."""
    case.need(
        case.input_count in counts,
        "operand-count",
        "the number of inputs",
        case.input_count,
        " or ".join(map(str, counts)),
    )


def legacy_scale(t: Tensor) -> float:
    """The scale in TFLite's old per-tensor parameters: 0 when there are several, or none."""
    q = t.quantization
    return q.scale[0] if q is not None and len(q.scale) == 1 and len(q.zero_point) == 1 else 0.0


def legacy_zero_point(t: Tensor) -> int:
    """The zero point in TFLite's old per-tensor parameters."""
    q = t.quantization
    return q.zero_point[0] if q is not None and len(q.scale) == 1 and len(q.zero_point) == 1 else 0


def hybrid(case: Case, weights: int) -> bool:
    """True for float32 activations with 8-bit weights."""
    return tensor(case, 0).type in FLOAT and case.has_input(weights) and tensor(case, weights).type in QUANT8


def restricted_scales(case: Case) -> None:
    """Below feature level 3: input scale times filter scale, in float32, must be under the output scale."""
    out = case.output()
    product = float32_product(legacy_scale(tensor(case, 0)), legacy_scale(tensor(case, 1)))
    scale = legacy_scale(out.tensor)
    case.need(
        product < scale,
        "quantization",
        out,
        f"of scale {scale:g}",
        f"of a scale above {product:g}, the product of input and filter scale",
        "feature level 3",
    )


def simple(
    highest: int | None, kinds: frozenset[TensorType] | None = None, level: int = 1
) -> Callable[[Case], None]:
    """A rule made of a version limit, a lowest level and the types of input 0."""

    def rule(case: Case) -> None:
        if highest is not None:
            max_version(case, highest)
        if level > 1:
            min_level(case, level)
        if kinds is not None:
            type_in(case, 0, kinds)

    return rule
