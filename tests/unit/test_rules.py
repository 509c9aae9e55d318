"""Rules, operator by operator, type by type, level by level: accepted and refused cases both."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from nnapi_toolkit.delegate.decide import decide, with_remedy
from nnapi_toolkit.delegate.graph import Graph, Node
from nnapi_toolkit.delegate.nnapi import OPERATIONS
from nnapi_toolkit.delegate.ops import CUSTOM_RULES, RULES, rule_of
from nnapi_toolkit.delegate.ops.base import INT8_AS_UINT8
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.remedies import complete
from nnapi_toolkit.delegate.rewrites import ALL, DEFAULT
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target
from nnapi_toolkit.schema.enums import BuiltinOperator

from tests.conftest import SHARED, shared_path
from tests.differential.litert import single
from tests.operator_cases import CASES, OperatorCase, ints, result, value

LEVELS = tuple(FEATURE_LEVELS)
_CONSTANTS = {constant: level for level, (_, _, constant) in FEATURE_LEVELS.items()}


@cache
def node_of(name: str) -> Node:
    case = next(c for c in CASES if c.name == name)
    return Graph.from_bytes(case.model()[0]).nodes(0)[0]


def lowest(accepts: Any) -> int | None:
    """The lowest level that accepts; the higher ones must accept, too."""
    taken = [level for level in LEVELS if accepts(level)]
    low = min(taken, default=None)
    assert taken == ([] if low is None else list(range(low, 9))), f"accepted at {taken}: a higher level takes less"
    return low


# -- what the TFLite delegate takes ---------------------------------------------------------------------------------

_RESIZED = ("align", "half", "doubled-3", "doubled-4")
#: Where a case's own options change what its operator and type alone would give: (operator, note) -> lowest level, or None.
_DELEGATE_SPECIAL: dict[tuple[str, str], int | None] = {
    **{("CONV_2D", note): 3 for note in ("dilated", "dilated-valid")},
    ("DEPTHWISE_CONV_2D", "dilated"): 3,
    ("CONV_2D", "grouped"): None,  # operator version 6
    ("FULLY_CONNECTED", "kept"): 4,
    **{("FULLY_CONNECTED", note): None for note in ("per-channel", "per-channel-many")},  # operator version 12
    ("L2_POOL_2D", "relu"): 3,
    ("SOFTMAX", "rank3"): 3,
    ("SQUEEZE", "all"): 3,
    ("GATHER", "scalar"): None,
    ("PACK", "last"): 6,
    ("UNPACK", "last"): None,
    ("BATCH_TO_SPACE_ND", "crops"): None,
    **{(f"RESIZE_{way}", note): 4 for way in ("BILINEAR", "NEAREST_NEIGHBOR") for note in _RESIZED},
    ("CONCATENATION", "rescaled"): 3,
    **{(op, "all"): None for op in ("MEAN", "SUM", "REDUCE_PROD")},
    **{("QUANTIZE", note): 4 for note in ("to-int8", "relabelled-int8", "rescaled-int8")},
    **{("QUANTIZE", note): 3 for note in ("to-uint8", "relabelled-uint8", "rescaled-uint8")},
    ("CAST", "to-bool"): None,
    ("LSH_PROJECTION", "sparse"): 3,
    **{("BATCH_MATMUL", note): None for note in ("broadcast", "constant")},
}
#: The same by operator and type.
_DELEGATE_TYPES: dict[tuple[str, str], int | None] = {
    ("CONV_2D", "hybrid"): 3,
    ("TRANSPOSE_CONV", "int8_per_channel_filter"): 3,
    ("SQUEEZE", "int8"): 2,  # Validate looks at no type
    ("SQUEEZE", "int32"): 2,
    ("TRANSPOSE", "int32"): 2,
    ("LEAKY_RELU", "int8"): None,  # operator version 2
    ("LSTM", "uint8"): 2,  # Validate forgets that the operation came with feature level 3
    ("LSTM", "int8"): 4,
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "int8"): 3,  # Validate takes it for the float form
    ("DEQUANTIZE", "int8"): 4,  # zero point -9
    ("DEQUANTIZE", "float16"): 4,
    **{(op, "int32"): 4 for op in ("ADD", "SUB", "MUL")},
}


def delegate_level(case: OperatorCase) -> int | None:
    facts = json.loads(shared_path("facts", "tflite_to_nnapi.json").read_text()).get(case.op)
    if facts is None or facts["min_feature_level"] is None:
        return None  # custom operators, too
    if case.kind == "int32" and case.note == "relu6":
        return None
    if case.op == "LSTM" and case.kind == "float32" and len(case.inputs) == 24:
        return 3
    for table, key in ((_DELEGATE_SPECIAL, case.note), (_DELEGATE_TYPES, case.kind)):
        if (case.op, key) in table:
            return table[case.op, key]
    constant = facts["by_type"].get(case.kind)
    return None if constant is None else _CONSTANTS[constant]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_tflite_rule(case: OperatorCase) -> None:
    node = node_of(case.name)
    rule = rule_of(node.operator)
    assert lowest(lambda level: rule.tflite_check(node, Target(level)) is None) == delegate_level(case)


def test_every_mapped_operator_has_a_case_and_a_rule() -> None:
    facts = json.loads(shared_path("facts", "tflite_to_nnapi.json").read_text())
    mapped = {op for op, fact in facts.items() if fact["min_feature_level"] is not None}
    assert {op for op in mapped if RULES[BuiltinOperator[op]].tflite_rule is None} == set()
    tested = {case.op for case in CASES}
    assert mapped - tested == {"DENSIFY"}  # its model is built in a test of its own


# -- what NNAPI takes -----------------------------------------------------------------------------------------------

_SHORT = {"float32": "f32", "uint8": "u8", "int8": "s8", "int32": "i32", "bool": "b8"}
#: Operators that become another NNAPI operation, or need more than its table says: lowest level without any rewrite.
_OWN: dict[str, dict[str, int | None]] = {
    "CONV_2D": {"int8_per_channel_filter": 4, "hybrid": None},
    "DEPTHWISE_CONV_2D": {"int8_per_channel_filter": 4},
    "TRANSPOSE_CONV": {"int8_per_channel_filter": 4},
    "FULLY_CONNECTED": {"hybrid": None},
    "LSTM": {"float32": 2, "int8": 4, "uint8": 3},
    "SVDF": {"float32": 2},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {"float32": 4},
    "UNIDIRECTIONAL_SEQUENCE_RNN": {"float32": 4},
    "BIDIRECTIONAL_SEQUENCE_LSTM": {"float32": 4},
    "BIDIRECTIONAL_SEQUENCE_RNN": {"float32": 4},
    "DIV": {"int32": None},
    "FLOOR_DIV": {"float32": 2, "int32": 4},
    "SQUARED_DIFFERENCE": {"float32": 2, "int8": None, "int32": 4},
    "LEAKY_RELU": {"uint8": None, "int8": None},
    "COS": {"float32": None},
    "GELU": {"float32": None},
    "ARG_MAX": {},
    "CEIL": {"float32": 3},
    "UNPACK": {"float32": 3, "uint8": 3, "int8": 4, "int32": 6},
    "QUANTIZE": {"uint8": 3, "int8": 4},
    "DEQUANTIZE": {"float16": 3},
    "FAKE_QUANT": {"float32": 3},
    "RSQRT": {"float32": 3, "int8": None},
    "ONE_HOT": {"float32": 3, "int32": 3},
    "PAD": {"uint8": 3},  # zero point 117
    "SPACE_TO_BATCH_ND": {"uint8": 3},
    "CAST": {"bool": None},
    "BROADCAST_TO": {"float32": 3, "uint8": 3, "int8": 4, "int32": 6},
    "SELECT_V2": {},
    "TOPK_V2": dict.fromkeys(_SHORT),  # the other order of equal values
}
#: The same for variants: (operator, note) -> how the level follows from the plain one.
_VARIANTS: dict[tuple[str, str], Any] = {
    **{("CONV_2D", note): lambda low: max(low, 3) for note in ("dilated", "dilated-valid", "grouped")},
    ("DEPTHWISE_CONV_2D", "dilated"): lambda low: max(low, 3),
    ("FULLY_CONNECTED", "kept"): lambda low: None,
    **{("FULLY_CONNECTED", note): lambda low: None for note in ("per-channel", "per-channel-many")},
    ("SOFTMAX", "rank3"): lambda low: max(low, 3),
    ("SQUEEZE", "all"): lambda low: low,
    ("GATHER", "scalar"): lambda low: None,
    ("STRIDED_SLICE", "new-axis"): lambda low: None,
    ("BATCH_TO_SPACE_ND", "crops"): lambda low: None,
    ("UNPACK", "last"): lambda low: None,
    ("BATCH_MATMUL", "broadcast"): lambda low: None,
    ("BATCH_MATMUL", "constant"): lambda low: None,
    ("CONCATENATION", "rescaled"): lambda low: max(low, 3),
    ("LSH_PROJECTION", "sparse"): lambda low: 3,
    ("LSTM", "layer-norm"): lambda low: max(low, 3),
    **{(op, "tanh"): lambda low: None for op in ("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF")},
    ("LSTM", "state-read"): lambda low: 4,  # CAST of 16 bits
    **{("LSTM", note): lambda low: None for note in ("proj-clip", "large-norm", "narrow-peephole", "fine", "memory-read")},
    ("CAST", "to-bool"): lambda low: None,
    ("SELECT_V2", "broadcast"): lambda low: None,
    **{(f"RESIZE_{way}", note): lambda low: 4 for way in ("BILINEAR", "NEAREST_NEIGHBOR") for note in _RESIZED},
    **{(op, "rescaled"): lambda low: None for op in ("RELU", "RELU6", "RELU_N1_TO_1")},
    **{("MEAN", note): lambda low: None for note in ("rescaled", "rescaled-others", "rescaled-square")},
    **{("QUANTIZE", f"rescaled-{to}"): lambda low: None for to in ("uint8", "int8")},
    **{("QUANTIZE", f"relabelled-{to}"): lambda low: 4 for to in ("uint8", "int8")},
    ("QUANTIZE", "to-uint8"): lambda low: 3,
    ("QUANTIZE", "to-int8"): lambda low: 4,
}


def nnapi_level(case: OperatorCase) -> int | None:
    """From NNAPI's documented levels by type, and what is known of the case."""
    if case.kind == "int32" and case.note == "relu6":
        return None
    if case.custom is not None:
        return 3
    own = _OWN.get(case.op, {})
    if case.kind in own:
        low = own[case.kind]
    else:
        table = json.loads(shared_path("facts", "nnapi_ops.json").read_text())
        rule = RULES[BuiltinOperator[case.op]]
        main = table[rule.nnapi[0]]
        level = main["types"].get(_SHORT.get(case.kind, ""))
        low = None if level is None else _CONSTANTS[level]
    variant = _VARIANTS.get((case.op, case.note))
    return low if variant is None or low is None else variant(low)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_plain_rule(case: OperatorCase) -> None:
    node = node_of(case.name)
    rule = rule_of(node.operator)
    assert lowest(lambda level: rule.check(node, Target(level)) is None) == nnapi_level(case)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_rewrites_only_add(case: OperatorCase) -> None:
    node = node_of(case.name)
    for level in LEVELS:
        plain = decide(node, Target(level)).reason is None
        default = decide(node, Target(level, rewrites=DEFAULT)).reason is None
        assert default >= plain
        assert (decide(node, Target(level, rewrites=ALL)).reason is None) >= default


