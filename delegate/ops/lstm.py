"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM in float; the integer forms, and the rule of LSTM that chooses
between them, are in `lstm_integer`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import OPERATIONS, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule
from nnapi_toolkit.delegate.ops.recurrent import (
    batch_of,
    check_both_outputs,
    check_float_weight,
    check_shapes,
    check_state,
    check_together,
    need_state_output,
    optional_weight,
    state_back,
)
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_FLOAT32 = OperandCode.TENSOR_FLOAT32
#: Positions of an LSTM's inputs: rank 2 weights, and which of all may be omitted.
LSTM_RANK_2 = frozenset({*range(1, 9), 16, 18, 19})
LSTM_OPTIONAL = frozenset({1, 5, 9, 10, 11, 12, 16, 17, 20, 21, 22, 23})
LSTM_ROLES = (
    "input",
    *(f"input_to_{g}_weights" for g in ("input", "forget", "cell", "output")),
    *(f"recurrent_to_{g}_weights" for g in ("input", "forget", "cell", "output")),
    *(f"cell_to_{g}_weights" for g in ("input", "forget", "output")),
    *(f"{g}_bias" for g in ("input_gate", "forget_gate", "cell", "output_gate")),
    "projection_weights",
    "projection_bias",
    "output_state",
    "cell_state",
    *(f"{g}_layer_norm" for g in ("input", "forget", "cell", "output")),
)


# -- LSTM -----------------------------------------------------------------------------------------------------------


def check_input_count(case: Case) -> None:
    """A full LSTM, with layer normalisation or without."""
    case.need(case.input_count in (20, 24), "operand-count", "the number of inputs", case.input_count, "20 or 24 (a full LSTM)")


def check_lstm_operands(case: Case, name: str, rank: int) -> None:
    """The 20 or 24 inputs of a float LSTM, one step or a sequence."""
    x, out = case.input(0, "input"), case.output()
    case.need_level(OPERATIONS[name].level, f"the operation {name}")
    case.known_shape(x)
    case.ranks(x, rank, rank, name)
    case.typed(x, TensorType.FLOAT32)
    case.typed(out, TensorType.FLOAT32)
    check_input_count(case)
    for position in range(1, case.input_count):
        role = LSTM_ROLES[position]
        if position in (18, 19):
            check_state(case, position, role)
        elif case.has_input(position):
            operand = case.input(position, role)
            check_float_weight(case, operand)
            wanted = 2 if position in LSTM_RANK_2 else 1
            case.ranks(operand, wanted, wanted, name)
        elif position not in LSTM_OPTIONAL:
            case.input(position, role)
    if any(case.has_input(p) for p in range(20, 24)):
        case.need_level(3, f"layer normalisation of {name}")
    check_lstm_shapes(case, x, 0, 18)
    check_layer_norms(case)
    check_cell_activation(case)


def check_layer_norms(case: Case) -> bool:
    """Layer normalisation of all gates that there are, or of none; whether there is any."""
    own_norm, normalised = case.has_input(20), check_together(case, 21, 22, 23)
    wanted = normalised and case.has_input(1)
    case.need(own_norm == wanted, "operand-count", "input 20", _there(own_norm), _there(wanted))
    cells = case.input(7).shape[0]
    check_shapes(case, dict.fromkeys(range(20, 24), (cells,)))
    return normalised


def _there(present: bool) -> str:
    return "present" if present else "omitted"


def check_lstm_shapes(case: Case, x: Operand, first: int, state: int) -> None:
    """Dimensions of one direction's weights and states, and that optional ones are there together.

    Args:
        case: The question.
        x: The input.
        first: What its positions are moved by: 0, or 17 for the backward direction.
        state: Position of the output state; the cell state follows.
    """

    def at(position: int) -> int:
        return position + first

    own_gate = check_together(case, at(1), at(5), at(12))
    peephole = check_together(case, at(10), at(11))
    own_peephole = case.has_input(at(9))
    case.need(
        own_peephole == (peephole and own_gate),
        "operand-count",
        f"input {at(9)}",
        _there(own_peephole),
        _there(peephole and own_gate),
    )
    case.need(
        case.has_input(at(16)) or not case.has_input(at(17)), "operand-count", f"input {at(17)}", "present", "omitted"
    )
    depth, batch = x.shape[-1], batch_of(case, x)
    cells = case.input(at(7)).shape[0]
    width = case.input(at(16)).shape[0] if case.has_input(at(16)) else cells
    check_shapes(
        case,
        {
            **dict.fromkeys(map(at, range(1, 5)), (cells, depth)),
            **dict.fromkeys(map(at, range(5, 9)), (cells, width)),
            **dict.fromkeys(map(at, range(9, 16)), (cells,)),
            at(16): (width, cells),
            at(17): (width,),
            state: (batch, width),
            state + 1: (batch, cells),
        },
    )


