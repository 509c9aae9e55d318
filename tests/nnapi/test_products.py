"""Convolutions and matrix products against LiteRT's reference kernels, for every table of kernels that this machine runs.

Quantised results and float32 ones are equal bit for bit; with fused arithmetic (relaxed models) float32 is within rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.litert import T, run_litert, single

from .client import Array, Compilation, Execution, Model, Nnapi, OperandType
from .operation import TENSOR_TYPES

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, GROUPED_CONV_2D, TRANSPOSE_CONV_2D, BATCH_MATMUL = 3, 4, 9, 55, 91, 102
INT32, BOOL, TENSOR_FLOAT32, TENSOR_INT32, PER_CHANNEL = 1, 6, 3, 4, 11
SAME = 1
DTYPES = ("float32", "uint8", "int8", "per_channel")
#: Widths around the blocks of all kernels: every tail of 8, 16, 32 and 64 occurs.
CHANNELS = st.one_of(st.integers(1, 40), st.integers(41, 140))

examples = settings(
    max_examples=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip


@dataclass
class Value:
    """An operand of both sides."""

    data: Array
    scale: float | Sequence[float] | None = None
    zero_point: int = 0
    constant: bool = False
    axis: int | None = None  # of the scales, where there are several

    @property
    def tflite(self) -> T:
        zero: int | list[int] | None = None if self.scale is None else self.zero_point
        if isinstance(self.scale, list):
            zero = [0] * len(self.scale)
        return T(self.data, scale=self.scale, zero_point=zero, dimension=self.axis or 0, const=self.constant)

    @property
    def type(self) -> OperandType:
        if self.axis is not None:
            return OperandType(PER_CHANNEL, self.data.shape)
        # A bias beside a filter with a scale per channel has none of its own.
        single_scale = 0.0 if self.scale is None or not isinstance(self.scale, float) else self.scale
        return OperandType(TENSOR_TYPES[self.data.dtype.name], self.data.shape, single_scale, self.zero_point)


@dataclass
class Case:
    """One operation: operands of both sides, options of TFLite's side."""

    op: str
    inputs: list[Value]
    output: Value
    options: dict[str, int | bool] = field(default_factory=dict)
    version: int = 1

    def expected(self, order: Sequence[int] | None = None, extra: Sequence[T] = ()) -> Array:
        """LiteRT's result; `order` and `extra` where TFLite takes other operands."""
        values = [value.tflite for value in self.inputs]
        taken = [*extra, *(values[i] for i in (order or range(len(values))))]
        out = T(
            dtype=self.output.data.dtype.name, scale=self.output.scale,
            zero_point=None if self.output.scale is None else self.output.zero_point,
        )  # fmt: skip
        model, fed = single(self.op, taken, [out], version=self.version, **self.options)
        return run_litert(model, fed)[0]


def product(
    api: Nnapi, code: int, inputs: Sequence[Value | int | bool | Array], output: Value, *, all_inputs: bool = False,
    relaxed: bool = False,
) -> Array:
    """Runs one operation; `all_inputs`: the constants are model inputs."""
    with Model(api) as model:
        places, fed = [], []
        for operand in inputs:
            if isinstance(operand, Value):
                index = model.operand(operand.type)
                if operand.axis is not None:
                    model.channels(index, operand.axis, np.asarray(operand.scale).tolist())
                if operand.constant and not all_inputs:
                    model.value(index, operand.data)
                else:
                    fed.append((index, operand.data))
            elif isinstance(operand, np.ndarray):
                index = model.constant(OperandType(TENSOR_INT32, operand.shape), operand)
            else:
                index = model.constant(OperandType(BOOL if isinstance(operand, bool) else INT32), operand)
            places.append(index)
        result = model.operand(output.type)
        model.operation(code, places, [result])
        model.identify([index for index, _ in fed], [result])
        if relaxed:
            api.check("Model_relaxComputationFloat32toFloat16", model.handle, True)
        model.finish()
        with Compilation(model) as compilation, Execution(compilation) as execution:
            for position, (_, data) in enumerate(fed):
                execution.input(position, np.ascontiguousarray(data))
            buffer = np.zeros(output.data.shape, output.data.dtype)
            execution.output(0, buffer)
            execution.compute()
            return buffer