@pytest.mark.parametrize("op", ["PAD", "SPACE_TO_BATCH_ND"])
@pytest.mark.parametrize(("kind", "zero", "level"), [
    ("int8", 0, 3), ("int8", -9, 3), ("int8", -128, 2), ("uint8", 0, 2), ("uint8", 128, 3),
])  # fmt: skip
def test_what_is_padded_with_below_level_3(op: str, kind: str, zero: int, level: int) -> None:
    """Only a zero point of 0 is known to be padded with; int8 goes as uint8 there, with 128 more."""
    if op == "PAD":
        inputs = [value(kind, (2, 3), zero=zero), ints([[1, 0], [0, 2]])]
    else:
        inputs = [value(kind, (1, 4, 5, 3), zero=zero), ints(2, 3), ints([[0, 0], [1, 0]])]
    model, _ = single(op, inputs, [result(kind, (3, 5) if op == "PAD" else (6, 2, 2, 3), zero=zero)], version=2)
    node = Graph.from_bytes(model).nodes(0)[0]
    rule, rewrites = rule_of(node.operator), frozenset({INT8_AS_UINT8})
    assert lowest(lambda at: rule.check(node, Target(at, rewrites=rewrites)) is None) == level


# -- what a refusal says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reasons_are_complete_and_their_remedies_work(case: OperatorCase) -> None:
    node = node_of(case.name)
    for level in LEVELS:
        for rewrites in (frozenset[str](), DEFAULT):
            target = Target(level, rewrites=rewrites)
            found = decide(node, target).reason
            if found is None:
                continue
            reason = with_remedy(node, target, found)
            text = str(complete(reason, case.op))
            assert reason.rule and reason.operand and reason.actual and reason.required
            assert case.op in text and "; lifted by " in text and text.count("\n") == 0
            assert reason.rule in text and reason.operand in text and reason.actual in text and reason.required in text
            words = re.fullmatch(r"(?:feature level (\d))?(?: and )?(?:rewrites? (.+))?", reason.lifted_by or "")
            if words is None or not any(words.groups()):
                continue
            names = frozenset((words[2] or "").split(", ")) - {""}
            assert names <= ALL - rewrites and (words[1] is None or int(words[1]) > level)
            assert decide(node, Target(int(words[1] or level), rewrites=rewrites | names)).reason is None, text


