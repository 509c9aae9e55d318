"""Random operators against LiteRT: the same seeds give the same numbers, in the first run and in later ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, floats, rng, run_ours, single

SEED = st.integers(0, 2**32)
SEEDS = st.integers(-(2**63), 2**63 - 1)
#: The lower halves count; where both seeds' are 0 the numbers differ from run to run.
FIRST = SEEDS.filter(lambda seed: seed % 2**32 != 0)


@pytest.mark.parametrize("op", ["RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"])
@examples
@given(shape=st.lists(st.integers(1, 7), min_size=1, max_size=3), seed=FIRST, seed2=SEEDS,
       runs=st.integers(1, 3))  # fmt: skip
def test_floats(op, shape, seed, seed2, runs):
    compare(op, [T(np.asarray(shape, np.int32), const=True)], [T(shape=shape)], rel=1e-6, slack=1e-6, seed=seed,
            seed2=seed2, runs=runs)  # fmt: skip


@examples
@given(rows=st.integers(1, 3), classes=st.integers(1, 6), samples=st.integers(1, 9), seed=FIRST,
       seed2=SEEDS, dtype=st.sampled_from(["int32", "int64"]), runs=st.integers(1, 3), draw=SEED)  # fmt: skip
def test_multinomial(rows, classes, samples, seed, seed2, dtype, runs, draw):
    logits = floats(rng(draw), (rows, classes))
    if draw % 5 == 0:
        logits[0, 0] = -np.inf
    compare("MULTINOMIAL", [T(logits), T(np.asarray(samples, np.int32), const=True)],
            [T(dtype=dtype, shape=(rows, samples))], seed=seed, seed2=seed2, runs=runs)  # fmt: skip


@examples
@given(algorithm=st.sampled_from([0, 1, 2]), three=st.booleans(), shape=st.lists(st.integers(1, 6), max_size=3),
       dtype=st.sampled_from(["int32", "int64", "uint32", "uint64"]), seed=SEED, wrap=st.booleans())  # fmt: skip
def test_bit_generator(algorithm, three, shape, dtype, seed, wrap):
    state = rng(seed).integers(0, 2**64, 3 if three and algorithm != 2 else 2, dtype=np.uint64)
    if wrap:
        state[1] = 2**64 - 2
    compare("STABLEHLO_RNG_BIT_GENERATOR", [T(state)], [T(dtype="uint64", shape=state.shape), T(dtype=dtype, shape=shape)],
            algorithm=algorithm)  # fmt: skip


def test_no_seed_gives_other_numbers_each_time():
    model, _ = single("RANDOM_UNIFORM", [T(np.asarray([9], np.int32), const=True)], [T(shape=(9,))])
    first, second = run_ours(model, [])[0], run_ours(model, [])[0]
    assert (first != second).any() and (first >= 0).all() and (first < 1).all()
