"""SKIP_GRAM on string tensors (arrays of `bytes` objects). Semantics: LiteRT's kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type


def _words(sentence: bytes) -> list[bytes]:
    """The words between white space.

    As in the reference, a sentence is never split before its first byte: a blank there belongs to the first word, and
    takes it along unless it is the only one.
    """
    first, *others = re.split(rb"[ \t\n\v\f\r]", sentence[1:])
    first = sentence[:1] + first
    if others and first[:1].isspace():
        first = b""
    return [word for word in (first, *others) if word]


def _grams(count: int, size: int, skip: int, shorter: bool) -> Iterator[tuple[int, ...]]:
    """Rising index tuples of `size` (with `shorter`, up to `size`) words with at most `skip` left out between two.

    Longer tuples come before the shorter ones that they begin with.
    """

    def extend(taken: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(taken) < size:
            for index in range(taken[-1] + 1, min(taken[-1] + skip + 2, count)):
                yield from extend((*taken, index))
        if shorter or len(taken) == size:
            yield taken

    for first in range(count):
        yield from extend((first,))


@kernel("SKIP_GRAM")
def skip_gram(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The n-grams of a sentence (the first string of input 0) as a vector of strings.

    `ngram_size` words each, or with `include_all_ngrams` also fewer; `max_skip_size` words may be left out between two.
    """
    sentences, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, sentences, "type of input 0", np.object_)
    size, skip = int(options.ngram_size), int(options.max_skip_size)
    if size < 1:
        fail(node, "ngram_size", size, "1 or more")
    if skip < 0:
        fail(node, "max_skip_size", skip, "0 or more")
    if sentences.size == 0:
        fail(node, "elements of input 0", 0, "1 or more")
    words = _words(bytes(sentences.reshape(-1)[0]))
    grams: list[bytes] = []
    if len(words) >= size:
        chosen = _grams(len(words), size, skip, bool(options.include_all_ngrams))
        grams = [b" ".join(words[index] for index in taken) for taken in chosen]
    result = np.empty(len(grams), object)
    result[:] = grams
    return [result]
