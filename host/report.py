"""What people read: tables of a plan, of a run, of a benchmark. Everything here has a JSON twin elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnapi_toolkit.delegate.partition import Plan
from nnapi_toolkit.delegate.rewrites.channels import BY_UNIT, FEW
from nnapi_toolkit.divergence import CAUSES
from nnapi_toolkit.failures import Failure
from nnapi_toolkit.session import Session
from rich.console import Console
from rich.markup import escape
from rich.table import Table

console = Console(highlight=False)


def size(count: float) -> str:
    """Bytes for people: 512 B, 1.5 KiB, 3.2 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def table(title: str, *columns: str) -> Table:
    """An empty table in the house style; a column that starts with '>' is right-aligned."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        made.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return made


def print_plan(plan: Plan, model: str, *, nodes: bool = False) -> None:
    """Prints the partitions, the summary, and the nodes that stay on the CPU (all nodes with `nodes`)."""
    summary = plan.summary()
    level = f"feature level {plan.target.feature_level}" if plan.target is not None else "the CPU reference"
    console.print(
        f"[bold]{model}[/bold] for {level}: {summary['delegated_nodes']} of {summary['nodes']} nodes and "
        f"{share(summary['delegated_macs'], summary['macs'])} of {summary['macs'] / 1e6:.1f} M MACs delegated in "
        f"{summary['partitions']} partition{'s' if summary['partitions'] != 1 else ''}"
    )
    fallback = plan.softnn_target is not None
    if fallback:
        console.print(
            f"software NNAPI on the device takes {summary['softnn_nodes']} more nodes in {summary['softnn_partitions']} "
            f"partition{'s' if summary['softnn_partitions'] != 1 else ''}; "
            f"{summary['nodes'] - summary['delegated_nodes'] - summary['softnn_nodes']} are left to the CPU here"
        )
    if note := many_operations(plan):
        console.print(note)
    rows = plan.to_json(model)["nodes"]
    shown = rows if nodes else [row for row in rows if row["target"] != "nnapi"]
    if not shown:
        return
    title = "nodes" if nodes else "nodes that the device's NNAPI does not take" if fallback else "nodes on the CPU"
    out = table(title, ">#", "operator", "target", "why")
    for row in shown:
        where = row["target"] if row["partition"] is None else f"{row['target']} {row['partition']}"
        name = str(row["index"]) if row["subgraph"] == 0 else f"{row['subgraph']}:{row['index']}"
        out.add_row(name, row["op"], where, row["reason"] or "")
    console.print(out)


def share(part: float, whole: float) -> str:
    """A percentage, 100% for nothing out of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "100%"


def many_operations(plan: Plan) -> str:
    """A word on nodes that became very many NNAPI operations, which drivers may compile slowly; "" where there are none."""
    names = []
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        if verdict.rewrite == BY_UNIT and verdict.partition is not None:
            subgraph = plan.view.subgraphs[verdict.subgraph]
            units = subgraph.tensors[subgraph.operators[verdict.index].inputs[1]].shape[0]
            if units > FEW:
                names.append(f"node {verdict.index} ({units:,} units)")
    if not names:
        return ""
    return (
        f"FULLY_CONNECTED {', '.join(names)}: a scale for each unit, so one operation for each, exact to the bit; "
        "a phone's driver may be slow at that: --allow-inexact makes it one convolution, some results of which are a step off"
    )


def print_run(session: Session) -> None:
    """Prints where the last inference ran, how long each step took, and what crossed the cable."""
    stats = session.last_stats
    if stats is None:
        return
    out = table(
        f"one inference on {session.device_name}",
        ">step",
        "where",
        ">nodes",
        ">time",
        ">on device",
        ">sent",
        ">received",
    )
    for number, step in enumerate(stats.steps):
        where = step.target if step.partition is None else f"{step.target} {step.partition}"
        if step.subgraph:
            where += f", subgraph {step.subgraph}, {step.count} times"
        out.add_row(
            str(number),
            f"cpu, for partition {step.partition}" if step.fallback else where,
            str(step.nodes),
            milliseconds(step.wall_ns),
            milliseconds(step.device_ns) if step.target != "cpu" else "",
            size(step.bytes_to_device),
            size(step.bytes_from_device),
        )
    console.print(out)
    console.print(
        f"total {milliseconds(stats.wall_ns)}: device {milliseconds(stats.device_ns)}, CPU steps "
        f"{milliseconds(stats.cpu_ns)}, the road between {milliseconds(stats.host_overhead_ns)}; compile "
        f"{milliseconds(sum(session.compile_ns))}; {size(session.pushed_bytes)} pushed"
    )


