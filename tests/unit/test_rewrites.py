"""Rewrites: each takes what the plain rule refuses, each is listed, and none hides another's work. Their numbers are compared with
LiteRT's in `tests/differential/test_lowering.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnapi_toolkit.delegate.decide import decide
from nnapi_toolkit.delegate.errors import UnsupportedError
from nnapi_toolkit.delegate.explain import explain
from nnapi_toolkit.delegate.fixed_point import multiply, quantize_multiplier
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.matrix import matrix
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.ops.base import float32_product
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.rewrites import ALL, DEFAULT, RULES, SUMMARIES
from nnapi_toolkit.delegate.rewrites.folding import freeze_shapes
from nnapi_toolkit.delegate.rewrites.per_channel import exact_scale
from nnapi_toolkit.delegate.rewrites.tables import windows_of
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.report import many_operations

from tests.conftest import model_path
from tests.modelbuilder import ModelBuilder
from tests.unit.test_rules import node_of

#: Rewrite -> a case and a level where it is needed, other rewrites that it stands on, and the operations that it makes.
NEEDED = {
    "gather-of-scalar": ("GATHER-float32-scalar", 3, (), "GATHER RESHAPE"),
    "strided-slice-reshaped": ("STRIDED_SLICE-float32-new-axis", 2, (), "STRIDED_SLICE RESHAPE"),
    "crops-as-slice": ("BATCH_TO_SPACE_ND-float32-crops", 2, (), "BATCH_TO_SPACE_ND STRIDED_SLICE"),
    "broadcast-select": ("SELECT_V2-float32-broadcast", 3, (), "TILE TILE SELECT"),
    "cast-of-bool": ("CAST-bool-to-float32", 3, (), "SELECT"),
    "fully-connected-reshape": ("FULLY_CONNECTED-float32-kept", 1, (), "FULLY_CONNECTED RESHAPE"),
    "squeeze-as-reshape": ("SQUEEZE-float32", 1, (), "RESHAPE"),
    "expand-dims-as-reshape": ("EXPAND_DIMS-float32", 1, (), "RESHAPE"),
    "pack-by-concatenation": ("PACK-float32", 1, (), "RESHAPE RESHAPE RESHAPE CONCATENATION"),
    "unpack-by-slices": ("UNPACK-float32-last", 3, (), "SLICE RESHAPE SLICE RESHAPE"),
    "dilation-by-batch": ("CONV_2D-float32-dilated", 2, (), "SPACE_TO_BATCH_ND CONV_2D BATCH_TO_SPACE_ND STRIDED_SLICE"),
    "convolution-by-scale": ("DEPTHWISE_CONV_2D-int8_per_channel_filter", 2, ("int8-as-uint8",),
                             " ".join(["STRIDED_SLICE DEPTHWISE_CONV_2D"] * 8) + " CONCATENATION"),
    "matmul-as-fully-connected": ("BATCH_MATMUL-float32-constant", 1, (), "FULLY_CONNECTED RESHAPE"),
    "matmul-by-batch": ("BATCH_MATMUL-float32-broadcast", 8, (), None),
    "gelu-by-polynomial": ("GELU-float32-erf", 3, (), None),
    "gelu-decomposed": ("GELU-float32-tanh", 1, (), "MUL MUL MUL ADD MUL TANH MUL ADD MUL"),
    "split-activation": ("ADD-int32-relu6", 4, (), "ADD MAXIMUM MINIMUM"),
    "cosine-as-sine": ("COS-float32", 3, (), "SUB SIN"),
    "hard-swish-decomposed": ("HARD_SWISH-float32", 2, (), "ADD MUL DIV"),
    "unrolled-lstm": ("UNIDIRECTIONAL_SEQUENCE_LSTM-float32", 3, (), None),
    "unrolled-quantized-lstm": ("UNIDIRECTIONAL_SEQUENCE_LSTM-int8", 4, (), None),
    "unrolled-bidirectional-lstm": ("BIDIRECTIONAL_SEQUENCE_LSTM-float32-time-major-merged", 3, (), None),
    "unrolled-bidirectional-rnn": ("BIDIRECTIONAL_SEQUENCE_RNN-float32-batch-major-merged", 2, (), None),
    "lstm-rounded-twice": ("LSTM-uint8-fine", 3, (), "QUANTIZED_16BIT_LSTM RESHAPE"),
    "rnn-by-fully-connected": ("RNN-float32-tanh", 1, (), "FULLY_CONNECTED FULLY_CONNECTED ADD TANH RESHAPE"),
    "svdf-then-tanh": ("SVDF-float32-tanh", 2, (), "SVDF TANH"),
    "rnn-state-by-slice": (
        "BIDIRECTIONAL_SEQUENCE_RNN-float32-batch-major-merged", 3, (), "BIDIRECTIONAL_SEQUENCE_RNN STRIDED_SLICE STRIDED_SLICE"),
    "unrolled-rnn": ("UNIDIRECTIONAL_SEQUENCE_RNN-float32", 2, (), None),
    "quantized-table": ("HARD_SWISH-int8", 3, ("int8-as-uint8",), "CAST GATHER"),
    "mean-as-depthwise": ("MEAN-int8-rescaled-square", 4, (), "DEPTHWISE_CONV_2D RESHAPE"),
    "mean-by-table": ("MEAN-uint8-rescaled", 3, (), "CAST REDUCE_SUM CAST GATHER"),
    "average-pool-by-table": ("AVERAGE_POOL_2D-int8-even", 3, ("int8-as-uint8",), "CAST AVERAGE_POOL_2D MUL ADD CAST GATHER"),
    "prelu-by-relu": ("PRELU-float32", 1, (), "RELU MUL RELU MUL ADD"),
    "neg-by-mul": ("NEG-float32", 1, (), "MUL"),
    "abs-by-relu": ("ABS-float32", 1, (), "RELU MUL RELU ADD"),
    "sub-by-add": ("SUB-float32", 1, (), "MUL ADD"),
    "reduce-by-pool": ("REDUCE_MAX-float32", 1, (), None),
    "pad-by-concatenation": ("PAD-float32", 1, (), None),
    "transpose-conv-as-conv": ("TRANSPOSE_CONV-float32-bias", 1, (), "CONV_2D DEPTH_TO_SPACE"),
    "half-pixels-by-slice": ("RESIZE_BILINEAR-float32-doubled-3", 2, (), None),
    "topk-reversed": ("TOPK_V2-uint8", 3, (), "GATHER TOPK_V2 GATHER"),
    "fully-connected-by-unit": ("FULLY_CONNECTED-int8-per-channel", 4, (), " ".join(["FULLY_CONNECTED"] * 7) + " CONCATENATION"),
    "fully-connected-as-convolution": ("FULLY_CONNECTED-int8-per-channel", 4, (), "RESHAPE CONV_2D RESHAPE"),
}


@pytest.mark.parametrize("name", NEEDED)
def test_rewrite_takes_what_the_plain_rule_refuses(name: str) -> None:
    case, level, base, operations = NEEDED[name]
    node, others = node_of(case), frozenset(base)
    assert decide(node, Target(level, rewrites=others)).reason is not None
    taken = decide(node, Target(level, rewrites=others | {name}))
    assert taken.reason is None and taken.rewrite is not None and taken.rewrite.name == name
    plan = make_plan(node.graph, Target(level), PlanOptions(rewrites=others | {name}))
    (program,) = plan.lower()
    if operations is not None:
        assert [operation_name(code) for code in program.operation_codes] == operations.split()
    assert [row["name"] for row in explain(plan)["rewrites"]] == [name]


def test_every_rewrite_is_tested_and_listed() -> None:
    assert set(NEEDED) == {rewrite.name for rewrite in RULES}
    assert set(SUMMARIES) == ALL and DEFAULT <= ALL
    assert {rewrite.name for rewrite in RULES if not rewrite.exact} == ALL - DEFAULT
    assert all(SUMMARIES.values())


def test_int8_as_uint8() -> None:
    node = node_of("ADD-int8")
    assert decide(node, Target(1)).reason is not None
    assert decide(node, Target(1, rewrites=frozenset({"int8-as-uint8"}))).reason is None
    assert decide(node, Target(4)).reason is None


def test_dequantized_weights() -> None:
    node = node_of("CONV_2D-hybrid")
    assert decide(node, Target(8)).reason is not None
    assert decide(node, Target(1, rewrites=frozenset({"dequantized-weights"}))).reason is None


def test_exact_sums_are_not_trusted_in_float16() -> None:
    node = node_of("MEAN-uint8-rescaled")
    assert decide(node, Target(4, rewrites=ALL)).reason is None
    assert decide(node, Target(4, rewrites=ALL, allow_fp16=True)).reason is not None


# -- constant folding, shapes ---------------------------------------------------------------------------------------


def reshaped_by_shape(batch: int = 1) -> Graph:
    """Flatten as a converter writes it for an open batch: SHAPE, STRIDED_SLICE, PACK, RESHAPE."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (batch, 4, 6), shape_signature=(-1, 4, 6))
    shape = builder.tensor("shape", "int32", (3,))
    builder.op("SHAPE", [x], [shape])
    numbers = [builder.tensor(n, "int32", (1,), data=np.array([v], np.int32)) for n, v in (("b", 0), ("e", 1), ("s", 1))]
    first = builder.tensor("first", "int32", ())
    builder.op("STRIDED_SLICE", [shape, *numbers], [first], shrink_axis_mask=1)
    rest = builder.tensor("rest", "int32", (), data=np.int32(24))
    packed = builder.tensor("packed", "int32", (2,))
    builder.op("PACK", [first, rest], [packed], values_count=2)
    y = builder.tensor("y", "float32", (1, 24), shape_signature=(-1, 24))
    builder.op("RESHAPE", [x, packed], [y])
    z = builder.tensor("z", "float32", (1, 24), shape_signature=(-1, 24))
    builder.op("TANH", [y], [z])
    return Graph.from_bytes(builder.build([x], [z]))


