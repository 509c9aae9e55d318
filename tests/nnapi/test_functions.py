"""Elementwise operations, pools, activations, softmax, conversions and normalisations against LiteRT's reference kernels.

8-bit results are equal bit for bit, whichever table of kernels computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.differential.litert import T, floats, integers, quantized, rng, run_litert, scale, single, zero_point

from .client import Array, Nnapi
from .operation import Compare, Operand, check, equal, near, scalar, tensor

CODES = {
    "ADD": 0, "AVERAGE_POOL_2D": 1, "DEQUANTIZE": 6, "FLOOR": 8, "L2_NORMALIZATION": 11, "L2_POOL_2D": 12,
    "LOCAL_RESPONSE_NORMALIZATION": 13, "LOGISTIC": 14, "MAX_POOL_2D": 17, "MUL": 18, "RELU": 19, "RELU_N1_TO_1": 20,
    "RELU6": 21, "SOFTMAX": 25, "TANH": 28, "DIV": 30, "SUB": 36, "ABS": 38, "CAST": 45, "EXP": 49, "LOG": 60,
    "LOGICAL_NOT": 62, "LOG_SOFTMAX": 64, "MAXIMUM": 65, "MINIMUM": 66, "NEG": 67, "POW": 70, "PRELU": 71,
    "QUANTIZE": 72, "RSQRT": 83, "SIN": 85, "SQRT": 88, "HARD_SWISH": 99,
}  # fmt: skip
SAME, NHWC = 1, False
BYTES = (np.int8, np.uint8)

examples = settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)  # fmt: skip
seeds = st.integers(0, 2**32)
shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
#: Sizes around the vectors' widths, so that every tail occurs.
rows = st.one_of(shapes, st.integers(1, 300).map(lambda n: (n,)), st.tuples(st.integers(1, 3), st.integers(30, 140)))


def operand(t: T) -> Operand:
    """NNAPI's side of a tensor."""
    assert t.data is not None
    point = t.zero_point if isinstance(t.zero_point, int) else 0
    return tensor(t.data, t.scale if isinstance(t.scale, float) else None, point)


def agree(
    api: Nnapi, op: str, inputs: Sequence[T], output: T, scalars: Sequence[Any] = (), compare: Compare = equal, *,
    version: int = 1, **options: Any,
) -> None:
    """Both give the same."""
    model, fed = single(op, inputs, [output], version=version, **options)
    want = run_litert(model, fed)[0]
    answer = operand(T(want, scale=output.scale, zero_point=output.zero_point))
    check(api, CODES[op], [*map(operand, inputs), *map(scalar, scalars)], [answer], compare)


def byte_output(generator: np.random.Generator, dtype: Any, low: float = 0.01, high: float = 1.0) -> T:
    return T(dtype=np.dtype(dtype).name, scale=scale(generator, low, high), zero_point=zero_point(generator, dtype))


