"""Elementwise operations, comparisons, reductions, normalisations, products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .build import BYTES, EXACT, FLOATS, NONE, SUM, Builder, Quantisation, Rule, Unfit, Value, makes

FUSES: list[Callable[[Any], Any]] = [
    lambda x: x,
    lambda x: np.maximum(x, 0),
    lambda x: np.clip(x, -1, 1),
    lambda x: np.clip(x, 0, 6),
]


def fuse(b: Builder) -> tuple[Value, Callable[[Any], Any]]:
    """A fused activation and what it does."""
    code = b.whole(0, 3) if b.flip(0.6) else 0
    return b.scalar(code), FUSES[code]


def partner(b: Builder, value: Value, **how: Any) -> Value:
    """An operand that broadcasts with another: one of those there are, or a new one."""
    dims = value.dims
    if b.flip(0.5):
        dims = tuple(1 if b.flip(0.3) else d for d in dims[b.whole(0, len(dims) - 1) :])
    return b.pick([value.kind], dims=dims, **how)


BINARY = {"ADD": 0, "SUB": 36, "MUL": 18}
BINARY_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}


@makes(*BINARY)
def binary(b: Builder, name: str) -> None:
    function = BINARY_FUNCTIONS[name]
    x = b.pick([*FLOATS, *BYTES, "i32"], rank=(1, 2, 3, 4))
    y = partner(b, x)
    code, activation = (b.scalar(0), FUSES[0]) if x.kind == "i32" else fuse(b)
    quantisation = b.quantisation(x.kind, 0.05, 0.1)
    if name == "MUL" and x.kind in BYTES and quantisation[0] <= x.type.scale * y.type.scale:
        raise Unfit
    b.emit(
        name,
        BINARY[name],
        [x, y, code],
        [(x.kind, quantisation)],
        lambda p, q: activation(function(p, q)),
        arguments=[x, y],
    )


@makes("DIV")
def div(b: Builder) -> None:
    x = b.pick([*FLOATS, "i32"], rank=(1, 2, 3, 4))
    if x.kind == "i32":
        y = b.given("i32", b.choice([-1, 1]) * b.rng.integers(1, 6, x.dims))
        b.emit("DIV", 30, [x, y, b.scalar(0)], [("i32", NONE)], lambda p, q: p // q, arguments=[x, y])
        return
    y = b.fresh(x.kind, x.dims, 0.5, 3)
    code, activation = fuse(b)
    b.emit("DIV", 30, [x, y, code], [(x.kind, NONE)], lambda p, q: activation(p / q), arguments=[x, y])


EXTREMES = {"MAXIMUM": 65, "MINIMUM": 66}


@makes(*EXTREMES)
def extreme(b: Builder, name: str) -> None:
    x = b.pick([*FLOATS, *BYTES, "i32"])
    y = partner(b, x)
    function = np.maximum if name == "MAXIMUM" else np.minimum
    b.emit(name, EXTREMES[name], [x, y], [(x.kind, b.quantisation(x.kind))], function)


@makes("POW")
def power(b: Builder) -> None:
    kind = b.choice(FLOATS)
    x = b.tensor(b.dims(), kind, low=0.3, high=2)
    b.emit("POW", 70, [x, partner(b, x, where=lambda v: bool(np.all(np.abs(v.real) < 3)))], [(kind, NONE)], np.power)


@makes("PRELU")
def prelu(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES])
    alpha = partner(b, x)
    out = b.quantisation(x.kind, 0.05, 0.1)
    if x.kind in BYTES and x.type.scale * alpha.type.scale >= out[0]:
        raise Unfit
    b.emit("PRELU", 71, [x, alpha], [(x.kind, out)], lambda p, a: np.where(p >= 0, p, p * a))


COMPARISONS: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
    "EQUAL": (48, np.equal), "NOT_EQUAL": (68, np.not_equal), "LESS": (58, np.less), "LESS_EQUAL": (59, np.less_equal),
    "GREATER": (53, np.greater), "GREATER_EQUAL": (54, np.greater_equal),
}  # fmt: skip


@makes(*COMPARISONS)
def comparison(b: Builder, name: str) -> None:
    """Quantised operands have the same parameters: else what is equal is a matter of rounding."""
    code, function = COMPARISONS[name]
    x = b.pick([*FLOATS, *BYTES, "i32", "b8"])
    y = partner(b, x, quantisation=x.quantisation)
    b.emit(name, code, [x, y], [("b8", NONE)], function)


@makes("LOGICAL_AND", "LOGICAL_OR")
def logical(b: Builder, name: str) -> None:
    x = b.pick(["b8"])
    function = np.logical_and if name == "LOGICAL_AND" else np.logical_or
    b.emit(name, {"LOGICAL_AND": 61, "LOGICAL_OR": 63}[name], [x, partner(b, x)], [("b8", NONE)], function)


@makes("LOGICAL_NOT")
def logical_not(b: Builder) -> None:
    b.emit("LOGICAL_NOT", 62, [b.pick(["b8"])], [("b8", NONE)], np.logical_not)


@makes("SELECT")
def select(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES, "i32"])
    y = b.pick([x.kind], dims=x.dims)
    condition = b.pick(["b8"], dims=x.dims)
    b.emit("SELECT", 84, [condition, x, y], [(x.kind, b.quantisation(x.kind))], np.where)


# --- one operand --------------------------------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


UNARY: dict[str, tuple[int, Callable[[Any], Any], float, float]] = {
    "ABS": (38, np.abs, -3, 3), "EXP": (49, np.exp, -4, 3), "FLOOR": (8, np.floor, -9, 9), "LOG": (60, np.log, 0.01, 9),
    "NEG": (67, np.negative, -9, 9), "SIN": (85, np.sin, -6, 6), "SQRT": (88, np.sqrt, 0.01, 9),
    "RSQRT": (83, lambda x: 1 / np.sqrt(x), 0.05, 9),
}  # fmt: skip


@makes(*UNARY)
def unary(b: Builder, name: str) -> None:
    code, function, low, high = UNARY[name]
    kinds = ["f32", "f16"] + (["i32"] if name in ("ABS", "NEG") else [])
    x = b.pick(kinds, rank=(1, 2, 3, 4), where=lambda v: bool(np.all((v.real >= low) & (v.real <= high))))
    if not np.all((x.real >= low) & (x.real <= high)):
        x = b.tensor(x.dims, x.kind, low=low, high=high)
    b.emit(name, code, [x], [(x.kind, NONE)], function)


BOUNDED: dict[str, tuple[int, Callable[[Any], Any], float]] = {
    "LOGISTIC": (14, sigmoid, 256),
    "TANH": (28, np.tanh, 128),
}


@makes(*BOUNDED)
def bounded(b: Builder, name: str) -> None:
    code, function, parts = BOUNDED[name]
    x = b.pick([*FLOATS, *BYTES], rank=(1, 2, 3, 4))
    zero = {("LOGISTIC", "s8"): -128, ("TANH", "u8"): 128}.get((name, x.kind), 0)
    b.emit(name, code, [x], [(x.kind, (1 / parts, zero) if x.kind in BYTES else NONE)], function)


@makes("RELU", "RELU1", "RELU6")
def relu(b: Builder, name: str) -> None:
    x = b.pick([*FLOATS, *BYTES], rank=(1, 2, 3, 4))
    function = FUSES[("RELU", "RELU1", "RELU6").index(name) + 1]
    b.emit(name, {"RELU": 19, "RELU1": 20, "RELU6": 21}[name], [x], [(x.kind, x.quantisation)], function)


@makes("ELU")
def elu(b: Builder) -> None:
    x = b.pick(FLOATS)
    alpha = 0.5 * b.whole(1, 4)
    b.emit("ELU", 98, [x, b.real_scalar(alpha, x.kind)], [(x.kind, NONE)],
           lambda p: np.where(p > 0, p, alpha * np.expm1(np.minimum(p, 0))), arguments=[x])  # fmt: skip


@makes("HARD_SWISH")
def hard_swish(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES])
    out = b.quantisation(x.kind, 0.03, 0.06)
    b.emit("HARD_SWISH", 99, [x], [(x.kind, out)], lambda p: p * np.clip(p + 3, 0, 6) / 6, Rule(units=2, rtol=3e-5))


@makes("QUANTIZE")
def quantize(b: Builder) -> None:
    kind = b.choice(BYTES)
    b.emit("QUANTIZE", 72, [b.pick(FLOATS)], [(kind, b.quantisation(kind))], lambda p: p)


@makes("DEQUANTIZE")
def dequantize(b: Builder) -> None:
    x = b.pick([*BYTES, "sym8"], rank=(1, 2, 3, 4))
    b.emit("DEQUANTIZE", 6, [x], [(b.choice(FLOATS), NONE)], lambda p: p)


@makes("CAST")
def cast(b: Builder) -> None:
    """Numbers as they are stored, without scale; cut towards zero."""
    source, target = b.choice(["f32", "f16", "i32"]), b.choice(["f32", "f16", "i32"])
    x = b.pick([source], where=lambda v: bool(np.all(np.abs(v.real) < 100)))
    b.emit("CAST", 45, [x], [(target, NONE)], lambda p: np.trunc(p) if target == "i32" else p * 1.0)


# --- reductions ---------------------------------------------------------------------------------------------------------


def axes_of(b: Builder, rank: int) -> tuple[list[int], tuple[int, ...]]:
    """Some axes, as given and as counted from the front."""
    chosen = sorted(set(b.rng.integers(0, rank, b.whole(1, rank)).tolist()))
    given = [axis - rank if b.flip(0.3) else axis for axis in chosen]
    return given, tuple(chosen)


def reduced(function: Callable[..., Any], axes: tuple[int, ...], keep: bool) -> Callable[[Any], Any]:
    """Without axes left the shape is [1]."""
    return lambda x: np.atleast_1d(function(x, axis=axes, keepdims=keep))


REDUCTIONS: dict[str, tuple[int, Callable[..., Any], list[str]]] = {
    "REDUCE_SUM": (80, np.sum, ["f32", "f16"]), "REDUCE_PROD": (79, np.prod, ["f32", "f16"]),
    "REDUCE_MAX": (77, np.max, ["f32", "f16", "u8", "s8"]), "REDUCE_MIN": (78, np.min, ["f32", "f16", "u8", "s8"]),
    "REDUCE_ALL": (75, np.all, ["b8"]), "REDUCE_ANY": (76, np.any, ["b8"]), "MEAN": (31, np.mean, ["f32", "f16", "u8", "s8"]),
}  # fmt: skip


@makes(*REDUCTIONS)
def reduction(b: Builder, name: str) -> None:
    code, function, kinds = REDUCTIONS[name]
    x = b.pick(kinds, rank=(1, 2, 3, 4))
    given, axes = axes_of(b, len(x.dims))
    keep = b.flip()
    flag = b.scalar(int(keep)) if name == "MEAN" else b.truth(keep)
    b.emit(
        name,
        code,
        [x, b.ints(given), flag],
        [(x.kind, x.quantisation)],
        reduced(function, axes, keep),
        SUM,
        arguments=[x],
    )


@makes("ARGMAX", "ARGMIN")
def arg(b: Builder, name: str) -> None:
    x = b.pick([*FLOATS, *BYTES, "i32"], rank=(2, 3, 4))
    given, axis = b.axis(len(x.dims))
    function = np.argmax if name == "ARGMAX" else np.argmin
    b.emit(name, {"ARGMAX": 39, "ARGMIN": 40}[name], [x, b.scalar(given)], [("i32", NONE)],
           lambda p: function(p, axis=axis), arguments=[x])  # fmt: skip


# --- normalisations -----------------------------------------------------------------------------------------------------


@makes("SOFTMAX", "LOG_SOFTMAX")
def softmax(b: Builder, name: str) -> None:
    x = b.pick([*FLOATS, *(BYTES if name == "SOFTMAX" else ())], rank=(1, 2, 3, 4))
    beta = 0.25 * b.whole(1, 6)
    given, axis = b.axis(len(x.dims))

    def reference(p: Any) -> Any:
        shifted = beta * (p - p.max(axis=axis, keepdims=True))
        total = np.exp(shifted).sum(axis=axis, keepdims=True)
        return np.exp(shifted) / total if name == "SOFTMAX" else shifted - np.log(total)

    out: Quantisation = (1 / 256, -128 if x.kind == "s8" else 0) if x.kind in BYTES else NONE
    b.emit(name, {"SOFTMAX": 25, "LOG_SOFTMAX": 64}[name], [x, b.real_scalar(beta, x.kind), b.scalar(given)],
           [(x.kind, out)], reference, arguments=[x])  # fmt: skip


@makes("L2_NORMALIZATION")
def l2_normalization(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES], rank=(1, 2, 3, 4))
    given, axis = b.axis(len(x.dims))

    def reference(p: Any) -> Any:
        length = np.sqrt((p * p).sum(axis=axis, keepdims=True))
        if np.any(length < 0.1):
            raise Unfit
        return p / length

    reference(x.real)
    out: Quantisation = (1 / 128, 128 if x.kind == "u8" else 0) if x.kind in BYTES else NONE
    b.emit("L2_NORMALIZATION", 11, [x, b.scalar(given)], [(x.kind, out)], reference, arguments=[x])


@makes("LOCAL_RESPONSE_NORMALIZATION")
def local_response(b: Builder) -> None:
    x = b.pick(FLOATS, rank=(1, 2, 3, 4))
    given, axis = b.axis(len(x.dims))
    radius, bias, alpha, beta = b.whole(0, 3), 0.5 * b.whole(1, 4), 0.25 * b.whole(1, 4), 0.25 * b.whole(1, 4)

    def reference(p: Any) -> Any:
        moved = np.moveaxis(p, axis, -1)
        size = moved.shape[-1]
        sums = [(moved[..., max(0, i - radius) : i + radius + 1] ** 2).sum(axis=-1) for i in range(size)]
        return np.moveaxis(moved / (bias + alpha * np.stack(sums, axis=-1)) ** beta, -1, axis)

    scalars = [b.real_scalar(number, x.kind) for number in (bias, alpha, beta)]
    b.emit("LOCAL_RESPONSE_NORMALIZATION", 13, [x, b.scalar(radius), *scalars, b.scalar(given)], [(x.kind, NONE)],
           reference, arguments=[x])  # fmt: skip


@makes("INSTANCE_NORMALIZATION")
def instance_normalization(b: Builder) -> None:
    x = b.pick(FLOATS, rank=(4,))
    nchw = b.flip()
    gamma, beta, epsilon = 0.5 * b.whole(1, 4), 0.5 * b.whole(-2, 2), 0.125

    def reference(p: Any) -> Any:
        axes = (2, 3) if nchw else (1, 2)
        mean, variance = p.mean(axis=axes, keepdims=True), p.var(axis=axes, keepdims=True)
        return (p - mean) / np.sqrt(variance + epsilon) * gamma + beta

    scalars = [b.real_scalar(number, x.kind) for number in (gamma, beta, epsilon)]
    b.emit("INSTANCE_NORMALIZATION", 57, [x, *scalars, b.truth(nchw)], [(x.kind, NONE)], reference, SUM, arguments=[x])


# --- products -----------------------------------------------------------------------------------------------------------


def product_bias(b: Builder, kind: str, units: int, scale: float) -> Value:
    """float, or int32 with scale input * weights."""
    if kind in FLOATS:
        return b.fresh(kind, (units,), -1, 1)
    data = b.rng.integers(-300, 300, units).astype(np.int32)
    bias = b.given("i32", data, quantisation=(scale, 0))
    bias.real = data * np.float64(np.float32(scale))
    return bias


def product_scale(x: Value, w: Value) -> float:
    return float(np.float32(x.type.scale) * np.float32(w.type.scale))


def biased(bias: Value, scale: float) -> Callable[[Any], Any]:
    """Real bias: quantised ones come as integers."""
    return lambda p: p * np.float64(np.float32(scale)) if bias.kind == "i32" else p


@makes("FULLY_CONNECTED")
def fully_connected(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES], rank=(2, 3, 4))
    depth = x.dims[-1] if b.flip() else int(np.prod(x.dims[1:]))
    units = b.whole(1, 6)
    w = b.fresh(x.kind, (units, depth), -1, 1, quantisation=b.quantisation(x.kind, 0.01, 0.03))
    scale = product_scale(x, w)
    bias = product_bias(b, x.kind, units, scale)
    code, activation = fuse(b)
    weigh = biased(bias, scale)
    b.emit("FULLY_CONNECTED", 9, [x, w, bias, code], [(x.kind, b.quantisation(x.kind, 0.05, 0.1))],
           lambda p, q, r: activation(p.reshape(-1, depth) @ q.T + weigh(r)), SUM, arguments=[x, w, bias])  # fmt: skip


@makes("BATCH_MATMUL")
def batch_matmul(b: Builder) -> None:
    x = b.pick(["f32", "f16", "s8", "i32"], rank=(2, 3, 4))
    left, right = b.flip(), b.flip()
    depth = x.dims[-2] if left else x.dims[-1]
    columns = b.whole(1, 5)
    dims = (*x.dims[:-2], *((columns, depth) if right else (depth, columns)))
    y = b.pick([x.kind], dims=dims)

    def reference(p: Any, q: Any) -> Any:
        return (p.swapaxes(-1, -2) if left else p) @ (q.swapaxes(-1, -2) if right else q)

    b.emit("BATCH_MATMUL", 102, [x, y, b.truth(left), b.truth(right)], [(x.kind, b.quantisation(x.kind, 0.1, 0.3))],
           reference, SUM, arguments=[x, y])  # fmt: skip


@makes("TOPK_V2")
def topk(b: Builder) -> None:
    x = b.pick([*FLOATS, *BYTES, "i32"])
    k = b.whole(1, x.dims[-1])

    def reference(p: Any) -> Any:
        if any(len(np.unique(row)) < p.shape[-1] for row in p.reshape(-1, p.shape[-1])):
            raise Unfit  # which of two equal ones comes first is not said
        order = np.argsort(-p, axis=-1, kind="stable")[..., :k]
        return np.take_along_axis(p, order, -1), order

    b.emit("TOPK_V2", 90, [x, b.scalar(k)], [(x.kind, x.quantisation), ("i32", NONE)], reference, EXACT, arguments=[x])
