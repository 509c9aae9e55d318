"""Rewrites: other ways to say a node that its plain rule refuses, each with the same results.

    int8-as-uint8              int8 tensors travel as uint8 with a zero point moved by 128 (below feature level 4)
    dequantized-weights        8-bit weights of float operators become float32 constants
    constant-folding           what depends on constants and shapes only is computed while planning

and those of `RULES`, which stand in for an operator's own rule. A rewrite is `exact` when quantised and integer results
are the same bit for bit, and float results differ by rounding only. Others are used on request (`--allow-inexact`).
"""

from __future__ import annotations

from nnapi_toolkit.delegate.ops.base import DEQUANTIZED_WEIGHTS, INT8_AS_UINT8
from nnapi_toolkit.delegate.rewrites import (
    activations,
    channels,
    convolution,
    early,
    matmul,
    recurrent,
    shapes,
    tables,
    upsampling,
)
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.delegate.rewrites.folding import CONSTANT_FOLDING

#: Rewrites of one node, in the order in which they are tried.
RULES: tuple[Rewrite, ...] = (
    *shapes.REWRITES,
    *convolution.REWRITES,
    *channels.REWRITES,
    *matmul.REWRITES,
    *activations.REWRITES,
    *recurrent.REWRITES,
    *tables.REWRITES,
    *early.REWRITES,
    *upsampling.REWRITES,
)

#: Operator -> its rewrites.
BY_OPERATOR: dict[str, tuple[Rewrite, ...]] = {}
for _rewrite in RULES:
    for _op in _rewrite.ops:
        BY_OPERATOR[_op] = (*BY_OPERATOR.get(_op, ()), _rewrite)

#: Name -> one line; every rewrite there is.
SUMMARIES: dict[str, str] = {
    INT8_AS_UINT8: "int8 tensors travel as uint8 with the zero point moved by 128 (below feature level 4)",
    DEQUANTIZED_WEIGHTS: "8-bit weights of float operators become float32 constants",
    CONSTANT_FOLDING: "what depends on constants and shapes only is computed while planning",
    **{rewrite.name: rewrite.summary for rewrite in RULES},
}

#: Used unless switched off.
DEFAULT: frozenset[str] = frozenset(
    {INT8_AS_UINT8, DEQUANTIZED_WEIGHTS, CONSTANT_FOLDING, *(r.name for r in RULES if r.exact)}
)

#: Those that leave every result as it is, bit for bit.
EXACT: frozenset[str] = DEFAULT - {DEQUANTIZED_WEIGHTS}

#: All of them.
ALL: frozenset[str] = frozenset(SUMMARIES)
