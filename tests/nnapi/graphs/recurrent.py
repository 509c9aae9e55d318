"""Recurrent operations. The float ones have a reference; the two integer LSTMs are compared with themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .arithmetic import FUSES, sigmoid
from .build import FLOATS, NONE, SUM, Builder, Value, makes

#: Of LSTM operands: none, relu, relu6, tanh, sigmoid.
ACTIVATIONS: dict[int, Callable[[Any], Any]] = {0: FUSES[0], 1: FUSES[1], 3: FUSES[3], 4: np.tanh, 6: sigmoid}


def weight(b: Builder, kind: str, *dims: int) -> Value:
    return b.fresh(kind, dims, -0.6, 0.6)


def rnn(x: Any, w: Any, r: Any, bias: Any, hidden: Any, activation: Callable[[Any], Any]) -> Any:
    return activation(x @ w.T + hidden @ r.T + bias)


@makes("RNN")
def rnn_step(b: Builder) -> None:
    kind = b.choice(FLOATS)
    batch, size, units, code = b.whole(1, 3), b.whole(1, 4), b.whole(1, 4), b.whole(0, 3)
    x = b.pick([kind], dims=(batch, size))
    operands = [
        x,
        weight(b, kind, units, size),
        weight(b, kind, units, units),
        weight(b, kind, units),
        weight(b, kind, batch, units),
    ]

    def reference(*p: Any) -> Any:
        x_, w, r, bias, hidden = p
        out = rnn(x_, w, r, bias, hidden, FUSES[code])
        return out, out

    b.emit("RNN", 24, [*operands, b.scalar(code)], [(kind, NONE)] * 2, reference, SUM, arguments=operands)


def run_sequence(
    x: Any, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, backwards: bool = False
) -> tuple[Any, Any]:
    """(outputs of all times, last state) of a time-major sequence."""
    outputs: list[Any] = [None] * len(x)
    for t in reversed(range(len(x))) if backwards else range(len(x)):
        outputs[t], state = step(x[t], state)
    return np.stack(outputs), state


def swapped(p: Any, time_major: bool) -> Any:
    return p if time_major else p.swapaxes(0, 1)


@makes("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence_rnn(b: Builder) -> None:
    kind, time_major = b.choice(FLOATS), b.flip()
    times, batch, size, units, code = b.whole(1, 4), b.whole(1, 3), b.whole(1, 4), b.whole(1, 4), b.whole(0, 3)
    dims = (times, batch, size) if time_major else (batch, times, size)
    x = b.pick([kind], dims=dims)
    operands = [
        x,
        weight(b, kind, units, size),
        weight(b, kind, units, units),
        weight(b, kind, units),
        weight(b, kind, batch, units),
    ]
    state_out = b.flip()

    def reference(p: Any, w: Any, r: Any, bias: Any, hidden: Any) -> Any:
        def step(now: Any, state: Any) -> tuple[Any, Any]:
            out = rnn(now, w, r, bias, state, FUSES[code])
            return out, out

        outputs, last = run_sequence(swapped(p, time_major), step, hidden)
        return (swapped(outputs, time_major), last) if state_out else swapped(outputs, time_major)

    b.emit("UNIDIRECTIONAL_SEQUENCE_RNN", 93, [*operands, b.scalar(code), b.scalar(int(time_major))],
           [(kind, NONE)] * (1 + state_out), reference, SUM, arguments=operands)  # fmt: skip


@makes("BIDIRECTIONAL_SEQUENCE_RNN")
def two_way_rnn(b: Builder) -> None:
    """Without auxiliary inputs."""
    kind, time_major, merge = b.choice(FLOATS), b.flip(), b.flip()
    times, batch, size, code = b.whole(1, 4), b.whole(1, 3), b.whole(1, 4), b.whole(0, 3)
    dims = (times, batch, size) if time_major else (batch, times, size)
    x = b.pick([kind], dims=dims)
    operands: list[Value] = [x]
    for _ in range(2):
        units = b.whole(1, 4)
        operands += [
            weight(b, kind, units, size),
            weight(b, kind, units, units),
            weight(b, kind, units),
            weight(b, kind, batch, units),
        ]

    def reference(p: Any, *weights: Any) -> Any:
        found = []
        for way in range(2):
            w, r, bias, hidden = weights[4 * way : 4 * way + 4]

            def step(now: Any, state: Any, w: Any = w, r: Any = r, bias: Any = bias) -> tuple[Any, Any]:
                out = rnn(now, w, r, bias, state, FUSES[code])
                return out, out

            found.append(swapped(run_sequence(swapped(p, time_major), step, hidden, way == 1)[0], time_major))
        return np.concatenate(found, axis=-1) if merge else tuple(found)

    absent = [b.omitted(kind) for _ in range(3)]
    flags = [b.scalar(code), b.truth(time_major), b.truth(merge)]
    b.emit("BIDIRECTIONAL_SEQUENCE_RNN", 43, [*operands, *absent, *flags], [(kind, NONE)] * (1 if merge else 2), reference,
           SUM, arguments=operands)  # fmt: skip


@makes("SVDF")
def svdf(b: Builder) -> None:
    kind = b.choice(FLOATS)
    batch, size, rank, units, memory, code = (
        b.whole(1, 3),
        b.whole(1, 4),
        b.whole(1, 2),
        b.whole(1, 3),
        b.whole(1, 4),
        b.whole(0, 3),
    )
    filters = rank * units
    x = b.pick([kind], dims=(batch, size))
    operands = [x, weight(b, kind, filters, size), weight(b, kind, filters, memory)]
    bias = weight(b, kind, units) if b.flip() else b.omitted(kind, (units,))
    state = weight(b, kind, batch, memory * filters)
    given = [*operands, *([bias] if bias.real is not None else []), state]

    def reference(p: Any, feature: Any, time: Any, *rest: Any) -> Any:
        old = rest[-1].reshape(batch, filters, memory)
        now = np.concatenate([old[:, :, :-1], (p @ feature.T)[:, :, np.newaxis]], axis=2)
        sums = (now * time).sum(axis=2).reshape(batch, units, rank).sum(axis=2)
        new = np.concatenate([now[:, :, 1:], np.zeros((batch, filters, 1))], axis=2)
        return new.reshape(batch, -1), FUSES[code](sums + (rest[0] if len(rest) == 2 else 0))

    b.emit(
        "SVDF",
        27,
        [*operands, bias, state, b.scalar(rank), b.scalar(code)],
        [(kind, NONE)] * 2,
        reference,
        SUM,
        arguments=given,
    )


class Cell:
    """The operands of an LSTM cell in NNAPI's order, and its arithmetic. Parts are drawn to be there or not."""

    def __init__(self, b: Builder, kind: str, batch: int, size: int) -> None:
        self.kind, self.batch = kind, batch
        self.coupled, peepholes, projected, self.normal = b.flip(0.3), b.flip(0.4), b.flip(0.4), b.flip(0.4)
        self.units, self.activation = b.whole(1, 4), b.choice([0, 3, 4, 6])
        self.out = b.whole(1, 4) if projected else self.units
        self.cell_clip, self.projection_clip = 0.5 * b.whole(0, 3), 0.5 * b.whole(0, 2)
        absent, units = self.coupled, self.units

        def part(there: bool, *dims: int) -> Value:
            return weight(b, kind, *dims) if there else b.omitted(kind)

        self.inputs = [part(not (absent and gate == 0), units, size) for gate in range(4)]
        self.recurrent = [part(not (absent and gate == 0), units, self.out) for gate in range(4)]
        self.peepholes = [part(peepholes and not (absent and gate == 0), units) for gate in range(3)]
        self.biases = [part(not (absent and gate == 0), units) for gate in range(4)]
        self.projection = [part(projected, self.out, units), part(projected and b.flip(), self.out)]
        self.states = [weight(b, kind, batch, self.out), weight(b, kind, batch, units)]
        self.norms = [part(self.normal and not (absent and gate == 0), units) for gate in range(4)]
        self.scalars = [
            b.scalar(self.activation), b.real_scalar(self.cell_clip, kind), b.real_scalar(self.projection_clip, kind),
        ]  # fmt: skip

    @property
    def before_states(self) -> list[Value]:
        return [*self.inputs, *self.recurrent, *self.peepholes, *self.biases, *self.projection]

    @property
    def operands(self) -> list[Value]:
        """Those with numbers, in the order that `numbers` takes."""
        return [v for v in (*self.before_states, *self.states, *self.norms) if v.real is not None]

    def numbers(self, given: tuple[Any, ...]) -> dict[int, Any]:
        return {value.index: number for value, number in zip(self.operands, given)}

    def step(self, x: Any, state: tuple[Any, Any], numbers: dict[int, Any]) -> tuple[Any, tuple[Any, Any]]:
        """(output, (output, cell state))"""
        hidden, cell = state
        gates: list[Any] = [None] * 4

        def gate(index: int, peephole: Any, squash: Callable[[Any], Any]) -> Any:
            at = [v[index].index for v in (self.inputs, self.recurrent, self.biases, self.norms)]
            total = x @ numbers[at[0]].T + hidden @ numbers[at[1]].T
            if peephole is not None:
                total = total + peephole
            if self.normal:
                centred = total - total.mean(axis=1, keepdims=True)
                deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-8)
                return squash(centred / deviation * numbers[at[3]] + numbers[at[2]])
            return squash(total + numbers[at[2]])

        def peep(index: int, c: Any) -> Any:
            weights = numbers.get(self.peepholes[index].index)
            return None if weights is None else c * weights

        activation = ACTIVATIONS[self.activation]
        gates[1] = gate(1, peep(1, cell), sigmoid)
        gates[0] = 1 - gates[1] if self.coupled else gate(0, peep(0, cell), sigmoid)
        gates[2] = gate(2, None, activation)
        cell = gates[1] * cell + gates[0] * gates[2]
        if self.cell_clip > 0:
            cell = np.clip(cell, -self.cell_clip, self.cell_clip)
        gates[3] = gate(3, peep(2, cell), sigmoid)
        out = gates[3] * activation(cell)
        projection = numbers.get(self.projection[0].index)
        if projection is not None:
            out = out @ projection.T + numbers.get(self.projection[1].index, 0.0)
            if self.projection_clip > 0:
                out = np.clip(out, -self.projection_clip, self.projection_clip)
        return out, (out, cell)


