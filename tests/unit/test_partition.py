"""Partitions: TFLite's epochs against a literal retelling of its algorithm, and what every plan must keep."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnapi_toolkit.delegate import strategy
from nnapi_toolkit.delegate.cost import NodeCost, boundary_bytes, partition_us
from nnapi_toolkit.delegate.epochs import Epoch, cut, dependencies
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import Plan, PlanOptions, make_plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.delegate.strategy import Part, choose, predicted_us, saving_us
from nnapi_toolkit.delegate.target import Target

from tests.conftest import model_names, model_path
from tests.modelbuilder import ModelBuilder
from tests.operator_cases import CASES

# -- epochs ---------------------------------------------------------------------------------------------------------

graphs = st.integers(1, 24).flatmap(
    lambda n: st.tuples(
        st.tuples(*(st.lists(st.integers(0, i - 1), max_size=3, unique=True) if i else st.just([]) for i in range(n))),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def scan(waits: Sequence[Sequence[int]], delegated: Sequence[bool]) -> list[tuple[bool, tuple[int, ...]]]:
    """TFLite's way, told literally: scan the plan again and again; the first ready node gives the epoch its type."""
    done: set[int] = set()
    result = []
    while len(done) < len(waits):
        kind, nodes = None, []
        progress = True
        while progress:
            progress = False
            for node in range(len(waits)):
                if node in done or not set(waits[node]) <= done:
                    continue
                if kind is None:
                    kind = delegated[node]
                if delegated[node] == kind:
                    done.add(node)
                    nodes.append(node)
                    progress = True
        assert kind is not None
        result.append((kind, tuple(sorted(nodes))))
    return result


@given(graphs)
@settings(max_examples=300, deadline=None)
def test_epochs_equal_the_repeated_scan(graph: tuple[tuple[list[int], ...], list[bool]]) -> None:
    waits, delegated = graph
    assert [(e.delegated, e.nodes) for e in cut(waits, delegated)] == scan(waits, delegated)


@given(graphs)
@settings(max_examples=200, deadline=None)
def test_epochs_run_in_order(graph: tuple[tuple[list[int], ...], list[bool]]) -> None:
    waits, delegated = graph
    done: set[int] = set()
    for epoch in cut(waits, delegated):
        for node in epoch.nodes:  # inside an epoch the order of execution holds
            assert set(waits[node]) <= done
            done.add(node)
    assert done == set(range(len(waits)))


# -- the cost strategy ----------------------------------------------------------------------------------------------


@given(graphs, st.data())
@settings(max_examples=200, deadline=None)
def test_cost_choice_obeys_its_limits_and_is_never_predicted_worse(
    graph: tuple[tuple[list[int], ...], list[bool]], data: st.DataObject
) -> None:
    waits, flags = graph
    accepted = frozenset(n for n, flag in enumerate(flags) if flag)
    macs = data.draw(st.lists(st.sampled_from((0, 0, 1000, 10**6)), min_size=len(waits), max_size=len(waits)))
    sizes = data.draw(st.lists(st.sampled_from((16, 1000, 10**5)), min_size=len(waits), max_size=len(waits)))
    costs = [NodeCost(m, 30 + m / 2000 + s / 2000, m / 20000 + s / 8000) for m, s in zip(macs, sizes)]
    limit = data.draw(st.sampled_from((None, 1, 2, 3)))
    least = data.draw(st.sampled_from((1, 2, 3)))

    def measure(nodes: Sequence[int]) -> Part:
        return Part(sum(sizes[n] for n in nodes))

    whole = [e for e in cut(waits, flags) if e.delegated]
    ranked = sorted(whole, key=lambda e: -len(e.nodes))[: limit or 3]
    rival = frozenset(n for e in ranked for n in e.nodes)
    found = choose(waits, accepted, costs, measure, limit=limit, min_nodes=least, rivals=[rival])
    parts = [e for e in found.epochs if e.delegated]
    chosen = {n for e in parts for n in e.nodes}
    assert chosen <= accepted
    assert limit is None or len(parts) <= limit
    assert all(len(e.nodes) >= least for e in parts)
    assert set(found.dropped) == accepted - chosen
    other = cut(waits, [n in rival for n in range(len(waits))])
    others = [e for e in other if e.delegated]
    allowed = (limit is None or len(others) <= limit) and all(len(e.nodes) >= least for e in others)
    mine_macs, their_macs = sum(costs[n].macs for n in chosen), sum(costs[n].macs for n in rival)
    if allowed and their_macs >= mine_macs:
        assert predicted_us(found.epochs, costs, measure) <= predicted_us(other, costs, measure)
    if limit is None and least == 1:
        assert mine_macs >= their_macs
        slower = predicted_us(found.epochs, costs, measure) > predicted_us(other, costs, measure)
        # Nothing that loses time is left to drop, or nothing was dropped for it.
        assert not slower or all(saving_us(e.nodes, costs, measure(e.nodes)) >= 0 for e in parts if rival.isdisjoint(e.nodes))
        everything = cut(waits, flags)
        if predicted_us(everything, costs, measure) <= predicted_us(other, costs, measure):
            assert mine_macs == sum(costs[n].macs for n in accepted)


