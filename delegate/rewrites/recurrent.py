"""Sequences unrolled into single steps, where the sequence operation is missing or keeps its final state to itself; TANH after
what NNAPI fuses no TANH with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from nnapi_toolkit.delegate.nnapi import FuseCode, OperandCode
from nnapi_toolkit.delegate.ops import lstm, lstm_integer, recurrent
from nnapi_toolkit.delegate.ops.base import Case, Operand
from nnapi_toolkit.delegate.ops.gather import AxisSlice, emit_strided
from nnapi_toolkit.delegate.rewrites.base import Rewrite

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

#: Longest sequence that is unrolled.
LONGEST = 256


def _time_axis(case: Case) -> int:
    return 0 if case.options.time_major else 1


def _check_sequence(case: Case, x: Operand) -> None:
    steps = x.shape[_time_axis(case)]
    case.need(steps <= LONGEST, "operand-shape", x, f"{steps} steps long", f"at most {LONGEST} steps long")
    case.operation("STRIDED_SLICE", x)
    case.operation("CONCATENATION", x)
    case.operation("RESHAPE", x)


def _lstm_rule(case: Case) -> None:
    case.need_level(2, "correct omitted operands of LSTM")
    lstm.check_sequence_lstm(case, "LSTM")
    _check_sequence(case, case.input(0))


def _quantized_lstm_rule(case: Case) -> None:
    lstm_integer.check_quantized_lstm(case, 3)
    diagonal = case.options.diagonal_recurrent_tensors
    case.need(not diagonal, "option-value", "option diagonal_recurrent_tensors", "true", "false")
    _check_sequence(case, case.input(0))


def _check_activation(case: Case) -> None:
    if not recurrent.needs_tanh(case):
        case.fuse()


def _rnn_rule(case: Case) -> None:
    case.need_level(2, "STRIDED_SLICE")
    recurrent.check_rnn(case, "RNN", 3)
    _check_activation(case)
    _check_sequence(case, case.input(0))


def _single_rnn_rule(case: Case) -> None:
    recurrent.check_rnn(case, "RNN", 2)
    _check_activation(case)


def _svdf_rule(case: Case) -> None:
    recurrent.check_svdf(case)
    _check_activation(case)
    case.operation("TANH", case.output())


def _bidirectional_lstm_rule(case: Case) -> None:
    case.need_level(2, "correct omitted operands of LSTM")
    lstm.check_bidirectional_lstm(case)
    _check_sequence(case, case.input(0))


def _bidirectional_rnn_rule(case: Case) -> None:
    case.need_level(2, "STRIDED_SLICE")
    recurrent.check_bidirectional_rnn(case)
    _check_activation(case)
    _check_sequence(case, case.input(0))


def _sliced_rnn_rule(case: Case) -> None:
    """The operation without its state outputs."""
    x = case.input(0, "input")
    case.operation(case.node.operator.name, x)
    case.operation("STRIDED_SLICE", x)
    if _both(case):
        recurrent.check_bidirectional_rnn(case)
    else:
        recurrent.check_rnn(case, "UNIDIRECTIONAL_SEQUENCE_RNN", 3)
    case.fuse()


#: Adds one step from an input and the states before it into an output; returns the states after it.
StepFunction = Callable[[int, tuple[int, ...], int, bool], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Series:
    """A sequence cut into steps.

    Attributes:
        axis: The axis of time.
        pieces: Operands of the steps without that axis.
    """

    axis: int
    pieces: tuple[int, ...]


def _cut(builder: ProgramBuilder, case: Case) -> _Series:
    x, axis = case.input(0), _time_axis(case)
    source = builder.tensor(x)
    row = tuple(size for i, size in enumerate(x.shape) if i != axis)
    pieces = []
    for number in range(x.shape[axis]):
        piece = builder.temporary_like(source, row)
        bounds = [
            AxisSlice(number, number + 1, 1, True) if i == axis else AxisSlice(0, size, 1, False)
            for i, size in enumerate(x.shape)
        ]
        emit_strided(builder, source, bounds, piece)
        pieces.append(piece)
    return _Series(axis, tuple(pieces))


def _run(
    builder: ProgramBuilder,
    series: _Series,
    states: tuple[int, ...],
    step: StepFunction,
    target: int,
    backwards: bool = False,
) -> None:
    """All steps in a row; their results side by side in the target operand [batch and time, or time and batch, width]."""
    wide = tuple(1 if i == series.axis else size for i, size in enumerate(builder.operand(target).dimensions))
    row = tuple(size for i, size in enumerate(wide) if i != series.axis)
    count = len(series.pieces)
    parts = [target] * count
    for turn in range(count):
        number = count - 1 - turn if backwards else turn
        made = builder.temporary_like(target, row)
        states = step(series.pieces[number], states, made, turn == count - 1)
        if count > 1:
            parts[number] = builder.temporary_like(target, wide)
        builder.operation("RESHAPE", [made, builder.int32_vector(wide)], parts[number])
    if count > 1:
        builder.operation("CONCATENATION", [*parts, builder.int32(series.axis)], target)


def _steps_of_lstm(builder: ProgramBuilder, case: Case, first: int, state: int) -> tuple[tuple[int, ...], StepFunction]:
    """The states before the first step, and what adds a step; `first` and `state` as in `check_lstm_shapes`."""
    h, c = case.input(state), case.input(state + 1)
    start = builder.tensor(h), builder.tensor(c)

    def step(piece: int, states: tuple[int, ...], made: int, last: bool) -> tuple[int, ...]:
        if last:
            new = recurrent.state_back(builder, h), recurrent.state_back(builder, c)
        else:
            new = builder.temporary_like(start[0]), builder.temporary_like(start[1])
        lstm.emit_lstm_step(builder, case, piece, (states[0], states[1]), new, made, first)
        return new

    return start, step


def _emit_tanh_step(builder: ProgramBuilder, case: Case, x: int, hidden: int, new: int, made: int, first: int) -> None:
    """tanh(W x + b + R h) in single operations: RNN fuses no TANH."""
    weights, recurrent_weights, bias = (recurrent.weight(builder, case.input(first + p)) for p in range(3))
    none = builder.constant(np.zeros(builder.operand(made).dimensions[1], np.float32), OperandCode.TENSOR_FLOAT32)
    parts = [builder.temporary_like(made) for _ in range(3)]
    plain = builder.int32(FuseCode.NONE)
    builder.operation("FULLY_CONNECTED", [x, weights, bias, plain], parts[0])
    builder.operation("FULLY_CONNECTED", [hidden, recurrent_weights, none, plain], parts[1])
    builder.operation("ADD", [parts[0], parts[1], plain], parts[2])
    builder.operation("TANH", [parts[2]], made)
    builder.operation("RESHAPE", [made, builder.int32_vector(builder.operand(made).dimensions)], new)


def _steps_of_rnn(builder: ProgramBuilder, case: Case, first: int) -> tuple[tuple[int, ...], StepFunction]:
    """As `_steps_of_lstm`; the weights are the inputs from `first` on, then the state."""
    hidden = case.input(first + 3)
    start = builder.tensor(hidden)

    def step(piece: int, states: tuple[int, ...], made: int, last: bool) -> tuple[int, ...]:
        new = recurrent.state_back(builder, hidden) if last else builder.temporary_like(start)
        if recurrent.needs_tanh(case):
            _emit_tanh_step(builder, case, piece, states[0], new, made, first)
        else:
            builder.operation("RNN", recurrent.rnn_inputs(builder, case, piece, states[0], first), [new, made])
        return (new,)

    return (start,), step


def _lower_lstm(builder: ProgramBuilder, case: Case) -> None:
    _run(builder, _cut(builder, case), *_steps_of_lstm(builder, case, 0, 18), builder.tensor(case.output()))


def _lower_quantized_lstm(builder: ProgramBuilder, case: Case) -> None:
    start = builder.tensor(case.input(18)), builder.tensor(case.input(19))

    def step(piece: int, states: tuple[int, ...], made: int, last: bool) -> tuple[int, ...]:
        if last:
            new = lstm_integer.quantized_states_back(builder, case)
        else:
            new = builder.temporary_like(start[0]), builder.temporary_like(start[1])
        lstm_integer.emit_quantized_step(builder, case, piece, (states[0], states[1]), new, made)
        return new

    _run(builder, _cut(builder, case), start, step, builder.tensor(case.output()))


def _lower_rnn(builder: ProgramBuilder, case: Case) -> None:
    _run(builder, _cut(builder, case), *_steps_of_rnn(builder, case, 1), builder.tensor(case.output()))


def _lower_sliced_rnn(builder: ProgramBuilder, case: Case) -> None:
    """The sequence operation, then each layer's last result, which is its new state."""
    axis, merged = _time_axis(case), bool(case.options.merge_outputs) if _both(case) else False
    steps = case.input(0).shape[axis]
    if _both(case):
        recurrent.emit_bidirectional_rnn(builder, case, [])
    else:
        recurrent.emit_sequence_rnn(builder, case, [])
    first = 0
    for number, position in enumerate((4, 8) if _both(case) else (4,)):
        state, out = case.input(position), case.output(0 if merged else number)
        width, last = state.shape[1], 0 if number else steps - 1
        bounds = [AxisSlice(0, size, 1, False) for size in out.shape]
        bounds[axis] = AxisSlice(last, last + 1, 1, True)
        bounds[2] = AxisSlice(first, first + width, 1, False)
        emit_strided(builder, builder.tensor(out), bounds, recurrent.state_back(builder, state))
        first += width if merged else 0


