"""NON_MAX_SUPPRESSION_V4 and _V5, and the custom operator TFLite_Detection_PostProcess.

Semantics: LiteRT's kernels. Boxes are float32 rows of four.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    custom_op,
    fail,
    kernel,
    operand,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.custom import flexbuffer
from nnapi_toolkit.reference.quantized import scale_of, zero_point_of
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def overlap(box: Boxes, others: Boxes) -> NDArray[np.float32]:
    """Intersection over union of one box (y1, x1, y2, x2) with several, in float32; 0 for boxes without an area."""
    zero = np.float32(0)

    def area(b: Boxes) -> Boxes:
        return (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])

    height = np.maximum(np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]), zero)
    width = np.maximum(np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]), zero)
    common = height * width
    one, many = area(box), area(others)
    total = one + many - common
    usable = (one > 0) & (many > 0)
    return np.where(usable, common / np.where(usable, total, np.float32(1)), zero).astype(np.float32)


def _suppress(
    boxes: Boxes, scores: NDArray[np.float32], count: int, limit: float, least: float, sigma: float
) -> tuple[list[int], list[np.float32]]:
    """Indices and scores that survive: hard suppression at an overlap of `limit`, soft decay with `sigma` > 0."""
    corners = np.concatenate(
        [np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1
    )
    heap = [(-score, index, 0) for index, score in enumerate(scores) if score > least]
    heapq.heapify(heap)
    wanted = min(len(heap), count)
    decay = np.float32(-0.5 / sigma) if sigma > 0 else np.float32(0)
    chosen: list[int] = []
    kept: list[np.float32] = []
    while len(chosen) < wanted and heap:
        negative, index, begin = heapq.heappop(heap)
        original = score = -negative
        refused = False
        if begin < len(chosen):
            overlaps = overlap(corners[index], corners[chosen[begin:]])
            for value in overlaps[::-1]:
                if value >= limit:
                    refused = True
                    break
                if sigma > 0:
                    score = np.float32(score * np.exp(decay * value * value))
                if score <= least:
                    break
        begin = len(chosen)
        if refused:
            continue
        if score == original:
            chosen.append(index)
            kept.append(score)
        if score > least:
            heapq.heappush(heap, (-score, index, begin))
    return chosen, kept


@kernel("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
def non_max_suppression(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Inputs: boxes [n, 4], scores [n], size of the output, overlap threshold, score threshold, V5: sigma.

    Outputs: indices padded with zeros, V5: their scores, and how many there are.

    Boxes and scores are float32; sizes, indices and counts int32.
    """
    boxes, scores = operand(node, inputs, 0, "boxes"), operand(node, inputs, 1, "scores")
    require_type(node, boxes, "type of input 0", np.float32)
    soft = node.operator.name == "NON_MAX_SUPPRESSION_V5"
    names = ("max_output_size", "iou_threshold", "score_threshold", "sigma")[: 4 if soft else 3]
    given = [operand(node, inputs, 2 + i, name).reshape(-1)[0] for i, name in enumerate(names)]
    size, sigma = int(given[0]), float(given[3]) if soft else 0.0
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (boxes.shape[0],):
        fail(node, "shapes of boxes and scores", (list(boxes.shape), list(scores.shape)), "[n, 4] and [n]")
    if size < 0 or sigma < 0:
        fail(node, "max_output_size and sigma", (size, sigma), "0 or more")
    chosen, kept = _suppress(boxes, scores, size, given[1], given[2], sigma)
    indices, values = np.zeros(size, np.int32), np.zeros(size, np.float32)
    indices[: len(chosen)], values[: len(kept)] = chosen, kept
    number = np.asarray(len(chosen), np.int32)
    return [indices, values, number] if soft else [indices, number]


# -- TFLite_Detection_PostProcess ---------------------------------------------------------------------------------


def _real(node: Node, tensor: Tensor, values: Array) -> NDArray[np.float32]:
    """float32, or uint8 numbers as the floats they stand for."""
    if values.dtype == np.float32:
        return values
    require_type(node, values, f"type of '{tensor.name}'", np.uint8)
    scale = np.float32(scale_of(node, tensor))
    return (values.astype(np.float32) - np.float32(zero_point_of(tensor))) * scale


def _decode(boxes: Boxes, anchors: Boxes, scales: Sequence[float]) -> Boxes:
    """Centre and size encodings relative to anchors, as corners; in double, rounded to float32 at each half."""
    code, anchor = boxes[:, :4].astype(np.float64), anchors.astype(np.float64)
    y_scale, x_scale, h_scale, w_scale = (float(np.float32(s)) for s in scales)
    centre_y = (code[:, 0] / y_scale * anchor[:, 2] + anchor[:, 0]).astype(np.float32)
    centre_x = (code[:, 1] / x_scale * anchor[:, 3] + anchor[:, 1]).astype(np.float32)
    half_h = (0.5 * np.exp(code[:, 2] / h_scale) * anchor[:, 2]).astype(np.float32)
    half_w = (0.5 * np.exp(code[:, 3] / w_scale) * anchor[:, 3]).astype(np.float32)
    return np.stack([centre_y - half_h, centre_x - half_w, centre_y + half_h, centre_x + half_w], axis=1)


