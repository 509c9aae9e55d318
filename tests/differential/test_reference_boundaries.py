"""Attributes and operands out of range: each is refused with the operator, the attribute and its value; none crashes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nnapi_toolkit.delegate.errors import ModelError, UnsupportedError

from tests.differential.litert import T, run_ours, single
from tests.modelbuilder import ModelBuilder


def f(*shape):
    """A float input."""
    return T(np.ones(shape, np.float32))


def i(*values, dtype=np.int32, const=True):
    """A constant vector of integers."""
    return T(np.asarray(values, dtype), const=const)


def s(value, dtype=np.int32):
    """A constant scalar."""
    return T(np.asarray(value, dtype), const=True)


IMAGE, FILTER = f(1, 5, 5, 2), f(3, 3, 3, 2)
CONV = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, "padding": 0}
POOL = {"stride_w": 1, "stride_h": 1, "filter_width": 2, "filter_height": 2, "padding": 0}
HUGE = 2**31 - 1

#: Operator, inputs, options, and what the message names: the attribute or operand, and its value.
CASES = [
    ("CONV_2D", [IMAGE, FILTER], CONV | {"stride_w": 0}, "stride_w", "0"),
    ("CONV_2D", [IMAGE, FILTER], CONV | {"stride_h": -1}, "stride_h", "-1"),
    ("CONV_2D", [IMAGE, FILTER], CONV | {"dilation_w_factor": 0}, "dilation_w_factor", "0"),
    ("CONV_2D", [IMAGE, FILTER], CONV | {"dilation_h_factor": -2}, "dilation_h_factor", "-2"),
    ("CONV_2D", [IMAGE, FILTER], CONV | {"padding": 5}, "padding", "5"),
    ("CONV_2D", [IMAGE, f(3, 3, 3, 5)], CONV, "channel", "5"),
    ("CONV_2D", [IMAGE, f(3, 3, 3)], CONV, "rank", "3"),
    ("CONV_2D", [IMAGE, FILTER, f(4)], CONV, "bias", "4"),
    ("CONV_2D", [IMAGE, f(2, 9, 9, 2)], CONV | {"padding": 1, "stride_h": 1}, "input", "5"),
    ("CONV_2D", [IMAGE, None], CONV, r"input 1|inputs\[1\]", "omitted"),
    ("DEPTHWISE_CONV_2D", [IMAGE, f(1, 3, 3, 2)], CONV | {"stride_w": 0}, "stride_w", "0"),
    ("DEPTHWISE_CONV_2D", [IMAGE, f(1, 3, 3, 3)], CONV, "channel", "3"),
    ("DEPTHWISE_CONV_2D", [IMAGE, f(1, 3, 3, 2)], CONV | {"dilation_h_factor": 0}, "dilation_h_factor", "0"),
    ("CONV_3D", [f(1, 4, 4, 4, 2), f(2, 2, 2, 2, 3)], {"stride_d": 0, "stride_w": 1, "stride_h": 1}, "stride_d", "0"),
    ("TRANSPOSE_CONV", [i(1, 0, 4, 2), f(2, 3, 3, 2), f(1, 2, 2, 2)], {"stride_w": 1, "stride_h": 1}, "shape", "0"),
    ("TRANSPOSE_CONV", [i(1, 4, 4, 2), f(2, 3, 3, 2), f(1, 2, 2, 2)], {"stride_w": 0, "stride_h": 1}, "stride_w", "0"),
    ("AVERAGE_POOL_2D", [IMAGE], POOL | {"stride_w": 0}, "stride_w", "0"),
    ("AVERAGE_POOL_2D", [IMAGE], POOL | {"filter_height": 0}, "height", "0"),
    ("MAX_POOL_2D", [IMAGE], POOL | {"stride_h": -3}, "stride_h", "-3"),
    ("MAX_POOL_2D", [f(5, 5, 2)], POOL, "rank", "3"),
    ("L2_POOL_2D", [IMAGE], POOL | {"filter_width": -1}, "width", "-1"),
    ("FULLY_CONNECTED", [f(2, 5), f(3, 4)], {}, "input 0", "10"),
    ("FULLY_CONNECTED", [f(2, 5), f(3, 5), f(2)], {}, "bias", "2"),
    ("FULLY_CONNECTED", [f(2, 5), f(3, 5)], {"weights_format": 1}, "weights_format", "1|SHUFFLED"),
    ("CONCATENATION", [f(2, 3), f(2, 3)], {"axis": 2}, "axis", "2"),
    ("CONCATENATION", [f(2, 3), f(2, 3)], {"axis": -3}, "axis", "-3"),
    ("CONCATENATION", [f(2, 3), f(3, 3)], {"axis": 1}, "input 1", "3, 3"),
    ("PACK", [f(2), f(2)], {"axis": 2, "values_count": 2}, "axis", "2"),
    ("PACK", [f(2), f(3)], {"axis": 0, "values_count": 2}, "input 1", "float32[3]"),
    ("UNPACK", [f(2, 3)], {"axis": 5, "num": 2}, "axis", "5"),
    ("UNPACK", [f(2, 3)], {"axis": 0, "num": 7}, "num", "7"),
    ("SPLIT", [s(0), f(4)], {"num_splits": 3}, "num_splits", "3"),
    ("SPLIT", [s(0), f(4)], {"num_splits": 0}, "num_splits", "0"),
    ("SPLIT", [s(3), f(4)], {"num_splits": 2}, "axis", "3"),
    ("SPLIT_V", [f(4), i(1, 4), s(0)], {"num_splits": 2}, "size_splits", "1, 4"),
    ("SPLIT_V", [f(4), i(-1, -1), s(0)], {"num_splits": 2}, "size_splits", "-1, -1"),
    ("RESHAPE", [f(2, 3), i(4, 2)], {}, "shape", "4, 2"),
    ("RESHAPE", [f(2, 3), i(-1, -1)], {}, "shape", "-1, -1"),
    ("RESHAPE", [f(2, 3), i(-2, 3)], {}, "shape", "-2, 3"),
    ("SQUEEZE", [f(2, 3)], {"squeeze_dims": [0]}, "dimension", "0"),
    ("SQUEEZE", [f(1, 3)], {"squeeze_dims": [4]}, "squeeze_dims", "4"),
    ("EXPAND_DIMS", [f(2, 3), s(4)], {}, "axis", "4"),
    ("EXPAND_DIMS", [f(2, 3), s(-5)], {}, "axis", "-5"),
    ("PAD", [f(2, 3), i([-1, 0], [0, 0])], {}, "paddings", "-1"),
    ("PAD", [f(2, 3), i([1, 0])], {}, "paddings", "1, 2"),
    ("PAD", [f(2, 3), i([HUGE, HUGE], [0, 0])], {}, "shape", str(2 * HUGE + 2)),
    ("PADV2", [f(2), i([1, 1]), T(np.ones(2, np.float32), const=True)], {}, "constant_values", "2"),
    ("MIRROR_PAD", [f(2, 3), i([2, 0], [0, 0])], {"mode": 0}, "paddings", "2"),
    ("DILATE", [f(2, 3), i(0, 1), s(0.0, np.float32)], {}, "dilations", "0"),
    ("MEAN", [f(2, 3), i(2)], {}, "axis", "2"),
    ("SUM", [f(2, 3), i(-3)], {}, "axis", "-3"),
    ("REDUCE_MAX", [f(2, 3), i(7)], {}, "axis", "7"),
    ("ARG_MAX", [f(2, 3), s(2)], {}, "axis|dimension", "2"),
    ("CUMSUM", [f(2, 3), s(-4)], {}, "axis", "-4"),
    ("RESIZE_BILINEAR", [IMAGE, i(0, 5)], {}, "size", "0, 5"),
    ("RESIZE_BILINEAR", [IMAGE, i(5, 5)], {"align_corners": True, "half_pixel_centers": True}, "align_corners", "true"),
    ("RESIZE_BILINEAR", [IMAGE, i(1 << 20, 1 << 20)], {}, "shape", str(1 << 20)),
    ("RESIZE_NEAREST_NEIGHBOR", [IMAGE, i(5, -1)], {}, "size", "5, -1"),
    ("TRANSPOSE", [f(2, 3), i(0, 0)], {}, "perm", "0, 0"),
    ("TRANSPOSE", [f(2, 3), i(0, 2)], {}, "perm", "2"),
    ("TRANSPOSE", [f(2, 3), i(0)], {}, "perm", "0"),
    ("REVERSE_V2", [f(2, 3), i(2)], {}, "axis", "2"),
    ("REVERSE_SEQUENCE", [f(2, 3), i(1, 4)], {"seq_dim": 1, "batch_dim": 0}, "seq_lengths", "4"),
    ("REVERSE_SEQUENCE", [f(2, 3), i(1, 2)], {"seq_dim": 2, "batch_dim": 0}, "seq_dim", "2"),
    ("SPACE_TO_DEPTH", [f(1, 4, 4, 1)], {"block_size": 0}, "block_size", "0"),
    ("SPACE_TO_DEPTH", [f(1, 4, 4, 1)], {"block_size": 3}, "block_size", "3"),
    ("DEPTH_TO_SPACE", [f(1, 4, 4, 3)], {"block_size": 2}, "block_size", "2"),
    ("DEPTH_TO_SPACE", [f(1, 4, 4, 3)], {"block_size": -1}, "block_size", "-1"),
    ("SPACE_TO_BATCH_ND", [f(1, 4, 4, 1), i(0, 2), i([0, 0], [0, 0])], {}, "block_shape", "0, 2"),
    ("SPACE_TO_BATCH_ND", [f(1, 4, 4, 1), i(2, 2), i([0, -1], [0, 0])], {}, "paddings", "-1"),
    ("SPACE_TO_BATCH_ND", [f(1, 4, 5, 1), i(2, 2), i([0, 0], [0, 0])], {}, "block", "2, 2"),
    ("BATCH_TO_SPACE_ND", [f(3, 2, 2, 1), i(2, 2), i([0, 0], [0, 0])], {}, "batch|block_shape", "3|4"),
    ("BATCH_TO_SPACE_ND", [f(4, 2, 2, 1), i(2, 2), i([3, 3], [0, 0])], {}, "crops", "3"),
    ("GATHER", [f(3, 2), i(0, 3)], {"axis": 0}, "positions", "3"),
    ("GATHER", [f(3, 2), i(-1)], {"axis": 0}, "positions", "-1"),
    ("GATHER", [f(3, 2), i(0)], {"axis": 2}, "axis", "2"),
    ("GATHER", [f(3, 2), i(0)], {"axis": 0, "batch_dims": 2}, "batch_dims", "2"),
    ("GATHER_ND", [f(3, 2), i([0, 2])], {}, "indices", "2"),
    ("GATHER_ND", [f(3, 2), i([0, 0, 0])], {}, "indices", "3"),
    ("SLICE", [f(3, 2), i(2, 0), i(2, 2)], {}, "begin|size", "2"),
    ("SLICE", [f(3, 2), i(-1, 0), i(1, 1)], {}, "begin", "-1"),
    ("SLICE", [f(3, 2), i(0), i(1)], {}, "begin|size", "1|0"),
    ("STRIDED_SLICE", [f(3, 2), i(0, 0), i(3, 2), i(0, 1)], {}, "strides", "0"),
    ("STRIDED_SLICE", [f(3), i(0, 0), i(3, 2), i(1, 1)], {}, "begin|index|rank", "2"),
    ("TILE", [f(3, 2), i(-1, 1)], {}, "multiples", "-1"),
    ("TILE", [f(3, 2), i(HUGE, 2)], {}, "shape|multiples", str(HUGE)),
    ("TILE", [f(3, 2), i(1)], {}, "multiples", "1"),
    ("ONE_HOT", [i(0, 1), s(-1), s(1.0, np.float32), s(0.0, np.float32)], {"axis": -1}, "depth", "-1"),
    ("ONE_HOT", [i(0, 1), s(2), s(1.0, np.float32), s(0.0, np.float32)], {"axis": 3}, "axis", "3"),
    ("TOPK_V2", [f(3), s(4)], {}, "k", "4"),
    ("TOPK_V2", [f(3), s(-1)], {}, "k", "-1"),
    ("FILL", [i(-1, 2), s(1.0, np.float32)], {}, "shape", "-1"),
    ("FILL", [i(HUGE, HUGE), s(1.0, np.float32)], {}, "dims|shape", str(HUGE)),
    ("RANGE", [s(0), s(5), s(0)], {}, "delta", "0"),
    ("RANGE", [s(0), s(5), s(-1)], {}, "delta|limit|start", "-1|5"),
    ("BROADCAST_TO", [f(3, 2), i(3, 3)], {}, "shape", "3, 3"),
    ("BROADCAST_ARGS", [i(3, 2), i(3, 3)], {}, "shape|input", "2|3"),
    ("EMBEDDING_LOOKUP", [i(4), f(3, 2)], {}, "lookup|ids|indices|input 0", "4"),
    ("DYNAMIC_UPDATE_SLICE", [f(2, 2), f(3, 1), i(0, 0)], {}, "update", "3"),
    ("SCATTER_ND", [i([3]), f(1), i(3)], {}, "indices", "3"),
    ("SCATTER_ND", [i([0]), f(2), i(3)], {}, "updates", "2"),
    ("SPARSE_TO_DENSE", [i(5), i(3), T(np.ones(1, np.float32)), s(0.0, np.float32)], {}, "indices", "5"),
    ("SEGMENT_SUM", [f(3, 2), i(0, 2, 3)], {}, "segment_ids", "0, 2, 3"),
    ("UNSORTED_SEGMENT_SUM", [f(3, 2), i(0, 5, 1), s(2)], {}, "segment_ids", "5"),
    ("UNSORTED_SEGMENT_MAX", [f(3, 2), i(0, 1, 1), s(-2)], {}, "num_segments", "-2"),
    ("MATRIX_DIAG", [f()], {}, "rank|shape", "0"),
    ("MATRIX_SET_DIAG", [f(3, 3), f(2)], {}, "shape", "2"),
    ("BATCH_MATMUL", [f(2, 3), f(4, 2)], {}, "depths", "3, 4"),
    ("ADD", [f(2, 3), f(2, 2)], {}, "shape", "2, 2"),
    ("MUL", [f(4), f(3)], {}, "shape", "3"),
    ("ADD_N", [f(2), f(3)], {}, "input 1", "float32[3]"),
    ("FLOOR_DIV", [i(1, 2, const=False), i(1, 0)], {}, "divisor|input 1", "0"),
    ("FLOOR_MOD", [i(1, 2, const=False), i(1, 0)], {}, "divisor|input 1", "0"),
    ("DIV", [i(1, 2, const=False), i(1, 0)], {}, "divisor|input 1", "0"),
    ("LESS", [f(4), f(3)], {}, "shape", "3"),
    ("SELECT_V2", [T(np.ones(2, bool)), f(4), f(3)], {}, "shape", "3"),
    ("SELECT", [T(np.ones(2, bool)), f(4), f(3)], {}, "shape", "3"),
    ("PRELU", [f(2, 3), f(2)], {}, "shape|alpha", "2"),
    ("LOCAL_RESPONSE_NORMALIZATION", [IMAGE], {"radius": -1, "bias": 1.0}, "radius", "-1"),
    ("FAKE_QUANT", [f(2)], {"num_bits": 0, "min": 0.0, "max": 1.0}, "num_bits", "0"),
    ("FAKE_QUANT", [f(2)], {"num_bits": 8, "min": 2.0, "max": 1.0}, "min", "2.0"),
    ("SVDF", [f(1, 3), f(4, 2), f(4, 2), None, T(np.zeros((1, 8), np.float32))], {"rank": 1}, "input 1|feature", "2"),
    ("SVDF", [f(1, 3), f(4, 3), f(4, 2), None, T(np.zeros((1, 8), np.float32))], {"rank": 3}, "rank", "3"),
    ("RNN", [f(1, 3), f(4, 2), f(4, 4), f(4), f(1, 4)], {}, "input|shape", "2"),
    ("RNN", [f(1, 3), f(4, 3), f(4, 4), f(5), f(1, 4)], {}, "input 1", "4, 3"),
    ("UNIDIRECTIONAL_SEQUENCE_RNN", [f(2, 3), f(4, 3), f(4, 4), f(4), f(2, 4)], {}, "rank", "2"),
    ("UNIDIRECTIONAL_SEQUENCE_RNN", [f(2, 1, 3), f(4, 3), f(4, 4), f(4), f(1, 4)], {}, "input 4", "1, 4"),
    ("NON_MAX_SUPPRESSION_V4", [f(3, 3), f(3), s(2), s(0.5, np.float32), s(0.5, np.float32)], {}, "box", "3"),
    ("RFFT2D", [f(4, 4), i(3, 4)], {}, "fft_length", "3"),
    ("RANDOM_UNIFORM", [i(-1, 2)], {"seed": 1}, "shape", "-1"),
    ("MULTINOMIAL", [f(2, 3), s(-1)], {"seed": 1}, "num_samples", "-1"),
    ("LSH_PROJECTION", [f(2, 33), f(2, 2)], {"type": 2}, "hash", "33"),
    ("LSH_PROJECTION", [f(2, 3), f(2, 2)], {"type": 0}, "type", "0"),
    ("STABLEHLO_GATHER", [f(3, 2), i([0])], {"slice_sizes": [4, 2], "offset_dims": [0, 1]}, "slice_sizes", "4"),
    ("STABLEHLO_PAD", [f(3), s(0.0, np.float32)],
     {"edge_padding_low": [0], "edge_padding_high": [0], "interior_padding": [-1]}, "interior", "-1"),
    ("REDUCE_WINDOW", [f(3), s(0.0, np.float32), *(i(0, dtype=np.int64) for _ in range(3))],
     {"reduce_function": 1}, "window", "0"),
    ("RIGHT_SHIFT", [i(1, 2, const=False), i(1, 2, 3)], {}, "shape", "3"),
    ("BITCAST", [f(3, 3)], {}, "input 0", "3"),
    ("BUCKETIZE", [f(3)], {"boundaries": [2.0, 1.0]}, "boundaries", "2.0"),
    ("IF", [T(np.ones((), bool)), f(2)], {"then_subgraph_index": 7, "else_subgraph_index": 0}, "then_subgraph_index", "7"),
    ("WHILE", [f(2)], {"cond_subgraph_index": -1, "body_subgraph_index": 0}, "cond_subgraph_index", "-1"),
    ("CALL_ONCE", [], {"init_subgraph_index": 3}, "init_subgraph_index", "3"),
]

#: Types of outputs that are not float32.
KINDS = {"BITCAST": "float64", "ARG_MAX": "int32", "BUCKETIZE": "int32", "LSH_PROJECTION": "int32", "FLOOR_DIV": "int32",
         "FLOOR_MOD": "int32", "DIV": "int32", "RIGHT_SHIFT": "int32", "LESS": "bool", "MULTINOMIAL": "int32",
         "RANGE": "int32", "BROADCAST_ARGS": "int32"}  # fmt: skip
OUTPUTS = {"CALL_ONCE": 0, "UNPACK": 2, "SPLIT": 2, "SPLIT_V": 2, "TOPK_V2": 2, "NON_MAX_SUPPRESSION_V4": 2}


def mentioned(pattern, text):
    """Whether the text has one of the alternatives, numbers as whole numbers."""
    parts = [re.escape(part) for part in pattern.split("|")]
    return re.search(rf"(?<![\w.-])({'|'.join(parts)})(?!\d|\.\d)", text, re.IGNORECASE)


@pytest.mark.parametrize(
    ("op", "inputs", "options", "attribute", "value"), CASES,
    ids=[f"{n}-{case[0]}-{case[3].split('|')[0]}" for n, case in enumerate(CASES)],
)  # fmt: skip
def test_refused_by_name(op, inputs, options, attribute, value):
    outputs = [T(dtype=KINDS.get(op, "float32"), shape=()) for _ in range(OUTPUTS.get(op, 1))]
    model, values = single(op, inputs, outputs, **options)
    with pytest.raises((ModelError, UnsupportedError)) as error:
        run_ours(model, values)
    text = str(error.value)
    # An option that the reader of the file refuses is named by its path; the kernels name their operator.
    assert op in text or "operators[0].builtin_options." in text, text
    assert re.search(attribute, text, re.IGNORECASE), text
    assert mentioned(value, text), text


def test_unknown_custom_operator_names_the_way_out():
    model, values = single("NobodyKnowsThis", [f(2)], [T(shape=(2,))], custom=b"")
    with pytest.raises(UnsupportedError, match=r"custom operator: register one with @custom_op"):
        run_ours(model, values)


def test_subgraphs_that_call_themselves_end():
    builder = ModelBuilder()
    flag, x = builder.tensor("flag", "bool", ()), builder.tensor("x", "float32", (2,))
    y = builder.tensor("y", "float32", (2,))
    graph = builder.subgraph("endless")
    inner_flag = graph.tensor("flag", "bool", (), data=np.asarray(True))
    inner, result = graph.tensor("x", "float32", (2,)), graph.tensor("y", "float32", (2,))
    both = {"then_subgraph_index": graph.index, "else_subgraph_index": graph.index}
    graph.op("IF", [inner_flag, inner], [result], **both)
    graph.interface([inner], [result])
    builder.op("IF", [flag, x], [y], **both)
    with pytest.raises(ModelError, match=r"deep|itself|cycle|recurs"):
        run_ours(builder.build([flag, x], [y]), [np.asarray(True), np.ones(2, np.float32)])
