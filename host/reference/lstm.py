"""LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM: float32 and hybrid; int8 is in `lstm_integer`.

Semantics: LiteRT's kernels: optional peepholes, coupled input and forget gates, projection, layer normalisation,
auxiliary input, diagonal recurrent weights. Output and cell states are variable tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    fail,
    kernel,
    operand,
    optional,
    require_shape,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.quantized import scale_of
from nnapi_toolkit.reference.recurrent import (
    Float32,
    Product,
    activate,
    keep_state,
    logistic32,
    needed,
    product,
    sequence,
    state_of,
    two_directions,
)
from nnapi_toolkit.reference.sums import product_in_order

SIGMOID = -1

FULL, BASIC = 0, 1


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate: activation(x W + aux A + h R + c * peephole + bias), with the sum normalised before the bias or not."""

    from_input: Product
    from_state: Product
    bias: Float32
    activation: int
    from_aux: Product | None = None
    peephole: Float32 | None = None
    norm: Float32 | None = None

    def __call__(self, values: Float32, state: Float32, cell: Float32 | None, aux: Float32 | None) -> Float32:
        """The gate's values [batch, cells]."""
        start = np.zeros_like(self.bias) if self.norm is not None else self.bias
        total = self.from_input(np.broadcast_to(start, (len(values), start.size)), values)
        if aux is not None and self.from_aux is not None:
            total = self.from_aux(total, aux)
        total = self.from_state(total, state)
        if self.peephole is not None and cell is not None:
            total = total + self.peephole * cell
        if self.norm is not None:
            total = _normalized(total) * self.norm + self.bias
        return logistic32(total) if self.activation == SIGMOID else activate(total, self.activation)


def _normalized(rows: Float32) -> Float32:
    """Rows of mean 0 and variance 1."""
    mean = rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    centred = rows - mean
    variance = (centred * centred).mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return centred * (np.float32(1) / np.sqrt(variance + np.float32(1e-8)))


@dataclass(frozen=True, slots=True)
class Cell:
    """An LSTM cell: its gates (no input gate when coupled to the forget gate), projection and clips."""

    input: Gate | None
    forget: Gate
    cell: Gate
    output: Gate
    activation: int
    cell_clip: float
    projection: Product | None
    projection_bias: Float32 | None
    projection_clip: float

    def step(
        self, values: Float32, state: Float32, cell: Float32, aux: Float32 | None
    ) -> tuple[Float32, Float32]:
        """One step: the new output state and the new cell state."""
        forget = self.forget(values, state, cell, aux)
        let_in = np.float32(1) - forget if self.input is None else self.input(values, state, cell, aux)
        cell = forget * cell + self.cell(values, state, None, aux) * let_in
        if self.cell_clip > 0:
            cell = np.clip(cell, -np.float32(self.cell_clip), np.float32(self.cell_clip))
        out = self.output(values, state, cell, aux) * activate(cell.copy(), self.activation)
        if self.projection is None:
            return out, cell
        start = np.zeros(state.shape[1], np.float32) if self.projection_bias is None else self.projection_bias
        out = self.projection(np.broadcast_to(start, state.shape), out)
        if self.projection_clip > 0:
            out = np.clip(out, -np.float32(self.projection_clip), np.float32(self.projection_clip))
        return out, cell

    def run(
        self, steps: Float32, state: Float32, cell: Float32, aux: Float32 | None, backwards: bool = False
    ) -> tuple[Float32, Float32, Float32]:
        """All steps [time, batch, input]: outputs [time, batch, output] and the last states."""
        outputs = np.empty((len(steps), *state.shape), np.float32)
        order = range(len(steps))
        for index in reversed(order) if backwards else order:
            state, cell = self.step(steps[index], state, cell, None if aux is None else aux[index])
            outputs[index] = state
        return outputs, state, cell


def _real_vector(node: Node, inputs: Sequence[Array | None], index: int, size: int) -> Float32 | None:
    """A vector of weights as floats; 8-bit ones by their scale."""
    value = optional(inputs, index)
    require_shape(node, value, f"input {index} (peephole weights)", size)
    if value is None or value.dtype == np.float32:
        return value
    return value.astype(np.float32) * np.float32(scale_of(node, tensor_in(node, index)))


