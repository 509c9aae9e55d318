"""Convolutions against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
KERNELS = st.tuples(st.integers(1, 4), st.integers(1, 4))
STEPS = st.tuples(st.integers(1, 3), st.integers(1, 3))
ATTRIBUTES = dict(
    shape=SHAPES, kernel=KERNELS, stride=STEPS, dilation=STEPS, same=st.booleans(), activation=st.sampled_from([0, 1, 2, 3]),
    seed=st.integers(0, 2**32),
)


def options(shape, kernel, stride, dilation, same, activation):
    """The options of a convolution; VALID only where the window fits."""
    fits = all((k - 1) * d < size for k, d, size in zip(kernel, dilation, shape[1:3]))
    return dict(
        stride_h=stride[0], stride_w=stride[1], dilation_h_factor=dilation[0], dilation_w_factor=dilation[1],
        padding=0 if same or not fits else 1, fused_activation_function=activation,
    )


def integer_case(generator, dtype, weight_type, shape, kernel, groups, out, per_channel, bias_type, op):
    """Input, filter, bias and output of an integer convolution; the output's scale fits the sums."""
    x = quantized(generator, dtype, shape)
    channels = out * groups
    depthwise = op == "DEPTHWISE_CONV_2D"
    depth = shape[3] // groups
    filter_shape = (1, *kernel, shape[3] * out) if depthwise else (channels, *kernel, depth)
    channels = filter_shape[3] if depthwise else channels
    count = channels if per_channel else 1
    scales = np.array([scale(generator) for _ in range(count)], np.float32)
    zero = 0 if dtype != np.uint8 else int(generator.integers(0, 256))
    dimension = 3 if depthwise else 0
    if weight_type == "int4":
        weights = generator.integers(-8, 8, filter_shape).astype(np.int8)
    else:
        weights = integers(generator, np.dtype(weight_type), filter_shape)
    w = T(weights, dtype=weight_type, scale=scales, zero_point=[zero] * count, dimension=dimension, const=True)
    products = np.float32(x.scale) * scales
    bias = generator.integers(-3000, 3000, channels).astype(bias_type)
    b = T(bias, scale=products, zero_point=[0] * count, const=True)
    spread = float(products.max()) * 60 * np.sqrt(np.prod(kernel) * depth) * (256 if dtype == np.int16 else 1)
    limits = np.iinfo(dtype)
    target = T(dtype=np.dtype(dtype).name, scale=np.float32(spread * 4 / (limits.max - limits.min)),
               zero_point=0 if dtype == np.int16 else int(generator.integers(limits.min, limits.max)))
    return [x, w, b], [target]


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@examples
@given(**ATTRIBUTES, out=st.integers(1, 4), grouped=st.booleans())
def test_float(op, shape, kernel, stride, dilation, same, activation, seed, out, grouped):
    generator = rng(seed)
    groups = shape[3] if grouped else 1
    x = T(floats(generator, shape))
    if op == "DEPTHWISE_CONV_2D":
        filter_shape, more = (1, *kernel, shape[3] * out), {"depth_multiplier": out}
    else:
        filter_shape, more = (out * groups, *kernel, shape[3] // groups), {}
    w = T(floats(generator, filter_shape), const=True)
    channels = filter_shape[3] if op == "DEPTHWISE_CONV_2D" else filter_shape[0]
    b = T(floats(generator, (channels,)), const=True)
    compare(op, [x, w, b], [T(dtype="float32")], **more,
            **options(shape, kernel, stride, dilation, same, activation))


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize(
    ("dtype", "weights", "per_channel", "bias"),
    [
        (np.int8, "int8", True, np.int32),
        (np.int8, "int8", False, np.int32),
        (np.uint8, "uint8", False, np.int32),
        (np.int16, "int8", True, np.int64),
        (np.int8, "int4", True, np.int32),
    ],
)
@examples
@given(**ATTRIBUTES, out=st.integers(1, 4), grouped=st.booleans())
def test_integer(
    op, dtype, weights, per_channel, bias, shape, kernel, stride, dilation, same, activation, seed, out, grouped
):
    generator = rng(seed)
    depthwise = op == "DEPTHWISE_CONV_2D"
    groups = shape[3] if grouped and not depthwise else 1
    inputs, outputs = integer_case(generator, dtype, weights, shape, kernel, groups, out, per_channel, bias, op)
    more = {"depth_multiplier": out} if depthwise else {}
    compare(op, inputs, outputs, **more, **options(shape, kernel, stride, dilation, same, activation))


@examples
@given(**ATTRIBUTES, out=st.integers(1, 4))
def test_int16_with_int32_bias(shape, kernel, stride, dilation, same, activation, seed, out):
    generator = rng(seed)
    inputs, outputs = integer_case(generator, np.int16, "int8", shape, kernel, 1, out, True, np.int32, "CONV_2D")
    compare("CONV_2D", inputs, outputs, quantized_bias_type=2, version=8,
            **options(shape, kernel, stride, dilation, same, activation))


@pytest.mark.parametrize("op", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("per_channel", [True, False])
@examples
@given(**ATTRIBUTES, out=st.integers(1, 4))
def test_hybrid(op, per_channel, shape, kernel, stride, dilation, same, activation, seed, out):
    generator = rng(seed)
    depthwise = op == "DEPTHWISE_CONV_2D"
    filter_shape = (1, *kernel, shape[3] * out) if depthwise else (out, *kernel, shape[3])
    channels = filter_shape[3] if depthwise else out
    count = channels if per_channel or depthwise else 1
    scales = [scale(generator) for _ in range(count)]
    x = T(floats(generator, shape))
    numbers = generator.integers(-127, 128, filter_shape).astype(np.int8)  # -128 is no symmetric weight
    w = T(numbers, scale=scales, zero_point=[0] * count, dimension=3 if depthwise else 0, const=True)
    b = T(floats(generator, (channels,)), const=True)
    more = {"depth_multiplier": out} if depthwise else {}
    compare(op, [x, w, b], [T(dtype="float32")], **more,
            **options(shape, kernel, stride, dilation, same, activation))
