"""`nnapi partition`: which nodes NNAPI takes, why not the others, and what would change that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from nnapi_toolkit.cli.common import (
    EXIT_NEGATIVE,
    FREEZE,
    JSON,
    MODEL,
    REQUIRE,
    emit,
    enough_delegated,
    make_plan_options,
    open_graph,
    parse_levels,
    parse_percent,
    plan_options,
)
from nnapi_toolkit.cli.options import FALLBACK
from nnapi_toolkit.cli.targets import adb_options, adb_server, opened

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.delegate.partition import Plan, PlanOptions
    from nnapi_toolkit.device import AdbServer


@click.command()
@MODEL
@click.option(
    "--feature-level", "levels", default=None, metavar="N", help="1 to 8; a range 1-8 or a list 1,3,5 as well."
)
@click.option("--device", default=None, metavar="SPEC", help="Plan for what this device itself supports.")
@plan_options
@FALLBACK
@FREEZE
@click.option("--matrix", "as_matrix", is_flag=True, help="One row for each feature level instead of nodes.")
@click.option(
    "--explain", "explained", is_flag=True, help="Also rewrites, boundaries, refusals by operator, open shapes."
)
@click.option("--nodes", is_flag=True, help="List every node, not only those on the CPU.")
@REQUIRE
@adb_options
@JSON
def partition(
    model: Path,
    levels: str | None,
    device: str | None,
    fallback: Literal["host", "device"],
    freeze: str | None,
    as_matrix: bool,
    explained: bool,
    nodes: bool,
    require_delegated: str | None,
    adb_host: str | None,
    adb_port: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Say node by node what NNAPI takes at a feature level, and why not otherwise."""
    if levels is not None and device is not None:
        raise click.UsageError("give --feature-level or --device, not both")
    if as_matrix and (device is not None or explained or fallback == "device"):
        raise click.UsageError(
            "--matrix plans for feature levels and has a form of its own: leave out --device, --explain and --fallback"
        )
    if device is None and (adb_host is not None or adb_port is not None):
        raise click.UsageError("--adb-host and --adb-port say where --device is: give --device as well")
    required = parse_percent(require_delegated)
    options = make_plan_options(given)
    graph = open_graph(model, freeze)
    if as_matrix:
        return _matrix(graph, model, options, parse_levels(levels or "1-8"), as_json)
    if device is None:
        plans = _plans_for_levels(graph, parse_levels(levels or "8"), options, fallback)
    else:
        plans = [_plan_for_device(graph, device, adb_server(adb_host, adb_port), options, fallback)]
    several = levels is not None and not levels.strip().isdigit()
    if as_json:
        documents = [_document(plan, model, explained) for plan in plans]
        emit(documents if several else documents[0])
    else:
        _print(plans, model, nodes, explained)
    advice = "the reasons are above" if not as_json else "see the reasons"
    verdicts = [enough_delegated(plan, required, advice) for plan in plans]
    return 0 if all(verdicts) else EXIT_NEGATIVE


def _plans_for_levels(
    graph: Graph, levels: list[int], options: PlanOptions, fallback: Literal["host", "device"]
) -> list[Plan]:
    from nnapi_toolkit.delegate.fallback import with_softnn
    from nnapi_toolkit.delegate.partition import make_plan
    from nnapi_toolkit.delegate.target import Target

    plans = [make_plan(graph, Target(level), options) for level in levels]
    return [with_softnn(plan) for plan in plans] if fallback == "device" else plans


def _plan_for_device(
    graph: Graph, device: str, server: AdbServer, options: PlanOptions, fallback: Literal["host", "device"]
) -> Plan:
    from nnapi_toolkit.session import Session, SessionOptions

    with (
        opened(device, server) as target,
        Session(graph, target, SessionOptions(plan=options, fallback=fallback)) as session,
    ):
        return session.plan


def _document(plan: Plan, model: Path, explained: bool) -> dict[str, Any]:
    from nnapi_toolkit.delegate.explain import explain

    document = plan.to_json(str(model))
    return document | {"explain": explain(plan)} if explained else document


def _print(plans: list[Plan], model: Path, nodes: bool, explained: bool) -> None:
    from nnapi_toolkit.report import console, print_plan

    for plan in plans:
        print_plan(plan, model.name, nodes=nodes)
        if explained:
            _print_explanation(plan)
        console.print()


def _print_explanation(plan: Plan) -> None:
    from nnapi_toolkit.delegate.explain import explain
    from nnapi_toolkit.report import console, size, table

    found = explain(plan)
    if found["rewrites"]:
        out = table("rewrites in use", "rewrite", ">nodes", "what it does")
        for row in found["rewrites"]:
            out.add_row(row["name"], str(len(row["nodes"])), row["summary"])
        console.print(out)
    out = table("partitions", ">#", "target", ">nodes", ">M MACs", ">in", ">out", ">bytes across")
    for row in found["partitions"]:
        out.add_row(
            str(row["index"]),
            row["target"],
            str(len(row["nodes"])),
            f"{row['macs'] / 1e6:.1f}",
            str(len(row["inputs"])),
            str(len(row["outputs"])),
            size(row["boundary_bytes"]),
        )
    console.print(out)
    if found["refusals"]:
        out = table("what holds it back", "operator", ">nodes", ">M MACs", "rule", "lifted by")
        for row in found["refusals"]:
            macs = f"{row['macs'] / 1e6:.1f}"
            out.add_row(row["op"], str(row["count"]), macs, row["rule"], "; ".join(row["lifted_by"]) or "nothing")
        console.print(out)
    for row in found["dynamic"]:
        console.print(
            f"subgraph {row['subgraph']}: tensor {row['tensor']} '{row['name']}' has an open shape, made by "
            f"{row['op'] or 'the input'}: --freeze-shapes fixes what can be fixed"
        )


def _matrix(graph: Graph, model: Path, options: PlanOptions, levels: list[int], as_json: bool) -> int:
    from nnapi_toolkit.delegate.matrix import matrix

    rows = [row.to_json() for row in matrix(graph, options, levels)]
    if as_json:
        emit({"model": str(model), "matrix": rows})
        return 0
    from nnapi_toolkit.report import console, table

    out = table(model.name, ">level", "Android", ">nodes", ">MACs", ">partitions", "held back by")
    for row in rows:
        blockers = ", ".join(f"{b['op']} x{b['count']}" for b in row["blockers"])
        out.add_row(
            str(row["feature_level"]),
            row["android"],
            f"{100 * row['delegated_share']:.1f}%",
            f"{100 * row['delegated_mac_share']:.1f}%",
            str(row["partitions"]),
            blockers,
        )
    console.print(out)
    return 0
