"""The operators that random graphs are made of: each adds one node (or a few that make its input safe) to a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from nnapi_toolkit.schema.enums import MirrorPadMode, Padding, TensorType

from tests.fuzz.graph_builder import (
    ARITHMETIC,
    CONVOLUTION,
    COPY,
    QUANTIZED,
    TRANSCENDENTAL,
    GraphBuilder,
    Unfit,
    Value,
    like,
)

REAL = ("float32", "int8", "uint8")
NUMBERS = (*REAL, "int32")
ANY = (*NUMBERS, "bool")
PADDINGS = (Padding.SAME, Padding.VALID)
Maker = Callable[[GraphBuilder], object]
MAKERS: dict[str, Maker] = {}

#: What is never drawn because it is known to differ, with the reason: names of operators, or "OPERATOR: what of it".
KNOWN_GAPS: dict[str, str] = {
    "LOCAL_RESPONSE_NORMALIZATION": "LiteRT's reference kernel, and so ours, leaves the last channel out of each window; NNAPI does not",
}


def maker(*ops: str) -> Callable[[Callable[[GraphBuilder, str], object]], None]:
    """Registers a function that adds a node of any of these operators."""

    def register(function: Callable[[GraphBuilder, str], object]) -> None:
        for op in (op for op in ops if op not in KNOWN_GAPS):
            MAKERS[op] = lambda g, op=op: function(g, op)

    return register


# -- one input ------------------------------------------------------------------------------------------------------


@maker("ABS", "NEG", "FLOOR", "CEIL", "SIN", "COS", "EXP", "ELU", "GELU", "SQUARE")
def _unary(g: GraphBuilder, op: str) -> None:
    if op in ("ABS", "NEG") and g.chance.random() < 0.3:
        x = g.pick(["int32"])
        g.emit(op, [x], x.shape, "int32", x.bound)
        return
    x = g.pick(["float32"], exact=op in ("FLOOR", "CEIL"), bound=3.5 if op == "EXP" else 30)
    bound, gain = {
        "FLOOR": (x.bound + 1, 0), "CEIL": (x.bound + 1, 0), "SIN": (1, 1), "COS": (1, 1), "GELU": (x.bound, 1.2),
        "EXP": (math.exp(x.bound), math.exp(x.bound)), "SQUARE": (x.bound**2, 2 * x.bound), "ELU": (max(1, x.bound), 1),
    }.get(op, (x.bound, 1))  # fmt: skip
    accuracy = COPY if op in ("ABS", "NEG", "FLOOR", "CEIL") else ARITHMETIC if op == "SQUARE" else TRANSCENDENTAL
    options = {"approximate": g.chance.random() < 0.5} if op == "GELU" else {}
    g.emit(op, [x], x.shape, "float32", bound, gain * x.error, accuracy, **options)


@maker("LOG", "SQRT", "RSQRT")
def _positive(g: GraphBuilder, op: str) -> None:
    x = g.positive(g.pick(["float32"]))
    bound, gain = {
        "LOG": (max(0.7, math.log(x.bound + 1)), 2), "SQRT": (math.sqrt(x.bound), 0.8), "RSQRT": (1.5, 1.5)
    }[op]  # fmt: skip
    g.emit(op, [x], x.shape, "float32", bound, gain * x.error, TRANSCENDENTAL)


@maker("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "LEAKY_RELU")
def _activation(g: GraphBuilder, op: str) -> None:
    x = g.pick(["float32"] if op == "RELU_0_TO_1" else REAL)
    bound = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0, "RELU_0_TO_1": 1.0, "LOGISTIC": 1.0, "TANH": 1.0}.get(op, x.bound)
    bound = min(bound, x.bound) if op.startswith("RELU") else bound
    gain = 1.5 if op == "HARD_SWISH" else 1.0
    spec = None
    if op in ("LOGISTIC", "TANH"):
        spec = {"scale": 1 / 256 if op == "LOGISTIC" else 1 / 128, "zero": -128 if op == "LOGISTIC" else 0}
        spec["zero"] += 128 if x.kind == "uint8" else 0
    elif op.startswith("RELU") and x.scale is not None and g.chance.random() < 0.6:
        spec = {"scale": x.scale, "zero": x.zero}
    accuracy = COPY if op.startswith("RELU") else TRANSCENDENTAL if op in ("LOGISTIC", "TANH") else ARITHMETIC
    options = {"alpha": g.chance.choice((0.1, 0.25))} if op == "LEAKY_RELU" else {}
    version = 1 if op in ("RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH") else None
    g.emit(op, [x], x.shape, x.kind, bound, gain * x.error, accuracy, spec, version=version, **options)


@maker("PRELU")
def _prelu(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 2)
    shape = (*(1,) * (x.rank - 2), x.shape[-1]) if x.rank > 2 else (x.shape[-1],)
    alpha = g.random_constant(x.kind, shape, 0.5)
    g.emit(op, [x, alpha], x.shape, x.kind, x.bound * max(1, alpha.bound), x.error * max(1, alpha.bound), version=1)


@maker("SOFTMAX", "LOG_SOFTMAX")
def _softmax(g: GraphBuilder, op: str) -> None:
    x = g.pick(["float32"] if op == "LOG_SOFTMAX" else REAL, 2, 4, bound=40)
    if op == "LOG_SOFTMAX":
        g.emit(op, [x], x.shape, "float32", 2 * x.bound + 5, 2 * x.error, TRANSCENDENTAL)
        return
    spec = {"scale": 1 / 256, "zero": -128 if x.kind == "int8" else 0}
    beta = g.chance.choice((1.0, 1.0, 0.7))
    g.emit(op, [x], x.shape, x.kind, 1, beta * x.error + (1e-6 * x.bound if x.error else 0), TRANSCENDENTAL, spec, beta=beta)


@maker("L2_NORMALIZATION")
def _l2_normalization(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 4, 4, where=lambda v: v.kind == "float32" or v.error == 0)
    if x.kind == "float32":
        x = g.positive(x)
    spec = {"scale": 1 / 128, "zero": 0 if x.kind == "int8" else 128}
    g.emit(op, [x], x.shape, x.kind, 1, 4 * x.error, TRANSCENDENTAL, spec)


@maker("LOCAL_RESPONSE_NORMALIZATION")
def _lrn(g: GraphBuilder, op: str) -> None:
    x = g.pick(["float32"], 4, 4, bound=30)
    options = {"radius": g.chance.randint(1, 3), "bias": 1.5, "alpha": g.chance.choice((0.1, 0.3)), "beta": 0.6}
    g.emit(op, [x], x.shape, "float32", x.bound, 4 * x.error, TRANSCENDENTAL, **options)


# -- elementwise ----------------------------------------------------------------------------------------------------


def _partner(g: GraphBuilder, x: Value, size: float = 2.0) -> Value:
    """A second operand: of the same shape, or one that broadcasts, constant or not."""
    roll = g.chance.random()
    if roll < 0.3:
        return g.pick([x.kind], shape=x.shape)
    if roll < 0.5:
        rank = g.chance.randint(1, x.rank)
        return g.random_constant(x.kind, tuple(g.chance.choice((1, n)) for n in x.shape[x.rank - rank :]), size)
    try:
        return g.pick([x.kind], where=lambda v: v is not x and _broadcasts(v.shape, x.shape))
    except Unfit:
        return g.random_constant(x.kind, x.shape, size)


def _broadcasts(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b)))


@maker("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")
def _binary(g: GraphBuilder, op: str) -> None:
    kinds = [k for k in NUMBERS if op != "SQUARED_DIFFERENCE" or k != "uint8"]
    a = g.pick(kinds)
    b = _partner(g, a)
    if g.chance.random() < 0.5:
        a, b = b, a
    shape = np.broadcast_shapes(a.shape, b.shape)
    options = g.fused() if op in ("ADD", "SUB", "MUL") else {}
    if op in ("MAXIMUM", "MINIMUM"):
        if a.kind in QUANTIZED and (a.scale, a.zero) != (b.scale, b.zero):
            b = g.random_constant(a.kind, (1,), scale=a.scale, zero=a.zero)
            shape = a.shape
        spec = None if a.scale is None else {"scale": a.scale, "zero": a.zero}
        g.emit(op, [a, b], shape, a.kind, max(a.bound, b.bound), max(a.error, b.error), COPY, spec)
        return
    bound, error = {
        "MUL": (a.bound * b.bound, a.bound * b.error + b.bound * a.error),
        "SQUARED_DIFFERENCE": ((a.bound + b.bound) ** 2, 2 * (a.bound + b.bound) * (a.error + b.error)),
    }.get(op, (a.bound + b.bound, a.error + b.error))
    g.emit(op, [a, b], shape, a.kind, bound, error, ARITHMETIC, **options)


@maker("DIV", "FLOOR_DIV", "POW")
def _divide(g: GraphBuilder, op: str) -> None:
    if op == "FLOOR_DIV" and g.chance.random() < 0.5:
        a = g.pick(["int32"])
        b = g.constant("int32", g.numpy().choice([-7, -3, -2, 2, 3, 5, 9], a.shape[-1:]))
        g.emit(op, [a, b], a.shape, "int32", a.bound)
        return
    exact = op == "FLOOR_DIV"
    a = g.pick(["float32"], exact=exact, bound=4 if op == "POW" else 50)
    if op == "POW":
        base = g.positive(a)
        power = g.constant("float32", g.numpy().uniform(-2, 2, (a.shape[-1],)))
        bound = max(4.0, base.bound**2)
        g.emit(op, [base, power], a.shape, "float32", bound, 4 * bound * base.error, TRANSCENDENTAL)
        return
    b = g.constant("float32", g.numpy().uniform(0.5, 2, a.shape[-1:]))
    if not exact and g.chance.random() < 0.7:
        b = g.positive(g.pick(["float32"], where=lambda v: _broadcasts(v.shape, a.shape)))
    error = 0.0 if exact else a.error / 0.5 + a.bound * b.error / 0.25
    shape = np.broadcast_shapes(a.shape, b.shape)
    g.emit(op, [a, b], shape, "float32", a.bound / 0.5 + 1, error, COPY if exact else ARITHMETIC, **({} if exact else g.fused()))


@maker("ADD_N")
def _add_n(g: GraphBuilder, op: str) -> None:
    a = g.pick(["float32", "int32"])
    all_of = [a, *(g.pick([a.kind], shape=a.shape) for _ in range(g.chance.randint(1, 2)))]
    g.emit(op, all_of, a.shape, a.kind, sum(v.bound for v in all_of), sum(v.error for v in all_of))


@maker("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
def _compare(g: GraphBuilder, op: str) -> None:
    a = g.pick(ANY if op in ("EQUAL", "NOT_EQUAL") else NUMBERS, exact=True)
    b = _partner(g, a)
    if b.error:
        b = g.random_constant(a.kind, a.shape)
    g.emit(op, [a, b], np.broadcast_shapes(a.shape, b.shape), "bool", 1)


@maker("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")
def _logic(g: GraphBuilder, op: str) -> None:
    a = g.pick(["bool"])
    if op == "LOGICAL_NOT":
        g.emit(op, [a], a.shape, "bool", 1)
        return
    b = _partner(g, a)
    g.emit(op, [a, b], np.broadcast_shapes(a.shape, b.shape), "bool", 1)


@maker("SELECT", "SELECT_V2")
def _select(g: GraphBuilder, op: str) -> None:
    a = g.pick(NUMBERS)
    if a.scale is not None:
        b = g.random_constant(a.kind, a.shape, scale=a.scale, zero=a.zero)
    else:
        b = g.pick([a.kind], shape=a.shape)
    if op == "SELECT":
        condition = g.pick(["bool"], shape=a.shape)
    else:
        condition = g.pick(["bool"], where=lambda v: _broadcasts(v.shape, a.shape) and v.rank <= a.rank)
    shape = np.broadcast_shapes(condition.shape, a.shape)
    spec = None if a.scale is None else {"scale": a.scale, "zero": a.zero}
    g.emit(op, [condition, a, b], shape, a.kind, max(a.bound, b.bound), max(a.error, b.error), COPY, spec, version=1)


# -- convolutions ---------------------------------------------------------------------------------------------------


def _weights(g: GraphBuilder, kind: str, shape: Sequence[int], axis: int) -> Value:
    """Weights; for int8 now and then with a scale for each channel along the axis."""
    if kind == "float32":
        return g.random_constant(kind, shape, 0.5)
    if kind == "uint8":
        return g.random_constant(kind, shape, scale=0.02, zero=g.chance.randint(120, 135))
    data = g.numpy().integers(-127, 128, shape)
    if g.chance.random() < 0.5:
        return g.constant("int8", data, scale=0.02, zero=0)
    scales = tuple(float(np.float32(s)) for s in g.numpy().uniform(0.005, 0.02, shape[axis]))
    made = g.constant("int8", data, scale=max(scales), zero=0)
    return Value("int8", made.shape, made.bound, data=made.data, scale=max(scales), scales=scales, dimension=axis)


def _bias(g: GraphBuilder, x: Value, weights: Value, count: int) -> Value:
    if x.scale is None:
        return g.random_constant("float32", (count,))
    data = g.numpy().integers(-2000, 2001, count).astype(np.int32)
    scales = tuple(float(np.float32(s) * np.float32(x.scale)) for s in weights.scales or (weights.scale or 0.0,))
    bound = 2000 * max(scales)
    if weights.scales is None:
        return Value("int32", (count,), bound, data=data, scale=scales[0])
    return Value("int32", (count,), bound, data=data, scale=scales[0], scales=scales)


def _gain(weights: Value, axis: int) -> float:
    """The largest sum of magnitudes of one output channel's weights."""
    assert weights.data is not None
    real = (weights.data.astype(np.float64) - weights.zero) * (weights.scale or 1.0)
    return float(np.abs(real).sum(axis=tuple(i for i in range(real.ndim) if i != axis)).max())


