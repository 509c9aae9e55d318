"""LSTM operators against LiteRT's kernels, several runs with the states kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng, scale

SEED = st.integers(0, 2**32)
SIZES = dict(batch=st.integers(1, 3), time=st.integers(1, 4), width=st.integers(1, 4), cells=st.integers(1, 4),
             units=st.integers(1, 4))
FORMS = dict(coupled=st.booleans(), peephole=st.booleans(), projection=st.booleans(), norm=st.booleans(), clip=st.booleans())
SLACK = 2e-5


def matrix(generator, shape, hybrid):
    if not hybrid:
        return T(floats(generator, shape, 0.5), const=True)
    numbers = generator.integers(-127, 128, shape).astype(np.int8)
    return T(numbers, scale=scale(generator, 0.002, 0.01), zero_point=0, const=True)


def body(generator, width, cells, units, hybrid, coupled, peephole, projection):
    """The 17 weights and biases of one direction, in TFLite's order."""
    inputs = [matrix(generator, (cells, width), hybrid) for _ in range(4)]
    inputs += [matrix(generator, (cells, units), hybrid) for _ in range(4)]
    inputs += [matrix(generator, (cells,), hybrid) if peephole else None for _ in range(3)]
    inputs += [T(floats(generator, (cells,)), const=True) for _ in range(4)]
    inputs += [matrix(generator, (units, cells), hybrid) if projection else None,
               T(floats(generator, (units,)), const=True) if projection else None]
    if coupled:
        inputs[0] = inputs[4] = inputs[8] = inputs[11] = None
    return inputs


def states(batch, cells, units):
    return [T(dtype="float32", shape=(batch, units), variable=True), T(dtype="float32", shape=(batch, cells), variable=True)]


@pytest.mark.parametrize("op", ["UNIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"])
@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, **FORMS, major=st.booleans(), seed=SEED)
def test_lstm(op, hybrid, batch, time, width, cells, units, coupled, peephole, projection, norm, clip, major, seed):
    generator = rng(seed)
    units = units if projection else cells
    shape = (batch, width) if op == "LSTM" else (time, batch, width) if major else (batch, time, width)
    inputs = [T(floats(generator, shape, 1.0)),
              *body(generator, width, cells, units, hybrid != "float", coupled, peephole, projection),
              *states(batch, cells, units)]
    if norm:
        inputs += [None if coupled and i == 0 else T(floats(generator, (cells,), 1.0), const=True) for i in range(4)]
    options = {"time_major": major} if op != "LSTM" else {}
    compare(op, inputs, [T(dtype="float32")], slack=SLACK * (10 if norm else 1), runs=2, fused_activation_function=4,
            cell_clip=0.8 if clip else 0.0, proj_clip=0.5 if clip else 0.0, version=4 if op == "LSTM" else 3,
            asymmetric_quantize_inputs=hybrid == "asymmetric", **options)


@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, coupled=st.booleans(), peephole=st.booleans(), projection=st.booleans(), major=st.booleans(),
       merge=st.booleans(), extra=st.sampled_from(["no", "linked", "input"]), seed=SEED)
def test_bidirectional_lstm(
    hybrid, batch, time, width, cells, units, coupled, peephole, projection, major, merge, extra, seed
):
    generator = rng(seed)
    units = units if projection else cells
    batch = 1 if merge and not major else batch  # LiteRT steps over the merged outputs to find the states of the others
    shape = (time, batch, width) if major else (batch, time, width)
    eight_bit = hybrid != "float"
    inputs = [T(floats(generator, shape, 1.0))]
    for _ in range(2):
        inputs += body(generator, width, cells, units, eight_bit, coupled, peephole, projection)
    inputs += states(batch, cells, units) * 2
    inputs.append(None if extra == "no" else T(floats(generator, shape, 1.0)))
    for _ in range(2):
        for gate in range(4):
            given_ = extra == "linked" and not (coupled and gate == 0)
            inputs.append(matrix(generator, (cells, width), eight_bit) if given_ else None)
    compare("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, [T(dtype="float32") for _ in range(1 if merge else 2)], slack=SLACK,
            runs=2, time_major=major, merge_outputs=merge, fused_activation_function=4,
            asymmetric_quantize_inputs=hybrid == "asymmetric", version=3)


