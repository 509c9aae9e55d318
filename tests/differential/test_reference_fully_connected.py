"""FULLY_CONNECTED against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import (
    COMPARED,
    T,
    compare,
    examples,
    floats,
    integers,
    quantized,
    rng,
    run_litert,
    run_ours,
    scale,
)
from tests.modelbuilder import ModelBuilder

ATTRIBUTES = dict(
    rows=st.lists(st.integers(1, 3), min_size=1, max_size=3), width=st.integers(1, 40), units=st.integers(1, 7),
    keep=st.booleans(), activation=st.sampled_from([0, 1, 2, 3]), with_bias=st.booleans(), seed=st.integers(0, 2**32),
)


@examples
@given(**ATTRIBUTES)
def test_float(rows, width, units, keep, activation, with_bias, seed):
    generator = rng(seed)
    x, w = T(floats(generator, (*rows, width))), T(floats(generator, (units, width)), const=True)
    b = T(floats(generator, (units,)), const=True) if with_bias else None
    compare("FULLY_CONNECTED", [x, w, b], [T(dtype="float32")], keep_num_dims=keep,
            fused_activation_function=activation)


@pytest.mark.parametrize(
    ("dtype", "weights", "per_channel", "bias_type"),
    [
        (np.int8, "int8", False, np.int32),
        (np.int8, "int8", True, np.int32),
        (np.uint8, "uint8", False, np.int32),
        (np.int16, "int8", False, np.int64),
        (np.int16, "int8", True, np.int64),
        (np.int8, "int4", True, np.int32),
        (np.int8, "int2", True, np.int32),
        (np.int16, "int4", True, np.int64),
        (np.int16, "int16", False, np.int64),
        (np.int16, "int16", True, np.int64),
    ],
)
@examples
@given(**ATTRIBUTES)
def test_integer(dtype, weights, per_channel, bias_type, rows, width, units, keep, activation, with_bias, seed):
    generator = rng(seed)
    x = quantized(generator, dtype, (*rows, width))
    count = units if per_channel else 1
    scales = np.array([scale(generator) for _ in range(count)], np.float32)
    zero = int(generator.integers(0, 256)) if dtype == np.uint8 else 0
    narrow = {"int4": 8, "int2": 2}.get(weights)
    if narrow:
        numbers = generator.integers(-narrow, narrow, (units, width)).astype(np.int8)
    else:
        numbers = integers(generator, np.dtype(weights), (units, width))
    w = T(numbers, dtype=weights, scale=scales, zero_point=[zero] * count, const=True)
    products = np.float32(x.scale) * scales
    bias = T(generator.integers(-3000, 3000, units).astype(bias_type), scale=products, zero_point=[0] * count, const=True)
    limits = np.iinfo(dtype)
    spread = float(products.max()) * 60 * np.sqrt(width) * (256 if dtype == np.int16 else 1)
    y = T(dtype=np.dtype(dtype).name, scale=np.float32(spread * 4 / (limits.max - limits.min)),
          zero_point=0 if dtype == np.int16 else int(generator.integers(limits.min, limits.max)))
    compare("FULLY_CONNECTED", [x, w, bias if with_bias else None], [y], keep_num_dims=keep,
            fused_activation_function=activation)


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@examples
@given(**ATTRIBUTES)
def test_hybrid(weights, asymmetric, per_channel, rows, width, units, keep, activation, with_bias, seed):
    generator = rng(seed)
    count = units if per_channel else 1
    low, high = (-8, 8) if weights == "int4" else (-127, 128)
    numbers = generator.integers(low, high, (units, width)).astype(np.int8)
    w = T(numbers, dtype=weights, scale=[scale(generator) for _ in range(count)], zero_point=[0] * count, const=True)
    b = T(floats(generator, (units,)), const=True) if with_bias else None
    compare("FULLY_CONNECTED", [T(floats(generator, (*rows, width))), w, b], [T(dtype="float32")],
            keep_num_dims=keep, fused_activation_function=activation, asymmetric_quantize_inputs=asymmetric)


@examples
@given(rows=st.integers(1, 3), units=st.integers(1, 7), count=st.integers(1, 4), size=st.sampled_from([32, 64]),
       with_bias=st.booleans(), seed=st.integers(0, 2**32))  # fmt: skip
def test_blockwise(rows, units, count, size, with_bias, seed):
    generator = rng(seed)
    width = count * size
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (rows, width)), builder.tensor("y", "float32", (rows, units))
    scales = np.exp(generator.uniform(-6, -2, (units, count))).astype(np.float16)
    s = builder.tensor("scales", "float16", scales.shape, data=scales)
    numbers = generator.integers(-8, 8, (units, width)).astype(np.int8)
    blocks = {"details": ("BlockwiseQuantization", {"scales": s, "zero_points": -1, "block_size": size})}
    w = builder.tensor("w", "int4", numbers.shape, data=numbers, quantization=blocks)
    b = builder.tensor("b", "float32", (units,), data=floats(generator, (units,))) if with_bias else None
    builder.op("FULLY_CONNECTED", [x, w, b], [y])
    model, values = builder.build([x], [y]), [floats(generator, (rows, width))]
    # The reference resolver of this LiteRT ignores blocks; XNNPACK rounds the scales to bfloat16 and has its own
    # rounding of the input, so that it agrees only roughly.
    want = run_litert(model, values, resolver="BUILTIN")[0]
    magnitudes = np.abs(values[0]) @ (np.abs(numbers).reshape(units, count, size) * scales[..., None]).reshape(units, width).T
    np.testing.assert_array_less(np.abs(run_ours(model, values)[0] - want), 1e-6 + 0.01 * magnitudes)
    COMPARED["FULLY_CONNECTED", "float32,int4 blocks"] += 1