def stored(generator: np.random.Generator, dtype: str, shape: Sequence[int]) -> Value:
    """An input: normal floats, or bytes with a scale and a zero point."""
    if dtype == "float32":
        return Value(generator.standard_normal(shape).astype(np.float32))
    kind = np.dtype("uint8" if dtype == "uint8" else "int8")
    info = np.iinfo(kind)
    data = generator.integers(info.min, info.max, shape, endpoint=True).astype(kind)
    data[generator.random(shape) < 0.05] = info.min
    scale = float(np.float32(generator.uniform(0.01, 0.1)))
    return Value(data, scale, int(generator.integers(info.min, info.max, endpoint=True)))


def weighted(
    generator: np.random.Generator, dtype: str, x: Value, shape: Sequence[int], axis: int, depth: int, out: Sequence[int]
) -> tuple[Value, Value, Value]:
    """Filter, bias and output for an input; the output's scale fits the sums, so that values of all sizes occur."""
    channels = shape[axis]
    w = stored(generator, dtype, shape)
    w.constant = True
    if dtype == "float32":
        bias = Value(generator.standard_normal(channels).astype(np.float32), constant=True)
        return w, bias, Value(np.zeros(out, np.float32))
    assert isinstance(x.scale, float) and isinstance(w.scale, float)
    products: float | list[float]
    if dtype == "per_channel":
        w.axis, w.zero_point = axis, 0
        scales = generator.uniform(0.002, 0.1, channels).astype(np.float32)
        w.scale = scales.tolist()
        products = (np.float32(x.scale) * scales).tolist()
    else:
        w.zero_point = 0 if dtype == "int8" else w.zero_point
        products = float(np.float32(x.scale) * np.float32(w.scale))
    bias = Value(generator.integers(-4000, 4000, channels).astype(np.int32), products, constant=True)
    scale = float(np.float32(np.max(products) * 60 * np.sqrt(depth) * 10 ** generator.uniform(-1.2, 0.3)))
    limits = np.iinfo(x.data.dtype)
    zero = int(generator.integers(limits.min, limits.max, endpoint=True))
    return w, bias, Value(np.zeros(out, x.data.dtype), scale, zero)


def same(axis: int, stride: int) -> int:
    return -(-axis // stride)


def agree(
    api: Nnapi, code: int, inputs: Sequence[Value | int | bool | Array], output: Value, want: Array, *, depth: int
) -> None:
    """With constant weights and with weights as inputs; and fused, within rounding."""
    output.data = np.zeros(want.shape, want.dtype)
    for all_inputs in (False, True):
        have = product(api, code, inputs, output, all_inputs=all_inputs)
        np.testing.assert_array_equal(have, want, err_msg=f"weights as inputs: {all_inputs}")
    if want.dtype == np.float32:
        have = product(api, code, inputs, output, relaxed=True)
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=4e-6 * depth**0.5)


geometry = dict(
    seed=st.integers(0, 2**32), size=st.tuples(st.integers(1, 9), st.integers(1, 9)), cout=CHANNELS,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), fuse=st.integers(0, 3), batch=st.integers(1, 2),
)  # fmt: skip


def tflite_fuse(fuse: int) -> int:
    return fuse  # both count NONE, RELU, RELU1 (N1_TO_1), RELU6


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(cin=st.integers(1, 70), **geometry)
def test_conv(kernels: Nnapi, dtype: str, seed, size, cout, cin, kernel, stride, dilation, fuse, batch) -> None:
    generator = np.random.default_rng(seed)
    x = stored(generator, dtype, (batch, *size, cin))
    out = (batch, same(size[0], stride[0]), same(size[1], stride[1]), cout)
    depth = kernel[0] * kernel[1] * cin
    w, b, y = weighted(generator, dtype, x, (cout, *kernel, cin), 0, depth, out)
    case = Case("CONV_2D", [x, w, b], y, dict(
        stride_h=stride[0], stride_w=stride[1], dilation_h_factor=dilation[0], dilation_w_factor=dilation[1],
        padding=0, fused_activation_function=tflite_fuse(fuse)))  # fmt: skip
    scalars = [SAME, stride[1], stride[0], fuse, False, dilation[1], dilation[0]]
    agree(kernels, CONV_2D, [x, w, b, *scalars], y, case.expected(), depth=depth)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(multiplier=st.sampled_from([1, 1, 1, 2, 3]), **geometry)
