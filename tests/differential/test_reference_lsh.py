"""LSH_PROJECTION against LiteRT: items of all lengths that the fingerprint tells apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, integers, rng

SEED = st.integers(0, 2**32)


@examples
@given(functions=st.integers(1, 4), bits=st.integers(1, 5), rows=st.integers(1, 4), width=st.integers(1, 40),
       dtype=st.sampled_from(["int8", "uint8", "int32", "float32"]), weighted=st.booleans(), kind=st.sampled_from([1, 2]),
       seed=SEED)  # fmt: skip
def test_lsh_projection(functions, bits, rows, width, dtype, weighted, kind, seed):
    generator = rng(seed)
    values = floats(generator, (rows, width)) if dtype == "float32" else integers(generator, dtype, (rows, width))
    tensors = [T(floats(generator, (functions, bits))), T(values)]
    if weighted:
        tensors.append(T(floats(generator, (rows,))))
    shape = (functions,) if kind == 1 else (functions * bits,)
    compare("LSH_PROJECTION", tensors, [T(dtype="int32", shape=shape)], type=kind)