def test_an_operator_that_nnapi_lacks_says_what_is_lacking() -> None:
    from tests.modelbuilder import ModelBuilder

    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2, 3)), builder.tensor("y", "float32", (2, 3))
    builder.op("ROUND", [x], [y])
    node = Graph.from_bytes(builder.build([x], [y])).nodes(0)[0]
    reason = rule_of(node.operator).check(node, Target(8))
    assert "ROUND" in str(reason) and "nearest even" in str(reason)


def test_unknown_custom_operators_are_refused_by_name() -> None:
    from tests.modelbuilder import ModelBuilder

    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2, 3)), builder.tensor("y", "float32", (2, 3))
    builder.custom("ADD", [x], [y])  # a custom operator is no builtin one, whatever it is called
    node = Graph.from_bytes(builder.build([x], [y])).nodes(0)[0]
    assert rule_of(node.operator).check(node, Target(8)) is not None


def test_newer_operator_versions_are_named() -> None:
    case = next(c for c in CASES if c.name == "ADD-float32")
    model, _ = single(case.op, case.inputs, case.outputs, version=99, **case.options)
    node = Graph.from_bytes(model).nodes(0)[0]
    reason = rule_of(node.operator).check(node, Target(8))
    assert reason is not None and reason.rule == "operator-version" and reason.actual == "99"
    assert reason.lifted_by is not None and "converter" in reason.lifted_by


