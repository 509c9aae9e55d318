"""Operators and values out of range: the reference, the support rule and software NNAPI refuse them.

A row takes a valid model of one operator and makes one attribute or constant operand wrong: in the graph for the first
two, in the lowered program for the third. `test_reference_boundaries` has more rows, for the reference alone.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from nnapi_toolkit.delegate import program
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.ops import RULES
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.errors import DriverError
from nnapi_toolkit.reference.executor import ReferenceExecutor
from nnapi_toolkit.schema.enums import BuiltinOperator
from nnapi_toolkit.session import Session, SessionOptions

from tests.operator_cases import CASES

HUGE = 2**31 - 1

#: TFLite's operator; attribute, or index of an operand that is a constant; the value; where NNAPI has it among the
#: operation's inputs, and the value there (None: the same).
ROWS = [
    ("CONV_2D", "stride_w", 0, 4, None),
    ("CONV_2D", "stride_h", -1, 5, None),
    ("CONV_2D", "stride_h", -HUGE - 1, 5, None),
    ("CONV_2D", "padding", 7, 3, None),
    ("DEPTHWISE_CONV_2D", "stride_w", 0, 4, None),
    ("DEPTHWISE_CONV_2D", "stride_h", -3, 5, None),
    ("DEPTHWISE_CONV_2D", "padding", -1, 3, None),
    ("TRANSPOSE_CONV", "stride_w", 0, 5, None),
    ("TRANSPOSE_CONV", "stride_h", -2, 6, None),
    ("TRANSPOSE_CONV", 0, [2, -16, 14, 5], 3, None),
    ("AVERAGE_POOL_2D", "stride_w", 0, 2, None),
    ("AVERAGE_POOL_2D", "filter_height", 0, 5, None),
    ("AVERAGE_POOL_2D", "padding", 9, 1, None),
    ("MAX_POOL_2D", "stride_h", -1, 3, None),
    ("MAX_POOL_2D", "filter_width", -5, 4, None),
    ("L2_POOL_2D", "stride_w", 0, 2, None),
    ("L2_POOL_2D", "filter_width", 0, 4, None),
    ("SPACE_TO_DEPTH", "block_size", 0, 1, None),
    ("SPACE_TO_DEPTH", "block_size", 5, 1, None),
    ("DEPTH_TO_SPACE", "block_size", -2, 1, None),
    ("DEPTH_TO_SPACE", "block_size", HUGE, 1, None),
    ("SPACE_TO_BATCH_ND", 1, [0, 3], 1, None),
    ("SPACE_TO_BATCH_ND", 1, [3, 3], 1, None),
    ("SPACE_TO_BATCH_ND", 2, [[0, 0], [-1, 0]], 2, None),
    ("BATCH_TO_SPACE_ND", 1, [2, 0], 1, None),
    ("BATCH_TO_SPACE_ND", 1, [-2, -3], 1, None),
    ("LOCAL_RESPONSE_NORMALIZATION", "radius", -1, 1, None),
    ("CONCATENATION", "axis", 3, 3, None),
    ("CONCATENATION", "axis", -4, 3, None),
    ("PACK", "axis", 9, 0, None),
    ("SPLIT", 0, 4, 1, None),
    ("GATHER", "axis", 4, 1, None),
    ("TRANSPOSE", 1, [0, 3, 1, 1], 1, None),
    ("TRANSPOSE", 1, [0, 4, 1, 2], 1, None),
    ("EXPAND_DIMS", 1, 3, 1, None),
    ("EXPAND_DIMS", 1, -4, 1, None),
    ("SQUEEZE", "squeeze_dims", (0, 1), 1, None),
    ("SQUEEZE", "squeeze_dims", (0, 4), 1, None),
    ("REVERSE_V2", 1, [4], 1, None),
    ("RESHAPE", 1, [7, 24], 1, None),
    ("RESHAPE", 1, [-1, -1], 1, None),
    ("RESHAPE", 1, [HUGE, HUGE], 1, None),
    ("SLICE", 1, [0, 3, 0, 2], 1, None),
    ("SLICE", 1, [0, -1, 0, 2], 1, None),
    ("STRIDED_SLICE", 3, [1, 1, 0, -2], 3, None),
    ("TILE", 1, [-1, 3], 1, None),
    ("TILE", 1, [HUGE, HUGE], 1, None),
    ("PAD", 1, [[0, 0], [-1, 2], [3, 0]], 1, None),
    ("PAD", 1, [[0, 0], [HUGE, HUGE], [3, 0]], 1, None),
    ("MIRROR_PAD", 1, [[3, 0], [2, 1]], 1, None),
    ("MIRROR_PAD", 1, [[1, 2], [-2, 1]], 1, None),
    ("MEAN", 1, [1, 4], 1, None),
    ("REDUCE_MAX", 1, [4], 1, None),
    ("SUM", 1, [0, -4], 1, None),
    ("ARG_MAX", 1, 3, 1, None),
    ("TOPK_V2", 1, 9, 1, None),
    ("TOPK_V2", 1, -1, 1, None),
    ("RESIZE_BILINEAR", 1, [6, 0], 1, 0),
    ("RESIZE_BILINEAR", 1, [-6, 6], 2, -6),
    ("RESIZE_NEAREST_NEIGHBOR", 1, [6, -1], 1, -1),
    ("RESIZE_NEAREST_NEIGHBOR", 1, [HUGE, HUGE], 2, HUGE),
    ("SVDF", "rank", 3, 5, None),
    ("SVDF", "rank", 0, 5, None),
]  # fmt: skip

parametrized = pytest.mark.parametrize(
    "row", ROWS, ids=[f"{n}-{op}-{where}" for n, (op, where, *_) in enumerate(ROWS)]
)


def valid(op: str) -> tuple[bytes, list[np.ndarray]]:
    """A valid float32 model of the operator, and its inputs."""
    return next(case for case in CASES if case.op == op and case.kind == "float32").model()


def damaged(row: tuple) -> tuple[Graph, list[np.ndarray]]:
    """The graph with the wrong value in it, past the verifier of files."""
    op, where, bad, *_ = row
    model, inputs = valid(op)
    graph = Graph.from_bytes(model)
    operator = graph.subgraphs[0].operators[0]
    if isinstance(where, str):
        getattr(operator.options, where)
        operator.options._values[where] = bad
    else:
        tensor = graph.subgraphs[0].tensors[operator.inputs[where]]
        tensor._data = np.asarray(bad, tensor.data.dtype).reshape(tensor.shape)
    return graph, inputs


def names(text: str, row: tuple) -> bool:
    """Whether a message has a number of the wrong value, or for the largest ones a size that it would make."""
    found = {int(number) for number in re.findall(r"-?\d+", text)}
    wrong = [int(value) for value in np.asarray(row[2]).reshape(-1)]
    return not found.isdisjoint(wrong) or (HUGE in wrong and any(number and number % HUGE == 0 for number in found))


@parametrized
def test_the_reference_refuses_it_by_name(row):
    graph, inputs = damaged(row)
    with pytest.raises(ModelError) as error:
        ReferenceExecutor(graph).run(0, inputs)
    assert row[0] in str(error.value)
    assert names(str(error.value), row), str(error.value)


@parametrized
def test_the_support_rule_refuses_it_by_name(row):
    graph, _ = damaged(row)
    node = graph.nodes(0)[0]
    for level in (8, 4, 3):
        reason = RULES[BuiltinOperator[row[0]]].check(node, Target(level))
        assert reason is not None, f"taken at level {level}"
    reason = RULES[BuiltinOperator[row[0]]].check(node, Target(8))
    assert names(str(reason), row), str(reason)


@parametrized
def test_software_nnapi_refuses_it_by_name(row, monkeypatch, tmp_path, capfd):
    """NNAPI hands out codes; the reason goes to standard error on request."""
    op, _, bad, place, other = row
    monkeypatch.setenv("SOFTNN_VLOG", "1")
    model, inputs = valid(op)
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    plain, codes = program.serialize, []

    def damaging(models, *rest):
        operation = next(o for o in models[0].operations if len(o.inputs) > place and models[0].operands[o.inputs[place]].length
                         and (op != "TOPK_V2" or operation_name(o.code) == "TOPK_V2"))  # fmt: skip
        operand = models[0].operands[operation.inputs[place]]
        value = np.asarray(bad if other is None else other, np.int32).tobytes()
        assert operand.byte_size == len(value)
        operand.source, operand.inline, operand.file, operand.offset = program.wire.ValueSource.INLINE, value, 0, 0
        codes.append(operation_name(operation.code))
        return plain(models, *rest)

    monkeypatch.setattr(program, "serialize", damaging)
    with pytest.raises(DriverError) as error, Session(path, "local", SessionOptions(diagnose=False)) as session:
        session.run(inputs)
    said = capfd.readouterr().err
    assert codes
    assert re.search(rf"softnn: .*\b{codes[0]}\b", said), said
    assert re.search(rf"partition 0 .*\b{op} 0\b.*ANEURALNETWORKS_(BAD_DATA|OP_FAILED)", str(error.value)), str(error.value)
