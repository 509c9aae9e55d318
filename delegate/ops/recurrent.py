"""RNN and its sequences, SVDF; and what all operators with a state share (LSTM is in `lstm`, its integer forms in `lstm_integer`).

State lives in variable tensors: a program takes the old state as an input and gives the new one as an output, both bound
to the variable. Where a feature level cannot give the state back, the operator's own rule says no (see the unrolled forms in
`rewrites/recurrent`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import OPERATIONS, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import DEQUANTIZED_WEIGHTS, Case, Operand, OperatorRule
from nnapi_toolkit.delegate.ops.convolution import check_scales, dequantized
from nnapi_toolkit.schema.enums import ActivationFunctionType, TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_FLOAT32 = OperandCode.TENSOR_FLOAT32
# -- shared statements ----------------------------------------------------------------------------------------------


def check_float_weight(case: Case, operand: Operand) -> None:
    """float32, or 8-bit weights that the host may dequantise."""
    if operand.tensor.type in (TensorType.INT8, TensorType.UINT8):
        case.need(
            DEQUANTIZED_WEIGHTS in case.target.rewrites,
            "hybrid-operator",
            operand,
            operand.tensor.type.name,
            "FLOAT32",
            f"rewrite {DEQUANTIZED_WEIGHTS}",
        )
        case.constant(operand, "a constant, so that it can be dequantised")
        check_scales(case, operand)
    else:
        case.typed(operand, TensorType.FLOAT32, TensorType.FLOAT16)
        if operand.tensor.type == TensorType.FLOAT16:
            case.constant(operand, "a constant, so that it can be widened")
        case.code(operand)
    case.known_shape(operand)


def weight(builder: ProgramBuilder, operand: Operand) -> int:
    """The operand of a float weight; 8-bit ones dequantised."""
    if operand.tensor.type in (TensorType.INT8, TensorType.UINT8):
        return builder.constant(dequantized(operand), _FLOAT32, tensor=operand.tensor.index)
    return builder.tensor(operand)


def optional_weight(builder: ProgramBuilder, case: Case, position: int, rank: int) -> int:
    """As `weight`, or an omitted operand of the rank."""
    if not case.has_input(position):
        return builder.omitted(_FLOAT32, rank)
    return weight(builder, case.input(position))


def check_state(case: Case, position: int, role: str, kind: TensorType = TensorType.FLOAT32) -> Operand:
    """A variable tensor of that type."""
    state = case.input(position, role)
    case.typed(state, kind)
    case.known_shape(state)
    case.need(
        not state.is_constant,
        "operand-value",
        state,
        "a constant",
        "a variable tensor, whose new value the operator writes",
    )
    return state


def state_back(builder: ProgramBuilder, state: Operand) -> int:
    """The operand that receives a variable's new value."""
    return builder.state_output(state.tensor, _FLOAT32)


def need_state_output(case: Case, name: str) -> None:
    """Before feature level 4 the sequence operations keep their final state to themselves."""
    case.need_level(4, f"the state outputs of {name}: without them a second run starts from the wrong state")


def check_shape(case: Case, operand: Operand, *wanted: int) -> None:
    """A tensor of exactly these dimensions."""
    case.need(tuple(operand.shape) == wanted, "operand-shape", operand, list(operand.shape), list(wanted))


def check_shapes(case: Case, wanted: dict[int, tuple[int, ...]]) -> None:
    """Input positions -> dimensions; omitted inputs fit."""
    for position, shape in wanted.items():
        if case.has_input(position):
            check_shape(case, case.input(position), *shape)


def check_together(case: Case, *positions: int) -> bool:
    """Inputs that are all there or all omitted; whether they are."""
    there = [case.has_input(p) for p in positions]
    case.need(
        all(there) or not any(there),
        "operand-count",
        f"inputs {', '.join(map(str, positions))}",
        f"{sum(there)} of {len(there)} present",
        "all present or all omitted",
    )
    return there[0]


def batch_of(case: Case, x: Operand) -> int:
    """The number of sequences: the dimension that is neither time nor depth."""
    return x.shape[1] if x.rank == 3 and case.options.time_major else x.shape[0]


# -- RNN, SVDF ------------------------------------------------------------------------------------------------------


def needs_tanh(case: Case) -> bool:
    """Whether the activation is TANH, which TFLite fuses and NNAPI does not."""
    return bool(case.options.fused_activation_function == ActivationFunctionType.TANH)