def test_shape_arithmetic_is_folded() -> None:
    plan = make_plan(reshaped_by_shape(), Target(1))
    assert [list(p.nodes) for p in plan.partitions] == [[0, 1, 2, 3, 4]]
    (program,) = plan.lower()
    assert [operation_name(code) for code in program.operation_codes] == ["RESHAPE", "TANH"]
    without = make_plan(reshaped_by_shape(), Target(1), PlanOptions(rewrites=DEFAULT - {"constant-folding"}))
    reason = without.reason(without.verdicts[0][3])
    assert reason is not None and reason.rule == "constant-operand"
    assert [row["op"] for row in explain(without)["dynamic"]] == ["RESHAPE"]


def test_shapes_are_frozen_through_the_graph() -> None:
    frozen = freeze_shapes(reshaped_by_shape(), {"x": (5, 4, 6)})
    main = frozen.subgraphs[0]
    assert [main.tensors[i].shape for i in (7, 8, 9)] == [(2,), (5, 24), (5, 24)]
    (program,) = make_plan(frozen, Target(1)).lower()
    assert program.inputs[0].shape == (5, 4, 6) and program.outputs[0].shape == (5, 24)


def test_open_dimensions_are_inferred() -> None:
    """The file says 1 for what it leaves open, also where the true size follows from the input."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (3, 4))
    target = builder.tensor("s", "int32", (2,), data=np.array([-1, 2], np.int32))
    y = builder.tensor("y", "float32", (1, 2), shape_signature=(-1, 2))
    builder.op("RESHAPE", [x, target], [y])
    z = builder.tensor("z", "float32", (1, 2), shape_signature=(-1, 2))
    builder.op("TANH", [y], [z])
    (program,) = make_plan(Graph.from_bytes(builder.build([x], [z])), Target(1)).lower()
    assert program.outputs[0].shape == (6, 2)


def test_freezing_says_what_it_cannot_do() -> None:
    graph = reshaped_by_shape()
    with pytest.raises(UnsupportedError, match="no input"):
        freeze_shapes(graph, {"nobody": (1,)})
    with pytest.raises(UnsupportedError, match="below 1"):
        freeze_shapes(graph, {"x": (0, 4, 6)})
    with pytest.raises(UnsupportedError, match="RESHAPE"):
        freeze_shapes(graph, {"x": (2, 5, 6)})


# -- the proofs behind the exact forms ------------------------------------------------------------------------------


def test_multiply_is_tflites_double_rounding() -> None:
    def slowly(x: int, multiplier: int, exponent: int) -> int:
        """Plain integers, from the documented formula."""
        product = x * (1 << max(exponent, 0)) * multiplier
        nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
        high = nudged // (1 << 31) if nudged >= 0 else -(-nudged // (1 << 31))
        shift = max(-exponent, 0)
        if not shift:
            return high
        magnitude = (abs(high) + (1 << (shift - 1))) >> shift
        return magnitude if high >= 0 else -magnitude

    rng = np.random.default_rng(4)
    values = np.concatenate([rng.integers(-(1 << 20), 1 << 20, 500), np.arange(-300, 300)])
    for real in (0.0003, 0.0117, 0.25, 0.5, 0.9999, 1.0, 1.7, 12.5):
        found = quantize_multiplier(real)
        assert [int(v) for v in multiply(values, *found)] == [slowly(int(v), *found) for v in values]


@settings(deadline=None, max_examples=30)
@given(
    scales=st.tuples(*(st.floats(2**-13, 0.1875, width=32) for _ in range(2))), ratio=st.floats(0.0005, 0.9), zero=st.integers(-128, 127)
)
def test_a_scale_that_rounds_alike_does_so_for_every_sum(scales: tuple[float, float], ratio: float, zero: int) -> None:
    output = float(np.float32(scales[0] * scales[1] / ratio))
    bound = 1 << 16
    found = exact_scale(*scales, output, zero, bound)
    sums = np.arange(-bound, bound + 1, dtype=np.int64)
    wanted = multiply(sums, *quantize_multiplier(scales[0] * scales[1] / output))

    def narrow(scale: float) -> np.ndarray:
        return multiply(sums, *quantize_multiplier(float32_product(scales[0], scale) / output))

    if found is not None:
        assert abs(found / scales[1] - 1) < 1e-5
        np.testing.assert_array_equal(np.clip(narrow(found) + zero, -128, 127), np.clip(wanted + zero, -128, 127))
    else:  # at the least, the true scale does not
        product = float32_product(*scales)
        assert product >= output or (np.clip(narrow(scales[1]) + zero, -128, 127) != np.clip(wanted + zero, -128, 127)).any()


# -- the matrix -----------------------------------------------------------------------------------------------------


def test_matrix_has_a_row_for_each_level_and_names_what_holds_a_model_back() -> None:
    rows = [row.to_json() for row in matrix(Graph.open(model_path("mobilenet_v3_small_int8")))]
    assert [row["feature_level"] for row in rows] == list(range(1, 9))
    assert [row["android"] for row in rows][:4] == ["8.1", "9", "10", "11"]
    assert rows[2]["delegated_mac_share"] == 1.0 and rows[2]["blockers"] == []
    worst = rows[0]["blockers"][0]
    assert worst["op"] == "CONV_2D" and worst["rule"] == "per-channel-quantization" and worst["lifted_by"] == ["feature level 3"]
    shares = [row["delegated_mac_share"] for row in rows]
    assert shares == sorted(shares)


@settings(max_examples=60)
@given(
    length=st.integers(1, 3000), steps=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 5)), max_size=40), start=st.integers(-128, 127)
)
def test_windows_of_a_rising_table(length: int, steps: list[tuple[int, int]], start: int) -> None:
    """Wherever it rises, by however much, and also where neighbours do: what is looked up is the entry."""
    entries = np.full(length, start, np.int64)
    for at, by in steps:
        entries[at:] += by
    width, step, before, after = windows_of(entries)
    assert width & (width - 1) == 0 and len(step) == len(before) == len(after) == -(-length // width)
    index = np.arange(length)
    np.testing.assert_array_equal(np.where(index >= step[index // width], after[index // width], before[index // width]), entries)


def test_windows_of_means_are_few() -> None:
    """One output step for some thousand sums: the table of 3,136 elements' means shrinks by three orders of magnitude."""
    sums = np.arange(3136 * 255 + 1)
    assert len(windows_of(np.clip(sums // 3000, 0, 255))[1]) < 800


def test_the_report_names_what_became_very_many_operations() -> None:
    case = "FULLY_CONNECTED-int8-per-channel"
    few = make_plan(node_of(case).graph, Target(4), PlanOptions())
    assert few.partitions and many_operations(few) == ""
    wide = Graph.open(Path(__file__).parents[2] / "examples" / "efficientnet_lite0_int8.tflite")
    note = many_operations(make_plan(wide, Target(4), PlanOptions()))
    assert "node 59 (1,000 units)" in note and "--allow-inexact" in note
    assert many_operations(make_plan(wide, Target(4), PlanOptions(rewrites=ALL))) == ""