def test_the_graph_is_cut_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many partitions lose time: planning stays about linear."""
    cuts = 0

    def counted(waits: Sequence[Sequence[int]], delegated: Sequence[bool]) -> list[Epoch]:
        nonlocal cuts
        cuts += 1
        return cut(waits, delegated)

    monkeypatch.setattr(strategy, "cut", counted)
    waits = [[n - 1] if n else [] for n in range(900)]
    costs = [NodeCost(0 if n % 3 == 2 else 10, 30.0, 1.0) for n in range(900)]
    accepted = frozenset(n for n in range(900) if n % 3)
    found = choose(waits, accepted, costs, lambda nodes: Part(1000), limit=None, min_nodes=1, rivals=[frozenset({1, 2})])
    assert cuts <= 20
    assert any(e.delegated for e in found.epochs) and found.dropped


# -- plans of models ------------------------------------------------------------------------------------------------


def chain(*ops: str) -> Graph:
    """Operators one after another on a small float tensor: ROUND has no NNAPI form."""
    builder = ModelBuilder()
    current = builder.tensor("x", "float32", (1, 8))
    first = current
    for index, op in enumerate(ops):
        following = builder.tensor(f"t{index}", "float32", (1, 8))
        builder.op(op, [current], [following])
        current = following
    return Graph.from_bytes(builder.build([first], [current]))


def parts(plan: Plan) -> list[list[int]]:
    return [list(p.nodes) for p in plan.partitions]


def check_plan(plan: Plan) -> None:
    """Every node once, in dependency order; partitions know what crosses their boundary."""
    for subgraph in plan.graph.subgraphs:
        waits = dependencies(subgraph)
        folded = plan.folded[subgraph.index]
        done: set[int] = set()
        for step in plan.steps(subgraph.index):
            for node in step.nodes:
                assert node in folded or set(waits[node]) - folded <= done
                done.add(node)
                verdict = plan.verdicts[subgraph.index][node]
                assert verdict.partition == step.partition
                assert (verdict.refusal is None) == (step.partition is not None)
        assert done == {o.index for o in subgraph.operators}
    for number, partition in enumerate(plan.partitions):
        assert partition.index == number
        subgraph = plan.graph.subgraphs[partition.subgraph]
        inside = set(partition.nodes)
        made = {t for n in inside for t in subgraph.operators[n].outputs}
        assert not made & set(partition.inputs)
        assert set(partition.outputs) <= made
        for tensor in made:
            needed = tensor in subgraph.outputs or any(u.index not in inside for u in subgraph.consumers(tensor))
            known = plan.view.subgraphs[partition.subgraph].tensors[tensor].is_constant
            assert known or needed == (tensor in partition.outputs)


def test_a_refused_node_splits_the_graph() -> None:
    plan = make_plan(chain("RELU", "TANH", "ROUND", "RELU", "LOGISTIC"), Target(4))
    check_plan(plan)
    assert parts(plan) == [[0, 1], [3, 4]]
    assert plan.verdicts[0][2].target == "cpu"
    assert [s.partition for s in plan.steps()] == [0, None, 1]


def test_without_a_target_everything_is_on_the_cpu() -> None:
    plan = make_plan(chain("RELU", "TANH"), None)
    check_plan(plan)
    assert not plan.partitions and plan.summary()["delegated_nodes"] == 0
    assert plan.to_json("m")["feature_level"] is None


def test_limit_keeps_what_saves_most_not_what_is_longest() -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 16, 16, 8))
    current = x
    for index in range(5):
        following = builder.tensor(f"a{index}", "float32", (1, 16, 16, 8))
        builder.op("TANH", [current], [following])
        current = following
    rounded = builder.tensor("rounded", "float32", (1, 16, 16, 8))
    builder.op("ROUND", [current], [rounded])
    weights = builder.tensor("w", "float32", (64, 3, 3, 8), data=np.zeros((64, 3, 3, 8), np.float32))
    bias = builder.tensor("b", "float32", (64,), data=np.zeros(64, np.float32))
    y = builder.tensor("y", "float32", (1, 16, 16, 64))
    options = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    builder.op("CONV_2D", [rounded, weights, bias], [y], **options)
    graph = Graph.from_bytes(builder.build([x], [y]))
    assert parts(make_plan(graph, Target(4), PlanOptions(max_partitions=1))) == [[6]]
    assert parts(make_plan(graph, Target(4), PlanOptions(strategy="tflite", max_partitions=1))) == [[0, 1, 2, 3, 4]]
    plan = make_plan(graph, Target(4), PlanOptions(max_partitions=1))
    reason = plan.reason(plan.verdicts[0][0])
    assert reason is not None and reason.rule == "partition-limit"


def test_min_nodes_drops_small_partitions() -> None:
    graph = chain("RELU", "ROUND", "RELU", "TANH", "LOGISTIC")
    plan = make_plan(graph, Target(4), PlanOptions(min_nodes=2))
    check_plan(plan)
    assert parts(plan) == [[2, 3, 4]]
    assert "at least 2 nodes" in str(plan.reason(plan.verdicts[0][0]))


def test_include_and_exclude() -> None:
    graph = chain("RELU", "TANH", "RELU", "LOGISTIC")
    plan = make_plan(graph, Target(4), PlanOptions(exclude=NodeSelection.parse("1")))
    assert parts(plan) == [[0], [2, 3]]
    assert str(plan.reason(plan.verdicts[0][1])).startswith("excluded")
    plan = make_plan(graph, Target(4), PlanOptions(include=NodeSelection.parse("TANH,2-3")))
    assert parts(plan) == [[1, 2, 3]]
    assert str(plan.reason(plan.verdicts[0][0])).startswith("not-included")


@pytest.mark.parametrize("text", ["x-3", "3-", "1:2:3", "1:RELU", "-", "4,?"])
def test_selection_refuses_what_it_cannot_read(text: str) -> None:
    with pytest.raises(ValueError, match="names no node"):
        NodeSelection.parse(text)


def test_selection_reads_ranges_subgraphs_and_names() -> None:
    selection = NodeSelection.parse("3, 7-9,1:4,CONV_2D")
    assert selection.matches(0, 3, "ADD") and selection.matches(0, 8, "ADD") and selection.matches(1, 4, "ADD")
    assert selection.matches(5, 5, "CONV_2D")
    assert not selection.matches(1, 3, "ADD") and not selection.matches(0, 10, "ADD")


# -- what a device says ---------------------------------------------------------------------------------------------


def refusing(*codes: int) -> tuple[list[LoweredProgram], object]:
    asked: list[LoweredProgram] = []

    def supports(program: LoweredProgram) -> list[bool]:
        asked.append(program)
        return [code not in codes for code in program.operation_codes]

    return asked, supports


@pytest.mark.parametrize("strategy", ["cost", "tflite"])
def test_nodes_that_the_device_refuses_stay_on_the_cpu(strategy: str) -> None:
    graph = chain("RELU", "TANH", "RELU", "LOGISTIC")
    asked, supports = refusing(28)  # TANH
    plan = make_plan(graph, Target(4), PlanOptions(strategy=strategy), supports)  # type: ignore[arg-type]
    check_plan(plan)
    assert parts(plan) == [[0], [2, 3]]
    assert [len(program.operation_codes) for program in asked] == [4]
    reason = str(plan.reason(plan.verdicts[0][1]))
    assert "NNAPI operation TANH" in reason and "refused by the device" in reason


def test_a_node_needs_all_of_its_operations() -> None:
    graph = chain("HARD_SWISH", "RELU")
    _, supports = refusing(30)  # DIV, a part of the decomposed HARD_SWISH
    plan = make_plan(graph, Target(3), PlanOptions(), supports)  # type: ignore[arg-type]
    assert parts(plan) == [[1]]
    assert "DIV" in str(plan.reason(plan.verdicts[0][0]))


# -- the stable form ------------------------------------------------------------------------------------------------


def test_json_form() -> None:
    document = json.loads(json.dumps(make_plan(chain("RELU", "ROUND"), Target(4)).to_json("m.tflite")))
    assert set(document) == {"model", "feature_level", "nodes", "partitions"}
    assert document["model"] == "m.tflite" and document["feature_level"] == 4
    assert document["partitions"] == [{"index": 0, "subgraph": 0, "nodes": [0]}]
    first, second = document["nodes"]
    assert first == {"subgraph": 0, "index": 0, "op": "RELU", "target": "nnapi", "partition": 0, "reason": None}
    assert {k: second[k] for k in ("subgraph", "index", "op", "target", "partition")} == {
        "subgraph": 0, "index": 1, "op": "ROUND", "target": "cpu", "partition": None,
    }  # fmt: skip
    assert "ROUND" in second["reason"]


def test_the_delegate_fails_on_an_int8_lstm_of_another_kind() -> None:
    case = next(c for c in CASES if c.name == "LSTM-int8")
    for count, taken in ((5, True), (0, False)):
        model, _ = replace(case, intermediates=case.intermediates[:count]).model()
        plan = make_plan(Graph.from_bytes(model), Target(4), PlanOptions(strategy="tflite", rewrites=False))
        assert bool(plan.partitions) == taken


# -- shared models --------------------------------------------------------------------------------------------------


def predicted(plan: Plan) -> float:
    """The estimate for a whole plan."""
    total = sum(plan.cost(v.subgraph, v.index).cpu_us for verdicts in plan.verdicts for v in verdicts)
    for partition in plan.partitions:
        tensors = plan.graph.subgraphs[partition.subgraph].tensors
        costs = [plan.cost(partition.subgraph, n) for n in partition.nodes]
        crossing = boundary_bytes([tensors[t] for t in (*partition.inputs, *partition.outputs)])
        total += partition_us(crossing) - sum(c.cpu_us - c.device_us for c in costs)
    return total


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("level", [1, 2, 3, 4, 6, 8])
def test_shared_models(name: str, level: int) -> None:
    graph = Graph.open(model_path(name))
    plan = make_plan(graph, Target(level))
    check_plan(plan)
    rival = make_plan(graph, Target(level), PlanOptions(strategy="tflite", rewrites=False))
    check_plan(rival)
    mine, theirs = plan.summary(), rival.summary()
    assert mine["delegated_macs"] >= theirs["delegated_macs"]
    assert predicted(plan) <= predicted(rival) * 1.0001
    for row in plan.to_json(name)["nodes"]:
        assert (row["reason"] is None) == (row["target"] == "nnapi")
    for program in plan.lower():
        assert program.feature_level <= level
