"""QUANTIZE, DEQUANTIZE, CAST, FAKE_QUANT, BITCAST against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale, zero_point

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("out", ["int8", "uint8", "int16"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_quantize(out, shape, seed):
    generator = rng(seed)
    y = T(dtype=out, scale=scale(generator), zero_point=zero_point(generator, np.dtype(out)))
    compare("QUANTIZE", [T(floats(generator, shape))], [y], version=2)


@pytest.mark.parametrize("out", ["int8", "uint8", "int16"])
@examples
@given(shape=SHAPES, dimension=st.integers(0, 3), seed=SEED)
def test_quantize_per_channel(out, shape, dimension, seed):
    generator = rng(seed)
    dimension %= len(shape)
    count = shape[dimension]
    y = T(dtype=out, shape=shape, scale=[scale(generator) for _ in range(count)],
          zero_point=[zero_point(generator, np.dtype(out)) for _ in range(count)], dimension=dimension)
    compare("QUANTIZE", [T(floats(generator, shape))], [y], version=3)


@pytest.mark.parametrize(
    ("dtype", "out"),
    [(np.int8, "int8"), (np.int8, "uint8"), (np.uint8, "int8"), (np.uint8, "uint8"), (np.int8, "int16"),
     (np.uint8, "int16"), (np.int16, "int8"), (np.int16, "int16"), (np.int32, "int8"), (np.int32, "int16"),
     (np.int16, "int32")],
)
@examples
@given(shape=SHAPES, seed=SEED)
def test_requantize(dtype, out, shape, seed):
    generator = rng(seed)
    x = quantized(generator, dtype, shape)
    if dtype == np.int32:
        x.data = generator.integers(-(2**20), 2**20, shape).astype(dtype)
    y = T(dtype=out, scale=scale(generator), zero_point=zero_point(generator, np.dtype(out)))
    compare("QUANTIZE", [x], [y], version=2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("const", [False, True])
@examples
@given(shape=SHAPES, seed=SEED)
def test_dequantize(dtype, const, shape, seed):
    compare("DEQUANTIZE", [quantized(rng(seed), dtype, shape, const=const), None][:1], [T(dtype="float32")],
            ulps=0, rel=0, version=2)


@examples
@given(shape=SHAPES, seed=SEED)
def test_dequantize_float16(shape, seed):
    x = T(floats(rng(seed), shape).astype(np.float16))
    compare("DEQUANTIZE", [x], [T(dtype="float32")], ulps=0, rel=0, version=3)


@examples
@given(shape=SHAPES, seed=SEED)
def test_dequantize_int4(shape, seed):
    generator = rng(seed)
    x = T(generator.integers(-8, 8, shape).astype(np.int8), dtype="int4", scale=scale(generator), zero_point=1, const=True)
    compare("DEQUANTIZE", [x], [T(dtype="float32")], ulps=0, rel=0, version=6)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@examples
@given(shape=SHAPES, dimension=st.integers(0, 3), seed=SEED)
def test_dequantize_per_channel(dtype, shape, dimension, seed):
    generator = rng(seed)
    dimension %= len(shape)
    count = shape[dimension]
    x = T(integers(generator, dtype, shape), scale=[scale(generator) for _ in range(count)],
          zero_point=[zero_point(generator, dtype) for _ in range(count)], dimension=dimension)
    compare("DEQUANTIZE", [x], [T(dtype="float32")], ulps=0, rel=0, version=5)


NUMBERS = ["float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "bool", "complex64"]


@pytest.mark.parametrize("source", NUMBERS)
@pytest.mark.parametrize("target", NUMBERS)
@examples
@given(shape=SHAPES, seed=SEED)
def test_cast(source, target, shape, seed):
    generator = rng(seed)
    kind = np.dtype(source).kind
    if kind in "fc":
        values = floats(generator, shape, 40.0)
        values = np.abs(values) if np.dtype(target).kind == "u" else values
        values = np.clip(values, -120, 120).astype(source)
    elif kind == "b":
        values = generator.random(shape) < 0.5
    else:
        values = generator.integers(0 if kind == "u" else -99, 99, shape).astype(source)
    compare("CAST", [T(values)], [T(dtype=target)], ulps=0, rel=0, version=7)


@examples
@given(shape=SHAPES, bits=st.sampled_from([8, 4, 16]), seed=SEED)
def test_fake_quant(shape, bits, seed):
    generator = rng(seed)
    low, high = -float(generator.uniform(0.5, 4)), float(generator.uniform(0.5, 4))
    compare("FAKE_QUANT", [T(floats(generator, shape))], [T(dtype="float32")], min=low, max=high, num_bits=bits, version=2)


@pytest.mark.parametrize(("source", "target"), [("int32", "float32"), ("float32", "int32"), ("int32", "int16"),
                                               ("int16", "int32"), ("uint8", "int8"), ("int64", "int8"), ("int8", "int64")])
@examples
@given(shape=SHAPES, seed=SEED)
def test_bitcast(source, target, shape, seed):
    ratio = np.dtype(target).itemsize // np.dtype(source).itemsize
    shape = (*shape[:-1], ratio) if ratio > 1 else shape
    values = integers(rng(seed), np.int32 if source == "float32" else np.dtype(source), shape)
    values = values.astype(np.float32) if source == "float32" else values
    out = shape[:-1] if ratio > 1 else shape if ratio == 1 else (*shape, np.dtype(source).itemsize // np.dtype(target).itemsize)
    model_shape = T(dtype=target, shape=out)
    compare("BITCAST", [T(values)], [model_shape])