# -- the registry ---------------------------------------------------------------------------------------------------


def test_registry_is_sound() -> None:
    for rules in (RULES.values(), CUSTOM_RULES.values()):
        for rule in rules:
            assert all(name in OPERATIONS for name in rule.nnapi), rule.op
    for op in BuiltinOperator:
        if op != BuiltinOperator.CUSTOM and op in RULES:
            assert RULES[op].op == op.name


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared facts")
def test_operation_table_equals_the_facts() -> None:
    facts = json.loads(shared_path("facts", "nnapi_ops.json").read_text())
    short = {
        "f32": "TENSOR_FLOAT32", "f16": "TENSOR_FLOAT16", "i32": "TENSOR_INT32", "u8": "TENSOR_QUANT8_ASYMM",
        "s8": "TENSOR_QUANT8_ASYMM_SIGNED", "s8sym": "TENSOR_QUANT8_SYMM", "pc": "TENSOR_QUANT8_SYMM_PER_CHANNEL",
        "q16s": "TENSOR_QUANT16_SYMM", "q16a": "TENSOR_QUANT16_ASYMM", "b8": "TENSOR_BOOL8",
    }  # fmt: skip
    assert set(OPERATIONS) == set(facts)
    for name, fact in facts.items():
        mine = OPERATIONS[name]
        assert (mine.code, mine.level) == (fact["code"], _CONSTANTS[fact["feature_level"]])
        types = {short[t]: _CONSTANTS[level] for t, level in fact["types"].items() if t in short}
        assert {t.name: level for t, level in mine.types.items()} == types


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_values_of_the_run_are_read_or_refused(case: OperatorCase) -> None:
    """A constant made an input of the model is an input of the program, or the node is refused."""
    for position, operand in enumerate(case.inputs):
        if operand is None or not operand.const:
            continue
        inputs = [replace(t, const=False) if i == position and t is not None else t for i, t in enumerate(case.inputs)]
        graph = Graph.from_bytes(case.model(inputs)[0])
        for level in LEVELS:
            for program in make_plan(graph, Target(level), PlanOptions(rewrites=ALL)).lower():
                assert {b.tensor for b in program.inputs} >= set(graph.subgraphs[0].inputs), f"input {position}, level {level}"


def first_node(case: OperatorCase) -> Node:
    return Graph.from_bytes(case.model()[0]).nodes(0)[0]


def test_an_output_too_many_is_refused() -> None:
    case = next(c for c in CASES if c.op == "UNIDIRECTIONAL_SEQUENCE_RNN")
    more = first_node(replace(case, outputs=[*case.outputs, *case.outputs]))
    for level in (3, 8):
        assert decide(first_node(case), Target(level, rewrites=ALL)).reason is None
        reason = decide(more, Target(level, rewrites=ALL)).reason
        assert reason is not None and reason.rule in ("operand-count", "feature-level"), reason


def test_pack_of_unlike_shapes_is_refused() -> None:
    case = next(c for c in CASES if c.op == "PACK")
    unlike = replace(case, inputs=[*case.inputs[:-1], result("float32", (2, 0))])
    for level in (1, 4, 8):
        reason = decide(first_node(unlike), Target(level, rewrites=ALL)).reason
        assert reason is not None and reason.rule in ("operand-shape", "feature-level"), reason
