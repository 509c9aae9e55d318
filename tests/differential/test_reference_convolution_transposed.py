"""Transposed and 3-D convolutions against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale

ATTRIBUTES = dict(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    same=st.booleans(),
    out=st.integers(1, 4),
    with_bias=st.booleans(),
    seed=st.integers(0, 2**32),
)


def output_shape(generator, shape, kernel, stride, same, out):
    """A shape whose forward convolution gives the input's."""
    sizes = []
    for size, taps, step in zip(shape[1:3], kernel, stride):
        full = size * step if same else (size - 1) * step + taps
        sizes.append(int(full - generator.integers(0, step)) if same else full)
    return T(np.asarray([shape[0], *(max(1, s) for s in sizes), out], np.int32), const=True)


def options(stride, same, activation=0):
    return dict(stride_h=stride[0], stride_w=stride[1], padding=0 if same else 1, fused_activation_function=activation)


@examples
@given(**ATTRIBUTES, activation=st.sampled_from([0, 1]))
def test_float(shape, kernel, stride, same, out, with_bias, seed, activation):
    generator = rng(seed)
    wanted = output_shape(generator, shape, kernel, stride, same, out)
    inputs = [wanted, T(floats(generator, (out, *kernel, shape[3])), const=True), T(floats(generator, shape))]
    if with_bias:
        inputs.append(T(floats(generator, (out,)), const=True))
    compare("TRANSPOSE_CONV", inputs, [T(dtype="float32")], version=4, **options(stride, same, activation))


@pytest.mark.parametrize(
    ("dtype", "per_channel", "bias_type"),
    [(np.int8, True, np.int32), (np.int8, False, np.int32), (np.uint8, False, np.int32), (np.int16, True, np.int64)],
)
@examples
@given(**ATTRIBUTES)
def test_integer(dtype, per_channel, bias_type, shape, kernel, stride, same, out, with_bias, seed):
    generator = rng(seed)
    wanted = output_shape(generator, shape, kernel, stride, same, out)
    x = quantized(generator, dtype, shape)
    count = out if per_channel else 1
    scales = np.array([scale(generator) for _ in range(count)], np.float32)
    zero = int(generator.integers(0, 256)) if dtype == np.uint8 else 0
    kind = np.uint8 if dtype == np.uint8 else np.int8
    w = T(integers(generator, kind, (out, *kernel, shape[3])), scale=scales, zero_point=[zero] * count, const=True)
    products = np.float32(x.scale) * scales
    inputs = [wanted, w, x]
    if with_bias:
        bias = generator.integers(-3000, 3000, out).astype(bias_type)
        inputs.append(T(bias, scale=products, zero_point=[0] * count, const=True))
    limits = np.iinfo(dtype)
    spread = float(products.max()) * 60 * np.sqrt(np.prod(kernel) * shape[3]) * (256 if dtype == np.int16 else 1)
    y = T(dtype=np.dtype(dtype).name, scale=np.float32(spread * 4 / (limits.max - limits.min)),
          zero_point=0 if dtype == np.int16 else int(generator.integers(limits.min, limits.max)))
    compare("TRANSPOSE_CONV", inputs, [y], version=4, **options(stride, same))


@examples
@given(**ATTRIBUTES)
def test_hybrid(shape, kernel, stride, same, out, with_bias, seed):
    generator = rng(seed)
    wanted = output_shape(generator, shape, kernel, stride, same, out)
    w = T(generator.integers(-127, 128, (out, *kernel, shape[3])).astype(np.int8),
          scale=[scale(generator) for _ in range(out)], zero_point=[0] * out, const=True)
    inputs = [wanted, w, T(floats(generator, shape))]
    if with_bias:
        inputs.append(T(floats(generator, (out,)), const=True))
    compare("TRANSPOSE_CONV", inputs, [T(dtype="float32")], rel=0, ulps=0, version=5, **options(stride, same))


THREE = dict(
    shape=st.tuples(st.integers(1, 2), *[st.integers(1, 4)] * 3, st.integers(1, 3)),
    kernel=st.tuples(*[st.integers(1, 3)] * 3),
    stride=st.tuples(*[st.integers(1, 2)] * 3),
    dilation=st.tuples(*[st.integers(1, 2)] * 3),
    same=st.booleans(),
    out=st.integers(1, 3),
    with_bias=st.booleans(),
    seed=st.integers(0, 2**32),
)


def options_3d(stride, dilation, same):
    return dict(
        stride_d=stride[0], stride_h=stride[1], stride_w=stride[2], dilation_d_factor=dilation[0],
        dilation_h_factor=dilation[1], dilation_w_factor=dilation[2], padding=0 if same else 1,
    )


@examples
@given(**THREE, activation=st.sampled_from([0, 1]))
def test_conv_3d(shape, kernel, stride, dilation, same, out, with_bias, seed, activation):
    generator = rng(seed)
    fits = all((k - 1) * d < size for k, d, size in zip(kernel, dilation, shape[1:4]))
    inputs = [T(floats(generator, shape)), T(floats(generator, (*kernel, shape[4], out)), const=True)]
    if with_bias:
        inputs.append(T(floats(generator, (out,)), const=True))
    compare("CONV_3D", inputs, [T(dtype="float32")], fused_activation_function=activation,
            **options_3d(stride, dilation, same or not fits))


@examples
@given(**THREE)
def test_conv_3d_transpose(shape, kernel, stride, dilation, same, out, with_bias, seed):
    generator = rng(seed)
    sizes = [
        size * step if same else (size - 1) * step + (taps - 1) * spread + 1
        for size, step, taps, spread in zip(shape[1:4], stride, kernel, dilation)
    ]
    wanted = T(np.asarray([shape[0], *sizes, out], np.int32), const=True)
    inputs = [wanted, T(floats(generator, (*kernel, out, shape[4])), const=True), T(floats(generator, shape))]
    if with_bias:
        inputs.append(T(floats(generator, (out,)), const=True))
    compare("CONV_3D_TRANSPOSE", inputs, [T(dtype="float32")], **options_3d(stride, dilation, same))