def milliseconds(nanoseconds: float) -> str:
    """Nanoseconds as `12.34 ms`."""
    return f"{nanoseconds / 1e6:.2f} ms"


def print_bench(result: dict[str, Any]) -> None:
    """Prints the JSON form of a benchmark as tables."""
    out = table(f"{result['model']} on {result['device']}, microseconds", "what", *(f">{p}" for p in _PERCENTILES))
    for label, key in (
        ("on device and CPU steps", "latency_us"),
        ("end to end", "wall_us"),
        ("host overhead", "host_overhead_us"),
    ):
        out.add_row(label, *_row(result[key]))
    versus = result["vs"]
    if versus is not None:
        out.add_row(f"{versus['device']}: device and CPU", *_row(versus["latency_us"]))
        out.add_row(f"{versus['device']}: end to end", *_row(versus["wall_us"]))
    console.print(out)
    cache = result["compile_cache"]
    cached = (
        f"cold {cache['cold_ms']:.1f} ms, warm {cache['warm_ms']:.1f} ms ({cache['files']} cache files, {size(cache['bytes'])})"
        if cache["warm_ms"] is not None
        else f"with a cache: {cache['reason']}"
    )
    console.print(f"compile {result['compile_ms']:.1f} ms, {cached}")
    console.print(
        f"first inference {result['first_us'] / 1e3:.2f} ms, steady {result['wall_us']['p50'] / 1e3:.2f} ms; "
        f"{result['latency_us']['count']} runs"
    )
    memory = result["memory"]
    if memory["peak_resident_bytes"] is not None:
        console.print(
            f"memory: the program's process peaked at {size(memory['peak_resident_bytes'])}, "
            f"{memory['peak_resident_bytes'] / memory['needed_bytes']:.2f} times the weights and live activations "
            f"({size(memory['needed_bytes'])})"
        )
    if versus is not None:
        ratio = versus["ratio"]
        console.print(
            f"{versus['device']} takes {ratio['median']:.2f} times as long, pair by pair "
            f"({ratio['min']:.2f} to {ratio['max']:.2f})"
        )
    _print_phone(result)


_PERCENTILES = ("p50", "p90", "p99", "min", "max")