def check_cell_activation(case: Case) -> None:
    """NNAPI's cell activations carry TFLite's numbers, up to TANH."""
    value = int(case.options.fused_activation_function)
    case.need(
        value in (0, 1, 3, 4),
        "fused-activation",
        "option fused_activation_function",
        value,
        "NONE, RELU, RELU6 or TANH",
    )


def lstm_inputs(builder: ProgramBuilder, case: Case, x: int, h: int, c: int, first: int = 0) -> list[int]:
    """Operands 0 to 19 of NNAPI's LSTM operations; `first` as in `check_lstm_shapes`."""
    middle = [optional_weight(builder, case, p + first, 2 if p in LSTM_RANK_2 else 1) for p in range(1, 18)]
    return [x, *middle, h, c]


def layer_norms(builder: ProgramBuilder, case: Case) -> list[int]:
    """The four layer-normalisation weights, omitted ones included."""
    return [optional_weight(builder, case, p, 1) for p in range(20, 24)]


def emit_lstm_step(
    builder: ProgramBuilder,
    case: Case,
    x: int,
    state: tuple[int, int],
    new_state: tuple[int, int],
    out: int,
    first: int = 0,
) -> None:
    """Adds one step of NNAPI's LSTM; `first` as in `check_lstm_shapes`."""
    o = case.options
    cell = builder.operand(state[1]).dimensions
    gates = 4 if case.has_input(first + 1) else 3
    scratch = builder.temporary(_FLOAT32, (cell[0], cell[1] * gates))
    inputs = lstm_inputs(builder, case, x, *state, first)
    inputs += [
        builder.int32(int(o.fused_activation_function)),
        builder.float32(o.cell_clip),
        builder.float32(o.proj_clip),
    ]
    normalised = case.input_count == 24 and any(case.has_input(p) for p in range(20, 24))
    if normalised:
        inputs += layer_norms(builder, case)
    builder.operation("LSTM", inputs, [scratch, *new_state, out], since=3 if normalised else 1)


def lstm_rule(case: Case) -> None:
    """A full float LSTM, from feature level 2 (omitted operands are broken before)."""
    case.need_level(2, "correct omitted operands of LSTM")
    case.typed(case.input(0, "input"), TensorType.FLOAT32)
    check_lstm_operands(case, "LSTM", 2)


def lower_lstm(builder: ProgramBuilder, case: Case) -> None:
    """One step; the new states become outputs of the program."""
    h, c = case.input(18), case.input(19)
    state = builder.tensor(h), builder.tensor(c)
    new = state_back(builder, h), state_back(builder, c)
    emit_lstm_step(builder, case, builder.tensor(case.input(0)), state, new, builder.tensor(case.output()))


# -- UNIDIRECTIONAL_SEQUENCE_LSTM -----------------------------------------------------------------------------------


