"""Custom operators that ship with the toolkit, and the decoder of flexbuffer options.

Semantics: MediaPipe's kernel for Convolution2DTransposeBias.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, custom_op, fail, operand, require_type

#: Modules that register further custom operators, imported with the first look-up.
SHIPPED = {
    "AudioSpectrogram": "spectrum",
    "Mfcc": "spectrum",
    "NumericVerify": "quantization",
    "TFLite_Detection_PostProcess": "detection",
}


def flexbuffer(node: Node) -> dict[str, Any]:
    """The custom options of a node as the map that a flexbuffer holds.

    Raises:
        ModelError: The bytes are no flexbuffer with a map at its root.
    """
    from flatbuffers import flexbuffers

    data = bytes(node.operator.custom_options)
    try:
        value = flexbuffers.Loads(data) if data else {}
    except Exception as error:  # the reader of the flatbuffers package has no exception of its own
        fail(node, "custom options", f"{len(data)} bytes ({error})", "a flexbuffer")
    if not isinstance(value, dict):
        fail(node, "custom options", type(value).__name__, "a flexbuffer with a map at its root")
    return value


@custom_op("Convolution2DTransposeBias")
def convolution_2d_transpose_bias(
    node: Node, inputs: Sequence[Array | None], runtime: Runtime
) -> Sequence[Array]:
    """MediaPipe's transposed convolution plus bias, float32.

    Inputs: [N, H, W, I], filter [O, KH, KW, I], bias [O]. Options: three little-endian int32: padding (1 SAME,
    2 VALID), stride width, stride height.
    """
    from nnapi_toolkit.reference.convolution_transposed import SAME, VALID, transposed_with_bias

    values, weights = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "filter")
    bias = operand(node, inputs, 2, "bias")
    require_type(node, values, "type of input 0", np.float32)
    data = bytes(node.operator.custom_options)
    if len(data) < 12:
        fail(node, "custom options", f"{len(data)} bytes", "12 or more: padding, stride width, stride height")
    padding, stride_width, stride_height = struct.unpack_from("<3i", data)
    if padding not in (1, 2) or min(stride_width, stride_height) < 1:
        fail(node, "padding and strides", (padding, stride_width, stride_height), "1 or 2, and 1 or more")
    fits = values.ndim == weights.ndim == 4 and values.shape[3] == weights.shape[3]
    if not fits or bias.size != weights.shape[0]:
        shapes = [list(a.shape) for a in (values, weights, bias)]
        fail(node, "shapes of the inputs", shapes, "[N, H, W, I], [O, KH, KW, I], [O]")
    kind = SAME if padding == 1 else VALID
    strides = (stride_height, stride_width)
    return [transposed_with_bias(values, weights, bias, kind, strides, runtime.reference_order)]
