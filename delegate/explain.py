"""What a plan means, as data: rewrites in use, what crosses each boundary, what keeps nodes on the CPU."""

from __future__ import annotations

from typing import Any

from nnapi_toolkit.delegate.partition import Plan, Verdict
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.rewrites import SUMMARIES
from nnapi_toolkit.delegate.rewrites.folding import CONSTANT_FOLDING
from nnapi_toolkit.delegate.tflite_dynamic import dynamic_tensor


def explain(plan: Plan) -> dict[str, Any]:
    """Everything about a plan that `nnapi partition --explain` shows.

    Returns:
        `summary` (see `Plan.summary`), `rewrites` (name, summary, nodes as [subgraph, index]), `partitions` (multiply-
        accumulates, boundary tensors and bytes), `refusals` (operators on the CPU, grouped, costliest first) and `dynamic`
        (tensors whose shape depends on data, by subgraph).
    """
    return {
        "summary": plan.summary(),
        "rewrites": rewrites_in_use(plan),
        "partitions": [_partition(plan, index) for index in range(len(plan.partitions))],
        "refusals": refusals(plan),
        "dynamic": dynamic_tensors(plan),
    }


def rewrites_in_use(plan: Plan) -> list[dict[str, Any]]:
    """The rewrites that made nodes acceptable, with the nodes."""
    nodes: dict[str, list[list[int]]] = {}
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        if verdict.rewrite is not None and verdict.partition is not None:
            nodes.setdefault(verdict.rewrite, []).append([verdict.subgraph, verdict.index])
    folded = [[number, index] for number, indices in enumerate(plan.folded) for index in sorted(indices)]
    if folded:
        nodes[CONSTANT_FOLDING] = folded
    return [{"name": name, "summary": SUMMARIES[name], "nodes": found} for name, found in sorted(nodes.items())]


def _partition(plan: Plan, index: int) -> dict[str, Any]:
    partition = plan.partitions[index]
    tensors = plan.view.subgraphs[partition.subgraph].tensors
    crossing = {
        side: [{"tensor": t, "name": tensors[t].name, "bytes": tensors[t].byte_size} for t in chosen]
        for side, chosen in (("inputs", partition.inputs), ("outputs", partition.outputs))
    }
    return {
        "index": index,
        "subgraph": partition.subgraph,
        "target": partition.target,
        "nodes": list(partition.nodes),
        "macs": sum(plan.cost(partition.subgraph, node).macs for node in partition.nodes),
        **crossing,
        "boundary_bytes": sum(entry["bytes"] for entries in crossing.values() for entry in entries),
    }


def refusals(plan: Plan) -> list[dict[str, Any]]:
    """Nodes that the device's NNAPI does not run, grouped by operator and rule.

    Those with most multiply-accumulates, then most nodes, come first.
    """
    groups: dict[tuple[str, str], list[tuple[Verdict, Reason]]] = {}
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        reason = plan.reason(verdict)
        if reason is not None:
            groups.setdefault((verdict.op, reason.rule), []).append((verdict, reason))
    rows = []
    for (op, rule), members in groups.items():
        lifts = sorted({reason.lifted_by for _, reason in members if reason.lifted_by is not None})
        rows.append(
            {
                "op": op,
                "rule": rule,
                "count": len(members),
                "macs": sum(plan.cost(v.subgraph, v.index).macs for v, _ in members),
                "nodes": [[v.subgraph, v.index] for v, _ in members],
                "example": str(members[0][1]),
                "lifted_by": lifts,
            }
        )
    return sorted(rows, key=lambda row: (-row["macs"], -row["count"], row["op"], row["rule"]))


def dynamic_tensors(plan: Plan) -> list[dict[str, Any]]:
    """For each subgraph that TFLite holds for dynamic: the tensor and the operator that makes it so."""
    found = []
    for subgraph in plan.graph.subgraphs:
        index = dynamic_tensor(plan.graph, subgraph)
        if index is None:
            continue
        producer = subgraph.producer(index)
        found.append(
            {
                "subgraph": subgraph.index,
                "tensor": index,
                "name": subgraph.tensors[index].name,
                "operator": None if producer is None else producer.index,
                "op": None if producer is None else producer.name,
            }
        )
    return found
