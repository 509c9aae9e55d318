"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM, RNN and its sequences, SVDF.

State lives in variable tensors: a program takes the old state as an input and gives the new one as an output, both bound
to the variable. Where a feature level cannot give the state back, the operator is refused (see unrolled-sequence).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import OPERATIONS, OperandCode
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import DEQUANTIZED_WEIGHTS, Case, Operand, OperatorRule
from nnapi_toolkit.delegate.ops.convolution import check_scales, dequantized
from nnapi_toolkit.schema.enums import LSTMKernelType, TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_FLOAT32 = OperandCode.TENSOR_FLOAT32
#: Positions of an LSTM's inputs: rank 2 weights, and which of all may be omitted.
_LSTM_RANK_2 = frozenset({*range(1, 9), 16, 18, 19})
_LSTM_OPTIONAL = frozenset({1, 5, 9, 10, 11, 12, 16, 17, 20, 21, 22, 23})
_LSTM_ROLES = (
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


def check_state(case: Case, position: int, role: str) -> Operand:
    """A variable tensor of float32."""
    state = case.input(position, role)
    case.typed(state, TensorType.FLOAT32)
    case.known_shape(state)
    case.need(
        not state.is_constant, "operand-value", state, "a constant", "a variable tensor, whose new value the operator writes"
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


# -- LSTM -----------------------------------------------------------------------------------------------------------


def check_lstm_operands(case: Case, name: str, rank: int) -> None:
    """The 20 or 24 inputs of a float LSTM, one step or a sequence."""
    x, out = case.input(0, "input"), case.output()
    case.need_level(OPERATIONS[name].level, f"the operation {name}")
    case.known_shape(x)
    case.ranks(x, rank, rank, name)
    case.typed(x, TensorType.FLOAT32)
    case.typed(out, TensorType.FLOAT32)
    case.need(
        case.input_count in (20, 24), "operand-count", "the number of inputs", case.input_count, "20 or 24 (a full LSTM)"
    )
    for position in range(1, case.input_count):
        role = _LSTM_ROLES[position]
        if position in (18, 19):
            check_state(case, position, role)
        elif case.has_input(position):
            operand = case.input(position, role)
            check_float_weight(case, operand)
            wanted = 2 if position in _LSTM_RANK_2 else 1
            case.ranks(operand, wanted, wanted, name)
        elif position not in _LSTM_OPTIONAL:
            case.input(position, role)
    if any(case.has_input(p) for p in range(20, 24)):
        case.need_level(3, f"layer normalisation of {name}")
    check_lstm_shapes(case, x, 0, 18)
    own_norm, normalised = case.has_input(20), check_together(case, 21, 22, 23)
    wanted = normalised and case.has_input(1)
    case.need(own_norm == wanted, "operand-count", "input 20", _there(own_norm), _there(wanted))
    cells = case.input(7).shape[0]
    check_shapes(case, dict.fromkeys(range(20, 24), (cells,)))
    check_cell_activation(case)


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


def lstm_inputs(builder: ProgramBuilder, case: Case, x: int, h: int, c: int) -> list[int]:
    """Operands 0 to 19 of NNAPI's LSTM operations."""
    middle = [optional_weight(builder, case, p, 2 if p in _LSTM_RANK_2 else 1) for p in range(1, 18)]
    return [x, *middle, h, c]


def layer_norms(builder: ProgramBuilder, case: Case) -> list[int]:
    """The four layer-normalisation weights, omitted ones included."""
    return [optional_weight(builder, case, p, 1) for p in range(20, 24)]


def emit_lstm_step(
    builder: ProgramBuilder, case: Case, x: int, state: tuple[int, int], new_state: tuple[int, int], out: int
) -> None:
    """Adds one step of NNAPI's LSTM."""
    o = case.options
    cell = builder.operand(state[1]).dimensions
    gates = 4 if case.has_input(1) else 3
    scratch = builder.temporary(_FLOAT32, (cell[0], cell[1] * gates))
    inputs = lstm_inputs(builder, case, x, *state)
    inputs += [
        builder.int32(int(o.fused_activation_function)),
        builder.float32(o.cell_clip),
        builder.float32(o.proj_clip),
    ]
    normalised = any(case.has_input(p) for p in range(20, 24))
    if normalised:
        inputs += layer_norms(builder, case)
    builder.operation("LSTM", inputs, [scratch, *new_state, out], since=3 if normalised else 1)


def lstm_rule(case: Case) -> None:
    """A full float LSTM, from feature level 2 (omitted operands are broken before)."""
    kind = case.options.kernel_type
    case.need(
        kind == LSTMKernelType.FULL and case.input_count != 5,
        "option-value",
        "option kernel_type",
        "BASIC",
        "FULL: the basic kernel has no exact NNAPI form here",
    )
    case.need_level(2, "correct omitted operands of LSTM")
    x = case.input(0, "input")
    case.typed(x, TensorType.FLOAT32)
    check_lstm_operands(case, "LSTM", 2)


def lower_lstm(builder: ProgramBuilder, case: Case) -> None:
    """One step; the new states become outputs of the program."""
    h, c = case.input(18), case.input(19)
    state = builder.tensor(h), builder.tensor(c)
    new = state_back(builder, h), state_back(builder, c)
    emit_lstm_step(builder, case, builder.tensor(case.input(0)), state, new, builder.tensor(case.output()))


def _lstm_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    tflite.min_level(case, 2)
    full = case.input_count in (20, 24)
    if case.level < 3 and full:
        case.need(not tflite.hybrid(case, 2), "hybrid-operator", case.input(2), "8-bit", "FLOAT32", "feature level 3")
    if case.input_count == 5:
        _basic_lstm_tflite(case)
        return
    if case.input_count == 24:
        tflite.min_level(case, 3)
    kinds = tflite.FLOAT_QUANT8 if case.level >= 4 else tflite.FLOAT_UINT8
    tflite.type_in(case, 4, kinds)


def _basic_lstm_tflite(case: Case) -> None:
    tflite.type_in(case, 2, frozenset({TensorType.UINT8}))
    for operand in (case.input(0), case.output(0)):
        found = tflite.legacy_scale(operand.tensor), tflite.legacy_zero_point(operand.tensor)
        case.need(found == (1 / 128, 128), "quantization", operand, found, "scale 1/128, zero point 128")
    cell = case.output(1)
    found = tflite.legacy_scale(cell.tensor), tflite.legacy_zero_point(cell.tensor)
    case.need(
        found[0] == 16 / 32768 or found[1] == 0, "quantization", cell, found, "scale 16/32768 or zero point 0"
    )
    tflite.constant(case, 2)
    tflite.constant(case, 3)


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
        not case.options.diagonal_recurrent_tensors, "option-value", "option diagonal_recurrent_tensors", "true", "false"
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
    x = case.input(0, "input")
    case.operation(name, x)
    case.typed(x, TensorType.FLOAT32)
    for position in range(len(case.node.operator.outputs)):
        case.typed(case.output(position), TensorType.FLOAT32)
    case.need(case.input_count == 48, "operand-count", "the number of inputs", case.input_count, "48")
    for position in range(1, 39):
        _check_bidirectional_input(case, position)
    for position in range(39, 48):
        case.need(
            not case.has_input(position), "operand-count", f"input {position}", "an auxiliary input", "omitted"
        )
    check_lstm_shapes(case, x, 0, 35)
    check_lstm_shapes(case, x, 17, 37)
    check_cell_activation(case)
    need_state_output(case, name)


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


# -- RNN, SVDF ------------------------------------------------------------------------------------------------------


def check_rnn(case: Case, name: str, rank: int) -> None:
    """The five inputs of an RNN, one step or a sequence."""
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
    case.fuse()


def check_rnn_shapes(case: Case, x: Operand, first: int) -> None:
    """Dimensions of one direction: weights, recurrent weights, bias, state, from a position on."""
    weights = case.input(first)
    case.ranks(weights, 2, 2, "RNN")
    units = weights.shape[0]
    state = (batch_of(case, x), units)
    check_shapes(case, {first: (units, x.shape[-1]), first + 1: (units, units), first + 2: (units,), first + 3: state})


def rnn_inputs(builder: ProgramBuilder, case: Case, x: int, hidden: int) -> list[int]:
    """Operands 0 to 5 of NNAPI's RNN operations."""
    weights = [weight(builder, case.input(p)) for p in (1, 2, 3)]
    return [x, *weights, hidden, builder.int32(case.fuse())]


def _rnn_rule(case: Case) -> None:
    check_rnn(case, "RNN", 2)


def _lower_rnn(builder: ProgramBuilder, case: Case) -> None:
    hidden = case.input(4)
    inputs = rnn_inputs(builder, case, builder.tensor(case.input(0)), builder.tensor(hidden))
    builder.operation("RNN", inputs, [state_back(builder, hidden), builder.tensor(case.output())])


def _sequence_rnn_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final state from 4."""
    check_rnn(case, "UNIDIRECTIONAL_SEQUENCE_RNN", 3)
    need_state_output(case, "UNIDIRECTIONAL_SEQUENCE_RNN")


def _lower_sequence_rnn(builder: ProgramBuilder, case: Case) -> None:
    hidden = case.input(4)
    inputs = rnn_inputs(builder, case, builder.tensor(case.input(0)), builder.tensor(hidden))
    inputs.append(builder.int32(int(bool(case.options.time_major))))
    outputs = [builder.tensor(case.output()), state_back(builder, hidden)]
    builder.operation("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, outputs, since=4)


def _sequence_rnn_tflite(case: Case) -> None:
    tflite.max_version(case, 1)
    tflite.min_level(case, 3)
    case.need(not tflite.hybrid(case, 1), "hybrid-operator", case.input(1), "8-bit", "FLOAT32")


def _bidirectional_rnn_rule(case: Case) -> None:
    """NNAPI: feature level 3; with its final states from 4. The TFLite delegate never takes it."""
    x = case.input(0, "input")
    case.operation("BIDIRECTIONAL_SEQUENCE_RNN", x)
    case.typed(x, TensorType.FLOAT32)
    for position in range(len(case.node.operator.outputs)):
        case.typed(case.output(position), TensorType.FLOAT32)
    for position in (1, 2, 3, 5, 6, 7):
        check_float_weight(case, case.input(position))
    for position in (4, 8):
        check_state(case, position, "hidden_state")
    check_rnn_shapes(case, x, 1)
    check_rnn_shapes(case, x, 5)
    for position in (9, 10, 11):
        case.need(not case.has_input(position), "operand-count", f"input {position}", "an auxiliary input", "omitted")
    case.fuse()
    need_state_output(case, "BIDIRECTIONAL_SEQUENCE_RNN")


def _lower_bidirectional_rnn(builder: ProgramBuilder, case: Case) -> None:
    o = case.options
    inputs = [builder.tensor(case.input(0))]
    for first in (1, 5):
        inputs += [weight(builder, case.input(p)) for p in range(first, first + 3)]
        inputs.append(builder.tensor(case.input(first + 3)))
    inputs += [builder.omitted(_FLOAT32, 3), builder.omitted(_FLOAT32, 2), builder.omitted(_FLOAT32, 2)]
    inputs += [builder.int32(case.fuse()), builder.bool(bool(o.time_major)), builder.bool(bool(o.merge_outputs))]
    outputs = [builder.tensor(case.output(i)) for i in range(len(case.node.operator.outputs))]
    outputs += [state_back(builder, case.input(p)) for p in (4, 8)]
    builder.operation("BIDIRECTIONAL_SEQUENCE_RNN", inputs, outputs, since=4)


def _svdf_rule(case: Case) -> None:
    """NNAPI: float; more than rank 1 is broken at feature level 1."""
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
    case.fuse()
    case.positive("rank")
    feature, time, rank = case.input(1), case.input(2), case.options.rank
    case.ranks(x, 2, 2, "SVDF")
    case.ranks(time, 2, 2, "SVDF")
    filters, memory = time.shape
    case.need(filters % rank == 0, "operand-shape", time, list(time.shape), f"a multiple of {rank} filters")
    check_shape(case, feature, filters, x.shape[1])
    check_shapes(case, {3: (filters // rank,), 4: (x.shape[0], memory * filters)})


def _lower_svdf(builder: ProgramBuilder, case: Case) -> None:
    state = case.input(4)
    inputs = [
        builder.tensor(case.input(0)),
        weight(builder, case.input(1)),
        weight(builder, case.input(2)),
        optional_weight(builder, case, 3, 1),
        builder.tensor(state),
        builder.int32(case.options.rank),
        builder.int32(case.fuse()),
    ]
    builder.operation("SVDF", inputs, [state_back(builder, state), builder.tensor(case.output())])


def _five_inputs_tflite(case: Case, level: int) -> None:
    tflite.max_version(case, 1)
    tflite.input_count(case, 5)
    tflite.type_in(case, 1, tflite.FLOAT)
    tflite.min_level(case, level)


def _rnn_tflite(case: Case) -> None:
    _five_inputs_tflite(case, 1)


def _svdf_tflite(case: Case) -> None:
    _five_inputs_tflite(case, 2)


_SEQUENCE_LSTM, _SEQUENCE_RNN = "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"
_BI_LSTM, _BI_RNN = "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"

RULES = (
    OperatorRule("LSTM", ("LSTM",), 4, lstm_rule, _lstm_tflite, lower_lstm),
    OperatorRule(
        _SEQUENCE_LSTM, (_SEQUENCE_LSTM,), 4, _sequence_lstm_rule, _sequence_lstm_tflite, _lower_sequence_lstm
    ),
    OperatorRule(
        _BI_LSTM, (_BI_LSTM,), 3, _bidirectional_lstm_rule, _bidirectional_lstm_tflite, _lower_bidirectional_lstm
    ),
    OperatorRule("RNN", ("RNN",), 3, _rnn_rule, _rnn_tflite, _lower_rnn),
    OperatorRule(_SEQUENCE_RNN, (_SEQUENCE_RNN,), 3, _sequence_rnn_rule, _sequence_rnn_tflite, _lower_sequence_rnn),
    OperatorRule(_BI_RNN, (_BI_RNN,), 3, _bidirectional_rnn_rule, None, _lower_bidirectional_rnn),
    OperatorRule("SVDF", ("SVDF",), 4, _svdf_rule, _svdf_tflite, _lower_svdf),
)
