"""Binary operators against LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from tests.differential.litert import T, compare, examples, floats, integers, quantized, rng, scale, zero_point

SEED = st.integers(0, 2**32)
ACTIVATION = st.sampled_from([0, 1, 2, 3])


def pairs(rank=4):
    """Two shapes that broadcast."""
    return mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=rank, max_side=4).map(
        lambda both: both.input_shapes
    )


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shapes=pairs(5), activation=ACTIVATION, seed=SEED)
def test_arithmetic(op, dtype, shapes, activation, seed):
    generator = rng(seed)
    if dtype == np.float32:
        values = [floats(generator, shape) for shape in shapes]
    else:
        values = [generator.integers(-1000, 1000, shape).astype(dtype) for shape in shapes]
    if op == "DIV":
        values[1] = np.where(values[1] == 0, dtype(7), values[1])
    more = {} if op != "DIV" or dtype == np.float32 else {"version": 2}
    compare(op, [T(v) for v in values], [T(dtype=np.dtype(dtype).name)], fused_activation_function=activation, **more)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@examples
@given(shapes=pairs(), seed=SEED)
def test_int64(op, shapes, seed):
    values = [rng(seed + i).integers(-(2**40), 2**40, shape) for i, shape in enumerate(shapes)]
    values = [v // 2**20 for v in values] if op == "MUL" else values
    compare(op, [T(v) for v in values], [T(dtype="int64")], version={"ADD": 4, "SUB": 4, "MUL": 6}[op])


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "DIV"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@examples
@given(shapes=pairs(4), activation=ACTIVATION, seed=SEED)
def test_quantized(op, dtype, shapes, activation, seed):
    if op == "SQUARED_DIFFERENCE" and dtype != np.int8:
        pytest.skip("the reference has no such kernel")
    generator = rng(seed)
    inputs = [quantized(generator, dtype, shape) for shape in shapes]
    if op == "DIV":
        other = inputs[1].zero_point + (3 if inputs[1].zero_point < 100 else -3)
        inputs[1].data = np.where(inputs[1].data == inputs[1].zero_point, other, inputs[1].data).astype(dtype)
    wide = 256 if dtype == np.int16 and op in ("MUL", "SQUARED_DIFFERENCE") else 1
    out = scale(generator, 0.01, 1.0) * wide
    y = T(dtype=np.dtype(dtype).name, scale=out, zero_point=zero_point(generator, dtype))
    options = {} if op == "SQUARED_DIFFERENCE" else {"fused_activation_function": activation}
    if op in ("ADD", "SUB"):
        options["pot_scale_int16"] = False
    compare(op, inputs, [y], version=2 if op != "ADD" else 3, **options)


@pytest.mark.parametrize("op", ["ADD", "SUB"])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), shift=st.integers(0, 4), first=st.booleans(), seed=SEED)
def test_power_of_two_scales(op, shape, shift, first, seed):
    generator = rng(seed)
    shapes = (shape, shape)
    scales = [2.0**-8, 2.0 ** -(8 + shift)]
    scales = scales if first else scales[::-1]
    inputs = [T(integers(generator, np.int16, s), scale=c, zero_point=0) for s, c in zip(shapes, scales)]
    compare(op, inputs, [T(dtype="int16", scale=2.0**-8, zero_point=0)], pot_scale_int16=True, version=3)


@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int16, np.int32, np.int64])
@examples
@given(shapes=pairs(), seed=SEED)
def test_extremes(op, dtype, shapes, seed):
    generator = rng(seed)
    parameters = {"scale": 0.5, "zero_point": 3} if dtype in (np.int8, np.uint8) else {}
    values = [floats(generator, s) if dtype == np.float32 else integers(generator, dtype, s) for s in shapes]
    compare(op, [T(v, **parameters) for v in values], [T(dtype=np.dtype(dtype).name, **parameters)], version=4)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shapes=pairs(), seed=SEED)
def test_pow(dtype, shapes, seed):
    generator = rng(seed)
    if dtype == np.float32:
        values = [np.abs(floats(generator, shapes[0])) + np.float32(0.01), floats(generator, shapes[1])]
    else:
        values = [generator.integers(-5, 6, shapes[0]).astype(dtype), generator.integers(0, 9, shapes[1]).astype(dtype)]
    compare("POW", [T(v) for v in values], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shapes=pairs(), seed=SEED)
def test_squared_difference(dtype, shapes, seed):
    generator = rng(seed)
    values = [floats(generator, s) if dtype == np.float32 else generator.integers(-99, 99, s).astype(dtype) for s in shapes]
    compare("SQUARED_DIFFERENCE", [T(v) for v in values], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize(
    ("op", "dtype"),
    [("FLOOR_DIV", np.float32), ("FLOOR_DIV", np.int32), ("FLOOR_DIV", np.int16), ("FLOOR_DIV", np.int8),
     ("FLOOR_MOD", np.float32), ("FLOOR_MOD", np.int32), ("FLOOR_MOD", np.int64), ("FLOOR_MOD", np.int16),
     ("FLOOR_MOD", np.int8)],
)
@examples
@given(shapes=pairs(), seed=SEED)
def test_floor(op, dtype, shapes, seed):
    generator = rng(seed)
    values = [floats(generator, s) if dtype == np.float32 else generator.integers(-99, 99, s).astype(dtype) for s in shapes]
    values[1] = np.where(values[1] == 0, dtype(-7), values[1])
    compare(op, [T(v) for v in values], [T(dtype=np.dtype(dtype).name)], version=3 if op == "FLOOR_DIV" else 2)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), count=st.integers(2, 5), seed=SEED)
def test_add_n(dtype, shape, count, seed):
    generator = rng(seed)
    values = [floats(generator, shape) if dtype == np.float32 else integers(generator, np.int16, shape).astype(dtype)
              for _ in range(count)]
    compare("ADD_N", [T(v) for v in values], [T(dtype=np.dtype(dtype).name)])


@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=SEED)
def test_atan2(shape, seed):
    compare("ATAN2", [T(floats(rng(seed), shape)), T(floats(rng(seed + 1), shape))], [T(dtype="float32")])


@pytest.mark.parametrize("op", ["BITWISE_XOR", "RIGHT_SHIFT"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32])
@examples
@given(shapes=pairs(), seed=SEED)
def test_bits(op, dtype, shapes, seed):
    generator = rng(seed)
    values = [integers(generator, dtype, s) for s in shapes]
    if op == "RIGHT_SHIFT":
        low = 0 if np.dtype(dtype).kind == "u" else -3
        values[1] = generator.integers(low, 40, shapes[1]).astype(dtype)
    compare(op, [T(v) for v in values], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("op", ["STABLEHLO_ADD", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_MINIMUM"])
@pytest.mark.parametrize(
    "dtype",
    [np.float32, np.float64, np.float16, np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64,
     np.uint64],
)  # fmt: skip
@examples
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), seed=SEED)
def test_stablehlo(op, dtype, shape, seed):
    generator = rng(seed)
    values = [floats(generator, shape).astype(dtype) if np.dtype(dtype).kind == "f"
              else generator.integers(-999 if np.dtype(dtype).kind == "i" else 0, 2 if dtype == np.bool_ else 999, shape).astype(dtype)
              for _ in range(2)]  # fmt: skip
    compare(op, [T(v) for v in values], [T(dtype=np.dtype(dtype).name)])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@examples
@given(shape=st.lists(st.integers(1, 4), max_size=3).map(tuple), exponent=st.integers(0, 40), rank=st.integers(0, 4),
       half=st.booleans(), seed=SEED)  # fmt: skip
def test_pow_with_a_single_exponent(dtype, shape, exponent, rank, half, seed):
    """Whole exponents multiply: int32 wraps, floats round at every step and stay finite."""
    generator = rng(seed)
    base = floats(generator, shape) if dtype == np.float32 else generator.integers(-50, 50, shape).astype(dtype)
    value = np.full((1,) * rank, exponent + 0.5 * (half and dtype == np.float32), dtype)
    whole = dtype == np.int32 or (base.shape != value.shape and not half)
    exact = {"rel": 0, "ulps": 0} if whole else {}
    compare("POW", [T(base), T(value)], [T(dtype=np.dtype(dtype).name)], **exact)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("activation", [0, 1])
def test_floats_stay_finite(op, activation):
    """The reference clamps to the largest float where there is no narrower activation."""
    values = np.array([1e38, 3e38, -3e38, 1, 0, np.inf, -np.inf, np.nan], np.float32)
    first, second = (T(np.ascontiguousarray(a)) for a in np.meshgrid(values, values))
    compare(op, [first, second], [T()], rel=0, ulps=0, fused_activation_function=activation)
