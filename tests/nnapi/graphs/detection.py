"""Boxes and regions, hashing, sampling. Those whose results have a size that depends on values are made so that it is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from .build import FLOATS, NONE, SUM, Builder, Rule, Value, makes
from .movement import MOVED, as_nhwc, from_nhwc, image

PIXELS = (0.125, 0)


def boxes(b: Builder, kind: str, count: int, size: float) -> Value:
    """[count, 4]: left, top, right, bottom, in eighths of a pixel."""
    corners = b.rng.integers(0, int(size * 4), (count, 2)) / 8
    extents = b.rng.integers(8, max(9, int(size * 4)), (count, 2)) / 8
    numbers = np.concatenate([corners, np.minimum(corners + extents, size)], axis=1)
    if kind in FLOATS:
        return b.given(kind, numbers)
    return b.given("asym16", np.round(numbers / PIXELS[0]), quantisation=PIXELS)


@makes("AXIS_ALIGNED_BBOX_TRANSFORM")
def bbox_transform(b: Builder) -> None:
    kind = b.choice(FLOATS)
    batch, count, classes, size = b.whole(1, 2), b.whole(1, 4), b.whole(1, 3), 16.0
    rois = boxes(b, kind, count, size)
    deltas = b.fresh(kind, (count, classes * 4), -0.5, 0.5)
    images = b.ints(np.sort(b.rng.integers(0, batch, count)), constant=True)
    info = b.given(kind, np.full((batch, 2), size))

    def reference(p: Any, d: Any) -> Any:
        d = d.reshape(count, classes, 4)
        extent = (p[:, 2:] - p[:, :2])[:, np.newaxis]
        centre = (p[:, :2] + p[:, 2:])[:, np.newaxis] / 2 + d[..., :2] * extent
        half = np.exp(d[..., 2:]) * extent / 2
        return np.clip(np.concatenate([centre - half, centre + half], axis=-1), 0, size).reshape(count, -1)

    b.emit("AXIS_ALIGNED_BBOX_TRANSFORM", 41, [rois, deltas, images, info], [(kind, NONE)], reference, SUM,
           arguments=[rois, deltas])  # fmt: skip


@makes("ROI_POOLING")
def roi_pooling(b: Builder) -> None:
    nchw, size = b.flip(), b.whole(3, 6)
    x = image(b, nchw, size, size, b.whole(1, 3))
    count, out_h, out_w = b.whole(1, 3), b.whole(1, 3), b.whole(1, 3)
    rois = boxes(b, x.kind, count, float(size - 1))
    batches = b.ints(np.sort(b.rng.integers(0, x.dims[0], count)), constant=True)

    def reference(p: Any, r: Any) -> Any:
        q = as_nhwc(p, nchw)
        out = np.zeros((count, out_h, out_w, q.shape[3]))
        for n in range(count):
            left, top, right, bottom = np.floor(r[n] + 0.5)
            step_y, step_x = max(bottom - top + 1, 1) / out_h, max(right - left + 1, 1) / out_w
            for i in range(out_h):
                for j in range(out_w):
                    rows = [
                        int(np.clip(v, 0, size)) for v in (np.floor(i * step_y + top), np.ceil((i + 1) * step_y + top))
                    ]
                    columns = [
                        int(np.clip(v, 0, size))
                        for v in (np.floor(j * step_x + left), np.ceil((j + 1) * step_x + left))
                    ]
                    cells = q[int(batches.real[n]), rows[0] : rows[1], columns[0] : columns[1]].reshape(-1, q.shape[3])
                    out[n, i, j] = cells.max(axis=0) if len(cells) else 0
        return from_nhwc(out, nchw)

    scales = [b.real_scalar(1.0, x.kind) for _ in range(2)]
    b.emit("ROI_POOLING", 82, [x, rois, batches, b.scalar(out_h), b.scalar(out_w), *scales, b.truth(nchw)],
           [(x.kind, x.quantisation)], reference, SUM, arguments=[x, rois])  # fmt: skip


@makes("ROI_ALIGN")
def roi_align(b: Builder) -> None:
    nchw, size = b.flip(), b.whole(3, 6)
    x = image(b, nchw, size, size, b.whole(1, 3))
    count, out_h, out_w, samples = b.whole(1, 3), b.whole(1, 3), b.whole(1, 3), (b.whole(0, 3), b.whole(0, 3))
    rois = boxes(b, x.kind, count, float(size - 1))
    batches = b.ints(np.sort(b.rng.integers(0, x.dims[0], count)), constant=True)

    def sample(q: Any, y: float, x_: float) -> Any:
        if not (-1 <= y <= size and -1 <= x_ <= size):
            return np.zeros(q.shape[2])
        y, x_ = max(y, 0.0), max(x_, 0.0)
        top, left = min(int(y), size - 1), min(int(x_), size - 1)
        bottom, right = min(top + 1, size - 1), min(left + 1, size - 1)
        dy, dx = (0.0 if top == size - 1 else y - top), (0.0 if left == size - 1 else x_ - left)
        upper = q[top, left] * (1 - dx) + q[top, right] * dx
        return upper * (1 - dy) + (q[bottom, left] * (1 - dx) + q[bottom, right] * dx) * dy

    def reference(p: Any, r: Any) -> Any:
        q = as_nhwc(p, nchw)
        out = np.zeros((count, out_h, out_w, q.shape[3]))
        for n in range(count):
            left, top, right, bottom = r[n]
            bin_h, bin_w = max(bottom - top, 1.0) / out_h, max(right - left, 1.0) / out_w
            grid_h = samples[0] or int(np.ceil(bin_h))
            grid_w = samples[1] or int(np.ceil(bin_w))
            for i in range(out_h):
                for j in range(out_w):
                    cells = [
                        sample(
                            q[int(batches.real[n])],
                            top + (i + (a + 0.5) / grid_h) * bin_h,
                            left + (j + (c + 0.5) / grid_w) * bin_w,
                        )
                        for a in range(grid_h)
                        for c in range(grid_w)
                    ]
                    out[n, i, j] = np.mean(cells, axis=0)
        return from_nhwc(out, nchw)

    scales = [b.real_scalar(1.0, x.kind) for _ in range(2)]
    counts = [b.scalar(number) for number in samples]
    b.emit("ROI_ALIGN", 81, [x, rois, batches, b.scalar(out_h), b.scalar(out_w), *scales, *counts, b.truth(nchw)],
           [(x.kind, x.quantisation)], reference, Rule(units=1, rtol=1e-4, atol=2e-4, halves=2e-2), arguments=[x, rois])  # fmt: skip


@makes("HEATMAP_MAX_KEYPOINT")
def heatmap(b: Builder) -> None:
    nchw, size, count, keypoints = b.flip(), b.whole(2, 5), b.whole(1, 3), b.whole(1, 3)
    kind = b.choice(MOVED)
    maps = b.fresh(kind, (count, keypoints, size, size) if nchw else (count, size, size, keypoints), 0, 4)
    places = ("asym16", PIXELS) if kind not in FLOATS else (kind, NONE)
    b.emit("HEATMAP_MAX_KEYPOINT", 56, [maps, boxes(b, kind, count, 12.0), b.truth(nchw)], [(kind, maps.quantisation), places], None,
           dims=[(count, keypoints), (count, keypoints, 2)])  # fmt: skip


@makes("BOX_WITH_NMS_LIMIT")
def box_with_nms_limit(b: Builder) -> None:
    """Score and overlap limits that keep every box of every class but the background."""
    kind = b.choice(FLOATS)
    count, classes = b.whole(1, 3), b.whole(2, 3)
    scores = b.fresh(kind, (count, classes), 0.5, 1)
    corners = np.arange(count * classes).reshape(count, classes, 1) * 20.0
    rois = b.given(kind, np.concatenate([corners, corners, corners + 4, corners + 4], axis=2).reshape(count, -1))
    kept = count * (classes - 1)
    limits = [
        b.real_scalar(0.1, kind),
        b.scalar(-1),
        b.scalar(0),
        b.real_scalar(0.9, kind),
        b.real_scalar(0.5, kind),
        b.real_scalar(0.05, kind),
    ]
    b.emit("BOX_WITH_NMS_LIMIT", 44, [scores, rois, b.ints(np.zeros(count), constant=True), *limits],
           [(kind, NONE), (kind, NONE), ("i32", NONE), ("i32", NONE)], None, dims=[(kept,), (kept, 4), (kept,), (kept,)])  # fmt: skip


@makes("DETECTION_POSTPROCESSING")
def detection_postprocessing(b: Builder) -> None:
    kind = b.choice(FLOATS)
    batch, anchors, classes, most = b.whole(1, 2), b.whole(2, 5), b.whole(2, 3), b.whole(1, 3)
    scores = b.fresh(kind, (batch, anchors, classes), 0, 1)
    deltas = b.fresh(kind, (batch, anchors, 4), -1, 1)
    places = np.concatenate([b.rng.uniform(0, 1, (anchors, 2)), b.rng.uniform(0.1, 0.5, (anchors, 2))], axis=1)
    factors = [b.real_scalar(number, kind) for number in (10.0, 10.0, 5.0, 5.0)]
    flags = [
        b.truth(b.flip()),
        b.scalar(most),
        b.scalar(1),
        b.scalar(most),
        b.real_scalar(0.3, kind),
        b.real_scalar(0.5, kind),
        b.truth(b.flip()),
    ]
    b.emit("DETECTION_POSTPROCESSING", 47, [scores, deltas, b.given(kind, places), *factors, *flags],
           [(kind, NONE), (kind, NONE), ("i32", NONE), ("i32", NONE)], None,
           dims=[(batch, most), (batch, most, 4), (batch, most), (batch,)])  # fmt: skip


@makes("GENERATE_PROPOSALS")
def generate_proposals(b: Builder) -> None:
    """One anchor at one place of each image: one box each, whatever the limits."""
    kind, nchw, batch = b.choice(FLOATS), b.flip(), b.whole(1, 2)
    scores = b.fresh(kind, (batch, 1, 1, 1), 0.2, 1)
    deltas = b.fresh(kind, (batch, 4, 1, 1) if nchw else (batch, 1, 1, 4), -0.2, 0.2)
    anchors = b.given(kind, np.array([[2.0, 2, 10, 10]]))
    info = b.given(kind, np.full((batch, 2), 32.0))
    ratios = [b.real_scalar(4.0, kind), b.real_scalar(4.0, kind)]
    limits = [b.scalar(-1), b.scalar(-1), b.real_scalar(0.7, kind), b.real_scalar(1.0, kind)]
    b.emit("GENERATE_PROPOSALS", 52, [scores, deltas, anchors, info, *ratios, *limits, b.truth(nchw)],
           [(kind, NONE), (kind, NONE), ("i32", NONE)], None, dims=[(batch,), (batch, 4), (batch,)])  # fmt: skip


@makes("LSH_PROJECTION")
def lsh_projection(b: Builder) -> None:
    hashes, bits, dense = b.whole(1, 4), b.whole(1, 6), b.flip()
    x = b.pick(["f32", "i32", "u8"])
    table = b.fresh("f32", (hashes, bits), -3, 3)
    weights = b.fresh("f32", (x.dims[0],), 0.5, 2) if b.flip() else b.omitted("f32")
    b.emit("LSH_PROJECTION", 15, [table, x, weights, b.scalar(2 if dense else 3)], [("i32", NONE)], None,
           dims=[(hashes * bits if dense else hashes,)])  # fmt: skip


@makes("RANDOM_MULTINOMIAL")
def multinomial(b: Builder) -> None:
    kind, batch, classes, samples = b.choice(FLOATS), b.whole(1, 3), b.whole(1, 4), b.whole(1, 8)
    logits = b.fresh(kind, (batch, classes), -2, 2)
    seeds = b.ints(b.rng.integers(-1000, 1000, 2), constant=True)
    b.emit("RANDOM_MULTINOMIAL", 74, [logits, b.scalar(samples), seeds], [("i32", NONE)], None, dims=[(batch, samples)])
