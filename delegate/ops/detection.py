"""TFLite_Detection_PostProcess, and the custom transposed convolution of MediaPipe."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule
from nnapi_toolkit.delegate.ops.convolution import check_transpose_conv, emit_transpose_conv
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


# -- Convolution2DTransposeBias -------------------------------------------------------------------------------------


def transpose_bias_operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    """Input, filter, bias, output."""
    return case.input(0, "input"), case.input(1, "filter"), case.input(2, "bias"), case.output()


def transpose_bias_options(case: Case) -> tuple[int, int, int]:
    """Padding (1 SAME, 2 VALID: NNAPI's numbers), stride width, stride height."""
    data = case.node.operator.custom_options
    case.need(len(data) >= 12, "option-value", "the custom options", f"{len(data)} bytes", "three int32")
    padding, width, height = struct.unpack_from("<iii", data)
    case.need(padding in (1, 2), "option-value", "option padding", padding, "1 (SAME) or 2 (VALID)")
    case.need(min(width, height) >= 1, "option-value", "option stride", f"{width}, {height}", "at least 1")
    return padding, width, height


def _transpose_bias_rule(case: Case) -> None:
    """MediaPipe's transposed convolution with bias, which no builtin operator of its time had: TRANSPOSE_CONV_2D."""
    x, weights, bias, out = transpose_bias_operands(case)
    case.typed(x, TensorType.FLOAT32)
    count = len(case.node.operator.outputs)
    case.need(count == 1, "operand-count", "the number of outputs", count, "1")
    check_transpose_conv(case, x, weights, bias, out)
    transpose_bias_options(case)


def _lower_transpose_bias(builder: ProgramBuilder, case: Case) -> None:
    emit_transpose_conv(builder, case, transpose_bias_operands(case), (*transpose_bias_options(case), 0))


# -- TFLite_Detection_PostProcess -----------------------------------------------------------------------------------


def _detection_options(case: Case) -> dict[str, Any]:
    """The FlexBuffer map of the operator's options."""
    from flatbuffers import flexbuffers

    data = bytearray(case.node.operator.custom_options)
    try:
        options = flexbuffers.Loads(data)
    except Exception:
        options = None
    if not isinstance(options, dict):
        case.refuse("option-value", "the custom options", f"{len(data)} bytes", "a FlexBuffer map")
    return options


_SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")


def _detection_rule(case: Case) -> None:
    """NNAPI: DETECTION_POSTPROCESSING (feature level 3), which the TFLite delegate never uses; float."""
    boxes, scores, anchors = case.input(0, "boxes"), case.input(1, "scores"), case.input(2, "anchors")
    case.operation("DETECTION_POSTPROCESSING", scores)
    for operand in (boxes, scores, anchors):
        case.typed(operand, TensorType.FLOAT32)
        case.known_shape(operand)
    case.ranks(boxes, 3, 3, "DETECTION_POSTPROCESSING")
    case.ranks(anchors, 2, 2, "DETECTION_POSTPROCESSING")
    options = _detection_options(case)
    for name in (*_SCALES, "max_detections", "num_classes", "nms_iou_threshold", "nms_score_threshold"):
        case.need(name in options, "option-value", f"option {name}", "missing", "present")
    classes = scores.shape[2] - int(options["num_classes"])
    case.need(classes == 1, "option-value", "option num_classes", options["num_classes"], "all classes but the background")
    most = int(options["max_detections"])
    for position, shape in enumerate(((1, most, 4), (1, most), (1, most), (1,))):
        out = case.output(position)
        case.typed(out, TensorType.FLOAT32)
        case.need(out.shape == shape, "operand-shape", out, list(out.shape), list(shape))
    count = len(case.node.operator.outputs)
    case.need(count == 4, "operand-count", "the number of outputs", count, "4")
    case.operation("CAST", case.output(2))


def _lower_detection(builder: ProgramBuilder, case: Case) -> None:
    """Scores before boxes; classes and counts come as int32 and are cast to TFLite's float32."""
    options = _detection_options(case)
    scores = case.input(1)
    inputs = [builder.tensor(scores), builder.tensor(case.input(0)), builder.tensor(case.input(2))]
    inputs += [builder.float32(float(options[name])) for name in _SCALES]
    inputs += [
        builder.bool(bool(options.get("use_regular_nms", False))),
        builder.int32(int(options["max_detections"])),
        builder.int32(int(options.get("max_classes_per_detection", 1))),
        builder.int32(int(options.get("detections_per_class", 100))),
        builder.float32(float(options["nms_score_threshold"])),
        builder.float32(float(options["nms_iou_threshold"])),
        builder.bool(False),
    ]
    boxes_out, classes_out, scores_out, count_out = (case.output(i) for i in range(4))
    classes = builder.temporary(OperandCode.TENSOR_INT32, classes_out.shape)
    count = builder.temporary(OperandCode.TENSOR_INT32, count_out.shape)
    outputs = [builder.tensor(scores_out), builder.tensor(boxes_out), classes, count]
    builder.operation("DETECTION_POSTPROCESSING", inputs, outputs)
    builder.operation("CAST", [count], builder.tensor(count_out))
    builder.operation("CAST", [classes], builder.tensor(classes_out))


CUSTOM_RULES = (
    OperatorRule(
        "Convolution2DTransposeBias",
        ("TRANSPOSE_CONV_2D",),
        None,
        _transpose_bias_rule,
        None,
        _lower_transpose_bias,
    ),
    OperatorRule(
        "TFLite_Detection_PostProcess",
        ("DETECTION_POSTPROCESSING", "CAST"),
        None,
        _detection_rule,
        None,
        _lower_detection,
    ),
)