def build_cell(
    node: Node,
    inputs: Sequence[Array | None],
    first: int,
    width: int,
    aux: tuple[int, int] | None = None,
    norm: int | None = None,
) -> Cell:
    """The cell of a node.

    Args:
        node: One of the LSTM operators.
        inputs: Of the node.
        first: Index of the input-to-input weights; the further weights and biases follow in TFLite's order.
        width: Size of one step of the input.
        aux: Index of the first auxiliary weights and size of one step of the auxiliary input.
        norm: Index of the first layer normalisation coefficients.
    """
    (_, outputs), (_, cells) = state_shapes(node, inputs, first, 1)
    options = node.operator.options
    asymmetric = options.asymmetric_quantize_inputs
    names = ("input", "forget", "cell", "output")

    def gate(place: int, activation: int) -> Gate:
        what = f"{names[place]} gate"
        peephole = {0: first + 8, 1: first + 9, 3: first + 10}.get(place)
        from_input = product(node, inputs, first + place, asymmetric, cells, width)
        from_state = product(node, inputs, first + 4 + place, asymmetric, cells, outputs)
        bias = operand(node, inputs, first + 11 + place, f"bias of the {what}")
        scaling = None if norm is None else optional(inputs, norm + place)
        require_shape(node, bias, f"input {first + 11 + place} (bias of the {what})", cells)
        require_shape(node, scaling, f"layer normalisation of the {what}", cells)
        return Gate(
            needed(node, from_input, f"input weights of the {what}"),
            needed(node, from_state, f"recurrent weights of the {what}"),
            bias,
            activation,
            None if aux is None else product(node, inputs, aux[0] + place, asymmetric, cells, aux[1]),
            None if peephole is None else _real_vector(node, inputs, peephole, cells),
            scaling,
        )

    activation = int(options.fused_activation_function)
    coupled = optional(inputs, first) is None
    projection_bias = optional(inputs, first + 16)
    require_shape(node, projection_bias, f"input {first + 16} (projection bias)", outputs)
    return Cell(
        None if coupled else gate(0, SIGMOID),
        gate(1, SIGMOID),
        gate(2, activation),
        gate(3, SIGMOID),
        activation,
        float(options.cell_clip),
        product(node, inputs, first + 15, asymmetric, outputs, cells),
        projection_bias,
        float(options.proj_clip),
    )


