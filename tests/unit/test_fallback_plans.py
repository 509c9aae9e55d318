"""The second planning: CPU steps cut once more, for software NNAPI on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnapi_toolkit.delegate.epochs import dependencies
from nnapi_toolkit.delegate.explain import explain
from nnapi_toolkit.delegate.fallback import with_softnn
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import Plan, PlanOptions, make_plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.delegate.target import Target

from tests.conftest import model_names, model_path
from tests.modelbuilder import ModelBuilder
from tests.unit.test_partition import chain


def places(plan: Plan) -> list[str]:
    return [verdict.target for verdict in plan.verdicts[0]]


def check(plan: Plan, before: Plan) -> None:
    """Every node once, in dependency order, NNAPI's as they were, and each boundary right."""
    for subgraph in plan.graph.subgraphs:
        waits, folded = dependencies(subgraph), plan.folded[subgraph.index]
        done: set[int] = set()
        for step in plan.steps(subgraph.index):
            for node in step.nodes:
                assert node in folded or set(waits[node]) - folded <= done
                done.add(node)
                verdict = plan.verdicts[subgraph.index][node]
                assert verdict.partition == step.partition
                assert verdict.target == ("cpu" if step.partition is None else plan.partitions[step.partition].target)
                assert verdict.target != "nnapi" or verdict.refusal is None
                assert verdict.target == "nnapi" or verdict.refusal is not None or node in folded
        assert done == {o.index for o in subgraph.operators}
        numbers = [s.partition for s in plan.steps(subgraph.index) if s.partition is not None]
        assert numbers == sorted(numbers)
    for row, old in zip(plan.verdicts, before.verdicts):
        for now, then in zip(row, old):
            assert now.index in plan.folded[now.subgraph] or (now.target == "nnapi") == (then.target == "nnapi")
    for number, partition in enumerate(plan.partitions):
        subgraph = plan.view.subgraphs[partition.subgraph]
        inside = set(partition.nodes)
        made = {t for n in inside for t in subgraph.operators[n].outputs}
        assert partition.index == number and not made & set(partition.inputs) and set(partition.outputs) <= made
        assert partition.inputs or partition.target == "nnapi"
        for tensor in made - {t for t in made if subgraph.tensors[t].is_constant}:
            needed = tensor in subgraph.outputs or any(u.index not in inside for u in subgraph.consumers(tensor))
            assert needed <= (tensor in partition.outputs)


def test_what_the_device_lacks_goes_to_software_nnapi() -> None:
    before = make_plan(chain("RELU", "TANH", "ROUND", "RELU", "SIN", "LOGISTIC"), Target(1))
    plan = with_softnn(before)
    check(plan, before)
    # ROUND has no NNAPI form at any level, SIN came with level 3
    assert places(before) == ["nnapi", "nnapi", "cpu", "nnapi", "cpu", "nnapi"]
    assert places(plan) == ["nnapi", "nnapi", "cpu", "nnapi", "softnn", "nnapi"]
    assert [s.partition for s in plan.steps()] == [0, None, 1, 2, 3]
    assert plan.verdicts[0][4].refusal is not None
    assert before.softnn_target is None and places(before)[4] == "cpu", "the first plan is as it was"
    for partition, program in zip(plan.partitions, plan.lower(), strict=True):
        assert program.target == partition.target
        assert program.feature_level <= (1 if partition.target == "nnapi" else 8)


def test_it_may_refuse_as_well() -> None:
    asked: list[str] = []

    def supports(program: LoweredProgram) -> Sequence[bool]:
        asked.append(program.target)
        return [node != 2 for node in program.operation_nodes]

    before = make_plan(chain("RELU", "SIN", "SIN", "SIN", "TANH"), Target(1))
    plan = with_softnn(before, supports)
    check(plan, before)
    assert places(plan) == ["nnapi", "softnn", "cpu", "softnn", "nnapi"]
    assert set(asked) == {"softnn"} and len(asked) == 3