def _both(case: Case) -> bool:
    return case.node.operator.name == "BIDIRECTIONAL_SEQUENCE_RNN"


def _lower_single_rnn(builder: ProgramBuilder, case: Case) -> None:
    start, step = _steps_of_rnn(builder, case, 1)
    step(builder.tensor(case.input(0)), start, builder.tensor(case.output()), True)


def _lower_svdf(builder: ProgramBuilder, case: Case) -> None:
    out = builder.tensor(case.output())
    plain = builder.temporary_like(out)
    recurrent.emit_svdf(builder, case, FuseCode.NONE, plain)
    builder.operation("TANH", [plain], out)


def _both_ways(
    builder: ProgramBuilder, case: Case, ways: list[tuple[tuple[int, ...], StepFunction]], widths: list[int]
) -> None:
    """A layer from the front and one from the back; their results in two tensors, or side by side in one."""
    merged = bool(case.options.merge_outputs)
    series, shape = _cut(builder, case), case.input(0).shape[:2]
    outputs = [builder.tensor(case.output(0 if merged else i)) for i in range(2)]
    if merged:
        results = [builder.temporary_like(outputs[0], (*shape, width)) for width in widths]
    else:
        results = outputs
    for backwards, ((start, step), result) in enumerate(zip(ways, results)):
        _run(builder, series, start, step, result, bool(backwards))
    if merged:
        builder.operation("CONCATENATION", [*results, builder.int32(2)], outputs[0])