def pairs(rank: int = 4) -> st.SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Two shapes that broadcast; long rows, and one operand that stands, too."""
    small = mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=rank, max_side=4).map(lambda s: s.input_shapes)
    row = st.integers(20, 200)
    long = st.tuples(row, st.booleans(), st.booleans()).map(
        lambda r: ((2, 1 if r[1] else r[0]), (1 if r[2] else 2, r[0]))
    )
    return st.one_of(small, long)


@pytest.mark.parametrize("op", ("ADD", "SUB", "MUL"))
@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(both=pairs(), fuse=st.integers(0, 3), alike=st.booleans(), seed=seeds)
def test_quantized_arithmetic(kernels: Nnapi, op: str, dtype: Any, both: Any, fuse: int, alike: bool, seed: int) -> None:
    generator = rng(seed)
    a, b = (quantized(generator, dtype, shape) for shape in both)
    if alike:
        b.scale = a.scale
    y = byte_output(generator, dtype)
    assert isinstance(a.scale, float) and isinstance(b.scale, float) and isinstance(y.scale, float)
    if op == "MUL":  # NNAPI wants more than the product
        y.scale = max(y.scale, float(np.float32(a.scale * b.scale * 1.01)))
    agree(kernels, op, [a, b], y, [fuse], version=2, fused_activation_function=fuse)


@pytest.mark.parametrize("op", ("ADD", "SUB", "MUL", "DIV"))
@examples
@given(both=pairs(), fuse=st.integers(0, 3), seed=seeds)
def test_float_arithmetic(api: Nnapi, op: str, both: Any, fuse: int, seed: int) -> None:
    a, b = (T(floats(rng(seed + i), shape)) for i, shape in enumerate(both))
    agree(api, op, [a, b], T(dtype="float32"), [fuse], fused_activation_function=fuse)


@pytest.mark.parametrize("op", ("ADD", "SUB", "MUL", "DIV"))
@examples
@given(both=pairs(), seed=seeds)
def test_int32_arithmetic(api: Nnapi, op: str, both: Any, seed: int) -> None:
    """DIV rounds down in NNAPI, towards zero in TFLite."""
    a, b = (rng(seed + i).integers(-1000, 1000, shape).astype(np.int32) for i, shape in enumerate(both))
    b[b == 0] = 7
    want = {"ADD": a + b, "SUB": a - b, "MUL": a * b, "DIV": a // b}[op]
    check(api, CODES[op], [tensor(a), tensor(b), scalar(0)], [tensor(want)])


@pytest.mark.parametrize("op", ("MAXIMUM", "MINIMUM", "POW"))
@examples
@given(both=pairs(), seed=seeds)
def test_float_extremes(api: Nnapi, op: str, both: Any, seed: int) -> None:
    a, b = (T(floats(rng(seed + i), shape)) for i, shape in enumerate(both))
    if op == "POW":
        a.data = np.abs(a.data)
    agree(api, op, [a, b], T(dtype="float32"), compare=near(0, 3e-7))


@pytest.mark.parametrize("op", ("MAXIMUM", "MINIMUM"))
@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(both=pairs(), seed=seeds)
def test_quantized_extremes(api: Nnapi, op: str, dtype: Any, both: Any, seed: int) -> None:
    """TFLite takes equal parameters only; NNAPI requantises both operands."""
    generator = rng(seed)
    a = quantized(generator, dtype, both[0])
    b = quantized(generator, dtype, both[1], scale=a.scale, zero_point=a.zero_point)
    agree(api, op, [a, b], T(dtype=np.dtype(dtype).name, scale=a.scale, zero_point=a.zero_point))
    c, y = quantized(generator, dtype, both[1]), byte_output(generator, dtype)
    sides = []
    for t in (a, c):
        real = np.float32(t.scale) * (t.data.astype(np.float32) - np.float32(t.zero_point))
        place = real.astype(np.float64) / np.float64(np.float32(y.scale)) + y.zero_point
        sides.append(np.clip(np.trunc(place + np.copysign(0.5, place)), np.iinfo(dtype).min, np.iinfo(dtype).max))
    want = (np.maximum if op == "MAXIMUM" else np.minimum)(*sides).astype(dtype)
    check(api, CODES[op], [operand(a), operand(c)], [tensor(want, y.scale, y.zero_point)])


@pytest.mark.parametrize("op", ("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH"))
@examples
@given(shape=rows, seed=seeds)
def test_float_activation(kernels: Nnapi, op: str, shape: tuple[int, ...], seed: int) -> None:
    exact = op.startswith("RELU")
    agree(kernels, op, [T(floats(rng(seed), shape, 10))], T(dtype="float32"), compare=equal if exact else near(2e-7, 5e-7))


@pytest.mark.parametrize("op", ("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH"))
@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(shape=rows, seed=seeds)
def test_quantized_activation(kernels: Nnapi, op: str, dtype: Any, shape: tuple[int, ...], seed: int) -> None:
    generator = rng(seed)
    x = quantized(generator, dtype, shape)
    low = int(np.iinfo(dtype).min)
    y = T(dtype=np.dtype(dtype).name, scale=x.scale, zero_point=x.zero_point)
    if op == "LOGISTIC":
        y.scale, y.zero_point = 1 / 256, low
    elif op == "TANH":
        y.scale, y.zero_point = 1 / 128, low + 128
    elif op == "HARD_SWISH":
        assert isinstance(x.scale, float)
        y = byte_output(generator, dtype, x.scale / 50, x.scale * 4)
    agree(kernels, op, [x], y, version=2 if op in ("RELU", "RELU6") else 1)


@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(both=pairs(), seed=seeds)
def test_quantized_prelu(api: Nnapi, dtype: Any, both: Any, seed: int) -> None:
    generator = rng(seed)
    shape = np.broadcast_shapes(*both)
    x, alpha = quantized(generator, dtype, shape), quantized(generator, dtype, both[1], const=True)
    agree(api, "PRELU", [x, alpha], byte_output(generator, dtype))


@examples
@given(both=pairs(), seed=seeds)
def test_float_prelu(api: Nnapi, both: Any, seed: int) -> None:
    shape = np.broadcast_shapes(*both)
    agree(api, "PRELU", [T(floats(rng(seed), shape)), T(floats(rng(seed + 1), both[1]), const=True)], T(dtype="float32"))


@examples
@given(shape=shapes, alpha=st.floats(0.125, 2, width=16), seed=seeds)
def test_elu(api: Nnapi, shape: tuple[int, ...], alpha: float, seed: int) -> None:
    x = floats(rng(seed), shape)
    want = np.where(x > 0, x, np.float32(alpha) * np.expm1(x.astype(np.float64))).astype(np.float32)
    check(api, 98, [tensor(x), scalar(float(alpha))], [tensor(want)], near(1e-7, 1e-6))


@pytest.mark.parametrize("op", ("ABS", "EXP", "FLOOR", "LOG", "NEG", "RSQRT", "SIN", "SQRT"))
@examples
@given(shape=shapes, seed=seeds)
def test_float_functions(api: Nnapi, op: str, shape: tuple[int, ...], seed: int) -> None:
    x = floats(rng(seed), shape)
    if op in ("LOG", "RSQRT", "SQRT"):
        x = np.abs(x) + np.float32(1e-3)
    exact = op in ("ABS", "FLOOR", "NEG", "SQRT")
    agree(api, op, [T(x)], T(dtype="float32"), compare=equal if exact else near(1e-7, 3e-7))


def test_int32_functions(api: Nnapi) -> None:
    x = np.array([0, 5, -7, 2**31 - 1, -(2**31)], np.int32)
    for op, want in (("ABS", np.abs(x)), ("NEG", -x)):
        check(api, CODES[op], [tensor(x)], [tensor(want.astype(np.int32))])
    flags = np.array([True, False, True])
    check(api, CODES["LOGICAL_NOT"], [tensor(flags)], [tensor(~flags)])


@examples
@given(size=st.integers(1, 200), seed=seeds)
def test_quantized_rsqrt(api: Nnapi, size: int, seed: int) -> None:
    """TFLite refuses numbers below zero; NNAPI leaves them undefined."""
    generator = rng(seed)
    x = quantized(generator, np.int8, (size,))
    assert isinstance(x.zero_point, int) and x.data is not None
    x.data = np.maximum(x.data, np.int8(x.zero_point))
    agree(api, "RSQRT", [x], byte_output(generator, np.int8, 0.02, 0.5), version=2)


@pytest.mark.parametrize("op", ("SOFTMAX", "LOG_SOFTMAX"))
@examples
@given(shape=rows, beta=st.sampled_from([1.0, 0.5, 2.0]), seed=seeds)
def test_float_softmax(api: Nnapi, op: str, shape: tuple[int, ...], beta: float, seed: int) -> None:
    x = T(floats(rng(seed), shape))
    if op == "SOFTMAX":
        agree(api, op, [x], T(dtype="float32"), [beta, -1], near(1e-8, 2e-6), beta=beta)
    else:
        agree(api, op, [x], T(dtype="float32"), [1.0, len(shape) - 1], near(1e-6, 2e-6))


@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(shape=rows, beta=st.sampled_from([1.0, 0.3, 2.0]), seed=seeds)
def test_quantized_softmax(api: Nnapi, dtype: Any, shape: tuple[int, ...], beta: float, seed: int) -> None:
    y = T(dtype=np.dtype(dtype).name, scale=1 / 256, zero_point=int(np.iinfo(dtype).min))
    agree(api, "SOFTMAX", [quantized(rng(seed), dtype, shape)], y, [beta, -1], beta=beta)


@examples
@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4), axis=st.integers(-4, 3), seed=seeds)
def test_softmax_axis(api: Nnapi, shape: list[int], axis: int, seed: int) -> None:
    """Along any axis it is the softmax of the transposed tensor along the last."""
    if not -len(shape) <= axis < len(shape):
        return
    x = floats(rng(seed), shape).astype(np.float64)
    e = np.exp(x - x.max(axis, keepdims=True))
    want = (e / e.sum(axis, keepdims=True)).astype(np.float32)
    check(api, CODES["SOFTMAX"], [tensor(x.astype(np.float32)), scalar(1.0), scalar(axis)], [tensor(want)], near(1e-7, 2e-6))


pools = dict(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.one_of(st.integers(1, 40), st.integers(41, 140))),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    fuse=st.integers(0, 3), seed=seeds,
)  # fmt: skip


@pytest.mark.parametrize("op", ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"))
@pytest.mark.parametrize("dtype", (np.float32, *BYTES))
@examples
@given(**pools)
def test_pool(kernels: Nnapi, op: str, dtype: Any, shape: Any, window: Any, stride: Any, fuse: int, seed: int) -> None:
    if op == "L2_POOL_2D" and dtype != np.float32:
        return
    generator = rng(seed)
    x = T(floats(generator, shape)) if dtype == np.float32 else quantized(generator, dtype, shape)
    y = T(dtype=np.dtype(dtype).name, scale=x.scale, zero_point=x.zero_point)
    options = dict(
        padding=0, stride_w=stride[1], stride_h=stride[0], filter_width=window[1], filter_height=window[0],
        fused_activation_function=fuse,
    )  # fmt: skip
    scalars = [SAME, stride[1], stride[0], window[1], window[0], fuse, NHWC]
    compare = near(1e-6, 1e-6) if dtype == np.float32 and op != "MAX_POOL_2D" else equal
    agree(kernels, op, [x], y, scalars, compare, version=1 if op == "L2_POOL_2D" else 2, **options)


@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(shape=rows, seed=seeds)
def test_quantize(kernels: Nnapi, dtype: Any, shape: tuple[int, ...], seed: int) -> None:
    generator = rng(seed)
    agree(kernels, "QUANTIZE", [T(floats(generator, shape))], byte_output(generator, dtype, 0.01, 0.5), version=1)


def test_quantize_ties_and_extremes(kernels: Nnapi) -> None:
    """Ties away from zero; infinities saturate; the zero point is added after rounding."""
    x = np.array([0.25, -0.25, 0.75, -0.75, 1e9, -1e9, np.inf, -np.inf, 0.0, 0.24999999], np.float32)
    want = np.array([4, 2, 5, 1, 127, -128, 127, -128, 3, 3], np.int8)
    check(kernels, CODES["QUANTIZE"], [tensor(x)], [tensor(want, 0.5, 3)])


@pytest.mark.parametrize("dtype", BYTES)
@examples
@given(shape=shapes, seed=seeds)
def test_dequantize(api: Nnapi, dtype: Any, shape: tuple[int, ...], seed: int) -> None:
    agree(api, "DEQUANTIZE", [quantized(rng(seed), dtype, shape)], T(dtype="float32"), version=2)


def test_cast(api: Nnapi) -> None:
    """Towards zero; bytes saturate, also from values that no integer holds."""
    x = np.array([0.9, -0.9, 200.5, 256.0, -3.0, 1e20, -1e20], np.float32)
    ints = np.array([0, 0, 200, 256, -3, 2**31 - 1, -(2**31)], np.int32)
    bytes_ = np.array([0, 0, 200, 255, 0, 255, 0], np.uint8)
    for value, want in ((x, ints), (x, bytes_), (ints, bytes_), (ints[:5], ints[:5].astype(np.float32)),
                        (bytes_, bytes_.astype(np.int32)), (bytes_, bytes_.astype(np.float32)), (x, x),
                        (bytes_.astype(np.int8), bytes_.astype(np.int8)), (x > 0, x > 0)):  # fmt: skip
        check(api, CODES["CAST"], [tensor(value)], [tensor(want)])


@examples
@given(shape=shapes, seed=seeds)
def test_l2_normalization(api: Nnapi, shape: tuple[int, ...], seed: int) -> None:
    agree(api, "L2_NORMALIZATION", [T(floats(rng(seed), shape))], T(dtype="float32"), compare=near(1e-7, 1e-6))


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 0), (np.uint8, 128)])
@examples
@given(shape=shapes, seed=seeds)
def test_quantized_l2_normalization(api: Nnapi, dtype: Any, zero: int, shape: tuple[int, ...], seed: int) -> None:
    y = T(dtype=np.dtype(dtype).name, scale=1 / 128, zero_point=zero)
    agree(api, "L2_NORMALIZATION", [quantized(rng(seed), dtype, shape)], y, version=2)


@examples
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3, st.integers(1, 9)), radius=st.integers(0, 5), bias=st.sampled_from([1.0, 2.5]),
    alpha=st.sampled_from([0.125, 1.0]), beta=st.sampled_from([0.5, 0.75, 1.0]), axis=st.integers(-4, 3), seed=seeds,
)  # fmt: skip
def test_local_response(api: Nnapi, shape: Any, radius: int, bias: float, alpha: float, beta: float, axis: int, seed: int) -> None:
    """The window reaches `radius` to both sides; LiteRT's reference kernel leaves the last one out, its optimised one does not."""
    x = np.moveaxis(floats(rng(seed), shape).astype(np.float64), axis, -1)
    depth = x.shape[-1]
    sums = [(x[..., max(0, i - radius) : i + radius + 1] ** 2).sum(-1) for i in range(depth)]
    want = np.moveaxis(x * (bias + alpha * np.stack(sums, -1)) ** -beta, -1, axis).astype(np.float32)
    scalars = map(scalar, (radius, bias, alpha, beta, axis))
    source = np.moveaxis(x, -1, axis).astype(np.float32)
    check(api, CODES["LOCAL_RESPONSE_NORMALIZATION"], [tensor(source), *scalars], [tensor(want)], near(1e-7, 1e-5))