def check_rnn(case: Case, name: str, rank: int) -> None:
    """The five inputs of an RNN, one step or a sequence; its activation is another question."""
    x = case.input(0, "input")
    case.need_level(OPERATIONS[name].level, f"the operation {name}")
    case.known_shape(x)
    case.typed(x, TensorType.FLOAT32)
    case.typed(case.output(), TensorType.FLOAT32)
    case.ranks(x, rank, rank, name)
    for position, role in ((1, "weights"), (2, "recurrent_weights"), (3, "bias")):
        check_float_weight(case, case.input(position, role))
    check_state(case, 4, "hidden_state")
    check_rnn_shapes(case, x, 1)


def check_rnn_shapes(case: Case, x: Operand, first: int) -> None:
    """Dimensions of one direction: weights, recurrent weights, bias, state, from a position on."""
    weights = case.input(first)
    case.ranks(weights, 2, 2, "RNN")
    units = weights.shape[0]
    state = (batch_of(case, x), units)
    check_shapes(case, {first: (units, x.shape[-1]), first + 1: (units, units), first + 2: (units,), first + 3: state})


def rnn_inputs(builder: ProgramBuilder, case: Case, x: int, hidden: int, first: int = 1) -> list[int]:
    """Operands 0 to 5 of NNAPI's RNN operations; the weights are the three inputs from a position on."""
    weights = [weight(builder, case.input(first + p)) for p in range(3)]
    return [x, *weights, hidden, builder.int32(case.fuse())]


def _rnn_rule(case: Case) -> None:
    check_rnn(case, "RNN", 2)
    case.fuse()


def _lower_rnn(builder: ProgramBuilder, case: Case) -> None:
    hidden = case.input(4)
    inputs = rnn_inputs(builder, case, builder.tensor(case.input(0)), builder.tensor(hidden))
    builder.operation("RNN", inputs, [state_back(builder, hidden), builder.tensor(case.output())])


