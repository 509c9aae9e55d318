"""Convolutions, pools, resizing: in both layouts, with explicit and implicit padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arithmetic import biased, fuse, product_bias, product_scale
from .build import BYTES, EXACT, FLOATS, SUM, Builder, Rule, Unfit, Value, makes
from .movement import MOVED, as_nhwc, from_nhwc, image, layout


@dataclass(frozen=True)
class Window:
    """One direction: (begin, end) padding, and the rest."""

    size: int
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        return (self.size + sum(self.padding) - self.reach) // self.stride + 1

    def cells(self, position: int) -> list[tuple[int, int]]:
        """(kernel index, input index) of the cells inside."""
        start = position * self.stride - self.padding[0]
        found = [(k, start + k * self.dilation) for k in range(self.kernel)]
        return [(k, i) for k, i in found if 0 <= i < self.size]


def same(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    reach = (kernel - 1) * dilation + 1
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Drawn:
    """A window in both directions and the operands that say so."""

    y: Window
    x: Window
    nchw: bool
    padding: list[Value]
    strides: list[Value]
    flag: list[Value]
    dilations: list[Value]


def draw(b: Builder, *, dilated: bool, flag_required: bool = False) -> Drawn:
    nchw, flag = layout(b, optional=not flag_required)
    height, width = b.whole(1, 6), b.whole(1, 6)
    kernel, stride = (b.whole(1, 3), b.whole(1, 3)), (b.whole(1, 2), b.whole(1, 2))
    dilation = (b.whole(1, 2), b.whole(1, 2)) if dilated and flag and b.flip() else (1, 1)
    if b.flip():
        around = tuple((b.whole(0, min(1, k - 1)), b.whole(0, min(1, k - 1))) for k in kernel)
        padding = [b.scalar(n) for n in (*around[1], *around[0])]
    else:
        implicit = b.whole(1, 2)
        sizes = zip((height, width), kernel, stride, dilation)
        around = tuple(same(*one) if implicit == 1 else (0, 0) for one in sizes)
        padding = [b.scalar(implicit)]
    y = Window(height, kernel[0], stride[0], dilation[0], around[0])
    x = Window(width, kernel[1], stride[1], dilation[1], around[1])
    if y.size + sum(y.padding) < y.reach or x.size + sum(x.padding) < x.reach:
        raise Unfit
    dilations = [b.scalar(dilation[1]), b.scalar(dilation[0])] if dilation != (1, 1) else []
    return Drawn(y, x, nchw, padding, [b.scalar(stride[1]), b.scalar(stride[0])], flag, dilations)


# --- pools --------------------------------------------------------------------------------------------------------------

POOLS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "AVERAGE_POOL_2D": (1, lambda cells: cells.mean(axis=0)),
    "MAX_POOL_2D": (17, lambda cells: cells.max(axis=0)),
    "L2_POOL_2D": (12, lambda cells: np.sqrt((cells**2).mean(axis=0))),
}


@makes(*POOLS)
def pool(b: Builder, name: str) -> None:
    code, function = POOLS[name]
    window = draw(b, dilated=False)
    x = image(
        b, window.nchw, window.y.size, window.x.size, b.whole(1, 3), list(FLOATS) if name == "L2_POOL_2D" else MOVED
    )
    activation_code, activation = fuse(b)

    def reference(p: Any) -> Any:
        q = as_nhwc(p, window.nchw)
        out = np.zeros((q.shape[0], window.y.out, window.x.out, q.shape[3]))
        for i in range(window.y.out):
            for j in range(window.x.out):
                cells = [q[:, r, c] for _, r in window.y.cells(i) for _, c in window.x.cells(j)]
                out[:, i, j] = function(np.stack(cells))
        return activation(from_nhwc(out, window.nchw))

    for one in (window.y, window.x):
        if not all(one.cells(i) for i in range(one.out)):
            raise Unfit
    kernel = [b.scalar(window.x.kernel), b.scalar(window.y.kernel)]
    b.emit(name, code, [x, *window.padding, *window.strides, *kernel, activation_code, *window.flag],
           [(x.kind, x.quantisation)], reference, SUM, arguments=[x])  # fmt: skip


# --- convolutions -------------------------------------------------------------------------------------------------------


def weights(b: Builder, x: Value, dims: tuple[int, ...], axis: int) -> Value:
    """A filter: of the input's type, or with scales per channel."""
    if x.kind in BYTES and b.flip():
        scales = [float(np.float32(s)) for s in b.rng.uniform(0.005, 0.02, dims[axis])]
        return b.given("sym8", b.rng.integers(-100, 101, dims), constant=True, channels=(axis, scales))
    return b.fresh(x.kind, dims, -1, 1, quantisation=b.quantisation(x.kind, 0.01, 0.02), constant=b.flip(0.8))


