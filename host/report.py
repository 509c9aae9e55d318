"""What people read: tables of a plan, of a run, of a benchmark. Everything here has a JSON twin elsewhere."""

from __future__ import annotations

from typing import Any

from nnapi_toolkit.delegate.partition import Plan
from nnapi_toolkit.session import Session
from rich.console import Console
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
    rows = plan.to_json(model)["nodes"]
    shown = rows if nodes else [row for row in rows if row["target"] == "cpu"]
    if not shown:
        return
    out = table("nodes" if nodes else "nodes on the CPU", ">#", "operator", "target", "why")
    for row in shown:
        where = row["target"] if row["partition"] is None else f"nnapi {row['partition']}"
        name = str(row["index"]) if row["subgraph"] == 0 else f"{row['subgraph']}:{row['index']}"
        out.add_row(name, row["op"], where, row["reason"] or "")
    console.print(out)


def share(part: float, whole: float) -> str:
    """A percentage, 100% for nothing out of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "100%"


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
        where = "cpu" if step.partition is None else f"nnapi {step.partition}"
        out.add_row(
            str(number),
            where,
            str(step.nodes),
            milliseconds(step.wall_ns),
            milliseconds(step.device_ns) if step.partition is not None else "",
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
    out = table(f"{result['model']} on {result['device']}", "what", ">p50 us", ">p90 us", ">min us")
    for label, key in (
        ("on device and CPU steps", "latency_us"),
        ("end to end", "wall_us"),
        ("host overhead", "host_overhead_us"),
    ):
        row = result[key]
        out.add_row(label, f"{row['p50']:.0f}", f"{row['p90']:.0f}", f"{row['min']:.0f}")
    console.print(out)
    console.print(
        f"compile {result['compile_ms']:.1f} ms, first inference {result['first_us'] / 1e3:.1f} ms, "
        f"{result['latency_us']['count']} runs"
    )


def print_verification(result: dict[str, Any]) -> None:
    """Prints the JSON form of a verification as a table."""
    out = table(
        f"{result['device']} against the CPU reference",
        ">run",
        "output",
        ">max abs",
        ">rmse",
        ">SNR",
        ">steps",
        "verdict",
    )
    for number, run in enumerate(result["runs"]):
        for row in run:
            snr = "inf" if row["snr_db"] is None else f"{row['snr_db']:.1f} dB"
            verdict = "equal" if row["equal"] else "within" if row["within"] else "[red]differs[/red]"
            steps = "" if row["steps"] is None else str(row["steps"])
            out.add_row(str(number), row["name"], f"{row['max_abs']:.3g}", f"{row['rmse']:.3g}", snr, steps, verdict)
    console.print(out)