def _lower_bidirectional_lstm(builder: ProgramBuilder, case: Case) -> None:
    ways = [_steps_of_lstm(builder, case, first, state) for first, state in ((0, 35), (17, 37))]
    _both_ways(builder, case, ways, [case.input(state).shape[1] for state in (35, 37)])


def _lower_bidirectional_rnn(builder: ProgramBuilder, case: Case) -> None:
    ways = [_steps_of_rnn(builder, case, first) for first in (1, 5)]
    _both_ways(builder, case, ways, [case.input(state).shape[1] for state in (4, 8)])


REWRITES = (
    Rewrite(
        "unrolled-lstm",
        ("UNIDIRECTIONAL_SEQUENCE_LSTM",),
        "a sequence of LSTM steps, whose states come back (feature level 2)",
        True,
        _lstm_rule,
        _lower_lstm,
    ),
    Rewrite(
        "unrolled-quantized-lstm",
        ("UNIDIRECTIONAL_SEQUENCE_LSTM",),
        "an int8 sequence of QUANTIZED_LSTM steps, whose states come back (feature level 4)",
        True,
        _quantized_lstm_rule,
        _lower_quantized_lstm,
    ),
    Rewrite(
        "rnn-state-by-slice",
        ("UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"),
        "a sequence of RNN steps whose new state is a slice of its results (feature level 3)",
        True,
        _sliced_rnn_rule,
        _lower_sliced_rnn,
    ),
    Rewrite(
        "unrolled-rnn",
        ("UNIDIRECTIONAL_SEQUENCE_RNN",),
        "a sequence of RNN steps, whose state comes back (feature level 2)",
        True,
        _rnn_rule,
        _lower_rnn,
    ),
    Rewrite(
        "unrolled-bidirectional-lstm",
        ("BIDIRECTIONAL_SEQUENCE_LSTM",),
        "two sequences of LSTM steps, one from the end, whose states come back (feature level 2)",
        True,
        _bidirectional_lstm_rule,
        _lower_bidirectional_lstm,
    ),
    Rewrite(
        "unrolled-bidirectional-rnn",
        ("BIDIRECTIONAL_SEQUENCE_RNN",),
        "two sequences of RNN steps, one from the end, whose states come back (feature level 2)",
        True,
        _bidirectional_rnn_rule,
        _lower_bidirectional_rnn,
    ),
    Rewrite(
        "rnn-by-fully-connected",
        ("RNN",),
        "RNN with TANH as FULLY_CONNECTED of input and state, ADD and TANH",
        True,
        _single_rnn_rule,
        _lower_single_rnn,
    ),
    Rewrite(
        "svdf-then-tanh",
        ("SVDF",),
        "SVDF without its TANH, then TANH",
        True,
        _svdf_rule,
        _lower_svdf,
    ),
    Rewrite(
        "lstm-rounded-twice",
        ("LSTM",),
        "a basic uint8 LSTM with weights in steps below 1/64: its gates may be 2^-12 off before their sigmoid, so on request only "
        "(feature level 3)",
        False,
        lstm_integer.check_basic,
        lstm_integer.lower_basic,
    ),
)
