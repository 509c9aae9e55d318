"""CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V.

Semantics: LiteRT's reference kernels; bytes move, except for uint8 CONCATENATION, which may rescale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    axis_of,
    check_shape,
    fail,
    kernel,
    operand,
    tensor_in,
)
from nnapi_toolkit.reference.fixed_point import round_half_away
from nnapi_toolkit.reference.quantized import look_up, scale_or_zero, zero_point_of


def _all_inputs(node: Node, inputs: Sequence[Array | None], count: int | None = None) -> list[Array]:
    wanted = len(inputs) if count is None else count
    if wanted < 1 or wanted > len(inputs):
        fail(node, "number of inputs", len(inputs), f"at least {max(1, wanted)}")
    return [operand(node, inputs, index, "part") for index in range(wanted)]


@kernel("CONCATENATION")
def concatenation(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Joins tensors of equal rank and type along `axis`; constant scalars join to a vector.

    uint8 inputs whose parameters differ from the output's are rescaled in float32.
    """
    parts = _all_inputs(node, inputs)
    first = parts[0]
    if int(node.operator.options.fused_activation_function) != 0:
        fail(node, "fused_activation_function", node.operator.options.fused_activation_function, "NONE")
    if first.ndim == 0 and node.operator.options.axis in (0, -1):
        parts, first = [part.reshape(1) for part in parts], first.reshape(1)
    axis = axis_of(node, node.operator.options.axis, first.ndim)
    for index, part in enumerate(parts):
        same = part.ndim == first.ndim and all(
            have == want for d, (have, want) in enumerate(zip(part.shape, first.shape)) if d != axis
        )
        if not same or part.dtype != first.dtype:
            fail(
                node,
                f"input {index}",
                f"{part.dtype}{list(part.shape)}",
                f"{first.dtype}{list(first.shape)} outside axis {axis}",
            )
    shape = list(first.shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    check_shape(node, shape)
    if first.dtype == np.uint8:
        parts = [_rescaled(node, index, part) for index, part in enumerate(parts)]
    return [np.concatenate(parts, axis=axis)]


def _rescaled(node: Node, index: int, part: Array) -> Array:
    source, target = tensor_in(node, index), node.output(0)
    scale_in, scale_out = np.float32(scale_or_zero(source)), np.float32(scale_or_zero(target))
    zero_in, zero_out = zero_point_of(source), zero_point_of(target)
    if (scale_in == scale_out and zero_in == zero_out) or scale_out == 0:
        return part
    scale = scale_in * (np.float32(1) / scale_out)
    bias = np.float32(-zero_in) * scale
    numbers = np.arange(256, dtype=np.float32)
    table = np.clip(round_half_away(numbers * scale + bias) + zero_out, 0, 255).astype(np.uint8)
    return look_up(part, table)


@kernel("PACK")
def pack(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Stacks `values_count` tensors of equal shape along a new axis.

    Any dtype, quantised ones with equal parameters; the output has one dimension more.
    """
    options = node.operator.options
    parts = _all_inputs(node, inputs, options.values_count)
    axis = axis_of(node, options.axis, parts[0].ndim + 1)
    for index, part in enumerate(parts):
        if part.shape != parts[0].shape or part.dtype != parts[0].dtype:
            fail(
                node,
                f"input {index}",
                f"{part.dtype}{list(part.shape)}",
                f"{parts[0].dtype}{list(parts[0].shape)}",
            )
    check_shape(node, (*parts[0].shape, len(parts)))
    return [np.stack(parts, axis=axis)]


@kernel("UNPACK")
def unpack(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """One output per index along `axis`; `num` must be that dimension.

    Any dtype; the outputs have one dimension less.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    axis = axis_of(node, options.axis, values.ndim)
    if values.shape[axis] != options.num:
        fail(node, "num", options.num, f"the dimension {values.shape[axis]} of axis {axis}")
    return [np.array(part, order="C") for part in np.moveaxis(values, axis, 0)]


@kernel("SPLIT")
def split(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """`num_splits` equal parts along the axis in input 0 (int32 scalar)."""
    where, values = operand(node, inputs, 0, "axis"), operand(node, inputs, 1, "input")
    count = node.operator.options.num_splits
    axis = axis_of(node, int(where.reshape(-1)[0]), values.ndim)
    if count < 1 or values.shape[axis] % count:
        fail(node, "num_splits", count, f"a divisor of the dimension {values.shape[axis]} of axis {axis}")
    return [np.ascontiguousarray(part) for part in np.split(values, count, axis=axis)]


@kernel("SPLIT_V")
def split_v(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Parts of the sizes in input 1 along the axis in input 2; one size may be -1 and takes the rest.

    Any dtype; sizes int32 or int64, axis int32.
    """
    values, sizes = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "size_splits")
    axis = axis_of(node, int(operand(node, inputs, 2, "axis").reshape(-1)[0]), values.ndim)
    lengths = [int(size) for size in sizes.reshape(-1)]
    if len(lengths) != node.operator.options.num_splits:
        fail(
            node,
            "elements of input 1 (size_splits)",
            len(lengths),
            f"num_splits {node.operator.options.num_splits}",
        )
    if lengths.count(-1) > 1 or any(length < -1 for length in lengths):
        fail(node, "input 1 (size_splits)", lengths, "non-negative, at most one -1")
    if -1 in lengths:
        lengths[lengths.index(-1)] = values.shape[axis] - sum(length for length in lengths if length >= 0)
    if sum(lengths) != values.shape[axis] or min(lengths, default=0) < 0:
        fail(node, "input 1 (size_splits)", lengths, f"adding up to {values.shape[axis]}")
    return [np.ascontiguousarray(part) for part in np.split(values, np.cumsum(lengths)[:-1], axis=axis)]
