"""Detection operations: DETECTION_POSTPROCESSING against LiteRT's custom operator, the others (which only NNAPI has) against plain
numpy written from their documentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

from tests.differential.litert import T, run_litert, single

from .client import Array, Nnapi
from .operation import Compare, Operand, check, near, refused, scalar, tensor

AXIS_ALIGNED_BBOX_TRANSFORM, BOX_WITH_NMS_LIMIT, DETECTION_POSTPROCESSING, GENERATE_PROPOSALS = 41, 44, 47, 52
HEATMAP_MAX_KEYPOINT, ROI_ALIGN, ROI_POOLING = 56, 81, 82
TYPES = ["float32", "float16", "uint8", "int8"]


class Kind:
    """One data type of an operation: how values are stored, and how far results may be off."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.quantised = dtype in ("uint8", "int8")
        self.zero = {"uint8": 120, "int8": -8}.get(dtype, 0)
        self.scale = 1 / 64
        # 8-bit results and boxes in eighths may round the other way.
        self.compare: Compare = near(1.0) if self.quantised else near(0.02 if dtype == "float16" else 1e-4, 1e-3)

    def values(self, real: Array) -> tuple[Operand, Array]:
        """An operand of scores or pixels, and the numbers it holds."""
        if not self.quantised:
            stored = real.astype(self.dtype)
            return tensor(stored), stored.astype(np.float32)
        info = np.iinfo(self.dtype)
        raw = np.clip(np.round(real / self.scale) + self.zero, info.min, info.max).astype(self.dtype)
        return tensor(raw, self.scale, self.zero), (raw.astype(np.float32) - self.zero) * np.float32(self.scale)

    def boxes(self, real: Array, symmetric: bool = False) -> tuple[Operand, Array]:
        """An operand of coordinates: eighths in 16 bits where the scores have 8."""
        if not self.quantised:
            return self.values(real)
        raw = np.round(real * 8).astype(np.int16 if symmetric else np.uint16)
        return tensor(raw, 0.125), raw.astype(np.float32) / 8

    def number(self, value: float) -> Operand:
        return scalar(np.float16(value) if self.dtype == "float16" else float(value))

    def rounded(self, value: float) -> float:
        return float(np.float16(value)) if self.dtype == "float16" else float(np.float32(value))


@pytest.fixture(params=TYPES)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


def random_boxes(generator: np.random.Generator, shape: tuple[int, ...], size: float) -> Array:
    """x1, y1, x2, y2 in eighths, so that every type holds them."""
    corners = np.sort(generator.integers(0, int(size * 8), (*shape, 2, 2)), axis=-1) / 8
    return np.stack([corners[..., 0, 0], corners[..., 1, 0], corners[..., 0, 1], corners[..., 1, 1]], -1).astype(np.float32)


def overlap(a: Array, b: Array) -> float:
    w = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    h = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return float(w * h / union) if union else 0.0


def moved(box: Array, delta: Array, height: float, width: float) -> Array:
    w, h = box[2] - box[0], box[3] - box[1]
    x, y = (box[0] + box[2]) / 2 + delta[0] * w, (box[1] + box[3]) / 2 + delta[1] * h
    w, h = w * np.exp(delta[2]), h * np.exp(delta[3])
    return np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [width, height, width, height])