def _select(boxes: Boxes, scores: NDArray[np.float32], count: int, limit: float, least: float) -> list[int]:
    """Boxes by falling score that overlap no chosen one by more than the limit."""
    candidates = np.nonzero(scores >= np.float32(least))[0]
    order = candidates[np.argsort(-scores[candidates], kind="stable")]
    chosen: list[int] = []
    while order.size and len(chosen) < count:
        chosen.append(int(order[0]))
        rest = order[1:]
        order = rest[overlap(boxes[chosen[-1]], boxes[rest]) <= np.float32(limit)]
    return chosen


@dataclass(frozen=True, slots=True)
class Detection:
    """One entry of the outputs: its place, and what it says."""

    place: int
    score: np.float32
    box: int
    label: int


def _by_class(
    boxes: Boxes, scores: NDArray[np.float32], per_class: int, total: int, limit: float, least: float
) -> list[Detection]:
    """Suppression class by class, the best of all merged."""
    best: list[tuple[np.float32, int, int]] = []
    for label in range(scores.shape[1]):
        column = scores[:, label]
        found = [(column[i], i, label) for i in _select(boxes, column, per_class, limit, least)]
        best = sorted(best + found, key=lambda entry: -entry[0])[:total]
    return [Detection(place, *entry) for place, entry in enumerate(best)]


def _across_classes(
    boxes: Boxes, scores: NDArray[np.float32], per_box: int, total: int, limit: float, least: float
) -> list[Detection]:
    """Suppression by each box's best class, then its best classes; every box has `per_box` places."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :per_box]
    chosen = _select(boxes, scores[np.arange(len(scores)), order[:, 0]], total, limit, least)
    return [
        Detection(row * per_box + column, scores[box, label], box, int(label))
        for row, box in enumerate(chosen)
        for column, label in enumerate(order[box])
    ]


def _option(options: Mapping[str, Any], name: str, default: Any = 0) -> Any:
    value = options.get(name)
    return default if value is None else value


@custom_op("TFLite_Detection_PostProcess")
def detection_post_process(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Inputs: box encodings [1, n, 4 or more], class scores [1, n, classes (+ background)], anchors [n, 4].

    Outputs, float32: boxes [1, k, 4], classes [1, k], scores [1, k], number of detections [1]; k is max_detections *
    max_classes_per_detection, what is not used is zero. Float32 or uint8 inputs.
    """
    codes, classes = operand(node, inputs, 0, "box encodings"), operand(node, inputs, 1, "class predictions")
    anchors, options = operand(node, inputs, 2, "anchors"), flexbuffer(node)
    if codes.ndim != 3 or codes.shape[0] != 1 or codes.shape[2] < 4 or anchors.shape != (codes.shape[1], 4):
        fail(node, "shapes of boxes and anchors", (list(codes.shape), list(anchors.shape)), "[1, n, 4] and [n, 4]")
    count = int(_option(options, "num_classes"))
    if classes.ndim != 3 or classes.shape[:2] != codes.shape[:2] or classes.shape[2] - count not in (0, 1):
        fail(node, "shape of class predictions", list(classes.shape), f"[1, n, {count} or {count + 1}]")
    total, per_box = int(_option(options, "max_detections")), int(_option(options, "max_classes_per_detection"))
    limit, least = float(_option(options, "nms_iou_threshold")), float(_option(options, "nms_score_threshold"))
    if total < 1 or per_box < 1 or count < 1 or not 0 < limit <= 1:
        what = "max_detections, max_classes_per_detection, num_classes, nms_iou_threshold"
        fail(node, what, (total, per_box, count, limit), "1 or more each, above 0 to 1")
    scales = [_option(options, f"{name}_scale") for name in "yxhw"]
    if 0 in scales:
        fail(node, "y_scale, x_scale, h_scale, w_scale", scales, "other than 0")
    encodings = _real(node, tensor_in(node, 0), codes)[0]
    boxes = _decode(encodings, _real(node, tensor_in(node, 2), anchors), scales)
    scores = _real(node, tensor_in(node, 1), classes)[0][:, classes.shape[2] - count :]
    if _option(options, "use_regular_nms", False):
        per_class = min(int(_option(options, "detections_per_class", 100)), total)
        found = _by_class(boxes, scores, per_class, total, limit, least)
        number = len(found)
    else:
        found = _across_classes(boxes, scores, per_box, total, limit, least)
        number = len({detection.box for detection in found})
    size = total * per_box
    results = [np.zeros((1, size, 4), np.float32), np.zeros((1, size), np.float32), np.zeros((1, size), np.float32)]
    for detection in found:
        results[0][0, detection.place] = boxes[detection.box]
        results[1][0, detection.place] = detection.label
        results[2][0, detection.place] = detection.score
    return [*results, np.asarray([number], np.float32)]