def state_shapes(
    node: Node, inputs: Sequence[Array | None], first: int, batch: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of output state and cell state, from the output gate's weights and the projection."""
    weights, projection = operand(node, inputs, first + 3, "input to output weights"), optional(inputs, first + 15)
    for what, matrix in ((f"input {first + 3}", weights), (f"input {first + 15} (projection)", projection)):
        if matrix is not None and matrix.ndim != 2:
            fail(node, f"rank of {what}", matrix.ndim, "2")
    cells = weights.shape[0]
    return (batch, cells if projection is None else projection.shape[0]), (batch, cells)


@kernel("UNIDIRECTIONAL_SEQUENCE_LSTM")
def sequence_lstm(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """LSTM over [batch, time, input], or [time, batch, input] when `time_major`. float32, hybrid, int8.

    Inputs: x; weights from the input (4) and the state (4), peepholes (3), biases (4), projection and its bias; output
    state and cell state (variables); layer normalisation (4).
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32, np.int8)
    steps = sequence(node, values, options.time_major)
    outputs = _run(node, inputs, runtime, steps)
    return [np.ascontiguousarray(outputs if options.time_major else outputs.swapaxes(0, 1))]


def _run(node: Node, inputs: Sequence[Array | None], runtime: Runtime, steps: Array) -> Array:
    shapes = state_shapes(node, inputs, 1, steps.shape[1])
    state, cell_state = (state_of(node, inputs, 18 + i, shape) for i, shape in enumerate(shapes))
    if steps.dtype == np.int8:
        from nnapi_toolkit.reference.lstm_integer import build_integer_cell

        outputs, state, cell_state = build_integer_cell(node, inputs, steps.shape[2]).run(steps, state, cell_state)
    else:
        cell = build_cell(node, inputs, 1, steps.shape[2], norm=20)
        outputs, state, cell_state = cell.run(steps, state, cell_state, None)
    keep_state(node, runtime, 18, state)
    keep_state(node, runtime, 19, cell_state)
    return outputs


@kernel("LSTM")
def lstm(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """One step over [batch, input]. FULL kernel: the inputs of UNIDIRECTIONAL_SEQUENCE_LSTM; BASIC: five inputs.

    float32; float32 with int8 or uint8 weights (hybrid); FULL also int8 with an int16 cell state, BASIC also uint8.
    """
    values = operand(node, inputs, 0, "input")
    if int(node.operator.options.kernel_type) == BASIC:
        from nnapi_toolkit.reference.lstm_integer import basic_uint8_step

        run = basic_uint8_step if values.dtype == np.uint8 else _basic_step
        outputs = run(node, inputs)
        keep_state(node, runtime, 1, outputs[0])
        keep_state(node, runtime, 4, outputs[1])
        return outputs
    require_type(node, values, "type of input 0", np.float32, np.int8)
    if values.ndim != 2:
        fail(node, "rank of input 0", values.ndim, "2")
    return [_run(node, inputs, runtime, values[None])[0]]


def basic_operands(node: Node, inputs: Sequence[Array | None]) -> tuple[Array, Array, Array, Array]:
    """Input beside previous activation, weights, bias and previous state of the BASIC kernel."""
    names = ("input", "prev_activation", "weights", "biases", "prev_state")
    values, previous, weights, bias, state = (operand(node, inputs, i, name) for i, name in enumerate(names))
    depth = previous.shape[-1] if previous.ndim else 0
    fits = values.ndim == previous.ndim == state.ndim == 2 and state.shape == previous.shape
    if not fits or weights.shape != (4 * depth, depth + values.shape[-1]) or bias.shape != (4 * depth,):
        shapes = [list(a.shape) for a in (values, previous, weights, bias, state)]
        fail(node, "shapes of the inputs", shapes, "[n, i], [n, d], [4 d, i + d], [4 d], [n, d]")
    return np.concatenate([values, previous], axis=1), weights, bias, state


def _basic_step(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    joined, weights, bias, state = basic_operands(node, inputs)
    require_type(node, joined, "type of input 0", np.float32)
    sums = product_in_order(joined, weights.T) + bias
    let_in, new, forget, out = np.split(sums, 4, axis=1)
    state = _basic_logistic(let_in) * _basic_tanh(new) + _basic_logistic(forget) * state
    return [_basic_logistic(out) * _basic_tanh(state), state, joined, sums]


def _basic_tanh(values: Float32) -> Float32:
    return np.tanh(values.astype(np.float64)).astype(np.float32)


def _basic_logistic(values: Float32) -> Float32:
    """1 / (1 + exp(-x)), each step rounded."""
    with np.errstate(over="ignore"):
        exps = np.exp(-values.astype(np.float64)).astype(np.float32)
    return np.float32(1) / (np.float32(1) + exps)


@kernel("BIDIRECTIONAL_SEQUENCE_LSTM")
def bidirectional_lstm(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Two LSTMs, one from the end; their outputs side by side, or in two tensors unless `merge_outputs`.

    Inputs: x; 17 weights and biases forward, 17 backward; output and cell state forward and backward; auxiliary input;
    auxiliary weights (4 and 4). Without auxiliary weights the auxiliary input is the backward layer's input.

    float32; float32 with int8 or uint8 weights (hybrid). x is [batch, time, input], or [time, batch, input] when
    `time_major`.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32)
    steps = sequence(node, values, options.time_major)
    second, linked = optional(inputs, 39), optional(inputs, 41) is not None
    other = None if second is None else sequence(node, second, options.time_major)
    aux = other if linked else None
    if other is not None:
        require_shape(node, other[..., 0], "input 39 (auxiliary input), its time and batch", *steps.shape[:2])
    backward_steps = steps if other is None or linked else other
    results = []
    for direction, (first, states, series) in enumerate(((1, 35, steps), (18, 37, backward_steps))):
        shapes = state_shapes(node, inputs, first, steps.shape[1])
        state, cell_state = (state_of(node, inputs, states + i, shape) for i, shape in enumerate(shapes))
        extra = (40 + 4 * direction, aux.shape[2]) if aux is not None else None
        cell = build_cell(node, inputs, first, series.shape[2], aux=extra)
        outputs, state, cell_state = cell.run(series, state, cell_state, aux, backwards=direction == 1)
        keep_state(node, runtime, states, state)
        keep_state(node, runtime, states + 1, cell_state)
        results.append(outputs)
    return two_directions(results[0], results[1], options.merge_outputs, options.time_major)