def _sequence_lstm_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final state from 4."""
    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    check_sequence_lstm(case, name)
    need_state_output(case, name)


def check_sequence_lstm(case: Case, name: str) -> None:
    """All but the feature level."""
    check_lstm_operands(case, name, 3)
    case.need(
        not case.options.diagonal_recurrent_tensors,
        "option-value",
        "option diagonal_recurrent_tensors",
        "true",
        "false",
    )


def _lower_sequence_lstm(builder: ProgramBuilder, case: Case) -> None:
    o, h, c = case.options, case.input(18), case.input(19)
    inputs = lstm_inputs(builder, case, builder.tensor(case.input(0)), builder.tensor(h), builder.tensor(c))
    inputs += [
        builder.int32(int(o.fused_activation_function)),
        builder.float32(o.cell_clip),
        builder.float32(o.proj_clip),
        builder.bool(bool(o.time_major)),
        *layer_norms(builder, case),
    ]
    outputs = [builder.tensor(case.output()), state_back(builder, h), state_back(builder, c)]
    builder.operation("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, outputs, since=4)


def _sequence_lstm_tflite(case: Case) -> None:
    tflite.max_version(case, 2)
    tflite.min_level(case, 3)
    case.need(not tflite.hybrid(case, 2), "hybrid-operator", case.input(2), "8-bit", "FLOAT32")
    tflite.input_count(case, 20, 24)


# -- BIDIRECTIONAL_SEQUENCE_LSTM ------------------------------------------------------------------------------------

_BIDIRECTIONAL_STATES = (35, 36, 37, 38)
_BIDIRECTIONAL_OPTIONAL = frozenset({1, 5, 9, 10, 11, 12, 16, 17, 18, 22, 26, 27, 28, 29, 33, 34, *range(39, 48)})
_BIDIRECTIONAL_RANK_2 = frozenset({*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)})


def _bidirectional_lstm_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final states from 4."""
    name = "BIDIRECTIONAL_SEQUENCE_LSTM"
    case.operation(name, case.input(0, "input"))
    check_bidirectional_lstm(case)
    need_state_output(case, name)


def check_bidirectional_lstm(case: Case) -> None:
    """All but the feature level."""
    x = case.input(0, "input")
    case.known_shape(x)
    case.ranks(x, 3, 3, "BIDIRECTIONAL_SEQUENCE_LSTM")
    case.typed(x, TensorType.FLOAT32)
    for position in range(len(case.node.operator.outputs)):
        case.typed(case.output(position), TensorType.FLOAT32)
    case.need(case.input_count == 48, "operand-count", "the number of inputs", case.input_count, "48")
    for position in range(1, 39):
        _check_bidirectional_input(case, position)
    for position in range(39, 48):
        case.need(not case.has_input(position), "operand-count", f"input {position}", "an auxiliary input", "omitted")
    check_lstm_shapes(case, x, 0, 35)
    check_lstm_shapes(case, x, 17, 37)
    check_both_outputs(case, (35, 37))
    check_cell_activation(case)


def _check_bidirectional_input(case: Case, position: int) -> None:
    if position in _BIDIRECTIONAL_STATES:
        check_state(case, position, "state")
    elif case.has_input(position) or position not in _BIDIRECTIONAL_OPTIONAL:
        operand, wanted = case.input(position), 2 if position in _BIDIRECTIONAL_RANK_2 else 1
        check_float_weight(case, operand)
        case.ranks(operand, wanted, wanted, "BIDIRECTIONAL_SEQUENCE_LSTM")


def _lower_bidirectional_lstm(builder: ProgramBuilder, case: Case) -> None:
    o = case.options
    rank = {p: 2 if p in _BIDIRECTIONAL_RANK_2 else 1 for p in range(48)}
    inputs = [builder.tensor(case.input(0))]
    inputs += [optional_weight(builder, case, p, rank[p]) for p in range(1, 35)]
    inputs += [builder.tensor(case.input(p)) for p in _BIDIRECTIONAL_STATES]
    inputs += [builder.omitted(_FLOAT32, 3), *(builder.omitted(_FLOAT32, 2) for _ in range(8))]
    inputs += [
        builder.int32(int(o.fused_activation_function)),
        builder.float32(o.cell_clip),
        builder.float32(o.proj_clip),
        builder.bool(bool(o.merge_outputs)),
        builder.bool(bool(o.time_major)),
        *(builder.omitted(_FLOAT32, 1) for _ in range(8)),
    ]
    outputs = [builder.tensor(case.output(i)) for i in range(len(case.node.operator.outputs))]
    outputs += [state_back(builder, case.input(p)) for p in _BIDIRECTIONAL_STATES]
    builder.operation("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, outputs, since=4)


def _bidirectional_lstm_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    case.need(not tflite.hybrid(case, 2), "hybrid-operator", case.input(2), "8-bit", "FLOAT32")


_SEQUENCE, _BIDIRECTIONAL = "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"

RULES = (
    OperatorRule(_SEQUENCE, (_SEQUENCE,), 4, _sequence_lstm_rule, _sequence_lstm_tflite, _lower_sequence_lstm),
    OperatorRule(
        _BIDIRECTIONAL,
        (_BIDIRECTIONAL,),
        3,
        _bidirectional_lstm_rule,
        _bidirectional_lstm_tflite,
        _lower_bidirectional_lstm,
    ),
)
