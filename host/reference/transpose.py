"""TRANSPOSE, REVERSE_V2, REVERSE_SEQUENCE: bytes in another order.

Semantics: LiteRT's reference kernels, which take any dtype.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, axis_of, fail, kernel, operand


@kernel("TRANSPOSE")
def transpose(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Dimensions in the order of input 1 (int32), a permutation."""
    values, order = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "perm")
    axes = [axis_of(node, int(axis), values.ndim, "perm") for axis in order.reshape(-1)]
    if sorted(axes) != list(range(values.ndim)):
        fail(
            node,
            "input 1 (perm)",
            [int(a) for a in order.reshape(-1)],
            f"a permutation of {values.ndim} dimensions",
        )
    return [np.ascontiguousarray(values.transpose(axes))]


@kernel("REVERSE_V2")
def reverse_v2(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Reverses the axes in input 1.

    Any dtype; axes int32.
    """
    values, given = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "axis")
    axes = [axis_of(node, int(axis), values.ndim) for axis in given.reshape(-1)]
    if len(set(axes)) != len(axes):
        fail(node, "input 1 (axis)", axes, "without repeats")
    return [np.ascontiguousarray(np.flip(values, tuple(axes)))]


@kernel("REVERSE_SEQUENCE")
def reverse_sequence(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Reverses the first `seq_lengths[b]` steps along `seq_dim` of each batch item b of `batch_dim`.

    Any dtype; lengths int32 or int64 [batch].
    """
    values, lengths = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "seq_lengths")
    options = node.operator.options
    sequence = axis_of(node, options.seq_dim, values.ndim, "seq_dim")
    batch = axis_of(node, options.batch_dim, values.ndim, "batch_dim")
    if sequence == batch:
        fail(node, "seq_dim", sequence, "other than batch_dim")
    if lengths.shape != (values.shape[batch],):
        fail(node, "shape of input 1 (seq_lengths)", list(lengths.shape), f"[{values.shape[batch]}]")
    result = values.copy()
    ordered, source = (np.moveaxis(a, (batch, sequence), (0, 1)) for a in (result, values))
    for index, length in enumerate(int(v) for v in lengths):
        if not 0 <= length <= values.shape[sequence]:
            fail(node, f"seq_lengths[{index}]", length, f"from 0 to {values.shape[sequence]}")
        ordered[index, :length] = source[index, :length][::-1]
    return [result]