def test_depthwise(kernels: Nnapi, dtype: str, seed, size, cout, multiplier, kernel, stride, dilation, fuse, batch) -> None:
    generator = np.random.default_rng(seed)
    x = stored(generator, dtype, (batch, *size, cout))
    stride = (stride[0], stride[0])  # all that TFLite takes
    out = (batch, same(size[0], stride[0]), same(size[1], stride[1]), cout * multiplier)
    depth = kernel[0] * kernel[1]
    w, b, y = weighted(generator, dtype, x, (1, *kernel, cout * multiplier), 3, depth, out)
    case = Case("DEPTHWISE_CONV_2D", [x, w, b], y, dict(
        stride_h=stride[0], stride_w=stride[1], dilation_h_factor=dilation[0], dilation_w_factor=dilation[1],
        padding=0, depth_multiplier=multiplier, fused_activation_function=tflite_fuse(fuse)))  # fmt: skip
    scalars = [SAME, stride[1], stride[0], multiplier, fuse, False, dilation[1], dilation[0]]
    agree(kernels, DEPTHWISE_CONV_2D, [x, w, b, *scalars], y, case.expected(), depth=depth)


@pytest.mark.parametrize("dtype", ("float32", "per_channel"))
@examples
@given(groups=st.integers(2, 4), depth=st.integers(1, 20), **{k: v for k, v in geometry.items() if k != "dilation"})
def test_grouped(kernels: Nnapi, dtype: str, seed, size, cout, groups, depth, kernel, stride, fuse, batch) -> None:
    generator = np.random.default_rng(seed)
    x = stored(generator, dtype, (batch, *size, groups * depth))
    out = (batch, same(size[0], stride[0]), same(size[1], stride[1]), cout * groups)
    terms = kernel[0] * kernel[1] * depth
    w, b, y = weighted(generator, dtype, x, (cout * groups, *kernel, depth), 0, terms, out)
    case = Case("CONV_2D", [x, w, b], y, dict(
        stride_h=stride[0], stride_w=stride[1], dilation_h_factor=1, dilation_w_factor=1,
        padding=0, fused_activation_function=tflite_fuse(fuse)))  # fmt: skip
    scalars = [SAME, stride[1], stride[0], groups, fuse, False]
    agree(kernels, GROUPED_CONV_2D, [x, w, b, *scalars], y, case.expected(), depth=terms)