@examples
@given(**SIZES, **FORMS, major=st.booleans(), seed=SEED)
def test_integer_lstm(batch, time, width, cells, units, coupled, peephole, projection, norm, clip, major, seed):
    generator = rng(seed)
    units = units if projection else cells
    peephole = peephole and units == cells  # the reference takes the output's size for the peephole's
    norm = norm and cells in (1, 2, 4)  # the reference says itself that other sizes are off
    shape = (time, batch, width) if major else (batch, time, width)

    def eight(size):
        return T(generator.integers(-127, 128, size).astype(np.int8), scale=scale(generator, 0.002, 0.02), zero_point=0,
                 const=True)

    x = T(integers(generator, np.int8, shape), scale=scale(generator, 0.005, 0.02), zero_point=int(generator.integers(-20, 20)))
    inputs = [x, *[eight((cells, width)) for _ in range(4)], *[eight((cells, units)) for _ in range(4)]]
    inputs += [T(generator.integers(-32767, 32768, cells).astype(np.int16), scale=3e-5, zero_point=0, const=True)
               if peephole else None for _ in range(3)]
    inputs += [T(generator.integers(-2000, 2000, cells).astype(np.int32), scale=x.scale * 0.01, zero_point=0, const=True)
               for _ in range(4)]
    inputs += [eight((units, cells)) if projection else None,
               T(generator.integers(-500, 500, units).astype(np.int32), scale=1e-4, zero_point=0, const=True)
               if projection else None]
    state_zero = int(generator.integers(-10, 10))
    inputs += [T(dtype="int8", shape=(batch, units), scale=0.008, zero_point=state_zero, variable=True),
               T(dtype="int16", shape=(batch, cells), scale=2.0**-11, zero_point=0, variable=True)]
    if norm:
        inputs += [None if coupled and i == 0 else
                   T(generator.integers(-32767, 32768, cells).astype(np.int16), scale=3e-5, zero_point=0, const=True)
                   for i in range(4)]
    if coupled:
        inputs[1] = inputs[5] = inputs[9] = inputs[12] = None
    inner = [T(dtype="int16", scale=2.0**-12, zero_point=0) for _ in range(4)]
    hidden = T(dtype="int8", scale=0.008, zero_point=state_zero if not projection else int(generator.integers(-10, 10)))
    compare("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [T(dtype="int8", scale=0.008, zero_point=state_zero)], runs=2,
            intermediates=[*inner, hidden], time_major=major, fused_activation_function=4, version=3,
            cell_clip=3.0 if clip else 0.0, proj_clip=0.5 if clip else 0.0)


@examples
@given(batch=st.integers(1, 3), width=st.integers(1, 6), depth=st.integers(1, 4), seed=SEED)
def test_basic_float(batch, width, depth, seed):
    generator = rng(seed)
    inputs = [T(floats(generator, (batch, width), 1.0)), T(floats(generator, (batch, depth), 1.0)),
              T(floats(generator, (4 * depth, width + depth), 0.5), const=True), T(floats(generator, (4 * depth,)), const=True),
              T(floats(generator, (batch, depth), 1.0))]
    compare("LSTM", inputs, [T(dtype="float32") for _ in range(4)], slack=1e-5, kernel_type=1, version=2,
            fused_activation_function=4)


@examples
@given(batch=st.integers(1, 2), width=st.integers(1, 4).map(lambda n: 8 * n), depth=st.integers(1, 3).map(lambda n: 8 * n), seed=SEED)
def test_basic_uint8(batch, width, depth, seed):
    generator = rng(seed)
    inputs = [
        T(integers(generator, np.uint8, (batch, width)), scale=1 / 128, zero_point=128),
        T(integers(generator, np.uint8, (batch, depth)), scale=1 / 128, zero_point=128),
        T(integers(generator, np.uint8, (4 * depth, width + depth)), scale=0.004, zero_point=120, const=True),
        T(generator.integers(-5000, 5000, 4 * depth).astype(np.int32), scale=0.004 / 128, zero_point=0, const=True),
        T(generator.integers(-9000, 9000, (batch, depth)).astype(np.int16), scale=2.0**-11, zero_point=0),
    ]
    outputs = [T(dtype="uint8", scale=1 / 128, zero_point=128), T(dtype="int16", scale=2.0**-11, zero_point=0),
               T(dtype="uint8", scale=1 / 128, zero_point=128), T(dtype="int16", scale=2.0**-12, zero_point=0)]
    compare("LSTM", inputs, outputs, kernel_type=1, version=2, fused_activation_function=4)
