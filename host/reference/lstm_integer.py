"""The int8 LSTM (16-bit gates and cell state) and the basic uint8 LSTM, in fixed point.

Semantics: LiteRT's kernels. Gates are Q3.12 in, Q0.15 out; the cell state has a power-of-two scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, fail, operand, optional, require_shape, tensor_in
from nnapi_toolkit.reference.fixed_functions import inverse_square_root, logistic, multiply, shift_left, tanh
from nnapi_toolkit.reference.fixed_point import (
    Int64,
    Multiplier,
    multiply_by_quantized_multiplier,
    multiply_with_ties_up,
    rounding_divide_by_pot,
    truncating_divide,
    wrap32,
)
from nnapi_toolkit.reference.lstm import basic_operands, state_shapes
from nnapi_toolkit.reference.quantized import scale_of, scale_or_zero, zero_point_of


def _clip16(values: Int64) -> Int64:
    return np.clip(values, -32768, 32767)


def exponent_of(node: Node, tensor: Any) -> int:
    """The exponent of a power-of-two scale."""
    exponent = math.log2(scale_of(node, tensor))
    if abs(exponent - round(exponent)) > 1e-3:
        fail(node, f"scale of '{tensor.name}'", scale_of(node, tensor), "a power of two")
    return round(exponent)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation of a gate."""

    weights: Int64
    bias: Int64
    multiplier: Multiplier
    guard: int

    def __call__(self, rows: Int64) -> Int64:
        """Normalised rows, in the gate's Q3.12."""
        count = rows.shape[1]
        result = np.empty_like(rows)
        for index, row in enumerate(rows):
            mean = int(truncating_divide(np.asarray(row.sum() * 1024), count))
            variance = int((row * row).sum()) * ((1 << 20) // count) - mean * mean
            variance = int(truncating_divide(np.asarray(variance), 1 << 20))
            significand, shift = inverse_square_root(self.guard if variance < 1 else variance)
            inverse = Multiplier(np.asarray(significand, np.int64), np.asarray(shift, np.int64))
            rescaled = multiply_by_quantized_multiplier(1024 * row - mean, inverse)
            total = wrap32(rescaled * self.weights + self.bias)
            rounded = truncating_divide(np.where(total > 0, total + 512, total - 512), 1024)
            last = Multiplier(self.multiplier.significand, self.multiplier.exponent + 12)
            result[index] = _clip16(multiply_by_quantized_multiplier(rounded, last))
        return result


@dataclass(frozen=True, slots=True)
class IntegerGate:
    """One gate: two rescaled integer products, a peephole, layer normalisation, sigmoid or tanh."""

    input_weights: Int64
    input_bias: Int64
    input_multiplier: Multiplier
    state_weights: Int64
    state_bias: Int64
    state_multiplier: Multiplier
    peephole: tuple[Int64, Multiplier] | None
    norm: Norm | None
    is_tanh: bool

    def __call__(self, values: Int64, state: Int64, cell: Int64 | None) -> Int64:
        """The gate's values in Q0.15."""
        sums = wrap32(values @ self.input_weights.T + self.input_bias)
        gate = _clip16(multiply_by_quantized_multiplier(sums, self.input_multiplier))
        sums = wrap32(state @ self.state_weights.T + self.state_bias)
        gate = _clip16(multiply_by_quantized_multiplier(sums, self.state_multiplier) + gate)
        if self.peephole is not None and cell is not None:
            weights, multiplier = self.peephole
            gate = _clip16(multiply_by_quantized_multiplier(weights * cell, multiplier) + gate)
        if self.norm is not None:
            gate = self.norm(gate)
        return tanh(gate, 3, 16) if self.is_tanh else logistic(gate, 3, 16)


@dataclass(frozen=True, slots=True)
class IntegerCell:
    """An int8 LSTM cell with a 16-bit cell state."""

    input: IntegerGate | None
    forget: IntegerGate
    cell: IntegerGate
    output: IntegerGate
    cell_exponent: int
    cell_clip: int
    hidden: Multiplier
    hidden_zero: int
    projection: tuple[Int64, Int64, Multiplier] | None
    projection_clip: int
    state_zero: int

    def step(self, values: Int64, state: Int64, cell: Int64) -> tuple[Int64, Int64]:
        """One step: the new output state and the new cell state."""
        forget = self.forget(values, state, cell)
        let_in = 32767 - forget if self.input is None else self.input(values, state, cell)
        new = self.cell(values, state, None)
        kept = rounding_divide_by_pot(forget * cell, 15)
        cell = _clip16(kept + rounding_divide_by_pot(let_in * new, 30 + self.cell_exponent))
        if self.cell_clip > 0:
            cell = np.clip(cell, -self.cell_clip, self.cell_clip)
        product = self.output(values, state, cell) * tanh(cell, 15 + self.cell_exponent, 16)
        hidden = multiply_by_quantized_multiplier(product, self.hidden)
        if self.projection is None:
            return np.clip(hidden + self.hidden_zero, -128, 127), cell
        hidden = np.clip(hidden - self.hidden_zero, -128, 127)
        weights, bias, multiplier = self.projection
        sums = wrap32(hidden @ weights.T + bias)
        out = np.clip(multiply_by_quantized_multiplier(sums, multiplier) + self.state_zero, -128, 127)
        if self.projection_clip > 0:
            out = np.clip(out, -self.projection_clip, self.projection_clip)
        return out, cell

    def run(self, steps: Array, state: Array, cell: Array) -> tuple[Array, Array, Array]:
        """All steps [time, batch, input]: outputs and the last states."""
        outputs = np.empty((len(steps), *state.shape), np.int8)
        now, memory = state.astype(np.int64), cell.astype(np.int64)
        for index, values in enumerate(steps):
            now, memory = self.step(values.astype(np.int64), now, memory)
            outputs[index] = now
        return outputs, now.astype(np.int8), memory.astype(np.int16)


def _intermediate(node: Node, index: int) -> tuple[np.float32, int]:
    """Scale and zero point of an intermediate tensor; absent ones have scale 1."""
    places = node.operator.intermediates
    if index >= len(places) or places[index] < 0:
        fail(node, f"intermediate tensor {index}", "missing", "given for an int8 LSTM")
    tensor = node.subgraph.tensors[places[index]]
    return np.float32(scale_or_zero(tensor) or 1.0), zero_point_of(tensor)


def build_integer_cell(node: Node, inputs: Sequence[Array | None], width: int) -> IntegerCell:
    """The cell of UNIDIRECTIONAL_SEQUENCE_LSTM or LSTM with int8 inputs and five intermediate tensors.

    Args:
        node: The node.
        inputs: Its inputs.
        width: Size of one step of the input.
    """
    if len(node.operator.intermediates) > 5:
        fail(node, "intermediate tensors", len(node.operator.intermediates), "5 (the 8-bit variant has no kernel here)")
    options, source, out_state = node.operator.options, tensor_in(node, 0), tensor_in(node, 18)
    scale_in, scale_state = np.float32(scale_of(node, source)), np.float32(scale_of(node, out_state))
    exponent = exponent_of(node, tensor_in(node, 19))
    normalised = optional(inputs, 21) is not None
    (_, outputs), (_, cells) = state_shapes(node, inputs, 1, 1)
    require_shape(node, optional(inputs, 16), "input 16 (projection weights)", outputs, cells)
    require_shape(node, optional(inputs, 17), "input 17 (projection bias)", outputs)
    for index in (9, 10, 11, 20, 21, 22, 23):
        require_shape(node, optional(inputs, index), f"input {index}", cells)

    def gate(place: int) -> IntegerGate:
        # Without layer normalisation the gates' sums are Q3.12, whatever the intermediate tensors say.
        inner = _intermediate(node, place)[0] if normalised else np.float32(2.0**-12)
        weights = [operand(node, inputs, 1 + place, "weights"), operand(node, inputs, 5 + place, "recurrent weights")]
        scales = [np.float32(scale_of(node, tensor_in(node, 1 + place + 4 * i))) for i in range(2)]
        for index, matrix, columns in zip((1 + place, 5 + place), weights, (width, outputs)):
            require_shape(node, matrix, f"input {index} (weights)", cells, columns)
        bias = operand(node, inputs, 12 + place, "bias").astype(np.int64)
        require_shape(node, bias, f"input {12 + place} (bias)", cells)
        wide = [w.astype(np.int64) for w in weights]
        zeros = (zero_point_of(source), zero_point_of(out_state))
        offsets = [-zero * w.sum(axis=1) for zero, w in zip(zeros, wide)]
        return IntegerGate(
            wide[0],
            offsets[0] if normalised else offsets[0] + bias,
            Multiplier.of(float(scales[0] * scale_in / inner)),
            wide[1],
            offsets[1],
            Multiplier.of(float(scales[1] * scale_state / inner)),
            _peephole(node, inputs, place, exponent, inner),
            _norm(node, inputs, place, bias) if normalised else None,
            place == 2,
        )

    hidden_scale, hidden_zero = _intermediate(node, 4)
    scale_cell = np.float32(scale_of(node, tensor_in(node, 19)))
    scale_out = np.float32(scale_of(node, node.output(0)))
    return IntegerCell(
        None if optional(inputs, 1) is None else gate(0),
        gate(1),
        gate(2),
        gate(3),
        exponent,
        _clip_number(options.cell_clip, scale_cell, 32767),
        Multiplier.of(float(np.float32(2.0**-15 / float(hidden_scale) * 2.0**-15))),
        hidden_zero,
        _projection(node, inputs, hidden_scale, hidden_zero, scale_state),
        _clip_number(options.proj_clip, scale_out, 127),
        zero_point_of(out_state),
    )


def _clip_number(clip: float, scale: np.float32, largest: int) -> int:
    return int(min(max(np.float32(clip) / scale, np.float32(-largest - 1)), np.float32(largest))) if clip > 0 else 0


def _peephole(
    node: Node, inputs: Sequence[Array | None], place: int, exponent: int, inner: np.float32
) -> tuple[Int64, Multiplier] | None:
    index = {0: 9, 1: 10, 3: 11}.get(place)
    weights = None if index is None else optional(inputs, index)
    if index is None or weights is None:
        return None
    scale = 2.0**exponent * scale_of(node, tensor_in(node, index)) / float(inner)
    return weights.astype(np.int64), Multiplier.of(float(np.float32(scale)))


def _norm(node: Node, inputs: Sequence[Array | None], place: int, bias: Int64) -> Norm:
    weights = operand(node, inputs, 20 + place, "layer normalisation coefficients")
    scale = np.float32(scale_of(node, tensor_in(node, 20 + place)))
    guard = max(1, int(np.float32(10000) * scale))
    return Norm(weights.astype(np.int64), bias, Multiplier.of(float(scale)), guard)


def _projection(
    node: Node, inputs: Sequence[Array | None], hidden_scale: np.float32, hidden_zero: int, scale_state: np.float32
) -> tuple[Int64, Int64, Multiplier] | None:
    weights, bias = optional(inputs, 16), optional(inputs, 17)
    if weights is None:
        return None
    wide = weights.astype(np.int64)
    offset = hidden_zero * wide.sum(axis=1) + (0 if bias is None else bias.astype(np.int64))
    scale = np.float32(scale_of(node, tensor_in(node, 16))) * hidden_scale / scale_state
    return wide, offset, Multiplier.of(float(scale))


def basic_uint8_step(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """The BASIC kernel on uint8 activations, int32 bias and an int16 state of scale 2^-11."""
    joined, weights, bias, state = basic_operands(node, inputs)
    if exponent_of(node, tensor_in(node, 4)) != -11:
        fail(node, "scale of input 4 (prev_state)", scale_of(node, tensor_in(node, 4)), "2^-11")
    multiplier = Multiplier.of(4096 * scale_of(node, tensor_in(node, 3)))
    wide = weights.astype(np.int64) - zero_point_of(tensor_in(node, 2))
    sums = wrap32((joined.astype(np.int64) - 128) @ wide.T + bias.astype(np.int64))
    gates = _clip16(multiply_with_ties_up(sums, multiplier))
    let_in, new, forget, out = np.split(gates, 4, axis=1)
    added = rounding_divide_by_pot(multiply(logistic(let_in, 3, 16), tanh(new, 3, 16), 16), 4)
    memory = _clip16(added + multiply(logistic(forget, 3, 16), state.astype(np.int64), 16))
    activation = multiply(logistic(out, 3, 16), tanh(shift_left(memory, 1, 16), 3, 16), 16)
    rounded = np.clip(rounding_divide_by_pot(activation, 8), -128, 127) + 128
    return [rounded.astype(np.uint8), memory.astype(np.int16), joined, gates.astype(np.int16)]