def check_transposed(
    kernels: Nnapi, dtype: str, seed: int, size: tuple[int, int], cout: int, cin: int, kernel: tuple[int, int], stride: tuple[int, int], batch: int
) -> None:
    generator = np.random.default_rng(seed)
    x = stored(generator, dtype, (batch, *size, cin))
    shape = np.array([batch, size[0] * stride[0], size[1] * stride[1], cout], np.int32)
    depth = max(1, kernel[0] * kernel[1] // (stride[0] * stride[1])) * cin
    w, b, y = weighted(generator, dtype, x, (cout, *kernel, cin), 0, depth, shape.tolist())
    case = Case("TRANSPOSE_CONV", [x, w, b], y, dict(
        stride_h=stride[0], stride_w=stride[1], padding=0, fused_activation_function=0), version=4)  # fmt: skip
    want = case.expected(order=(1, 0, 2), extra=[T(shape, const=True)])
    agree(kernels, TRANSPOSE_CONV_2D, [x, w, b, shape, SAME, stride[1], stride[0], 0, False], y, want, depth=depth)


@pytest.mark.parametrize("dtype", ("float32", "uint8", "per_channel"))
@examples
@given(cin=st.integers(1, 40), **{k: v for k, v in geometry.items() if k not in ("dilation", "fuse")})
def test_transposed(kernels: Nnapi, dtype: str, seed, size, cout, cin, kernel, stride, batch) -> None:
    check_transposed(kernels, dtype, seed, size, cout, cin, kernel, stride, batch)


@pytest.mark.parametrize("dtype", ("float32", "uint8", "per_channel"))
@pytest.mark.parametrize("kernel, stride", [((1, 1), (5, 4)), ((2, 3), (7, 3)), ((3, 2), (1, 9)), ((2, 2), (300, 211))])
def test_transposed_strides_longer_than_the_filter(
    kernels: Nnapi, dtype: str, kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    """Most results are the bias alone."""
    check_transposed(kernels, dtype, 5, (2, 3), 19, 7, kernel, stride, 2)


def test_transposed_stride_of_thousands(kernels: Nnapi) -> None:
    """Neither time nor memory for each phase of the stride: there are a million."""
    x = Value(np.array([[[[2.0]]]], np.float32))
    w, b = Value(np.arange(1, 5, dtype=np.float32).reshape(1, 2, 2, 1), constant=True), Value(np.array([0.5], np.float32), constant=True)
    y = Value(np.zeros((1, 1024, 1024, 1), np.float32))
    shape = np.array(y.data.shape, np.int32)
    got = product(kernels, TRANSPOSE_CONV_2D, [x, w, b, shape, SAME + 1, 1024, 1024, 0, False], y)
    want = np.full_like(y.data, 0.5)
    want[0, :2, :2, 0] += [[2, 4], [6, 8]]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ("float32", "uint8", "int8"))
@examples
@given(
    seed=st.integers(0, 2**32), batch=st.integers(1, 30), depth=st.integers(1, 300), units=CHANNELS, fuse=st.integers(0, 3)
)
def test_fully_connected(kernels: Nnapi, dtype: str, seed, batch, depth, units, fuse) -> None:
    generator = np.random.default_rng(seed)
    x = stored(generator, dtype, (batch, depth))
    w, b, y = weighted(generator, dtype, x, (units, depth), 0, depth, (batch, units))
    options = dict(fused_activation_function=tflite_fuse(fuse))
    case = Case("FULLY_CONNECTED", [x, w, b], y, options, version=4)
    agree(kernels, FULLY_CONNECTED, [x, w, b, fuse], y, case.expected(), depth=depth)


@pytest.mark.parametrize("dtype", ("float32", "int8"))
@examples
@given(
    seed=st.integers(0, 2**32), batch=st.lists(st.integers(1, 3), max_size=2), rows=st.integers(1, 30),
    depth=st.integers(1, 60), columns=CHANNELS, left=st.booleans(), right=st.booleans(), constant=st.booleans(),
)  # fmt: skip
def test_batch_matmul(kernels: Nnapi, dtype: str, seed, batch, rows, depth, columns, left, right, constant) -> None:
    generator = np.random.default_rng(seed)
    a = stored(generator, dtype, (*batch, depth, rows) if left else (*batch, rows, depth))
    b = stored(generator, dtype, (*batch, columns, depth) if right else (*batch, depth, columns))
    y = Value(np.zeros((*batch, rows, columns), a.data.dtype))
    if dtype == "int8":
        assert isinstance(a.scale, float) and isinstance(b.scale, float)
        y.scale = float(np.float32(a.scale * b.scale * 100 * depth**0.5))
        y.zero_point = int(generator.integers(-128, 127))
    case = Case("BATCH_MATMUL", [a, b], y, dict(adj_x=left, adj_y=right), version=2)
    want = case.expected()
    b.constant = constant
    agree(kernels, BATCH_MATMUL, [a, b, left, right], y, want, depth=depth)


def test_large_sums_wrap_nowhere(kernels: Nnapi) -> None:
    """Sums too large for the short form of the output stage take the long one: biases near the limits of int32."""
    generator = np.random.default_rng(5)
    x = stored(generator, "int8", (2, 5, 7, 19))
    w, b, y = weighted(generator, "per_channel", x, (67, 1, 1, 19), 0, 19, (2, 5, 7, 67))
    b.data = generator.integers(-(2**31) + 2**20, 2**31 - 2**20, 67).astype(np.int32)
    y.scale = float(np.float32(y.scale) * np.float32(3e5))
    case = Case("CONV_2D", [x, w, b], y, dict(
        stride_h=1, stride_w=1, dilation_h_factor=1, dilation_w_factor=1, padding=0, fused_activation_function=0))  # fmt: skip
    want = case.expected()
    assert len(np.unique(want)) > 30
    agree(kernels, CONV_2D, [x, w, b, SAME, 1, 1, 0], y, want, depth=19)


def test_factors_above_one(kernels: Nnapi) -> None:
    """Output scales finer than the products: left shifts."""
    generator = np.random.default_rng(6)
    kinds = (("CONV_2D", CONV_2D, (45, 1, 1, 3), 0), ("DEPTHWISE_CONV_2D", DEPTHWISE_CONV_2D, (1, 1, 1, 45), 3))
    for op, code, shape, axis in kinds:
        x = stored(generator, "per_channel", (1, 6, 6, 3 if axis == 0 else 45))
        w, b, y = weighted(generator, "per_channel", x, shape, axis, 3, (1, 6, 6, 45))
        x.data //= 32
        x.zero_point, b.data = 0, b.data // 100
        y.scale = float(np.min(b.scale) / 3)
        options = dict(stride_h=1, stride_w=1, dilation_h_factor=1, dilation_w_factor=1, padding=0, fused_activation_function=0)
        extra = [1] if axis == 3 else []
        want = Case(op, [x, w, b], y, options | (dict(depth_multiplier=1) if extra else {})).expected()
        agree(kernels, code, [x, w, b, SAME, 1, 1, *extra, 0], y, want, depth=3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing(api: Nnapi, dtype: str) -> None:
    """Layers large enough to be shared: by blocks of positions, by positions, by output channels, by lines."""
    generator = np.random.default_rng(7)
    x = stored(generator, dtype, (1, 37, 41, 48))
    few = stored(generator, dtype, (1, 3, 3, 700))
    middling = stored(generator, dtype, (1, 7, 7, 160))
    layers: list[tuple[int, Value, tuple[int, ...], int, tuple[int, ...], list[int | bool]]] = [
        (CONV_2D, x, (90, 3, 3, 48), 0, (1, 37, 41, 90), [SAME, 1, 1, 0]),
        (CONV_2D, few, (1000, 1, 1, 700), 0, (1, 3, 3, 1000), [SAME, 1, 1, 0]),
        (CONV_2D, middling, (961, 1, 1, 160), 0, (1, 7, 7, 961), [SAME, 1, 1, 0]),
        (CONV_2D, middling, (97, 3, 3, 160), 0, (1, 7, 7, 97), [SAME, 1, 1, 0]),
        (DEPTHWISE_CONV_2D, x, (1, 5, 5, 48), 3, (1, 37, 41, 48), [SAME, 1, 1, 1, 0]),
    ]
    if dtype != "per_channel":
        flat = Value(few.data.reshape(9, 700), few.scale, few.zero_point)
        layers.append((FULLY_CONNECTED, flat, (500, 700), 0, (9, 500), [0]))
    for code, source, shape, axis, out, scalars in layers:
        depth = int(np.prod(shape)) // shape[axis]
        w, b, y = weighted(generator, dtype, source, shape, axis, depth, out)
        if dtype == "uint8":  # in the middle, so that the sums do not all saturate
            source.zero_point = w.zero_point = 128
        results = []
        for threads in (1, 2, 3, 7):
            assert api.configure(feature_level=8, threads=threads) == 0
            results.append(product(api, code, [source, w, b, *scalars], y))
        assert len(np.unique(results[0])) > 20
        for result in results[1:]:
            np.testing.assert_array_equal(results[0], result)
