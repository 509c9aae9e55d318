"""Operations that TFLite has as well, against LiteRT's reference kernels: quantised results bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential.litert import T, run_litert, single

from .client import Array, Nnapi
from .operation import Operand, check, equal, ints, near, scalar, tensor

CONCATENATION, LSH_PROJECTION, RESIZE_BILINEAR, MEAN, ARGMAX, ARGMIN, TOPK_V2, RESIZE_NEAREST_NEIGHBOR = (
    2,
    15,
    23,
    31,
    39,
    40,
    90,
    94,
)
COMPARISONS = {"EQUAL": 48, "NOT_EQUAL": 68, "LESS": 58, "LESS_EQUAL": 59, "GREATER": 53, "GREATER_EQUAL": 54}
#: By TFLite's name: NNAPI's code, TFLite's version, data types.
REDUCTIONS = {
    "REDUCE_ALL": (75, 1, ["bool"]), "REDUCE_ANY": (76, 1, ["bool"]), "REDUCE_PROD": (79, 2, ["float32"]),
    "REDUCE_MAX": (77, 2, ["float32", "uint8", "int8"]), "REDUCE_MIN": (78, 2, ["float32", "uint8", "int8"]),
    "SUM": (80, 2, ["float32"]),
}  # fmt: skip

examples = settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)  # fmt: skip
seeds = st.integers(0, 2**32)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def values(generator: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "float32":
        return generator.standard_normal(shape).astype(dtype)
    if dtype == "bool":
        return generator.random(shape) < 0.5
    info = np.iinfo(dtype)
    low, high = (info.min, info.max) if dtype != "int32" else (-50, 50)
    return generator.integers(low, high, shape, endpoint=True).astype(dtype)


class Tensor:
    """A tensor for both sides; 8-bit ones with random parameters."""

    def __init__(self, generator: np.random.Generator, value: Array, like: Tensor | None = None) -> None:
        self.value = value
        self.scale: float | None = None
        self.zero = 0
        if value.dtype.name in ("uint8", "int8"):
            info = np.iinfo(value.dtype)
            self.scale = like.scale if like else float(np.float32(generator.uniform(0.01, 0.5)))
            self.zero = like.zero if like else int(generator.integers(info.min, info.max, endpoint=True))

    @property
    def tflite(self) -> T:
        return T(self.value, scale=self.scale, zero_point=None if self.scale is None else self.zero)

    def output(self, dtype: str | None = None) -> T:
        zero = None if self.scale is None or dtype else self.zero
        return T(dtype=dtype or self.value.dtype.name, scale=None if dtype else self.scale, zero_point=zero)

    @property
    def nnapi(self) -> Operand:
        return tensor(self.value, self.scale, self.zero)

    def result(self, value: Array) -> Operand:
        return tensor(value, self.scale, self.zero)


def litert(op: str, inputs: list[T], outputs: list[T], **options: Any) -> list[Array]:
    model, fed = single(op, inputs, outputs, **options)
    return run_litert(model, fed)


def const(value: Any, dtype: str = "int32") -> T:
    return T(np.asarray(value, dtype), const=True)


@examples
@given(shape=shapes, count=st.integers(1, 4), data=st.data(), seed=seeds)
def test_concatenation_requantises(api: Nnapi, shape: tuple[int, ...], count: int, data: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    axis = data.draw(st.integers(0, len(shape) - 1))
    parts = [Tensor(generator, values(generator, "uint8", shape)) for _ in range(count)]
    out = Tensor(generator, parts[0].value)
    (want,) = litert("CONCATENATION", [p.tflite for p in parts], [out.output()], axis=axis)
    check(api, CONCATENATION, [*(p.nnapi for p in parts), scalar(axis)], [out.result(want)])


@pytest.mark.parametrize("op", [RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@pytest.mark.parametrize("nchw", [False, True])
@examples
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)), align=st.booleans(), half=st.booleans(), seed=seeds,
)  # fmt: skip
def test_resize(
    api: Nnapi, op: int, dtype: str, nchw: bool, shape: tuple[int, ...], size: tuple[int, int], align: bool, half: bool,
    seed: int,
) -> None:  # fmt: skip
    generator = np.random.default_rng(seed)
    half = half and not align
    x = Tensor(generator, values(generator, dtype, shape))
    name = "RESIZE_BILINEAR" if op == RESIZE_BILINEAR else "RESIZE_NEAREST_NEIGHBOR"
    (want,) = litert(
        name, [x.tflite, const(size)], [x.output()], align_corners=align, half_pixel_centers=half, version=3
    )
    order = (0, 3, 1, 2) if nchw else (0, 1, 2, 3)
    operands = [tensor(x.value.transpose(order), x.scale, x.zero), scalar(size[1]), scalar(size[0])]
    flags = [scalar(nchw), scalar(align), scalar(half)]
    check(api, op, [*operands, *flags], [x.result(want.transpose(order))], near(1e-6) if dtype == "float32" else equal)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@examples
@given(shape=shapes, keep=st.booleans(), data=st.data(), seed=seeds)
def test_mean(api: Nnapi, dtype: str, shape: tuple[int, ...], keep: bool, data: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=5))
    x = Tensor(generator, values(generator, dtype, shape))
    (want,) = litert("MEAN", [x.tflite, const(axes)], [x.output()], keep_dims=keep, version=2)
    operands = [x.nnapi, ints(axes), scalar(int(keep))]
    check(api, MEAN, operands, [x.result(np.atleast_1d(want))], near(1e-6) if dtype == "float32" else equal)


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name, row in REDUCTIONS.items() for dtype in row[2]])
@examples
@given(shape=shapes, keep=st.booleans(), data=st.data(), seed=seeds)
def test_reductions(
    api: Nnapi, name: str, dtype: str, shape: tuple[int, ...], keep: bool, data: Any, seed: int
) -> None:
    code, version, _ = REDUCTIONS[name]
    generator = np.random.default_rng(seed)
    axes = data.draw(st.lists(st.integers(-len(shape), len(shape) - 1), min_size=1, max_size=5))
    x = Tensor(generator, values(generator, dtype, shape))
    (want,) = litert(name, [x.tflite, const(axes)], [x.output()], keep_dims=keep, version=version)
    operands = [x.nnapi, ints(axes), scalar(keep)]
    check(api, code, operands, [x.result(np.atleast_1d(want))], near(1e-6) if dtype == "float32" else equal)


@pytest.mark.parametrize("op", [ARGMAX, ARGMIN])
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32"])
@examples
@given(shape=shapes, data=st.data(), seed=seeds)
def test_arg(api: Nnapi, op: int, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = Tensor(generator, values(generator, dtype, shape) // (1 if dtype == "float32" else 64))
    name = "ARG_MAX" if op == ARGMAX else "ARG_MIN"
    (want,) = litert(name, [x.tflite, const(axis)], [T(dtype="int32")], output_type=2, version=2)
    check(api, op, [x.nnapi, scalar(axis)], [tensor(np.atleast_1d(want))])


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int8", "int32"])
@examples
@given(shape=shapes, data=st.data(), seed=seeds)
def test_topk(api: Nnapi, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    """By NNAPI's documentation: descending, of equal values the one with the larger index first."""
    generator = np.random.default_rng(seed)
    k = data.draw(st.integers(1, shape[-1]))
    x = (generator.integers(0, 6, shape)).astype(dtype)
    ordered = np.argsort(x, axis=-1, kind="stable")[..., ::-1][..., :k]
    best = np.take_along_axis(x, ordered, -1)
    check(api, TOPK_V2, [tensor(x), scalar(k)], [tensor(best), tensor(ordered.astype(np.int32))])


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int32"])
@examples
@given(shape=shapes, data=st.data(), seed=seeds)
def test_comparisons(api: Nnapi, name: str, dtype: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    generator = np.random.default_rng(seed)
    small = tuple(1 if data.draw(st.booleans()) else size for size in shape)[
        data.draw(st.integers(0, len(shape) - 1)) :
    ]
    a, b = (Tensor(generator, values(generator, dtype, s)) for s in (shape, small))
    if data.draw(st.booleans()):
        b.scale, b.zero = a.scale, a.zero
    if dtype == "float32":
        a.value, b.value = np.round(a.value), np.round(b.value)
    (want,) = litert(name, [a.tflite, b.tflite], [T(dtype="bool")], version=2)
    check(api, COMPARISONS[name], [a.nnapi, b.nnapi], [tensor(want)])


@pytest.mark.parametrize("kind", ["DENSE", "SPARSE"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("row", [1, 2, 3, 4, 7, 9, 15, 16, 17, 31, 40, 62])
def test_lsh_projection(api: Nnapi, kind: str, weighted: bool, row: int) -> None:
    """Rows of 4 to 248 bytes go through every branch of the fingerprint."""
    generator = np.random.default_rng(row)
    hashes = generator.standard_normal((3, 5)).astype(np.float32)
    x = generator.integers(-(2**31), 2**31, (4, row)).astype(np.int32)
    weight = generator.standard_normal(4).astype(np.float32)
    inputs = [T(hashes, const=True), T(x), *([T(weight)] if weighted else [])]
    code = 2 if kind == "DENSE" else 1
    (want,) = litert("LSH_PROJECTION", inputs, [T(dtype="int32")], type=code)
    omitted = Operand(tensor(weight).type, None)
    operands = [tensor(hashes), tensor(x), tensor(weight) if weighted else omitted]
    check(api, LSH_PROJECTION, [*operands, scalar(2 if kind == "DENSE" else 3)], [tensor(want)])
