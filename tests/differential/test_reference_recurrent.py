"""RNN and SVDF operators against LiteRT's kernels, several runs with the state kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, quantized, rng, scale

SEED = st.integers(0, 2**32)
SIZES = dict(batch=st.integers(1, 3), width=st.integers(1, 5), units=st.integers(1, 5))


def weights(generator, shape, hybrid):
    if not hybrid:
        return T(floats(generator, shape, 0.7), const=True)
    numbers = generator.integers(-127, 128, shape).astype(np.int8)
    return T(numbers, scale=scale(generator, 0.002, 0.01), zero_point=0, const=True)


def layer(generator, batch, width, units, hybrid):
    """Input weights, recurrent weights, bias, state."""
    return [
        weights(generator, (units, width), hybrid),
        weights(generator, (units, units), hybrid),
        T(floats(generator, (units,)), const=True),
        T(dtype="float32", shape=(batch, units), variable=True),
    ]


@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, runs=st.integers(1, 3), activation=st.sampled_from([0, 1, 4]), seed=SEED)
def test_rnn(hybrid, batch, width, units, runs, activation, seed):
    generator = rng(seed)
    inputs = [T(floats(generator, (batch, width), 1.0)), *layer(generator, batch, width, units, hybrid != "float")]
    compare("RNN", inputs, [T(dtype="float32")], runs=runs, fused_activation_function=activation,
            asymmetric_quantize_inputs=hybrid == "asymmetric", version=3 if hybrid == "asymmetric" else 2)


@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, time=st.integers(1, 4), major=st.booleans(), seed=SEED)
def test_sequence_rnn(hybrid, batch, width, units, time, major, seed):
    generator = rng(seed)
    shape = (time, batch, width) if major else (batch, time, width)
    inputs = [T(floats(generator, shape, 1.0)), *layer(generator, batch, width, units, hybrid != "float")]
    compare("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [T(dtype="float32")], runs=2, time_major=major,
            fused_activation_function=4, asymmetric_quantize_inputs=hybrid == "asymmetric", version=3)


@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, time=st.integers(1, 4), major=st.booleans(), merge=st.booleans(), extra=st.sampled_from(["no", "linked", "input"]),
       seed=SEED)
def test_bidirectional_rnn(hybrid, batch, width, units, time, major, merge, extra, seed):
    generator = rng(seed)
    eight_bit = hybrid != "float"
    # LiteRT gives the backward layer of batch-major sequences the first input, and runs hybrid time-major ones `time` times
    major = major or extra == "input"
    time = 1 if eight_bit and major else time
    batch = 1 if eight_bit and merge else batch  # there LiteRT reads past its scales
    shape = (time, batch, width) if major else (batch, time, width)
    inputs = [T(floats(generator, shape, 1.0)), *layer(generator, batch, width, units, eight_bit),
              *layer(generator, batch, width, units, eight_bit)]
    if extra == "no":
        inputs += [None, None, None]
    else:
        inputs.append(T(floats(generator, shape, 1.0)))
        linked = extra == "linked"
        inputs += [weights(generator, (units, width), eight_bit) if linked else None for _ in range(2)]
    outputs = [T(dtype="float32") for _ in range(1 if merge else 2)]
    compare("BIDIRECTIONAL_SEQUENCE_RNN", inputs, outputs, runs=2, time_major=major, merge_outputs=merge,
            fused_activation_function=4, asymmetric_quantize_inputs=hybrid == "asymmetric", version=3)


@pytest.mark.parametrize("hybrid", ["float", "symmetric", "asymmetric"])
@examples
@given(**SIZES, rank=st.integers(1, 2), memory=st.integers(1, 4), bias=st.booleans(), seed=SEED)
def test_svdf(hybrid, batch, width, units, rank, memory, bias, seed):
    generator = rng(seed)
    eight_bit = hybrid != "float"
    inputs = [
        T(floats(generator, (batch, width), 1.0)),
        weights(generator, (units * rank, width), eight_bit),
        weights(generator, (units * rank, memory), eight_bit),
        T(floats(generator, (units,)), const=True) if bias else None,
        T(dtype="float32", shape=(batch, memory * units * rank), variable=True),
    ]
    compare("SVDF", inputs, [T(dtype="float32")], runs=3, rank=rank, fused_activation_function=1,
            asymmetric_quantize_inputs=hybrid == "asymmetric", version=4)


@examples
@given(**SIZES, rank=st.integers(1, 2), memory=st.integers(1, 4), seed=SEED)
def test_integer_svdf(batch, width, units, rank, memory, seed):
    generator = rng(seed)
    x = quantized(generator, np.int8, (batch, width))
    features = T(generator.integers(-127, 128, (units * rank, width)).astype(np.int8), scale=0.01, zero_point=0, const=True)
    times = T(generator.integers(-32767, 32768, (units * rank, memory)).astype(np.int16), scale=1e-4, zero_point=0, const=True)
    state = T(dtype="int16", shape=(batch, memory * units * rank), scale=x.scale * 0.01 * 2, zero_point=0, variable=True)
    bias = T(generator.integers(-3000, 3000, units).astype(np.int32), scale=state.scale * 1e-4, zero_point=0, const=True)
    y = T(dtype="int8", scale=state.scale * 1e-4 * 2e6, zero_point=int(generator.integers(-20, 20)))
    compare("SVDF", [x, features, times, bias, state], [y], runs=3, rank=rank, fused_activation_function=1, version=3)
