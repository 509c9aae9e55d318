"""Recurrent operations against LiteRT: floats within a tolerance, quantised ones bit for bit.

LiteRT keeps states in variable tensors; NNAPI has them as inputs and outputs. Two steps are compared: the second begins with the
states that the first left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.differential.litert import T, run_litert
from tests.modelbuilder import ModelBuilder

from .client import Array, Nnapi
from .operation import FORMS, Compare, Form, Operand, equal, near, omitted, run, scalar, tensor

LSTM, RNN, SVDF, BIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_RNN = 16, 24, 27, 42, 43
QUANTIZED_16BIT_LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, UNIDIRECTIONAL_SEQUENCE_RNN, QUANTIZED_LSTM = 73, 92, 93, 95
RELU, TANH = 1, 4
FLOATS = near(1e-5)


def floats(generator: np.random.Generator, *shape: int) -> Array:
    return (generator.standard_normal(shape) * 0.5).astype(np.float32)


def weights(value: Array | None) -> T | None:
    return None if value is None else T(value, const=True)


def litert(
    op: str, inputs: Sequence[T | None], outputs: Sequence[T], steps: int = 2, intermediates: Sequence[T] = (),
    version: int = 1, **options: Any,
) -> list[Array]:  # fmt: skip
    """Outputs of the last of several steps with the same input."""
    builder = ModelBuilder()
    indices = [None if t is None else t.add(builder, f"x{i}") for i, t in enumerate(inputs)]
    results = [t.add(builder, f"y{i}") for i, t in enumerate(outputs)]
    between = [t.add(builder, f"i{i}") for i, t in enumerate(intermediates)]
    builder.op(op, indices, results, version=version, intermediates=between, **options)
    fed = [(i, t.data) for i, t in zip(indices, inputs) if t is not None and t.data is not None and not t.const]
    return run_litert(builder.build([i for i, _ in fed], results), [value for _, value in fed], steps)


def optional(value: Array | None) -> Operand:
    return omitted(3) if value is None else tensor(value)


def assert_steps(
    api: Nnapi, code: int, inputs: list[Operand], outputs: list[Operand], states: dict[int, int], compare: Compare,
    want: dict[int, Array], steps: int = 2,
) -> None:  # fmt: skip
    """Runs in every form; `states` maps state inputs to the outputs that follow them."""
    for form in FORMS:
        now = list(inputs)
        have: list[Array] = []
        for _ in range(steps):
            have = run(api, code, now, outputs, form)
            for position, output in states.items():
                old = now[position]
                now[position] = Operand(old.type, np.ascontiguousarray(have[output]), old.constant)
        for place, value in want.items():
            assert have[place].shape == value.shape
            compare(place, have[place], value)


def zeros(*shape: int) -> Operand:
    return tensor(np.zeros(shape, np.float32))


# --- RNN, SVDF


@pytest.mark.parametrize("activation", [0, RELU, 2, 3, TANH])
def test_rnn(api: Nnapi, activation: int) -> None:
    generator = np.random.default_rng(activation)
    x, w, r, b = floats(generator, 3, 5), floats(generator, 4, 5), floats(generator, 4, 4), floats(generator, 4)
    state = T(dtype="float32", shape=(3, 4), variable=True)
    (want,) = litert("RNN", [T(x), weights(w), weights(r), weights(b), state], [T()], fused_activation_function=activation)
    operands = [*map(tensor, (x, w, r, b)), zeros(3, 4), scalar(activation)]
    assert_steps(api, RNN, operands, [zeros(3, 4), zeros(3, 4)], {4: 0}, FLOATS, {0: want, 1: want})


@pytest.mark.parametrize("time_major", [False, True])
def test_unidirectional_sequence_rnn(api: Nnapi, time_major: bool) -> None:
    generator = np.random.default_rng(time_major)
    x, w, r, b = floats(generator, 3, 2, 5), floats(generator, 4, 5), floats(generator, 4, 4), floats(generator, 4)
    batch = 2 if time_major else 3
    state = T(dtype="float32", shape=(batch, 4), variable=True)
    inputs = [T(x), weights(w), weights(r), weights(b), state]
    options: dict[str, Any] = {"fused_activation_function": TANH, "time_major": time_major}
    (want,) = litert("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [T()], **options)
    operands = [*map(tensor, (x, w, r, b)), zeros(batch, 4), scalar(TANH), scalar(int(time_major))]
    outputs = [zeros(3, 2, 4), zeros(batch, 4)]
    last = want[-1] if time_major else want[:, -1]
    assert_steps(api, UNIDIRECTIONAL_SEQUENCE_RNN, operands, outputs, {4: 1}, FLOATS, {0: want, 1: last})
    (want,) = litert("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [T()], steps=1, **options)
    assert_steps(api, UNIDIRECTIONAL_SEQUENCE_RNN, operands, outputs[:1], {}, FLOATS, {0: want}, steps=1)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("aux", ["none", "parallel", "cross"])
def test_bidirectional_sequence_rnn(api: Nnapi, time_major: bool, merge: bool, aux: str) -> None:
    generator = np.random.default_rng(merge)
    # LiteRT takes the auxiliary input for as wide as the input.
    x, second = floats(generator, 3, 2, 5), floats(generator, 3, 2, 5)
    fw = [floats(generator, 4, 5), floats(generator, 4, 4), floats(generator, 4)]
    bw = [floats(generator, 3, 5), floats(generator, 3, 3), floats(generator, 3)]
    aux_weights = [floats(generator, 4, 5), floats(generator, 3, 5)] if aux == "cross" else [None, None]
    batch = 2 if time_major else 3
    states = [T(dtype="float32", shape=(batch, 4), variable=True), T(dtype="float32", shape=(batch, 3), variable=True)]
    # LiteRT forgets the auxiliary input of batch-major sequences, so it gets all of them time-major.
    order = (0, 1, 2) if time_major else (1, 0, 2)
    inputs = [T(x.transpose(order).copy()), *map(weights, fw), states[0], *map(weights, bw), states[1]]
    inputs += [None if aux == "none" else T(second.transpose(order).copy()), *map(weights, aux_weights)]
    results = litert(
        "BIDIRECTIONAL_SEQUENCE_RNN", inputs, [T()] * (1 if merge else 2), fused_activation_function=TANH,
        time_major=True, merge_outputs=merge,
    )  # fmt: skip
    want = [value.transpose(order) for value in results]
    operands = [tensor(x), *map(tensor, fw), zeros(batch, 4), *map(tensor, bw), zeros(batch, 3)]
    operands += [optional(None if aux == "none" else second), *map(optional, aux_weights)]
    operands += [scalar(TANH), scalar(time_major), scalar(merge)]
    outputs = [zeros(3, 2, 7)] if merge else [zeros(3, 2, 4), zeros(3, 2, 3)]
    first = len(outputs)
    assert_steps(
        api, BIDIRECTIONAL_SEQUENCE_RNN, operands, [*outputs, zeros(batch, 4), zeros(batch, 3)],
        {4: first, 8: first + 1}, FLOATS, dict(enumerate(want)),
    )  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("memory", [1, 3, 10])
@pytest.mark.parametrize("biased", [False, True])
def test_svdf(api: Nnapi, rank: int, memory: int, biased: bool) -> None:
    generator = np.random.default_rng(memory)
    x, feature, time = floats(generator, 2, 3), floats(generator, 8, 3), floats(generator, 8, memory)
    bias = floats(generator, 8 // rank) if biased else None
    state = T(dtype="float32", shape=(2, memory * 8), variable=True)
    inputs = [T(x), weights(feature), weights(time), weights(bias), state]
    (want,) = litert("SVDF", inputs, [T()], steps=4, rank=rank, fused_activation_function=RELU)
    operands = [*map(tensor, (x, feature, time)), optional(bias), zeros(2, memory * 8), scalar(rank), scalar(RELU)]
    assert_steps(api, SVDF, operands, [zeros(2, memory * 8), zeros(2, 8 // rank)], {4: 0}, FLOATS, {1: want}, steps=4)


# --- LSTM


@dataclass
class Cell:
    """The weights of an LSTM; None where an optional one is left out."""

    values: list[Array | None]  # the 17 of NNAPI's list
    norm: list[Array | None]
    cells: int
    output: int


VARIANTS = [
    {}, {"cifg": True}, {"peephole": True}, {"projection": True}, {"projection": True, "projection_bias": True},
    {"norm": True}, {"cifg": True, "peephole": True, "projection": True, "norm": True},
    {"peephole": True, "projection": True, "projection_bias": True, "norm": True},
]  # fmt: skip


def cell(
    generator: np.random.Generator, size: int, cells: int = 4, *, cifg: bool = False, peephole: bool = False,
    projection: bool = False, projection_bias: bool = False, norm: bool = False,
) -> Cell:  # fmt: skip
    output = 3 if projection else cells
    gates = [not cifg, True, True, True]
    values = [floats(generator, cells, size) if there else None for there in gates]
    values += [floats(generator, cells, output) if there else None for there in gates]
    values += [floats(generator, cells) if peephole and there else None for there in (not cifg, True, True)]
    values += [floats(generator, cells) if there else None for there in gates]
    values += [floats(generator, output, cells) if projection else None]
    values += [floats(generator, output) if projection_bias else None]
    norms = [1 + floats(generator, cells) if norm and there else None for there in gates]
    return Cell(values, norms, cells, output)


def variable(*shape: int) -> T:
    return T(dtype="float32", shape=shape, variable=True)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(v) or "plain")
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_lstm(api: Nnapi, variant: dict[str, bool], clip: float) -> None:
    generator = np.random.default_rng(5)
    x, c = floats(generator, 2, 5), cell(generator, 5, **variant)
    inputs = [T(x), *map(weights, c.values), variable(2, c.output), variable(2, c.cells), *map(weights, c.norm)]
    options: dict[str, Any] = {"fused_activation_function": TANH, "cell_clip": clip, "proj_clip": clip}
    (want,) = litert("LSTM", inputs, [T()], **options)
    operands = [tensor(x), *map(optional, c.values), zeros(2, c.output), zeros(2, c.cells)]
    operands += [scalar(TANH), scalar(float(clip)), scalar(float(clip))]
    if variant.get("norm"):
        operands += [*map(optional, c.norm)]
    scratch = zeros(2, c.cells * (3 if variant.get("cifg") else 4))
    outputs = [scratch, zeros(2, c.output), zeros(2, c.cells), zeros(2, c.output)]
    assert_steps(api, LSTM, operands, outputs, {18: 1, 19: 2}, FLOATS, {1: want, 3: want})


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(v) or "plain")
@pytest.mark.parametrize("time_major", [False, True])
def test_unidirectional_sequence_lstm(api: Nnapi, variant: dict[str, bool], time_major: bool) -> None:
    generator = np.random.default_rng(6)
    x, c = floats(generator, 3, 2, 5), cell(generator, 5, **variant)
    batch = 2 if time_major else 3
    inputs = [T(x), *map(weights, c.values), variable(batch, c.output), variable(batch, c.cells), *map(weights, c.norm)]
    options: dict[str, Any] = {"fused_activation_function": TANH, "time_major": time_major, "cell_clip": 0.5, "proj_clip": 0.4}
    (want,) = litert("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [T()], **options)
    operands = [tensor(x), *map(optional, c.values), zeros(batch, c.output), zeros(batch, c.cells)]
    operands += [scalar(TANH), scalar(0.5), scalar(0.4), scalar(time_major), *map(optional, c.norm)]
    outputs = [zeros(3, 2, c.output), zeros(batch, c.output), zeros(batch, c.cells)]
    last = want[-1] if time_major else want[:, -1]
    assert_steps(api, UNIDIRECTIONAL_SEQUENCE_LSTM, operands, outputs, {18: 1, 19: 2}, FLOATS, {0: want, 1: last})
    (want,) = litert("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [T()], steps=1, **options)
    assert_steps(api, UNIDIRECTIONAL_SEQUENCE_LSTM, operands, outputs[:1], {}, FLOATS, {0: want}, steps=1)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "norm" not in v], ids=lambda v: "-".join(v) or "plain")
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("aux", ["none", "cross", "parallel"])
def test_bidirectional_sequence_lstm(api: Nnapi, variant: dict[str, bool], time_major: bool, merge: bool, aux: str) -> None:
    generator = np.random.default_rng(7)
    x, second = floats(generator, 3, 2, 5), floats(generator, 3, 2, 5)
    fw, bw = cell(generator, 5, **variant), cell(generator, 5, **variant)
    batch = 2 if time_major else 3
    states = [(batch, fw.output), (batch, fw.cells), (batch, bw.output), (batch, bw.cells)]
    gates = [not variant.get("cifg"), True, True, True]
    aux_weights = [floats(generator, c.cells, 5) if aux == "cross" and there else None for c in (fw, bw) for there in gates]
    # LiteRT mixes up the halves of a merged batch-major output, so it gets all sequences time-major.
    order = (0, 1, 2) if time_major else (1, 0, 2)
    inputs = [T(x.transpose(order).copy()), *map(weights, fw.values), *map(weights, bw.values), *(variable(*s) for s in states)]
    inputs += [None if aux == "none" else T(second.transpose(order).copy()), *map(weights, aux_weights)]
    results = litert(
        "BIDIRECTIONAL_SEQUENCE_LSTM", inputs, [T()] * (1 if merge else 2), fused_activation_function=TANH,
        time_major=True, merge_outputs=merge, cell_clip=0.5, proj_clip=0.4,
    )  # fmt: skip
    want = [value.transpose(order) for value in results]
    operands = [tensor(x), *map(optional, fw.values), *map(optional, bw.values), *(zeros(*s) for s in states)]
    operands += [optional(None if aux == "none" else second), *map(optional, aux_weights)]
    operands += [scalar(TANH), scalar(0.5), scalar(0.4), scalar(merge), scalar(time_major), *[omitted(3)] * 8]
    outputs = [zeros(3, 2, fw.output + bw.output)] if merge else [zeros(3, 2, fw.output), zeros(3, 2, bw.output)]
    first = len(outputs)
    assert_steps(
        api, BIDIRECTIONAL_SEQUENCE_LSTM, operands, [*outputs, *(zeros(*s) for s in states)],
        {35 + i: first + i for i in range(4)}, FLOATS, dict(enumerate(want)),
    )  # fmt: skip


# --- quantised


@pytest.mark.parametrize("seed", range(8))
def test_quantized_16bit_lstm(api: Nnapi, seed: int) -> None:
    generator = np.random.default_rng(seed)
    batch, size, output = 2, 5, 7
    # With these scales the accumulators are not shifted right: LiteRT's matrix products round once, reference_ops twice.
    scale, zero = float(np.float32(generator.uniform(1 / 64, 1 / 32))), int(generator.integers(100, 150))
    x, h = (generator.integers(90, 170, (batch, n)).astype(np.uint8) for n in (size, output))
    c = generator.integers(-32768, 32768, (batch, output)).astype(np.int16)
    w = generator.integers(90, 160, (4, output, size + output)).astype(np.uint8)  # input, forget, cell, output
    b = generator.integers(-3000, 3000, (4, output)).astype(np.int32)
    tflite_order = [0, 2, 1, 3]  # input, cell, forget, output
    fixed: dict[str, Any] = {"scale": 1 / 128, "zero_point": 128}
    inputs = [
        T(x, **fixed), T(h, **fixed), T(w[tflite_order].reshape(4 * output, -1), scale=scale, zero_point=zero, const=True),
        T(b[tflite_order].ravel(), scale=scale / 128, zero_point=0, const=True), T(c, scale=1 / 2048, zero_point=0),
    ]  # fmt: skip
    results = [T(dtype="uint8", **fixed), T(dtype="int16", scale=1 / 2048, zero_point=0)]
    results += [T(dtype="uint8", **fixed), T(dtype="int16", scale=1 / 4096, zero_point=0)]
    want = litert("LSTM", inputs, results, steps=1, version=2, fused_activation_function=TANH, kernel_type=1)
    operands = [tensor(x, 1 / 128, 128)]
    operands += [tensor(w[g, :, :size], scale, zero) for g in range(4)] + [tensor(w[g, :, size:], scale, zero) for g in range(4)]
    operands += [tensor(b[g], float(np.float32(scale) / 128)) for g in range(4)]
    operands += [tensor(c, 1 / 2048), tensor(h, 1 / 128, 128)]
    outputs = [tensor(c, 1 / 2048), tensor(h, 1 / 128, 128)]
    assert_steps(api, QUANTIZED_16BIT_LSTM, operands, outputs, {}, equal, {0: want[1], 1: want[0]}, steps=1)


QUANTISED_VARIANTS = [v for v in VARIANTS if "norm" in v or not v or v == {"cifg": True} or v == {"projection": True}]


@pytest.mark.parametrize("variant", QUANTISED_VARIANTS, ids=lambda v: "-".join(v) or "plain")
@pytest.mark.parametrize("seed", range(10))
def test_quantized_lstm(api: Nnapi, variant: dict[str, bool], seed: int) -> None:
    generator = np.random.default_rng(seed)
    batch, size, cells = 2, 6, 8
    float_cell = cell(generator, size, cells, **variant)
    output, norm = float_cell.output, variant.get("norm", False)
    cell_scale = 2.0 ** int(generator.integers(-15, -9))
    x_scale, h_scale, hidden_scale = (float(np.float32(s)) for s in generator.uniform(0.003, 0.02, 3))
    if not variant.get("projection"):
        hidden_scale = h_scale
    x_zero, h_zero = (int(z) for z in generator.integers(-20, 20, 2))
    hidden_zero = int(generator.integers(-20, 20)) if variant.get("projection") else h_zero
    gate_scales = [float(np.float32(s)) for s in generator.uniform(0.002, 0.01, 4)] if norm else [2.0**-12] * 4
    x = generator.integers(-128, 128, (batch, size)).astype(np.int8)

    def quantise(index: int, value: Array) -> tuple[Array, float]:
        """Weights 8 bits, peepholes and layer norm 16 bits, biases 32 bits."""
        if index >= 17 or 8 <= index <= 10:
            scale = float(np.float32(np.abs(value).max() / 32767))
            return np.round(value / scale).astype(np.int16), scale
        if 11 <= index <= 14 or index == 16:
            scale = 1e-4
            return np.round(value / scale).astype(np.int32), scale
        scale = float(np.float32(np.abs(value).max() / 127))
        return np.round(value / scale).astype(np.int8), scale

    quantities = [None if v is None else quantise(i, v) for i, v in enumerate([*float_cell.values, *float_cell.norm])]

    def tflite(q: tuple[Array, float] | None) -> T | None:
        return None if q is None else T(q[0], scale=q[1], zero_point=0, const=True)

    kinds = [13] * 8 + [7] * 3 + [4] * 4 + [13, 4] + [7] * 4

    def nnapi(q: tuple[Array, float] | None, kind: int) -> Operand:
        return omitted(kind) if q is None else tensor(q[0], q[1], type=kind)

    state = T(dtype="int8", shape=(batch, output), scale=h_scale, zero_point=h_zero, variable=True)
    memory = T(dtype="int16", shape=(batch, cells), scale=cell_scale, zero_point=0, variable=True)
    inputs = [T(x, scale=x_scale, zero_point=x_zero), *map(tflite, quantities[:17]), state, memory, *map(tflite, quantities[17:])]
    between = [T(dtype="int16", shape=(), scale=s, zero_point=0) for s in gate_scales]
    between.append(T(dtype="int8", shape=(), scale=hidden_scale, zero_point=hidden_zero))
    result = T(dtype="int8", scale=h_scale, zero_point=h_zero)
    cell_clip, projection_clip = (0.0, 0.0) if seed % 2 else (0.6, 0.5)
    (want,) = litert(
        "LSTM", inputs, [result], steps=3, intermediates=between, version=3, fused_activation_function=TANH,
        cell_clip=cell_clip, proj_clip=projection_clip,
    )  # fmt: skip
    operands = [tensor(x, x_scale, x_zero), *map(nnapi, quantities[:17], kinds)]
    zero_state = tensor(np.full((batch, output), h_zero, np.int8), h_scale, h_zero)
    operands += [zero_state, tensor(np.zeros((batch, cells), np.int16), cell_scale), *map(nnapi, quantities[17:], kinds[17:])]
    operands += [scalar(cell_clip), scalar(projection_clip), *map(scalar, gate_scales), scalar(hidden_zero), scalar(hidden_scale)]
    outputs = [operands[18], operands[19], operands[18]]
    assert_steps(api, QUANTIZED_LSTM, operands, outputs, {18: 0, 19: 1}, equal, {0: want, 2: want}, steps=3)


def test_forms_are_all_there() -> None:
    """Every test above runs with weights as constants and as inputs, and with unknown output shapes."""
    assert Form(True, "rank") in FORMS and Form(False, "known") in FORMS
