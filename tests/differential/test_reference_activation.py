"""Activations against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale, zero_point

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)

#: ELU is not in the reference resolver.
FLOAT = ["RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "HARD_SWISH"]


@pytest.mark.parametrize("op", FLOAT)
@examples
@given(shape=SHAPES, seed=SEED)
def test_float(op, shape, seed):
    compare(op, [T(floats(rng(seed), shape))], [T(dtype="float32")])


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_elu_beside_the_optimised_kernel(dtype, shape, seed):
    generator = rng(seed)
    x, y = T(floats(generator, shape)), T(dtype="float32")
    if dtype == "int8":
        x = quantized(generator, np.int8, shape)
        y = T(dtype="int8", scale=scale(generator), zero_point=zero_point(generator, np.int8))
    compare("ELU", [x], [y], rel=2e-6, slack=2e-7, resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("op", ["RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(shape=SHAPES, seed=SEED)
def test_quantized(op, dtype, shape, seed):
    if dtype == np.int16 and op not in ("RELU", "RELU6"):
        pytest.skip("the reference has no such kernel")
    generator = rng(seed)
    x = quantized(generator, dtype, shape)
    y = T(dtype=np.dtype(dtype).name, scale=scale(generator), zero_point=zero_point(generator, dtype))
    if op == "HARD_SWISH":
        y.scale = max(y.scale, x.scale / 100)
    compare(op, [x], [y], version=3 if op in ("RELU", "RELU6") else 1)


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@examples
@given(shape=SHAPES, seed=SEED)
def test_sigmoids_8bit(op, dtype, shape, seed):
    x = quantized(rng(seed), dtype, shape)
    low = np.iinfo(dtype).min
    parameters = (1 / 256, low) if op == "LOGISTIC" else (1 / 128, low + 128)
    compare(op, [x], [T(dtype=np.dtype(dtype).name, scale=parameters[0], zero_point=parameters[1])])


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("scale_in", [1 / 128, 1 / 32, 0.05])
def test_sigmoids_8bit_everywhere(op, dtype, scale_in):
    """All 256 values: at 1/128 a result of the sigmoid lies next to a half."""
    low = np.iinfo(dtype).min
    x = T(np.arange(low, low + 256).astype(dtype), scale=scale_in, zero_point=low + 128)
    parameters = (1 / 256, low) if op == "LOGISTIC" else (1 / 128, low + 128)
    compare(op, [x], [T(dtype=np.dtype(dtype).name, scale=parameters[0], zero_point=parameters[1])])


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
@examples
@given(shape=SHAPES, power=st.booleans(), seed=SEED)
def test_sigmoids_16bit(op, shape, power, seed):
    generator = rng(seed)
    x_scale = 2.0 ** -int(generator.integers(11, 14)) if power else scale(generator, 1e-5, 2e-3)
    x = T(integers(generator, np.int16, shape), scale=x_scale, zero_point=0)
    compare(op, [x], [T(dtype="int16", scale=1 / 32768, zero_point=0)], version=3)


@pytest.mark.parametrize(
    ("op", "options"), [("LOGISTIC", {}), ("TANH", {}), ("GELU", {"approximate": False}), ("GELU", {"approximate": True})]
)
@examples
@given(shape=SHAPES, seed=SEED)
def test_float16(op, options, shape, seed):
    """To the bit: GELU rounds every step to float16, the others are computed in float32."""
    values = (floats(rng(seed), shape)).astype(np.float16)
    compare(op, [T(values)], [T(dtype="float16")], rel=0, ulps=0, **options)


@pytest.mark.parametrize("approximate", [False, True])
@examples
@given(shape=SHAPES, seed=SEED)
def test_gelu_float(approximate, shape, seed):
    # Eigen's erfc and tanh are good to a few units in the last place of one, not of the product.
    compare("GELU", [T(floats(rng(seed), shape))], [T(dtype="float32")], slack=1e-6, approximate=approximate)


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@examples
@given(shape=SHAPES, seed=SEED)
def test_gelu_quantized(approximate, dtype, shape, seed):
    generator = rng(seed)
    y = T(dtype=np.dtype(dtype).name, scale=scale(generator), zero_point=zero_point(generator, dtype))
    compare("GELU", [quantized(generator, dtype, shape)], [y], version=2, approximate=approximate)


@examples
@given(shape=SHAPES, alpha=st.sampled_from([0.1, 0.25, 1.5, 0.01]), seed=SEED)
def test_leaky_relu_float(shape, alpha, seed):
    compare("LEAKY_RELU", [T(floats(rng(seed), shape))], [T(dtype="float32")], alpha=alpha)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(shape=SHAPES, alpha=st.sampled_from([0.1, 0.25, 1.5, 0.01]), seed=SEED)
def test_leaky_relu_quantized(dtype, shape, alpha, seed):
    generator = rng(seed)
    y = T(dtype=np.dtype(dtype).name, scale=scale(generator), zero_point=zero_point(generator, dtype))
    compare("LEAKY_RELU", [quantized(generator, dtype, shape)], [y], version=2, alpha=alpha)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple), shared=st.integers(0, 3), seed=SEED)
def test_prelu(dtype, shape, shared, seed):
    generator = rng(seed)
    alpha_shape = tuple(1 if axis < shared else size for axis, size in enumerate(shape[1:]))
    if dtype == np.float32:
        inputs, y = [T(floats(generator, shape)), T(floats(generator, alpha_shape), const=True)], T(dtype="float32")
    else:
        kind = np.int8 if dtype == np.int16 else dtype
        inputs = [quantized(generator, dtype, shape), quantized(generator, kind, alpha_shape, const=True)]
        y = T(dtype=np.dtype(dtype).name, scale=scale(generator), zero_point=zero_point(generator, dtype))
    compare("PRELU", inputs, [y])
