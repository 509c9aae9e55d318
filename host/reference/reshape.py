"""RESHAPE, SQUEEZE, EXPAND_DIMS, SHAPE, RANK: the same bytes under another shape, and shapes as tensors.

Semantics: LiteRT's kernels, which take any dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, axis_of, check_shape, fail, kernel, operand, optional


@kernel("RESHAPE")
def reshape(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The shape comes from input 1 (int32 vector), else from the option `new_shape`; one dimension may be -1."""
    values = operand(node, inputs, 0, "input")
    given = optional(inputs, 1)
    if given is not None and given.ndim == 1 and given.dtype == np.int32:
        wanted = [int(size) for size in given]
    else:
        options = node.operator.options
        wanted = list(options.new_shape) if options.present else list(node.output(0).shape)
        if wanted == [0]:  # how old converters wrote a scalar
            wanted = []
    return [values.reshape(resolve(node, wanted, values.size))]


def resolve(node: Node, wanted: Sequence[int], elements: int) -> tuple[int, ...]:
    """The shape with its -1 filled in.

    Raises:
        ModelError: Two -1, another negative dimension, or another number of elements.
    """
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        fail(node, "new shape", list(wanted), "without negative dimensions, at most one -1")
    known = math.prod(size for size in wanted if size != -1)
    shape = tuple(wanted)
    if -1 in wanted:
        missing = elements // known if known else 0
        shape = tuple(missing if size == -1 else size for size in wanted)
    if math.prod(shape) != elements:
        fail(node, "new shape", list(wanted), f"of the input's {elements} elements")
    return check_shape(node, shape)


@kernel("SQUEEZE")
def squeeze(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Removes the dimensions of size 1 in `squeeze_dims`, or all of them.

    Any dtype.
    """
    values = operand(node, inputs, 0, "input")
    dims = {axis_of(node, d, values.ndim, "squeeze_dims") for d in node.operator.options.squeeze_dims}
    for axis in dims:
        if values.shape[axis] != 1:
            fail(node, f"dimension {axis} of input 0", values.shape[axis], "1 to be squeezed")
    chosen = dims or {axis for axis, size in enumerate(values.shape) if size == 1}
    return [values.reshape([size for axis, size in enumerate(values.shape) if axis not in chosen])]


@kernel("EXPAND_DIMS")
def expand_dims(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Adds a dimension of size 1 before the axis in input 1 (int32 or int64 scalar)."""
    values, where = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "axis")
    if where.size != 1:
        fail(node, "elements of input 1 (axis)", where.size, "1")
    return [np.expand_dims(values, axis_of(node, int(where.reshape(-1)[0]), values.ndim + 1))]


@kernel("SHAPE")
def shape(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The input's shape as an int32 or int64 vector."""
    return [np.asarray(operand(node, inputs, 0, "input").shape, node.output(0).dtype)]


@kernel("RANK")
def rank(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The input's number of dimensions as an int32 scalar."""
    return [np.asarray(operand(node, inputs, 0, "input").ndim, np.int32)]
