"""Sequences unrolled into single steps, where the sequence operation is missing or keeps its final state to itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.ops import recurrent
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
    recurrent.check_sequence_lstm(case, "LSTM")
    _check_sequence(case, case.input(0))


def _rnn_rule(case: Case) -> None:
    case.need_level(2, "STRIDED_SLICE")
    recurrent.check_rnn(case, "RNN", 3)
    _check_sequence(case, case.input(0))


#: Adds one step from an input and the states before it into an output; returns the states after it.
StepFunction = Callable[[int, tuple[int, ...], int, bool], tuple[int, ...]]


def _unroll(builder: ProgramBuilder, case: Case, states: tuple[int, ...], step: StepFunction) -> None:
    x, out = case.input(0), case.output()
    axis = _time_axis(case)
    steps = x.shape[axis]
    source, target = builder.tensor(x), builder.tensor(out)
    row = tuple(size for i, size in enumerate(x.shape) if i != axis)
    result = tuple(size for i, size in enumerate(out.shape) if i != axis)
    wide = tuple(1 if i == axis else size for i, size in enumerate(out.shape))
    parts = []
    for number in range(steps):
        piece = builder.temporary_like(source, row)
        bounds = [
            AxisSlice(number, number + 1, 1, True) if i == axis else AxisSlice(0, size, 1, False)
            for i, size in enumerate(x.shape)
        ]
        emit_strided(builder, source, bounds, piece)
        made = builder.temporary_like(target, result)
        states = step(piece, states, made, number == steps - 1)
        part = builder.temporary_like(target, wide) if steps > 1 else target
        builder.operation("RESHAPE", [made, builder.int32_vector(wide)], part)
        parts.append(part)
    if steps > 1:
        builder.operation("CONCATENATION", [*parts, builder.int32(axis)], target)


def _lower_lstm(builder: ProgramBuilder, case: Case) -> None:
    h, c = case.input(18), case.input(19)
    first = builder.tensor(h), builder.tensor(c)

    def step(piece: int, states: tuple[int, ...], made: int, last: bool) -> tuple[int, ...]:
        if last:
            new = recurrent.state_back(builder, h), recurrent.state_back(builder, c)
        else:
            new = builder.temporary_like(first[0]), builder.temporary_like(first[1])
        recurrent.emit_lstm_step(builder, case, piece, (states[0], states[1]), new, made)
        return new

    _unroll(builder, case, first, step)


def _lower_rnn(builder: ProgramBuilder, case: Case) -> None:
    hidden = case.input(4)
    first = builder.tensor(hidden)

    def step(piece: int, states: tuple[int, ...], made: int, last: bool) -> tuple[int, ...]:
        new = recurrent.state_back(builder, hidden) if last else builder.temporary_like(first)
        builder.operation("RNN", recurrent.rnn_inputs(builder, case, piece, states[0]), [new, made])
        return (new,)

    _unroll(builder, case, (first,), step)


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
        "unrolled-rnn",
        ("UNIDIRECTIONAL_SEQUENCE_RNN",),
        "a sequence of RNN steps, whose state comes back (feature level 2)",
        True,
        _rnn_rule,
        _lower_rnn,
    ),
)