def test_an_operator_that_nnapi_cannot_express_stays_here() -> None:
    plan = with_softnn(make_plan(chain("SIN", "RELU", "ROUND", "RELU", "SIN"), Target(1)))
    assert places(plan) == ["softnn", "nnapi", "cpu", "nnapi", "softnn"]
    assert [s.partition for s in plan.steps()] == [0, 1, None, 2, 3]


def test_no_detours() -> None:
    """Between nodes that only the host has, a node without multiplications stays: its tensors would go there and back."""
    assert places(with_softnn(make_plan(chain("SIN", "ROUND", "SIN"), Target(1)))) == ["cpu"] * 3
    assert places(with_softnn(make_plan(chain("SIN", "SIN"), Target(1)))) == ["softnn"] * 2
    plan = with_softnn(make_plan(chain("RELU", "ROUND", "SIN", "SIN", "ROUND", "SIN", "RELU"), Target(1)))
    assert places(plan) == ["nnapi", "cpu", "cpu", "cpu", "cpu", "softnn", "nnapi"]


def test_without_rewrites() -> None:
    before = make_plan(chain("RELU", "SIN"), Target(1), PlanOptions(rewrites=False))
    plan = with_softnn(before)
    assert plan.softnn_target is not None and plan.softnn_target.rewrites == frozenset()
    assert places(plan) == ["nnapi", "softnn"]


def test_json_names_targets_where_there_is_a_fallback() -> None:
    before = make_plan(chain("RELU", "SIN"), Target(1))
    after = with_softnn(before)
    assert [set(p) for p in before.to_json("m")["partitions"]] == [{"index", "subgraph", "nodes"}]
    rows: list[dict[str, Any]] = after.to_json("m")["partitions"]
    assert [(row["index"], row["target"]) for row in rows] == [(0, "nnapi"), (1, "softnn")]
    assert [row["target"] for row in explain(after)["partitions"]] == ["nnapi", "softnn"]
    assert [row["op"] for row in explain(after)["refusals"]] == ["SIN"]
    summary = after.summary()
    assert (
        summary["delegated_nodes"],
        summary["softnn_nodes"],
        summary["partitions"],
        summary["softnn_partitions"],
    ) == (1, 1, 1, 1)
    assert before.summary()["softnn_nodes"] == 0


@given(
    st.lists(st.sampled_from(["RELU", "SIN", "ROUND", "LOGISTIC", "TANH", "NEG"]), min_size=1, max_size=12),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_random_chains(ops: list[str], level: int) -> None:
    before = make_plan(chain(*ops), Target(level))
    check(with_softnn(before), before)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("level", [1, 3])
def test_shared_models(name: str, level: int) -> None:
    """Plans stay valid, and only what NNAPI cannot say exactly is left to the CPU."""
    graph = Graph.open(model_path(name))
    for options in (PlanOptions(), PlanOptions(max_partitions=1), PlanOptions(strategy="tflite")):
        before = make_plan(graph, Target(level), options)
        plan = with_softnn(before)
        check(plan, before)
        softnn = [p for p in plan.partitions if p.target == "softnn"]
        if options.strategy == "cost":
            for partition, program in zip(plan.partitions, plan.lower(), strict=True):
                assert program.feature_level <= (level if partition.target == "nnapi" else 8)
        assert plan.summary()["softnn_nodes"] == sum(len(p.nodes) for p in softnn)


def test_constants_move_with_their_consumers() -> None:
    """A folded node whose consumers all left the CPU is no constant that the CPU needs any more."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 4))
    half = builder.tensor("half", "float16", (1, 4), data=np.ones((1, 4), np.float16))
    full, y = builder.tensor("full", "float32", (1, 4)), builder.tensor("y", "float32", (1, 4))
    builder.op("DEQUANTIZE", [half], [full])
    builder.op("MAXIMUM", [x, full], [y])
    before = make_plan(Graph(builder.build([x], [y])), Target(2), PlanOptions(exclude=NodeSelection.parse("MAXIMUM")))
    assert places(before) == ["cpu", "cpu"]
    plan = with_softnn(before)
    check(plan, before)
    assert places(plan) == ["softnn", "softnn"] and [p.nodes for p in plan.partitions] == [(0, 1)]
    assert plan.verdicts[0][0].refusal is None