def settled(cell: Cell) -> bool:
    """Layer normalisation of a single unit divides by nearly nothing."""
    return not (cell.normal and cell.units < 2)


@makes("LSTM")
def lstm(b: Builder) -> None:
    kind, batch, size = b.choice(FLOATS), b.whole(1, 3), b.whole(1, 4)
    cell = Cell(b, kind, batch, size)
    x = b.pick([kind], dims=(batch, size))
    scratch = (batch, (3 if cell.coupled else 4) * cell.units)

    def reference(p: Any, *given: Any) -> Any:
        numbers = cell.numbers(given)
        out, (_, state) = cell.step(p, (numbers[cell.states[0].index], numbers[cell.states[1].index]), numbers)
        return np.zeros(scratch), out, state, out

    inputs = [x, *cell.before_states, *cell.states, *cell.scalars, *(cell.norms if cell.normal or b.flip(0.2) else [])]
    if not settled(cell):
        b.emit("LSTM", 16, inputs, [(kind, NONE)] * 4, None,
               dims=[scratch, (batch, cell.out), (batch, cell.units), (batch, cell.out)])  # fmt: skip
        return
    made = b.emit("LSTM", 16, inputs, [(kind, NONE)] * 4, reference, SUM, arguments=[x, *cell.operands])
    b.graph.nodes[-1].unchecked.add(made[0].index)
    b.pool.remove(made[0])


