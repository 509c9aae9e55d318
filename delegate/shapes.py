"""Shapes of an operator's outputs from the shapes of its inputs: what a model with open dimensions becomes once they are given.

Used where the file does not say (a signature with -1) or where the user gives other input shapes. Operators that are missing
here keep the file's shapes as long as their inputs have theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.schema.enums import LSHProjectionType, Padding, TensorType

Shape = tuple[int, ...]
Inputs = Sequence[Tensor | None]
#: Answers the outputs' shapes; None where a value that they depend on is not known.
InferFunction = Callable[[Node, Inputs], "tuple[Shape, ...] | None"]


class ShapeError(Exception):
    """Shapes that do not go together, with the reason."""


def infer(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    """Output shapes of a node.

    Args:
        node: The node; its own input shapes are not looked at.
        inputs: The input tensors with their shapes as they are now, known values as constants.

    Returns:
        One shape for each output; None when they depend on a value that is not known, or the operator is not covered.

    Raises:
        ShapeError: The shapes contradict the operator.
    """
    rule = _RULES.get(node.operator.name) if node.operator.custom_code is None else None
    if rule is None:
        return None
    try:
        return rule(node, inputs)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise ShapeError(f"{node.path} ({node.name}): {error}") from None


def covered(name: str) -> bool:
    """True for operators whose shapes can be inferred."""
    return name in _RULES


def _need(inputs: Inputs, position: int) -> Tensor:
    tensor = inputs[position] if position < len(inputs) else None
    if tensor is None:
        raise ValueError(f"input {position} is missing")
    return tensor


def _values(inputs: Inputs, position: int) -> list[int] | None:
    """The value of a constant integer input; None when it is not known."""
    tensor = _need(inputs, position)
    data = tensor.data if tensor.is_constant else None
    return None if data is None else [int(v) for v in data.reshape(-1)]


def _axis(value: int, rank: int) -> int:
    if not -rank <= value < rank:
        raise ValueError(f"axis {value} is outside rank {rank}")
    return value % rank


# -- the same shape, and broadcasting -------------------------------------------------------------------------------


def _same(position: int = 0) -> InferFunction:
    return lambda node, inputs: (_need(inputs, position).shape,)


def _broadcast(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    return (tuple(int(d) for d in np.broadcast_shapes(*(t.shape for t in inputs if t is not None))),)


# -- windows --------------------------------------------------------------------------------------------------------


def _windows(size: int, kernel: int, stride: int, dilation: int, padding: Padding) -> int:
    reach = (kernel - 1) * dilation + 1
    return -(-size // stride) if padding == Padding.SAME else max(0, (size - reach) // stride + 1)


def _spatial(shape: Shape, kernel: Sequence[int], options: Any, dilated: bool) -> tuple[int, int]:
    dilation = (options.dilation_h_factor, options.dilation_w_factor) if dilated else (1, 1)
    strides = (options.stride_h, options.stride_w)
    sizes = [_windows(shape[i + 1], kernel[i], strides[i], dilation[i], options.padding) for i in (0, 1)]
    return sizes[0], sizes[1]


def _conv(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, w = _need(inputs, 0).shape, _need(inputs, 1).shape
    return ((x[0], *_spatial(x, w[1:3], node.options, True), w[0]),)


def _depthwise(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, w = _need(inputs, 0).shape, _need(inputs, 1).shape
    return ((x[0], *_spatial(x, w[1:3], node.options, True), w[3]),)


def _pool(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, o = _need(inputs, 0).shape, node.options
    return ((x[0], *_spatial(x, (o.filter_height, o.filter_width), o, False), x[3]),)


def _given(position: int) -> InferFunction:
    """The output has the shape that an input's value says."""

    def rule(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
        values = _values(inputs, position)
        return None if values is None else (tuple(values),)

    return rule


def _resize(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    x, size = _need(inputs, 0).shape, _values(inputs, 1)
    return None if size is None else ((x[0], size[0], size[1], x[3]),)


# -- matrices -------------------------------------------------------------------------------------------------------


def _fully_connected(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, (units, depth) = _need(inputs, 0).shape, _need(inputs, 1).shape
    if node.options.keep_num_dims:
        return ((*x[:-1], units),)
    if prod(x) % depth:
        raise ValueError(f"{list(x)} is no multiple of {depth} inputs")
    return ((prod(x) // depth, units),)


def _matmul(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    a, b = _need(inputs, 0).shape, _need(inputs, 1).shape
    rows = a[-1] if node.options.adj_x else a[-2]
    columns = b[-2] if node.options.adj_y else b[-1]
    return ((*(int(d) for d in np.broadcast_shapes(a[:-2], b[:-2])), rows, columns),)


# -- rearrangement --------------------------------------------------------------------------------------------------


def _reshape(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    x = _need(inputs, 0)
    if len(inputs) > 1 and inputs[1] is not None and len(inputs[1].shape) == 1:
        values = _values(inputs, 1)
        if values is None:
            return None
    else:
        values = [int(v) for v in node.options.new_shape]
        values = [] if values == [0] else values
    count = prod(x.shape)
    if values.count(-1) == 1:
        rest = prod(v for v in values if v != -1)
        if not rest or count % rest:
            raise ValueError(f"{list(x.shape)} does not become {values}")
        values[values.index(-1)] = count // rest
    if prod(values) != count:
        raise ValueError(f"{list(x.shape)} does not become {values}")
    return (tuple(values),)


def _squeeze(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    shape = _need(inputs, 0).shape
    axes = {_axis(int(d), len(shape)) for d in node.options.squeeze_dims}
    axes = axes or {i for i, size in enumerate(shape) if size == 1}
    return (tuple(size for i, size in enumerate(shape) if i not in axes),)


def _expand_dims(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = list(_need(inputs, 0).shape), _values(inputs, 1)
    if values is None:
        return None
    shape.insert(_axis(values[0], len(shape) + 1), 1)
    return (tuple(shape),)


def _concatenation(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    first = list(_need(inputs, 0).shape)
    axis = _axis(node.options.axis, len(first))
    first[axis] = sum(t.shape[axis] for t in inputs if t is not None)
    return (tuple(first),)


def _pack(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    shape = list(_need(inputs, 0).shape)
    shape.insert(_axis(node.options.axis, len(shape) + 1), len(inputs))
    return (tuple(shape),)


def _unpack(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    shape = list(_need(inputs, 0).shape)
    del shape[_axis(node.options.axis, len(shape))]
    return (tuple(shape),) * len(node.operator.outputs)


def _split(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = list(_need(inputs, 1).shape), _values(inputs, 0)
    if values is None:
        return None
    axis, count = _axis(values[0], len(shape)), len(node.operator.outputs)
    shape[axis] //= count
    return (tuple(shape),) * count


def _split_v(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, sizes, axes = _need(inputs, 0).shape, _values(inputs, 1), _values(inputs, 2)
    if sizes is None or axes is None:
        return None
    axis = _axis(axes[0], len(shape))
    known = sum(s for s in sizes if s != -1)
    resolved = [shape[axis] - known if s == -1 else s for s in sizes]
    return tuple((*shape[:axis], s, *shape[axis + 1 :]) for s in resolved)


def _pad(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = _need(inputs, 0).shape, _values(inputs, 1)
    if values is None:
        return None
    return (tuple(size + values[2 * i] + values[2 * i + 1] for i, size in enumerate(shape)),)


def _transpose(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = _need(inputs, 0).shape, _values(inputs, 1)
    return None if values is None else (tuple(shape[_axis(v, len(shape))] for v in values),)


def _slice(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, begin, size = _need(inputs, 0).shape, _values(inputs, 1), _values(inputs, 2)
    if begin is None or size is None:
        return None
    return (tuple(length - b if s == -1 else s for length, b, s in zip(shape, begin, size)),)


def _gather(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, positions = _need(inputs, 0).shape, _need(inputs, 1).shape
    axis, batch = _axis(node.options.axis, len(x)), node.options.batch_dims
    batch = batch + len(positions) if batch < 0 else batch
    return ((*x[:axis], *positions[batch:], *x[axis + 1 :]),)


def _tile(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = _need(inputs, 0).shape, _values(inputs, 1)
    return None if values is None else (tuple(size * times for size, times in zip(shape, values)),)


def _to_depth(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    n, h, w, c = _need(inputs, 0).shape
    block = node.options.block_size
    return ((n, h // block, w // block, c * block * block),)


def _to_space(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    n, h, w, c = _need(inputs, 0).shape
    block = node.options.block_size
    return ((n, h * block, w * block, c // (block * block)),)


def _to_batch(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, block, pads = _need(inputs, 0).shape, _values(inputs, 1), _values(inputs, 2)
    if block is None or pads is None:
        return None
    inner = [(shape[i + 1] + pads[2 * i] + pads[2 * i + 1]) // b for i, b in enumerate(block)]
    return ((shape[0] * prod(block), *inner, *shape[len(block) + 1 :]),)


def _from_batch(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, block, crops = _need(inputs, 0).shape, _values(inputs, 1), _values(inputs, 2)
    if block is None or crops is None:
        return None
    inner = [shape[i + 1] * b - crops[2 * i] - crops[2 * i + 1] for i, b in enumerate(block)]
    return ((shape[0] // prod(block), *inner, *shape[len(block) + 1 :]),)


# -- reductions, lookups --------------------------------------------------------------------------------------------


def _reduce(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = _need(inputs, 0).shape, _values(inputs, 1)
    if values is None:
        return None
    axes = {_axis(v, len(shape)) for v in values}
    if node.options.keep_dims:
        return (tuple(1 if i in axes else size for i, size in enumerate(shape)),)
    return (tuple(size for i, size in enumerate(shape) if i not in axes),)


def _arg(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = list(_need(inputs, 0).shape), _values(inputs, 1)
    if values is None:
        return None
    del shape[_axis(values[0], len(shape))]
    return (tuple(shape),)


def _topk(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = _need(inputs, 0).shape, _values(inputs, 1)
    return None if values is None else ((*shape[:-1], values[0]),) * 2


def _one_hot(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    shape, values = list(_need(inputs, 0).shape), _values(inputs, 1)
    if values is None:
        return None
    shape.insert(_axis(node.options.axis, len(shape) + 1), values[0])
    return (tuple(shape),)


def _embedding(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    return ((_need(inputs, 0).shape[0], *_need(inputs, 1).shape[1:]),)


def _hashtable(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    count = _need(inputs, 0).shape[0]
    return (count, *_need(inputs, 2).shape[1:]), (count,)


def _lsh(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    hashes, bits = _need(inputs, 0).shape
    return ((hashes if node.options.type == LSHProjectionType.SPARSE else hashes * bits,),)


def _range(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    parts = [t.data if t is not None and t.is_constant else None for t in inputs]
    if any(p is None for p in parts):
        return None
    start, limit, delta = (p.reshape(-1)[0] for p in parts if p is not None)
    return ((max(0, int(np.ceil((limit - start) / delta))),),)


def _recurrent(node: Node, inputs: Inputs) -> tuple[Shape, ...] | None:
    if "LSTM" in node.name and len(inputs) < 20:  # the basic kernel: activation, state, two working memories
        (rows, width), depth = _need(inputs, 0).shape, _need(inputs, 1).shape[-1]
        return ((rows, depth), (rows, depth), (rows, width + depth), (rows, 4 * depth))[: len(node.operator.outputs)]
    x, state = _need(inputs, 0).shape, _need(inputs, 18 if "LSTM" in node.name else 4).shape
    return ((*x[:-1], state[-1]),)


def _two_directions(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    x, positions = _need(inputs, 0).shape, (35, 37) if "LSTM" in node.name else (4, 8)
    forward, backward = (_need(inputs, position).shape[-1] for position in positions)
    if node.options.merge_outputs:
        return ((*x[:-1], forward + backward),)
    return (*x[:-1], forward), (*x[:-1], backward)


def _svdf(node: Node, inputs: Inputs) -> tuple[Shape, ...]:
    return ((_need(inputs, 0).shape[0], _need(inputs, 1).shape[0] // node.options.rank),)


_EQUAL_SHAPE = (
    *("ABS", "CAST", "CEIL", "COS", "CUMSUM", "DENSIFY", "DEQUANTIZE", "ELU", "EXP", "FAKE_QUANT", "FLOOR", "GELU"),
    *("HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LOCAL_RESPONSE_NORMALIZATION", "LOG", "LOGICAL_NOT", "LOGISTIC"),
    *("LOG_SOFTMAX", "NEG", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "REVERSE_V2", "ROUND", "RSQRT"),
    *("SIGN", "SIN", "SOFTMAX", "SQRT", "SQUARE", "TANH", "ZEROS_LIKE"),
)
_BROADCASTING = (
    *("ADD", "ADD_N", "ATAN2", "DIV", "EQUAL", "FLOOR_DIV", "FLOOR_MOD", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"),
    *("LOGICAL_AND", "LOGICAL_OR", "MAXIMUM", "MINIMUM", "MUL", "NOT_EQUAL", "POW", "PRELU", "SELECT", "SELECT_V2"),
    *("SQUARED_DIFFERENCE", "SUB"),
)
_REDUCING = ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")

_RULES: dict[str, InferFunction] = {
    **dict.fromkeys(_EQUAL_SHAPE, _same()),
    **dict.fromkeys(_BROADCASTING, _broadcast),
    **dict.fromkeys(_REDUCING, _reduce),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), _pool),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _pad),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _arg),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN"), _recurrent),
    **dict.fromkeys(("BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"), _two_directions),
    "SVDF": _svdf,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _given(0),
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matmul,
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "GATHER": _gather,
    "TILE": _tile,
    "BROADCAST_TO": _given(1),
    "FILL": _given(0),
    "SPACE_TO_DEPTH": _to_depth,
    "DEPTH_TO_SPACE": _to_space,
    "SPACE_TO_BATCH_ND": _to_batch,
    "BATCH_TO_SPACE_ND": _from_batch,
    "TOPK_V2": _topk,
    "ONE_HOT": _one_hot,
    "EMBEDDING_LOOKUP": _embedding,
    "HASHTABLE_LOOKUP": _hashtable,
    "LSH_PROJECTION": _lsh,
    "RANGE": _range,
    "SHAPE": lambda node, inputs: ((len(_need(inputs, 0).shape),),),
    "RANK": lambda node, inputs: ((),),
}


def index_type(tensor: Tensor) -> bool:
    """True for the types of shapes, axes and positions."""
    return tensor.type in (TensorType.INT32, TensorType.INT64)
