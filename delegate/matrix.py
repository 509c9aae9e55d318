"""One model against all feature levels: what share of it each Android version delegates, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nnapi_toolkit.delegate.explain import refusals
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target

#: How many operators that hold a model back are named for each level.
BLOCKERS = 8


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One feature level.

    Attributes:
        feature_level: 1 to 8.
        android: Android release that brought the level.
        api_level: Its API level.
        summary: See `Plan.summary`.
        blockers: Operators that stay on the CPU: see `explain.refusals`; the costliest ones.
    """

    feature_level: int
    android: str
    api_level: int
    summary: dict[str, Any]
    blockers: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """The row as `nnapi partition --matrix --json` prints it."""
        nodes, macs = self.summary["nodes"], self.summary["macs"]
        return {
            "feature_level": self.feature_level,
            "android": self.android,
            "api_level": self.api_level,
            **self.summary,
            "delegated_share": self.summary["delegated_nodes"] / nodes if nodes else 1.0,
            "delegated_mac_share": self.summary["delegated_macs"] / macs if macs else 1.0,
            "blockers": self.blockers,
        }


def matrix(
    graph: Graph, options: PlanOptions | None = None, levels: Iterable[int] = tuple(FEATURE_LEVELS)
) -> list[MatrixRow]:
    """Plans the model for every level.

    Args:
        graph: The model.
        options: See `PlanOptions`.
        levels: Feature levels; all of them unless given.
    """
    rows = []
    for level in levels:
        plan = make_plan(graph, Target(level), options)
        release, api_level, _ = FEATURE_LEVELS[level]
        rows.append(MatrixRow(level, release, api_level, plan.summary(), refusals(plan)[:BLOCKERS]))
    return rows
