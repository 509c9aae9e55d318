"""RFFT2D, AudioSpectrogram, Mfcc and NumericVerify against LiteRT."""

from __future__ import annotations

import numpy as np
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, quantized, rng

SEED = st.integers(0, 2**32)


@examples
@given(batch=st.lists(st.integers(1, 3), max_size=2), height=st.integers(1, 9), width=st.integers(1, 9),
       rows=st.sampled_from([1, 2, 4, 8]), columns=st.sampled_from([2, 4, 8, 16]), const=st.booleans(), seed=SEED)  # fmt: skip
def test_rfft2d(batch, height, width, rows, columns, const, seed):
    values = floats(rng(seed), (*batch, height, width))
    sizes = T(np.asarray([rows, columns], np.int32), const=const)
    slack = 1e-6 * float(np.abs(values).sum())
    compare("RFFT2D", [T(values), sizes], [T(dtype="complex64", shape=(*batch, rows, columns // 2 + 1))], slack=slack)


@examples
@given(samples=st.integers(1, 80), channels=st.integers(1, 2), window=st.integers(2, 20), stride=st.integers(1, 9),
       squared=st.booleans(), seed=SEED)  # fmt: skip
def test_spectrogram(samples, channels, window, stride, squared, seed):
    values = floats(rng(seed), (samples, channels), 0.5)
    length = 1 << (window - 1).bit_length()
    count = max(0, (samples - window) // stride + 1)
    options = flexbuffers.Dumps({"window_size": window, "stride": stride, "magnitude_squared": squared})
    compare("AudioSpectrogram", [T(values)], [T(shape=(channels, count, length // 2 + 1))], custom=bytes(options),
            rel=1e-5, slack=1e-5)  # fmt: skip


@examples
@given(bins=st.sampled_from([33, 65, 129]), windows=st.integers(1, 3), bands=st.integers(2, 24), rate=st.sampled_from([8000, 16000]),
       low=st.integers(0, 300), high=st.integers(1000, 3900), coefficients=st.integers(1, 13), seed=SEED)  # fmt: skip
def test_mfcc(bins, windows, bands, rate, low, high, coefficients, seed):
    values = np.square(floats(rng(seed), (1, windows, bins)))
    coefficients = min(bands, coefficients)
    options = flexbuffers.Dumps({"upper_frequency_limit": high, "lower_frequency_limit": low,
                                 "filterbank_channel_count": bands, "dct_coefficient_count": coefficients})  # fmt: skip
    tensors = [T(values), T(np.asarray([rate], np.int32), const=True)]
    compare("Mfcc", tensors, [T(shape=(1, windows, coefficients))], custom=bytes(options), rel=1e-5, slack=2e-5)


@examples
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=3), dtype=st.sampled_from(["int8", "uint8", "int16"]), seed=SEED)
def test_numeric_verify(shape, dtype, seed):
    generator = rng(seed)
    options = flexbuffers.Dumps({"tolerance": 0.05, "log_if_failed": True})
    compare("NumericVerify", [quantized(generator, dtype, shape), T(floats(generator, shape))], [T(shape=shape)],
            custom=bytes(options))  # fmt: skip