def _windows(g: GraphBuilder, x: Value, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> tuple[Padding, list[int]]:
    padding = g.chance.choice(PADDINGS)
    sizes = []
    for n, k, s, d in zip(x.shape[1:3], kernel, stride, dilation):
        extent = n if padding == Padding.SAME else n - (k - 1) * d
        if extent <= 0:
            raise Unfit
        sizes.append(-(-extent // s))
    return padding, sizes


def _product(g: GraphBuilder, op: str, inputs: Sequence[Value | None], shape: Sequence[int], bound: float, gain: float, x: Value,
             version: int, **options: object) -> None:  # fmt: skip
    """Adds a node that sums products; quantised results cover a part of what is possible, as in real models."""
    spec = g.quantization(x.kind, bound, 0.15, 0.6) if x.kind in QUANTIZED else None
    g.emit(op, inputs, shape, x.kind, bound, gain * x.error, CONVOLUTION, spec, version=version, **options)


@maker("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 4, 4)
    kernel, stride = [g.chance.randint(1, 3), g.chance.randint(1, 3)], [g.chance.randint(1, 2), g.chance.randint(1, 2)]
    dilation = [2, 2] if stride == [1, 1] and g.chance.random() < 0.3 else [1, 1]
    padding, sizes = _windows(g, x, kernel, stride, dilation)
    depth = x.shape[3]
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1], **g.fused(),
               "dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}  # fmt: skip
    if op == "CONV_2D":
        count, axis = g.chance.randint(1, 5), 0
        groups = depth if depth in (2, 3, 4) and g.chance.random() < 0.15 else 1
        count = count * groups if groups > 1 else count
        weights = _weights(g, x.kind, (count, *kernel, depth // groups), axis)
    else:
        multiplier = g.chance.randint(1, 2)
        count, axis = depth * multiplier, 3
        options["depth_multiplier"] = multiplier
        weights = _weights(g, x.kind, (1, *kernel, count), axis)
    bias = _bias(g, x, weights, count)
    gain = _gain(weights, axis)
    _product(g, op, [x, weights, bias], (x.shape[0], *sizes, count), gain * x.bound + bias.bound, gain, x, 3, **options)


@maker("TRANSPOSE_CONV")
def _transpose_conv(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 4, 4)
    kernel, stride = g.chance.choice((2, 3)), g.chance.choice((1, 2))
    padding = g.chance.choice(PADDINGS)
    grow = max(kernel - stride, 0) if padding == Padding.VALID else 0
    count = g.chance.randint(1, 4)
    shape = (x.shape[0], x.shape[1] * stride + grow, x.shape[2] * stride + grow, count)
    weights = _weights(g, x.kind, (count, kernel, kernel, x.shape[3]), 0)
    inputs: list[Value | None] = [g.integers(*shape), weights, x]
    bound = gain = _gain(weights, 0)
    bound *= x.bound
    if g.chance.random() < 0.5:
        bias = _bias(g, x, weights, count)
        inputs.append(bias)
        bound += bias.bound
    _product(g, op, inputs, shape, bound, gain, x, len(inputs) - 1, padding=padding, stride_h=stride, stride_w=stride)


@maker("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
def _pool(g: GraphBuilder, op: str) -> None:
    x = g.pick(["float32"] if op == "L2_POOL_2D" else REAL, 4, 4)
    kernel, stride = [g.chance.randint(1, 3), g.chance.randint(1, 3)], [g.chance.randint(1, 2), g.chance.randint(1, 2)]
    padding, sizes = _windows(g, x, kernel, stride, [1, 1])
    options = {"padding": padding, "stride_h": stride[0], "stride_w": stride[1], "filter_height": kernel[0],
               "filter_width": kernel[1], **g.fused()}  # fmt: skip
    spec = None if x.scale is None else {"scale": x.scale, "zero": x.zero}
    accuracy = COPY if op == "MAX_POOL_2D" else CONVOLUTION
    g.emit(op, [x], (x.shape[0], *sizes, x.shape[3]), x.kind, x.bound, x.error, accuracy, spec, **options)


@maker("FULLY_CONNECTED")
def _fully_connected(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 2, 4)
    keep = g.chance.random() < 0.4
    depth, units = x.shape[-1], g.chance.randint(1, 6)
    if g.chance.random() < 0.3 and not keep:
        depth = x.count // x.shape[0]
    weights = _weights(g, x.kind, (units, depth), 0)
    bias = _bias(g, x, weights, units) if g.chance.random() < 0.7 else None
    shape = (*x.shape[:-1], units) if keep else (x.count // depth, units)
    gain = _gain(weights, 0)
    bound = gain * x.bound + (bias.bound if bias else 0)
    _product(g, op, [x, weights, bias], shape, bound, gain, x, 5, keep_num_dims=keep, **g.fused())


@maker("BATCH_MATMUL")
def _batch_matmul(g: GraphBuilder, op: str) -> None:
    a = g.pick(["float32", "int8"], 2, 4)
    adjoint = g.chance.random() < 0.4
    inner, wide = a.shape[-1], g.chance.randint(1, 4)
    shape = (*a.shape[:-2], *((wide, inner) if adjoint else (inner, wide)))
    b = g.random_constant(a.kind, shape) if g.chance.random() < 0.4 else g.pick([a.kind], shape=shape)
    bound = inner * a.bound * b.bound
    error = inner * (a.bound * b.error + b.bound * a.error)
    spec = g.quantization(a.kind, bound, 0.15, 0.6) if a.kind in QUANTIZED else None
    g.emit(op, [a, b], (*a.shape[:-1], wide), a.kind, bound, error, CONVOLUTION, spec, adj_y=adjoint)


# -- moving ---------------------------------------------------------------------------------------------------------


@maker("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(g: GraphBuilder, op: str) -> None:
    if op == "SQUEEZE":
        x = g.pick(NUMBERS, 2, where=lambda v: 1 in v.shape and v.count > 1)
        axes = [i for i, n in enumerate(x.shape) if n == 1]
        chosen = sorted(g.chance.sample(axes, g.chance.randint(1, len(axes))))
        g.move(op, x, [x], [n for i, n in enumerate(x.shape) if i not in chosen], 1, squeeze_dims=chosen)
    elif op == "EXPAND_DIMS":
        x = g.pick(NUMBERS, 1, 3)
        axis = g.chance.randint(-x.rank - 1, x.rank)
        place = axis % (x.rank + 1)
        g.move(op, x, [x, g.scalar(axis)], (*x.shape[:place], 1, *x.shape[place:]), 1)
    else:
        x = g.pick(NUMBERS)
        rest, shape = x.count, []
        for _ in range(g.chance.randint(0, 3)):
            shape.append(g.chance.choice([n for n in range(1, 7) if rest % n == 0]))
            rest //= shape[-1]
        shape.insert(g.chance.randint(0, len(shape)), rest)
        g.move(op, x, [x, g.integers(*shape)], shape, 1, new_shape=shape)


@maker("TRANSPOSE", "REVERSE_V2", "TILE", "BROADCAST_TO")
def _rearrange(g: GraphBuilder, op: str) -> None:
    x = g.pick(NUMBERS, where=lambda v: v.count < 500)
    if op == "TRANSPOSE":
        order = g.chance.sample(range(x.rank), x.rank)
        g.move(op, x, [x, g.integers(*order)], [x.shape[i] for i in order])
    elif op == "REVERSE_V2":
        axes = g.chance.sample(range(x.rank), g.chance.randint(1, min(2, x.rank)))
        g.move(op, x, [x, g.integers(*axes)], x.shape)
    elif op == "TILE":
        times = [g.chance.randint(1, 2) for _ in x.shape]
        g.move(op, x, [x, g.integers(*times)], [n * t for n, t in zip(x.shape, times)], 1)
    else:
        shape = [g.chance.randint(2, 3) if n == 1 else n for n in x.shape]
        shape = [2, *shape] if x.rank < 4 and g.chance.random() < 0.5 else shape
        g.move(op, x, [x, g.integers(*shape)], shape, 3)


@maker("PAD", "PADV2", "MIRROR_PAD")
def _pad(g: GraphBuilder, op: str) -> None:
    if op == "MIRROR_PAD":
        x = g.pick(NUMBERS)
        mode = g.chance.choice((MirrorPadMode.REFLECT, MirrorPadMode.SYMMETRIC))
        most = [n - (mode == MirrorPadMode.REFLECT) for n in x.shape]
        pads = [[g.chance.randint(0, min(2, m)), g.chance.randint(0, min(2, m))] for m in most]
        shape = [n + sum(p) for n, p in zip(x.shape, pads)]
        g.move(op, x, [x, g.integers(pads)], shape, mode=mode)
        return
    x = g.pick(REAL)
    pads = [[g.chance.choice((0, 0, 1, 2)), g.chance.choice((0, 0, 1, 3))] for _ in x.shape]
    inputs = [x, g.integers(pads)]
    bound = x.bound
    if op == "PADV2":
        filler = g.random_constant(x.kind, (1,) if g.chance.random() < 0.5 else (), 2, **_spec(x))
        inputs.append(filler)
        bound = max(bound, filler.bound)
    shape = [n + sum(p) for n, p in zip(x.shape, pads)]
    g.emit(op, inputs, shape, x.kind, bound, x.error, COPY, _spec(x) or None) if not x.error or x.scale is None else g.move(
        op, x, inputs, shape
    )


def _spec(x: Value) -> dict[str, float | int]:
    return {} if x.scale is None else {"scale": x.scale, "zero": x.zero}


@maker("SLICE", "STRIDED_SLICE", "GATHER")
def _pieces(g: GraphBuilder, op: str) -> None:
    x = g.pick(NUMBERS)
    if op == "SLICE":
        begin = [g.chance.randrange(n) for n in x.shape]
        size = [g.chance.randint(1, n - b) for n, b in zip(x.shape, begin)]
        told = [-1 if b + s == n and g.chance.random() < 0.5 else s for n, b, s in zip(x.shape, begin, size)]
        g.move(op, x, [x, g.integers(*begin), g.integers(*told)], size)
    elif op == "GATHER":
        axis = g.chance.randrange(x.rank)
        picked = g.integers(*(g.chance.randrange(x.shape[axis]) for _ in range(g.chance.randint(1, 5))))
        if g.chance.random() < 0.2 and x.rank > 1:
            picked = g.scalar(g.chance.randrange(x.shape[axis]))
        g.move(op, x, [x, picked], (*x.shape[:axis], *picked.shape, *x.shape[axis + 1 :]), axis=axis - g.chance.choice((0, x.rank)))
    else:
        _strided_slice(g, x)


def _strided_slice(g: GraphBuilder, x: Value) -> None:
    begin, end, stride, shape, masks = [], [], [], [], {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    for i, n in enumerate(x.shape):
        first = g.chance.randrange(n)
        if g.chance.random() < 0.2 and len(shape) + x.rank - i > 1:
            begin.append(first - g.chance.choice((0, n)))
            end.append(begin[-1] + 1)
            stride.append(1)
            masks["shrink_axis_mask"] |= 1 << i
            continue
        step = g.chance.choice((1, 1, 2, -1, -2))
        last = g.chance.randint(first + 1, n) if step > 0 else g.chance.randint(-1, first - 1)
        open_begin, open_end = g.chance.random() < 0.2, g.chance.random() < 0.2 or last < 0
        masks["begin_mask"] |= open_begin << i
        masks["end_mask"] |= open_end << i
        begin.append(first)
        end.append(max(last, 0))
        stride.append(step)
        cut = slice(None if open_begin else first, None if open_end else last, step)
        shape.append(len(range(n)[cut]))
    if not all(shape):
        raise Unfit
    g.move("STRIDED_SLICE", x, [x, g.integers(*begin), g.integers(*end), g.integers(*stride)], shape, **masks)


@maker("CONCATENATION", "PACK")
def _join(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL if op == "CONCATENATION" else NUMBERS, 1, 4 if op == "CONCATENATION" else 3)
    parts = [x]
    same = op == "PACK" or x.kind == "int8" or g.chance.random() < 0.5
    for _ in range(g.chance.randint(1, 2)):
        if x.scale is not None and same:
            parts.append(g.random_constant(x.kind, x.shape, **_spec(x)))
        else:
            parts.append(g.pick([x.kind], shape=x.shape))
    bound, error = max(v.bound for v in parts), max(v.error for v in parts)
    axis = g.chance.randrange(x.rank if op == "CONCATENATION" else x.rank + 1)
    if op == "PACK":
        shape = (*x.shape[:axis], len(parts), *x.shape[axis:])
        options = {"values_count": len(parts), "axis": axis - g.chance.choice((0, x.rank + 1))}
    else:
        shape = (*x.shape[:axis], x.shape[axis] * len(parts), *x.shape[axis + 1 :])
        options = {"axis": axis - g.chance.choice((0, x.rank))}
    spec = _spec(x) if same and x.scale is not None else None
    g.emit(op, parts, shape, x.kind, bound, error, COPY, spec, **options)


@maker("SPLIT", "SPLIT_V", "UNPACK")
def _divide_up(g: GraphBuilder, op: str) -> None:
    x = g.pick(NUMBERS, 2 if op == "UNPACK" else 1)
    axis = g.chance.randrange(x.rank)
    size = x.shape[axis]
    told = axis - g.chance.choice((0, x.rank))
    if op == "UNPACK":
        g.moves(op, x, [x], [(*x.shape[:axis], *x.shape[axis + 1 :])] * size, num=size, axis=told)
        return
    if op == "SPLIT":
        parts = [size // n for n in [g.chance.choice([n for n in range(1, size + 1) if size % n == 0])] for _ in range(n)]
        inputs = [g.scalar(told), x]
    else:
        cuts = sorted(g.chance.sample(range(1, size), min(size - 1, g.chance.randint(1, 2))))
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, size])]
        inputs = [x, g.integers(*parts), g.scalar(told)]
    shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in parts]
    g.moves(op, x, inputs, shapes, num_splits=len(parts))


@maker("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
def _space(g: GraphBuilder, op: str) -> None:
    b = 2
    fits: dict[str, Callable[[Value], bool]] = {
        "SPACE_TO_DEPTH": lambda v: v.shape[1] % b == 0 and v.shape[2] % b == 0,
        "DEPTH_TO_SPACE": lambda v: v.shape[3] % (b * b) == 0,
        "BATCH_TO_SPACE_ND": lambda v: v.shape[0] % (b * b) == 0,
    }
    x = g.pick(REAL, 4, 4, where=fits.get(op))
    n, h, w, c = x.shape
    if op == "SPACE_TO_DEPTH":
        g.move(op, x, [x], (n, h // b, w // b, c * b * b), block_size=b)
    elif op == "DEPTH_TO_SPACE":
        g.move(op, x, [x], (n, h * b, w * b, c // (b * b)), 1, block_size=b)
    elif op == "SPACE_TO_BATCH_ND":
        pads = [[0, h % b], [w % b, 0]]
        shape = (n * b * b, (h + h % b) // b, (w + w % b) // b, c)
        g.move(op, x, [x, g.integers(b, b), g.integers(pads)], shape)
    else:
        crop = g.chance.choice((0, 0, 1))
        g.move(op, x, [x, g.integers(b, b), g.integers([[crop, 0], [0, crop]])], (n // (b * b), h * b - crop, w * b - crop, c))


@maker("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(g: GraphBuilder, op: str) -> None:
    x = g.pick(REAL, 4, 4)
    size = [g.chance.randint(1, 8), g.chance.randint(1, 8)]
    options = g.chance.choice(({}, {"align_corners": True}, {"half_pixel_centers": True}))
    accuracy = CONVOLUTION if op == "RESIZE_BILINEAR" else COPY
    shape = (x.shape[0], *size, x.shape[3])
    g.emit(op, [x, g.integers(*size)], shape, x.kind, x.bound, x.error, accuracy, _spec(x) or None, version=3, **options)


# -- reductions, conversions ----------------------------------------------------------------------------------------


@maker("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")
def _reduce(g: GraphBuilder, op: str) -> None:
    kinds = ["bool"] if op in ("REDUCE_ANY", "REDUCE_ALL") else ["float32"] if op in ("SUM", "REDUCE_PROD") else REAL
    x = g.pick(kinds)
    axes = g.chance.sample(range(x.rank), g.chance.randint(1, x.rank))
    keep = g.chance.random() < 0.5 or len(axes) == x.rank
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
    count = math.prod(x.shape[i] for i in axes)
    bound, error, spec, accuracy = x.bound, x.error, _spec(x) or None, COPY
    if op == "MEAN":
        spec, accuracy = spec if g.chance.random() < 0.5 else None, CONVOLUTION
    elif op == "SUM":
        bound, error, accuracy = bound * count, error * count, CONVOLUTION
    elif op == "REDUCE_PROD":
        if count > 6:
            raise Unfit
        bound = max(1.0, x.bound)
        bound, error, accuracy = bound**count, error * count * bound ** (count - 1), CONVOLUTION
    told = [a - g.chance.choice((0, x.rank)) for a in axes]
    g.emit(op, [x, g.integers(*told)], shape, x.kind, bound, error, accuracy, spec, keep_dims=keep)


@maker("ARG_MAX", "ARG_MIN", "TOPK_V2")
def _order(g: GraphBuilder, op: str) -> None:
    x = g.pick(NUMBERS, 2, exact=True)
    if op == "TOPK_V2":
        k = g.chance.randint(1, x.shape[-1])
        shape = (*x.shape[:-1], k)
        g.node(op, [x, g.scalar(k)], [like(x, shape), Value("int32", shape, x.shape[-1])], 2 if x.kind == "int8" else 1)
        return
    axis = g.chance.randrange(x.rank)
    told = g.scalar(axis - g.chance.choice((0, x.rank)))
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    g.emit(op, [x, told], shape, "int32", x.shape[axis], output_type=TensorType.INT32)


@maker("QUANTIZE", "DEQUANTIZE", "CAST", "ONE_HOT")
def _convert(g: GraphBuilder, op: str) -> None:
    if op == "QUANTIZE":
        x = g.pick(REAL)
        g.emit(op, [x], x.shape, g.chance.choice(("int8", "uint8")), x.bound, x.error, version=1)
    elif op == "DEQUANTIZE":
        x = g.pick(["int8", "uint8"])
        g.emit(op, [x], x.shape, "float32", x.bound, x.error, COPY)
    elif op == "ONE_HOT":
        x = g.pick(["int32"], 1, 3)
        depth, axis = g.chance.randint(2, 5), g.chance.randint(0, x.rank)
        on, off = g.constant("float32", 2.5), g.constant("float32", -1.0)
        shape = (*x.shape[:axis], depth, *x.shape[axis:])
        g.emit(op, [x, g.scalar(depth), on, off], shape, "float32", 2.5, 0, COPY, axis=-1 if axis == x.rank else axis)
    else:
        source, target = g.chance.choice((("float32", "int32"), ("int32", "float32"), ("bool", "float32"), ("int32", "bool")))
        x = g.pick([source], exact=True)
        g.emit(op, [x], x.shape, target, x.bound, 0, COPY)