@makes("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(b: Builder) -> None:
    kind, time_major, state_out = b.choice(FLOATS), b.flip(), b.flip()
    times, batch, size = b.whole(1, 3), b.whole(1, 3), b.whole(1, 4)
    cell = Cell(b, kind, batch, size)
    x = b.pick([kind], dims=(times, batch, size) if time_major else (batch, times, size))

    def reference(p: Any, *given: Any) -> Any:
        numbers = cell.numbers(given)
        start = (numbers[cell.states[0].index], numbers[cell.states[1].index])
        outputs, last = run_sequence(swapped(p, time_major), lambda now, state: cell.step(now, state, numbers), start)
        return (swapped(outputs, time_major), *last) if state_out else swapped(outputs, time_major)

    inputs = [x, *cell.before_states, *cell.states, *cell.scalars, b.truth(time_major), *cell.norms]
    outputs = [(kind, NONE)] * (3 if state_out else 1)
    if settled(cell):
        b.emit("UNIDIRECTIONAL_SEQUENCE_LSTM", 92, inputs, outputs, reference, SUM, arguments=[x, *cell.operands])
        return
    first = (times, batch, cell.out) if time_major else (batch, times, cell.out)
    shapes = [first, (batch, cell.out), (batch, cell.units)][: len(outputs)]
    b.emit("UNIDIRECTIONAL_SEQUENCE_LSTM", 92, inputs, outputs, None, dims=shapes)


@makes("BIDIRECTIONAL_SEQUENCE_LSTM")
def two_way_lstm(b: Builder) -> None:
    """Without auxiliary inputs."""
    kind, time_major, merge = b.choice(FLOATS), b.flip(), b.flip()
    times, batch, size = b.whole(1, 3), b.whole(1, 3), b.whole(1, 4)
    forward, backward = Cell(b, kind, batch, size), Cell(b, kind, batch, size)
    backward.activation, backward.cell_clip, backward.projection_clip = (
        forward.activation, forward.cell_clip, forward.projection_clip,
    )  # fmt: skip
    x = b.pick([kind], dims=(times, batch, size) if time_major else (batch, times, size))

    def reference(p: Any, *given: Any) -> Any:
        found = []
        cut = len(forward.operands)
        for cell, part, back in ((forward, given[:cut], False), (backward, given[cut:], True)):
            numbers = cell.numbers(part)
            start = (numbers[cell.states[0].index], numbers[cell.states[1].index])

            def step(now: Any, state: Any, cell: Cell = cell, numbers: dict[int, Any] = numbers) -> tuple[Any, Any]:
                return cell.step(now, state, numbers)

            found.append(swapped(run_sequence(swapped(p, time_major), step, start, back)[0], time_major))
        return np.concatenate(found, axis=-1) if merge else tuple(found)

    absent = [b.omitted(kind) for _ in range(9)]
    inputs = [
        x, *forward.before_states, *backward.before_states, *forward.states, *backward.states, *absent, *forward.scalars,
        b.truth(merge), b.truth(time_major), *forward.norms, *backward.norms,
    ]  # fmt: skip
    outputs = [(kind, NONE)] * (1 if merge else 2)
    if settled(forward) and settled(backward):
        b.emit("BIDIRECTIONAL_SEQUENCE_LSTM", 42, inputs, outputs, reference, SUM,
               arguments=[x, *forward.operands, *backward.operands])  # fmt: skip
        return
    lead = (times, batch) if time_major else (batch, times)
    widths = [forward.out + backward.out] if merge else [forward.out, backward.out]
    b.emit("BIDIRECTIONAL_SEQUENCE_LSTM", 42, inputs, outputs, None, dims=[(*lead, width) for width in widths])


@makes("QUANTIZED_16BIT_LSTM")
def lstm_16bit(b: Builder) -> None:
    batch, size, units = b.whole(1, 3), b.whole(1, 4), b.whole(1, 4)
    state, cell = (1 / 128, 128), (16 / 32768, 0)
    w = (float(np.float32(b.rng.uniform(0.005, 0.02))), b.whole(100, 156))
    x = b.fresh("u8", (batch, size), -1, 1, quantisation=state)
    operands = [b.fresh("u8", (units, size), -1, 1, quantisation=w) for _ in range(4)]
    operands += [b.fresh("u8", (units, units), -1, 1, quantisation=w) for _ in range(4)]
    scale = float(np.float32(np.float32(state[0]) * np.float32(w[0])))
    operands += [b.given("i32", b.rng.integers(-3000, 3000, units), quantisation=(scale, 0)) for _ in range(4)]
    operands += [
        b.fresh("sym16", (batch, units), -2, 2, quantisation=cell),
        b.fresh("u8", (batch, units), -1, 1, quantisation=state),
    ]
    b.emit(
        "QUANTIZED_16BIT_LSTM", 73, [x, *operands], [("sym16", cell), ("u8", state)], None, dims=[(batch, units)] * 2
    )


@makes("QUANTIZED_LSTM")
def lstm_quantized(b: Builder) -> None:
    batch, size, units = b.whole(1, 3), b.whole(1, 4), b.whole(2, 4)
    coupled, peephole, projected, normal = b.flip(0.3), b.flip(0.4), b.flip(0.4), b.flip(0.4)
    out = b.whole(1, 4) if projected else units
    hidden, cell = (0.008, 0), (2.0**-11, 0)

    def part(there: bool, kind: str, *dims: int) -> Value:
        return (
            b.fresh(kind, dims, -1, 1, quantisation=(0.01 if kind == "sym8" else 2.0**-12, 0))
            if there
            else b.omitted(kind)
        )

    def bias(there: bool, count: int) -> Value:
        return b.given("i32", b.rng.integers(-200, 200, count)) if there else b.omitted("i32")

    gates = [not (coupled and gate == 0) for gate in range(4)]
    inputs = [b.fresh("s8", (batch, size), -1, 1, quantisation=(0.008, 0))]
    inputs += [part(there, "sym8", units, size) for there in gates]
    inputs += [part(there, "sym8", units, out) for there in gates]
    inputs += [part(peephole and there, "sym16", units) for there in gates[:3]]
    inputs += [bias(there, units) for there in gates]
    inputs += [part(projected, "sym8", out, units), bias(projected and b.flip(), out)]
    inputs += [
        b.fresh("s8", (batch, out), -1, 1, quantisation=hidden),
        b.fresh("sym16", (batch, units), -1, 1, quantisation=cell),
    ]
    inputs += [part(normal and there, "sym16", units) for there in gates]
    inputs += [b.scalar(0.0, "f32"), b.scalar(0.0, "f32"), *(b.scalar(2.0**-12, "f32") for _ in range(4))]
    inputs += [b.scalar(hidden[1]), b.scalar(hidden[0], "f32")]
    b.emit("QUANTIZED_LSTM", 95, inputs, [("s8", hidden), ("sym16", cell), ("s8", hidden)], None,
           dims=[(batch, out), (batch, units), (batch, out)])  # fmt: skip