def bias_of(b: Builder, x: Value, w: Value, units: int) -> tuple[Value, Callable[[Any], Any]]:
    """The bias, and its real numbers."""
    if w.channels is None:
        scale = product_scale(x, w)
        bias = product_bias(b, x.kind, units, scale)
        return bias, biased(bias, scale)
    scales = np.asarray(w.channels[1], np.float64) * np.float64(np.float32(x.type.scale))
    return b.given("i32", b.rng.integers(-300, 300, units)), lambda p: p * scales


def convolve(p: Any, w: Any, y: Window, x: Window, groups: int) -> Any:
    """NHWC input, [out, height, width, in / groups] weights."""
    out = np.zeros((p.shape[0], y.out, x.out, w.shape[0]))
    depth, units = w.shape[3], w.shape[0] // groups
    for i in range(y.out):
        for j in range(x.out):
            for k, r in y.cells(i):
                for m, c in x.cells(j):
                    for g in range(groups):
                        part = p[:, r, c, g * depth : (g + 1) * depth] @ w[g * units : (g + 1) * units, k, m].T
                        out[:, i, j, g * units : (g + 1) * units] += part
    return out


CONVOLUTION = Rule(units=1, rtol=1e-4, atol=2e-4, halves=2e-2)


@makes("CONV_2D", "GROUPED_CONV_2D")
def convolution(b: Builder, name: str) -> None:
    grouped = name == "GROUPED_CONV_2D"
    window = draw(b, dilated=not grouped, flag_required=grouped)
    groups = b.whole(1, 3) if grouped else 1
    depth, units = b.whole(1, 3), groups * b.whole(1, 4)
    x = image(b, window.nchw, window.y.size, window.x.size, groups * depth)
    w = weights(b, x, (units, window.y.kernel, window.x.kernel, depth), 0)
    bias, weigh = bias_of(b, x, w, units)
    code, activation = fuse(b)

    def reference(p: Any, q: Any, r: Any) -> Any:
        product = convolve(as_nhwc(p, window.nchw), q, window.y, window.x, groups) + weigh(r)
        return activation(from_nhwc(product, window.nchw))

    count = [b.scalar(groups)] if grouped else []
    inputs = [x, w, bias, *window.padding, *window.strides, *count, code, *window.flag, *window.dilations]
    out = b.quantisation(x.kind, 0.05, 0.1)
    b.emit(name, 55 if grouped else 3, inputs, [(x.kind, out)], reference, CONVOLUTION, arguments=[x, w, bias])


@makes("DEPTHWISE_CONV_2D")
def depthwise(b: Builder) -> None:
    window = draw(b, dilated=True)
    channels, multiplier = b.whole(1, 4), b.whole(1, 3)
    x = image(b, window.nchw, window.y.size, window.x.size, channels)
    w = weights(b, x, (1, window.y.kernel, window.x.kernel, channels * multiplier), 3)
    bias, weigh = bias_of(b, x, w, channels * multiplier)
    code, activation = fuse(b)

    def reference(p: Any, q: Any, r: Any) -> Any:
        filters = q[0].transpose(2, 0, 1)[..., np.newaxis]
        product = convolve(as_nhwc(p, window.nchw), filters, window.y, window.x, channels) + weigh(r)
        return activation(from_nhwc(product, window.nchw))

    inputs = [x, w, bias, *window.padding, *window.strides, b.scalar(multiplier), code, *window.flag, *window.dilations]
    out = b.quantisation(x.kind, 0.05, 0.1)
    b.emit("DEPTHWISE_CONV_2D", 4, inputs, [(x.kind, out)], reference, CONVOLUTION, arguments=[x, w, bias])


