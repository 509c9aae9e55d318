"""The default strategy takes what TFLite's delegate takes, or the reason has a name: operators one by one, shared models, random graphs."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from nnapi_toolkit.delegate.cost import macs
from nnapi_toolkit.delegate.decide import decide, with_remedy
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import Graph, Node
from nnapi_toolkit.delegate.ops import rule_of
from nnapi_toolkit.delegate.partition import Plan, PlanOptions, make_plan
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.remedies import complete
from nnapi_toolkit.delegate.rewrites import DEFAULT
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target

from tests.conftest import model_names, model_path
from tests.delegate_gaps import GAPS, Gap, gap_of, mutations, settled
from tests.differential.litert import LiteRTError
from tests.fuzz.random_graphs import random_graph
from tests.operator_cases import CASES, OperatorCase

TARGETS = tuple(Target(level, rewrites=DEFAULT) for level in FEATURE_LEVELS)
THEIRS = PlanOptions(strategy="tflite", rewrites=False)


def refusals(node: Node) -> dict[int, Reason]:
    """Levels at which the delegate takes a node and the default does not, with the reason."""
    rule = rule_of(node.operator)
    taken = [target for target in TARGETS if rule.tflite_check(node, target) is None]
    reasons = {target.feature_level: decide(node, target).reason for target in taken}
    return {level: reason for level, reason in reasons.items() if reason is not None}


def _node(model: bytes) -> Node:
    return Graph.from_bytes(model).nodes(0)[0]


def _unnamed(case: OperatorCase, name: str) -> list[str]:
    """Refusals of a variant that belong to no gap; none when LiteRT does not run it."""
    try:
        node = _node(case.model()[0])
    except (ModelError, ValueError, OverflowError, TypeError):
        return []  # there is no such model
    if not refusals(node):
        return []
    try:
        node = _node(settled(case))
    except LiteRTError:
        return []
    found = refusals(node)
    for level, reason in found.items():
        _check_text(str(complete(with_remedy(node, TARGETS[level - 1], reason), case.op)), case.op)
    return [f"{name}@{level}: {r}" for level, r in found.items() if gap_of(case.op, r.rule, str(r)) is None]


def _check_text(text: str, op: str) -> None:
    """Rule, operator, operand, actual and wanted value, and what would lift the refusal."""
    assert re.fullmatch(r"[a-z0-9-]+: .+ is .+, must be .+; lifted by .+", text) and re.search(rf"\b{op}\b", text), text


BY_OPERATOR: dict[str, list[OperatorCase]] = defaultdict(list)
for _case in CASES:
    BY_OPERATOR[_case.op].append(_case)


@pytest.mark.parametrize("op", BY_OPERATOR)
def test_operator(op: str) -> None:
    unnamed = []
    for case in BY_OPERATOR[op]:
        brief = bool(case.note) and len(case.inputs) > 6  # twenty inputs change in the plain case only
        for name, variant in mutations(case):
            if not (brief and name.startswith("in") and name[2].isdigit()):
                unnamed += _unnamed(variant, f"{case.name}/{name}")
    assert not unnamed, f"{len(unnamed)} variants that TFLite's delegate takes are refused without a named gap:\n" + "\n".join(unnamed[:20])


@pytest.mark.parametrize("gap", GAPS, ids=lambda gap: "/".join(gap.example[:2]))
def test_gaps_are_real(gap: Gap) -> None:
    """Each gap's own example is taken by the delegate and refused by that rule."""
    name, mutation, level = gap.example
    case = next(c for c in CASES if c.name == name)
    variant = next(v for n, v in mutations(case) if n == mutation)
    found = refusals(_node(settled(variant)))
    assert level in found and gap_of(case.op, found[level].rule, str(found[level])) is gap, found.get(level)


# -- whole models ---------------------------------------------------------------------------------------------------


def _delegated(plan: Plan) -> set[tuple[int, int]]:
    return {(p.subgraph, n) for p in plan.partitions for n in p.nodes}


def _check_macs(graph: Graph, level: int, what: str) -> None:
    """No multiply-accumulate that the delegate takes stays on the CPU, but for nodes with a named gap."""
    theirs, plan = make_plan(graph, Target(level), THEIRS), make_plan(graph, Target(level))
    left = _delegated(theirs) - _delegated(plan)
    for subgraph, number in left:
        node = graph.nodes(subgraph)[number]
        reason = decide(node, Target(level, rewrites=DEFAULT)).reason
        if macs(node):
            named = reason is not None and gap_of(node.operator.name, reason.rule, str(reason)) is not None
            assert named, f"{what}, level {level}: {node.path} ({node.operator.name}) stays on the CPU: {reason}"
    excused = sum(macs(graph.nodes(s)[n]) for s, n in left)
    assert plan.summary()["delegated_macs"] + excused >= theirs.summary()["delegated_macs"], f"{what}, level {level}"


@pytest.mark.parametrize("name", [n for n in model_names() if n])
def test_shared_model(name: str) -> None:
    graph = Graph.open(model_path(name))
    for level in FEATURE_LEVELS:
        theirs, mine = make_plan(graph, Target(level), THEIRS).summary(), make_plan(graph, Target(level)).summary()
        assert mine["delegated_macs"] >= theirs["delegated_macs"], f"level {level}"
        _check_macs(graph, level, name)


@pytest.mark.parametrize("first", range(0, 60, 10))
def test_random_graphs(first: int) -> None:
    for seed in range(first, first + 10):
        graph = Graph.from_bytes(random_graph(seed).model)
        for level in FEATURE_LEVELS:
            _check_macs(graph, level, f"seed {seed}")