@pytest.mark.parametrize("nchw", (False, True))
def test_instance_normalization(api: Nnapi, nchw: bool) -> None:
    x = floats(rng(3), (2, 5, 4, 3))
    axes = (1, 2)
    mean = x.mean(axes, keepdims=True, dtype=np.float64)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    want = ((x - mean) / np.sqrt(variance + 1e-3) * 1.5 + 0.25).astype(np.float32)
    order: Array = np.array([0, 3, 1, 2] if nchw else [0, 1, 2, 3])
    scalars = [scalar(1.5), scalar(0.25), scalar(1e-3), scalar(nchw)]
    check(api, 57, [tensor(x.transpose(order)), *scalars], [tensor(want.transpose(order))], near(2e-6, 1e-5))


def test_half_precision(api: Nnapi) -> None:
    """float16 goes through float32."""
    a, b = (floats(rng(i), (3, 17)).astype(np.float16) for i in range(2))
    want = (a.astype(np.float32) * b.astype(np.float32)).astype(np.float16)
    check(api, CODES["MUL"], [tensor(a), tensor(b), scalar(0)], [tensor(want)])
    check(api, CODES["DEQUANTIZE"], [tensor(integers(rng(1), np.uint8, (9,)), 0.5, 128)],
          [tensor(((integers(rng(1), np.uint8, (9,)).astype(np.float32) - 128) / 2).astype(np.float16))])  # fmt: skip