@makes("TRANSPOSE_CONV_2D")
def transposed(b: Builder) -> None:
    """The output is drawn like a forward convolution's input."""
    window = draw(b, dilated=False, flag_required=True)
    if len(window.padding) == 4 and any((w.size + sum(w.padding) - w.reach) % w.stride for w in (window.y, window.x)):
        raise Unfit  # explicit padding gives another output size then
    depth, units = b.whole(1, 3), b.whole(1, 3)
    x = image(b, window.nchw, window.y.out, window.x.out, depth)
    w = weights(b, x, (units, window.y.kernel, window.x.kernel, depth), 0)
    bias, weigh = bias_of(b, x, w, units)
    code, activation = fuse(b)

    def reference(p: Any, q: Any, r: Any) -> Any:
        source = as_nhwc(p, window.nchw)
        out = np.zeros((source.shape[0], window.y.size, window.x.size, units))
        for i in range(window.y.out):
            for j in range(window.x.out):
                for k, row in window.y.cells(i):
                    for m, column in window.x.cells(j):
                        out[:, row, column] += source[:, i, j] @ q[:, k, m].T
        return activation(from_nhwc(out + weigh(r), window.nchw))

    batch = x.dims[0]
    size = (window.y.size, window.x.size)
    shape = [batch, units, *size] if window.nchw else [batch, *size, units]
    first = [b.ints(shape)] if len(window.padding) == 1 else []
    inputs = [x, w, bias, *first, *window.padding, *window.strides, code, *window.flag]
    out = b.quantisation(x.kind, 0.05, 0.1)
    b.emit("TRANSPOSE_CONV_2D", 91, inputs, [(x.kind, out)], reference, CONVOLUTION, arguments=[x, w, bias])


# --- resizing -----------------------------------------------------------------------------------------------------------


@makes("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(b: Builder, name: str) -> None:
    nchw = b.flip()
    height, width = b.whole(1, 4), b.whole(1, 4)
    out_h, out_w = height * b.whole(1, 3), width * b.whole(1, 3)
    x = image(b, nchw, height, width, b.whole(1, 3))
    align, half = b.choice([(False, False), (True, False), (False, True)])
    bilinear = name == "RESIZE_BILINEAR"

    def places(size: int, out: int) -> Any:
        position = np.arange(out, dtype=np.float64)
        if align and out > 1:
            return position * ((size - 1) / (out - 1))
        return (position + 0.5) * (size / out) - (0.5 if bilinear else 0) if half else position * (size / out)

    def mix(q: Any, axis: int, out: int) -> Any:
        size = q.shape[axis]
        at = places(size, out)
        if not bilinear:
            nearest = np.floor(at + 0.5) if align else np.floor(at + 1e-9)
            return np.take(q, np.clip(nearest, 0, size - 1).astype(int), axis)
        at = np.clip(at, 0, size - 1)
        low = np.minimum(np.floor(at).astype(int), size - 1)
        high = np.minimum(low + 1, size - 1)
        shape = [-1 if d == axis else 1 for d in range(4)]
        part = (at - low).reshape(shape)
        return np.take(q, low, axis) * (1 - part) + np.take(q, high, axis) * part

    if (
        not bilinear
        and align
        and any((np.abs(places(s, o) % 1 - 0.5) < 1e-6).any() for s, o in ((height, out_h), (width, out_w)))
    ):
        raise Unfit  # halfway between two: a matter of float32
    b.emit(name, 23 if bilinear else 94, [x, b.scalar(out_w), b.scalar(out_h), b.truth(nchw), b.truth(align), b.truth(half)],
           [(x.kind, x.quantisation)], lambda p: from_nhwc(mix(mix(as_nhwc(p, nchw), 1, out_h), 2, out_w), nchw),
           SUM if bilinear else EXACT, arguments=[x])  # fmt: skip
