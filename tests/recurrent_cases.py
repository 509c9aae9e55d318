"""Cases of `tests/operator_cases.py` for operators with a state: float, int8, basic uint8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.schema.enums import ActivationFunctionType, LSTMKernelType

from tests.differential.litert import T, floats, integers, rng

RELU, TANH = ActivationFunctionType.RELU, ActivationFunctionType.TANH
BATCH, FEATURES, UNITS, OUTPUTS, STEPS = 2, 4, 5, 3, 6

#: Adds a case (operator, kind, inputs, outputs, then fields of the case and options of the operator).
AddFunction = Callable[..., None]


def _seed(*words: object) -> np.random.Generator:
    return rng(sum(map(ord, "".join(map(str, words)))))


def _state(shape: Sequence[int], kind: str = "float32", **quantization: Any) -> T:
    return T(dtype=kind, shape=shape, variable=True, **quantization)


def _weight(*shape: int) -> T:
    return T(floats(_seed("r", shape), shape, 0.4), const=True)


def _result(*shape: int) -> T:
    return T(dtype="float32", shape=shape)


def lstm(x: T, layer_norm: bool, projected: bool, coupled: bool) -> list[T | None]:
    """The inputs of a full float LSTM."""
    size = OUTPUTS if projected else UNITS
    own = None if coupled else _weight(UNITS)
    gates: list[T | None] = [None if coupled else _weight(UNITS, FEATURES), *(_weight(UNITS, FEATURES) for _ in range(3))]
    recurrent: list[T | None] = [None if coupled else _weight(UNITS, size), *(_weight(UNITS, size) for _ in range(3))]
    biases: list[T | None] = [own, *(_weight(UNITS) for _ in range(3))]
    projection: list[T | None] = [_weight(OUTPUTS, UNITS), _weight(OUTPUTS)] if projected else [None, None]
    states: list[T | None] = [_state((BATCH, size)), _state((BATCH, UNITS))]
    norms: list[T | None] = [own, *(_weight(UNITS) for _ in range(3))] if layer_norm else []
    return [x, *gates, *recurrent, None, None, None, *biases, *projection, *states, *norms]


def _sequence(time_major: bool, seed: str) -> T:
    shape = (STEPS, BATCH, FEATURES) if time_major else (BATCH, STEPS, FEATURES)
    return T(floats(_seed(seed, time_major), shape))


def _floats(case: AddFunction) -> None:
    full = {"fused_activation_function": TANH, "cell_clip": 5.0, "proj_clip": 0.0, "relative": 1e-5, "runs": 2}
    row = T(floats(_seed("lstm"), (BATCH, FEATURES)))
    kernel = {"kernel_type": LSTMKernelType.FULL, **full}
    case("LSTM", "float32", lstm(row, False, False, False), [_result(BATCH, UNITS)], **kernel)
    case("LSTM", "float32", lstm(row, False, True, True), [_result(BATCH, OUTPUTS)], **kernel, note="projected")
    case("LSTM", "float32", lstm(row, True, False, False), [_result(BATCH, UNITS)], **kernel, note="layer-norm", version=2)
    for time_major in (False, True):
        x = _sequence(time_major, "seq")
        shape, note = x.data.shape[:2], "time-major" if time_major else ""
        case("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32", lstm(x, False, False, False), [_result(*shape, UNITS)],
             time_major=time_major, **full, note=note)
        rnn = [x, *_rnn()]
        case("UNIDIRECTIONAL_SEQUENCE_RNN", "float32", rnn, [_result(*shape, UNITS)], time_major=time_major,
             fused_activation_function=RELU, relative=1e-5, runs=2, note=note)
        coupled = lstm(x, True, True, True)
        case("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32", coupled, [_result(*shape, OUTPUTS)], time_major=time_major, **full,
             note=f"{note or 'batch-major'}-coupled-norm")
    long = T(floats(_seed("long"), (1, 260, 2), 1.0))
    small = [T(long.data), *(_weight(1, 2) for _ in range(4)), *(_weight(1, 1) for _ in range(4)), None, None, None]
    small += [*(_weight(1) for _ in range(4)), None, None, _state((1, 1)), _state((1, 1))]
    case("UNIDIRECTIONAL_SEQUENCE_LSTM", "float32", small, [_result(1, 260, 1)], **full, note="long")
    case("UNIDIRECTIONAL_SEQUENCE_RNN", "float32", [long, _weight(2, 2), _weight(2, 2), _weight(2), _state((1, 2))],
         [_result(1, 260, 2)], fused_activation_function=ActivationFunctionType.RELU_N1_TO_1, relative=1e-5, runs=2, note="long")
    for time_major, merged in ((True, True), (True, False), (False, False), (False, True)):
        x = _sequence(time_major, "both")
        shape = x.data.shape[:2]
        note = f"{'time-major' if time_major else 'batch-major'}-{'merged' if merged else 'two'}"
        made = [_result(*shape, 2 * UNITS)] if merged else [_result(*shape, UNITS), _result(*shape, UNITS)]
        ways = [lstm(x, False, False, coupled)[1:] for coupled in (False, not merged)]  # two widths of gates
        both = [x, *(w for way in ways for w in way[:17]), *(s for way in ways for s in way[17:]), *[None] * 9]
        if time_major or not merged:  # LiteRT's own kernels disagree about the second item of a merged batch
            case("BIDIRECTIONAL_SEQUENCE_LSTM", "float32", both, made, time_major=time_major, merge_outputs=merged, **full, note=note)
        rnns = [x, *_rnn(), *_rnn(), None, None, None]
        case("BIDIRECTIONAL_SEQUENCE_RNN", "float32", rnns, made, time_major=time_major, merge_outputs=merged,
             fused_activation_function=RELU, relative=1e-5, runs=2, note=note)
    case("RNN", "float32", [row, *_rnn()], [_result(BATCH, UNITS)], fused_activation_function=RELU, relative=1e-5, runs=2)
    tanh = {"fused_activation_function": TANH, "relative": 1e-5, "runs": 2, "note": "tanh"}
    case("RNN", "float32", [row, *_rnn()], [_result(BATCH, UNITS)], **tanh)
    x = _sequence(False, "tanh")
    case("UNIDIRECTIONAL_SEQUENCE_RNN", "float32", [x, *_rnn()], [_result(BATCH, STEPS, UNITS)], **tanh)
    case("BIDIRECTIONAL_SEQUENCE_RNN", "float32", [x, *_rnn(), *_rnn(), None, None, None], [_result(BATCH, STEPS, 2 * UNITS)],
         merge_outputs=True, **tanh)
    memory, rank = 4, 2
    svdf = [row, _weight(UNITS * rank, FEATURES), _weight(UNITS * rank, memory), _weight(UNITS),
            _state((BATCH, memory * UNITS * rank))]
    case("SVDF", "float32", svdf, [_result(BATCH, UNITS)], rank=rank, relative=1e-5, runs=3)
    case("SVDF", "float32", svdf, [_result(BATCH, UNITS)], rank=rank, relative=1e-5, runs=3, fused_activation_function=TANH,
         note="tanh")


def _rnn() -> list[T]:
    return [_weight(UNITS, FEATURES), _weight(UNITS, UNITS), _weight(UNITS), _state((BATCH, UNITS))]


# -- int8 -----------------------------------------------------------------------------------------------------------


def quantized_lstm(
    x: T, seed: str, cells: int = UNITS, *, norm: bool = False, coupled: bool = False, peephole: bool = False, width: int = 0,
    norm_scale: float = 3e-5,
) -> tuple[list[T | None], T, list[T]]:
    """Inputs, output and intermediates of an int8 LSTM with a 16-bit cell state; `width` is that of a projection."""
    generator = _seed(seed, cells)
    outputs, depth = width or cells, x.data.shape[-1]
    batch = BATCH

    def eight(*shape: int, scale: float = 0.008) -> T:
        return T(generator.integers(-127, 128, shape).astype(np.int8), scale=scale, zero_point=0, const=True)

    def sixteen(scale: float) -> T:
        return T(generator.integers(-32767, 32768, cells).astype(np.int16), scale=scale, zero_point=0, const=True)

    def bias(count: int, scale: float) -> T:
        return T(generator.integers(-3000, 3000, count).astype(np.int32), scale=scale, zero_point=0, const=True)

    own = 1 if coupled else 0
    inputs: list[T | None] = [x, *([None] * own), *(eight(cells, depth) for _ in range(own, 4))]
    inputs += [*([None] * own), *(eight(cells, outputs, scale=0.009) for _ in range(own, 4))]
    inputs += [sixteen(3e-5) if peephole and not (coupled and gate == 0) else None for gate in range(3)]
    inputs += [*([None] * own), *(bias(cells, 1e-4) for _ in range(own, 4))]
    inputs += [eight(width, cells, scale=0.006), bias(width, 1e-4)] if width else [None, None]
    state = {"scale": 0.007, "zero_point": 5}
    inputs += [_state((batch, outputs), "int8", **state), _state((batch, cells), "int16", scale=2.0**-11, zero_point=0)]
    if norm:
        inputs += [*([None] * own), *(sixteen(norm_scale) for _ in range(own, 4))]
    between = [T(dtype="int16", shape=(), scale=s if norm else 2.0**-12, zero_point=0) for s in (0.004, 0.005, 0.003, 0.006)]
    hidden = {"scale": 0.0075, "zero_point": -7} if width else state
    out = T(dtype="int8", shape=(*x.data.shape[:-1], outputs), **state)
    return inputs, out, [*between, T(dtype="int8", shape=(), **hidden)]


_VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "coupled": {"coupled": True},
    "peephole": {"peephole": True},
    "projected": {"width": OUTPUTS},
    "layer-norm": {"norm": True},
    "layer-norm-8": {"norm": True, "cells": 8},
    "all": {"norm": True, "coupled": True, "peephole": True, "width": UNITS},
}


def _integers(case: AddFunction) -> None:
    def eight_bits(seed: str, *shape: int) -> T:
        return T(integers(_seed(seed), np.int8, shape), scale=0.01, zero_point=-9)

    for note, variant in _VARIANTS.items():
        inputs, out, between = quantized_lstm(eight_bits("qx", BATCH, FEATURES), note, **variant)
        case("LSTM", "int8", inputs, [out], intermediates=between, kernel_type=LSTMKernelType.FULL, fused_activation_function=TANH,
             cell_clip=0.0 if note else 0.6, version=3, runs=3, note=note)
    for note, clip, norm_scale, variant in (
        ("proj-clip", 0.5, 3e-5, {"width": OUTPUTS}),
        ("large-norm", 0.0, 3e-4, {"norm": True}),
        ("narrow-peephole", 0.0, 3e-5, {"width": OUTPUTS, "peephole": True}),
    ):
        inputs, out, between = quantized_lstm(eight_bits("qx", BATCH, FEATURES), note, norm_scale=norm_scale, **variant)
        case("LSTM", "int8", inputs, [out], intermediates=between, kernel_type=LSTMKernelType.FULL, fused_activation_function=TANH,
             proj_clip=clip, version=3, runs=2, note=note)
    for major in (False, True):
        shape = (STEPS, BATCH, FEATURES) if major else (BATCH, STEPS, FEATURES)
        for note, variant in (("", {}), ("all", _VARIANTS["all"])):
            inputs, out, between = quantized_lstm(eight_bits("qs", *shape), note, **variant)
            name = "-".join(filter(None, ("time-major" if major else "", note)))
            case("UNIDIRECTIONAL_SEQUENCE_LSTM", "int8", inputs, [out], intermediates=between, fused_activation_function=TANH,
                 time_major=major, cell_clip=0.6, runs=2, note=name)
    for note, scale, variable, results in (
        ("", 1 / 40, True, 1),
        ("state-read", 1 / 40, True, 2),
        ("fed", 1 / 40, False, 2),
        ("fine", 1 / 100, True, 1),
        ("memory-read", 1 / 40, True, 3),
    ):
        inputs, made = basic(note, scale, variable)
        case("LSTM", "uint8", inputs, made, kernel_type=LSTMKernelType.BASIC, fused_activation_function=TANH, version=2, runs=3,
             note=note, results=results)


def basic(seed: str, scale: float, variable: bool) -> tuple[list[T | None], list[T]]:
    """Inputs and outputs of the basic uint8 kernel, its states variables of the model or inputs."""
    generator = _seed("basic", seed)
    scale = float(np.float32(scale))
    fixed = {"scale": 1 / 128, "zero_point": 128}
    memory = {"scale": 2.0**-11, "zero_point": 0}
    x = T(integers(generator, np.uint8, (BATCH, FEATURES)), **fixed)
    h = T(integers(generator, np.uint8, (BATCH, UNITS)), **fixed)
    c = T(generator.integers(-9000, 9000, (BATCH, UNITS)).astype(np.int16), **memory)
    if variable:
        h, c = _state((BATCH, UNITS), "uint8", **fixed), _state((BATCH, UNITS), "int16", **memory)
    shape = (4 * UNITS, FEATURES + UNITS)
    w = T(integers(generator, np.uint8, shape), scale=scale, zero_point=120, const=True)
    b = T(generator.integers(-3000, 3000, 4 * UNITS).astype(np.int32), scale=scale / 128, zero_point=0, const=True)
    outputs = [T(dtype="uint8", shape=(BATCH, UNITS), **fixed), T(dtype="int16", shape=(BATCH, UNITS), **memory)]
    outputs += [T(dtype="uint8", shape=(BATCH, FEATURES + UNITS), **fixed)]
    outputs += [T(dtype="int16", shape=(BATCH, 4 * UNITS), scale=2.0**-12, zero_point=0)]
    return [x, h, w, b, c], outputs


def add(case: AddFunction) -> None:
    """Adds all cases."""
    _floats(case)
    _integers(case)
