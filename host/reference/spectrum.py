"""RFFT2D and the custom operators AudioSpectrogram and Mfcc. Semantics: LiteRT's reference kernels, in double inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    check_shape,
    custom_op,
    fail,
    kernel,
    operand,
    require_type,
)
from nnapi_toolkit.reference.custom import flexbuffer
from numpy.typing import NDArray


@kernel("RFFT2D")
def rfft2d(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The Fourier transform of the last two axes, cut or filled up with zeros to the lengths in input 1; complex64."""
    values, lengths = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "fft_length")
    require_type(node, values, "type of input 0", np.float32)
    require_type(node, lengths, "type of input 1 (fft_length)", np.int32)
    if values.ndim < 2:
        fail(node, "rank of input 0", values.ndim, "2 or more")
    sizes = [int(length) for length in lengths.reshape(-1)]
    if len(sizes) != 2 or any(size < 1 or size & (size - 1) for size in sizes):
        fail(node, "input 1 (fft_length)", sizes, "two powers of two")
    height, width = sizes
    check_shape(node, (*values.shape[:-2], height, width // 2 + 1))
    return [np.fft.rfft2(values.astype(np.float64), (height, width)).astype(np.complex64)]


def _number(node: Node, options: dict[str, Any], name: str, least: int) -> int:
    value = options.get(name, 0)
    if not isinstance(value, int | float) or value < least:
        fail(node, name, value, f"{least} or more")
    return int(value)


@custom_op("AudioSpectrogram")
def audio_spectrogram(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Squared magnitudes (or magnitudes) of windows of the samples [samples, channels] under a periodic Hann window.

    Result: [channels, windows, frequencies]; the transform's length is the next power of two.

    float32.
    """
    values, options = operand(node, inputs, 0, "input"), flexbuffer(node)
    require_type(node, values, "type of input 0", np.float32)
    if values.ndim != 2:
        fail(node, "rank of input 0", values.ndim, "2")
    size, stride = _number(node, options, "window_size", 2), _number(node, options, "stride", 1)
    length = 1 << (size - 1).bit_length()
    count = max(0, (values.shape[0] - size) // stride + 1)
    shape = check_shape(node, (values.shape[1], count, length // 2 + 1))
    if not count:
        return [np.zeros(shape, np.float32)]
    window = 0.5 - 0.5 * np.cos(2 * math.pi * np.arange(size) / size)
    frames = np.lib.stride_tricks.sliding_window_view(values.T.astype(np.float64), size, axis=1)[:, ::stride]
    spectrum = np.fft.rfft(frames * window, length)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return [power if options.get("magnitude_squared") else np.sqrt(power)]


def _mel(frequency: NDArray[np.float64] | float) -> Any:
    return 1127.0 * np.log1p(np.asarray(frequency) / 700.0)


def _filterbank(channels: int, bins: int, rate: int, low: float, high: float) -> NDArray[np.float64]:
    """Weights [bins, channels] of triangles on the mel scale, without the constant part of the spectrum."""
    mel_low = float(_mel(low))
    centers = mel_low + (float(_mel(high)) - mel_low) / (channels + 1) * np.arange(1, channels + 2)
    per_bin = 0.5 * rate / (bins - 1)
    begin, end = int(1.5 + low / per_bin), int(high / per_bin)
    bank = np.zeros((bins, channels + 1))
    for at in range(begin, min(end, bins - 1) + 1):
        mel = float(_mel(at * per_bin))
        channel = min(int(np.searchsorted(centers, mel)), channels) - 1
        left = centers[channel] if channel >= 0 else mel_low
        weight = (centers[channel + 1] - mel) / (centers[channel + 1] - left)
        if channel >= 0:
            bank[at, channel] += weight
        bank[at, channel + 1] += 1 - weight
    return bank[:, :channels]


@custom_op("Mfcc")
def mfcc(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Cosine transform of the logarithms of mel bands of a squared-magnitude spectrogram [channels, windows, bins].

    float32; the second input holds the sampling rate (int32).
    """
    values, rates, options = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "rate"), flexbuffer(node)
    require_type(node, values, "type of input 0", np.float32)
    if values.ndim != 3 or values.shape[2] < 2:
        fail(node, "shape of input 0", list(values.shape), "[channels, windows, 2 or more bins]")
    rate = int(rates.reshape(-1)[0])
    low, high = _number(node, options, "lower_frequency_limit", 0), _number(node, options, "upper_frequency_limit", 0)
    bands = _number(node, options, "filterbank_channel_count", 1)
    count = _number(node, options, "dct_coefficient_count", 1)
    if rate < 1:
        fail(node, "input 1 (rate)", rate, "1 or more")
    if high <= low:
        fail(node, "upper_frequency_limit", high, f"more than lower_frequency_limit ({low})")
    if count > bands:
        fail(node, "dct_coefficient_count", count, f"at most filterbank_channel_count ({bands})")
    if 2 * high * (values.shape[2] - 1) >= rate * values.shape[2]:
        fail(node, "upper_frequency_limit", high, f"inside the spectrum of {values.shape[2]} bins at rate {rate}")
    bank = _filterbank(bands, values.shape[2], rate, low, high)
    energy = np.sqrt(values.astype(np.float64)) @ bank
    angles = np.arange(count)[:, None] * (math.pi / bands) * (np.arange(bands) + 0.5)
    cosines = math.sqrt(2 / bands) * np.cos(angles)
    return [(np.log(np.maximum(energy, 1e-12)) @ cosines.T).astype(np.float32)]
