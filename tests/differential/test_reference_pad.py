"""PAD, PADV2, MIRROR_PAD, DILATE, STABLEHLO_PAD against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, integers, rng

SEED = st.integers(0, 2**32)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
DTYPES = [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64]


def case(generator, dtype, shape):
    """Values and fitting quantisation parameters."""
    if dtype == np.float32:
        return T(generator.standard_normal(shape).astype(dtype)), {}
    parameters = {"scale": 0.25, "zero_point": 0 if dtype == np.int16 else 7}
    parameters = parameters if np.dtype(dtype).itemsize < 4 else {}
    return T(integers(generator, dtype, shape), **parameters), parameters


@pytest.mark.parametrize("wide", [np.int32, np.int64])
@pytest.mark.parametrize("op", ["PAD", "PADV2"])
@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(shape=SHAPES, seed=SEED)
def test_pad(op, dtype, wide, shape, seed):
    generator = rng(seed)
    x, parameters = case(generator, dtype, shape)
    amounts = T(generator.integers(0, 3, (len(shape), 2)).astype(wide), const=True)
    inputs = [x, amounts]
    if op == "PADV2":
        inputs.append(T(np.asarray([5], dtype), const=True, **parameters))
    compare(op, inputs, [T(dtype=np.dtype(dtype).name, **parameters)], version=2)


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, np.int64])
@examples
@given(shape=SHAPES, seed=SEED)
def test_mirror_pad(mode, dtype, shape, seed):
    generator = rng(seed)
    x, parameters = case(generator, dtype, shape)
    limits = np.asarray(shape)[:, None] - (1 - mode)
    amounts = np.minimum(generator.integers(0, 4, (len(shape), 2)), limits).astype(np.int32)
    compare("MIRROR_PAD", [x, T(amounts, const=True)], [T(dtype=np.dtype(dtype).name, **parameters)], mode=mode, version=2)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int16, np.int32, np.int64])
@examples
@given(shape=SHAPES, seed=SEED)
def test_dilate(dtype, shape, seed):
    generator = rng(seed)
    x, _ = case(generator, dtype, shape)
    x.scale = x.zero_point = None
    factors = T(generator.integers(1, 4, len(shape)).astype(np.int32), const=True)
    compare("DILATE", [x, factors, T(np.asarray(9, dtype), const=True)], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int16, np.int32, np.int64])
@examples
@given(shape=SHAPES, seed=SEED)
def test_stablehlo_pad(dtype, shape, seed):
    generator = rng(seed)
    x, _ = case(generator, dtype, shape)
    x.scale = x.zero_point = None
    interior = generator.integers(0, 3, len(shape))
    spread = (np.asarray(shape) - 1) * (interior + 1) + 1
    low = np.maximum(generator.integers(-2, 3, len(shape)), -(spread // 3))
    high = np.maximum(generator.integers(-2, 3, len(shape)), -(spread // 3))
    compare("STABLEHLO_PAD", [x, T(np.asarray(9, dtype), const=True)], [T(dtype=np.dtype(dtype).name)],
            edge_padding_low=low.tolist(), edge_padding_high=high.tolist(), interior_padding=interior.tolist())