@pytest.mark.parametrize("seed", range(3))
def test_bbox_transform(api: Nnapi, kind: Kind, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rois, roi_values = kind.boxes(random_boxes(generator, (5,), 40))
    deltas, delta_values = kind.values(generator.uniform(-0.6, 0.6, (5, 12)).astype(np.float32))
    images, sizes = kind.boxes(np.array([[32, 48], [64, 24]], np.float32))
    batches = np.array([0, 1, 1, 0, 1], np.int32)
    want = [
        [moved(roi_values[n], delta_values[n, 4 * c : 4 * c + 4], *sizes[batch]) for c in range(3)]
        for n, batch in enumerate(batches)
    ]
    expected, _ = kind.boxes(np.reshape(want, (5, 12)).astype(np.float32))
    check(api, AXIS_ALIGNED_BBOX_TRANSFORM, [rois, deltas, tensor(batches), images], [expected], kind.compare)
    refused(api, AXIS_ALIGNED_BBOX_TRANSFORM, [rois, deltas, tensor(batches + 1), images], [expected])


def suppressed(
    scores: Array, boxes: Array, kernel: int, iou: float, sigma: float, least: float, most: int
) -> list[tuple[int, float]]:
    """Indices with their (lowered) scores, best first."""
    left = dict(enumerate(scores))
    taken: list[tuple[int, float]] = []
    while left and (most < 0 or len(taken) < most):
        best = max(left, key=lambda i: (left[i], -i))
        taken.append((best, float(left.pop(best))))
        for i in list(left):
            o = overlap(boxes[i], boxes[best])
            factor = [float(o < iou), 1.0 if o < iou else 1 - o, float(np.exp(-o * o / sigma))][kernel]
            left[i] *= factor
            if left[i] < least:
                del left[i]
    return taken


@pytest.mark.parametrize("kernel", [0, 1, 2])
@pytest.mark.parametrize("most", [-1, 3, 6])
def test_box_with_nms_limit(api: Nnapi, kind: Kind, kernel: int, most: int) -> None:
    generator = np.random.default_rng(10 * kernel + most + 1)
    count, classes, threshold, iou, sigma, least = 12, 3, 0.2, 0.4, 0.5, 0.3
    spread = generator.permutation(count * classes).reshape(count, classes) / (count * classes)
    scores, score_values = kind.values(spread.astype(np.float32))
    boxes, box_values = kind.boxes(random_boxes(generator, (count, classes), 16).reshape(count, -1))
    box_values = box_values.reshape(count, classes, 4)
    batches = np.repeat([3, 7], [5, count - 5]).astype(np.int32)
    limits = [kind.rounded(v) for v in (threshold, iou, sigma, least)]
    rows: list[tuple[float, Array, int, int]] = []
    for batch in (3, 7):
        found: list[tuple[float, Array, int, int]] = []
        members = np.flatnonzero(batches == batch)
        for c in range(1, classes):
            above = members[score_values[members, c] > limits[0]]
            chosen = suppressed(score_values[above, c], box_values[above, c], kernel, limits[1], limits[2], limits[3], most)
            found += [(score, box_values[above[i], c], c, batch) for i, score in chosen]
        found.sort(key=lambda row: -row[0])
        rows += sorted(found[:most] if most >= 0 else found, key=lambda row: (row[2], -row[0]))
    expected = [
        kind.values(np.array([row[0] for row in rows], np.float32))[0], kind.boxes(np.array([row[1] for row in rows]))[0],
        tensor(np.array([row[2] for row in rows], np.int32)), tensor(np.array([row[3] for row in rows], np.int32)),
    ]  # fmt: skip
    operands = [scores, boxes, tensor(batches), kind.number(threshold), scalar(most), scalar(kernel)]
    operands += [kind.number(iou), kind.number(sigma), kind.number(least)]
    check(api, BOX_WITH_NMS_LIMIT, operands, expected, kind.compare)


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize(("before", "after"), [(-1, -1), (20, 4), (100, 10)])
def test_generate_proposals(api: Nnapi, kind: Kind, nchw: bool, before: int, after: int) -> None:
    generator = np.random.default_rng(after + 5)
    n, h, w, a = 2, 3, 4, 3
    stride_h, stride_w, iou, least = 8.0, 4.0, 0.35, 3.0
    order = generator.permutation(n * h * w * a).reshape(n, h, w, a) - 36
    scores, score_values = kind.values((order / 64).astype(np.float32))
    deltas, delta_values = kind.values(generator.uniform(-0.5, 0.5, (n, h, w, a * 4)).astype(np.float32))
    anchors, anchor_values = kind.boxes(np.array([[-6, -6, 6, 6], [-8, -4, 8, 4], [-4, -8, 4, 8]], np.float32), True)
    images, sizes = kind.boxes(np.array([[24, 20], [20, 16]], np.float32))
    rows: list[tuple[float, Array, int]] = []
    for batch in range(n):
        boxes = np.array([
            moved(anchor_values[k] + [x * stride_w, y * stride_h] * 2, delta_values[batch, y, x, 4 * k : 4 * k + 4], *sizes[batch])
            for y in range(h) for x in range(w) for k in range(a)
        ])  # fmt: skip
        flat = score_values[batch].ravel()
        ranked = sorted(range(len(flat)), key=lambda i: (-flat[i], i))[: before if before > 0 else None]
        kept = [
            i for i in ranked
            if boxes[i, 2] - boxes[i, 0] > least and boxes[i, 3] - boxes[i, 1] > least
            and (boxes[i, 0] + boxes[i, 2]) / 2 < sizes[batch, 1] and (boxes[i, 1] + boxes[i, 3]) / 2 < sizes[batch, 0]
        ]  # fmt: skip
        chosen: list[int] = []
        for i in kept:
            if all(overlap(boxes[i], boxes[j]) < kind.rounded(iou) for j in chosen):
                chosen.append(i)
        rows += [(flat[i], boxes[i], batch) for i in chosen[: after if after > 0 else None]]
    expected = [
        kind.values(np.array([row[0] for row in rows], np.float32))[0],
        kind.boxes(np.array([row[1] for row in rows], np.float32))[0], tensor(np.array([row[2] for row in rows], np.int32)),
    ]  # fmt: skip

    def lay(operand: Operand) -> Operand:
        assert operand.value is not None
        value = operand.value.transpose(0, 3, 1, 2) if nchw else operand.value
        return tensor(value, operand.type.scale, operand.type.zero_point)

    operands = [lay(scores), lay(deltas), anchors, images, kind.number(stride_h), kind.number(stride_w)]
    operands += [scalar(before), scalar(after), kind.number(iou), kind.number(least), scalar(nchw)]
    check(api, GENERATE_PROPOSALS, operands, expected, kind.compare)


@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("background", [False, True])
def test_detection_postprocessing(api: Nnapi, regular: bool, seed: int, background: bool) -> None:
    """LiteRT's operator takes one image and leaves what it has not found undefined."""
    generator = np.random.default_rng(seed)
    anchor_count, classes, most, per_anchor, per_class = 12, 4, 6, 2, 3
    deltas = generator.uniform(-2, 2, (1, anchor_count, 4)).astype(np.float32)
    scores = (generator.permutation(anchor_count * classes) / (anchor_count * classes)).astype(np.float32)
    scores = scores.reshape(1, anchor_count, classes)
    anchors = np.concatenate([generator.uniform(0, 1, (anchor_count, 2)), generator.uniform(0.2, 0.5, (anchor_count, 2))], 1)
    anchors = anchors.astype(np.float32)
    options: dict[str, Any] = {
        "max_detections": most, "max_classes_per_detection": per_anchor, "detections_per_class": per_class,
        "use_regular_nms": regular, "nms_score_threshold": 0.3, "nms_iou_threshold": 0.4, "num_classes": classes - 1,
        "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
    }  # fmt: skip
    custom = bytes(flexbuffers.Dumps(options))
    model, fed = single("TFLite_Detection_PostProcess", [T(deltas), T(scores), T(anchors, const=True)], [T()] * 4, custom=custom)
    boxes, labels, found, count = run_litert(model, fed)
    rows = most * (1 if regular else per_anchor)
    number = int(count[0]) * (1 if regular else per_anchor)  # LiteRT counts boxes, NNAPI rows
    want = [np.zeros((1, rows), np.float32), np.zeros((1, rows, 4), np.float32), np.zeros((1, rows), np.int32)]
    want[0][0, :number], want[1][0, :number] = found[0, :number], boxes[0, :number]
    want[2][0, :number] = labels[0, :number] + background
    operands = [tensor(scores), tensor(deltas), tensor(anchors), *map(scalar, (10.0, 10.0, 5.0, 5.0)), scalar(regular)]
    operands += [scalar(most), scalar(per_anchor), scalar(per_class), scalar(0.3), scalar(0.4), scalar(background)]
    expected = [*map(tensor, want), tensor(np.array([number], np.int32))]
    assert number > 2
    check(api, DETECTION_POSTPROCESSING, operands, expected, near(1e-5))


def pixels(generator: np.random.Generator, kind: Kind, shape: tuple[int, ...], nchw: bool) -> tuple[Operand, Array]:
    """An image operand in its layout, and its numbers as NHWC."""
    operand, values = kind.values(generator.integers(-64, 64, shape).astype(np.float32) / 64)
    assert operand.value is not None
    stored = operand.value.transpose(0, 3, 1, 2) if nchw else operand.value
    return tensor(stored, operand.type.scale if kind.quantised else None, operand.type.zero_point), values


@pytest.mark.parametrize("nchw", [False, True])
def test_roi_pooling(api: Nnapi, kind: Kind, nchw: bool) -> None:
    generator = np.random.default_rng(2)
    n, h, w, c, out_h, out_w, stride = 2, 7, 9, 3, 2, 3, 4.0
    x, values = pixels(generator, kind, (n, h, w, c), nchw)
    corners = random_boxes(generator, (6,), h * stride)
    rois, roi_values = kind.boxes(corners)
    batches = generator.integers(0, n, 6).astype(np.int32)
    want = np.zeros((6, out_h, out_w, c), np.float32)
    for k, (roi, batch) in enumerate(zip(roi_values, batches)):
        x1, y1, x2, y2 = np.floor(roi / stride + 0.5).astype(int)
        step_x, step_y = max(x2 - x1 + 1, 1) / out_w, max(y2 - y1 + 1, 1) / out_h
        for i in range(out_h):
            for j in range(out_w):
                rows = slice(min(int(np.floor(step_y * i + y1)), h), min(int(np.ceil(step_y * (i + 1) + y1)), h))
                columns = slice(min(int(np.floor(step_x * j + x1)), w), min(int(np.ceil(step_x * (j + 1) + x1)), w))
                part = values[batch, rows, columns].reshape(-1, c)
                want[k, i, j] = part.max(0) if len(part) else 0
    expected, _ = kind.values(want.transpose(0, 3, 1, 2) if nchw else want)
    operands = [x, rois, tensor(batches), scalar(out_h), scalar(out_w), kind.number(stride), kind.number(stride), scalar(nchw)]
    check(api, ROI_POOLING, operands, [expected])


def bilinear(image: Array, y: float, x: float) -> Array:
    h, w, _ = image.shape
    y0, x0 = min(int(y), h - 1), min(int(x), w - 1)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    dy, dx = y - y0 if y1 > y0 else 0.0, x - x0 if x1 > x0 else 0.0
    top, bottom = (1 - dx) * image[y0, x0] + dx * image[y0, x1], (1 - dx) * image[y1, x0] + dx * image[y1, x1]
    return np.asarray((1 - dy) * top + dy * bottom)


@pytest.mark.parametrize("nchw", [False, True])
@pytest.mark.parametrize("samples", [(0, 0), (2, 3), (1, 0)])
def test_roi_align(api: Nnapi, kind: Kind, nchw: bool, samples: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    n, h, w, c, out_h, out_w, stride = 2, 7, 9, 3, 2, 3, 2.0
    x, values = pixels(generator, kind, (n, h, w, c), nchw)
    rois, roi_values = kind.boxes(random_boxes(generator, (6,), h * stride))
    batches = generator.integers(0, n, 6).astype(np.int32)
    want = np.zeros((6, out_h, out_w, c), np.float32)
    for k, (roi, batch) in enumerate(zip(roi_values, batches)):
        x1, y1, x2, y2 = roi / stride
        step_y, step_x = max(y2 - y1, 1) / out_h, max(x2 - x1, 1) / out_w
        rows, columns = samples[0] or int(np.ceil(step_y)), samples[1] or int(np.ceil(step_x))
        for i in range(out_h):
            for j in range(out_w):
                grid = [
                    bilinear(values[batch], y1 + step_y * (i + (m + 0.5) / rows), x1 + step_x * (j + (p + 0.5) / columns))
                    for m in range(rows) for p in range(columns)
                ]  # fmt: skip
                want[k, i, j] = np.mean(grid, axis=0)
    expected, _ = kind.values(want.transpose(0, 3, 1, 2) if nchw else want)
    operands = [x, rois, tensor(batches), scalar(out_h), scalar(out_w), kind.number(stride), kind.number(stride)]
    check(api, ROI_ALIGN, [*operands, *map(scalar, samples), scalar(nchw)], [expected], kind.compare)


@pytest.mark.parametrize("nchw", [False, True])
def test_heatmap_max_keypoint(api: Nnapi, kind: Kind, nchw: bool) -> None:
    """Heatmaps that are parabolas have their top where the parabola has it."""
    n, size, keypoints = 3, 6, 2
    tops = np.array([[[2.25, 3.125], [1.5, 2.75]], [[3.75, 1.25], [2, 2]], [[3.25, 3.75], [1.125, 1.25]]])  # x, y
    grid = np.arange(size)
    dx, dy = (grid[None, None, :, None] - tops[:, None, None, :, 0]), (grid[None, :, None, None] - tops[:, None, None, :, 1])
    heat = 1.5 - 0.125 * (dx**2 + dy**2)
    operand, _ = kind.values(np.maximum(heat, -1.5).astype(np.float32))
    assert operand.value is not None
    stored = operand.value.transpose(0, 3, 1, 2) if nchw else operand.value
    heatmaps = tensor(stored, operand.type.scale if kind.quantised else None, operand.type.zero_point)
    boxes, corners = kind.boxes(np.array([[0, 0, 12, 24], [8, 4, 14, 10], [1, 2, 25, 8]], np.float32))
    relative = (tops + 0.5) / size
    points = relative * (corners[:, None, 2:] - corners[:, None, :2]) + corners[:, None, :2]
    scores, _ = kind.values(np.full((n, keypoints), 1.5, np.float32))
    expected, _ = kind.boxes(points.astype(np.float32))
    compare = near(2.0) if kind.quantised else near(0.05 if kind.dtype == "float16" else 1e-4)
    check(api, HEATMAP_MAX_KEYPOINT, [heatmaps, boxes, scalar(nchw)], [scores, expected], compare)