def _row(found: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{found[p]:.0f}" for p in _PERCENTILES)


def _print_phone(result: dict[str, Any]) -> None:
    """What the phone was like, and the minutes of a sustained run."""
    for when in ("before", "after"):
        state = result["state"][when]
        if state["reason"]:
            if when == "before":
                console.print(f"phone: {state['reason']}", markup=False)
            continue
        facts = [f"governor {', '.join(state['governors'])}" if state["governors"] else "governor unknown"]
        if state["clocks_mhz"]:
            facts.append(f"clocks {'/'.join(map(str, state['clocks_mhz']))} MHz")
        if state["temperature_celsius"] is not None:
            facts.append(f"{state['temperature_celsius']:.1f} °C ({state['temperature_of']})")
        facts += [f"{name} {state[name]}" for name in ("screen", "power") if state[name]]
        console.print(f"{when}: {', '.join(facts)}", markup=False)
    cooling = result["cooling"]
    if cooling is not None:
        outcome = {
            True: "reached", False: "NOT reached: the numbers are of a warm phone", None: "its temperature cannot be read"
        }[cooling["reached"]]  # fmt: skip
        console.print(f"waited {cooling['waited_seconds']:.0f} s for {cooling['target_celsius']:g} °C: {outcome}")
    if result["sustained"] is not None:
        out = table("sustained", ">minute", ">runs", ">p50 us", ">p90 us", ">°C")
        for row in result["sustained"]["per_minute"]:
            celsius = "" if row["temperature_celsius"] is None else f"{row['temperature_celsius']:.1f}"
            out.add_row(str(row["minute"]), str(row["count"]), f"{row['p50']:.0f}", f"{row['p90']:.0f}", celsius)
        console.print(out)


def print_failures(failures: Sequence[Failure], summary: dict[str, Any]) -> None:
    """Prints what the driver failed at, what became of it, and what ran on NNAPI in the end."""
    for failure in failures:
        console.print(f"[red]the driver failed[/red] ({failure.phase}); {_ACTIONS[failure.action]}")
        console.print(str(failure), markup=False, soft_wrap=True)
    if summary["failed_partitions"]:
        console.print(
            f"so {summary['delegated_nodes']} of {summary['nodes']} nodes and "
            f"{share(summary['delegated_macs'], summary['macs'])} of the MACs ran on NNAPI"
        )


_ACTIONS = {
    "cpu": "its partition runs on the CPU reference",
    "retried": "a second attempt worked, and its result counts",
    "error": "that is an error",
}


def print_verification(result: dict[str, Any]) -> None:
    """Prints the JSON form of a verification as tables."""
    out = table(f"{result['device']} against the CPU reference", ">run", "output", *_COLUMNS)
    for number, run in enumerate(result["runs"]):
        for row in run:
            out.add_row(str(number), escape(row["name"]), *_statistics(row))
    console.print(out)
    if result["failures"]:
        console.print(f"{len(result['failures'])} driver failures; those partitions ran on the CPU reference")
    if result["nodes"] is not None:
        _print_nodes(result["nodes"])
    if result["node"] is not None:
        print_finding(result["node"])
    elif not result["within"] and result["nodes"] is None:
        console.print("no node could be found that exceeds the bound: the difference does not come again")
    if result["reproducer"]:
        console.print(f"reproducer: {result['reproducer']}", markup=False)


_COLUMNS = (">max abs", ">rmse", ">SNR", ">cosine", ">steps", "verdict")


def _statistics(row: dict[str, Any]) -> tuple[str, ...]:
    snr = "inf" if row["snr_db"] is None else f"{row['snr_db']:.1f} dB"
    verdict = "equal" if row["equal"] else "within" if row["within"] else "[red]differs[/red]"
    steps = "" if row["steps"] is None else str(row["steps"])
    return f"{row['max_abs']:.3g}", f"{row['rmse']:.3g}", snr, f"{row['cosine']:.6f}", steps, verdict


def print_finding(node: dict[str, Any]) -> None:
    """Prints the first node over the bound."""
    where = "the CPU" if node["partition"] is None else f"partition {node['partition']}"
    console.print(
        f"first over the bound: node {node['index']} ({node['op']}) in {where}, tensor {node['tensor']['index']} "
        f"'{escape(node['tensor']['name'])}', in run {node['run']} ({node['trials']} programs tried)"
    )
    console.print(f"  {CAUSES[node['cause']]}")
    out = table("", "", "output", *_COLUMNS)
    for label, rows in (("in place", node["outputs"]), ("alone", node["alone"])):
        for row in rows:
            out.add_row(label, escape(row["name"]), *_statistics(row))
    console.print(out)


def _print_nodes(nodes: list[dict[str, Any]]) -> None:
    """The nodes over the bound, or the ones furthest from the reference where none is."""
    over = [node for node in nodes if not node["within"]]
    differing = [node for node in nodes if any(not output["equal"] for output in node["outputs"])]
    shown = over or sorted(differing, key=lambda node: -max(output["rmse"] for output in node["outputs"]))[:5]
    console.print(
        f"{len(nodes)} nodes alone: {len(nodes) - len(differing)} equal, {len(differing) - len(over)} within the bound, "
        f"{len(over)} over it"
    )
    if not shown:
        return
    out = table("over the bound" if over else "furthest from the reference", ">#", "operator", "output", *_COLUMNS)
    for node in shown:
        for output in node["outputs"]:
            out.add_row(str(node["index"]), node["op"], escape(output["name"]), *_statistics(output))
    console.print(out)