def _sequence_rnn_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final state from 4."""
    check_rnn(case, "UNIDIRECTIONAL_SEQUENCE_RNN", 3)
    case.fuse()
    need_state_output(case, "UNIDIRECTIONAL_SEQUENCE_RNN")


def _lower_sequence_rnn(builder: ProgramBuilder, case: Case) -> None:
    emit_sequence_rnn(builder, case, [state_back(builder, case.input(4))])


def emit_sequence_rnn(builder: ProgramBuilder, case: Case, states: list[int]) -> None:
    """Adds NNAPI's UNIDIRECTIONAL_SEQUENCE_RNN; its new state goes to the operand given, if any (feature level 4)."""
    hidden = case.input(4)
    inputs = rnn_inputs(builder, case, builder.tensor(case.input(0)), builder.tensor(hidden))
    inputs.append(builder.int32(int(bool(case.options.time_major))))
    outputs = [builder.tensor(case.output()), *states]
    builder.operation("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, outputs, since=4 if states else 3)


def _sequence_rnn_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    case.need(not tflite.hybrid(case, 1), "hybrid-operator", case.input(1), "8-bit", "FLOAT32")


def _bidirectional_rnn_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final states from 4. The TFLite delegate never takes it."""
    case.operation("BIDIRECTIONAL_SEQUENCE_RNN", case.input(0, "input"))
    check_bidirectional_rnn(case)
    case.fuse()
    need_state_output(case, "BIDIRECTIONAL_SEQUENCE_RNN")


def check_both_outputs(case: Case, states: tuple[int, int]) -> None:
    """One output where the ways are merged, else two: [as the input, as the input, units], as wide as these states."""
    widths = [case.input(position).shape[-1] for position in states]
    if case.options.merge_outputs:
        widths = [sum(widths)]
    count = len(case.node.operator.outputs)
    case.need(count == len(widths), "operand-count", "the number of outputs", count, len(widths))
    for position, width in enumerate(widths):
        check_shape(case, case.output(position), *case.input(0).shape[:2], width)


def check_bidirectional_rnn(case: Case) -> None:
    """All but the feature level and the activation."""
    x = case.input(0, "input")
    case.known_shape(x)
    case.ranks(x, 3, 3, "BIDIRECTIONAL_SEQUENCE_RNN")
    case.typed(x, TensorType.FLOAT32)
    for position in range(len(case.node.operator.outputs)):
        case.typed(case.output(position), TensorType.FLOAT32)
    for position in (1, 2, 3, 5, 6, 7):
        check_float_weight(case, case.input(position))
    for position in (4, 8):
        check_state(case, position, "hidden_state")
    check_rnn_shapes(case, x, 1)
    check_rnn_shapes(case, x, 5)
    check_both_outputs(case, (4, 8))
    for position in (9, 10, 11):
        case.need(not case.has_input(position), "operand-count", f"input {position}", "an auxiliary input", "omitted")


def _lower_bidirectional_rnn(builder: ProgramBuilder, case: Case) -> None:
    emit_bidirectional_rnn(builder, case, [state_back(builder, case.input(p)) for p in (4, 8)])


def emit_bidirectional_rnn(builder: ProgramBuilder, case: Case, states: list[int]) -> None:
    """Adds NNAPI's BIDIRECTIONAL_SEQUENCE_RNN; its new states go to the operands given, if any (feature level 4)."""
    o = case.options
    inputs = [builder.tensor(case.input(0))]
    for first in (1, 5):
        inputs += [weight(builder, case.input(p)) for p in range(first, first + 3)]
        inputs.append(builder.tensor(case.input(first + 3)))
    inputs += [builder.omitted(_FLOAT32, 3), builder.omitted(_FLOAT32, 2), builder.omitted(_FLOAT32, 2)]
    inputs += [builder.int32(case.fuse()), builder.bool(bool(o.time_major)), builder.bool(bool(o.merge_outputs))]
    outputs = [builder.tensor(case.output(i)) for i in range(len(case.node.operator.outputs))]
    builder.operation("BIDIRECTIONAL_SEQUENCE_RNN", inputs, [*outputs, *states], since=4 if states else 3)


def _svdf_rule(case: Case) -> None:
    check_svdf(case)
    case.fuse()


def check_svdf(case: Case) -> None:
    """NNAPI: float; more than rank 1 is broken at feature level 1. The activation is another question."""
    x = case.input(0, "input")
    case.operation("SVDF", x)
    case.need_level(2, "correct SVDF of rank above 1")
    case.typed(x, TensorType.FLOAT32)
    case.typed(case.output(), TensorType.FLOAT32)
    for position, role in ((1, "weights_feature"), (2, "weights_time")):
        check_float_weight(case, case.input(position, role))
    if case.has_input(3):
        check_float_weight(case, case.input(3, "bias"))
    check_state(case, 4, "state")
    case.positive("rank")
    feature, time, rank = case.input(1), case.input(2), case.options.rank
    case.ranks(x, 2, 2, "SVDF")
    case.ranks(time, 2, 2, "SVDF")
    filters, memory = time.shape
    case.need(filters % rank == 0, "operand-shape", time, list(time.shape), f"a multiple of {rank} filters")
    check_shape(case, feature, filters, x.shape[1])
    check_shapes(case, {3: (filters // rank,), 4: (x.shape[0], memory * filters)})


def _lower_svdf(builder: ProgramBuilder, case: Case) -> None:
    emit_svdf(builder, case, int(case.fuse()), builder.tensor(case.output()))


def emit_svdf(builder: ProgramBuilder, case: Case, fuse: int, out: int) -> None:
    """Adds NNAPI's SVDF with an activation."""
    state = case.input(4)
    inputs = [
        builder.tensor(case.input(0)),
        weight(builder, case.input(1)),
        weight(builder, case.input(2)),
        optional_weight(builder, case, 3, 1),
        builder.tensor(state),
        builder.int32(case.options.rank),
        builder.int32(fuse),
    ]
    builder.operation("SVDF", inputs, [state_back(builder, state), out])


def _five_inputs_tflite(case: Case, level: int) -> None:
    tflite.max_version(case, 1)
    tflite.input_count(case, 5)
    tflite.type_in(case, 1, tflite.FLOAT)
    tflite.min_level(case, level)


def _rnn_tflite(case: Case) -> None:
    _five_inputs_tflite(case, 1)


def _svdf_tflite(case: Case) -> None:
    _five_inputs_tflite(case, 2)


_SEQUENCE_RNN, _BI_RNN = "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"

RULES = (
    OperatorRule("RNN", ("RNN",), 3, _rnn_rule, _rnn_tflite, _lower_rnn),
    OperatorRule(_SEQUENCE_RNN, (_SEQUENCE_RNN,), 3, _sequence_rnn_rule, _sequence_rnn_tflite, _lower_sequence_rnn),
    OperatorRule(_BI_RNN, (_BI_RNN,), 3, _bidirectional_rnn_rule, None, _lower_bidirectional_rnn),
    OperatorRule("SVDF", ("SVDF",), 4, _svdf_rule, _svdf_tflite, _lower_svdf),
)
