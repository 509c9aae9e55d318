"""Unary operators against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale, zero_point

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize("op", ["ABS", "EXP", "SIN", "COS", "SQUARE", "NEG", "FLOOR", "SIGN", "ZEROS_LIKE"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_float(op, shape, seed):
    compare(op, [T(floats(rng(seed), shape))], [T(dtype="float32")])


@pytest.mark.parametrize("op", ["CEIL", "ROUND"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_rounding_beside_the_optimised_kernel(op, shape, seed):
    """These two are not in the reference resolver; half of the values lie midway between integers."""
    values = floats(rng(seed), shape)
    values.flat[::2] = np.floor(values.flat[::2]) + np.float32(0.5)
    compare(op, [T(values)], [T(dtype="float32")], resolver="BUILTIN_WITHOUT_DEFAULT_DELEGATES")


@pytest.mark.parametrize("op", ["LOG", "SQRT", "RSQRT"])
@examples
@given(shape=SHAPES, seed=SEED)
def test_positive_float(op, shape, seed):
    compare(op, [T(np.abs(floats(rng(seed), shape)) + np.float32(1e-3))], [T(dtype="float32")])


@pytest.mark.parametrize(
    ("op", "dtype"),
    [("ABS", np.int32), ("ABS", np.int16), ("NEG", np.int8), ("NEG", np.int16), ("NEG", np.int32), ("NEG", np.int64),
     ("SIGN", np.int32), ("ZEROS_LIKE", np.int32), ("ZEROS_LIKE", np.int64)],
)
@examples
@given(shape=SHAPES, seed=SEED)
def test_plain_integers(op, dtype, shape, seed):
    compare(op, [T(integers(rng(seed), dtype, shape))], [T(dtype=np.dtype(dtype).name)], version=2 if op == "ABS" else 1)


@pytest.mark.parametrize("op", ["ABS", "EXP", "LOG", "SQRT", "RSQRT"])
@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@examples
@given(shape=SHAPES, seed=SEED)
def test_quantized(op, dtype, shape, seed):
    generator = rng(seed)
    wide = dtype == np.int16
    x = quantized(generator, dtype, shape, scale=scale(generator, *((1e-5, 2e-4) if wide else (0.002, 0.05))))
    y_scale = scale(generator, *((1e-4, 1e-2) if wide else (0.01, 0.2)))
    if op in ("SQRT", "RSQRT", "LOG"):
        x.zero_point = 0 if wide else -128
        x.data = np.maximum(x.data, 0) if wide else x.data
    y = T(dtype=np.dtype(dtype).name, scale=y_scale, zero_point=zero_point(generator, dtype))
    compare(op, [x], [y], version={"ABS": 3, "RSQRT": 3}.get(op, 2))


@examples
@given(shape=SHAPES, seed=SEED)
def test_logical_not(shape, seed):
    compare("LOGICAL_NOT", [T(rng(seed).random(shape) < 0.5)], [T(dtype="bool")])


@pytest.mark.parametrize(("op", "out"), [("COMPLEX_ABS", "float32"), ("REAL", "float32"), ("IMAG", "float32")])
@examples
@given(shape=SHAPES, seed=SEED)
def test_complex(op, out, shape, seed):
    generator = rng(seed)
    values = (floats(generator, shape) + 1j * floats(generator, shape)).astype(np.complex64)
    compare(op, [T(values)], [T(dtype=out)])
