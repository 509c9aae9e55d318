"""`--strategy tflite` against what TFLite's real NNAPI delegate did with each shared model at each feature level."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.target import Target

from tests.conftest import SHARED, catalogue, model_path, shared_path

LEVELS = range(1, 9)


@cache
def plans() -> dict[str, Any]:
    file = SHARED / "facts" / "delegate_plans.json"
    return json.loads(file.read_text())["models"] if file.exists() else {}


@cache
def graph(name: str) -> Graph:
    if name in catalogue():
        return Graph.open(model_path(name))
    return Graph.open(shared_path("demo", f"{name}.tflite"))


def cases(section: str) -> list[Any]:
    found = [(name, int(level)) for name, plan in plans().items() for level in plan.get(section, {})]
    return found or [pytest.param("", 0, marks=pytest.mark.skip(reason=f"no delegate plans below {SHARED}"))]


def delegated(name: str, level: int, options: PlanOptions) -> list[list[list[int]]]:
    """For each subgraph, the partitions as lists of nodes."""
    plan = make_plan(graph(name), Target(level), options)
    result: list[list[list[int]]] = [[] for _ in plan.graph.subgraphs]
    for partition in plan.partitions:
        result[partition.subgraph].append(list(partition.nodes))
    return result


def expected(entry: dict[str, Any]) -> list[list[list[int]]]:
    return [[sorted(nodes) for nodes in subgraph["partitions"]] for subgraph in entry["subgraphs"]]


def check(name: str, level: int, section: str, options: PlanOptions) -> None:
    entry = plans()[name][section][str(level)]
    mine, wanted = delegated(name, level, options), expected(entry)
    for index, subgraph in enumerate(entry["subgraphs"]):
        if subgraph.get("tie"):
            # Equal sizes at the limit: which of them survive is the C++ library's choice.
            whole = expected(plans()[name]["FL_nolimit"][str(level)])[index]
            assert Counter(map(len, mine[index])) == Counter(map(len, wanted[index]))
            assert all(nodes in whole for nodes in mine[index])
        else:
            assert mine[index] == wanted[index]


@pytest.mark.parametrize(("name", "level"), cases("FL"))
def test_default_limit(name: str, level: int) -> None:
    check(name, level, "FL", PlanOptions(strategy="tflite", rewrites=False))


@pytest.mark.parametrize(("name", "level"), cases("FL_nolimit"))
def test_no_limit(name: str, level: int) -> None:
    check(name, level, "FL_nolimit", PlanOptions(strategy="tflite", rewrites=False, max_partitions=0))


@pytest.mark.parametrize(("name", "level"), cases("FL_stub_custom"))
def test_custom_operators_registered(name: str, level: int) -> None:
    known = frozenset(op.custom_code for s in graph(name).subgraphs for op in s.operators if op.custom_code)
    check(name, level, "FL_stub_custom", PlanOptions(strategy="tflite", rewrites=False, custom_operators=known))


@pytest.mark.parametrize(("name", "level"), cases("FL_allow_dynamic"))
def test_dynamic_dimensions_allowed(name: str, level: int) -> None:
    check(name, level, "FL_allow_dynamic", PlanOptions(strategy="tflite", rewrites=False, allow_dynamic=True))
