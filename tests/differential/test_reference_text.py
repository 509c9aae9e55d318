"""String tensors: SKIP_GRAM, and operators that move or compare strings, against LiteRT."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import COMPARED, examples, run_litert, run_ours
from tests.modelbuilder import ModelBuilder


def strings(values, shape=None):
    array = np.empty(len(values), object)
    array[:] = values
    return array if shape is None else array.reshape(shape)


def check(op, inputs, kinds, out, **options):
    builder = ModelBuilder()
    tensors = [builder.tensor(f"x{n}", kind, np.shape(a)) for n, (a, kind) in enumerate(zip(inputs, kinds))]
    y = builder.tensor("y", out, ())
    builder.op(op, tensors, [y], **options)
    model = builder.build(tensors, [y])
    want, have = run_litert(model, inputs)[0], run_ours(model, inputs)[0]
    assert have.shape == want.shape
    assert have.tolist() == want.tolist()
    COMPARED[op, ",".join(kinds[:2])] += 1


WORDS = st.text(alphabet="ab \t", min_size=1, max_size=14)


@examples
@given(sentence=WORDS, size=st.integers(1, 4), skip=st.integers(0, 3), shorter=st.booleans())
def test_skip_gram(sentence, size, skip, shorter):
    check("SKIP_GRAM", [strings([sentence.encode()], (1,))], ["string"], "string", ngram_size=size, max_skip_size=skip,
          include_all_ngrams=shorter)  # fmt: skip


LISTS = st.lists(st.text(alphabet="abé", max_size=3).map(str.encode), min_size=4, max_size=4)


@pytest.mark.parametrize("op", ["EQUAL", "NOT_EQUAL"])
@examples
@given(first=LISTS, second=LISTS)
def test_comparison(op, first, second):
    check(op, [strings(first, (2, 2)), strings(second, (2, 2))], ["string", "string"], "bool")


@examples
@given(values=LISTS, indices=st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_gather(values, indices):
    check("GATHER", [strings(values), np.asarray(indices, np.int32)], ["string", "int32"], "string", axis=0)


@examples
@given(values=LISTS, multiples=st.lists(st.integers(1, 3), min_size=2, max_size=2))
def test_tile(values, multiples):
    check("TILE", [strings(values, (2, 2)), np.asarray(multiples, np.int32)], ["string", "int32"], "string")
